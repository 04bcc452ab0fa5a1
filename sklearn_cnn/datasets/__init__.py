"""Loading sets of images."""

from sklearn_cnn.datasets._folder import load_image_folder

__all__ = ["load_image_folder"]
