"""A copy of a network for one long pass over images: batch normalisation is folded into convolutions."""

from collections import Counter
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_cnn.architectures._build import ImageNetwork

_CONVOLUTIONS = ("Conv2d", "Conv2dSame", "UnevenConv2d")
"""Classes, by name, that convolve with ``weight`` and ``bias`` as they are: those of torch, timm and this package.
Others change their weights in every call (weight standardisation, parametrisations)."""

_TOLERANCE = 1e-3
"""Difference of the folded network on the first images, as a share of the largest value, above which it is not used.
Rounding in 49 convolutions gave 1e-5."""


def folded(network: ImageNetwork, images: Tensor, layer: str) -> ImageNetwork:
    """Copy a network, with batch normalisation folded into the convolutions before it.

    In evaluation mode a batch normalisation multiplies and adds numbers that do not depend on the images. So it can be
    a part of the convolution before it (Jacob et al. 2018, arXiv:1712.05877, section 3.2). The result is equal up to
    rounding.

    Parameters
    ----------
    network : ImageNetwork
        In evaluation mode. It stays as it is.
    images : Tensor of shape (n, c, h, w)
        At least two images. They go through both networks: which layer reads which is found out by that, and the
        results are compared.
    layer : str
        Name of the layer whose output is wanted. What comes behind it is not folded.

    Returns
    -------
    ImageNetwork
        The copy. Where folding would change more than the rounding, it is a plain copy.
    """
    with torch.no_grad():
        copy = deepcopy(network)
        wanted, pairs = _pairs(copy, images, layer)
        for conv, norm in pairs:
            _fold(conv, norm)
        names = {id(module): name for name, module in copy.named_modules()}
        for _, norm in pairs:
            parent, _, attribute = names[id(norm)].rpartition(".")
            setattr(copy.get_submodule(parent), attribute, _rest_of(norm))
        copy = copy.to(memory_format=torch.channels_last).eval()
        difference = (copy.maps(images, layer) - wanted).abs().max()
        # A comparison with NaN is False.
        return copy if bool(difference <= _TOLERANCE * wanted.abs().max()) else deepcopy(network)


def _pairs(network: ImageNetwork, images: Tensor, layer: str) -> tuple[Tensor, list[tuple[Any, Any]]]:
    """What a layer gives, and the convolutions whose output goes into a batch normalisation."""
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensor is kept, so that its id is not used again
    pairs: list[tuple[nn.Module, nn.Module]] = []
    n_calls: Counter[int] = Counter()

    def after_conv(module: nn.Module, _: Any, output: Tensor) -> None:
        n_calls[id(module)] += 1
        outputs[id(output)] = module, output

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        n_calls[id(module)] += 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    hooks = [
        module.register_forward_hook(after_conv) if _is_conv(module) else module.register_forward_pre_hook(before_norm)
        for module in network.modules()
        if _is_conv(module) or _is_norm(module)
    ]
    wanted = network.maps(images, layer)
    for hook in hooks:
        hook.remove()
    return wanted, [(conv, norm) for conv, norm in pairs if n_calls[id(conv)] == n_calls[id(norm)] == 1]


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and type(module).__name__ in _CONVOLUTIONS and not _has_hooks(module)


def _is_norm(module: nn.Module) -> bool:
    known = type(module) is nn.BatchNorm2d or type(module).__name__ == "BatchNormAct2d"
    return known and getattr(module, "running_var", None) is not None and not _has_hooks(module)


def _fold(conv: Any, norm: Any) -> None:
    fused = nn.utils.fusion.fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    conv.weight, conv.bias = (nn.Parameter(value.detach(), requires_grad=False) for value in fused)


def _rest_of(norm: Any) -> nn.Module:
    """What a normalisation does beside: that of timm has an activation in it."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    return nn.Sequential(norm.drop, norm.act)
