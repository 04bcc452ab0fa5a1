"""Drawing shared by the displays: pictures, and grids of axes inside of one axes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_cnn._optional import import_optional

Limits = tuple[float, float]
"""The values that are drawn black and white."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers can tell apart: Okabe and Ito, "Color universal design", 2008, without yellow,
which is pale on white."""


def import_pyplot(purpose: str) -> Any:
    """Import ``matplotlib.pyplot``, or raise an ImportError that names the extra."""
    return import_optional("matplotlib.pyplot", package="matplotlib", extra="plot", purpose=purpose)


def axes_for(ax: Any, purpose: str, size: tuple[float, float]) -> Any:
    """The axes to draw in: the given axes, or those of a new figure of this size in inches."""
    if ax is not None:
        if not hasattr(ax, "get_subplotspec"):
            raise TypeError(f"ax must be one Axes of matplotlib; got {type(ax).__name__}.")
        if not ax.axison:
            raise ValueError("ax is hidden, since a display was drawn in it before; pass another one.")
        return ax
    pyplot = import_pyplot(purpose)
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def grid_inside(ax: Any, n_rows: int, n_columns: int, **settings: Any) -> NDArray[Any]:
    """Hide an axes and make a grid of axes in its place.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The axes whose place the grid takes.
    n_rows, n_columns : int
        Size of the grid.
    **settings
        Arguments of the grid, such as ``width_ratios``.

    Returns
    -------
    ndarray of shape (n_rows, n_columns), of Axes
        Axes without ticks. The caller switches off those in which it draws nothing.
    """
    ax.set_axis_off()
    current = ax.figure.gca()
    place = ax.get_subplotspec()
    if place is None:  # axes added by hand belong to no layout
        box = ax.get_position()
        sides = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
        grid = ax.figure.add_gridspec(n_rows, n_columns, **sides, **settings)
    else:
        grid = place.subgridspec(n_rows, n_columns, **settings)
    axes: NDArray[Any] = np.empty((n_rows, n_columns), dtype=object)
    for row, column in np.ndindex(n_rows, n_columns):
        made = ax.figure.add_subplot(grid[row, column])
        made.set(xticks=[], yticks=[])
        axes[row, column] = made
    ax.figure.sca(current)  # pyplot's current axes stay the same
    return axes


def limits_of(pictures: NDArray[Any]) -> Limits:
    """Black and white of images: 0 and 255 for uint8, 0 and 1 for fractions, else the smallest and largest value."""
    if pictures.dtype == np.uint8:
        return 0.0, 255.0
    if not np.isfinite(pictures).any():
        return 0.0, 1.0
    low, high = float(np.nanmin(pictures)), float(np.nanmax(pictures))
    if pictures.dtype == np.bool_ or (low >= 0 and 0.5 < high <= 1):
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def draw_picture(ax: Any, picture: NDArray[Any], limits: Limits) -> Any:
    """Draw one image: in colour where it has 3 or 4 channels, otherwise the mean of its channels in grey.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    picture : ndarray of shape (height, width) or (height, width, channels)
        The image.
    limits : (float, float)
        The values of black and white.

    Returns
    -------
    matplotlib.image.AxesImage
        The drawn image.
    """
    low, high = limits
    if picture.ndim == 3 and picture.shape[2] in (3, 4):
        shown = np.clip((picture.astype(np.float64) - low) / (high - low), 0, 1)
        shown = np.where(np.isnan(shown), 1.0, shown)  # places without a pixel are white
        return ax.imshow(shown, interpolation="nearest", origin="upper")
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    return ax.imshow(grey, cmap="gray", vmin=low, vmax=high, interpolation="nearest", origin="upper")


def cut_middle(text: str, length: int) -> str:
    """Shorten text to a length by leaving out its middle: names differ at their beginning and end."""
    if len(text) <= length:
        return text
    head = length // 2
    return text[:head] + "…" + text[len(text) - (length - 1 - head) :]
