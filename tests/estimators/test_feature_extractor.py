"""CNNFeatureExtractor: which numbers come out, of which networks, and that it is a good transformer."""

import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, ImageNormalizer
from sklearn_cnn.architectures._catalog import CatalogNet

DIGITS = load_digits()
X, y = DIGITS.images[:120].astype(np.float32), DIGITS.target[:120]
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def random_extractor(architecture="resnet18", **parameters):
    return CNNFeatureExtractor(architecture, **{"weights": "random", "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def fitted():
    settings = {"filters": (6, 8), "hidden_layer_sizes": (16,), "max_epochs": 4, "random_state": 0}
    return CNNClassifier(**settings).fit(X, y)


# The numbers.


def test_an_embedding_is_each_map_that_the_head_reads_averaged(fitted):
    extractor = CNNFeatureExtractor(fitted).fit(X)
    with torch.inference_mode():
        maps = fitted.module_.maps(torch.from_numpy(X[:, None]), "block2_relu")
    assert extractor.layer_ == "block2_relu"
    np.testing.assert_allclose(extractor.transform(X), maps.mean(dim=(2, 3)).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer", ["standardize", "block1_conv", "block1_pool", "block2_relu", "flatten", "dense1_relu"]
)
def test_a_layer_gives_its_values_flattened(fitted, layer):
    extractor = CNNFeatureExtractor(fitted, layer=layer).fit(X)
    seen = {}
    handle = fitted.module_.layers[layer].register_forward_hook(lambda _, __, output: seen.update(map=output))
    fitted.predict(X)
    handle.remove()
    np.testing.assert_allclose(extractor.transform(X), seen["map"].flatten(1).numpy(), rtol=1e-4, atol=1e-5)
    assert extractor.layer_ == layer


def test_the_output_layer_gives_the_logits(fitted):
    features = CNNFeatureExtractor(fitted, layer="output").fit_transform(X)
    np.testing.assert_allclose(features, fitted.decision_function(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "architecture",
    [
        "resnet18",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("lenet5", "alexnet", "vgg11", "resnet50", "inception")),
    ],
)
def test_every_row_of_a_named_network_can_be_had(architecture):
    images = COLOUR[:2]
    plan = CatalogNet(architecture, dropout=0.0).plan((3, 32, 32), 1)
    rows = [
        row for row in plan.layers if row.kind in ("conv", "max_pool", "sum", "concat", "flatten", "global_avg_pool")
    ]
    extractor = random_extractor(architecture).fit(images)
    assert extractor.plan_ == plan
    for row in rows[:: max(1, len(rows) // 6)]:
        features = random_extractor(architecture, layer=row.name).fit(images).transform(images)
        assert features.shape == (2, np.prod(row.output_shape)) and np.isfinite(features).all()


@pytest.mark.parametrize(
    ("architecture", "layer", "n"),
    [
        ("resnet18", "stage4_unit2_relu", 512),
        ("resnet50", "stage4_unit3_relu", 2048),
        ("inception", "inception5b_concat", 1024),
        ("vgg11", "block5_pool", 512),
        ("lenet5", "block2_pool", 16),
    ],
)
def test_an_embedding_has_as_many_numbers_as_there_are_maps(architecture, layer, n):
    extractor = random_extractor(architecture).fit(COLOUR)
    assert (extractor.layer_, extractor.transform(COLOUR).shape) == (layer, (6, n))


def test_pixels_of_one_image_do_not_depend_on_its_batch(monkeypatch):
    extractor = random_extractor().fit(COLOUR)
    whole = extractor.transform(COLOUR)
    for size in (1, 2, 5):
        monkeypatch.setattr("sklearn_cnn.estimators._embedding.prediction_batch_size", lambda *_, size=size: size)
        np.testing.assert_allclose(extractor.transform(COLOUR), whole, rtol=1e-4, atol=1e-5)


def test_the_larger_the_maps_the_smaller_the_batches(monkeypatch):
    seen = []
    extractor = random_extractor("vgg11").fit(COLOUR)
    monkeypatch.setattr(
        "sklearn_cnn.estimators._embedding.prediction_batch_size", lambda largest, device: seen.append(largest) or 4
    )
    extractor.transform(COLOUR)
    assert seen == [64 * 32 * 32]


def test_features_are_those_of_the_seed_and_draw_from_no_global_generator():
    before = torch.get_rng_state()
    one, same, other = (random_extractor(random_state=seed).fit_transform(COLOUR) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_channels_first_last_and_flat_rows_are_the_same_images():
    expected = random_extractor().fit_transform(COLOUR)
    first = random_extractor().fit_transform(np.moveaxis(COLOUR, -1, 1))
    rows = random_extractor(image_shape=(32, 32, 3)).fit_transform(COLOUR.reshape(6, -1))
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)


def test_pixels_of_trained_weights_are_standardised_as_those_were_trained(tmp_path):
    source = random_extractor().fit(COLOUR)
    weights = {n: v for n, v in source.module_.state_dict().items() if not n.startswith("layers.standardize")}
    torch.save(weights, tmp_path / "resnet18.pth")
    of_bytes = CNNFeatureExtractor(weights=tmp_path / "resnet18.pth").fit(COLOUR)
    of_fractions = CNNFeatureExtractor(weights=tmp_path / "resnet18.pth").fit(COLOUR / 255.0)
    standardize = of_fractions.module_.layers["standardize"]
    np.testing.assert_allclose(standardize.mean.flatten(), [0.485, 0.456, 0.406], rtol=1e-6)
    np.testing.assert_allclose(standardize.std.flatten(), [0.229, 0.224, 0.225], rtol=1e-6)
    np.testing.assert_allclose(of_bytes.transform(COLOUR), of_fractions.transform(COLOUR / 255.0), rtol=1e-4, atol=1e-5)
    of_words = CNNFeatureExtractor(weights=tmp_path / "resnet18.pth").fit(COLOUR.astype(np.uint16) * 257)
    np.testing.assert_allclose(
        of_words.transform(COLOUR.astype(np.uint16) * 257), of_bytes.transform(COLOUR), rtol=1e-3, atol=1e-4
    )
    grey = CNNFeatureExtractor(weights=tmp_path / "resnet18.pth").fit(COLOUR[..., 0])
    assert grey.module_.layers["standardize"].mean.flatten().tolist() == pytest.approx([255 * 0.449])


@pytest.mark.parametrize("source", ["estimator", "wrapped", "as weights", "extractor"])
def test_features_come_from_a_fitted_classifier_however_it_is_passed(fitted, source, tmp_path):
    expected = CNNFeatureExtractor(fitted).fit_transform(X)
    named = CNNClassifier(architecture="lenet5", max_epochs=1, random_state=0).fit(X.repeat(2, 1).repeat(2, 2), y)
    if source == "as weights":
        given = CNNFeatureExtractor("lenet5", weights=named)
        images, expected = (
            X.repeat(2, 1).repeat(2, 2),
            CNNFeatureExtractor(named).fit_transform(X.repeat(2, 1).repeat(2, 2)),
        )
    else:
        made = {
            "estimator": fitted,
            "wrapped": FrozenEstimator(fitted),
            "extractor": CNNFeatureExtractor(fitted).fit(X),
        }
        given, images = CNNFeatureExtractor(made[source]), X
    np.testing.assert_allclose(given.fit_transform(images), expected, rtol=1e-5, atol=1e-6)


def test_what_becomes_of_the_source_does_not_change_the_features(fitted):
    source = clone(fitted).fit(X, y)
    extractor = CNNFeatureExtractor(source).fit(X)
    expected = extractor.transform(X)
    with torch.no_grad():
        for parameter in source.module_.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(extractor.transform(X), expected)


def test_a_network_of_ones_own_gives_its_outputs():
    def linear(image_shape, n_outputs):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(image_shape.n_values, n_outputs))

    clf = CNNClassifier(architecture=linear, max_epochs=1, random_state=0).fit(X, y)
    features = CNNFeatureExtractor(clf).fit_transform(X)
    np.testing.assert_allclose(features, clf.decision_function(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_network_without_blocks_has_the_mean_of_the_pixels_as_its_embedding(standardize):
    settings = {"filters": (), "standardize": standardize, "max_epochs": 1, "random_state": 0}
    clf = CNNClassifier(**settings).fit(X, y)
    pixels = (X - X.mean()) / X.std() if standardize else X
    if standardize:
        features = CNNFeatureExtractor(clf).fit_transform(X)
        np.testing.assert_allclose(features[:, 0], pixels.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(ValueError, match="embedding"):
            CNNFeatureExtractor(clf).fit(X)


def test_features_of_a_float64_network_are_in_float32():
    clf = CNNClassifier(filters=(4,), precision="float64", max_epochs=1, random_state=0).fit(X, y)
    extractor = CNNFeatureExtractor(clf).fit(X)
    assert extractor.transform(X).dtype == np.float32
    assert pickle.loads(pickle.dumps(extractor)).transform(X).dtype == np.float32


# As a transformer.


def test_names_of_features_and_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is needed by the tests alone")
    extractor = random_extractor("lenet5").fit(COLOUR)
    names = [f"cnnfeatureextractor{i}" for i in range(16)]
    assert extractor.get_feature_names_out().tolist() == names
    frame = random_extractor("lenet5").set_output(transform="pandas").fit_transform(COLOUR)
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == names
    np.testing.assert_array_equal(frame.to_numpy(), extractor.transform(COLOUR))


@pytest.mark.parametrize("how", ["pickle", "joblib", "clone"])
def test_copies_give_the_same_features(how):
    extractor = random_extractor().fit(COLOUR)
    expected = extractor.transform(COLOUR)
    if how == "pickle":
        copy = pickle.loads(pickle.dumps(extractor))
    elif how == "joblib":
        file = io.BytesIO()
        joblib.dump(extractor, file)
        file.seek(0)
        copy = joblib.load(file)
    else:
        copy = clone(extractor).fit(COLOUR)
    np.testing.assert_array_equal(copy.transform(COLOUR), expected)


@pytest.mark.parametrize("change", [{"layer": "stem_conv"}, {"architecture": "vgg11"}, {"weights": "x.pth"}], ids=str)
def test_a_parameter_set_after_fit_changes_nothing_before_the_next(change):
    extractor = random_extractor().fit(COLOUR)
    expected = extractor.transform(COLOUR)
    extractor.set_params(**change)
    np.testing.assert_array_equal(extractor.transform(COLOUR), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor)).transform(COLOUR), expected)


def test_a_pipeline_learns_from_features(fitted):
    few = CNNClassifier(random_state=0).fit(DIGITS.images[DIGITS.target < 5], DIGITS.target[DIGITS.target < 5])
    new = DIGITS.target >= 5
    pipe = make_pipeline(CNNFeatureExtractor(FrozenEstimator(few)), LogisticRegression(max_iter=2000))
    assert cross_val_score(pipe, DIGITS.images[new], DIGITS.target[new], cv=3).mean() > 0.93


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_search_goes_over_layers(fitted, n_jobs):
    pipe = make_pipeline(CNNFeatureExtractor(FrozenEstimator(fitted)), LogisticRegression(max_iter=5000))
    grid = {"cnnfeatureextractor__layer": ["embedding", "block1_pool", "dense1_relu"]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_it_stands_behind_a_normalizer():
    pipe = make_pipeline(ImageNormalizer(), random_extractor("lenet5"))
    assert pipe.fit_transform(COLOUR).shape == (6, 16)


# What is refused.


def test_other_images_than_those_of_fit_are_refused():
    extractor = random_extractor("lenet5").fit(COLOUR)
    for images in (COLOUR[:, :30], COLOUR[..., 0], COLOUR.reshape(6, -1)[:, :100]):
        with pytest.raises(ValueError):
            extractor.transform(images)


def test_images_of_another_shape_than_the_estimators_are_refused(fitted):
    with pytest.raises(ValueError, match=r"the images are 32×32×3, but the estimator of architecture= .* on 8×8×1"):
        CNNFeatureExtractor(fitted).fit(COLOUR)


@pytest.mark.parametrize("how", ["architecture", "weights", "named"])
def test_images_on_another_scale_than_before_give_a_warning(fitted, how):
    images = X.repeat(2, 1).repeat(2, 2)
    if how == "architecture":
        extractor, images = CNNFeatureExtractor(fitted), X
    elif how == "weights":
        named = CNNClassifier(architecture="lenet5", max_epochs=1, random_state=0).fit(images, y)
        extractor = CNNFeatureExtractor("lenet5", weights=named)
    else:
        extractor = random_extractor()
    extractor.fit(images).transform(images)
    with pytest.warns(UserWarning, match="trained on went from 0 to 16; scale them the same way") as caught:
        extractor.transform(images / 16)
    assert [warning.filename for warning in caught] == [__file__]


def test_layers_of_the_head_without_weights_are_refused(tmp_path):
    images = X.repeat(4, 1).repeat(4, 2)
    source = CNNClassifier(architecture="lenet5", max_epochs=1, random_state=0).fit(images, y)
    other = X.repeat(5, 1).repeat(5, 2)  # whose head has other shapes
    for layer in ("dense1", "dense2", "output"):
        with pytest.raises(ValueError, match=rf"layer='{layer}' is computed with dense1, which weights= do not fill"):
            CNNFeatureExtractor("lenet5", weights=source, layer=layer).fit(other)
    assert CNNFeatureExtractor("lenet5", weights=source, layer="flatten").fit_transform(other).shape[0] == len(X)
    assert CNNFeatureExtractor("lenet5", weights=source, layer="dense2").fit_transform(images).shape == (120, 84)
    with pytest.raises(ValueError, match="layer='output' is computed with output"):
        CNNFeatureExtractor("lenet5", weights=source, layer="output").fit(images)
    assert random_extractor("lenet5", layer="output").fit_transform(images).shape == (120, 1)
    assert CNNFeatureExtractor(source, layer="output").fit_transform(images).shape == (120, 10)


def test_an_unknown_layer_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"layer='conv7' is no row of the plan; these are: 'embedding', 'standardize'"):
        random_extractor("lenet5", layer="conv7").fit(COLOUR)


@pytest.mark.parametrize("given", [CNNClassifier(), FrozenEstimator(CNNClassifier()), LogisticRegression()], ids=repr)
def test_what_is_no_fitted_network_is_refused(given):
    with pytest.raises(ValueError, match=r"architecture=\w+\(\.\.\.\) is no fitted estimator of this package"):
        CNNFeatureExtractor(given).fit(X)


def test_a_clone_that_lost_its_network_says_what_to_do(fitted):
    with pytest.raises(ValueError, match="FrozenEstimator"):
        clone(CNNFeatureExtractor(fitted)).fit(X)


@pytest.mark.parametrize("weights", [None, 3, 0.5])
def test_weights_that_are_nothing_of_the_kind_are_refused(weights):
    with pytest.raises(ValueError, match="The 'weights' parameter of CNNFeatureExtractor must be"):
        CNNFeatureExtractor(weights=weights).fit(X)


@pytest.mark.parametrize("images", [COLOUR * 1e19, np.where(COLOUR > 250, np.nan, COLOUR)], ids=["huge", "NaN"])
def test_numbers_that_cannot_be_computed_with_are_refused(images):
    with pytest.raises(ValueError):
        random_extractor("lenet5").fit(images)
    with pytest.raises(ValueError):
        random_extractor("lenet5").fit(COLOUR).transform(images)


def test_before_fit_nothing_is_transformed():
    with pytest.raises(NotFittedError):
        random_extractor().transform(COLOUR)


def test_without_a_network_default_weights_say_what_to_do(monkeypatch, tmp_path):
    pytest.importorskip("torchvision", reason="torchvision is an extra")

    def offline(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    extractor = CNNFeatureExtractor()
    with pytest.raises(OSError, match=r"weights='default'.*pass a file, weights=PATH"):
        extractor.fit(COLOUR.repeat(2, axis=1).repeat(2, axis=2))
    assert not hasattr(extractor, "module_")


@pytest.mark.parametrize(("architecture", "model"), [("resnet18", "resnet18"), ("inception", "googlenet")])
def test_default_weights_give_torchvisions_features(architecture, model, monkeypatch, tmp_path):
    models = pytest.importorskip("torchvision.models", reason="torchvision is an extra")
    settings = {"init_weights": False, "transform_input": True} if model == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        theirs = getattr(models, model)(weights=None, **settings).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    monkeypatch.setattr("sklearn_cnn.architectures._backbones.fetch_url", lambda *_, **__: tmp_path / "theirs.pth")
    images = np.random.default_rng(0).integers(0, 256, (3, 70, 66, 3), dtype=np.uint8)
    features = CNNFeatureExtractor(architecture).fit_transform(images)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    theirs.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = theirs(((torch.from_numpy(images) / 255 - mean) / std).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "timm:resnet10t"])
def test_a_backbone_gives_features(name):
    pytest.importorskip(name.split(":")[0], reason="the extra 'pretrained' brings it")
    extractor = random_extractor(name).fit(COLOUR)
    features = extractor.transform(COLOUR)
    assert extractor.layer_ == "backbone" and features.shape == (6, extractor._n_features_out)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor)).transform(COLOUR), features)


def test_a_failure_leaves_an_extractor_as_it_was(fitted):
    extractor = CNNFeatureExtractor(fitted).fit(X)
    before = extractor.transform(X)
    with pytest.raises(ValueError, match="fitted on"):
        extractor.fit(X[:, :, :6])
    np.testing.assert_array_equal(extractor.transform(X), before)
