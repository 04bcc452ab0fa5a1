"""Networks from torchvision and timm: making them, the images they were trained on, and fetching their weights."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_cnn._optional import import_optional
from sklearn_cnn._random import global_draws
from sklearn_cnn.architectures._catalog import entry_of
from sklearn_cnn.architectures._downloads import fetch_url
from sklearn_cnn.architectures._ready_made import Preprocessing
from sklearn_cnn.architectures._timm import (
    check_known,
    check_size,
    find_in_timm,
    remake_of_timm,
    weights_of_timm,
)
from sklearn_cnn.architectures._weights import read_weights

_NORMALIZED_INSIDE = ("googlenet", "inception_v3")
"""Networks of torchvision that undo the usual normalisation first: their weights are for pixels from -1 to 1."""


def is_backbone(architecture: Any) -> bool:
    """Whether an architecture is the name of a network of torchvision or timm."""
    return isinstance(architecture, str) and architecture.startswith(("torchvision:", "timm:"))


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision or timm without its last layer.

    Attributes
    ----------
    name : str
        Name by which `remake_backbone` makes it again. For a network of the hub it is that of timm's registry.
    module : torch.nn.Module
        From images to features ``(n, n_features)``.
    preprocessing : Preprocessing
        The images it was trained on.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing


def preprocessing_of(architecture: str) -> Preprocessing:
    """The images that the weights of a name were trained on. Makes no network and fetches no weights.

    For ``"timm:hf-hub:..."`` it fetches the configuration, a small file.

    Parameters
    ----------
    architecture : str
        ``"torchvision:NAME"``, ``"timm:NAME"``, ``"timm:NAME.TAG"``, ``"timm:hf-hub:OWNER/NAME"``, or a network of the
        catalog that has weights in torchvision.

    Returns
    -------
    Preprocessing
        Of the weights of the tag, or of those that ``weights="default"`` fetches.

    Raises
    ------
    ImportError
        Without the library, which the extra ``pretrained`` installs.
    ValueError
        For an unknown name, which the message lists similar names of, or a network that nobody offers weights for.
    OSError
        Where the configuration of a network of the hub cannot be fetched.
    """
    if not is_backbone(architecture):
        model = entry_of(architecture).torchvision
        if model is None:
            raise ValueError(f"nobody offers weights for architecture={architecture!r}, so their images are unknown.")
        return _images_of_torchvision(model, _torchvision(architecture, model))
    library, _, model = architecture.partition(":")
    if library == "timm":
        return find_in_timm(architecture, model).preprocessing
    return _images_of_torchvision(model, _torchvision(architecture, model))


def make_backbone(name: str, n_channels: int, seed: int) -> Backbone:
    """Let torchvision or timm make a network, and remove its last layer. No weights are fetched.

    Parameters
    ----------
    name : str
        ``"torchvision:NAME"``, ``"timm:NAME"``, ``"timm:NAME.TAG"`` or ``"timm:hf-hub:OWNER/NAME"``, of which the
        configuration is fetched.
    n_channels : int
        Channels of the images.
    seed : int
        Seed of its first weights.

    Returns
    -------
    Backbone
        The network.

    Raises
    ------
    ImportError
        Without the library, which the extra ``pretrained`` installs.
    ValueError
        For an unknown name or tag. The message lists similar names, or the tags.
    OSError
        Where the configuration of a network of the hub cannot be fetched.
    """
    library, _, model = name.partition(":")
    if library == "timm":
        found = find_in_timm(name, model)
        name, preprocessing = f"timm:{found.model}", found.preprocessing
    else:
        preprocessing = preprocessing_of(name)
    return Backbone(name, remake_backbone(name, preprocessing.size, n_channels, seed), preprocessing)


def remake_backbone(name: str, size: tuple[int, int], n_channels: int, seed: int) -> nn.Module:
    """Make the module of a `Backbone` from what a plan keeps of it. Nothing is fetched, whatever the name is.

    Parameters
    ----------
    name : str
        ``"torchvision:NAME"``, ``"timm:NAME"`` or ``"timm:NAME.TAG"``.
    size : (int, int)
        Height and width in pixels of the images that it was made for.
    n_channels, seed : int
        As in `make_backbone`.

    Returns
    -------
    torch.nn.Module
        From images to features ``(n, n_features)``.

    Raises
    ------
    ImportError
        Without the library, which the extra ``pretrained`` installs.
    ValueError
        For an unknown name or tag, or a size far from that of the network.
    """
    library, _, model = name.partition(":")
    if library == "timm":
        return remake_of_timm(name, model, size, n_channels, seed)
    models = _torchvision(name, model)
    settings: dict[str, Any] = {}
    if model in _NORMALIZED_INSIDE:
        settings = {"init_weights": False, "transform_input": False, "aux_logits": False}
    elif model.startswith("vit_") and size != (224, 224):  # else positions of the weights would not fit
        check_size(name, size, (224, 224))
        settings = {"image_size": size[0]}
    with global_draws(seed), torch.device("cpu"):
        module: nn.Module = models.get_model(model, weights=None, **settings)
        _take_last_layer_off(name, module)
        if n_channels != 3:
            _take_channels(module, n_channels)
    return module


def backbone_weights(name: str) -> dict[str, Tensor]:
    """Fetch the weights that a library offers for a network, or find them in its cache. Code in them is never run.

    Files are compared with the digest in their names, see `fetch_url` and `fetch_from_hub`.

    Parameters
    ----------
    name : str
        As in `make_backbone`.

    Returns
    -------
    dict of str to Tensor
        The state dict of the whole network, for images of three channels.

    Raises
    ------
    ImportError
        Without the library, which the extra ``pretrained`` installs.
    ValueError
        For an unknown name or tag, a network that nobody offers weights for, and weights that are damaged, hold code or
        do not fit.
    OSError
        Where they cannot be fetched.
    """
    library, _, model = name.partition(":")
    if library == "timm":
        return weights_of_timm(name, model)
    return _weights_of_torchvision(name, model)


def catalog_weights(name: str) -> dict[str, Tensor]:
    """Fetch the weights that torchvision has for a network of the catalog, as `backbone_weights` does.

    Raises
    ------
    ValueError
        Where it has none, and as there.
    OSError, ImportError
        Where they cannot be fetched, or torchvision is not installed.
    """
    model = entry_of(name).torchvision
    if model is None:
        raise ValueError(f"weights='default': nobody offers weights for architecture={name!r}; pass a file of them.")
    return _weights_of_torchvision(name, model)


# torchvision.


def _torchvision(name: str, model: str) -> Any:
    models = import_optional(
        "torchvision.models", package="torchvision", extra="pretrained", purpose=f"architecture={name!r}"
    )
    check_known(name, model, models.list_models(module=models))
    return models


def _images_of_torchvision(model: str, models: Any) -> Preprocessing:
    presets = models.get_model_weights(model).DEFAULT.transforms()
    side = presets.crop_size[0]
    inside = model in _NORMALIZED_INSIDE
    return Preprocessing(
        size=(side, side),
        interpolation=presets.interpolation.value,
        crop=side / presets.resize_size[0],
        resize="crop",
        mean=(0.5, 0.5, 0.5) if inside else tuple(presets.mean),
        std=(0.5, 0.5, 0.5) if inside else tuple(presets.std),
    )


def _weights_of_torchvision(name: str, model: str) -> dict[str, Tensor]:
    url = _torchvision(name, model).get_model_weights(model).DEFAULT.url
    weights = read_weights(fetch_url(url, "", what=f"weights='default': those of {name!r}"))
    # Files of DenseNets have names such as denselayer1.norm.1.weight, which modules may no longer have.
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key): value for key, value in weights.items()}


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
