"""Ctrl-C that Python would lose."""

import signal
import sys
import threading
import weakref

import pytest

from sklearn_cnn.training._interrupts import kept_interrupts


@pytest.fixture(autouse=True)
def pythons_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
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
    with pytest.raises(KeyboardInterrupt), kept_interrupts() as raise_ignored:  # noqa: PT012
        for step in range(5):
            raise_ignored()
            steps.append(step)
            if step == 2:
                lose()
    assert ignored == [KeyboardInterrupt]
    assert steps == [0, 1, 2]


def test_an_interrupt_that_is_ignored_in_the_last_step_is_raised_at_the_end(ignored):
    with pytest.raises(KeyboardInterrupt), kept_interrupts():
        in_a_del()
    assert ignored == [KeyboardInterrupt]


def test_an_interrupt_that_nobody_ignores_is_raised_where_it_comes():
    with pytest.raises(KeyboardInterrupt), kept_interrupts():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")


def test_one_that_was_caught_is_over_with_the_context():
    with pytest.raises(KeyboardInterrupt), kept_interrupts():
        signal.raise_signal(signal.SIGINT)
    with kept_interrupts() as raise_ignored:
        raise_ignored()


def test_an_error_of_the_training_is_not_covered_up(ignored):
    with pytest.raises(ValueError, match="of the training"), kept_interrupts():  # noqa: PT012
        in_a_del()
        raise ValueError("of the training")


def test_a_fit_in_a_fit_is_interrupted_at_its_own_next_step(ignored):
    with pytest.raises(KeyboardInterrupt), kept_interrupts(), kept_interrupts() as raise_ignored:  # noqa: PT012
        in_a_del()
        raise_ignored()
        pytest.fail("the inner fit went on")


def test_a_fit_in_a_fit_leaves_the_outer_its_handler(ignored):
    with pytest.raises(KeyboardInterrupt), kept_interrupts() as raise_ignored:  # noqa: PT012
        with kept_interrupts():
            pass
        in_a_del()
        raise_ignored()
        pytest.fail("the outer fit went on")


OTHERS = {"a function": lambda number, frame: None, "ignored": signal.SIG_IGN}


@pytest.mark.parametrize("handler", OTHERS.values(), ids=OTHERS)
def test_a_handler_of_the_program_stays(handler):
    signal.signal(signal.SIGINT, handler)
    with kept_interrupts() as raise_ignored:
        assert signal.getsignal(signal.SIGINT) is handler
        signal.raise_signal(signal.SIGINT)
        raise_ignored()
    assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_that_is_set_meanwhile_stays():
    with kept_interrupts():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_nothing_changes_in_another_thread_and_none_of_its_fits_is_interrupted(ignored):
    seen = []

    def fit():
        before = signal.getsignal(signal.SIGINT)
        with kept_interrupts() as raise_ignored:
            raise_ignored()
            seen.append(signal.getsignal(signal.SIGINT) is before)

    with pytest.raises(KeyboardInterrupt), kept_interrupts():  # noqa: PT012
        in_a_del()
        other = threading.Thread(target=fit)
        other.start()
        other.join()
    assert seen == [True]
