"""The identity of a fit, in words and digests: a checkpoint belongs to one fit."""

import functools
import hashlib
import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from numbers import Integral
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from sklearn_cnn._version import __version__
from sklearn_cnn.estimators._sample import Sample
from sklearn_cnn.estimators._task import Task
from sklearn_cnn.estimators._unwrapping import fitted_estimator
from sklearn_cnn.images._source import ImageSource

_NO_MATTER = ("checkpoint", "device", "random_state", "verbose", "warm_start", "weights")
"""Parameters that change no result, or that are described in another way."""

_DIGITS = 16  # hexadecimal digits of a digest: 64 bits suffice, since nobody forges these


def describe_run(
    parameters: SimpleNamespace,
    seed: int,
    device: torch.device,
    task: Task,
    sample: Sample,
    held_out: Sample | None,
) -> dict[str, str]:
    """Describe a fit, so that another one is recognised as another.

    Parameters
    ----------
    parameters : Parameters
        Of the estimator, and its class.
    seed : int
        What its `random_state` gave.
    device : torch.device
        Where it computes.
    task : Task
        What kind of target it is trained on.
    sample, held_out : Sample
        The training and validation images that the user gave.

    Returns
    -------
    dict of str to str
        What may differ between runs, by name. Where all of it is equal, the results are, on one machine with one
        number of threads; without a `random_state` they are once the seeds are.

    Raises
    ------
    TypeError
        For a parameter of which it cannot be said whether it is the same in another process.
    """
    told = {name: value for name, value in vars(parameters).items() if name not in (*_NO_MATTER, "_class")}
    return {
        "estimator": _name(parameters._class),
        **{name: text for parameter, value in told.items() for name, text in _parameter(parameter, value)},
        "weights": _weights(parameters.weights),
        "random_state": _random_state(parameters.random_state, seed),
        "device": device.type,
        **_sample(sample, ""),
        **({} if held_out is None else _sample(held_out, "_val")),
        "classes": _text(getattr(task, "classes", None), "y"),
        "version of sklearn-cnn": __version__,
        "version of torch": str(torch.__version__),
    }


def _parameter(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A parameter and its text; for an estimator also its own parameters, under scikit-learn's names."""
    if not isinstance(value, BaseEstimator):
        yield name, _text(value, name)
        return
    yield name, _name(type(value))
    for inner, entry in value.get_params(deep=False).items():
        yield from _parameter(f"{name}__{inner}", entry)


def _sample(sample: Sample, suffix: str) -> dict[str, str]:
    weights = "None" if sample.weights is None else _array(sample.weights)
    return {
        f"X{suffix}": _images(sample.images),
        f"y{suffix}": _array(sample.targets),
        f"sample_weight{suffix}": weights,
    }


def _random_state(random_state: Any, seed: int) -> str:
    # Without a random_state the seed is that of the file, so that a script that is started again goes on.
    if random_state is None or isinstance(random_state, Integral):
        return _text(random_state, "random_state")
    return f"a generator that gave {seed}"


def _weights(weights: Any) -> str:
    """First weights by their content, since a file may change or move."""
    if isinstance(weights, BaseEstimator):
        state = fitted_estimator(weights, "weights").module_.state_dict()
        return f"{type(weights).__name__} with weights {_digest(value.cpu().numpy() for value in state.values())}"
    if isinstance(weights, str | os.PathLike) and os.path.isfile(weights):
        with open(weights, "rb") as file:
            return f"file {hashlib.file_digest(file, 'sha256').hexdigest()[:_DIGITS]}"
    return _text(weights, "weights")


def _images(images: ImageSource) -> str:
    # The digest is of pixels without the random steps, so these are described too, in their order.
    steps = "".join(f", then {_step(step)}" for step in images.recipe)
    return f"{images.dtype} {images.shape} {_digest(batch.numpy() for _, batch in images.batches())}{steps}"


def _step(step: Any) -> str:
    if not step.random:
        return type(step).__name__
    # A step that draws from the seed of the fit has a seed for NumPy only, which does not matter here.
    told = replace(step, seed=0) if step.seed_of_fit else step
    return f"{type(step).__name__}{_text({field.name: getattr(told, field.name) for field in fields(told)}, 'func')}"


def _array(values: NDArray[Any]) -> str:
    return f"{values.dtype} {values.shape} {_digest([values])}"


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:_DIGITS]


def _text(value: Any, name: str) -> str:
    """A text that is the same in every process, and the same for equal values: a list counts as a tuple."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list | tuple):
        return f"({', '.join(_text(entry, name) for entry in value)})"
    if isinstance(value, Mapping):
        entries = sorted(f"{_text(key, name)}: {_text(entry, name)}" for key, entry in value.items())
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, functools.partial):
        return f"{_text(value.func, name)}{_text(value.args, name)}{_text(value.keywords, name)}"
    if value is None or type(value) in (bool, int, float, str, bytes):
        return repr(value)
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if inspect.isclass(value) or inspect.isroutine(value):
        return _function(value, name)
    raise TypeError(
        f"checkpoint tells fits apart by their parameters, and cannot say of {name}, which has a {_name(type(value))}, "
        f"whether it is the same in another process. It takes numbers, strings, sequences and dicts of them, functions "
        f"and classes that have a name in a module, and functools.partial of those."
    )


def _function(value: Any, name: str) -> str:
    """A function or class by its name and source; the functions that it calls are not looked at."""
    if "<" in value.__qualname__ or inspect.ismethod(value):
        raise TypeError(
            f"checkpoint tells fits apart by their parameters, and {name} has {_name(value)}, which may be another one "
            f"each time it is made; use a function or class that has a name in a module, or functools.partial of one."
        )
    try:
        source = hashlib.sha256(inspect.getsource(value).encode()).hexdigest()[:_DIGITS]
    except (OSError, TypeError):  # built in, or typed at a prompt
        source = "without source"
    return f"{_name(value)} {source}"


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
