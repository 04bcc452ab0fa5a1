"""The network that ``"auto"`` means for images of a size."""

from typing import Any

import numpy as np

LARGE = 28
"""Pixels a side from which on images have the deeper network; see the page on performance."""


def auto_filters(height: int, width: int) -> list[tuple[int, ...]]:
    """Filters that ``filters="auto"`` means for an image: so many blocks that the last maps have 3 to 7 pixels a side.

    Two wide blocks are best for images as small as 8×8. From 28 pixels on three blocks are as accurate in a third of
    the time. From 56 pixels on each doubling of the size adds a block of 256 filters.

    Parameters
    ----------
    height, width : int
        Size of the map before the first block, in pixels.

    Returns
    -------
    list of tuple of int
        The choice. Then shallower ones, for settings that shrink maps more than a pool of 2×2 does.
    """
    depth = max(2, int(np.log2(min(height, width) / 3.5)))
    return [(64, 128) if n == 2 else (32, 64, 128, *[256] * (n - 3)) for n in range(depth, 1, -1)]


def auto_settings(height: int, width: int, *, numbers: bool) -> dict[str, Any]:
    """The other settings of a network of conv blocks that ``"auto"`` means for an image.

    From 64 pixels on, windows are whitened with a step, so that the first maps have 32 to 63 pixels a side. With 2,000
    photographs this took a quarter to a third of the time at the same accuracy, see the page on performance.

    Parameters
    ----------
    height, width : int
        Size of an image in pixels.
    numbers : bool
        Whether the network predicts numbers rather than labels. Where something is, and how much of it there is, can
        be told from the mean of a map, but not from its maximum.

    Returns
    -------
    dict of str to object
        The settings by name. ``whiten`` is no parameter of an estimator; it acts where pixels are standardised.
    """
    if min(height, width) < LARGE:
        return {
            "convs_per_block": 1,
            "global_pooling": None,
            "hidden_layer_sizes": (128,),
            "dropout": 0.25,
            "whiten": 0,
        }
    return {
        "convs_per_block": 2,
        "global_pooling": "avg" if numbers else "max",
        "hidden_layer_sizes": (),
        "dropout": 0.0,
        "whiten": min(height, width) // 64 + 1,
    }
