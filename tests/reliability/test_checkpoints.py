"""Fits that are interrupted and go on. The numbers are those of the reliability table."""

import errno
import json
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

import sklearn_cnn
from sklearn_cnn import CNNClassifier, CNNRegressor, ImageAugmenter, ImageNormalizer, _writing
from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.training._checkpoint import MAGIC, Checkpoint

DIGITS = load_digits()
X, y = DIGITS.images[:120], DIGITS.target[:120] % 4


class CrashError(Exception):
    """Stands for whatever ends a program."""


def small(kind=CNNClassifier, **parameters):
    settings = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 5, "batch_size": 16, "random_state": 0}
    return kind(**{**settings, **parameters})


@pytest.fixture
def saves(monkeypatch):
    """Counts what is saved, and crashes after as many as `stop_at` says."""

    class Saves:
        count, stop_at = 0, None

        def crash_after(self, count):
            self.count, self.stop_at = 0, count

    counter, save = Saves(), Checkpoint.save

    def counted(self, *args):
        save(self, *args)
        counter.count += 1
        if counter.count == counter.stop_at:
            raise CrashError

    monkeypatch.setattr(Checkpoint, "save", counted)
    return counter


def everything(estimator):
    """All that a fit leaves, but for the time it took."""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    history = [{name: value for name, value in record.items() if name != "dur"} for record in last.history_]
    layouts = [(value.numpy().tobytes(), value.stride()) for value in last.module_.state_dict().values()]
    state = last.net_.optimizer_.state_dict()
    moments = [value.tolist() for entry in state["state"].values() for value in entry.values()]
    return {
        "weights": layouts,
        "moments": moments,
        "groups": state["param_groups"],
        "history": history,
        "best_epoch": last.best_epoch_,
        "curves": (last.loss_curve_, last.validation_loss_curve_, last.validation_scores_),
        "predictions": estimator.predict(X).tolist(),
    }


def sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def ready_made(image_shape, n_outputs):
    layers = [torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, n_outputs))


TRAINED = small(max_epochs=1).fit(X, y)
SETTINGS = {
    "default": small(),
    "early stopping": small(early_stopping=True, n_iter_no_change=1, max_epochs=10, lr=0.05),
    "early stopping, cosine": small(early_stopping=True, n_iter_no_change=2, max_epochs=8, lr_schedule="cosine"),
    "a long cooldown": small(max_epochs=8),
    "bfloat16": small(precision="bfloat16"),
    "losses that rise": small(lr=0.3, lr_schedule="constant", max_epochs=6, random_state=1),
    "float64": small(precision="float64", normalization=None),
    "sgd": small(optimizer="sgd", lr_schedule="cosine"),
    "rmsprop, constant": small(optimizer="rmsprop", lr_schedule="constant"),
    "own optimiser": small(optimizer=sgd),
    "moments of another dtype": small(optimizer=torch.optim.NAdam, precision="float64"),
    "augmenter": small(augmenter=ImageAugmenter(rotation=10, noise=0.1)),
    "seeded augmenter": small(augmenter=ImageAugmenter(rotation=10, random_state=3)),
    "pipeline": make_pipeline(ImageAugmenter(shift=0.1), ImageNormalizer(), small(early_stopping=True)),
    "regressor": small(CNNRegressor, early_stopping=True),
    "several convolutions a block": small(convs_per_block=2, pooling="avg", max_epochs=3),
    "ready-made, with dropout of torch": CNNClassifier(
        architecture=ready_made, max_epochs=5, batch_size=16, random_state=0
    ),
    "frozen body": small(weights=FrozenEstimator(TRAINED), trainable_blocks=0),
    "two learning rates": small(weights=FrozenEstimator(TRAINED), backbone_lr=1e-3),
    "no seed": small(random_state=None),
    "a generator": small(random_state=np.random.RandomState(5)),
    "class weights": small(class_weight="balanced", label_smoothing=0.1),
}


@pytest.mark.reliability(32)
@pytest.mark.parametrize(
    ("name", "every_epoch"),
    [
        *((name, name in ("default", "early stopping")) for name in SETTINGS),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in SETTINGS),
    ],
)
def test_a_fit_that_stops_after_any_epoch_ends_bit_equal_to_one_that_does_not(name, every_epoch, tmp_path, saves):
    def begin(seed=4, **parameters):
        # In a pipeline too the parameters are those of the last step.
        estimator = clone(SETTINGS[name])
        last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        last.set_params(**parameters)
        np.random.seed(seed)  # noqa: NPY002 - the generator that random_state=None means
        return estimator

    expected = everything(begin().fit(X, y))
    n_epochs = len(expected["history"])
    assert n_epochs > 2
    for epoch in range(1, n_epochs + 1) if every_epoch else (2, n_epochs):
        estimator = begin(checkpoint=tmp_path / f"after {epoch}")
        saves.crash_after(epoch)
        with pytest.raises(CrashError):
            estimator.fit(X, y)
        assert not hasattr(estimator, "history_")
        saves.crash_after(None)
        estimator = begin(seed=5, checkpoint=tmp_path / f"after {epoch}").fit(X, y)
        assert saves.count == n_epochs - epoch
        assert everything(estimator) == expected


