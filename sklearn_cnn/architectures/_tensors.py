"""The tensors of a plan's network, known before any of them is made."""

from contextlib import suppress
from importlib import import_module
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sklearn_cnn.architectures._backbones import remake_backbone
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._ready_made import BackboneNet

Shapes = dict[str, tuple[int, ...]]


def tensor_shapes(plan: Plan) -> Shapes:
    """The state dict of a network as shapes.

    Parameters
    ----------
    plan : Plan
        Of any architecture but a network of the user's own.

    Returns
    -------
    dict of str to tuple of int
        Shapes by name.

    Raises
    ------
    ValueError
        For a backbone that is another than at the time of its plan.
    ImportError
        Without the library that makes the backbone.
    """
    channels = {"input": plan.input_shape[0], **{layer.name: layer.output_shape[0] for layer in plan.layers}}
    shapes: Shapes = {}
    for layer in plan.layers:
        if layer.ready_made:
            assert isinstance(plan.architecture, BackboneNet)
            own = backbone_shapes(plan.architecture)
        else:
            own = KINDS[layer.kind].tensors(layer, channels[layer.reads[0]])
        shapes.update({f"layers.{layer.name}.{name}": shape for name, shape in own.items()})
    return shapes


def backbone_shapes(backbone: BackboneNet) -> Shapes:
    """The state dict of a backbone as shapes. Its weights take no memory meanwhile.

    Raises
    ------
    ValueError
        Where its library makes another network than that which the facts are of.
    ImportError
        Without that library.
    """
    with suppress(ImportError):  # remake_backbone names what is missing
        # Not below: modules compute with tensors when they are first imported.
        import_module("timm" if backbone.name.startswith("timm:") else "torchvision.models")
    with _Unallocated():
        module = remake_backbone(backbone.name, backbone.size, backbone.input_shape[0], seed=0)
    there = {name for name, _ in module.named_modules()}
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    if n_parameters != backbone.n_parameters or not there.issuperset("+".join(backbone.parts).split("+")):
        raise ValueError(
            f"architecture={backbone.name!r} is another network here than where it was trained: its parts or its "
            f"number of parameters differ. Use the version of the library with which it was trained."
        )
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


class _Unallocated(TorchFunctionMode):
    """Gives weights, which are made empty and filled later, no memory.

    ``torch.device("meta")`` would be simpler, but some networks compute their widths by tensors, which it empties too.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
