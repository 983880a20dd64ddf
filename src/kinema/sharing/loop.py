"""`share`: the one loop that every process of a shared run goes through, see Note [Shared work]."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
import time
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from kinema.progress import Progress
from kinema.sharing import claims, manifests
from kinema.sharing.chunks import Chunks
from kinema.sharing.claims import Claim, Heartbeat, Seen
from kinema.sharing.manifests import DamagedManifest, Row
from kinema.sharing.shards import Packing, Pieces
from kinema.skipped import EngineError
from kinema.store import Store
from kinema.words import first_of

T = TypeVar("T")

POLL_SECONDS = 5.0
"""From one look at the store to the next, while all chunks are in others' hands."""

NUM_READERS = 16
"""Manifests that are read at once."""

Begun = Callable[[str], None]
Work = Callable[[Sequence[str], Begun], Generator[tuple[Row, bytes | None], None, None]]
"""Does some names: is told them and what to call as each begins; gives the row of each, in any
order, with the bytes of its file, or None of one that was skipped."""


@dataclass
class Shared:
    """What is known of a shared run.

    Attributes:
        num_videos: of the list.
        rows: by chunk, of those that are done: how many are done, their clips, and the skipped.
        num_done, num_clips: what this process has done.
        partial: names of videos that broke and whose rows before that are kept.
        notes: what the user should know, a line each.
    """

    num_videos: int
    rows: dict[int, ChunkTotals] = field(default_factory=dict)
    num_done: int = 0
    num_clips: int = 0
    partial: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def skipped(self) -> list[Row]:
        """The rows of all names that were skipped, by any process."""
        return [row for chunk in sorted(self.rows) for row in self.rows[chunk].skipped]


