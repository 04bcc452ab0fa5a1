"""The first step of a fit: all that the user gave is read, checked, and sorted into training and validation."""

import os
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _check_sample_weight

from sklearn_cnn._random import Stream, generator
from sklearn_cnn.estimators._auto import chosen_augmenter
from sklearn_cnn.estimators._fitted import Fitted
from sklearn_cnn.estimators._run import describe_run
from sklearn_cnn.estimators._sample import Sample, check_weights
from sklearn_cnn.estimators._task import Task
from sklearn_cnn.images._containers import refuse_unreadable
from sklearn_cnn.images._reading import read_again, read_images, remembered
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._steps import augmented
from sklearn_cnn.training._callbacks import check_callbacks
from sklearn_cnn.training._checkpoint import Checkpoint
from sklearn_cnn.training._device import resolve_device
from sklearn_cnn.training._optimizers import Phase

Parameters = SimpleNamespace
"""The parameters of an estimator by name, and its class as ``_class``, which no parameter is called."""


def parameters_of(estimator: Any) -> Parameters:
    """Copy the parameters of an estimator. A subclass may set some of ours without having them as parameters."""
    names = dict.fromkeys([*estimator._parameter_constraints, *estimator.get_params(deep=False)])
    return Parameters(**{name: getattr(estimator, name) for name in names}, _class=type(estimator))


class Data(NamedTuple):
    """Images as the user gave them, with targets and weights."""

    X: Any
    y: Any
    sample_weight: Any = None


@dataclass(frozen=True)
class Request:
    """In what `fit` and `partial_fit` differ.

    Attributes
    ----------
    phases : tuple of Phase
        Epochs and learning rates.
    early_stopping : bool
        Whether to stop when the validation score no longer rises.
    checkpoint : str, path-like or None
        Where the state of the fit is kept.
    classes : array-like or None
        All labels that will ever come, where this is a first `partial_fit`: more images follow then.
    """

    phases: tuple[Phase, ...]
    early_stopping: bool = False
    checkpoint: str | os.PathLike[str] | None = None
    classes: Any = None


@dataclass(frozen=True)
class Given:
    """What the user gave, read.

    Attributes
    ----------
    sample : Sample
        The training images, with the augmenter's steps, and targets as the loss takes them.
    held_out : Sample or None
        The validation images.
    task : Task
        What kind of target it is.
    reading : dict of str to object
        What is remembered of the form of X, see `Fitted`.
    device : torch.device
        Where the fit computes.
    seed : int
        Where its random numbers begin.
    checkpoint : Checkpoint or None
        The file of the fit.
    """

    sample: Sample
    held_out: Sample | None
    task: Task
    reading: dict[str, Any]
    device: torch.device
    seed: int
    checkpoint: Checkpoint | None

    @property
    def image_shape(self) -> ImageShape:
        """Size of an image, and how X stores it."""
        shape: ImageShape = self.reading["image_shape_"]
        return shape


def read(parameters: Parameters, request: Request, data: Data, validation: Data, earlier: Fitted | None) -> Given:
    """Read and check all that the user gave.

    Parameters
    ----------
    parameters : Parameters
        Of the estimator.
    request : Request
        What kind of fit it is.
    data, validation : Data
        Training images, and validation images or Nones.
    earlier : Fitted or None
        The fit that is gone on with.

    Returns
    -------
    Given
        The same, read.

    Raises
    ------
    ValueError, TypeError
        Where something cannot be used.
    """
    if request.checkpoint is not None:
        _check_checkpoint(parameters)
    seed = int(check_random_state(parameters.random_state).randint(2**31 - 1))
    images, reading = _read_images(parameters, data, earlier and earlier.reading)
    if earlier is None:
        task, targets = parameters._class._first_targets(data.y, request.classes)
    else:
        task, targets = earlier.task, earlier.task.read(data.y)
    sample = _sample_of(images, targets, data.sample_weight)
    held_out = _read_validation(parameters, validation, reading, task)
    device = resolve_device(parameters.device)
    checkpoint: Checkpoint | None = None
    if request.checkpoint is not None:
        run = describe_run(parameters, seed, device, task, sample, held_out)
        checkpoint = Checkpoint(os.fspath(request.checkpoint), run, seed)
        seed = checkpoint.seed
    complete = request.classes is None and earlier is None
    sample, held_out = task.weighed((sample, held_out), getattr(parameters, "class_weight", None), complete=complete)
    if held_out is None and request.early_stopping:
        sample, held_out = _hold_out(sample, task, parameters.validation_fraction, seed)
    if earlier is None:
        task = task.learned(sample)
    sample, held_out = task.encoded((sample, held_out), parameters.precision)
    augmenter = chosen_augmenter(parameters, sample.images)
    if augmenter is not None:
        sample = replace(sample, images=augmented(augmenter, sample.images, seen_by_numpy=False))
    check_callbacks(
        parameters.skorch_callbacks, lr_schedule=parameters.lr_schedule, has_validation=held_out is not None
    )
    return Given(sample, held_out, task, reading, device, seed, checkpoint)


