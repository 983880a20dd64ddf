"""`ClipStore`: prepared clips of many videos in one file, read at random.

See Note [The format of prepared clips] in `streams`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.files import NewerFormat, check_not_newer
from kinema.training.streams import FIRST_FORMAT, FORMAT, MAPS_FORMAT, RGB, Stream


@dataclass(frozen=True, slots=True)  # Sports-1M has millions
class Segment:
    """Some consecutive frames of a video, as they are kept.

    Attributes:
        start_seconds: when its first frame is shown in the video.
        num_frames: how many there are.
        first_picture: row of the first of them.
    """

    start_seconds: float
    num_frames: int
    first_picture: int


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """What is kept of a video.

    Attributes:
        name: its path below the dataset's root.
        labels: indices of its classes.
        group: videos of one group belong on one side of a split.
        segments: its frames.
    """

    name: str
    labels: tuple[int, ...]
    group: str
    segments: tuple[Segment, ...]


class ClipStore:
    """Prepared clips, for reading; safe to use from several threads.

    Attributes:
        path: the file.
        about: its settings.
        classes: names of the classes.
        size: (height, width) of the pictures.
        streams: what is kept of each frame: channels by the stream's name.
        maps: names of those that are no pictures but a network's maps.
        videos: what was prepared, in the order of the dataset.
        skipped: `{"path", "reason"}` of each video that could not be read.
        splits: names of the videos by split and side, `{"1": {"train": [...], "test": [...]}}`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no prepared clips, or their preparation was not finished.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file.")
        self._threads = threading.local()
        try:
            about = read_about(self._connection)
            check_format(self.path, about)
            if about.get("format") not in (FIRST_FORMAT, FORMAT, MAPS_FORMAT):
                of = f" that this version reads ({name})" if (name := about.get("format")) else ""
                raise ValueError(f"{self.path} holds no prepared clips{of}.")
            if not about.get("finished"):
                raise ValueError(self._not_finished())
            self._read(about)
        except sqlite3.Error as error:
            raise ValueError(self._why_not(error)) from None

    def _why_not(self, error: sqlite3.Error) -> str:
        """What an error of the database means."""
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return f"{self.path} is being written by another run: wait until it is done."
        if name == "SQLITE_READONLY_ROLLBACK":  # a killed writer left something to be undone
            return self._not_finished()
        return f"{self.path} holds no prepared clips, or is damaged: {error}."

    def _not_finished(self) -> str:
        return (
            f"the preparation of {self.path} was not finished: run the same `kinema prepare` "
            "again, it goes on."
        )

    def _read(self, about: Mapping[str, Any]) -> None:
        self.about = about
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.size: tuple[int, int] = (about["size"][0], about["size"][1])
        self._streams = {
            name: Stream.of(name, each, self.size)
            for name, each in about.get("streams", RGB).items()
        }
        self.streams: Mapping[str, int] = {n: each.channels for n, each in self._streams.items()}
        self.maps = frozenset(name for name, each in self._streams.items() if each.is_maps)
        self.splits: Mapping[str, Mapping[str, Sequence[str]]] = about["splits"]
        rows = self._connection.execute(
            "SELECT video, start_seconds, num_frames, first_picture FROM segments ORDER BY id"
        )
        segments: dict[int, list[Segment]] = {}
        for video, *values in rows:
            segments.setdefault(video, []).append(Segment(*values))
        rows = self._connection.execute(
            "SELECT id, name, labels, grouping, reason FROM videos ORDER BY name"
        )
        videos, skipped = [], []
        for key, name, labels, group, reason in rows:
            if reason is None:
                labels = tuple(json.loads(labels))
                videos.append(StoredVideo(name, labels, group, tuple(segments[key])))
            else:
                skipped.append({"path": name, "reason": reason})
        self.videos: tuple[StoredVideo, ...] = tuple(videos)
        self.skipped: tuple[dict[str, str], ...] = tuple(skipped)

    @property
    def _connection(self) -> sqlite3.Connection:
        """One for each thread; a forked process must not use its parent's."""
        if getattr(self._threads, "process", None) != os.getpid():
            self._threads.process = os.getpid()
            self._threads.connection = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode=ro", uri=True
            )
        connection: sqlite3.Connection = self._threads.connection
        return connection

    def frames(
        self, segment: Segment, start: int = 0, count: int | None = None, *, stream: str = "rgb"
    ) -> np.ndarray:
        """Frames [start, start + count) of a segment, as a stream has them.

        Returns:
            (count, height, width, channels) uint8: rgb's are R, G, B, flow's and those of maps as
            in Note [The format of prepared clips].

        Raises:
            ValueError: they lie outside the segment, are damaged, or cannot be read; there is no
                such stream.
        """
        count = segment.num_frames - start if count is None else count
        if start < 0 or count < 0 or start + count > segment.num_frames:
            raise ValueError(
                f"frames {start} to {start + count} lie outside a segment of {segment.num_frames}."
            )
        first = segment.first_picture + start
        return self._rows(stream, range(first, first + count), "id >= ? AND id < ?")

    def frames_at(
        self, segment: Segment, times: Sequence[int] | np.ndarray, *, stream: str = "rgb"
    ) -> np.ndarray:
        """Some frames of a segment by their numbers, in any order; each is decoded once.

        Returns, raises: see `frames`.
        """
        found, places = np.unique(np.asarray(times, int), return_inverse=True)
        if not found.size or found[0] < 0 or found[-1] >= segment.num_frames:
            raise ValueError(f"`times` lie outside a segment of {segment.num_frames} frames.")
        if found[-1] - found[0] + 1 == len(found):
            frames = self.frames(segment, int(found[0]), len(found), stream=stream)
        else:
            ids = (segment.first_picture + found).tolist()
            frames = self._rows(stream, ids, f"id IN ({', '.join('?' * len(ids))})")
        return frames if np.array_equal(places, np.arange(len(found))) else frames[places]

    def _rows(self, name: str, ids: Sequence[int], where: str) -> np.ndarray:
        """What a stream keeps in rows of these ascending numbers."""
        stream = self._stream(name)
        given = (ids.start, ids.stop) if isinstance(ids, range) else ids
        try:
            rows = self._connection.execute(
                f"SELECT id, {stream.column} FROM {stream.table} WHERE {where} ORDER BY id", given
            ).fetchall()
        except sqlite3.Error as error:
            raise ValueError(self._why_not(error)) from None
        frames = np.empty((len(ids), *stream.size, stream.channels), np.uint8)
        for index, wanted in enumerate(ids):
            if index >= len(rows) or rows[index][0] != wanted:
                raise ValueError(f"{self.path} is damaged: pictures from {wanted} are missing.")
            if not stream.decode(rows[index][1], frames[index]):
                raise ValueError(f"{self.path} is damaged: picture {wanted}.")
        return frames

    def size_of(self, stream: str) -> tuple[int, int]:
        """(height, width) of a stream's frames; maps have their own.

        Raises:
            ValueError: there is no such stream.
        """
        return self._stream(stream).size

    def _stream(self, name: str) -> Stream:
        if name not in self._streams:
            raise ValueError(
                f"{self.path} holds the streams {', '.join(self.streams)}; got {name!r}."
            )
        return self._streams[name]

    def __reduce__(self) -> tuple[type[ClipStore], tuple[Path]]:
        return ClipStore, (self.path,)  # another process opens the file itself

    def __repr__(self) -> str:
        height, width = self.size
        return f"ClipStore({str(self.path)!r}, {len(self.videos)} videos, {height}x{width})"


def is_clip_store(path: Path) -> bool:
    """Whether a file is a database, so that it may be a `ClipStore`."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def read_about(database: sqlite3.Connection) -> dict[str, Any]:
    """The settings of a store."""
    rows = database.execute("SELECT key, value FROM about")
    return {key: json.loads(value) for key, value in rows}


def check_format(path: Path, about: Mapping[str, Any]) -> None:
    """Refuse a store that a newer version wrote."""
    try:
        check_not_newer(about.get("format"), MAPS_FORMAT)
    except NewerFormat as error:
        raise NewerFormat(
            f"{path} holds no prepared clips that this version reads ({error}): update Kinema, or "
            "choose another file."
        ) from None
