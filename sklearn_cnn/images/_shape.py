"""Size of an image, and how it is stored."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np

COLOUR_CHANNELS = (1, 3, 4)
"""Numbers of channels that are recognised where ``channels="auto"``."""

WIDEST_UNSHAPED_ROW = 63
"""Longest row of X that is read as one row of pixels where its length is not a square number."""


@dataclass(frozen=True)
class ImageShape:
    """Size of an image and the way it is stored in X.

    Attributes
    ----------
    height, width : int
        Size in pixels.
    channels : int
        Numbers a pixel: 1 for grey, 3 for colour.
    axes : {"hw", "hwc", "chw"}
        Order of an image's axes in X.
    flat : bool
        Whether an image is one row of X.
    """

    height: int
    width: int
    channels: int = 1
    axes: str = "hw"
    flat: bool = False

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of an image with its axes as stored, before any flattening."""
        return tuple({"h": self.height, "w": self.width, "c": self.channels}[axis] for axis in self.axes)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one entry of X."""
        return (self.n_values,) if self.flat else self.stored

    @property
    def n_values(self) -> int:
        """Numbers in one image."""
        return self.height * self.width * self.channels

    @property
    def channels_first(self) -> tuple[int, int, int]:
        """``(channels, height, width)``, the order torch uses."""
        return self.channels, self.height, self.width

    def to_channels_first(self, images: Any) -> Any:
        """View a batch as ``(n, channels, height, width)``.

        Parameters
        ----------
        images : ndarray or Tensor of shape (n, *sample_shape)
            A batch as stored.

        Returns
        -------
        ndarray or Tensor of shape (n, channels, height, width)
            The same values; no copy where the batch is contiguous.
        """
        n = images.shape[0]  # len would fix the size of a batch where torch traces this
        if self.axes != "hwc":
            return images.reshape((n, *self.channels_first))
        images = images.reshape((n, *self.stored))
        return images.transpose(0, 3, 1, 2) if isinstance(images, np.ndarray) else images.permute(0, 3, 1, 2)

    def from_channels_first(self, images: Any) -> Any:
        """Bring a batch back to the way it is stored.

        Parameters
        ----------
        images : ndarray or Tensor of shape (n, channels, height, width)
            A batch as torch has it.

        Returns
        -------
        ndarray or Tensor of shape (n, *sample_shape)
            The same values; no copy where the axes allow it.
        """
        if self.axes == "hwc":
            images = images.transpose(0, 2, 3, 1) if isinstance(images, np.ndarray) else images.permute(0, 2, 3, 1)
        return images.reshape((images.shape[0], *self.sample_shape))

    def __str__(self) -> str:
        return f"{self.height}×{self.width}×{self.channels}"


def parse_image_shape(image_shape: Any, channels: str = "auto") -> ImageShape:
    """Read an ``image_shape`` argument.

    Parameters
    ----------
    image_shape : tuple of int
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)``.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels are; by default at the end of the tuple that is 1, 3 or 4.

    Returns
    -------
    ImageShape
        With ``flat=False``.

    Raises
    ------
    ValueError
        Where the tuple has another length or a side below 1, or where both ends or neither could be channels.
    """
    sides = tuple(image_shape) if hasattr(image_shape, "__iter__") else ()
    if len(sides) not in (2, 3) or not all(is_side(side) for side in sides):
        raise ValueError(f"image_shape is (h, w), (h, w, c) or (c, h, w) with positive integers; got {image_shape!r}.")
    sides = tuple(int(side) for side in sides)
    if len(sides) == 2:
        return ImageShape(*sides)
    axes = _find_channels(sides, channels, f"image_shape={sides}")
    named = dict(zip(axes, sides, strict=True))
    return ImageShape(named["h"], named["w"], named["c"], axes)


def is_side(side: Any) -> bool:
    """Whether a value can be the side of an image: a positive integer."""
    return isinstance(side, int | np.integer) and not isinstance(side, bool) and int(side) > 0


def _find_channels(sides: tuple[int, ...], channels: str, what: str) -> str:
    """Order of three axes: as `channels` says, or by which end is 1, 3 or 4."""
    if channels != "auto":
        return "chw" if channels == "first" else "hwc"
    first, last = sides[0] in COLOUR_CHANNELS, sides[2] in COLOUR_CHANNELS
    if first == last:
        reason = "both its first and its last image axis" if first else "neither its first nor its last image axis"
        raise ValueError(
            f"{what} does not tell where the channels are: {reason} could be 1, 3 or 4 channels. Say "
            f'channels="first" for (c, h, w) or channels="last" for (h, w, c); any number of channels is then allowed.'
        )
    return "chw" if first else "hwc"


def infer_image_shape(shape: tuple[int, ...], image_shape: Any = None, channels: str = "auto") -> ImageShape:
    """Find out how the images of an array are stored.

    Parameters
    ----------
    shape : tuple of int
        Shape of X.
    image_shape : tuple of int or None, default=None
        Shape of one image, as the user gives it.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels are.

    Returns
    -------
    ImageShape
        How one image is stored.

    Raises
    ------
    ValueError
        Where the shape is not one of images, or could be read in more than one way.
    """
    if len(shape) not in (2, 3, 4):
        raise ValueError(
            f"X must have 2 to 4 dimensions: (n, n_features), (n, h, w), (n, h, w, c) or (n, c, h, w); got shape "
            f"{shape}. Reshape your data: one image alone is X[None]."
        )
    if len(shape) == 2:
        return _shape_of_rows(shape, image_shape, channels)
    if len(shape) == 3:
        found = ImageShape(shape[1], shape[2])
    else:
        axes = _find_channels(shape[1:], channels, f"X of shape {shape}")
        named = dict(zip(axes, shape[1:], strict=True))
        found = ImageShape(named["h"], named["w"], named["c"], axes)
    if image_shape is not None:
        said = parse_image_shape(image_shape, channels)
        if said.channels_first != found.channels_first:
            raise ValueError(
                f"X of shape {shape} holds images of {found} (height×width×channels), but image_shape="
                f"{tuple(image_shape)} says {said}; leave image_shape out, or correct it."
            )
    return found


def _shape_of_rows(shape: tuple[int, ...], image_shape: Any, channels: str) -> ImageShape:
    n_features = shape[1]
    if image_shape is not None:
        said = parse_image_shape(image_shape, channels)
        if said.n_values != n_features:
            product = "×".join(map(str, said.stored))
            raise ValueError(
                f"image_shape={said.stored} takes rows of {product} = {said.n_values} values, but X of shape {shape} "
                f"has {n_features} features in a row."
            )
        return ImageShape(said.height, said.width, said.channels, said.axes, flat=True)
    side = isqrt(n_features)
    if side * side == n_features:
        return ImageShape(side, side, flat=True)
    if n_features <= WIDEST_UNSHAPED_ROW:
        return ImageShape(1, n_features, flat=True)
    colour = isqrt(n_features // 3)
    square = f", image_shape=({colour}, {colour}, 3) or (3, {colour}, {colour})" if 3 * colour**2 == n_features else ""
    raise ValueError(
        f"X of shape {shape} has rows of {n_features} values, which make no square image. Say what an image is: "
        f"image_shape=(h, w){square}, or image_shape=(1, {n_features}) for one row of pixels."
    )
