"""What tells one fit from another, in words and digests: a checkpoint is for one of them."""

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from sklearn_cnn._version import __version__
from sklearn_cnn.estimators._network import fitted_estimator
from sklearn_cnn.estimators._sample import Sample
from sklearn_cnn.images._source import ImageSource

_NO_MATTER = ("checkpoint", "device", "random_state", "verbose", "warm_start", "weights")
"""Parameters that change no result, or that are told otherwise."""

_DIGITS = 16  # of digests: 64 bits, enough for what is not made up


def describe_run(
    estimator: BaseEstimator, seed: int, device: torch.device, sample: Sample, held_out: Sample | None
) -> dict[str, str]:
    """Say whose fit this is.

    Parameters
    ----------
    estimator : estimator
        Its parameters.
    seed : int
        What its `random_state` gave.
    device : torch.device
        Where it computes.
    sample, held_out : Sample
        The training and validation images that the user gave.

    Returns
    -------
    dict of str to str
        What may differ between runs, by name. Where all of it is equal, the results are, on one machine with one
        number of threads; without a `random_state` they are once the seeds are.
    """
    parameters = {
        name: _text(value) for name, value in estimator.get_params(deep=False).items() if name not in _NO_MATTER
    }
    return {
        "estimator": type(estimator).__name__,
        **parameters,
        "weights": _weights(estimator.weights),
        "random_state": _random_state(estimator.random_state, seed),
        "device": device.type,
        **_describe_sample(sample, ""),
        **({} if held_out is None else _describe_sample(held_out, "_val")),
        "classes": _text(getattr(estimator, "classes_", None)),
        "version of sklearn-cnn": __version__,
        "version of torch": str(torch.__version__),
    }


def _describe_sample(sample: Sample, suffix: str) -> dict[str, str]:
    weights = "None" if sample.weights is None else _array(sample.weights)
    return {
        f"X{suffix}": _images(sample.images),
        f"y{suffix}": _array(sample.targets),
        f"sample_weight{suffix}": weights,
    }


def _random_state(random_state: Any, seed: int) -> str:
    # Without one the seed is that of the file: a script that is started again shall go on.
    if random_state is None or isinstance(random_state, Integral):
        return _text(random_state)
    return f"a generator that gave {seed}"


def _weights(weights: Any) -> str:
    """First weights by what they are: a file may change, or move."""
    if isinstance(weights, BaseEstimator):
        state = fitted_estimator(weights, "weights").module_.state_dict()
        return f"{type(weights).__name__} with weights {_digest(value.cpu().numpy() for value in state.values())}"
    if isinstance(weights, str | os.PathLike) and os.path.isfile(weights):
        with open(weights, "rb") as file:
            return f"file {hashlib.file_digest(file, 'sha256').hexdigest()[:_DIGITS]}"
    return _text(weights)


def _images(images: ImageSource) -> str:
    # The pixels are those without the random steps, which so have to tell of themselves and of their place.
    steps = "".join(f", then {_step(step)}" for step in images.recipe)
    return f"{images.dtype} {images.shape} {_digest(batch.numpy() for _, batch in images.batches())}{steps}"


def _step(step: Any) -> str:
    if not step.random:
        return type(step).__name__
    # Where the fit draws, the seed of the one draw that NumPy sees does not matter.
    return repr(replace(step, seed=0) if step.seed_of_fit else step)


def _array(values: NDArray[Any]) -> str:
    return f"{values.dtype} {values.shape} {_digest([values])}"


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:_DIGITS]


def _text(value: Any) -> str:
    """A parameter in words that are the same in every process, in which a list is what a tuple is."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{_text(key)}: {_text(entry)}' for key, entry in value.items()))}}}"
    if isinstance(value, BaseEstimator):
        return f"{type(value).__name__}{_text(value.get_params(deep=False))}"
    if isinstance(value, functools.partial):
        return f"{_text(value.func)}{_text(value.args)}{_text(value.keywords)}"
    if callable(value):
        kind = value if hasattr(value, "__qualname__") else type(value)
        return f"{kind.__module__}.{kind.__qualname__}"
    return repr(value)
