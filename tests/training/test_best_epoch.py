"""The best epoch and patience."""

import pytest
import torch

from sklearn_cnn.training._best_epoch import BestEpoch


def test_the_best_epoch_is_that_of_the_highest_score_and_then_of_the_lowest_loss():
    network = torch.nn.Linear(1, 1)
    best = BestEpoch(n_iter_no_change=3, tol=0.0)
    for epoch, (score, loss) in enumerate([(0.5, 1.0), (0.9, 0.5), (0.9, 0.4), (0.9, 0.6), (0.8, 0.1)], start=1):
        with torch.no_grad():
            network.weight.fill_(epoch)
        best.update(epoch, score, loss, network)
    assert best.epoch == 3
    assert best.stop  # 0.9 was reached in epoch 2 and never passed in the three epochs since
    best.restore(network)
    assert network.weight.item() == 3


def test_a_gain_below_tol_does_not_reset_patience():
    network = torch.nn.Linear(1, 1)
    best = BestEpoch(n_iter_no_change=2, tol=0.1)
    for epoch, score in enumerate([0.5, 0.55, 0.59], start=1):
        best.update(epoch, score, 0.0, network)
    assert best.stop
    assert best.epoch == 3


def test_a_score_below_an_earlier_one_is_no_gain_when_it_rises_again():
    network = torch.nn.Linear(1, 1)
    best = BestEpoch(n_iter_no_change=3, tol=0.0)
    for epoch, score in enumerate([0.9, 0.5, 0.6, 0.7], start=1):
        best.update(epoch, score, 0.0, network)
    assert best.stop


def test_what_it_remembers_goes_on_in_another_one():
    network = torch.nn.Linear(1, 1)
    first, second = BestEpoch(3, 0.1), BestEpoch(3, 0.1)
    first.update(1, 0.9, 0.5, network)
    first.update(2, 0.95, 0.6, network)
    second.recall(first.memory())
    assert second == first
    with pytest.raises(KeyError):
        second.recall({"epoch": 1})
