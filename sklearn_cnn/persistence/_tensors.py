"""Arrays in the layout of safetensors: a JSON header, then the numbers one after the other, little-endian."""

import json
import struct
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._text import is_whole, parse

DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
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
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}

_MOST_AXES = 32  # NumPy's own limit before version 2


def can_hold(array: NDArray[Any]) -> bool:
    """Whether the layout has a name for an array's dtype."""
    return array.dtype.newbyteorder("<") in _NAMES


def size_of_tensors(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Bytes that `write_tensors` writes."""
    return len(_head(arrays)) + sum(array.nbytes for array in arrays.values())


def write_tensors(file: IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by their names.

    Parameters
    ----------
    file : binary file
        Written to.
    arrays : mapping of str to ndarray
        Arrays that `can_hold` lets pass.
    """
    file.write(_head(arrays))
    for array in arrays.values():
        file.write(np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C").tobytes())


def _head(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    entries, end = {}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers begin where eight bytes do
    return struct.pack("<Q", len(text)) + text


def read_tensors(content: bytes) -> dict[str, NDArray[Any]]:
    """Read what `write_tensors` wrote. Nothing is copied: the arrays are read-only views of the bytes.

    Parameters
    ----------
    content : bytes
        All of it.

    Returns
    -------
    dict of str to ndarray
        The arrays.

    Raises
    ------
    ModelFileError
        Where a size does not fit the bytes that are there, or anything else is not as it is written.
    """
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else len(content)
    if length > len(content) - 8:
        raise ModelFileError("the header of its tensors is longer than they are")
    numbers = memoryview(content)[8 + length :]
    arrays, position = {}, 0
    entries = parse(content[8 : 8 + length], "the header of its tensors")
    if not isinstance(entries, dict):
        raise ModelFileError("the header of its tensors is no table")
    for name, entry in entries.items():
        dtype, shape = _kind(name, entry)
        end = position + prod(shape) * dtype.itemsize
        if entry["data_offsets"] != [position, end] or end > len(numbers):
            raise ModelFileError(f"tensor {name!r} is said to be where it cannot be")
        arrays[name] = np.frombuffer(numbers[position:end], dtype).reshape(shape)
        position = end
    if position != len(numbers):
        raise ModelFileError("there are bytes that belong to no tensor")
    return arrays


def _kind(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    code, shape = entry["dtype"], entry["shape"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ModelFileError(f"tensor {name!r} has the dtype {str(code)[:20]!r}, which is none of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(map(is_whole, shape)):
        raise ModelFileError(f"tensor {name!r} has no shape that an array can have")
    return np.dtype(DTYPES[code]), tuple(shape)
