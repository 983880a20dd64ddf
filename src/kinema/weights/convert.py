"""Foreign C3D weight files to `Weights`, running no code that a file contains.

Each reader turns a file into foreign names and arrays; `_picked` finds the network among them, by
`_LAYERS`, what the layers are called elsewhere; `_to_canonical` brings kernels and matrices into
Caffe's order, which is ours: convolutions (out, in, T, H, W), fully connected (out, in) with the
input channel slowest.

    reader            file                                          told apart by
    read_safetensors  a state dict as safetensors                   length and start of its header
    read_torch        PyTorch, zip or legacy (DavideA, ...)         zip, or torch's magic number
    read_lasagne      Python 2 pickle of a list of arrays           a pickle without it
    read_keras        Keras HDF5, TF or Theano order                HDF5 signature
    read_caffe        Caffe model, C3D's or stock numbering         otherwise
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from kinema import network as networks
from kinema.weights import caffe
from kinema.weights.file import FORMAT, Weights, check_arrays
from kinema.weights.pickled import TORCH_MAGIC, read_array_list, read_torch_legacy, read_torch_zip

CONVOLUTIONS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
FULLY_CONNECTED = ("fc6", "fc7", "fc8")
LAYERS = CONVOLUTIONS + FULLY_CONNECTED

LARGEST_PARAMETER = 1 << 28
"""Numbers in one parameter, eight times fc6's: a small file can claim any size."""


class Foreign(NamedTuple):
    """What a reader found.

    Attributes:
        arrays: by foreign name; in a checkpoint the keys that lead there stand before it, as in
            "model.state_dict.conv1a.weight".
        kind: of the file, in words.
        layout: "caffe", "keras-tf", "keras-th" or "lasagne".
        symmetric_pool5: whether it was trained with pool5 padded on both sides.
        holders: of an array in a checkpoint, the keys of the dict that it lies in, "" for the file.
        seen: what else is in the file, to be named where nothing fits.
    """

    arrays: dict[str, np.ndarray]
    kind: str
    layout: str = "caffe"
    symmetric_pool5: bool = False
    holders: Mapping[str, str] = MappingProxyType({})
    seen: Sequence[str] = ()


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
        network: what the parameters must fit; None means C3D with the file's number of classes, or
            c3d_mini or one of the kernel-depth study if the file has its five convolutions.

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
        found, left_out = _picked(foreign)
        trained_with = "symmetric" if foreign.symmetric_pool5 else "caffe"
        network = network or _network_for(found, pool5, trained_with)
        arrays = _to_canonical(found, foreign, network)
        check_arrays(arrays, network)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{source}: it is damaged ({type(error).__name__}: {error}).") from None
    return Weights(
        arrays,
        network,
        name=name or source.stem,
        source=f"{foreign.kind}, {source.name}{left_out}",
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
        size = os.fstat(file.fileno()).st_size
    if not head:
        raise ValueError("the file is empty.")
    # First, because the length of the header can look like the start of a pickle.
    if head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") <= size:
        return read_safetensors(source)
    if head.startswith(b"PK\x03\x04"):
        return read_torch(read_torch_zip(source))
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras(source)
    if head.startswith(TORCH_MAGIC):
        return read_torch(read_torch_legacy(source))
    if head[:1] == b"\x80" or head[:2] in (b"(l", b"]q"):
        return read_lasagne(source)
    if head[8:10] == b'{"':
        raise ValueError("this is a safetensors file that was cut off.")
    return read_caffe(source)


# --- names and layouts ----------------------------------------------------------------------------

_JFZHANG = {
    **dict(zip((f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)), CONVOLUTIONS, strict=True)),
    "classifier.0": "fc6",
    "classifier.3": "fc7",
}

_CALLED: dict[str, tuple[str, ...]] = {layer: (layer,) for layer in LAYERS}
_CALLED |= {"conv1a": ("conv1a", "conv1"), "conv2a": ("conv2a", "conv2")}  # DavideA, Keras
_CALLED |= {layer: (layer, f"{layer}-1") for layer in FULLY_CONNECTED}  # the released Sports-1M net

