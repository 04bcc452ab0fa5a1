"""Every named network learns to read with the settings that nobody changed."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from sklearn_cnn import CNNClassifier, list_architectures

N_TRAINING = 1200


@pytest.fixture(scope="module")
def digits():
    """The 8×8 digits as images of 28×28 pixels; 1,200 to train on, the other 597 to test on."""
    loaded = load_digits()
    small = torch.from_numpy(loaded.images[:, None]).float()
    large = F.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)[:, 0].numpy()
    return large, loaded.target


@pytest.mark.slow
@pytest.mark.parametrize("architecture", list_architectures())
def test_a_named_network_reads_digits(architecture, digits):
    X, y = digits
    clf = CNNClassifier(architecture=architecture, max_epochs=8, random_state=0)
    clf.fit(X[:N_TRAINING], y[:N_TRAINING])
    assert clf.score(X[N_TRAINING:], y[N_TRAINING:]) >= 0.95
