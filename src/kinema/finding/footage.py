"""What a video shows over time, small enough to compare each video with each.

    frames --grey, 96x72--> bins of a tenth of a second --borders off--> `Footage`

Note [How footage is kept]
    Time is cut into bins of `BIN_SECONDS`, from the first frame on. A bin is the average of the
    frames shown in it, by how long each is shown, so that copies of another frame rate have the
    same bins. It is kept twice: every bin as 16x12 pixels, to compare how pictures change; and of
    every tenth bin 24x18 pixels, a key picture, to find out which videos are worth comparing. Two
    hours are 17 MB, and no more than that is held while a video is read.

Note [Black borders]
    Rows and columns at the edge that stay black in the first `BORDER_SECONDS` are no picture and
    are taken off for the whole video. Later ones are not looked for, so that memory stays flat: a
    bordered film behind an opening that fills the screen keeps its borders.

Note [Times that jump]
    Where the clock of a file begins anew (joined transport streams), seconds go on as they are
    played. A frame that is shown for longer than `LONGEST_FRAME_SECONDS` fills so many seconds of
    bins and no more; a file with a wrong time stamp would fill the memory otherwise. The bins
    behind it have their right seconds all the same. Folders of pictures have no times: they are
    taken to have 25 frames a second, and their seconds are NaN.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinema.files import cache_file, read_kept_tensors, write_tensors
from kinema.video.loop import PLAIN, Reading, Video
from kinema.video.reader import Frame, VideoError, VideoInfo
from kinema.video.sources import Source, as_source
from kinema.video.steps import Made, Step

FORMAT = "kinema-footage-1"

BIN_SECONDS = 0.1
"""Two or three frames of most videos: short enough to see a step or a wave of the hand."""

BINS_PER_KEY = 10
"""One key picture a second: most shots show their scene for longer."""

HEIGHT, WIDTH = 12, 16
"""Of a bin: a cell is some 20 pixels of UCF101's, wide enough for crops by a twentieth."""

KEY_HEIGHT, KEY_WIDTH = 18, 24
"""Of a key picture, as the sketches of `datasets.near_duplicates` are."""

BORDER_SECONDS = 30.0
"""See Note [Black borders]: 2 MB of bins that wait."""

LONGEST_FRAME_SECONDS = 60.0
"""Longer than a picture of a slide show stays."""

FOLDER_FPS = 25.0

_TICK = 1e-6  # seconds: less than times are told to
_SMALL_HEIGHT, _SMALL_WIDTH = 72, 96  # a border is found to one hundredth of the side
_BORDER = 32  # no pixel of a border is brighter, of 255


@dataclass(frozen=True, eq=False)
class Footage:
    """What a video shows over time.

    Attributes:
        bins: (n, 12, 16) uint8 grey, averages over a tenth of a second each.
        keys: (ceil(n / 10), 18, 24) uint8 grey, the sixth of every ten bins, or the last of fewer.
        seconds: (n + 1,) when bins start, on the file's clock, and when the last one stops; NaN
            of a folder of pictures.
        part: (4,) top, bottom, left, right of the picture without black borders, of the frame's
            sides, from 0 to 1.
        anew: (1,) bool, whether the file's clock begins anew somewhere.
    """

    bins: np.ndarray
    keys: np.ndarray
    seconds: np.ndarray
    part: np.ndarray
    anew: np.ndarray

    def __len__(self) -> int:
        return len(self.bins)

    def second_of(self, place: float) -> float:
        """When a place between bins is shown; NaN of a folder of pictures."""
        whole = min(max(int(place), 0), len(self.bins))
        rest = place - whole if whole < len(self.bins) else 0.0
        return float(self.seconds[whole] + rest * BIN_SECONDS)


def footage(video: str | os.PathLike[str] | Video) -> Footage:
    """The footage of one video.

    Raises:
        VideoError, FileNotFoundError: the video cannot be read to its end.
    """
    if not isinstance(video, Video):
        video = Video(as_source(video))
    reader = video.reader()
    *_, found = _items(video.source, reader.info, map(_small, video.frames(reader)))
    assert found is not None
    return found


