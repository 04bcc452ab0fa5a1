"""Features of what is not trained: where the network is cut, how long it takes, and how often it is made."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor
from sklearn_cnn.architectures._build import build_network
from sklearn_cnn.architectures._catalog import CatalogNet
from sklearn_cnn.estimators import _embedding
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource

DIGITS = load_digits()
X, y = DIGITS.images[:160].astype(np.float32), DIGITS.target[:160]
PHOTOS = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(80) % 4


@pytest.mark.parametrize(
    ("architecture", "side", "layer", "n_values"),
    [
        ("resnet50", 224, "global_pool", 2048),
        ("resnet18", 32, "global_pool", 512),
        ("inception", 224, "global_pool", 1024),
        ("vgg11", 224, "flatten", 512 * 7 * 7),
        ("vgg11", 448, "flatten", 512 * 7 * 7),
        ("alexnet", 224, "flatten", 256 * 6 * 6),
        ("lenet5", 32, "flatten", 16 * 5 * 5),
    ],
)
def test_what_is_kept_is_the_last_and_smallest_that_nothing_trained_comes_before(architecture, side, layer, n_values):
    plan = CatalogNet(architecture).plan((3, side, side), 10)
    rows = {row.name: row for row in plan.layers}
    assert plan.kept == layer
    assert np.prod(rows[layer].output_shape) == n_values <= np.prod(rows[plan.body].output_shape)


@pytest.mark.parametrize(
    ("settings", "layer"),
    [
        ({"global_pooling": "avg"}, "global_pool"),
        ({"global_pooling": "max"}, "global_pool"),
        ({"global_pooling": "avg", "hidden_layer_sizes": ()}, "global_pool"),
        ({}, "flatten"),
    ],
    ids=str,
)
def test_conv_blocks_are_cut_behind_their_pool(settings, layer):
    plan = CNNClassifier(filters=(4, 8), **settings).plan(image_shape=(20, 20), n_outputs=3)
    assert plan.kept == layer


def test_features_of_a_frozen_resnet50_take_8_kilobytes_an_image(monkeypatch):
    """20,000 images then take 0.16 GB, where the maps before the pool took 8 GB."""
    plan = CatalogNet("resnet50").plan((3, 224, 224), 10).with_trainable(0)
    network = build_network(plan).eval()
    for value in network.state_dict().values():
        value.zero_()
    monkeypatch.setattr(network, "maps", lambda images, name: torch.zeros((len(images), *shapes[name])))
    shapes = {row.name: row.output_shape for row in plan.layers}
    images = ImageSource(np.zeros((3, 224, 224, 3), np.uint8), ImageShape(224, 224, 3, "hwc"))
    kept = run_with_features(network, plan, images)
    assert kept.base.nbytes == 3 * 2048 * 4
    assert network.starts_behind == "global_pool"


def run_with_features(network, plan, images):
    from types import SimpleNamespace

    from sklearn_cnn.estimators._read import Given
    from sklearn_cnn.estimators._sample import Sample

    sample = Sample(images, np.zeros(len(images)), None, np.arange(len(images)))
    given = Given(sample, None, None, {}, torch.device("cpu"), 0, None)
    parameters = SimpleNamespace(trainable_blocks=0, verbose=0)
    return _embedding.with_features(parameters, given, plan, network, "float32").sample.images


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_training_behind_the_pool_gives_what_training_before_it_gives_to_the_bit(precision, monkeypatch):
    settings = {"filters": (6, 8), "global_pooling": "avg", "precision": precision, "random_state": 0}
    source = CNNClassifier(**settings, max_epochs=2).fit(X, y)
    clf = CNNClassifier(**settings, max_epochs=3, weights=source, trainable_blocks=0)
    cut = clf.fit(X, y).predict_proba(X)
    plan_type = type(source.plan_)
    monkeypatch.setattr(plan_type, "kept", property(lambda plan: plan.body))
    np.testing.assert_array_equal(clone(clf).set_params(weights=source).fit(X, y).predict_proba(X), cut)


# Folding and precision.


def test_a_folded_backbone_gives_the_same_labels_and_only_many_images_are_worth_it(monkeypatch):
    pytest.importorskip("timm", reason="timm is an extra")
    n_folded = []
    fold = _embedding.folded
    monkeypatch.setattr(_embedding, "folded", lambda *args: n_folded.append(1) or fold(*args))
    extractor = CNNFeatureExtractor("timm:test_efficientnet", weights="random", random_state=0).fit(PHOTOS)
    many, few = extractor.transform(PHOTOS), extractor.transform(PHOTOS[:10])
    assert len(n_folded) == 1
    np.testing.assert_allclose(many[:10], few, rtol=1e-3, atol=1e-4 * np.abs(few).max())
    assert not any("prediction_dtype" in str(key) for key in extractor.module_.state_dict())


def test_features_in_bfloat16_give_the_labels_of_float32(monkeypatch):
    """Forced, since few CPUs multiply bfloat16 themselves."""
    source = CNNClassifier(filters=(8, 16), max_epochs=6, random_state=0).fit(DIGITS.images[:600], DIGITS.target[:600])
    labels, dtypes = {}, []
    maps = type(source.module_).maps

    def watched(self, images, name):
        dtypes.append(self.prediction_dtype)
        return maps(self, images, name)

    monkeypatch.setattr(type(source.module_), "maps", watched)
    for precision in ("float32", "bfloat16"):
        clf = CNNClassifier(
            filters=(8, 16), max_epochs=6, weights=source, trainable_blocks=0, precision=precision, random_state=0
        )
        labels[precision] = clf.fit(DIGITS.images[:600], DIGITS.target[:600]).predict(DIGITS.images[600:])
    assert set(dtypes) == {None, torch.bfloat16} and source.module_.prediction_dtype is None
    assert np.mean(labels["float32"] == labels["bfloat16"]) >= 0.99


# How often a network is made.


@pytest.fixture
def n_made(monkeypatch):
    """How often timm and torchvision were asked for a network."""
    timm = pytest.importorskip("timm", reason="timm is an extra")
    models = pytest.importorskip("torchvision.models", reason="torchvision is an extra")
    made = []
    for module, name in ((timm, "create_model"), (models, "get_model")):
        ask = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, ask=ask, **kwargs: made.append(args) or ask(*args, **kwargs))
    return made


@pytest.mark.parametrize("architecture", ["timm:test_efficientnet", "torchvision:mobilenet_v3_small"])
def test_a_backbone_is_made_once_in_a_fit(architecture, n_made):
    clf = CNNClassifier(architecture=architecture, max_epochs=1, random_state=0).fit(PHOTOS, LABELS)
    assert len(n_made) == 1
    again = clone(clf).fit(PHOTOS, LABELS)
    np.testing.assert_array_equal(clf.predict_proba(PHOTOS), again.predict_proba(PHOTOS))
    assert len(n_made) == 2
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(PHOTOS), clf.predict_proba(PHOTOS))
    assert len(n_made) == 3
    clf.set_params(warm_start=True).fit(PHOTOS, LABELS)
    assert len(n_made) == 4


@pytest.mark.parametrize("trainable", [0, "all"])
def test_a_backbone_with_downloaded_weights_is_made_once_too(trainable, n_made, monkeypatch):
    import timm

    weights = {
        name: torch.full_like(value, 0.01) if value.is_floating_point() else value
        for name, value in timm.create_model("test_efficientnet", num_classes=0).state_dict().items()
    }
    n_made.clear()
    monkeypatch.setattr("sklearn_cnn.estimators._network.backbone_weights", lambda name: weights)
    settings = {"max_epochs": 1, "lr": 1e-12, "weights": "default", "trainable_blocks": trainable, "random_state": 0}
    clf = CNNClassifier(architecture="timm:test_efficientnet", **settings).fit(PHOTOS, LABELS)
    assert len(n_made) == 1
    fitted = [p for name, p in clf.module_.named_parameters() if "backbone" in name]
    assert all(torch.allclose(value, torch.tensor(0.01), atol=1e-6) for value in fitted)
    n_made.clear()
    extractor = CNNFeatureExtractor("timm:test_efficientnet").fit(PHOTOS)
    assert len(n_made) == 1
    assert bool((next(extractor.module_.layers["backbone"].parameters()) == 0.01).all())
