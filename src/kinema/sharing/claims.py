"""Claims: which process works at which chunk, and what it has done when it dies.

Note [Generations]
    Claims of a chunk are numbered. Generation 1 is made by who comes first; the next one by who
    finds that the last one is stale or was given back. A generation that finds itself followed by
    another one stops: its chunk is in other hands.

    What a beat names as running may have killed its process. Where a generation died, one video
    runs at a time from then on and is named before it begins; a video that three generations died
    with is quarantined, and the chunk goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from kinema.sharing.manifests import Row
from kinema.store import Store

CLAIMS, BEATS = "_shared/claims", "_shared/beats"

BEAT_SECONDS = 15.0
"""From one beat to the next."""

STALE_SECONDS = 120.0
"""Age of the last beat, by the store's clock, from which on a claim counts for nothing."""

SOON_SECONDS = 1.0
"""Beats follow each other no faster, where another video begins."""

NUM_DEATHS = 3
"""So many generations that died with a video quarantine it."""

RELEASED = ".released"

_ALIVE = b"alive"
"""Of a chunk that was given to others though its process lived: nobody died with it."""


@dataclass(frozen=True)
class Claim:
    """A chunk in the hands of this process.

    Attributes:
        chunk, generation: see Note [Generations].
        done: what earlier generations did of it.
        quarantined: names that are left out.
        alone: whether an earlier generation died, so that one video runs at a time.
    """

    chunk: int
    generation: int = 1
    done: tuple[Row, ...] = ()
    quarantined: frozenset[str] = frozenset()
    alone: bool = False

    @property
    def key(self) -> str:
        """Its file's name."""
        return key_of(self.chunk, self.generation)


def key_of(chunk: int, generation: int) -> str:
    """The file's name of a claim, and of its beat."""
    return f"{chunk:06d}.{generation}"


@dataclass
class Seen:
    """What a look at the store tells of a chunk's last generation.

    Attributes:
        generation: its number.
        seconds: when it was last heard of, by the store's clock.
        released: whether it was given back.
    """

    generation: int
    seconds: float
    released: bool

    def is_free(self, now: float) -> bool:
        """Whether it may be followed by the next generation."""
        return self.released or now - self.seconds > STALE_SECONDS


def look(store: Store) -> dict[int, Seen]:
    """The last generation of each chunk that was ever claimed. Files with other names are none."""
    beats = store.times(BEATS)
    found: dict[int, Seen] = {}
    for key, made in store.times(CLAIMS).items():
        number, _, generation = key.partition(".")
        if not (number.isdecimal() and generation.isdecimal()):
            continue
        chunk, last = int(number), int(generation)
        if chunk not in found or found[chunk].generation < last:
            heard = max(made, beats.get(key, made))
            found[chunk] = Seen(last, heard, f"{key}{RELEASED}" in beats)
    return found


def claim(store: Store, chunk: int, last: int = 0, *, kept: bool = True) -> Claim | None:
    """Claim a chunk after its last generation; None where another process was quicker.

    Args:
        store, chunk: where, and which.
        last: its last generation; 0 if there was none.
        kept: whether what earlier generations made is in the store; else only what they skipped
            counts as done.
    """
    generation = last + 1
    about = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),  # for people: no clock is asked
        "id": uuid.uuid4().hex,
    }
    data = json.dumps(about).encode()
    if store.settle(f"{CLAIMS}/{key_of(chunk, generation)}", data) != data:
        return None
    done: dict[str, Row] = {}
    deaths: Counter[str] = Counter()
    alone = False
    for before in range(1, generation):
        key = key_of(chunk, before)
        beat = read_beat(store, key)
        done |= {row.name: row for row in beat.rows if kept or row.reason}
        if not beat.released and not _lived(store, key):
            deaths.update(beat.running)
            alone = True
    # What was done after all killed nobody.
    guilty = (name for name, count in deaths.items() if count >= NUM_DEATHS and name not in done)
    return Claim(chunk, generation, tuple(done.values()), frozenset(guilty), alone)


