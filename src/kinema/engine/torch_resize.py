"""`video.clips.resize` on a device, with the same bytes.

OpenCV resizes uint8 bilinearly in whole numbers, whose weights are rounded to 11 bits. Sums along a
row lose 4 of them, their products with the weights of rows 16, and what is left is rounded.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

_WEIGHT_BITS = 11


def resized(frames: Tensor, size: tuple[int, int], crop: tuple[int, int]) -> Tensor:
    """The centres of resized frames.

    Args:
        frames: (F, H, W, 3) uint8.
        size: height and width that they are resized to.
        crop: height and width that are cut out of them.

    Returns:
        (F, *crop, 3) uint8.
    """
    device = frames.device
    top, bottom, upper, lower = _neighbours(frames.shape[1], size[0], crop[0], False, device)
    left, right, before, after = _neighbours(frames.shape[2], size[1], crop[1], True, device)

    def row(at: Tensor) -> Tensor:
        found = frames[:, at]
        ahead, behind = found[:, :, left].int(), found[:, :, right].int()
        return ahead.mul_(before[:, None]).add_(behind.mul_(after[:, None])) >> 4

    def part(at: Tensor, weight: Tensor) -> Tensor:
        return row(at).mul_(weight[:, None, None]) >> 16

    return ((part(top, upper) + part(bottom, lower) + 2) >> 2).clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=256)
def _neighbours(
    length: int, new_length: int, crop: int, at_border: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each place of the crop along an axis the two that it lies between, and their weights.

    Outside of the picture, OpenCV moves a column onto the border, but of a row only its neighbours.
    """
    # In these types and this order, or a weight may be another.
    scale = 1.0 / (new_length / length)
    place = ((np.arange(new_length) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = place - first.astype(np.float32)
    if at_border:
        share[(first < 0) | (first >= length - 1)] = 0
        first = first.clip(0, length - 1)
    one = np.float32(1 << _WEIGHT_BITS)
    weights = [np.rint((1 - share) * one), np.rint(share * one)]
    begin = (new_length - crop) // 2
    cut = slice(begin, begin + crop)
    ends = [first.clip(0, length - 1), (first + 1).clip(0, length - 1)]
    arrays = [*ends, *(weight.astype(np.int32) for weight in weights)]
    a, b, c, d = (torch.from_numpy(array[cut].copy()).to(device) for array in arrays)
    return a, b, c, d
