"""Pixels that are copied and filled. The reference is the interpolation to the nearest pixel, which copies floats."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_cnn.preprocessing import _augmentation
from sklearn_cnn.preprocessing._augmentation import Draws, apply, draw
from sklearn_cnn.preprocessing._pixels import as_pixel, fill_rectangles, put_images, take_images
from tests.cases import for_every
from tests.preprocessing.test_augmentation import OFF, images_of, stream

SIDES = [(8, 8), (5, 9), (1, 7), (7, 1)]
LAYOUTS = {
    "channels first": lambda images: images.contiguous(),
    "channels last": lambda images: images.contiguous(memory_format=torch.channels_last),
    "transposed": lambda images: images.transpose(2, 3).contiguous().transpose(2, 3),
}
MOVES = [
    {"crop": 4},
    {"crop": 1, "horizontal_flip": 0.5},
    {"crop": 9, "horizontal_flip": 0.5, "vertical_flip": 0.5},
    {"vertical_flip": 0.5},
    {"crop": 3, "brightness": 0.3, "erasing": 0.5, "cutout": 3},
]


@for_every("layout", LAYOUTS)
@for_every("fill_mode", ["constant", "replicate", "reflect"])
@for_every("fill_value", [0.0, 7.6, 255.0])
@for_every("channels", [1, 2, 3])
@for_every("sides", SIDES)
@for_every("changes", MOVES)
def test_bytes_that_are_copied_are_those_that_are_interpolated(changes, sides, channels, fill_value, fill_mode, layout):
    images = LAYOUTS[layout](images_of((12, channels, *sides), np.uint8))
    before = images.clone()
    settings = replace(OFF, **changes, fill_value=fill_value, fill_mode=fill_mode)
    draws = draw(settings, tuple(images.shape), stream(3))
    expected = apply(images, draws, fill_value=fill_value, fill_mode=fill_mode, interpolation="nearest")
    copied = settings(images, stream(3))
    assert copied.dtype == torch.uint8
    assert torch.equal(copied, expected)
    assert torch.equal(images, before)


def test_moves_by_whole_pixels_interpolate_no_bytes(monkeypatch):
    monkeypatch.setattr(_augmentation, "resample", lambda *_: pytest.fail("interpolated"))
    settings = replace(OFF, crop=2, horizontal_flip=0.5, erasing=0.5, cutout=2)
    assert settings(images_of((8, 3, 6, 7), np.uint8), stream()).dtype == torch.uint8


@for_every("layout", LAYOUTS)
@for_every("channels", [1, 3])
@for_every("dtype", [np.uint8, np.float32, np.float64])
@for_every("value", [0.0, 40.0])
def test_a_rectangle_is_filled_and_cut_at_the_border(value, dtype, channels, layout):
    images = LAYOUTS[layout](images_of((4, channels, 6, 8), dtype))
    if dtype != np.uint8:
        images = -images  # where a product with 0 would be -0.0
    before = images.clone()
    rectangles = torch.tensor([(1, 2, 4, 3), (-2, 5, 1, 20), (3, 3, 3, 3), (-1, -1, 9, 9)]).float()
    expected = images.clone()
    expected[0, :, 1:4, 2:3] = value
    expected[1, :, :1, 5:] = value
    expected[3] = value
    filled = fill_rectangles(images, rectangles, value)
    assert torch.equal(filled, expected)
    assert not torch.signbit(filled[3].float()).any()
    assert torch.equal(images, before)


@for_every("layout", LAYOUTS)
@for_every("channels", [1, 3])
@for_every("sides", SIDES)
def test_images_are_taken_and_put_back(sides, channels, layout):
    images = LAYOUTS[layout](images_of((6, channels, *sides), np.uint8))
    rows = torch.tensor([4, 0, 3])
    taken = take_images(images, rows)
    assert torch.equal(taken, images[rows])
    target = torch.zeros_like(images)
    put_images(target, rows, taken)
    expected = torch.zeros_like(images)
    expected[rows] = images[rows]
    assert torch.equal(target, expected)


@pytest.mark.parametrize(("value", "pixel"), [(0.0, 0), (7.4, 7), (7.5, 8), (255.0, 255)])
def test_a_byte_is_rounded(value, pixel):
    assert as_pixel(value, torch.uint8) == pixel
    assert as_pixel(value, torch.float32) == value


# Cutout.


@pytest.mark.parametrize("side", [1, 4, 5])
def test_squares_have_their_centre_anywhere_in_the_image(side):
    cut = draw(replace(OFF, cutout=side), (4000, 1, 9, 12), stream()).cut
    top, left, bottom, right = cut.T
    assert (bottom - top == side).all() and (right - left == side).all()
    for start, length in ((top, 9), (left, 12)):
        centre, counts = (start + side // 2).unique(return_counts=True)
        assert centre.tolist() == list(range(length))
        assert counts.min() > 0.7 * 4000 / length


def test_what_is_cut_out_has_the_fill_value_in_every_image():
    images = images_of((50, 3, 9, 9), np.uint8).clamp(max=200)
    cut = replace(OFF, cutout=4, fill_value=210.0, fill_mode="reflect")(images, stream())
    holes = (cut == 210).all(dim=1)
    assert torch.equal(cut[~holes[:, None].expand_as(cut)], images[~holes[:, None].expand_as(cut)])
    sizes = holes.sum(dim=(1, 2))
    assert sizes.min() >= 4 and sizes.max() == 16 and len(sizes.unique()) > 3


def test_cutout_and_erasing_are_drawn_apart_and_both_fill():
    images = images_of((20, 1, 9, 9)) + 1
    draws = draw(replace(OFF, cutout=3, erasing=1.0), tuple(images.shape), stream())
    both = apply(images, draws)
    for rectangles in (draws.erased, draws.cut):
        alone = apply(images, Draws(erased=rectangles))
        assert (both[alone == 0] == 0).all()
    assert not torch.equal(draws.erased, draws.cut)
