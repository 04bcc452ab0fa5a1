"""Callbacks of skorch: each of them, what they are told, and which are refused."""

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

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training import _loop
from sklearn_cnn.training._callbacks import check_callbacks

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


class Recorder(Callback):
    """Writes down which hooks were called, with what, and what the history held then."""

    def __init__(self, log=None):
        self.log = log

    def initialize(self):
        return self

    def _write(self, hook, net, **given):
        epoch = net.history[-1] if len(net.history) else {"batches": []}
        batch = dict(epoch["batches"][-1]) if epoch["batches"] else {}
        self.log.append((hook, *given.items(), sorted(epoch), len(epoch["batches"]), sorted(batch)))

    def on_train_begin(self, net, **given):
        self._write("on_train_begin", net, **{name: value.shape for name, value in given.items()})

    def on_train_end(self, net, **given):
        self._write("on_train_end", net, **{name: value.shape for name, value in given.items()})

    def on_epoch_begin(self, net, **given):
        self._write("on_epoch_begin", net, **{name: value and len(value) for name, value in given.items()})

    def on_epoch_end(self, net, **given):
        self._write("on_epoch_end", net, **{name: value and len(value) for name, value in given.items()})

    def on_batch_begin(self, net, **given):
        self._write("on_batch_begin", net, **plain(given))

    def on_grad_computed(self, net, named_parameters, **given):
        for _ in range(2):  # it may be gone through more than once
            gradients = [(name, None if p.grad is None else p.grad.norm().item()) for name, p in named_parameters]
        self._write(
            "on_grad_computed", net, gradients=gradients, lr=net.optimizer_.param_groups[0]["lr"], **plain(given)
        )

    def on_batch_end(self, net, **given):
        self._write("on_batch_end", net, **plain(given))


def plain(given):
    """Arguments of a hook as values that can be compared."""
    images, targets = given["batch"]
    tensors = {"images": images, "targets": targets, **given}
    values = {
        name: (value.tolist(), value.requires_grad)
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor)
    }
    return {**values, "training": given["training"]}


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


def skorchs_training(net, batches, notifier, rate):
    """What skorch does in place of `_train_epoch`."""

    def step(batch):
        rate.advance()
        return net.train_step(batch)

    pairs = ((batch.images, batch.targets) for batch in batches)
    net.run_single_epoch(pairs, training=True, prefix="train", step_fn=step)
    net.history.record("lr", net.optimizer_.param_groups[0]["lr"])


def skorchs_validation(net, batches, notifier, course):
    """What skorch does in place of `_validate`."""
    outputs = []

    def step(batch):
        done = net.validation_step(batch)
        outputs.append(done["y_pred"])
        return done

    pairs = [(batch.images, batch.targets) for batch in batches]
    net.run_single_epoch(pairs, training=False, prefix="valid", step_fn=step)
    _loop._record_score(net, course, course.score(torch.cat(outputs), batches.targets[batches.rows], None))


@pytest.mark.parametrize(
    ("name", "validated"),
    [
        *((name, True) for name in CALLBACKS),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in CALLBACKS if name not in NEEDS_VALIDATION),
    ],
)
@pytest.mark.usefixtures("neptune", "capsys")
def test_hooks_history_and_weights_are_those_of_skorchs_own_loop(name, validated, tmp_path, monkeypatch):
    fitted, logs = [], []
    for i in range(2):
        log = []
        clf = small(
            skorch_callbacks=[("recorder", Recorder(log)), ("tried", CALLBACKS[name](tmp_path / str(i)))],
            lr_schedule="constant" if name.startswith("LRScheduler") else "auto",
            early_stopping=validated,
            n_iter_no_change=10,
        )
        fitted.append(clf.fit(X, y))
        logs.append(log)
        monkeypatch.setattr(_loop, "_train_epoch", skorchs_training)
        monkeypatch.setattr(_loop, "_validate", skorchs_validation)
    ours, skorchs = fitted
    assert [entry[0] for entry in logs[0]] == [entry[0] for entry in logs[1]]
    assert logs[0] == logs[1]
    assert [sorted(record) for record in ours.history_] == [sorted(record) for record in skorchs.history_]
    for one, other in zip(ours.history_, skorchs.history_, strict=True):
        assert {k: v for k, v in one.items() if k != "dur"} == {k: v for k, v in other.items() if k != "dur"}
    assert ours.net_.history[:, "batches"] == skorchs.net_.history[:, "batches"]
    assert_same_weights(ours, skorchs)


class LooksAtBatches(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


class Predicts(Callback):
    """Leaves the network in evaluation mode."""

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        net.evaluation_step(batch, training=not training)


@pytest.mark.parametrize("watching", [[LooksAtBatches()], [Predicts()]], ids=lambda w: type(w[0]).__name__)
def test_a_fit_is_the_same_where_nobody_looks_at_batches(watching):
    sample_weight = np.linspace(0, 2, len(X))
    settings = {"early_stopping": True, "dropout": 0.3, "normalization": None}
    alone = small(**settings).fit(X, y, sample_weight)
    watched = small(**settings, skorch_callbacks=watching).fit(X, y, sample_weight)
    assert_same_weights(alone, watched)
    for one, other in zip(alone.history_, watched.history_, strict=True):
        assert {k: v for k, v in one.items() if k != "dur"} == {k: v for k, v in other.items() if k != "dur"}
    assert alone.net_.history[:, "batches"] == watched.net_.history[:, "batches"]


def test_a_callback_is_called_for_the_hooks_that_it_has():
    called = []

    class Counts(Callback):
        def initialize(self):
            self.on_batch_begin = lambda net, **kwargs: called.append("begin")  # one of the instance alone
            return self

        def on_grad_computed(self, net, **kwargs):
            called.append("grad")

    small(max_epochs=1, batch_size=60, skorch_callbacks=[Counts()]).fit(X, y)
    assert called == ["begin", "grad"] * 2


class Accumulates(Callback):
    """Takes a step for the gradients of two batches together, every other batch."""

    def on_train_begin(self, net, **kwargs):
        self.kept = None

    def on_grad_computed(self, net, named_parameters, **kwargs):
        parameters = [p for _, p in named_parameters]
        if self.kept is None:
            self.kept = [p.grad for p in parameters]
            for p in parameters:
                p.grad = None
        else:
            for p, earlier in zip(parameters, self.kept, strict=True):
                p.grad = (p.grad + earlier) / 2
            self.kept = None


def test_gradients_can_be_accumulated():
    plain = {"dropout": 0, "label_smoothing": 0, "normalization": None, "precision": "float64"}
    settings = {**plain, "optimizer": "sgd", "lr": 0.05, "lr_schedule": "constant", "max_epochs": 2}
    accumulated = small(**settings, batch_size=20, skorch_callbacks=[Accumulates()]).fit(X, y)
    twice_as_large = small(**settings, batch_size=40).fit(X, y)
    for name, value in weights(accumulated).items():
        np.testing.assert_allclose(value, weights(twice_as_large)[name], atol=1e-12)


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
