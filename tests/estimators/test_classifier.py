"""CNNClassifier: what fit, partial_fit and the predictions do."""

import pickle
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit, cross_val_score
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier
from sklearn_cnn.estimators._sample import Sample

DIGITS = load_digits()
X, y = DIGITS.images[:300].astype(np.float32), DIGITS.target[:300]


def small(**parameters):
    settings = {"filters": (6, 12), "hidden_layer_sizes": (16,), "max_epochs": 4, "batch_size": 16, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


def weights(estimator):
    return {name: value.numpy().copy() for name, value in estimator.module_.state_dict().items()}


def same_weights(one, other):
    one, other = weights(one), weights(other)
    return all(np.array_equal(one[name], other[name]) for name in one)


# Accuracy.


@pytest.mark.parametrize(
    ("folds", "least"),
    [
        (StratifiedShuffleSplit(1, test_size=0.2, random_state=0), 0.978),
        pytest.param(StratifiedKFold(5), 0.978, marks=pytest.mark.slow),
        pytest.param(StratifiedKFold(5, shuffle=True, random_state=0), 0.991, marks=pytest.mark.slow),
    ],
    ids=["once", "file order", "shuffled"],
)
def test_digits_are_classified_better_than_by_a_support_vector_machine(folds, least):
    scores = cross_val_score(CNNClassifier(random_state=0), DIGITS.images, DIGITS.target, cv=folds)
    assert scores.mean() >= least


def test_rows_and_images_of_the_same_numbers_give_the_same_network():
    rows = CNNClassifier(random_state=0, max_epochs=2).fit(DIGITS.data[:300], y)
    images = CNNClassifier(random_state=0, max_epochs=2).fit(DIGITS.images[:300], y)
    assert same_weights(rows, images)


def test_the_classic_two_layer_network_learns_with_plain_sgd():
    clf = CNNClassifier(
        filters=(32, 64),
        kernel_size=5,
        pooling="max",
        pool_size=2,
        pool_stride=2,
        normalization=None,
        hidden_layer_sizes=(128,),
        dropout=0.0,
        optimizer="sgd",
        momentum=0.0,
        weight_decay=0.0,
        lr=0.05,
        lr_schedule="constant",
        max_epochs=5,
        random_state=0,
    )
    clf.fit(DIGITS.images[:1200], DIGITS.target[:1200])
    kinds = [layer.kind for layer in clf.plan_.layers if layer.kind in ("conv", "max_pool", "dense")]
    assert kinds == ["conv", "max_pool", "conv", "max_pool", "dense", "dense"]
    assert clf.score(DIGITS.images[1200:], DIGITS.target[1200:]) > 0.9


OPTIMIZERS = ["adamw", "adam", "sgd", "rmsprop", torch.optim.Adagrad]
SCHEDULES = ["auto", "cosine", "constant"]


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        *((optimizer, "auto") for optimizer in OPTIMIZERS),
        *(("adamw", schedule) for schedule in SCHEDULES[1:]),
        *(pytest.param(o, s, marks=pytest.mark.slow) for o in OPTIMIZERS[1:] for s in SCHEDULES[1:]),
    ],
)
def test_every_optimiser_learns_with_every_schedule(optimizer, schedule):
    lr = 0.02 if optimizer is torch.optim.Adagrad else "auto"
    clf = small(optimizer=optimizer, lr_schedule=schedule, max_epochs=8, dropout=0.0, lr=lr).fit(X, y)
    assert clf.score(X, y) > 0.9


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_every_precision_learns_and_predicts_in_its_own_dtype(precision):
    clf = small(precision=precision, max_epochs=8).fit(X, y)
    assert clf.precision_ == precision
    assert clf.decision_function(X).dtype == (np.float64 if precision == "float64" else np.float32)
    assert clf.score(X, y) > 0.9


# Predictions.


def test_predictions_agree_with_each_other():
    clf = small().fit(X, y)
    logits, proba = clf.decision_function(X), clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[logits.argmax(axis=1)])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(np.log(proba), clf.predict_log_proba(X), rtol=1e-6)
    np.testing.assert_allclose(proba, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-5)


