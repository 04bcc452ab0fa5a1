"""What a notebook shows of estimators: scikit-learn's own picture, with the plan folded into that of fitted ones."""

import html
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageAugmenter, ImageNormalizer
from sklearn_cnn.architectures._catalog import CatalogNet

X, y = load_digits().images[:60].astype(np.float32), load_digits().target[:60]
SETTINGS = {"filters": (4,), "hidden_layer_sizes": (), "max_epochs": 1, "random_state": 0}
WITH_PICTURE = hasattr(BaseEstimator, "_get_params_html")  # scikit-learn 1.7 and later; before, plain text


def classifier(**settings):
    return CNNClassifier(**SETTINGS, **settings)


FITTED = {
    "classifier": lambda: classifier().fit(X, y),
    "with an augmenter": lambda: classifier(augmenter=ImageAugmenter(rotation=5)).fit(X, y),
    "regressor": lambda: CNNRegressor(**SETTINGS).fit(X, y * 1.0),
    "extractor": lambda: CNNFeatureExtractor("lenet5", weights="random").fit(X.repeat(4, 1).repeat(4, 2)),
    "pipeline": lambda: make_pipeline(ImageNormalizer(), classifier()).fit(X, y),
    "first of a pipeline": lambda: make_pipeline(
        CNNFeatureExtractor(FrozenEstimator(classifier().fit(X, y))), LogisticRegression(max_iter=1000)
    ).fit(X, y),
    "search": lambda: GridSearchCV(classifier(), {"dropout": [0.0]}, cv=2).fit(X, y),
    "search of pipelines": lambda: GridSearchCV(
        make_pipeline(ImageNormalizer(), classifier()), {"cnnclassifier__dropout": [0.0]}, cv=2
    ).fit(X, y),
}


class Page(HTMLParser):
    """The words of a page, those in elements that are folded, and whether each element was closed in its turn."""

    EMPTY = {"input", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.folded, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.words.append(data)
        if any(tag == "details" and "open" not in attrs for tag, attrs in self.open):
            self.folded.append(data)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED.keys())
def test_the_plan_of_a_fitted_estimator_is_folded_into_its_picture(make):
    estimator = make()
    inner = getattr(estimator, "best_estimator_", estimator)
    inner = next((step for _, step in getattr(inner, "steps", []) if hasattr(step, "plan_")), inner)
    for text in (
        estimator_html_repr(estimator),
        estimator._repr_html_(),
        estimator._repr_mimebundle_()["text/html"],
    ):
        page = Page(text)
        assert f"Plan: {inner.plan_.title}" in page.words
        if WITH_PICTURE:
            assert inner.plan_._repr_html_() in text
            assert f"Plan: {inner.plan_.title}" in page.folded
        else:
            assert html.escape(str(inner.plan_)) in text
        for name in estimator.get_params(deep=False):
            assert name in text or not WITH_PICTURE


@pytest.mark.parametrize(
    "estimator",
    [CNNClassifier(), CNNRegressor(), CNNFeatureExtractor(), CNNClassifier(augmenter=ImageAugmenter(rotation=5))],
    ids=["classifier", "regressor", "extractor", "with an augmenter"],
)
def test_before_fit_there_is_no_plan(estimator):
    for shown in (estimator, make_pipeline(estimator)):
        text = estimator_html_repr(shown)
        assert "Plan:" not in text and "<svg" not in text and "multiply-adds" not in text
    assert not hasattr(estimator, "_sk_visual_block_")


def test_what_scikit_learn_shows_stays():
    clf = classifier(augmenter=ImageAugmenter(rotation=5)).fit(X, y)
    words = Page(estimator_html_repr(clf)).words
    assert "CNNClassifier" in words
    assert "augmenter: ImageAugmenter" in words and "ImageAugmenter" in words
    pipe = make_pipeline(ImageNormalizer(), classifier()).fit(X, y)
    assert {"Pipeline", "ImageNormalizer"} <= set(Page(estimator_html_repr(pipe)).words)


def test_text_stays_text():
    clf = classifier().fit(X, y)
    with config_context(display="text"):
        assert not hasattr(clf, "_repr_html_")
        assert list(clf._repr_mimebundle_()) == ["text/plain"]
    assert "plan" not in repr(clf).lower()
    assert "plan" not in str(make_pipeline(clf)).lower()


def test_text_of_a_plan_is_escaped():
    clf = classifier().fit(X, y)
    row = clf.plan_.layers[1]
    object.__setattr__(row, "name", "<script>alert('1')</script>")
    text = estimator_html_repr(clf)
    assert "<script>alert" not in text and html.escape("<script>alert('1')</script>") in text


def test_looking_changes_nothing_and_neither_builds_nor_runs_a_network(monkeypatch):
    clf = classifier().fit(X, y)
    clf.plan_ = CatalogNet("vgg16").plan((3, 224, 224), 10)
    before = dict(vars(clf))
    state = {name: value.clone() for name, value in clf.module_.state_dict().items()}
    for name in ("__init__", "__call__", "state_dict"):
        monkeypatch.setattr(torch.nn.Module, name, None)
    estimator_html_repr(clf)
    monkeypatch.undo()
    assert vars(clf) == before
    assert all((value == state[name]).all() for name, value in clf.module_.state_dict().items())
