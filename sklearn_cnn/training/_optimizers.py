"""Optimisers by name, and learning rates over time."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop")

AUTO_LR = {"adamw": 1e-2, "adam": 1e-2, "sgd": 0.05, "rmsprop": 1e-3}
"""``lr="auto"``, the peak of a schedule; measured, see the page on performance."""


def auto_lr(optimizer: Any, share: float = 1.0) -> float:
    """The learning rate that ``lr="auto"`` means for a network that takes a share of the usual one.

    The usual one is 1e-3 for an optimiser of the user's own.
    """
    return share * (AUTO_LR[optimizer] if isinstance(optimizer, str) else 1e-3)


@dataclass(frozen=True)
class OptimizerFactory:
    """Makes an optimiser; two factories are equal where their optimisers could exchange their states.

    Attributes
    ----------
    optimizer : {"adamw", "adam", "sgd", "rmsprop"} or callable
        A callable ``(parameters, lr=) -> Optimizer`` is taken as it is.
    momentum : float
        Of ``"sgd"`` (Nesterov's) and ``"rmsprop"``.
    weight_decay : float
        Of the named optimisers. It spares biases and normalisation, whose parameters have one dimension.
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
        # One group for each learning rate and decay; the first has the rate that histories tell.
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
    """A stretch of training with one curve of the learning rate.

    Attributes
    ----------
    n_epochs : int
        Its length.
    curve : str
        Name of a function in ``CURVES``.
    """

    n_epochs: int
    curve: str


def _one_cycle(done: float) -> float:
    """Up in a straight line, then down to nothing (Smith and Topin 2019, arXiv:1708.07120)."""
    warm_up = 0.2
    return 0.04 + 0.96 * done / warm_up if done < warm_up else (1 - done) / (1 - warm_up)


CURVES: dict[str, Callable[[float], float]] = {
    "one_cycle": _one_cycle,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
    "cooldown": lambda done: 1 - done,
}
"""Share of the learning rate when a share of a phase is done, from 0 up to but without 1."""


def phases(lr_schedule: str, max_epochs: int, *, open_ended: bool) -> tuple[Phase, ...]:
    """Lay out the phases of a fit.

    Parameters
    ----------
    lr_schedule : {"auto", "one_cycle", "cosine", "constant"}
        The parameter.
    max_epochs : int
        Epochs of all phases together.
    open_ended : bool
        Whether the fit may stop early or be continued, so that ``"auto"`` must not bet on its length.

    Returns
    -------
    tuple of Phase
        One, or a constant phase and a cooldown.
    """
    if lr_schedule != "auto":
        return (Phase(max_epochs, lr_schedule),)
    if not open_ended:
        return (Phase(max_epochs, "one_cycle"),)
    cooldown = max(1, min(4, max_epochs // 5))
    constant = max_epochs - cooldown
    return (*([Phase(constant, "constant")] if constant else []), Phase(cooldown, "cooldown"))


class LearningRate:
    """Sets the learning rate of every step, whoever runs the loop.

    It hangs on the optimiser's own hook before a step, so that skorch's loop and ours need not know of it.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Whose rates to set; those it has now are the peaks.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.curve = CURVES["constant"]
        self.step, self.n_steps = 0, 1
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        self._depth = 0  # a step that calls its parent's has the hooks run for both

    def begin(self, curve: str, n_steps: int, step: int = 0) -> None:
        """Go to a step of a phase of so many steps, by default the first."""
        self.curve, self.step, self.n_steps, self._depth = CURVES[curve], step, n_steps, 0

    def _before_step(self, *_: Any) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        share = self.curve(self.step / self.n_steps)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self.step += 1

    def _after_step(self, *_: Any) -> None:
        self._depth -= 1

    def end(self) -> None:
        """Leave the optimiser as it was: its hooks gone, its rates at their peaks."""
        for handle in self._handles:
            handle.remove()
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak
