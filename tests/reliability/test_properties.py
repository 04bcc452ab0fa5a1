"""What holds for any images and parameters, on examples that hypothesis draws: few by default, many in `make fuzz`."""

import re
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from sklearn_cnn import CNNClassifier, ImageAugmenter, ImageNormalizer, load_model, save_model
from sklearn_cnn.estimators import _fit
from sklearn_cnn.inspection import feature_maps
from tests.reliability.draws import WRONG, augmentations, images, labels, parameters

PARAMETERS = set(CNNClassifier().get_params())
WRONG_VALUES = st.sampled_from([{name: value} for name, values in WRONG.items() for value in values])


@st.composite
def fits(draw):
    """A classifier that has been told what X is, X, and y."""
    n = draw(st.integers(1, 9))
    given = draw(images(n))
    return CNNClassifier(**{"random_state": 0, **draw(parameters()), **given.said}), given.X, draw(labels(n))


@pytest.fixture(scope="module", autouse=True)
def trainings():
    """Grows with every training that begins."""
    begun = []
    with pytest.MonkeyPatch.context() as patched:
        train = _fit.train
        patched.setattr(_fit, "train", lambda *args, **kwargs: (begun.append(1), train(*args, **kwargs))[1])
        yield begun


def refusal(estimator, X, y, trainings):
    """The message of a fit that fails, or None; nothing may have been trained, and nothing be left behind."""
    before, trained_before = dict(vars(estimator)), len(trainings)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".* classes have one sample, which stays in training", UserWarning)
            estimator.fit(X, y)
    except (TypeError, ValueError, OSError) as error:
        assert len(trainings) == trained_before
        assert vars(estimator).keys() == before.keys()
        assert all(vars(estimator)[name] is value for name, value in before.items())
        return str(error)
    assert len(trainings) == trained_before + 1
    return None


def test_any_settings_train_and_predict_or_are_refused_by_name(trainings):
    ended = Counter()

    @given(drawn=fits(), wrong=st.just({}) | st.just({}) | WRONG_VALUES)
    def check(drawn, wrong):
        clf, X, y = drawn
        message = refusal(clf.set_params(**wrong), X, y, trainings)
        ended["trained" if message is None else "refused"] += 1
        if message is not None:
            assert (PARAMETERS | {"X", "y"}) & set(re.findall(r"\w+", message)), message
            return
        assert not wrong
        predicted, probability = clf.predict(X), clf.predict_proba(X)
        assert probability.shape == (len(X), len(clf.classes_)) and np.isfinite(probability).all()
        if np.ndim(y) == 2:
            assert predicted.shape == np.shape(y) and set(np.unique(predicted)) <= {0, 1}
        else:
            assert predicted.shape == (len(X),) and set(predicted) <= set(clf.classes_) == set(y)
            np.testing.assert_allclose(probability.sum(axis=1), 1)
        assert clf.plan(X, y) == clf.plan_
        maps = feature_maps(clf, X)
        assert {name: found.shape[1:] for name, found in maps.items()} == {
            row.name: row.output_shape for row in clf.plan_.layers
        }

    check()
    assert min(ended["trained"], ended["refused"]) > ended.total() / 10, ended


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_by_its_name(name, trainings):
    for value in WRONG[name]:
        clf = CNNClassifier(**{"filters": (2, 2), "max_epochs": 1, "random_state": 0, name: value})
        message = refusal(clf, np.eye(6).reshape(6, 3, 2), [0, 1] * 3, trainings)
        assert message is not None and re.search(rf"\b{name}\b", message), (value, message)


@given(drawn=fits())
def test_a_saved_classifier_predicts_the_same_bits(drawn, trainings, tmp_path_factory):
    clf, X, y = drawn
    if refusal(clf, X, y, trainings) is not None:
        reject()
    path = tmp_path_factory.getbasetemp() / "saved"
    save_model(clf, path)
    loaded = load_model(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X), strict=True)
    np.testing.assert_array_equal(loaded.predict(X), clf.predict(X), strict=True)
    assert loaded.plan_ == clf.plan_ and loaded.image_shape_ == clf.image_shape_


def read_as(dtype):
    """The dtype of which an estimator sees images of a dtype."""
    kept = {"bool": "uint8", **dict.fromkeys(("uint8", "float32", "float64"), dtype.newbyteorder("=").name)}
    return np.dtype(kept.get(dtype.name, "float32" if dtype.itemsize < 4 else "float64"))


@given(images=images(wild=True), settings=augmentations())
def test_an_augmenter_transforms_nothing_and_draws_the_same_again(images, settings):
    X = images.X
    augmenter = ImageAugmenter(**settings, **images.said).fit(X)
    kept = np.asarray(augmenter.transform(X))
    np.testing.assert_array_equal(kept, X.astype(read_as(X.dtype)), strict=True)
    drawn, again = (np.asarray(augmenter.fit_transform(X)) for _ in range(2))
    np.testing.assert_array_equal(drawn, again, strict=True)
    assert (drawn.shape, drawn.dtype) == (kept.shape, kept.dtype)
    assert np.isfinite(drawn).all()
    variants = augmenter.sample(X, 2)
    assert (variants.shape, variants.dtype) == ((len(X), 2, *X.shape[1:]), kept.dtype)


@given(
    images=images(wild=True),
    method=st.sampled_from(["standardize", "minmax"]),
    per=st.sampled_from(["channel", "pixel", "image", "all"]),
)
def test_a_normalizer_has_a_way_back(images, method, per):
    X, kept = images.X, images.X.astype(float)
    normalizer = ImageNormalizer(method, per=per, **images.said).fit(X)
    changed = normalizer.transform(X)
    is_float64 = X.dtype == np.float64
    assert changed.shape == X.shape and changed.dtype == (np.float64 if is_float64 else np.float32)
    assert np.isfinite(changed).all()
    if method == "minmax":
        assert changed.min() >= -1e-6 and changed.max() <= 1 + 1e-6
    if per != "image":
        back = normalizer.inverse_transform(changed)
        assert back.shape == X.shape and back.dtype == changed.dtype
        np.testing.assert_allclose(back, kept, rtol=0, atol=np.abs(kept).max() * (1e-14 if is_float64 else 1e-6))
