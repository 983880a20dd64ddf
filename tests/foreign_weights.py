"""Writers of the foreign C3D weight files that the converter has to read.

Every writer takes plain float32 arrays under Kinema's names and lays them out as one of the
programs that ever shipped C3D weights would have. None of them shares code with the converter:
the bytes come from the formats' own definitions, so a mistake in the converter can't cancel out.

Kinema's names are ``conv1a``, ``conv2a``, ``conv3a``, ``conv3b``, ``conv4a``, ``conv4b``,
``conv5a``, ``conv5b``, ``fc6``, ``fc7`` and ``fc8``, each with ``.weight`` and ``.bias``. A
convolution's weight is (out, in, T, H, W), a linear layer's (out, in); the columns of ``fc6``
run over (C, T, H, W) with the channel slowest and T = 1. Sizes are free. A layer that the
arrays lack is left out of the file, so that an incomplete file is easy to make.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import pickle
import shlex
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing import Unpack

    import h5py
    import torch

Array = NDArray[np.float32]
Arrays = Mapping[str, Array]
StrPath = str | os.PathLike[str]

STAGES = (
    ("conv1a",),
    ("conv2a",),
    ("conv3a", "conv3b"),
    ("conv4a", "conv4b"),
    ("conv5a", "conv5b"),
)
CONVS = tuple(name for stage in STAGES for name in stage)
DENSES = ("fc6", "fc7", "fc8")
LAYERS = CONVS + DENSES
KINDS = ("weight", "bias")

_SHORT_CONVS = {"conv1a": "conv1", "conv2a": "conv2"}


def _shapes(channels: tuple[int, ...], hidden: int, num_classes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (source, out) in zip(CONVS, pairwise((3, *channels)), strict=True):
        shapes[f"{name}.weight"] = (out, source, 3, 3, 3)
        shapes[f"{name}.bias"] = (out,)
    widths = (channels[-1] * 4 * 4, hidden, hidden, num_classes)
    for name, (source, out) in zip(DENSES, pairwise(widths), strict=True):
        shapes[f"{name}.weight"] = (out, source)
        shapes[f"{name}.bias"] = (out,)
    return shapes


def full_c3d_shapes() -> dict[str, tuple[int, ...]]:
    """The shapes of the released 487-class net."""
    return _shapes((64, 128, 256, 256, 512, 512, 512, 512), 4096, 487)


def small_c3d(seed: int = 0, num_classes: int = 5) -> dict[str, Array]:
    """A net of the same topology with about 15,000 random parameters.

    Every stage has its own width. As in the released net conv3b, conv4b, conv5b and fc7 have as
    many outputs as inputs, so swapping those axes can't be seen from the shapes.
    """
    rng = np.random.default_rng(seed)
    shapes = _shapes((4, 6, 7, 7, 9, 9, 10, 10), 12, num_classes)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def _present(arrays: Arrays) -> Iterator[str]:
    return (name for name in LAYERS if f"{name}.weight" in arrays)


# Caffe: protobuf wire format

_VARINT, _LENGTH_DELIMITED, _FIXED32 = 0, 2, 5


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: float | str | bytes) -> bytes:
    """One field: an int as a varint, a float as four bytes, the others with their length."""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | _FIXED32) + struct.pack("<f", value)
    payload = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _floats(number: int, values: Array, *, packed: bool) -> bytes:
    if packed:
        return _field(number, values.astype("<f4").tobytes())
    tagged = np.empty(values.size, [("tag", "u1"), ("value", "<f4")])
    tagged["tag"] = number << 3 | _FIXED32
    tagged["value"] = values.ravel()
    return tagged.tobytes()


class _BlobLayout(NamedTuple):
    dims: tuple[int, ...]
    data: int
    diff: int


class _LayerLayout(NamedTuple):
    in_net: int
    name: int
    type: int
    bottom: int
    top: int
    blobs: int
    multipliers: tuple[tuple[int, float | bytes], ...]
    params: Mapping[str, int]
    types: Mapping[str, int | str]


class _CaffeLayer(NamedTuple):
    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]


_BLOBS = {
    "c3d": _BlobLayout(dims=(1, 2, 3, 4, 5), data=6, diff=7),
    "bvlc": _BlobLayout(dims=(1, 2, 3, 4), data=5, diff=6),
}
_BLOB_SHAPE = 7

_V1 = _LayerLayout(
    in_net=2,
    name=4,
    type=5,
    bottom=2,
    top=3,
    blobs=6,
    multipliers=((7, 1.0), (7, 2.0), (8, 1.0), (8, 0.0)),
    params={"convolution": 10, "inner_product": 17},
    types={
        "data": 33,
        "convolution": 30,
        "relu": 18,
        "pooling": 31,
        "inner_product": 14,
        "dropout": 6,
        "softmax": 20,
    },
)
_V2 = _LayerLayout(
    in_net=100,
    name=1,
    type=2,
    bottom=3,
    top=4,
    blobs=7,
    multipliers=(
        (6, _field(3, 1.0) + _field(4, 1.0)),
        (6, _field(3, 2.0) + _field(4, 0.0)),
    ),
    params={"convolution": 106, "inner_product": 117},
    types={
        "data": "VideoData",
        "convolution": "Convolution",
        "relu": "ReLU",
        "pooling": "Pooling",
        "inner_product": "InnerProduct",
        "dropout": "Dropout",
        "softmax": "Softmax",
    },
)


def _blob(
    values: Array, layout: _BlobLayout, *, shaped: bool, packed: bool, with_diff: bool
) -> bytes:
    """A BlobProto, its fields in the order of their numbers as Caffe's C++ writes them."""
    parts = []
    if not shaped:
        dims = (1,) * (len(layout.dims) - values.ndim) + values.shape
        parts += [_field(number, dim) for number, dim in zip(layout.dims, dims, strict=True)]
    parts.append(_floats(layout.data, values, packed=packed))
    if with_diff:
        parts.append(_floats(layout.diff, np.full_like(values, 7), packed=packed))
    if shaped:
        parts.append(_field(_BLOB_SHAPE, _field(1, b"".join(map(_varint, values.shape)))))
    return b"".join(parts)


