"""Where random numbers come from."""

from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence


def generator(seed: int, *stream: int, device: Any = "cpu") -> torch.Generator:
    """One of the independent random streams of a seed.

    Parameters
    ----------
    seed : int
        The seed.
    *stream : int
        Which stream; another tuple gives independent numbers.
    device : str or torch.device, default="cpu"
        Where the numbers are drawn.

    Returns
    -------
    torch.Generator
        A seeded generator.
    """
    state = SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) & (2**63 - 1))
