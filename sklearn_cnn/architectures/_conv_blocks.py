"""The plan of a network of conv blocks, as the parameters of an estimator describe it."""

from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._geometry import same_padding
from sklearn_cnn.architectures._plan import Plan, Sides
from sklearn_cnn.architectures._spec import Architecture, ConvBlock, Pair


def plan_conv_blocks(architecture: Architecture, input_shape: tuple[int, int, int], n_outputs: int) -> Plan:
    """Lay out a network for one image shape.

    Parameters
    ----------
    architecture : Architecture
        What the network is made of.
    input_shape : (int, int, int)
        ``(channels, height, width)`` of an image.
    n_outputs : int
        Values the network gives for an image.

    Returns
    -------
    Plan
        One row a layer.

    Raises
    ------
    ValueError
        Where a convolution does not fit its input, or a padding is too large for its mode.
    """
    draft = Draft(input_shape)
    if architecture.standardize:
        draft.add("standardize", "standardize")
    for number, block in enumerate(architecture.blocks, start=1):
        draft.block = f"block{number}"
        _add_block(draft, architecture, block, number)
    draft.block = "head"
    if architecture.global_pooling is not None:
        draft.global_pool(architecture.global_pooling)
    else:
        draft.flatten()
    for number, width in enumerate(architecture.hidden_layer_sizes, start=1):
        draft.drop(f"dense{number}_dropout", architecture.dropout)
        draft.dense(f"dense{number}", width, architecture.activation)
        draft.activate(f"dense{number}_{architecture.activation}", architecture.activation)
    draft.drop("output_dropout", architecture.dropout)
    draft.dense("output", n_outputs, None)
    return draft.plan()


def _add_block(draft: Draft, architecture: Architecture, block: ConvBlock, number: int) -> None:
    """Convolution, pool, normalisation, activation; further convolutions keep stride 1 and have no pool.

    The pool stands before normalisation and activation: for a 2×2 pool these then run on a
    quarter of the values.
    """
    padding = _sides(block)
    for i in range(block.n_convs):
        suffix = "" if block.n_convs == 1 else f"_{i + 1}"
        _check_conv(draft, architecture, block, number, padding)
        draft.conv(
            f"block{number}_conv{suffix}",
            block.filters,
            block.kernel_size,
            stride=block.stride if i == 0 else (1, 1),
            padding=padding,
            dilation=block.dilation,
            padding_mode=architecture.padding_mode,
            bias=architecture.normalization is None,  # a normalisation subtracts it again
            activation=architecture.activation,
        )
        if i == 0 and block.pooling is not None:
            draft.pool(f"block{number}_pool", block.pooling, block.pool_size, block.pool_stride)
        if architecture.normalization == "batch":
            draft.norm(f"block{number}_norm{suffix}")
        draft.activate(f"block{number}_{architecture.activation}{suffix}", architecture.activation)


def _sides(block: ConvBlock) -> Sides:
    if block.padding == "valid":
        return (0, 0, 0, 0)
    if block.padding == "same":
        return (
            *same_padding(block.kernel_size[0], block.dilation[0]),
            *same_padding(block.kernel_size[1], block.dilation[1]),
        )
    vertical, horizontal = block.padding
    return (vertical, vertical, horizontal, horizontal)


def _check_conv(draft: Draft, architecture: Architecture, block: ConvBlock, number: int, padding: Sides) -> None:
    _, height, width = draft.shape_of()
    chain = "→".join(str(h) if h == w else f"{h}×{w}" for h, w in _without_repeats(draft.sizes()))
    room = (height + padding[0] + padding[1], width + padding[2] + padding[3])
    if draft.span_exceeds(block.kernel_size, padding, block.dilation):
        largest = tuple((room[axis] - 1) // block.dilation[axis] + 1 for axis in (0, 1))
        fewer = f", or at most {number - 1} block{'s' if number > 2 else ''}" if number > 1 else ""
        dilated = "" if block.dilation == (1, 1) else f" with dilation={_setting(block.dilation)}"
        padded = "" if not any(padding) else f" padded to {room[0]}×{room[1]}"
        raise ValueError(
            f"conv block {number}: kernel_size={_setting(block.kernel_size)}{dilated} exceeds its {height}×{width} "
            f'input{padded} ({chain}); use padding="same"{", or" if not fewer else ","} '
            f"kernel_size<={_setting(largest)}{fewer}"
        )
    # A reflection can reach no further than the map less its edge, a circular padding once round.
    limit = {"reflect": (height - 1, width - 1), "circular": (height, width)}.get(architecture.padding_mode)
    if limit is not None and (max(padding[:2]) > limit[0] or max(padding[2:]) > limit[1]):
        raise ValueError(
            f"conv block {number}: padding_mode={architecture.padding_mode!r} cannot add "
            f"{_setting((max(padding[:2]), max(padding[2:])))} pixels a side to its {height}×{width} input ({chain}); "
            f'use padding_mode="replicate" or "zeros", a smaller kernel_size, or fewer blocks'
        )


def _setting(pair: tuple[int, ...]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else str(pair)


def _without_repeats(sizes: list[Pair]) -> list[Pair]:
    return [size for i, size in enumerate(sizes) if i == 0 or size != sizes[i - 1]]
