"""Training through skorch. This is the only module that imports it."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, EarlyStopping, InputShapeSetter, LRScheduler, PassthroughScoring
from torch import Tensor, nn

from sklearn_cnn.exceptions import NonFiniteLossError
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._batches import Batches
from sklearn_cnn.training._checkpoint import Checkpoint
from sklearn_cnn.training._optimizers import LearningRate, Phase
from sklearn_cnn.training._progress import Progress

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")

# The net of each task, what its `predict_proba` does to the outputs, and what else it is made with. skorch's
# classifiers are for one label an image: `predict` of a plain net gives the probability of each.
_NETS: dict[str, tuple[type[NeuralNet], Callable[..., Tensor] | None, dict[str, Any]]] = {
    # `train` records the accuracy, weighted.
    "multiclass": (NeuralNetClassifier, partial(torch.softmax, dim=-1), {"callbacks__valid_acc": None}),
    "multilabel": (NeuralNet, torch.sigmoid, {}),
    "regression": (NeuralNetRegressor, None, {}),
}

Score = Callable[[Tensor, Tensor, Tensor | None], float]
"""``(outputs, targets, weights) -> score``, the larger the better."""


@dataclass
class BestEpoch:
    """Remembers the best epoch of a fit and how long it has been.

    Attributes
    ----------
    n_iter_no_change : int or None
        Epochs without a gain after which to stop; None never stops.
    tol : float
        What counts as a gain of the score.
    """

    n_iter_no_change: int | None = None
    tol: float = 1e-4
    epoch: int | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    patience_spent: int = 0
    _rank: tuple[float, float] = (-np.inf, -np.inf)
    _bar: float = -np.inf

    def update(self, epoch: int, score: float, loss: float, network: nn.Module) -> None:
        """Take in a finished epoch. Of epochs with equal scores the one of lower loss is the best."""
        if (score, -loss) > self._rank:
            self._rank, self.epoch = (score, -loss), epoch
            if self.n_iter_no_change is not None:
                self.state = {name: value.clone() for name, value in network.state_dict().items()}
        gained = score > self._bar + self.tol
        self._bar = max(self._bar, score)
        self.patience_spent = 0 if gained else self.patience_spent + 1

    @property
    def stop(self) -> bool:
        """Whether patience has run out."""
        return self.n_iter_no_change is not None and self.patience_spent >= self.n_iter_no_change

    def restore(self, network: nn.Module) -> None:
        """Put the weights of the best epoch back, where they are kept."""
        if self.state:
            network.load_state_dict(self.state)

    def memory(self) -> dict[str, Any]:
        """What it remembers, to go on with in another process."""
        settings = ("n_iter_no_change", "tol")
        return {name: value for name, value in vars(self).items() if name not in settings}


def check_callbacks(callbacks: Any, *, lr_schedule: str, has_validation: bool) -> None:
    """Refuse callbacks that could not do what they are for.

    Parameters
    ----------
    callbacks : list or None
        The parameter ``skorch_callbacks``.
    lr_schedule : str
        The parameter of that name.
    has_validation : bool
        Whether there are validation images.

    Raises
    ------
    ValueError
        For a learning-rate callback beside a schedule of ours, a callback that watches validation
        figures where there are none, and one that changes the input shape.
    TypeError
        Where an entry is no skorch callback.
    """
    for name, callback in _named(callbacks):
        if not (isinstance(callback, Callback) or (isinstance(callback, type) and issubclass(callback, Callback))):
            raise TypeError(f"skorch_callbacks takes skorch callbacks or (name, callback) pairs; got {callback!r}.")
        kind = callback if isinstance(callback, type) else type(callback)
        if issubclass(kind, LRScheduler) and lr_schedule != "constant":
            raise ValueError(
                f"skorch_callbacks has {name}, which sets the learning rate, and so does lr_schedule={lr_schedule!r}; "
                f'keep one of them: lr_schedule="constant" leaves it to the callback.'
            )
        if issubclass(kind, InputShapeSetter):
            raise ValueError(
                f"skorch_callbacks has {name}, but the network is already built for the shape of X; leave it out."
            )
        watched = _watched_figure(kind, callback)
        if not has_validation and watched.startswith("valid_"):
            raise ValueError(
                f"skorch_callbacks has {name}, which watches {watched!r}, but there are no validation images; "
                f"use early_stopping=True, pass X_val and y_val to fit, or let it watch 'train_loss'."
            )


def _watched_figure(kind: type, callback: Any) -> str:
    """The figure a callback watches, by its parameter ``monitor`` or that parameter's default."""
    if isinstance(callback, type):
        try:
            callback = callback()
        except TypeError as error:
            raise TypeError(f"skorch_callbacks has the class {kind.__name__}; pass an instance: {error}.") from None
    monitor = getattr(callback, "monitor", None)
    if issubclass(kind, LRScheduler) and getattr(callback, "policy", None) not in (
        "ReduceLROnPlateau",
        torch.optim.lr_scheduler.ReduceLROnPlateau,
    ):
        return ""  # only this policy looks at it
    return monitor if isinstance(monitor, str) else ""


