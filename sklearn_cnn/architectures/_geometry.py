"""Output sizes of convolutions and pools, in whole numbers and without torch.

The arithmetic is that of Dumoulin and Visin, "A guide to convolution arithmetic for
deep learning", 2016, arXiv:1603.07285. Each function is for one axis.
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
        Pixels added on both sides together.

    Returns
    -------
    int
        ``(size + padding - d (k - 1) - 1) // s + 1``, or 0 where the window does not fit.
    """
    room = size + padding - effective_kernel(kernel, dilation)
    return room // stride + 1 if room >= 0 else 0


def same_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Padding before and after a map that keeps its size at stride 1, and gives ``ceil(n / s)`` at stride s.

    ``d (k - 1)`` pixels in total. Where that is odd, the extra pixel comes after the map.
    """
    total = effective_kernel(kernel, dilation) - 1
    return total // 2, total - total // 2


def clipped_pool(size: int, window: int) -> int:
    """Window of a pool, clipped to its map."""
    return min(size, window)


def grow_receptive_field(field: int, jump: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Receptive field and jump after one more window.

    Parameters
    ----------
    field : int
        Input pixels that one value of the map depends on, before the window.
    jump : int
        Input pixels from one value of the map to the next.
    kernel, stride, dilation : int
        Settings of the window.

    Returns
    -------
    field, jump : int
        The same two numbers, after the window.
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
        Whether there is a last window that extends beyond the end. It has to begin on the input or its left padding.

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
    """Whether the stride of a convolution is larger than its map.

    On CPUs (oneDNN) such a convolution leaves a part of its result unset, which then holds whatever the memory held
    before. This was seen with kernels of 3, 5 and 7, never of 1: in the gradient of the weights in bfloat16 (torch 2.6
    to 2.15), and in the result in float32, from one channel to two, with and without padding (torch 2.15).
    """
    return stride > size and kernel > 1
