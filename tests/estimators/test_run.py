import importlib
import linecache
import shutil
import sys
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from sklearn_cnn import CNNClassifier, CNNRegressor, ImageAugmenter, ImageNormalizer
from sklearn_cnn.estimators import _read

DIGITS = load_digits()
X, y = DIGITS.images[:60], DIGITS.target[:60] % 3
CHANGED_PIXEL = X.copy()
CHANGED_PIXEL[30, 4, 4] += 1
TRAINED = {seed: CNNClassifier(filters=4, max_epochs=1, random_state=seed).fit(X, y) for seed in (0, 1)}


class TellError(Exception):
    """Holds what a fit says of itself."""


@pytest.fixture(autouse=True)
def tells(monkeypatch):
    def tell(*args):
        raise TellError(describe(*args))

    describe = _read.describe_run
    monkeypatch.setattr(_read, "describe_run", tell)


def run(estimator, X=X, y=y, **fit):
    with pytest.raises(TellError) as info:
        estimator.fit(X, y, **fit)
    return info.value.args[0]


def clf(**parameters):
    return CNNClassifier(**{"random_state": 0, "checkpoint": "run", **parameters})


def differs(first, second):
    """Names of what differs; of a parameter that one of them does not have at all, the outermost."""
    names = {name for name in {*first, *second} if first.get(name) != second.get(name)}
    return {name for name in names if name.split("__")[0] not in names - {name}}


PARAMETERS = {
    "filters": (8, 16),
    "kernel_size": 5,
    "stride": 2,
    "padding": 1,
    "padding_mode": "reflect",
    "dilation": 2,
    "convs_per_block": 2,
    "pooling": "avg",
    "pool_size": 3,
    "pool_stride": 1,
    "global_pooling": "avg",
    "activation": "gelu",
    "normalization": None,
    "hidden_layer_sizes": (),
    "dropout": 0.5,
    "architecture": "lenet5",
    "weights": FrozenEstimator(TRAINED[0]),
    "trainable_blocks": 1,
    "backbone_lr": 0.1,
    "image_shape": (8, 8),
    "channels": "last",
    "augmenter": ImageAugmenter(rotation=10),
    "standardize": False,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "lr_schedule": "cosine",
    "label_smoothing": 0.1,
    "batch_size": 7,
    "max_epochs": 3,
    "early_stopping": True,
    "validation_fraction": 0.3,
    "n_iter_no_change": 3,
    "tol": 0.1,
    "class_weight": "balanced",
    "random_state": 1,
    "precision": "float64",
}
SAME_RESULT = {"verbose": 1, "device": "cpu", "checkpoint": "another"}


def test_every_parameter_is_tried_here():
    refused = {"warm_start", "skorch_callbacks"}  # beside a checkpoint
    assert {*PARAMETERS, *SAME_RESULT, *refused} == set(CNNClassifier().get_params(deep=False))


@pytest.mark.parametrize("name", PARAMETERS)
def test_another_parameter_makes_another_run(name):
    assert differs(run(clf()), run(clf(**{name: PARAMETERS[name]}))) == {name}


def test_a_parameter_of_a_parameter_is_told_by_its_own_name():
    turns, turns_more = (run(clf(augmenter=ImageAugmenter(rotation=degrees))) for degrees in (10, 11))
    assert differs(turns, turns_more) == {"augmenter__rotation"}


@pytest.mark.parametrize("name", SAME_RESULT)
def test_what_changes_no_result_makes_no_other_run(name):
    if name == "device" and torch.accelerator.is_available():
        pytest.skip("the default is another device here")
    assert run(clf()) == run(clf(**{name: SAME_RESULT[name]}))


def test_another_device_makes_another_run(monkeypatch):
    here = run(clf())
    monkeypatch.setattr(_read, "resolve_device", lambda name: torch.device("cuda:1"))  # only told, never used
    assert differs(here, run(clf())) == {"device"}


def sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("filters", (8, 16), [8, 16]),
        ("filters", (8, 16), np.array([8, 16])),
        ("lr", 0.5, np.float64(0.5)),
        ("lr", 1, 1.0),
        ("max_epochs", 3, np.int64(3)),
        ("kernel_size", [(1, 3)], ((1, 3),)),
        ("class_weight", {0: 1.0, 1: 2.0, 2: 1.0}, {2: 1.0, 1: 2.0, 0: 1.0}),
        ("random_state", np.random.RandomState(3), np.random.RandomState(3)),
        ("augmenter", ImageAugmenter(rotation=10, shift=(0.1, 0.2)), ImageAugmenter(rotation=10, shift=[0.1, 0.2])),
        ("optimizer", sgd, sgd),
        ("optimizer", partial(torch.optim.SGD, momentum=0.5), partial(torch.optim.SGD, momentum=0.5)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_equal_values_make_equal_runs(name, value, same):
    assert run(clf(**{name: value})) == run(clf(**{name: same}))


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("weights", FrozenEstimator(TRAINED[0]), FrozenEstimator(TRAINED[1])),
        ("optimizer", sgd, torch.optim.SGD),
        ("optimizer", partial(torch.optim.SGD, momentum=0.5), partial(torch.optim.SGD, momentum=0.6)),
        ("class_weight", {0: 1.0, 1: 2.0, 2: 1.0}, {0: 1.0, 1: 1.0, 2: 2.0}),
        ("random_state", np.random.RandomState(3), np.random.RandomState(4)),
        ("random_state", 0, None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_other_values_of_one_kind_make_other_runs(name, value, other):
    assert differs(run(clf(**{name: value})), run(clf(**{name: other}))) == {name}


class Optimizes:
    def __call__(self, parameters, lr):
        return torch.optim.SGD(parameters, lr=lr)

    def with_method(self, parameters, lr):
        return torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", lambda parameters, lr: torch.optim.SGD(parameters, lr=lr)),
        ("optimizer", (lambda: lambda parameters, lr: torch.optim.SGD(parameters, lr=lr))()),
        ("optimizer", Optimizes()),
        ("optimizer", Optimizes().with_method),
        ("optimizer", partial(torch.optim.SGD, momentum=torch.tensor(0.5))),
        ("optimizer", partial(sgd, lr={1, 2})),
        ("augmenter", ImageAugmenter(rotation=10, random_state=np.random.RandomState(0))),
    ],
    ids=["lambda", "closure", "instance", "method", "tensor", "set", "generator"],
)
def test_what_may_be_another_one_in_another_process_is_refused_by_name(name, value):
    with pytest.raises(TypeError, match=rf"checkpoint tells fits apart .* {name}"):
        clf(**{name: value}).fit(X, y)


def test_a_function_that_was_edited_makes_another_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    runs = []
    for momentum in (0.5, 0.5, 0.6):
        (tmp_path / "optimizers.py").write_text(
            f"import torch\n\ndef mine(parameters, lr):\n    return torch.optim.SGD(parameters, lr, {momentum})\n"
        )
        linecache.clearcache()
        monkeypatch.delitem(sys.modules, "optimizers", raising=False)
        runs.append(run(clf(optimizer=importlib.import_module("optimizers").mine)))
    assert runs[0] == runs[1]
    assert differs(runs[0], runs[2]) == {"optimizer"}


def test_a_function_without_source_is_told_by_its_name():
    space = {"__name__": "typed"}
    exec("def mine(parameters, lr): pass", space)  # as at a prompt
    assert run(clf(optimizer=space["mine"]))["optimizer"] == "typed.mine without source"


