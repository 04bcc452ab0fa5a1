"""Files from which a fit that was interrupted goes on.

A file is ``MAGIC``, the SHA-256 of all but itself, the length of a text, that text, which says in JSON whose fit it
is and how far it came, and the state of the fit as torch saves it.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_cnn._digest import digest_around
from sklearn_cnn._writing import check_path, write_whole
from sklearn_cnn.exceptions import ModelFileError

FORMAT = 1
MAGIC = b"\x89SKCNC\r\n"

_DIGEST = slice(len(MAGIC), len(MAGIC) + 32)
_LENGTH = slice(_DIGEST.stop, _DIGEST.stop + 8)
_LONGEST_TEXT = 2**24  # a thousand times what parameters take


class Checkpoint:
    """Where a fit keeps what it needs to go on, one file a run.

    Random numbers are not part of it: those of an epoch follow from the seed and the number of the epoch.

    Parameters
    ----------
    path : str
        Name of the file, or a folder, where the file is named by the run.
    run : mapping of str to str
        What tells this run from others, by what each is called.
    seed : int
        Seed of a new run.

    Attributes
    ----------
    seed : int
        Seed of the run: of the one in the file, if there is one.
    position : (int, int)
        Phases that are over, and epochs of the next one that are done.

    Raises
    ------
    ValueError
        Where the file is that of another run.
    ModelFileError
        Where it is damaged, or no checkpoint.
    OSError
        Where it cannot be read, or no file can be written there.
    """

    def __init__(self, path: str, run: Mapping[str, str], seed: int) -> None:
        self._path = path
        self._run = dict(run)
        self.seed, self.position = seed, (0, 0)
        self._state: Any = None
        if os.path.isdir(path):
            self._path = os.path.join(path, f"{hashlib.sha256(_text_of(self._run)).hexdigest()[:32]}.checkpoint")
        elif path.endswith((os.sep, "/")):
            raise FileNotFoundError(f"checkpoint={path!r} is a folder that is not there; make it first.")
        target = check_path(self._path, "checkpoint")
        if not os.access(os.path.dirname(target), os.W_OK):
            raise PermissionError(f"checkpoint={self._path!r} cannot be written: its folder lets nobody write.")
        if os.path.exists(target):
            self._open(target)

    def _open(self, target: str) -> None:
        with open(target, "rb") as file:
            content = file.read()
        run, seed, position = self._header(content)
        if digest_around(content, _DIGEST) != content[_DIGEST]:
            raise ModelFileError(
                f"checkpoint={self._path!r} is damaged or cut off, since its digest is another one; delete it to begin "
                f"anew."
            )
        self._refuse_another(run)
        self.seed, self.position = seed, position
        self._state = BytesIO(content[_state_begins(content) :])

    def _header(self, content: bytes) -> tuple[dict[str, str], int, tuple[int, int]]:
        """Run, seed and position, as a file says at its beginning."""
        if content[: len(MAGIC)] != MAGIC or len(content) < _LENGTH.stop:
            raise ModelFileError(
                f"checkpoint={self._path!r} is no checkpoint, and is left as it is; give another name."
            )
        try:
            header = json.loads(content[_LENGTH.stop : _state_begins(content)])
            written = header["format"]
            if written == FORMAT:
                seed, n_phases, n_epochs = map(_count, (header["seed"], *header["position"]))
                return dict(header["run"]), seed, (n_phases, n_epochs)
        except Exception:  # what is damaged or made up can be anything
            raise ModelFileError(f"checkpoint={self._path!r} is damaged; delete it to begin anew.") from None
        raise ModelFileError(
            f"checkpoint={self._path!r} has format {written!r}, and this version reads format {FORMAT}; go on with the "
            f"version that wrote it, or delete the file."
        )

    def _refuse_another(self, found: Mapping[str, str]) -> None:
        if found == self._run:
            return
        names = [name for name in {**found, **self._run} if found.get(name) != self._run.get(name)]
        pairs = [(name, found.get(name, "absent"), self._run.get(name, "absent")) for name in names]
        differences = "; ".join(
            f"{name} was {_shown(there, here)} there and is {_shown(here, there)} here" for name, there, here in pairs
        )
        raise ValueError(
            f"checkpoint={self._path!r} holds another run: {differences}. Delete the file, or give another name, or a "
            f"folder, where each run has a file of its own."
        )

    @contextmanager
    def restored(self, device: torch.device) -> Iterator[dict[str, Any] | None]:
        """The state that was saved last, given away; None for a new run.

        Parameters
        ----------
        device : torch.device
            Where tensors are wanted.

        Raises
        ------
        ModelFileError
            Where it cannot be read, or whoever takes it over fails.
        """
        stored, self._state = self._state, None
        try:
            # Tensors and plain values only: no code of a file is run.
            yield None if stored is None else torch.load(stored, map_location=device, weights_only=True)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # what someone made up can make any step fail
            reason = " ".join(str(error).split())
            raise ModelFileError(
                f"checkpoint={self._path!r} does not fit this network, or cannot be read; delete it to begin anew "
                f"({type(error).__name__}: {reason})."
            ) from error

    def save(self, state: Mapping[str, Any], position: tuple[int, int]) -> None:
        """Save the state of the fit in place of the last one, in one step.

        Parameters
        ----------
        state : mapping
            Tensors and plain values, in dicts, lists and tuples.
        position : (int, int)
            Phases that are over, and epochs of the next one that are done.

        Raises
        ------
        ValueError
            Where the file has become that of another run.
        TypeError
            For a value that such a file cannot carry.
        OSError
            Where it cannot be written; the last state is then still there.
        """
        header = _text_of({"format": FORMAT, "run": self._run, "seed": self.seed, "position": position})
        file = BytesIO()
        file.write(MAGIC + bytes(32) + struct.pack("<Q", len(header)) + header)
        torch.save(_plain(state), file)
        content = file.getbuffer()
        content[_DIGEST] = digest_around(content, _DIGEST)
        while True:
            with suppress(FileExistsError):  # begun since we looked: look again whose it is
                write_whole(self._path, content, parameter="checkpoint", new=not self._is_there())
                return

    def _is_there(self) -> bool:
        """Whether there is a file, which is then this run's."""
        try:
            with open(self._path, "rb") as file:
                begin = file.read(_LENGTH.stop)
                begin += file.read(_state_begins(begin) - _LENGTH.stop)
        except FileNotFoundError:
            return False
        self._refuse_another(self._header(begin)[0])
        return True


def _state_begins(content: bytes) -> int:
    length = int(struct.unpack("<Q", content[_LENGTH])[0]) if len(content) >= _LENGTH.stop else 0
    return _LENGTH.stop + min(length, _LONGEST_TEXT)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**32:
        raise ValueError(f"{value} counts nothing")
    return value


def _text_of(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def _shown(text: str, other: str) -> str:
    """A text, if it is long around where it begins to differ from the other."""
    if len(text) <= 80:
        return text
    same = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    start = max(0, same - 30)
    return f"{'...' * (start > 0)}{text[start : start + 60]}{'...' * (start + 60 < len(text))}"


def _plain(value: Any) -> Any:
    """Values that torch loads without running code."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, tuple):
        return tuple(_plain(entry) for entry in value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"a checkpoint cannot carry what this optimizer remembers: a {type(value).__name__}; use checkpoint=None, or "
        f"another optimizer."
    )
