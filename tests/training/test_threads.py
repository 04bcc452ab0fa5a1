"""Threads of a fit and of a prediction."""

import os
import re
import sys
import threading

import joblib
import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from threadpoolctl import ThreadpoolController

from sklearn_cnn import CNNClassifier
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._inference import predict_outputs
from sklearn_cnn.training._threads import ONE_THREAD_BELOW, at_most_threads, threads_for

X, y = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cpus(monkeypatch):
    """Say how many CPUs this process may use."""

    def said(number):
        monkeypatch.setattr(joblib, "cpu_count", lambda: number)

    said(8)
    return said


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


@pytest.mark.parametrize(
    ("filters", "batch_size", "expected"), [((4,), 16, 1), ((64, 128), 40, 1), ((128, 256), 40, 2)]
)
def test_a_fit_takes_one_thread_for_small_steps_and_those_of_the_caller_for_large_ones(
    filters, batch_size, expected, cpus
):
    clf, seen = fit(filters, batch_size)
    assert (clf.plan_.n_macs * batch_size < ONE_THREAD_BELOW) == (expected == 1)
    assert seen == [expected]
    assert torch.get_num_threads() == 2


def test_the_default_network_on_the_digits_takes_one_thread():
    plan = CNNClassifier().plan(image_shape=(8, 8), n_outputs=10)
    assert plan.n_macs * 32 < ONE_THREAD_BELOW


@pytest.mark.parametrize("n_macs", [0, ONE_THREAD_BELOW - 1, ONE_THREAD_BELOW])
@pytest.mark.parametrize("n_cpus", [1, 2, 3, 64])
@pytest.mark.parametrize("of_caller", [1, 2, 4])
def test_the_number_is_one_for_a_small_step_and_else_the_lesser_of_cpus_and_the_callers(
    of_caller, n_cpus, n_macs, cpus
):
    cpus(n_cpus)
    torch.set_num_threads(of_caller)
    with threads_for(n_macs):
        assert torch.get_num_threads() == (1 if n_macs < ONE_THREAD_BELOW else min(of_caller, n_cpus))
    assert torch.get_num_threads() == of_caller


def test_a_prediction_takes_no_more_threads_than_there_are_cpus(cpus):
    seen = []

    def network(images):
        seen.append(torch.get_num_threads())
        return images.flatten(1).float()

    torch.set_num_threads(4)
    for n_cpus in (8, 3, 1):
        cpus(n_cpus)
        predict_outputs(network, ImageSource(X, ImageShape(8, 8)), batch_size=40, device=torch.device("cpu"))
        assert torch.get_num_threads() == 4
    assert seen == [4, 3, 1]


def test_no_library_gets_more_threads_than_it_had():
    openmp = ThreadpoolController().select(user_api="openmp")
    with openmp.limit(limits=1):
        torch.set_num_threads(4)  # of one library: scikit-learn may bring another
        before = [library.num_threads for library in openmp.lib_controllers]
        with at_most_threads(3):
            assert [library.num_threads for library in openmp.lib_controllers] == [min(n, 3) for n in before]
        assert [library.num_threads for library in openmp.lib_controllers] == before


@pytest.mark.skipif(
    sys.platform != "linux" or not torch.backends.mkl.is_available(), reason="torch has MKL in a library of Linux"
)
def test_the_products_of_dense_layers_have_the_number_too():
    """MKL has a number of its own, which torch.set_num_threads has set."""

    def number_of_mkl():
        return re.search(r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())[1]

    with threads_for(1):
        assert number_of_mkl() == "1"
    assert number_of_mkl() == "2"


def test_the_number_is_given_back_where_a_fit_fails():
    with pytest.raises(OSError, match="on purpose"):
        fit((4,), 16, fail=True)
    assert torch.get_num_threads() == 2


def test_fits_in_each_other_give_back_what_they_found(cpus):
    with threads_for(ONE_THREAD_BELOW):
        assert torch.get_num_threads() == 2
        with threads_for(1):
            assert torch.get_num_threads() == 1
            with threads_for(ONE_THREAD_BELOW):
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2


def test_threads_that_begin_meanwhile_have_the_number_of_the_process():
    seen = []
    with threads_for(1):
        assert torch.get_num_threads() == 1
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert seen == [2]


def test_a_thread_that_has_computed_nothing_yet_is_limited_too():
    """The first product in a thread sets its number to that of the process."""
    seen = []

    def compute():
        with threads_for(1):
            torch.ones(300, 300) @ torch.ones(300, 300)
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    other = threading.Thread(target=compute)
    other.start()
    other.join()
    assert seen == [1, 2]


def test_a_small_network_does_not_depend_on_the_number_of_threads():
    weights = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        clf, _ = fit((4,), 16)
        weights.append(clf.module_.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux limits the CPUs of a thread")
def test_what_is_pinned_to_one_cpu_takes_one_thread():
    seen = []

    def compute():
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # holds for this thread alone
        with threads_for(ONE_THREAD_BELOW):
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    pinned = threading.Thread(target=compute)
    pinned.start()
    pinned.join()
    assert seen == [1, 2]
