"""save_model and load_model.

A file is ``MAGIC``, the SHA-256 of all that follows, and a zip of two members that are stored as they are:
``model.json`` with parameters and attributes, and ``tensors.safetensors`` with their arrays. ``MAGIC``, the digest, the
name ``model.json`` and its keys ``format`` and ``versions`` stay the same in formats to come, so that an older version
can say which one is needed.
"""

import hashlib
import json
import os
import re
import stat
import warnings
from collections import Counter
from io import BytesIO
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn._version import __version__
from sklearn_cnn._writing import write_whole
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.persistence._estimators import kind_of
from sklearn_cnn.persistence._model import EstimatorReader, Placement, fitted_parts, write_estimator
from sklearn_cnn.persistence._tensors import read_tensors, size_of_tensors, write_tensors
from sklearn_cnn.persistence._text import LONGEST, is_whole, parse
from sklearn_cnn.persistence._values import ValueReader, ValueWriter
from sklearn_cnn.training._device import resolve_device

FORMAT = 1
MAGIC = b"\x89SKCNN\r\n"
"""A byte above 127 and a line end: transfers as text, which would change the file, change this first."""

_DIGEST_SIZE = 32
_LONGEST_REASON = 500  # some messages show a value, which may be long
_JSON, _TENSORS = "model.json", "tensors.safetensors"


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
    kind_of(estimator, "the estimator")
    for part in fitted_parts(estimator):
        check_is_fitted(part)
    writer = ValueWriter(write_estimator)
    model = write_estimator(writer, estimator, type(estimator).__name__)
    content = {"format": FORMAT, "versions": _versions(), "model": model}
    text = json.dumps(content, separators=(",", ":"), default=_plain).encode()
    if len(text) > LONGEST:
        raise ValueError(f"all but the arrays takes {len(text):,} bytes, more than the {LONGEST:,} of a model file.")
    file = BytesIO()
    file.write(MAGIC + bytes(_DIGEST_SIZE))
    with ZipFile(file, "w", ZIP_STORED) as archive:
        archive.writestr(_member(_JSON, len(text)), text)
        with archive.open(_member(_TENSORS, size_of_tensors(writer.tensors)), "w") as member:
            write_tensors(member, writer.tensors)
    whole = file.getbuffer()
    start = len(MAGIC) + _DIGEST_SIZE
    whole[len(MAGIC) : start] = hashlib.sha256(whole[start:]).digest()
    write_whole(path, whole)


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
        model, tensors = _unpack(path)
        reader = ValueReader(read_tensors(tensors), EstimatorReader(placement))
        estimator = reader.read({"estimator": model})
        reader.finish()
        for part in fitted_parts(estimator):
            check_is_fitted(part)
    except ModelFileError as error:
        raise ModelFileError(f"path={shown} is not loaded: {error}.") from None
    except (ImportError, MemoryError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what is made up can make any step fail, and in any way
        reason = f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}"
        raise ModelFileError(f"path={shown} is not loaded: {reason}") from error
    if placement.missing:
        warnings.warn(
            f"{shown} was fitted on device {', '.join(map(repr, sorted(placement.missing)))}, which is not there; it "
            f"predicts on the CPU.",
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


def _plain(value: Any) -> Any:
    """Numbers of NumPy among the settings of a plan, of which only the value counts."""
    return value.item()


def _member(name: str, size: int) -> ZipInfo:
    info = ZipInfo(name)  # of 1980: the same estimator gives the same file
    info.file_size = size  # from 2 GiB on a zip has wider fields, which are set before the content
    return info


def _unpack(path: str | os.PathLike[str]) -> tuple[Any, bytes]:
    """The JSON of the model in a file, parsed, and the bytes of its tensors."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ModelFileError("it is no file that save_model wrote, and pickles are not read")
        content = file.read()
    if hashlib.sha256(memoryview(content)[_DIGEST_SIZE:]).digest() != content[:_DIGEST_SIZE]:
        raise ModelFileError("it is damaged or cut off, since its digest is another one")
    with ZipFile(BytesIO(content)) as archive:
        members = Counter(info.filename for info in archive.infolist())
        for info in archive.infolist():
            _check_member(info, len(content))
        if members[_JSON] != 1:
            raise ModelFileError(f"it has not one {_JSON}")
        model = _read_json(archive.read(_JSON))
        if members != Counter((_JSON, _TENSORS)):
            raise ModelFileError(f"it has other members than {_JSON} and {_TENSORS}")
        return model, archive.read(_TENSORS)


def _check_member(info: ZipInfo, size: int) -> None:
    """Refuse what a zip can do beyond holding bytes as they are."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    stored = info.compress_type == ZIP_STORED and info.compress_size == info.file_size <= size
    if not stored or info.flag_bits or kind not in (0, stat.S_IFREG):
        raise ModelFileError(f"its member {info.filename[:40]!r} is compressed, encrypted, a link or too large")


def _read_json(text: bytes) -> Any:
    content = parse(text, _JSON)
    if not isinstance(content, dict) or not is_whole(content.get("format")):
        raise ModelFileError(f"{_JSON} does not say which format it has")
    if content["format"] != FORMAT:
        versions = content.get("versions")
        version = str(versions.get("sklearn-cnn")) if isinstance(versions, dict) else ""
        needed = f"sklearn-cnn {version}" if re.fullmatch(r"[0-9][0-9a-z.+]{0,30}", version) else "a newer sklearn-cnn"
        raise ModelFileError(
            f"it has format {content['format']}, and sklearn-cnn {__version__} reads format {FORMAT}; load it with "
            f"{needed}"
        )
    if set(content) != {"format", "versions", "model"}:
        raise ModelFileError(f"{_JSON} has other keys than it is written with")
    return content["model"]
