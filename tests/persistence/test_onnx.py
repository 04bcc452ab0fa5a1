"""export_onnx: onnxruntime predicts what the estimator does, and nothing but the file is left behind.

An export takes seconds. What becomes of an estimator is one torch module, so most tests compare that module with the
estimator, and `make test-slow` runs them a second time on exported files.
"""

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import sklearn_cnn.persistence._onnx as module
from sklearn_cnn import (
    CNNClassifier,
    CNNFeatureExtractor,
    CNNRegressor,
    ImageAugmenter,
    ImageNormalizer,
    ImageReader,
    export_onnx,
    list_architectures,
)

SMALL = {"filters": (4,), "hidden_layer_sizes": (8,), "max_epochs": 2, "batch_size": 8, "random_state": 0}
Y = np.arange(24) % 3


@pytest.fixture
def session(tmp_path):
    """Export an estimator and open the file with onnxruntime."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="the extra 'onnx' brings it")
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' brings it")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1

    def export(estimator):
        folder = tmp_path / "exported"
        folder.mkdir(exist_ok=True)
        export_onnx(estimator, folder / "cnn.onnx")
        assert os.listdir(folder) == ["cnn.onnx"]  # weights and all
        return runtime.InferenceSession((folder / "cnn.onnx").read_bytes(), options, providers=["CPUExecutionProvider"])

    return export


class InTorch:
    """The module that is exported, with the methods of a session of onnxruntime that the tests call."""

    def __init__(self, estimator):
        self.module = module._Exported(*module._find_steps(estimator))

    def get_outputs(self):
        return [SimpleNamespace(name=name) for name in self.module.output_names]

    def run(self, _, given):
        with torch.no_grad():
            return [output.numpy() for output in self.module(torch.from_numpy(given["images"]))]


@pytest.fixture(params=["torch", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def graph(request):
    """Make the graph of an estimator, to be run by torch or, exported, by onnxruntime."""
    return InTorch if request.param == "torch" else request.getfixturevalue("session")


def run(session, X):
    """Outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": np.asarray(X, np.float32)}), strict=True))


def images(n=24, height=9, width=11, channels=3, axes="hwc", *, flat=False):
    X = np.random.default_rng(0).integers(0, 256, (n, height, width, channels)).astype(np.float32)
    X = X[..., 0] if axes == "hw" else np.moveaxis(X, -1, 1) if axes == "chw" else X
    return np.ascontiguousarray(X.reshape(n, -1) if flat else X)


def check_classifier(session, classifier, X):
    for n in (1, 2, 7, len(X)):
        outputs = run(session, X[:n])
        assert list(outputs) == ["probabilities", "index"]
        assert (outputs["probabilities"].dtype, outputs["index"].dtype) == (np.float32, np.int64)
        np.testing.assert_allclose(outputs["probabilities"], classifier.predict_proba(X[:n]), rtol=0, atol=1e-5)
        np.testing.assert_array_equal(classifier.classes_[outputs["index"]], classifier.predict(X[:n]))


def test_1797_digits_have_the_same_labels_and_probabilities(session):
    X, y = load_digits().images, load_digits().target
    clf = CNNClassifier(random_state=0, max_epochs=3).fit(X[:1000], y[:1000])
    assert clf.score(X[1000:], y[1000:]) > 0.9
    check_classifier(session(clf), clf, X)


@pytest.mark.parametrize("flat", [False, True], ids=["", "flat"])
@pytest.mark.parametrize(("axes", "channels"), [("hw", 1), ("hwc", 3), ("chw", 4), ("chw", 1)])
def test_the_input_is_laid_out_as_in_fit(graph, axes, channels, flat):
    X = images(channels=channels, axes=axes, flat=flat)
    shape = {"hw": (9, 11), "hwc": (9, 11, channels), "chw": (channels, 9, 11)}[axes]
    given = {"image_shape": shape} if flat else {}
    pipe = make_pipeline(ImageNormalizer(per="pixel", **given), CNNClassifier(**SMALL, **given)).fit(X, Y)
    check_classifier(graph(pipe), pipe, X)


