"""scikit-learn's callbacks: what they are told of a fit, and that the fit is the same without them."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sklearn_cnn import CNNClassifier, CNNRegressor, ImageAugmenter, ImageNormalizer
from sklearn_cnn.exceptions import NonFiniteLossError

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since version 1.9")

X, y = load_digits().images[:160], load_digits().target[:160]
SETTINGS = {"filters": (4,), "max_epochs": 3, "dropout": 0.3, "random_state": 0}


def small(kind=CNNClassifier, **settings):
    return kind(**{**SETTINGS, **settings})


def same_weights(a, b):
    pairs = zip(a.module_.state_dict().items(), b.module_.state_dict().items(), strict=True)
    return all(name == other and torch.equal(value, values) for (name, value), (other, values) in pairs)


class Recorder:
    """Keeps what it is told; may fail or ask for the end."""

    def __init__(self, fail_at=None, stop_after=None, error=ZeroDivisionError):
        self.told, self.kept, self.data = [], [], []
        self.fail_at, self.stop_after, self.error = fail_at, stop_after, error

    def _tell(self, hook, context):
        self.told.append((hook, context.task_name, context.task_id, context.max_subtasks))
        if self.fail_at == (hook, context.task_name, context.task_id):
            raise self.error

    def setup(self, estimator, context):
        self._tell("setup", context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self._tell("begin", context)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self._tell("end", context)
        self.kept.append(fitted_estimator)
        self.data.append((X, y, metadata))
        return self.stop_after == (context.task_name, context.task_id)

    def teardown(self, estimator, context):
        self.told.append(("teardown", context.task_name, context.task_id, context.max_subtasks))


class Propagated(Recorder):
    """Set on a meta-estimator, it is told of the estimators in it too."""

    max_propagation_depth = None


def story(n_epochs, announced=None):
    """What a callback is told of a fit."""
    fit = ("fit", 0, n_epochs if announced is None else announced)
    epochs = [(hook, "epoch", number, 0) for number in range(n_epochs) for hook in ("begin", "end")]
    return [("setup", *fit), ("begin", *fit), *epochs, ("end", *fit), ("teardown", *fit)]


# One task an epoch.


@pytest.mark.parametrize("kind", [CNNClassifier, CNNRegressor])
def test_a_fit_is_a_task_and_every_epoch_a_task_in_it(kind):
    recorder = Recorder()
    assert small(kind).set_callbacks(recorder).fit(X, y).n_iter_ == 3
    assert recorder.told == story(3)


@pytest.mark.parametrize("kind", [CNNClassifier, CNNRegressor])
def test_every_partial_fit_is_a_fit_of_one_epoch(kind):
    recorder = Recorder()
    classes = {"classes": np.unique(y)} if kind is CNNClassifier else {}
    estimator = small(kind).set_callbacks(recorder).partial_fit(X, y, **classes).partial_fit(X, y)
    assert recorder.told == story(1) + story(1)
    assert estimator.n_iter_ == 2


def test_a_fit_that_goes_on_is_another_fit():
    recorder = Recorder()
    clf = small(warm_start=True).set_callbacks(recorder).fit(X, y)
    clf.set_params(max_epochs=2).fit(X, y)
    assert recorder.told == story(3) + story(2)
    assert [kept.n_iter_ for kept in recorder.kept] == [1, 2, 3, 3, 4, 5, 5]


def test_a_fit_that_stops_early_has_fewer_tasks_than_announced():
    recorder = Recorder()
    clf = small(early_stopping=True, tol=10.0, n_iter_no_change=2, max_epochs=40).set_callbacks(recorder).fit(X, y)
    assert clf.n_iter_ < 40
    assert recorder.told == story(clf.n_iter_, announced=40)


def test_the_epoch_that_skorch_stops_at_is_told_of_too():
    recorder = Recorder()
    stops = EarlyStopping(monitor="train_loss", threshold=10.0, threshold_mode="abs", patience=2, sink=str)
    clf = small(max_epochs=9, skorch_callbacks=[stops]).set_callbacks(recorder).fit(X, y)
    assert clf.n_iter_ < 9
    assert recorder.told == story(clf.n_iter_, announced=9)


def test_a_callback_may_end_the_training():
    recorder = Recorder(stop_after=("epoch", 1))
    clf = small(max_epochs=9).set_callbacks(Recorder(), recorder, Recorder()).fit(X, y)
    assert clf.n_iter_ == 2
    assert recorder.told == story(2, announced=9)


def test_callbacks_get_the_data_as_fit_did():
    recorder = Recorder()
    weights = np.linspace(1, 2, len(X))
    small().set_callbacks(recorder).fit(X, y, weights)
    assert len(recorder.data) == 4
    assert all(
        seen is X and labels is y and metadata == {"sample_weight": weights} for seen, labels, metadata in recorder.data
    )


# The estimator of an epoch.


class WithDropout(nn.Sequential):
    """A network of one's own, whose draws are torch's global ones."""

    def __init__(self, image_shape, n_outputs):
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.4), nn.Linear(16, n_outputs))


class LooksAtBatches(Callback):
    def on_batch_end(self, net, **_):
        pass


CASES = {
    "classifier": (CNNClassifier, {}),
    "regressor": (CNNRegressor, {}),
    "own network": (CNNClassifier, {"architecture": WithDropout, "filters": "auto", "dropout": 0.0}),
    "float64": (CNNClassifier, {"precision": "float64"}),
    "bfloat16": (CNNClassifier, {"precision": "bfloat16"}),
    "looks at batches": (CNNClassifier, {"skorch_callbacks": [LooksAtBatches()]}),
    "augmented": (CNNClassifier, {"augmenter": ImageAugmenter(rotation=20)}),
    "frozen": (CNNClassifier, {"trainable_blocks": 0}),
}


@pytest.fixture(params=CASES)
def case(request):
    kind, settings = CASES[request.param]
    if request.param == "frozen":
        settings = {**settings, "weights": FrozenEstimator(small().fit(X, y))}
    return kind, {"lr_schedule": "constant", **settings}


def test_the_estimator_of_an_epoch_predicts_as_a_fit_of_so_many_epochs(case):
    kind, settings = case
    recorder = Recorder()
    small(kind, **settings).set_callbacks(recorder).fit(X, y)
    for n_epochs, kept in enumerate(recorder.kept[:3], 1):
        alone = small(kind, **{**settings, "max_epochs": n_epochs}).fit(X, y)
        assert not kept.module_.training
        assert same_weights(kept, alone)
        assert np.array_equal(kept.predict(X), alone.predict(X))
        assert (kept.n_iter_, kept.loss_curve_) == (n_epochs, alone.loss_curve_)


def test_a_fit_with_callbacks_ends_as_one_without(case):
    kind, settings = case
    torch.manual_seed(0)
    plain = small(kind, **settings).fit(X, y)
    draws = torch.rand(3)
    torch.manual_seed(0)
    watched = small(kind, **settings).set_callbacks(Predicts()).fit(X, y)
    assert torch.equal(draws, torch.rand(3))
    assert same_weights(plain, watched)
    assert plain.loss_curve_ == watched.loss_curve_
    assert set(vars(watched)) == {*vars(plain), "_skl_callbacks"}


class Predicts(Recorder):
    """Uses the estimator of an epoch at once."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        fitted_estimator.predict(X)


