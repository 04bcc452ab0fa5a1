"""What the estimators that train a network share: the story of a fit, predictions, and plans."""

import os
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._spec import ACTIVATIONS, PADDING_MODES, POOLINGS
from sklearn_cnn.estimators._auto import chosen_epochs
from sklearn_cnn.estimators._callbacks import CallbackSupportMixin, FitTasks
from sklearn_cnn.estimators._cost import seconds_of_epoch
from sklearn_cnn.estimators._fit import design, fit_network, plan_for
from sklearn_cnn.estimators._fitted import Fitted, take_over
from sklearn_cnn.estimators._html import ShowsPlan
from sklearn_cnn.estimators._pickling import PicklesNetwork
from sklearn_cnn.estimators._read import Data, Request, parameters_of, read
from sklearn_cnn.estimators._sample import check_range, warn_of_another_range
from sklearn_cnn.estimators._task import Task
from sklearn_cnn.images._moments import PixelRange
from sklearn_cnn.images._reading import read_again, read_images
from sklearn_cnn.images._shape import parse_image_shape
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.training._inference import predict_outputs, prediction_batch_size
from sklearn_cnn.training._interrupts import kept_interrupts
from sklearn_cnn.training._optimizers import OPTIMIZERS, Phase, phases

_SEQUENCE = [tuple, list, np.ndarray]
_POSITIVE_INT = Interval(Integral, 1, None, closed="left")


