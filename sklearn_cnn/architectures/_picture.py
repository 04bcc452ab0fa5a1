"""The picture of a network: boxes as large as its maps, laid out so that SVG and matplotlib can draw them alike."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from sklearn_cnn.architectures._boxes import COLOURS, Box, boxes_of, links_of
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer

Point = tuple[float, float]

HATCH = "#333333"
"""Colour of the lines on a frozen box. It can be seen on every colour of a box, on light pages and on dark ones."""

_MOST_COLUMNS = 9  # boxes side by side; more would leave no room for their texts

# In pixels.
_WIDTH, _MARGIN, _COLUMN = 900, 10, 125
_TALLEST, _WIDEST, _SLANT = 110, 40, 0.22
_LINE, _LETTER = 13, 6.4


@dataclass(frozen=True)
class Face:
    """A filled polygon."""

    points: tuple[Point, ...]
    colour: str | None  # None is the colour of text
    front: str = ""  # name of the box of which it is the front


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    points: tuple[Point, ...]
    width: float = 1.2
    colour: str | None = None  # None is the colour of text


@dataclass(frozen=True)
class Text:
    """A line of text. ``y`` is its base line, ``x`` its middle or its beginning."""

    x: float
    y: float
    text: str
    bold: bool = False
    centred: bool = True
    size: float = 10


Shape = Face | Stroke | Text


@dataclass(frozen=True)
class Picture:
    """What is to be drawn. Coordinates are pixels from the upper left corner.

    Attributes
    ----------
    width, height : float
        Size of the picture.
    parts : tuple of (str, tuple of shapes)
        Shapes that belong together, with a text about them. They are drawn in this order.
    """

    width: float
    height: float
    parts: tuple[tuple[str, tuple[Shape, ...]], ...]


def draw_layers(input_shape: tuple[int, int, int], layers: Sequence[Layer]) -> Picture:
    """Lay the layers of a network out as boxes, in lines from left to right.

    Height and depth of a box are proportional to the square roots of the sides of its map, and its width to the square
    root of the number of channels. So a map of 224 pixels and a map of one pixel can be seen in one picture.

    Parameters
    ----------
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.
    layers : sequence of Layer
        The layers of the network, in the order in which they run.

    Returns
    -------
    Picture
        What is to be drawn, 900 pixels wide at most.
    """
    boxes = boxes_of(input_shape, layers)
    links = links_of(boxes)
    columns = ceil(len(boxes) / ceil(len(boxes) / _MOST_COLUMNS))
    column = min(_COLUMN, (_WIDTH - 2 * _MARGIN) / columns)
    width = max(column * columns, 460) + 2 * _MARGIN
    per_side = _TALLEST / sqrt(max(max(box.sides[1:]) for box in boxes))
    per_channel = _WIDEST / sqrt(max(box.sides[0] for box in boxes))
    parts: list[tuple[str, tuple[Shape, ...]]] = []
    y = float(_MARGIN)
    for first in range(0, len(boxes), columns):
        numbers = range(first, min(first + columns, len(boxes)))
        around = [pair for pair in links if pair[1] - pair[0] > 1 and pair[0] in numbers and pair[1] in numbers]
        solids = [_Solid.of(boxes[number], per_side, per_channel) for number in numbers]
        middle = y + 14 + 6 * len(around) + max(solid.above for solid in solids)
        below = middle + max(solid.height for solid in solids) / 2 + 16
        placed = {}
        for place, (number, solid) in enumerate(zip(numbers, solids, strict=True)):
            centre = _MARGIN + column * (place + 0.5)
            placed[number] = solid.at(centre - solid.whole_width / 2, middle)
            far = [boxes[i].name for i, j in links if j == number and i < number - 1 and i not in numbers]
            notes = tuple(_notes(boxes[number], far, int(column / _LETTER), centre, below))
            parts.append((_in_words(boxes[number]), (*placed[number].shapes(), *notes)))
            y = max([y, *(note.y for note in notes)])
        parts.append(("", tuple(_arrows(links, placed, middle, _MARGIN, width - _MARGIN))))
        parts.append(("", tuple(_detours(around, placed, middle))))
        y += 22
    legend, y = _legend(boxes, width, y + 4)
    parts.append(("", tuple(legend)))
    return Picture(width, y + _MARGIN, tuple(parts))


@dataclass(frozen=True)
class _Solid:
    """A box with sizes in pixels, seen from the front and a little from above and the right."""

    box: Box
    width: float
    height: float
    depth: float
    x: float = 0.0
    middle: float = 0.0

    @classmethod
    def of(cls, box: Box, per_side: float, per_channel: float) -> "_Solid":
        channels, height, width = box.sides
        # Anything thinner would be invisible.
        sizes = max(3.0, per_channel * sqrt(channels)), max(3.0, per_side * sqrt(height)), per_side * sqrt(width)
        return cls(box, sizes[0], sizes[1], sizes[2] * _SLANT)

    def at(self, x: float, middle: float) -> "_Solid":
        return _Solid(self.box, self.width, self.height, self.depth, x, middle)

    @property
    def whole_width(self) -> float:
        return self.width + self.depth

    @property
    def above(self) -> float:
        """How far it extends above its middle, with the arrow of a residual connection."""
        return self.height / 2 + self.depth + (10 if self.box.skips else 0)

    @property
    def end(self) -> float:
        return self.x + self.whole_width

    def shapes(self) -> Iterator[Shape]:
        top = self.middle - self.height / 2
        shares = self.box.branches or (1,)
        gap = min(3.0, self.height / (3 * len(shares))) if len(shares) > 1 else 0.0
        unit = (self.height - gap * (len(shares) - 1)) / sum(shares)
        slices, y = [], top
        for share in shares:
            slices.append((y, share * unit))
            y += share * unit + gap
        for y, height in reversed(slices):  # upper slices cover lower ones
            yield from self._slab(y, height)
        if self.box.skips:
            over = top - self.depth - 9
            yield from _way(self.x - 7, self.end + 7, over, self.middle)

    def _slab(self, y: float, height: float) -> Iterator[Shape]:
        colour, left, right, deep = COLOURS[self.box.sort], self.x, self.x + self.width, self.depth
        if self.box.frozen:
            colour = _lighter(colour, 0.6)
        above = ((left, y), (left + deep, y - deep), (right + deep, y - deep), (right, y))
        beside = ((right, y), (right + deep, y - deep), (right + deep, y + height - deep), (right, y + height))
        yield Face(above, _lighter(colour, 0.3))
        yield Face(beside, _lighter(colour, 0.55))
        yield Face(((left, y), (right, y), (right, y + height), (left, y + height)), colour, front=self.box.name)
        if self.box.frozen:
            yield from _hatch(left, y, self.width, height)


def _lighter(colour: str, share: float) -> str:
    """A colour mixed with white. A transparent colour would show what is behind it."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02X}" for part in parts)