def step(cache: str | os.PathLike[str] | None = None, *, reading: Reading = PLAIN) -> Step:
    """The footage of each video, as a step of a walk.

    Args:
        cache: a folder that keeps it, by content; None keeps none. Damaged files are made anew.
        reading: how the videos are read.
    """
    if cache is None:
        return Step(_items, _small)

    def find(source: Source, mark: str) -> Footage | None:
        return kept(cache, source, mark, reading=reading)

    def keep(source: Source, made: Made) -> None:
        one: Footage = made.value
        arrays = {"bins": one.bins, "keys": one.keys, "seconds": one.seconds}
        arrays |= {"part": one.part, "anew": one.anew}
        file = _file(cache, source, made.mark, reading)
        write_tensors(file, arrays, {"format": FORMAT})

    return Step(_items, _small, find=find, keep=keep)


def kept(
    cache: str | os.PathLike[str], source: Source, mark: str, *, reading: Reading = PLAIN
) -> Footage | None:
    """What a cache keeps of a video of this fingerprint; None if there is nothing, or damaged."""
    arrays = read_kept_tensors(_file(cache, source, mark, reading), format=FORMAT)
    names = {"bins", "keys", "seconds", "part", "anew"}
    return None if arrays is None or arrays.keys() != names else Footage(**arrays)


def _file(cache: str | os.PathLike[str], source: Source, mark: str, reading: Reading) -> Path:
    about: dict[str, Any] = {"footage": [BIN_SECONDS, HEIGHT, WIDTH, KEY_HEIGHT, KEY_WIDTH]}
    if reading.colours != "file":
        about["colours"] = reading.colours
    return cache_file(cache, {**about, **source.content_key(mark)})


# --- from frames to bins --------------------------------------------------------------------------

_Shown = tuple[np.ndarray, float, float]
"""(72, 96) uint8 grey, and when it is shown; NaN in a folder."""


def _small(frame: Frame) -> _Shown:
    grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
    small = _resized(grey, _SMALL_WIDTH, _SMALL_HEIGHT)
    return small, frame.start_seconds, frame.stop_seconds


def _items(source: Source, info: VideoInfo, shown: Iterator[_Shown]) -> Iterator[Footage | None]:
    """None after each frame, so that another step has its turn; then the footage."""
    pictures, times = _Pictures(), _Times()
    for image, start, stop in shown:
        for picture, seconds in times.bins(image, start, stop):
            pictures.add(picture, seconds)
        yield None
    for picture, seconds in times.rest():
        pictures.add(picture, seconds)
    yield pictures.footage(times)


class Clock:
    """When frames are shown, on a clock that goes on; see Note [Times that jump]."""

    def __init__(self) -> None:
        self.stop = math.nan  # of what was shown so far
        self.begins_anew = False
        self.is_known = True
        self._shift = 0.0

    def shown(self, start: float, stop: float) -> tuple[float, float]:
        """Start and length in seconds of the next frame that has these times, or NaN."""
        length = stop - start if stop > start else 1 / FOLDER_FPS
        if math.isnan(start):
            self.is_known = False
            start = 0.0 if math.isnan(self.stop) else self.stop
        elif start + self._shift < self.stop - _TICK:
            self._shift = self.stop - start
            self.begins_anew = True
        start += self._shift
        self.stop = start + length
        return start, length


