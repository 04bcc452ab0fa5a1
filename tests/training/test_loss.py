"""The weighted losses."""

import pytest
import torch
from torch.nn import functional as F

from sklearn_cnn.training._loss import (
    REGRESSION_LOSSES,
    WeightedBinaryCrossEntropy,
    WeightedCrossEntropy,
    WeightedRegressionLoss,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


def test_without_weights_it_is_the_mean_cross_entropy(batch):
    logits, targets = batch
    assert WeightedCrossEntropy()(logits, targets) == F.cross_entropy(logits, targets)


def test_weights_multiply_the_losses_and_the_batch_length_divides(batch):
    logits, targets = batch
    weights = [0.0, 1.0, 2.0, 0.5, 0.0, 3.0]
    losses = -torch.log_softmax(logits, dim=1)[range(6), targets]
    expected = (losses * torch.tensor(weights)).sum() / 6
    torch.testing.assert_close(WeightedCrossEntropy()(logits, targets, torch.tensor(weights)), expected)


def test_equal_weights_change_nothing(batch):
    logits, targets = batch
    torch.testing.assert_close(
        WeightedCrossEntropy()(logits, targets, torch.ones(6)), WeightedCrossEntropy()(logits, targets)
    )


@pytest.mark.parametrize("with_weights", [True, False])
def test_smoothing_spreads_the_target_in_training_and_not_in_evaluation(batch, with_weights):
    logits, targets = batch
    weights = torch.ones(6) if with_weights else None
    loss = WeightedCrossEntropy(label_smoothing=0.3)
    log_p = torch.log_softmax(logits, dim=1)
    spread = 0.7 * F.one_hot(targets, 3) + 0.1
    torch.testing.assert_close(loss.train()(logits, targets, weights), -(spread * log_p).sum(dim=1).mean())
    torch.testing.assert_close(loss.eval()(logits, targets, weights), F.cross_entropy(logits, targets))


def test_weights_of_another_dtype_are_taken(batch):
    logits, targets = batch
    loss = WeightedCrossEntropy()(logits, targets, torch.ones(6, dtype=torch.float64))
    assert loss.dtype == torch.float32


@pytest.fixture
def indicators():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, generator=generator), torch.randint(2, (6, 3), generator=generator).float()


@pytest.mark.parametrize("weights", [None, [0.0, 1.0, 2.0, 0.5, 0.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_of_several_labels_the_mean_counts_and_smoothing_acts_in_training(indicators, weights, smoothing):
    logits, targets = indicators
    given = None if weights is None else torch.tensor(weights)
    w = torch.ones(6) if given is None else given
    loss = WeightedBinaryCrossEntropy(smoothing)
    p = torch.sigmoid(logits)
    for training, smooth in ((True, smoothing), (False, 0.0)):
        t = torch.where(targets == 1, 1 - smooth / 2, smooth / 2)
        losses = -(t * p.log() + (1 - t) * (1 - p).log()).mean(dim=1)
        torch.testing.assert_close(loss.train(training)(logits, targets, given), (losses * w).sum() / 6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_label_is_smoothed_as_one_of_two_classes_is(smoothing):
    logits, targets = torch.tensor([[0.7], [-1.2]]), torch.tensor([[1.0], [0.0]])
    two_classes = torch.cat([torch.zeros(2, 1), logits], dim=1)
    torch.testing.assert_close(
        WeightedBinaryCrossEntropy(smoothing)(logits, targets),
        WeightedCrossEntropy(smoothing)(two_classes, targets[:, 0].long()),
    )


FORMULAS = {
    "squared_error": lambda d: d**2,
    "absolute_error": lambda d: d.abs(),
    "huber": lambda d: torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5),
}


@pytest.mark.parametrize("weights", [None, [0.0, 1.0, 2.0, 0.5, 0.0, 3.0]])
@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_losses_of_regression_are_their_formulas(name, weights):
    generator = torch.Generator().manual_seed(0)
    outputs, targets = 2 * torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator)
    given = None if weights is None else torch.tensor(weights)
    w = torch.ones(6) if given is None else given
    losses = FORMULAS[name](outputs - targets).mean(dim=1)
    torch.testing.assert_close(WeightedRegressionLoss(name)(outputs, targets, given), (losses * w).sum() / 6)
