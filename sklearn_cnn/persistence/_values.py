"""Values with their types, as JSON and tensors.

None, bools, integers, finite floats, strings and lists are their own JSON. Every other value is an object of one key,
its type: ``{"tuple": [1, 2]}``, ``{"tensor": "mean_"}``.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isfinite, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.persistence._plans import Shapes, read_plan, write_plan
from sklearn_cnn.persistence._safetensors import DTYPES
from sklearn_cnn.persistence._untrusted import (
    HIGHEST,
    LOWEST,
    is_flag,
    is_side,
    is_size,
    is_text,
    list_of,
    malformed,
    one_of,
    read_fields,
)

DEEPEST = 32
"""Levels of nested values that are read."""

LARGEST_ARRAYS = 2**26
"""Bytes of all arrays in the JSON together. Some of them could take more memory than text: strings of one length."""

_WORDS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")
_IN_JSON = {"b": bool, "i": int, "u": int, "f": float, "U": str, "M": int}
"""The type of an array's values in JSON, by the kind of its dtype."""

_IMAGE_SHAPE = {
    "height": is_side,
    "width": is_side,
    "channels": is_side,
    "axes": one_of("hw", "hwc", "chw"),
    "flat": is_flag,
}
_MOMENTS = ("per", "n_images", "total", "mean", "squares", "low", "high")


class ValueWriter:
    """Turns values into JSON and collects their tensors.

    A value has a path, such as ``"Pipeline.scaler.mean_"``: messages have it whole, and tensors have it as their name,
    without the first part.

    Parameters
    ----------
    write_estimator : callable
        ``(writer, estimator, path) -> JSON``, for estimators among the values.
    """

    def __init__(self, write_estimator: Callable[["ValueWriter", Any, str], Any]) -> None:
        self._write_estimator = write_estimator
        self._tensors: dict[str, NDArray[Any]] = {}
        self._networks: list[tuple[dict[str, str], Mapping[str, NDArray[Any]]]] = []
        self._n_bytes = 0  # of arrays in JSON

    def write(self, value: Any, path: str) -> Any:
        """Turn a value into JSON, arrays included.

        Parameters
        ----------
        value : object
            The value.
        path : str
            Its path.

        Returns
        -------
        object
            An argument of `json.dumps`.

        Raises
        ------
        TypeError, ValueError
            For a value that a saved model cannot hold; the message has the path.
        """
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            if not LOWEST <= value <= HIGHEST:
                raise ValueError(f"{path} is an integer of more than 64 bits, which a saved model cannot hold.")
            return value
        if kind is float:
            return value if isfinite(value) else {"float": repr(value)}
        if kind is list:
            return self._write_all(value, path)
        if kind is tuple:
            return {"tuple": self._write_all(value, path)}
        if kind is dict:
            return {"dict": [[self.write(key, path), self.write(v, f"{path}.{key}")] for key, v in value.items()]}
        if isinstance(value, np.generic):
            return {"scalar": self._write_array(np.asarray(value), path)}
        if kind is np.ndarray:
            return self._write_array(value, path)
        if kind is torch.device:
            return {"device": str(value)}
        if kind is ImageShape:
            return {"image_shape": asdict(value)}
        if kind is Moments:
            return {"moments": [self.tensor(getattr(value, part), f"{path}.{part}") for part in _MOMENTS]}
        if kind is Plan:
            return {"plan": write_plan(value, path)}
        if isinstance(value, BaseEstimator):
            return {"estimator": self._write_estimator(self, value, path)}
        raise TypeError(_refusal(value, path))

    def tensor(self, value: Any, path: str) -> Any:
        """Turn a value into JSON; an array becomes a tensor of the file where safetensors has its dtype."""
        if type(value) is not np.ndarray or _code(value.dtype) not in DTYPES.values():
            return self.write(value, path)
        if _is_transposed(value):
            return {"transposed": self.tensor(value.T, path)}
        name = _name(path)
        while name in self._tensors:
            name += "'"
        self._tensors[name] = value
        return {"tensor": name}

    def network(self, weights: Mapping[str, NDArray[Any]], path: str) -> dict[str, str]:
        """Add the weights of a network; their names follow in `finish`."""
        content = {"prefix": f"{_name(path)}." if _name(path) else ""}
        self._networks.append((content, weights))
        return content

    def finish(self) -> dict[str, NDArray[Any]]:
        """Name all tensors. Those of the only network have the names of its state dict."""
        tensors = dict(self._tensors)
        for content, weights in self._networks:
            if len(self._networks) == 1:
                content["prefix"] = ""
            while any(content["prefix"] + name in tensors for name in weights):
                content["prefix"] += "'"
            tensors.update({content["prefix"] + name: value for name, value in weights.items()})
        return tensors

    def _write_all(self, values: Any, path: str) -> list[Any]:
        return [self.write(value, f"{path}.{i}") for i, value in enumerate(values)]

    def _write_array(self, array: NDArray[Any], path: str) -> Any:
        if _is_transposed(array):
            return {"transposed": self._write_array(array.T, path)}
        if array.dtype == object:
            return {"objects": [list(array.shape), self._write_all(array.ravel().tolist(), path)]}
        code = _code(array.dtype)
        if code is None:
            raise TypeError(f"{path} has the dtype {array.dtype}, which a saved model cannot hold.")
        self._n_bytes += array.nbytes
        if self._n_bytes > LARGEST_ARRAYS:
            raise ValueError(f"{path} and the arrays before it take more than {LARGEST_ARRAYS:,} bytes.")
        plain = array.astype(code, order="C").ravel()
        values = plain.view("<i8") if array.dtype.kind == "M" else plain
        return {"array": [code, list(array.shape), self._write_all(values.tolist(), path)]}


