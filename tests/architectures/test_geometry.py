"""Output sizes and receptive fields, against what torch computes."""

import ast
import math
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from sklearn_cnn.architectures import _geometry
from sklearn_cnn.architectures._geometry import (
    clipped_pool,
    effective_kernel,
    grow_receptive_field,
    output_size,
    same_padding,
)
from tests.cases import for_every

SIZES = range(1, 13)
WINDOWS = [(kernel, stride, dilation) for kernel in range(1, 6) for stride in (1, 2, 3) for dilation in (1, 2, 3)]


def length_or_zero(operation, *args, **kwargs):
    """Height of what torch computes, 0 where it refuses."""
    try:
        return operation(*args, **kwargs).shape[2]
    except RuntimeError:
        return 0


@for_every(("kernel", "stride", "dilation"), WINDOWS)
def test_output_size_is_that_of_torch_conv2d(kernel, stride, dilation):
    weight = torch.ones(1, 1, kernel, 1)
    for size in SIZES:
        for padding in range(4):
            image = torch.ones(1, 1, size, 1)
            expected = length_or_zero(
                F.conv2d, image, weight, stride=(stride, 1), padding=(padding, 0), dilation=(dilation, 1)
            )
            assert output_size(size, kernel, stride, 2 * padding, dilation) == expected, (size, padding)


@for_every(("kernel", "stride", "dilation"), WINDOWS)
@for_every("sides", [(0, 1), (1, 2), (3, 0)])
def test_output_size_is_that_of_torch_where_the_two_sides_are_padded_unevenly(kernel, stride, dilation, sides):
    weight = torch.ones(1, 1, kernel, 1)
    for size in SIZES:
        image = F.pad(torch.ones(1, 1, size, 1), (0, 0, *sides))
        expected = length_or_zero(F.conv2d, image, weight, stride=(stride, 1), dilation=(dilation, 1))
        assert output_size(size, kernel, stride, sum(sides), dilation) == expected, size


@for_every(("kernel", "stride", "dilation"), WINDOWS)
def test_output_size_is_that_of_torch_max_pool2d(kernel, stride, dilation):
    for size in SIZES:
        for padding in range(kernel // 2 + 1):  # torch takes no more
            image = torch.ones(1, 1, size, 1)
            expected = length_or_zero(F.max_pool2d, image, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
            assert output_size(size, kernel, stride, 2 * padding, dilation) == expected, (size, padding)


@for_every("kernel", range(1, 7))
@for_every("stride", [1, 2, 3, 5])
def test_output_size_is_that_of_torch_avg_pool2d(kernel, stride):
    for size in SIZES:
        for padding in range(kernel // 2 + 1):
            image = torch.ones(1, 1, size, 1)
            expected = length_or_zero(F.avg_pool2d, image, (kernel, 1), (stride, 1), (padding, 0))
            assert output_size(size, kernel, stride, 2 * padding) == expected, (size, padding)


@for_every("kernel", range(1, 9))
@for_every("dilation", range(1, 5))
def test_same_padding_gives_ceil_of_size_over_stride(kernel, dilation):
    padding = sum(same_padding(kernel, dilation))
    for size in range(1, 33):
        for stride in range(1, 6):
            assert output_size(size, kernel, stride, padding, dilation) == math.ceil(size / stride), (size, stride)


@for_every("kernel", range(1, 9))
@for_every("dilation", range(1, 5))
def test_same_padding_is_symmetric_but_for_one_pixel_behind_where_the_total_is_odd(kernel, dilation):
    before, after = same_padding(kernel, dilation)
    assert after - before == (dilation * (kernel - 1)) % 2


@for_every("kernel", range(1, 7))
@for_every("dilation", range(1, 5))
def test_effective_kernel_is_the_smallest_size_that_torch_accepts(kernel, dilation):
    weight = torch.ones(1, 1, kernel, 1)
    accepted = [
        size for size in range(1, 25) if length_or_zero(F.conv2d, torch.ones(1, 1, size, 1), weight, dilation=dilation)
    ]
    assert effective_kernel(kernel, dilation) == accepted[0]


@for_every("size", range(1, 7))
@for_every("window", range(1, 7))
def test_a_clipped_pool_is_the_largest_window_that_torch_accepts(size, window):
    accepted = [k for k in range(1, window + 1) if length_or_zero(F.max_pool2d, torch.ones(1, 1, size, 1), (k, 1))]
    assert clipped_pool(size, window) == accepted[-1]


STACKS = {
    "no window": [],
    "one 1x1": [(1, 1, 1)],
    "one 3x3": [(3, 1, 1)],
    "even kernel": [(4, 1, 1), (2, 1, 1)],
    "three 3x3": [(3, 1, 1)] * 3,
    "stride first": [(3, 2, 1), (3, 1, 1)],
    "stride last": [(3, 1, 1), (3, 2, 1)],
    "strides": [(3, 2, 1), (5, 3, 1), (2, 2, 1)],
    "stride beyond the kernel": [(2, 3, 1), (2, 1, 1)],
    "dilated": [(3, 1, 2), (3, 1, 4)],
    "all at once": [(5, 1, 2), (2, 2, 1), (3, 2, 3), (2, 1, 1)],
}


def seen(image, windows, position):
    """First and last input pixel that changes one output value, and that value's length of the output."""
    image = image.clone().requires_grad_()
    output = image
    for kernel, stride, dilation in windows:
        output = F.conv1d(output, torch.ones(1, 1, kernel), stride=stride, dilation=dilation)
    output[0, 0, position].backward()
    touched = image.grad[0, 0].nonzero().flatten()
    return int(touched[0]), int(touched[-1])


@for_every("windows", STACKS.values())
def test_receptive_field_and_jump_are_what_gradients_reach(windows):
    field, jump = 1, 1
    for kernel, stride, dilation in windows:
        field, jump = grow_receptive_field(field, jump, kernel, stride, dilation)
    image = torch.ones(1, 1, 200)
    (first, last), (first_of_next, _) = seen(image, windows, 3), seen(image, windows, 4)
    assert (field, jump) == (last - first + 1, first_of_next - first)


def test_geometry_imports_the_standard_library_only():
    tree = ast.parse(Path(_geometry.__file__).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("__import__", "import_module"):
            pytest.fail("_geometry imports by a call")
    assert imported <= set(sys.stdlib_module_names)
