import pytest

from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._text import LARGEST, LONGEST, parse


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"NaN", "has NaN, which JSON has no number for"),
        (b"[-Infinity]", "has -Infinity, which JSON"),
        (b"1e999", "has a number too large for a float"),
        (str(LARGEST).encode(), "has a whole number too large"),
        (b"9" * 5_000, "has a whole number too large"),
        (b'{"a": 1, "a": 2}', "has a key twice"),
        (b"[" * 100_000, r"is no JSON that can be read \(RecursionError\)"),
        (b'{"a": 1', r"is no JSON that can be read \(JSONDecodeError\)"),
        ('"é"'.encode(), r"is no JSON that can be read \(UnicodeDecodeError\)"),
        (b'"' + b"a" * LONGEST + b'"', "takes 8,388,610 bytes, more than the 8,388,608 that are read"),
    ],
    ids=["NaN", "infinity", "overflow", "2**63", "digits", "twice", "deep", "cut off", "letters", "long"],
)
def test_text_that_is_not_as_it_is_written_is_refused(text, match):
    with pytest.raises(ModelFileError, match=f"^the text {match}"):
        parse(text, "the text")


def test_text_as_it_is_written_is_read():
    assert parse(b'{"a": [1, -2.5, null, true, "\\u00e9"]}', "the text") == {"a": [1, -2.5, None, True, "é"]}
    assert parse(str(LARGEST - 1).encode(), "the text") == LARGEST - 1
