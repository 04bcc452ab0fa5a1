"""ImageNormalizer."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_cnn.images._moments import Moments, scale_of, vanishes
from sklearn_cnn.images._reading import as_array, read_images
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._output import hand_on


@dataclass(frozen=True, eq=False)
class Rescaling:
    """A step that subtracts an offset and divides by a scale.

    Attributes
    ----------
    offset, scale : ndarray of shape (c or 1, h or 1, w or 1)
        What was learnt, in float64.
    float64 : bool
        Whether the result is float64 rather than float32.
    inverse : bool
        Whether to multiply by the scale and add the offset.
    """

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    float64: bool
    inverse: bool = False

    random: ClassVar[bool] = False

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Rescale a batch."""
        # float32 would lose small differences between large values; those of uint8 it has exactly.
        x = images.to(torch.float32) if images.dtype == torch.uint8 and not self.float64 else _precise(images)
        offset, scale = (torch.from_numpy(value).to(x) for value in (self.offset, self.scale))
        x = torch.addcmul(offset, x, scale) if self.inverse else (x - offset) / scale
        return x.to(_torch_dtype(self.float64))

    def dtype(self, dtype: Any) -> Any:
        """float32, or float64 where that is wanted."""
        return np.dtype(np.float64 if self.float64 else np.float32)


