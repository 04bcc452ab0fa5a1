"""Ideas that are known to speed up training, each alone on top of the defaults; none of them is in the package.

    python benchmarks/ideas.py MNIST_FOLDER FASHION_FOLDER

Test accuracy on MNIST after one epoch of a small network, on Fashion-MNIST after three of the default one, and of the
digits of scikit-learn in 5 folds. The ideas reach into the training through callbacks of skorch, or replace a function.
"""

from pathlib import Path
from unittest import mock

import numpy as np
import torch
from common import parser, report, setting
from data import read_idx_folder
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_score
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training._batches import Batches
from sklearn_cnn.training._loss import WeightedCrossEntropy


def convolutions(net):
    return [module for module in net.module_.modules() if isinstance(module, nn.Conv2d)]


class Dirac(Callback):
    """As many filters as there are channels hand their channel on as it is."""

    def on_train_begin(self, net, **kwargs):
        for conv in convolutions(net)[1:]:
            if conv.out_channels >= conv.in_channels:
                with torch.no_grad():
                    nn.init.dirac_(conv.weight[: conv.in_channels])


class Whitening(Callback):
    """The first filters are the principal components of patches and their negatives, whitened or of one norm."""

    def __init__(self, equal_norm=False):
        self.equal_norm = equal_norm

    def on_train_begin(self, net, X=None, **kwargs):
        conv = convolutions(net)[0]
        size = conv.kernel_size[0]
        rows = np.random.default_rng(0).choice(len(X), min(len(X), 3000), replace=False)
        images = torch.from_numpy(X[np.sort(rows)]).float()
        images = (images - images.mean()) / images.std()
        patches = F.unfold(images, size).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + 5e-4 * values.max()).sqrt()).T.flip(0)
        filters = torch.cat([filters, -filters])[: len(conv.weight)].view(-1, *conv.weight.shape[1:])
        if self.equal_norm:
            norms = conv.weight.flatten(1).norm(dim=1).mean() / filters.flatten(1).norm(dim=1)
            filters = filters * norms.view(-1, 1, 1, 1)
        with torch.no_grad():
            conv.weight[: len(filters)] = filters


class FasterBiases(Callback):
    """Every step of a bias of batch normalisation is so many times as long: Adam with so large a learning rate."""

    def __init__(self, times=64):
        self.times = times

    def on_batch_begin(self, net, **kwargs):
        self.biases = [m.bias for m in net.module_.modules() if isinstance(m, nn.BatchNorm2d)]
        self.before = [bias.detach().clone() for bias in self.biases]

    def on_batch_end(self, net, **kwargs):
        with torch.no_grad():
            for bias, before in zip(self.biases, self.before, strict=True):
                bias.copy_(before + self.times * (bias - before))


class MovingAverage(Callback):
    """Exponential moving average of weights and statistics, taken over at the end."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_begin(self, net, **kwargs):
        self.averages, self.n = {}, 0

    def on_batch_end(self, net, training=False, **kwargs):
        if not training:
            return
        self.n += 1
        share = 1 - min(1 - 1 / self.steps, self.n / (self.n + 10))
        for name, value in net.module_.state_dict().items():
            if value.is_floating_point():
                average = self.averages.setdefault(name, value.clone())
                average.lerp_(value, share)

    def on_train_end(self, net, **kwargs):
        net.module_.load_state_dict(self.averages, strict=False)


def mixup(alpha):
    """Images and losses of two samples each, mixed by one share a batch."""
    rng = np.random.default_rng(0)
    batches_of, loss_of = Batches.__iter__, WeightedCrossEntropy.forward
    mixed = {}  # share and other targets of the batch that is trained on

    def batches(self):
        for batch in batches_of(self):
            if self.shuffle is None:  # validation
                yield batch
                continue
            share, order = float(rng.beta(alpha, alpha)), torch.from_numpy(rng.permutation(len(batch.targets)))
            mixed.update(share=share, others=batch.targets[order])
            images = batch.images.float()
            yield batch._replace(images=share * images + (1 - share) * images[order])

    def loss(self, logits, targets, weights=None):
        if not self.training:
            return loss_of(self, logits, targets, weights)
        share, others = mixed["share"], mixed["others"]
        return share * loss_of(self, logits, targets, weights) + (1 - share) * loss_of(self, logits, others, weights)

    return mock.patch.multiple(Batches, __iter__=batches), mock.patch.multiple(WeightedCrossEntropy, forward=loss)


# Of the steps of a fit, which differ between the data; each gives the callbacks.
IDEAS = {
    "none": lambda steps: [],
    "whitening": lambda steps: [Whitening()],
    "whitening, equal norm": lambda steps: [Whitening(equal_norm=True)],
    "Dirac": lambda steps: [Dirac()],
    "whitening and Dirac": lambda steps: [Whitening(), Dirac()],
    "faster biases": lambda steps: [FasterBiases()],
    "moving average": lambda steps: [MovingAverage(0.1 * steps)],
    "mixup": lambda steps: [],
}


def main():
    arguments = parser(__doc__)
    arguments.add_argument("mnist", type=Path, help="folder with the four idx files")
    arguments.add_argument("fashion", type=Path, help="likewise")
    arguments.add_argument("--ideas", nargs="+", choices=IDEAS, default=list(IDEAS))
    arguments.add_argument("--fashion-epochs", type=int, default=3)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    mnist, fashion, digits = read_idx_folder(arguments.mnist), read_idx_folder(arguments.fashion), load_digits()
    small = {"filters": (16, 32, 64), "batch_size": 64, "dropout": 0, "max_epochs": 1}

    def accuracies(data, settings, steps, idea, seeds):
        X, y, X_test, y_test = data
        for seed in range(seeds):
            clf = CNNClassifier(**settings, skorch_callbacks=IDEAS[idea](steps), random_state=seed)
            yield clf.fit(X, y).score(X_test, y_test)

    rows = []
    for idea in arguments.ideas:
        patches = mixup(0.2) if idea == "mixup" else ()
        for patch in patches:
            patch.start()
        epochs = arguments.fashion_epochs
        found = {
            "MNIST": np.mean(list(accuracies(mnist, small, 938, idea, 5))),
            "Fashion-MNIST": np.mean(list(accuracies(fashion, {"max_epochs": epochs}, 469 * epochs, idea, 2))),
            "digits": np.mean(
                [
                    cross_val_score(
                        CNNClassifier(skorch_callbacks=IDEAS[idea](450), random_state=seed),
                        digits.images.astype(np.float32),
                        digits.target,
                        cv=StratifiedKFold(5),
                    )
                    for seed in range(3)
                ]
            ),
        }
        for patch in patches:
            patch.stop()
        rows.append({"idea": idea, **{name: float(value) for name, value in found.items()}})
        print(rows[-1], flush=True)
    report("Test accuracy", machine, rows, arguments.json)


if __name__ == "__main__":
    main()
