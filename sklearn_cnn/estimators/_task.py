"""What kind of target a network is trained on: one label an image, several labels, or numbers.

A task reads targets, splits and weighs them, and says which loss and score go with them and what the outputs of the
network mean. It is made in the first fit and kept as ``task_``.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.metrics import r2_score
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import compute_class_weight
from torch import nn

from sklearn_cnn.estimators._sample import Sample, check_weights
from sklearn_cnn.estimators._split import random_split, stratified_split
from sklearn_cnn.estimators._targets import has_columns, read_indicators, read_labels, read_numbers
from sklearn_cnn.training._loss import WeightedBinaryCrossEntropy, WeightedCrossEntropy, WeightedRegressionLoss

Rows = NDArray[np.intp]
Parts = tuple[Sample, Sample | None]
"""The training images and those held out, if there are any."""


class Task(Protocol):
    """What `Labels`, `Indicators` and `Numbers` have in common.

    Attributes
    ----------
    name : {"multiclass", "multilabel", "regression"}
        What the outputs of the network are.
    score_name : str
        What the validation score is called in the history.
    """

    name: ClassVar[str]
    score_name: ClassVar[str]

    @property
    def n_outputs(self) -> int:
        """Values that the network gives for an image."""

    def attributes(self) -> dict[str, Any]:
        """What a fitted estimator tells of its targets, by the names of its attributes."""

    def read(self, y: Any) -> NDArray[Any]:
        """Turn `y` into targets of shape (n,) or (n, n_outputs); a ValueError where it is of another kind."""

    def weighed(self, parts: Parts, class_weight: Any, *, complete: bool) -> Parts:
        """Multiply class weights into the sample weights; `complete` says that no more targets will come."""

    def split(self, targets: NDArray[Any], fraction: float, seed: int) -> tuple[Rows, Rows]:
        """Rows for training and for validation."""

    def learned(self, sample: Sample) -> Self:
        """The task with the statistics of the training targets, where it needs any."""

    def encoded(self, parts: Parts, precision: str) -> Parts:
        """The same images with targets as the loss takes them."""

    def criterion(self, parameters: Any) -> nn.Module:
        """The loss, ``(outputs, targets, weights=None) -> scalar``."""

    def score(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> float:
        """The validation score; larger is better."""

    def decode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Predictions, as they were in `y`, for outputs of shape (n, n_outputs)."""


