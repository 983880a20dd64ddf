"""`VideoReader`: a video file, or a folder of pictures, to frames with their times.

How a file is opened stands in `opening.py`, what damage is in `demuxing.py`, when frames are shown
in `clock.py`; how its pictures get their colours and stand upright, in `pixels.py`.
"""

from __future__ import annotations

import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinema.skipped import TooLongError, VideoError
from kinema.video.clock import Shown
from kinema.video.demuxing import Demuxer
from kinema.video.pixels import COLOURS, Converter, Orientation, check_colours

__all__ = [
    "COLOURS",
    "FRAME_NAME",
    "Allowance",
    "Frame",
    "VideoError",
    "VideoInfo",
    "VideoReader",
    "check_colours",
    "path_kind",
    "spread",
    "spreading",
]

MOST_KEPT = 512
"""Items that `spread` holds at once."""

NO_IMAGE = np.empty((0, 0, 3), np.uint8)
"""In place of an image that nobody asked for."""

FRAME_NAME = re.compile(r"(\d{6})\.jpg")
"""Names of the pictures of a frame folder, `%06d.jpg` from 1 (C3D v1.0, `image_io.cpp`)."""


class Allowance:
    """How long a video may take, in seconds of wall-clock time from now on; None is for ever."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._until = math.inf if seconds is None else time.monotonic() + seconds

    def excuse(self, seconds: float) -> None:
        """Time that passed without being the video's fault is not counted."""
        self._until += seconds

    def check(self) -> None:
        """Raise a `VideoError` if the time is over."""
        if time.monotonic() > self._until:
            raise TooLongError(f"it takes longer than {self._seconds:g} s (`video_seconds`).")


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        index: its number: from 0 in a video file, from 1 in a frame folder, as the original counts.
        start_seconds: when it is shown, on the file's own clock; NaN in a frame folder. Where that
            clock begins anew (joined transport streams), times begin anew.
        stop_seconds: when the next frame on this clock is shown, or this one ends.
    """

    image: np.ndarray
    index: int
    start_seconds: float
    stop_seconds: float


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself, before it is read through.

    Attributes:
        width, height: of the upright frames, in pixels.
        fps: average frame rate in 1/s; None if unknown.
        num_frames: frames as the header promises; None if it does not say.
        duration_seconds: length as the header promises; None if it does not say.
        rotation_degrees: how far frames were turned counter-clockwise to stand upright.
        mirrored: whether left and right of them were swapped after that.
        container, codec, pixel_format: FFmpeg's names.
    """

    width: int
    height: int
    fps: float | None
    num_frames: int | None
    duration_seconds: float | None
    rotation_degrees: int
    container: str
    codec: str
    pixel_format: str
    mirrored: bool = False


