"""ArchitectureDisplay: boxes as large as the maps, all that stands beside them, and nothing cut off."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.transforms import Bbox
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, CNNRegressor, ImageNormalizer
from sklearn_cnn.architectures._boxes import COLOURS, boxes_of, links_of
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._picture import HATCH, short
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.inspection import ArchitectureDisplay

X, y = load_digits().images[:60].astype(np.float32), load_digits().target[:60]
SETTINGS = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 1, "random_state": 0}


@pytest.fixture(autouse=True)
def _off_screen():
    matplotlib.use("Agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def fitted():
    return CNNClassifier(**SETTINGS).fit(X, y)


def own(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(n_outputs))


def plan_of(architecture=None, image_shape=(32, 32), **settings):
    return CNNClassifier(architecture=architecture, **settings).plan(image_shape=image_shape, n_outputs=10)


def plan_by_hand(*rows):
    """A plan of rows ``(name, kind, reads, output_shape)`` and, where there is one, a block."""
    layers = [
        Layer(name, kind, reads, shape, (1, 1), block=block[0] if block else "")
        for name, kind, reads, shape, *block in rows
    ]
    return Plan((1, 4, 4), tuple(layers))


def drawn(plan):
    return ArchitectureDisplay(plan=plan).plot().ax_


def fronts(ax):
    """Sides in pixels of the fronts of the boxes, by their names: (width, height) of each slice."""
    found = {}
    for patch in ax.patches:
        if patch.get_gid():
            corner, far = patch.get_xy()[0], patch.get_xy()[2]
            found.setdefault(patch.get_gid(), []).append(tuple(far - corner))
    return found


def texts_below(ax):
    """The lines of text below each box, by the first of them."""
    columns = {}
    for text in ax.texts:
        if text.get_ha() == "center":
            if text.get_fontweight() == "bold":
                place = columns[text.get_text()] = []
            else:
                place.append(text.get_text())
    return columns


def ways_around(ax):
    """The left and right ends of lines that go around boxes."""
    return [(line.get_xdata()[0], line.get_xdata()[-1]) for line in ax.lines if len(line.get_xdata()) == 8]


# Boxes.


def test_a_box_is_as_high_and_as_wide_as_the_roots_of_its_sides():
    plain = {"convs_per_block": 1, "global_pooling": None, "standardize": False}
    plan = plan_of(filters=(16, 64), padding="valid", hidden_layer_sizes=(256,), **plain)
    sizes = fronts(drawn(plan))
    shapes = {"image": (1, 32, 32)} | {row.name: (*row.output_shape, 1, 1)[:3] for row in plan.layers}
    tallest = sizes["image"][0][1]
    widest = sizes["dense1"][0][0]
    assert list(sizes) == ["image", "block1_conv", "block1_pool", "block2_conv", "block2_pool", "dense1", "output"]
    for name in list(sizes)[1:]:
        (width, height), (channels, side, _) = sizes[name][0], shapes[name]
        assert height / tallest == pytest.approx((side / 32) ** 0.5)
        assert width / widest == pytest.approx((channels / 256) ** 0.5)
    assert sizes["image"][0][0] == 3  # thinner could not be seen


def test_maps_of_1_to_224_pixels_are_all_seen():
    heights = [height for slices in fronts(drawn(plan_of("vgg16", (224, 224, 3)))).values() for _, height in slices]
    assert 100 < max(heights) < 130 and min(heights) > 5


def test_depth_follows_the_width_of_the_map():
    ax = drawn(plan_of(image_shape=(32, 8), filters=(4,)))
    image, above = next(
        (patch, ax.patches[number - 2]) for number, patch in enumerate(ax.patches) if patch.get_gid() == "image"
    )
    depth, height = np.ptp(above.get_xy()[:, 1]), np.ptp(image.get_xy()[:, 1])
    assert depth / height == pytest.approx(0.22 * (8 / 32) ** 0.5)


def test_below_a_box_stand_name_shape_counts_and_what_follows_it():
    settings = {"filters": (32, 64, 128), "hidden_layer_sizes": (128,), "dropout": 0.25}
    plain = {"convs_per_block": 1, "global_pooling": None}
    below = texts_below(drawn(plan_of(image_shape=(28, 28), **settings, **plain)))
    assert below["image"] == ["1×28×28", "23.3k mult-adds", "+ standardize,", "whiten, relu"]
    assert below["block2_conv"] == ["64×13×13", "18.4k param.", "3.12M mult-adds"]
    assert below["block1_pool"] == ["32×13×13", "64 param.", "+ norm, relu"]
    assert below["dense1"] == ["128", "148k param.", "147k mult-adds", "+ relu, dropout"]
    folded = " ".join(below["block3_pool"][2:])
    assert folded == "+ norm, relu, flatten, dropout"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (18_432, "18.4k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (15_466_209_280, "15.5G"),
        (2_500_000_000_000, "2.5T"),
    ],
)
def test_counts_are_shortened(number, text):
    assert short(number) == text


@pytest.mark.parametrize("name", [None, "lenet5", "alexnet", "vgg16", "resnet18", "resnet50", "inception"])
def test_no_row_is_left_out_or_counted_twice(name):
    plan = plan_of(name, (64, 64))
    boxes = boxes_of(plan.input_shape, plan.layers)
    assert [row for box in boxes for row in box.rows] == list(plan.layers)
    assert sum(box.n_parameters for box in boxes) == plan.n_parameters
    assert sum(box.n_macs for box in boxes) == plan.n_macs
    assert boxes[-1].output_shape == plan.output_shape


def test_title_and_legend_say_what_is_seen():
    ax = drawn(plan_of("lenet5"))
    assert ax.get_title() == "32×32×1 image to 10 outputs\n61,706 parameters, 416,520 multiply-adds"
    legend = [text.get_text() for text in ax.texts if text.get_ha() == "left"]
    assert legend[:-1] == ["image", "convolution", "pool", "dense"]
    assert "height and depth" in legend[-1]
    colours = {patch.get_gid(): to_hex(patch.get_facecolor()).upper() for patch in ax.patches if patch.get_gid()}
    assert colours["block1_conv"] == COLOURS["convolution"] and colours["dense2"] == COLOURS["dense"]
    swatches = [to_hex(patch.get_facecolor()).upper() for patch in ax.patches[-4:]]
    assert swatches == [COLOURS[name] for name in legend[:-1]]


def test_ready_made_parts_are_one_box():
    below = texts_below(drawn(plan_of(own, (8, 8))))
    assert below["network"] == ["10", "650 param.", "640 mult-adds"]
    pytest.importorskip("torchvision", reason="the extra 'pretrained' brings it")
    whole = texts_below(drawn(plan_of("torchvision:resnet18", (64, 64, 3))))
    assert whole["backbone"][0] == "512" and "6 blocks" in whole["backbone"]
    some = texts_below(drawn(plan_of("torchvision:resnet18", (64, 64, 3), trainable_blocks=2)))
    assert "2/6 trained" in some["backbone"]


# Branches.


def test_a_residual_block_is_one_box_with_a_way_around_it():
    ax = drawn(plan_of("resnet18"))
    below = texts_below(ax)
    units = [name for name in below if "unit" in name]
    assert len(units) == 8
    assert below["stage1_unit1"] == ["64×32×32", "3 layers", "74k param.", "75.5M mult-adds"]
    ways = ways_around(ax)
    assert len(ways) == 8
    places = {patch.get_gid(): patch.get_xy()[:, 0] for patch in ax.patches if patch.get_gid()}
    for name, (left, right) in zip(units, ways, strict=True):
        assert left < places[name].min() and places[name].max() < right


def test_branches_that_run_side_by_side_are_slices_as_high_as_their_channels():
    ax = drawn(plan_of("inception", (28, 28)))
    sizes = fronts(ax)
    heights = [height for _, height in reversed(sizes["inception3a"])]
    np.testing.assert_allclose(np.divide(heights, sum(heights)), np.array([64, 128, 32, 32]) / 256)
    assert len(sizes["stem"]) == 1
    assert "8 layers" in texts_below(ax)["inception3a"]


def test_a_detour_between_layers_is_drawn_around_those_between():
    rows = [
        ("a", "conv", ("input",), (2, 4, 4)),
        ("b", "conv", ("a",), (2, 4, 4)),
        ("c", "conv", ("b",), (2, 4, 4)),
        ("add", "sum", ("c", "a"), (2, 4, 4)),
    ]
    plan = plan_by_hand(*rows)
    assert links_of(boxes_of(plan.input_shape, plan.layers)) == [(0, 1), (1, 2), (1, 4), (2, 3), (3, 4)]
    ax = drawn(plan)
    places = {patch.get_gid(): patch.get_xy()[:, 0] for patch in ax.patches if patch.get_gid()}
    ((left, right),) = ways_around(ax)
    assert places["a"].max() < left < places["b"].min() and places["c"].max() < right < places["add"].min()
    assert "sum" in [text.get_text() for text in ax.texts]


def test_parallel_layers_are_joined_to_what_they_read_and_to_nothing_else():
    rows = [
        ("a", "conv", ("input",), (2, 4, 4)),
        ("b", "conv", ("input",), (2, 4, 4)),
        ("join", "concat", ("a", "b"), (4, 4, 4)),
    ]
    ax = drawn(plan_by_hand(*rows))
    assert len(ways_around(ax)) == 2  # image to b, a to join
    places = {patch.get_gid(): patch.get_xy()[:, 0] for patch in ax.patches if patch.get_gid()}
    straight = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and np.ptp(line.get_xdata()) > 9]
    assert len(straight) == 2  # image to a, b to join
    assert straight[0][1] < places["a"].min() and places["b"].max() < straight[1][0]


def test_a_block_that_branches_is_one_box_in_a_short_network_too():
    rows = [
        ("a", "conv", ("input",), (2, 4, 4), "unit"),
        ("b", "conv", ("input",), (6, 4, 4), "unit"),
        ("join", "concat", ("a", "b"), (8, 4, 4), "unit"),
        ("c", "conv", ("join",), (8, 4, 4), "plain"),
        ("d", "conv", ("c",), (8, 4, 4), "plain"),
    ]
    sizes = fronts(drawn(plan_by_hand(*rows)))
    assert {name: len(slices) for name, slices in sizes.items()} == {"image": 1, "unit": 2, "c": 1, "d": 1}


def test_what_is_read_from_another_line_is_named():
    rows = [("r0", "conv", ("input",), (2, 4, 4))]
    rows += [(f"r{i}", "conv", (f"r{i - 1}",), (2, 4, 4)) for i in range(1, 12)]
    ax = drawn(plan_by_hand(*rows, ("add", "sum", ("r11", "r1"), (2, 4, 4))))
    assert "reads r1" in texts_below(ax)["add"]


def test_frozen_layers_are_hatched_and_no_others():
    def hatched(plan):
        ax = drawn(plan)
        lines = [line.get_xdata() for line in ax.lines if line.get_color() == HATCH and len(line.get_xdata()) == 5]
        boxes = [patch for patch in ax.patches if patch.get_gid()]
        names = [box.get_gid() for box in boxes if any(np.ptp(x) and min(x) == box.get_xy()[0, 0] for x in lines)]
        return ax, names

    ax, names = hatched(plan_of("alexnet", (64, 64), trainable_blocks=2))
    assert names == ["block1_conv", "block1_pool", "block2_conv", "block2_pool", "block3_conv"]
    assert "frozen" in [text.get_text() for text in ax.texts]
    ax, names = hatched(plan_of("alexnet", (64, 64)))
    assert names == [] and "frozen" not in [text.get_text() for text in ax.texts]


# Readable.


@pytest.mark.parametrize(
    ("name", "image_shape"),
    [
        (None, (28, 28)),
        (None, (8, 8)),
        pytest.param("lenet5", (32, 32), marks=pytest.mark.slow),
        pytest.param("alexnet", (64, 64), marks=pytest.mark.slow),
        pytest.param("vgg11", (64, 40, 3), marks=pytest.mark.slow),
        ("vgg16", (224, 224, 3)),
        ("resnet18", (32, 32, 3)),
        pytest.param("resnet50", (64, 64, 3), marks=pytest.mark.slow),
        ("inception", (28, 28)),
        (own, (9, 4)),
    ],
)
def test_nothing_is_cut_off_and_no_text_lies_on_another_or_on_a_box(name, image_shape):
    display = ArchitectureDisplay(plan=plan_of(name, image_shape)).plot()
    ax, figure = display.ax_, display.figure_
    assert figure.get_size_inches()[0] <= 9
    figure.canvas.draw()
    paper = figure.bbox
    boxes = [text.get_window_extent() for text in (*ax.texts, ax.title)]
    for box in (*boxes, *(patch.get_window_extent() for patch in ax.patches)):
        assert paper.x0 <= box.x0 and box.x1 <= paper.x1 and paper.y0 <= box.y0 and box.y1 <= paper.y1
    fronts = [patch.get_window_extent() for patch in ax.patches if patch.get_gid()]
    for number, box in enumerate(boxes):
        inner = Bbox.from_extents(box.x0, box.y0 + 2, box.x1, box.y1 - 2)
        assert not any(inner.overlaps(other) for other in (*boxes[number + 1 :], *fronts))


def test_long_names_are_cut():
    name = "a_name_that_is_much_longer_than_a_column_is_wide"
    (shown,) = [text for text in texts_below(drawn(plan_by_hand((name, "dense", ("input",), (3,))))) if text != "image"]
    assert len(shown) < 20 and shown.endswith("…") and name.startswith(shown[:-1])


def test_a_name_is_no_formula():
    ax = drawn(plan_by_hand(("$x$ $y$", "dense", ("input",), (3,))))
    ax.figure.canvas.draw()
    assert r"\$x\$ \$y\$" in [text.get_text() for text in ax.texts]


def test_it_draws_in_given_axes_with_letters_as_small_as_the_boxes():
    plan = plan_of("lenet5")
    free = ArchitectureDisplay(plan=plan).plot()
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3))
    display = ArchitectureDisplay(plan=plan)
    assert display.plot(axes[1]) is display
    assert display.ax_ is axes[1] and display.figure_ is figure
    assert not axes[0].patches
    assert display.ax_.texts[0].get_fontsize() < 0.6 * free.ax_.texts[0].get_fontsize()


# From estimators.


def test_it_is_the_plan_of_a_fitted_estimator(fitted):
    display = ArchitectureDisplay.from_estimator(fitted)
    assert display.plan is fitted.plan_ and display.ax_.patches
    assert ArchitectureDisplay.from_estimator(fitted, X, y).plan is fitted.plan_
    _, ax = pyplot.subplots()
    assert ArchitectureDisplay.from_estimator(fitted, ax=ax).ax_ is ax


def test_before_fit_it_is_laid_out_for_the_images():
    for clf, targets in ((CNNClassifier(**SETTINGS), y), (CNNRegressor(**SETTINGS), y * 1.0)):
        assert ArchitectureDisplay.from_estimator(clf, X, targets).plan == clf.plan(X, targets)
        assert not hasattr(clf, "module_")
        with pytest.raises(ValueError, match="plan needs the number of outputs"):
            ArchitectureDisplay.from_estimator(clf, X)


def test_pipelines_and_searches_are_seen_through(fitted):
    pipe = make_pipeline(ImageNormalizer(), CNNClassifier(**SETTINGS)).fit(X, y)
    assert ArchitectureDisplay.from_estimator(pipe).plan is pipe[-1].plan_
    search = GridSearchCV(pipe, {"cnnclassifier__dropout": [0.0]}, cv=2).fit(X, y)
    assert ArchitectureDisplay.from_estimator(search).plan is search.best_estimator_[-1].plan_
    extractor = CNNFeatureExtractor(fitted).fit(X)
    assert ArchitectureDisplay.from_estimator(extractor).plan is extractor.plan_


@pytest.mark.parametrize(
    ("estimator", "images", "error"),
    [
        (CNNClassifier(), None, NotFittedError),
        (CNNFeatureExtractor(), X, NotFittedError),
        (make_pipeline(CNNClassifier()), X, NotFittedError),
        (LogisticRegression(), X, TypeError),
    ],
)
def test_what_has_no_plan_is_refused(estimator, images, error):
    with pytest.raises(error):
        ArchitectureDisplay.from_estimator(estimator, images, y)
    assert not pyplot.get_fignums()
