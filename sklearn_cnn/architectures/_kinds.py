"""The kinds of layers: one entry of a table says all that differs from kind to kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from sklearn_cnn.architectures._dropout import SeededDropout
from sklearn_cnn.architectures._layer import Layer, Pair
from sklearn_cnn.architectures._torch_modules import (
    Concat,
    Dense,
    GlobalAvgPool,
    GlobalMaxPool,
    Standardize,
    Sum,
    UnevenConv2d,
    Whiten,
)

Shape = tuple[int, ...]

ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
"""Activation functions that are a layer. The identity is none."""

_PAD_MODES = {"zeros": "constant", "replicate": "replicate", "reflect": "reflect", "circular": "circular"}


def _no_tensors(layer: Layer, n_inputs: int) -> dict[str, Shape]:
    return {}


def _same_shape(*inputs: Shape) -> Shape:
    return inputs[0]


@dataclass(frozen=True)
class LayerKind:
    """What a kind of layer is, for everyone who draws up, builds, shows or looks into a network.

    Attributes
    ----------
    build : callable
        ``(layer, n_inputs) -> torch.nn.Module``: makes the module for that many input channels or features. Weights
        are not drawn. A ready-made module cannot be built here.
    parameters : callable
        ``(layer, n_inputs) -> {name: shape}``: the trained tensors of the module, by their names in its state dict.
    buffers : callable
        Likewise the tensors that are kept with it and not trained.
    output_shape : callable or None
        ``(*input_shapes) -> shape``, where the shape follows from the inputs alone. None where it depends on
        settings too; `Draft` then computes it.
    sees : {"inputs", "window", "image"}
        What one output value depends on: the values at its place in the inputs, a window around that place, or the
        whole image.
    box : str or None
        What its box in a picture is, one of ``COLOURS`` in ``_boxes.py``. None for a kind that is only written below
        the box before.
    label : str or None
        How it is written there. By default its name in the table.
    drawn : bool
        Whether its first weights are drawn at random.
    mixes : bool
        Whether it computes new maps out of several others.
    pointwise : bool
        Whether it changes each value of a map by a function of this value alone.
    only_trains : bool
        Whether it changes nothing in a prediction.
    whitens : bool
        Whether its weights follow from windows of the training images.
    rewritable : bool
        Whether a layer behind it may write over its output in training: its gradient does not need it.
    """

    build: Callable[[Layer, int], nn.Module]
    parameters: Callable[[Layer, int], dict[str, Shape]] = _no_tensors
    buffers: Callable[[Layer, int], dict[str, Shape]] = _no_tensors
    output_shape: Callable[..., Shape] | None = _same_shape
    sees: Literal["inputs", "window", "image"] = "inputs"
    box: str | None = None
    label: str | None = None
    drawn: bool = False
    mixes: bool = False
    pointwise: bool = False
    only_trains: bool = False
    whitens: bool = False
    rewritable: bool = False

    def tensors(self, layer: Layer, n_inputs: int) -> dict[str, Shape]:
        """All tensors in the state dict of the module, by name: trained and kept."""
        return {**self.parameters(layer, n_inputs), **self.buffers(layer, n_inputs)}


def _unset(cls: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """Make a module without drawing its weights, which torch would draw from the global generator."""
    return nn.utils.skip_init(cls, *args, **kwargs)  # type: ignore[no-untyped-call]  # torch has no types here


def _conv(layer: Layer, n_inputs: int) -> nn.Module:
    assert layer.kernel is not None and layer.stride is not None and layer.dilation is not None
    assert layer.padding is not None
    top, bottom, left, right = layer.padding
    settings: dict[str, Any] = {
        "kernel_size": layer.kernel,
        "stride": layer.stride,
        "dilation": layer.dilation,
        "bias": layer.bias,
    }
    channels = n_inputs, layer.output_shape[0]
    if (top, left) == (bottom, right) and not layer.exact:
        return _unset(nn.Conv2d, *channels, padding=(top, left), padding_mode=layer.padding_mode, **settings)
    mode = _PAD_MODES[layer.padding_mode]
    return _unset(UnevenConv2d, *channels, sides=layer.padding, mode=mode, steps_over=layer.exact, **settings)


def _pair(setting: Pair | None) -> Pair:
    assert setting is not None
    return setting


def _weight_and_bias(layer: Layer, n_inputs: int) -> dict[str, Shape]:
    n_outputs = layer.output_shape[0]
    weight = {"weight": (n_outputs, n_inputs, *(layer.kernel or ()))}
    return {**weight, "bias": (n_outputs,)} if layer.bias else weight


def _pool(cls: type[nn.MaxPool2d] | type[nn.AvgPool2d]) -> Callable[[Layer, int], nn.Module]:
    def build(layer: Layer, _: int) -> nn.Module:
        assert layer.kernel is not None
        padding = 0 if layer.padding is None else layer.padding[0]
        return cls(layer.kernel, layer.stride, padding=padding, ceil_mode=layer.ceil)

    return build


def _activation(layer: Layer, _: int) -> nn.Module:
    assert layer.activation is not None
    return ACTIVATION_MODULES[layer.activation]()


def _given(layer: Layer, _: int) -> nn.Module:
    raise TypeError(f"layer {layer.name!r} is a ready-made module: pass it to build_network.")


def _vectors(*names: str) -> Callable[[Layer, int], dict[str, Shape]]:
    """Tensors with one number a channel."""
    return lambda layer, n_inputs: dict.fromkeys(names, (n_inputs,))


def _one_of_each_channel(*inputs: Shape) -> Shape:
    return inputs[0][:1]


def _flat(*inputs: Shape) -> Shape:
    channels, height, width = inputs[0]
    return (channels * height * width,)


def _joined(*inputs: Shape) -> Shape:
    return (sum(shape[0] for shape in inputs), *inputs[0][1:])


# Device and dtype are stated wherever a module has tensors: torch's defaults for both may have been changed.
KINDS: dict[str, LayerKind] = {
    "standardize": LayerKind(
        lambda layer, n_inputs: Standardize(n_inputs),
        buffers=lambda layer, n_inputs: dict.fromkeys(("mean", "std"), (n_inputs, 1, 1)),
        pointwise=True,
    ),
    "whiten": LayerKind(
        lambda layer, n_inputs: Whiten(n_inputs, layer.output_shape[0], _pair(layer.kernel), _pair(layer.stride)),
        buffers=lambda layer, n_inputs: {"weight": (layer.output_shape[0], n_inputs, *_pair(layer.kernel))},
        output_shape=None,
        sees="window",
        mixes=True,
        whitens=True,
        rewritable=True,
    ),
    "conv": LayerKind(
        _conv,
        parameters=_weight_and_bias,
        output_shape=None,
        sees="window",
        box="convolution",
        drawn=True,
        mixes=True,
        rewritable=True,
    ),
    "max_pool": LayerKind(_pool(nn.MaxPool2d), output_shape=None, sees="window", box="pool", rewritable=True),
    "avg_pool": LayerKind(_pool(nn.AvgPool2d), output_shape=None, sees="window", box="pool", rewritable=True),
    "adaptive_avg_pool": LayerKind(
        lambda layer, _: nn.AdaptiveAvgPool2d(layer.output_shape[1:]), output_shape=None, sees="image", box="pool"
    ),
    "batch_norm": LayerKind(
        lambda layer, n_inputs: nn.BatchNorm2d(n_inputs, eps=layer.eps, device="cpu"),
        parameters=_vectors("weight", "bias"),
        buffers=lambda layer, n_inputs: {
            **_vectors("running_mean", "running_var")(layer, n_inputs),
            "num_batches_tracked": (),
        },
        label="norm",
        pointwise=True,
        rewritable=True,
    ),
    "activation": LayerKind(_activation, pointwise=True),
    "global_avg_pool": LayerKind(
        lambda *_: GlobalAvgPool(), output_shape=_one_of_each_channel, sees="image", box="pool"
    ),
    "global_max_pool": LayerKind(
        lambda *_: GlobalMaxPool(), output_shape=_one_of_each_channel, sees="image", box="pool"
    ),
    "flatten": LayerKind(lambda *_: nn.Flatten(), output_shape=_flat, sees="image"),
    "dropout": LayerKind(lambda layer, _: SeededDropout(layer.dropout), only_trains=True),
    "dense": LayerKind(
        lambda layer, n_inputs: _unset(Dense, n_inputs, layer.output_shape[0], bias=layer.bias),
        parameters=_weight_and_bias,
        output_shape=None,
        sees="image",
        box="dense",
        drawn=True,
        rewritable=True,
    ),
    "sum": LayerKind(lambda *_: Sum(), box="sum", mixes=True, rewritable=True),
    "concat": LayerKind(lambda *_: Concat(), output_shape=_joined, box="concatenation", mixes=True),
    # Its module is made elsewhere, and so its tensors are not known here.
    "module": LayerKind(_given, output_shape=None, sees="image", box="ready-made"),
}
"""All kinds of layers by their name, which is the ``kind`` of a `Layer`."""
