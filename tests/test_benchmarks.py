"""The benchmarks start: everything they import is there, and they say what they do. The recipes for photographs run."""

import importlib
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

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
    forget_modules()


def forget_modules():
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def load(monkeypatch):
    """A function that imports a benchmark by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    forget_modules()
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    forget_modules()


@pytest.fixture
def photos_file(tmp_path):
    """A file of 60 photographs, of which the brightness tells the class."""
    rng = np.random.default_rng(0)
    y = np.arange(60, dtype=np.uint8) % 3
    X = rng.integers(0, 60, size=(60, 32, 32, 3)) + 90 * y[:, None, None, None]
    np.savez(tmp_path / "photos.npz", X=X.astype(np.uint8), y=y)
    return tmp_path / "photos.npz"


@pytest.fixture
def photo_recipes(load, photos_file, monkeypatch):
    """A function that runs recipes, made small, on 40 photographs, scores on 20 and returns the rows of the table.

    The recipe "500" has become "30", which takes 30 photographs.
    """
    script = load("photo_recipe")
    for settings in script.RECIPES.values():
        settings.update(filters=(4, 8), max_epochs=10, batch_size=8)
    script.RECIPES["30"] = script.RECIPES.pop("500")
    figures = photos_file.with_name("figures.json")

    def run(*recipes):
        options = ["--test", "20", "--threads", "1", "--json", str(figures)]
        monkeypatch.setattr(sys, "argv", ["photo_recipe.py", str(photos_file), *options, "--recipe", *recipes])
        script.main()
        return json.loads(figures.read_text())["rows"]

    run.names = list(script.RECIPES)
    return run


def test_every_recipe_for_photographs_trains(photo_recipes):
    rows = photo_recipes(*photo_recipes.names)
    taken = dict.fromkeys(photo_recipes.names, 40) | {"30": 30}
    assert {row["recipe"]: row["photographs"] for row in rows} == taken
    assert all(min(row["accuracy"], row["mirrored and shifted"]) > 0.6 and row["seconds"] > 0 for row in rows)


def test_recipes_for_photographs_are_scored_on_the_last_photographs(photo_recipes, photos_file):
    """Those have wrong labels here."""
    data = dict(np.load(photos_file))
    data["y"][-20:] = (data["y"][-20:] + 1) % 3
    np.savez(photos_file, **data)
    rows = photo_recipes("30", "--repeats", "2", "--plain")
    assert [(row["recipe"], row["seed"]) for row in rows] == [
        ("30", 0),
        ("CNNClassifier()", 0),
        ("30", 1),
        ("CNNClassifier()", 1),
    ]
    assert all(max(row["accuracy"], row["mirrored and shifted"]) < 0.4 for row in rows)


@pytest.mark.parametrize(
    ("place", "shares"),
    [
        ((1, 2), {(1, 2): 2, (1, 1): 2, (0, 1): 1, (0, 0): 1, (2, 3): 1, (2, 2): 1}),
        ((0, 0), {(0, 0): 2, (0, 3): 2, (1, 1): 2, (1, 2): 2}),  # what is moved in is reflected at the border
    ],
)
def test_recipes_for_photographs_average_mirrored_and_shifted_images(load, place, shares):
    """Each image has one bright pixel; the probability is the brightness at a place. Shares are eighths."""

    class Looks:
        def predict_proba(self, X):
            return X[:, *place, :] * 1.0

    X = np.eye(16).reshape(16, 4, 4, 1)
    found = load("photo_recipe").mirrored_and_shifted(Looks(), X).reshape(4, 4) * 8
    assert {(int(i), int(j)): found[i, j] for i, j in np.argwhere(found)} == shares


def test_the_photo_recipes_say_which_there_are(load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["photo_recipe.py", "photos.npz", "--recipe", "6 minutes"])
    with pytest.raises(SystemExit):
        load("photo_recipe").main()
    assert "5 minutes" in capsys.readouterr().err
