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
from sklearn_cnn.architectures._tensors import Shapes
from sklearn_cnn.images._moments import Moments
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.persistence._plans import read_plan, write_plan
from sklearn_cnn.persistence._safetensors import DTYPES
from sklearn_cnn.persistence._untrusted import HIGHEST, LOWEST, is_size, malformed, read_as

Arrays = Mapping[str, NDArray[Any]]

DEEPEST = 32
"""Levels of nested values that are read."""

LARGEST_ARRAYS = 2**26
"""Bytes of all arrays in JSON together: a string of one letter can be declared a million letters long."""

_FLOATS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")
_TYPES = {"b": bool, "i": int, "u": int, "f": float, "U": str, "M": int, "O": object}
"""Type of an array's values in JSON, by the kind of its dtype."""

_MOMENTS = ("per", "n_images", "total", "mean", "squares", "low", "high")


class ValueWriter:
    """Turns values into JSON and collects their tensors. ``write_estimator(writer, estimator, path)`` does estimators.

    A value has a path, such as ``"Pipeline.scaler.mean_"``. Messages show it, and without its first part it is the name
    of a tensor.
    """

    def __init__(self, write_estimator: Callable[["ValueWriter", Any, str], Any]) -> None:
        self._write_estimator = write_estimator
        self._tensors: dict[str, NDArray[Any]] = {}
        self._networks: list[tuple[Arrays, str, dict[str, Any]]] = []
        self._n_bytes = 0  # of arrays in JSON

    def write(self, value: Any, path: str) -> Any:
        """Turn a value into JSON, with its arrays. A TypeError or ValueError names the path of what cannot be saved."""
        kind = type(value)
        if value is None or kind in (bool, str) or (kind is float and isfinite(value)):
            return value
        if kind is int and LOWEST <= value <= HIGHEST:
            return value
        if kind in _WRITERS:
            return _WRITERS[kind](self, value, path)
        if isinstance(value, np.generic):
            code, _, (number,) = self._write_array(np.asarray(value), path)["array"]
            return {"scalar": [code, number]}
        if isinstance(value, BaseEstimator):
            return {"estimator": self._write_estimator(self, value, path)}
        what = "of more than 64 bits" if kind is int else f"of type {kind.__name__}"
        raise TypeError(f"{path} is {what}, which a saved model cannot hold; {_way_out(value)}.")

    def tensor(self, value: Any, path: str) -> Any:
        """Turn a value into JSON, an array into a tensor of the file if safetensors has its dtype."""
        if type(value) is not np.ndarray or _code(value.dtype) not in DTYPES.values():
            return self.write(value, path)
        if _is_transposed(value):
            return {"transposed": self.tensor(value.T, path)}
        name = _name(path)
        while name in self._tensors:
            name += "'"
        self._tensors[name] = value
        return {"tensor": name}

    def network(self, weights: Arrays, path: str, content: dict[str, Any]) -> None:
        """Add the state dict of a network, whose attributes are in `content`."""
        self._networks.append((weights, f"{_name(path)}." if _name(path) else "", content))

    def finish(self) -> dict[str, NDArray[Any]]:
        """Return all tensors. Those of an only network have the names of its state dict, others a prefix."""
        tensors = dict(self._tensors)
        for weights, own, content in self._networks:
            prefix = own if len(self._networks) > 1 else ""
            while any(prefix + name in tensors for name in weights):
                prefix += "'"
            tensors.update({prefix + name: value for name, value in weights.items()})
            content["module_"] = prefix
        return tensors

    def _write_all(self, values: Any, path: str) -> list[Any]:
        return [self.write(value, f"{path}.{i}") for i, value in enumerate(values)]

    def _write_dict(self, value: dict[Any, Any], path: str) -> Any:
        return {"dict": [[self.write(key, path), self.write(entry, f"{path}.{key}")] for key, entry in value.items()]}

    def _write_array(self, array: NDArray[Any], path: str) -> Any:
        if _is_transposed(array):
            return {"transposed": self._write_array(array.T, path)}
        code = _code(array.dtype)
        if code is None:
            raise TypeError(f"{path} has the dtype {array.dtype}, which a saved model cannot hold; use another dtype.")
        self._n_bytes += array.nbytes
        if self._n_bytes > LARGEST_ARRAYS:
            raise ValueError(f"{path} is too large for a saved model; use shorter strings or fewer values.")
        plain = array.astype(code, order="C").ravel()
        values = plain.view("<i8") if array.dtype.kind == "M" else plain
        return {"array": [code, list(array.shape), self._write_all(values.tolist(), path)]}


_WRITERS: dict[type, Callable[[Any, Any, str], Any]] = {
    float: lambda writer, value, path: {"float": repr(value)},
    list: ValueWriter._write_all,
    tuple: lambda writer, value, path: {"tuple": writer._write_all(value, path)},
    dict: ValueWriter._write_dict,
    np.ndarray: ValueWriter._write_array,
    torch.device: lambda writer, value, path: {"device": str(value)},
    ImageShape: lambda writer, value, path: {"image_shape": asdict(value)},
    Moments: lambda writer, value, path: {
        "moments": [writer.tensor(getattr(value, part), f"{path}.{part}") for part in _MOMENTS]
    },
    Plan: lambda writer, value, path: {"plan": write_plan(value, path)},
}


def _name(path: str) -> str:
    """The name of a tensor, in ASCII."""
    return path.partition(".")[2].encode("ascii", "backslashreplace").decode()


