"""What must hold when things go wrong, each behaviour on whole fits. The numbers are those of the reliability table."""

import functools
import hashlib
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning
from skorch.callbacks import Callback

from sklearn_cnn import CNNClassifier
from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.exceptions import NonFiniteLossError

DIGITS = load_digits()
X, y = DIGITS.images[:80].astype(np.float32), DIGITS.target[:80]
COLOUR = np.random.default_rng(0).integers(0, 256, (40, 8, 6, 3), dtype=np.uint8)
COLOUR_Y = np.arange(40) % 3


def small(**parameters):
    settings = {"filters": (4, 6), "hidden_layer_sizes": (8,), "max_epochs": 2, "batch_size": 16, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


@functools.cache
def fitted(ndim=3, **parameters):
    """A network that tests share: they predict with it and change nothing."""
    return small(**parameters).fit(X.reshape({2: (80, 64), 3: (80, 8, 8), 4: (80, 8, 8, 1)}[ndim]), y)


def digest(estimator):
    values = estimator.module_.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


def refuses(X, y, match, error=(ValueError, TypeError), **parameters):
    """The fit raises, nothing was trained and nothing is left behind."""
    clf = small(**parameters)
    before = dict(vars(clf))
    with pytest.raises(error, match=match):
        clf.fit(X, y)
    assert vars(clf) == before


@pytest.mark.reliability(3)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 17, -1])
@pytest.mark.parametrize("ndim", [2, 3, 4])
def test_nan_or_infinity_in_x(bad, position, ndim):
    broken = X.reshape({2: (80, 64), 3: (80, 8, 8), 4: (80, 8, 8, 1)}[ndim]).copy()
    broken.reshape(-1)[position] = bad
    match = "NaN" if np.isnan(bad) else "infinity"
    refuses(broken, y, match)
    with pytest.raises(ValueError, match=match):
        fitted(ndim).predict(broken)


@pytest.mark.reliability(4)
@pytest.mark.parametrize(
    ("target", "match"),
    [
        (np.where(y == 3, np.nan, y), "NaN"),
        (y + 0.5, "continuous"),
        (np.where(y == 3, np.inf, y), "infinity"),
        (np.where(y == 3, None, y.astype(str)), "None"),
        (np.array(["a", 1] * 40, dtype=object), "different types|uniformly"),
        (None, "y is None"),
        (np.stack([y, y], axis=1), "multiclass-multioutput"),
        (pd.Series(np.where(y == 3, np.nan, y)), "NaN"),
        (y.astype(complex), "(?i)complex"),
        (pd.Series(y.astype(str), dtype="string").where(y != 3), "NaN or NA"),
    ],
    ids=["nan", "continuous", "inf", "None", "mixed", "no y", "two columns", "Series", "complex", "NA"],
)
def test_targets_that_cannot_be_classes(target, match):
    refuses(X, target, match)


@pytest.mark.reliability(5)
@pytest.mark.parametrize(
    ("images", "match"),
    [
        (X + 1j, "Complex"),
        (scipy.sparse.csr_matrix(X.reshape(80, 64)), "Sparse"),
        (scipy.sparse.dok_array(X.reshape(80, 64)), "Sparse"),
        (X.astype(str), "numeric|convert string"),
        (X.astype("S8"), "numeric|convert"),
        ({"images": X}, "dict"),
        (X.astype("datetime64[s]"), "dates or times"),
        (Image.fromarray(np.zeros((80, 8), np.uint8)), "one PIL image"),
        ("images.png", "str"),
        (["a.png"] * 80, "paths or other text.*ImageReader"),
        (5, "Singleton|array"),
        (None, "None|array"),
    ],
    ids=["complex", "csr", "dok", "text", "bytes", "dict", "dates", "one PIL image", "str", "paths", "int", "None"],
)
def test_x_of_another_kind(images, match):
    refuses(images, y, match)


