"""Which pixels an output depends on."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._kinds import KINDS
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.inspection._activations import as_maps, recording
from sklearn_cnn.inspection._subject import Subject, batches_of, dtype_of, look_at, spare_copy
from sklearn_cnn.training._inference import prediction_batch_size

GRADIENT_BYTES = 256 * 2**20
"""Memory for the maps of a batch where gradients are computed, which needs all of them."""

_READY_MADE_MAPS = 64
"""Assumed size of the maps of a ready-made layer, as a multiple of the image: ResNet-50 has 60 at 224×224 pixels."""

_FEWEST_STEPS, _MOST_STEPS = 16, 1024
"""Fewest and most gradients that integrated gradients compute for an image."""

_SHARE_OF_A_PIECE = 1 / 16
"""Largest error of one piece, as a share of the error allowed for an image: there are many pieces, and their errors
cancel out only in part."""

_METHODS = ("grad_cam", "gradient", "integrated_gradients", "occlusion")


def saliency(estimator: Any, X: Any, method: str = "grad_cam", target: Any = None) -> NDArray[np.float32]:
    """Compute how important each pixel is for an output of a network.

    Read more in the user guide.

    Parameters
    ----------
    estimator : CNNClassifier, CNNRegressor, or pipeline or search
        Fitted. A pipeline ends in a classifier or regressor; a search is over either.
    X : array-like of images
        As for its ``predict``.
    method : {"grad_cam", "gradient", "integrated_gradients", "occlusion"}, default="grad_cam"
        The method:

        - ``"grad_cam"``: the sum of the maps of the last convolution before the last pool, each weighted by the mean
          of its gradient;
          negative values are set to 0, and the result is enlarged to the image [1]_. The maps are normalised and
          activated as in the network, but not pooled. In a ready-made network they are the last ones that have more
          than one pixel and the proportions of the image. The result is coarse and smooth, and says little where
          the head has different weights for each place.
        - ``"gradient"``: the absolute gradient of the output by each pixel, the largest of its channels [2]_.
        - ``"integrated_gradients"``: the mean gradient on the straight line from a baseline, an image of zeros, to
          the image, times their difference, summed over channels [3]_. Signed: negative values are evidence against
          the output. The sum over all pixels is the difference of the output between image and baseline, to 1% and
          0.001 (of a regressor: 0.001 standard deviations of the targets). Steps on the line are halved until this
          holds, or until 1,024 gradients were computed.
        - ``"occlusion"``: how much the output falls where a square of the image's mean colour covers a place,
          the mean of the squares that cover it [4]_. The squares are a seventh of the shorter side wide, at
          least 2 pixels, and overlap by half. It takes no gradient, but 169 predictions for a square image of 28
          pixels, and more for a long one.
    target : label or int, default=None
        The class whose logit is explained; by default the class predicted for each image. With several labels an
        image it is the number of a label, by default of the most probable one; for a regressor the number of an
        output, needed where there are several.

    Returns
    -------
    ndarray of shape (n, height, width)
        In float32, in the unit of the output. Signed for ``"integrated_gradients"``, never negative for other methods.

    Raises
    ------
    ValueError
        For an unknown method or class, a network without a convolution where `method` is ``"grad_cam"``, or a
        regressor of several outputs without a target.
    TypeError
        Where `estimator` is of another kind.
    NotFittedError
        Where the estimator is not fitted.

    Warns
    -----
    UserWarning
        Where 1,024 gradients of ``"integrated_gradients"`` were not enough for some images.

    References
    ----------
    .. [1] Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization",
       2017, arXiv:1610.02391.
    .. [2] Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image classification
       models and saliency maps", 2014, arXiv:1312.6034.
    .. [3] Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", 2017, arXiv:1703.01365.
    .. [4] Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, arXiv:1311.2901.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import saliency
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> saliency(clf, X[:5]).shape
    (5, 8, 8)
    >>> against = saliency(clf, X[:5], "integrated_gradients", target=3)  # evidence for and against a 3
    """
    check_method(method)
    return saliency_of(look_at(estimator, X), method, target)[0]


def check_method(method: Any) -> None:
    """Raise a ValueError for an unknown method of `saliency`."""
    if method not in _METHODS:
        raise ValueError(f"method is one of {', '.join(map(repr, _METHODS))}; got {method!r}.")


def saliency_of(subject: Subject, method: str, target: Any) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The result of `saliency`, and for each image the index of the output that it explains."""
    estimator, plan = subject.estimator, subject.estimator.plan_
    network = spare_copy(estimator.module_)
    target_of = _target_of(estimator, target)
    maps = None if method != "grad_cam" else _last_maps(network, plan, subject)
    found = np.empty((len(subject.images), *plan.input_shape[1:]), dtype=np.float32)
    targets = np.empty(len(found), dtype=np.intp)
    size = prediction_batch_size(plan.largest_map) if method == "occlusion" else _gradient_batch_size(plan)
    short = []
    # The caller may be in no_grad, inference_mode or autocast.
    with torch.inference_mode(False), torch.autocast(torch.device(estimator.device_).type, enabled=False):
        for rows, pixels in batches_of(subject, size):
            # A copy, since tensors made in inference mode cannot have gradients.
            images = pixels.to(dtype_of(network)).clone()
            with torch.no_grad():
                index = target_of(network(images))
            if maps is not None:
                result = _grad_cam(network, images, index, maps)
            elif method == "gradient":
                result = _gradients(network, images, index)[1].abs().amax(dim=1)
            elif method == "integrated_gradients":
                result, error = _integrated_gradients(network, images, index, size)
                short.append(error[: rows.stop - rows.start])
            else:
                result = _occlusion(network, images, index)
            found[rows] = result[: rows.stop - rows.start].cpu().numpy()
            targets[rows] = index[: rows.stop - rows.start].cpu().numpy()
    if short:
        _warn_of_missing_steps(torch.cat(short))
    if hasattr(estimator, "target_scale_"):  # a regressor's network is trained on scaled targets
        found *= estimator.target_scale_[targets][:, None, None]
    return found, targets


