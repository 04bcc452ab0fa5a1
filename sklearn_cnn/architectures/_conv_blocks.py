"""Networks of conv blocks, as the parameters of an estimator describe them."""

from dataclasses import dataclass
from typing import Literal

from sklearn_cnn.architectures._draft import NO_PADDING, Draft
from sklearn_cnn.architectures._geometry import same_padding
from sklearn_cnn.architectures._layer import Pair, Sides
from sklearn_cnn.architectures._plan import Plan

SMALLEST_WINDOW = 2
"""Side of the windows that are whitened, in pixels, where their step is not larger (Jordan 2024, arXiv:2404.00498,
section 3.2)."""


@dataclass(frozen=True)
class ConvBlock:
    """One block: convolutions, a pool after the first of them, normalisation and activation.

    Attributes
    ----------
    filters : int
        Output channels of each convolution.
    kernel_size, dilation : (int, int)
        Of each convolution.
    stride : (int, int)
        Of the first convolution; the others have stride 1.
    padding : (int, int), "same" or "valid"
        Pixels added above and below, and left and right, before each convolution.
    n_convs : int
        Number of convolutions.
    pooling : {"max", "avg"} or None
        Kind of the pool.
    pool_size, pool_stride : (int, int)
        Of the pool.
    """

    filters: int
    kernel_size: Pair
    stride: Pair
    padding: Pair | Literal["same", "valid"]
    dilation: Pair
    n_convs: int
    pooling: Literal["max", "avg"] | None
    pool_size: Pair
    pool_stride: Pair

    def __post_init__(self) -> None:
        pairs = (self.kernel_size, self.stride, self.dilation, self.pool_size, self.pool_stride)
        if min(self.filters, self.n_convs, *(side for pair in pairs for side in pair)) < 1:
            raise ValueError(f"sizes, steps and numbers of a conv block are at least 1; got {self}.")


@dataclass(frozen=True)
class ConvNet:
    """An architecture of conv blocks and dense layers.

    Attributes
    ----------
    blocks : tuple of ConvBlock
        The blocks, first to last.
    padding_mode, global_pooling, activation, normalization, hidden_layer_sizes, dropout, standardize : object
        As in `CNNClassifier`.
    whiten : int
        Step between the windows of standardised pixels that are whitened before the first block; 0 for none.
    """

    blocks: tuple[ConvBlock, ...]
    padding_mode: str = "zeros"
    global_pooling: Literal["avg", "max"] | None = None
    activation: str = "relu"
    normalization: Literal["batch"] | None = "batch"
    hidden_layer_sizes: tuple[int, ...] = (128,)
    dropout: float = 0.25
    standardize: bool = True
    whiten: int = 0

    @property
    def lr_share(self) -> float:
        """Its share of the usual learning rate: all of it."""
        return 1.0

    def plan(self, input_shape: tuple[int, int, int], n_outputs: int) -> Plan:
        """Lay the network out, see `Architecture.plan`.

        Raises
        ------
        ValueError
            Where a convolution does not fit its input, or a padding is too large for its mode.
        """
        draft = Draft(input_shape)
        if self.standardize:
            draft.standardize()
        if self.whiten:
            draft.whiten(max(SMALLEST_WINDOW, self.whiten), self.whiten)
            draft.activate(f"whiten_{self.activation}", self.activation)
        for number, block in enumerate(self.blocks, start=1):
            draft.block = f"block{number}"
            _add_block(draft, self, block, number)
        draft.block = "head"
        if self.global_pooling is not None:
            draft.global_pool(self.global_pooling)
        else:
            draft.flatten()
        for number, width in enumerate(self.hidden_layer_sizes, start=1):
            draft.drop(f"dense{number}_dropout", self.dropout)
            draft.dense(f"dense{number}", width, self.activation)
            draft.activate(f"dense{number}_{self.activation}", self.activation)
        draft.drop("output_dropout", self.dropout)
        draft.dense("output", n_outputs, None)
        return draft.plan(self)


