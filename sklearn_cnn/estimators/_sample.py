"""Images with their targets and weights, and what of them is refused."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_cnn.images._moments import Moments, PatchMoments
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._progress import pass_bar


@dataclass(frozen=True, eq=False)
class Sample:
    """Images with their targets and weights; a step that changes one of these makes a new sample.

    Attributes
    ----------
    images : ImageSource of shape (n, ...)
        The images.
    targets : ndarray of shape (n, ...)
        As the loss takes them.
    weights : ndarray of shape (n,) or None
        Never negative, not all zero.
    rows : ndarray of int
        Rows to use.
    """

    images: ImageSource
    targets: NDArray[Any]
    weights: NDArray[np.float64] | None
    rows: NDArray[np.intp]

    @property
    def n_weighted(self) -> int:
        """Number of the rows used whose weight is above 0."""
        return len(self.rows) if self.weights is None else int(np.count_nonzero(self.weights[self.rows]))

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


def survey(sample: Sample, *, statistics: bool, patches: PatchMoments | None = None, verbose: int = 0) -> Moments:
    """Go through the images of a sample once, undrawn: their range and, if wanted, the channels' statistics.

    `patches` are updated too, if given. `verbose`: whether a long pass shows a bar.
    """
    moments = Moments("channel")
    weights = sample.unit_weights() if statistics else None
    with pass_bar(verbose, "reading images", len(sample.rows)) as advance:
        for rows, pixels in sample.images.batches(sample.rows):
            if statistics:
                own = None if weights is None else weights[rows]
                moments.update(pixels, own)
                if patches is not None:
                    patches.update(pixels, own)
            else:
                moments.see(pixels)
            advance(len(rows))
    return moments


def check_range(low: float, high: float, precision: str) -> None:
    """Refuse pixels whose squares overflow, in the precision of the network or in that of the statistics."""
    limit = 1e150 if precision == "float64" else 1e18
    if max(-low, high) > limit:
        raise ValueError(
            f"X contains values too large for a network of {'float64' if precision == 'float64' else 'float32'}: they "
            f"go from {low:.3g} to {high:.3g}; scale them to at most {limit:g}."
        )


def warn_of_another_range(
    now: tuple[float, float], fitted: tuple[float, float], *, fractions: bool, depth: int
) -> None:
    """Warn where pixels look like 0-1 at fit and 0-255 now, or the other way round.

    `fractions`: whether the pixels are floats; `depth`: calls from here to the user's.
    """
    (low, high), ratio = now, 16
    brighter = fitted[1] <= 1 < high and high >= ratio * fitted[1] > 0
    # Dark images are usual. So the values must also be fractions or negative, which dark images of that range are not.
    scaled = fractions and high <= 1 < fitted[1]
    darker = fitted[0] >= 0 and fitted[1] >= ratio * high > 0 and (scaled or low < 0)
    if brighter or darker:
        warnings.warn(
            f"the pixels of X go from {low:.3g} to {high:.3g}, but those that the network was trained on went from "
            f"{fitted[0]:.3g} to {fitted[1]:.3g}; scale them the same way.",
            UserWarning,
            stacklevel=depth + 1,
        )
