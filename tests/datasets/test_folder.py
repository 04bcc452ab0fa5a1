"""load_image_folder."""

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_files
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from sklearn_cnn import CNNClassifier, ImageReader
from sklearn_cnn.datasets import load_image_folder
from sklearn_cnn.datasets._folder import IMAGE_EXTENSIONS


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def draw(folder, *names, colour=90):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 5), colour).save(path, "PNG")
    return folder


def names_of(found, folder):
    return [Path(name).relative_to(folder).as_posix() for name in found.filenames]


# What is found


@pytest.fixture
def pets(tmp_path):
    return draw(tmp_path, "dogs/2.png", "cats/10.png", "dogs/1.png", "cats/9.png", "ants/1.png")


@pytest.mark.parametrize("kind", [str, Path, lambda path: str(path) + os.sep], ids=["str", "Path", "with a slash"])
def test_files_and_classes_are_those_of_load_files(pets, kind):
    found = load_image_folder(kind(pets))
    expected = load_files(pets, shuffle=False, load_content=False)
    order = np.argsort(expected.filenames)
    assert found.filenames.tolist() == expected.filenames[order].tolist()
    assert found.target.tolist() == expected.target[order].tolist()
    assert found.target_names == expected.target_names
    assert type(found) is type(expected) is Bunch
    assert set(found) == {"filenames", "target", "target_names", "DESCR"} <= set(expected)
    assert found.target.dtype == expected.target.dtype
    assert type(found.target_names) is list and type(found.filenames) is np.ndarray
    assert found.filenames.dtype.kind == "U" and found.filenames.ndim == found.target.ndim == 1


def test_images_are_sorted_by_class_and_name(pets):
    found = load_image_folder(pets)
    assert names_of(found, pets) == ["ants/1.png", "cats/10.png", "cats/9.png", "dogs/1.png", "dogs/2.png"]
    assert found.target.tolist() == [0, 1, 1, 2, 2]
    assert found.target_names == ["ants", "cats", "dogs"]


def test_the_description_counts_what_was_found(pets):
    description = load_image_folder(pets).DESCR
    assert description == f"5 images of 3 classes from {pets} (ants: 1, cats: 2, dogs: 2)."


def test_a_relative_path_gives_relative_names(pets, monkeypatch):
    monkeypatch.chdir(pets.parent)
    found = load_image_folder(pets.name)
    assert found.filenames[0] == str(Path(pets.name) / "ants" / "1.png")


def test_images_in_sub_folders_of_a_class_belong_to_it(tmp_path):
    touch(tmp_path, "cats/b.png", "cats/old/c.png", "cats/old/very/d.png", "cats/a/z.png", "dogs/young/1.png")
    found = load_image_folder(tmp_path)
    assert names_of(found, tmp_path) == [
        "cats/a/z.png",
        "cats/b.png",
        "cats/old/c.png",
        "cats/old/very/d.png",
        "dogs/young/1.png",
    ]
    assert found.target.tolist() == [0, 0, 0, 0, 1]


def test_names_that_begin_with_a_dot_are_passed_over(tmp_path):
    touch(tmp_path, "a/1.png", "a/.2.png", "a/.hidden/3.png", "a/b/.4.png", "a/b/.deep/5.png", ".git/6.png")
    found = load_image_folder(tmp_path)
    assert names_of(found, tmp_path) == ["a/1.png"]
    assert found.target_names == ["a"]


def test_files_beside_the_sub_folders_are_passed_over(tmp_path):
    touch(tmp_path, "a/1.png", "loose.png", "README.txt")
    assert names_of(load_image_folder(tmp_path), tmp_path) == ["a/1.png"]


def test_names_with_spaces_and_foreign_letters_are_kept(tmp_path):
    draw(tmp_path, "große Katzen/ein Bild (1).png", "猫/写真.png")
    found = load_image_folder(tmp_path, on_error="skip")
    assert found.target_names == ["große Katzen", "猫"]
    assert ImageReader().fit_transform(found.filenames).shape == (2, 5, 6, 3)


def link(source, target):
    try:
        source.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("this system makes no links")


