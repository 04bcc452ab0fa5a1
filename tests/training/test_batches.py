"""Batches."""

import numpy as np
import pytest
import torch

from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._batches import Batches, batch_bounds
from tests.cases import for_every

CPU = torch.device("cpu")


@for_every("n", range(1, 60))
@for_every("batch_size", [1, 2, 3, 7, 16, 59, 100])
def test_batches_cover_every_sample_once_and_none_is_alone(n, batch_size):
    bounds = batch_bounds(n, batch_size)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(n))
    sizes = [stop - start for start, stop in bounds]
    assert max(sizes) <= batch_size + (batch_size > 1)
    if batch_size > 1 and n > 1:
        assert min(sizes) > 1


def make(n=23, **settings):
    images = np.arange(n * 6, dtype=np.uint8).reshape(n, 2, 3)
    targets = torch.arange(n)
    defaults = {"batch_size": 5, "device": CPU}
    source = ImageSource(images, ImageShape(2, 3))
    return images, Batches(source, targets, torch.arange(n).float(), **{**defaults, **settings})


def test_an_epoch_has_every_sample_once_with_its_own_target_and_weight():
    images, batches = make(shuffle=torch.Generator().manual_seed(0))
    seen = []
    for X, y, weights in batches:
        np.testing.assert_array_equal(X.numpy()[:, 0], images[y.numpy()])
        assert weights.dtype == torch.float32
        assert weights.tolist() == y.tolist()
        seen += y.tolist()
    assert sorted(seen) == list(range(23))
    assert seen != list(range(23))


def test_each_epoch_has_another_order_and_a_seed_repeats_them():
    def epochs():
        _, batches = make(shuffle=torch.Generator().manual_seed(3))
        return [[batch.targets.tolist() for batch in batches] for _ in range(3)]

    first = epochs()
    assert first == epochs()
    assert first[0] != first[1] != first[2]


def test_without_shuffling_the_rows_come_in_order():
    rows = np.array([3, 4, 7, 8, 20])
    _, batches = make(rows=rows, batch_size=2)
    assert [batch.targets.tolist() for batch in batches] == [[3, 4], [7, 8, 20]]
    assert batches.n_samples == 5
    assert len(batches) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_batches_keep_the_dtype_of_the_images(dtype):
    images = np.zeros((4, 2, 3), dtype=dtype)
    batches = Batches(ImageSource(images, ImageShape(2, 3)), torch.zeros(4), None, batch_size=2, device=CPU)
    batch = next(iter(batches))
    assert batch.images.numpy().dtype == dtype
    assert batch.images.shape == (2, 1, 2, 3)
    assert batch.weights is None


def test_batches_of_a_read_only_memory_map_are_cut_without_a_warning(tmp_path):
    np.save(tmp_path / "images.npy", np.ones((6, 2, 3), dtype=np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    batches = Batches(ImageSource(np.asarray(images), ImageShape(2, 3)), torch.zeros(6), None, batch_size=4, device=CPU)
    assert sum(int(batch.images.sum()) for batch in batches) == 36


def test_the_images_are_not_copied():
    images, batches = make()
    assert np.shares_memory(images, batches.images.base)
