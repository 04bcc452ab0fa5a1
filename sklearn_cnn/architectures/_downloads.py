"""Files of the web: fetched into the caches of torch and Hugging Face, and checked there."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch

from sklearn_cnn._optional import import_optional

_HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,64})\.")
"""The first digits of the SHA-256, which file names of torch end in."""


def fetch_url(url: str, name: str, *, what: str) -> Path:
    """Fetch a file into the cache of `torch.hub`, unless it is there.

    Parameters
    ----------
    url : str
        Where it is.
    name : str
        Name of the file in the cache; that of the URL if it is empty. Digits of a SHA-256 in it, as in
        ``resnet18-f37072fd.pth``, are compared with the file, also where it was in the cache already.
    what : str
        What is fetched, as the subject of the error message.

    Returns
    -------
    Path
        The file in the cache.

    Raises
    ------
    OSError
        Where it cannot be fetched. The message says which file to put where.
    ValueError
        Where the file in the cache is another one than its name says.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / (name or PurePosixPath(urlparse(url).path).name)
    found = _HASH_IN_NAME.search(file.name)
    if file.exists():
        if found is not None:
            _check(file, found.group(1), what)
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), found and found.group(1), progress=False)
    except Exception as error:  # of any type: of the network, of the disk, of a wrong digest
        raise OSError(
            f"{what} could not be fetched ({type(error).__name__}: {error}). Where there is no network, get {url} on "
            f"another machine, and put it as {file.name} into the folder {folder}, which follows from TORCH_HOME, or "
            f"pass a file, weights=PATH."
        ) from error
    return file


def fetch_from_hub(
    repository: str, names: Sequence[str], *, what: str, or_else: str = ", or pass a file, weights=PATH"
) -> Path:
    """Fetch a file of a repository of the Hugging Face hub into its cache, unless it is there.

    Parameters
    ----------
    repository : str
        ``"owner/name"``, with ``"@revision"`` behind it for a certain one.
    names : sequence of str
        Names of the file. The first that the repository has is taken.
    what : str
        What is fetched, as the subject of the error message.
    or_else : str
        Another way out, as the end of that message.

    Returns
    -------
    Path
        The file in the cache. Where the cache names files by their SHA-256, as it does for large ones, it is checked.

    Raises
    ------
    OSError
        Where it cannot be fetched. The message says which file to put where.
    ValueError
        Where the file in the cache is another one than its name says.
    ImportError
        Without the package huggingface_hub, which comes with timm.
    """
    hub, constants, utils = (
        import_optional(f"huggingface_hub{module}", package="huggingface_hub", extra="pretrained", purpose=what)
        for module in ("", ".constants", ".utils")
    )
    repo_id, _, revision = repository.partition("@")
    first_error: Exception | None = None
    for name in names:
        try:
            file = Path(hub.hf_hub_download(repo_id, name, revision=revision or None, cache_dir=constants.HF_HUB_CACHE))
        except Exception as error:  # each version of the library raises others
            first_error = first_error or error
            if isinstance(error, utils.EntryNotFoundError):
                continue
            break
        digest = file.resolve().name
        if re.fullmatch("[0-9a-f]{64}", digest):
            _check(file.resolve(), digest, what)
        return file
    reason = f"{type(first_error).__name__}: {first_error}".split("\n")[0].rstrip(".")
    offline = " HF_HUB_OFFLINE is set, so only files of the cache are used." if constants.HF_HUB_OFFLINE else ""
    raise OSError(
        f"{what} could not be fetched ({reason}).{offline} Where there is no network, fetch {names[0]} of "
        f"https://huggingface.co/{repo_id} on another machine, and copy the folder "
        f"models--{repo_id.replace('/', '--')} of its cache into {constants.HF_HUB_CACHE}, which follows from "
        f"HF_HOME{or_else}."
    ) from first_error


def _check(file: Path, digest: str, what: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if not found.startswith(digest):
        raise ValueError(
            f"{what}: the file {file} is damaged or another one: its SHA-256 begins with "
            f"{found[: len(digest)][:12]}, not with {digest[:12]}. Delete it, and it is fetched again."
        )