@pytest.mark.reliability(32)
def test_stopped_at_every_epoch_in_turn(tmp_path, saves):
    expected = everything(small().fit(X, y))
    for _ in range(4):
        saves.crash_after(1)
        with pytest.raises(CrashError):
            small(checkpoint=tmp_path / "run").fit(X, y)
    assert everything(small(checkpoint=tmp_path / "run").fit(X, y)) == expected


@pytest.mark.reliability(32)
def test_the_same_fit_again_trains_no_more(tmp_path, saves, monkeypatch):
    clf = small(checkpoint=tmp_path / "run").fit(X, y)
    written = (tmp_path / "run").stat()
    monkeypatch.setattr(ImageNetwork, "forward", None)
    again = clf.fit(X, y), small(checkpoint=tmp_path / "run").fit(X, y)
    monkeypatch.undo()
    assert everything(again[0]) == everything(again[1]) == everything(small().fit(X, y))
    after = (tmp_path / "run").stat()
    assert (after.st_mtime_ns, after.st_ino) == (written.st_mtime_ns, written.st_ino)


@pytest.mark.reliability(32)
def test_a_finished_fit_with_a_frozen_body_runs_no_image_through_it(tmp_path, monkeypatch):
    settings = {"weights": FrozenEstimator(TRAINED), "trainable_blocks": 0, "checkpoint": tmp_path / "run"}
    clf = small(**settings).fit(X, y)
    monkeypatch.setattr(ImageNetwork, "maps", None)
    again = small(**settings).fit(X, y)
    monkeypatch.undo()
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


@pytest.mark.reliability(32)
def test_without_a_seed_a_finished_fit_is_the_one_in_the_file(tmp_path):
    first, second = (small(random_state=None, checkpoint=tmp_path / "run").fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert not np.array_equal(small(random_state=None).fit(X, y).predict_proba(X), first.predict_proba(X))


@pytest.mark.reliability(32)
def test_fits_without_a_seed_cannot_be_told_apart_in_a_folder(tmp_path):
    clf = small(random_state=None, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"is a folder, .* data and seed; set random_state"):
        clf.fit(X, y)
    assert not os.listdir(tmp_path)


class StopsAfter:
    """A callback of scikit-learn that ends a training."""

    def __init__(self, epochs):
        self.epochs, self.seen = epochs, 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.seen += context.task_name == "epoch"
        return context.task_name == "epoch" and self.seen == self.epochs

    def teardown(self, estimator, context):
        pass


@pytest.mark.reliability(32)
def test_a_callback_that_ended_the_training_did_not_end_the_run(tmp_path, saves):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from version 1.9 on")
    clf = small(checkpoint=tmp_path / "run").set_callbacks(StopsAfter(2)).fit(X, y)
    assert (clf.n_iter_, saves.count) == (2, 2)
    assert everything(small(checkpoint=tmp_path / "run").fit(X, y)) == everything(small().fit(X, y))
    assert saves.count == 5


def alter(monkeypatch, change):
    """Have states and positions changed before they are saved, and signed."""
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, state, position: save(self, state, change(state) or position))


MADE_UP = {
    "no weights": lambda state: state.pop("network") and None,
    "weights of another shape": lambda state: state["network"].update({"layers.output.bias": torch.zeros(9)}),
    "no history": lambda state: state["history"].clear(),
    "history of something else": lambda state: state["history"].append(5),
    "another optimiser": lambda state: state["optimizer"]["param_groups"].clear(),
    "no best epoch": lambda state: state["best"].pop("patience_spent") and None,
    "epoch after the last": lambda state: (0, 2),
    "epoch far away": lambda state: (0, 999),
    "epoch after the end": lambda state: (1, 1),
    "too many phases": lambda state: (3, 0),
}


