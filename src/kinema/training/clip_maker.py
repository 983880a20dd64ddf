"""`ClipMaker`: the clips of one video, however many are prepared at once and wherever.

Two schemes:
    whole   all frames of each video, as for UCF101
    five    two seconds of each training video, five times at random, as for Sports-1M (Tran et al.,
            section 3.3); of each test video ten times, because its score is the mean of ten clips

What is drawn depends on the seed and the video's name alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kinema.skipped import VideoError
from kinema.training.recording import Pictures, Recording
from kinema.video.loop import Video
from kinema.video.reader import Frame, VideoReader
from kinema.video.sources import Source

SCHEMES = ("whole", "five")

SEGMENT_SECONDS = 2.0
"""Length of the clips of Sports-1M's scheme (Tran et al., section 3.3)."""

NUM_TRAIN_SEGMENTS, NUM_TEST_SEGMENTS = 5, 10
"""Clips of a training video, and of a test video (Tran et al., section 3.3)."""

Made: TypeAlias = list[tuple[float, Mapping[str, Pictures]]]
"""Of each segment of a video: when it starts, in seconds, and what each stream keeps of it."""


@dataclass(frozen=True, kw_only=True)
class ClipMaker:
    """Makes the clips of videos; the same of the same video, by any process.

    Attributes:
        recording: what is kept of each frame.
        clips: the scheme, one of `SCHEMES`.
        seed: of the scheme "five".
    """

    recording: Recording
    clips: str = "whole"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips not in SCHEMES:
            raise ValueError(f"`clips` must be one of {', '.join(SCHEMES)}; got {self.clips!r}.")
        if self.seed < 0:
            raise ValueError(f"`seed` must be at least 0, got {self.seed}.")

    def settings(self) -> dict[str, Any]:
        """All that decides over the clips of a video, JSON values."""
        settings = {
            "size": list(self.recording.size),
            "clips": self.clips,
            "quality": self.recording.quality,
            "seed": self.seed,
            **self.recording.about(),
        }
        if self.recording.colours != "file":
            settings["colours"] = self.recording.colours
        return settings

    def make(self, video: Video, mark: str, folder: Path, *, tested: bool = False) -> Made:
        """The clips of a video.

        Args:
            video: its turn has come.
            mark: its `fingerprint`.
            folder: has room on disk.
            tested: whether it is a test video.

        Raises:
            VideoError, OSError: it cannot be read.
        """
        num_segments = NUM_TEST_SEGMENTS if tested else NUM_TRAIN_SEGMENTS
        frames_of = _whole if self.clips == "whole" else _five
        made: Made = []
        for start, part, frames in frames_of(video, seed=self.seed, num_segments=num_segments):
            with self.recording.recorder(folder, part, mark) as recorder:
                for frame in frames:
                    recorder.take(self.recording.shrink(frame))
                recorder.end()
            made.append((start, recorder.pictures))
        return made


def num_frames(made: Made) -> int:
    """Frames of the clips of a video."""
    return sum(len(next(iter(each.values()))) for _, each in made)


_Segments: TypeAlias = Iterator[tuple[float, Source, Iterable[Frame]]]
"""When a segment starts, what of the file it is, and its frames."""


def _whole(video: Video, **_: Any) -> _Segments:
    """One segment: the whole video, or the part of it that the dataset names."""
    frames = video.frames()
    first = next(frames, None)
    if first is None:
        raise VideoError(f"it holds no frame after {video.source.start_seconds:g} s.")
    start = 0.0 if math.isnan(first.start_seconds) else first.start_seconds
    yield start, video.source, itertools.chain([first], frames)


def _five(video: Video, *, seed: int, num_segments: int) -> _Segments:
    """Some random segments of two seconds, in the order of time."""
    reader, name = video.reader(), video.source.name
    begin, end = _times(video.source, reader)
    for start, stop in draw_segments(name, begin, end, num_segments, seed=seed):
        part = dataclasses.replace(video.source, start_seconds=start, stop_seconds=stop)
        frames = dataclasses.replace(video, source=part).frames(reader)
        first = next(frames, None)
        if first is None:
            raise VideoError(f"no frame can be read at {start:.2f} s, though its header has more.")
        yield first.start_seconds, part, itertools.chain([first], frames)


def draw_segments(
    name: str, start_seconds: float, stop_seconds: float, num_segments: int, *, seed: int
) -> list[tuple[float, float]]:
    """Start and stop of random segments of two seconds, sorted; a short video gives one, all of it.

    A pure function of its arguments: a run that is stopped and gone on with draws the same.
    """
    latest = stop_seconds - SEGMENT_SECONDS
    if latest <= start_seconds:
        return [(start_seconds, stop_seconds)]
    generator = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    starts = np.sort(generator.uniform(start_seconds, latest, num_segments))
    return [(float(start), float(start) + SEGMENT_SECONDS) for start in starts]


def _times(source: Source, reader: VideoReader) -> tuple[float, float]:
    """Start and stop of the part that counts: as the dataset and the header say, or by counting."""
    begin = next(iter(reader)).start_seconds  # recordings of broadcasts start at any time
    if math.isnan(begin):
        raise VideoError("a folder of pictures has no times: prepare it whole.")
    duration = reader.info.duration_seconds
    end = max(frame.stop_seconds for frame in reader) if duration is None else begin + duration
    begin = max(begin, source.start_seconds)
    return begin, end if source.stop_seconds is None else min(source.stop_seconds, end)