@pytest.mark.reliability(6)
@pytest.mark.parametrize("odd", [1, 5, 79])
@pytest.mark.parametrize("shape", [(8, 9), (9, 8), (8, 8, 1), (64,)])
def test_images_of_unequal_size(odd, shape):
    images = list(X)
    images[odd] = np.zeros(shape)
    refuses(images, y, rf"X\[{odd}\] has shape \({shape[0]},")


@pytest.mark.reliability(7)
@pytest.mark.parametrize("shape", [(0, 64), (80, 0), (0, 8, 8), (80, 0, 8), (80, 8, 0), (80, 0, 8, 1), (80, 8, 8, 0)])
def test_an_empty_axis(shape):
    refuses(np.zeros(shape), np.zeros(shape[0]), "0 sample|0 feature|0 pixels along axis")


@pytest.mark.reliability(8)
@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("kind", [np.asarray, list])
def test_x_and_y_of_different_length(change, kind, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("images were stacked before the lengths were compared")

    monkeypatch.setattr(np, "stack", fail)
    other = y[:-1] if change < 0 else np.append(y, 0)
    refuses(kind(X), other, "inconsistent numbers of samples")


SIZES = [(7, 8), (8, 7), (9, 9), (8, 8, 1), (1, 8, 8), (8, 8, 3), (16,), (64,), (4, 16), (2, 32)]


@pytest.mark.reliability(9)
@pytest.mark.parametrize("other", SIZES)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_another_image_size_at_predict(other, method):
    with pytest.raises(ValueError, match=r"fitted on X of shape \(n, 8, 8\)") as info:
        getattr(fitted(), method)(np.zeros((3, *other)))
    assert str((3, *other)) in str(info.value)


@pytest.mark.reliability(9)
def test_one_image_alone_is_told_how_to_come():
    with pytest.raises(ValueError, match=r"X\[None\]"):
        small().fit(COLOUR, COLOUR_Y).predict(COLOUR[0])


@pytest.mark.reliability(10)
@pytest.mark.parametrize("n_channels", [2, 5, 12])
def test_channels_that_are_not_recognised(n_channels):
    images = np.random.default_rng(0).normal(size=(20, 8, 9, n_channels))
    labels = np.arange(20) % 2
    refuses(images, labels, 'channels="last"')
    clf = small(channels="last").fit(images, labels)
    assert clf.image_shape_.channels == n_channels
    clf = small(channels="first").fit(images.transpose(0, 3, 1, 2), labels)
    assert (clf.image_shape_.channels, clf.image_shape_.height, clf.image_shape_.width) == (n_channels, 8, 9)


@pytest.mark.reliability(10)
@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_both_layouts_give_the_same_labels(n_channels):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 6, n_channels), dtype=np.uint8)
    last = small().fit(images, COLOUR_Y)
    first = small().fit(images.transpose(0, 3, 1, 2), COLOUR_Y)
    assert digest(last) == digest(first)
    with pytest.raises(ValueError, match=r"channels='first', but at fit .* np\.moveaxis\(X, 1, -1\)"):
        last.predict(images.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"channels='last', but at fit .* np\.moveaxis\(X, -1, 1\)"):
        first.predict(images)


@pytest.mark.reliability(11)
def test_rows_that_do_not_fit_the_image_shape():
    labels = np.arange(10) % 2
    for width in range(1, 65):
        rows = np.random.default_rng(0).normal(size=(10, width))
        if width == 12:
            assert small(image_shape=(3, 4), max_epochs=1).fit(rows, labels).image_shape_.stored == (3, 4)
        else:
            refuses(rows, labels, r"image_shape=\(3, 4\) takes rows of 3×4 = 12 values", image_shape=(3, 4))


