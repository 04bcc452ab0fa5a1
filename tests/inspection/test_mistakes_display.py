"""MistakesDisplay: which images it shows, in which order, and what it says of each."""

import itertools
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageNormalizer, ImageReader
from sklearn_cnn.inspection import MistakesDisplay

X, y = load_digits().images[:300].astype(np.float32), load_digits().target[:300]
SETTINGS = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 1, "random_state": 0}
ANIMALS = np.array([f"an animal of kind {kind}, from far behind the mountains" for kind in range(10)])

draw = MistakesDisplay.from_estimator


@pytest.fixture(scope="module")
def fitted():
    """Half trained, so that it is often wrong and seldom sure."""
    return CNNClassifier(**SETTINGS).fit(X[:200], y[:200])


def panels(display):
    return list(display.axes_.flat)[: len(display.pictures)]


def titles(display):
    return [panel.get_title() for panel in panels(display)]


def images(display):
    return [np.asarray(panel.get_images()[0].get_array()) for panel in panels(display)]


def frames(display):
    return [panel.spines["left"].get_linewidth() for panel in panels(display)]


def caption(display):
    return display.text_.get_text()


def test_the_surest_mistakes_come_first(fitted):
    probabilities, said = fitted.predict_proba(X), fitted.predict(X)
    wrong = np.flatnonzero(said != y)
    expected = wrong[np.argsort(-probabilities.max(axis=1)[wrong])]
    assert len(expected) > 16
    display = draw(fitted, X, y)
    np.testing.assert_array_equal(display.rows, expected[:16])
    np.testing.assert_array_equal(display.pictures, X[display.rows])
    for picture, drawn in zip(display.pictures, images(display), strict=True):
        np.testing.assert_array_equal(drawn, picture)
    np.testing.assert_array_equal(display.y_true, y[display.rows])
    np.testing.assert_array_equal(display.y_pred, said[display.rows])
    for row, title in zip(display.rows, titles(display), strict=True):
        chances = probabilities[row]
        assert title == f"true {y[row]} ({chances[y[row]]:.0%})\n× said {said[row]} ({chances.max():.0%})"
    assert caption(display) == f"wrong: {len(expected)} of 300 images; these are the 16 surest"
    assert display.axes_.shape == (4, 4) and display.figure_ is display.ax_.figure


def test_the_least_certain_are_right_or_wrong_and_the_wrong_are_marked(fitted):
    probabilities, said = fitted.predict_proba(X), fitted.predict(X)
    labels = np.where(np.arange(len(X)) % 3, said, (said + 1) % 10)  # every third is wrong
    display = draw(fitted, X, labels, order="uncertain", n_images=25)
    np.testing.assert_array_equal(display.rows, np.argsort(probabilities.max(axis=1), kind="stable")[:25])
    wrong = display.rows % 3 == 0
    assert 0 < wrong.sum() < 25
    assert display.axes_.shape == (5, 5)  # short labels leave room for more columns
    np.testing.assert_array_equal(["×" in title for title in titles(display)], wrong)
    # More than by colour: the frame is thicker too.
    assert min(np.array(frames(display))[wrong]) > max(np.array(frames(display))[~wrong])


def test_fewer_images_than_asked_for_leave_no_empty_frames(fitted):
    said = fitted.predict(X[:5])
    labels = np.where(np.arange(5) < 3, (said + 1) % 10, said)
    display = draw(fitted, X[:5], labels)
    assert sorted(display.rows) == [0, 1, 2] and len(titles(display)) == 3
    assert caption(display) == "wrong: 3 of 5 images"
    five = draw(fitted, X[:5], labels, order="uncertain")
    assert len(five.rows) == 5
    assert [panel.axison for panel in five.axes_.flat] == [True] * 5 + [False] * 3


def test_where_there_is_no_mistake_the_drawing_says_so(fitted):
    display = draw(fitted, X, fitted.predict(X))
    assert display.pictures.shape == (0, 8, 8) and display.axes_.size == 0
    assert caption(display) == "No mistakes: 300 of 300 images are right"
    assert not display.ax_.get_images() and display.figure_.axes == [display.ax_]