class VideoReader:
    """The frames of a video in the order in which they are shown, one at a time.

    Every frame of the first video stream that is no cover picture, upright, whatever stands beside
    it. With `colours="file"` frames equal, bit for bit, those of the OpenCV that constraints.txt
    pins, for progressive video of standard dynamic range; BT.2020, PQ, HLG, Display P3 and
    interlaced video and mirrored pictures are as ffmpeg shows them. With "original" they are
    BT.601's whatever the file names, as OpenCV 2.4 gave them to C3D v1.0; 8-bit progressive ones
    equal OpenCV 4.11's bit for bit. docs/fidelity.md has the differences.

    Memory does not grow with the length of the video. Each iteration opens the file anew.

    Args:
        path: a video file, or a folder with pictures 000001.jpg, 000002.jpg, ...
        colours: "file", YUV becomes RGB by what the file names; "original", as C3D v1.0 had it.
        allowance: how long it may take, in all its walks together; None is for ever.
        images: whether frames have images; without, frames, numbers, times and damage that the
            decoder tells are the same, and each image is (0, 0, 3).

    Raises:
        FileNotFoundError: there is nothing at `path`.
        VideoError: it is no readable video; or, while iterating, it breaks at a frame.

    Example:
        >>> from kinema.video.synthetic import draw_video, write_video
        >>> write_video("a.mp4", draw_video("clockwise", seed=0, num_frames=3))
        >>> [(frame.index, frame.start_seconds) for frame in VideoReader("a.mp4")]
        [(0, 0.0), (1, 0.04), (2, 0.08)]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        colours: str = "file",
        allowance: Allowance | None = None,
        images: bool = True,
    ) -> None:
        check_colours(colours)
        self.colours = colours
        self.allowance = allowance or Allowance()
        self.path = Path(path)
        kind = path_kind(self.path)
        self._source: _FileSource | _FolderSource = (
            _FolderSource(self.path, self.allowance.check, images)
            if kind == "folder"
            else _FileSource(self.path, self.allowance.check, colours, images)
        )
        self.info = self._source.info()

    def __iter__(self) -> Iterator[Frame]:
        """Each frame, held back until the next one tells when it stops."""
        yield from self._numbered(self._source.pictures(), self._source.first_index)

    def between(self, start_seconds: float, stop_seconds: float = math.inf) -> Iterator[Frame]:
        """The frames that are shown at or after `start_seconds` and before `stop_seconds`.

        They equal those of a walk from the first frame; where there is none, nothing is given. A
        file is entered near them, so that two seconds of an hour take no hour. Their numbers count
        from 0 at the first of them. Damage elsewhere in the file is not seen. Where a file's clock
        begins anew, the frames of all its stretches are given, in the order of the file; so it is
        in formats that know of this (transport and program streams, Ogg, NUT), which are read
        through for it. Of others that were put together, those of the first stretch are.

        Raises:
            VideoError: the frames cannot be read. Folders of pictures have no times.
        """
        if isinstance(self._source, _FolderSource):
            raise VideoError("a folder of pictures has no times.")
        yield from self._numbered(self._source.pictures_between(start_seconds, stop_seconds), 0)

    @staticmethod
    def _numbered(pictures: Iterator[_Picture], first_index: int) -> Iterator[Frame]:
        index = first_index
        try:
            for image, start_seconds, stop_seconds in pictures:
                yield Frame(image, index, start_seconds, stop_seconds)
                index += 1
        except VideoError as error:
            if index == first_index:
                raise
            raise type(error)(str(error), frame_index=index) from None

    def __repr__(self) -> str:
        info = self.info
        frames = "unknown" if info.num_frames is None else info.num_frames
        return f"VideoReader({str(self.path)!r}, {info.width}x{info.height}, {frames} frames)"


def spread(items: Iterable[Any], positions: Sequence[float]) -> list[Any]:
    """Items of a stream of unknown length at some places of it, in constant memory.

    Place p of n items is item round(p (n - 1)): 0 is the first, 1 the last. Of more than 512 items
    every second is kept, of more than 1024 every fourth, and so on: then the item before is given.

    Args:
        items: at least one.
        positions: from 0 to 1.
    """
    found: list[Any] = []
    for given in spreading(items, positions):
        found = given or []
    return found


def spreading(items: Iterable[Any], positions: Sequence[float]) -> Iterator[list[Any] | None]:
    """As `spread`, with None after each item, so that one can do something else in between."""
    kept: list[Any] = []
    step, count, last = 1, 0, None
    for last in items:
        if count % step == 0:
            kept.append(last)
            if len(kept) > MOST_KEPT:
                kept, step = kept[::2], 2 * step
        count += 1
        yield None
    if not count:
        raise ValueError("`items` is empty.")
    wanted = [round(position * (count - 1)) for position in positions]
    yield [last if index == count - 1 else kept[index // step] for index in wanted]


_Picture = tuple[np.ndarray, float, float]
"""An image (H, W, 3) uint8 RGB, when it is shown, and when it stops being shown."""


@dataclass(frozen=True, eq=False)
class _Held:
    """A picture that waits for the next one to tell when it stops; no image: it is not wanted."""

    image: np.ndarray | None
    start_seconds: float
    end_seconds: float
    begins_clock: bool


def path_kind(path: Path) -> str:
    """Whether `path` is a plain file or a folder; everything else is refused without opening it."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file.") from None
    except OSError as error:
        raise VideoError(f"it cannot be reached ({error.strerror}).") from None
    except ValueError as error:  # a null character in the name
        raise VideoError(f"its name cannot be used ({error}).") from None
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise VideoError("it is not a plain file (a pipe, socket or device is not read).")
    return "file"