_LAYERS: dict[str, str] = {
    **{name: layer for layer, names in _CALLED.items() for name in names},
    # A layer may be the first one of a block, with ReLU behind it; in mmaction2 it is `conv`.
    **{f"{name}.0": layer for layer, names in _CALLED.items() for name in names},
    **{f"{name}.conv": layer for layer in CONVOLUTIONS for name in _CALLED[layer]},
    **_JFZHANG,
    "cls_head.fc_cls": "fc8",
    "fc_cls": "fc8",
}
"""Foreign layer name: ours."""

_COPIES = {"ema", "swa", "averaged", "teacher", "momentum", "target"}
"""Words before the names of a second set of parameters that training kept beside the first."""


class _Found(NamedTuple):
    foreign_name: str
    array: np.ndarray


def _picked(foreign: Foreign) -> tuple[dict[str, _Found], str]:
    """The network's parameters by our names, and in words what else lies beside them.

    A name is `prefix` + layer + ".weight" or ".bias". The prefix is whatever programs put there
    (module., backbone., model., the keys of a checkpoint, or several of them); the parameters of
    one network share it. Only the head may have another, as in mmaction2.
    """
    groups: dict[str, dict[str, _Found]] = {}
    for foreign_name, array in foreign.arrays.items():
        if (split := _split_name(foreign_name)) is None:
            continue
        prefix, name = split
        group = groups.setdefault(prefix, {})
        if name in group:
            raise ValueError(f"parameter {name} is in the file twice, again as {foreign_name}.")
        group[name] = _Found(foreign_name, array)
    if not groups:
        what = _some(list(foreign.arrays) or foreign.seen, 4) or "nothing"
        raise ValueError(f"no layer of C3D in this {foreign.kind} (found {what}).")
    prefix = _best(groups)
    found = dict(groups[prefix])
    layers = {name.partition(".")[0] for name in found}
    parent = prefix.rstrip(".").rpartition(".")[0]
    parent = f"{parent}." if parent else ""
    heads: dict[str, _Found] = {}
    for other, group in groups.items():
        if (
            other != prefix
            and other.startswith(parent)
            and all(name.partition(".")[0] in FULLY_CONNECTED for name in group)
            and layers.isdisjoint(name.partition(".")[0] for name in group)
        ):
            for name, one in group.items():
                if name in heads:
                    raise ValueError(
                        f"parameter {name} is in the file twice: {heads[name].foreign_name} and "
                        f"{one.foreign_name}."
                    )
                heads[name] = one
    found |= heads
    used = {one.foreign_name for one in found.values()}
    holders = {foreign.holders.get(name, "") for name in used}
    beside = [
        name
        for name in foreign.arrays
        if name not in used and foreign.holders.get(name, "") in holders
    ]
    if unknown := [name for name in beside if name.startswith(prefix)]:
        raise ValueError(
            f"parameter {unknown[0]} is not one of C3D's"
            + (f" (and {len(unknown) - 1} more)." if len(unknown) > 1 else ".")
        )
    return found, f", without {_some(beside, 3)}" if beside else ""


def _split_name(name: str) -> tuple[str, str] | None:
    """A foreign name's prefix and what we call the rest; None if it is of no layer that we know."""
    path, _, kind = name.rpartition(".")
    if kind not in ("weight", "bias"):
        return None
    parts = path.split(".")
    for length in (2, 1):  # "conv1a.conv" before "conv"
        layer = ".".join(parts[-length:])
        if len(parts) >= length and layer in _LAYERS:
            prefix = ".".join(parts[:-length])
            return (f"{prefix}." if prefix else ""), f"{_LAYERS[layer]}.{kind}"
    return None


