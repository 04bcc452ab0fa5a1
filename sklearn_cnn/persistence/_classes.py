"""The classes of estimators that a saved model can hold, and the attributes of each when it is fitted."""

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
from sklearn_cnn.persistence._untrusted import is_flag, is_size, is_text, malformed
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._normalizer import ImageNormalizer
from sklearn_cnn.preprocessing._reader import ImageReader

Fitted = Mapping[str, Any]
Sizes = dict[str, int]
Check = Callable[[Any, Sizes], bool]
"""Whether a value is allowed for an attribute. Lengths of axes are kept by name, and must agree."""


@dataclass(frozen=True)
class SavedClass:
    """A class that saved models hold.

    Attributes
    ----------
    cls : type
        The class.
    fitted : mapping of str to callable
        The fitted attributes and the check of each.
    agree : callable
        ``fitted -> bool``: whether the attributes match each other.
    optional : tuple of str
        The attributes that a fitted estimator need not have.
    """

    cls: type
    fitted: Mapping[str, Check]
    agree: Callable[[Fitted], bool] = lambda fitted: True
    optional: tuple[str, ...] = ("feature_names_in_", "_sklearn_output_config", "size_")

    @property
    def own(self) -> bool:
        """Whether it is a class of this package."""
        return self.cls.__module__.startswith("sklearn_cnn.")


# Checks of one value.


def _numbers(*axes: str) -> Check:
    """An array of numbers with axes of these names."""

    def check(value: Any, sizes: Sizes) -> bool:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != len(axes):
            return False
        return all(sizes.setdefault(axis, n) == n for axis, n in zip(axes, value.shape, strict=True))

    return check


def _any_of(*checks: Check) -> Check:
    def check(value: Any, sizes: Sizes) -> bool:
        for one in checks:
            agreed = dict(sizes)
            if one(value, agreed):
                sizes.update(agreed)
                return True
        return False

    return check


def _each(kind: type, check: Check, length: int | None = None) -> Check:
    """A list or tuple of values that pass a check."""
    return lambda value, sizes: (
        isinstance(value, kind)
        and length in (None, len(value))  # type: ignore[arg-type]  # of lists and tuples
        and all(check(entry, sizes) for entry in value)  # type: ignore[attr-defined]  # likewise
    )


def _passes(test: Callable[[Any], bool]) -> Check:
    return lambda value, sizes: test(value)


def _is(kind: type) -> Check:
    return lambda value, sizes: isinstance(value, kind)


def _length(axis: str) -> Check:
    """An integer that is the length of an axis."""
    return lambda value, sizes: _whole(value, sizes) and sizes.setdefault(axis, int(value)) == value


