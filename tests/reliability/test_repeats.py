"""The same network again: by its seed, in a search, and by a copy. The numbers are those of the reliability table."""

import contextlib
import copy
import hashlib
import io
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import sklearn_cnn
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageAugmenter, ImageNormalizer, ImageReader

DIGITS = load_digits()
X, y = DIGITS.images[:80].astype(np.uint8), DIGITS.target[:80] % 3
SETTINGS = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 2, "batch_size": 16, "random_state": 0}


def digest(estimator):
    values = estimator.module_.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


# Row 27.

SEEDED = """
import hashlib
import torch
from sklearn.datasets import load_digits
from sklearn_cnn import CNNClassifier, CNNRegressor, ImageAugmenter
X, y = load_digits().images[:80], load_digits().target[:80]
rich = {"random_state": 3, "early_stopping": True, "augmenter": ImageAugmenter(rotation=10, noise=0.5)}
for n_threads, estimator in (
    (1, CNNClassifier(max_epochs=2, random_state=3)),
    (1, CNNClassifier(max_epochs=2, precision="bfloat16", **rich)),
    (1, CNNRegressor(max_epochs=2, **rich)),
    (2, CNNClassifier((64, 64), max_epochs=1, batch_size=64, **rich)),  # large enough to use both
):
    torch.set_num_threads(n_threads)
    weights = estimator.fit(X, y).module_.state_dict().values()
    print(hashlib.sha256(b"".join(value.numpy().tobytes() for value in weights)).hexdigest())
"""


@pytest.mark.reliability(27)
@pytest.mark.parametrize("n_processes", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_a_seed_gives_the_same_bits_in_every_process(n_processes):
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(SEEDED, {})
    torch.set_num_threads(1)
    environment = {**os.environ, "PYTHONPATH": str(Path(sklearn_cnn.__file__).parents[1])}
    command = [sys.executable, "-c", SEEDED]
    runs = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(n_processes)
    ]
    digests = here.getvalue().split()
    assert [run.stdout.split() for run in runs] == [digests] * n_processes
    assert len(set(digests)) == 4


# Row 28.


@pytest.mark.reliability(28)
@pytest.mark.parametrize("n_threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_job_or_two_find_the_same_with_pinned_threads(n_threads, monkeypatch):
    grid = {"kernel_size": [1, 3], "filters": [(4,), (8,)]}
    searches = []
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for n_jobs in (1, 2):
            with joblib.parallel_config("loky", inner_max_num_threads=n_threads):
                search = GridSearchCV(CNNClassifier(**{**SETTINGS, "dropout": 0.3}), grid, cv=2, n_jobs=n_jobs)
                searches.append(search.fit(X, y))
    finally:
        torch.set_num_threads(before)
    one, two = searches
    assert one.cv_results_["params"] == two.cv_results_["params"]
    for name in one.cv_results_:
        if "score" in name and "time" not in name:
            np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name], err_msg=name)
    assert digest(one.best_estimator_) == digest(two.best_estimator_)


# Row 39.


def classifier(**parameters):
    return CNNClassifier(**{**SETTINGS, **parameters})


SEVERAL = np.eye(3, dtype=int)[y]
KINDS = {
    "classifier": (classifier(early_stopping=True), y),
    "several labels": (classifier(), SEVERAL),
    "regressor": (CNNRegressor(**SETTINGS), SEVERAL.astype(float)),
    "bfloat16": (classifier(precision="bfloat16"), y),
    "float64": (classifier(precision="float64"), y),
    "features": (CNNFeatureExtractor(FrozenEstimator(classifier().fit(X, y))), None),
    "normaliser": (ImageNormalizer(per="pixel"), None),
    "augmenter": (ImageAugmenter(rotation=10), None),
    "reader": (ImageReader(size=4), None),
    "pipeline": (make_pipeline(ImageAugmenter(noise=1.0, random_state=0), ImageNormalizer(), classifier()), y),
}


@pytest.fixture(scope="module", params=KINDS)
def fitted(request):
    estimator, target = KINDS[request.param]
    return clone(estimator).fit(X, target)


def answers(estimator):
    names = ("predict", "predict_proba", "transform")
    return [getattr(estimator, name)(X) for name in names if hasattr(estimator, name)]


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.reliability(39)
@pytest.mark.parametrize(
    "duplicated",
    [lambda estimator: pickle.loads(pickle.dumps(estimator)), by_joblib, copy.deepcopy, copy.copy],
    ids=["pickle", "joblib", "deepcopy", "copy"],
)
def test_a_copy_of_a_fitted_estimator_answers_the_same(duplicated, fitted):
    expected = answers(fitted)
    duplicate = duplicated(fitted)
    for answer, own in zip(answers(duplicate), expected, strict=True):
        np.testing.assert_array_equal(answer, own)
    assert not hasattr(duplicate, "net_")
    if hasattr(duplicate, "module_"):  # a network of its own
        with torch.no_grad():
            next(duplicate.module_.parameters()).zero_()
        for answer, own in zip(answers(fitted), expected, strict=True):
            np.testing.assert_array_equal(answer, own)


@pytest.mark.reliability(39)
@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_is_not_fitted_and_fits_to_the_same(kind):
    estimator, target = KINDS[kind]
    fitted = clone(estimator).fit(X, target)
    twin = clone(fitted)
    assert not [name for name in vars(twin) if name.endswith("_")]
    for answer, own in zip(answers(twin.fit(X, target)), answers(fitted), strict=True):
        np.testing.assert_array_equal(answer, own)


@pytest.mark.reliability(39)
def test_a_pickle_names_nothing_of_torch_or_skorch(fitted):
    """So none of it is a tensor, on whatever device."""
    # Protocol 2 writes the name of every class and function as one opcode.
    opcodes = pickletools.genops(pickle.dumps(fitted, protocol=2))
    modules = {argument.split(".")[0] for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}
    assert "sklearn_cnn" in modules
    assert not modules & {"torch", "skorch"}
