"""Tables that a shared run of `extract` made, found by what their videos show.

A cache of features may name folders or URLs of shared runs (`take_from`); a table that the cache
does not have is then read from there, if it was made with the same settings. The manifests tell
which file is of which video, by its fingerprint: names and places of videos play no part.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.features.table import FeatureTable
from kinema.files import write_json
from kinema.sharing import chunks
from kinema.sharing.loop import read_manifests
from kinema.sharing.manifests import DamagedManifest, Row, check_parquet
from kinema.store import open_store

POINTER = "extracted.json"
"""In a cache: the folders and URLs that tables may come from."""

FORMATS = {"safetensors": ".safetensors", "parquet": ".parquet", "hdf5": ".hdf5"}


class ExtractedTables:
    """Tables of a shared run.

    Args:
        address: the folder or its URL.

    Raises:
        FileNotFoundError: nothing was extracted there with `shared`.
        ValueError: its run.json is damaged.
    """

    def __init__(self, address: str) -> None:
        check_parquet()
        self._store = open_store(address, "extracted")
        self._chunks = chunks.load(self._store)
        try:
            content = json.loads(self._store.read("run.json"))
            self.settings: dict[str, Any] = dict(content["settings"])
            self._ending = FORMATS[self.settings["format"]]
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise ValueError(f"`extracted` {address}: its run.json is damaged ({error}).") from None

    @functools.cached_property
    def _rows(self) -> dict[str, Row]:
        """By fingerprint; read when the first table is asked for."""
        found = {}
        for _, rows in read_manifests(self._store, self._chunks, (), tuple):
            if not isinstance(rows, DamagedManifest):  # those are made anew
                found.update({row.fingerprint: row for row in rows if row.sha256})
        return found

    def what_differs(self, settings: Mapping[str, Any], engine: str) -> str | None:
        """The first setting that is another one than here; None if rows are the same."""
        asked = {"clips": "all", **json.loads(json.dumps(dict(settings))), "engine": engine}
        for name in sorted({*asked, *self.settings} - {"format", "keep_partial"}):
            if self.settings.get(name) != asked.get(name):
                return f"{name} {self.settings.get(name)}, asked for is {asked.get(name)}"
        return None

    def find(self, mark: str, settings: Mapping[str, Any], engine: str) -> FeatureTable | None:
        """The table of a video with this fingerprint, made with these settings; None without."""
        if self.what_differs(settings, engine) is not None or mark not in self._rows:
            return None
        row = self._rows[mark]
        try:
            table = FeatureTable.from_bytes(
                self._store.read(f"{row.name}{self._ending}"), self._ending, row.sha256
            )
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
