"""
The classic networks on small images
====================================

Five networks that made history, and the default one, on the same 600 handwritten digits: how accurate they are, how
many numbers they train, and how long it takes.
"""

# %%
# The digits that come with scikit-learn have 8×8 pixels. Each pixel becomes 2×2, so that LeNet-5, which wants at
# least 10 pixels a side, can take part.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNClassifier
from sklearn_cnn.inspection import ArchitectureDisplay

digits = load_digits()
X = np.kron(digits.images, np.ones((2, 2))).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(
    X, digits.target, train_size=600, stratify=digits.target, random_state=0
)

# %%
# Three epochs for each. The default network is that of ``architecture=None``.

names = [None, "lenet5", "alexnet", "vgg11", "resnet18", "inception"]
accuracy, parameters, seconds = [], [], []
for name in names:
    clf = CNNClassifier(architecture=name, max_epochs=3, batch_size=32, random_state=0)
    start = time.perf_counter()
    clf.fit(X_train, y_train)
    seconds.append(time.perf_counter() - start)
    accuracy.append(clf.score(X_test, y_test))
    parameters.append(clf.plan_.n_parameters)
    print(f"{name or 'default':10} {accuracy[-1]:.3f}  {parameters[-1]:>11,} parameters  {seconds[-1]:5.1f} s")

# %%
# On so few and small images the networks made for a million photographs have nothing to gain: they are slower by one
# or two orders of magnitude, and not more accurate. Their weights are another matter once they were trained on those
# photographs: see :ref:`sphx_glr_auto_examples_plot_transfer.py`.

labels = [name or "default" for name in names]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
for ax, values, title in zip(
    axes, (accuracy, parameters, seconds), ("test accuracy", "parameters", "seconds of fit"), strict=True
):
    ax.barh(labels, values, color=["#D55E00", *["#0072B2"] * (len(names) - 1)])
    ax.set_title(title)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
axes[0].set_xlim(min(accuracy) - 0.05, 1)
axes[0].invert_yaxis()
for ax in axes[1:]:
    ax.set_xscale("log")

# %%
# Two of them as boxes, as high as the maps that they give and as wide as those have channels. A line around a block of
# the ResNet is its residual connection.

for name in (None, "resnet18"):
    ArchitectureDisplay.from_estimator(CNNClassifier(architecture=name), X_train, y_train)
plt.show()
