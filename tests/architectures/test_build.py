"""The module of a plan: its numbers against torch's own layers, its weights and its random draws."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklearn_cnn import CNNClassifier
from sklearn_cnn.architectures._build import ImageNetwork, build_network, initialize, reseed_dropout
from sklearn_cnn.architectures._catalog import CatalogNet
from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._dropout import SeededDropout
from sklearn_cnn.architectures._spec import ACTIVATIONS, conv_architecture
from sklearn_cnn.architectures._torch_modules import Dense, Standardize, Whiten
from tests.architectures.settings import DEFAULTS


def plan_of(input_shape=(1, 12, 12), **settings):
    return conv_architecture(**{**DEFAULTS, **settings}).plan(input_shape, 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network_of(plan, seed=0):
    network = build_network(plan)
    initialize(network, plan, seeded(seed))
    return network.eval()


def images_of(*shape, seed=1):
    return torch.rand(shape, generator=seeded(seed))


# The numbers of convolutions.

WINDOWS = [
    (3, 1, 1),
    (5, 2, 1),
    (3, 1, 2),
    (2, 1, 1),  # an odd total of padding from here on
    (4, 1, 1),
    (4, 3, 1),
    (2, 2, 3),
    ((2, 3), 1, 1),
    ((3, 4), (2, 1), (2, 1)),
    ((1, 6), 1, 1),
]


def torchs_own(kernel, dilation, padding, mode, conv):
    """torch's layer with the weights of another; it knows no stride beside ``padding="same"``."""
    own = nn.Conv2d(2, 5, kernel, padding=padding, padding_mode=mode, dilation=dilation)
    with torch.no_grad():
        own.weight.copy_(conv.weight)
        own.bias.copy_(conv.bias)
    return own


@pytest.mark.parametrize("mode", ["zeros", "replicate", "reflect", "circular"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), WINDOWS, ids=str)
# torch says of its own layer that an uneven zero padding may copy.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_same_padding_gives_the_numbers_of_torchs_own_layer(mode, kernel, stride, dilation):
    plan = plan_of(
        (2, 9, 10),
        filters=5,
        kernel_size=[kernel],
        stride=[stride],
        dilation=[dilation],
        padding_mode=mode,
        normalization=None,
    )
    conv = network_of(plan).layers["block1_conv"]
    nn.init.normal_(conv.bias, generator=seeded())
    images = images_of(3, 2, 9, 10)
    down, right = (stride, stride) if isinstance(stride, int) else stride
    expected = torchs_own(kernel, dilation, "same", mode, conv)(images)[:, :, ::down, ::right]
    torch.testing.assert_close(conv(images), expected)


@pytest.mark.parametrize("mode", ["zeros", "replicate", "reflect", "circular"])
@pytest.mark.parametrize("padding", [0, 1, (0, 2), (3, 1)], ids=str)
def test_padding_in_numbers_gives_the_numbers_of_torchs_own_layer(mode, padding):
    settings = {"filters": 5, "padding": [padding], "padding_mode": mode, "normalization": None}
    conv = network_of(plan_of((2, 9, 10), **settings)).layers["block1_conv"]
    images = images_of(3, 2, 9, 10)
    torch.testing.assert_close(conv(images), torchs_own(3, 1, padding, mode, conv)(images))


# The whole network.


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("global_pooling", [None, "avg", "max"])
def test_the_network_computes_convolution_pool_normalization_activation(pooling, global_pooling):
    plan = plan_of((2, 8, 8), filters=4, pooling=pooling, global_pooling=global_pooling)
    network = network_of(plan)
    layers = network.layers
    layers["standardize"].set_statistics(np.array([0.4, 0.6]), np.array([0.2, 0.3]))
    norm = layers["block1_norm"]
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values, generator=seeded(2))
    images = images_of(5, 2, 8, 8)

    x = (images - torch.tensor([0.4, 0.6]).view(2, 1, 1)) / torch.tensor([0.2, 0.3]).view(2, 1, 1)
    x = F.conv2d(x, layers["block1_conv"].weight, padding=1)
    x = F.max_pool2d(x, 2) if pooling == "max" else F.avg_pool2d(x, 2)
    x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    x = F.relu(x)
    x = {None: x.flatten(1), "avg": x.mean((2, 3)), "max": x.amax((2, 3))}[global_pooling]
    x = F.relu(F.linear(x, layers["dense1"].weight, layers["dense1"].bias))
    expected = F.linear(x, layers["output"].weight, layers["output"].bias)
    torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)


FUNCTIONS = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "identity"])
def test_an_activation_is_the_function_of_its_name(activation):
    layer = network_of(plan_of(activation=activation)).layers[f"block1_{activation}"]
    x = torch.linspace(-3, 3, 50)
    torch.testing.assert_close(layer(x), FUNCTIONS[activation](x))