def _best(groups: Mapping[str, Mapping[str, _Found]]) -> str:
    """The prefix of the network: of most layers, and no copy that training kept beside it."""

    def rank(prefix: str) -> tuple[bool, int]:
        return (not _COPIES.isdisjoint(re.split(r"[._]", prefix.lower())), -len(groups[prefix]))

    best = min(groups, key=rank)  # the first one of equals
    for other, group in groups.items():
        if (
            other != best
            and rank(other) == rank(best)
            and len(group) >= 2 * len(CONVOLUTIONS)
            and not _are_equal(group, groups[best])
        ):
            raise ValueError(
                f"it holds two networks, {best.rstrip('.') or 'one without a prefix'} and "
                f"{other.rstrip('.')}: save the one that you want alone."
            )
    return best


def _are_equal(one: Mapping[str, _Found], other: Mapping[str, _Found]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(found.array, other[name].array) for name, found in one.items()
    )


def _some(names: Iterable[str], count: int) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _to_canonical(
    found: Mapping[str, _Found], foreign: Foreign, network: networks.Network
) -> dict[str, np.ndarray]:
    """The parameters in Caffe's order, float32."""
    for name in network.parameter_shapes():  # before any shape is read
        if name not in found:
            there = _some((one.foreign_name for one in found.values()), 3)
            raise ValueError(f"parameter {name} is missing (found {there}).")
    arrays: dict[str, np.ndarray] = {}
    for name, (foreign_name, array) in found.items():
        if array.dtype.kind != "f":
            raise ValueError(f"parameter {foreign_name} holds {array.dtype}, not real numbers.")
        if array.size > LARGEST_PARAMETER:
            raise ValueError(f"parameter {name} has shape {array.shape}, far too large for C3D.")
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


def _network_for(
    found: Mapping[str, _Found], pool5: str | None, trained_with: str
) -> networks.Network:
    """C3D with as many classes as the file's fc8, or the network of ours that the file is of."""
    if "fc8.weight" in found and "fc8.bias" not in found:
        raise ValueError("parameter fc8.bias is missing.")
    num_classes = found["fc8.bias"].array.size if "fc8.bias" in found else None
    kernels = [name for name in found if name.startswith("conv") and name.endswith(".weight")]
    if sorted(kernels) == [f"conv{number}a.weight" for number in range(1, 6)]:
        shapes = [found[name].array.shape for name in sorted(kernels)]
        network = _of_five_convolutions(shapes, num_classes)
        if network is not None and pool5 is not None:
            raise ValueError(f"`pool5` has no use for {network.architecture['name']}.")
        if network is not None:
            return network
    return networks.c3d(num_classes, pool5=pool5 or trained_with)


def _of_five_convolutions(
    shapes: Sequence[tuple[int, ...]], num_classes: int | None
) -> networks.Network | None:
    """The network of ours whose five convolutions have kernels of these shapes, if there is one."""
    candidates = [networks.c3d_mini(num_classes)]
    if num_classes is not None and all(len(shape) == 5 and shape[2] % 2 for shape in shapes):
        candidates.append(networks.kernel_depth([shape[2] for shape in shapes], num_classes))
    for network in candidates:
        expected = network.parameter_shapes()
        if [expected[f"conv{number}a.weight"] for number in range(1, 6)] == list(shapes):
            return network
    return None


# --- readers --------------------------------------------------------------------------------------


def read_caffe(source: Path) -> Foreign:
    """A Caffe model; its names of layers are kept."""
    arrays = caffe.read_net(source)
    if "conv1.weight" in arrays and any(name.startswith("res") for name in arrays):
        raise ValueError("this is C3D v1.1, a residual network; only C3D v1.0 can be converted.")
    return Foreign(arrays, "Caffe model")


def read_torch(content: Any) -> Foreign:
    """State dicts of one of the ports, bare or anywhere in the dicts and lists of a checkpoint."""
    arrays, holders = {}, {}
    for keys, array in _arrays_in(content):
        name = ".".join(keys)
        arrays[name] = array
        holders[name] = ".".join(keys[:-1])
    seen = [str(key) for key in content] if isinstance(content, dict) else []
    if not arrays:
        found = f" (its keys are {_some(seen, 4)})" if seen else ""
        raise ValueError(f"a torch file, but it holds no state dict{found}.")
    # A checkpoint of a training run of jfzhang95's, whose net pads pool5 on both sides.
    trained_there = "opt_dict" in seen
    return Foreign(
        arrays,
        "PyTorch state dict",
        symmetric_pool5=trained_there or _is_mmaction2(arrays),
        holders=holders,
        seen=seen,
    )


