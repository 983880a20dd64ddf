"""Readers of the weight files of other programs: foreign names and arrays, as they stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kinema.weights import caffe
from kinema.weights.file import FORMAT
from kinema.weights.foreign import LARGEST_PARAMETER, LAYERS, Foreign
from kinema.weights.pickled import read_array_list
from kinema.words import first_of


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
        found = f" (its keys are {first_of(seen, 4)})" if seen else ""
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
