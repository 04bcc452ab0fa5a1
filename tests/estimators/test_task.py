"""What classifier and regressor differ in, as values."""

import numpy as np
import pytest
import torch

from sklearn_cnn.estimators._sample import Sample
from sklearn_cnn.estimators._task import Indicators, Labels, Numbers, first_labels, first_numbers

LABELS = np.array(["b", "a", "c", "a"])
MATRIX = np.array([[0, 1], [1, 1], [0, 0], [1, 0]])


def sample(targets, weights=None):
    return Sample(None, targets, None if weights is None else np.asarray(weights, float), np.arange(len(targets)))


def test_labels_are_read_into_places_among_the_sorted_classes_and_back():
    task, targets = first_labels(LABELS)
    assert isinstance(task, Labels) and task.classes.tolist() == ["a", "b", "c"] and task.n_outputs == 3
    assert targets.tolist() == [1, 0, 2, 0] == task.read(LABELS).tolist()
    assert task.decode(np.eye(3)[targets]).tolist() == LABELS.tolist()
    assert list(task.attributes()) == ["classes_"]


def test_a_matrix_is_read_as_indicators_and_decoded_by_the_sign_of_each_output():
    task, targets = first_labels(MATRIX)
    assert task == Indicators(2)
    np.testing.assert_array_equal(targets, MATRIX)
    np.testing.assert_array_equal(task.decode(targets - 0.5), MATRIX)
    assert task.attributes()["classes_"].tolist() == [0, 1]


def test_numbers_are_encoded_by_the_statistics_of_the_training_targets_and_decoded_again():
    task, targets = first_numbers([1.0, 3.0, 5.0])
    task = task.learned(sample(targets, [1, 1, 0]))
    assert (task.mean.tolist(), task.scale.tolist()) == ([2.0], [1.0])
    encoded, held_out = task.encoded((sample(targets), None), "float32")
    assert encoded.targets.ravel().tolist() == [-1.0, 1.0, 3.0] and held_out is None
    assert task.decode(encoded.targets).tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize(
    ("task", "y", "message"),
    [
        (Labels(np.array(["a", "b"])), ["a", "z"], "not among the classes.*z"),
        (Labels(np.array(["a", "b"])), MATRIX, "an indicator matrix of several labels an image, but"),
        (Indicators(2), LABELS, "one label an image, but"),
        (Indicators(3), MATRIX, "2 labels an image, but the network is for 3"),
        (Numbers(2), [1.0, 2.0], "1 numbers an image, but the network is for 2"),
    ],
)
def test_targets_of_another_kind_than_those_of_the_first_fit_are_refused(task, y, message):
    with pytest.raises(ValueError, match=message):
        task.read(y)


def test_class_weights_make_new_samples_and_leave_the_old():
    task, targets = first_labels(LABELS)
    before = sample(targets, [1, 2, 3, 4])
    after, held_out = task.weighed((before, sample(targets)), {"a": 2, "b": 0.5, "c": 1}, complete=True)
    assert after.weights.tolist() == [0.5, 4, 3, 8] and held_out.weights.tolist() == [0.5, 2, 1, 2]
    assert before.weights.tolist() == [1, 2, 3, 4]
    balanced, _ = task.weighed((sample(targets), None), "balanced", complete=True)
    assert np.bincount(targets, weights=balanced.weights).tolist() == pytest.approx([4 / 3] * 3)


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "right"),
    [
        (Labels(np.arange(3)), [[3, 1, 2], [0, 1, 5], [1, 0, 0]], [0, 1, 0], [1, 0, 1]),
        (Indicators(2), [[1, -1], [1, 1], [-1, -1]], [[1, 0], [1, 0], [0, 0]], [1, 0, 1]),
    ],
)
def test_scores_are_weighted_shares_of_the_images_that_are_right(task, outputs, targets, right):
    outputs, targets = torch.tensor(outputs, dtype=torch.float32), torch.tensor(targets)
    assert task.score(outputs, targets, None) == pytest.approx(np.mean(right))
    weights = [1.0, 5.0, 2.0]
    assert task.score(outputs, targets, torch.tensor(weights)) == pytest.approx(np.average(right, weights=weights))
