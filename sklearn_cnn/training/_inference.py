"""Predictions for many images in the memory of one batch."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn._memory import free_bytes, is_out_of_memory, release
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._progress import pass_bar
from sklearn_cnn.training._threads import at_most_threads

BATCH_BYTES = 16 * 2**20
"""The largest map of a prediction batch stays below this size. Maps of 32 MiB took up to a fifth longer: glibc gives so
large a block back to the system at once, so that every page of the next one is new. Below 8 MiB the fixed cost of a
batch shows."""


MOST_BATCH_BYTES = 2**30
"""The same on a GPU, where a sixteenth of the free memory is less: a layer has up to three such maps, and others may
come to the GPU meanwhile."""


def prediction_batch_size(largest_map: int, device: torch.device | None = None) -> int:
    """Number of images in a prediction batch.

    Parameters
    ----------
    largest_map : int
        Values in the largest map of the network.
    device : torch.device or None, default=None
        Where it computes; None is a CPU. A GPU takes batches by its free memory: it has no cache that they would have
        to fit, and needs many values to be busy.

    Returns
    -------
    int
        The number, 1 to 4096.
    """
    free = None if device is None else free_bytes(device)
    n_bytes = BATCH_BYTES if free is None else max(BATCH_BYTES, min(free // 16, MOST_BATCH_BYTES))
    return min(max(n_bytes // (4 * max(largest_map, 1)), 1), 4096)


def predict_outputs(
    network: Callable[[Tensor], Tensor],
    images: ImageSource,
    *,
    batch_size: int,
    device: torch.device,
    look: Callable[[Tensor], None] | None = None,
    verbose: int = 0,
    title: str = "predicting",
) -> NDArray[Any]:
    """Run a network on images, a batch at a time.

    It takes as many threads as the caller has, but no more than there are CPUs for this process.

    Parameters
    ----------
    network : torch.nn.Module or callable
        In evaluation mode already, since several threads may predict with it at once.
    images : ImageSource of shape (n, ...)
        The images. The random steps of their recipe are left out.
    batch_size : int
        Images that go through the network together.
    device : torch.device
        Where the network is.
    look : callable or None, default=None
        Called with every batch before it goes through the network.
    verbose : int, default=0
        Whether a long pass shows a bar, see `pass_bar`.
    title : str, default="predicting"
        What the bar is called.

    Returns
    -------
    ndarray of shape (n, n_outputs)
        The outputs.

    Raises
    ------
    MemoryError
        If memory does not suffice for one image.

    Warns
    -----
    UserWarning
        If memory does not suffice for a batch of `batch_size`. The prediction goes on with smaller batches.
    """
    outputs: NDArray[Any] | None = None
    start, size = 0, batch_size
    with torch.inference_mode(), _threads_of_process(), pass_bar(verbose, title, len(images)) as advance:
        while start < len(images):
            try:
                part = _predict_batch(network, images, slice(start, start + size), device, look)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise MemoryError(f"memory did not suffice for the prediction of one image ({error}).") from error
                size = max(size // 2, 1)
                release(device)
                continue
            if outputs is None:
                outputs = np.empty((len(images), *part.shape[1:]), dtype=part.dtype)
            outputs[start : start + len(part)] = part
            start += len(part)
            advance(len(part))
    if size < batch_size:
        warnings.warn(
            f"memory did not suffice for the prediction of {batch_size} images at once; it went on with {size}.",
            UserWarning,
            stacklevel=4,
        )
    assert outputs is not None
    return outputs


def _threads_of_process() -> AbstractContextManager[None]:
    # Counting CPUs reads files of the system, which takes a tenth of a millisecond.
    return nullcontext() if torch.get_num_threads() == 1 else at_most_threads(joblib.cpu_count())


def _predict_batch(
    network: Callable[[Tensor], Tensor],
    images: ImageSource,
    rows: slice,
    device: torch.device,
    look: Callable[[Tensor], None] | None,
) -> NDArray[Any]:
    batch = images.batch(rows, device=device)
    if look is not None:
        look(batch)
    # A batch of one image would run in another kernel, whose results are rounded in another way.
    n, batch = len(batch), batch if len(batch) > 1 else batch.expand(2, *batch.shape[1:])
    outputs: NDArray[Any] = network(batch)[:n].cpu().numpy()
    return outputs
