"""How X is read: every form in which images come, and every form that is refused."""

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.base import BaseEstimator

from sklearn_cnn import CNNClassifier, ImageReader
from sklearn_cnn.images._containers import as_array
from sklearn_cnn.images._reading import read_again, read_images, remember, remembered
from sklearn_cnn.images._shape import ImageShape, infer_image_shape, parse_image_shape
from tests.cases import for_every


class Reader(BaseEstimator):
    """An estimator that does nothing but read images."""

    def fit(self, X, image_shape=None, channels="auto"):
        source = read_images(X, image_shape=image_shape, channels=channels, name="Reader")
        remember(self, X, source)
        self.images_ = source.base
        return self

    def read(self, X):
        return read_again(self, X).base


def read(X, **settings):
    """Images and shape of X at fit."""
    reader = Reader().fit(X, **settings)
    return reader.images_, reader.image_shape_


def pixels(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


# Which shape means what.


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 28, 20), ImageShape(28, 20, 1, "hw")),
        ((5, 1, 1), ImageShape(1, 1, 1, "hw")),
        ((5, 3, 3), ImageShape(3, 3, 1, "hw")),
        ((5, 28, 20, 1), ImageShape(28, 20, 1, "hwc")),
        ((5, 28, 20, 3), ImageShape(28, 20, 3, "hwc")),
        ((5, 28, 20, 4), ImageShape(28, 20, 4, "hwc")),
        ((5, 2, 2, 3), ImageShape(2, 2, 3, "hwc")),
        ((5, 1, 28, 20), ImageShape(28, 20, 1, "chw")),
        ((5, 3, 28, 20), ImageShape(28, 20, 3, "chw")),
        ((5, 4, 28, 20), ImageShape(28, 20, 4, "chw")),
        ((5, 3, 2, 2), ImageShape(2, 2, 3, "chw")),
        ((5, 3, 4, 20), ImageShape(4, 20, 3, "chw")),  # the middle axis says nothing
        ((5, 28, 3, 4), ImageShape(28, 3, 4, "hwc")),
    ],
)
def test_layouts_are_told_apart_by_rank_and_by_which_end_is_1_3_or_4(shape, expected):
    assert infer_image_shape(shape) == expected
    assert read(pixels(*shape))[1] == expected


AMBIGUOUS = [
    *((5, first, 8, last) for first in (1, 3, 4) for last in (1, 3, 4)),
    *((5, 8, 8, last) for last in (2, 5, 12)),
    *((5, first, 8, 8) for first in (2, 5, 12)),
    (5, 28, 20, 28),
]


@pytest.mark.parametrize("shape", AMBIGUOUS, ids=str)
def test_a_shape_that_fits_both_layouts_or_neither_raises_naming_the_ways_out(shape):
    fits = "both" if {shape[1], shape[3]} <= {1, 3, 4} else "neither"
    with pytest.raises(ValueError) as raised:
        read(pixels(*shape))
    message = str(raised.value)
    assert str(shape) in message
    assert f"{fits} its first" in message
    assert 'channels="first"' in message and 'channels="last"' in message


@pytest.mark.parametrize("shape", [*AMBIGUOUS, (5, 28, 20, 3), (5, 3, 28, 20)], ids=str)
def test_channels_first_and_last_decide_for_any_number_of_bands(shape):
    _, first, middle, last = shape
    assert read(pixels(*shape), channels="first")[1] == ImageShape(middle, last, first, "chw")
    assert read(pixels(*shape), channels="last")[1] == ImageShape(first, middle, last, "hwc")


@pytest.mark.parametrize(
    ("image_shape", "channels", "expected"),
    [
        ((28, 20), "auto", ImageShape(28, 20, 1, "hw", flat=True)),
        ([28, 20], "auto", ImageShape(28, 20, 1, "hw", flat=True)),
        ((np.int64(28), np.int32(20)), "auto", ImageShape(28, 20, 1, "hw", flat=True)),
        ((28, 20), "first", ImageShape(28, 20, 1, "hw", flat=True)),
        ((28, 20, 1), "auto", ImageShape(28, 20, 1, "hwc", flat=True)),
        ((28, 20, 3), "auto", ImageShape(28, 20, 3, "hwc", flat=True)),
        ((3, 28, 20), "auto", ImageShape(28, 20, 3, "chw", flat=True)),
        ((4, 28, 20), "auto", ImageShape(28, 20, 4, "chw", flat=True)),
        ((12, 28, 20), "first", ImageShape(28, 20, 12, "chw", flat=True)),
        ((28, 20, 12), "last", ImageShape(28, 20, 12, "hwc", flat=True)),
        ((3, 5, 3), "first", ImageShape(5, 3, 3, "chw", flat=True)),
        ((3, 5, 3), "last", ImageShape(3, 5, 3, "hwc", flat=True)),
        ((1, 7), "auto", ImageShape(1, 7, 1, "hw", flat=True)),
    ],
)
def test_rows_are_images_of_image_shape(image_shape, channels, expected):
    rows = pixels(5, int(np.prod(image_shape)))
    images, shape = read(rows, image_shape=image_shape, channels=channels)
    assert shape == expected
    assert images.shape == rows.shape
    assert type(shape.height) is type(shape.width) is type(shape.channels) is int
    unflat = parse_image_shape(image_shape, channels)
    assert (unflat.channels_first, unflat.axes, unflat.flat) == (expected.channels_first, expected.axes, False)


