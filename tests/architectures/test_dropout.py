"""Dropout whose masks follow from seed, step and row."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch

from sklearn_cnn.architectures._dropout import SeededDropout, _share

DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def dropout(p=0.5, seed=0):
    made = SeededDropout(p)
    made.reseed(seed)
    return made


@pytest.mark.parametrize("p", [0.1, 0.25, 1 / 3, 0.5, 0.9])
def test_it_drops_the_expected_share_and_scales_the_rest(p):
    out = dropout(p)(torch.ones(200_000))
    kept = out[out != 0]
    assert 1 - len(kept) / len(out) == pytest.approx(p, abs=0.005)
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=0.01, atol=0)


@pytest.mark.parametrize("p", [1e-12, 1e-6, 0.001, 0.1, 0.25, 1 / 3, 0.5, 0.9, 0.999, 1 - 1e-6, 1 - 1e-12])
def test_the_expected_value_is_kept_for_every_share(p):
    share = _share(p)
    bounds = torch.iinfo(share.dtype)
    assert share.kept == (bounds.max + 1 - share.bound) / 2**bounds.bits  # the share of integers that are no less
    assert share.kept == pytest.approx(1 - p, rel=0.01, abs=2**-32)
    assert 1 - share.kept == pytest.approx(p, rel=0.01, abs=2**-32)


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
def test_shares_of_whole_256ths_are_exact(p):
    out = dropout(p)(torch.ones(1000, dtype=torch.float64))
    assert set(out.tolist()) == {0, 1 / (1 - p)}


def test_a_thousandth_is_dropped_where_256ths_would_drop_nothing():
    out = dropout(0.001)(torch.ones(1_000_000))
    assert 900 < (out == 0).sum() < 1100


def test_nothing_is_dropped_for_a_share_of_zero():
    x = torch.rand(1000)
    assert torch.equal(dropout(0.0)(x), x)


def test_it_is_the_identity_in_evaluation():
    x, drop = torch.rand(50), dropout().eval()
    assert drop(x) is x
    assert drop.step == 0


def test_masks_follow_from_the_seed_and_the_step():
    drop, x = dropout(seed=7), torch.ones(1000)
    masks = [drop(x) for _ in range(4)]
    assert all(not torch.equal(one, other) for one, other in pairwise(masks))
    drop.reseed(7)
    assert all(torch.equal(drop(x), mask) for mask in masks)
    drop.reseed(7)
    drop.step = 2
    assert torch.equal(drop(x), masks[2])
    assert not torch.equal(dropout(seed=8)(x), masks[0])


def test_a_mask_does_not_follow_from_the_sizes_of_the_batches_before():
    one, other, x = dropout(), dropout(), torch.ones(8, 3)
    one(torch.ones(100, 3))
    other(torch.ones(5, 7, 2, 2))
    assert torch.equal(one(x), other(x))


LAYOUTS = {
    "vectors": torch.ones(12, 30),
    "maps": torch.ones(12, 5, 4, 3),
    "channels last": torch.ones(12, 5, 4, 3).contiguous(memory_format=torch.channels_last),
    "strided": torch.ones(12, 60)[:, ::2],
    "of a transposed": torch.ones(30, 12).T,
}


@pytest.mark.parametrize("p", [0.5, 0.1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_rows_of_a_batch_can_be_taken_from_the_mask_of_a_larger_one(layout, p):
    """Values are drawn row by row, so that of several processes each could have a part of a batch."""
    x = LAYOUTS[layout]
    whole, part = dropout(p)(x), dropout(p)(x[:7])
    assert torch.equal(part, whole[:7])
    assert 0 < (whole == 0).sum() < whole.numel()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_in_memory_is_kept(layout):
    x = LAYOUTS[layout]
    assert dropout()(x).stride() == torch.mul(x, 1).stride()


def test_values_and_steps_are_dropped_independently():
    n = 100_000
    drop = dropout()
    masks = torch.stack([drop(torch.ones(n)) for _ in range(16)]) - 1  # of -1 and 1
    products = masks @ masks.T / n - torch.eye(16)
    assert products.abs().max() < 6 / n**0.5
    for lag in range(1, 17):  # values that are cut from one random integer
        assert (masks[0, lag:] * masks[0, :-lag]).mean().abs() < 6 / n**0.5


def test_the_global_generator_is_neither_used_nor_changed():
    x = torch.ones(1000)
    torch.manual_seed(0)
    before = torch.get_rng_state().clone()
    first = dropout()(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(dropout()(x), first)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))], ids=["deepcopy", "pickle"]
)
def test_a_copy_goes_on_where_the_original_stands(copied):
    drop, x = dropout(0.3, seed=11), torch.ones(1000)
    drop(x)
    twin = copied(drop)
    assert (twin.p, twin.seed, twin.step, twin.training) == (0.3, 11, 1, True)
    assert torch.equal(twin(x), drop(x))


@pytest.mark.parametrize("p", [0.5, 0.1, 1e-6], ids=["8 bits", "16 bits", "32 bits"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_dtype_is_kept_and_gradients_go_through_what_was_kept(dtype, p):
    x = torch.ones(100, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = dropout(p)(x)
    out.sum().backward()
    assert out.dtype == dtype
    assert torch.equal(x.grad, out.detach())


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_all_dtypes_have_one_mask(p):
    masks = [dropout(p)(torch.ones(500, dtype=dtype)) != 0 for dtype in DTYPES]
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])
