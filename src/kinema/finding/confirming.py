"""Two segments that seem to show the same, looked at again as far larger pictures.

Note [Why a second look]
    Two push-ups of one person before a fixed camera change in the same way as far as 16x12 pixels
    tell: correlations of 0.97 and more. Edges do not lie on each other, though. So up to
    `LONGEST_SECONDS` of both videos, where most moves, are decoded once more to 96x72 pixels. The
    frames are laid on each other in time (to a frame) and in space (crops), and the changes are
    correlated as in `alignment`. That is the score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from kinema.finding.footage import BIN_SECONDS, Clock, Footage
from kinema.finding.laying import fitted, warped
from kinema.video.loop import PLAIN, Reading, Video
from kinema.video.sources import Source

LONGEST_SECONDS = 2.5
"""Of both videos, decoded again: a push-up, and little beside the decoding of the whole."""

_HEIGHT, _WIDTH = 72, 96

_SHIFTS = np.arange(-0.1, 0.101, 0.01)
"""Seconds by which the second one is moved: bins know times to some 0.03."""

_BEFORE = 0.02  # seconds: times of bins are not exact to the last bit

_BLUR = 1.0
"""Pixels: what encoding does to single pixels is no change."""


@dataclass(frozen=True)
class Stretch:
    """Some seconds of a video.

    Attributes:
        source: the video.
        footage: what is known of it.
        start: a bin, or a place between two.
        stop: another.
        mirrored: whether left is right.
    """

    source: Source
    footage: Footage
    start: float
    stop: float
    mirrored: bool = False


def likeness(first: Stretch, second: Stretch, *, reading: Reading = PLAIN) -> float:
    """How alike two stretches of equal length change, up to 1; see Note [Why a second look].

    Raises:
        VideoError: one of them cannot be read any more.
    """
    ours, theirs = (_frames(side, reading) for side in (first, second))
    if len(ours[0]) < 3 or len(theirs[0]) < 3:
        return 0.0
    laid = _laid(ours[1], theirs[1])
    return max(
        _likeness(ours, (theirs[0], pictures))
        for pictures in ([theirs[1]] if laid is None else [theirs[1], laid])
    )


def _likeness(ours: _Frames, theirs: _Frames) -> float:
    """The best of all shifts in time."""
    best = 0.0
    seen: set[tuple[int, ...]] = set()
    for shift in _SHIFTS:
        nearest = np.abs(ours[0][:, None] + shift - theirs[0][None]).argmin(axis=1)
        if tuple(nearest) in seen:
            continue
        seen.add(tuple(nearest))
        changes = [pictures - pictures.mean(axis=0) for pictures in (ours[1], theirs[1][nearest])]
        energies = [float(np.vdot(one, one)) for one in changes]
        product = float(np.vdot(changes[0], changes[1]))
        best = max(best, product / math.sqrt(energies[0] * energies[1] + 1e-6))
    return best


_Frames = tuple[np.ndarray, np.ndarray]
"""(n,) seconds from the start of the stretch, and (n, 72, 96) float32."""


def _laid(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    place = fitted(first.mean(axis=0), second.mean(axis=0))
    return None if place is None else np.stack([warped(one, place) for one in second])


def _frames(side: Stretch, reading: Reading) -> _Frames:
    times, pictures = [], []
    for image, time in _shown(side, reading):
        height, width = image.shape[:2]
        top, bottom = (round(part * height) for part in side.footage.part[:2])
        left, right = (round(part * width) for part in side.footage.part[2:])
        image = image[top : max(bottom, top + 1), left : max(right, left + 1)]
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small.astype(np.float32), (0, 0), _BLUR)
        pictures.append(small[:, ::-1] if side.mirrored else small)
        times.append(time)
    return np.array(times), np.array(pictures, np.float32).reshape(-1, _HEIGHT, _WIDTH)


def _shown(side: Stretch, reading: Reading) -> Iterator[tuple[np.ndarray, float]]:
    """Images and their seconds from the start of the stretch."""
    video = Video(side.source, reading)
    length = (side.stop - side.start) * BIN_SECONDS
    start = side.footage.second_of(side.start)
    if side.footage.anew[0] or math.isnan(start):  # seconds lead to no place in the file
        clock = Clock()
        start = side.start * BIN_SECONDS if math.isnan(start) else start
        for frame in video.frames():
            time = clock.shown(frame.start_seconds, frame.stop_seconds)[0] - start
            if time >= length:
                return
            if time >= -_BEFORE:
                yield frame.image, time
        return
    for frame in video.reader().between(start - _BEFORE, start + length):
        yield frame.image, frame.start_seconds - start
