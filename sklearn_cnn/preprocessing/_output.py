"""What transformers hand on."""

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
        Whose ``set_output`` counts.
    source : ImageSource
        The images.
    lazy : bool
        Whether they may still be computed later.

    Returns
    -------
    ImageSource or ndarray
        The source where it may be lazy and no frame is wanted, otherwise its images.

    Raises
    ------
    ValueError
        Where a frame is wanted of images that are no rows.
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
