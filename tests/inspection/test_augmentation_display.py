"""AugmentationDisplay: real draws of the augmenter, wherever it stands."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, ImageAugmenter, ImageNormalizer, ImageReader
from sklearn_cnn.inspection import AugmentationDisplay

X, y = load_digits().images[:40].astype(np.uint8), load_digits().target[:40]
SETTINGS = {"filters": (4,), "hidden_layer_sizes": (), "max_epochs": 1, "random_state": 3}
AUGMENTER = ImageAugmenter(rotation=30, shift=0.1, random_state=0)
DRAWS = AUGMENTER.sample(X[:4], 6)

draw = AugmentationDisplay.from_estimator


def test_rows_are_the_first_images_and_draws_of_each():
    display = draw(AUGMENTER, X)
    np.testing.assert_array_equal(display.pictures, X[:4])
    np.testing.assert_array_equal(display.draws, DRAWS)
    assert display.axes_.shape == (4, 7) and display.figure_ is display.ax_.figure
    for number, row in enumerate(display.axes_):
        for panel, image in zip(row, [X[number], *DRAWS[number]], strict=True):
            (drawn,) = panel.get_images()
            np.testing.assert_array_equal(drawn.get_array(), image)
            assert drawn.get_clim() == (0, 255)  # of all the same, or a change of brightness would not be seen
    assert [display.axes_[0, 0].get_title(), display.axes_[0, 1].get_title("left")] == ["as it is", "draws"]


def test_numbers_of_images_and_draws():
    display = draw(AUGMENTER, X, n_images=2, n_draws=1)
    assert display.axes_.shape == (2, 2) and display.draws.shape == (2, 1, 8, 8)
    assert draw(AUGMENTER, X[:3], n_images=9).axes_.shape == (3, 7)


def test_a_seed_gives_the_same_draws_and_none_others():
    np.testing.assert_array_equal(draw(AUGMENTER, X).draws, draw(AUGMENTER, X).draws)
    free = ImageAugmenter(rotation=30)
    assert not np.array_equal(draw(free, X).draws, draw(free, X).draws)


@pytest.mark.parametrize(
    "kind",
    [
        *("fitted", "network", "fitted network", "pipeline", "fitted pipeline", "search", "frozen"),
        *("frozen pipeline", "frozen search", "pipeline at the end", "pipeline at the beginning", "frozen step"),
    ],
)
def test_the_augmenter_is_found(kind):
    network = CNNClassifier(**SETTINGS, augmenter=AUGMENTER)
    pipe = make_pipeline("passthrough", AUGMENTER, ImageNormalizer(), CNNClassifier(**SETTINGS))
    given = {
        "fitted": lambda: ImageAugmenter(**AUGMENTER.get_params()).fit(X),
        "network": lambda: network,
        "fitted network": lambda: network.fit(X, y),
        "pipeline": lambda: pipe,
        "fitted pipeline": lambda: pipe.fit(X, y),
        "search": lambda: GridSearchCV(pipe, {"cnnclassifier__dropout": [0.0]}, cv=2).fit(X[:20], y[:20] % 2),
        "frozen": lambda: make_pipeline(FrozenEstimator(network.fit(X, y))),
        "frozen pipeline": lambda: FrozenEstimator(pipe.fit(X, y)),
        "frozen search": lambda: FrozenEstimator(GridSearchCV(pipe, {}, cv=2).fit(X[:20], y[:20] % 2)),
        "pipeline at the end": lambda: make_pipeline("passthrough", pipe),
        "pipeline at the beginning": lambda: make_pipeline(make_pipeline(AUGMENTER, ImageNormalizer()), network),
        "frozen step": lambda: make_pipeline(FrozenEstimator(make_pipeline(AUGMENTER).fit(X)), network),
    }[kind]()
    np.testing.assert_array_equal(draw(given, X).draws, DRAWS)


def test_steps_before_the_augmenter_change_the_images_first():
    pipe = make_pipeline(ImageNormalizer("minmax"), AUGMENTER, CNNClassifier(**SETTINGS))
    with pytest.raises(NotFittedError):
        draw(pipe, X)
    pipe.fit(X, y)
    expected = pipe[0].transform(X[:4])
    display = draw(pipe, X)
    np.testing.assert_array_equal(display.pictures, expected)
    np.testing.assert_array_equal(display.draws, AUGMENTER.sample(expected, 6))


def test_images_are_read_from_files_before(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="the extra 'images' brings it")
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file, pixels in zip(files, X, strict=False):
        image.fromarray(pixels).save(file)
    pipe = make_pipeline(ImageReader(size=8, mode="L"), AUGMENTER, CNNClassifier(**SETTINGS))
    np.testing.assert_array_equal(draw(pipe, files).draws, DRAWS)


def test_without_a_seed_of_its_own_an_augmenter_draws_by_that_of_its_network():
    free = ImageAugmenter(rotation=30)
    expected = ImageAugmenter(rotation=30, random_state=3).sample(X[:4], 6)
    for given in (CNNClassifier(**SETTINGS, augmenter=free), make_pipeline(free, CNNClassifier(**SETTINGS))):
        np.testing.assert_array_equal(draw(given, X).draws, expected)
    assert free.random_state is None


@pytest.mark.parametrize("form", ["last", "first", "rows", "rows of a network", "list"])
def test_colour_images_are_drawn_as_they_came(form):
    colour = np.random.default_rng(0).integers(0, 256, (5, 8, 10, 3), dtype=np.uint8)
    given = {"first": np.moveaxis(colour, -1, 1), "list": list(colour), "last": colour}.get(form, colour.reshape(5, -1))
    augmenter = ImageAugmenter(rotation=30, random_state=0)
    expected = augmenter.sample(colour[:4], 6)
    if form == "rows":
        augmenter.set_params(image_shape=(8, 10, 3))
    if form == "rows of a network":
        augmenter = CNNClassifier(**SETTINGS, image_shape=(8, 10, 3), augmenter=augmenter)
    display = draw(augmenter, given)
    np.testing.assert_array_equal(display.pictures, colour[:4])
    np.testing.assert_array_equal(display.draws, expected)
    np.testing.assert_allclose(display.axes_[1, 2].get_images()[0].get_array(), expected[1, 1] / 255)


def test_the_augmenter_is_left_as_it_was():
    augmenter = ImageAugmenter(rotation=30)
    before = vars(augmenter).copy()
    draw(augmenter, X)
    assert vars(augmenter) == before
    clf = CNNClassifier(**SETTINGS, image_shape=(8, 8), augmenter=augmenter)
    draw(clf, X)
    assert vars(augmenter) == before and clf.augmenter is augmenter


def test_it_draws_in_the_axes_given_and_again_from_the_arrays_kept():
    figure, axes = plt.subplots(1, 2)
    display = draw(AUGMENTER, X, ax=axes[1])
    assert display.ax_ is axes[1] and plt.get_fignums() == [figure.number]
    again = AugmentationDisplay(pictures=display.pictures, draws=display.draws).plot()
    np.testing.assert_array_equal(again.axes_[2, 3].get_images()[0].get_array(), DRAWS[2, 2])


def test_nothing_is_cut_off():
    for n_images, n_draws in ((1, 1), (4, 6), (2, 12)):
        figure = draw(AUGMENTER, X, n_images=n_images, n_draws=n_draws).figure_
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.005, box  # half a pixel


# Bad input.


@pytest.mark.parametrize("given", [CNNClassifier(), make_pipeline(ImageNormalizer(), CNNClassifier(augmenter=None))])
def test_a_network_without_an_augmenter_is_refused(given):
    with pytest.raises(ValueError, match="there is no augmenter: neither a step of a pipeline nor the parameter"):
        draw(given, X)


@pytest.mark.parametrize("given", [ImageNormalizer(), CNNFeatureExtractor(), make_pipeline(ImageNormalizer()), 3])
def test_what_never_augments_is_refused(given):
    with pytest.raises(TypeError, match="AugmentationDisplay needs an ImageAugmenter, or a network or"):
        draw(given, X)


def test_a_search_without_a_best_estimator_is_refused():
    with pytest.raises(NotFittedError, match="GridSearchCV"):
        draw(GridSearchCV(CNNClassifier(augmenter=AUGMENTER), {}), X)


@pytest.mark.parametrize("name", ["n_images", "n_draws"])
@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_numbers_are_positive_integers(name, number):
    with pytest.raises(ValueError, match=f"{name} is a positive integer; got"):
        draw(AUGMENTER, X, **{name: number})


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"AugmentationDisplay needs matplotlib.*sklearn-cnn\[plot\]"):
        draw(AUGMENTER, X)
