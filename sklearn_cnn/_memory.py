"""What an error of an allocator looks like, and how to give memory back."""

import torch

_OF_ALLOCATORS = ("can't allocate memory", "not enough memory", "out of memory")
"""What the RuntimeErrors of torch's allocators say. The error of CUDA has a type of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_ALLOCATORS)


def release(device: torch.device) -> None:
    """Give back the memory that torch keeps of a GPU for later: it is in pieces that may be too small."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> int | None:
    """Bytes that may still be allocated on a device; None where the device does not tell."""
    if device.type != "cuda":
        return None
    of_driver, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(of_driver + kept)
