"""`prepare_shared`: what `prepare(shared=...)` does. Many processes, one store; see `sharing`.

    begin      the list and the settings are put down, or are found to be the same
    take_part  chunks of the list, until all are done: the clips of each video, a file of the store
    the end    each process puts the files together to its own `out`, in the dataset's order

Note [Bytes of a shared preparation]
    A file of the store depends on its video and the settings alone, and `out` is written from them
    as a single run writes it from its videos. So its bytes are a single run's, too, wherever the
    parts were made. Labels, classes and splits are each process's own: no part holds any.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from kinema.datasets.types import Sample
from kinema.features import run_file
from kinema.features.extractor import versions
from kinema.features.shared import check_names, stopped_by_sigterm
from kinema.files import remove_partial_files
from kinema.progress import Progress
from kinema.sharing import chunks
from kinema.sharing.loop import Begun, Shared, read_manifests, share
from kinema.sharing.manifests import DamagedManifest, Row, check_parquet
from kinema.sharing.on_ray import share_on_ray
from kinema.skipped import EngineError, Skipped
from kinema.store import Store, is_url, open_store
from kinema.threads import num_usable_cores
from kinema.training import clip_part
from kinema.training.clip_maker import ClipMaker, Made, num_frames
from kinema.training.clip_writer import StoreInUse, Written, written
from kinema.training.preparation import (
    Outcomes,
    Preparation,
    Prepared,
    PrepareReport,
    another_video,
    clips_of,
    write,
)
from kinema.training.streams import RGB
from kinema.video.loop import Reading, Video, each_video
from kinema.video.sources import Source, fingerprint, size_in_bytes
from kinema.words import some

FORMAT = "kinema-preparation-1"
"""Of the place: what its run.json and the parts beside it hold."""

NUM_READERS = 4
"""Parts that are read ahead while `out` is written."""

WAIT_SECONDS = 0.5
"""From one look at an `out` that another process writes to the next."""


@dataclass(frozen=True, kw_only=True)
class SharedPreparation:
    """A preparation that was begun: all that a process needs to take part in it.

    It can be pickled, and used on any machine that sees the videos and the place.

    Attributes:
        address: of the place, a folder or a URL.
        sources: the videos by their names; their paths are absolute.
        tested: names of the videos that a split tests on.
        maker: makes their clips.
        reading: how they are read.
        threads: videos that are read at once; None for one on each core.
    """

    address: str
    sources: Mapping[str, Source]
    tested: frozenset[str]
    maker: ClipMaker
    reading: Reading
    threads: int | None = None

    def store(self) -> Store:
        """The place."""
        return open_store(self.address, "shared")


def prepare_shared(
    preparation: Preparation,
    place: str | os.PathLike[str],
    *,
    ray: str | bool = False,
    progress: bool = False,
) -> PrepareReport:
    """Prepare the videos of a dataset, together with other processes that do the same.

    Args:
        preparation: what is prepared, and into which file; that one is this process's own, or one
            that it shares with others of its machine: then one of them writes it.
        place: a folder that all see, or its URL.
        ray: see `prepare`.
        progress: whether to show a progress bar on standard error.

    Raises:
        ValueError, ImportError, EngineError, OSError: see `prepare`.
    """
    report = preparation.report()
    report.shared = True
    if (there := _whole(preparation)) is not None:
        _tell(report, preparation, there)
        return report
    job, notes = begin(preparation, place)
    report.notes += notes
    with Progress(enabled=progress) as bar:
        found = _by_actors(ray, job, bar) if ray else take_part(job, bar)
        seconds = bar.seconds
    report.notes += found.notes
    with Progress(enabled=progress) as bar:
        _put_together(job, preparation, report, bar)
        report.seconds = seconds + bar.seconds
    report.num_done = found.num_done
    report.num_found = report.num_videos - len(report.skipped) - report.num_done
    report.num_bytes = preparation.out.stat().st_size
    if not is_url(place):  # what killed processes left, now that there is nothing else to do
        remove_partial_files(Path(place))
    return report


# --- the list and the settings --------------------------------------------------------------------


def begin(
    preparation: Preparation, place: str | os.PathLike[str]
) -> tuple[SharedPreparation, list[str]]:
    """Put down what is shared, or find it there; and what the user should know, a line each.

    Raises:
        ValueError: the place cannot be written to, or was begun with another list or settings.
        ImportError: a package is missing.
        OSError: the place does not answer.
    """
    check_parquet()
    address = os.fspath(place) if is_url(place) else os.path.abspath(place)
    if address == os.path.abspath(preparation.out):
        raise ValueError(
            f"`shared` {place} is `out`: name a folder that all processes see, and a file."
        )
    samples = preparation.dataset.samples
    sources = {
        sample.name: replace(sample.source, path=Path(os.path.abspath(sample.path)))
        for sample in samples
    }
    check_names(sources, clip_part.ENDING)
    job = SharedPreparation(
        address=address,
        sources=sources,
        tested=preparation.tested,
        maker=preparation.maker,
        reading=preparation.reading,
        threads=preparation.threads,
    )
    store = job.store()
    store.check()
    settings = {"streams": dict(RGB), "colours": "file", **job.maker.settings()}
    content = {"format": FORMAT, "settings": settings, "versions": versions()}
    there = store.settle("run.json", run_file.to_bytes(content))
    notes = run_file.check(store.address, there, content, name="shared")
    size_of = {name: source.path for name, source in sources.items()}
    chunks.begin(store, [*sources], lambda name: size_in_bytes(size_of[name]), _told_apart(job))
    return job, notes


def _told_apart(job: SharedPreparation) -> dict[str, object]:
    """By name, what else than the settings decides over the clips of a video."""
    found: dict[str, object] = {}
    for name, source in job.sources.items():
        if source.is_part:
            found[name] = [source.start_seconds, source.stop_seconds]
        if job.maker.clips == "five" and name in job.tested:
            found[name] = [found.get(name), "test"]
    return found


# --- the clips of each video ----------------------------------------------------------------------


def take_part(job: SharedPreparation, progress: Progress | None = None) -> Shared:
    """Make clips until those of all videos are in the place, by this process or another one.

    Args:
        job: of `begin`.
        progress: is told what is done, by whomever.

    Raises:
        EngineError: two processes made different clips of the same video.
        OSError: the place does not answer, or a disk is full.
    """
    store = job.store()

    def work(names: Sequence[str], begun: Begun) -> Generator[tuple[Row, bytes | None]]:
        def told() -> Iterator[Source]:
            for name in names:
                begun(name)
                yield job.sources[name]

        for source, result in _each(job, told()):
            if isinstance(result, Skipped):
                yield Row(source.name, reason=result.reason), None
            else:
                mark, made = result
                num_clips = clips_of(num_frames(made))
                yield Row(source.name, mark, num_clips), clip_part.to_bytes(made)

    with stopped_by_sigterm():
        return share(store, chunks.load(store), work, ending=clip_part.ENDING, progress=progress)


def _by_actors(cluster: str | bool, job: SharedPreparation, bar: Progress) -> Shared:
    """Let actors of a Ray cluster do it."""
    with stopped_by_sigterm():
        return share_on_ray(
            cluster,
            job.store(),
            job.address,
            lambda room: functools.partial(take_part, replace(job, threads=room.cpus)),
            paths=[str(source.path) for source in job.sources.values()],
            threads=job.threads,
            device="cpu",
            progress=bar,
        )


def _each(
    job: SharedPreparation, sources: Iterator[Source]
) -> Iterator[tuple[Source, tuple[str, Made] | Skipped]]:
    """The fingerprint and the clips of each video."""
    folder = Path(tempfile.gettempdir())

    def read(video: Video) -> list[tuple[str, Made]]:
        mark = fingerprint(video.source.path)
        tested = video.source.name in job.tested
        return [(mark, job.maker.make(video, mark, folder, tested=tested))]

    threads = job.threads or num_usable_cores()
    return each_video(sources, read, reading=job.reading, threads=threads)


# --- from the place to a file ---------------------------------------------------------------------


def _whole(preparation: Preparation) -> list[Written] | None:
    """What `out` holds, if it is whole and has these very videos.

    Raises:
        ValueError: it holds something else, or clips of other videos or settings.
    """
    out, samples = preparation.out, preparation.dataset.samples
    try:
        there = written(out, preparation.about)
    except StoreInUse:
        return None
    marks = {row.name: row.fingerprint for row in there or () if row.reason is None}
    known = [sample for sample in samples if sample.name in marks]
    with ThreadPoolExecutor(_NUM_LOOKING) as pool:
        for sample, mark in zip(known, pool.map(_mark, known), strict=True):
            if marks[sample.name] != mark:
                raise another_video(out, sample.name)
    return there if _has_all(there, samples) else None


_NUM_LOOKING = 16
"""Videos that are looked at at once, to see whether they are still the same."""


def _mark(sample: Sample) -> str:
    return fingerprint(sample.path)


def _has_all(there: Sequence[Written] | None, samples: Sequence[Sample]) -> bool:
    return {sample.name for sample in samples} <= {row.name for row in there or ()}


def _tell(report: PrepareReport, preparation: Preparation, there: Sequence[Written]) -> None:
    """Tell of an `out` that is whole."""
    reasons = {row.name: row.reason for row in there if row.reason is not None}
    report.skipped = [
        Skipped(str(sample.source), reasons[sample.name])
        for sample in preparation.dataset.samples
        if sample.name in reasons
    ]
    report.num_found = report.num_videos - len(report.skipped)
    report.num_bytes = preparation.out.stat().st_size


def _put_together(
    job: SharedPreparation, preparation: Preparation, report: PrepareReport, bar: Progress
) -> None:
    """Write `out`, or wait for the process that writes it."""
    samples = preparation.dataset.samples
    sizes = {sample.name: 1.0 for sample in samples}
    again: list[str] = []

    def outcomes(before: Mapping[str, str]) -> Outcomes:
        return _outcomes(job, samples, before, again)

    while True:
        try:
            there = written(preparation.out, preparation.about)
            if there is not None and _has_all(there, samples):
                _tell(report, preparation, there)
            else:
                write(preparation, report, outcomes, sizes=sizes, bar=bar, patience_seconds=0.0)
            break
        except StoreInUse:
            time.sleep(WAIT_SECONDS)
    if again:
        report.notes.append(
            f"damaged or gone in {job.address}, and made again: the clips of "
            f"{some(sorted(again), 'video')}."
        )


def _outcomes(
    job: SharedPreparation, samples: Sequence[Sample], before: Mapping[str, str], again: list[str]
) -> Outcomes:
    """What came of each video, from the manifests and the parts; some parts are read ahead."""
    store = job.store()

    def read(sample: Sample, row: Row) -> Prepared | Skipped:
        if row.reason:
            return Skipped(str(sample.source), row.reason)
        if row.name in before:
            return Prepared(row.fingerprint)
        return Prepared(row.fingerprint, clip_part.from_bytes(_part(job, store, row, again)))

    waiting: deque[tuple[Sample, Future[Prepared | Skipped]]] = deque()
    pool = ThreadPoolExecutor(NUM_READERS, thread_name_prefix="kinema-parts")
    try:
        for sample, row in zip(samples, _rows(store), strict=True):
            waiting.append((sample, pool.submit(read, sample, row)))
            if len(waiting) > NUM_READERS:
                first, result = waiting.popleft()
                yield first, result.result()
        for sample, result in waiting:
            yield sample, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _rows(store: Store) -> Iterator[Row]:
    """What the manifests say of each video, in the order of their names."""
    cut = chunks.load(store)
    found = read_manifests(store, cut, (), list)
    for chunk, read in itertools.zip_longest(range(len(cut)), found):
        if read is None or read[0] != chunk or isinstance(read[1], DamagedManifest):
            raise ValueError(
                f"{store}: the manifest of chunk {chunk} is damaged or gone; the same command "
                "does its videos again."
            )
        yield from read[1]


def _part(job: SharedPreparation, store: Store, row: Row, again: list[str]) -> bytes:
    """The clips of a video as the place has them; made again if they are damaged or gone."""
    name = f"{row.name}{clip_part.ENDING}"
    with contextlib.suppress(FileNotFoundError):
        data = store.read(name)
        if _sha256(data) == row.sha256:
            return data
        store.delete(name)
    ((_, result),) = _each(replace(job, threads=1), iter([job.sources[row.name]]))
    data = b"" if isinstance(result, Skipped) else clip_part.to_bytes(result[1])
    if _sha256(data) != row.sha256:
        why = result.reason if isinstance(result, Skipped) else "its clips are others now"
        raise EngineError(
            f"{store}/{name} is damaged or gone, and cannot be made again of {row.name}: {why}"
        )
    store.settle(name, data)
    again.append(row.name)
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
