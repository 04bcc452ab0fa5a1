"""A grid search of 12 points and 3 folds, with one process and with two.

    python benchmarks/search.py

On the 1,797 digits that come with scikit-learn. The processes are started, and have imported everything, before the
first measurement.
"""

import numpy as np
from common import in_turn, parser, report, setting
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sklearn_cnn import CNNClassifier

GRID = {"filters": [(16, 32), (32, 64), (64, 128)], "kernel_size": [3, 5], "pooling": ["max", "avg"]}


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--max-epochs", type=int, default=5)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    digits = load_digits()
    X, y = digits.images.astype(np.float32), digits.target

    def search(n_jobs):
        clf = CNNClassifier(max_epochs=arguments.max_epochs, random_state=0)
        return lambda: GridSearchCV(clf, GRID, cv=3, n_jobs=n_jobs, refit=False).fit(X, y)

    seconds = in_turn({"n_jobs=1": search(1), "n_jobs=2": search(2)}, arguments.repeats)
    rows = [
        {
            "search": name,
            "seconds": float(np.median(found)),
            "times as fast as n_jobs=1": float(np.median(np.divide(seconds["n_jobs=1"], found))),
        }
        for name, found in seconds.items()
    ]
    report(f"12 points, 3 folds, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()
