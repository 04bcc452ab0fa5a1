"""What transformers return."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._set_output import _get_output_config

from sklearn_cnn.images._source import ImageSource


def hand_on(estimator: Any, source: ImageSource, *, lazy: bool) -> ImageSource | NDArray[Any]:
    """What a transformer returns.

    Parameters
    ----------
    estimator : transformer
        Its ``set_output`` decides.
    source : ImageSource
        The images.
    lazy : bool
        Whether the images may be computed later.

    Returns
    -------
    ImageSource or ndarray
        The source where that is allowed and no frame is requested, otherwise its images.

    Raises
    ------
    ValueError
        Where a frame is requested for images that are not flattened rows.
    """
    container = _get_output_config("transform", estimator)["dense"]
    if container != "default":
        if not source.image_shape.flat:
            raise ValueError(
                f"set_output(transform={container!r}) makes frames of flattened images, but X has shape "
                f"{source.shape}; pass rows and image_shape={source.image_shape.stored}, or keep "
                f'set_output(transform="default").'
            )
        return np.asarray(source) if source.random_steps else source.images()
    return source if lazy and not source.plain else source.images()