def _caffe_net(fc_suffix: str) -> Iterator[_CaffeLayer]:
    yield _CaffeLayer("data", "data", (), ("data", "label"))
    bottom = "data"
    for number, stage in enumerate(STAGES, 1):
        for name in stage:
            yield _CaffeLayer(name, "convolution", (bottom,), (name,))
            yield _CaffeLayer(name.replace("conv", "relu"), "relu", (name,), (name,))
            bottom = name
        yield _CaffeLayer(f"pool{number}", "pooling", (bottom,), (f"pool{number}",))
        bottom = f"pool{number}"
    for name in DENSES:
        top = name + fc_suffix
        yield _CaffeLayer(top, "inner_product", (bottom,), (top,))
        if name != "fc8":
            yield _CaffeLayer(name.replace("fc", "relu"), "relu", (top,), (top,))
            yield _CaffeLayer(name.replace("fc", "drop"), "dropout", (top,), (top,))
        bottom = top
    yield _CaffeLayer("prob", "softmax", (bottom,), ("prob",))


def _caffe_layer(layer: _CaffeLayer, layout: _LayerLayout, blobs: list[bytes]) -> bytes:
    """A layer without its ``*_param``, its fields in the order of their numbers."""
    fields: list[tuple[int, float | str | bytes]] = [
        (layout.name, layer.name),
        (layout.type, layout.types[layer.type]),
        *((layout.bottom, bottom) for bottom in layer.bottoms),
        *((layout.top, top) for top in layer.tops),
        *((layout.blobs, blob) for blob in blobs),
    ]
    if blobs:
        fields += layout.multipliers
    fields.sort(key=lambda field: field[0])
    return b"".join(_field(*field) for field in fields)


