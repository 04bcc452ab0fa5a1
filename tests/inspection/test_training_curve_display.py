"""TrainingCurveDisplay: what its lines are, of one training, of several, and of the folds of one."""

import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageNormalizer
from sklearn_cnn.inspection import TrainingCurveDisplay

X, y = load_digits().images[:120].astype(np.float32), load_digits().target[:120]
SETTINGS = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0}
PANELS = ["loss", "validation\naccuracy", "learning\nrate"]

draw = TrainingCurveDisplay.from_estimator


@pytest.fixture(scope="module")
def fitted():
    return CNNClassifier(**SETTINGS).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])


@pytest.fixture(scope="module")
def unvalidated():
    return CNNClassifier(**{**SETTINGS, "max_epochs": 5}).fit(X, y)


@pytest.fixture(scope="module")
def folds():
    """Two trainings of unlike lengths, as cross_validate gives them."""
    lengths = [{"max_epochs": 3}, {"max_epochs": 5}]
    return {
        "estimator": [
            CNNClassifier(**{**SETTINGS, **length}).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
            for length in lengths
        ],
        "fit_time": np.zeros(2),
    }


def labels(display):
    return [text.get_text() for text in display.axes_[0].get_legend().get_texts()]


def rings(panel):
    """Places of the circles in a panel."""
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in panel.get_lines() if line.get_marker() == "o"]


def test_lines_are_the_history_of_the_training(fitted):
    display = draw(fitted)
    assert [panel.get_ylabel() for panel in display.axes_] == PANELS
    expected = {
        "train_loss": fitted.loss_curve_,
        "validation_loss": fitted.validation_loss_curve_,
        "validation_score": fitted.validation_scores_,
        "learning_rate": [record["lr"] for record in fitted.history_],
    }
    assert set(display.lines_) == set(expected)
    for name, values in expected.items():
        (line,) = display.lines_[name]
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert [display.lines_[name][0].axes for name in expected] == [display.axes_[panel] for panel in (0, 0, 1, 2)]
    assert display.lines_["train_loss"][0].get_color() != display.lines_["validation_loss"][0].get_color()
    assert isinstance(display, TrainingCurveDisplay) and display.figure_ is display.ax_.figure


def test_the_best_epoch_has_a_ring_on_loss_and_score_and_stands_in_the_legend(fitted):
    display, best = draw(fitted), fitted.best_epoch_
    assert rings(display.axes_[0]) == [(best, fitted.validation_loss_curve_[best - 1])]
    assert rings(display.axes_[1]) == [(best, fitted.validation_scores_[best - 1])]
    assert not rings(display.axes_[2])
    assert labels(display) == ["training", "validation", f"best epoch: {best}"]


def test_without_validation_there_is_no_panel_of_scores(unvalidated):
    display = draw(unvalidated)
    assert [panel.get_ylabel() for panel in display.axes_] == [PANELS[0], PANELS[2]]
    assert set(display.lines_) == {"train_loss", "learning_rate"}
    assert not rings(display.axes_[0]) and labels(display) == ["training"]
    assert display.validation_losses is None and display.validation_scores is None


def test_epochs_are_whole_numbers_from_one_on(fitted, unvalidated):
    for estimator in (fitted, unvalidated, CNNClassifier(**{**SETTINGS, "max_epochs": 1}).fit(X, y)):
        display = draw(estimator)
        for panel in display.axes_:
            low, high = panel.get_xlim()
            ticks = [tick for tick in panel.get_xticks() if low <= tick <= high]
            assert ticks and set(ticks) <= set(range(1, estimator.n_iter_ + 1))


def test_a_single_epoch_is_seen():
    display = draw(CNNClassifier(**{**SETTINGS, "max_epochs": 1}).fit(X, y))
    assert all(line.get_marker() == "." for lines in display.lines_.values() for line in lines)