def test_a_label_that_the_network_does_not_know_is_a_mistake(fitted):
    labels = fitted.predict(X)
    labels[7] = 77
    display = draw(fitted, X, labels)
    np.testing.assert_array_equal(display.rows, [7])
    assert display.probabilities[0, 0] == 0 and titles(display)[0].startswith("true 77 (0%)")


# Kinds of labels and images.


@pytest.mark.parametrize("n_images", [9, 30])
def test_long_labels_do_not_overlap(fitted, n_images):
    clf = CNNClassifier(**SETTINGS).fit(X[:200], ANIMALS[y[:200]])
    display = draw(clf, X, ANIMALS[y], n_images=n_images)
    display.figure_.draw_without_rendering()
    assert all(title.startswith("true an") and "…" in title for title in titles(display))
    for row in display.axes_:
        boxes = [panel.title.get_window_extent() for panel in row if panel.get_title()]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
        assert boxes[0].x0 >= 0 and boxes[-1].x1 <= display.figure_.bbox.width
    assert set(display.y_true) <= set(ANIMALS)  # whole, where they are kept
    assert display.axes_.shape[1] <= 4


def test_a_dollar_in_a_label_is_no_formula():
    notes = np.array([f"$\\{kind}$" for kind in range(10)])
    display = draw(CNNClassifier(**SETTINGS).fit(X[:200], notes[y[:200]]), X, notes[y], n_images=2)
    display.figure_.canvas.draw()
    assert all("$\\" in title for title in titles(display))


def test_titles_fit_into_a_small_axes(fitted):
    figure, axes = plt.subplots(1, 3, figsize=(8, 3))
    display = draw(fitted, X, y, ax=axes[2])
    assert plt.get_fignums() == [figure.number] and display.ax_ is axes[2]
    for row in display.axes_:
        boxes = [panel.title.get_window_extent() for panel in row]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize("form", ["last", "first", "rows", "list"])
def test_pictures_are_in_colour_as_they_came(form):
    colour = np.random.default_rng(0).integers(0, 256, (60, 8, 10, 3), dtype=np.uint8)
    given = {
        "last": colour,
        "first": np.moveaxis(colour, -1, 1),
        "rows": colour.reshape(60, -1),
        "list": list(colour),
    }[form]
    settings = {"image_shape": (8, 10, 3)} if form == "rows" else {}
    clf = CNNClassifier(**SETTINGS, **settings).fit(given, y[:60])
    display = draw(clf, given, y[:60], n_images=5)
    np.testing.assert_array_equal(display.pictures, colour[display.rows])
    np.testing.assert_allclose(images(display)[0], colour[display.rows[0]] / 255)


@pytest.mark.parametrize("kind", ["pipeline", "search"])
def test_a_pipeline_predicts_and_its_pictures_are_the_original_ones(kind):
    model = make_pipeline(ImageNormalizer("standardize"), CNNClassifier(**SETTINGS))
    if kind == "search":
        model = GridSearchCV(model, {"cnnclassifier__dropout": [0.0, 0.5]}, cv=2)
    model.fit(X[:200], y[:200])
    display = draw(model, X, y, order="uncertain")
    np.testing.assert_array_equal(display.pictures, X[display.rows])
    np.testing.assert_allclose(display.probabilities[:, 1], model.predict_proba(X).max(axis=1)[display.rows])
    np.testing.assert_array_equal(display.y_pred, model.predict(X)[display.rows])


@pytest.mark.parametrize("lazy", [False, True])
def test_pictures_come_from_files_too(tmp_path, lazy):
    image = pytest.importorskip("PIL.Image", reason="the extra 'images' brings it")
    files = [tmp_path / f"{number}.png" for number in range(30)]
    for file, pixels in zip(files, X, strict=False):
        image.fromarray((pixels * 15).astype(np.uint8)).save(file)
    reader = ImageReader(size=8, mode="L", lazy=lazy)
    pipe = make_pipeline(reader, ImageNormalizer(), CNNClassifier(**SETTINGS)).fit(files, y[:30])
    display = draw(pipe, files, y[:30], n_images=3)
    np.testing.assert_array_equal(display.pictures, (X[display.rows] * 15).astype(np.uint8))


