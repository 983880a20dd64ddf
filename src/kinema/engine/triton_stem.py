"""The first convolution with bias, ReLU and the pooling behind it in one pass: a Triton kernel.

Three channels are few for cuDNN, and the output of the first convolution is the largest array of
the network: here it is never written. A program computes some pooled places for all output
channels. The four samples of a place see a window of 3 x 4 x 4 pixels between them, which is read
once, a frame's window of 4 x 4 pixels of four channels (one is zero) as a row of 64 factors:

    sample = sum of three products,  (places, 64) x (64, channels)     of which the largest is kept

A sample's matrix is zero where the window is not the sample's. Three products of 64 take the tensor
cores no longer than the window takes to be read; pixels of four channels begin at 8 bytes, so that
they are read at once. Products are summed in fp32; the one rounding is that of the output.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kinema.network import Conv3d, MaxPool3d, Network

TILES = ((64, 4, 2), (64, 4, 1), (64, 4, 3), (128, 8, 2), (128, 4, 2), (256, 8, 1), (256, 8, 2))
"""Places and warps of a program, and how many products are read ahead: which of them is fastest, a
device tells, see `first_layers`."""


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
    """(2, 2, 3, 4, 4, 4, O) of a weight (O, 3, 3, 3, 3).

    By the sample's row and column, then frame, row, column and channel of the window.
    """
    matrices = weight.new_zeros(2, 2, 3, 4, 4, 4, len(weight))
    taps = weight.permute(2, 3, 4, 1, 0)
    for row in range(2):
        for column in range(2):
            matrices[row, column, :, row : row + 3, column : column + 3, :3] = taps
    return matrices


def convolve_and_pool(
    x: Tensor, matrices: Tensor, bias: Tensor, *, tile: tuple[int, int, int] = TILES[0]
) -> Tensor:
    """The output of conv1a, ReLU and pool1.

    Args:
        x: (N, 3, T, H, W) bf16 or fp16, even H and W.
        matrices: what `packed` gives, of the same kind.
        bias: (O,).
        tile: one of `TILES`.

    Returns:
        (N, O, T, H / 2, W / 2) of the same kind, channels last.
    """
    number, _, length, height, width = x.shape
    channels = matrices.shape[-1]
    like: Any = {"dtype": x.dtype, "device": x.device, "memory_format": torch.channels_last_3d}
    pixels = torch.empty((number, 4, length, height, width), **like)
    pixels[:, :3] = x
    pixels[:, 3] = 0
    y = torch.empty((number, channels, length, height // 2, width // 2), **like)
    places = number * length * (height // 2) * (width // 2)
    size, warps, stages = tile
    _kernel[(triton.cdiv(places, size),)](
        pixels,
        matrices,
        bias,
        y,
        places,
        length,
        height,
        width,
        channels,
        size,
        num_warps=warps,
        num_stages=stages,
    )
    return y


@triton.jit
def _window(x, corner, steps, inside, time, length, pixels, ahead):  # type: ignore[no-untyped-def]
    """(places, 64) factors of the frame that is `ahead` of a place's own by -1, 0 or 1."""
    is_frame = (time + ahead >= 0) & (time + ahead < length)
    at = (corner + ahead * pixels)[:, None] + steps[None, :]
    return tl.load(x + at, mask=inside & is_frame[:, None], other=0.0)


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]
    x, matrices, bias, y, places, length, height, width, OUT: tl.constexpr, M: tl.constexpr
):
    place = tl.program_id(0) * M + tl.arange(0, M)
    is_there = place < places
    columns, rows = width // 2, height // 2
    left = place % columns * 2 - 1
    top = place // columns % rows * 2 - 1
    frame = place // (columns * rows)
    time = frame % length
    # A batch may have more values than 2**31, so its offsets are of 64 bits.
    pixels = (height * width * 4).to(tl.int64)
    corner = frame.to(tl.int64) * pixels + (top * width + left) * 4

    tap = tl.arange(0, 64)
    down, right = tap // 16, tap // 4 % 4
    steps = (down * width + right) * 4 + tap % 4
    h, w = top[:, None] + down[None, :], left[:, None] + right[None, :]
    inside = is_there[:, None] & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    before = _window(x, corner, steps, inside, time, length, pixels, -1)
    now = _window(x, corner, steps, inside, time, length, pixels, 0)
    after = _window(x, corner, steps, inside, time, length, pixels, 1)

    out = tl.arange(0, OUT)
    factors = matrices + tap[:, None] * OUT + out[None, :]
    best = tl.full((M, OUT), float("-inf"), tl.float32)
    for _ in range(4):
        total = tl.dot(before, tl.load(factors))
        total = tl.dot(now, tl.load(factors + 64 * OUT), total)
        total = tl.dot(after, tl.load(factors + 128 * OUT), total)
        best = tl.maximum(best, total)
        factors += 192 * OUT
    best = tl.maximum(best + tl.load(bias + out).to(tl.float32)[None, :], 0.0)
    first = y + tl.program_id(0).to(tl.int64) * M * OUT
    at = tl.arange(0, M)[:, None] * OUT + out[None, :]
    tl.store(first + at, best.to(y.dtype.element_ty), mask=is_there[:, None])
