"""The code of the README and the user guide runs as written and prints what is printed there."""

import doctest
import functools
import re
from pathlib import Path

import pytest

from sklearn_cnn import CNNClassifier, CNNRegressor

ROOT = Path(__file__).parents[1]
# design.md shows what is meant to become, too.
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "design.md")]
LONG = [
    *(ROOT / page for page in ("README.md", "docs/index.md")),
    *(ROOT / f"docs/user_guide/{page}.md" for page in ("augmentation", "normalization", "scikit_learn", "transfer")),
]


def run(page, *, scores=True):
    """Run the code of a page; the number of examples that printed something else.

    Without `scores`, lines that compare a score may print anything.
    """
    text = page.read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    for example in examples.examples:
        if not scores and "score" in example.source and example.want == "True\n":
            example.want = "...\n"
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples).failed
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        if ">>>" not in block:
            exec(compile(block, str(page), "exec"), {})
    return failed


def in_one_epoch(fit):
    """A fit that trains for one epoch, on every other image."""

    @functools.wraps(fit)
    def fit_in_one_epoch(self, X, y, *args, **kwargs):
        if not args and not kwargs:
            X, y = X[::2], y[::2]
        max_epochs, self.max_epochs = self.max_epochs, 1
        try:
            return fit(self, X, y, *args, **kwargs)
        finally:
            self.max_epochs = max_epochs

    return fit_in_one_epoch


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_of_a_page_runs(page, capsys, tmp_path, monkeypatch):
    """The pages that train for long do it in one epoch a fit."""
    monkeypatch.chdir(tmp_path)
    if page in LONG:
        for estimator in (CNNClassifier, CNNRegressor):
            monkeypatch.setattr(estimator, "fit", in_one_epoch(estimator.fit))
    assert run(page, scores=page not in LONG) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("page", LONG, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_of_a_long_page_runs_as_it_is(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(page) == 0, capsys.readouterr().out
