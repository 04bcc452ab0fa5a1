"""
How a training went
===================

Three trainings that go wrong in three ways, and one that goes well, read from their curves; then the folds of a
cross-validation on one picture.
"""

# %%
# Few images, and others to watch
# -------------------------------
#
# 150 of the handwritten digits are for training, so that there is something to go wrong. 400 others are only watched:
# after every epoch loss and accuracy are measured on them. A learning rate that falls to zero, as it does by default,
# flattens all curves at their end; a constant one shows better what goes on.

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split

from sklearn_cnn import CNNClassifier
from sklearn_cnn.inspection import TrainingCurveDisplay

X, y = load_digits().images, load_digits().target
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=150, stratify=y, random_state=0)
X_val, y_val = X_rest[:400], y_rest[:400]


def train(**settings):
    clf = CNNClassifier(filters=(16, 32), lr_schedule="constant", label_smoothing=0, random_state=0, **settings)
    return clf.fit(X_train, y_train, X_val=X_val, y_val=y_val)


# %%
# Too few epochs, and enough
# --------------------------
#
# With a tenth of the learning rate everything takes longer. After ten epochs the losses are still on their way down
# and the accuracy is on its way up: this training was too short, or its steps too small. The other one has arrived
# after five.

trainings = {"lr=0.001": train(max_epochs=10, lr=0.001), "lr=0.01": train(max_epochs=10, lr=0.01)}
short = TrainingCurveDisplay.from_estimator(trainings)
plt.show()

# %%
# Too high a learning rate
# ------------------------
#
# Steps that are too large jump over what they look for. The loss leaps up at once, and then stays at 2.3: so much it
# is for ten classes that are all equally probable. The network guesses, and one guess in ten is right. The panels are
# in ``axes_``; losses this far apart are seen on a logarithmic axis.

trainings = {"lr=0.3": train(max_epochs=10, lr=0.3), "lr=0.01": trainings["lr=0.01"]}
high = TrainingCurveDisplay.from_estimator(trainings)
high.axes_[0].set_yscale("log")
plt.show()

# %%
# Learned by heart
# ----------------
#
# Labels that are wrong cannot be learned but by heart. Here each fifth is that of another image. At first both losses
# fall. Then the training loss goes on falling, while the validation loss turns and rises: the network now learns which
# image has which wrong label. The ring marks the best epoch, the one that ``early_stopping=True`` would go back to.

y_train[::5] = y_train[::-5]
by_heart = TrainingCurveDisplay.from_estimator(train(max_epochs=40))
plt.show()

# %%
# All folds of a cross-validation
# -------------------------------
#
# ``cross_validate`` keeps the fitted estimators if it is asked to. Every fold is a thin line, and their mean is
# thick. Lines that lie close together mean that it does not matter much which images one trains on.

folds = cross_validate(
    CNNClassifier(filters=(16, 32), max_epochs=15, early_stopping=True, random_state=0),
    X[:900],
    y[:900],
    cv=StratifiedKFold(4, shuffle=True, random_state=0),
    return_estimator=True,
)
print(f"accuracy of the four folds: {', '.join(f'{score:.3f}' for score in folds['test_score'])}")
all_folds = TrainingCurveDisplay.from_estimator(folds)

if "__file__" in globals():  # run as a script: there may be no screen
    pictures = Path(__file__).parent / "output"
    pictures.mkdir(exist_ok=True)
    for number, display in enumerate([short, high, by_heart, all_folds], start=1):
        picture = pictures / f"plot_training_curves_{number}.png"
        display.figure_.savefig(picture, dpi=100)
        print(f"picture: {picture}")
else:
    plt.show()
