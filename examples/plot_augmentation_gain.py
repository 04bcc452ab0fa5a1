"""
What augmentation gains
=======================

A network that has seen few images of a class has not seen much of what that class looks like. Augmentation
shows it more. How much does that help, and does it still help when there are more images?
"""

# %%
# The augmenter
# -------------
#
# A digit that is turned, sheared, moved or resized a little is still that digit. It is not when it is flipped, or
# turned by 180 degrees: a 6 becomes a 9. The digits have 8×8 pixels, so a tenth of the side is less than one pixel.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNClassifier, ImageAugmenter

X, y = load_digits().images, load_digits().target
augmenter = ImageAugmenter(rotation=15, shift=0.1, zoom=0.1, shear=10)

draws = augmenter.set_params(random_state=0).sample(X[:4], 9)
figure, axes = plt.subplots(4, 10, figsize=(8, 3.3), layout="constrained")
for row, image, variants in zip(axes, X, draws, strict=False):
    for ax, pixels in zip(row, [image, *variants], strict=True):
        ax.imshow(pixels, cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_title("as it is", fontsize=11)
axes[0, 1].set_title("nine draws", fontsize=11, loc="left")
plt.show()

# %%
# The comparison
# --------------
#
# Four sizes of the training set, three draws of each; all other images are for the test. Every training shows the
# network 10,000 images, so small sets are gone through more often: 200 times where there are 50 images. With an
# augmenter none of these is quite the same as another. Both networks of a pair have the same training images, first
# weights and number of steps.

train_sizes = [50, 100, 200, 400]
seeds = range(3)
augmenter.set_params(random_state=None)  # draws from the seed of the network
settings = {"without augmenter": None, "with augmenter": augmenter}
accuracy = {name: np.empty((len(train_sizes), len(seeds))) for name in settings}

start = perf_counter()
for i, train_size in enumerate(train_sizes):
    for j, seed in enumerate(seeds):
        X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=train_size, stratify=y, random_state=seed)
        for name, setting in settings.items():
            clf = CNNClassifier(
                filters=(32, 64), batch_size=32, augmenter=setting, max_epochs=10_000 // train_size, random_state=seed
            )
            accuracy[name][i, j] = clf.fit(X_train, y_train).score(X_test, y_test)
print(f"{len(train_sizes) * len(seeds) * 2} networks in {perf_counter() - start:.0f} s")

for i, train_size in enumerate(train_sizes):
    means = ", ".join(f"{scores[i].mean():.3f} ± {scores[i].std():.3f} {name}" for name, scores in accuracy.items())
    print(f"{train_size} images: {means}")

# %%
# The answer
# ----------
#
# The lines are means over the three draws, the dots single networks. The fewer the images, the more augmentation
# gains: with 50 about three hundredths, with 400 less than what the draw of the training images does. By then the
# network has seen what the test images look like, and they are as upright and centred as those of the training.

figure, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
for (name, scores), colour, marker, side in zip(
    accuracy.items(), ["#0072B2", "#D55E00"], ["o", "s"], [1.03, 0.97], strict=True
):
    ax.plot(train_sizes, scores.mean(axis=1), color=colour, linewidth=2)
    ax.plot(np.array(train_sizes) * side, scores, marker, color=colour, alpha=0.5, markeredgewidth=0)
    above = name == "with augmenter"
    ax.annotate(
        name,
        (train_sizes[1], scores[1].mean()),
        xytext=(-18, 24) if above else (16, -26),
        textcoords="offset points",
        ha="right" if above else "left",
        color=colour,
        fontsize=12,
    )
ax.set(xscale="log", xlabel="training images", ylabel="accuracy on all other images")
ax.set_title("Handwritten digits of 8×8 pixels: three training sets of each size", fontsize=12)
ax.set_xticks(train_sizes, map(str, train_sizes))
ax.minorticks_off()
ax.grid(axis="y", alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