def _check_checkpoint(parameters: Parameters) -> None:
    """Refuse what a checkpoint could not go on with."""
    if parameters.random_state is None and os.path.isdir(parameters.checkpoint):
        raise ValueError(
            f"checkpoint={os.fspath(parameters.checkpoint)!r} is a folder, in which fits are told apart by parameters, "
            f"data and seed; set random_state, or give the name of a file."
        )
    if parameters.warm_start:
        raise ValueError(
            "checkpoint goes on with a fit that was interrupted, warm_start=True with one that has ended; use one of "
            "them."
        )
    if parameters.skorch_callbacks:
        raise ValueError(
            "checkpoint cannot keep what skorch_callbacks remember, so that a fit would not go on as it began; use one "
            "of them."
        )


def _read_images(parameters: Parameters, data: Data, reading: Any) -> tuple[ImageSource, dict[str, Any]]:
    """Read X, by what is known of its form where something is; what is known after that."""
    name = parameters._class.__name__
    refuse_unreadable(data.X)
    if data.y is None:
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
    check_consistent_length(data.X, data.y)
    if reading is None:
        images = read_images(data.X, image_shape=parameters.image_shape, channels=parameters.channels, name=name)
        return images, remembered(data.X, images)
    # scikit-learn compares names of columns with attributes of an estimator, so it gets one that has only these.
    return read_again(type(name, (), dict(reading))(), data.X), dict(reading)


def _sample_of(images: ImageSource, targets: NDArray[Any], sample_weight: Any) -> Sample:
    n = len(images)
    weights = None
    if sample_weight is not None:
        weights = _check_sample_weight(sample_weight, np.empty(n), dtype=np.float64)
        check_weights(weights, "sample_weight")
    return Sample(images, targets, weights, np.arange(n))


def _read_validation(parameters: Parameters, validation: Data, reading: dict[str, Any], task: Task) -> Sample | None:
    if validation.X is None and validation.y is None:
        if validation.sample_weight is not None:
            raise ValueError("sample_weight_val was given without X_val and y_val.")
        return None
    if validation.X is None or validation.y is None:
        given, missing = ("y_val", "X_val") if validation.X is None else ("X_val", "y_val")
        raise ValueError(f"{given} was given without {missing}; fit takes both or neither.")
    images, _ = _read_images(parameters, validation, reading)
    return _sample_of(images, task.read(validation.y), validation.sample_weight)


def _hold_out(sample: Sample, task: Task, fraction: float, seed: int) -> tuple[Sample, Sample]:
    """Cut a validation part off; both parts keep the one array of images."""
    split_seed = int(generator(seed, Stream.SPLIT).initial_seed() % 2**32)
    train_rows, valid_rows = task.split(sample.targets, fraction, split_seed)
    for name, rows in (("training", train_rows), ("validation", valid_rows)):
        if sample.weights is not None:
            check_weights(sample.weights[rows], f"sample_weight of the {name} part that early_stopping split off")
    return replace(sample, rows=train_rows), replace(sample, rows=valid_rows)
