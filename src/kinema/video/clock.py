"""When frames are shown, on a clock that can begin anew.

Note [Times]
    A frame is shown at the time that the container gives it, on the file's own clock. Where the
    container gives none but the order of decoding (AVI), or times that run backwards more often
    than those of decoding do, the time of decoding that the decoder hands through counts: the same
    choice as FFmpeg's best effort. PyAV asks FFmpeg to make up times from the order of
    decoding; they are wrong wherever frames are reordered, so that is switched off.

    The clock of a file can begin anew (joined transport streams). Then the times of decoding step
    back, or the times of showing by more than reordering explains, or by more than
    `LONGEST_GAP` forwards. Each stretch keeps its own clock: within one, times never run backwards;
    the last frame of one ends after its own duration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import av

LONGEST_GAP = 10.0
"""Seconds forward that are a new clock where a format's clock can begin anew (FFmpeg's
`dts_delta_threshold`)."""

DEEPEST_REORDERING = 16
"""Frames that a codec can hold back to reorder them (H.264, Annex A: `MaxDpbFrames`)."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A decoded frame and when it is shown.

    Attributes:
        frame: as the decoder gave it.
        start_seconds: when it is shown.
        duration: how long it says that it is shown, in seconds; 0 or more.
        begins_clock: whether the file's clock began anew with it.
    """

    frame: av.VideoFrame
    start_seconds: float
    duration: float
    begins_clock: bool

    @property
    def end_seconds(self) -> float:
        """When it ends by its own duration."""
        return self.start_seconds + self.duration


class Clock:
    """The times of frames, in the order in which they are shown. See Note [Times]."""

    def __init__(
        self, time_base: Fraction, interval: float, may_begin_anew: bool, first_seconds: float
    ) -> None:
        self._num, self._den = time_base.numerator, time_base.denominator
        self._interval = interval
        self._may_begin_anew = may_begin_anew
        self._last_packet: int | None = None
        self._begins_anew = False  # the packets' clock has, the frames' not yet
        self._last: float | None = None
        self._expected = first_seconds
        self._last_pts = self._last_dts = -math.inf
        self._wrong_pts = self._wrong_dts = 0

    @property
    def distrusts_container(self) -> bool:
        """Whether the times of showing ran backwards more often than those of decoding."""
        return self._wrong_pts > self._wrong_dts

    def see(self, packet: av.Packet) -> None:
        """Take note of the next packet's time of decoding."""
        if packet.dts is None or not self._may_begin_anew:
            return
        if self._last_packet is not None and packet.dts < self._last_packet:
            self._begins_anew = True
        self._last_packet = packet.dts

    def shown(self, frame: av.VideoFrame) -> Shown:
        """The next frame with its time."""
        ticks = self._ticks(frame)
        seconds = self._expected if ticks is None else float(ticks) * self._num / self._den
        begins_clock = False
        is_back = self._last is not None and seconds < self._last
        if is_back and self._begins_anew and frame.pts is None and not frame.key_frame:
            # The decoder held it back until a packet of the new clock came, whose time it got.
            seconds = self._expected
        if self._last is not None and seconds < self._last:
            reordering = max(1.0, DEEPEST_REORDERING * self._interval)
            if self._begins_anew or seconds < self._last - reordering:
                begins_clock = True
                self._begins_anew = False
            else:
                seconds = self._last
        elif self._may_begin_anew and self._last is not None:
            begins_clock = seconds > self._last + LONGEST_GAP
        duration = frame.duration * self._num / self._den if frame.duration else self._interval
        duration = max(duration, 0.0)
        self._last = seconds
        self._expected = seconds + (self._interval or duration)
        return Shown(frame, seconds, duration, begins_clock)

    def _ticks(self, frame: av.VideoFrame) -> int | None:
        """The frame's time in units of the time base; None if nothing tells it."""
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._wrong_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._wrong_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        if pts is None or (self.distrusts_container and dts is not None):
            return dts
        return pts
