"""What ``"auto"`` becomes."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, CNNRegressor, ImageAugmenter
from sklearn_cnn.estimators._auto import chosen_augmenter, chosen_epochs
from sklearn_cnn.images._reading import read_images

rng = np.random.default_rng(0)


def images_of(n, *shape):
    return rng.integers(0, 256, (n, *shape)).astype(np.uint8)


def kinds(estimator, side, n_outputs=3):
    return [row.kind for row in estimator.plan(image_shape=(side, side), n_outputs=n_outputs).layers]


def tiny(cls=CNNClassifier, **settings):
    return cls(**{"filters": (2, 2), "max_epochs": 1, "random_state": 0, **settings})


@pytest.mark.parametrize(
    ("n", "expected"), [(1, 10), (1000, 10), (30_000, 10), (35_000, 8), (50_000, 6), (60_000, 6), (10**7, 6)]
)
def test_auto_epochs_are_ten_and_fewer_for_many_images(n, expected):
    assert chosen_epochs("auto", np.empty((n, 0))) == expected


def test_epochs_that_are_given_stay():
    assert chosen_epochs(3, np.empty((10**6, 0))) == 3


def test_images_that_cannot_be_counted_are_refused_as_ever():
    with pytest.raises(TypeError, match="array-like"):
        CNNClassifier().fit(object(), [0, 1])


def test_a_fit_makes_as_many_epochs_as_auto_says():
    X = images_of(40, 6, 6)
    assert tiny(max_epochs="auto").fit(X, np.arange(40) % 2).n_iter_ == 10


@pytest.mark.parametrize(("side", "crop"), [(8, None), (27, None), (28, 1), (32, 2), (96, 6)])
def test_auto_augmenter_shifts_larger_images(side, crop):
    chosen = chosen_augmenter(CNNClassifier(), read_images(images_of(2, side, side + 3), name="X"))
    assert (None if chosen is None else chosen.crop) == crop
    if chosen is not None:
        others = {name: value for name, value in chosen.get_params().items() if name not in ("crop", "fill_mode")}
        assert others == {name: ImageAugmenter().get_params()[name] for name in others}


@pytest.mark.parametrize(
    "estimator",
    [
        CNNClassifier(augmenter=None),
        CNNClassifier(weights="file.safetensors"),
        CNNClassifier(trainable_blocks=1),
        CNNRegressor(),
    ],
    ids=["None", "weights", "frozen blocks", "numbers"],
)
def test_there_is_no_auto_augmenter(estimator):
    assert chosen_augmenter(estimator, read_images(images_of(2, 32, 32), name="X")) is None


def test_there_is_no_auto_augmenter_behind_another_one():
    X = ImageAugmenter(horizontal_flip=0.5).fit_transform(images_of(4, 32, 32))
    assert chosen_augmenter(CNNClassifier(), read_images(X, name="X")) is None


def same_weights(one, other):
    one, other = one.module_.state_dict(), other.module_.state_dict()
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_auto_is_what_the_table_says_it_is():
    X, y = images_of(30, 32, 32, 3), np.arange(30) % 3
    written = tiny(
        convs_per_block=2,
        global_pooling="max",
        hidden_layer_sizes=(),
        dropout=0,
        augmenter=ImageAugmenter(crop=2, fill_mode="reflect"),
    )
    assert same_weights(tiny().fit(X, y), written.fit(X, y))


def test_small_images_have_the_network_that_is_written_here():
    X, y = images_of(30, 27, 27), np.arange(30) % 3
    written = tiny(convs_per_block=1, global_pooling=None, hidden_layer_sizes=(128,), dropout=0.25, augmenter=None)
    assert same_weights(tiny().fit(X, y), written.fit(X, y))


def test_numbers_have_the_mean_of_each_map():
    X, y = images_of(30, 32, 32), rng.normal(size=30)
    written = tiny(CNNRegressor, convs_per_block=2, global_pooling="avg")
    assert same_weights(tiny(CNNRegressor).fit(X, y), written.fit(X, y))


def test_auto_settings_hold_beside_filters_of_ones_own():
    assert kinds(CNNClassifier(filters=4), 32).count("conv") == 2
    assert kinds(CNNClassifier(filters=4), 16).count("conv") == 1


def test_without_blocks_there_are_dense_layers_alone():
    found = set(kinds(CNNClassifier(filters=()), 32))
    assert found == {"standardize", "flatten", "dropout", "dense", "activation"}


def test_images_of_weight_0_do_not_count_for_whitening():
    X, y = images_of(4096, 28, 28), np.arange(4096) // 2 % 2
    clf = tiny(batch_size=512).fit(X, y, sample_weight=np.arange(4096) % 2)
    assert np.isfinite(clf.module_.layers["whiten"].weight.numpy()).all()


def test_windows_are_whitened_where_pixels_are_standardised():
    assert "whiten" in kinds(CNNClassifier(), 28)
    assert "whiten" not in kinds(CNNClassifier(), 27)
    assert not {"whiten", "standardize"} & set(kinds(CNNClassifier(standardize=False), 28))


def test_whitening_counts_weights_as_repeated_images():
    X, y, counts = images_of(30, 28, 28), np.arange(30) % 3, rng.integers(0, 3, 30)
    weighted = tiny().fit(X, y, sample_weight=counts)
    repeated = tiny().fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    one, other = (clf.module_.layers["whiten"].weight.abs().numpy() for clf in (weighted, repeated))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_second_fit_with_warm_start_keeps_the_whitening_of_the_first():
    y = np.arange(30) % 3
    clf = tiny(warm_start=True).fit(images_of(30, 28, 28), y)
    before = clf.module_.layers["whiten"].weight.clone()
    assert np.array_equal(clf.fit(images_of(30, 28, 28) // 2, y).module_.layers["whiten"].weight, before)


def test_dropout_beside_an_architecture_is_a_quarter():
    dropouts = {
        row.dropout
        for row in CNNClassifier(architecture="alexnet").plan(image_shape=(32, 32, 3), n_outputs=2).layers
        if row.kind == "dropout"
    }
    assert dropouts == {0.25}


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (2, 200, 3)])
def test_auto_for_images_of_a_pixel_or_two(shape):
    X, y = images_of(12, *shape), np.arange(12) % 2
    given = {"image_shape": shape} if len(shape) == 2 else {}
    clf = CNNClassifier(max_epochs=1, random_state=0, **given).fit(X, y)
    assert clf.predict(X).shape == (12,)


def test_auto_for_five_images_of_two_classes():
    X, y = images_of(5, 32, 32, 3), ["a", "b", "a", "b", "a"]
    clf = CNNClassifier(random_state=0).fit(X, y)
    assert set(clf.predict(X)) <= {"a", "b"}


def test_auto_for_a_thousand_classes():
    X, y = images_of(3000, 28, 28), np.arange(3000) % 1000
    clf = CNNClassifier(filters=(2, 2), max_epochs=1, random_state=0).fit(X, y)
    assert clf.predict_proba(X[:3]).shape == (3, 1000)


def test_a_clone_keeps_auto_and_a_pipeline_adds_none():
    clf = clone(CNNClassifier())
    assert [clf.get_params()[name] for name in ("augmenter", "max_epochs", "dropout")] == ["auto"] * 3
    X, y = images_of(20, 28, 28), np.arange(20) % 2
    pipe = make_pipeline(ImageAugmenter(horizontal_flip=0.5), tiny()).fit(X, y)
    alone = tiny(augmenter=ImageAugmenter(horizontal_flip=0.5)).fit(X, y)
    assert same_weights(pipe[-1], alone)
