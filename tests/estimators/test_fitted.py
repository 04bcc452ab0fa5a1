"""What a fit gives, how an estimator takes it over, and what a later fit goes on from."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, save_model
from sklearn_cnn.estimators import _base, _feature_extractor
from sklearn_cnn.estimators._fitted import NOT_IN_EVERY_FIT, Fitted, take_over

X, y = load_digits().images[:80], load_digits().target[:80]
FRAME = pd.DataFrame(X.reshape(80, 64), columns=[f"p{i}" for i in range(64)])
SETTINGS = {"filters": (4,), "hidden_layer_sizes": (8,), "max_epochs": 1, "random_state": 0}


def small(kind=CNNClassifier, **settings):
    return kind(**{**SETTINGS, **settings})


EXTRACTOR = CNNFeatureExtractor(small().fit(FRAME, y))


@pytest.mark.parametrize(
    "estimator", [small(), small(CNNRegressor), EXTRACTOR], ids=["classifier", "regressor", "extractor"]
)
def test_a_fit_on_an_array_forgets_the_columns_of_an_earlier_frame(estimator):
    estimator.fit(FRAME, y)
    assert list(estimator.feature_names_in_) == list(FRAME)
    estimator.fit(FRAME.to_numpy(), y)
    assert not hasattr(estimator, "feature_names_in_")
    estimator.fit(X, y)
    assert estimator.image_shape_.sample_shape == (8, 8)


def test_labels_after_an_indicator_matrix_leave_nothing_of_it():
    clf = small().fit(X, np.c_[y > 4, y % 2])
    assert clf.task_.name == "multilabel"
    once = small().fit(X, y)
    assert sorted(vars(clf.fit(X, y))) == sorted(vars(once))
    assert clf.task_.name == "multiclass"


@pytest.mark.parametrize("kind", [CNNClassifier, CNNRegressor])
def test_nothing_is_set_before_the_end_of_a_fit(kind, monkeypatch):
    estimator, seen = small(kind), []

    def look(estimator, attributes):
        seen.append(sorted(name for name in vars(estimator) if name.endswith("_")))
        take_over(estimator, attributes)
        assert set(attributes) <= set(vars(estimator))

    monkeypatch.setattr(_base, "take_over", look)
    estimator.fit(X, y)
    assert seen == [[]]


def test_an_extractor_sets_nothing_before_the_end_of_its_fit(monkeypatch):
    extractor = CNNFeatureExtractor(EXTRACTOR.architecture)
    monkeypatch.setattr(_feature_extractor, "take_over", lambda *_: None)
    before = dict(vars(extractor))
    extractor.fit(X)
    assert vars(extractor) == before


def test_what_others_keep_on_an_estimator_stays():
    clf = small()
    clf.note, clf._secret, clf.threshold_ = "mine", 3, 0.5
    clf.fit(X, y).fit(X, y).partial_fit(X, y)
    assert (clf.note, clf._secret, clf.threshold_) == ("mine", 3, 0.5)


class WithOwnNames(CNNClassifier):
    def __init__(self, lambda_=3, estimator=None):
        self.lambda_, self.estimator = lambda_, estimator
        super().__init__(**SETTINGS)


def test_parameters_of_a_subclass_may_have_any_name():
    clf = WithOwnNames(lambda_=5).fit(X, y)
    assert clf.fit(X, y).get_params() == {"lambda_": 5, "estimator": None}


def test_attributes_of_which_a_fit_sets_some_and_another_does_not_are_known():
    fits = [
        set(Fitted.of(estimator).attributes())
        for estimator in (
            small().fit(FRAME, y),
            small().fit(X, np.c_[y > 4, y % 2]),
            small(CNNRegressor).fit(X, y),
            pickle.loads(pickle.dumps(small().fit(X, y))),
        )
    ]
    assert set.union(*fits) - set.intersection(*fits) == NOT_IN_EVERY_FIT


@pytest.mark.parametrize("way", ["warm_start", "partial_fit"])
@pytest.mark.parametrize("kind", [CNNClassifier, CNNRegressor])
def test_the_range_of_pixels_is_that_of_all_calls(kind, way):
    estimator = small(kind, warm_start=True)
    go_on = estimator.fit if way == "warm_start" else estimator.partial_fit
    estimator.fit(X, y)
    assert estimator.pixel_range_ == (0, 16)
    go_on(X[:, ::-1] * 0.75 + 1, y)
    assert estimator.pixel_range_ == (0, 16)
    go_on(X + 5, y)
    assert estimator.pixel_range_ == (0, 21)


def test_calls_whose_pixels_are_on_another_scale_give_a_warning_that_names_the_line():
    clf = small().partial_fit(X / 16, y, classes=np.arange(10))
    with pytest.warns(
        UserWarning, match=r"from 0 to 16, but those that the network was trained on went from 0 to 1;"
    ) as c:
        clf.partial_fit(X, y)
    assert [warning.filename for warning in c] == [__file__]
    assert clf.pixel_range_ == (0, 16)


def test_the_result_of_a_fit_is_frozen_and_is_found_again_on_the_estimator():
    clf = small(early_stopping=True).fit(FRAME, y)
    fitted = Fitted.of(clf)
    assert fitted.attributes() == {name: value for name, value in vars(clf).items() if name.endswith("_")}
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.batch_size = 1


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kernel_size": 5}, "kernel_size=5"),
        ({"filters": (8,), "pooling": "avg"}, r"filters=\(8,\), pooling='avg'"),
        ({"hidden_layer_sizes": []}, r"hidden_layer_sizes=\[\]"),
        ({"pool_stride": np.array([1])}, r"pool_stride=array\(\[1\]\)"),
        ({"hidden_layer_sizes": np.array([[128, 3]])}, r"hidden_layer_sizes=array\(\[\[128,   3\]\]\)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("architecture", ["lenet5", lambda shape, n_outputs: None], ids=["named", "callable"])
def test_settings_of_the_blocks_beside_an_architecture_are_refused(settings, named, architecture):
    images = X.repeat(2, 1).repeat(2, 2)
    clf = CNNClassifier(architecture=architecture, **settings)
    for call in (lambda: clf.fit(images, y), lambda: clf.plan(images, y)):
        with pytest.raises(ValueError, match=f"{named} beside architecture=.*do nothing"):
            call()
    assert not hasattr(clf, "module_")


def test_settings_of_the_blocks_at_their_defaults_in_another_form_are_none():
    clf = CNNClassifier(architecture="lenet5", kernel_size=[3], stride=(1,), max_epochs=1)
    clf.fit(X.repeat(2, 1).repeat(2, 2), y)
    assert clf.plan_.note.startswith("lenet5")


class Wide(CNNClassifier):
    def __init__(self, kernel_size, filters=(4, 8), *, architecture=None):
        super().__init__(filters, kernel_size=kernel_size, architecture=architecture, max_epochs=1)


def test_defaults_of_a_subclass_are_not_settings_of_the_user():
    images = X.repeat(2, 1).repeat(2, 2)
    assert Wide(3, architecture="lenet5").plan(images, y).note.startswith("lenet5")
    with pytest.raises(ValueError, match=r"^kernel_size=5 beside architecture='lenet5'"):
        Wide(5, architecture="lenet5").plan(images, y)


def test_a_plan_takes_targets_of_one_class():
    assert small().plan(X, np.zeros(80)).output_shape == (1,)


@pytest.mark.parametrize(
    ("kind", "attribute"),
    [(CNNClassifier, "classes_"), (CNNRegressor, "target_mean_"), (CNNRegressor, "target_scale_")],
)
def test_what_was_changed_after_a_fit_is_not_saved_as_something_else(kind, attribute, tmp_path):
    estimator = small(kind).fit(X, y)
    setattr(estimator, attribute, getattr(estimator, attribute) + 1)
    with pytest.raises(ValueError, match=f"{attribute} was changed after fit"):
        save_model(estimator, tmp_path / "model")


def test_weights_may_leave_one_class_where_more_images_can_follow():
    only_zeros = (y == 0).astype(float)
    clf = small().partial_fit(X, y, classes=np.arange(10), sample_weight=only_zeros)
    assert clf.partial_fit(X, y, sample_weight=only_zeros).n_iter_ == 2
    with pytest.raises(ValueError, match="fewer than 2 classes"):
        small().fit(X, y, sample_weight=only_zeros)
