"""FeatureMapDisplay, FilterDisplay and SaliencyDisplay: what is in the figures."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_cnn import CNNClassifier, CNNRegressor, ImageNormalizer
from sklearn_cnn.architectures._catalog import CatalogNet
from sklearn_cnn.inspection import FeatureMapDisplay, FilterDisplay, SaliencyDisplay, feature_maps, saliency
from sklearn_cnn.inspection._layers import field_of

plt = pytest.importorskip("matplotlib.pyplot", reason="the extra 'plot' brings it")

X, y = load_digits().images[:100].astype(np.float32), load_digits().target[:100]
COLOUR = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
SETTINGS = {"filters": (4, 6), "max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return CNNClassifier(**SETTINGS).fit(X, y)


@pytest.fixture(scope="module")
def colourful():
    return CNNClassifier(**SETTINGS, kernel_size=5).fit(COLOUR, y[:40] % 3)


def drawn(ax):
    """The arrays of the images of an axes."""
    return [np.asarray(image.get_array()) for image in ax.get_images()]


def inside(figure):
    """Whether all texts lie in the figure."""
    figure.canvas.draw()
    box = figure.bbox
    texts = [text for text in figure.findobj(plt.Text) if text.get_text() and text.get_visible()]
    extents = [text.get_window_extent() for text in texts]
    return all(e.x0 >= box.x0 - 1 and e.x1 <= box.x1 + 1 and e.y0 >= box.y0 - 1 and e.y1 <= box.y1 + 1 for e in extents)


# Feature maps.


def test_the_image_and_the_strongest_maps_of_each_convolution_and_pool_are_drawn(fitted):
    display = FeatureMapDisplay.from_estimator(fitted, X, n_maps=3)
    maps = feature_maps(fitted, X[:1])
    assert list(display.maps) == ["block1_conv", "block1_pool", "block2_conv", "block2_pool"]
    assert display.axes_.shape == (5, 3)
    np.testing.assert_array_equal(drawn(display.axes_[0, 0])[0], X[0])
    assert not any(drawn(ax) for ax in display.axes_[0, 1:])
    for row, name in enumerate(display.maps, start=1):
        deviations = maps[name][0].std(axis=(1, 2))
        assert display.filters[name].tolist() == np.argsort(-deviations, kind="stable")[:3].tolist()
        for column, number in enumerate(display.filters[name]):
            ax = display.axes_[row, column]
            np.testing.assert_allclose(drawn(ax)[0], maps[name][0][number], rtol=1e-5, atol=1e-6)
            assert ax.get_title() == str(number)
        size = "8×8" if row == 1 else "4×4" if row < 4 else "2×2"
        assert display.axes_[row, 0].get_ylabel() == f"{name}\n{size}"
    assert inside(display.figure_) and display.figure_ is display.ax_.figure


def test_layers_can_be_chosen_and_deep_networks_are_shown_by_their_stages(fitted):
    assert list(FeatureMapDisplay.from_estimator(fitted, X, layer=["output", "block1_relu"]).maps) == ["block1_relu"]
    images = X[:10].repeat(4, 1).repeat(4, 2)
    deep = CNNClassifier(architecture="resnet18", max_epochs=1, random_state=0).fit(images, y[:10])
    display = FeatureMapDisplay.from_estimator(deep, images)
    shapes = [values.shape[1:] for values in display.maps.values()]
    assert shapes == [(32, 32), (16, 16), (8, 8), (4, 4)] and display.axes_.shape == (5, 8)
    with pytest.raises(ValueError, match="none of these layers gives maps"):
        FeatureMapDisplay.from_estimator(fitted, X, layer="output")


def test_a_backbone_is_shown_by_its_parts():
    pytest.importorskip("torchvision", reason="the extra 'pretrained' brings it")
    images = X[:4].repeat(8, 1).repeat(8, 2)
    clf = CNNClassifier(architecture="torchvision:resnet18", max_epochs=1, random_state=0).fit(images, y[:4])
    display = FeatureMapDisplay.from_estimator(clf, images)
    assert next(iter(display.maps)) == "backbone.conv1" and display.maps["backbone.conv1"].shape == (8, 32, 32)


# Filters.


def test_filters_of_the_first_layer_are_in_colour_where_it_takes_three_channels(fitted, colourful):
    grey, colour = FilterDisplay.from_estimator(fitted), FilterDisplay.from_estimator(colourful)
    weight = fitted.module_.layers["block1_conv"].weight.detach().numpy()
    np.testing.assert_allclose(grey.filters, weight[:, 0])
    assert grey.axes_.shape == (2, 2) and grey.patches is None
    assert grey.axes_[0, 0].get_images()[0].get_clim() == pytest.approx(
        (-np.abs(weight[0]).max(), np.abs(weight[0]).max())
    )
    weight = colourful.module_.layers["block1_conv"].weight.detach().numpy()
    np.testing.assert_allclose(colour.filters, np.moveaxis(weight, 1, -1))
    expected = 0.5 + colour.filters[1] / np.abs(colour.filters[1]).max() / 2
    np.testing.assert_allclose(drawn(colour.axes_.flat[1])[0], expected, atol=1e-6)
    assert colour.axes_[0, 0].get_ylabel() == "first layer\n5×5"
    assert inside(colour.figure_)


@pytest.mark.parametrize(
    "settings", [{}, {"stride": 2, "pooling": None}, {"padding": "valid"}, {"dilation": 2}], ids=str
)
def test_patches_are_what_excites_a_filter_most(settings):
    clf = CNNClassifier(**SETTINGS, **settings).fit(COLOUR, y[:40] % 3)
    display = FilterDisplay.from_estimator(clf, COLOUR)
    assert list(display.patches) == ["block2_conv"]
    maps = feature_maps(clf, COLOUR, "block2_conv")["block2_conv"]
    seen = clf.plan_.layers[[row.name for row in clf.plan_.layers].index("block2_conv")].receptive_field
    assert display.patches["block2_conv"].shape == (6, 4, *seen, 3)
    raised = (maps.max(axis=(2, 3)) - maps.mean(axis=(0, 2, 3))) / maps.std(axis=(0, 2, 3))
    assert display.numbers["block2_conv"].tolist() == np.argsort(-raised.max(axis=0)).tolist()
    # An image that holds nothing but the patch excites the filter as much at that place.
    for rank in range(6):
        number = display.numbers["block2_conv"][rank]
        image = maps[:, number].max(axis=(1, 2)).argmax()
        patch = display.patches["block2_conv"][rank, 0]
        assert np.isin(patch[np.isfinite(patch)], COLOUR[image]).all()
        alone = np.zeros_like(COLOUR[:1])
        row, column = np.unravel_index(maps[image, number].argmax(), maps.shape[2:])
        top, left = (
            field_of(clf.plan_, "block2_conv", 0).pixels(row)[0],
            field_of(clf.plan_, "block2_conv", 1).pixels(column)[0],
        )
        known = np.isfinite(patch[..., 0])
        rows, columns = np.nonzero(known)
        alone[0, rows + top, columns + left] = patch[known]
        found = feature_maps(clf, alone, "block2_conv")["block2_conv"][0, number, row, column]
        assert found == pytest.approx(maps[image, number].max(), rel=1e-3, abs=1e-4)


def test_rows_of_patches_come_under_the_filters(colourful):
    display = FilterDisplay.from_estimator(colourful, COLOUR, n_filters=5)
    assert display.axes_.shape == (2, 12)
    assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == ["first layer\n5×5", "block2_conv\n14×14"]
    mosaic = drawn(display.axes_[1, 0])[0]
    first = display.patches["block2_conv"][0, 0]
    assert mosaic.shape == (29, 29, 3)
    np.testing.assert_allclose(mosaic[:14, :14], np.where(np.isnan(first), 1.0, first / 255))
    assert (mosaic[14] == 1).all()  # a line between
    assert sum(bool(drawn(ax)) for ax in display.axes_[1]) == 5
    assert inside(display.figure_)


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "inception"])
@pytest.mark.parametrize("side", [32, 224])
def test_what_a_value_sees_is_what_the_plan_says(name, side):
    plan = CatalogNet(name).plan((3, side, side), 10)
    for row in plan.layers:
        field = field_of(plan, row.name, 0)
        assert (side if field is None else min(field.size, side)) == row.receptive_field[0], row.name


def test_a_value_sees_the_pixels_that_it_has_a_gradient_for():
    plan = CatalogNet("resnet18").plan((1, 64, 64), 2)
    clf = CNNClassifier(architecture="resnet18", max_epochs=1, random_state=0).fit(np.zeros((4, 64, 64)), [0, 1, 0, 1])
    name = next(row.name for row in plan.layers if row.kind == "sum")
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    maps = clf.module_.maps(image, name)
    place = maps.shape[2] // 2, maps.shape[3] // 4
    maps[0, :, place[0], place[1]].sum().backward()
    for axis in (0, 1):
        touched = image.grad[0, 0].abs().amax(dim=1 - axis).nonzero()[:, 0]
        first, end = field_of(plan, name, axis).pixels(place[axis])
        # A pool hands the gradient to one of its values, so that some of what is seen has none.
        assert first <= touched.min() and touched.max() < end
        assert abs(int(touched.min()) + int(touched.max()) - (first + end - 1)) <= 4


def test_a_ready_made_network_is_shown_by_its_first_filters_and_by_whole_images():
    def own(image_shape, n_outputs):
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(n_outputs))

    clf = CNNClassifier(architecture=own, max_epochs=1, random_state=0).fit(X, y)
    assert FilterDisplay.from_estimator(clf).filters.shape == (3, 3, 3)
    assert FilterDisplay.from_estimator(clf, X).patches is None  # no other part has filters
    display = FilterDisplay.from_estimator(clf, X, layer="network.1")
    assert display.patches["network.1"].shape == (3, 4, 8, 8)
    assert any((display.patches["network.1"][0, 0] == image).all() for image in X)


# Saliency.


def test_images_stand_above_what_counts_in_them(fitted):
    display = SaliencyDisplay.from_estimator(fitted, X, method="occlusion", n_images=5)
    assert display.axes_.shape == (2, 5)
    np.testing.assert_allclose(display.saliency, saliency(fitted, X[:5], "occlusion"), rtol=1e-4, atol=1e-6)
    for column in range(5):
        above, below = display.axes_[:, column]
        np.testing.assert_array_equal(drawn(above)[0], X[column])
        assert above.get_title() == str(fitted.predict(X[:5])[column])
        heat = below.get_images()[1]
        np.testing.assert_allclose(heat.get_array(), display.saliency[column])
        assert heat.get_clim() == pytest.approx((0, display.saliency[column].max()))
    assert display.axes_[1, 0].get_ylabel() == "occlusion"
    assert inside(display.figure_)


def test_signed_values_have_a_scale_with_0_in_the_middle_and_titles_name_the_target(fitted):
    display = SaliencyDisplay.from_estimator(fitted, X, method="integrated_gradients", target=3, n_images=2)
    heat = display.axes_[1, 0].get_images()[1]
    largest = np.abs(display.saliency[0]).max()
    assert heat.get_clim() == pytest.approx((-largest, largest)) and heat.get_cmap().name == "PuOr_r"
    assert display.axes_[0, 0].get_title() == f"{fitted.predict(X[:1])[0]}\nfor 3?"
    regressor = CNNRegressor(**SETTINGS).fit(X, y / 7)
    display = SaliencyDisplay.from_estimator(regressor, X, n_images=2)
    assert display.axes_[0, 0].get_title() == f"{regressor.predict(X[:1])[0]:.3g}"


def test_titles_are_short_and_those_of_several_outputs_name_the_one_in_question():
    names = np.array(["Escherichia coli of the gut", "Staphylococcus aureus"])[y % 2]
    clf = CNNClassifier(**SETTINGS).fit(X, names)
    display = SaliencyDisplay.from_estimator(clf, X, n_images=3, target="Staphylococcus aureus")
    assert inside(display.figure_)
    boxes = [ax.title.get_window_extent() for ax in display.axes_[0]]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    labels = CNNClassifier(**SETTINGS).fit(X, (y[:, None] > [3, 6]).astype(int))
    likeliest = labels.predict_proba(X[:2]).argmax(axis=1)
    titles = SaliencyDisplay.from_estimator(labels, X, n_images=2).titles
    assert titles == [f"output {k}:\n{labels.predict(X[:2])[i][k]}" for i, k in enumerate(likeliest)]
    two = CNNRegressor(**SETTINGS).fit(X, np.stack([y, -y], axis=1) / 7)
    titles = SaliencyDisplay.from_estimator(two, X, n_images=2, target=1).titles
    assert titles == [f"output 1:\n{value:.3g}" for value in two.predict(X[:2])[:, 1]]


# All of them.


def displays(estimator, images, ax=None):
    return [
        FeatureMapDisplay.from_estimator(estimator, images, ax=ax),
        FilterDisplay.from_estimator(estimator, images, ax=ax),
        SaliencyDisplay.from_estimator(estimator, images, n_images=2, ax=ax),
    ]


def test_a_pipeline_is_drawn_on_the_original_pixels():
    images, labels = COLOUR, y[:40] % 3
    pipe = make_pipeline(ImageNormalizer("standardize"), CNNClassifier(**SETTINGS)).fit(images, labels)
    of_maps, of_filters, of_saliency = displays(pipe, images)
    np.testing.assert_allclose(drawn(of_maps.axes_[0, 0])[0], images[0] / 255)
    np.testing.assert_allclose(drawn(of_saliency.axes_[0, 1])[0], images[1] / 255)
    patch = of_filters.patches["block2_conv"][0, 0]
    assert np.nanmax(patch) > 100 and np.isin(patch[np.isfinite(patch)], images).all()
    with pytest.raises(NotFittedError):
        FilterDisplay.from_estimator(make_pipeline(ImageNormalizer(), CNNClassifier()))


def test_an_axes_is_filled_and_no_other_figure_made(fitted):
    figure, axes = plt.subplots(1, 3, figsize=(15, 6), layout="constrained")
    for ax, display in zip(axes, displays(fitted, X, ax=None), strict=True):
        before = len(plt.get_fignums())
        assert display.plot(ax=ax) is display
        assert display.ax_ is ax and display.figure_ is figure and not ax.axison
        assert len(plt.get_fignums()) == before
        box = ax.get_subplotspec().get_position(figure)
        assert all(cell.get_subplotspec().get_position(figure).x0 >= box.x0 - 1e-6 for cell in display.axes_.flat)
    free = plt.figure().add_axes((0.5, 0.5, 0.4, 0.4))
    cells = SaliencyDisplay.from_estimator(fitted, X, n_images=2, ax=free).axes_
    assert all(cell.get_position().x0 >= 0.49 and cell.get_position().y1 <= 0.91 for cell in cells.flat)


def test_a_place_is_used_once_and_pyplot_goes_on_where_it_was(fitted):
    figure, (left, right) = plt.subplots(1, 2)
    plt.sca(left)
    display = FilterDisplay.from_estimator(fitted, ax=right)
    assert plt.gca() is left and plt.gcf() is figure
    with pytest.raises(ValueError, match="ax is hidden, since a display was drawn in it before"):
        display.plot(ax=right)
    with pytest.raises(TypeError, match="ax must be one Axes of matplotlib; got ndarray"):
        display.plot(ax=np.array([left]))
    assert display.plot().ax_ is not right
    assert plt.gca() is display.ax_


def test_pictures_stand_upright_whatever_the_settings_say(fitted):
    with plt.rc_context({"image.origin": "lower"}):
        for display in displays(fitted, X):
            assert all(image.origin == "upper" for ax in display.axes_.flat for image in ax.get_images())


def test_a_frame_with_names_gives_no_warning():
    pd = pytest.importorskip("pandas", reason="frames are optional")
    frame = pd.DataFrame(X.reshape(100, -1), columns=[f"pixel{i}" for i in range(64)])
    clf = CNNClassifier(**SETTINGS).fit(frame, y)
    of_maps, _, of_saliency = displays(clf, frame)
    np.testing.assert_array_equal(of_maps.image, X[0])
    np.testing.assert_array_equal(of_saliency.images, X[:2])


def test_missing_pixels_behind_an_imputer_do_not_blacken_the_others():
    holes = X.reshape(100, -1).copy()
    holes[:50, 5] = np.nan
    pipe = make_pipeline(SimpleImputer(), CNNClassifier(**SETTINGS)).fit(holes, y)
    display = SaliencyDisplay.from_estimator(pipe, holes, n_images=2)
    assert display.axes_[0, 0].get_images()[0].get_clim() == (0, 16)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (X[0], ValueError, r"One image alone is passed as X\[None\]"),
        (None, TypeError, "must be an array of images; got NoneType"),
        ({"a": 1}, TypeError, "got a dict"),
    ],
    ids=["one image", "None", "dict"],
)
def test_what_is_no_array_of_images_is_refused_in_words(fitted, given, error, match):
    for cls in (FeatureMapDisplay, SaliencyDisplay):
        with pytest.raises(error, match=match):
            cls.from_estimator(fitted, given)


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_numbers_of_things_to_draw_are_checked(fitted, n):
    with pytest.raises(ValueError, match="n_maps is a positive integer"):
        FeatureMapDisplay.from_estimator(fitted, X, n_maps=n)
    with pytest.raises(ValueError, match="n_filters is a positive integer"):
        FilterDisplay.from_estimator(fitted, X, n_filters=n)
    with pytest.raises(ValueError, match="n_images is a positive integer"):
        SaliencyDisplay.from_estimator(fitted, X, n_images=n)
    with pytest.raises(ValueError, match="layer='nonsense' is not there"):
        FilterDisplay.from_estimator(fitted, layer="nonsense")


def test_without_a_convolution_an_error_says_so():
    def linear(image_shape, n_outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.n_values, n_outputs))

    clf = CNNClassifier(architecture=linear, max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="filters are those of a convolution, and this network has none"):
        FilterDisplay.from_estimator(clf)
    with pytest.raises(ValueError, match="looks at the maps of a convolution, and this network has none"):
        SaliencyDisplay.from_estimator(clf, X)
    with pytest.raises(ValueError, match=r"layer='network\.1' gives no maps"):
        FilterDisplay.from_estimator(
            CNNClassifier(
                architecture=lambda s, n: nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten(), nn.Linear(2, n)), max_epochs=1
            ).fit(X, y),
            X,
            layer="network.1",
        )


def test_without_matplotlib_the_extra_is_named(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for cls in (FeatureMapDisplay, FilterDisplay, SaliencyDisplay):
        with pytest.raises(ImportError, match=rf"{cls.__name__} needs matplotlib.*sklearn-cnn\[plot\]"):
            cls.from_estimator(fitted, X)
