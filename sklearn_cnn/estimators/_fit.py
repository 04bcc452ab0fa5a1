"""The second and third step of a fit: a network is designed for what was read, and trained.

Everything here is a function of values. Nothing writes to an estimator, which takes the result over at once.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

from sklearn_cnn._random import Stream, generator
from sklearn_cnn.architectures._build import ImageNetwork, reseed_dropout
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._auto import chosen_batch_size
from sklearn_cnn.estimators._callbacks import FitTasks
from sklearn_cnn.estimators._embedding import with_features
from sklearn_cnn.estimators._fitted import Fitted, plain_history
from sklearn_cnn.estimators._network import blank_network, recipe_of
from sklearn_cnn.estimators._read import Given, Parameters, Request
from sklearn_cnn.estimators._sample import Sample, check_range, survey, warn_of_another_range
from sklearn_cnn.estimators._unwrapping import fitted_estimator
from sklearn_cnn.images._moments import Moments, PatchMoments
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._batches import Batches, batch_bounds
from sklearn_cnn.training._best_epoch import BestEpoch
from sklearn_cnn.training._device import resolve_precision
from sklearn_cnn.training._inference import prediction_batch_size
from sklearn_cnn.training._loop import Course, Watcher, train
from sklearn_cnn.training._memory import names_batch_size
from sklearn_cnn.training._net import make_net
from sklearn_cnn.training._optimizers import OptimizerFactory, auto_lr
from sklearn_cnn.training._threads import threads_for


@dataclass(frozen=True)
class Design:
    """What follows from the data for the network and its training.

    Attributes
    ----------
    plan : Plan
        The network, layer by layer.
    statistics : Moments
        Range of the training images and, where the network is new, their mean and deviation.
    patches : PatchMoments or None
        Covariance of windows of pixels, where the network whitens them.
    pixel_range : (float, float)
        Smallest and largest pixel, of this fit and of the one it goes on with.
    precision : {"float32", "bfloat16", "float64"}
        How the fit computes.
    batch_size : int
        Images a step.
    module : torch.nn.Module or None
        The ready-made module that the plan was laid out with; the fit trains it.
    """

    plan: Plan
    statistics: Moments
    patches: PatchMoments | None
    pixel_range: tuple[float, float]
    precision: str
    batch_size: int
    module: nn.Module | None


def design(parameters: Parameters, given: Given, earlier: Fitted | None) -> Design:
    """Choose what follows from the data, and refuse what cannot be trained, before anything is.

    Parameters
    ----------
    parameters : Parameters
        Of the estimator.
    given : Given
        What was read.
    earlier : Fitted or None
        The fit that is gone on with.

    Returns
    -------
    Design
        The choices.

    Raises
    ------
    ValueError
        Where the network, the pixels or the batches are impossible.

    Warns
    -----
    UserWarning
        Where pixels look as if they were on another scale than those that the weights were trained on.
    """
    plan, module = recipe_of(parameters).lay_out(given.image_shape, given.task.n_outputs, given.seed)
    plan = plan.with_trainable(parameters.trainable_blocks)
    if earlier is not None and plan.with_trainable("all") != earlier.plan.with_trainable("all"):
        raise ValueError(
            "the network cannot change while training continues, but its parameters give another one now than at the "
            f"first fit; use warm_start=False, or {parameters._class.__name__}().fit anew."
        )
    precision = resolve_precision(parameters.precision, given.device, plan.n_macs)
    patches = plan.whitened and PatchMoments(plan.whitened, given.sample.n_weighted)
    statistics = survey(
        given.sample,
        statistics=parameters.standardize and earlier is None,
        patches=patches or None,
        verbose=parameters.verbose,
    )
    check_range(*statistics.range, precision)
    if given.held_out is not None:
        check_range(*survey(given.held_out, statistics=False, verbose=parameters.verbose).range, precision)
    pixel_range = _compared_range(parameters, given.sample.images, statistics.range, earlier)
    batch_size = chosen_batch_size(parameters.batch_size, len(given.sample.rows))
    _check_batches(plan, len(given.sample.rows), batch_size)
    return Design(plan, statistics, patches or None, pixel_range, precision, batch_size, module)


def _compared_range(
    parameters: Parameters, images: ImageSource, now: tuple[float, float], earlier: Fitted | None
) -> tuple[float, float]:
    """The range of all pixels that the network has seen; one warning where these are on another scale."""
    if earlier is not None:
        then = earlier.pixel_range
    elif isinstance(parameters.weights, BaseEstimator):
        then = fitted_estimator(parameters.weights, "weights").pixel_range_
    else:
        return now
    warn_of_another_range(now, then, fractions=images.dtype != np.uint8, depth=7)
    return now if earlier is None else (min(now[0], then[0]), max(now[1], then[1]))


def plan_for(parameters: Parameters, shape: ImageShape, n_outputs: int) -> Plan:
    """Lay out the network that parameters describe; a ValueError where it is impossible for such images."""
    return recipe_of(parameters).plan(shape, n_outputs).with_trainable(parameters.trainable_blocks)


def _check_batches(plan: Plan, n: int, batch_size: int) -> None:
    """Refuse batches of one where the statistics of a batch need two values."""
    if min(stop - start for start, stop in batch_bounds(n, batch_size)) > 1:
        return
    for layer in plan.layers:
        if layer.needs_two and not layer.frozen:
            cause = "batch_size=1" if n > 1 else "a single image"
            otherwise = "" if plan.note or layer.ready_made else ", normalization=None, or fewer blocks"
            raise ValueError(
                f"{cause} leaves one value for the batch statistics of {layer.name}, whose maps are 1×1; use "
                f"batch_size >= 2 and at least 2 images{otherwise}."
            )


def fit_network(
    parameters: Parameters, request: Request, given: Given, design: Design, earlier: Fitted | None, tasks: FitTasks
) -> Fitted:
    """Train a network, or train one on.

    Parameters
    ----------
    parameters : Parameters
        Of the estimator.
    request : Request
        What kind of fit it is.
    given : Given
        What was read.
    design : Design
        What follows from it.
    earlier : Fitted or None
        The fit that is gone on with. It stays as it is: a copy of its network is trained.
    tasks : FitTasks
        Told of every epoch.

    Returns
    -------
    Fitted
        The result.

    Raises
    ------
    NonFiniteLossError
        Where a loss or a weight becomes NaN or infinite.
    MemoryError
        Where memory does not suffice for a training step.
    """
    network = _network(parameters, given, design, earlier).to(given.device)
    if given.checkpoint is None or given.checkpoint.position[0] < len(request.phases):  # else nothing is left to do
        given = with_features(parameters, given, design.plan, network, design.precision)
    net = _net(parameters, request, given, design, network)
    if earlier is not None:
        _carry_over(net, earlier)
    training, validation = _batches(parameters, given, design)
    course = Course(
        request.phases,
        given.task.score,
        given.task.score_name,
        n_iter_no_change=parameters.n_iter_no_change if request.early_stopping else None,
        tol=parameters.tol,
    )

    def begin_epoch(n_earlier: int) -> None:
        _draw_anew(training, network, given.seed, n_earlier)
        tasks.begin_epoch()

    def end_epoch(best: BestEpoch) -> bool:
        # scikit-learn's callbacks get a copy of the network, which they may keep.
        return tasks.end_epoch(lambda: _fitted(given, design, _copy_of(network), None, net.history, best).attributes())

    with (
        names_batch_size(design.batch_size),
        threads_for(design.plan.n_macs * design.batch_size),
        torch.autocast(given.device.type, enabled=False),  # the caller may have switched autocast on
    ):
        best = train(
            net,
            training,
            validation,
            course,
            watcher=Watcher(begin_epoch, end_epoch),
            verbose=parameters.verbose,
            checkpoint=given.checkpoint,
        )
    network.starts_behind = None
    return _fitted(given, design, network.eval(), net, net.history, best)


def _fitted(given: Given, design: Design, network: ImageNetwork, net: Any, history: Any, best: BestEpoch) -> Fitted:
    return Fitted(
        reading=given.reading,
        pixel_range=design.pixel_range,
        task=given.task,
        plan=design.plan,
        network=network,
        net=net,
        history=plain_history(history),
        best_epoch=best.epoch,
        batch_size=design.batch_size,
        device=str(given.device),
        precision=design.precision,
    )


def _network(parameters: Parameters, given: Given, design: Design, earlier: Fitted | None) -> ImageNetwork:
    """The network with its first weights, or a copy of the fitted one."""
    double = design.precision == "float64"
    if earlier is not None:
        network = blank_network(design.plan, given.image_shape, double=double, module=design.module)
        network.load_state_dict(earlier.network.state_dict())
    else:
        if parameters.weights is None and any(
            (row.frozen or row.frozen_parts) and row.n_parameters for row in design.plan.layers
        ):
            raise ValueError(
                f"trainable_blocks={parameters.trainable_blocks} would leave blocks as they were drawn at random; pass "
                f"weights=, or use trainable_blocks='all'."
            )
        recipe = recipe_of(parameters)
        network, _ = recipe.network(
            design.plan,
            given.image_shape,
            design.statistics,
            given.seed,
            patches=design.patches,
            double=double,
            module=design.module,
        )
    network.training_dtype = torch.bfloat16 if design.precision == "bfloat16" else None
    return network


def _copy_of(network: ImageNetwork) -> ImageNetwork:
    """A copy of a network, in evaluation mode."""
    copy = deepcopy(network)
    copy.starts_behind = None
    return copy.eval()


def _net(parameters: Parameters, request: Request, given: Given, design: Design, network: ImageNetwork) -> Any:
    """The skorch net that holds network, loss, optimiser and callbacks."""
    rate = parameters.lr
    if rate == "auto":
        rate = auto_lr(parameters.optimizer, design.plan.lr_share)
    return make_net(
        given.task.name,
        network,
        given.task.criterion(parameters),
        OptimizerFactory(parameters.optimizer, parameters.momentum, parameters.weight_decay),
        lr=float(rate),
        rates=_rates_of_parts(parameters.backbone_lr, design.plan),
        batch_size=design.batch_size,
        max_epochs=sum(phase.n_epochs for phase in request.phases),
        device=given.device,
        callbacks=parameters.skorch_callbacks,
        classes=getattr(given.task, "classes", None),
    )


def _rates_of_parts(backbone_lr: float | None, plan: Plan) -> list[tuple[str, float]]:
    """Learning rates by the beginning of a parameter's name."""
    if backbone_lr is None:
        return []
    if all(layer.block != "head" for layer in plan.layers):
        raise ValueError("backbone_lr is for all but the head, and a network of your own has no head that is known.")
    rows = [layer.name for layer in plan.layers if layer.n_parameters and layer.block != "head"]
    return [(f"layers.{row}.", float(backbone_lr)) for row in rows]


