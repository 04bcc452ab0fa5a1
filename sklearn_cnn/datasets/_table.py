"""Labels of files from a table: a mapping, a frame or a file of comma-separated values."""

import csv
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_cnn.datasets._splits import listed

Columns = dict[str, list[Any]]

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def read_table(labels: Any, filename_column: Any, target_column: Any) -> tuple[list[str], NDArray[Any], list[str]]:
    """Read names of files and their labels.

    Parameters
    ----------
    labels : mapping, Series, frame, str or path-like
        The table; of a mapping or Series the keys are the names.
    filename_column : str or None
        Column of the names; None for the first.
    target_column : str, sequence of str or None
        Column or columns of the labels; None for the only one beside the names.

    Returns
    -------
    names : list of str of length n
        Names of files.
    target : ndarray of shape (n,) or (n, n_columns)
        Their labels, of the dtype of the columns.
    target_names : list of str
        Names of the columns of labels.

    Raises
    ------
    ValueError, TypeError, OSError
        Where the table cannot be read, a column is not there or not clear, or a label is missing.
    """
    if isinstance(labels, str | os.PathLike):
        columns, what = _read_csv(labels), f"labels={str(labels)!r}"
    elif hasattr(labels, "columns"):
        columns, what = {str(name): list(labels[name]) for name in labels.columns}, "the frame labels"
    elif hasattr(labels, "items"):
        if filename_column is not None or target_column is not None:
            raise ValueError("labels is a mapping of names to labels, without filename_column and target_column.")
        pairs = list(labels.items())
        columns, what = {"filename": [key for key, _ in pairs], "label": [value for _, value in pairs]}, "labels"
    else:
        raise TypeError(
            f"labels is a mapping of names to labels, a frame, or the path of a CSV file; got {type(labels).__name__}."
        )
    name, targets = _chosen(list(columns), filename_column, target_column, what)
    names = [str(value) for value in columns[name]]
    if not names:
        raise ValueError(f"{what} has no rows.")
    wanted = [targets] if isinstance(targets, str) else targets
    for column in wanted:
        lacking = [row for row, value in zip(names, columns[column], strict=True) if _is_missing(value)]
        if lacking:
            raise ValueError(
                f"{what} has no value in column {column!r} for {len(lacking)} of {len(names)} files: {listed(lacking)}."
            )
    if isinstance(labels, str | os.PathLike):
        columns |= {column: _as_numbers(columns[column]) for column in wanted}
    arrays = [np.asarray(columns[column]) for column in wanted]
    return names, arrays[0] if isinstance(targets, str) else np.stack(arrays, axis=1), wanted


def _chosen(columns: list[str], name: Any, target: Any, what: str) -> tuple[str, str | list[str]]:
    """The columns of names and of labels."""
    wanted = [] if target is None else [target] if isinstance(target, str) else list(target)
    for parameter, column in [("filename_column", name), *(("target_column", column) for column in wanted)]:
        if column is not None and column not in columns:
            raise ValueError(f"{parameter}: {what} has no column {column!r}; it has {listed(columns)}.")
    if len(columns) < 2:
        raise ValueError(f"{what} needs a column of file names and one of labels; it has {listed(columns)}.")
    if name is None:
        name = next(column for column in columns if column not in wanted) if len(wanted) < len(columns) else None
    if name is None or name in wanted:
        raise ValueError(f"{what}: a column cannot be both that of the file names and one of the labels.")
    others = [column for column in columns if column != name]
    if target is None and len(others) > 1:
        raise ValueError(f"{what} has several columns beside the names: {listed(others)}; choose with target_column.")
    if target is None or isinstance(target, str):
        return name, others[0] if target is None else target
    if not wanted:
        raise ValueError("target_column is a name or a sequence of names; got none.")
    return name, wanted


def _read_csv(path: Any) -> Columns:
    """The columns of a file with a header, as numbers where all values are."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"labels={str(path)!r} cannot be read as CSV: {error}.") from error
    if not rows:
        raise ValueError(f"labels={str(path)!r} is empty.")
    names, *values = [[cell.strip() for cell in row] for row in rows]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"labels={str(path)!r} has two columns of the name {twice[0]!r}.")
    for number, row in enumerate(values, start=1):
        if len(row) != len(names):
            raise ValueError(
                f"labels={str(path)!r} has {len(row)} values in row {number} behind the header, which has {len(names)}."
            )
    return {name: [row[i] for row in values] for i, name in enumerate(names)}


def _as_numbers(texts: list[str]) -> list[Any]:
    """Texts as whole numbers, or else as floats, where every one is such a number; codes as 007 stay texts."""
    for pattern, kind in ((_INTEGER, int), (_FLOAT, float)):
        if all(pattern.fullmatch(text) for text in texts):
            return [kind(text) for text in texts]
    return texts


def _is_missing(value: Any) -> bool:
    empty = value is None or (isinstance(value, str) and value.strip().lower() in ("", "nan"))
    return empty or bool(np.ndim(value) == 0 and value != value)


def files_of_rows(names: Sequence[str], files: Iterable[str], folder: str) -> list[str | None]:
    """The file of each name; None for a name without one.

    Parameters
    ----------
    names : sequence of str
        Paths relative to the folder, with or without the extension; or absolute paths.
    files : iterable of str
        Paths of files in the folder.
    folder : str
        The folder.

    Returns
    -------
    list of str or None
        A file for each name.

    Raises
    ------
    ValueError
        Where a name without extension fits several files, or several names are of one file.
    """
    whole: dict[str, str] = {}
    stems: dict[str, list[str]] = {}
    for file in files:
        relative = os.path.relpath(file, folder).replace(os.sep, "/")
        whole[relative] = file
        stems.setdefault(posixpath.splitext(relative)[0], []).append(file)

    def find(name: str) -> str | None:
        relative = os.path.relpath(name, os.path.abspath(folder)) if os.path.isabs(name) else name
        relative = posixpath.normpath(relative.replace("\\", "/"))
        if relative in whole:
            return whole[relative]
        matches = stems.get(relative, [])
        if len(matches) > 1:
            raise ValueError(f"labels names {name!r}, which may be any of {listed(matches)}; write the extension too.")
        return matches[0] if matches else None

    found = [find(name) for name in names]
    twice = [file for file, n in Counter(file for file in found if file is not None).items() if n > 1]
    if twice:
        raise ValueError(f"labels has more than one row for {len(twice)} files: {listed(twice)}.")
    return found
