"""ImageNormalizer."""

import pickle
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import check_set_output_transform, check_transformer_get_feature_names_out

from sklearn_cnn import ImageAugmenter, ImageNormalizer
from sklearn_cnn.images import _source
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._source import ImageSource
from tests.cases import for_every

METHODS = ["standardize", "minmax"]
PERS = ["channel", "pixel", "image", "all"]
LEARNT = ["channel", "pixel", "all"]
DTYPES = [np.uint8, np.float32, np.float64]

# Shape of X, parameters, and the axes of X that one statistic is taken over.
LAYOUTS = {
    "hw": ((30, 5, 4), {}, {"channel": (0, 1, 2), "pixel": (0,), "image": (1, 2), "all": (0, 1, 2)}),
    "hwc": ((30, 5, 6, 3), {}, {"channel": (0, 1, 2), "pixel": (0,), "image": (1, 2, 3), "all": (0, 1, 2, 3)}),
    "chw": ((30, 3, 5, 6), {}, {"channel": (0, 2, 3), "pixel": (0,), "image": (1, 2, 3), "all": (0, 1, 2, 3)}),
    "bands": (
        (30, 5, 5, 2),
        {"channels": "last"},
        {"channel": (0, 1, 2), "pixel": (0,), "image": (1, 2, 3), "all": (0, 1, 2, 3)},
    ),
    "rows": ((30, 25), {}, {"channel": (0, 1), "pixel": (0,), "image": (1,), "all": (0, 1)}),
    "rows hwc": ((30, 90), {"image_shape": (5, 6, 3)}, {"pixel": (0,), "image": (1,), "all": (0, 1)}),
    "rows chw": ((30, 90), {"image_shape": (3, 5, 6)}, {"pixel": (0,), "image": (1,), "all": (0, 1)}),
}


def images_of(layout="hwc", dtype=np.float64, seed=0):
    size = LAYOUTS[layout][0]
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 60, size) + rng.uniform(0, 90, (size[0],) + (1,) * (len(size) - 1))
    if len(size) == 4:
        images += rng.uniform(0, 100, (1, 1, 1, 3) if layout == "hwc" else (1, size[1], 1, 1))
    return images.astype(dtype)


def make(method="standardize", per="channel", layout="hwc"):
    return ImageNormalizer(method, per=per, **LAYOUTS[layout][1])


def formula(X, method, axes):
    X = X.astype(np.float64)
    if method == "minmax":
        low, high = X.min(axes, keepdims=True), X.max(axes, keepdims=True)
        return (X - low) / (high - low)
    return (X - X.mean(axes, keepdims=True)) / X.std(axes, keepdims=True)


def expected_of(X, layout, method, per):
    """The formula, for rows of colour images on their channels."""
    axes = LAYOUTS[layout][2]
    if per == "channel" and layout.startswith("rows "):
        images = X.reshape(30, 5, 6, 3) if layout == "rows hwc" else X.reshape(30, 3, 5, 6)
        return formula(images, method, (0, 1, 2) if layout == "rows hwc" else (0, 2, 3)).reshape(X.shape)
    return formula(X, method, axes[per])


