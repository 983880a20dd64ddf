"""Foreign C3D weight files to `Weights`, running no code that a file contains.

Each reader turns a file into foreign names and arrays; `_LAYERS` says what the layers are called
elsewhere; `_to_canonical` brings kernels and matrices into Caffe's order, which is ours:
convolutions (out, in, T, H, W), fully connected (out, in) with the input channel slowest.

    reader            file                                          told apart by
    read_torch        PyTorch, zip or legacy (DavideA, jfzhang95, mmaction2)   zip / magic pickle
    read_lasagne      Python 2 pickle of a list of arrays           pickle without torch's magic
    read_keras        Keras HDF5, TF or Theano order                HDF5 signature
    read_caffe        Caffe NetParameter, C3D's or stock numbering  otherwise
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kinema import network as networks
from kinema.files import atomic_path
from kinema.weights import Weights, check_arrays, check_mean

CONVOLUTIONS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
FULLY_CONNECTED = ("fc6", "fc7", "fc8")
LAYERS = CONVOLUTIONS + FULLY_CONNECTED


class Foreign(NamedTuple):
    """What a reader found: arrays by foreign name, what kind of file it was, and its layout."""

    arrays: dict[str, np.ndarray]
    kind: str
    layout: str = "caffe"  # "caffe", "keras-tf", "keras-th" or "lasagne"
    symmetric_pool5: bool = False


def convert(
    source: str | os.PathLike[str],
    *,
    mean: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    pool5: str | None = None,
    name: str | None = None,
    network: networks.Network | None = None,
) -> Weights:
    """Read a C3D weight file of any known kind.

    Args:
        source: the file.
        mean: what to subtract from frames, see `load_mean`. None leaves the weights without one;
            they are then refused by `extract` until it is given a mean.
        labels: class names in the order of fc8.
        pool5: "caffe" or "symmetric"; None takes the kind that the weights were trained with:
            Caffe's windows, but symmetric ones for models that mmaction2 trained itself.
        name: what to call the weights; None takes the file's name.
        network: what the parameters must fit; None means C3D with the file's number of classes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of no known kind, would run code, or a parameter is missing, extra,
            misshapen or not finite; the message names it.
    """
    source = Path(source)
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file.")
    try:
        foreign = _read(source)
        arrays = _to_canonical(foreign)
        trained_with = "symmetric" if foreign.symmetric_pool5 else "caffe"
        network = network or _c3d_for(arrays, pool5 or trained_with)
        check_arrays(arrays, network)
    except (ValueError, struct.error, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as e:
        raise ValueError(f"{source}: {e}") from None
    return Weights(
        arrays,
        network,
        name=name or source.stem,
        source=f"{foreign.kind}, {source.name}",
        source_sha256=file_sha256(source),
        mean=mean,
        labels=None if labels is None else tuple(labels),
    )


def file_sha256(path: Path) -> str:
    """Checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(source: Path) -> Foreign:
    with open(source, "rb") as file:
        head = file.read(16)
    if not head:
        raise ValueError("the file is empty.")
    if head.startswith(b"PK\x03\x04"):
        return _named_torch(read_torch_zip(source))
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras(source)
    if head.startswith(_TORCH_MAGIC):
        return _named_torch(read_torch_legacy(source))
    if head[:1] == b"\x80" or head[:2] in (b"(l", b"]q"):
        return read_lasagne(source)
    if len(head) >= 9 and head[8:9] == b"{":
        raise ValueError("this is a safetensors file; convert reads files from elsewhere.")
    return read_caffe(source)


# --- names and layouts ----------------------------------------------------------------------------

_JFZHANG = {
    **dict(zip((f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)), CONVOLUTIONS, strict=True)),
    "classifier.0": "fc6",
    "classifier.3": "fc7",
}

_LAYERS: dict[str, str] = {
    **{layer: layer for layer in LAYERS},
    "conv1": "conv1a",  # DavideA, Keras
    "conv2": "conv2a",
    **{f"{layer}-1": layer for layer in FULLY_CONNECTED},  # the released Sports-1M net
    **_JFZHANG,
    **{f"{layer}.conv": layer for layer in CONVOLUTIONS},  # mmaction2
    "cls_head.fc_cls": "fc8",
    "fc_cls": "fc8",
}
"""Foreign layer name: ours."""


