"""The random resized crop: which part of each image is enlarged to the whole (Szegedy et al. 2015)."""

import math

import torch
from torch import Tensor

# Szegedy et al. 2015, section 6: bounds of the ratio of the sides of the part; torchvision's too.
RATIO = (3 / 4, 4 / 3)
_TRIES = 10


def draw_boxes(shares: tuple[float, float], sides: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw a part of every image.

    The share of the area is uniform, and so is the logarithm of the ratio of width to height. This ratio is relative to
    that of the image, so that images of unequal sides are distorted as little as square ones. A part that does not fit
    into the image is drawn again, up to ten times; after that the whole image is the part.

    Parameters
    ----------
    shares : (float, float)
        Smallest and largest share of the area of the image.
    sides : Tensor of shape (2,)
        Height and width of an image, in pixels.
    n : int
        Number of images.
    generator : torch.Generator
        Source of the numbers.

    Returns
    -------
    Tensor of shape (n, 4)
        Top, left, height and width of the part, in pixels and fractions of these.
    """
    low, high = shares
    bounds = [math.log(ratio) for ratio in RATIO]
    tries = torch.rand(n, _TRIES, 2, generator=generator, device=generator.device)
    place = torch.rand(n, 2, generator=generator, device=generator.device)
    share = tries[..., 0] * (high - low) + low
    ratio = (tries[..., 1] * (bounds[1] - bounds[0]) + bounds[0]).exp()
    parts = torch.stack([share / ratio, share * ratio], dim=2).sqrt()  # (n, tries, height and width), of the sides
    fits = (parts <= 1).all(dim=2)
    first = fits.to(torch.int64).argmax(dim=1)
    part = parts[torch.arange(n, device=parts.device), first]
    part = torch.where(fits.any(dim=1)[:, None], part, 1.0)
    return torch.cat([place * (1 - part) * sides, part * sides], dim=1)
