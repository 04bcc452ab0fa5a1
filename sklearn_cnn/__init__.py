"""Convolutional networks for scikit-learn."""

from sklearn_cnn.estimators._classifier import CNNClassifier
from sklearn_cnn.estimators._regressor import CNNRegressor
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._normalizer import ImageNormalizer
from sklearn_cnn.preprocessing._reader import ImageReader

__all__ = ["CNNClassifier", "CNNRegressor", "ImageAugmenter", "ImageNormalizer", "ImageReader"]
__version__ = "0.1.0"
