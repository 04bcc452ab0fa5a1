"""CNNClassifier with several labels an image."""

import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, average_precision_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier

DIGITS = load_digits()
X, digit = DIGITS.images[:300].astype(np.float32), DIGITS.target[:300]
Y = np.column_stack([digit % 2 == 0, digit > 4, np.isin(digit, [0, 6, 8, 9])]).astype(int)  # even, large, has a loop
WEIGHTS = np.random.default_rng(0).uniform(0.1, 2, 300)


def small(**parameters):
    settings = {"filters": (6, 12), "hidden_layer_sizes": (16,), "max_epochs": 6, "batch_size": 16, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


def same_weights(one, other):
    one, other = one.module_.state_dict(), other.module_.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_every_label_is_learnt():
    clf = CNNClassifier(random_state=0).fit(X[:200], Y[:200])
    proba = clf.predict_proba(X[200:])
    assert (average_precision_score(Y[200:], proba, average=None) > 0.9).all()
    assert clf.score(X[200:], Y[200:]) > 0.75


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_predictions_have_a_column_for_each_label_and_agree(k, precision):
    clf = small(precision=precision).fit(X, Y[:, :k])
    logits, proba, labels = clf.decision_function(X), clf.predict_proba(X), clf.predict(X)
    assert logits.shape == proba.shape == labels.shape == clf.predict_log_proba(X).shape == (300, k)
    assert labels.dtype == np.int64
    assert clf.classes_.tolist() == list(range(k))
    np.testing.assert_array_equal(labels, logits > 0)
    np.testing.assert_allclose(proba, 1 / (1 + np.exp(-logits.astype(float))))
    np.testing.assert_allclose(clf.predict_log_proba(X), np.log(proba))
    assert clf.score(X, Y[:, :k]) == accuracy_score(Y[:, :k], labels)
    assert clf.score(X, Y[:, :k], WEIGHTS) == accuracy_score(Y[:, :k], labels, sample_weight=WEIGHTS)


@pytest.mark.parametrize(
    "kind", ["bool", "uint8", "float", "lists", "arrays", "frame", "boolean frame", "tensor", "csr", "csc", "coo array"]
)
def test_indicators_of_any_kind_are_taken(kind):
    pd = pytest.importorskip("pandas")
    y = {
        "bool": lambda: Y.astype(bool),
        "uint8": lambda: Y.astype(np.uint8),
        "float": lambda: Y.astype(float),
        "lists": lambda: Y.tolist(),
        "arrays": lambda: list(Y),
        "frame": lambda: pd.DataFrame(Y, columns=["even", "large", "loop"]),
        "boolean frame": lambda: pd.DataFrame(Y).astype("boolean"),
        "tensor": lambda: torch.from_numpy(Y),
        "csr": lambda: scipy.sparse.csr_matrix(Y),
        "csc": lambda: scipy.sparse.csc_matrix(Y.astype(bool)),
        "coo array": lambda: scipy.sparse.coo_array(Y),
    }[kind]()
    clf, expected = small(max_epochs=1).fit(X, y), small(max_epochs=1).fit(X, Y)
    assert same_weights(clf, expected)
    predicted = clf.predict(X)
    np.testing.assert_array_equal(predicted, expected.predict(X))
    if kind not in ("tensor", "arrays", "lists", "boolean frame"):  # which scikit-learn's accuracy does not take
        assert clf.score(X, y) == expected.score(X, Y)


def test_a_column_is_one_label_an_image():
    with pytest.warns(UserWarning, match="column-vector"):
        assert small(max_epochs=1).fit(X, Y[:, :1]).predict_proba(X).shape == (300, 2)


def test_labels_that_all_or_no_images_have_are_learnt():
    clf = small(max_epochs=20).fit(X, np.column_stack([Y[:, 0], np.ones(300), np.zeros(300)]))
    assert clf.predict(X)[:, 1:].mean(axis=0).tolist() == [1, 0]
    for y in (np.zeros((300, 2)), np.ones((300, 2))):
        assert small(max_epochs=1).fit(X, y, WEIGHTS).predict(X).shape == (300, 2)


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (np.column_stack([digit, digit]), "multiclass-multioutput.*indicator matrix"),
        (Y + 1, "indicator matrix of 0 and 1"),
        (np.where(Y == 1, 1, -1), "indicator matrix of 0 and 1"),
        (Y * 0.5, "indicator matrix of 0 and 1"),
        (np.column_stack([digit, digit]) / 3, "continuous-multioutput.*CNNRegressor"),
        (np.where(Y, "yes", "no"), "indicator matrix"),
        (np.where(Y == 1, np.nan, 0), "NaN"),
        (np.where(Y == 1, np.inf, 0), "infinity"),
        (np.where(Y == 1, None, 0), "None"),
        (Y * 1j, "(?i)complex"),
        (scipy.sparse.csr_matrix(Y * 2), "indicator matrix"),
        (scipy.sparse.csr_matrix(Y[:, :1]), "indicator matrix"),
        (Y[:-1], "inconsistent"),
        (np.zeros((300, 0)), "0 labels"),
        (np.zeros((300, 2, 2)), "dim 3|1d array"),
        ([[0], [0, 1]] * 150, "MultiLabelBinarizer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_matrices_that_are_no_indicators_are_refused(target, match):
    clf = small()
    before = dict(vars(clf))
    with pytest.raises(ValueError, match=match):
        clf.fit(X, target)
    assert vars(clf) == before


def test_missing_values_of_pandas_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="NaN or NA"):
        small().fit(X, pd.DataFrame(Y, dtype="boolean").mask(Y == 1))


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 2.0, 2: 1.0}])
def test_weights_of_classes_are_refused(class_weight):
    with pytest.raises(ValueError, match=r"class_weight.*indicator matrix"):
        small(class_weight=class_weight).fit(X, Y)


