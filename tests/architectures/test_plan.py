"""Plans, against the networks that are built from them and against what torch itself accepts."""

import dataclasses
import math
import pickle
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sklearn_cnn.architectures._build import build_network, initialize
from sklearn_cnn.architectures._catalog import CatalogNet
from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._geometry import same_padding
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._spec import conv_architecture
from tests.architectures.settings import DEFAULTS
from tests.cases import for_every

LINEAR = {"normalization": None, "activation": "identity", "dropout": 0, "standardize": False, "hidden_layer_sizes": ()}


def plan_of(input_shape=(1, 12, 12), n_outputs=3, **settings):
    return conv_architecture(**{**DEFAULTS, **settings}).plan(input_shape, n_outputs)


def network_of(plan):
    network = build_network(plan)
    initialize(network, plan, torch.Generator().manual_seed(0))
    return network.eval()


# name: (shape of an image, settings that differ from the defaults)
CASES = {
    "defaults": ((1, 12, 12), {}),
    "colour": ((3, 12, 12), {}),
    "twelve bands": ((12, 9, 7), {}),
    "oblong": ((1, 7, 20), {}),
    "1x1 image": ((1, 1, 1), {}),
    "1x2 image": ((1, 1, 2), {}),
    "2x1 image": ((3, 2, 1), {}),
    "1x30 row": ((1, 1, 30), {"kernel_size": [(1, 5)]}),
    "1x1 image, deep": ((1, 1, 1), {"filters": (2, 3, 4, 5)}),
    "3x3 image, deep": ((1, 3, 3), {"filters": (2, 3, 4, 5)}),
    "no blocks": ((2, 5, 4), {"filters": ()}),
    "no blocks, globally pooled": ((2, 5, 4), {"filters": (), "global_pooling": "max"}),
    "no blocks and no hidden layer": ((1, 3, 3), {"filters": (), "hidden_layer_sizes": ()}),
    "one block": ((1, 6, 6), {"filters": 3}),
    "no hidden layer": ((1, 8, 8), {"hidden_layer_sizes": ()}),
    "three hidden layers": ((1, 8, 8), {"hidden_layer_sizes": (9, 8, 7)}),
    "no dropout": ((1, 8, 8), {"dropout": 0}),
    "no normalization": ((1, 8, 8), {"normalization": None}),
    "no standardization": ((1, 8, 8), {"standardize": False}),
    "whitened": ((3, 12, 12), {"whiten": 1}),
    "whitened with a step, oblong": ((1, 13, 9), {"whiten": 3}),
    "whitened, no activation": ((2, 2, 3), {"whiten": 2, "activation": "identity"}),
    "nothing but linear layers": ((1, 8, 8), LINEAR),
    "valid": ((1, 12, 12), {"padding": "valid"}),
    "valid then same": ((1, 12, 12), {"padding": ["valid", "same"], "kernel_size": [5, 3]}),
    "padding 2": ((1, 9, 9), {"padding": 2}),
    "padding a pair": ((1, 9, 8), {"padding": [(0, 2), (1, 0)]}),
    "kernel a pair": ((1, 9, 8), {"kernel_size": [(1, 5), (3, 2)]}),
    "kernel 1": ((1, 5, 5), {"kernel_size": 1}),
    "kernel larger than the image": ((1, 3, 4), {"kernel_size": 9}),
    "even kernel": ((1, 9, 8), {"kernel_size": 4}),
    "even kernel, stride 2": ((1, 9, 8), {"kernel_size": 2, "stride": 2}),
    "even kernel on one axis": ((1, 9, 8), {"kernel_size": [(2, 3), (3, 4)]}),
    "even kernel, odd dilation": ((1, 9, 9), {"kernel_size": 2, "dilation": 3}),
    "even kernel, even dilation": ((1, 9, 9), {"kernel_size": 2, "dilation": 2}),
    "stride 2": ((1, 13, 12), {"stride": 2}),
    "stride 3 and a pair": ((1, 13, 12), {"stride": [3, (1, 2)], "pooling": None}),
    "stride beyond the kernel": ((1, 13, 12), {"stride": 3, "kernel_size": 2, "padding": "valid", "pooling": None}),
    "stride beyond the image": ((1, 3, 3), {"stride": 7}),
    "dilation 2": ((1, 13, 12), {"dilation": 2}),
    "dilation, valid": ((1, 13, 12), {"dilation": [(1, 2), 3], "padding": "valid", "pooling": None, "filters": (2, 3)}),
    "no pool": ((1, 8, 8), {"pooling": None}),
    "average pool": ((1, 9, 8), {"pooling": "avg"}),
    "pool, none, average": ((1, 9, 8), {"filters": (2, 3, 4), "pooling": ["max", None, "avg"]}),
    "pool 3, stride 2": ((1, 9, 8), {"pool_size": 3, "pool_stride": 2}),
    "pool 3, stride 1": ((1, 9, 8), {"pool_size": 3, "pool_stride": 1, "pooling": "avg"}),
    "pool 2, stride 3": ((1, 9, 8), {"pool_stride": 3}),
    "pool a pair": ((1, 9, 8), {"pool_size": [(1, 2), (2, 1)]}),
    "pool clipped on one axis": ((1, 3, 9), {"pool_size": 4}),
    "pool clipped on both axes": ((1, 3, 3), {"pool_size": 5, "pooling": "avg"}),
    "pool clipped, stride kept": ((1, 3, 9), {"pool_size": 4, "pool_stride": 2}),
    "global average": ((1, 9, 8), {"global_pooling": "avg"}),
    "global maximum": ((1, 9, 8), {"global_pooling": "max"}),
    "two convolutions a block": ((1, 9, 8), {"convs_per_block": 2}),
    "one, then three, strided": ((1, 12, 12), {"convs_per_block": [1, 3], "stride": 2}),
    "two convolutions, valid": ((1, 24, 22), {"convs_per_block": 2, "padding": "valid"}),
    "two convolutions, no normalization": ((1, 9, 8), {"convs_per_block": 2, "normalization": None}),
    "replicate": ((1, 9, 8), {"padding_mode": "replicate", "kernel_size": 5}),
    "reflect": ((1, 9, 8), {"padding_mode": "reflect"}),
    "circular": ((1, 9, 8), {"padding_mode": "circular"}),
    "replicate, uneven": ((1, 9, 8), {"padding_mode": "replicate", "kernel_size": 4}),
    "reflect, uneven": ((1, 9, 8), {"padding_mode": "reflect", "kernel_size": [(4, 3), 2], "stride": 2}),
    "circular, uneven": ((1, 9, 8), {"padding_mode": "circular", "kernel_size": 2}),
    **{
        f"activation {activation}": ((1, 4, 4), {"activation": activation})
        for activation in ("leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity")
    },
    "all at once": (
        (3, 20, 17),
        {
            "filters": (4, 5, 6),
            "kernel_size": [(4, 3), 2, 3],
            "stride": [1, (2, 1), 1],
            "padding": ["same", (1, 2), "valid"],
            "dilation": [(1, 2), 1, 1],
            "convs_per_block": [2, 1, 1],
            "pooling": ["avg", None, "max"],
            "pool_size": [(2, 1), 2, 9],
            "pool_stride": [None, None, 1],
            "global_pooling": "avg",
            "hidden_layer_sizes": (7, 5),
        },
    ),
}
every_case = for_every(("input_shape", "settings"), CASES.values())