def write_caffe(
    path: StrPath,
    arrays: Arrays,
    *,
    fc_suffix: str = "-1",
    with_diff: bool = False,
    with_blobless_layers: bool = True,
    packed: bool = True,
    numbering: Literal["c3d", "bvlc"] | None = None,
    layer_version: Literal[1, 2] = 1,
) -> None:
    """Imitate ``conv3d_deepnetA_sport1m_iter_1900000``: a binary NetParameter.

    By default V1 ``layers`` (field 2: bottom 2, top 3, name 4, type enum 5, blobs 6) hold blobs
    in C3D v1.0's numbering (num 1, channels 2, length 3, height 4, width 5, data 6, diff 7):
    convolutions (out, in, L, H, W), linear weights (1, 1, 1, out, in), biases (1, 1, 1, 1, out).
    ``fc_suffix=""`` imitates ``c3d_ucf101_finetune_whole_iter_20000``.

    ``numbering="bvlc"`` is stock Caffe's (num 1, channels 2, height 3, width 4, data 5, diff 6),
    where a convolution, too deep for four dimensions, has ``shape`` (field 7) in their place.
    ``layer_version=2`` imitates the container of ``c3d_resnet18_sports1m_r2_iter_2800000``:
    ``layer`` (field 100: name 1, type string 2, bottom 3, top 4, blobs 7) with stock blobs that
    all have ``shape`` alone. ``numbering`` is C3D's for version 1 and stock for version 2 unless
    given. ``with_diff`` adds gradients of 7 everywhere.
    """
    numbering = numbering or ("c3d" if layer_version == 1 else "bvlc")
    if (numbering, layer_version) == ("c3d", 2):
        raise ValueError("No Caffe wrote V2 layers with blobs in C3D v1.0's numbering")
    layer_layout, blob_layout = (_V1, _V2)[layer_version - 1], _BLOBS[numbering]
    learned = {name + (fc_suffix if name in DENSES else ""): name for name in _present(arrays)}
    parts = [_field(1, "DeepConv3DNet_Sport1M")]
    for layer in _caffe_net(fc_suffix):
        if layer.name in learned:
            values = [arrays[f"{learned[layer.name]}.{kind}"] for kind in KINDS]
            blobs = [
                _blob(
                    value,
                    blob_layout,
                    shaped=layer_version == 2 or value.ndim > len(blob_layout.dims),
                    packed=packed,
                    with_diff=with_diff,
                )
                for value in values
            ]
            message = _caffe_layer(layer, layer_layout, blobs)
            message += _field(layer_layout.params[layer.type], _field(1, len(values[1])))
        elif layer.type in layer_layout.params or not with_blobless_layers:
            continue
        else:
            message = _caffe_layer(layer, layer_layout, [])
        parts.append(_field(layer_layout.in_net, message))
    pathlib.Path(path).write_bytes(b"".join(parts))


def write_binaryproto(path: StrPath, mean: Array) -> None:
    """Imitate ``train01_16_128_171_mean`` and ``sport1m_train16_128_mean.binaryproto``.

    One BlobProto in C3D v1.0's numbering, with num 1 before ``mean``'s (3, T, H, W).
    """
    blob = _blob(mean, _BLOBS["c3d"], shaped=False, packed=True, with_diff=False)
    pathlib.Path(path).write_bytes(blob)


# PyTorch


class TorchOptions(TypedDict, total=False):
    """How a PyTorch writer stores its tensors; the values stay, but for a narrow dtype.

    zip: the zip archive of torch 1.6 and later, else the older run of pickles.
    views: every tensor is a strided view, axes and elements apart, of one storage full of NaN.
    dtype: name of the torch type to store.
    parameters: wrap each tensor in ``nn.Parameter``.
    metadata: give the dict the ``_metadata`` that ``Module.state_dict`` adds since torch 0.4.
    old_rebuild: refer to ``torch._utils._rebuild_tensor``, as torch did before 0.4.
    """

    zip: bool
    views: bool
    dtype: str
    parameters: bool
    metadata: bool
    old_rebuild: bool


def _renamed(arrays: Arrays, names: Mapping[str, str]) -> dict[str, Array]:
    return {
        f"{new}.{kind}": arrays[f"{name}.{kind}"]
        for name, new in names.items()
        if f"{name}.weight" in arrays
        for kind in KINDS
    }


