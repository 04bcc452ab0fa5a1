"""Which layers are worth drawing, and which part of the image one of their values depends on."""

from dataclasses import dataclass
from typing import Any

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._geometry import effective_kernel
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.inspection._activations import layer_names

_SHOWN = 8


def layers_with_maps(network: ImageNetwork, plan: Plan, boxes: tuple[str, ...]) -> list[str]:
    """Names of layers whose maps are worth drawing, and of the first-level parts of ready-made modules.

    Parameters
    ----------
    network : ImageNetwork
        The network.
    plan : Plan
        Its plan.
    boxes : tuple of str
        Which layers: those that a picture of the plan shows as one of these sorts of boxes.

    Returns
    -------
    list of str
        Without layers that pool the whole image. Of more than eight layers only the last of each size of map is
        kept: the stages of a deep network.
    """
    rows = [row for row in plan.layers if KINDS[row.kind].box in boxes and KINDS[row.kind].sees != "image"]
    names = [row.name for row in rows]
    if len(rows) > _SHOWN:
        names = list({row.output_shape[1:]: row.name for row in rows}.values())
    return names + [name for name in layer_names(network, plan) if "." in name]


@dataclass(frozen=True)
class Field:
    """The receptive fields of the values of a map, along one axis of the image.

    Attributes
    ----------
    size : int
        Pixels in the receptive field of one value, including those beyond the border.
    step : int
        Distance from the field of one value to that of the next, in pixels.
    start : float
        Centre of the field of the first value.
    """

    size: int = 1
    step: int = 1
    start: float = 0.0

    def pixels(self, position: int) -> tuple[int, int]:
        """First pixel of the field at a position, and the one after its last; both may lie outside the image."""
        first = round(self.start + position * self.step - (self.size - 1) / 2)
        return first, first + self.size


def field_of(plan: Plan, name: str, axis: int) -> Field | None:
    """Receptive fields of a layer along an axis (0 down, 1 across); None where they are the whole image."""
    fields: dict[str, Field | None] = {"input": Field()}
    for row in plan.layers:
        fields[row.name] = _behind(row, [fields[source] for source in row.reads], axis)
        if row.name == name:
            break
    return fields.get(name)


def _behind(row: Layer, fields: list[Any], axis: int) -> Field | None:
    if None in fields or len(row.output_shape) < 3 or KINDS[row.kind].sees == "image":
        return None
    field: Field = max(fields, key=lambda field: field.size)
    if row.kernel is None:
        return field
    stride = (row.stride or (1, 1))[axis]
    kernel = effective_kernel(row.kernel[axis], (row.dilation or (1, 1))[axis])
    before = 0 if row.padding is None else row.padding[2 * axis]
    return Field(
        field.size + (kernel - 1) * field.step,
        field.step * stride,
        field.start + ((kernel - 1) / 2 - before) * field.step,
    )
