"""Ctrl-C at every step of a fit. The number is that of the reliability table."""

import hashlib
import os
import pkgutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping
from torch.optim.optimizer import register_optimizer_step_post_hook

import sklearn_cnn
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor
from sklearn_cnn.estimators import _fit

DIGITS = load_digits()
X, y = DIGITS.images[:80].astype(np.float32), DIGITS.target[:80]
KINDS = {"classifier": CNNClassifier, "regressor": CNNRegressor}


class EndsEpochs(Callback):
    """Something to interrupt at the end of an epoch."""

    def on_epoch_end(self, net, **kwargs):
        pass


def small(kind="classifier", **parameters):
    settings = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 2, "batch_size": 16, "random_state": 0}
    return KINDS[kind](**{**settings, **parameters})


def fit(estimator, way="fit"):
    if way != "partial_fit":
        return estimator.fit(X, y)
    classes = {"classes": range(10)} if isinstance(estimator, CNNClassifier) else {}
    return estimator.partial_fit(X, y, **classes)


def digest(estimator):
    values = estimator.module_.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


BASE, READ, FIT = "sklearn_cnn.estimators._base", "sklearn_cnn.estimators._read", "sklearn_cnn.estimators._fit"
POINTS = {
    "images read": f"{READ}._read_images",
    "targets read": f"{READ}.Sample",
    "pixels surveyed": f"{FIT}.survey",
    "network built": "sklearn_cnn.estimators._network.build_network",
    "net made": f"{FIT}.make_net",
    "forward": "sklearn_cnn.architectures._build.ImageNetwork.forward",
    "backward": "torch.Tensor.backward",
    "step": None,  # by a hook of torch
    "validated": "sklearn_cnn.training._loop._record_score",
    "epoch ended": f"{__name__}.EndsEpochs.on_epoch_end",
    "trained": f"{FIT}.train",
    "result made": f"{FIT}.plain_history",
    "fit over": "sklearn_cnn.estimators._base.FitTasks.end_fit",
}
"""The functions that have just done their work when Ctrl-C comes."""


@contextmanager
def ctrl_c_after(target):
    def interrupt(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)

    if target is None:
        hook = register_optimizer_step_post_hook(interrupt)
        try:
            yield
        finally:
            hook.remove()
        return
    real = pkgutil.resolve_name(target)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(target, lambda *args, **kwargs: (real(*args, **kwargs), interrupt())[0])
        yield


@pytest.mark.reliability(21)
@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *(("classifier", way) for way in ("fit", "partial_fit", "warm_start")),
        ("regressor", "fit"),
        *(pytest.param("regressor", way, marks=pytest.mark.slow) for way in ("partial_fit", "warm_start")),
    ],
)
@pytest.mark.parametrize("point", POINTS)
def test_ctrl_c_leaves_the_fit_and_the_estimator_as_it_was(point, way, kind):
    if way == "partial_fit" and point == "validated":
        point = "trained"  # it holds no validation images
    settings = {"skorch_callbacks": [EndsEpochs()], "early_stopping": True, "warm_start": way == "warm_start"}
    estimator, undisturbed = small(kind, **settings), small(kind, **settings)
    for _ in ("not fitted", "fitted"):
        before, weights = dict(vars(estimator)), digest(estimator) if hasattr(estimator, "module_") else None
        predictions = estimator.predict(X) if weights else None
        with ctrl_c_after(POINTS[point]), pytest.raises(KeyboardInterrupt):
            fit(estimator, way)
        assert vars(estimator) == before
        if weights:
            assert digest(estimator) == weights
            np.testing.assert_array_equal(estimator.predict(X), predictions)
        # What comes next is what would have come without the interrupt.
        assert digest(fit(estimator, way)) == digest(fit(undisturbed, way))
        assert estimator.loss_curve_ == undisturbed.loss_curve_


