"""Saved models that are damaged, made up, or interrupted. The numbers are those of the reliability table."""

import contextlib
import copy
import errno
import importlib.util
import io
import json
import os
import pickle
import random
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_cnn
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, ImageNormalizer, _writing, load_model, save_model
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._model import Placement
from sklearn_cnn.persistence._plans import write_plan
from tests.persistence.files import START, join_tensors, members, nodes, pack, replaced, sign, split_tensors, zipped

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


def refused(load, content, match=None):
    with pytest.raises(ModelFileError, match=match) as info:
        load(content)
    assert type(info.value) is ModelFileError
    assert "path=" in str(info.value)


# Row 31.

KILLED = """
import os, sys
from sklearn_cnn import _writing
from sklearn_cnn.persistence._model import Placement
from sklearn_cnn.persistence._plans import write_plan

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
        self.file = open(descriptor, mode)  # noqa: SIM115 - it is one itself

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
    with pytest.raises((KeyboardInterrupt, OSError)) as info:
        save_model(normalizer, tmp_path / "model")
    monkeypatch.undo()
    assert call == "Ctrl-C" or "path=" in str(info.value)
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
    with pytest.raises(FileNotFoundError, match=r"in a folder that is not there; make .* first"):
        save_model(normalizer, tmp_path / "missing" / "model")
    (tmp_path / "file").write_bytes(b"earlier")
    with pytest.raises(OSError, match=r"in a folder that is not there; make .* first"):
        save_model(normalizer, tmp_path / "file" / "model")
    assert (tmp_path / "file").read_bytes() == b"earlier"


@pytest.mark.skipif(os.name == "nt", reason="pipes and lengths of names of POSIX")
def test_row_31_a_pipe_is_left_alone_and_a_name_may_be_as_long_as_any(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no plain file"):
        save_model(ImageNormalizer().fit(X), tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    save_model(ImageNormalizer().fit(X), tmp_path / ("a" * 255))


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
    yield "a checkpoint elsewhere", pack(with_parameter(model, "checkpoint", str(canary)), tensors)
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
    normalizer, network = model["model"]["parameters"]["steps"]
    for name, steps in {
        "no steps": [],
        "steps that are none": [5, "passthrough"],
        "a network that transforms": [network, normalizer],
        "a number as a step": [{"tuple": ["a", 5]}, network],
        "two steps of one name": [{"tuple": ["a", None]}, {"tuple": ["a", None]}],
    }.items():
        yield name, pack(replaced(model, ("model", "parameters", "steps"), steps), tensors)
    yield "a step that is not fitted", pack(changed(model, lambda model: estimator_of(model, 0).pop("fitted")), tensors)
    more = {"more": {"dtype": "U8", "shape": [1], "data_offsets": [len(numbers), len(numbers) + 1]}}
    yield "a tensor that belongs to nothing", pack(model, join_tensors({**header, **more}, numbers + b"x"))
    yield "bytes behind the tensors", pack(model, tensors + b"x")
    yield "a key twice", pack(b'{"format":1,' + text[1:], tensors)
    yield (
        "tensors of objects",
        pack(model, join_tensors({name: {**e, "dtype": "O"} for name, e in header.items()}, numbers)),
    )
    yield "tensors of a file", pack(model, join_tensors({**header, "__metadata__": {"file": "/etc/passwd"}}, numbers))


def _torch_file(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _npy(content):
    file = io.BytesIO()
    np.save(file, np.array([content], dtype=object), allow_pickle=True)
    return file.getvalue()


def test_row_33_nothing_of_a_malicious_file_runs(saved, loads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    files = list(payloads(saved, canary))
    assert len(files) >= 30
    load_model(saved)
    before = set(sys.modules)
    for name, content in files:
        refused(loads, content)
        assert not canary.exists(), name
        assert not (tmp_path.parent / canary.name).exists(), name
    assert set(sys.modules) == before


def test_row_33_a_network_of_the_web_is_unknown(saved, loads):
    pytest.importorskip("timm")
    model, tensors = members(saved)
    refused(loads, pack(with_backbone(model, "timm:hf-hub:somebody/something"), tensors), "is unknown to timm")


def test_row_33_code_in_strings_stays_a_string(saved, loads, tmp_path):
    model, tensors = members(saved)
    code = f"__import__('os').mkdir({str(tmp_path / 'canary')!r})"
    label = changed(model, lambda model: estimator_of(model, 1)["fitted"]["history_"][0]["dict"].append([code, code]))
    assert loads(pack(label, tensors))[-1].history_[0][code] == code
    assert not (tmp_path / "canary").exists()


# Row 34.


def is_refused(path):
    try:
        load_model(path)
    except ModelFileError:
        return True
    return False


def test_row_34_every_truncation_is_refused(saved, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "file"
    path.write_bytes(content)
    assert not is_refused(path)
    for length in reversed(range(len(content))):
        os.truncate(path, length)
        assert is_refused(path), length


def test_row_34_ten_thousand_changes_of_a_byte_are_refused(saved, tmp_path):
    content, draw, path = saved.read_bytes(), random.Random(0), tmp_path / "file"
    path.write_bytes(content)
    assert len(content) < 10_000
    with open(path, "r+b", buffering=0) as file:
        for number in range(10_000):
            # Every byte at least once.
            position = number if number < len(content) else draw.randrange(len(content))
            file.seek(position)
            file.write(bytes([(content[position] + draw.randrange(1, 256)) % 256]))
            assert is_refused(path), position
            file.seek(position)
            file.write(content[position : position + 1])
    assert not is_refused(path)


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
    # The images may be of another size or range now.
    with np.errstate(all="ignore"), contextlib.suppress(ValueError, TypeError):
        estimator.predict(images)
    return True


def signed_changes(content, n, seed):
    draw = random.Random(seed)
    for _ in range(n):
        archive = bytearray(content[START:])
        archive[draw.randrange(len(archive))] = draw.randrange(256)
        yield sign(bytes(archive))


# What single values are replaced by.
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


# Row 35.

UNDER_A_LIMIT = """
import resource, sys
import torch
torch.set_num_threads(1)
from sklearn_cnn import load_model
from sklearn_cnn.exceptions import ModelFileError

