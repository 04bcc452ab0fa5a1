"""Public docstrings: numpydoc's rules, and defaults that agree with the signatures."""

import inspect
import re

import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import sklearn_cnn
import sklearn_cnn.inspection
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.exceptions import ModelFileError, NonFiniteLossError
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource

PUBLIC = [getattr(sklearn_cnn, name) for name in sklearn_cnn.__all__]
ESTIMATORS = [name for name in sklearn_cnn.__all__ if inspect.isclass(getattr(sklearn_cnn, name))]
INSPECTION = [getattr(sklearn_cnn.inspection, name) for name in sklearn_cnn.inspection.__all__]
CLASSES = [
    *PUBLIC,
    *INSPECTION,
    Plan,
    Layer,
    ImageShape,
    ImageSource,
    ModelFileError,
    NonFiniteLossError,
]

# GL01, GL02, GL03: where the text begins and ends. ES01, SA01, EX01: sections not every object needs.
# SS06: a summary may take two lines. RT01: properties. PR01: the parameters of a dataclass are its
# attributes. GL08: methods that scikit-learn generates.
LEFT_OUT = {"GL01", "GL02", "GL03", "ES01", "SA01", "EX01", "SS06", "PR01", "RT01", "RT03", "PR09", "GL08", "SS05"}


def public_objects():
    for cls in CLASSES:
        name = f"{cls.__module__}.{cls.__qualname__}"
        yield name
        for member, value in inspect.getmembers(cls):
            defined_here = (getattr(value, "__module__", None) or "").startswith("sklearn_cnn")
            if not member.startswith("_") and inspect.isfunction(value) and defined_here:
                yield f"{name}.{member}"


@pytest.mark.parametrize("name", list(public_objects()))
def test_docstrings_follow_numpydoc(name):
    errors = [error for error in validate(name)["errors"] if error[0] not in LEFT_OUT]
    assert not errors


@pytest.mark.parametrize("name", sklearn_cnn.__all__)
def test_every_parameter_is_described_in_order_with_its_default(name):
    cls = getattr(sklearn_cnn, name)
    described = {entry.name: entry.type for entry in NumpyDocString(inspect.getdoc(cls))["Parameters"]}
    signature = inspect.signature(cls).parameters
    assert list(described) == list(signature)
    for parameter in signature.values():
        written = re.search(r"default=(.+)$", described[parameter.name])
        if parameter.default is inspect.Parameter.empty:
            assert not written, f"{parameter.name} has a default in the docstring alone"
            continue
        assert written, f"{parameter.name} has no default in the docstring"
        assert eval(written.group(1)) == parameter.default, parameter.name


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_fitted_attribute_is_described(name):
    from sklearn.datasets import load_digits

    digits = load_digits()
    estimator = getattr(sklearn_cnn, name)()
    if "max_epochs" in estimator.get_params():
        estimator.set_params(max_epochs=1)
    if name == "CNNFeatureExtractor":
        estimator.set_params(weights="random")  # others are fetched
    images = digits.images[:40].astype(np.uint8) if name == "ImageReader" else digits.images[:40]
    fitted = estimator.fit(images, digits.target[:40])
    described = {entry.name for entry in NumpyDocString(inspect.getdoc(type(fitted)))["Attributes"]}
    there = {attribute for attribute in vars(fitted) if attribute.endswith("_") and not attribute.startswith("_")}
    assert there == described - {"feature_names_in_"}


# What both estimators have is described once and copied; these depend on the kind of target.
DESCRIBED_APART = {"dropout", "augmenter", "early_stopping", "tol", "hidden_layer_sizes", "global_pooling"}


def test_both_estimators_describe_their_common_parameters_in_the_same_words():
    described = [
        {entry.name: entry.desc for entry in NumpyDocString(inspect.getdoc(cls))["Parameters"]}
        for cls in (sklearn_cnn.CNNClassifier, sklearn_cnn.CNNRegressor)
    ]
    common = set(described[0]) & set(described[1])
    assert {name for name in common if described[0][name] != described[1][name]} == DESCRIBED_APART
