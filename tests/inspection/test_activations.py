"""feature_maps: what layers give, of every kind of estimator, and that nothing of it stays behind."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sklearn_cnn import (
    CNNClassifier,
    CNNFeatureExtractor,
    CNNRegressor,
    ImageAugmenter,
    ImageNormalizer,
    ImageReader,
)
from sklearn_cnn.inspection import feature_maps, saliency
from sklearn_cnn.inspection._activations import as_maps
from sklearn_cnn.inspection._subject import find_estimator, look_at, spare_copy

X, y = load_digits().images[:100].astype(np.float32), load_digits().target[:100]
ONE_EPOCH = {"max_epochs": 1, "random_state": 0}
SETTINGS = {"filters": (4, 6), "hidden_layer_sizes": (8,), **ONE_EPOCH}


@pytest.fixture(scope="module")
def fitted():
    return CNNClassifier(**SETTINGS).fit(X, y)


def own(image_shape, n_outputs):
    """A network of a user, which writes over its own maps and runs one part twice."""
    relu = nn.ReLU(inplace=True)
    return nn.Sequential(
        nn.Conv2d(image_shape.channels, 3, 3), relu, nn.Conv2d(3, 3, 3), relu, nn.Flatten(), nn.LazyLinear(n_outputs)
    )


def hooked(modules, run):
    """What plain forward hooks see of modules, by their names, while something runs."""
    seen = {name: [] for name in modules}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: seen[name].append(output.clone()))
        for name, module in modules.items()
    ]
    run()
    for handle in handles:
        handle.remove()
    return {name: torch.cat(outputs).cpu().numpy() for name, outputs in seen.items()}


@pytest.mark.parametrize(
    "architecture",
    [None, "resnet18", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lenet5", "inception"))],
)
def test_every_row_is_what_a_hook_gives_in_the_shape_of_the_plan(architecture):
    images = X[:6].repeat(3, 1).repeat(3, 2)
    settings = SETTINGS if architecture is None else {**ONE_EPOCH, "architecture": architecture}
    clf = CNNClassifier(**settings).fit(images, y[:6])
    maps = feature_maps(clf, images)
    assert list(maps) == [row.name for row in clf.plan_.layers]
    expected = hooked(clf.module_.layers, lambda: clf.predict(images))
    for row in clf.plan_.layers:
        np.testing.assert_allclose(maps[row.name], expected[row.name], rtol=1e-4, atol=1e-5, err_msg=row.name)
        assert maps[row.name].shape == (6, *row.output_shape) and maps[row.name].dtype == np.float32


def test_the_last_row_is_what_the_estimator_gives(fitted):
    np.testing.assert_array_equal(feature_maps(fitted, X, "output")["output"].argmax(axis=1), fitted.predict(X))
    np.testing.assert_array_equal(
        feature_maps(fitted, X[:1], "block2_conv")["block2_conv"],
        feature_maps(fitted, X, "block2_conv")["block2_conv"][:1],
    )


def test_layers_come_in_the_order_of_the_plan_once_and_only_those_asked_for(fitted):
    assert list(feature_maps(fitted, X[:3], ["output", "block1_conv", "output"])) == ["block1_conv", "output"]
    assert list(feature_maps(fitted, X[:3], "flatten")) == ["flatten"]


def test_a_network_of_ones_own_has_its_parts_as_they_were_when_they_ran():
    clf = CNNClassifier(architecture=own, max_epochs=1, random_state=0).fit(X, y)
    maps = feature_maps(clf, X)
    assert list(maps) == ["standardize", "network", *(f"network.{i}" for i in (0, 1, 2, 4, 5))]
    assert (maps["network.0"] < 0).any() and (maps["network.2"] < 0).any()  # though a rectifier wrote over them
    np.testing.assert_array_equal(maps["network.1"], np.maximum(maps["network.2"], 0))  # the second of its two runs
    np.testing.assert_allclose(maps["network.5"], maps["network"], rtol=1e-6)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:vgg11", "timm:resnet18"])
def test_a_backbone_has_its_blocks_and_all_that_is_in_them(name):
    pytest.importorskip(name.split(":")[0], reason="the extra 'pretrained' brings it")
    images = X[:8].repeat(5, 1).repeat(5, 2)
    clf = CNNClassifier(architecture=name, max_epochs=1, random_state=0).fit(images, y[:8])
    maps = feature_maps(clf, images)
    parts = [name.removeprefix("backbone.") for name in maps if name.startswith("backbone.")]
    assert {part for joined in clf.plan_.blocks for part in joined.split("+")} == set(parts)
    backbone = clf.module_.layers["backbone"]
    expected = hooked({part: backbone.get_submodule(part) for part in parts}, lambda: clf.predict(images))
    for part in parts:
        np.testing.assert_allclose(maps[f"backbone.{part}"], expected[part], rtol=1e-3, atol=1e-3)
    inner = "backbone.features.0" if "vgg" in name else "backbone.layer1.0.conv1"
    assert feature_maps(clf, images, inner)[inner].shape[0] == 8


@pytest.mark.parametrize("estimator", ["regressor", "extractor", "multilabel", "float64"])
def test_other_estimators_have_maps_too(fitted, estimator):
    if estimator == "regressor":
        model = CNNRegressor(**SETTINGS).fit(X, y.astype(float))
    elif estimator == "extractor":
        model = CNNFeatureExtractor(fitted).fit(X)
    elif estimator == "multilabel":
        model = CNNClassifier(**SETTINGS).fit(X, (y[:, None] > [3, 6]).astype(int))
    else:
        model = CNNClassifier(**SETTINGS, precision="float64").fit(X, y)
    maps = feature_maps(model, X, ["block1_conv", "output"])
    assert maps["block1_conv"].shape == (100, 4, 8, 8)
    assert maps["output"].dtype == (np.float64 if estimator == "float64" else np.float32)


# Pipelines and searches.


def test_a_pipeline_is_seen_through(fitted):
    pipe = make_pipeline(
        ImageNormalizer("minmax"), "passthrough", ImageAugmenter(rotation=20), CNNClassifier(**SETTINGS)
    ).fit(X, y)
    expected = feature_maps(pipe[-1], pipe[:-1].transform(X))
    found = feature_maps(pipe, X)
    assert list(found) == list(expected)
    np.testing.assert_array_equal(found["block2_relu"], expected["block2_relu"])
    np.testing.assert_array_equal(look_at(pipe, X).pictures, X)
    frozen = make_pipeline(ImageNormalizer("standardize"), FrozenEstimator(fitted)).fit(X, y)
    np.testing.assert_array_equal(
        feature_maps(frozen, X)["output"], feature_maps(fitted, frozen[:-1].transform(X))["output"]
    )


@pytest.mark.parametrize(
    "nest",
    [
        FrozenEstimator,
        make_pipeline,
        lambda pipe: GridSearchCV(pipe, {}, cv=2),
        lambda pipe: make_pipeline(GridSearchCV(pipe, {}, cv=2)),
    ],
    ids=["frozen", "pipeline", "search", "search in a pipeline"],
)
def test_wrappings_may_be_nested(nest):
    pipe = make_pipeline(ImageNormalizer("standardize"), CNNClassifier(**SETTINGS)).fit(X, y)
    nested = nest(pipe)
    nested = nested if isinstance(nested, FrozenEstimator) else nested.fit(X, y)
    np.testing.assert_allclose(feature_maps(nested, X)["output"], feature_maps(pipe, X)["output"], rtol=1e-4, atol=1e-5)
    with pytest.raises(NotFittedError):
        feature_maps(GridSearchCV(pipe, {}), X)


def test_images_whose_size_a_step_changes_are_drawn_as_that_step_gives_them():
    cut = FunctionTransformer(lambda images: images[:, 2:6, 1:7])
    pipe = make_pipeline(cut, ImageNormalizer("standardize"), CNNClassifier(**SETTINGS)).fit(X, y)
    np.testing.assert_array_equal(look_at(pipe, X).pictures, X[:, 2:6, 1:7])


def test_images_of_several_sizes_are_drawn_as_the_reader_gives_them():
    pytest.importorskip("PIL", reason="the extra 'images' brings it")
    reader = ImageReader(size=12, resize="crop")
    images = [np.random.default_rng(i).integers(0, 256, (12, 12 + i), dtype=np.uint8) for i in range(20)]
    pipe = make_pipeline(reader, ImageNormalizer("standardize"), CNNClassifier(**SETTINGS)).fit(images, y[:20])
    np.testing.assert_array_equal(look_at(pipe, images).pictures, reader.fit_transform(images))


def test_pixels_are_checked_as_in_prediction(fitted):
    for look in (feature_maps, saliency):
        with pytest.warns(UserWarning, match="scale them the same way") as caught:
            look(fitted, X / 16)
        assert [warning.filename for warning in caught] == [__file__]
        with pytest.raises(ValueError, match="too large for a network of float32"):
            look(fitted, X * 1e20)


def test_a_search_has_the_maps_of_its_best_estimator():
    search = GridSearchCV(make_pipeline(CNNClassifier(**SETTINGS)), {"cnnclassifier__dropout": [0.0, 0.5]}, cv=2)
    search.fit(X, y)
    assert find_estimator(search) is search.best_estimator_[-1]
    np.testing.assert_array_equal(
        feature_maps(search, X)["output"], feature_maps(search.best_estimator_[-1], X)["output"]
    )


@pytest.mark.parametrize("form", ["last", "first", "rows", "list", "lazy", "grey"])
def test_pictures_are_the_images_as_they_came(form):
    colour = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    settings, pictures = {}, colour
    given = {
        "last": colour,
        "first": np.moveaxis(colour, -1, 1),
        "rows": colour.reshape(20, -1),
        "list": list(colour),
        "lazy": ImageAugmenter(rotation=30, random_state=0).fit_transform(colour),
        "grey": colour[..., :1],
    }[form]
    if form == "rows":
        settings = {"image_shape": (8, 8, 3)}
    if form == "grey":
        pictures = colour[..., 0]
    clf = CNNClassifier(**SETTINGS, **settings).fit(given, y[:20])
    np.testing.assert_array_equal(look_at(clf, given).pictures, pictures)
    if form != "rows":
        pipe = make_pipeline(ImageNormalizer("standardize"), CNNClassifier(**SETTINGS)).fit(given, y[:20])
        np.testing.assert_array_equal(look_at(pipe, given).pictures, pictures)
    else:  # a step that flattens
        flatten = FunctionTransformer(lambda images: images.reshape(len(images), -1) / 255.0)
        pipe = make_pipeline(flatten, clf).fit(colour, y[:20])
        np.testing.assert_array_equal(look_at(pipe, colour).pictures, pictures)


class Holder(nn.Module):
    """A network with a list of parts, a part that is never run and one that gives no array."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(image_shape.channels, 3, 3), nn.Conv2d(3, 4, 3)])
        self.spare = nn.Conv2d(1, 1, 1)
        self.memory = nn.LSTM(16, 5, batch_first=True)
        self.out = nn.Linear(5, n_outputs)

    def forward(self, x):
        for conv in self.convs:
            x = torch.relu(conv(x))
        return self.out(self.memory(x.flatten(2))[0][:, -1])


