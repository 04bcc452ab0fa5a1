"""ImageNormalizer."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.images._containers import as_array
from sklearn_cnn.images._moments import Moments, scale_of
from sklearn_cnn.images._reading import read_again, read_images, remember
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._output import hand_on
from sklearn_cnn.preprocessing._rescaling import OwnRescaling, Rescaling


def _learns(normalizer: "ImageNormalizer") -> bool:
    if normalizer.per == "image":
        raise AttributeError('per="image" keeps no statistics of the images, so there is no way back from them.')
    return True


class ImageNormalizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Brings the pixels of images to one scale.

    Statistics are taken per channel, per pixel, per image or over all values, and images keep their
    layout: grey or colour, channels first or last, flattened or not. Constant images, channels and pixels
    give zeros.

    A ``CNNClassifier`` standardises channels by itself. Before it, a normaliser is useful with
    ``per="image"``, which removes differences of exposure between images, and with ``per="pixel"``. With
    ``CNNClassifier(standardize=True)`` the values "channel" and "all" of `per` make no difference, and
    the two methods make little: use ``standardize=False`` to search over them.

    Read more in the user guide.

    Parameters
    ----------
    method : {"standardize", "minmax"}, default="standardize"
        ``"standardize"`` gives mean 0 and standard deviation 1, ``"minmax"`` the range from 0 to 1.
    per : {"channel", "pixel", "image", "all"}, default="channel"
        What is rescaled by its own pair of numbers. ``"channel"``: each channel, over all images.
        ``"pixel"``: each pixel of each channel, over all images. ``"image"``: each image, by its own
        pixels, so that nothing is learnt in `fit`. ``"all"``: everything together.
    image_shape : tuple of int or None, default=None
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)`` in pixels, for X of flattened rows, as of
        ``CNNClassifier``.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of X stand, as of ``CNNClassifier``.

    Attributes
    ----------
    offset_ : ndarray of shape (n_channels,), (...) or () or None
        What is subtracted: the mean or the smallest value. One for each channel, one for each value of an
        image in the layout of X, or one in total, as `per` says. None for ``per="image"``.
    scale_ : ndarray of shape (n_channels,), (...) or () or None
        The divisor: the standard deviation or the range, 1 where that is zero. None for
        ``per="image"``.
    n_samples_seen_ : int
        Number of images in `fit`, or in all calls of `partial_fit` together.
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
    Results are float32, or float64 where X is. An ``ImageAugmenter`` converts integers of 32 and 64 bits
    to float64, so these give float64 after it. Standard deviations divide by n, as in
    ``StandardScaler``. Calls of `partial_fit` are merged as in [1]_, and give the statistics of all images
    at once, to rounding. Of an ``ImageSource`` the statistics are those of its images without random
    changes; `transform` returns a source again, whose images are rescaled when they are used.

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
        source = read_images(X, image_shape=self.image_shape, channels=self.channels, name=type(self).__name__)
        learnt = _learn(source, self.method, self.per)
        remember(self, X, source)
        self.__dict__.update(learnt)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Update the statistics with more images; the result is that of one `fit` on all of them.

        Parameters
        ----------
        X : array-like of images
            As for `fit`, of the same shape as in the first call.
        y : None
            Ignored.

        Returns
        -------
        ImageNormalizer
            The fitted transformer.

        Raises
        ------
        ValueError, TypeError
            As for `fit`; where `per` has changed since the first call.
        """
        if not hasattr(self, "n_samples_seen_"):
            return self.fit(X)
        source = read_again(self, X)
        _check_per(self, "partial_fit began")
        self.__dict__.update(_learn(source, self.method, self.per, self._moments, self.n_samples_seen_))
        return self

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
        source = read_again(self, X)
        step = rescaling_of(self, float64=_is_float64(X, source))
        return hand_on(self, source.then(step), lazy=isinstance(X, ImageSource))

    @available_if(_learns)
    def inverse_transform(self, X: Any) -> Any:
        """Undo `transform`. Not available for ``per="image"``, which keeps no statistics.

        Parameters
        ----------
        X : array-like of images
            Images as `transform` returns them.

        Returns
        -------
        ndarray of the shape of X
            Images on their original scale, float32 or float64.

        Raises
        ------
        ValueError, TypeError
            Where the images cannot be read, or not as at `fit`.
        """
        check_is_fitted(self)
        source = read_again(self, X)
        _check_per(self, "this normalizer was fitted")
        step = replace(_learnt_rescaling(self, float64=_is_float64(X, source)), inverse=True)
        return source.then(step).images() if source.plain else source.then(step)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def rescaling_of(normalizer: ImageNormalizer, *, float64: bool) -> Rescaling | OwnRescaling:
    """The step that a fitted normalizer adds to a recipe.

    Parameters
    ----------
    normalizer : ImageNormalizer
        Fitted.
    float64 : bool
        Whether the result is float64 rather than float32.

    Returns
    -------
    Rescaling or OwnRescaling
        The step; `OwnRescaling` for ``per="image"``.

    Raises
    ------
    ValueError
        Where `per` has changed since the fit.
    """
    _check_per(normalizer, "this normalizer was fitted")
    if normalizer.per == "image":
        return OwnRescaling(normalizer.method, float64)
    return _learnt_rescaling(normalizer, float64=float64)