def _name(path: str) -> str:
    """The name of a tensor: its path in the file, in ASCII."""
    return path.partition(".")[2].encode("ascii", "backslashreplace").decode()


def _is_transposed(array: NDArray[Any]) -> bool:
    """Whether an array is stored column by column. That is kept: results of products depend on it by rounding."""
    return array.flags.f_contiguous and not array.flags.c_contiguous


def _code(dtype: np.dtype[Any]) -> str | None:
    """NumPy's code of a dtype in little-endian order; None for one that a saved model cannot hold."""
    if dtype.kind == "U":
        return f"<U{max(1, dtype.itemsize // 4)}"
    if dtype.kind == "M":
        unit, step = np.datetime_data(dtype)
        return f"<M8[{unit}]" if unit in _UNITS and step == 1 else None
    code = dtype.newbyteorder("<").str
    return code if code in DTYPES.values() else None


def _refusal(value: Any, path: str) -> str:
    if isinstance(value, np.random.RandomState):
        way_out = "set an int as the seed, also after the fit"
    elif callable(value):
        way_out = "set another value before saving, or use pickle, which runs code when it loads a file"
    else:
        way_out = "use numbers, strings and arrays, and lists, tuples and dicts of them"
    return f"{path} is of type {type(value).__name__}, which a saved model cannot hold; {way_out}."