def test_the_score_of_a_regressor_is_r2():
    reg = CNNRegressor(**SETTINGS).fit(X[:80], y[:80] * 1.0, X_val=X[80:], y_val=y[80:] * 1.0)
    display = draw(reg)
    assert display.axes_[1].get_ylabel() == "validation\nR²"
    np.testing.assert_array_equal(display.validation_scores, [reg.validation_scores_])


def test_epochs_without_validation_are_gaps():
    clf = CNNClassifier(**SETTINGS, warm_start=True).fit(X[:80], y[:80])
    clf.fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    display = draw(clf)
    np.testing.assert_array_equal(display.validation_scores[0], [np.nan] * 3 + clf.validation_scores_[3:])
    assert display.train_losses.shape == (1, 6)
    assert rings(display.axes_[1]) == [(clf.best_epoch_, clf.validation_scores_[clf.best_epoch_ - 1])]


# Several estimators.


@pytest.mark.parametrize("form", ["dict", "list"])
def test_several_have_a_colour_and_a_name_each(fitted, unvalidated, form):
    given = {"watched": fitted, "alone": unvalidated}
    display = draw(given if form == "dict" else list(given.values()))
    names = list(given) if form == "dict" else ["estimator 1", "estimator 2"]
    assert labels(display) == [*names, "training", "validation", "best epoch"]
    first, second = display.lines_["train_loss"]
    np.testing.assert_array_equal(first.get_ydata(), [*fitted.loss_curve_, np.nan, np.nan])
    np.testing.assert_array_equal(second.get_ydata(), unvalidated.loss_curve_)
    assert first.get_color() != second.get_color()
    handles = display.axes_[0].get_legend().get_lines()
    assert [handle.get_color() for handle in handles[:2]] == [first.get_color(), second.get_color()]
    validation = display.lines_["validation_loss"][0]
    assert validation.get_color() == first.get_color() and validation.get_linestyle() != first.get_linestyle()
    assert np.isnan(display.lines_["validation_loss"][1].get_ydata()).all()
    assert [epoch for epoch, _ in rings(display.axes_[1])] == [fitted.best_epoch_]


def test_many_have_colours_apart_from_each_other(unvalidated):
    display = draw([unvalidated] * 12)
    assert len({tuple(line.get_color()) for line in display.lines_["train_loss"]}) == 12


def test_learning_rates_far_apart_are_both_seen(unvalidated):
    near = CNNClassifier(**SETTINGS, lr=0.02).fit(X, y)
    far = CNNClassifier(**SETTINGS, lr=1e-4).fit(X, y)
    linear = draw([unvalidated, near]).axes_[-1]
    assert linear.get_yscale() == "linear" and linear.get_ylim()[0] == 0
    assert draw([unvalidated, far]).axes_[-1].get_yscale() == "log"


def test_long_names_are_cut_and_stay_in_the_figure(fitted, unvalidated):
    names = ["the first of two names that nobody would want to read, and that go on and on and on " * 2, "b" * 150]
    display = draw(dict(zip(names, [fitted, unvalidated], strict=True)))
    display.figure_.draw_without_rendering()
    box = display.axes_[0].get_legend().get_window_extent()
    assert box.x0 >= 0 and box.x1 <= display.figure_.bbox.width
    assert labels(display)[0].startswith("the first") and "…" in labels(display)[0]


# Folds.


def test_folds_are_thin_and_their_mean_is_thick(folds):
    display = draw(folds)
    assert display.names is None and display.train_losses.shape == (2, 5)
    curves = [one.loss_curve_ for one in folds["estimator"]]
    *thin, thick = display.lines_["train_loss"]
    np.testing.assert_array_equal(thin[1].get_ydata(), curves[1])
    assert len(thin) == 2 and max(line.get_linewidth() for line in thin) < thick.get_linewidth()
    # As far as all of them go.
    np.testing.assert_allclose(thick.get_ydata(), [*np.mean([curves[0], curves[1][:3]], axis=0), np.nan, np.nan])
    assert labels(display) == ["training", "validation", "each of 2 runs", "mean", "best epoch"]
    assert rings(display.axes_[1]) == [
        (one.best_epoch_, one.validation_scores_[one.best_epoch_ - 1]) for one in folds["estimator"]
    ]


