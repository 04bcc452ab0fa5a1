"""The classes of estimators that a saved model can hold, and the attributes of each when it is fitted."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC

from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._classifier import CNNClassifier
from sklearn_cnn.estimators._feature_extractor import CNNFeatureExtractor
from sklearn_cnn.estimators._regressor import CNNRegressor
from sklearn_cnn.images._moments import REDUCED, Moments
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.persistence._untrusted import is_size, malformed
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._normalizer import ImageNormalizer
from sklearn_cnn.preprocessing._reader import ImageReader

Fitted = Mapping[str, Any]
Sizes = dict[str, int]
Check = Callable[[Any, Sizes], Any]
"""Whether a value is allowed for an attribute. Lengths of axes are kept by name, and must agree."""


@dataclass(frozen=True)
class SavedClass:
    """A class that saved models hold, the check of each fitted attribute, and whether all of them match."""

    cls: type
    fitted: Mapping[str, Check]
    agree: Callable[[Fitted], bool] = lambda fitted: True

    @property
    def own(self) -> bool:
        """Whether it is a class of this package."""
        return self.cls.__module__.startswith("sklearn_cnn.")


# Checks of one value.


def _agree(sizes: Sizes, **found: int) -> bool:
    return all(sizes.setdefault(axis, n) == n for axis, n in found.items())


def _numbers(*axes: str) -> Check:
    """An array of numbers with axes of these names."""

    def check(value: Any, sizes: Sizes) -> bool:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != len(axes):
            return False
        return _agree(sizes, **dict(zip(axes, value.shape, strict=True)))

    return check


def _any_of(*checks: Check) -> Check:
    return lambda value, sizes: any(check(value, sizes) for check in checks)


def _each(kind: Any, check: Check, *lengths: int) -> Check:
    """A list or tuple, of this length if there is one, whose values pass a check."""
    return lambda value, sizes: (
        isinstance(value, kind)
        and (not lengths or len(value) in lengths)
        and all(check(entry, sizes) for entry in value)
    )


def _passes(test: Callable[[Any], Any]) -> Check:
    return lambda value, sizes: test(value)


def _one_of(*values: str) -> Check:
    return lambda value, sizes: isinstance(value, str) and value in values


def _length(axis: str) -> Check:
    """An integer that is the length of an axis."""
    return lambda value, sizes: _whole(value, sizes) and _agree(sizes, **{axis: int(value)})


def _labels(axis: str) -> Check:
    """Different labels in order, one for each place on an axis."""

    def check(value: Any, sizes: Sizes) -> bool:
        vector = isinstance(value, np.ndarray) and value.ndim == 1 and len(value) > 0
        return vector and np.array_equal(np.unique(value), value) and _agree(sizes, **{axis: len(value)})

    return check


def _names(value: Any, sizes: Sizes) -> bool:
    array = isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1
    return array and all(isinstance(name, str) for name in value) and _agree(sizes, features=len(value))


def _image_shape(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, ImageShape) or value.n_values == 0 or value.axes not in ("hw", "hwc", "chw"):
        return False
    c, h, w = value.channels_first
    return (c == 1 or "c" in value.axes) and _agree(sizes, c=c, h=h, w=w, features=value.n_values)


def _plan(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, Plan) or len(value.output_shape) != 1:
        return False
    c, h, w = value.input_shape
    return _agree(sizes, c=c, h=h, w=w, outputs=value.output_shape[0])


def _weights(value: Any, sizes: Sizes) -> bool:
    """The tensors of a network, all of one float dtype but for counters."""
    dtypes = {array.dtype.name for array in value.values()} if isinstance(value, dict) else set()
    return len(dtypes & {"float32", "float64"}) == 1 and dtypes <= {"float32", "float64", *_COUNTERS}


def _moments(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, Moments) or value.per not in REDUCED or not is_size(value.n_images):
        return False
    numbers = (value.mean, value.squares, value.low, value.high)
    arrays = all(isinstance(part, np.ndarray) and part.dtype.kind in "fiu" for part in numbers)
    return arrays and _number(value.total, sizes) and value.n_images > 0 < value.total


_none = _passes(lambda value: value is None)
_flag = _passes(lambda value: isinstance(value, bool))
_text = _passes(lambda value: isinstance(value, str))
_record = _passes(lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value))
_number = _passes(lambda value: isinstance(value, int | float | np.number) and not isinstance(value, bool))
_whole = _passes(lambda value: is_size(value.item() if isinstance(value, np.integer) else value))
_device = _passes(lambda value: isinstance(value, str) and re.fullmatch(r"(cpu|cuda|mps)(:[0-9]{1,3})?", value))


# Checks of several values.


def _classifier_agrees(fitted: Fitted) -> bool:
    classes = fitted["classes_"]
    return fitted["task_"] == "multiclass" or np.array_equal(classes, np.arange(len(classes)))


def _extractor_agrees(fitted: Fitted) -> bool:
    layer = next((layer for layer in fitted["plan_"].layers if layer.name == fitted["layer_"]), None)
    shape: tuple[int, ...] = layer.output_shape if layer else ()
    if fitted["pooled_"]:
        return len(shape) == 3 and fitted["_n_features_out"] == shape[0]
    return len(shape) > 0 and fitted["_n_features_out"] == prod(shape)


def _normalizer_agrees(fitted: Fitted) -> bool:
    learnt, moments, shape = [fitted["offset_"], fitted["scale_"]], fitted["_moments"], fitted["image_shape_"]
    if moments is None:
        return learnt == [None, None]
    inner = {"channel": (shape.channels, 1, 1), "pixel": shape.channels_first, "all": (1, 1, 1)}[moments.per]
    outer = {"channel": (shape.channels,), "pixel": shape.sample_shape, "all": ()}[moments.per]
    if any(np.shape(part) != inner for part in (moments.mean, moments.squares, moments.low, moments.high)):
        return False
    return all(isinstance(value, np.ndarray) and value.shape == outer for value in learnt)


def _rows_are_classes(fitted: Fitted) -> bool:
    n_classes = len(fitted["classes_"])
    return n_classes > 1 and len(fitted["coef_"]) in ((1, 2) if n_classes == 2 else (n_classes,))


_COUNTERS = ("int64", "int32", "bool", "uint8")
_MAY_LACK = ("feature_names_in_", "_sklearn_output_config", "size_")

_FEATURES = _numbers("features")
_CURVE = _any_of(_none, _each(list, _any_of(_none, _number)))
_BIAS = {"intercept_": _any_of(_numbers("rows"), _number)}
_OUTPUT = {"_sklearn_output_config": _record}
_ROWS = {"n_features_in_": _length("features"), "feature_names_in_": _names}
_IMAGES = {**_ROWS, "image_shape_": _image_shape}
_NETWORK = {
    **_IMAGES,
    "plan_": _plan,
    "module_": _weights,
    "device_": _device,
    "pixel_range_": _each(tuple, _number, 2),
}
_TRAINED = {
    **_NETWORK,
    "batch_size_": _whole,
    "precision_": _one_of("float32", "bfloat16", "float64"),
    "history_": _each(list, _record),
    "n_iter_": _whole,
    **dict.fromkeys(("loss_curve_", "validation_loss_curve_", "validation_scores_"), _CURVE),
    "best_epoch_": _any_of(_none, _whole),
}
_LABELS = {"classes_": _labels("outputs"), "task_": _one_of("multiclass", "multilabel")}
_NUMBERS = {
    "n_outputs_": _length("outputs"),
    **dict.fromkeys(("target_mean_", "target_scale_"), _numbers("outputs")),
    "task_": _one_of("regression"),
}
_LAYER = {"layer_": _text, "pooled_": _flag, "_n_features_out": _whole}
_STATISTICS = {
    "_moments": _any_of(_none, _moments),
    "n_samples_seen_": _whole,
    **dict.fromkeys(("offset_", "scale_"), _passes(lambda value: True)),  # see _normalizer_agrees
}
_SCALER = {**_ROWS, **_OUTPUT, "n_samples_seen_": _any_of(_number, _FEATURES)}
_DEVIATIONS = dict.fromkeys(("mean_", "var_", "scale_"), _any_of(_none, _FEATURES))
_RANGES = dict.fromkeys(("min_", "scale_", "data_min_", "data_max_", "data_range_"), _FEATURES)
_COMPONENTS = {
    "_fit_svd_solver": _text,
    "mean_": _FEATURES,
    "noise_variance_": _number,
    "n_samples_": _whole,
    "n_components_": _length("components"),
    "components_": _numbers("components", "features"),
    **dict.fromkeys(("explained_variance_", "explained_variance_ratio_", "singular_values_"), _numbers("components")),
}
_LINES = {**_ROWS, **_BIAS, "classes_": _labels("classes"), "coef_": _numbers("rows", "features")}
_RIDGE = {
    "coef_": _any_of(_FEATURES, _numbers("rows", "features")),
    "n_iter_": _any_of(_none, _numbers("targets")),
    "solver_": _text,
}

# Of scikit-learn, classes whose fitted attributes are a few arrays that NumPy alone computes with. The compiled code of
# SVC and of trees follows indices without checking them, so a file could make it read other memory.
CLASSES: dict[Any, SavedClass] = {
    saved.cls.__name__: saved
    for saved in (
        SavedClass(CNNClassifier, {**_TRAINED, **_LABELS}, _classifier_agrees),
        SavedClass(CNNRegressor, {**_TRAINED, **_NUMBERS}),
        SavedClass(CNNFeatureExtractor, {**_NETWORK, **_OUTPUT, **_LAYER}, _extractor_agrees),
        SavedClass(ImageNormalizer, {**_IMAGES, **_OUTPUT, **_STATISTICS}, _normalizer_agrees),
        SavedClass(ImageAugmenter, {**_IMAGES, **_OUTPUT}),
        SavedClass(ImageReader, {"size_": _each(tuple, _whole, 2), **_OUTPUT}),
        SavedClass(Pipeline, {}),
        SavedClass(FrozenEstimator, {}),
        SavedClass(StandardScaler, {**_SCALER, **_DEVIATIONS}),
        SavedClass(MinMaxScaler, {**_SCALER, **_RANGES}),
        SavedClass(PCA, {**_ROWS, **_OUTPUT, **_COMPONENTS}),
        SavedClass(LogisticRegression, {**_LINES, "n_iter_": _numbers("runs")}, _rows_are_classes),
        SavedClass(LinearSVC, {**_LINES, "n_iter_": _whole}, _rows_are_classes),
        SavedClass(Ridge, {**_ROWS, **_BIAS, **_RIDGE}),
    )
}
"""The classes, by name."""


def class_of(estimator: Any, path: str) -> SavedClass:
    """Look the class of an estimator up. A TypeError, with its path, refuses other classes."""
    saved = CLASSES.get(type(estimator).__name__)
    if saved is not None and type(estimator) is saved.cls:
        return saved
    best = " Save its best_estimator_." if hasattr(estimator, "best_estimator_") else ""
    raise TypeError(
        f"{path} is of type {type(estimator).__name__}, which a saved model cannot hold; it holds "
        f"{', '.join(CLASSES)}.{best}"
    )


def check_fitted(saved: SavedClass, fitted: Fitted) -> None:
    """Refuse, by a ModelFileError, attributes that no fitted estimator of a class has."""
    name, sizes = saved.cls.__name__, Sizes()
    for key in (*saved.fitted, *fitted):
        if key not in saved.fitted or (key not in fitted and key not in _MAY_LACK):
            raise malformed(f"{name} {'has no' if key in saved.fitted else 'has the unknown'} attribute {key[:40]!r}")
    for key, check in saved.fitted.items():
        if key in fitted and not check(fitted[key], sizes):
            raise malformed(f"the attribute {key} of {name} has an impossible type, shape or value")
    if not saved.agree(fitted):
        raise malformed(f"the attributes of {name} do not match each other")
