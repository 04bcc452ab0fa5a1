"""Weights from files and other networks: what is read, what is refused, and where it goes."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sklearn_cnn import CNNClassifier
from sklearn_cnn.architectures._build import build_network, initialize
from sklearn_cnn.architectures._catalog import CatalogNet
from sklearn_cnn.architectures._spec import conv_architecture
from sklearn_cnn.architectures._weights import differences, load_weights, read_weights
from tests.architectures.settings import DEFAULTS


def plan_of(input_shape=(3, 16, 16), n_outputs=3, **settings):
    return conv_architecture(**{**DEFAULTS, **settings}).plan(input_shape, n_outputs)


def network_of(plan, seed=0):
    """A network whose every number is drawn, also those of its normalisations."""
    network, generator = build_network(plan), torch.Generator().manual_seed(seed)
    initialize(network, plan, generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5, generator=generator)
    return network.eval()


def images_of(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def states_equal(one, other, *, but=("output",)):
    names = [name for name in one if name.split(".")[1] not in but and not name.endswith("num_batches_tracked")]
    return all(torch.equal(one[name], other[name]) for name in names)


# Files.


@pytest.fixture(params=["pth", "pt", "bin", "nested pth", "model pt", "safetensors"])
def saved(request, tmp_path):
    """A network, and the file its weights were saved to."""
    network = network_of(plan_of())
    path = tmp_path / f"weights.{request.param.split()[-1]}"
    if request.param == "safetensors":
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    elif request.param == "nested pth":
        torch.save({"epoch": 3, "state_dict": network.state_dict()}, path)
    elif request.param == "model pt":
        torch.save({"model": network.state_dict(), "optimizer": {"state": {}}}, path)
    else:
        torch.save(network.state_dict(), path)
    return network, path


@pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["str", "Path"])
def test_a_file_brings_back_every_number_but_those_of_the_output_layer(saved, as_path):
    network, path = saved
    other = network_of(plan_of(), seed=5)
    own_output = other.layers["output"].weight.clone()
    load_weights(other, plan_of(), read_weights(as_path(path)), "the file")
    assert states_equal(network.state_dict(), other.state_dict())
    assert torch.equal(other.layers["output"].weight, own_output)
    assert not torch.equal(network.layers["output"].weight, own_output)


def test_a_cut_off_file_is_refused_wherever_it_is_cut(saved, tmp_path):
    _, path = saved
    content = path.read_bytes()
    cut = tmp_path / f"cut{path.suffix}"
    for length in [0, 1, 7, 100, len(content) // 2, len(content) - 1]:
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"weights='.*cut\{path.suffix}' (cannot be read|is damaged)"):
            read_weights(cut)


# torch warns of pickles of another protocol before it refuses what is in them.
other_protocol = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


@other_protocol
@pytest.mark.parametrize("ending", ["pth", "pt", "safetensors"])
def test_a_file_of_noise_is_refused(ending, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / f"noise.{ending}"
    for number in range(200):
        noise = rng.integers(0, 256, int(rng.integers(1, 200)), dtype=np.uint8).tobytes()
        path.write_bytes((b"", b"\x80\x02", b"PK\x03\x04")[number % 3] + noise)
        with pytest.raises(ValueError, match=r"weights='.*noise"):
            read_weights(path)


@other_protocol
def test_a_damaged_pickle_is_refused_or_gives_tensors(tmp_path):
    whole = tmp_path / "old.pth"
    torch.save({"weight": torch.ones(3)}, whole, _use_new_zipfile_serialization=False)
    content, rng = whole.read_bytes(), np.random.default_rng(0)
    damaged = tmp_path / "damaged.pth"
    for _ in range(300):
        changed = bytearray(content)
        changed[rng.integers(len(content))] = rng.integers(256)
        damaged.write_bytes(bytes(changed))
        try:
            weights = read_weights(damaged)
        except ValueError:
            continue
        assert all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items())


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@other_protocol
@pytest.mark.parametrize("how", ["torch", "torch, in a state dict", "pickle"])
@pytest.mark.parametrize("ending", ["pth", "pt"])
def test_code_in_a_file_never_runs(how, ending, tmp_path):
    trace, path = tmp_path / "it_ran", tmp_path / f"evil.{ending}"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Payload(trace)))
    else:
        content = Payload(trace)
        torch.save({"state_dict": {"weight": torch.ones(1), "more": content}} if "state" in how else content, path)
    with pytest.raises(ValueError, match=r"is damaged, or holds other objects than tensors, .*; it is not read"):
        read_weights(path)
    assert not trace.exists()


def test_a_pickled_module_is_refused(tmp_path):
    path = tmp_path / "module.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="holds other objects than tensors"):
        read_weights(path)


@pytest.mark.parametrize(
    "content", [torch.ones(3), [torch.ones(3)], {"weight": 3.0}, {"a": {"b": torch.ones(1)}}, {1: torch.ones(1)}, 5]
)
def test_a_file_of_anything_but_a_dict_of_tensors_is_refused(content, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match="holds no state dict, which is a dict of tensors"):
        read_weights(path)


@pytest.mark.parametrize("name", ["weights.npz", "weights.h5", "weights", "weights.pth.gz"])
def test_a_file_with_another_ending_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"has another ending than \.safetensors, \.pth, \.pt or \.bin"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["nowhere.pth", "nowhere.safetensors", "nowhere", ""])
def test_a_missing_file_and_a_folder_are_said_to_be_no_file(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_weights(tmp_path / name)


# Channels.


@pytest.mark.parametrize("n_channels", [1, 4])
def test_a_grey_image_or_one_with_an_alpha_channel_gives_what_its_colour_image_gave(n_channels):
    colour_plan = plan_of((3, 16, 16), standardize=False)
    colour = network_of(colour_plan)
    plan = plan_of((n_channels, 16, 16), standardize=False)
    network = network_of(plan, seed=5)
    load_weights(network, plan, colour.state_dict(), "the file")
    network.layers["output"].load_state_dict(colour.layers["output"].state_dict())
    images = images_of(4, n_channels, 16, 16)
    shown = images.expand(-1, 3, -1, -1) if n_channels == 1 else images[:, :3]
    with torch.no_grad():
        torch.testing.assert_close(network(images), colour(shown), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("n_channels", "mean", "std"), [(1, [4.0], [3.0]), (4, [1.0, 2.0, 9.0, 7.0], [2.0, 3.0, 4.0, 8.0])]
)
def test_statistics_of_three_channels_do_for_one_and_for_four(n_channels, mean, std):
    weights = network_of(plan_of()).state_dict()
    weights["layers.standardize.mean"] = torch.tensor([1.0, 2.0, 9.0]).view(3, 1, 1)
    weights["layers.standardize.std"] = torch.tensor([2.0, 3.0, 4.0]).view(3, 1, 1)
    plan = plan_of((n_channels, 16, 16))
    network = network_of(plan)
    network.layers["standardize"].set_statistics(np.full(n_channels, 7.0), np.full(n_channels, 8.0))
    load_weights(network, plan, weights, "the file")
    assert network.layers["standardize"].mean.flatten().tolist() == mean
    assert network.layers["standardize"].std.flatten().tolist() == std


@pytest.mark.parametrize("n_channels", [2, 5])
def test_other_numbers_of_channels_are_refused(n_channels):
    plan = plan_of((n_channels, 16, 16))
    message = rf"block1_conv.weight \(4×3×3×3 in place of 4×{n_channels}×3×3\)"
    with pytest.raises(ValueError, match=message):
        load_weights(network_of(plan), plan, network_of(plan_of()).state_dict(), "the file")


# What does not fit.


def test_weights_of_another_network_are_refused_and_the_first_few_faults_are_named():
    plan = plan_of(filters=(4, 6, 8))
    network = network_of(plan)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        load_weights(network, plan, network_of(plan_of(filters=(4, 5))).state_dict(), "weights='x.pth'")
    assert str(caught.value) == (
        "weights='x.pth' is of another network: block2_conv.weight (5×4×3×3 in place of 6×4×3×3), "
        "block2_norm.weight (5 in place of 6), block2_norm.bias (5 in place of 6) and 7 more."
    )
    assert states_equal(before, network.state_dict(), but=())


def test_missing_weights_are_said_to_be_missing():
    plan = plan_of()
    weights = network_of(plan).state_dict()
    del weights["layers.block2_conv.weight"]
    with pytest.raises(ValueError, match=r"another network: block2_conv\.weight \(missing\)\.$"):
        load_weights(network_of(plan), plan, weights, "the file")


@pytest.mark.parametrize("weights", [{}, {"something.weight": torch.ones(3, 3)}])
def test_weights_that_share_nothing_with_the_network_are_refused(weights):
    with pytest.raises(ValueError, match=r"block1_conv\.weight \(missing\)"):
        load_weights(network_of(plan_of()), plan_of(), weights, "the file")


def test_hidden_layers_of_the_head_are_loaded_where_they_fit_and_kept_where_not():
    weights = network_of(plan_of()).state_dict()
    for width, loaded in ((8, True), (9, False)):
        plan = plan_of(hidden_layer_sizes=(width,))
        network = network_of(plan, seed=5)
        drawn = network.layers["dense1"].weight.clone()
        left = load_weights(network, plan, weights, "the file")
        expected = weights["layers.dense1.weight"] if loaded else drawn
        assert torch.equal(network.layers["dense1"].weight, expected)
        assert left == ({"output"} if loaded else {"output", "dense1"})


def test_the_output_layer_is_not_loaded_even_where_it_fits():
    network = network_of(plan_of(), seed=5)
    drawn = network.layers["output"].weight.clone()
    load_weights(network, plan_of(), network_of(plan_of()).state_dict(), "the file")
    assert torch.equal(network.layers["output"].weight, drawn)


def test_weights_of_another_precision_are_converted():
    network, plan = network_of(plan_of(), seed=5), plan_of()
    source = network_of(plan).double().state_dict()
    load_weights(network, plan, source, "the file")
    assert network.layers["block1_conv"].weight.dtype == torch.float32
    assert torch.equal(network.layers["block1_conv"].weight, source["layers.block1_conv.weight"].float())


# Other people's names.


def foreign(network):
    """The same weights under names of somebody else, who also saved auxiliary heads."""
    values = [
        (name, value)
        for name, value in network.state_dict().items()
        if not name.startswith("layers.standardize.") and not name.endswith("num_batches_tracked")
    ]
    named = OrderedDict((f"module.part{i}.{name.rsplit('.', 1)[1]}", value) for i, (name, value) in enumerate(values))
    return OrderedDict({"aux1.conv.weight": torch.ones(2), **named, "module.part0.num_batches_tracked": torch.ones(())})


def test_weights_under_other_names_are_taken_in_their_order():
    plan = CatalogNet("resnet18").plan((3, 16, 16), 3)
    network, other = network_of(plan), network_of(plan, seed=5)
    load_weights(other, plan, foreign(network), "the file")
    assert states_equal(network.state_dict(), other.state_dict(), but=("output", "standardize"))


def test_weights_in_another_order_are_refused():
    plan = CatalogNet("resnet18").plan((3, 16, 16), 3)
    network = network_of(plan)
    backwards = OrderedDict(reversed(foreign(network).items()))
    with pytest.raises(ValueError, match=r"is of another network: stem_conv\.weight"):
        load_weights(network, plan, backwards, "the file")


# What weights do not show.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "gelu"}, ["block1_gelu (not here)", "block1_relu (missing)"]),
        ({"standardize": False}, ["standardize (missing)"]),
        ({"pooling": "avg"}, ["block1_pool (kind avg_pool in place of max_pool)"]),
        ({"pool_size": 3, "pool_stride": 2}, ["block1_pool (kernel (3, 3) in place of (2, 2))"]),
        ({"padding": "valid"}, ["block1_conv (padding (0, 0, 0, 0) in place of (1, 1, 1, 1))"]),
        ({"stride": 2}, ["block1_conv (stride (2, 2) in place of (1, 1))"]),
        ({"dilation": 2}, ["block1_conv (dilation (2, 2) in place of (1, 1))"]),
        ({"padding_mode": "reflect"}, ["block1_conv (padding_mode reflect in place of zeros)"]),
    ],
    ids=str,
)
def test_networks_with_the_same_weights_differ_in_what_they_do_with_them(settings, message):
    found = differences(plan_of(), plan_of(**settings))
    assert set(message) <= set(found)


@pytest.mark.parametrize(
    "settings", [{"dropout": 0.4}, {"hidden_layer_sizes": ()}, {"input_shape": (3, 20, 24)}], ids=str
)
def test_networks_of_other_heads_and_images_do_not_differ_before_the_head(settings):
    assert differences(plan_of(), plan_of(**settings)) == []


def test_networks_of_other_rows_cannot_be_compared():
    assert differences(plan_of(), CatalogNet("resnet18").plan((3, 16, 16), 3)) == []


# Frozen rows.


def frozen_of(plan):
    return [layer.name for layer in plan.layers if layer.frozen and layer.n_parameters]


def test_all_but_the_last_blocks_and_the_head_are_frozen():
    plan = plan_of(filters=(4, 6, 8))
    assert plan.blocks == ("block1", "block2", "block3")
    assert frozen_of(plan.with_trainable(3)) == frozen_of(plan.with_trainable("all")) == []
    assert frozen_of(plan.with_trainable(2)) == ["block1_conv", "block1_norm"]
    assert len(frozen_of(plan.with_trainable(0))) == 6
    assert plan.with_trainable(1).with_trainable("all") == plan
    with pytest.raises(ValueError, match=r"trainable_blocks=4: this network has 3 blocks; 'all' trains it whole"):
        plan.with_trainable(4)


def test_frozen_rows_ask_for_no_gradient_and_stay_in_evaluation():
    network = build_network(plan_of().with_trainable(1)).train()
    modes = {name: (module.training, any(p.requires_grad for p in module.parameters()))
             for name, module in network.layers.items() if list(module.parameters())}  # fmt: skip  # a table
    assert modes == {
        "block1_conv": (False, False),
        "block1_norm": (False, False),
        "block2_conv": (True, True),
        "block2_norm": (True, True),
        "dense1": (True, True),
        "output": (True, True),
    }
    assert not any(module.training for module in network.eval().modules())


def test_the_table_says_what_is_trained_only_where_something_is_not():
    plan = plan_of()
    assert "trained" not in str(plan) and "trained" not in plan._repr_html_()
    table = str(plan.with_trainable(1))
    ends = {line.split()[0]: line.split()[-1] for line in table.splitlines() if line.startswith(("block", "dense"))}
    assert "trained" in table.splitlines()[2] and "<th>trained</th>" in plan.with_trainable(1)._repr_html_()
    assert (ends["block1_conv"], ends["block1_norm"], ends["block2_conv"], ends["dense1"]) == ("no", "no", "yes", "yes")


# In an estimator.

TRAINED = ("block2_conv", "block2_norm", "dense1", "output")


def test_an_estimator_starts_from_a_file_of_another_ones_weights(tmp_path):
    X, y = np.random.default_rng(0).random((24, 12, 12)).astype(np.float32), np.arange(24) % 3
    settings = {"filters": (4, 6), "hidden_layer_sizes": (8,), "batch_size": 8, "random_state": 0}
    first = CNNClassifier(max_epochs=2, **settings).fit(X, y)
    path = tmp_path / "first.pth"
    torch.save(first.module_.state_dict(), path)
    for weights in (path, str(path), first):
        clf = CNNClassifier(max_epochs=1, weights=weights, trainable_blocks=1, **settings).fit(X, y)
        assert states_equal(first.module_.state_dict(), clf.module_.state_dict(), but=TRAINED)
        assert not torch.equal(clf.module_.layers["block2_conv"].weight, first.module_.layers["block2_conv"].weight)
