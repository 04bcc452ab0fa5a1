"""Images that look like an array and are computed when they are used."""

import copy
import operator
import pickle
from dataclasses import dataclass
from typing import ClassVar

import joblib
import numpy as np
import pytest
import torch

from sklearn_cnn.images import _source
from sklearn_cnn.images._reading import read_again, read_images, remember, remembered
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from tests.cases import for_every

N = 40
LAYOUTS = {
    "hw": ImageShape(3, 4),
    "hwc": ImageShape(5, 6, 3, "hwc"),
    "chw": ImageShape(5, 6, 3, "chw"),
    "flat": ImageShape(5, 6, 3, "chw", flat=True),
    "flat hwc": ImageShape(5, 6, 3, "hwc", flat=True),
}
DTYPES = [np.uint8, np.float32, np.float64]


@dataclass(frozen=True)
class Sprinkle:
    """A random step: a number is added to every image and another to every pixel."""

    seed: int = 7
    random: ClassVar[bool] = True

    def __call__(self, images, generator):
        # As in an augmentation, the second draw begins where that for the last image of the first ended.
        of_image = torch.randint(0, 10, (len(images), 1, 1, 1), generator=generator, device=images.device)
        of_pixel = torch.randint(0, 41, images.shape, generator=generator, device=images.device)
        return images + (of_image + of_pixel).to(images.dtype)

    def dtype(self, dtype):
        return dtype


@dataclass(frozen=True)
class Halve:
    """A step that is not random and gives float32."""

    random: ClassVar[bool] = False

    def __call__(self, images, generator):
        return images.to(torch.float32) / 2

    def dtype(self, dtype):
        return np.dtype(np.float32)


RECIPES = {
    "none": (),
    "random": (Sprinkle(),),
    "not random": (Halve(),),
    "both": (Sprinkle(1), Halve()),
    "two random": (Sprinkle(1), Halve(), Sprinkle(2)),
}


def pixels(layout="hw", dtype=np.uint8, n=N):
    shape = LAYOUTS[layout].sample_shape
    return np.random.default_rng(0).integers(0, 150, (n, *shape)).astype(dtype)


def make(layout="hw", recipe=(Sprinkle(),), dtype=np.uint8, n=N):
    return ImageSource(pixels(layout, dtype, n), LAYOUTS[layout], recipe)


@pytest.fixture(params=RECIPES, name="recipe")
def each_recipe(request):
    return RECIPES[request.param]


@for_every("layout", LAYOUTS)
@for_every("dtype", DTYPES)
def test_shape_dtype_and_size_are_those_of_the_array(layout, dtype, recipe):
    source = make(layout, recipe, dtype)
    array = np.asarray(source)
    assert type(array) is np.ndarray
    assert source.shape == array.shape == (N, *LAYOUTS[layout].sample_shape)
    assert source.dtype == array.dtype == (np.float32 if Halve() in recipe else dtype)
    assert (len(source), source.ndim, source.size) == (len(array), array.ndim, array.size)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_recipe_it_is_the_base(layout, dtype):
    source = make(layout, (), dtype)
    np.testing.assert_array_equal(np.asarray(source), pixels(layout, dtype))
    assert source.plain
    assert source.images() is source.base


@pytest.mark.parametrize("layout", LAYOUTS)
def test_steps_see_channels_first_and_results_are_as_stored(layout):
    seen = []

    class Look(Halve):
        def __call__(self, images, generator):
            seen.append(tuple(images.shape[1:]))
            return super().__call__(images, generator)

    source = make(layout, (Look(),))
    np.testing.assert_array_equal(np.asarray(source), pixels(layout) / 2)
    assert set(seen) == {LAYOUTS[layout].channels_first}


@pytest.mark.parametrize(
    "key",
    [0, 17, -1, -N, np.int64(5), np.int32(-3), np.uint8(9), np.array(4)],
    ids=lambda key: f"{type(key).__name__} {key}",
)
def test_an_int_gives_one_image(key, recipe):
    source = make("hwc", recipe)
    image = source[key]
    assert type(image) is np.ndarray
    np.testing.assert_array_equal(image, np.asarray(source)[key])


