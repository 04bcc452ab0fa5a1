"""
Which pixels decide
===================

Four ways to ask a network what its answer hangs on, and a question of ones own: what speaks for another answer?
"""

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNClassifier
from sklearn_cnn.inspection import SaliencyDisplay

X, y = load_digits().images, load_digits().target
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
clf = CNNClassifier(random_state=0).fit(X_train, y_train)
print(f"accuracy on {len(X_test)} test images: {clf.score(X_test, y_test):.3f}")

# %%
# Four methods
# ------------
#
# The number above an image is what the network says. Brighter pixels count for more; where values have a sign, orange
# speaks for the answer and purple against it.
#
# - *Grad-CAM* weighs the maps of the last convolution. They have few pixels, so its picture is coarse.
# - The *gradient* says where a small change of the pixel would change the output most. It is noisy by nature.
# - *Integrated gradients* share the output out among the pixels: on a black background only ink can count.
# - *Occlusion* covers the image place by place and looks how far the output falls.
#
# Where all four agree one may believe them.

one_of_each = [(y_test == digit).nonzero()[0][0] for digit in range(10)]
images = X_test[one_of_each]
figure, axes = plt.subplots(4, 1, figsize=(11, 11), layout="constrained")
for ax, method in zip(axes, ("grad_cam", "gradient", "integrated_gradients", "occlusion"), strict=True):
    SaliencyDisplay.from_estimator(clf, images, method=method, n_images=10, ax=ax)

# %%
# What speaks for another answer
# ------------------------------
#
# ``target`` asks about another class: what in these digits looks like an 8, and what does not? Purple ink is what an 8
# would not have.

other = SaliencyDisplay.from_estimator(clf, images, method="integrated_gradients", target=8, n_images=10)

if "__file__" in globals():  # run as a script: there may be no screen
    for name, drawn in (("plot_saliency", figure), ("plot_saliency_target", other.figure_)):
        picture = Path(__file__).parent / "output" / f"{name}.png"
        picture.parent.mkdir(exist_ok=True)
        drawn.savefig(picture, dpi=100)
        print(f"picture: {picture}")
else:
    plt.show()
