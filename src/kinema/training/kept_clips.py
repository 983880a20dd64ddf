"""`KeptClips`: prepared clips of whatever videos, in one file of a cache, found by their content.

    frames --Recording--> pictures of each stream --ClipWriter--> CACHE/CHECKSUM.clips

`kinema compare` makes them on the way by which it decodes each video once for all of its rows.

Note [One file of kept clips]
    What decides over the clips names the file; the video's `fingerprint` names it in there. So a
    video is found again under another path, and a changed one is not. The file grows: it is taken,
    written to and let go for each video, by one run at a time, the others wait. A run that is
    killed loses the video that it was at.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from kinema.files import cache_file, check_out, exclusively
from kinema.skipped import Skipped, VideoError
from kinema.threads import num_usable_cores
from kinema.training.clip_store import ClipStore, StoredVideo
from kinema.training.clip_writer import ClipWriter
from kinema.training.recording import QUALITY, Pictures, Recording
from kinema.video.loop import Reading
from kinema.video.reader import Frame, VideoInfo
from kinema.video.sources import Source, as_source
from kinema.video.steps import Made, Step, walk

FORMAT = "kinema-kept-clips-1"
"""Clips that are made otherwise take another number."""

_PATIENCE_SECONDS = 60.0
"""For which a run that writes a video waits for those that read others."""


class KeptClips(BaseEstimator):
    """Keeps whole videos as prepared clips; see Note [One file of kept clips].

    It knows no labels: `StoredVideo.labels` of what it gives are empty, see `stored`.

    Args:
        streams: what is kept of each frame, see `recording`.
        size: (height, width) of the pictures.
        cache: a folder, made if it is missing.
        flow: method of the stream flow, "dis" or "brox".
        quality: of the JPEG pictures.
        threads: videos that are read at once, each by one thread; None for as many as cores.
        colours: one of `video.COLOURS`.
        video_seconds: the longest time that a video may take; None is for ever.
    """

    def __init__(
        self,
        streams: tuple[str, ...] = ("rgb",),
        size: tuple[int, int] = (128, 171),
        cache: str | os.PathLike[str] | None = None,
        *,
        flow: str = "dis",
        quality: int = QUALITY,
        threads: int | None = None,
        colours: str = "file",
        video_seconds: float | None = None,
    ) -> None:
        self.streams = streams
        self.size = size
        self.cache = cache
        self.flow = flow
        self.quality = quality
        self.threads = threads
        self.colours = colours
        self.video_seconds = video_seconds

    @property
    def num_readers(self) -> int:
        """Videos to be read at once: their clips are made where they are read."""
        return self.threads or num_usable_cores()

    @property
    def file(self) -> Path:
        """Where they are kept.

        Raises:
            ValueError: there is no cache, or a setting is wrong.
        """
        if self.cache is None:
            raise ValueError("`cache` must be a folder: clips are too many for memory.")
        return cache_file(self.cache, {"kept": FORMAT, **self._about()}, ".clips")

    def _recording(self) -> Recording:
        return Recording(
            streams=tuple(self.streams),
            size=(self.size[0], self.size[1]),
            quality=self.quality,
            flow=self.flow,
            colours=self.colours,
        )

    def _about(self) -> dict[str, Any]:
        return {
            "kind": "kept",
            "size": [*self.size],
            "clips": "whole",
            "quality": self.quality,
            "seed": 0,
            "classes": [],
            "splits": {},
            "colours": self.colours,
            **self._recording().about(),
        }

    def step(self) -> Step:
        """The clips of a video, as a step of a walk over videos, see `together.fill`.

        Raises:
            ValueError: there is no cache, a setting is wrong, or the file is damaged.
            ImportError: the package that a stream needs is not installed.
            OSError: the cache cannot be written.
        """
        recording = self._recording()
        recording.check()
        kept = _Kept(self.file, self._about())
        making = _Making(recording, kept)
        return Step(
            making.items,
            making.shrink,
            find=kept.find,
            keep=kept.keep,
            what=(FORMAT, os.path.abspath(kept.file)),
        )

    def stored(
        self, videos: Iterable[str | os.PathLike[str] | Source]
    ) -> tuple[ClipStore, list[StoredVideo]]:
        """The file, and what it keeps of each video, in order; what is missing is made first.

        Each is named as its source and has no label (`dataclasses.replace` gives it one); its group
        is the name of its content in the file.

        Raises:
            VideoError: a video cannot be read; it is named.
            ValueError, ImportError, OSError: see `step`.
        """
        sources = [as_source(video) for video in videos]
        names = []
        reading = Reading(self.colours, self.video_seconds)
        walked = walk(sources, [self.step()], reading=reading, threads=self.num_readers)
        for source, (made,) in walked:
            if isinstance(made, Skipped):
                raise VideoError(str(made))
            names.append(_name(source, made.mark))
        file = self.file
        with exclusively(file.parent):  # nobody is writing
            store = ClipStore(file)
        found = {video.name: video for video in store.videos}
        return store, [
            dataclasses.replace(found[name], name=source.name)
            for source, name in zip(sources, names, strict=True)
        ]


def _name(source: Source, mark: str) -> str:
    """What a video is called in the file: its content, and which part of it counts."""
    part = source.content_key(mark).get("part")
    return mark if part is None else f"{mark}#t={part[0]!r},{'' if part[1] is None else part[1]!r}"


class _Kept:
    """The file of kept clips, as one run finds and fills it.

    Attributes:
        file: it.
    """

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        self.file, self._about = file, about
        self._lock = threading.Lock()
        check_out(file.parent, "cache")
        file.parent.mkdir(parents=True, exist_ok=True)
        with exclusively(file.parent), self._opened() as writer:
            self._names = set(writer.fingerprints())
            writer.finish()  # also what a killed run left

    def _opened(self) -> ClipWriter:
        return ClipWriter(self.file, self._about, patience_seconds=_PATIENCE_SECONDS)

    def find(self, source: Source, mark: str) -> str | None:
        """The name of a video that is there."""
        name = _name(source, mark)
        with self._lock:
            return name if name in self._names else None

    def keep(self, source: Source, made: Made) -> None:
        """Add a video, if no other run did so in between."""
        name = _name(source, made.mark)
        with exclusively(self.file.parent), self._opened() as writer:
            if name not in writer:
                start_seconds, pictures = made.value
                writer.add(name, (), name, made.mark, [(start_seconds, pictures)])
            writer.finish()
        with self._lock:
            self._names.add(name)


@dataclass(frozen=True)
class _Making:
    """Makes the clips of videos; frozen, so that equal ones shrink frames once."""

    recording: Recording
    kept: _Kept

    def shrink(self, frame: Frame) -> tuple[float, dict[str, np.ndarray]]:
        """When a frame is shown, and what is taken of it."""
        return frame.start_seconds, self.recording.shrink(frame)

    def items(
        self,
        source: Source,
        info: VideoInfo,
        frames: Iterator[tuple[float, dict[str, np.ndarray]]],
    ) -> Iterator[tuple[float, Mapping[str, Pictures]] | None]:
        """None for each frame, and the pictures of all when they are whole."""
        with self.recording.recorder(self.kept.file.parent, source, "") as recorder:
            begin = None
            for start_seconds, taken in frames:
                recorder.take(taken)
                if begin is None:  # pictures of a folder have no times
                    begin = 0.0 if math.isnan(start_seconds) else start_seconds
                yield None
            if begin is None:
                raise VideoError(f"it holds no frame after {source.start_seconds:g} s.")
            recorder.end()
        yield begin, recorder.pictures