@pytest.mark.reliability(12)
@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 13, 32])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_images_too_small_for_the_convolutions(side, depth, kernel):
    images, labels = np.random.default_rng(0).normal(size=(12, side, side)), np.arange(12) % 2
    settings = {"filters": (3,) * depth, "kernel_size": kernel, "padding": "valid", "max_epochs": 1}
    settings |= {"convs_per_block": 1, "standardize": False}  # without whitened windows either
    size = side
    for block in range(1, depth + 1):
        if size < kernel:
            match = rf"conv block {block}: kernel_size={kernel} exceeds its {size}×{size} input"
            refuses(images, labels, match, **settings)
            return
        size = max(1, (size - kernel + 1) // 2)
    assert small(**settings).fit(images, labels).predict(images).shape == (12,)


BYTES = (X * 15).astype(np.uint8)
FORMS = {
    "uint8": lambda path: BYTES.copy(),
    "float64": lambda path: BYTES.astype(np.float64),
    "float32": lambda path: BYTES.astype(np.float32),
    "int64": lambda path: BYTES.astype(np.int64),
    "float16": lambda path: BYTES.astype(np.float16),
    "big-endian": lambda path: BYTES.astype(">f4"),
    "F-order": lambda path: np.asfortranarray(BYTES),
    "reversed": lambda path: BYTES[::-1].copy()[::-1],
    "list": lambda path: list(BYTES),
    "tensor": lambda path: torch.from_numpy(BYTES.copy()),
    "read-only": lambda path: _read_only(BYTES),
    "memmap": lambda path: _memmap(BYTES, path),
}


def _read_only(images):
    images = images.copy()
    images.flags.writeable = False
    return images


def _memmap(images, path):
    np.save(path / "images.npy", images)
    return np.load(path / "images.npy", mmap_mode="r")


@functools.cache
def labels_of_bytes():
    return small(early_stopping=True).fit(BYTES, y).predict(BYTES)


@pytest.mark.reliability(13)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_x_gives_the_same_labels_and_stays_as_it_is(form, tmp_path):
    images = FORMS[form](tmp_path)
    before = hashlib.sha256(np.asarray(images).tobytes()).hexdigest()
    clf = small(early_stopping=True).fit(images, y)
    predicted = clf.predict(images)
    assert hashlib.sha256(np.asarray(images).tobytes()).hexdigest() == before
    np.testing.assert_array_equal(predicted, labels_of_bytes())


@pytest.mark.reliability(13)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_of_pixels_gives_the_same_labels(library):
    frame = pytest.importorskip(library).DataFrame(BYTES.reshape(80, 64), **_columns(library))
    clf = small().fit(frame, y)
    np.testing.assert_array_equal(
        clf.predict(frame), small().fit(BYTES.reshape(80, 64), y).predict(BYTES.reshape(80, 64))
    )
    assert list(clf.feature_names_in_) == [f"p{i}" for i in range(64)]


def _columns(library):
    names = [f"p{i}" for i in range(64)]
    return {"columns": names} if library == "pandas" else {"schema": names, "orient": "row"}


LABELS = {
    "strings": np.array(["cat", "dog", "emu"])[y % 3],
    "bool": y % 2 == 0,
    "gaps": np.array([10, 500, 7])[y % 3],
    "negative": y % 3 - 5,
    "objects": np.array(["cat", "dog", "emu"], dtype=object)[y % 3],
    "whole floats": (y % 3).astype(float),
    "bytes-sized": (y % 3).astype(np.uint8),
    "Categorical": pd.Categorical(np.array(["low", "mid", "top"])[y % 3]),
    "Series": pd.Series(np.array(["cat", "dog", "emu"])[y % 3]),
    "list": [["cat", "dog", "emu"][label % 3] for label in y],
}


@pytest.mark.reliability(14)
@pytest.mark.parametrize(
    ("kind", "early_stopping"),
    [
        *((kind, False) for kind in LABELS),
        *((kind, True) for kind in ("strings", "bool", "Categorical")),
        *(pytest.param(kind, True, marks=pytest.mark.slow) for kind in LABELS),
    ],
)
def test_predictions_are_the_labels_as_they_came(kind, early_stopping):
    labels = LABELS[kind]
    clf = small(max_epochs=40, dropout=0.0, early_stopping=early_stopping).fit(X, labels)
    predicted = clf.predict(X)
    known = np.asarray(labels)
    assert set(predicted) <= set(known)
    assert predicted.dtype.kind == known.dtype.kind or known.dtype.kind == "O"
    assert (predicted == known).mean() > 0.8


@pytest.mark.reliability(14)
def test_a_column_is_taken_with_scikit_learns_warning():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        clf = small().fit(X, y[:, None])
    assert clf.predict(X).shape == (80,)


@pytest.mark.reliability(15)
@pytest.mark.parametrize("labels", [np.zeros(80), np.array(["only"] * 80)])
def test_one_class(labels):
    refuses(X, labels, "1 class")


@pytest.mark.reliability(15)
def test_one_class_after_samples_of_weight_zero_are_gone():
    clf = small()
    with pytest.raises(ValueError, match="class"):
        clf.fit(X, y, sample_weight=(y == 3).astype(float))
    with pytest.raises(ValueError, match="class"):
        small(class_weight={label: float(label == 3) for label in range(10)}).fit(X, y)
    assert not hasattr(clf, "classes_")


@pytest.mark.reliability(15)
@pytest.mark.parametrize("bad", [np.zeros(80), -np.ones(80), np.full(80, np.nan), np.ones(79), np.ones((80, 2))])
def test_weights_that_are_none(bad):
    clf = small()
    with pytest.raises(ValueError, match=r"(?i)weight"):
        clf.fit(X, y, sample_weight=bad)
    assert not hasattr(clf, "classes_")


@pytest.mark.reliability(16)
@pytest.mark.parametrize("fraction", [0.1, 0.9])  # the larger one would take whole classes
@pytest.mark.parametrize("count", range(1, 6))
def test_a_small_class_with_early_stopping_stays_in_training(count, fraction):
    rows = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1), np.flatnonzero(y == 2)[:count]])
    trained = []

    class Look(Callback):
        def on_epoch_begin(self, net, dataset_train=None, **kwargs):
            trained.extend(int(target) for _, target in dataset_train)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = small(
            early_stopping=True,
            validation_fraction=fraction,
            max_epochs=20 if fraction < 0.5 else 2,
            batch_size=8,
            skorch_callbacks=[Look()],
        ).fit(X[rows], y[rows])
    assert len(caught) == (count == 1)
    np.testing.assert_array_equal(clf.classes_, [0, 1, 2])
    assert set(trained) == {0, 1, 2}


