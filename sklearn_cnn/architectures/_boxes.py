"""The layers of a network, sorted into the boxes of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer

COLOURS = {
    "image": "#999999",
    "convolution": "#0072B2",
    "pool": "#E69F00",
    "dense": "#009E73",
    "sum": "#CC79A7",
    "concatenation": "#CC79A7",
    "block of layers": "#56B4E9",
    "ready-made": "#D55E00",
}
"""The sorts of boxes and their colours, those of Okabe and Ito, which colour-blind readers can tell apart."""

_MOST_LAYERS = 18  # a network with more has one box a block


@dataclass(frozen=True)
class Box:
    """One or more layers, drawn as one box.

    Attributes
    ----------
    name : str
        Name of its first layer, or of its block.
    sort : str
        One of ``COLOURS``.
    rows : tuple of Layer
        The layers in it. The box of the image has those that come before the first box.
    folded : tuple of Layer
        Those of them that are only written below the box.
    output_shape : tuple of int
        ``(channels, height, width)``, or ``(n_features,)``.
    branches : tuple of int
        Channels of each parallel branch in it, if there are branches.
    skips : bool
        Whether it has a residual connection.
    frozen : bool
        Whether training leaves it unchanged.
    """

    name: str
    sort: str
    rows: tuple[Layer, ...]
    folded: tuple[Layer, ...]
    output_shape: tuple[int, ...]
    branches: tuple[int, ...] = ()
    skips: bool = False
    frozen: bool = False

    @property
    def n_parameters(self) -> int:
        """Trained numbers in it."""
        return sum(row.n_parameters for row in self.rows)

    @property
    def n_macs(self) -> int:
        """Multiply-adds in it, for one image."""
        return sum(row.n_macs for row in self.rows)

    @property
    def sides(self) -> tuple[int, int, int]:
        """Channels, height and width. A vector is drawn as a map of one pixel."""
        channels, height, width = (*self.output_shape, 1, 1)[:3]
        return channels, height, width


def boxes_of(input_shape: tuple[int, int, int], layers: Sequence[Layer]) -> list[Box]:
    """Sort layers into boxes: one box a layer, or one a block where the block branches or the network is long.

    Parameters
    ----------
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.
    layers : sequence of Layer
        The layers of a network, in the order in which they run.

    Returns
    -------
    list of Box
        The image first.
    """
    long = sum(_has_box(row) for row in layers) > _MOST_LAYERS
    branched = {row.block for row in layers if len(row.reads) > 1}
    # The block, where it is one box, and the layers of each box. The image comes first.
    groups: list[tuple[str, list[Layer]]] = [("", [])]
    for row in layers:
        whole = row.block if row.block not in ("", "head") and (long or row.block in branched) else ""
        if not _has_box(row) or (whole and groups[-1][0] == whole):
            groups[-1][1].append(row)
        else:
            groups.append((whole, [row]))
    image = tuple(groups[0][1])
    return [
        Box("image", "image", image, image, input_shape),
        *(_box(block, rows) for block, rows in groups[1:]),
    ]


def _has_box(row: Layer) -> bool:
    """Whether a layer may have a box of its own. All others are written below the box before."""
    return KINDS[row.kind].box is not None


def _box(block: str, rows: list[Layer]) -> Box:
    sorts = {row.name: KINDS[row.kind].box for row in rows}
    layers = [row for row in rows if _has_box(row)]
    if len(layers) == 1:
        row = layers[0]
        return Box(row.name, sorts[row.name] or "", tuple(rows), tuple(rows[1:]), row.output_shape, frozen=row.frozen)
    shapes = {row.name: row.output_shape for row in rows}
    joins = [row for row in layers if sorts[row.name] == "concatenation"]
    return Box(
        block,
        "block of layers",
        tuple(rows),
        (),
        layers[-1].output_shape,
        branches=tuple(shapes[name][0] for name in joins[-1].reads if name in shapes) if joins else (),
        skips="sum" in sorts.values(),
        frozen=all(row.frozen for row in layers),
    )


def links_of(boxes: list[Box]) -> list[tuple[int, int]]:
    """Which box is an input of which: pairs of their numbers, the source first. Unknown names are left out."""
    home = {row.name: number for number, box in enumerate(boxes) for row in box.rows} | {"input": 0}
    pairs = {
        (home.get(name, number), number) for number, box in enumerate(boxes) for row in box.rows for name in row.reads
    }
    return sorted(pair for pair in pairs if pair[0] != pair[1])
