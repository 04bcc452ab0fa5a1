"""A plan in the making: layers are added one after the other, and each learns its shape from the ones before."""

from dataclasses import replace
from math import prod

from sklearn_cnn.architectures._geometry import (
    clipped_pool,
    effective_kernel,
    grow_receptive_field,
    output_size,
    pooled_size,
    steps_over,
)
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer, Pair, Sides
from sklearn_cnn.architectures._plan import Architecture, Plan

NO_PADDING: Sides = (0, 0, 0, 0)


class Draft:
    """The layers so far. A new layer reads the last one, unless told otherwise.

    Parameters
    ----------
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.

    Attributes
    ----------
    layers : list of Layer
        The layers.
    block : str
        The block that the next layers belong to.
    """

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        self.input_shape = input_shape
        self.layers: list[Layer] = []
        self.block = ""
        self._by_name: dict[str, Layer] = {}
        # For each layer, the input pixels between two neighbouring values of its map, and the input pixels that one
        # value sees. The latter may reach beyond the border of the image.
        self._jumps: dict[str, Pair] = {"input": (1, 1)}
        self._fields: dict[str, Pair] = {"input": (1, 1)}

    @property
    def last(self) -> str:
        """Name of the last layer."""
        return self.layers[-1].name if self.layers else "input"

    def shape_of(self, name: str | None = None) -> tuple[int, ...]:
        """Output shape of a layer, by default of the last one."""
        name = self.last if name is None else name
        return self.input_shape if name == "input" else self._by_name[name].output_shape

    def sizes(self) -> list[Pair]:
        """Height and width of the image, and of the map of each convolution and pool so far."""
        windows = [layer for layer in self.layers if layer.kernel is not None]
        return [(shape[1], shape[2]) for shape in (self.input_shape, *(layer.output_shape for layer in windows))]

    def plan(self, architecture: Architecture, note: str = "") -> Plan:
        """The finished plan of an architecture."""
        return Plan(self.input_shape, tuple(self.layers), note, architecture)

    def add(
        self,
        name: str,
        kind: str,
        *,
        reads: tuple[str, ...] | None = None,
        shape: tuple[int, ...] | None = None,
        **settings: object,
    ) -> str:
        """Append a layer, and return its name.

        Parameters
        ----------
        name, kind, reads, **settings
            As in `Layer`. Trained numbers are counted here, except those of a ready-made module.
        shape : tuple of int or None, default=None
            Output shape; needed where it does not follow from the inputs alone.
        """
        reads = (self.last,) if reads is None else reads
        entry = KINDS[kind]
        inputs = [self.shape_of(source) for source in reads]
        if shape is None:
            assert entry.output_shape is not None
            shape = entry.output_shape(*inputs)
        layer = Layer(
            name,
            kind,
            reads,
            shape,
            (1, 1),
            block=self.block,
            **settings,  # type: ignore[arg-type]  # each kind has settings of its own
        )
        if not layer.ready_made:
            n_parameters = sum(map(prod, entry.parameters(layer, inputs[0][0]).values()))
            layer = replace(layer, n_parameters=n_parameters)
        layer = replace(layer, receptive_field=self._grow_field(layer, entry.sees))
        self.layers.append(layer)
        self._by_name[name] = layer
        return name

    def _grow_field(self, layer: Layer, sees: str) -> Pair:
        """Receptive field of a new layer, which is noted for those that will read it."""
        height, width = self.input_shape[1:]
        fields = [self._fields[source] for source in layer.reads]
        field = (height, width) if sees == "image" else (max(f[0] for f in fields), max(f[1] for f in fields))
        jump = self._jumps[layer.reads[0]]
        if sees == "window":
            assert layer.kernel is not None and layer.stride is not None
            dilation = layer.dilation or (1, 1)
            (rows, jump_down), (columns, jump_across) = (
                grow_receptive_field(field[axis], jump[axis], layer.kernel[axis], layer.stride[axis], dilation[axis])
                for axis in (0, 1)
            )
            field, jump = (rows, columns), (jump_down, jump_across)
        self._fields[layer.name], self._jumps[layer.name] = field, jump
        return min(field[0], height), min(field[1], width)

    def conv(
        self,
        name: str,
        filters: int,
        kernel: Pair,
        *,
        stride: Pair = (1, 1),
        padding: Sides = NO_PADDING,
        dilation: Pair = (1, 1),
        padding_mode: str = "zeros",
        bias: bool,
        activation: str,
        identity: bool = False,
        reads: str | None = None,
    ) -> str:
        """Append a convolution, which must fit its input. `identity` counts where it has enough filters."""
        channels, *size = self.shape_of(reads)
        exact = any(steps_over(size[axis], kernel[axis], stride[axis]) for axis in (0, 1))
        size = [
            output_size(size[axis], kernel[axis], stride[axis], sum(padding[2 * axis : 2 * axis + 2]), dilation[axis])
            for axis in (0, 1)
        ]
        return self.add(
            name,
            "conv",
            reads=None if reads is None else (reads,),
            shape=(filters, *size),
            n_macs=filters * channels * prod(kernel) * prod(size),
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            padding_mode=padding_mode,
            bias=bias,
            activation=activation,
            identity=identity and filters >= channels,
            exact=exact,
        )

    def pool(
        self,
        name: str,
        kind: str,
        window: Pair,
        stride: Pair,
        *,
        padding: int = 0,
        ceil: bool = False,
        reads: str | None = None,
    ) -> str:
        """Append a pool of ``kind`` ``"max"`` or ``"avg"``. A window larger than its map is clipped to the map."""
        channels, *size = self.shape_of(reads)
        clipped = (clipped_pool(size[0] + 2 * padding, window[0]), clipped_pool(size[1] + 2 * padding, window[1]))
        size = [pooled_size(size[axis], clipped[axis], stride[axis], padding, ceil=ceil) for axis in (0, 1)]
        return self.add(
            name,
            f"{kind}_pool",
            reads=None if reads is None else (reads,),
            shape=(channels, *size),
            kernel=clipped,
            stride=stride,
            padding=(padding,) * 4 if padding else None,
            ceil=ceil,
            clipped=clipped != window,
        )

    def standardize(self) -> str:
        """Append a layer that standardises pixels."""
        return self.add("standardize", "standardize")

    def whiten(self, window: int, stride: int) -> str:
        """Append a layer that whitens square windows of pixels, which must fit the image. Four components a channel."""
        channels, *size = self.shape_of()
        if min(size) < window:
            raise ValueError(f"windows of {window}×{window} pixels do not fit images of {size[0]}×{size[1]} pixels.")
        shape = (8 * channels, *(output_size(side, window, stride, 0, 1) for side in size))
        n_macs = prod(shape) * channels * window**2
        return self.add(
            "whiten", "whiten", shape=shape, n_macs=n_macs, kernel=(window, window), stride=(stride, stride)
        )

    def norm(self, name: str, *, eps: float = 1e-5) -> str:
        """Append a batch normalisation."""
        return self.add(name, "batch_norm", eps=eps, needs_two=self.shape_of()[1:] == (1, 1))

    def activate(self, name: str, function: str) -> str:
        """Append an activation. The identity adds no layer."""
        return self.last if function == "identity" else self.add(name, "activation", activation=function)

    def drop(self, name: str, probability: float) -> str:
        """Append a dropout. A probability of 0 adds no layer."""
        return self.add(name, "dropout", dropout=probability) if probability > 0 else self.last

    def dense(self, name: str, width: int, activation: str | None) -> str:
        """Append a dense layer. The activation that follows it decides how its weights are initialised."""
        n_macs = self.shape_of()[0] * width
        return self.add(name, "dense", shape=(width,), n_macs=n_macs, bias=True, activation=activation)

    def flatten(self) -> str:
        """Append a layer that turns maps into one vector."""
        return self.add("flatten", "flatten")

    def global_pool(self, kind: str) -> str:
        """Append the mean (``"avg"``) or the maximum (``"max"``) of every map."""
        return self.add("global_pool", f"global_{kind}_pool")

    def span_exceeds(self, kernel: Pair, padding: Sides, dilation: Pair) -> bool:
        """Whether the window of a convolution is larger than the last map with its padding."""
        _, height, width = self.shape_of()
        room = (height + padding[0] + padding[1], width + padding[2] + padding[3])
        return any(effective_kernel(kernel[axis], dilation[axis]) > room[axis] for axis in (0, 1))
