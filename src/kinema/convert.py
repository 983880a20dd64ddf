"""Foreign C3D weight files to `Weights`, running no code that a file contains.

Each reader turns a file into foreign names and arrays; `_LAYERS` says what the layers are called
elsewhere; `_to_canonical` brings kernels and matrices into Caffe's order, which is ours:
convolutions (out, in, T, H, W), fully connected (out, in) with the input channel slowest.

    reader            file                                          told apart by
    read_torch        PyTorch, zip or legacy (DavideA, ...)         zip, or torch's magic number
    read_lasagne      Python 2 pickle of a list of arrays           a pickle without it
    read_keras        Keras HDF5, TF or Theano order                HDF5 signature
    read_caffe        Caffe model, C3D's or stock numbering         otherwise
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kinema import caffe
from kinema import network as networks
from kinema.pickled import TORCH_MAGIC, read_array_list, read_torch_legacy, read_torch_zip
from kinema.weights import Weights, check_arrays

CONVOLUTIONS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
FULLY_CONNECTED = ("fc6", "fc7", "fc8")
LAYERS = CONVOLUTIONS + FULLY_CONNECTED

LARGEST_PARAMETER = 1 << 28
"""Numbers in one parameter, eight times fc6's: a small file can claim any size."""


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
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{source}: it is damaged ({type(error).__name__}: {error}).") from None
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
        return read_torch(read_torch_zip(source))
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras(source)
    if head.startswith(TORCH_MAGIC):
        return read_torch(read_torch_legacy(source))
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


def _c3d_for(arrays: Mapping[str, np.ndarray], pool5: str) -> networks.Network:
    """C3D with as many classes as the file's fc8."""
    num_classes = len(arrays["fc8.bias"]) if "fc8.bias" in arrays else None
    if num_classes is None and "fc8.weight" in arrays:
        raise ValueError("parameter fc8.bias is missing.")
    return networks.c3d(num_classes, pool5=pool5)


# --- readers --------------------------------------------------------------------------------------


def read_caffe(source: Path) -> Foreign:
    """A Caffe model; its names of layers are kept."""
    arrays = caffe.read_net(source)
    if "conv1.weight" in arrays and any(name.startswith("res") for name in arrays):
        raise ValueError("this is C3D v1.1, a residual network; only C3D v1.0 can be converted.")
    return Foreign(arrays, "Caffe model")


def read_torch(content: Any) -> Foreign:
    """A state dict, bare or under `state_dict`, of one of the ports."""
    # A checkpoint of a training run of jfzhang95's, whose net pads pool5 on both sides.
    trained_there = isinstance(content, dict) and "opt_dict" in content
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError("a torch file, but it holds no state dict.")
    arrays = {str(k): v for k, v in content.items() if isinstance(v, np.ndarray)}
    backbone = any(name.startswith("backbone.") for name in arrays)
    arrays = {
        name.removeprefix("module.").removeprefix("backbone."): a for name, a in arrays.items()
    }
    return Foreign(arrays, "PyTorch state dict", symmetric_pool5=backbone or trained_there)


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
