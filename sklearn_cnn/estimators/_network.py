"""From an estimator's parameters to a network with its first weights."""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import nn

from sklearn_cnn._random import Stream, generator
from sklearn_cnn.architectures._auto import auto_filters, auto_settings
from sklearn_cnn.architectures._backbones import (
    Backbone,
    backbone_weights,
    catalog_weights,
    is_backbone,
    make_backbone,
    remake_backbone,
)
from sklearn_cnn.architectures._build import ImageNetwork, build_network, initialize
from sklearn_cnn.architectures._catalog import SMALL, CatalogNet, Entry
from sklearn_cnn.architectures._modules import describe_backbone, describe_module, make_module
from sklearn_cnn.architectures._plan import Architecture, Plan
from sklearn_cnn.architectures._ready_made import BackboneNet, UserNet
from sklearn_cnn.architectures._spec import conv_architecture
from sklearn_cnn.architectures._torch_modules import Standardize, Whiten
from sklearn_cnn.architectures._weights import differences, load_weights, read_weights, refuse_faults
from sklearn_cnn.estimators._unwrapping import fitted_estimator
from sklearn_cnn.images._moments import Moments, PatchMoments, white_of
from sklearn_cnn.images._shape import ImageShape

CONV_SETTINGS = (
    "filters",
    "kernel_size",
    "stride",
    "padding",
    "padding_mode",
    "dilation",
    "convs_per_block",
    "pooling",
    "pool_size",
    "pool_stride",
    "global_pooling",
    "activation",
    "normalization",
    "hidden_layer_sizes",
)
"""Parameters that shape a network of conv blocks and no other."""


