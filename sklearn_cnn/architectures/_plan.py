"""The plan: one table that checks a network, describes it and tells the builder what to build."""

import html
from dataclasses import dataclass, field

from sklearn_cnn.architectures._geometry import (
    clipped_pool,
    effective_kernel,
    grow_receptive_field,
    output_size,
    same_padding,
)
from sklearn_cnn.architectures._spec import Architecture, ConvBlock, Pair

Sides = tuple[int, int, int, int]
"""Padding of a map in pixels: top, bottom, left, right."""


@dataclass(frozen=True)
class Layer:
    """One row of a `Plan`.

    Attributes
    ----------
    name : str
        Unique in its plan, such as ``"block1_conv"``.
    kind : str
        What the row computes: ``"standardize"``, ``"conv"``, ``"max_pool"``, ``"avg_pool"``,
        ``"batch_norm"``, ``"activation"``, ``"global_avg_pool"``, ``"global_max_pool"``,
        ``"flatten"``, ``"dropout"`` or ``"dense"``.
    reads : tuple of str
        Names of the rows it takes as input; ``"input"`` is the image.
    output_shape : tuple of int
        ``(channels, height, width)``, or ``(n_features,)``.
    receptive_field : (int, int)
        Height and width, in input pixels, of the part of the image that one output value sees; the
        whole image at most.
    n_parameters : int
        Trained numbers.
    n_macs : int
        Multiply-adds for one image: those of convolutions and dense layers. Pools,
        normalisation and activations count nothing, as is usual.
    kernel, stride, dilation : (int, int) or None
        Settings of the window, where there is one.
    padding : (int, int, int, int) or None
        Pixels added at the top, bottom, left and right.
    padding_mode : str
        What is added there.
    bias : bool
        Whether a convolution or dense layer adds one.
    clipped : bool
        Whether a pool's window was clipped to its map.
    activation : str or None
        Name of the function of an activation row, and of the function that follows a
        convolution or dense layer (its weights are initialised for it).
    dropout : float
        Probability with which a dropout row sets a value to zero.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    output_shape: tuple[int, ...]
    receptive_field: Pair
    n_parameters: int = 0
    n_macs: int = 0
    kernel: Pair | None = None
    stride: Pair | None = None
    dilation: Pair | None = None
    padding: Sides | None = None
    padding_mode: str = "zeros"
    bias: bool = False
    clipped: bool = False
    activation: str | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A network, layer by layer, before a single weight exists.

    Attributes
    ----------
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.
    layers : tuple of Layer
        The rows, in the order in which they run.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...] = field(repr=False)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the network gives for one image."""
        return self.layers[-1].output_shape

    @property
    def n_parameters(self) -> int:
        """Trained numbers in total."""
        return sum(layer.n_parameters for layer in self.layers)

    @property
    def n_macs(self) -> int:
        """Multiply-adds for one image, in total."""
        return sum(layer.n_macs for layer in self.layers)

    def __str__(self) -> str:
        rows = self._table()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([self._title(), rule, lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _repr_html_(self) -> str:
        head, *body, total = self._table()
        rows = "".join(_html_row(row, "td") for row in body)
        return (
            f"<table><caption>{html.escape(self._title())}</caption><thead>{_html_row(head, 'th')}</thead>"
            f"<tbody>{rows}</tbody><tfoot>{_html_row(total, 'th')}</tfoot></table>"
        )

    def _title(self) -> str:
        channels, height, width = self.input_shape
        outputs = self.output_shape[0]
        return f"{height}×{width}×{channels} image to {outputs} output{'s' if outputs > 1 else ''}"

    def _table(self) -> list[list[str]]:
        head = ["layer", "kernel", "stride", "padding", "output", "sees", "parameters", "multiply-adds"]
        total = ["total", "", "", "", _times(self.output_shape), "", f"{self.n_parameters:,}", f"{self.n_macs:,}"]
        return [head, *map(_row, self.layers), total]


def _html_row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _row(layer: Layer) -> list[str]:
    kernel = "" if layer.kernel is None else _times(layer.kernel)
    if layer.dilation not in (None, (1, 1)):
        kernel += f" dilated {_times(layer.dilation)}"
    if layer.clipped:
        kernel += " (clipped)"
    return [
        layer.name,
        kernel,
        "" if layer.stride is None else _times(layer.stride),
        _padding_text(layer),
        _times(layer.output_shape),
        _times(layer.receptive_field),
        f"{layer.n_parameters:,}" if layer.n_parameters else "",
        f"{layer.n_macs:,}" if layer.n_macs else "",
    ]


def _padding_text(layer: Layer) -> str:
    if layer.padding is None or not any(layer.padding):
        return "" if layer.padding is None else "0"
    top, bottom, left, right = layer.padding
    if (top, left) == (bottom, right):
        text = str(top) if top == left else f"{top}×{left}"
    else:
        text = f"{top}+{bottom}×{left}+{right}"
    return text if layer.padding_mode == "zeros" else f"{text} {layer.padding_mode}"


def _times(numbers: tuple[int, ...] | None) -> str:
    return "×".join(map(str, numbers or ()))


def make_plan(architecture: Architecture, input_shape: tuple[int, int, int], n_outputs: int) -> Plan:
    """Lay out a network for one image shape.

    Parameters
    ----------
    architecture : Architecture
        What the network is made of.
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.
    n_outputs : int
        Values the network gives for an image.

    Returns
    -------
    Plan
        One row a layer.

    Raises
    ------
    ValueError
        Where a convolution does not fit its input, or a padding is too large for its mode.
    """
    draft = _Draft(architecture, input_shape)
    if architecture.standardize:
        draft.add("standardize", "standardize")
    for number, block in enumerate(architecture.blocks, start=1):
        _add_block(draft, block, number)
    if architecture.global_pooling is not None:
        draft.add("global_pool", f"global_{architecture.global_pooling}_pool", shape=draft.shape[:1], whole_image=True)
    else:
        draft.add("flatten", "flatten", shape=(_product(draft.shape),), whole_image=True)
    for number, width in enumerate(architecture.hidden_layer_sizes, start=1):
        draft.add_dropout(f"dense{number}_dropout")
        draft.add_dense(f"dense{number}", width, architecture.activation)
        draft.add_activation(f"dense{number}_{architecture.activation}")
    draft.add_dropout("output_dropout")
    draft.add_dense("output", n_outputs, None)
    return Plan(input_shape, tuple(draft.layers))


def _add_block(draft: "_Draft", block: ConvBlock, number: int) -> None:
    """Convolution, pool, normalisation, activation; further convolutions keep stride 1 and have no pool.

    The pool stands before normalisation and activation: for a 2×2 pool these then run on a
    quarter of the values.
    """
    architecture = draft.architecture
    for i in range(block.n_convs):
        suffix = "" if block.n_convs == 1 else f"_{i + 1}"
        draft.add_conv(f"block{number}_conv{suffix}", block, number, block.stride if i == 0 else (1, 1))
        if i == 0 and block.pooling is not None:
            draft.add_pool(f"block{number}_pool", block)
        if architecture.normalization == "batch":
            draft.add(f"block{number}_norm{suffix}", "batch_norm", n_parameters=2 * draft.shape[0])
        draft.add_activation(f"block{number}_{architecture.activation}{suffix}")


class _Draft:
    """A plan in the making: the rows so far, and the map that the next row reads."""

    def __init__(self, architecture: Architecture, input_shape: tuple[int, int, int]) -> None:
        self.architecture = architecture
        self.layers: list[Layer] = []
        self.shape: tuple[int, ...] = tuple(input_shape)
        self.image_size = (input_shape[1], input_shape[2])
        self.field: Pair = (1, 1)
        self.jump: Pair = (1, 1)
        self.sizes = [self.image_size]

    def add(
        self,
        name: str,
        kind: str,
        *,
        shape: tuple[int, ...] | None = None,
        whole_image: bool = False,
        **settings: object,
    ) -> None:
        """Append a row that reads the row before it."""
        self.shape = self.shape if shape is None else shape
        self.field = self.image_size if whole_image else self.field
        seen = (min(self.field[0], self.image_size[0]), min(self.field[1], self.image_size[1]))
        reads = (self.layers[-1].name if self.layers else "input",)
        self.layers.append(Layer(name, kind, reads, self.shape, seen, **settings))  # type: ignore[arg-type]

    def add_activation(self, name: str) -> None:
        if self.architecture.activation != "identity":
            self.add(name, "activation", activation=self.architecture.activation)

    def add_dropout(self, name: str) -> None:
        if self.architecture.dropout > 0:
            self.add(name, "dropout", dropout=self.architecture.dropout)

    def add_dense(self, name: str, width: int, activation: str | None) -> None:
        macs = self.shape[0] * width
        self.add(
            name, "dense", shape=(width,), n_parameters=macs + width, n_macs=macs, bias=True, activation=activation
        )

    def add_conv(self, name: str, block: ConvBlock, number: int, stride: Pair) -> None:
        channels, *size = self.shape
        kernel, dilation = block.kernel_size, block.dilation
        padding = _sides(block)
        _check_conv(self, block, number, padding)
        size = [
            output_size(size[axis], kernel[axis], stride[axis], sum(padding[2 * axis : 2 * axis + 2]), dilation[axis])
            for axis in (0, 1)
        ]
        self._see(kernel, stride, dilation)
        bias = self.architecture.normalization is None  # a normalisation subtracts it again
        weights = block.filters * channels * kernel[0] * kernel[1]
        self.add(
            name,
            "conv",
            shape=(block.filters, *size),
            n_parameters=weights + block.filters * bias,
            n_macs=weights * size[0] * size[1],
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            padding_mode=self.architecture.padding_mode,
            bias=bias,
            activation=self.architecture.activation,
        )
        self.sizes.append((size[0], size[1]))

    def add_pool(self, name: str, block: ConvBlock) -> None:
        channels, *size = self.shape
        window = (clipped_pool(size[0], block.pool_size[0]), clipped_pool(size[1], block.pool_size[1]))
        stride = block.pool_stride
        size = [output_size(size[axis], window[axis], stride[axis]) for axis in (0, 1)]
        self._see(window, stride, (1, 1))
        self.add(
            name,
            f"{block.pooling}_pool",
            shape=(channels, *size),
            kernel=window,
            stride=stride,
            clipped=window != block.pool_size,
        )
        self.sizes.append((size[0], size[1]))

    def _see(self, kernel: Pair, stride: Pair, dilation: Pair) -> None:
        grown = [
            grow_receptive_field(self.field[axis], self.jump[axis], kernel[axis], stride[axis], dilation[axis])
            for axis in (0, 1)
        ]
        self.field = (grown[0][0], grown[1][0])
        self.jump = (grown[0][1], grown[1][1])


def _sides(block: ConvBlock) -> Sides:
    if block.padding == "valid":
        return (0, 0, 0, 0)
    if block.padding == "same":
        return (
            *same_padding(block.kernel_size[0], block.dilation[0]),
            *same_padding(block.kernel_size[1], block.dilation[1]),
        )
    vertical, horizontal = block.padding
    return (vertical, vertical, horizontal, horizontal)


def _check_conv(draft: _Draft, block: ConvBlock, number: int, padding: Sides) -> None:
    _, height, width = draft.shape
    chain = "→".join(str(h) if h == w else f"{h}×{w}" for h, w in _without_repeats(draft.sizes))
    room = (height + padding[0] + padding[1], width + padding[2] + padding[3])
    spans = [effective_kernel(block.kernel_size[axis], block.dilation[axis]) for axis in (0, 1)]
    if spans[0] > room[0] or spans[1] > room[1]:
        largest = tuple((room[axis] - 1) // block.dilation[axis] + 1 for axis in (0, 1))
        fewer = f", or at most {number - 1} block{'s' if number > 2 else ''}" if number > 1 else ""
        dilated = "" if block.dilation == (1, 1) else f" with dilation={_setting(block.dilation)}"
        padded = "" if not any(padding) else f" padded to {room[0]}×{room[1]}"
        raise ValueError(
            f"conv block {number}: kernel_size={_setting(block.kernel_size)}{dilated} exceeds its {height}×{width} "
            f'input{padded} ({chain}); use padding="same"{", or" if not fewer else ","} '
            f"kernel_size<={_setting(largest)}{fewer}"
        )
    # A reflection can reach no further than the map less its edge, a circular padding once round.
    limit = {"reflect": (height - 1, width - 1), "circular": (height, width)}.get(draft.architecture.padding_mode)
    if limit is not None and (max(padding[:2]) > limit[0] or max(padding[2:]) > limit[1]):
        raise ValueError(
            f"conv block {number}: padding_mode={draft.architecture.padding_mode!r} cannot add "
            f"{_setting((max(padding[:2]), max(padding[2:])))} pixels a side to its {height}×{width} input ({chain}); "
            f'use padding_mode="replicate" or "zeros", a smaller kernel_size, or fewer blocks'
        )


def _setting(pair: tuple[int, ...]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else str(pair)


def _without_repeats(sizes: list[Pair]) -> list[Pair]:
    return [size for i, size in enumerate(sizes) if i == 0 or size != sizes[i - 1]]


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
