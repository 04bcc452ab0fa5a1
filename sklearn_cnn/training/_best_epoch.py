"""The best epoch of a fit, and when to stop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn


@dataclass
class BestEpoch:
    """Remembers the best epoch of a fit, and counts the epochs without a gain since then.

    Parameters
    ----------
    n_iter_no_change : int or None, default=None
        The training stops after this many epochs without a gain; None never stops it.
    tol : float, default=1e-4
        A score that exceeds all earlier ones by more than this is a gain.

    Attributes
    ----------
    epoch : int or None
        Number of the best epoch, counted from 1; None before the first validation.
    state : dict of str to Tensor
        The weights of that epoch. They are kept only where the training can stop early.
    patience_spent : int
        Epochs since the last gain.
    """

    n_iter_no_change: int | None = None
    tol: float = 1e-4
    epoch: int | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    patience_spent: int = 0
    _rank: tuple[float, float] = (-np.inf, -np.inf)
    _bar: float = -np.inf

    def update(self, epoch: int, score: float, loss: float, network: nn.Module) -> None:
        """Take in a finished epoch. Of epochs with equal scores, the one with the lowest loss is the best."""
        if (score, -loss) > self._rank:
            self._rank, self.epoch = (score, -loss), epoch
            if self.n_iter_no_change is not None:
                self.state = {name: value.clone() for name, value in network.state_dict().items()}
        gained = score > self._bar + self.tol
        self._bar = max(self._bar, score)
        self.patience_spent = 0 if gained else self.patience_spent + 1

    @property
    def stop(self) -> bool:
        """Whether there was no gain for too long."""
        return self.n_iter_no_change is not None and self.patience_spent >= self.n_iter_no_change

    def restore(self, network: nn.Module) -> None:
        """Load the weights of the best epoch into a network, if they were kept."""
        if self.state:
            network.load_state_dict(self.state)

    def memory(self) -> dict[str, Any]:
        """What a checkpoint keeps: everything but the two parameters."""
        return {name: value for name, value in vars(self).items() if name not in ("n_iter_no_change", "tol")}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave in another process.

        Raises
        ------
        KeyError
            Where an entry is missing.
        """
        for name in self.memory():
            setattr(self, name, memory[name])