@dataclass(frozen=True)
class NetworkRecipe:
    """The parameters that decide a network and its first weights.

    Attributes
    ----------
    architecture, weights, standardize, dropout : object
        As in `CNNClassifier`.
    conv : mapping or None
        The parameters named in ``CONV_SETTINGS``, for a network of conv blocks.
    numbers : bool
        Whether the network predicts numbers rather than labels.
    """

    architecture: Any
    weights: Any
    standardize: bool
    dropout: float | str
    conv: Mapping[str, Any] | None = None
    numbers: bool = False

    def ready_made(self, shape: ImageShape, n_outputs: int, seed: int = 0) -> Backbone | nn.Module | None:
        """Make the module of torchvision, of timm or of the user, where the network has one."""
        if is_backbone(self.architecture):
            return make_backbone(self.architecture, shape.channels, seed)
        if self.architecture is None or isinstance(self.architecture, str):
            return None
        return make_module(self.architecture, shape, n_outputs, seed)

    def resolve(self, shape: ImageShape, n_outputs: int, made: Backbone | nn.Module | None = None) -> Architecture:
        """Make every choice that is still open, for images of a shape. A ready-made module is run once.

        Parameters
        ----------
        shape : ImageShape
            Size of an image.
        n_outputs : int
            Values that the network gives for an image.
        made : Backbone, torch.nn.Module or None, default=None
            What `ready_made` gave; by default that is made here.

        Returns
        -------
        Architecture
            Its `plan` takes the same shape and number of outputs.

        Raises
        ------
        ValueError, TypeError, ImportError
            Where the network cannot be made for such images.
        """
        made = self.ready_made(shape, n_outputs) if made is None else made
        standardize = bool(self.standardize)
        if isinstance(made, Backbone):
            return describe_backbone(made, shape, dropout=self._head_dropout, standardize=standardize)
        if made is not None:
            return describe_module(made, shape, n_outputs, factory=self.architecture, standardize=standardize)
        if self.architecture is not None:
            return CatalogNet(self.architecture, self._head_dropout, standardize)
        assert self.conv is not None
        without_blocks = not _is_auto(self.conv["filters"]) and np.size(self.conv["filters"]) == 0
        side = (0, 0) if without_blocks else (shape.height, shape.width)  # dense layers, as for small images
        auto = auto_settings(*side, numbers=self.numbers)
        given = {**self.conv, "dropout": self.dropout, "standardize": self.standardize}
        whiten = auto["whiten"] if self.standardize else 0
        settings = {name: auto[name] if _is_auto(value) and name in auto else value for name, value in given.items()}
        settings["whiten"] = whiten
        filters, counts = [settings["filters"]], [settings["convs_per_block"]]
        if _is_auto(settings["filters"]):
            step = max(whiten, 1)
            filters = auto_filters(shape.height // step, shape.width // step)
        if _is_auto(self.conv["convs_per_block"]):
            counts = sorted({*counts, 1}, reverse=True)
        *larger, smallest = product(filters, counts)
        for widths, n_convs in larger:
            with suppress(ValueError):  # these settings are for fewer blocks, or shrink maps too much
                net = conv_architecture(**{**settings, "filters": widths, "convs_per_block": n_convs})
                net.plan(shape.channels_first, n_outputs)
                return net
        return conv_architecture(**{**settings, "filters": smallest[0], "convs_per_block": smallest[1]})

    @property
    def _head_dropout(self) -> float:
        """The dropout of a network that is no network of conv blocks."""
        return 0.25 if _is_auto(self.dropout) else float(self.dropout)

    def plan(self, shape: ImageShape, n_outputs: int) -> Plan:
        """Lay it out for images of a shape; see `resolve`."""
        return self.resolve(shape, n_outputs).plan(shape.channels_first, n_outputs)

    def lay_out(self, shape: ImageShape, n_outputs: int, seed: int) -> tuple[Plan, nn.Module | None]:
        """Lay it out, and keep the ready-made module that was made for that: making one takes up to seconds.

        Parameters
        ----------
        shape : ImageShape
            Size of an image.
        n_outputs : int
            Values that the network gives for an image.
        seed : int
            Seed of what is drawn.

        Returns
        -------
        plan : Plan
            The layers.
        module : torch.nn.Module or None
            For `network`.
        """
        made = self.ready_made(shape, n_outputs, module_seed(seed))
        plan = self.resolve(shape, n_outputs, made).plan(shape.channels_first, n_outputs)
        return plan, made.module if isinstance(made, Backbone) else made

    def network(
        self,
        plan: Plan,
        shape: ImageShape,
        statistics: Moments,
        seed: int,
        *,
        patches: PatchMoments | None = None,
        double: bool = False,
        module: nn.Module | None = None,
    ) -> tuple[ImageNetwork, frozenset[str]]:
        """The network of a plan, its weights drawn or loaded.

        Parameters
        ----------
        plan : Plan
            Its layers.
        shape : ImageShape
            Size of an image.
        statistics : Moments
            Range of the training images, and their statistics where the plan standardises.
        seed : int
            Seed of what is drawn.
        patches : PatchMoments or None, default=None
            Covariance of windows of pixels, where the plan whitens them.
        double : bool, default=False
            Whether it computes in float64.
        module : torch.nn.Module or None, default=None
            The ready-made module that `lay_out` gave; by default it is made anew.

        Returns
        -------
        network : ImageNetwork
            On the CPU.
        drawn : frozenset of str
            Rows that were drawn although weights were loaded, since those had none that fit.

        Raises
        ------
        ValueError, TypeError, OSError, ImportError
            Where weights cannot be had or do not fit.
        """
        if isinstance(plan.architecture, CatalogNet):
            self._check_download(plan.architecture.entry, shape)
        network = blank_network(plan, shape, seed, double=double, module=module)
        initialize(network, plan, generator(seed, Stream.WEIGHTS))
        for part in network.modules():
            if isinstance(part, Standardize):
                part.set_statistics(*self._standard(statistics, plan.architecture))
            elif isinstance(part, Whiten):
                assert patches is not None
                part.set_covariance(patches.covariance_of(statistics.std))
        if self.weights is None:
            return network, frozenset()
        weights, source = self._read_weights()
        try:
            drawn = load_weights(network, plan, weights, source)
            if isinstance(self.weights, BaseEstimator):
                refuse_faults(source, differences(plan, fitted_estimator(self.weights, "weights").plan_))
            return network, drawn
        except ValueError as error:
            raise ValueError(f"{error}{self._of_another_size(shape)}") from None

    def _of_another_size(self, shape: ImageShape) -> str:
        """What to do where weights may not fit since the network follows from the size of the images."""
        if self.architecture is not None or not isinstance(self.weights, BaseEstimator):
            return ""
        there = fitted_estimator(self.weights, "weights").image_shape_
        own, other = (f"{size.height}×{size.width}" for size in (shape, there))
        if own == other:
            return ""
        return (
            f" The default network follows from the size of the images, {own} here and {other} there: resize them, "
            f"with ImageReader(size=...) for one."
        )

    def _check_download(self, entry: Entry, shape: ImageShape) -> None:
        """Refuse to fetch weights that cannot fit, since small images have other first layers."""
        if not (isinstance(self.weights, str) and self.weights == "default"):
            return
        if entry.adapts and min(shape.height, shape.width) < SMALL:
            raise ValueError(
                f"weights='default': below {SMALL} pixels a side the first layers of {self.architecture!r} keep the "
                f"resolution, and the weights are for others; these images are {shape.height}×{shape.width}. Enlarge "
                f"them, with ImageReader(size=...) for one, or use architecture='torchvision:{entry.torchvision}'."
            )

    def _read_weights(self) -> tuple[Mapping[str, torch.Tensor], str]:
        """The weights, and what messages call them."""
        if isinstance(self.weights, BaseEstimator):
            weights = fitted_estimator(self.weights, "weights").module_.state_dict()
            return weights, f"weights={type(self.weights).__name__}(...)"
        if self.weights != "default":
            return read_weights(self.weights), f"weights={str(self.weights)!r}"
        if is_backbone(self.architecture):
            return backbone_weights(self.architecture), "weights='default'"
        if isinstance(self.architecture, str):
            return catalog_weights(self.architecture), "weights='default'"
        raise ValueError(
            "weights='default' are those that torchvision and timm offer for download; a network of conv blocks, or "
            "of your own, has none. Use a named architecture, a file or a fitted estimator."
        )

    def _standard(self, statistics: Moments, architecture: Architecture | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mean and deviation of the channels: those of trained weights, else those of the training images."""
        low, high = statistics.range
        trained = architecture.entry if isinstance(architecture, CatalogNet) else architecture
        # Pixels below 0 were normalised before they came here.
        if not isinstance(trained, BackboneNet | Entry) or self.weights is None or low < 0:
            return statistics.center, statistics.std
        own = [np.asarray(values) * white_of(high) for values in (trained.mean, trained.std)]
        n_channels = len(statistics.center)
        if n_channels != len(trained.mean):
            own = [np.full(n_channels, values.mean()) for values in own]
        return own[0], own[1]


def recipe_of(parameters: SimpleNamespace) -> NetworkRecipe:
    """The part of an estimator's parameters that decides its network.

    Raises
    ------
    ValueError
        Where parameters of conv blocks were set beside an `architecture`, which has none.
    """
    settings = {name: getattr(parameters, name) for name in CONV_SETTINGS}
    if parameters.architecture is None:
        return NetworkRecipe(
            None,
            parameters.weights,
            parameters.standardize,
            parameters.dropout,
            settings,
            parameters._class._predicts_numbers,
        )
    changed = [name for name in settings if not _is_default(name, settings[name], parameters._class)]
    if changed:
        told = ", ".join(f"{name}={settings[name]!r}" for name in changed)
        raise ValueError(
            f"{told} beside architecture={parameters.architecture!r}: parameters of conv blocks do nothing in another "
            f"network; leave them at their defaults, or use architecture=None."
        )
    return NetworkRecipe(parameters.architecture, parameters.weights, parameters.standardize, parameters.dropout)


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _is_default(name: str, value: Any, cls: type) -> bool:
    """Whether a setting is at its default: that of the estimator's class, or of ours if a subclass has another."""
    ours = next(base for base in cls.__mro__ if base.__module__.startswith("sklearn_cnn."))
    signatures = [inspect.signature(each).parameters for each in (cls, ours)]
    return any(_plain(value) == _plain(each[name].default) for each in signatures if name in each)


def _plain(value: Any) -> Any:
    """A setting in one form: a sequence of length one is its entry, and all others are tuples."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return _plain(value[0]) if len(value) == 1 else tuple(map(_plain, value))
    return value


def module_seed(seed: int) -> int:
    """The seed of what a ready-made module draws, from that of a fit."""
    return int(generator(seed, Stream.MODULE).initial_seed())


def blank_network(
    plan: Plan, shape: ImageShape, seed: int = 0, *, double: bool = False, module: nn.Module | None = None
) -> ImageNetwork:
    """Make the network of a plan, without the weights that it is to have.

    Parameters
    ----------
    plan : Plan
        Its layers, and the architecture, which says what makes a ready-made module.
    shape : ImageShape
        Size of an image, as the user's factory of a network is given it.
    seed : int, default=0
        Seed of what a ready-made module draws.
    double : bool, default=False
        Whether it computes in float64.
    module : torch.nn.Module or None, default=None
        The ready-made module, where it is there already.

    Returns
    -------
    ImageNetwork
        On the CPU, in float32 or float64.
    """
    if module is None and isinstance(plan.architecture, BackboneNet):
        name, size = plan.architecture.name, plan.architecture.size
        module = remake_backbone(name, size, shape.channels, module_seed(seed))
    elif module is None and isinstance(plan.architecture, UserNet):
        module = make_module(plan.architecture.factory, shape, plan.output_shape[0], module_seed(seed))
    network = build_network(plan, module)
    return network.double() if double else network