def test_parts_that_give_no_array_are_left_out_unless_they_are_asked_for():
    clf = CNNClassifier(architecture=Holder, max_epochs=1, random_state=0).fit(X, y)
    assert list(feature_maps(clf, X)) == ["standardize", "network", "network.out"]
    assert feature_maps(clf, X, "network.convs.1")["network.convs.1"].shape == (100, 4, 4, 4)
    for part in ("convs", "spare", "memory"):
        with pytest.raises(ValueError, match=rf"layer='network.{part}' gives no array, or does not run"):
            feature_maps(clf, X, f"network.{part}")


@pytest.mark.parametrize(
    ("shape", "maps"),
    [
        ((2, 64, 7, 7), (2, 64, 7, 7)),
        ((2, 7, 7, 64), (2, 64, 7, 7)),  # channels last
        ((2, 4, 50, 16), None),  # heads, tokens and width of an attention
        ((2, 64, 300, 300), None),  # larger than the image
        ((2, 64), None),
    ],
)
def test_maps_are_told_by_their_proportions(shape, maps):
    for array in (np.zeros(shape), torch.zeros(shape)):
        found = as_maps(array, (224, 224), ready_made=True)
        assert maps is None if found is None else tuple(found.shape) == maps
    values = np.arange(2 * 7 * 7 * 3).reshape(2, 7, 7, 3)
    np.testing.assert_array_equal(as_maps(values, (28, 28), ready_made=True)[1, 2], values[1, :, :, 2])
    assert as_maps(np.zeros((2, 3, 4, 9)), (28, 28), ready_made=False).shape == (2, 3, 4, 9)


# Nothing stays behind.


@pytest.mark.parametrize("architecture", [None, own])
def test_the_estimator_is_as_it_was(architecture):
    settings = SETTINGS if architecture is None else {**ONE_EPOCH, "architecture": architecture}
    clf = CNNClassifier(**settings).fit(X, y)
    before, state = clf.predict_proba(X), copy.deepcopy(clf.module_.state_dict())
    wants = [p.requires_grad for p in clf.module_.parameters()]
    feature_maps(clf, X)
    with pytest.raises(ValueError):
        feature_maps(clf, X[:, :4])
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert all(torch.equal(value, state[name]) for name, value in clf.module_.state_dict().items())
    assert [p.requires_grad for p in clf.module_.parameters()] == wants
    assert all(p.grad is None or not torch.isnan(p.grad).any() for p in clf.module_.parameters())
    assert not any(part._forward_hooks for part in clf.module_.modules())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), before)


def test_a_copy_shares_the_numbers_and_nothing_else(fitted):
    spare = spare_copy(fitted.module_)
    for own_value, value in zip(spare.state_dict().values(), fitted.module_.state_dict().values(), strict=True):
        assert own_value.data_ptr() == value.data_ptr()
    assert not any(p.requires_grad for p in spare.parameters())
    assert all(p.requires_grad for p in fitted.module_.parameters())
    assert not {id(part) for part in spare.modules()} & {id(part) for part in fitted.module_.modules()}