@pytest.mark.parametrize(
    "axes", [*(pytest.param(axes, marks=pytest.mark.slow) for axes in ("hw", "hwc", "chw")), "flat"]
)
def test_onnxruntime_reads_the_types_and_shapes_of_images_and_predictions(session, axes):
    X, given = images(axes=axes), {}
    if axes == "flat":
        X, given = images(flat=True), {"image_shape": (9, 11, 3)}
    settings = {"kernel_size": 4, "padding_mode": "reflect", "dropout": 0.5}  # which need steps of their own
    normalizer = ImageNormalizer("minmax", per="image", **given)
    pipe = make_pipeline(normalizer, CNNClassifier(**SMALL, **settings, **given)).fit(X, Y)
    exported = session(pipe)
    (entry,) = exported.get_inputs()
    assert (entry.name, entry.type, entry.shape) == ("images", "tensor(float)", ["n", *X.shape[1:]])
    assert [output.shape for output in exported.get_outputs()] == [["n", 3], ["n"]]
    check_classifier(exported, pipe, X)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 4},
        {"kernel_size": 4, "padding_mode": "replicate", "activation": "leaky_relu"},
        {"kernel_size": 4, "padding_mode": "reflect", "activation": "elu"},
        {"kernel_size": 4, "padding_mode": "circular", "activation": "gelu"},
        {"padding_mode": "replicate", "activation": "silu", "dilation": 2},
        {"padding_mode": "reflect", "activation": "tanh", "global_pooling": "avg"},
        {"padding_mode": "circular", "activation": "sigmoid", "global_pooling": "max"},
        {"stride": 2, "kernel_size": 4, "activation": "identity", "pooling": None},
        {"pooling": "avg", "pool_size": 3, "pool_stride": 2, "convs_per_block": 2, "dropout": 0.5},
        {"pool_size": 20, "normalization": None, "standardize": False, "lr": 1e-4},
        {"filters": ()},
    ],
    ids=str,
)
def test_settings_of_the_blocks(graph, settings):
    X = images()
    clf = CNNClassifier(**{**SMALL, **settings}).fit(X, Y)
    check_classifier(graph(clf), clf, X)


@pytest.mark.parametrize("per", ["channel", "pixel", "image", "all"])
@pytest.mark.parametrize("method", ["standardize", "minmax"])
def test_pipelines_with_a_normalizer(graph, per, method):
    X = images()
    X[3] = X[:, 0, 0] = 7  # an image without contrast, and a pixel that never varies
    pipe = make_pipeline(
        ImageAugmenter(horizontal_flip=0.5, random_state=0),
        "passthrough",
        ImageNormalizer(method, per=per),
        CNNClassifier(**SMALL, standardize=False),
    )
    pipe.fit(X, Y)
    check_classifier(graph(pipe), pipe, X)


def test_a_normalizer_keeps_small_differences_between_large_values(graph):
    X = 60_000 + images() / 100
    pipe = make_pipeline(ImageNormalizer(), CNNClassifier(**SMALL, standardize=False)).fit(X, Y)
    check_classifier(graph(pipe), pipe, X)


def test_steps_that_read_the_same_rows_as_other_shapes(graph):
    X = images(height=12, width=12, channels=1, flat=True)  # squares to the normaliser, and wide to the network
    pipe = make_pipeline(ImageNormalizer(per="pixel"), CNNClassifier(**SMALL, image_shape=(6, 8, 3))).fit(X, Y)
    check_classifier(graph(pipe), pipe, X)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_architectures())
def test_networks_of_the_catalog(session, name):
    X = images(6, 32, 32)
    clf = CNNClassifier(architecture=name, max_epochs=1, batch_size=6, random_state=0).fit(X, Y[:6])
    check_classifier(session(clf), clf, X)


def test_a_backbone_of_torchvision(session):
    pytest.importorskip("torchvision", reason="the extra 'pretrained' brings it")
    X = images(8, 32, 32)
    clf = CNNClassifier(architecture="torchvision:resnet18", max_epochs=1, batch_size=8, random_state=0).fit(X, Y[:8])
    check_classifier(session(clf), clf, X)