def _as_views(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors as views of one storage: first axis fastest, every second element."""
    import torch

    dtype = next(iter(tensors.values())).dtype
    buffer = torch.full((1 + 2 * sum(map(torch.numel, tensors.values())),), math.nan, dtype=dtype)
    views, offset = {}, 1
    for name, tensor in tensors.items():
        strides = list(accumulate(tensor.shape[:-1], lambda step, size: step * size, initial=2))
        views[name] = buffer.as_strided(tensor.shape, strides, offset)
        views[name].copy_(tensor)
        offset += 2 * tensor.numel()
    return views


def _old_pickle_module() -> SimpleNamespace:
    """A stand-in for ``pickle`` that refers to tensors the way torch did before 0.4."""
    import torch

    class OldPickler(pickle.Pickler):
        def reducer_override(self, obj: object) -> Any:
            if type(obj) is not torch.Tensor:
                return NotImplemented
            parts = obj._typed_storage(), obj.storage_offset(), tuple(obj.shape), obj.stride()
            return torch._utils._rebuild_tensor, parts

    return SimpleNamespace(__name__="pickle", Pickler=OldPickler, dump=pickle.dump)


def _write_state_dict(
    path: StrPath,
    arrays: Arrays,
    meta: Mapping[str, object] | None = None,
    *,
    zip: bool = True,
    views: bool = False,
    dtype: str = "float32",
    parameters: bool = False,
    metadata: bool = True,
    old_rebuild: bool = False,
) -> None:
    import torch

    tensors = {
        name: torch.tensor(array, dtype=getattr(torch, dtype)) for name, array in arrays.items()
    }
    if views:
        tensors = _as_views(tensors)
    if parameters:
        tensors = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    state = OrderedDict(tensors)
    if metadata:
        modules = dict.fromkeys(["", *(name.rpartition(".")[0] for name in arrays)])
        versions = OrderedDict((module, {"version": 1}) for module in modules)
        state._metadata = versions  # type: ignore[attr-defined]
    torch.save(
        state if meta is None else {"meta": meta, "state_dict": state},
        path,
        pickle_module=_old_pickle_module() if old_rebuild else pickle,
        _use_new_zipfile_serialization=zip,
    )


def write_davidea(path: StrPath, arrays: Arrays, **options: Unpack[TorchOptions]) -> None:
    """Imitate ``c3d.pickle``: a state dict of conv1, conv2, conv3a, ... conv5b, fc6, fc7, fc8.

    Tensors as Caffe has them. The original is old enough to want
    ``zip=False, metadata=False, old_rebuild=True``.
    """
    names = {name: _SHORT_CONVS.get(name, name) for name in LAYERS}
    _write_state_dict(path, _renamed(arrays, names), **options)


def write_jfzhang(path: StrPath, arrays: Arrays, **options: Unpack[TorchOptions]) -> None:
    """Imitate ``ucf101-caffe.pth``: features.{0,3,6,8,11,13,16,18}, classifier.{0,3}; no fc8.

    Tensors as Caffe has them.
    """
    convs = (f"features.{index}" for index in (0, 3, 6, 8, 11, 13, 16, 18))
    names = dict(zip(LAYERS[:-1], (*convs, "classifier.0", "classifier.3"), strict=True))
    _write_state_dict(path, _renamed(arrays, names), **options)


def _mmaction2_backbone(prefix: str = "") -> dict[str, str]:
    convs = {name: f"{prefix}{name}.conv" for name in CONVS}
    return convs | {name: prefix + name for name in ("fc6", "fc7")}


def write_mmaction2_pretrain(
    path: StrPath, arrays: Arrays, **options: Unpack[TorchOptions]
) -> None:
    """Imitate ``c3d_sports1m_pretrain_20201016-dcc47ddc.pth``: the backbone's state dict.

    conv1a.conv, ... conv5b.conv, fc6, fc7; tensors as Caffe has them; no fc8.
    """
    _write_state_dict(path, _renamed(arrays, _mmaction2_backbone()), **options)


def write_mmaction2_checkpoint(
    path: StrPath, arrays: Arrays, **options: Unpack[TorchOptions]
) -> None:
    """Imitate ``c3d_sports1m-pretrained_..._20220811-31723200.pth``: an mmengine checkpoint.

    A dict of ``meta`` and ``state_dict``, the latter with backbone.conv1a.conv, ...
    backbone.fc7 and the last layer as cls_head.fc_cls; tensors as Caffe has them.
    """
    meta = {
        "cfg": "model = dict(type='Recognizer3D', backbone=dict(type='C3D'))\n",
        "dataset_meta": {"classes": ["ApplyEyeMakeup", "ApplyLipstick"], "CLASSES": None},
        "epoch": 45,
        "iter": 14310,
        "experiment_name": "c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb",
        "hook_msgs": {"best_score": 0.83, "runtime_info": {"min_keys": []}},
        "mmengine_version": "0.1.0",
        "seed": 0,
        "time": "20220811_141546",
    }
    names = _mmaction2_backbone("backbone.") | {"fc8": "cls_head.fc_cls"}
    _write_state_dict(path, _renamed(arrays, names), meta, **options)


# Lasagne: a pickle by Python 2 with NumPy 1


@dataclass(frozen=True, eq=False)
class _Global:
    module: str
    name: str


@dataclass(frozen=True, eq=False)
class _Reduced:
    function: _Global
    arguments: tuple[object, ...]
    state: tuple[object, ...]


class _Python2Pickler:
    """Writes what Python 2's pickle or cPickle wrote for a list of arrays, byte for byte.

    Bytes stand for Python 2's ``str``. cPickle counts its memo from 1, and keeps no tuple or
    string that nobody else holds, which here is all of them.
    """

    def __init__(self, file: BinaryIO, protocol: int, *, c_pickler: bool) -> None:
        self.write = file.write
        self.protocol = protocol
        self.c_pickler = c_pickler
        self.numbers = count(1 if c_pickler else 0)
        self.memo: dict[int, int] = {}

    def dump(self, obj: object) -> None:
        if self.protocol >= 2:
            self.write(pickle.PROTO + bytes([self.protocol]))
        self.save(obj)
        self.write(pickle.STOP)

    def save(self, obj: object) -> None:
        if id(obj) in self.memo:
            self.write(self._numbered(pickle.BINGET, pickle.GET, self.memo[id(obj)]))
            return
        match obj:
            case None:
                self.write(pickle.NONE)
            case bool():
                new = pickle.NEWTRUE if obj else pickle.NEWFALSE
                self.write(new if self.protocol >= 2 else pickle.TRUE if obj else pickle.FALSE)
            case int():
                self._save_int(obj)
            case bytes():
                self._save_string(obj)
            case tuple():
                self._save_tuple(obj)
            case list():
                self._save_list(obj)
            case _Global():
                self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
                self._memoize(obj)
            case _Reduced():
                self.save(obj.function)
                self.save(obj.arguments)
                self.write(pickle.REDUCE)
                self._memoize(obj)
                self.save(obj.state)
                self.write(pickle.BUILD)

    def _numbered(self, binary: bytes, text: bytes, number: int) -> bytes:
        return binary + bytes([number]) if self.protocol else text + b"%d\n" % number

    def _memoize(self, obj: object) -> None:
        """Number the object, and remember it unless it is a tuple.

        Python 2 made every tuple anew where Python 3 may use a constant one again.
        """
        if self.c_pickler and isinstance(obj, tuple | bytes):
            return
        number = next(self.numbers)
        if not isinstance(obj, tuple):
            self.memo[id(obj)] = number
        self.write(self._numbered(pickle.BINPUT, pickle.PUT, number))

    def _save_int(self, value: int) -> None:
        if not self.protocol:
            self.write(pickle.INT + b"%d\n" % value)
        elif 0 <= value <= 0xFF:
            self.write(pickle.BININT1 + struct.pack("<B", value))
        elif 0 <= value <= 0xFFFF:
            self.write(pickle.BININT2 + struct.pack("<H", value))
        else:
            self.write(pickle.BININT + struct.pack("<i", value))

    def _save_string(self, value: bytes) -> None:
        if not self.protocol:
            self.write(pickle.STRING + repr(value).removeprefix("b").encode() + b"\n")
        elif len(value) <= 0xFF:
            self.write(pickle.SHORT_BINSTRING + struct.pack("<B", len(value)) + value)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self._memoize(value)

    def _save_tuple(self, items: tuple[object, ...]) -> None:
        short = self.protocol >= 2 and len(items) <= 3
        if not short:
            self.write(pickle.MARK)
        for item in items:
            self.save(item)
        closing = (pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
        self.write(closing[len(items) - 1] if short else pickle.TUPLE)
        self._memoize(items)

    def _save_list(self, items: list[object]) -> None:
        self.write(pickle.EMPTY_LIST if self.protocol else pickle.MARK + pickle.LIST)
        self._memoize(items)
        if self.protocol:
            self.write(pickle.MARK)
        for item in items:
            self.save(item)
            if not self.protocol:
                self.write(pickle.APPEND)
        if self.protocol:
            self.write(pickle.APPENDS)


def _reduced_arrays(arrays: list[Array]) -> list[_Reduced]:
    """The arrays as NumPy 1's ``ndarray.__reduce__`` takes them apart."""
    reconstruct = _Global("numpy.core.multiarray", "_reconstruct")
    ndarray, dtype = _Global("numpy", "ndarray"), _Global("numpy", "dtype")
    order_code = b"b"
    float32 = _Reduced(dtype, (b"f4", 0, 1), (3, b"<", None, None, None, -1, -1, 0))
    return [
        _Reduced(
            reconstruct,
            (ndarray, (0,), order_code),
            (1, array.shape, float32, array.flags.fnc, array.astype("<f4").tobytes("A")),
        )
        for array in arrays
    ]


def write_lasagne(
    path: StrPath,
    arrays: Arrays,
    *,
    protocol: Literal[-1, 0, 1, 2] = 2,
    dense_transposed: bool = True,
    fortran: bool = False,
    pickler: Literal["pickle", "cPickle"] = "pickle",
) -> None:
    """Imitate ``c3d_model.pkl``: a Python 2 pickle, a list of weight, bias, weight, bias, ...

    In net order, convolutions (out, in, L, H, W) unflipped, fc6's inputs in C, H, W order. Dense
    weights are (in, out), as Lasagne's DenseLayer holds them, or (out, in) if not
    ``dense_transposed``. With ``fortran`` they are column-major arrays, as ``W.T`` is in memory.
    For the full net, protocol 2 of ``pickle`` gives the original's 319,965,140 bytes.
    """
    values = []
    for name in _present(arrays):
        weight = arrays[f"{name}.weight"]
        if name in DENSES:
            weight = weight.T if dense_transposed else weight
            weight = np.asarray(weight, order="F" if fortran else "C")
        values += [weight, arrays[f"{name}.bias"]]
    protocol = 2 if protocol == -1 else protocol
    with pathlib.Path(path).open("wb") as file:
        writer = _Python2Pickler(file, protocol, c_pickler=pickler == "cPickle")
        writer.dump(_reduced_arrays(values))


# Keras: HDF5

_KERAS_LAYERS = (
    "conv1",
    "pool1",
    "conv2",
    "pool2",
    "conv3a",
    "conv3b",
    "pool3",
    "conv4a",
    "conv4b",
    "pool4",
    "conv5a",
    "conv5b",
    "zeropadding3d_1",
    "pool5",
    "flatten_1",
    "fc6",
    "dropout_1",
    "fc7",
    "dropout_2",
    "fc8",
)
_KERAS_NAMES = {"keras1": ("{0}_W", "{0}_b"), "keras2": ("{0}/kernel:0", "{0}/bias:0")}


def _keras_weight(name: str, arrays: Arrays, order: str) -> Array:
    weight = arrays[f"{name}.weight"]
    if name in CONVS:
        return weight.transpose(2, 3, 4, 1, 0) if order == "tf" else weight[..., ::-1, ::-1, ::-1]
    if name == "fc6" and order == "tf":
        channels = len(arrays["conv5b.weight"])
        side = math.isqrt(weight.shape[1] // channels)
        volume = weight.reshape(-1, channels, 1, side, side)
        return volume.transpose(2, 3, 4, 1, 0).reshape(weight.shape[::-1])
    return weight.T


def _keras_values(arrays: Arrays, order: str) -> dict[str, tuple[Array, Array]]:
    """Kernel and bias of every learned layer, under Keras' layer names."""
    return {
        _SHORT_CONVS.get(name, name): (_keras_weight(name, arrays, order), arrays[f"{name}.bias"])
        for name in _present(arrays)
    }


def _keras_strings(names: Iterable[str]) -> NDArray[Any]:
    """Strings of one fixed length; an empty array of floats if there are none, as in Keras."""
    return np.array([name.encode() for name in names])


def _write_keras_layers(root: h5py.Group, values: Mapping[str, Any], style: str) -> None:
    root.attrs["layer_names"] = _keras_strings(_KERAS_LAYERS)
    if style == "keras2":
        root.attrs["backend"] = b"tensorflow"
        root.attrs["keras_version"] = b"2.0.8"
    for name in _KERAS_LAYERS:
        group = root.create_group(name)
        layer_values = values.get(name, ())
        templates = _KERAS_NAMES[style][: len(layer_values)]
        weight_names = [template.format(name) for template in templates]
        group.attrs["weight_names"] = _keras_strings(weight_names)
        for weight_name, value in zip(weight_names, layer_values, strict=True):
            group.create_dataset(weight_name, data=value)


def _write_numbered_layers(root: h5py.Group, values: Mapping[str, Any]) -> None:
    root.attrs["nb_layers"] = len(_KERAS_LAYERS)
    for index, name in enumerate(_KERAS_LAYERS):
        group = root.create_group(f"layer_{index}")
        layer_values = values.get(name, ())
        group.attrs["nb_params"] = len(layer_values)
        for number, value in enumerate(layer_values):
            group.create_dataset(f"param_{number}", data=value)


def write_keras(
    path: StrPath,
    arrays: Arrays,
    *,
    order: Literal["tf", "th"] = "tf",
    style: Literal["keras1", "keras2", "layer_i"] = "keras1",
    full_model: bool = False,
) -> None:
    """Imitate ``sports1M_weights_tf.h5`` and ``sports1M_weights_th.h5``.

    tf: kernels (L, H, W, in, out), dense (in, out), fc6's rows in H, W, C order.
    th: kernels (out, in, L, H, W) reversed in L, H and W, dense (in, out), fc6's rows in
    C, H, W order.

    keras1: root attribute layer_names; groups conv1, conv2, conv3a, ... fc8, and one without
    weights for each pool, padding, flatten and dropout; attribute weight_names; datasets
    conv1/conv1_W, conv1/conv1_b. keras2: the same with conv1/conv1/kernel:0 and
    conv1/conv1/bias:0. layer_i: root attribute nb_layers, groups layer_0 ... with attribute
    nb_params and datasets param_0, param_1; a layer without weights takes a number too.
    ``full_model`` is ``model.save`` rather than ``model.save_weights``: everything moves into the
    group model_weights, beside the attribute model_config.
    """
    import h5py

    if full_model and style == "layer_i":
        raise ValueError("Keras had no model.save when it numbered the layers")
    values = _keras_values(arrays, order)
    with h5py.File(path, "w") as file:
        if style == "layer_i":
            _write_numbered_layers(file, values)
        elif full_model:
            file.attrs["keras_version"] = b"1.2.2" if style == "keras1" else b"2.0.8"
            config = [{"class_name": "Layer", "config": {"name": name}} for name in _KERAS_LAYERS]
            model_config = {"class_name": "Sequential", "config": config}
            file.attrs["model_config"] = json.dumps(model_config).encode()
            _write_keras_layers(file.create_group("model_weights"), values, style)
        else:
            _write_keras_layers(file, values, style)


# Files that must not be unpickled

Call = Literal["system", "eval", "touch"]


class _Calling:
    """Pickles to a call of the function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self.reduced


def _marking(marker_path: StrPath, call: Call) -> _Calling:
    marker = os.fspath(marker_path)
    match call:
        case "system":
            return _Calling(os.system, f"touch {shlex.quote(marker)}")
        case "eval":
            return _Calling(eval, f"open({marker!r}, 'w').close()")
        case "touch":
            return _Calling(pathlib.Path.touch, pathlib.Path(marker))


def write_malicious_torch(
    path: StrPath, marker_path: StrPath, *, zip: bool = True, call: Call = "system"
) -> None:
    """A PyTorch state dict that creates ``marker_path`` if it is unpickled without care.

    ``call`` picks what does it: os.system, builtins.eval, or pathlib.Path.touch by way of getattr.
    """
    import torch

    state = {"conv1.weight": torch.zeros(4, 3, 3, 3, 3), "conv1.bias": _marking(marker_path, call)}
    torch.save(state, path, _use_new_zipfile_serialization=zip)


def write_malicious_pickle(
    path: StrPath, marker_path: StrPath, *, protocol: int = 2, call: Call = "system"
) -> None:
    """A plain pickle of a list that creates ``marker_path`` if it is unpickled without care.

    ``call`` as for ``write_malicious_torch``.
    """
    with pathlib.Path(path).open("wb") as file:
        pickle.dump([_marking(marker_path, call)], file, protocol)