load_model(sys.argv[1])  # what the libraries take at their first use
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 400 * 2**20, -1))
for path in sys.argv[2:]:
    try:
        load_model(path)
    except ModelFileError as error:
        print("refused", path.rpartition("/")[2], error)
    else:
        print("loaded", path.rpartition("/")[2])
"""


def with_plan(model, image_shape=(8, 8), **parameters):
    """A model whose plan is one that fits itself, and nothing else."""
    plan = write_plan(tiny(**parameters).plan(image_shape=image_shape, n_outputs=3))
    return with_attribute(model, "plan_", {"plan": json.loads(json.dumps(plan))})


def with_backbone(model, name):
    """A model whose plan begins with a ready-made row."""
    row = {"name": "backbone", "kind": "module", "reads": ["input"], "output_shape": [1280], "block": "backbone"}
    output = {"name": "output", "kind": "dense", "reads": ["backbone"], "output_shape": [3], "block": "head"}
    layers = [
        {**row, "receptive_field": [8, 8], "n_parameters": 1, "n_macs": 1},
        {**output, "receptive_field": [8, 8], "n_parameters": 3843, "n_macs": 3840, "bias": True},
    ]
    plan = {"plan": {"input_shape": [1, 8, 8], "note": "", "layers": layers}}
    return with_attribute(with_attribute(model, "plan_", plan), "_architecture", name)


def bomb(name, other):
    """A zip of which one member is 300 MB of spaces, packed."""
    packed = zipfile.ZipInfo(name)
    packed.compress_type = zipfile.ZIP_DEFLATED
    return zipped(other, (packed, b" " * 300_000_000))


def oversized(path):
    """Small files that say something in them is large."""
    model, tensors = members(path)
    header, numbers = split_tensors(tensors)
    first, *others = header
    text = json.dumps(model).encode()

    def shaped(shape, size):
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
        return pack(model, join_tensors({first: entry, **{name: header[name] for name in others}}, numbers))

    def row(number, **settings):
        def change(model):
            estimator_of(model, 1)["fitted"]["plan_"]["plan"]["layers"][number].update(settings)

        return pack(changed(model, change), tensors)

    def many(value, n):
        return pack(changed(model, lambda model: model["model"]["parameters"].update(verbose=[value] * n)), tensors)

    yield "tensor of 4 TB", shaped([2**40], 2**42)
    yield "tensor of three axes", shaped([2**30] * 3, 2**92)
    yield "tensor of no numbers", shaped([0, 2**47, 2**47], 0)
    yield "tensor of many axes", shaped([1] * 10_000, 4)
    yield "tensor of a negative axis", shaped([-1, -1], 4)
    yield "header of 2^62 bytes", pack(model, struct.pack("<Q", 2**62) + tensors[8:])
    yield "header of one byte too many", pack(model, struct.pack("<Q", len(tensors) - 7) + tensors[8:])
    yield "header of lists", pack(model, join_tensors(b"[" * 4_000_000, b""))
    yield "JSON of lists in lists", pack(b"[" * 4_000_000, tensors)
    yield "JSON of objects in objects", pack(b'{"a":' * 1_000_000, tensors)
    deep = {"dict": [["deep", json.loads("[" * 100 + "]" * 100)]]}
    yield "values of 100 levels", pack(with_attribute(model, "history_", [deep]), tensors)
    yield "JSON of many lists", many([], 2_000_000)
    yield "JSON too long", pack(b" " * 9_000_000 + text, tensors)
    yield "a number of a million digits", pack(text[:-1] + b', "a": ' + b"9" * 1_000_000 + b"}", tensors)
    yield "a number too large", pack(text[:-1] + b', "a": 1e999}', tensors)
    yield "objects that are not there", pack(with_attribute(model, "classes_", {"objects": [[2**40], []]}), tensors)
    yield "one tensor for all", many({"array": first}, 100_000)
    yield "plan of a wide dense layer", pack(with_plan(model, hidden_layer_sizes=(2**30,)), tensors)
    yield "plan of a wide convolution", pack(with_plan(model, filters=(2**30,)), tensors)
    yield "plan of a large kernel", pack(with_plan(model, kernel_size=2**20 + 1), tensors)
    yield "plan of a large image", pack(with_plan(model, image_shape=(2**20, 2**20)), tensors)
    yield "plan of a wide row", row(1, output_shape=[2**30, 8, 8])
    yield "plan of negative sides", row(1, output_shape=[-(2**30), 8, 8])
    if has("torchvision"):
        yield "plan of a backbone", pack(with_backbone(model, "torchvision:vit_h_14"), tensors)
    shape = {"image_shape": [2**30, 2**30, 1, "hw", False]}
    yield "image of 2^60 pixels", pack(with_attribute(model, "image_shape_", shape), tensors)
    yield "JSON that unpacks", sign(bomb("model.json", ("tensors.safetensors", tensors)))
    yield "tensors that unpack", sign(bomb("tensors.safetensors", ("model.json", text)))
    size = struct.pack("<LL", len(tensors), len(tensors))
    yield "member of 4 GB", sign(path.read_bytes()[START:].replace(size, b"\xfe\xff\xff\xff" * 2))


def has(module):
    return importlib.util.find_spec(module) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_row_35_what_is_said_to_be_large_is_refused_before_memory_is_taken(saved, tmp_path):
    names = {}
    for number, (name, content) in enumerate(oversized(saved)):
        (tmp_path / f"{number:02}").write_bytes(content)
        names[f"{number:02}"] = name
    assert len(names) >= 20
    roots = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(sklearn_cnn.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(saved), *(str(tmp_path / number) for number in names)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": roots, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-2000:]
    answers = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [(names[number], answer) for answer, number, *_ in answers] == [(name, "refused") for name in names.values()]
    # An allocation that the limit stopped would be none that was refused beforehand.
    assert "allocate" not in done.stdout
    assert "MemoryError" not in done.stdout


# Row 36.


def test_row_36_fitted_on_a_gpu_and_loaded_without_one(tmp_path, monkeypatch):
    pipe = make_pipeline(ImageNormalizer(), tiny()).fit(X, WORDS)
    expected = pipe.predict_proba(X)
    pipe[-1].device_ = "cuda:0"
    save_model(pipe, tmp_path / "model")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="fitted on device 'cuda:0', which is not there; it predicts on the") as caught:
        loaded = load_model(tmp_path / "model")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert loaded[-1].device_ == "cpu"
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert load_model(tmp_path / "model", device="cpu")[-1].device_ == "cpu"  # asked for, so nothing to warn of
    with pytest.raises(ValueError, match="device='cuda' is not there"):
        load_model(tmp_path / "model", device="cuda")


def test_row_36_two_networks_give_one_warning(tmp_path, monkeypatch):
    first, second = tiny().fit(X, y), tiny().fit(X, y)
    first.device_ = second.device_ = "cuda:1"
    pipe = make_pipeline(CNNFeatureExtractor(first), StandardScaler(), Ridge()).fit(X, y)
    pipe[0].device_ = "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    save_model(pipe, tmp_path / "model")
    with pytest.warns(UserWarning, match="fitted on device 'cuda:1', 'mps', which") as caught:
        load_model(tmp_path / "model")
    assert len(caught) == 1


def test_row_36_one_of_several_gpus_that_is_not_there_is_another_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    placement = Placement(None)
    assert [placement.of(device) for device in ("cuda:7", "cuda:0", "cpu")] == ["cuda", "cuda:0", "cpu"]
    assert not placement.missing


# Row 37.


def test_row_37_a_file_of_format_1_predicts_what_it_did():
    assert FORMAT_1.stat().st_size < 20_000
    pipe = load_model(FORMAT_1)
    assert [type(step).__name__ for _, step in pipe.steps] == ["ImageNormalizer", "CNNClassifier"]
    np.testing.assert_array_equal(pipe.classes_, ["cat", "dog", "emu"])
    stored = [[0.74803, 0.06537, 0.1866], [0.1545, 0.6144, 0.2311], [0.14977, 0.04201, 0.80822]]
    np.testing.assert_allclose(pipe.predict_proba(X[:3]), stored, atol=1e-4)  # other processors round other ways
    assert len(pipe[-1].history_) == 30
    pipe[-1].partial_fit(pipe[0].transform(X), WORDS)


@pytest.mark.parametrize(
    ("versions", "match"),
    [
        (
            {"sklearn-cnn": "0.9.1"},
            "it has format 2, and sklearn-cnn .* reads format 1; load it with sklearn-cnn 0.9",
        ),
        ({"sklearn-cnn": "; rm -rf /"}, "load it with a newer sklearn-cnn"),
        (None, "load it with a newer sklearn-cnn"),
    ],
)
def test_row_37_a_newer_format_says_which_version_reads_it(versions, match, saved, loads):
    model, _ = members(saved)
    text = json.dumps({**model, "format": 2, "versions": versions, "more": 1}).encode()
    refused(loads, sign(zipped(("model.json", text), ("another", b"member"))), match)
