"""ImageAugmenter(func=...): a change that the user wrote."""

import functools
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageAugmenter, load_model, save_model
from sklearn_cnn.inspection import AugmentationDisplay
from tests.cases import for_every

N = 30
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(1, 256, (N, 6, 7, 3), dtype=np.uint8)
GREY = RNG.random((N, 6, 7)).astype(np.float32)
ROWS = GREY.reshape(N, 42)
Y = np.arange(N) % 2


def small(**parameters):
    settings = {"filters": (3,), "hidden_layer_sizes": (), "max_epochs": 2, "batch_size": 8, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


def mirrored(image):
    return image[:, ::-1]


def darker(image):
    image //= 2  # in place
    return image


def jitter(image):
    """Draws from all three global generators."""
    scale = random.uniform(0.5, 1) * np.random.uniform(0.5, 1) * torch.rand(()).item()  # noqa: NPY002
    return (image * scale).astype(image.dtype)


def shift_of(image, by=0):
    return np.roll(image, by, axis=1)


def weights(estimator):
    return [value.numpy() for value in estimator.module_.state_dict().values()]


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


# What it is given, and what becomes of its result.


@for_every(
    ("images", "shape", "dtype"),
    [
        (COLOUR, (6, 7, 3), "uint8"),
        (COLOUR.transpose(0, 3, 1, 2), (6, 7, 3), "uint8"),
        (GREY, (6, 7, 1), "float32"),
        (GREY.astype(np.float64), (6, 7, 1), "float64"),
        (COLOUR[..., :1], (6, 7, 1), "uint8"),
        ((GREY * 60_000).astype(np.uint16), (6, 7, 1), "float32"),
        (GREY[:, :1], (1, 7, 1), "float32"),
    ],
)
def test_it_gets_one_image_at_a_time_with_the_channels_last(images, shape, dtype):
    seen = []

    def look(image):
        seen.append((image.shape, image.dtype.name, image.flags.c_contiguous and image.flags.writeable))
        return image

    drawn = np.asarray(ImageAugmenter(func=look).fit_transform(images))
    assert set(seen) == {(shape, dtype, True)} and len(seen) == N
    np.testing.assert_array_equal(drawn, images)


def test_two_channels_and_rows_of_pixels():
    pairs = COLOUR[..., :2]
    drawn = np.asarray(ImageAugmenter(func=mirrored, channels="last").fit_transform(pairs))
    np.testing.assert_array_equal(drawn, pairs[:, :, ::-1])
    drawn = np.asarray(ImageAugmenter(func=mirrored, image_shape=(6, 7)).fit_transform(ROWS))
    np.testing.assert_array_equal(drawn.reshape(GREY.shape), GREY[:, :, ::-1])


def test_it_may_write_to_its_image_and_x_stays():
    before = COLOUR.copy()
    np.testing.assert_array_equal(np.asarray(ImageAugmenter(func=darker).fit_transform(COLOUR)), before // 2)
    np.testing.assert_array_equal(COLOUR, before)


def test_it_comes_after_all_other_changes():
    augmenter = ImageAugmenter(horizontal_flip=1.0, cutout=3, fill_value=0, func=lambda image: 255 - image)
    drawn = np.asarray(augmenter.fit_transform(COLOUR))
    hole = drawn == 255
    assert hole.any()
    np.testing.assert_array_equal(drawn[~hole], 255 - COLOUR[:, :, ::-1][~hole])


def test_it_is_absent_at_prediction_and_from_transform():
    calls = []
    augmenter = ImageAugmenter(func=lambda image: calls.append(1) or image // 2)
    pipe = make_pipeline(augmenter, small(max_epochs=3, early_stopping=False)).fit(COLOUR, Y)
    assert len(calls) == 3 * N
    pipe.predict(COLOUR)
    assert augmenter.transform(COLOUR) is COLOUR
    assert len(calls) == 3 * N


@for_every("changes", [{}, {"rotation": 10, "horizontal_flip": 0.5, "cutout": 2}])
@for_every("seed", [None, 5])
def test_a_step_before_the_classifier_is_its_parameter(seed, changes):
    augmenter = ImageAugmenter(func=jitter, random_state=seed, **changes)
    pipe = make_pipeline(augmenter, small()).fit(COLOUR, Y)
    inside = small(augmenter=augmenter).fit(COLOUR, Y)
    assert same_weights(pipe[-1], inside)
    assert same_weights(inside, small(augmenter=augmenter).fit(COLOUR, Y))
    assert not same_weights(inside, small(augmenter=ImageAugmenter(**changes, random_state=seed)).fit(COLOUR, Y))


def test_a_part_of_a_source_agrees_with_the_whole_and_no_other_image_is_touched():
    seen = []

    def look(image):
        seen.append(image.tobytes())
        return jitter(image)

    source = ImageAugmenter(func=look, random_state=0).fit_transform(COLOUR)
    whole = np.asarray(source)
    seen.clear()
    np.testing.assert_array_equal(np.asarray(source[[20, 3]]), whole[[20, 3]])
    assert sorted(seen) == sorted(COLOUR[row].tobytes() for row in (3, 20))
    np.testing.assert_array_equal(source[7], whole[7])


def test_samples_and_pictures():
    augmenter = ImageAugmenter(func=jitter, random_state=0)
    variants = augmenter.sample(COLOUR[:3], 4)
    assert variants.shape == (3, 4, 6, 7, 3)
    assert len(np.unique(variants.reshape(12, -1), axis=0)) == 12
    pytest.importorskip("matplotlib")
    display = AugmentationDisplay.from_estimator(augmenter, COLOUR, n_draws=4)
    np.testing.assert_array_equal(display.draws[:3], variants)


# Seeds and global generators.


def states():
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002


def failing(image):
    jitter(image)
    raise RuntimeError("no such image")


@pytest.mark.reliability(30)
@for_every("func", [jitter, failing])
def test_global_generators_are_given_back(func):
    clf = small(augmenter=ImageAugmenter(func=func))
    before = states()
    if func is failing:
        with pytest.raises(ValueError, match="no such image"):
            clf.fit(COLOUR, Y)
    else:
        clf.fit(COLOUR, Y)
    assert states() == before


@pytest.mark.reliability(27)
def test_the_seed_of_the_fit_fixes_what_it_draws_whatever_the_global_generators():
    def fit(state, seed=0):
        random.seed(state)
        np.random.seed(state)  # noqa: NPY002
        torch.manual_seed(state)
        return small(augmenter=ImageAugmenter(func=jitter), random_state=seed).fit(COLOUR, Y)

    assert same_weights(fit(1), fit(2))
    assert not same_weights(fit(1), fit(1, seed=1))


def test_every_epoch_and_image_draws_anew_and_not_by_the_size_of_the_batch():
    def drawn(batch_size):
        found = []

        def note(image):
            found.append(np.random.random())  # noqa: NPY002
            np.random.random(len(found) % 5)  # noqa: NPY002 - however many numbers an image takes
            return image

        small(augmenter=ImageAugmenter(func=note), batch_size=batch_size, max_epochs=2).fit(COLOUR, Y)
        return found

    numbers = drawn(8)
    assert len(set(numbers)) == 2 * N
    assert drawn(5) == numbers == drawn(N)


@pytest.mark.reliability(29)
def test_fits_in_threads_draw_what_they_draw_one_after_the_other():
    def fit(seed):
        return weights(small(augmenter=ImageAugmenter(func=jitter), random_state=seed).fit(COLOUR, Y))

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(fit, range(6)))
    for seed, found in enumerate(together):
        assert all(np.array_equal(a, b) for a, b in zip(found, fit(seed), strict=True))


# Errors.


def at_image(row, result):
    """A function that returns a result for one image of COLOUR, told by its pixels, and otherwise the image."""

    def changed(image):
        return result(image) if np.array_equal(image, COLOUR[row]) else image

    return changed


BAD = {
    "size": (lambda image: image[:-1], r"returned an array of shape \(5, 7, 3\) and dtype uint8"),
    "axis": (lambda image: image[..., 0], r"returned an array of shape \(6, 7\)"),
    "dtype": (lambda image: image / 255, r"shape \(6, 7, 3\) and dtype float64"),
    "nothing": (lambda image: None, "returned None"),
    "list": (lambda image: image.tolist(), "returned a list"),
    "tensor": (torch.from_numpy, "returned a Tensor"),
    "error": (lambda image: {}["box"], r"failed on image 11 of X, an array of shape .* with KeyError: 'box'"),
}


@pytest.mark.reliability(38)
@for_every("how", ["step", "parameter", "array"])
@for_every("bad", BAD)
def test_a_result_that_cannot_be_used_names_the_image(bad, how):
    result, message = BAD[bad]
    augmenter = ImageAugmenter(func=at_image(11, result))
    clf = small(augmenter=augmenter if how == "parameter" else None)
    estimator = make_pipeline(augmenter, clf) if how == "step" else clf
    with pytest.raises(ValueError, match=rf"^func=at_image.*changed .*{message}") as caught:
        np.asarray(augmenter.fit_transform(COLOUR)) if how == "array" else estimator.fit(COLOUR, Y)
    assert "image 11 of X" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError) == (bad == "error")
    assert not hasattr(clf, "module_")


def test_a_number_that_is_not_finite_names_the_image():
    with pytest.raises(ValueError, match=r"returned NaN or infinity for image \d+ of X"):
        small(augmenter=ImageAugmenter(func=lambda image: image * np.inf)).fit(GREY + 1, Y)


@pytest.mark.reliability(38)
def test_the_image_is_named_by_its_row_in_x_after_a_validation_part_was_held_out_and_in_samples():
    augmenter = ImageAugmenter(func=at_image(11, lambda image: None))
    rest = {"early_stopping": True, "validation_fraction": 0.5, "max_epochs": 1}

    def message(seed):
        try:
            small(augmenter=augmenter, random_state=seed, **rest).fit(COLOUR, Y)
        except ValueError as error:
            return str(error).partition(" of X")[0][-8:]
        return ""

    assert {message(seed) for seed in range(8)} == {"", "image 11"}  # in some fits it is a validation image
    with pytest.raises(ValueError, match="image 11 of X"):
        augmenter.sample(COLOUR, 4)
    with pytest.raises(ValueError, match="image 11 of X"):
        np.asarray(augmenter.fit_transform(COLOUR)[[3, 11]])


@pytest.mark.reliability(38)
def test_an_error_leaves_an_earlier_fit_as_it_was():
    clf = small().fit(COLOUR, Y)
    before = [value.copy() for value in weights(clf)]
    clf.set_params(augmenter=ImageAugmenter(func=failing))
    with pytest.raises(ValueError, match="failing"):
        clf.fit(COLOUR, Y)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(clf), strict=True))