@every_case
def test_every_layer_of_the_network_gives_the_shape_of_its_row(input_shape, settings):
    plan = plan_of(input_shape, **settings)
    network = network_of(plan)
    seen = []
    for name, module in network.layers.items():
        module.register_forward_hook(lambda _, __, out, name=name: seen.append((name, tuple(out.shape))))
    logits = network(torch.rand(2, *input_shape))
    assert seen == [(layer.name, (2, *layer.output_shape)) for layer in plan.layers]
    assert tuple(logits.shape) == (2, *plan.output_shape) == (2, 3)


@every_case
def test_the_network_trains_on_two_images(input_shape, settings):
    plan = plan_of(input_shape, **settings)
    network = network_of(plan).train()
    network(torch.rand(2, *input_shape)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@every_case
def test_every_row_counts_the_parameters_of_its_module(input_shape, settings):
    plan = plan_of(input_shape, **settings)
    network = build_network(plan)
    assert {layer.name: layer.n_parameters for layer in plan.layers} == {
        name: sum(p.numel() for p in module.parameters()) for name, module in network.layers.items()
    }
    assert plan.n_parameters == sum(p.numel() for p in network.parameters())


@every_case
def test_every_row_counts_the_multiply_adds_that_torch_counts(input_shape, settings):
    plan = plan_of(input_shape, **settings)
    network = network_of(plan)
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(8, *input_shape))  # dense layers fill smaller batches up
    counts = counter.get_flop_counts()
    counted = {layer: sum(counts.get(f"ImageNetwork.layers.{layer.name}", {}).values()) for layer in plan.layers}
    for layer, n in counted.items():
        # A stride beyond the map is taken of what was computed without it.
        assert n >= 16 * layer.n_macs if layer.exact else n == 16 * layer.n_macs, layer.name
    assert sum(counted.values()) == counter.get_total_flops() > 0


