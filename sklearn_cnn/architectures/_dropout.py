"""Dropout that leaves torch's global generator alone."""

from typing import Any

import torch
from torch import Tensor, nn


class SeededDropout(nn.Module):
    """Dropout that draws from a generator of its own.

    ``torch.nn.functional.dropout`` draws from the global generator: it would change the numbers
    that the rest of the program draws, and two fits in two threads would change each other's.

    Parameters
    ----------
    p : float
        Probability with which a value is set to zero.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.seed = 0
        self._generator: torch.Generator | None = None

    def reseed(self, seed: int) -> None:
        """Start the draws anew from a seed."""
        self.seed, self._generator = seed, None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        if self._generator is None or self._generator.device != x.device:
            self._generator = torch.Generator(x.device).manual_seed(self.seed)
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self._generator)
        return x * kept.div_(1 - self.p)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generator": None}  # a torch.Generator does not pickle
