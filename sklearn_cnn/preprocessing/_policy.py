"""TrivialAugment: one kind of change and one strength for each image (Müller and Hutter 2021)."""

from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_cnn.preprocessing._pixels import in_grid_units, put_images, resample, take_images

LEVELS = 30
"""The strongest level; the weakest is 0."""

# The ranges that the paper calls "wide".
_SHEAR = 0.99  # pixels to the side for each pixel down
_SHIFT = 32  # pixels
_ANGLE = 135.0  # degrees
_FACTOR = 0.99  # colours are multiplied by a factor from 0.01 to 1.99
_FEWEST_BITS = 2

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image: Recommendation ITU-R BT.601."""


def draw_policy(n: int, generator: torch.Generator) -> Tensor:
    """Draw a kind and a level for every image.

    Parameters
    ----------
    n : int
        Number of images.
    generator : torch.Generator
        Source of the numbers.

    Returns
    -------
    Tensor of int64 of shape (n, 2)
        Index into `KINDS`, and level from -30 to 30: 0 to 30 with equal chances, then a sign. Kinds without a direction
        do not look at the sign.
    """

    def integers(stop: int) -> Tensor:
        return torch.randint(0, stop, (n,), generator=generator, device=generator.device)

    kind, level = integers(len(KINDS)), integers(LEVELS + 1)
    return torch.stack([kind, torch.where(integers(2) == 1, level, -level)], dim=1)


def apply_policy(
    images: Tensor, drawn: Tensor, *, fill_mode: str = "constant", fill_value: float = 0.0, interpolation: str
) -> Tensor:
    """Change every image by the kind and level that were drawn for it.

    Images of one kind are changed together.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w)
        uint8, float32 or float64, with any number of channels.
    drawn : Tensor of int64 of shape (n, 2)
        As from `draw_policy`.
    fill_mode, fill_value, interpolation : str, float, str
        As in ``ImageAugmenter``.

    Returns
    -------
    Tensor of shape (n, c, h, w)
        A copy in the dtype of the images. uint8 is rounded.
    """
    changed = images.clone()
    kind = drawn[:, 0]
    places = torch.split(kind.argsort(), kind.bincount(minlength=len(KINDS)).tolist())
    of_kind = dict(zip(KINDS, places, strict=True))
    moved = torch.cat([of_kind[name] for name in _MOVES])
    if len(moved):
        pixels = _floats(take_images(images, moved))
        matrix = _matrices(drawn[moved], *images.shape[2:]).to(pixels.dtype)
        put_images(changed, moved, as_bytes(resample(pixels, matrix, fill_mode, fill_value, interpolation), images))
    for name, change in _COLOURS.items():
        rows = of_kind[name]
        if len(rows):
            put_images(changed, rows, _recoloured(take_images(images, rows), change, drawn[rows, 1]))
    return changed


def as_bytes(x: Tensor, like: Tensor) -> Tensor:
    """Round floats from 0 to 255 where the images that they come from are bytes; `x` is written to."""
    if like.is_floating_point():
        return x
    # Adding 0.5 and truncating rounds numbers that are not negative. Converting floats to int32 and then to uint8 takes
    # a third of the time of converting them to uint8.
    return x.add_(0.5).to(torch.int32).to(like.dtype)


def _floats(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.to(torch.float32)


# Kinds that move pixels.


def _matrices(drawn: Tensor, height: int, width: int) -> Tensor:
    """The matrix of every image for `resample`; a shear leaves the top left corner where it is, as in the paper."""
    kind, level = drawn.unbind(1)
    share = level.to(torch.float64) / LEVELS
    none = torch.zeros_like(share)

    def of(name: str, values: Tensor) -> Tensor:
        return torch.where(kind == _MOVES[name], values, none)

    angle = of("rotate", share * _ANGLE).deg2rad()
    along_x, along_y = of("shear_x", share * _SHEAR), of("shear_y", share * _SHEAR)
    # Shifts are by whole pixels. 32 are the whole side of the paper's images; smaller ones move by their own side.
    right = of("translate_x", (share * min(_SHIFT, width)).trunc()) - along_x * (height / 2)
    down = of("translate_y", (share * min(_SHIFT, height)).trunc()) - along_y * (width / 2)
    from_x = torch.stack([angle.cos(), angle.sin() + along_y], dim=1)
    from_y = torch.stack([along_x - angle.sin(), angle.cos()], dim=1)
    return in_grid_units(from_x, from_y, torch.stack([-right, -down], dim=1), height, width)


# Kinds that change colours. They see floats from 0, which is black, to 255, which is white.

_SLACK = 1e-3
"""A float this little below a whole number counts as that number: it may be a byte that was divided and multiplied."""

Change = Callable[[Tensor, Tensor], Tensor]


def _recoloured(images: Tensor, change: Change, level: Tensor) -> Tensor:
    """Change the colours of images by one kind. In floats each image's extreme values are black and white."""
    level = level[:, None, None, None]
    if not images.is_floating_point():
        return as_bytes(change(_floats(images), level).clamp_(0, 255), images)
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    flat = high == low  # an image of one value stays as it is
    span = torch.where(flat, 1, high - low)
    x = change((images - low) / span * 255, level).clamp_(0, 255)
    return torch.where(flat, images, low + x / 255 * span)


