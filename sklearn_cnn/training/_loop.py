"""The loop that trains a network."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_cnn.exceptions import NonFiniteLossError
from sklearn_cnn.training._batches import Batch, Batches
from sklearn_cnn.training._best_epoch import BestEpoch
from sklearn_cnn.training._callbacks import Notifier
from sklearn_cnn.training._checkpoint import Checkpoint
from sklearn_cnn.training._interrupts import raise_ignored_interrupt
from sklearn_cnn.training._net import net_state, restore_net
from sklearn_cnn.training._optimizers import LearningRate, Phase
from sklearn_cnn.training._progress import Progress

Score = Callable[[Tensor, Tensor, Tensor | None], float]
"""``(outputs, targets, weights) -> score``, the larger the better."""


@dataclass(frozen=True)
class Course:
    """How long to train, and what decides when to stop.

    Attributes
    ----------
    phases : tuple of Phase
        Lengths and learning rates.
    score : callable
        ``(outputs, targets, weights) -> score`` of the validation images, the larger the better.
    score_name : str
        What the score is called in the history.
    n_iter_no_change : int or None
        A phase ends after this many epochs without a gain, but a cooldown does not. None ends none early.
    tol : float
        A score that exceeds all earlier ones by more than this is a gain.
    """

    phases: tuple[Phase, ...]
    score: Score
    score_name: str
    n_iter_no_change: int | None = None
    tol: float = 1e-4

    @property
    def n_epochs(self) -> int:
        """The largest possible number of epochs."""
        return sum(phase.n_epochs for phase in self.phases)


def _ignore_begin(n_earlier: int) -> None:
    pass


def _never_stop(best: BestEpoch) -> bool:
    return False


@dataclass(frozen=True)
class Watcher:
    """Is told when an epoch begins and ends.

    Attributes
    ----------
    begin_epoch : callable
        Gets the number of epochs that the network was trained for already.
    end_epoch : callable
        Gets the best epoch so far, once the history is complete and skorch's callbacks have been called. Where it
        returns True, the training ends.
    """

    begin_epoch: Callable[[int], None] = _ignore_begin
    end_epoch: Callable[[BestEpoch], bool] = _never_stop


UNWATCHED = Watcher()


class _Position(NamedTuple):
    """How far a training came."""

    n_phases: int = 0
    """Phases that are over."""
    n_epochs: int = 0
    """Epochs of the next phase that are over."""

    def after_epoch(self, phase: Phase, best: BestEpoch) -> "_Position":
        # A cooldown pays off in its last steps, so it is never cut short.
        over = self.n_epochs + 1 == phase.n_epochs or (best.stop and phase.curve != "cooldown")
        return _Position(self.n_phases + 1) if over else _Position(self.n_phases, self.n_epochs + 1)


def train(
    net: Any,
    training: Batches,
    validation: Batches | None,
    course: Course,
    *,
    watcher: Watcher = UNWATCHED,
    verbose: int = 0,
    checkpoint: Checkpoint | None = None,
) -> BestEpoch:
    """Train a net, and call its callbacks as skorch does.

    Parameters
    ----------
    net : skorch.NeuralNet
        An initialised net, which is trained in place. If its history has epochs already, they stay.
    training : Batches
        The training images.
    validation : Batches or None
        The validation images.
    course : Course
        How long to train.
    watcher : Watcher, default=UNWATCHED
        Is told of every epoch.
    verbose : int, default=0
        What is shown; see `Progress`.
    checkpoint : Checkpoint or None, default=None
        The training goes on from it, and saves each epoch there.

    Returns
    -------
    BestEpoch
        The best epoch. If `course` can stop early, the network has the weights of this epoch.

    Raises
    ------
    NonFiniteLossError
        Where a loss or a weight becomes NaN or infinite.
    KeyboardInterrupt
        Where the user interrupts. A stop by skorch's ``EarlyStopping``, which raises the same, ends the
        training normally.
    ModelFileError
        Where the checkpoint does not fit the net.
    """
    best = BestEpoch(course.n_iter_no_change, course.tol)
    n_earlier = len(net.history)
    position = _Position() if checkpoint is None else _resume(net, best, course, checkpoint)
    notifier = Notifier(net, training, validation)
    rate = LearningRate(net.optimizer_, course.phases)
    progress = Progress(int(verbose), course.n_epochs, len(training), len(net.history) - n_earlier)
    try:
        notifier.begin_training()
        while position.n_phases < len(course.phases):
            phase = course.phases[position.n_phases]
            if position.n_epochs == 0:
                best.restore(net.module_)
            rate.begin(phase, len(training), position.n_epochs)
            notifier.begin_epoch()
            number = len(net.history) - n_earlier
            progress.begin_epoch(number)
            watcher.begin_epoch(len(net.history) - 1)
            _train_epoch(net, progress.watch(training), notifier, rate)
            if validation is not None:
                _validate(net, validation, notifier, course)
            stopped = notifier.end_epoch()
            record = net.history[-1]
            progress.end_epoch(number, record, course.score_name)
            if validation is not None:
                best.update(record["epoch"], record[course.score_name], record["valid_loss"], net.module_)
            position = position.after_epoch(phase, best)
            if checkpoint is not None:
                # Callbacks do not belong to a run: a checkpoint does not keep that one of them ended the training.
                _check_weights(net)
                checkpoint.save({**net_state(net, rate.peaks), "best": best.memory()}, position)
            if watcher.end_epoch(best) or stopped:
                break
        _check_weights(net)
    finally:
        progress.close()
        rate.end()
    best.restore(net.module_)
    notifier.end_training()
    return best


def _resume(net: Any, best: BestEpoch, course: Course, checkpoint: Checkpoint) -> _Position:
    """Load the state in a checkpoint, if there is one, and return where the training goes on."""
    position = _Position(*checkpoint.position)
    with checkpoint.restored(torch.device(net.device)) as state:
        if state is None:
            return _Position()
        lengths = [*(phase.n_epochs for phase in course.phases), 1]
        if position.n_phases >= len(lengths) or position.n_epochs >= lengths[position.n_phases]:
            raise ValueError(f"it is at epoch {position.n_epochs} of phase {position.n_phases}")
        restore_net(net, state)
        best.recall(state["best"])
    return position


def _train_epoch(net: Any, batches: Iterable[Batch], notifier: Notifier, rate: LearningRate) -> None:
    """Take one step a batch, and record losses and learning rate."""
    network, criterion, optimizer = net.module_, net.criterion_, net.optimizer_
    losses = _Losses(net, "train", late=_reads_late(net, notifier))
    _set_mode(net, training=True)
    for batch in batches:
        raise_ignored_interrupt()
        losses.begin_batch()
        notifier.begin_batch(batch, training=True)
        if notifier.hears_batches:  # a callback that predicts leaves the network in evaluation mode
            _set_mode(net, training=True)
        rate.advance()
        optimizer.zero_grad()
        outputs = network(batch.images)
        loss = criterion(outputs, batch.targets, batch.weights)
        loss.backward()
        notifier.gradients_computed(batch)
        optimizer.step()
        losses.end_batch(loss.detach(), len(batch.targets))
        notifier.end_batch(batch, loss, outputs, training=True)
    losses.end_epoch()
    net.history.record("lr", optimizer.param_groups[0]["lr"])


def _validate(net: Any, batches: Batches, notifier: Notifier, course: Course) -> None:
    """Record loss and score of the validation images."""
    losses = _Losses(net, "valid", late=_reads_late(net, notifier))
    collected: list[Tensor] = []
    _set_mode(net, training=False)
    for batch in batches:
        raise_ignored_interrupt()
        losses.begin_batch()
        notifier.begin_batch(batch, training=False)
        if notifier.hears_batches:
            _set_mode(net, training=False)
        with torch.no_grad():
            outputs = net.module_(batch.images)
            loss = net.criterion_(outputs, batch.targets, batch.weights)
        collected.append(outputs)
        losses.end_batch(loss, len(batch.targets))
        notifier.end_batch(batch, loss, outputs, training=False)
    losses.end_epoch()
    _record_score(net, course, course.score(torch.cat(collected), *batches.targets_of(batches.rows)))


def _set_mode(net: Any, *, training: bool) -> None:
    net.module_.train(training)
    net.criterion_.train(training)


def _reads_late(net: Any, notifier: Notifier) -> bool:
    """Whether losses may be read one batch late."""
    return next(net.module_.parameters()).is_cuda and not notifier.needs_records


def _record_score(net: Any, course: Course, score: float) -> None:
    """Record a score, and whether it is the best of this history, as skorch does."""
    earlier = [record[course.score_name] for record in net.history[:-1] if course.score_name in record]
    net.history.record(course.score_name, score)
    net.history.record(f"{course.score_name}_best", all(score > other for other in earlier))


def _check_weights(net: Any) -> None:
    """Refuse a network that the last step broke: no loss has been computed with its weights."""
    for name, value in net.module_.state_dict().items():
        if not torch.isfinite(value).all():
            lr = net.optimizer_.param_groups[0]["lr"]
            raise NonFiniteLossError(len(net.history), net.history[-1]["train_batch_count"], lr, float("nan"), name)


class _Sent(NamedTuple):
    """A loss on its way from the device."""

    batch: int
    lr: float
    loss: Tensor
    arrived: torch.cuda.Event | None
    record: dict[str, Any]


class _Losses:
    """The losses of an epoch, which go into the history, and of which none may be infinite or NaN.

    A CPU that reads a number from a GPU waits until the GPU has done all its work, and the GPU has nothing to do until
    the next batch is queued. So each loss is only sent for, and read once the next batch is queued.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net. Its history has a record of the epoch.
    part : {"train", "valid"}
        What the names in the history begin with.
    late : bool
        Whether to read each loss one batch late.
    """

    def __init__(self, net: Any, part: str, *, late: bool) -> None:
        self._net = net
        self._part = part
        self._late = late
        self._records: list[dict[str, Any]] = net.history[-1]["batches"]
        self._n_batches = 0
        self._sent: _Sent | None = None

    def begin_batch(self) -> None:
        """Open the record of a batch. Callbacks may write to it."""
        self._records.append({})
        self._n_batches += 1

    def end_batch(self, loss: Tensor, size: int) -> None:
        """Record the loss of a batch and the number of its samples."""
        record = self._records[-1]
        lr = self._net.optimizer_.param_groups[0]["lr"]
        if not self._late:
            self._record(self._n_batches, lr, loss.item(), record)
        else:
            copy = loss.to("cpu", non_blocking=loss.is_cuda)
            arrived = torch.cuda.Event() if loss.is_cuda else None  # type: ignore[no-untyped-call]  # torch's
            if arrived is not None:
                arrived.record()
            self._receive()
            self._sent = _Sent(self._n_batches, lr, copy, arrived, record)
        record[f"{self._part}_batch_size"] = size

    def end_epoch(self) -> None:
        """Record the last loss and the number of batches."""
        self._receive()
        self._net.history.record(f"{self._part}_batch_count", self._n_batches)

    def _receive(self) -> None:
        """Read the loss that was sent for."""
        if self._sent is None:
            return
        batch, lr, loss, arrived, record = self._sent
        if arrived is not None:
            arrived.synchronize()
        self._record(batch, lr, float(loss.numpy()), record)

    def _record(self, batch: int, lr: float, loss: float, record: dict[str, Any]) -> None:
        if not math.isfinite(loss):
            what = {"train": "training loss", "valid": "validation loss"}[self._part]
            raise NonFiniteLossError(len(self._net.history), batch, lr, loss, what)
        record[f"{self._part}_loss"] = loss