def _add_block(draft: Draft, net: ConvNet, block: ConvBlock, number: int) -> None:
    """Add a convolution, a pool, a normalisation and an activation; then further convolutions with stride 1, no pool.

    The pool comes before normalisation and activation: after a 2×2 pool these run on a quarter of the values.
    """
    padding = _sides(block)
    for i in range(block.n_convs):
        suffix = "" if block.n_convs == 1 else f"_{i + 1}"
        _check_conv(draft, net, block, number, padding)
        draft.conv(
            f"block{number}_conv{suffix}",
            block.filters,
            block.kernel_size,
            stride=block.stride if i == 0 else (1, 1),
            padding=padding,
            dilation=block.dilation,
            padding_mode=net.padding_mode,
            bias=net.normalization is None,  # a normalisation subtracts it again
            activation=net.activation,
            identity=net.normalization is not None,  # it sets filters of unlike sizes to one scale
        )
        if i == 0 and block.pooling is not None:
            draft.pool(f"block{number}_pool", block.pooling, block.pool_size, block.pool_stride)
        if net.normalization == "batch":
            draft.norm(f"block{number}_norm{suffix}")
        draft.activate(f"block{number}_{net.activation}{suffix}", net.activation)


def _sides(block: ConvBlock) -> Sides:
    if block.padding == "valid":
        return NO_PADDING
    if block.padding == "same":
        return (
            *same_padding(block.kernel_size[0], block.dilation[0]),
            *same_padding(block.kernel_size[1], block.dilation[1]),
        )
    vertical, horizontal = block.padding
    return (vertical, vertical, horizontal, horizontal)


def _check_conv(draft: Draft, net: ConvNet, block: ConvBlock, number: int, padding: Sides) -> None:
    _, height, width = draft.shape_of()
    room = (height + padding[0] + padding[1], width + padding[2] + padding[3])
    if draft.span_exceeds(block.kernel_size, padding, block.dilation):
        largest = tuple((room[axis] - 1) // block.dilation[axis] + 1 for axis in (0, 1))
        fewer = f", or at most {number - 1} block{'s' if number > 2 else ''}" if number > 1 else ""
        dilated = "" if block.dilation == (1, 1) else f" with dilation={_setting(block.dilation)}"
        padded = "" if not any(padding) else f" padded to {room[0]}×{room[1]}"
        raise ValueError(
            f"conv block {number}: kernel_size={_setting(block.kernel_size)}{dilated} exceeds its {height}×{width} "
            f'input{padded} ({_chain(draft)}); use padding="same"{", or" if not fewer else ","} '
            f"kernel_size<={_setting(largest)}{fewer}"
        )
    # A reflection is at most as wide as the map without its edge, a circular padding as wide as the map.
    limit = {"reflect": (height - 1, width - 1), "circular": (height, width)}.get(net.padding_mode)
    if limit is not None and (max(padding[:2]) > limit[0] or max(padding[2:]) > limit[1]):
        raise ValueError(
            f"conv block {number}: padding_mode={net.padding_mode!r} cannot add "
            f"{_setting((max(padding[:2]), max(padding[2:])))} pixels a side to its {height}×{width} input "
            f"({_chain(draft)}); "
            f'use padding_mode="replicate" or "zeros", a smaller kernel_size, or fewer blocks'
        )


def _chain(draft: Draft) -> str:
    """The sizes of the maps so far. Only for messages: asked at every convolution, it would take quadratic time."""
    return "→".join(str(h) if h == w else f"{h}×{w}" for h, w in _without_repeats(draft.sizes()))


def _setting(pair: tuple[int, ...]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else str(pair)


def _without_repeats(sizes: list[Pair]) -> list[Pair]:
    return [size for i, size in enumerate(sizes) if i == 0 or size != sizes[i - 1]]
