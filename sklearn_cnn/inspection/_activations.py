"""Numbers from inside a network: what its layers give for images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.inspection._subject import Subject, batches_of, look_at, spare_copy
from sklearn_cnn.training._inference import prediction_batch_size


def feature_maps(estimator: Any, X: Any, layer: str | Sequence[str] = "all") -> dict[str, NDArray[Any]]:
    """Compute what the layers of a network give for images.

    Read more in the user guide.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this package, a pipeline that ends in one, or a search over either.
    X : array-like of images
        As for its ``predict``.
    layer : str or sequence of str, default="all"
        Names of rows of ``plan_``. A row that comes ready made, such as a backbone, has its parts after a dot:
        ``"backbone.layer1"``, or ``"backbone.layer1.0.conv1"``. ``"all"`` are all rows and, of those that
        come ready made, the parts on the first level.

    Returns
    -------
    dict of str to ndarray of shape (n, channels, height, width) or (n, n_features)
        By the names of the layers, in the order of the plan; in the dtype of the network, as a rule float32.
        Parts of what comes ready made give what they give, some of them with the channels last; one that runs
        several times for an image has what it gave the last time.

    Raises
    ------
    ValueError
        For the name of a layer that is not there; those that are there are listed.
    TypeError
        Where `estimator` is of another kind, or `layer` is no name.
    NotFittedError
        Where it is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import feature_maps
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier((8, 16), max_epochs=1, random_state=0).fit(X, y)
    >>> maps = feature_maps(clf, X[:5])
    >>> maps["block1_conv"].shape, maps["block2_pool"].shape
    ((5, 8, 8, 8), (5, 16, 2, 2))
    """
    return maps_of(look_at(estimator, X), layer)


def maps_of(subject: Subject, layer: str | Sequence[str], *, missing: str = "raise") -> dict[str, NDArray[Any]]:
    """What layers give for the images of a subject, see `feature_maps`.

    With ``missing="skip"`` layers that give nothing are left out.
    """
    plan, network = subject.estimator.plan_, spare_copy(subject.estimator.module_)
    names = find_layers(network, plan, layer)
    stop = _last_row(plan, names)
    found: dict[str, NDArray[Any]] = {}
    with torch.inference_mode(), recording(network, names) as seen:
        for rows, pixels in batches_of(subject, prediction_batch_size(plan.largest_map)):
            network.maps(pixels, stop)
            if missing == "skip" or (isinstance(layer, str) and layer == "all"):
                names = [name for name in names if name in seen]  # some parts only hold others, or are never run
            for name in names:
                if name not in seen:
                    raise ValueError(f"layer={name!r} gives no array, or is not run by this network.")
                if name not in found:
                    part = seen[name]
                    found[name] = np.empty(
                        (len(subject.images), *part.shape[1:]), dtype=part.new_empty(0).cpu().numpy().dtype
                    )
                found[name][rows] = seen[name][: rows.stop - rows.start].cpu().numpy()
    return found


def layer_names(network: ImageNetwork, plan: Plan) -> list[str]:
    """Rows of a plan and, behind those that come ready made, their parts on the first level.

    Parts that are joined in the plan, such as a convolution and its normalisation, are apart here.
    """
    names = []
    for row in plan.layers:
        names.append(row.name)
        if row.ready_made:
            parts = [name for part in row.parts for name in part.split("+")]
            names += [f"{row.name}.{part}" for part in parts or _children(network.layers[row.name])]
    return names


def _children(module: nn.Module, prefix: str = "") -> list[str]:
    """Names of the parts on the first level that has several."""
    children = dict(module.named_children())
    if len(children) == 1:
        ((name, child),) = children.items()
        return _children(child, f"{prefix}{name}.") or [f"{prefix}{name}"]
    return [f"{prefix}{name}" for name in children]


def find_layers(network: ImageNetwork, plan: Plan, layer: str | Sequence[str]) -> list[str]:
    """Names of layers, checked, in the order of the plan; see `feature_maps`."""
    usual = layer_names(network, plan)
    if isinstance(layer, str) and layer == "all":
        return usual
    wanted = [layer] if isinstance(layer, str) else layer
    if not isinstance(wanted, list | tuple | np.ndarray) or not all(isinstance(name, str) for name in wanted):
        raise TypeError(f"layer is the name of a layer, or a list of names; got {layer!r}.")
    wanted = list(wanted)
    ready_made = [row.name for row in plan.layers if row.ready_made]
    known = [
        *usual,
        *(f"{row}.{part}" for row in ready_made for part, _ in network.layers[row].named_modules() if part),
    ]
    if not wanted:
        raise ValueError("layer= names no layer; 'all' are all.")
    for name in wanted:
        if name not in known:
            raise ValueError(f"layer={name!r} is not there; these are: {', '.join(map(repr, ['all', *usual]))}.")
    return sorted(dict.fromkeys(wanted), key=known.index)


@contextmanager
def recording(network: ImageNetwork, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what layers give in each run, by their names.

    What follows is given a copy: some networks write over their maps.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., Tensor | None]:
        def hook(_: nn.Module, __: Any, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor):
                return None
            seen[name] = output
            return output.clone()

        return hook

    hooks = [network.layers.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _last_row(plan: Plan, names: Sequence[str]) -> str:
    """The row at which a network can stop, having run all these layers."""
    rows = [row.name for row in plan.layers]
    return max((name.split(".")[0] for name in names), key=rows.index)


def as_maps(array: Any, image_size: tuple[int, int], *, ready_made: bool) -> Any:
    """What a layer gives as maps ``(n, channels, height, width)``; None where it is something else.

    Parts of ready-made networks give maps with the channels first or last, and also what has four axes but is no
    picture, such as the heads of an attention. Maps are told by their shape: that of the image, but smaller.

    Parameters
    ----------
    array : ndarray or Tensor
        What the layer gives.
    image_size : (int, int)
        Height and width of an image.
    ready_made : bool
        Whether the layer is such a part.
    """
    if array.ndim != 4:
        return None
    if not ready_made or _is_smaller(array.shape[2:], image_size):
        return array
    if _is_smaller(array.shape[1:3], image_size):
        return np.moveaxis(array, 3, 1) if isinstance(array, np.ndarray) else array.movedim(3, 1)
    return None


def _is_smaller(size: Sequence[int], image_size: tuple[int, int]) -> bool:
    """Whether a map may be of an image of this size: no larger, and of the same proportions but for rounding."""
    (height, width), (rows, columns) = size, image_size
    skew = abs(height * columns - width * rows)
    return height <= rows and width <= columns and skew <= 1.5 * max(rows, columns)
