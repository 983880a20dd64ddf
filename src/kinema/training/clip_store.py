"""`ClipStore`: prepared clips of many videos in one file, read at random.

Note [The format of prepared clips]
    A store is an SQLite database whose frames are JPEG pictures, one row each. Both are as well
    kept as formats get, and any tool opens them:

        sqlite3 ucf101.clips 'select name, labels from videos'

    Training draws 16 frames in a row out of anywhere, so what matters is how dear that is. Videos
    in H.264 are a quarter as large, but 16 frames of them take four times as long to decode; raw
    frames take no time, but are five times as large (benchmarks/prepare.json); a file for each
    frame makes billions of files. SQLite's transactions let a killed preparation go on where it
    stood. The pictures are of quality 95 without chroma subsampling, because C3D's accuracy on
    UCF101 was seen to suffer from JPEG's losses (facebookarchive/C3D, issue 118).

    about       key, value (JSON): settings, classes, splits, streams {"rgb": {"channels": 3}, ...}
    videos      id, name, labels (JSON), grouping, fingerprint, reason (why it could not be read)
    segments    id, video, start_seconds, num_frames, first_picture
    pictures    id, jpeg: of the stream rgb
    pictures_X  id, jpeg: of a stream X, as flow

    Streams are other views of the same frames: picture n of each shows the same moment, and they
    are of the same size. A picture of three channels is in colour; of any other number its channels
    stand one above the other, grey. Channels of flow are the horizontal and the vertical
    displacement, 128 for none. Version 1 had the stream rgb alone and did not name it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import numpy as np

from kinema.files import NewerFormat, check_not_newer
from kinema.training.pictures import decode

FORMAT = "kinema-clips-2"

_FIRST_FORMAT = "kinema-clips-1"

RGB: Mapping[str, Mapping[str, int]] = MappingProxyType({"rgb": {"channels": 3}})
"""The streams of videos as they are."""

_PAGE_BYTES = 2048
"""Of the database: a picture takes whole pages, so that half a page of each is lost."""

_TABLES = """
    CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE videos (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, labels TEXT NOT NULL,
        grouping TEXT NOT NULL, fingerprint TEXT NOT NULL, reason TEXT
    );
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY, video INTEGER NOT NULL, start_seconds REAL NOT NULL,
        num_frames INTEGER NOT NULL, first_picture INTEGER NOT NULL
    );
    CREATE TABLE pictures (id INTEGER PRIMARY KEY, jpeg BLOB NOT NULL);
"""


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
        size: (height, width) of the frames.
        streams: what is kept of each frame: channels by the stream's name.
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
            about = _read_about(self._connection)
            _check_not_newer(self.path, about)
            if about.get("format") not in (FORMAT, _FIRST_FORMAT):
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
        streams = about.get("streams", RGB)
        self.streams: Mapping[str, int] = {name: each["channels"] for name, each in streams.items()}
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
            (count, height, width, channels) uint8: rgb's are R, G, B, flow's as in Note [The format
            of prepared clips].

        Raises:
            ValueError: they lie outside the segment, are damaged, or cannot be read; there is no
                such stream.
        """
        if stream not in self.streams:
            raise ValueError(
                f"{self.path} holds the streams {', '.join(self.streams)}; got {stream!r}."
            )
        count = segment.num_frames - start if count is None else count
        if start < 0 or count < 0 or start + count > segment.num_frames:
            raise ValueError(
                f"frames {start} to {start + count} lie outside a segment of {segment.num_frames}."
            )
        first = segment.first_picture + start
        try:
            rows = self._connection.execute(
                f"SELECT jpeg FROM {_table(stream)} WHERE id >= ? AND id < ? ORDER BY id",
                (first, first + count),
            ).fetchall()
        except sqlite3.Error as error:
            raise ValueError(self._why_not(error)) from None
        images = np.empty((count, *self.size, self.streams[stream]), np.uint8)
        index = 0
        for index, (jpeg,) in enumerate(rows, start=1):
            if not decode(jpeg, images[index - 1]):
                raise ValueError(f"{self.path} is damaged: picture {first + index - 1}.")
        if index != count:
            raise ValueError(f"{self.path} is damaged: pictures from {first + index} are missing.")
        return images

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


def _table(stream: str) -> str:
    """The table of a stream's pictures."""
    return "pictures" if stream == "rgb" else f"pictures_{stream}"


