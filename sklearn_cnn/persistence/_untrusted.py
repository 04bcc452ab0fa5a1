"""Untrusted JSON: parsed strictly, and checked field by field."""

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, NoReturn

from sklearn_cnn.exceptions import ModelFileError

LONGEST = 2**23
"""Bytes of JSON that are read: lists of lists take some twenty times as many in memory."""

LOWEST, HIGHEST = -(2**63), 2**64 - 1
"""Integers of a file: those of int64 and uint64."""


def malformed(what: str) -> ModelFileError:
    """The error for content that `save_model` does not write."""
    return ModelFileError(f"{what}. The file is not a saved model, or it is damaged; save the model again")


def parse(content: bytes, what: str) -> Any:
    """Parse JSON. Numbers must be finite and keys unique.

    Parameters
    ----------
    content : bytes
        The text, in ASCII.
    what : str
        The name of the text in messages.

    Returns
    -------
    object
        None, bools, numbers, strings, lists and dicts.

    Raises
    ------
    ModelFileError
        For any other text, and for one that is too long or nested too deeply.
    """
    if len(content) > LONGEST:
        raise malformed(f"{what} has {len(content):,} bytes, more than the limit of {LONGEST:,}")
    try:
        return json.loads(
            content.decode("ascii"),
            object_pairs_hook=_table,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except _Refused as error:
        raise malformed(f"{what} has {error}") from None
    except (ValueError, RecursionError) as error:
        raise malformed(f"{what} is not valid JSON ({type(error).__name__})") from None


class _Refused(Exception):
    pass


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _Refused("a duplicate key")
    return table


def _constant(text: str) -> NoReturn:
    raise _Refused(f"{text}, which is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise _Refused("a number too large for a float")
    return value


def _int(text: str) -> int:
    # The length first: the time int() takes grows with the square of the number of digits.
    if len(text) > 20 or not LOWEST <= int(text) <= HIGHEST:
        raise _Refused("an integer of more than 64 bits")
    return int(text)


# Checks of parsed values.

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Whether a value is a string."""
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    """Whether a value is a bool."""
    return isinstance(value, bool)


def is_size(value: Any) -> bool:
    """Whether a value is an int from 0 to the largest number of bytes a file can have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def is_side(value: Any) -> bool:
    """Whether a value is an int from 1 to what the constructors of torch take."""
    return is_size(value) and 0 < value < 2**31


def is_number(value: Any) -> bool:
    """Whether a value is a float."""
    return isinstance(value, float)


def one_of(*values: Any) -> Check:
    """Make the check for a few values, which are strings or None."""
    return lambda value: (value is None or isinstance(value, str)) and value in values


def list_of(check: Check, *lengths: int) -> Check:
    """Make the check for a list, of one of the lengths if there are any."""
    return lambda value: (
        isinstance(value, list) and (not lengths or len(value) in lengths) and all(map(check, value))
    )


def read_fields(content: Any, checks: Mapping[str, Check], what: str) -> dict[str, Any]:
    """Check a JSON object field by field.

    Parameters
    ----------
    content : object
        From `parse`.
    checks : mapping of str to callable
        The check of each field; the object must have these fields and no other.
    what : str
        The name of the object in messages.

    Returns
    -------
    dict
        The fields, with lists as tuples.

    Raises
    ------
    ModelFileError
        For a missing or unknown field, and for one that does not pass its check.
    """
    if not isinstance(content, dict) or set(content) != set(checks):
        raise malformed(f"malformed {what}: expected the fields {', '.join(checks)}")
    for name, check in checks.items():
        if not check(content[name]):
            raise malformed(f"malformed {what}: its {name} is not allowed")
    return {name: _as_tuples(content[name]) for name in checks}


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
