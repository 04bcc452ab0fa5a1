"""What a plan says of the cost of an epoch."""

import numpy as np
import pytest
import torch

from sklearn_cnn import CNNClassifier


def test_a_plan_says_what_an_epoch_costs_where_the_number_of_images_is_known():
    X, y = np.zeros((1200, 8, 8)), np.arange(1200) % 3
    clf = CNNClassifier(filters=(4,), hidden_layer_sizes=())
    plan = clf.plan(X, y)
    n = 1200 * plan.n_macs
    line = f"an epoch of 1,200 images: {n:.2g} multiply-adds forwards, {2 * n:.2g} backwards"
    assert line in str(plan).splitlines() and line in plan._repr_html_()
    without = clf.plan(image_shape=(8, 8), n_outputs=3)
    assert plan == without and "an epoch" not in str(without)
    frozen = clf.set_params(trainable_blocks=0).plan(X, y)
    assert frozen.cost.endswith(
        f"{2 * 1200 * plan.layers[-1].n_macs:.2g} backwards; without an augmenter frozen layers run in the first alone"
    )


@pytest.mark.parametrize("settings", [{}, {"trainable_blocks": 0}, {"precision": "float64"}], ids=str)
def test_seconds_of_an_epoch_are_measured_when_asked(settings):
    X, y = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 3
    clf = CNNClassifier(filters=(4,), max_epochs=1, random_state=0, **settings)
    before = torch.get_rng_state()
    plan = clf.plan(X, y, measure=True)
    assert plan.seconds > 0 and " s, measured on a few batches" in str(plan)
    assert torch.equal(torch.get_rng_state(), before) and not hasattr(clf, "module_")
    with pytest.raises(ValueError, match="measure=True needs images: pass X"):
        clf.plan(image_shape=(8, 8), n_outputs=3, measure=True)