@pytest.mark.parametrize("image_shape", [(3, 8, 3), (1, 8, 4), (8, 8, 8), (2, 8, 8), (8, 8, 12)])
def test_an_ambiguous_image_shape_raises_naming_the_ways_out(image_shape):
    with pytest.raises(ValueError) as raised:
        parse_image_shape(image_shape)
    message = str(raised.value)
    assert message.startswith(f"image_shape={image_shape} does not tell where the channels are")
    assert 'channels="first"' in message and 'channels="last"' in message


@pytest.mark.parametrize(
    "image_shape", [(), (8,), (1, 2, 3, 4), (0, 8), (8, -1), (8.0, 8), ("8", 8), (None, 8), (8, 0, 3)]
)
def test_an_image_shape_of_another_form_raises_with_the_forms_there_are(image_shape):
    with pytest.raises(ValueError, match=r"image_shape is \(h, w\), \(h, w, c\) or \(c, h, w\)") as raised:
        parse_image_shape(image_shape)
    assert repr(image_shape) in str(raised.value)


@for_every("width", range(1, 65))
def test_a_width_that_does_not_fit_image_shape_raises_with_the_product(width):
    for image_shape, product in (((5, 13), "5×13 = 65"), ((2, 11, 3), "2×11×3 = 66"), ((1, 8, 9), "1×8×9 = 72")):
        with pytest.raises(ValueError) as raised:
            read(pixels(4, width), image_shape=image_shape)
        message = str(raised.value)
        assert f"image_shape={image_shape}" in message and product in message
        assert str((4, width)) in message


@for_every("width", range(1, 101))
def test_rows_without_image_shape_are_squares_or_below_64_columns_one_row_of_pixels(width):
    side = round(width**0.5)
    rows = pixels(4, width)
    if side * side == width:
        assert read(rows)[1] == ImageShape(side, side, 1, "hw", flat=True)
    elif width < 64:
        assert read(rows)[1] == ImageShape(1, width, 1, "hw", flat=True)
    else:
        with pytest.raises(ValueError, match=re.escape(f"image_shape=(1, {width})")) as raised:
            read(rows)
        assert "image_shape=(h, w)" in str(raised.value)
        assert str((4, width)) in str(raised.value)
        read(rows, image_shape=(1, width))  # the way out


@pytest.mark.parametrize("width", [784, 28 * 28 * 100])
def test_wide_squares_are_squares_too(width):
    side = round(width**0.5)
    assert infer_image_shape((2, width)) == ImageShape(side, side, 1, "hw", flat=True)


@pytest.mark.parametrize("side", [5, 6, 8, 28, 32, 224])
def test_rows_of_three_squares_are_offered_both_colour_shapes_and_each_is_read(side):
    shape = (2, 3 * side * side)
    with pytest.raises(ValueError) as raised:
        infer_image_shape(shape)
    offered = re.findall(r"\((\d+), (\d+), (\d+)\)", str(raised.value).split("Say what an image is")[1])
    assert [tuple(map(int, numbers)) for numbers in offered] == [(side, side, 3), (3, side, side)]
    assert infer_image_shape(shape, (side, side, 3)) == ImageShape(side, side, 3, "hwc", flat=True)
    assert infer_image_shape(shape, (3, side, side)) == ImageShape(side, side, 3, "chw", flat=True)


@pytest.mark.parametrize("width", [65, 97, 1000])
def test_other_rows_are_offered_no_colour_shape(width):
    with pytest.raises(ValueError) as raised:
        infer_image_shape((2, width))
    assert ", 3)" not in str(raised.value) and "(3, " not in str(raised.value)


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((5, 28, 20), (28, 20)),
        ((5, 28, 20), (28, 20, 1)),
        ((5, 28, 20, 3), (28, 20, 3)),
        ((5, 28, 20, 3), (3, 28, 20)),
        ((5, 3, 28, 20), (3, 28, 20)),
    ],
)
def test_an_image_shape_that_agrees_with_x_changes_nothing(shape, image_shape):
    assert infer_image_shape(shape, image_shape) == infer_image_shape(shape)


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((5, 28, 20), (20, 28)), ((5, 28, 20), (28, 20, 3)), ((5, 28, 20, 3), (28, 20)), ((5, 3, 28, 20), (3, 20, 28))],
)
def test_an_image_shape_that_contradicts_x_raises_with_both(shape, image_shape):
    with pytest.raises(ValueError) as raised:
        infer_image_shape(shape, image_shape)
    assert str(shape) in str(raised.value) and str(image_shape) in str(raised.value)


@pytest.mark.parametrize("shape", [(2, 2, 2, 2, 3), (1,) * 6])
def test_more_than_four_axes_raise_with_the_shape(shape):
    with pytest.raises(ValueError, match="2 to 4 dimensions") as raised:
        read(pixels(*shape))
    assert str(shape) in str(raised.value)


def test_a_single_axis_raises_with_the_ways_out():
    with pytest.raises(ValueError, match=r"1D array of shape \(7,\).*X.reshape\(1, -1\)"):
        read(pixels(7))


# The same pixels in other containers.


class Picture(torch.Tensor):
    """As ``torchvision.tv_tensors.Image``: a tensor whose class is defined elsewhere."""


class Photograph(Image.Image):
    """As of a plugin of Pillow: an image whose class is defined elsewhere."""

    def __init__(self, image):
        super().__init__()
        self.im, self._mode, self._size, self.palette = image.im, image.mode, image.size, image.palette


PLAIN = pixels(6, 5, 4)
COLOUR = pixels(6, 5, 4, 3)


