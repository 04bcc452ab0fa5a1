"""save_model and load_model."""

import json
import os
import re
import warnings
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn._version import __version__
from sklearn_cnn._writing import write_whole
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._classes import class_of
from sklearn_cnn.persistence._estimators import EstimatorReader, Placement, fitted_parts, write_estimator
from sklearn_cnn.persistence._safetensors import pack, unpack
from sklearn_cnn.persistence._untrusted import is_size, malformed, parse
from sklearn_cnn.persistence._values import ValueReader, ValueWriter
from sklearn_cnn.training._device import resolve_device

FORMAT = 1

_LONGEST_REASON = 500  # some messages show a value, which may be long


def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator in a file that is safe to load.

    The file holds numbers and words only: `load_model` runs nothing of it. It is written in one step, so that a crash
    leaves the earlier file of that name.

    Read more in the user guide.

    Parameters
    ----------
    estimator : estimator
        A fitted `CNNClassifier`, `CNNRegressor`, `CNNFeatureExtractor`, `ImageNormalizer`, `ImageAugmenter` or
        `ImageReader`; or, of scikit-learn, a `StandardScaler`, `MinMaxScaler`, `PCA`, `LogisticRegression`, `LinearSVC`
        or `Ridge`; or a `Pipeline` of them, or one of them in a `FrozenEstimator`.
    path : str or path-like
        Name of the file, which is used as it is.

    Raises
    ------
    NotFittedError
        Where the estimator, or a step of it, is not fitted.
    TypeError, ValueError
        For estimators of other classes, and for parameters that a file cannot carry, such as functions; the message
        names them.
    OSError
        Where the file cannot be written. The earlier one is then as before.

    See Also
    --------
    load_model : The way back.

    Notes
    -----
    First weights that a network was given, ``weights=`` a file or an estimator, are part of what it has learned by now,
    and `checkpoint` is a path on this machine: the loaded estimator has the defaults of these parameters instead. The
    net of skorch, `net_`, is left out.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, load_model, save_model
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier(filters=8, max_epochs=1, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(clf, os.path.join(folder, "digits.model"))
    ...     loaded = load_model(os.path.join(folder, "digits.model"))
    >>> (loaded.predict_proba(X) == clf.predict_proba(X)).all()
    np.True_
    """
    path = os.fspath(path)
    if not isinstance(path, str):
        raise TypeError(f"path is a string or a path; got {type(path).__name__}.")
    class_of(estimator, "the estimator")
    for part in fitted_parts(estimator):
        check_is_fitted(part)
    writer = ValueWriter(write_estimator)
    content = write_estimator(writer, estimator, type(estimator).__name__)
    tensors = writer.finish()
    text = json.dumps({"format": FORMAT, "versions": _versions(), "estimator": content}, separators=(",", ":"))
    write_whole(path, pack(text, tensors))


def load_model(path: str | os.PathLike[str], device: Any = "auto") -> Any:
    """Load what `save_model` saved. Nothing of the file is run, and no name in it is imported.

    Read more in the user guide.

    Parameters
    ----------
    path : str or path-like
        Name of the file.
    device : str or torch.device, default="auto"
        Where networks are put: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``. ``"auto"`` is where they were fitted;
        where there is no such device, the CPU, with one warning.

    Returns
    -------
    estimator
        The fitted estimator.

    Raises
    ------
    ModelFileError
        Where the file is damaged, is no saved model, or was written in a newer format.
    ValueError
        Where this machine has no such device.
    ImportError
        Where the network is one of torchvision or timm, which is not installed.
    OSError
        Where the file cannot be read.

    See Also
    --------
    save_model : Writes such files.

    Notes
    -----
    The digest in a file finds damage. It does not say who wrote the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from sklearn_cnn import ImageNormalizer, load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "normalizer.model")
    ...     save_model(ImageNormalizer().fit(np.arange(32.0).reshape(2, 4, 4)), path)
    ...     load_model(path).offset_
    array([15.5])
    """
    shown = repr(os.fspath(path))
    placement = Placement(None if str(device) == "auto" else str(resolve_device(device)))
    try:
        with open(path, "rb") as file:
            text, tensors = unpack(file)
        reader = ValueReader(tensors, EstimatorReader(placement))
        estimator = reader.read({"estimator": _estimator_of(text)})
        reader.finish()
        for part in fitted_parts(estimator):
            check_is_fitted(part)
    except ModelFileError as error:
        raise ModelFileError(f"path={shown} cannot be loaded: {error}.") from None
    except (ImportError, MemoryError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a made-up file can make any step fail, and in any way
        reason = malformed(f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}")
        raise ModelFileError(f"path={shown} cannot be loaded: {reason}.") from error
    if placement.missing:
        warnings.warn(
            f"{shown} was fitted on device {', '.join(map(repr, sorted(placement.missing)))}, which this machine does "
            f"not have; it predicts on the CPU.",
            UserWarning,
            stacklevel=2,
        )
    return estimator


def _versions() -> dict[str, str]:
    return {
        "sklearn-cnn": __version__,
        "scikit-learn": sklearn.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def _estimator_of(text: str) -> Any:
    """The estimator in the text of a file, as JSON, if the file has the format of this version."""
    content = parse(text.encode("ascii"), "the text")
    if not isinstance(content, dict) or not is_size(content.get("format")):
        raise malformed("malformed text: expected its format")
    if content["format"] != FORMAT:
        versions = content.get("versions")
        version = str(versions.get("sklearn-cnn")) if isinstance(versions, dict) else ""
        known = re.fullmatch(r"[0-9][0-9a-z.+]{0,30}", version)
        raise ModelFileError(
            f"the file has format {content['format']}, and sklearn-cnn {__version__} reads format {FORMAT}. Load it "
            f"with {f'sklearn-cnn {version}' if known else 'a newer sklearn-cnn'}"
        )
    if set(content) != {"format", "versions", "estimator"}:
        raise malformed("malformed text: expected the keys format, versions and estimator")
    return content["estimator"]