@dataclass(frozen=True)
class OwnRescaling:
    """A step that rescales each image by statistics of its own.

    Attributes
    ----------
    method : {"standardize", "minmax"}
        Which statistics.
    float64 : bool
        Whether the result is float64 rather than float32.
    """

    method: str
    float64: bool

    random: ClassVar[bool] = False

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Rescale a batch."""
        dims = (1, 2, 3)
        x = _precise(images)
        low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
        spread = high - low
        x = (x - low) / torch.where(vanishes(spread, torch.maximum(low.abs(), high.abs())), 1.0, spread)
        if self.method == "standardize":  # of values between 0 and 1, whose squares neither overflow nor vanish
            varies = (x.amax(dims, keepdim=True) > 0).to(x)
            x = x - x.mean(dims, keepdim=True)
            x = varies * x / x.square().mean(dims, keepdim=True).sqrt().clamp_(min=1e-12)
        return x.to(_torch_dtype(self.float64))

    def dtype(self, dtype: Any) -> Any:
        """float32, or float64 where that is wanted."""
        return np.dtype(np.float64 if self.float64 else np.float32)


def _precise(images: Tensor) -> Tensor:
    return images.to(torch.float32 if images.device.type == "mps" else torch.float64)  # mps has no float64


def _torch_dtype(float64: bool) -> torch.dtype:
    return torch.float64 if float64 else torch.float32


def _learns(normalizer: "ImageNormalizer") -> bool:
    if normalizer.per == "image":
        raise AttributeError('per="image" keeps no statistics of the images, so there is no way back from them.')
    return True


class ImageNormalizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Brings the pixels of images to one scale.

    Statistics are taken per channel, per pixel, per image or over all values, and images keep their
    layout: grey or colour, channels first or last, flattened or not. Constant images, channels and pixels
    give zeros.

    A ``CNNClassifier`` standardises channels by itself. What a normaliser adds before it is
    ``per="image"``, which takes out differences of exposure between images, ``per="pixel"``, and control
    of the scale in other pipelines. ``CNNClassifier(standardize=True)`` cancels ``per="channel"`` and
    ``per="all"`` and most of the difference between the methods: set it to False when you search over
    them.

    Read more in the user guide.

    Parameters
    ----------
    method : {"standardize", "minmax"}, default="standardize"
        ``"standardize"`` brings values to mean 0 and standard deviation 1, ``"minmax"`` to the range
        from 0 to 1.
    per : {"channel", "pixel", "image", "all"}, default="channel"
        What has statistics of its own: a channel over all images, a value of the image (each pixel and
        channel) over all images, each image over all its values, or nothing, so that there is one pair of
        numbers. With ``"image"`` nothing is learnt.
    image_shape : tuple of int or None, default=None
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)`` in pixels, for X of flattened rows, as of
        ``CNNClassifier``.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of X stand, as of ``CNNClassifier``.

    Attributes
    ----------
    offset_ : ndarray of shape (n_channels,), (...) or () or None
        What is subtracted: the mean or the least value of each channel, of each value of an image as X
        stores it, or of all. None for ``per="image"``.
    scale_ : ndarray of shape (n_channels,), (...) or () or None
        What the rest is divided by: the standard deviation or the range, and 1 where that is zero. None
        for ``per="image"``.
    n_samples_seen_ : int
        Images in `fit` or in all calls of `partial_fit`.
    image_shape_ : ImageShape
        ``height``, ``width`` and ``channels`` of an image, and how X stores it.
    n_features_in_ : int
        Numbers in one image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X was a frame with string names.

    See Also
    --------
    ImageAugmenter : Changes training images at random; it goes before a normaliser.
    sklearn.preprocessing.StandardScaler : The same per column of 2-D data.

    Notes
    -----
    Results are float32, or float64 where X is; integers of 32 and 64 bits that come through an
    ``ImageAugmenter`` are float64 by then. Standard deviations divide by n, as in
    ``StandardScaler``. Streamed statistics are merged as in [1]_ and equal those of all images at once to
    rounding. An ``ImageSource`` stays one: it is fitted on its undrawn images and rescaled when it is used.

    References
    ----------
    .. [1] Chan, Golub and LeVeque, "Algorithms for computing the sample variance: analysis and
       recommendations", The American Statistician 37, 1983.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from sklearn_cnn import ImageNormalizer
    >>> X = load_sample_images().images  # two colour photographs
    >>> normalizer = ImageNormalizer().fit(X)
    >>> normalizer.offset_.round()
    array([100., 110.,  99.])
    >>> Xt = normalizer.transform(X)
    >>> Xt.shape, Xt.dtype
    ((2, 427, 640, 3), dtype('float32'))
    """

    offset_: NDArray[np.float64] | None
    scale_: NDArray[np.float64] | None
    n_samples_seen_: int
    _moments: Moments | None

    _parameter_constraints: dict[str, Any] = {
        "method": [StrOptions({"standardize", "minmax"})],
        "per": [StrOptions({"channel", "pixel", "image", "all"})],
        "image_shape": [tuple, list, np.ndarray, None],
        "channels": [StrOptions({"auto", "first", "last"})],
    }

    def __init__(
        self,
        method: str = "standardize",
        *,
        per: str = "channel",
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
    ) -> None:
        self.method = method
        self.per = per
        self.image_shape = image_shape
        self.channels = channels

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the statistics of images.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c), (n, c, h, w) or (n, n_features)
            Images, in any form that ``CNNClassifier`` reads.
        y : None
            Ignored.

        Returns
        -------
        ImageNormalizer
            The fitted transformer.

        Raises
        ------
        ValueError, TypeError
            Where a parameter or the images cannot be used.
        """
        return self._learn(X, reset=True)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn the statistics of further images, to the same result as of all of them at once.

        Parameters
        ----------
        X : array-like of images
            As for `fit`; of the shape of the first call.
        y : None
            Ignored.

        Returns
        -------
        ImageNormalizer
            The fitted transformer.

        Raises
        ------
        ValueError, TypeError
            As for `fit`; where `per` is not what it was at the first call.
        """
        return self._learn(X, reset=not hasattr(self, "n_samples_seen_"))

    def transform(self, X: Any) -> Any:
        """Rescale images.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of the shape of X, or ImageSource
            Rescaled images, float32, or float64 where X is. Those from an ``ImageAugmenter`` or a lazy ``ImageReader``
            are rescaled when they are used.

        Raises
        ------
        ValueError, TypeError
            Where the images cannot be read, or not as at `fit`.
        """
        check_is_fitted(self)
        self._check_per("this normalizer was fitted")
        source = self._read(X, reset=False)
        step = self._step(float64=_is_float64(X, source))
        return hand_on(self, source.then(step), lazy=isinstance(X, ImageSource))

    @available_if(_learns)
    def inverse_transform(self, X: Any) -> Any:
        """Undo `transform`. Not there for ``per="image"``, which keeps no statistics.

        Parameters
        ----------
        X : array-like of images
            As from `transform`.

        Returns
        -------
        ndarray of the shape of X
            Images on the scale that they had, float32 or float64.

        Raises
        ------
        ValueError, TypeError
            Where the images cannot be read, or not as at `fit`.
        """
        check_is_fitted(self)
        self._check_per("this normalizer was fitted")
        source = self._read(X, reset=False)
        offset, scale = self._broadcast()
        step = Rescaling(offset, scale, _is_float64(X, source), inverse=True)
        return source.then(step).images() if source.plain else source.then(step)

    def _read(self, X: Any, *, reset: bool) -> ImageSource:
        return read_images(self, X, reset=reset, image_shape=self.image_shape, channels=self.channels)

    def _learn(self, X: Any, *, reset: bool) -> Self:
        source = self._read(X, reset=reset)
        if not reset:
            self._check_per("partial_fit began")
        earlier = None if reset else self._moments
        if self.per == "image":
            self.offset_ = self.scale_ = self._moments = None
            self.n_samples_seen_ = len(source) + (0 if reset else self.n_samples_seen_)
            return self
        moments = Moments(self.per) if earlier is None else deepcopy(earlier)
        for _, pixels in source.batches():
            moments.update(pixels)
        if self.method == "standardize":
            offset, scale = moments.center, moments.std
        else:
            offset = np.asarray(moments.low, dtype=np.float64)
            with np.errstate(over="ignore"):  # refused below
                scale = scale_of(moments.high - offset, offset)
        if not np.isfinite(offset).all() or not np.isfinite(scale).all():
            low, high = moments.range
            raise ValueError(
                f"X contains values too large: they go from {low:.3g} to {high:.3g}; scale them down first."
            )
        self._moments = moments
        self.n_samples_seen_ = moments.n_images
        self.offset_, self.scale_ = self._compact(offset), self._compact(scale)
        return self

    def _check_per(self, what: str) -> None:
        fitted = "image" if self._moments is None else self._moments.per
        if self.per != fitted:
            raise ValueError(f"per={self.per!r}, but {what} with per={fitted!r}; use fit to begin anew.")

    def _step(self, *, float64: bool) -> Rescaling | OwnRescaling:
        """What `transform` does to a batch; an export asks for it too."""
        if self.per == "image":
            return OwnRescaling(self.method, float64)
        offset, scale = self._broadcast()
        return Rescaling(offset, scale, float64)

    def _compact(self, statistic: NDArray[np.float64]) -> NDArray[np.float64]:
        """A statistic as users see it, from ``(c or 1, h or 1, w or 1)``."""
        if self.per == "pixel":
            return self.image_shape_.from_channels_first(statistic[None])[0]
        return statistic.reshape(() if self.per == "all" else -1)

    def _broadcast(self) -> list[NDArray[np.float64]]:
        """Offset and scale as they are applied, ``(c or 1, h or 1, w or 1)``."""
        learnt = [np.asarray(self.offset_), np.asarray(self.scale_)]
        if self.per == "pixel":
            return [self.image_shape_.to_channels_first(value[None])[0] for value in learnt]
        return [value.reshape(-1, 1, 1) for value in learnt]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _is_float64(X: Any, source: ImageSource) -> bool:
    """Whether X held floats of 64 bits; integers of 32 and 64 bits are read as such, but were none."""
    if source.dtype != np.float64 or isinstance(X, ImageSource):
        return bool(source.dtype == np.float64)
    return np.asarray(as_array(X)).dtype.kind not in "iu"