class ValueReader:
    """Turns JSON back into values.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        The tensors of the file.
    read_estimator : callable
        ``(reader, JSON, depth) -> estimator``.
    """

    def __init__(
        self, tensors: Mapping[str, NDArray[Any]], read_estimator: Callable[["ValueReader", Any, int], Any]
    ) -> None:
        self._left = dict(tensors)
        self._n_tensors = len(tensors)
        self._read_estimator = read_estimator
        self._n_bytes = 0

    def finish(self) -> None:
        """Refuse tensors that belong to no value."""
        if self._left:
            raise malformed(f"the tensor {next(iter(self._left))[:40]!r} belongs to no value")

    def read(self, value: Any, depth: int = 0) -> Any:
        """Turn JSON into a value.

        Parameters
        ----------
        value : object
            From `parse`.
        depth : int, default=0
            The number of values around it.

        Returns
        -------
        object
            The value that `ValueWriter` was given.

        Raises
        ------
        ModelFileError
            For JSON that `ValueWriter` does not write.
        """
        if depth > DEEPEST:
            raise malformed(f"values are nested more than {DEEPEST} deep")
        if isinstance(value, list):
            return [self.read(entry, depth + 1) for entry in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise malformed("malformed value: expected one type")
        ((kind, content),) = value.items()
        if kind not in _READERS:
            raise malformed(f"malformed value: unknown type {kind[:20]!r}")
        return _READERS[kind](self, content, depth + 1)

    def network(self, content: Any, shapes: Shapes) -> dict[str, NDArray[Any]]:
        """The weights of a network whose tensors must have these names and shapes."""
        prefix = read_fields(content, {"prefix": is_text}, "network")["prefix"]
        weights = {name: self._take(prefix + name) for name in shapes}
        for name, shape in shapes.items():
            if weights[name].shape != shape:
                raise malformed(f"the tensor {name!r} has the shape {weights[name].shape}; its plan needs {shape}")
        return weights

    def _take(self, name: Any) -> NDArray[Any]:
        # Each tensor belongs to one value: many values of one tensor would be a small file that fills the memory.
        array = self._left.pop(name, None) if isinstance(name, str) else None
        if array is None:
            raise malformed(f"the tensor {str(name)[:40]!r} is missing, or has two values")
        return array

    def _list(self, content: Any, length: int | None = None) -> list[Any]:
        if not isinstance(content, list) or length not in (None, len(content)):
            raise malformed("malformed list")
        return content

    def _float(self, content: Any, depth: int) -> float:
        if not isinstance(content, str) or content not in _WORDS:
            raise malformed("malformed float")
        return _WORDS[content]

    def _tuple(self, content: Any, depth: int) -> tuple[Any, ...]:
        return tuple(self.read(entry, depth) for entry in self._list(content))

    def _dict(self, content: Any, depth: int) -> dict[Any, Any]:
        pairs = [[self.read(part, depth) for part in self._list(pair, 2)] for pair in self._list(content)]
        if not all(isinstance(key, str | int | float | np.generic | None) for key, _ in pairs):
            raise malformed("malformed dict: expected numbers or strings as keys")
        return dict(pairs)

    def _tensor(self, content: Any, depth: int) -> NDArray[Any]:
        array = self._take(content)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _array(self, content: Any, depth: int) -> NDArray[Any]:
        code, shape, entries = self._list(content, 3)
        if not is_text(code) or not list_of(is_size)(shape) or prod(shape) != len(self._list(entries)):
            raise malformed("malformed array")
        dtype = np.dtype(code)
        self._n_bytes += len(entries) * dtype.itemsize
        if _code(dtype) != code or self._n_bytes > LARGEST_ARRAYS:
            raise malformed(f"malformed array: dtype {code[:20]!r}, or too large")
        values = [self.read(entry, depth) for entry in entries]
        if any(type(value) is not _IN_JSON[dtype.kind] for value in values):
            raise malformed(f"malformed array: its values are not {code}")
        array = np.array(values, dtype="<i8" if dtype.kind == "M" else dtype)
        return array.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), order="C")

    def _transposed(self, content: Any, depth: int) -> NDArray[Any]:
        array = self.read(content, depth)
        if not isinstance(array, np.ndarray):
            raise malformed("malformed array")
        return array.T

    def _objects(self, content: Any, depth: int) -> NDArray[Any]:
        shape, entries = (self._list(part) for part in self._list(content, 2))
        values = [self.read(entry, depth) for entry in entries]
        plain = all(isinstance(value, str | int | float | np.generic | None) for value in values)
        if not plain or not list_of(is_size)(shape) or prod(shape) != len(values):
            raise malformed("malformed array of objects")
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.reshape(shape)

    def _scalar(self, content: Any, depth: int) -> Any:
        array = self.read(content, depth)
        if not isinstance(array, np.ndarray) or array.ndim > 0:
            raise malformed("malformed scalar")
        return array[()]

    def _device(self, content: Any, depth: int) -> torch.device:
        try:
            return torch.device(content if isinstance(content, str) else "")
        except RuntimeError:
            raise malformed("malformed device") from None

    def _image_shape(self, content: Any, depth: int) -> ImageShape:
        shape = ImageShape(**read_fields(content, _IMAGE_SHAPE, "image shape"))
        if shape.axes == "hw" and shape.channels != 1:
            raise malformed("malformed image shape: images without an axis of channels have one channel")
        return shape

    def _moments(self, content: Any, depth: int) -> Moments:
        values = [self.read(part, depth) for part in self._list(content, len(_MOMENTS))]
        moments = Moments(values[0])
        for part, value in zip(_MOMENTS, values, strict=True):
            setattr(moments, part, value)
        return moments

    def _plan(self, content: Any, depth: int) -> Plan:
        return read_plan(content, self._n_tensors)

    def _estimator(self, content: Any, depth: int) -> Any:
        return self._read_estimator(self, content, depth)


_READERS: dict[str, Callable[[ValueReader, Any, int], Any]] = {
    "float": ValueReader._float,
    "tuple": ValueReader._tuple,
    "dict": ValueReader._dict,
    "tensor": ValueReader._tensor,
    "array": ValueReader._array,
    "transposed": ValueReader._transposed,
    "objects": ValueReader._objects,
    "scalar": ValueReader._scalar,
    "device": ValueReader._device,
    "image_shape": ValueReader._image_shape,
    "moments": ValueReader._moments,
    "plan": ValueReader._plan,
    "estimator": ValueReader._estimator,
}
