"""Compare courses of the learning rate, with everything else at its default.

    python benchmarks/schedules.py --threads 1
    python benchmarks/schedules.py --mnist FOLDER --fashion FOLDER --photos FILE.npz --repeats 2

`digits` come with scikit-learn: accuracy in 5 stratified folds in file order. MNIST and Fashion-MNIST are folders of
four idx files, plain or gzipped: the first 12,000 images train, the 10,000 test images score. The photographs are the
50,000 training images of CIFAR-10 in a file of NumPy with X, (50000, 32, 32, 3) of uint8, and y: the first 10,000
train, the last 5,000 score. Each fit is repeated with the seeds 0, 1, ...
"""

import math
from pathlib import Path

import numpy as np
from common import parser, report, setting
from data import read_idx_folder
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training._batches import batch_bounds


def one_cycle(step, n_steps, n_batches):
    """Up to the peak in a fifth of the steps and down to 0, both linearly (Smith and Topin 2019, arXiv:1708.07120)."""
    done, warm_up = step / n_steps, 0.2
    return 0.04 + 0.96 * done / warm_up if done < warm_up else (1 - done) / (1 - warm_up)


def stable_decay(share, shape=lambda left: left, warm_up=0):
    """A course that rises for some steps, one epoch at most, stays, and falls to 0 over a share of all steps."""

    def course(step, n_steps, n_batches):
        risen = min(1.0, (step + 1) / max(1, min(warm_up, n_batches)))
        left = min(1.0, (1 - step / n_steps) / share)  # of the cooldown
        return risen * shape(left)

    return course


COURSES = {
    "one cycle": one_cycle,
    "no warm-up": stable_decay(0.2),
    "a fifth of the steps": stable_decay(0.2, warm_up=100),
    "half of the steps": stable_decay(0.5, warm_up=100),
    "1 - sqrt": stable_decay(0.2, lambda left: 1 - math.sqrt(1 - left), warm_up=100),
}
"""Courses that CNNClassifier does not have: ``(step, n_steps, steps of an epoch) -> share of the peak``."""


class Course(Callback):
    """Sets the learning rate of every step."""

    def __init__(self, course):
        self.course = course

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.peaks = [group["lr"] for group in net.optimizer_.param_groups]
        self.step, self.n_batches = 0, len(batch_bounds(len(X), net.batch_size))

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        if not training:
            return
        share = self.course(self.step, net.max_epochs * self.n_batches, self.n_batches)
        for group, peak in zip(net.optimizer_.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self.step += 1


def settings_of(schedule):
    """Parameters of a schedule by its name."""
    if schedule in COURSES:
        return {"lr_schedule": "constant", "skorch_callbacks": [Course(COURSES[schedule])]}
    return {"lr_schedule": schedule}


def data_of(arguments):
    """Training and test parts, by the name of the data."""
    digits = load_digits()
    X, y = digits.images, digits.target
    found = {"digits": [(X[a], y[a], X[b], y[b]) for a, b in StratifiedKFold(5).split(X, y)]}
    for name in ("mnist", "fashion"):
        if folder := getattr(arguments, name):
            X, y, X_test, y_test = read_idx_folder(folder)
            found[name] = [(X[:12000], y[:12000], X_test, y_test)]
    if arguments.photos:
        with np.load(arguments.photos) as file:
            X, y = file["X"], file["y"]
        found["photographs"] = [(X[:10000], y[:10000], X[-5000:], y[-5000:])]
    return found


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--mnist", type=Path)
    arguments.add_argument("--fashion", type=Path)
    arguments.add_argument("--photos", type=Path)
    arguments.add_argument("--epochs", type=int, nargs="+", default=[3, 10, 30])
    arguments.add_argument(
        "--schedules",
        nargs="+",
        default=["one cycle", "warmup_stable_decay"],
        metavar="NAME",
        help=f"values of lr_schedule, or of: {', '.join(COURSES)}",
    )
    arguments.set_defaults(repeats=2)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    rows = []
    for name, parts in data_of(arguments).items():
        for epochs in arguments.epochs:
            scores = {schedule: [] for schedule in arguments.schedules}
            for seed in range(arguments.repeats):
                for schedule, found in scores.items():
                    clf = CNNClassifier(max_epochs=epochs, random_state=seed, device="cpu", **settings_of(schedule))
                    found.append(np.mean([clf.fit(X, y).score(X_test, y_test) for X, y, X_test, y_test in parts]))
            means = {schedule: round(float(np.mean(found)), 4) for schedule, found in scores.items()}
            spread = np.mean([np.ptp(found) for found in scores.values()])
            rows.append({"data": name, "epochs": epochs, **means, "range over seeds": round(float(spread), 4)})
            print(rows[-1], flush=True)
    report("accuracy by course of the learning rate", machine, rows, arguments.json)


if __name__ == "__main__":
    main()
