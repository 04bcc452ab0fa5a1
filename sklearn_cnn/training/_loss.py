"""Losses that know weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy of logits, weighted by the weights that travel with the targets.

    The sum over a batch is divided by the batch's length, not by its weight: so a sample counts the
    same beside light and heavy neighbours. Weights are expected to have mean 1 over the training set.

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
        weights = getattr(targets, "sample_weight", None)
        if weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        return torch.dot(losses, weights.to(losses.dtype)) / len(losses)
