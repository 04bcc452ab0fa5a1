"""How many threads a fit computes with, and a process that was forked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

ONE_THREAD_BELOW = 15_000_000
"""Multiply-adds of a step from which more threads pay off. On two cores that are otherwise idle a second thread costs
a fifth of the time at 3 million, is worth nothing around 20, a third at 80 and more than half from 500 on; on cores
that are busy with something else it costs up to ten times as much, as each step waits for the slower one."""


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through the libraries of the process, which takes 10 ms


@contextmanager
def threads_for(n_macs: int) -> Iterator[None]:
    """Compute small steps with one thread, larger ones with as many as the caller has.

    The number is that of the calling thread alone and is given back at the end. ``torch.set_num_threads``
    would also store it for every thread that begins meanwhile, which would keep it.

    Parameters
    ----------
    n_macs : int
        Multiply-adds of a step.
    """
    if n_macs >= ONE_THREAD_BELOW:
        yield
        return
    with _controller().limit(limits=1, user_api="openmp"):
        yield


if hasattr(os, "register_at_fork"):  # Windows has no fork
    # A fork copies the thread that calls it and none of those that torch keeps for its loops: the child would wait
    # for them without end. `torch.set_num_threads` also holds for the threads that the child begins itself.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
