"""What the estimators share: the story of a fit, and what stays of it."""

import os
from abc import ABCMeta, abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import nn

from sklearn_cnn._random import Stream, generator
from sklearn_cnn.architectures._build import ImageNetwork, reseed_dropout
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._spec import ACTIVATIONS, PADDING_MODES, POOLINGS
from sklearn_cnn.estimators._callbacks import CallbackSupportMixin, FitTasks
from sklearn_cnn.estimators._html import ShowsPlan
from sklearn_cnn.estimators._network import (
    CONV_SETTINGS,
    NetworkRecipe,
    PicklesNetwork,
    blank_network,
    fitted_estimator,
    unchanged_on_failure,
)
from sklearn_cnn.estimators._run import describe_run
from sklearn_cnn.estimators._sample import Sample, check_range, check_weights, survey, warn_of_another_range
from sklearn_cnn.images._containers import refuse_unreadable
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._reading import read_for as read_images
from sklearn_cnn.images._shape import ImageShape, parse_image_shape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter, augmented
from sklearn_cnn.training._batches import Batches, batch_bounds
from sklearn_cnn.training._checkpoint import Checkpoint
from sklearn_cnn.training._device import resolve_device, resolve_precision
from sklearn_cnn.training._inference import predict_outputs, prediction_batch_size
from sklearn_cnn.training._memory import names_batch_size
from sklearn_cnn.training._net import BestEpoch, check_callbacks, make_net, train
from sklearn_cnn.training._optimizers import OPTIMIZERS, OptimizerFactory, Phase, auto_lr, phases
from sklearn_cnn.training._threads import threads_for

_SEQUENCE = [tuple, list, np.ndarray]
_POSITIVE_INT = Interval(Integral, 1, None, closed="left")


class _Course(NamedTuple):
    """In what `fit` and `partial_fit` differ."""

    schedule: tuple[Phase, ...]
    early_stopping: bool
    resume: bool
    """Whether the fitted network is trained on."""
    checkpoint: str | os.PathLike[str] | None = None

    @property
    def max_epochs(self) -> int:
        return sum(phase.n_epochs for phase in self.schedule)


class _Given(NamedTuple):
    """What the user gave, read."""

    sample: Sample
    held_out: Sample | None
    device: torch.device
    seed: int
    checkpoint: Checkpoint | None


class _Design(NamedTuple):
    """What follows from it for the network and its training."""

    plan: Plan
    statistics: Moments
    precision: str
    batch_size: int


