"""Ctrl-C that Python would lose."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class _Handler:
    """Raises KeyboardInterrupt, as Python does for Ctrl-C, and remembers it."""

    def __init__(self) -> None:
        self.was_called = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.was_called = True
        raise KeyboardInterrupt

    def raise_again(self) -> None:
        if self.was_called:
            raise KeyboardInterrupt


@contextmanager
def kept_interrupts() -> Iterator[Callable[[], None]]:
    """Raise KeyboardInterrupt a second time where the first was ignored.

    Python raises it wherever the program happens to be, and ignores every exception that leaves a ``__del__``, the
    callback of a weak reference (each import has one) or a function that C code calls without looking at its errors.
    A training would then go on as if nobody had pressed Ctrl-C.

    Only Python's own handler is replaced, for the time of the context. A program that has a handler of its own keeps
    it, and nothing changes in other threads than the main one, in which Python never raises KeyboardInterrupt.

    Yields
    ------
    callable
        Raises KeyboardInterrupt where one has been ignored. To be called at every step; the end of the context calls
        it too.
    """
    current = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
    elif isinstance(current, _Handler):  # a callback of a fit fits another network
        yield current.raise_again
        current.raise_again()
    elif current is signal.default_int_handler:
        handler = _Handler()
        try:
            signal.signal(signal.SIGINT, handler)
            yield handler.raise_again
        finally:
            if signal.getsignal(signal.SIGINT) is handler:
                signal.signal(signal.SIGINT, current)
        handler.raise_again()
    else:
        yield lambda: None
