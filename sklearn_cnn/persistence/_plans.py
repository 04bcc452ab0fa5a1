"""Plans as JSON: the architecture that a plan was laid out from, which this package lays out again."""

from dataclasses import asdict, dataclass
from typing import Any

from sklearn_cnn.architectures._backbones import is_backbone
from sklearn_cnn.architectures._catalog import CatalogNet
from sklearn_cnn.architectures._conv_blocks import ConvNet
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._ready_made import BackboneNet
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._untrusted import malformed, read_as

LAYOUT = 1  # changes when the same architecture gives other layers

_ARCHITECTURES: dict[str, Any] = {"conv": ConvNet, "catalog": CatalogNet, "backbone": BackboneNet}
_ADDED: dict[str, dict[str, Any]] = {
    "conv": {"whiten": 0},
    "backbone": {"interpolation": None, "crop": None, "inner_map": 0},
}  # what older files do not have


@dataclass(frozen=True)
class _Stored:
    """A plan as it is stored."""

    layout: int
    architecture: dict[str, Any]
    input_shape: tuple[int, int, int]
    n_outputs: int
    trainable_blocks: int | str

    def plan(self, architecture: Any) -> Plan:
        plan: Plan = architecture.plan(self.input_shape, self.n_outputs)
        return plan.with_trainable(self.trainable_blocks)


def write_plan(plan: Plan, path: str) -> dict[str, Any]:
    """Turn a plan into JSON. A TypeError or ValueError names the path of one that cannot be laid out again."""
    kind = next((kind for kind, cls in _ARCHITECTURES.items() if type(plan.architecture) is cls), None)
    if kind is None:
        raise TypeError(
            f"{path} is that of a network of your own, which a saved model cannot hold; save module_.state_dict(), or "
            f"use pickle, which runs code when it loads a file."
        )
    architecture: Any = plan.architecture
    stored = _Stored(
        LAYOUT, {"kind": kind, **asdict(architecture)}, plan.input_shape, plan.output_shape[0], plan.trainable_blocks
    )
    if stored.plan(architecture) != plan:
        raise ValueError(f"{path} was changed after fit; fit the estimator again.")
    return asdict(stored)


def read_plan(content: Any, n_tensors: int) -> Plan:
    """Lay a plan out again; it must have no more convolutions than the file has tensors.

    A ModelFileError refuses JSON that `write_plan` does not write, a ValueError a plan that is impossible.
    """
    stored = read_as(_Stored, content, "plan")
    if stored.layout != LAYOUT:
        raise ModelFileError(f"its plan has layout {stored.layout}. Load it with a newer sklearn-cnn")
    kind = stored.architecture.pop("kind", None)
    if not isinstance(kind, str) or kind not in _ARCHITECTURES:
        raise malformed(f"malformed architecture: its kind is none of {', '.join(_ARCHITECTURES)}")
    architecture = read_as(_ARCHITECTURES[kind], _ADDED.get(kind, {}) | stored.architecture, "architecture")
    if not 0 <= architecture.dropout < 1 or (kind == "backbone" and not is_backbone(architecture.name)):
        raise malformed("malformed architecture: its dropout or its name is not allowed")
    # Before it is laid out, since a block of a billion convolutions is a small file.
    n_layers = sum(block.n_convs for block in architecture.blocks) if kind == "conv" else 0
    if n_layers > n_tensors:
        raise malformed("malformed architecture: it has more layers than the file has tensors")
    return stored.plan(architecture)
