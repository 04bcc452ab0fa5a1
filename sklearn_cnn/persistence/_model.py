"""Estimators as JSON, and back."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.estimators._base import BaseCNN
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._estimators import KINDS, Kind, check_fitted, kind_of
from sklearn_cnn.persistence._values import ValueReader, ValueWriter
from sklearn_cnn.training._device import available_devices, resolve_device
from sklearn_cnn.training._inference import prediction_batch_size

_FOLLOWS = ("_sklearn_version", "_predict_batch_size")
"""Attributes that follow from others, or say what the file says elsewhere."""

_KEPT_WEIGHTS = (None, "default", "random")


def fitted_parts(estimator: Any) -> Iterator[Any]:
    """The estimators that have to be fitted for this one to be: the steps of a pipeline, or itself.

    Parameters
    ----------
    estimator : estimator
        Of a class that files may hold.

    Yields
    ------
    estimator
        One after the other.
    """
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            yield from fitted_parts(step)
    elif isinstance(estimator, FrozenEstimator):
        yield from fitted_parts(estimator.estimator)
    elif not (estimator is None or isinstance(estimator, str)):  # "passthrough"
        yield estimator


def write_estimator(writer: ValueWriter, estimator: Any, name: str) -> dict[str, Any]:
    """Turn an estimator into JSON.

    Parameters
    ----------
    writer : ValueWriter
        For its parameters and attributes.
    estimator : estimator
        Of a class that files may hold; fitted, or a parameter of another.
    name : str
        Where it stands.

    Returns
    -------
    dict
        What `read_estimator` takes.

    Raises
    ------
    TypeError, ValueError
        For what a file cannot carry; the message has the name.
    """
    kind = kind_of(estimator, name)
    state = dict(estimator.__getstate__())  # it may be its own
    defaults = {key: parameter.default for key, parameter in inspect.signature(kind.cls).parameters.items()}
    parameters = {key: _kept(key, state.pop(key), default) for key, default in defaults.items()}
    if not kind.own:
        # Parameters come and go: one at its default is left to the version that loads it.
        parameters = {key: value for key, value in parameters.items() if not _same(value, defaults[key])}
    if parameters.get("memory") is not None:
        raise TypeError(f"{name}.memory is a cache of pickles, which a model file cannot carry; use memory=None.")
    fitted = {key: value for key, value in state.items() if key not in _FOLLOWS}
    unknown = [key for key in fitted if key not in kind.fitted]
    if unknown:
        raise TypeError(
            f"{name}.{unknown[0]} is nothing that a model file knows of a {kind.cls.__name__}; delete it before saving."
        )
    content = {
        "class": kind.cls.__name__,
        "parameters": {key: writer.write(value, f"{name}.{key}") for key, value in parameters.items()},
    }
    if not fitted:
        return content
    try:
        check_fitted(kind, fitted)
    except ModelFileError as error:
        raise ValueError(f"{name} was changed after it was fitted, and cannot be saved: {error}.") from None
    return {**content, "fitted": {key: writer.write(value, f"{name}.{key}") for key, value in fitted.items()}}


def _kept(key: str, value: Any, default: Any) -> Any:
    """A parameter as it is saved. First weights are part of what has been learned since; a path is of one machine."""
    known = value is None or (isinstance(value, str) and value in _KEPT_WEIGHTS)
    return default if key == "checkpoint" or (key == "weights" and not known) else value


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


@dataclass
class Placement:
    """Where networks are put.

    Attributes
    ----------
    chosen : str or None
        A device of this machine; with None each network goes where it was fitted, or to the CPU.
    missing : set of str
        Devices that networks were fitted on and this machine has not.
    """

    chosen: str | None
    missing: set[str] = field(default_factory=set)

    def of(self, fitted_on: str) -> str:
        """Where a network goes that was fitted on a device."""
        if self.chosen is not None:
            return self.chosen
        kind = fitted_on.partition(":")[0]
        if kind not in available_devices():
            self.missing.add(fitted_on)
            return "cpu"
        try:
            return str(resolve_device(fitted_on))
        except ValueError:  # of several GPUs one that is not there
            return kind


class EstimatorReader:
    """Turns JSON back into estimators.

    Parameters
    ----------
    placement : Placement
        For networks.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    def __call__(self, reader: ValueReader, content: Any, depth: int) -> Any:
        """Turn JSON into an estimator.

        Parameters
        ----------
        reader : ValueReader
            For its parameters and attributes.
        content : object
            From `parse`.
        depth : int
            In how many values it stands.

        Returns
        -------
        estimator
            As it was saved.

        Raises
        ------
        ModelFileError
            For anything that `write_estimator` does not write.
        """
        if not isinstance(content, dict) or not {"class", "parameters"} <= set(content) <= {
            "class",
            "parameters",
            "fitted",
        }:
            raise ModelFileError("it has an estimator that is none")
        name = content["class"]
        kind = KINDS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise ModelFileError(f"it has an estimator of the class {str(name)[:40]!r}, which files do not hold")
        values = [_table(content, key) for key in ("parameters", "fitted") if key in content]
        read = [{key: reader.read(value, depth + 1) for key, value in table.items()} for table in values]
        estimator = _unfitted(kind, read[0])
        if len(read) > 1:
            check_fitted(kind, read[1])
            self._restore(estimator, read[1])
        return estimator

    def _restore(self, estimator: Any, fitted: Mapping[str, Any]) -> None:
        if "module_" not in fitted:
            vars(estimator).update(fitted)
            return
        state = {**vars(estimator), **fitted, "device_": self._placement.of(fitted["device_"])}
        if isinstance(estimator, BaseCNN):
            state["_predict_batch_size"] = prediction_batch_size(fitted["plan_"].largest_map)
        estimator.__setstate__(state)


