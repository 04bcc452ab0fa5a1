"""What X may be: lists, Series and tensors become arrays, and what cannot be read is refused in words."""

import os
import reprlib
import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)
_PIL_MODES = ("1", "L", "RGB", "RGBA", "I", "F")


def refuse_unreadable(X: Any) -> None:
    """Raise a TypeError where X as a whole is of a kind that is never read, such as a dict, a path or dates."""
    _refuse_sparse(X)
    if is_pil(X):
        raise TypeError("X is one PIL image, but an array or list of images is expected; one alone is [image].")
    if isinstance(X, dict):
        raise TypeError(f"X must be an array of images; got a {type(X).__name__}.")
    if kind_of_file(X) is not None:
        raise TypeError(
            f"X must be an array of images; got a {type(X).__name__}. ImageReader reads lists of image files, and "
            f"sklearn_cnn.datasets.load_image_folder finds the files of a folder."
        )
    if getattr(getattr(X, "dtype", None), "kind", None) in ("m", "M"):
        raise TypeError(f"X must hold numbers; got dates or times of dtype {X.dtype}.")


def _refuse_sparse(X: Any) -> None:
    if sparse.issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert to a dense array."
        )


def is_pil(entry: Any) -> bool:
    """Whether an object is a PIL image; where Pillow was never imported there is none."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(entry, pillow.Image)


def _is_image(entry: Any) -> bool:
    return (
        (isinstance(entry, np.ndarray) and entry.ndim >= 1)
        or is_pil(entry)
        or isinstance(entry, torch.Tensor)
        or sparse.issparse(entry)  # to be refused by name
    )


def kind_of_file(entry: Any) -> str | None:
    """What a message calls an entry that is a file or its name, or None for all else.

    Parameters
    ----------
    entry : object
        X, or an entry of X.

    Returns
    -------
    str or None
        A plural, such as "paths".
    """
    if isinstance(entry, os.PathLike):
        return "paths"
    if isinstance(entry, str):
        return "paths or other text"
    if isinstance(entry, bytes | bytearray):
        return "bytes"
    # Arrays of some libraries have a method of that name too, and frames a column.
    is_file = callable(getattr(entry, "read", None)) and not hasattr(entry, "shape")
    return "open files" if is_file else None


def as_array(X: Any) -> Any:
    """Convert lists and Series of images, and tensors, to an array; return all else as it is.

    Parameters
    ----------
    X : object
        Whatever the user passed.

    Returns
    -------
    object
        An ndarray where X was a torch tensor, or a list, Series or object array of images; otherwise X
        itself, or the list of the entries of a Series.

    Raises
    ------
    ValueError
        Where the images of a list differ in size, or one is of a kind that is not read.
    """
    if isinstance(X, torch.Tensor):
        return _from_tensor(X)
    if len(getattr(X, "shape", ())) == 1:
        if hasattr(X, "to_list"):  # a Series of pandas or polars
            X = X.to_list()
        elif getattr(X, "dtype", None) == np.dtype(object):
            X = list(X)
    if not isinstance(X, list | tuple) or not X:
        return X
    if _is_image(X[0]):
        return _stack(X)
    if isinstance(X[0], list | tuple):
        try:
            return np.asarray(X)
        except ValueError:  # rows of different lengths: image by image, to name the first such image
            return _stack(X)
    return X


def _from_tensor(X: torch.Tensor) -> NDArray[Any]:
    if X.layout != torch.strided:
        raise TypeError("Sparse data was passed for X, but dense data is required. Use '.to_dense()' on the tensor.")
    X = X.detach().cpu().resolve_neg().resolve_conj()
    array: NDArray[Any] = (X.float() if X.dtype.is_floating_point and X.dtype not in _NUMPY_FLOATS else X).numpy()
    return array


def _stack(entries: Any) -> NDArray[Any]:
    images = [_one_image(entry, i) for i, entry in enumerate(entries)]
    first = images[0].shape
    for i, image in enumerate(images):
        if image.shape != first:
            raise ValueError(
                f"all images must have one size, but X[{i}] has shape {image.shape} and X[0] has shape {first}. "
                f"Resize them first; ImageReader(size=(height, width)) does."
            )
    return np.stack(images)


def _one_image(entry: Any, i: int) -> NDArray[Any]:
    _refuse_sparse(entry)
    if isinstance(entry, torch.Tensor):
        return _from_tensor(entry)
    if is_pil(entry) and entry.mode not in _PIL_MODES:
        raise ValueError(
            f"X[{i}] is a PIL image of mode {entry.mode!r}, whose numbers are not grey or colour values; "
            f'convert it with image.convert("RGB") or image.convert("L"), or pass np.asarray(image).'
        )
    try:
        image = np.asarray(entry)
    except ValueError:
        raise ValueError(f"X[{i}] is not an image: its rows differ in length.") from None
    if image.ndim == 0:
        raise ValueError(f"X[{i}] is not an image like X[0]; got {reprlib.repr(entry)}.")
    return image


def refuse_wrapped(X: Any) -> None:
    """Say what to do with files in place of pixels, and with images in the cells of a table.

    Parameters
    ----------
    X : object
        An array, list or frame that cannot be read as numbers.

    Raises
    ------
    ValueError
        Where X holds paths, text, bytes or open files, or a whole image in a cell; for other X nothing happens.
    """
    for column, way_in, entry in _first_entries(X):
        kind = kind_of_file(entry)
        if kind is not None:
            shown = str(entry) if isinstance(entry, str) else entry  # without NumPy's own kind of str
            raise ValueError(
                f"{column} holds {kind}, such as {reprlib.repr(shown)}, but pixels are numbers. ImageReader reads "
                f"image files: make_pipeline(ImageReader(size=(height, width)), CNNClassifier()) takes {way_in}."
            ) from None
        if _is_image(entry) or isinstance(entry, list | tuple):
            raise ValueError(f"{column} holds a whole image in each row; pass {way_in}.") from None


def _first_entries(X: Any) -> list[tuple[str, str, Any]]:
    """How a message names each column of X, how a user gets the column, and its first entry."""
    if isinstance(X, list | tuple) or getattr(X, "ndim", 0) == 1:
        return [("X", "X", X[0])] if len(X) else []
    if isinstance(X, np.ndarray):
        return [("X", "X[:, 0]", X[0, 0])] if X.ndim == 2 and X.shape[1] == 1 else []
    return [
        (f"Column {column.name!r} of X", f"X[{column.name!r}]", column.head(1).to_list()[0]) for column in _columns(X)
    ]


def _columns(X: Any) -> list[Any]:
    """The columns of a frame of pandas or polars."""
    if hasattr(X, "iloc"):
        return [X.iloc[:, i] for i in range(X.shape[1])]
    return list(X.get_columns()) if hasattr(X, "get_columns") else []
