"""The net that a fit leaves behind as `net_`, and skorch's own methods on it."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor

from sklearn_cnn import CNNClassifier, CNNRegressor

X, y = load_digits().images[:120].astype(np.float32), load_digits().target[:120]
BATCH = X[:, None]
EVEN_AND_LARGE = np.stack([y % 2 == 0, y > 4], axis=1).astype(int)
WEIGHT = np.linspace(0, 2, len(X))
MEAN = np.average(y, weights=WEIGHT)
SCALE = np.average((y - MEAN) ** 2, weights=WEIGHT) ** 0.5
# Estimator, what it is fitted to, what its net is trained on, type of its net.
KINDS = {
    "one label": (CNNClassifier, y, y.astype(np.int64), NeuralNetClassifier),
    "several labels": (CNNClassifier, EVEN_AND_LARGE, EVEN_AND_LARGE.astype(np.float32), NeuralNet),
    "numbers": (CNNRegressor, y, ((y - MEAN) / SCALE)[:, None].astype(np.float32), NeuralNetRegressor),
}


@pytest.mark.parametrize("name", KINDS)
def test_skorchs_own_methods_train_and_score_the_net(name):
    kind, fitted_to, trained_on, net_type = KINDS[name]
    estimator = kind(filters=(4,), max_epochs=2, random_state=0)
    net = estimator.fit(BATCH, fitted_to, WEIGHT, X_val=BATCH, y_val=fitted_to).net_
    assert type(net) is net_type
    outputs = net.forward(BATCH)
    loss = net.get_loss(outputs, torch.from_numpy(trained_on), training=False)
    assert loss.item() == pytest.approx(estimator.validation_loss_curve_[-1], rel=1e-4)
    net.partial_fit(BATCH, trained_on, epochs=1)
    assert len(net.history) == 3
    assert np.isfinite(net.history[-1, "train_loss"])
    assert not torch.equal(net.forward(BATCH), outputs)
