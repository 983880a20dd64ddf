"""`Library`: folders of videos with an index of their clips, brought up to date when it is opened.

    folders --find_videos--> names, sizes, times of change --against the index-->
        unchanged: its rows stay        new, changed: extracted, encoded        gone: dropped

Note [What is kept of a folder]
    Feature tables lie in `features/`, found by what the videos hold, so that moving and renaming
    them costs nothing, and a stopped run goes on. The index of the folders lies in `index/`, and
    says which videos there were. All of it can be deleted at any time; it is made anew.
    A video that could not be used is not tried again until it changes, unless it took too long.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema.features.extractor import Extractor
from kinema.features.kept import TableCache, kept_tables
from kinema.features.table import FeatureTable, normalized
from kinema.files import cache_file
from kinema.finding.answer import kept_in
from kinema.finding.index import COLUMNS, Entry, Index, fit_sampled
from kinema.progress import Progress
from kinema.skipped import Skipped
from kinema.video.clips import NO_FRAME, ClipPlan
from kinema.video.loop import Reading
from kinema.video.reader import VideoReader
from kinema.video.sources import Source, Sources, size_in_bytes
from kinema.weights.several import AnyWeights, resolve_all

_TOO_LONG = "`video_seconds`"
"""Stands in the reason of a video that took too long: another run may give it more time."""


@dataclass(frozen=True, eq=False)
class Library:
    """Videos of some folders, and the index of their clips.

    Attributes:
        sources: by name; videos that could not be used are not there.
        index: of them, in the order of names.
        extractor: what makes rows.
        cache: where the tables are.
        skipped: videos that could not be used, and why.
        notes: what else the user should know, a line each.
    """

    sources: dict[str, Source]
    index: Index
    extractor: Extractor
    cache: TableCache
    skipped: Sequence[Skipped]
    notes: Sequence[str]

    def path(self, video: int) -> str:
        """Where a video of the index lies."""
        return str(self.sources[self.index.entries[video].name].path)

    def rows_of(self, video: int) -> np.ndarray | None:
        """(m, D) float32 of length 1, of a video's clips; None if its table is gone."""
        return self._rows(self.index.entries[video])

    def _rows(self, entry: Entry) -> np.ndarray | None:
        table = self.cache.find(self.sources[entry.name], entry.mark)
        return None if table is None else normalized(table.features)


def tables_in(cache: str | os.PathLike[str] | None, extractor: Extractor) -> TableCache:
    """Where the tables are kept; `cache` is that of `open_library`."""
    return TableCache(kept_in(cache) / "features", extractor)


def _table(extractor: Extractor, tables: TableCache, source: Source) -> FeatureTable | Skipped:
    ((_, table),) = kept_tables(extractor, [source], tables)
    return table


def query_table(extractor: Extractor, tables: TableCache, source: Source) -> FeatureTable:
    """The clips of a query.

    Raises:
        ValueError: it cannot be read.
    """
    table = _table(extractor, tables, source)
    if isinstance(table, Skipped) and source.is_part and table.reason == NO_FRAME:
        known = VideoReader(source.path).info.duration_seconds
        length = "" if known is None else f", it is {known:.3g} s long"
        raise ValueError(
            f"`query` {source.path}: it shows nothing at {source.start_seconds:g} s{length}; name "
            "a time within the video."
        )
    if isinstance(table, Skipped):
        raise ValueError(f"`query` {table}")
    return table


def extractor_for(
    *,
    weights: AnyWeights | Sequence[AnyWeights],
    layer: str,
    stride: int,
    mean: Any,
    device: str,
    engine: str,
    precision: str,
    threads: int | None,
    reading: Reading,
) -> Extractor:
    """What describes clips, as the commands of this room want it."""
    nets = resolve_all(weights)
    plan = ClipPlan(length=nets[0].network.input_shape[1], stride=stride)
    return Extractor(
        nets,
        layer=layer,
        plan=plan,
        mean=mean,
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
        reading=reading,
    )


