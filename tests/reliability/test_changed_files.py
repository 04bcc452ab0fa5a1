"""Saved files that hypothesis changes and signs anew: few by default, many in `make fuzz`.

Whoever can write a file can sign it, so a change has to be refused, or to give an estimator that is fitted, and that
predicts or says why not.
"""

import contextlib
import functools
import importlib.util
import os
import signal
import string
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cnn import (
    CNNClassifier,
    CNNFeatureExtractor,
    CNNRegressor,
    ImageAugmenter,
    ImageNormalizer,
    load_model,
    save_model,
)
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._estimators import check_all_fitted
from sklearn_cnn.persistence._safetensors import DIGEST
from tests.persistence.files import ZEROS, dumped, join, nodes, replaced, sign, split, with_header

DIGITS = load_digits()
X, y = DIGITS.images[:40].astype(np.float32), DIGITS.target[:40] % 3
SMALL = {"filters": (2,), "hidden_layer_sizes": (3,), "max_epochs": 1, "random_state": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore:the pixels of X go from"),
    pytest.mark.filterwarnings("ignore:.* was fitted on device"),
]


def estimators():
    clf = CNNClassifier(**SMALL, early_stopping=True)
    yield make_pipeline(ImageNormalizer(), clf).fit(X, np.array(["cat", "dog", "emu"])[y])
    yield CNNRegressor(**SMALL, augmenter=ImageAugmenter(rotation=5)).fit(X, y)
    yield make_pipeline(CNNFeatureExtractor(clf), StandardScaler(), PCA(2), LogisticRegression()).fit(X, y)
    yield make_pipeline(ImageAugmenter(shift=0.1), ImageNormalizer(per="pixel")).fit(X)


