"""ImageAugmenter, alone, in pipelines and as a parameter of the classifier. Row 38 is that of the reliability table."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_set_output_transform, check_transformer_get_feature_names_out
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier, ImageAugmenter, ImageNormalizer
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._augmentation import Augmentation
from tests.cases import for_every

DIGITS = load_digits()
X, y = DIGITS.images[:60].astype(np.float32), DIGITS.target[:60] % 3
ROWS = X.reshape(60, 64)
COLOUR = np.random.default_rng(0).integers(0, 256, (40, 8, 6, 3), dtype=np.uint8)

STRONG = {"rotation": 30, "shift": 0.2, "noise": 1.0, "brightness": 0.3}


def small(**parameters):
    settings = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 2, "batch_size": 16, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


class Recorder(Callback):
    """Keeps the pixels of every batch."""

    kept: dict[str, list] = {}

    def __init__(self, name):
        self.name = name
        Recorder.kept[name] = []

    def on_batch_begin(self, net, batch, training=False, **kwargs):
        record = (len(net.history), training, batch[0].numpy().copy())
        Recorder.kept[self.name].append(record)


def seen(name, *, training=True, epoch=None):
    records = [batch for n, mode, batch in Recorder.kept[name] if mode == training and epoch in (None, n)]
    return np.concatenate(records) if records else np.empty(0)


def recording(name, **parameters):
    return small(skorch_callbacks=[Recorder(name)], **parameters)


def weights(estimator):
    return [value.numpy() for value in estimator.module_.state_dict().values()]


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def images_among(batch, images):
    """How many images of a batch are among those given, bit for bit."""
    known = {np.ascontiguousarray(image).tobytes() for image in images}
    return sum(np.ascontiguousarray(image).tobytes() in known for image in batch)


# transform.


@pytest.mark.reliability(38)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((1, 64), {}),
        ((7, 5), {}),
        ((7, 60), {"image_shape": (5, 4, 3)}),
        ((7, 60), {"image_shape": (3, 4, 5)}),
        ((1, 1, 1), {}),
        ((7, 5, 9), {}),
        ((50, 28, 28), {}),
        ((7, 5, 9, 1), {}),
        ((7, 5, 9, 3), {}),
        ((7, 4, 5, 9), {}),
        ((7, 5, 9, 7), {"channels": "last"}),
        ((7, 5, 9, 7), {"channels": "first"}),
    ],
    ids=str,
)
def test_transform_is_the_identity_bit_for_bit(shape, parameters, dtype):
    rng = np.random.default_rng(0)
    images = (rng.normal(size=shape) * 10.0 ** rng.integers(-6, 6, shape)).astype(dtype)
    if dtype != np.uint8:
        images.flat[0] = -0.0
    before = images.tobytes()
    augmenter = ImageAugmenter(**STRONG, zoom=0.3, **parameters).fit(images)
    result = augmenter.transform(images)
    assert type(result) is np.ndarray
    assert (result.shape, result.dtype) == (images.shape, images.dtype)
    assert result.tobytes() == before == images.tobytes()
    assert np.shares_memory(result, images)


@pytest.mark.reliability(38)
def test_transform_is_the_identity_after_fit_transform_too():
    augmenter = ImageAugmenter(**STRONG)
    augmenter.fit_transform(X)
    assert augmenter.transform(X) is X


def test_transform_hands_a_source_on():
    source = ImageAugmenter(rotation=5).fit_transform(X)
    assert ImageAugmenter(**STRONG).fit(X).transform(source) is source


def test_transform_refuses_another_shape_and_the_unfitted():
    with pytest.raises(sklearn.exceptions.NotFittedError):
        ImageAugmenter().transform(X)
    with pytest.raises(ValueError, match="was fitted on X of shape"):
        ImageAugmenter().fit(X).transform(X[:, 1:])


# fit_transform.


@pytest.mark.parametrize("images", [X, ROWS, X[..., None], COLOUR, COLOUR.transpose(0, 3, 1, 2)], ids=lambda a: a.shape)
def test_fit_transform_gives_a_source_of_the_same_shape_and_dtype(images):
    result = ImageAugmenter(**STRONG).fit_transform(images)
    assert isinstance(result, ImageSource)
    assert (result.shape, result.dtype, len(result)) == (images.shape, images.dtype, len(images))
    drawn = np.asarray(result)
    assert (drawn.shape, drawn.dtype) == (images.shape, images.dtype)
    assert images_among(drawn, images) == 0


@pytest.fixture(name="_nothing_computed")
def nothing_computed(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("computed")

    for name in ("batch", "images", "_drawn_once", "__array__"):
        monkeypatch.setattr(ImageSource, name, fail)
    monkeypatch.setattr(Augmentation, "__call__", fail)


@pytest.mark.usefixtures("_nothing_computed")
def test_fit_transform_computes_nothing():
    assert ImageAugmenter(**STRONG).fit_transform(X)[5:9].shape == (4, 8, 8)


@pytest.mark.usefixtures("_nothing_computed")
def test_a_normaliser_that_has_been_fitted_computes_nothing():
    source = ImageAugmenter(**STRONG).fit_transform(X)
    assert ImageNormalizer(per="image").fit_transform(source).dtype == np.float32


@pytest.mark.parametrize("parameters", [{}, {"zoom": (1.0, 1.0)}, {"shift": (0, 0)}, {"fill_value": 3.0}], ids=str)
@pytest.mark.parametrize("images", [X, ROWS, COLOUR], ids=lambda a: a.shape)
def test_without_any_change_the_array_itself_comes_out(parameters, images):
    assert ImageAugmenter(**parameters).fit_transform(images) is images


@pytest.mark.reliability(38)
def test_an_int_repeats_its_draw_and_others_do_not():
    draws = [np.asarray(ImageAugmenter(**STRONG, random_state=seed).fit_transform(X)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    augmenter = ImageAugmenter(**STRONG, random_state=3)
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(augmenter.fit_transform(X)), draws[0])


@pytest.mark.reliability(38)
@pytest.mark.parametrize("shape", [(20, 36), (20, 6, 6), (20, 6, 6, 3), (20, 1, 6, 6)], ids=str)
def test_images_keep_their_number_and_their_place_beside_the_labels(shape):
    labels = np.arange(20)
    images = np.broadcast_to(labels.reshape(20, *[1] * (len(shape) - 1)), shape).astype(np.float32)
    # An image of one value stays what it is where it is turned and flipped, so that its label can be read off.
    changes = {"rotation": 30, "horizontal_flip": 0.5, "fill_mode": "replicate", "random_state": 0}
    drawn = np.asarray(ImageAugmenter(**changes).fit_transform(images, labels))
    assert drawn.shape == shape
    np.testing.assert_allclose(drawn, images, atol=1e-4)


def test_a_random_state_goes_on_from_draw_to_draw():
    def twice():
        augmenter = ImageAugmenter(**STRONG, random_state=np.random.RandomState(3))
        return [np.asarray(augmenter.fit_transform(X)) for _ in range(2)]

    first, again = twice(), twice()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(*first)


def test_without_a_seed_the_draw_comes_from_numpys_generator():
    draws = []
    for seed in (0, 0, 1):
        np.random.seed(seed)  # noqa: NPY002 - the generator that random_state=None means
        draws.append(np.asarray(ImageAugmenter(**STRONG).fit_transform(X)))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize("seed", [3, None])
def test_two_augmenters_in_a_row_draw_apart(seed):
    both = make_pipeline(ImageAugmenter(noise=1.0, random_state=seed), ImageAugmenter(noise=1.0, random_state=seed))
    source = both.fit_transform(X)
    assert len(source.random_steps) == 2
    once = np.asarray(ImageSource(source.base, source.image_shape, source.recipe[:1])) - X
    twice = np.asarray(source) - X
    assert np.abs(np.corrcoef(once.ravel(), (twice - once).ravel())[0, 1]) < 0.1


# sample.


@pytest.mark.parametrize("images", [X, ROWS, COLOUR, COLOUR.transpose(0, 3, 1, 2)], ids=lambda a: a.shape)
def test_samples_are_variants_of_each_image(images):
    variants = ImageAugmenter(**STRONG).sample(images[:5], 4)
    assert variants.shape == (5, 4, *images.shape[1:])
    assert variants.dtype == images.dtype
    assert len(np.unique(variants.reshape(20, -1), axis=0)) == 20


def test_samples_belong_to_their_image():
    images = np.arange(10, 60, 10, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    flipped = ImageAugmenter(horizontal_flip=1.0).sample(images, 3)
    np.testing.assert_array_equal(flipped, np.repeat(images[:, None], 3, axis=1))
    gradient = X[:3]
    np.testing.assert_array_equal(
        ImageAugmenter(horizontal_flip=1.0).sample(gradient, 2), np.repeat(gradient[:, None, :, ::-1], 2, axis=1)
    )


def test_samples_are_repeated_by_a_seed_and_fit_nothing():
    augmenter = ImageAugmenter(**STRONG, random_state=0)
    before = dict(vars(augmenter))
    np.testing.assert_array_equal(augmenter.sample(X[:3], 2), augmenter.sample(X[:3], 2))
    assert not np.array_equal(augmenter.sample(X[:3], 2), augmenter.set_params(random_state=1).sample(X[:3], 2))
    assert vars(augmenter.set_params(random_state=0)) == before
    augmenter.fit(X)
    assert augmenter.sample(COLOUR[:2]).shape == (2, 1, 8, 6, 3)
    assert augmenter.image_shape_.channels == 1


def test_samples_without_any_change_are_the_images():
    np.testing.assert_array_equal(ImageAugmenter().sample(X, 2), np.repeat(X[:, None], 2, axis=1))


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3", None])
def test_a_number_of_samples_that_is_none_is_refused(n):
    with pytest.raises(ValueError, match="n is a positive integer"):
        ImageAugmenter().sample(X, n)


# In a pipeline with a classifier, and as its parameter.


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("images", [X, ROWS, COLOUR], ids=lambda a: a.shape)
def test_a_step_before_the_classifier_is_its_parameter(images, seed, early_stopping):
    labels = np.arange(len(images)) % 3
    augmenter = ImageAugmenter(**STRONG, policy="trivial", cutout=2, random_state=seed)
    pipe = make_pipeline(augmenter, small(early_stopping=early_stopping)).fit(images, labels)
    inside = small(early_stopping=early_stopping, augmenter=augmenter).fit(images, labels)
    assert same_weights(pipe[-1], inside)
    assert not same_weights(inside, small(early_stopping=early_stopping).fit(images, labels))
    np.testing.assert_array_equal(pipe.predict_proba(images), inside.predict_proba(images))


def test_the_seed_of_the_classifier_alone_repeats_a_fit():
    def fit(numpy_seed, seed):
        np.random.seed(numpy_seed)  # noqa: NPY002 - the generator that random_state=None means
        return make_pipeline(ImageAugmenter(**STRONG), small(random_state=seed)).fit(X, y)[-1]

    assert same_weights(fit(0, 0), fit(1, 0))
    assert not same_weights(fit(0, 0), fit(0, 1))


def test_an_int_seed_of_the_augmenter_fixes_its_draws_alone():
    images = np.ones((60, 4, 4), np.float32)

    def factors(seed, augmenter_seed):
        augmenter = ImageAugmenter(brightness=0.9, random_state=augmenter_seed)
        recording("flashes", batch_size=60, max_epochs=1, random_state=seed, augmenter=augmenter).fit(images, y)
        return np.sort(seen("flashes")[:, 0, 0, 0])

    expected = factors(0, 7)
    assert len(np.unique(expected)) > 50
    np.testing.assert_array_equal(factors(1, 7), expected)
    assert not np.array_equal(factors(0, 8), expected)
    assert not np.array_equal(factors(0, None), factors(1, None))


def test_each_epoch_sees_other_pixels_and_never_the_plain_ones():
    make_pipeline(ImageAugmenter(**STRONG), recording("epochs", max_epochs=3)).fit(X, y)
    epochs = [seen("epochs", epoch=n) for n in (1, 2, 3)]
    for epoch in epochs:
        assert epoch.shape == (60, 1, 8, 8)
        assert images_among(epoch, X) == 0
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert images_among(epochs[one], epochs[other]) == 0
    assert images_among(epochs[0], epochs[0][:1]) == 1


def test_two_fits_with_one_seed_see_the_same_pixels():
    for name in ("first", "second"):
        make_pipeline(ImageAugmenter(**STRONG), recording(name)).fit(X, y)
    np.testing.assert_array_equal(seen("first"), seen("second"))


@pytest.mark.parametrize("call", ["partial_fit", "warm_start"])
def test_training_on_draws_further_pixels(call):
    clf = recording(call, max_epochs=1, augmenter=ImageAugmenter(**STRONG), warm_start=call == "warm_start")
    rounds = []
    for _ in range(3):
        Recorder.kept[call].clear()
        clf.fit(X, y) if call == "warm_start" else clf.partial_fit(X, y, classes=range(3))
        rounds.append(seen(call))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert images_among(rounds[one], rounds[other]) == 0
    assert images_among(np.concatenate(rounds), X) == 0


def test_callbacks_that_look_at_batches_do_not_change_what_is_drawn():
    plain, watched = (make_pipeline(ImageAugmenter(**STRONG), clf) for clf in (small(), recording("loop")))
    assert same_weights(plain.fit(X, y)[-1], watched.fit(X, y)[-1])


@pytest.mark.parametrize("images", [X, ROWS, COLOUR], ids=lambda a: a.shape)
def test_prediction_sees_the_images_as_they_are(images):
    labels = np.arange(len(images)) % 3
    pipe = make_pipeline(ImageAugmenter(**STRONG, random_state=0), small()).fit(images, labels)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(pipe, method)(images), getattr(pipe[-1], method)(images))
        np.testing.assert_array_equal(getattr(pipe, method)(images), getattr(pipe, method)(images))
    assert pipe.score(images, labels) == pipe[-1].score(images, labels)
    inside = small(augmenter=ImageAugmenter(**STRONG)).fit(images, labels)
    np.testing.assert_array_equal(inside.predict_proba(images), inside.predict_proba(images))


def test_prediction_leaves_the_random_steps_of_a_source_out():
    clf = small().fit(X, y)
    source = ImageAugmenter(**STRONG).fit_transform(X)
    np.testing.assert_array_equal(clf.predict_proba(source), clf.predict_proba(X))
    np.testing.assert_array_equal(clf.predict_proba(source[::-1]), clf.predict_proba(X[::-1]))


def test_the_standardisation_is_that_of_the_plain_images():
    plain, augmented = small().fit(X, y), small(augmenter=ImageAugmenter(**STRONG)).fit(X, y)
    names = [name for name in plain.module_.state_dict() if "standardize" in name]
    assert names
    for name in names:
        np.testing.assert_array_equal(plain.module_.state_dict()[name], augmented.module_.state_dict()[name])


# Validation.


@pytest.mark.parametrize("inside", [False, True])
def test_the_held_out_part_is_never_augmented(inside):
    augmenter, name = ImageAugmenter(**STRONG), f"held out {inside}"
    if inside:
        recording(name, early_stopping=True, augmenter=augmenter, validation_fraction=0.3).fit(X, y)
    else:
        make_pipeline(augmenter, recording(name, early_stopping=True, validation_fraction=0.3)).fit(X, y)
    first, last = (seen(name, training=False, epoch=epoch) for epoch in (1, 2))
    np.testing.assert_array_equal(first, last)
    assert len(first) == 18
    assert images_among(first, X) == 18
    assert images_among(seen(name, training=True), X) == 0


@pytest.mark.parametrize("inside", [False, True])
def test_given_validation_images_are_never_augmented(inside):
    augmenter, name = ImageAugmenter(**STRONG), f"given {inside}"
    clf = recording(name, augmenter=augmenter if inside else None)
    given = X[40:] if inside else ImageAugmenter(**STRONG).fit_transform(X[40:])
    clf.fit(X[:40] if inside else augmenter.fit_transform(X[:40]), y[:40], X_val=given, y_val=y[40:])
    np.testing.assert_array_equal(seen(name, training=False, epoch=1)[:, 0], X[40:])
    np.testing.assert_array_equal(seen(name, training=False, epoch=2)[:, 0], X[40:])
    assert images_among(seen(name), X) == 0


def test_validation_images_of_a_pipeline_are_normalised_and_never_augmented():
    with sklearn.config_context(enable_metadata_routing=True):
        clf = recording("routed").set_fit_request(X_val=True, y_val=True)
        pipe = make_pipeline(ImageAugmenter(**STRONG), ImageNormalizer(), clf)
        pipe.set_params(transform_input=["X_val"])
        pipe.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    expected = ImageNormalizer().fit(X[:40]).transform(X[40:])
    for epoch in (1, 2):
        np.testing.assert_array_equal(seen("routed", training=False, epoch=epoch)[:, 0], expected)
    assert images_among(seen("routed"), ImageNormalizer().fit(X[:40]).transform(X[:40])) == 0


@pytest.mark.parametrize("test_size", [0.25, 0.5])
def test_parts_of_one_source_may_be_training_and_validation_images(test_size):
    source = ImageAugmenter(**STRONG).fit_transform(X)
    train, valid, y_train, y_valid = train_test_split(source, y, test_size=test_size, random_state=0)
    plain_valid = train_test_split(X, y, test_size=test_size, random_state=0)[1]
    recording("parts").fit(train, y_train, X_val=valid, y_val=y_valid)
    np.testing.assert_array_equal(seen("parts", training=False, epoch=1)[:, 0], plain_valid)


def test_the_training_images_scaled_otherwise_may_be_validation_images():
    clf = recording("rescaled")
    source = ImageNormalizer().fit(X).transform(ImageAugmenter(**STRONG).fit_transform(X))
    clf.fit(source, y, X_val=X, y_val=y)
    np.testing.assert_array_equal(seen("rescaled", training=False, epoch=1)[:, 0], X)


# Other steps.


@pytest.mark.parametrize("per", ["channel", "pixel", "image", "all"])
def test_a_normaliser_passes_the_source_on(per):
    pipe = make_pipeline(ImageAugmenter(**STRONG), ImageNormalizer(per=per), recording(per, standardize=False))
    pipe.fit(X, y)
    assert isinstance(pipe[:-1].fit_transform(X), ImageSource)
    plain = ImageNormalizer(per=per).fit_transform(X)
    assert images_among(seen(per), plain) == 0
    assert images_among(seen(per, epoch=1), seen(per, epoch=2)) == 0
    np.testing.assert_array_equal(pipe.predict_proba(X), pipe[-1].predict_proba(plain))


def static(seed=0):
    return np.asarray(ImageAugmenter(**STRONG, random_state=seed).fit_transform(X))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (FunctionTransformer(lambda images: images / 16), lambda: static() / 16),
        (FunctionTransformer(np.asarray), lambda: static()),
        (FunctionTransformer(np.sqrt), None),
    ],
    ids=["divide", "asarray", "sqrt"],
)
def test_another_step_gets_one_fixed_draw(step, expected):
    augmenter = ImageAugmenter(rotation=20, random_state=0) if expected is None else None
    pipe = make_pipeline(augmenter or ImageAugmenter(**STRONG, random_state=0), step, recording("fixed"))
    pipe.fit(X, y)
    first, second = seen("fixed", epoch=1), seen("fixed", epoch=2)
    assert images_among(first, second[:, 0]) == 60
    result = pipe[:-1].fit_transform(X)
    assert type(result) is np.ndarray
    drawn = np.sqrt(np.asarray(augmenter.fit_transform(X))) if expected is None else expected()
    np.testing.assert_array_equal(result, drawn)
    assert images_among(first, drawn) == 60


def test_a_scaler_of_columns_gets_one_fixed_draw_of_rows():
    pipe = make_pipeline(ImageAugmenter(**STRONG, random_state=0), StandardScaler())
    expected = StandardScaler().fit_transform(static().reshape(60, 64))
    np.testing.assert_allclose(pipe.fit_transform(ROWS), expected, rtol=1e-5, atol=1e-5)
    fitted = make_pipeline(ImageAugmenter(**STRONG), StandardScaler(), small()).fit(ROWS, y)
    np.testing.assert_array_equal(fitted.predict(ROWS), fitted[-1].predict(fitted[1].transform(ROWS)))


def test_a_pipeline_with_memory_stays_lazy_and_gives_the_same(tmp_path):
    def fit(name, memory):
        steps = [("augment", ImageAugmenter(**STRONG, random_state=1)), ("scale", ImageNormalizer())]
        return Pipeline([*steps, ("clf", recording(name))], memory=memory).fit(X, y)

    without, first, second = fit("without", None), fit("stored", str(tmp_path)), fit("loaded", str(tmp_path))
    assert any(tmp_path.rglob("output.pkl"))
    for name in ("stored", "loaded"):
        np.testing.assert_array_equal(seen(name), seen("without"))
        assert images_among(seen(name, epoch=1), seen(name, epoch=2)) == 0
    assert same_weights(without[-1], first[-1])
    assert same_weights(without[-1], second[-1])


# Frames.


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_a_frame_of_rows_has_one_fixed_draw(container):
    frames = pytest.importorskip(container)
    augmenter = ImageAugmenter(**STRONG, random_state=0).set_output(transform=container)
    frame = augmenter.fit_transform(ROWS)
    assert isinstance(frame, frames.DataFrame)
    assert list(frame.columns) == [f"x{i}" for i in range(64)]
    np.testing.assert_array_equal(frame.to_numpy(), static().reshape(60, 64))
    same = augmenter.transform(ROWS)
    assert isinstance(same, frames.DataFrame)
    np.testing.assert_array_equal(same.to_numpy(), ROWS)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("images", [X, COLOUR], ids=lambda a: a.shape)
def test_a_frame_of_images_that_are_no_rows_is_refused_in_words(images, container):
    pytest.importorskip(container)
    augmenter = ImageAugmenter(**STRONG).set_output(transform=container)
    with pytest.raises(ValueError, match=rf"set_output\(transform='{container}'\) makes frames of flattened images"):
        augmenter.fit_transform(images)


def test_names_of_columns_are_kept():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(ROWS, columns=[f"pixel{i}" for i in range(64)])
    augmenter = ImageAugmenter(**STRONG).fit(frame)
    assert augmenter.get_feature_names_out().tolist() == list(frame.columns)
    pipe = make_pipeline(ImageAugmenter(**STRONG), small()).fit(frame, y)
    np.testing.assert_array_equal(pipe.predict(frame), pipe.predict(frame))


def test_scikit_learns_own_checks_of_names_and_frames():
    check_set_output_transform("ImageAugmenter", ImageAugmenter())
    check_transformer_get_feature_names_out("ImageAugmenter", ImageAugmenter())


def test_a_fit_on_an_array_forgets_the_names_of_a_frame():
    pd = pytest.importorskip("pandas")
    rows = np.ones((4, 64))
    frame = pd.DataFrame(rows, columns=[f"pixel{i}" for i in range(64)])
    for fit in (ImageAugmenter.fit, ImageAugmenter.fit_transform):
        augmenter = ImageAugmenter(rotation=10).fit(frame)
        fit(augmenter, rows)
        assert vars(augmenter) == vars(ImageAugmenter(rotation=10).fit(rows))


@pytest.mark.parametrize("changed", [{"crop": 20}, {"fill_value": 1e300}, {"zoom": (2, 1)}], ids=str)
@pytest.mark.parametrize("call", ["fit", "fit_transform"])
def test_a_fit_that_fails_changes_nothing(call, changed):
    augmenter = ImageAugmenter().fit(np.ones((4, 30, 30))).set_params(**changed)
    before = vars(augmenter).copy()
    with pytest.raises(ValueError, match=next(iter(changed))):
        getattr(augmenter, call)(np.ones((4, 8, 9, 3), np.float32))
    assert vars(augmenter) == before


# Model selection.


def test_a_search_over_all_steps_in_two_processes():
    pipe = make_pipeline(ImageAugmenter(shift=0.1), ImageNormalizer(), small(max_epochs=1))
    grid = {
        "imageaugmenter__rotation": [0, 15],
        "imagenormalizer__per": ["channel", "image"],
        "cnnclassifier__kernel_size": [1, 3],
    }
    found = [
        GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y).cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    assert len(found[0]) == 8
    np.testing.assert_array_equal(*found)


def test_the_parameters_of_a_nested_augmenter_are_searched():
    pipe = make_pipeline(ImageNormalizer(), small(augmenter=ImageAugmenter(), max_epochs=1))
    search = GridSearchCV(pipe, {"cnnclassifier__augmenter__rotation": [0, 40]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["cnnclassifier__augmenter__rotation"] in (0, 40)
    pipe.set_params(cnnclassifier__augmenter__rotation=7)
    assert pipe[-1].augmenter.rotation == 7


def test_a_clone_has_the_parameters_and_an_augmenter_of_its_own():
    augmenter = ImageAugmenter(**STRONG, zoom=(0.5, 1.5), crop=2, random_state=3)
    assert clone(augmenter).get_params() == augmenter.get_params()
    twin = clone(small(augmenter=augmenter))
    assert twin.augmenter is not augmenter
    assert twin.augmenter.get_params() == augmenter.get_params()


def test_a_fit_leaves_the_augmenter_of_the_classifier_as_it_was():
    augmenter = ImageAugmenter(**STRONG)
    before = dict(vars(augmenter))
    clf = small(augmenter=augmenter).fit(X, y)
    assert vars(augmenter) == before
    assert clf.augmenter is augmenter


def test_a_source_is_cross_validated():
    source = ImageAugmenter(**STRONG, random_state=0).fit_transform(X)
    lazy = cross_val_score(small(), source, y, cv=3, error_score="raise")
    pipe = make_pipeline(ImageAugmenter(**STRONG, random_state=0), small())
    np.testing.assert_array_equal(lazy, cross_val_score(pipe, X, y, cv=3, error_score="raise"))


def test_a_classifier_augments_after_the_recipe_that_comes_with_x():
    source = ImageAugmenter(horizontal_flip=1.0).fit_transform(X)
    recording("after", augmenter=ImageAugmenter(vertical_flip=1.0)).fit(source, y)
    assert images_among(seen("after"), X[:, ::-1, ::-1]) == 120


def test_the_random_steps_of_a_fit_draw_apart():
    images = np.full((60, 8, 8), 5, np.float32)
    source = ImageAugmenter(noise=1.0).fit_transform(images)
    recording("apart", augmenter=ImageAugmenter(noise=1.0)).fit(source, y)
    assert seen("apart").std() == pytest.approx(np.sqrt(2), rel=0.05)  # 2 where both add the same


# Errors.

BAD = [
    *[("rotation", value) for value in (-1, 181, np.nan, np.inf, "30", None, (10, 20))],
    *[("shift", value) for value in (-0.1, 1.1, np.nan, "0.1", None, (0.1,), (0.1, 0.2, 0.3), (0.1, 2), (-0.1, 0.1))],
    *[("shift", value) for value in ((np.nan, 0), ("a", "b"), np.ones(3), [])],
    *[("zoom", value) for value in (-0.1, 1, 1.5, np.nan, "1", None, (1.0,), (0.5, 1, 2), (0, 1), (-1, 1), (1.2, 0.8))],
    *[("zoom", value) for value in ((np.nan, 1), (1, np.inf), (None, 1))],
    *[("shear", value) for value in (-1, 90, np.nan, "5", None)],
    *[("crop", value) for value in (-1, 1.5, "2", None, 8, 100, (1, 2))],
    *[
        (name, value)
        for name in ("horizontal_flip", "vertical_flip", "brightness", "contrast", "saturation", "erasing")
        for value in (-0.1, 1.1, np.nan, np.inf, "0.5", None)
    ],
    *[("noise", value) for value in (-1, np.nan, np.inf, "1", None)],
    *[("policy", value) for value in ("randaugment", True, 1, "trivial ")],
    *[("cutout", value) for value in (-1, 1.5, "2", None, 8, 100, (1, 2))],
    *[("func", value) for value in ("flip", 1, ("flip",))],
    *[("fill_mode", value) for value in ("wrap", "border", None, 0)],
    *[("fill_value", value) for value in (np.nan, np.inf, -np.inf, "0", None, (0, 0, 0))],
    *[("interpolation", value) for value in ("cubic", None, 1)],
    *[("image_shape", value) for value in (64, (8,), (8, 8, 8, 8), (8, 9), (0, 64))],
    *[("channels", value) for value in ("middle", None)],
    *[("random_state", value) for value in ("0", -1, 1.5)],
]


@for_every("call", ["fit", "fit_transform", "sample"])
@for_every(("name", "value"), BAD)
def test_a_parameter_that_cannot_be_is_named(name, value, call):
    with pytest.raises(ValueError, match=name):
        getattr(ImageAugmenter(**{"rotation": 5, name: value}), call)(ROWS)


# The classifier has read the images by its own image_shape.
@for_every(("name", "value"), [bad for bad in BAD if bad[0] != "image_shape"])
def test_a_parameter_of_the_classifiers_augmenter_that_cannot_be_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        small(augmenter=ImageAugmenter(**{"rotation": 5, name: value})).fit(ROWS, y)


@pytest.mark.parametrize("images", [X, ROWS, X[..., None], X[:, None]], ids=lambda a: a.shape)
def test_saturation_of_grey_images_is_refused(images):
    with pytest.raises(ValueError, match=r"saturation=0.5 needs colour images.*Use saturation=0"):
        ImageAugmenter(saturation=0.5).fit(images)


def test_saturation_takes_three_or_four_channels_and_no_other_number():
    images = np.ones((3, 8, 8, 2), np.float32)
    with pytest.raises(ValueError, match="saturation"):
        ImageAugmenter(saturation=0.5, channels="last").fit(images)
    ImageAugmenter(saturation=0.5).fit(COLOUR)
    ImageAugmenter(saturation=0.5).fit(np.ones((3, 8, 8, 4)))


@pytest.mark.parametrize(("crop", "fits"), [(5, True), (6, False), (8, False)])
def test_a_crop_that_may_move_the_image_out_of_sight_is_refused(crop, fits):
    augmenter = ImageAugmenter(crop=crop)
    if fits:
        augmenter.fit(COLOUR)
    else:
        with pytest.raises(
            ValueError, match=rf"crop={crop} may move all of an image of 8×6×3.*use at most 5, or shift"
        ):
            augmenter.fit(COLOUR)


@pytest.mark.parametrize(("cutout", "fits"), [(7, True), (8, False), (20, False)])
def test_a_cutout_that_may_cover_the_image_is_refused(cutout, fits):
    augmenter = ImageAugmenter(cutout=cutout)
    if fits:
        augmenter.fit(COLOUR)
    else:
        with pytest.raises(ValueError, match=rf"cutout={cutout} may cover all of an image of 8×6×3.*use at most 7"):
            augmenter.fit(COLOUR)


@pytest.mark.parametrize(
    "images",
    [X, ROWS, COLOUR, COLOUR[:, :1], COLOUR.astype(np.uint16) * 256, np.tile(COLOUR, (1, 1, 1, 2))[..., :5]],
    ids=lambda a: f"{a.shape} {a.dtype}",
)
def test_a_policy_changes_images_of_any_kind(images):
    parameters = {"policy": "trivial", "channels": "last" if images.ndim == 4 else "auto"}
    source = ImageAugmenter(**parameters, random_state=0).fit_transform(images)
    drawn = np.asarray(source)
    assert drawn.shape == images.shape
    assert drawn.dtype == (np.float32 if images.dtype == np.uint16 else images.dtype)
    assert 0.5 * len(images) < (drawn != images).reshape(len(images), -1).any(axis=1).sum()


@pytest.mark.parametrize("value", [-1, 255.5, 1000])
def test_a_fill_value_that_is_no_byte_is_refused_for_bytes_alone(value):
    with pytest.raises(ValueError, match=r"fill_value=.*uint8, from 0 to 255"):
        ImageAugmenter(rotation=5, fill_value=value).fit(COLOUR)
    ImageAugmenter(rotation=5, fill_value=value).fit(COLOUR.astype(np.float32))


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_a_fill_value_that_overflows_float32_is_refused(value):
    with pytest.raises(ValueError, match="fill_value"):
        ImageAugmenter(rotation=5, fill_value=value).fit(X)


def test_the_edges_of_the_ranges_are_taken():
    augmenter = ImageAugmenter(
        rotation=180,
        shift=1,
        zoom=0.99,
        shear=89,
        crop=5,
        horizontal_flip=1,
        vertical_flip=1,
        brightness=1,
        contrast=1,
        saturation=1,
        erasing=1,
        noise=1e6,
        policy="trivial",
        cutout=7,
        fill_value=255,
    )
    assert np.asarray(augmenter.fit_transform(COLOUR)).shape == COLOUR.shape


def test_a_bad_augmenter_is_refused_before_training_and_leaves_the_classifier():
    clf = small(augmenter=ImageAugmenter(saturation=0.5))
    before = dict(vars(clf))
    with pytest.raises(ValueError, match="saturation"):
        clf.fit(X, y)
    assert vars(clf) == before


@pytest.mark.parametrize("augmenter", ["rotation", FunctionTransformer(), ImageAugmenter, 5], ids=str)
def test_an_augmenter_of_another_kind_is_refused(augmenter):
    with pytest.raises(ValueError, match="augmenter"):
        small(augmenter=augmenter).fit(X, y)


@pytest.mark.parametrize("fill_value", [-9999.0, -3.4e38, 1e6])
def test_a_large_fill_value_leaves_the_pixels_inside_their_precision(fill_value):
    images = (np.random.default_rng(0).random((20, 16, 16)) * 0.01).astype(np.float32)
    drawn, plain = (
        ImageAugmenter(rotation=10, fill_value=value, random_state=0).sample(images)[:, 0] for value in (fill_value, 0)
    )
    np.testing.assert_allclose(drawn[:, 5:-5, 5:-5], plain[:, 5:-5, 5:-5], rtol=1e-6)
    assert np.isclose(drawn[:, 0, 0], fill_value).any()


@pytest.mark.parametrize("said", [{"image_shape": (4, 16)}, {"image_shape": (2, 32)}])
def test_an_augmenter_that_reads_x_otherwise_than_its_classifier_is_refused_in_both_forms(said):
    rows = np.random.default_rng(0).integers(0, 255, (40, 64), dtype=np.uint8)
    augmenter = ImageAugmenter(rotation=5, **said)
    with pytest.raises(ValueError, match="leave image_shape and channels of the augmenter out"):
        CNNClassifier((4,), max_epochs=1, augmenter=augmenter).fit(rows, np.arange(40) % 2)
    with pytest.raises(ValueError, match="give both the same image_shape"):
        make_pipeline(augmenter, CNNClassifier((4,), max_epochs=1)).fit(rows, np.arange(40) % 2)


def test_a_classifier_with_a_seed_and_an_augmenter_leaves_the_generator_of_numpy_alone():
    images = np.random.default_rng(0).random((20, 6, 6))
    before = np.random.get_state()  # noqa: NPY002 - scikit-learn's random_state=None draws from this one
    clf = CNNClassifier((4,), max_epochs=1, random_state=0, augmenter=ImageAugmenter(rotation=5))
    clf.fit(images, np.arange(20) % 2)
    after = np.random.get_state()  # noqa: NPY002 - the generator that random_state=None means
    np.testing.assert_array_equal(after[1], before[1])
    assert after[2] == before[2]


@pytest.mark.parametrize("channels", ["first", "last"])
def test_a_classifier_takes_over_where_the_channels_are_if_the_shape_does_not_tell(channels):
    images = np.random.default_rng(0).random((20, 12, 12, 12))
    source = ImageAugmenter(rotation=5, channels=channels).fit_transform(images)
    clf = CNNClassifier((4,), max_epochs=1).fit(source, np.arange(20) % 2)
    assert clf.image_shape_ == source.image_shape
    assert clf.predict(images).shape == (20,)


def test_fits_in_threads_draw_what_they_draw_one_after_the_other():
    images, labels = np.random.default_rng(0).random((40, 8, 8)), np.arange(40) % 2
    source = ImageAugmenter(rotation=20, noise=0.1, random_state=0).fit_transform(images)

    def fit(seed):
        clf = CNNClassifier((4,), hidden_layer_sizes=(), max_epochs=2, random_state=seed)
        return clf.fit(source, labels).decision_function(images)

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(fit, range(12)))
    for seed, found in enumerate(together):
        np.testing.assert_array_equal(found, fit(seed))
