"""ImageAugmenter."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.images._reading import read_images
from sklearn_cnn.images._shape import infer_image_shape
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._augmentation import PADDING_MODES, Augmentation, read_pair
from sklearn_cnn.preprocessing._output import hand_on

_FRACTION = Interval(Real, 0, 1, closed="both")
_PAIR = [tuple, list, np.ndarray]


class ImageAugmenter(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Random changes of training images, drawn anew in every epoch and absent at prediction.

    As a step of a pipeline before a ``CNNClassifier``, or as its parameter `augmenter`, it lets the
    network see every image a little differently in each epoch: rotated, shifted, flipped, brighter. All
    changes are off by default; each image gets its own draw of those that are on.

    Put it before an ``ImageNormalizer``: uint8 images stay uint8, and `brightness`, `noise` and
    `fill_value` mean what they say in the units of the pixels.

    Read more in the user guide.

    Parameters
    ----------
    rotation : float, default=0.0
        Largest angle in degrees, to both sides; from 0 to 180.
    shift : float or (float, float), default=0.0
        Largest shift as a fraction of the side, to both sides; a pair is (vertical, horizontal). From 0
        to 1.
    zoom : float or (float, float), default=0.0
        Largest change of size as a fraction, from 0 to less than 1: 0.1 draws factors from 0.9 to 1.1. A
        pair is the least and the largest factor.
    shear : float, default=0.0
        Largest angle by which vertical lines lean, in degrees, to both sides; from 0 to less than 90.
    crop : int, default=0
        Pixels that are added on every side before a piece of the size of the image is cut out at random:
        a shift by whole pixels.
    horizontal_flip : float, default=0.0
        Probability of a flip left to right.
    vertical_flip : float, default=0.0
        Probability of a flip top to bottom.
    brightness : float, default=0.0
        Fraction: pixels are multiplied by 1 ± up to this.
    contrast : float, default=0.0
        Fraction: distances of the pixels from the mean of their image are multiplied by 1 ± up to this.
    saturation : float, default=0.0
        Fraction: distances of colours from grey are multiplied by 1 ± up to this. Needs images of 3 or
        4 channels, of which the first three are red, green and blue.
    erasing : float, default=0.0
        Probability that a rectangle of 2% to 40% of the image is set to `fill_value` [1]_.
    noise : float, default=0.0
        Standard deviation of Gaussian noise that is added, in the units of the pixels.
    fill_mode : {"constant", "replicate", "reflect"}, default="constant"
        What comes in from outside the image: `fill_value`, the nearest pixel of the border, or the image
        mirrored at its border (``d c b a | a b c d | d c b a``).
    fill_value : float, default=0.0
        Value of pixels from outside and of erased ones, in the units of the pixels.
    interpolation : {"bilinear", "nearest"}, default="bilinear"
        How values between pixels are found.
    image_shape : tuple of int or None, default=None
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)`` in pixels, for X of flattened rows, as of
        ``CNNClassifier``.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of X stand, as of ``CNNClassifier``.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws. With None a network draws from its own seed, so the `random_state` of
        ``CNNClassifier`` alone makes a fit repeatable.

    Attributes
    ----------
    image_shape_ : ImageShape
        ``height``, ``width`` and ``channels`` of an image, and how X stores it.
    n_features_in_ : int
        Numbers in one image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X was a frame with string names.

    See Also
    --------
    ImageNormalizer : Brings pixels to one scale.
    CNNClassifier : Draws the images anew in every epoch.

    Notes
    -----
    ``fit_transform`` is not ``fit(X).transform(X)``. The first is what a pipeline calls on training
    images: it returns an ``ImageSource``, which looks like an array and computes nothing yet. The second is
    what it calls on all others, and returns them as they are, bit for bit. An augmenter without any change
    returns the images themselves from both.

    A network draws a source anew in every epoch, and takes the images without changes for its validation
    part. An ``ImageNormalizer`` passes a source on. Any other step, and NumPy, gets one fixed draw.

    An image is flipped, zoomed, sheared, rotated and shifted, in this order, about its centre, by one
    affine matrix and one interpolation; then come brightness, contrast, saturation, noise and erasing.
    uint8 images are rounded and kept between 0 and 255; floats have no known bounds and are not clipped.
    But for `saturation`, all channels are treated alike, a fourth too, be it a band or an alpha channel.
    A rectangle to erase that is longer than the image is cut to it, where the reference draws anew.

    References
    ----------
    .. [1] Zhong et al., "Random erasing data augmentation", AAAI 2020, arXiv:1708.04896.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_cnn import CNNClassifier, ImageAugmenter
    >>> X, y = load_digits(return_X_y=True)
    >>> pipe = make_pipeline(ImageAugmenter(rotation=10, shift=0.1), CNNClassifier(random_state=0))
    >>> pipe.fit(X[:500], y[:500]).score(X[500:], y[500:]) > 0.9
    True
    """

    _parameter_constraints: dict[str, Any] = {
        "rotation": [Interval(Real, 0, 180, closed="both")],
        "shift": [_FRACTION, *_PAIR],
        "zoom": [Interval(Real, 0, 1, closed="left"), *_PAIR],
        "shear": [Interval(Real, 0, 90, closed="left")],
        "crop": [Interval(Integral, 0, None, closed="left")],
        "horizontal_flip": [_FRACTION],
        "vertical_flip": [_FRACTION],
        "brightness": [_FRACTION],
        "contrast": [_FRACTION],
        "saturation": [_FRACTION],
        "erasing": [_FRACTION],
        "noise": [Interval(Real, 0, None, closed="left")],
        "fill_mode": [StrOptions(set(PADDING_MODES))],
        "fill_value": [Real],
        "interpolation": [StrOptions({"bilinear", "nearest"})],
        "image_shape": [*_PAIR, None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        rotation: float = 0.0,
        shift: Any = 0.0,
        zoom: Any = 0.0,
        shear: float = 0.0,
        crop: int = 0,
        horizontal_flip: float = 0.0,
        vertical_flip: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        erasing: float = 0.0,
        noise: float = 0.0,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        interpolation: str = "bilinear",
        image_shape: tuple[int, ...] | None = None,
        channels: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.rotation = rotation
        self.shift = shift
        self.zoom = zoom
        self.shear = shear
        self.crop = crop
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.erasing = erasing
        self.noise = noise
        self.fill_mode = fill_mode
        self.fill_value = fill_value
        self.interpolation = interpolation
        self.image_shape = image_shape
        self.channels = channels
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the shape of the images, and check that the changes can be made to them.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c), (n, c, h, w) or (n, n_features)
            Images, in any form that ``CNNClassifier`` reads.
        y : None
            Ignored.

        Returns
        -------
        ImageAugmenter
            The fitted transformer.

        Raises
        ------
        ValueError, TypeError
            Where a parameter or the images cannot be used.
        """
        self._step(self._read(X, reset=True))
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and hand the images on for training.

        Parameters
        ----------
        X : array-like of images
            As for `fit`.
        y : None
            Ignored.

        Returns
        -------
        ImageSource, or ndarray, of the shape of X
            Images that are drawn when they are used; an array where nothing is to be changed.

        Raises
        ------
        ValueError, TypeError
            As for `fit`.

        Notes
        -----
        Not the same as ``fit(X).transform(X)``, which changes nothing.
        """
        return hand_on(self, self._augment(self._read(X, reset=True)), lazy=True)

    def transform(self, X: Any) -> Any:
        """Return images as they are, value for value: only training images are changed.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of the shape of X
            The images: those of uint8, float32 and float64 bit for bit, in the caller's own array wherever
            that will do; other integers and bools in one of these dtypes that holds them. An
            ``ImageSource`` is returned as it is.

        Raises
        ------
        ValueError, TypeError
            Where the images cannot be read, or not as at `fit`.

        Notes
        -----
        Not the same as ``fit_transform(X)``, which a pipeline calls on training images.
        """
        check_is_fitted(self)
        return hand_on(self, self._read(X, reset=False), lazy=True)

    def sample(self, X: Any, n: int = 1) -> NDArray[Any]:
        """Draw variants of images, to look at.

        Parameters
        ----------
        X : array-like of images
            As for `fit`.
        n : int, default=1
            Variants of each image.

        Returns
        -------
        ndarray of shape (len(X), n, ...)
            Variants of every image, as X stores them.

        Raises
        ------
        ValueError, TypeError
            As for `fit`; where `n` is no positive integer.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_cnn import ImageAugmenter
        >>> ImageAugmenter(rotation=30).sample(load_digits().images[:5], 8).shape
        (5, 8, 8, 8)
        """
        if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
            raise ValueError(f"n is a positive integer; got {n!r}.")
        self._validate_params()
        # A blank augmenter takes the attributes that reading sets.
        source = read_images(type(self)(), X, reset=True, image_shape=self.image_shape, channels=self.channels)
        variants = np.asarray(self._augment(ImageSource(np.repeat(source.images(), n, axis=0), source.image_shape)))
        return variants.reshape(len(source), int(n), *variants.shape[1:])

    def _augment(self, source: ImageSource, *, seen_by_numpy: bool = True) -> ImageSource:
        """Add the changes to the recipe of a source, unless nothing is to be changed; estimators call this too.

        What only a network sees needs no seed where the network has one.
        """
        self._validate_params()
        if self.image_shape is not None or self.channels != "auto":
            shape = infer_image_shape(source.shape, self.image_shape, self.channels)
            if shape != source.image_shape:
                raise ValueError(
                    f"the augmenter reads X of shape {source.shape} as images of {shape} (height×width×channels), and "
                    f"the estimator as {source.image_shape}; leave image_shape and channels of the augmenter out."
                )
        step = self._step(source)
        if step.does_nothing:
            return source
        if step.seed_of_fit and not seen_by_numpy:
            return source.then(step)
        return source.then(replace(step, seed=int(check_random_state(self.random_state).randint(2**31 - 1))))

    def _read(self, X: Any, *, reset: bool) -> ImageSource:
        return read_images(self, X, reset=reset, image_shape=self.image_shape, channels=self.channels)

    def _step(self, source: ImageSource) -> Augmentation:
        """The parameters with pairs spelt out, checked against the images; without a seed."""
        shape = source.image_shape
        zoom = (1 - self.zoom, 1 + self.zoom) if isinstance(self.zoom, Real) else self.zoom
        shift = (self.shift, self.shift) if isinstance(self.shift, Real) else self.shift
        low, high = read_pair(zoom, "zoom", 1e-3, 1e3, "(low, high) of factors from 0.001 to 1000")
        if low > high:
            raise ValueError(f"zoom=(low, high) has low above high: {self.zoom!r}.")
        if self.crop >= min(shape.height, shape.width) and self.crop:
            raise ValueError(
                f"crop={self.crop} may move all of an image of {shape} (height×width×channels) out of sight; use at "
                f"most {min(shape.height, shape.width) - 1}, or shift."
            )
        if self.saturation and shape.channels not in (3, 4):
            raise ValueError(
                f"saturation={self.saturation} needs colour images, of 3 or 4 channels; X has images of {shape} "
                f"(height×width×channels). Use saturation=0."
            )
        limits = (0, 255) if source.dtype == np.uint8 else (np.finfo(source.dtype).min, np.finfo(source.dtype).max)
        low_value, high_value = map(float, limits)
        if not low_value <= self.fill_value <= high_value:
            raise ValueError(
                f"fill_value={self.fill_value} cannot be the value of a pixel: X has {source.dtype}, from "
                f"{low_value:g} to {high_value:g}."
            )
        return Augmentation(
            rotation=float(self.rotation),
            shift=read_pair(shift, "shift", 0, 1, "(vertical, horizontal) of fractions from 0 to 1"),
            zoom=(low, high),
            shear=float(self.shear),
            crop=int(self.crop),
            horizontal_flip=float(self.horizontal_flip),
            vertical_flip=float(self.vertical_flip),
            brightness=float(self.brightness),
            contrast=float(self.contrast),
            saturation=float(self.saturation),
            erasing=float(self.erasing),
            noise=float(self.noise),
            fill_mode=self.fill_mode,
            fill_value=float(self.fill_value),
            interpolation=self.interpolation,
            seed=0,
            seed_of_fit=self.random_state is None,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "uint8"]
        return tags
