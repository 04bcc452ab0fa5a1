"""scikit-learn's own checks, and how many of them ran. The numbers are those of the reliability table."""

import os
import subprocess
import sys
from functools import partial

import pytest
import sklearn
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageAugmenter, ImageNormalizer

# With default settings rows and weights cannot be exchanged: batches are drawn from other rows, and
# statistics of a batch know no weights. scikit-learn expects this check to fail for 31 of its own estimators.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "batches, their statistics and dropout differ between the two"
}


def default_classifier():
    return CNNClassifier(random_state=0)


def default_regressor():
    return CNNRegressor(random_state=0)


# With these settings the result is a smooth function of weights and rows alone.
EXACT = {
    "precision": "float64",
    "normalization": None,
    "dropout": 0.0,
    "hidden_layer_sizes": (),
    "batch_size": 10_000,
    "random_state": 0,
}


def exact_classifier():
    return CNNClassifier(**EXACT)


def exact_regressor():
    return CNNRegressor(**EXACT, lr=0.1, max_epochs=20)  # a full batch is one step, and R² must pass 0.5


# Only training images are augmented: fit_transform differs from fit().transform() on purpose.
AUGMENTED = "fit_transform is for training images, transform for all others"
EXPECTED_FAILURES_OF_AN_AUGMENTER = {
    "check_transformer_general": AUGMENTED,
    "check_transformer_data_not_an_array": AUGMENTED,
}

NETWORKS = [default_classifier(), exact_classifier(), default_regressor(), exact_regressor()]
AUGMENTING = ImageAugmenter(rotation=20, shift=0.2, noise=0.1, random_state=0)
# Each method and each `per` once; what the others compute has tests of its own.
NORMALIZERS = [
    ImageNormalizer(method, per=per)
    for method, per in [("standardize", "channel"), ("minmax", "pixel"), ("standardize", "image"), ("minmax", "all")]
]
EXTRACTOR = CNNFeatureExtractor(weights="random", random_state=0)
TRANSFORMERS = [*NORMALIZERS, ImageAugmenter(), AUGMENTING, EXTRACTOR]


def expected_failures(estimator):
    if isinstance(estimator, ImageAugmenter):
        return EXPECTED_FAILURES_OF_AN_AUGMENTER if estimator.rotation else {}
    return EXPECTED_FAILURES if getattr(estimator, "normalization", None) is not None else {}


# An expected failure that passes is an error: xfail_strict of the pytest configuration.
@pytest.mark.reliability(1)
@parametrize_with_checks([*NETWORKS, *TRANSFORMERS], expected_failed_checks=expected_failures)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.reliability(1)
@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"), reason="older versions have fewer checks"
)
@pytest.mark.parametrize(
    ("estimator", "n_checks"),
    [
        *((network, 68 if isinstance(network, CNNClassifier) else 60) for network in NETWORKS),
        *((transformer, 47) for transformer in TRANSFORMERS),
    ],
    ids=repr,
)
def test_as_many_checks_ran_as_there_are_for_its_kind(estimator, n_checks):
    assert len(list(estimator_checks_generator(estimator))) == n_checks


@pytest.mark.reliability(1)
def test_no_check_but_one_may_fail_and_none_with_exact_settings():
    assert len(EXPECTED_FAILURES) == 1
    assert [len(expected_failures(network)) for network in NETWORKS] == [1, 0, 1, 0]
    augmented = {AUGMENTING: 2}  # an augmenter that augments does at fit_transform what it is for
    assert [len(expected_failures(t)) for t in TRANSFORMERS] == [augmented.get(t, 0) for t in TRANSFORMERS]


UNYIELDED = [
    estimator_checks.check_dataframe_column_names_consistency,
    estimator_checks.check_param_validation,
]
UNYIELDED_OF_TRANSFORMERS = [
    estimator_checks.check_transformer_get_feature_names_out,
    estimator_checks.check_transformer_get_feature_names_out_pandas,
    estimator_checks.check_set_output_transform,
    estimator_checks.check_set_output_transform_pandas,
    estimator_checks.check_set_output_transform_polars,
    estimator_checks.check_global_output_transform_pandas,
    estimator_checks.check_global_set_output_transform_polars,
]


@pytest.mark.reliability(2)
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        *((estimator, check) for estimator in [*NETWORKS, *TRANSFORMERS] for check in UNYIELDED),
        *((estimator, check) for estimator in TRANSFORMERS for check in UNYIELDED_OF_TRANSFORMERS),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
@pytest.mark.filterwarnings("ignore:X (does not have|has) .*feature names")  # some fit on frames, then give arrays
def test_checks_that_check_estimator_does_not_yield(estimator, check):
    if estimator is AUGMENTING and "output_transform" in check.__name__:
        pytest.skip("these checks compare fit_transform with fit().transform(), which differ on purpose")
    partial(check, type(estimator).__name__)(clone(estimator))


WITH_ARRAY_API = """
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageAugmenter, ImageNormalizer
networks = [CNNClassifier(random_state=0), CNNRegressor(random_state=0)]
networks.append(CNNFeatureExtractor(weights="random", random_state=0))
for estimator in [*networks, ImageNormalizer(), ImageAugmenter(), ImageAugmenter(rotation=20)]:
    for estimator, check in estimator_checks_generator(estimator):
        if "array_api" in str(check):
            check(estimator)
            print("ran", end=" ")
"""


@pytest.mark.reliability(2)
@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"), reason="older versions have fewer checks"
)
def test_the_check_that_is_skipped_without_scipys_array_api_passes_with_it():
    done = subprocess.run(
        [sys.executable, "-c", WITH_ARRAY_API],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["ran"] * 6
