"""Networks that come as finished torch modules."""

import copy
import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.utils.flop_counter import FlopCounterMode

from sklearn_cnn._optional import import_optional
from sklearn_cnn._random import global_draws
from sklearn_cnn.architectures._catalog import entry_of
from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._geometry import steps_over
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.images._shape import ImageShape

_NORMALIZED_INSIDE = ("googlenet", "inception_v3")
"""Networks of torchvision whose own first step undoes the usual normalisation: their weights are for ±1."""


def make_module(
    factory: Callable[[ImageShape, int], nn.Module], image_shape: ImageShape, n_outputs: int, seed: int
) -> nn.Module:
    """Call a user's factory of networks.

    Parameters
    ----------
    factory : callable
        ``(image_shape, n_outputs) -> torch.nn.Module``; a class of modules will do.
    image_shape : ImageShape
        Size of an image.
    n_outputs : int
        Values the network is to give for an image.
    seed : int
        Seed of what it draws.

    Returns
    -------
    torch.nn.Module
        The network.

    Raises
    ------
    TypeError
        Where it gives something else.
    """
    with global_draws(seed), torch.device("cpu"):
        module = factory(image_shape, n_outputs)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"architecture={factory!r} must give a torch.nn.Module when called with (image_shape, n_outputs); got "
            f"{type(module).__name__}."
        )
    # It may give one and the same module each time, which fits would then share.
    module = copy.deepcopy(module)
    if any(isinstance(p, UninitializedParameter) for p in module.parameters()):
        with global_draws(seed), torch.no_grad():
            module.eval()(torch.zeros((1, *image_shape.channels_first), device="cpu"))
    return module


def plan_module(module: nn.Module, image_shape: ImageShape, n_outputs: int, *, standardize: bool) -> Plan:
    """Describe a network that is one module.

    Parameters
    ----------
    module : torch.nn.Module
        From images ``(n, c, h, w)`` to ``(n, n_outputs)``.
    image_shape : ImageShape
        Size of an image.
    n_outputs : int
        Values it has to give for an image.
    standardize : bool
        Whether pixels are standardised before it.

    Returns
    -------
    Plan
        The whole module in one row; its multiply-adds are counted in a run on a blank image.

    Raises
    ------
    ValueError
        Where it does not give so many outputs.
    """
    try:
        outputs, known = _try(module, image_shape)
    except Exception as error:
        images = ", ".join(map(str, image_shape.channels_first))
        error.add_note(f"The network of architecture= failed on a first blank image, of shape (1, {images}).")
        raise
    if getattr(outputs, "shape", None) != (1, n_outputs):
        raise ValueError(
            f"the network of architecture= must give (n, {n_outputs}) for images of shape "
            f"(n, {', '.join(map(str, image_shape.channels_first))}); for one image it gave "
            f"{tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__}."
        )
    draft = Draft(image_shape.channels_first)
    if standardize:
        draft.add("standardize", "standardize")
    draft.block = "network"
    draft.add(
        "network",
        "module",
        shape=(n_outputs,),
        whole_image=True,
        n_parameters=sum(p.numel() for p in module.parameters()),
        **known,
    )
    return draft.plan()


