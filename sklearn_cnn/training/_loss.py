"""Losses with sample weights: ``criterion(outputs, targets, weights=None)``.

The weighted losses of a batch are summed and divided by the number of its samples, not by the sum of its weights.
So a sample counts the same whatever the weights of the other samples in its batch are. Over the training set the
weights should have mean 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REGRESSION_LOSSES: dict[str, Callable[..., Tensor]] = {
    "squared_error": F.mse_loss,
    "absolute_error": F.l1_loss,
    "huber": F.huber_loss,
}


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy of logits ``(n, n_classes)`` and classes ``(n,)``.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of a target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
        In training only, so that validation losses of different settings can be compared.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        if weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        return _weighted_mean(losses, weights)


class WeightedBinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of logits and targets 0 or 1, both ``(n, n_labels)``; the mean over the labels.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In training the targets 0 and 1 become ``label_smoothing / 2`` and ``1 - label_smoothing / 2``. Each
        label is a task of two classes, and this is what `WeightedCrossEntropy` does with two classes.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        smooth = targets * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        return _weighted_mean(losses.mean(dim=1), weights)


class WeightedRegressionLoss(nn.Module):
    """Loss of outputs and targets, both ``(n, n_outputs)``; the mean over the outputs.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"}
        ``(y - t)^2``; ``|y - t|``; or ``(y - t)^2 / 2`` up to a difference of 1 and ``|y - t| - 1/2`` beyond
        (Huber, "Robust estimation of a location parameter", 1964).
    """

    def __init__(self, loss: str) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        losses = REGRESSION_LOSSES[self.loss](outputs, targets, reduction="none")
        return _weighted_mean(losses.mean(dim=1), weights)


def _weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of weighted losses ``(n,)``, divided by their number."""
    return losses.mean() if weights is None else torch.dot(losses, weights.to(losses.dtype)) / len(losses)
