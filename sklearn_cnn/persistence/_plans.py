"""Plans as JSON, and the tensors that a plan needs, found before any of them is made.

A plan is stored as the architecture that it was laid out from, and is laid out again by the code of this package.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sklearn_cnn.architectures._backbones import is_backbone, make_backbone
from sklearn_cnn.architectures._catalog import CATALOG, CatalogNet
from sklearn_cnn.architectures._conv_blocks import ConvBlock, ConvNet
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._ready_made import BackboneNet
from sklearn_cnn.architectures._spec import ACTIVATIONS, PADDING_MODES
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._untrusted import (
    Check,
    is_flag,
    is_number,
    is_side,
    is_size,
    is_text,
    list_of,
    malformed,
    one_of,
    read_fields,
)

Shapes = dict[str, tuple[int, ...]]

LAYOUT = 1
"""Version of how architectures are laid out. A new one comes where the same architecture becomes other layers."""

_ARCHITECTURES = {"conv": ConvNet, "catalog": CatalogNet, "backbone": BackboneNet}

_pair = list_of(is_side, 2)


def _is_share(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value < 1


def _is_padding(value: Any) -> bool:
    return value in ("same", "valid") or list_of(lambda side: side == 0 or is_side(side), 2)(value)


_BLOCK: dict[str, Check] = {
    "filters": is_side,
    **dict.fromkeys(("kernel_size", "stride", "dilation", "pool_size", "pool_stride"), _pair),
    "padding": _is_padding,
    "n_convs": is_side,
    "pooling": one_of("max", "avg", None),
}
_FIELDS: dict[str, dict[str, Check]] = {
    "conv": {
        "blocks": list_of(lambda block: isinstance(block, dict)),
        "padding_mode": one_of(*PADDING_MODES),
        "global_pooling": one_of("avg", "max", None),
        "activation": one_of(*ACTIVATIONS),
        "normalization": one_of("batch", None),
        "hidden_layer_sizes": list_of(is_side),
        "dropout": _is_share,
        "standardize": is_flag,
    },
    "catalog": {"name": one_of(*CATALOG), "dropout": _is_share, "standardize": is_flag},
    "backbone": {
        "name": is_backbone,
        "dropout": _is_share,
        "standardize": is_flag,
        "input_shape": list_of(is_side, 3),
        "output_shape": list_of(is_side, 1, 3),
        "n_parameters": is_size,
        "n_macs": is_size,
        "exact": is_flag,
        "needs_two": is_flag,
        "normalization": one_of("batch", "layer", None),
        "parts": list_of(is_text),
        "size": _pair,
        "mean": list_of(is_number),
        "std": list_of(is_number),
    },
}
_PLAN: dict[str, Check] = {
    "layout": is_size,
    "architecture": lambda value: isinstance(value, dict),
    "input_shape": list_of(is_side, 3),
    "n_outputs": is_side,
    "trainable_blocks": lambda value: value == "all" or is_size(value),
}


def write_plan(plan: Plan, path: str) -> dict[str, Any]:
    """Turn a plan into JSON.

    Parameters
    ----------
    plan : Plan
        The plan.
    path : str
        Its path, see `ValueWriter`.

    Returns
    -------
    dict
        The argument of `read_plan`.

    Raises
    ------
    TypeError, ValueError
        For a network of the user's own, and for a plan that its architecture does not give.
    """
    kind = next((kind for kind, cls in _ARCHITECTURES.items() if type(plan.architecture) is cls), None)
    if kind is None:
        raise TypeError(
            f"{path} is that of a {type(plan.architecture).__name__}, a network of your own, which a saved model cannot "
            f"hold; save module_.state_dict(), or use pickle, which runs code when it loads a file."
        )
    architecture = {"kind": kind, **asdict(plan.architecture)}  # type: ignore[call-overload]  # it is a dataclass
    content = {
        "layout": LAYOUT,
        "architecture": architecture,
        "input_shape": plan.input_shape,
        "n_outputs": plan.output_shape[0],
        "trainable_blocks": plan.trainable_blocks,
    }
    if plan.architecture.plan(plan.input_shape, plan.output_shape[0]).with_trainable(plan.trainable_blocks) != plan:
        raise ValueError(f"{path} was changed after fit, and a saved model cannot hold it; fit the estimator again.")
    return content


def read_plan(content: Any, n_tensors: int) -> Plan:
    """Lay a plan out again.

    Parameters
    ----------
    content : object
        From `parse`.
    n_tensors : int
        Tensors in the file, more than any plan of it has convolutions and dense layers.

    Returns
    -------
    Plan
        The plan.

    Raises
    ------
    ModelFileError
        For JSON that `write_plan` does not write, and for an architecture that is impossible for its images.
    """
    fields = read_fields(content, _PLAN, "plan")
    if fields["layout"] != LAYOUT:
        raise ModelFileError(f"its plan has layout {fields['layout']}, which needs a newer sklearn-cnn; update it")
    architecture = _read_architecture(fields["architecture"], n_tensors)
    try:
        plan: Plan = architecture.plan(fields["input_shape"], fields["n_outputs"])
        return plan.with_trainable(fields["trainable_blocks"])
    except ValueError as error:
        raise malformed(f"impossible plan: {str(error)[:200]}") from None


def _read_architecture(content: Mapping[str, Any], n_tensors: int) -> Any:
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _ARCHITECTURES:
        raise malformed(f"malformed architecture: its kind is none of {', '.join(_ARCHITECTURES)}")
    fields = {name: value for name, value in content.items() if name != "kind"}
    fields = read_fields(fields, _FIELDS[kind], "architecture")
    if kind == "conv":
        fields["blocks"] = tuple(ConvBlock(**read_fields(block, _BLOCK, "block")) for block in fields["blocks"])
        # Before it is laid out, since a block of a billion convolutions is a small file.
        if sum(block.n_convs for block in fields["blocks"]) + len(fields["hidden_layer_sizes"]) > n_tensors:
            raise malformed("impossible plan: it has more layers than the file has tensors")
    return _ARCHITECTURES[kind](**fields)


class _Unallocated(TorchFunctionMode):
    """Gives weights, which are made empty and filled later, no memory.

    ``torch.device("meta")`` would be simpler, but some networks compute their widths by tensors, which it empties too.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def tensor_shapes(plan: Plan) -> Shapes:
    """The tensors in the state dict of a plan's network, found without making it.

    Parameters
    ----------
    plan : Plan
        From `read_plan`.

    Returns
    -------
    dict of str to tuple of int
        Shapes by name.

    Raises
    ------
    ModelFileError
        For a backbone that is not as its plan says.
    ImportError
        Without the library that makes the backbone.
    """
    channels = {"input": plan.input_shape[0], **{layer.name: layer.output_shape[0] for layer in plan.layers}}
    shapes: Shapes = {}
    for layer in plan.layers:
        own = (
            _shapes_of_backbone(layer, plan)
            if layer.ready_made
            else KINDS[layer.kind].tensors(layer, channels[layer.reads[0]])
        )
        shapes.update({f"layers.{layer.name}.{name}": shape for name, shape in own.items()})
    return shapes


def _shapes_of_backbone(layer: Layer, plan: Plan) -> Shapes:
    assert isinstance(plan.architecture, BackboneNet)
    name = plan.architecture.name
    with suppress(ImportError):  # make_backbone names what is missing
        # Not below: modules compute with tensors when they are first imported.
        import_module("timm" if name.startswith("timm:") else "torchvision.models")
    with _Unallocated():
        module: nn.Module = make_backbone(name, plan.input_shape[0], seed=0).module
    there = {name for name, _ in module.named_modules()}
    if not there.issuperset(part for parts in layer.parts for part in parts.split("+")):
        raise malformed(f"the network {name!r} of this version has other parts than the one that was saved")
    if layer.n_parameters != sum(parameter.numel() for parameter in module.parameters()):
        raise malformed(f"the network {name!r} of this version has other weights than the one that was saved")
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