@for_every("dtype", DTYPES)
@for_every("layout", LAYOUTS)
@for_every("per", PERS)
@for_every("method", METHODS)
def test_images_are_rescaled_by_the_formula(method, per, layout, dtype):
    X = images_of(layout, dtype)
    before = X.copy()
    result = make(method, per, layout).fit(X).transform(X)
    assert type(result) is np.ndarray
    assert result.shape == X.shape
    assert result.dtype == (np.float64 if dtype == np.float64 else np.float32)
    tolerance = 1e-10 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(result, expected_of(X, layout, method, per), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(X, before)


@for_every("layout", LAYOUTS)
@for_every("per", PERS)
@for_every("method", METHODS)
def test_fit_transform_is_fit_and_transform(method, per, layout):
    X = images_of(layout, np.float32)
    normalizer = make(method, per, layout)
    np.testing.assert_array_equal(normalizer.fit_transform(X), clone(normalizer).fit(X).transform(X))


@pytest.mark.parametrize(
    ("layout", "per", "shape"),
    [
        ("hw", "channel", (1,)),
        ("hw", "pixel", (5, 4)),
        ("hw", "all", ()),
        ("hwc", "channel", (3,)),
        ("hwc", "pixel", (5, 6, 3)),
        ("hwc", "all", ()),
        ("chw", "channel", (3,)),
        ("chw", "pixel", (3, 5, 6)),
        ("rows", "channel", (1,)),
        ("rows", "pixel", (25,)),
        ("rows hwc", "channel", (3,)),
        ("rows hwc", "pixel", (90,)),
        ("rows chw", "pixel", (90,)),
        ("bands", "channel", (2,)),
    ],
)
def test_statistics_have_the_shape_of_what_they_belong_to(layout, per, shape):
    X = images_of(layout)
    normalizer = make(per=per, layout=layout).fit(X)
    assert normalizer.offset_.shape == normalizer.scale_.shape == shape
    assert normalizer.offset_.dtype == normalizer.scale_.dtype == np.float64
    assert normalizer.n_samples_seen_ == 30
    assert normalizer.n_features_in_ == X[0].size
    axes = LAYOUTS[layout][2]
    if per in axes:
        np.testing.assert_allclose(normalizer.offset_, X.mean(axes[per]).reshape(shape), rtol=1e-12)
        np.testing.assert_allclose(normalizer.scale_, X.std(axes[per]).reshape(shape), rtol=1e-12)
        ranges = make("minmax", per, layout).fit(X)
        np.testing.assert_array_equal(ranges.offset_, X.min(axes[per]).reshape(shape))
        np.testing.assert_allclose(ranges.scale_, np.ptp(X, axes[per]).reshape(shape), rtol=1e-12)


def test_per_image_learns_nothing():
    normalizer = make(per="image").fit(images_of())
    assert normalizer.offset_ is None
    assert normalizer.scale_ is None
    assert normalizer.n_samples_seen_ == 30
    one = normalizer.transform(images_of()[:1])
    np.testing.assert_array_equal(one[0], normalizer.transform(images_of())[0])


@pytest.mark.parametrize("values", [1, 90 * 4, 90 * 17])
@pytest.mark.parametrize("per", PERS)
def test_results_do_not_depend_on_how_many_images_are_held_at_once(per, values, monkeypatch):
    X = images_of()
    at_once = make(per=per).fit(X)
    monkeypatch.setattr(_source, "CHUNK_VALUES", values)
    in_parts = make(per=per).fit(X)
    np.testing.assert_allclose(in_parts.transform(X), at_once.transform(X), rtol=1e-10, atol=1e-12)


# Streamed.


@for_every("bounds", [[0, 30], [0, 1, 2, 30], [0, 7, 8, 29, 30], list(range(31))])
@for_every("layout", ["hw", "hwc", "chw", "rows chw"])
@for_every("per", LEARNT)
@for_every("method", METHODS)
def test_streamed_statistics_are_those_of_all_images(method, per, layout, bounds):
    X = images_of(layout)
    whole, streamed = make(method, per, layout).fit(X), make(method, per, layout)
    for start, stop in pairwise(bounds):
        assert streamed.partial_fit(X[start:stop]) is streamed
        assert streamed.n_samples_seen_ == stop
    np.testing.assert_allclose(streamed.offset_, whole.offset_, rtol=1e-12)
    np.testing.assert_allclose(streamed.scale_, whole.scale_, rtol=1e-12)


def test_streamed_per_image_counts_the_images():
    normalizer = make(per="image")
    normalizer.partial_fit(images_of()[:7]).partial_fit(images_of()[7:])
    assert normalizer.n_samples_seen_ == 30


@pytest.mark.parametrize("per", LEARNT)
def test_a_fit_after_partial_fits_starts_anew(per):
    X, other = images_of(), images_of(seed=1) + 1000
    normalizer = make(per=per).partial_fit(other).partial_fit(other).fit(X)
    fresh = make(per=per).fit(X)
    np.testing.assert_array_equal(normalizer.offset_, fresh.offset_)
    np.testing.assert_array_equal(normalizer.scale_, fresh.scale_)
    assert normalizer.n_samples_seen_ == 30


def test_partial_fit_after_fit_goes_on_also_after_pickling():
    X = images_of()
    normalizer = pickle.loads(pickle.dumps(make().fit(X[:10])))
    np.testing.assert_allclose(normalizer.partial_fit(X[10:]).scale_, make().fit(X).scale_, rtol=1e-12)


@pytest.mark.parametrize(("before", "after"), list(permutations(PERS, 2)))
def test_per_cannot_change_between_partial_fits(before, after):
    normalizer = make(per=before).partial_fit(images_of())
    statistics = normalizer.offset_, normalizer.scale_, normalizer.n_samples_seen_
    normalizer.set_params(per=after)
    with pytest.raises(ValueError, match=rf"per='{after}', but partial_fit began with per='{before}'; use fit"):
        normalizer.partial_fit(images_of())
    assert (normalizer.offset_, normalizer.scale_, normalizer.n_samples_seen_) == statistics
    normalizer.fit(images_of()).transform(images_of())


def test_a_partial_fit_that_fails_leaves_the_statistics():
    X = images_of()
    normalizer = make().partial_fit(X)
    before = normalizer.offset_.copy()
    with pytest.raises(ValueError, match="NaN"):
        normalizer.partial_fit(np.where(X > 100, np.nan, X))
    np.testing.assert_array_equal(normalizer.offset_, before)
    assert normalizer.n_samples_seen_ == 30


# Constants.

VALUES = [0.0, 1.0, 0.1, -0.1, 1 / 3, 255.0, 1e10 / 3, -1e10 / 3, 1e-10, 1e-40, 123456.789, 1e15 / 7, 1e30]


@for_every("n", [1, 7])
@for_every("dtype", [np.float32, np.float64])
@for_every("value", VALUES)
@for_every("per", PERS)
@for_every("method", METHODS)
def test_constant_images_give_zeros(method, per, value, dtype, n):
    X = np.full((n, 5, 6, 3), value, dtype)
    normalizer = make(method, per).fit(X)
    assert not normalizer.transform(X).any()
    if per != "image":
        assert (normalizer.scale_ == 1).all()
        streamed = make(method, per)
        for start in range(n):
            streamed.partial_fit(X[start : start + 1])
        assert not streamed.transform(X).any()


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("method", METHODS)
def test_constant_bytes_give_zeros(method, per, value):
    X = np.full((9, 5, 6, 3), value, np.uint8)
    assert not make(method, per).fit_transform(X).any()


@for_every("dtype", DTYPES)
@for_every("value", [0.0, 0.1, 1 / 3, 200.7])
@for_every(
    ("per", "where"),
    [
        ("channel", (slice(None), slice(None), slice(None), 1)),
        ("pixel", (slice(None), 2, 3)),
        ("pixel", (slice(None), 2, 3, 0)),
        ("image", (4,)),
        ("image", (slice(3, 9),)),
    ],
)
@for_every("method", METHODS)
def test_what_is_constant_gives_zeros_beside_what_is_not(method, per, where, value, dtype):
    X = images_of("hwc", dtype)
    varied = make(method, per).fit_transform(X)
    assert varied[where].any()
    X[where] = value
    result = make(method, per).fit_transform(X)
    assert not result[where].any()
    assert np.isfinite(result).all()
    rest = np.ones(X.shape, bool)
    rest[where] = False
    np.testing.assert_array_equal(result[rest], varied[rest])


# Dtypes and layouts.


@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", "float32"),
        ("bool", "float32"),
        ("int16", "float32"),
        ("int32", "float32"),
        ("int64", "float32"),
        ("uint64", "float32"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        (">f8", "float64"),
        (">f4", "float32"),
    ],
)
def test_results_are_float64_where_x_is_and_otherwise_float32(dtype, expected, per):
    X = images_of().astype(dtype)
    normalizer = make(per=per).fit(X)
    assert normalizer.transform(X).dtype == expected
    if dtype != "bool":
        assert normalizer.transform(X.tolist()).dtype == ("float32" if "int" in dtype else "float64")


