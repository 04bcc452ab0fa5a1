"""
Recognise handwritten digits
============================

A convolutional network is trained like any other classifier of scikit-learn, cross-validated, and asked
where it is unsure.
"""

# %%
# The images
# ----------
#
# :func:`sklearn.datasets.load_digits` gives 1,797 grey images of 8×8 pixels. They go into the classifier as
# they are, one array with an axis for the images, one for the rows and one for the columns.

from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split

from sklearn_cnn import CNNClassifier

X, y = load_digits().images, load_digits().target
print(f"X has shape {X.shape} and y has shape {y.shape}")

# %%
# The network
# -----------
#
# The plan of the network can be read before anything is trained. "Sees" is how much of the image one value
# of that layer depends on.

clf = CNNClassifier(random_state=0, verbose=1)
print(clf.plan(X, y))

# %%
# Training
# --------
#
# A quarter of the images is kept for the test. With ``verbose=1`` a bar shows how far the training is.

X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
clf.fit(X_train, y_train)
print(f"accuracy on {len(X_test)} held-out images: {clf.score(X_test, y_test):.3f}")

# %%
# Cross-validation
# ----------------
#
# One split may be lucky. Five folds, each a network trained from scratch, tell more.

start = perf_counter()
folds = StratifiedKFold(5, shuffle=True, random_state=0)
scores = cross_val_score(CNNClassifier(random_state=0), X, y, cv=folds)
print(f"accuracy of the five folds: {', '.join(f'{score:.3f}' for score in scores)}")
print(f"mean {scores.mean():.3f}, standard deviation {scores.std():.3f}, in {perf_counter() - start:.1f} s")

# %%
# Where it is unsure
# ------------------
#
# The grid has every mistake (at most 24), then the images with the least probable predictions. A mistake
# has a thick frame, a cross and the true label. The confusion matrix counts all test images. Probabilities are
# cautious where training smooths its targets; ``label_smoothing=0`` makes them bolder.

probabilities = clf.predict_proba(X_test)
predicted = clf.classes_[probabilities.argmax(axis=1)]
certainty = probabilities.max(axis=1)
wrong = predicted != y_test
shown = np.lexsort((certainty, ~wrong))[:24]  # mistakes first, then by certainty

figure = plt.figure(figsize=(13, 6.4), layout="constrained")
figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
left.suptitle(f"Prediction (probability): {wrong.sum()} wrong of {len(X_test)} (✗), then the least certain")
for ax, i in zip(left.subplots(4, 6).flat, shown, strict=True):
    ax.imshow(X_test[i], cmap="gray_r")
    label = f"{predicted[i]} ({certainty[i]:.0%})"
    ax.set_title(
        f"✗ {label}" if wrong[i] else label,
        color="#B34700" if wrong[i] else "black",
        fontweight="bold" if wrong[i] else "normal",
        fontsize=11,
    )
    ax.set_xlabel(f"is {y_test[i]}" if wrong[i] else "", fontweight="bold", color="#B34700")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="#B34700" if wrong[i] else "0.7", linewidth=4 if wrong[i] else 1)

ax = right.subplots()
confusion = ConfusionMatrixDisplay.from_predictions(y_test, predicted, cmap="Blues", ax=ax, colorbar=False)
for text in confusion.text_.flat:
    text.set_visible(text.get_text() != "0")  # zeros would hide the mistakes
ax.set_title("Confusion matrix of the test images")

if "__file__" in globals():  # run as a script: there may be no screen
    picture = Path(__file__).parent / "output" / "plot_quickstart.png"
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=100)
    print(f"picture: {picture}")
else:
    plt.show()
