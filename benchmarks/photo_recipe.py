"""Recipes for small colour photographs: for five or thirty minutes of training, and for few photographs.

    python benchmarks/photo_recipe.py FILE.npz --recipe "5 minutes" --threads 2
    python benchmarks/photo_recipe.py FILE.npz --recipe 500 1000 5000 --threads 1 --repeats 3 --plain

FILE.npz holds X (50000, 32, 32, 3), uint8, and y: the training photographs of CIFAR-10. A recipe trains on the first
45,000, or on the first 500, 1,000 or 5,000, and is scored on the last 5,000. The minutes are those of two cores that
compute in float32.

Everything is a parameter of CNNClassifier. Printed are the seconds of `fit`, the accuracy of the predictions, and that
of predictions for mirrored and shifted images averaged with them. Each fit is repeated with the seeds 0, 1, ...

The recipes flip photographs left to right. Leave that out where left and right have a meaning, as in images of text.
"""

import time
from pathlib import Path

import numpy as np
from common import parser, report, setting
from data import read_photos

from sklearn_cnn import CNNClassifier, ImageAugmenter

CHANGES = ImageAugmenter(crop=2, horizontal_flip=0.5, fill_mode="reflect")
# Measured on 500 photographs, one seed, 30 epochs: crop=4 0.562, crop=2 0.550; smoothing of 0.2 beside crop=4 0.576,
# and with 60 epochs 0.591. Beside these, dropout=0.3, weight_decay=0.1 and lr=0.005 were worse, by 1 to 3 points.
FEW = {
    "max_epochs": 60,
    "label_smoothing": 0.2,
    "augmenter": ImageAugmenter(crop=4, horizontal_flip=0.5, fill_mode="reflect"),
}

RECIPES = {
    "5 minutes": {"filters": (32, 96, 128), "max_epochs": 9, "label_smoothing": 0.1, "augmenter": CHANGES},
    "30 minutes": {"filters": (64, 256, 256), "max_epochs": 12, "label_smoothing": 0.2, "augmenter": CHANGES},
    "500": {**FEW},
    "1000": {**FEW},
    "5000": {**FEW, "max_epochs": 30},
}
"""Parameters of CNNClassifier. A recipe whose name is a number trains on so many photographs, the others on all."""


def mirrored_and_shifted(clf, X):
    """Mean probabilities of images (n, h, w, c), their mirror images, and both moved by a pixel along a diagonal.

    Moved images count half (Jordan 2024, arXiv:2404.00498, section 3.6). Returns (n, n_classes).
    """
    wide = np.pad(X, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    views = [(X, 1 / 4), (wide[:, :-2, :-2], 1 / 8), (wide[:, 2:, 2:], 1 / 8)]
    return sum(share * (clf.predict_proba(view) + clf.predict_proba(view[:, :, ::-1])) for view, share in views)


def tried(name, settings, seed, X, y, X_test, y_test):
    """A row of figures: a fit, and its scores."""
    clf = CNNClassifier(**settings, random_state=seed)
    start = time.perf_counter()
    clf.fit(X, y)
    seconds = time.perf_counter() - start
    plain, averaged = clf.predict_proba(X_test), mirrored_and_shifted(clf, X_test)
    return {
        "recipe": name,
        "photographs": len(X),
        "epochs": clf.n_iter_,
        "seed": seed,
        "seconds": seconds,
        "accuracy": float((clf.classes_[plain.argmax(axis=1)] == y_test).mean()),
        "mirrored and shifted": float((clf.classes_[averaged.argmax(axis=1)] == y_test).mean()),
    }


def main():
    arguments = parser(__doc__)
    arguments.add_argument("file", type=Path, help="npz file with X and y")
    arguments.add_argument("--recipe", nargs="+", choices=RECIPES, required=True)
    arguments.add_argument("--test", type=int, default=5000, help="score on the last so many photographs")
    arguments.add_argument("--plain", action="store_true", help="score CNNClassifier() on the same photographs, too")
    arguments.set_defaults(repeats=1)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    rows = []
    for name in arguments.recipe:
        data = read_photos(arguments.file, int(name) if name.isdigit() else None, arguments.test)
        contestants = {name: RECIPES[name]} | ({"CNNClassifier()": {}} if arguments.plain else {})
        for seed in range(arguments.repeats):
            for contestant, settings in contestants.items():
                rows.append(tried(contestant, settings, seed, *data))
                print(rows[-1], flush=True)
    report("recipes for photographs", machine, rows, arguments.json)


if __name__ == "__main__":
    main()
