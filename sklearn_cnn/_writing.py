"""Writing a file in one step: it is there completely or not at all."""

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import Any


def check_path(path: str, parameter: str = "path") -> str:
    """Refuse a path at which no file can be written.

    Parameters
    ----------
    path : str
        Name of a file.
    parameter : str, default="path"
        Name of the parameter, for errors.

    Returns
    -------
    str
        The path, with links resolved.

    Raises
    ------
    ValueError
        Where it is empty or has a null character.
    OSError
        Where it is a folder or a device, its folder does not exist, it is too long, or it is a link to itself.
    """
    if not path or "\0" in path:
        raise ValueError(f"{parameter}={path!r} is no name of a file.")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{parameter}={path!r} is a folder; give the name of a file in it.")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{parameter}={path!r} is in a folder that is not there; make {folder!r} first.")
    try:
        kind = os.stat(target).st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise type(error)(error.errno, f"{parameter}={path!r} cannot be used ({error.strerror})") from error
    if not stat.S_ISREG(kind):
        raise OSError(f"{parameter}={path!r} is no plain file, but a device or the like; give the name of a file.")
    return target


def write_whole(path: str, content: Any, *, parameter: str = "path", new: bool = False) -> None:
    """Write a file in one step: after a crash, or on a full disk, the earlier file of that name is intact.

    Parameters
    ----------
    path : str
        Name of the file. Where it is a link, the file that it points to is written.
    content : bytes-like
        The whole content.
    parameter : str, default="path"
        Name of the parameter, for errors.
    new : bool, default=False
        Whether the file must not exist yet. Of two processes that write at once, one then fails; on a file system
        without links both may succeed, one after the other.

    Raises
    ------
    FileExistsError
        Where the file exists although it must be new.
    OSError
        Where it cannot be written; an earlier file is as before.
    """
    target = check_path(path, parameter)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.part")
    try:
        _write_new(temporary, content)
        with suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))  # those of the earlier file
        if not (new and _linked(temporary, target)):
            os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise type(error)(error.errno, f"{parameter}={path!r} could not be written ({error.strerror})") from error
        raise
    _sync_folder(folder)


def _write_new(path: str, content: Any) -> None:
    # With the permissions of any new file; those of the module tempfile are narrower.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _linked(temporary: str, target: str) -> bool:
    """Give a file its name unless that name exists; False where the file system has no links."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        return False
    os.unlink(temporary)
    return True


def _sync_folder(folder: str) -> None:
    """Write the folder with the new name to the disk, where the system can; the file is in place in any case."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
