"""Labels from a table."""

from pathlib import Path

import numpy as np
import pytest

from sklearn_cnn.datasets import load_image_folder
from tests.datasets.test_folder import draw, names_of, touch


@pytest.fixture
def folder(tmp_path):
    return touch(tmp_path / "images", "b.png", "a.png", "deep/c.jpg", "d.png")


def frame_of(kind, columns):
    return pytest.importorskip(kind).DataFrame(columns)


def csv_of(folder, text):
    path = folder.parent / "table.csv"
    path.write_bytes(text.encode("utf-8"))
    return path


@pytest.mark.parametrize("kind", ["dict", "csv", "semicolons", "pandas", "polars", "series"])
def test_every_kind_of_table_gives_its_labels_in_its_order(folder, kind):
    columns = {"name": ["deep/c.jpg", "a.png", "b"], "label": ["x", "y", "x"]}
    pairs = dict(zip(*columns.values(), strict=True))
    text = "\ufeffname,label\r\n" + "".join(f'"{name}", {label}\r\n' for name, label in pairs.items())
    labels = (
        pairs
        if kind == "dict"
        else csv_of(folder, text)
        if kind == "csv"
        else str(csv_of(folder, text.replace(",", ";")))
        if kind == "semicolons"
        else pytest.importorskip("pandas").Series(pairs)
        if kind == "series"
        else frame_of(kind, columns)
    )
    found = load_image_folder(folder, labels=labels)
    assert names_of(found, folder) == ["deep/c.jpg", "a.png", "b.png"]
    assert found.target.tolist() == ["x", "y", "x"]
    assert found.target_names == ["label"]
    assert "1 images of the folder are not in it" in found.DESCR
    X, y = load_image_folder(folder, labels=labels, return_X_y=True, shuffle=True, random_state=1)
    assert {Path(name).stem: label for name, label in zip(X, y, strict=True)} == {"c": "x", "a": "y", "b": "x"}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2"], [1, -2]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1e3", ".5"], [1000.0, 0.5]),
        (["007", "010"], ["007", "010"]),
        (["1_0", "2"], ["1_0", "2"]),
        (["yes", "1"], ["yes", "1"]),
    ],
    ids=str,
)
def test_columns_of_a_csv_are_numbers_where_every_value_is_one(folder, cells, expected):
    found = load_image_folder(folder, labels=csv_of(folder, f"id,y\na,{cells[0]}\nb,{cells[1]}\n"))
    assert found.target.tolist() == expected
    assert {type(value) for value in found.target.tolist()} == {type(expected[0])}


def test_columns_are_chosen_and_several_give_a_matrix(folder):
    table = csv_of(folder, "u,file,v\n1,a,2\n3,b,4\n")
    found = load_image_folder(folder, labels=table, filename_column="file", target_column=["v", "u"])
    assert (found.target.tolist(), found.target_names) == ([[2, 1], [4, 3]], ["v", "u"])
    assert load_image_folder(folder, labels=table, filename_column="file", target_column="u").target.shape == (2,)


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("f,x,y\na,1,2\n", {}, r"several columns beside the names: 'x', 'y'; choose with target_column"),
        ("f,x\na,1\n", {"target_column": "z"}, r"target_column: .* no column 'z'; it has 'f', 'x'"),
        ("f,x\na,1\n", {"filename_column": "z"}, r"filename_column: .* no column 'z'"),
        ("f,x\na,1\n", {"filename_column": "x", "target_column": "x"}, "cannot be both"),
        ("f,x\na,1\n", {"target_column": []}, "target_column is a name"),
        ("f\na\n", {}, "needs a column of file names and one of labels"),
        ("f,f\na,b\n", {}, "two columns of the name 'f'"),
        ("f,x\n", {}, "has no rows"),
        ("", {}, "is empty"),
        ("f,x\na\n", {}, "1 values in row 1"),
        ("f,x\na,\nb,1\n", {}, r"no value in column 'x' for 1 of 2 files: 'a'"),
        ("f,x\na,nan\nb,1\n", {}, "no value in column 'x'"),
        ("f,x\na,1\na.png,2\n", {}, "more than one row for 1 files"),
    ],
    ids=str,
)
def test_tables_that_cannot_be_used_are_refused_in_words(folder, text, parameters, message):
    with pytest.raises(ValueError, match=message):
        load_image_folder(folder, labels=csv_of(folder, text), **parameters)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_label_of_a_frame_is_refused(folder, missing):
    with pytest.raises(ValueError, match="no value in column 'y' for 1 of 2"):
        load_image_folder(folder, labels=frame_of("pandas", {"f": ["a", "b"], "y": ["x", missing]}))


def test_files_that_are_not_there_are_named_and_counted(folder):
    labels = {"a": 1, **{f"no{i}": 0 for i in range(7)}}
    with pytest.raises(FileNotFoundError, match=r"7 of 8 files .*'no0', 'no1', 'no2', 'no3', 'no4', \.\.\."):
        load_image_folder(folder, labels=labels)


def test_files_that_are_not_there_or_broken_are_left_out_as_asked(folder):
    draw(folder, "a.png", "d.png")
    with pytest.warns(UserWarning, match="left out") as record:
        found = load_image_folder(folder, labels={"d": 4, "no": 1, "b": 2, "a": 3}, on_error="skip")
    assert found.target.tolist() == [4, 3]
    assert [Path(warning.filename).name for warning in record] == ["test_table.py"] * 2
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="none of the files"):
        load_image_folder(folder, labels={"b": 2}, on_error="skip")


def test_a_name_without_extension_must_fit_one_file(folder):
    touch(folder, "a.jpg")
    with pytest.raises(ValueError, match=r"'a', which may be any of .*write the extension"):
        load_image_folder(folder, labels={"a": 1})
    assert names_of(load_image_folder(folder, labels={"a.jpg": 1}), folder) == ["a.jpg"]


@pytest.mark.parametrize("form", ["{folder}/deep/c.jpg", "./deep/c.jpg", "deep\\c.jpg", "deep/c"])
def test_names_come_in_several_forms(folder, form):
    found = load_image_folder(folder, labels={form.format(folder=folder): 1})
    assert names_of(found, folder) == ["deep/c.jpg"]


def test_numbers_are_names_too(folder):
    touch(folder, "12.png")
    assert names_of(load_image_folder(folder, labels={12: "x"}), folder) == ["12.png"]


@pytest.mark.parametrize("labels", [3, ["a"], np.zeros(3)], ids=str)
def test_other_tables_are_refused(folder, labels):
    with pytest.raises(TypeError, match="labels is a mapping of names to labels, a frame, or the path"):
        load_image_folder(folder, labels=labels)


def test_a_table_that_is_not_there_or_no_text_is_refused(folder):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        load_image_folder(folder, labels=folder / "none.csv")
    (folder / "t.csv").write_bytes(b"f,x\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        load_image_folder(folder, labels=folder / "t.csv")


@pytest.mark.parametrize("column", ["filename_column", "target_column"])
def test_columns_need_a_table(folder, column):
    with pytest.raises(ValueError, match="labels is None"):
        load_image_folder(folder, **{column: "x"})
    with pytest.raises(ValueError, match="is a mapping"):
        load_image_folder(folder, labels={"a": 1}, **{column: "x"})
