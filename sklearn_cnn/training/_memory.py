"""Memory that does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_OF_ALLOCATORS = ("can't allocate memory", "not enough memory", "out of memory")
"""What the RuntimeErrors of torch's allocators say; that of CUDA has a type of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_ALLOCATORS)


def release(device: torch.device) -> None:
    """Give back what the allocator of a GPU keeps for later, in pieces that may be too small."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def names_batch_size(batch_size: int) -> Iterator[None]:
    """Raise a MemoryError that says what to do where a training step finds no memory."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        way_out = "use a smaller batch_size" if batch_size > 1 else "use smaller images or a smaller network"
        raise MemoryError(
            f"memory did not suffice for a training step of batch_size={batch_size}; {way_out} ({error})."
        ) from error
