"""How X is read: arrays, lists and frames of images become one `ImageSource`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import _check_feature_names, validate_data

from sklearn_cnn.images._shape import ImageShape, infer_image_shape
from sklearn_cnn.images._source import ImageSource

_TO_FLOAT32 = {np.dtype(name) for name in ("int8", "int16", "uint16", "float16")}
_KEPT = {np.dtype(name) for name in ("uint8", "float32", "float64")}


def refuse_unreadable(X: Any) -> None:
    """Raise a TypeError where X is of a kind that is never read: a dict, a string, dates, a sparse matrix."""
    _refuse_sparse(X)
    if _is_pil(X):
        raise TypeError("X is one PIL image, but an array or list of images is expected; one alone is [image].")
    if isinstance(X, dict | str | bytes):
        raise TypeError(f"X must be an array of images; got a {type(X).__name__}.")
    if getattr(getattr(X, "dtype", None), "kind", None) in ("m", "M"):
        raise TypeError(f"X must hold numbers; got dates or times of dtype {X.dtype}.")


def _refuse_sparse(X: Any) -> None:
    if sparse.issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert to a dense array."
        )


def as_array(X: Any) -> Any:
    """Bring lists of images and tensors to an array; leave all else as it is.

    Parameters
    ----------
    X : object
        Whatever the user passed.

    Returns
    -------
    object
        An ndarray where X was a list or object array of images, or a torch tensor; otherwise X itself.

    Raises
    ------
    ValueError
        Where the images of a list differ in size, or one is of a kind that is not read.
    """
    if _is_tensor(X):
        return _from_tensor(X)
    if getattr(X, "ndim", 0) == 1 and getattr(X, "dtype", None) == np.dtype(object):
        X = list(X)  # a Series or object array of images
    if not isinstance(X, list | tuple) or not X:
        return X
    if _is_image(X[0]):
        return _stack(X)
    if isinstance(X[0], list | tuple):
        try:
            return np.asarray(X)
        except ValueError:  # ragged: the images one by one tell where
            return _stack(X)
    return X


def _is_tensor(X: Any) -> bool:
    return type(X).__module__.split(".")[0] == "torch" and hasattr(X, "detach")


def _is_pil(X: Any) -> bool:
    return type(X).__module__.startswith("PIL.")


def _from_tensor(X: Any) -> NDArray[Any]:
    if str(X.layout) != "torch.strided":
        raise TypeError("Sparse data was passed for X, but dense data is required. Use '.to_dense()' on the tensor.")
    X = X.detach().cpu().resolve_neg()
    return (X.float() if str(X.dtype) == "torch.bfloat16" else X).numpy()


def _is_image(entry: Any) -> bool:
    return (
        (isinstance(entry, np.ndarray) and entry.ndim >= 1)
        or _is_pil(entry)
        or _is_tensor(entry)
        or sparse.issparse(entry)  # to be refused by name
    )


def _stack(entries: Any) -> NDArray[Any]:
    images = [_one_image(entry, i) for i, entry in enumerate(entries)]
    first = images[0].shape
    for i, image in enumerate(images):
        if image.shape != first:
            raise ValueError(
                f"all images must have one size, but X[{i}] has shape {image.shape} and X[0] has shape {first}. "
                f"Bring them to one size first; ImageReader(size=(height, width)) does."
            )
    return np.stack(images)


def _one_image(entry: Any, i: int) -> NDArray[Any]:
    mode = getattr(entry, "mode", None)
    if _is_pil(entry) and mode not in ("1", "L", "RGB", "RGBA", "I", "F"):
        raise ValueError(
            f"X[{i}] is a PIL image of mode {mode!r}, whose numbers are no grey or colour values; "
            f'convert it with image.convert("RGB") or image.convert("L"), or pass np.asarray(image).'
        )
    _refuse_sparse(entry)
    if _is_tensor(entry):
        return _from_tensor(entry)
    try:
        return np.asarray(entry)
    except ValueError:
        raise ValueError(f"X[{i}] is no image: its rows differ in length.") from None


def read_images(estimator: Any, X: Any, *, reset: bool, image_shape: Any = None, channels: str = "auto") -> ImageSource:
    """Read X for an estimator: check it, find its shape, compare that with the fitted one.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_``, ``feature_names_in_`` and ``image_shape_`` where `reset` is true, and
        is compared with them where it is false.
    X : object
        Images in any form that is read.
    reset : bool
        Whether this is ``fit``.
    image_shape, channels : object
        The parameters of those names.

    Returns
    -------
    ImageSource
        X itself where it is one. Otherwise one without a recipe, whose base is an array of uint8, float32
        or float64 with each image contiguous: the caller's own wherever that will do.

    Raises
    ------
    ValueError, TypeError
        Where X cannot be read, or not as at ``fit``.
    """
    if isinstance(X, ImageSource):
        return _read_source(estimator, X, reset=reset, image_shape=image_shape, channels=channels)
    refuse_unreadable(X)
    X = as_array(X)
    if isinstance(X, np.ndarray) and not X.dtype.isnative:
        X = X.astype(X.dtype.newbyteorder("="))  # scikit-learn 1.6 overlooks NaN in swapped bytes
    _check_axes(X)
    images = validate_data(
        estimator, X, reset=reset, dtype="numeric", allow_nd=True, ensure_2d=False, ensure_min_features=0
    )
    if images.ndim == 1:
        raise ValueError(
            f"Expected an array of images, got a 1D array of shape {images.shape} instead. Reshape your data: "
            f"X.reshape(1, -1) if it is a single flattened image, X.reshape(-1, 1) if it holds single pixels."
        )
    shape = _settle_shape(estimator, images.shape, reset=reset, image_shape=image_shape, channels=channels)
    return ImageSource(_plain(images), shape)


def _read_source(estimator: Any, X: ImageSource, *, reset: bool, image_shape: Any, channels: str) -> ImageSource:
    """Read what another step has read: its pixels are known to be finite numbers."""
    _check_axes(X)
    _check_feature_names(estimator, X, reset=reset)
    try:
        shape = _settle_shape(estimator, X.shape, reset=reset, image_shape=image_shape, channels=channels)
    except ValueError:
        if not reset or image_shape is not None or channels != "auto":
            raise
        # The numbers alone do not tell where the channels are, but the step before knows.
        shape = estimator.image_shape_ = X.image_shape
        estimator.n_features_in_ = shape.n_values
    if shape != X.image_shape:
        raise ValueError(
            f"{type(estimator).__name__} reads X of shape {X.shape} as images of {shape} (height×width×channels), but "
            f"the step before it read {X.image_shape}; give both the same image_shape and channels."
        )
    return X


def _settle_shape(
    estimator: Any, sides: tuple[int, ...], *, reset: bool, image_shape: Any, channels: str
) -> ImageShape:
    if reset:
        estimator.image_shape_ = infer_image_shape(sides, image_shape, channels)
        estimator.n_features_in_ = estimator.image_shape_.n_values
    else:
        _check_same_shape(sides, estimator.image_shape_, type(estimator).__name__)
    shape: ImageShape = estimator.image_shape_
    return shape


def _check_axes(X: Any) -> None:
    """Name the axis of length zero."""
    sides = tuple(getattr(X, "shape", ()))
    if len(sides) < 2 or 0 not in sides:
        return
    axis = sides.index(0)
    what = "sample(s)" if axis == 0 else "feature(s)" if len(sides) == 2 else f"pixels along axis {axis}"
    raise ValueError(f"Found array with 0 {what} (shape={sides}) while a minimum of 1 is required.")


def _check_same_shape(shape: tuple[int, ...], fitted: ImageShape, name: str) -> None:
    if shape[1:] == fitted.sample_shape:
        return
    if len(shape) == 2 and fitted.flat:
        raise ValueError(
            f"X has {shape[1]} features, but {name} is expecting {fitted.n_values} features as input "
            f"(images of {fitted})."
        )
    alone = " One image alone is passed as X[None]." if shape == fitted.sample_shape else ""
    swapped = ""
    if len(shape) == 4 and not fitted.flat and fitted.axes in ("hwc", "chw"):
        moved = (shape[3], *shape[1:3]) if fitted.axes == "chw" else (*shape[2:], shape[1])
        if moved == fitted.sample_shape:
            now, then = ("last", "first") if fitted.axes == "chw" else ("first", "last")
            move = "np.moveaxis(X, -1, 1)" if fitted.axes == "chw" else "np.moveaxis(X, 1, -1)"
            swapped = f" Its channels={now!r}, but at fit it was channels={then!r}: use {move}."
    expected = ", ".join(["n", *map(str, fitted.sample_shape)])
    raise ValueError(f"X has shape {shape}, but {name} was fitted on X of shape ({expected}).{alone}{swapped}")


def _plain(images: NDArray[Any]) -> NDArray[Any]:
    """uint8, float32 or float64, every image contiguous; a copy only where needed."""
    images = np.asarray(images)  # a memmap as the plain array it is
    if images.dtype == np.dtype(bool):
        images = (images.view(np.uint8) != 0).view(np.uint8)  # Pillow stores a true pixel as 255
    elif images.dtype in _TO_FLOAT32:
        images = images.astype(np.float32)
    elif images.dtype not in _KEPT:
        images = images.astype(np.float64)
    rows_contiguous: bool = images[:1].flags.c_contiguous
    return images if rows_contiguous else np.ascontiguousarray(images)
