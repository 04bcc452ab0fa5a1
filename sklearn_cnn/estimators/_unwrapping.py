"""Fitted estimators out of what wraps them."""

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def fitted_estimator(estimator: Any, parameter: str) -> Any:
    """A fitted estimator of this package, out of the wrapping that keeps it from being cloned."""
    fitted = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
    if not hasattr(fitted, "module_"):
        if hasattr(fitted, "steps") or hasattr(fitted, "best_estimator_"):
            inside = "last step" if hasattr(fitted, "steps") else "best_estimator_"
            way_out = f"pass its {inside}, and see that the images are prepared as for that"
        else:
            way_out = (
                f"searches and clone() make unfitted copies of estimators they find among parameters: wrap it, "
                f"{parameter}=sklearn.frozen.FrozenEstimator(fitted)"
            )
        raise ValueError(f"{parameter}={type(fitted).__name__}(...) is no fitted estimator of this package; {way_out}.")
    return fitted


def fitted_steps(estimator: Any) -> list[tuple[str, Any]]:
    """The steps that an estimator applies to X, in order, with the names that pipelines give them.

    Searches, pipelines and frozen estimators are opened, however they are nested, down to the last estimator.

    Raises
    ------
    NotFittedError
        Where a search has no best estimator yet. Other estimators may be unfitted.
    """
    steps: list[tuple[str, Any]] = []
    name = ""
    while True:
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, Pipeline):
            *before, (name, estimator) = [
                (name, step) for name, step in estimator.steps if step is not None and step != "passthrough"
            ]
            steps += [(name, step.estimator if isinstance(step, FrozenEstimator) else step) for name, step in before]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            if getattr(estimator, "refit", False) and not isinstance(estimator, type):
                check_is_fitted(estimator)
            return [*steps, (name, estimator)]