def test_threads_do_not_see_each_others_maps(fitted):
    expected = {i: feature_maps(fitted, X[i : i + 10]) for i in range(0, 80, 10)}
    found = {}

    def look(i):
        for _ in range(5):
            found[i] = feature_maps(fitted, X[i : i + 10])

    threads = [threading.Thread(target=look, args=(i,)) for i in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, maps in expected.items():
        np.testing.assert_allclose(found[i]["output"], maps["output"], rtol=1e-6)


# Bad input.


def test_an_unknown_layer_is_refused_with_those_there_are(fitted):
    for layer in ("block9_conv", ["output", "block9_conv"]):
        with pytest.raises(ValueError, match=r"layer='block9_conv' is not there; these are: 'all', 'standardize', 'bl"):
            feature_maps(fitted, X, layer)
    with pytest.raises(ValueError, match="names no layer"):
        feature_maps(fitted, X, [])
    for layer in (0, None, [1], {"block1_conv"}):
        with pytest.raises(TypeError, match="layer is the name of a layer, or a list of names"):
            feature_maps(fitted, X, layer)


@pytest.mark.parametrize("wrap", [lambda clf: clf, lambda clf: make_pipeline(ImageNormalizer(), clf)])
def test_before_fit_there_is_nothing_to_see(wrap):
    with pytest.raises(NotFittedError):
        feature_maps(wrap(CNNClassifier()), X)


@pytest.mark.parametrize("estimator", [LogisticRegression(), make_pipeline(LogisticRegression()), 3, CNNClassifier])
def test_what_is_no_network_is_refused(estimator):
    with pytest.raises(TypeError, match="inspection needs an estimator of this package, or a pipeline or search"):
        feature_maps(estimator, X)


def test_images_of_another_shape_are_refused(fitted):
    with pytest.raises(ValueError, match=r"X has shape \(100, 8, 6\), but CNNClassifier was fitted on X of shape"):
        feature_maps(fitted, X[:, :, :6])
