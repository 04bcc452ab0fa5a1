"""Losses that know weights.

A batch's targets carry the weights of its samples as the attribute ``sample_weight``. The weighted losses of
a batch are summed and divided by its length, not by its weight: so a sample counts the same beside light and
heavy neighbours. Weights are expected to have mean 1 over the training set.
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
        Share of a target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567);
        in training only, so that a validation loss is the plain one.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        if not hasattr(targets, "sample_weight"):
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        return _weighted_mean(losses, targets)


class WeightedBinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of logits and of targets 0 or 1, both ``(n, n_labels)``; the mean over the labels.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of a target that is spread over its two values, which become ``label_smoothing / 2`` and
        ``1 - label_smoothing / 2``; in training only. Each label is a task of two classes, so this is
        what `WeightedCrossEntropy` does for those.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        smooth = targets * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        return _weighted_mean(losses.mean(dim=1), targets)


class WeightedRegressionLoss(nn.Module):
    """Loss of outputs and targets, both ``(n, n_outputs)``; the mean over the outputs.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"}
        ``(y - t)^2``, ``|y - t|``, or half the first up to a difference of 1 and the second less a half
        beyond (Huber, "Robust estimation of a location parameter", 1964).
    """

    def __init__(self, loss: str) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = REGRESSION_LOSSES[self.loss](outputs, targets, reduction="none")
        return _weighted_mean(losses.mean(dim=1), targets)


def _weighted_mean(losses: Tensor, targets: Tensor) -> Tensor:
    """Losses ``(n,)``, by the weights of the targets if they have any."""
    weights = getattr(targets, "sample_weight", None)
    return losses.mean() if weights is None else torch.dot(losses, weights.to(losses.dtype)) / len(losses)