@pytest.mark.parametrize("func", ["mirror", 5, [mirrored]])
def test_what_cannot_be_called_is_refused_before_training(func):
    with pytest.raises(ValueError, match="func"):
        ImageAugmenter(func=func).fit(COLOUR)
    with pytest.raises(ValueError, match="func"):
        small(augmenter=ImageAugmenter(func=func)).fit(COLOUR, Y)


# Copies, files and checkpoints.


class Unhashable:
    """A callable object, as those of packages for augmentation are."""

    __hash__ = None

    def __init__(self, by):
        self.by = by

    def __eq__(self, other):
        return self.by == other.by

    def __call__(self, image):
        return np.roll(image, self.by, axis=1)


def test_clones_parameters_and_pickles():
    augmenter = ImageAugmenter(func=jitter, policy="trivial", cutout=2)
    assert clone(augmenter).get_params() == augmenter.get_params()
    fitted = small(augmenter=augmenter).fit(COLOUR, Y)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.augmenter.func is jitter
    np.testing.assert_array_equal(again.predict_proba(COLOUR), fitted.predict_proba(COLOUR))
    source = augmenter.set_params(random_state=0).fit_transform(COLOUR)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(source))), np.asarray(source))
    assert joblib.hash(source) == joblib.hash(pickle.loads(pickle.dumps(source)))


