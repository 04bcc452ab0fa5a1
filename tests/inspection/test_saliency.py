"""saliency: each method against what can be computed by hand, and on images whose deciding pixels are known."""

import copy
import functools
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

import sklearn_cnn.inspection._saliency as module
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageNormalizer
from sklearn_cnn.inspection import feature_maps, saliency

X, y = load_digits().images[:100].astype(np.float32), load_digits().target[:100]
SETTINGS = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 2, "random_state": 0}
METHODS = ["grad_cam", "gradient", "integrated_gradients", "occlusion"]


@pytest.fixture(scope="module")
def fitted():
    return CNNClassifier(**SETTINGS).fit(X, y)


def linear(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.n_values, n_outputs))


@pytest.fixture(scope="module")
def flat():
    """A network that is linear in the pixels, and its weights ``(n_classes, 8, 8)``."""
    clf = CNNClassifier(architecture=linear, standardize=False, max_epochs=2, random_state=0).fit(X, y)
    return clf, clf.module_.layers["network"][1].weight.detach().numpy().reshape(10, 8, 8)


def logits(clf, images):
    with torch.inference_mode():
        return clf.module_(torch.from_numpy(np.asarray(images, dtype=np.float32)[:, None])).numpy()


# By hand.


def test_grad_cam_of_one_convolution_is_what_the_paper_says():
    settings = {"pooling": None, "normalization": None, "dropout": 0.0, "hidden_layer_sizes": ()}
    clf = CNNClassifier((3,), global_pooling="avg", **settings, max_epochs=3, random_state=0).fit(X, y)
    maps = feature_maps(clf, X, "block1_conv")["block1_conv"]
    dense = clf.module_.layers["output"].weight.detach().numpy()[clf.predict(X)]  # (n, 3)
    # The output is the dense weights times the means of the rectified maps.
    gradient = dense[:, :, None, None] * (maps > 0) / 64
    weights = gradient.mean(axis=(2, 3), keepdims=True)
    cam = np.maximum((weights * np.maximum(maps, 0)).sum(axis=1), 0)
    assert (cam > 0).any()
    np.testing.assert_allclose(saliency(clf, X), cam, rtol=1e-4, atol=1e-6)


