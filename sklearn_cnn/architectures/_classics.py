"""The layers of the classic networks: each function adds those of one family to a draft, without the output layer.

All take ``(draft, small, dropout)``: whether the images are small, so that the first layers keep their resolution, and
the probability of the dropout.
"""

from collections.abc import Callable

from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._layer import Sides


class ImageTooSmallError(ValueError):
    """An image is too small for the layers of a network."""


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
    """Add a convolution, a normalisation if `norm` (its epsilon) is given, and an activation."""
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
    """Average larger maps down to this side, so that the size of the next dense layer does not depend on the image."""
    channels, height, width = draft.shape_of()
    if height > side or width > side:
        shape = (channels, min(height, side), min(width, side))
        draft.add("adaptive_pool", "adaptive_avg_pool", shape=shape)


def lenet5(draft: Draft, small: bool, dropout: float) -> None:
    # The paper pads digits of 28×28 pixels to 32×32.
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


def alexnet(draft: Draft, small: bool, dropout: float) -> None:
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


def vgg(*n_convs: int) -> Callable[[Draft, bool, float], None]:
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


def resnet(n_units: tuple[int, ...], *, bottleneck: bool) -> Callable[[Draft, bool, float], None]:
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
    # (filters, kernel, stride). A bottleneck has its stride in the 3×3 convolution, as later versions do.
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


# Filters of the branches of each module: 1×1; 1×1 and 3×3; 1×1 and "5×5"; 1×1 after a pool.
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


def inception(draft: Draft, small: bool, dropout: float) -> None:
    eps = 1e-3  # as in torchvision, whose weights fit
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
        # The branch named 5×5 has filters of 3×3, as in the weights that everyone uses.
        branches.append(_conv(draft, f"{name}_{label}", wide, 3, padding=1, norm=eps))
    draft.pool(f"{name}_pool", "max", (3, 3), (1, 1), padding=1, ceil=True, reads=source)
    branches.append(_conv(draft, f"{name}_pooled", pooled, 1, norm=eps))
    draft.add(f"{name}_concat", "concat", reads=tuple(branches))