def release(store: Store, key: str, *, alive: bool = False) -> None:
    """Give a chunk to others in place of the process that has it, which is dead or slow.

    Args:
        store, key: where, and the claim's name.
        alive: whether it lives; it stops when it sees that its chunk is in other hands.
    """
    store.write(f"{BEATS}/{key}{RELEASED}", _ALIVE if alive else b"")


def _lived(store: Store, key: str) -> bool:
    try:
        return store.read(f"{BEATS}/{key}{RELEASED}") == _ALIVE
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Beat:
    """What a beat says.

    Attributes:
        running: names that were begun and are not over.
        rows: what was done.
        released: whether the chunk was given back.
    """

    running: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    released: bool = False


def read_beat(store: Store, key: str) -> Beat:
    """The last beat of a claim; an empty one if there is none, or a damaged one."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        content = json.loads(store.read(f"{BEATS}/{key}"))
        rows = tuple(
            Row(str(name), str(mark), int(clips), str(sha256), str(reason))
            for name, mark, clips, sha256, reason in content["rows"]
        )
        return Beat(tuple(map(str, content["running"])), rows, bool(content["released"]))
    return Beat()


def read_owner(store: Store, key: str) -> Mapping[str, Any]:
    """Host and process of a claim; nothing, of a damaged one."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        content = dict(json.loads(store.read(f"{CLAIMS}/{key}")))
        return {"host": str(content["host"]), "process": int(content["process"])}
    return {}


def clear(store: Store, claim: Claim) -> None:
    """Remove the beats of a chunk that is done."""
    for generation in range(1, claim.generation + 1):
        key = key_of(claim.chunk, generation)
        store.delete(f"{BEATS}/{key}")
        if generation > 1:  # the last one was not given back
            store.delete(f"{BEATS}/{key_of(claim.chunk, generation - 1)}{RELEASED}")


@dataclass
class Heartbeat:
    """Tells, from a thread, that a claim's process lives, what it runs and what it has done.

    Used with `with`; an error there gives the chunk back.

    Attributes:
        store, claim: where, and which.
        rows: what was done, by name.
        lost: whether the chunk is in other hands.
    """

    store: Store
    claim: Claim
    rows: dict[str, Row] = field(default_factory=dict)
    lost: bool = False

    def __post_init__(self) -> None:
        self.rows |= {row.name: row for row in self.claim.done}
        self._running: dict[str, None] = {}
        self._lock = threading.Lock()
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="kinema-heartbeat", daemon=True)

    def begun(self, name: str) -> None:
        """A video begins; it is named at once where a generation died."""
        with self._lock:
            self._running[name] = None
        if self.claim.alone:
            self._write()
        else:
            self._news.set()

    def ended(self, row: Row) -> None:
        """A video is over, and its file, if there is one, is in the store."""
        with self._lock:
            self._running.pop(row.name, None)
            self.rows[row.name] = row

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._news.set()
        self._thread.join()
        if error is not None and not self.lost:
            with contextlib.suppress(OSError):  # the error that ends the run is told, not this one
                self._write(released=True)
                release(self.store, self.claim.key)

    def _beat(self) -> None:
        next_key = f"{CLAIMS}/{key_of(self.claim.chunk, self.claim.generation + 1)}"
        while not self._over.is_set():
            # A store that fails now may work in time; if it does not, the claim grows stale.
            with contextlib.suppress(OSError):
                self._write()
            with contextlib.suppress(OSError):
                self.store.read(next_key)
                self.lost = True
                return
            begun = time.monotonic()
            self._over.wait(SOON_SECONDS)
            self._news.wait(max(BEAT_SECONDS - (time.monotonic() - begun), 0.0))
            self._news.clear()

    def _write(self, *, released: bool = False) -> None:
        with self._lock:
            content = {
                "running": [*self._running],
                "rows": [astuple(row) for row in self.rows.values()],
                "released": released,
            }
            self.store.write(f"{BEATS}/{self.claim.key}", json.dumps(content).encode())