@dataclass(frozen=True)
class ChunkTotals:
    """What a manifest comes to."""

    num_videos: int
    num_clips: int
    skipped: tuple[Row, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> ChunkTotals:
        """Of the rows of a chunk."""
        skipped = tuple(row for row in rows if row.reason)
        return cls(len(rows), sum(row.num_clips for row in rows), skipped)


def read_manifests(
    store: Store, chunks: Chunks, known: Container[int], of: Callable[[Sequence[Row]], T]
) -> Iterator[tuple[int, T | DamagedManifest]]:
    """What `of` makes of each manifest that is there and not known, or why it cannot be read."""
    there = map(manifests.chunk_of, store.times(manifests.FOLDER))
    new = [one for one in there if one is not None and one not in known and one < len(chunks)]

    def read(chunk: int) -> tuple[int, T | DamagedManifest]:
        try:
            data = store.read(manifests.path_of(chunk))
            return chunk, of(manifests.read(data, chunks[chunk]))
        except DamagedManifest as error:
            return chunk, error

    with ThreadPoolExecutor(NUM_READERS) as pool:
        yield from pool.map(read, sorted(new))


def share(
    store: Store,
    chunks: Chunks,
    work: Work,
    *,
    ending: str,
    packing: Packing | None = None,
    progress: Progress | None = None,
) -> Shared:
    """Do chunks until all are done, by this process or another one.

    Args:
        store: where all is shared.
        chunks: of the list, see `chunks.begin`.
        work: does some names.
        ending: of the files' names.
        packing: makes one file of those of a chunk; see Note [One file a chunk] of `shards`.
        progress: is told what is done, by whomever.

    Raises:
        EngineError: two processes made different bytes of the same video.
        OSError: the store does not answer, or what `work` raises; the chunk is given back.
    """
    found = Shared(len(chunks.names))
    progress = progress or Progress(enabled=False)
    progress.start(len(chunks.names), sum(chunks.sizes))
    order = random.Random()  # others begin elsewhere
    while True:
        seen = look(store, chunks, found, progress)
        left = [chunk for chunk in range(len(chunks)) if chunk not in found.rows]
        if not left:
            return found
        now = store.now()
        free = [chunk for chunk in left if chunk not in seen or seen[chunk].is_free(now)]
        order.shuffle(free)
        if not free:
            time.sleep(POLL_SECONDS)
        for chunk in free:
            last = seen[chunk].generation if chunk in seen else 0
            held = claims.claim(store, chunk, last, kept=packing is None)
            if held is None:  # another process is quicker, and may be so again
                break
            pieces = None if packing is None else Pieces(store, chunk, packing)
            _do(store, chunks, held, work, ending, found, progress, pieces)


def look(
    store: Store, chunks: Chunks, found: Shared, progress: Progress | None = None
) -> dict[int, Seen]:
    """Read what others have done into `found`, and see who works at what."""
    # Claims first: what is claimed now and done in a moment is then done, and not stale.
    seen = claims.look(store)
    for chunk, totals in read_manifests(store, chunks, found.rows, ChunkTotals.of):
        if isinstance(totals, DamagedManifest):
            path = manifests.path_of(chunk)
            found.notes.append(f"{store}/{path} is damaged ({totals}): its videos are done again.")
            store.delete(path)
            continue
        found.rows[chunk] = totals
        if progress is not None:
            size = chunks.sizes[chunk]
            progress.finish_video(size=size, found=True, num_videos=totals.num_videos)
    return seen


def _do(
    store: Store,
    chunks: Chunks,
    claim: Claim,
    work: Work,
    ending: str,
    found: Shared,
    progress: Progress,
    pieces: Pieces | None = None,
) -> None:
    """One chunk, from its claim to its manifest."""
    names = chunks[claim.chunk]
    size = chunks.sizes[claim.chunk] / len(names)
    with Heartbeat(store, claim) as heart, pieces or contextlib.nullcontext():
        for name in sorted(claim.quarantined):
            heart.ended(Row(name, reason=_QUARANTINED))
        left = [name for name in names if name not in heart.rows]
        for row, data in _rows(work, left, heart):
            if data is not None:
                row = dataclasses.replace(row, sha256=hashlib.sha256(data).hexdigest())
                if pieces is None:
                    _commit(store, f"{row.name}{ending}", data)
                else:
                    pieces.put(row.name, data)
                found.num_done += 1
                found.num_clips += row.num_clips
                progress.advance(num_clips=row.num_clips, size=size)
            heart.ended(row)
            progress.finish_video(size=size)
            if heart.lost:  # it is counted when the other's manifest is found
                undone = len(heart.rows) - len(heart.claim.done) - len(claim.quarantined)
                progress.finish_video(size=-size * undone, num_videos=-undone)
                return
        progress.finish_video(
            size=size * (len(names) - len(left)), found=True, num_videos=len(names) - len(left)
        )
        rows = [heart.rows[name] for name in names]
        if pieces is not None:  # while the heart beats: a large one takes its time
            rows = pieces.put_down(rows)
    found.rows[claim.chunk] = ChunkTotals.of(_commit_manifest(store, claim.chunk, names, rows))
    claims.clear(store, claim)


_QUARANTINED = f"{claims.NUM_DEATHS} processes died while it was read."


def _rows(work: Work, names: Sequence[str], heart: Heartbeat) -> Iterator[tuple[Row, bytes | None]]:
    """The rows of some names; one by one where a process died, to know which one is at fault."""
    if not names:
        return
    for some in [[name] for name in names] if heart.claim.alone else [names]:
        with contextlib.closing(work(some, heart.begun)) as rows:
            yield from rows


def _commit(store: Store, name: str, data: bytes) -> None:
    """Put down a file; one that is there must be the same."""
    there = store.settle(name, data)
    if there != data:
        ours, theirs = (hashlib.sha256(each).hexdigest()[:12] for each in (data, there))
        raise EngineError(
            f"{store}/{name} is there with other bytes (sha256 {theirs}..., here {ours}...): the "
            "video was changed, or the machines of this run have other versions or processors. "
            "Delete the file, or make them the same; the same command says which versions differ."
        )


def _commit_manifest(
    store: Store, chunk: int, names: Sequence[str], rows: Sequence[Row]
) -> Sequence[Row]:
    """Put down the manifest of a chunk; the first one counts."""
    path, data = manifests.path_of(chunk), manifests.write(rows)
    there = store.settle(path, data)
    if there == data:
        return rows
    try:
        first = manifests.read(there, names)
    except DamagedManifest:
        store.delete(path)
        store.settle(path, data)
        return rows
    pairs = zip(rows, first, strict=True)
    if other := [a.name for a, b in pairs if a.sha256 and b.sha256 and a.sha256 != b.sha256]:
        raise EngineError(f"{store}/{path} tells of other bytes of {first_of(other, 3)}.")
    return first
