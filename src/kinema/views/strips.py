"""Filmstrips: some frames of a video side by side, on its time axis, as a WebP file.

`step` decodes the whole video, which costs nothing beside features that need all frames anyway.
`moments` is for a page that needs nothing else: of what is long it decodes six short stretches, and
it says from when to when a strip goes.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinema.files import atomic_path, cache_file, read_kept_tensors, write_tensors
from kinema.skipped import VideoError
from kinema.video.loop import PLAIN, Reading, Video
from kinema.video.reader import Allowance, Frame, VideoInfo, VideoReader, spread, spreading
from kinema.video.sources import Source, as_source
from kinema.video.steps import Made, Step, at_places

STRIP_FRAMES = 6
STRIP_HEIGHTS = {1000: 84, 5000: 60}
"""Pixels of a filmstrip, by how many videos there are at most."""
SMALLEST_STRIP = 42
STRIP_QUALITY = 60
"""Of WebP, 1 to 100."""

LONG_SECONDS = 60.0
"""Of longer stretches `moments` takes each picture by its time. The way into a file is a key frame,
as a rule ten seconds before the wanted picture at most: from here on it is the cheaper way."""

FORMAT = "kinema-strip-1"

PLACES = [(index + 0.5) / STRIP_FRAMES for index in range(STRIP_FRAMES)]


def strip_height(num_videos: int) -> int:
    """Pixels of a filmstrip on a page with so many videos."""
    heights = (height for most, height in STRIP_HEIGHTS.items() if num_videos <= most)
    return next(heights, SMALLEST_STRIP)


def step(cache: str | os.PathLike[str] | None, height: int, *, reading: Reading = PLAIN) -> Step:
    """The filmstrip of each video, as a step of a walk over videos; what `page.write` finds again.

    Args:
        cache: a folder for filmstrips; None keeps none.
        height: of a strip, see `strip_height`.
        reading: how the videos are read.
    """
    items = at_places(PLACES, _filmstrip)
    if cache is None:
        return Step(items, _fitting(height))
    folder, about = Path(cache), _about(height, reading)

    def file(source: Source, mark: str) -> Path:
        return cache_file(folder, {**about, **source.content_key(mark)}, ".webp")

    def find(source: Source, mark: str) -> bytes | None:
        kept = file(source, mark)
        return kept.read_bytes() if kept.is_file() else None

    def keep(source: Source, made: Made) -> None:
        with atomic_path(file(source, made.mark)) as partial:
            partial.write_bytes(made.value)

    return Step(items, _fitting(height), find=find, keep=keep)


def _about(height: int, reading: Reading) -> dict[str, Any]:
    about: dict[str, Any] = {"strip": [height, STRIP_FRAMES, STRIP_QUALITY]}
    if reading.colours != "file":
        about["colours"] = reading.colours
    return about


def filmstrip(video: str | os.PathLike[str] | Video, height: int) -> bytes:
    """Some frames of a video side by side, a WebP file.

    Each is the middle of a part of the video, all parts being equally long, so that the strip lies
    on the video's time axis.

    Args:
        video: or its path.
        height: in pixels; frames are 4:3, and what is wider or narrower is cropped in the middle.
    """
    if not isinstance(video, Video):
        video = Video(as_source(video))
    return _filmstrip(spread(map(_fitting(height), video.frames()), PLACES))


# --- parts of videos, and long ones ---------------------------------------------------------------

WIDEST_PICTURE = 4
"""In heights; a wider one is made smaller."""


@dataclass(frozen=True, eq=False)
class Strip:
    """A filmstrip and the times that it shows; NaN is a time that is not known.

    Attributes:
        file: WebP.
        start_seconds, stop_seconds: when its first frame is shown, and until when its last one.
        video_start_seconds, video_stop_seconds: the same of the whole video.
    """

    file: bytes
    start_seconds: float = math.nan
    stop_seconds: float = math.nan
    video_start_seconds: float = math.nan
    video_stop_seconds: float = math.nan


def moments(cache: str | os.PathLike[str] | None, height: int, *, reading: Reading = PLAIN) -> Step:
    """The `Strip` of each source, a whole video or a part of it, as a step of a walk over them.

    Damage that lies between the pictures of a stretch of more than `LONG_SECONDS` is not seen.

    Args:
        cache: a folder for strips; None keeps none.
        height: of a strip, in pixels.
        reading: how the videos are read.
    """
    fitting = _fitting(height)

    def items(source: Source, info: VideoInfo, frames: Iterator[Any]) -> Iterator[Strip | None]:
        long = (info.duration_seconds or 0) > LONG_SECONDS
        start = stop = math.nan
        if long or source.is_part:
            allowance = Allowance(reading.video_seconds)
            reader = VideoReader(source.path, colours=reading.colours, allowance=allowance)
            start = next(iter(reader)).start_seconds
            stop = start + (info.duration_seconds or math.nan)
            strip = _by_times(source, reader, fitting, start, stop)
            if strip is not None:
                yield strip
                return
        first = next(frames, None)
        if first is None:
            raise VideoError("no frame is shown in this part of it.")
        # The first and the last say when it begins and ends.
        for chosen in spreading(itertools.chain([first], frames), [0, *PLACES, 1]):
            if chosen is None:
                yield None
                continue
            shown = chosen[0][1], chosen[-1][2]
            whole = (start, stop) if source.is_part else shown
            yield Strip(_filmstrip([picture for picture, _, _ in chosen[1:-1]]), *shown, *whole)

    if cache is None:
        return Step(items, _timed(height))
    folder, about = Path(cache), {**_about(height, reading), "long": LONG_SECONDS}

    def file(source: Source, mark: str) -> Path:
        return cache_file(folder, {**about, **source.content_key(mark)})

    def find(source: Source, mark: str) -> Strip | None:
        kept = read_kept_tensors(file(source, mark), format=FORMAT)
        return None if kept is None else Strip(kept["file"].tobytes(), *kept["seconds"].tolist())

    def keep(source: Source, made: Made) -> None:
        strip: Strip = made.value
        times = [strip.start_seconds, strip.stop_seconds]
        times += [strip.video_start_seconds, strip.video_stop_seconds]
        tensors = {"file": np.frombuffer(strip.file, np.uint8), "seconds": np.array(times)}
        write_tensors(file(source, made.mark), tensors, {"format": FORMAT})

    return Step(items, _timed(height), find=find, keep=keep)


def _by_times(
    source: Source,
    reader: VideoReader,
    fitting: Callable[[Frame], np.ndarray],
    first: float,
    end: float,
) -> Strip | None:
    """The strip of a long stretch, each picture by its time; None if it is to be walked through.

    Args:
        source: the video, or the part of it.
        reader: of the whole file.
        fitting: what the strip takes of a frame.
        first, end: when the video begins and ends, as its header promises.
    """
    start = max(first, source.start_seconds) if source.is_part else first
    stop = end if source.stop_seconds is None else source.stop_seconds
    stop = stop if math.isnan(end) else min(stop, end)
    if not stop - start > LONG_SECONDS:  # also where it is not known
        return None
    chosen = [next(reader.between(start + place * (stop - start), stop), None) for place in PLACES]
    frames = [frame for frame in chosen if frame is not None]
    if len(frames) < len(chosen):  # the header promised too much
        return None
    return Strip(_filmstrip([*map(fitting, frames)]), start, stop, first, end)


def picture(path: str | os.PathLike[str], height: int) -> bytes:
    """A picture file, upright, as a WebP file of some height; a wide one is lower.

    Raises:
        OSError: it cannot be read.
        VideoError: it is no picture.
    """
    data = Path(path).read_bytes() or b"\0"  # OpenCV raises its own error of nothing
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise VideoError("it cannot be read as a picture.")
    factor = min(height / image.shape[0], WIDEST_PICTURE * height / image.shape[1])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return encoded(cv2.resize(image, size, interpolation=cv2.INTER_AREA)[:, :, ::-1])


# --- pictures -------------------------------------------------------------------------------------


def _filmstrip(pictures: Sequence[np.ndarray]) -> bytes:
    return encoded(np.hstack(pictures))


@functools.cache
def _fitting(height: int) -> Callable[[Frame], np.ndarray]:
    """What a strip takes of a frame; the same function whenever it is asked for."""
    return lambda frame: _fitted(frame.image, height * 4 // 3, height)


@functools.cache
def _timed(height: int) -> Callable[[Frame], tuple[np.ndarray, float, float]]:
    """What `moments` takes of a frame; the same function whenever it is asked for."""
    fitting = _fitting(height)
    return lambda frame: (fitting(frame), frame.start_seconds, frame.stop_seconds)


def encoded(strip: np.ndarray) -> bytes:
    """A (H, W, 3) uint8 RGB picture as a WebP file."""
    quality = [cv2.IMWRITE_WEBP_QUALITY, STRIP_QUALITY]
    done, file = cv2.imencode(".webp", strip[:, :, ::-1], quality)
    if not done:
        raise ValueError("OpenCV was built without WebP.")
    return file.tobytes()


def _fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    factor = max(width / image.shape[1], height / image.shape[0])
    size = max(width, round(image.shape[1] * factor)), max(height, round(image.shape[0] * factor))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
