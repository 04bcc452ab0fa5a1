"""Networks that come as finished modules: the user's own, and those of torchvision and timm."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cnn import CNNClassifier, CNNRegressor
from sklearn_cnn.architectures._backbones import backbone_weights, catalog_weights, make_backbone
from sklearn_cnn.architectures._build import build_network, initialize
from sklearn_cnn.architectures._modules import describe_backbone, describe_module, make_module
from sklearn_cnn.architectures._weights import load_weights
from sklearn_cnn.images._shape import ImageShape

RNG = np.random.default_rng(0)
X, y = RNG.random((24, 10, 12)).astype(np.float32), np.arange(24) % 3
SHAPE = ImageShape(10, 12, 1)


class Small(nn.Module):
    """A user's network, whose dropout draws from torch's global generator."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(image_shape.channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4 * image_shape.height * image_shape.width, n_outputs)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.norm(self.conv(x)))).flatten(1))


def factory(image_shape, n_outputs):
    return Small(image_shape, n_outputs)


def linear(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.n_values, n_outputs))


def classifier(architecture, **settings):
    return CNNClassifier(architecture=architecture, **{"max_epochs": 2, "batch_size": 8, "random_state": 0, **settings})


def states_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# A user's own.


@pytest.mark.parametrize("architecture", [Small, factory, linear], ids=["class", "function", "sequential"])
def test_a_callable_becomes_a_network_that_learns(architecture):
    easy = X + y[:, None, None]
    clf = classifier(architecture, max_epochs=15, lr=0.01).fit(easy, y)
    assert clf.score(easy, y) > 0.9
    assert [row.kind for row in clf.plan_.layers] == ["standardize", "module"]
    assert clf.plan_.n_parameters == sum(p.numel() for p in clf.module_.parameters())


def test_the_same_seed_gives_the_same_weights_whatever_the_global_generator_says():
    torch.manual_seed(0)
    first = classifier(Small).fit(X, y)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second = classifier(Small).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before)
    assert states_equal(first.module_, second.module_)
    assert not states_equal(first.module_, classifier(Small, random_state=1).fit(X, y).module_)


def test_two_fits_in_two_threads_give_what_they_give_one_after_the_other():
    expected = [classifier(Small, random_state=seed, max_epochs=5).fit(X, y) for seed in (0, 1)]
    fitted = [classifier(Small, random_state=seed, max_epochs=5) for seed in (0, 1)]
    threads = [threading.Thread(target=clf.fit, args=(X, y)) for clf in fitted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(states_equal(one.module_, other.module_) for one, other in zip(expected, fitted, strict=True))


def test_dropout_of_a_module_differs_from_batch_to_batch():
    seen = []

    class Watched(Small):
        def forward(self, x):
            dropped = self.drop(torch.ones(1, 64))
            if self.training:
                seen.append(tuple((dropped == 0).flatten().tolist()))
            return super().forward(x)

    classifier(Watched).fit(X, y)
    assert len(seen) == len(set(seen)) == 6


def test_predicting_and_planning_leave_the_global_generator_untouched():
    clf = classifier(Small).fit(X, y)
    before = torch.get_rng_state()
    clf.predict(X)
    clf.plan(X, y)
    pickle.loads(pickle.dumps(clf))
    assert torch.equal(torch.get_rng_state(), before)


def test_one_module_that_a_factory_gives_each_time_is_copied():
    module = linear(SHAPE, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    clf = classifier(lambda *_: module)
    first = clf.fit(X, y).decision_function(X)
    np.testing.assert_array_equal(clf.fit(X, y).decision_function(X), first)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")  # torch's own warning, in some versions
def test_lazy_layers_take_their_size_from_the_images():
    def lazy(image_shape, n_outputs):
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(n_outputs))

    first, second = (classifier(lazy).fit(X, y) for _ in range(2))
    assert states_equal(first.module_, second.module_)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrised_weights_are_trained_counted_and_copied(norm):
    def normed(image_shape, n_outputs):
        return nn.Sequential(nn.Flatten(), norm(nn.Linear(image_shape.n_values, n_outputs)))

    first = classifier(normed, max_epochs=1).fit(X, y)
    clf = classifier(normed).fit(X, y)
    assert not states_equal(first.module_, clf.module_)
    assert clf.plan_.n_macs >= X[0].size * 3
    again = copy.deepcopy(clf)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_a_factory_may_itself_fit_a_network():
    def nested(image_shape, n_outputs):
        return classifier(linear, max_epochs=1).fit(X, y).module_.layers["network"]

    assert classifier(nested).fit(X, y).predict(X).shape == y.shape


@pytest.mark.parametrize("given", [None, 3, nn.Linear, [nn.Linear(2, 2)]], ids=["None", "int", "class", "list"])
def test_a_callable_that_gives_no_module_is_refused(given):
    with pytest.raises(TypeError, match=r"must give a torch\.nn\.Module when called with \(image_shape, n_outputs\)"):
        classifier(lambda *_: given).fit(X, y)


@pytest.mark.parametrize(
    ("module", "gave"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(120, 2)), r"\(1, 2\)"),
        (nn.Conv2d(1, 3, 3), r"\(1, 3, 8, 10\)"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(120, 3)), r"\(3,\)"),
        (nn.LSTM(12, 3), "tuple"),
    ],
)
def test_a_module_that_gives_another_shape_is_refused(module, gave):
    if isinstance(module, nn.LSTM):
        module = nn.Sequential(nn.Flatten(1, 2), module)
    with pytest.raises(ValueError, match=rf"must give \(n, 3\) for images of shape \(n, 1, 10, 12\).*gave {gave}"):
        classifier(lambda *_: module).fit(X, y)


