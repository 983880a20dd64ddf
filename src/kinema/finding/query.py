"""What is searched for: a video, a moment of one, or a picture, by a text."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable
from kinema.skipped import Skipped, VideoError
from kinema.video.clips import ClipPlan
from kinema.video.loop import Reading
from kinema.video.reader import Allowance, Frame, VideoInfo, VideoReader
from kinema.video.sources import Source, as_source, fingerprint
from kinema.words import clock

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)")
"""12.5, 1:30, 1:02:03.5: hours, minutes and seconds."""

_ROUNDED_SECONDS = 0.1
"""A moment that is so much too long is one whose end was rounded."""

FPS = 25.0
"""Frames in a second of a video that does not say how many it has: UCF101's."""


def seconds_of(text: str) -> float | None:
    """The time that a text tells, in seconds; None if it tells none."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    if (found[2] and seconds >= 60) or (found[1] and minutes >= 60):
        return None
    return 3600 * hours + 60 * minutes + seconds


def parse(query: str | os.PathLike[str], plan: ClipPlan) -> Source:
    """The source that a query names: PATH, PATH@START or PATH@START-STOP.

    Times are seconds, or have colons: 90, 1:30, 1:02:03.5. With START alone it is the clip that
    starts there. A file whose own name looks like this is taken as it is.

    Args:
        query: the text; a `Source` stays what it is.
        plan: tells how long a clip is.

    Raises:
        ValueError: there is no such file, or the times are none.
        VideoError: the video has no times, or cannot be read.
    """
    if isinstance(query, Source):
        return query
    text = os.fspath(query)
    path, at, times = text.rpartition("@")
    if os.path.lexists(text) or not at or not path:
        if not os.path.lexists(text):
            raise FileNotFoundError(f"`query` {text}: no such file.")
        return as_source(Path(os.path.abspath(text)))
    if not os.path.lexists(path):
        raise FileNotFoundError(f"`query` {text}: no such file, and no {path}.")
    start_text, dash, stop_text = times.partition("-")
    start, stop = seconds_of(start_text), seconds_of(stop_text)
    if start is None or (dash and stop is None):
        raise ValueError(
            f"`query` {text}: behind the @ must stand START or START-STOP, as 12.5-15 or "
            f"1:30-1:35; got {times!r}."
        )
    if stop is not None and stop <= start:
        raise ValueError(f"`query` {text}: it must stop after it starts, got {times}.")
    if os.path.isdir(path):
        raise ValueError(f"`query` {text}: a folder of pictures has no times; leave out @{times}.")
    if stop is None:
        stop = start + plan.span / (_reader(path).info.fps or FPS)
    source = as_source(Path(os.path.abspath(path)))
    return replace(source, start_seconds=start, stop_seconds=stop)


def past_the_end(source: Source, reading: Reading) -> str | None:
    """A line that says so, of a moment that stops after its video; None of others."""
    if source.stop_seconds is None:
        return None
    allowance = Allowance(reading.video_seconds)
    try:
        reader = VideoReader(source.path, images=False, allowance=allowance)
        known = reader.info.duration_seconds
        if known is not None and source.stop_seconds <= known:
            return None
        # A clock need not begin at 0, and not every header tells a length: the frames do.
        shown = reader.between(source.start_seconds, source.stop_seconds)
        end = max((frame.stop_seconds for frame in shown), default=math.inf)
    except VideoError:
        return None
    if end > source.stop_seconds - _ROUNDED_SECONDS:
        return None
    asked = f"{clock(source.start_seconds)}-{clock(source.stop_seconds)}"
    return (
        f"{source.path} ends at {clock(end)}: of the moment {asked} that is asked for, there is "
        f"{clock(source.start_seconds)}-{clock(end)}."
    )


def picture_table(extractor: Extractor, source: Source) -> FeatureTable:
    """The features of a picture, as those of a clip in which nothing moves.

    Raises:
        ValueError: it is no picture that OpenCV reads.
    """
    data = np.fromfile(source.path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise ValueError(f"`query` {source}: it is not a whole picture.")
    height, width = image.shape[:2]
    frame = Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), 0, math.nan, math.nan)
    info = VideoInfo(width, height, None, 1, None, 0, "picture", source.path.suffix, "bgr24")
    (batch,) = extractor.batches(source, info, iter([extractor.shrink(frame)]))
    mark = fingerprint(source.path)
    return extractor.table(
        source, [extractor.run(batch.inputs)], batch.clips, video_fingerprint=mark
    )


def _reader(path: str) -> VideoReader:
    try:
        return VideoReader(path)
    except VideoError as error:
        raise VideoError(str(Skipped.of(path, error))) from None
