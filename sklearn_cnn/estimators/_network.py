"""From an estimator's parameters to a network with its first weights."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn._random import Stream, generator
from sklearn_cnn.architectures._build import ImageNetwork, Standardize, build_network, initialize
from sklearn_cnn.architectures._catalog import SMALL, Entry, entry_of, plan_named
from sklearn_cnn.architectures._conv_blocks import plan_conv_blocks
from sklearn_cnn.architectures._modules import (
    Backbone,
    catalog_weights,
    make_backbone,
    make_module,
    plan_backbone,
    plan_module,
)
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._spec import auto_filters, conv_architecture
from sklearn_cnn.architectures._weights import differences, load_weights, read_weights, refuse_faults
from sklearn_cnn.images._moments import Moments, white_of
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.training._device import available_devices

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
    """What decides a network and its first weights.

    Attributes
    ----------
    architecture, weights, standardize, dropout : object
        As in `CNNClassifier`.
    conv : mapping or None
        The parameters named in ``CONV_SETTINGS``, for a network of conv blocks.
    """

    architecture: Any
    weights: Any
    standardize: bool
    dropout: float
    conv: Mapping[str, Any] | None = None

    @property
    def _entry(self) -> Entry | None:
        """What the catalog knows of it, if that has it."""
        named = isinstance(self.architecture, str) and not _is_backbone(self.architecture)
        return entry_of(self.architecture) if named else None

    @property
    def lr_share(self) -> float:
        """What it takes of the usual learning rate."""
        if callable(self.architecture):
            return 0.1  # nothing is known of it, so rather too little
        return 1.0 if self._entry is None else self._entry.lr_share

    def plan(self, shape: ImageShape, n_outputs: int) -> Plan:
        """Lay it out for images of a shape."""
        if _is_backbone(self.architecture):
            backbone = make_backbone(self.architecture, shape.channels, seed=0)
            return plan_backbone(backbone, shape, n_outputs, standardize=self.standardize, dropout=self.dropout)
        if isinstance(self.architecture, str):
            return plan_named(
                self.architecture,
                shape.channels_first,
                n_outputs,
                dropout=self.dropout,
                standardize=self.standardize,
            )
        if self.architecture is not None:
            module = make_module(self.architecture, shape, n_outputs, seed=0)
            return plan_module(module, shape, n_outputs, standardize=self.standardize)
        assert self.conv is not None
        if not isinstance(self.conv["filters"], str):
            return self._plan_with(self.conv["filters"], shape, n_outputs)
        *deeper, shallowest = auto_filters(shape.height, shape.width)
        for filters in deeper:
            with suppress(ValueError):  # a block too many for these settings
                return self._plan_with(filters, shape, n_outputs)
        return self._plan_with(shallowest, shape, n_outputs)

    def _plan_with(self, filters: Any, shape: ImageShape, n_outputs: int) -> Plan:
        assert self.conv is not None
        settings = {**self.conv, "filters": filters, "dropout": self.dropout, "standardize": self.standardize}
        return plan_conv_blocks(conv_architecture(**settings), shape.channels_first, n_outputs)

    def network(
        self, plan: Plan, shape: ImageShape, statistics: Moments, seed: int, *, double: bool = False
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
        double : bool, default=False
            Whether it computes in float64.

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
        self._check_download(shape)
        network, backbone = blank_network(self.architecture, plan, shape, seed, double=double)
        initialize(network, plan, generator(seed, Stream.WEIGHTS))
        for module in network.modules():
            if isinstance(module, Standardize):
                module.set_statistics(*self._standard(statistics, backbone))
        if self.weights is None:
            return network, frozenset()
        weights, source = self._read_weights()
        drawn = load_weights(network, plan, weights, source)
        if isinstance(self.weights, BaseEstimator):
            refuse_faults(source, differences(plan, fitted_estimator(self.weights, "weights").plan_))
        return network, drawn

    def _check_download(self, shape: ImageShape) -> None:
        """Refuse to fetch weights that cannot fit, since small images have other first layers."""
        if not (isinstance(self.weights, str) and self.weights == "default") or self._entry is None:
            return
        if self._entry.adapts and min(shape.height, shape.width) < SMALL:
            raise ValueError(
                f"weights='default': below {SMALL} pixels a side the first layers of {self.architecture!r} keep the "
                f"resolution, and the weights are for others; these images are {shape.height}×{shape.width}. Enlarge "
                f"them, with ImageReader(size=...) for one, or use "
                f"architecture='torchvision:{self._entry.torchvision}'."
            )

    def _read_weights(self) -> tuple[Mapping[str, torch.Tensor], str]:
        """The weights, and what messages call them."""
        if isinstance(self.weights, BaseEstimator):
            weights = fitted_estimator(self.weights, "weights").module_.state_dict()
            return weights, f"weights={type(self.weights).__name__}(...)"
        if self.weights != "default":
            return read_weights(self.weights), f"weights={str(self.weights)!r}"
        if _is_backbone(self.architecture):
            return make_backbone(self.architecture, 3, seed=0, download=True).module.state_dict(), "weights='default'"
        if self._entry is not None:
            return catalog_weights(self._entry.name), "weights='default'"
        raise ValueError(
            "weights='default' are those that torchvision and timm offer for download; a network of conv blocks, or "
            "of your own, has none. Use a named architecture, a file or a fitted estimator."
        )

    def _standard(self, statistics: Moments, backbone: Backbone | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mean and deviation of the channels: those of trained weights, else those of the training images."""
        low, high = statistics.range
        trained = backbone or self._entry
        if trained is None or self.weights is None or low < 0:  # below 0: normalised before
            return statistics.center, statistics.std
        own = [np.asarray(values) * white_of(high) for values in (trained.mean, trained.std)]
        n_channels = len(statistics.center)
        if n_channels != len(trained.mean):
            own = [np.full(n_channels, values.mean()) for values in own]
        return own[0], own[1]