class _Times:
    """Frames as they are shown to bins of equal length, one after the other."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.stop = math.nan  # of the last bin, on this clock
        self._sum = np.zeros((_SMALL_HEIGHT, _SMALL_WIDTH), np.float32)
        self._filled = 0.0  # seconds of the present bin
        self._start = math.nan  # of the present bin

    def bins(
        self, image: np.ndarray, start: float, stop: float
    ) -> Iterator[tuple[np.ndarray, float]]:
        """The bins that this frame fills: picture and start; at once or later."""
        begin, length = self.clock.shown(start, stop)
        if begin > self.stop + BIN_SECONDS:  # behind a frame that was shown for too long
            yield from self.rest()
        left = min(length, LONGEST_FRAME_SECONDS)
        self.stop = begin + left
        while left > _TICK:
            if not self._filled:
                self._start = self.stop - left
            taken = min(left, BIN_SECONDS - self._filled)
            self._sum += np.float32(taken) * image
            self._filled += taken
            left -= taken
            if self._filled > BIN_SECONDS - _TICK:
                yield from self.rest()

    def rest(self) -> Iterator[tuple[np.ndarray, float]]:
        """The present bin, as far as it is filled."""
        if self._filled > _TICK:
            yield self._sum / np.float32(self._filled), self._start
        self._sum = np.zeros_like(self._sum)
        self._filled = 0.0


class _Pictures:
    """Bins without their borders, made small; the first ones wait until borders are known."""

    def __init__(self) -> None:
        self._waiting: list[np.ndarray] | None = []
        self._part: tuple[slice, slice] = (
            slice(0, _SMALL_HEIGHT),
            slice(0, _SMALL_WIDTH),
        )
        self._bins, self._keys = bytearray(), bytearray()
        self._seconds: list[float] = []
        self._last: np.ndarray | None = None
        self._made = 0

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """One more bin: (72, 96) float32, and when it starts."""
        self._seconds.append(seconds)
        if self._waiting is None:
            self._make(picture)
            return
        self._waiting.append(picture)
        if len(self._waiting) * BIN_SECONDS >= BORDER_SECONDS:
            self._decide()

    def _decide(self) -> None:
        """Where the picture is, and the bins that waited for it."""
        waiting, self._waiting = self._waiting or [], None
        if waiting:
            brightest = np.max(waiting, axis=0)
            rows = np.flatnonzero(brightest.max(axis=1) >= _BORDER)
            columns = np.flatnonzero(brightest.max(axis=0) >= _BORDER)
            if len(rows) >= _SMALL_HEIGHT / 4 and len(columns) >= _SMALL_WIDTH / 4:  # else all dark
                self._part = (
                    slice(rows[0], rows[-1] + 1),
                    slice(columns[0], columns[-1] + 1),
                )
        for picture in waiting:
            self._make(picture)

    def _make(self, picture: np.ndarray) -> None:
        picture = picture[self._part]
        self._bins += _bytes(picture, WIDTH, HEIGHT)
        place = self._made % BINS_PER_KEY
        self._last = picture if place <= BINS_PER_KEY // 2 else None
        if place == BINS_PER_KEY // 2:
            self._keys += _bytes(picture, KEY_WIDTH, KEY_HEIGHT)
            self._last = None
        self._made += 1

    def footage(self, times: _Times) -> Footage:
        """All of it."""
        if self._waiting is not None:
            self._decide()
        if not self._made:
            raise VideoError("it has no frames.")
        if self._last is not None:  # a second that was not half full
            self._keys += _bytes(self._last, KEY_WIDTH, KEY_HEIGHT)
        rows, columns = self._part
        return Footage(
            np.frombuffer(bytes(self._bins), np.uint8).reshape(-1, HEIGHT, WIDTH),
            np.frombuffer(bytes(self._keys), np.uint8).reshape(-1, KEY_HEIGHT, KEY_WIDTH),
            np.array([*self._seconds, times.stop]) * (1.0 if times.clock.is_known else math.nan),
            np.array([rows.start, rows.stop, columns.start, columns.stop])
            / np.array([_SMALL_HEIGHT] * 2 + [_SMALL_WIDTH] * 2),
            np.array([times.clock.begins_anew]),
        )


def _bytes(picture: np.ndarray, width: int, height: int) -> bytes:
    return np.rint(_resized(picture, width, height)).astype(np.uint8).tobytes()


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
