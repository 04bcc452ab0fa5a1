"""The recipe for Fashion-MNIST: a few networks that vote, each asked about an image and about its mirror image.

    python benchmarks/fashion_recipe.py FOLDER

Everything is a parameter of CNNClassifier or a part of scikit-learn. Printed are the accuracy of each member, of the
vote, and of the vote with mirror images, and the seconds of the whole `fit`.
"""

import time

import numpy as np
from common import parser, report, setting
from data import read_idx_folder
from sklearn.ensemble import VotingClassifier

from sklearn_cnn import CNNClassifier, ImageAugmenter


def member(seed, epochs):
    return CNNClassifier(
        filters=(48, 96, 192),
        convs_per_block=2,
        dropout=0.1,
        max_epochs=epochs,
        augmenter=ImageAugmenter(crop=1, horizontal_flip=0.5),
        random_state=seed,
    )


def with_mirror_images(clf, X):
    return clf.predict_proba(X) + clf.predict_proba(np.ascontiguousarray(X[:, :, ::-1]))


def main():
    arguments = parser(__doc__, data=True)
    arguments.add_argument("--members", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=14)
    arguments.add_argument("--seed", type=int, default=0, help="of the first member")
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    X, y, X_test, y_test = read_idx_folder(arguments.data)
    names = [f"member {number}" for number in range(1, arguments.members + 1)]
    clf = VotingClassifier(
        [(name, member(arguments.seed + i, arguments.epochs)) for i, name in enumerate(names)], voting="soft"
    )
    start = time.perf_counter()
    clf.fit(X, y)
    seconds = time.perf_counter() - start
    contestants = dict(zip(names, clf.estimators_, strict=True)) | {"the vote": clf}
    rows = []
    for name, classifier in contestants.items():
        alone, mirrored = classifier.predict_proba(X_test), with_mirror_images(classifier, X_test)
        rows.append(
            {
                "who": name,
                "test accuracy": float((alone.argmax(axis=1) == y_test).mean()),
                "with mirror images": float((mirrored.argmax(axis=1) == y_test).mean()),
            }
        )
    report(f"{seconds:,.0f} s of fit, {arguments.epochs} epochs a member", machine, rows, arguments.json)


if __name__ == "__main__":
    main()
