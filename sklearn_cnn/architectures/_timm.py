"""timm's networks: its registry, configurations on the Hugging Face hub, and the weights of both."""

import difflib
import json
import re
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_cnn._optional import import_optional
from sklearn_cnn._random import global_draws
from sklearn_cnn.architectures._downloads import fetch_from_hub, fetch_url
from sklearn_cnn.architectures._ready_made import Preprocessing
from sklearn_cnn.architectures._weights import read_weights

_HUB = "hf-hub:"

_LARGEST = 3
"""How many times as large as its own size a network of fixed size may be made."""

_WAYS = {"center": "crop", "squash": "stretch", "border": "pad"}
"""What timm's ways of cropping are called in `ImageReader`."""

_OF_NO_EFFECT = ("num_classes", "in_chans", "img_size", "pretrained", "drop_rate", "drop_path_rate", "proj_drop_rate")
"""Settings of a network on the hub that need no passing on: those of its last layer and its input are ours, its size
is in its preprocessing, and dropout is that of a new network."""


@dataclass(frozen=True)
class FoundInTimm:
    """What timm knows of a name: the name in its registry, the preprocessing, and its own entry as a dict."""

    model: str
    preprocessing: Preprocessing
    config: dict[str, Any]


def find_in_timm(name: str, model: str) -> FoundInTimm:
    """Look a network up in timm's registry, or in its configuration on the hub, which is fetched.

    Parameters
    ----------
    name : str
        As in ``architecture=``, for messages.
    model : str
        ``"NAME"``, ``"NAME.TAG"`` or ``"hf-hub:OWNER/NAME"``.

    Returns
    -------
    FoundInTimm
        The network.

    Raises
    ------
    ImportError
        Without timm.
    ValueError
        For an unknown name or tag, and a configuration that a plan could not keep.
    OSError
        Where the configuration cannot be fetched.
    """
    return _on_hub(name, model.removeprefix(_HUB)) if model.startswith(_HUB) else _in_registry(name, model)


def remake_of_timm(name: str, model: str, size: tuple[int, int], n_channels: int, seed: int) -> nn.Module:
    """Make a network of timm's registry without its last layer, see `remake_backbone`. Nothing is fetched."""
    timm = _timm(name)
    overlay = _size_in_registry(name, size, _in_registry(name, model).preprocessing.size)
    with global_draws(seed), torch.device("cpu"):
        made: nn.Module = timm.create_model(model, num_classes=0, in_chans=n_channels, **overlay)
    return made


def weights_of_timm(name: str, model: str) -> dict[str, Tensor]:
    """Fetch the weights that timm or the hub have for a network, see `backbone_weights`."""
    timm, found = _timm(name), find_in_timm(name, model)
    config, what = found.config, f"weights='default': those of {name!r}"
    repository, url, custom = (config.get(key) for key in ("hf_hub_id", "url", "custom_load"))
    if repository:
        file = config.get("hf_hub_filename") or "pytorch_model.bin"
        names = [file.replace("pytorch_model.bin", "model.safetensors"), file]
        path, foreign = fetch_from_hub(repository, list(dict.fromkeys(names)), what=what), custom == "hf"
    elif url:
        path, foreign = fetch_url(*(url if isinstance(url, tuple) else (url, "")), what=what), bool(custom)
    else:
        raise ValueError(f"weights='default': nobody offers weights for architecture={name!r}; pass a file of them.")
    # A few are files of JAX, NumPy's .npz, which the network itself reads.
    given = {"file": str(path), "custom_load": True} if foreign else {"state_dict": read_weights(path)}
    overlay: dict[str, Any] = {"source": "", "file": "", "custom_load": False, **given}
    overlay |= {"input_size": (3, *found.preprocessing.size), "num_classes": config.get("num_classes", 1000)}
    # With its last layer, since without it timm takes files in which weights are missing, and says nothing.
    with global_draws(0), torch.device("cpu"):
        try:
            module = timm.create_model(found.model, pretrained=True, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"weights='default': the file {path} does not fit {name!r} ({reason}).") from error
    weights: dict[str, Tensor] = module.state_dict()
    return weights


def check_known(name: str, model: str, known: list[str]) -> None:
    """Raise a ValueError that lists similar names, where a model is none of the known ones."""
    if model in known:
        return
    near = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    raise ValueError(f"architecture={name!r} is unknown to {name.partition(':')[0]}{hint}")