def test_the_maps_of_grad_cam_are_normalised_and_activated_but_not_pooled(fitted):
    spare = copy.deepcopy(fitted.module_)
    conv = torch.from_numpy(feature_maps(fitted, X, "block2_conv")["block2_conv"]).requires_grad_()
    assert conv.shape[2:] == (4, 4)
    rest = conv
    for name in list(spare.layers)[list(spare.layers).index("block2_conv") + 1 :]:
        rest = spare.layers[name](rest)
    (gradient,) = torch.autograd.grad(rest.max(dim=1).values.sum(), conv)
    with torch.no_grad():
        maps = spare.layers["block2_relu"](spare.layers["block2_norm"](conv))
        cam = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
        cam = nn.functional.interpolate(cam, size=(8, 8), mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_allclose(saliency(fitted, X), cam, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_the_largest_of_the_channels_sizes(flat):
    clf, weights = flat
    np.testing.assert_allclose(saliency(clf, X, "gradient"), np.abs(weights[clf.predict(X)]), rtol=1e-5)
    colour = np.random.default_rng(0).random((30, 6, 6, 3), dtype=np.float32)
    clf = CNNClassifier(architecture=linear, standardize=False, max_epochs=1).fit(colour, y[:30])
    by_channel = clf.module_.layers["network"][1].weight.detach().numpy().reshape(-1, 3, 6, 6)
    found = saliency(clf, colour, "gradient", target=4)
    np.testing.assert_allclose(found[0], np.abs(by_channel[4]).max(axis=0), rtol=1e-5)


def test_integrated_gradients_of_a_linear_network_are_weights_times_pixels(flat):
    clf, weights = flat
    np.testing.assert_allclose(
        saliency(clf, X, "integrated_gradients"), weights[clf.predict(X)] * X, rtol=1e-4, atol=1e-5
    )


def test_occlusion_is_what_squares_take_from_the_output(flat):
    clf, weights = flat
    found = saliency(clf, X[:3], "occlusion", target=7)
    for image, result in zip(X[:3], found, strict=True):
        fallen, covered = np.zeros((8, 8)), np.zeros((8, 8))
        for top in range(7):  # squares of two pixels, one pixel apart
            for left in range(7):
                area = slice(top, top + 2), slice(left, left + 2)
                fallen[area] += max((weights[7][area] * (image[area] - image.mean())).sum(), 0)
                covered[area] += 1
        np.testing.assert_allclose(result, fallen / covered, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {"activation": "gelu"}, {"filters": (8, 8, 8)}, {"precision": "float64"}], ids=str
)
def test_integrated_gradients_add_up_to_the_difference_of_the_logits(settings):
    clf = CNNClassifier(**{**SETTINGS, **settings, "max_epochs": 6}).fit(X, y)
    for target in (None, 3):
        found = saliency(clf, X, "integrated_gradients", target=target)
        index = clf.predict(X) if target is None else np.full(100, target)
        dtype = np.float64 if "precision" in settings else np.float32
        with torch.inference_mode():
            at = [clf.module_(torch.from_numpy(i.astype(dtype)[:, None])).numpy() for i in (X, np.zeros_like(X))]
        difference = (at[0] - at[1])[np.arange(100), index]
        assert (np.abs(found.sum(axis=(1, 2)) - difference) <= 0.01 * np.abs(difference) + 2e-3).all()
        assert (found < 0).any() and (found > 0).any()


def test_pieces_are_cut_where_they_have_to_be_and_a_warning_says_where_that_was_not_enough(fitted, flat, monkeypatch):
    n_gradients = []
    gradients = module._gradients
    monkeypatch.setattr(
        module, "_gradients", lambda n, images, i: n_gradients.append(len(images)) or gradients(n, images, i)
    )
    saliency(flat[0], X, "integrated_gradients")
    assert sum(n_gradients) == 100 * 16  # a straight way
    n_gradients.clear()
    saliency(fitted, X, "integrated_gradients")
    assert 100 * 16 < sum(n_gradients) < 100 * 1024
    n_gradients.clear()
    monkeypatch.setattr(module, "_MOST_STEPS", 20)
    with pytest.warns(UserWarning, match=r"of \d+ of 100 images do not add up .* after 20 gradients") as caught:
        saliency(fitted, X, "integrated_gradients")
    assert sum(n_gradients) == 100 * 16
    assert [warning.filename for warning in caught] == [__file__]


# With captum, where it is installed.


def convolutions(image_shape, n_outputs):
    return nn.Sequential(
        nn.Conv2d(image_shape.channels, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(n_outputs)
    )


def test_captum_finds_the_same():
    attr = pytest.importorskip("captum.attr", reason="captum is no dependency")
    clf = CNNClassifier(architecture=convolutions, max_epochs=3, random_state=0).fit(X, y)
    images, index = torch.from_numpy(X[:20, None]), torch.from_numpy(clf.predict(X[:20]))
    network = copy.deepcopy(clf.module_)
    last = network.layers["network"][2]
    cam = attr.LayerGradCam(network, last).attribute(images, index, relu_attributions=True).detach()
    cam = nn.functional.interpolate(cam, size=(8, 8), mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_allclose(saliency(clf, X[:20]), cam, rtol=1e-4, atol=1e-6)
    gradient = attr.Saliency(network).attribute(images.clone().requires_grad_(), index)
    np.testing.assert_allclose(saliency(clf, X[:20], "gradient"), gradient[:, 0], rtol=1e-4, atol=1e-6)
    integrated = attr.IntegratedGradients(network).attribute(images, target=index, n_steps=200)[:, 0].detach().numpy()
    found = saliency(clf, X[:20], "integrated_gradients")
    assert np.abs(found - integrated).max() < 0.02 * np.abs(integrated).max()  # both approximate


# On a task whose deciding pixels are known.


def planted(n, seed, channels=None):
    """Noise; in half of the images a bright square decides the class. The square and the pixels round it."""
    rng = np.random.default_rng(seed)
    images, labels = rng.random((n, 32, 32)) * 0.3, rng.integers(0, 2, n)
    near = np.zeros(images.shape, dtype=bool)
    for i in np.flatnonzero(labels):
        top, left = rng.integers(1, 23, 2)
        images[i, top : top + 8, left : left + 8] += 0.7
        near[i, top - 1 : top + 9, left - 1 : left + 9] = True
    if channels:
        images = images[..., None].repeat(channels, axis=-1)
    return images.astype(np.float32), np.where(labels, "square", "noise"), near


@pytest.fixture(
    scope="module",
    params=[*("default", "colour"), *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("means", "pipeline"))],
)
def knows_squares(request):
    channels = 3 if request.param == "colour" else None
    images, labels, _ = planted(300, 0, channels)
    means = {"global_pooling": "avg", "hidden_layer_sizes": (), "convs_per_block": 1}
    settings = {"means": means, "colour": means}
    clf = CNNClassifier(**settings.get(request.param, {}), max_epochs=6, random_state=0)
    clf = make_pipeline(ImageNormalizer("standardize"), clf) if request.param == "pipeline" else clf
    return clf.fit(images, labels), *planted(60, 1, channels)


@pytest.mark.parametrize(
    ("method", "share"), [("grad_cam", 0.5), ("gradient", 0.25), ("integrated_gradients", 0.5), ("occlusion", 0.5)]
)
def test_the_pixels_that_count_are_those_of_the_square(knows_squares, method, share):
    clf, images, labels, near = knows_squares
    assert clf.score(images, labels) > 0.9
    rows = np.flatnonzero((labels == "square") & (clf.predict(images) == labels))[:20]
    assert len(rows) == 20
    found = saliency(clf, images[rows], method).reshape(20, -1)
    top = np.argsort(-found, axis=1)[:, : round(0.05 * 32 * 32)]
    hits = np.take_along_axis(near[rows].reshape(20, -1), top, axis=1).mean(axis=1)
    assert np.median(hits) >= share


# Targets.


@pytest.mark.parametrize("method", METHODS)
def test_a_target_is_a_label_and_by_default_the_predicted_one(method):
    names = np.array([f"digit {label}" for label in y])
    clf = CNNClassifier(**SETTINGS).fit(X, names)
    predicted, found = clf.predict(X), saliency(clf, X[:30], method)
    for i in range(5):
        np.testing.assert_allclose(
            saliency(clf, X[:30], method, target=predicted[i])[i], found[i], rtol=1e-4, atol=1e-6
        )
    with pytest.raises(ValueError, match=r"target='digit 12' is not among the classes"):
        saliency(clf, X, method, target="digit 12")
    with pytest.raises(ValueError, match="is not among the classes"):
        saliency(clf, X, method, target=predicted)


@pytest.mark.parametrize("method", METHODS)
def test_several_labels_and_regressors(method):
    labels = (y[:, None] > [3, 6]).astype(int)
    clf = CNNClassifier(**SETTINGS).fit(X, labels)
    likeliest = clf.predict_proba(X).argmax(axis=1)
    found = saliency(clf, X, method)
    for target in (0, 1):
        np.testing.assert_allclose(
            saliency(clf, X, method, target=target)[likeliest == target],
            found[likeliest == target],
            rtol=1e-4,
            atol=1e-6,
        )
    one = CNNRegressor(**SETTINGS).fit(X, y.astype(float))
    assert saliency(one, X, method).shape == X.shape
    two = CNNRegressor(**SETTINGS).fit(X, np.stack([y, -y], axis=1).astype(float))
    assert saliency(two, X, method, target=1).shape == X.shape
    with pytest.raises(ValueError, match="the regressor has 2 outputs; say which one, target=0 to 1"):
        saliency(two, X, method)
    with pytest.raises(ValueError, match="target=2 is not among the outputs"):
        saliency(two, X, method, target=2)


@pytest.mark.parametrize("method", METHODS)
def test_values_of_a_regressor_are_in_the_unit_of_its_targets(method):
    small = CNNRegressor(**SETTINGS).fit(X, np.stack([y, y], axis=1) / 1.0)
    large = CNNRegressor(**SETTINGS).fit(X, np.stack([y, y * 1000 + 7], axis=1) / 1.0)
    expected = saliency(small, X[:9], method, target=1) * 1000
    np.testing.assert_allclose(saliency(large, X[:9], method, target=1), expected, rtol=1e-3, atol=0.1)


def test_integrated_gradients_add_up_to_the_difference_of_predictions():
    reg = CNNRegressor(**SETTINGS).fit(X, 100 + 50.0 * y)
    difference = reg.predict(X[:9]) - reg.predict(np.zeros_like(X[:9]))
    sums = saliency(reg, X[:9], "integrated_gradients").sum(axis=(1, 2))
    assert (np.abs(sums - difference) <= 0.02 * np.abs(difference) + 0.002 * reg.target_scale_).all()


@pytest.mark.parametrize("name", ["timm:test_mambaout", "torchvision:swin_t"])
def test_grad_cam_reads_maps_with_the_channels_last(name):
    """Against the formula, on the last maps of a network that has the channels last inside."""
    library, _, model = name.partition(":")
    given = pytest.importorskip(library, reason="the extra 'pretrained' brings it")
    if library == "timm" and model not in given.list_models():
        pytest.skip("this version of timm does not have it")
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    clf = CNNClassifier(architecture=name, max_epochs=1, batch_size=4, random_state=0).fit(images, [0, 1, 0, 1])
    part = "stages" if library == "timm" else "features"
    seen, network = {}, copy.deepcopy(clf.module_)
    network.layers["backbone"].get_submodule(part).register_forward_hook(lambda _, __, o: seen.update(maps=o))
    pixels = torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32)).requires_grad_()
    out = network(pixels)[:, 1].sum()
    (gradient,) = torch.autograd.grad(out, seen["maps"])  # (n, h, w, c)
    cam = (gradient.mean(dim=(1, 2), keepdim=True) * seen["maps"]).sum(dim=3)[:, None].relu().detach()
    cam = nn.functional.interpolate(cam, size=(64, 64), mode="bilinear", align_corners=False)[:, 0].numpy()
    found = saliency(clf, images, target=1)
    if library == "timm":
        np.testing.assert_allclose(found, cam, rtol=1e-2, atol=1e-3 * max(cam.max(), 1e-9))
    else:  # its last maps are normalised versions of these
        assert found.shape == cam.shape and np.isfinite(found).all()