def test_links_to_folders_and_files_are_followed(tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "1.png")
    folder = touch(tmp_path / "images", "a/2.png")
    link(folder / "a" / "linked", elsewhere)
    link(folder / "b", elsewhere)
    assert names_of(load_image_folder(folder), folder) == ["a/2.png", "a/linked/1.png", "b/1.png"]


def test_a_link_in_a_circle_counts_no_image_twice(tmp_path):
    folder = touch(tmp_path, "a/1.png", "a/b/2.png")
    link(folder / "a" / "b" / "again", folder / "a")
    assert names_of(load_image_folder(folder), folder) == ["a/1.png", "a/b/2.png"]


# Extensions


@pytest.mark.parametrize("ending", IMAGE_EXTENSIONS)
@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_the_usual_extensions_are_taken_in_capitals_or_not(tmp_path, ending, change):
    touch(tmp_path, f"a/1{change(ending)}", "a/2.txt", "a/3", f"a/4{ending}.txt", f"a/5{ending[1:]}")
    assert names_of(load_image_folder(tmp_path), tmp_path) == [f"a/1{change(ending)}"]


@pytest.mark.parametrize(
    "extensions",
    [".jp2", "jp2", "JP2", ".Jp2", [".jp2"], ("jp2",), {"JP2"}, ["jp2", ".xyz"]],
    ids=str,
)
def test_own_extensions_come_with_or_without_dot_and_in_capitals_or_not(tmp_path, extensions):
    touch(tmp_path, "a/1.jp2", "a/2.JP2", "a/3.png", "a/4.jp2x", "a/5jp2")
    found = load_image_folder(tmp_path, extensions=extensions)
    assert names_of(found, tmp_path) == ["a/1.jp2", "a/2.JP2"]


