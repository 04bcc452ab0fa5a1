"""Plans as JSON, and what they take before anything of it is made."""

from contextlib import suppress
from dataclasses import MISSING, fields, replace
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sklearn_cnn.architectures._backbones import make_backbone
from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._spec import ACTIVATIONS, PADDING_MODES
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._text import is_whole

Shapes = dict[str, tuple[int, ...]]

_LARGEST = 2**31  # what torch's constructors take for a side


def write_plan(plan: Plan) -> dict[str, Any]:
    """Turn a plan into JSON: of its rows, what is not at its default.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    dict
        What `read_plan` takes.
    """
    rows = [
        {field.name: getattr(row, field.name) for field in fields(Layer) if getattr(row, field.name) != field.default}
        for row in plan.layers
    ]
    return {"input_shape": list(plan.input_shape), "note": plan.note, "layers": rows}


def read_plan(content: Any) -> Plan:
    """Turn JSON into a plan, whose rows fit each other.

    Parameters
    ----------
    content : object
        From `parse`.

    Returns
    -------
    Plan
        The plan.

    Raises
    ------
    ModelFileError
        Where it is none, or a row is not what its settings make of the rows that it reads.
    """
    if not isinstance(content, dict) or set(content) != {"input_shape", "note", "layers"}:
        raise ModelFileError("its plan is none")
    shape, note, rows = content["input_shape"], content["note"], content["layers"]
    if not _are_sides(shape, 3) or not isinstance(note, str) or not isinstance(rows, list) or not rows:
        raise ModelFileError("its plan is none")
    draft = Draft((shape[0], shape[1], shape[2]))
    layers: list[Layer] = []
    names = {"input"}
    for row in map(_read_row, rows):
        if row.name in names or not names.issuperset(row.reads) or not row.reads:
            raise ModelFileError(f"row {row.name!r} of its plan comes twice, or reads rows that are not there")
        try:
            _draw(draft, row)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            raise ModelFileError(f"row {row.name!r} of its plan cannot be") from None
        drawn = draft.layers[-1]
        # A pool's own window is stored, and not the larger one that may have been clipped to it.
        left = replace(drawn, clipped=row.clipped, frozen=row.frozen, frozen_parts=row.frozen_parts)
        if left != row:
            raise ModelFileError(f"row {row.name!r} of its plan is not what its settings make it")
        names.add(row.name)
        layers.append(row)
    return Plan(draft.input_shape, tuple(layers), note)