class Own(nn.Module):
    def __init__(self, shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(shape.channels, 4, 3)
        self.dense = nn.Linear(4 * 7 * 9, n_outputs)

    def forward(self, x):
        return self.dense(self.conv(x).relu().reshape(x.shape[0], -1))


class OwnForOneSize(Own):
    def forward(self, x):
        return self.dense(self.conv(x).relu().reshape(len(x), -1))


def test_a_network_of_ones_own(session):
    X = images()
    clf = CNNClassifier(architecture=Own, max_epochs=1, random_state=0).fit(X, Y)
    check_classifier(session(clf), clf, X)


def test_a_network_that_fixes_the_number_of_images_is_refused(session, tmp_path):
    clf = CNNClassifier(architecture=OwnForOneSize, max_epochs=1, random_state=0).fit(images(), Y)
    with pytest.raises(ValueError, match=r"x\.shape\[0\] and not len\(x\)"):
        session(clf)
    assert os.listdir(tmp_path / "exported") == []


def test_float64_networks_are_written_in_float32(graph):
    X = images()
    clf = CNNClassifier(**SMALL, precision="float64").fit(X, Y)
    check_classifier(graph(clf), clf, X)


def test_several_labels_an_image(session):
    X = images()
    clf = CNNClassifier(**SMALL).fit(X, np.c_[Y == 0, Y > 0, Y == 2].astype(int))
    exported = session(clf)
    for n in (1, 2, 7, 24):
        outputs = run(exported, X[:n])
        assert list(outputs) == ["probabilities"]
        np.testing.assert_allclose(outputs["probabilities"], clf.predict_proba(X[:n]), rtol=0, atol=1e-5)
        np.testing.assert_array_equal(outputs["probabilities"] > 0.5, clf.predict(X[:n]))
    assert json.loads(exported.get_modelmeta().custom_metadata_map["task"]) == "multilabel"


@pytest.mark.parametrize(
    "targets", [pytest.param(1e9 + Y, marks=pytest.mark.slow), np.c_[Y, 1e9 + Y]], ids=["one", "two"]
)
def test_numbers_have_the_unit_and_shape_of_predict(session, targets):
    X = images()
    model = make_pipeline(ImageNormalizer(per="image"), CNNRegressor(**SMALL)).fit(X, targets)
    exported = session(model)
    for n in (1, 2, 7, 24):
        predictions = run(exported, X[:n])["predictions"]
        expected = model.predict(X[:n])
        assert (predictions.shape, predictions.dtype) == (expected.shape, np.float64)
        np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-5 * targets.std(axis=0).max())


@pytest.mark.parametrize("layer", [pytest.param("embedding", marks=pytest.mark.slow), "block1_conv"])
def test_features(session, layer):
    X = images()
    trained = CNNClassifier(**SMALL).fit(X, Y)
    extractor = CNNFeatureExtractor(trained, layer=layer).fit(X)
    exported = session(extractor)
    for n in (1, 2, 7, 24):
        np.testing.assert_allclose(run(exported, X[:n])["features"], extractor.transform(X[:n]), rtol=0, atol=1e-5)


def test_wrappings_are_looked_through(fitted):
    (scale,), network = fitted[:1], fitted[-1]
    for wrapped in (
        FrozenEstimator(fitted),
        make_pipeline(FrozenEstimator(fitted)),
        make_pipeline(FrozenEstimator(scale), FrozenEstimator(make_pipeline(network))),
    ):
        assert module._find_steps(wrapped) == ([scale], network)
    assert module._find_steps(FrozenEstimator(network)) == ([], network)
    with pytest.raises(NotFittedError):
        module._find_steps(GridSearchCV(fitted, {}))


def test_the_best_of_a_search(graph):
    X = images()
    pipe = make_pipeline(ImageNormalizer(), CNNClassifier(**SMALL))
    search = GridSearchCV(pipe, {"imagenormalizer__per": ["channel", "image"]}, cv=2).fit(X, Y)
    check_classifier(graph(search), search, X)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The content of one file."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="the extra 'onnx' brings it")
    path = tmp_path_factory.mktemp("exported") / "cnn.onnx"
    export_onnx(CNNClassifier(**SMALL).fit(images(), np.array(["a", "ü", 'say "c"'])[Y]), path)
    return path.read_bytes()