PARTS = {
    "slice": slice(3, 21),
    "all": slice(None),
    "negative step": slice(None, None, -1),
    "step of three": slice(35, 2, -3),
    "open slice": slice(-5, None),
    "list": [4, 2, 39],
    "index array": np.array([30, 1, 17, 16, 15]),
    "negative indices": np.array([-1, -40]),
    "repeated rows": np.array([5, 5, 20, 5, 20]),
    "mask": np.arange(N) % 3 == 1,
    "list of bool": [i % 7 == 0 for i in range(N)],
    "no row": [],
    "empty slice": slice(5, 5),
    "empty mask": np.zeros(N, bool),
    "numpy ints": [np.int64(3), np.int64(8)],
    "range": range(2, 30, 9),
}


@for_every("name", PARTS)
@for_every("ellipsis", [False, True])
def test_a_part_is_a_source_with_the_images_of_the_whole(name, ellipsis, recipe):
    key = PARTS[name]
    source = make("chw", recipe)
    part = source[key, ...] if ellipsis else source[key]
    expected = np.asarray(source)[key]
    assert isinstance(part, ImageSource)
    assert (part.shape, len(part), part.size) == (expected.shape, len(expected), expected.size)
    assert part.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(part), expected)


@pytest.mark.parametrize(
    "key",
    [
        (slice(2, 5), slice(0, 2)),
        (3, 1),
        (slice(None), 0, slice(1, 3)),
        (slice(None), ..., 1),
        (..., 0),
        (np.array([1, 3]), slice(None)),
        (2, 1, 3),
        None,
        ...,
        np.array([[1, 2], [3, 17]]),
        (slice(None), None),
    ],
    ids=str,
)
def test_other_keys_give_what_the_array_gives(key):
    source = make("hw", (Sprinkle(), Halve()))
    part = source[key]
    assert not isinstance(part, ImageSource)
    np.testing.assert_array_equal(part, np.asarray(source)[key])


def test_one_image_may_be_selected_with_an_ellipsis():
    source = make()
    np.testing.assert_array_equal(source[3, ...], np.asarray(source)[3])


@pytest.mark.parametrize(
    "key", [N, -N - 1, [0, N], np.array([-N - 1]), np.ones(N + 1, bool), (slice(None), 9), "a", 1.5], ids=str
)
def test_a_key_out_of_range_or_of_another_kind_is_an_index_error(key):
    with pytest.raises(IndexError):
        make()[key]


def test_selecting_computes_nothing():
    class Fails(Halve):
        def __call__(self, images, generator):
            raise AssertionError("computed")

    source = make(recipe=(Sprinkle(), Fails()))
    part = source[5:][::-1][np.arange(7)]
    assert part.shape == (7, 3, 4)
    assert "7, 3, 4" in repr(part)
    assert len(part) == 7
    assert part.dtype == np.float32


def test_random_steps_change_each_image_in_another_way():
    source = ImageSource(np.zeros((N, 3, 4), np.uint8), LAYOUTS["hw"], (Sprinkle(),))
    assert len(np.unique(np.asarray(source), axis=0)) == N


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 32, 33, 50])
def test_two_arrays_of_a_source_are_the_same_draw(n, recipe):
    source = make("hwc", recipe, n=n)
    np.testing.assert_array_equal(np.asarray(source), np.asarray(source))
    np.testing.assert_array_equal(np.asarray(make("hwc", recipe, n=n)), np.asarray(source))


def test_another_seed_is_another_draw():
    assert not np.array_equal(np.asarray(make(recipe=(Sprinkle(1),))), np.asarray(make(recipe=(Sprinkle(2),))))


def test_parts_of_parts_and_parts_across_groups_have_the_draw_of_the_whole():
    source = make("hwc", RECIPES["two random"], n=100)
    whole = np.asarray(source)
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(np.asarray(source[order]), whole[order])
    repeated = np.random.default_rng(2).integers(0, 100, 300)
    np.testing.assert_array_equal(np.asarray(source[repeated]), whole[repeated])
    np.testing.assert_array_equal(
        np.asarray(source[order][10:60][::-2][[3, 3, 0]]), whole[order][10:60][::-2][[3, 3, 0]]
    )
    for start in range(12, 20):
        np.testing.assert_array_equal(np.asarray(source[start : start + 3]), whole[start : start + 3])
    np.testing.assert_array_equal(np.stack([source[i] for i in range(100)]), whole)


