"""What is looked at: a fitted estimator with its images, and a copy of its network that may be touched."""

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
from sklearn_cnn.estimators._network import PicklesNetwork, fitted_steps
from sklearn_cnn.estimators._sample import check_range, warn_of_another_range
from sklearn_cnn.images._containers import as_array, refuse_unreadable
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._reading import read_again
from sklearn_cnn.images._shape import ImageShape, infer_image_shape
from sklearn_cnn.images._source import ImageSource


@dataclass(frozen=True)
class Subject:
    """A fitted estimator and images, as its network takes them and as they came.

    Attributes
    ----------
    estimator : estimator of this package
        Fitted; the last step where a pipeline was given.
    images : ImageSource of shape (n, ...)
        What the last step is given.
    stages : tuple of object
        What X was before each step.
    shapes : tuple of ImageShape
        How steps read it, as far as they tell.
    """

    estimator: Any
    images: ImageSource
    stages: tuple[Any, ...]
    shapes: tuple[ImageShape, ...]

    @property
    def pictures(self) -> NDArray[Any]:
        """The images to be drawn, ``(n, height, width)`` or ``(n, height, width, channels)``.

        As they came, unless their size changed on the way: what a pixel counts could stand on another one then. So of
        images that a step cuts, pads or enlarges it is what that step gives.
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
        Where it is not fitted.
    """
    return _steps(estimator)[-1]


def find_trained(estimator: Any, purpose: str) -> Any:
    """The fitted classifier or regressor, found as `find_estimator` does.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this package, a pipeline that ends in one, or a search over either.
    purpose : str
        What needs it, as the subject of the error message.

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
            f"{purpose} is of a network that was trained on targets, and a {type(found).__name__} was not; pass a "
            f"CNNClassifier or CNNRegressor."
        )
    return found


def look_at(estimator: Any, X: Any) -> Subject:
    """Bring images through the steps before an estimator.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this package, a pipeline that ends in one, or a search over either.
    X : array-like of images
        As for its ``predict``.

    Returns
    -------
    Subject
        What is looked at.

    Raises
    ------
    TypeError
        Where it is no such estimator.
    NotFittedError
        Where it is not fitted.
    ValueError
        Where the images are not such as it was fitted on.
    """
    *before, last = _steps(estimator)
    shapes = tuple(step.image_shape_ for step in (*before, last) if hasattr(step, "image_shape_"))
    stages = []
    for step in before:
        stages.append(X)
        X = step.transform(X)
    return Subject(last, read_again(last, X), tuple(stages), shapes)


def first_images(estimator: Any, X: Any, n: int) -> Any:
    """The first of the images, or an error about X as it was given."""
    last = find_estimator(estimator)
    refuse_unreadable(X)
    if not hasattr(X, "__len__"):
        raise TypeError(f"X must be an array of images; got {type(X).__name__}.")
    if last is estimator and tuple(getattr(X, "shape", ())) == last.image_shape_.sample_shape:
        read_again(last, X)  # one image alone: it says so
    return _safe_indexing(X, slice(0, n))


def check_count(name: str, value: Any) -> None:
    """Refuse what is no number of things to draw."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a positive integer; got {value!r}.")


def _steps(estimator: Any) -> list[Any]:
    """The fitted steps: transformers, and the estimator of this package."""
    steps = [step for _, step in fitted_steps(estimator)]
    if not isinstance(steps[-1], PicklesNetwork):
        raise TypeError(
            f"an estimator of this package is looked at, or a pipeline or search (with refit=True) that ends in one; "
            f"got {type(estimator).__name__}."
        )
    check_is_fitted(steps[-1], "module_")
    return steps


def _as_pictures(X: Any, shapes: tuple[ImageShape, ...]) -> NDArray[Any] | None:
    """X as pictures, if it is images already: paths are not."""
    if isinstance(X, ImageSource):
        return drawable(X.image_shape.to_channels_first(X.images()))
    try:
        images = np.asarray(as_array(X))
    except ValueError:  # images of several sizes, which a later step brings to one
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
    """``(n, c, h, w)`` with the channels last, and without them where there is one."""
    return images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, -1)


def spare_copy(network: ImageNetwork) -> ImageNetwork:
    """Copy a network for hooks and gradients: its numbers are shared, nothing else is.

    So the fitted network stays as it is whatever happens, and goes on predicting in other threads meanwhile.

    Parameters
    ----------
    network : ImageNetwork
        Of a fitted estimator.

    Returns
    -------
    ImageNetwork
        In evaluation mode; none of its parameters asks for a gradient.
    """
    shared: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in network.parameters()}
    shared |= {id(buffer): buffer.detach() for buffer in network.buffers()}
    return copy.deepcopy(network, shared).eval()


def batches_of(subject: Subject, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Go through the images of a subject: their rows, and pixels ``(k, c, h, w)`` on the estimator's device.

    An image alone comes twice: it would be rounded differently than among others. As in prediction, pixels that are too
    large are refused, and those of another range than in training give a warning.
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
    """What a network computes in."""
    return next(chain(network.parameters(), network.buffers())).dtype