def test_errors_of_the_callable_and_of_its_module_pass_through():
    def broken(image_shape, n_outputs):
        raise ZeroDivisionError("the factory's own")

    with pytest.raises(ZeroDivisionError, match="the factory's own"):
        classifier(broken).fit(X, y)

    class Broken(nn.Module):
        def forward(self, x):
            raise KeyError("the module's own")

    with pytest.raises(KeyError, match="the module's own") as caught:
        classifier(lambda *_: Broken()).fit(X, y)
    assert caught.value.__notes__ == [
        "The network of architecture= failed on a first blank image, of shape (1, 1, 10, 12)."
    ]


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(5), nn.Sequential(nn.Unflatten(1, (5, 1, 1)), nn.BatchNorm2d(5), nn.Flatten())]
)
@pytest.mark.parametrize(("images", "batch_size", "cause"), [(4, 1, "batch_size=1"), (1, 8, "a single image")])
def test_a_module_whose_batch_statistics_need_two_images_says_so(norm, images, batch_size, cause):
    def normed(image_shape, n_outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.n_values, 5), norm, nn.Linear(5, n_outputs))

    def wide(image_shape, n_outputs):
        return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(image_shape.n_values, n_outputs))

    reg = CNNRegressor(architecture=normed, batch_size=batch_size, max_epochs=1)
    with pytest.raises(ValueError, match=rf"^{cause} leaves one value for .* of network, .* at least 2 images\.$"):
        reg.fit(X[:images], np.arange(images))
    reg.set_params(batch_size=3).fit(X[:4], np.arange(4))
    reg.set_params(architecture=wide, batch_size=1).fit(X[:4], np.arange(4))


def test_a_failing_factory_leaves_the_global_generator_and_the_estimator_as_they_were():
    def broken(image_shape, n_outputs):
        torch.rand(3)
        raise ZeroDivisionError

    clf = classifier(linear).fit(X, y)
    expected, before = clf.predict_proba(X), torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        clf.set_params(architecture=broken).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(clf.predict_proba(X), expected)


def test_blocks_of_a_module_are_not_known():
    with pytest.raises(ValueError, match="a network of your own has no head that is known"):
        classifier(linear, trainable_blocks=0).fit(X, y)
    with pytest.raises(ValueError, match="this network has 1 block; 'all' trains it whole"):
        classifier(linear, trainable_blocks=2).fit(X, y)


def test_parameters_whose_gradient_is_off_stay_as_they_are():
    def half(image_shape, n_outputs):
        module = Small(image_shape, n_outputs)
        module.conv.requires_grad_(False)
        return module

    drawn = {}

    def kept(image_shape, n_outputs):
        module = half(image_shape, n_outputs)
        drawn["weight"] = module.conv.weight.detach().clone()
        return module

    clf = classifier(kept).fit(X, y)
    assert torch.equal(clf.module_.layers["network"].conv.weight, drawn["weight"])


def test_a_module_is_made_in_torchs_first_dtype_on_the_cpu_whatever_the_defaults_are():
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            clf = classifier(linear).fit(X, y)
    finally:
        torch.set_default_dtype(previous)
    assert {p.dtype for p in clf.module_.parameters()} == {torch.float32}
    assert {p.device.type for p in clf.module_.parameters()} == {"cpu"}


def test_a_plan_counts_the_multiply_adds_of_a_module():
    net = describe_module(make_module(Small, SHAPE, 3, 0), SHAPE, 3, factory=Small, standardize=True)
    plan = net.plan((1, 10, 12), 3)
    assert plan.n_macs == 120 * 4 * 9 + 4 * 120 * 3