@pytest.mark.parametrize("values", [1, 12 * 5, 12 * 16, 12 * 23])
def test_the_draw_does_not_depend_on_how_many_images_are_held_at_once(values, recipe, monkeypatch):
    source = make("hw", recipe)
    at_once = np.asarray(source)
    monkeypatch.setattr(_source, "CHUNK_VALUES", values)
    np.testing.assert_array_equal(np.asarray(source), at_once)
    np.testing.assert_array_equal(np.stack(list(source)), at_once)
    np.testing.assert_array_equal(np.asarray(source[::-1]), at_once[::-1])


def test_two_random_steps_draw_independently_of_each_other():
    base = np.zeros((N, 3, 4), np.float32)
    once, twice = (
        np.asarray(ImageSource(base, LAYOUTS["hw"], (Sprinkle(3),) * count)).astype(float) for count in (1, 2)
    )
    second = twice - once
    assert 0 <= second.min() < second.max() < 50
    assert np.mean(second == once) < 0.1


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, "int32"])
def test_a_dtype_may_be_asked_for(dtype):
    source = make()
    array = np.asarray(source, dtype=dtype)
    assert array.dtype == source.__array__(dtype).dtype == dtype
    np.testing.assert_array_equal(array, np.asarray(source))


def test_a_copy_is_had_and_no_copy_is_refused():
    source = make()
    np.testing.assert_array_equal(np.array(source, copy=True), np.asarray(source))
    np.testing.assert_array_equal(source.__array__(copy=True), np.asarray(source))
    with pytest.raises(ValueError, match="without a copy"):
        source.__array__(copy=False)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="without a copy"):
            np.array(source, copy=False)


def test_an_array_of_a_source_is_memory_of_its_own():
    source = make(recipe=())
    array = np.asarray(source)
    array[:] = 0
    np.testing.assert_array_equal(source.base, pixels())


ARITHMETIC = {
    "divide": lambda X: X / 255,
    "from the right": lambda X: 255 - X,
    "with an array": lambda X: X * np.arange(4),
    "with itself": lambda X: X + X,
    "negative": lambda X: -X,
    "power": lambda X: X**2,
    "comparison": lambda X: X > 50,
    "equality": lambda X: np.arange(4) == X,
    "ufunc": np.sqrt,
    "ufunc of two": lambda X: np.maximum(X, 80),
    "reduction": lambda X: np.add.reduce(X, axis=0),
    "mean": lambda X: np.mean(X, axis=0),
    "stack": lambda X: np.concatenate([X, X]),
    "out": lambda X: np.add(X, 1, out=np.empty(X.shape)),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_gives_the_array_that_numpy_gives(name):
    source = make()
    result = ARITHMETIC[name](source)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, ARITHMETIC[name](np.asarray(source)))


IN_PLACE = {"divide": operator.itruediv, "add": operator.iadd, "multiply": operator.imul}


@pytest.mark.parametrize("name", IN_PLACE)
def test_arithmetic_in_place_gives_an_array_too(name):
    source = make(dtype=np.float64)
    result = IN_PLACE[name](source, 2)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, IN_PLACE[name](np.asarray(source), 2))
    np.testing.assert_array_equal(source.base, pixels(dtype=np.float64))


@pytest.mark.parametrize("name", ["astype", "reshape", "iloc", "mean", "T", "flags"])
def test_an_unknown_attribute_says_how_to_get_an_array(name):
    with pytest.raises(AttributeError, match=rf"no '{name}'.*np\.asarray\(X\)"):
        getattr(make(), name)
    assert not hasattr(make(), name)


def test_iterating_gives_the_images_one_by_one(recipe):
    source = make("hwc", recipe)
    images = list(source)
    assert len(images) == N
    assert all(type(image) is np.ndarray for image in images)
    np.testing.assert_array_equal(np.stack(images), np.asarray(source))


@pytest.mark.parametrize("how", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy, copy.copy])
def test_a_copy_of_a_source_has_the_same_images(how, recipe):
    for source in (make("hwc", recipe), make("hwc", recipe)[[3, 30, 3]]):
        twin = how(source)
        assert isinstance(twin, ImageSource)
        assert (twin.shape, twin.dtype, twin.image_shape) == (source.shape, source.dtype, source.image_shape)
        np.testing.assert_array_equal(np.asarray(twin), np.asarray(source))


