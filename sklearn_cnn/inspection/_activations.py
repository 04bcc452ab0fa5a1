"""The outputs of a network's layers for images."""

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
    """Compute the outputs of the layers of a network for images.

    Read more in the user guide.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this package, a fitted pipeline that ends in one, or a fitted search over either.
    X : array-like of images
        As for its ``predict``.
    layer : str or sequence of str, default="all"
        Names of layers of ``plan_``. Parts of a ready-made layer, such as a backbone, are named after a dot:
        ``"backbone.layer1"``, or ``"backbone.layer1.0.conv1"``. ``"all"`` means all layers of the plan and the
        first-level parts of those that are ready made.

    Returns
    -------
    dict of str to ndarray of shape (n, channels, height, width) or (n, n_features)
        Outputs by the names of the layers, in the order of the plan and in the dtype of the network, usually
        float32. Outputs of parts of ready-made layers are as the parts give them, some with the channels last.
        Of a part that runs several times for an image it is the last output.

    Raises
    ------
    ValueError
        Where `layer` names no layer of this network; the message lists those there are.
    TypeError
        Where `estimator` is of another kind, or `layer` is neither a name nor a list of names.
    NotFittedError
        Where the estimator is not fitted.

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
    """The outputs of layers for the images of a subject, see `feature_maps`.

    With ``missing="skip"`` layers that have no output, or do not run, are left out.
    """
    plan, network = subject.estimator.plan_, spare_copy(subject.estimator.module_)
    names = find_layers(network, plan, layer)
    stop = _last_row(plan, names)
    found: dict[str, NDArray[Any]] = {}
    with torch.inference_mode(), recording(network, names) as seen:
        for rows, pixels in batches_of(subject, prediction_batch_size(plan.largest_map)):
            network.maps(pixels, stop)
            if missing == "skip" or (isinstance(layer, str) and layer == "all"):
                names = [name for name in names if name in seen]  # some parts only contain others, or never run
            for name in names:
                if name not in seen:
                    raise ValueError(f"layer={name!r} gives no array, or does not run in this network.")
                if name not in found:
                    part = seen[name]
                    found[name] = np.empty(
                        (len(subject.images), *part.shape[1:]), dtype=part.new_empty(0).cpu().numpy().dtype
                    )
                found[name][rows] = seen[name][: rows.stop - rows.start].cpu().numpy()
    return found


def layer_names(network: ImageNetwork, plan: Plan) -> list[str]:
    """Names of the layers of a plan, each ready-made one followed by its first-level parts.

    Parts that are one row of the plan's table, such as a convolution with its normalisation, are separate here.
    """
    names = []
    for row in plan.layers:
        names.append(row.name)
        if row.ready_made:
            parts = [name for part in row.parts for name in part.split("+")]
            names += [f"{row.name}.{part}" for part in parts or _children(network.layers[row.name])]
    return names


def _children(module: nn.Module, prefix: str = "") -> list[str]:
    """Names of the parts on the first level with more than one part."""
    children = dict(module.named_children())
    if len(children) == 1:
        ((name, child),) = children.items()
        return _children(child, f"{prefix}{name}.") or [f"{prefix}{name}"]
    return [f"{prefix}{name}" for name in children]


def find_layers(network: ImageNetwork, plan: Plan, layer: str | Sequence[str]) -> list[str]:
    """The names of existing layers that `layer` asks for, in the order of the plan; see `feature_maps`."""
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
        raise ValueError("layer= names no layer; use layer='all' for all of them.")
    for name in wanted:
        if name not in known:
            raise ValueError(f"layer={name!r} is not there; these are: {', '.join(map(repr, ['all', *usual]))}.")
    return sorted(dict.fromkeys(wanted), key=known.index)


@contextmanager
def recording(network: ImageNetwork, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep the last outputs of layers, by their names.

    The next layer gets a copy, since some networks write over their maps.
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
    """The last layer of the plan that a network must run to have run all these."""
    rows = [row.name for row in plan.layers]
    return max((name.split(".")[0] for name in names), key=rows.index)


def as_maps(array: Any, image_size: tuple[int, int], *, ready_made: bool) -> Any:
    """The output of a layer as maps ``(n, channels, height, width)``; None where it is not maps.

    Parts of ready-made networks give maps with the channels first or last, and other arrays of four axes, such as
    the heads of an attention. Maps are recognised by their proportions, which are those of the image.

    Parameters
    ----------
    array : ndarray or Tensor
        Output of the layer.
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
    """Whether a map may belong to an image: no larger, and of the same proportions up to rounding."""
    (height, width), (rows, columns) = size, image_size
    skew = abs(height * columns - width * rows)
    return height <= rows and width <= columns and skew <= 1.5 * max(rows, columns)