@every_case
def test_every_row_reads_the_row_before_it_and_no_name_comes_twice(input_shape, settings):
    layers = plan_of(input_shape, **settings).layers
    names = [layer.name for layer in layers]
    assert [layer.reads for layer in layers] == [("input",), *((name,) for name in names[:-1])]
    assert len(set(names)) == len(names)


@every_case
def test_the_printed_plan_is_an_aligned_table_with_totals(input_shape, settings):
    plan = plan_of(input_shape, **settings)
    title, rule, head, second_rule, *rows, last_rule, total = str(plan).splitlines()
    channels, height, width = input_shape
    assert title == f"{height}×{width}×{channels} image to 3 outputs"
    assert rule == second_rule == last_rule == "-" * len(head)
    assert {len(line) for line in (head, *rows, total)} == {len(rule)}
    ends = {name: head.index(name) + len(name) for name in ("output", "sees", "parameters", "multiply-adds")}
    assert len(rows) == len(plan.layers)
    for row, layer in zip(rows, plan.layers, strict=True):
        assert row.split()[0] == layer.name
        shown = {
            "output": "×".join(map(str, layer.output_shape)),
            "sees": "×".join(map(str, layer.receptive_field)),
            "parameters": f"{layer.n_parameters:,}" if layer.n_parameters else "",
            "multiply-adds": f"{layer.n_macs:,}" if layer.n_macs else "",
        }
        for column, text in shown.items():
            assert row[: ends[column]].endswith(f" {text}"), column
    assert total.split() == ["total", "3", f"{plan.n_parameters:,}", f"{plan.n_macs:,}"]
    assert total[: ends["parameters"]].endswith(f" {plan.n_parameters:,}")


@every_case
def test_the_html_table_is_well_formed_and_has_a_row_a_layer(input_shape, settings):
    plan = plan_of(input_shape, **settings)
    picture, table = ElementTree.fromstring(plan._repr_html_())
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert (picture.tag, table.tag) == ("svg", "table")
    assert {len(row) for row in rows} == {8}
    assert [row[0] for row in rows] == ["layer", *(layer.name for layer in plan.layers), "total"]
    assert rows[-1][-2:] == [f"{plan.n_parameters:,}", f"{plan.n_macs:,}"]
    assert table.find("caption").text in str(plan)


def test_the_cases_above_cover_every_kind_of_layer():
    kinds = {layer.kind for shape, settings in CASES.values() for layer in plan_of(shape, **settings).layers}
    assert kinds == set(KINDS) - {"sum", "concat", "adaptive_avg_pool", "module"}  # of other networks


