"""Augmentation of a batch: parameters are drawn for every image, and then applied to the pixels."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sklearn_cnn.preprocessing._pixels import copy_pixels, fill_rectangles, in_grid_units, resample
from sklearn_cnn.preprocessing._policy import LUMA, apply_policy, as_bytes, draw_policy
from sklearn_cnn.preprocessing._resized_crop import draw_boxes

# Zhong et al. 2020, section 4: bounds of the share of the image that is erased, and of the ratio of the sides of the
# rectangle.
ERASED_AREA = (0.02, 0.4)
ERASED_RATIO = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class Draws:
    """Parameters drawn for the images of a batch; None for changes that are off.

    Attributes
    ----------
    rotation, shear : Tensor of shape (n,) or None
        Degrees; rotation counter-clockwise, shear to the left above the centre and to the right below.
    zoom : Tensor of shape (n,) or None
        Factors; above 1 enlarges.
    shift : Tensor of shape (n, 2) or None
        Down and to the right, in pixels.
    flip : Tensor of shape (n, 2) or None
        -1 where an image is flipped top to bottom, and left to right; otherwise 1.
    policy : Tensor of shape (n, 2) or None
        As from `draw_policy`.
    brightness, contrast, saturation : Tensor of shape (n,) or None
        Factors.
    noise : Tensor of shape (n, c, h, w) or None
        What is added to the pixels.
    erased : Tensor of shape (n, 4) or None
        Top, left, bottom and right of the erased rectangle, in pixels; top equals bottom where none is erased.
    cut : Tensor of shape (n, 4) or None
        The same of the square that is cut out; it may reach over the border.
    box : Tensor of shape (n, 4) or None
        Top, left, height and width, in pixels, of the part that is enlarged to the whole image.
    """

    rotation: Tensor | None = None
    shear: Tensor | None = None
    zoom: Tensor | None = None
    shift: Tensor | None = None
    flip: Tensor | None = None
    policy: Tensor | None = None
    brightness: Tensor | None = None
    contrast: Tensor | None = None
    saturation: Tensor | None = None
    noise: Tensor | None = None
    erased: Tensor | None = None
    cut: Tensor | None = None
    box: Tensor | None = None

    @property
    def stays_inside(self) -> bool:
        """Whether images are moved in such a way that no pixel comes from outside: a part is enlarged or flipped."""
        others = (self.rotation, self.shear, self.zoom, self.shift)
        return self.box is not None and all(value is None for value in others)

    @property
    def recolours(self) -> bool:
        """Whether values may leave the range that the pixels had."""
        return any(value is not None for value in (self.brightness, self.contrast, self.saturation, self.noise))


@dataclass(frozen=True)
class Augmentation:
    """A random step of a recipe. Its attributes are the parameters of ``ImageAugmenter``, with numbers as pairs.

    Attributes
    ----------
    shift : (float, float)
        Largest shift down and to the right, as fractions of the sides.
    zoom : (float, float)
        Smallest and largest factor.
    resized_crop : (float, float) or None
        Smallest and largest share of the area.
    seed : int
        Seed of the one fixed draw that NumPy gets.
    seed_of_fit : bool
        Whether a fit uses its own seed rather than this one.
    """

    rotation: float
    shift: tuple[float, float]
    zoom: tuple[float, float]
    shear: float
    crop: int
    resized_crop: tuple[float, float] | None
    horizontal_flip: float
    vertical_flip: float
    policy: str | None
    brightness: float
    contrast: float
    saturation: float
    erasing: float
    noise: float
    cutout: int
    fill_mode: str
    fill_value: float
    interpolation: str
    seed: int
    seed_of_fit: bool

    random: ClassVar[bool] = True

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw the parameters of a batch and apply them."""
        assert generator is not None
        draws = draw(self, tuple(images.shape), generator)
        moves = self.rotation or self.shear or any(self.shift) or self.zoom != (1.0, 1.0) or self.resized_crop
        return apply(
            images,
            draws,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            interpolation=self.interpolation,
            reach=None if moves else self.crop,
        )

    def dtype(self, dtype: Any) -> Any:
        """Images keep their dtype."""
        return dtype

    @property
    def does_nothing(self) -> bool:
        """Whether every image comes out as it goes in."""
        amounts = (self.rotation, *self.shift, self.shear, self.crop, self.horizontal_flip, self.vertical_flip)
        colours = (self.brightness, self.contrast, self.saturation, self.noise)
        others = (self.policy, self.erasing, self.cutout, self.resized_crop)
        return self.zoom == (1.0, 1.0) and not any((*amounts, *colours, *others))


