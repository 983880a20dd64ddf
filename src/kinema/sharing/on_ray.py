"""`run_on_ray`: actors of a Ray cluster take part in a shared run, and this process watches them.

Note [Actors that are replaced]
    Each actor goes through the same `loop.share` as any process of a shared run, and what they
    share lies in the store; Ray finds machines for them and says when one is gone. Actors do not
    restart themselves. One that dies, with its machine perhaps, is replaced by a new one, wherever
    there is room, and its chunk is given to others at once instead of when its claim grows stale.
    Two or more always wait for room, as long as there are chunks for them: so the run follows a
    cluster that grows, and tells one that can grow that more is wanted.

    An actor that is gone for us may live on, cut off from Ray; that costs time and nothing else, as
    with any claim.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from kinema.progress import Progress
from kinema.sharing import chunks, claims, manifests
from kinema.sharing.chunks import Chunks
from kinema.sharing.claims import Seen
from kinema.sharing.loop import Shared, look
from kinema.sharing.ray_cluster import (
    Job,
    Room,
    connected,
    everywhere,
    first_line,
    room_for,
)
from kinema.sharing.ray_metrics import Metered, Shown, gauge
from kinema.skipped import EngineError
from kinema.store import Store
from kinema.words import number_of

POLL_SECONDS = 3.0
"""From one look at the store to the next."""

LONELY_SECONDS = 30.0
"""Without an actor, after which the user is told what they wait for; and again."""

NUM_FAILURES = 5
"""So many actors that fail in a row, nothing done between them, end the run."""

MOST_WAIT_SECONDS = 60.0
"""Before an actor that failed is replaced, at most; it doubles from half a second."""

DEATH_SECONDS = 5.0
"""Until actors that are ended are gone."""

STRAGGLER = 2.0
"""So many times as long as the median chunk, and a chunk is given to another, idle actor."""

IS_THE_SAME_EVERYWHERE = (ValueError, TypeError, ImportError, EngineError)
"""Errors of a job that other actors would meet too."""


def share_on_ray(
    cluster: str | bool,
    store: Store,
    address: str,
    job_of: Callable[[Room], Job],
    *,
    paths: Sequence[str],
    threads: int | None,
    device: str,
    sheds: bool = True,
    progress: Progress,
) -> Shared:
    """Connect to a cluster, and let actors there do a shared run.

    Args:
        cluster: its address, or True, see `connected`.
        store, address: where all is shared.
        job_of: what each actor does in the room that it has.
        paths: files here that all machines must see.
        threads, device: what an actor asks for, see `room_for`.
        sheds, progress: see `run_on_ray`.

    Raises:
        ImportError, ValueError: see `connected`.
        ValueError, ImportError, EngineError, OSError: see `run_on_ray`.
    """
    with connected(cluster) as ray:
        room = room_for(ray, threads, device)
        with everywhere(store, address, paths, job_of(room)) as job:
            return run_on_ray(ray, store, job, room, sheds=sheds, progress=progress)


def run_on_ray(
    ray: ModuleType,
    store: Store,
    job: Job,
    room: Room,
    *,
    sheds: bool = True,
    progress: Progress,
) -> Shared:
    """Do a shared run by actors, until all chunks are done.

    Args:
        ray: connected.
        store: where all is shared.
        job: what each actor does.
        room: what it asks of its machine.
        sheds: whether slow chunks are given to idle actors; not where those begin them anew.
        progress: is told what is done.

    Returns:
        What is known of the run; `num_done` and `num_clips` are what was done while it went on.

    Raises:
        ValueError, ImportError, EngineError, OSError: what a job raised, with its machine.
    """
    crew = _Crew(ray, store, job, room)
    shown = Shown(store, progress)
    parts: Chunks | None = None
    found = Shared(0)
    try:
        while True:
            crew.hear(POLL_SECONDS if parts else 0.3)
            if parts is None and crew.has_begun():
                parts = _load(store)
                if parts is not None:
                    found.num_videos = len(parts.names)
                    look(store, parts, found)
                    shown.start(parts, found)
            if parts is not None:
                seen = look(store, parts, found)
                # One job at least must have seen it too: it has compared the settings.
                if len(found.rows) == len(parts) and crew.num_ended:
                    crew.end_in_order()
                    shown.show(parts, found, {})
                    break
                crew.give_chunks_of_the_dead(found, seen)
                if sheds:
                    crew.shed(parts, found, seen)
                if shown.show(parts, found, seen):
                    crew.num_failures = 0
            crew.fill(1 if parts is None else max(len(parts) - len(found.rows), 1))
            crew.tell_if_lonely(progress)
    except BaseException:
        crew.kill()
        if parts is not None:
            with contextlib.suppress(OSError):
                crew.give_chunks_of_the_dead(found, claims.look(store))
        raise
    found.num_done, found.num_clips = shown.num_done, shown.num_clips
    found.partial = crew.partial
    found.notes += [note for note in dict.fromkeys(crew.notes) if note not in found.notes]
    return found


def _load(store: Store) -> Chunks | None:
    try:
        return chunks.load(store)
    except FileNotFoundError:  # the first actor makes it
        return None


@dataclass
class _Actor:
    """An actor, from when it is asked for.

    Attributes:
        handle: Ray's.
        is_there, result: what tells where it runs, and what becomes of its job.
        host, process: where it runs, once that is known.
    """

    handle: Any
    is_there: Any
    result: Any
    host: str = ""
    process: int = 0

    def __str__(self) -> str:
        return self.host or "a machine that did not say which"


@dataclass
class _Crew:
    """The actors. See Note [Actors that are replaced]."""

    ray: ModuleType
    store: Store
    job: Job
    room: Room
    notes: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    num_failures: int = 0
    num_ended: int = 0

    def __post_init__(self) -> None:
        self._class = self.ray.remote(num_cpus=self.room.cpus, num_gpus=self.room.gpus)(_Worker)
        self._reference = self.ray.put(self.job)  # comes to each machine once
        self._actors: list[_Actor] = []
        self._dead: set[tuple[str, int]] = set()
        self._shed: set[int] = set()
        self._not_before = 0.0
        self._last_there = time.monotonic()
        self._actors_gauge = gauge("actors", "Actors that run.")

    # --- who is there ---

    def _there(self) -> list[_Actor]:
        return [actor for actor in self._actors if actor.host]

    def has_begun(self) -> bool:
        """Whether an actor runs, or did."""
        return bool(self._there() or self._dead)

    def fill(self, num_chunks: int) -> None:
        """Ask for actors where there may be room, as long as chunks are left for them."""
        there = len(self._there())
        waiting = len(self._actors) - there
        wanted = min(max(2, there // 2) - waiting, num_chunks - len(self._actors))
        if time.monotonic() < self._not_before:
            return
        for _ in range(wanted):
            handle = self._class.remote(self._reference)
            self._actors.append(_Actor(handle, handle.where.remote(), handle.run.remote()))

    def tell_if_lonely(self, progress: Progress) -> None:
        """Say what is waited for, where no actor runs."""
        now = time.monotonic()
        if self._there():
            self._last_there = now
        elif now - self._last_there > LONELY_SECONDS:
            self._last_there = now
            has = self.ray.cluster_resources()
            progress.say(
                f"no actor runs: each asks for {self.room}; the cluster has "
                f"{number_of(int(has.get('CPU', 0)), 'core')} and {int(has.get('GPU', 0))} GPUs, "
                "some of which others may use. --threads and --device say what to ask for."
            )

    # --- what they say ---

    def hear(self, seconds: float) -> None:
        """Wait for news of actors, and take them in."""
        awaited = [_awaited(actor) for actor in self._actors]
        if not awaited:
            time.sleep(min(seconds, 0.5))
            return
        ready, _ = self._wait(awaited, seconds)
        while ready:
            for actor in [each for each in self._actors if _awaited(each) in ready]:
                self._take(actor, ready)
            awaited = [_awaited(actor) for actor in self._actors]
            ready, _ = self._wait(awaited, 0.0)
        if self._actors_gauge:
            self._actors_gauge.set(len(self._there()))

    def _take(self, actor: _Actor, ready: list[Any]) -> None:
        try:
            if not actor.host and actor.is_there in ready:
                actor.host, actor.process = self.ray.get(actor.is_there)
                self._dead.discard((actor.host, actor.process))  # its number is used again
            elif actor.result in ready:
                self._take_result(actor, self.ray.get(actor.result))
        except self.ray.exceptions.RayTaskError as error:
            self._failed(actor, error.cause, why=first_line(error.cause))
        except self.ray.exceptions.RayError as error:
            self._failed(actor, None, why=_death(error))

    def _take_result(self, actor: _Actor, found: Shared) -> None:
        """A job is over: all chunks are done."""
        self.notes += found.notes
        self.partial += found.partial
        self.num_ended += 1
        self._actors.remove(actor)

    def _failed(self, actor: _Actor, error: Exception | None, why: str) -> None:
        self._actors.remove(actor)
        if actor.host:
            self._dead.add((actor.host, actor.process))
        with contextlib.suppress(Exception):  # it may be dead indeed
            self.ray.kill(actor.handle)
        if isinstance(error, IS_THE_SAME_EVERYWHERE):
            if isinstance(error, ImportError):
                raise ImportError(f"{actor.host}: {error}") from None
            raise error
        self.notes.append(f"an actor on {actor} is gone ({why}); another one took its place.")
        self.num_failures += 1
        if self.num_failures >= NUM_FAILURES:
            raise EngineError(
                f"{self.num_failures} actors failed one after the other, the last one on {actor}: "
                f"{why} What was done is kept."
            )
        wait = min(0.5 * 2 ** (self.num_failures - 1), MOST_WAIT_SECONDS)
        self._not_before = time.monotonic() + (wait if self.num_failures > 1 else 0.0)

    def end_in_order(self) -> None:
        """All is done: hear what those say who see it themselves, and end the others."""
        waiting = [actor for actor in self._actors if not actor.host]
        for actor in waiting:
            self._actors.remove(actor)
            self.ray.kill(actor.handle)
        until = time.monotonic() + 3 * POLL_SECONDS
        while self._actors and time.monotonic() < until:
            with contextlib.suppress(*IS_THE_SAME_EVERYWHERE):  # all is done nevertheless
                self.hear(until - time.monotonic())
        self.kill()

    def kill(self) -> None:
        """End all actors, and see them end, so that they claim nothing more."""
        ready, _ = self._wait([actor.is_there for actor in self._actors if not actor.host], 0.0)
        for actor in self._actors:
            with contextlib.suppress(Exception):
                if actor.is_there in ready:
                    actor.host, actor.process = self.ray.get(actor.is_there)
            if actor.host:
                self._dead.add((actor.host, actor.process))
            with contextlib.suppress(Exception):
                self.ray.kill(actor.handle)
        results = [actor.result for actor in self._actors if actor.host]
        self._wait(results, DEATH_SECONDS, number=len(results))
        self._actors.clear()

    def _wait(self, awaited: list[Any], seconds: float, number: int = 1) -> Any:
        if not awaited:
            return [], []
        return self.ray.wait(awaited, timeout=seconds, num_returns=number)

    # --- whose chunks others take ---

    def give_chunks_of_the_dead(self, found: Shared, seen: Mapping[int, Seen]) -> None:
        """Give back what dead actors had claimed."""
        if not self._dead:
            return
        for chunk, last in seen.items():
            if chunk in found.rows or last.released:
                continue
            key = claims.key_of(chunk, last.generation)
            owner = claims.read_owner(self.store, key)
            if (owner.get("host"), owner.get("process")) in self._dead:
                claims.release(self.store, key)

    def shed(self, parts: Chunks, found: Shared, seen: Mapping[int, Seen]) -> None:
        """Give chunks that take far longer than others to actors that have nothing to do."""
        now = self.store.now()
        left = [chunk for chunk in range(len(parts)) if chunk not in found.rows]
        held = [chunk for chunk in left if chunk in seen and not seen[chunk].is_free(now)]
        if len(held) < len(left) or len(held) >= len(self._there()):
            return  # there is something to do, or nobody to do it
        begun = self.store.times(claims.CLAIMS)
        typical = _typical_seconds(self.store, parts, seen, begun)
        for chunk in held:
            key = claims.key_of(chunk, seen[chunk].generation)
            size = parts.sizes[chunk]
            if chunk in self._shed or typical is None or key not in begun:
                continue
            if now - begun[key] < STRAGGLER * typical * max(size, 1) + POLL_SECONDS:
                continue
            beat = claims.read_beat(self.store, key)
            if len(beat.rows) + len(beat.running) < len(parts[chunk]):  # something can be handed on
                self._shed.add(chunk)
                claims.release(self.store, key, alive=True)


def _awaited(actor: _Actor) -> Any:
    return actor.result if actor.host else actor.is_there


def _typical_seconds(
    store: Store, parts: Chunks, seen: Mapping[int, Seen], begun: Mapping[str, float]
) -> float | None:
    """Median seconds that a byte of a chunk took; None if no chunk is done."""
    spans = []
    for name, ended in store.times(manifests.FOLDER).items():
        chunk = manifests.chunk_of(name)
        if chunk is not None and chunk in seen and chunk < len(parts):
            key = claims.key_of(chunk, seen[chunk].generation)
            if key in begun:
                spans.append((ended - begun[key]) / max(parts.sizes[chunk], 1))
    return statistics.median(spans) if spans else None


def _death(error: Exception) -> str:
    """Why an actor is gone, in a few words."""
    text = str(error)
    if "OutOfMemory" in type(error).__name__ or "OOM" in text:
        return "its machine was out of memory"
    if "Node" in type(error).__name__ or "node died" in text:
        return "its machine is gone"
    cause = [line for line in text.splitlines() if "rror" in line.partition(":")[0]]
    return cause[-1].strip() if cause else first_line(error)


# --- in an actor ----------------------------------------------------------------------------------


class _Worker:
    """What an actor is."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def where(self) -> tuple[str, int]:
        """Host and process, as its claims name them."""
        return socket.gethostname(), os.getpid()

    def run(self) -> Shared:
        """Take part until all is done."""
        with Metered() as progress:
            return self._job(progress)
