"""
What the layers make of an image
================================

Each filter of a convolution goes over the image and leaves a map of where it found what it looks for. Pooling makes
the maps smaller; the next convolution reads all of them at once.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNClassifier
from sklearn_cnn.inspection import FeatureMapDisplay

# %%
# Two photographs, cut into pieces
# --------------------------------
#
# A Chinese temple and a flower come with scikit-learn. The network learns to tell from a piece of 32×32 pixels which
# of the two it is cut from.

side = 32
pieces, labels = [], []
for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
    rows, columns = (length // side for length in photograph.shape[:2])
    cut = photograph[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    pieces.append(cut.reshape(-1, side, side, 3))
    labels += [name] * len(pieces[-1])
X, y = np.concatenate(pieces), np.array(labels)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
clf = CNNClassifier((16, 32, 64), convs_per_block=1, random_state=0).fit(X_train, y_train)
print(f"{len(X_train)} pieces to learn from; accuracy on {len(X_test)} others: {clf.score(X_test, y_test):.3f}")

# %%
# One piece, layer by layer
# -------------------------
#
# The piece with the most contrast of the test images. Of each layer the eight maps are drawn that vary most; the number
# above a map is that of its filter. Bright is a large value, and every map has its own scale.
#
# - Maps of the first convolution are still pictures: some are the image in other shades, others have light where it
#   changes from dark to bright in one direction. Those are edges.
# - A pool keeps the largest of four values. What is lost is where exactly it was; what stays is that it was there.
# - Deeper maps have few pixels, of which each sees much of the image. They no longer look like it: they say *that*
#   something is there, and roughly where.

strongest = X_test.std(axis=(1, 2, 3)).argmax()
display = FeatureMapDisplay.from_estimator(clf, X_test[[strongest]])

if "__file__" in globals():  # run as a script: there may be no screen
    picture = Path(__file__).parent / "output" / "plot_feature_maps.png"
    picture.parent.mkdir(exist_ok=True)
    display.figure_.savefig(picture, dpi=100)
    print(f"picture: {picture}")
else:
    plt.show()
