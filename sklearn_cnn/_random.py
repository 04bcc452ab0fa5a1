"""Where random numbers come from."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence

_DRAWING = threading.RLock()  # reentrant: code that draws may itself fit a network
if hasattr(os, "register_at_fork"):  # Windows has no fork
    # A child that is forked while another thread holds the lock would wait for that thread, which it does not have.
    os.register_at_fork(before=_DRAWING.acquire, after_in_parent=_DRAWING.release, after_in_child=_DRAWING.release)


class Stream(IntEnum):
    """What random numbers are used for: each is an independent stream of one seed."""

    WEIGHTS = 0
    SHUFFLE = 1
    DROPOUT = 2
    SPLIT = 3
    AUGMENT = 4
    MODULE = 100  # weights that a ready-made module draws when it is made


def generator(seed: int, *stream: int, device: Any = "cpu") -> torch.Generator:
    """One of the independent random streams of a seed.

    Parameters
    ----------
    seed : int
        The seed.
    *stream : int
        Which stream: a member of `Stream`, then further numbers such as the epoch. Different tuples give
        independent numbers.
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
    """Seed torch's global generators for foreign code that draws from them, and restore their state.

    A lock lets one thread in at a time: two would draw each other's numbers.

    Parameters
    ----------
    seed : int
        Seed of the global generators.
    device : str or torch.device, default="cpu"
        Device whose generator is seeded, beside that of the CPU.
    """
    on_gpu = torch.device(device).type == "cuda"
    with _DRAWING, torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def lent_generators(device: Any = "cpu") -> Iterator[Callable[[int], None]]:
    """Lend the global generators of Python, NumPy and torch to foreign code, and restore their states.

    The lock is that of `global_draws`.

    Parameters
    ----------
    device : str or torch.device, default="cpu"
        Device whose generator of torch is lent, beside that of the CPU.

    Yields
    ------
    callable
        Seeds all of them by an int below 2**32.
    """
    on_gpu = torch.device(device).type == "cuda"

    def seed_all(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - foreign code draws from this generator
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)

    with global_draws(0, device):
        of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        try:
            yield seed_all
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
