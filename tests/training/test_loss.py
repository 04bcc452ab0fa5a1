"""The weighted loss."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sklearn_cnn.training._loss import WeightedCrossEntropy


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


def weighted(targets, weights):
    targets = targets.clone()
    targets.sample_weight = torch.tensor(weights)
    return targets


def test_without_weights_it_is_the_mean_cross_entropy(batch):
    logits, targets = batch
    assert WeightedCrossEntropy()(logits, targets) == F.cross_entropy(logits, targets)


def test_weights_multiply_the_losses_and_the_batch_length_divides(batch):
    logits, targets = batch
    weights = [0.0, 1.0, 2.0, 0.5, 0.0, 3.0]
    losses = -torch.log_softmax(logits, dim=1)[range(6), targets]
    expected = (losses * torch.tensor(weights)).sum() / 6
    torch.testing.assert_close(WeightedCrossEntropy()(logits, weighted(targets, weights)), expected)


def test_equal_weights_change_nothing(batch):
    logits, targets = batch
    torch.testing.assert_close(
        WeightedCrossEntropy()(logits, weighted(targets, [1.0] * 6)), WeightedCrossEntropy()(logits, targets)
    )


@pytest.mark.parametrize("with_weights", [True, False])
def test_smoothing_spreads_the_target_in_training_and_not_in_evaluation(batch, with_weights):
    logits, targets = batch
    given = weighted(targets, [1.0] * 6) if with_weights else targets
    loss = WeightedCrossEntropy(label_smoothing=0.3)
    log_p = torch.log_softmax(logits, dim=1)
    spread = 0.7 * F.one_hot(targets, 3) + 0.1
    torch.testing.assert_close(loss.train()(logits, given), -(spread * log_p).sum(dim=1).mean())
    torch.testing.assert_close(loss.eval()(logits, given), F.cross_entropy(logits, targets))


def test_weights_of_another_dtype_are_taken(batch):
    logits, targets = batch
    loss = WeightedCrossEntropy()(logits, weighted(targets, np.ones(6).tolist()))
    assert loss.dtype == torch.float32