@for_every("per", LEARNT)
@for_every("layout", LAYOUTS)
@for_every("method", METHODS)
@for_every("dtype", [np.float32, np.float64])
def test_the_inverse_gives_the_images_back(method, layout, per, dtype):
    X = images_of(layout, dtype)
    X.reshape(30, -1)[:, 3] = 0.1
    normalizer = make(method, per, layout).fit(X)
    back = normalizer.inverse_transform(normalizer.transform(X))
    assert back.dtype == dtype
    assert back.shape == X.shape
    np.testing.assert_allclose(back, X, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-3 * (dtype == np.float32))


@pytest.mark.parametrize("fitted", [False, True])
def test_per_image_has_no_inverse(fitted):
    normalizer = make(per="image")
    if fitted:
        normalizer.fit(images_of())
    assert not hasattr(normalizer, "inverse_transform")
    with pytest.raises(AttributeError, match="inverse_transform") as caught:
        normalizer.inverse_transform(images_of())
    assert "no way back" in f"{caught.value} {caught.value.__cause__}"
    assert hasattr(make(per="pixel"), "inverse_transform")


@pytest.mark.parametrize("per", LEARNT)
def test_unseen_values_go_beyond_the_range(per):
    X = images_of()
    normalizer = make("minmax", per).fit(X)
    assert (normalizer.transform(X).min(), normalizer.transform(X).max()) == (0, 1)
    assert normalizer.transform(X + 500).min() > 1
    assert normalizer.transform(X - 500).max() < 0


