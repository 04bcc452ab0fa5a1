"""How many threads a fit computes with."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
