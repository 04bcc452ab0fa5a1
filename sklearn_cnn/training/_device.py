"""The device and the precision of a fit."""

from typing import Any

import torch

BFLOAT16_FROM_MACS = 1_000_000
"""On a CPU, networks with fewer multiply-adds an image train in float32: the casts would take more time than the
faster products save."""


def resolve_device(device: Any) -> torch.device:
    """Choose the device of a fit.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device
        ``"auto"`` takes a GPU where there is one.

    Returns
    -------
    torch.device
        A device that this machine has.

    Raises
    ------
    ValueError
        Where the machine has no such device.
    """
    present = available_devices()
    if str(device) == "auto":
        return torch.device(present[0])
    try:
        chosen = torch.device(device)
    except RuntimeError:  # not the name of a device
        chosen = None
    if chosen is not None and chosen.type in present:
        n_of_type = torch.cuda.device_count() if chosen.type == "cuda" else 1
        if (chosen.index or 0) < n_of_type:
            return chosen
    raise ValueError(f"device={device!r} is not there; this machine has {', '.join(map(repr, present))}.")


def nearest_device(name: str) -> str:
    """The device of a network that was fitted on another machine.

    Parameters
    ----------
    name : str
        The device on which it was fitted.

    Returns
    -------
    str
        The same device; where this machine does not have it, another of its type, or else the CPU.
    """
    kind = name.partition(":")[0]
    if kind not in available_devices():
        return "cpu"
    try:
        return str(resolve_device(name))
    except ValueError:  # this machine has fewer GPUs
        return kind


def available_devices() -> list[str]:
    """Types of device that this machine has, the fastest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def resolve_precision(precision: str, device: torch.device, n_macs: int) -> str:
    """Choose the precision of a fit. It depends on the hardware and the size of the network alone.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16", "float64"}
        The parameter.
    device : torch.device
        Where the fit computes.
    n_macs : int
        Multiply-adds of the network for one image.

    Returns
    -------
    {"float32", "bfloat16", "float64"}
        The precision.

    Raises
    ------
    ValueError
        Where the device has no such precision.
    """
    if precision == "float64" and device.type == "mps":
        raise ValueError("precision='float64' is not there on device 'mps'; it has 'float32' and 'bfloat16'.")
    if precision != "auto":
        return precision
    large_enough = device.type != "cpu" or n_macs >= BFLOAT16_FROM_MACS
    return "bfloat16" if large_enough and has_native_bfloat16(device) else "float32"


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself, without a conversion to float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(
            getattr(torch.cpu, name, lambda: False)()
            for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return False
