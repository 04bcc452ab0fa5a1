"""Architectures as values: what a plan is laid out from, and can be laid out from again."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor
from sklearn_cnn.architectures._catalog import CATALOG, CatalogNet
from sklearn_cnn.architectures._modules import describe_module
from sklearn_cnn.architectures._ready_made import BackboneNet, UserNet
from sklearn_cnn.architectures._spec import conv_architecture
from sklearn_cnn.images._shape import ImageShape
from tests.architectures.settings import DEFAULTS

X = np.random.default_rng(0).random((24, 16, 16)).astype(np.float32)
y = np.arange(24) % 3

FACTS = {
    "input_shape": (3, 32, 32),
    "output_shape": (5,),
    "n_parameters": 70,
    "n_macs": 900,
    "exact": False,
    "needs_two": True,
    "normalization": "batch",
}


def linear(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.n_values, n_outputs))


def backbone(name="timm:some_net", **facts):
    settings = {"dropout": 0.25, "standardize": True, "parts": ("stem+norm", "stage1"), "size": (64, 64)}
    pixels = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    return BackboneNet(**{**FACTS, **facts}, name=name, **settings, **pixels)


ARCHITECTURES = [
    conv_architecture(**DEFAULTS),
    CatalogNet("resnet18"),
    CatalogNet("vgg11", dropout=0.5, standardize=False),
    backbone(),
    UserNet(**FACTS, factory=linear, standardize=True),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("trainable_blocks", ["all", 0, 1])
def test_a_plan_is_laid_out_again_from_its_architecture(architecture, trainable_blocks):
    if isinstance(architecture, UserNet) and trainable_blocks != "all":
        return  # it has no head that could be trained alone
    plan = architecture.plan((3, 32, 32), 5).with_trainable(trainable_blocks)
    assert (plan.architecture, plan.trainable_blocks) == (architecture, trainable_blocks)
    again = pickle.loads(pickle.dumps(plan))
    assert again.architecture == architecture
    drawn = again.architecture.plan(again.input_shape, again.output_shape[0]).with_trainable(again.trainable_blocks)
    assert drawn == plan
    assert any(layer.frozen for layer in plan.layers) == (trainable_blocks != "all")


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda value: type(value).__name__)
def test_laying_out_makes_no_module(architecture, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a module was made")

    monkeypatch.setattr(nn.Module, "__init__", refuse)
    assert architecture.plan((3, 32, 32), 5).output_shape == (5,)


def test_architecture_and_trainable_blocks_take_no_part_in_equality():
    plan = CatalogNet("lenet5").plan((1, 28, 28), 3)
    assert replace(plan, architecture=None, trainable_blocks=0) == plan
    assert "CatalogNet" not in repr(plan)


@pytest.mark.parametrize(
    ("architecture", "input_shape", "n_outputs"),
    [(backbone(), (1, 32, 32), 5), (backbone(), (3, 33, 32), 5), (ARCHITECTURES[4], (3, 32, 32), 4)],
)
def test_facts_of_a_module_are_used_for_their_own_shape_alone(architecture, input_shape, n_outputs):
    with pytest.raises(ValueError, match=r"known for images of shape|values for an image, not 4"):
        architecture.plan(input_shape, n_outputs)


@pytest.mark.parametrize(
    "settings",
    [{"stride": 2, "padding": "valid"}, {"kernel_size": [3, 5]}],
    ids=["maps shrink more than usual", "entries for two blocks"],
)
def test_automatic_filters_become_those_of_one_architecture(settings):
    net = CNNClassifier(**settings).plan(image_shape=(28, 28), n_outputs=3).architecture
    filters = tuple(block.filters for block in net.blocks)
    assert filters == (64, 128)
    assert CNNClassifier(filters, **settings).plan(image_shape=(28, 28), n_outputs=3).architecture == net
    wide = CNNClassifier().plan(image_shape=(28, 28), n_outputs=3).architecture
    assert [block.filters for block in wide.blocks] == [32, 64, 128]


def test_a_pickled_extractor_has_the_network_of_its_estimator():
    clf = CNNClassifier(architecture=linear, max_epochs=1, random_state=0).fit(X, y)
    features = CNNFeatureExtractor(clf, layer="network").fit(X)
    loaded = pickle.loads(pickle.dumps(features.set_params(architecture="resnet18")))
    np.testing.assert_array_equal(loaded.transform(X), features.transform(X))


# Shares of the learning rate.


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("entry", [entry for entry in CATALOG.values() if entry.torchvision], ids=lambda e: e.name)
def test_a_backbone_that_the_catalog_has_takes_the_catalogs_share(library, entry):
    net = backbone(f"{library}:{entry.torchvision}", normalization=None)
    assert net.lr_share == CatalogNet(entry.name).lr_share == entry.lr_share


def test_timms_name_of_weights_does_not_hide_the_network():
    assert backbone("timm:vgg16.tv_in1k", normalization=None).lr_share == CATALOG["vgg16"].lr_share


def test_other_backbones_take_a_share_by_their_normalization():
    batch, layer, none = (backbone(normalization=kind).lr_share for kind in ("batch", "layer", None))
    assert batch == 1.0
    assert 0 < none < layer < batch
    assert backbone("torchvision:vgg16_bn").lr_share == 1.0


@pytest.mark.parametrize(
    ("layers", "kind"),
    [
        ([nn.BatchNorm2d(1), nn.Flatten()], "batch"),
        ([nn.Flatten(), nn.LayerNorm(120), nn.BatchNorm1d(120)], "batch"),
        ([nn.Flatten(), nn.LayerNorm(120)], "layer"),
        ([nn.GroupNorm(1, 1), nn.Flatten()], "layer"),
        ([nn.LocalResponseNorm(2), nn.Flatten()], None),
        ([nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(120, 120))], None),
    ],
)
def test_the_kind_of_normalization_is_found_in_a_module(layers, kind):
    module = nn.Sequential(*layers, nn.Linear(120, 3))
    shape = ImageShape(10, 12, 1)
    net = describe_module(module, shape, 3, factory=lambda *_: module, standardize=True)
    assert net.normalization == kind


@pytest.mark.parametrize(
    ("name", "side", "kind"),
    [("test_resnet", 32, "batch"), ("test_convnext", 32, "layer"), ("test_efficientnet_gn", 32, "layer")],
)
@pytest.mark.parametrize("optimizer", ["adamw", torch.optim.SGD])
def test_the_automatic_rate_of_a_fit_follows_from_the_backbone(name, side, kind, optimizer):
    pytest.importorskip("timm", reason="the extra 'pretrained' brings it")
    images = X.repeat(side // 16, axis=1).repeat(side // 16, axis=2)
    settings = {"max_epochs": 1, "lr_schedule": "constant", "random_state": 0}
    clf = CNNClassifier(architecture=f"timm:{name}", optimizer=optimizer, **settings).fit(images, y)
    usual = CNNClassifier((2,), optimizer=optimizer, **settings).fit(images, y).history_[0]["lr"]
    assert clf.plan_.architecture.normalization == kind
    assert clf.history_[0]["lr"] == pytest.approx(usual * backbone(normalization=kind).lr_share)
