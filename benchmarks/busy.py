"""Time of a fit on CPUs that have other work, with one thread and with the number that the package chooses.

    python benchmarks/busy.py

Five epochs of the default network on the digits that come with scikit-learn: alone, beside a process that computes
without a pause, and two such fits at once. All processes share `--cpus` CPUs, where the system can limit them.
`--threads` is the number that torch has before a fit by default, which may take fewer.
"""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from common import parser, report, setting
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier

SPAWN = multiprocessing.get_context("spawn")
# Fits at once, and busy processes beside them.
SITUATIONS = {"alone": (1, 0), "beside a busy process": (1, 1), "two at once": (2, 0)}


def seconds_of_fit(threads):
    torch.set_num_threads(threads)
    X, y = load_digits().images.astype(np.float32), load_digits().target
    start = time.perf_counter()
    CNNClassifier(max_epochs=5, random_state=0).fit(X, y)
    return time.perf_counter() - start


def compute_without_pause():
    while True:
        pass


@contextmanager
def busy(n_processes):
    processes = [SPAWN.Process(target=compute_without_pause, daemon=True) for _ in range(n_processes)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def seconds_of_fits(pool, threads, n_fits, n_busy):
    """Seconds of each of the fits that run at once."""
    with busy(n_busy):
        return list(pool.map(seconds_of_fit, [threads] * n_fits))


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--cpus", type=int, default=2, help="CPUs that all processes share")
    arguments = arguments.parse_args()
    if hasattr(os, "sched_setaffinity"):  # holds for the processes that are started from here too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cpus])
    machine = {**setting(arguments.threads), "cpus": arguments.cpus}
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        list(pool.map(seconds_of_fit, [1, 1]))  # both have loaded everything now
        contestants = {
            (name, situation): partial(seconds_of_fits, pool, threads, *processes)
            for name, threads in {"one": 1, "by default": arguments.threads}.items()
            for situation, processes in SITUATIONS.items()
        }
        rounds = [{key: fits() for key, fits in contestants.items()} for _ in range(arguments.repeats)]
    medians = {key: float(np.median([seconds[key] for seconds in rounds])) for key in contestants}
    rows = [
        {"threads": name, "situation": situation, "fit, s": median, "over one alone": median / medians["one", "alone"]}
        for (name, situation), median in medians.items()
    ]
    report(f"A fit on busy CPUs, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()