@pytest.mark.parametrize("precision", ["bfloat16", "float64"])
def test_a_module_trains_in_other_precisions(precision):
    logits = classifier(Small, precision=precision).fit(X, y).decision_function(X)
    assert logits.dtype == (np.float64 if precision == "float64" else np.float32)


# torchvision and timm. No weights are fetched: their names are enough for a network with drawn ones.

BACKBONES = [
    ("torchvision:resnet18", 32),
    ("torchvision:mobilenet_v3_small", 32),
    ("torchvision:shufflenet_v2_x0_5", 32),
    ("torchvision:googlenet", 64),
    ("timm:resnet10t", 32),
    ("timm:test_vit", 160),
]


def backbone_of(name, n_channels=3, seed=0):
    library = name.split(":")[0]
    pytest.importorskip(library, reason="the extra 'pretrained' brings it")
    return make_backbone(name, n_channels, seed)


def plan_backbone(backbone, shape, n_outputs, **settings):
    return describe_backbone(backbone, shape, **settings).plan(shape.channels_first, n_outputs)


@pytest.mark.parametrize(("name", "side"), BACKBONES)
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 6])
def test_a_backbone_takes_any_number_of_channels(name, side, n_channels):
    backbone = backbone_of(name, n_channels)
    shape = ImageShape(side, side, n_channels, "chw")
    plan = plan_backbone(backbone, shape, 5, standardize=True, dropout=0.0)
    network = build_network(plan, backbone.module).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, n_channels, side, side)).shape == (2, 5)
    assert plan.n_parameters == sum(p.numel() for p in network.parameters())
    assert len(backbone.preprocessing.mean) == len(backbone.preprocessing.std) == 3


@pytest.mark.parametrize(("name", "side"), BACKBONES)
def test_a_backbone_has_blocks_that_can_be_frozen_one_after_the_other(name, side):
    plan = plan_backbone(backbone_of(name), ImageShape(side, side, 3, "chw"), 5, standardize=True, dropout=0.2)
    n = len(plan.blocks)
    assert n >= 3
    n_frozen = []
    for k in range(n, -1, -1):
        backbone = backbone_of(name)
        network = build_network(plan.with_trainable(k), backbone.module).train()
        n_frozen.append(sum(p.numel() for p in network.parameters() if not p.requires_grad))
        assert all(p.requires_grad for p in network.layers["output"].parameters())
        frozen = [m for m in network.modules() if list(m.parameters(recurse=False)) and not m.training]
        assert not any(p.requires_grad for module in frozen for p in module.parameters())
    assert n_frozen[0] == 0 and n_frozen == sorted(set(n_frozen))
    assert n_frozen[-1] == sum(p.numel() for p in backbone.module.parameters())
    assert not any(module.training for module in network.layers["backbone"].modules())


def test_what_belongs_to_no_part_is_frozen_with_the_first():
    backbone = backbone_of("timm:test_vit")
    plan = plan_backbone(backbone, ImageShape(160, 160, 3, "chw"), 5, standardize=True, dropout=0.0)
    all_but_one = build_network(plan.with_trainable(len(plan.blocks) - 1), backbone.module)
    frozen = {name for name, p in all_but_one.layers["backbone"].named_parameters() if not p.requires_grad}
    assert frozen == {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}


def test_a_table_says_how_many_parts_of_a_backbone_are_trained():
    backbone = backbone_of("torchvision:resnet18")
    plan = plan_backbone(backbone, ImageShape(32, 32, 3, "chw"), 5, standardize=True, dropout=0.0)
    assert plan.blocks == ("conv1+bn1", "layer1", "layer2", "layer3", "layer4.0", "layer4.1")
    row = next(line for line in str(plan.with_trainable(2)).splitlines() if line.startswith("backbone"))
    assert row.endswith("2 of 6 parts")
    title = str(plan.with_trainable(2)).splitlines()[1]
    assert "torchvision:resnet18, made for 224×224 pixels of mean 0.485, 0.456, 0.406" in title
    assert next(line for line in str(plan.with_trainable(0)).splitlines() if line.startswith("back")).endswith(" no")


@pytest.mark.parametrize(("name", "side"), [BACKBONES[0], BACKBONES[4]])
def test_backbones_of_one_seed_are_equal_and_draw_from_no_global_generator(name, side):
    before = torch.get_rng_state()
    one, same, other = (backbone_of(name, seed=seed).module for seed in (0, 0, 1))
    assert states_equal(one, same) and not states_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "unknown to torchvision; did you mean 'resnet1"),
        ("torchvision:nothing_like_it", "unknown to torchvision"),
        ("timm:resnet18x", "unknown to timm; did you mean .*'resnet18'"),
        ("torchvision:", "unknown to torchvision"),
    ],
)
def test_an_unknown_backbone_is_refused_with_the_nearest(name, message):
    with pytest.raises(ValueError, match=f"architecture='{name}' is {message}"):
        backbone_of(name)


