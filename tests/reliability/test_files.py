"""Image files that are broken, and those that are only odd. The number is that of the reliability table."""

import gzip
import os
import struct
import warnings
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageReader
from sklearn_cnn.datasets import load_image_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encode(kind, image=PICTURE, **settings):
    file = BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


WHOLE = {
    "png": encode("PNG"),
    "jpg": encode("JPEG"),
    "progressive.jpg": encode("JPEG", progressive=True),
    "gif": encode("GIF"),
    "tif": encode("TIFF"),
    "packed.tif": encode("TIFF", compression="tiff_adobe_deflate"),
    "webp": encode("WEBP"),
    "bmp": encode("BMP"),
    "ppm": encode("PPM"),
}


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, *chunks):
    """A PNG that says it has some size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def gif(width, height):
    """A GIF of a few bytes whose screen and frame say they have some size."""
    content = bytearray(encode("GIF", Image.new("P", (4, 4))))
    frame = content.index(b",")
    content[6:10] = content[frame + 5 : frame + 9] = struct.pack("<HH", width, height)
    return bytes(content)


def changed(content, place, by=0xFF):
    content = bytearray(content)
    content[place] ^= by
    return bytes(content)


def archive():
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("image.png", WHOLE["png"])
    return file.getvalue()


DATA = chunk(b"IDAT", zlib.compress(bytes(1000)))
PLACE = WHOLE["png"].index(b"IDAT")
CONTENTS = {
    **{
        f"cut at {part}.{ending}": content[: int(len(content) * part)]
        for ending, content in WHOLE.items()
        for part in (0.1, 0.5, 0.9)
    },
    **{f"first 16 bytes.{ending}": content[:16] for ending, content in WHOLE.items()},
    "text.png": b"this is no image",
    "empty.png": b"",
    "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "archive.png": archive(),
    "packed.png": gzip.compress(WHOLE["png"]),
    "vectors.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    "document.tif": b"%PDF-1.7\n%%EOF\n",
    "zeros.bmp": bytes(1000),
    "noise.jpg": PIXELS.tobytes(),
    "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "signature.png": WHOLE["png"][:8],
    "bomb.png": png(100_000, 100_000, DATA),
    "largest bomb.png": png(2**31 - 1, 2**31 - 1, DATA),
    "bomb.gif": gif(65_535, 65_535),
    "text bomb.png": png(16, 16, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), DATA),
    "no width.png": png(0, 5, DATA),
    "no data.png": png(16, 16),
    "too little data.png": png(64, 64, DATA),
    "header checksum.png": changed(WHOLE["png"], 29),
    "data.png": changed(WHOLE["png"], PLACE + 20),
    "tables.jpg": WHOLE["jpg"][:2] + WHOLE["jpg"][WHOLE["jpg"].index(b"\xff\xda") :],
    "float.tif": encode("TIFF", Image.fromarray(np.ones((4, 5), np.float32))),
    "int.tif": encode("TIFF", Image.fromarray(np.ones((4, 5), np.int32))),
}
PLACES = ("missing.png", "folder.png", "link to nowhere.png", "link to itself.png", "name in a file.png")
BROKEN = [*CONTENTS, *PLACES]


def make(name, folder):
    """A file that cannot be read as an image."""
    path = folder / name
    match name:
        case "missing.png":
            pass
        case "folder.png":
            path.mkdir()
        case "link to nowhere.png":
            path.symlink_to(folder / "nowhere")
        case "link to itself.png":
            path.symlink_to(path)
        case "name in a file.png":
            (folder / "file").write_bytes(WHOLE["png"])
            path = folder / "file" / name
        case _:
            path.write_bytes(CONTENTS[name])
    return path


def small():
    return CNNClassifier(filters=(4, 6), hidden_layer_sizes=(8,), max_epochs=1, random_state=0)


# Pillow warns of some broken files before it gives up.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{start}:UserWarning")
    for start in ("Corrupt EXIF data", "Truncated File Read", "Metadata Warning")
]


@pytest.fixture
def good(tmp_path):
    paths = []
    for i in range(3):
        paths.append(tmp_path / "images" / f"good {i}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_bytes(WHOLE["png"])
    return paths


LIMITS = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES


def names(error, path):
    """Whether the message has the path, be it quoted."""
    return str(path) in str(error) or repr(str(path)) in str(error)


@pytest.mark.reliability(40)
def test_more_than_forty_broken_files_are_tried_within_the_limits_of_pillow():
    assert len(BROKEN) >= 40
    assert LIMITS == (89_478_485, False)


@pytest.mark.reliability(40)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_by_the_reader_and_the_limits_of_pillow_stay(name, good):
    path = make(name, good[0].parent)
    entries = [*good, path]
    for reader in (ImageReader(size=8), ImageReader(size=8, mode="L", resize="crop", n_jobs=2)):
        with pytest.raises((OSError, ValueError)) as info:
            reader.fit_transform(entries)
        assert names(info.value, path)
    with pytest.raises((OSError, ValueError)) as info:
        ImageReader().fit([path])
    assert names(info.value, path)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == LIMITS


@pytest.mark.reliability(40)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_by_a_lazy_reader_when_it_is_used(name, good):
    path = make(name, good[0].parent)
    source = ImageReader(size=8, lazy=True).fit_transform([*good, path])
    assert np.asarray(source[:3]).shape == (3, 8, 8, 3)
    with pytest.raises((OSError, ValueError)) as info:
        np.asarray(source)
    assert names(info.value, path)


@pytest.mark.reliability(40)
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["cut at 0.5.png", "text.png", "bomb.png", "float.tif", "missing.png", "folder.png"])
def test_a_broken_file_is_named_by_the_fit_of_a_pipeline(name, lazy, good):
    path = make(name, good[0].parent)
    pipe = make_pipeline(ImageReader(size=8, lazy=lazy), small())
    with pytest.raises((OSError, ValueError)) as info:
        pipe.fit([*good, path], [0, 1, 0, 1])
    assert names(info.value, path)
    assert not hasattr(pipe[-1], "module_")


@pytest.mark.reliability(40)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_left_out_of_a_folder_by_skip(name, good):
    folder = good[0].parent
    path = make(name, folder)
    if not path.is_symlink() and not path.is_file():
        found = load_image_folder(folder.parent, on_error="skip")  # there is no file to leave out
    else:
        with pytest.warns(UserWarning, match="left out 1 of 4 files that cannot be read as images") as record:
            found = load_image_folder(folder.parent, on_error="skip")
        assert repr(str(path)) in str(record[-1].message)
    assert found.filenames.tolist() == [str(path) for path in good]


@pytest.mark.reliability(40)
def test_all_broken_files_together_are_left_out_and_counted(good):
    folder = good[0].parent
    for name in CONTENTS:
        make(name, folder)
    with pytest.warns(UserWarning, match=f"left out {len(CONTENTS)} of {len(CONTENTS) + 3} files") as record:
        found = load_image_folder(folder.parent, on_error="skip")
    assert found.filenames.tolist() == [str(path) for path in good]
    assert sum("left out" in str(warning.message) for warning in record) == 1
    network = make_pipeline(ImageReader(size=8), small()).fit(found.filenames, [0, 1, 0])
    assert network.predict(found.filenames).shape == (3,)


@pytest.mark.reliability(40)
@pytest.mark.parametrize("name", ["bomb.png", "largest bomb.png", "bomb.gif"])
def test_a_bomb_says_so(name, tmp_path):
    with pytest.raises(ValueError, match=r"DecompressionBomb.*exceeds limit"):
        ImageReader(size=8).fit_transform([make(name, tmp_path)])


@pytest.mark.reliability(40)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_limit_that_the_user_sets_is_kept_to(lazy, good, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="exceeds limit") as info:
        np.asarray(ImageReader(size=8, lazy=lazy).fit_transform(good))
    assert names(info.value, good[0])


@pytest.mark.reliability(40)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named_and_left_out(good):
    good[1].chmod(0)
    with pytest.raises(PermissionError) as info:
        ImageReader(size=8).fit_transform(good)
    assert names(info.value, good[1])
    with pytest.warns(UserWarning, match="left out 1 of 3"):
        assert len(load_image_folder(good[0].parent.parent, on_error="skip").filenames) == 2


@pytest.mark.reliability(40)
def test_a_file_that_may_not_be_opened_is_named_and_left_out(good, monkeypatch):
    """The same for root."""
    opened = Image.open

    def refuse(file, *args):
        if str(file) == str(good[1]):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args)

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(PermissionError) as info:
        ImageReader(size=8).fit_transform(good)
    assert names(info.value, good[1])
    with pytest.warns(UserWarning, match="left out 1 of 3"):
        assert len(load_image_folder(good[0].parent.parent, on_error="skip").filenames) == 2


@pytest.mark.reliability(40)
@pytest.mark.parametrize(
    "error",
    [
        SyntaxError("broken PNG file"),
        struct.error("unpack requires a buffer of 4 bytes"),
        zlib.error("Error -3"),
        OverflowError("too large"),
        IndexError("list index out of range"),
        KeyError(34),
        AttributeError("no tag"),
        ZeroDivisionError("division by zero"),
        MemoryError(),
        RecursionError("too deep"),
        EOFError(),
        TypeError("not subscriptable"),
        OSError("broken data stream"),
        OSError(22, "Invalid argument"),
        ValueError("negative seek"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("step", ["open", "load"])
def test_whatever_a_decoder_stumbles_over_names_the_file_and_is_left_out(error, step, good, monkeypatch):
    def stumble(*args, **kwargs):
        raise error

    images = good[0].parent
    broken = images / "broken.tif"
    broken.write_bytes(WHOLE["tif"])
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "_open" if step == "open" else "load", stumble)
    with pytest.raises((OSError, ValueError)) as info:
        ImageReader(size=8).fit_transform([*good, broken])
    assert names(info.value, broken)
    with pytest.warns(UserWarning, match="left out 1 of 4"):
        assert len(load_image_folder(images.parent, on_error="skip").filenames) == 3


@pytest.mark.reliability(40)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_broken_file(error, good, monkeypatch):
    def interrupt(*args):
        raise error

    monkeypatch.setattr(Image, "open", interrupt)
    with pytest.raises(error):
        ImageReader(size=8).fit_transform(good)
    with pytest.raises(error):
        load_image_folder(good[0].parent.parent, on_error="skip")


# Files that are only odd


def exif(orientation=6):
    made = Image.Exif()
    made[274] = orientation
    return made


SIXTEEN = Image.fromarray((PIXELS[..., 0].astype(np.uint16) << 8) + 77)
ALPHA = PICTURE.copy()
ALPHA.putalpha(128)
FRAMES = [Image.new("RGB", (32, 24), colour) for colour in ("red", "blue", "green")]
ODD = {
    "animated.gif": encode("GIF", FRAMES[0], save_all=True, append_images=FRAMES[1:]),
    "animated.webp": encode("WEBP", FRAMES[0], save_all=True, append_images=FRAMES[1:]),
    "animated.png": encode("PNG", FRAMES[0], save_all=True, append_images=FRAMES[1:]),
    "pages.tif": encode("TIFF", FRAMES[0], save_all=True, append_images=FRAMES[1:]),
    "inks.jpg": encode("JPEG", PICTURE.convert("CMYK")),
    "inks.tif": encode("TIFF", PICTURE.convert("CMYK")),
    "16 bit.png": encode("PNG", SIXTEEN),
    "16 bit.tif": encode("TIFF", SIXTEEN),
    "16 bit.pgm": b"P5 32 24 65535\n" + np.asarray(SIXTEEN).astype(">u2").tobytes(),
    "turned.jpg": encode("JPEG", PICTURE.transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
    "turned.png": encode("PNG", PICTURE.transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
    "turned.webp": encode("WEBP", PICTURE.transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
    "turned.tif": encode("TIFF", PICTURE.transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
    "orientation 99.jpg": encode("JPEG", exif=exif(99)),
    "broken exif.jpg": encode("JPEG", exif=b"Exif\0\0" + b"\xff" * 40),
    "broken exif.png": encode("PNG", exif=b"Exif\0\0" + b"\xff" * 40),
    "broken exif.webp": encode("WEBP", exif=b"Exif\0\0" + b"\xff" * 40),
    "cut exif.jpg": encode("JPEG", exif=exif().tobytes()[:14]),
    "cut exif.png": encode("PNG", exif=exif().tobytes()[:14]),
    "palette.png": encode("PNG", PICTURE.quantize(16)),
    "transparent palette.png": encode("PNG", PICTURE.quantize(16), transparency=bytes(8)),
    "alpha.png": encode("PNG", ALPHA),
    "grey alpha.png": encode("PNG", ALPHA.convert("LA")),
    "1 bit.png": encode("PNG", PICTURE.convert("1")),
    "1 bit.tif": encode("TIFF", PICTURE.convert("1"), compression="group4"),
    "wrong ending.png": WHOLE["jpg"],
    "no ending": WHOLE["gif"],
    "more behind.jpg": WHOLE["jpg"] + b"more",
    "more behind.png": WHOLE["png"] + b"more",
    "end missing.png": WHOLE["png"][:-12],
    "data checksum.png": changed(WHOLE["png"], PLACE + 4 + struct.unpack(">I", WHOLE["png"][PLACE - 4 : PLACE])[0]),
}


@pytest.fixture
def odd(request, tmp_path):
    path = tmp_path / "images" / request.param
    path.parent.mkdir()
    path.write_bytes(ODD[request.param])
    return path


@pytest.mark.reliability(40)
@pytest.mark.parametrize("odd", ODD, indirect=True)
def test_an_odd_file_is_read(odd):
    assert ImageReader().fit_transform([odd]).shape == (1, 24, 32, 3)
    eager = ImageReader(size=8).fit_transform([odd])
    assert eager.shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(np.asarray(ImageReader(size=8, lazy=True).fit_transform([odd])), eager)
    assert len(np.unique(eager)) > 1


@pytest.mark.reliability(40)
@pytest.mark.parametrize("odd", ODD, indirect=True)
def test_an_odd_file_stays_in_its_folder(odd):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        found = load_image_folder(odd.parent.parent, extensions=None, on_error="skip")
    assert found.filenames.tolist() == [str(odd)]
    assert not [warning for warning in record if "left out" in str(warning.message)]


@pytest.mark.reliability(40)
@pytest.mark.parametrize("odd", ["turned.png", "turned.tif", "more behind.png", "end missing.png"], indirect=True)
def test_the_pixels_of_an_odd_file_are_those_of_the_picture(odd):
    np.testing.assert_array_equal(ImageReader().fit_transform([odd])[0], PIXELS)


@pytest.mark.reliability(40)
def test_odd_files_train_a_network_together(tmp_path):
    for name, content in ODD.items():
        (tmp_path / name).write_bytes(content)
    paths = sorted(Path(tmp_path).iterdir())
    pipe = make_pipeline(ImageReader(size=8, lazy=True, n_jobs=2), small()).fit(paths, np.arange(len(paths)) % 2)
    assert np.isfinite(pipe.predict_proba(paths)).all()
