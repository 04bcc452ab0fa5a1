"""Batch normalisation inside convolutions: the same features, and what is left alone."""

import pytest
import torch
from torch import nn

from sklearn_cnn.architectures._build import build_network
from sklearn_cnn.architectures._folding import folded
from sklearn_cnn.architectures._modules import describe_module
from sklearn_cnn.images._shape import ImageShape

SHAPE = ImageShape(12, 12, 3, "chw")
IMAGES = torch.rand((4, 3, 12, 12), generator=torch.Generator().manual_seed(0))


def learned(module):
    """Give batch normalisations statistics and weights as after a training."""
    draws = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value, low in ((part.running_mean, -1), (part.running_var, 0.5), (part.weight, 0.5), (part.bias, -1)):
                value.data.copy_(torch.rand(value.shape, generator=draws) + low)
    return module


def network_of(module):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = learned(module())
    facts = describe_module(module, SHAPE, 2, factory=lambda *_: module, standardize=False)
    return build_network(facts.plan(SHAPE.channels_first, 2), module).eval()


def head():
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]


def usual():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6, eps=1e-2), nn.ReLU6(),
        nn.Conv2d(6, 8, 1, stride=2), nn.BatchNorm2d(8, affine=True), *head(),
    )  # fmt: skip  # a row for each block


def n_norms(network):
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_a_folded_network_has_no_batch_normalisation_and_gives_the_same():
    network = network_of(usual)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = folded(network, IMAGES, "network")
    torch.testing.assert_close(copy.maps(IMAGES, "network"), network.maps(IMAGES, "network"), rtol=1e-4, atol=1e-5)
    assert (n_norms(network), n_norms(copy)) == (3, 0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in [*network.modules(), *copy.modules()])


class TwoReaders(nn.Module):
    """The output of the convolution goes into the normalisation, and past it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(*head())

    def forward(self, x):
        x = self.conv(x)
        return self.head(x + self.norm(x))


class Twice(nn.Module):
    """A convolution that runs twice, with one normalisation each."""

    def __init__(self):
        super().__init__()
        self.first, self.conv, self.one, self.other = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 1),
            *map(nn.BatchNorm2d, (8, 8)),
        )
        self.head = nn.Sequential(*head())

    def forward(self, x):
        return self.head(self.other(self.conv(self.one(self.conv(self.first(x))))))


class Standardized(nn.Conv2d):
    """Its weights are not those that it convolves with."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight - self.weight.mean(), self.bias)


@pytest.mark.parametrize(
    "module",
    [TwoReaders, Twice, lambda: nn.Sequential(Standardized(3, 8, 3), nn.BatchNorm2d(8), *head())],
    ids=["two readers", "twice", "other weights"],
)
def test_what_folding_would_change_is_left_as_it_is(module):
    network = network_of(module)
    copy = folded(network, IMAGES, "network")
    assert n_norms(copy) == n_norms(network)
    torch.testing.assert_close(copy.maps(IMAGES, "network"), network.maps(IMAGES, "network"))


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "timm:test_resnet", "torchvision:mobilenet_v3_small"])
def test_backbones_are_folded(name):
    library = pytest.importorskip(name.partition(":")[0], reason="an extra")
    assert library
    from sklearn_cnn.architectures._backbones import make_backbone
    from sklearn_cnn.architectures._modules import describe_backbone

    shape = ImageShape(64, 64, 3, "chw")
    images = torch.rand((4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    backbone = make_backbone(name, 3, seed=0)
    plan = describe_backbone(backbone, shape, dropout=0.0, standardize=False).plan((3, 64, 64), 2)
    network = build_network(plan, learned(backbone.module)).eval()
    with torch.no_grad():
        copy = folded(network, images, "backbone")
        got, wanted = copy.maps(images, "backbone"), network.maps(images, "backbone")
    assert n_norms(copy) == 0 < n_norms(network)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    assert plan.largest_map > max(3 * 64 * 64, plan.layers[0].output_shape[0])
