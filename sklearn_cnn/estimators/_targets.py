"""How y is read: labels, indicator matrices and numbers, and what of them is refused."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target


def has_columns(y: Any) -> bool:
    """Whether y is a matrix; a single column is one of labels."""
    if issparse(y):
        return True
    try:
        shape = np.asarray(y).shape
    except ValueError:  # lists of unequal length
        raise ValueError(
            "y must have one label an image, or as many 0 and 1 for each; turn lists of labels into an indicator "
            "matrix by sklearn.preprocessing.MultiLabelBinarizer."
        ) from None
    return len(shape) == 2 and shape[1] != 1


def read_labels(y: Any, name: str = "y") -> NDArray[Any]:
    """Read one label an image.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, 1)
        Numbers, strings or bools; a column gives scikit-learn's warning.
    name : str, default="y"
        What errors call it.

    Returns
    -------
    ndarray of shape (n,)
        The labels.

    Raises
    ------
    ValueError
        Where labels are missing, not finite, continuous or of types that cannot be sorted.
    """
    _refuse_missing(y, name)
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name=name)
    try:
        check_classification_targets(y)
    except TypeError as error:  # bytes, or values that cannot be sorted
        raise ValueError(f"{name} has labels of a type, or of different types, that cannot be used: {error}.") from None
    return y


def read_indicators(y: Any) -> NDArray[np.float32]:
    """Read an indicator matrix.

    Parameters
    ----------
    y : array-like or sparse matrix of shape (n, n_labels)
        0 and 1, or bools.

    Returns
    -------
    ndarray of shape (n, n_labels)
        0 and 1, as float32.

    Raises
    ------
    ValueError
        Where it has other values, or no column.
    """
    _refuse_missing(y, "y")
    y = y.toarray() if issparse(y) else np.asarray(y)
    if y.dtype == object:  # of a frame with columns of several dtypes
        y = np.array(y.tolist())
    if y.shape[1] == 0:
        raise ValueError(f"y has 0 labels an image: its shape is {y.shape}.")
    assert_all_finite(y, input_name="y")
    kind = type_of_target(y, input_name="y")
    if kind != "multilabel-indicator" or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"y of shape {y.shape} is {kind}; a y with several columns must be an indicator matrix of 0 and 1, with a "
            f"column for each label an image may have. Use CNNRegressor for numbers, and "
            f"sklearn.multioutput.MultiOutputClassifier for several labels of more than two values."
        )
    return y.astype(np.float32)


def read_numbers(y: Any) -> NDArray[np.float64]:
    """Read numbers.

    Parameters
    ----------
    y : array-like of shape (n,), (n, 1) or (n, n_outputs)
        The numbers; a column gives scikit-learn's warning.

    Returns
    -------
    ndarray of shape (n, n_outputs)
        The numbers, as float64.

    Raises
    ------
    ValueError
        Where they are missing, not finite or no numbers.
    """
    _refuse_missing(y, "y")
    y = check_array(y, ensure_2d=False, dtype=None, input_name="y")  # refuses NaN, infinity, complex, 3-D, sparse
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.dtype == object:
        y = np.array(y.tolist())  # numbers of several types are numbers, and "1" is text
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"y must hold numbers, one or several for each image; got an array of {y.dtype}. Use CNNClassifier for "
            f"labels."
        )
    return y.astype(np.float64).reshape(len(y), -1)


def count_labels(y: Any) -> int:
    """Outputs of a classifier for `y`: its classes, or the columns of an indicator matrix."""
    return read_indicators(y).shape[1] if has_columns(y) else len(np.unique(read_labels(y)))


def count_numbers(y: Any) -> int:
    """Outputs of a regressor for `y`."""
    return read_numbers(y).shape[1]


def _refuse_missing(y: Any, name: str) -> None:
    """Refuse targets with a None, or with pandas' own missing values, which cannot be compared."""
    if hasattr(y, "isna") and np.asarray(y.isna()).any():
        raise ValueError(f"Input {name} contains NaN or NA.")
    if not issparse(y) and (values := np.asarray(y)).dtype == object and any(v is None for v in values.flat):
        raise ValueError(f"Input {name} contains None.")
