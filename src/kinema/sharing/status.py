"""`status`: how far a shared run is, from its manifests and claims alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinema.sharing import chunks, claims, manifests
from kinema.sharing.loop import ChunkTotals, read_manifests
from kinema.sharing.manifests import DamagedManifest, Row, check_parquet
from kinema.store import Store, open_store

RATE_SECONDS = 3600.0
"""The rate is that of the last hour."""


@dataclass(frozen=True)
class Worker:
    """Who holds a chunk.

    Attributes:
        chunk, generation: of the claim.
        host, process: as the claim says; None of a damaged one.
        seconds: since it was last heard of, by the store's clock.
        running: videos that it has begun.
        num_done: videos of the chunk that are done.
    """

    chunk: int
    generation: int
    host: str | None
    process: int | None
    seconds: float
    running: tuple[str, ...]
    num_done: int


@dataclass(frozen=True)
class Status:
    """How far a shared run is.

    Attributes:
        address: of the folder.
        num_videos, num_done, num_skipped: of the list; done ones have a manifest, or a beat tells
            of them.
        num_clips: rows of the tables that manifests tell of.
        num_chunks, num_chunks_done: chunks of the list, and those with a manifest.
        videos_per_hour: in the last hour; None if nothing was done in it.
        hours_left: at that rate, by bytes; None if it is not known.
        working, stale: claims that live, and claims that another process will take.
        skipped: what manifests tell of videos that were left out.
        notes: damaged manifests, a line each.
    """

    address: str
    num_videos: int
    num_done: int
    num_skipped: int
    num_clips: int
    num_chunks: int
    num_chunks_done: int
    videos_per_hour: float | None
    hours_left: float | None
    working: tuple[Worker, ...]
    stale: tuple[Worker, ...]
    skipped: tuple[Row, ...]
    notes: tuple[str, ...]

    def as_mapping(self) -> dict[str, Any]:
        """All of it as JSON values."""
        own = {name: value for name, value in vars(self).items() if name != "skipped"}
        own["working"] = [vars(worker) for worker in self.working]
        own["stale"] = [vars(worker) for worker in self.stale]
        own["skipped"] = [{"name": row.name, "reason": row.reason} for row in self.skipped]
        return own

    def lines(self) -> list[str]:
        """A few lines to read."""
        share = 100 * self.num_done / max(self.num_videos, 1)
        lines = [
            f"{self.address}: {self.num_done} of {self.num_videos} videos ({share:.1f} %), "
            f"{self.num_skipped} of them skipped; {self.num_clips} clips in "
            f"{self.num_chunks_done} of {self.num_chunks} finished chunks"
        ]
        if self.num_done < self.num_videos:
            if self.videos_per_hour is None:
                lines.append("no chunk was finished in the last hour")
            else:
                left = "unknown" if self.hours_left is None else f"{self.hours_left:.1f} h"
                lines.append(f"{self.videos_per_hour:.0f} videos/h in the last hour, {left} left")
        for what, workers in (("at work", self.working), ("stale", self.stale)):
            lines += [
                f"{what}: chunk {one.chunk}.{one.generation}, {one.host or 'unknown'} "
                f"{one.process or ''}".rstrip()
                + f", heard of {one.seconds:.0f} s ago, {one.num_done} videos done"
                + f", now {', '.join(one.running[:1])}" * bool(one.running)
                for one in workers
            ]
        return lines


def status(out: str | os.PathLike[str]) -> Status:
    """How far a shared run is; nothing is changed.

    Args:
        out: its folder or URL.

    Raises:
        FileNotFoundError: nothing was begun there with `shared`.
        ValueError: its list is damaged.
        ImportError: a package is missing.
        OSError: the store does not answer.
    """
    check_parquet()
    store = open_store(out)
    parts = chunks.load(store)
    times = {
        chunk: seconds
        for name, seconds in store.times(manifests.FOLDER).items()
        if (chunk := manifests.chunk_of(name)) is not None
    }
    seen = claims.look(store)
    now = _now(store)
    done, notes = {}, []
    for chunk, totals in read_manifests(store, parts, (), ChunkTotals.of):
        if isinstance(totals, DamagedManifest):
            path = manifests.path_of(chunk)
            notes.append(f"{store}/{path} is damaged ({totals}); the next run does it again.")
        else:
            done[chunk] = totals
    workers: dict[bool, list[Worker]] = {False: [], True: []}
    num_more = 0
    for chunk, last in sorted(seen.items()):
        if chunk in done or chunk >= len(parts):
            continue
        key = claims.key_of(chunk, last.generation)
        beat = claims.read_beat(store, key)
        num_more += len(beat.rows)
        if last.released:  # nobody works at it now; who takes it goes on from there
            continue
        owner = claims.read_owner(store, key)
        workers[last.is_free(now)].append(
            Worker(
                chunk,
                last.generation,
                owner.get("host"),
                owner.get("process"),
                round(max(now - last.seconds, 0.0), 1),
                beat.running,
                len(beat.rows),
            )
        )
    skipped = tuple(row for chunk in sorted(done) for row in done[chunk].skipped)
    begun = store.times("_shared").get(chunks.LIST.rpartition("/")[2], now)
    recent = [chunk for chunk in done if times.get(chunk, 0.0) > now - RATE_SECONDS]
    hours = min(now - begun, RATE_SECONDS) / 3600
    rate = left = None
    if recent and hours > 0:
        rate = sum(done[chunk].num_videos for chunk in recent) / hours
        size = sum(parts.sizes[chunk] for chunk in recent)
        to_do = sum(size for chunk, size in enumerate(parts.sizes) if chunk not in done)
        left = to_do / size * hours if size else None
    return Status(
        store.address,
        len(parts.names),
        sum(totals.num_videos for totals in done.values()) + num_more,
        len(skipped),
        sum(totals.num_clips for totals in done.values()),
        len(parts),
        len(done),
        rate,
        left,
        tuple(workers[False]),
        tuple(workers[True]),
        skipped,
        tuple(notes),
    )


def _now(store: Store) -> float:
    """The store's time; that of its newest beat, where this user may only read."""
    try:
        return store.now()
    except PermissionError:
        beats: Mapping[str, float] = store.times(claims.BEATS)
        return max([*beats.values(), *store.times(manifests.FOLDER).values(), 0.0])
