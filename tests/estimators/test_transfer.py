"""Weights from elsewhere in an estimator: what stays frozen, how often the frozen part runs, and what it gains."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import EpochScoring, Freezer
from torch import nn

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, ImageAugmenter, ImageNormalizer
from sklearn_cnn.architectures._build import ImageNetwork

DIGITS = load_digits()
IMAGES = DIGITS.images.astype(np.float32)
OLD, NEW = DIGITS.target < 5, DIGITS.target >= 5
X, y = IMAGES[NEW][:80], DIGITS.target[NEW][:80]
SETTINGS = {"filters": (6, 8, 10), "hidden_layer_sizes": (16,), "max_epochs": 2, "batch_size": 16, "random_state": 0}


@pytest.fixture(scope="module")
def source():
    """A network that knows the digits 0 to 4."""
    return CNNClassifier(**{**SETTINGS, "max_epochs": 4}).fit(IMAGES[OLD][:300], DIGITS.target[OLD][:300])


def transfer(source, **settings):
    return CNNClassifier(**{**SETTINGS, "weights": source, **settings})


def state(estimator):
    return {name: value.clone() for name, value in estimator.module_.state_dict().items()}


def changed(one, other):
    """Rows of which a number differs."""
    return {name.split(".")[1] for name, value in one.items() if not torch.equal(value, other[name])}


BODY = {1: ("conv", "norm"), 2: ("conv", "norm"), 3: ("conv", "norm")}


@pytest.fixture
def counted(monkeypatch):
    """How many images went through the body."""
    seen = []
    run = ImageNetwork._run

    def watched(self, x, start, stop):
        if start == "input":
            seen.append(len(x))
        return run(self, x, start, stop)

    monkeypatch.setattr(ImageNetwork, "_run", watched)
    return seen


# What is frozen.


@pytest.mark.parametrize(
    ("trainable", "settings"),
    [
        *((trainable, {}) for trainable in (0, 1, 2, 3, "all")),
        *((1, settings) for settings in ({"augmenter": ImageAugmenter(shift=0.1)}, {"early_stopping": True})),
    ],
    ids=str,
)
def test_frozen_weights_and_statistics_are_those_of_the_source_to_the_last_bit(source, trainable, settings):
    clf = transfer(source, trainable_blocks=trainable, **settings).fit(X, y)
    n_frozen = 0 if trainable == "all" else 3 - trainable
    before, after = state(source), state(clf)
    for name in ("num_batches_tracked", "output"):  # a count that nothing reads, and what is always drawn
        before = {key: value for key, value in before.items() if name not in key}
    trained = {f"block{number}_{row}" for number in range(n_frozen + 1, 4) for row in BODY[number]}
    assert changed(before, after) == trained | {"dense1"}


@pytest.mark.parametrize("architecture", ["resnet18", pytest.param("inception", marks=pytest.mark.slow), "lenet5"])
def test_blocks_of_named_networks_are_frozen_too(architecture):
    settings = {"architecture": architecture, "max_epochs": 1, "batch_size": 16, "random_state": 0}
    first = CNNClassifier(**settings).fit(IMAGES[OLD][:32].repeat(2, 1).repeat(2, 2), DIGITS.target[OLD][:32])
    n = len(first.plan_.blocks)
    second = CNNClassifier(**settings, weights=first, trainable_blocks=1)
    second.fit(X.repeat(2, 1).repeat(2, 2), y)
    blocks = {layer.name: layer.block for layer in first.plan_.layers}
    ours = {name: value for name, value in state(second).items() if "num_batches" not in name}
    assert {blocks[row] for row in changed(ours, state(first))} <= {"head", first.plan_.blocks[-1]}
    assert n > 1 and "no" in str(second.plan_).split()


def test_the_table_says_what_is_trained(source):
    clf = transfer(source, trainable_blocks=1).fit(X, y)
    rows = {line.split()[0]: line.split()[-1] for line in str(clf.plan_).splitlines() if "_conv" in line}
    assert rows == {"block1_conv": "no", "block2_conv": "no", "block3_conv": "yes"}
    assert clf.plan_ == clf.plan(X, y)
    assert "trained" not in str(transfer(source).plan(X, y))


# How often the frozen part runs.


@pytest.mark.parametrize("max_epochs", [1, 7])
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True, "n_iter_no_change": 50}], ids=str)
def test_a_frozen_body_runs_once_for_each_image(source, counted, max_epochs, settings):
    transfer(source, trainable_blocks=0, max_epochs=max_epochs, **settings).fit(X, y)
    assert sum(counted) == len(X)


def test_a_frozen_body_runs_once_for_each_validation_image(source, counted):
    transfer(source, trainable_blocks=0, max_epochs=5).fit(X[:50], y[:50], X_val=X[50:], y_val=y[50:])
    assert sum(counted) == len(X)


def test_with_an_augmenter_a_frozen_body_runs_in_every_epoch(source, counted):
    settings = {"trainable_blocks": 0, "max_epochs": 3}
    transfer(source, augmenter=ImageAugmenter(shift=0.1), **settings).fit(X, y)
    assert sum(counted) == 3 * len(X)
    counted.clear()
    make_pipeline(ImageAugmenter(shift=0.1), transfer(source, **settings)).fit(X, y)
    assert sum(counted) == 3 * len(X)


def test_with_a_trained_block_the_body_runs_in_every_epoch(source, counted):
    transfer(source, trainable_blocks=1, max_epochs=3).fit(X, y)
    assert sum(counted) == 3 * len(X)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"early_stopping": True},
        {"global_pooling": "avg"},
        {"optimizer": "sgd", "lr_schedule": "cosine"},
        {"backbone_lr": 1e-3},
    ],
    ids=str,
)
def test_training_on_kept_features_gives_what_the_slow_way_gives(source, monkeypatch, settings, precision):
    if "global_pooling" in settings:
        source = CNNClassifier(**SETTINGS, global_pooling="avg").fit(IMAGES[OLD][:100], DIGITS.target[OLD][:100])
    settings = {**settings, "trainable_blocks": 0, "max_epochs": 4, "precision": precision}
    fast = transfer(source, **settings).fit(X, y)
    monkeypatch.setattr("sklearn_cnn.estimators._fit.with_features", lambda parameters, given, *_: given)
    slow = transfer(source, **settings).fit(X, y)
    tolerance = 1e-9 if precision == "float64" else 1e-3
    np.testing.assert_allclose(fast.predict_proba(X), slow.predict_proba(X), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(fast.loss_curve_, slow.loss_curve_, rtol=tolerance)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_network_without_blocks_has_its_images_as_features(standardize):
    settings = {"filters": (), "standardize": standardize, "trainable_blocks": 0, "max_epochs": 3, "random_state": 0}
    kept = CNNClassifier(**settings).fit(X, y)
    whole = CNNClassifier(**{**settings, "trainable_blocks": "all"}).fit(X, y)
    np.testing.assert_allclose(kept.predict_proba(X), whole.predict_proba(X), rtol=1e-4, atol=1e-5)


def test_predictions_after_training_on_features_take_images_again(source):
    clf = transfer(source, trainable_blocks=0).fit(X, y)
    assert clf.module_.starts_behind is None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), clf.predict_proba(X))
    np.testing.assert_allclose(clf.net_.predict_proba(X[:, None]), clf.predict_proba(X), rtol=1e-4, atol=1e-6)


# What is refused.


@pytest.mark.parametrize("trainable", [0, 1, 2])
def test_random_blocks_are_not_frozen(trainable):
    with pytest.raises(
        ValueError, match=f"trainable_blocks={trainable} would leave blocks as they were drawn at random"
    ):
        CNNClassifier(**SETTINGS, trainable_blocks=trainable).fit(X, y)


def test_more_blocks_than_there_are_are_refused_also_by_plan(source):
    clf = transfer(source, trainable_blocks=4)
    for call in (clf.fit, clf.plan):
        with pytest.raises(ValueError, match="trainable_blocks=4: this network has 3 blocks; 'all' trains it whole"):
            call(X, y)


@pytest.mark.parametrize(
    "settings", [{"trainable_blocks": -1}, {"trainable_blocks": 1.5}, {"trainable_blocks": "none"}, {"backbone_lr": 0},
                 {"backbone_lr": -1.0}, {"weights": 3}, {"architecture": 3}, {"weights": CNNClassifier}], ids=str
)  # fmt: skip  # a table
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"The '{next(iter(settings))}' parameter of CNNClassifier must be"):
        CNNClassifier(**settings).fit(X, y)


@pytest.mark.parametrize("weights", [CNNClassifier(), FrozenEstimator(CNNClassifier()), LogisticRegression()], ids=repr)
def test_weights_of_what_is_no_fitted_network_are_refused(weights):
    with pytest.raises(
        ValueError, match=r"weights=\w+\(\.\.\.\) is no fitted estimator of this package.*FrozenEstimator"
    ):
        transfer(weights).fit(X, y)


def test_a_clone_of_a_fitted_source_is_unfitted_and_the_error_says_what_to_do(source):
    with pytest.raises(ValueError, match=r"wrap it, weights=sklearn\.frozen\.FrozenEstimator\(fitted\)"):
        clone(transfer(source)).fit(X, y)


def test_weights_of_another_network_are_refused(source):
    with pytest.raises(ValueError, match=r"weights=CNNClassifier\(\.\.\.\) is of another network: block1_conv"):
        transfer(source, filters=(7, 8, 10)).fit(X, y)


@pytest.mark.parametrize("settings", [{"activation": "gelu"}, {"standardize": False}, {"pooling": "avg"}], ids=str)
def test_weights_of_a_network_that_computes_something_else_are_refused(source, settings):
    clf = transfer(source, **settings)
    if settings == {"standardize": False}:
        clf = transfer(transfer(None, **settings).fit(X, y))
    with pytest.raises(
        ValueError, match=r"weights=CNNClassifier\(\.\.\.\) is of another network: (block1|standardize)"
    ):
        clf.fit(X, y)


def test_weights_of_another_network_for_the_size_of_the_images_are_refused_with_a_way_out():
    large, labels = np.kron(IMAGES[:40], np.ones((8, 8), np.float32)), DIGITS.target[:40]
    source = CNNClassifier(max_epochs=1, random_state=0).fit(large, labels)
    with pytest.raises(ValueError, match=r"whiten.* of the images, 32×32 here and 64×64 there: resize them"):
        CNNClassifier(weights=source, random_state=0).fit(large[:, ::2, ::2], labels)


def test_images_on_another_scale_than_those_of_the_weights_give_a_warning(source):
    with pytest.warns(
        UserWarning, match=r"from 0 to 1, but those that the network was trained on went from 0 to 16"
    ) as c:
        transfer(source, max_epochs=1).fit(X / 16, y)
    assert [warning.filename for warning in c] == [__file__]


# In scikit-learn's tools.


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_search_goes_over_blocks_and_weights(source, n_jobs):
    grid = [
        {"weights": [FrozenEstimator(source)], "trainable_blocks": [0, 2, "all"]},
        {"weights": [None], "trainable_blocks": ["all"]},
    ]
    search = GridSearchCV(
        CNNClassifier(**{**SETTINGS, "max_epochs": 8}), grid, cv=2, n_jobs=n_jobs, error_score="raise"
    )
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.score(X, y) > 0.5


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_search_goes_over_architectures(n_jobs):
    grid = {"architecture": [None, "lenet5", flat]}
    search = GridSearchCV(CNNClassifier(max_epochs=1, random_state=0), grid, cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(X.repeat(2, 1).repeat(2, 2), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_clones_and_parameters_keep_what_they_were_given(source, tmp_path):
    frozen = FrozenEstimator(source)
    clf = transfer(frozen, trainable_blocks=1, architecture="lenet5", backbone_lr=0.1)
    copy = clone(clf)
    assert copy.get_params(deep=False).keys() == clf.get_params(deep=False).keys()
    assert copy.weights is frozen and (copy.architecture, copy.trainable_blocks, copy.backbone_lr) == ("lenet5", 1, 0.1)
    assert clf.get_params()["weights__estimator"] is source
    assert clone(CNNClassifier(architecture=flat)).architecture is flat
    assert clone(CNNClassifier(weights=tmp_path / "x.pth")).weights == tmp_path / "x.pth"


def flat(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.n_values, n_outputs))


@pytest.mark.parametrize("architecture", [None, "lenet5", "resnet18", flat])
@pytest.mark.parametrize("later", ["as fitted", None, "vgg11", "no such network"])
def test_pickles_hold_the_network_that_was_fitted_whatever_the_parameter_says_now(architecture, later):
    images = X[:20].repeat(2, 1).repeat(2, 2)
    blocks = {"filters": (6, 8, 10), "hidden_layer_sizes": (16,)}
    settings = {name: value for name, value in SETTINGS.items() if architecture is None or name not in blocks}
    clf = CNNClassifier(**{**settings, "architecture": architecture, "max_epochs": 1}).fit(images, y[:20])
    if later != "as fitted":
        clf.set_params(architecture=later)
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(images), clf.predict_proba(images))
    assert loaded.architecture == clf.architecture


# Training on.


def test_a_network_thaws_block_by_block(source):
    clf = transfer(source, trainable_blocks=0, warm_start=True).fit(X, y)
    for trainable in (1, 2, "all"):
        before = state(clf)
        clf.set_params(trainable_blocks=trainable).fit(X, y)
        n = 3 if trainable == "all" else trainable
        counts = {name for name in before if "num_batches" in name}
        moved = changed({k: v for k, v in before.items() if k not in counts}, state(clf))
        rows = {f"block{number}_{row}" for number in range(4 - n, 4) for row in BODY[number]}
        assert moved == rows | {"dense1", "output"}
    assert clf.n_iter_ == 8
    before = state(clf)
    clf.set_params(trainable_blocks=0).fit(X, y)  # and freezes again
    assert changed(before, state(clf)) == {"dense1", "output"}


def test_a_part_can_be_frozen_without_weights_once_it_is_fitted(source):
    clf = CNNClassifier(**SETTINGS, warm_start=True).fit(X, y)
    before = state(clf)
    clf.set_params(trainable_blocks=0).fit(X, y)
    assert changed(before, state(clf)) == {"dense1", "output"}


def test_training_on_carries_moments_to_the_parameters_they_belong_to(source):
    clf = transfer(source, warm_start=True, backbone_lr=None, lr_schedule="constant").fit(X, y)
    names = dict(clf.net_.module_.named_parameters())
    moments = {name: clf.net_.optimizer_.state[p]["exp_avg"].clone() for name, p in names.items()}
    clf.set_params(backbone_lr=1e-12, lr=1e-12, max_epochs=1, batch_size=80).fit(X, y)
    for name, p in clf.net_.module_.named_parameters():
        kept = clf.net_.optimizer_.state[p]
        assert kept["exp_avg"].shape == p.shape
        assert kept["step"] == 2 * 5 + 1, name
        # One more step leaves nine tenths of what was there.
        assert torch.nn.functional.cosine_similarity(kept["exp_avg"].flatten(), moments[name].flatten(), dim=0) > 0.3


def test_partial_fit_trains_the_last_blocks_alone(source):
    clf = transfer(source, trainable_blocks=1)
    clf.partial_fit(X[:40], y[:40], classes=np.unique(y))
    before = state(clf)
    clf.partial_fit(X[40:], y[40:])
    moved = {row for row in changed(before, state(clf)) if row not in ("block3_conv", "block3_norm")}
    assert moved == {"dense1", "output"}
    before, first = state(clf), state(source)
    assert all(
        torch.equal(before[f"layers.block1_{row}.weight"], first[f"layers.block1_{row}.weight"]) for row in BODY[1]
    )


def test_partial_fit_on_a_frozen_body(source):
    clf = transfer(source, trainable_blocks=0)
    for _ in range(20):
        clf.partial_fit(X, y, classes=np.unique(y))
    assert clf.score(X, y) > 0.6
    moved = changed({k: v for k, v in state(source).items() if "output" not in k and "num_b" not in k}, state(clf))
    assert moved == {"dense1"}


# Learning rates.


def distance(one, other, row):
    return float((one[f"layers.{row}.weight"] - other[f"layers.{row}.weight"]).norm())


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop", torch.optim.Adagrad, torch.optim.SGD])
def test_the_rate_of_the_body_scales_its_updates(source, optimizer):
    moved = {}
    for rate in (1e-9, 1e-3):
        clf = transfer(source, optimizer=optimizer, lr=1e-2, backbone_lr=rate, weight_decay=0.0).fit(X, y)
        moved[rate] = distance(state(source), state(clf), "block2_conv")
        assert distance(state(source), state(clf), "dense1") > 1e-3
    assert moved[1e-9] < 1e-5 < 1e-4 < moved[1e-3]


@pytest.mark.parametrize("optimizer", ["adamw", torch.optim.SGD])
def test_the_history_tells_the_rate_of_the_head(source, optimizer):
    clf = transfer(source, optimizer=optimizer, lr=0.02, backbone_lr=0.005, lr_schedule="constant").fit(X, y)
    assert [record["lr"] for record in clf.history_] == [0.02, 0.02]
    rates = {p: group["lr"] for group in clf.net_.optimizer_.param_groups for p in group["params"]}
    for name, p in clf.net_.module_.named_parameters():
        assert rates[p] == (0.005 if "block" in name else 0.02), name


def test_both_rates_follow_the_schedule(source):
    seen = []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            seen.append([group["lr"] for group in self.param_groups])
            super().step()

    transfer(source, optimizer=Watching, lr=0.02, backbone_lr=0.005, lr_schedule="cosine").fit(X, y)
    rates = np.array(seen)
    np.testing.assert_allclose(rates[:, 0], 4 * rates[:, 1])
    assert rates[0, 0] == 0.02 and (np.diff(rates[:, 0]) < 0).all()


def test_weight_decay_spares_biases_and_normalisation_of_both_groups(source):
    clf = transfer(source, backbone_lr=1e-3, weight_decay=0.1).fit(X, y)
    decays = {p: group["weight_decay"] for group in clf.net_.optimizer_.param_groups for p in group["params"]}
    for name, p in clf.net_.module_.named_parameters():
        assert decays[p] == (0.1 if p.ndim > 1 else 0.0), name


@pytest.mark.parametrize("optimizer", ["adamw", torch.optim.Adagrad])
def test_frozen_parameters_are_not_given_to_the_optimiser(source, optimizer):
    clf = transfer(source, optimizer=optimizer, trainable_blocks=1, backbone_lr=1e-3).fit(X, y)
    given = {id(p) for group in clf.net_.optimizer_.param_groups for p in group["params"]}
    frozen = {id(p) for p in clf.net_.module_.parameters() if not p.requires_grad}
    assert frozen and not given & frozen
    transfer(source, optimizer=optimizer, trainable_blocks=0, backbone_lr=1e-3).fit(X, y)


# skorch's callbacks.


def test_skorchs_freezer_freezes(source):
    clf = transfer(source, skorch_callbacks=[Freezer("layers.block1_conv*")]).fit(X, y)
    assert distance(state(source), state(clf), "block1_conv") == 0
    assert distance(state(source), state(clf), "block2_conv") > 0


def test_skorchs_scoring_works_while_features_stand_in_for_images(source):
    scoring = EpochScoring("accuracy", lower_is_better=False, on_train=True, use_caching=False, name="train_acc")
    clf = transfer(source, trainable_blocks=0, max_epochs=6, skorch_callbacks=[scoring]).fit(X, y)
    assert clf.history_[-1]["train_acc"] == pytest.approx(clf.score(X, y))


# What it gains.


def test_digits_that_were_never_seen_are_learnt_from_few_images_by_transfer():
    known = CNNClassifier(random_state=0).fit(IMAGES[OLD], DIGITS.target[OLD])
    extractor = CNNFeatureExtractor(known, layer="block2_relu")
    new_X, new_y = IMAGES[NEW], DIGITS.target[NEW]
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        few = np.concatenate([rng.choice(np.flatnonzero(new_y == digit), 2, replace=False) for digit in range(5, 10)])
        scratch = CNNClassifier(random_state=seed).fit(new_X[few], new_y[few])
        transferred = make_pipeline(extractor, LogisticRegression(max_iter=2000)).fit(new_X[few], new_y[few])
        gains.append(transferred.score(new_X, new_y) - scratch.score(new_X, new_y))
    assert np.mean(gains) > 0.05  # about 0.12


def test_a_feature_extractor_is_a_source_of_weights_too(source):
    extractor = CNNFeatureExtractor(source).fit(X)
    clf = transfer(extractor, trainable_blocks=0).fit(X, y)
    assert distance(state(source), state(clf), "block1_conv") == 0


def one_layer(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.n_values, n_outputs))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"architecture": one_layer, "backbone_lr": 1e-3}, "has no head that is known"),
        ({"trainable_blocks": True}, "'all' or a number"),
        ({"architecture": "resnet18", "weights": "default"}, "below 64 pixels .*torchvision:resnet18"),
        ({"architecture": "inception", "weights": "default"}, "torchvision:googlenet"),
    ],
    ids=["rate of no body", "a bool", "small images", "small images, another name"],
)
def test_what_could_only_go_wrong_is_refused_beforehand(settings, match):
    clf = CNNClassifier(max_epochs=1, random_state=0, **settings)
    with pytest.raises(ValueError, match=match):
        clf.fit(X, y)
    assert not hasattr(clf, "module_")


def test_estimators_that_hold_a_network_say_where_it_is():
    pipe = make_pipeline(ImageNormalizer(), CNNClassifier((4,), max_epochs=1)).fit(X, y)
    search = GridSearchCV(CNNClassifier((4,), max_epochs=1), {"lr": [0.01]}, cv=2).fit(X, y)
    for holder, place in ((pipe, "last step"), (search, "best_estimator_")):
        with pytest.raises(ValueError, match=place):
            CNNClassifier(weights=holder).fit(X, y)