def test_maps_that_the_output_does_not_depend_on_are_refused():
    class Aside(nn.Module):
        def __init__(self, image_shape, n_outputs):
            super().__init__()
            self.out, self.aside = nn.Linear(image_shape.n_values, n_outputs), nn.Conv2d(image_shape.channels, 2, 3)

        def forward(self, x):
            out = self.out(x.flatten(1))
            self.aside(x)
            return out

    clf = CNNClassifier(architecture=Aside, max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"those of 'network.aside', but the output does not depend on them"):
        saliency(clf, X)


def test_what_was_unpickled_in_inference_mode_has_gradients(fitted):
    with torch.inference_mode():
        loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(saliency(loaded, X[:4], "gradient"), saliency(fitted, X[:4], "gradient"))
    loaded.set_params(warm_start=True).fit(X, y)


# Any network, any batch, and the estimator as it was.


NAMED = ["lenet5", "resnet18", "torchvision:resnet18", "timm:resnet18"]


@functools.cache
def after_one_epoch(architecture):
    """A network of a kind, and the images that it knows."""
    side = 2 if architecture == "resnet18" else 4  # there small images keep their resolution, and cost as much
    images = X[:2].repeat(side, 1).repeat(side, 2)
    return CNNClassifier(architecture=architecture, max_epochs=1, random_state=0).fit(images, y[:2]), images


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        *((None, method) for method in METHODS),
        *((name, method) for name in NAMED for method in ("grad_cam", "gradient")),
        *(
            pytest.param(name, method, marks=pytest.mark.slow)
            for name in NAMED
            for method in ("integrated_gradients", "occlusion")
        ),
    ],
)
def test_every_network_has_it_and_stays_as_it_was(architecture, method):
    if architecture and ":" in architecture:
        pytest.importorskip(architecture.split(":")[0], reason="the extra 'pretrained' brings it")
    clf, images = after_one_epoch(architecture)
    before = clf.predict_proba(images)
    state = copy.deepcopy(clf.module_.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a network that learned nothing the gradients may not add up
        with torch.inference_mode(), torch.random.fork_rng():
            found = saliency(clf, images, method)
    assert found.shape == images.shape and found.dtype == np.float32 and np.isfinite(found).all()
    assert method == "integrated_gradients" or (found >= 0).all()
    np.testing.assert_array_equal(clf.predict_proba(images), before)
    assert all(torch.equal(value, state[name]) for name, value in clf.module_.state_dict().items())
    assert not any(part._forward_hooks for part in clf.module_.modules())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(images), before)


