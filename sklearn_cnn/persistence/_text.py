"""JSON from strangers."""

import json
from math import isfinite
from typing import Any, NoReturn

from sklearn_cnn.exceptions import ModelFileError

LONGEST = 2**23
"""Bytes of JSON that are read: lists of lists take some twenty times as many in memory."""

LARGEST = 2**63
"""Whole numbers are smaller than this, either way."""


def parse(content: bytes, what: str) -> Any:
    """Parse JSON: finite numbers only, no key twice.

    Parameters
    ----------
    content : bytes
        The text.
    what : str
        What it is, for messages.

    Returns
    -------
    object
        None, bools, numbers, strings, lists and dicts.

    Raises
    ------
    ModelFileError
        Where it is no such text, or too long or too deep.
    """
    if len(content) > LONGEST:
        raise ModelFileError(f"{what} takes {len(content):,} bytes, more than the {LONGEST:,} that are read")
    try:
        return json.loads(
            content.decode("ascii"),
            object_pairs_hook=_table,
            parse_constant=_no_number,
            parse_float=_float,
            parse_int=_int,
        )
    except ModelFileError as error:
        raise ModelFileError(f"{what} {error}") from None
    except (ValueError, RecursionError) as error:  # no ASCII, no JSON, or lists within lists without end
        raise ModelFileError(f"{what} is no JSON that can be read ({type(error).__name__})") from None


def is_whole(value: Any) -> bool:
    """Whether a value is an int, no bool, from 0 to what sizes can be."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ModelFileError("has a key twice")
    return table


def _no_number(text: str) -> NoReturn:
    raise ModelFileError(f"has {text}, which JSON has no number for")


def _float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ModelFileError("has a number too large for a float")
    return value


def _int(text: str) -> int:
    # The length first: what int() takes to read digits grows with their square.
    if len(text) > 20 or not -LARGEST < int(text) < LARGEST:
        raise ModelFileError("has a whole number too large")
    return int(text)
