"""The benchmarks start: everything they import is there, and they say what they do. That of photographs runs whole."""

import importlib
import json
import re
import runpy
import sys
from itertools import combinations
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


class FakePeer:
    """Keras, as far as the benchmark sees it: a second for each epoch."""

    def __init__(self, python, script, file, threads):
        with np.load(file) as data:
            self.shapes = {name: data[name].shape for name in data.files}

    def ask(self, command):
        assert self.shapes == {"X": (40, 32, 32, 3), "y": (40,), "X_test": (20, 32, 32, 3), "y_test": (20,)}
        answers = {"new": {"keras": "3", "tensorflow": "2"}, "epoch": {"seconds": 1.0}, "evaluate": {"accuracy": 0.5}}
        return answers[command.split()[0]]

    def end(self):
        pass


CONTESTANTS = {
    "CNNClassifier(filters=(4,), max_epochs=4, batch_size=8)": "cnn: filters=(4,), max_epochs=4, batch_size=8",
    "loop": "bare: label='loop', widths=(8, 8), epochs=8, batch_size=8",
    "keras: epochs=2": "keras: epochs=2",
    "boosting: max_iter=2": "boosting: max_iter=2",
    "svc: cell=16": "svc: cell=16",
}


def test_photos_measures_every_contestant_and_draws_a_run_again(load, photos_file, monkeypatch, capsys):
    pytest.importorskip("matplotlib").use("agg")
    photos = load("photos")
    monkeypatch.setattr(photos, "Peer", FakePeer)
    contestants = dict(CONTESTANTS)
    try:
        import torchvision  # noqa: F401

        contestants["ResNet"] = "resnet18: label='ResNet', epochs=1, batch_size=40"
    except ImportError:
        pass
    figures, picture = photos_file.with_name("figures.json"), photos_file.with_name("picture.png")
    options = ["--test", "20", "--seeds", "2", "--threads", "1", "--json", str(figures), "--plot", str(picture)]
    monkeypatch.setattr(sys, "argv", ["photos.py", str(photos_file), *contestants.values(), *options])
    photos.main()
    rows = {row["contestant"]: row for row in json.loads(figures.read_text())["rows"]}
    assert list(rows) == list(contestants)
    assert all(len(row["each seed"]) == 2 and row["seconds"] > 0 for row in rows.values())
    assert rows["keras: epochs=2"]["seconds"] == 2.0
    assert rows["keras: epochs=2"]["mirrored"] is None
    assert min(rows["loop"]["accuracy"], rows["loop"]["mirrored"], rows["loop"]["and shifted"]) > 0.8
    assert picture.stat().st_size > 10_000

    picture.unlink()
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["photos.py", str(figures), "--plot", str(picture)])
    photos.main()
    assert "40 photographs of 32×32, medians of 2 seeds" in capsys.readouterr().out
    assert picture.exists()


def test_photos_refuses_a_contestant_that_it_does_not_know(load):
    with pytest.raises(SystemExit, match=r"'resnet' is none of cnn, bare, resnet18, .*"):
        load("photos").read_contestants(["resnet: epochs=1"])


def test_names_in_the_picture_of_photos_cover_no_dot_and_no_other_name(load):
    plt = pytest.importorskip("matplotlib.pyplot")
    photos = load("photos")
    rows = [
        {
            "contestant": f"number {i} of a dozen",
            "kind": "cnn",
            "seconds": 100 + 9 * i,
            "accuracy": 0.9 + 0.002 * (i % 3),
        }
        for i in range(12)
    ]
    dots = [(row["seconds"], row["accuracy"]) for row in rows]
    figure, ax = plt.subplots()
    ax.plot(*zip(*dots, strict=True), "o")
    ax.set(xlim=(50, 400), ylim=(0.8, 1.0))
    photos.place_labels(ax, rows, dots)
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == 12
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert not any(box.contains(*dot) for box in boxes for dot in ax.transData.transform(dots))
    plt.close(figure)


def test_every_idea_of_the_bare_loop_can_be_left_out(load, photos_file, monkeypatch, capsys):
    bare = load("bare_photos")
    options = ["--without", "all", "--test", "20", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["bare_photos.py", str(photos_file), "widths=(4,), epochs=1", *options])
    bare.main()
    said = capsys.readouterr().out
    assert re.findall(r", without (.+?)  ", said) == list(bare.WITHOUT)


