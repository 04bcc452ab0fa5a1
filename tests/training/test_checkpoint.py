import collections
import hashlib
import json
import os
import pickle
import re
import stat
import struct

import numpy as np
import pytest
import torch

from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.training._checkpoint import MAGIC, Checkpoint

RUN = {"filters": "(8, 16)", "X": "float64 (80, 8, 8) 0123456789abcdef"}
OTHER = {**RUN, "filters": "(8,)"}
STATE = {
    "network": {"weight": torch.arange(6.0)},
    "best": {"epoch": None, "score": -float("inf")},
    "history": [{"a": 1}],
}


def restore(checkpoint):
    with checkpoint.restored(torch.device("cpu")) as state:
        return state


START = len(MAGIC) + 32  # behind the digest


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run")


@pytest.fixture
def saved(path):
    Checkpoint(path, RUN, seed=7).save(STATE, (0, 3))
    return path


def content_of(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content, *, signed=False):
    if signed:
        content = (
            content[: len(MAGIC)] + hashlib.sha256(content[: len(MAGIC)] + content[START:]).digest() + content[START:]
        )
    with open(path, "wb") as file:
        file.write(content)


def made_up(header, payload=b""):
    text = json.dumps(header).encode()
    return MAGIC + bytes(32) + struct.pack("<Q", len(text)) + text + payload


def test_a_new_run_begins_at_the_beginning(path):
    checkpoint = Checkpoint(path, RUN, seed=7)
    assert (checkpoint.seed, checkpoint.position, restore(checkpoint)) == (7, (0, 0), None)
    assert not os.path.exists(path)


def test_a_run_goes_on_with_its_seed_where_it_was_saved_last(saved):
    Checkpoint(saved, RUN, seed=7).save({**STATE, "history": []}, (1, 4))
    checkpoint = Checkpoint(saved, RUN, seed=8)
    assert (checkpoint.seed, checkpoint.position) == (7, (1, 4))
    state = restore(checkpoint)
    assert state["history"] == [] and state["best"] == STATE["best"]
    assert torch.equal(state["network"]["weight"], STATE["network"]["weight"])


def test_tensors_keep_their_layout_in_memory(path):
    images = torch.arange(2.0 * 3 * 4 * 5).view(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    Checkpoint(path, RUN, 0).save({"images": images, "transposed": images[0, 0].T}, (0, 1))
    state = restore(Checkpoint(path, RUN, 0))
    assert state["images"].stride() == images.stride() and torch.equal(state["images"], images)
    assert state["transposed"].stride() == images[0, 0].T.stride()


def test_another_runs_file_names_both_and_stays(saved):
    before = content_of(saved)
    with pytest.raises(ValueError, match=r"another run: filters was \(8, 16\) there and is \(8,\) here\. Delete"):
        Checkpoint(saved, OTHER, 0)
    with pytest.raises(ValueError, match=r"tol was absent there and is 0\.1 here"):
        Checkpoint(saved, {**RUN, "tol": "0.1"}, 0)
    assert content_of(saved) == before


def test_long_texts_are_shown_around_where_they_differ(path):
    first = f"({', '.join(map(str, range(100)))})"
    Checkpoint(path, {"filters": first}, 0).save(STATE, (0, 1))
    with pytest.raises(ValueError, match="filters was") as info:
        Checkpoint(path, {"filters": first.replace(" 70,", " 5000,")}, 0)
    there, here = re.search(r"filters was (.*) there and is (.*) here\.", str(info.value)).groups()
    assert re.fullmatch(r"\.\.\..* 69, 70, 71, .*\.\.\.", there) and re.fullmatch(
        r"\.\.\..* 69, 5000, 71, .*\.\.\.", here
    )
    with pytest.raises(ValueError, match=r"filters was \.\.\..*98, 99\) there and is \.\.\..*98, 99 here"):
        Checkpoint(path, {"filters": first[:-1]}, 0)


def test_in_a_folder_every_run_has_a_file_of_its_own(tmp_path):
    for run, epochs in ((RUN, 1), (OTHER, 2)):
        Checkpoint(str(tmp_path), run, 0).save(STATE, (0, epochs))
    assert len(os.listdir(tmp_path)) == 2
    assert [Checkpoint(str(tmp_path), run, 0).position for run in (RUN, OTHER)] == [(0, 1), (0, 2)]


def test_the_order_of_what_tells_a_run_does_not_matter(tmp_path):
    Checkpoint(str(tmp_path), RUN, 0).save(STATE, (0, 1))
    assert Checkpoint(str(tmp_path), dict(reversed(RUN.items())), 0).position == (0, 1)


def test_a_folder_that_is_not_there_is_not_taken_for_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder that is not there; make it first"):
        Checkpoint(f"{tmp_path}/runs/", RUN, 0)
    with pytest.raises(FileNotFoundError, match=r"checkpoint=.* is in a folder that is not there; make .*runs' first"):
        Checkpoint(f"{tmp_path}/runs/run", RUN, 0)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "loop"])
def test_a_name_that_no_file_can_have_is_refused_before_training(name, tmp_path):
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    with pytest.raises((ValueError, OSError), match=r"checkpoint=.* (is no name of a file|cannot be used)"):
        Checkpoint(name and str(tmp_path / name), RUN, 0)


