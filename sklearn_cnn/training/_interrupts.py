"""Ctrl-C that Python would lose."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _Handler:
    """Raises KeyboardInterrupt, as Python does for Ctrl-C, and remembers it; after the training it only remembers.

    Attributes
    ----------
    has_raised : bool
        Whether Ctrl-C came in the training.
    is_over : bool
        Whether the training is over.
    came_late : bool
        Whether Ctrl-C came after that.
    """

    def __init__(self) -> None:
        self.has_raised = self.is_over = self.came_late = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.is_over:
            self.came_late = True
        else:
            self.has_raised = True
            raise KeyboardInterrupt


_handlers: list[_Handler] = []
"""Those of the trainings of the main thread that are under way; a training may begin inside another."""


def raise_ignored_interrupt() -> None:
    """Raise KeyboardInterrupt where Ctrl-C has come since the innermost `kept_interrupts` of the main thread began."""
    if _handlers and _handlers[-1].has_raised and _in_main_thread():
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
    if not _in_main_thread():
        yield
        return
    # One that Ctrl-C left just before it could restore Python's handler would interrupt this training too. An outer
    # training that still has to raise does so at its end.
    _handlers[:] = [outer for outer in _handlers if not outer.has_raised]
    handler, n_outer = _Handler(), len(_handlers)
    found = signal.getsignal(signal.SIGINT)
    replaces = found is signal.default_int_handler or isinstance(found, _Handler)
    try:
        _handlers.append(handler)
        if replaces:
            signal.signal(signal.SIGINT, handler)
        yield
    finally:
        handler.is_over = True  # it raises no more, so the next lines run to their end
        del _handlers[n_outer:]
        if signal.getsignal(signal.SIGINT) is handler:
            is_outer = isinstance(found, _Handler) and not found.has_raised
            signal.signal(signal.SIGINT, found if is_outer else signal.default_int_handler)
        if handler.came_late:
            raise KeyboardInterrupt
    if handler.has_raised:
        raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident
