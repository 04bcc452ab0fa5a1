"""Output sizes of convolutions and pools, in whole numbers and without torch.

The arithmetic is that of Dumoulin and Visin, "A guide to convolution arithmetic for
deep learning", 2016, arXiv:1603.07285. All functions speak of one axis.
"""


def effective_kernel(kernel: int, dilation: int = 1) -> int:
    """Pixels that a dilated kernel spans: ``d (k - 1) + 1``."""
    return dilation * (kernel - 1) + 1


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Length of the output of a convolution or pool.

    Parameters
    ----------
    size : int
        Length of the input, in pixels.
    kernel, stride, dilation : int
        Settings of the window.
    padding : int
        Pixels added in total, both sides together.

    Returns
    -------
    int
        ``(size + padding - d (k - 1) - 1) // s + 1``, or 0 where the window does not fit.
    """
    room = size + padding - effective_kernel(kernel, dilation)
    return room // stride + 1 if room >= 0 else 0


def same_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Pixels before and after that keep the size at stride 1, and give ``ceil(n / s)`` at stride s.

    ``d (k - 1)`` pixels in total; where that is odd, the extra pixel goes behind.
    """
    total = effective_kernel(kernel, dilation) - 1
    return total // 2, total - total // 2


def clipped_pool(size: int, window: int) -> int:
    """Window of a pool after it was clipped to its map."""
    return min(size, window)


def grow_receptive_field(field: int, jump: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Receptive field and jump after one more window.

    Parameters
    ----------
    field : int
        Input pixels that one value of the map sees before the window.
    jump : int
        Input pixels between two neighbouring values of the map.
    kernel, stride, dilation : int
        Settings of the window.

    Returns
    -------
    field, jump : int
        The same two numbers after the window.
    """
    return field + (effective_kernel(kernel, dilation) - 1) * jump, jump * stride


def pooled_size(size: int, window: int, stride: int, padding: int = 0, *, ceil: bool = False) -> int:
    """Length of the output of a pool.

    Parameters
    ----------
    size : int
        Length of the input, in pixels.
    window, stride : int
        Settings of the pool.
    padding : int
        Pixels added on each side.
    ceil : bool
        Whether a last window that hangs over the end counts, where it begins on the input or its left padding.

    Returns
    -------
    int
        The length.
    """
    if not ceil:
        return output_size(size, window, stride, 2 * padding)
    length = -(-(size + 2 * padding - window) // stride) + 1
    return length - ((length - 1) * stride >= size + padding)


def steps_over(size: int, kernel: int, stride: int) -> bool:
    """Whether a window steps over the whole of its map at once.

    Such a convolution is left partly unset on CPUs (oneDNN): whatever the memory held before becomes part of it. Seen
    for strides above the width of the map, with kernels of 3, 5 and 7, never of 1: with torch 2.6 to 2.15 the gradient
    of the weights in bfloat16, and with torch 2.15 also the result in float32, of one channel to two, padded or not.
    """
    return stride > size and kernel > 1
