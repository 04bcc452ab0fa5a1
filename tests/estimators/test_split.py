"""Holding out a validation part."""

import warnings

import numpy as np
import pytest

from sklearn_cnn.estimators._split import random_split, stratified_split
from tests.cases import for_every


def labels(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@for_every("counts", [(50, 50), (90, 10), (5, 5, 5), (2, 2), (100, 3, 7, 2), (2, 300)])
@for_every("fraction", [0.1, 0.25, 0.5, 0.9])
@for_every("seed", range(3))
def test_both_parts_make_the_whole_and_every_class_stays_in_training(counts, fraction, seed):
    targets = labels(*counts)
    train, valid = stratified_split(targets, fraction, seed)
    assert sorted([*train, *valid]) == list(range(len(targets)))
    assert set(targets[train]) == set(targets)
    wanted = max(1, round(fraction * len(targets)))
    assert len(valid) == min(wanted, len(targets) - len(counts))


def test_shares_of_the_classes_are_kept():
    targets = labels(600, 300, 100)
    _, valid = stratified_split(targets, 0.1, 0)
    np.testing.assert_array_equal(np.bincount(targets[valid]), [60, 30, 10])


def test_a_seed_repeats_the_split_and_another_gives_another():
    targets = labels(50, 50)
    splits = [stratified_split(targets, 0.2, seed)[1].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_small_classes_are_not_always_passed_over():
    targets = labels(*[5] * 10)
    drawn = np.concatenate([targets[stratified_split(targets, 0.1, seed)[1]] for seed in range(60)])
    assert set(drawn) == set(range(10))


@pytest.mark.parametrize("count", range(1, 6))
def test_a_class_of_one_sample_stays_in_training_with_one_warning(count):
    targets = labels(30, count)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train, _ = stratified_split(targets, 0.4, 0)
    assert len(caught) == (count == 1)
    assert 1 in targets[train]


def test_missing_codes_are_no_classes():
    train, valid = stratified_split(np.array([0, 0, 3, 3, 3]), 0.4, 0)
    assert len(train) == 3
    assert len(valid) == 2


@pytest.mark.parametrize("n", range(1, 11))
def test_classes_of_one_sample_each_cannot_be_split(n):
    with pytest.raises(ValueError, match="too few to split"):
        stratified_split(np.arange(n), 0.1, 0)


@pytest.mark.parametrize("n", [3, 10, 99, 1000])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("least", [1, 2])
def test_a_random_split_shares_all_rows_out(n, fraction, least):
    train, valid = random_split(n, fraction, 0, least=least)
    assert sorted([*train, *valid]) == list(range(n))
    assert len(valid) == min(max(least, round(fraction * n)), n - 1)
    assert sorted(train) == train.tolist() and sorted(valid) == valid.tolist()


def test_a_seed_repeats_a_random_split_and_every_row_can_be_held_out():
    splits = [random_split(20, 0.2, seed, least=1)[1].tolist() for seed in (0, 0, *range(60))]
    assert splits[0] == splits[1] != splits[3]
    assert {row for split in splits for row in split} == set(range(20))


@pytest.mark.parametrize(("n", "least"), [(1, 1), (1, 2), (2, 2)])
def test_too_few_rows_cannot_be_split_at_random(n, least):
    with pytest.raises(ValueError, match="too few to split"):
        random_split(n, 0.5, 0, least=least)
