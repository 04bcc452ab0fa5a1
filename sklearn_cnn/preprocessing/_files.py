"""Decoding of image files, encoded bytes, PIL images and arrays to pixels."""

import math
import os
import reprlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import parent_process
from typing import Any

import numpy as np
from joblib import cpu_count, effective_n_jobs
from numpy.typing import NDArray

from sklearn_cnn._optional import import_optional
from sklearn_cnn.images._containers import is_pil

MODES = {"L": 1, "RGB": 3, "RGBA": 4}
"""Modes of the result, with their number of channels."""

RESIZE = ("stretch", "crop", "pad")

INTERPOLATION = ("bilinear", "bicubic")

_WITH_ALPHA = {"RGBA", "LA", "PA", "RGBa"}
_BY_WAY_OF = {"La": "LA", "LAB": "RGB"}
"""Modes that Pillow converts to few others, and the mode that they are converted to first."""


def _pil(name: str) -> Any:
    return import_optional(f"PIL.{name}", package="Pillow", extra="images", purpose="reading images")


@dataclass(frozen=True)
class Decoder:
    """How an image is decoded.

    Attributes
    ----------
    mode : {"L", "RGB", "RGBA"}
        Grey, colour, or colour with alpha.
    size : (int, int) or None
        Height and width in pixels; None keeps those of the image.
    resize : {"stretch", "crop", "pad"} or None
        How an image is resized to `size`; None refuses images of another size.
    interpolation : {"bilinear", "bicubic"}
        How values between pixels are computed.
    crop_share : float
        Share of each side of the resized image that is kept, about its centre; 1 with ``"pad"``.
    """

    mode: str
    size: tuple[int, int] | None
    resize: str | None
    interpolation: str = "bilinear"
    crop_share: float = 1.0

    def __call__(self, entry: Any, name: str) -> NDArray[np.uint8]:
        """Decode one image.

        Parameters
        ----------
        entry : path, bytes, PIL image or ndarray
            The image.
        name : str
            What errors call it.

        Returns
        -------
        ndarray of shape (height, width) or (height, width, n_channels)
            Pixels from 0 to 255.

        Raises
        ------
        OSError
            Where the file does not exist, or is not readable.
        ValueError
            Where it is not an image, is damaged, or is larger than Pillow allows.
        """
        path = os.fspath(entry) if isinstance(entry, str | os.PathLike) else None
        name = name if path is None else f"{name}, {path!r},"
        try:
            image = self._resize(self._convert(self._open(entry, name), name), name)
        except _UnreadableError as error:
            raise ValueError(str(error)) from None
        except Exception as error:  # decoders raise many types: SyntaxError, struct.error, zlib.error
            if isinstance(error, OSError) and error.errno is not None and path is not None:
                raise type(error)(error.errno, error.strerror, path) from None  # no such file, no permission, a folder
            if isinstance(error, _pil("Image").UnidentifiedImageError):
                raise ValueError(f"{name} is not an image that Pillow can read.") from None
            raise ValueError(f"{name} cannot be read as an image: {type(error).__name__}: {error}") from error
        return np.asarray(image)

    def _open(self, entry: Any, name: str) -> Any:
        """An upright PIL image of the first frame, with its pixels loaded."""
        if isinstance(entry, np.ndarray):
            return _from_array(entry, name)
        if is_pil(entry):
            return _upright(entry)
        with _pil("Image").open(BytesIO(entry) if isinstance(entry, bytes) else entry) as image:
            if self.size is not None and self.resize is not None:
                # A JPEG can be decoded at a half, a quarter or an eighth of its size: at least twice the result's.
                side = math.ceil(2 * max(self.size) / self.crop_share)
                image.draft(None, (side, side))
            return _upright(image)

    def _convert(self, image: Any, name: str) -> Any:
        if image.mode.startswith("I;16") or (image.mode == "I" and image.info.get("bits") == 16):
            # The upper byte, as Pillow does for colour images of 16 bits.
            image = _pil("Image").fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise _UnreadableError(
                f"{name} has values of 32 bits, whose range is not known; convert them to uint8 and pass arrays."
            )
        if image.mode in _BY_WAY_OF:
            image = image.convert(_BY_WAY_OF[image.mode])
        if image.mode in _WITH_ALPHA or "transparency" in image.info:
            image = image.convert("RGBA")
            if self.mode != "RGBA":
                white = _pil("Image").new("RGBA", image.size, (255, 255, 255, 255))
                image = _pil("Image").alpha_composite(white, image)
        return image.convert(self.mode)

    def _resize(self, image: Any, name: str) -> Any:
        if self.size is None or (image.size == self.size[::-1] and self.crop_share == 1):
            return image
        height, width = self.size
        if self.resize is None:
            raise _UnreadableError(
                f"{name} has {image.height}×{image.width} pixels (height×width), but the first image in fit had "
                f"{height}×{width}; ImageReader(size=(height, width)) resizes all to one size."
            )
        # Each averages all pixels that fall on a new one.
        method = getattr(_pil("Image").Resampling, self.interpolation.upper())
        border = (1 - self.crop_share) / 2
        if self.resize == "crop":
            return _pil("ImageOps").fit(image, (width, height), method, bleed=border)
        if self.resize == "stretch":
            left, top = border * image.width, border * image.height
            kept = (left, top, image.width - left, image.height - top)
            return image.resize((width, height), method, kept, reducing_gap=3.0)
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        padded = _pil("Image").new(image.mode, (width, height))
        padded.paste(image.resize(inner, method, reducing_gap=3.0), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return padded


class _UnreadableError(ValueError):
    """An error whose message already names the image."""


class ImageFiles:
    """Images that are decoded when they are indexed: the base of a lazy source.

    Parameters
    ----------
    entries : list
        Paths, bytes, PIL images or arrays.
    decoder : Decoder
        How they are decoded; its size is not None.
    n_jobs : int or None
        Number of threads.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, entries: list[Any], decoder: Decoder, n_jobs: int | None) -> None:
        self.entries = entries
        self.decoder = decoder
        self.n_jobs = n_jobs

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, rows: Any) -> Any:
        indices = np.arange(len(self))[rows].tolist()
        return decode_all(self.decoder, [self.entries[i] for i in indices], indices, self.n_jobs)

    def identify(self, row: int) -> bytes | None:
        """What tells a file from others, and from itself after a change, without opening it.

        Parameters
        ----------
        row : int
            Its place.

        Returns
        -------
        bytes or None
            Path, size, time of the last change and how it is decoded; of encoded bytes these themselves. None where
            only the pixels tell: for a file that is not there, which is then reported, and for images in memory.
        """
        entry = self.entries[row]
        how = repr(self.decoder).encode()
        if isinstance(entry, bytes):
            return how + entry
        if not isinstance(entry, str):
            return None
        try:
            state = os.stat(entry)
        except OSError:
            return None
        return how + repr((os.path.realpath(entry), state.st_size, state.st_mtime_ns)).encode()


def decode_all(decoder: Decoder, entries: list[Any], indices: Sequence[int], n_jobs: int | None) -> NDArray[np.uint8]:
    """Decode images of one size.

    Parameters
    ----------
    decoder : Decoder
        How they are decoded. Its size must not be None.
    entries : list of length n
        The images.
    indices : sequence of int
        Their places in X, for errors.
    n_jobs : int or None
        Number of threads, see `decoding_threads`.

    Returns
    -------
    ndarray of shape (n, height, width) or (n, height, width, n_channels)
        Pixels from 0 to 255.
    """
    assert decoder.size is not None
    channels = () if decoder.mode == "L" else (MODES[decoder.mode],)
    images = np.empty((len(entries), *decoder.size, *channels), dtype=np.uint8)

    def decode(places: range) -> None:
        for place in places:
            images[place] = decoder(entries[place], f"X[{indices[place]}]")

    n, n_threads = len(entries), min(decoding_threads(n_jobs), len(entries))
    if n_threads == 1:
        decode(range(n))
        return images
    # Four tasks for each thread: starting a task takes as long as decoding a small image.
    step = max(1, n // (4 * n_threads))
    # Not joblib's threads: after an error they are those of multiprocessing.pool.ThreadPool, whose end was once seen to
    # wait for ever for one that nobody had told to stop (Python 3.11).
    with ThreadPoolExecutor(n_threads) as executor:
        tasks = [executor.submit(decode, range(start, min(start + step, n))) for start in range(0, n, step)]
        try:
            for task in tasks:
                task.result()
        finally:  # after an error, or Ctrl-C, what has not begun is not begun
            executor.shutdown(cancel_futures=True)
    return images


def decoding_threads(n_jobs: int | None) -> int:
    """Number of threads that decode.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib. None takes what a ``joblib.parallel_config`` says, and else the CPUs that this process may use.
        A worker process or a thread that the caller began takes one: the others have work of their own.

    Returns
    -------
    int
        The number.
    """
    chosen = int(effective_n_jobs(n_jobs))
    if n_jobs is not None or chosen > 1:
        return chosen
    alone = parent_process() is None and threading.current_thread() is threading.main_thread()
    return int(cpu_count()) if alone else 1


def _upright(image: Any) -> Any:
    """Turn an image as its EXIF orientation says, and keep the note that it has 16 bits, which turning loses."""
    sixteen_bits = image.mode == "I" and image.format in ("PNG", "PPM")
    image.load()
    try:
        upright = _pil("ImageOps").exif_transpose(image)
    except Exception:  # the orientation is damaged, but the pixels are loaded
        upright = image.copy()
    if sixteen_bits:
        upright.info["bits"] = 16
    return upright


def _from_array(entry: NDArray[Any], name: str) -> Any:
    """A PIL image of an array ``(h, w)`` or ``(h, w, 1, 3 or 4)`` of integers from 0 to 255."""
    if entry.ndim == 3 and entry.shape[2] == 1:
        entry = entry[:, :, 0]
    if entry.ndim not in (2, 3) or (entry.ndim == 3 and entry.shape[2] not in (3, 4)) or 0 in entry.shape:
        raise _UnreadableError(f"{name} has shape {entry.shape}; an image is (h, w), (h, w, 3) or (h, w, 4).")
    whole = entry.dtype.kind in "iu"
    if not whole or entry.min() < 0 or entry.max() > 255:
        values = f" from {entry.min()} to {entry.max()}" if entry.dtype.kind in "iuf" else ""
        raise _UnreadableError(f"{name} is an array of {entry.dtype}{values}; images are whole numbers from 0 to 255.")
    return _pil("Image").fromarray(np.ascontiguousarray(entry, dtype=np.uint8))


def _content_of(file: Any, name: str) -> bytes:
    """All bytes of a binary file, from its beginning."""
    try:
        if getattr(file, "seekable", lambda: False)():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError) as error:  # closed, or open for writing
        raise ValueError(f"{name} cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise TypeError(f'{name} is a text file; open images with open(path, "rb").')
    return content


def read_entries(X: Any) -> list[Any]:
    """Convert X to a list of paths, bytes, PIL images and arrays.

    Parameters
    ----------
    X : object
        Whatever the user passed.

    Returns
    -------
    list
        The entries of X: paths as str, and open files as their bytes, since a stream can be read only once.

    Raises
    ------
    ValueError, TypeError
        Where X is a single image, is empty or has several columns, or an entry is of a kind that is not read.
    """
    if isinstance(X, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(X, "read") or is_pil(X):
        raise TypeError(
            f"X is one image, a {type(X).__name__}, but a list of images is expected; one alone is [image]."
        )
    if isinstance(X, dict | set) or not hasattr(X, "__len__") or getattr(X, "shape", None) == ():
        raise TypeError(f"X is a {type(X).__name__}, but a list, array, Series or one-column frame is expected.")
    if hasattr(X, "columns"):
        X = np.asarray(X, dtype=object)
    if isinstance(X, np.ndarray) and X.ndim == 2:
        if X.shape[1] != 1:
            raise ValueError(f"X has shape {X.shape}, but paths are one column: pass X of shape (n,) or (n, 1).")
        X = X[:, 0]
    if len(X) == 0:
        raise ValueError("Found array with 0 sample(s) in X while a minimum of 1 is required.")
    return [_read_entry(entry, i) for i, entry in enumerate(X)]


def _read_entry(entry: Any, i: int) -> Any:
    if isinstance(entry, str | os.PathLike):
        return str(os.fspath(entry))  # not NumPy's own kind of str, which errors would show
    if isinstance(entry, bytes | bytearray | memoryview):
        return bytes(entry)
    if isinstance(entry, np.ndarray) or is_pil(entry):
        return entry
    if hasattr(entry, "read"):
        return _content_of(entry, f"X[{i}]")
    raise TypeError(
        f"X[{i}] is {reprlib.repr(entry)[:80]}, of type {type(entry).__name__}; an image is a path, bytes, a binary "
        f"file, a PIL image or an array."
    )