def memmap(tmp_path, X, mode="r+"):
    np.save(tmp_path / "images.npy", X)
    return np.load(tmp_path / "images.npy", mmap_mode=mode)


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def strided(X):
    wide = np.zeros((2 * len(X), *X.shape[1:-1], 3 * X.shape[-1]), X.dtype)
    view = wide[::2, ..., ::3]
    view[:] = X
    return view


CONTAINERS = {
    "array": lambda X, _: X.copy(),
    "list of arrays": lambda X, _: list(X),
    "tuple of arrays": lambda X, _: tuple(X),
    "nested lists": lambda X, _: X.tolist(),
    "nested tuples": lambda X, _: tuple(map(tuple, X.tolist())),
    "lists of arrays": lambda X, _: [list(image) for image in X],
    "object array of arrays": lambda X, _: np.fromiter(X, dtype=object, count=len(X)),
    "object array of numbers": lambda X, _: X.astype(object),
    "Series of arrays": lambda X, _: pd.Series(list(X)),
    "tensor": lambda X, _: torch.from_numpy(X.copy()),
    "list of tensors": lambda X, _: [torch.from_numpy(image) for image in X.copy()],
    "Series of tensors": lambda X, _: pd.Series([torch.from_numpy(image) for image in X.copy()]),
    "tensor with gradient": lambda X, _: torch.from_numpy(X.astype(np.float32)).requires_grad_(),
    "tensor in the graph": lambda X, _: torch.from_numpy(X.astype(np.float32)).requires_grad_() * 1,
    "parameter": lambda X, _: torch.nn.Parameter(torch.from_numpy(X.astype(np.float64))),
    "bfloat16 tensor": lambda X, _: torch.from_numpy(X.copy()).bfloat16(),
    "list of bfloat16 tensors": lambda X, _: [torch.from_numpy(image).bfloat16() for image in X.copy()],
    "float16 tensor": lambda X, _: torch.from_numpy(X.copy()).half(),
    "strided tensor": lambda X, _: torch.from_numpy(X.swapaxes(0, 1).copy()).transpose(0, 1),
    "tensor of a subclass": lambda X, _: torch.from_numpy(X.copy()).as_subclass(Picture),
    "bfloat16 tensor of a subclass": lambda X, _: torch.from_numpy(X.copy()).bfloat16().as_subclass(Picture),
    "list of tensors of a subclass": lambda X, _: [torch.from_numpy(image).as_subclass(Picture) for image in X.copy()],
    "Series of polars": lambda X, _: pl.Series(X.tolist()),
    "Series of polars with objects": lambda X, _: pl.Series(list(X), dtype=pl.Object),
    "memmap": lambda X, tmp_path: memmap(tmp_path, X),
    "read-only memmap": lambda X, tmp_path: memmap(tmp_path, X, "r"),
    "read-only": lambda X, _: read_only(X),
    "F-order": lambda X, _: np.asfortranarray(X),
    "strided": lambda X, _: strided(X),
    "negative strides": lambda X, _: X[::-1, ::-1].copy()[::-1, ::-1],
    "negative strides of samples": lambda X, _: X[::-1].copy()[::-1],
    "transposed view": lambda X, _: np.moveaxis(np.moveaxis(X, 0, -1).copy(), -1, 0),
    "unaligned": lambda X, _: np.frombuffer(b"0" + X.astype(np.float32).tobytes(), np.float32, offset=1).reshape(
        X.shape
    ),
    **{
        name: lambda X, _, name=name: X.astype(name)
        for name in ("uint16", "uint64", "int16", "int32", "int64", "float16", "float32", "float64", "longdouble")
    },
    **{f"big-endian {name}": lambda X, _, name=name: X.astype(name) for name in (">u2", ">i4", ">f4", ">f8")},
}
every_container = pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS.keys())


@every_container
@pytest.mark.parametrize("X", [PLAIN, COLOUR, pixels(6, 16)], ids=["grey", "colour", "rows"])
def test_every_container_is_read_as_the_plain_array(container, X, tmp_path):
    images, shape = read(container(X, tmp_path))
    assert type(images) is np.ndarray
    assert images.dtype in (np.uint8, np.float32, np.float64) and images.dtype.isnative
    np.testing.assert_array_equal(images, X)
    assert shape == read(X)[1]
    assert all(image.flags.c_contiguous for image in images)


def contents(X):
    """A digest of all bytes of X, wherever they are."""
    parts = X if isinstance(X, list | tuple) else [X]
    if isinstance(X, pl.Series):
        parts = X.to_list()
    elif isinstance(X, pd.Series) or (isinstance(X, np.ndarray) and X.dtype.hasobject):
        parts = np.asarray(X).ravel().tolist()
    digest = hashlib.sha256()
    for part in parts:
        part = part.detach().float().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
        digest.update(str((part.dtype, part.shape)).encode() + part.tobytes())
    return digest.hexdigest()


@every_container
def test_no_container_is_written_to(container, tmp_path):
    X = container(PLAIN, tmp_path)
    before = contents(X)
    reader = Reader().fit(X)
    reader.read(X)
    assert contents(X) == before


@pytest.fixture(scope="module")
def classifier():
    y = np.arange(40) % 2
    X = pixels(40, 6, 5) // 2 + 100 * y[:, None, None].astype(np.uint8)
    settings = {"filters": 4, "hidden_layer_sizes": (), "max_epochs": 2, "random_state": 0, "device": "cpu"}
    return CNNClassifier(**settings, precision="float32").fit(X, y), X, y