def test_an_object_that_can_be_called_is_a_function_too():
    source = ImageAugmenter(func=Unhashable(2)).fit_transform(COLOUR)
    np.testing.assert_array_equal(np.asarray(source), np.roll(COLOUR, 2, axis=2))
    hash(source.recipe)
    twin = clone(ImageAugmenter(func=Unhashable(2)))
    assert twin.func.by == 2


def test_a_saved_model_holds_policy_and_cutout_but_no_function(tmp_path):
    path = tmp_path / "model.safetensors"
    clf = small(augmenter=ImageAugmenter(policy="trivial", cutout=3, func=mirrored)).fit(COLOUR, Y)
    for estimator, name in ((clf, "CNNClassifier.augmenter.func"), (clf.augmenter.fit(COLOUR), "ImageAugmenter.func")):
        with pytest.raises(
            TypeError, match=f"{name} is of type function, which a saved model cannot hold; set another"
        ):
            save_model(estimator, path)
        assert not path.exists()
    clf.augmenter.set_params(func=None)
    save_model(clf, path)
    loaded = load_model(path)
    assert loaded.augmenter.get_params() == clf.augmenter.get_params()
    np.testing.assert_array_equal(loaded.predict_proba(COLOUR), clf.predict_proba(COLOUR))


@pytest.mark.reliability(32)
@pytest.mark.parametrize("how", ["step", "parameter"])
def test_a_checkpoint_tells_functions_apart_by_name_and_source(tmp_path, how):
    path = tmp_path / "fit.checkpoint"

    def fit(func, epochs=2):
        augmenter = ImageAugmenter(func=func)
        clf = small(max_epochs=epochs, checkpoint=path, augmenter=augmenter if how == "parameter" else None)
        return (clf if how == "parameter" else make_pipeline(augmenter, clf)).fit(COLOUR, Y)

    first = fit(functools.partial(shift_of, by=1))
    again = fit(functools.partial(shift_of, by=1))
    np.testing.assert_array_equal(first.predict_proba(COLOUR), again.predict_proba(COLOUR))
    for other in (functools.partial(shift_of, by=2), mirrored, None):
        with pytest.raises(ValueError, match="holds another run"):
            fit(other)
    for unknown in (lambda image: image, Unhashable(1)):
        with pytest.raises(TypeError, match=r"checkpoint tells fits apart by their parameters.*func"):
            fit(unknown)


def test_transform_is_not_there_before_fit():
    with pytest.raises(NotFittedError):
        ImageAugmenter(func=mirrored).transform(COLOUR)