def test_minmax_of_an_image_alone_fills_its_own_range():
    result = make("minmax", "image").fit_transform(images_of())
    np.testing.assert_array_equal(result.min((1, 2, 3)), 0)
    np.testing.assert_array_equal(result.max((1, 2, 3)), 1)


# Precision.


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_large_offset_costs_no_precision(method, per, offset):
    X = images_of("hwc") / 100
    spread = make(method, per).fit_transform(X)
    far = make(method, per).fit_transform(X + offset)
    np.testing.assert_allclose(far, spread, rtol=0, atol=1e-14 * offset + 1e-12)


@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 1e6), (np.int64, 1e9)])
@pytest.mark.parametrize("per", PERS)
def test_a_large_offset_costs_no_precision_before_the_result_is_float32(per, dtype, offset):
    X = (images_of("hwc") + offset).astype(dtype)
    expected = expected_of(X, "hwc", "standardize", per)
    np.testing.assert_allclose(make(per=per).fit_transform(X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("method", "scaler"), [("standardize", StandardScaler()), ("minmax", MinMaxScaler())])
def test_per_pixel_on_rows_is_the_scaler_of_scikit_learn(method, scaler, dtype):
    X = images_of("rows", dtype)
    X[:, 3] = 7
    result = ImageNormalizer(method, per="pixel").fit_transform(X)
    np.testing.assert_allclose(result, scaler.fit_transform(X), rtol=1e-5, atol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(
        ImageNormalizer(method, per="pixel").fit(X).scale_,
        scaler.scale_ if method == "standardize" else np.where(np.ptp(X, 0) == 0, 1, np.ptp(X, 0)),
        rtol=1e-6,
    )


# Forms of X.


@pytest.mark.parametrize("form", ["list", "tensor", "read-only", "Fortran order", "negative strides"])
def test_any_form_of_x_gives_the_same(form):
    X = images_of("chw", np.float32)
    expected = make(layout="chw").fit_transform(X)
    given = {
        "list": list(X),
        "tensor": torch.from_numpy(X.copy()),
        "read-only": np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
        "Fortran order": np.asfortranarray(X),
        "negative strides": X[:, :, ::-1].copy()[:, :, ::-1],
    }[form]
    np.testing.assert_array_equal(make(layout="chw").fit_transform(given), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("per", PERS)
def test_frames_of_rows_give_frames_with_their_columns(per, dtype):
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    X = images_of("rows", dtype)
    names = [f"pixel{i}" for i in range(25)]
    expected = make(per=per, layout="rows").fit_transform(X)
    for frame, container in ((pd.DataFrame(X, columns=names), "pandas"), (pl.DataFrame(X, schema=names), "polars")):
        normalizer = make(per=per, layout="rows").set_output(transform=container)
        for result in (normalizer.fit(frame).transform(frame), normalizer.fit_transform(frame)):
            assert type(result) is type(frame)
            assert list(result.columns) == names
            np.testing.assert_array_equal(result.to_numpy(), expected)
        assert normalizer.get_feature_names_out().tolist() == names
        assert normalizer.feature_names_in_.tolist() == names
    result = normalizer.set_output(transform="pandas").fit(pd.DataFrame(X, index=range(5, 35))).transform(X)
    assert isinstance(result, pd.DataFrame)


@pytest.mark.parametrize(("layout", "n"), [("rows", 25), ("hwc", 90), ("chw", 90), ("hw", 20)])
def test_names_of_the_values_are_numbered(layout, n):
    normalizer = make(layout=layout).fit(images_of(layout))
    assert normalizer.get_feature_names_out().tolist() == [f"x{i}" for i in range(n)]


@pytest.mark.parametrize("layout", ["hw", "hwc", "chw"])
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_a_frame_of_images_that_are_no_rows_is_refused_in_words(layout, container):
    pytest.importorskip(container)
    normalizer = make(layout=layout).set_output(transform=container)
    with pytest.raises(ValueError, match=rf"set_output\(transform='{container}'\) makes frames of flattened images"):
        normalizer.fit_transform(images_of(layout))


def test_scikit_learns_own_checks_of_names_and_frames():
    check_set_output_transform("ImageNormalizer", ImageNormalizer())
    check_transformer_get_feature_names_out("ImageNormalizer", ImageNormalizer())


def test_a_fit_on_an_array_forgets_the_names_of_a_frame():
    pd = pytest.importorskip("pandas")
    X = images_of("rows")
    normalizer = make(layout="rows").fit(pd.DataFrame(X, columns=[f"pixel{i}" for i in range(25)]))
    assert "feature_names_in_" in vars(normalizer)
    assert vars(normalizer.fit(X)).keys() == vars(make(layout="rows").fit(X)).keys()


# Errors.


@pytest.mark.parametrize("call", ["fit", "fit_transform", "partial_fit"])
@pytest.mark.parametrize("per", LEARNT)
def test_a_fit_that_fails_changes_nothing(per, call):
    X = images_of("hwc")
    normalizer = ImageNormalizer(per=per).fit(X)
    before = vars(normalizer).copy()
    learnt = normalizer._moments.n_images, normalizer._moments.mean.copy()
    others = X if call == "partial_fit" else images_of("chw")
    with pytest.raises(ValueError, match="too large"):
        getattr(normalizer, call)(np.where(others > others.mean(), 1e200, -1e200))
    assert all(value is before[name] for name, value in vars(normalizer).items()) and len(before) == len(
        vars(normalizer)
    )
    assert normalizer._moments.n_images == learnt[0]
    np.testing.assert_array_equal(normalizer._moments.mean, learnt[1])


@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("shape", [(3, 6, 5, 3), (3, 5, 6), (3, 90), (5, 6, 3), (3, 3, 5, 6)])
def test_images_of_another_shape_are_refused(per, shape):
    normalizer = make(per=per).fit(images_of("hwc"))
    other = np.ones(shape)
    names = ["transform", "partial_fit"] + ["inverse_transform"] * (per != "image")
    for name in names:
        with pytest.raises(ValueError, match=r"X has shape .* ImageNormalizer was fitted on X of shape \(n, 5, 6, 3\)"):
            getattr(normalizer, name)(other)


def test_rows_of_another_width_are_refused():
    normalizer = make(layout="rows").fit(images_of("rows"))
    with pytest.raises(ValueError, match="X has 24 features, but ImageNormalizer is expecting 25 features"):
        normalizer.transform(np.ones((3, 24)))


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"method": "robust"}, "method"),
        ({"method": None}, "method"),
        ({"per": "row"}, "per"),
        ({"per": None}, "per"),
        ({"channels": "middle"}, "channels"),
        ({"image_shape": 25}, "image_shape"),
        ({"image_shape": (5, 5, 5)}, "image_shape"),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", ["fit", "fit_transform", "partial_fit"])
def test_a_parameter_that_cannot_be_is_named(parameters, name, call):
    with pytest.raises(ValueError, match=name):
        getattr(ImageNormalizer(**parameters), call)(images_of("rows"))


# Sources.


def source_of(layout="hwc", dtype=np.uint8):
    settings = LAYOUTS[layout][1]
    augmenter = ImageAugmenter(rotation=40, brightness=0.5, noise=9.0, random_state=0, **settings)
    source = augmenter.fit_transform(images_of(layout, dtype))
    assert isinstance(source, ImageSource)
    return source


@for_every("layout", LAYOUTS)
@for_every("per", PERS)
@for_every("method", METHODS)
def test_a_source_is_fitted_on_its_undrawn_pixels_and_stays_one(method, per, layout):
    X = images_of(layout, np.uint8)
    eager, lazy = make(method, per, layout).fit(X), make(method, per, layout)
    result = lazy.fit_transform(source_of(layout))
    assert isinstance(result, ImageSource)
    assert result.shape == X.shape
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result.images(), eager.transform(X))
    if per != "image":
        np.testing.assert_array_equal(lazy.offset_, eager.offset_)
        np.testing.assert_array_equal(lazy.scale_, eager.scale_)
    assert lazy.n_samples_seen_ == 30


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("per", PERS)
def test_numpy_sees_the_drawn_pixels_rescaled(per, dtype):
    source = source_of(dtype=dtype)
    normalizer = make(per=per).fit(source)
    result = normalizer.transform(source)
    assert result.dtype == (np.float64 if dtype == np.float64 else np.float32)
    expected = normalizer.transform(np.asarray(source))
    np.testing.assert_allclose(np.asarray(result), expected, rtol=0, atol=1e-6 if dtype != np.float64 else 1e-12)
    assert not np.array_equal(np.asarray(result), result.images())