def _is_transposed(array: NDArray[Any]) -> bool:
    """Whether an array is stored column by column. This is kept: the rounding of products depends on it."""
    return array.flags.f_contiguous and not array.flags.c_contiguous


def _code(dtype: np.dtype[Any]) -> str | None:
    """NumPy's code of a dtype in little-endian order, or None for one that a saved model cannot hold."""
    if dtype.kind == "O":
        return "|O"
    if dtype.kind == "U":
        return f"<U{max(1, dtype.itemsize // 4)}"
    if dtype.kind == "M":
        unit, step = np.datetime_data(dtype)
        return f"<M8[{unit}]" if unit in _UNITS and step == 1 else None
    code = dtype.newbyteorder("<").str
    return code if code in DTYPES.values() else None


def _way_out(value: Any) -> str:
    if isinstance(value, int):
        return "use a float"
    if isinstance(value, np.random.RandomState):
        return "set an int as the seed, also after the fit"
    if callable(value):
        return "set another value before saving, or use pickle, which runs code when it loads a file"
    return "use numbers, strings and arrays, and lists, tuples and dicts of them"


class ValueReader:
    """Turns JSON and tensors back into values. ``read_estimator(reader, JSON, depth)`` does estimators."""

    def __init__(self, tensors: Arrays, read_estimator: Callable[["ValueReader", Any, int], Any]) -> None:
        self._read_estimator = read_estimator
        self._left, self._n_tensors = dict(tensors), len(tensors)
        self._n_bytes = 0  # of arrays in JSON

    def finish(self) -> None:
        """Refuse tensors that belong to no value."""
        if self._left:
            raise malformed(f"the tensor {next(iter(self._left))[:40]!r} belongs to no value")

    def read(self, value: Any, depth: int = 0) -> Any:
        """Turn JSON into a value, which is within `depth` others. Made-up JSON raises a ModelFileError, or any."""
        if depth > DEEPEST:
            raise malformed(f"values are nested more than {DEEPEST} deep")
        if isinstance(value, list):
            return [self.read(entry, depth + 1) for entry in value]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items() if len(value) == 1 else (("", None),)
        if kind not in _READERS:
            raise malformed(f"malformed value: unknown type {kind[:20]!r}")
        return _READERS[kind](self, content, depth + 1)

    def network(self, content: Any, shapes: Shapes) -> dict[str, NDArray[Any]]:
        """Return the state dict of a network, whose tensors must have these names and shapes."""
        prefix = read_as(str, content, "prefix of a network")
        weights = {name: self._take(prefix + name) for name in shapes}
        for name, shape in shapes.items():
            if weights[name].shape != shape:
                raise malformed(f"the tensor {name!r} has the shape {weights[name].shape}, and its plan needs {shape}")
        return weights

    def _take(self, name: Any) -> NDArray[Any]:
        # Each tensor belongs to one value: many values of one tensor would be a small file that fills the memory.
        array = self._left.pop(name, None) if isinstance(name, str) else None
        if array is None:
            raise malformed(f"the tensor {str(name)[:40]!r} is missing, or is used twice")
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _read_all(self, content: Any, depth: int) -> list[Any]:
        if not isinstance(content, list):
            raise malformed("malformed list")
        return [self.read(entry, depth) for entry in content]

    def _array(self, content: Any, depth: int) -> NDArray[Any]:
        code, shape, entries = content
        dtype = np.dtype(read_as(str, code, "dtype"))
        if not all(map(is_size, shape)) or prod(shape) != len(entries):
            raise malformed("malformed array: expected as many values as its shape has")
        self._n_bytes += len(entries) * dtype.itemsize
        if _code(dtype) != code or self._n_bytes > LARGEST_ARRAYS:
            raise malformed(f"malformed array: its dtype is {code[:20]!r}, or it is too large")
        values = self._read_all(entries, depth)
        if not all(isinstance(value, _TYPES[dtype.kind]) for value in values):
            raise malformed(f"malformed array: its values are not {code}")
        array = np.empty(len(values), dtype)
        array.view("<i8" if dtype.kind == "M" else dtype)[:] = values
        return array.reshape(shape).astype(dtype.newbyteorder("="))

    def _moments(self, content: Any, depth: int) -> Moments:
        values = self._read_all(content, depth)
        moments = Moments(values[0])
        vars(moments).update(zip(_MOMENTS, values, strict=True))
        return moments


_READERS: dict[str, Callable[[Any, Any, int], Any]] = {
    "float": lambda reader, content, depth: _FLOATS[content],
    "tuple": lambda reader, content, depth: tuple(reader._read_all(content, depth)),
    "dict": lambda reader, content, depth: dict(reader._read_all(content, depth)),
    "tensor": lambda reader, content, depth: reader._take(content),
    "array": ValueReader._array,
    "transposed": lambda reader, content, depth: reader.read(content, depth).T,
    "scalar": lambda reader, content, depth: reader._array([content[0], [], content[1:]], depth)[()],
    "device": lambda reader, content, depth: torch.device(str(content)),
    "image_shape": lambda reader, content, depth: read_as(ImageShape, content, "image shape"),
    "moments": ValueReader._moments,
    "plan": lambda reader, content, depth: read_plan(content, reader._n_tensors),
    "estimator": lambda reader, content, depth: reader._read_estimator(reader, content, depth),
}
