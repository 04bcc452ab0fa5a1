"""Torch modules of layers that torch does not have, or not in the form needed here."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F


class Standardize(nn.Module):
    """Subtract a mean from each channel and divide by its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels, 1, 1, device="cpu"))
        self.register_buffer("std", torch.ones(n_channels, 1, 1, device="cpu"))

    def set_statistics(self, mean: NDArray[Any], std: NDArray[Any]) -> None:
        """Take over statistics of shape ``(n_channels,)``."""
        self.mean.copy_(torch.from_numpy(mean).view_as(self.mean))
        self.std.copy_(torch.from_numpy(std).view_as(self.std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Whiten(nn.Module):
    """A fixed convolution whose filters are the first principal components of windows of pixels, and their negatives.

    The outputs of the components are uncorrelated and have about the same variance (Jordan 2024, arXiv:2404.00498,
    section 3.2). What follows can then tell fine structure, whose contrast is small, as easily as areas of one colour.

    Parameters
    ----------
    n_channels, n_filters : int
        Channels of an image and of the result.
    window : (int, int)
        Height and width of a window, in pixels.
    stride : (int, int)
        Step between neighbouring windows, in pixels.
    """

    EPS = 5e-4
    """Added to the variances, which are those of pixels of variance 1: noise is not enlarged to the size of an edge."""

    LEAST = 5e-5
    """Components of less variance give 0. In grey images that are stored with three channels, two thirds of them have
    none: they would enlarge any tint of a new image, which training never saw."""

    weight: Tensor

    def __init__(self, n_channels: int, n_filters: int, window: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("weight", torch.zeros(n_filters, n_channels, *window, device="cpu"))

    def set_covariance(self, covariance: Tensor) -> None:
        """Take over the filters for windows of standardised pixels, whose covariance is ``(n_values, n_values)``."""
        variances, components = torch.linalg.eigh(covariance)
        gains = torch.where(variances < self.LEAST, 0.0, (variances.clamp(min=0) + self.EPS).rsqrt())
        scaled = (components * gains).T.flip(0)  # the largest variance first
        filters = scaled[: len(self.weight) // 2].to(self.weight.dtype).reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=self.stride)


class UnevenConv2d(nn.Conv2d):
    """A convolution with more padding on one side than on the other, or with a stride larger than its map.

    A separate padding costs twice the time of a padding inside the convolution. So this class is used only where
    torch has no such padding, or leaves part of the result unset (see `steps_over`).

    Parameters
    ----------
    in_channels, out_channels : int
        As in torch.
    sides : (int, int, int, int)
        Padding in pixels: top, bottom, left, right.
    mode : str
        Mode of `torch.nn.functional.pad`.
    stride : (int, int)
        As in torch.
    steps_over : bool
        Whether to compute with stride 1, and to keep every ``stride``-th value afterwards. Maps smaller than the
        stride have few values, so this costs little.
    device : object
        `torch.nn.utils.skip_init` looks for it by name.
    **settings
        Of `torch.nn.Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        sides: tuple[int, int, int, int],
        mode: str,
        stride: tuple[int, int],
        steps_over: bool,
        device: Any = None,
        **settings: Any,
    ) -> None:
        self.taken = stride if steps_over else (1, 1)
        stride = (1, 1) if steps_over else stride
        super().__init__(in_channels, out_channels, device=device, stride=stride, **settings)
        top, bottom, left, right = sides
        self.sides = (left, right, top, bottom)  # in the order of torch's pad
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        maps = super().forward(F.pad(x, self.sides, mode=self.mode))
        return maps[:, :, :: self.taken[0], :: self.taken[1]]


class Dense(nn.Linear):
    """A dense layer whose result for an image does not depend on the size of the batch.

    Products of few rows run in another kernel, which rounds differently. With one to eight threads the logits
    differed by up to 2e-5 for batches below 4 rows a thread, and not at all from there on. In evaluation mode a small
    batch is therefore filled up with rows of zeros. The weights dominate so small a product, so this costs little.
    """

    SMALLEST = 8

    def forward(self, x: Tensor) -> Tensor:
        # An exported graph takes batches of any size. A comparison with the size would fix it.
        if self.training or torch.compiler.is_compiling() or len(x) >= self.SMALLEST:
            return super().forward(x)
        missing = self.SMALLEST - len(x)
        return super().forward(F.pad(x, (0, 0, 0, missing)))[: len(x)]


class GlobalAvgPool(nn.Module):
    """The mean of every map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class GlobalMaxPool(nn.Module):
    """The maximum of every map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=(2, 3))


class Sum(nn.Module):
    """The sum of two maps."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Concat(nn.Module):
    """The channels of several maps, one after the other."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)