class Interrupts:
    """Ctrl-C comes while this is deleted, when Python ignores every exception."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.reliability(21)
@pytest.mark.parametrize("point", [point for point in POINTS if POINTS[point]])
def test_ctrl_c_that_python_ignores_ends_the_fit_at_the_next_step(point, monkeypatch):
    ignored, real = [], pkgutil.resolve_name(POINTS[point])
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: ignored.append(unraisable.exc_type))
    clf = small(skorch_callbacks=[EndsEpochs()], early_stopping=True)
    before = dict(vars(clf))

    def come(*args, **kwargs):
        result = real(*args, **kwargs)
        Interrupts()
        return result

    monkeypatch.setattr(POINTS[point], come)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    # All pixels are surveyed before the first step, the training images and then the validation images.
    assert ignored == [KeyboardInterrupt] * (2 if point == "pixels surveyed" else 1)
    assert vars(clf) == before


@pytest.mark.reliability(21)
@pytest.mark.parametrize("target", [f"{BASE}.read_again", POINTS["forward"], f"{BASE}.check_range"])
def test_ctrl_c_in_predict_leaves_an_estimator_that_predicts(target):
    clf = small().fit(X, y)
    expected = clf.predict_proba(X)
    with ctrl_c_after(target), pytest.raises(KeyboardInterrupt):
        clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(X), expected)


@pytest.mark.reliability(21)
def test_ctrl_c_leaves_a_feature_extractor_as_it_was():
    extractor = CNNFeatureExtractor(small().fit(X, y)).fit(X)
    for estimator in (extractor, CNNFeatureExtractor(extractor.architecture)):
        before = dict(vars(estimator))
        for name in ("read_images", "_row"):
            with (
                ctrl_c_after(f"sklearn_cnn.estimators._feature_extractor.{name}"),
                pytest.raises(KeyboardInterrupt),
            ):
                estimator.fit(X[:40])
            assert vars(estimator) == before


@pytest.mark.reliability(21)
def test_early_stopping_of_skorch_ends_a_fit_and_ctrl_c_beside_it_leaves_one():
    stops = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9, threshold_mode="abs", sink=lambda text: None)
    clf = small(max_epochs=50, skorch_callbacks=[stops, EndsEpochs()])
    with ctrl_c_after(POINTS["epoch ended"]), pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert not hasattr(clf, "module_")
    assert 1 < clf.fit(X, y).n_iter_ < 50


@pytest.mark.reliability(21)
def test_ctrl_c_stops_a_search_at_once(monkeypatch):
    fits, train = [], _fit.train

    def second_is_interrupted(*args, **kwargs):
        fits.append(1)
        if len(fits) == 2:
            signal.raise_signal(signal.SIGINT)
        return train(*args, **kwargs)

    monkeypatch.setattr(_fit, "train", second_is_interrupted)
    search = GridSearchCV(small(), {"max_epochs": [1, 2]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y % 2)
    assert len(fits) == 2
    assert not hasattr(search, "cv_results_")


posix = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of POSIX")


def run(script, *arguments, **settings):
    """A process of its own, with the package of these tests."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(sklearn_cnn.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **settings,
    )


def output_of(script):
    process = run(script)
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


SEARCH = """
import os, sys
from pathlib import Path
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from sklearn_cnn import CNNClassifier

class Begins(Callback):
    def __init__(self, folder):
        self.folder = folder

    def on_epoch_end(self, net, **kwargs):
        Path(self.folder, str(os.getpid())).touch()

X, y = load_digits(return_X_y=True)
clf = CNNClassifier((4,), max_epochs=100_000, skorch_callbacks=[Begins(sys.argv[1])])
try:
    GridSearchCV(clf, {"kernel_size": [1, 3]}, cv=2, n_jobs=2).fit(X, y)
except KeyboardInterrupt:
    print("interrupted")
"""


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.reliability(21)
@posix
def test_ctrl_c_ends_a_search_in_two_processes_and_leaves_no_worker(tmp_path):
    process = run(SEARCH, tmp_path, start_new_session=True)
    try:
        assert wait_for(lambda: len(os.listdir(tmp_path)) == 2, 120), "no two workers began"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output, _ = process.communicate(timeout=30)
        assert output.rstrip().endswith("interrupted"), output
        workers = [int(name) for name in os.listdir(tmp_path)]
        assert len(workers) == 2
        assert process.pid not in workers
        assert wait_for(lambda: not any(map(is_alive, workers)), 10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


SECOND = """
import sys
import torch
torch.set_num_threads(1)
from sklearn.datasets import load_digits
from sklearn_cnn import CNNClassifier
from sklearn_cnn.estimators import _fit

X, y = load_digits().images[:80], load_digits().target[:80]
clf = CNNClassifier((4,), max_epochs=1, random_state=0).fit(X, y)
before = dict(vars(clf))
number, passed, last = 0, 0, None

def come(frame, event, arg):
    global passed
    if frame.f_code.co_filename != "<string>":
        passed += 1
        if passed == number:
            raise KeyboardInterrupt("the second")

def train(*args, **kwargs):
    sys.setprofile(come)
    raise KeyboardInterrupt("the first")

_fit.train = train
while last != "the first":
    number, passed = number + 1, 0
    try:
        clf.fit(X, y)
    except KeyboardInterrupt as error:
        sys.setprofile(None)
        last = str(error)
        assert vars(clf) == before, number  # while the traceback still holds whatever is to be undone
print(number)
"""


@pytest.mark.reliability(21)
@posix
def test_a_second_ctrl_c_finds_no_gap():
    """It comes at every call and return there is after the first; in libraries it leaves locks and settings behind."""
    assert int(output_of(SECOND)) > 10


RANDOM_MOMENTS = """
import hashlib, os, random, signal, threading
import torch
torch.set_num_threads(1)
from sklearn.datasets import load_digits
from sklearn_cnn import CNNClassifier

X, y = load_digits(return_X_y=True)
X, y = X[:200], y[:200]

def digest(clf):
    clf.set_params(max_epochs=2).fit(X, y)
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in clf.module_.state_dict().values())).hexdigest()

expected = digest(CNNClassifier((4,), random_state=0))
draw = random.Random(0)
clf = CNNClassifier((4,), random_state=0)
for number in range(12):
    before = dict(vars(clf.set_params(max_epochs=100_000)))
    timer = threading.Timer(draw.uniform(0, 0.2), os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        clf.fit(X, y)
    except KeyboardInterrupt:
        timer.join()
        assert vars(clf) == before
        assert digest(clf) == expected
        print("interrupted")
"""


@pytest.mark.reliability(21)
@posix
def test_ctrl_c_at_random_moments_and_the_next_fit_is_what_it_would_have_been():
    assert output_of(RANDOM_MOMENTS).split() == ["interrupted"] * 12