def _are_sides(value: Any, length: int | None = None) -> bool:
    return (
        isinstance(value, list)
        and length in (None, len(value))
        and all(is_whole(side) and 0 < side < _LARGEST for side in value)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_FIELDS = {
    "name": _is_text,
    "kind": _is_text,
    "reads": _are_texts,
    "output_shape": lambda value: _are_sides(value) and len(value) in (1, 3),
    "receptive_field": lambda value: _are_sides(value, 2),
    "n_parameters": is_whole,
    "n_macs": is_whole,
    "kernel": lambda value: _are_sides(value, 2),
    "stride": lambda value: _are_sides(value, 2),
    "dilation": lambda value: _are_sides(value, 2),
    "padding": lambda value: (
        isinstance(value, list) and len(value) == 4 and all(is_whole(side) and side < _LARGEST for side in value)
    ),
    "padding_mode": lambda value: value in PADDING_MODES,
    "bias": _is_flag,
    "clipped": _is_flag,
    "ceil": _is_flag,
    "eps": lambda value: isinstance(value, float) and value > 0,
    "activation": lambda value: value in ACTIVATIONS,
    "dropout": lambda value: isinstance(value, float) and 0 < value < 1,
    "block": _is_text,
    "frozen": _is_flag,
    "exact": _is_flag,
    "needs_two": _is_flag,
    "parts": _are_texts,
    "frozen_parts": _are_texts,
}
_NEEDED = {f.name for f in fields(Layer) if f.default is MISSING}


def _read_row(content: Any) -> Layer:
    if not isinstance(content, dict) or not _NEEDED <= set(content) <= set(_FIELDS):
        raise ModelFileError("its plan has a row that is none")
    for name, value in content.items():
        if not _FIELDS[name](value):
            raise ModelFileError(f"its plan has a row whose {name} cannot be")
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return Layer(**settings)


def _draw(draft: Draft, row: Layer) -> None:
    """Draw a row anew, from its settings and the shapes of what it reads."""
    draft.block = row.block
    settings: dict[str, Any] = {"reads": row.reads}
    shapes = [draft.shape_of(name) for name in row.reads]
    if row.kind == "conv":
        if row.kernel is None or row.stride is None or row.dilation is None or row.padding is None:
            raise ValueError("settings are missing")
        draft.conv(
            row.name,
            row.output_shape[0],
            row.kernel,
            stride=row.stride,
            padding=row.padding,
            dilation=row.dilation,
            padding_mode=row.padding_mode,
            bias=row.bias,
            activation=row.activation or "",
            reads=row.reads[0],
        )
        return
    if row.kind in ("max_pool", "avg_pool"):
        if row.kernel is None or row.stride is None:
            raise ValueError("settings are missing")
        padding = row.padding[0] if row.padding else 0
        if 2 * padding > min(row.kernel):
            raise ValueError("torch refuses such a padding")
        draft.pool(row.name, row.kind[:3], row.kernel, row.stride, padding=padding, ceil=row.ceil, reads=row.reads[0])
        return
    if row.kind == "concat":
        settings["shape"] = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        if len({shape[1:] for shape in shapes}) > 1:
            raise ValueError("maps of several sizes")
    elif row.kind == "sum":
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            raise ValueError("maps of several shapes")
    elif len(shapes) > 1:
        raise ValueError("several maps")
    if row.kind in _MAPS and len(shapes[0]) != 3:
        raise ValueError("no maps")
    draft.add(row.name, row.kind, **{**settings, **_SETTINGS[row.kind](row, shapes[0])})


def _dense(row: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    (n_inputs,), (width,) = shape, row.output_shape
    return {
        "shape": (width,),
        "n_parameters": n_inputs * width + width,
        "n_macs": n_inputs * width,
        "bias": True,
        "activation": row.activation,
    }


def _module(row: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    settings = ("n_parameters", "n_macs", "exact", "needs_two", "parts")
    return {"shape": row.output_shape, "whole_image": True, **{name: getattr(row, name) for name in settings}}


def _adaptive(row: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    channels, height, width = row.output_shape
    if channels != shape[0] or height > shape[1] or width > shape[2]:
        raise ValueError("maps made larger")
    return {"shape": row.output_shape, "whole_image": True}


_MAPS = ("standardize", "batch_norm", "concat", "flatten", "global_avg_pool", "global_max_pool", "adaptive_avg_pool")
_SETTINGS = {
    "standardize": lambda row, shape: {},
    "batch_norm": lambda row, shape: {
        "n_parameters": 2 * shape[0],
        "eps": row.eps,
        "needs_two": shape[1:] == (1, 1),
    },
    "activation": lambda row, shape: {"activation": {name: name for name in ACTIVATIONS[:-1]}[row.activation]},
    "dropout": lambda row, shape: {"dropout": row.dropout},
    "dense": _dense,
    "flatten": lambda row, shape: {"shape": (shape[0] * shape[1] * shape[2],), "whole_image": True},
    "global_avg_pool": lambda row, shape: {"shape": shape[:1], "whole_image": True},
    "global_max_pool": lambda row, shape: {"shape": shape[:1], "whole_image": True},
    "adaptive_avg_pool": _adaptive,
    "sum": lambda row, shape: {},
    "concat": lambda row, shape: {},
    "module": _module,
}


class _Unallocated(TorchFunctionMode):
    """Weights, which are made empty to be filled later, take no memory.

    ``torch.device("meta")`` would be simpler, but some networks compute their widths by tensors, which it empties too.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def tensor_shapes(plan: Plan, architecture: Any) -> Shapes:
    """What the network of a plan has in its state dict, found without making it.

    Parameters
    ----------
    plan : Plan
        From `read_plan`.
    architecture : object
        Of the estimator: the name of a backbone, where the plan has one.

    Returns
    -------
    dict of str to tuple of int
        Shapes by name.

    Raises
    ------
    ModelFileError
        Where the plan has parts of a backbone that the backbone has not.
    ImportError
        Where the library that has the backbone is not there.
    """
    channels = {"input": plan.input_shape[0], **{row.name: row.output_shape[0] for row in plan.layers}}
    shapes: Shapes = {}
    for row in plan.layers:
        if row.kind == "module":
            own = _shapes_of_backbone(row, architecture, plan.input_shape[0])
        else:
            own = _shapes_of_row(row, channels[row.reads[0]])
        shapes.update({f"layers.{row.name}.{name}": shape for name, shape in own.items()})
    return shapes


def _shapes_of_row(row: Layer, n_inputs: int) -> Shapes:
    n_outputs = row.output_shape[0]
    if row.kind == "standardize":
        return dict.fromkeys(("mean", "std"), (n_inputs, 1, 1))
    if row.kind == "batch_norm":
        vectors = ("weight", "bias", "running_mean", "running_var")
        return {**dict.fromkeys(vectors, (n_outputs,)), "num_batches_tracked": ()}
    if row.kind not in ("conv", "dense"):
        return {}
    weight = (n_outputs, n_inputs, *(row.kernel or ()))
    return {"weight": weight, **({"bias": (n_outputs,)} if row.bias else {})}


def _shapes_of_backbone(row: Layer, name: str, n_channels: int) -> Shapes:
    with suppress(ImportError):  # make_backbone says what is missing
        # Not below: modules compute with tensors when they are first imported.
        import_module("timm" if name.startswith("timm:") else "torchvision.models")
    with _Unallocated():
        module: nn.Module = make_backbone(name, n_channels, seed=0).module
    there = {name for name, _ in module.named_modules()}
    if not there.issuperset(part for parts in row.parts for part in parts.split("+")):
        raise ModelFileError(f"its plan has parts of {name!r} that this one has not")
    if not set(row.frozen_parts) <= set(row.parts):
        raise ModelFileError("its plan freezes parts that it has not")
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
