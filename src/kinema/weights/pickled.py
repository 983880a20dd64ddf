"""Pickles of PyTorch and NumPy read without running anything that they name.

A pickle is a program. Here it can only build plain containers, tensors and arrays of numbers; a
pickle that names anything else is refused with that name. torch is not needed.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class _Storage(NamedTuple):
    """A persistent id of torch.save: where a tensor's numbers are."""

    dtype: str
    key: str


class _LazyTensor(NamedTuple):
    """A tensor whose numbers are read later."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def materialize(self, numbers: np.ndarray) -> np.ndarray:
        if not self.shape:
            return numbers[self.offset : self.offset + 1].reshape(())
        if 0 in self.shape:
            return np.empty(self.shape, numbers.dtype)
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.stride, strict=True)
        )
        if self.offset < 0 or min(self.stride) < 0 or last >= numbers.size:
            raise ValueError("a tensor reaches outside its storage.")
        if math.prod(self.shape) > numbers.size:  # steps of zero: a small file, a huge tensor
            raise ValueError("a tensor is larger than its storage.")
        return np.lib.stride_tricks.as_strided(
            numbers[self.offset :],
            self.shape,
            [step * numbers.itemsize for step in self.stride],
            writeable=False,
        )


class _Inert:
    """Stands for an object that converters do not need; it keeps nothing and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __hash__(self) -> int:  # it can stand where a key does
        return id(self)


_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<?",
}


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: Sequence[int], stride: Sequence[int], *_: object
) -> _LazyTensor:
    return _LazyTensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(tensor: _LazyTensor, *_: object) -> _LazyTensor:
    return tensor


class _Array:
    """A pickled NumPy array; `__setstate__` takes only real numbers."""

    array: np.ndarray

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not re.fullmatch(r"[<>=|]?f[248]", dtype.code):
            raise ValueError("an array in the pickle does not hold real numbers.")
        if isinstance(data, str):  # Python 2 wrote bytes as str
            data = data.encode("latin1")
        if not isinstance(data, bytes):
            raise ValueError("an array in the pickle has no plain data.")
        numbers = np.frombuffer(data, dtype.code)
        self.array = numbers.reshape(tuple(shape), order="F" if fortran else "C")


class _Dtype:
    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        byte_order = state[1]
        if isinstance(byte_order, str) and byte_order in ("<", ">"):
            self.code = byte_order + self.code.lstrip("<>=|")


def _plain_dict(*_: object) -> dict[Any, Any]:
    """`collections.defaultdict`, without what it would call for a missing key."""
    return {}


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """`_codecs.encode`, with which Python 3 writes bytes at protocol 2."""
    if encoding != "latin1":
        raise ValueError(f"a pickle that encodes as {encoding!r} is refused.")
    return text.encode("latin1")


_TORCH_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _plain_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    # What stands in checkpoints beside the tensors: names of types, and numbers of NumPy.
    **{(module, "set"): set for module in ("builtins", "__builtin__")},
    **{
        (module, name): _Inert
        for module in ("builtins", "__builtin__")
        for name in ("int", "float", "str", "bool", "list", "dict", "tuple", "object", "slice")
    },
    **{
        ("torch", name): _Inert
        for name in ("device", "Size", "float32", "float16", "bfloat16", "float64", "int64")
    },
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Inert,
    ("numpy", "ndarray"): _Inert,
    **{
        (f"{package}.multiarray", name): _Inert
        for package in ("numpy.core", "numpy._core")
        for name in ("scalar", "_reconstruct")
    },
}

_NUMPY_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{
        (f"{package}.multiarray", "_reconstruct"): _Array
        for package in ("numpy.core", "numpy._core")
    },
}

_INERT_MODULES = (
    "mmengine.",
    "mmcv.",
    "datetime",
    "argparse",
    "pathlib",
    "omegaconf.",
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "torch.optim.",
)
"""Modules whose objects stand in the notes of published checkpoints, beside the tensors."""


class _Unpickler(pickle.Unpickler):
    """Builds tensors, arrays and plain containers; refuses every other global by name."""

    def __init__(self, file: io.BufferedIOBase, allowed: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file, encoding="latin1")
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._allowed:
            return self._allowed[module, name]
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if module.startswith(_INERT_MODULES):
            return _Inert
        raise ValueError(
            f"refused: the pickle inside names {module}.{name}, which no weight file needs and "
            f"which could run code; save the state dict alone (`model.state_dict()`)."
        )

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "storage":
            _, dtype, key, *_device_and_size = pid
            return _Storage(str(dtype), str(key))
        raise ValueError(f"refused: the pickle inside refers to {pid[0]!r}.")