@pytest.mark.parametrize(
    "options",
    [
        {"whitening": "start"},
        {"whitening": "start_of_usual_norm"},
        {"lookahead": True},
        {"mix": "mixup"},
        {"mix": "cutmix"},
        {"small_side": 16},
        {"schedule": "linear", "pool": "average", "head": "average", "pool_last_block": False, "activation": "silu"},
        {"bfloat16": True},
    ],
)
def test_an_idea_that_the_bare_loop_leaves_out_runs(load, photos_file, options):
    bare = load("bare_photos")
    X, y, X_test, _ = load("data").read_photos(photos_file, test=20)
    plain, changed = (
        bare.fit(X, y, bare.Recipe(**{"widths": (8, 8), "epochs": 3, "batch_size": 8, **more}))(X_test)
        for more in ({}, options)
    )
    assert changed.shape == (20, 3)
    assert np.isfinite(changed).all()
    assert not np.allclose(plain, changed)


def test_whitened_patches_of_the_bare_loop_are_uncorrelated(load):
    bare = load("bare_photos")
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(200, 3, 17, 17, generator=generator), 2, stride=1)
    conv = torch.nn.Conv2d(3, 24, 2, bias=False)
    bare.whiten(conv, images, "fixed")
    seen = conv(images).detach().permute(0, 2, 3, 1).reshape(-1, 24)
    products = seen.T @ seen / len(seen)
    np.testing.assert_allclose(products[:12, :12], np.eye(12), atol=0.05)
    np.testing.assert_allclose(products[:12, 12:], -np.eye(12), atol=0.05)


def test_crops_of_the_bare_loop_are_windows_of_the_padded_image(load):
    bare = load("bare_photos")
    images = torch.arange(6 * 3 * 8 * 8).view(6, 3, 8, 8) % 251
    padded = bare.with_border(images.to(torch.uint8), 2)
    flips = torch.tensor([False, True] * 3)
    shown = bare.drawn(padded, 2, flips, torch.Generator().manual_seed(0))
    places = set()
    for image, whole, flip in zip(shown, padded, flips, strict=True):
        image = image.flip(2) if flip else image
        found = [(i, j) for i in range(5) for j in range(5) if torch.equal(image, whole[:, i : i + 8, j : j + 8])]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 1


def test_accuracies_add_scores_of_mirrored_and_shifted_images(load):
    """Scores that hang on one pixel: on the image, on its mirror image, or on its place."""
    accuracies = load("bare_photos").accuracies
    X = np.zeros((1, 4, 4, 1), dtype=np.uint8)
    X[0, 1, 3] = 1

    def scores(images):
        right = images[:, 1, 3, 0] * 1.0  # seen on the image, not on its mirror image
        moved = images[:, 0, 1, 0] * 9.0  # seen where the image is moved up and left, and mirrored
        left = images[:, 1, 0, 0] * 2.0
        return np.stack([right, left, moved], axis=1)

    found = {label: accuracies(scores, X, np.array([label])) for label in range(3)}
    assert [found[0][name] for name in ("accuracy", "mirrored", "and shifted")] == [1, 0, 0]
    assert [found[1][name] for name in ("accuracy", "mirrored", "and shifted")] == [0, 1, 0]
    assert [found[2][name] for name in ("accuracy", "mirrored", "and shifted")] == [0, 0, 1]


@pytest.mark.parametrize(
    ("angle", "expected"),
    [(0, [0.5, 0, 0, 0, 0, 0, 0, 0, 0.5]), (90, [0, 0, 0, 0, 1, 0, 0, 0, 0]), (30, [0, 1, 0, 0, 0, 0, 0, 0, 0])],
)
def test_hog_votes_for_the_direction_of_a_ramp(load, angle, expected):
    down, right = np.mgrid[:32, :32]
    ramp = right * np.cos(np.deg2rad(angle)) + down * np.sin(np.deg2rad(angle))
    X = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    X[0, ..., 1] = 2 + 5 * ramp
    features = load("hog").hog(X)
    assert features.shape == (1, 3 * 3 * 4 * 9)
    blocks = features.reshape(9, 4, 9)
    np.testing.assert_allclose((blocks**2).sum(axis=(1, 2)), 1, atol=1e-3)
    inner = blocks[4].sum(axis=0)
    np.testing.assert_allclose(inner / inner.sum(), expected, atol=0.2)  # blocks are clipped


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
