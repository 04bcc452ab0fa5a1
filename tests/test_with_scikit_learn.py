"""With scikit-learn's own tools, on rows, grey images and images with channels."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the import below possible
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import EpochTimer, Freezer

from sklearn_cnn import CNNClassifier, CNNRegressor

DIGITS = load_digits()
IMAGES, y = DIGITS.images[:200].astype(np.float32), np.array(list("abcdefghij"))[DIGITS.target[:200]]
FORMS = {"2-D": IMAGES.reshape(200, 64), "3-D": IMAGES, "4-D": IMAGES[..., None]}


@pytest.fixture(params=["4-D", *(pytest.param(form, marks=pytest.mark.slow) for form in ("2-D", "3-D"))], name="X")
def images(request):
    return FORMS[request.param]


def small(**parameters):
    settings = {"filters": (8, 16), "hidden_layer_sizes": (16,), "max_epochs": 6, "batch_size": 16, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


def test_parameters_come_back_through_clone_set_and_get():
    given = {
        "filters": [8, 16],
        "kernel_size": [(1, 5)],
        "pooling": ("max", None),
        "skorch_callbacks": [EpochTimer(), ("frozen", Freezer("layers.output.*"))],
    }
    clf = small(**given)
    for name, value in given.items():
        assert clf.get_params()[name] is value
    duplicate = clone(clf)
    assert duplicate.get_params()["kernel_size"] == [(1, 5)]
    duplicate.set_params(filters=(4, 4), max_epochs=1).fit(IMAGES, y)
    assert clf.filters == [8, 16]


def test_cross_validation(X):
    scores = cross_val_score(small(), X, y, cv=3)
    assert scores.mean() > 0.7
    assert set(cross_val_predict(small(), X, y, cv=3)) <= set(y)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_the_convolution_settings(X, n_jobs):
    grid = [
        {"filters": [(4,), (4, 8)], "kernel_size": [3, 5]},
        {"kernel_size": [2], "stride": [1, 2], "padding": ["same", "valid"], "pooling": ["max", "avg", None]},
    ]
    search = GridSearchCV(small(max_epochs=2), grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 16
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(X).shape == y.shape


def test_halving_search_with_epochs_as_resource(X):
    search = HalvingGridSearchCV(
        small(),
        {"kernel_size": [1, 3, 5]},
        resource="max_epochs",
        min_resources=1,
        max_resources=9,
        factor=3,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(X, y)
    assert search.n_resources_ == [1, 3]
    assert search.best_estimator_.max_epochs == 3
    assert search.best_estimator_.n_iter_ == 3


def test_pipelines(X):
    scaled = make_pipeline(FunctionTransformer(lambda images: images / 16), small())
    assert scaled.fit(X, y).score(X, y) > 0.8
    search = GridSearchCV(scaled, {"cnnclassifier__pooling": ["max", "avg"]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["cnnclassifier__pooling"] in ("max", "avg")


def test_a_scaler_of_columns_before_rows():
    pipe = make_pipeline(StandardScaler(), small(image_shape=(8, 8)))
    assert pipe.fit(FORMS["2-D"], y).score(FORMS["2-D"], y) > 0.8


@pytest.mark.parametrize("voting", [pytest.param("hard", marks=pytest.mark.slow), "soft"])
def test_voting(X, voting):
    members = [("one", small(random_state=0)), ("two", small(random_state=1, pooling="avg"))]
    assert VotingClassifier(members, voting=voting).fit(X, y).score(X, y) > 0.8


def test_stacking(X):
    members = [("one", small(random_state=0)), ("two", small(random_state=1, kernel_size=1))]
    stack = StackingClassifier(members, LogisticRegression(max_iter=1000), cv=2)
    assert stack.fit(X, y).score(X, y) > 0.7


@pytest.mark.parametrize("method", ["sigmoid", pytest.param("isotonic", marks=pytest.mark.slow)])
def test_calibration(X, method):
    calibrated = CalibratedClassifierCV(small(), method=method, cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, y) > 0.7


def test_learning_curve(X):
    sizes, train, test = learning_curve(small(), X, y, train_sizes=[0.5, 1.0], cv=2, error_score="raise")
    assert sizes.tolist() == [50, 100]
    assert train.shape == test.shape == (2, 2)


def test_learning_curve_with_partial_fit():
    _, _, test = learning_curve(
        small(lr=3e-3), IMAGES, y, train_sizes=[0.5, 1.0], cv=2, exploit_incremental_learning=True, error_score="raise"
    )
    assert np.isfinite(test).all()


def test_boosting_by_sample_weights(X):
    boosted = AdaBoostClassifier(small(), n_estimators=3, random_state=0).fit(X, y)
    assert boosted.score(X, y) > 0.7


def test_bagging_of_rows():
    bagged = BaggingClassifier(small(image_shape=(8, 8)), n_estimators=2, random_state=0).fit(FORMS["2-D"], y)
    assert bagged.score(FORMS["2-D"], y) > 0.7


def test_one_against_the_rest(X):
    thirds = DIGITS.target[:200] % 3
    assert OneVsRestClassifier(small(max_epochs=10)).fit(X, thirds).score(X, thirds) > 0.7


REGRESSOR = CNNRegressor((8, 16), hidden_layer_sizes=(16,), max_epochs=6, image_shape=(8, 8), random_state=0)


@pytest.mark.parametrize(
    "ensemble",
    [
        VotingRegressor([("one", REGRESSOR)]),
        StackingRegressor([("one", REGRESSOR)], Ridge(), cv=2),
        AdaBoostRegressor(REGRESSOR, n_estimators=2, random_state=0),
        MultiOutputRegressor(REGRESSOR),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
@pytest.mark.parametrize("form", [pytest.param("2-D", marks=pytest.mark.slow), "3-D"])
def test_ensembles_of_regressors(ensemble, form):
    halves = np.stack([IMAGES[:, :4].mean(axis=(1, 2)), IMAGES[:, 4:].mean(axis=(1, 2))], axis=1)
    target = halves if isinstance(ensemble, MultiOutputRegressor) else halves.sum(axis=1)
    assert ensemble.fit(FORMS[form], target).score(FORMS[form], target) > 0.5


def test_bagging_of_regressors_takes_rows():
    ink = FORMS["2-D"].mean(axis=1)
    bagged = BaggingRegressor(REGRESSOR, n_estimators=2, random_state=0).fit(FORMS["2-D"], ink)
    assert bagged.score(FORMS["2-D"], ink) > 0.5


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_sample_weights_are_routed(X):
    weights = np.where(y == "a", 0.0, 1.0)
    clf = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    kept = y != "a"
    folds = cross_validate(clf, X, y, cv=KFold(2), params={"sample_weight": weights}, return_estimator=True)
    for fitted in folds["estimator"]:
        assert (fitted.predict(X[kept]) == "a").sum() == 0
    search = GridSearchCV(clf, {"kernel_size": [1, 3]}, cv=2, error_score="raise").fit(X, y, sample_weight=weights)
    assert (search.predict(X[kept]) == "a").sum() == 0


@pytest.mark.usefixtures("routing")
def test_validation_images_go_through_the_steps_of_a_pipeline():
    X_train, X_val, y_train, y_val = train_test_split(IMAGES, y, random_state=0)
    scale = FunctionTransformer(lambda images: images / 16)
    clf = small().set_fit_request(X_val=True, y_val=True)
    pipe = make_pipeline(scale, clf)
    pipe.set_params(transform_input=["X_val"])
    pipe.fit(X_train, y_train, X_val=X_val, y_val=y_val)
    assert pipe[-1].validation_scores_[-1] == pytest.approx(pipe.score(X_val, y_val))


def test_numbered_labels_and_rows_of_a_frame():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(FORMS["2-D"], columns=[f"pixel{i}" for i in range(64)])
    clf = small().fit(frame, pd.Series(y, dtype="category"))
    assert clf.score(frame, y) > 0.8
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(frame.rename(columns={"pixel0": "other"}))
