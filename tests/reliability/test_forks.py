"""Children that were forked after the parent had computed with several threads. Row 26 of the reliability table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_cnn

PARENT = """
import multiprocessing, os, sys, threading, warnings
import joblib
import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, ImageAugmenter, ImageNormalizer
from sklearn_cnn._random import global_draws
from sklearn_cnn.inspection import feature_maps, saliency

warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of every fork of a process with threads
torch.set_num_threads(3)
X = np.random.default_rng(0).random((300, 16, 16), dtype=np.float32)
y = np.arange(300) % 2

def fit(size):
    filters = {"small": (4,), "large": (64, 64)}[size]
    return CNNClassifier(filters, max_epochs=1, batch_size=16, dropout=0.2, random_state=0).fit(X, y)

parent = fit("large")
parent.predict(X)

def child(size):
    assert torch.get_num_threads() == 1
    with global_draws(0):
        torch.rand(1)
    clf = fit(size)
    clf.partial_fit(ImageNormalizer(per="pixel").fit_transform(X), y)
    clf.predict(X)
    for estimator in (clf, parent):
        estimator.predict(X)
        saliency(estimator, X[:50])
        feature_maps(estimator, X[:50])
        CNNFeatureExtractor(estimator).fit(X).transform(X)
    np.asarray(ImageAugmenter(rotation=10, noise=1.0).fit_transform(X))
    # Threads that the child begins have the same number.
    thread = threading.Thread(target=parent.predict, args=(X,))
    thread.start()
    thread.join()

def forked(size):
    pid = os.fork()
    if pid == 0:
        child(size)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def by_os_fork():
    assert forked("small") == 0
    assert forked("large") == 0

def by_multiprocessing():
    process = multiprocessing.get_context("fork").Process(target=child, args=("large",))
    process.start()
    process.join()
    assert process.exitcode == 0

def by_joblib():
    with joblib.parallel_config("multiprocessing"):
        grid = {"filters": [parent.filters, (4,)]}
        search = GridSearchCV(parent, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    search.predict(X)

def while_another_thread_draws():
    begun = threading.Event()
    def draw():
        with global_draws(0):
            begun.set()
            threading.Event().wait(0.5)
    thread = threading.Thread(target=draw)
    thread.start()
    begun.wait()
    assert forked("small") == 0
    thread.join()

for way in (by_os_fork, by_multiprocessing, by_joblib, while_another_thread_draws):
    way()
    assert torch.get_num_threads() == 3
    print(way.__name__, flush=True)
parent.predict(X)
print("done")
"""


@pytest.mark.reliability(26)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_that_was_forked_after_threads_fits_and_predicts():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": str(Path(sklearn_cnn.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)  # its children too
    ways = ["by_os_fork", "by_multiprocessing", "by_joblib", "while_another_thread_draws"]
    assert output.splitlines() == [*ways, "done"]
