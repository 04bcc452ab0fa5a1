"""Subtracting an offset and dividing by a scale, as steps of a recipe."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn.images._moments import vanishes


@dataclass(frozen=True, eq=False)
class Rescaling:
    """A step that subtracts an offset and divides by a scale.

    Attributes
    ----------
    offset, scale : ndarray of shape (c or 1, h or 1, w or 1)
        What to subtract and what to divide by, in float64.
    float64 : bool
        Whether the result is float64 rather than float32.
    inverse : bool
        Whether to undo this: to multiply by the scale and add the offset.
    """

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    float64: bool
    inverse: bool = False

    random: ClassVar[bool] = False

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Rescale a batch."""
        # float32 holds uint8 exactly, but would lose small differences between large values.
        x = images.to(torch.float32) if images.dtype == torch.uint8 and not self.float64 else _precise(images)
        offset, scale = (torch.from_numpy(value).to(x) for value in (self.offset, self.scale))
        x = torch.addcmul(offset, x, scale) if self.inverse else (x - offset) / scale
        return x.to(_torch_dtype(self.float64))

    def dtype(self, dtype: Any) -> Any:
        """float32, or float64 as `float64` says."""
        return np.dtype(np.float64 if self.float64 else np.float32)


@dataclass(frozen=True)
class OwnRescaling:
    """A step that rescales each image by its own statistics.

    Attributes
    ----------
    method : {"standardize", "minmax"}
        Mean and standard deviation, or smallest and largest value.
    float64 : bool
        Whether the result is float64 rather than float32.
    """

    method: str
    float64: bool

    random: ClassVar[bool] = False

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Rescale a batch."""
        dims = (1, 2, 3)
        x = _precise(images)
        low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
        spread = high - low
        x = (x - low) / torch.where(vanishes(spread, torch.maximum(low.abs(), high.abs())), 1.0, spread)
        if self.method == "standardize":  # x is between 0 and 1: its squares neither overflow nor vanish
            varies = (x.amax(dims, keepdim=True) > 0).to(x)
            x = x - x.mean(dims, keepdim=True)
            x = varies * x / x.square().mean(dims, keepdim=True).sqrt().clamp_(min=1e-12)
        return x.to(_torch_dtype(self.float64))

    def dtype(self, dtype: Any) -> Any:
        """float32, or float64 as `float64` says."""
        return np.dtype(np.float64 if self.float64 else np.float32)


def _precise(images: Tensor) -> Tensor:
    return images.to(torch.float32 if images.device.type == "mps" else torch.float64)  # mps has no float64


def _torch_dtype(float64: bool) -> torch.dtype:
    return torch.float64 if float64 else torch.float32