def _named(callbacks: Any) -> list[tuple[str, Any]]:
    pairs = []
    for entry in callbacks or []:
        if isinstance(entry, tuple | list):
            if len(entry) != 2:
                raise TypeError(f"skorch_callbacks takes skorch callbacks or (name, callback) pairs; got {entry!r}.")
            pairs.append((str(entry[0]), entry[1]))
        else:
            pairs.append(((entry if isinstance(entry, type) else type(entry)).__name__, entry))
    return pairs


def copy_callbacks(callbacks: Any) -> list[Any]:
    """Copies of the user's callbacks, so that a fit leaves theirs as they were.

    One level deep: some hold writers and connections that cannot be copied. Where one callback
    refers to another of the list, as ``LoadInitState`` does to a checkpoint, its copy refers to the
    other's copy.
    """
    entries = list(callbacks or [])
    originals = [entry[1] if isinstance(entry, tuple | list) else entry for entry in entries]
    copies = {id(o): o if isinstance(o, type) else copy.copy(o) for o in originals}
    for duplicate in copies.values():
        if isinstance(duplicate, type):
            continue
        for attribute, value in vars(duplicate).items():
            if id(value) in copies:
                setattr(duplicate, attribute, copies[id(value)])
    return [
        (entry[0], copies[id(original)]) if isinstance(entry, tuple | list) else copies[id(original)]
        for entry, original in zip(entries, originals, strict=True)
    ]


def make_net(
    task: str,
    network: nn.Module,
    criterion: nn.Module,
    optimizer: Callable[..., torch.optim.Optimizer],
    *,
    lr: float,
    batch_size: int,
    max_epochs: int,
    device: torch.device,
    callbacks: Any,
    classes: Any,
    rates: Sequence[tuple[str, float]] = (),
) -> NeuralNet:
    """Wrap a network into an initialised skorch net.

    Parameters
    ----------
    task : {"multiclass", "multilabel", "regression"}
        What the outputs are.
    network, criterion : torch.nn.Module
        What is trained, and its loss.
    optimizer : callable
        ``(parameters, lr=) -> Optimizer``.
    lr : float
        Peak learning rate.
    batch_size, max_epochs : int
        As used by skorch's own methods on the net.
    device : torch.device
        Where the net computes.
    callbacks : list or None
        The user's callbacks; copies of them are used.
    classes : ndarray or None
        Labels, where the task is ``"multiclass"``.
    rates : sequence of (str, float), default=()
        Other learning rates, for parameters whose names begin so.

    Returns
    -------
    skorch.NeuralNet
        Ready to train.
    """
    kind, nonlinearity, settings = _NETS[task]
    if task == "multiclass":
        settings = {**settings, "classes": classes}
    if rates:
        settings = {**settings, "optimizer__param_groups": [(f"{prefix}*", {"lr": rate}) for prefix, rate in rates]}
    net = kind(
        network,
        criterion=criterion,
        optimizer=optimizer,
        lr=lr,
        batch_size=batch_size,
        max_epochs=max_epochs,
        train_split=None,
        predict_nonlinearity=nonlinearity,
        callbacks=copy_callbacks(callbacks),
        callbacks__print_log=None,
        device=device,
        verbose=0,
        **settings,
    )
    return net.initialize()


