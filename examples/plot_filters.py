"""
What the filters look for
=========================

A filter of the first convolution is a small picture, and it answers most to what looks like it. Deeper filters read
the maps of others; what they look for is seen in the parts of images that excite them most.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageAugmenter, ImageNormalizer
from sklearn_cnn.inspection import FilterDisplay

# %%
# Two photographs, cut into pieces
# --------------------------------
#
# As in :ref:`sphx_glr_auto_examples_plot_feature_maps.py`: from which photograph is a piece of 32×32 pixels? Pieces
# overlap here, so that there are more of them, and the filters are 5×5 pixels, so that there is more to see. A weight
# decay of a hundred times the default lets weights fade that no image asks for; filters are full of noise otherwise.
# The first filters are to look at pixels rather than at whitened windows of them, so ``standardize=False`` leaves
# whitening out, and an ``ImageNormalizer`` comes before.

side, step = 32, 16
pieces, labels = [], []
for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (side, side), axis=(0, 1))[::step, ::step]
    pieces.append(np.moveaxis(windows, 2, -1).reshape(-1, side, side, 3))
    labels += [name] * len(pieces[-1])
X, y = np.concatenate(pieces), np.array(labels)
augmenter = ImageAugmenter(horizontal_flip=0.5, brightness=0.2)
settings = {"kernel_size": [5, 3, 3], "convs_per_block": 1, "standardize": False, "weight_decay": 1.0}
clf = make_pipeline(augmenter, ImageNormalizer(), CNNClassifier((24, 32, 64), **settings, random_state=0)).fit(X, y)
print(f"accuracy on the {len(X)} pieces it has seen: {clf.score(X, y):.3f}")

# %%
# First layer and deeper ones
# ---------------------------
#
# Grey is a weight of 0. A filter that is of one colour answers to that colour; one that is bright on one side and dark
# on the other, or has a stripe, answers to an *edge* or a line in that direction.
#
# Below, four parts of images for each of twelve deeper filters, those that images excite most above their mean. The
# parts are as large as what one value of the map sees: more, the deeper the layer. Where a part goes beyond the image
# it is white. Filters of the second layer answer to textures, such as the tiles' edge or a petal; those of the third to
# the roof as such, in one slope or another.

display = FilterDisplay.from_estimator(clf, X)

if "__file__" in globals():  # run as a script: there may be no screen
    picture = Path(__file__).parent / "output" / "plot_filters.png"
    picture.parent.mkdir(exist_ok=True)
    display.figure_.savefig(picture, dpi=100)
    print(f"picture: {picture}")
else:
    plt.show()