@every_container
def test_a_classifier_gives_the_same_labels_for_every_container(container, classifier, tmp_path):
    clf, X, _ = classifier
    given = container(X, tmp_path)
    before = contents(given)
    np.testing.assert_allclose(clf.decision_function(given), clf.decision_function(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(clf.predict(given), clf.predict(X))
    assert contents(given) == before


@pytest.mark.parametrize(
    "name",
    ["F-order", "read-only", "read-only memmap", "negative strides of samples", "strided", "tensor", "big-endian >u2"],
)
def test_a_classifier_trains_to_the_same_labels_on_other_containers(name, classifier, tmp_path):
    clf, X, y = classifier
    given = CONTAINERS[name](X, tmp_path)
    before = contents(given)
    again = CNNClassifier(**clf.get_params()).fit(given, y)
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    assert contents(given) == before


FRAMES = {
    "pandas": lambda X, names: pd.DataFrame(X, columns=names),
    "polars": lambda X, names: pl.DataFrame(X, schema=names),
    "pandas, one column at a time": lambda X, names: pd.DataFrame({n: X[:, i] for i, n in enumerate(names)}),
    "pandas, nullable": lambda X, names: pd.DataFrame(X, columns=names).convert_dtypes(),
    "pandas, mixed": lambda X, names: pd.DataFrame(X, columns=names).astype({names[0]: np.float64}),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_frames_are_read_as_rows_and_give_their_names(frame):
    X, names = pixels(6, 16), [f"pixel{i}" for i in range(16)]
    reader = Reader().fit(frame(X, names))
    np.testing.assert_array_equal(reader.images_, X)
    assert reader.image_shape_ == ImageShape(4, 4, 1, "hw", flat=True)
    assert reader.feature_names_in_.tolist() == names
    assert reader.n_features_in_ == 16
    np.testing.assert_array_equal(reader.read(frame(X, names)), X)


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_frames_of_uint8_stay_uint8(name):
    images, _ = read(FRAMES[name](pixels(6, 16), list("abcdefghijklmnop")))
    assert images.dtype == np.uint8


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_frames_with_other_names_or_another_order_are_refused_at_predict(name):
    X, names = pixels(6, 4), list("abcd")
    reader = Reader().fit(FRAMES[name](X, names))
    for others in (list("bacd"), list("abce")):
        with pytest.raises(ValueError, match="feature names should match"):
            reader.read(FRAMES[name](X, others))


def test_an_array_has_no_feature_names_and_a_second_fit_forgets_those_of_the_first():
    reader = Reader().fit(pd.DataFrame(pixels(6, 4), columns=list("abcd")))
    reader.fit(pixels(6, 4))
    assert not hasattr(reader, "feature_names_in_")


def test_frames_and_arrays_in_turn_give_the_warnings_of_scikit_learn():
    X = pixels(6, 4)
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.warns(UserWarning, match="X has feature names, but Reader was fitted without feature names"):
        Reader().fit(X).read(frame)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but Reader was fitted with"):
        Reader().fit(frame).read(X)


def test_what_is_remembered_is_what_remember_sets():
    frame = pd.DataFrame(pixels(6, 4), columns=list("abcd"))
    source = read_images(frame)
    facts = remembered(frame, source)
    assert facts.keys() == {"image_shape_", "n_features_in_", "feature_names_in_"}
    estimator = BaseEstimator()
    remember(estimator, frame, source)
    assert vars(estimator).keys() == facts.keys()
    assert remembered(frame.to_numpy(), source).keys() == facts.keys() - {"feature_names_in_"}


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((2, 3, 3), np.nan), "SomeCNN does not accept missing values"),
        (np.zeros((0,)), "minimum of 1 is required by SomeCNN"),
        (pixels(2, 5, 5), "SomeCNN was fitted on X of shape"),
    ],
)
def test_messages_name_the_estimator(X, message):
    with pytest.raises(ValueError, match=message):
        read_images(X, expected=ImageShape(3, 3), name="SomeCNN")


@pytest.mark.parametrize(
    ("shape", "n_features"), [((5, 64), 64), ((5, 7), 7), ((5, 6, 7), 42), ((5, 6, 7, 3), 126), ((5, 4, 6, 7), 168)]
)
def test_n_features_in_is_the_number_of_values_in_one_image(shape, n_features):
    assert Reader().fit(pixels(*shape)).n_features_in_ == n_features


# PIL images.


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("I", 1), ("F", 1), ("RGB", 3), ("RGBA", 4)])
def test_pil_images_are_stacked(mode, channels):
    colour = [Image.fromarray(image) for image in pixels(4, 6, 5, 3)]
    images = [image.convert(mode) for image in colour]
    found, shape = read(images)
    np.testing.assert_array_equal(found, np.stack([np.asarray(image) for image in images]))
    assert shape == ImageShape(6, 5, channels, "hwc" if channels > 1 else "hw")
    assert found.dtype == {"I": np.float64, "F": np.float32}.get(mode, np.uint8)


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV", "LAB", "LA", "PA"])
def test_pil_images_of_other_modes_raise_naming_the_image_the_mode_and_convert(mode):
    images = [Image.new("RGB", (5, 6)), Image.new("RGB", (5, 6)), Image.new(mode, (5, 6))]
    with pytest.raises(ValueError, match=rf"X\[2\].*mode '{mode}'.*image\.convert\("):
        read(images)


def test_pil_images_of_another_class_are_pil_images():
    grey, palette = (Photograph(Image.fromarray(PLAIN[0]).convert(mode)) for mode in ("L", "P"))
    np.testing.assert_array_equal(read([grey])[0], PLAIN[:1])
    np.testing.assert_array_equal(ImageReader(mode="L").fit_transform([grey]), PLAIN[:1])
    with pytest.raises(ValueError, match="PIL image of mode 'P'"):
        read([palette])
    with pytest.raises(TypeError, match="X is one PIL image"):
        read(grey)


