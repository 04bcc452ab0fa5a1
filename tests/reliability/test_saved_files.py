"""Saved models that are damaged, made up, or interrupted. The numbers are those of the reliability table."""

import copy
import errno
import json
import os
import pickle
import random
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

import sklearn_cnn
from sklearn_cnn import CNNClassifier, ImageNormalizer, load_model, save_model
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence import _writing
from tests.persistence.files import START, join_tensors, members, pack, sign, split_tensors, zipped

DIGITS = load_digits()
X, y = DIGITS.images[:40].astype(np.float32), DIGITS.target[:40] % 3
WORDS = np.array(["cat", "dog", "emu"])[y]
FORMAT_1 = Path(__file__).parents[1] / "persistence" / "data" / "format_1.model"


def tiny(**parameters):
    settings = {"filters": (2,), "hidden_layer_sizes": (), "max_epochs": 1, "random_state": 0}
    return CNNClassifier(**{**settings, **parameters})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small file: a normaliser and a network in a pipeline."""
    path = tmp_path_factory.mktemp("saved") / "model"
    save_model(make_pipeline(ImageNormalizer(), tiny()).fit(X, WORDS), path)
    return path


@pytest.fixture
def loads(tmp_path):
    """Load bytes."""

    def load(content):
        (tmp_path / "file").write_bytes(content)
        return load_model(tmp_path / "file")

    return load


def refused(load, content, match=""):
    with pytest.raises(ModelFileError, match=match) as info:
        load(content)
    assert type(info.value) is ModelFileError
    assert "path=" in str(info.value)


# Row 31.

KILLED = """
import os, sys
from sklearn_cnn.persistence import _writing

path, new = sys.argv[1], b"n" * 100_000
real_open = open

def run(child):
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)

def killed_at_line(number):
    passed = 0
    def trace(frame, event, arg):
        nonlocal passed
        if frame.f_code.co_filename != _writing.__file__:
            return None
        passed += 1
        if passed == number:
            os._exit(9)
        return trace
    def child():
        sys.settrace(trace)
        _writing.write_whole(path, new)
    return child

def killed_after_bytes(number):
    class Partly:
        def __init__(self, descriptor, mode):
            self.file = real_open(descriptor, mode)
        def __enter__(self):
            return self
        def __exit__(self, *args):
            os._exit(7)
        def write(self, content):
            self.file.write(content[:number])
            self.file.flush()
            os._exit(9)
    def child():
        _writing.open = Partly
        _writing.write_whole(path, new)
    return child

def look():
    with real_open(path, "rb") as file:
        content = file.read()
    assert content in (b"earlier", new), len(content)
    with real_open(path, "wb") as file:
        file.write(b"earlier")
    return content == new

points, written = 0, []
for number in range(0, 100_001, 4_000):
    assert run(killed_after_bytes(number)) == 9
    assert not look()
    points += 1
number, code = 1, 9
while code == 9:
    code = run(killed_at_line(number))
    written.append(look())
    number += 1