def check_size(name: str, size: tuple[int, int], own: tuple[int, int]) -> None:
    """Refuse sizes, which come from files of others, for which tables of positions would fill the memory."""
    if min(size) < 1 or max(size) > _LARGEST * max(own):
        raise ValueError(f"architecture={name!r} is for images of {own[0]}×{own[1]}, not {size[0]}×{size[1]} pixels.")


def _timm(name: str) -> Any:
    return import_optional("timm", package="timm", extra="pretrained", purpose=f"architecture={name!r}")


def _in_registry(name: str, model: str) -> FoundInTimm:
    """Look a name up in timm's registry, with or without a tag behind a dot."""
    timm = _timm(name)
    plain, _, tag = model.partition(".")
    check_known(name, plain, timm.list_models())
    try:
        entry = timm.models.get_pretrained_cfg(model)
    except RuntimeError:
        tags = [known.partition(".")[2] for known in timm.list_pretrained() if known.startswith(f"{plain}.")]
        offer = f"{plain!r} has {', '.join(map(repr, tags))}" if tags else f"{plain!r} has no weights at all"
        raise ValueError(f"architecture={name!r}: timm has no weights with the tag {tag!r}; {offer}.") from None
    config = {} if entry is None else entry.to_dict()
    return FoundInTimm(model, _images_of_timm(timm, config), config)


def _on_hub(name: str, repository: str) -> FoundInTimm:
    """Read the configuration of a network on the Hugging Face hub. Of all it says, only numbers and names are used."""
    what = f"architecture={name!r}: its configuration"
    path = fetch_from_hub(repository, ["config.json"], what=what, or_else="")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = content.get("pretrained_cfg", content)
        model, settings = content["architecture"], content.get("model_args") or {}
        if not isinstance(config, dict) or not isinstance(model, str) or not isinstance(settings, dict):
            raise TypeError("wrong types")
        known = _in_registry(name, model)
        config = {key: value for key, value in config.items() if value is not None}
        if config.get("fixed_input_size", known.config.get("fixed_input_size")) and settings.get("img_size"):
            sides = settings["img_size"]
            config["input_size"] = (3, *(sides if isinstance(sides, list) else (sides, sides)))
        config["num_classes"] = content.get("num_classes", config.get("num_classes", 1000))
        preprocessing = _images_of_timm(_timm(name), {**known.config, **config})
        n_classes, file = int(config["num_classes"]), str(config.get("hf_hub_filename", ""))
        if not re.fullmatch(r"([\w.-]+\.(safetensors|bin|pth|pt))?", file):
            raise ValueError(f"file of weights {file!r}")
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(f"architecture={name!r}: its config.json is not that of a timm network ({error}).") from error
    others = [key for key in settings if key not in _OF_NO_EFFECT]
    if others:
        raise ValueError(
            f"architecture={name!r} is {model!r} with other settings ({', '.join(map(repr, others))}), which a saved "
            f"model could not keep. Use a name of timm's registry, architecture='timm:NAME.TAG', or a callable."
        )
    _size_in_registry(name, preprocessing.size, known.preprocessing.size)
    entry = {"hf_hub_id": repository, "hf_hub_filename": file, "num_classes": n_classes}
    return FoundInTimm(model, preprocessing, {**known.config, "custom_load": False, **entry})


def _images_of_timm(timm: Any, config: dict[str, Any]) -> Preprocessing:
    data = timm.data.resolve_data_config({"in_chans": 3}, pretrained_cfg=config)
    height, width = map(int, data["input_size"][1:])
    mean, std = (tuple(float(value) for value in data[name]) for name in ("mean", "std"))
    crop = float(data["crop_pct"])
    if not (0 < crop <= 2 and min(height, width) >= 1 and min(std) > 0 and all(map(isfinite, mean + std))):
        raise ValueError(f"images of {height}×{width}, {crop} of a side, mean {mean} and deviation {std}")
    return Preprocessing(
        size=(height, width),
        interpolation=str(data["interpolation"]),
        crop=crop,
        resize=_WAYS.get(data["crop_mode"], "crop"),
        mean=mean,
        std=std,
    )


def _size_in_registry(name: str, size: tuple[int, int], own: tuple[int, int]) -> dict[str, Any]:
    """What timm is told so that a network of fixed size is made for another one than its own."""
    if tuple(size) == own:
        return {}
    check_size(name, size, own)
    return {"pretrained_cfg_overlay": {"input_size": (3, *size)}}
