"""Imports of optional packages."""

from importlib import import_module
from typing import Any


def import_optional(module: str, *, package: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        Full name of the module.
    package : str
        Name of the package, for the error message.
    extra : str
        The extra of this project that installs it.
    purpose : str
        What needs it, as the subject of the error message.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        Where it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {package}, which is not installed or does not load ({error}): "
            f"pip install 'sklearn-cnn[{extra}]'."
        ) from error