def test_every_row_of_the_plan_is_one_module_in_its_order():
    plan = plan_of(convs_per_block=2)
    assert list(build_network(plan).layers) == [layer.name for layer in plan.layers]


def test_the_network_is_in_float32_and_its_convolutions_in_channels_last():
    network = build_network(plan_of((3, 12, 12)))
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network.layers["block2_conv"].weight.is_contiguous(memory_format=torch.channels_last)


# First weights.


def states_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("settings", [{}, {"normalization": None}, {"convs_per_block": 2, "global_pooling": "avg"}])
def test_building_and_initialising_leave_the_global_generator_untouched(settings):
    torch.manual_seed(5)
    before = torch.get_rng_state().clone()
    network = network_of(plan_of(**settings))
    reseed_dropout(network, seeded())
    network.train()(images_of(4, 1, 12, 12)).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_generator_gives_the_same_weights_and_another_gives_others():
    plan = plan_of()
    torch.manual_seed(0)
    one = network_of(plan, seed=3)
    torch.manual_seed(1)
    assert states_equal(one, network_of(plan, seed=3))
    other = network_of(plan, seed=4)
    for name in ("block1_conv", "block2_conv", "dense1", "output"):
        assert not torch.equal(one.layers[name].weight, other.layers[name].weight)


def test_initialising_again_overwrites_all_that_is_trained_in_convolutions_and_dense_layers():
    plan = plan_of(normalization=None)
    one, other = network_of(plan), build_network(plan)
    for parameter in other.parameters():
        nn.init.constant_(parameter, float("nan"))
    initialize(other, plan, seeded())
    assert states_equal(one, other)


def test_first_weights_do_not_depend_on_how_they_are_stored():
    plan = plan_of((3, 12, 12))
    contiguous = ImageNetwork(plan)
    initialize(contiguous, plan, seeded())
    assert states_equal(contiguous, network_of(plan))


GAINS = dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "silu"), 2**0.5)
GAINS |= {"tanh": 5 / 3, "sigmoid": 1.0, "identity": 1.0}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_first_weights_have_variance_gain_squared_over_fan_in(activation):
    plan = plan_of((16, 4, 4), filters=(64, 96), activation=activation, hidden_layer_sizes=(256,), pooling=None)
    network = network_of(plan)
    fans = {"block1_conv": 16 * 9, "block2_conv": 64 * 9, "dense1": 96 * 16}
    for name, fan_in in fans.items():
        weight = network.layers[name].weight.detach()
        weight = weight[weight.shape[1] :] if weight.ndim == 4 else weight  # behind the filters that are the identity
        assert weight.var().item() == pytest.approx(GAINS[activation] ** 2 / fan_in, rel=0.06)
        assert abs(weight.mean().item()) < 5 * weight.std().item() / weight.numel() ** 0.5


def test_no_gain_is_given_to_the_output_layer():
    weight = network_of(plan_of((16, 8, 8), filters=(), hidden_layer_sizes=(4000,))).layers["output"].weight
    assert weight.detach().var().item() == pytest.approx(1 / 4000, rel=0.06)


def test_first_weights_are_normally_distributed():
    weight = network_of(plan_of((64, 4, 4), filters=128)).layers["block1_conv"].weight.detach()[64:].flatten()
    shares = [(weight.abs() < k * weight.std()).float().mean().item() for k in (1, 2)]
    assert shares == pytest.approx([0.6827, 0.9545], abs=0.01)


@pytest.mark.parametrize("kernel_size", [1, 3, (3, 5)])
def test_convolutions_begin_by_handing_their_channels_on(kernel_size):
    plan = plan_of((3, 9, 9), filters=(4, 6), kernel_size=[kernel_size])
    network = network_of(plan)
    for name, n_inputs in (("block1_conv", 3), ("block2_conv", 4)):
        maps = images_of(2, n_inputs, 9, 9)
        assert torch.equal(network.layers[name](maps)[:, :n_inputs], maps)
        assert not torch.equal(network.layers[name](maps)[:, n_inputs : n_inputs + 1], maps[:, :1])


def test_a_convolution_to_fewer_channels_is_drawn_whole():
    weight = network_of(plan_of((8, 9, 9), filters=4)).layers["block1_conv"].weight
    assert (weight != 0).all()


def test_a_convolution_of_a_classic_network_is_drawn_whole():
    plan = CatalogNet("resnet18", dropout=0.0, standardize=False).plan((3, 32, 32), 2)
    network = network_of(plan)
    convolutions = [network.layers[row.name].weight for row in plan.layers if row.kind == "conv"]
    assert all((weight != 0).all() for weight in convolutions)


