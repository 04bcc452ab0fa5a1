"""Looking inside a fitted network."""

from sklearn_cnn.inspection._activations import feature_maps
from sklearn_cnn.inspection._architecture_display import ArchitectureDisplay
from sklearn_cnn.inspection._augmentation_display import AugmentationDisplay
from sklearn_cnn.inspection._feature_map_display import FeatureMapDisplay
from sklearn_cnn.inspection._filter_display import FilterDisplay
from sklearn_cnn.inspection._mistakes_display import MistakesDisplay
from sklearn_cnn.inspection._saliency import saliency
from sklearn_cnn.inspection._saliency_display import SaliencyDisplay
from sklearn_cnn.inspection._training_curve_display import TrainingCurveDisplay

__all__ = [
    "ArchitectureDisplay",
    "AugmentationDisplay",
    "FeatureMapDisplay",
    "FilterDisplay",
    "MistakesDisplay",
    "SaliencyDisplay",
    "TrainingCurveDisplay",
    "feature_maps",
    "saliency",
]
