"""What learning starts from: the fillers of the sources, and what is taken from other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kinema.model import Model, UserModel
from kinema.network import Network
from kinema.weights.file import Weights


def initial_arrays(
    network: Model, *, kind: str = "c3d", pixel_scale: int = 1, seed: int = 0
) -> dict[str, np.ndarray]:
    """Seeded random parameters from which learning starts.

    Args:
        network: whose parameters.
        kind: "c3d" for the original's fillers (C3D v1.0, training prototxts): convolutions
            N(0, 0.01), fully connected layers N(0, 0.005), the last one N(0, 0.01); biases 1, but 0
            in the first convolution and the last layer. "he" for He's normal distribution, but
            the last layer N(0, 0.01); biases 0.
        pixel_scale: the first layer's weights are divided by it.
        seed: another seed, other numbers.

    A class of one's own draws its state itself; `kind` and `pixel_scale` are not asked.
    """
    if kind not in ("c3d", "he"):
        raise ValueError(f'`initial` must be "c3d" or "he", got {kind!r}.')
    if isinstance(network, UserModel):
        return network.initial_arrays(seed)
    generator = np.random.Generator(np.random.PCG64(seed))
    names = list(network.parameter_shapes())
    plain = (names[1], names[-1])  # biases of the first and the last layer
    arrays = {}
    for name, shape in network.parameter_shapes().items():
        if name.endswith(".bias"):
            arrays[name] = np.full(shape, 0 if kind == "he" or name in plain else 1, np.float32)
            continue
        if kind == "c3d" or name == names[-2]:
            deviation = 0.01 if len(shape) == 5 or name == names[-2] else 0.005
        else:
            deviation = np.sqrt(2 / np.prod(shape[1:]))
        arrays[name] = generator.standard_normal(shape, np.float32) * np.float32(deviation)
    arrays[names[0]] /= np.float32(pixel_scale)
    return arrays


def carried_over(
    weights: Weights, network: Model, *, layers: str = "all", labels: Sequence[str] | None = None
) -> list[str]:
    """Names of the parameters that fine-tuning takes from weights; the others start anew.

    Args:
        weights: where to start from.
        network: what is to be learned.
        layers: "all", every layer of the same name and shape; "conv", the convolutions alone (what
            the released prototxts amount to, see `recipes`).
        labels: the new classes; the last layer is taken only if the weights have the same.
    """
    if layers not in ("all", "conv"):
        raise ValueError(f'`carry` must be "all" or "conv", got {layers!r}.')
    shapes, last = network.parameter_shapes(), network.class_parameters
    names = [
        name
        for name, shape in shapes.items()
        if name in weights
        and weights[name].shape == shape
        and (layers == "all" or _is_convolution(name, shapes))
        and (name not in last or (labels and weights.labels == tuple(labels)))
    ]
    return [
        name
        for name in names
        if name.replace(".bias", ".weight") in names or not isinstance(network, Network)
    ]


def _is_convolution(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return len(shapes.get(name.replace(".bias", ".weight"), ())) == 5