def _arrays_in(content: Any) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Each array in dicts and lists within each other, and the keys that lead to it."""
    entered = set()  # a container that is in the file at several places is looked through once

    def walk(content: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        if isinstance(content, np.ndarray):
            yield keys or ("tensor",), content
        elif isinstance(content, dict | list | tuple) and id(content) not in entered:
            entered.add(id(content))
            items = content.items() if isinstance(content, dict) else enumerate(content)
            for key, value in items:
                yield from walk(value, (*keys, str(key)))

    return walk(content, ())


def _is_mmaction2(names: Iterable[str]) -> bool:
    """Whether mmaction2 trained it: its net pads pool5, the one that it took over does not."""
    return any("backbone.conv1a.conv.weight" in name for name in names)


_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    "BOOL": "?",
}


def read_safetensors(source: Path) -> Foreign:
    """A state dict kept as safetensors, whoever wrote it."""
    try:
        with safe_open(source, framework="numpy") as checked:  # that it is whole
            metadata = checked.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"the safetensors file is damaged ({error}).") from None
    _refuse_our_own(metadata)
    arrays = {}
    with open(source, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        header.pop("__metadata__", None)
        for name, about in header.items():
            kind, (first, last) = about["dtype"], about["data_offsets"]
            if kind not in _SAFETENSORS_TYPES:
                raise ValueError(f"tensor {name} holds {kind}, which cannot be converted.")
            file.seek(start + first)
            array = np.frombuffer(file.read(last - first), _SAFETENSORS_TYPES[kind])
            if kind == "BF16":  # the upper half of a float32
                array = (array.astype("<u4") << 16).view("<f4")
            arrays[name] = array.reshape(about["shape"])
    return Foreign(arrays, "safetensors", symmetric_pool5=_is_mmaction2(arrays))


def _refuse_our_own(metadata: Mapping[str, str]) -> None:
    """Files that Kinema wrote need no converting, or are no weights."""
    try:
        kind = json.loads(metadata.get("kinema", "{}"))["format"]
    except (ValueError, KeyError, TypeError):
        return
    if kind == FORMAT:
        raise ValueError("these are Kinema's weights already; nothing has to be converted.")
    raise ValueError(f"this is a file of Kinema's ({kind}), and no weights.")


def read_lasagne(source: Path) -> Foreign:
    """A list of 22 arrays: weight and bias of each layer in the net's order."""
    found = read_array_list(source)
    names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    if len(found) != len(names):
        raise ValueError(
            f"a list of {len(found)} arrays, C3D has {len(names)}"
            + (f": parameter {names[len(found)]} is missing." if len(found) < 22 else ".")
        )
    arrays = dict(zip(names, found, strict=True))
    return Foreign(arrays, "Lasagne pickle", layout="lasagne")


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


def _datasets(group: Any, dataset_type: Any) -> list[tuple[str, np.ndarray]]:
    """All arrays below a group, kernels before biases."""
    found: list[tuple[str, np.ndarray]] = []
    if isinstance(group, dataset_type):
        return found

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, dataset_type):
            return
        if item.external or item.is_virtual:
            raise ValueError(f"refused: dataset {name} keeps its numbers in another file.")
        if item.dtype.kind != "f" or item.shape is None or item.size > LARGEST_PARAMETER:
            raise ValueError(f"dataset {name} holds {item.dtype} of shape {item.shape}.")
        found.append((name, item[()]))

    group.visititems(visit)
    return sorted(found, key=lambda pair: -pair[1].ndim)


def load_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names from a text file, one a line in the order of the network's outputs."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"`labels` {path}: no such file.")
    return tuple(
        line.strip() for line in Path(path).read_text("utf-8").splitlines() if line.strip()
    )