@pytest.mark.parametrize("scale", [1.0, 1000.0, 0.001])
def test_a_regressor_shows_its_largest_errors_in_decimals_that_tell(scale):
    numbers = y * scale
    reg = CNNRegressor(**SETTINGS).fit(X[:200], numbers[:200])
    display = draw(reg, X, numbers, n_images=6)
    errors = np.abs(reg.predict(X) - numbers)
    np.testing.assert_array_equal(display.rows, np.argsort(-errors, kind="stable")[:6])
    decimals = {1.0: 1, 1000.0: 0, 0.001: 4}[scale]
    row = display.rows[0]
    assert titles(display)[0] == f"true {numbers[row]:.{decimals}f}, said {reg.predict(X)[row]:.{decimals}f}"
    assert len(set(frames(display))) == 1 and display.probabilities is None


def test_plot_draws_again_from_the_arrays_kept(fitted):
    display = draw(fitted, X, y)
    again = MistakesDisplay(**{name: value for name, value in vars(display).items() if not name.endswith("_")}).plot()
    assert titles(again) == titles(display) and again.figure_ is not display.figure_
    np.testing.assert_array_equal(images(again), images(display))


@pytest.mark.parametrize("n_images", [1, 5, pytest.param(30, marks=pytest.mark.slow)])
def test_nothing_is_cut_off(fitted, n_images):
    for order in ("wrong", "uncertain"):
        display = draw(fitted, X, y, n_images=n_images, order=order)
        figure = display.figure_
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.005, box  # half a pixel
        top = display.text_.get_window_extent().y1
        assert all(top < panel.get_window_extent().y0 for panel in panels(display))


def test_a_part_of_a_figure_will_do(fitted):
    left, right = plt.figure(figsize=(9, 4), layout="constrained").subfigures(1, 2)
    right.subplots()
    display = draw(fitted, X, y, ax=left.subplots())
    assert to_hex(panels(display)[0].spines["left"].get_edgecolor()) == "#d55e00"
    boxes = [panel.title.get_window_extent() for panel in display.axes_[0]]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


# Bad input.


def test_several_labels_or_numbers_an_image_are_refused_in_words():
    several = (y[:60, None] > [3, 6]).astype(int)
    with pytest.raises(ValueError, match="one label an image; this one has several"):
        draw(CNNClassifier(**SETTINGS).fit(X[:60], several), X[:60], several)
    with pytest.raises(ValueError, match="one number an image; this one has several"):
        draw(CNNRegressor(**SETTINGS).fit(X[:60], several * 1.0), X[:60], several * 1.0)


def test_a_regressor_has_no_doubts():
    with pytest.raises(ValueError, match="a regressor does not have; use order='wrong'"):
        draw(CNNRegressor(**SETTINGS).fit(X[:60], y[:60] * 1.0), X, y, order="uncertain")


def test_bad_parameters_are_refused_in_words(fitted):
    with pytest.raises(ValueError, match=r"order is 'wrong' or 'uncertain'; got 'best'\."):
        draw(fitted, X, y, order="best")
    for number in (0, 2.5, True, "all"):
        with pytest.raises(ValueError, match="n_images is a positive integer"):
            draw(fitted, X, y, n_images=number)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        draw(fitted, X, y[:5])


def test_what_does_not_predict_is_refused(fitted):
    with pytest.raises(NotFittedError):
        draw(CNNClassifier(), X, y)
    with pytest.raises(TypeError, match="a CNNFeatureExtractor was not"):
        draw(CNNFeatureExtractor(fitted).fit(X), X, y)
    with pytest.raises(TypeError, match="an estimator of this package"):
        draw(LogisticRegression(), X, y)


def test_without_matplotlib_the_extra_is_named(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"MistakesDisplay needs matplotlib.*sklearn-cnn\[plot\]"):
        draw(fitted, X, y)