def _hatch(x: float, y: float, width: float, height: float) -> Iterator[Stroke]:
    """A frame and slanting lines. An SVG pattern will not do: all pictures of a page share the names of patterns."""
    yield Stroke(((x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)), 0.8, HATCH)
    step = 5.0
    for number in range(1, ceil((width + height) / step)):
        reach = number * step
        start = (x + min(reach, width), y + max(0.0, reach - width))
        stop = (x + max(0.0, reach - height), y + min(reach, height))
        yield Stroke((start, stop), 0.8, HATCH)


def _notes(box: Box, far: list[str], letters: int, x: float, y: float) -> Iterator[Text]:
    """The lines below a box."""
    yield Text(x, y, _cut(box.name, letters - 1), bold=True)
    lines = ["×".join(map(str, box.output_shape))]
    if box.sort == "block of layers":
        lines.append(f"{sum(KINDS[row.kind].box is not None for row in box.rows)} layers")
    if box.n_parameters:
        lines.append(f"{short(box.n_parameters)} param.")
    if box.n_macs:
        lines.append(f"{short(box.n_macs)} mult-adds")
    parts = [row for row in box.rows if row.parts]
    if any(row.frozen_parts for row in parts):
        n_parts, n_frozen = sum(len(row.parts) for row in parts), sum(len(row.frozen_parts) for row in parts)
        lines.append(f"{n_parts - n_frozen}/{n_parts} trained")
    elif parts:
        lines.append(f"{sum(len(row.parts) for row in parts)} blocks")
    folded = [_word(row) for row in box.folded]
    extras = [f"reads {_cut(name, letters - 6)}" for name in far]
    if folded:
        extras += textwrap.wrap("+ " + ", ".join(dict.fromkeys(folded)), letters)
    for number, line in enumerate([*lines, *extras], start=1):
        yield Text(x, y + number * _LINE, _cut(line, letters))