@pytest.mark.reliability(17)
@pytest.mark.parametrize("n", range(1, 11))
def test_too_few_samples_for_a_split(n):
    labels = np.arange(n)
    refuses(X[:n], labels, "class" if n == 1 else "too few to split", early_stopping=True)
    if n > 1:
        small().fit(X[:n], labels)


@pytest.mark.reliability(18)
@pytest.mark.parametrize("n", [2, 3, 5, 16, 17, 33, 64, 65, 129, 200])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 16, 63, 64])
def test_any_number_of_samples_trains_and_each_is_used_once_an_epoch(n, batch_size):
    seen = []

    class Look(Callback):
        def on_batch_begin(self, net, batch, training, **kwargs):
            seen.extend(batch[0][:, 0, 0, 0].tolist())

    images = np.random.default_rng(0).normal(size=(n, 4, 4)).astype(np.float32)
    images[:, 0, 0] = np.arange(n)
    settings = {"filters": (2,), "hidden_layer_sizes": (), "max_epochs": 1}
    small(**settings, batch_size=batch_size, skorch_callbacks=[Look()]).fit(images, np.arange(n) % 2)
    assert sorted(seen) == list(range(n))


@pytest.mark.reliability(18)
def test_batches_of_one_where_a_normalised_map_has_one_value():
    refuses(X, y, "batch_size >= 2", filters=(2, 2, 2), batch_size=1)
    small(filters=(2, 2, 2), batch_size=1, normalization=None).fit(X, y)
    clf = small(filters=(2, 2, 2))
    with pytest.raises(ValueError, match="a single image"):
        clf.partial_fit(X[:1], y[:1], classes=range(10))
    assert not hasattr(clf, "classes_")


