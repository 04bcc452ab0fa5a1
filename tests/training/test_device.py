"""Devices, precision and seeds."""

import pytest
import torch

from sklearn_cnn._random import generator
from sklearn_cnn.training import _device
from sklearn_cnn.training._device import (
    BFLOAT16_FROM_MACS,
    available_devices,
    has_native_bfloat16,
    resolve_device,
    resolve_precision,
)

CPU = torch.device("cpu")


def test_auto_takes_the_fastest_device_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    assert available_devices() == ["cuda", "mps", "cpu"]


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cuda:0", "", "cpu:1", torch.device("meta")])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device=.* is not there; this machine has 'cpu'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_a_device_is_named_or_given(device):
    assert resolve_device(device) == CPU


@pytest.mark.parametrize(
    ("precision", "native", "n_macs", "expected"),
    [
        ("auto", True, BFLOAT16_FROM_MACS, "bfloat16"),
        ("auto", True, BFLOAT16_FROM_MACS - 1, "float32"),
        ("auto", False, BFLOAT16_FROM_MACS, "float32"),
        ("float32", True, BFLOAT16_FROM_MACS, "float32"),
        ("bfloat16", False, 1, "bfloat16"),
        ("float64", True, 1, "float64"),
    ],
)
def test_precision_follows_the_hardware_and_the_size_of_the_network(monkeypatch, precision, native, n_macs, expected):
    monkeypatch.setattr(_device, "has_native_bfloat16", lambda device: native)
    assert resolve_precision(precision, CPU, n_macs) == expected


def test_float64_is_refused_where_the_device_lacks_it():
    with pytest.raises(ValueError, match=r"'mps'; it has 'float32'"):
        resolve_precision("float64", torch.device("mps"), 1)


@pytest.mark.parametrize("flag", [True, False])
def test_native_bfloat16_is_read_from_the_flags_of_the_processor(monkeypatch, flag):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: flag, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert has_native_bfloat16(CPU) is flag
    assert not has_native_bfloat16(torch.device("mps"))


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_native_bfloat16_of_a_gpu_is_read_from_its_capability(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_native_bfloat16(torch.device("cuda")) is expected


def test_streams_of_a_seed_repeat_and_differ():
    def draw(*key):
        return torch.rand(4, generator=generator(*key)).tolist()

    assert draw(0, 1) == draw(0, 1)
    draws = [draw(*key) for key in [(0, 0), (0, 1), (1, 0), (1, 1), (0, 1, 1), (2**31, 0)]]
    assert all(a != b for i, a in enumerate(draws) for b in draws[:i])
