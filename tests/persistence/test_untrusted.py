from dataclasses import dataclass
from typing import Literal

import pytest

from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._untrusted import HIGHEST, LONGEST, LOWEST, parse, read_as


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"NaN", "has NaN, which is not JSON"),
        (b"[-Infinity]", "has -Infinity, which is not JSON"),
        (b"1e999", "has a number too large for a float"),
        (str(HIGHEST + 1).encode(), "has an integer of more than 64 bits"),
        (str(LOWEST - 1).encode(), "has an integer of more than 64 bits"),
        (b"9" * 5_000, "has an integer of more than 64 bits"),
        (b'{"a": 1, "a": 2}', "has a duplicate key"),
        (b"[" * 100_000, r"is not valid JSON \(RecursionError\)"),
        (b'{"a": 1', r"is not valid JSON \(JSONDecodeError\)"),
        ('"é"'.encode(), r"is not valid JSON \(UnicodeDecodeError\)"),
        (b'"' + b"a" * LONGEST + b'"', "has 8,388,610 bytes, more than the limit of 8,388,608"),
    ],
    ids=["NaN", "infinity", "overflow", "2**64", "-2**63-1", "digits", "twice", "deep", "cut off", "letters", "long"],
)
def test_text_that_is_not_as_it_is_written_is_refused(text, match):
    with pytest.raises(ModelFileError, match=f"^the text {match}.*; save the model again$"):
        parse(text, "the text")


def test_text_as_it_is_written_is_read():
    assert parse(b'{"a": [1, -2.5, null, true, "\\u00e9"]}', "the text") == {"a": [1, -2.5, None, True, "é"]}
    for number in (LOWEST, HIGHEST):
        assert parse(str(number).encode(), "the text") == number


@dataclass(frozen=True)
class Part:
    side: int
    pair: tuple[int, int] | Literal["same"]


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    share: float
    flag: bool
    word: str | None


PART = {"side": 1, "pair": [2, 3]}
WHOLE = {"parts": [PART, {**PART, "pair": "same"}], "share": 1, "flag": True, "word": None}


def test_json_is_read_as_values_of_the_types_that_a_class_names():
    assert read_as(Whole, WHOLE, "whole") == Whole((Part(1, (2, 3)), Part(1, "same")), 1, True, None)


@pytest.mark.parametrize(
    "change",
    [
        {"parts": PART},
        {"parts": [[1, [2, 3]]]},
        {"parts": [{**PART, "side": -1}]},
        {"parts": [{**PART, "side": True}]},
        {"parts": [{**PART, "side": 1.0}]},
        {"parts": [{**PART, "side": 2**48}]},
        {"parts": [{**PART, "pair": "other"}]},
        {"parts": [{**PART, "pair": [1]}]},
        {"parts": [{**PART, "pair": [1, 2, 3]}]},
        {"parts": [{**PART, "pair": None}]},
        {"parts": [{**PART, "more": 1}]},
        {"parts": [{"side": 1}]},
        {"share": "1"},
        {"share": True},
        {"flag": 1},
        {"word": 1},
        {"word": ["a"]},
        {"more": 1},
    ],
    ids=str,
)
def test_json_of_other_types_is_refused(change):
    with pytest.raises(ModelFileError, match=r"^malformed whole"):
        read_as(Whole, {**WHOLE, **change}, "whole")
