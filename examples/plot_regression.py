"""
How far is a digit turned?
==========================

A network can predict a number as well as a label. Here it looks at a handwritten digit that was turned by an angle
nobody tells it, and says by how many degrees.
"""

# %%
# Turned digits
# -------------
#
# Each digit gets a margin, so that turning cuts nothing off, is enlarged to 24×24 pixels and turned by an angle of its
# own between -60° and 60°, anticlockwise where it is positive. Beyond that, who could tell a 6 from a 9? A quarter of
# the digits is kept for the test.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import rotate, zoom
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNRegressor

digits = load_digits().images
angles = np.random.default_rng(0).uniform(-60, 60, len(digits))
large = zoom(np.pad(digits, ((0, 0), (2, 2), (2, 2))), (1, 2, 2), order=1)
X = np.stack([rotate(image, angle, reshape=False, order=1) for image, angle in zip(large, angles, strict=True)])
X_train, X_test, y_train, y_test = train_test_split(X, angles, random_state=0)
print(f"{len(X_train)} images of {X.shape[1]}×{X.shape[2]} for training, {len(X_test)} for the test")

# %%
# Training
# --------
#
# :class:`~sklearn_cnn.CNNRegressor` is used as :class:`~sklearn_cnn.CNNClassifier` is, with numbers in place of labels.
# Its score is R², the share of the variance that is explained. A linear model, a weighted sum of the pixels, is there
# to compare with.

start = perf_counter()
reg = CNNRegressor(random_state=0).fit(X_train, y_train)
predicted = reg.predict(X_test)
print(f"trained in {perf_counter() - start:.1f} s")

linear = Ridge().fit(X_train.reshape(len(X_train), -1), y_train)
by_pixels = linear.predict(X_test.reshape(len(X_test), -1))
for name, angles_of in (("network", predicted), ("linear model", by_pixels), ("always 0°", 0 * y_test)):
    print(f"{name:>12}: {mean_absolute_error(y_test, angles_of):4.1f}° from the truth on average")
print(f"R² of the network: {reg.score(X_test, y_test):.3f}")

# %%
# True and predicted angle
# ------------------------
#
# Every test image is a point; a perfect prediction lies on the line.

figure, axes = plt.subplots(1, 2, figsize=(8, 4.8), sharex=True, sharey=True, layout="constrained")
for ax, name, angles_of in zip(axes, ("network", "linear model"), (predicted, by_pixels), strict=True):
    ax.plot([-60, 60], [-60, 60], color="0.6", linewidth=1)
    ax.scatter(y_test, angles_of, s=9, alpha=0.6)
    error = mean_absolute_error(y_test, angles_of)
    ax.set(title=f"{name}: {error:.1f}° off on average", xlabel="true angle (°)", aspect="equal")
    ax.set(xticks=range(-60, 61, 30), yticks=range(-60, 61, 30))
axes[0].set_ylabel("predicted angle (°)")
plt.show()

# %%
# Some of the images
# ------------------
#
# The blue line shows where the top of the digit went, the dashed orange one where the network thinks it did. Below are
# the six images with the largest errors, above six of the others at random. Digits slant by nature, and how much
# depends on the writer: a part of the error was in the images before they were turned.

errors = np.abs(predicted - y_test)
others, worst = np.split(np.argsort(errors), [-6])
drawn = np.random.default_rng(0).choice(others, 6, replace=False)

figure, axes = plt.subplots(2, 6, figsize=(11, 4.4), layout="constrained")
for ax, i in zip(axes.flat, [*drawn, *worst], strict=True):
    ax.imshow(X_test[i], cmap="gray_r")
    for angle, colour, style, width in ((y_test[i], "C0", "-", 5), (predicted[i], "C1", "--", 2.5)):
        up = np.deg2rad(90 + angle)
        ax.plot([11.5, 11.5 + 11 * np.cos(up)], [11.5, 11.5 - 11 * np.sin(up)], style, color=colour, linewidth=width)
    ax.set_title(f"is {y_test[i]:.0f}°\npredicted {predicted[i]:.0f}°", fontsize=11)
    ax.set(xticks=[], yticks=[], xlim=(-0.5, 23.5), ylim=(23.5, -0.5))
axes[0, 0].set_ylabel("at random", fontsize=12)
axes[1, 0].set_ylabel("largest errors", fontsize=12)
plt.show()
