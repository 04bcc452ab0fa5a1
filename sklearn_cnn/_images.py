"""How X is read: arrays, lists and frames of images become one array and one `ImageShape`."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import validate_data

COLOUR_CHANNELS = (1, 3, 4)
"""Channel counts that are recognised without being told."""

WIDEST_UNSHAPED_ROW = 63
"""Rows of this many values or fewer are read as one row of pixels where they make no square."""

_TO_FLOAT32 = {np.dtype(name) for name in ("int8", "int16", "uint16", "float16")}
_KEPT = {np.dtype(name) for name in ("uint8", "float32", "float64")}


@dataclass(frozen=True)
class ImageShape:
    """Size of an image and the way it is stored in X.

    Attributes
    ----------
    height, width : int
        Size in pixels.
    channels : int
        Numbers a pixel: 1 for grey, 3 for colour.
    axes : {"hw", "hwc", "chw"}
        Order of an image's axes in X.
    flat : bool
        Whether an image is one row of X.
    """

    height: int
    width: int
    channels: int = 1
    axes: str = "hw"
    flat: bool = False

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of an image with its axes as stored, before any flattening."""
        return tuple({"h": self.height, "w": self.width, "c": self.channels}[axis] for axis in self.axes)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one entry of X."""
        return (self.n_values,) if self.flat else self.stored

    @property
    def n_values(self) -> int:
        """Numbers in one image."""
        return self.height * self.width * self.channels

    @property
    def channels_first(self) -> tuple[int, int, int]:
        """``(channels, height, width)``, the order torch uses."""
        return self.channels, self.height, self.width

    def to_channels_first(self, images: Any) -> Any:
        """View a batch as ``(n, channels, height, width)``.

        Parameters
        ----------
        images : ndarray or Tensor of shape (n, *sample_shape)
            A batch as stored.

        Returns
        -------
        ndarray or Tensor of shape (n, channels, height, width)
            The same values; no copy where the batch is contiguous.
        """
        images = images.reshape((len(images), *self.stored))
        if self.axes == "hw":
            return images[:, None]
        if self.axes == "chw":
            return images
        return images.transpose(0, 3, 1, 2) if isinstance(images, np.ndarray) else images.permute(0, 3, 1, 2)

    def __str__(self) -> str:
        return f"{self.height}×{self.width}×{self.channels}"


def parse_image_shape(image_shape: Any, channels: str = "auto") -> ImageShape:
    """Read an ``image_shape`` argument.

    Parameters
    ----------
    image_shape : tuple of int
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)``.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels stand; by default the end of the tuple that is 1, 3 or 4.

    Returns
    -------
    ImageShape
        With ``flat=False``.

    Raises
    ------
    ValueError
        Where the tuple has another length, a side below 1, or channels at both ends or neither.
    """
    sides = tuple(image_shape) if hasattr(image_shape, "__iter__") else ()
    if len(sides) not in (2, 3) or not all(_is_side(side) for side in sides):
        raise ValueError(f"image_shape is (h, w), (h, w, c) or (c, h, w) with positive integers; got {image_shape!r}.")
    sides = tuple(int(side) for side in sides)
    if len(sides) == 2:
        return ImageShape(*sides)
    axes = _find_channels(sides, channels, f"image_shape={sides}")
    named = dict(zip(axes, sides, strict=True))
    return ImageShape(named["h"], named["w"], named["c"], axes)


def _is_side(side: Any) -> bool:
    return isinstance(side, int | np.integer) and not isinstance(side, bool) and int(side) > 0


def _find_channels(sides: tuple[int, ...], channels: str, what: str) -> str:
    """Order of three axes: by argument, or by which end is 1, 3 or 4."""
    if channels != "auto":
        return "chw" if channels == "first" else "hwc"
    first, last = sides[0] in COLOUR_CHANNELS, sides[2] in COLOUR_CHANNELS
    if first == last:
        reason = "both its first and its last image axis" if first else "neither its first nor its last image axis"
        raise ValueError(
            f"{what} does not tell where the channels are: {reason} could be 1, 3 or 4 channels. Say "
            f'channels="first" for (c, h, w) or channels="last" for (h, w, c); any number of channels is then allowed.'
        )
    return "chw" if first else "hwc"


def infer_image_shape(shape: tuple[int, ...], image_shape: Any = None, channels: str = "auto") -> ImageShape:
    """Find out how the images of an array are stored.

    Parameters
    ----------
    shape : tuple of int
        Shape of X.
    image_shape : tuple of int or None, default=None
        What the user says of one image.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels stand.

    Returns
    -------
    ImageShape
        How one image is stored.

    Raises
    ------
    ValueError
        Where the shape can be read in no way or in more than one.
    """
    if len(shape) not in (2, 3, 4):
        raise ValueError(
            f"X must have 2 to 4 dimensions: (n, n_features), (n, h, w), (n, h, w, c) or (n, c, h, w); got shape "
            f"{shape}. Reshape your data: one image alone is X[None]."
        )
    if len(shape) == 2:
        return _shape_of_rows(shape, image_shape, channels)
    if len(shape) == 3:
        found = ImageShape(shape[1], shape[2])
    else:
        axes = _find_channels(shape[1:], channels, f"X of shape {shape}")
        named = dict(zip(axes, shape[1:], strict=True))
        found = ImageShape(named["h"], named["w"], named["c"], axes)
    if image_shape is not None:
        said = parse_image_shape(image_shape, channels)
        if said.channels_first != found.channels_first:
            raise ValueError(
                f"X of shape {shape} holds images of {found} (height×width×channels), but image_shape="
                f"{tuple(image_shape)} says {said}; leave image_shape out, or correct it."
            )
    return found


def _shape_of_rows(shape: tuple[int, ...], image_shape: Any, channels: str) -> ImageShape:
    n_features = shape[1]
    if image_shape is not None:
        said = parse_image_shape(image_shape, channels)
        if said.n_values != n_features:
            product = "×".join(map(str, said.stored))
            raise ValueError(
                f"image_shape={said.stored} takes rows of {product} = {said.n_values} values, but X of shape {shape} "
                f"has {n_features} features in a row."
            )
        return ImageShape(said.height, said.width, said.channels, said.axes, flat=True)
    side = isqrt(n_features)
    if side * side == n_features:
        return ImageShape(side, side, flat=True)
    if n_features <= WIDEST_UNSHAPED_ROW:
        return ImageShape(1, n_features, flat=True)
    colour = isqrt(n_features // 3)
    square = f", image_shape=({colour}, {colour}, 3) or (3, {colour}, {colour})" if 3 * colour**2 == n_features else ""
    raise ValueError(
        f"X of shape {shape} has rows of {n_features} values, which make no square image. Say what an image is: "
        f"image_shape=(h, w){square}, or image_shape=(1, {n_features}) for one row of pixels."
    )


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


def read_images(
    estimator: Any, X: Any, *, reset: bool, image_shape: Any = None, channels: str = "auto"
) -> tuple[NDArray[Any], ImageShape]:
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
    images : ndarray of shape (n, *sample_shape)
        uint8, float32 or float64; each image contiguous. The caller's own array wherever that will do.
    shape : ImageShape
        How one image is stored.

    Raises
    ------
    ValueError, TypeError
        Where X cannot be read, or not as at ``fit``.
    """
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
    if reset:
        shape = infer_image_shape(images.shape, image_shape, channels)
        estimator.image_shape_ = shape
        estimator.n_features_in_ = shape.n_values
    else:
        shape = estimator.image_shape_
        _check_same_shape(images.shape, shape, type(estimator).__name__)
    return _plain(images), shape


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