def _carry_over(net: Any, earlier: Fitted) -> None:
    """Give a net the epochs of the last fit and, where they are still in memory, its optimiser's moments."""
    net.history.extend({**record, "batches": []} for record in earlier.history)
    if earlier.net is None or earlier.net.optimizer != net.optimizer:
        return
    # Moments are matched by name: other blocks may be trained now, and an optimiser only numbers its parameters.
    then, now = _optimized(earlier.net), _optimized(net)
    if set(then) != set(now):
        return
    groups = net.optimizer_.state_dict()["param_groups"]
    moments = _detached_copy(earlier.net.optimizer_.state_dict()["state"])
    state = {now.index(name): moments[i] for i, name in enumerate(then) if i in moments}
    net.optimizer_.load_state_dict({"state": state, "param_groups": groups})


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


def _batches(parameters: Parameters, given: Given, design: Design) -> tuple[Batches, Batches | None]:
    """Batches for training and for validation, on the device."""
    moved: dict[int, torch.Tensor] = {}  # both parts may share one array
    make = partial(_batches_of, device=given.device, moved=moved, double=parameters.precision == "float64")
    training = make(given.sample, design.batch_size)
    if given.held_out is None:
        return training, None
    return training, make(given.held_out, prediction_batch_size(design.plan.largest_map))


def _batches_of(
    sample: Sample, batch_size: int, *, device: torch.device, moved: dict[int, torch.Tensor], double: bool
) -> Batches:
    weights = sample.unit_weights()
    dtype = torch.float64 if double else torch.float32
    targets = torch.from_numpy(sample.targets)
    return Batches(
        sample.images.on(device, moved),
        targets.to(dtype) if targets.is_floating_point() else targets,
        None if weights is None else torch.from_numpy(weights).to(dtype),
        batch_size=batch_size,
        device=device,
        rows=sample.rows,
    )


def _draw_anew(training: Batches, network: nn.Module, seed: int, epoch: int) -> None:
    """Begin the random streams of an epoch. They follow from its number alone, so that a fit can go on at any."""
    training.shuffle = generator(seed, Stream.SHUFFLE, epoch)
    training.draws = [
        generator(seed if step.seed_of_fit else step.seed, Stream.AUGMENT, number, epoch, device=training.device)
        for number, step in enumerate(training.images.random_steps)
    ]
    reseed_dropout(network, generator(seed, Stream.DROPOUT, epoch))