def test_a_source_without_any_change_left_is_an_array():
    X = images_of("rows", np.float32)
    source = ImageAugmenter().fit_transform(X)
    assert source is X


def test_a_source_is_streamed_like_its_images():
    source, X = source_of(), images_of(dtype=np.uint8)
    streamed = make().partial_fit(source[:11]).partial_fit(source[11:])
    np.testing.assert_allclose(streamed.offset_, make().fit(X).offset_, rtol=1e-12)


def test_the_inverse_of_a_source_gives_its_pixels_back():
    normalizer = make().fit(images_of())
    source = normalizer.transform(source_of(dtype=np.float64))
    back = normalizer.inverse_transform(source)
    np.testing.assert_allclose(np.asarray(back), np.asarray(source_of(dtype=np.float64)), rtol=1e-10, atol=1e-10)


def test_a_partial_fit_that_fails_halfway_leaves_the_statistics_as_they_were(monkeypatch):
    normalizer = make().partial_fit(images_of()[:10])
    update = Moments.update

    def fail_at_the_second(moments, pixels, weights=None):
        if moments.n_images > 10:
            raise OSError("a broken file")
        update(moments, pixels, weights)

    monkeypatch.setattr(Moments, "update", fail_at_the_second)
    monkeypatch.setattr(_source, "CHUNK_VALUES", 1)
    with pytest.raises(OSError, match="broken"):
        normalizer.partial_fit(images_of()[10:])
    monkeypatch.undo()
    normalizer.partial_fit(images_of()[10:])
    at_once = make().fit(images_of())
    np.testing.assert_allclose(normalizer.offset_, at_once.offset_, rtol=1e-12)
    np.testing.assert_allclose(normalizer.scale_, at_once.scale_, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-300, 1e200, 1e300])
