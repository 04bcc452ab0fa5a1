"""Callbacks of skorch: which are refused, how they are copied, and what they are told of a fit."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback, EarlyStopping, InputShapeSetter, LRScheduler
from torch import Tensor

from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._batches import Batch, Batches

_PLATEAU = ("ReduceLROnPlateau", torch.optim.lr_scheduler.ReduceLROnPlateau)


def check_callbacks(callbacks: Any, *, lr_schedule: str, has_validation: bool) -> None:
    """Refuse callbacks that cannot work in this fit.

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
        For a learning-rate callback unless ``lr_schedule="constant"``, a callback that watches validation
        figures where there are none, and one that changes the input shape.
    TypeError
        For an entry that is not a skorch callback.
    """
    for name, callback in _named(callbacks):
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise _not_a_callback(callback)
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


def _named(callbacks: Any) -> Iterator[tuple[str, Any]]:
    """Each callback with its name; without one of its own, that of its class."""
    for entry in callbacks or []:
        if not isinstance(entry, tuple | list):
            yield (entry if isinstance(entry, type) else type(entry)).__name__, entry
        elif len(entry) == 2:
            yield str(entry[0]), entry[1]
        else:
            raise _not_a_callback(entry)


def _not_a_callback(entry: Any) -> TypeError:
    return TypeError(f"skorch_callbacks takes skorch callbacks or (name, callback) pairs; got {entry!r}.")


def _watched_figure(kind: type, callback: Any) -> str:
    """The name of the figure that a callback watches; empty where it watches none."""
    if isinstance(callback, type):
        try:
            callback = callback()
        except TypeError as error:
            raise TypeError(f"skorch_callbacks has the class {kind.__name__}; pass an instance: {error}.") from None
    if issubclass(kind, LRScheduler) and getattr(callback, "policy", None) not in _PLATEAU:
        return ""  # other policies do not use their parameter `monitor`
    monitor = getattr(callback, "monitor", None)
    return monitor if isinstance(monitor, str) else ""


def copy_callbacks(callbacks: Any) -> list[Any]:
    """Copy the user's callbacks, so that a fit leaves theirs as they were.

    The copies are shallow, because some callbacks hold writers and connections that cannot be copied. Where a
    callback refers to another one of the list, as ``LoadInitState`` does to a checkpoint, its copy refers to the
    copy of the other.

    Parameters
    ----------
    callbacks : list or None
        Callbacks, classes of callbacks, and (name, callback) pairs.

    Returns
    -------
    list
        The same with copies in place of the callbacks.
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


class Notifier:
    """Calls the hooks of a net's callbacks with the arguments that skorch gives them.

    Most callbacks have no hooks for single batches; only those that have some are called for each batch.

    Parameters
    ----------
    net : skorch.NeuralNet
        An initialised net.
    training : Batches
        The training images.
    validation : Batches or None
        The validation images.

    Attributes
    ----------
    hears_batches : bool
        Whether a callback is called for single batches.
    needs_records : bool
        Whether a callback may look at the record of a batch before the next one begins.
    """

    def __init__(self, net: Any, training: Batches, validation: Batches | None) -> None:
        self._net = net
        X, y = _Undrawn(training.images), training.targets.cpu().numpy()
        self._data = {"X": X, "y": y}
        self._datasets = {"dataset_train": _rows_of(net.get_dataset(X, y), training), "dataset_valid": None}
        if validation is not None:
            whole = net.get_dataset(_Undrawn(validation.images), validation.targets.cpu().numpy())
            self._datasets["dataset_valid"] = _rows_of(whole, validation)
        self._on_begin = _with_hook(net, "on_batch_begin")
        self._on_grad = _with_hook(net, "on_grad_computed")
        self._on_end = _with_hook(net, "on_batch_end")
        self.needs_records = bool(self._on_begin or self._on_end)
        self.hears_batches = self.needs_records or bool(self._on_grad)

    def begin_training(self) -> None:
        """Call ``on_train_begin``."""
        self._net.notify("on_train_begin", **self._data)

    def end_training(self) -> None:
        """Call ``on_train_end``."""
        self._net.notify("on_train_end", **self._data)

    def begin_epoch(self) -> None:
        """Open the record of an epoch in the history, and call ``on_epoch_begin``."""
        self._net.notify("on_epoch_begin", **self._datasets)

    def end_epoch(self) -> bool:
        """Call ``on_epoch_end``.

        Returns
        -------
        bool
            Whether skorch's ``EarlyStopping`` ends the training. It does so by a KeyboardInterrupt.

        Raises
        ------
        KeyboardInterrupt
            Where the user interrupts.
        """
        try:
            self._net.notify("on_epoch_end", **self._datasets)
        except KeyboardInterrupt:
            if not any(isinstance(cb, EarlyStopping) and cb.misses_ >= cb.patience for _, cb in self._net.callbacks_):
                raise
            return True
        return False

    def begin_batch(self, batch: Batch, *, training: bool) -> None:
        """Call ``on_batch_begin``."""
        for callback in self._on_begin:
            callback.on_batch_begin(self._net, batch=_pair(batch), training=training)

    def gradients_computed(self, batch: Batch) -> None:
        """Call ``on_grad_computed``, in training, before the optimiser's step."""
        for callback in self._on_grad:
            # A list: some callbacks go through the parameters more than once.
            named = list(self._net.get_all_learnable_params())
            callback.on_grad_computed(self._net, named_parameters=named, batch=_pair(batch), training=True)

    def end_batch(self, batch: Batch, loss: Tensor, outputs: Tensor, *, training: bool) -> None:
        """Call ``on_batch_end``; by now the history has the record of the batch."""
        for callback in self._on_end:
            callback.on_batch_end(self._net, batch=_pair(batch), training=training, loss=loss, y_pred=outputs)


def _with_hook(net: Any, hook: str) -> list[Any]:
    """Callbacks of a net that have a hook of their own, in their order."""
    return [
        callback
        for _, callback in net.callbacks_
        if getattr(type(callback), hook, None) is not getattr(Callback, hook) or hook in vars(callback)
    ]


def _pair(batch: Batch) -> tuple[Tensor, Tensor]:
    """A batch as skorch has it."""
    return batch.images, batch.targets


def _rows_of(whole: Any, batches: Batches) -> Any:
    """The part of a skorch dataset that the batches are cut from; a view."""
    return torch.utils.data.Subset(whole, batches.rows)  # type: ignore[arg-type]  # an array serves as a list


class _Undrawn:
    """Images as skorch's callbacks see them: ``(n, c, h, w)``, without random steps, computed when they are used."""

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
