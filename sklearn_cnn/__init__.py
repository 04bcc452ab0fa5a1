"""Convolutional networks for scikit-learn."""

from sklearn_cnn.estimators._classifier import CNNClassifier

__all__ = ["CNNClassifier"]
__version__ = "0.1.0"
