"""Optimisers by name, and learning rates over time."""

import pytest
import torch

from sklearn_cnn.training._optimizers import (
    CURVES,
    OPTIMIZERS,
    LearningRate,
    OptimizerFactory,
    Phase,
    auto_lr,
    phases,
)
from tests.cases import for_every


def parameters():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2))
    return network, [{"params": list(network.parameters())}]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_named_optimiser_takes_its_settings_and_spares_vectors_from_decay(name):
    network, given = parameters()
    optimizer = OptimizerFactory(name, momentum=0.7, weight_decay=0.3)(given, lr=0.1)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert type(optimizer).__name__.lower() == name
    assert len(decay) == 6
    for parameter in network.parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0)
    for group in optimizer.param_groups:
        assert group["lr"] == 0.1
        assert group.get("momentum", 0.7) == 0.7


def test_sgd_without_momentum_is_plain():
    _, given = parameters()
    group = OptimizerFactory("sgd", momentum=0.0, weight_decay=0.0)(given, lr=0.1).param_groups[0]
    assert not group["nesterov"]
    assert group["momentum"] == 0


def test_a_callable_is_taken_as_it_is():
    network, given = parameters()
    optimizer = OptimizerFactory(torch.optim.Adagrad, momentum=0.9, weight_decay=0.1)(given, lr=0.5)
    assert type(optimizer) is torch.optim.Adagrad
    assert optimizer.param_groups[0]["params"] == list(network.parameters())
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.5, 0)
    assert auto_lr(torch.optim.Adagrad) == 1e-3


@pytest.mark.parametrize("made", [lambda parameters, lr: None, torch.optim.LBFGS])
def test_a_callable_that_gives_no_usable_optimiser_is_refused(made):
    _, given = parameters()
    with pytest.raises(TypeError, match="without a closure"):
        OptimizerFactory(lambda groups, lr: made(groups[0]["params"], lr=lr), 0.9, 0.0)(given, lr=0.1)


def test_sgd_with_momentum_is_nesterovs():
    _, given = parameters()
    assert OptimizerFactory("sgd", momentum=0.5, weight_decay=0.0)(given, lr=0.1).param_groups[0]["nesterov"]


def test_every_named_optimiser_has_its_own_learning_rate():
    assert {auto_lr(name) > 0 for name in OPTIMIZERS} == {True}
    assert auto_lr("sgd") != auto_lr("adamw")


@pytest.mark.parametrize(
    ("name", "start", "middle", "end"),
    [
        ("cosine", 1.0, 0.5, 0.0),
        ("constant", 1.0, 1.0, 1.0),
        ("cooldown", 1.0, 0.5, 0.0),
        ("one_epoch", 0.04, 1.0, 0.0),
    ],
)
def test_curves_have_their_shape(name, start, middle, end):
    curve = CURVES[name]
    assert curve(0.0) == pytest.approx(start)
    assert curve(0.5) == pytest.approx(middle)
    assert curve(1.0) == pytest.approx(end, abs=1e-12)
    assert max(curve(i / 1000) for i in range(1000)) <= 1.0


@for_every("max_epochs", [1, 2, 3, 5, 10, 100])
@for_every("schedule", ["auto", "warmup_stable_decay", "cosine", "constant"])
@for_every("early_stopping", [True, False])
def test_phases_add_up_to_the_epochs(max_epochs, schedule, early_stopping):
    laid_out = phases(schedule, max_epochs, early_stopping=early_stopping)
    assert sum(phase.n_epochs for phase in laid_out) == max_epochs
    assert all(phase.n_epochs > 0 for phase in laid_out)
    if schedule in ("auto", "warmup_stable_decay"):
        assert laid_out[-1].curve == ("cooldown" if max_epochs > 1 else "one_epoch")
        assert laid_out == phases("auto", max_epochs, early_stopping=early_stopping)
    else:
        assert laid_out == (Phase(max_epochs, schedule),)


@pytest.mark.parametrize(
    ("early_stopping", "max_epochs", "cooldown"),
    [
        *((False, *lengths) for lengths in [(2, 1), (3, 1), (5, 1), (6, 2), (7, 2), (10, 2), (30, 6), (100, 20)]),
        *((True, *lengths) for lengths in [(2, 1), (10, 2), (30, 4), (100, 4)]),
    ],
)
def test_the_cooldown_is_a_fifth_of_the_epochs_and_short_with_early_stopping(early_stopping, max_epochs, cooldown):
    laid_out = phases("warmup_stable_decay", max_epochs, early_stopping=early_stopping)
    assert [(phase.n_epochs, phase.curve) for phase in laid_out] == [
        (max_epochs - cooldown, "constant"),
        (cooldown, "cooldown"),
    ]
    assert [bool(phase.warm_up) for phase in laid_out] == [True, False]


def test_a_fitted_network_is_trained_on_without_a_warm_up():
    assert [phase.warm_up for phase in phases("auto", 10, go_on=True)] == [0, 0]
    assert phases("auto", 1, go_on=True) == (Phase(1, "cooldown"),)


@pytest.mark.parametrize(
    ("n_batches", "warm_up", "n_steps"), [(5, 4, 4), (3, 4, 4), (16, 100, 16), (4, 100, 10), (1, 100, 10)]
)
def test_the_warm_up_counts_steps_and_ends_with_the_first_epoch_or_the_tenth_step(n_batches, warm_up, n_steps):
    _, given = parameters()
    optimizer = OptimizerFactory("sgd", momentum=0.0, weight_decay=0.0)(given, lr=2.0)
    phase = Phase(16, "constant", warm_up=warm_up)
    rate = LearningRate(optimizer, [phase])
    rates = [min(1, (step + 1) / n_steps) for step in range(16 * n_batches)]
    seen = []
    for epoch in range(16):
        rate.begin(phase, n_batches, epoch)
        for _ in range(n_batches):
            rate.advance()
            seen.append(optimizer.param_groups[0]["lr"] / 2)
    assert seen == pytest.approx(rates)


def test_the_rate_of_every_step_follows_the_curve_and_the_peaks_come_back():
    _, given = parameters()
    optimizer = OptimizerFactory("sgd", momentum=0.0, weight_decay=0.0)(given, lr=2.0)
    phase = Phase(2, "cooldown")
    rate = LearningRate(optimizer, [phase])
    seen = []
    for epoch in range(2):
        rate.begin(phase, n_batches=2, epoch=epoch)
        for _ in range(2):
            rate.advance()
            seen.append({group["lr"] for group in optimizer.param_groups})
    assert seen == [{2.0}, {1.5}, {1.0}, {0.5}]
    rate.end()
    assert {group["lr"] for group in optimizer.param_groups} == {2.0}


def test_a_constant_rate_is_left_to_callbacks():
    _, given = parameters()
    optimizer = OptimizerFactory("sgd", momentum=0.0, weight_decay=0.0)(given, lr=2.0)
    phase = Phase(1, "constant")
    rate = LearningRate(optimizer, [phase])
    rate.begin(phase, n_batches=2)
    rate.advance()
    optimizer.param_groups[0]["lr"] = 0.1
    rate.advance()
    rate.end()
    assert optimizer.param_groups[0]["lr"] == 0.1
