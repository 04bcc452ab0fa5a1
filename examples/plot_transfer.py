"""
Transfer learning in its three forms
====================================

A network that has learned one task begins another one where it ended. Here the first task is to tell the digits from
0 to 4 apart, with all images there are, and the second one those from 5 to 9, with very few.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor

X, y = load_digits().images, load_digits().target
known = CNNClassifier(random_state=0).fit(X[y < 5], y[y < 5])

# %%
# The contestants
# ---------------
#
# ``trainable_blocks`` is how many of the last blocks are trained beside the head. With 0 the frozen part runs once over
# the images, and the head learns from its features. A linear model on features of the same network needs no further
# training of a network at all.

contestants = {
    "from scratch": CNNClassifier(random_state=0),
    'fine-tuning: trainable_blocks="all"': CNNClassifier(weights=known, random_state=0),
    "frozen first block: trainable_blocks=1": CNNClassifier(weights=known, trainable_blocks=1, random_state=0),
    "bottleneck features: trainable_blocks=0": CNNClassifier(weights=known, trainable_blocks=0, random_state=0),
    "features and logistic regression": make_pipeline(
        CNNFeatureExtractor(known, layer="block2_relu"), LogisticRegression(max_iter=5000)
    ),
}

# %%
# Few images of the second task
# -----------------------------
#
# So many images of each digit are drawn, ten times over; those that are never drawn are the test images.

n_images, n_draws = [1, 2, 5, 10, 20], 10
rng = np.random.default_rng(0)
pool = {digit: np.flatnonzero(y == digit) for digit in range(5, 10)}
test = np.concatenate([rows[60:] for rows in pool.values()])
scores = {name: np.zeros((len(n_images), n_draws)) for name in contestants}
for i, n in enumerate(n_images):
    for draw in range(n_draws):
        few = np.concatenate([rng.choice(rows[:60], n, replace=False) for rows in pool.values()])
        for name, clf in contestants.items():
            scores[name][i, draw] = clf.fit(X[few], y[few]).score(X[test], y[test])

# %%
# The mean of the draws, and a band of one standard error. The fewer the images, the more a network gains from what it
# knows: fine-tuned whole, or but for its first block, it is ahead of one that begins from scratch until there are 20
# images of each digit. With one or two of them a linear model on its features is far ahead of both, since ten epochs of
# so few images are a handful of steps. That holds the head alone back as well; and features that tell five digits apart
# were not made for the other five.

figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
colours = ["0.4", "#D55E00", "#0072B2", "#009E73", "#CC79A7"]
for (name, found), colour in zip(scores.items(), colours, strict=True):
    mean, error = found.mean(axis=1), found.std(axis=1, ddof=1) / np.sqrt(n_draws)
    ax.plot(n_images, mean, marker="o", color=colour, label=name)
    ax.fill_between(n_images, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
ax.set(xscale="log", xlabel="training images of each digit", ylabel="test accuracy on the digits 5 to 9")
ax.set_xticks(n_images, n_images)
ax.minorticks_off()
ax.grid(color="0.9")
ax.legend()
plt.show()
