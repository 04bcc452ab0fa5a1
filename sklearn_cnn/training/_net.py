"""The skorch net of a fit: how it is made, and its state in a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import PassthroughScoring
from torch import Tensor, nn

from sklearn_cnn.training._callbacks import copy_callbacks

# For each task the class of its net, what `predict_proba` of the net applies to the outputs, and further parameters.
# The classifiers of skorch are for one label an image; for several labels, `predict` of a plain net gives the
# probability of each.
_NETS: dict[str, tuple[type[NeuralNet], Callable[..., Tensor] | None, dict[str, Any]]] = {
    # Our loop records the accuracy itself, since skorch's knows no weights.
    "multiclass": (NeuralNetClassifier, partial(torch.softmax, dim=-1), {"callbacks__valid_acc": None}),
    "multilabel": (NeuralNet, torch.sigmoid, {}),
    "regression": (NeuralNetRegressor, None, {}),
}


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
    """Make an initialised skorch net of a network.

    Parameters
    ----------
    task : {"multiclass", "multilabel", "regression"}
        What the outputs are.
    network, criterion : torch.nn.Module
        The network and its loss, ``criterion(outputs, targets, weights=None)``.
    optimizer : callable
        ``(parameters, lr=) -> Optimizer``.
    lr : float
        Peak learning rate.
    batch_size, max_epochs : int
        What skorch's own methods on the net use.
    device : torch.device
        Where the net computes.
    callbacks : list or None
        The user's callbacks. The net gets copies of them.
    classes : ndarray or None
        Labels, where the task is ``"multiclass"``.
    rates : sequence of (str, float), default=()
        Beginnings of names of parameters, each with the learning rate of those parameters.

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


def net_state(net: NeuralNet, peaks: Sequence[float]) -> dict[str, Any]:
    """Network, optimizer and history of a net, for a checkpoint.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net.
    peaks : sequence of float
        Peak learning rate of each parameter group. They are saved in place of the present learning rates.

    Returns
    -------
    dict
        Tensors and plain values, in dicts and lists.
    """
    optimizer = net.optimizer_.state_dict()
    for group, peak in zip(optimizer["param_groups"], peaks, strict=True):
        group["lr"] = peak
    history = [{name: value for name, value in record.items() if name != "batches"} for record in net.history]
    return {"network": net.module_.state_dict(), "optimizer": optimizer, "history": history}


def restore_net(net: NeuralNet, state: Mapping[str, Any]) -> None:
    """Load what `net_state` gave into a net of the same kind.

    Raises
    ------
    Exception
        Of any type, where the state belongs to another net.
    """
    net.module_.load_state_dict(state["network"])
    _restore_optimizer(net.optimizer_, state["optimizer"])
    net.history.extend({**record, "batches": []} for record in state["history"])
    for _, callback in net.callbacks_:
        if isinstance(callback, PassthroughScoring):  # of the losses: its memory is the lowest one so far
            callback.best_score_ = min(record.get(callback.name, np.inf) for record in state["history"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    optimizer.load_state_dict(dict(state))
    # torch casts floating-point state to the dtype of the weights, but some optimisers keep it in another one.
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, kept in state["state"].items():
        optimizer.state[parameters[number]].update(kept)
