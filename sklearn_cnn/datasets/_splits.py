"""Folders of which the sub-folders are the parts of a data set: train, validation, test."""

from collections.abc import Iterable
from pathlib import Path

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
"""The parts, and the names of their folders in small letters."""

_PART = {name: part for part, names in SPLITS.items() for name in names}


def sub_folders(folder: Path) -> list[Path]:
    """The sub-folders, sorted by name; those whose names begin with a dot are left out."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def splits_of(folder: Path) -> dict[str, Path]:
    """The sub-folders that have the name of a part, in the order train, validation, test.

    Raises
    ------
    ValueError
        Where two sub-folders are the same part.
    """
    found: dict[str, Path] = {}
    for entry in sub_folders(folder):
        part = _PART.get(entry.name.lower())
        if part in found:
            raise ValueError(
                f"{str(folder)!r} has two folders for the part {part!r}: {found[part].name!r} and {entry.name!r}; "
                f"pass the path of one of them."
            )
        if part is not None:
            found[part] = entry
    return {part: found[part] for part in SPLITS if part in found}


def looks_split(folder: Path) -> bool:
    """Whether the sub-folders are parts of a data set rather than classes.

    Each of them has the name of a part. One at least holds sub-folders, which are its classes; any two that hold
    sub-folders have the name of a class in common. A part without sub-folders is one whose images have no labels.
    """
    entries = sub_folders(folder)
    if not entries or not all(entry.name.lower() in _PART for entry in entries):
        return False
    inside = [names for names in ({part.name for part in sub_folders(entry)} for entry in entries) if names]
    return bool(inside) and all(names & inside[0] for names in inside)


def part_of(folder: Path, subset: str) -> Path:
    """The folder of a part. A ValueError says which parts there are where it is not there."""
    part, found = _PART[subset], splits_of(folder)
    if part not in found:
        there = f"the parts {listed(found)}" if found else f"the folders {listed(e.name for e in sub_folders(folder))}"
        raise ValueError(f"{str(folder)!r} has no part {subset!r}; it has {there}.")
    return found[part]


def classes_of_all(folder: Path) -> list[str]:
    """Names of the classes of all parts, sorted."""
    return sorted({entry.name for place in splits_of(folder).values() for entry in sub_folders(place)})


def listed(names: Iterable[str]) -> str:
    """Names for a message; some of them where they are many."""
    names = list(names)
    return (", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")) or "none"