def test_two_classes_give_one_decision_value():
    two = y < 2
    clf = small().fit(X[two], y[two])
    decision, proba = clf.decision_function(X[two]), clf.predict_proba(X[two])
    assert decision.shape == (two.sum(),)
    np.testing.assert_allclose(1 / (1 + np.exp(-decision)), proba[:, 1], rtol=1e-4)
    np.testing.assert_array_equal(clf.predict(X[two]), clf.classes_[(decision > 0).astype(int)])


def test_predictions_depend_on_their_batch_by_rounding_only():
    clf = small().fit(X, y)
    together = clf.decision_function(X)
    alone = np.concatenate([clf.decision_function(X[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(together[:40], alone, atol=1e-5)


def test_pixels_of_another_range_give_one_warning():
    clf = small().fit(X * 15, y)  # up to 240
    with pytest.warns(UserWarning, match="scale them the same way") as caught:
        clf.predict(X / 16)
    assert len(caught) == 1
    clf = small().fit(X / 16, y)
    with pytest.warns(UserWarning, match="go from 0 to 240"):
        clf.predict(X * 15)
    clf.predict(X[:1] * 0)  # a black image is nothing to warn of
    clf.predict(X / 20)


def test_dark_images_are_nothing_to_warn_of():
    clf = small().fit(X / 16, y)
    clf.predict(np.full((2, 8, 8), 0.01))
    clf.predict(np.full((2, 8, 8), 1.0))
    clf = small().fit((X * 15).astype(np.uint8), y)
    clf.predict(np.ones((2, 8, 8), dtype=np.uint8))


def test_predictions_are_in_evaluation_mode_whatever_was_done_to_the_module():
    clf = small().fit(X, y)
    expected = clf.predict_proba(X)
    clf.module_.train()
    np.testing.assert_array_equal(clf.predict_proba(X), expected)


# Weights of samples and classes.


def test_samples_of_weight_zero_teach_nothing():
    wrong = np.where(np.arange(300) % 3 == 0, (y + 1) % 10, y)
    clf = small(max_epochs=10).fit(X, wrong, sample_weight=(wrong == y).astype(float))
    assert clf.score(X, y) > 0.9
    assert small(max_epochs=10).fit(X, wrong).score(X, y) < clf.score(X, y)


def test_scaling_all_weights_changes_nothing():
    w = np.random.default_rng(0).uniform(0.5, 2, 300)
    one, other = small().fit(X, y, w), small().fit(X, y, 1024 * w)
    assert same_weights(one, other)


@pytest.mark.parametrize("weighted", [False, True])
def test_class_weight_is_a_sample_weight(weighted):
    w = np.random.default_rng(0).uniform(0.5, 2, 300) if weighted else np.ones(300)
    by_class = {label: 1.0 + label for label in range(10)}
    one = small(class_weight=by_class).fit(X, y, w if weighted else None)
    other = small().fit(X, y, w * (1.0 + y))
    assert same_weights(one, other)


def test_balanced_classes_weigh_the_same():
    rare = np.flatnonzero((y != 3) | (np.cumsum(y == 3) <= 4))
    Xr, yr = X[rare], y[rare]
    expected = len(yr) / (10 * np.bincount(yr))
    assert same_weights(small(class_weight="balanced").fit(Xr, yr), small().fit(Xr, yr, expected[yr]))


def test_weights_count_in_validation_loss_and_score():
    w_val = np.where(np.arange(100) < 50, 0.0, 2.0)
    X_val, y_val = X[200:], y[200:]
    clf = small().fit(X[:200], y[:200], X_val=X_val, y_val=y_val, sample_weight_val=w_val)
    proba = clf.predict_proba(X_val[50:])
    right = clf.predict(X_val[50:]) == y_val[50:]
    assert clf.validation_scores_[-1] == pytest.approx(right.mean())
    assert clf.validation_loss_curve_[-1] == pytest.approx(log_loss(y_val[50:], proba, labels=range(10)), rel=1e-4)


def test_class_weights_count_in_the_validation_score():
    by_class = {label: float(label) for label in range(10)}
    clf = small(class_weight=by_class).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    right = clf.predict(X[200:]) == y[200:]
    assert clf.validation_scores_[-1] == pytest.approx(np.average(right, weights=y[200:]))


def test_unit_weights_have_mean_one_over_the_rows_used():
    sample = Sample(X, y, np.arange(300.0), np.arange(10, 20))
    assert sample.unit_weights()[10:20].mean() == pytest.approx(1)
    assert Sample(X, y, None, np.arange(300)).unit_weights() is None


def test_images_are_standardised_by_the_statistics_of_the_training_part():
    trained = []

    class Look(Callback):
        def on_epoch_begin(self, net, dataset_train=None, **kwargs):
            trained.append(np.concatenate([image for image, _ in dataset_train]))

    clf = small(early_stopping=True, validation_fraction=0.4, skorch_callbacks=[Look()]).fit(X, y)
    assert len(trained[0]) == 180
    layer = clf.module_.layers["standardize"]
    np.testing.assert_allclose(layer.mean.item(), trained[0].mean(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(layer.std.item(), trained[0].std(dtype=np.float64), rtol=1e-6)


def test_with_full_batches_in_float64_weights_are_repeated_rows():
    counts = np.random.default_rng(0).integers(0, 4, 60)
    exact = {"precision": "float64", "normalization": None, "dropout": 0.0, "batch_size": 1000}
    one = small(**exact).fit(X[:60], y[:60], counts)
    other = small(**exact).fit(np.repeat(X[:60], counts, axis=0), np.repeat(y[:60], counts))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-9)


# Validation and early stopping.


def test_early_stopping_keeps_the_weights_of_the_best_epoch():
    clf = small(early_stopping=True, max_epochs=60, n_iter_no_change=3, validation_fraction=0.3).fit(X, y)
    assert clf.n_iter_ < 60
    assert clf.n_iter_ == len(clf.loss_curve_) == len(clf.validation_scores_) == len(clf.validation_loss_curve_)
    ranks = list(zip(clf.validation_scores_, [-loss for loss in clf.validation_loss_curve_], strict=True))
    assert clf.best_epoch_ == 1 + ranks.index(max(ranks))


def test_early_stopping_with_x_val_stops_by_it_and_restores():
    X_val, y_val = X[200:], y[200:]
    clf = small(early_stopping=True, max_epochs=60, n_iter_no_change=3)
    clf.fit(X[:200], y[:200], X_val=X_val, y_val=y_val)
    assert clf.score(X_val, y_val) == pytest.approx(max(clf.validation_scores_))
    assert clf.n_iter_ < 60


def test_the_rate_cools_down_after_patience_ran_out():
    clf = small(early_stopping=True, max_epochs=60, n_iter_no_change=3, validation_fraction=0.3).fit(X, y)
    rates = [record["lr"] for record in clf.history_]
    peak = max(rates)
    n_cooling = sum(rate < peak for rate in rates)
    assert n_cooling == 4
    assert rates[:-n_cooling] == [peak] * (len(rates) - n_cooling)
    assert sorted(rates[-n_cooling:], reverse=True) == rates[-n_cooling:]
    assert rates[-1] < 0.05 * peak


def test_without_early_stopping_validation_is_watched_and_nothing_stops():
    clf = small(n_iter_no_change=1).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    assert clf.n_iter_ == 4
    assert len(clf.validation_scores_) == 4
    assert clf.validation_scores_[-1] == pytest.approx(clf.score(X[200:], y[200:]))


def test_validation_images_do_not_teach():
    plain = small().fit(X[:200], y[:200])
    watched = small().fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    assert same_weights(plain, watched)
    assert plain.validation_scores_ is None
    assert plain.best_epoch_ is None


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"X_val": X}, "without y_val"),
        ({"y_val": y}, "without X_val"),
        ({"sample_weight_val": y}, "without X_val"),
        ({"X_val": X, "y_val": y[:-1]}, "inconsistent"),
        ({"X_val": X[:, :7], "y_val": y}, r"7, 8.*8, 8"),
        ({"X_val": X, "y_val": y + 5}, "not among the classes"),
    ],
)
def test_validation_data_that_do_not_fit_are_refused(given, match):
    clf = small()
    with pytest.raises(ValueError, match=match):
        clf.fit(X, y, **given)
    assert not hasattr(clf, "classes_")


# Training on.


def test_warm_start_trains_on_and_numbers_its_epochs_on():
    clf = small(warm_start=True).fit(X, y)
    first = weights(clf)
    loss = clf.loss_curve_[-1]
    clf.fit(X, y)
    assert clf.n_iter_ == 8
    assert [record["epoch"] for record in clf.history_] == list(range(1, 9))
    assert clf.loss_curve_[-1] < loss
    assert any(not np.array_equal(first[name], value) for name, value in weights(clf).items())


def test_training_on_keeps_the_moments_of_the_optimiser_and_draws_new_batches():
    orders = []

    class Look(Callback):
        def on_batch_begin(self, net, batch, **kwargs):
            orders.append(batch[1].tolist())

    clf = small(warm_start=True, max_epochs=1, skorch_callbacks=[Look()]).fit(X, y)
    n_batches = len(orders)
    clf.fit(X, y)
    steps = {int(state["step"]) for state in clf.net_.optimizer_.state.values()}
    assert steps == {2 * n_batches}
    assert orders[:n_batches] != orders[n_batches:]


def test_dropout_draws_anew_when_training_goes_on():
    clf = small(warm_start=True, max_epochs=1)
    seeds = []
    for _ in range(2):
        clf.fit(X, y)
        seeds.append([module.seed for module in clf.module_.modules() if hasattr(module, "seed")])
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"optimizer": "rmsprop", "momentum": 0.0}, {"momentum": 0.9}),
        ({"optimizer": "adam"}, {"optimizer": torch.optim.Adam}),
        ({"optimizer": "adamw"}, {"optimizer": "sgd"}),
    ],
)
def test_another_optimiser_starts_with_moments_of_its_own(first, then):
    clf = small(warm_start=True, max_epochs=1, lr=1e-3, **first).fit(X, y)
    clf.set_params(**then).fit(X, y)
    assert clf.n_iter_ == 2


