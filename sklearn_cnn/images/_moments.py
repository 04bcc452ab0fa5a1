"""Statistics of pixels that are seen a batch at a time."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

REDUCED = {"channel": (0, 2, 3), "pixel": (0,), "all": (0, 1, 2, 3)}
"""Axes of ``(n, c, h, w)`` that one statistic is taken over."""

_AT_ONCE = 2**18
"""Pixels that are summed up at once: in float64 they fit into the processor's cache, which takes a third of
the time."""


class PixelRange:
    """Smallest and largest value of pixels that are seen a batch at a time, without the rest of `Moments`.

    Attributes
    ----------
    low, high : float
        The two values; infinite before the first batch.
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf

    def see(self, pixels: Tensor) -> None:
        """Update both with a batch of any shape and real dtype."""
        # `aminmax` takes many times as long where pixels are a view.
        self.low = min(self.low, float(pixels.amin()))
        self.high = max(self.high, float(pixels.amax()))


class Moments:
    """Weighted mean, variance and range.

    Parameters
    ----------
    per : {"channel", "pixel", "all"}
        Which values share one mean, variance and range: those of a channel, of a pixel of a channel, or all.

    Attributes
    ----------
    n_images : int
        Images seen.
    total : float
        Their weight.
    mean, squares : ndarray
        Mean, and weighted sum of the squared deviations from it, in float64. Of shape ``(c, 1, 1)``,
        ``(c, h, w)`` or ``(1, 1, 1)``, as `per` says.
    low, high : ndarray
        Smallest and largest value, of the same shape.
    """

    def __init__(self, per: str) -> None:
        self.per = per
        self.n_images = 0
        self.total = 0.0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.low: Any = np.inf
        self.high: Any = -np.inf

    def see(self, pixels: Tensor) -> None:
        """Update the range with a batch, but not mean and variance.

        Parameters
        ----------
        pixels : Tensor of shape (n, c, h, w)
            Images of any real dtype.
        """
        dims = REDUCED[self.per]
        self.n_images += len(pixels)
        self.low = np.minimum(self.low, pixels.amin(dims, keepdim=True)[0].cpu().numpy())
        self.high = np.maximum(self.high, pixels.amax(dims, keepdim=True)[0].cpu().numpy())

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value of all."""
        return float(np.min(self.low)), float(np.max(self.high))

    def update(self, pixels: Tensor, weights: NDArray[np.float64] | None = None) -> None:
        """Update mean, variance and range with a batch.

        Parameters
        ----------
        pixels : Tensor of shape (n, c, h, w)
            Images of any real dtype.
        weights : ndarray of shape (n,) or None, default=None
            Weights of the images. An image of weight 0 counts for the range only.
        """
        self.see(pixels)
        w = np.ones(len(pixels)) if weights is None else weights
        size = max(1, _AT_ONCE // pixels.shape[1:].numel())
        for start in range(0, len(pixels), size):
            self._merge(pixels[start : start + size], w[start : start + size])

    def _merge(self, pixels: Tensor, w: NDArray[np.float64]) -> None:
        if not w.any():
            return
        dims = REDUCED[self.per]
        # Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician
        # 37, 1983: two parts are merged by their means and squared deviations. Raw squares would cancel.
        x = pixels.to(torch.float64)
        share = torch.from_numpy(w / w.sum()).to(x.device)
        mean = _weighted(x, share, dims)
        squares = _weighted((x - mean).square_(), share, dims).cpu().numpy()[0] * w.sum()
        delta = mean.cpu().numpy()[0] - self.mean
        total = self.total + w.sum()
        # Callers refuse values whose squares overflow, by their range.
        with np.errstate(over="ignore", invalid="ignore"):
            self.mean = self.mean + delta * (w.sum() / total)
            self.squares = self.squares + squares + delta**2 * (self.total * w.sum() / total)
        self.total = total

    @property
    def variance(self) -> NDArray[np.float64]:
        """Mean squared deviation; exactly 0 where all values are equal, without rounding errors."""
        return np.where(self.low == self.high, 0.0, self.squares / self.total)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation; 1 where all values are equal up to rounding."""
        return scale_of(np.sqrt(self.variance), self.mean)

    @property
    def center(self) -> NDArray[np.float64]:
        """The mean; exactly the value itself where all are equal, so that subtracting it gives 0."""
        return np.where(self.low == self.high, self.low, self.mean).astype(np.float64)


