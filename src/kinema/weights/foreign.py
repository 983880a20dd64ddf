"""What the layers are called in other programs' files, and the network among what a file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from kinema.words import first_of

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


class Found(NamedTuple):
    """A parameter, and what the file calls it."""

    foreign_name: str
    array: np.ndarray


def picked(foreign: Foreign) -> tuple[dict[str, Found], str]:
    """The network's parameters by our names, and in words what else lies beside them.

    A name is `prefix` + layer + ".weight" or ".bias". The prefix is whatever programs put there
    (module., backbone., model., the keys of a checkpoint, or several of them); the parameters of
    one network share it. Only the head may have another, as in mmaction2.
    """
    groups: dict[str, dict[str, Found]] = {}
    for foreign_name, array in foreign.arrays.items():
        if (split := _split_name(foreign_name)) is None:
            continue
        prefix, name = split
        group = groups.setdefault(prefix, {})
        if name in group:
            raise ValueError(f"parameter {name} is in the file twice, again as {foreign_name}.")
        group[name] = Found(foreign_name, array)
    if not groups:
        what = first_of(list(foreign.arrays) or foreign.seen, 4) or "nothing"
        raise ValueError(f"no layer of C3D in this {foreign.kind} (found {what}).")
    prefix = _best(groups)
    found = dict(groups[prefix])
    layers = {name.partition(".")[0] for name in found}
    parent = prefix.rstrip(".").rpartition(".")[0]
    parent = f"{parent}." if parent else ""
    heads: dict[str, Found] = {}
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
    return found, f", without {first_of(beside, 3)}" if beside else ""


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


def _best(groups: Mapping[str, Mapping[str, Found]]) -> str:
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


def _are_equal(one: Mapping[str, Found], other: Mapping[str, Found]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(found.array, other[name].array) for name, found in one.items()
    )
