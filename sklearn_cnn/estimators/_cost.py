"""How long an epoch takes, measured on a few batches."""

import time
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch

from sklearn_cnn._random import Stream, generator
from sklearn_cnn.architectures._build import initialize
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._auto import chosen_batch_size
from sklearn_cnn.estimators._network import blank_network
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._batches import batch_bounds
from sklearn_cnn.training._device import resolve_device, resolve_precision
from sklearn_cnn.training._threads import threads_for

_N_MEASURED = 3
"""Batches whose median counts. One more comes first: it takes longer, since memory and kernels are new."""


def seconds_of_epoch(parameters: SimpleNamespace, plan: Plan, images: ImageSource) -> float:
    """Run a few batches forwards and backwards through a network with random weights.

    Parameters
    ----------
    parameters : SimpleNamespace
        Of the estimator.
    plan : Plan
        The layers.
    images : ImageSource of shape (n, ...)
        The training images.

    Returns
    -------
    float
        Seconds of an epoch. Steps of the optimiser, an augmenter and validation are not in it.
    """
    device = resolve_device(parameters.device)
    precision = resolve_precision(parameters.precision, device, plan.n_macs)
    bounds = batch_bounds(len(images), chosen_batch_size(parameters.batch_size, len(images)))
    seconds = []
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        threads_for(plan.n_macs * (bounds[0][1] - bounds[0][0])),
    ):
        network = blank_network(plan, images.image_shape, double=precision == "float64")
        initialize(network, plan, generator(0, Stream.WEIGHTS))
        network.training_dtype = torch.bfloat16 if precision == "bfloat16" else None
        network.to(device).train()
        start, stop = bounds[0]
        for _ in range(1 + _N_MEASURED):
            begun = time.perf_counter()
            outputs = network(images.batch(np.arange(start, stop), device=device))
            outputs.square().mean().backward()
            float(outputs.detach().sum())  # waits for a GPU
            seconds.append(time.perf_counter() - begun)
    return median(seconds[1:]) * len(images) / (stop - start)
