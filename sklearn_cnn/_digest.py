"""The digest that a file carries of itself."""

import hashlib
from typing import Any


def digest_around(content: Any, place: slice) -> bytes:
    """SHA-256 of a file without the place in which it keeps this digest.

    Parameters
    ----------
    content : bytes-like
        The whole file.
    place : slice
        Where the digest is, from ``start`` to ``stop``.

    Returns
    -------
    bytes
        The digest, 32 bytes.
    """
    view = memoryview(content)
    digest = hashlib.sha256(view[: place.start])
    digest.update(view[place.stop :])
    return digest.digest()
