"""What is saved comes back as it was, in another process too, and what cannot be saved is named."""

import copy
import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from skorch.callbacks import Callback

import sklearn_cnn
from sklearn_cnn import (
    CNNClassifier,
    CNNFeatureExtractor,
    CNNRegressor,
    ImageAugmenter,
    ImageNormalizer,
    ImageReader,
    list_architectures,
    load_model,
    save_model,
)
from sklearn_cnn.architectures._catalog import smallest_side

DIGITS = load_digits()
X, y = DIGITS.images[:60].astype(np.float32), DIGITS.target[:60]
ROWS = X.reshape(60, 64)
COLOUR = np.random.default_rng(0).integers(0, 256, (60, 8, 6, 3), dtype=np.uint8)
WORDS = np.array(["cat", "dog", "émeu 🐦"])[y % 3]


def small(cls=CNNClassifier, **parameters):
    settings = {"max_epochs": 1, "batch_size": 16, "random_state": 0}
    blocks = {} if "architecture" in parameters else {"filters": (3, 4), "hidden_layer_sizes": (6,)}
    return cls(**{**settings, **blocks, **parameters})


def outputs(estimator, images):
    """All that it gives for images."""
    names = ("predict", "predict_proba", "decision_function", "transform")
    return [np.asarray(getattr(estimator, name)(images)) for name in names if hasattr(estimator, name)]


def frame():
    return importlib.import_module("pandas").DataFrame(ROWS, columns=[f"p{i}" for i in range(64)])


CASES = {
    "classifier": lambda: (small().fit(X, y), X),
    "two classes": lambda: (small().fit(X, y % 2), X),
    "words": lambda: (small().fit(X, WORDS), X),
    "words as objects": lambda: (small().fit(X, WORDS.astype(object)), X),
    "bools": lambda: (small().fit(X, y % 2 == 0), X),
    "floats": lambda: (small().fit(X, y.astype(np.float16)), X),
    "big-endian": lambda: (small().fit(X, y.astype(">i2")), X),
    "dates": lambda: (small().fit(X, np.array(["2020-01-01", "2021-01-01"], "datetime64[D]")[y % 2]), X),
    "several labels": lambda: (small().fit(X, np.eye(10, dtype=int)[y]), X),
    "float64": lambda: (small(precision="float64").fit(X, y), X),
    "bfloat16": lambda: (small(precision="bfloat16").fit(X, y), X),
    "colour": lambda: (small(early_stopping=True).fit(COLOUR, y % 3), COLOUR),
    "channels first": lambda: (small().fit(COLOUR.transpose(0, 3, 1, 2), y % 3), COLOUR.transpose(0, 3, 1, 2)),
    "even kernel": lambda: (small(kernel_size=2, padding_mode="reflect", convs_per_block=2).fit(X, y), X),
    "strides and pools": lambda: (
        small(stride=[2, 1], dilation=2, pooling=["avg", "max"], pool_size=[(1, 2), 3], global_pooling="avg").fit(X, y),
        X,
    ),
    "bare": lambda: (small(normalization=None, standardize=False, dropout=0, hidden_layer_sizes=()).fit(X, y), X),
    "rows": lambda: (small(image_shape=(4, 16)).fit(ROWS, y), ROWS),
    "frame": lambda: (small().fit(frame(), y), frame()),
    "augmenter inside": lambda: (small(augmenter=ImageAugmenter(rotation=5, shift=(0.1, 0.2))).fit(X, y), X),
    "frozen blocks": lambda: (small(weights=small().fit(X, y), trainable_blocks=1).fit(X, y), X),
    "regressor": lambda: (small(CNNRegressor).fit(X, y * 1.5), X),
    "two outputs": lambda: (small(CNNRegressor, loss="huber").fit(X, np.stack([y, 9.0 - y], axis=1)), X),
    "lenet5": lambda: (small(architecture="lenet5").fit(np.kron(X, np.ones((2, 2))), y), np.kron(X, np.ones((2, 2)))),
    "features of a network": lambda: (CNNFeatureExtractor(small().fit(X, y), layer="block1_relu").fit(X), X),
    "features of a frozen one": lambda: (CNNFeatureExtractor(FrozenEstimator(small().fit(X, y))).fit(X), X),
    "normalizer": lambda: (ImageNormalizer().fit(COLOUR), COLOUR),
    "normalizer of pixels": lambda: (ImageNormalizer("minmax", per="pixel").fit(COLOUR), COLOUR),
    "normalizer of all": lambda: (ImageNormalizer(per="all", image_shape=(4, 16)).fit(ROWS), ROWS),
    "normalizer of each": lambda: (ImageNormalizer(per="image").fit(X), X),
    "augmenter": lambda: (ImageAugmenter(rotation=5, random_state=3).fit(X), X),
    "reader": lambda: (ImageReader(size=(4, 5), mode="L").fit(list(COLOUR)), list(COLOUR)),
    "pipeline": lambda: (make_pipeline(ImageNormalizer(per="image"), small()).fit(X, WORDS), X),
    "pipeline in a pipeline": lambda: (
        Pipeline([("a", make_pipeline(ImageAugmenter(crop=1), ImageNormalizer())), ("b", None), ("c", small())]).fit(
            X, y
        ),
        X,
    ),
    "features and a line": lambda: (
        make_pipeline(CNNFeatureExtractor(small().fit(X, y)), StandardScaler(), LogisticRegression()).fit(X, WORDS),
        X,
    ),
    "StandardScaler": lambda: (StandardScaler().fit(ROWS), ROWS),
    "StandardScaler of nothing": lambda: (StandardScaler(with_mean=False, with_std=False).fit(ROWS), ROWS),
    "MinMaxScaler": lambda: (MinMaxScaler((-1, 1), clip=True).fit(ROWS), ROWS),
    "PCA": lambda: (PCA(5, whiten=True).fit(ROWS), ROWS),
    "PCA by eigenvalues": lambda: (PCA(0.9, svd_solver="covariance_eigh").fit(ROWS), ROWS),
    "LogisticRegression": lambda: (LogisticRegression(C=1e-3, class_weight={"cat": 2.0}).fit(ROWS, WORDS), ROWS),
    "LogisticRegression of two": lambda: (LogisticRegression(C=1e-3, fit_intercept=False).fit(ROWS, y % 2), ROWS),
    "LinearSVC": lambda: (LinearSVC(C=0.01).fit(ROWS, y), ROWS),
    "LinearSVC of two": lambda: (LinearSVC(C=0.01, fit_intercept=False).fit(ROWS, y % 2), ROWS),
    "Ridge": lambda: (Ridge(alpha=2).fit(ROWS, y), ROWS),
    "Ridge of two": lambda: (Ridge(solver="lsqr", fit_intercept=False).fit(ROWS, np.stack([y, -y], axis=1)), ROWS),
}
NEEDS = {"reader": "PIL", "frame": "pandas"}
THERE = [name for name in CASES if name not in NEEDS or importlib.util.find_spec(NEEDS[name])]

