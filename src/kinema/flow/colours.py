"""Flow as colours: the hue tells the direction, how full the colour is tells the length.

The wheel of Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A Database and Evaluation Methodology
for Optical Flow", IJCV 2011 (the Middlebury pages), written from its definition: 55 hues, as many
between two of the six main ones as can be told apart there.
"""

from __future__ import annotations

import cv2
import numpy as np

LONGEST_PX = 10.0
"""Of a flow, what is shown as a full colour, unless told otherwise."""

_RED, _YELLOW, _GREEN = (1, 0, 0), (1, 1, 0), (0, 1, 0)
_CYAN, _BLUE, _MAGENTA = (0, 1, 1), (0, 0, 1), (1, 0, 1)
STEPS = (
    (_RED, _YELLOW, 15),
    (_YELLOW, _GREEN, 6),
    (_GREEN, _CYAN, 4),
    (_CYAN, _BLUE, 11),
    (_BLUE, _MAGENTA, 13),
    (_MAGENTA, _RED, 6),
)
"""From hue to hue, and how many steps lie between (Middlebury's wheel)."""

TOO_LONG = 0.75
"""Brightness of what is longer than the longest (Middlebury)."""


def wheel() -> np.ndarray:
    """(55, 3) float64 RGB, 0 ... 1: red, which is to the right, then clockwise."""
    return np.concatenate(
        [
            np.asarray(begin) + np.arange(count)[:, None] / count * np.subtract(end, begin)
            for begin, end, count in STEPS
        ]
    )


def colours(flow: np.ndarray, *, longest_px: float = LONGEST_PX) -> np.ndarray:
    """A picture of a flow.

    No motion is white, a motion of `longest_px` has the full colour of its direction; a longer one
    is darker.

    Args:
        flow: (..., 2) float, pixels to the right and down; what is not finite is black.
        longest_px: see above.

    Returns:
        (..., 3) uint8 RGB.

    Raises:
        ValueError: not such a flow, or a length that is not above 0.
    """
    flow = np.asarray(flow, np.float64)
    if flow.ndim < 1 or flow.shape[-1] != 2:
        raise ValueError(f"`flow` must be (..., 2), got {flow.shape}.")
    check_longest(longest_px)
    known = np.isfinite(flow).all(-1)
    u, v = np.moveaxis(np.where(known[..., None], flow, 0) / longest_px, -1, 0)
    length = np.hypot(u, v)[..., None]
    hues = wheel()
    # y points down, so the angle grows clockwise. The last hue is the neighbour of the first.
    place = np.arctan2(v, u) / (2 * np.pi) % 1 * len(hues)
    whole = np.floor(place).astype(int)
    fraction = (place - whole)[..., None]
    hue = (1 - fraction) * hues[whole % len(hues)] + fraction * hues[(whole + 1) % len(hues)]
    rgb = np.where(length <= 1, 1 - length * (1 - hue), TOO_LONG * hue)
    return np.where(known[..., None], np.rint(255 * rgb), 0).astype(np.uint8)


def check_longest(longest_px: float) -> None:
    """Raise a `ValueError` if it is no length that can be shown."""
    if not (np.isfinite(longest_px) and longest_px > 0):
        raise ValueError(f"`longest_px` must be above 0 pixels, got {longest_px:g}.")


def legend(size: int, *, longest_px: float = LONGEST_PX) -> np.ndarray:
    """The wheel on white: at each point the colour of a flow from the middle to there.

    Args:
        size: of the square, in pixels; its radius is `longest_px`, which stands below.
        longest_px: see `colours`.

    Returns:
        (size + 20, size, 3) uint8 RGB.
    """
    radius = max((size - 1) / 2, 0.5)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    offsets = np.stack([x, y], -1) / radius
    disc = colours(offsets * longest_px, longest_px=longest_px)
    disc[np.hypot(x, y) > radius] = 255
    panel = np.full((size + 20, size, 3), 255, np.uint8)
    panel[:size] = disc
    text = f"{longest_px:g} px"
    cv2.putText(
        panel, text, (2, size + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA
    )
    return panel


def with_legend(flow: np.ndarray, *, longest_px: float = LONGEST_PX) -> np.ndarray:
    """A picture of a flow (H, W, 2) with the wheel on its right; both sides are even.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    picture = colours(flow, longest_px=longest_px)
    panel = legend(64, longest_px=longest_px)
    height = max(picture.shape[0], panel.shape[0])
    height += height % 2
    width = picture.shape[1] + 8 + panel.shape[1]
    page = np.full((height, width + width % 2, 3), 255, np.uint8)
    page[: picture.shape[0], : picture.shape[1]] = picture
    page[: panel.shape[0], picture.shape[1] + 8 : width] = panel
    return page
