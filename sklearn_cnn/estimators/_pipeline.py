"""image_pipeline."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sklearn_cnn.architectures._backbones import preprocessing_of
from sklearn_cnn.estimators._classifier import CNNClassifier
from sklearn_cnn.estimators._regressor import CNNRegressor
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._reader import ImageReader

FROM_SCRATCH = (64, 64)
"""Height and width in pixels of the images that a network learns from scratch."""

_NETWORKS = {"classifier": CNNClassifier, "regressor": CNNRegressor}


@validate_params(
    {
        "kind": [StrOptions(set(_NETWORKS))],
        "weights": [str, None],
        "size": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray, None],
        "augment": [StrOptions({"auto"}), "boolean", ImageAugmenter],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def image_pipeline(
    kind: str,
    *,
    weights: str | None = None,
    size: Any = None,
    augment: Any = "auto",
    random_state: Any = None,
) -> Pipeline:
    """Make a pipeline for image files: reader, augmenter and network.

    Its X are paths, as from ``load_image_folder``, so cross-validation and searches split the paths. It is a plain
    pipeline of scikit-learn: every setting can be changed afterwards by ``set_params``.

    Parameters
    ----------
    kind : {"classifier", "regressor"}
        Whether the targets are labels or numbers.
    weights : str or None, default=None
        The pretrained network to begin with: ``"timm:NAME"``, ``"torchvision:NAME"`` or a name of
        `list_architectures`. Its weights are downloaded in `fit`, and its head alone is trained. None trains the
        default network from scratch.
    size : int, (int, int) or None, default=None
        Height and width to which images are resized, in pixels; one int for a square. None is the size that the
        weights were trained on, and 64 without weights.
    augment : bool, ImageAugmenter or "auto", default="auto"
        Whether training images are changed at random: flipped left to right and shifted by up to a sixteenth of the
        shorter side. ``"auto"`` does so without `weights` only: a pretrained network whose images never change has to
        run once an image, not once an epoch. An ``ImageAugmenter`` is cloned.
    random_state : int, RandomState instance or None, default=None
        Seed of the network and, where it has none of its own, of the augmenter.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps ``imagereader``, ``imageaugmenter`` and ``cnnclassifier`` or ``cnnregressor``, unfitted.

    Raises
    ------
    ValueError
        For a parameter that cannot be used, or an unknown name of a network.
    ImportError
        Where `weights` needs torchvision or timm, and it is not installed: the extra ``pretrained`` installs both.

    See Also
    --------
    sklearn_cnn.datasets.load_image_folder : Paths and labels of a folder.
    CNNFeatureExtractor : Features of a pretrained network, for other estimators.

    Notes
    -----
    The augmenter is a step even where it changes nothing, so that a search finds it. Names for searches are those of
    ``get_params()``, for example ``imagereader__size``, ``imagereader__resize``, ``imageaugmenter__rotation``,
    ``cnnclassifier__max_epochs`` and ``cnnclassifier__trainable_blocks``.

    Whole images are stretched to the size: a centre crop, which pretrained networks are usually tested with, was no
    better, see the Notes of ``ImageReader``. Images are resized as those that the weights were trained on. With
    `weights` they are decoded when they are needed, since they are large and are used few times; images for a network
    from scratch are kept in memory, ``3 * height * width`` bytes each. ``imagereader__lazy`` chooses.

    Where there is no network connection, ``set_params(cnnclassifier__weights=PATH)`` takes the weights from a file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn_cnn import image_pipeline
    >>> from sklearn_cnn.datasets import load_image_folder
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name, colour in (("dark", 20), ("bright", 220)):
    ...     (Path(folder.name) / name).mkdir()
    ...     for i in range(10):
    ...         Image.new("RGB", (40, 30), (colour + i, colour, 0)).save(Path(folder.name) / name / f"{i}.png")
    >>> X, y = load_image_folder(folder.name, as_names=True, return_X_y=True)
    >>> pipe = image_pipeline("classifier", size=16, random_state=0).fit(X, y)
    >>> pipe.predict(X[:2]).shape
    (2,)
    >>> folder.cleanup()
    """
    network = _NETWORKS[kind](augmenter=None, random_state=random_state)
    reader = ImageReader(size=FROM_SCRATCH if size is None else size)
    if weights is not None:
        expected, interpolation = _images_of(weights)
        reader.set_params(size=expected if size is None else size, interpolation=interpolation, lazy=True)
        network.set_params(architecture=weights, weights="default", trainable_blocks=0)
    sides = clone(reader).fit(["unopened"]).size_  # with a size it opens no file, and refuses what is no size
    if isinstance(augment, ImageAugmenter):
        augmenter = clone(augment)
    elif augment is True or (augment == "auto" and weights is None):
        augmenter = ImageAugmenter(horizontal_flip=0.5, crop=min(sides) // 16, fill_mode="reflect")
    else:
        augmenter = ImageAugmenter()
    return make_pipeline(reader, augmenter, network)


def _images_of(weights: str) -> tuple[tuple[int, int], str]:
    """Size of the images that weights were trained on, and how these were resized."""
    images = preprocessing_of(weights)
    return images.size, "bilinear" if images.interpolation == "bilinear" else "bicubic"