def _unpickle(file: Any, allowed: Mapping[tuple[str, str], Any]) -> Any:
    """One pickle; whatever a broken one raises becomes a ValueError."""
    try:
        return _Unpickler(file, allowed).load()
    except (ValueError, EOFError):
        raise
    except Exception as error:  # a damaged stream can fail in any way
        raise ValueError(f"the pickle inside cannot be read ({error}).") from None


def _numbers(data: bytes, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, dtype)


# --- PyTorch --------------------------------------------------------------------------------------

TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of a legacy torch.save: 0x1950a86a20f9469cfc6c."""


def read_torch_zip(source: Path) -> Any:
    """What torch.save wrote since version 1.6: a zip with `data.pkl` and one file a storage."""
    with zipfile.ZipFile(source) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise ValueError("a TorchScript program; save the `state_dict()` of its module.")
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip, but not one that torch.save wrote (no data.pkl).")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder")
            if order != b"little":
                raise ValueError("a big-endian torch file is not supported.")
        with archive.open(pickles[0]) as file:
            content = _unpickle(file, _TORCH_GLOBALS)

        def read(storage: _Storage) -> np.ndarray:
            name = f"{folder}data/{storage.key}"
            try:
                return _numbers(archive.read(name), storage.dtype)
            except KeyError:
                raise ValueError(
                    f"the file has lost the numbers of storage {storage.key}."
                ) from None

        return _with_numbers(content, read)


def read_torch_legacy(source: Path) -> Any:
    """What torch.save wrote before version 1.6: five pickles, then the storages one by one."""
    with open(source, "rb") as file:
        for _ in range(3):  # magic number, protocol version, system
            _unpickle(file, {})
        content = _unpickle(file, _TORCH_GLOBALS)
        keys = _unpickle(file, {})
        storages = {storage.key: storage for storage in _storages(content)}
        numbers = {}
        for key in map(str, keys):
            (size,) = struct.unpack("<q", _exactly(file, 8))
            if key not in storages:
                raise ValueError(f"storage {key} belongs to no tensor.")
            dtype = storages[key].dtype
            itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
            numbers[key] = _numbers(_exactly(file, size * itemsize), dtype)
    return _with_numbers(content, lambda storage: numbers[storage.key])


def _exactly(file: Any, size: int) -> bytes:
    data = file.read(size) if size >= 0 else b""
    if len(data) != size:
        raise ValueError("the file was cut off.")
    return data


def _storages(content: Any, entered: set[int] | None = None) -> Iterator[_Storage]:
    """Of all tensors, in dicts and lists within each other."""
    entered = set() if entered is None else entered
    if isinstance(content, _LazyTensor):
        yield content.storage
    elif isinstance(content, dict | list | tuple) and id(content) not in entered:
        entered.add(id(content))  # what is there several times over would take for ever
        for value in content.values() if isinstance(content, dict) else content:
            yield from _storages(value, entered)


def _with_numbers(
    content: Any, read: Callable[[_Storage], np.ndarray], done: dict[int, Any] | None = None
) -> Any:
    """`content` with arrays in place of tensors, in dicts and lists within each other."""
    done = {} if done is None else done
    if isinstance(content, _LazyTensor):
        return content.materialize(read(content.storage))
    if not isinstance(content, dict | list | tuple):
        return content
    if id(content) not in done:
        if isinstance(content, dict):
            by_key: dict[Any, Any] = {}
            done[id(content)] = by_key
            by_key |= {key: _with_numbers(value, read, done) for key, value in content.items()}
        else:
            items: list[Any] = []
            done[id(content)] = items
            items += [_with_numbers(value, read, done) for value in content]
    return done[id(content)]


# --- NumPy ----------------------------------------------------------------------------------------


def read_array_list(source: Path) -> list[np.ndarray]:
    """A pickle of a list of NumPy arrays, of Python 2 or 3."""
    with open(source, "rb") as file:
        content = _unpickle(file, _NUMPY_GLOBALS)
    if not isinstance(content, list | tuple) or not all(isinstance(a, _Array) for a in content):
        raise ValueError("a pickle, but not a list of arrays.")
    return [item.array for item in content]