def draw(settings: Augmentation, shape: tuple[int, ...], generator: torch.Generator) -> Draws:
    """Draw the parameters of every image of a batch.

    Parameters
    ----------
    settings : Augmentation
        How far images may be changed.
    shape : (int, int, int, int)
        Shape of the batch, ``(n, c, h, w)``.
    generator : torch.Generator
        Source of the numbers; they are on its device.

    Returns
    -------
    Draws
        The parameters; None for changes that are off.
    """
    n, _, height, width = shape
    sides = torch.tensor([height, width], dtype=torch.float32, device=generator.device)

    def uniform(low: float, high: float, *size: int) -> Tensor:
        values = torch.rand(n, *size, generator=generator, device=generator.device)
        return values.mul_(high - low).add_(low)

    def around(fraction: float) -> Tensor | None:
        return uniform(1 - fraction, 1 + fraction) if fraction else None

    shift = None
    if any(settings.shift):
        shift = uniform(-1, 1, 2) * (sides * torch.tensor(settings.shift, device=generator.device))
    if settings.crop:
        size = (n, 2)
        moved = torch.randint(
            -settings.crop, settings.crop + 1, size, generator=generator, device=generator.device
        ).float()
        shift = moved if shift is None else shift + moved
    flip = None
    if settings.vertical_flip or settings.horizontal_flip:
        chances = torch.tensor([settings.vertical_flip, settings.horizontal_flip], device=generator.device)
        flip = torch.where(uniform(0, 1, 2) < chances, -1.0, 1.0)
    # In this order, so that the draws of a seed stay the same. A keyword of a later version goes to the end.
    return Draws(
        rotation=uniform(-settings.rotation, settings.rotation) if settings.rotation else None,
        shear=uniform(-settings.shear, settings.shear) if settings.shear else None,
        zoom=uniform(*settings.zoom) if settings.zoom != (1.0, 1.0) else None,
        shift=shift,
        flip=flip,
        brightness=around(settings.brightness),
        contrast=around(settings.contrast),
        saturation=around(settings.saturation),
        noise=_noise(settings.noise, shape, generator) if settings.noise else None,
        erased=_rectangles(settings.erasing, sides, uniform) if settings.erasing else None,
        policy=draw_policy(n, generator) if settings.policy else None,
        cut=_squares(settings.cutout, sides, uniform) if settings.cutout else None,
        box=draw_boxes(settings.resized_crop, sides, n, generator) if settings.resized_crop else None,
    )


def _noise(std: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).mul_(std)


def _rectangles(probability: float, sides: Tensor, uniform: Any) -> Tensor:
    """Rectangles as in Zhong et al. 2020, algorithm 1, but cut at the border of the image rather than drawn again."""
    area = uniform(*ERASED_AREA) * sides.prod()
    ratio = uniform(*ERASED_RATIO)
    size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).round_()
    size = torch.minimum(size.clamp_(min=1), sides)
    size[uniform(0, 1) >= probability] = 0
    start = (uniform(0, 1, 2) * (sides - size + 1)).floor_()
    return torch.cat([start, start + size], dim=1)


def _squares(side: int, sides: Tensor, uniform: Any) -> Tensor:
    """Squares whose centres are pixels of the image, all equally likely (DeVries and Taylor 2017, section 3.2)."""
    start = (uniform(0, 1, 2) * sides).floor_() - side // 2
    return torch.cat([start, start + side], dim=1)


def apply(
    images: Tensor,
    draws: Draws,
    *,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
    reach: int | None = None,
) -> Tensor:
    """Change images by what was drawn for them.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w)
        uint8, float32 or float64.
    draws : Draws
        Parameters of every image.
    fill_mode, fill_value, interpolation : str, float, str
        As in ``ImageAugmenter``.
    reach : int or None, default=None
        The largest number of pixels, where images move by flips and whole pixels alone: pixels are then copied.

    Returns
    -------
    Tensor of shape (n, c, h, w)
        In the dtype of `images`; uint8 is rounded and kept between 0 and 255.
    """
    x = _moved(images, draws, fill_mode, fill_value, interpolation, reach)
    if draws.policy is not None:
        filling: dict[str, Any] = {"fill_mode": fill_mode, "fill_value": fill_value, "interpolation": interpolation}
        x = apply_policy(x if x.dtype == images.dtype else as_bytes(x, images), draws.policy, **filling)
    if draws.recolours:
        x = _recoloured(x if x.is_floating_point() else x.to(torch.float32), draws)
        # Only colours can leave the range of bytes.
        x = x if images.is_floating_point() else x.clamp_(0, 255)
    if x.dtype != images.dtype:
        x = as_bytes(x, images)
    for rectangles in (draws.erased, draws.cut):
        if rectangles is not None:
            x = fill_rectangles(x, rectangles, fill_value)
    return x


