"""How X is read: arrays, lists, tensors and frames of images become one `ImageSource`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import _check_feature_names, _get_feature_names

from sklearn_cnn.images._containers import as_array, refuse_unreadable, refuse_wrapped
from sklearn_cnn.images._shape import ImageShape, infer_image_shape
from sklearn_cnn.images._source import ImageSource

_TO_FLOAT32 = {np.dtype(name) for name in ("int8", "int16", "uint16", "float16")}
_KEPT = {np.dtype(name) for name in ("uint8", "float32", "float64")}


def read_images(
    X: Any,
    *,
    expected: ImageShape | None = None,
    image_shape: Any = None,
    channels: str = "auto",
    name: str = "the estimator",
) -> ImageSource:
    """Read X: check it, and find its shape or compare that with the fitted one.

    Parameters
    ----------
    X : object
        Images in any form that is read.
    expected : ImageShape or None, default=None
        The shape at ``fit``, with which X must agree. With None the shape is inferred from X.
    image_shape, channels : object
        The parameters of those names, from which the shape is inferred.
    name : str, default="the estimator"
        What messages call the reading estimator.

    Returns
    -------
    ImageSource
        X itself where it is one. Otherwise one without a recipe, whose base is an array of uint8, float32
        or float64 with each image contiguous: the caller's own array wherever possible.

    Raises
    ------
    ValueError, TypeError
        Where X cannot be read, or differs in shape from `expected`.
    """
    if isinstance(X, ImageSource):
        return _read_source(X, expected, image_shape, channels, name)
    if _is_plain(X):
        images = _check_numbers(X, name)
    else:
        refuse_unreadable(X)
        _get_feature_names(X)  # raises where only some columns have strings as names
        images = _check_pixels(as_array(X), name)
    if images.ndim == 1:
        raise ValueError(
            f"Expected an array of images, got a 1D array of shape {images.shape} instead. Reshape your data: "
            f"X.reshape(1, -1) if it is a single flattened image, X.reshape(-1, 1) if it holds single pixels."
        )
    return ImageSource(_plain(images), _settle_shape(images.shape, expected, image_shape, channels, name))


def read_again(estimator: Any, X: Any) -> ImageSource:
    """Read X for an estimator that is fitted, and compare it with the X of that fit.

    Parameters
    ----------
    estimator : estimator
        Fitted: has ``image_shape_``, and ``feature_names_in_`` where it was fitted on a frame.
    X : object
        Images in any form that is read.

    Returns
    -------
    ImageSource
        As of `read_images`.

    Raises
    ------
    ValueError, TypeError
        Where X cannot be read, or has another shape or other feature names than at ``fit``.
    """
    if not _is_plain(X) or hasattr(estimator, "feature_names_in_"):
        refuse_unreadable(X)
        _check_feature_names(estimator, X, reset=False)
    return read_images(X, expected=estimator.image_shape_, name=type(estimator).__name__)


def remembered(X: Any, source: ImageSource) -> dict[str, Any]:
    """What a fit remembers of X, by the names of the fitted attributes.

    Parameters
    ----------
    X : object
        What the user passed.
    source : ImageSource
        What was read from it.

    Returns
    -------
    dict
        ``image_shape_``, ``n_features_in_`` and, where X is a frame with strings as column names,
        ``feature_names_in_``.
    """
    shape, names = source.image_shape, _get_feature_names(X)
    facts = {"image_shape_": shape, "n_features_in_": shape.n_values}
    return facts if names is None else {**facts, "feature_names_in_": names}


def remember(estimator: Any, X: Any, source: ImageSource) -> None:
    """Set what a fit remembers of X, and remove the feature names of an earlier fit.

    Parameters
    ----------
    estimator : estimator
        Gets the attributes of `remembered`.
    X : object
        What the user passed.
    source : ImageSource
        What was read from it.
    """
    facts = remembered(X, source)
    vars(estimator).pop("feature_names_in_", None)
    vars(estimator).update(facts)


def _is_plain(X: Any) -> bool:
    """Whether X is an array of numbers, which can hold nothing but NaN that has to be refused.

    What scikit-learn asks of all that it is given, such as whether it is a frame, takes a tenth of a millisecond: as
    long as a convolution of one image.
    """
    return type(X) is np.ndarray and X.dtype.kind in "biuf" and X.dtype.isnative and X.ndim >= 2


def _check_numbers(X: NDArray[Any], name: str) -> NDArray[Any]:
    """What is left to check of a plain array."""
    _check_axes(X)
    if X.dtype.kind == "f":
        assert_all_finite(X, estimator_name=name, input_name="X")
    return X


def _check_pixels(X: Any, name: str) -> NDArray[Any]:
    """The numbers of an array or frame, checked by scikit-learn's `check_array`."""
    if isinstance(X, np.ndarray) and not X.dtype.isnative:
        X = X.astype(X.dtype.newbyteorder("="))  # scikit-learn 1.6 overlooks NaN in swapped bytes
    _check_axes(X)
    try:
        images: NDArray[Any] = check_array(
            X, dtype="numeric", allow_nd=True, ensure_2d=False, ensure_min_features=0, estimator=name, input_name="X"
        )
    except (ValueError, TypeError):
        refuse_wrapped(X)
        raise
    if images.ndim == 1 or images.dtype.hasobject:
        refuse_wrapped(X)
    return images