def test_each_image_by_its_own_neither_overflows_nor_vanishes(method, scale):
    images = np.random.default_rng(0).random((5, 4, 4))
    expected = ImageNormalizer(method, per="image").fit_transform(images)
    if scale > 1:
        np.testing.assert_allclose(ImageNormalizer(method, per="image").fit_transform(images * scale), expected)
    else:  # as good as constant for float32
        np.testing.assert_allclose(ImageNormalizer(method, per="image").fit_transform(images * scale), 0, atol=1e-20)


@pytest.mark.parametrize(("method", "scale"), [("standardize", 1e200), ("minmax", 1.7e308)])
def test_values_whose_statistics_overflow_are_refused(method, scale):
    images = np.random.default_rng(0).random((5, 4, 4))
    images[0, 0, :2] = scale, -scale
    normalizer = ImageNormalizer(method)
    with pytest.raises(ValueError, match="too large"):
        normalizer.fit(images)
    assert not hasattr(normalizer, "offset_")


@pytest.mark.parametrize(("before", "after"), list(permutations(PERS, 2)))
def test_per_cannot_change_between_fit_and_transform(before, after):
    normalizer = make(per=before).fit(images_of()).set_params(per=after)
    with pytest.raises(ValueError, match=rf"per='{after}', but this normalizer was fitted with per='{before}'"):
        normalizer.transform(images_of())
