"""Looking inside a fitted network."""

from sklearn_cnn.inspection._activations import feature_maps
from sklearn_cnn.inspection._architecture_display import ArchitectureDisplay
from sklearn_cnn.inspection._saliency import saliency

__all__ = ["ArchitectureDisplay", "feature_maps", "saliency"]