def test_after_fit_the_optimiser_has_its_peak_rate_and_no_schedule():
    clf = small(lr=0.004).fit(X, y)
    optimizer = clf.net_.optimizer_
    assert {group["lr"] for group in optimizer.param_groups} == {0.004}
    optimizer.step()
    assert {group["lr"] for group in optimizer.param_groups} == {0.004}


def test_an_optimiser_that_needs_a_closure_is_refused():
    clf = small(optimizer=torch.optim.LBFGS)
    with pytest.raises((TypeError, ValueError), match=r"closure|LBFGS"):
        clf.fit(X, y)
    assert not hasattr(clf, "classes_")


def test_warm_start_goes_on_after_pickling():
    clf = pickle.loads(pickle.dumps(small(warm_start=True).fit(X, y)))
    loss = clf.loss_curve_[-1]
    assert clf.fit(X, y).loss_curve_[-1] < loss


def test_without_warm_start_a_second_fit_begins_anew():
    clf = small().fit(X, y)
    first = weights(clf)
    clf.fit(X, y)
    assert all(np.array_equal(first[name], value) for name, value in weights(clf).items())
    assert clf.n_iter_ == 4


@pytest.mark.parametrize(
    ("changes", "data", "match"),
    [
        ({"filters": (3, 3)}, (X, y), "network cannot change"),
        ({}, (X[:, :7], y), "7, 8"),
        ({}, (X, y + 1), "not among the classes"),
    ],
)
def test_warm_start_refuses_another_network_shape_or_label(changes, data, match):
    clf = small(warm_start=True).fit(X, y)
    before = weights(clf)
    with pytest.raises(ValueError, match=match):
        clf.set_params(**changes).fit(*data)
    assert all(np.array_equal(before[name], value) for name, value in weights(clf).items())