def test_the_metadata_has_labels_and_shape_as_json(written):
    onnx = pytest.importorskip("onnx", reason="the extra 'onnx' brings it")
    facts = {entry.key: json.loads(entry.value) for entry in onnx.load_from_string(written).metadata_props}
    assert facts == {
        "task": "multiclass",
        "image_shape": {"height": 9, "width": 11, "channels": 3, "axes": "hwc", "flat": False},
        "classes": ["a", 'say "c"', "ü"],
    }


@pytest.mark.parametrize(
    "labels", [[3, 5], [1.0, 2.5], [False, True], ["a", "b"]], ids=lambda labels: type(labels[0]).__name__
)
def test_labels_of_any_type_become_json(labels):
    assert json.loads(json.dumps(module._plain_labels(np.array(labels)))) == labels
    assert module._plain_labels(np.array(labels, dtype=object)) == labels


def test_dates_become_text():
    dates = np.array(["2020-01-02", "2021-01-02"], dtype="datetime64[ns]")
    assert module._plain_labels(dates)[0].startswith("2020-01-02")


def test_the_file_tells_nothing_of_the_machine(written):
    for trace in (b"pkg.torch", b"stack_trace", b".py", str(Path(module.__file__).parent).encode()):
        assert trace not in written


def test_the_estimator_and_global_state_stay_as_they_are(session):
    X = images()
    pipe = make_pipeline(ImageNormalizer(), CNNClassifier(**SMALL, precision="float64")).fit(X, Y)
    clf = pipe[-1]
    predicted, attributes = pipe.predict_proba(X), dict(vars(clf))
    weights = {name: (value, value.clone()) for name, value in clf.module_.state_dict().items()}
    modules = {name: set(vars(part)) for name, part in clf.module_.named_modules()}
    wants_gradient = [parameter.requires_grad for parameter in clf.module_.parameters()]

    def state():
        numbers = np.random.get_state()[1].tolist()  # noqa: NPY002  # the legacy state is what must not change
        return torch.random.get_rng_state().tolist(), numbers, random.getstate(), torch.get_num_threads()

    before = state()
    with torch.enable_grad():
        session(pipe)
        assert torch.is_grad_enabled()
    assert state() == before
    assert vars(clf) == attributes
    assert {name: set(vars(part)) for name, part in clf.module_.named_modules()} == modules
    assert [parameter.requires_grad for parameter in clf.module_.parameters()] == wants_gradient
    for name, value in clf.module_.state_dict().items():
        assert value.data_ptr() == weights[name][0].data_ptr()
        assert torch.equal(value, weights[name][1])
    assert not clf.module_.training
    np.testing.assert_array_equal(pipe.predict_proba(X), predicted)


def test_an_export_says_nothing_where_warnings_are_errors(session, tmp_path):
    # In a process of its own: some packages warn only when they are first imported. Without torchvision the exporter
    # logs what it cannot do.
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "import numpy as np\n"
        "from sklearn_cnn import CNNClassifier, export_onnx\n"
        "X = np.random.default_rng(0).random((12, 6, 6))\n"
        "clf = CNNClassifier(filters=2, hidden_layer_sizes=4, max_epochs=1, random_state=0).fit(X, np.arange(12) % 2)\n"
        "export_onnx(clf, 'cnn.onnx')\n"
        "assert sys.modules['onnxscript']\n"
    )
    # torch 2.6 leaves a folder of its own to the end of the process.
    options = ["-W", "error", "-W", "ignore:Implicitly cleaning up:ResourceWarning"]
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_levels_of_loggers_are_put_back():
    with pytest.raises(KeyError), module._quiet():
        raise KeyError
    assert all(
        module.logging.getLogger(name).level < module.logging.ERROR
        for name in ("torch.onnx", "torch.fx.experimental.symbolic_shapes")
    )


