"""Features of images that are kept in a folder, for other fits, folds, candidates and processes."""

import hashlib
import os
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.images._source import ImageSource

FILE_NAME = "embeddings.sqlite"
"""Name of the database in the folder."""

_FORMAT = 1
"""SQLite's ``user_version`` of the database: it grows with every change of the table or of what a key is."""

_KEYS_AT_ONCE = 500
"""Rows that one query asks for; SQLite takes 999 values a query in its oldest builds."""

_SECONDS_OF_PATIENCE = 60
"""How long to wait for other processes that write."""


class KeptFeatures:
    """The features of one network in a folder.

    The folder holds one SQLite database with a row an image: a digest of the network, a digest of the image, the
    features, and a checksum of these. SQLite's rollback journal makes a batch there as a whole or not at all, lets
    several processes write, and does not need shared memory, as its newer write-ahead log does, which network file
    systems do not have.

    What cannot be read or written is computed and not kept, with one warning.

    Parameters
    ----------
    folder : str or path-like
        Where the database is, or will be.
    network : bytes
        What `network_key` gives.
    n_features : int
        Numbers an image.
    """

    def __init__(self, folder: Any, network: bytes, n_features: int) -> None:
        self._path = os.path.join(os.fspath(folder), FILE_NAME)
        self._network = network
        self._n_features = n_features
        self._usable = True
        self.warned: list[str] = []

    def prepare(self) -> None:
        """Make folder and database where they are not there.

        Raises
        ------
        NotADirectoryError
            Where the folder is a file.
        """
        folder = os.path.dirname(self._path) or "."
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise NotADirectoryError(f"memory={folder!r} is a file; it takes a folder.")
        self._guarded(self._create)

    def _create(self) -> None:
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        with closing(self._connect()) as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == _FORMAT:
                return
            if found or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise sqlite3.DatabaseError(f"it is of version {found} and not {_FORMAT}")
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings "
                    "(network BLOB, image BLOB, features BLOB, checksum BLOB, PRIMARY KEY (network, image))"
                )
                connection.execute(f"PRAGMA user_version = {_FORMAT}")

    def find(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Look images up.

        Parameters
        ----------
        keys : sequence of bytes
            What `image_keys` gives.

        Returns
        -------
        dict of bytes to ndarray of shape (n_features,)
            The features of those that are there and undamaged.
        """
        found: dict[bytes, NDArray[np.float32]] = {}

        def look() -> None:
            with closing(self._connect()) as connection:
                for start in range(0, len(keys), _KEYS_AT_ONCE):
                    part = keys[start : start + _KEYS_AT_ONCE]
                    rows = connection.execute(
                        "SELECT image, features, checksum FROM embeddings WHERE network = ? AND image IN "
                        f"({', '.join('?' * len(part))})",
                        (self._network, *part),
                    )
                    for key, content, checksum in rows:
                        # A damaged row may hold values of any type.
                        whole = isinstance(content, bytes) and len(content) == 4 * self._n_features
                        if whole and checksum == _checksum(self._network, key, content):
                            found[key] = np.frombuffer(content, np.float32)
                        elif not self.warned:
                            self._warn("rows of it are damaged; they are computed again")

        self._guarded(look)
        return found

    def keep(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Write a batch of features, as a whole or not at all."""

        def write() -> None:
            rows = []
            for key, values in zip(keys, features, strict=True):
                content = values.astype(np.float32, copy=False).tobytes()
                rows.append((self._network, key, content, _checksum(self._network, key, content)))
            with closing(self._connect()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)

        self._guarded(write)

    def _connect(self) -> sqlite3.Connection:
        # A connection a call: none is pickled, shared by threads or carried through a fork.
        connection = sqlite3.connect(self._path, timeout=_SECONDS_OF_PATIENCE, isolation_level=None)
        connection.text_factory = bytes  # damage may turn numbers into text, which need not be UTF-8
        return connection

    def _guarded(self, action: Callable[[], None]) -> None:
        if not self._usable:
            return
        try:
            action()
        except (sqlite3.Error, OSError) as error:
            writing = action.__name__ != "look" and os.path.exists(self._path) and "version" not in str(error)
            # What cannot be written may still be read.
            self._usable = writing and not _is_damage(error)
            if not self.warned:
                way_out = "; delete it to begin anew" if not self._usable and os.path.exists(self._path) else ""
                self._warn(f"{error}; what is not there is computed and not kept{way_out}")

    def _warn(self, what: str) -> None:
        self.warned.append(what)
        warnings.warn(f"memory: {self._path!r}: {what}.", UserWarning, stacklevel=2)


def _is_damage(error: Exception) -> bool:
    # Other errors of SQLite (locked, read-only, full) are of its subclass OperationalError.
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def _checksum(network: bytes, key: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(network + key + content, digest_size=8).digest()


def network_key(network: ImageNetwork, plan: Plan, layer: str, *, pooled: bool, precision: str, device: str) -> bytes:
    """Tell what features follow from beside the image.

    Parameters
    ----------
    network : ImageNetwork
        With its weights.
    plan : Plan
        Its layers.
    layer : str
        Name of the layer whose values are the features.
    pooled : bool
        Whether each map is averaged.
    precision : str
        How they are computed.
    device : str
        Kind of device, whose kernels round in their own way.

    Returns
    -------
    bytes
        A digest of 16 bytes. It changes with the version of torch, whose kernels round in another way then.
    """
    digest = hashlib.blake2b(digest_size=16)
    names = [row.name for row in plan.layers]
    rows = plan.layers[: names.index(layer) + 1] if layer in names else ()
    libraries = [f"{name} {_version(name)}" for name in ("torch", "torchvision", "timm")]
    told = (_FORMAT, sys.byteorder, layer, pooled, precision, device, plan.input_shape, rows, *libraries)
    digest.update(repr(told).encode())
    if plan.architecture is not None and any(row.ready_made for row in rows):
        digest.update(repr(getattr(plan.architecture, "name", None)).encode())
    wanted = {row.name for row in rows}
    for name, value in sorted(network.state_dict().items()):
        if name.split(".")[1] in wanted:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    return digest.digest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def image_keys(images: ImageSource) -> list[bytes]:
    """Tell images apart.

    A file is told by its path, size and time of the last change, and by how it is read: it is not opened. Other images
    are told by their pixels.

    Parameters
    ----------
    images : ImageSource of shape (n, ...)
        Without random steps.

    Returns
    -------
    list of bytes of length n
        A digest of 16 bytes each.
    """
    rows = np.arange(len(images)) if images.rows is None else np.asarray(images.rows)
    identify = getattr(images.base, "identify", None)
    told = [None if identify is None else identify(int(row)) for row in rows]
    how = repr((images.image_shape, [_told(step) for step in images.recipe])).encode()
    keys: list[bytes] = [b"" if text is None else _digest_of(how, text) for text in told]
    by_pixels = np.flatnonzero([text is None for text in told])
    for part, batch in images.batches(by_pixels):
        pixels = batch.contiguous().numpy()
        kind = f"{pixels.dtype} {pixels.shape[1:]}".encode()
        for place, image in zip(part, pixels, strict=True):
            keys[place] = _digest_of(kind, image.tobytes())
    return keys


def _digest_of(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _told(value: Any) -> Any:
    """A value of a step, such that equal texts mean equal values."""
    if isinstance(value, torch.Tensor):
        value = value.cpu().numpy()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        return type(value).__qualname__, [(field.name, _told(getattr(value, field.name))) for field in fields(value)]
    return repr(value)


def with_kept(
    kept: KeptFeatures,
    images: ImageSource,
    compute: Callable[[ImageSource], Iterator[NDArray[np.float32]]],
    n_features: int,
) -> NDArray[np.float32]:
    """The features of images: those that are kept, and the others computed and kept, a batch at a time.

    Parameters
    ----------
    kept : KeptFeatures
        Where they are.
    images : ImageSource of shape (n, ...)
        Without random steps.
    compute : callable
        Takes the images that are missing and gives the features of one batch of them after the other.
    n_features : int
        Numbers an image.

    Returns
    -------
    ndarray of shape (n, n_features)
        The features.
    """
    kept.prepare()
    keys = image_keys(images)
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    features = np.empty((len(images), n_features), np.float32)
    found = kept.find(list(places))
    for key, values in found.items():
        features[places[key]] = values
    missing = [key for key in places if key not in found]
    if missing:
        done = 0
        for batch in compute(images[np.array([places[key][0] for key in missing])]):
            part = missing[done : done + len(batch)]
            kept.keep(part, batch)
            for key, values in zip(part, batch, strict=True):
                features[places[key]] = values
            done += len(batch)
    return features
