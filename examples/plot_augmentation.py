"""
Every kind of augmentation
==========================

What :class:`~sklearn_cnn.ImageAugmenter` does to a photograph, one kind a row. Before training on images of your
own, look at a few of them in this way: whoever looks should still see the right class in every draw.
"""

# %%
# The photograph
# --------------
#
# A square of a photograph that comes with scikit-learn, at 96×96 pixels. An augmenter takes many images, so there
# is an axis in front, of length one.

import random

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from sklearn_cnn import ImageAugmenter, ImageReader

X = ImageReader(size=96, resize="crop").transform([load_sample_image("china.jpg")])
print(f"{X.shape}, {X.dtype}, from {X.min()} to {X.max()}")

# %%
# One kind a row
# --------------
#
# ``sample`` draws variants of each image, six here. An angle of ``rotation=30`` is the largest one: each draw has
# another angle between -30° and 30°. These amounts are large, so that they can be seen; smaller ones are where to
# begin.


def draw_sheet(rows, n_draws=6):
    """A row for each augmenter: the photograph, then draws of it."""
    size = (1.8 + 1.1 * (n_draws + 1), 1.13 * len(rows) + 0.3)
    figure, axes = plt.subplots(len(rows), n_draws + 1, figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    for row, parameters in zip(axes, rows, strict=True):
        draws = ImageAugmenter(**parameters, random_state=1).sample(X, n_draws)[0]
        for ax, image in zip(row, [X[0], *draws], strict=True):
            ax.imshow(image)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        values = {name: getattr(value, "__name__", repr(value)) for name, value in parameters.items()}
        label = "\n".join(f"{name}={value}" for name, value in values.items())
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=12)
    axes[0, 0].set_title("as it is", fontsize=12)
    axes[0, 1].set_title("six draws", fontsize=12, loc="left")
    plt.show()


draw_sheet(
    [
        {"rotation": 30},
        {"shift": 0.2},
        {"zoom": 0.3},
        {"shear": 20},
        {"crop": 12},
        {"resized_crop": 0.08},
        {"horizontal_flip": 0.5},
        {"vertical_flip": 0.5},
        {"brightness": 0.5},
        {"contrast": 0.7},
        {"saturation": 1.0},
        {"noise": 25},
        {"erasing": 1.0},
        {"cutout": 40},
    ]
)

# %%
# One kind an image
# -----------------
#
# ``policy="trivial"`` draws a kind and a strength for each image: moves, colours, sharpness, or bits that are left out.
# ``func`` is a function of your own, here one that makes coarse pixels. Both go together with the other kinds.


def coarse(image):
    """A change of one image ``(height, width, channels)``: blocks of 2 to 12 pixels have one colour."""
    side = random.randint(2, 12)
    rows, columns = (np.arange(n) // side * side for n in image.shape[:2])
    return image[rows][:, columns]


draw_sheet(
    [
        {"policy": "trivial"},
        {"policy": "trivial", "fill_mode": "reflect", "horizontal_flip": 0.5},
        {"func": coarse},
    ]
)

# %%
# What comes in from outside
# --------------------------
#
# An image that is turned or moved leaves a gap. ``fill_mode`` says what comes in: one value (``fill_value``, 0 by
# default: black here), the nearest pixel of the border, or the image in a mirror.

draw_sheet(
    [
        {"rotation": 30, "fill_value": 128},
        {"rotation": 30, "fill_mode": "replicate"},
        {"rotation": 30, "fill_mode": "reflect"},
    ]
)

# %%
# Several at once
# ---------------
#
# Each kind that is on is drawn for itself, and all are applied. Amounts like these are what a photograph of a
# building may be given in training. A flip top to bottom is not among them: buildings stand upright.

together = {
    "rotation": 10,
    "shift": 0.1,
    "zoom": 0.15,
    "horizontal_flip": 0.5,
    "brightness": 0.2,
    "contrast": 0.2,
    "fill_mode": "reflect",
}
draws = ImageAugmenter(**together, random_state=0).sample(X, 14)[0]

figure, axes = plt.subplots(2, 7, figsize=(9.5, 2.9), layout="constrained")
for ax, image in zip(axes.flat, draws, strict=True):
    ax.imshow(image)
    ax.axis("off")
plt.show()