def test_a_file_is_replaced_whole_or_not_at_all(fitted, tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="the extra 'onnx' brings it")
    (tmp_path / "cnn.onnx").write_bytes(b"earlier")
    monkeypatch.setattr(module, "_trace", lambda *_: SimpleNamespace(SerializeToString=lambda: b"new"))

    def full(_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        export_onnx(fitted, tmp_path / "cnn.onnx")
    assert os.listdir(tmp_path) == ["cnn.onnx"]
    assert (tmp_path / "cnn.onnx").read_bytes() == b"earlier"


def test_more_weights_than_a_file_holds_are_refused(session, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(ValueError, match="holds less than 2"):
        session(CNNClassifier(**SMALL).fit(images(), Y))


def test_a_network_that_cannot_be_written_is_refused_with_versions(session, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match=r"torch 2\.\S+ with onnxscript \d\S+ cannot write"):
        session(CNNClassifier(**SMALL).fit(images(), Y))


@pytest.fixture(scope="module")
def fitted():
    """A pipeline that can be exported; these tests need no extra."""
    return Pipeline([("scale", ImageNormalizer()), ("cnn", CNNClassifier(**SMALL))]).fit(images(), Y)


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [(".", IsADirectoryError, "is a folder"), ("missing/cnn.onnx", FileNotFoundError, "folder that is not there")],
)
def test_a_bad_path_is_refused_before_the_work(fitted, tmp_path, monkeypatch, place, error, words):
    monkeypatch.setattr(module, "_trace", lambda *_: pytest.fail("the export has begun"))
    with pytest.raises(error, match=words):
        export_onnx(fitted, str(tmp_path / place))


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(fitted, tmp_path, monkeypatch, package):
    for name in ("onnx", "onnxscript"):  # no more than one is missing, also where none is installed
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    with pytest.raises(ImportError, match=rf"export_onnx needs {package}, .*pip install 'sklearn-cnn\[onnx\]'"):
        export_onnx(fitted, tmp_path / "cnn.onnx")
    assert not os.listdir(tmp_path)


def test_other_estimators_and_steps_are_refused_by_name(fitted, tmp_path):
    X = images(flat=True)
    rows = CNNClassifier(**SMALL, image_shape=(9, 11, 3)).fit(X, Y)
    scaled = Pipeline([("z", StandardScaler().fit(X)), ("cnn", rows)])
    read = Pipeline([("read", ImageReader()), *fitted.steps])
    features = make_pipeline(CNNFeatureExtractor(fitted[-1]), LogisticRegression())
    cases = [
        (LogisticRegression(), "got LogisticRegression"),
        (features, "ends in one; got the step 'logisticregression', LogisticRegression"),
        (fitted[:1], "ends in one; got the step 'scale', ImageNormalizer"),
        (scaled, "ImageNormalizer and ImageAugmenter; got the step 'z', StandardScaler"),
        (read, r"the step 'read', ImageReader opens files.*pipe\[1:\]"),
    ]
    for estimator, words in cases:
        with pytest.raises(TypeError, match=words):
            export_onnx(estimator, tmp_path / "cnn.onnx")


def test_unfitted_estimators_are_refused(fitted, tmp_path):
    for estimator in (CNNClassifier(), clone(fitted), Pipeline([("scale", ImageNormalizer()), fitted.steps[1]])):
        with pytest.raises(NotFittedError):
            export_onnx(estimator, tmp_path / "cnn.onnx")


def test_steps_that_were_fitted_apart_are_compared(fitted, tmp_path):
    other = ImageNormalizer().fit(images(axes="chw"))
    with pytest.raises(ValueError, match=r"the step 'scale', ImageNormalizer was fitted on images of shape \(3, 9, 11"):
        export_onnx(Pipeline([("scale", other), fitted.steps[1]]), tmp_path / "cnn.onnx")
    changed = clone(fitted[0]).fit(images()).set_params(per="image")
    with pytest.raises(ValueError, match="fitted with per='channel'"):
        export_onnx(Pipeline([("scale", changed), fitted.steps[1]]), tmp_path / "cnn.onnx")


def test_torch_export_of_a_fitted_module_takes_any_number_of_images(fitted):
    X = torch.from_numpy(images(axes="chw"))
    network = fitted[-1].module_
    program = torch.export.export(network, (X[:2],), dynamic_shapes=({0: torch.export.Dim("n")},), strict=False)
    for n in (1, 2, 7, 24):
        torch.testing.assert_close(program.module()(X[:n]), network(X[:n]), rtol=1e-5, atol=1e-5)