def _labels(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or len(value) == 0:
        return False
    return bool(np.array_equal(np.unique(value), value))


def _names(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype != object:
        return False
    return all(map(is_text, value)) and sizes.setdefault("features", len(value)) == len(value)


def _image_shape(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, ImageShape) and sizes.setdefault("features", value.n_values) == value.n_values


def _device(value: Any, sizes: Sizes) -> bool:
    kind, _, index = value.partition(":") if isinstance(value, str) else ("", "", "")
    return kind in ("cpu", "cuda", "mps") and (index == "" or (index.isdecimal() and len(index) < 4))


def _texts(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, dict) and all(is_text(text) for pair in value.items() for text in pair)


def _history(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, dict) and all(map(is_text, value))


def _moments(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, Moments) or value.per not in REDUCED or not is_size(value.n_images):
        return False
    numbers = (value.mean, value.squares, value.low, value.high)
    arrays = all(isinstance(part, np.ndarray) and part.dtype.kind in "fiu" for part in numbers)
    return arrays and _number(value.total, sizes) and value.n_images > 0 < value.total


_none = _passes(lambda value: value is None)
_anything = _passes(lambda value: True)
_flag = _passes(is_flag)
_text = _passes(is_text)
_number = _passes(lambda value: isinstance(value, int | float | np.number) and not isinstance(value, bool))
_whole = _passes(lambda value: is_size(value.item() if isinstance(value, np.integer) else value))


# Checks of several values.


def _network_agrees(fitted: Fitted) -> bool:
    """Whether the plan is for such images and the weights have the dtypes of a network."""
    if fitted["plan_"].input_shape != fitted["image_shape_"].channels_first:
        return False
    dtypes = {value.dtype for value in fitted["module_"].values()}
    floats = {dtype.name for dtype in dtypes if dtype.kind == "f"}
    others = {dtype.name for dtype in dtypes if dtype.kind != "f"}
    return floats in ({"float32"}, {"float64"}) and others <= {"int64", "int32", "bool", "uint8"}


def _classifier_agrees(fitted: Fitted) -> bool:
    classes = fitted["classes_"]
    if fitted["plan_"].output_shape != (len(classes),):
        return False
    numbered = np.array_equal(classes, np.arange(len(classes)))
    return (numbered or fitted["task_"] == "multiclass") and _network_agrees(fitted)


def _regressor_agrees(fitted: Fitted) -> bool:
    return fitted["plan_"].output_shape == (fitted["n_outputs_"],) and _network_agrees(fitted)


def _extractor_agrees(fitted: Fitted) -> bool:
    shapes = {row.name: row.output_shape for row in fitted["plan_"].layers}
    shape, pooled = shapes.get(fitted["layer_"], ()), fitted["pooled_"]
    if not shape or (pooled and len(shape) != 3):
        return False
    return fitted["_n_features_out"] == (shape[0] if pooled else prod(shape)) and _network_agrees(fitted)


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


_OUTPUT = {"_sklearn_output_config": _texts}
_ROWS = {"n_features_in_": _length("features"), "feature_names_in_": _names}
_IMAGES = {**_ROWS, "image_shape_": _image_shape}
_CURVE = _any_of(_none, _each(list, _any_of(_none, _number)))
_NETWORK: dict[str, Check] = {
    **_IMAGES,
    "plan_": _is(Plan),
    "module_": _is(dict),
    "device_": _device,
    "pixel_range_": _each(tuple, _number, 2),
}
_TRAINED: dict[str, Check] = {
    **_NETWORK,
    "batch_size_": _whole,
    "precision_": _passes(lambda value: value in ("float32", "bfloat16", "float64")),
    "history_": _each(list, _history),
    "n_iter_": _whole,
    **dict.fromkeys(("loss_curve_", "validation_loss_curve_", "validation_scores_"), _CURVE),
    "best_epoch_": _any_of(_none, _whole),
}
_SCALED = {**_ROWS, **_OUTPUT, "n_samples_seen_": _any_of(_number, _numbers("features"))}
_BIAS = _any_of(_numbers("rows"), _number)
_LINES = {**_ROWS, "classes_": _labels, "coef_": _numbers("rows", "features"), "intercept_": _BIAS}

CLASSES: dict[str, SavedClass] = {
    entry.cls.__name__: entry
    for entry in (
        SavedClass(
            CNNClassifier,
            {
                **_TRAINED,
                "classes_": _labels,
                "task_": _passes(lambda value: value in ("multiclass", "multilabel")),
            },
            _classifier_agrees,
        ),
        SavedClass(
            CNNRegressor,
            {
                **_TRAINED,
                "n_outputs_": _length("outputs"),
                "target_mean_": _numbers("outputs"),
                "target_scale_": _numbers("outputs"),
                "task_": _passes(lambda value: value == "regression"),
            },
            _regressor_agrees,
        ),
        SavedClass(
            CNNFeatureExtractor,
            {**_NETWORK, **_OUTPUT, "layer_": _text, "pooled_": _flag, "_n_features_out": _whole},
            _extractor_agrees,
        ),
        SavedClass(
            ImageNormalizer,
            {
                **_IMAGES,
                **_OUTPUT,
                "_moments": _any_of(_none, _moments),
                "n_samples_seen_": _whole,
                "offset_": _anything,  # its shape follows from other attributes, see _normalizer_agrees
                "scale_": _anything,
            },
            _normalizer_agrees,
        ),
        SavedClass(ImageAugmenter, {**_IMAGES, **_OUTPUT}),
        SavedClass(ImageReader, {"size_": _each(tuple, _whole, 2), **_OUTPUT}),
        # Of scikit-learn, classes whose fitted attributes are a few arrays that NumPy alone computes with. The compiled
        # code of SVC and of trees follows indices without checking them, so a file could make it read other memory.
        SavedClass(Pipeline, {}),
        SavedClass(FrozenEstimator, {}),
        SavedClass(
            StandardScaler,
            {**_SCALED, **dict.fromkeys(("mean_", "var_", "scale_"), _any_of(_none, _numbers("features")))},
        ),
        SavedClass(
            MinMaxScaler,
            {
                **_SCALED,
                **dict.fromkeys(("min_", "scale_", "data_min_", "data_max_", "data_range_"), _numbers("features")),
            },
        ),
        SavedClass(
            PCA,
            {
                **_ROWS,
                **_OUTPUT,
                "_fit_svd_solver": _text,
                "mean_": _numbers("features"),
                "noise_variance_": _number,
                "n_samples_": _whole,
                "n_components_": _length("components"),
                "components_": _numbers("components", "features"),
                **dict.fromkeys(
                    ("explained_variance_", "explained_variance_ratio_", "singular_values_"), _numbers("components")
                ),
            },
        ),
        SavedClass(LogisticRegression, {**_LINES, "n_iter_": _numbers("runs")}, _rows_are_classes),
        SavedClass(LinearSVC, {**_LINES, "n_iter_": _whole}, _rows_are_classes),
        SavedClass(
            Ridge,
            {
                **_ROWS,
                "coef_": _any_of(_numbers("features"), _numbers("rows", "features")),
                "n_iter_": _any_of(_none, _numbers("targets")),
                "solver_": _text,
                "intercept_": _BIAS,
            },
        ),
    )
}


def class_of(estimator: Any, path: str) -> SavedClass:
    """Look the class of an estimator up.

    Raises
    ------
    TypeError
        For a class that saved models do not hold; the message has the path.
    """
    entry = CLASSES.get(type(estimator).__name__)
    if entry is not None and type(estimator) is entry.cls:
        return entry
    best = " Save its best_estimator_." if hasattr(estimator, "best_estimator_") else ""
    raise TypeError(
        f"{path} is of type {type(estimator).__name__}, which a saved model cannot hold; it holds "
        f"{', '.join(CLASSES)}.{best}"
    )


def check_fitted(entry: SavedClass, fitted: Fitted) -> None:
    """Refuse attributes that no fitted estimator of a class has.

    Raises
    ------
    ModelFileError
        With the first of them.
    """
    name = entry.cls.__name__
    missing = [key for key in entry.fitted if key not in fitted and key not in entry.optional]
    unknown = [key for key in fitted if key not in entry.fitted]
    if missing or unknown:
        raise malformed(f"{name} has no {missing[0]}" if missing else f"{name} has no attribute {unknown[0][:40]!r}")
    sizes: Sizes = {}
    for key, check in entry.fitted.items():
        if key in fitted and not check(fitted[key], sizes):
            raise malformed(f"{key} of {name} is not allowed: its type, shape or value is that of no such attribute")
    if not entry.agree(fitted):
        raise malformed(f"the attributes of {name} do not match each other")
