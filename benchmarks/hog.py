"""Histograms of oriented gradients in NumPy, for the other scripts of this folder."""

import numpy as np


def hog(X, cell=8, n_bins=9, batch_size=1000):
    """Features (n, n_blocks * 4 * n_bins), float32, of uint8 images (n, h, w, c).

    Dalal and Triggs (2005), "Histograms of oriented gradients for human detection", sections 6.2 to 6.4: centred
    differences without smoothing, the channel with the largest gradient, unsigned orientations, votes weighted by the
    size of the gradient, and overlapping blocks of 2×2 cells, scaled to length one, clipped at 0.2 and scaled again.
    Votes are divided between the two nearest orientations, but not between cells.
    """
    return np.concatenate([_hog(X[i : i + batch_size], cell, n_bins) for i in range(0, len(X), batch_size)])


def _hog(X, cell, n_bins):
    rows, columns = X.shape[1] // cell, X.shape[2] // cell
    images = X[:, : rows * cell, : columns * cell].astype(np.float32) / 255
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down, right = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1], padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    strongest = (down**2 + right**2).argmax(axis=-1)[..., None]
    down, right = (np.take_along_axis(d, strongest, axis=-1)[..., 0] for d in (down, right))  # (n, h, w)
    size = np.hypot(down, right)
    position = np.arctan2(down, right) % np.pi * (n_bins / np.pi)  # 0 to n_bins, which is 0 again
    cells = np.empty((len(X), rows, columns, n_bins), dtype=np.float32)
    for bin_ in range(n_bins):
        distance = np.abs((position - bin_ - 0.5 + n_bins / 2) % n_bins - n_bins / 2)
        votes = size * np.clip(1 - distance, 0, None)
        cells[..., bin_] = votes.reshape(len(X), rows, cell, columns, cell).sum(axis=(2, 4))
    corners = [cells[:, i : i + rows - 1, j : j + columns - 1] for i in (0, 1) for j in (0, 1)]
    blocks = _of_length_one(np.concatenate(corners, axis=-1))
    return _of_length_one(np.minimum(blocks, 0.2)).reshape(len(X), -1)


def _of_length_one(blocks):
    return blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1e-6)
