"""Improved dense trajectories of many videos, a file a video, read in blocks.

    frames, grey --track--> rows, as tracks end --written as they come--> FOLDER/CHECKSUM.npy

Note [Records of trajectories]
    A file is an array of NumPy's of records, which `np.load(file, mmap_mode="r")` opens without
    reading it: 892 bytes a trajectory. What a trajectory is stays float32; its descriptors, numbers
    from -1 to 1, are float16. That halves the disk and moves a value by less than 0.05 % of itself
    (one below 6e-5 by less than 3e-8).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal

import numpy as np
from sklearn.base import BaseEstimator

from kinema.features.trajectories import COLUMNS, INFO, LENGTH, tracks
from kinema.files import atomic_path, cache_file
from kinema.flow import flows
from kinema.skipped import Skipped, VideoError
from kinema.threads import num_usable_cores
from kinema.video.loop import Reading
from kinema.video.reader import Frame, VideoInfo
from kinema.video.sources import Source, fingerprint
from kinema.video.steps import Step, walk

FORMAT = "kinema-trajectories-1"
"""A tracker that gives other rows takes another number."""

CHANNELS: Mapping[str, slice] = MappingProxyType(
    {
        name: slice(columns.start - len(INFO), columns.stop - len(INFO))
        for name, columns in COLUMNS.items()
        if name != "info"
    }
)
"""Where each descriptor stands among the 426 numbers."""

BLOCK_RECORDS = 16_384
"""Of a video that are in memory at once, 15 MB."""

RECORD = np.dtype([("info", "<f4", (len(INFO),)), ("descriptors", "<f2", (426,))])


class TrajectoryStore(BaseEstimator):
    """Keeps the trajectories of videos; see Note [Records of trajectories].

    Args:
        frame_step: every which frame is tracked; multi-skip feature stacking takes 1, 3 and 6.
        cache: a folder, made if it is missing. A file is found again by the video's content.
        threads: videos that are tracked at once, each by one thread; None for as many as cores.
        colours: one of `video.COLOURS`.
        video_seconds: the longest time that a video may take; None is for ever.
    """

    def __init__(
        self,
        frame_step: int = 1,
        cache: str | os.PathLike[str] | None = None,
        *,
        threads: int | None = None,
        colours: str = "file",
        video_seconds: float | None = None,
    ) -> None:
        self.frame_step = frame_step
        self.cache = cache
        self.threads = threads
        self.colours = colours
        self.video_seconds = video_seconds

    @property
    def num_readers(self) -> int:
        """Videos to be read at once: they are tracked where they are read."""
        return self.threads or num_usable_cores()

    def records(self, videos: Iterable[Source]) -> Iterator[tuple[Source, np.ndarray | Skipped]]:
        """Each video and its (n,) records of `RECORD`, mapped into memory, in order.

        What is missing is tracked and kept.
        """
        reading = Reading(self.colours, self.video_seconds)
        steps, threads = [self.step()], self.num_readers
        for source, (made,) in walk(videos, steps, reading=reading, threads=threads):
            yield source, made if isinstance(made, Skipped) else made.value

    def step(self) -> Step:
        """The records of a video, as a step of a walk over videos, see `together.fill`.

        Raises:
            ValueError: there is no cache, or the frame step is below 1.
        """
        if self.cache is None:
            raise ValueError("`cache` must be a folder: trajectories are too many for memory.")
        if self.frame_step < 1:
            raise ValueError(f"`frame_step` must be at least 1 frame, got {self.frame_step}.")
        what = (FORMAT, os.path.abspath(self.cache), self.frame_step, self.colours)
        return Step(self._items, grey, find=self._find, what=what)

    def _items(
        self, source: Source, info: VideoInfo, frames: Iterator[np.ndarray]
    ) -> Iterator[np.ndarray | None]:
        """Writes the file in the thread that decodes, so that several videos are tracked at once.

        It gives None for each of the tracker's arrays, and the records when the file is whole.
        """
        mark = fingerprint(source.path)
        file = self._file(source, mark)
        with atomic_path(file) as partial, open(partial, "wb") as out:
            _write_header(out, 0)
            num = 0
            counted = _Counted(itertools.islice(frames, 0, None, self.frame_step))
            try:
                for rows in _tracks(counted):
                    out.write(as_records(rows).tobytes())
                    num += len(rows)
                    yield None
            except ValueError as error:
                if isinstance(error, VideoError):
                    raise
                raise VideoError(str(error)) from error  # frames that cannot be tracked
            _write_header(out, num)
            out.flush()
            _write_times(partial, counted.num)
            if fingerprint(source.path) != mark:
                raise VideoError("it was changed while it was read.")
        yield read_records(file)

    def _find(self, source: Source, mark: str) -> np.ndarray | None:
        file = self._file(source, mark)
        with contextlib.suppress(ValueError):  # a damaged file is made anew
            if file.is_file():
                return read_records(file)
        return None

    def _file(self, source: Source, mark: str) -> Path:
        key = {"format": FORMAT, "frame_step": self.frame_step, **source.content_key(mark)}
        if self.colours != "file":
            key["colours"] = self.colours
        assert self.cache is not None
        return cache_file(self.cache, key, ".npy")


def grey(frame: Frame) -> np.ndarray:
    """(H, W) uint8 of a frame, by OpenCV's weights, which the original takes."""
    return flows.grey(frame.image)


