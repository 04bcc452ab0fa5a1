"""Batches cut from an array that stays as it is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn._images import ImageShape


def batch_bounds(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into batches.

    Parameters
    ----------
    n : int
        Number of samples.
    batch_size : int
        Samples a batch.

    Returns
    -------
    list of (int, int)
        Start and stop of each batch. A last batch of one sample is merged into the batch
        before it: statistics of a batch need two.
    """
    starts = list(range(0, n, batch_size))
    if batch_size > 1 and len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


class Batches:
    """The batches of one epoch, each time they are iterated.

    On the CPU the images stay in the caller's array and every batch is gathered from it; on
    another device the whole array is moved there once. Either way they keep their dtype: the
    network converts a batch when it has it.

    Parameters
    ----------
    images : ndarray of shape (n, *shape.sample_shape)
        All images.
    shape : ImageShape
        How one is stored.
    targets : Tensor of shape (n, ...)
        What is to be predicted.
    weights : Tensor of shape (n,) or None
        Weights of the samples. A batch's weights travel as the attribute ``sample_weight`` of its
        targets, so that a batch stays the pair ``(X, y)`` that skorch and its callbacks expect.
    batch_size : int
        Samples a batch.
    device : torch.device
        Where the batches are wanted.
    rows : ndarray of int or None, default=None
        The samples to use, by default all.
    shuffle : torch.Generator or None, default=None
        Source of a new order for each epoch.
    """

    def __init__(
        self,
        images: NDArray[Any],
        shape: ImageShape,
        targets: Tensor,
        weights: Tensor | None,
        *,
        batch_size: int,
        device: torch.device,
        rows: NDArray[np.intp] | None = None,
        shuffle: torch.Generator | None = None,
    ) -> None:
        self.shape = shape
        self.device = device
        self.rows = np.arange(len(images)) if rows is None else rows
        self.shuffle = shuffle
        self.bounds = batch_bounds(len(self.rows), batch_size)
        self.images = images
        self.targets = targets.to(device)
        self.weights = None if weights is None else weights.to(device)
        self._resident = None if device.type == "cpu" else torch.from_numpy(images.copy()).to(device)

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def n_samples(self) -> int:
        """Samples in an epoch."""
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.rows
        if self.shuffle is not None:
            order = order[torch.randperm(len(order), generator=self.shuffle, device="cpu").numpy()]
        for start, stop in self.bounds:
            yield self._batch(order[start:stop])

    def _batch(self, rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(rows).to(self.device)
        images = torch.from_numpy(self.images[rows]) if self._resident is None else self._resident[index]
        targets = self.targets[index]
        if self.weights is not None:
            targets.sample_weight = self.weights[index]  # type: ignore[attr-defined]
        return self.shape.to_channels_first(images), targets


def channel_statistics(
    images: NDArray[Any],
    shape: ImageShape,
    weights: NDArray[np.float64] | None = None,
    rows: NDArray[np.intp] | None = None,
    chunk: int = 1024,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and standard deviation of each channel, a few images at a time.

    Parameters
    ----------
    images : ndarray of shape (n, *shape.sample_shape)
        All images.
    shape : ImageShape
        How one is stored.
    weights : ndarray of shape (n,) or None, default=None
        Weights of the images.
    rows : ndarray of int or None, default=None
        The images to use, by default all.
    chunk : int, default=1024
        Images that are held in float64 at once.

    Returns
    -------
    mean, std : ndarray of shape (channels,)
        In float64; the deviation of a constant channel is given as 1.
    """
    rows = np.arange(len(images)) if rows is None else rows
    total = 0.0
    mean = np.zeros(shape.channels)
    squares = np.zeros(shape.channels)
    # Chunks are merged by the pairwise update of Chan, Golub and LeVeque, "Updating formulae and a
    # pairwise algorithm for computing sample variances", 1979: sums of raw squares would cancel.
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        w = np.ones(len(part)) if weights is None else weights[part]
        if not w.any():
            continue
        pixels = torch.from_numpy(images[part])
        pixels = shape.to_channels_first(pixels).to(torch.float64).flatten(2)  # (n, c, h * w)
        share = torch.from_numpy(w / w.sum())
        part_mean = share @ pixels.mean(dim=2)
        part_squares = share @ (pixels - part_mean[:, None]).square_().mean(dim=2)
        delta = part_mean.numpy() - mean
        new_total = total + w.sum()
        mean = mean + delta * (w.sum() / new_total)
        squares = squares + part_squares.numpy() * w.sum() + delta**2 * (total * w.sum() / new_total)
        total = new_total
    std = np.sqrt(squares / total)
    # A deviation within rounding of the mean is that of a constant channel.
    constant = std <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(constant | (std < np.finfo(np.float32).tiny), 1.0, std)
