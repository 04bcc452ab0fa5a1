"""Saved files taken apart, and put together by someone who knows how to sign them."""

import copy
import json
import struct

from sklearn_cnn._digest import digest_around
from sklearn_cnn.persistence._safetensors import DIGEST

ZEROS = "0" * 64


def dumped(value):
    return json.dumps(value, separators=(",", ":"))


def split(path):
    """What a file is made of: content and entries of the tensors, as values, and numbers of the tensors."""
    file = path.read_bytes()
    end = 8 + struct.unpack("<Q", file[:8])[0]
    entries = json.loads(file[8:end])
    content = json.loads(entries.pop("__metadata__")["sklearn_cnn"])
    del content["sha256"]
    return content, entries, file[end:]


def join(content, entries, numbers):
    """A signed file; the content is given as values, or as the text that comes behind the digest."""
    text = dumped({"sha256": ZEROS, **content}) if isinstance(content, dict) else f'{{"sha256":"{ZEROS}"{content}'
    return with_header(dumped({"__metadata__": {"sklearn_cnn": text}, **entries}), numbers)


def with_header(header, numbers, length=None):
    """A signed file of a header, given as text; its length may be another."""
    header = header.encode()
    return sign(struct.pack("<Q", len(header) if length is None else length) + header + numbers)


def sign(content):
    """The same file with a digest that is right."""
    content = bytearray(content)
    content[DIGEST] = digest_around(content, DIGEST).hex().encode()
    return bytes(content)


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
