"""The parameters of an augmenter become steps of a recipe."""

from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from sklearn_cnn.images._shape import infer_image_shape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._augmentation import Augmentation
from sklearn_cnn.preprocessing._own_function import OwnFunction

_NUMBERS = (
    *("rotation", "shear", "horizontal_flip", "vertical_flip"),
    *("brightness", "contrast", "saturation", "erasing", "noise", "fill_value"),
)


def augmented(augmenter: Any, source: ImageSource, *, seen_by_numpy: bool = True, copies: int = 1) -> ImageSource:
    """Add the changes of an augmenter to a source.

    Parameters
    ----------
    augmenter : ImageAugmenter
        Fitted or not; its parameters are checked.
    source : ImageSource
        The images.
    seen_by_numpy : bool, default=True
        Whether the images may be used elsewhere than in a fit. They then need a seed even where the
        augmenter has none.
    copies : int, default=1
        How often the source has each image, one after the other.

    Returns
    -------
    ImageSource
        The source with one step more, or two where the user has a function; the source itself where no change is on.

    Raises
    ------
    ValueError, TypeError
        Where a parameter cannot be used, or not for these images.
    """
    augmenter._validate_params()
    if augmenter.image_shape is not None or augmenter.channels != "auto":
        shape = infer_image_shape(source.shape, augmenter.image_shape, augmenter.channels)
        if shape != source.image_shape:
            raise ValueError(
                f"the augmenter reads X of shape {source.shape} as images of {shape} (height×width×channels), and "
                f"the estimator as {source.image_shape}; leave image_shape and channels of the augmenter out."
            )
    for step in steps_of(augmenter, source, copies):
        if not step.seed_of_fit or seen_by_numpy:
            step = replace(step, seed=int(check_random_state(augmenter.random_state).randint(2**31 - 1)))
        source = source.then(step)
    return source


def steps_of(augmenter: Any, source: ImageSource, copies: int = 1) -> list[Any]:
    """The steps that make the changes which are on; their seeds are set later.

    Parameters
    ----------
    augmenter : ImageAugmenter
        Its parameters have been checked each for itself.
    source : ImageSource
        Images such as those that are changed.
    copies : int, default=1
        How often the source has each image, one after the other.

    Returns
    -------
    list of steps
        Up to two.

    Raises
    ------
    ValueError
        Where parameters do not fit together, or not these images.
    """
    built_in, of_fit = _augmentation_of(augmenter, source), augmenter.random_state is None
    steps: list[Any] = [] if built_in.does_nothing else [built_in]
    return steps if augmenter.func is None else [*steps, OwnFunction(augmenter.func, 0, of_fit, copies)]


def _augmentation_of(augmenter: Any, source: ImageSource) -> Augmentation:
    """The step that makes the changes, for images such as those of the source; its seed is set later."""
    _check_against(augmenter, source)
    zoom, shift = augmenter.zoom, augmenter.shift
    zoom = (1 - zoom, 1 + zoom) if isinstance(zoom, Real) else zoom
    shift = (shift, shift) if isinstance(shift, Real) else shift
    low, high = read_pair(zoom, "zoom", 1e-3, 1e3, "(low, high) of factors from 0.001 to 1000")
    if low > high:
        raise ValueError(f"zoom=(low, high) has low above high: {augmenter.zoom!r}.")
    return Augmentation(
        shift=read_pair(shift, "shift", 0, 1, "(vertical, horizontal) of fractions from 0 to 1"),
        zoom=(low, high),
        crop=int(augmenter.crop),
        resized_crop=_shares(augmenter.resized_crop),
        cutout=int(augmenter.cutout),
        policy=augmenter.policy,
        fill_mode=augmenter.fill_mode,
        interpolation=augmenter.interpolation,
        **{name: float(getattr(augmenter, name)) for name in _NUMBERS},
        seed=0,
        seed_of_fit=augmenter.random_state is None,
    )


def _shares(resized_crop: Any) -> tuple[float, float] | None:
    """The least and the largest share of the area; None where the whole image is always taken."""
    if resized_crop is None:
        return None
    pair = (resized_crop, 1.0) if isinstance(resized_crop, Real) else resized_crop
    low, high = read_pair(pair, "resized_crop", 1e-6, 1, "(low, high) of shares of the area, above 0 and up to 1")
    if low > high:
        raise ValueError(f"resized_crop=(low, high) has low above high: {resized_crop!r}.")
    return None if low == 1 else (low, high)


def _check_against(augmenter: Any, source: ImageSource) -> None:
    """Refuse parameters that are impossible for images of this shape and dtype."""
    shape = source.image_shape
    if augmenter.crop and augmenter.crop >= min(shape.height, shape.width):
        raise ValueError(
            f"crop={augmenter.crop} may move all of an image of {shape} (height×width×channels) out of sight; use at "
            f"most {min(shape.height, shape.width) - 1}, or shift."
        )
    if augmenter.cutout >= max(shape.height, shape.width):
        raise ValueError(
            f"cutout={augmenter.cutout} may cover all of an image of {shape} (height×width×channels); use at most "
            f"{max(shape.height, shape.width) - 1}."
        )
    if augmenter.saturation and shape.channels not in (3, 4):
        raise ValueError(
            f"saturation={augmenter.saturation} needs colour images, of 3 or 4 channels; X has images of {shape} "
            f"(height×width×channels). Use saturation=0."
        )
    limits = (0, 255) if source.dtype == np.uint8 else (np.finfo(source.dtype).min, np.finfo(source.dtype).max)
    low, high = map(float, limits)
    if not low <= augmenter.fill_value <= high:
        raise ValueError(
            f"fill_value={augmenter.fill_value} cannot be the value of a pixel: X has {source.dtype}, from "
            f"{low:g} to {high:g}."
        )


def read_pair(value: Any, name: str, low: float, high: float, what: str) -> tuple[float, float]:
    """Read a pair of numbers.

    Parameters
    ----------
    value : sequence
        The parameter.
    name : str
        Its name.
    low, high : float
        Bounds of the numbers, both included.
    what : str
        What the pair means, for the error message.

    Returns
    -------
    (float, float)
        The numbers.

    Raises
    ------
    ValueError
        Where it is not a pair of numbers, or a number is out of bounds.
    """
    numbers = np.asarray(value, dtype=object)
    valid = numbers.shape == (2,) and all(
        isinstance(number, int | float | np.number) and low <= float(number) <= high for number in numbers
    )
    if not valid:
        raise ValueError(f"{name} is a number or a pair {what}; got {value!r}.")
    return float(numbers[0]), float(numbers[1])
