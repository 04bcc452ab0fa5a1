"""CNNFeatureExtractor."""

import os
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.architectures._ready_made import UserNet
from sklearn_cnn.estimators._embedding import embedding_of
from sklearn_cnn.estimators._fitted import take_over
from sklearn_cnn.estimators._html import ShowsPlan
from sklearn_cnn.estimators._kept import KeptFeatures, network_key
from sklearn_cnn.estimators._network import NetworkRecipe
from sklearn_cnn.estimators._pickling import PicklesNetwork
from sklearn_cnn.estimators._sample import check_range, warn_of_another_range
from sklearn_cnn.estimators._unwrapping import fitted_estimator
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._reading import read_again, read_images, remembered
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.training._device import resolve_device, resolve_precision
from sklearn_cnn.training._inference import predict_outputs


class CNNFeatureExtractor(ShowsPlan, PicklesNetwork, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn images into the features that a trained network sees in them.

    What comes out is a table of numbers, which every estimator of scikit-learn takes:
    ``make_pipeline(CNNFeatureExtractor(...), LogisticRegression())`` needs few images.

    Read more in the user guide.

    Parameters
    ----------
    architecture : str or estimator, default="resnet18"
        A named network, see `list_architectures`, ``"torchvision:NAME"``, ``"timm:NAME"``, ``"timm:NAME.TAG"`` or
        ``"timm:hf-hub:OWNER/NAME"``; or a fitted estimator of this package, whose weights are then used (for
        searches and ``clone`` inside a `sklearn.frozen.FrozenEstimator`).
    weights : "default", "random", str, path-like or estimator, default="default"
        ``"default"`` downloads what torchvision or timm offer; a file (``.safetensors``, ``.pth``) or a fitted
        estimator brings its own. For a file of weights from timm, name their tag in `architecture`. Features of
        ``"random"`` weights have to be asked for. Unused where `architecture` is an estimator.
    layer : str, default="embedding"
        Name of a row of the plan, whose values are flattened. ``"embedding"`` is what the head reads, each
        map averaged to one number.
    image_shape : tuple of int or None, default=None
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)`` in pixels, for X of flattened rows. By default such rows
        are grey squares.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of X stand. ``"auto"`` recognises 1, 3 and 4 channels.
    random_state : int, RandomState instance or None, default=None
        Seed of random weights.
    device : str or torch.device, default="auto"
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` takes a GPU where there is one.
    memory : str, path-like or None, default=None
        Folder in which features are kept. An image that went through the same network before, in this or another fit,
        process or session, does not go through it again. It may be emptied or deleted at any time. Of images that an
        augmenter changes nothing is kept.

    Attributes
    ----------
    plan_ : Plan
        The network, layer by layer.
    module_ : torch.nn.Module
        The network, in evaluation mode.
    layer_ : str
        Name of the row whose values come out.
    pooled_ : bool
        Whether each map of that row is averaged to one number.
    pixel_range_ : (float, float)
        Smallest and largest pixel of the images that the network was trained on, or seen in `fit`: 0 and 255 for
        bytes, of which not all are looked at.
    image_shape_ : ImageShape
        Size of an image, and how X stores it.
    n_features_in_ : int
        Numbers in one image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X was a frame with string names.
    device_ : str
        Where the network is.

    See Also
    --------
    CNNClassifier : With ``trainable_blocks=0`` it trains a head on such features.

    Notes
    -----
    Pixels are standardised by the mean and deviation that the weights were trained with; for random weights by
    those of the images seen in `fit`. White is 1 where no pixel seen in `fit` is above 1. Otherwise it is the largest
    integer of as many bits as the largest pixel has, at least 8: 255, or 4095 for images of 12 bits.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_cnn import CNNClassifier, CNNFeatureExtractor
    >>> X, y = load_digits().images, load_digits().target
    >>> few = CNNClassifier(random_state=0).fit(X[y < 5], y[y < 5])  # knows the digits 0 to 4
    >>> pipe = make_pipeline(CNNFeatureExtractor(few), LogisticRegression(max_iter=1000))
    >>> new_X, new_y = X[y >= 5], y[y >= 5]
    >>> pipe.fit(new_X[:100], new_y[:100]).score(new_X[100:], new_y[100:]) > 0.8
    True
    """

    _parameter_constraints: dict[str, Any] = {
        "architecture": [str, BaseEstimator],
        "weights": [str, os.PathLike, BaseEstimator],
        "layer": [str],
        "image_shape": ["array-like", None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "memory": [str, os.PathLike, None],
    }

    plan_: Plan
    module_: ImageNetwork
    image_shape_: ImageShape

    def __init__(
        self,
        architecture: Any = "resnet18",
        *,
        weights: Any = "default",
        layer: str = "embedding",
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
        random_state: Any = None,
        device: Any = "auto",
        memory: Any = None,
    ) -> None:
        self.architecture = architecture
        self.weights = weights
        self.layer = layer
        self.image_shape = image_shape
        self.channels = channels
        self.random_state = random_state
        self.device = device
        self.memory = memory

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Make the network for images of this shape. Nothing is trained.

        Parameters
        ----------
        X : array-like of images
            As for `CNNClassifier.fit`.
        y : object, default=None
            Ignored.

        Returns
        -------
        CNNFeatureExtractor
            The fitted transformer.

        Raises
        ------
        ValueError, TypeError
            Where a parameter or the images cannot be used, or weights do not fit.
        OSError, ImportError
            Where weights, or the library that makes the network, cannot be had.
        """
        images = read_images(X, image_shape=self.image_shape, channels=self.channels, name=type(self).__name__)
        reading = remembered(X, images)
        device = resolve_device(self.device)
        statistics = self._survey(images)
        if isinstance(self.architecture, str):
            trained, network, plan, drawn = self._make(self.architecture, images.image_shape, statistics)
        else:
            trained = fitted_estimator(self.architecture, "architecture")
            if trained.image_shape_.channels_first != images.image_shape.channels_first:
                raise ValueError(
                    f"the images are {images.image_shape}, but the estimator of architecture= was fitted on "
                    f"{trained.image_shape_}."
                )
            network, plan, drawn = deepcopy(trained.module_), trained.plan_, frozenset[str]()
        row = _row(plan, self.layer)
        _refuse_drawn(plan, row, drawn)
        shape = row.output_shape
        pooled = self.layer == "embedding" and len(shape) == 3
        fitted = {
            **reading,
            "pixel_range_": statistics.range if trained is None else trained.pixel_range_,
            "layer_": row.name,
            "pooled_": pooled,
            "plan_": plan,
            "module_": network.to(device).eval(),
            "device_": str(device),
            "_n_features_out": int(shape[0] if pooled else np.prod(shape)),
        }
        take_over(self, fitted)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute features.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n, n_features)
            The features, in float32.

        Raises
        ------
        ValueError, TypeError
            Where the images are not like those of `fit`.
        """
        check_is_fitted(self, "module_")
        images = read_again(self, X)
        seen = Moments("all")
        if self.memory is None or images.random_steps:
            features = self._prepared(images, seen)[0](images)
        else:
            kept = self._kept()
            features = kept.features(images, lambda missing: self._prepared(missing, seen))
            if kept.problem:
                warnings.warn(f"memory={str(self.memory)!r}: {kept.problem}.", UserWarning, stacklevel=3)
        if seen.n_images:
            warn_of_another_range(seen.range, self.pixel_range_, fractions=images.dtype != np.uint8, depth=3)
        return features

    def _survey(self, images: ImageSource) -> Moments:
        """Statistics of the images, as far as the network needs them: trained weights bring their own."""
        statistics = Moments("channel")
        drawn = isinstance(self.architecture, str) and isinstance(self.weights, str) and self.weights == "random"
        for _, pixels in images.batches():
            statistics.update(pixels)
            if not drawn and images.dtype == np.uint8 and statistics.range[1] > 1:
                # White is 255. The other images, which may be files, need not be read for that.
                statistics.low, statistics.high = np.minimum(statistics.low, 0), np.maximum(statistics.high, 255)
                break
        check_range(*statistics.range, "float32")
        return statistics

    def _prepared(self, images: ImageSource, seen: Moments) -> tuple[Callable[[ImageSource], NDArray[np.float32]], int]:
        """A function from some of these images to features, which looks at their pixels too, and its batch size."""
        device = torch.device(self.device_)
        maps, batch_size = embedding_of(self.module_, self.plan_, self.layer_, images, device, self._precision(device))

        def compute(part: ImageSource) -> NDArray[np.float32]:
            features = predict_outputs(
                lambda batch: features_of(maps(batch), pooled=self.pooled_),
                part,
                batch_size=batch_size,
                device=device,
                look=seen.see,
            )
            check_range(*seen.range, "float32")
            return features.astype(np.float32, copy=False)

        return compute, batch_size

    def _precision(self, device: torch.device) -> str:
        """How features are computed: those of a fitted estimator as it predicts."""
        return resolve_precision("auto" if isinstance(self.architecture, str) else "float32", device, self.plan_.n_macs)

    def _kept(self) -> KeptFeatures:
        """Where the features of this network are kept."""
        if isinstance(self.plan_.architecture, UserNet):
            raise ValueError(
                "memory= keeps features of named networks and of conv blocks; a network of your own may compute "
                "something else each time its code changes. Use memory=None."
            )
        device = torch.device(self.device_)
        key = network_key(
            self.module_,
            self.plan_,
            self.layer_,
            pooled=self.pooled_,
            precision=self._precision(device),
            device=device.type,
        )
        return KeptFeatures(self.memory, key, self._n_features_out)

    def _make(
        self, architecture: str, shape: ImageShape, statistics: Moments
    ) -> tuple[Any, ImageNetwork, Plan, frozenset[str]]:
        """The network of a name: the estimator that its weights are from, if any, itself, its plan, what was drawn."""
        weights = None if isinstance(self.weights, str) and self.weights == "random" else self.weights
        recipe = NetworkRecipe(architecture, weights, standardize=True, dropout=0.0)
        # The head is not used, so one output suffices.
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        plan, module = recipe.lay_out(shape, 1, seed)
        network, drawn = recipe.network(plan, shape, statistics, seed, module=module)
        trained = fitted_estimator(weights, "weights") if isinstance(weights, BaseEstimator) else None
        return trained, network, plan, drawn

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def features_of(maps: torch.Tensor, *, pooled: bool) -> torch.Tensor:
    """Turn what a layer gives into features.

    Parameters
    ----------
    maps : Tensor of shape (n, c, h, w) or (n, k)
        Outputs of the layer.
    pooled : bool
        Whether each map is averaged to one number, or its values are laid side by side.

    Returns
    -------
    Tensor of shape (n, n_features)
        The features.
    """
    return maps.mean(dim=(2, 3)) if pooled else maps.flatten(1)


def _row(plan: Plan, layer: str) -> Layer:
    name = plan.body if layer == "embedding" else layer
    rows = {row.name: row for row in plan.layers}
    if name not in rows:
        raise ValueError(
            f"layer={layer!r} is no row of the plan; these are: 'embedding', {', '.join(map(repr, rows))}."
        )
    return rows[name]


def _refuse_drawn(plan: Plan, row: Layer, drawn: frozenset[str]) -> None:
    """Refuse features that come from layers of the head for which no weights were loaded."""
    names = [layer.name for layer in plan.layers]
    before = plan.layers[: names.index(row.name) + 1]
    missing = [layer.name for layer in before if layer.name in drawn and layer.n_parameters]
    if missing:
        why = "an output layer is always drawn anew" if missing[0] == "output" else "they have none that fit it"
        raise ValueError(
            f"layer={row.name!r} is computed with {missing[0]}, which weights= do not fill: {why}. Take a row before "
            f"that one, or weights='random'."
        )