def test_with_full_batches_in_float64_weights_are_repeated_rows():
    counts = np.random.default_rng(0).integers(0, 4, 60)
    exact = {"precision": "float64", "normalization": None, "dropout": 0.0, "batch_size": 1000}
    one = small(**exact).fit(X[:60], Y[:60], counts)
    other = small(**exact).fit(np.repeat(X[:60], counts, axis=0), np.repeat(Y[:60], counts, axis=0))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_validation_has_the_accuracy_of_all_labels_and_the_plain_loss(weighted):
    w = WEIGHTS[200:] if weighted else None
    clf = small().fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:], sample_weight_val=w)
    assert clf.validation_scores_[-1] == pytest.approx(clf.score(X[200:], Y[200:], w), rel=1e-5)
    assert clf.validation_scores_ == [record["valid_acc"] for record in clf.history_]
    proba = clf.predict_proba(X[200:])
    loss = np.mean([log_loss(Y[200:, i], proba[:, i], sample_weight=w) for i in range(3)])
    assert clf.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-4)


def test_early_stopping_splits_at_random_and_keeps_the_best_epoch():
    parts = []

    class Look(Callback):
        def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
            parts[:] = [dataset_train.indices, dataset_valid.indices]

    clf = small(early_stopping=True, max_epochs=60, n_iter_no_change=3, skorch_callbacks=[Look()]).fit(X, Y)
    assert sorted([*parts[0], *parts[1]]) == list(range(300))
    assert len(parts[1]) == 30
    assert clf.n_iter_ < 60
    best = max(clf.validation_scores_)
    assert clf.validation_scores_[clf.best_epoch_ - 1] == best
    assert clf.score(X[parts[1]], Y[parts[1]]) == pytest.approx(best)


def test_partial_fit_takes_the_numbers_of_the_columns_as_classes():
    clf = small(lr=3e-3)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        clf.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"classes .* is np.arange\(3\)"):
        clf.partial_fit(X, Y, classes=[0, 1])
    for _ in range(8):
        for part in (slice(0, 150), slice(150, 300)):
            clf.partial_fit(X[part], Y[part], classes=np.arange(3))
    clf.partial_fit(X, scipy.sparse.csr_matrix(Y))
    assert clf.n_iter_ == 17
    assert clf.score(X, Y) > 0.7


@pytest.mark.parametrize(
    ("first", "then", "match"),
    [
        (Y, digit, "one label an image, but the network is for an indicator matrix"),
        (digit, Y, "indicator matrix of several labels an image, but the network is for one"),
        (Y, Y[:, :2], "2 labels an image, but the network is for 3"),
    ],
)
def test_training_on_refuses_targets_of_another_kind(first, then, match):
    clf = small(warm_start=True, max_epochs=1).fit(X, first)
    expected = clf.predict(X)
    with pytest.raises(ValueError, match=match):
        clf.fit(X, then)
    with pytest.raises(ValueError, match=match):
        clf.partial_fit(X, then)
    np.testing.assert_array_equal(clf.predict(X), expected)
    assert clf.set_params(warm_start=False).fit(X, then).predict(X).shape == then.shape


def test_warm_start_trains_on():
    clf = small(warm_start=True, max_epochs=2).fit(X, Y)
    loss = clf.loss_curve_[-1]
    assert clf.fit(X, Y).loss_curve_[-1] < loss


def test_a_callback_that_looks_at_batches_changes_nothing_and_the_net_gives_probabilities():
    class LooksAtBatches(Callback):
        def on_batch_end(self, net, **kwargs):
            pass

    alone = small().fit(X, Y, WEIGHTS)
    assert same_weights(alone, small(skorch_callbacks=[LooksAtBatches()]).fit(X, Y, WEIGHTS))
    np.testing.assert_allclose(alone.net_.predict_proba(X[:, None]), alone.predict_proba(X), rtol=1e-4)


def test_a_pickle_predicts_the_same():
    clf = small().fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), clf.predict_proba(X))


def test_a_plan_counts_the_labels():
    assert small().plan(X, Y).output_shape == (3,)
    assert small().plan(X, scipy.sparse.csr_matrix(Y)).output_shape == (3,)


def test_searches_and_predictions_of_folds():
    search = GridSearchCV(small(), {"filters": [(4,), (4, 8)]}, cv=2, error_score="raise").fit(X, Y)
    assert search.predict(X).shape == Y.shape
    for method in ("predict_proba", "decision_function", "predict_log_proba", "predict"):
        assert cross_val_predict(small(), X, Y, cv=2, method=method).shape == Y.shape
    proba = cross_val_predict(small(max_epochs=10), X, Y, cv=3, method="predict_proba")
    assert (average_precision_score(Y, proba, average=None) > 0.8).all()
