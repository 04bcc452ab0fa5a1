"""Optimisers by name, and learning rates over time."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop")

AUTO_LR = {"adamw": 1e-2, "adam": 1e-2, "sgd": 0.05, "rmsprop": 1e-3}
"""``lr="auto"``, the peak of a schedule; measured, see the page on performance."""


def auto_lr(optimizer: Any, share: float = 1.0) -> float:
    """The learning rate that ``lr="auto"`` means for a network that takes a share of the usual one.

    The usual one is 1e-3 for the user's own optimiser.
    """
    return share * (AUTO_LR[optimizer] if isinstance(optimizer, str) else 1e-3)


@dataclass(frozen=True)
class OptimizerFactory:
    """Makes an optimiser. Factories are equal where one optimiser can take over the state of the other.

    Attributes
    ----------
    optimizer : {"adamw", "adam", "sgd", "rmsprop"} or callable
        A callable is ``(parameters, lr=) -> Optimizer``.
    momentum : float
        Momentum of ``"sgd"`` (Nesterov's) and ``"rmsprop"``.
    weight_decay : float
        Weight decay of the named optimisers. Parameters of one dimension, which are those of biases and
        normalisation, have none.
    """

    optimizer: Any
    momentum: float
    weight_decay: float

    def __call__(self, parameters: Iterable[Any], lr: float) -> Optimizer:
        """Make the optimiser of parameters, or of groups of them."""
        groups = [entry if isinstance(entry, dict) else {"params": [entry]} for entry in parameters]
        groups = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
        if isinstance(self.optimizer, str):
            return self._named(groups, lr)
        alike = [p for group in groups if "lr" not in group for p in group["params"]]
        apart = [group for group in groups if "lr" in group]
        made = self.optimizer([group for group in ({"params": alike}, *apart) if group["params"]], lr=lr)
        if not isinstance(made, Optimizer) or isinstance(made, torch.optim.LBFGS):
            raise TypeError(
                f"optimizer={self.optimizer!r} must give a torch optimizer that steps without a closure; "
                f"got {type(made).__name__}."
            )
        return made

    def _named(self, given: list[dict[str, Any]], lr: float) -> Optimizer:
        table: dict[str, tuple[Any, dict[str, Any]]] = {
            "adamw": (torch.optim.AdamW, {"fused": True}),
            "adam": (torch.optim.Adam, {"fused": True}),
            "sgd": (torch.optim.SGD, {"fused": True, "momentum": self.momentum, "nesterov": self.momentum > 0}),
            "rmsprop": (torch.optim.RMSprop, {"momentum": self.momentum}),
        }
        cls, settings = table[self.optimizer]
        # One group for each learning rate and decay. The history records the learning rate of the first group.
        groups: dict[tuple[float, float], list[Any]] = {(lr, self.weight_decay): [], (lr, 0.0): []}
        for entry in given:
            for p in entry["params"]:
                decay = self.weight_decay if p.ndim > 1 else 0.0
                groups.setdefault((entry.get("lr", lr), decay), []).append(p)
        parts = [
            {"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items() if params
        ]
        made: Optimizer = cls(parts, lr=lr, **settings)
        return made


@dataclass(frozen=True)
class Phase:
    """Some epochs of a training with one curve of the learning rate.

    Attributes
    ----------
    n_epochs : int
        Number of epochs.
    curve : str
        Name of a function in ``CURVES``.
    warm_up : int
        Steps of a linear rise at the beginning. It ends with the first epoch or the tenth step at the latest.
    """

    n_epochs: int
    curve: str
    warm_up: int = 0


CURVES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
    "cooldown": lambda done: 1 - done,
    "one_epoch": lambda done: min(0.04 + 4.8 * done, 1, 2 * (1 - done)),
}
"""Learning rate as a share of the peak; the argument is the share of the phase that is done, in [0, 1)."""


WARM_UP = 100
"""Steps of the warm-up; measured, see the page on performance."""

SHORTEST_WARM_UP = 10
"""Steps of it where an epoch has fewer. 20 epochs of one batch, without normalisation, on the regression set of
scikit-learn's checks: R² 0.64 and 0.56 with two seeds; after a warm-up of one step -0.21 and 0.14."""


def phases(
    lr_schedule: str, max_epochs: int, *, early_stopping: bool = False, go_on: bool = False
) -> tuple[Phase, ...]:
    """The phases of a fit.

    ``"warmup_stable_decay"`` is that of Hägele et al. 2024, arXiv:2405.18392. Its warm-up is counted in steps and its
    cooldown takes whole epochs, so that the network before the cooldown does not depend on `max_epochs`.

    Parameters
    ----------
    lr_schedule : {"auto", "warmup_stable_decay", "cosine", "constant"}
        The parameter. ``"auto"`` means ``"warmup_stable_decay"``.
    max_epochs : int
        Number of epochs of all phases together.
    early_stopping : bool, default=False
        Whether patience may end the constant phase. A fifth of `max_epochs` can then be longer than all that came
        before it, so the cooldown has at most 4 epochs.
    go_on : bool, default=False
        Whether a fitted network is trained on, which needs no warm-up.

    Returns
    -------
    tuple of Phase
        A constant phase and a cooldown, or a single phase.
    """
    if lr_schedule not in ("auto", "warmup_stable_decay"):
        return (Phase(max_epochs, lr_schedule),)
    cooldown = -(-max_epochs // 5)  # a fifth, rounded up
    if early_stopping:
        cooldown = min(4, cooldown)
    constant = max_epochs - cooldown
    if constant:
        return Phase(constant, "constant", 0 if go_on else WARM_UP), Phase(cooldown, "cooldown")
    # Digits, 5 folds, 3 seeds: 0.961, where a rise and a fall over the whole epoch reach 0.948.
    return (Phase(cooldown, "cooldown" if go_on else "one_epoch"),)


class LearningRate:
    """Sets the learning rate of each step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its present learning rates are the peaks.
    phases : sequence of Phase
        All phases of the fit. Where all are constant without a warm-up, the learning rates are left alone, so that a
        callback may change them.
    """

    def __init__(self, optimizer: Optimizer, phases: Sequence[Phase]) -> None:
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self._optimizer = optimizer
        self._fixed = all(phase.curve == "constant" and not phase.warm_up for phase in phases)
        self._curve = CURVES["constant"]
        self._step, self._n_steps, self._warm_up = 0, 1, 0

    def begin(self, phase: Phase, n_batches: int, epoch: int = 0) -> None:
        """Begin an epoch of a phase whose epochs have so many batches."""
        self._curve = CURVES[phase.curve]
        self._step, self._n_steps = epoch * n_batches, phase.n_epochs * n_batches
        self._warm_up = min(phase.warm_up, max(n_batches, SHORTEST_WARM_UP))

    def advance(self) -> None:
        """Set the learning rates of the next step."""
        risen = min(1.0, (self._step + 1) / self._warm_up) if self._warm_up else 1.0
        self._set(risen * self._curve(self._step / self._n_steps))
        self._step += 1

    def end(self) -> None:
        """Set the learning rates to their peaks."""
        self._set(1.0)

    def _set(self, share: float) -> None:
        if self._fixed:
            return
        for group, peak in zip(self._optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
