"""Estimators in files of skops, which loads only types that the reader trusts by name."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skops import io

from sklearn_cnn import (
    CNNClassifier,
    CNNFeatureExtractor,
    CNNRegressor,
    ImageAugmenter,
    ImageNormalizer,
    ImageReader,
)

DIGITS = load_digits()
X, y = DIGITS.images[:40].astype(np.uint8), DIGITS.target[:40] % 3
SMALL = {"filters": (2,), "hidden_layer_sizes": (3,), "max_epochs": 1, "random_state": 0}


def small(**parameters):
    return CNNClassifier(**{**SMALL, **parameters}).fit(X, y)


FITTED = {
    "whole numbers": small,
    "strings": lambda: CNNClassifier(**SMALL).fit(X, np.array(["cat", "dog", "emu"])[y]),
    "objects": lambda: CNNClassifier(**SMALL).fit(X, np.array(["cat", "dog", "emu"], dtype=object)[y]),
    "several labels": lambda: CNNClassifier(**SMALL).fit(X, np.eye(3, dtype=int)[y]),
    "early stopping": lambda: small(early_stopping=True, precision="float64", augmenter=ImageAugmenter(rotation=5)),
    "regressor": lambda: CNNRegressor(**SMALL).fit(X, y.astype(float)),
    "extractor": lambda: CNNFeatureExtractor(small()).fit(X),
    "normalizer": lambda: ImageNormalizer(per="pixel").fit(X),
    "augmenter": lambda: ImageAugmenter(rotation=5).fit(X),
    "reader": lambda: ImageReader(mode="L").fit(X),
    "pipeline": lambda: make_pipeline(
        ImageReader(mode="L"),
        ImageAugmenter(shift=0.1),
        ImageNormalizer(),
        CNNFeatureExtractor(small()),
        LogisticRegression(),
    ).fit(X, y),
}


@pytest.mark.parametrize("name", FITTED)
def test_only_our_own_classes_have_to_be_trusted(name):
    fitted = FITTED[name]()
    content = io.dumps(fitted)
    types = io.get_untrusted_types(data=content)
    assert types and all(known.startswith("sklearn_cnn.") for known in types), types
    loaded = io.loads(content, trusted=types)
    methods = [method for method in ("predict", "predict_proba", "transform") if hasattr(fitted, method)]
    assert methods
    for method in methods:
        np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(fitted, method)(X), strict=True)
