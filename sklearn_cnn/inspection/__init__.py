"""Looking inside a fitted network."""

from sklearn_cnn.inspection._activations import feature_maps
from sklearn_cnn.inspection._saliency import saliency

__all__ = ["feature_maps", "saliency"]
