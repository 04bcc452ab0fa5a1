"""A training step that memory does not suffice for."""

from collections.abc import Iterator
from contextlib import contextmanager

from sklearn_cnn._memory import is_out_of_memory


@contextmanager
def names_batch_size(batch_size: int) -> Iterator[None]:
    """Raise a MemoryError that says what to do where memory does not suffice for a training step."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        way_out = "use a smaller batch_size" if batch_size > 1 else "use smaller images or a smaller network"
        raise MemoryError(
            f"memory did not suffice for a training step of batch_size={batch_size}; {way_out} ({error})."
        ) from error
