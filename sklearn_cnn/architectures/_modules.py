"""Ready-made modules: making the user's own, and finding out what a plan needs to know of a module."""

import copy
from collections.abc import Callable
from math import prod
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from sklearn_cnn._random import global_draws
from sklearn_cnn.architectures._backbones import Backbone
from sklearn_cnn.architectures._geometry import steps_over
from sklearn_cnn.architectures._ready_made import BackboneNet, ModuleFacts, UserNet
from sklearn_cnn.images._shape import ImageShape


def make_module(
    factory: Callable[[ImageShape, int], nn.Module], image_shape: ImageShape, n_outputs: int, seed: int
) -> nn.Module:
    """Make the user's own network.

    Parameters
    ----------
    factory : callable
        ``(image_shape, n_outputs) -> torch.nn.Module``, such as a class of modules.
    image_shape : ImageShape
        Size of an image.
    n_outputs : int
        Values that the network has to give for an image.
    seed : int
        Seed of its first weights.

    Returns
    -------
    torch.nn.Module
        The network.

    Raises
    ------
    TypeError
        Where it returns something else.
    """
    with global_draws(seed), torch.device("cpu"):
        module = factory(image_shape, n_outputs)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"architecture={factory!r} must give a torch.nn.Module when called with (image_shape, n_outputs); got "
            f"{type(module).__name__}."
        )
    # The factory may return the same module each time. Several fits would then share it.
    module = copy.deepcopy(module)
    if any(isinstance(p, UninitializedParameter) for p in module.parameters()):
        with global_draws(seed), torch.no_grad():
            module.eval()(torch.zeros((1, *image_shape.channels_first), device="cpu"))
    return module


def describe_module(
    module: nn.Module, image_shape: ImageShape, n_outputs: int, *, factory: Callable[..., Any], standardize: bool
) -> UserNet:
    """Find out what a plan needs to know of a user's network.

    Parameters
    ----------
    module : torch.nn.Module
        From images ``(n, c, h, w)`` to ``(n, n_outputs)``. It is run on a blank image.
    image_shape : ImageShape
        Size of an image.
    n_outputs : int
        Values that it has to give for an image.
    factory : callable
        What made it.
    standardize : bool
        Whether pixels are standardised before it.

    Returns
    -------
    UserNet
        The architecture.

    Raises
    ------
    ValueError
        Where it does not give so many outputs.
    """
    images = ", ".join(map(str, image_shape.channels_first))
    try:
        outputs, facts = _try(module, image_shape)
    except Exception as error:
        error.add_note(f"The network of architecture= failed on a first blank image, of shape (1, {images}).")
        raise
    if getattr(outputs, "shape", None) != (1, n_outputs):
        raise ValueError(
            f"the network of architecture= must give (n, {n_outputs}) for images of shape (n, {images}); for one image "
            f"it gave {tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__}."
        )
    return UserNet(**vars(facts), factory=factory, standardize=standardize)


def describe_backbone(backbone: Backbone, image_shape: ImageShape, *, dropout: float, standardize: bool) -> BackboneNet:
    """Find out what a plan needs to know of a network of torchvision or timm.

    Parameters
    ----------
    backbone : Backbone
        The part before the head. It is run on a blank image.
    image_shape : ImageShape
        Size of an image.
    dropout : float
        Probability before the output layer.
    standardize : bool
        Whether pixels are standardised before it.

    Returns
    -------
    BackboneNet
        The architecture.

    Raises
    ------
    ValueError
        Where it cannot take images of this size.
    """
    images = backbone.preprocessing
    try:
        _, facts = _try(backbone.module, image_shape)
    except Exception as error:  # of any type: networks compute with sizes before they look at them
        height, width = images.size
        if (height, width) == (image_shape.height, image_shape.width):
            raise  # another size is no way out
        size = height if height == width else (height, width)
        raise ValueError(
            f"architecture={backbone.name!r} cannot take images of {image_shape.height}×{image_shape.width} pixels "
            f"({type(error).__name__}: {error}); it was made for {height}×{width}, to which ImageReader(size={size}) "
            f"brings them."
        ) from error
    return BackboneNet(
        **vars(facts),
        name=backbone.name,
        dropout=dropout,
        standardize=standardize,
        parts=_parts(backbone.module),
        size=images.size,
        mean=images.mean,
        std=images.std,
        interpolation=images.interpolation,
        crop=images.crop,
    )


def _try(module: nn.Module, image_shape: ImageShape) -> tuple[Any, ModuleFacts]:
    """Run a module on a blank image. Returns its output, and what is known of the module then."""
    from torch.utils.flop_counter import FlopCounterMode  # not above: it loads triton, which takes 0.2 s

    was_training = module.training
    images = torch.zeros((1, *image_shape.channels_first), device="cpu")
    exact = needs_two = False
    inner_map = 0

    def measure(part: nn.Module, _: Any, output: Any) -> None:
        nonlocal inner_map
        if isinstance(output, torch.Tensor):
            inner_map = max(inner_map, output.numel())

    def look(part: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal exact, needs_two
        size = inputs[0].shape[2:]
        if isinstance(part, nn.Conv2d):
            exact |= any(steps_over(size[axis], part.kernel_size[axis], part.stride[axis]) for axis in (0, 1))
        else:
            needs_two |= prod(size) == 1

    watched = [part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d))]
    hooks = [part.register_forward_pre_hook(look) for part in watched]
    hooks += [part.register_forward_hook(measure) for part in module.modules()]
    # Not in inference mode: there the counter breaks parametrised weights, such as those of weight_norm.
    with torch.no_grad(), FlopCounterMode(display=False) as counter, global_draws(0):
        outputs = module.eval()(images)
    for hook in hooks:
        hook.remove()
    module.train(was_training)
    return outputs, ModuleFacts(
        input_shape=image_shape.channels_first,
        output_shape=tuple(outputs.shape[1:]) if isinstance(outputs, torch.Tensor) else (),
        n_parameters=sum(p.numel() for p in module.parameters()),
        n_macs=counter.get_total_flops() // 2,
        exact=exact,
        needs_two=needs_two,
        normalization=_normalization(module),
        inner_map=inner_map,
    )


def _normalization(module: nn.Module) -> Literal["batch", "layer"] | None:
    """Kind of normalisation in a network, see `ModuleFacts`."""
    parts = list(module.modules())
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in parts):
        return "batch"
    # timm has many of its own, such as RmsNorm, which have no class in common.
    named = (part for part in parts if "norm" in type(part).__name__.lower())
    return "layer" if any(True for part in named for _ in part.parameters(recurse=False)) else None


def _parts(module: nn.Module) -> tuple[str, ...]:
    """The blocks of a network, in order, see ``parts`` in `Layer`.

    They are its children, or the children of a sequence that holds more than half of its weights. Normalisation layers
    are joined to the block before.
    """
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