@pytest.mark.parametrize("rows", [slice(None), np.arange(N)[::-1], slice(3, 20)])
def test_a_source_in_memory_shared_read_only_gives_the_same(rows, recipe, tmp_path):
    source = make("hwc", recipe)[rows]
    joblib.dump(source, tmp_path / "source")
    shared = joblib.load(tmp_path / "source", mmap_mode="r")
    assert isinstance(shared.base, np.memmap)
    np.testing.assert_array_equal(np.asarray(shared), np.asarray(source))
    for some in (slice(0, 9), np.array([4, 2])):
        draws = [[torch.Generator().manual_seed(i) for i in range(2)] for _ in range(2)]
        assert torch.equal(shared.batch(some), source.batch(some))
        assert torch.equal(shared.batch(some, draws[0]), source.batch(some, draws[1]))


def test_joblib_hashes_by_what_the_images_are():
    sources = [
        make(),
        make(recipe=(Sprinkle(8),)),
        make(recipe=()),
        make()[:10],
        make()[10:20],
        make(n=10),
        make(recipe=(Sprinkle(), Halve())),
    ]
    hashes = [joblib.hash(source) for source in sources]
    assert len(set(hashes)) == len(hashes)
    again = [joblib.hash(pickle.loads(pickle.dumps(source))) for source in sources]
    assert again == hashes
    assert joblib.hash(make()) == hashes[0]


def test_the_representation_says_what_it_is():
    assert repr(make()) == "<ImageSource of shape (40, 3, 4), uint8, random>"
    assert repr(make(recipe=(Halve(),))) == "<ImageSource of shape (40, 3, 4), float32>"


# What a network does with it.


ROWS = {"indices": np.array([20, 3, 3, 39]), "slice": slice(4, 9), "long slice": slice(36, 99)}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_without_draws_leaves_random_steps_out(rows, layout):
    source = make(layout, RECIPES["two random"])
    batch = source.batch(ROWS[rows])
    expected = LAYOUTS[layout].to_channels_first(pixels(layout)[ROWS[rows]]) / 2
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch.numpy(), expected)


def test_a_batch_with_draws_goes_through_all_steps_in_order():
    source = make("hwc", RECIPES["two random"])
    rows = ROWS["indices"]
    draws = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    images = torch.from_numpy(pixels("hwc")[rows]).permute(0, 3, 1, 2)
    first, second = (torch.Generator().manual_seed(seed) for seed in (5, 6))
    expected = Sprinkle()(Halve()(Sprinkle()(images, first), None), second)
    assert torch.equal(source.batch(rows, draws), expected)
    assert not torch.equal(source.batch(rows, draws), expected)


def test_a_batch_with_draws_is_not_the_one_draw_of_numpy():
    source = make()
    drawn = source.batch(np.arange(N), [torch.Generator().manual_seed(0)])
    assert not np.array_equal(drawn[:, 0].numpy(), np.asarray(source))


def test_a_batch_of_a_part_counts_within_the_part():
    part = make(recipe=(Halve(),))[[30, 10, 20]]
    np.testing.assert_array_equal(part.batch(np.array([2, 0]))[:, 0], pixels()[[20, 30]] / 2)
    np.testing.assert_array_equal(part.batch(slice(1, 3))[:, 0], pixels()[[10, 20]] / 2)


@pytest.mark.parametrize("values", [1, 12 * 7, 2**22])
@pytest.mark.parametrize("rows", [None, np.array([5, 4, 39, 4, 0, 1, 2, 3])])
def test_going_through_gives_every_row_once_without_random_steps(values, rows, monkeypatch):
    monkeypatch.setattr(_source, "CHUNK_VALUES", values)
    source = make(recipe=RECIPES["both"])
    parts = list(source.batches(rows))
    wanted = np.arange(N) if rows is None else rows
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), wanted)
    np.testing.assert_array_equal(torch.cat([images for _, images in parts])[:, 0].numpy(), pixels()[wanted] / 2)


def test_images_are_all_of_them_without_random_steps(monkeypatch):
    monkeypatch.setattr(_source, "CHUNK_VALUES", 100)
    np.testing.assert_array_equal(make("flat", RECIPES["both"]).images(), pixels("flat") / 2)
    np.testing.assert_array_equal(make("hwc", RECIPES["random"])[5:9].images(), pixels("hwc")[5:9])


def test_then_adds_to_the_recipe_of_a_new_source():
    source = make()[4:8]
    longer = source.then(Halve())
    assert source.recipe == (Sprinkle(),)
    assert longer.recipe == (Sprinkle(), Halve())
    np.testing.assert_array_equal(np.asarray(longer), np.asarray(source) / np.float32(2))
    assert source.random_steps == longer.random_steps == [Sprinkle()]