@pytest.mark.reliability(32)
@pytest.mark.parametrize("name", MADE_UP)
def test_a_state_that_does_not_fit_is_refused_in_words(name, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        alter(patch, MADE_UP[name])
        small(checkpoint=tmp_path / "run", max_epochs=2).fit(X, y)
    clf = small(checkpoint=tmp_path / "run", max_epochs=2)
    with pytest.raises(ModelFileError, match=r"checkpoint=.* does not fit this network, .*; delete it to begin anew"):
        clf.fit(X, y)
    assert not hasattr(clf, "classes_")


@pytest.mark.reliability(32)
def test_what_a_state_has_too_much_does_nothing(tmp_path, saves, monkeypatch):
    settings = {"early_stopping": True, "n_iter_no_change": 4, "lr_schedule": "constant"}
    with monkeypatch.context() as patch:
        alter(patch, lambda state: state["best"].update(n_iter_no_change=0, update=5))
        saves.crash_after(2)
        with pytest.raises(CrashError):
            small(**settings, checkpoint=tmp_path / "run").fit(X, y)
    assert everything(small(**settings, checkpoint=tmp_path / "run").fit(X, y)) == everything(
        small(**settings).fit(X, y)
    )


@pytest.mark.reliability(32)
def test_another_run_is_an_error_that_names_both_and_the_file_stays(tmp_path):
    small(checkpoint=tmp_path / "run").fit(X, y)
    before = (tmp_path / "run").read_bytes()
    for clf, images, match in (
        (small(lr=0.5, max_epochs=7), X, "lr was 'auto' there and is 0.5 here; max_epochs was 5 there and is 7 here"),
        (small(), X + 1, r"X was float64 \(120, 8, 8\) \w{16} there and is float64 \(120, 8, 8\) \w{16} here"),
    ):
        with pytest.raises(ValueError, match=rf"checkpoint=.*run' holds another run: {match}\. Delete the file"):
            clf.set_params(checkpoint=tmp_path / "run").fit(images, y)
        assert not hasattr(clf, "classes_")
    assert (tmp_path / "run").read_bytes() == before


@pytest.mark.reliability(32)
@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"warm_start": True}, "warm_start=True with one that has ended; use one"),
        ({"skorch_callbacks": ["callback"]}, "cannot keep what skorch_callbacks remember"),
    ],
    ids=["warm_start", "skorch_callbacks"],
)
def test_what_a_checkpoint_could_not_go_on_with_is_refused(parameters, match, tmp_path):
    clf = small(checkpoint=tmp_path / "run", **parameters)
    with pytest.raises(ValueError, match=match):
        clf.fit(X, y)
    assert not os.listdir(tmp_path)


@pytest.mark.reliability(32)
def test_partial_fit_neither_reads_nor_writes_it(tmp_path):
    small(checkpoint=tmp_path / "run").partial_fit(X, y, classes=range(4))
    assert not os.listdir(tmp_path)


@pytest.mark.reliability(32)
def test_a_network_that_broke_is_not_saved(tmp_path):
    clf = small(
        checkpoint=tmp_path / "run", batch_size=120, optimizer="sgd", lr=1e38, lr_schedule="constant", weight_decay=1e38
    )
    with pytest.raises(sklearn_cnn.exceptions.NonFiniteLossError):
        clf.fit(X, y)
    assert not os.listdir(tmp_path)


# Row 31.


