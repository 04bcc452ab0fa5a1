"""FeatureMapDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sklearn_cnn.inspection._activations import as_maps, maps_of
from sklearn_cnn.inspection._drawing import axes_for, draw_picture, grid_inside, import_pyplot, limits_of
from sklearn_cnn.inspection._layers import layers_with_maps
from sklearn_cnn.inspection._subject import check_count, first_images, look_at

_SHOWN = ("convolution", "pool", "sum", "concatenation")


class FeatureMapDisplay:
    """One image and the maps that the layers of a network compute from it.

    The maps are drawn below the image, a row for each layer. Maps of deeper layers have fewer pixels, each of which
    depends on a larger part of the image. Use `from_estimator`, which also plots it.

    Read more in the user guide.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, channels)
        The image as passed, or as resized by a step of the pipeline.
    maps : dict of str to ndarray of shape (n_maps, height, width)
        Maps by the name of their layer; those that vary most over the image come first.
    filters : dict of str to ndarray of shape (n_maps,)
        Indices of the filters that the maps belong to.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that the grid is in, hidden.
    axes_ : ndarray of shape (n_layers + 1, n_maps), of Axes
        The grid; empty axes are switched off.
    figure_ : matplotlib.figure.Figure
        The figure.

    See Also
    --------
    feature_maps : The maps as arrays, for any layers and images.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import FeatureMapDisplay
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier((8, 16), max_epochs=1, random_state=0).fit(X, y)
    >>> display = FeatureMapDisplay.from_estimator(clf, X)
    >>> list(display.maps)
    ['block1_conv', 'block1_pool', 'block2_conv', 'block2_pool']
    """

    def __init__(
        self,
        *,
        image: NDArray[Any],
        maps: dict[str, NDArray[Any]],
        filters: dict[str, NDArray[np.intp]],
    ) -> None:
        self.image = image
        self.maps = maps
        self.filters = filters

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, layer: Any = "auto", n_maps: int = 8, ax: Any = None) -> Self:
        """Compute the maps of the first image and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator of this package, a fitted pipeline that ends in one, or a fitted search over either.
        X : array-like of images
            As for its ``predict``; the first is drawn.
        layer : str or sequence of str, default="auto"
            Names of layers, as for `feature_maps`. ``"auto"`` selects convolutions and pools (in a deep network the
            last one of each size of map) and the parts of backbones.
        n_maps : int, default=8
            Number of maps of each layer: those with the largest standard deviation over the image.
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        FeatureMapDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            Where `layer` names no layer of this network, or none of the layers has maps.
        TypeError
            Where `estimator` is of another kind.
        NotFittedError
            Where the estimator is not fitted.
        ImportError
            Where matplotlib is missing; the extra ``plot`` installs it.
        """
        import_pyplot(cls.__name__)  # before anything is computed
        check_count("n_maps", n_maps)
        subject = look_at(estimator, first_images(estimator, X, 1))
        fitted, shape = subject.estimator, subject.images.image_shape
        if isinstance(layer, str) and layer == "auto":
            layer = layers_with_maps(fitted.module_, fitted.plan_, _SHOWN) or "all"
        found = {}
        for name, values in maps_of(subject, layer, missing="skip").items():
            maps = as_maps(values, (shape.height, shape.width), ready_made="." in name)
            if maps is not None:
                found[name] = maps[0]
        if not found:
            raise ValueError("none of these layers gives maps; name a convolution, or use layer='auto'.")
        strongest = {
            name: np.argsort(-values.std(axis=(1, 2)), kind="stable")[:n_maps] for name, values in found.items()
        }
        return cls(
            image=subject.pictures[0],
            maps={name: values[strongest[name]] for name, values in found.items()},
            filters=strongest,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the image and its maps.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        FeatureMapDisplay
            The display itself.

        Raises
        ------
        ImportError
            Where matplotlib is missing; the extra ``plot`` installs it.
        """
        n_columns = max(len(values) for values in self.maps.values())
        n_rows = len(self.maps) + 1
        self.ax_ = axes_for(ax, type(self).__name__, (1.05 * n_columns + 1.4, 1.05 * n_rows))
        self.figure_ = self.ax_.figure
        self.axes_ = grid_inside(self.ax_, n_rows, n_columns)
        for unused in self.axes_.flat:
            unused.set_axis_off()
        self._show(0, 0, "image", self.image.shape[:2])
        draw_picture(self.axes_[0, 0], self.image, limits_of(self.image))
        for row, (name, values) in enumerate(self.maps.items(), start=1):
            for column, (number, value) in enumerate(zip(self.filters[name], values, strict=True)):
                self._show(row, column, name if column == 0 else "", value.shape)
                self.axes_[row, column].imshow(value, cmap="viridis", interpolation="nearest", origin="upper")
                self.axes_[row, column].set_title(str(number), fontsize=7, pad=2)
        return self

    def _show(self, row: int, column: int, name: str, size: tuple[int, ...]) -> None:
        ax = self.axes_[row, column]
        ax.set_axis_on()
        if name:
            label = f"{name}\n{size[0]}×{size[1]}"
            ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
