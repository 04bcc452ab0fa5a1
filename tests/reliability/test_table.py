"""The page on reliability names the tests of each row, and each row has one."""

import ast
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
N_ROWS = 40


def defined_by_row():
    """By row, what the files define: ``folder/file.py::function``."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (row := re.match(r"test_row_(\d\d)_", node.name)):
                found[int(row[1])].append(f"{path.relative_to(TESTS).as_posix()}::{node.name}")
    return {row: sorted(names) for row, names in found.items()}


def named_by_row():
    """By row, what the last column of the table names."""
    lines = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert len({row for row, _ in lines}) == len(lines), "a row stands twice"
    return {int(row): sorted(re.findall(r"`([^`]+)`", names)) for row, names in lines}


def test_every_row_has_a_test():
    assert sorted(defined_by_row()) == list(range(1, N_ROWS + 1))


def test_the_page_names_the_tests_of_every_row_and_no_others():
    assert named_by_row() == defined_by_row()
