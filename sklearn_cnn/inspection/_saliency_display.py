"""SaliencyDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sklearn_cnn.inspection._drawing import (
    axes_for,
    cut_middle,
    draw_picture,
    grid_inside,
    import_pyplot,
    limits_of,
)
from sklearn_cnn.inspection._saliency import check_method, saliency_of
from sklearn_cnn.inspection._subject import check_count, first_images, look_at

_LETTERS = 13
"""Longest line of a title, in letters: a longer one would touch that of the next image."""

_METHODS = {
    "grad_cam": "Grad-CAM",
    "gradient": "gradient",
    "integrated_gradients": "integrated\ngradients",
    "occlusion": "occlusion",
}


class SaliencyDisplay:
    """Images, and below each of them how important its pixels are for the prediction.

    Use `from_estimator`, which also plots it.

    Read more in the user guide.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, channels)
        The images as passed, or as resized by a step of the pipeline.
    saliency : ndarray of shape (n, height, width)
        Importance of each pixel.
    method : str
        Method that computed it, see `saliency`.
    titles : sequence of str
        Titles of the images.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that the grid is in, hidden.
    axes_ : ndarray of shape (2, n), of Axes
        The images above, the overlays below.
    figure_ : matplotlib.figure.Figure
        The figure.

    See Also
    --------
    saliency : The values as an array.

    Notes
    -----
    Each image has its own scale, up to its largest value. Where values are signed, evidence for the output is
    orange and evidence against it purple; otherwise brighter pixels are more important.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import SaliencyDisplay
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> SaliencyDisplay.from_estimator(clf, X[:5], method="occlusion").saliency.shape
    (5, 8, 8)
    """

    def __init__(self, *, images: NDArray[Any], saliency: NDArray[Any], method: str, titles: Any) -> None:
        self.images = images
        self.saliency = saliency
        self.method = method
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        method: str = "grad_cam",
        target: Any = None,
        n_images: int = 8,
        ax: Any = None,
    ) -> Self:
        """Compute the saliency of the first images and draw it.

        Parameters
        ----------
        estimator : CNNClassifier, CNNRegressor, or pipeline or search
            Fitted. A pipeline ends in a classifier or regressor; a search is over either.
        X : array-like of images
            As for its ``predict``.
        method : str, default="grad_cam"
            As for `saliency`.
        target : label or int, default=None
            As for `saliency`; by default the predicted class.
        n_images : int, default=8
            Number of images to draw; fewer where there are fewer.
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SaliencyDisplay
            The display, drawn.

        Raises
        ------
        ValueError, TypeError, NotFittedError
            As for `saliency`.
        ImportError
            Where matplotlib is missing; the extra ``plot`` installs it.
        """
        import_pyplot(cls.__name__)  # before anything is computed
        check_count("n_images", n_images)
        X = first_images(estimator, X, n_images)
        check_method(method)
        subject = look_at(estimator, X)
        found, targets = saliency_of(subject, method, target)
        titles = _titles(subject.estimator, estimator.predict(X), targets, target)
        return cls(images=subject.pictures, saliency=found, method=method, titles=titles).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the images and their saliency.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        SaliencyDisplay
            The display itself.

        Raises
        ------
        ImportError
            Where matplotlib is missing; the extra ``plot`` installs it.
        """
        n = len(self.images)
        height, width = self.images.shape[1:3]
        side = 1.25 * min(max(height / width, 0.3), 3)
        self.ax_ = axes_for(ax, type(self).__name__, (1.25 * n + 1.0, 2 * side + 0.6))
        self.figure_ = self.ax_.figure
        self.axes_ = grid_inside(self.ax_, 2, n)
        limits = limits_of(self.images)
        signed = bool((self.saliency < 0).any())
        for column, (image, values) in enumerate(zip(self.images, self.saliency, strict=True)):
            above, below = self.axes_[:, column]
            draw_picture(above, image, limits)
            above.set_title(self.titles[column], fontsize=10)
            draw_picture(below, _grey(image), limits)
            largest = float(np.abs(values).max()) or 1.0
            below.imshow(
                values,
                cmap="PuOr_r" if signed else "inferno",
                vmin=-largest if signed else 0.0,
                vmax=largest,
                alpha=0.65,
                interpolation="nearest",
                origin="upper",
            )
        label = _METHODS.get(self.method, self.method)
        self.axes_[1, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
        return self


def _titles(fitted: Any, said: NDArray[Any], targets: NDArray[np.intp], target: Any) -> list[str]:
    """The prediction of each image, and the target where the saliency is for another output."""
    if said.ndim > 1:  # several outputs: the picture is about one of them
        values = [row[number] for row, number in zip(said, targets, strict=True)]
        return [f"output {number}:\n{_short(value)}" for number, value in zip(targets, values, strict=True)]
    about = "" if target is None or not hasattr(fitted, "classes_") else f"\n{_short(f'for {target}?')}"
    return [f"{_short(value)}{about}" for value in said]


def _short(value: Any) -> str:
    """A label or number, shortened to fit above its image."""
    return cut_middle(f"{value:.3g}" if isinstance(value, float | np.floating) else str(value), _LETTERS)


def _grey(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 2 else image[..., :3].mean(axis=2)
