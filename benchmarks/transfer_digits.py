"""What a network that knows the digits 0 to 4 gains with few images of 5 to 9.

    python benchmarks/transfer_digits.py FOLDER

FOLDER holds the idx files of MNIST. The first network is trained on all images of 0 to 4; each contestant then gets so
many images of each class from 5 to 9, and is tested on all those of the test set.
"""

import numpy as np
from common import parser, report, setting
from data import read_idx_folder
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor


def main():
    arguments = parser(__doc__, data=True)
    arguments.add_argument("--images", type=int, nargs="+", default=[2, 5, 20], help="training images of each class")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    X, y, X_test, y_test = read_idx_folder(arguments.data)
    known = CNNClassifier(max_epochs=2, random_state=0).fit(X[y < 5], y[y < 5])
    X, y, X_test, y_test = X[y >= 5], y[y >= 5], X_test[y_test >= 5], y_test[y_test >= 5]

    contestants = {
        "from scratch": lambda seed: CNNClassifier(random_state=seed),
        "trainable_blocks='all'": lambda seed: CNNClassifier(weights=known, random_state=seed),
        "trainable_blocks=1": lambda seed: CNNClassifier(weights=known, trainable_blocks=1, random_state=seed),
        "trainable_blocks=0": lambda seed: CNNClassifier(weights=known, trainable_blocks=0, random_state=seed),
        "CNNFeatureExtractor and LogisticRegression": lambda seed: make_pipeline(
            CNNFeatureExtractor(known), LogisticRegression(max_iter=1000)
        ),
    }
    rows = []
    for name, make in contestants.items():
        row = {"contestant": name}
        for n in arguments.images:
            scores = []
            for seed in range(arguments.seeds):
                few = few_of_each(y, n, seed)
                scores.append(make(seed).fit(X[few], y[few]).score(X_test, y_test))
            row[f"{n} images of each"] = float(np.mean(scores))
            print(f"{name}, {n}: {np.round(scores, 4)}", flush=True)
        rows.append(row)
    report(f"Test accuracy on 5 to 9, means of {arguments.seeds}", machine, rows, arguments.json)


def few_of_each(y, n, seed):
    """Rows of `n` images of each class."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.choice(np.flatnonzero(y == label), n, replace=False) for label in np.unique(y)])


if __name__ == "__main__":
    main()