def _table(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = content[key]
    if not isinstance(table, dict):
        raise ModelFileError(f"it has an estimator whose {key} are none")
    return table


def _unfitted(kind: Kind, parameters: Mapping[str, Any]) -> Any:
    name = kind.cls.__name__
    unknown = set(parameters) - set(inspect.signature(kind.cls).parameters)
    if unknown:
        raise ModelFileError(
            f"its {name} has the parameter {min(unknown)[:40]!r}, which this version of "
            f"{'sklearn-cnn' if kind.own else 'scikit-learn'} does not have; load it with the one that saved it"
        )
    weights = parameters.get("weights")
    if not (weights is None or (isinstance(weights, str) and weights in _KEPT_WEIGHTS)):
        raise ModelFileError(f"its {name} names weights elsewhere")
    for parameter, what in (("memory", "a cache"), ("checkpoint", "a checkpoint")):
        if parameters.get(parameter) is not None:
            raise ModelFileError(f"its {name} names {what} elsewhere")
    estimator = kind.cls(**parameters)
    estimator._validate_params()
    for part in _steps(estimator):
        check_is_fitted(part)
    return estimator


def _steps(estimator: Any) -> Iterator[Any]:
    """The fitted parts of a pipeline, whose steps are such as it can have."""
    if isinstance(estimator, Pipeline):
        steps = estimator.steps
        if not steps or not all(isinstance(step, tuple) and len(step) == 2 for step in steps):
            raise ModelFileError("its Pipeline has no steps")
        names = [name for name, _ in steps]
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ModelFileError("its Pipeline has steps of one name")
        for number, (_, step) in enumerate(steps, start=1):
            if not (step is None or step == "passthrough" or isinstance(step, BaseEstimator)):
                raise ModelFileError("its Pipeline has a step that is none")
            if isinstance(step, BaseEstimator) and number < len(steps) and not hasattr(step, "transform"):
                raise ModelFileError("its Pipeline has a step that does not transform")
        yield from fitted_parts(estimator)
    elif isinstance(estimator, FrozenEstimator):
        if not isinstance(estimator.estimator, BaseEstimator):
            raise ModelFileError("its FrozenEstimator has none")
        yield from fitted_parts(estimator)
