"""Saved files taken apart, and put together by someone who knows how to sign them."""

import copy
import hashlib
import io
import json
import struct
import warnings
import zipfile

from sklearn_cnn.persistence._archive import MAGIC

START = len(MAGIC) + 32


def sign(archive):
    """A file around a zip, with a digest that is right."""
    return MAGIC + hashlib.sha256(archive).digest() + archive


def members(path):
    """JSON, as values, and bytes of the tensors in a file."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("model.json")), archive.read("tensors.safetensors")


def zipped(*entries):
    """A zip of pairs (name or ZipInfo, bytes)."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of a name that comes twice
        for name, content in entries:
            # A name alone would get the time of day, and so another file each time.
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name), content)
    return file.getvalue()


def pack(model, tensors, *more):
    """A signed file of JSON, given as values or bytes, tensors, and further members."""
    text = model if isinstance(model, bytes) else json.dumps(model).encode()
    return sign(zipped(("model.json", text), ("tensors.safetensors", tensors), *more))


def split_tensors(content):
    """Header, as values, and numbers of tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join_tensors(header, numbers):
    """Tensors of a header, given as values or bytes, and numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def nodes(value, where=()):
    """Paths to all values within a value."""
    yield where
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(entry, (*where, key))


def replaced(model, where, value):
    """A copy of a value in which the one at a path is another."""
    if not where:
        return value
    model = copy.deepcopy(model)
    parent = model
    for key in where[:-1]:
        parent = parent[key]
    parent[where[-1]] = value
    return model