def photographs_like(n, channels, side, seed=0):
    """Images whose neighbouring pixels, and channels, are nearly equal."""
    images = torch.randn(n, channels, side, side, generator=seeded(seed)).cumsum(2).cumsum(3)
    return images + 2 * images.mean(dim=1, keepdim=True)


@pytest.mark.parametrize(("channels", "window", "step"), [(3, 2, 1), (1, 2, 2), (3, 4, 4), (5, 3, 1)])
def test_whitened_windows_are_uncorrelated_and_of_one_variance(channels, window, step):
    images = photographs_like(200, channels, 16)
    images = (images - images.mean(dim=(0, 2, 3), keepdim=True)) / images.std(dim=(0, 2, 3), keepdim=True)
    windows = F.unfold(images.double(), window).transpose(1, 2).flatten(0, 1)
    whiten = Whiten(channels, 8 * channels, (window, window), (step, step))
    whiten.set_covariance(torch.cov(windows.T))
    maps = whiten(images)
    assert maps.shape == (200, 8 * channels, *[(16 - window) // step + 1] * 2)
    assert torch.equal(maps[:, 4 * channels :], -maps[:, : 4 * channels])
    values = maps[:, : 4 * channels].transpose(0, 1).flatten(1)
    off = torch.corrcoef(values).fill_diagonal_(0).abs().max()
    assert off < 0.1
    variances = values.var(dim=1)
    assert (variances < 1.2).all()
    assert variances[0] > 0.8


def test_relus_write_over_their_input_in_training_alone():
    network = network_of(plan_of((3, 12, 12)))
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 3
    network.train()
    assert all(relu.inplace for relu in relus)
    network.eval()
    assert not any(relu.inplace for relu in relus)


def test_a_frozen_relu_keeps_its_input():
    plan = CatalogNet("resnet18", dropout=0.0, standardize=False).plan((3, 32, 32), 2).with_trainable(1)
    network = network_of(plan).train()
    frozen = {row.name for row in plan.layers if row.frozen}
    in_place = {name for name, module in network.layers.items() if getattr(module, "inplace", False)}
    assert in_place and not in_place & frozen


def test_a_relu_whose_input_another_layer_reads_keeps_it():
    draft = Draft((1, 4, 4))
    draft.conv("conv", 2, (3, 3), padding=(1, 1, 1, 1), bias=False, activation="relu")
    draft.norm("norm")
    draft.activate("relu", "relu")
    draft.add("sum", "sum", reads=("norm", "relu"))
    network = network_of(draft.plan(None)).train()
    images = images_of(5, 1, 4, 4)
    norm = network.layers["norm"](network.layers["conv"](images))
    assert torch.equal(network(images), norm + norm.relu())


def test_grey_images_of_three_channels_are_whitened_without_enlarging_a_tint():
    images = photographs_like(100, 1, 8).expand(-1, 3, -1, -1)
    images = (images - images.mean()) / images.std()
    whiten = Whiten(3, 24, (2, 2), (1, 1))
    whiten.set_covariance(torch.cov(F.unfold(images.double(), 2).transpose(1, 2).flatten(0, 1).T))
    tinted = images + torch.tensor([0.03, 0.0, 0.0]).view(3, 1, 1)
    assert (whiten(tinted) - whiten(images)).abs().max() < 0.1


def test_images_of_one_value_are_whitened_to_finite_numbers():
    whiten = Whiten(1, 8, (2, 2), (1, 1))
    whiten.set_covariance(torch.zeros(4, 4, dtype=torch.float64))
    assert torch.isfinite(whiten(torch.zeros(1, 1, 4, 4))).all()
    assert torch.isfinite(whiten.weight).all()


def test_biases_start_at_zero():
    network = network_of(plan_of(normalization=None))
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    assert len(biases) == 4
    assert all(not bias.any() for bias in biases)


# Dropout.


def test_every_dropout_layer_gets_a_seed_of_its_own_from_the_generator():
    plan = plan_of(hidden_layer_sizes=(8, 8))
    networks = [build_network(plan) for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        reseed_dropout(network, seeded(seed))
    seeds = [[m.seed for m in network.modules() if isinstance(m, SeededDropout)] for network in networks]
    assert len(set(seeds[0])) == 3
    assert seeds[0] == seeds[1]
    assert not set(seeds[0]) & set(seeds[2])


# Pixels and precision.


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32, torch.float64, torch.bool], ids=str)
def test_images_of_every_dtype_give_float32_logits_that_do_not_depend_on_it(dtype, training):
    network = network_of(plan_of(dropout=0)).train(training)
    images = (255 * images_of(4, 1, 12, 12)).round() if dtype != torch.bool else images_of(4, 1, 12, 12).round()
    logits = network(images.to(dtype))
    assert logits.dtype == torch.float32
    assert torch.equal(logits, network(images))


def test_a_network_in_float64_computes_in_float64():
    network = network_of(plan_of()).double()
    images = images_of(4, 1, 12, 12)
    logits = network(images)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits.float(), network_of(plan_of())(images), rtol=1e-5, atol=1e-5)
    assert not torch.equal(logits, logits.float().double())


