"""Neither training nor prediction holds a second copy of the images. Row 24 of the reliability table."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")

BEGIN = """
import resource, sys
import numpy as np
import torch
torch.set_num_threads(1)
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

n = int(sys.argv[1])
settings = {"stride": 8, "hidden_layer_sizes": (), "max_epochs": 1, "batch_size": 500, "random_state": 0}
"""

FIT = """
X = np.random.default_rng(0).integers(0, 256, (n, 64, 64), dtype=np.uint8)
y = np.arange(len(X)) % 2
clf = CNNClassifier((2,), **settings)
clf.fit(X[:1000], y[:1000]).predict(X[:1000])  # what the libraries take at their first use
before = peak()
clf.fit(X, y)
after_fit = peak()
clf.predict(X)
print(before, after_fit, peak())
"""


def run(script, n_images):
    """Peaks of a process, in MB."""
    command = [sys.executable, "-c", BEGIN + script, str(n_images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(map(int, done.stdout.split()))


@pytest.mark.reliability(24)
def test_neither_fit_nor_predict_copies_images_of_bytes():
    n_images = 50_000
    before, after_fit, after_predict = run(FIT, n_images)
    size = n_images * 64 * 64 / 2**20
    # Measured: 45 MB each for 20,000 as for 320,000 images.
    assert after_fit - before < size / 2, f"{after_fit - before} MB for {size:.0f} MB of images"
    assert after_predict - after_fit < size / 2


PREDICT = """
few = np.random.default_rng(0).random((1000, 64, 64), dtype=np.float32)
clf = CNNClassifier((4,), **settings).fit(few, np.arange(1000) % 2)
reg = CNNRegressor((4,), **settings).fit(few, np.arange(1000) % 2)
of_features = CNNFeatureExtractor(clf).fit(few)

def run(method, n):
    method(np.broadcast_to(few[0], (n, 64, 64)))  # takes nothing, however many they are
    return peak()

methods = clf.predict, reg.predict, of_features.transform
print(max(run(method, n) for method in methods), *(run(method, 5 * n) for method in methods))
"""


@pytest.mark.reliability(24)
def test_the_memory_of_a_prediction_does_not_grow_with_the_number_of_images():
    few, classes, numbers, features = run(PREDICT, 4_096)  # the largest batch
    # Four times as many images more would be 256 MB in float32.
    assert max(classes, numbers, features) - few < 100, f"{few} MB, and {classes}, {numbers}, {features} MB for more"