@pytest.mark.reliability(19)
def test_partial_fit_with_an_unseen_label_or_without_classes():
    refuses_first = small()
    with pytest.raises(ValueError, match="classes must be passed"):
        refuses_first.partial_fit(X, y)
    assert not hasattr(refuses_first, "classes_")
    clf = small().partial_fit(X, y, classes=range(10))
    before, history = digest(clf), list(clf.history_)
    with pytest.raises(ValueError, match="not among the classes"):
        clf.partial_fit(X, y + 5)
    assert digest(clf) == before
    assert clf.history_ == history


@pytest.mark.reliability(20)
@pytest.mark.parametrize("name", ["fit", "partial_fit"])
def test_a_network_that_the_last_step_broke_is_not_kept(name):
    clf = small(batch_size=80, max_epochs=1, optimizer="sgd", lr_schedule="constant").fit(X, y)
    before = digest(clf)
    clf.set_params(lr=1e38, weight_decay=1e38, normalization="batch")
    with pytest.raises(NonFiniteLossError, match="use a smaller lr"):
        getattr(clf, name)(X, y)
    assert digest(clf) == before


@pytest.mark.reliability(20)
@pytest.mark.parametrize(("epoch", "batch"), [(1, 1), (1, 5), (2, 3)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_says_where(value, epoch, batch, monkeypatch):
    """Injected into a forward pass, of which each epoch has five."""
    forward, passes = ImageNetwork.forward, []

    def broken(self, images):
        passes.append(1)
        outputs = forward(self, images)
        return outputs * value if len(passes) == 5 * (epoch - 1) + batch else outputs

    monkeypatch.setattr(ImageNetwork, "forward", broken)
    clf = small(lr=0.01, lr_schedule="constant")
    before = dict(vars(clf))
    with pytest.raises(NonFiniteLossError) as info:
        clf.fit(X, y)
    assert (info.value.epoch, info.value.batch, info.value.lr) == (epoch, batch, 0.01)
    assert isinstance(info.value, FloatingPointError)
    assert len(passes) == 5 * (epoch - 1) + batch
    assert vars(clf) == before


@pytest.mark.reliability(20)
def test_a_validation_loss_that_is_not_finite_is_no_result():
    clf = small(early_stopping=True, lr=1e20, optimizer="sgd", lr_schedule="constant", normalization=None)
    with pytest.raises(NonFiniteLossError):
        clf.fit(X, y)
    assert not hasattr(clf, "classes_")


@pytest.mark.reliability(20)
@pytest.mark.parametrize("value", [1e19, -1e300])
def test_pixels_too_large_are_refused_before_training(value):
    refuses(X.astype(np.float64) * value, y, "scale them to at most")
    clf = small()
    with pytest.raises(ValueError, match="scale them to at most"):
        clf.fit(X, y, X_val=X.astype(np.float64) * value, y_val=y)
    fitted = small().fit(X, y)
    with pytest.raises(ValueError, match="scale them to at most"):
        fitted.predict(X.astype(np.float64) * value)


@pytest.mark.reliability(15)
@pytest.mark.parametrize(
    "given",
    [{0: np.nan}, {0: np.inf}, {0: -1.0}],
    ids=str,
)
def test_class_weights_that_are_none(given):
    refuses(X, y, "finite weights", class_weight={**dict.fromkeys(range(10), 1.0), **given})


@pytest.mark.reliability(15)
def test_weights_whose_sum_overflows_are_scaled():
    large, plain = small().fit(X, y, np.full(80, 2.0**1023)), small().fit(X, y, np.ones(80))
    assert digest(large) == digest(plain)


@pytest.mark.reliability(22)
@pytest.mark.parametrize("step", ["make_net", "train", "survey", "recipe_of", "reseed_dropout"])
def test_a_failure_at_any_step_leaves_the_earlier_state(step, monkeypatch):
    clf = small().fit(X, y)
    before, state = digest(clf), dict(vars(clf))
    fresh = small()
    blank = dict(vars(fresh))

    def fail(*args, **kwargs):
        raise RuntimeError("injected")

    monkeypatch.setattr(f"sklearn_cnn.estimators._fit.{step}", fail)
    for estimator, expected in ((clf, state), (fresh, blank)):
        with pytest.raises(RuntimeError, match="injected"):
            estimator.fit(X[:, :7], y)
        assert vars(estimator) == expected
    monkeypatch.undo()
    assert digest(clf) == before


@pytest.mark.reliability(22)
def test_training_on_that_fails_half_way_leaves_the_earlier_weights():
    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise RuntimeError("injected")

    clf = small(warm_start=True).fit(X, y)
    before = digest(clf)
    with pytest.raises(RuntimeError, match="injected"):
        clf.set_params(skorch_callbacks=[Fails()]).fit(X, y)
    assert digest(clf) == before
    assert clf.n_iter_ == 2


OUT_OF_MEMORY = [
    MemoryError("no room"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.reliability(23)
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("batch_size", "way_out"), [(16, "use a smaller batch_size"), (1, "use smaller images")])
def test_memory_that_does_not_suffice_for_training_names_the_batch_size(error, batch_size, way_out, monkeypatch):
    clf = small().fit(X, y)
    before = digest(clf)

    def forward(*_):
        raise error

    monkeypatch.setattr(ImageNetwork, "forward", forward)
    with pytest.raises(MemoryError, match=rf"training step of batch_size={batch_size}; {way_out}") as caught:
        clf.set_params(batch_size=batch_size).fit(X, y)
    assert caught.value.__cause__ is error
    monkeypatch.undo()
    assert digest(clf) == before


@pytest.mark.reliability(23)
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("room", [1, 7, 40, 79])
def test_prediction_goes_on_with_smaller_batches_and_one_warning(error, room, monkeypatch):
    clf = small().fit(X, y)
    expected, sizes = clf.predict_proba(X), []
    forward = ImageNetwork.forward

    def crowded(self, images):
        # An image alone goes twice through the network.
        if len(images) > max(room, 2):
            raise error
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(ImageNetwork, "forward", crowded)
    with pytest.warns(UserWarning, match=r"memory did not suffice for the prediction of \d+ images at once") as caught:
        found = clf.predict_proba(X)
    assert len(caught) == 1 and caught[0].filename == __file__
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert sum(sizes) == len(X) and max(sizes) > max(room, 2) / 2 - 1


@pytest.mark.reliability(23)
def test_what_was_predicted_before_memory_ran_out_is_kept(monkeypatch):
    clf = small().fit(X, y)
    expected, sizes = clf.predict_proba(X), []
    monkeypatch.setattr("sklearn_cnn.estimators._base.prediction_batch_size", lambda largest_map: 16)
    forward = ImageNetwork.forward

    def crowded_later(self, images):
        if len(sizes) >= 3 and len(images) > 5:
            raise MemoryError
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(ImageNetwork, "forward", crowded_later)
    with pytest.warns(UserWarning, match="prediction of 16 images at once; it went on with 4"):
        found = clf.predict_proba(X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert sizes == [16] * 3 + [4] * 8


@pytest.mark.reliability(23)
def test_memory_that_does_not_suffice_for_one_image_is_an_error(monkeypatch):
    clf = small().fit(X, y)
    monkeypatch.setattr(ImageNetwork, "forward", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(MemoryError, match=r"did not suffice for the prediction of one image \(no room\)"):
        clf.predict(X)


@pytest.mark.reliability(23)
@pytest.mark.parametrize("error", [RuntimeError("another one"), ValueError("out of memory")])
def test_other_errors_pass_through(error, monkeypatch):
    clf, calls = small().fit(X, y), []
    monkeypatch.setattr(ImageNetwork, "forward", lambda *_: calls.append(1) or (_ for _ in ()).throw(error))
    for method in (clf.predict, lambda images: small().fit(images, y)):
        calls.clear()
        with pytest.raises(type(error), match=str(error)):
            method(X)
        assert len(calls) == 1


@pytest.mark.reliability(29)
@pytest.mark.parametrize("n_predictions", [50, pytest.param(1600, marks=pytest.mark.slow)])
def test_eight_threads_predict_what_one_predicts(n_predictions):
    clf = small().fit(X, y)
    expected = clf.predict_proba(X)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: clf.predict_proba(X), range(n_predictions)))
    assert all(np.array_equal(result, expected) for result in results)


@pytest.mark.reliability(29)
@pytest.mark.parametrize("n_fits", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_two_threads_fit_what_one_fits(n_fits):
    settings = {"filters": (3,), "hidden_layer_sizes": (), "max_epochs": 1, "dropout": 0.3}

    def fit(seed):
        return digest(small(**settings, random_state=seed).fit(X[:40], y[:40]))

    expected = [fit(seed) for seed in range(n_fits)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fit, range(n_fits))) == expected
        assert list(pool.map(fit, range(n_fits))) == expected


@pytest.fixture
def two_threads():
    """With one, as in all other tests, a fit that took one and kept it would not be noticed."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def global_state():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the generator that random_state=None means
    return (
        torch.get_rng_state().tolist(),
        (kind, keys.tolist(), *rest),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"),
        threading.active_count(),
    )


@pytest.mark.reliability(30)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.usefixtures("two_threads")
def test_global_state_is_as_before_after_fit_and_predict(precision):
    before = global_state()
    clf = small(early_stopping=True, precision=precision, verbose=0).fit(X, y)
    clf.partial_fit(X, y)
    clf.predict(X)
    assert global_state() == before


@pytest.mark.reliability(30)
@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_end", "on_batch_begin", "on_grad_computed"])
@pytest.mark.usefixtures("two_threads")
def test_global_state_is_as_before_after_an_exception(hook):
    def fail(self, *args, **kwargs):
        raise RuntimeError("injected")

    before = global_state()
    with pytest.raises(RuntimeError, match="injected"):
        small(skorch_callbacks=[type("Fails", (Callback,), {hook: fail})()]).fit(X, y)
    assert global_state() == before


@pytest.fixture(params=["float64 by default", "meta by default", "autocast"])
def ambient(request):
    """torch settings of the caller that must not reach the fit."""
    if request.param == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            yield
    elif request.param.startswith("meta"):
        with torch.device("meta"):
            yield
    else:
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


PLAIN = {name: digest(small(precision=name, early_stopping=True).fit(X, y)) for name in ("float32", "bfloat16")}


@pytest.mark.reliability(30)
@pytest.mark.parametrize("precision", PLAIN)
@pytest.mark.usefixtures("ambient")
def test_settings_of_the_caller_do_not_reach_the_fit(precision):
    clf = small(precision=precision, early_stopping=True).fit(X, y)
    assert digest(clf) == PLAIN[precision]
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.decision_function(X), clf.decision_function(X))
    assert clf.decision_function(X).dtype == np.float32


@pytest.mark.reliability(30)
def test_without_a_seed_one_number_of_numpys_generator_is_drawn():
    np.random.seed(0)  # noqa: NPY002 - the generator that random_state=None means
    small(random_state=None).fit(X, y)
    after = np.random.get_state()[1].tolist(), np.random.get_state()[2]  # noqa: NPY002 - the generator that random_state=None means
    np.random.seed(0)  # noqa: NPY002 - the generator that random_state=None means
    np.random.randint(2**31 - 1)  # noqa: NPY002 - the generator that random_state=None means
    assert after == (np.random.get_state()[1].tolist(), np.random.get_state()[2])  # noqa: NPY002 - the generator that random_state=None means
