"""
What a network gets wrong
=========================

A score says how often a network is wrong. The pictures say why.
"""

# %%
# A network
# ---------
#
# It learns half of the handwritten digits, and is asked for the other half.

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_cnn import CNNClassifier
from sklearn_cnn.inspection import MistakesDisplay

X, y = load_digits().images, load_digits().target
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=0.5, stratify=y, random_state=0)
clf = CNNClassifier(filters=(8, 16), max_epochs=6, random_state=0).fit(X_train, y_train)
print(f"accuracy on {len(X_test)} held-out images: {clf.score(X_test, y_test):.3f}")

# %%
# The surest mistakes
# -------------------
#
# The wrong predictions, those with the highest probability first. Above each image stands what is true, with the
# probability the network gave it, and what the network said. Some of these a person would get wrong too, and others
# show what the network has not seen often enough. Where a label itself is wrong, it comes up here as well.

wrong = MistakesDisplay.from_estimator(clf, X_test, y_test, n_images=12)
plt.show()

# %%
# The least certain
# -----------------
#
# Of all images those whose most probable class is the least so. Most of them are right; the wrong ones have a cross
# and a thick frame. To hand a prediction over to a person where its probability is low is of use only if the
# mistakes are among these: what the first picture has with a high probability would slip through.

uncertain = MistakesDisplay.from_estimator(clf, X_test, y_test, n_images=12, order="uncertain")

if "__file__" in globals():  # run as a script: there may be no screen
    pictures = Path(__file__).parent / "output"
    pictures.mkdir(exist_ok=True)
    for name, display in (("wrong", wrong), ("uncertain", uncertain)):
        picture = pictures / f"plot_mistakes_{name}.png"
        display.figure_.savefig(picture, dpi=100)
        print(f"picture: {picture}")
else:
    plt.show()
