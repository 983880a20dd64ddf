"""When frames are shown, counted from the first one, and the same video at another frame rate.

Note [Instants]
    A rate of F frames a second asks for one frame at each instant k / F, k = 0, 1, 2, ..., counted
    from the first frame, until the last one is over: the last frame that begins at or before the
    instant. That is what a viewer sees then. Nothing is taken from the future, a frame stays until
    the next one comes however long that takes, and a video that has this rate stays as it is.

        frames     |0    |1 |2 |3          |4    |
        instants   .    .    .    .    .    .        each is given the frame in which it stands:
        taken      0    0    2    3    3    4        frame 0 twice, frame 1 not at all

    Matroska and FLV keep times in whole milliseconds, so the distance of two of them is wrong by up
    to one. A frame that begins up to a millisecond behind an instant therefore counts as at it (up
    to a quarter of a period, where that is less). Without this, a video of 30 frames a second in
    Matroska would lose and repeat frames at its own rate.

    Where a file's clock begins anew (joined transport streams), time goes on from the stop of the
    frame before, as it does within a clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kinema.skipped import VideoError
from kinema.video.reader import Frame

ROUNDING_SECONDS = 0.001
"""By which a distance of times is wrong in containers that keep whole milliseconds."""

LONGEST_STILL = 3600.0
"""Seconds that a frame is repeated at most: a time that a file makes up must not fill the disk."""


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame, and when it is shown since the first one.

    Attributes:
        frame: of the video, with its own number and times.
        seconds: since the first frame is shown; at another rate, of the instant.
        jump: seconds by which the file's clock was set back since the moment before.
    """

    frame: Frame
    seconds: float
    jump: float = 0.0


def slack(period: float) -> float:
    """Seconds by which a frame may miss a multiple of a period. See Note [Instants]."""
    return min(ROUNDING_SECONDS, period / 4)


def moments(frames: Iterable[Frame]) -> Iterator[Moment]:
    """All frames of a video, in order; NaN seconds where they have no times."""
    first = stopped = ahead = 0.0
    for place, frame in enumerate(frames):
        jump = 0.0
        if not place:
            first = frame.start_seconds
        elif frame.start_seconds != stopped:
            jump = stopped - frame.start_seconds
            ahead += jump
        stopped = frame.stop_seconds
        yield Moment(frame, frame.start_seconds - first + ahead, jump)


def timed(found: Iterable[Moment]) -> Iterator[Moment]:
    """The same; moments without times are refused.

    Raises:
        VideoError: there is one.
    """
    for moment in found:
        if math.isnan(moment.seconds):
            raise VideoError("a folder of pictures has no times, which `fps` and `every` need.")
        yield moment


def at_rate(found: Iterable[Moment], fps: float) -> Iterator[Moment]:
    """A video at `fps` frames a second; at least one frame. See Note [Instants].

    Args:
        found: all frames of a video, with times.
        fps: in 1/s, above 0.

    Raises:
        VideoError: a frame would be repeated for more than `LONGEST_STILL`.
    """
    number, jump, last = 0, 0.0, None
    for last in found:
        jump += last.jump
        shown = last.frame.stop_seconds - last.frame.start_seconds
        if shown > LONGEST_STILL:
            raise VideoError(
                f"frame {last.frame.index} is shown for {shown:.0f} s; `fps` repeats none for more "
                f"than {LONGEST_STILL:.0f} s."
            )
        while number / fps < last.seconds + shown - slack(1 / fps):
            yield Moment(last.frame, number / fps, jump)
            number, jump = number + 1, 0.0
    if last is not None and not number:
        yield Moment(last.frame, 0.0)


def due_every(found: Iterable[Moment], period: float) -> Iterator[tuple[Moment, int]]:
    """Each moment, and 1 if it is the first at or after a multiple of `period` seconds, else 0."""
    number = 0
    for moment in found:
        seconds = moment.seconds + slack(period)
        is_due = seconds >= number * period
        if is_due:  # several multiples that meet one frame are one
            number = max(number, math.floor(seconds / period)) + 1
        yield moment, int(is_due)
