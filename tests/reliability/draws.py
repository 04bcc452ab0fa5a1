"""What hypothesis draws: images as users store them, labels, and parameters of a network, right and wrong ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

SIDES = st.integers(1, 3) | st.integers(1, 12)
DTYPES = ["uint8", "float32", "float64", ">f4", "float16", "bool", "int8", "uint16", "int64"]
NARROW = [(0, 127), (5, 5)]
WIDE = [*NARROW, (-1e6, 1e6), (1e6, 1e6 + 1), (-1e-30, 1e-30), (-1e15, 1e15)]
ORDERS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every second": lambda X: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X: np.ascontiguousarray(X[..., ::-1])[..., ::-1],
    "read-only": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
}


@dataclass
class Images:
    """X, and what has to be said of it."""

    X: Any
    said: dict[str, Any]


@st.composite
def images(draw, n=None, wild=False):
    """X of every layout, dtype and order in memory, and image_shape and channels, which tell what it is.

    Pixels go from 0 to 3, with which no training diverges; wild ones from anywhere to anywhere.
    """
    n = draw(st.integers(1, 9)) if n is None else n
    height, width = draw(SIDES), draw(SIDES)
    n_channels = draw(st.sampled_from([1, 2, 3, 4, 5]))
    layout, said = draw(st.sampled_from(["rows", "grey", "first", "last"])), {}
    if layout == "grey":
        sides = (height, width)
    else:
        said["channels"] = draw(st.sampled_from(["first", "last"])) if layout == "rows" else layout
        sides = (n_channels, height, width) if said["channels"] == "first" else (height, width, n_channels)
    shape = (n, *sides)
    if layout == "rows":
        said["image_shape"] = sides
        shape = (n, int(np.prod(sides)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    low, high = (0, 3) if not wild else draw(st.sampled_from(WIDE if dtype.name in ("float32", "float64") else NARROW))
    X = np.random.default_rng(draw(st.integers(0, 99))).uniform(low, high, shape).astype(dtype)
    return Images(ORDERS[draw(st.sampled_from(list(ORDERS)))](X), said)


LABELS = {
    "whole numbers": lambda codes: codes * 7 - 3,
    "floats": lambda codes: codes.astype(float),
    "bools": lambda codes: codes == 1,
    "strings": lambda codes: np.array(["cat", "dog", "emu"])[codes],
    "objects": lambda codes: np.array(["cat", "dog", "emu"], dtype=object)[codes],
    "list": lambda codes: codes.tolist(),
    "several": lambda codes: np.eye(3, dtype=int)[codes],
}


def labels(n):
    """Labels of every kind for n images, of one to three classes."""
    codes = st.lists(st.integers(0, 2), min_size=n, max_size=n).map(np.array)
    return st.builds(lambda kind, codes: LABELS[kind](codes), st.sampled_from(list(LABELS)), codes)


def _per_block(values, n_blocks, *, pairs=True):
    """One value for all blocks, or a sequence with an entry a block or one for all."""
    entries = values | st.tuples(values, values) if pairs else values
    sequences = st.lists(entries, min_size=n_blocks, max_size=n_blocks) | st.lists(entries, min_size=1, max_size=1)
    return values | sequences | sequences.map(tuple)


def _conv_settings(n_blocks):
    small = st.integers(1, 3)
    pools = st.sampled_from(["max", "avg", None])
    return {
        "filters": st.lists(small, min_size=n_blocks, max_size=n_blocks),
        "kernel_size": _per_block(st.integers(1, 5), n_blocks),
        "stride": _per_block(small, n_blocks),
        "padding": _per_block(st.sampled_from(["same", "valid"]), n_blocks, pairs=False)
        | _per_block(st.integers(0, 4), n_blocks),
        "padding_mode": st.sampled_from(["zeros", "replicate", "reflect", "circular"]),
        "dilation": _per_block(small, n_blocks),
        "convs_per_block": _per_block(small, n_blocks, pairs=False),
        "pooling": _per_block(pools, n_blocks, pairs=False),
        "pool_size": _per_block(small, n_blocks),
        "pool_stride": st.none() | _per_block(small, n_blocks),
        "global_pooling": pools,
        "activation": st.sampled_from(
            ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"],
        ),
        "normalization": st.sampled_from(["batch", None]),
        "hidden_layer_sizes": small | st.lists(small, max_size=2).map(np.array) | st.lists(small, max_size=2),
    }


_TRAINING = {
    "dropout": st.sampled_from([0.0, 0.5, 0]),
    "standardize": st.booleans() | st.booleans().map(np.bool_),
    "optimizer": st.sampled_from(["adamw", "adam", "sgd", "rmsprop"]),
    "lr": st.sampled_from(["auto", 1e-4]),
    "momentum": st.sampled_from([0.0, 0.5]),
    "weight_decay": st.sampled_from([0.0, 0.1]),
    "lr_schedule": st.sampled_from(["auto", "warmup_stable_decay", "cosine", "constant"]),
    "label_smoothing": st.sampled_from([0.0, 0.2]),
    "batch_size": st.sampled_from([1, "auto"]) | st.integers(1, 10),
    "early_stopping": st.booleans(),
    "validation_fraction": st.sampled_from([0.1, 0.5, 0.99]),
    "class_weight": st.sampled_from([None, "balanced"]),
    "warm_start": st.booleans(),
    "precision": st.sampled_from(["auto", "float32", "bfloat16", "float64"]),
    "random_state": st.integers(0, 2**32 - 1),
}


@st.composite
def parameters(draw):
    """Parameters of a classifier, each of which is right by itself; together they may not fit."""
    conv = _conv_settings(draw(st.integers(0, 3)))
    return {
        **draw(st.fixed_dictionaries({"filters": conv.pop("filters")}, optional={**conv, **_TRAINING})),
        "max_epochs": 1,
    }


_OBJECTS = [object(), {}, {"a": 1}, b"max", 1j, float("nan"), "no such word", ""]
_NO_SIZES = [*_OBJECTS, -1, 0, 1.5, 2.0, True, None, [[]], [0], [-2], [1.0], [True], ["2"], [None]]
_NO_PAIRS = [*_NO_SIZES, [(1, 2, 3)], [(1, 0)], [(1,)], [(1, "2")], [[[1, 1], [1, 1]]]]
_NO_WORDS = [*_OBJECTS, 1, -1, 0.5, ["relu"], ["max", "min"], "MAX"]
_NO_NUMBERS = [*_OBJECTS, -0.1, -1, float("inf"), None, [0.5], "0.5"]
_NO_SHARES = [*_NO_NUMBERS, 1.0]
_NO_COUNTS = [*_NO_NUMBERS, 0, 1.5, 2.0]
_NO_BOOLS = [*_OBJECTS, 2, 0.5, "True"]

WRONG = {
    **dict.fromkeys(["kernel_size", "stride", "dilation", "pool_size"], _NO_PAIRS),
    **dict.fromkeys(["filters", "convs_per_block", "hidden_layer_sizes"], _NO_SIZES),
    "pool_stride": [value for value in _NO_PAIRS if value not in (None, [None])],
    "padding": [*_OBJECTS, -1, 0.5, None, True, ["same", "full"], [-1], [(1, -1)], [(1, 2, 3)]],
    **dict.fromkeys(["padding_mode", "activation", "lr_schedule", "precision", "channels"], _NO_WORDS),
    **dict.fromkeys(["pooling", "global_pooling", "normalization", "optimizer"], _NO_WORDS),
    **dict.fromkeys(["dropout", "momentum", "label_smoothing"], _NO_SHARES),
    "validation_fraction": [*_NO_NUMBERS, 0, 1],
    "lr": [*_NO_NUMBERS, 0, 0.0],
    **dict.fromkeys(["weight_decay", "tol"], _NO_NUMBERS),
    **dict.fromkeys(["batch_size", "max_epochs", "n_iter_no_change"], _NO_COUNTS),
    **dict.fromkeys(["standardize", "early_stopping", "warm_start"], _NO_BOOLS),
    "image_shape": [*_OBJECTS, 5, (5,), (0, 3), (2, -2), (1.0, 2), ("2", 2), (1, 2, 3, 4)],
    "random_state": [*_OBJECTS, -1, 0.5, "0"],
    "class_weight": [*[value for value in _OBJECTS if value != {}], 0.5, [1, 2], {0: -1.0}],
    "augmenter": [*_OBJECTS, "flip"],
    "trainable_blocks": [*_OBJECTS, -1, 99, 0.5, True],
    "backbone_lr": [*_OBJECTS, 0, -1.0, "auto"],
    "weights": [*_OBJECTS, 5, "no/such/file.safetensors"],
    "architecture": [*_OBJECTS, 5, "resnet"],
    "device": [*_OBJECTS, 0, None, "gpu", "cuda:99"],
    "verbose": [*_OBJECTS, -1, None],
    "skorch_callbacks": [*_OBJECTS, "EarlyStopping", [5]],
}
"""Values that a parameter does not take, whatever the others are."""


def augmentations():
    """Parameters of an augmenter for any images, with a seed."""
    shares, probabilities = st.floats(0, 0.9), st.sampled_from([0.0, 0.5, 1.0])
    return st.fixed_dictionaries(
        {"random_state": st.integers(0, 2**32 - 1)},
        optional={
            "rotation": st.floats(0, 180),
            "shift": st.floats(0, 1) | st.tuples(shares, shares),
            "zoom": shares | st.tuples(st.floats(0.01, 1), st.floats(1, 10)),
            "shear": st.floats(0, 89),
            **dict.fromkeys(["horizontal_flip", "vertical_flip", "erasing"], probabilities),
            **dict.fromkeys(["brightness", "contrast"], shares),
            "noise": st.floats(0, 100),
            "fill_mode": st.sampled_from(["constant", "replicate", "reflect"]),
            "fill_value": st.floats(0, 255),
            "interpolation": st.sampled_from(["bilinear", "nearest"]),
        },
    )