class ClipWriter:
    """Writes a store, video by video; a killed run's file is taken up where it stands.

    Args:
        path: the file.
        about: its settings: JSON values. A store that is there must have been begun with the same.
            "streams" names what is kept of each frame, rgb alone without it.

    Raises:
        ValueError: the file holds something else, or clips that were prepared otherwise.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self._streams: Mapping[str, Any] = about.get("streams", RGB)
        for name in self._streams:
            if not re.fullmatch("[a-z][a-z0-9_]*", name):
                raise ValueError(f"a stream must be named in small letters, as flow; got {name!r}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or (path.exists() and path.stat().st_size and not is_clip_store(path)):
            raise ValueError(f"{path} is there already and holds no prepared clips.")
        with _sorted_errors(path):
            self._database = sqlite3.connect(path, timeout=1.0)
            self._database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            self._database.execute("PRAGMA synchronous = NORMAL")
            # Nobody else may write, or read what is not whole yet.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            try:
                streams = {name: dict(each) for name, each in self._streams.items()}
                self._begin({"format": FORMAT, **about, "streams": streams})
            except BaseException:
                self._database.close()
                raise

    def _begin(self, about: Mapping[str, Any]) -> None:
        with self._database as database:
            database.execute("BEGIN EXCLUSIVE")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if tables and "about" not in tables:
                raise ValueError(f"{self.path} is there already and holds no prepared clips.")
            if not tables:
                for statement in _TABLES.split(";")[:-1]:
                    database.execute(statement)
                for stream in self._streams.keys() - {"rgb"}:
                    database.execute(
                        f"CREATE TABLE {_table(stream)} "
                        "(id INTEGER PRIMARY KEY, jpeg BLOB NOT NULL)"
                    )
                database.executemany(
                    "INSERT INTO about VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in about.items()],
                )
                return
            before = _read_about(database)
            _check_not_newer(self.path, before)
            wanted = json.loads(json.dumps(dict(about)))
            if before.get("format") == _FIRST_FORMAT:  # it is gone on with as what it is
                wanted["format"], before["streams"] = _FIRST_FORMAT, dict(RGB)
            for key, value in wanted.items():
                if before.get(key) != value:
                    shown = f" ({before.get(key)!r}, not {value!r})" if _is_short(value) else ""
                    raise ValueError(
                        f"{self.path} was begun with other {key}{shown}: choose another file, or "
                        "the same settings."
                    )
            database.execute("DELETE FROM about WHERE key = 'finished'")
            # What could not be read is tried again.
            database.execute("DELETE FROM videos WHERE reason IS NOT NULL")

    def fingerprints(self) -> dict[str, str]:
        """Of each video that is there already, by name."""
        return dict(self._database.execute("SELECT name, fingerprint FROM videos"))

    def add(
        self,
        name: str,
        labels: Sequence[int],
        group: str,
        fingerprint: str,
        segments: Iterable[tuple[float, Iterable[bytes] | Mapping[str, Iterable[bytes]]]],
    ) -> None:
        """Keep a video: of each segment when it starts, in seconds, and its frames as JPEG.

        The frames are those of the stream rgb, or of each stream by its name, as many of each.

        Raises:
            ValueError: streams that the store does not have, or of different numbers of frames.
        """
        with _sorted_errors(self.path), self._database as database:
            video = self._add_video(name, labels, group, fingerprint, None)
            for start_seconds, pictures in segments:
                streams = pictures if isinstance(pictures, Mapping) else {"rgb": pictures}
                if streams.keys() != self._streams.keys():
                    raise ValueError(
                        f"{self.path} keeps the streams {', '.join(self._streams)}; {name} has "
                        f"{', '.join(streams)}."
                    )
                first = self._next_picture(next(iter(streams)))
                counts = {
                    stream: database.executemany(
                        f"INSERT INTO {_table(stream)} VALUES (?, ?)", enumerate(each, first)
                    ).rowcount
                    for stream, each in streams.items()
                }
                if len(set(counts.values())) > 1:
                    raise ValueError(f"the streams of {name} differ in their frames: {counts}.")
                num_frames = max(counts.values())
                database.execute(
                    "INSERT INTO segments (video, start_seconds, num_frames, first_picture) "
                    "VALUES (?, ?, ?, ?)",
                    (video, start_seconds, num_frames, first),
                )

    def _next_picture(self, stream: str) -> int:
        (last,) = self._database.execute(f"SELECT max(id) FROM {_table(stream)}").fetchone()
        return 0 if last is None else int(last) + 1

    def add_skipped(self, name: str, labels: Sequence[int], group: str, reason: str) -> None:
        """Note that a video could not be read, and why."""
        with _sorted_errors(self.path), self._database:
            self._add_video(name, labels, group, "", reason)

    def _add_video(
        self, name: str, labels: Sequence[int], group: str, fingerprint: str, reason: str | None
    ) -> int:
        cursor = self._database.execute(
            "INSERT INTO videos (name, labels, grouping, fingerprint, reason) "
            "VALUES (?, ?, ?, ?, ?)",
            (name, json.dumps(list(labels)), group, fingerprint, reason),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def finish(self) -> None:
        """Mark the store as whole: only then can it be read."""
        with _sorted_errors(self.path), self._database as database:
            database.execute("INSERT INTO about VALUES ('finished', 'true')")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()


def _read_about(database: sqlite3.Connection) -> dict[str, Any]:
    rows = database.execute("SELECT key, value FROM about")
    return {key: json.loads(value) for key, value in rows}


def _check_not_newer(path: Path, about: Mapping[str, Any]) -> None:
    try:
        check_not_newer(about.get("format"), FORMAT)
    except NewerFormat as error:
        raise NewerFormat(
            f"{path} holds no prepared clips that this version reads ({error}): update Kinema, or "
            "choose another file."
        ) from None


def _is_short(value: object) -> bool:
    return len(repr(value)) <= 40


@contextlib.contextmanager
def _sorted_errors(path: Path) -> Iterator[None]:
    """A full or forbidden disk is an OSError, as everywhere else; another user a ValueError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise ValueError(f"{path} is in use by another run.") from None
        raise OSError(f"{path} cannot be written ({error}).") from None
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} holds no prepared clips, or is damaged: {error}.") from None