@pytest.mark.parametrize("method", METHODS)
def test_batches_change_nothing(fitted, method, monkeypatch):
    expected = saliency(fitted, X[:7], method)
    seen = []
    hook = fitted.module_.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(module, "_gradient_batch_size", lambda plan: 4)
    monkeypatch.setattr(module, "prediction_batch_size", lambda size: 4)
    found = saliency(fitted, X[:7], method)
    hook.remove()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert max(seen) <= 4


def test_maps_of_more_than_a_pixel_are_preferred():
    clf = CNNClassifier((4, 4, 4, 4), max_epochs=1, random_state=0).fit(X, y)
    assert [layer.output_shape[1:] for layer in clf.plan_.layers if layer.kind == "conv"][-1] == (1, 1)
    found = saliency(clf, X)
    assert np.ptp(found, axis=(1, 2)).max() > 0.1 * found.max() > 0
    tiny = CNNClassifier((4,), max_epochs=1, random_state=0).fit(X[:, :1, :1], y)
    assert saliency(tiny, X[:, :1, :1]).shape == (100, 1, 1)


# Bad input.


def test_without_a_convolution_there_is_no_grad_cam(flat):
    with pytest.raises(ValueError, match="looks at the maps of a convolution, and this network has none"):
        saliency(flat[0], X)
    for method in METHODS[1:]:
        assert saliency(flat[0], X[:2], method).shape == (2, 8, 8)


def test_what_has_no_output_is_refused(fitted):
    with pytest.raises(TypeError, match="saliency explains an output, and a CNNFeatureExtractor has none"):
        saliency(CNNFeatureExtractor(fitted).fit(X), X)
    with pytest.raises(TypeError, match="inspection needs an estimator of this package"):
        saliency(LogisticRegression(), X)
    with pytest.raises(NotFittedError):
        saliency(CNNClassifier(), X)
    with pytest.raises(ValueError, match=r"method is one of 'grad_cam', .*; got 'cam'"):
        saliency(fitted, X, "cam")
    with pytest.raises(ValueError, match="was fitted on X of shape"):
        saliency(fitted, X[:, :6])
