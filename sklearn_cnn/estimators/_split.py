"""Holding out a validation part."""

import warnings

import numpy as np
from numpy.typing import NDArray


def stratified_split(
    targets: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows so that every class stays in the training part.

    ``StratifiedShuffleSplit`` refuses classes of one sample and validation parts smaller than the
    number of classes; here the first stay in training and the second are shared out by size.

    Parameters
    ----------
    targets : ndarray of shape (n,)
        Classes as integers from 0.
    fraction : float
        Share of the rows to hold out.
    seed : int
        Seed of the draws.

    Returns
    -------
    train, valid : ndarray of int
        Row numbers, sorted.

    Raises
    ------
    ValueError
        Where no class has two samples.
    """
    counts = np.bincount(targets)
    present = np.flatnonzero(counts)
    counts = counts[present]
    available = counts - 1
    if not available.any():
        raise ValueError(
            f"early_stopping holds out a part of the images, but {len(targets)} samples of {len(present)} classes are "
            f"too few to split: no class has two. Pass X_val and y_val, or use early_stopping=False."
        )
    if (counts == 1).any():
        warnings.warn(
            f"{np.count_nonzero(counts == 1)} of {len(present)} classes have one sample, which stays in training.",
            UserWarning,
            stacklevel=2,
        )
    rng = np.random.default_rng(seed)
    wanted = max(1, round(fraction * len(targets)))
    quota = _share_out(min(wanted, int(available.sum())), counts, available, rng)
    valid = [
        rng.permutation(np.flatnonzero(targets == label))[:size] for label, size in zip(present, quota, strict=True)
    ]
    held = np.sort(np.concatenate(valid))
    return np.setdiff1d(np.arange(len(targets)), held), held


def random_split(n: int, fraction: float, seed: int, *, least: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows at random, where there are no classes to keep.

    Parameters
    ----------
    n : int
        Number of rows.
    fraction : float
        Share of the rows to hold out.
    seed : int
        Seed of the draw.
    least : int
        Rows that the validation part has at least.

    Returns
    -------
    train, valid : ndarray of int
        Row numbers, sorted.

    Raises
    ------
    ValueError
        Where no row would be left for training.
    """
    if n <= least:
        raise ValueError(
            f"early_stopping holds out a part of the images, at least {least}, but {n} samples are too few to split. "
            f"Pass X_val and y_val, or use early_stopping=False."
        )
    size = min(max(least, round(fraction * n)), n - 1)
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[size:]), np.sort(order[:size])


def _share_out(
    total: int, counts: NDArray[np.intp], available: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Share a number out in proportion to counts, none above what is available, by largest remainders."""
    exact = total * counts / counts.sum()
    quota = np.minimum(np.floor(exact).astype(np.intp), available)
    # Ties between remainders are broken at random, since an order would always favour the first classes.
    for index in np.lexsort((rng.random(len(counts)), -(exact - np.floor(exact)))):
        if quota.sum() < total and quota[index] < available[index]:
            quota[index] += 1
    while quota.sum() < total:
        room = np.flatnonzero(quota < available)
        quota[room[np.argmax(available[room] - quota[room])]] += 1
    return quota