def dtypes_inside(network, images):
    seen = {}
    for name in ("block1_conv", "dense1"):
        network.layers[name].register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.dtype}))
    return seen, network(images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
def test_training_in_bfloat16_computes_in_bfloat16_and_gives_float32_logits(dtype):
    network = network_of(plan_of()).train()
    network.training_dtype = torch.bfloat16
    seen, logits = dtypes_inside(network, (255 * images_of(4, 1, 12, 12)).to(dtype))
    assert set(seen.values()) == {torch.bfloat16}
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert {p.grad.dtype for p in network.parameters()} == {torch.float32}


def test_prediction_never_computes_in_bfloat16():
    network, images = network_of(plan_of()), images_of(4, 1, 12, 12)
    expected = network(images)
    network.training_dtype = torch.bfloat16
    seen, logits = dtypes_inside(network, images)
    assert set(seen.values()) == {torch.float32}
    assert torch.equal(logits, expected)


def test_without_a_training_dtype_training_computes_in_float32():
    seen, _ = dtypes_inside(network_of(plan_of()).train(), images_of(4, 1, 12, 12))
    assert set(seen.values()) == {torch.float32}


def test_a_network_pickles_and_deep_copies_with_the_same_logits():
    network, images = network_of(plan_of()), images_of(4, 1, 12, 12)
    network.train()(images)  # so that dropout has drawn
    network.eval()
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(images), network(images))


# Standardisation.


def test_standardize_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel():
    layer = Standardize(3)
    mean, std = np.array([0.5, -1.0, 2.0]), np.array([2.0, 0.25, 1.0])
    images = images_of(4, 3, 5, 6)
    assert torch.equal(layer(images), images)
    layer.set_statistics(mean, std)
    expected = (images.numpy() - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(layer(images).numpy(), expected, rtol=1e-6, atol=1e-6)


def test_statistics_are_saved_with_the_module_and_not_trained():
    layer = Standardize(2)
    layer.set_statistics(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert not list(layer.parameters())
    state = {name: values.flatten().tolist() for name, values in layer.state_dict().items()}
    assert state == {"mean": [1.0, 2.0], "std": [3.0, 4.0]}


def test_statistics_are_copied_not_borrowed():
    layer, mean = Standardize(1), np.array([1.0])
    layer.set_statistics(mean, np.array([1.0]))
    mean[0] = 9
    assert layer.mean.item() == 1


@pytest.mark.parametrize("n", [1, 3, 7, 8, 20])
def test_dense_layers_predict_with_eight_rows_at_least_and_train_with_those_they_get(n, monkeypatch):
    rows = []

    def linear(x, weight, bias):
        rows.append(len(x))
        return x @ weight.T + bias

    layer = Dense(3, 2)
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    expected = x @ layer.weight.T + layer.bias
    monkeypatch.setattr(F, "linear", linear)
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode)(x), expected)
    assert rows == [n, max(n, 8)]


@pytest.mark.parametrize("stride", [(1, 2), (1, 3), (9, 1), (9, 2)])
@pytest.mark.parametrize("padding", ["same", 1, (1, 2)])
def test_a_stride_larger_than_the_map_takes_nothing_of_what_the_memory_held(stride, padding):
    images = np.random.default_rng(0).random((5, 8, 1)).astype(np.float32)
    clf = CNNClassifier(2, stride=[stride], padding=padding if padding == "same" else [padding], max_epochs=1)
    conv = clf.set_params(random_state=0).fit(images, np.arange(5) % 2).module_.layers["block1_conv"]
    x = torch.from_numpy(images)[:, None]
    sides = (
        conv.sides if hasattr(conv, "sides") else (conv.padding[1], conv.padding[1], conv.padding[0], conv.padding[0])
    )
    expected = F.conv2d(F.pad(x, sides).double(), conv.weight.double(), stride=stride).float()
    with torch.no_grad():
        for _ in range(20):
            garbage = [torch.full((size,), 1e30) for size in (2, 3, 4, 8, 16, 20, 40, 64, 80, 128)]
            del garbage
            torch.testing.assert_close(conv(x), expected, rtol=1e-3, atol=1e-3)