class BaseCNN(ShowsPlan, PicklesNetwork, CallbackSupportMixin, BaseEstimator):
    """Base of the estimators that train a network; not to be used itself."""

    task_: Task
    history_: list[dict[str, Any]]

    _first_targets: Callable[..., tuple[Task, NDArray[Any]]]
    """``(y, classes) -> (task, targets)``: reads the targets of a first fit."""

    _predicts_numbers: ClassVar[bool] = False
    """Whether it predicts numbers rather than labels, for which ``"auto"`` means another network."""

    _count_outputs: Callable[[Any], int]
    """How many outputs a network for `y` has; `y` may have one class, since nothing is trained."""

    _parameter_constraints: dict[str, Any] = {
        "filters": [*_SEQUENCE, _POSITIVE_INT, StrOptions({"auto"})],
        "kernel_size": [*_SEQUENCE, _POSITIVE_INT],
        "stride": [*_SEQUENCE, _POSITIVE_INT],
        "padding": [*_SEQUENCE, StrOptions({"same", "valid"}), Interval(Integral, 0, None, closed="left")],
        "padding_mode": [StrOptions(set(PADDING_MODES))],
        "dilation": [*_SEQUENCE, _POSITIVE_INT],
        "convs_per_block": [*_SEQUENCE, _POSITIVE_INT, StrOptions({"auto"})],
        "pooling": [*_SEQUENCE, StrOptions(set(POOLINGS)), None],
        "pool_size": [*_SEQUENCE, _POSITIVE_INT],
        "pool_stride": [*_SEQUENCE, _POSITIVE_INT, None],
        "global_pooling": [StrOptions({*POOLINGS, "auto"}), None],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "normalization": [StrOptions({"batch"}), None],
        "hidden_layer_sizes": [*_SEQUENCE, _POSITIVE_INT, StrOptions({"auto"})],
        "dropout": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "architecture": [str, callable, None],
        "weights": [str, os.PathLike, BaseEstimator, None],
        "trainable_blocks": [StrOptions({"all"}), Interval(Integral, 0, None, closed="left")],
        "backbone_lr": [Interval(Real, 0, None, closed="neither"), None],
        "image_shape": [*_SEQUENCE, None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "augmenter": [ImageAugmenter, StrOptions({"auto"}), None],
        "standardize": ["boolean"],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "lr_schedule": [StrOptions({"auto", "warmup_stable_decay", "cosine", "constant"})],
        "batch_size": [StrOptions({"auto"}), _POSITIVE_INT],
        "max_epochs": [_POSITIVE_INT, StrOptions({"auto"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [_POSITIVE_INT],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "bfloat16", "float64"})],
        "checkpoint": [str, os.PathLike, None],
        "skorch_callbacks": [list, tuple, None],
    }

    def _fit_whole(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, sample_weight_val: Any) -> Self:
        """Do what `fit` says."""
        early_stopping = bool(self.early_stopping)
        go_on = bool(self.warm_start) and hasattr(self, "module_")
        request = Request(
            phases(
                self.lr_schedule,
                chosen_epochs(self.max_epochs, X),
                early_stopping=early_stopping,
                go_on=go_on,
            ),
            early_stopping=early_stopping,
            checkpoint=self.checkpoint,
        )
        return self._fit(request, Data(X, y, sample_weight), Data(X_val, y_val, sample_weight_val), go_on=go_on)

    def _fit_part(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Do what `partial_fit` says."""
        request = Request((Phase(1, "constant"),), classes=classes)
        return self._fit(request, Data(X, y, sample_weight), Data(None, None), go_on=hasattr(self, "module_"))

    def _fit(self, request: Request, data: Data, validation: Data, *, go_on: bool) -> Self:
        """Read, design, train; the estimator changes at the very end, in one step."""
        parameters = parameters_of(self)
        earlier = Fitted.of(self) if go_on else None
        tasks = FitTasks(self, sum(phase.n_epochs for phase in request.phases), *data)
        # The caller may be in no_grad or inference_mode, whose tensors cannot be trained.
        with kept_interrupts(), torch.inference_mode(False), torch.enable_grad():
            tasks.begin_fit()
            given = read(parameters, request, data, validation, earlier)
            chosen = design(parameters, given, earlier)
            fitted = fit_network(parameters, request, given, chosen, earlier, tasks)
            tasks.end_fit(fitted.attributes)
        take_over(self, fitted.attributes())
        return self

    def _outputs(self, X: Any) -> NDArray[Any]:
        """What the network gives for images, ``(n, n_outputs)``."""
        check_is_fitted(self, "module_")
        if self.module_.training:  # net_, for example, leaves it in training mode
            self.module_.eval()
        images = read_again(self, X)
        seen = PixelRange()
        outputs = predict_outputs(
            self.module_,
            images,
            batch_size=prediction_batch_size(self.plan_.largest_map),
            device=torch.device(self.device_),
            look=seen.see,
            verbose=self.verbose,
        )
        check_range(seen.low, seen.high, self.precision_)
        warn_of_another_range((seen.low, seen.high), self.pixel_range_, fractions=images.dtype != np.uint8, depth=3)
        return outputs

    def plan(
        self,
        X: Any = None,
        y: ArrayLike | None = None,
        *,
        image_shape: Any = None,
        n_outputs: int | None = None,
        measure: bool = False,
    ) -> Plan:
        """Lay the network out, without training it.

        Parameters
        ----------
        X : array-like of images or None, default=None
            Images, of which only shape and number matter.
        y : array-like of shape (n,) or (n, n_outputs), or None, default=None
            Targets, of which only the number of outputs matters.
        image_shape : tuple of int or None, default=None
            ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)``, in place of `X`.
        n_outputs : int or None, default=None
            Outputs of the network, in place of `y`.
        measure : bool, default=False
            Whether to measure the seconds of an epoch: a few batches of `X` go through a network with random weights,
            forwards and backwards. An augmenter and the optimiser's steps are left out.

        Returns
        -------
        Plan
            One row a layer. ``print`` shows it as a table, a notebook as HTML. With `X` it says what an epoch costs.

        Raises
        ------
        ValueError
            Where the network is impossible for these images, or shape or outputs are missing, or `measure` has no
            images.

        Examples
        --------
        >>> from sklearn_cnn import CNNClassifier
        >>> plan = CNNClassifier(filters=(8, 16)).plan(image_shape=(20, 20), n_outputs=10)
        >>> plan.layers[1].name, plan.layers[1].output_shape
        ('block1_conv', (8, 20, 20))
        >>> plan.n_parameters
        53890
        """
        self._validate_params()
        fitted = hasattr(self, "module_")
        image_shape = self.image_shape if image_shape is None else image_shape
        images = None
        if measure and X is None:
            raise ValueError("measure=True needs images: pass X.")
        if X is not None:
            images = read_images(X, image_shape=image_shape, channels=self.channels, name=type(self).__name__)
            shape = images.image_shape
        elif image_shape is not None:
            shape = parse_image_shape(image_shape, self.channels)
        elif fitted:
            shape = self.image_shape_
        else:
            raise ValueError("plan needs the shape of an image: pass X, or image_shape=(h, w), (h, w, c) or (c, h, w).")
        if n_outputs is None and y is not None:
            n_outputs = type(self)._count_outputs(y)
        if n_outputs is None and fitted:
            n_outputs = self.task_.n_outputs
        if n_outputs is None:
            raise ValueError("plan needs the number of outputs: pass y, or n_outputs.")
        if not isinstance(n_outputs, Integral) or isinstance(n_outputs, bool) or n_outputs < 1:
            raise ValueError(f"n_outputs is a positive integer; got {n_outputs!r}.")
        parameters = parameters_of(self)
        plan = plan_for(parameters, shape, int(n_outputs))
        if images is None:
            return plan
        seconds = seconds_of_epoch(parameters, plan, images) if measure else None
        return replace(plan, n_images=len(images), seconds=seconds)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "net_"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        return tags
