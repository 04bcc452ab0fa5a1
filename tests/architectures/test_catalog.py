"""The named networks: their numbers against the papers', torchvision's networks and what torch computes."""

import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklearn_cnn import CNNClassifier, list_architectures
from sklearn_cnn.architectures._build import build_network, initialize
from sklearn_cnn.architectures._catalog import CATALOG, SMALL, CatalogNet, smallest_side
from sklearn_cnn.architectures._geometry import pooled_size
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._weights import load_weights

NAMES = list(CATALOG)
SHAPES = [
    (1, 1, 1),
    (3, 2, 5),
    (1, 8, 8),
    (4, 12, 12),
    (1, 28, 28),
    (3, 17, 33),
    (4, 63, 64),
    (3, 64, 64),
    (3, 80, 100),
]

QUICK_SHAPES = [(3, 2, 5), (1, 28, 28), (3, 80, 100)]


def plan_of(name, input_shape=(3, 64, 64), n_outputs=7, **settings):
    return CatalogNet(name, **settings).plan(input_shape, n_outputs)


def network_of(plan, seed=0):
    network = build_network(plan)
    initialize(network, plan, torch.Generator().manual_seed(seed))
    return network.eval()


def images_of(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def fits(name, shape):
    return min(shape[1:]) >= smallest_side(name)


# Known numbers.

PARAMETERS = {
    "lenet5": 61_706,
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "inception": 6_624_904,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_network_has_the_parameters_that_it_is_known_for(name):
    shape, n_outputs = ((1, 32, 32), 10) if name == "lenet5" else ((3, 224, 224), 1000)
    assert plan_of(name, shape, n_outputs).n_parameters == PARAMETERS[name]


# AlexNet's and VGG's are those of Araujo, Norris and Sim, "Computing receptive fields of convolutional neural
# networks", Distill 2019; the others, whose strides are elsewhere there, were computed by hand.
@pytest.mark.parametrize(
    ("name", "row", "pixels"),
    [
        ("alexnet", "block5_pool", 195),
        ("vgg16", "block5_pool", 212),
        ("resnet18", "stage4_unit2_relu", 435),
        ("resnet50", "stage4_unit3_relu", 427),
        ("inception", "inception5b_concat", 379),
    ],
)
def test_the_last_map_sees_as_much_of_the_image_as_is_known(name, row, pixels):
    rows = {layer.name: layer for layer in plan_of(name, (3, 600, 600)).layers}
    assert rows[row].receptive_field == (pixels, pixels)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_row_sees_less_than_what_it_reads_or_more_than_the_image(name, shape):
    if not fits(name, shape):
        pytest.skip("the image is too small for this network, which another test is about")
    plan = plan_of(name, shape)
    fields = {"input": (1, 1)}
    for layer in plan.layers:
        for axis in (0, 1):
            assert max(fields[source][axis] for source in layer.reads) <= layer.receptive_field[axis] <= shape[1 + axis]
        fields[layer.name] = layer.receptive_field
    assert plan.layers[-1].receptive_field == shape[1:]


# A plan against what torch computes.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "shape", [s if s in QUICK_SHAPES else pytest.param(s, marks=pytest.mark.slow) for s in SHAPES], ids=str
)
def test_every_row_has_the_shape_and_parameters_that_torch_gives_it(name, shape):
    if not fits(name, shape):
        pytest.skip("the image is too small for this network, which another test is about")
    plan = plan_of(name, shape)
    network = build_network(plan).eval()
    seen = {}
    for row, module in network.layers.items():
        module.register_forward_hook(lambda _, __, output, row=row: seen.update({row: tuple(output.shape)}))
    with torch.no_grad():
        network(torch.zeros(2, *shape))
    assert seen == {layer.name: (2, *layer.output_shape) for layer in plan.layers}
    for layer in plan.layers:
        assert layer.n_parameters == sum(p.numel() for p in network.layers[layer.name].parameters()), layer.name
    assert plan.n_parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_names_are_unique_and_rows_read_earlier_ones(name, standardize, dropout):
    plan = plan_of(name, standardize=standardize, dropout=dropout)
    names = [layer.name for layer in plan.layers]
    assert len(set(names)) == len(names)
    earlier = {"input"}
    for layer in plan.layers:
        assert earlier.issuperset(layer.reads)
        earlier.add(layer.name)
    assert ("standardize" in names) is standardize
    assert any(layer.kind == "dropout" for layer in plan.layers) is (dropout > 0 and CATALOG[name].has_dropout)
    # Every row but the last is read.
    assert {source for layer in plan.layers for source in layer.reads} == earlier - {names[-1]}


def test_the_named_networks_and_conv_blocks_cover_every_kind_of_layer_between_them():
    kinds = {layer.kind for name in NAMES for layer in plan_of(name, (3, 300, 300)).layers}
    assert {"sum", "concat", "adaptive_avg_pool"} <= kinds <= set(KINDS)


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 1, 1), (3, 2, 1), (2, 3, 1)])
@pytest.mark.parametrize("ceil", [True, False])
def test_pools_have_the_size_that_torch_gives_them(window, stride, padding, ceil):
    for size in range(1, 41):
        if size + 2 * padding < window:
            continue
        expected = F.max_pool1d(torch.zeros(1, 1, size), window, stride, padding, ceil_mode=ceil).shape[-1]
        assert pooled_size(size, window, stride, padding, ceil=ceil) == expected, size


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "inception", "vgg11"])
def test_maps_that_nobody_reads_any_more_are_freed(name):
    network = build_network(plan_of(name)).eval()
    given, most = [], 0

    def count(_, __, output):
        nonlocal most
        given.append(weakref.ref(output))
        most = max(most, len({id(value()) for value in given if value() is not None}))

    for module in network.layers.values():
        module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    # What a row reads and gives; beside it the source of a shortcut and its unit's result, or an Inception
    # module's source and its three other branches.
    assert most <= {"resnet18": 4, "resnet50": 4, "inception": 6, "vgg11": 2}[name]