def test_pil_images_from_a_file_are_read(tmp_path):
    for i, image in enumerate(COLOUR):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    images = [Image.open(tmp_path / f"{i}.png") for i in range(len(COLOUR))]
    np.testing.assert_array_equal(read(images)[0], COLOUR)
    for image in images:
        image.close()


# The dtype, and whose memory it is.


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        ("uint8", "uint8"),
        ("bool", "uint8"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("float16", "float32"),
        ("int8", "float32"),
        ("int16", "float32"),
        ("uint16", "float32"),
        ("int32", "float64"),
        ("uint32", "float64"),
        ("int64", "float64"),
        ("uint64", "float64"),
        ("longdouble", "float64"),
        (">f4", "float32"),
        (">f8", "float64"),
        (">u2", "float32"),
        (">i8", "float64"),
    ],
)
def test_every_dtype_becomes_uint8_float32_or_float64_without_loss(dtype, kept):
    X = (pixels(6, 5, 4) // 2).astype(dtype)
    images, _ = read(X)
    assert images.dtype == kept and images.dtype.isnative
    np.testing.assert_array_equal(images, X)


@pytest.mark.parametrize("image", [Image.new("1", (4, 3), 1), np.full((3, 4), 255, np.uint8).view(bool)], ids=type)
def test_true_is_one_however_its_byte_is_stored(image):
    # Pillow gives bool arrays whose true bytes are 255.
    for X in ([image, image], np.stack([np.asarray(image)] * 2)):
        np.testing.assert_array_equal(read(X)[0], np.ones((2, 3, 4)))


@pytest.mark.parametrize("extreme", [-32768, 32767, 65535])
def test_sixteen_bit_values_are_exact(extreme):
    X = np.full((2, 3, 5), extreme, np.int16 if extreme < 32768 else np.uint16)
    assert read(X)[0].astype(np.int64).tolist() == X.tolist()


@pytest.mark.parametrize("shape", [(6, 16), (6, 5, 4), (6, 5, 4, 3), (6, 3, 5, 7)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_the_callers_contiguous_array_is_used_as_it_is(shape, dtype):
    X = pixels(*shape).astype(dtype)
    reader = Reader().fit(X)
    assert np.shares_memory(reader.images_, X)
    assert np.shares_memory(reader.read(X), X)


@pytest.mark.parametrize("part", [np.s_[::2], np.s_[::-1], np.s_[3:]], ids=str)
def test_a_selection_of_the_callers_images_is_used_as_it_is(part):
    X = pixels(8, 5, 4)
    images, _ = read(X[part])
    assert np.shares_memory(images, X)
    np.testing.assert_array_equal(images, X[part])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
def test_the_memory_of_a_tensor_is_used_as_it_is(dtype):
    X = torch.from_numpy(PLAIN.copy()).to(dtype)
    assert np.shares_memory(read(X)[0], X.numpy())


def test_a_memmap_is_not_loaded(tmp_path):
    X = memmap(tmp_path, PLAIN, "r")
    assert np.shares_memory(read(X)[0], X)


@pytest.mark.parametrize("X", [PLAIN, pd.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1, 2]})], ids=type)
def test_as_array_leaves_arrays_and_frames_alone(X):
    assert as_array(X) is X


# What cannot be read.

RANKS = [(4, 16), (4, 5, 6), (4, 5, 6, 3), (4, 3, 5, 6)]


@for_every("shape", RANKS)
@for_every("bad", [np.nan, np.inf, -np.inf])
@for_every("position", [0, -1, 17])
@for_every("dtype", ["float16", "float32", "float64", ">f8", "object"])
def test_nan_and_infinity_raise_at_fit_and_at_predict(shape, bad, position, dtype):
    good = pixels(*shape).astype(dtype)
    X = good.copy()
    X.flat[position] = bad
    named = "NaN" if np.isnan(bad) else "infinity"
    with pytest.raises(ValueError, match=f"Input X contains {named}"):
        read(X)
    reader = Reader().fit(good)
    with pytest.raises(ValueError, match=f"Input X contains {named}"):
        reader.read(X)


MISSING = {
    "tensor": torch.full((3, 4, 4), float("nan")),
    "bfloat16 tensor": torch.full((3, 4, 4), float("nan"), dtype=torch.bfloat16),
    "list of arrays": [np.zeros((4, 4)), np.full((4, 4), np.nan)],
    "nested lists": [[1.0, float("nan")], [1.0, 2.0]],
    "pandas": pd.DataFrame({"a": [1.0, None], "b": [1.0, 2.0]}),
    "pandas, nullable": pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [1, 2]}),
    "polars": pl.DataFrame({"a": [1, None], "b": [1, 2]}),
    "None in an array": np.full((3, 4, 4), None),
    "PIL": [Image.fromarray(np.full((4, 4), np.nan, np.float32))] * 2,
}


@pytest.mark.parametrize("X", MISSING.values(), ids=MISSING.keys())
def test_missing_values_raise_in_every_container(X):
    with pytest.raises(ValueError, match="Input X contains NaN"):
        read(X)