def _blended(x: Tensor, other: Tensor | float, level: Tensor) -> Tensor:
    """From another image, at a factor of 0, through the image itself, at 1, to what is as far behind it."""
    factor = 1 + level.to(x.dtype) * (_FACTOR / LEVELS)
    return other + (x - other) * factor


def _grey(x: Tensor) -> Tensor:
    """The grey of colour images, which have 3 or 4 channels; of others the images themselves."""
    if x.shape[1] not in (3, 4):
        return x
    red, green, blue = x[:, :3].unbind(1)
    return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2])[:, None]


def _color(x: Tensor, level: Tensor) -> Tensor:
    if x.shape[1] not in (3, 4):
        return x
    return torch.cat([_blended(x[:, :3], _grey(x), level), x[:, 3:]], dim=1)


def _contrast(x: Tensor, level: Tensor) -> Tensor:
    return _blended(x, _grey(x).mean(dim=(1, 2, 3), keepdim=True), level)


def _sharpness(x: Tensor, level: Tensor) -> Tensor:
    """Away from a smooth image, whose pixels are 5/13 of themselves and 1/13 of each neighbour; not at the border."""
    if min(x.shape[2:]) < 3:
        return x
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = x[:, :, 1:-1, 1:-1]
    sharp = x.clone()
    sharp[:, :, 1:-1, 1:-1] = _blended(inner, (around + 4 * inner) / 13, level)
    return sharp


def _whole(x: Tensor) -> Tensor:
    """The whole numbers below floats."""
    return (x + _SLACK).floor_()


def _posterize(x: Tensor, level: Tensor) -> Tensor:
    """Keep the 8 to 2 highest bits."""
    dropped = (level.abs() * ((8 - _FEWEST_BITS) / LEVELS)).round()
    return torch.where(dropped == 0, x, _whole(x / 2**dropped) * 2**dropped)


def _solarize(x: Tensor, level: Tensor) -> Tensor:
    """Invert what is as bright as a threshold, or brighter."""
    return torch.where(x + _SLACK >= 255 - level.abs() * (255 / LEVELS), 255 - x, x)


def _autocontrast(x: Tensor, level: Tensor) -> Tensor:
    """Stretch every channel from black to white."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    return torch.where(high == low, x, (x - low) * (255 / (high - low)))


def _equalize(x: Tensor, level: Tensor) -> Tensor:
    """Give every channel about as many pixels of each of 256 values, by the formula of PIL's ``ImageOps.equalize``."""
    n, c, h, w = x.shape
    values = _whole(x).to(torch.int64).reshape(n * c, h * w)
    channel = torch.arange(n * c, device=x.device)[:, None]
    counts = (values + 256 * channel).flatten().bincount(minlength=256 * n * c).view(n * c, 256)
    brightest = counts.gather(1, values.amax(dim=1, keepdim=True))
    step = (h * w - brightest) // 255
    table = (counts.cumsum(dim=1) - counts + step // 2) // step.clamp(min=1)
    table = torch.where(step == 0, torch.arange(256, device=x.device), table.clamp_(max=255))
    equal = table.gather(1, values).view(n, c, h, w).to(x.dtype)
    return torch.where(step.view(n, c, 1, 1) == 0, x, equal)


_COLOURS: dict[str, Change] = {
    "brightness": lambda x, level: _blended(x, 0.0, level),
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
_MOVES = {"shear_x": 1, "shear_y": 2, "translate_x": 3, "translate_y": 4, "rotate": 5}

KINDS = ("identity", *_MOVES, *_COLOURS)
"""The kinds of change, all equally likely."""
