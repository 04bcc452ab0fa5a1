"""The classes that a file may hold, and what each of them has when it is fitted."""

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

from sklearn_cnn.architectures._catalog import CATALOG
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._classifier import CNNClassifier
from sklearn_cnn.estimators._feature_extractor import CNNFeatureExtractor
from sklearn_cnn.estimators._regressor import CNNRegressor
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.images._moments import REDUCED, Moments
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.persistence._plans import tensor_shapes
from sklearn_cnn.persistence._text import is_whole
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._normalizer import ImageNormalizer
from sklearn_cnn.preprocessing._reader import ImageReader

Sizes = dict[str, int]
Check = Callable[[Any, Sizes], bool]
"""Whether a value can be that of an attribute. Lengths of axes are kept by name, and must agree."""


@dataclass(frozen=True)
class Kind:
    """A class that files may hold.

    Attributes
    ----------
    cls : type
        The class.
    fitted : mapping of str to Check
        What a fitted one has, beside its parameters.
    may_lack : tuple of str
        Those of them that it need not have.
    agree : callable
        ``fitted -> bool``: whether its attributes fit each other.
    """

    cls: type
    fitted: Mapping[str, Check]
    may_lack: tuple[str, ...] = ()
    agree: Callable[[Mapping[str, Any]], bool] = lambda fitted: True

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


def _all_of(kind: type, check: Check) -> Check:
    return lambda value, sizes: isinstance(value, kind) and all(check(entry, sizes) for entry in value)  # type: ignore[attr-defined]  # of lists and tuples


def _none(value: Any, sizes: Sizes) -> bool:
    return value is None


def _flag(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, bool)


def _text(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, str)


