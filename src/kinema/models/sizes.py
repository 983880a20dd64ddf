"""What every model's constructor is given: a width, and the shape of a clip."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kinema.layers import ClipShape
from kinema.words import number_of

PIXEL_DEVIATION = 0.225 * 255
"""What pixels less their mean are divided by: SlowFast's, 0.225 of 0..1 (PyTorch Hub's page)."""


def scaled(number: int, width: float, multiple: int = 1) -> int:
    """A number of channels, units or cells times the width: at least 1, a multiple for groups.

    Raises:
        ValueError: the width is not above 0, or not finite.
    """
    if not 0 < width < math.inf:
        raise ValueError(f"`width` must be a positive number, 1 as published; got {width}.")
    return max(1, round(number * width / multiple)) * multiple


def clip_shape(
    given: Sequence[int] | None,
    published: ClipShape,
    *,
    frames: int = 1,
    exactly: int | None = None,
    pixels: int = 1,
    any_channels: bool = False,
) -> ClipShape:
    """The shape of a clip that is really used: the given one, or the published one.

    Args:
        given: (channels, frames, height, width); None for the published shape.
        published: the published shape, whose number of channels is the only one taken.
        frames: the least number of frames.
        exactly: the only number of frames; None for any.
        pixels: the least height and width.
        any_channels: whether another number of channels is taken too.

    Raises:
        ValueError: it is no such shape, or too small.
    """
    if given is None:
        return published
    shape = tuple(given)
    if len(shape) != 4 or any(not isinstance(size, int) or size < 1 for size in shape):
        raise ValueError(
            f"`input_shape` must be four sizes >= 1 (channels, frames, height, width), got {shape}."
        )
    if shape[0] != published[0] and not any_channels:
        raise ValueError(
            f"`input_shape` must have {published[0]} channels as {published}, got {shape}."
        )
    if exactly is not None and shape[1] != exactly:
        raise ValueError(f"`input_shape` must have {number_of(exactly, 'frame')}, got {shape}.")
    if shape[1] < frames:
        raise ValueError(f"`input_shape` must have at least {frames} frames, got {shape}.")
    if min(shape[2:]) < pixels:
        raise ValueError(f"`input_shape` must be at least {pixels}x{pixels} pixels, got {shape}.")
    return shape
