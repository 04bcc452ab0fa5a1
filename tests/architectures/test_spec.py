"""Flexible arguments, brought to one form."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from sklearn_cnn.architectures._auto import auto_filters
from sklearn_cnn.architectures._conv_blocks import ConvBlock, ConvNet
from sklearn_cnn.architectures._spec import conv_architecture
from tests.architectures.settings import DEFAULTS
from tests.cases import for_every

PAIRS = ["kernel_size", "stride", "padding", "dilation", "pool_size", "pool_stride"]
PER_BLOCK = [*PAIRS, "convs_per_block", "pooling"]
# The field of ConvBlock in which a parameter ends up.
FIELDS = {name: "n_convs" if name == "convs_per_block" else name for name in PER_BLOCK}


def spec(**settings):
    return conv_architecture(**{**DEFAULTS, **settings})


def of_blocks(name, architecture):
    return [getattr(block, FIELDS[name]) for block in architecture.blocks]


def test_the_defaults_become_these_two_blocks():
    block = {
        "kernel_size": (3, 3),
        "stride": (1, 1),
        "padding": "same",
        "dilation": (1, 1),
        "n_convs": 1,
        "pooling": "max",
        "pool_size": (2, 2),
        "pool_stride": (2, 2),
    }
    assert spec() == ConvNet(
        blocks=(ConvBlock(filters=4, **block), ConvBlock(filters=6, **block)),
        padding_mode="zeros",
        global_pooling=None,
        activation="relu",
        normalization="batch",
        hidden_layer_sizes=(8,),
        dropout=0.25,
        standardize=True,
    )


def test_settings_of_the_whole_network_are_handed_through():
    given = {
        "padding_mode": "reflect",
        "global_pooling": "avg",
        "activation": "tanh",
        "normalization": None,
        "dropout": 0.5,
        "standardize": False,
    }
    architecture = spec(**given)
    assert {name: getattr(architecture, name) for name in given} == given


@for_every("name", PAIRS)
@for_every("value", [5, np.int64(5), np.uint8(5)])
def test_an_int_holds_for_both_axes_of_every_block(name, value):
    entries = of_blocks(name, spec(**{name: value}))
    assert entries == [(5, 5), (5, 5)]
    assert all(type(side) is int for side in entries[0])


@for_every("name", PAIRS)
@for_every("container", [tuple, list, np.array])
def test_a_sequence_has_one_entry_a_block_and_is_never_one_pair_for_all(name, container):
    assert of_blocks(name, spec(**{name: container([4, 5])})) == [(4, 4), (5, 5)]


@for_every("name", PAIRS)
@for_every("container", [tuple, list, np.array])
def test_a_sequence_of_length_one_holds_for_every_block(name, container):
    assert of_blocks(name, spec(filters=(8, 8, 8), **{name: container([4])})) == [(4, 4)] * 3
    assert of_blocks(name, spec(filters=(8, 8, 8), **{name: container([(1, 5)])})) == [(1, 5)] * 3


@for_every("name", PAIRS)
@for_every("pairs", [[(1, 5), (2, 3)], ([1, 5], [2, 3]), np.array([[1, 5], [2, 3]])])
def test_entries_may_be_height_width_pairs(name, pairs):
    entries = of_blocks(name, spec(**{name: pairs}))
    assert entries == [(1, 5), (2, 3)]
    assert all(type(side) is int for entry in entries for side in entry)


@for_every("name", PAIRS)
def test_ints_and_pairs_may_stand_in_one_sequence(name):
    assert of_blocks(name, spec(**{name: [4, (1, 5)]})) == [(4, 4), (1, 5)]


@for_every(
    ("name", "value", "expected"),
    [
        ("padding", "valid", ["valid", "valid"]),
        ("padding", ["same"], ["same", "same"]),
        ("padding", ["valid", "same"], ["valid", "same"]),
        ("padding", np.array(["valid", "same"]), ["valid", "same"]),
        ("padding", ["valid", (0, 1)], ["valid", (0, 1)]),
        ("padding", 0, [(0, 0), (0, 0)]),
        ("pooling", None, [None, None]),
        ("pooling", "avg", ["avg", "avg"]),
        ("pooling", ["avg"], ["avg", "avg"]),
        ("pooling", [None], [None, None]),
        ("pooling", (None, "max"), [None, "max"]),
        ("pooling", np.array(["max", "avg"]), ["max", "avg"]),
        ("pooling", np.array(["max", None], dtype=object), ["max", None]),
        ("convs_per_block", 2, [2, 2]),
        ("convs_per_block", [3], [3, 3]),
        ("convs_per_block", np.array([1, 2]), [1, 2]),
    ],
)
def test_words_and_counts_are_read_block_by_block(name, value, expected):
    entries = of_blocks(name, spec(**{name: value}))
    assert entries == expected
    assert all(entry is None or type(entry) in (str, int, tuple) for entry in entries)


@for_every("pool_stride", [None, [None], [None, None]])
def test_pool_stride_none_is_the_pool_size_of_its_block(pool_stride):
    assert of_blocks("pool_stride", spec(pool_size=[3, (2, 4)], pool_stride=pool_stride)) == [(3, 3), (2, 4)]


def test_pool_stride_may_be_none_in_one_block_only():
    assert of_blocks("pool_stride", spec(pool_size=3, pool_stride=[None, 1])) == [(3, 3), (1, 1)]


@for_every("name", ["filters", "hidden_layer_sizes"])
@for_every(
    ("value", "expected"),
    [
        (7, (7,)),
        (np.int32(7), (7,)),
        ((7,), (7,)),
        ([7, 8], (7, 8)),
        (np.array([7, 8, 9]), (7, 8, 9)),
        ((), ()),
        ([], ()),
    ],
)
def test_widths_are_one_int_or_a_sequence(name, value, expected):
    architecture = spec(**{name: value})
    widths = tuple(b.filters for b in architecture.blocks) if name == "filters" else architecture.hidden_layer_sizes
    assert widths == expected
    assert all(type(width) is int for width in widths)


@for_every("name", PER_BLOCK)
@for_every("n_entries", [0, 2, 4])
@for_every("container", [tuple, list, np.array])
def test_a_sequence_of_another_length_raises_and_says_how_to_write_a_pair(name, n_entries, container):
    entries = container(["max" if name == "pooling" else 1] * n_entries)
    with pytest.raises(ValueError) as raised:
        spec(filters=(8, 8, 8), **{name: entries})
    message = str(raised.value)
    assert message.startswith(f"{name}=")
    assert f"has {n_entries} entries for 3 conv blocks" in message
    assert f"{name}=[(h, w)]" in message


BAD_INTS = [0, -1, 2.0, 2.5, "3", None, True, np.True_, np.float64(3), float("nan"), 1j, {"a": 1}]
BAD_PAIRS = [[(1, 2, 3)], [(1,)], [()], [(1, -1)], [(1, 2.0)], [(True, 1)], [("1", 1)], [np.array([1, 2, 3])]]


@for_every("name", ["filters", "hidden_layer_sizes", "convs_per_block", "kernel_size", "stride"])
@for_every("entry", BAD_INTS)
def test_an_entry_that_is_no_positive_int_raises_naming_the_parameter(name, entry):
    for value in (entry, [entry]):
        with pytest.raises(ValueError, match=f"{name} takes integers of at least 1; got"):
            spec(**{name: value})


@for_every("name", ["dilation", "pool_size", "pool_stride"])
@for_every("entry", [entry for entry in BAD_INTS if entry is not None])
def test_a_window_setting_that_is_no_positive_int_raises_naming_the_parameter(name, entry):
    with pytest.raises(ValueError, match=f"{name} takes integers of at least 1; got"):
        spec(**{name: [entry, 1]})


@for_every("name", PAIRS)
@for_every("value", BAD_PAIRS)
def test_a_bad_pair_raises_naming_the_parameter(name, value):
    with pytest.raises(ValueError, match=rf"(^| of ){name} "):
        spec(**{name: value})


@for_every("name", [name for name in PAIRS if name != "padding"])
def test_a_pair_with_a_zero_raises_naming_the_parameter(name):
    with pytest.raises(ValueError, match=f"{name} takes integers of at least 1; got 0"):
        spec(**{name: [(1, 0)]})


@for_every("name", ["filters", "kernel_size", "pooling"])
def test_an_array_without_axes_raises_naming_the_parameter(name):
    with pytest.raises(ValueError, match=name):
        spec(**{name: np.array(1.5)})


@for_every("value", [-1, [(0, -1)], 1.0, [True], [None], None])
def test_a_bad_padding_raises_naming_the_parameter(value):
    with pytest.raises(ValueError, match="padding takes integers of at least 0; got"):
        spec(padding=value)


@for_every(
    ("name", "value", "choices"),
    [
        ("padding", "full", "'same', 'valid'"),
        ("padding", ["same", "SAME"], "'same', 'valid'"),
        ("pooling", "none", "'max', 'avg', None"),
        ("pooling", ["max", "mean"], "'max', 'avg', None"),
        ("pooling", [True], "'max', 'avg', None"),
        ("pooling", [0, "max"], "'max', 'avg', None"),
    ],
)
def test_a_word_outside_the_choices_raises_with_the_choices(name, value, choices):
    with pytest.raises(ValueError, match=f"an entry of {name} is one of {choices}; got"):
        spec(**{name: value})


def test_without_blocks_one_value_for_all_still_holds():
    assert spec(filters=(), kernel_size=[3], pooling=["max"], padding=["same"]).blocks == ()


def test_two_spellings_of_one_network_are_equal_and_hash_alike():
    one = spec(filters=[4, 6], kernel_size=np.array([3, 5]), pool_stride=[None], padding=["same", "valid"])
    other = spec(kernel_size=[(3, 3), 5], pool_stride=2, padding=("same", "valid"), hidden_layer_sizes=np.array([8]))
    assert one == other
    assert hash(one) == hash(other)


def test_an_architecture_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        spec().dropout = 0.5


@for_every(
    ("size", "expected"),
    [
        ((1, 20), (64, 128)),
        ((8, 8), (64, 128)),
        ((27, 27), (64, 128)),
        ((28, 28), (32, 64, 128)),
        ((32, 32), (32, 64, 128)),
        ((64, 200), (32, 64, 128, 256)),
        ((224, 224), (32, 64, 128, 256, 256, 256)),
    ],
)
def test_auto_filters_follow_the_shorter_side(size, expected):
    assert auto_filters(*size)[0] == auto_filters(*size[::-1])[0] == expected


@for_every("side", [28, 60, 300])
def test_auto_filters_have_shallower_ones_down_to_two_blocks(side):
    found = auto_filters(side, side)
    assert [len(filters) for filters in found] == list(range(len(found[0]), 1, -1))


@for_every("name", PER_BLOCK)
@for_every("value", [-1, [-1]])
def test_an_entry_is_checked_where_there_is_no_block_to_have_it(name, value):
    assert spec(filters=()).blocks == ()
    with pytest.raises(ValueError, match=name):
        spec(filters=(), **{name: value})


@pytest.mark.parametrize(
    "setting", ["filters", "kernel_size", "stride", "dilation", "n_convs", "pool_size", "pool_stride"]
)
def test_a_block_refuses_sizes_below_one(setting):
    block = spec().blocks[0]
    with pytest.raises(ValueError, match="at least 1"):
        replace(block, **{setting: 0 if setting in ("filters", "n_convs") else (0, 1)})