def test_several_extensions_are_taken_together(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.jpg", "a/3.gif")
    assert names_of(load_image_folder(tmp_path, extensions=["png", ".gif"]), tmp_path) == ["a/1.png", "a/3.gif"]


def test_without_extensions_every_file_is_taken(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.txt", "a/3", "a/.4")
    assert names_of(load_image_folder(tmp_path, extensions=None), tmp_path) == ["a/1.png", "a/2.txt", "a/3"]


@pytest.mark.parametrize(
    "extensions", [[], (), "", ".", [""], ["."], [".png", ""], [".png", 3], [None], [b".png"]], ids=str
)
def test_extensions_that_are_none_are_refused(pets, extensions):
    with pytest.raises(ValueError, match=r"extensions are endings such as .*; got"):
        load_image_folder(pets, extensions=extensions)


# Folders that are refused


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_that_is_not_there_is_missed(tmp_path, kind):
    with pytest.raises(FileNotFoundError, match="no folder") as info:
        load_image_folder(kind(tmp_path / "missing"))
    assert repr(str(tmp_path / "missing")) in str(info.value)


def test_a_file_is_no_folder(pets):
    with pytest.raises(NotADirectoryError, match="is not a folder") as info:
        load_image_folder(pets / "ants" / "1.png")
    assert repr(str(pets / "ants" / "1.png")) in str(info.value)


@pytest.mark.parametrize("content", [[], ["1.png"], [".hidden/1.png"]], ids=["empty", "images", "hidden"])
def test_a_folder_without_sub_folders_is_refused(tmp_path, content):
    touch(tmp_path, *content)
    with pytest.raises(ValueError, match="has no sub-folders; each class of images needs one") as info:
        load_image_folder(tmp_path)
    assert repr(str(tmp_path)) in str(info.value)


@pytest.mark.parametrize("content", ["", "text.txt", ".hidden.png", "deep/text.txt"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_class_without_images_is_refused(pets, content, on_error):
    (pets / "bees").mkdir()
    if content:
        touch(pets / "bees", content)
    with pytest.raises(ValueError, match=r"has no images with one of the extensions \.bmp, .*\.webp") as info:
        load_image_folder(pets, on_error=on_error)
    assert repr(str(pets / "bees")) in str(info.value)


def test_of_a_class_without_files_nothing_is_said_about_reading(pets):
    (pets / "bees").mkdir()
    with pytest.raises(ValueError, match="has no images") as info:
        load_image_folder(pets)
    assert "can be read" not in str(info.value)


def test_a_class_without_files_is_refused_where_all_extensions_are_taken(pets):
    (pets / "bees").mkdir()
    with pytest.raises(ValueError, match="has no images of any kind"):
        load_image_folder(pets, extensions=None)


# Order


def test_shuffling_keeps_names_and_targets_together_and_a_seed_repeats_it(tmp_path):
    touch(tmp_path, *(f"{name}/{i}.png" for name in "abc" for i in range(10)))
    plain = load_image_folder(tmp_path)
    first, again, other = (load_image_folder(tmp_path, shuffle=True, random_state=seed) for seed in (0, 0, 1))
    assert first.filenames.tolist() == again.filenames.tolist()
    assert first.filenames.tolist() != other.filenames.tolist()
    assert first.filenames.tolist() != plain.filenames.tolist() == sorted(first.filenames)
    for found in (plain, first, other):
        assert [found.target_names[i] for i in found.target] == [Path(name).parent.name for name in found.filenames]
    assert first.target.tolist() != plain.target.tolist()
    assert "a: 10, b: 10, c: 10" in first.DESCR


def test_a_random_state_object_is_drawn_from(tmp_path):
    touch(tmp_path, *(f"a/{i}.png" for i in range(20)))
    state = np.random.RandomState(3)
    first, second = (load_image_folder(tmp_path, shuffle=True, random_state=state).filenames for _ in range(2))
    expected = load_image_folder(tmp_path, shuffle=True, random_state=3).filenames
    assert first.tolist() == expected.tolist() != second.tolist()


def test_without_shuffling_nothing_is_drawn(pets):
    np.random.seed(0)  # noqa: NPY002 - the generator that random_state=None means
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the generator that random_state=None means
    load_image_folder(pets)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002 - the generator that random_state=None means


# Files that cannot be read


def spoil(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"no image")
    return folder


def test_raise_opens_no_file(pets, monkeypatch):
    spoil(pets, "cats/9.png", "ants/1.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", None)
        found = load_image_folder(pets, on_error="raise")
    assert len(found.filenames) == 5
    with pytest.raises(ValueError) as info:
        ImageReader(size=4).fit_transform(found.filenames)
    assert repr(str(pets / "ants" / "1.png")) in str(info.value)


def test_skip_leaves_out_broken_files_and_says_how_many_of_how_many(pets):
    spoil(pets, "cats/9.png", "dogs/1.png")
    with pytest.warns(UserWarning, match="left out") as record:
        found = load_image_folder(pets, on_error="skip")
    assert names_of(found, pets) == ["ants/1.png", "cats/10.png", "dogs/2.png"]
    assert found.target.tolist() == [0, 1, 2]
    assert found.DESCR.startswith("3 images of 3 classes") and "dogs: 1" in found.DESCR
    assert len(record) == 1 and record[0].category is UserWarning
    shown = f"{str(pets / 'cats' / '9.png')!r}, {str(pets / 'dogs' / '1.png')!r}."
    assert str(record[0].message) == f"left out 2 of 5 files that cannot be read as images: {shown}"


@pytest.mark.parametrize(("n", "ending"), [(3, "'."), (4, ", ....")])
def test_the_warning_names_three_files_at_most(tmp_path, n, ending):
    draw(tmp_path, "a/good.png")
    spoil(tmp_path, *(f"a/{i}.png" for i in range(n)))
    with pytest.warns(UserWarning, match=f"left out {n} of {n + 1} ") as record:
        load_image_folder(tmp_path, on_error="skip")
    message = str(record[0].message)
    assert message.count(".png") == 3 and message.endswith(ending)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_warning_points_at_the_call(pets, shuffle):
    spoil(pets, "cats/9.png")
    with pytest.warns(UserWarning, match="left out") as record:
        load_image_folder(pets, on_error="skip", shuffle=shuffle)  # this line
    assert record[0].filename == __file__
    assert "# this line" in Path(__file__).read_text(encoding="utf-8").splitlines()[record[0].lineno - 1]


def test_skip_is_silent_where_all_files_can_be_read(pets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_image_folder(pets, on_error="skip")
    assert found.filenames.tolist() == load_image_folder(pets).filenames.tolist()


def test_skip_takes_images_of_any_size_and_shuffles_what_is_left(pets):
    Image.new("L", (60, 50)).save(pets / "cats" / "9.png")
    spoil(pets, "cats/10.png")
    with pytest.warns(UserWarning, match="1 of 5"):
        found = load_image_folder(pets, on_error="skip", shuffle=True, random_state=0)
    assert sorted(names_of(found, pets)) == ["ants/1.png", "cats/9.png", "dogs/1.png", "dogs/2.png"]
    assert [found.target_names[i] for i in found.target] == [Path(name).parent.name for name in found.filenames]


def test_skip_leaves_out_what_is_no_image_where_all_extensions_are_taken(pets):
    (pets / "cats" / "notes.txt").write_text("notes")
    with pytest.warns(UserWarning, match=r"1 of 6 .*notes\.txt"):
        assert len(load_image_folder(pets, extensions=None, on_error="skip").filenames) == 5


@pytest.mark.parametrize("broken", [["ants/1.png"], ["cats/10.png", "cats/9.png"]])
def test_a_class_of_which_no_file_can_be_read_is_refused(pets, broken):
    spoil(pets, *broken)
    with (
        pytest.warns(UserWarning, match=f"left out {len(broken)} of 5"),
        pytest.raises(ValueError, match=r"has no images .* that can be read") as info,
    ):
        load_image_folder(pets, on_error="skip")
    assert str(pets / broken[0].split("/")[0]) in str(info.value)


def test_a_folder_of_which_no_file_can_be_read_is_refused(pets):
    for path in pets.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="5 of 5"), pytest.raises(ValueError, match="that can be read"):
        load_image_folder(pets, on_error="skip")


# Parameters


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"path": None}, "path"),
        ({"path": 3}, "path"),
        ({"path": ["a"]}, "path"),
        ({"extensions": 3}, "extensions"),
        ({"extensions": b".png"}, "extensions"),
        ({"on_error": "ignore"}, "on_error"),
        ({"on_error": None}, "on_error"),
        ({"shuffle": "yes"}, "shuffle"),
        ({"shuffle": None}, "shuffle"),
        ({"random_state": "zero"}, "random_state"),
        ({"random_state": -1}, "random_state"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_by_name(pets, parameters, name):
    with pytest.raises(ValueError, match=f"'{name}' parameter of .*load_image_folder"):
        load_image_folder(**{"path": pets, **parameters})


def test_only_the_path_is_positional(pets):
    with pytest.raises(TypeError):
        load_image_folder(pets, ".png")


# From folder to network


def test_a_folder_is_split_trained_and_predicted(tmp_path):
    for i in range(12):
        draw(tmp_path, f"dark/{i}.png", colour=i)
        draw(tmp_path, f"bright/{i}.png", colour=255 - i)
    shutil.copy(tmp_path / "dark" / "0.png", tmp_path / "dark" / "copy.PNG")
    found = load_image_folder(tmp_path)
    y = np.array(found.target_names)[found.target]
    train, test, y_train, y_test = train_test_split(found.filenames, y, stratify=y, random_state=0)
    network = CNNClassifier(filters=(4, 6), hidden_layer_sizes=(8,), max_epochs=10, random_state=0)
    pipe = make_pipeline(ImageReader(size=8, mode="L"), network).fit(train, y_train)
    assert pipe.classes_.tolist() == ["bright", "dark"]
    assert pipe.score(test, y_test) == 1


def test_a_link_to_the_folder_of_all_classes_brings_no_other_class_in(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert load_image_folder(tmp_path).target.tolist() == [0, 1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_file(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    os.mkfifo(tmp_path / "a" / "2.png")
    assert len(load_image_folder(tmp_path).filenames) == 1


@pytest.mark.parametrize("extensions", ["*.png", ["*.png"]])
def test_extensions_are_no_patterns(tmp_path, extensions):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="without a star"):
        load_image_folder(tmp_path, extensions=extensions)