# Images that are small.


@pytest.mark.parametrize("name", NAMES)
def test_images_below_the_smallest_side_are_refused_and_those_of_it_are_taken(name):
    side = smallest_side(name)
    plan_of(name, (1, side, side))
    if side > 1:
        with pytest.raises(ValueError, match=rf"'{name}' takes images of at least {side} pixels .* are {side - 1}×90"):
            plan_of(name, (1, side - 1, 90))


def test_only_lenet_and_alexnet_need_more_than_a_pixel():
    assert {name for name in NAMES if smallest_side(name) > 1} <= {"lenet5", "alexnet"}


def test_lenet_pads_digits_of_28_pixels_to_the_32_of_the_paper():
    plans = [plan_of("lenet5", (1, side, side), 10) for side in (28, 32)]
    assert [plan.n_parameters for plan in plans] == [PARAMETERS["lenet5"]] * 2


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "inception", "alexnet"])
def test_small_images_keep_their_resolution_in_the_first_layers(name):
    first = [next(r for r in plan_of(name, (3, n, n)).layers if r.kind == "conv") for n in (SMALL - 1, SMALL)]
    assert first[0].stride == (1, 1) and first[1].stride != (1, 1)


# Names.


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet81", "did you mean 'resnet18'"),
        ("ResNet50", "did you mean 'resnet50'"),
        ("vgg", "did you mean 'vgg"),
        ("Inception", "'inception'"),
        ("transformer", "known are lenet5, alexnet, .*inception"),
        ("", "known are lenet5"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, hint):
    with pytest.raises(ValueError, match=f"architecture='{name}' is unknown.*{hint}"):
        plan_of(name)


def test_all_networks_are_listed_in_a_list_of_the_callers_own():
    names = list_architectures()
    assert names == NAMES
    names.clear()
    assert list_architectures() == NAMES


# The functions that the networks compute.


