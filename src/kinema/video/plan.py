"""`ClipPlan`: which frames of a video make which clip; arithmetic on numbers and times alone.

Note [Tail and short videos]
    Clips are whole: a video of n frames gives the clips that start at 0, stride, 2 stride, ... and
    end at or before n, as in C3D v1.0. Frames behind the last whole clip are used by no clip.

        length 16, stride 8, 43 frames:
        0       8       16      24      32      40
        |===============|                              0..16
                |===============|                      8..24
                        |===============|              16..32
                                |===============|      24..40, and frames 40, 41, 42 are left out

    A video shorter than one clip gives one clip whose missing frames repeat the last frame; its
    row says how many in `num_padded_frames`. `short="skip"` refuses such videos instead (C3D v1.0
    fails on them).

Note [Other samplings]
    What replaces the stride; clips stay whole, and short videos are as in the note above:

        clips    so many, evenly: clip i of N starts at i (n - span) / (N - 1), rounded down, so the
                 first starts at 0 and the last ends at the end. One clip alone stands in the
                 middle. A video that has fewer starts than N gives each of them once.
        every    a clip starts at the first frame at or after each multiple of so many seconds,
                 counted from the first frame; multiples that meet one frame give one clip.

    How many frames there are is known once they were decoded: a header's number may be wrong. So
    for `clips` a video is decoded twice, the first time to count (`ClipPlan.count`).

    `fps` changes the frames themselves, before all this: see Note [Instants] of `timeline`. What is
    said of frames above is then said of the frames at instants; `start_frame` and its like remain
    numbers and times of the video's own frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from kinema.video.reader import Frame
from kinema.video.timeline import Moment, at_rate, moments, timed

AMOUNTS: Mapping[str, tuple[float, float, str]] = MappingProxyType(
    {"fps": (0.001, 1000, "frames a second"), "every": (0.001, 1_000_000, "seconds")}
)
"""The least and the most of each that makes sense: many containers keep whole milliseconds."""


@dataclass(frozen=True)
class ClipPlan:
    """Which frames of a video make which clip.

    See Note [Tail and short videos] and Note [Other samplings].

    Attributes:
        length: frames in a clip.
        stride: frames from the start of one clip to the start of the next; plays no part with
            `clips` or `every`.
        sampling_rate: every how many-th frame is taken; a clip needs `length * sampling_rate`
            frames of video, as in C3D v1.0 (`image_io.cpp`).
        short: "pad" or "skip", for videos that have no whole clip.
        fps: frames a second that are taken, by their times; None for the video's own.
        clips: how many, evenly over the video, instead of the stride.
        every: seconds from the start of one clip to the start of the next, instead of the stride.
    """

    length: int = 16
    stride: int = 8
    sampling_rate: int = 1
    short: str = "pad"
    fps: float | None = None
    clips: int | None = None
    every: float | None = None

    def __post_init__(self) -> None:
        for name in ("length", "stride", "sampling_rate", "clips"):
            if (value := getattr(self, name)) is not None:
                unit = "clip" if name == "clips" else "frame"
                object.__setattr__(self, name, _checked_number(name, value, unit))
        if self.short not in ("pad", "skip"):
            raise ValueError(f'`short` must be "pad" or "skip", got {self.short!r}.')
        for name, (least, most, unit) in AMOUNTS.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _checked_amount(name, value, least, most, unit))
        if self.fps is not None and self.sampling_rate != 1:
            raise ValueError(
                f"`fps` {self.fps:g} and `sampling_rate` {self.sampling_rate} both choose the "
                "frames of a clip: give one of them."
            )
        if self.clips is not None and self.every is not None:
            raise ValueError(
                f"`clips` {self.clips} and `every` {self.every:g} both choose where clips start: "
                "give one of them."
            )

    def settings(self) -> dict[str, Any]:
        """What decides over the clips, as JSON values; what came later only where it is given."""
        later = {"fps": self.fps, "clips": self.clips, "every": self.every}
        return {
            "length": self.length,
            "stride": self.stride,
            "sampling_rate": self.sampling_rate,
            "short": self.short,
            **{name: value for name, value in later.items() if value is not None},
        }

    def check_listed(self) -> None:
        """Refuse what makes no sense where a list names the first frames of clips.

        Raises:
            ValueError: `clips` or `every` would choose them, or `fps` would change what they count.
        """
        whys = {
            "fps": "which count the video's own frames",
            "clips": "so it says already where they start",
            "every": "so it says already where they start",
        }
        for name, why in whys.items():
            if (value := getattr(self, name)) is not None:
                raise ValueError(
                    f"`{name}` {value:g}: the list names the first frames of clips, {why}; leave "
                    f"`{name}` out, or list the paths alone."
                )

    @property
    def span(self) -> int:
        """Frames of video that a whole clip needs."""
        return self.length * self.sampling_rate

    def starts(self, num_frames: int) -> Sequence[int]:
        """First frame of every whole clip of a video with `num_frames` frames.

        Raises:
            ValueError: the plan is one of `every`, for which the number does not do.
        """
        if self.every is not None:
            raise ValueError("where clips start by `every` depends on the times of the frames.")
        last = num_frames - self.span
        if self.clips is None or last < 0:
            return range(0, max(last + 1, 0), self.stride)
        if self.clips == 1:
            return [last // 2]
        if last < self.clips:
            return range(last + 1)
        return [number * last // (self.clips - 1) for number in range(self.clips)]

    def num_clips(self, num_frames: int) -> int:
        """Clips that a video of `num_frames` frames gives; a short video's padded one counts."""
        if num_frames < 0:
            raise ValueError(f"`num_frames` must not be negative, got {num_frames}.")
        if 0 < num_frames < self.span and self.short == "pad":
            return 1
        return len(self.starts(num_frames))

    def frame_indices(self, start: int) -> range:
        """The frames of the clip that starts at frame `start`."""
        return range(start, start + self.span, self.sampling_rate)

    def moments(self, frames: Iterable[Frame]) -> Iterator[Moment]:
        """The frames that clips are made of, in order: all, or those at `fps`.

        Raises:
            VideoError: they have no times, and the plan needs some.
        """
        found = moments(frames)
        if self.fps is not None or self.every is not None:
            found = timed(found)
        return found if self.fps is None else at_rate(found, self.fps)

    def count(self, frames: Iterable[Frame]) -> int:
        """How many `moments` there are."""
        return sum(1 for _ in self.moments(frames))


def _checked_number(name: str, value: Any, unit: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` must be a whole number of {unit}s, got {value!r}.")
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1 {unit}, got {value}.")
    return int(value)


def _checked_amount(name: str, value: Any, least: float, most: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"`{name}` must be a number of {unit}, got {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"`{name}` must be {least:g} to {most:g} {unit}, got {value}.")
    return float(value)