def test_what_cross_validate_returns_is_drawn():
    results = cross_validate(make_pipeline(CNNClassifier(**SETTINGS)), X, y, cv=3, return_estimator=True)
    display = draw(results)
    assert display.train_losses.shape == (3, 3) and len(display.lines_["train_loss"]) == 4
    del results["estimator"]
    with pytest.raises(ValueError, match="return_estimator=True"):
        draw(results)


# What it sees through, and where it draws.


@pytest.mark.parametrize("kind", ["pipeline", "search"])
def test_pipelines_and_searches_are_seen_through(kind):
    model = make_pipeline(ImageNormalizer(), CNNClassifier(**SETTINGS))
    if kind == "search":
        model = GridSearchCV(model, {"cnnclassifier__dropout": [0.0, 0.5]}, cv=2)
    model.fit(X, y)
    last = (model.best_estimator_ if kind == "search" else model)[-1]
    np.testing.assert_array_equal(draw(model).train_losses, [last.loss_curve_])


@pytest.mark.parametrize("made", ["subplots", "by hand"])
def test_it_draws_in_the_axes_given_and_makes_no_figure(fitted, made):
    figure = plt.figure()
    ax = figure.subplots(1, 2)[1] if made == "subplots" else figure.add_axes((0.5, 0.2, 0.4, 0.6))
    place = ax.get_position()
    display = draw(fitted, ax=ax)
    assert display.ax_ is ax and display.figure_ is figure and plt.get_fignums() == [figure.number]
    for panel in display.axes_:
        box = panel.get_position()
        assert box.x0 >= place.x0 - 1e-9 and box.x1 <= place.x1 + 1e-9
        assert box.y0 >= place.y0 - 1e-9 and box.y1 <= place.y1 + 1e-9


def test_plot_draws_again_from_the_arrays_kept(fitted):
    display = draw(fitted)
    again = TrainingCurveDisplay(
        **{name: value for name, value in vars(display).items() if not name.endswith("_")}
    ).plot()
    assert again.figure_ is not display.figure_
    for name, lines in display.lines_.items():
        np.testing.assert_array_equal(again.lines_[name][0].get_ydata(), lines[0].get_ydata())


def test_nothing_is_cut_off(fitted, unvalidated, folds):
    for given in (fitted, unvalidated, folds, {"one": fitted, "two": unvalidated}):
        figure = draw(given).figure_
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.005, box  # half a pixel


# Bad input.


@pytest.mark.parametrize(
    "estimator",
    [
        CNNClassifier(),
        make_pipeline(CNNClassifier()),
        [CNNClassifier()],
        CNNFeatureExtractor(),
        GridSearchCV(CNNClassifier(), {"dropout": [0.0]}),
    ],
)
def test_before_fit_there_is_no_curve(estimator):
    with pytest.raises(NotFittedError):
        draw(estimator)


def test_an_extractor_has_no_curve(fitted):
    with pytest.raises(TypeError, match="a CNNFeatureExtractor was not; pass a CNNClassifier or CNNRegressor"):
        draw(CNNFeatureExtractor(fitted).fit(X))


def test_what_has_no_curve_is_refused_in_words(fitted):
    with pytest.raises(TypeError, match="an estimator of this package"):
        draw({"mine": LogisticRegression()})
    for nothing in ([], {}):
        with pytest.raises(ValueError, match="no estimators"):
            draw(nothing)
    with pytest.raises(ValueError, match="cannot be compared"):
        draw([fitted, CNNRegressor(**SETTINGS).fit(X, y * 1.0)])


def test_without_matplotlib_the_extra_is_named(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"TrainingCurveDisplay needs matplotlib.*sklearn-cnn\[plot\]"):
        draw(fitted)


def test_it_warns_of_nothing(folds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(folds).figure_.canvas.draw()