class PatchMoments:
    """Weighted mean and covariance of all windows of one size in some thousand images.

    Parameters
    ----------
    size : (int, int)
        Height and width of a window in pixels, at most those of an image.
    n_images : int
        Images of positive weight that will come. Of n images from 4,096 on, each ``n // 2048``-th is used.

    Attributes
    ----------
    total : float
        Weight of the images used.
    mean : Tensor of shape (c * h * w,), or 0 before the first image
        Mean of the windows, whose values are in the order of a filter's weights: channel, row, column.
    squares : Tensor of shape (c * h * w, c * h * w), or 0 before the first image
        Weighted sum of products of deviations from it, in float64.
    """

    _MOST_IMAGES = 2048

    def __init__(self, size: tuple[int, int], n_images: int) -> None:
        self.size = size
        self.total = 0.0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self._step = max(1, n_images // self._MOST_IMAGES)
        self._n_seen = 0

    def update(self, pixels: Tensor, weights: NDArray[np.float64] | None = None) -> None:
        """Update mean and covariance with a batch.

        Parameters
        ----------
        pixels : Tensor of shape (n, c, h, w)
            Images of any real dtype.
        weights : ndarray of shape (n,) or None, default=None
            Weights of the images.
        """
        w = np.ones(len(pixels)) if weights is None else weights
        counted = np.flatnonzero(w)
        rows = counted[-self._n_seen % self._step :: self._step]
        self._n_seen += len(counted)
        pixels, w = pixels[torch.from_numpy(rows).to(pixels.device)], w[rows]
        size = max(1, _AT_ONCE // (pixels.shape[1:].numel() * self.size[0] * self.size[1]))
        for start in range(0, len(pixels), size):
            self._merge(pixels[start : start + size], w[start : start + size])

    def _merge(self, pixels: Tensor, w: NDArray[np.float64]) -> None:
        if not w.any():
            return
        windows = F.unfold(pixels.to(torch.float64), self.size)  # (n, c * h * w, places)
        share = torch.from_numpy(w / w.sum()).to(windows.device)[:, None, None] / windows.shape[2]
        mean = (windows * share).sum(dim=(0, 2))
        deviations = windows - mean[:, None]
        squares = torch.einsum("nap,nbp->ab", deviations * share, deviations) * w.sum()
        delta = mean - self.mean  # merged as in Moments
        total = self.total + w.sum()
        self.mean = self.mean + delta * (w.sum() / total)
        self.squares = self.squares + squares + torch.outer(delta, delta) * (self.total * w.sum() / total)
        self.total = total

    def covariance_of(self, std: NDArray[np.float64]) -> Tensor:
        """Covariance of the values of a window of standardised pixels.

        Parameters
        ----------
        std : ndarray of shape (c, 1, 1)
            What the pixels of each channel are divided by.

        Returns
        -------
        Tensor of shape (c * h * w, c * h * w)
            The covariance, on the CPU in float64.
        """
        scale = torch.from_numpy(np.repeat(std.ravel(), self.size[0] * self.size[1]))
        covariance: Tensor = self.squares.cpu() / self.total / torch.outer(scale, scale)
        return covariance


def white_of(high: float) -> float:
    """The value of white, from the largest value of the pixels.

    Parameters
    ----------
    high : float
        Largest value of any pixel.

    Returns
    -------
    float
        1 where no pixel is above 1. Otherwise the largest integer of as many bits as `high` has, 8 at
        least: 255 for bytes, 4095 for values up to 4095 of 12 bits, 65535 for those of 16 bits.
    """
    return 2.0 ** max(8, int(high).bit_length()) - 1 if high > 1 else 1.0


def scale_of(spread: Any, about: Any) -> Any:
    """What to divide by: the spread, or 1 where the spread vanishes."""
    return np.where(vanishes(spread, about), 1.0, spread)


def vanishes(spread: Any, about: Any) -> Any:
    """Whether the spread of values around `about` is 0 up to rounding; takes arrays and tensors."""
    rounding = 10 * float(np.finfo(np.float64).eps)
    return (spread <= rounding * abs(about)) | (spread < float(np.finfo(np.float32).tiny))


def _weighted(x: Tensor, share: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean over `dims`, images weighted by shares that add up to 1; ``(1, ...)``."""
    inner = dims[1:]
    means = x.mean(dim=inner, keepdim=True) if inner else x
    return (share @ means.flatten(1)).view(1, *means.shape[1:])
