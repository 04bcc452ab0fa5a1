"""Untrusted JSON: parsed strictly, and read as values of known types."""

import json
from contextlib import suppress
from dataclasses import is_dataclass
from math import isfinite
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from sklearn_cnn.exceptions import ModelFileError

LONGEST = 2**23
"""Bytes of JSON that are read: lists of lists take some twenty times as many in memory."""

LOWEST, HIGHEST = -(2**63), 2**64 - 1
"""Integers of a file: those of int64 and uint64."""


def malformed(what: str) -> ModelFileError:
    """The error for content that `save_model` does not write."""
    return ModelFileError(f"{what}. The file is not a saved model, or it is damaged; save the model again")


def parse(content: bytes, what: str) -> Any:
    """Parse JSON in ASCII, with finite numbers and unique keys. Messages call it `what`.

    Raises
    ------
    ModelFileError
        For any other text, and for one that is too long or nested too deeply.
    """
    if len(content) > LONGEST:
        raise malformed(f"{what} has {len(content):,} bytes, more than the limit of {LONGEST:,}")
    hooks: dict[str, Any] = {"parse_constant": _constant, "parse_float": _float, "parse_int": _int}
    try:
        return json.loads(content.decode("ascii"), object_pairs_hook=_table, **hooks)
    except ModelFileError as error:
        raise malformed(f"{what} has {error}") from None
    except (ValueError, RecursionError) as error:
        raise malformed(f"{what} is not valid JSON ({type(error).__name__})") from None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ModelFileError("a duplicate key")
    return table


def _constant(text: str) -> NoReturn:
    raise ModelFileError(f"{text}, which is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ModelFileError("a number too large for a float")
    return value


def _int(text: str) -> int:
    # The length first: the time int() takes grows with the square of the number of digits.
    if len(text) > 20 or not LOWEST <= int(text) <= HIGHEST:
        raise ModelFileError("an integer of more than 64 bits")
    return int(text)


def is_size(value: Any) -> bool:
    """Whether a value is an int from 0 to more bytes than a file has."""
    return type(value) is int and 0 <= value < 2**48


def read_as(hint: Any, value: Any, what: str) -> Any:
    """Read parsed JSON as a value of a type. Messages call it `what`.

    The type is a dataclass, of which the JSON is an object of all fields; a tuple, of which it is a list; a union or
    `Literal`; or ``int`` (0 or more), ``float``, ``bool``, ``str``, ``dict`` or None.

    Raises
    ------
    ModelFileError
        For JSON of any other form.
    """
    kind, args = get_origin(hint) or hint, get_args(hint)
    if is_dataclass(hint) and isinstance(value, dict):
        fields = get_type_hints(hint)
        if set(fields) == set(value):
            return kind(**{name: read_as(fields[name], entry, f"{what}: {name}") for name, entry in value.items()})
    elif kind is tuple and isinstance(value, list):
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(read_as(entry_kind, entry, what) for entry_kind, entry in zip(kinds, value, strict=True))
    elif kind in (Union, UnionType):
        for option in args:
            with suppress(ModelFileError):
                return read_as(option, value, what)
    elif kind is Literal:
        if isinstance(value, str) and value in args:
            return value
    elif is_size(value) if kind is int else type(value) in (kind, int if kind is float else kind):
        return value
    raise malformed(f"malformed {what}: expected {hint}")