def _moved(
    images: Tensor, draws: Draws, fill_mode: str, fill_value: float, interpolation: str, reach: int | None
) -> Tensor:
    """Images where they are moved to, as floats where they are interpolated."""
    if reach is not None:
        # grid_sample copies floats as fast, but bytes would have to be converted to floats and back.
        if not images.is_floating_point() and not (draws.recolours and fill_value % 1):
            return copy_pixels(images, draws.shift, draws.flip, reach=reach, fill_mode=fill_mode, fill_value=fill_value)
        interpolation = "nearest"
    matrix = affine_matrix(draws, *images.shape[2:])
    if matrix is None:
        return images
    x = images if images.is_floating_point() else images.to(torch.float32)
    if draws.stays_inside:
        # Places up to half a pixel beyond the centre of the last pixel would otherwise be filled in part.
        fill_mode = "replicate"
    return resample(x, matrix.to(x.dtype), fill_mode, fill_value, interpolation)


def _recoloured(x: Tensor, draws: Draws) -> Tensor:
    """Floats with the changes of brightness, contrast, saturation and noise."""
    if draws.brightness is not None:
        x = x * _per_image(draws.brightness, x)
    if draws.contrast is not None:
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = torch.lerp(mean, x, _per_image(draws.contrast, x))
    if draws.saturation is not None:
        luma = torch.tensor(LUMA, dtype=x.dtype, device=x.device)
        grey = torch.einsum("nchw,c->nhw", x[:, :3], luma)[:, None]
        coloured = torch.lerp(grey, x[:, :3], _per_image(draws.saturation, x))
        x = torch.cat([coloured, x[:, 3:]], dim=1)
    if draws.noise is not None:
        x = x + draws.noise.to(x.dtype)
    return x


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.dtype)[:, None, None, None]


def affine_matrix(draws: Draws, height: int, width: int) -> Tensor | None:
    """Compose the geometric changes into one matrix for each image.

    A part of an image is enlarged; then it is flipped, zoomed, sheared, rotated and shifted, in this order, about its
    centre.

    Parameters
    ----------
    draws : Draws
        Parameters of every image.
    height, width : int
        Sides of an image, in pixels.

    Returns
    -------
    Tensor of shape (n, 2, 3) or None
        Matrices that map ``(x, y, 1)`` of the result to ``(x, y)`` of the image, in the coordinates of
        ``torch.nn.functional.grid_sample``, which go from -1 to 1 along each side; None where nothing moves.
    """
    moves = (draws.rotation, draws.shear, draws.zoom, draws.shift, draws.flip, draws.box)
    given = [value for value in moves if value is not None]
    if not given:
        return None
    ones = torch.ones(len(given[0]), device=given[0].device)
    angle = ones * 0 if draws.rotation is None else draws.rotation.deg2rad()
    slope = ones * 0 if draws.shear is None else draws.shear.deg2rad().tan()
    zoom = ones if draws.zoom is None else draws.zoom
    flip = torch.stack([ones, ones], dim=1) if draws.flip is None else draws.flip
    down, right = (ones * 0, ones * 0) if draws.shift is None else draws.shift.unbind(1)
    # The inverse of the changes, from the last to the first: rotation, shear, zoom, flip, part.
    # x is to the right, y down.
    cos, sin = angle.cos(), angle.sin()
    from_x = torch.stack([cos - slope * sin, sin], dim=1) * flip.flip(1) / zoom[:, None]  # (to x, to y)
    from_y = torch.stack([-sin - slope * cos, cos], dim=1) * flip.flip(1) / zoom[:, None]
    moved = -from_x * right[:, None] - from_y * down[:, None]
    if draws.box is not None:
        sides = torch.tensor([width, height], device=draws.box.device)
        start, size = draws.box[:, :2].flip(1), draws.box[:, 2:].flip(1)  # (x, y)
        from_x, from_y, moved = (value * (size / sides) for value in (from_x, from_y, moved))
        moved = moved + start + (size - sides) / 2
    return in_grid_units(from_x, from_y, moved, height, width)