def open_library(
    folders: Iterable[str | os.PathLike[str]],
    found: Sources,
    extractor: Extractor,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Library:
    """Extract what is new, and bring their index up to date.

    See Note [What is kept of a folder].

    Args:
        folders: or videos, by which the index is found again.
        found: the videos of these.
        extractor: what makes rows.
        cache: where everything is kept; None for a folder of the user's own.
        progress: whether to show progress on standard error.

    Raises:
        ValueError: none of the videos can be used.
    """
    kept = kept_in(cache)
    tables = tables_in(cache, extractor)
    places = sorted({os.path.abspath(folder) for folder in folders})
    file = cache_file(kept / "index", {"folders": places, "key": str(tables.what)})
    notes = [*found.notes]
    before = Index([], None, np.zeros((0, 0), np.int8), {})
    if file.is_file():
        try:
            before = Index.load(file)
        except ValueError as error:
            notes.append(f"the index {file} was damaged ({error}) and is made anew.")
    sources = {source.name: source for source in sorted(found, key=lambda one: one.name)}
    library = Library(sources, before, extractor, tables, (), notes)
    return _brought_up_to_date(library, file, progress)


def _brought_up_to_date(library: Library, file: Path, progress: bool) -> Library:
    before, sources = library.index, library.sources
    stamps = {name: _stamp(source.path) for name, source in sources.items()}
    known = {
        entry.name: (entry, place)
        for place, entry in enumerate(before.entries)
        if stamps.get(entry.name) == entry.stamp and _TOO_LONG not in entry.reason
    }
    fresh = [name for name in sources if name not in known]
    added = {}
    columns: dict[str, list[np.ndarray]] = {}
    for name, table in _extracted(library, fresh, progress):
        if isinstance(table, Skipped):
            added[name] = Entry(name, stamps[name], reason=table.reason)
            continue
        rows = normalized(table.features).mean(axis=0, dtype=np.float64)
        length = float(np.linalg.norm(rows))
        mark = str(table.about["video_fingerprint"])
        added[name] = Entry(name, stamps[name], mark, len(table), length)
        columns[name] = [getattr(table, column) for column in COLUMNS]
    entries = [added[name] if name in added else known[name][0] for name in sources]
    if fresh or len(entries) != len(before.entries):
        index = _encoded(library, entries, {n: p for n, (_, p) in known.items()}, columns)
        index.save(file)
    else:
        index = before
    skipped = [
        Skipped(str(sources[entry.name].path), entry.reason) for entry in entries if entry.reason
    ]
    if not len(index):
        raise ValueError(f"none of the videos can be used: {'; '.join(map(str, skipped[:3]))}")
    return replace(library, index=index, skipped=skipped)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change; of a folder of pictures, the latest of all of them."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            changed = [entry.stat().st_mtime_ns for entry in os.scandir(path)]
            return size_in_bytes(path), max([status.st_mtime_ns, *changed])
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _extracted(
    library: Library, names: Sequence[str], progress: bool
) -> Iterable[tuple[str, FeatureTable | Skipped]]:
    """Tables of videos, each kept as soon as it is there."""
    sources = [library.sources[name] for name in names]
    with Progress(enabled=progress and bool(names)) as bar:
        sizes = {source: size_in_bytes(source.path) for source in sources}
        bar.start(len(sources), sum(sizes.values()))
        for source, table in kept_tables(library.extractor, sources, library.cache):
            if not isinstance(table, Skipped):
                bar.advance(num_clips=len(table), size=sizes[source])
            bar.finish_video(size=sizes[source])
            yield source.name, table


def _encoded(
    library: Library,
    entries: Sequence[Entry],
    place_before: dict[str, int],
    columns: dict[str, list[np.ndarray]],
) -> Index:
    """The index of entries: rows that were there stay, unless there are twice as many as then."""
    before = library.index
    used = [entry for entry in entries if entry.num_clips]
    counts = [entry.num_clips for entry in used]
    if not used:
        empty = {name: np.zeros(0, kind) for name, kind in COLUMNS.items()}
        return Index(entries, None, np.zeros((0, 0), np.int8), empty)

    def rows_of(entry: Entry) -> np.ndarray:
        rows = library._rows(entry)
        if rows is None:  # its table was deleted, or never kept
            table = _table(library.extractor, library.cache, library.sources[entry.name])
            if isinstance(table, Skipped):
                raise ValueError(str(table))
            rows = normalized(table.features)
        return rows

    basis = before.basis
    anew = basis is None or sum(counts) >= 2 * basis.num_rows
    if anew:
        basis = fit_sampled(used, rows_of, counts)
    assert basis is not None
    first = before.first
    codes = np.empty((sum(counts), len(basis.scale)), np.int8)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    start = 0
    for entry in used:
        stop = start + entry.num_clips
        place = place_before.get(entry.name)
        if place is None:
            mine = columns[entry.name]
        else:
            old = slice(first[place], first[place + 1])
            mine = [before.columns[name][old] for name in COLUMNS]
        if place is None or anew:
            codes[start:stop] = basis.encode(rows_of(entry))
        else:
            codes[start:stop] = before.codes[old]
        for name, column in zip(COLUMNS, mine, strict=True):
            parts[name].append(column)
        start = stop
    return Index(entries, basis, codes, {n: np.concatenate(each) for n, each in parts.items()})