UNREADABLE = {
    "complex rows": (np.zeros((3, 4), complex), ValueError, "Complex data not supported"),
    "complex images": (np.zeros((3, 4, 5), np.complex64), ValueError, "Complex data not supported"),
    "complex colour": (np.zeros((3, 4, 5, 3), complex), ValueError, "Complex data not supported"),
    "complex tensor": (torch.zeros(3, 4, 5, dtype=torch.complex64), ValueError, "Complex data not supported"),
    "complex list": ([np.zeros((4, 5), complex)] * 3, ValueError, "Complex data not supported"),
    "sparse matrix": (sparse.csr_matrix(np.eye(4)), TypeError, "Sparse data.*toarray"),
    "sparse array": (sparse.coo_array(np.eye(4)), TypeError, "Sparse data.*toarray"),
    "sparse tensor": (torch.eye(4).to_sparse(), TypeError, "Sparse.*to_dense"),
    "list of sparse matrices": ([sparse.csr_matrix(np.eye(4))] * 3, (TypeError, ValueError), "[Ss]parse"),
    "text": ("images.npy", TypeError, "got a str"),
    "bytes": (b"\x89PNG", TypeError, "got a bytes"),
    "array of text": (np.array([["a", "b"]]), ValueError, "strings"),
    "array of numbers as text": (np.array([[["1", "2"]]]), ValueError, "strings"),
    "array of bytes": (np.array([[b"a", b"b"]]), ValueError, "strings"),
    "objects of text": (np.array([["a", "b"]], dtype=object), ValueError, "could not convert string"),
    "a path": (Path("images.npy"), TypeError, r"got a \w*Path.*ImageReader.*load_image_folder"),
    "an open file": (io.BytesIO(), TypeError, "got a BytesIO.*ImageReader"),
    "records": (np.zeros((3, 4), [("red", "u1"), ("green", "u1")]), ValueError, "numeric"),
    "dict": ({"images": [1, 2]}, TypeError, "got a dict"),
    "None": (None, (TypeError, ValueError), "None"),
    "a number": (5.0, (TypeError, ValueError), "scalar"),
    "an array without axes": (np.array(3), (TypeError, ValueError), "scalar"),
    "empty list": ([], ValueError, r"0 sample\(s\)"),
    "empty tuple": ((), ValueError, r"0 sample\(s\)"),
    "list of empty lists": ([[], []], ValueError, r"0 feature\(s\)"),
    "empty frame": (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
    "frame without columns": (pd.DataFrame(index=[0, 1]), ValueError, r"0 feature\(s\)"),
    "empty polars frame": (pl.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
    "list of empty images": ([np.zeros((0, 4))] * 3, ValueError, "0 pixels along axis 1"),
    "list with a hole": ([np.zeros((4, 4)), None], ValueError, r"X\[1\] is not an image like X\[0\]; got None"),
    "list with a path": ([np.zeros((4, 4)), "a.png"], ValueError, r"X\[1\] is not an image like X\[0\]; got 'a.png'"),
    "conjugated tensor": (torch.zeros(3, 4, 5, dtype=torch.complex64).conj(), ValueError, "Complex data not supported"),
}


@pytest.mark.parametrize(("X", "error", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_image_raises_naming_the_cause(X, error, message):
    with pytest.raises(error, match=message):
        read(X)


FILES = {
    "list": (["a.png", "b.png"], "X holds paths or other text, such as 'a.png',", "takes X."),
    "tuple": (("a.png", "b.png"), "X holds paths or other text, such as 'a.png',", "takes X."),
    "list of Path": ([Path("a.png")] * 2, r"X holds paths, such as \w*Path\('a.png'\),", "takes X."),
    "array": (np.array(["a.png", "b.png"]), "X holds paths or other text, such as 'a.png',", "takes X."),
    "array of objects": (np.array(["a.png"], object), "X holds paths or other text, such as 'a.png',", "takes X."),
    "column": (np.array([["a.png"]]), "X holds paths or other text, such as 'a.png',", r"takes X\[:, 0\]."),
    "lists of one": ([["a.png"]], "X holds paths or other text, such as 'a.png',", r"takes X\[:, 0\]."),
    "Series": (pd.Series(["a.png"]), "X holds paths or other text, such as 'a.png',", "takes X."),
    "categories": (pd.Series(["a"], dtype="category"), "X holds paths or other text, such as 'a',", "takes X."),
    "Series of Path": (pd.Series([Path("a.png")]), "X holds paths, such as", "takes X."),
    "Series of polars": (pl.Series(["a.png"]), "X holds paths or other text, such as 'a.png',", "takes X."),
    "frame": (pd.DataFrame({"f": ["a.png"]}), "Column 'f' of X holds paths or other text,", r"takes X\['f'\]."),
    "frame of two": (pd.DataFrame({"n": [1], "f": ["x"]}), "Column 'f' of X holds paths or", r"takes X\['f'\]."),
    "frame of polars": (pl.DataFrame({"f": ["a.png"]}), "Column 'f' of X holds paths or", r"takes X\['f'\]."),
    "bytes": ([b"GIF89a"], "X holds bytes, such as b'GIF89a',", "takes X."),
    "open files": ([io.BytesIO(b"GIF89a")], "X holds open files, such as <_io.BytesIO", "takes X."),
}


@pytest.mark.parametrize(("X", "what", "way_out"), FILES.values(), ids=FILES.keys())
def test_files_in_place_of_pixels_raise_naming_the_reader(X, what, way_out):
    with pytest.raises(
        ValueError, match=what + r".* but pixels are numbers. ImageReader reads image files.*" + way_out
    ):
        CNNClassifier().fit(X, [0] * len(X))


@pytest.mark.parametrize("entry", ["array", "list", "PIL image", "array beside a number"])
@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_frame_with_images_in_its_cells_raises_naming_the_column_which_is_read(library, entry):
    images = {"list": PLAIN.tolist(), "PIL image": [Image.fromarray(image) for image in PLAIN]}.get(entry, list(PLAIN))
    column = images if library is pd or entry == "list" else pl.Series(images, dtype=pl.Object)
    beside = {"label": [1] * len(images)} if "beside" in entry else {}
    frame = library.DataFrame({**beside, "image": column})
    with pytest.raises(ValueError, match=r"Column 'image' of X holds a whole image in each row; pass X\['image'\]\."):
        read(frame)
    np.testing.assert_array_equal(read(frame["image"])[0], PLAIN)


def test_a_column_of_images_in_an_array_raises_with_the_way_out():
    X = np.fromiter([*PLAIN, None], dtype=object, count=len(PLAIN) + 1)[:-1, None]
    with pytest.raises(ValueError, match=r"X holds a whole image in each row; pass X\[:, 0\]\."):
        read(X)
    np.testing.assert_array_equal(read(X[:, 0])[0], PLAIN)


def test_a_frame_whose_column_has_the_name_of_a_method_is_read():
    X = pixels(6, 4)
    np.testing.assert_array_equal(read(pd.DataFrame(X, columns=["read", "mode", "getbands", "detach"]))[0], X)


def test_names_of_which_some_are_strings_are_refused_before_anything_is_remembered():
    with pytest.raises(TypeError, match="only supported if all input features have string names"):
        read_images(pd.DataFrame([[1, 2]], columns=["a", 1]))


@pytest.mark.parametrize("X", [sparse.csr_matrix(np.eye(4)), "text", {"a": 1}, None], ids=lambda X: type(X).__name__)
def test_what_is_no_image_raises_at_predict_too(X):
    reader = Reader().fit(pixels(4, 4))
    with pytest.raises((TypeError, ValueError), match=r"Sparse|got a str|got a dict|None"):
        reader.read(X)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [(shape, axis) for shape in RANKS for axis in range(len(shape))],
    ids=lambda value: str(value),
)
def test_a_zero_axis_raises_naming_it_and_the_shape(shape, axis):
    shape = tuple(0 if i == axis else side for i, side in enumerate(shape))
    named = "0 sample(s)" if axis == 0 else "0 feature(s)" if len(shape) == 2 else f"0 pixels along axis {axis}"
    for X in (np.zeros(shape), torch.zeros(shape)):
        with pytest.raises(ValueError) as raised:
            read(X)
        assert named in str(raised.value) and str(shape) in str(raised.value)


UNEQUAL = {
    "height": ([(4, 4), (5, 4)], 1),
    "width": ([(4, 4), (4, 4), (4, 5)], 2),
    "first of two odd ones": ([(4, 4), (4, 4), (3, 3), (5, 5)], 2),
    "all but the first": ([(4, 4), (5, 5), (5, 5)], 1),
    "rank": ([(4, 4), (4, 4, 3)], 1),
    "channels": ([(4, 4, 3), (4, 4, 3), (4, 4, 4)], 2),
    "layout": ([(3, 8, 8), (8, 8, 3)], 1),
    "transposed": ([(4, 5), (5, 4)], 1),
    "an empty one": ([(4, 4), (0, 4)], 1),
    "rows": ([(16,), (16,), (15,)], 2),
    "broadcastable": ([(4, 4), (1, 4)], 1),
    "the last of many": ([(4, 4)] * 30 + [(4, 3)], 30),
}


@for_every(("shapes", "odd"), UNEQUAL.values())
@for_every(
    "container",
    [
        lambda images: images,
        lambda images: tuple(images),
        lambda images: [torch.from_numpy(image) for image in images],
        lambda images: pd.Series(images),
        lambda images: np.fromiter(images, dtype=object, count=len(images)),
        lambda images: [image.tolist() for image in images],
    ],
)
def test_images_of_unequal_size_raise_naming_the_first_odd_one_and_the_reader(shapes, odd, container):
    X = container([np.ones(shape) for shape in shapes])
    with pytest.raises(ValueError, match=rf"X\[{odd}\] has shape") as raised:
        read(X)
    message = str(raised.value)
    assert str(shapes[0]) in message
    assert "ImageReader" in message
    if 0 not in shapes[odd]:  # an empty list does not know its other sides
        assert str(shapes[odd]) in message


def test_pil_images_of_unequal_size_raise_naming_the_first_odd_one():
    images = [Image.new("RGB", (5, 6)), Image.new("RGB", (5, 6)), Image.new("RGB", (7, 6))]
    with pytest.raises(ValueError, match=r"X\[2\] has shape \(6, 7, 3\) and X\[0\] has shape \(6, 5, 3\).*ImageReader"):
        read(images)


def test_nested_lists_with_a_ragged_image_raise_naming_the_image():
    with pytest.raises(ValueError, match=r"X\[1\]"):
        read([[[1, 2], [3, 4]], [[1, 2], [3]]])


# The shape at predict.

FITTED = [(5, 8, 8), (5, 8, 9), (5, 8, 8, 3), (5, 3, 8, 8), (5, 64)]
OTHERS = [(4, 8, 9, 3), (4, 9, 8), (4, 8, 8, 1), (4, 8, 8, 4), (4, 63)]


@for_every("fitted", FITTED)
@for_every("other", [*FITTED, *OTHERS])
def test_another_shape_at_predict_raises_with_both_shapes(fitted, other):
    reader = Reader().fit(pixels(*fitted))
    if fitted[1:] == other[1:]:
        assert reader.read(pixels(2, *other[1:])).shape == (2, *other[1:])
        return
    with pytest.raises(ValueError) as raised:
        reader.read(pixels(*other))
    message = str(raised.value)
    if len(fitted) == len(other) == 2:
        assert message.startswith("X has 63 features, but Reader is expecting 64 features as input")
    else:
        assert f"X has shape {other}" in message
        assert f"fitted on X of shape (n, {', '.join(map(str, fitted[1:]))})" in message


@pytest.mark.parametrize("fitted", [(5, 8, 8), (5, 8, 9, 3), (5, 3, 8, 9)], ids=str)
def test_one_image_alone_at_predict_raises_and_suggests_x_none(fitted):
    X = pixels(*fitted)
    reader = Reader().fit(X)
    with pytest.raises(ValueError, match=r"One image alone is passed as X\[None\]"):
        reader.read(X[0])
    np.testing.assert_array_equal(reader.read(X[0][None]), X[:1])


def test_other_shapes_at_predict_suggest_nothing_of_one_image():
    reader = Reader().fit(pixels(5, 8, 8))
    with pytest.raises(ValueError) as raised:
        reader.read(pixels(5, 9, 9))
    assert "X[None]" not in str(raised.value)


def test_one_flattened_image_alone_raises_and_suggests_a_reshape():
    reader = Reader().fit(pixels(5, 64))
    with pytest.raises(ValueError, match=r"X\.reshape\(1, -1\)"):
        reader.read(pixels(64))


def test_an_estimator_fitted_anew_takes_the_new_shape():
    reader = Reader().fit(pixels(5, 8, 8)).fit(pixels(5, 6, 7, 3))
    assert reader.image_shape_ == ImageShape(6, 7, 3, "hwc")
    assert reader.n_features_in_ == 126
    with pytest.raises(ValueError, match="fitted on X of shape"):
        reader.read(pixels(5, 8, 8))


# ImageShape.

SHAPES = [
    ImageShape(4, 5, 1, "hw", flat) if axes == "hw" else ImageShape(4, 5, channels, axes, flat)
    for axes, channels in (("hw", 1), ("hwc", 1), ("hwc", 3), ("chw", 1), ("chw", 3), ("hwc", 12), ("chw", 12))
    for flat in (False, True)
]


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_to_channels_first_puts_every_pixel_in_its_place_and_copies_nothing(shape):
    n, c, h, w = 3, *shape.channels_first
    wanted = np.arange(n * c * h * w).reshape(n, c, h, w)
    stored = {"hw": wanted[:, 0], "chw": wanted, "hwc": np.moveaxis(wanted, 1, -1)}[shape.axes].copy()
    stored = stored.reshape(n, *shape.sample_shape)
    array = shape.to_channels_first(stored)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, wanted)
    assert np.shares_memory(array, stored)

    batch = torch.from_numpy(stored)
    tensor = shape.to_channels_first(batch)
    assert isinstance(tensor, torch.Tensor)
    assert torch.equal(tensor, torch.from_numpy(wanted))
    assert tensor.untyped_storage().data_ptr() == batch.untyped_storage().data_ptr()


def test_to_channels_first_of_every_second_image_is_a_view_too():
    for shape in SHAPES:
        X = pixels(6, *shape.sample_shape)
        view = shape.to_channels_first(X[::2])
        assert np.shares_memory(view, X)
        np.testing.assert_array_equal(view, shape.to_channels_first(X)[::2])


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_an_image_shape_knows_its_sizes(shape):
    stored = {"hw": (4, 5), "hwc": (4, 5, shape.channels), "chw": (shape.channels, 4, 5)}[shape.axes]
    assert shape.stored == stored
    assert shape.n_values == 20 * shape.channels
    assert shape.sample_shape == ((shape.n_values,) if shape.flat else stored)
    assert shape.channels_first == (shape.channels, 4, 5)
    assert str(shape) == f"4×5×{shape.channels}"


def test_image_shapes_are_values():
    assert ImageShape(4, 5) == ImageShape(4, 5, 1, "hw", flat=False)
    assert len({ImageShape(4, 5), ImageShape(4, 5), ImageShape(5, 4), ImageShape(4, 5, flat=True)}) == 3


# Plain arrays, of which less has to be checked.


class Marked(np.ndarray):
    """An array that is not plain, with the same numbers."""


DTYPES = ["bool", "uint8", "int8", "int64", "uint16", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_plain_array_is_read_like_every_other(dtype):
    X = pixels(4, 6, 5).astype(dtype)
    images, shape = read(X)
    others, other_shape = read(X.view(Marked))
    assert images.dtype == others.dtype and shape == other_shape
    np.testing.assert_array_equal(images, others)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("sides", [(4, 25), (4, 6, 5), (4, 6, 5, 3)], ids=len)
def test_a_plain_array_is_refused_like_every_other(sides, dtype, value):
    X = np.zeros(sides, dtype)
    X.flat[-1] = value
    with pytest.raises(ValueError) as general:
        read(X.view(Marked))
    with pytest.raises(ValueError, match=r"Input X contains") as plain:
        read(X)
    assert str(plain.value) == str(general.value)


def test_a_plain_array_is_not_searched_for_names_but_after_a_fit_on_a_frame_it_is(monkeypatch):
    X = pixels(4, 16)
    reader, named = Reader().fit(X), Reader().fit(pd.DataFrame(X, columns=[f"p{i}" for i in range(16)]))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but Reader was fitted with"):
        named.read(X)
    monkeypatch.setattr("sklearn_cnn.images._reading._check_feature_names", None)
    np.testing.assert_array_equal(reader.read(X), X)