def _to_canonical(foreign: Foreign) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    unknown = []
    for foreign_name, array in foreign.arrays.items():
        layer, _, kind = foreign_name.rpartition(".")
        if layer not in _LAYERS or kind not in ("weight", "bias"):
            unknown.append(foreign_name)
            continue
        name = f"{_LAYERS[layer]}.{kind}"
        if name in arrays:
            raise ValueError(f"parameter {name} is in the file twice, again as {foreign_name}.")
        if array.dtype.kind != "f":
            raise ValueError(f"parameter {foreign_name} holds {array.dtype}, not real numbers.")
        arrays[name] = array
    if not arrays:
        found = ", ".join(list(foreign.arrays)[:4]) or "no tensor"
        raise ValueError(f"no layer of C3D in this {foreign.kind} (found {found}).")
    if unknown:
        raise ValueError(
            f"parameter {unknown[0]} is not one of C3D's"
            + (f" (and {len(unknown) - 1} more)." if len(unknown) > 1 else ".")
        )
    for layer in LAYERS:  # before any shape is read
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name not in arrays and layer != "fc8":
                raise ValueError(f"parameter {name} is missing.")
    for name, array in arrays.items():
        dimensions = 1 if name.endswith(".bias") else 5 if name.startswith("conv") else 2
        if name.endswith(".bias"):
            array = array.reshape(-1) if array.size == max(array.shape, default=0) else array
        if array.ndim != dimensions:
            raise ValueError(
                f"parameter {name} must have {dimensions} dimensions, got shape {array.shape}."
            )
        arrays[name] = array
    transposed = _dense_is_transposed(foreign, arrays)
    for name, array in arrays.items():
        if array.ndim == 5:
            if foreign.layout == "keras-tf":
                array = array.transpose(4, 3, 0, 1, 2)
            elif foreign.layout == "keras-th":
                array = array[:, :, ::-1, ::-1, ::-1]  # Theano convolves, Caffe correlates
        elif array.ndim == 2 and transposed:
            array = array.T
        arrays[name] = array
    if foreign.layout == "keras-tf":
        arrays["fc6.weight"] = _channel_first_columns(
            arrays["fc6.weight"], len(arrays["conv5b.weight"])
        )
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _dense_is_transposed(foreign: Foreign, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether matrices are (in, out). Keras' are; Lasagne's tell by the length of fc6's bias."""
    if foreign.layout in ("keras-tf", "keras-th"):
        return True
    if foreign.layout == "lasagne":
        return arrays["fc6.weight"].shape[1] == len(arrays["fc6.bias"])
    return False


def _channel_first_columns(matrix: np.ndarray, channels: int) -> np.ndarray:
    """fc6's columns from (height, width, channel) order to (channel, height, width)."""
    outputs, inputs = matrix.shape
    places, rest = divmod(inputs, channels)
    if rest:
        raise ValueError(
            f"parameter fc6.weight has {inputs} inputs, not a multiple of conv5b's {channels}."
        )
    return matrix.reshape(outputs, places, channels).swapaxes(1, 2).reshape(outputs, inputs)


def _c3d_for(arrays: Mapping[str, np.ndarray], pool5: str) -> networks.Network:
    """C3D with as many classes as the file's fc8."""
    num_classes = len(arrays["fc8.bias"]) if "fc8.bias" in arrays else None
    if num_classes is None and "fc8.weight" in arrays:
        raise ValueError("parameter fc8.bias is missing.")
    return networks.c3d(num_classes, pool5=pool5)


# --- Caffe ----------------------------------------------------------------------------------------


_UNKNOWN_KIND = (
    "not a weight file of a known kind (Caffe, PyTorch, Lasagne, Keras HDF5), or it is damaged."
)


class _Field(NamedTuple):
    number: int
    wire_type: int
    value: Any  # int for varints, memoryview otherwise


def _fields(buffer: memoryview) -> Iterator[_Field]:
    """The fields of one protobuf message. A message that runs over its end is a ValueError."""
    position, size = 0, len(buffer)
    while position < size:
        tag, position = _varint(buffer, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(buffer, position)
            yield _Field(number, 0, value)
            continue
        if wire_type == 2:
            length, position = _varint(buffer, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(_UNKNOWN_KIND)
        if number == 0 or position + length > size:
            raise ValueError(_UNKNOWN_KIND)
        yield _Field(number, wire_type, buffer[position : position + length])
        position += length


def _varint(buffer: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(buffer) or shift > 63:
            raise ValueError(_UNKNOWN_KIND)
        byte = buffer[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7


@dataclass(frozen=True)
class _Numbering:
    """Field numbers of a BlobProto."""

    axes: tuple[int, ...]
    data: int


_C3D_BLOB = _Numbering(axes=(1, 2, 3, 4, 5), data=6)  # num, channels, length, height, width
_STOCK_BLOB = _Numbering(axes=(1, 2, 3, 4), data=5)  # num, channels, height, width
_SHAPE_FIELD = 7  # stock: BlobShape; C3D: diff


def read_blob(buffer: memoryview) -> np.ndarray:
    """One BlobProto. C3D v1.0 numbers its fields unlike stock Caffe: width is 5 and data is 6.

    The two are told apart by field 5, which is a number in one and data in the other. Stored
    diffs are passed over.
    """
    fields = list(_fields(buffer))
    stock = any(field.number == 5 and field.wire_type != 0 for field in fields)
    numbering = _STOCK_BLOB if stock else _C3D_BLOB
    parts = [f.value for f in fields if f.number == numbering.data and f.wire_type != 0]
    data = np.concatenate([np.frombuffer(part, "<f4") for part in parts] or [np.empty(0, "<f4")])
    sizes = {f.number: f.value for f in fields if f.number in numbering.axes and f.wire_type == 0}
    shape = tuple(sizes.get(axis, 1) for axis in numbering.axes)
    if stock:
        for field in fields:
            if field.number == _SHAPE_FIELD:
                shape = tuple(_blob_shape(field.value))
    if np.prod(shape, dtype=object) != data.size:
        raise ValueError(f"a blob of shape {shape} holds {data.size} numbers.")
    return data.reshape(shape)


def _blob_shape(buffer: memoryview) -> Iterator[int]:
    for field in _fields(buffer):
        if field.wire_type == 0:
            yield field.value
        else:
            position = 0
            while position < len(field.value):
                size, position = _varint(field.value, position)
                yield size


def read_caffe(source: Path) -> Foreign:
    """Caffe's NetParameter: V1 `layers` (field 2) or V2 `layer` (field 100)."""
    arrays: dict[str, np.ndarray] = {}
    for field in _fields(memoryview(source.read_bytes())):
        if field.number in (2, 100) and field.wire_type == 2:
            arrays.update(_caffe_layer(field.value, version=1 if field.number == 2 else 2))
    if "conv1.weight" in arrays and any(name.startswith("res") for name in arrays):
        raise ValueError("this is C3D v1.1, a residual network; only C3D v1.0 can be converted.")
    return Foreign(arrays, "Caffe model")


def _caffe_layer(buffer: memoryview, *, version: int) -> dict[str, np.ndarray]:
    name_field, blobs_field = (4, 6) if version == 1 else (1, 7)
    fields = [field for field in _fields(buffer) if field.wire_type == 2]
    name = next(
        (bytes(f.value).decode("utf-8", "replace") for f in fields if f.number == name_field), ""
    )
    blobs = [field.value for field in fields if field.number == blobs_field]
    arrays = {}
    for index, blob in enumerate(blobs):
        kind = ("weight", "bias")[index] if index < 2 else f"blob{index}"
        try:
            array = read_blob(blob)
        except ValueError as error:
            raise ValueError(f"layer {name}, {kind}: {error}") from None
        arrays[f"{name}.{kind}"] = _without_leading_ones(name, kind, array)
    return arrays


def _without_leading_ones(name: str, kind: str, array: np.ndarray) -> np.ndarray:
    """Legacy blobs have five axes: biases are (1, 1, 1, 1, out), matrices (1, 1, 1, out, in)."""
    wanted = 1 if kind == "bias" else 2 if name.startswith("fc") else 5
    while array.ndim > wanted and array.shape[0] == 1:
        array = array[0]
    return array


# --- pickles: only tensors are built, everything else is refused ----------------------------------


class _Storage(NamedTuple):
    """A persistent id of torch.save: where a tensor's numbers are."""

    dtype: np.dtype
    key: str
    size: int


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


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """`_codecs.encode`, with which Python 3 writes bytes at protocol 2."""
    if encoding != "latin1":
        raise ValueError(f"a pickle that encodes as {encoding!r} is refused.")
    return text.encode("latin1")


_TORCH_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
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

_INERT_MODULES = ("mmengine.", "mmcv.", "datetime")
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
            f"which could run code."
        )

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "storage":
            _, dtype, key, _device, size, *_view = pid
            return _Storage(dtype, str(key), int(size))
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

_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of a legacy torch.save: 0x1950a86a20f9469cfc6c."""


def read_torch_zip(source: Path) -> Any:
    """What torch.save wrote since version 1.6: a zip with `data.pkl` and one file a storage."""
    with zipfile.ZipFile(source) as archive:
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
                return _numbers(archive.read(name), str(storage.dtype))
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
            dtype = str(storages[key].dtype)
            itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
            numbers[key] = _numbers(_exactly(file, size * itemsize), dtype)
    return _with_numbers(content, lambda storage: numbers[storage.key])


def _exactly(file: Any, size: int) -> bytes:
    data = file.read(size) if size >= 0 else b""
    if len(data) != size:
        raise ValueError("the file was cut off.")
    return data


def _storages(content: Any) -> Iterator[_Storage]:
    if isinstance(content, _LazyTensor):
        yield content.storage
    elif isinstance(content, dict):
        for value in content.values():
            yield from _storages(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _storages(value)


def _with_numbers(content: Any, read: Callable[[_Storage], np.ndarray]) -> Any:
    """`content` with arrays in place of tensors, in nested dicts only."""
    if isinstance(content, _LazyTensor):
        return content.materialize(read(content.storage))
    if isinstance(content, dict):
        return {key: _with_numbers(value, read) for key, value in content.items()}
    return content


def _named_torch(content: Any) -> Foreign:
    """A state dict, bare or under `state_dict`, of one of the ports."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError("a torch file, but it holds no state dict.")
    arrays = {str(k): v for k, v in content.items() if isinstance(v, np.ndarray)}
    backbone = any(name.startswith("backbone.") for name in arrays)
    arrays = {
        name.removeprefix("module.").removeprefix("backbone."): a for name, a in arrays.items()
    }
    return Foreign(arrays, "PyTorch state dict", symmetric_pool5=backbone)


# --- Lasagne --------------------------------------------------------------------------------------


def read_lasagne(source: Path) -> Foreign:
    """A Python 2 pickle: a list of 22 arrays, weight and bias of each layer in the net's order."""
    with open(source, "rb") as file:
        content = _unpickle(file, _NUMPY_GLOBALS)
    if not isinstance(content, list | tuple) or not all(isinstance(a, _Array) for a in content):
        raise ValueError("a pickle, but not a list of arrays.")
    names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    if len(content) != len(names):
        raise ValueError(
            f"a list of {len(content)} arrays, C3D has {len(names)}"
            + (f": parameter {names[len(content)]} is missing." if len(content) < 22 else ".")
        )
    arrays = {name: item.array for name, item in zip(names, content, strict=True)}
    return Foreign(arrays, "Lasagne pickle", layout="lasagne")


# --- Keras ----------------------------------------------------------------------------------------


def read_keras(source: Path) -> Foreign:
    """Keras HDF5: groups by layer name, or `layer_0`, `layer_1`, ... in the net's order."""
    try:
        import h5py
    except ImportError:
        raise ValueError("Keras files need h5py: pip install 'kinema[hdf5]'.") from None
    try:
        with h5py.File(source, "r") as file:
            root = file.get("model_weights", file)
            groups = {
                name: found
                for name, group in root.items()
                # A link could lead to another file.
                if isinstance(root.get(name, getlink=True), h5py.HardLink)
                and (found := _datasets(group, h5py.Dataset))
            }
    except OSError as error:
        raise ValueError(f"the HDF5 file is damaged ({error}).") from None
    if groups and all(re.fullmatch(r"layer_\d+", name) for name in groups):
        ordered = sorted(groups, key=lambda name: int(name.removeprefix("layer_")))
        if len(ordered) > len(LAYERS):
            raise ValueError(
                f"it has {len(ordered)} layers with parameters, C3D has {len(LAYERS)}."
            )
        groups = {layer: groups[name] for layer, name in zip(LAYERS, ordered, strict=False)}
    arrays = {}
    for layer, found in groups.items():
        for index, (dataset, array) in enumerate(found):
            is_bias = array.ndim == 1
            kind = "bias" if is_bias else "weight" if index < 2 else dataset
            if f"{layer}.{kind}" in arrays:
                raise ValueError(f"layer {layer} has two arrays for its {kind}.")
            arrays[f"{layer}.{kind}"] = array
    first = next((arrays[n] for n in ("conv1.weight", "conv1a.weight") if n in arrays), None)
    if first is None or first.ndim != 5:
        raise ValueError("a HDF5 file, but not a Keras C3D (no kernel of conv1).")
    layout = "keras-tf" if first.shape[3] == 3 and first.shape[1] == first.shape[0] else "keras-th"
    return Foreign(arrays, f"Keras HDF5 ({layout.removeprefix('keras-')} order)", layout=layout)


def _datasets(group: Any, dataset_type: type) -> list[tuple[str, np.ndarray]]:
    """All arrays below a group, kernels before biases."""
    found: list[tuple[str, np.ndarray]] = []
    if isinstance(group, dataset_type):
        return found

    def visit(name: str, item: Any) -> None:
        if isinstance(item, dataset_type):
            found.append((name, item[()]))

    group.visititems(visit)
    return sorted(found, key=lambda pair: -pair[1].ndim)


# --- means ----------------------------------------------------------------------------------------


def load_mean(source: str | os.PathLike[str]) -> np.ndarray:
    """A mean from a file, or from three numbers "B,G,R".

    Args:
        source: `.npy`, `.npz` (its only array, or the one called `mean`), Caffe's `.binaryproto`,
            or numbers such as "104,117,128".

    Returns:
        (3,) or (3, T, H, W) float32 in B, G, R.
    """
    text = os.fspath(source)
    numbers = re.fullmatch(r"\s*([^,]+),([^,]+),([^,]+)\s*", text)
    path = Path(text)
    if numbers and not path.exists():
        try:
            return check_mean([float(number) for number in numbers.groups()])
        except ValueError:
            raise ValueError(
                f"`mean` {text!r} is neither a file nor three numbers B,G,R."
            ) from None
    if not path.is_file():
        raise FileNotFoundError(f"`mean` {text!r} is neither a file nor three numbers B,G,R.")
    try:
        if path.suffix == ".binaryproto":
            blob = read_blob(memoryview(path.read_bytes()))
            array = blob[0] if blob.ndim == 5 and len(blob) == 1 else blob
        else:
            loaded: Any = np.load(path, allow_pickle=False)
            names = getattr(loaded, "files", None)  # of an .npz
            if names is not None:
                if "mean" not in names and len(names) != 1:
                    raise ValueError(f"it holds {', '.join(names)}, none called mean.")
                loaded = loaded["mean" if "mean" in names else names[0]]
            array = loaded
        return check_mean(array)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from None


_MEAN_WRITERS: dict[str, Callable[[Any, np.ndarray], None]] = {
    ".npy": lambda file, array: np.save(file, array),
    ".npz": lambda file, array: np.savez_compressed(file, mean=array),
    ".binaryproto": lambda file, array: file.write(_write_blob(array)),
}


def check_mean_path(path: str | os.PathLike[str]) -> None:
    """Refuse a file name that `save_mean` does not know how to write."""
    if Path(path).suffix not in _MEAN_WRITERS:
        raise ValueError(f"{path} must end in one of {', '.join(_MEAN_WRITERS)}.")


def save_mean(path: str | os.PathLike[str], mean: np.ndarray) -> None:
    """Write a mean as `.npy`, `.npz` or Caffe's `.binaryproto` in C3D's numbering."""
    check_mean_path(path)
    array = check_mean(mean)
    with atomic_path(path) as partial, open(partial, "wb") as file:
        _MEAN_WRITERS[Path(path).suffix](file, array)


def load_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names from a text file, one a line in the order of the network's outputs."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"`labels` {path}: no such file.")
    return tuple(
        line.strip() for line in Path(path).read_text("utf-8").splitlines() if line.strip()
    )


def _write_blob(array: np.ndarray) -> bytes:
    """A BlobProto in C3D's numbering, data packed."""
    if array.ndim == 1:
        array = array.reshape(3, 1, 1, 1)
    sizes = (1, *array.shape)
    message = b"".join(
        bytes([axis << 3]) + _to_varint(size)
        for axis, size in zip(_C3D_BLOB.axes, sizes, strict=True)
    )
    data = np.ascontiguousarray(array, "<f4").tobytes()
    return message + bytes([_C3D_BLOB.data << 3 | 2]) + _to_varint(len(data)) + data


def _to_varint(value: int) -> bytes:
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