def test_memory_that_does_not_suffice_is_no_fault_of_the_file(saved):
    with pytest.raises(MemoryError), Checkpoint(saved, RUN, 0).restored(torch.device("cpu")):
        raise MemoryError


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_the_permissions_of_a_file_stay(saved):
    os.chmod(saved, 0o600)
    Checkpoint(saved, RUN, 0).save(STATE, (0, 4))
    assert stat.S_IMODE(os.stat(saved).st_mode) == 0o600


def test_a_folder_that_lets_nobody_write_is_refused_before_training(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match=r"checkpoint=.* cannot be written"):
        Checkpoint(path, RUN, 0)


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", MAGIC, MAGIC + bytes(39)], ids=["empty", "text", "magic", "short"]
)
def test_a_file_of_another_kind_is_left_as_it_is(content, path):
    write(path, content)
    with pytest.raises(ModelFileError, match="is no checkpoint, and is left as it is"):
        Checkpoint(path, RUN, 0)
    assert content_of(path) == content


def test_every_truncation_and_change_of_a_byte_is_refused(saved):
    content = content_of(saved)
    for length in range(len(content)):
        write(saved, content[:length])
        with pytest.raises(ModelFileError, match=r"damaged|no checkpoint"):
            Checkpoint(saved, RUN, 0)
    for place in range(len(content)):
        write(saved, content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :])
        with pytest.raises(ModelFileError, match=r"damaged|no checkpoint|has format"):
            Checkpoint(saved, RUN, 0)


def test_another_format_says_so(path):
    write(path, made_up({"format": 2}), signed=True)
    with pytest.raises(ModelFileError, match="has format 2, and this version reads format 1; go on with the version"):
        Checkpoint(path, RUN, 0)


GOOD = {"format": 1, "run": RUN, "seed": 0, "position": [0, 1]}


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"format": 1},
        {**GOOD, "run": 3},
        {**GOOD, "seed": "x"},
        {**GOOD, "position": [1]},
        {**GOOD, "seed": None},
    ],
    ids=json.dumps,
)
def test_a_text_that_is_none_is_refused(header, path):
    write(path, made_up(header), signed=True)
    with pytest.raises(ModelFileError, match="is damaged"):
        Checkpoint(path, RUN, 0)


def test_no_code_of_a_file_is_run(path, tmp_path):
    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/canary",)

    plain = tmp_path / "state"
    torch.save({"network": Runs()}, plain)
    for payload in (plain.read_bytes(), pickle.dumps(Runs())):
        write(path, made_up(GOOD, payload), signed=True)
        with pytest.raises(ModelFileError, match="or cannot be read; delete it"):
            restore(Checkpoint(path, RUN, 0))
    assert not (tmp_path / "canary").exists()
    torch.load(plain, weights_only=False)  # it would
    assert (tmp_path / "canary").exists()


def test_a_file_that_has_become_another_runs_is_not_written_over(path):
    mine = Checkpoint(path, RUN, 0)
    Checkpoint(path, OTHER, 0).save(STATE, (0, 1))
    before = content_of(path)
    with pytest.raises(ValueError, match="another run"):
        mine.save(STATE, (0, 1))
    assert content_of(path) == before


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_two_runs_that_take_one_name_at_once_one_fails(links, path, monkeypatch):
    mine, real = Checkpoint(path, RUN, 0), Checkpoint._is_there

    def is_there(self):
        """Nothing is there, and once that has been said, the other's file is."""
        monkeypatch.setattr(Checkpoint, "_is_there", real)
        found = self._is_there()
        Checkpoint(path, OTHER, 0).save(STATE, (0, 1))
        return found

    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    monkeypatch.setattr(Checkpoint, "_is_there", is_there)
    with pytest.raises(ValueError, match="another run"):
        mine.save(STATE, (0, 1))
    monkeypatch.undo()
    assert Checkpoint(path, OTHER, 0).position == (0, 1)
    assert os.listdir(os.path.dirname(path)) == ["run"]


def test_the_same_run_twice_at_once_writes_one_file(path):
    first, second = Checkpoint(path, RUN, 0), Checkpoint(path, RUN, 0)
    first.save(STATE, (0, 1))
    second.save(STATE, (0, 2))
    assert Checkpoint(path, RUN, 0).position == (0, 2)


def test_a_file_that_was_deleted_meanwhile_is_written_anew(saved):
    checkpoint = Checkpoint(saved, RUN, 0)
    os.unlink(saved)
    checkpoint.save(STATE, (0, 4))
    assert Checkpoint(saved, RUN, 0).position == (0, 4)


@pytest.mark.parametrize(
    "value", [torch.nn.ReLU(), {1, 2}, lambda: 0, b"bytes"], ids=["module", "set", "function", "bytes"]
)
def test_what_cannot_be_loaded_again_is_refused_and_the_last_state_stays(value, saved):
    before = content_of(saved)
    with pytest.raises(TypeError, match="cannot carry what this optimizer remembers"):
        Checkpoint(saved, RUN, 0).save({"optimizer": {"state": [{"what": value}]}}, (0, 4))
    assert content_of(saved) == before


def test_numbers_of_numpy_and_dicts_of_other_kinds_become_plain(path):
    state = {"a": np.float64(0.1), "b": collections.defaultdict(list, c=(np.bool_(True), [np.int64(3)]))}
    Checkpoint(path, RUN, 0).save(state, (0, 1))
    assert restore(Checkpoint(path, RUN, 0)) == {"a": 0.1, "b": {"c": (True, [3])}}
