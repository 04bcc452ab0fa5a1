"""Saved models that are damaged, made up, or interrupted. The numbers are those of the reliability table."""

import contextlib
import copy
import errno
import functools
import importlib.util
import io
import json
import os
import pickle
import random
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_cnn
from sklearn_cnn import CNNClassifier, CNNFeatureExtractor, ImageNormalizer, _writing, load_model, save_model
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._plans import write_plan
from sklearn_cnn.persistence._safetensors import DIGEST
from sklearn_cnn.training._device import nearest_device
from tests.persistence.files import ZEROS, dumped, join, nodes, replaced, sign, split, with_header

DIGITS = load_digits()
X, y = DIGITS.images[:40].astype(np.float32), DIGITS.target[:40] % 3
WORDS = np.array(["cat", "dog", "emu"])[y]
FORMAT_1 = Path(__file__).parents[1] / "persistence" / "data" / "format_1.safetensors"


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

path, step, new = sys.argv[1], int(sys.argv[2]), b"n" * 100_000
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
for number in range(0, 100_001, 4_000 * step):
    assert run(killed_after_bytes(number)) == 9
    assert not look()
    points += 1
number, code = 1, 9
while code == 9:
    code = run(killed_at_line(number))
    written.append(look())
    number += step
assert code == 0, code
assert written == sorted(written), "the new file was there, and then the earlier one again"
print(points + len(written) - 1)
"""


@pytest.mark.reliability(31)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
@pytest.mark.parametrize(("step", "n"), [(6, 10), pytest.param(1, 50, marks=pytest.mark.slow)])
def test_killed_at_any_point_of_writing_the_earlier_file_or_the_new_one_is_there(step, n, tmp_path):
    (tmp_path / "model").write_bytes(b"earlier")
    environment = {**os.environ, "PYTHONPATH": str(Path(sklearn_cnn.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "model"), str(step)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= n


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


@pytest.mark.reliability(31)
@pytest.mark.parametrize("call", ["open", "fsync", "replace", "disk", "Ctrl-C"])
def test_a_failure_leaves_the_earlier_file_and_nothing_else(call, tmp_path, monkeypatch):
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


@pytest.mark.reliability(31)
def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (order.append(name), real(*args))[1])
    save_model(ImageNormalizer().fit(X), tmp_path / "model")
    assert order == (["fsync", "replace"] if os.name == "nt" else ["fsync", "replace", "fsync"])


@pytest.mark.reliability(31)
def test_places_that_cannot_be_written_are_errors_in_words(tmp_path):
    normalizer = ImageNormalizer().fit(X)
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        save_model(normalizer, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"in a folder that is not there; make .* first"):
        save_model(normalizer, tmp_path / "missing" / "model")
    (tmp_path / "file").write_bytes(b"earlier")
    with pytest.raises(OSError, match=r"in a folder that is not there; make .* first"):
        save_model(normalizer, tmp_path / "file" / "model")
    assert (tmp_path / "file").read_bytes() == b"earlier"


@pytest.mark.reliability(31)
@pytest.mark.skipif(os.name == "nt", reason="pipes and lengths of names of POSIX")
def test_a_pipe_is_left_alone_and_a_name_may_be_as_long_as_any(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no plain file"):
        save_model(ImageNormalizer().fit(X), tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    save_model(ImageNormalizer().fit(X), tmp_path / ("a" * 255))


@pytest.mark.reliability(31)
@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_folder_without_permission_is_an_error_in_words(tmp_path):
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
    return model["estimator"]["parameters"]["steps"][number]["tuple"][1]["estimator"]


def with_step(model, **content):
    return changed(model, lambda model: estimator_of(model, 1).update(content))


def with_parameter(model, name, value):
    return changed(model, lambda model: estimator_of(model, 1)["parameters"].update({name: value}))


def with_attribute(model, name, value):
    return changed(model, lambda model: estimator_of(model, 1)["fitted"].update({name: value}))


def with_architecture(model, **fields):
    def change(model):
        estimator_of(model, 1)["fitted"]["plan_"]["plan"]["architecture"].update(fields)

    return changed(model, change)


def payloads(path, canary):
    """Fifty and more files that want to run code, write files or read others, or are made up in other ways."""
    model, entries, numbers = split(path)
    whole = path.read_bytes()
    evil = pickle.dumps(Runs(str(canary)))
    code = f"__import__('os').mkdir({str(canary)!r})"
    text = dumped({"sha256": ZEROS, **model})
    first, second, *_ = entries

    def joined(model):
        return join(model, entries, numbers)

    yield "a pickle", evil
    yield "a pickle behind the beginning", whole[: DIGEST.stop] + evil
    yield "a signed pickle behind the beginning", sign(whole[: DIGEST.stop] + evil)
    yield "a pickle in place of the header", sign(evil + whole)
    yield "a pickle in place of tensors", join(model, entries, evil)
    yield "a pickle behind the tensors", join(model, entries, numbers + evil)
    yield "a file of torch", _torch_file(Runs(str(canary)))
    yield "a file of torch behind the beginning", sign(whole[: DIGEST.stop] + _torch_file(Runs(str(canary))))
    yield "an array of pickles", join(model, entries, _npy(Runs(str(canary))))
    yield "a pickle as a tensor", join(model, {"x": entry_of("U8", [len(evil)], 0, len(evil))}, evil)
    for name in ("os.system", "subprocess.Popen", "builtins.eval", "sklearn.svm.SVC", "SVC", "DummyClassifier", "type"):
        yield f"the class {name}", joined(with_step(model, **{"class": name}))
    yield "a class as a list", joined(with_step(model, **{"class": ["os", "system"]}))
    yield "a module beside the class", joined(with_step(model, module="os"))
    yield "a callable by name", joined(with_parameter(model, "optimizer", "os.system"))
    yield "code as architecture", joined(with_parameter(model, "architecture", {"callable": code}))
    yield "code as filters", joined(with_parameter(model, "filters", code))
    yield "weights elsewhere", joined(with_parameter(model, "weights", "evil.pth"))
    yield "a checkpoint elsewhere", joined(with_parameter(model, "checkpoint", str(canary)))
    yield "a parameter too many", joined(with_parameter(model, "__init__", code))
    yield "a method of its own", joined(with_attribute(model, "predict", code))
    yield "another class by attribute", joined(with_attribute(model, "__class__", "str"))
    yield "another task", joined(with_attribute(model, "task_", "regression"))
    yield "a task of several labels", joined(with_attribute(model, "task_", "multilabel"))
    yield "a network by name", joined(with_architecture(model, kind="catalog", name=code))
    yield "a network of one's own", joined(with_architecture(model, kind="user", factory=code))
    yield "an architecture that is a list", joined(with_architecture(model, kind=["conv"]))
    yield "a field too many", joined(with_architecture(model, factory=code))
    yield "a dropout of everything", joined(with_architecture(model, dropout=1.0))
    yield "code as activation", joined(with_architecture(model, activation=code))
    yield "a device that is code", joined(with_attribute(model, "device_", code))
    yield "another type", joined(with_attribute(model, "classes_", {"__reduce__": ["os.mkdir", str(canary)]}))
    yield "objects", joined(with_attribute(model, "classes_", {"pickle": evil.hex()}))
    for dtype in ("O", "|O8", "|V8", "<c16", "<U0", "<m8[D]", "{'names': ['a'], 'formats': ['O']}"):
        yield f"an array of {dtype}", joined(with_attribute(model, "classes_", {"array": [dtype, [1], ["cat"]]}))
    yield "an array of objects as classes", joined(with_attribute(model, "classes_", {"array": ["|O", [1], [[]]]}))
    yield (
        "a cache elsewhere",
        joined(changed(model, lambda model: model["estimator"]["parameters"].update(memory=str(canary)))),
    )
    normalizer, network = model["estimator"]["parameters"]["steps"]
    for name, steps in {
        "no steps": [],
        "steps that are none": [5, "passthrough"],
        "a network that transforms": [network, normalizer],
        "a number as a step": [{"tuple": ["a", 5]}, network],
        "two steps of one name": [{"tuple": ["a", None]}, {"tuple": ["a", None]}],
    }.items():
        yield name, joined(replaced(model, ("estimator", "parameters", "steps"), steps))
    yield "a step that is not fitted", joined(changed(model, lambda model: estimator_of(model, 0).pop("fitted")))
    # Of the header.
    metadata = dumped({"__metadata__": {"sklearn_cnn": text}})
    more = {"more": entry_of("U8", [1], len(numbers), len(numbers) + 1)}
    yield "a tensor that belongs to nothing", join(model, {**entries, **more}, numbers + b"x")
    yield "bytes behind the tensors", join(model, entries, numbers + b"x")
    yield "bytes missing at the end", join(model, entries, numbers[:-1])
    yield (
        "tensors in each other's place",
        join(model, {**entries, first: entries[second], second: entries[first]}, numbers),
    )
    yield "a tensor under another name", join(model, {**entries, **more, "more": entries[first]}, numbers)
    yield "a tensor that overlaps", join(model, {**entries, **{"more": {**entries[first], "dtype": "U8"}}}, numbers)
    yield "a gap between tensors", join(model, moved(entries, 8), b"12345678" + numbers)
    yield "a prefix of another network", joined(with_attribute(model, "module_", "cnn."))
    yield "a prefix that is a list", joined(with_attribute(model, "module_", [""]))
    yield "no plan", joined(changed(model, lambda model: estimator_of(model, 1)["fitted"].pop("plan_")))
    yield "a key twice in the content", join("," + dumped(model)[1:-1] + ',"format":1}', entries, numbers)
    yield (
        "a tensor twice",
        with_header(metadata[:-1] + f",{dumped(first)}:{dumped(entries[first])}," + dumped(entries)[1:], numbers),
    )
    yield (
        "metadata twice",
        with_header(metadata[:-1] + "," + dumped({**entries, "__metadata__": {"a": "b"}})[1:], numbers),
    )
    second_key = dumped({"__metadata__": {"sklearn_cnn": text, "file": "/etc/passwd"}, **entries})
    yield "a second key of the metadata", with_header(second_key, numbers)
    other = dumped({"__metadata__": {"format": "pt"}, **entries})
    yield "the metadata of another program", with_header(other, numbers)
    yield "no metadata", with_header(dumped(entries), numbers)
    yield "metadata that is a list", with_header(dumped({"__metadata__": {"sklearn_cnn": [text]}, **entries}), numbers)
    yield "a header that is cut off", with_header(dumped({"__metadata__": {"sklearn_cnn": text}})[:-3], b"")
    objects = {name: {**entry, "dtype": "O"} for name, entry in entries.items()}
    yield "tensors of objects", join(model, objects, numbers)
    bfloats = {name: {**entry, "dtype": "BF16"} for name, entry in entries.items()}
    yield "tensors of an unknown dtype", join(model, bfloats, numbers)
    yield "a tensor with something more", join(model, {**entries, first: {**entries[first], "file": "/etc"}}, numbers)
    yield "a tensor that is a file", join(model, {**entries, first: "/etc/passwd"}, numbers)


def entry_of(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def moved(entries, n_bytes):
    """Entries of tensors that all lie later in the file."""
    return {
        name: {**entry, "data_offsets": [offset + n_bytes for offset in entry["data_offsets"]]}
        for name, entry in entries.items()
    }


def _torch_file(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _npy(content):
    file = io.BytesIO()
    np.save(file, np.array([content], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.reliability(33)
def test_nothing_of_a_malicious_file_runs(saved, loads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    files = list(payloads(saved, canary))
    assert len(files) >= 60
    load_model(saved)
    assert loads(join(*split(saved))).steps
    before = set(sys.modules)
    for name, content in files:
        with pytest.raises(ModelFileError) as info:
            loads(content)
        assert "path=" in str(info.value), name
        assert not canary.exists(), name
        assert not (tmp_path.parent / canary.name).exists(), name
    assert set(sys.modules) == before


@pytest.mark.reliability(33)
@pytest.mark.parametrize("content", [b"", b"short", pickle.dumps([1]), b"PK\3\4" + bytes(100)], ids=range(4))
def test_a_file_of_another_program_is_told_from_a_damaged_one(content, saved, loads):
    refused(loads, content, "was not written by save_model. For files of weights use")


@pytest.mark.reliability(33)
def test_a_plain_safetensors_file_is_told_from_a_damaged_one(saved, tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "a", {"format": "np"})
    with pytest.raises(ModelFileError, match=r"was not written by save_model\. For files of"):
        load_model(tmp_path / "a")


@pytest.mark.reliability(33)
def test_a_network_of_the_web_is_unknown(saved, loads):
    pytest.importorskip("timm")
    model, entries, numbers = split(saved)
    refused(loads, join(with_backbone(model, "timm:hf-hub:somebody/something"), entries, numbers), "is unknown to timm")


@pytest.mark.reliability(33)
def test_code_in_strings_stays_a_string(saved, loads, tmp_path):
    model, entries, numbers = split(saved)
    code = f"__import__('os').mkdir({str(tmp_path / 'canary')!r})"
    label = changed(model, lambda model: estimator_of(model, 1)["fitted"]["history_"][0]["dict"].append([code, code]))
    assert loads(join(label, entries, numbers))[-1].history_[0][code] == code
    assert not (tmp_path / "canary").exists()


# Row 34.


def is_refused(path):
    try:
        load_model(path)
    except ModelFileError:
        return True
    return False


@pytest.mark.reliability(34)
@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_every_truncation_is_refused(step, saved, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "file"
    path.write_bytes(content)
    assert not is_refused(path)
    # Each length near a border of the file's parts, and of the others each, or some.
    borders = {0, 8, DIGEST.start, DIGEST.stop, len(content) - len(split(saved)[2]), len(content)}
    near = {border + distance for border in borders for distance in (-2, -1, 0, 1)}
    lengths = sorted({*near, *range(0, len(content), step)} & set(range(len(content))))
    for length in reversed(lengths):
        os.truncate(path, length)
        assert is_refused(path), length


@pytest.mark.reliability(34)
@pytest.mark.parametrize("n", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_ten_thousand_changes_of_a_byte_are_refused(n, saved, tmp_path):
    content, draw, path = saved.read_bytes(), random.Random(n), tmp_path / "file"
    path.write_bytes(content)
    assert len(content) < 10_000
    with open(path, "r+b", buffering=0) as file:
        for number in range(n):
            # Every byte at least once where there are enough changes, and always those of the beginning.
            position = (
                number if number < min(len(content), max(DIGEST.stop, n - 1000)) else draw.randrange(len(content))
            )
            file.seek(position)
            file.write(bytes([(content[position] + draw.randrange(1, 256)) % 256]))
            assert is_refused(path), position
            file.seek(position)
            file.write(content[position : position + 1])
    assert not is_refused(path)


@pytest.mark.reliability(34)
@pytest.mark.parametrize("more", [b"\0", b"\n", b"{}" + b" " * 6])
def test_bytes_before_or_behind_are_refused(more, saved, loads):
    content = saved.read_bytes()
    refused(loads, content + more, "damaged or incomplete")
    refused(loads, sign(content + more), "after the header")
    refused(loads, more + content, "not written by save_model")
    refused(loads, content[: DIGEST.stop] + more + content[DIGEST.stop :], "damaged or incomplete")
    refused(loads, sign(content[: DIGEST.stop] + more + content[DIGEST.stop :]))


@pytest.mark.reliability(34)
@pytest.mark.parametrize("digest", [ZEROS, "f" * 64, ZEROS.replace("0", "A"), "\n" * 64])
def test_a_digest_of_another_file_is_refused(digest, saved, loads):
    content = bytearray(saved.read_bytes())
    content[DIGEST] = digest.encode()
    refused(loads, content, "does not match its SHA-256 digest. Copy it again")


@pytest.mark.reliability(34)
@pytest.mark.parametrize("length", [0, 7, -1, 1, 2**31, 2**62])
def test_another_length_of_the_header_is_refused(length, saved, loads):
    model, entries, numbers = split(saved)
    header = dumped({"__metadata__": {"sklearn_cnn": dumped({"sha256": ZEROS, **model})}, **entries})
    refused(loads, with_header(header, numbers, length if length not in (-1, 1) else len(header) + length))


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


def signed_changes(path, n, seed):
    content, draw = path.read_bytes(), random.Random(seed)
    for _ in range(n):
        copied = bytearray(content)
        copied[draw.randrange(DIGEST.stop, len(copied))] = draw.randrange(256)
        yield sign(copied)


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
    {"tensor": "no tensor"},
    {"array": ["<i8", [1], [1]]},
    {"estimator": {}},
    {"float": "nan"},
]


def signed_nodes(path, n, seed):
    """Files of which one value of the content, or of the entries of the tensors, is another."""
    model, entries, numbers = split(path)
    draw = random.Random(seed)
    of_model, of_entries = list(nodes(model))[1:], list(nodes(entries))[1:]
    for i in range(n):
        value = draw.choice(NODES)
        if i % 4:
            yield join(replaced(model, draw.choice(of_model), value), entries, numbers)
        else:
            yield join(model, replaced(entries, draw.choice(of_entries), value), numbers)


@pytest.mark.reliability(34)
@pytest.mark.filterwarnings("ignore:the pixels of X go from")
@pytest.mark.filterwarnings("ignore:.* was fitted on device")  # a change may name another device, or a range
@pytest.mark.parametrize(
    ("n", "seed"), [(200, 0), pytest.param(10_000, 1, marks=pytest.mark.slow)]
)  # the larger one takes minutes
@pytest.mark.parametrize("changes", [signed_changes, signed_nodes])
def test_changes_that_are_signed_are_refused_or_are_an_estimator(changes, n, seed, saved, loads):
    loaded = sum(survives(loads, content) for content in changes(saved, n, seed))
    assert 0 < loaded < n


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
    """A model whose plan fits itself, and not the tensors."""
    plan = write_plan(tiny(**parameters).plan(image_shape=image_shape, n_outputs=3), "plan")
    return with_attribute(model, "plan_", {"plan": json.loads(json.dumps(plan))})


def with_backbone(model, name):
    """A model whose plan has a backbone."""
    facts = {"input_shape": [1, 8, 8], "output_shape": [1280], "n_parameters": 1, "n_macs": 1, "exact": False}
    facts |= {
        "needs_two": False,
        "normalization": "batch",
        "parts": [],
        "size": [224, 224],
        "mean": [0.5],
        "std": [0.5],
    }
    architecture = {"kind": "backbone", "name": name, "dropout": 0.2, "standardize": True, **facts}
    plan = {"layout": 1, "input_shape": [1, 8, 8], "n_outputs": 3, "trainable_blocks": "all"}
    return with_attribute(model, "plan_", {"plan": {**plan, "architecture": architecture}})


def oversized(path):
    """Small files that say something in them is large."""
    model, entries, numbers = split(path)
    first, *others = entries
    small_text = dumped(model)

    def joined(model):
        return join(model, entries, numbers)

    def shaped(shape, size):
        return join(
            model, {first: entry_of("F32", shape, 0, size), **{name: entries[name] for name in others}}, numbers
        )

    def block(**settings):
        def change(model):
            plan = estimator_of(model, 1)["fitted"]["plan_"]["plan"]
            plan["architecture"]["blocks"][0].update(settings)

        return joined(changed(model, change))

    def many(value, n):
        return joined(changed(model, lambda model: model["estimator"]["parameters"].update(verbose=[value] * n)))

    def text(content):
        return join(content, entries, numbers)

    header = dumped({"__metadata__": {"sklearn_cnn": dumped({"sha256": ZEROS, **model})}, **entries})
    yield "tensor of 4 TB", shaped([2**40], 2**42)
    yield "tensor of three axes", shaped([2**30] * 3, 2**92)
    yield "tensor of no numbers", shaped([0, 2**47, 2**47], 0)
    yield "tensor of many axes", shaped([1] * 10_000, 4)
    yield "tensor of a negative axis", shaped([-1, -1], 4)
    yield "header of 2^62 bytes", with_header(header, numbers, 2**62)
    yield "header of 100 MB", with_header(header, numbers, 10**8)
    yield "header of one byte too many", with_header(header, numbers, len(header) + len(numbers) + 1)
    yield "header of lists", with_header(header[:-1] + ',"a":' + "[" * 4_000_000, b"")
    yield "header of many lists", with_header(header[:-1] + ',"a":[' + "[]," * 2_000_000 + "[]]}", numbers)
    yield "header of many tensors", join(model, {str(i): entry_of("U8", [0], 0, 0) for i in range(5_000)}, b"")
    yield "header too long", with_header(header + " " * 9_000_000, numbers)
    yield "JSON of lists in lists", text(',"format":' + "[" * 4_000_000)
    yield "JSON of objects in objects", text(',"format":' + '{"a":' * 1_000_000)
    deep = {"dict": [["deep", json.loads("[" * 100 + "]" * 100)]]}
    yield "values of 100 levels", joined(with_attribute(model, "history_", [deep]))
    yield "JSON of many lists", many([], 200_000)
    yield "JSON too long", text(" " * 9_000_000 + "," + small_text[1:])
    yield "a number of a million digits", text("," + small_text[1:-1] + ',"a": ' + "9" * 1_000_000 + "}")
    yield "a number too large", text("," + small_text[1:-1] + ',"a": 1e999}')
    yield "values that are not there", joined(with_attribute(model, "classes_", {"array": ["|O", [2**40], []]}))
    yield (
        "a word of a billion letters",
        joined(with_attribute(model, "classes_", {"array": ["<U1000000000", [1], [""]]})),
    )
    yield "words of a million letters", many({"array": ["<U1000000", [1], [""]]}, 100_000)
    yield "one long word for many", many({"array": ["<U9999", [2], ["", ""]]}, 100_000)
    yield "one tensor for all", many({"tensor": first}, 100_000)
    yield "plan of a wide dense layer", joined(with_plan(model, hidden_layer_sizes=(2**30,)))
    yield "plan of a wide convolution", joined(with_plan(model, filters=(2**30,)))
    yield "plan of a large kernel", joined(with_plan(model, kernel_size=2**20 + 1))
    yield "plan of a large image", joined(with_plan(model, image_shape=(2**20, 2**20)))
    yield "plan of many layers", joined(with_plan(model, hidden_layer_sizes=[2] * 1_000))
    yield "plan of a wide block", block(filters=2**30)
    yield "plan of negative sides", block(filters=-(2**30))
    yield "plan of dilation 0", block(dilation=[0, 1])
    yield "plan of a billion convolutions", block(n_convs=2**30)
    yield (
        "plan of a billion outputs",
        joined(changed(model, lambda model: estimator_of(model, 1)["fitted"]["plan_"]["plan"].update(n_outputs=2**30))),
    )
    if has("torchvision"):
        yield "plan of a backbone", joined(with_backbone(model, "torchvision:vit_h_14"))
    shape = {"image_shape": {"height": 2**30, "width": 2**30, "channels": 1, "axes": "hw", "flat": False}}
    yield "image of 2^60 pixels", joined(with_attribute(model, "image_shape_", shape))


def has(module):
    return importlib.util.find_spec(module) is not None


@pytest.mark.reliability(35)
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_what_is_said_to_be_large_is_refused_before_memory_is_taken(saved, tmp_path):
    names = {}
    for number, (name, content) in enumerate(oversized(saved)):
        (tmp_path / f"{number:02}").write_bytes(content)
        names[f"{number:02}"] = name
    assert len(names) >= 30
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


@pytest.mark.reliability(36)
def test_fitted_on_a_gpu_and_loaded_without_one(tmp_path, monkeypatch):
    pipe = make_pipeline(ImageNormalizer(), tiny()).fit(X, WORDS)
    expected = pipe.predict_proba(X)
    pipe[-1].device_ = "cuda:0"
    save_model(pipe, tmp_path / "model")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(
        UserWarning, match="fitted on device 'cuda:0', which this machine does not have; it predicts on the"
    ) as caught:
        loaded = load_model(tmp_path / "model")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert loaded[-1].device_ == "cpu"
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert load_model(tmp_path / "model", device="cpu")[-1].device_ == "cpu"  # asked for, so nothing to warn of
    with pytest.raises(ValueError, match="device='cuda' is not there"):
        load_model(tmp_path / "model", device="cuda")


@pytest.mark.reliability(36)
def test_two_networks_give_one_warning(tmp_path, monkeypatch):
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


@pytest.mark.reliability(36)
def test_one_of_several_gpus_that_is_not_there_is_another_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [nearest_device(device) for device in ("cuda:7", "cuda:0", "cpu", "mps:0")] == [
        "cuda",
        "cuda:0",
        "cpu",
        "cpu",
    ]


# Row 37.


@pytest.mark.reliability(37)
def test_a_file_of_format_1_predicts_what_it_did():
    assert FORMAT_1.stat().st_size < 20_000
    pipe = load_model(FORMAT_1)
    assert [type(step).__name__ for _, step in pipe.steps] == ["ImageNormalizer", "CNNClassifier"]
    np.testing.assert_array_equal(pipe.classes_, ["cat", "dog", "emu"])
    stored = [[0.85766, 0.03078, 0.11155], [0.06706, 0.81176, 0.12118], [0.26624, 0.18835, 0.54541]]
    np.testing.assert_allclose(pipe.predict_proba(X[:3]), stored, atol=1e-4)  # other processors round other ways
    assert len(pipe[-1].history_) == 30
    pipe[-1].partial_fit(pipe[0].transform(X), WORDS)


@pytest.mark.reliability(37)
@pytest.mark.parametrize(
    ("versions", "match"),
    [
        (
            {"sklearn-cnn": "0.9.1"},
            "the file has format 2, and sklearn-cnn .* reads format 1. Load it with sklearn-cnn 0.9.1",
        ),
        ({"sklearn-cnn": "; rm -rf /"}, "Load it with a newer sklearn-cnn"),
        (None, "Load it with a newer sklearn-cnn"),
    ],
)
def test_a_newer_format_says_which_version_reads_it(versions, match, saved, loads):
    model, entries, numbers = split(saved)
    refused(loads, join({**model, "format": 2, "versions": versions, "more": 1}, entries, numbers), match)


@pytest.mark.reliability(37)
def test_a_newer_layout_of_plans_says_what_reads_it(saved, loads):
    model, entries, numbers = split(saved)
    change = functools.partial(_update, layout=2)
    refused(loads, join(changed(model, change), entries, numbers), "layout 2. Load it with a newer sklearn-cnn")


def _update(model, **fields):
    estimator_of(model, 1)["fitted"]["plan_"]["plan"].update(fields)
