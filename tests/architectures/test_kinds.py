"""The table of kinds of layers against the modules that it builds."""

import ast
from pathlib import Path

import pytest
from torch import nn

import sklearn_cnn
from sklearn_cnn.architectures._boxes import COLOURS
from sklearn_cnn.architectures._build import build_network, tensor_shapes
from sklearn_cnn.architectures._catalog import CatalogNet
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._spec import conv_architecture
from tests.architectures.settings import DEFAULTS

PLANS = {
    "defaults": conv_architecture(**DEFAULTS).plan((1, 12, 12), 3),
    "no normalization": conv_architecture(**{**DEFAULTS, "normalization": None}).plan((4, 12, 9), 1),
    "whitened": conv_architecture(**{**DEFAULTS, "whiten": 2}).plan((3, 12, 12), 3),
    "uneven": conv_architecture(**{**DEFAULTS, "kernel_size": 4, "global_pooling": "max"}).plan((3, 12, 12), 3),
    **{name: CatalogNet(name).plan((3, 70, 70), 4) for name in ("lenet5", "resnet18", "inception", "vgg11")},
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_tensors_of_a_plan_are_those_of_its_network(plan):
    network = build_network(plan)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert list(tensor_shapes(plan).items()) == list(shapes.items())
    assert plan.n_parameters == sum(p.numel() for p in network.parameters())


def test_tensors_of_a_plan_are_known_without_a_module(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a module was made")

    monkeypatch.setattr(nn.Module, "__init__", refuse)
    assert tensor_shapes(PLANS["defaults"])["layers.block1_conv.weight"] == (4, 1, 3, 3)


def test_the_plans_of_this_file_have_every_kind_but_ready_made_modules():
    seen = {layer.kind for plan in PLANS.values() for layer in plan.layers}
    assert seen == set(KINDS) - {"module", "adaptive_avg_pool"}


def test_boxes_have_a_colour():
    assert {kind.box for kind in KINDS.values()} - {None} <= set(COLOURS)


def test_a_ready_made_module_is_not_built():
    layer = Layer("network", "module", ("input",), (3,), (4, 4))
    assert layer.ready_made
    with pytest.raises(TypeError, match="layer 'network' is a ready-made module: pass it to build_network"):
        KINDS[layer.kind].build(layer, 1)


def test_kinds_are_looked_up_in_the_table_and_never_compared():
    root = Path(sklearn_cnn.__file__).parent
    compared = {
        f"{path.relative_to(root)}: {ast.unparse(side)}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
    }
    of_layers = [text for text in compared if text.endswith(".kind") and not text.endswith("dtype.kind")]
    assert of_layers == [str(Path("architectures", "_layer.py: self.kind"))]