class _FileSource:
    """A video file read with FFmpeg."""

    first_index = 0

    def __init__(
        self, path: Path, check_allowance: Callable[[], None], colours: str, images: bool
    ) -> None:
        self._path = path
        self._check_allowance = check_allowance
        self._colours = colours
        self._images = images

    def info(self) -> VideoInfo:
        with self._open() as demuxer:
            frame = next(demuxer.shown()).frame
            stream = demuxer.stream
            orientation = Orientation.of(frame) or Orientation()
            width, height = frame.width, frame.height
            if orientation.quarter_turns % 2:
                width, height = height, width
            return VideoInfo(
                width=width,
                height=height,
                fps=float(stream.average_rate) if stream.average_rate else None,
                num_frames=demuxer.promised_frames,
                duration_seconds=demuxer.promised_seconds,
                rotation_degrees=90 * orientation.quarter_turns,
                container=demuxer.container.format.name,
                codec=stream.codec_context.name,
                pixel_format=frame.format.name,
                mirrored=orientation.mirrored,
            )

    def pictures(self) -> Iterator[_Picture]:
        with self._open() as demuxer:
            yield from _with_stops(self._held(demuxer.shown()))

    def pictures_between(self, start: float, stop: float) -> Iterator[_Picture]:
        """The pictures with start <= time < stop."""
        if not start < stop:
            return
        with self._open() as demuxer:
            if demuxer.may_begin_anew:  # wanted ones may come behind others
                yield from _with_stops(self._held(demuxer.shown_in(start, stop), start, stop))
                return
            frames = demuxer.shown_from(start)
            if frames is not None:
                yield from _with_stops(_until(stop, self._held(frames, start, stop)))
                return
        with self._open() as demuxer:  # there is no way in but from the first frame
            yield from _with_stops(_until(stop, self._held(demuxer.shown(), start, stop)))

    def _open(self) -> Demuxer:
        return Demuxer(self._path, self._check_allowance)

    def _held(
        self, frames: Iterable[Shown], start: float = -math.inf, stop: float = math.inf
    ) -> Iterator[_Held]:
        """Frames with images where they are wanted, made while what was decoded is at hand."""
        rgb = Converter(self._colours).rgb if self._images else lambda frame: NO_IMAGE
        for shown in frames:
            yield _Held(
                rgb(shown.frame) if start <= shown.start_seconds < stop else None,
                shown.start_seconds,
                shown.end_seconds,
                shown.begins_clock,
            )


def _until(stop: float, held: Iterator[_Held]) -> Iterator[_Held]:
    """Pictures up to the first one that is shown at `stop` or later, with it."""
    for one in held:
        yield one
        if one.start_seconds >= stop:
            return


def _with_stops(held: Iterator[_Held]) -> Iterator[_Picture]:
    """Each wanted picture; it stops when the next one of its clock is shown, or by itself."""
    shown = None
    while True:
        try:
            following = next(held, None)
        except VideoError:
            if shown is not None and shown.image is not None:
                yield shown.image, shown.start_seconds, shown.end_seconds
            raise
        if shown is not None and shown.image is not None:
            goes_on = following is not None and not following.begins_clock
            stop = following.start_seconds if following and goes_on else shown.end_seconds
            yield shown.image, shown.start_seconds, stop
        if following is None:
            return
        shown = following


class _FolderSource:
    """A folder of pictures, numbered from 1 as the original's lists are."""

    first_index = 1

    def __init__(self, path: Path, check_allowance: Callable[[], None], images: bool) -> None:
        self.path = path
        self._check_allowance = check_allowance
        self._images = images

    def info(self) -> VideoInfo:
        numbers = sorted(
            int(match[1]) for name in os.listdir(self.path) if (match := FRAME_NAME.fullmatch(name))
        )
        if not numbers:
            raise VideoError("the folder holds no pictures named 000001.jpg, 000002.jpg, ...")
        if numbers[0] == 0:
            raise VideoError("its pictures are numbered from 000000.jpg; the first is 000001.jpg.")
        self._last_index = numbers[-1]
        height, width = self._read(1).shape[:2]
        return VideoInfo(
            width=width,
            height=height,
            fps=None,
            num_frames=self._last_index,
            duration_seconds=None,
            rotation_degrees=0,
            container="folder",
            codec="jpeg",
            pixel_format="bgr24",
        )

    def pictures(self) -> Iterator[_Picture]:
        for index in range(self.first_index, self._last_index + 1):
            self._check_allowance()
            yield self._read(index) if self._images else NO_IMAGE, math.nan, math.nan

    def _read(self, index: int) -> np.ndarray:
        name = f"{index:06d}.jpg"
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise VideoError(f"{name} cannot be read ({error.strerror}).") from None
        # Without its end marker a picture was cut off; OpenCV would fill it up with grey.
        image = None
        if data.rfind(b"\xff\xd9") > len(data) // 2:  # not that of a thumbnail at the front
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is None:
            raise VideoError(f"{name} is not a whole JPEG picture.")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
