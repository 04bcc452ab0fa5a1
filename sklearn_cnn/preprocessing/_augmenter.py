"""ImageAugmenter."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.images._reading import read_again, read_images, remember
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._output import hand_on
from sklearn_cnn.preprocessing._pixels import PADDING_MODES
from sklearn_cnn.preprocessing._steps import augmented, steps_of

_FRACTION = Interval(Real, 0, 1, closed="both")
_PAIR = [tuple, list, np.ndarray]


class ImageAugmenter(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Random changes of training images, drawn anew in every epoch and absent at prediction.

    Use it as a step of a pipeline before a ``CNNClassifier``, or as the parameter `augmenter` of one. The
    network then sees every image a little differently in each epoch: rotated, shifted, flipped, brighter.
    All changes are off by default; those that are on are drawn for each image separately.

    Put it before an ``ImageNormalizer``: uint8 images stay uint8, and `noise` and `fill_value` are in the
    units of the pixels. Read more in the user guide.

    Parameters
    ----------
    rotation : float, default=0.0
        Largest angle in degrees, in both directions; from 0 to 180.
    shift : float or (float, float), default=0.0
        Largest shift as a fraction of the side, in both directions; a pair is (vertical, horizontal).
        From 0 to 1.
    zoom : float or (float, float), default=0.0
        Largest change of size as a fraction, from 0 to less than 1: 0.1 draws factors from 0.9 to 1.1. A
        pair is the smallest and the largest factor.
    shear : float, default=0.0
        Largest angle by which vertical lines lean, in degrees, in both directions; from 0 to less than 90.
    crop : int, default=0
        Pixels that are added on every side before a random part of the original size is cut out. This
        shifts the image by whole pixels.
    resized_crop : float, (float, float) or None, default=None
        Smallest share of the area of a random part of the image, which is enlarged to the size of the image
        [4]_; above 0, up to 1. The largest share is 1, or the second number of a pair. Width to height is up
        to a third more or a quarter less than in the image. 0.08 is usual for large sets of photographs,
        which objects do not fill.
    horizontal_flip : float, default=0.0
        Probability of a flip left to right.
    vertical_flip : float, default=0.0
        Probability of a flip top to bottom.
    brightness : float, default=0.0
        Fraction: pixels are multiplied by a factor from 1 - `brightness` to 1 + `brightness`.
    contrast : float, default=0.0
        Fraction: the same for differences of the pixels from the mean of their image.
    saturation : float, default=0.0
        Fraction: the same for differences of colours from grey. Needs images of 3 or 4 channels, of which
        the first three are red, green and blue.
    erasing : float, default=0.0
        Probability that a rectangle of 2% to 40% of the area of the image is set to `fill_value` [1]_.
    noise : float, default=0.0
        Standard deviation of Gaussian noise that is added, in the units of the pixels.
    policy : {"trivial"} or None, default=None
        ``"trivial"`` is TrivialAugment [2]_: one change for each image, of a kind and a strength that are
        drawn from 14 kinds and a wide range. The user guide lists them.
    cutout : int, default=0
        Side of a square, in pixels, that is set to `fill_value` in every image [3]_. Its centre may be any
        pixel; what reaches over the border is cut off.
    func : callable or None, default=None
        A change of your own: a function from an image to an image, arrays of shape (h, w, c) in the dtype
        of the pixels; grey images have c = 1. It is called for every image in every epoch, after all other
        changes. See Notes.
    fill_mode : {"constant", "replicate", "reflect"}, default="constant"
        What fills pixels that come from outside the image: `fill_value`, the nearest pixel of the border,
        or the image mirrored at its border (``d c b a | a b c d | d c b a``).
    fill_value : float, default=0.0
        Value of pixels from outside the image and of erased pixels, in the units of the pixels.
    interpolation : {"bilinear", "nearest"}, default="bilinear"
        How values between pixels are computed.
    image_shape : tuple of int or None, default=None
        ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)`` in pixels, for X of flattened rows, as of
        ``CNNClassifier``.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of X stand, as of ``CNNClassifier``.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws. With None a network uses its own seed, so that the `random_state` of
        ``CNNClassifier`` is enough to make a fit repeatable.

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
    ``fit_transform(X)`` is not ``fit(X).transform(X)``. A pipeline calls ``fit_transform`` on training
    images: it returns an ``ImageSource``, which looks like an array and computes nothing yet. A pipeline
    calls ``transform`` on all other images: it returns them as they are, bit for bit. Where no change is
    on, both return the images themselves.

    A network draws new changes of a source in every epoch, and uses the unchanged images for its
    validation part. An ``ImageNormalizer`` returns a source for a source. Any other step, and NumPy, gets
    one fixed draw.

    The part of `resized_crop` is enlarged, and then flipped, zoomed, sheared, rotated and shifted, in this
    order, about its centre, by one affine matrix and one interpolation; then come `policy`, brightness,
    contrast, saturation, noise, erasing, cutout and `func`. A rotated or shifted part is surrounded by what
    surrounds it in the image.
    uint8 images are rounded and kept between 0 and 255; floats have no known bounds and are not clipped.
    All channels are treated alike except in `saturation`; a fourth channel may be a band or alpha. A
    rectangle to erase that is longer than the image is cut at its border, where the reference draws again.

    `func` may write to its image. What it draws from the global generators of Python, NumPy and torch
    follows from the seed: they are seeded for each image, and have their own states again afterwards. One
    thread calls it at a time. Integers of 16 bits come as float32, and so do other dtypes as in
    `transform`. A file of ``save_model`` cannot hold a function; `checkpoint` takes one that has a name in
    a module.

    References
    ----------
    .. [1] Zhong et al., "Random erasing data augmentation", AAAI 2020, arXiv:1708.04896.
    .. [2] Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", ICCV
       2021, arXiv:2103.10158.
    .. [3] DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017,
       arXiv:1708.04552.
    .. [4] Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6, arXiv:1409.4842.

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
        "resized_crop": [Interval(Real, 0, 1, closed="right"), *_PAIR, None],
        "horizontal_flip": [_FRACTION],
        "vertical_flip": [_FRACTION],
        "brightness": [_FRACTION],
        "contrast": [_FRACTION],
        "saturation": [_FRACTION],
        "erasing": [_FRACTION],
        "noise": [Interval(Real, 0, None, closed="left")],
        "policy": [StrOptions({"trivial"}), None],
        "cutout": [Interval(Integral, 0, None, closed="left")],
        "func": [callable, None],
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
        resized_crop: Any = None,
        horizontal_flip: float = 0.0,
        vertical_flip: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        erasing: float = 0.0,
        noise: float = 0.0,
        policy: str | None = None,
        cutout: int = 0,
        func: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
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
        self.resized_crop = resized_crop
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.erasing = erasing
        self.noise = noise
        self.policy = policy
        self.cutout = cutout
        self.func = func
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
        source = self._read(X)
        steps_of(self, source)  # refuses changes that cannot be made
        remember(self, X, source)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and return the images for training, which change in every epoch.

        Parameters
        ----------
        X : array-like of images
            As for `fit`.
        y : None
            Ignored.

        Returns
        -------
        ImageSource, or ndarray, of the shape of X
            Images whose changes are drawn when they are used; an array where no change is on.

        Raises
        ------
        ValueError, TypeError
            As for `fit`.

        Notes
        -----
        Not the same as ``fit(X).transform(X)``, which changes nothing.
        """
        source = self._read(X)
        drawn = augmented(self, source)
        remember(self, X, source)
        return hand_on(self, drawn, lazy=True)

    def transform(self, X: Any) -> Any:
        """Return images as they are, value for value: only training images are changed.

        Parameters
        ----------
        X : array-like of images
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of the shape of X
            The images: uint8, float32 and float64 bit for bit, as the caller's own array wherever possible;
            other integers and bools converted to one of these dtypes. An ``ImageSource`` is returned as it
            is.

        Raises
        ------
        ValueError, TypeError
            Where the images cannot be read, or not as at `fit`.

        Notes
        -----
        Not the same as ``fit_transform(X)``, which a pipeline calls on training images.
        """
        check_is_fitted(self)
        return hand_on(self, read_again(self, X), lazy=True)

    def sample(self, X: Any, n: int = 1) -> NDArray[Any]:
        """Draw variants of images, to look at them.

        Parameters
        ----------
        X : array-like of images
            As for `fit`.
        n : int, default=1
            Number of variants of each image.

        Returns
        -------
        ndarray of shape (len(X), n, ...)
            Variants of every image, as X stores them.

        Raises
        ------
        ValueError, TypeError
            As for `fit`; where `n` is not a positive integer.

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
        source = self._read(X)
        repeated = ImageSource(np.repeat(source.images(), n, axis=0), source.image_shape)
        variants = np.asarray(augmented(self, repeated, copies=int(n)))
        return variants.reshape(len(source), int(n), *variants.shape[1:])

    def _read(self, X: Any) -> ImageSource:
        return read_images(X, image_shape=self.image_shape, channels=self.channels, name=type(self).__name__)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "uint8"]
        return tags
