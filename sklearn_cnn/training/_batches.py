"""Batches of images, targets and weights."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn.images._source import ImageSource


class Batch(NamedTuple):
    """What one step of the training uses, all on one device.

    Attributes
    ----------
    images : Tensor of shape (k, c, h, w)
        Pixels in the dtype of X, unless a step of the recipe changed it.
    targets : Tensor of shape (k, ...)
        What the network should give.
    weights : Tensor of shape (k,) or None
        Weights of the samples.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor | None


def batch_bounds(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into batches.

    Parameters
    ----------
    n : int
        Number of samples.
    batch_size : int
        Samples in a batch.

    Returns
    -------
    list of (int, int)
        Start and stop of each batch. A last batch of one sample is merged into the batch
        before it, because batch statistics need two samples.
    """
    starts = list(range(0, n, batch_size))
    if batch_size > 1 and len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


class Batches:
    """The batches of an epoch. Every iteration is a new epoch.

    On a CPU the images stay in the caller's array, and each batch is gathered from it. For another device,
    ``images.on(device, ...)`` has moved the whole array there.

    Parameters
    ----------
    images : ImageSource of shape (n, ...)
        All images.
    targets : Tensor of shape (n, ...)
        What the network should give.
    weights : Tensor of shape (n,) or None
        Weights of the samples.
    batch_size : int
        Samples in a batch.
    device : torch.device
        Where the batches are used.
    rows : ndarray of int or None, default=None
        Indices of the samples to use; None uses all.
    shuffle : torch.Generator or None, default=None
        Draws a new order in each epoch; None keeps the order of `rows`.
    draws : sequence of torch.Generator or None, default=None
        One for each random step in the recipe of the images; None leaves those steps out.
    """

    def __init__(
        self,
        images: ImageSource,
        targets: Tensor,
        weights: Tensor | None,
        *,
        batch_size: int,
        device: torch.device,
        rows: NDArray[np.intp] | None = None,
        shuffle: torch.Generator | None = None,
        draws: Sequence[torch.Generator] | None = None,
    ) -> None:
        self.device = device
        self.rows = np.arange(len(images)) if rows is None else rows
        self.shuffle = shuffle
        self.bounds = batch_bounds(len(self.rows), batch_size)
        self.images = images
        self.targets = targets.to(device)
        self.weights = None if weights is None else weights.to(device)
        self.draws = draws

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def n_samples(self) -> int:
        """Samples in an epoch."""
        return len(self.rows)

    def targets_of(self, rows: NDArray[np.intp]) -> tuple[Tensor, Tensor | None]:
        """Targets and weights of some samples, on the device."""
        index = torch.from_numpy(rows).to(self.device)
        return self.targets[index], None if self.weights is None else self.weights[index]

    def __iter__(self) -> Iterator[Batch]:
        rows = self.rows
        if self.shuffle is not None:
            rows = rows[torch.randperm(len(rows), generator=self.shuffle, device="cpu").numpy()]
        # Targets and weights are small: they are gathered once an epoch, and a batch is a slice of them.
        targets, weights = self.targets_of(rows)
        for start, stop in self.bounds:
            images = self.images.batch(rows[start:stop], self.draws, self.device)
            yield Batch(images, targets[start:stop], None if weights is None else weights[start:stop])
