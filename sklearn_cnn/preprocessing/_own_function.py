"""A change that the user wrote, as a step of a recipe."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cnn._random import lent_generators


@dataclass(frozen=True)
class OwnFunction:
    """A random step that calls a function with one image after the other.

    Before each call the global generators of Python, NumPy and torch are seeded by a number that is drawn for the
    image. So what one image draws depends neither on the images beside it nor on how many numbers they took.

    Attributes
    ----------
    func : callable
        Takes an array of shape (h, w, c), and returns one of the same shape and dtype.
    seed, seed_of_fit : int, bool
        As of an ``Augmentation``.
    copies : int
        How often each image of X stands in the base, one after the other.
    """

    func: Callable[[NDArray[Any]], NDArray[Any]] = field(hash=False)  # it may have no hash
    seed: int
    seed_of_fit: bool
    copies: int = 1

    random: ClassVar[bool] = True
    by_row: ClassVar[bool] = True

    def __call__(self, images: Tensor, generator: torch.Generator | None, rows: NDArray[np.intp]) -> Tensor:
        """Change the images of a batch, but for those whose row is -1."""
        assert generator is not None
        seeds = torch.randint(0, 2**32, (len(images),), generator=generator, device=generator.device).tolist()
        pixels = np.array(images.permute(0, 2, 3, 1).cpu().numpy(), order="C")  # (n, h, w, c), a copy
        with lent_generators(images.device) as seed_all:
            for place, seed in enumerate(seeds):
                if rows[place] >= 0:
                    seed_all(seed)
                    pixels[place] = self._changed(pixels[place].copy(), int(rows[place]) // self.copies)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(images.device)

    def dtype(self, dtype: Any) -> Any:
        """Images keep their dtype."""
        return dtype

    def _changed(self, image: NDArray[Any], row: int) -> NDArray[Any]:
        """One image after the function, or an error that names it."""
        shape, dtype = image.shape, image.dtype
        called, array = f"func={_name_of(self.func)}", f"array of shape {shape} and dtype {dtype}"
        way_out = f"return an {array}, as it comes in"
        try:
            result = self.func(image)
        except Exception as error:
            raise ValueError(
                f"{called} failed on image {row} of X, an {array}, with {type(error).__name__}: {error}"
            ) from error
        if not isinstance(result, np.ndarray):
            what = "None" if result is None else f"a {type(result).__name__}"
            raise ValueError(f"{called} returned {what} for image {row} of X; {way_out}.")
        if result.shape != shape or result.dtype != dtype:
            raise ValueError(
                f"{called} returned an array of shape {result.shape} and dtype {result.dtype} for image {row} of X; "
                f"{way_out}."
            )
        if dtype.kind == "f" and not np.isfinite(result).all():
            raise ValueError(f"{called} returned NaN or infinity for image {row} of X; return finite numbers.")
        return result


def _name_of(func: Any) -> str:
    return getattr(func, "__qualname__", type(func).__name__)
