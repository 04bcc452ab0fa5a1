"""Where random numbers come from."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence

_DRAWING = threading.RLock()  # what draws may itself fit a network
if hasattr(os, "register_at_fork"):  # Windows has no fork
    # Else a child could be forked while another thread draws, and would wait for that thread, which it has not.
    os.register_at_fork(before=_DRAWING.acquire, after_in_parent=_DRAWING.release, after_in_child=_DRAWING.release)


class Stream(IntEnum):
    """What random numbers are for: the streams of one seed, each independent of the others."""

    WEIGHTS = 0
    SHUFFLE = 1
    DROPOUT = 2
    SPLIT = 3
    AUGMENT = 4
    MODULE = 100  # what a ready-made module draws as it is made


def generator(seed: int, *stream: int, device: Any = "cpu") -> torch.Generator:
    """One of the independent random streams of a seed.

    Parameters
    ----------
    seed : int
        The seed.
    *stream : int
        Which stream: a member of `Stream`, then such numbers as that of the epoch. Another tuple gives independent
        numbers.
    device : str or torch.device, default="cpu"
        Where the numbers are drawn.

    Returns
    -------
    torch.Generator
        A seeded generator.
    """
    state = SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) & (2**63 - 1))


@contextmanager
def global_draws(seed: int, device: Any = "cpu") -> Iterator[None]:
    """Let code of others draw from torch's global generators, as if they had been seeded, and put their state back.

    One at a time: two threads would take each other's numbers.

    Parameters
    ----------
    seed : int
        Where the numbers start.
    device : str or torch.device, default="cpu"
        Where numbers are drawn, beside the CPU.
    """
    on_gpu = torch.device(device).type == "cuda"
    with _DRAWING, torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