@pytest.mark.reliability(31)
@pytest.mark.parametrize("call", ["disk", "fsync", "Ctrl-C"])
def test_a_disk_that_fills_up_leaves_the_last_epoch_to_go_on_from(call, tmp_path, saves, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt if call == "Ctrl-C" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class FullDisk:
        def __init__(self, descriptor, mode):
            self.file = open(descriptor, mode)  # noqa: SIM115 - it is one itself

        __enter__ = lambda self: self  # noqa: E731 - a method in a line
        __exit__ = lambda self, *args: self.file.close()  # noqa: E731 - a method in a line
        write = fail

    saves.crash_after(2)
    with pytest.raises(CrashError):
        small(checkpoint=tmp_path / "run").fit(X, y)
    saves.crash_after(None)
    before = (tmp_path / "run").read_bytes()
    with monkeypatch.context() as patch:
        if call == "disk":
            patch.setattr(_writing, "open", FullDisk, raising=False)
        else:
            patch.setattr(os, "fsync", fail)
        clf = small(checkpoint=tmp_path / "run")
        with pytest.raises((OSError, KeyboardInterrupt)) as info:
            clf.fit(X, y)
    assert call == "Ctrl-C" or "checkpoint=" in str(info.value)
    assert not hasattr(clf, "classes_")
    assert os.listdir(tmp_path) == ["run"]
    assert (tmp_path / "run").read_bytes() == before
    assert everything(small(checkpoint=tmp_path / "run").fit(X, y)) == everything(small().fit(X, y))


KILLED = """
import hashlib, os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from sklearn.datasets import load_digits
from sklearn_cnn import CNNClassifier, ImageAugmenter

os.fsync = os.fstat  # a kill leaves the same, synced or not
X, y = load_digits().images[:300], load_digits().target[:300]
folder, n_kills = sys.argv[1], int(sys.argv[2])
settings = dict(filters=(4, 6), max_epochs=6, early_stopping=True, augmenter=ImageAugmenter(shift=0.1), random_state=0)

def fit(path):
    clf = CNNClassifier(**settings, checkpoint=path).fit(X, y)
    values = [value.numpy().tobytes() for value in clf.module_.state_dict().values()]
    return hashlib.sha256(b"".join(values) + repr(clf.loss_curve_).encode()).hexdigest()

fit(None)  # what the libraries do at their first use takes time
begun = time.perf_counter()
expected = fit(os.path.join(folder, "whole"))
duration = time.perf_counter() - begun
draw = random.Random(0)
n_midway = 0
for number in range(n_kills):
    path = os.path.join(folder, str(number))
    pid = os.fork()
    if pid == 0:
        fit(path)
        os._exit(0)
    time.sleep(draw.uniform(0, duration))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    n_midway += os.path.exists(path)
    assert fit(path) == expected, number
print(n_midway)
"""


def run(script, *arguments, limit=300):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(sklearn_cnn.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",  # two threads in each of two workers would wait for each other
    }
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.reliability(32)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
@pytest.mark.parametrize(("n_kills", "n_midway"), [(3, 1), pytest.param(50, 21, marks=pytest.mark.slow)])
def test_fits_that_are_killed_at_random_moments_end_bit_equal(n_kills, n_midway, tmp_path):
    # Some are killed before the first epoch is over, or after the last.
    assert int(run(KILLED, tmp_path, n_kills)) >= n_midway


# Row 25, and searches.

GRID = {"dropout": [0.0, 0.3, 0.6]}


def epochs_in(path):
    content = Path(path).read_bytes()
    start = len(MAGIC) + 32 + 8
    (length,) = struct.unpack("<Q", content[start - 8 : start])
    over, done = json.loads(content[start : start + length])["position"]
    return 5 if over else done


@pytest.mark.reliability(32)
def test_in_a_search_every_fit_has_a_file_of_its_own(tmp_path, saves):
    search = GridSearchCV(small(checkpoint=tmp_path), GRID, cv=2).fit(X, y)
    assert len(os.listdir(tmp_path)) == 3 * 2 + 1  # and the refit
    assert saves.count == 7 * 5
    saves.count = 0
    again = GridSearchCV(small(checkpoint=tmp_path), GRID, cv=2).fit(X, y)
    assert saves.count == 0
    np.testing.assert_array_equal(again.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])
    assert everything(again.best_estimator_) == everything(search.best_estimator_)


@pytest.mark.reliability(32)
def test_one_file_for_all_fits_of_a_search_is_refused_by_all_but_the_first(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scores = cross_val_score(small(checkpoint=tmp_path / "run"), X, y, cv=3)
    assert np.isnan(scores).tolist() == [False, True, True]
    assert [str(each.message).count("holds another run: X was") for each in caught] == [2]
    assert caught[0].category is FitFailedWarning


SEARCH = """
import os, signal, sys, threading, time
import torch
from joblib.externals.loky import reusable_executor
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn_cnn import CNNClassifier

X, y = load_digits().images[:120], load_digits().target[:120] % 4
clf = CNNClassifier(filters=(4, 6), hidden_layer_sizes=(8,), max_epochs=5, batch_size=16, random_state=0)
folder = sys.argv[1]

def kill_a_worker():
    while len(os.listdir(folder)) < 3:
        time.sleep(0.001)
    global killed
    killed = time.monotonic()
    os.kill(next(iter(reusable_executor._executor._processes)), signal.SIGKILL)

threading.Thread(target=kill_a_worker, daemon=True).start()
search = GridSearchCV(clf.set_params(checkpoint=folder), {"dropout": [0.0, 0.3, 0.6]}, cv=2, n_jobs=2)
try:
    search.fit(X, y)
except Exception as error:
    print(type(error).__name__, time.monotonic() - killed < 60, hasattr(search, "best_estimator_"))
"""


@pytest.mark.reliability(25)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_worker_ends_a_search_and_the_next_repeats_only_what_was_not_finished(tmp_path, saves):
    assert run(SEARCH, tmp_path, limit=120).split() == ["TerminatedWorkerError", "True", "False"]
    n_before = sum(epochs_in(path) for path in tmp_path.glob("*.checkpoint"))
    assert 0 < n_before < 7 * 5
    search = GridSearchCV(small(checkpoint=tmp_path), GRID, cv=2).fit(X, y)
    assert saves.count == 7 * 5 - n_before
    expected = GridSearchCV(small(), GRID, cv=2).fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert everything(search.best_estimator_) == everything(expected.best_estimator_)
