r"""The bytes of a saved model: one safetensors file, with JSON and a digest in its metadata.

The file begins with the length of its header (8 bytes). Then come the header and the numbers of the tensors. The header
is JSON, in which the only key of the metadata has more JSON as its value::

    {"__metadata__":{"sklearn_cnn":"{\"sha256\":\"<64 digits>\",\"format\":1, ...}"},"<tensor>":{...}, ...}

The digest is the SHA-256 of the whole file without these 64 digits. This beginning, and the keys ``format`` and
``versions``, stay the same in later formats, so that an older version can name the version that reads a file.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from sklearn_cnn._digest import digest_around
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._untrusted import LONGEST, malformed, parse, read_as

DTYPES = {
    **{"BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "F16": "<f2"},
    **{"U32": "<u4", "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8"},
}
"""The dtypes of tensors: names of safetensors, codes of NumPy."""

_KEY = "sklearn_cnn"
_BEGIN = b'{"__metadata__":{"%s":"{\\"sha256\\":\\"' % _KEY.encode()
DIGEST = slice(8 + len(_BEGIN), 8 + len(_BEGIN) + 64)
"""Where a file has its digest, in hexadecimal digits."""

_MOST_AXES = 32  # the limit of NumPy before version 2


@dataclass(frozen=True)
class _Entry:
    """A tensor in the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def pack(content: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> bytearray:
    """Make the bytes of a file; they are the same for equal arguments.

    Parameters
    ----------
    content : mapping of str to object
        Values that `json.dumps` takes, or scalars of NumPy. A ValueError refuses more than `unpack` reads.
    tensors : mapping of str to ndarray
        Arrays of any layout and byte order, of the dtypes in `DTYPES`. Their names are ASCII.
    """
    # The library writes the memory of an array as it is: in another layout the numbers would be in another order.
    plain = {name: np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C") for name, array in tensors.items()}
    text = json.dumps({"sha256": "0" * 64, **content}, separators=(",", ":"), default=lambda value: value.item())
    file = bytearray(safetensors.numpy.save(plain, {_KEY: text}))
    if file[8 : DIGEST.start] != _BEGIN:
        raise RuntimeError(f"safetensors {safetensors.__version__} writes another header than the versions known.")
    if _header_end(file) > LONGEST:
        raise ValueError(
            f"parameters and attributes take {_header_end(file):,} bytes besides the tensors, and a saved model has at "
            f"most {LONGEST:,}; shorten history_ or the names of the classes."
        )
    file[DIGEST] = digest_around(file, DIGEST).hex().encode()
    return file


def unpack(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the content and tensors that `pack` was given, or raise a ModelFileError before a tensor is made."""
    if file.read(DIGEST.start)[8:] != _BEGIN:
        raise ModelFileError(
            "this file was not written by save_model. For files of weights use the parameter weights, and for pickles "
            "that you trust joblib.load"
        )
    file.seek(0)
    content = file.read()
    if digest_around(content, DIGEST).hex().encode() != content[DIGEST]:
        raise ModelFileError(
            "the file is damaged or incomplete, since its content does not match its SHA-256 digest. Copy it again, or "
            "save the model again"
        )
    end = _header_end(content)
    if end > len(content):
        raise malformed("the header is longer than the file")
    header = parse(content[8:end], "the header")
    metadata = header.pop("__metadata__")
    _check_entries(header, len(content) - end)
    if set(metadata) != {_KEY}:
        raise malformed("the metadata has more than one key")
    text = parse(metadata[_KEY].encode(), "the metadata")
    del text["sha256"]
    return text, safetensors.numpy.load(content)


def _header_end(file: bytes | bytearray) -> int:
    return 8 + int(struct.unpack("<Q", file[:8])[0])


def _check_entries(header: Mapping[str, Any], n_bytes: int) -> None:
    """Refuse tensors that do not cover the bytes of the file, one after the other."""
    entries = [(read_as(_Entry, entry, f"tensor {name[:40]!r}"), name[:40]) for name, entry in header.items()]
    position = 0
    for entry, name in sorted(entries, key=lambda pair: pair[0].data_offsets):
        if entry.dtype not in DTYPES or len(entry.shape) > _MOST_AXES:
            raise malformed(f"malformed tensor {name!r}: expected a dtype of {', '.join(DTYPES)} and few axes")
        end = position + prod(entry.shape) * np.dtype(DTYPES[entry.dtype]).itemsize
        if entry.data_offsets != (position, end) or end > n_bytes:
            raise malformed(f"malformed tensor {name!r}: its offsets do not match its shape and the file")
        position = end
    if position != n_bytes:
        raise malformed(f"the tensors take {position:,} of the {n_bytes:,} bytes after the header")