def plan_backbone(
    backbone: "Backbone", image_shape: ImageShape, n_outputs: int, *, standardize: bool, dropout: float
) -> Plan:
    """Lay out a network of torchvision or timm with a head of our own.

    Parameters
    ----------
    backbone : Backbone
        The part before the head.
    image_shape : ImageShape
        Size of an image.
    n_outputs : int
        Values the network gives for an image.
    standardize : bool
        Whether pixels are standardised before it.
    dropout : float
        Before the output layer.

    Returns
    -------
    Plan
        The backbone in one row, with its parts as blocks.

    Raises
    ------
    ValueError
        Where the images are too small for it.
    """
    try:
        features, known = _try(backbone.module, image_shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(
            f"architecture={backbone.name!r} cannot take images of {image_shape.height}×{image_shape.width} pixels "
            f"({error}); it was made for {backbone.size[0]}×{backbone.size[1]}."
        ) from error
    draft = Draft(image_shape.channels_first)
    if standardize:
        draft.add("standardize", "standardize")
    draft.block = "backbone"
    draft.add(
        "backbone",
        "module",
        shape=tuple(features.shape[1:]),
        whole_image=True,
        n_parameters=sum(p.numel() for p in backbone.module.parameters()),
        **known,
        parts=_parts(backbone.module),
    )
    draft.block = "head"
    draft.drop("output_dropout", dropout)
    draft.dense("output", n_outputs, None)
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (backbone.mean, backbone.std))
    return draft.plan(
        f"{backbone.name}, made for {backbone.size[0]}×{backbone.size[1]} pixels of mean {mean} and deviation {std}; "
        f"of the parameters of layers, dropout alone counts"
    )


@dataclass(frozen=True)
class Backbone:
    """A network without its last layer.

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
    """Have torchvision or timm make a network, and take its last layer off.

    Parameters
    ----------
    name : str
        ``"torchvision:NAME"`` or ``"timm:NAME"``.
    n_channels : int
        Channels of the images.
    seed : int
        Seed of its first weights.
    download : bool, default=False
        Whether to fetch the library's own weights; the network then takes three channels.

    Returns
    -------
    Backbone
        The network.

    Raises
    ------
    ImportError
        Without the library, which the extra ``pretrained`` brings.
    ValueError
        For an unknown name; the nearest are listed.
    OSError
        Where weights cannot be fetched.
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
        # Trained weights come with auxiliary heads, so that they cannot be left out beforehand.
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
    """Fetch the weights that torchvision offers for a network of the catalog.

    Raises
    ------
    ValueError
        Where it has none.
    OSError, ImportError
        Where they, or torchvision, cannot be had.
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
    """Let the first convolution take another number of channels; its weights are drawn anew."""
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
        # Each library, and each of its ways to the network, has errors of its own.
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


def _try(module: nn.Module, image_shape: ImageShape) -> tuple[Any, dict[str, Any]]:
    """What a module gives for a blank image, and what is known of its row in a plan after that."""
    was_training = module.training
    images = torch.zeros((1, *image_shape.channels_first), device="cpu")
    exact = needs_two = False

    def look(part: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal exact, needs_two
        size = inputs[0].shape[2:]
        if isinstance(part, nn.Conv2d):
            exact |= any(steps_over(size[axis], part.kernel_size[axis], part.stride[axis]) for axis in (0, 1))
        else:
            needs_two |= prod(size) == 1

    watched = [part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d))]
    hooks = [part.register_forward_pre_hook(look) for part in watched]
    # Not in inference mode, in which the counter breaks parametrised weights, such as those of weight_norm.
    with torch.no_grad(), FlopCounterMode(display=False) as counter, global_draws(0):
        outputs = module.eval()(images)
    for hook in hooks:
        hook.remove()
    module.train(was_training)
    return outputs, {"n_macs": counter.get_total_flops() // 2, "exact": exact, "needs_two": needs_two}


def _parts(module: nn.Module) -> tuple[str, ...]:
    """Parts of a network in order: its children, those of a sequence that holds most of it, normalisation not apart."""
    n_all = sum(p.numel() for p in module.parameters())
    parts: list[str] = []
    for name, child in module.named_children():
        n = sum(p.numel() for p in child.parameters())
        inner = isinstance(child, nn.Sequential | nn.ModuleList) and 2 * n > n_all
        for part, path in [(p, f"{name}.{sub}") for sub, p in child.named_children()] if inner else [(child, name)]:
            if not any(True for _ in part.parameters()):
                continue
            if parts and all(p.ndim == 1 for p in part.parameters()):
                parts[-1] += f"+{path}"
            else:
                parts.append(path)
    return tuple(parts)
