"""The loop: losses that are not finite, interrupts, the best epoch, weights of samples."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from skorch.callbacks import Callback, EarlyStopping
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_cnn import CNNClassifier
from sklearn_cnn.exceptions import NonFiniteLossError
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training import _loop
from sklearn_cnn.training._batches import Batches
from sklearn_cnn.training._loop import Course, Watcher, train
from sklearn_cnn.training._optimizers import Phase
from sklearn_cnn.training._progress import Progress

X, y = load_digits(return_X_y=True)
X, y = X[:120].reshape(-1, 8, 8).astype(np.float32), y[:120]


def small(**parameters):
    settings = {"filters": (4, 8), "hidden_layer_sizes": (8,), "max_epochs": 3, "batch_size": 20, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


def same_weights(one, other):
    others = other.module_.state_dict()
    return all(torch.equal(value, others[name]) for name, value in one.module_.state_dict().items())


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


def test_the_network_before_the_cooldown_does_not_depend_on_the_number_of_epochs():
    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            ended.append({name: value.clone() for name, value in net.module_.state_dict().items()})

    courses = []
    for max_epochs in (5, 12):
        ended = []
        small(max_epochs=max_epochs, skorch_callbacks=[Look()]).fit(X, y)
        courses.append(ended)
    short, long = courses
    for name in short[3]:
        assert torch.equal(short[3][name], long[3][name])
    assert any(not torch.equal(value, long[4][name]) for name, value in short[4].items())


@pytest.mark.reliability(20)
def test_a_loss_that_is_not_finite_stops_the_fit_within_one_batch():
    clf = small(lr=1e30, optimizer="sgd", lr_schedule="constant", normalization=None)
    with pytest.raises(NonFiniteLossError, match="learning rate") as info:
        clf.fit(X, y)
    assert info.value.epoch == 1
    assert 2 <= info.value.batch <= 3
    assert info.value.lr == 1e30
    assert not hasattr(clf, "classes_")


def as_on_a_gpu(net, notifier):
    return not notifier.needs_records


class GradientsSeen(Callback):
    def on_grad_computed(self, net, **kwargs):
        pass


class Waits(TorchDispatchMode):
    """Counts the operations for which a processor must wait until a device has done all it was told."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("callbacks", [None, [GradientsSeen()]], ids=["no callback", "gradients"])
def test_on_a_gpu_no_batch_waits_for_the_device(callbacks, monkeypatch):
    monkeypatch.setattr(_loop, "_reads_late", as_on_a_gpu)
    counted = []
    for batch_size in (60, 3):
        with Waits() as waits:
            small(batch_size=batch_size, skorch_callbacks=callbacks).fit(X, y, X_val=X, y_val=y)
        counted.append(waits.n)
    assert counted[0] == counted[1]


@pytest.mark.reliability(20)
@pytest.mark.parametrize("batch_size", [10, 60, 120])
def test_losses_that_are_looked_at_late_name_the_same_batch_and_miss_none(monkeypatch, batch_size):
    found = []
    for late in (False, True):
        if late:
            monkeypatch.setattr(_loop, "_reads_late", as_on_a_gpu)
        clf = small(lr=1e30, optimizer="sgd", lr_schedule="constant", normalization=None, batch_size=batch_size)
        with pytest.raises(NonFiniteLossError) as info:
            clf.fit(X, y)
        found.append((info.value.epoch, info.value.batch, info.value.lr, info.value.what))
    assert found[0] == found[1]


def test_a_loss_that_is_read_late_is_named_with_the_learning_rate_of_its_own_step(monkeypatch):
    found = []
    for late in (False, True):
        if late:
            monkeypatch.setattr(_loop, "_reads_late", as_on_a_gpu)
        with pytest.raises(NonFiniteLossError) as info:
            small(lr=1e30, optimizer="sgd", lr_schedule="cosine", normalization=None, max_epochs=8).fit(X, y)
        found.append((info.value.batch, info.value.lr))
    assert found[0] == found[1]


def test_losses_that_are_read_late_leave_the_same_history(monkeypatch):
    fitted = [small().fit(X, y, X_val=X, y_val=y)]
    monkeypatch.setattr(_loop, "_reads_late", as_on_a_gpu)
    fitted.append(small().fit(X, y, X_val=X, y_val=y))
    assert fitted[0].net_.history[:, "batches"] == fitted[1].net_.history[:, "batches"]
    assert fitted[0].loss_curve_ == fitted[1].loss_curve_


def test_the_record_of_a_batch_is_complete_when_callbacks_look_at_it(monkeypatch):
    monkeypatch.setattr(_loop, "_reads_late", as_on_a_gpu)
    seen = []

    class Look(Callback):
        def on_batch_end(self, net, training, **kwargs):
            seen.append(sorted(net.history[-1, "batches", -1]))

    small(skorch_callbacks=[Look()], max_epochs=1, batch_size=60).fit(X, y, X_val=X, y_val=y)
    assert seen == [["train_batch_size", "train_loss"]] * 2 + [["valid_batch_size", "valid_loss"]]


SAMPLE_WEIGHT = np.random.default_rng(0).random(len(X))


TARGETS = {"one label": y, "several labels": np.stack([y % 2, y > 4], axis=1).astype(int)}


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("how", ["copied", "moved"])
def test_weights_of_samples_are_kept_where_targets_are_copied_or_moved(targets, how, monkeypatch):
    changed = {"copied": torch.clone, "moved": lambda tensor: tensor.to("cpu", copy=True)}[how]

    def fit(sample_weight):  # without `standardize`, whose statistics are weighted too
        return small(standardize=False, max_epochs=2).fit(X, TARGETS[targets], sample_weight)

    plain, weighted = fit(None), fit(SAMPLE_WEIGHT)

    def watch(self, batches):
        return (batch._replace(targets=changed(batch.targets)) for batch in batches)

    monkeypatch.setattr(Progress, "watch", watch)
    assert same_weights(fit(SAMPLE_WEIGHT), weighted)
    assert not same_weights(plain, weighted)


def test_weights_of_samples_count_in_validation_too():
    half = (np.arange(len(X)) % 2).astype(float)
    for weight, used in ((half, X[1::2]), (1 - half, X[::2])):
        labels = y[1::2] if weight is half else y[::2]
        whole = small().fit(X, y, X_val=X, y_val=y, sample_weight_val=weight)
        alone = small().fit(X, y, X_val=used, y_val=labels)
        assert whole.validation_scores_ == pytest.approx(alone.validation_scores_)
        assert whole.validation_loss_curve_ == pytest.approx(alone.validation_loss_curve_, rel=1e-5)


def test_a_watcher_is_told_of_every_epoch_and_may_end_the_training():
    net = small(max_epochs=1).fit(X, y).net_
    images = ImageSource(X, ImageShape(8, 8))
    batches = Batches(images, torch.from_numpy(y), None, batch_size=20, device=torch.device("cpu"))
    told = []

    def begin_epoch(n_earlier):
        told.append(("begin", n_earlier))

    def end_epoch(best):
        told.append(("end", best.epoch is not None, {"valid_acc", "train_loss"} <= set(net.history[-1])))
        return len(told) == 4

    course = Course((Phase(9, "constant"),), lambda outputs, targets, weights: 0.5, "valid_acc")
    train(net, batches, batches, course, watcher=Watcher(begin_epoch, end_epoch))
    assert told == [("begin", 1), ("end", True, True), ("begin", 2), ("end", True, True)]
    assert len(net.history) == 3
