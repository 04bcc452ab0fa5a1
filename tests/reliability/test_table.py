"""The page on reliability names the tests of each row, and each row has one."""

import pytest

from tests.reliability.table import BEGIN, END, PAGE, marked_tests, rows_of, with_tests

N_ROWS = 40


def test_every_row_is_on_the_page_once_and_has_a_test():
    rows = list(range(1, N_ROWS + 1))
    assert rows_of(PAGE.read_text(encoding="utf-8")) == rows
    assert list(marked_tests()) == rows


def test_the_page_is_as_the_marks_say():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tests(page, marked_tests()), "run python -m tests.reliability.table"


def test_every_mark_names_a_row(request):
    for item in request.session.items:
        for mark in item.iter_markers("reliability"):
            (row,) = mark.args
            assert row in range(1, N_ROWS + 1), item.nodeid


def test_only_the_last_column_between_the_markers_is_written():
    page = f"| 1 | a |\n{BEGIN}| | fault |\n| 1 | x | `old` |\n| 2 | y |  |\n{END}| 1 | b |"
    expected = page.replace("`old`", "`a.py::b` `a.py::c`")
    assert with_tests(page, {1: ["a.py::b", "a.py::c"]}) == expected
    with pytest.raises(ValueError, match="table between"):
        with_tests("no table", {})
