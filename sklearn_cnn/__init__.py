"""Convolutional networks for scikit-learn."""

from sklearn_cnn.estimators._classifier import CNNClassifier
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._normalizer import ImageNormalizer

__all__ = ["CNNClassifier", "ImageAugmenter", "ImageNormalizer"]
__version__ = "0.1.0"