def test_partial_fit_trains_one_epoch_a_call_and_learns():
    clf = small(lr=3e-3)
    for _ in range(8):
        for start in (0, 150):
            clf.partial_fit(X[start : start + 150], y[start : start + 150], classes=range(10))
    assert clf.n_iter_ == 16
    assert clf.score(X, y) > 0.9


def test_partial_fit_takes_a_part_of_the_classes():
    some = y < 4
    clf = small().partial_fit(X[some], y[some], classes=np.arange(10))
    assert clf.predict_proba(X).shape == (300, 10)
    clf.partial_fit(X[~some], y[~some])
    clf.partial_fit(X[:1], y[:1])


def test_partial_fit_needs_the_classes_first_and_the_same_later():
    clf = small()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        clf.partial_fit(X, y)
    clf.partial_fit(X, y, classes=range(10))
    with pytest.raises(ValueError, match="not those of the first call"):
        clf.partial_fit(X, y, classes=range(9))


def test_partial_fit_refuses_balanced_classes():
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        small(class_weight="balanced").partial_fit(X, y, classes=range(10))


# Seeds and pickles.


def test_other_seeds_give_other_networks():
    assert not same_weights(small(random_state=0).fit(X, y), small(random_state=1).fit(X, y))
    generator = np.random.RandomState(0)
    one, other = (small(random_state=generator).fit(X, y) for _ in range(2))
    assert not same_weights(one, other)
    np.random.seed(5)  # noqa: NPY002 - the global generator is what random_state=None means in scikit-learn
    one = small(random_state=None).fit(X, y)
    np.random.seed(5)  # noqa: NPY002 - the generator that random_state=None means
    assert same_weights(one, small(random_state=None).fit(X, y))