def _learnt_rescaling(normalizer: ImageNormalizer, *, float64: bool) -> Rescaling:
    learnt = [np.asarray(normalizer.offset_), np.asarray(normalizer.scale_)]
    if normalizer.per == "pixel":
        offset, scale = (normalizer.image_shape_.to_channels_first(value[None])[0] for value in learnt)
    else:
        offset, scale = (value.reshape(-1, 1, 1) for value in learnt)
    return Rescaling(offset, scale, float64)


def _check_per(normalizer: ImageNormalizer, what: str) -> None:
    fitted = "image" if normalizer._moments is None else normalizer._moments.per
    if normalizer.per != fitted:
        raise ValueError(f"per={normalizer.per!r}, but {what} with per={fitted!r}; use fit to begin anew.")


def _learn(
    source: ImageSource, method: str, per: str, earlier: Moments | None = None, n_earlier: int = 0
) -> dict[str, Any]:
    """The fitted attributes of a normalizer by name, learnt from these images and earlier ones."""
    if per == "image":
        return {"offset_": None, "scale_": None, "_moments": None, "n_samples_seen_": n_earlier + len(source)}
    moments = Moments(per) if earlier is None else deepcopy(earlier)
    for _, pixels in source.batches():
        moments.update(pixels)
    return {
        **{
            name: _compact(statistic, per, source.image_shape)
            for name, statistic in zip(("offset_", "scale_"), _offset_and_scale(moments, method), strict=True)
        },
        "_moments": moments,
        "n_samples_seen_": moments.n_images,
    }


def _offset_and_scale(moments: Moments, method: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What to subtract and what to divide by, ``(c or 1, h or 1, w or 1)``."""
    if method == "standardize":
        offset, scale = moments.center, moments.std
    else:
        offset = np.asarray(moments.low, dtype=np.float64)
        with np.errstate(over="ignore"):  # refused below
            scale = scale_of(moments.high - offset, offset)
    if not np.isfinite(offset).all() or not np.isfinite(scale).all():
        low, high = moments.range
        raise ValueError(f"X contains values too large: they go from {low:.3g} to {high:.3g}; scale them down first.")
    return offset, scale


def _compact(statistic: NDArray[np.float64], per: str, shape: ImageShape) -> NDArray[np.float64]:
    """A statistic ``(c or 1, h or 1, w or 1)`` in the shape of the fitted attributes."""
    if per == "pixel":
        pixels: NDArray[np.float64] = shape.from_channels_first(statistic[None])[0]
        return pixels
    return statistic.reshape(() if per == "all" else -1)


def _is_float64(X: Any, source: ImageSource) -> bool:
    """Whether X itself was float64; integers of 32 and 64 bits are read as float64 too."""
    if source.dtype != np.float64 or isinstance(X, ImageSource):
        return bool(source.dtype == np.float64)
    return np.asarray(as_array(X)).dtype.kind not in "iu"
