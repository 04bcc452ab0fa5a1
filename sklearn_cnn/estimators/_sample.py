"""What a fit is given: images, targets and weights, and what of them is refused."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Sample:
    """Images with what belongs to them.

    Attributes
    ----------
    images : ndarray of shape (n, *sample_shape)
        As read.
    targets : ndarray of shape (n, ...)
        As the loss takes them.
    weights : ndarray of shape (n,) or None
        Never negative, not all zero.
    rows : ndarray of int
        Those to use.
    """

    images: NDArray[Any]
    targets: NDArray[Any]
    weights: NDArray[np.float64] | None
    rows: NDArray[np.intp]

    def unit_weights(self) -> NDArray[np.float64] | None:
        """The weights divided by their mean over the rows used."""
        if self.weights is None:
            return None
        scaled = self.weights / self.weights.max()  # so that no sum overflows
        return scaled / scaled[self.rows].mean()


def check_weights(weights: NDArray[np.float64], what: str) -> None:
    """Refuse weights that are negative, not finite, or all zero."""
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"{what} must give finite weights, none negative and at least one above 0; they go from {weights.min()} to "
            f"{weights.max()}."
        )


def check_range(images: NDArray[Any], precision: str) -> None:
    """Refuse pixels whose squares overflow, in the precision of the network or in that of the statistics."""
    low, high = pixel_range(images)
    limit = 1e150 if precision == "float64" else 1e18
    if max(-low, high) > limit:
        raise ValueError(
            f"X contains values too large for a network of {'float64' if precision == 'float64' else 'float32'}: they "
            f"go from {low:.3g} to {high:.3g}; scale them to at most {limit:g}."
        )


def pixel_range(images: NDArray[Any]) -> tuple[float, float]:
    return float(images.min()), float(images.max())


def warn_of_another_range(images: NDArray[Any], fitted: tuple[float, float]) -> None:
    """Warn where pixels look like 0-1 at fit and 0-255 now, or the other way round."""
    low, high = pixel_range(images)
    ratio = 16
    brighter = fitted[1] <= 1 < high and high >= ratio * fitted[1] > 0
    # A dark image is nothing to warn of: its values must also be such as no dark image of that range has.
    fractions = high <= 1 < fitted[1] and images.dtype != np.uint8
    darker = fitted[0] >= 0 and fitted[1] >= ratio * high > 0 and (fractions or low < 0)
    if brighter or darker:
        warnings.warn(
            f"the pixels of X go from {low:.3g} to {high:.3g}, but those of the training images went from "
            f"{fitted[0]:.3g} to {fitted[1]:.3g}; scale them the same way.",
            UserWarning,
            stacklevel=4,
        )
