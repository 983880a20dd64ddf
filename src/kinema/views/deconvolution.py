"""From one activation back to the pixels that caused it: Zeiler and Fergus's deconvolution.

"Visualizing and Understanding Convolutional Networks" (ECCV 2014), along time as well;
C3D's paper looks into its network by it. The clip goes up through the network once.
Then the chosen activation alone goes down, every other one zero:

    max pooling    each value goes to the sample that was its window's maximum on the way up (the
                   switch; of equal samples the first); all other samples are zero
    ReLU           what is negative on the way down becomes zero, whatever was on the way up
    convolution    the same kernels transposed: each value puts its kernel, times itself, where the
                   kernel had looked; no biases

The gradient differs in the ReLU alone: it passes what had passed on the way up. Where nothing is
negative, up or down, the projection is the gradient times the activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kinema import native
from kinema.engine.engine import Engine
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax, as_network
from kinema.threads import num_usable_cores


def project(
    engine: Engine,
    weights: Mapping[str, np.ndarray],
    clip: np.ndarray,
    position: Sequence[int],
    *,
    threads: int | None = None,
) -> np.ndarray:
    """What in a clip caused one activation of the last layer of an engine's network.

    Args:
        engine: of a network that ends with the layer, see `Network.up_to`.
        weights: the parameters that the engine has.
        clip: (C, T, H, W) float32, what `clips.preprocess` gives.
        position: of the activation in the layer's output: (map, t, y, x), or (unit,) after a fully
            connected layer.
        threads: CPU threads; None for all.

    Returns:
        (C, T, H, W) float32, in the order of the clip's channels (B, G, R): positive where more
        of the channel speaks for the activation. All zero if the activation is not positive.

    Raises:
        ValueError: no such position, or a layer that nothing goes back through.
    """
    network = as_network(engine.network)
    layers = network.layers
    check_projectable(network)
    shape = network.shapes()[layers[-1].name]
    position = tuple(position)
    if len(position) != len(shape) or not all(
        0 <= index < size for index, size in zip(position, shape, strict=True)
    ):
        raise ValueError(f"`position` must lie in {shape}, got {position}.")
    below = ("", *network.layer_names[:-1])  # the layer under each; "" is the clip
    pooled = [
        name
        for name, layer in zip(below, layers, strict=True)
        if name and isinstance(layer, MaxPool3d)
    ]
    outputs = engine.run(clip[None], [*pooled, layers[-1].name])
    outputs[""] = clip[None]
    shapes = {"": network.input_shape, **network.shapes()}
    values = np.zeros(shape, np.float32)
    values[position] = outputs[layers[-1].name][0][position]
    for name, layer in reversed(list(zip(below, layers, strict=True))):
        values = np.maximum(values, 0)
        match layer:
            case MaxPool3d():
                values = unpool(values, outputs[name][0], layer)
            case Conv3d():
                weight = weights[f"{layer.name}.weight"]
                values = transposed_convolution(values, weight, threads=threads)
            case Linear():
                weight = np.asarray(weights[f"{layer.name}.weight"], np.float32)
                values = (values @ weight).reshape(shapes[name])
    return values


def check_projectable(network: Network) -> None:
    """Refuse a network that ends with a softmax: its outputs depend on each other."""
    if isinstance(network.layers[-1], Softmax):
        raise ValueError(
            f"`layer` {network.layers[-1].name} cannot be projected; take the one before it."
        )


def unpool(values: np.ndarray, before: np.ndarray, pooling: MaxPool3d) -> np.ndarray:
    """Values of a max pooling's windows, put where the windows' maxima were.

    Args:
        values: (C, t, h, w), one a window.
        before: (C, T, H, W), what was pooled.
        pooling: whose windows, with those at the edge clipped.

    Returns:
        (C, T, H, W) of the type of `values`, zero but at the maxima; of equal ones the first.
    """
    channels, *windows = values.shape
    padded = [
        (pad, count * size - pad - length)
        for pad, count, size, length in zip(
            pooling.padding, windows, pooling.kernel, before.shape[1:], strict=True
        )
    ]
    t, h, w = windows
    i, j, k = pooling.kernel
    tiles = np.pad(before, [(0, 0), *padded], constant_values=-np.inf)
    tiles = tiles.reshape(channels, t, i, h, j, w, k).transpose(0, 1, 3, 5, 2, 4, 6)
    switches = tiles.reshape(channels, t, h, w, i * j * k).argmax(axis=-1)
    placed = np.zeros((*values.shape, i * j * k), values.dtype)
    np.put_along_axis(placed, switches[..., None], values[..., None], axis=-1)
    placed = placed.reshape(channels, t, h, w, i, j, k).transpose(0, 1, 4, 2, 5, 3, 6)
    placed = placed.reshape(channels, t * i, h * j, w * k)
    inside = (
        slice(first, first + length)
        for (first, _), length in zip(padded, before.shape[1:], strict=True)
    )
    return np.ascontiguousarray(placed[:, *inside])


def transposed_convolution(
    values: np.ndarray, weight: np.ndarray, *, threads: int | None = None
) -> np.ndarray:
    """The sum of kernels, each times a value and centred where the value stands.

    It is the gradient of a convolution to its input, so `native.input_gradient` computes it.

    Args:
        values: (O, T, H, W) float32.
        weight: (O, C, I, J, K) float32, odd I, J, K.
        threads: CPU threads; None for all.

    Returns:
        (C, T, H, W) float32.
    """
    gradient = native.input_gradient(
        np.asarray(values[None], np.float32),
        weight=np.asarray(weight, np.float32),
        threads=threads or num_usable_cores(),
    )
    return gradient[0]