def test_subclasses_are_told_by_all_parameters_and_by_module_and_name():
    def made(rate, name="Narrow"):
        class Narrow(CNNClassifier):
            def __init__(self, checkpoint="run", random_state=0):
                super().__init__(checkpoint=checkpoint, random_state=random_state, lr=rate)

        Narrow.__qualname__ = name
        return Narrow()

    assert run(made(0.1)) == run(made(0.1))
    assert differs(run(made(0.1)), run(made(0.2))) == {"lr"}
    assert differs(run(made(0.1)), run(made(0.1, "Other"))) == {"estimator"}


def test_without_a_seed_every_fit_is_the_same_run():
    assert run(clf(random_state=None)) == run(clf(random_state=None))


ONES = np.ones(60)
FITS = {
    "X": (CHANGED_PIXEL, y, {}, {"X"}),
    "dtype of X": (X.astype(np.float32), y, {}, {"X"}),
    "layout of X": (X[..., None], y, {}, {"X"}),
    "y": (X, np.roll(y, 1), {}, {"y"}),
    "labels": (X, np.array(["cat", "dog", "emu"])[y], {}, {"classes"}),
    "order": (X[::-1], y[::-1], {}, {"X", "y"}),
    "sample_weight": (X, y, {"sample_weight": ONES}, {"sample_weight"}),
    "X_val": (X, y, {"X_val": X, "y_val": y}, {"X_val", "y_val", "sample_weight_val"}),
}


@pytest.mark.parametrize("name", FITS)
def test_other_data_make_another_run(name):
    images, labels, fit, different = FITS[name]
    assert differs(run(clf()), run(clf(), images, labels, **fit)) == different


def test_the_form_in_which_data_come_does_not_matter(tmp_path):
    np.save(tmp_path / "X.npy", X)
    for form in (list(X), np.asfortranarray(X), torch.from_numpy(X), np.load(tmp_path / "X.npy", mmap_mode="r")):
        assert run(clf(), form, y.tolist()) == run(clf())


def lazy(*steps):
    images = X
    for step in steps:
        images = step.fit_transform(images)
    return images


def test_random_steps_of_a_pipeline_are_told_by_settings_and_order():
    turn, shift, scale = ImageAugmenter(rotation=10), ImageAugmenter(shift=0.1), ImageNormalizer(per="image")
    recipes = [(turn,), (shift,), (turn, shift), (shift, turn), (turn, scale), (scale, turn), (scale,)]
    runs = [run(clf(), lazy(*recipe)) for recipe in recipes]
    for i, first in enumerate(runs):
        assert differs(first, run(clf(), lazy(*recipes[i]))) == set()  # the seed of the one draw is another one
        assert all(differs(first, second) == {"X"} for second in runs[:i])


def test_a_seed_of_an_augmenter_makes_another_run():
    seeded = [run(clf(), lazy(ImageAugmenter(rotation=10, random_state=seed))) for seed in (0, 0, 1)]
    assert seeded[0] == seeded[1]
    assert differs(seeded[0], seeded[2]) == {"X"}


def test_a_file_of_weights_is_told_by_its_content(tmp_path):
    for name, seed in (("a.pth", 0), ("c.pth", 1)):
        torch.save(dict(TRAINED[seed].module_.state_dict()), tmp_path / name)
    shutil.copy(tmp_path / "a.pth", tmp_path / "b.pth")
    first, moved, other = (run(clf(weights=tmp_path / name)) for name in ("a.pth", "b.pth", "c.pth"))
    assert first == moved == run(clf(weights=str(tmp_path / "a.pth")))
    assert differs(first, other) == {"weights"}


def test_kinds_of_estimators_versions_and_regression_targets_are_told():
    regressor = CNNRegressor(random_state=0, checkpoint="run")
    told = run(regressor)
    assert "loss" in differs(told, run(regressor.set_params(loss="huber")))
    assert "y" in differs(told, run(CNNRegressor(random_state=0, checkpoint="run"), X, y + 0.5))
    assert told["estimator"].endswith(".CNNRegressor") and run(clf())["estimator"].endswith(".CNNClassifier")
    assert {"version of sklearn-cnn", "version of torch"} < set(told)
