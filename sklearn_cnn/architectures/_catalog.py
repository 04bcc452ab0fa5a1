"""The classic networks, as tables."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._plan import Plan, Sides

SMALL = 64
"""Pixels below which an image is small: the first layers, made for photographs of 224×224, then keep its resolution."""


class ImageTooSmallError(ValueError):
    """A network leaves nothing of an image."""


@dataclass(frozen=True)
class Entry:
    """A network of the catalog.

    Attributes
    ----------
    name : str
        As written in ``architecture=``.
    paper : str
        Where it was introduced.
    lay_out : callable
        ``(draft, small, dropout)``: adds all rows but the output layer.
    has_dropout : bool
        Whether the parameter ``dropout`` counts.
    adapts : bool
        Whether small images have other first layers, which other images' weights do not fit.
    lr_share : float
        What it takes of the usual learning rate: deep networks without normalisation train at small ones alone.
    torchvision : str or None
        The name of torchvision's network, whose weights fit.
    mean, std : tuple of float
        Of the pixels that those weights were trained on, red, green and blue, where white is 1.
    """

    name: str
    paper: str
    lay_out: Callable[[Draft, bool, float], None]
    has_dropout: bool = False
    adapts: bool = False
    lr_share: float = 1.0
    torchvision: str | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


def plan_named(
    name: str, input_shape: tuple[int, int, int], n_outputs: int, *, dropout: float = 0.25, standardize: bool = True
) -> Plan:
    """Lay out a network of the catalog for one image shape.

    Parameters
    ----------
    name : str
        One of `list_architectures`.
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.
    n_outputs : int
        Values the network gives for an image.
    dropout : float, default=0.25
        Before dense layers, in the networks that have it.
    standardize : bool, default=True
        Whether pixels are standardised first.

    Returns
    -------
    Plan
        One row a layer.

    Raises
    ------
    ValueError
        For an unknown name, or an image that is too small.
    """
    entry = entry_of(name)
    try:
        return _lay_out(entry, input_shape, n_outputs, dropout, standardize)
    except ImageTooSmallError:
        _, height, width = input_shape
        raise ValueError(
            f"architecture={name!r} takes images of at least {smallest_side(name)} pixels a side; these are "
            f"{height}×{width}. Use conv blocks (architecture=None), or enlarge the images."
        ) from None


def entry_of(name: str) -> Entry:
    """Look a network up by its name.

    Raises
    ------
    ValueError
        For an unknown name; the nearest are listed.
    """
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name.lower(), CATALOG, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(CATALOG)}."
    raise ValueError(f"architecture={name!r} is unknown; {hint}")


@cache
def smallest_side(name: str) -> int:
    """The side, in pixels, of the smallest square image that a network takes."""
    side = 1
    while True:
        try:
            _lay_out(CATALOG[name], (1, side, side), 2, 0.0, False)
        except ImageTooSmallError:
            side += 1
        else:
            return side


def _lay_out(
    entry: Entry, input_shape: tuple[int, int, int], n_outputs: int, dropout: float, standardize: bool
) -> Plan:
    draft = Draft(input_shape)
    if standardize:
        draft.add("standardize", "standardize")
    entry.lay_out(draft, min(input_shape[1:]) < SMALL, dropout)
    draft.dense("output", n_outputs, None)
    counts = "dropout alone counts" if entry.has_dropout else "none counts"
    return draft.plan(f"{entry.name}: {entry.paper}; of the parameters of layers, {counts}")


def _around(pixels: int) -> Sides:
    return (pixels, pixels, pixels, pixels)


def _conv(
    draft: Draft,
    name: str,
    filters: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    norm: float | None = None,
    activation: str = "relu",
    reads: str | None = None,
) -> str:
    """Convolution, then normalisation where `norm` (its epsilon) is given, then activation."""
    if draft.span_exceeds((kernel, kernel), _around(padding), (1, 1)):
        raise ImageTooSmallError
    draft.conv(
        f"{name}_conv",
        filters,
        (kernel, kernel),
        stride=(stride, stride),
        padding=_around(padding),
        bias=norm is None,
        activation=activation,
        reads=reads,
    )
    if norm is not None:
        draft.norm(f"{name}_norm", eps=norm)
    return draft.activate(f"{name}_{activation}", activation)


def _pool(draft: Draft, name: str, kind: str, window: int, stride: int, *, padding: int = 0, ceil: bool = False) -> str:
    return draft.pool(name, kind, (window, window), (stride, stride), padding=padding, ceil=ceil)


def _at_most(draft: Draft, side: int) -> None:
    """Average maps that are larger down to a side, so that the dense layers behind them stay of one size."""
    channels, height, width = draft.shape_of()
    if height > side or width > side:
        shape = (channels, min(height, side), min(width, side))
        draft.add("adaptive_pool", "adaptive_avg_pool", shape=shape, whole_image=True)


def _lenet5(draft: Draft, small: bool, dropout: float) -> None:
    # The paper sets digits of 28×28 into a field of 32×32.
    margin = 2 if min(draft.input_shape[1:]) < 32 else 0
    for number, (filters, padding) in enumerate([(6, margin), (16, 0)], start=1):
        draft.block = f"block{number}"
        _conv(draft, f"block{number}", filters, 5, padding=padding, activation="tanh")
        _pool(draft, f"block{number}_pool", "avg", 2, 2)
    draft.block = "head"
    draft.flatten()
    for number, width in enumerate([120, 84], start=1):
        draft.dense(f"dense{number}", width, "tanh")
        draft.activate(f"dense{number}_tanh", "tanh")


def _alexnet(draft: Draft, small: bool, dropout: float) -> None:
    first = (64, 5, 1, 2) if small else (64, 11, 4, 2)
    table = [(*first, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False), (256, 3, 1, 1, True)]
    for number, (filters, kernel, stride, padding, pooled) in enumerate(table, start=1):
        draft.block = f"block{number}"
        _conv(draft, f"block{number}", filters, kernel, stride=stride, padding=padding)
        if pooled:
            _pool(draft, f"block{number}_pool", "max", 3, 2)
    draft.block = "head"
    _at_most(draft, 6)
    draft.flatten()
    for number in (1, 2):
        draft.drop(f"dense{number}_dropout", dropout)
        draft.dense(f"dense{number}", 4096, "relu")
        draft.activate(f"dense{number}_relu", "relu")


def _vgg(*n_convs: int) -> Callable[[Draft, bool, float], None]:
    def lay_out(draft: Draft, small: bool, dropout: float) -> None:
        for number, (filters, n) in enumerate(zip((64, 128, 256, 512, 512), n_convs, strict=True), start=1):
            draft.block = f"block{number}"
            for i in range(1, n + 1):
                _conv(draft, f"block{number}_{i}", filters, 3, padding=1)
            _pool(draft, f"block{number}_pool", "max", 2, 2)
        draft.block = "head"
        _at_most(draft, 7)
        draft.flatten()
        for number in (1, 2):
            draft.dense(f"dense{number}", 4096, "relu")
            draft.activate(f"dense{number}_relu", "relu")
            draft.drop(f"dense{number}_dropout", dropout)

    return lay_out


def _resnet(n_units: tuple[int, ...], *, bottleneck: bool) -> Callable[[Draft, bool, float], None]:
    def lay_out(draft: Draft, small: bool, dropout: float) -> None:
        draft.block = "stem"
        if small:
            _conv(draft, "stem", 64, 3, padding=1, norm=1e-5)
        else:
            _conv(draft, "stem", 64, 7, stride=2, padding=3, norm=1e-5)
            _pool(draft, "stem_pool", "max", 3, 2, padding=1)
        for stage, n in enumerate(n_units, start=1):
            for unit in range(1, n + 1):
                draft.block = f"stage{stage}_unit{unit}"
                stride = 2 if stage > 1 and unit == 1 else 1
                _residual_unit(draft, draft.block, 64 * 2 ** (stage - 1), stride, bottleneck=bottleneck)
        draft.block = "head"
        draft.global_pool("avg")

    return lay_out


def _residual_unit(draft: Draft, name: str, width: int, stride: int, *, bottleneck: bool) -> None:
    source, channels = draft.last, draft.shape_of()[0]
    # (filters, kernel, stride). The stride of a bottleneck is on its 3×3 convolution, as has become usual.
    table = (
        [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)] if bottleneck else [(width, 3, stride), (width, 3, 1)]
    )
    for number, (filters, kernel, step) in enumerate(table, start=1):
        last = number == len(table)
        out = _conv(
            draft,
            f"{name}_{number}",
            filters,
            kernel,
            stride=step,
            padding=kernel // 2,
            norm=1e-5,
            activation="identity" if last else "relu",
        )
    shortcut = source
    if stride > 1 or channels != table[-1][0]:
        shortcut = _conv(
            draft, f"{name}_shortcut", table[-1][0], 1, stride=stride, norm=1e-5, activation="identity", reads=source
        )
    draft.add(f"{name}_sum", "sum", reads=(out, shortcut))
    draft.activate(f"{name}_relu", "relu")


# Filters of each module's branches: 1×1; 1×1 then 3×3; 1×1 then "5×5"; 1×1 behind a pool.
_INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def _inception(draft: Draft, small: bool, dropout: float) -> None:
    eps = 1e-3  # as the batch-normalised network has it
    draft.block = "stem"
    if small:
        _conv(draft, "stem1", 64, 3, padding=1, norm=eps)
    else:
        _conv(draft, "stem1", 64, 7, stride=2, padding=3, norm=eps)
        _pool(draft, "stem1_pool", "max", 3, 2, ceil=True)
    _conv(draft, "stem2", 64, 1, norm=eps)
    _conv(draft, "stem3", 192, 3, padding=1, norm=eps)
    if not small:
        _pool(draft, "stem3_pool", "max", 3, 2, ceil=True)
    for name, filters in _INCEPTION.items():
        draft.block = f"inception{name}"
        _inception_module(draft, draft.block, filters, eps)
        if name == "3b":
            _pool(draft, "inception3_pool", "max", 3, 2, ceil=True)
        if name == "4e":
            _pool(draft, "inception4_pool", "max", 2, 2, ceil=True)
    draft.block = "head"
    draft.global_pool("avg")
    draft.drop("output_dropout", dropout)


def _inception_module(draft: Draft, name: str, filters: tuple[int, ...], eps: float) -> None:
    source = draft.last
    one, reduced3, three, reduced5, five, pooled = filters
    branches = [_conv(draft, f"{name}_1x1", one, 1, norm=eps, reads=source)]
    for label, reduced, wide in (("3x3", reduced3, three), ("5x5", reduced5, five)):
        _conv(draft, f"{name}_{label}_reduce", reduced, 1, norm=eps, reads=source)
        # The branch of 5×5 filters has 3×3 ones, as in the weights that everyone uses.
        branches.append(_conv(draft, f"{name}_{label}", wide, 3, padding=1, norm=eps))
    draft.pool(f"{name}_pool", "max", (3, 3), (1, 1), padding=1, ceil=True, reads=source)
    branches.append(_conv(draft, f"{name}_pooled", pooled, 1, norm=eps))
    _, height, width = draft.shape_of()
    draft.add(f"{name}_concat", "concat", reads=tuple(branches), shape=(one + three + five + pooled, height, width))


_VGG_PAPER = "Simonyan and Zisserman 2015, arXiv:1409.1556"
_RESNET_PAPER = "He, Zhang, Ren and Sun 2016, arXiv:1512.03385"

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("lenet5", "LeCun, Bottou, Bengio and Haffner 1998, doi:10.1109/5.726791", _lenet5, lr_share=0.5),
        Entry(
            "alexnet",
            "Krizhevsky 2014, arXiv:1404.5997, after Krizhevsky et al. 2012",
            _alexnet,
            has_dropout=True,
            adapts=True,
            lr_share=0.05,
            torchvision="alexnet",
        ),
        *(
            Entry(name, _VGG_PAPER, _vgg(*n_convs), has_dropout=True, lr_share=share, torchvision=name)
            for name, n_convs, share in (
                ("vgg11", (1, 1, 2, 2, 2), 0.05),
                ("vgg13", (2, 2, 2, 2, 2), 0.05),
                ("vgg16", (2, 2, 3, 3, 3), 0.02),
                ("vgg19", (2, 2, 4, 4, 4), 0.02),
            )
        ),
        *(
            Entry(name, _RESNET_PAPER, _resnet(n_units, bottleneck=bottleneck), adapts=True, torchvision=name)
            for name, n_units, bottleneck in (
                ("resnet18", (2, 2, 2, 2), False),
                ("resnet34", (3, 4, 6, 3), False),
                ("resnet50", (3, 4, 6, 3), True),
            )
        ),
        Entry(
            "inception",
            "Szegedy et al. 2015, arXiv:1409.4842; normalised, arXiv:1502.03167",
            _inception,
            has_dropout=True,
            adapts=True,
            torchvision="googlenet",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
    )
}


def list_architectures() -> list[str]:
    """Names of the classic networks that ``architecture=`` takes.

    Returns
    -------
    list of str
        The names.

    Notes
    -----
    LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998,
    doi:10.1109/5.726791. AlexNet: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014,
    arXiv:1404.5997, after Krizhevsky, Sutskever and Hinton 2012. VGG: Simonyan and Zisserman, "Very deep convolutional
    networks for large-scale image recognition", 2015, arXiv:1409.1556. ResNet: He, Zhang, Ren and Sun, "Deep residual
    learning for image recognition", 2016, arXiv:1512.03385. Inception: Szegedy et al., "Going deeper with
    convolutions", 2015, arXiv:1409.4842, with the normalisation of Ioffe and Szegedy, 2015, arXiv:1502.03167.

    Examples
    --------
    >>> from sklearn_cnn import list_architectures
    >>> list_architectures()[:3]
    ['lenet5', 'alexnet', 'vgg11']
    """
    return list(CATALOG)