class BaseCNN(ShowsPlan, PicklesNetwork, CallbackSupportMixin, BaseEstimator, metaclass=ABCMeta):
    """Base of the estimators that train a network; not to be used itself."""

    history_: list[dict[str, Any]]

    _parameter_constraints: dict[str, Any] = {
        "filters": [*_SEQUENCE, _POSITIVE_INT, StrOptions({"auto"})],
        "kernel_size": [*_SEQUENCE, _POSITIVE_INT],
        "stride": [*_SEQUENCE, _POSITIVE_INT],
        "padding": [*_SEQUENCE, StrOptions({"same", "valid"}), Interval(Integral, 0, None, closed="left")],
        "padding_mode": [StrOptions(set(PADDING_MODES))],
        "dilation": [*_SEQUENCE, _POSITIVE_INT],
        "convs_per_block": [*_SEQUENCE, _POSITIVE_INT],
        "pooling": [*_SEQUENCE, StrOptions(set(POOLINGS)), None],
        "pool_size": [*_SEQUENCE, _POSITIVE_INT],
        "pool_stride": [*_SEQUENCE, _POSITIVE_INT, None],
        "global_pooling": [StrOptions(set(POOLINGS)), None],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "normalization": [StrOptions({"batch"}), None],
        "hidden_layer_sizes": [*_SEQUENCE, _POSITIVE_INT],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "architecture": [str, callable, None],
        "weights": [str, os.PathLike, BaseEstimator, None],
        "trainable_blocks": [StrOptions({"all"}), Interval(Integral, 0, None, closed="left")],
        "backbone_lr": [Interval(Real, 0, None, closed="neither"), None],
        "image_shape": [*_SEQUENCE, None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "augmenter": [ImageAugmenter, None],
        "standardize": ["boolean"],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "lr_schedule": [StrOptions({"auto", "one_cycle", "cosine", "constant"})],
        "batch_size": [StrOptions({"auto"}), _POSITIVE_INT],
        "max_epochs": [_POSITIVE_INT],
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

    # What a kind of estimator adds to the story: read targets, their number of outputs, a loss, a score.

    _score_name: ClassVar[str]  # in the history

    @property
    @abstractmethod
    def _task(self) -> str: ...  # one of those of make_net

    @abstractmethod
    def _read_targets(self, y: Any, *, reset: bool, classes: Any = None) -> NDArray[Any]: ...

    @abstractmethod
    def _n_outputs(self) -> int: ...

    @abstractmethod
    def _count_outputs(self, y: Any) -> int: ...

    @abstractmethod
    def _criterion(self) -> nn.Module: ...

    @abstractmethod
    def _score_outputs(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> float: ...

    def _weigh_targets(self, sample: Sample, held_out: Sample | None, *, complete: bool) -> None:
        """Multiply weights that follow from the targets into the samples'; `complete`: no more targets will come."""

    def _scale_targets(self, sample: Sample, held_out: Sample | None, *, reset: bool) -> None:
        """Bring the targets to what the network gives; `reset`: by statistics of this sample."""

    @abstractmethod
    def _split(self, targets: NDArray[Any], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]: ...

    # The story of a fit.

    def _fit_whole(self, X: Any, y: Any, sample_weight: Any, **validation: Any) -> Self:
        """Do what `fit` says."""
        course = _Course(
            phases(self.lr_schedule, self.max_epochs, open_ended=bool(self.early_stopping or self.warm_start)),
            early_stopping=bool(self.early_stopping),
            resume=self.warm_start and hasattr(self, "module_"),
            checkpoint=self.checkpoint,
        )
        tasks = FitTasks(self, course.max_epochs, X, y, sample_weight)
        self._fit(tasks, course, X, y, sample_weight, **validation)
        return self

    def _fit_part(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Do what `partial_fit` says."""
        course = _Course((Phase(1, "constant"),), early_stopping=False, resume=hasattr(self, "module_"))
        tasks = FitTasks(self, course.max_epochs, X, y, sample_weight)
        self._fit(tasks, course, X, y, sample_weight, classes=classes)
        return self

    @unchanged_on_failure
    def _fit(
        self,
        tasks: FitTasks,
        course: _Course,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        classes: Any = None,
        **validation: Any,
    ) -> None:
        """Train, or train on; on any failure leave the estimator as it was."""
        # The caller may be in no_grad or inference_mode, whose tensors cannot be trained.
        with torch.inference_mode(False), torch.enable_grad():
            tasks.begin_fit()
            given = self._read(course, X, y, sample_weight, classes, **validation)
            design = self._design(course, given)
            net = self._make_net(course, given, design)
            if course.resume:
                self._carry_over(net)
            fitted = self._train(course, given, design, net, tasks)
            net.module_.starts_behind = None
            self.__dict__.update(fitted, net_=net, module_=net.module_.eval())
            tasks.end_fit()

    def _read(
        self,
        course: _Course,
        X: Any,
        y: Any,
        sample_weight: Any,
        classes: Any,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> _Given:
        """Read and check all that the user gave, and sort it into training and validation."""
        if course.checkpoint is not None:
            self._check_checkpoint()
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        sample = self._read_sample(X, y, sample_weight, reset=not course.resume, classes=classes)
        held_out = self._read_validation(X_val, y_val, sample_weight_val)
        device = resolve_device(self.device)
        checkpoint: Checkpoint | None = None
        if course.checkpoint is not None:
            run = describe_run(self, seed, device, sample, held_out)
            checkpoint = Checkpoint(os.fspath(course.checkpoint), run, seed)
            seed = checkpoint.seed
        self._weigh_targets(sample, held_out, complete=classes is None and not course.resume)
        if held_out is None and course.early_stopping:
            sample, held_out = self._hold_out(sample, seed)
        self._scale_targets(sample, held_out, reset=not course.resume)
        if self.augmenter is not None:
            sample.images = augmented(self.augmenter, sample.images, seen_by_numpy=False)
        check_callbacks(self.skorch_callbacks, lr_schedule=self.lr_schedule, has_validation=held_out is not None)
        return _Given(sample, held_out, device, seed, checkpoint)

    def _design(self, course: _Course, given: _Given) -> _Design:
        """Choose what follows from the data, and refuse what cannot be trained, before any of it is."""
        sample = given.sample
        plan = self._plan_for(self.image_shape_, self._n_outputs())
        if course.resume and plan.with_trainable("all") != self.plan_.with_trainable("all"):
            raise ValueError(
                "the network cannot change while training continues, but its parameters give another one now "
                f"than at the first fit; use warm_start=False, or {type(self).__name__}().fit anew."
            )
        precision = resolve_precision(self.precision, given.device, plan.n_macs)
        statistics = survey(sample, statistics=self.standardize and not course.resume)
        check_range(*statistics.range, precision)
        if given.held_out is not None:
            check_range(*survey(given.held_out, statistics=False).range, precision)
        if isinstance(self.weights, BaseEstimator) and not course.resume:
            trained = fitted_estimator(self.weights, "weights")._pixel_range
            warn_of_another_range(statistics.range, trained, fractions=sample.images.dtype != np.uint8, depth=7)
        batch_size = _batch_size(self.batch_size, len(sample.rows))
        _check_batches(plan, len(sample.rows), batch_size)
        return _Design(plan, statistics, precision, batch_size)

    def _make_net(self, course: _Course, given: _Given, design: _Design) -> Any:
        """Make what trains the network; where that is the head alone, have the rest run over the images."""
        plan, device = design.plan, given.device
        network = self._new_network(plan, None if course.resume else design.statistics, given.seed, design.precision)
        network.to(device)
        self._predict_batch_size = prediction_batch_size(plan.largest_map)
        finished = given.checkpoint is not None and given.checkpoint.position[0] == len(course.schedule)
        if self.trainable_blocks == 0 and not given.sample.images.random_steps and not finished:
            self._keep_features(given.sample, given.held_out, network, plan.body, device)
        return make_net(
            self._task,
            network,
            self._criterion(),
            OptimizerFactory(self.optimizer, self.momentum, self.weight_decay),
            lr=auto_lr(self.optimizer, self._recipe().lr_share) if self.lr == "auto" else float(self.lr),
            rates=self._rates_of_parts(plan),
            batch_size=design.batch_size,
            max_epochs=course.max_epochs,
            device=device,
            callbacks=self.skorch_callbacks,
            classes=getattr(self, "classes_", None),
        )

    def _train(self, course: _Course, given: _Given, design: _Design, net: Any, tasks: FitTasks) -> dict[str, Any]:
        """Train, and say what stays of it beside the network."""
        plan, device = design.plan, given.device
        best = BestEpoch(self.n_iter_no_change if course.early_stopping else None, self.tol)
        training, validation = self._make_batches(given.sample, given.held_out, device, design.batch_size)
        fitted = {
            "plan_": plan,
            "_architecture": self.architecture,  # the parameter may change before this is pickled
            "batch_size_": design.batch_size,
            "device_": str(device),
            "precision_": design.precision,
            "_pixel_range": design.statistics.range,
        }

        def begin_epoch(n_earlier: int) -> None:
            _draw_anew(training, net.module_, given.seed, n_earlier)
            tasks.begin_epoch()

        def fitted_so_far() -> dict[str, Any]:
            # A network apart, so that whoever gets it may keep it, and this one goes on as if nobody had looked.
            double = design.precision == "float64"
            snapshot = blank_network(self.architecture, plan, self.image_shape_, double=double)[0]
            snapshot.load_state_dict(net.module_.state_dict())
            return {**fitted, **self._records(net, best), "module_": snapshot.to(device).eval()}

        # The autocast is the caller's, if there is one.
        with (
            names_batch_size(design.batch_size),
            threads_for(plan.n_macs * design.batch_size),
            torch.autocast(device.type, enabled=False),
        ):
            train(
                net,
                training,
                validation,
                phases=course.schedule,
                score=self._score_outputs,
                score_name=self._score_name,
                best=best,
                verbose=self.verbose,
                begin_epoch=begin_epoch,
                end_epoch=partial(tasks.end_epoch, fitted_so_far),
                checkpoint=given.checkpoint,
            )
        return {**fitted, **self._records(net, best)}

    def _check_checkpoint(self) -> None:
        """Refuse what a checkpoint could not go on with."""
        if self.random_state is None and os.path.isdir(self.checkpoint):
            raise ValueError(
                f"checkpoint={os.fspath(self.checkpoint)!r} is a folder, in which fits are told apart by parameters, "
                f"data and seed; set random_state, or give the name of a file."
            )
        if self.warm_start:
            raise ValueError(
                "checkpoint goes on with a fit that was interrupted, warm_start=True with one that has ended; use one "
                "of them."
            )
        if self.skorch_callbacks:
            raise ValueError(
                "checkpoint cannot keep what skorch_callbacks remember, so that a fit would not go on as it began; use "
                "one of them."
            )

    def _read_sample(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, classes: Any = None) -> Sample:
        refuse_unreadable(X)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        check_consistent_length(X, y)
        images = read_images(self, X, reset=reset, image_shape=self.image_shape, channels=self.channels)
        targets = self._read_targets(y, reset=reset, classes=classes)
        return Sample(images, targets, self._read_weights(sample_weight, len(images)), np.arange(len(images)))

    def _read_weights(self, sample_weight: Any, n: int) -> NDArray[np.float64] | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, np.empty(n), dtype=np.float64)
        check_weights(weights, "sample_weight")
        return weights

    def _read_validation(self, X_val: Any, y_val: Any, sample_weight_val: Any) -> Sample | None:
        if X_val is None and y_val is None:
            if sample_weight_val is not None:
                raise ValueError("sample_weight_val was given without X_val and y_val.")
            return None
        if X_val is None or y_val is None:
            given, missing = ("y_val", "X_val") if X_val is None else ("X_val", "y_val")
            raise ValueError(f"{given} was given without {missing}; fit takes both or neither.")
        return self._read_sample(X_val, y_val, sample_weight_val, reset=False)

    def _hold_out(self, sample: Sample, seed: int) -> tuple[Sample, Sample]:
        """Cut a validation part off; both parts keep the one array of images."""
        train_rows, valid_rows = self._split(sample.targets, int(generator(seed, Stream.SPLIT).initial_seed() % 2**32))
        for name, rows in (("training", train_rows), ("validation", valid_rows)):
            if sample.weights is not None:
                check_weights(sample.weights[rows], f"sample_weight of the {name} part that early_stopping split off")
        parts = [Sample(sample.images, sample.targets, sample.weights, rows) for rows in (train_rows, valid_rows)]
        return parts[0], parts[1]

    def _recipe(self) -> NetworkRecipe:
        settings = {name: getattr(self, name) for name in CONV_SETTINGS} if self.architecture is None else None
        return NetworkRecipe(self.architecture, self.weights, self.standardize, self.dropout, settings)

    def _plan_for(self, shape: ImageShape, n_outputs: int) -> Plan:
        return self._recipe().plan(shape, n_outputs).with_trainable(self.trainable_blocks)

    def _new_network(self, plan: Plan, statistics: Moments | None, seed: int, precision: str) -> ImageNetwork:
        """Make a network for this fit; without statistics a copy of the fitted one, which failures must spare."""
        recipe = self._recipe()
        if statistics is None:
            network = blank_network(self.architecture, plan, self.image_shape_, double=precision == "float64")[0]
            network.load_state_dict(self.module_.state_dict())
        else:
            if self.weights is None and any(
                (row.frozen or row.frozen_parts) and row.n_parameters for row in plan.layers
            ):
                raise ValueError(
                    f"trainable_blocks={self.trainable_blocks} would leave blocks as they were drawn at random; pass "
                    f"weights=, or use trainable_blocks='all'."
                )
            network, _ = recipe.network(plan, self.image_shape_, statistics, seed, double=precision == "float64")
        network.training_dtype = torch.bfloat16 if precision == "bfloat16" else None
        return network

    def _rates_of_parts(self, plan: Plan) -> list[tuple[str, float]]:
        """Learning rates by the beginning of a parameter's name."""
        if self.backbone_lr is None:
            return []
        if all(layer.block != "head" for layer in plan.layers):
            raise ValueError(
                "backbone_lr is for all but the head, and a network of your own has no head that is known."
            )
        rows = [layer.name for layer in plan.layers if layer.n_parameters and layer.block != "head"]
        return [(f"layers.{row}.", float(self.backbone_lr)) for row in rows]

    def _keep_features(
        self, sample: Sample, held_out: Sample | None, network: ImageNetwork, body: str, device: torch.device
    ) -> None:
        """Put what the frozen part gives for the images in the place of them, so that it runs once."""
        network.eval()
        kept: dict[int, ImageSource] = {}  # both parts may be cut from one source
        for part in (sample, held_out):
            if part is None:
                continue
            if id(part.images) not in kept:
                features = predict_outputs(
                    partial(network.maps, name=body), part.images, batch_size=self._predict_batch_size, device=device
                )
                n, n_channels, *size = (*features.shape, 1, 1)[:4]
                shape = ImageShape(int(size[0]), int(size[1]), int(n_channels), "chw")
                kept[id(part.images)] = ImageSource(features.reshape(n, n_channels, *size), shape)
            part.images = kept[id(part.images)]
        network.starts_behind = body

    def _carry_over(self, net: Any) -> None:
        """Give a net the epochs and, where they are still in memory, the optimiser's moments of the last fit."""
        net.history.extend({**record, "batches": []} for record in self.history_)
        earlier = getattr(self, "net_", None)
        if earlier is None or earlier.optimizer != net.optimizer:
            return
        # By name: other blocks may be trained now, or in other groups. An optimiser numbers its parameters.
        then, now = _optimized(earlier), _optimized(net)
        if set(then) != set(now):
            return
        groups = net.optimizer_.state_dict()["param_groups"]
        moments = _detached_copy(earlier.optimizer_.state_dict()["state"])
        state = {now.index(name): moments[i] for i, name in enumerate(then) if i in moments}
        net.optimizer_.load_state_dict({"state": state, "param_groups": groups})

    def _make_batches(
        self, sample: Sample, held_out: Sample | None, device: torch.device, batch_size: int
    ) -> tuple[Batches, Batches | None]:
        """Batches for training and for validation."""
        moved: dict[int, torch.Tensor] = {}  # both parts may be cut from one array
        sample.images = sample.images.on(device, moved)
        training = self._batches(sample, device, batch_size)
        if held_out is None:
            return training, None
        held_out.images = held_out.images.on(device, moved)
        return training, self._batches(held_out, device, self._predict_batch_size)

    def _batches(self, sample: Sample, device: torch.device, batch_size: int) -> Batches:
        weights = sample.unit_weights()
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        targets = torch.from_numpy(sample.targets)
        return Batches(
            sample.images,
            targets.to(dtype) if targets.is_floating_point() else targets,
            None if weights is None else torch.from_numpy(weights).to(dtype),
            batch_size=batch_size,
            device=device,
            rows=sample.rows,
        )

    def _records(self, net: Any, best: BestEpoch) -> dict[str, Any]:
        """The history as plain values, and the curves that scikit-learn's users look for."""
        history = [
            {name: _plain_value(value) for name, value in record.items() if name != "batches"} for record in net.history
        ]
        validated = any("valid_loss" in record for record in history)
        return {
            "history_": history,
            "n_iter_": len(history),
            "loss_curve_": [record["train_loss"] for record in history],
            "validation_loss_curve_": [record.get("valid_loss") for record in history] if validated else None,
            "validation_scores_": [record.get(self._score_name) for record in history] if validated else None,
            "best_epoch_": best.epoch,
        }

    # What a fitted estimator does.

    def _outputs(self, X: Any) -> NDArray[Any]:
        """What the network gives for images, ``(n, n_outputs)``."""
        check_is_fitted(self, "module_")
        if self.module_.training:  # someone trained it by other ways, such as net_
            self.module_.eval()
        images = read_images(self, X, reset=False)
        seen = Moments("all")
        outputs = predict_outputs(
            self.module_,
            images,
            batch_size=self._predict_batch_size,
            device=torch.device(self.device_),
            look=seen.see,
        )
        check_range(*seen.range, self.precision_)
        warn_of_another_range(seen.range, self._pixel_range, fractions=images.dtype != np.uint8, depth=3)
        return outputs

    def plan(
        self, X: Any = None, y: ArrayLike | None = None, *, image_shape: Any = None, n_outputs: int | None = None
    ) -> Plan:
        """Lay the network out, without training it.

        Parameters
        ----------
        X : array-like of images or None, default=None
            Images, of which only the shape matters.
        y : array-like of shape (n,) or (n, n_outputs), or None, default=None
            Targets, of which only the number of outputs matters.
        image_shape : tuple of int or None, default=None
            ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)``, in place of `X`.
        n_outputs : int or None, default=None
            Outputs of the network, in place of `y`.

        Returns
        -------
        Plan
            One row a layer. ``print`` shows it as a table, a notebook as HTML.

        Raises
        ------
        ValueError
            Where the network is impossible for these images, or shape or outputs are missing.

        Examples
        --------
        >>> from sklearn_cnn import CNNClassifier
        >>> plan = CNNClassifier(filters=(8, 16)).plan(image_shape=(28, 28), n_outputs=10)
        >>> plan.layers[1].name, plan.layers[1].output_shape
        ('block1_conv', (8, 28, 28))
        >>> plan.n_parameters
        103042
        """
        self._validate_params()
        fitted = hasattr(self, "module_")
        image_shape = self.image_shape if image_shape is None else image_shape
        if X is not None:
            # A blank estimator takes the attributes that reading sets.
            shape = read_images(
                type(self)(), X, reset=True, image_shape=image_shape, channels=self.channels
            ).image_shape
        elif image_shape is not None:
            shape = parse_image_shape(image_shape, self.channels)
        elif fitted:
            shape = self.image_shape_
        else:
            raise ValueError("plan needs the shape of an image: pass X, or image_shape=(h, w), (h, w, c) or (c, h, w).")
        if n_outputs is None and y is not None:
            n_outputs = self._count_outputs(y)
        if n_outputs is None and fitted:
            n_outputs = self._n_outputs()
        if n_outputs is None:
            raise ValueError("plan needs the number of outputs: pass y, or n_outputs.")
        if not isinstance(n_outputs, Integral) or isinstance(n_outputs, bool) or n_outputs < 1:
            raise ValueError(f"n_outputs is a positive integer; got {n_outputs!r}.")
        return self._plan_for(shape, int(n_outputs))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "net_"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        return tags


def _batch_size(batch_size: Any, n: int) -> int:
    """``"auto"`` gives small sets enough steps and large ones full batches; measured, see the page on performance."""
    if batch_size != "auto":
        return int(batch_size)
    return int(np.clip(2 ** int(np.log2(max(n, 1) / 40)) if n >= 40 else 1, 16, 128))


def _check_batches(plan: Plan, n: int, batch_size: int) -> None:
    smallest = min(stop - start for start, stop in batch_bounds(n, batch_size))
    if smallest > 1:
        return
    for layer in plan.layers:
        if layer.needs_two and not layer.frozen:
            cause = "batch_size=1" if n > 1 else "a single image"
            named = plan.note or layer.kind == "module"
            otherwise = "" if named else ", normalization=None, or fewer blocks"
            raise ValueError(
                f"{cause} leaves one value for the batch statistics of {layer.name}, whose maps are 1×1; use "
                f"batch_size >= 2 and at least 2 images{otherwise}."
            )


def _draw_anew(training: Batches, network: nn.Module, seed: int, epoch: int) -> None:
    """Begin the random streams of an epoch. They follow from its number alone, so that a fit can go on at any."""
    training.shuffle = generator(seed, Stream.SHUFFLE, epoch)
    training.draws = [
        generator(seed if step.seed_of_fit else step.seed, Stream.AUGMENT, number, epoch, device=training.device)
        for number, step in enumerate(training.images.random_steps)
    ]
    reseed_dropout(network, generator(seed, Stream.DROPOUT, epoch))


def _optimized(net: Any) -> list[str]:
    """Names of the parameters of an optimiser, in its order."""
    names = {id(parameter): name for name, parameter in net.module_.named_parameters()}
    return [names[id(p)] for group in net.optimizer_.param_groups for p in group["params"]]


def _detached_copy(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _detached_copy(value) for key, value in state.items()}
    return state


def _plain_value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