@functools.cache
def saved():
    """Small files of all kinds of estimators, each taken apart."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for number, estimator in enumerate(estimators()):
            path = Path(folder, str(number))
            save_model(estimator, path)
            load_model(path)  # what is imported at the first use is imported
            files.append(split(path))
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("changed")


# What runs, writes or reads elsewhere, by the names of Python's audit events.
ACTIONS = ("os.", "subprocess.", "shutil.", "socket.", "urllib.", "pickle.", "ctypes.dlopen")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
seen = None


def watch(action, details):
    if seen is None:
        return
    writes = action == "open" and isinstance(details[2], int) and details[2] & WRITING
    evaluates = action == "compile" and details[1] == "<string>"
    if writes or evaluates or action.startswith(ACTIONS):
        seen.append((action, details))


@pytest.fixture(scope="module", autouse=True)
def watched():
    sys.addaudithook(watch)


def load(path):
    """What is in a file, or None where it is refused; nothing else may happen meanwhile."""
    global seen
    seen = []
    try:
        return load_model(path)
    except ModelFileError:
        return None
    finally:
        happened, seen = seen, None
        assert not happened


@pytest.fixture(scope="module", autouse=True)
def limited():
    """Memory for a GB more than there was, where the system has such a limit."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def within(seconds):
    """Fail what takes longer, where the system has an alarm."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"took more than {seconds} s"))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def loads(content, folder):
    """Whether a file gives a fitted estimator; if not, it was refused with the one error."""
    (folder / "changed").write_bytes(content)
    with within(60):
        estimator = load(folder / "changed")
        if estimator is None:
            return False
        assert isinstance(estimator, BaseEstimator)
        check_all_fitted(estimator)
        # The images may be of another size or range now, the maps may be too large.
        with np.errstate(all="ignore"), contextlib.suppress(Exception):
            (estimator.predict if hasattr(estimator, "predict") else estimator.transform)(X)
    return True


# Changes of JSON.

BACKBONES = [name for name in ("torchvision", "timm") if importlib.util.find_spec(name)]
WORDS = [
    "",
    "cpu",
    "mps",
    "nan",
    "chw",
    "os.system",
    "__import__('os').mkdir('canary')",
    "__class__",
    "CNNClassifier",
    "Pipeline",
    "FrozenEstimator",
    *(f"{name}:resnet18" for name in BACKBONES),
]
NUMBERS = (
    st.integers(-3, 20)
    | st.sampled_from([2**31 - 1, 2**31, 2**48, 2**62, 2**63, -(2**63), 10**30, 1e308, -1e308, 1e-320, 0.5, 1.0])
    | st.floats()
)
WORD = st.sampled_from(WORDS) | st.text(string.printable, max_size=8) | st.text(max_size=4)
TYPES = ["float", "tuple", "dict", "tensor", "array", "transposed", "scalar", "device", "image_shape", "moments"]
TYPES += ["plan", "estimator", "kind", "prefix", "class", "parameters", "fitted", "|O", "<U3", "<f4", "<M8[D]"]
LEAVES = st.none() | st.booleans() | NUMBERS | WORD
LISTS = st.lists(LEAVES, max_size=3) | st.lists(st.lists(LEAVES, max_size=2), max_size=2)
VALUES = LEAVES | LISTS | st.dictionaries(st.sampled_from(TYPES) | WORD, LEAVES | LISTS, max_size=2)


def at(value, where):
    for key in where:
        value = value[key]
    return value


def deep(value, levels, kind):
    for _ in range(levels):
        value = [value] if kind is None else {kind: [value]}
    return value


@st.composite
def changed_json(draw, value):
    """JSON with one to three changes anywhere within."""
    for _ in range(draw(st.integers(1, 3))):
        places = list(nodes(value))
        filled = [place for place in places if isinstance(at(value, place), list | dict) and at(value, place)]
        change = draw(st.sampled_from(["new", "other", "copy", "nest", *(["less", "more", "key"] if filled else [])]))
        where = draw(st.sampled_from(filled if change in ("less", "more", "key") else places))
        old = at(value, where)
        if change == "new":
            new = draw(VALUES)
        elif change == "other":  # of the same type
            kinds = {bool: st.booleans(), str: WORD, int: NUMBERS, float: NUMBERS}
            new = draw(kinds.get(type(old), VALUES))
        elif change == "copy":
            new = at(value, draw(st.sampled_from(places)))
        elif change == "nest":
            new = deep(old, draw(st.sampled_from([1, 2, 40])), draw(st.sampled_from([None, *TYPES])))
        elif isinstance(old, list):
            i = draw(st.integers(0, len(old) - 1))
            new = [*old[:i], *old[i + 1 :]] if change == "less" else [*old[:i], old[i], *old[i:]]
        else:
            key = draw(st.sampled_from(sorted(old)))
            new = {name: entry for name, entry in old.items() if name != key or change == "more"}
            if change != "less":
                new[draw(WORD | st.sampled_from(TYPES) | st.just(key + "'"))] = old[key]
        value = replaced(value, where, new)
    return value


@st.composite
def with_changed_content(draw):
    content, entries, numbers = draw(st.sampled_from(saved()))
    changed = draw(changed_json(content))
    return join(changed if isinstance(changed, dict) else "," + dumped(changed), entries, numbers)


@st.composite
def with_changed_tensors(draw):
    content, entries, numbers = draw(st.sampled_from(saved()))
    numbers = draw(st.just(numbers) | st.binary(min_size=len(numbers), max_size=len(numbers)))
    changed = draw(st.just(entries) | changed_json(entries))
    return join(content, changed if isinstance(changed, dict) else {"a": changed}, numbers)


@st.composite
def with_changed_bytes(draw):
    """Bytes are others, those of the header or of numbers, and the end is cut off or goes on."""
    content, entries, numbers = draw(st.sampled_from(saved()))
    file = bytearray(join(content, entries, numbers))
    end = len(file) - len(numbers)
    parts = draw(st.sampled_from([[(end, len(file))], [(0, 8), (8, end), (DIGEST.stop, end), (end, len(file))]]))
    for _ in range(draw(st.integers(1, 4))):
        start, stop = draw(st.sampled_from(parts))
        file[draw(st.integers(start, stop - 1))] = draw(st.integers(0, 255))
    cut = draw(st.sampled_from([0, 0, 0, 0, 1, 22]))
    return sign(bytes(file[: len(file) - cut]) + draw(st.sampled_from([b"", b"", b"", b"x", bytes(30)])))


@st.composite
def with_another_header(draw):
    """The header has keys twice, in another order, not at all or more of them, and another length."""
    content, entries, numbers = draw(st.sampled_from(saved()))
    metadata = {"sklearn_cnn": dumped({"sha256": ZEROS, **content})}
    metadata |= draw(st.just({}) | st.dictionaries(WORD, WORD, max_size=2))
    items = list(entries.items())
    items = draw(st.just(items) | st.permutations(items) | st.lists(st.sampled_from(items), max_size=len(items) + 1))
    pairs = [f"{dumped(name)}:{dumped(entry)}" for name, entry in [("__metadata__", metadata), *items]]
    header = "{" + ",".join(pairs) + draw(st.sampled_from(["}", "}", "} ", "", ",}"]))
    length = draw(st.none() | st.none() | st.integers(0, len(header) + len(numbers)) | st.integers(0, 2**64 - 1))
    return with_header(header, numbers, length)


@pytest.mark.parametrize(
    "files",
    [with_changed_content, with_changed_tensors, with_changed_bytes, with_another_header],
    ids=lambda f: f.__name__,
)
def test_a_signed_change_is_refused_or_an_estimator(files, folder):
    ended = Counter()

    @given(content=files())
    def check(content):
        ended[loads(content, folder)] += 1

    check()
    assert set(ended) == {True, False}