def redrawn(network, generator):
    """Give a network weights that keep numbers moderate, and statistics of batches that are not those of a new one."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
                for values in (module.bias, module.running_mean):
                    values.copy_(torch.randn(values.shape, generator=generator) * 0.2)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "theirs", "sides"),
    [
        ("alexnet", "alexnet", [(224, 224), (230, 260)]),
        ("vgg11", "vgg11", [(224, 224)]),
        ("resnet18", "resnet18", [(64, 64), (65, 90), (100, 71)]),
        ("resnet50", "resnet50", [(64, 70)]),
        ("inception", "googlenet", [(64, 64), (65, 90), (97, 66), (75, 81)]),
    ],
)
def test_with_torchvisions_weights_a_network_gives_torchvisions_logits(name, theirs, sides):
    models = pytest.importorskip("torchvision.models", reason="torchvision is an extra")
    settings = {"aux_logits": True, "init_weights": False} if theirs == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        model = redrawn(getattr(models, theirs)(num_classes=7, **settings), torch.Generator().manual_seed(0))
    weights = model.state_dict()
    for height, width in sides:
        plan = plan_of(name, (3, height, width), standardize=False)
        network = network_of(plan)
        load_weights(network, plan, weights, "theirs")
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        network.layers["output"].load_state_dict(last.state_dict())
        images = images_of(2, 3, height, width)
        with torch.no_grad():
            expected, got = model(images), network(images)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_lenet_computes_convolutions_tanh_averages_and_three_dense_layers():
    network = network_of(plan_of("lenet5", (1, 28, 28), 10, standardize=False))
    layers, images = network.layers, images_of(3, 1, 28, 28)
    x = F.pad(images, (2, 2, 2, 2))
    for number in (1, 2):
        conv = layers[f"block{number}_conv"]
        x = F.avg_pool2d(torch.tanh(F.conv2d(x, conv.weight, conv.bias)), 2)
    x = x.flatten(1)
    for name in ("dense1", "dense2"):
        x = torch.tanh(F.linear(x, layers[name].weight, layers[name].bias))
    expected = F.linear(x, layers["output"].weight, layers["output"].bias)
    torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)


# Training.


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *(("resnet18", precision) for precision in ("float32", "bfloat16", "float64")),
        ("lenet5", "bfloat16"),
        *(
            pytest.param(name, precision, marks=pytest.mark.slow)
            for name in ("lenet5", "alexnet", "vgg11", "inception")
            for precision in ("float32", "bfloat16", "float64")
        ),
    ],
)
def test_a_network_takes_a_step_in_every_precision(name, precision):
    X = np.random.default_rng(0).random((6, 28, 28), dtype=np.float32)
    settings = {"max_epochs": 1, "batch_size": 6, "random_state": 0, "precision": precision}
    clf = CNNClassifier(architecture=name, **settings).fit(X, [0, 1, 2] * 2)
    logits = clf.decision_function(X)
    assert logits.shape == (6, 3) and np.isfinite(logits).all()
    assert logits.dtype == (np.float64 if precision == "float64" else np.float32)


def test_the_same_seed_gives_the_same_network_and_the_global_generator_is_untouched():
    X = np.random.default_rng(0).random((12, 12, 12), dtype=np.float32)
    before = torch.get_rng_state()
    settings = {"architecture": "inception", "max_epochs": 1, "batch_size": 6, "random_state": 3}
    first, second = (CNNClassifier(**settings).fit(X, [0, 1] * 6).decision_function(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", list_architectures())
def test_a_plan_says_where_its_network_comes_from_and_which_parameters_count(name):
    plan = plan_of(name)
    title = str(plan).splitlines()[1]
    assert title.startswith(f"{name}: ") and CATALOG[name].paper in title
    # What is said to count does, and what is said not to does not.
    counts = plan.layers != plan_of(name, dropout=0.5).layers
    assert ("only dropout is used" in title) == counts
    assert ("none is used" in title) == (not counts)
    assert plan.with_trainable(1).note == plan.note


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.01),
        ({"architecture": "resnet18"}, 0.01),
        ({"architecture": "lenet5"}, 0.005),
        ({"architecture": "lenet5", "optimizer": "sgd"}, 0.025),
        ({"architecture": "lenet5", "optimizer": torch.optim.Adagrad}, 0.0005),
        ({"architecture": "lenet5", "lr": 0.002}, 0.002),
        ({"architecture": lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(shape.n_values, n))}, 0.001),
    ],
    ids=["conv blocks", "normalised", "not normalised", "sgd", "an optimiser of one's own", "given", "a callable"],
)
def test_networks_take_their_share_of_the_usual_learning_rate(settings, expected):
    images = np.random.default_rng(0).random((8, 12, 12)).astype(np.float32)
    clf = CNNClassifier(**settings, lr_schedule="constant", max_epochs=1, random_state=0).fit(images, [0, 1] * 4)
    assert clf.history_[0]["lr"] == pytest.approx(expected)
