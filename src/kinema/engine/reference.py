"""3-D convolution and pooling as the formula, in float64: the truth that every engine is held to.

Nothing here is fast. Nothing here may be made faster at the price of being less obvious.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def conv3d(x: Array, weight: Array, bias: Array | float = 0.0) -> Array:
    """Cross-correlation with stride 1 and zeros of half a kernel around the input.

    y[n, o, t, h, w] = bias[o] + sum over c, i, j, k of
        weight[o, c, i, j, k] * x[n, c, t + i - I // 2, h + j - J // 2, w + k - K // 2]

    Or of one grid, (T, H, W) or (H, W), and one kernel, (I, J, K) or (J, K):

    >>> grid = [[1, 2, 3], [4, 5, 6]]
    >>> right_minus_left = [[-1, 0, 1]]
    >>> conv3d(grid, right_minus_left)  # 2 - 0, 3 - 1, 0 - 2; 5 - 0, 6 - 4, 0 - 5
    array([[ 2.,  2., -2.],
           [ 5.,  2., -5.]])

    Over three frames of one pixel, 1 before + 10 now + 100 after:

    >>> frames = [[[1]], [[2]], [[3]]]
    >>> over_time = [[[1]], [[10]], [[100]]]
    >>> conv3d(frames, over_time).ravel()  # 0+10+200, 1+20+300, 2+30+0
    array([210., 321.,  32.])

    Args:
        x: (N, C, T, H, W), or one grid.
        weight: (O, C, I, J, K), odd I, J, K; of one grid a kernel of as many axes.
        bias: (O,), or one number.

    Returns:
        (N, O, T, H, W) float64, or of one grid its shape.

    Raises:
        ValueError: the numbers of axes do not go together.
    """
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    if x.ndim not in (2, 3, 5) or weight.ndim != x.ndim:
        raise ValueError(
            "`x` and `weight` must both have 5 axes, or 2 or 3 as one grid and its kernel; got "
            f"shapes {x.shape} and {weight.shape}."
        )
    if x.ndim < 5:
        ones = (1,) * (5 - x.ndim)
        whole = conv3d(x.reshape(ones + x.shape), weight.reshape(ones + weight.shape), bias)
        return whole.reshape(x.shape)
    sizes = x.shape[2:]
    kernel = weight.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), *((size // 2, size // 2) for size in kernel)])
    y = np.zeros((len(x), len(weight), *sizes))
    for tap in itertools.product(*map(range, kernel)):
        t, h, w = (slice(start, start + size) for start, size in zip(tap, sizes, strict=True))
        i, j, k = tap
        y += np.moveaxis(
            np.tensordot(weight[:, :, i, j, k], padded[:, :, t, h, w], axes=(1, 1)), 0, 1
        )
    return y + np.reshape(bias, (-1, 1, 1, 1))


def max_pool3d(
    x: Array, kernel: Sequence[int], padding: Sequence[int], output_sizes: Sequence[int]
) -> Array:
    """Maximum over windows of stride `kernel`; what lies outside the input is left out.

    Args:
        x: (N, C, T, H, W).
        kernel: window size and stride along time, height, width.
        padding: how far the first window starts before the input.
        output_sizes: number of windows along each axis.

    Returns:
        (N, C, *output_sizes) float64.

    Example:
        >>> x = np.arange(7.0).reshape(1, 1, 1, 1, 7)
        >>> max_pool3d(x, (1, 1, 2), (0, 0, 0), (1, 1, 4))  # Caffe's windows {0 1} {2 3} {4 5} {6}
        array([[[[[1., 3., 5., 6.]]]]])
    """
    y = np.empty((*x.shape[:2], *output_sizes))
    for position in itertools.product(*map(range, output_sizes)):
        t, h, w = (
            slice(max(index * size - pad, 0), index * size - pad + size)
            for index, size, pad in zip(position, kernel, padding, strict=True)
        )
        i, j, k = position
        y[:, :, i, j, k] = x[:, :, t, h, w].max(axis=(2, 3, 4))
    return y


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """x flattened to (N, C), weight (O, C), bias (O,) -> (N, O) float64."""
    return x.reshape(len(x), -1) @ np.asarray(weight, np.float64).T + bias


def softmax(x: Array) -> Array:
    """Probabilities along the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def run(
    network: Any, weights: Mapping[str, Array], clips: Array, layers: Sequence[str]
) -> dict[str, Array]:
    """The asked layers' outputs in float64, each (N, *shape of that layer).

    Args:
        network: a `network.Network`.
        weights: parameters by name, as "conv1a.weight".
        clips: (N, C, T, H, W), what `clips.preprocess` gives.
        layers: names of the wanted layers; convolutions and fully connected layers after ReLU.
    """
    x = np.asarray(clips, np.float64)
    outputs: dict[str, Array] = {}
    for layer in network.layers:
        x = _apply(layer, weights, x)
        if layer.name in layers:
            outputs[layer.name] = x
        if len(outputs) == len(set(layers)):
            break
    return outputs


def _apply(layer: Any, weights: Mapping[str, Array], x: Array) -> Array:
    match type(layer).__name__:
        case "Conv3d":
            return relu(conv3d(x, weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"]))
        case "MaxPool3d":
            sizes = layer.output_shape(x.shape[1:])[1:]
            return max_pool3d(x, layer.kernel, layer.padding, sizes)
        case "Linear":
            y = linear(x, weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"])
            return relu(y) if layer.relu else y
        case "Softmax":
            return softmax(x)
        case kind:
            raise TypeError(f"the reference does not know layers of type {kind}.")
