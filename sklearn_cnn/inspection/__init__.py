"""Looking inside a fitted network."""

from sklearn_cnn.inspection._activations import feature_maps
from sklearn_cnn.inspection._augmentation_display import AugmentationDisplay
from sklearn_cnn.inspection._mistakes_display import MistakesDisplay
from sklearn_cnn.inspection._saliency import saliency
from sklearn_cnn.inspection._training_curve_display import TrainingCurveDisplay

__all__ = ["AugmentationDisplay", "MistakesDisplay", "TrainingCurveDisplay", "feature_maps", "saliency"]
