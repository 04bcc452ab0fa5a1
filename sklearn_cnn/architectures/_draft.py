"""A plan in the making."""

from sklearn_cnn.architectures._geometry import (
    clipped_pool,
    effective_kernel,
    grow_receptive_field,
    output_size,
    pooled_size,
    steps_over,
)
from sklearn_cnn.architectures._plan import Layer, Plan, Sides
from sklearn_cnn.architectures._spec import Pair

NO_PADDING: Sides = (0, 0, 0, 0)


class Draft:
    """The rows so far. A new one reads the last, where nothing else is said.

    Parameters
    ----------
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.

    Attributes
    ----------
    layers : list of Layer
        The rows.
    block : str
        The block that further rows belong to.
    """

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        self.input_shape = input_shape
        self.layers: list[Layer] = []
        self.block = ""
        self._rows: dict[str, Layer] = {}
        # Input pixels between neighbouring values of a row's map, and what one of them sees, not yet cut off at the
        # border of the image.
        self._jumps: dict[str, Pair] = {"input": (1, 1)}
        self._fields: dict[str, Pair] = {"input": (1, 1)}

    @property
    def last(self) -> str:
        """Name of the last row."""
        return self.layers[-1].name if self.layers else "input"

    def shape_of(self, name: str | None = None) -> tuple[int, ...]:
        """Output shape of a row, by default of the last."""
        name = self.last if name is None else name
        return self.input_shape if name == "input" else self._rows[name].output_shape

    def sizes(self) -> list[Pair]:
        """Height and width of the image and of each convolution's and pool's map so far."""
        windows = [layer for layer in self.layers if layer.kernel is not None]
        return [(shape[1], shape[2]) for shape in (self.input_shape, *(layer.output_shape for layer in windows))]

    def plan(self, note: str = "") -> Plan:
        """The finished table."""
        return Plan(self.input_shape, tuple(self.layers), note)

    def add(
        self,
        name: str,
        kind: str,
        *,
        reads: tuple[str, ...] | None = None,
        shape: tuple[int, ...] | None = None,
        whole_image: bool = False,
        window: tuple[Pair, Pair, Pair] | None = None,
        **settings: object,
    ) -> str:
        """Append a row; its name is given back.

        Parameters
        ----------
        name, kind, reads, **settings
            As in `Layer`.
        shape : tuple of int or None, default=None
            Output shape, by default that of the row which is read.
        whole_image : bool, default=False
            Whether a value sees all of the image.
        window : (pair, pair, pair) or None, default=None
            Kernel, stride and dilation of what goes over the map.
        """
        reads = (self.last,) if reads is None else reads
        size = (self.input_shape[1], self.input_shape[2])
        fields = [self._fields[source] for source in reads]
        field: Pair = size if whole_image else (max(f[0] for f in fields), max(f[1] for f in fields))
        jump = self._jumps[reads[0]]
        if window is not None:
            kernel, stride, dilation = window
            grown = [
                grow_receptive_field(field[axis], jump[axis], kernel[axis], stride[axis], dilation[axis])
                for axis in (0, 1)
            ]
            field, jump = (grown[0][0], grown[1][0]), (grown[0][1], grown[1][1])
        self._fields[name], self._jumps[name] = field, jump
        layer = Layer(
            name,
            kind,
            reads,
            self.shape_of(reads[0]) if shape is None else shape,
            (min(field[0], size[0]), min(field[1], size[1])),
            block=self.block,
            **settings,  # type: ignore[arg-type]  # a row takes what its kind needs
        )
        self.layers.append(layer)
        self._rows[name] = layer
        return name

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
        reads: str | None = None,
    ) -> str:
        """Append a convolution, which must fit."""
        channels, *size = self.shape_of(reads)
        exact = any(steps_over(size[axis], kernel[axis], stride[axis]) for axis in (0, 1))
        size = [
            output_size(size[axis], kernel[axis], stride[axis], sum(padding[2 * axis : 2 * axis + 2]), dilation[axis])
            for axis in (0, 1)
        ]
        weights = filters * channels * kernel[0] * kernel[1]
        return self.add(
            name,
            "conv",
            reads=None if reads is None else (reads,),
            shape=(filters, *size),
            window=(kernel, stride, dilation),
            n_parameters=weights + filters * bias,
            n_macs=weights * size[0] * size[1],
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            padding_mode=padding_mode,
            bias=bias,
            activation=activation,
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
        """Append a pool of ``kind`` ``"max"`` or ``"avg"``, its window clipped to the map."""
        channels, *size = self.shape_of(reads)
        clipped = (clipped_pool(size[0] + 2 * padding, window[0]), clipped_pool(size[1] + 2 * padding, window[1]))
        size = [pooled_size(size[axis], clipped[axis], stride[axis], padding, ceil=ceil) for axis in (0, 1)]
        return self.add(
            name,
            f"{kind}_pool",
            reads=None if reads is None else (reads,),
            shape=(channels, *size),
            window=(clipped, stride, (1, 1)),
            kernel=clipped,
            stride=stride,
            padding=(padding,) * 4 if padding else None,
            ceil=ceil,
            clipped=clipped != window,
        )

    def norm(self, name: str, *, eps: float = 1e-5) -> str:
        """Append a batch normalisation."""
        n_channels, *size = self.shape_of()
        return self.add(name, "batch_norm", n_parameters=2 * n_channels, eps=eps, needs_two=size == [1, 1])

    def activate(self, name: str, function: str) -> str:
        """Append an activation; none for the identity."""
        return self.last if function == "identity" else self.add(name, "activation", activation=function)

    def drop(self, name: str, probability: float) -> str:
        """Append a dropout; none for a probability of 0."""
        return self.add(name, "dropout", dropout=probability) if probability > 0 else self.last

    def dense(self, name: str, width: int, activation: str | None) -> str:
        """Append a dense layer. Its weights are initialised for the activation that follows."""
        macs = self.shape_of()[0] * width
        return self.add(
            name, "dense", shape=(width,), n_parameters=macs + width, n_macs=macs, bias=True, activation=activation
        )

    def flatten(self) -> str:
        """Append a row that lays a map out as one vector."""
        channels, height, width = self.shape_of()
        return self.add("flatten", "flatten", shape=(channels * height * width,), whole_image=True)

    def global_pool(self, kind: str) -> str:
        """Append the mean or maximum of every map."""
        return self.add("global_pool", f"global_{kind}_pool", shape=self.shape_of()[:1], whole_image=True)

    def span_exceeds(self, kernel: Pair, padding: Sides, dilation: Pair) -> bool:
        """Whether a convolution's window is larger than the last map with its padding."""
        _, height, width = self.shape_of()
        room = (height + padding[0] + padding[1], width + padding[2] + padding[3])
        return any(effective_kernel(kernel[axis], dilation[axis]) > room[axis] for axis in (0, 1))
