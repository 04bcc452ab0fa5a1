"""Writes the tests of each row into the table of docs/reliability.md: ``python -m tests.reliability.table``.

A test says which row it tries by ``@pytest.mark.reliability(row)``. The marks are read from the files, without
importing them.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- rows: begin -->\n", "<!-- rows: end -->\n"


def marked_rows(function):
    """Rows that the decorators of a function name."""
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.reliability":
            (row,) = mark.args
            yield ast.literal_eval(row)


def marked_tests():
    """By row, its tests as ``folder/file.py::function``, sorted."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for row in marked_rows(node):
                    found[row].append(f"{path.relative_to(TESTS).as_posix()}::{node.name}")
    return {row: sorted(names) for row, names in sorted(found.items())}


def with_tests(page, tests):
    """The page, in which the last column of the table names the tests of each row."""
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"docs/reliability.md must have its table between {BEGIN.strip()} and {END.strip()}")

    def row_with_tests(match):
        names = " ".join(f"`{name}`" for name in tests.get(int(match[2]), ()))
        return f"{match[1]}{names} |"

    table = re.sub(r"^(\| (\d+) \|.*\| )[^|]*\|$", row_with_tests, table, flags=re.M)
    return before + begin + table + end + after


def rows_of(page):
    """Numbers of the rows in the order of the table."""
    return [int(row) for row in re.findall(r"^\| (\d+) \|", page, flags=re.M)]


if __name__ == "__main__":
    PAGE.write_text(with_tests(PAGE.read_text(encoding="utf-8"), marked_tests()), encoding="utf-8")