def test_partial_fit_with_callbacks_ends_as_one_without():
    plain, watched = small(), small().set_callbacks(Predicts())
    for estimator in (plain, watched):
        for _ in range(3):
            estimator.partial_fit(X, y, classes=np.unique(y))
    assert same_weights(plain, watched)


def test_the_estimator_of_the_whole_fit_is_the_fitted_one():
    recorder = Recorder()
    clf = small(early_stopping=True, max_epochs=8).set_callbacks(recorder).fit(X, y)
    assert same_weights(recorder.kept[-1], clf)
    assert recorder.kept[-1].best_epoch_ == clf.best_epoch_


@pytest.mark.parametrize(("kind", "scoring"), [(CNNClassifier, "accuracy"), (CNNRegressor, "r2")])
def test_a_scoring_monitor_scores_every_epoch(kind, scoring):
    monitor = callback.ScoringMonitor(scoring=scoring)
    estimator = small(kind, lr_schedule="constant").set_callbacks(monitor).fit(X, y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    scores = [row[scoring] for row in rows]
    assert scores[-1] == estimator.score(X, y)
    assert scores[0] == small(kind, lr_schedule="constant", max_epochs=1).fit(X, y).score(X, y)
    assert len(scores) == 3


# Failures.


class Interrupts(Callback):
    def on_epoch_end(self, net, **_):
        raise KeyboardInterrupt


FAILURES = {
    "infinite loss": (Recorder(), {"lr": 1e30}, NonFiniteLossError),
    "Ctrl-C": (Recorder(), {"skorch_callbacks": [Interrupts()]}, KeyboardInterrupt),
    "unreadable": (Recorder(), {"image_shape": (3, 3)}, ValueError),
    "begin of the fit": (Recorder(("begin", "fit", 0)), {}, ZeroDivisionError),
    "begin of an epoch": (Recorder(("begin", "epoch", 1)), {}, ZeroDivisionError),
    "end of an epoch": (Recorder(("end", "epoch", 1)), {}, ZeroDivisionError),
    "Ctrl-C in a callback": (Recorder(("end", "epoch", 1), error=KeyboardInterrupt), {}, KeyboardInterrupt),
    "end of the fit": (Recorder(("end", "fit", 0)), {}, ZeroDivisionError),
}


@pytest.mark.parametrize("before", ["new", "fitted", "warm"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_tears_down_and_leaves_the_estimator_as_it_was(failure, before):
    recorder, settings, error = FAILURES[failure]
    recorder = copy.deepcopy(recorder)
    clf = small(warm_start=before == "warm")
    if before != "new":
        clf.fit(X, y)
    clf.set_params(**settings).set_callbacks(recorder)
    attributes = dict(vars(clf))
    with pytest.raises(error):
        clf.fit(X.reshape(len(X), -1) if failure == "unreadable" else X, y)
    assert [hook for hook, *_ in recorder.told].count("teardown") == 1
    assert recorder.told[-1][0] == "teardown"
    assert vars(clf).keys() == attributes.keys()
    assert all(vars(clf)[name] is value for name, value in attributes.items())


def test_a_callback_that_fails_to_set_up_is_torn_down():
    recorder = Recorder(("setup", "fit", 0))
    clf = small().set_callbacks(recorder)
    with pytest.raises(ZeroDivisionError):
        clf.fit(X, y)
    assert [hook for hook, *_ in recorder.told] == ["setup", "teardown"]
    assert not hasattr(clf, "module_")


# Among other estimators.


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_grid_search_scores_every_epoch_of_every_fit(n_jobs):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(small().set_callbacks(monitor), {"dropout": [0.0, 0.2]}, cv=2, n_jobs=n_jobs).fit(X, y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 5 * 3
    refit = [row["accuracy"] for row in rows if len(row["task_id_path"]) == 3]
    assert refit[-1] == search.score(X, y)


def test_callbacks_of_a_grid_search_are_told_of_the_epochs():
    recorder = Propagated()
    search = GridSearchCV(small(), {"dropout": [0.0, 0.2]}, cv=2).set_callbacks(recorder).fit(X, y)
    assert sum(told[:2] == ("end", "epoch") for told in recorder.told) == 5 * 3
    assert [hook for hook, *_ in recorder.told].count("teardown") == 1
    assert "_skl_callbacks" not in vars(search.best_estimator_)


# scikit-learn says so of every step without callbacks; those of the network are what is tried here.
@pytest.mark.filterwarnings("ignore:The estimator ImageNormalizer does not support callbacks")
def test_callbacks_of_a_pipeline_are_told_of_the_epochs():
    recorder = Propagated()
    make_pipeline(ImageNormalizer(), small()).set_callbacks(recorder).fit(X, y)
    assert sum(told[:2] == ("end", "epoch") for told in recorder.told) == 3


def test_a_failed_step_of_a_pipeline_keeps_nothing_of_its_callbacks():
    recorder = Propagated(("end", "epoch", 1))
    pipe = make_pipeline(small()).set_callbacks(recorder)
    with pytest.raises(ZeroDivisionError):
        pipe.fit(X, y)
    assert vars(pipe[-1]).keys() == vars(small()).keys()
    assert recorder.told[-1][0] == "teardown"


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_progress_bar_shows_the_fits_of_a_search(n_jobs, capsys):
    pytest.importorskip("rich", reason="scikit-learn's progress bar is drawn by rich")
    bar = callback.ProgressBar(max_propagation_depth=None)
    GridSearchCV(small(), {"dropout": [0.0]}, cv=2, n_jobs=n_jobs).set_callbacks(bar).fit(X, y)
    shown = capsys.readouterr().out
    assert len(re.findall(r"CNNClassifier - fit #\d .*100%", shown)) >= 3


# Copies.


def test_a_clone_shares_the_callbacks():
    recorder = Recorder()
    clf = small().set_callbacks(recorder).fit(X, y)
    assert clone(clf)._skl_callbacks == [recorder]


def test_a_pickle_keeps_the_callbacks_and_what_they_logged():
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = small().set_callbacks(monitor).fit(X, y)
    loaded = pickle.loads(pickle.dumps(clf))
    assert np.array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    loaded.fit(X, y)
    assert [len(m.get_logs("all")) for m in (monitor, *loaded._skl_callbacks)] == [1, 2]


def test_an_estimator_without_callbacks_makes_no_context(monkeypatch):
    monkeypatch.setattr(callback.CallbackSupportMixin, "_init_callback_context", None)
    assert small().set_callbacks(Recorder()).set_callbacks().fit(X, y).n_iter_ == 3
