"""Predictions for many images in the memory of one batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn.images._source import ImageSource

BATCH_BYTES = 32 * 2**20
"""The largest map of a prediction batch stays below this: larger batches leave the caches and gain nothing."""


def prediction_batch_size(largest_map: int) -> int:
    """Images a batch, given the number of values in a network's largest map."""
    return int(np.clip(BATCH_BYTES // (4 * max(largest_map, 1)), 1, 4096))


def predict_outputs(
    network: Callable[[Tensor], Tensor],
    images: ImageSource,
    *,
    batch_size: int,
    device: torch.device,
    look: Callable[[Tensor], None] | None = None,
) -> NDArray[Any]:
    """Run a network in evaluation mode.

    Parameters
    ----------
    network : torch.nn.Module or callable
        Already in evaluation mode, so that several threads may predict at once.
    images : ImageSource of shape (n, ...)
        The images; random steps are left out.
    batch_size : int
        Images that go through the network at once.
    device : torch.device
        Where the network is.
    look : callable or None, default=None
        Is shown every batch before the network.

    Returns
    -------
    ndarray of shape (n, n_outputs)
        The outputs.
    """
    outputs: NDArray[Any] | None = None
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = images.batch(slice(start, start + batch_size), device=device)
            if look is not None:
                look(batch)
            # An image alone would run in another kernel, and be rounded differently than among others.
            n, batch = len(batch), batch if len(batch) > 1 else batch.expand(2, *batch.shape[1:])
            part = network(batch)[:n].cpu().numpy()
            if outputs is None:
                outputs = np.empty((len(images), *part.shape[1:]), dtype=part.dtype)
            outputs[start : start + batch_size] = part
    assert outputs is not None
    return outputs