def test_a_network_fitted_on_a_device_that_is_not_there_predicts_on_the_cpu_with_one_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    clf = small().fit(X, y)
    expected = clf.predict_proba(X)
    clf.device_ = "cuda:0"
    state = pickle.dumps(clf)
    with pytest.warns(UserWarning, match="predicts on the CPU") as caught:
        loaded = pickle.loads(state)
    assert len(caught) == 1
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


# Plans.


def test_a_plan_needs_no_training_and_leaves_the_estimator_alone():
    clf = small()
    before = dict(vars(clf))
    by_data, by_shape = clf.plan(X, y), clf.plan(image_shape=(8, 8), n_outputs=10)
    assert by_data == by_shape == clone(clf).fit(X, y).plan_
    assert vars(clf) == before


def test_a_plan_takes_the_shape_it_is_told_for_rows():
    plan = small().plan(X.reshape(300, 64), image_shape=(4, 16), n_outputs=2)
    assert plan.input_shape == (1, 4, 16)


def test_a_plan_leaves_callbacks_alone():
    class Holds(Callback):
        def __init__(self):
            self.file = sys.stderr  # cannot be copied

        def __deepcopy__(self, memo):
            raise TypeError("cannot be copied")

    assert small(skorch_callbacks=[Holds()]).plan(X, y).output_shape == (10,)


def test_a_fitted_estimator_plans_for_what_it_was_fitted_on():
    clf = small().fit(X, y)
    assert clf.plan() == clf.plan_
    assert clf.plan(image_shape=(16, 16)).output_shape == (10,)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "image_shape"),
        ({"image_shape": (8, 8)}, "n_outputs"),
        ({"X": X}, "n_outputs"),
        ({"image_shape": (8, 8), "n_outputs": 0}, "n_outputs"),
        ({"image_shape": (8, 8), "n_outputs": 2.5}, "n_outputs"),
        ({"image_shape": (8,), "n_outputs": 2}, "image_shape"),
        ({"image_shape": 8, "n_outputs": 2}, "image_shape"),
        ({"X": X, "image_shape": (4, 16), "n_outputs": 2}, "image_shape"),
        ({"image_shape": (8, 8), "n_outputs": True}, "n_outputs"),
    ],
)
def test_a_plan_says_what_it_lacks(arguments, match):
    with pytest.raises(ValueError, match=match):
        small().plan(**arguments)


