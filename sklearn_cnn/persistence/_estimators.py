"""Estimators as JSON, and back."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._task import Indicators, Labels, Numbers
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._classes import CLASSES, SavedClass, check_fitted, class_of
from sklearn_cnn.persistence._plans import tensor_shapes
from sklearn_cnn.persistence._untrusted import malformed
from sklearn_cnn.persistence._values import ValueReader, ValueWriter
from sklearn_cnn.training._device import available_devices, resolve_device

_ELSEWHERE = {"memory": (None,), "checkpoint": (None,), "weights": (None, "default", "random")}
"""Parameters that can name files, and the values which name none."""


def fitted_parts(estimator: Any) -> Iterator[Any]:
    """Yield the estimators that make this one fitted: the steps of a pipeline, or the estimator itself."""
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            yield from fitted_parts(step)
    elif isinstance(estimator, FrozenEstimator):
        yield from fitted_parts(estimator.estimator)
    elif not (estimator is None or isinstance(estimator, str)):  # "passthrough"
        yield estimator


def write_estimator(writer: ValueWriter, estimator: Any, path: str) -> dict[str, Any]:
    """Turn an estimator into JSON.

    Parameters
    ----------
    writer : ValueWriter
        Takes its parameters and attributes.
    estimator : estimator
        Of a class in `CLASSES`; fitted, or a parameter of another estimator.
    path : str
        Its path, see `ValueWriter`.

    Returns
    -------
    dict
        The argument of `EstimatorReader`.

    Raises
    ------
    TypeError, ValueError
        For what a saved model cannot hold; the message has the path.
    """
    entry = class_of(estimator, path)
    name = entry.cls.__name__
    state = dict(estimator.__getstate__())  # a copy, since it may be the estimator's own
    defaults = {key: parameter.default for key, parameter in inspect.signature(entry.cls).parameters.items()}
    parameters = {key: _kept(key, state.pop(key), default) for key, default in defaults.items()}
    if not entry.own:
        # Parameters of scikit-learn come and go: one at its default is left to the version that loads the file.
        parameters = {key: value for key, value in parameters.items() if not _same(value, defaults[key])}
    if parameters.get("memory") is not None:
        raise TypeError(f"{path}.memory is a cache of pickles, which a saved model cannot hold; use memory=None.")
    content = {
        "class": name,
        "parameters": {
            key: _write_steps(writer, value, path) if key == "steps" else writer.write(value, f"{path}.{key}")
            for key, value in parameters.items()
        },
    }
    state.pop("_sklearn_version", None)
    unknown = [key for key in state if key not in entry.fitted]
    if unknown:
        raise TypeError(
            f"{path}.{unknown[0]} is no attribute that {name} has after fit, and a saved model cannot hold it; delete "
            f"it before saving."
        )
    return {**content, "fitted": _write_fitted(writer, entry, state, path)} if state else content


def _kept(key: str, value: Any, default: Any) -> Any:
    """A parameter as it is saved. First weights are part of the fitted weights by now, and a path is of one machine."""
    return default if key in ("checkpoint", "weights") and _names_a_file(key, value) else value


def _names_a_file(key: str, value: Any) -> bool:
    return key in _ELSEWHERE and not ((value is None or isinstance(value, str)) and value in _ELSEWHERE[key])


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _write_steps(writer: ValueWriter, steps: Any, path: str) -> list[Any]:
    """The steps of a pipeline. Their names are the names of their tensors."""
    return [{"tuple": [name, writer.write(step, f"{path}.{name}")]} for name, step in steps]


def _write_fitted(writer: ValueWriter, entry: SavedClass, fitted: dict[str, Any], path: str) -> dict[str, Any]:
    if "task_" in fitted:
        fitted["task_"] = fitted["task_"].name  # its other values are attributes of their own
    try:
        check_fitted(entry, fitted)
    except ModelFileError as error:
        raise ValueError(
            f"{path} was changed after fit, and a saved model cannot hold it ({str(error).partition('. ')[0]}); fit it "
            f"again."
        ) from None
    weights = fitted.pop("module_", None)
    if weights is None:
        return {key: writer.tensor(value, f"{path}.{key}") for key, value in fitted.items()}
    # Beside the weights no tensor, so that the file of a network is a state dict.
    content = {key: writer.write(value, f"{path}.{key}") for key, value in fitted.items()}
    return {**content, "module_": writer.network(weights, path)}


@dataclass
class Placement:
    """The devices of networks.

    Attributes
    ----------
    chosen : str or None
        A device of this machine; None puts each network where it was fitted, or on the CPU.
    missing : set of str
        Devices on which networks were fitted and which this machine does not have.
    """

    chosen: str | None
    missing: set[str] = field(default_factory=set)

    def of(self, fitted_on: str) -> str:
        """The device of a network that was fitted on a device."""
        if self.chosen is not None:
            return self.chosen
        kind = fitted_on.partition(":")[0]
        if kind not in available_devices():
            self.missing.add(fitted_on)
            return "cpu"
        try:
            return str(resolve_device(fitted_on))
        except ValueError:  # this machine has fewer GPUs
            return kind


class EstimatorReader:
    """Turns JSON back into estimators.

    Parameters
    ----------
    placement : Placement
        The devices of networks.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    def __call__(self, reader: ValueReader, content: Any, depth: int) -> Any:
        """Turn JSON into an estimator.

        Parameters
        ----------
        reader : ValueReader
            Reads its parameters and attributes.
        content : object
            From `parse`.
        depth : int
            The number of values around it.

        Returns
        -------
        estimator
            The estimator that `write_estimator` was given.

        Raises
        ------
        ModelFileError
            For JSON that `write_estimator` does not write.
        """
        keys = {"class", "parameters"}
        if not isinstance(content, dict) or not keys <= set(content) <= {*keys, "fitted"}:
            raise malformed("malformed estimator: expected class, parameters and fitted")
        name, tables = content["class"], [content[key] for key in content if key != "class"]
        if not all(isinstance(table, dict) for table in tables):
            raise malformed("malformed estimator: expected its parameters and attributes by name")
        entry = CLASSES.get(name) if isinstance(name, str) else None
        if entry is None:
            raise malformed(f"the class {str(name)[:40]!r} is none that a saved model can hold")
        parameters = {key: reader.read(value, depth + 1) for key, value in content["parameters"].items()}
        estimator = _unfitted(entry, parameters)
        if "fitted" in content:
            self._restore(estimator, entry, _read_fitted(reader, content["fitted"], depth + 1))
        return estimator

    def _restore(self, estimator: Any, entry: SavedClass, fitted: dict[str, Any]) -> None:
        check_fitted(entry, fitted)
        if "task_" in fitted:
            fitted["task_"] = _TASKS[fitted["task_"]](fitted)
        if "module_" not in fitted:
            vars(estimator).update(fitted)
            return
        estimator.__setstate__({**vars(estimator), **fitted, "device_": self._placement.of(fitted["device_"])})


