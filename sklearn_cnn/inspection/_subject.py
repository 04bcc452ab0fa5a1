"""A fitted estimator with images to look at, and a copy of its network that may be changed."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.estimators._base import BaseCNN
from sklearn_cnn.estimators._pickling import PicklesNetwork
from sklearn_cnn.estimators._sample import check_range, warn_of_another_range
from sklearn_cnn.estimators._unwrapping import fitted_steps
from sklearn_cnn.images._containers import as_array, refuse_unreadable
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._reading import read_again
from sklearn_cnn.images._shape import ImageShape, infer_image_shape
from sklearn_cnn.images._source import ImageSource


@dataclass(frozen=True)
class Subject:
    """A fitted estimator and images, before and after the steps of its pipeline.

    Attributes
    ----------
    estimator : estimator of this package
        Fitted; the last step of a pipeline.
    images : ImageSource of shape (n, ...)
        Input of the last step.
    stages : tuple of object
        Input of each step before the last.
    shapes : tuple of ImageShape
        Shapes of images that the steps were fitted on, where they have ``image_shape_``.
    """

    estimator: Any
    images: ImageSource
    stages: tuple[Any, ...]
    shapes: tuple[ImageShape, ...]

    @property
    def pictures(self) -> NDArray[Any]:
        """The images to draw, ``(n, height, width)`` or ``(n, height, width, channels)``.

        The earliest stage whose images have the size that the network sees, so that pixels and saliency match: of
        images that a step crops, pads or enlarges it is the output of that step.
        """
        size = self.images.image_shape.height, self.images.image_shape.width
        for stage in self.stages:
            pictures = _as_pictures(stage, self.shapes)
            if pictures is not None and pictures.shape[1:3] == size:
                return pictures
        return drawable(self.images.image_shape.to_channels_first(self.images.images()))


def find_estimator(estimator: Any) -> Any:
    """The fitted estimator of this package: itself, the best one of a search, or the last step of a pipeline.

    Raises
    ------
    TypeError
        Where there is none.
    NotFittedError
        Where the estimator is not fitted.
    """
    return _steps(estimator)[-1]


def find_trained(estimator: Any, purpose: str) -> Any:
    """The fitted classifier or regressor, found as `find_estimator` does.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this package, a fitted pipeline that ends in one, or a fitted search over either.
    purpose : str
        Subject of the error message: what needs the estimator.

    Returns
    -------
    CNNClassifier or CNNRegressor
        The estimator.

    Raises
    ------
    TypeError
        Where there is none, or one that was not trained on targets.
    NotFittedError
        Where it is not fitted.
    """
    found = find_estimator(estimator)
    if not isinstance(found, BaseCNN):
        raise TypeError(
            f"{purpose} needs a network that was trained on targets, and a {type(found).__name__} was not; pass a "
            f"CNNClassifier or CNNRegressor."
        )
    return found


def look_at(estimator: Any, X: Any) -> Subject:
    """Bring images through the steps before an estimator.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this package, a fitted pipeline that ends in one, or a fitted search over either.
    X : array-like of images
        As for its ``predict``.

    Returns
    -------
    Subject
        The last step, and the images at each stage.

    Raises
    ------
    TypeError
        Where it is another kind of estimator.
    NotFittedError
        Where it is not fitted.
    ValueError
        Where the images differ in shape from those of the fit.
    """
    *before, last = _steps(estimator)
    shapes = tuple(step.image_shape_ for step in (*before, last) if hasattr(step, "image_shape_"))
    stages = []
    for step in before:
        stages.append(X)
        X = step.transform(X)
    return Subject(last, read_again(last, X), tuple(stages), shapes)


def first_images(estimator: Any, X: Any, n: int) -> Any:
    """The first `n` images, with errors that speak of the X that was passed."""
    last = find_estimator(estimator)
    first = first_of(X, n)
    if last is estimator and tuple(getattr(X, "shape", ())) == last.image_shape_.sample_shape:
        read_again(last, X)  # one image alone: raises, and says how to pass it
    return first


def first_of(X: Any, n: int) -> Any:
    """The first `n` entries of X, in whatever form it is."""
    refuse_unreadable(X)
    if not hasattr(X, "__len__"):
        raise TypeError(f"X must be an array of images; got {type(X).__name__}.")
    return _safe_indexing(X, slice(0, n))


def check_count(name: str, value: Any) -> None:
    """Raise a ValueError where a parameter is not a positive integer."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a positive integer; got {value!r}.")


def _steps(estimator: Any) -> list[Any]:
    """The fitted steps: transformers, and the estimator of this package."""
    steps = [step for _, step in fitted_steps(estimator)]
    if not isinstance(steps[-1], PicklesNetwork):
        raise TypeError(
            f"inspection needs an estimator of this package, or a pipeline or search (with refit=True) that ends in "
            f"one; got {type(estimator).__name__}."
        )
    check_is_fitted(steps[-1], "module_")
    return steps


def _as_pictures(X: Any, shapes: tuple[ImageShape, ...]) -> NDArray[Any] | None:
    """X as pictures, or None where it is not images yet, such as paths."""
    if isinstance(X, ImageSource):
        return drawable(X.image_shape.to_channels_first(X.images()))
    try:
        images = np.asarray(as_array(X))
    except ValueError:  # images of several sizes, which a later step resizes
        return None
    if images.dtype.kind not in "biuf" or images.ndim < 2:
        return None
    shape = next((shape for shape in shapes if shape.sample_shape == images.shape[1:]), None)
    if shape is None:
        try:
            shape = infer_image_shape(images.shape, None, "auto")
        except ValueError:
            return None
    return drawable(shape.to_channels_first(images))


def drawable(images: NDArray[Any]) -> NDArray[Any]:
    """Images ``(n, c, h, w)`` with the channels last; without that axis where there is one channel."""
    return images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, -1)


def spare_copy(network: ImageNetwork) -> ImageNetwork:
    """Copy a network for hooks and gradients; the copy shares the weights and nothing else.

    So the fitted network stays as it is, whatever happens, and other threads can predict with it meanwhile.

    Parameters
    ----------
    network : ImageNetwork
        Network of a fitted estimator.

    Returns
    -------
    ImageNetwork
        In evaluation mode; its parameters do not require gradients.
    """
    shared: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in network.parameters()}
    shared |= {id(buffer): buffer.detach() for buffer in network.buffers()}
    return copy.deepcopy(network, shared).eval()


def batches_of(subject: Subject, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and pixels ``(k, c, h, w)`` of batches of images, on the estimator's device.

    A batch of one image has it twice, since a single image is rounded differently. As in prediction, pixels that are
    too large are refused, and pixels of another range than in training give a warning.
    """
    estimator, images, seen = subject.estimator, subject.images, Moments("all")
    for start in range(0, len(images), size):
        pixels = images.batch(slice(start, start + size), device=torch.device(estimator.device_))
        seen.see(pixels)
        check_range(*seen.range, getattr(estimator, "precision_", "float32"))
        rows = slice(start, start + len(pixels))
        yield rows, pixels if len(pixels) > 1 else pixels.expand(2, *pixels.shape[1:])
    warn_of_another_range(seen.range, estimator.pixel_range_, fractions=images.dtype != np.uint8, depth=4)


def dtype_of(network: nn.Module) -> torch.dtype:
    """The dtype that a network computes in."""
    return next(chain(network.parameters(), network.buffers())).dtype
