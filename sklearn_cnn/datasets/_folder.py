"""load_image_folder."""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_cnn.preprocessing._files import Decoder

IMAGE_EXTENSIONS = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


@validate_params(
    {
        "path": [str, os.PathLike],
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
    extensions: Any = IMAGE_EXTENSIONS,
    on_error: str = "raise",
    shuffle: bool = False,
    random_state: Any = None,
) -> Bunch:
    """Find the images of a folder that has one sub-folder for each class.

    The images are not loaded: pass ``filenames`` as X to a pipeline that begins with an ``ImageReader``.

    Parameters
    ----------
    path : str or path-like
        The folder. Each of its sub-folders is a class and has the name of the class; images may be in
        sub-folders of these. Files and folders whose names begin with a dot are ignored.
    extensions : sequence of str or None, default=IMAGE_EXTENSIONS
        Extensions of the files to take, in upper or lower case; by default those of common image formats.
        None takes all files.
    on_error : {"raise", "skip"}, default="raise"
        ``"raise"`` opens no file: ``ImageReader`` later raises where one cannot be read. ``"skip"`` opens
        every file and leaves out those that cannot be read, with a warning that says how many.
    shuffle : bool, default=False
        Whether to shuffle the images. Otherwise they are sorted by class and name.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling.

    Returns
    -------
    sklearn.utils.Bunch
        filenames : ndarray of str of shape (n,)
            Paths of the images.
        target : ndarray of int of shape (n,)
            Their classes, as indices into `target_names`.
        target_names : list of str
            Names of the classes, sorted.
        DESCR : str
            A summary: the number of images of each class.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        Where there is no such folder, or `path` is a file.
    ValueError
        Where it has no sub-folder, or a sub-folder has no image.

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
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise ValueError(f"{str(path)!r} has no sub-folders; each class of images needs one.")
    found = [sorted(_files_of(entry, endings)) for entry in classes]
    files = _readable(found) if on_error == "skip" else found
    for entry, names, all_names in zip(classes, files, found, strict=True):
        if not names:
            what = "of any kind" if endings is None else f"with one of the extensions {', '.join(sorted(endings))}"
            raise ValueError(
                f"the folder {str(entry)!r} has no images {what}{' that can be read' if all_names else ''}."
            )
    filenames = np.array([name for names in files for name in names])
    target = np.repeat(np.arange(len(classes)), [len(names) for names in files])
    if shuffle:
        order = check_random_state(random_state).permutation(len(filenames))
        filenames, target = filenames[order], target[order]
    target_names = [entry.name for entry in classes]
    counts = ", ".join(f"{name}: {len(names)}" for name, names in zip(target_names, files, strict=True))
    description = f"{len(filenames)} images of {len(classes)} classes from {path} ({counts})."
    return Bunch(filenames=filenames, target=target, target_names=target_names, DESCR=description)


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
            stacklevel=4,  # the caller of load_image_folder: validate_params is between
        )
    return [[name for name in names if name not in broken] for names in files]


def _error_of(name: str) -> str:
    try:
        Decoder("RGB", None, None)(name, "the file")
    except (OSError, ValueError) as error:
        return str(error)
    return ""
