"""The random resized crop: what is drawn, and what becomes of the pixels. The reference is torchvision."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_cnn import ImageAugmenter, load_model, save_model
from sklearn_cnn.preprocessing._augmentation import Draws, apply, draw
from tests.preprocessing.test_augmentation import OFF, images_of, stream

BOXES = torch.tensor([(0.0, 0.0, 4.0, 6.0), (2.0, 1.0, 6.0, 5.0), (4.0, 6.0, 4.0, 4.0), (0.0, 0.0, 8.0, 10.0)])


def boxes_of(shares, sides=(60, 90), n=4000):
    return draw(replace(OFF, resized_crop=shares), (n, 3, *sides), stream()).box


@pytest.mark.parametrize("sides", [(60, 90), (40, 40), (7, 31), (1, 30)], ids=str)
@pytest.mark.parametrize("shares", [(0.08, 1.0), (0.3, 0.5), (0.9, 1.0)], ids=str)
def test_parts_are_inside_and_have_the_shares_and_ratios_that_are_said(shares, sides):
    top, left, height, width = boxes_of(shares, sides).unbind(1)
    assert min(top.min(), left.min()) >= 0
    assert (top + height).max() <= sides[0] * 1.0001 and (left + width).max() <= sides[1] * 1.0001
    part_of_height, part_of_width = height / sides[0], width / sides[1]
    whole = (part_of_height == 1) & (part_of_width == 1)
    share, ratio = part_of_height * part_of_width, part_of_width / part_of_height
    assert ((share >= shares[0] * 0.999) & ((share <= shares[1] * 1.001) | whole)).all()
    assert ratio.min() >= 0.7499 and ratio.max() <= 1.3334
    assert whole.float().mean() < (0.2 if shares[0] > 0.8 else 0.01)


def test_shares_and_the_logarithms_of_ratios_are_uniform():
    box = boxes_of((0.1, 0.5), (50, 50), n=20_000)
    share, ratio = (box[:, 2] * box[:, 3] / 2500).sort()[0], (box[:, 3] / box[:, 2]).log().sort()[0]
    for values, low, high in ((share, 0.1, 0.5), (ratio, np.log(0.75), np.log(4 / 3))):
        expected = torch.linspace(0, 1, len(values)) * (high - low) + low
        assert (values - expected).abs().max() < 0.02 * (high - low)
    place = box[:, 0] / (50 - box[:, 2])
    assert place.min() < 0.01 and place.max() > 0.99 and abs(place.mean() - 0.5) < 0.01


def test_inner_pixels_are_those_of_torchvision():
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = images_of((4, 3, 8, 10))
    cropped = apply(images, Draws(box=BOXES.double()))
    for image, result, box in zip(images, cropped, BOXES.int().tolist(), strict=True):
        expected = functional.resized_crop(image, *box, size=[8, 10])
        # Beside its border torchvision repeats the last pixel of the part; here its neighbour in the image is seen.
        torch.testing.assert_close(result[:, 1:-1, 2:-2], expected[:, 1:-1, 2:-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(cropped[3], images[3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_the_fill_value_is_never_seen(interpolation):
    images = torch.full((50, 1, 9, 12), 100, dtype=torch.uint8)
    settings = replace(OFF, resized_crop=(0.1, 1.0), horizontal_flip=0.5, fill_value=7.0, interpolation=interpolation)
    assert torch.equal(settings(images, stream()), images)


def test_a_part_is_enlarged_first_and_rotated_with_what_surrounds_it():
    image = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    image[0, 0, 1, 4] = 1
    box, middle = torch.tensor([[(0.0, 3.0, 3.0, 3.0)], [(3.0, 3.0, 3.0, 3.0)]]).double()  # the spot is in its middle
    moved = apply(image, Draws(box=box, shift=torch.tensor([(2.0, 0.0)]).double()))
    assert divmod(int(moved.argmax()), 9) == (6, 4)
    inside = apply(torch.ones(1, 1, 9, 9).double(), Draws(box=middle, rotation=torch.tensor([45.0]).double()))
    assert inside.min() > 0.999


@pytest.mark.parametrize("images", [np.uint8, np.float32, np.float64])
def test_dtype_and_size_stay_and_a_seed_repeats(images):
    X = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3)).astype(images)
    first, again, other = (
        np.asarray(ImageAugmenter(resized_crop=0.3, random_state=seed).fit_transform(X)) for seed in (0, 0, 1)
    )
    assert (first.shape, first.dtype) == (X.shape, X.dtype)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, X)
    assert first.min() >= X.min() and first.max() <= X.max()


@pytest.mark.parametrize("off", [None, 1, 1.0, (1, 1), (1.0, 1.0)], ids=str)
def test_the_whole_image_alone_is_no_change(off):
    X = np.zeros((3, 8, 8), np.uint8)
    assert ImageAugmenter(resized_crop=off).fit_transform(X) is X


def test_other_draws_of_a_seed_do_not_depend_on_it():
    settings = replace(OFF, rotation=20.0, erasing=0.5, cutout=2, policy="trivial")
    shape = (5, 3, 9, 9)
    without, with_it = (draw(s, shape, stream()) for s in (settings, replace(settings, resized_crop=(0.2, 1.0))))
    for name in ("rotation", "erased", "cut", "policy"):
        assert torch.equal(getattr(without, name), getattr(with_it, name))


@pytest.mark.parametrize("value", [0, -0.1, 1.1, (0.5,), (0, 1), (0.5, 1.2), (0.8, 0.2), ("a", 1), "0.5"], ids=str)
def test_shares_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="resized_crop"):
        ImageAugmenter(resized_crop=value).fit(np.zeros((3, 8, 8)))


@pytest.mark.parametrize("value", [0.3, (0.2, 0.6)], ids=str)
def test_a_saved_augmenter_keeps_it(tmp_path, value):
    augmenter = ImageAugmenter(resized_crop=value).fit(np.zeros((3, 8, 8)))
    save_model(augmenter, tmp_path / "augmenter.safetensors")
    assert load_model(tmp_path / "augmenter.safetensors").resized_crop == value