def train(
    net: NeuralNet,
    batches: Batches,
    validation: Batches | None,
    *,
    phases: Sequence[Phase],
    score: Score,
    score_name: str,
    best: BestEpoch,
    verbose: int = 0,
    begin_epoch: Callable[[int], None] = lambda n_earlier: None,
    end_epoch: Callable[[], bool] = lambda: False,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a net, calling its callbacks as skorch does.

    Where no callback looks at single batches, a loop of our own runs them; otherwise skorch's. Both
    compute the same, to the last bit, and leave the same records in the history.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised; trained in place.
    batches : Batches
        The training images.
    validation : Batches or None
        The validation images.
    phases : sequence of Phase
        Lengths and learning rates.
    score : callable
        Score of the validation images.
    score_name : str
        What the score is called in the history.
    best : BestEpoch
        Says when to stop, and gets the best weights back at the end.
    verbose : int, default=0
        What is shown, see `Progress`.
    begin_epoch, end_epoch : callable
        Called at every epoch: the first with the number of epochs that the network has had, the second after
        skorch's callbacks and with the history complete. Where it gives true, the training ends with this epoch.
    checkpoint : Checkpoint or None, default=None
        Where each epoch is saved, and from where the training goes on.

    Raises
    ------
    NonFiniteLossError
        Where a loss or a weight becomes NaN or infinite.
    KeyboardInterrupt
        Where the user interrupts. A stop by skorch's ``EarlyStopping``, which raises the same, ends the
        training in the usual way.
    """
    X, y = _Undrawn(batches.images), batches.targets.cpu().numpy()
    datasets = {"dataset_train": _dataset(net, batches), "dataset_valid": _dataset(net, validation)}
    n_epochs = sum(phase.n_epochs for phase in phases)
    run_epoch = _skorch_epoch if _looks_at_batches(net) else _fast_epoch
    n_earlier = len(net.history)
    n_over, n_done = (0, 0) if checkpoint is None else _go_on(net, best, checkpoint, phases)
    # Made once the optimiser is as it shall be: it takes the rates there for the peaks.
    scheduled = any(phase.curve != "constant" for phase in phases)
    rate = LearningRate(net.optimizer_) if scheduled else None
    progress = Progress(int(verbose), n_epochs, len(batches), len(net.history) - n_earlier)
    try:
        net.notify("on_train_begin", X=X, y=y)
        while n_over < len(phases):
            phase = phases[n_over]
            if n_done == 0:
                best.restore(net.module_)
            if rate is not None:
                rate.begin(phase.curve, phase.n_epochs * len(batches), n_done * len(batches))
            net.notify("on_epoch_begin", **datasets)
            number = len(net.history) - n_earlier
            progress.begin_epoch(number)
            begin_epoch(len(net.history) - 1)
            run_epoch(net, progress.watch(batches), "train", _train_step(net))
            net.history.record("lr", net.optimizer_.param_groups[0]["lr"])
            if validation is not None:
                outputs: list[Tensor] = []
                run_epoch(net, validation, "valid", _valid_step(net, outputs))
                _record_score(net, validation, torch.cat(outputs), score, score_name)
            stopped = _end_epoch(net, datasets)
            record = net.history[-1]
            progress.end_epoch(number, record, score_name)
            if validation is not None:
                best.update(record["epoch"], record[score_name], record["valid_loss"], net.module_)
            n_done += 1
            # A cooldown pays off at its very end, whatever happens to the score until then.
            if n_done == phase.n_epochs or (best.stop and phase.curve != "cooldown"):
                n_over, n_done = n_over + 1, 0
            if checkpoint is not None:
                # Callbacks are not part of the run: that one of them ends the training is not, either.
                _check_weights(net)
                checkpoint.save(_state(net, rate, best), (n_over, n_done))
            if end_epoch() or stopped:
                break
        _check_weights(net)
    finally:
        progress.close()
        if rate is not None:
            rate.end()
    best.restore(net.module_)
    net.notify("on_train_end", X=X, y=y)


def _state(net: NeuralNet, rate: LearningRate | None, best: BestEpoch) -> dict[str, Any]:
    """What a fit needs beside seed and position to go on."""
    optimizer = net.optimizer_.state_dict()
    if rate is not None:
        for group, peak in zip(optimizer["param_groups"], rate.peaks, strict=True):
            group["lr"] = peak
    history = [{name: value for name, value in record.items() if name != "batches"} for record in net.history]
    return {"network": net.module_.state_dict(), "optimizer": optimizer, "best": best.memory(), "history": history}


def _go_on(net: NeuralNet, best: BestEpoch, checkpoint: Checkpoint, phases: Sequence[Phase]) -> tuple[int, int]:
    """Give net and best epoch the state in a checkpoint, if there is one; how many phases, and then epochs, it had."""
    n_over, n_done = checkpoint.position
    with checkpoint.restored(torch.device(net.device)) as state:
        if state is None:
            return 0, 0
        if n_over > len(phases) or n_done >= (phases[n_over].n_epochs if n_over < len(phases) else 1):
            raise ValueError(f"it is at epoch {n_done} of phase {n_over}")
        net.module_.load_state_dict(state["network"])
        _restore_optimizer(net.optimizer_, state["optimizer"])
        for name in best.memory():
            setattr(best, name, state["best"][name])
        net.history.extend({**record, "batches": []} for record in state["history"])
        for _, callback in net.callbacks_:
            if isinstance(callback, PassthroughScoring):  # of the losses, which does not look for it itself
                callback.best_score_ = min(record.get(callback.name, np.inf) for record in state["history"])
    return n_over, n_done


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    optimizer.load_state_dict(state)
    # That brings tensors to the dtype of the weights, which some optimisers do not have them in.
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, kept in state["state"].items():
        optimizer.state[parameters[number]].update(kept)


def _end_epoch(net: NeuralNet, datasets: dict[str, Any]) -> bool:
    """Tell the callbacks; true where skorch's EarlyStopping ends the training, by a KeyboardInterrupt."""
    try:
        net.notify("on_epoch_end", **datasets)
    except KeyboardInterrupt:
        if not any(isinstance(cb, EarlyStopping) and cb.misses_ >= cb.patience for _, cb in net.callbacks_):
            raise
        return True
    return False


class _Undrawn:
    """What skorch's callbacks see of the images: ``(n, c, h, w)``, without random steps, computed as needed."""

    def __init__(self, images: ImageSource) -> None:
        self.images = images
        self.shape = (len(images), *images.image_shape.channels_first)
        self.dtype = images.dtype

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        rows = np.arange(len(self))[key]
        images = self.images.batch(np.atleast_1d(rows)).cpu().numpy()
        return images if rows.ndim else images[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)


def _dataset(net: NeuralNet, batches: Batches | None) -> Any:
    """What skorch's callbacks see of the data: a view, no copy."""
    if batches is None:
        return None
    whole = net.get_dataset(_Undrawn(batches.images), batches.targets.cpu().numpy())
    return torch.utils.data.Subset(whole, batches.rows)  # type: ignore[arg-type]


def _looks_at_batches(net: NeuralNet) -> bool:
    return any(
        getattr(type(callback), hook, None) is not getattr(Callback, hook) or hook in vars(callback)
        for _, callback in net.callbacks_
        for hook in _BATCH_HOOKS
    )


def _train_step(net: NeuralNet) -> Callable[..., dict[str, Any]]:
    """Skorch's step, which refuses a loss that is not finite."""
    count = 0

    def step(batch: tuple[Tensor, Tensor], **_: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        done: dict[str, Any] = net.train_step(batch)
        _check_finite(net, done["loss"].item(), count)
        return done

    return step


def _valid_step(net: NeuralNet, outputs: list[Tensor]) -> Callable[..., dict[str, Any]]:
    """Skorch's step, which keeps the outputs for the score."""

    def step(batch: tuple[Tensor, Tensor], **_: Any) -> dict[str, Any]:
        done: dict[str, Any] = net.validation_step(batch)
        _check_finite(net, done["loss"].item(), len(outputs) + 1, "validation")
        outputs.append(done["y_pred"])
        return done

    return step


def _check_finite(net: NeuralNet, loss: float, batch: int, part: str = "training") -> None:
    if not np.isfinite(loss):
        raise NonFiniteLossError(len(net.history), batch, net.optimizer_.param_groups[0]["lr"], loss, f"{part} loss")


def _check_weights(net: NeuralNet) -> None:
    """Refuse a network that the last step broke: no loss was computed after it."""
    for name, value in net.module_.state_dict().items():
        if not torch.isfinite(value).all():
            lr = net.optimizer_.param_groups[0]["lr"]
            raise NonFiniteLossError(len(net.history), len(net.history[-1]["batches"]), lr, float("nan"), name)


def _skorch_epoch(net: NeuralNet, batches: Iterable[Any], prefix: str, step: Callable[..., dict[str, Any]]) -> None:
    net.run_single_epoch(batches, training=prefix == "train", prefix=prefix, step_fn=step)


def _fast_epoch(net: NeuralNet, batches: Iterable[Any], prefix: str, step: Callable[..., dict[str, Any]]) -> None:
    """What `_skorch_epoch` does, without its notifications and records for each batch."""
    if prefix == "train":
        losses, sizes = _fast_training(net, batches)
    else:
        pairs = [(step(batch)["loss"], len(batch[1])) for batch in batches]
        losses, sizes = [loss for loss, _ in pairs], [size for _, size in pairs]
    records = [
        {f"{prefix}_loss": loss, f"{prefix}_batch_size": size}
        for loss, size in zip(torch.stack(losses).tolist(), sizes, strict=True)
    ]
    net.history[-1]["batches"].extend(records)
    net.history.record(f"{prefix}_batch_count", len(records))


def _fast_training(net: NeuralNet, batches: Iterable[Any]) -> tuple[list[Tensor], list[int]]:
    network, criterion, optimizer = net.module_, net.criterion_, net.optimizer_
    network.train()
    criterion.train()
    losses, sizes = _Losses(net, late=next(network.parameters()).is_cuda), []
    for images, targets in batches:
        optimizer.zero_grad()
        loss = criterion(network(images), targets)
        loss.backward()
        optimizer.step()
        losses.add(loss.detach())
        sizes.append(len(targets))
    losses.check()
    return losses.seen, sizes


class _Losses:
    """The losses of an epoch, of which none may be infinite or NaN.

    Asking a GPU for a number empties its queue, and it stands idle until the next batch is queued. So there
    each number is only sent for, and looked at once the next batch is queued too.

    Parameters
    ----------
    net : skorch.NeuralNet
        What is trained.
    late : bool
        Whether to look at each loss one batch late.
    """

    def __init__(self, net: NeuralNet, *, late: bool) -> None:
        self.net = net
        self.late = late
        self.seen: list[Tensor] = []
        self._sent: tuple[int, Tensor, torch.cuda.Event | None] | None = None

    def add(self, loss: Tensor) -> None:
        """Take in the loss of a batch, which its step has used already."""
        self.seen.append(loss)
        copy = loss.to("cpu", non_blocking=loss.is_cuda)
        arrived = torch.cuda.Event() if loss.is_cuda else None  # type: ignore[no-untyped-call]  # torch's
        if arrived is not None:
            arrived.record()
        if self.late:
            self.check()
        self._sent = (len(self.seen), copy, arrived)
        if not self.late:
            self.check()

    def check(self) -> None:
        """Look at the loss that was sent for."""
        if self._sent is None:
            return
        batch, copy, arrived = self._sent
        if arrived is not None:
            arrived.synchronize()
        _check_finite(self.net, float(copy.numpy()), batch)


def _record_score(net: NeuralNet, validation: Batches, outputs: Tensor, score: Score, name: str) -> None:
    index = torch.from_numpy(validation.rows).to(outputs.device)
    weights = None if validation.weights is None else validation.weights[index]
    value = score(outputs, validation.targets[index], weights)
    earlier = [record[name] for record in net.history[:-1] if name in record]
    net.history.record(name, value)
    net.history.record(f"{name}_best", all(value > other for other in earlier))
