"""Statistics of pixels, a batch at a time."""

import numpy as np
import pytest
import torch

from sklearn_cnn.images._moments import Moments, PatchMoments, PixelRange, white_of
from sklearn_cnn.images._shape import ImageShape
from tests.cases import for_every

AXES = {"channel": (0, 2, 3), "pixel": (0,), "all": (0, 1, 2, 3)}


def moments_of(images, shape, weights=None, chunk=1000, per="channel"):
    moments = Moments(per)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        pixels = shape.to_channels_first(torch.from_numpy(images[part].copy()))
        moments.update(pixels, None if weights is None else weights[part])
    return moments


SHAPES = {
    "hw": ((40, 5, 4), ImageShape(5, 4)),
    "hwc": ((40, 5, 4, 3), ImageShape(5, 4, 3, "hwc")),
    "chw": ((40, 3, 5, 4), ImageShape(5, 4, 3, "chw")),
    "flat": ((40, 60), ImageShape(5, 4, 3, "hwc", flat=True)),
}


@for_every("stored", SHAPES)
@for_every("dtype", [np.uint8, np.float32, np.float64])
@for_every("chunk", [1, 7, 40])
@for_every("per", AXES)
def test_statistics_are_those_of_numpy(stored, dtype, chunk, per):
    size, shape = SHAPES[stored]
    images = np.random.default_rng(0).uniform(0, 255, size).astype(dtype)
    moments = moments_of(images, shape, chunk=chunk, per=per)
    pixels = shape.to_channels_first(images).astype(np.float64)
    expected = {name: getattr(pixels, name)(axis=AXES[per], keepdims=True)[0] for name in ("mean", "std", "min", "max")}
    np.testing.assert_allclose(moments.mean, expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(moments.std, expected["std"], rtol=1e-12)
    np.testing.assert_array_equal(moments.low, expected["min"])
    np.testing.assert_array_equal(moments.high, expected["max"])
    assert moments.n_images == 40
    assert moments.range == (pixels.min(), pixels.max())


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_weights_count_as_repeated_rows(chunk):
    rng = np.random.default_rng(0)
    images, counts = rng.normal(size=(20, 3, 3)), rng.integers(0, 4, 20)
    shape = ImageShape(3, 3)
    weighted = moments_of(images, shape, counts.astype(float), chunk=chunk)
    repeated = moments_of(np.repeat(images, counts, axis=0), shape)
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-12)
    np.testing.assert_allclose(weighted.variance, repeated.variance, rtol=1e-12)


def patch_moments_of(images, size, weights=None, chunk=1000, n_images=None):
    moments = PatchMoments(size, len(images) if n_images is None else n_images)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        moments.update(torch.from_numpy(images[part]), None if weights is None else weights[part])
    return moments


def covariance_of_windows(images, size):
    """The covariance by NumPy, of windows in the order of a filter's weights."""
    windows = np.lib.stride_tricks.sliding_window_view(images.astype(np.float64), size, axis=(2, 3))
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * size[0] * size[1])
    return np.cov(rows.T, bias=True)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 3)])
@pytest.mark.parametrize("chunk", [1, 7, 40])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_the_covariance_of_windows_is_that_of_numpy(size, chunk, offset):
    images = np.random.default_rng(0).normal(offset, 1, (40, 3, 5, 4))
    std = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    found = patch_moments_of(images, size, chunk=chunk).covariance_of(std)
    np.testing.assert_allclose(found, covariance_of_windows(images / std, size), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_weights_of_windows_count_as_repeated_rows(chunk):
    rng = np.random.default_rng(0)
    images, counts = rng.normal(size=(20, 1, 3, 3)), rng.integers(0, 4, 20)
    weighted = patch_moments_of(images, (2, 2), counts.astype(float), chunk=chunk)
    repeated = patch_moments_of(np.repeat(images, counts, axis=0), (2, 2))
    ones = np.ones((1, 1, 1))
    np.testing.assert_allclose(weighted.covariance_of(ones), repeated.covariance_of(ones), rtol=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_of_many_images_windows_of_every_so_manyth_are_used(chunk):
    images = np.random.default_rng(0).normal(size=(30, 1, 3, 3))
    some = patch_moments_of(images, (2, 2), chunk=chunk, n_images=4 * 2048)
    of_them = patch_moments_of(images[::4], (2, 2))
    ones = np.ones((1, 1, 1))
    np.testing.assert_allclose(some.covariance_of(ones), of_them.covariance_of(ones), rtol=1e-10)


def test_windows_are_taken_from_images_that_have_a_weight():
    images = np.random.default_rng(0).normal(size=(30, 1, 3, 3))
    weights = np.arange(30) % 2.0
    some = patch_moments_of(images, (2, 2), weights, chunk=7, n_images=2 * 2048)
    of_them = patch_moments_of(images[1::4], (2, 2))
    ones = np.ones((1, 1, 1))
    np.testing.assert_allclose(some.covariance_of(ones), of_them.covariance_of(ones), rtol=1e-10)


@pytest.mark.parametrize("value", [0.0, 1e-3, 7.0, 1e6, 0.1 + 0.2])
def test_a_constant_channel_has_deviation_one(value):
    moments = moments_of(np.full((10, 3, 3), value), ImageShape(3, 3), chunk=3)
    assert moments.center == value  # to the last bit, so that it subtracts to zero
    assert moments.std == 1.0
    assert moments.variance == 0.0


def test_a_large_mean_does_not_cancel_the_deviation():
    images = 1e8 + np.random.default_rng(0).normal(size=(200, 2, 2))
    moments = moments_of(images, ImageShape(2, 2), chunk=17)
    np.testing.assert_allclose(moments.std.item(), images.std(), rtol=1e-6)


def test_a_range_alone_needs_no_statistics():
    moments = Moments("channel")
    moments.see(torch.tensor([[[[3, 5]], [[0, 9]]]], dtype=torch.uint8))
    assert moments.range == (0.0, 9.0)
    assert moments.high.ravel().tolist() == [5, 9]


@pytest.mark.parametrize(
    ("high", "white"),
    [
        (0, 1),
        (0.7, 1),
        (1, 1),
        (1.5, 255),
        (16, 255),
        (255, 255),
        (256, 511),
        (4000, 4095),
        (4095, 4095),
        (40000, 65535),
    ],
)
def test_white_is_one_or_the_largest_integer_of_as_many_bits_as_the_largest_pixel(high, white):
    assert white_of(high) == white_of(np.float32(high)) == white


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_the_range_alone_is_that_of_all_batches(name, dtype):
    sides, shape = SHAPES[name]
    images = np.random.default_rng(0).integers(3, 250, sides).astype(dtype)
    seen = PixelRange()
    for start in range(0, len(images), 7):
        seen.see(shape.to_channels_first(torch.from_numpy(images[start : start + 7])))
    assert (seen.low, seen.high) == (images.min(), images.max())
