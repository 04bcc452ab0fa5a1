"""The benchmarks start: everything they import is there, and they say what they do."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(
    path.name for path in FOLDER.glob("*.py") if "argparse" in path.read_text() or "parser(" in path.read_text()
)


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "common.py"])
def test_a_benchmark_says_what_it_does(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend(str(FOLDER))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert f"python benchmarks/{script}" in said
    for module in ("common", "data", "networks"):
        sys.modules.pop(module, None)