@pytest.mark.parametrize("nasty", ['<script>alert("1")</script>', "a&b", "x<y>'z'"])
def test_the_html_table_escapes_its_text(nasty):
    plan = Plan((1, 2, 2), (Layer(nasty, "dense", ("input",), (1,), (2, 2), padding=(1,) * 4, padding_mode=nasty),))
    text = plan._repr_html_()
    assert nasty not in text
    cells = ["".join(cell.itertext()) for cell in ElementTree.fromstring(text).iter("td")]
    assert cells[0] == nasty and cells[3].endswith(nasty)
    picture = ElementTree.fromstring(text).find("svg")
    assert any(title.text.startswith(nasty) for title in picture.iter("title"))
    assert any(nasty.startswith(label.text.rstrip("…")) for label in picture.iter("text"))


# The picture in the HTML; what is drawn is tested with the display, which draws the same.


class Elements(HTMLParser):
    """What a browser reads: elements, each closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def points_of(tag, attrs):
    if tag == "text":
        return [(float(attrs["x"]), float(attrs["y"]))]
    return [tuple(map(float, point.split(","))) for point in attrs.get("points", "").split()]


NAMED = ["lenet5", "alexnet", "vgg19", "resnet18", "resnet50", "inception"]


@pytest.mark.parametrize("name", [*NAMED, "defaults", "oblong", "1x30 row", "twelve bands", "no blocks"])
def test_the_picture_is_read_by_browsers_and_lies_inside_its_frame(name):
    plan = CatalogNet(name).plan((3, 64, 64), 10) if name in NAMED else plan_of(CASES[name][0], **CASES[name][1])
    read = Elements(plan._repr_html_())
    assert not read.open
    assert [tag for tag, _ in read.found[:2]] == ["div", "svg"]
    left, top, width, height = map(float, read.found[1][1]["viewbox"].split())
    assert (left, top) == (0, 0) and width <= 900
    points = [point for tag, attrs in read.found for point in points_of(tag, attrs)]
    assert len(points) > 50
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_the_picture_needs_no_script_no_style_of_the_page_and_suits_dark_pages():
    text = plan_of()._repr_html_()
    read = Elements(text)
    assert {tag for tag, _ in read.found} <= {
        *("div", "svg", "g", "title", "text", "polygon", "polyline"),
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"),
    }
    assert not any("id" in attrs or "class" in attrs for _, attrs in read.found)
    assert read.found[1][1]["fill"] == "currentColor"
    lines = [attrs for tag, attrs in read.found if tag == "polyline"]
    assert lines and {attrs["stroke"] for attrs in lines} == {"currentColor"}
    assert not any("fill" in attrs for tag, attrs in read.found if tag == "text")


def test_the_html_of_a_plan_is_always_the_same():
    assert plan_of()._repr_html_() == plan_of()._repr_html_()


def test_pointing_at_a_box_shows_all_that_is_known_of_it():
    picture = ElementTree.fromstring(plan_of()._repr_html_()).find("svg")
    titles = [title.text.splitlines() for title in picture.iter("title")]
    row = next(row for row in plan_of().layers if row.name == "block2_conv")
    assert ["block2_conv: 6×6×6", f"{row.n_parameters:,} parameters, {row.n_macs:,} multiply-adds"] in [
        lines[:2] for lines in titles
    ]


@pytest.mark.parametrize(
    ("settings", "name", "texts"),
    [
        ({"kernel_size": [(1, 5)]}, "block1_conv", ["1×5", "1×1", "0×2", "4×12×12"]),
        ({"kernel_size": 4}, "block1_conv", ["4×4", "1×1", "1+2×1+2", "4×12×12"]),
        ({"padding": "valid"}, "block1_conv", ["3×3", "1×1", "0", "4×10×10"]),
        ({"stride": [(2, 1)]}, "block1_conv", ["3×3", "2×1", "1", "4×6×12"]),
        ({"dilation": [(1, 2)]}, "block1_conv", ["3×3 dilated 1×2", "1×1", "1×2", "4×12×12"]),
        ({"padding_mode": "reflect"}, "block1_conv", ["3×3", "1×1", "1 reflect", "4×12×12"]),
        ({"pool_size": 20}, "block1_pool", ["12×12 (clipped)", "20×20", "4×1×1"]),
        ({"pool_size": 3, "pool_stride": 2}, "block1_pool", ["3×3", "2×2", "4×5×5"]),
    ],
)
def test_a_printed_row_shows_its_settings(settings, name, texts):
    row = next(line for line in str(plan_of(**settings)).splitlines() if line.startswith(name))
    cells = [cell for cell in re.split(r" {2,}", row) if cell]
    assert cells[1 : len(texts) + 1] == texts


def test_one_output_is_singular():
    assert str(plan_of(n_outputs=1)).splitlines()[0] == "12×12×1 image to 1 output"


def test_large_counts_have_thousands_separators():
    assert "1,199,882" in str(keras_mnist())


def keras_mnist():
    return plan_of(
        (1, 28, 28),
        10,
        filters=(32, 64),
        kernel_size=3,
        padding="valid",
        pooling=[None, "max"],
        normalization=None,
        hidden_layer_sizes=(128,),
    )


def test_the_keras_mnist_example_has_1199882_parameters():
    # Counts that Keras prints for its example, layer by layer.
    plan = keras_mnist()
    assert [layer.n_parameters for layer in plan.layers if layer.n_parameters] == [320, 18_496, 1_179_776, 1_290]
    assert plan.n_parameters == 1_199_882


# What the network is made of, in the order in which it runs.


def kinds_of(**settings):
    return [layer.kind for layer in plan_of(**settings).layers]


def test_a_block_is_convolution_pool_normalization_activation():
    assert kinds_of(filters=4) == [
        "standardize",
        *("conv", "max_pool", "batch_norm", "activation"),
        "flatten",
        *("dropout", "dense", "activation"),
        *("dropout", "dense"),
    ]


def test_with_several_convolutions_a_block_the_pool_follows_the_first():
    kinds = kinds_of(filters=4, convs_per_block=3)
    later = ("conv", "batch_norm", "activation")
    assert kinds[1:11] == ["conv", "max_pool", "batch_norm", "activation", *later, *later]


def test_further_convolutions_of_a_block_have_stride_one():
    plan = plan_of(filters=4, convs_per_block=3, stride=2)
    assert [layer.stride for layer in plan.layers if layer.kind == "conv"] == [(2, 2), (1, 1), (1, 1)]


def test_global_pooling_takes_the_place_of_flattening():
    kinds = kinds_of(global_pooling="avg")
    assert "global_avg_pool" in kinds and "flatten" not in kinds


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        ({"normalization": None}, "batch_norm"),
        ({"activation": "identity"}, "activation"),
        ({"dropout": 0}, "dropout"),
        ({"standardize": False}, "standardize"),
        ({"pooling": None}, "max_pool"),
        ({"filters": ()}, "conv"),
    ],
)
def test_what_is_switched_off_has_no_row(settings, absent):
    assert absent in kinds_of()
    assert absent not in kinds_of(**settings)


@pytest.mark.parametrize(("normalization", "bias"), [("batch", False), (None, True)])
def test_a_convolution_has_a_bias_only_where_no_normalization_follows(normalization, bias):
    plan = plan_of(normalization=normalization)
    assert {layer.bias for layer in plan.layers if layer.kind == "conv"} == {bias}


@pytest.mark.parametrize(
    ("shape", "pool_size", "window", "clipped"),
    [
        ((4, 4), 2, (2, 2), False),
        ((1, 4), 2, (1, 2), True),
        ((4, 1), 2, (2, 1), True),
        ((1, 1), 2, (1, 1), True),
        ((3, 3), 3, (3, 3), False),
        ((2, 5), 3, (2, 3), True),
    ],
)
def test_a_pool_is_clipped_to_its_map_and_the_plan_marks_it(shape, pool_size, window, clipped):
    layer = next(x for x in plan_of((1, *shape), filters=4, pool_size=pool_size).layers if x.kind == "max_pool")
    assert (layer.kernel, layer.clipped) == (window, clipped)


# Receptive fields.

FIELDS = {
    "plain": {"filters": (2, 2, 2)},
    "strides": {"filters": (2, 2), "stride": [2, (3, 1)]},
    "dilation": {"filters": (2, 2), "dilation": [(1, 2), 3]},
    "average pools": {"filters": (2, 2), "pooling": "avg"},
    "overlapping pools": {"filters": (2, 2), "pooling": "avg", "pool_size": 3, "pool_stride": 2},
    "pairs": {"filters": (2, 2), "kernel_size": [(1, 5), (4, 2)], "pooling": "avg", "pool_size": [(1, 2), 2]},
    "several convolutions": {"filters": (2, 2), "convs_per_block": [2, 3], "stride": [2, 1], "pooling": "avg"},
}


@pytest.mark.parametrize("settings", FIELDS.values(), ids=FIELDS.keys())
def test_the_receptive_field_is_what_the_gradient_of_a_central_value_reaches(settings):
    plan = plan_of((1, 81, 83), **{"padding": "valid", "pooling": None, **LINEAR, **settings})
    network = build_network(plan)
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)  # no two paths cancel
    for layer in plan.layers:
        if len(layer.output_shape) != 3:
            continue
        image = torch.rand(1, 1, 81, 83, requires_grad=True)
        x = image
        for name, module in network.layers.items():
            x = module(x)
            if name == layer.name:
                break
        x[0, 0, x.shape[2] // 2, x.shape[3] // 2].backward()
        reached = image.grad[0, 0].nonzero()
        extent = (reached.amax(0) - reached.amin(0) + 1).tolist()
        assert list(layer.receptive_field) == extent, layer.name


@pytest.mark.parametrize("global_pooling", [None, "avg", "max"])
def test_what_reads_all_maps_sees_the_whole_image(global_pooling):
    layers = plan_of((1, 30, 40), global_pooling=global_pooling).layers
    flat = [layer.receptive_field for layer in layers if len(layer.output_shape) == 1]
    assert set(flat) == {(30, 40)}


# What cannot be built.


def test_an_impossible_geometry_raises_naming_the_block_the_chain_and_the_ways_out():
    with pytest.raises(ValueError) as raised:
        plan_of(
            (1, 28, 28),
            filters=(8, 8, 8),
            kernel_size=[3, 3, 5],
            stride=[2, 1, 1],
            padding=["same", "same", "valid"],
        )
    assert str(raised.value) == (
        "conv block 3: kernel_size=5 exceeds its 3×3 input (28→14→7→3); "
        'use padding="same", kernel_size<=3, or at most 2 blocks'
    )


@pytest.mark.parametrize(
    ("input_shape", "settings", "message"),
    [
        (
            (1, 2, 2),
            {"padding": "valid"},
            'conv block 1: kernel_size=3 exceeds its 2×2 input (2); use padding="same", or kernel_size<=2',
        ),
        (
            (1, 6, 6),
            {"padding": "valid", "kernel_size": [3, 4]},
            "conv block 2: kernel_size=4 exceeds its 2×2 input (6→4→2); "
            'use padding="same", kernel_size<=2, or at most 1 block',
        ),
        (
            (1, 2, 9),
            {"padding": "valid"},
            'conv block 1: kernel_size=3 exceeds its 2×9 input (2×9); use padding="same", or kernel_size<=(2, 9)',
        ),
        (
            (1, 4, 4),
            {"padding": "valid", "dilation": 2},
            "conv block 1: kernel_size=3 with dilation=2 exceeds its 4×4 input (4); "
            'use padding="same", or kernel_size<=2',
        ),
        (
            (1, 2, 2),
            {"padding": 1, "kernel_size": [(3, 5)]},
            "conv block 1: kernel_size=(3, 5) exceeds its 2×2 input padded to 4×4 (2); "
            'use padding="same", or kernel_size<=4',
        ),
    ],
)
def test_the_message_speaks_of_pairs_dilation_and_padding_where_they_matter(input_shape, settings, message):
    with pytest.raises(ValueError) as raised:
        plan_of(input_shape, **settings)
    assert str(raised.value) == message


def sizes_of_valid_blocks(size, depth, kernel):
    """Sizes after each valid convolution and clipped 2×2 pool, and the block that does not fit, or 0."""
    chain = [size]
    for number in range(1, depth + 1):
        if kernel > chain[-1]:
            return chain, number
        convolved = chain[-1] - kernel + 1
        chain += [convolved, max(1, convolved // 2)]
    return chain, 0


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
def test_images_of_every_size_run_or_raise_naming_the_block_and_the_chain(depth, kernel):
    for size in range(1, 33):
        settings = {"filters": (1,) * depth, "kernel_size": kernel, "padding": "valid", "hidden_layer_sizes": ()}
        chain, block = sizes_of_valid_blocks(size, depth, kernel)
        if not block:
            plan = plan_of((1, size, size), **settings)
            assert network_of(plan)(torch.rand(1, 1, size, size)).shape == (1, 3)
            assert plan.layers[-4].output_shape[1:] == (chain[-1], chain[-1])
            continue
        shown = "→".join(str(side) for i, side in enumerate(chain) if i == 0 or side != chain[i - 1])
        with pytest.raises(ValueError) as raised:
            plan_of((1, size, size), **settings)
        head = f"conv block {block}: kernel_size={kernel} exceeds its {chain[-1]}×{chain[-1]} input ({shown}); use "
        assert str(raised.value).startswith(head), size


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_with_same_padding_every_size_runs(depth, kernel):
    for size in [*range(1, 9), 15, 16, 32]:
        plan = plan_of((1, size, size), filters=(1,) * depth, kernel_size=kernel, hidden_layer_sizes=())
        assert network_of(plan)(torch.rand(1, 1, size, size)).shape == (1, 3)


@pytest.mark.parametrize("size", [4, 7, 11, 16, 20])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2])
def test_each_way_out_of_the_message_makes_its_block_fit(size, kernel, dilation):
    settings = {"kernel_size": [kernel] * 4, "padding": ["valid"] * 4, "dilation": dilation}
    with pytest.raises(ValueError) as raised:
        plan_of((1, size, size), filters=(1,) * 4, **settings)
    message = str(raised.value)
    number = int(re.match(r"conv block (\d)", message)[1])
    largest = int(re.search(r"kernel_size<=(\d+)", message)[1])

    def fits(n_blocks, kernel, padding):
        changed = {
            "kernel_size": [*settings["kernel_size"][: number - 1], kernel][:n_blocks],
            "padding": [*settings["padding"][: number - 1], padding][:n_blocks],
        }
        try:
            plan_of((1, size, size), filters=(1,) * n_blocks, dilation=dilation, **changed)
        except ValueError:
            return False
        return True

    assert 'padding="same"' in message
    assert fits(number, kernel, "same")
    assert fits(number, largest, "valid")
    assert not fits(number, largest + 1, "valid")
    if number > 1:
        assert f"at most {number - 1} block{'s' * (number > 2)}" in message
        assert fits(number - 1, kernel, "valid")


def torch_pads(height, width, sides, mode):
    top, bottom, left, right = sides
    try:
        F.pad(torch.rand(1, 1, height, width), (left, right, top, bottom), mode=mode)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 2), (3, 3), (4, 2), (5, 6)])
def test_a_plan_raises_exactly_where_torch_refuses_to_pad(mode, size):
    for padding in [(vertical, horizontal) for vertical in range(7) for horizontal in range(7)]:
        settings = {"filters": 1, "kernel_size": 1, "padding": [padding], "padding_mode": mode}
        sides = (padding[0], padding[0], padding[1], padding[1])
        if torch_pads(*size, sides, mode):
            plan = plan_of((1, *size), **settings)
            network_of(plan)(torch.rand(1, 1, *size))
        else:
            with pytest.raises(ValueError, match=f"conv block 1: padding_mode='{mode}' cannot add"):
                plan_of((1, *size), **settings)


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
@pytest.mark.parametrize("kernel", range(1, 12))
def test_same_padding_raises_exactly_where_torch_refuses_to_pad_unevenly(mode, kernel):
    for size in range(1, 8):
        settings = {"filters": 1, "kernel_size": kernel, "padding_mode": mode}
        if torch_pads(size, size, same_padding(kernel) * 2, mode):
            network_of(plan_of((1, size, size), **settings))(torch.rand(1, 1, size, size))
        else:
            with pytest.raises(ValueError, match=f"conv block 1: padding_mode='{mode}' cannot add"):
                plan_of((1, size, size), **settings)


def test_an_impossible_reflection_raises_naming_the_block_the_chain_and_the_ways_out():
    with pytest.raises(ValueError) as raised:
        plan_of((1, 8, 8), filters=(4, 4, 4), padding_mode="reflect", kernel_size=5)
    assert str(raised.value) == (
        "conv block 3: padding_mode='reflect' cannot add 2 pixels a side to its 2×2 input (8→4→2); "
        'use padding_mode="replicate" or "zeros", a smaller kernel_size, or fewer blocks'
    )


# Plans as values.


@every_case
def test_a_plan_made_twice_or_pickled_is_equal(input_shape, settings):
    plan = plan_of(input_shape, **settings)
    assert plan == plan_of(input_shape, **settings) == pickle.loads(pickle.dumps(plan))
    assert hash(plan) == hash(pickle.loads(pickle.dumps(plan)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filters", (4, 7)),
        ("kernel_size", 5),
        ("stride", [1, 2]),
        ("padding", [1, "valid"]),
        ("padding_mode", "reflect"),
        ("dilation", 2),
        ("convs_per_block", [1, 2]),
        ("pooling", "avg"),
        ("pool_size", [2, 3]),
        ("pool_stride", [1, 2]),
        ("global_pooling", "max"),
        ("activation", "elu"),
        ("normalization", None),
        ("hidden_layer_sizes", (9,)),
        ("dropout", 0.3),
        ("standardize", False),
        ("input_shape", (1, 12, 11)),
        ("n_outputs", 4),
    ],
)
def test_plans_of_different_networks_differ(name, value):
    assert plan_of(**{name: value}) != plan_of()


def test_a_plan_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan_of().layers = ()


@every_case
def test_all_numbers_of_a_plan_are_plain_ints(input_shape, settings):
    for layer in plan_of(input_shape, **settings).layers:
        numbers = [*layer.output_shape, *layer.receptive_field, layer.n_parameters, layer.n_macs]
        for setting in (layer.kernel, layer.stride, layer.dilation, layer.padding):
            numbers += setting or ()
        assert {type(number) for number in numbers} == {int}
        assert math.prod(layer.output_shape) > 0


def test_a_receptive_field_ends_at_the_border_of_the_image():
    fields = [layer.receptive_field for layer in plan_of((1, 8, 40), filters=(2, 2, 2)).layers if layer.kind == "conv"]
    assert fields == [(3, 3), (8, 8), (8, 18)]


def test_the_time_for_a_plan_that_fits_grows_with_its_length_and_no_faster(monkeypatch):
    monkeypatch.setattr(Draft, "sizes", lambda draft: pytest.fail("goes over all layers at every convolution"))
    assert len(plan_of(convs_per_block=4).layers) > 8
