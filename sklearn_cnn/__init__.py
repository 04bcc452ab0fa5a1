"""Convolutional networks for scikit-learn."""

from sklearn_cnn._version import __version__ as __version__
from sklearn_cnn.architectures._catalog import list_architectures
from sklearn_cnn.estimators._classifier import CNNClassifier
from sklearn_cnn.estimators._feature_extractor import CNNFeatureExtractor
from sklearn_cnn.estimators._pipeline import image_pipeline
from sklearn_cnn.estimators._regressor import CNNRegressor
from sklearn_cnn.persistence._model_file import load_model, save_model
from sklearn_cnn.persistence._onnx import export_onnx
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._normalizer import ImageNormalizer
from sklearn_cnn.preprocessing._reader import ImageReader

__all__ = [
    "CNNClassifier",
    "CNNFeatureExtractor",
    "CNNRegressor",
    "ImageAugmenter",
    "ImageNormalizer",
    "ImageReader",
    "export_onnx",
    "image_pipeline",
    "list_architectures",
    "load_model",
    "save_model",
]
