"""TrivialAugment: what is drawn, and what each kind does. The references are torchvision, NumPy and the paper."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_cnn.preprocessing._policy import KINDS, LEVELS, apply_policy, draw_policy
from tests.cases import for_every
from tests.preprocessing.test_augmentation import OFF, images_of, stream

GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
COLOURS = tuple(kind for kind in KINDS if kind not in ("identity", *GEOMETRY))


def changed(images, kind, level, **settings):
    drawn = torch.tensor([[KINDS.index(kind), level]] * len(images))
    return apply_policy(images, drawn, **{"interpolation": "nearest", **settings})


# Draws.


def test_kinds_levels_and_signs_are_equally_likely():
    kind, level = draw_policy(30_000, stream()).T
    assert kind.bincount(minlength=14).min() > 0.85 * 30_000 / 14
    assert len(KINDS) == 14 and kind.max() == 13
    assert level.abs().bincount(minlength=LEVELS + 1).min() > 0.8 * 30_000 / 31
    assert level.abs().max() == 30
    assert (level > 0).float().mean() == pytest.approx(15 / 31, abs=0.02)
    assert abs(np.corrcoef(kind.numpy(), level.numpy())[0, 1]) < 0.05


def test_an_image_is_changed_alone_as_among_others():
    images = images_of((300, 3, 9, 12), np.uint8)
    drawn = draw_policy(300, stream())
    together = apply_policy(images, drawn, interpolation="bilinear", fill_mode="reflect")
    assert set(drawn[:, 0].tolist()) == set(range(14))
    for i in range(0, 300, 7):
        alone = apply_policy(images[i : i + 1], drawn[i : i + 1], interpolation="bilinear", fill_mode="reflect")
        np.testing.assert_allclose(alone[0].int(), together[i].int(), atol=1)


def test_the_step_draws_a_policy_after_moves_and_before_colours():
    images = images_of((40, 3, 8, 9), np.uint8)
    settings = replace(OFF, horizontal_flip=1.0, policy="trivial", interpolation="nearest")
    drawn = draw_policy(40, _after_flips(40))
    expected = apply_policy(images.flip(3), drawn, interpolation="nearest")
    assert torch.equal(settings(images, stream()), expected)
    cut = replace(settings, cutout=8)(images, stream())
    assert ((cut == expected) | (cut == 0)).all()


def _after_flips(n):
    generator = stream()
    torch.rand(n, 2, generator=generator)
    return generator


# torchvision.

NAMES = {
    **{"identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "rotate": "Rotate"},
    **{"translate_x": "TranslateX", "translate_y": "TranslateY", "brightness": "Brightness", "color": "Color"},
    **{"contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize"},
    **{"autocontrast": "AutoContrast", "equalize": "Equalize"},
}
# torchvision truncates where we round, and rounds the grey image first.
LARGEST = {"brightness": 1, "color": 2, "contrast": 2, "sharpness": 1, "autocontrast": 1}


def of_torchvision(images, kind, level):
    v2 = pytest.importorskip("torchvision.transforms.v2")
    policy = v2.TrivialAugmentWide()
    of_level, signed = policy._AUGMENTATION_SPACE[NAMES[kind]]
    magnitudes = of_level(LEVELS + 1, *images.shape[2:])
    magnitude = 0.0 if magnitudes is None else float(magnitudes[abs(level)])
    if kind.startswith("translate"):
        magnitude += 1e-4  # 15.999999 of 16 pixels would be 15
    nearest = pytest.importorskip("torchvision.transforms").InterpolationMode.NEAREST
    return policy._apply_image_or_video_transform(
        images, NAMES[kind], -magnitude if signed and level < 0 else magnitude, nearest, {}
    )


@for_every("channels", [1, 3])
@for_every("level", [-30, -17, -4, 0, 1, 9, 15, 24, 30])
@for_every("kind", KINDS)
def test_every_kind_is_that_of_torchvision(kind, level, channels):
    smooth = torch.nn.functional.interpolate(images_of((4, channels, 4, 5)).float() * 255, (32, 40), mode="bilinear")
    for images in (images_of((4, channels, 32, 40), np.uint8), smooth.to(torch.uint8)):
        expected, result = of_torchvision(images, kind, level).int(), changed(images, kind, level).int()
        differs = (result - expected).abs()
        if kind == "solarize":  # a pixel as bright as the threshold: torchvision's has an error of rounding
            differs[images == 255 - 8.5 * abs(level)] = 0
        if kind == "rotate":  # two pixels as near
            assert (differs > 0).float().mean() < 0.01
        else:
            assert differs.max() <= LARGEST.get(kind, 0)


# What a kind means for other images.


@pytest.mark.reliability(38)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@for_every("sides", [(1, 1), (1, 9), (9, 1), (2, 2), (6, 7)])
@for_every("channels", [1, 2, 3, 4, 7])
@for_every("kind", KINDS)
def test_any_image_keeps_shape_dtype_and_range_and_is_not_written_to(kind, channels, sides, dtype):
    images = images_of((3, channels, *sides), np.uint8).to(dtype)
    before = images.clone()
    for level in (-30, 0, 13, 30):
        result = changed(images, kind, level, fill_mode="replicate")
        assert (result.dtype, result.shape) == (dtype, images.shape)
        low, high = (0, 255) if dtype == torch.uint8 else (images.min(), images.max())
        assert result.min() >= low and result.max() <= high
        result.zero_()
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_saturation_is_the_identity_without_colours(channels):
    images = images_of((3, channels, 6, 7), np.uint8)
    assert torch.equal(changed(images, "color", 30), images)


def test_a_fourth_channel_has_no_saturation():
    images = images_of((3, 4, 6, 7), np.uint8)
    result = changed(images, "color", -30)
    assert torch.equal(result[:, 3], images[:, 3])
    assert not torch.equal(result[:, :3], images[:, :3])


@for_every("dtype", [torch.float32, torch.float64])
@for_every("scale", [(1 / 255, 0.0), (1.0, 0.0), (2 / 255, -1.0), (256.0, 0.0), (1e-6, 1e-3)])
@for_every("channels", [1, 2, 3])
@for_every("kind", COLOURS)
def test_floats_are_changed_as_bytes_between_the_extreme_values_of_each_image(kind, channels, scale, dtype):
    factor, offset = scale
    as_bytes = images_of((3, channels, 8, 9), np.uint8)
    as_bytes[:, 0, 0, 0], as_bytes[:, 0, 0, 1] = 0, 255  # black and white are in every image
    floats = as_bytes.to(dtype) * factor + offset
    for level in (-30, -11, 2, 30):
        expected = changed(as_bytes, kind, level).double()
        result = (changed(floats, kind, level).double() - offset) / factor
        # Bytes are rounded, and float32 holds an offset of a thousand times the range only so well.
        np.testing.assert_allclose(result, expected, atol=0.51 if scale[0] > 1e-5 or dtype == torch.float64 else 0.6)


@pytest.mark.parametrize("kind", COLOURS)
def test_a_float_image_of_one_value_stays_as_it_is(kind):
    images = torch.full((2, 3, 5, 5), 0.3)
    assert torch.equal(changed(images, kind, 30), images)


def test_small_images_are_shifted_by_their_own_side_at_most():
    images = torch.arange(1, 9, dtype=torch.uint8).expand(1, 1, 8, 8).contiguous()
    assert changed(images, "translate_x", 15)[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 3, 4]
    assert changed(images, "translate_x", -30).sum() == 0
    large = images_of((1, 1, 90, 100), np.uint8)
    assert torch.equal(changed(large, "translate_x", 30)[..., 32:], large[..., :-32])
    assert torch.equal(changed(large, "translate_y", -30)[..., :-32, :], large[..., 32:, :])


@pytest.mark.parametrize("kind", GEOMETRY)
def test_what_comes_from_outside_is_filled_as_by_other_moves(kind):
    images = images_of((2, 3, 12, 12), np.uint8).clamp(1, 200)
    assert (changed(images, kind, 24, fill_value=210.0) == 210).any()
    assert not (changed(images, kind, 24, fill_mode="reflect") == 0).any()
    assert not torch.equal(changed(images, kind, 23, interpolation="bilinear"), changed(images, kind, 23)) or (
        kind.startswith("translate")  # by whole pixels
    )
