"""FilterDisplay."""

from math import ceil
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.inspection._activations import as_maps, find_layers, recording
from sklearn_cnn.inspection._drawing import axes_for, draw_picture, grid_inside, import_pyplot, limits_of
from sklearn_cnn.inspection._layers import field_of, layers_with_maps
from sklearn_cnn.inspection._subject import (
    Subject,
    batches_of,
    check_count,
    find_estimator,
    look_at,
    spare_copy,
)
from sklearn_cnn.training._inference import prediction_batch_size

_PATCHES = 4


class FilterDisplay:
    """The filters of the first convolution, and image patches that activate deeper filters most.

    A filter of the first layer is a small picture itself: it responds most to patches that look like it. Deeper
    filters take maps as input, and are shown by the patches of images with the largest response; a patch is the
    receptive field of one value of their maps. In ready-made networks the receptive field is unknown, and whole images
    are shown. Use `from_estimator`, which also plots it.

    Read more in the user guide.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, height, width) or (n_filters, height, width, 3)
        Weights of the first convolution: in colour where it has three input channels, else their mean over channels.
    patches : dict of str to ndarray of shape (n_filters, 4, height, width) or (n_filters, 4, height, width, channels)
        By the name of a layer, the patches with the largest response of its filters; NaN outside the image.
    numbers : dict of str to ndarray of shape (n_filters,)
        Indices of the filters that the patches belong to.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that the grid is in, hidden.
    axes_ : ndarray of shape (n_rows, n_columns), of Axes
        The grid; empty axes are switched off.
    figure_ : matplotlib.figure.Figure
        The figure.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import FilterDisplay
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier((8, 16), max_epochs=1, random_state=0).fit(X, y)
    >>> FilterDisplay.from_estimator(clf).filters.shape
    (8, 3, 3)
    >>> FilterDisplay.from_estimator(clf, X).patches["block2_conv"].shape  # with a receptive field of 8 pixels
    (12, 4, 8, 8)
    """

    def __init__(
        self,
        *,
        filters: NDArray[Any],
        patches: dict[str, NDArray[Any]] | None = None,
        numbers: dict[str, NDArray[np.intp]] | None = None,
    ) -> None:
        self.filters = filters
        self.patches = patches
        self.numbers = numbers

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any = None, *, layer: Any = "auto", n_filters: int = 12, ax: Any = None
    ) -> Self:
        """Find the filters and the patches that activate them most, and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator of this package, a fitted pipeline that ends in one, or a fitted search over either.
        X : array-like of images or None, default=None
            Images to search for patches; without them only the first layer is drawn.
        layer : str or sequence of str, default="auto"
            Names of deeper layers with maps, as for `feature_maps`. ``"auto"`` selects the convolutions (in a deep
            network the last one of each size of map) and the parts of backbones.
        n_filters : int, default=12
            Number of filters of each deeper layer: those with the largest response above their mean, in standard
            deviations. Of the first layer all are drawn, up to 64.
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        FilterDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            Where the network has no convolution, or `layer` names a layer that does not exist or has no maps.
        TypeError
            Where `estimator` is of another kind.
        NotFittedError
            Where the estimator is not fitted.
        ImportError
            Where matplotlib is missing; the extra ``plot`` installs it.
        """
        import_pyplot(cls.__name__)  # before anything is computed
        check_count("n_filters", n_filters)
        fitted = find_estimator(estimator)
        plan, network = fitted.plan_, spare_copy(fitted.module_)
        filters = _first_filters(network)
        chosen = isinstance(layer, str) and layer == "auto"
        names = _deeper(network, plan) if chosen else find_layers(network, plan, layer)
        if X is None or not names:
            return cls(filters=filters).plot(ax=ax)
        subject = look_at(estimator, X)
        patches, numbers = {}, {}
        for name, (values, places) in _strongest(network, plan, subject, names, skip=chosen).items():
            order = np.argsort(-values[:, 0], kind="stable")[:n_filters]
            patches[name] = _cut(subject, plan, name, places[order])
            numbers[name] = order
        return cls(filters=filters, patches=patches, numbers=numbers).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the filters and patches.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        FilterDisplay
            The display itself.

        Raises
        ------
        ImportError
            Where matplotlib is missing; the extra ``plot`` installs it.
        """
        patches = self.patches or {}
        shown = self.filters[:64]
        n_columns = max([12 if patches else ceil(len(shown) ** 0.5), *(len(values) for values in patches.values())])
        of_filters = ceil(len(shown) / n_columns)
        n_rows = of_filters + len(patches)
        self.ax_ = axes_for(ax, type(self).__name__, (0.8 * n_columns + 1.4, 0.8 * n_rows + 0.4))
        self.figure_ = self.ax_.figure
        self.axes_ = grid_inside(self.ax_, n_rows, n_columns)
        for unused in self.axes_.flat:
            unused.set_axis_off()
        for cell, values in zip(self.axes_.flat, shown, strict=False):
            largest = float(np.abs(values).max()) or 1.0
            cell.set_axis_on()
            draw_picture(cell, values, (-largest, largest))  # 0 is medium grey
        self._name(0, f"first layer\n{shown.shape[1]}×{shown.shape[2]}")
        for row, (name, values) in enumerate(patches.items(), start=of_filters):
            limits = limits_of(values)
            for cell, mosaic in zip(self.axes_[row], _mosaics(values), strict=False):
                cell.set_axis_on()
                draw_picture(cell, mosaic, limits)
            self._name(row, f"{name}\n{values.shape[2]}×{values.shape[3]}")
        return self

    def _name(self, row: int, text: str) -> None:
        self.axes_[row, 0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)


def _first_conv(network: ImageNetwork) -> nn.Conv2d:
    conv = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    if conv is None:
        raise ValueError("filters are those of a convolution, and this network has none.")
    return conv


def _first_filters(network: ImageNetwork) -> NDArray[Any]:
    weight = _first_conv(network).weight.detach().cpu().double().numpy()
    return np.moveaxis(weight, 1, -1) if weight.shape[1] == 3 else weight.mean(axis=1)


def _deeper(network: ImageNetwork, plan: Plan) -> list[str]:
    """Layers behind the first convolution that have filters of their own."""
    names = []
    for name in layers_with_maps(network, plan, ("convolution",)):
        convs = [part for part in network.layers.get_submodule(name).modules() if isinstance(part, nn.Conv2d)]
        if convs and convs != [_first_conv(network)]:
            names.append(name)
    return names


def _strongest(
    network: ImageNetwork, plan: Plan, subject: Subject, names: list[str], *, skip: bool
) -> dict[str, tuple[NDArray[Any], NDArray[np.intp]]]:
    """For each filter of some layers its largest values, in standard deviations above its mean, and where they are.

    One value an image, so that the patches are of several; ``(n_filters, 4)``, and image, row and column of each.
    `skip`: leave out layers that give no maps.
    """
    shape = subject.images.image_shape
    best: dict[str, tuple[Tensor, Tensor]] = {}
    sums: dict[str, Tensor] = {}
    count = dict.fromkeys(names, 0)
    with torch.inference_mode(), recording(network, names) as seen:
        for rows, pixels in batches_of(subject, prediction_batch_size(plan.largest_map)):
            network(pixels)
            for name in names:
                given = seen.get(name)
                if given is not None:
                    given = as_maps(given, (shape.height, shape.width), ready_made="." in name)
                if given is None and skip:
                    continue
                if given is None:
                    raise ValueError(f"layer={name!r} gives no maps.")
                maps = given[: rows.stop - rows.start].cpu().double()
                value, place = maps.flatten(2).max(dim=2)
                image = torch.arange(rows.start, rows.stop)[:, None].expand_as(place)
                where = torch.stack([image, place // maps.shape[3], place % maps.shape[3]], dim=2)
                if name in best:
                    value = torch.cat([best[name][0], value.T], dim=1)
                    where = torch.cat([best[name][1], where.transpose(0, 1)], dim=1)
                else:
                    value, where = value.T, where.transpose(0, 1)
                value, order = value.topk(min(_PATCHES, value.shape[1]), dim=1)
                best[name] = value, where.gather(1, order[:, :, None].expand(-1, -1, 3))
                moments = torch.stack([maps.sum(dim=(0, 2, 3)), maps.square().sum(dim=(0, 2, 3))])
                sums[name] = sums.get(name, 0) + moments
                count[name] += maps.numel() // maps.shape[1]
    found = {}
    for name, (value, where) in best.items():
        mean, square = sums[name] / count[name]
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        raised = (value - mean[:, None]) / deviation.clamp(min=1e-12)[:, None]
        # A filter with the same response everywhere is activated by nothing.
        raised[deviation <= 1e-6 * mean.abs() + 1e-12] = -torch.inf
        found[name] = raised.numpy(), where.numpy()
    return found


def _cut(subject: Subject, plan: Plan, name: str, places: NDArray[np.intp]) -> NDArray[Any]:
    """The receptive fields, cut out of the images, of values at places ``(n_filters, k, 3)``; NaN outside."""
    pictures = subject.pictures
    sides = pictures.shape[1:3]
    fields = [field_of(plan, name, axis) for axis in (0, 1)]
    shape = [side if field is None else min(field.size, side) for side, field in zip(sides, fields, strict=True)]
    patches = np.full((*places.shape[:2], *shape, *pictures.shape[3:]), np.nan)
    for filter_, k in np.ndindex(*places.shape[:2]):
        image, *position = places[filter_, k]
        inside, outside = [], []
        for axis, field in enumerate(fields):
            first = 0
            if field is not None and field.size < sides[axis]:
                first = field.pixels(int(position[axis]))[0]
            begin, end = max(first, 0), min(first + shape[axis], sides[axis])
            inside.append(slice(begin, end))
            outside.append(slice(begin - first, end - first))
        patches[filter_, k, outside[0], outside[1]] = pictures[image, inside[0], inside[1]]
    return patches


def _mosaics(patches: NDArray[Any]) -> list[NDArray[Any]]:
    """Four patches of a filter as one picture, with a line of NaN between."""
    n, k, height, width = patches.shape[:4]
    whole = np.full((n, 2 * height + 1, 2 * width + 1, *patches.shape[4:]), np.nan)
    for i in range(k):
        top, left = (i // 2) * (height + 1), (i % 2) * (width + 1)
        whole[:, top : top + height, left : left + width] = patches[:, i]
    return list(whole)
