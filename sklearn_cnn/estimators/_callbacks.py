"""Calls to scikit-learn's callbacks during a fit. They exist since scikit-learn 1.9."""

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]  # what stands in for it before version 1.9
        """Adds nothing: estimators have no ``set_callbacks`` there."""


__all__ = ["CallbackSupportMixin", "FitTasks"]


class FitTasks:
    """The tasks of a fit as callbacks see them: the fit, and inside it one task for every epoch.

    An estimator without callbacks has no tasks, and every method returns at once.

    scikit-learn keeps the context of the callbacks on the estimator while it is fitted, and finds by it which ones to
    tear down.

    Parameters
    ----------
    estimator : estimator
        What is being fitted.
    n_epochs : int
        The most epochs there will be.
    X, y, sample_weight : object
        As `fit` was given them.
    """

    def __init__(self, estimator: Any, n_epochs: int, X: Any, y: Any, sample_weight: Any) -> None:
        self._told = {
            "estimator": estimator,
            "X": X,
            "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }
        self._fit: Any = None
        self._epoch: Any = None
        if hasattr(estimator, "_skl_callbacks"):
            self._fit = estimator._init_callback_context(max_subtasks=n_epochs)

    def begin_fit(self) -> None:
        """Say that the fit begins."""
        if self._fit is not None:
            self._fit.call_on_fit_task_begin(**self._told)

    def begin_epoch(self) -> None:
        """Say that an epoch begins."""
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._told)

    def end_epoch(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Say that the epoch has ended.

        Parameters
        ----------
        attributes : callable
            Gives what an estimator fitted up to here has. It is called for a callback that wants such an estimator.

        Returns
        -------
        bool
            Whether a callback wants the training to end.
        """
        if self._fit is None:
            return False
        return bool(self._epoch.call_on_fit_task_end(**self._told, reconstruction_attributes=attributes))

    def end_fit(self, attributes: Callable[[], dict[str, Any]]) -> None:
        """Say that the fit has ended.

        Parameters
        ----------
        attributes : callable
            Gives what the fitted estimator will have. It has none of it yet, so that a callback that fails leaves it
            as it was.
        """
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._told, reconstruction_attributes=attributes)