def test_a_part_or_a_recipe_is_more_than_an_array():
    assert make(recipe=()).plain
    assert not make(recipe=()).then(Halve()).plain
    assert not make(recipe=())[:].plain


@for_every("rows", ROWS)
@for_every("layout", LAYOUTS)
def test_a_tensor_as_base_gives_the_batches_of_an_array(rows, layout, recipe):
    array = make(layout, recipe)
    tensor = ImageSource(torch.from_numpy(pixels(layout)), LAYOUTS[layout], recipe)
    assert array.shape == tensor.shape
    order = np.arange(N)[::-1].copy()
    for one, other in ((array, tensor), (array[order], tensor[order])):
        assert torch.equal(one.batch(ROWS[rows]), other.batch(ROWS[rows]))
        draws = [[torch.Generator().manual_seed(i) for i in range(2)] for _ in range(2)]
        assert torch.equal(one.batch(ROWS[rows], draws[0]), other.batch(ROWS[rows], draws[1]))


def test_a_reversed_source_with_a_tensor_as_base_may_be_sliced():
    array, tensor = make(), ImageSource(torch.from_numpy(pixels()), LAYOUTS["hw"])
    assert torch.equal(array[::-1].batch(slice(4, 9)), tensor[::-1].batch(slice(4, 9)))


def test_on_the_cpu_the_base_stays_the_array_and_elsewhere_it_is_a_tensor():
    source = make(recipe=RECIPES["both"])[3:9]
    assert source.on(torch.device("cpu")) is source
    moved = source.on(torch.device("meta"))
    assert moved.base.device.type == "meta"
    assert (moved.shape, moved.recipe, moved.image_shape) == (source.shape, source.recipe, source.image_shape)
    np.testing.assert_array_equal(moved.rows, source.rows)
    assert moved.on(torch.device("meta")) is moved


@pytest.fixture
def small_device(monkeypatch):
    """A device of so many bytes: the CPU under the name of a GPU. It fails as the allocator of CUDA does."""
    empty, device = torch.empty, torch.device("cuda")
    here = torch.device("cpu")

    def made(n_bytes, says=None):
        def allocate(shape, *, dtype, device):
            assert device.type == "cuda"
            if np.prod(shape) * dtype.itemsize > n_bytes:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return empty(shape, dtype=dtype, device=here)

        monkeypatch.setattr(_source.torch, "empty", allocate)
        monkeypatch.setattr(_source, "free_bytes", lambda device: says)
        return device

    return made


@pytest.mark.parametrize("chunk", [1, 24, 2**20])
def test_a_base_is_copied_to_a_device_in_parts(chunk, small_device, monkeypatch):
    monkeypatch.setattr(_source, "CHUNK_VALUES", chunk)
    source = make(recipe=())
    moved = source.on(small_device(source.base.nbytes))
    assert isinstance(moved.base, torch.Tensor)
    np.testing.assert_array_equal(moved.base.numpy(), source.base)
    assert not np.shares_memory(moved.base.numpy(), source.base)


def test_no_part_that_is_copied_is_larger_than_what_is_held_at_once(small_device, monkeypatch):
    monkeypatch.setattr(_source, "CHUNK_VALUES", 60)
    parts, from_numpy = [], torch.from_numpy
    monkeypatch.setattr(_source.torch, "from_numpy", lambda array: parts.append(array.size) or from_numpy(array))
    source = make(recipe=())
    source.on(small_device(source.base.nbytes))
    assert max(parts) <= 60 and sum(parts) == source.base.size


@pytest.mark.reliability(23)
def test_a_base_that_does_not_fit_a_device_stays_and_its_batches_are_moved(small_device, recipe):
    source, moved = make(recipe=recipe), {}
    there = source.on(small_device(source.base.nbytes - 1), moved)
    assert there.base is source.base
    # The allocator is asked once for one base, also where parts of it are moved.
    assert moved == {id(source.base): source.base}
    rows = np.array([3, 1, 30])
    draws = [[torch.Generator().manual_seed(i) for i in range(2)] for _ in range(2)]
    assert torch.equal(there.batch(rows, draws[0]), source.batch(rows, draws[1]))
    assert there.batch(rows, device="meta").device.type == "meta"


