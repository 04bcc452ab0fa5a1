"""Estimators as JSON, and back."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._tensors import tensor_shapes
from sklearn_cnn.estimators._task import Indicators, Labels, Numbers, Task
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._classes import CLASSES, SavedClass, check_fitted, class_of
from sklearn_cnn.persistence._untrusted import malformed
from sklearn_cnn.persistence._values import ValueReader, ValueWriter

_ELSEWHERE = {"memory": (None,), "checkpoint": (None,), "weights": (None, "default", "random")}
"""Parameters that can name files, and the values which name none."""

_TASKS: dict[str, Callable[[Mapping[str, Any]], Task]] = {
    "multiclass": lambda fitted: Labels(fitted["classes_"]),
    "multilabel": lambda fitted: Indicators(len(fitted["classes_"])),
    "regression": lambda fitted: Numbers(fitted["n_outputs_"], fitted["target_mean_"], fitted["target_scale_"]),
}


def check_all_fitted(estimator: Any) -> None:
    """Refuse an estimator, or a pipeline with a step, that is not fitted. Raises a NotFittedError."""
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            check_all_fitted(step)
    elif isinstance(estimator, FrozenEstimator):
        check_all_fitted(estimator.estimator)
    elif not (estimator is None or isinstance(estimator, str)):  # "passthrough"
        check_is_fitted(estimator)


def write_estimator(writer: ValueWriter, estimator: Any, path: str) -> dict[str, Any]:
    """Turn an estimator into JSON. A TypeError or ValueError names the path of what cannot be saved."""
    saved = class_of(estimator, path)
    name = saved.cls.__name__
    state = dict(estimator.__getstate__())  # a copy, since it may be the estimator's own
    state.pop("_sklearn_version", None)
    defaults = {key: parameter.default for key, parameter in inspect.signature(saved.cls).parameters.items()}
    parameters = {key: state.pop(key) for key in defaults}
    for key in ("checkpoint", "weights", *(["memory"] if saved.own else [])):
        # A path is of one machine, and first weights are part of the fitted weights by now.
        if key in parameters and _names_a_file(key, parameters[key]):
            parameters[key] = defaults[key]
    if not saved.own:
        # Parameters of scikit-learn come and go: one at its default is left to the version that loads the file.
        parameters = {key: value for key, value in parameters.items() if not _same(value, defaults[key])}
    if parameters.get("memory") is not None:
        raise TypeError(f"{path}.memory is a cache of pickles, which a saved model cannot hold; use memory=None.")
    unknown = [key for key in state if key not in saved.fitted]
    if unknown:
        raise TypeError(
            f"{path}.{unknown[0]} is no attribute that {name} has after fit, and a saved model cannot hold it; delete "
            f"it before saving."
        )
    steps = parameters.pop("steps", None)
    written: dict[str, Any] = {key: writer.write(value, f"{path}.{key}") for key, value in parameters.items()}
    if steps is not None:  # of a pipeline; their names begin the names of tensors
        written["steps"] = [{"tuple": [step, writer.write(part, f"{path}.{step}")]} for step, part in steps]
    content = {"class": name, "parameters": written}
    return {**content, "fitted": _write_fitted(writer, saved, state, path)} if state else content


def _names_a_file(key: str, value: Any) -> bool:
    return key in _ELSEWHERE and not (isinstance(value, str | None) and value in _ELSEWHERE[key])


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _write_fitted(writer: ValueWriter, saved: SavedClass, fitted: dict[str, Any], path: str) -> dict[str, Any]:
    if "task_" in fitted:
        for key, value in fitted["task_"].attributes().items():
            if not np.array_equal(value, fitted[key]):
                raise ValueError(f"{path}.{key} was changed after fit, but predictions follow task_; fit it again.")
        fitted["task_"] = fitted["task_"].name  # its other values are attributes of their own
    try:
        check_fitted(saved, fitted)
    except ModelFileError as error:
        raise ValueError(f"{path} was changed after fit ({str(error).partition('. ')[0]}); fit it again.") from None
    weights = fitted.pop("module_", None)
    if weights is None:
        return {key: writer.tensor(value, f"{path}.{key}") for key, value in fitted.items()}
    # No tensors but the weights: the file of a network is a state dict for other programs.
    content = {key: writer.write(value, f"{path}.{key}") for key, value in fitted.items()}
    writer.network(weights, path, content)
    return content


def read_estimator(place: Callable[[str], str], reader: ValueReader, content: Any, depth: int) -> Any:
    """Turn JSON into an estimator. Made-up JSON raises a ModelFileError, or any error.

    ``place(device)`` says where a network goes that was fitted on a device.
    """
    keys = {"class", "parameters"}
    if not isinstance(content, dict) or not keys <= set(content) <= {*keys, "fitted"}:
        raise malformed("malformed estimator: expected class, parameters and fitted")
    saved = CLASSES.get(content["class"])
    if saved is None:
        raise malformed(f"a saved model does not hold the class {str(content['class'])[:40]!r}")
    estimator = _unfitted(saved, {key: reader.read(value, depth + 1) for key, value in content["parameters"].items()})
    if "fitted" not in content:
        return estimator
    fitted = {key: reader.read(value, depth + 1) for key, value in content["fitted"].items() if key != "module_"}
    if "module_" in content["fitted"]:
        if not isinstance(fitted.get("plan_"), Plan):
            raise malformed("a network has no plan")
        fitted["module_"] = reader.network(content["fitted"]["module_"], tensor_shapes(fitted["plan_"]))
    check_fitted(saved, fitted)
    if "task_" in fitted:
        fitted["task_"] = _TASKS[fitted["task_"]](fitted)
    if "module_" in fitted:
        estimator.__setstate__({**vars(estimator), **fitted, "device_": place(fitted["device_"])})
    else:
        vars(estimator).update(fitted)
    return estimator


def _unfitted(saved: SavedClass, parameters: Mapping[str, Any]) -> Any:
    """An estimator with these parameters; a pipeline with its steps."""
    name = saved.cls.__name__
    unknown = set(parameters) - set(inspect.signature(saved.cls).parameters)
    if unknown:
        raise ModelFileError(
            f"its {name} has the parameter {min(unknown)[:40]!r}, which this version of "
            f"{'sklearn-cnn' if saved.own else 'scikit-learn'} does not have. Load it with the version that saved it"
        )
    elsewhere = [key for key, value in parameters.items() if _names_a_file(key, value)]
    if elsewhere:
        raise malformed(f"the parameter {elsewhere[0]} of {name} names a file")
    estimator = saved.cls(**parameters)
    estimator._validate_params()
    if isinstance(estimator, Pipeline) and not _are_steps(estimator.steps):
        raise malformed("malformed Pipeline: expected transformers of different names, and an estimator")
    if isinstance(estimator, FrozenEstimator) and not isinstance(estimator.estimator, BaseEstimator):
        raise malformed("malformed FrozenEstimator: expected an estimator")
    if isinstance(estimator, Pipeline | FrozenEstimator):
        check_all_fitted(estimator)
    return estimator


def _are_steps(steps: list[Any]) -> bool:
    if not steps or not all(isinstance(step, tuple) and len(step) == 2 for step in steps):
        return False
    names, parts = zip(*steps, strict=True)
    estimators = [part for part in parts if not (part is None or part == "passthrough")]
    before = [part for part in estimators if part is not parts[-1]]
    return (
        all(isinstance(name, str) for name in names)
        and len(set(names)) == len(names)
        and all(isinstance(part, BaseEstimator) for part in estimators)
        and all(hasattr(part, "transform") for part in before)
    )
