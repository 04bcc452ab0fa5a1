"""Features of images that are kept in a folder, for other fits, folds, candidates and processes."""

import hashlib
import os
import random
import sqlite3
import sys
from collections.abc import Callable, Sequence
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

    Parameters
    ----------
    folder : str or path-like
        Where the database is, or will be.
    network : bytes
        What `network_key` gives.
    n_features : int
        Numbers an image.

    Attributes
    ----------
    problem : str
        The first thing that could not be read or written, for a warning; empty where all could.
    """

    def __init__(self, folder: Any, network: bytes, n_features: int) -> None:
        self._path = os.path.join(os.fspath(folder), FILE_NAME)
        self._network = network
        self._n_features = n_features
        self._usable = True
        self.problem = ""

    def features(
        self, images: ImageSource, prepare: Callable[[ImageSource], tuple[Callable[[ImageSource], Any], int]]
    ) -> NDArray[np.float32]:
        """The features of images: those that are there, and the others computed and kept, a batch at a time.

        What cannot be read is computed, and what cannot be written is not kept; `problem` then says why.

        Parameters
        ----------
        images : ImageSource of shape (n, ...)
            Without random steps.
        prepare : callable
            Takes all images that are missing, and gives a function from images to features, and the images of a batch.

        Returns
        -------
        ndarray of shape (n, n_features)
            The features, in float32.

        Raises
        ------
        NotADirectoryError
            Where the folder is a file.
        """
        self._begin()
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(image_keys(images)):
            places.setdefault(key, []).append(place)
        features = np.empty((len(images), self._n_features), np.float32)

        def missing_of(keys: Sequence[bytes]) -> list[bytes]:
            found = self._find(keys)
            for key, values in found.items():
                features[places[key]] = values
            return [key for key in keys if key not in found]

        def images_of(keys: Sequence[bytes]) -> ImageSource:
            part: ImageSource = images[np.array([places[key][0] for key in keys])]
            return part

        missing = missing_of(list(places))
        if not missing:
            return features
        compute, batch_size = prepare(images_of(missing))
        order = random.Random()
        while missing:
            batch, missing = missing[:batch_size], missing[batch_size:]
            values = compute(images_of(batch))
            for key, row in zip(batch, values, strict=True):
                features[places[key]] = row
            # A file may have changed after it was looked up.
            now = image_keys(images_of(batch))
            same = [row for row, key in enumerate(batch) if now[row] == key]
            if not self._keep([batch[row] for row in same], values[same]):
                # Another process computes the same images. In another order the two seldom meet again.
                missing = missing_of(missing)
                order.shuffle(missing)
        return features

    def _begin(self) -> None:
        """Make folder and database where they are not there."""
        folder = os.path.dirname(self._path)
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise NotADirectoryError(f"memory={folder!r} is a file; it takes a folder.")
        try:
            os.makedirs(folder, exist_ok=True)
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
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _find(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The features of the images that are there and undamaged."""
        found: dict[bytes, NDArray[np.float32]] = {}
        if not self._usable:
            return found
        try:
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
                        else:
                            self.problem = self.problem or "rows of it are damaged; they are computed again"
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        return found

    def _keep(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> bool:
        """Write a batch of features, as a whole or not at all; say whether none of them was there already."""
        if not self._usable:
            return True
        contents = [row.tobytes() for row in features]
        rows = [
            (self._network, key, content, _checksum(self._network, key, content))
            for key, content in zip(keys, contents, strict=True)
        ]
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                n_new = connection.executemany(
                    "INSERT INTO embeddings VALUES (?, ?, ?, ?) ON CONFLICT (network, image) DO UPDATE "
                    "SET features = excluded.features, checksum = excluded.checksum "
                    "WHERE features IS NOT excluded.features OR checksum IS NOT excluded.checksum",
                    rows,
                ).rowcount
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            return True
        return not rows or n_new == len(rows)

    def _connect(self) -> sqlite3.Connection:
        # A connection a call: none is pickled, shared by threads or carried through a fork.
        connection = sqlite3.connect(self._path, timeout=_SECONDS_OF_PATIENCE, isolation_level=None)
        connection.text_factory = bytes  # damage may turn numbers into text, which need not be UTF-8
        return connection

    def _give_up(self, error: Exception) -> None:
        """Use the database no more: waiting for a lock takes long, and each batch would wait anew."""
        self._usable = False
        # Other errors of SQLite (locked, read-only, full) are of its subclass OperationalError.
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        way_out = f"; delete {self._path!r} to begin anew" if damaged else ""
        self.problem = self.problem or f"{error}; what is not there is computed and not kept{way_out}"


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
    name = getattr(plan.architecture, "name", None)  # of a network whose rows do not say what it computes
    told = (_FORMAT, sys.byteorder, name, pooled, precision, device, plan.input_shape, rows, *libraries)
    digest.update(repr(told).encode())
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
    if isinstance(value, tuple | list):
        return [_told(entry) for entry in value]
    return repr(value)
