"""The plan: a network as a table of layers. It is checked, shown and built from this table."""

import html
from dataclasses import dataclass, field, replace
from math import prod
from typing import Protocol

from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._picture import draw_layers
from sklearn_cnn.architectures._svg import as_svg


class Architecture(Protocol):
    """What decides a network but for the shape of an image and the number of outputs, with all choices made.

    `ConvNet`, `CatalogNet`, `BackboneNet` and `UserNet` are architectures. All are frozen.
    """

    @property
    def lr_share(self) -> float:
        """Its share of the usual learning rate, see ``lr="auto"``."""
        ...

    def plan(self, input_shape: tuple[int, int, int], n_outputs: int) -> "Plan":
        """Lay the network out. No torch module is made, and none is run.

        Parameters
        ----------
        input_shape : (int, int, int)
            ``(channels, height, width)`` of an image.
        n_outputs : int
            Values that the network gives for an image.

        Returns
        -------
        Plan
            One row a layer, or one for all that is ready made.

        Raises
        ------
        ValueError
            Where the network is impossible for such images.
        """
        ...


@dataclass(frozen=True)
class Plan:
    """A network, layer by layer, before a single weight exists.

    Attributes
    ----------
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.
    layers : tuple of Layer
        The layers, in the order in which they run. Each lists its inputs, so a plan is a graph.
    note : str
        What else is known of a network that has a name: where it comes from, and which parameters it uses.
    architecture : Architecture or None
        What the plan was laid out from. With ``input_shape``, the number of outputs and ``trainable_blocks`` it gives
        the same plan again. Equality of plans does not depend on it.
    trainable_blocks : "all" or int
        How many of the last blocks are trained, see `with_trainable`. Equality does not depend on it: ``layers`` say
        which of them are frozen.
    n_images : int or None
        Training images, where they are known: the plan then says what an epoch costs. Equality does not depend on it.
    seconds : float or None
        Seconds of an epoch, where they were measured.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...] = field(repr=False)
    note: str = ""
    architecture: Architecture | None = field(default=None, compare=False, repr=False)
    trainable_blocks: int | str = field(default="all", compare=False, repr=False)
    n_images: int | None = field(default=None, compare=False, repr=False)
    seconds: float | None = field(default=None, compare=False, repr=False)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one image."""
        return self.layers[-1].output_shape

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks that have parameters, in order, without the head."""
        rows = [layer.parts or (layer.block,) for layer in self.layers if layer.n_parameters]
        return tuple(name for name in dict.fromkeys(name for row in rows for name in row) if name != "head")

    @property
    def whitened(self) -> tuple[int, int] | None:
        """Height and width of the windows of pixels that the network whitens; None where it does not."""
        return next((layer.kernel for layer in self.layers if KINDS[layer.kind].whitens), None)

    @property
    def body(self) -> str:
        """Name of the layer that is the input of the head. Without a head, the name of the last layer."""
        return next((layer.reads[0] for layer in self.layers if layer.block == "head"), self.layers[-1].name)

    @property
    def kept(self) -> str:
        """Name of the layer whose output is kept for each image where all before it is frozen.

        It is the one with the fewest values among the input of the head and the rows of the head that train nothing
        and draw nothing: the pool that many heads begin with leaves one number of each map.
        """
        names = [layer.name for layer in self.layers]
        first = names.index(self.body) + 1 if self.body in names else 0
        size, kept = prod(self.layers[first - 1].output_shape if first else self.input_shape), self.body
        last = self.body
        for layer in self.layers[first:]:
            if layer.n_parameters or KINDS[layer.kind].only_trains or layer.ready_made or layer.reads != (last,):
                break
            last = layer.name
            if prod(layer.output_shape) <= size:
                size, kept = prod(layer.output_shape), layer.name
        return kept

    def with_trainable(self, trainable_blocks: int | str) -> "Plan":
        """The same network with its first blocks frozen: only the head and the last blocks are trained.

        Parameters
        ----------
        trainable_blocks : "all" or int
            How many blocks are trained beside the head.

        Returns
        -------
        Plan
            The same layers, some of them frozen.

        Raises
        ------
        ValueError
            Where there are fewer blocks, or no head that could be trained alone.
        """
        if isinstance(trainable_blocks, bool):
            raise ValueError(f"trainable_blocks is 'all' or a number of blocks; got {trainable_blocks}.")
        n_trained = len(self.blocks) if trainable_blocks == "all" else int(trainable_blocks)
        if n_trained > len(self.blocks):
            raise ValueError(
                f"trainable_blocks={trainable_blocks}: this network has {len(self.blocks)} "
                f"block{'s' if len(self.blocks) > 1 else ''}; 'all' trains it whole."
            )
        if trainable_blocks != "all" and all(layer.block != "head" for layer in self.layers):
            raise ValueError(
                f"trainable_blocks={trainable_blocks!r}: a network of your own has no head that is known; use 'all', "
                f"and switch requires_grad off for the parameters that training must not change."
            )
        frozen = {"", *self.blocks[: len(self.blocks) - n_trained]} if n_trained < len(self.blocks) else set()
        layers = []
        for layer in self.layers:
            parts = tuple(part for part in layer.parts if part in frozen)
            whole = len(parts) == len(layer.parts) if layer.parts else layer.block in frozen
            layers.append(replace(layer, frozen=whole and bool(frozen), frozen_parts=parts))
        chosen = "all" if trainable_blocks == "all" else int(trainable_blocks)
        return replace(self, layers=tuple(layers), trainable_blocks=chosen)

    @property
    def n_parameters(self) -> int:
        """Trained numbers in total."""
        return sum(layer.n_parameters for layer in self.layers)

    @property
    def n_macs(self) -> int:
        """Multiply-adds for one image, in total."""
        return sum(layer.n_macs for layer in self.layers)

    @property
    def lr_share(self) -> float:
        """Its share of the usual learning rate, see ``lr="auto"``."""
        return 1.0 if self.architecture is None else self.architecture.lr_share

    @property
    def title(self) -> str:
        """Input and output in words."""
        channels, height, width = self.input_shape
        outputs = self.output_shape[0]
        return f"{height}×{width}×{channels} image to {outputs} output{'s' if outputs > 1 else ''}"

    @property
    def cost(self) -> str:
        """What an epoch costs, in words; empty where the number of images is not known.

        The gradients of a layer by its inputs and by its weights take as many multiply-adds each as its output.
        """
        if self.n_images is None:
            return ""
        backwards = 2 * sum(layer.n_macs for layer in self.layers if not layer.frozen)
        once = "; without an augmenter frozen layers run in the first alone" if self.trainable_blocks == 0 else ""
        measured = "" if self.seconds is None else f"; about {self.seconds:.2g} s, measured on a few batches"
        return (
            f"an epoch of {self.n_images:,} images: {self.n_images * self.n_macs:.2g} multiply-adds forwards, "
            f"{self.n_images * backwards:.2g} backwards{once}{measured}"
        )

    @property
    def largest_map(self) -> int:
        """Number of values in the image or in the largest map, also inside of a ready-made module."""
        inside = max(layer.inner_map for layer in self.layers)
        shapes = (self.input_shape, *(layer.output_shape for layer in self.layers))
        return max(inside, *map(prod, shapes))

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
        table = (
            f"<table><caption>{html.escape(self._title())}</caption><thead>{_html_row(head, 'th')}</thead>"
            f"<tbody>{rows}</tbody><tfoot>{_html_row(total, 'th')}</tfoot></table>"
        )
        return f"<div>{as_svg(draw_layers(self.input_shape, self.layers), self.title)}{table}</div>"

    def _title(self) -> str:
        return "\n".join(filter(None, (self.title, self.note, self.cost)))

    def _table(self) -> list[list[str]]:
        head = ["layer", "kernel", "stride", "padding", "output", "sees", "parameters", "multiply-adds"]
        total = ["total", "", "", "", _times(self.output_shape), "", f"{self.n_parameters:,}", f"{self.n_macs:,}"]
        rows = [head, *map(_row, self.layers), total]
        if any(layer.frozen or layer.frozen_parts for layer in self.layers):
            rows = [[*row, cell] for row, cell in zip(rows, ["trained", *map(_trained, self.layers), ""], strict=True)]
        return rows


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


def _trained(layer: Layer) -> str:
    if layer.frozen_parts and not layer.frozen:
        return f"{len(layer.parts) - len(layer.frozen_parts)} of {len(layer.parts)} parts"
    return "" if not layer.n_parameters else "no" if layer.frozen else "yes"


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