def _read_fitted(reader: ValueReader, content: Mapping[str, Any], depth: int) -> dict[str, Any]:
    fitted = {key: reader.read(value, depth) for key, value in content.items() if key != "module_"}
    if "module_" in content:
        plan = fitted.get("plan_")
        if not isinstance(plan, Plan):
            raise malformed("a network has no plan")
        fitted["module_"] = reader.network(content["module_"], tensor_shapes(plan))
    return fitted


_TASKS = {
    "multiclass": lambda fitted: Labels(fitted["classes_"]),
    "multilabel": lambda fitted: Indicators(len(fitted["classes_"])),
    "regression": lambda fitted: Numbers(fitted["n_outputs_"], fitted["target_mean_"], fitted["target_scale_"]),
}


def _unfitted(entry: SavedClass, parameters: Mapping[str, Any]) -> Any:
    name = entry.cls.__name__
    unknown = set(parameters) - set(inspect.signature(entry.cls).parameters)
    if unknown:
        raise ModelFileError(
            f"{name} has the parameter {min(unknown)[:40]!r} in the file, which this version of "
            f"{'sklearn-cnn' if entry.own else 'scikit-learn'} does not have; use the version that saved it"
        )
    for parameter, value in parameters.items():
        if _names_a_file(parameter, value):
            raise malformed(f"the parameter {parameter} of {name} names a file, which no saved model does")
    estimator = entry.cls(**parameters)
    estimator._validate_params()
    if isinstance(estimator, Pipeline):
        _check_steps(estimator.steps)
    if isinstance(estimator, FrozenEstimator) and not isinstance(estimator.estimator, BaseEstimator):
        raise malformed("malformed FrozenEstimator: it has no estimator")
    if isinstance(estimator, Pipeline | FrozenEstimator):
        for part in fitted_parts(estimator):
            check_is_fitted(part)
    return estimator


def _check_steps(steps: list[Any]) -> None:
    if not steps or not all(isinstance(step, tuple) and len(step) == 2 for step in steps):
        raise malformed("malformed Pipeline: expected steps")
    names = [name for name, _ in steps]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise malformed("malformed Pipeline: expected steps of different names")
    for number, (_, step) in enumerate(steps, start=1):
        if not (step is None or step == "passthrough" or isinstance(step, BaseEstimator)):
            raise malformed("malformed Pipeline: a step is no estimator")
        if isinstance(step, BaseEstimator) and number < len(steps) and not hasattr(step, "transform"):
            raise malformed("malformed Pipeline: a step before the last does not transform")
