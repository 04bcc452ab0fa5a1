"""One pass of images through the layers that are not trained, whose features are kept."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._folding import folded
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._read import Given
from sklearn_cnn.estimators._sample import Sample
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._device import resolve_precision
from sklearn_cnn.training._inference import predict_outputs, prediction_batch_size

FOLDED_FROM = 64
"""Images from which a pretrained network is copied and folded first. Before that the copy, and the two runs that check
it, take longer than they save."""


def embedding_of(
    network: ImageNetwork,
    plan: Plan,
    layer: str,
    images: ImageSource,
    device: torch.device,
    precision: str = "auto",
) -> tuple[Callable[[Tensor], Tensor], int]:
    """What computes a layer for many images in little time.

    The layers of torchvision and timm get their batch normalisation folded into the convolutions; our own stay as they
    are, so that their values for an image are the same to the bit in every call. Where the precision is bfloat16,
    products are computed in it.

    Parameters
    ----------
    network : ImageNetwork
        In evaluation mode, on the device. It stays as it is.
    plan : Plan
        Its layers.
    layer : str
        Name of the layer whose output is wanted.
    images : ImageSource of shape (n, ...)
        All images that will come. The first of them check the folded network.
    device : torch.device
        Where to compute.
    precision : {"auto", "float32", "bfloat16", "float64"}, default="auto"
        ``"auto"`` takes bfloat16 where the hardware multiplies it.

    Returns
    -------
    maps : callable
        ``(images (k, c, h, w)) -> Tensor (k, c, h, w) or (k, n_features)``, in the dtype of the weights.
    batch_size : int
        Images at once.
    """
    rows = plan.layers[: [row.name for row in plan.layers].index(layer) + 1] if layer != "input" else ()
    if any(row.ready_made for row in rows) and len(images) >= FOLDED_FROM:
        with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
            network = folded(network, images.batch(np.arange(4), device=device), layer)
    # Strides larger than a map are wrong in bfloat16 on CPUs, see `Layer.exact`.
    if resolve_precision(precision, device, plan.n_macs) == "bfloat16" and not any(row.exact for row in rows):
        network = deepcopy(network)
        network.prediction_dtype = torch.bfloat16
    return partial(network.maps, name=layer), prediction_batch_size(plan.largest_map, device)


def with_features(
    parameters: SimpleNamespace, given: Given, plan: Plan, network: ImageNetwork, precision: str
) -> Given:
    """Where only the head is trained, replace the images by their features, so that the other layers run once.

    Parameters
    ----------
    parameters : SimpleNamespace
        Of the estimator.
    given : Given
        What was read.
    plan : Plan
        The layers, with those that are frozen.
    network : ImageNetwork
        With its first weights, on the device. From here on it takes features, see ``starts_behind``.
    precision : {"float32", "bfloat16", "float64"}
        How the fit computes.

    Returns
    -------
    Given
        The same, with features as images; unchanged where something else is trained too, or where an augmenter makes
        other images in every epoch.
    """
    if parameters.trainable_blocks != 0 or given.sample.images.random_steps:
        return given
    layer = plan.kept
    network.eval()
    kept: dict[int, ImageSource] = {}  # both parts may share one source
    parts: list[Sample | None] = []
    for part in (given.sample, given.held_out):
        if part is None:
            parts.append(None)
            continue
        if id(part.images) not in kept:
            maps, batch_size = embedding_of(network, plan, layer, part.images, given.device, precision)
            features = predict_outputs(
                maps,
                part.images,
                batch_size=batch_size,
                device=given.device,
                verbose=parameters.verbose,
                title="features of images",
            )
            n, n_channels, *size = (*features.shape, 1, 1)[:4]
            shape = ImageShape(int(size[0]), int(size[1]), int(n_channels), "chw")
            kept[id(part.images)] = ImageSource(features.reshape(n, n_channels, *size), shape)
        parts.append(replace(part, images=kept[id(part.images)]))
    network.starts_behind = layer
    sample, held_out = parts
    assert sample is not None
    return replace(given, sample=sample, held_out=held_out)
