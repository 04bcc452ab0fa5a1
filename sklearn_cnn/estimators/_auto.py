"""What ``"auto"`` means for the training: epochs, batch size, augmenter. `architectures` has that of the network."""

from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples

from sklearn_cnn.architectures._auto import LARGE
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter


def chosen_epochs(max_epochs: int | str, X: Any) -> int:
    """The number of epochs.

    Ten, and fewer from 30,000 images on: a fit then sees 300,000 images, or each image six times.

    Parameters
    ----------
    max_epochs : int or "auto"
        The parameter.
    X : object
        The images as the user gave them. They may be unreadable, which is found out later.

    Returns
    -------
    int
        The parameter, or what ``"auto"`` means.
    """
    if not isinstance(max_epochs, str):
        return int(max_epochs)
    try:
        n = _num_samples(X)
    except TypeError:
        return 10
    return int(np.clip(300_000 // max(n, 1), 6, 10))


def chosen_batch_size(batch_size: int | str, n: int) -> int:
    """Images a step: ``"auto"`` gives small sets enough steps and large ones full batches.

    Parameters
    ----------
    batch_size : int or "auto"
        The parameter.
    n : int
        Number of training images.

    Returns
    -------
    int
        The parameter, or what ``"auto"`` means.
    """
    if not isinstance(batch_size, str):
        return int(batch_size)
    return int(np.clip(2 ** int(np.log2(max(n, 1) / 40)) if n >= 40 else 1, 16, 128))


def chosen_augmenter(parameters: Any, images: ImageSource) -> ImageAugmenter | None:
    """The augmenter of the training images.

    ``"auto"`` shifts images by whole pixels, which changes the class of hardly any. It does nothing for small images,
    in which a pixel is a large part; for images that a step before already changes at random; and where trained
    weights are the beginning, whose features may be kept.

    Parameters
    ----------
    parameters : Parameters or estimator
        Has ``augmenter``, ``weights`` and ``trainable_blocks``.
    images : ImageSource
        The images.

    Returns
    -------
    ImageAugmenter or None
        The parameter, or what ``"auto"`` means.
    """
    if not isinstance(parameters.augmenter, str):
        augmenter: ImageAugmenter | None = parameters.augmenter
        return augmenter
    side = min(images.image_shape.height, images.image_shape.width)
    trained = parameters.weights is not None or parameters.trainable_blocks != "all"
    if side < LARGE or images.random_steps or trained:
        return None
    return ImageAugmenter(crop=side // 16, fill_mode="reflect")
