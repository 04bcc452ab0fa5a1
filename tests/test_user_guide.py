"""The code of the README and the user guide runs as written and prints what is printed there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# design.md shows what is meant to become, too.
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "design.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_of_a_page_runs(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8", optionflags=doctest.ELLIPSIS)
    assert result.failed == 0, capsys.readouterr().out
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in blocks:
        if ">>>" not in block:
            exec(compile(block, str(page), "exec"), {})