@dataclass(frozen=True, eq=False)
class Labels:
    """One label an image.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    """

    name: ClassVar[str] = "multiclass"
    score_name: ClassVar[str] = "valid_acc"
    classes: NDArray[Any]

    @property
    def n_outputs(self) -> int:
        return len(self.classes)

    def attributes(self) -> dict[str, Any]:
        return {"classes_": self.classes}

    def read(self, y: Any) -> NDArray[np.int64]:
        if has_columns(y):
            raise ValueError(_other_kind("an indicator matrix of several labels an image", "one label an image"))
        return self.indices(read_labels(y))

    def indices(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Places of labels among the classes, of shape (n,); a ValueError for one that is not there."""
        encoder = LabelEncoder()
        encoder.classes_ = self.classes
        try:
            return encoder.transform(labels).astype(np.int64)
        except (ValueError, TypeError) as error:
            unseen = sorted({str(label) for label in labels} - {str(label) for label in self.classes})
            raise ValueError(
                f"y contains labels that are not among the classes {self.classes}: {', '.join(unseen[:5]) or error}."
            ) from None

    def weighed(self, parts: Parts, class_weight: Any, *, complete: bool) -> Parts:
        if class_weight is not None:
            # The class weights of the training images hold for both parts.
            by_class = self._class_weights(parts[0], class_weight)
            weighed = [part and _times(part, by_class, f"class_weight={class_weight!r}") for part in parts]
            assert weighed[0] is not None
            parts = weighed[0], weighed[1]
        sample = parts[0]
        if complete and sample.weights is not None:
            left = np.unique(sample.targets[sample.weights > 0])
            if len(left) < 2:
                raise ValueError(
                    f"fewer than 2 classes are left without the samples of weight 0: only {self.classes[left]}."
                )
        return parts

    def _class_weights(self, sample: Sample, class_weight: Any) -> NDArray[np.float64]:
        if isinstance(class_weight, str):  # "balanced"; classes without an image have no weight to share
            mass = np.bincount(sample.targets, weights=sample.weights, minlength=self.n_outputs)
            return mass.sum() / (np.count_nonzero(mass) * np.where(mass > 0, mass, np.inf))
        labels = self.classes[sample.targets]
        return compute_class_weight(class_weight, classes=self.classes, y=labels)

    def split(self, targets: NDArray[Any], fraction: float, seed: int) -> tuple[Rows, Rows]:
        return stratified_split(targets, fraction, seed)

    def learned(self, sample: Sample) -> Self:
        return self

    def encoded(self, parts: Parts, precision: str) -> Parts:
        return parts

    def criterion(self, parameters: Any) -> nn.Module:
        return WeightedCrossEntropy(float(parameters.label_smoothing))

    def score(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> float:
        return _share(outputs.argmax(dim=1) == targets, weights)

    def decode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        return self.classes[outputs.argmax(axis=1)]

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Softmax of logits of shape (n, n_classes)."""
        return softmax(logits, axis=1)

    def log_probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the softmax of logits of shape (n, n_classes)."""
        return log_softmax(logits, axis=1)

    def decision(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Logits as ``decision_function`` gives them: one number an image where there are two classes."""
        return logits[:, 1] - logits[:, 0] if self.n_outputs == 2 else logits


@dataclass(frozen=True)
class Indicators:
    """Several labels an image: as many tasks of two classes, side by side.

    Attributes
    ----------
    n_labels : int
        Columns of the indicator matrix.
    """

    name: ClassVar[str] = "multilabel"
    score_name: ClassVar[str] = "valid_acc"
    n_labels: int

    @property
    def n_outputs(self) -> int:
        return self.n_labels

    @property
    def classes(self) -> NDArray[Any]:
        """Numbers of the columns, as of scikit-learn's own multilabel classifiers."""
        return np.arange(self.n_labels)

    def attributes(self) -> dict[str, Any]:
        return {"classes_": self.classes}

    def read(self, y: Any) -> NDArray[np.float32]:
        if not has_columns(y):
            raise ValueError(_other_kind("one label an image", "an indicator matrix of several labels an image"))
        indicators = read_indicators(y)
        if indicators.shape[1] != self.n_labels:
            raise ValueError(f"y has {indicators.shape[1]} labels an image, but the network is for {self.n_labels}.")
        return indicators

    def weighed(self, parts: Parts, class_weight: Any, *, complete: bool) -> Parts:
        if class_weight is not None:
            raise ValueError(
                f"class_weight={class_weight!r} is for one label an image, but y is an indicator matrix of several; "
                f"use sample_weight, or class_weight=None."
            )
        return parts

    def split(self, targets: NDArray[Any], fraction: float, seed: int) -> tuple[Rows, Rows]:
        return random_split(len(targets), fraction, seed, least=1)

    def learned(self, sample: Sample) -> Self:
        return self

    def encoded(self, parts: Parts, precision: str) -> Parts:
        return parts

    def criterion(self, parameters: Any) -> nn.Module:
        return WeightedBinaryCrossEntropy(float(parameters.label_smoothing))

    def score(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> float:
        return _share(((outputs > 0) == (targets > 0)).all(dim=1), weights)

    def decode(self, outputs: NDArray[Any]) -> NDArray[np.int64]:
        return (outputs > 0).astype(np.int64)

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sigmoid of logits of shape (n, n_labels)."""
        return expit(logits)

    def log_probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the sigmoid of logits of shape (n, n_labels)."""
        return log_expit(logits)

    def decision(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Logits as ``decision_function`` gives them."""
        return logits


@dataclass(frozen=True, eq=False)
class Numbers:
    """One or more numbers an image, which the network learns in standard deviations from their mean.

    So neither the learning rate nor the balance between outputs depends on units. The statistics are those of the
    first fit: when training goes on, the weights belong to them.

    Attributes
    ----------
    n_outputs : int
        Numbers an image.
    mean, scale : ndarray of shape (n_outputs,)
        Weighted mean and standard deviation of the training targets. The deviation is 1 for an output that never
        varied, since training on may bring values that vary.
    """

    name: ClassVar[str] = "regression"
    score_name: ClassVar[str] = "valid_r2"
    n_outputs: int
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))

    def attributes(self) -> dict[str, Any]:
        return {"n_outputs_": self.n_outputs, "target_mean_": self.mean, "target_scale_": self.scale}

    def read(self, y: Any) -> NDArray[np.float64]:
        numbers = read_numbers(y)
        if numbers.shape[1] != self.n_outputs:
            raise ValueError(f"y has {numbers.shape[1]} numbers an image, but the network is for {self.n_outputs}.")
        return numbers

    def weighed(self, parts: Parts, class_weight: Any, *, complete: bool) -> Parts:
        return parts

    def split(self, targets: NDArray[Any], fraction: float, seed: int) -> tuple[Rows, Rows]:
        return random_split(len(targets), fraction, seed, least=2)

    def learned(self, sample: Sample) -> Self:
        mean, scale = mean_and_scale(sample)
        return replace(self, mean=mean, scale=scale)

    def encoded(self, parts: Parts, precision: str) -> Parts:
        sample, held_out = parts
        if held_out is not None and len(held_out.rows) < 2:
            raise ValueError("R² of the validation part needs two images at least, but X_val has one.")
        return self._standardized(sample, precision), held_out and self._standardized(held_out, precision)

    def _standardized(self, sample: Sample, precision: str) -> Sample:
        limit = 1e150 if precision == "float64" else 1e18  # as for pixels, squares must not overflow
        with np.errstate(over="ignore"):
            targets = (sample.targets - self.mean) / self.scale
        if np.abs(targets).max() > limit:
            raise ValueError(
                f"y is more than {limit:g} standard deviations away from the mean of the training targets; these have "
                f"mean {self.mean} and standard deviation {self.scale}."
            )
        return replace(sample, targets=targets)

    def criterion(self, parameters: Any) -> nn.Module:
        return WeightedRegressionLoss(parameters.loss)

    def score(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> float:
        # R² is the same in standard deviations as in the unit of y.
        weight = None if weights is None else weights.cpu().double().numpy()
        return float(r2_score(targets.cpu().double().numpy(), outputs.cpu().double().numpy(), sample_weight=weight))

    def decode(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        # In float64: float32 would round a target of 1e9 + 1 away.
        numbers = outputs.astype(np.float64) * self.scale + self.mean
        return numbers[:, 0] if self.n_outputs == 1 else numbers


def first_labels(y: Any, classes: Any = None) -> tuple[Labels | Indicators, NDArray[Any]]:
    """Read the targets of a classifier's first fit, which decide on its task.

    Parameters
    ----------
    y : array-like of shape (n,), or array-like or sparse matrix of shape (n, n_labels)
        Labels, or an indicator matrix.
    classes : array-like or None, default=None
        All labels that will come, where `y` has only some of them.

    Returns
    -------
    task : Labels or Indicators
        The task.
    targets : ndarray of shape (n,) or (n, n_labels)
        As `task.read` gives them.

    Raises
    ------
    ValueError
        Where `y` cannot be read, has one class, or does not go with `classes`.
    """
    if has_columns(y):
        matrix = read_indicators(y)
        n_labels = matrix.shape[1]
        if classes is not None and not np.array_equal(classes, np.arange(n_labels)):
            raise ValueError(
                f"classes of an indicator matrix of {n_labels} labels is np.arange({n_labels}); got {classes!r}."
            )
        return Indicators(n_labels), matrix
    labels = read_labels(y)
    known = np.unique(labels if classes is None else read_labels(classes, "classes"))
    if len(known) < 2:
        raise ValueError(
            f"{'y' if classes is None else 'classes'} has 1 class: {known[0]}; a classifier needs at least 2."
        )
    task = Labels(known)
    return task, task.indices(labels)


def first_numbers(y: Any, classes: Any = None) -> tuple[Numbers, NDArray[np.float64]]:
    """Read the targets of a regressor's first fit; it has no `classes`. See `first_labels`."""
    targets = read_numbers(y)
    return Numbers(targets.shape[1]), targets


def mean_and_scale(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and standard deviation of each output, over the rows that are used.

    Parameters
    ----------
    sample : Sample
        With targets of shape (n, n_outputs).

    Returns
    -------
    mean, scale : ndarray of shape (n_outputs,)
        Of an output that never varies the value itself, and 1.
    """
    weights = sample.unit_weights()
    rows = sample.rows if weights is None else sample.rows[weights[sample.rows] > 0]
    weights = None if weights is None else weights[rows]
    targets = sample.targets[rows]
    largest = np.abs(targets).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)
    targets = targets / unit  # so that no square overflows
    mean = np.average(targets, axis=0, weights=weights)
    scale = np.sqrt(np.average((targets - mean) ** 2, axis=0, weights=weights)) * unit
    # Rounding can give a constant output a deviation above 0, and one that hardly varies a deviation of 0.
    constant = (np.ptp(targets, axis=0) == 0) | (scale == 0)
    return np.where(constant, targets[0], mean) * unit, np.where(constant, 1.0, scale)


def _share(right: torch.Tensor, weights: torch.Tensor | None) -> float:
    """Weighted share of the images that are right."""
    return float(right.double().mean() if weights is None else (right * weights).sum() / weights.sum())


def _times(sample: Sample, by_class: NDArray[np.float64], what: str) -> Sample:
    weights = by_class[sample.targets] * (1.0 if sample.weights is None else sample.weights)
    check_weights(weights, what)
    return replace(sample, weights=weights)


def _other_kind(now: str, fitted: str) -> str:
    return f"y is {now}, but the network is for {fitted}."
