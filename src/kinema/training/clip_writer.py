"""`ClipWriter`: writes a `ClipStore`, video by video."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kinema.training.clip_store import check_format, is_clip_store, read_about
from kinema.training.streams import FIRST_FORMAT, RGB, Stream, format_of

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


class StoreInUse(ValueError):
    """Another run has the file of a store."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a store says of a video.

    Attributes:
        name, fingerprint: of it.
        reason: why it could not be read.
    """

    name: str
    fingerprint: str
    reason: str | None


def written(path: Path, about: Mapping[str, Any]) -> list[Written] | None:
    """What a store holds that is whole; None if none is there, or it is not whole.

    Args:
        path: the file.
        about: its settings, see `ClipWriter`.

    Raises:
        StoreInUse: another run is writing it.
        ValueError: the file holds something else, or clips that were prepared otherwise.
    """
    _check_file(path)
    if not path.exists() or not path.stat().st_size:
        return None
    with (
        _sorted_errors(path),
        contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.0)
        ) as database,
    ):
        try:
            tables = _tables(path, database)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_READONLY_ROLLBACK":  # of a killed writer
                return None
            raise
        if not tables:
            return None
        before = read_about(database)
        _check_same(path, before, _settings(about))
        if not before.get("finished"):
            return None
        rows = database.execute("SELECT name, fingerprint, reason FROM videos ORDER BY name")
        return [Written(*row) for row in rows]


def _settings(about: Mapping[str, Any]) -> dict[str, Any]:
    """All that a store of such settings writes down."""
    streams = {name: dict(each) for name, each in about.get("streams", RGB).items()}
    return {"format": format_of(streams.values()), **about, "streams": streams}


def _check_file(path: Path) -> None:
    """Refuse what is no store."""
    if path.is_dir() or (path.exists() and path.stat().st_size and not is_clip_store(path)):
        raise ValueError(f"{path} is there already and holds no prepared clips.")


def _tables(path: Path, database: sqlite3.Connection) -> set[str]:
    """The tables that are there; those of something else are refused."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if tables and "about" not in tables:
        raise ValueError(f"{path} is there already and holds no prepared clips.")
    return tables


def _check_same(path: Path, before: dict[str, Any], about: Mapping[str, Any]) -> None:
    """Refuse a store that was begun with other settings."""
    check_format(path, before)
    wanted = json.loads(json.dumps(dict(about)))
    if before.get("format") == FIRST_FORMAT:  # it is gone on with as what it is
        wanted["format"], before = FIRST_FORMAT, {**before, "streams": dict(RGB)}
    # Streams tell more than the format that follows; colours are named where they are not "file".
    for key in ("streams", *wanted, "colours"):
        value = wanted.get(key)
        if before.get(key) != value:
            shown = f" ({before.get(key)!r}, not {value!r})" if _is_short(value) else ""
            raise ValueError(
                f"{path} was begun with other {key}{shown}: choose another file, or the same "
                "settings."
            )


class ClipWriter:
    """Writes a store, video by video; a killed run's file is taken up where it stands.

    Args:
        path: the file.
        about: its settings: JSON values. A store that is there must have been begun with the same.
            "streams" names what is kept of each frame, rgb alone without it.
        patience_seconds: how long to wait for another run that has the file.

    Raises:
        StoreInUse: another run has it.
        ValueError: the file holds something else, or clips that were prepared otherwise.
        OSError: it cannot be written.
    """

    def __init__(
        self, path: Path, about: Mapping[str, Any], *, patience_seconds: float = 1.0
    ) -> None:
        self.path = path
        settings = _settings(about)
        described = settings["streams"]
        for name in described:
            if not re.fullmatch("[a-z][a-z0-9_]*", name):
                raise ValueError(f"a stream must be named in small letters, as flow; got {name!r}.")
        size = about.get("size", (0, 0))
        self._streams = {name: Stream.of(name, each, size) for name, each in described.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_file(path)
        with _sorted_errors(path):
            self._database = sqlite3.connect(path, timeout=patience_seconds)
            self._database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            self._database.execute("PRAGMA synchronous = NORMAL")
            # Nobody else may write, or read what is not whole yet.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            try:
                self._begin(settings)
            except BaseException:
                self._database.close()
                raise

    def _begin(self, about: Mapping[str, Any]) -> None:
        with self._database as database:
            database.execute("BEGIN EXCLUSIVE")
            if not _tables(self.path, database):
                for statement in _TABLES.split(";")[:-1]:
                    database.execute(statement)
                for stream in self._streams.values():
                    database.execute(
                        f"CREATE TABLE IF NOT EXISTS {stream.table} "
                        f"(id INTEGER PRIMARY KEY, {stream.column} BLOB NOT NULL)"
                    )
                database.executemany(
                    "INSERT INTO about VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in about.items()],
                )
                return
            _check_same(self.path, read_about(database), about)
            database.execute("DELETE FROM about WHERE key = 'finished'")
            # What could not be read is tried again.
            database.execute("DELETE FROM videos WHERE reason IS NOT NULL")

    def fingerprints(self) -> dict[str, str]:
        """Of each video that is there already, by name."""
        return dict(self._database.execute("SELECT name, fingerprint FROM videos"))

    def __contains__(self, name: str) -> bool:
        """Whether a video of this name is there already."""
        rows = self._database.execute("SELECT 1 FROM videos WHERE name = ?", (name,))
        return rows.fetchone() is not None

    def add(
        self,
        name: str,
        labels: Sequence[int],
        group: str,
        fingerprint: str,
        segments: Iterable[tuple[float, Iterable[bytes] | Mapping[str, Iterable[bytes]]]],
    ) -> int:
        """Keep a video: of each segment when it starts, in seconds, and its frames, JPEG or maps.

        The frames are those of the stream rgb, or of each stream by its name, as many of each.

        Returns:
            How many frames it has.

        Raises:
            ValueError: streams that the store does not have, or of different numbers of frames.
        """
        with _sorted_errors(self.path), self._database as database:
            video = self._add_video(name, labels, group, fingerprint, None)
            total = 0
            for start_seconds, pictures in segments:
                streams = pictures if isinstance(pictures, Mapping) else {"rgb": pictures}
                if streams.keys() != self._streams.keys():
                    raise ValueError(
                        f"{self.path} keeps the streams {', '.join(self._streams)}; {name} has "
                        f"{', '.join(streams)}."
                    )
                first = self._next_picture(self._streams[next(iter(streams))].table)
                counts = {
                    stream: database.executemany(
                        f"INSERT INTO {self._streams[stream].table} VALUES (?, ?)",
                        enumerate(each, first),
                    ).rowcount
                    for stream, each in streams.items()
                }
                if len(set(counts.values())) > 1:
                    raise ValueError(f"the streams of {name} differ in their frames: {counts}.")
                num_frames = max(counts.values())
                total += num_frames
                database.execute(
                    "INSERT INTO segments (video, start_seconds, num_frames, first_picture) "
                    "VALUES (?, ?, ?, ?)",
                    (video, start_seconds, num_frames, first),
                )
        return total

    def _next_picture(self, table: str) -> int:
        (last,) = self._database.execute(f"SELECT max(id) FROM {table}").fetchone()
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


def _is_short(value: object) -> bool:
    return len(repr(value)) <= 40


@contextlib.contextmanager
def _sorted_errors(path: Path) -> Iterator[None]:
    """A full or forbidden disk is an OSError, as everywhere else; another user a ValueError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StoreInUse(f"{path} is in use by another run.") from None
        raise OSError(f"{path} cannot be written ({error}).") from None
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} holds no prepared clips, or is damaged: {error}.") from None
