"""Batches cut from images that stay as they are."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn.images._source import ImageSource


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

    On the CPU the images stay in the caller's array and every batch is gathered from it; for another
    device, ``images.on(device, ...)`` has moved the whole array there. Either way they keep their dtype until
    the recipe or the network converts a batch.

    Parameters
    ----------
    images : ImageSource of shape (n, ...)
        All images.
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
    draws : sequence of torch.Generator or None, default=None
        One for each random step of the images' recipe, which every batch draws anew; None leaves
        those steps out.
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

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.rows
        if self.shuffle is not None:
            order = order[torch.randperm(len(order), generator=self.shuffle, device="cpu").numpy()]
        for start, stop in self.bounds:
            yield self._batch(order[start:stop])

    def _batch(self, rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(rows).to(self.device)
        images = self.images.batch(rows, self.draws, self.device)
        targets = self.targets[index]
        if self.weights is not None:
            targets.sample_weight = self.weights[index]  # type: ignore[attr-defined]
        return images, targets
