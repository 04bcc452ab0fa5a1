"""Ctrl-C that Python would lose."""

import signal
import sys
import threading
import weakref

import pytest

from sklearn_cnn.training._interrupts import kept_interrupts, raise_ignored_interrupt


@pytest.fixture(autouse=True)
def pythons_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ignored(monkeypatch):
    """Exceptions that Python has ignored."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    return seen


class Interrupts:
    """Ctrl-C comes while it is deleted."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def in_a_del():
    Interrupts()


def in_a_callback_of_a_weak_reference():
    target = set()
    reference = weakref.ref(target, lambda _: signal.raise_signal(signal.SIGINT))
    del target
    assert reference() is None


LOST = {"__del__": in_a_del, "weak reference": in_a_callback_of_a_weak_reference}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_an_interrupt_that_python_ignores_is_raised_at_the_next_step(lose, ignored):
    steps = []
    with pytest.raises(KeyboardInterrupt), kept_interrupts():  # noqa: PT012 - what comes before the interrupt has to be inside
        for step in range(5):
            raise_ignored_interrupt()
            steps.append(step)
            if step == 2:
                lose()
    assert ignored == [KeyboardInterrupt]
    assert steps == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_is_ignored_after_the_last_step_is_raised_at_the_end(ignored):
    with pytest.raises(KeyboardInterrupt), kept_interrupts():
        in_a_del()
    assert ignored == [KeyboardInterrupt]


def test_an_interrupt_that_nobody_ignores_is_raised_where_it_comes_and_is_then_over():
    with pytest.raises(KeyboardInterrupt), kept_interrupts():  # noqa: PT012 - what comes before the interrupt has to be inside
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")
    raise_ignored_interrupt()
    with kept_interrupts():
        raise_ignored_interrupt()


def test_an_interrupt_at_any_line_of_the_end_leaves_pythons_handler_and_lets_the_next_fit_run():
    here = kept_interrupts.__wrapped__.__code__
    lines = [line for _, _, line in here.co_lines() if line is not None]

    def interrupt_at(number):
        def trace(frame, event, _):
            if event == "line" and frame.f_code is here and frame.f_lineno == number:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
            return trace

        return trace

    interrupted, not_restored = 0, []
    for number in sorted(set(lines)):
        before = sys.gettrace()
        sys.settrace(interrupt_at(number))
        try:
            with kept_interrupts():
                pass
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(before)
        left = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        not_restored += [number] * left
        with kept_interrupts():
            raise_ignored_interrupt()
        raise_ignored_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, number
    assert interrupted > 10
    assert len(not_restored) <= 1  # the line before which the handler still raises


def test_an_error_of_the_training_is_not_covered_up(ignored):
    with pytest.raises(ValueError, match="of the training"), kept_interrupts():  # noqa: PT012 - what comes before the interrupt has to be inside
        in_a_del()
        raise ValueError("of the training")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_fit_in_a_fit_is_interrupted_at_its_own_next_step(ignored):
    with pytest.raises(KeyboardInterrupt), kept_interrupts(), kept_interrupts():  # noqa: PT012 - what comes before the interrupt has to be inside
        in_a_del()
        raise_ignored_interrupt()
        pytest.fail("the inner fit went on")


def test_a_fit_in_a_fit_leaves_the_outer_its_handler(ignored):
    with pytest.raises(KeyboardInterrupt), kept_interrupts():  # noqa: PT012 - what comes before the interrupt has to be inside
        with kept_interrupts():
            pass
        in_a_del()
        raise_ignored_interrupt()
        pytest.fail("the outer fit went on")


OTHERS = {"a function": lambda number, frame: None, "ignored": signal.SIG_IGN}


@pytest.mark.parametrize("handler", OTHERS.values(), ids=OTHERS)
def test_a_handler_of_the_program_stays(handler):
    signal.signal(signal.SIGINT, handler)
    with kept_interrupts():
        assert signal.getsignal(signal.SIGINT) == handler
        signal.raise_signal(signal.SIGINT)
        raise_ignored_interrupt()
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_handler_that_is_set_meanwhile_stays():
    with kept_interrupts():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_fit_in_another_thread_neither_changes_the_handler_nor_is_interrupted(ignored):
    handlers = []

    def fit():
        before = signal.getsignal(signal.SIGINT)
        with kept_interrupts():
            raise_ignored_interrupt()
            handlers.append((before, signal.getsignal(signal.SIGINT)))

    def in_a_thread():
        thread = threading.Thread(target=fit)
        thread.start()
        thread.join()

    in_a_thread()
    with pytest.raises(KeyboardInterrupt), kept_interrupts():  # noqa: PT012 - what comes before the interrupt has to be inside
        in_a_del()
        in_a_thread()
    assert len(handlers) == 2
    assert all(before is after for before, after in handlers)
