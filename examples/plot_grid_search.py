"""
Search over the convolutions
============================

The settings of a :class:`~sklearn_cnn.CNNClassifier` are plain parameters, so
:class:`~sklearn.model_selection.GridSearchCV` tries them as it tries those of any estimator.
"""

# %%
# The grid
# --------
#
# Two questions to handwritten digits: how large should the window of a convolution be, and how many filters
# should there be, in how many blocks? A tuple of ``filters`` has one entry a block. A window of one pixel sees
# no neighbours at all: it is there for comparison.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from sklearn_cnn import CNNClassifier

X, y = load_digits(return_X_y=True)  # rows of 64 pixels are read as images of 8×8
kernel_sizes = [1, 3, 5, 7]
filters = [(8,), (32,), (8, 16), (32, 64)]

search = GridSearchCV(
    CNNClassifier(max_epochs=6, hidden_layer_sizes=(), random_state=0),
    {"kernel_size": kernel_sizes, "filters": filters},
    cv=StratifiedKFold(3, shuffle=True, random_state=0),
)
search.fit(X, y)
print(f"best of {len(search.cv_results_['params'])}: {search.best_params_}, accuracy {search.best_score_:.3f}")

# %%
# The answer
# ----------
#
# Every cell is the mean accuracy of three folds. The colours tell the windows of several pixels apart; the column
# of single pixels lies below their range.

# The grid runs through the names in alphabetical order, the last one fastest.
accuracy = search.cv_results_["mean_test_score"].reshape(len(filters), len(kernel_sizes))

figure, ax = plt.subplots(figsize=(6.5, 5), layout="constrained")
heat_map = ax.imshow(accuracy, cmap="cividis", vmin=accuracy[:, 1:].min())
ax.set_xticks(range(len(kernel_sizes)), [f"{size}×{size}" for size in kernel_sizes])
ax.set_yticks(range(len(filters)), map(str, filters))
ax.set(xlabel="kernel_size", ylabel="filters", title="Cross-validated accuracy on handwritten digits")
for row, column in [(row, column) for row in range(len(filters)) for column in range(len(kernel_sizes))]:
    value = accuracy[row, column]
    dark = heat_map.norm(value) < 0.5
    ax.text(column, row, f"{value:.3f}", ha="center", va="center", color="white" if dark else "black")
figure.colorbar(heat_map, label="mean accuracy of 3 folds", extend="min")
plt.show()
