"""The parameters of an estimator, in all the forms that users may write them, become a `ConvNet`."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_cnn.architectures._conv_blocks import ConvBlock, ConvNet
from sklearn_cnn.architectures._layer import Pair

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity")
PADDING_MODES = ("zeros", "replicate", "reflect", "circular")
POOLINGS = ("max", "avg")


def conv_architecture(
    *,
    filters: int | Sequence[int],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    padding_mode: str,
    dilation: Any,
    convs_per_block: Any,
    pooling: Any,
    pool_size: Any,
    pool_stride: Any,
    global_pooling: Any,
    activation: str,
    normalization: Any,
    hidden_layer_sizes: int | Sequence[int],
    dropout: float,
    standardize: bool,
    whiten: int = 0,
) -> ConvNet:
    """Turn the parameters of an estimator into a `ConvNet`.

    Parameters
    ----------
    filters : int or sequence of int
        Output channels, one entry for each block.
    kernel_size, stride, padding, dilation, convs_per_block, pooling, pool_size, pool_stride : object
        One value for all blocks, or a sequence with one entry for each block (one entry alone is for all blocks). Sizes
        are an int or a ``(height, width)`` pair.
    padding_mode, global_pooling, activation, normalization, hidden_layer_sizes, dropout, standardize : object
        As in `CNNClassifier`.
    whiten : int, default=0
        As in `ConvNet`.

    Returns
    -------
    ConvNet
        The same settings, each in one form.

    Raises
    ------
    ValueError
        Where a value, or the length of a sequence, cannot be used.
    """
    widths = _positive_ints("filters", filters)
    n = len(widths)
    kernels = _per_block("kernel_size", kernel_size, n, _size)
    strides = _per_block("stride", stride, n, _size)
    paddings = _per_block("padding", padding, n, _padding)
    dilations = _per_block("dilation", dilation, n, _size)
    counts = _per_block("convs_per_block", convs_per_block, n, _count)
    pools = _per_block("pooling", pooling, n, _pooling)
    pool_sizes = _per_block("pool_size", pool_size, n, _size)
    pool_strides = [
        size if step is None else step
        for size, step in zip(pool_sizes, _per_block("pool_stride", pool_stride, n, _size_or_none), strict=True)
    ]
    return ConvNet(
        blocks=tuple(
            ConvBlock(*settings)
            for settings in zip(
                widths, kernels, strides, paddings, dilations, counts, pools, pool_sizes, pool_strides, strict=True
            )
        ),
        padding_mode=padding_mode,
        global_pooling=global_pooling,
        activation=activation,
        normalization=normalization,
        hidden_layer_sizes=_positive_ints("hidden_layer_sizes", hidden_layer_sizes),
        dropout=float(dropout),
        standardize=bool(standardize),
        whiten=whiten,
    )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _positive_ints(name: str, value: Any) -> tuple[int, ...]:
    return tuple(_count(name, entry) for entry in (value if _is_sequence(value) else [value]))


def _per_block(name: str, value: Any, n_blocks: int, read: Callable[[str, Any], Any]) -> list[Any]:
    entries = [read(name, entry) for entry in (value if _is_sequence(value) else [value])]
    if len(entries) == 1:
        return entries * n_blocks
    if len(entries) != n_blocks:
        raise ValueError(
            f"{name}={value!r} has {len(entries)} entries for {n_blocks} conv blocks (filters has one entry a "
            f"block); give one value for all blocks, or one entry a block. A (height, width) pair for all blocks "
            f"is written {name}=[(h, w)]."
        )
    return entries


def _integer(name: str, value: Any, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool | np.bool_) or value < least:
        raise ValueError(f"{name} takes integers of at least {least}; got {value!r}.")
    return int(value)


def _pair(name: str, value: Any, least: int) -> Pair:
    if not _is_sequence(value):
        side = _integer(name, value, least)
        return side, side
    if len(value) != 2:
        raise ValueError(f"an entry of {name} is an int or a (height, width) pair; got {value!r}.")
    return _integer(name, value[0], least), _integer(name, value[1], least)


def _choice(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"an entry of {name} is one of {', '.join(map(repr, choices))}; got {value!r}.")
    return None if value is None else str(value)


# How the entry of one block is read.


def _count(name: str, value: Any) -> int:
    return _integer(name, value, 1)


def _size(name: str, value: Any) -> Pair:
    return _pair(name, value, 1)


def _size_or_none(name: str, value: Any) -> Pair | None:
    return None if value is None else _size(name, value)


def _padding(name: str, value: Any) -> Any:
    return _choice(name, value, ("same", "valid")) if isinstance(value, str) else _pair(name, value, 0)


def _pooling(name: str, value: Any) -> Any:
    return _choice(name, value, (*POOLINGS, None))
