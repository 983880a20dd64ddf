"""Tables that a shared run of `extract` made, found by what their videos show.

A cache of features may name folders or URLs of shared runs (`take_from`); a table that the cache
does not have is then read from there, if it was made with the same settings. The manifests tell
which table is of which video, by its fingerprint: names and places of videos play no part.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.features.shards import Shard
from kinema.features.table import FeatureTable
from kinema.files import NewerFormat, write_json
from kinema.sharing import chunks, manifests, shards
from kinema.sharing.loop import read_manifests
from kinema.sharing.manifests import DamagedManifest, Row, check_parquet
from kinema.store import open_store
from kinema.words import number_of

POINTER = "extracted.json"
"""In a cache: the folders and URLs that tables may come from."""

FORMATS = {"safetensors": ".safetensors", "parquet": ".parquet", "hdf5": ".hdf5"}


class ExtractedTables(Mapping[str, FeatureTable]):
    """Tables of a shared run by the names of their videos, in a file each or in shards.

    Each is read when it is asked for. What is done while this is open is not seen.

    Args:
        address: the folder or its URL.

    Raises:
        FileNotFoundError: nothing was extracted there with `shared`.
        ValueError: its run.json is damaged.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        check_parquet()
        self._store = open_store(address, "extracted")
        self._chunks = chunks.load(self._store)
        try:
            content = json.loads(self._store.read("run.json"))
            self.settings: dict[str, Any] = dict(content["settings"])
            self._ending = FORMATS[self.settings["format"]]
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise ValueError(f"`extracted` {address}: its run.json is damaged ({error}).") from None
        self._lock = threading.Lock()
        self._opened: tuple[int, Shard] | None = None

    @functools.cached_property
    def _rows(self) -> dict[str, tuple[int, Row]]:
        """The chunk and row of each name; read when the first table is asked for."""
        found = {}
        for chunk, rows in read_manifests(self._store, self._chunks, (), tuple):
            if not isinstance(rows, DamagedManifest):  # those are made anew
                found.update({row.name: (chunk, row) for row in rows if row.sha256})
        return found

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """Of fingerprints."""
        return {row.fingerprint: name for name, (_, row) in self._rows.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __repr__(self) -> str:
        return f"ExtractedTables({str(self._store)!r}: {number_of(len(self), 'table')})"

    def __getitem__(self, name: str) -> FeatureTable:
        """The table of a video.

        Raises:
            KeyError: there is none of this name.
            FileNotFoundError: its file is gone.
            ValueError: its file is damaged.
        """
        chunk, row = self._rows[name]
        sharded = self.settings.get("shards", False)
        path = shards.path_of(chunk) if sharded else f"{name}{self._ending}"
        manifest = f"{self._store}/{manifests.path_of(chunk)}"
        try:
            if sharded:
                return self._of_shard(chunk, row)
            return FeatureTable.from_bytes(self._store.read(path), self._ending, row.sha256)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self._store}/{path} is gone: remove {manifest}, too, and the same `kinema "
                "extract` makes it again."
            ) from None
        except NewerFormat:
            raise
        except ValueError as error:
            raise ValueError(
                f"{self._store}/{path} is damaged ({error}): remove it and {manifest}, and the "
                "same `kinema extract` makes it again."
            ) from None

    def _of_shard(self, chunk: int, row: Row) -> FeatureTable:
        with self._lock:
            if self._opened is None or self._opened[0] != chunk:  # the next one is often there, too
                self._opened = chunk, Shard(self._store.open(shards.path_of(chunk)))
            shard = self._opened[1]
            if shard.rows.get(row.name) != row:
                raise ValueError(f"it tells other things of {row.name} than its manifest")
            return FeatureTable(**shard.read(row.name))

    def what_differs(self, settings: Mapping[str, Any], engine: str) -> str | None:
        """The first setting that is another one than here; None if rows are the same."""
        asked = {"clips": "all", **json.loads(json.dumps(dict(settings))), "engine": engine}
        for name in sorted({*asked, *self.settings} - {"format", "keep_partial", "shards"}):
            if self.settings.get(name) != asked.get(name):
                return f"{name} {self.settings.get(name)}, asked for is {asked.get(name)}"
        return None

    def find(self, mark: str, settings: Mapping[str, Any], engine: str) -> FeatureTable | None:
        """The table of a video with this fingerprint, made with these settings; None without."""
        if self.what_differs(settings, engine) is not None or mark not in self._names:
            return None
        try:
            table = self[self._names[mark]]
        except (ValueError, FileNotFoundError):  # damaged since, or removed: it is made anew
            return None
        return None if table.about.get("partial") else table


@functools.lru_cache(maxsize=8)
def _opened(address: str) -> ExtractedTables:
    return ExtractedTables(address)


def take_from(
    address: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    asked: Sequence[tuple[Mapping[str, Any], str]],
) -> None:
    """Let a cache of features take tables from a shared run.

    Args:
        address: the run's folder or URL.
        cache: a folder.
        asked: settings and engine, of each net that tables are wanted of.

    Raises:
        FileNotFoundError: nothing was extracted there with `shared`.
        ValueError: it was made with other settings than any of these.
    """
    address = os.fspath(address) if "://" in os.fspath(address) else os.path.abspath(address)
    _opened.cache_clear()  # it may have grown
    tables = _opened(address)
    differences = [tables.what_differs(*one) for one in asked]
    if None not in differences:
        raise ValueError(
            f"`extracted` {address} was made with {differences[0]}: extract with the same "
            "settings, or leave `extracted` out."
        )
    addresses = [*dict.fromkeys([*_addresses(cache), address])]
    Path(cache).mkdir(parents=True, exist_ok=True)
    write_json(Path(cache, POINTER), {"format": "kinema-extracted-1", "addresses": addresses})


def tables_beside(cache: str | os.PathLike[str]) -> list[ExtractedTables]:
    """The shared runs that a cache takes tables from; those that are gone are passed over."""
    found = []
    for address in _addresses(cache):
        with contextlib.suppress(FileNotFoundError, ImportError, ValueError):
            found.append(_opened(address))
    return found


def _addresses(cache: str | os.PathLike[str]) -> list[str]:
    with contextlib.suppress(
        FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError
    ):
        content = json.loads(Path(cache, POINTER).read_text(encoding="utf-8"))
        return [str(address) for address in content["addresses"]]
    return []
