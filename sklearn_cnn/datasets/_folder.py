"""load_image_folder."""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_cnn.datasets._splits import SPLITS, classes_of_all, listed, looks_split, part_of, splits_of, sub_folders
from sklearn_cnn.datasets._table import files_of_rows, read_table
from sklearn_cnn.preprocessing._files import Decoder

IMAGE_EXTENSIONS = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


@validate_params(
    {
        "path": [str, os.PathLike],
        "subset": [StrOptions({"auto", *(name for names in SPLITS.values() for name in names)}), None],
        "labels": "no_validation",
        "filename_column": [str, None],
        "target_column": [str, tuple, list, np.ndarray, None],
        "as_names": ["boolean"],
        "return_X_y": ["boolean"],
        "extensions": [str, tuple, list, set, np.ndarray, None],
        "on_error": [StrOptions({"raise", "skip"})],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def load_image_folder(
    path: str | os.PathLike[str],
    *,
    subset: str | None = "auto",
    labels: Any = None,
    filename_column: str | None = None,
    target_column: Any = None,
    as_names: bool = False,
    return_X_y: bool = False,
    extensions: Any = IMAGE_EXTENSIONS,
    on_error: str = "raise",
    shuffle: bool = False,
    random_state: Any = None,
) -> Bunch | tuple[NDArray[Any], NDArray[Any]]:
    """Find the images of a folder and their labels, which are names of sub-folders or stand in a table.

    The images are not loaded: pass ``filenames`` as X to a pipeline that begins with an ``ImageReader``.

    Parameters
    ----------
    path : str or path-like
        The folder. Each of its sub-folders is a class and has the name of the class; images may be in
        sub-folders of these. Files and folders whose names begin with a dot are ignored. With `labels` the
        images may be anywhere in the folder.
    subset : {"auto", "train", "validation", "test"} or None, default="auto"
        The part of the data set, where `path` holds a folder for each part: ``train`` or ``training``;
        ``validation``, ``valid`` or ``val``; ``test`` or ``testing``. All these names may be given. A class has
        the same index in every part, also where one part has no image of it. ``"auto"`` is for folders
        without parts: it raises an error where all sub-folders look like parts. None takes every sub-folder
        for a class, whatever its name.
    labels : mapping, Series, frame, str or path-like, default=None
        A table of the labels: a pandas or polars frame, the path of a CSV file with a header, or a mapping
        of file names to labels. Names are relative to the folder (to that of the part, with `subset`), with
        or without their extension. Files that are not in the table are left out.
    filename_column : str or None, default=None
        Column of the file names; by default the first that is no `target_column`.
    target_column : str, sequence of str or None, default=None
        Column of the labels, or several columns, for several labels or numbers an image. By default the only
        column beside the names.
    as_names : bool, default=False
        Whether `target` holds the names of the classes in place of their indices. Labels of a table are
        always as they are.
    return_X_y : bool, default=False
        Whether to return ``(filenames, target)`` in place of the Bunch.
    extensions : sequence of str or None, default=IMAGE_EXTENSIONS
        Extensions of the files to take, in upper or lower case; by default those of common image formats.
        None takes all files.
    on_error : {"raise", "skip"}, default="raise"
        ``"raise"`` opens no file: ``ImageReader`` later raises where one cannot be read. ``"skip"`` opens
        every file and leaves out those that cannot be read, with a warning that says how many. Files that a
        table names and that are not there are an error, or left out in the same way.
    shuffle : bool, default=False
        Whether to shuffle the images. Otherwise they are sorted by class and name, or in the order of the
        table.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling.

    Returns
    -------
    sklearn.utils.Bunch
        filenames : ndarray of str of shape (n,)
            Paths of the images.
        target : ndarray of shape (n,) or (n, n_columns)
            Their classes, int, as indices into `target_names`; with `as_names` str. From a table the labels,
            of the dtype of its column or columns.
        target_names : list of str
            Names of the classes, sorted. From a table the names of its columns of labels.
        DESCR : str
            A summary: the number of images of each class, or of the rows of the table and the files.
    (filenames, target) : tuple of ndarray
        With ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        Where there is no such folder, `path` is a file, or files that the table names are not there.
    ValueError, TypeError
        Where the folder has no sub-folder, or a sub-folder has no image (in a part other than train it may
        have none); where it holds parts and `subset` does not say which, or not the part that is asked for;
        where the table or its columns cannot be used, a label is missing or a file stands in two rows.

    Notes
    -----
    The values of a CSV file are separated by commas, semicolons or tabs. A column of labels becomes whole
    numbers or floats where all of its values are such numbers; codes with leading zeros stay text.

    See Also
    --------
    sklearn_cnn.ImageReader : Reads the images.
    sklearn.datasets.load_files : The same for texts.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn_cnn.datasets import load_image_folder
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("cats", "dogs"):
    ...     (Path(folder.name) / name).mkdir()
    ...     Image.new("RGB", (20, 10)).save(Path(folder.name) / name / "1.png")
    >>> found = load_image_folder(folder.name)
    >>> found.target_names, found.target
    (['cats', 'dogs'], array([0, 1]))
    >>> folder.cleanup()
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {str(path)!r}.")
    if not folder.is_dir():
        raise NotADirectoryError(f"{str(path)!r} is not a folder.")
    endings = None if extensions is None else _read_extensions(extensions)
    if labels is not None:
        place = folder if subset in ("auto", None) else part_of(folder, str(subset))
        found = _of_table(place, endings, read_table(labels, filename_column, target_column), on_error)
    elif filename_column is not None or target_column is not None:
        raise ValueError("filename_column and target_column are of a table of labels, and labels is None.")
    else:
        found = _of_classes(folder, subset, endings, on_error, as_names)
    if shuffle:
        order = check_random_state(random_state).permutation(len(found.filenames))
        found.filenames, found.target = found.filenames[order], found.target[order]
    return (found.filenames, found.target) if return_X_y else found


def _of_classes(folder: Path, subset: str | None, endings: set[str] | None, on_error: str, as_names: bool) -> Bunch:
    """The images of a folder with one sub-folder for each class."""
    if subset == "auto" and looks_split(folder):
        parts = " or ".join(f'subset="{part}"' for part in splits_of(folder))
        raise ValueError(
            f"{str(folder)!r} holds parts of a data set, {listed(e.name for e in sub_folders(folder))}: choose one, "
            f"{parts}; where these are the classes, subset=None."
        )
    names = None
    if subset not in ("auto", None):
        folder, names = part_of(folder, str(subset)), classes_of_all(folder)
    classes = sub_folders(folder)
    if not classes:
        hint = "" if names is None else "; without them its images have no labels: pass a table, labels="
        raise ValueError(f"{str(folder)!r} has no sub-folders; each class of images needs one{hint}.")
    files = [sorted(_files_of(entry, endings)) for entry in classes]
    readable = _readable(files) if on_error == "skip" else files
    may_lack = names is not None and folder.name.lower() not in SPLITS["train"]
    for entry, kept, there in zip(classes, readable, files, strict=True):
        if not kept and not may_lack:
            raise ValueError(
                f"the folder {str(entry)!r} has no images {_kind(endings)}{' that can be read' if there else ''}."
            )
    if not any(readable):
        raise ValueError(f"the folder {str(folder)!r} has no images {_kind(endings)}.")
    by_name = dict(zip((entry.name for entry in classes), readable, strict=True))
    names = list(by_name) if names is None else names
    of_class = [by_name.get(name, []) for name in names]
    filenames = np.array([file for part in of_class for file in part])
    target = np.repeat(np.array(names) if as_names else np.arange(len(names)), [len(part) for part in of_class])
    counts = ", ".join(f"{name}: {len(part)}" for name, part in zip(names, of_class, strict=True))
    description = f"{len(filenames)} images of {len(names)} classes from {folder} ({counts})."
    return Bunch(filenames=filenames, target=target, target_names=names, DESCR=description)


def _of_table(
    folder: Path, endings: set[str] | None, table: tuple[list[str], NDArray[Any], list[str]], on_error: str
) -> Bunch:
    """The images that a table names, in its order."""
    names, target, columns = table
    files = list(_files_of(folder, endings))
    found = files_of_rows(names, files, str(folder))
    missing = [name for name, file in zip(names, found, strict=True) if file is None]
    if missing:
        what = f"{len(missing)} of {len(names)} files that labels names are not images in {str(folder)!r}"
        if on_error == "raise":
            raise FileNotFoundError(f"{what}: {listed(missing)}.")
        warnings.warn(f"left out {what}: {listed(missing)}.", UserWarning, stacklevel=4)
    there = [file for file in found if file is not None]
    readable = set(_readable([there])[0] if on_error == "skip" else there)
    rows = [row for row, file in enumerate(found) if file in readable]
    if not rows:
        raise ValueError(f"none of the files that labels names can be read in {str(folder)!r}.")
    filenames = np.array([found[row] for row in rows])
    unlisted = len(files) - len(there)
    description = (
        f"{len(rows)} images from {folder}, with {', '.join(columns)} of a table of {len(names)} rows; "
        f"{unlisted} images of the folder are not in it."
    )
    return Bunch(filenames=filenames, target=target[rows], target_names=columns, DESCR=description)


def _kind(endings: set[str] | None) -> str:
    return "of any kind" if endings is None else f"with one of the extensions {', '.join(sorted(endings))}"


def _read_extensions(extensions: Any) -> set[str]:
    given = [extensions] if isinstance(extensions, str) else list(extensions)
    if not given or not all(isinstance(ending, str) and ending.strip(".") and "*" not in ending for ending in given):
        raise ValueError(f'extensions are endings such as ".jpg", without a star; got {extensions!r}.')
    return {f".{ending.lower().lstrip('.')}" for ending in given}


def _files_of(folder: Path, endings: set[str] | None) -> Iterator[str]:
    been = {os.path.realpath(folder), os.path.realpath(folder.parent)}  # links may form a circle
    for parent, folders, names in os.walk(folder, followlinks=True):
        for name in list(folders):
            place = os.path.realpath(os.path.join(parent, name))
            if name.startswith(".") or place in been:
                folders.remove(name)
            been.add(place)
        for name in names:
            wanted = endings is None or name.lower().endswith(tuple(endings))
            path = os.path.join(parent, name)
            # Opening a pipe or socket may block forever, so only files are taken, and links whose target is missing:
            # these are reported as damaged files.
            if wanted and not name.startswith(".") and (os.path.isfile(path) or not os.path.exists(path)):
                yield path


def _readable(files: list[list[str]]) -> list[list[str]]:
    """The files that can be read as images; a warning says how many cannot."""
    everything = [name for names in files for name in names]
    with ThreadPoolExecutor(effective_n_jobs()) as executor:
        errors = list(executor.map(_error_of, everything))
    broken = {name for name, error in zip(everything, errors, strict=True) if error}
    if broken:
        shown = ", ".join(repr(name) for name in sorted(broken)[:3])
        warnings.warn(
            f"left out {len(broken)} of {len(everything)} files that cannot be read as images: {shown}"
            f"{', ...' if len(broken) > 3 else ''}.",
            UserWarning,
            stacklevel=5,  # the caller of load_image_folder: validate_params is between
        )
    return [[name for name in names if name not in broken] for names in files]


def _error_of(name: str) -> str:
    try:
        Decoder("RGB", None, None)(name, "the file")
    except (OSError, ValueError) as error:
        return str(error)
    return ""
