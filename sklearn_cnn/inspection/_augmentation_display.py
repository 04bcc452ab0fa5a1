"""AugmentationDisplay."""

from numbers import Integral
from typing import Any, Self

from numpy.typing import NDArray
from sklearn.base import clone

from sklearn_cnn.estimators._auto import chosen_augmenter
from sklearn_cnn.estimators._base import BaseCNN
from sklearn_cnn.estimators._fitted import fitted_steps
from sklearn_cnn.images._reading import read_images
from sklearn_cnn.inspection._drawing import COLOURS, axes_for, draw_picture, grid_inside, import_pyplot, limits_of
from sklearn_cnn.inspection._subject import check_count, drawable, first_of
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter


class AugmentationDisplay:
    """Images, and random changes of them by an augmenter: the right class should be visible in every draw.

    Use `from_estimator`, which also plots it.

    Read more in the user guide.

    Parameters
    ----------
    pictures : ndarray of shape (n, height, width) or (n, height, width, channels)
        The unchanged images.
    draws : ndarray of shape (n, n_draws, height, width) or (n, n_draws, height, width, channels)
        Changed images: draws for each image.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that the pictures are in, hidden.
    axes_ : ndarray of Axes of shape (n, 1 + n_draws)
        The grid: a row for each image, first unchanged, then its draws.
    figure_ : matplotlib.figure.Figure
        The figure.

    See Also
    --------
    ImageAugmenter.sample : The draws as an array.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import ImageAugmenter
    >>> from sklearn_cnn.inspection import AugmentationDisplay
    >>> augmenter = ImageAugmenter(rotation=30, shift=0.1, random_state=0)
    >>> AugmentationDisplay.from_estimator(augmenter, load_digits().images).axes_.shape
    (4, 7)
    """

    def __init__(self, *, pictures: NDArray[Any], draws: NDArray[Any]) -> None:
        self.pictures = pictures
        self.draws = draws

    @classmethod
    def from_estimator(cls, augmenter: Any, X: Any, *, n_images: int = 4, n_draws: int = 6, ax: Any = None) -> Self:
        """Draw images with the random changes of an augmenter.

        Parameters
        ----------
        augmenter : ImageAugmenter, CNNClassifier, CNNRegressor, or pipeline or search
            Fitted or not. For a network its parameter `augmenter` is used; for a pipeline the first step that
            augments, with the steps before it fitted where they must be; for a fitted search that of its best
            estimator.
        X : array-like of images
            Images; the first ones are drawn.
        n_images : int, default=4
            Number of images to draw; fewer where there are fewer.
        n_draws : int, default=6
            Number of draws for each image.
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        AugmentationDisplay
            The display, drawn. The draws are the same each time where `random_state` of the augmenter is an int, or
            is None and that of its network is an int.

        Raises
        ------
        TypeError
            Where neither an augmenter nor a network is given.
        ValueError
            Where a network has no augmenter, a number is not a positive integer, or the augmenter cannot read or
            change the images.
        NotFittedError
            Where a step before the augmenter must be fitted and is not.
        ImportError
            Where matplotlib is missing.
        """
        check_count("n_images", n_images)
        check_count("n_draws", n_draws)
        before, found = _find_augmenter(augmenter, first_of(X, n_images))
        images = _prepared(before, first_of(X, n_images))
        source = read_images(images, image_shape=found.image_shape, channels=found.channels, name=type(found).__name__)
        shape = source.image_shape
        draws = found.sample(images, n_draws)
        flat = draws.reshape(-1, *draws.shape[2:])
        drawn = drawable(shape.to_channels_first(flat))
        return cls(
            pictures=drawable(shape.to_channels_first(source.images())),
            draws=drawn.reshape(*draws.shape[:2], *drawn.shape[1:]),
        ).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the pictures.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        AugmentationDisplay
            The display itself.

        Raises
        ------
        ImportError
            Where matplotlib is missing.
        """
        import_pyplot(type(self).__name__)
        n, n_draws, height, width = self.draws.shape[:4]
        side = min(8 / (n_draws + 1), 2.0)
        self.ax_ = axes_for(ax, type(self).__name__, (side * (n_draws + 1), n * side * min(height / width, 3) + 0.4))
        self.figure_ = self.ax_.figure
        self.axes_ = grid_inside(self.ax_, n, n_draws + 1)
        limits = limits_of(self.pictures)
        for row, picture, draws in zip(self.axes_, self.pictures, self.draws, strict=True):
            for panel, image in zip(row, [picture, *draws], strict=True):
                draw_picture(panel, image, limits)
                panel.spines[:].set(color="0.7", linewidth=1)
            row[0].spines[:].set(color=COLOURS[0], linewidth=2.5)
        self.axes_[0, 0].set_title("as it is")
        self.axes_[0, 1].set_title("draws", loc="left")
        return self


def _prepared(steps: list[Any], images: Any) -> Any:
    for step in steps:
        images = step.transform(images)
    return images


def _find_augmenter(estimator: Any, images: Any) -> tuple[list[Any], ImageAugmenter]:
    """The steps before an augmenter, and the augmenter with the settings that training would use for such images."""
    steps = _all_steps(estimator)
    seeds = [step.random_state for step in steps if isinstance(step, BaseCNN)]
    for number, step in enumerate(steps):
        if isinstance(step, ImageAugmenter):
            return steps[:number], _seeded(step, seeds)
        if isinstance(step, BaseCNN) and step.augmenter is not None:
            # The network decides how its images are read.
            reading = {"image_shape": step.image_shape, "channels": step.channels}
            source = read_images(_prepared(steps[:number], images), **reading, name=type(step).__name__)
            chosen = chosen_augmenter(step, source)
            if chosen is not None:
                return steps[:number], _seeded(clone(chosen).set_params(**reading), seeds)
    if any(isinstance(step, BaseCNN) for step in steps):
        raise ValueError(
            "there is no augmenter: neither a step of a pipeline nor the parameter augmenter, whose 'auto' adds "
            "none for these images."
        )
    raise TypeError(
        f"AugmentationDisplay needs an ImageAugmenter, or a network or pipeline that has one; got "
        f"{type(estimator).__name__}."
    )


def _all_steps(estimator: Any) -> list[Any]:
    """The steps of an estimator, with nested pipelines, searches and frozen estimators replaced by their steps."""
    steps = [step for _, step in fitted_steps(estimator)]
    return steps if steps[0] is estimator else [inner for step in steps for inner in _all_steps(step)]


def _seeded(augmenter: ImageAugmenter, seeds: list[Any]) -> ImageAugmenter:
    """The augmenter; where it has no seed, a copy with that of the network, as in training."""
    if augmenter.random_state is None and seeds and isinstance(seeds[0], Integral):
        return clone(augmenter).set_params(random_state=int(seeds[0]))
    return augmenter
