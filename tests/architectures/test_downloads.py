"""Files of the web, with folders of this machine in the place of the web."""

import hashlib
import os
import urllib.error

import pytest
import torch
from safetensors.torch import save_file

from sklearn_cnn.architectures._downloads import fetch_from_hub, fetch_url
from tests.architectures.hubs import Hub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder in which torch keeps what it fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return Hub(tmp_path / "hub", monkeypatch)


def file_of(folder, name="net-{}.pth", content=b"weights"):
    """A file whose name ends in the first digits of its SHA-256, and its URL."""
    file = folder / name.format(hashlib.sha256(content).hexdigest()[:8])
    file.write_bytes(content)
    return file, file.as_uri()


@pytest.mark.parametrize("name", ["", "other.pth"])
def test_a_file_is_fetched_once_into_torchs_cache(name, cache, tmp_path):
    file, url = file_of(tmp_path)
    got = fetch_url(url, name, what="the weights")
    assert got == cache / (name or file.name) and got.read_bytes() == b"weights"
    file.unlink()
    assert fetch_url(url, name, what="the weights") == got


def test_a_file_that_is_not_what_its_name_says_is_refused_and_not_kept(cache, tmp_path):
    file, url = file_of(tmp_path)
    file.write_bytes(b"others")
    with pytest.raises(OSError, match=r"the weights could not be fetched \(RuntimeError: invalid hash value"):
        fetch_url(url, "", what="the weights")
    assert not list(cache.iterdir())


def test_a_damaged_file_in_the_cache_is_found(cache, tmp_path):
    file, url = file_of(tmp_path)
    fetch_url(url, "", what="the weights").write_bytes(b"weight")
    with pytest.raises(ValueError, match=rf"the weights: the file {cache / file.name} is damaged .* Delete it"):
        fetch_url(url, "", what="the weights")


def test_a_file_whose_name_holds_no_digest_is_taken_as_it_is(cache, tmp_path):
    _, url = file_of(tmp_path, "pretrain-large.pth")
    assert fetch_url(url, "", what="the weights").read_bytes() == b"weights"


def test_without_a_network_it_says_which_file_to_put_where(cache, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(OSError) as error:
        fetch_url("https://example.org/models/net-0123abcd.pth", "", what="the weights")
    for part in ("no network", "https://example.org/models/net-0123abcd.pth", "as net-0123abcd.pth into", str(cache)):
        assert part in str(error.value)
    assert "TORCH_HOME" in str(error.value) and str(error.value).endswith("pass a file, weights=PATH.")


def test_a_cache_that_cannot_be_written_is_an_error_of_the_same_kind(tmp_path, monkeypatch):
    (tmp_path / "home").write_bytes(b"a file")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    with pytest.raises(OSError, match=r"could not be fetched \((NotADirectory|FileExists)Error"):
        fetch_url("https://example.org/net.pth", "", what="the weights")


@pytest.mark.parametrize("revision", ["", "@v2"])
def test_a_file_of_the_hub_comes_from_its_cache_also_offline(revision, hub):
    hub.add("somebody/net", "model.safetensors", b"numbers", revision=revision[1:] or "main")
    file = fetch_from_hub(f"somebody/net{revision}", ["model.safetensors"], what="the weights")
    assert file.name == "model.safetensors" and file.read_bytes() == b"numbers"


def test_the_first_of_the_names_that_is_there_is_taken(hub):
    hub.add("somebody/net", "pytorch_model.bin", b"pickle")
    names = ["model.safetensors", "pytorch_model.bin"]
    assert fetch_from_hub("somebody/net", names, what="the weights").name == "pytorch_model.bin"
    hub.add("somebody/net", "model.safetensors", b"numbers")
    assert fetch_from_hub("somebody/net", names, what="the weights").name == "model.safetensors"


def test_a_damaged_file_of_the_hub_is_found(hub):
    hub.add("somebody/net", "model.safetensors", b"numbers").write_bytes(b"number")
    with pytest.raises(ValueError, match=r"the weights: the file .* is damaged .* Delete it"):
        fetch_from_hub("somebody/net", ["model.safetensors"], what="the weights")


def test_a_file_that_the_hub_names_otherwise_is_not_checked(hub):
    """Small files have a digest of git as their name."""
    hub.add("somebody/net", "config.json", b"{}", digest="0" * 40)
    assert fetch_from_hub("somebody/net", ["config.json"], what="the weights").read_bytes() == b"{}"


@pytest.mark.parametrize("or_else", [None, ""])
def test_without_the_hub_it_says_which_file_to_put_where(or_else, hub):
    settings = {} if or_else is None else {"or_else": or_else}
    with pytest.raises(OSError) as error:
        fetch_from_hub("somebody/net", ["model.safetensors", "pytorch_model.bin"], what="the weights", **settings)
    text = str(error.value)
    for part in (
        "the weights could not be fetched",
        "HF_HUB_OFFLINE is set",
        "fetch model.safetensors of https://huggingface.co/somebody/net on another machine",
        "folder models--somebody--net",
        str(hub.folder),
        "HF_HOME",
    ):
        assert part in text
    assert text.endswith("weights=PATH." if or_else is None else "HF_HOME.")


def test_a_name_that_no_repository_has_is_an_error_of_the_same_kind(hub):
    with pytest.raises(OSError, match="could not be fetched"):
        fetch_from_hub("a b/../c", ["config.json"], what="the weights")


def test_files_of_the_hub_are_read_by_their_own_endings(hub, tmp_path):
    """The cache keeps them under their digest, behind a link that has their name."""
    from sklearn_cnn.architectures._weights import read_weights

    save_file({"weight": torch.ones(3)}, tmp_path / "a.safetensors")
    hub.add("somebody/net", "model.safetensors", (tmp_path / "a.safetensors").read_bytes())
    file = fetch_from_hub("somebody/net", ["model.safetensors"], what="the weights")
    assert os.path.islink(file) and torch.equal(read_weights(file)["weight"], torch.ones(3))
