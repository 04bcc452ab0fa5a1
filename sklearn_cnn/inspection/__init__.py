"""Looking inside a fitted network."""

from sklearn_cnn.inspection._activations import feature_maps
from sklearn_cnn.inspection._architecture_display import ArchitectureDisplay
from sklearn_cnn.inspection._feature_map_display import FeatureMapDisplay
from sklearn_cnn.inspection._filter_display import FilterDisplay
from sklearn_cnn.inspection._saliency import saliency
from sklearn_cnn.inspection._saliency_display import SaliencyDisplay

__all__ = [
    "ArchitectureDisplay",
    "FeatureMapDisplay",
    "FilterDisplay",
    "SaliencyDisplay",
    "feature_maps",
    "saliency",
]
