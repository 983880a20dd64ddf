"""`flow`, `flows`: of frames, the flow from each to the next, by one of two methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Any

import cv2
import numpy as np

from kinema.flow.brox import DEFAULT, SWEEPS_A_CHECK, Brox
from kinema.skipped import VideoError
from kinema.threads import num_usable_cores

METHODS = ("dis", "brox")


def flow(
    frames: Iterable[np.ndarray],
    *,
    method: str = "dis",
    brox: Brox = DEFAULT,
    threads: int | None = None,
) -> np.ndarray:
    """The flows between the frames of a video, all at once; see `flows`.

    Returns:
        (n - 1, H, W, 2) float32: pixels to the right and down.

    Raises:
        ValueError, TypeError: see `flows`; or there are fewer than two frames.
    """
    found = list(flows(frames, method=method, brox=brox, threads=threads))
    if not found:
        raise ValueError("`frames` must be at least 2: a flow leads from one to the next.")
    return np.stack(found)


def flows(
    frames: Iterable[np.ndarray],
    *,
    method: str = "dis",
    brox: Brox = DEFAULT,
    threads: int | None = None,
) -> Iterator[np.ndarray]:
    """The flow from each frame to the next, as the frames come; memory does not grow with them.

    Args:
        frames: (H, W, 3) uint8 RGB or (H, W) uint8 grey each, all of one size. RGB becomes grey by
            ITU-R BT.601 (OpenCV).
        method: "dis", dense inverse search; or "brox", Brox et al. 2004 on the CPU.
        brox: settings of "brox".
        threads: CPU threads of "brox"; None for all. They change no bit.

    Returns:
        (H, W, 2) float32 each: pixels to the right and down.

    Raises:
        ValueError: no such method; or, while iterating, frames that are not such.
        TypeError: while iterating, frames that are not arrays of uint8.
    """
    check_method(method)
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    greys = _of_one_size(map(grey, frames))
    return _dis(greys) if method == "dis" else _brox(greys, brox, threads or num_usable_cores())


def check_method(method: str) -> None:
    """Raise a `ValueError` if it is none of `METHODS`."""
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")


def settings_of(method: str, brox: Brox) -> dict[str, Any]:
    """What decides over the flows of a method, as JSON values, for caches."""
    if method == "brox":
        return {"method": method, **vars(brox), "sweeps_a_check": SWEEPS_A_CHECK}
    return {"method": method, "preset": "medium", "opencv": cv2.__version__}


def grey(frame: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of a frame, RGB or grey.

    Raises:
        TypeError: it is no array of uint8.
        ValueError: it is neither (H, W, 3) nor (H, W).
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        kind = frame.dtype if isinstance(frame, np.ndarray) else type(frame).__name__
        raise TypeError(f"`frames` must be NumPy arrays of uint8, got {kind}.")
    if frame.size == 0 or not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)):
        raise ValueError(f"`frames` must be (H, W, 3) or (H, W) each, got {frame.shape}.")
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _of_one_size(greys: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape = None
    for image in greys:
        if shape is not None and image.shape != shape:
            raise VideoError(f"`frames` must be of one size, got {shape} and {image.shape}.")
        shape = image.shape
        yield image


def _dis(greys: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    from kinema.flow.dis import dis_flow

    for first, second in pairwise(greys):
        yield dis_flow(first, second)


def _brox(greys: Iterator[np.ndarray], settings: Brox, threads: int) -> Iterator[np.ndarray]:
    from kinema.flow.native_brox import brox_flow

    pairs = pairwise(greys)
    while some := list(islice(pairs, threads)):
        first, second = (np.stack(images) for images in zip(*some, strict=True))
        yield from brox_flow(first, second, settings=settings, threads=threads)
