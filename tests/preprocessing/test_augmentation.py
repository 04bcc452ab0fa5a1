"""What is drawn for a batch, and what the draws do to pixels. The references are SciPy, NumPy and torchvision."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from sklearn_cnn.preprocessing._augmentation import (
    ERASED_AREA,
    ERASED_RATIO,
    Augmentation,
    Draws,
    affine_matrix,
    apply,
    draw,
)
from sklearn_cnn.preprocessing._pixels import sampling_grid
from sklearn_cnn.preprocessing._policy import LUMA
from sklearn_cnn.preprocessing._steps import read_pair
from tests.cases import for_every

OFF = Augmentation(
    rotation=0.0,
    shift=(0.0, 0.0),
    zoom=(1.0, 1.0),
    shear=0.0,
    crop=0,
    resized_crop=None,
    horizontal_flip=0.0,
    vertical_flip=0.0,
    policy=None,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    erasing=0.0,
    noise=0.0,
    cutout=0,
    fill_mode="constant",
    fill_value=0.0,
    interpolation="bilinear",
    seed=0,
    seed_of_fit=True,
)
EVERYTHING = replace(
    OFF,
    rotation=20.0,
    shift=(0.1, 0.2),
    zoom=(0.8, 1.3),
    shear=10.0,
    crop=2,
    resized_crop=(0.3, 1.0),
    horizontal_flip=0.5,
    vertical_flip=0.5,
    brightness=0.2,
    contrast=0.3,
    saturation=0.4,
    erasing=0.5,
    noise=3.0,
    policy="trivial",
    cutout=3,
)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(shape, dtype=np.float64, seed=0):
    values = np.random.default_rng(seed).uniform(0, 1, shape)
    return torch.from_numpy((values * 255).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype))


# Geometry.

SCIPY_MODES = {"constant": "grid-constant", "replicate": "nearest", "reflect": "reflect"}
SIDES = [(8, 8), (9, 9), (6, 11), (11, 6), (7, 4), (1, 9)]


def reference(image, mode, value, rotation=0.0, shear=0.0, zoom=1.0, shift=(0.0, 0.0), flip=(1.0, 1.0)):
    """One channel, by SciPy: rows go down, columns to the right, and the matrix takes ``(row, column)``."""
    angle, slope = np.deg2rad(rotation), np.tan(np.deg2rad(shear))
    counter_clockwise = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    leaning = np.array([[1, 0], [slope, 1]])
    there = counter_clockwise @ leaning @ np.diag([zoom, zoom]) @ np.diag(flip)
    back = np.linalg.inv(there)
    centre = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(
        image, back, centre - back @ (centre + shift), order=1, mode=SCIPY_MODES[mode], cval=value
    )


MOVES = {
    "rotation": {"rotation": [30.0, -75.0, 180.0, 0.0]},
    "shear": {"shear": [10.0, -35.0, 60.0, 0.0]},
    "zoom": {"zoom": [0.5, 1.7, 1.0, 3.0]},
    "shift": {"shift": [(1.0, 0.0), (0.0, 2.0), (-1.3, 0.4), (0.25, -2.7)]},
    "flip h": {"flip": [(1.0, -1.0), (1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]},
    "flip v": {"flip": [(-1.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]},
    "rotation and shift": {"rotation": [40.0, -20.0, 90.0, 5.0], "shift": [(1.0, 0.0), (0.5, 2.0), (-1, 1), (0, -2)]},
    "all": {
        "rotation": [25.0, -110.0, 3.0, 170.0],
        "shear": [15.0, -20.0, 5.0, 0.0],
        "zoom": [0.8, 1.4, 1.1, 0.6],
        "shift": [(0.7, -1.1), (-2.0, 0.3), (1.9, 2.1), (0.0, 0.5)],
        "flip": [(1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, 1.0)],
    },
}


def draws_of(move, dtype=torch.float64):
    return Draws(**{name: torch.tensor(values, dtype=dtype) for name, values in MOVES[move].items()})


@for_every("fill_mode", SCIPY_MODES)
@for_every("channels", [1, 3])
@for_every("sides", SIDES)
@for_every("move", MOVES)
def test_moves_are_those_of_scipy(move, sides, channels, fill_mode):
    images = images_of((4, channels, *sides))
    moved = apply(images, draws_of(move), fill_mode=fill_mode, fill_value=0.3).numpy()
    settings = [
        {name: values[i] for name, values in MOVES[move].items()} | {"mode": fill_mode, "value": 0.3} for i in range(4)
    ]
    expected = [[reference(channel.numpy(), **settings[i]) for channel in images[i]] for i in range(4)]
    # The ratios of the sides are kept in float32.
    tolerance = 1e-12 if sides == (8, 8) else 2e-5
    np.testing.assert_allclose(moved, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("move", ["rotation", "all"])
def test_draws_in_float32_move_pixels_as_well(move, sides, dtype):
    images = images_of((4, 3, *sides)).to(dtype)
    single = apply(images, draws_of(move, torch.float32))
    assert single.dtype == dtype
    np.testing.assert_allclose(single.numpy(), apply(images.double(), draws_of(move)).numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("move", MOVES)
def test_an_image_is_moved_alone_as_among_others(move):
    images, draws = images_of((4, 2, 7, 5)), draws_of(move)
    together = apply(images, draws)
    for i in range(4):
        alone = {name: getattr(draws, name)[i : i + 1] for name in MOVES[move]}
        np.testing.assert_allclose(apply(images[i : i + 1], Draws(**alone)), together[i : i + 1], rtol=0, atol=1e-12)


def spot(row, column, sides=(7, 7)):
    image = torch.zeros(1, 1, *sides, dtype=torch.float64)
    image[0, 0, row, column] = 1
    return image


def place(image):
    return divmod(int(image.argmax()), image.shape[-1])


@pytest.mark.parametrize(
    ("draws", "start", "end"),
    [
        ({"rotation": [90.0]}, (3, 6), (0, 3)),  # from the right to the top: counter-clockwise
        ({"rotation": [-90.0]}, (3, 6), (6, 3)),
        ({"shear": [45.0]}, (1, 3), (1, 1)),  # above the centre to the left
        ({"shear": [45.0]}, (5, 3), (5, 5)),  # below to the right
        ({"zoom": [2.0]}, (3, 4), (3, 5)),  # away from the centre
        ({"zoom": [0.5]}, (1, 3), (2, 3)),
        ({"shift": [(2.0, 0.0)]}, (1, 1), (3, 1)),  # down
        ({"shift": [(0.0, 2.0)]}, (1, 1), (1, 3)),  # to the right
        ({"flip": [(-1.0, 1.0)]}, (1, 2), (5, 2)),  # top to bottom
        ({"flip": [(1.0, -1.0)]}, (1, 2), (1, 4)),  # left to right
        ({"flip": [(1.0, -1.0)], "shift": [(0.0, 1.0)]}, (1, 2), (1, 5)),  # first the flip
        ({"rotation": [90.0], "shift": [(0.0, 1.0)]}, (3, 5), (1, 4)),  # first the rotation
        ({"rotation": [90.0], "flip": [(1.0, -1.0)]}, (3, 5), (5, 3)),
        ({"zoom": [2.0], "shift": [(1.0, 0.0)]}, (3, 4), (4, 5)),  # the shift is in pixels of the result
        ({"shear": [45.0], "rotation": [90.0]}, (2, 3), (4, 2)),  # first the shear
    ],
    ids=str,
)
def test_a_spot_moves_as_the_docstring_of_the_draws_says(draws, start, end):
    moved = apply(spot(*start), Draws(**{name: torch.tensor(value).double() for name, value in draws.items()}))
    assert place(moved) == end
    assert moved.max() > 0.4


@pytest.mark.parametrize("sides", [(8, 8), (9, 12), (15, 10)], ids=str)
@pytest.mark.parametrize(
    "move", [{"rotation": 25.0}, {"rotation": -80.0}, {"shear": 20.0}, {"zoom": 1.3}, {"zoom": 0.8}, {"shift": (2, -3)}]
)
def test_moves_are_those_of_torchvision(move, sides):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = images_of((1, 3, *sides))
    moved = apply(images, Draws(**{name: torch.tensor([value]).double() for name, value in move.items()}))
    down, right = move.get("shift", (0, 0))
    bilinear = pytest.importorskip("torchvision.transforms").InterpolationMode.BILINEAR
    expected = functional.affine(
        images,
        angle=-move.get("rotation", 0.0),  # torchvision's goes clockwise here, and counter-clockwise in rotate
        translate=[right, down],
        scale=move.get("zoom", 1.0),
        shear=[-move.get("shear", 0.0), 0.0],
        interpolation=bilinear,
    )
    if "rotation" in move:
        rotated = functional.rotate(images, move["rotation"], interpolation=bilinear)
        torch.testing.assert_close(expected, rotated, rtol=0, atol=1e-4)
    inside = apply(torch.ones_like(images), Draws(**{n: torch.tensor([v]).double() for n, v in move.items()})) > 0.999
    assert inside.float().mean() > 0.3
    torch.testing.assert_close(moved[inside], expected[inside], rtol=0, atol=1e-4)


@pytest.mark.parametrize("sides", [*SIDES, (64, 48)], ids=str)
def test_the_grid_is_that_of_torch(sides):
    matrix = torch.randn(5, 2, 3, generator=stream(), dtype=torch.float64)
    expected = F.affine_grid(matrix, [5, 1, *sides], align_corners=False)
    torch.testing.assert_close(sampling_grid(matrix, *sides), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(sampling_grid(matrix.float(), *sides), expected.float(), rtol=1e-5, atol=1e-5)


def test_where_nothing_moves_there_is_no_matrix():
    assert affine_matrix(Draws(brightness=torch.ones(3)), 4, 5) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("sides", [*SIDES, (28, 28), (97, 131)], ids=str)
def test_flips_copy_pixels(sides, dtype):
    check_flips(sides, dtype, 0.0)


@pytest.mark.parametrize(
    ("dtype", "fill_value"),
    [(np.uint8, 7.0), (np.float32, 0.3), (np.float64, 0.3), (np.float32, 1e6), (np.float64, -1e6)],
)
def test_flips_copy_pixels_also_beside_a_fill_value(dtype, fill_value):
    check_flips((8, 11), dtype, fill_value)


def check_flips(sides, dtype, fill_value):
    images = images_of((4, 3, *sides), dtype)
    flip = torch.tensor([(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
    settings = replace(OFF, horizontal_flip=1.0, vertical_flip=1.0, fill_value=fill_value)
    flipped = apply(images, Draws(flip=flip), interpolation="nearest", fill_value=fill_value)
    expected = torch.stack([images[0], images[1].flip(1), images[2].flip(2), images[3].flip(1, 2)])
    assert torch.equal(flipped, expected)
    assert torch.equal(settings(images, stream()), images.flip(2, 3))


NUMPY_MODES = {"constant": "constant", "replicate": "edge", "reflect": "symmetric"}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("sides", [(8, 8), (7, 10), (33, 20)], ids=str)
@pytest.mark.parametrize("fill_mode", NUMPY_MODES)
def test_a_crop_is_a_piece_of_the_padded_image(fill_mode, sides, dtype):
    check_crop(fill_mode, 0 if fill_mode == "constant" else 1e6, sides, dtype)


@pytest.mark.parametrize(
    ("dtype", "fill_value"),
    [(np.uint8, 7.0), (np.float32, 0.3), (np.float64, 0.3), (np.float32, 1e6), (np.float64, -1e6)],
)
def test_a_crop_copies_pixels_also_beside_a_fill_value(dtype, fill_value):
    check_crop("constant", fill_value, (8, 11), dtype)


def check_crop(fill_mode, fill_value, sides, dtype):
    images = images_of((20, 3, *sides), dtype)
    settings = replace(OFF, crop=4, fill_mode=fill_mode, fill_value=float(fill_value))
    cropped = settings(images, stream()).numpy()
    shift = draw(settings, tuple(images.shape), stream()).shift.int().tolist()
    assert len({tuple(moved) for moved in shift}) > 10
    constant = {"constant_values": fill_value} if fill_mode == "constant" else {}
    for image, result, (down, right) in zip(images.numpy(), cropped, shift, strict=True):
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), NUMPY_MODES[fill_mode], **constant)
        piece = padded[:, 4 - down : 4 - down + sides[0], 4 - right : 4 - right + sides[1]]
        np.testing.assert_array_equal(result, piece)


def test_crop_and_shift_add_up():
    settings = replace(OFF, crop=2, shift=(0.1, 0.0))
    shift = draw(settings, (500, 1, 20, 10), stream()).shift
    assert shift[:, 0].min() < -3
    assert shift[:, 0].max() > 3
    assert set(shift[:, 1].tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}


def test_nearest_interpolation_makes_no_new_values():
    images = images_of((4, 1, 9, 9))
    moved = apply(images, draws_of("all"), interpolation="nearest", fill_mode="replicate")
    assert set(moved.unique().tolist()) <= set(images.unique().tolist())
    assert not torch.equal(moved, images)
    blended = apply(images, draws_of("all"), interpolation="bilinear", fill_mode="replicate")
    assert len(set(blended.unique().tolist()) - set(images.unique().tolist())) > 100


@pytest.mark.parametrize(
    "moves", [{"rotation": 30.0}, {"shear": 20.0}, {"zoom": (0.7, 1.4)}, {"shift": (0.3, 0.0)}, {"shift": (0.0, 0.3)}]
)
def test_what_does_not_fall_on_pixels_is_interpolated(moves):
    images = images_of((8, 1, 9, 9))
    settings = replace(OFF, fill_mode="replicate", crop=1, **moves)
    assert len(np.setdiff1d(settings(images, stream()).numpy(), images.numpy())) > 50
    nearest = replace(settings, interpolation="nearest")(images, stream())
    assert len(np.setdiff1d(nearest.numpy(), images.numpy())) == 0


@pytest.mark.parametrize("fill_value", [0.0, 0.4, 200.0])
def test_what_comes_from_outside_is_the_fill_value(fill_value):
    images = images_of((1, 2, 6, 6)).float()
    moved = apply(images, Draws(shift=torch.tensor([(10.0, 0.0)])), fill_value=fill_value)
    np.testing.assert_allclose(moved, fill_value, rtol=1e-6)


# Colours.

FACTORS = torch.tensor([0.0, 0.5, 1.0, 1.7])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_brightness_multiplies_the_pixels(channels):
    images = images_of((4, channels, 5, 6))
    result = apply(images, Draws(brightness=FACTORS))
    np.testing.assert_allclose(result, images.numpy() * FACTORS.numpy()[:, None, None, None], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_contrast_multiplies_distances_from_the_mean_of_each_image(channels):
    images = images_of((4, channels, 5, 6)) + torch.arange(4)[:, None, None, None]
    result = apply(images, Draws(contrast=FACTORS))
    mean = images.numpy().mean(axis=(1, 2, 3), keepdims=True)
    expected = mean + (images.numpy() - mean) * FACTORS.numpy()[:, None, None, None]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("channels", [3, 4])
def test_saturation_multiplies_distances_from_grey_and_leaves_alpha(channels):
    images = images_of((4, channels, 5, 6))
    result = apply(images, Draws(saturation=FACTORS)).numpy()
    colours = images.numpy()[:, :3]
    grey = 0.299 * colours[:, :1] + 0.587 * colours[:, 1:2] + 0.114 * colours[:, 2:]
    expected = grey + (colours - grey) * FACTORS.numpy()[:, None, None, None]
    np.testing.assert_allclose(result[:, :3], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(result[:, 3:], images.numpy()[:, 3:])


def test_a_grey_image_has_the_weights_of_the_recommendation():
    assert LUMA == (0.299, 0.587, 0.114)
    assert sum(LUMA) == pytest.approx(1)


def test_noise_is_added():
    images, noise = images_of((4, 3, 5, 6)), torch.randn(4, 3, 5, 6, generator=stream())
    torch.testing.assert_close(apply(images, Draws(noise=noise)), images + noise.double())


def test_erased_rectangles_have_the_fill_value_and_the_rest_stays():
    images = images_of((3, 2, 6, 8))
    erased = torch.tensor([(1.0, 2.0, 4.0, 3.0), (0.0, 0.0, 6.0, 8.0), (5.0, 5.0, 5.0, 5.0)])
    expected = images.clone()
    expected[0, :, 1:4, 2:3] = 0.7
    expected[1] = 0.7
    assert torch.equal(apply(images, Draws(erased=erased), fill_value=0.7, fill_mode="reflect"), expected)


def test_the_order_is_moves_brightness_contrast_saturation_noise_erasing():
    images = images_of((4, 3, 6, 6))
    draws = Draws(
        rotation=torch.tensor([10.0, 20.0, 30.0, 40.0]),
        brightness=FACTORS,
        contrast=FACTORS.flip(0),
        saturation=FACTORS + 0.1,
        noise=torch.randn(4, 3, 6, 6, generator=stream()),
        erased=torch.tensor([(1.0, 2.0, 4.0, 3.0)] * 4),
    )
    expected = images
    for field in ("rotation", "brightness", "contrast", "saturation", "noise", "erased"):
        expected = apply(expected, Draws(**{field: getattr(draws, field)}), fill_value=0.2)
    torch.testing.assert_close(apply(images, draws, fill_value=0.2), expected)


# Dtypes.


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [3, 4])
def test_images_keep_shape_and_dtype_and_are_not_written_to(dtype, channels):
    images = images_of((10, channels, 7, 9), np.uint8).to(dtype)
    before = images.clone()
    result = EVERYTHING(images, stream())
    assert (result.dtype, result.shape) == (dtype, images.shape)
    assert EVERYTHING.dtype(np.dtype("float64")) == np.float64
    assert torch.equal(images, before)
    assert not torch.equal(result, before)


@pytest.mark.parametrize("name", [field.name for field in fields(Draws)])
def test_no_single_change_writes_to_the_images(name):
    draws = draw(EVERYTHING, (10, 3, 7, 9), stream())
    for dtype in (np.uint8, np.float32, np.float64):
        images = images_of((10, 3, 7, 9), dtype)
        before = images.clone()
        result = apply(images, Draws(**{name: getattr(draws, name)}), fill_value=3.0)
        result.zero_()
        assert torch.equal(images, before)


def test_uint8_is_rounded():
    images = torch.tensor([10, 11, 12, 13], dtype=torch.uint8).reshape(1, 1, 2, 2)
    result = apply(images, Draws(brightness=torch.tensor([1.07])))
    assert result.flatten().tolist() == [11, 12, 13, 14]  # 10.7, 11.77, 12.84, 13.91


def test_uint8_is_kept_between_0_and_255():
    images = torch.tensor([0, 100, 200, 255], dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert apply(images, Draws(brightness=torch.tensor([2.0]))).flatten().tolist() == [0, 200, 255, 255]
    darker = apply(images, Draws(noise=torch.full((1, 1, 2, 2), -150.0)))
    assert darker.flatten().tolist() == [0, 0, 50, 105]


def test_floats_are_not_clipped():
    images = torch.tensor([0.0, 1.0, 255.0]).reshape(1, 1, 1, 3)
    assert apply(images, Draws(brightness=torch.tensor([2.0]))).flatten().tolist() == [0, 2, 510]
    assert apply(images, Draws(noise=torch.full((1, 1, 1, 3), -2.0))).min() == -2


# Draws.

SHAPE = (2000, 3, 20, 10)


def drawn(**changes):
    return draw(replace(OFF, **changes), SHAPE, stream())


RANGES = {
    "rotation": ({"rotation": 25.0}, -25, 25),
    "shear": ({"shear": 12.0}, -12, 12),
    "zoom": ({"zoom": (0.7, 1.9)}, 0.7, 1.9),
    "brightness": ({"brightness": 0.3}, 0.7, 1.3),
    "contrast": ({"contrast": 0.2}, 0.8, 1.2),
    "saturation": ({"saturation": 0.9}, 0.1, 1.9),
}


@pytest.mark.parametrize("name", RANGES)
def test_each_image_has_a_draw_of_its_own_even_over_the_range(name):
    changes, low, high = RANGES[name]
    values = getattr(drawn(**changes), name).double().numpy()
    assert values.shape == (2000,)
    assert len(np.unique(values)) > 1900
    assert low - 1e-5 <= values.min() < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < values.max() <= high + 1e-5
    counts, _ = np.histogram(values, bins=10, range=(low, high))
    assert counts.min() > 140


def test_shifts_are_in_pixels_of_their_side():
    shift = drawn(shift=(0.1, 0.5)).shift
    assert shift.shape == (2000, 2)
    assert 1.95 < shift[:, 0].abs().max() <= 2  # a tenth of 20
    assert 4.9 < shift[:, 1].abs().max() <= 5  # half of 10
    assert abs(np.corrcoef(shift.T.numpy())[0, 1]) < 0.1
    one = drawn(shift=(0.0, 0.5)).shift
    assert one[:, 0].abs().max() == 0


def test_crops_are_whole_pixels_up_to_the_padding():
    shift = drawn(crop=3).shift
    for column in shift.T:
        values, counts = column.unique(return_counts=True)
        assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
        assert counts.min() > 220


@pytest.mark.parametrize("chance", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(("name", "axis"), [("vertical_flip", 0), ("horizontal_flip", 1)])
def test_flips_have_their_probability(name, axis, chance):
    flip = drawn(**{name: chance}).flip
    assert flip.shape == (2000, 2)
    assert set(flip.unique().tolist()) <= {-1.0, 1.0}
    assert (flip[:, axis] == -1).float().mean() == pytest.approx(chance, abs=0.03)
    assert (flip[:, 1 - axis] == 1).all()


def test_both_flips_are_drawn_apart():
    flip = drawn(vertical_flip=0.5, horizontal_flip=0.5).flip
    assert abs(np.corrcoef(flip.T.numpy())[0, 1]) < 0.1


def test_noise_has_its_standard_deviation_in_every_value():
    noise = drawn(noise=2.5).noise
    assert noise.shape == SHAPE
    assert noise.std().item() == pytest.approx(2.5, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert len(noise[:, 0, 0, 0].unique()) > 1900


@pytest.mark.parametrize("chance", [0.1, 0.5, 1.0])
def test_erasing_has_its_probability(chance):
    top, left, bottom, right = drawn(erasing=chance).erased.T
    erased = (bottom > top) & (right > left)
    assert erased.float().mean() == pytest.approx(chance, abs=0.03)
    assert ((bottom == top) == (right == left)).all()


@pytest.mark.parametrize("sides", [(200, 200), (200, 320), (1, 30), (3, 3), (1, 1)], ids=str)
def test_rectangles_lie_in_the_image_on_whole_pixels(sides):
    erased = draw(replace(OFF, erasing=1.0), (2000, 1, *sides), stream()).erased
    top, left, bottom, right = erased.T
    assert torch.equal(erased, erased.round())
    for start, stop, side in ((top, bottom, sides[0]), (left, right, sides[1])):
        assert start.min() == 0
        assert stop.max() == side
        assert (start < stop).all()


@pytest.mark.parametrize("sides", [(200, 200), (300, 200)], ids=str)
def test_rectangles_have_the_areas_and_ratios_of_the_paper(sides):
    top, left, bottom, right = draw(replace(OFF, erasing=1.0), (5000, 1, *sides), stream()).erased.T
    height, width = bottom - top, right - left
    share = height * width / (sides[0] * sides[1])
    assert ERASED_AREA == (0.02, 0.4)
    assert 0.02 * 0.95 < share.min() < 0.03
    assert 0.36 < share.max() < 0.4 * 1.02
    whole = (height < sides[0]) & (width < sides[1])
    assert whole.float().mean() > 0.8
    ratio = (height / width)[whole]
    assert pytest.approx((0.3, 1 / 0.3)) == ERASED_RATIO
    assert 0.28 < ratio.min() < 0.35
    assert 2.9 < ratio.max() < 3.6


@pytest.mark.parametrize(
    ("changes", "on"),
    [
        ({}, set()),
        ({"rotation": 1.0}, {"rotation"}),
        ({"shear": 1.0}, {"shear"}),
        ({"zoom": (1.0, 1.1)}, {"zoom"}),
        ({"zoom": (2.0, 2.0)}, {"zoom"}),
        ({"shift": (0.0, 0.1)}, {"shift"}),
        ({"shift": (0.1, 0.0)}, {"shift"}),
        ({"crop": 1}, {"shift"}),
        ({"horizontal_flip": 0.1}, {"flip"}),
        ({"vertical_flip": 0.1}, {"flip"}),
        ({"brightness": 0.1}, {"brightness"}),
        ({"contrast": 0.1}, {"contrast"}),
        ({"saturation": 0.1}, {"saturation"}),
        ({"noise": 0.1}, {"noise"}),
        ({"erasing": 0.1}, {"erased"}),
        ({"policy": "trivial"}, {"policy"}),
        ({"cutout": 1}, {"cut"}),
    ],
    ids=str,
)
def test_what_is_off_is_not_drawn(changes, on):
    draws = drawn(**changes)
    assert {field.name for field in fields(Draws) if getattr(draws, field.name) is not None} == on
    assert replace(OFF, **changes).does_nothing == (not on)


def test_a_generator_repeats_its_draws_and_goes_on_to_others():
    one, other = stream(5), stream(5)
    first, second = (draw(EVERYTHING, (6, 3, 9, 9), one) for _ in range(2))
    again = draw(EVERYTHING, (6, 3, 9, 9), other)
    for field in fields(Draws):
        value = getattr(first, field.name)
        assert torch.equal(value, getattr(again, field.name))
        assert not torch.equal(value, getattr(second, field.name))


def test_drawing_and_applying_leave_torchs_own_generator_alone():
    before = torch.get_rng_state()
    EVERYTHING(images_of((6, 3, 9, 9)), stream())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_draws_and_applies():
    images = images_of((6, 3, 9, 9))
    settings = replace(EVERYTHING, fill_mode="reflect", fill_value=0.5, interpolation="nearest")
    expected = apply(
        images,
        draw(settings, (6, 3, 9, 9), stream()),
        fill_mode="reflect",
        fill_value=0.5,
        interpolation="nearest",
    )
    assert torch.equal(settings(images, stream()), expected)


@pytest.mark.parametrize("value", [(0.1,), (0.1, 0.2, 0.3), (), ("a", "b"), (0.1, None), (np.nan, 0.1), (0.1, 2), 7])
def test_a_pair_that_is_none_is_named(value):
    with pytest.raises(ValueError, match=r"^shift is a number or a pair of fractions; got"):
        read_pair(value, "shift", 0, 1, "of fractions")


@pytest.mark.parametrize("value", [(0, 1), [0, 1], np.array([0.0, 1.0]), (np.float32(0), np.int64(1))])
def test_a_pair_of_any_kind_is_read_as_floats(value):
    pair = read_pair(value, "shift", 0, 1, "of fractions")
    assert pair == (0.0, 1.0)
    assert {type(number) for number in pair} == {float}