def blank_network(
    architecture: Any, plan: Plan, shape: ImageShape, seed: int = 0, *, double: bool = False
) -> tuple[ImageNetwork, Backbone | None]:
    """The network of a plan before it has the weights it is to have, in float32 or float64; its backbone, if any."""
    seed, backbone, module = int(generator(seed, Stream.MODULE).initial_seed()), None, None
    if _is_backbone(architecture):
        backbone = make_backbone(architecture, shape.channels, seed)
        module = backbone.module
    elif callable(architecture):
        module = make_module(architecture, shape, plan.output_shape[0], seed)
    network = build_network(plan, module)
    return (network.double() if double else network), backbone


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
    """What an estimator does with X, one after the other, with the names that pipelines give.

    Searches, pipelines and frozen estimators are opened, in whatever order they are nested, down to what they end in.

    Raises
    ------
    NotFittedError
        Where a search has no best estimator yet. All else may be unfitted.
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


class PicklesNetwork:
    """Pickles hold arrays and plain values: no module, no skorch object, no CUDA tensor."""

    module_: ImageNetwork
    plan_: Plan
    image_shape_: ImageShape
    device_: str
    _architecture: Any  # of the last fit: the parameter may change before this is pickled

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]  # scikit-learn's is a dict
        if "module_" in state:
            state["module_"] = {name: value.cpu().numpy() for name, value in self.module_.state_dict().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("module_", None)
        super().__setstate__(state)  # type: ignore[misc]  # scikit-learn's
        if weights is None:
            return
        if torch.device(self.device_).type not in available_devices():
            warnings.warn(
                f"this {type(self).__name__} was fitted on device {self.device_!r}, which is not there; it predicts on "
                f"the CPU.",
                UserWarning,
                stacklevel=2,
            )
            self.device_ = "cpu"
        double = any(value.dtype == np.float64 for value in weights.values())
        with torch.inference_mode(False):  # the caller's, whose tensors could never be trained
            network, _ = blank_network(self._architecture, self.plan_, self.image_shape_, double=double)
            network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        self.module_ = network.to(self.device_).eval()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")


def _is_backbone(architecture: Any) -> bool:
    return isinstance(architecture, str) and architecture.startswith(("torchvision:", "timm:"))


_Method = TypeVar("_Method", bound=Callable[..., Any])


def unchanged_on_failure(method: _Method) -> _Method:
    """Undo every attribute that a method has set where it raises, also for Ctrl-C."""

    @wraps(method)
    def undoing(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            # One step and no call before it, such as that of __exit__: a second Ctrl-C finds no place between.
            self.__dict__ = before
            raise

    return cast(_Method, undoing)
