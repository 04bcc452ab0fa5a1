"""Trained weights from elsewhere: reading files, and putting the weights into a network."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import Tensor

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._plan import Plan

_SHOWN = 3


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a file of weights. Code in the file is never run.

    Parameters
    ----------
    path : str or path-like
        A ``.safetensors`` file, or a ``.pth``, ``.pt`` or ``.bin`` file that `torch.save` wrote from a state dict.
        This may be the entry ``"state_dict"`` or ``"model"`` of a dict of other things.

    Returns
    -------
    dict of str to Tensor
        The weights, on the CPU.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where it is damaged, holds anything but tensors, or has another ending.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights={str(path)!r}: there is no such file.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path, device="cpu")
        except Exception as error:  # the exception types of safetensors are private
            raise ValueError(f"weights={str(path)!r} cannot be read: {error}.") from error
    if path.suffix not in (".pth", ".pt", ".bin"):
        raise ValueError(f"weights={str(path)!r} has another ending than .safetensors, .pth, .pt or .bin.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"weights={str(path)!r} is damaged, or holds other objects than tensors, which could run code; "
            f"it is not read."
        ) from error
    except Exception as error:  # a damaged file makes torch raise errors of any type
        raise ValueError(f"weights={str(path)!r} cannot be read: {error}.") from error
    for entry in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise ValueError(f"weights={str(path)!r} holds no state dict, which is a dict of tensors.")
    return dict(content)


def load_weights(network: ImageNetwork, plan: Plan, weights: Mapping[str, Tensor], source: str) -> frozenset[str]:
    """Put weights into a network, except those of the output layer.

    The other layers of the head take weights that fit, and otherwise keep their own.

    A first convolution for three channels is adapted to images with one or four channels. For one channel its weights
    are summed, so that a grey image gives the same maps as a colour image of three equal channels. For a fourth channel
    zeros are added, so that an alpha channel changes nothing at first. The mean and deviation of pixels become their
    averages for one channel; a fourth channel keeps the network's own.

    Parameters
    ----------
    network : ImageNetwork
        The network; its weights are overwritten.
    plan : Plan
        Its plan.
    weights : mapping of str to Tensor
        State dict of such a network, or of torchvision's network of the same name, whose layers come in the same order.
    source : str
        Name of the weights in error messages.

    Returns
    -------
    frozenset of str
        Names of layers that kept their own weights, wholly or in part.

    Raises
    ------
    ValueError
        Where weights are missing or have another shape. The message names the first few.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    weights = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    if not any(name in own for name in weights):
        weights = _under_our_names(own, weights)
    blocks = {layer.name: layer.block for layer in plan.layers}
    first = next((name for name, value in own.items() if value.ndim == 4), None)
    faults, chosen, left = [], {}, set()
    for name, value in own.items():
        row = name.split(".")[1]
        given = None if row == "output" else weights.get(name)
        if given is not None and name == first:
            given = _for_channels(given, value.shape[1])
        elif given is not None and blocks[row] == "":
            given = _statistics_for_channels(given, value)
        if given is not None and given.shape == value.shape:
            chosen[name] = given
            continue
        left.add(row)
        if blocks[row] not in ("head", ""):
            found = "missing" if given is None else f"{_times(given)} in place of {_times(value)}"
            faults.append(f"{name.removeprefix('layers.')} ({found})")
    refuse_faults(source, faults)
    with torch.no_grad():
        for name, value in chosen.items():
            own[name].copy_(value)
    return frozenset(left)


def refuse_faults(source: str, faults: Iterable[str]) -> None:
    """Raise a ValueError that names the first few reasons why weights do not fit, if there are any."""
    faults = list(faults)
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError(f"{source} is of another network: {', '.join(faults[:_SHOWN])}{more}.")


def differences(plan: Plan, other: Plan) -> list[str]:
    """Layers before the head in which two networks differ although the weights of one fit the other.

    Parameters
    ----------
    plan : Plan
        The network that takes the weights.
    other : Plan
        The network in which they were trained.

    Returns
    -------
    list of str
        One text for each such layer. Empty where layers with parameters have other names and cannot be compared.
    """
    here, there = (
        {row.name: row for row in p.layers if row.block != "head" and not KINDS[row.kind].only_trains}
        for p in (plan, other)
    )
    if [name for name in here if here[name].n_parameters] != [name for name in there if there[name].n_parameters]:
        return []
    faults = [f"{name} ({'missing' if name in here else 'not here'})" for name in sorted(set(here) ^ set(there))]
    for name in [name for name in here if name in there]:
        clipped = here[name].clipped or there[name].clipped  # a pool is clipped to maps of another size
        for setting in ("kind", "kernel", "stride", "dilation", "padding", "padding_mode"):
            mine, theirs = getattr(here[name], setting), getattr(there[name], setting)
            if mine != theirs and not (setting == "kernel" and clipped):
                faults.append(f"{name} ({setting} {theirs} in place of {mine})")
    return faults


def _under_our_names(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of the same network in another library: those of a backbone, or all tensors by their order."""
    backbone = {f"layers.backbone.{name}": value for name, value in weights.items()}
    if any(name in own for name in backbone):
        return backbone
    names = [name for name in own if not name.startswith("layers.standardize.")]
    values = [value for name, value in weights.items() if not name.startswith(("aux1.", "aux2."))]
    return dict(zip(names, values, strict=True)) if len(names) == len(values) else dict(weights)


def _for_channels(weight: Tensor, n_channels: int) -> Tensor:
    if weight.ndim != 4 or weight.shape[1] != 3 or n_channels not in (1, 4):
        return weight
    if n_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return torch.cat([weight, torch.zeros_like(weight[:, :1])], dim=1)


def _statistics_for_channels(values: Tensor, own: Tensor) -> Tensor:
    """Adapt the mean or deviation of three channels, ``(3, 1, 1)``, to the number of channels of a network."""
    if len(values) != 3 or len(own) not in (1, 4):
        return values
    return values.mean(dim=0, keepdim=True) if len(own) == 1 else torch.cat([values, own[3:].to(values)])


def _times(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"