def test_a_network_without_a_dense_last_layer_is_refused():
    with pytest.raises(ValueError, match="has no dense last layer"):
        backbone_of("torchvision:squeezenet1_0")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_without_the_library_the_extra_that_brings_it_is_named(library, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("sklearn_cnn._optional.import_module", missing)
    with pytest.raises(ImportError, match=rf"architecture='{library}:resnet18' needs {library}.*\[pretrained\]"):
        make_backbone(f"{library}:resnet18", 3, 0)


@pytest.mark.parametrize("name", ["lenet5"])
def test_a_network_that_nobody_trained_has_no_default_weights(name):
    pytest.importorskip("torchvision", reason="torchvision is an extra")
    with pytest.raises(ValueError, match="nobody offers weights for architecture='lenet5'; pass a file"):
        catalog_weights(name)


def test_conv_blocks_and_modules_have_no_default_weights():
    for architecture in (None, linear):
        with pytest.raises(ValueError, match="a network of conv blocks, or of your own, has none"):
            classifier(architecture, weights="default").fit(X, y)


# What would be fetched, with a network drawn here in its place.


@pytest.mark.parametrize(
    ("name", "mean"),
    [("resnet18", 0.485), ("googlenet", 0.5), ("inception_v3", 0.5), ("mobilenet_v3_small", 0.485)],
)
def test_fetched_weights_fit_a_backbone_that_then_gives_torchvisions_features(name, mean, monkeypatch, tmp_path):
    models = pytest.importorskip("torchvision.models", reason="torchvision is an extra")
    side = 75 if name == "inception_v3" else 64
    inner = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(devices=[]):
        theirs = getattr(models, name)(weights=None, **inner).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    monkeypatch.setattr("sklearn_cnn.architectures._backbones.fetch_url", lambda *_, **__: tmp_path / "theirs.pth")
    weights = backbone_weights(f"torchvision:{name}")

    backbone = backbone_of(f"torchvision:{name}", seed=4)
    assert backbone.preprocessing.mean[0] == mean
    plan = plan_backbone(backbone, ImageShape(side, side, 3, "chw"), 2, standardize=True, dropout=0.0)
    network = build_network(plan, backbone.module).eval()
    initialize(network, plan, torch.Generator().manual_seed(0))
    network.layers["standardize"].set_statistics(
        *map(np.array, (backbone.preprocessing.mean, backbone.preprocessing.std))
    )
    load_weights(network, plan, weights, "theirs")

    images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(1))
    usual_mean, usual_std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = (images - usual_mean.view(3, 1, 1)) / usual_std.view(3, 1, 1)
    theirs.transform_input = bool(inner)  # as it is with their weights
    parent = theirs.classifier if name == "mobilenet_v3_small" else theirs
    setattr(parent, "3" if name == "mobilenet_v3_small" else "fc", nn.Identity())
    with torch.no_grad():
        expected, got = theirs(normalized), network.maps(images, "backbone")
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_backbone_trains_and_pickles_in_a_classifier():
    pytest.importorskip("torchvision", reason="torchvision is an extra")
    images = RNG.integers(0, 256, (16, 32, 32), dtype=np.uint8)
    clf = classifier("torchvision:mobilenet_v3_small", lr=1e-3).fit(images, y[:16])
    again = classifier("torchvision:mobilenet_v3_small", lr=1e-3).fit(images, y[:16])
    assert states_equal(clf.module_, again.module_)  # its dropout too
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(images), clf.predict_proba(images))


def test_the_head_of_a_frozen_backbone_is_trained_on_its_features(monkeypatch):
    pytest.importorskip("torchvision", reason="torchvision is an extra")
    images = RNG.integers(0, 256, (16, 32, 32), dtype=np.uint8)
    first = classifier("torchvision:mobilenet_v3_small", lr=1e-3).fit(images, y[:16])
    settings = {"weights": first, "trainable_blocks": 0, "precision": "float64", "lr": 1e-3}
    fast = classifier("torchvision:mobilenet_v3_small", **settings).fit(images, y[:16])
    monkeypatch.setattr("sklearn_cnn.estimators._fit.with_features", lambda parameters, given, *_: given)
    slow = classifier("torchvision:mobilenet_v3_small", **settings).fit(images, y[:16])
    np.testing.assert_allclose(fast.predict_proba(images), slow.predict_proba(images), rtol=1e-9)
    body = {name: value for name, value in first.module_.state_dict().items() if "backbone" in name}
    assert all(
        torch.equal(value.double(), fast.module_.state_dict()[name].double())
        for name, value in body.items()
        if not name.endswith("num_batches_tracked")
    )
