"""image_pipeline."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_cnn import CNNClassifier, CNNRegressor, ImageAugmenter, image_pipeline
from sklearn_cnn.images._source import ImageSource


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """16 files of unequal sides, dark and bright in turn."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(16):
        pixels = rng.integers(0, 60, (20 + i % 3, 24, 3)) + 180 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return np.array(sorted(map(str, folder.iterdir())))


Y = np.array(["dark", "bright"] * 8)


@pytest.mark.parametrize(("kind", "network"), [("classifier", CNNClassifier), ("regressor", CNNRegressor)])
def test_it_is_a_plain_pipeline_that_learns_from_paths(paths, kind, network):
    pipe = image_pipeline(kind, size=16, random_state=0)
    assert type(pipe) is Pipeline
    assert list(pipe.named_steps) == ["imagereader", "imageaugmenter", network.__name__.lower()]
    assert type(pipe[-1]) is network
    assert (pipe[-1].augmenter, pipe[-1].random_state) == (None, 0)
    y = Y if kind == "classifier" else np.arange(16.0)
    first, again = (clone(pipe).set_params(**{f"{pipe.steps[-1][0]}__max_epochs": 2}).fit(paths, y) for _ in range(2))
    assert first.predict(paths[:3]).shape == (3,)
    np.testing.assert_array_equal(first.predict(paths), again.predict(paths))


def test_images_from_scratch_are_small_in_memory_and_changed():
    pipe = image_pipeline("classifier")
    assert pipe[0].size == (64, 64) and not pipe[0].lazy
    assert (pipe[1].horizontal_flip, pipe[1].crop, pipe[1].fill_mode) == (0.5, 4, "reflect")
    assert (pipe[-1].architecture, pipe[-1].weights) == (None, None)


@pytest.mark.parametrize(("augment", "crop", "flip"), [(True, 2, 0.5), ("auto", 2, 0.5), (False, 0, 0.0)])
def test_augment_says_whether_images_change(augment, crop, flip):
    pipe = image_pipeline("classifier", size=(48, 32), augment=augment)
    assert (pipe[1].crop, pipe[1].horizontal_flip) == (crop, flip)


def test_an_augmenter_is_cloned():
    own = ImageAugmenter(rotation=7, random_state=3)
    step = image_pipeline("classifier", augment=own)[1]
    assert step is not own
    assert step.get_params() == own.get_params()


def test_pretrained_networks_get_images_of_their_size_and_a_new_head():
    pytest.importorskip("timm")
    pipe = image_pipeline("classifier", weights="timm:test_efficientnet")
    assert pipe[0].size == (160, 160) and pipe[0].lazy
    assert pipe[1].get_params() == ImageAugmenter().get_params()
    assert (pipe[-1].architecture, pipe[-1].weights) == ("timm:test_efficientnet", "default")
    own = image_pipeline("regressor", weights="timm:test_efficientnet", size=32, augment=True)
    assert (own[0].size, own[1].crop) == (32, 2)


def test_names_of_the_catalog_are_taken_where_they_have_weights():
    pytest.importorskip("torchvision")
    assert image_pipeline("classifier", weights="resnet18")[0].size == (224, 224)
    with pytest.raises(ValueError, match="nobody offers weights for architecture='lenet5'"):
        image_pipeline("classifier", weights="lenet5")


def test_weights_of_a_file_are_set_afterwards(paths, tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_efficientnet", num_classes=0).state_dict(), tmp_path / "weights.pth")
    pipe = image_pipeline("classifier", weights="timm:test_efficientnet", size=32, random_state=0)
    pipe.set_params(cnnclassifier__weights=tmp_path / "weights.pth", cnnclassifier__max_epochs=1)
    assert isinstance(pipe[:2].fit_transform(paths), ImageSource)
    assert pipe.fit(paths, Y).predict(paths).shape == (16,)
    assert any(row.frozen for row in pipe[-1].plan_.layers)


def test_a_search_reaches_all_steps(paths):
    pipe = image_pipeline("classifier", size=16, random_state=0).set_params(cnnclassifier__max_epochs=1)
    grid = {"imagereader__size": [8, 16], "imageaugmenter__rotation": [0], "cnnclassifier__lr": [0.01]}
    search = GridSearchCV(pipe, grid, cv=2).fit(paths, Y)
    assert search.best_params_["imagereader__size"] in (8, 16)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "ranker"}, "'kind' parameter"),
        ({"weights": 3}, "'weights' parameter"),
        ({"weights": "resnet17"}, "architecture='resnet17' is unknown"),
        ({"size": 0}, "'size' parameter"),
        ({"size": (1, 2, 3)}, "size is a number of pixels or a pair"),
        ({"size": ("a", 2)}, "size is a number of pixels or a pair"),
        ({"augment": "trivial"}, "'augment' parameter"),
        ({"random_state": "x"}, "'random_state' parameter"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(ValueError, match=message):
        image_pipeline(**{"kind": "classifier", **parameters})
