"""Values with their types, as JSON and arrays.

None, bools, whole and finite numbers, strings and lists are their own JSON. Everything else is an object of one key,
which says what it is: ``{"tuple": [1, 2]}``, ``{"array": "name of a tensor"}``.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.exceptions import ModelFileError
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.persistence._plans import read_plan, write_plan
from sklearn_cnn.persistence._tensors import can_hold
from sklearn_cnn.persistence._text import LARGEST, is_whole

DEEPEST = 32
"""Values within values that are read."""

_WORDS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")
_MOMENTS = ("per", "n_images", "total", "mean", "squares", "low", "high")


class ValueWriter:
    """Turns values into JSON, and lays their arrays aside.

    Parameters
    ----------
    write_estimator : callable
        ``(writer, estimator, name) -> JSON``, for estimators among the values.

    Attributes
    ----------
    tensors : dict of str to ndarray
        The arrays, under the names that the JSON has for them.
    """

    def __init__(self, write_estimator: Callable[["ValueWriter", Any, str], Any]) -> None:
        self.tensors: dict[str, NDArray[Any]] = {}
        self._write_estimator = write_estimator

    def write(self, value: Any, name: str) -> Any:
        """Turn a value into JSON.

        Parameters
        ----------
        value : object
            The value.
        name : str
            Where it stands, such as ``"CNNClassifier.classes_"``; its arrays are named after that.

        Returns
        -------
        object
            What `json.dumps` takes.

        Raises
        ------
        TypeError, ValueError
            For what a file cannot carry; the message has the name.
        """
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            if not -LARGEST < value < LARGEST:
                raise ValueError(f"{name} is a whole number of more than 64 bits, which a model file cannot carry.")
            return value
        if kind is float:
            return value if np.isfinite(value) else {"float": repr(value)}
        if kind is list:
            return self._write_all(value, name)
        if kind is tuple:
            return {"tuple": self._write_all(value, name)}
        if kind is dict:
            pairs = value.items()
            return {"dict": [[self.write(key, f"{name}, key"), self.write(v, f"{name}.{key}")] for key, v in pairs]}
        if isinstance(value, np.generic):
            return {"scalar": self._write_array(np.asarray(value), name)}
        if kind is np.ndarray:
            return self._write_array(value, name)
        if kind is torch.device:
            return {"device": str(value)}
        if kind is ImageShape:
            return {"image_shape": [value.height, value.width, value.channels, value.axes, value.flat]}
        if kind is Moments:
            return {"moments": [self.write(getattr(value, part), f"{name}.{part}") for part in _MOMENTS]}
        if kind is Plan:
            return {"plan": write_plan(value)}
        if isinstance(value, BaseEstimator):
            return {"estimator": self._write_estimator(self, value, name)}
        raise TypeError(_refusal(value, name))

    def _write_all(self, values: Any, name: str) -> list[Any]:
        return [self.write(value, f"{name}.{i}") for i, value in enumerate(values)]

    def _write_array(self, array: NDArray[Any], name: str) -> Any:
        if array.dtype == object:
            return {"objects": [list(array.shape), self._write_all(array.ravel().tolist(), name)]}
        kind, described = "array", array.dtype.kind
        if described == "U":
            array = array.astype(f"<U{max(1, array.dtype.itemsize // 4)}", order="C")
            letters = array.dtype.itemsize // 4
            kind, array = "text", np.frombuffer(array.tobytes(), "<u4").reshape(*array.shape, letters)
        elif described == "M":
            unit, step = np.datetime_data(array.dtype)
            if unit not in _UNITS or step != 1:
                raise TypeError(f"{name} has the dtype {array.dtype}, which a model file cannot carry.")
            kind, array = f"datetime64[{unit}]", array.astype("<M8" + f"[{unit}]").view("<i8")
        elif not can_hold(array):
            raise TypeError(f"{name} has the dtype {array.dtype}, which a model file cannot carry.")
        elif array.flags.f_contiguous and not array.flags.c_contiguous:
            kind, array = "transposed", array.T  # products round as the order of numbers in memory lets them
        while name in self.tensors:  # of the keys 1 and "1", for one
            name += "'"
        self.tensors[name] = array
        return {kind: name}


def _refusal(value: Any, name: str) -> str:
    if isinstance(value, np.random.RandomState):
        way_out = "pass an int as seed, which can be set after the fit too"
    elif callable(value):
        way_out = "loading would have to run code; pickle does, for files from people you trust"
    else:
        way_out = "it carries numbers, strings, arrays, and lists, tuples and dicts of them"
    return f"{name} is of type {type(value).__name__}, which a model file cannot carry: {way_out}."


class ValueReader:
    """Turns JSON back into values.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        The arrays that the JSON has names for.
    read_estimator : callable
        ``(reader, JSON, depth) -> estimator``.
    """

    def __init__(
        self, tensors: Mapping[str, NDArray[Any]], read_estimator: Callable[["ValueReader", Any, int], Any]
    ) -> None:
        self._left = dict(tensors)
        self._read_estimator = read_estimator

    def finish(self) -> None:
        """Refuse tensors that no value had."""
        if self._left:
            raise ModelFileError(f"tensor {next(iter(self._left))!r} belongs to nothing")

    def read(self, value: Any, depth: int = 0) -> Any:
        """Turn JSON into a value.

        Parameters
        ----------
        value : object
            From `parse`.
        depth : int, default=0
            In how many others it stands.

        Returns
        -------
        object
            What `ValueWriter.write` was given.

        Raises
        ------
        ModelFileError
            For JSON that `ValueWriter` does not write.
        """
        if depth > DEEPEST:
            raise ModelFileError(f"it has values within values more than {DEEPEST} deep")
        if isinstance(value, list):
            return [self.read(entry, depth + 1) for entry in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise ModelFileError("it has a value without one type")
        ((kind, content),) = value.items()
        if kind.startswith("datetime64[") and kind[11:-1] in _UNITS:
            return self._tensor(content, "<i8").view(f"<M8[{kind[11:-1]}]").astype(f"M8[{kind[11:-1]}]")
        read = _READERS.get(kind)
        if read is None:
            raise ModelFileError(f"it has a value of the unknown type {kind[:20]!r}")
        return read(self, content, depth + 1)

    def _list(self, content: Any, length: int | None = None) -> list[Any]:
        if not isinstance(content, list) or length not in (None, len(content)):
            raise ModelFileError("it has a list that is none, or of another length")
        return content

    def _tensor(self, name: Any, dtype: str | None = None) -> NDArray[Any]:
        # Each array belongs to one value: many values of one array would be a small file that fills the memory.
        array = self._left.pop(name, None) if isinstance(name, str) else None
        if array is None or dtype not in (None, array.dtype.str):
            raise ModelFileError("it has a value whose tensor is missing, or of another dtype")
        return array

    def _float(self, content: Any, depth: int) -> float:
        if not isinstance(content, str) or content not in _WORDS:
            raise ModelFileError("it has a float that is none")
        return _WORDS[content]

    def _tuple(self, content: Any, depth: int) -> tuple[Any, ...]:
        return tuple(self.read(entry, depth) for entry in self._list(content))

    def _dict(self, content: Any, depth: int) -> dict[Any, Any]:
        pairs = [[self.read(part, depth) for part in self._list(pair, 2)] for pair in self._list(content)]
        if not all(isinstance(key, str | int | float | np.generic | None) for key, _ in pairs):
            raise ModelFileError("it has a key that is no number or string")
        return dict(pairs)

    def _array(self, content: Any, depth: int) -> NDArray[Any]:
        array = self._tensor(content)
        return array.astype(array.dtype.newbyteorder("="), order="C")

    def _transposed(self, content: Any, depth: int) -> NDArray[Any]:
        return self._array(content, depth).T

    def _text(self, content: Any, depth: int) -> NDArray[Any]:
        letters = self._tensor(content, "<u4")
        if letters.ndim == 0 or letters.shape[-1] == 0 or (letters > 0x10FFFF).any():
            raise ModelFileError("it has letters that are none")
        dtype = f"U{letters.shape[-1]}"
        return np.frombuffer(letters.tobytes(), f"<{dtype}").reshape(letters.shape[:-1]).astype(dtype)

    def _objects(self, content: Any, depth: int) -> NDArray[Any]:
        shape, entries = (self._list(part) for part in self._list(content, 2))
        values = [self.read(entry, depth) for entry in entries]
        plain = all(isinstance(value, str | int | float | np.generic | None) for value in values)
        if not plain or not all(map(is_whole, shape)) or prod(shape) != len(values):
            raise ModelFileError("it has an array of objects that is none")
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.reshape(shape)

    def _scalar(self, content: Any, depth: int) -> Any:
        array = self.read(content, depth)
        if not isinstance(array, np.ndarray) or array.ndim > 0:
            raise ModelFileError("it has a number that is none")
        return array[()]

    def _device(self, content: Any, depth: int) -> torch.device:
        if not isinstance(content, str):
            raise ModelFileError("it has a device that is none")
        try:
            return torch.device(content)
        except RuntimeError:
            raise ModelFileError("it has a device that is none") from None

    def _image_shape(self, content: Any, depth: int) -> ImageShape:
        height, width, channels, axes, flat = self._list(content, 5)
        sides = all(is_whole(side) and side > 0 for side in (height, width, channels))
        if not sides or axes not in ("hw", "hwc", "chw") or not isinstance(flat, bool):
            raise ModelFileError("it has an image shape that is none")
        if axes == "hw" and channels != 1:
            raise ModelFileError("it has grey images of several channels")
        return ImageShape(height, width, channels, axes, flat)

    def _moments(self, content: Any, depth: int) -> Moments:
        per, *rest = (self.read(part, depth) for part in self._list(content, len(_MOMENTS)))
        moments = Moments(per)
        for part, value in zip(_MOMENTS[1:], rest, strict=True):
            setattr(moments, part, value)
        return moments

    def _plan(self, content: Any, depth: int) -> Plan:
        return read_plan(content)

    def _estimator(self, content: Any, depth: int) -> Any:
        return self._read_estimator(self, content, depth)


_READERS: dict[str, Callable[[ValueReader, Any, int], Any]] = {
    "float": ValueReader._float,
    "tuple": ValueReader._tuple,
    "dict": ValueReader._dict,
    "array": ValueReader._array,
    "transposed": ValueReader._transposed,
    "text": ValueReader._text,
    "objects": ValueReader._objects,
    "scalar": ValueReader._scalar,
    "device": ValueReader._device,
    "image_shape": ValueReader._image_shape,
    "moments": ValueReader._moments,
    "plan": ValueReader._plan,
    "estimator": ValueReader._estimator,
}