LOAD = """
import pickle, sys, warnings
import numpy as np
import torch
torch.set_num_threads(1)
warnings.simplefilter("error")
from sklearn_cnn import load_model
from tests.persistence.test_model_file import outputs

expected = pickle.load(open(sys.argv[1], "rb"))
for name, (images, before) in expected.items():
    estimator = load_model(f"{sys.argv[1]}.{name}")
    after = outputs(estimator, images)
    same = len(before) == len(after) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(before, after)
    )
    print(name if same else f"{name} DIFFERS")
"""


def environment():
    roots = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(sklearn_cnn.__file__).parents[1])])
    return {**os.environ, "PYTHONPATH": roots, "PYTHONIOENCODING": "utf-8"}


def in_a_new_process(cases, tmp_path):
    """Names of the cases in the order they come, those marked that give something else there."""
    expected, file = {}, tmp_path / "expected"
    for name, make in cases.items():
        estimator, images = make()
        save_model(estimator, f"{file}.{name}")
        expected[name] = (images, outputs(estimator, images))
    file.write_bytes(pickle.dumps(expected))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(file)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_estimator_predicts_in_a_new_process_what_it_predicted_here(tmp_path):
    assert in_a_new_process({name: CASES[name] for name in THERE}, tmp_path) == THERE


@pytest.mark.parametrize("case", THERE)
def test_parameters_and_attributes_come_back_with_their_types(case, tmp_path):
    estimator, _ = CASES[case]()
    before = copy.copy(vars(estimator))
    save_model(estimator, tmp_path / "a")
    assert vars(estimator) == before or all(vars(estimator)[key] is before[key] for key in before)
    loaded = load_model(tmp_path / "a")
    assert type(loaded) is type(estimator)
    left_out = {"net_", "weights"}
    assert described(vars(loaded), left_out) == described(vars(estimator), left_out)


