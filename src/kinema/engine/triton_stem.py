"""The first convolution with bias, ReLU and the pooling behind it in one pass: a Triton kernel.

Three channels are few for cuDNN, and the output of the first convolution is the largest array of
the network: here it is never written. A program computes some pooled places for all output
channels; of each place the four samples are products of a tile,

    (places, 81 taps and 15 zeros) x (96, channels)

of which it keeps the largest. Products are summed in fp32; the one rounding is that of the output.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kinema.network import Conv3d, MaxPool3d, Network

TAPS = 3 * 3 * 3 * 3
"""Of a 3x3x3 kernel over three channels."""

PADDED_TAPS = 96
"""In three parts of 32: sizes in Triton are powers of two, and a product's at least 16."""

PLACES = 64
"""Of a program."""


def can_fuse(network: Network) -> bool:
    """Whether a network begins with what is computed here."""
    first, second = network.layers[:2]
    channels, _, height, width = network.input_shape
    return (
        isinstance(first, Conv3d)
        and isinstance(second, MaxPool3d)
        and (channels, first.kernel) == (3, (3, 3, 3))
        and first.out_channels in (16, 32, 64, 128)
        and (second.kernel, second.padding) == ((1, 2, 2), (0, 0, 0))
        and height % 2 == width % 2 == 0
    )


def packed(weight: Tensor) -> Tensor:
    """(96, O) of a weight (O, 3, 3, 3, 3): taps by time, height, width, channel, then zeros."""
    matrix = weight.permute(2, 3, 4, 1, 0).reshape(TAPS, len(weight))
    return torch.cat([matrix, matrix.new_zeros(PADDED_TAPS - TAPS, len(weight))]).contiguous()


def convolve_and_pool(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """The output of conv1a, ReLU and pool1.

    Args:
        x: (N, 3, T, H, W) bf16 or fp16, even H and W.
        matrix: what `packed` gives, of the same kind.
        bias: (O,).

    Returns:
        (N, O, T, H / 2, W / 2) of the same kind, channels last.
    """
    x = x.contiguous(memory_format=torch.channels_last_3d)
    number, _, length, height, width = x.shape
    channels = matrix.shape[1]
    shape = (number, channels, length, height // 2, width // 2)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
    places = number * length * (height // 2) * (width // 2)
    grid = (triton.cdiv(places, PLACES),)
    _kernel[grid](x, matrix, bias, y, places, length, height, width, channels, PLACES)
    return y


@triton.jit
def _kernel(
    x: Any,
    matrix: Any,
    bias: Any,
    y: Any,
    places: Any,
    length: Any,
    height: Any,
    width: Any,
    OUT: tl.constexpr,
    M: tl.constexpr,
) -> None:
    place = tl.program_id(0) * M + tl.arange(0, M)
    is_there = place < places
    columns, rows = width // 2, height // 2
    left = place % columns * 2
    top = place // columns % rows * 2
    time = place // (columns * rows) % length
    clip = (place // (columns * rows * length)).to(tl.int64)
    out = tl.arange(0, OUT)
    best = tl.full((M, OUT), float("-inf"), tl.float32)
    for sample in tl.static_range(4):
        total = tl.zeros((M, OUT), tl.float32)
        for part in tl.static_range(3):
            tap = part * 32 + tl.arange(0, 32)
            t = time[:, None] + (tap // 27 - 1)[None, :]
            h = (top + sample // 2)[:, None] + (tap // 9 % 3 - 1)[None, :]
            w = (left + sample % 2)[:, None] + (tap // 3 % 3 - 1)[None, :]
            inside = is_there[:, None] & (tap < 81)[None, :]
            inside = inside & (t >= 0) & (t < length)
            inside = inside & (h >= 0) & (h < height) & (w >= 0) & (w < width)
            at = ((clip[:, None] * length + t) * height + h) * width + w
            factors = tl.load(x + at * 3 + (tap % 3)[None, :], mask=inside, other=0.0)
            weights = tl.load(matrix + tap[:, None] * OUT + out[None, :])
            total = tl.dot(factors, weights, total)
        best = tl.maximum(best, total)
    best = tl.maximum(best + tl.load(bias + out).to(tl.float32)[None, :], 0.0)
    at = place[:, None].to(tl.int64) * OUT + out[None, :]
    tl.store(y + at, best.to(y.dtype.element_ty), mask=is_there[:, None])
