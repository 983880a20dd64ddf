"""Dense inverse search from OpenCV: the fast stand-in for the flow of Brox et al.

Kroeger, Timofte, Dai, Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016.
"""

from __future__ import annotations

import cv2
import numpy as np

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}

SMALLEST_SIDE = 16
"""Pixels; OpenCV refuses images of less than 12, which are continued to this by their borders."""


def dis_flow(first: np.ndarray, second: np.ndarray, *, preset: str = "medium") -> np.ndarray:
    """The flow from one grey image to another by dense inverse search.

    Args:
        first, second: (H, W) uint8.
        preset: OpenCV's; "medium" errs least.

    Returns:
        (H, W, 2) float32: pixels to the right and down.

    Raises:
        ValueError: not such images, or no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}, got {preset!r}.")
    for name, image in (("first", first), ("second", second)):
        if image.ndim != 2 or image.size == 0 or image.dtype != np.uint8:
            raise ValueError(f"`{name}` must be (H, W) uint8, got {image.shape} {image.dtype}.")
    if first.shape != second.shape:
        raise ValueError(f"`second` must be {first.shape} as `first` is, got {second.shape}.")
    height, width = first.shape
    more = [(0, max(SMALLEST_SIDE - side, 0)) for side in first.shape]
    solver = cv2.DISOpticalFlow.create(PRESETS[preset])
    flow = solver.calc(np.pad(first, more, "edge"), np.pad(second, more, "edge"), None)  # type: ignore[call-overload]
    return np.ascontiguousarray(flow[:height, :width])
