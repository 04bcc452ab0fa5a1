"""What a fit gives: one frozen value, whose attributes an estimator takes over at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._task import Task
from sklearn_cnn.images._shape import ImageShape


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a fit, and what a later fit goes on from.

    Attributes
    ----------
    reading : mapping of str to object
        The form of X: ``image_shape_``, ``n_features_in_`` and, of a frame, ``feature_names_in_``.
    pixel_range : (float, float)
        Smallest and largest pixel of all training images so far.
    task : Task
        What kind of target it was trained on.
    plan : Plan
        The network, layer by layer.
    network : ImageNetwork
        The network, in evaluation mode.
    net : skorch.NeuralNet or None
        The skorch net that holds it; None after unpickling.
    history : list of dict
        Figures of every epoch.
    best_epoch : int or None
        Epoch, counted from 1, with the best validation score.
    batch_size : int
        Images a step.
    device : str
        Where the network is.
    precision : {"float32", "bfloat16", "float64"}
        How the fit computed.
    """

    reading: Mapping[str, Any]
    pixel_range: tuple[float, float]
    task: Task
    plan: Plan
    network: ImageNetwork
    net: Any
    history: list[dict[str, Any]]
    best_epoch: int | None
    batch_size: int
    device: str
    precision: str

    @classmethod
    def of(cls, estimator: Any) -> "Fitted":
        """Collect the result of the last fit from a fitted classifier or regressor."""
        names = ("image_shape_", "n_features_in_", "feature_names_in_")
        return cls(
            reading={name: getattr(estimator, name) for name in names if hasattr(estimator, name)},
            pixel_range=estimator.pixel_range_,
            task=estimator.task_,
            plan=estimator.plan_,
            network=estimator.module_,
            net=getattr(estimator, "net_", None),
            history=estimator.history_,
            best_epoch=estimator.best_epoch_,
            batch_size=estimator.batch_size_,
            device=estimator.device_,
            precision=estimator.precision_,
        )

    @property
    def image_shape(self) -> ImageShape:
        """Size of an image, and how X stores it."""
        shape: ImageShape = self.reading["image_shape_"]
        return shape

    def attributes(self) -> dict[str, Any]:
        """All fitted attributes of an estimator, by name."""
        validated = any("valid_loss" in record for record in self.history)
        return {
            **self.reading,
            **self.task.attributes(),
            "pixel_range_": self.pixel_range,
            "task_": self.task,
            "plan_": self.plan,
            "module_": self.network,
            **({} if self.net is None else {"net_": self.net}),
            "history_": self.history,
            "n_iter_": len(self.history),
            "loss_curve_": [record["train_loss"] for record in self.history],
            "validation_loss_curve_": [record.get("valid_loss") for record in self.history] if validated else None,
            "validation_scores_": [record.get(self.task.score_name) for record in self.history] if validated else None,
            "best_epoch_": self.best_epoch,
            "batch_size_": self.batch_size,
            "device_": self.device,
            "precision_": self.precision,
        }


NOT_IN_EVERY_FIT = frozenset(("feature_names_in_", "net_", "classes_", "n_outputs_", "target_mean_", "target_scale_"))
"""Attributes that one fit sets and another does not."""


def take_over(estimator: Any, attributes: Mapping[str, Any]) -> None:
    """Give an estimator the attributes of a fit in place of those of an earlier one.

    In one assignment, so that neither an error nor a second Ctrl-C can leave an estimator that is half fitted.

    Parameters
    ----------
    estimator : estimator
        Its parameters stay, and whatever else the user, a subclass or scikit-learn keeps on it.
    attributes : mapping of str to object
        All its fitted attributes.
    """
    kept = {name: value for name, value in vars(estimator).items() if name not in NOT_IN_EVERY_FIT}
    estimator.__dict__ = {**kept, **attributes}


def plain_history(history: Any) -> list[dict[str, Any]]:
    """The history of a skorch net as dicts of plain values, without the records of single batches."""
    return [{name: _plain(value) for name, value in record.items() if name != "batches"} for record in history]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


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
