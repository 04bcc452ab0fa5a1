"""A folder laid out as the cache of the Hugging Face hub."""

import hashlib
import json

import pytest


class Hub:
    """The cache of the hub in a folder, and no network beside it."""

    def __init__(self, folder, monkeypatch):
        constants = pytest.importorskip("huggingface_hub.constants", reason="timm brings huggingface_hub")
        self.folder = folder
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def add(self, repository, name, content, *, revision="main", digest=None):
        """Put a file in. Returns where its bytes are."""
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        root = self.folder / f"models--{repository.replace('/', '--')}"
        commit = hashlib.sha1(revision.encode()).hexdigest()
        blob = root / "blobs" / (digest or hashlib.sha256(content).hexdigest())
        link, ref = root / "snapshots" / commit / name, root / "refs" / revision
        for file in (blob, link, ref):
            file.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        ref.write_text(commit)
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
        return blob
