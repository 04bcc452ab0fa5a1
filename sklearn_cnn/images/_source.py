"""Images that are computed when they are needed."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn._memory import free_bytes, is_out_of_memory
from sklearn_cnn._random import generator
from sklearn_cnn.images._shape import ImageShape

CHUNK_VALUES = 2**20
"""Pixels in memory at once when all images of a source are computed."""

_DRAWN_TOGETHER = 16
"""Images that share a stream of random numbers in the one fixed draw that NumPy gets. A single image costs as much
as its group, so the groups are small."""


class Step(Protocol):
    """One function of a recipe. Steps are frozen dataclasses, so that they pickle and hash.

    Attributes
    ----------
    random : bool
        Whether it draws random numbers.
    by_row : bool
        Whether it is called with a third argument, ``rows``: an array of int, the row of the base that each image is.
        It is -1 for an image that only stands where another one has its draws; such an image may come back as it is.
        A step without this attribute is called with two arguments.
    """

    random: ClassVar[bool]

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Compute new images ``(n, c, h, w)`` of the same shape, without writing to the old ones."""

    def dtype(self, dtype: Any) -> Any:
        """Dtype of the result, for images of the given dtype."""


class ImageSource(NDArrayOperatorsMixin):
    """Images that look like an array and are computed when they are used.

    A source has a *base*, which holds images or decodes them from files, and a *recipe* of steps that a
    batch goes through. A network that is trained on a source draws the random steps anew in every epoch,
    and leaves them out where it predicts. Everything else sees one fixed draw: ``np.asarray(source)``
    gives the same array every time, and a part of a source gives the same images as the whole.

    Sources come out of ``ImageAugmenter.fit_transform`` and of a lazy ``ImageReader``; they are not made
    by hand.

    Parameters
    ----------
    base : ndarray, Tensor or sequence of files
        Whatever gives images of shape ``(k, *sample_shape)`` for an array of ``k`` indices.
    image_shape : ImageShape
        How one image is stored.
    recipe : tuple of steps, default=()
        Functions from images to images.
    rows : ndarray of int or None, default=None
        Which images of the base this source has, by default all.

    Attributes
    ----------
    image_shape : ImageShape
        How one image is stored.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import ImageAugmenter
    >>> X = load_digits().images
    >>> source = ImageAugmenter(rotation=15, random_state=0).fit_transform(X)
    >>> source
    <ImageSource of shape (1797, 8, 8), float64, random>
    >>> np.array_equal(np.asarray(source)[3:5], np.asarray(source[3:5]))
    True
    """

    def __init__(
        self,
        base: Any,
        image_shape: ImageShape,
        recipe: tuple[Step, ...] = (),
        rows: NDArray[np.intp] | None = None,
    ) -> None:
        self.base = base
        self.image_shape = image_shape
        self.recipe = recipe
        self.rows = rows

    # The interface of an array.

    def __len__(self) -> int:
        return len(self.base) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that this stands for."""
        return (len(self), *self.image_shape.sample_shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 1 + len(self.image_shape.sample_shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self) * self.image_shape.n_values

    @property
    def dtype(self) -> Any:
        """Dtype of the array that this stands for."""
        dtype = np.dtype(str(self.base.dtype).removeprefix("torch."))
        for step in self.recipe:
            dtype = step.dtype(dtype)
        return dtype

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn selects samples so
        if isinstance(key, tuple) or key is None or key is Ellipsis:
            return np.asarray(self)[key]
        rows = np.arange(len(self))[key]
        if rows.ndim == 0:
            return np.asarray(self._part(rows[None]))[0]
        return self._part(rows) if rows.ndim == 1 else np.asarray(self)[key]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for rows in self._chunks():
            yield from np.asarray(self._part(rows))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the images of an ImageSource are computed, which is not possible without a copy.")
        images = self._fill(self._drawn_once if self.random_steps else self.batch)
        return images if dtype is None else images.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        arrays = [np.asarray(value) if isinstance(value, ImageSource) else value for value in inputs]
        if any(isinstance(value, ImageSource) for value in kwargs.get("out", ())):
            kwargs.pop("out")  # `source /= 255` gives an array too
        return getattr(ufunc, method)(*arrays, **kwargs)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"an ImageSource has no {name!r}: its images are computed when they are used. np.asarray(X) gives an array."
        )

    def __repr__(self) -> str:
        return f"<ImageSource of shape {self.shape}, {self.dtype}{', random' * bool(self.random_steps)}>"

    # What steps of pipelines and networks use.

    @property
    def random_steps(self) -> list[Any]:
        """The steps that draw random numbers. Each has a ``seed``; ``seed_of_fit``: a fit uses its own seed instead."""
        return [step for step in self.recipe if step.random]

    @property
    def plain(self) -> bool:
        """Whether the images are those of an array, all of them and unchanged."""
        return isinstance(self.base, np.ndarray) and self.rows is None and not self.recipe

    def then(self, *steps: Step) -> "ImageSource":
        """A source with further steps at the end of the recipe."""
        return ImageSource(self.base, self.image_shape, self.recipe + steps, self.rows)

    def on(self, device: torch.device, moved: dict[int, Any] | None = None) -> "ImageSource":
        """Move the base into the memory of a device, where it fits.

        A base that does not fit stays where it is, as files do: `batch` then moves the images that it is asked for.
        For the CPU nothing moves.

        Parameters
        ----------
        device : torch.device
            Where the images are wanted.
        moved : dict or None, default=None
            Bases that were moved already, by their identity: parts of one source share theirs.

        Returns
        -------
        ImageSource
            The same images.
        """
        if device.type == "cpu" or not isinstance(self.base, np.ndarray):
            return self
        moved = {} if moved is None else moved
        if id(self.base) not in moved:
            moved[id(self.base)] = _moved(self.base, device)
        return ImageSource(moved[id(self.base)], self.image_shape, self.recipe, self.rows)

    def batch(
        self, rows: Any, draws: Sequence[torch.Generator] | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Compute some of the images.

        Parameters
        ----------
        rows : ndarray of int, or slice
            Which images.
        draws : sequence of torch.Generator or None, default=None
            One for each random step, on the device; None leaves the random steps out.
        device : torch.device, default="cpu"
            Where the steps compute.

        Returns
        -------
        Tensor of shape (k, c, h, w)
            The images. Do not write to them: they may share memory with the base.
        """
        images = self.image_shape.to_channels_first(self._of_base(rows).to(device))
        remaining = None if draws is None else iter(draws)
        for step in self.recipe:
            if not step.random:
                images = step(images, None)
            elif remaining is not None:
                of_base = self._rows_of_base(rows) if _by_row(step) else None
                images = _taken(step, images, next(remaining), of_base)
        return images

    def batches(self, rows: NDArray[np.intp] | None = None) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """Iterate over the images without random steps, a few at a time.

        Parameters
        ----------
        rows : ndarray of int or None, default=None
            Which images; by default all.

        Yields
        ------
        rows : ndarray of int
            Indices of a batch.
        images : Tensor of shape (k, c, h, w)
            Its images.
        """
        for chunk in self._chunks():
            part = chunk if rows is None else rows[chunk[chunk < len(rows)]]
            if len(part):
                yield part, self.batch(part)

    def images(self) -> NDArray[Any]:
        """Compute all images without random steps; return the base itself where nothing is to be computed.

        Returns
        -------
        ndarray of shape (n, *sample_shape)
            The images.
        """
        return self.base if self.plain else self._fill(self.batch)

    def _rows_of_base(self, rows: Any) -> NDArray[np.intp]:
        own = np.arange(len(self)) if self.rows is None else self.rows
        return own[rows]

    def _of_base(self, rows: Any) -> Tensor:
        index = rows if self.rows is None else self.rows[rows]
        if isinstance(self.base, Tensor):
            return self.base[index if isinstance(index, slice) else torch.from_numpy(index.copy()).to(self.base.device)]
        images = self.base[index]
        # Slices of an array are views, whose memory may be read-only: torch takes copies.
        return torch.from_numpy(images.copy() if isinstance(index, slice) else images)

    def _part(self, rows: NDArray[np.intp]) -> "ImageSource":
        return ImageSource(self.base, self.image_shape, self.recipe, rows if self.rows is None else self.rows[rows])

    def _chunks(self) -> Iterator[NDArray[np.intp]]:
        size = max(1, CHUNK_VALUES // self.image_shape.n_values)
        for start in range(0, len(self), size):
            yield np.arange(start, min(start + size, len(self)))

    def _fill(self, compute: Any) -> NDArray[Any]:
        """An array of the images that `compute` gives, a chunk at a time."""
        filled = np.empty(self.shape, self.dtype)
        for rows in self._chunks():
            filled[rows] = self.image_shape.from_channels_first(compute(rows)).cpu().numpy()
        return filled

    def _drawn_once(self, rows: NDArray[np.intp]) -> Tensor:
        """The one fixed draw that NumPy gets: what is drawn for an image depends only on its place in the base."""
        index = rows if self.rows is None else self.rows[rows]
        groups, members = np.unique(index // _DRAWN_TOGETHER, return_inverse=True)
        images = self.image_shape.to_channels_first(self._of_base(rows))
        drawn: Tensor | None = None
        for i, group in enumerate(groups):
            mine = np.flatnonzero(members == i)
            place = torch.from_numpy(index[mine] - group * _DRAWN_TOGETHER)
            # The group's other images are zeros: what is drawn for an image does not depend on the pixels.
            part = images.new_zeros((_DRAWN_TOGETHER, *images.shape[1:]))
            part[place] = images[torch.from_numpy(mine)]
            there = np.full(_DRAWN_TOGETHER, -1)
            there[place.numpy()] = index[mine]
            for number, step in enumerate(self.recipe):
                seed = getattr(step, "seed", None)  # of those that draw
                part = _taken(step, part, None if seed is None else generator(seed, int(group), number), there)
            if drawn is None:
                drawn = part.new_empty((len(images), *part.shape[1:]))
            drawn[torch.from_numpy(mine)] = part[place]
        assert drawn is not None
        return drawn


def _by_row(step: Any) -> bool:
    return getattr(step, "by_row", False)


def _taken(step: Any, images: Tensor, draws: torch.Generator | None, rows: NDArray[np.intp] | None) -> Tensor:
    """Take one step of a recipe."""
    return step(images, draws, rows) if _by_row(step) else step(images, draws)


def _moved(base: NDArray[Any], device: torch.device) -> NDArray[Any] | Tensor:
    """The values of an array on a device, or the array itself where they do not fit.

    They are copied a few at a time, so that the host holds no second copy of the array. Half of the device's free
    memory is left to the training.
    """
    free = free_bytes(device)
    if free is not None and base.nbytes > free / 2:
        return base
    size = max(1, CHUNK_VALUES // max(1, base[:1].size))
    try:
        moved = torch.empty(base.shape, dtype=torch.from_numpy(base[:0].copy()).dtype, device=device)
        for start in range(0, len(base), size):
            moved[start : start + size] = torch.from_numpy(base[start : start + size].copy())
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return base
    return moved
