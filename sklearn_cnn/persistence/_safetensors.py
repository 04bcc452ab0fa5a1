"""The bytes of a saved model: one safetensors file with one text and one digest in its metadata.

The file begins with the length of its header (8 bytes), then the header, which is JSON::

    {"__metadata__":{"sklearn_cnn":"<digest><text>"},"<name of a tensor>":{...},...}

and then come the numbers of the tensors. The digest is the SHA-256 of the whole file without the 64 digits of the
digest itself. This beginning, and the keys ``format`` and ``versions`` of the text, stay the same in later formats, so
that an older version can name the version that reads a file.
"""

import struct
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from sklearn_cnn._digest import digest_around
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._untrusted import LONGEST, is_size, is_text, list_of, malformed, parse, read_fields

DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
"""NumPy's codes of the dtypes, by the names that safetensors has for them."""

_KEY = "sklearn_cnn"
_BEGIN = f'{{"__metadata__":{{"{_KEY}":"'.encode()
DIGEST = slice(8 + len(_BEGIN), 8 + len(_BEGIN) + 64)
"""Where a file has its digest, in hexadecimal digits."""

_MOST_AXES = 32  # the limit of NumPy before version 2
_ENTRY = {"dtype": is_text, "shape": list_of(is_size), "data_offsets": list_of(is_size, 2)}


def pack(text: str, tensors: Mapping[str, NDArray[Any]]) -> bytearray:
    """Make a file.

    Parameters
    ----------
    text : str
        JSON in ASCII.
    tensors : mapping of str to ndarray
        Arrays of any layout and byte order, of the dtypes in `DTYPES`. Names are ASCII.

    Returns
    -------
    bytearray
        The content of the file. It is the same for equal arguments.

    Raises
    ------
    ValueError
        Where the header would be longer than `unpack` reads.
    """
    # The library writes the memory of an array as it is, so the layout and byte order come first.
    plain = {
        name: np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C") for name, array in tensors.items()
    }
    content = bytearray(safetensors.numpy.save(plain, {_KEY: "0" * 64 + text}))
    if not content[8:].startswith(_BEGIN):
        raise RuntimeError(f"safetensors {safetensors.__version__} does not begin a header with its metadata.")
    length = struct.unpack("<Q", content[:8])[0]
    if length > LONGEST:
        raise ValueError(
            f"the parameters and attributes of this estimator take {length:,} bytes besides the weights; a saved model "
            f"has at most {LONGEST:,}. Shorten history_ or the names of the classes."
        )
    content[DIGEST] = digest_around(content, DIGEST).hex().encode()
    return content


def unpack(file: IO[bytes]) -> tuple[str, dict[str, NDArray[Any]]]:
    """Read a file.

    The header is compared with the size of the file before the library reads a tensor.

    Parameters
    ----------
    file : binary file
        At its beginning.

    Returns
    -------
    text : str
        The text that `pack` was given.
    tensors : dict of str to ndarray
        The arrays.

    Raises
    ------
    ModelFileError
        For anything that `pack` does not write.
    """
    begin = file.read(DIGEST.stop)
    if len(begin) < DIGEST.stop or begin[8 : DIGEST.start] != _BEGIN:
        raise ModelFileError(
            "this file was not written by save_model. Use load_model for files of save_model alone; files of weights "
            "go into weights=, and pickles into joblib.load if you trust them"
        )
    file.seek(0)
    content = file.read()
    if digest_around(content, DIGEST).hex().encode() != content[DIGEST]:
        raise ModelFileError(
            "the file is damaged or incomplete, since its content does not match its SHA-256 digest. Copy it again, or "
            "save the model again"
        )
    length = struct.unpack("<Q", content[:8])[0]
    if length > len(content) - 8:
        raise malformed(f"the header has {length:,} bytes, more than the file")
    header = parse(content[8 : 8 + length], "the header")
    if not isinstance(header, dict):
        raise malformed("malformed header")
    metadata = read_fields(header.pop("__metadata__", None), {_KEY: is_text}, "metadata")
    _check_entries(header, len(content) - 8 - length)
    return metadata[_KEY][64:], safetensors.numpy.load(content)


def _check_entries(header: Mapping[str, Any], n_bytes: int) -> None:
    """Refuse tensors whose sizes do not add up to the bytes of the file, without a gap or an overlap."""
    entries = {name: read_fields(entry, _ENTRY, f"tensor {name[:40]!r}") for name, entry in header.items()}
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        shape, code = entry["shape"], DTYPES.get(entry["dtype"])
        if code is None or len(shape) > _MOST_AXES:
            raise malformed(f"malformed tensor {name[:40]!r}: expected a dtype of {', '.join(DTYPES)} and few axes")
        end = position + prod(shape) * np.dtype(code).itemsize
        if entry["data_offsets"] != (position, end) or end > n_bytes:
            raise malformed(f"malformed tensor {name[:40]!r}: its offsets do not match its shape and the file")
        position = end
    if position != n_bytes:
        raise malformed(f"the tensors take {position:,} of the {n_bytes:,} bytes behind the header")
