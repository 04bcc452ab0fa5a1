"""How many threads a fit and a prediction compute with, and a process that was forked."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import joblib
import torch
from threadpoolctl import LibController, ThreadpoolController

ONE_THREAD_BELOW = 130_000_000
"""Multiply-adds of a training step from which more than one thread is used. On two idle cores a second thread makes
a step of this size half as fast again. Below it gains less, and where the cores have other work each operation
waits for the slower thread, so that a fit can take several times as long."""


@cache
def _openmp() -> list[LibController]:
    """The OpenMP libraries of this process. Looking for them takes 10 ms."""
    return list(ThreadpoolController().select(user_api="openmp").lib_controllers)


@cache
def _set_mkl_threads() -> Callable[[int], int]:
    """MKL's function that sets the number for the products of the calling thread, and gives the one before.

    0 stands for the number of OpenMP. ``torch.set_num_threads`` has set another one, so that after it OpenMP's number
    does not count for dense layers. threadpoolctl does not find MKL where it is a part of torch.
    """
    library = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
    try:
        function: Callable[[int], int] = ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):  # a build without MKL
        return lambda n_threads: 0
    return function


@contextmanager
def at_most_threads(n_threads: int) -> Iterator[None]:
    """Compute with at most so many threads, and with fewer where the caller has fewer.

    The number is that of the calling thread alone and is given back at the end. ``torch.set_num_threads`` would also
    set it for every thread that begins meanwhile, and these would keep it.

    Parameters
    ----------
    n_threads : int
        The most threads.
    """
    # The first question for the number also sets it in this thread, to that of the process: ask before the change.
    if torch.get_num_threads() <= n_threads:
        yield
        return
    before = [(library, library.get_num_threads()) for library in _openmp()]
    before_in_mkl = _set_mkl_threads()(n_threads)
    try:
        for library, n_before in before:
            library.set_num_threads(min(n_threads, n_before))
        yield
    finally:
        for library, n_before in before:
            library.set_num_threads(n_before)
        _set_mkl_threads()(before_in_mkl)


@contextmanager
def threads_for(n_macs: int) -> Iterator[None]:
    """Compute small training steps with one thread, and larger ones with the CPUs that this process may use.

    These are counted by ``joblib.cpu_count``, which knows the affinity of the process and the quota of its container.
    The number of the caller is never raised, so that workers of joblib keep theirs. The load of the machine has no
    part in it: another number of threads rounds in another way.

    Parameters
    ----------
    n_macs : int
        Multiply-adds of a step.
    """
    with at_most_threads(1 if n_macs < ONE_THREAD_BELOW else joblib.cpu_count()):
        yield


if hasattr(os, "register_at_fork"):  # Windows has no fork
    # A fork copies the thread that calls it and none of those that torch keeps for its loops: the child would wait
    # for them without end. `torch.set_num_threads` also holds for the threads that the child begins itself.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