def _word(row: Layer) -> str:
    return row.activation or KINDS[row.kind].label or row.kind


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _in_words(box: Box) -> str:
    """The text that a browser shows for a box under the mouse."""
    lines = [
        f"{box.name}: {'×'.join(map(str, box.output_shape))}{', frozen' if box.frozen else ''}",
        f"{box.n_parameters:,} parameters, {box.n_macs:,} multiply-adds",
        ", ".join(row.name for row in box.rows),
    ]
    return "\n".join(line for line in lines if line)


def _arrows(
    links: list[tuple[int, int]], placed: dict[int, _Solid], y: float, start: float, stop: float
) -> Iterator[Shape]:
    """Arrows from each box to the next, in this line and to the next line."""
    for source, target in links:
        if target - source != 1 or not (source in placed or target in placed):
            continue
        left = placed[source].end + 2 if source in placed else start
        right = placed[target].x - 2 if target in placed else stop
        yield Stroke(((left, y), (right - 4, y)))
        yield _head(right, y)


def _head(x: float, y: float) -> Face:
    return Face(((x, y), (x - 6, y - 3), (x - 6, y + 3)), None)


def _detours(around: list[tuple[int, int]], placed: dict[int, _Solid], middle: float) -> Iterator[Shape]:
    """Arrows around the boxes between two others, the shortest arrow lowest."""
    for number, (source, target) in enumerate(sorted(around, key=lambda pair: pair[1] - pair[0]), start=1):
        over = middle - max(solid.above for solid in placed.values()) - 6 * number
        start, stop = placed[source].end, placed[target].x
        yield from _way(start + 7, stop - 9, over, middle)
        # Without these the arrow would touch no box where no straight arrow begins or ends.
        yield Stroke(((start + 2, middle), (start + 7, middle)))
        yield Stroke(((stop - 9, middle), (stop - 6, middle)))
        yield _head(stop - 2, middle)


def _way(left: float, right: float, over: float, y: float) -> Iterator[Shape]:
    """Up, along and down again, with rounded corners, ending on the line between the boxes."""
    bend = 5.0
    yield Stroke(
        (
            (left, y),
            (left, over + bend),
            (left + bend * 0.3, over + bend * 0.3),
            (left + bend, over),
            (right - bend, over),
            (right - bend * 0.3, over + bend * 0.3),
            (right, over + bend),
            (right, y - 5),
        )
    )
    yield Face(((right, y - 1), (right - 3, y - 7), (right + 3, y - 7)), None)


def _legend(boxes: list[Box], width: float, y: float) -> tuple[list[Shape], float]:
    """The legend of colours and sizes, and the y at which it ends."""
    present = {box.sort for box in boxes}
    entries = [(sort, colour) for sort, colour in COLOURS.items() if sort in present]
    if any(box.frozen for box in boxes):
        entries.append(("frozen", _lighter(COLOURS["image"], 0.6)))
    shapes: list[Shape] = []
    x = float(_MARGIN)
    for text, colour in entries:
        room = 14 + _LETTER * len(text) + 12
        if x + room > width and x > _MARGIN:
            x, y = float(_MARGIN), y + 16
        shapes.append(Face(((x, y), (x + 10, y), (x + 10, y + 10), (x, y + 10)), colour))
        if text == "frozen":
            shapes.extend(_hatch(x, y, 10, 10))
        shapes.append(Text(x + 14, y + 9, text, centred=False))
        x += room
    y += 26
    text = "height and depth: sides of the map, width: channels; by their square roots"
    shapes.append(Text(float(_MARGIN), y, text, centred=False, size=9))
    return shapes, y


def short(number: float) -> str:
    """A count in three digits, such as ``"3.61M"``."""
    for unit in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.4g}T"
