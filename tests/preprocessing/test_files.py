"""Decoding: what kinds of X there are, and the pixels that come of every kind of file."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, StringIO
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

from sklearn_cnn import ImageReader
from sklearn_cnn.preprocessing._files import Decoder, decoding_threads, read_entries

RED, BLUE, BLACK, WHITE = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


def encode(image, kind="PNG", **settings):
    file = BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def noise(height=6, width=9, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8).squeeze()


def halves(height=8, width=16):
    """Red on the left, blue on the right."""
    pixels = np.full((height, width, 3), BLUE, dtype=np.uint8)
    pixels[:, : width // 2] = RED
    return pixels


def read(entry, **parameters):
    return ImageReader(**parameters).fit_transform([entry])[0]


# Kinds of X


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.fromarray(noise(seed=i)).save(path)
    return paths


EXPECTED = np.stack([noise(seed=i) for i in range(3)])


def object_array(entries):
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    return array


def at(position, content):
    file = BytesIO(content)
    file.seek(position)
    return file


KINDS = {
    "list of str": lambda paths: [str(path) for path in paths],
    "list of Path": list,
    "tuple": tuple,
    "array of str": lambda paths: np.array([str(path) for path in paths]),
    "column of str": lambda paths: np.array([[str(path)] for path in paths]),
    "array of Path": object_array,
    "column of Path": lambda paths: object_array(paths)[:, None],
    "Series": lambda paths: pd.Series([str(path) for path in paths], index=[7, 5, 3]),
    "Series of strings": lambda paths: pd.Series([str(path) for path in paths], dtype="string"),
    "Series of bytes": lambda paths: pd.Series([path.read_bytes() for path in paths]),
    "frame": lambda paths: pd.DataFrame({"file": [str(path) for path in paths]}, index=[7, 5, 3]),
    "frame of bytes": lambda paths: pd.DataFrame({"image": [path.read_bytes() for path in paths]}),
    "bytes": lambda paths: [path.read_bytes() for path in paths],
    "bytearray": lambda paths: [bytearray(path.read_bytes()) for path in paths],
    "memoryview": lambda paths: [memoryview(path.read_bytes()) for path in paths],
    "BytesIO": lambda paths: [BytesIO(path.read_bytes()) for path in paths],
    "BytesIO in the middle": lambda paths: [at(20, path.read_bytes()) for path in paths],
    "BytesIO at the end": lambda paths: [at(10**6, path.read_bytes()) for path in paths],
    "PIL images": lambda paths: [Image.fromarray(pixels) for pixels in EXPECTED],
    "arrays": lambda paths: list(EXPECTED),
    "arrays of int64": lambda paths: list(EXPECTED.astype(np.int64)),
    "arrays in Fortran order": lambda paths: [np.asfortranarray(pixels) for pixels in EXPECTED],
    "read-only arrays": lambda paths: list(np.broadcast_to(EXPECTED, EXPECTED.shape)),
    "array of arrays": lambda paths: EXPECTED,
    "mixture": lambda paths: [str(paths[0]), paths[1].read_bytes(), EXPECTED[2]],
    "other mixture": lambda paths: object_array(
        [Image.fromarray(EXPECTED[0]), paths[1], BytesIO(paths[2].read_bytes())]
    ),
}


@pytest.mark.parametrize("size", [None, (6, 9)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_x_gives_the_same_pixels_in_order(kind, size, paths):
    images = ImageReader(size=size).fit_transform(KINDS[kind](paths))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, EXPECTED)


@pytest.mark.parametrize("lazy", [False, True])
def test_open_files_are_read_from_their_start_and_stay_open(paths, lazy):
    with paths[0].open("rb") as first, paths[1].open("rb") as second:
        first.seek(30)
        images = np.asarray(ImageReader(size=(6, 9), lazy=lazy).fit_transform([first, second]))
        assert not first.closed
    np.testing.assert_array_equal(images, EXPECTED[:2])


class Stream:
    """A file that can be read once, as what comes over a network."""

    def __init__(self, content):
        self.read = BytesIO(content).read


@pytest.mark.parametrize("size", [None, (6, 9)])
def test_streams_that_cannot_go_back_are_read(size, paths):
    images = ImageReader(size=size).fit_transform([Stream(path.read_bytes()) for path in paths])
    np.testing.assert_array_equal(images, EXPECTED)


@pytest.mark.parametrize("kind", ["frame", "Series"])
def test_polars_columns_are_read(kind, paths):
    polars = pytest.importorskip("polars")
    names = [str(path) for path in paths]
    X = polars.DataFrame({"file": names}) if kind == "frame" else polars.Series(names)
    np.testing.assert_array_equal(ImageReader().fit_transform(X), EXPECTED)


def test_arrays_of_unequal_size_come_to_one_size():
    images = ImageReader(size=4).fit_transform(
        [noise(6, 9), noise(3, 5, 1), noise(20, 2, 4), noise(7, 7, 1)[..., None]]
    )
    assert images.shape == (4, 4, 4, 3)
    np.testing.assert_array_equal(images[1][..., 0], images[1][..., 2])


def test_paths_become_strings_and_encoded_images_bytes():
    entries = read_entries([Path("a.png"), "b.png", np.str_("c.png"), bytearray(b"abc"), memoryview(b"abc")])
    assert entries == ["a.png", "b.png", "c.png", b"abc", b"abc"]
    assert [type(entry) for entry in entries[3:]] == [bytes, bytes]


@pytest.mark.parametrize("size", [None, (3, 5)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_arrays_and_pil_images_are_not_modified(size, mode):
    array = noise()
    turned = Image.fromarray(noise(4, 4))
    turned.getexif()[274] = 3
    palette = Image.fromarray(noise(4, 4)).quantize(4)
    palette.info["transparency"] = 0
    images = [turned, palette, Image.fromarray(noise(4, 4, 1)), Image.new("I;16", (4, 4), 4660)]
    before = [(image.mode, image.size, image.tobytes(), dict(image.info)) for image in images]
    for image in [array, *images]:
        read(image, size=size, mode=mode)
    np.testing.assert_array_equal(array, noise())
    assert [(image.mode, image.size, image.tobytes(), dict(image.info)) for image in images] == before
    assert turned.getexif()[274] == 3


def test_limits_of_pillow_are_left_as_they_are(paths):
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    ImageReader(size=3, n_jobs=2).fit_transform(paths)
    with pytest.raises(ValueError):
        read(paths[0].read_bytes()[:-100])
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert before[0] is not None and not before[1]


# X that is refused


ONE = encode(Image.fromarray(noise()))
BAD = {
    "one str": ("a.png", TypeError, r"X is one image, a str, .*\[image\]"),
    "one Path": (Path("a.png"), TypeError, "one image, a PosixPath|one image, a WindowsPath"),
    "one bytes": (ONE, TypeError, "one image, a bytes"),
    "one bytearray": (bytearray(ONE), TypeError, "one image, a bytearray"),
    "one memoryview": (memoryview(ONE), TypeError, "one image, a memoryview"),
    "one BytesIO": (BytesIO(ONE), TypeError, "one image, a BytesIO"),
    "one PIL image": (Image.fromarray(noise()), TypeError, "one image, a Image"),
    "dict": ({"a": ONE}, TypeError, "X is a dict"),
    "set": ({ONE}, TypeError, "X is a set"),
    "number": (5, TypeError, "X is a int"),
    "None": (None, TypeError, "X is a NoneType"),
    "generator": ((path for path in [ONE]), TypeError, "X is a generator"),
    "array without axes": (np.array("a.png"), TypeError, "X is .*(list|one image)"),
    "None among others": ([ONE, None], TypeError, r"X\[1\] is None"),
    "NaN among others": ([ONE, ONE, np.nan], TypeError, r"X\[2\] is nan, of type float"),
    "NA in a Series": (pd.Series(["a.png", None], dtype="string"), TypeError, r"X\[1\] is (nan|<NA>)"),
    "numbers": (np.array([1.5, 2.0]), TypeError, r"X\[0\] is .*1\.5.*, of type float64"),
    "list in a list": ([ONE, [1, 2]], TypeError, r"X\[1\] is \[1, 2\], of type list"),
    "two columns": (np.array([["a", "b"]]), ValueError, r"X has shape \(1, 2\).*one column"),
    "frame of two columns": (pd.DataFrame({"a": ["b"], "c": ["d"]}), ValueError, r"X has shape \(1, 2\).*one column"),
    "no columns": (np.empty((3, 0)), ValueError, r"X has shape \(3, 0\).*one column"),
    "empty list": ([], ValueError, "0 sample.* in X while a minimum of 1 is required"),
    "empty array": (np.array([], dtype=str), ValueError, "0 sample"),
    "empty frame": (pd.DataFrame({"a": []}), ValueError, "0 sample"),
    "float array": ([noise(), noise() / 255], ValueError, r"X\[1\] is an array of float64 from 0\.\d* to .*0 to 255"),
    "array with NaN": ([np.full((2, 2), np.nan)], ValueError, r"X\[0\] is an array of float64"),
    "boolean array": ([np.ones((2, 2), bool)], ValueError, r"X\[0\] is an array of bool"),
    "negative array": ([np.full((2, 2), -1)], ValueError, r"X\[0\] is an array of int64 from -1 to -1"),
    "array above 255": ([np.full((2, 2), 256)], ValueError, r"X\[0\] is an array of int64 from 256 to 256"),
    "array of text": ([ONE, np.array([["a", "b"]])], (TypeError, ValueError), r"X\[1\] is an array of <U1"),
    "array of objects": ([np.full((2, 2), 1, dtype=object)], ValueError, r"X\[0\] is an array of object"),
    "four axes": ([ONE, np.zeros((2, 3, 4, 3), np.uint8)], ValueError, r"X\[1\] has shape \(2, 3, 4, 3\)"),
    "one axis": ([np.zeros(3, np.uint8)], ValueError, r"X\[0\] has shape \(3,\)"),
    "two channels": ([np.zeros((3, 4, 2), np.uint8)], ValueError, r"X\[0\] has shape \(3, 4, 2\)"),
    "no pixels": ([np.zeros((0, 4), np.uint8)], ValueError, r"X\[0\] has shape \(0, 4\)"),
    "text file": ([ONE, StringIO("text")], TypeError, r'X\[1\] is a text file; .*"rb"'),
    "no bytes": ([ONE, b""], ValueError, r"X\[1\] is not an image that Pillow can read"),
    "bytes of text": ([b"text"], ValueError, r"X\[0\] is not an image that Pillow can read"),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("X", "error", "match"), BAD.values(), ids=BAD.keys())
def test_x_that_is_no_list_of_images_is_refused_in_words(X, error, match, lazy):
    with pytest.raises(error, match=match):
        np.asarray(ImageReader(size=4, lazy=lazy).fit_transform(X))


@pytest.mark.parametrize("X", ["a.png", {}, [None], []], ids=["one", "dict", "None", "empty"])
@pytest.mark.parametrize("method", ["fit", "fit_transform", "transform"])
def test_every_method_refuses_a_bad_x(method, X):
    with pytest.raises((TypeError, ValueError), match=r"one image|is a dict|is None|0 sample"):
        getattr(ImageReader(size=4), method)(X)


def test_a_text_file_on_disk_is_refused_with_its_index(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("text")
    with path.open() as file, pytest.raises(TypeError, match=r"X\[1\] is a text file"):
        ImageReader(size=4).fit_transform([ONE, file])


# Modes, sizes and ways of resizing


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize(
    ("size", "sides"), [(5, (5, 5)), ((4, 7), (4, 7)), ([7, 4], (7, 4)), (np.array([3, 12]), (3, 12)), (1, (1, 1))]
)
def test_the_shape_follows_from_size_and_mode(size, sides, mode, resize):
    images = ImageReader(size, mode=mode, resize=resize).fit_transform([noise(6, 9), noise(11, 3)])
    assert images.shape == (2, *sides, *{"L": (), "RGB": (3,), "RGBA": (4,)}[mode])
    assert images.dtype == np.uint8


def test_grey_pixels_follow_the_weights_of_the_eye():
    pixels = np.array([[RED, (0, 255, 0), BLUE, WHITE, BLACK]], dtype=np.uint8)
    np.testing.assert_array_equal(read(pixels, mode="L"), [[76, 150, 29, 255, 0]])


def test_colour_of_a_grey_image_has_it_in_every_channel_and_alpha_is_full():
    grey = noise(4, 5, 1)
    np.testing.assert_array_equal(read(grey, mode="RGB"), np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(read(grey, mode="RGBA"), np.stack([grey] * 3 + [np.full_like(grey, 255)], axis=2))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_an_image_of_the_size_is_not_touched(resize):
    np.testing.assert_array_equal(read(noise(), size=(6, 9), resize=resize), noise())


def colours(pixels, row):
    """Runs of one colour along a row."""
    runs = []
    for pixel in pixels[row].tolist():
        if not runs or runs[-1][0] != tuple(pixel):
            runs.append([tuple(pixel), 0])
        runs[-1][1] += 1
    return [tuple(run) for run in runs]


def test_crop_keeps_the_centre():
    pixels = halves(8, 32)
    pixels[:, :12] = pixels[:, 20:] = WHITE  # 8 pixels in the middle stay
    image = read(pixels, size=8, resize="crop")
    assert colours(image, 0) == [(RED, 4), (BLUE, 4)]
    np.testing.assert_array_equal(read(pixels.swapaxes(0, 1), size=8, resize="crop"), image.swapaxes(0, 1))


def test_crop_enlarges_until_the_size_is_covered():
    image = read(halves(4, 16), size=8, resize="crop")
    assert tuple(image[0, 0]) == RED and tuple(image[7, 7]) == BLUE
    assert not (image == 0).all(axis=2).any()


def test_pad_puts_the_whole_image_between_black_bars_of_equal_height():
    image = read(halves(8, 16), size=16, resize="pad")
    assert [colours(image, row) for row in range(16)] == (
        [[(BLACK, 16)]] * 4 + [[(RED, 8), (BLUE, 8)]] * 8 + [[(BLACK, 16)]] * 4
    )
    upright = read(halves(8, 16).swapaxes(0, 1), size=16, resize="pad")
    np.testing.assert_array_equal(upright, image.swapaxes(0, 1))


def test_pad_shrinks_in_proportion():
    image = read(np.full((20, 40, 3), 200, np.uint8), size=(10, 10), resize="pad")
    np.testing.assert_array_equal(image[..., 0].astype(int), np.repeat([0, 200, 0], [2, 5, 3])[:, None] + np.zeros(10))


def test_pad_is_transparent_where_there_is_alpha():
    image = read(halves(8, 16), size=16, resize="pad", mode="RGBA")
    assert image[0, 0].tolist() == [0, 0, 0, 0]
    assert image[8, 0].tolist() == [*RED, 255]


def test_stretch_distorts():
    image = read(halves(8, 32), size=8, resize="stretch")
    assert tuple(image[0, 0]) == RED and tuple(image[7, 7]) == BLUE
    assert (image[0] == image[7]).all()
    assert not (image == WHITE).all(axis=2).any()
    assert (image[:, :3] == RED).all() and (image[:, 5:] == BLUE).all()


def test_shrinking_averages_all_pixels_that_fall_on_a_new_one():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 200
    image = read(checks, size=8, mode="L")
    assert abs(image.astype(int) - 100).max() <= 2


def test_sides_are_height_and_width_in_this_order():
    assert read(noise(10, 20), size=(4, 6)).shape == (4, 6, 3)
    assert read(noise(10, 20)).shape == (10, 20, 3)


@pytest.mark.parametrize("shape", [(1, 1000), (1000, 1), (1, 1), (3, 2000)])
@pytest.mark.parametrize("size", [1, 8, (2, 30), (30, 2)])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_extreme_proportions_are_read(shape, size, resize):
    image = read(np.full((*shape, 3), 90, np.uint8), size=size, resize=resize)
    assert set(np.unique(image)) <= ({0, 90} if resize == "pad" else {90})
    assert 90 in image


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_enlarging_interpolates(resize):
    image = read(np.array([[0, 200]] * 2), size=20, mode="L", resize=resize)
    assert (np.diff(image.astype(int), axis=1) >= 0).all()
    assert image[0, 0] == 0 and image[0, -1] == 200
    assert len(np.unique(image)) > 5


# EXIF


def turned(orientation, kind, **settings):
    exif = Image.Exif()
    exif[274] = orientation
    pixels = halves(16, 32)
    pixels[:8, :16] = WHITE  # all eight orientations differ
    return encode(Image.fromarray(pixels), kind, exif=exif, **settings)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_as_their_exif_says(orientation, kind):
    content = turned(orientation, kind)
    with Image.open(BytesIO(content)) as image:
        assert image.getexif()[274] == orientation
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert upright.shape[:2] == ((16, 32) if orientation < 5 else (32, 16))
    np.testing.assert_array_equal(read(content), upright)


ORIENTED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_a_picture_stored_in_any_orientation_is_the_same_picture(orientation, resize):
    picture = Image.fromarray(noise(12, 20))
    way = ORIENTED[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    stored = encode(picture if way is None else picture.transpose(way), exif=exif)
    np.testing.assert_array_equal(read(stored), noise(12, 20))
    np.testing.assert_array_equal(read(stored, size=(6, 11), resize=resize), read(picture, size=(6, 11), resize=resize))


def test_pil_images_and_lazy_sources_are_turned_too():
    content = turned(6, "PNG")
    with Image.open(BytesIO(content)) as image:
        np.testing.assert_array_equal(read(image), read(content))
    np.testing.assert_array_equal(read(content, lazy=True), read(content))


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_orientations_that_mean_nothing_are_passed_over(orientation):
    np.testing.assert_array_equal(read(turned(orientation, "PNG")), read(turned(1, "PNG")))


# Kinds of files

SIXTEEN = np.array([[0, 255, 256, 511], [512, 32768, 65280, 65535]], dtype=np.uint16)
UPPER = np.array([[0, 0, 1, 1], [2, 128, 255, 255]], dtype=np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        encode(Image.fromarray(SIXTEEN), "PNG"),
        encode(Image.fromarray(SIXTEEN), "TIFF"),
        encode(Image.fromarray(SIXTEEN), "TIFF", compression="tiff_lzw"),
        b"P5 4 2 65535\n" + SIXTEEN.astype(">u2").tobytes(),
        Image.fromarray(SIXTEEN),
    ],
    ids=["PNG", "TIFF", "packed TIFF", "PGM", "PIL image"],
)
def test_of_sixteen_bits_the_upper_eight_are_kept(content):
    np.testing.assert_array_equal(read(content, mode="L"), UPPER)
    np.testing.assert_array_equal(read(content, mode="RGB"), np.stack([UPPER] * 3, axis=2))
    assert read(content, mode="L", size=7).shape == (7, 7)


def test_sixteen_bits_of_an_image_that_was_turned():
    exif = Image.Exif()
    exif[274] = 3
    np.testing.assert_array_equal(read(encode(Image.fromarray(SIXTEEN), exif=exif), mode="L"), UPPER[::-1, ::-1])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("form", ["TIFF", "PIL image"])
def test_values_of_thirty_two_bits_are_refused_in_words(dtype, form):
    image = Image.fromarray(np.ones((3, 4), dtype))
    with pytest.raises(ValueError, match=r"X\[0\] has values of 32 bits.*uint8"):
        read(encode(image, "TIFF") if form == "TIFF" else image)


def palette(transparency=None):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *BLUE, 10, 20, 30])
    image.putdata([0, 1, 2])
    return encode(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


def test_palettes_become_their_colours():
    assert read(palette()).tolist() == [[[*RED], [*BLUE], [10, 20, 30]]]
    assert read(palette(), mode="RGBA").tolist() == [[[*RED, 255], [*BLUE, 255], [10, 20, 30, 255]]]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\xff"])
def test_a_transparent_colour_of_a_palette_lies_on_white(transparency):
    assert read(palette(transparency)).tolist() == [[[*RED], [*WHITE], [10, 20, 30]]]
    assert read(palette(transparency), mode="RGBA")[0, :, 3].tolist() == [255, 0, 255]


@pytest.mark.parametrize(("mode", "colour", "kept"), [("RGB", RED, BLUE), ("L", 7, 9)])
def test_a_transparent_colour_without_a_palette_lies_on_white(mode, colour, kept):
    image = Image.new(mode, (2, 1), colour)
    image.putpixel((1, 0), kept)
    pixels = read(encode(image, transparency=colour))
    assert pixels[0, 0].tolist() == [*WHITE]
    assert pixels[0, 1].tolist() == [*np.broadcast_to(kept, 3)]


ALPHA = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], dtype=np.uint8)


@pytest.mark.parametrize("form", ["PNG", "PIL image", "array", "TIFF"])
def test_alpha_lies_on_white_or_is_kept(form):
    image = Image.fromarray(ALPHA)
    entry = {"PIL image": image, "array": ALPHA}.get(form) if form in ("PIL image", "array") else encode(image, form)
    # A fifth of (200, 100, 0) on white.
    assert read(entry).tolist() == [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]
    np.testing.assert_array_equal(read(entry, mode="RGBA"), ALPHA)
    assert read(entry, mode="L")[0, 1] == 255


def test_grey_with_alpha_lies_on_white_or_is_kept():
    image = Image.new("LA", (2, 1))
    image.putdata([(100, 255), (100, 0)])
    content = encode(image)
    assert read(content).tolist() == [[[100] * 3, [255] * 3]]
    assert read(content, mode="L").tolist() == [[100, 255]]
    assert read(content, mode="RGBA")[0, :, 3].tolist() == [255, 0]


def test_cmyk_becomes_colour():
    content = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    with Image.open(BytesIO(content)) as image:
        assert image.mode == "CMYK"
    assert abs(read(content).astype(int) - RED).max() < 8


def test_one_bit_becomes_black_and_white():
    bits = noise(5, 11, 1) > 127
    content = encode(Image.fromarray(bits))
    np.testing.assert_array_equal(read(content, mode="L"), bits * 255)
    np.testing.assert_array_equal(read(content), np.stack([bits * 255] * 3, axis=2))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_of_several_is_read(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in (RED, BLUE, WHITE)]
    settings = {"lossless": True} if kind == "WEBP" else {}
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
    with Image.open(BytesIO(content)) as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(read(content), np.full((6, 8, 3), RED))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PNG", "PPM", "TIFF", "WEBP"])
def test_every_lossless_kind_of_file_gives_its_pixels(kind, tmp_path):
    image = Image.fromarray(noise(5, 7))
    if kind == "GIF":
        image = image.quantize(64)
    settings = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(encode(image, kind, **settings))
    np.testing.assert_array_equal(read(path), np.asarray(image.convert("RGB")))


def photograph():
    """Smooth, as photographs are."""
    waves = np.sin(np.arange(1024) / 40)[:, None, None] * np.cos(np.arange(768) / 30)[:, None] * [1.0, 0.6, -0.8]
    return Image.fromarray((127 + 120 * waves).astype(np.uint8))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_large_jpeg_made_small_is_close_to_exact_resizing(resize):
    content = encode(photograph(), "JPEG", quality=95)
    with Image.open(BytesIO(content)) as image:
        exact = read(np.asarray(image), size=(40, 32), resize=resize)
    assert abs(read(content, size=(40, 32), resize=resize).astype(int) - exact).max() <= 6


def test_a_large_jpeg_is_not_decoded_in_full(monkeypatch):
    sizes = []
    resized = Decoder._resize
    monkeypatch.setattr(
        Decoder, "_resize", lambda self, image, name: [sizes.append(image.size), resized(self, image, name)][1]
    )
    content = encode(photograph(), "JPEG")
    read(content, size=(40, 32))
    assert sizes == [(96, 128)]  # an eighth; not below twice the larger side
    read(content, size=(40, 80))
    assert sizes[1:] == [(192, 256)]
    assert read(content).shape == (1024, 768, 3)


def in_lab(image):
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(image, transform)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["La", "LAB", "HSV", "YCbCr"])
def test_pil_images_of_rare_modes_are_read(kind, mode):
    grey = Image.fromarray(np.full((4, 5, 3), 100, np.uint8))
    image = grey.convert("LA").convert("La") if kind == "La" else in_lab(grey) if kind == "LAB" else grey.convert(kind)
    pixels = read(image, mode=mode)
    np.testing.assert_allclose(pixels[..., :3] if mode != "L" else pixels, 100, atol=4)


def test_a_long_entry_is_not_printed_whole():
    with pytest.raises(TypeError, match=r"X\[0\]") as info:
        ImageReader(size=4).fit_transform([[[1.0] * 64] * 64])
    assert len(str(info.value)) < 300


def test_decoding_takes_the_cpus_of_this_process_where_it_runs_alone(monkeypatch):
    monkeypatch.setattr("sklearn_cnn.preprocessing._files.cpu_count", lambda: 5)
    assert decoding_threads(None) == 5
    assert [decoding_threads(n) for n in (1, 3)] == [1, 3]
    with joblib.parallel_config(n_jobs=2):
        assert decoding_threads(None) == 2
    with ThreadPoolExecutor(1) as executor:  # as in a search over threads
        assert executor.submit(decoding_threads, None).result() == 1
    monkeypatch.setattr("sklearn_cnn.preprocessing._files.parent_process", lambda: "a parent")
    assert decoding_threads(None) == 1


@pytest.mark.slow
def test_a_worker_of_a_search_decodes_with_one_thread():
    assert joblib.Parallel(n_jobs=2)(joblib.delayed(decoding_threads)(None) for _ in range(2)) == [1, 1]
