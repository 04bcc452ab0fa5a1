"""Every named network learns to read with the settings that nobody changed."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

from sklearn_cnn import CNNClassifier, list_architectures


@pytest.fixture(scope="module")
def digits():
    """Digits of 28×28 pixels: 3,000 of MNIST where that names a folder with its idx files, else 8×8 ones enlarged."""
    folder = os.environ.get("MNIST")
    if folder:
        images = np.frombuffer((Path(folder) / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
        labels = np.frombuffer((Path(folder) / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
        return train_test_split(
            images.reshape(-1, 28, 28), labels, train_size=3000, test_size=1000, stratify=labels, random_state=0
        )
    loaded = load_digits()
    small = torch.from_numpy(loaded.images[:, None]).float()
    large = F.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)[:, 0].numpy()
    return train_test_split(large, loaded.target, train_size=1200, stratify=loaded.target, random_state=0)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", list_architectures())
def test_a_named_network_reads_digits(architecture, digits):
    X_train, X_test, y_train, y_test = digits
    clf = CNNClassifier(architecture=architecture, max_epochs=8, random_state=0)
    assert clf.fit(X_train, y_train).score(X_test, y_test) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "side", "least"), [("timm:test_vit", 160, 0.6), ("timm:test_nfnet", 64, 0.9)])
def test_a_backbone_without_batch_normalization_learns_from_random_weights(architecture, side, least):
    pytest.importorskip("timm", reason="the extra 'pretrained' brings it")
    loaded = load_digits()
    images = loaded.images.astype(np.uint8).repeat(side // 8, axis=1).repeat(side // 8, axis=2)
    X_train, X_test, y_train, y_test = train_test_split(
        images, loaded.target, train_size=1000, stratify=loaded.target, random_state=0
    )
    clf = CNNClassifier(architecture=architecture, max_epochs=6, random_state=0).fit(X_train, y_train)
    assert clf.score(X_test, y_test) >= least
