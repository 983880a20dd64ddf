"""Shards: what was made of a chunk as one file, in place of a file for each name.

Note [One file a chunk]
    What is made of a name lies on this machine until all of its chunk is there; then a shard is
    written, in the order of the names, and put down as everything is: the first one counts. It
    tells the rows of its chunk itself, so the manifest says what the shard holds, whoever made it.

    What a process made of a chunk goes with it when it dies: the next generation makes all of it
    again. What was skipped stays skipped, so that a video which took an hour to give nothing
    takes it once; deaths are counted as ever (Note [Generations] of `claims`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kinema.files import NewerFormat
from kinema.sharing.manifests import Row
from kinema.skipped import EngineError
from kinema.store import Store
from kinema.words import first_of

FOLDER = "shards"


class DamagedShard(ValueError):
    """A shard cannot be read, or is none."""


def path_of(chunk: int) -> str:
    """Where the shard of a chunk lies in its store."""
    return f"{FOLDER}/{chunk:06d}.parquet"


@dataclass(frozen=True)
class Packing:
    """How files become a shard, and how it is read.

    Attributes:
        write: is given where to, the rows of a chunk in order, and the file of each that has one.
            Equal ones give equal bytes.
        read: the rows, after a look at all that it holds. Raises `DamagedShard`, `NewerFormat`.
    """

    write: Callable[[Path, Sequence[Row], Mapping[str, Path]], None]
    read: Callable[[IO[bytes]], list[Row]]


class Pieces:
    """The files of a chunk, on this machine while `with` lasts, until its shard is put down.

    Args:
        store: where the shard goes.
        chunk: its number.
        packing: of files.
    """

    def __init__(self, store: Store, chunk: int, packing: Packing) -> None:
        self._store, self._path, self._packing = store, path_of(chunk), packing
        self._files: dict[str, Path] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="kinema-chunk-")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def put(self, name: str, data: bytes) -> None:
        """Keep the file of a name."""
        path = Path(self._folder.name, str(len(self._files)))
        path.write_bytes(data)
        self._files[name] = path

    def put_down(self, rows: Sequence[Row]) -> list[Row]:
        """Put down the shard of a chunk's rows, in order; the first one counts.

        Returns:
            The rows that it tells.

        Raises:
            EngineError: other bytes of a video are there, or other videos.
        """
        if not self._files:  # all were skipped
            return [*rows]
        shard = Path(self._folder.name, "shard")
        self._packing.write(shard, rows, self._files)
        while not self._store.settle_file(self._path, shard):
            try:
                with self._store.open(self._path) as file:
                    first = self._packing.read(file)
            except FileNotFoundError:
                continue
            except NewerFormat as error:
                raise NewerFormat(f"{self._store}/{self._path}: {error}: update Kinema.") from None
            except DamagedShard:
                self._store.delete(self._path)
                continue
            return self._checked(rows, first)
        return [*rows]

    def _checked(self, rows: Sequence[Row], first: list[Row]) -> list[Row]:
        """The rows of another process, which may have skipped other videos."""
        if [row.name for row in first] != [row.name for row in rows]:
            raise EngineError(
                f"{self._store}/{self._path} is of other videos: delete it, or name another `out`."
            )
        pairs = zip(rows, first, strict=True)
        if other := [a.name for a, b in pairs if a.sha256 and b.sha256 and a.sha256 != b.sha256]:
            raise EngineError(
                f"{self._store}/{self._path} is there with other bytes of {first_of(other, 3)}: a "
                "video was changed, or the machines of this run have other versions or processors. "
                "Delete the file, or make them the same; `kinema extract` says which versions "
                "differ."
            )
        return first
