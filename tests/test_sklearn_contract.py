"""scikit-learn's own checks, and how many of them ran."""

import os
import subprocess
import sys
from functools import partial

import pytest
import sklearn
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

from sklearn_cnn import CNNClassifier

# With default settings rows and weights cannot be exchanged: batches are drawn from other rows, and
# statistics of a batch know no weights. scikit-learn expects this check to fail for 31 of its own estimators.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "batches, their statistics and dropout differ between the two"
}


def default_classifier():
    return CNNClassifier(random_state=0)


def exact_classifier():
    """A classifier whose result is a smooth function of weights and rows alone."""
    return CNNClassifier(
        precision="float64",
        normalization=None,
        dropout=0.0,
        hidden_layer_sizes=(),
        batch_size=10_000,
        random_state=0,
    )


def expected_failures(estimator):
    return EXPECTED_FAILURES if estimator.normalization is not None else {}


# An expected failure that passes is an error: xfail_strict of the pytest configuration.
@parametrize_with_checks([default_classifier(), exact_classifier()], expected_failed_checks=expected_failures)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"), reason="older versions have fewer checks"
)
def test_as_many_checks_ran_as_a_classifier_with_weights_has():
    assert len(list(estimator_checks_generator(default_classifier()))) == 63


UNYIELDED = [
    estimator_checks.check_dataframe_column_names_consistency,
    estimator_checks.check_param_validation,
]


@pytest.mark.parametrize("check", UNYIELDED, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", [default_classifier, exact_classifier])
def test_checks_that_check_estimator_does_not_yield(make, check):
    partial(check, "CNNClassifier")(make())


WITH_ARRAY_API = """
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn_cnn import CNNClassifier
for estimator, check in estimator_checks_generator(CNNClassifier(random_state=0)):
    if "array_api" in str(check):
        check(estimator)
        print("ran")
"""


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
    assert done.stdout.strip() == "ran"
