"""ImageReader."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageAugmenter, ImageNormalizer, ImageReader
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._files import Decoder


def noise(height=8, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 photographs, dark and bright in turn, of sizes of their own."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(24):
        pixels = noise(10 + i % 3, 12 - i % 2, seed=i) // 3 + 150 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    return np.array(sorted(map(str, folder.iterdir())))


Y = np.array(["dark", "bright"] * 12)


def small(**parameters):
    settings = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 1, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


def encode(image, kind="PNG"):
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


# Without a size


@pytest.mark.parametrize("lazy", [False, True])
def test_without_a_size_the_first_image_gives_it(lazy):
    reader = ImageReader(lazy=lazy)
    assert reader.fit_transform([noise(5, 7), noise(5, 7)]).shape == (2, 5, 7, 3)
    assert reader.size_ == (5, 7)
    assert reader.fit([noise(4, 6), noise(5, 7)]).size_ == (4, 6)


def sizes(tmp_path, *sides):
    paths = [tmp_path / f"{i}.png" for i in range(len(sides))]
    for path, (height, width) in zip(paths, sides, strict=True):
        Image.fromarray(noise(height, width)).save(path)
    return paths


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("method", ["fit_transform", "transform"])
@pytest.mark.parametrize("other", [(7, 5), (5, 6), (1, 1), (10, 14)])
def test_without_a_size_an_image_of_another_is_refused_with_path_and_both_sizes(tmp_path, other, method, lazy):
    paths = sizes(tmp_path, (5, 7), (5, 7), other)
    reader = ImageReader(lazy=lazy).fit(paths)
    with pytest.raises(ValueError, match=rf"{other[0]}×{other[1]} pixels .* had 5×7.*size=") as info:
        np.asarray(getattr(reader, method)(paths))
    assert "X[2]" in str(info.value) and repr(str(paths[2])) in str(info.value)


def test_the_size_of_a_turned_image_is_that_of_the_upright_one():
    image = Image.fromarray(noise(5, 7))
    image.getexif()[274] = 6
    assert ImageReader().fit([image]).size_ == (7, 5)


@pytest.mark.parametrize("size", [9, (9, 9), [9, 9], np.array([9, 9]), np.int64(9)])
def test_a_size_is_kept_as_a_pair_of_plain_ints_and_the_parameter_untouched(size):
    reader = ImageReader(size).fit([noise()])
    assert reader.size_ == (9, 9)
    assert [type(side) for side in reader.size_] == [int, int]
    assert reader.size is size


def test_a_new_fit_finds_a_new_size():
    reader = ImageReader().fit([noise(5, 7)])
    assert reader.set_params(size=4).fit_transform([noise()]).shape == (1, 4, 4, 3)
    assert reader.set_params(size=None).fit_transform([noise(6, 3)]).shape == (1, 6, 3, 3)


def test_with_a_size_fit_opens_no_file():
    reader = ImageReader(size=4)
    assert reader.fit(["missing.png"]) is reader
    assert ImageReader().fit([noise()]).size_ == (8, 8)


def test_without_a_size_fit_opens_the_first_file_alone():
    assert ImageReader().fit([noise(), "missing.png"]).size_ == (8, 8)


# Without fit


@pytest.mark.parametrize("lazy", [False, True])
def test_with_a_size_transform_needs_no_fit(lazy):
    images = ImageReader(size=(4, 5), lazy=lazy).transform([noise()])
    np.testing.assert_array_equal(images, ImageReader(size=(4, 5)).fit_transform([noise()]))


def test_without_a_size_transform_needs_a_fit():
    with pytest.raises(NotFittedError):
        ImageReader().transform([noise()])


# Lazy


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_lazy_source_is_what_an_eager_reader_gives_bit_for_bit(paths, mode, resize):
    eager = ImageReader(size=(6, 9), mode=mode, resize=resize).fit_transform(paths)
    source = ImageReader(size=(6, 9), mode=mode, resize=resize, lazy=True).fit_transform(paths)
    assert isinstance(source, ImageSource)
    assert source.shape == eager.shape and source.dtype == np.uint8 and len(source) == 24
    np.testing.assert_array_equal(np.asarray(source), eager)
    np.testing.assert_array_equal(np.stack(list(source)), eager)


@pytest.mark.parametrize(
    "key",
    [0, -1, slice(2, 9), slice(None, None, -3), [5, 1, 5], np.array([7, 0]), np.arange(24) % 3 == 0, (3, ...), (2, 1)],
    ids=str,
)
def test_parts_of_a_lazy_source_are_parts_of_the_array(paths, key):
    reader = ImageReader(size=6, lazy=True)
    eager = clone(reader).set_params(lazy=False).fit_transform(paths)
    np.testing.assert_array_equal(np.asarray(reader.fit_transform(paths)[key]), eager[key])


def test_a_part_of_a_part_keeps_its_images(paths):
    eager = ImageReader(size=6).fit_transform(paths)
    source = ImageReader(size=6, lazy=True).fit_transform(paths)
    np.testing.assert_array_equal(np.asarray(source[4:][[3, 0]]), eager[[7, 4]])


def test_a_lazy_source_pickles(paths):
    source = ImageReader(size=6, lazy=True, n_jobs=2).fit_transform(paths)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(source[3:9]))), np.asarray(source)[3:9])


@pytest.mark.parametrize("closed", [False, True])
def test_a_lazy_source_of_open_files_pickles_and_outlives_them(paths, closed):
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb")) for path in paths]
        source = ImageReader(size=6, lazy=True).fit_transform(files)
        if closed:
            stack.close()
        copy = pickle.loads(pickle.dumps(source))
        for _ in range(2):
            np.testing.assert_array_equal(np.asarray(source), np.asarray(copy))
        np.testing.assert_array_equal(np.asarray(source), ImageReader(size=6).fit_transform(paths))


@pytest.fixture
def decoded(monkeypatch):
    """Names of the images that are decoded."""
    names = []
    call = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda self, entry, name: [names.append(name), call(self, entry, name)][1])
    return names


def test_a_lazy_reader_decodes_what_is_used_when_it_is_used(paths, decoded):
    source = ImageReader(size=6, lazy=True).fit_transform(paths)
    part = source[4:20]
    assert part.shape == (16, 6, 6, 3) and source.dtype == np.uint8 and "24, 6, 6, 3" in repr(source)
    assert decoded == []
    np.asarray(part[[3, 1]])
    assert decoded == ["X[7]", "X[5]"]
    np.asarray(part[[3]])
    assert decoded == ["X[7]", "X[5]", "X[7]"]


def test_without_a_size_a_lazy_reader_decodes_the_first_image_alone(decoded):
    ImageReader(lazy=True).fit_transform([noise(), noise()])
    assert decoded == ["X[0]"]


def test_a_file_that_went_away_is_missed_when_it_is_needed(tmp_path):
    paths = sizes(tmp_path, (5, 7), (5, 7), (5, 7))
    source = ImageReader(lazy=True).fit_transform(paths)
    paths[1].unlink()
    assert np.asarray(source[[0, 2]]).shape == (2, 5, 7, 3)
    with pytest.raises(FileNotFoundError) as info:
        np.asarray(source)
    assert str(paths[1]) in str(info.value)


def test_an_error_of_a_part_names_the_place_in_the_whole(tmp_path):
    paths = sizes(tmp_path, (5, 7), (5, 7), (5, 7), (5, 7))
    source = ImageReader(lazy=True).fit_transform(paths)[1:]
    paths[2].write_text("no image")
    with pytest.raises(ValueError, match=r"X\[2\]") as info:
        np.asarray(source[1:])
    assert str(paths[2]) in str(info.value)


# Threads


@pytest.mark.parametrize("n", [1, 2, 3, 7, 24])
@pytest.mark.parametrize("lazy", [False, True])
def test_the_number_of_threads_changes_nothing(paths, n, lazy):
    alone, together, all_of_them = (
        np.asarray(ImageReader(size=6, n_jobs=n_jobs, lazy=lazy).fit_transform(paths[:n])) for n_jobs in (None, 2, -1)
    )
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(alone, all_of_them)


def test_threads_of_a_context_are_used(paths):
    with joblib.parallel_config(n_jobs=2):
        images = ImageReader(size=6).fit_transform(paths)
    np.testing.assert_array_equal(images, ImageReader(size=6).fit_transform(paths))


@pytest.mark.parametrize("n_jobs", [None, 2, -1])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("bad", [0, 11, 23])
def test_errors_come_through_threads(paths, tmp_path, n_jobs, lazy, bad):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    entries = [*paths[:bad], broken, *paths[bad + 1 :]]
    with pytest.raises(ValueError, match=rf"X\[{bad}\]") as info:
        np.asarray(ImageReader(size=6, n_jobs=n_jobs, lazy=lazy).fit_transform(entries))
    assert repr(str(broken)) in str(info.value)


def test_one_source_is_read_in_two_threads_at_once(paths):
    source = ImageReader(size=6, lazy=True, n_jobs=2).fit_transform(paths)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(np.asarray, [source, source])
    np.testing.assert_array_equal(first, second)


# With networks


@pytest.mark.parametrize("form", ["paths", "files"])
def test_a_network_is_trained_on_a_lazy_source_as_on_the_array(paths, form):
    entries = paths if form == "paths" else [BytesIO(Path(path).read_bytes()) for path in paths]
    source = ImageReader(size=8, lazy=True).fit_transform(entries)
    eager = ImageReader(size=8).fit_transform(paths)
    lazily, eagerly = small(max_epochs=2).fit(source, Y), small(max_epochs=2).fit(eager, Y)
    np.testing.assert_array_equal(lazily.predict_proba(source), eagerly.predict_proba(eager))


def test_paths_are_split_and_searched_over(paths):
    train, test, y_train, y_test = train_test_split(paths, Y, stratify=Y, random_state=0)
    pipe = make_pipeline(ImageReader(size=8), small(max_epochs=10)).fit(train, y_train)
    assert pipe.score(test, y_test) == 1
    assert pipe.predict(list(test)).shape == (6,)


def test_a_lazy_pipeline_with_augmentation_is_cross_validated(paths):
    pipe = make_pipeline(
        ImageReader(size=8, lazy=True),
        ImageAugmenter(rotation=10, horizontal_flip=0.5, random_state=0),
        ImageNormalizer(),
        small(max_epochs=10, standardize=False),
    )
    assert cross_val_score(pipe, paths, Y, cv=2, error_score="raise").mean() > 0.9


def test_a_grid_search_reads_in_other_processes(paths):
    pipe = make_pipeline(ImageReader(size=8, lazy=True), small())
    grid = {"imagereader__size": [6, (8, 9)], "imagereader__mode": ["L", "RGB"]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=2, error_score="raise").fit(paths, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(paths).shape == (24,)


# As a scikit-learn estimator


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"size": 0}, "size"),
        ({"size": -1}, "size"),
        ({"size": 1.5}, "size"),
        ({"size": "8"}, "size"),
        ({"size": True}, "size"),
        ({"size": (4,)}, "size"),
        ({"size": (4, 5, 6)}, "size"),
        ({"size": ()}, "size"),
        ({"size": (0, 4)}, "size"),
        ({"size": (4, -1)}, "size"),
        ({"size": (4.0, 5)}, "size"),
        ({"size": (4, "5")}, "size"),
        ({"size": (4, True)}, "size"),
        ({"size": (4, None)}, "size"),
        ({"size": {4, 5}}, "size"),
        ({"size": np.array([[4, 5]])}, "size"),
        ({"size": np.array(4)}, "size"),
        ({"size": np.array([4.0, 5.0])}, "size"),
        ({"mode": "rgb"}, "mode"),
        ({"mode": "CMYK"}, "mode"),
        ({"mode": None}, "mode"),
        ({"mode": 3}, "mode"),
        ({"resize": None}, "resize"),
        ({"resize": "fit"}, "resize"),
        ({"lazy": 1}, "lazy"),
        ({"lazy": "yes"}, "lazy"),
        ({"lazy": None}, "lazy"),
        ({"n_jobs": "2"}, "n_jobs"),
        ({"n_jobs": 1.5}, "n_jobs"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "fit_transform", "transform"])
def test_bad_parameters_are_refused_by_name(parameters, name, method):
    reader = ImageReader(**{"size": 4, **parameters})
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        getattr(reader, method)([noise()])
    assert not hasattr(reader, "size_")


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="n_jobs"):
        ImageReader(size=4, n_jobs=0).fit_transform([noise()])


def test_only_the_size_is_positional():
    with pytest.raises(TypeError):
        ImageReader(4, "L")
    assert ImageReader(4).get_params() == {
        "size": 4,
        "mode": "RGB",
        "resize": "stretch",
        "interpolation": "bilinear",
        "crop_share": 1.0,
        "lazy": False,
        "n_jobs": None,
    }


@pytest.mark.parametrize("fitted", [False, True])
def test_a_reader_is_cloned_and_pickled(fitted):
    parameters = {"size": None, "mode": "L", "resize": "pad", "lazy": True, "n_jobs": 2}
    parameters |= {"interpolation": "bicubic", "crop_share": 1.0}
    reader = ImageReader(**parameters)
    if fitted:
        reader.fit([noise(5, 7)])
    assert clone(reader).get_params() == parameters
    assert not hasattr(clone(reader), "size_")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.get_params() == parameters
    assert getattr(copy, "size_", None) == ((5, 7) if fitted else None)
    if fitted:
        assert copy.transform([noise(5, 7)]).shape == (1, 5, 7)


def test_tags_say_that_paths_are_read():
    tags = ImageReader().__sklearn_tags__()
    assert tags.input_tags.string and not tags.input_tags.two_d_array


def test_fit_and_transform_give_what_fit_transform_gives(paths):
    reader = ImageReader(size=6)
    np.testing.assert_array_equal(reader.fit(paths, Y).transform(paths), clone(reader).fit_transform(paths, Y))


# Without Pillow


@pytest.mark.parametrize("parameters", [{"size": 4}, {}, {"size": 4, "lazy": True}], ids=str)
@pytest.mark.parametrize("entry", ["a.png", encode(Image.fromarray(noise())), noise()], ids=["path", "bytes", "array"])
def test_without_pillow_the_error_names_the_extra(monkeypatch, parameters, entry):
    for module in ["PIL", *(name for name in sys.modules if name.startswith("PIL."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"reading images needs Pillow.*pip install 'sklearn-cnn\[images\]'"):
        np.asarray(ImageReader(**parameters).fit_transform([entry]))


# Interpolation and crop share


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("side", [12, 40])
def test_a_crop_share_is_a_centre_crop_of_a_larger_image(resize, interpolation, side):
    picture = Image.fromarray(noise(96, 96)).resize((96, 64), Image.Resampling.BOX)
    kept = ImageReader(size=side, resize=resize, interpolation=interpolation, crop_share=0.5).transform([picture])[0]
    larger = ImageReader(size=2 * side, resize=resize, interpolation=interpolation).transform([picture])[0]
    centre = larger[side // 2 : -side // 2, side // 2 : -side // 2].astype(int)
    assert np.abs(kept[2:-2, 2:-2] - centre[2:-2, 2:-2]).max() <= 2


def test_interpolations_differ_and_bicubic_is_that_of_pillow():
    picture = Image.fromarray(noise(20, 20))
    linear, cubic = (ImageReader(size=33, interpolation=kind).transform([picture]) for kind in ("bilinear", "bicubic"))
    np.testing.assert_array_equal(cubic[0], np.asarray(picture.resize((33, 33), Image.Resampling.BICUBIC)))
    assert not np.array_equal(linear, cubic)


def test_an_image_of_the_size_itself_is_cut_too():
    picture = noise(16, 16)
    assert not np.array_equal(ImageReader(size=16, crop_share=0.5).transform([picture])[0], picture)


@pytest.mark.parametrize("method", ["fit", "fit_transform", "transform"])
@pytest.mark.parametrize(
    ("parameters", "message"), [({"size": 8, "resize": "pad"}, "keeps the whole image"), ({}, "size=None keeps")]
)
def test_a_crop_share_that_cannot_be_is_refused(parameters, message, method):
    reader = ImageReader(**parameters, crop_share=0.9)
    with pytest.raises((ValueError, NotFittedError), match=rf"{message}|not fitted"):
        getattr(reader, method)([noise()])


@pytest.mark.parametrize("parameter", [{"crop_share": 0}, {"crop_share": 1.1}, {"interpolation": "nearest"}], ids=str)
def test_impossible_shares_and_interpolations_are_refused(parameter):
    with pytest.raises(ValueError, match=next(iter(parameter))):
        ImageReader(size=8, **parameter).fit([noise()])