def as_records(rows: np.ndarray) -> np.ndarray:
    """(n,) records of a tracker's rows (n, 436) float32."""
    records = np.empty(len(rows), RECORD)
    records["info"] = rows[:, : len(INFO)]
    records["descriptors"] = rows[:, len(INFO) :]
    return records


def read_records(file: Path) -> np.ndarray:
    """(n,) records of a file, mapped into memory.

    Raises:
        ValueError: the file is damaged, or of another kind.
    """
    return _mapped(file, "r")


def _mapped(file: Path, mode: Literal["r", "r+"]) -> np.ndarray:
    """The records of a file, see `read_records`.

    NumPy reads headers by `ast`, which threads break for each other in Python 3.11 ("AST
    constructor recursion depth mismatch"); of ours the number alone is unknown.
    """
    with open(file, "rb") as opened:
        begin = opened.read(_HEADER_BYTES)
    num = re.search(rb"'shape': \((\d+),\)", begin)
    if num is None or begin != _header(int(num[1])):
        raise ValueError(f"{file} holds no trajectories, or is damaged.")
    count = int(num[1])
    if os.path.getsize(file) != _HEADER_BYTES + count * RECORD.itemsize:
        raise ValueError(f"{file} is damaged: it does not hold its {count} records.")
    if not count:
        return np.empty(0, RECORD)
    return np.memmap(file, RECORD, mode=mode, offset=_HEADER_BYTES, shape=(count,))


def _tracks(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows (n, 436) float32 of the tracks that end in each frame, also where none does."""
    return (ended.rows for ended in tracks(frames, threads=1))


class _Counted:
    """Frames, and how many there were."""

    def __init__(self, frames: Iterator[np.ndarray]) -> None:
        self._frames, self.num = frames, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        frame = next(self._frames)
        self.num += 1
        return frame


def _write_times(file: Path, num_frames: int) -> None:
    """Fill the column t, for which the number of frames must be known."""
    info = _mapped(file, "r+")["info"]
    for start in range(0, len(info), BLOCK_RECORDS):
        block = info[start : start + BLOCK_RECORDS]
        block[:, INFO.index("t")] = np.clip(
            (block[:, INFO.index("frame")] - LENGTH / 2) / num_frames, 0, 0.999
        )


def _header(num: int) -> bytes:
    """NumPy's header of so many records; it leaves room in it for the number to grow."""
    out = io.BytesIO()
    header: dict[str, Any] = {
        "descr": np.lib.format.dtype_to_descr(RECORD),
        "fortran_order": False,
        "shape": (num,),
    }
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


_HEADER_BYTES = len(_header(0))


def _write_header(out: BinaryIO, num: int) -> None:
    """Write the header of so many records at the file's begin, and stand behind all."""
    out.seek(0)
    out.write(_header(num))
    out.seek(0, os.SEEK_END)
