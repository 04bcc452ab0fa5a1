"""ImageReader."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.images._shape import ImageShape, is_side
from sklearn_cnn.images._source import ImageSource
from sklearn_cnn.preprocessing._files import (
    INTERPOLATION,
    MODES,
    RESIZE,
    Decoder,
    ImageFiles,
    decode_all,
    read_entries,
)


class ImageReader(TransformerMixin, BaseEstimator):
    """Reads image files of any kind and size into one array.

    With it as the first step of a pipeline, X is a list of paths: cross-validation and searches split
    the paths, and the pipeline reads the images. With ``lazy=True`` they are read a batch at a time, so
    that a folder may be far larger than memory.

    Needs Pillow, which the extra ``images`` installs.

    Read more in the user guide.

    Parameters
    ----------
    size : int, (int, int) or None, default=None
        Height and width of the result, in pixels; one int for a square. With None all images must have
        the size of the first image in `fit`.
    mode : {"RGB", "L", "RGBA"}, default="RGB"
        Colour, grey, or colour with alpha.
    resize : {"stretch", "crop", "pad"}, default="stretch"
        How an image is resized to `size`. ``"stretch"`` scales height and width independently. The
        others keep the proportions: ``"crop"`` fills the size and cuts off what is beyond it on both sides,
        ``"pad"`` fits the image into the size with black around it. See Notes.
    interpolation : {"bilinear", "bicubic"}, default="bilinear"
        How values between pixels are computed where an image is resized. Bicubic is sharper, and what many
        pretrained networks were trained with.
    crop_share : float, default=1.0
        Share of each side that is kept about the centre, above 0 and up to 1: the image is resized to
        ``size / crop_share``, and `size` is cut out of it. Pretrained networks often expect 0.875. Not with
        ``resize="pad"``, which keeps the whole image, nor without a size.
    lazy : bool, default=False
        Whether `transform` returns an ``ImageSource``, which decodes images each time they are needed and
        keeps none in memory.
    n_jobs : int or None, default=None
        Number of threads that decode; -1 for one per processor. None takes what a ``joblib.parallel_config`` says,
        else the processors that this process may use, and one in a worker of a parallel search.

    Attributes
    ----------
    size_ : (int, int)
        Height and width of the images, in pixels.

    See Also
    --------
    sklearn_cnn.datasets.load_image_folder : Paths and labels of a folder with one sub-folder a class.
    ImageAugmenter : Changes training images at random.

    Notes
    -----
    Images are turned as their EXIF orientation says. Of animations and files of several pages the first
    frame is read. Images with alpha are laid on white where `mode` has none. Of 16-bit values the upper 8
    bits are kept. Resizing averages all pixels that fall on a new one. Pillow's limit on the number of
    pixels, which protects against decompression bombs, stays in force.

    Photographs of 32×32 pixels, cut to 24×32 or 20×32 and enlarged to unequal sides, were read at 96×96
    pixels, embedded by EfficientNet-lite0 and classified by a logistic regression on 1,000 of them. The
    accuracy on another 1,000 was 0.723 stretched, 0.719 cropped and 0.575 padded (means of three draws).
    Objects fill these photographs; where they do not, cropping loses less.

    With ``lazy=True`` images are decoded again in every epoch of a training, which saves memory and takes
    time. Damaged files are found before training, when the statistics of the pixels are computed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cnn import ImageReader
    >>> photographs = [np.zeros((40, 60, 3), np.uint8), np.zeros((30, 30), np.uint8)]  # or paths of files
    >>> ImageReader(size=32).fit_transform(photographs).shape
    (2, 32, 32, 3)
    """

    _parameter_constraints: dict[str, Any] = {
        "size": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray, None],
        "mode": [StrOptions(set(MODES))],
        "resize": [StrOptions(set(RESIZE))],
        "interpolation": [StrOptions(set(INTERPOLATION))],
        "crop_share": [Interval(Real, 0, 1, closed="right")],
        "lazy": ["boolean"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        size: Any = None,
        *,
        mode: str = "RGB",
        resize: str = "stretch",
        interpolation: str = "bilinear",
        crop_share: float = 1.0,
        lazy: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.size = size
        self.mode = mode
        self.resize = resize
        self.interpolation = interpolation
        self.crop_share = crop_share
        self.lazy = lazy
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the size of the images: `size`, or that of the first image.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            Paths, bytes of encoded images, binary files, PIL images, or arrays of shape (h, w), (h, w, 3)
            or (h, w, 4) with whole numbers from 0 to 255.
        y : None
            Ignored.

        Returns
        -------
        ImageReader
            The fitted transformer.

        Raises
        ------
        ValueError, TypeError, OSError
            Where a parameter or X cannot be used, or the first image cannot be read.
        """
        self._fit(read_entries(X))
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and read the images.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            As for `fit`.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n, height, width) or (n, height, width, n_channels), or ImageSource
            As from `transform`.

        Raises
        ------
        ValueError, TypeError, OSError
            As for `fit` and `transform`.
        """
        entries = read_entries(X)
        self._fit(entries)
        return self._read(entries)

    def transform(self, X: Any) -> Any:
        """Read images.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            As for `fit`.

        Returns
        -------
        ndarray of shape (n, height, width) or (n, height, width, n_channels), or ImageSource
            Pixels from 0 to 255, uint8; grey images have no axis for channels. With ``lazy=True`` an
            ``ImageSource``.

        Raises
        ------
        ValueError, TypeError, OSError
            Where an image cannot be read or, without `size`, differs in size from the first image in
            `fit`. The message names the path. With ``lazy=True`` it is raised when the image is needed.
        """
        check_is_fitted(self)  # passes without fit where size is given
        self._validate_params()
        self._check_crop_share()
        return self._read(read_entries(X))

    def _fit(self, entries: list[Any]) -> None:
        self._check_crop_share()
        size = self._given_size()
        self.size_ = size if size is not None else self._decoder(None)(entries[0], "X[0]").shape[:2]

    def _given_size(self) -> tuple[int, int] | None:
        if self.size is None:
            return None
        sides = (self.size, self.size) if np.ndim(self.size) == 0 else tuple(self.size)
        if len(sides) != 2 or not all(is_side(side) for side in sides):
            raise ValueError(f"size is a number of pixels or a pair (height, width) of them; got {self.size!r}.")
        return int(sides[0]), int(sides[1])

    def _check_crop_share(self) -> None:
        if self.crop_share < 1 and (self.size is None or self.resize == "pad"):
            what = "size=None keeps images as they are" if self.size is None else 'resize="pad" keeps the whole image'
            raise ValueError(f"crop_share={self.crop_share} cuts a part out, but {what}; use crop_share=1.")

    def _decoder(self, size: tuple[int, int] | None) -> Decoder:
        resize = None if self.size is None else self.resize
        return Decoder(self.mode, size, resize, self.interpolation, self.crop_share)

    def _read(self, entries: list[Any]) -> Any:
        size = getattr(self, "size_", None) or self._given_size()
        assert size is not None
        decoder = self._decoder(size)
        if not self.lazy:
            return decode_all(decoder, entries, range(len(entries)), self.n_jobs)
        channels = MODES[self.mode]
        shape = ImageShape(size[0], size[1], channels, "hw" if channels == 1 else "hwc")
        return ImageSource(ImageFiles(entries, decoder, self.n_jobs), shape)

    def __sklearn_is_fitted__(self) -> bool:
        return self.size is not None or hasattr(self, "size_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