assert code == 0, code
assert written == sorted(written), "the new file was there, and then the earlier one again"
print(points + len(written) - 1)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
def test_row_31_killed_at_any_point_of_writing_the_earlier_file_or_the_new_one_is_there(tmp_path):
    (tmp_path / "model").write_bytes(b"earlier")
    environment = {**os.environ, "PYTHONPATH": str(Path(sklearn_cnn.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 50


class FullDisk:
    """A file that takes some bytes and no more."""

    def __init__(self, descriptor, mode):
        self.file = open(descriptor, mode)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, content):
        self.file.write(bytes(content[:100]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "disk", "Ctrl-C"])
def test_row_31_a_failure_leaves_the_earlier_file_and_nothing_else(call, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        if call == "Ctrl-C":
            raise KeyboardInterrupt
        raise OSError(errno.EIO, "injected")

    (tmp_path / "model").write_bytes(b"earlier")
    normalizer = ImageNormalizer().fit(X)
    if call == "disk":
        monkeypatch.setattr(_writing, "open", FullDisk, raising=False)
    else:
        monkeypatch.setattr(os, {"Ctrl-C": "fsync"}.get(call, call), fail)
    with pytest.raises(KeyboardInterrupt if call == "Ctrl-C" else OSError, match="" if call == "Ctrl-C" else "path="):
        save_model(normalizer, tmp_path / "model")
    monkeypatch.undo()
    assert (tmp_path / "model").read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["model"]


def test_row_31_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (order.append(name), real(*args))[1])
    save_model(ImageNormalizer().fit(X), tmp_path / "model")
    assert order == (["fsync", "replace"] if os.name == "nt" else ["fsync", "replace", "fsync"])


def test_row_31_places_that_cannot_be_written_are_errors_in_words(tmp_path):
    normalizer = ImageNormalizer().fit(X)
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        save_model(normalizer, tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_model(normalizer, tmp_path / "missing" / "model")
    (tmp_path / "file").write_bytes(b"earlier")
    with pytest.raises(OSError, match="there is no folder"):
        save_model(normalizer, tmp_path / "file" / "model")
    assert (tmp_path / "file").read_bytes() == b"earlier"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="an administrator may write everywhere")
def test_row_31_a_folder_without_permission_is_an_error_in_words(tmp_path):
    (tmp_path / "model").write_bytes(b"earlier")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="could not be written"):
            save_model(ImageNormalizer().fit(X), tmp_path / "model")
        assert (tmp_path / "model").read_bytes() == b"earlier"
    finally:
        tmp_path.chmod(0o700)


# Row 33.


class Runs:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def changed(model, change):
    model = copy.deepcopy(model)
    change(model)
    return model


def estimator_of(model, number):
    return model["model"]["parameters"]["steps"][number]["tuple"][1]["estimator"]


def with_step(model, **content):
    return changed(model, lambda model: estimator_of(model, 1).update(content))


def with_parameter(model, name, value):
    return changed(model, lambda model: estimator_of(model, 1)["parameters"].update({name: value}))


def with_attribute(model, name, value):
    return changed(model, lambda model: estimator_of(model, 1)["fitted"].update({name: value}))


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def folder(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFDIR | 0o777) << 16
    return info, b""


def payloads(path, canary):
    """Thirty and more files that want to run code, write files or read others."""
    model, tensors = members(path)
    text = json.dumps(model).encode()
    evil = pickle.dumps(Runs(str(canary)))
    code = f"__import__('os').mkdir({str(canary)!r})"
    whole = ("tensors.safetensors", tensors)
    outside = f"../{canary.name}"
    header, numbers = split_tensors(tensors)
    yield "a pickle", evil
    yield "a pickle behind the first bytes", path.read_bytes()[:START] + evil
    yield "a signed pickle", sign(evil)
    yield "a pickle in place of JSON", pack(evil, tensors)
    yield "a pickle in place of tensors", pack(model, evil)
    yield "a file of torch", _torch_file(Runs(str(canary)))
    yield "a signed file of torch", sign(_torch_file(Runs(str(canary))))
    yield "an array of pickles", pack(model, _npy(Runs(str(canary))))
    yield "a member too many", pack(model, tensors, ("data.pkl", evil))
    yield "a member outside", pack(model, tensors, (outside, b"x"))
    yield "a member at the root", pack(model, tensors, (str(canary), b"x"))
    yield "JSON outside", sign(zipped((f"../{'model.json'}", text), whole))
    yield "a member of a folder", sign(zipped(("sub/model.json", text), whole))
    yield "a folder", pack(model, tensors, folder("sub/"))
    yield "a link beside", pack(model, tensors, link("link", str(canary)))
    yield "a link as tensors", sign(zipped(("model.json", text), link("tensors.safetensors", "/etc/passwd")))
    yield "a link as JSON", sign(zipped(link("model.json", "/etc/passwd"), whole))
    yield "members twice", pack(model, tensors, ("model.json", evil))
    yield "tensors twice", pack(model, tensors, ("tensors.safetensors", evil))
    for name in ("os.system", "subprocess.Popen", "builtins.eval", "sklearn.svm.SVC", "SVC", "DummyClassifier", "type"):
        yield f"the class {name}", pack(with_step(model, **{"class": name}), tensors)
    yield "a class as a list", pack(with_step(model, **{"class": ["os", "system"]}), tensors)
    yield "a module beside the class", pack(with_step(model, module="os"), tensors)
    yield "a callable by name", pack(with_parameter(model, "optimizer", "os.system"), tensors)
    yield "code as architecture", pack(with_parameter(model, "architecture", {"callable": code}), tensors)
    yield "code as filters", pack(with_parameter(model, "filters", code), tensors)
    yield "weights elsewhere", pack(with_parameter(model, "weights", "evil.pth"), tensors)
    yield "callbacks", pack(with_parameter(model, "skorch_callbacks", [code]), tensors) if False else b""
    yield "a parameter too many", pack(with_parameter(model, "__init__", code), tensors)
    yield "a method of its own", pack(with_attribute(model, "predict", code), tensors)
    yield "another class by attribute", pack(with_attribute(model, "__class__", "str"), tensors)
    yield "a network by name", pack(with_attribute(model, "_architecture", code), tensors)
    yield "a network of the web", pack(with_attribute(model, "_architecture", "timm:hf-hub:a/b"), tensors)
    yield "a device that is code", pack(with_attribute(model, "device_", code), tensors)
    yield "another type", pack(with_attribute(model, "classes_", {"__reduce__": ["os.mkdir", str(canary)]}), tensors)
    yield "objects", pack(with_attribute(model, "classes_", {"pickle": evil.hex()}), tensors)
    yield (
        "a cache elsewhere",
        pack(changed(model, lambda model: model["model"]["parameters"].update(memory=str(canary))), tensors),
    )
    yield (
        "tensors of objects",
        pack(model, join_tensors({name: {**e, "dtype": "O"} for name, e in header.items()}, numbers)),
    )
    yield "tensors of a file", pack(model, join_tensors({**header, "__metadata__": {"file": "/etc/passwd"}}, numbers))


def _torch_file(content):
    import io

    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _npy(content):
    import io

    file = io.BytesIO()
    np.save(file, np.array([content], dtype=object), allow_pickle=True)
    return file.getvalue()


def test_row_33_nothing_of_a_malicious_file_runs(saved, loads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    before = set(sys.modules)
    tried = 0
    for name, content in payloads(saved, canary):
        if not content:
            continue
        with pytest.raises(ModelFileError):
            loads(content)
            pytest.fail(f"{name} was loaded")
        assert not canary.exists(), name
        assert not (tmp_path.parent / canary.name).exists(), name
        tried += 1
    assert tried >= 30
    assert {name.split(".")[0] for name in set(sys.modules) - before} <= {
        "timm",
        "torchvision",
        "huggingface_hub",
        *KNOWN,
    }


KNOWN = {name.split(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)


def test_row_33_code_in_strings_stays_a_string(saved, loads, tmp_path):
    model, tensors = members(saved)
    code = f"__import__('os').mkdir({str(tmp_path / 'canary')!r})"
    label = changed(model, lambda model: estimator_of(model, 1)["fitted"]["history_"][0]["dict"].append([code, code]))
    assert loads(pack(label, tensors))[-1].history_[0][code] == code
    assert not (tmp_path / "canary").exists()


# Row 34.


def test_row_34_every_truncation_is_refused(saved, loads):
    content = saved.read_bytes()
    for length in range(len(content)):
        refused(loads, content[:length])


def test_row_34_ten_thousand_changes_of_a_byte_are_refused(saved, loads):
    content, draw = bytearray(saved.read_bytes()), random.Random(0)
    for number in range(10_000):
        # Every byte at least once.
        position = number if number < len(content) else draw.randrange(len(content))
        earlier = content[position]
        content[position] = (earlier + draw.randrange(1, 256)) % 256
        refused(loads, bytes(content))
        content[position] = earlier
    assert len(content) < 10_000
    load_model(saved)


@pytest.mark.parametrize("more", [b"\0", b"\n", b"PK\5\6" + b"\0" * 18])
def test_row_34_bytes_before_or_behind_are_refused(more, saved, loads):
    content = saved.read_bytes()
    refused(loads, content + more)
    refused(loads, more + content)
    refused(loads, content[:START] + more + content[START:])


def survives(load, content, images=X):
    """What is signed is refused with the one error, or is an estimator that predicts or says why not."""
    try:
        estimator = load(content)
    except ModelFileError:
        return False
    assert isinstance(estimator, BaseEstimator)
    with np.errstate(all="ignore"):
        try:
            estimator.predict(images)
        except (ValueError, TypeError):
            pass  # of images of another size or range, for one
    return True


def signed_changes(content, n, seed):
    draw = random.Random(seed)
    for _ in range(n):
        archive = bytearray(content[START:])
        archive[draw.randrange(len(archive))] = draw.randrange(256)
        yield sign(bytes(archive))


NODES = [
    None,
    True,
    -1,
    0,
    3,
    2**31,
    2**62,
    0.5,
    -1e308,
    "",
    "cpu",
    "os.system",
    [],
    [[]],
    {},
    {"tuple": []},
    {"array": "no tensor"},
    {"estimator": {}},
    {"float": "nan"},
]


def nodes(value, where=()):
    """Paths to all values within a value."""
    yield where
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(entry, (*where, key))


def replaced(model, where, value):
    if not where:
        return value
    model = copy.deepcopy(model)
    parent = model
    for key in where[:-1]:
        parent = parent[key]
    parent[where[-1]] = value
    return model


def signed_nodes(path, n, seed):
    """Files of which one value of the JSON, or of the header of the tensors, is another."""
    model, tensors = members(path)
    header, numbers = split_tensors(tensors)
    draw = random.Random(seed)
    of_model, of_header = list(nodes(model)), list(nodes(header))
    for i in range(n):
        value = draw.choice(NODES)
        if i % 4:
            yield pack(replaced(model, draw.choice(of_model), value), tensors)
        else:
            yield pack(model, join_tensors(replaced(header, draw.choice(of_header), value), numbers))


@pytest.mark.filterwarnings("ignore:the pixels of X go from")
@pytest.mark.parametrize(
    ("n", "seed"), [(400, 0), pytest.param(10_000, 1, marks=pytest.mark.slow)]
)  # the larger one takes minutes
@pytest.mark.parametrize("changes", [signed_changes, signed_nodes])
def test_row_34_changes_that_are_signed_are_refused_or_are_an_estimator(changes, n, seed, saved, loads):
    contents = changes(saved.read_bytes() if changes is signed_changes else saved, n, seed)
    loaded = sum(survives(loads, content) for content in contents)
    assert loaded < n