def _number(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _whole(value: Any, sizes: Sizes) -> bool:
    return is_whole(value.item() if isinstance(value, np.integer) else value)


def _length(axis: str) -> Check:
    """A whole number that is the length of an axis."""
    return lambda value, sizes: _whole(value, sizes) and sizes.setdefault(axis, int(value)) == value


def _labels(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or len(value) == 0:
        return False
    return bool(np.array_equal(np.unique(value), value))


def _names(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype != object:
        return False
    return all(isinstance(name, str) for name in value) and sizes.setdefault("features", len(value)) == len(value)


def _image_shape(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, ImageShape) and sizes.setdefault("features", value.n_values) == value.n_values


def _device(value: Any, sizes: Sizes) -> bool:
    kind, _, index = value.partition(":") if isinstance(value, str) else ("", "", "")
    return kind in ("cpu", "cuda", "mps") and (index == "" or (index.isdecimal() and len(index) < 4))


def _output_config(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _architecture(value: Any, sizes: Sizes) -> bool:
    return value is None or (isinstance(value, str) and (value in CATALOG or is_backbone(value)))


def _history(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _plan(value: Any, sizes: Sizes) -> bool:
    return isinstance(value, Plan)


def _moments(value: Any, sizes: Sizes) -> bool:
    if not isinstance(value, Moments) or value.per not in REDUCED or not _whole(value.n_images, sizes):
        return False
    parts = [value.mean, value.squares, value.low, value.high]
    numbers = all(isinstance(part, np.ndarray) and part.dtype.kind in "fiu" for part in parts)
    return numbers and _number(value.total, sizes) and value.n_images > 0 < value.total


def is_backbone(architecture: Any) -> bool:
    """Whether a name is that of a network of torchvision or timm."""
    return isinstance(architecture, str) and architecture.startswith(("torchvision:", "timm:"))


# Checks of several.


def _network_agrees(fitted: Mapping[str, Any]) -> bool:
    """Whether the plan is for such images, and the weights are what the plan has, by name, shape and dtype."""
    plan, weights, architecture = fitted["plan_"], fitted["module_"], fitted["_architecture"]
    if plan.input_shape != fitted["image_shape_"].channels_first:
        return False
    ready_made = [row for row in plan.layers if row.kind == "module"]
    if len(ready_made) != is_backbone(architecture):
        return False
    shapes = tensor_shapes(plan, architecture)
    if not isinstance(weights, dict) or {name: np.shape(value) for name, value in weights.items()} != shapes:
        return False
    if sum(row.n_parameters for row in ready_made) > sum(map(prod, shapes.values())):
        return False
    floats = {value.dtype.name for value in weights.values() if value.dtype.kind == "f"}
    counts = {value.dtype.name for value in weights.values() if value.dtype.kind != "f"}
    return len(floats) == 1 and floats <= {"float32", "float64"} and counts <= {"int64", "int32", "bool", "uint8"}


def _classifier_agrees(fitted: Mapping[str, Any]) -> bool:
    classes = fitted["classes_"]
    if fitted["plan_"].output_shape != (len(classes),):
        return False
    numbered = np.array_equal(classes, np.arange(len(classes))) or not fitted["_multilabel"]
    return bool(numbered) and _network_agrees(fitted)


def _regressor_agrees(fitted: Mapping[str, Any]) -> bool:
    return fitted["plan_"].output_shape == (fitted["n_outputs_"],) and _network_agrees(fitted)


def _extractor_agrees(fitted: Mapping[str, Any]) -> bool:
    shapes = {row.name: row.output_shape for row in fitted["plan_"].layers}
    shape, pooled = shapes.get(fitted["layer_"], ()), fitted["_pooled"]
    if not shape or (pooled and len(shape) != 3):
        return False
    return fitted["_n_features_out"] == (shape[0] if pooled else prod(shape)) and _network_agrees(fitted)


def _normalizer_agrees(fitted: Mapping[str, Any]) -> bool:
    learnt, moments, shape = [fitted["offset_"], fitted["scale_"]], fitted["_moments"], fitted["image_shape_"]
    if moments is None:
        return learnt == [None, None]
    inner = {"channel": (shape.channels, 1, 1), "pixel": shape.channels_first, "all": (1, 1, 1)}[moments.per]
    outer = {"channel": (shape.channels,), "pixel": shape.sample_shape, "all": ()}[moments.per]
    if any(np.shape(part) != inner for part in (moments.mean, moments.squares, moments.low, moments.high)):
        return False
    return all(isinstance(value, np.ndarray) and value.shape == outer for value in learnt)


def _rows_are_classes(fitted: Mapping[str, Any]) -> bool:
    n_classes = len(fitted["classes_"])
    return n_classes > 1 and len(fitted["coef_"]) in ((1, 2) if n_classes == 2 else (n_classes,))


_OUTPUT = {"_sklearn_output_config": _output_config}
_IMAGES = {"image_shape_": _image_shape, "n_features_in_": _length("features"), "feature_names_in_": _names}
_ROWS = {"n_features_in_": _length("features"), "feature_names_in_": _names}
_LACKED = ("feature_names_in_", "_sklearn_output_config")
_CURVE = _any_of(_none, _all_of(list, _any_of(_none, _number)))
_NETWORK: dict[str, Check] = {
    **_IMAGES,
    "plan_": _plan,
    "_architecture": _architecture,
    "device_": _device,
    "_pixel_range": lambda value, sizes: _all_of(tuple, _number)(value, sizes) and len(value) == 2,
    "module_": lambda value, sizes: isinstance(value, dict),
}
_TRAINED: dict[str, Check] = {
    **_NETWORK,
    "batch_size_": _whole,
    "precision_": lambda value, sizes: value in ("float32", "bfloat16", "float64"),
    "history_": _all_of(list, _history),
    "n_iter_": _whole,
    "loss_curve_": _CURVE,
    "validation_loss_curve_": _CURVE,
    "validation_scores_": _CURVE,
    "best_epoch_": _any_of(_none, _whole),
}
_SEEN = _any_of(_number, _numbers("features"))
_BIAS = _any_of(_numbers("rows"), _number)

KINDS: dict[str, Kind] = {
    kind.cls.__name__: kind
    for kind in (
        Kind(CNNClassifier, {**_TRAINED, "classes_": _labels, "_multilabel": _flag}, _LACKED, _classifier_agrees),
        Kind(
            CNNRegressor,
            {
                **_TRAINED,
                "n_outputs_": _length("outputs"),
                "target_mean_": _numbers("outputs"),
                "target_scale_": _numbers("outputs"),
            },
            _LACKED,
            _regressor_agrees,
        ),
        Kind(
            CNNFeatureExtractor,
            {**_NETWORK, **_OUTPUT, "layer_": _text, "_pooled": _flag, "_n_features_out": _whole},
            _LACKED,
            _extractor_agrees,
        ),
        Kind(
            ImageNormalizer,
            {
                **_IMAGES,
                **_OUTPUT,
                "_moments": _any_of(_none, _moments),
                "n_samples_seen_": _whole,
                "offset_": lambda value, sizes: True,  # of a shape that depends on more than this
                "scale_": lambda value, sizes: True,  # likewise
            },
            _LACKED,
            _normalizer_agrees,
        ),
        Kind(ImageAugmenter, {**_IMAGES, **_OUTPUT}, _LACKED),
        Kind(
            ImageReader,
            {"size_": lambda value, sizes: _all_of(tuple, _whole)(value, sizes) and len(value) == 2, **_OUTPUT},
            ("size_", *_LACKED),
        ),
        # Of scikit-learn: what is fitted is a few arrays, used by NumPy alone. Compiled code that follows indices
        # which it is given, as that of SVC and trees does, could be made to read beyond its memory.
        Kind(Pipeline, {}),
        Kind(FrozenEstimator, {}),
        Kind(
            StandardScaler,
            {
                **_ROWS,
                **_OUTPUT,
                "n_samples_seen_": _SEEN,
                **dict.fromkeys(("mean_", "var_", "scale_"), _any_of(_none, _numbers("features"))),
            },
            _LACKED,
        ),
        Kind(
            MinMaxScaler,
            {
                **_ROWS,
                **_OUTPUT,
                "n_samples_seen_": _SEEN,
                **dict.fromkeys(("min_", "scale_", "data_min_", "data_max_", "data_range_"), _numbers("features")),
            },
            _LACKED,
        ),
        Kind(
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
            _LACKED,
        ),
        Kind(
            LogisticRegression,
            {
                **_ROWS,
                "classes_": _labels,
                "n_iter_": _numbers("runs"),
                "coef_": _numbers("rows", "features"),
                "intercept_": _BIAS,
            },
            _LACKED,
            _rows_are_classes,
        ),
        Kind(
            LinearSVC,
            {
                **_ROWS,
                "classes_": _labels,
                "n_iter_": _whole,
                "coef_": _numbers("rows", "features"),
                "intercept_": _BIAS,
            },
            _LACKED,
            _rows_are_classes,
        ),
        Kind(
            Ridge,
            {
                **_ROWS,
                "coef_": _any_of(_numbers("features"), _numbers("rows", "features")),
                "n_iter_": _any_of(_none, _numbers("targets")),
                "solver_": _text,
                "intercept_": _BIAS,
            },
            _LACKED,
        ),
    )
}


def kind_of(estimator: Any, name: str) -> Kind:
    """Look an estimator's class up.

    Raises
    ------
    TypeError
        Where files hold no such class.
    """
    kind = KINDS.get(type(estimator).__name__)
    if kind is not None and type(estimator) is kind.cls:
        return kind
    best = " Save its best_estimator_." if hasattr(estimator, "best_estimator_") else ""
    raise TypeError(
        f"{name} is of type {type(estimator).__name__}, which a model file cannot hold; it holds "
        f"{', '.join(KINDS)}.{best}"
    )


def check_fitted(kind: Kind, fitted: Mapping[str, Any]) -> None:
    """Refuse attributes that no fitted estimator of a class has.

    Raises
    ------
    ModelFileError
        With the first of them.
    """
    name = kind.cls.__name__
    missing = [key for key in kind.fitted if key not in fitted and key not in kind.may_lack]
    unknown = [key for key in fitted if key not in kind.fitted]
    if missing or unknown:
        what = f"has no {missing[0]}" if missing else f"has {unknown[0][:40]!r}, which is nothing of it"
        raise ModelFileError(f"its {name} {what}")
    sizes: Sizes = {}
    for key, check in kind.fitted.items():
        if key in fitted and not check(fitted[key], sizes):
            raise ModelFileError(f"{key} of its {name} is not what such an attribute can be")
    if not kind.agree(fitted):
        raise ModelFileError(f"the attributes of its {name} do not fit each other")
