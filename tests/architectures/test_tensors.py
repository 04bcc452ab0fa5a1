from dataclasses import replace

import pytest

from sklearn_cnn import CNNClassifier, list_architectures
from sklearn_cnn.architectures._backbones import make_backbone
from sklearn_cnn.architectures._build import build_network
from sklearn_cnn.architectures._catalog import CatalogNet, smallest_side
from sklearn_cnn.architectures._tensors import backbone_shapes, tensor_shapes


def shapes_of(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("name", list_architectures())
def test_the_tensors_of_the_catalog_are_known_without_making_them(name, standardize):
    side = max(smallest_side(name), 64 * (name == "resnet50"))
    plan = CatalogNet(name, dropout=0.2, standardize=standardize).plan((3, side, side), 7)
    assert tensor_shapes(plan) == shapes_of(build_network(plan))


@pytest.mark.parametrize("settings", [{}, {"normalization": None}, {"kernel_size": 2, "global_pooling": "avg"}])
def test_the_tensors_of_conv_blocks_are_known_without_making_them(settings):
    plan = CNNClassifier(filters=(3, 4), **settings).plan(image_shape=(8, 8, 3), n_outputs=3)
    assert tensor_shapes(plan) == shapes_of(build_network(plan))


@pytest.mark.parametrize("change", [{"n_parameters": 5}, {"parts": ("layer1", "layer9+fc")}])
def test_a_backbone_that_is_another_than_in_its_plan_is_refused(change):
    pytest.importorskip("torchvision")
    name = "torchvision:resnet18"
    backbone = CNNClassifier(architecture=name).plan(image_shape=(32, 32, 3), n_outputs=2).architecture
    assert backbone_shapes(backbone) == shapes_of(make_backbone(name, 3, seed=0).module)
    with pytest.raises(ValueError, match=r"resnet18' is another network here .* Use the version of the library"):
        backbone_shapes(replace(backbone, **change))
