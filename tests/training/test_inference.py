"""Prediction in batches."""

import numpy as np
import pytest
import torch

from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._inference import BATCH_BYTES, predict_outputs, prediction_batch_size

CPU = torch.device("cpu")


class Sums(torch.nn.Module):
    """Gives the sum of each image, and remembers how many it was given at once."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(len(images))
        return images.flatten(1).double().sum(dim=1, keepdim=True)


def test_an_image_alone_goes_through_the_network_in_company():
    images = np.arange(6, dtype=np.uint8).reshape(1, 3, 2)
    network = Sums()
    np.testing.assert_array_equal(
        predict_outputs(network, ImageSource(images, ImageShape(3, 2)), batch_size=4, device=CPU), [[15]]
    )
    assert network.seen == [2]


@pytest.mark.parametrize("n", [2, 4, 5, 11])
def test_outputs_come_in_order_whatever_the_batch(n):
    images = np.random.default_rng(0).integers(0, 255, (n, 3, 2), dtype=np.uint8)
    network = Sums()
    outputs = predict_outputs(network, ImageSource(images, ImageShape(3, 2)), batch_size=4, device=CPU)
    np.testing.assert_array_equal(outputs[:, 0], images.sum(axis=(1, 2)))
    assert max(network.seen) <= 4
    assert sum(network.seen) == n + (n % 4 == 1)


@pytest.mark.parametrize("view", [lambda X: X[::-1], lambda X: X[::2], np.asfortranarray], ids=["back", "step", "F"])
def test_any_view_of_an_array_is_read(view):
    images = view(np.arange(48.0).reshape(8, 3, 2))
    outputs = predict_outputs(Sums(), ImageSource(images, ImageShape(3, 2)), batch_size=3, device=CPU)
    np.testing.assert_array_equal(outputs[:, 0], images.sum(axis=(1, 2)))


@pytest.mark.parametrize("values", [0, 1, 10_000, 10**6, 10**9])
def test_a_batch_fits_its_budget(values):
    size = prediction_batch_size(values)
    assert 1 <= size <= 4096
    assert size == 1 or size * values * 4 <= BATCH_BYTES


@pytest.mark.parametrize(("free", "n"), [(80 * 2**30, 256), (2**30, 16), (2**20, 4)])
def test_on_a_gpu_batches_grow_with_its_free_memory(free, n, monkeypatch):
    monkeypatch.setattr("sklearn_cnn.training._inference.free_bytes", lambda device: free)
    assert prediction_batch_size(2**20, torch.device("cuda")) == n
    assert prediction_batch_size(2**20) == 4


def test_with_one_thread_no_cpus_are_counted(monkeypatch):
    def count():
        raise AssertionError("counting CPUs reads files, which takes a part of the time of one image")

    monkeypatch.setattr("joblib.cpu_count", count)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = ImageSource(np.ones((3, 3, 2), np.uint8), ImageShape(3, 2))
        assert predict_outputs(Sums(), images, batch_size=4, device=CPU).shape == (3, 1)
    finally:
        torch.set_num_threads(n_threads)
