"""Memory of a device."""

import pytest
import torch

from sklearn_cnn._memory import free_bytes, is_out_of_memory


def test_memory_that_torch_keeps_for_later_is_free(monkeypatch):
    figures = {"mem_get_info": (1000, 5000), "memory_reserved": 700, "memory_allocated": 400}
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert free_bytes(torch.device("cuda")) == 1300
    assert free_bytes(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("another"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_errors_of_allocators_are_told_from_others(error, expected):
    assert is_out_of_memory(error) == expected
