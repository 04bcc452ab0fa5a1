"""save_model and load_model."""

import os
import re
import warnings
from functools import partial
from typing import Any

import numpy as np
import sklearn
import torch

from sklearn_cnn._version import __version__
from sklearn_cnn._writing import write_whole
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._safetensors import pack, unpack
from sklearn_cnn.persistence._untrusted import is_size, malformed
from sklearn_cnn.persistence._values import ValueReader, ValueWriter
from sklearn_cnn.training._device import nearest_device, resolve_device

FORMAT = 1
_LONGEST_REASON = 500  # some messages show a value, which may be long


def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator in a file that is safe to load.

    It is a safetensors file, which many programs read: the weights of a network have the names that they have in
    ``module_.state_dict()``, and parameters and attributes are JSON in the metadata. It is written in one step, so a
    crash leaves the earlier file of that name as it was. Read more in the user guide.

    Parameters
    ----------
    estimator : estimator
        A fitted `CNNClassifier`, `CNNRegressor`, `CNNFeatureExtractor`, `ImageNormalizer`, `ImageAugmenter` or
        `ImageReader`; or, of scikit-learn, a `StandardScaler`, `MinMaxScaler`, `PCA`, `LogisticRegression`, `LinearSVC`
        or `Ridge`; or a `Pipeline` of them, or one of them in a `FrozenEstimator`.
    path : str or path-like
        Name of the file. No ending is added; other programs expect ``.safetensors``.

    Raises
    ------
    TypeError, ValueError
        If the estimator, or a step of it, is not fitted (`NotFittedError`) or of another class, and for parameters that
        a file cannot hold, such as functions; the message names them.
    OSError
        If the file cannot be written. The earlier file is then as before.

    See Also
    --------
    load_model : Loads such a file.

    Notes
    -----
    Three parameters and attributes are not saved. ``weights=`` a file or an estimator is no longer needed, since the
    fitted weights are saved; `checkpoint` is a path on this machine; `net_` belongs to skorch.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, load_model, save_model
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier(filters=8, max_epochs=1, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(clf, os.path.join(folder, "digits.safetensors"))
    ...     loaded = load_model(os.path.join(folder, "digits.safetensors"))
    >>> (loaded.predict_proba(X) == clf.predict_proba(X)).all()
    np.True_
    """
    # Here, since the classes of scikit-learn that a file may hold take 50 ms to import.
    from sklearn_cnn.persistence._classes import class_of
    from sklearn_cnn.persistence._estimators import check_all_fitted, write_estimator

    path = os.fspath(path)
    if not isinstance(path, str):
        raise TypeError(f"path is a string or a path; got {type(path).__name__}; use os.fsdecode(path).")
    class_of(estimator, "the estimator")
    check_all_fitted(estimator)
    writer = ValueWriter(write_estimator)
    content = write_estimator(writer, estimator, type(estimator).__name__)
    tensors = writer.finish()
    packages = {"scikit-learn": sklearn.__version__, "torch": str(torch.__version__), "numpy": np.__version__}
    versions = {"sklearn-cnn": __version__, **packages}
    write_whole(path, pack({"format": FORMAT, "versions": versions, "estimator": content}, tensors))


def load_model(path: str | os.PathLike[str], device: Any = "auto") -> Any:
    """Load an estimator that `save_model` saved. No code of the file is run, and no name in it is imported.

    Parameters
    ----------
    path : str or path-like
        Name of the file.
    device : str or torch.device, default="auto"
        Device of the networks: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``. ``"auto"`` is the device on which they
        were fitted; if this machine does not have it, the CPU, with one warning.

    Returns
    -------
    estimator
        The fitted estimator.

    Raises
    ------
    ModelFileError
        If the file is damaged, is no saved model, or was written in a newer format.
    ValueError, ImportError
        If this machine does not have the device, or torchvision or timm, of which the network is.
    OSError
        If the file cannot be read.

    See Also
    --------
    save_model : Writes such files.

    Notes
    -----
    The digest in a file finds damage. It does not show who wrote the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from sklearn_cnn import ImageNormalizer, load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "normalizer.safetensors")
    ...     save_model(ImageNormalizer().fit(np.arange(32.0).reshape(2, 4, 4)), path)
    ...     load_model(path).offset_
    array([15.5])
    """
    from sklearn_cnn.persistence._estimators import check_all_fitted, read_estimator  # here, as in save_model

    shown = repr(os.fspath(path))
    chosen = None if str(device) == "auto" else str(resolve_device(device))
    missing = set()

    def place(fitted_on: str) -> str:
        nearest = chosen or nearest_device(fitted_on)
        if nearest == "cpu" != fitted_on and chosen is None:
            missing.add(fitted_on)
        return nearest

    try:
        with open(path, "rb") as file:
            content, tensors = unpack(file)
        reader = ValueReader(tensors, partial(read_estimator, place))
        estimator = reader.read({"estimator": _estimator_of(content)})
        reader.finish()
        check_all_fitted(estimator)
    except ModelFileError as error:
        raise ModelFileError(f"path={shown} cannot be loaded: {error}.") from None
    except (ImportError, MemoryError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a made-up file can make any step fail, and in any way
        reason = malformed(f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}")
        raise ModelFileError(f"path={shown} cannot be loaded: {reason}.") from error
    if missing:
        names = ", ".join(map(repr, sorted(missing)))
        warning = f"{shown} was fitted on device {names}, which this machine does not have; it predicts on the CPU."
        warnings.warn(warning, UserWarning, stacklevel=2)
    return estimator


def _estimator_of(content: dict[str, Any]) -> Any:
    """The estimator of a file, as JSON, if the file has the format of this version."""
    if not is_size(content.get("format")):
        raise malformed("the metadata has no format")
    if content["format"] != FORMAT:
        versions = content.get("versions")
        version = str(versions.get("sklearn-cnn")) if isinstance(versions, dict) else ""
        known = re.fullmatch(r"[0-9][0-9a-z.+]{0,30}", version)
        raise ModelFileError(
            f"the file has format {content['format']}, and sklearn-cnn {__version__} reads format {FORMAT}. Load it "
            f"with {f'sklearn-cnn {version}' if known else 'a newer sklearn-cnn'}"
        )
    if set(content) != {"format", "versions", "estimator"}:
        raise malformed("the metadata has other keys than format, versions and estimator")
    return content["estimator"]