def _target_of(estimator: Any, target: Any) -> Callable[[Tensor], Tensor]:
    """A function from the outputs of a batch to the index of the output to explain, for each image."""
    if not hasattr(estimator, "task_"):
        raise TypeError(
            f"saliency explains an output, and a {type(estimator).__name__} has none; pass a classifier or regressor."
        )
    n_outputs, classes = estimator.task_.n_outputs, getattr(estimator, "classes_", None)
    if target is None:
        if classes is None and n_outputs > 1:
            raise ValueError(f"the regressor has {n_outputs} outputs; say which one, target=0 to {n_outputs - 1}.")
        return lambda outputs: outputs.argmax(dim=1)
    choices = np.arange(n_outputs) if classes is None else classes
    matches = [number for number, choice in enumerate(choices) if _same(choice, target)]
    if not matches:
        raise ValueError(f"target={target!r} is not among the {'outputs' if classes is None else 'classes'} {choices}.")
    return lambda outputs: torch.full((len(outputs),), matches[0], device=outputs.device)


def _same(choice: Any, target: Any) -> bool:
    """Whether a label is the target; an array never is."""
    return bool(np.ndim(target) == 0 and choice == target)


def _gradient_batch_size(plan: Plan) -> int:
    image = prod(plan.input_shape)
    values = sum(_READY_MADE_MAPS * image if row.ready_made else prod(row.output_shape) for row in plan.layers)
    return int(np.clip(GRADIENT_BYTES // (4 * (image + values)), 1, 1024))


def _gradients(network: ImageNetwork, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs to explain, ``(k,)``, and their gradients by the pixels, ``(k, c, h, w)``."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        outputs = _pick(network(images), index)
        (gradients,) = torch.autograd.grad(outputs.sum(), images)
    return outputs.detach(), gradients


def _pick(outputs: Tensor, index: Tensor) -> Tensor:
    return outputs.gather(1, index[:, None])[:, 0]


@dataclass(frozen=True)
class _Maps:
    """The maps of Grad-CAM: those of a layer, after functions that the network applies to each value."""

    layer: str
    functions: tuple[nn.Module, ...] = ()


def _grad_cam(network: ImageNetwork, images: Tensor, index: Tensor, where: _Maps) -> Tensor:
    with torch.enable_grad(), recording(network, [where.layer]) as seen:
        # The pixels must require gradients, since the weights of the copy do not.
        outputs = _pick(network(images.detach().requires_grad_()), index)
        given = seen[where.layer]
        (gradients,) = torch.autograd.grad(outputs.sum(), given, allow_unused=True)
    if gradients is None:
        raise ValueError(
            f"method='grad_cam' uses the last maps, those of {where.layer!r}, but the output does not depend on them; "
            f"use another method."
        )
    size, ready_made = (images.shape[2], images.shape[3]), "." in where.layer
    gradients, maps = (as_maps(values, size, ready_made=ready_made) for values in (gradients, given.detach()))
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    for function in where.functions:
        maps = function(maps)
    cam = (weights * maps).sum(dim=1, keepdim=True).relu()
    return F.interpolate(cam, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _last_maps(network: ImageNetwork, plan: Plan, subject: Subject) -> _Maps:
    """The activated maps of the last convolution before any pooling of its block.

    It is one of an earlier block where these are single pixels. Pooled maps are too small to show a place. Maps before
    the activation have values that the network does not use.
    Measured on 36 networks that recognise a bright square: of the largest 5% of values, 86% were on the square (29% in
    the worst network) with activated maps, 84% (0%) before the activation, and 67% (0%) after the pool.
    """
    rows = {row.name: row for row in plan.layers}
    ready_made = next((row.name for row in plan.layers if row.ready_made), None)
    if ready_made is not None:
        return _Maps(_last_map_inside(network, ready_made, subject))
    found: _Maps | None = None
    n_pixels = 0
    functions: list[str] = []
    name = plan.body
    while name != "input":
        row = rows[name]
        if found is not None and n_pixels > 1 and row.block != rows[found.layer].block:
            break
        if KINDS[row.kind].mixes:
            if prod(row.output_shape[1:]) > n_pixels or found is None:
                found = _Maps(name, tuple(network.layers[function] for function in reversed(functions)))
                n_pixels = prod(row.output_shape[1:])
            functions = []
        elif KINDS[row.kind].pointwise:
            functions.append(name)
        name = row.reads[0]
    if found is None:
        raise ValueError("method='grad_cam' looks at the maps of a convolution, and this network has none.")
    return found


def _last_map_inside(network: ImageNetwork, row: str, subject: Subject) -> str:
    """The part of a ready-made layer that is the last to give maps of more than one pixel."""
    _, pixels = next(batches_of(subject, 1))
    size = (pixels.shape[2], pixels.shape[3])
    order: list[str] = []

    def look(part: str, output: Any) -> None:
        maps = as_maps(output, size, ready_made=True) if isinstance(output, Tensor) else None
        if maps is not None and prod(maps.shape[2:]) > 1:
            order.append(part)

    # Without dropout and softmax, which an attention applies to its weights: these are not maps.
    parts = {
        f"{row}.{name}": part
        for name, part in network.layers[row].named_modules()
        if name and not isinstance(part, nn.Dropout | nn.Softmax)
    }
    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: look(name, output)) for name, part in parts.items()
    ]
    try:
        with torch.inference_mode():
            network(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise ValueError("method='grad_cam' looks at the maps of a convolution, and this network has none.")
    return order[-1]


def _integrated_gradients(network: ImageNetwork, images: Tensor, index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Attributions ``(k, h, w)``, and by how much more than allowed their sums are off, ``(k,)``.

    The line from the baseline, which is 0, to the image is divided into pieces, and the gradient of a piece is that in
    its middle. A piece is halved where the output does not change over it as this gradient says. Networks are nearly
    linear between kinks, so that few pieces are halved; halving all took more than 1,024 gradients for some digits.
    """
    wide = torch.float32 if images.device.type == "mps" else torch.float64  # MPS has no float64
    corners = torch.linspace(0, 1, _FEWEST_STEPS + 1, dtype=wide, device=images.device)
    outputs = torch.stack([_outputs_at(network, images, index, float(corner), size) for corner in corners], dim=1)
    outputs = outputs.to(wide)
    difference = outputs[:, -1] - outputs[:, 0]
    allowed = 0.01 * difference.abs() + 1e-3
    attribution = torch.zeros_like(images, dtype=wide)
    missing = torch.zeros_like(difference)
    used = torch.zeros_like(index)
    # Each piece has its image, begin and end on the line, and the outputs at both.
    n = len(images)
    rows = torch.arange(n, device=images.device).repeat_interleave(_FEWEST_STEPS)
    ways = torch.stack([corners[:-1].repeat(n), corners[1:].repeat(n)], dim=1)
    heights = torch.stack([outputs[:, :-1].flatten(), outputs[:, 1:].flatten()], dim=1)
    while len(rows):
        here = rows.bincount(minlength=n)
        used += here
        room = used + 2 * here <= _MOST_STEPS
        pieces = []
        for start in range(0, len(rows), size):
            row, way, height = (values[start : start + size] for values in (rows, ways, heights))
            middle = way.mean(dim=1)
            image = images[row]
            output, gradient = _gradients(network, image * middle.to(image.dtype)[:, None, None, None], index[row])
            part = gradient.to(wide) * image * (way[:, 1] - way[:, 0])[:, None, None, None]
            error = height[:, 1] - height[:, 0] - part.sum(dim=(1, 2, 3))
            cut = (error.abs() > allowed[row] * _SHARE_OF_A_PIECE) & room[row]
            attribution.index_add_(0, row[~cut], part[~cut])
            missing.index_add_(0, row[~cut], error[~cut])
            for side in (0, 1):
                half, ends = way.clone(), height.clone()
                half[:, 1 - side], ends[:, 1 - side] = middle, output.to(wide)
                pieces.append((row[cut], half[cut], ends[cut]))
        rows, ways, heights = (torch.cat(values) for values in zip(*pieces, strict=True))
    return attribution.sum(dim=1), (missing.abs() - allowed).clamp(min=0)


def _outputs_at(network: ImageNetwork, images: Tensor, index: Tensor, fraction: float, size: int) -> Tensor:
    """The outputs to explain, ``(k,)``, for images times a fraction."""
    with torch.no_grad():
        parts = [
            _pick(network(images[start : start + size] * fraction), index[start : start + size])
            for start in range(0, len(images), size)
        ]
    return torch.cat(parts)


def _warn_of_missing_steps(excess: Tensor) -> None:
    n = int((excess > 0).sum())
    if n:
        warnings.warn(
            f"the integrated gradients of {n} of {len(excess)} images do not add up to the difference of the output "
            f"after {_MOST_STEPS:,} gradients; the largest error is {float(excess.max()):.3g} above 1% and 0.001.",
            UserWarning,
            stacklevel=4,
        )


def _occlusion(network: ImageNetwork, images: Tensor, index: Tensor) -> Tensor:
    height, width = images.shape[2:]
    side = max(2, round(min(height, width) / 7))
    tops, lefts = _starts(height, side), _starts(width, side)
    colour = images.mean(dim=(2, 3), keepdim=True)
    fallen = torch.zeros_like(images[:, 0])
    covered = torch.zeros_like(images[0, 0])
    with torch.inference_mode():
        whole = _pick(network(images), index)
        for top in tops:
            for left in lefts:
                area = (..., slice(top, top + side), slice(left, left + side))
                hidden = images.clone()
                hidden[area] = colour
                fallen[area] += (whole - _pick(network(hidden), index)).clamp(min=0)[:, None, None]
                covered[area] += 1
    return fallen / covered


def _starts(length: int, side: int) -> list[int]:
    """Starts of squares that overlap by half and cover an axis."""
    last = max(length - side, 0)
    return sorted({*range(0, last, max(side // 2, 1)), last})