@pytest.mark.parametrize(("free", "stays"), [(1.9, True), (2.1, False)])
def test_half_of_the_free_memory_of_a_device_is_left_to_the_training(free, stays, small_device):
    source = make(recipe=())
    device = small_device(source.base.nbytes, says=int(free * source.base.nbytes))
    assert (source.on(device).base is source.base) == stays


def test_other_errors_of_a_device_pass_through(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no such device")

    monkeypatch.setattr(_source.torch, "empty", fails)
    monkeypatch.setattr(_source, "free_bytes", lambda device: None)
    with pytest.raises(RuntimeError, match="no such device"):
        make().on(torch.device("cuda"))


# Bases of any memory layout, none of which is written to.


def base_of(kind, tmp_path):
    images = pixels("hwc", np.float32)
    if kind == "memory map":
        np.save(tmp_path / "images.npy", images)
        return np.load(tmp_path / "images.npy", mmap_mode="r")
    if kind == "read-only":
        images.flags.writeable = False
        return images
    if kind == "Fortran order":
        return np.asfortranarray(images)
    if kind == "negative strides":
        return images[::-1, ::-1, ::-1][::-1, ::-1, ::-1][:, ::1].copy()[::-1, :, ::-1][::-1, :, ::-1]
    if kind == "mirrored":
        return images[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    if kind == "every second row":
        return np.repeat(images, 2, axis=0)[::2]
    return images


@pytest.mark.parametrize(
    "kind",
    ["plain", "memory map", "read-only", "Fortran order", "negative strides", "mirrored", "every second row"],
)
def test_any_memory_layout_gives_the_same_and_is_not_written_to(kind, tmp_path, recipe):
    base = base_of(kind, tmp_path)
    before = np.array(base)
    source = ImageSource(base, LAYOUTS["hwc"], recipe)
    plain = ImageSource(pixels("hwc", np.float32), LAYOUTS["hwc"], recipe)
    np.testing.assert_array_equal(np.asarray(source), np.asarray(plain))
    np.testing.assert_array_equal(np.asarray(source[::-1]), np.asarray(plain[::-1]))
    for rows in ROWS.values():
        batch = source.batch(rows)
        assert torch.equal(batch, plain.batch(rows))
        batch.zero_()
    draws = [torch.Generator().manual_seed(0)] * 2
    source.batch(ROWS["slice"], draws).zero_()
    for _, images in source.batches():
        images.zero_()
    for image in source:
        image[:] = 0
    np.testing.assert_array_equal(np.array(base), before)


# As X of an estimator.


def fitted_on(X):
    """An estimator that remembers X."""
    estimator = ImageAugmenter()
    remember(estimator, X, read_images(X))
    return estimator


@pytest.mark.parametrize("layout", ["hw", "hwc", "chw"])
def test_a_source_is_read_as_it_is(layout):
    source = make(layout)
    assert read_images(source) is source
    assert read_images(source, expected=LAYOUTS[layout]) is source
    part = source[:3]
    assert read_again(fitted_on(source), part) is part


@pytest.mark.parametrize(("layout", "image_shape"), [("flat", (3, 5, 6)), ("flat hwc", (5, 6, 3))])
def test_a_source_of_rows_is_read_with_the_image_shape_it_was_made_with(layout, image_shape):
    source = make(layout)
    assert read_images(source, image_shape=image_shape) is source


@pytest.mark.parametrize("image_shape", [(9, 10), (6, 5, 3), (2, 15, 3), (3, 5, 6)])
def test_another_image_shape_than_that_of_the_step_before_is_refused(image_shape):
    with pytest.raises(ValueError, match=r"^CNN reads X.*the step before it read 5×6×3.*same image_shape"):
        read_images(make("flat hwc"), image_shape=image_shape, name="CNN")


def test_another_place_of_the_channels_than_in_the_step_before_is_refused():
    with pytest.raises(ValueError, match="the step before it read 5×6×3"):
        read_images(make("hwc"), channels="first")


def test_a_source_of_another_shape_than_at_fit_is_refused():
    with pytest.raises(ValueError, match="ImageAugmenter was fitted on X of shape"):
        read_again(fitted_on(make("hwc")), make("hw"))


def test_an_empty_source_is_refused():
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        read_images(make()[:0])


def test_of_a_source_the_same_is_remembered_as_of_an_array():
    source, array = make("chw"), pixels("chw")
    assert remembered(source, read_images(source)) == remembered(array, read_images(array))
