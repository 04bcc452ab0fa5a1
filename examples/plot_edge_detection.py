"""
What a convolution sees
=======================

The first steps of a convolutional network, done by hand in NumPy and SciPy: two small windows find the edges of
a photograph.
"""

# %%
# An image is an array of numbers
# -------------------------------
#
# The photograph has three numbers a pixel, for red, green and blue. Their weighted mean is a grey image, one
# number a pixel, here from 0 (black) to 1 (white).

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import correlate2d
from sklearn.datasets import load_sample_image

from sklearn_cnn import CNNClassifier

photograph = load_sample_image("china.jpg")[20:320, 70:370]
image = photograph @ [0.299, 0.587, 0.114] / 255
print(f"photograph {photograph.shape}, grey image {image.shape}, from {image.min():.2f} to {image.max():.2f}")

# %%
# The convolution
# ---------------
#
# A window of 3×3 numbers, the *kernel*, is laid on every place of the image. Its numbers are multiplied with the
# pixels under them, and the nine products are added. The sums form a *feature map*. The first kernel takes the
# pixels on the left from those on the right: the sum is zero on an even surface and large where dark turns to
# bright. The second does the same from top to bottom.

kernels = {
    "vertical edges": np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]]),
    "horizontal edges": np.array([[-1, -1, -1], [0, 0, 0], [1, 1, 1]]),
}
feature_maps = {name: correlate2d(image, kernel, mode="valid") for name, kernel in kernels.items()}

for name, feature_map in feature_maps.items():
    print(f"{name}: {feature_map.shape}, from {feature_map.min():.2f} to {feature_map.max():.2f}")

# %%
# The largest of these sums, step by step:

strongest = feature_maps["vertical edges"]
row, column = np.unravel_index(strongest.argmax(), strongest.shape)
patch = image[row : row + 3, column : column + 3]
print(f"pixels from row {row} and column {column} on:\n{patch.round(2)}")
print(f"sum of the nine products: {(patch * kernels['vertical edges']).sum():.3f}")
print(f"in the feature map:       {strongest[row, column]:.3f}")

# %%
# ReLU and pooling
# ----------------
#
# ReLU keeps what is positive and sets the rest to zero: of the edges, those from dark to bright remain. A
# max-pool keeps the largest value of every 4×4 square: the map shrinks, and an edge that moves by a pixel mostly
# stays where it was.


def max_pool(feature_map, size):
    height, width = (side // size for side in feature_map.shape)
    tiles = feature_map[: height * size, : width * size].reshape(height, size, width, size)
    return tiles.max(axis=(1, 3))


rectified = {name: np.maximum(feature_map, 0) for name, feature_map in feature_maps.items()}
pooled = {name: max_pool(feature_map, 4) for name, feature_map in rectified.items()}

# %%
# Orange is positive, purple negative and white zero; the colours are at their darkest from 1 and -1 on.

figure = plt.figure(figsize=(14, 6.2), layout="constrained")
figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
axes = figure.subplot_mosaic(
    [["image", "kernel 0", "map 0", "relu 0", "pool 0"], ["image", "kernel 1", "map 1", "relu 1", "pool 1"]],
    width_ratios=(1, 0.5, 1, 1, 1),
)
axes["image"].imshow(image, cmap="gray")
axes["image"].set_title(f"image\n{image.shape[0]}×{image.shape[1]}")
for i, (name, kernel) in enumerate(kernels.items()):
    axes[f"kernel {i}"].imshow(kernel, cmap="PuOr_r", vmin=-2, vmax=2)
    axes[f"kernel {i}"].set_title(f"kernel for\n{name}")
    for (y, x), value in np.ndenumerate(kernel):
        axes[f"kernel {i}"].text(x, y, value, ha="center", va="center", fontsize=13)
    for step, values in {"map": feature_maps[name], "relu": rectified[name], "pool": pooled[name]}.items():
        title = {"map": "feature map", "relu": "after ReLU", "pool": "after 4×4 max-pool"}[step]
        axes[f"{step} {i}"].imshow(values, cmap="PuOr_r", vmin=-1, vmax=1)
        axes[f"{step} {i}"].set_title(f"{title}\n{values.shape[0]}×{values.shape[1]}")
for ax in axes.values():
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# The same in a network
# ---------------------
#
# A network has many kernels, and it finds their numbers in training instead of being told. The sizes are the
# same: the plan of a network with two filters, without padding and with a pool of 4×4, has them in its rows
# ``block1_conv`` and ``block1_pool``, as channels × height × width. There the pool comes before ReLU, which
# changes nothing: the largest value of a square is the same whether negative ones are set to zero before or
# after.

block = {"kernel_size": 3, "padding": "valid", "pool_size": 4, "convs_per_block": 1, "normalization": None}
clf = CNNClassifier(filters=2, **block, standardize=False)
print(clf.plan(image[np.newaxis], n_outputs=2))
assert np.array_equal(pooled["vertical edges"], np.maximum(max_pool(feature_maps["vertical edges"], 4), 0))
