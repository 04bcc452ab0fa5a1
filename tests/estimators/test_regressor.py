"""CNNRegressor: what it does that CNNClassifier does not. What both do lives in their base."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score, learning_curve
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, EpochScoring

from sklearn_cnn import CNNClassifier, CNNRegressor, ImageAugmenter
from sklearn_cnn.estimators._sample import Sample
from sklearn_cnn.estimators._task import mean_and_scale
from sklearn_cnn.exceptions import NonFiniteLossError

DIGITS = load_digits()
X = DIGITS.images[:300].astype(np.float32)
INK = X.mean(axis=(1, 2), dtype=np.float64)
LEFT_AND_RIGHT = np.stack([X[:, :, half].mean(axis=(1, 2), dtype=np.float64) for half in np.split(np.arange(8), 2)], 1)
WEIGHTS = np.random.default_rng(0).uniform(0.1, 2, 300)


def small(**parameters):
    settings = {"filters": (6, 12), "hidden_layer_sizes": (16,), "max_epochs": 6, "batch_size": 16, "random_state": 0}
    return CNNRegressor(**{**settings, **parameters})


def same_weights(one, other):
    one, other = one.module_.state_dict(), other.module_.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


# Accuracy.


def test_it_is_better_than_a_linear_model_on_pixels():
    halves = np.abs(LEFT_AND_RIGHT[:, 0] - LEFT_AND_RIGHT[:, 1])  # not linear in the pixels
    folds = KFold(3, shuffle=True, random_state=0)
    linear = cross_val_score(Ridge(), X.reshape(300, 64), halves, cv=folds).mean()
    assert cross_val_score(CNNRegressor(max_epochs=20, random_state=0), X, halves, cv=folds).mean() > linear + 0.3


@pytest.mark.parametrize(
    ("loss", "precision"),
    [
        ("squared_error", "float32"),
        ("absolute_error", "bfloat16"),
        ("huber", "float64"),
        *(
            pytest.param(loss, precision, marks=pytest.mark.slow)
            for loss in ("squared_error", "absolute_error", "huber")
            for precision in ("float32", "bfloat16", "float64")
        ),
    ],
)
def test_every_loss_learns_in_every_precision_and_predicts_float64(loss, precision):
    reg = small(loss=loss, precision=precision).fit(X, LEFT_AND_RIGHT)
    assert reg.score(X, LEFT_AND_RIGHT) > 0.8
    assert reg.predict(X).dtype == np.float64
    assert next(reg.module_.parameters()).dtype == (torch.float64 if precision == "float64" else torch.float32)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_the_other_losses_care_less_about_outliers(loss):
    wild = INK.copy()
    wild[::20] += 30
    errors = {
        name: np.median(np.abs(small(loss=name, max_epochs=15).fit(X, wild).predict(X) - INK))
        for name in ("squared_error", loss)
    }
    assert errors[loss] < 0.7 * errors["squared_error"]


# Targets and their units.


def test_outputs_of_any_unit_are_learnt_side_by_side():
    targets = LEFT_AND_RIGHT * [1e-6, 1e6] + [1.0, -1e7]
    predictions = small().fit(X, targets).predict(X)
    assert predictions.shape == targets.shape
    assert (r2_score(targets, predictions, multioutput="raw_values") > 0.8).all()


def test_the_unit_of_the_targets_does_not_matter():
    one, other = small().fit(X, INK), small().fit(X, 1024 * INK)
    assert same_weights(one, other)
    np.testing.assert_array_equal(1024 * one.predict(X), other.predict(X))


@pytest.mark.parametrize("unit", [1e-320, 1e-300, 1e-30, 1e30, 1e300])
def test_targets_of_any_size_are_learnt(unit):
    targets = unit * INK
    predictions = small().fit(X, targets).predict(X) / unit
    assert r2_score(INK, predictions) > 0.8


@pytest.mark.parametrize(
    ("value", "w"),
    [
        (0.1, None),
        (1e9, WEIGHTS),
        *(pytest.param(value, w, marks=pytest.mark.slow) for value in (0.0, 0.1, -7.0, 1e9) for w in (None, WEIGHTS)),
    ],
)
def test_an_output_that_never_varies_divides_by_nothing(value, w):
    targets = np.column_stack([INK, np.full(300, value)])
    reg = small(max_epochs=20).fit(X, targets, w)
    assert reg.target_mean_[1] == value
    assert reg.target_scale_[1] == 1
    np.testing.assert_allclose(reg.predict(X)[:, 1], value, atol=0.5)
    assert r2_score(INK, reg.predict(X)[:, 0]) > 0.8
    alone = small().fit(X, np.full(300, value))
    np.testing.assert_allclose(alone.predict(X), value, atol=0.5)


def test_a_deviation_that_rounds_to_zero_divides_by_nothing():
    reg = small(max_epochs=1).fit(X, np.arange(300) % 2 * 5e-324)  # the smallest number there is
    assert reg.target_scale_ == 1


def test_a_single_image_can_be_fitted():
    assert small(normalization=None).fit(X[:1], [3.0]).predict(X).shape == (300,)


@pytest.mark.parametrize("weighted", [False, True])
def test_targets_are_standardised_by_their_weighted_statistics(weighted):
    w = WEIGHTS if weighted else None
    reg = small(max_epochs=1).fit(X, LEFT_AND_RIGHT, w)
    mean = np.average(LEFT_AND_RIGHT, axis=0, weights=w)
    np.testing.assert_allclose(reg.target_mean_, mean)
    deviation = np.sqrt(np.average((LEFT_AND_RIGHT - mean) ** 2, axis=0, weights=w))
    np.testing.assert_allclose(reg.target_scale_, deviation)


def test_statistics_are_those_of_the_training_part_and_of_weights_above_zero():
    weights = np.where(np.arange(6) == 5, 0.0, 1.0)
    targets = np.array([[1.0], [3.0], [1e6], [1e6], [1e6], [1e6]])
    mean, scale = mean_and_scale(Sample(X[:6], targets, weights, np.array([0, 1, 5])))
    assert (mean, scale) == (2, 1)


def test_the_network_gives_standard_deviations_from_the_mean():
    reg = small().fit(X, LEFT_AND_RIGHT)
    with torch.inference_mode():
        outputs = reg.module_(torch.from_numpy(X[:, None])).numpy()
    expected = outputs * reg.target_scale_ + reg.target_mean_
    np.testing.assert_allclose(reg.predict(X), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "kind",
    ["int", "bool", "uint8", "float32", "list", "object", "Series", "Int64", "tensor", "column", "frame column"],
)
def test_numbers_of_any_kind_are_taken(kind):
    pd = pytest.importorskip("pandas")
    numbers = (INK > 5) if kind == "bool" else np.round(INK).astype(int)
    y = {
        "list": lambda: numbers.tolist(),
        "object": lambda: np.array([int(n) if i % 2 else float(n) for i, n in enumerate(numbers)], dtype=object),
        "Series": lambda: pd.Series(numbers, index=np.arange(300)[::-1]),
        "Int64": lambda: pd.Series(numbers, dtype="Int64"),
        "tensor": lambda: torch.from_numpy(numbers),
        "column": lambda: numbers[:, None],
        "frame column": lambda: pd.DataFrame({"number": numbers}),
    }.get(kind, lambda: numbers.astype(kind))()
    if "column" in kind:
        with pytest.warns(DataConversionWarning, match="column-vector"):
            reg = small().fit(X, y)
    else:
        reg = small().fit(X, y)
    assert reg.predict(X).shape == (300,)
    np.testing.assert_array_equal(reg.predict(X), small().fit(X, numbers.astype(float)).predict(X))


@pytest.mark.parametrize("kind", ["list", "frame", "tensor"])
def test_several_numbers_an_image_of_any_kind_are_taken(kind):
    pd = pytest.importorskip("pandas")
    y = {"list": LEFT_AND_RIGHT.tolist(), "frame": pd.DataFrame(LEFT_AND_RIGHT), "tensor": torch.tensor(LEFT_AND_RIGHT)}
    expected = small().fit(X, LEFT_AND_RIGHT).predict(X)
    np.testing.assert_allclose(small().fit(X, y[kind]).predict(X), expected)


def with_bad(value):
    y = INK.astype(object if value is None else np.result_type(INK, type(value)))
    y[7] = value
    return y


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (with_bad(np.nan), "NaN"),
        (with_bad(np.inf), "infinity"),
        (with_bad(None), "None"),
        (with_bad(1j), "(?i)complex"),
        (np.where(LEFT_AND_RIGHT > 5, np.nan, LEFT_AND_RIGHT), "NaN"),
        (INK.astype(str), "numbers.*<U"),
        (np.array([*INK[:-1], "3"], dtype=object), "numbers.*<U"),
        (INK.astype("datetime64[s]"), "numbers.*datetime"),
        (INK[:-1], "inconsistent"),
        ([], "inconsistent"),
        (np.zeros((300, 0)), r"0 feature\(s\)"),
        (np.zeros((300, 2, 2)), "dim 3"),
        (scipy.sparse.csr_matrix(LEFT_AND_RIGHT), "(?i)sparse"),
        ([[1.0], [2.0, 3.0]] * 150, "inhomogeneous"),
        ([10**400] * 300, "numbers|too large"),
        (None, "y is None"),
        (3.0, "Singleton|array-like"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_targets_that_are_no_numbers_are_refused(target, match):
    reg = small()
    before = dict(vars(reg))
    with pytest.raises((ValueError, TypeError), match=match):
        reg.fit(X, target)
    assert vars(reg) == before


def test_missing_values_of_pandas_are_refused():
    pd = pytest.importorskip("pandas")
    for y in (pd.Series(INK, dtype="Float64").mask(INK > 5), pd.DataFrame(LEFT_AND_RIGHT).mask(LEFT_AND_RIGHT > 5)):
        with pytest.raises(ValueError, match="NaN or NA"):
            small().fit(X, y)


# Weights and validation.


def test_with_full_batches_in_float64_weights_are_repeated_rows():
    counts = np.random.default_rng(0).integers(0, 4, 60)
    exact = {"precision": "float64", "normalization": None, "batch_size": 1000}
    one = small(**exact).fit(X[:60], LEFT_AND_RIGHT[:60], counts)
    other = small(**exact).fit(np.repeat(X[:60], counts, axis=0), np.repeat(LEFT_AND_RIGHT[:60], counts, axis=0))
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-9)


def test_the_score_is_r2_with_weights():
    reg = small(max_epochs=1).fit(X, LEFT_AND_RIGHT)
    predictions = reg.predict(X)
    assert reg.score(X, LEFT_AND_RIGHT) == r2_score(LEFT_AND_RIGHT, predictions)
    assert reg.score(X, LEFT_AND_RIGHT, WEIGHTS) == r2_score(LEFT_AND_RIGHT, predictions, sample_weight=WEIGHTS)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("target", [INK, LEFT_AND_RIGHT], ids=["one output", "two outputs"])
def test_the_validation_score_is_that_of_score(target, weighted):
    w = WEIGHTS[200:] if weighted else None
    reg = small().fit(X[:200], target[:200], X_val=X[200:], y_val=target[200:], sample_weight_val=w)
    assert reg.validation_scores_[-1] == pytest.approx(reg.score(X[200:], target[200:], w), rel=1e-5)
    assert reg.validation_scores_ == [record["valid_r2"] for record in reg.history_]
    errors = ((reg.predict(X[200:]) - target[200:]).reshape(100, -1) / reg.target_scale_) ** 2
    assert reg.validation_loss_curve_[-1] == pytest.approx(np.average(errors.mean(axis=1), weights=w), rel=1e-4)


def test_early_stopping_keeps_the_weights_of_the_best_epoch():
    reg = small(early_stopping=True, max_epochs=60, n_iter_no_change=3, tol=0.01)
    reg.fit(X[:200], INK[:200], X_val=X[200:], y_val=INK[200:])
    assert reg.n_iter_ < 60
    assert reg.best_epoch_ == 1 + int(np.argmax(reg.validation_scores_))
    assert reg.score(X[200:], INK[200:]) == pytest.approx(max(reg.validation_scores_), rel=1e-5)
    best_so_far = np.maximum.accumulate([-np.inf, *reg.validation_scores_])
    assert [record["valid_r2_best"] for record in reg.history_] == list(np.diff(best_so_far) > 0)


def test_the_part_that_is_held_out_does_not_move_the_statistics():
    held = []

    class Look(Callback):
        def on_train_begin(self, net, X=None, y=None, **kwargs):
            self.targets = y

        def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
            held[:] = [dataset_train.indices, dataset_valid.indices]

    reg = small(early_stopping=True, validation_fraction=0.3, max_epochs=2, skorch_callbacks=[Look()]).fit(X, INK)
    train, valid = held
    assert len(valid) == 90
    assert sorted([*train, *valid]) == list(range(300))
    assert reg.target_mean_ == pytest.approx(INK[train].mean())
    assert reg.target_scale_ == pytest.approx(INK[train].std())


@pytest.mark.parametrize(
    ("n", "given", "match"),
    [
        (2, {}, "too few to split"),
        (50, {"X_val": X[:1], "y_val": INK[:1]}, "two images at least"),
        (50, {"X_val": X[:9], "y_val": LEFT_AND_RIGHT[:9]}, "2 numbers an image, but the network is for 1"),
        (50, {"X_val": X[:9], "y_val": INK[:9] * 1e30}, "standard deviations away"),
    ],
)
def test_validation_that_cannot_be_is_refused(n, given, match):
    reg = small(early_stopping=True)
    before = dict(vars(reg))
    with pytest.raises(ValueError, match=match):
        reg.fit(X[:n], INK[:n], **given)
    assert vars(reg) == before


def test_three_images_are_enough_to_split():
    assert len(small(early_stopping=True, max_epochs=1).fit(X[:3], INK[:3]).validation_scores_) == 1


# Training on.


def test_warm_start_trains_on_with_the_first_statistics():
    reg = small(warm_start=True, max_epochs=2).fit(X, INK)
    mean, loss = reg.target_mean_, reg.loss_curve_[-1]
    reg.fit(X, INK)
    assert reg.loss_curve_[-1] < loss
    assert reg.n_iter_ == 4
    reg.fit(X, INK + 1)
    assert reg.target_mean_ == mean
    assert reg.predict(X).mean() > INK.mean() + 0.3
    with pytest.raises(ValueError, match="2 numbers an image"):
        reg.fit(X, LEFT_AND_RIGHT)


def test_without_warm_start_a_second_fit_begins_anew_with_other_outputs():
    reg = small(max_epochs=1).fit(X, INK).fit(X, LEFT_AND_RIGHT)
    assert reg.n_outputs_ == len(reg.target_mean_) == 2


def test_partial_fit_learns_with_the_statistics_of_its_first_call():
    reg = small(lr=3e-3)
    for _ in range(8):
        for start in (0, 150):
            reg.partial_fit(X[start : start + 150], INK[start : start + 150], WEIGHTS[start : start + 150])
    assert reg.n_iter_ == 16
    assert reg.score(X, INK) > 0.8
    assert reg.target_mean_ == pytest.approx(np.average(INK[:150], weights=WEIGHTS[:150]))


# What comes from the base.


def test_a_callback_that_looks_at_batches_changes_neither_weights_nor_history():
    class LooksAtBatches(Callback):
        def on_batch_end(self, net, **kwargs):
            pass

    settings = {"early_stopping": True, "validation_fraction": 0.3, "augmenter": ImageAugmenter(shift=0.1)}
    scoring = EpochScoring("r2", lower_is_better=False, name="scikit_learns_r2")
    alone = small(skorch_callbacks=[scoring], **settings).fit(X, LEFT_AND_RIGHT, WEIGHTS)
    watched = small(skorch_callbacks=[scoring, LooksAtBatches()], **settings).fit(X, LEFT_AND_RIGHT, WEIGHTS)
    assert same_weights(alone, watched)
    for one, other in zip(alone.history_, watched.history_, strict=True):
        assert {k: v for k, v in one.items() if k != "dur"} == {k: v for k, v in other.items() if k != "dur"}


def test_the_net_is_a_regressor_of_skorch_and_scores_as_it_does():
    scoring = EpochScoring("r2", lower_is_better=False, name="scikit_learns_r2")
    reg = small(skorch_callbacks=[scoring]).fit(X[:200], INK[:200], X_val=X[200:], y_val=INK[200:])
    assert type(reg.net_) is NeuralNetRegressor
    scores = [record["scikit_learns_r2"] for record in reg.history_]
    assert scores == pytest.approx(reg.validation_scores_, abs=1e-5)
    outputs = reg.net_.predict(X[:, None])
    np.testing.assert_allclose(outputs[:, 0] * reg.target_scale_ + reg.target_mean_, reg.predict(X), rtol=1e-5)


def test_an_augmenter_in_a_pipeline_trains_the_same_network():
    augmenter = ImageAugmenter(shift=0.1, random_state=0)
    pipe = make_pipeline(augmenter, small()).fit(X, INK)
    assert same_weights(pipe[-1], small(augmenter=augmenter).fit(X, INK))
    assert not same_weights(pipe[-1], small().fit(X, INK))


def test_a_seed_repeats_the_fit():
    assert same_weights(small(early_stopping=True).fit(X, INK), small(early_stopping=True).fit(X, INK))
    assert not same_weights(small().fit(X, INK), small(random_state=1).fit(X, INK))


def test_copies_of_a_fitted_estimator_predict_the_same():
    reg = small(early_stopping=True, loss="huber").fit(X, LEFT_AND_RIGHT)
    for duplicate in (pickle.loads(pickle.dumps(reg)), copy.deepcopy(reg)):
        np.testing.assert_array_equal(duplicate.predict(X), reg.predict(X))
        assert duplicate.history_ == reg.history_
        assert not hasattr(duplicate, "net_")
    assert clone(reg).loss == "huber"
    assert not hasattr(clone(reg), "target_mean_")


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    reg = small().fit(X, INK)
    expected = reg.predict(X)
    reg.set_params(lr=1e30, optimizer="sgd", normalization=None)
    with pytest.raises(NonFiniteLossError):
        reg.fit(X, LEFT_AND_RIGHT)
    np.testing.assert_array_equal(reg.predict(X), expected)


def test_a_plan_counts_the_outputs():
    assert small().plan(X, INK).output_shape == (1,)
    assert small().plan(X, LEFT_AND_RIGHT).output_shape == (2,)
    reg = small(max_epochs=1).fit(X, LEFT_AND_RIGHT)
    assert reg.plan() == reg.plan_


def test_verbose_shows_r2(capsys):
    small(verbose=1).fit(X[:200], INK[:200], X_val=X[200:], y_val=INK[200:])
    assert "val_score=" in capsys.readouterr().err


# With scikit-learn's tools.


def test_it_is_a_regressor_to_scikit_learn():
    assert is_regressor(small())
    assert not hasattr(CNNRegressor, "decision_function") and not hasattr(CNNRegressor, "predict_proba")


def test_searches_curves_and_predictions_of_folds():
    search = GridSearchCV(small(), {"loss": ["squared_error", "huber"], "filters": [(4,), (4, 8)]}, cv=2)
    assert search.set_params(error_score="raise").fit(X, INK).best_score_ > 0.5
    assert cross_val_predict(small(), X, LEFT_AND_RIGHT, cv=2).shape == LEFT_AND_RIGHT.shape
    settings = {"train_sizes": [0.5, 1.0], "cv": 2, "error_score": "raise", "exploit_incremental_learning": True}
    assert np.isfinite(learning_curve(small(), X, INK, **settings)[2]).all()
    logarithmic = TransformedTargetRegressor(small(), func=np.log, inverse_func=np.exp)
    assert logarithmic.fit(X, INK).score(X, INK) > 0.8


def test_parameters_of_both_estimators_have_the_same_defaults():
    ours, theirs = CNNRegressor().get_params(), CNNClassifier().get_params()
    assert set(ours) ^ set(theirs) == {"loss", "label_smoothing", "class_weight"}
    assert {name for name in set(ours) & set(theirs) if ours[name] != theirs[name]} == {
        *("dropout", "hidden_layer_sizes", "augmenter")
    }