def described(value, left_out=()):
    """A value as text, with the types of all that is in it."""
    if isinstance(value, dict):
        return {repr(key): described(entry) for key, entry in value.items() if key not in left_out}
    if isinstance(value, list | tuple):
        return type(value).__name__, [described(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.dtype.newbyteorder("=").str, value.shape, value.tolist()
    if isinstance(value, torch.nn.Module):
        return described({name: tensor.numpy() for name, tensor in value.state_dict().items()})
    if hasattr(value, "get_params") or type(value).__name__ in ("Moments", "Labels", "Indicators", "Numbers"):
        return type(value).__name__, described(vars(value), {"net_", "weights"})
    return type(value).__name__, repr(value)


def test_weights_are_channels_last_again(tmp_path):
    clf = small().fit(COLOUR, y % 3)
    save_model(clf, tmp_path / "a")
    for loaded, own in zip(load_model(tmp_path / "a").module_.parameters(), clf.module_.parameters(), strict=True):
        assert loaded.stride() == own.stride()


def catalog_case(name):
    side = max(smallest_side(name), 8)
    images = np.random.default_rng(0).random((4, side, side)).astype(np.float32)
    return lambda: (CNNFeatureExtractor(name, weights="random", random_state=0).fit(images), images)


@pytest.mark.slow
def test_two_networks_of_the_catalog_are_the_same_in_a_new_process(tmp_path):
    cases = {name: catalog_case(name) for name in ("resnet18", "inception")}
    assert in_a_new_process(cases, tmp_path) == list(cases)


@pytest.mark.slow  # files of up to half a gigabyte
@pytest.mark.parametrize("name", list_architectures())
def test_every_network_of_the_catalog_is_the_same_in_a_new_process(name, tmp_path):
    assert in_a_new_process({name: catalog_case(name)}, tmp_path) == [name]


@pytest.mark.parametrize(
    ("architecture", "side"),
    [("torchvision:resnet18", 32), ("torchvision:regnet_x_400mf", 32), ("timm:test_vit", 160)],
)
def test_a_backbone_is_the_same_in_a_new_process(architecture, side, tmp_path):
    pytest.importorskip(architecture.partition(":")[0])
    images = np.random.default_rng(0).random((4, side, side)).astype(np.float32)
    cases = {"backbone": lambda: (small(architecture=architecture).fit(images, [0, 1, 0, 1]), images)}
    assert in_a_new_process(cases, tmp_path) == ["backbone"]


def test_a_backbone_whose_library_is_not_there_names_the_extra(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    save_model(small(architecture="torchvision:resnet18").fit(X[:4], y[:4]), tmp_path / "a")
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-cnn\[pretrained\]'"):
        load_model(tmp_path / "a")


# Going on from what was loaded.


@pytest.mark.parametrize("method", ["partial_fit", "warm start"])
def test_training_goes_on_as_after_unpickling(method, tmp_path):
    clf = small(warm_start=method == "warm start").fit(X, y)
    save_model(clf, tmp_path / "a")
    results = []
    for other in (load_model(tmp_path / "a"), pickle.loads(pickle.dumps(clf))):
        getattr(other, "partial_fit" if method == "partial_fit" else "fit")(X, y)
        assert len(other.history_) == 2
        results.append(other.decision_function(X))
    np.testing.assert_array_equal(*results)


def test_a_normalizer_goes_on_learning(tmp_path):
    save_model(ImageNormalizer().fit(X[:30]), tmp_path / "a")
    loaded = load_model(tmp_path / "a").partial_fit(X[30:])
    np.testing.assert_allclose(loaded.scale_, ImageNormalizer().fit(X).scale_)


def test_what_was_loaded_can_be_saved_and_cloned(tmp_path):
    save_model(small(image_shape=[8, 8]).fit(ROWS, y), tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    save_model(loaded, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert loaded.image_shape == [8, 8]
    loaded.fit(ROWS, y)


def test_first_weights_are_not_kept(tmp_path):
    clf = small(weights=small().fit(X, y)).fit(X, y)
    save_model(clf, tmp_path / "a")
    assert load_model(tmp_path / "a").weights is None
    assert clf.weights is not None
    save_model(CNNFeatureExtractor("resnet18", weights="random").fit(X), tmp_path / "a")
    assert load_model(tmp_path / "a").weights == "random"


def test_the_path_of_a_checkpoint_stays_on_its_machine(tmp_path):
    clf = small(checkpoint=tmp_path / "run").fit(X, y)
    save_model(clf, tmp_path / "a")
    assert load_model(tmp_path / "a").get_params() == {**clf.get_params(), "checkpoint": None}


def test_containers_for_output_are_kept(tmp_path):
    pd = pytest.importorskip("pandas")
    scaler = StandardScaler().set_output(transform="pandas").fit(ROWS)
    save_model(scaler, tmp_path / "a")
    assert isinstance(load_model(tmp_path / "a").transform(ROWS), pd.DataFrame)


# What cannot be saved.


def network(image_shape, n_outputs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, n_outputs))


def annotated():
    clf = small().fit(X, y)
    clf.note = "mine"
    return clf


REFUSED = {
    "architecture": (lambda: small(architecture=network).fit(X, y), r"CNNClassifier\.architecture is of type function"),
    "optimizer": (lambda: small(optimizer=torch.optim.SGD).fit(X, y), r"CNNClassifier\.optimizer is of type type"),
    "callbacks": (lambda: small(skorch_callbacks=[Callback()]).fit(X, y), r"skorch_callbacks\.0 is of type Callback"),
    "RandomState": (
        lambda: small(random_state=np.random.RandomState(0)).fit(X, y),
        r"CNNClassifier\.random_state is of type RandomState.*set an int",
    ),
    "in a pipeline": (
        lambda: make_pipeline(ImageNormalizer(), small(optimizer=torch.optim.SGD)).fit(X, y),
        r"Pipeline\.cnnclassifier\.optimizer is of type type",
    ),
    "other classes": (lambda: RandomForestClassifier(2).fit(ROWS, y), "of type RandomForestClassifier.*it holds CNNCl"),
    "a step": (
        lambda: make_pipeline(PCA(2), RandomForestClassifier(2)).fit(ROWS, y),
        r"Pipeline\.randomforestclassifier is of type RandomFor",
    ),
    "a search": (
        lambda: GridSearchCV(Ridge(), {"alpha": [1]}, cv=2).fit(ROWS, y),
        r"Save its best_estimator_",
    ),
    "a class derived from ours": (lambda: type("CNNClassifier", (CNNClassifier,), {})(), "cannot hold"),
    "no estimator": (lambda: 5, "of type int"),
    "an attribute": (annotated, r"CNNClassifier\.note is no attribute that CNNClassifier has after fit"),
    "a cache": (
        lambda: Pipeline([("a", StandardScaler())], memory=joblib.Memory(None)).fit(ROWS),
        r"Pipeline\.memory is a cache",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_cannot_carry_is_refused_by_name(case, tmp_path):
    make, match = REFUSED[case]
    (tmp_path / "a").write_bytes(b"earlier")
    with pytest.raises(TypeError, match=match):
        save_model(make(), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "value",
    [1j, b"bytes", {1}, 2**64, np.array([1j]), np.array([b"a"]), np.timedelta64(1, "D"), object()],
    ids=lambda value: type(value).__name__,
)
def test_values_without_a_place_in_a_file_are_refused_by_name(value, tmp_path):
    clf = small().fit(X, y)
    clf.class_weight = {0: value}
    with pytest.raises((TypeError, ValueError), match=r"CNNClassifier\.class_weight\.0"):
        save_model(clf, tmp_path / "a")


@pytest.mark.parametrize(
    "estimator",
    [
        small(),
        small(CNNRegressor),
        CNNFeatureExtractor(),
        ImageNormalizer(),
        ImageAugmenter(),
        ImageReader(),
        StandardScaler(),
        Pipeline([("a", StandardScaler()), ("b", Ridge().fit(ROWS, y))]),
        FrozenEstimator(Ridge()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_is_not_fitted_is_refused(estimator, tmp_path):
    with pytest.raises(NotFittedError):
        save_model(estimator, tmp_path / "a")
    assert os.listdir(tmp_path) == []


VALUES = [
    {1: "a", "1": np.arange(2), np.int64(3): np.arange(3), 1.5: None, np.datetime64("2020", "D"): True},
    [float("inf"), -float("inf"), -0.0, 5e-324, 2**63 - 1, -(2**63) + 1],
    (np.float32(0.1), np.bool_(True), np.str_("é"), np.datetime64("2020-05-01T10", "ns")),
    np.array([["a", "\0b"], ["", "🐦"]]),
    np.array([], dtype="U5"),
    np.zeros((0, 3), np.float16),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(12)[::3],
    np.array([1, "a", None, 2.5, True], dtype=object),
    "lone \ud800 surrogate",
    {"a": {"b": [({},), []]}},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values_of_every_type_come_back(value, tmp_path):
    clf = small().fit(X, y)
    clf.history_[0]["value"] = value
    save_model(clf, tmp_path / "a")
    loaded = load_model(tmp_path / "a").history_[0]["value"]
    assert described(loaded) == described(value)
    if isinstance(value, np.ndarray) and value.flags.forc:
        assert loaded.flags.f_contiguous == value.flags.f_contiguous


def test_an_estimator_that_was_taken_apart_is_refused(tmp_path):
    clf = small().fit(X, y)
    clf.classes_ = clf.classes_[:3]
    with pytest.raises(ValueError, match="was changed after fit"):
        save_model(clf, tmp_path / "a")


# The file.


def test_the_file_of_a_classifier_is_a_state_dict_for_other_programs(tmp_path):
    clf = small(kernel_size=2).fit(COLOUR, WORDS)
    save_model(clf, tmp_path / "a.safetensors")
    state = clf.module_.state_dict()
    tensors = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert set(tensors) == set(state)
    assert all(tensors[name].dtype == value.dtype and tensors[name].equal(value) for name, value in state.items())
    other = small(kernel_size=2, random_state=1).fit(COLOUR, WORDS)
    other.module_.load_state_dict(tensors)
    np.testing.assert_array_equal(other.predict_proba(COLOUR), clf.predict_proba(COLOUR))
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        (content,) = file.metadata().values()
        for name in file.keys():  # noqa: SIM118 - it is no dict
            np.testing.assert_array_equal(file.get_tensor(name), state[name].numpy())
    estimator = json.loads(content)["estimator"]
    assert estimator["class"] == "CNNClassifier"
    assert estimator["parameters"]["kernel_size"] == 2
    assert estimator["fitted"]["classes_"] == {"array": ["<U6", [3], ["cat", "dog", "émeu 🐦"]]}


def test_a_saved_model_is_a_file_of_weights(tmp_path):
    clf = small().fit(X, y)
    save_model(clf, tmp_path / "a.safetensors")
    by_file, by_estimator = (small(weights=w).fit(X, y) for w in (tmp_path / "a.safetensors", clf))
    np.testing.assert_array_equal(by_file.predict_proba(X), by_estimator.predict_proba(X))


STATE = ["layers.output.bias", "layers.output.weight"]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda clf: Pipeline([("n", ImageNormalizer()), ("cnn", clf)]).fit(X, y), ["n.offset_", "n.scale_", *STATE]),
        (lambda clf: CNNFeatureExtractor(clf.fit(X, y)).fit(X), ["architecture." + STATE[0], *STATE]),
        (
            lambda clf: Pipeline([("cnn", CNNFeatureExtractor(clf.fit(X, y))), ("é", StandardScaler())]).fit(X),
            ["cnn.architecture." + STATE[0], "cnn." + STATE[1], "\\xe9.mean_"],
        ),
        (lambda clf: FrozenEstimator(clf.fit(X, y)), STATE),
        (lambda clf: PCA(2).fit(ROWS), ["components_", "mean_"]),
        # Names that would be those of two tensors.
        (
            lambda clf: Pipeline(
                [("a.b", StandardScaler()), ("a", Pipeline([("b", StandardScaler()), ("c", PCA(2))]))]
            ).fit(ROWS),
            ["a.b.mean_", "a.b.mean_'", "a.c.mean_"],
        ),
    ],
    ids=["one network", "two networks", "a pipeline of two", "frozen", "rows", "the same name twice"],
)
def test_tensors_are_named_after_the_state_dict_and_the_steps(make, names, tmp_path):
    estimator = make(small())
    save_model(estimator, tmp_path / "a")
    tensors = safetensors.numpy.load_file(tmp_path / "a")
    assert set(names) <= set(tensors)
    assert all(name.startswith(("layers.", "n.")) for name in tensors) or "n.offset_" not in names
    images = ROWS if any(name.startswith(("mean_", "a.")) for name in tensors) else X
    for before, after in zip(outputs(estimator, images), outputs(load_model(tmp_path / "a"), images), strict=True):
        np.testing.assert_array_equal(before, after)


def test_arrays_in_any_order_of_memory_are_right_for_other_programs_and_keep_it_here(tmp_path):
    pca = PCA(3).fit(ROWS)
    pca.components_ = np.asfortranarray(pca.components_)
    pca.mean_ = np.repeat(pca.mean_, 2)[::2]
    pca.singular_values_ = pca.singular_values_.astype(">f8")
    save_model(pca, tmp_path / "a")
    tensors, loaded = safetensors.numpy.load_file(tmp_path / "a"), load_model(tmp_path / "a")
    np.testing.assert_array_equal(tensors["components_"], pca.components_.T)
    np.testing.assert_array_equal(tensors["mean_"], pca.mean_)
    np.testing.assert_array_equal(tensors["singular_values_"], pca.singular_values_)
    np.testing.assert_array_equal(loaded.components_, pca.components_)
    assert loaded.components_.flags.f_contiguous
    assert loaded.singular_values_.dtype.isnative


def test_the_same_estimator_gives_the_same_file_in_every_process(tmp_path):
    pipe = make_pipeline(ImageNormalizer(), small()).fit(X, WORDS)
    save_model(pipe, tmp_path / "a")
    again = (
        "import sys; from sklearn_cnn import load_model, save_model; save_model(load_model(sys.argv[1]), sys.argv[2])"
    )
    for name in "bc":
        subprocess.run([sys.executable, "-c", again, tmp_path / "a", tmp_path / name], check=True, env=environment())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_what_is_too_much_for_a_file_is_refused(tmp_path):
    clf = small().fit(X, y)
    clf.history_ = [{"note": "x" * 9_000_000}]
    with pytest.raises(ValueError, match=r"take 9,.* bytes besides the tensors.*; shorten history_"):
        save_model(clf, tmp_path / "a")
    clf.history_ = [{"words": np.array(["x" * 10_000, *[""] * 2_000])}]
    with pytest.raises(ValueError, match=r"CNNClassifier\.history_\.0\.words is too large"):
        save_model(clf, tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_a_plan_that_was_changed_is_refused(tmp_path):
    clf = small().fit(X, y)
    clf.plan_ = replace(clf.plan_, layers=clf.plan_.layers[:-1])
    with pytest.raises(ValueError, match="was changed after"):
        save_model(clf, tmp_path / "a")
    clf.plan_ = replace(clf.plan_, layers=(*clf.plan_.layers[:-1], replace(clf.plan_.layers[-1], output_shape=(10,))))
    with pytest.raises(ValueError, match="was changed after"):
        save_model(clf, tmp_path / "a")


@pytest.mark.parametrize("name", ["model", "model.zip", "a b.ö", ".hidden"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_used_as_it_is(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(ImageNormalizer().fit(X), kind(name))
    assert os.listdir(tmp_path) == [name]
    load_model(kind(name))


@pytest.mark.skipif(os.name == "nt", reason="links and permissions of POSIX")
def test_links_and_permissions_are_those_of_any_file(tmp_path):
    os.symlink(tmp_path / "target", tmp_path / "link")
    save_model(ImageNormalizer().fit(X), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_is_not_there_or_no_name_is_an_error_of_its_own(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "a")
    with pytest.raises(IsADirectoryError if os.name != "nt" else OSError):
        load_model(tmp_path)
    with pytest.raises(TypeError):
        save_model(ImageNormalizer().fit(X), io.BytesIO())
    with pytest.raises(TypeError, match="path is a string or a path"):
        save_model(ImageNormalizer().fit(X), b"a")


# Devices.


def test_a_device_that_is_not_there_is_refused(tmp_path):
    save_model(small().fit(X, y), tmp_path / "a")
    with pytest.raises(ValueError, match="device='nowhere' is not there"):
        load_model(tmp_path / "a", device="nowhere")
    assert load_model(tmp_path / "a", device=torch.device("cpu")).device_ == "cpu"
