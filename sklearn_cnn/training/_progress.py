"""What a fit shows of itself while it runs, and the line it leaves."""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from typing import Any, TypeVar

from tqdm.auto import tqdm  # skorch requires tqdm, so it is always there

T = TypeVar("T")

_SHORT = 1.0
"""Seconds of a pass over images that show no bar."""


class Progress:
    """Shows how far a fit is, with loss and validation score.

    A bar is redrawn in place, and goes when the fit ends. What stays are whole lines, each in one write, so that
    those of several processes on one terminal do not mix.

    Parameters
    ----------
    verbose : int
        0 shows nothing. 1 shows a bar, where a line can be redrawn, and leaves a line for the fit; from 2 on it
        leaves a line for every epoch.
    n_epochs, n_batches : int
        Length of the fit.
    n_done : int, default=0
        Epochs that are done already, where a fit goes on.
    """

    def __init__(self, verbose: int, n_epochs: int, n_batches: int, n_done: int = 0) -> None:
        self._verbose = verbose
        self._n_epochs = n_epochs
        self._stream = sys.stderr  # None in a program without a console
        self._begun = time.monotonic()
        self._line = ""
        self._bar: Any = None
        if verbose > 0 and _redraws(self._stream):
            settings = {"total": n_epochs * n_batches, "initial": n_done * n_batches}
            self._bar = tqdm(**settings, unit="batch", leave=False, file=self._stream)
        if verbose > 0 and n_done > 0:
            self._line = f"epoch {n_done}/{n_epochs}, from a checkpoint"
            self._write_line()

    def watch(self, batches: Iterable[T]) -> Iterable[T]:
        """Pass batches on and count them."""
        return batches if self._bar is None else self._counted(batches)

    def _counted(self, batches: Iterable[T]) -> Iterator[T]:
        for batch in batches:
            yield batch
            self._bar.update()

    def begin_epoch(self, number: int) -> None:
        """Show which epoch is running."""
        if self._bar is not None:
            self._bar.set_description(f"epoch {number}/{self._n_epochs}", refresh=False)

    def end_epoch(self, number: int, record: dict[str, Any], score_name: str) -> None:
        """Show the figures of a finished epoch."""
        if self._verbose <= 0:
            return
        shown = {
            "loss": record["train_loss"],
            "val_loss": record.get("valid_loss"),
            "val_score": record.get(score_name),
        }
        figures = {name: f"{value:.4f}" for name, value in shown.items() if value is not None and math.isfinite(value)}
        if self._bar is not None:
            self._bar.set_postfix(figures, refresh=False)
        parts = [
            f"epoch {number}/{self._n_epochs}",
            f"{time.monotonic() - self._begun:.1f} s",
            *(f"{name}={value}" for name, value in figures.items()),
        ]
        self._line = ", ".join(parts)
        if self._verbose > 1:
            self._write_line()

    def close(self) -> None:
        """Take the bar away and leave a line; of a fit that stopped early it says how far that came."""
        if self._bar is not None:
            self._bar.close()
        self._write_line()

    def _write_line(self) -> None:
        """Write the line of the last finished epoch, once."""
        line, self._line = self._line, ""
        if not line or self._stream is None:
            return
        # A fit must not be lost to a terminal or a pipe that has gone: OSError, or ValueError once it is closed.
        # Bars that this process still draws, such as the caller's own, make room for the line.
        with suppress(OSError, ValueError), tqdm.external_write_mode(file=self._stream):
            self._stream.write(f"{line}\n")
            self._stream.flush()


@contextmanager
def pass_bar(verbose: int, title: str, n_images: int) -> Iterator[Callable[[int], object]]:
    """Show how far a pass over images is that comes before the first epoch, or stands alone.

    A bar comes after a second, where a line can be redrawn, and goes at the end: a short pass shows nothing.

    Parameters
    ----------
    verbose : int
        0 shows nothing.
    title : str
        What is done.
    n_images : int
        Length of the pass.

    Yields
    ------
    callable
        To be called with the number of images that were done since the last call.
    """
    stream = sys.stderr
    if verbose <= 0 or not _redraws(stream):
        yield _nothing
        return
    with tqdm(total=n_images, desc=title, unit="image", delay=_SHORT, leave=False, file=stream) as bar:
        yield bar.update


def _nothing(n: int) -> None:
    pass


def _redraws(stream: Any) -> bool:
    """Whether a bar can be drawn there: on a terminal or in a notebook, which no other process or thread draws on."""
    if parent_process() is not None or threading.current_thread() is not threading.main_thread():
        return False
    if type(stream).__module__.startswith("ipykernel"):  # says that it is no terminal, yet heeds a carriage return
        return True
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, a stand-in with nothing but `write`, or a closed file
        return False
