"""Threads of a fit."""

import threading

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training._threads import ONE_THREAD_BELOW, threads_for

X, y = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class CountsThreads(Callback):
    def __init__(self, fail=False):
        self.fail = fail
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())
        if self.fail:
            raise OSError("on purpose")


def fit(filters, batch_size, **parameters):
    counts = CountsThreads(**parameters)
    clf = CNNClassifier(filters, max_epochs=1, batch_size=batch_size, random_state=0, skorch_callbacks=[counts])
    return clf.fit(X, y), counts.seen


@pytest.mark.parametrize(("filters", "batch_size", "expected"), [((4,), 16, 1), ((64, 128), 40, 2)])
def test_small_steps_take_one_thread_and_large_ones_those_of_the_caller(filters, batch_size, expected):
    clf, seen = fit(filters, batch_size)
    assert (clf.plan_.n_macs * batch_size < ONE_THREAD_BELOW) == (expected == 1)
    assert seen == [expected]
    assert torch.get_num_threads() == 2


def test_the_number_is_given_back_where_a_fit_fails():
    with pytest.raises(OSError, match="on purpose"):
        fit((4,), 16, fail=True)
    assert torch.get_num_threads() == 2


def test_threads_that_begin_meanwhile_have_the_number_of_the_process():
    seen = []
    with threads_for(1):
        assert torch.get_num_threads() == 1
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert seen == [2]


def test_a_small_network_does_not_depend_on_the_number_of_threads():
    weights = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        clf, _ = fit((4,), 16)
        weights.append(clf.module_.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
