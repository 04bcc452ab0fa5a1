"""Pretrained networks from torchvision and timm: making them, and fetching their weights."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sklearn_cnn._optional import import_optional
from sklearn_cnn._random import global_draws
from sklearn_cnn.architectures._catalog import entry_of

_NORMALIZED_INSIDE = ("googlenet", "inception_v3")
"""Networks of torchvision that undo the usual normalisation first: their weights are for pixels from -1 to 1."""


def is_backbone(architecture: Any) -> bool:
    """Whether an architecture is the name of a network of torchvision or timm."""
    return isinstance(architecture, str) and architecture.startswith(("torchvision:", "timm:"))


def has_weights_as_built(architecture: Any) -> bool:
    """Whether a network of torchvision or timm that is made with its weights has the same layers as without them."""
    return is_backbone(architecture) and architecture.partition(":")[2] not in _NORMALIZED_INSIDE


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision or timm without its last layer.

    Attributes
    ----------
    name : str
        As in ``architecture=``.
    module : torch.nn.Module
        From images to features ``(n, n_features)``.
    mean, std : tuple of float
        Of the pixels it was trained on, red, green and blue, where white is 1.
    size : (int, int)
        Height and width in pixels of the images it was made for.
    """

    name: str
    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]


def make_backbone(name: str, n_channels: int, seed: int, *, download: bool = False) -> Backbone:
    """Let torchvision or timm make a network, and remove its last layer.

    Parameters
    ----------
    name : str
        ``"torchvision:NAME"`` or ``"timm:NAME"``.
    n_channels : int
        Channels of the images.
    seed : int
        Seed of its first weights.
    download : bool, default=False
        Whether to download the weights of the library. The network then takes three channels.

    Returns
    -------
    Backbone
        The network.

    Raises
    ------
    ImportError
        Without the library, which the extra ``pretrained`` installs.
    ValueError
        For an unknown name. The message lists similar names.
    OSError
        Where weights cannot be downloaded.
    """
    library, _, model = name.partition(":")
    makers = {"torchvision": _of_torchvision, "timm": _of_timm}
    with global_draws(seed), torch.device("cpu"):
        return makers[library](name, model, n_channels, download)


def _of_timm(name: str, model: str, n_channels: int, download: bool) -> Backbone:
    timm = import_optional("timm", package="timm", extra="pretrained", purpose=f"architecture={name!r}")
    _check_known(name, model, timm.list_models())
    with _fetching(name, download):
        module = timm.create_model(model, pretrained=download, num_classes=0, in_chans=3 if download else n_channels)
    config = timm.data.resolve_model_data_config(module)
    return Backbone(name, module, tuple(config["mean"]), tuple(config["std"]), tuple(config["input_size"][1:]))


def _of_torchvision(name: str, model: str, n_channels: int, download: bool) -> Backbone:
    models = import_optional(
        "torchvision.models", package="torchvision", extra="pretrained", purpose=f"architecture={name!r}"
    )
    _check_known(name, model, models.list_models(module=models))
    presets = models.get_model_weights(model).DEFAULT.transforms()
    settings, mean, std = {}, tuple(presets.mean), tuple(presets.std)
    if model in _NORMALIZED_INSIDE:
        # Trained weights include auxiliary heads, so a network that downloads them must have these heads too.
        settings = {"init_weights": False, "transform_input": False, **({} if download else {"aux_logits": False})}
        mean = std = (0.5, 0.5, 0.5)
    with _fetching(name, download):
        module = (
            models.get_model(model, weights="DEFAULT", **settings)
            if download
            else models.get_model(model, weights=None, **settings)
        )
    _take_last_layer_off(name, module)
    if not download and n_channels != 3:
        _take_channels(module, n_channels)
    side = presets.crop_size[0]
    return Backbone(name, module, mean, std, (side, side))


def catalog_weights(name: str) -> dict[str, torch.Tensor]:
    """Download the weights that torchvision has for a network of the catalog.

    Raises
    ------
    ValueError
        Where it has none.
    OSError, ImportError
        Where the download fails, or torchvision is not installed.
    """
    models = import_optional(
        "torchvision.models", package="torchvision", extra="pretrained", purpose=f"weights='default' of {name!r}"
    )
    model = entry_of(name).torchvision
    if model is None:
        raise ValueError(f"weights='default': nobody offers weights for architecture={name!r}; pass a file of them.")
    with _fetching(name, True):
        weights: dict[str, torch.Tensor] = models.get_model_weights(model).DEFAULT.get_state_dict(progress=False)
    return weights


def _take_last_layer_off(name: str, module: nn.Module) -> None:
    dense = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    if not dense:
        raise ValueError(f"architecture={name!r} has no dense last layer, so its head cannot be replaced.")
    name = dense[-1]
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, nn.Identity())


def _take_channels(module: nn.Module, n_channels: int) -> None:
    """Replace the first convolution by one for another number of channels, with newly drawn weights."""
    name, conv = next((name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d))
    parent, _, attribute = name.rpartition(".")
    new = nn.Conv2d(
        n_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]  # torch's own types differ between attribute and argument
        conv.stride,  # type: ignore[arg-type]  # likewise
        conv.padding,  # type: ignore[arg-type]  # likewise
        bias=conv.bias is not None,
    )
    setattr(module.get_submodule(parent), attribute, new)


@contextmanager
def _fetching(name: str, download: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not download:
            raise
        # Each library raises errors of its own.
        raise OSError(
            f"weights='default': those of {name!r} could not be fetched ({type(error).__name__}: {error}); where there "
            f"is no network, pass a file, weights=PATH."
        ) from error


def _check_known(name: str, model: str, known: list[str]) -> None:
    if model in known:
        return
    near = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    raise ValueError(f"architecture={name!r} is unknown to {name.partition(':')[0]}{hint}")