def test_an_impossible_geometry_raises_in_plan_and_in_fit_alike():
    clf = small(filters=(4, 4), kernel_size=7, padding="valid")
    messages = []
    for call in (lambda: clf.plan(X, y), lambda: clf.fit(X, y)):
        with pytest.raises(ValueError, match="conv block 2") as info:
            call()
        messages.append(str(info.value))
    assert messages[0] == messages[1]
    assert not hasattr(clf, "classes_")


# Progress.


def test_verbose_leaves_a_line_with_loss_and_score(capsys):
    small(verbose=1).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and shown.endswith("\n")
    assert all(text in shown for text in ("epoch 4/4", "loss=", "val_loss=", "val_score="))


def test_by_default_nothing_is_printed(capsys):
    small().fit(X, y)
    assert capsys.readouterr() == ("", "")


def test_fit_accepts_being_called_without_gradients():
    with torch.no_grad():
        no_grad = small().fit(X, y)
    with torch.inference_mode():
        inference = small().fit(X, y)
    assert same_weights(no_grad, small().fit(X, y))
    assert same_weights(inference, no_grad)


def convolutions(plan):
    return [layer.output_shape[0] for layer in plan.layers if layer.kind == "conv"]


@pytest.mark.parametrize(
    ("side", "settings", "expected"),
    [
        (8, {}, [64, 128]),
        (27, {}, [64, 128]),
        (28, {}, [32, 32, 64, 64, 128, 128]),
        (28, {"convs_per_block": 1}, [32, 64, 128]),
        # 28→24→12→8→4 leaves no room for a third.
        (28, {"kernel_size": 5, "padding": "valid", "convs_per_block": 1, "standardize": False}, [64, 128]),
        (28, {"kernel_size": (5, 3), "convs_per_block": 1}, [64, 128]),  # one entry a block
        (28, {"kernel_size": (5, 3, 3), "convs_per_block": 1}, [32, 64, 128]),
        (63, {"convs_per_block": 1}, [32, 64, 128, 256]),
        (64, {"convs_per_block": 1}, [32, 64, 128]),  # of 32×32, since windows are whitened with a step
        (64, {"convs_per_block": 1, "standardize": False}, [32, 64, 128, 256]),
        (224, {"convs_per_block": 1}, [32, 64, 128, 256]),
    ],
)
def test_auto_filters_fit_the_images_and_the_other_settings(side, settings, expected):
    plan = CNNClassifier(**settings).plan(image_shape=(side, side), n_outputs=3)
    assert convolutions(plan) == expected


def test_settings_that_leave_no_room_for_two_blocks_are_refused_for_auto_filters_too():
    with pytest.raises(ValueError, match="conv block 2"):
        CNNClassifier(kernel_size=7, padding="valid").plan(image_shape=(9, 9), n_outputs=3)


def five_steps(image_shape, n_outputs):
    conv = torch.nn.Conv2d(image_shape.channels, 8, 3, stride=2, padding=1)
    deep = [torch.nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(4)]
    return torch.nn.Sequential(conv, *deep, torch.nn.Flatten(), torch.nn.Linear(8, n_outputs))


@pytest.mark.parametrize(
    "settings",
    [
        {"filters": (16, 32, 64, 128, 128), "pooling": None, "stride": 2},
        {"architecture": "resnet18", "batch_size": 32},
        {"architecture": five_steps, "lr": 0.01},
    ],
    ids=["conv blocks", "named network", "network of one's own"],
)
def test_what_the_memory_held_before_does_not_reach_the_weights_in_bfloat16(settings):
    # torch leaves a part of the gradient unset where a convolution steps over the whole of its map.
    found = []
    for turn in range(4):
        left = torch.full((3_000_000 + turn * 777,), float("nan"))
        del left
        clf = CNNClassifier(**settings, precision="bfloat16", max_epochs=2, random_state=0)
        clf.fit(X[:64, ::2, ::2], y[:64])
        found.append(torch.cat([value.flatten().double() for value in clf.module_.state_dict().values()]))
    assert all(torch.equal(found[0], other) for other in found[1:])
