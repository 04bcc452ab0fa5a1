"""Reading the idx files of MNIST and Fashion-MNIST, and files of photographs, for the other scripts of this folder."""

import gzip
import sys

import numpy as np


def read_idx(folder, name):
    """Read an idx file of bytes; its header has the sizes of the axes as big-endian integers."""
    for path, opener in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if path.exists():
            with opener(path, "rb") as file:
                content = file.read()
            n_axes = content[3]
            shape = np.frombuffer(content, ">i4", n_axes, offset=4)
            return (
                np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape).copy()
            )  # torch warns of read-only memory
    sys.exit(f"{folder} has neither {name} nor {name}.gz: pass a folder with the idx files of MNIST or Fashion-MNIST.")


def read_idx_folder(folder):
    """Training images and labels, test images and labels."""
    return tuple(
        read_idx(folder, f"{part}-{kind}-ubyte")
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )


def read_photos(path, train=None, test=5000):
    """Images (n, h, w, c), uint8, and labels 0, 1, ... for training, and the same for scoring.

    `path` is an npz file with X and y, of which the last `test` are for scoring; or a folder with idx files.
    """
    if path.is_dir():
        X, y, X_test, y_test = read_idx_folder(path)
        X, X_test = X[..., None], X_test[..., None]
    else:
        with np.load(path) as file:
            X, y = file["X"], file["y"]
        if not 0 < test < len(X):
            sys.exit(f"--test {test} leaves nothing to train on or to score: {path} has {len(X)} images.")
        X, y, X_test, y_test = X[:-test], y[:-test], X[-test:], y[-test:]
    return X[:train], y[:train], X_test, y_test
