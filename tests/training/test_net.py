"""Training through skorch: both loops, every callback, stopping and restoring."""

import copy
import io
import sys
import types

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from skorch import callbacks as skorch_callbacks
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    NeptuneLogger,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
)
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_cnn import CNNClassifier
from sklearn_cnn.exceptions import NonFiniteLossError
from sklearn_cnn.training import _net
from sklearn_cnn.training._net import BestEpoch, check_callbacks

X, y = load_digits(return_X_y=True)
X, y = X[:120].reshape(-1, 8, 8).astype(np.float32), y[:120]


def small(**parameters):
    settings = {"filters": (4, 8), "hidden_layer_sizes": (8,), "max_epochs": 3, "batch_size": 20, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


def weights(estimator):
    return {name: value.numpy().copy() for name, value in estimator.module_.state_dict().items()}


def assert_same_weights(one, other):
    for name, value in weights(one).items():
        np.testing.assert_array_equal(value, weights(other)[name], err_msg=name)


class LooksAtBatches(Callback):
    """Does nothing, but forces skorch's own loop."""

    def on_batch_end(self, net, **kwargs):
        pass


class Recorder(Callback):
    """Writes down which hooks outside of batches were called, and what the history held then."""

    def __init__(self, log=None):
        self.log = log

    def initialize(self):
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.log.append(("on_train_begin", X.shape, y.shape))

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.log.append(("on_train_end", X.shape, y.shape))

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.log.append(("on_epoch_begin", len(dataset_train), dataset_valid and len(dataset_valid)))

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        batches = [tuple(sorted(batch)) for batch in net.history[-1]["batches"]]
        self.log.append(("on_epoch_end", sorted(net.history[-1]), batches))


# The loggers report to services; these stand-ins take what skorch hands them.
class FakeRun:
    def __init__(self):
        self.logged = []
        self.config = self
        self.info = self
        self.run_id = "run"

    def __getitem__(self, key):
        return self

    def __setitem__(self, key, value):
        self.logged.append((key, value))

    def __deepcopy__(self, memo):
        raise TypeError("a connection cannot be copied")

    def log(self, *args, **kwargs):
        self.logged.append((args, kwargs))

    append = assign = watch = update = log_metric = log_scalar = add_scalar = log_artifact = log

    def log_batch(self, *args, **kwargs):
        self.logged.append((args, kwargs))

    def stop(self, *args):
        self.logged.append("stopped")

    close = set_terminated = stop


CALLBACKS = {
    "BatchScoring": lambda path: BatchScoring("accuracy", name="batch_accuracy", target_extractor=lambda y: y.numpy()),
    "Checkpoint": lambda path: Checkpoint(dirname=str(path), monitor="valid_loss_best"),
    "EarlyStopping": lambda path: EarlyStopping(patience=1, threshold=100.0, threshold_mode="abs"),
    "EarlyStopping, best": lambda path: EarlyStopping(patience=1, threshold=1.0, load_best=True, monitor="train_loss"),
    "EpochScoring": lambda path: EpochScoring("f1_macro", name="f1", lower_is_better=False),
    "EpochScoring, no cache": lambda path: EpochScoring("accuracy", name="again", use_caching=False, on_train=True),
    "EpochTimer": lambda path: EpochTimer(),
    "Freezer": lambda path: Freezer("layers.block1_conv.*"),
    "GradientNormClipping": lambda path: GradientNormClipping(0.1),
    "Initializer": lambda path: Initializer("layers.output.bias", fn=torch.nn.init.ones_),
    "LRScheduler": lambda path: LRScheduler("StepLR", step_size=1),
    "LRScheduler, batch": lambda path: LRScheduler(
        "CyclicLR", base_lr=1e-4, max_lr=1e-2, step_every="batch", cycle_momentum=False
    ),
    "LRScheduler, plateau": lambda path: LRScheduler("ReduceLROnPlateau", monitor="valid_loss", patience=0, factor=0.1),
    "MlflowLogger": lambda path: MlflowLogger(run=FakeRun(), client=FakeRun()),
    "NeptuneLogger": lambda path: NeptuneLogger(FakeRun()),
    "ParamMapper": lambda path: ParamMapper("layers.output.*", fn=lambda p: p, at=2),
    "PassthroughScoring": lambda path: PassthroughScoring("train_loss", on_train=True),
    "PrintLog": lambda path: PrintLog(sink=io.StringIO().write),
    "ProgressBar": lambda path: ProgressBar(),
    "SacredLogger": lambda path: SacredLogger(FakeRun()),
    "TensorBoard": lambda path: TensorBoard(FakeRun()),
    "TrainEndCheckpoint": lambda path: TrainEndCheckpoint(dirname=str(path)),
    "Unfreezer": lambda path: Unfreezer("layers.block1_conv.*", at=2),
    "WandbLogger": lambda path: WandbLogger(FakeRun(), save_model=False),
    "Callback": lambda path: Callback(),
}
NEEDS_VALIDATION = {"Checkpoint", "EarlyStopping", "LRScheduler, plateau"}
TESTED_ELSEWHERE = {"InputShapeSetter", "LoadInitState", "WarmRestartLR"}  # the last is a policy of LRScheduler


def test_the_table_has_every_callback_that_skorch_ships():
    shipped = {name for name in skorch_callbacks.__all__ if isinstance(getattr(skorch_callbacks, name), type)}
    assert shipped == {name.split(",")[0] for name in CALLBACKS} | TESTED_ELSEWHERE


@pytest.fixture
def neptune(monkeypatch):
    """The two names that NeptuneLogger imports."""
    File = type("File", (), {"from_content": staticmethod(lambda content, extension: content)})
    for module, names in {"neptune": {}, "neptune.types": {"File": File}, "neptune.handler": {"Handler": dict}}.items():
        fake = types.ModuleType(module)
        vars(fake).update(names)
        monkeypatch.setitem(sys.modules, module, fake)


@pytest.mark.parametrize(
    ("name", "validated"),
    [(name, True) for name in CALLBACKS] + [(name, False) for name in CALLBACKS if name not in NEEDS_VALIDATION],
)
@pytest.mark.usefixtures("neptune", "capsys")
def test_both_loops_give_the_same_hooks_history_and_weights(name, validated, tmp_path):
    fitted, logs = [], []
    for i, force in enumerate(([], [LooksAtBatches()])):
        log = []
        path = tmp_path / str(i)
        clf = small(
            skorch_callbacks=[("recorder", Recorder(log)), ("tried", CALLBACKS[name](path)), *force],
            lr_schedule="constant" if name.startswith("LRScheduler") else "auto",
            early_stopping=validated,
            n_iter_no_change=10,
        )
        fitted.append(clf.fit(X, y))
        logs.append(log)
    fast, slow = fitted
    assert [entry[0] for entry in logs[0]] == [entry[0] for entry in logs[1]]
    assert logs[0] == logs[1]
    assert [sorted(record) for record in fast.history_] == [sorted(record) for record in slow.history_]
    for one, other in zip(fast.history_, slow.history_, strict=True):
        assert {k: v for k, v in one.items() if k != "dur"} == {k: v for k, v in other.items() if k != "dur"}
    assert_same_weights(fast, slow)


def test_without_a_callback_on_batches_the_fast_loop_runs(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("skorch's loop ran")

    monkeypatch.setattr("skorch.NeuralNetClassifier.run_single_epoch", fail)
    small(skorch_callbacks=[EpochTimer()]).fit(X, y)
    with pytest.raises(AssertionError, match="skorch's loop ran"):
        small(skorch_callbacks=[LooksAtBatches()]).fit(X, y)


def test_batches_are_pairs_and_logits_are_float32_for_any_hook():
    seen = []

    class Look(Callback):
        def on_batch_end(self, net, batch, training, y_pred, **kwargs):
            images, targets = batch
            seen.append((images.shape[1:], images.dtype, targets.dtype, y_pred.dtype))

    small(skorch_callbacks=[Look()], precision="bfloat16").fit((X * 15).astype(np.uint8), y)
    assert set(seen) == {((1, 8, 8), torch.uint8, torch.int64, torch.float32)}


def test_the_users_callbacks_stay_as_they_were(tmp_path):
    stopping = EarlyStopping(patience=1, threshold=100.0, threshold_mode="abs", monitor="train_loss")
    before = copy.deepcopy(vars(stopping))
    small(skorch_callbacks=[stopping]).fit(X, y)
    assert vars(stopping) == before


def test_skorchs_early_stopping_ends_the_fit_and_the_estimator_is_fitted():
    stopping = EarlyStopping(patience=1, threshold=100.0, threshold_mode="abs", monitor="train_loss")
    clf = small(max_epochs=20, skorch_callbacks=[stopping]).fit(X, y)
    assert clf.n_iter_ == 2
    assert clf.predict(X).shape == y.shape


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_grad_computed", "on_epoch_end"]
)
def test_an_interrupt_of_the_user_leaves_fit(hook):
    def interrupt(self, *args, **kwargs):
        raise KeyboardInterrupt

    clf = small(skorch_callbacks=[type("Interrupts", (Callback,), {hook: interrupt})()])
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert not hasattr(clf, "classes_")


def test_an_interrupt_of_the_user_beside_skorchs_early_stopping_leaves_fit():
    class Interrupts(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    stopping = EarlyStopping(monitor="train_loss")
    for callbacks in ([stopping, Interrupts()], [Interrupts(), stopping]):
        with pytest.raises(KeyboardInterrupt):
            small(skorch_callbacks=callbacks).fit(X, y)


@pytest.mark.parametrize("seed", range(8))
def test_the_epoch_in_which_skorch_stops_counts_for_the_best(seed):
    clf = small(
        max_epochs=12,
        early_stopping=True,
        n_iter_no_change=12,
        random_state=seed,
        skorch_callbacks=[EarlyStopping(monitor="valid_loss", patience=1, lower_is_better=False)],
    ).fit(X, y)
    ranks = list(zip(clf.validation_scores_, [-loss for loss in clf.validation_loss_curve_], strict=True))
    assert clf.best_epoch_ == 1 + ranks.index(max(ranks))
    assert clf.n_iter_ < 12


def test_the_cooldown_goes_on_from_the_best_weights():
    class Look(Callback):
        def on_epoch_begin(self, net, **kwargs):
            begun.append({name: value.clone() for name, value in net.module_.state_dict().items()})

        def on_epoch_end(self, net, **kwargs):
            ended.append({name: value.clone() for name, value in net.module_.state_dict().items()})

    settings = {"early_stopping": True, "max_epochs": 40, "n_iter_no_change": 3, "validation_fraction": 0.3}
    went_back = False
    for seed in range(6):
        begun, ended = [], []
        clf = small(**settings, random_state=seed, skorch_callbacks=[Look()]).fit(X, y)
        first = clf.n_iter_ - 4  # the cooldown of 40 epochs takes 4
        ranks = list(zip(clf.validation_scores_, [-loss for loss in clf.validation_loss_curve_], strict=True))[:first]
        best = ranks.index(max(ranks))
        went_back |= best < first - 1
        for name, value in begun[first].items():
            assert torch.equal(value, ended[best][name])
    assert went_back  # for some of the seeds the best epoch was not the last one anyway


def test_a_checkpoint_can_be_loaded_at_the_start_of_another_fit(tmp_path):
    checkpoint = TrainEndCheckpoint(dirname=str(tmp_path))
    first = small(skorch_callbacks=[checkpoint]).fit(X, y)
    at_start = {}

    class Look(Callback):
        def on_train_begin(self, net, **kwargs):
            at_start.update({name: value.numpy().copy() for name, value in net.module_.state_dict().items()})

    second = small(skorch_callbacks=[checkpoint, LoadInitState(checkpoint), Look()], random_state=1).fit(X, y)
    assert second.n_iter_ == 2 * first.n_iter_  # the history was loaded too
    for name, value in weights(first).items():
        np.testing.assert_array_equal(at_start[name], value)


@pytest.mark.parametrize(
    ("callback", "settings", "match"),
    [
        (LRScheduler("StepLR", step_size=1), {"lr_schedule": "auto"}, "lr_schedule"),
        (LRScheduler("StepLR", step_size=1), {"lr_schedule": "cosine"}, "lr_schedule"),
        (LRScheduler, {"lr_schedule": "auto"}, "lr_schedule"),
        (Checkpoint(), {}, "valid_loss_best"),
        (Checkpoint, {}, "valid_loss_best"),
        (EarlyStopping(), {}, "early_stopping=True"),
        (LRScheduler("ReduceLROnPlateau", monitor="valid_loss"), {"lr_schedule": "constant"}, "valid_loss"),
        (InputShapeSetter(), {}, "InputShapeSetter"),
    ],
)
def test_a_callback_that_cannot_work_is_refused_up_front(callback, settings, match):
    clf = small(skorch_callbacks=[callback], **settings)
    with pytest.raises(ValueError, match=match):
        clf.fit(X, y)
    assert not hasattr(clf, "module_")


@pytest.mark.parametrize("entry", ["EarlyStopping", 3, ("name", None), ("name",), (), EpochScoring])
def test_an_entry_that_is_no_callback_is_refused(entry):
    with pytest.raises(TypeError, match="skorch_callbacks"):
        check_callbacks([entry], lr_schedule="auto", has_validation=False)


@pytest.mark.parametrize("force", [[], [LooksAtBatches()]], ids=["fast loop", "skorch's loop"])
def test_row_20_a_loss_that_is_not_finite_stops_the_fit_within_one_batch(force):
    clf = small(lr=1e30, optimizer="sgd", lr_schedule="constant", skorch_callbacks=force, normalization=None)
    with pytest.raises(NonFiniteLossError, match="learning rate") as info:
        clf.fit(X, y)
    assert info.value.epoch == 1
    assert 2 <= info.value.batch <= 3
    assert info.value.lr == 1e30
    assert not hasattr(clf, "classes_")


class LateLosses(_net._Losses):
    """As on a GPU."""

    def __init__(self, net, *, late):
        assert not late
        super().__init__(net, late=True)


class Waits(TorchDispatchMode):
    """Counts the operations for which a processor must wait until a device has done all it was told."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


def test_on_a_gpu_no_batch_waits_for_the_device(monkeypatch):
    monkeypatch.setattr(_net, "_Losses", LateLosses)
    counted = []
    for batch_size in (60, 3):
        with Waits() as waits:
            small(batch_size=batch_size).fit(X, y)
        counted.append(waits.n)
    assert counted[0] == counted[1]


@pytest.mark.parametrize("batch_size", [10, 60, 120])
def test_row_20_losses_that_are_looked_at_late_name_the_same_batch_and_miss_none(monkeypatch, batch_size):
    found = []
    for late in (False, True):
        if late:
            monkeypatch.setattr(_net, "_Losses", LateLosses)
        clf = small(lr=1e30, optimizer="sgd", lr_schedule="constant", normalization=None, batch_size=batch_size)
        with pytest.raises(NonFiniteLossError) as info:
            clf.fit(X, y)
        found.append((info.value.epoch, info.value.batch, info.value.what))
    assert found[0] == found[1]


def test_the_best_epoch_is_that_of_the_highest_score_and_then_of_the_lowest_loss():
    network = torch.nn.Linear(1, 1)
    best = BestEpoch(n_iter_no_change=3, tol=0.0)
    for epoch, (score, loss) in enumerate([(0.5, 1.0), (0.9, 0.5), (0.9, 0.4), (0.9, 0.6), (0.8, 0.1)], start=1):
        with torch.no_grad():
            network.weight.fill_(epoch)
        best.update(epoch, score, loss, network)
    assert best.epoch == 3
    assert best.stop  # 0.9 was reached in epoch 2 and never passed in the three epochs since
    best.restore(network)
    assert network.weight.item() == 3


def test_a_gain_below_tol_does_not_reset_patience():
    network = torch.nn.Linear(1, 1)
    best = BestEpoch(n_iter_no_change=2, tol=0.1)
    for epoch, score in enumerate([0.5, 0.55, 0.59], start=1):
        best.update(epoch, score, 0.0, network)
    assert best.stop
    assert best.epoch == 3


def test_a_score_below_an_earlier_one_is_no_gain_when_it_rises_again():
    network = torch.nn.Linear(1, 1)
    best = BestEpoch(n_iter_no_change=3, tol=0.0)
    for epoch, score in enumerate([0.9, 0.5, 0.6, 0.7], start=1):
        best.update(epoch, score, 0.0, network)
    assert best.stop
