"""Folders that hold the parts of a data set."""

import pytest

from sklearn_cnn.datasets import load_image_folder
from tests.datasets.test_folder import draw, names_of, touch


@pytest.fixture
def split(tmp_path):
    return touch(tmp_path, "train/cat/1.png", "train/dog/2.png", "train/emu/3.png", "val/dog/4.png", "test/emu/5.png")


@pytest.mark.parametrize(
    "files",
    [
        ("train/cat/1.png", "val/cat/2.png"),
        ("Train/cat/1.png", "Train/dog/2.png", "VALID/dog/3.png"),
        ("training/cat/1.png", "validation/cat/2.png", "testing/cat/3.png"),
        ("train/cat/1.png",),
        ("train/cat/1.png", "test/2.png"),
    ],
    ids=str,
)
def test_parts_are_not_taken_for_classes(tmp_path, files):
    touch(tmp_path, *files)
    with pytest.raises(ValueError, match=r'holds parts of a data set.*subset="train".*subset=None'):
        load_image_folder(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        ("train/1.png", "test/2.png"),  # vehicles and exams
        ("train/steam/1.png", "test/crash/2.png"),  # no class in common
        ("train/cat/1.png", "val/cat/2.png", "plane/1.png"),
    ],
    ids=str,
)
def test_classes_may_be_called_train_and_test(tmp_path, files):
    found = load_image_folder(touch(tmp_path, *files))
    assert found.target_names == sorted({name.split("/")[0] for name in files})


def test_none_insists_that_sub_folders_are_classes(split):
    found = load_image_folder(split, subset=None)
    assert (found.target_names, found.target.tolist()) == (["test", "train", "val"], [0, 1, 1, 1, 2])


@pytest.mark.parametrize("subset", ["validation", "valid", "val"])
def test_a_class_has_the_same_index_in_every_part(split, subset):
    for part, files, target in [
        ("train", ["train/cat/1.png", "train/dog/2.png", "train/emu/3.png"], [0, 1, 2]),
        (subset, ["val/dog/4.png"], [1]),
        ("test", ["test/emu/5.png"], [2]),
    ]:
        found = load_image_folder(split, subset=part)
        assert names_of(found, split) == files
        assert found.target.tolist() == target
        assert found.target_names == ["cat", "dog", "emu"]


def test_the_description_counts_classes_without_images(split):
    assert "(cat: 0, dog: 1, emu: 0)" in load_image_folder(split, subset="val").DESCR


def test_a_part_that_is_not_there_is_an_error_that_names_what_is(tmp_path):
    touch(tmp_path, "train/cat/1.png")
    with pytest.raises(ValueError, match=r"has no part 'val'; it has the parts 'train'\."):
        load_image_folder(tmp_path, subset="val")


def test_a_part_of_a_folder_of_classes_is_an_error_that_names_them(tmp_path):
    touch(tmp_path, "cat/1.png", "dog/1.png")
    with pytest.raises(ValueError, match=r"has no part 'train'; it has the folders 'cat', 'dog'\."):
        load_image_folder(tmp_path, subset="train")


def test_a_part_without_folders_has_no_labels(tmp_path):
    touch(tmp_path, "train/cat/1.png", "test/1.png")
    with pytest.raises(ValueError, match=r"no sub-folders.*labels="):
        load_image_folder(tmp_path, subset="test")
    assert load_image_folder(tmp_path, subset="test", labels={"1": 3}).target.tolist() == [3]


def test_two_folders_of_one_part_are_refused(tmp_path):
    touch(tmp_path, "val/cat/1.png", "valid/cat/1.png")
    with pytest.raises(ValueError, match="two folders for the part 'validation'"):
        load_image_folder(tmp_path, subset="val")


def test_an_empty_class_is_refused_in_training_and_may_be_elsewhere(split):
    (split / "val" / "cat").mkdir()
    assert load_image_folder(split, subset="val").target.tolist() == [1]
    (split / "train" / "fox").mkdir()
    with pytest.raises(ValueError, match=r"fox.* has no images"):
        load_image_folder(split, subset="train")


def test_a_part_without_any_image_is_refused(tmp_path):
    touch(tmp_path, "train/cat/1.png")
    (tmp_path / "val" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="has no images"):
        load_image_folder(tmp_path, subset="val")


def test_broken_files_of_a_part_are_left_out(tmp_path):
    draw(tmp_path, "train/cat/1.png", "train/cat/2.png")
    touch(tmp_path, "train/cat/3.png", "val/cat/1.png")
    with pytest.warns(UserWarning, match="left out 1 of 3") as record:
        found = load_image_folder(tmp_path, subset="train", on_error="skip")
    assert len(found.target) == 2
    assert record[0].filename == __file__


def test_names_take_the_place_of_indices(split):
    found = load_image_folder(split, subset="train", as_names=True)
    assert found.target.tolist() == ["cat", "dog", "emu"]
    X, y = load_image_folder(split, subset="val", as_names=True, return_X_y=True, shuffle=True, random_state=0)
    assert (len(X), y.tolist()) == (1, ["dog"])


def test_a_class_with_one_photograph_is_a_class(tmp_path):
    found = load_image_folder(touch(tmp_path, "a/1.png", "a/2.png", "b/1.png"))
    assert found.target.tolist() == [0, 0, 1]