def _check_axes(X: Any) -> None:
    """Raise a ValueError that names the axis of length zero, if there is one."""
    sides = tuple(getattr(X, "shape", ()))
    if len(sides) < 2 or 0 not in sides:
        return
    axis = sides.index(0)
    what = "sample(s)" if axis == 0 else "feature(s)" if len(sides) == 2 else f"pixels along axis {axis}"
    raise ValueError(f"Found array with 0 {what} (shape={sides}) while a minimum of 1 is required.")


def _plain(images: NDArray[Any]) -> NDArray[Any]:
    """The images as uint8, float32 or float64, each contiguous; copied only where necessary."""
    images = np.asarray(images)  # a memmap as a plain array
    if images.dtype == np.dtype(bool):
        images = (images.view(np.uint8) != 0).view(np.uint8)  # Pillow stores a true pixel as 255
    elif images.dtype in _TO_FLOAT32:
        images = images.astype(np.float32)
    elif images.dtype not in _KEPT:
        images = images.astype(np.float64)
    rows_contiguous: bool = images[:1].flags.c_contiguous
    return images if rows_contiguous else np.ascontiguousarray(images)


def _read_source(
    X: ImageSource, expected: ImageShape | None, image_shape: Any, channels: str, name: str
) -> ImageSource:
    """Check the shape of a source. Its pixels need no check: the step that made it has read them."""
    _check_axes(X)
    try:
        shape = _settle_shape(X.shape, expected, image_shape, channels, name)
    except ValueError:
        if expected is not None or image_shape is not None or channels != "auto":
            raise
        shape = X.image_shape  # ambiguous by its shape alone, but the step before knows where the channels are
    if shape != X.image_shape:
        raise ValueError(
            f"{name} reads X of shape {X.shape} as images of {shape} (height×width×channels), but the step before it "
            f"read {X.image_shape}; give both the same image_shape and channels."
        )
    return X


def _settle_shape(
    sides: tuple[int, ...], expected: ImageShape | None, image_shape: Any, channels: str, name: str
) -> ImageShape:
    if expected is None:
        return infer_image_shape(sides, image_shape, channels)
    _check_same_shape(sides, expected, name)
    return expected


def _check_same_shape(shape: tuple[int, ...], fitted: ImageShape, name: str) -> None:
    if shape[1:] == fitted.sample_shape:
        return
    if len(shape) == 2 and fitted.flat:
        raise ValueError(
            f"X has {shape[1]} features, but {name} is expecting {fitted.n_values} features as input "
            f"(images of {fitted})."
        )
    expected = ", ".join(["n", *map(str, fitted.sample_shape)])
    alone = " One image alone is passed as X[None]." if shape == fitted.sample_shape else ""
    raise ValueError(
        f"X has shape {shape}, but {name} was fitted on X of shape ({expected}).{alone}{_swapped(shape, fitted)}"
    )


def _swapped(shape: tuple[int, ...], fitted: ImageShape) -> str:
    """How to move the channels, where that is the only difference from the fitted shape."""
    if len(shape) != 4 or fitted.flat or fitted.axes not in ("hwc", "chw"):
        return ""
    if fitted.axes == "chw":
        moved, now, then, move = (shape[3], *shape[1:3]), "last", "first", "np.moveaxis(X, -1, 1)"
    else:
        moved, now, then, move = (*shape[2:], shape[1]), "first", "last", "np.moveaxis(X, 1, -1)"
    if moved != fitted.sample_shape:
        return ""
    return f" Its channels={now!r}, but at fit it was channels={then!r}: use {move}."
