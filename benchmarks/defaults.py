"""Compare settings of CNNClassifier: the measurements behind its defaults.

    python benchmarks/defaults.py digits "" "label_smoothing=0" "filters=(32, 64)"
    python benchmarks/defaults.py idx FOLDER "max_epochs=3" "max_epochs=3, filters=(32, 64)"

Each setting is written as keyword arguments; the empty string is the default. `digits` cross-validates on the images
that come with scikit-learn, with 5 stratified folds in file order and shuffled, for several seeds. `idx` fits on a
folder with the four idx files of MNIST or Fashion-MNIST, plain or gzipped, and scores on their test images.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import described, setting
from data import read_idx_folder
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_score

from sklearn_cnn import CNNClassifier, ImageAugmenter  # noqa: F401 - settings may name the augmenter

FOLDS = {"file order": StratifiedKFold(5), "shuffled": StratifiedKFold(5, shuffle=True, random_state=0)}


def on_digits(settings, seeds):
    digits = load_digits()
    for text in settings:
        parameters = eval(f"dict({text})")
        start = time.perf_counter()
        results = []
        for name, folds in FOLDS.items():
            scores = [
                cross_val_score(
                    CNNClassifier(**{"random_state": seed, **parameters}), digits.images, digits.target, cv=folds
                )
                for seed in range(seeds)
            ]
            means = np.mean(scores, axis=1)
            results.append(f"{name} {means.mean():.4f} (least {means.min():.4f})")
        seconds = (time.perf_counter() - start) / (10 * seeds)
        print(f"{'; '.join(results)}; {seconds:.2f} s a fit; {text or 'defaults'}", flush=True)


def on_idx(settings, seeds, folder):
    X, y, X_test, y_test = read_idx_folder(folder)
    for text in settings:
        parameters = eval(f"dict({text})")
        scores, seconds = [], []
        for seed in range(seeds):
            start = time.perf_counter()
            clf = CNNClassifier(**{"random_state": seed, **parameters}).fit(X, y)
            seconds.append(time.perf_counter() - start)
            scores.append(clf.score(X_test, y_test))
        found = ", ".join(f"{score:.4f}" for score in scores)
        print(f"test accuracy {found}; {np.median(seconds):.1f} s a fit; {text or 'defaults'}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="random states 0, 1, ...")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    data = parser.add_subparsers(dest="data", required=True)
    data.add_parser("digits").add_argument("settings", nargs="*", default=[""])
    idx = data.add_parser("idx")
    idx.add_argument("folder", type=Path)
    idx.add_argument("settings", nargs="*", default=[""])
    arguments = parser.parse_args()
    print(described(setting(arguments.threads or torch.get_num_threads())))
    if arguments.data == "digits":
        on_digits(arguments.settings, arguments.seeds)
    else:
        on_idx(arguments.settings, arguments.seeds, arguments.folder)


if __name__ == "__main__":
    main()
