"""`extract_shared`: what `extract(shared=True)` does. Many processes, one store; see `sharing`."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinema.features import run_file
from kinema.features.child import Child
from kinema.features.extraction_report import ExtractionReport
from kinema.features.remote import RemoteVideo, find_remote, has_urls, sizes
from kinema.features.shards import PACKING
from kinema.features.table_files import FORMATS
from kinema.files import remove_partial_files
from kinema.progress import Progress
from kinema.sharing import chunks
from kinema.sharing.loop import Begun, Shared, share
from kinema.sharing.manifests import Row, check_parquet
from kinema.sharing.on_ray import share_on_ray
from kinema.sharing.ray_cluster import Room
from kinema.skipped import Skipped
from kinema.store import Store, is_url, open_store
from kinema.video.sources import Source, find_videos, size_in_bytes
from kinema.words import some

SHARED_FORMATS = ("safetensors", "parquet", "hdf5")
"""Those of which a table is one file, so that it is there as a whole or not at all."""


def extract_shared(
    paths: Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    list_file: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any],
    format: str = "safetensors",
    shards: bool = False,
    keep_partial: bool = False,
    ray: str | bool = False,
    progress: bool = False,
) -> ExtractionReport:
    """Extract features, together with other processes that do the same.

    Args:
        paths, list_file, root, format, shards, keep_partial, ray, progress: see `extract`.
        out: a folder that all processes see, or its URL.
        settings: the arguments of `Extractor`.

    Raises:
        ValueError, ImportError, FileNotFoundError, OSError: see `extract`.
        EngineError: two processes made different features of the same video.
    """
    if shards and format != "safetensors":
        raise ValueError(
            f"`shards` are Parquet files of many videos: leave `format` {format} out, or `shards`."
        )
    if format not in SHARED_FORMATS:
        raise ValueError(
            f"`format` of a shared run must be one of {', '.join(SHARED_FORMATS)}, of which a "
            f"table is one file; got {format!r}."
        )
    check_parquet()
    store = open_store(out)
    videos, notes = _find(paths, list_file, root)
    listed = any(isinstance(video, Source) and video.starts for video in videos.values())
    if listed:
        settings["plan"].check_listed()
    check_names(videos, FORMATS[format].ending)
    store.check()
    run = {"format": format, "keep_partial": keep_partial, "listed": listed, "shards": shards}
    job = SharedExtraction(os.fspath(out), videos, settings, run)
    with Progress(enabled=progress) as bar, stopped_by_sigterm():
        found = _on_ray(ray, store, job, bar) if ray else job(bar)
        report = ExtractionReport(store.address, len(videos), shared=True)
        report.num_done, report.num_clips = found.num_done, found.num_clips
        report.skipped = [Skipped(row.name, row.reason) for row in found.skipped]
        report.num_found = max(len(videos) - len(report.skipped) - report.num_done, 0)
        report.partial = found.partial
        report.notes = [*notes, *found.notes]
        report.seconds = bar.seconds
    if not is_url(out):  # what killed processes left, now that there is nothing else to do
        remove_partial_files(Path(out))
    return report


@dataclass(frozen=True)
class SharedExtraction:
    """One process's part in a shared extraction, which may be another machine's: all is pickled.

    Attributes:
        out: a folder that all processes see, or its URL.
        videos: by their names.
        settings: the arguments of `Extractor`.
        run: those of `run_file.content` beside it.
    """

    out: str
    videos: Mapping[str, Source | RemoteVideo]
    settings: Mapping[str, Any]
    run: Mapping[str, Any]

    def __call__(self, progress: Progress) -> Shared:
        """Take part until all videos are done, by whomever.

        Raises:
            ValueError: `out` was begun with other settings or another list.
            EngineError: two processes made different features of the same video.
            OSError: the store does not answer.
        """
        store = open_store(self.out)
        plan, videos = self.settings["plan"], self.videos
        starts = {n: v.starts for n, v in videos.items() if isinstance(v, Source) and v.starts}
        video_seconds = self.settings["reading"].video_seconds
        with (
            Child(self.settings, self.run, video_seconds=video_seconds) as child,
            tempfile.TemporaryDirectory(prefix="kinema-fetched-") as fetched,
            stopped_by_sigterm(),
        ):
            there = store.settle("run.json", run_file.to_bytes(child.content))
            notes = run_file.check(store.address, there, child.content)
            cut = chunks.begin(store, [*videos], _size_of(videos), starts)
            fewer: list[str] = []

            def work(names: Sequence[str], begun: Begun) -> Generator[tuple[Row, bytes | None]]:
                places = {name: Path(fetched, str(i)) for i, name in enumerate(names)}
                jobs = [(name, _bringing(videos[name], places[name])) for name in names]
                with contextlib.closing(child.rows(jobs, begun)) as rows:
                    for row, data in rows:
                        shutil.rmtree(places[row.name], ignore_errors=True)
                        if data is not None and row.num_clips < (plan.clips or 0):
                            fewer.append(f"{row.name} ({row.num_clips})")
                        yield row, data

            ending = FORMATS[self.run["format"]].ending
            packing = PACKING if self.run["shards"] else None
            found = share(store, cut, work, ending=ending, packing=packing, progress=progress)
            found.partial = child.partial
        found.notes = [*notes, *found.notes]
        if fewer:
            found.notes.append(
                f"{some(fewer, 'video')} too short for {plan.clips} different clips: each that "
                "there is was taken once."
            )
        return found


def _on_ray(cluster: str | bool, store: Store, job: SharedExtraction, bar: Progress) -> Shared:
    """Let actors of a Ray cluster do it."""
    settings = job.settings
    out = job.out if is_url(job.out) else os.path.abspath(job.out)
    videos = {name: _absolute(video) for name, video in job.videos.items()}

    def job_of(room: Room) -> SharedExtraction:
        # All actors compute with the same, or their bytes differ.
        own = {"threads": room.cpus, "device": "cuda" if room.gpus else "cpu"}
        return replace(job, out=out, videos=videos, settings={**settings, **own})

    return share_on_ray(
        cluster,
        store,
        out,
        job_of,
        paths=[str(video.path) for video in videos.values() if isinstance(video, Source)],
        threads=settings["threads"],
        device=settings["device"],
        sheds=not job.run["shards"],
        progress=bar,
    )


def _absolute(video: Source | RemoteVideo) -> Source | RemoteVideo:
    return replace(video, path=video.path.absolute()) if isinstance(video, Source) else video


def _find(
    paths: Sequence[str | os.PathLike[str]],
    list_file: str | os.PathLike[str] | None,
    root: str | os.PathLike[str] | None,
) -> tuple[dict[str, Source | RemoteVideo], list[str]]:
    """The videos by their names, and what the user should know of them."""
    if has_urls(paths, list_file):
        return {video.name: video for video in find_remote(paths, list_file, root)}, []
    sources = find_videos(paths, list_file, root=root)
    return {source.name: source for source in sources}, [*sources.notes]


def check_names(videos: Iterable[str], ending: str) -> None:
    """Refuse names of videos whose files would not lie in the store, or in the place of another.

    Args:
        videos: their names.
        ending: of the files' names.
    """
    for name in videos:
        if ".." in name.split("/"):
            raise ValueError(f"a video called `{name}` would leave the folder: rename it.")
        if f"{name}{ending}" == "run.json" or name.startswith("_shared/"):
            raise ValueError(
                f"a video called `{name}` would take the place of a file of the run: rename it."
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"the name {name!r} is no UTF-8, which names of a shared run must be: rename it."
            ) from None


def _size_of(videos: Mapping[str, Source | RemoteVideo]) -> Callable[[str], int]:
    @functools.cache
    def remote() -> dict[str, int]:
        return sizes(video for video in videos.values() if isinstance(video, RemoteVideo))

    def size(name: str) -> int:
        video = videos[name]
        return size_in_bytes(video.path) if isinstance(video, Source) else remote()[name]

    return size


def _bringing(video: Source | RemoteVideo, folder: Path) -> Callable[[], Source]:
    """What brings a video to this machine."""
    if isinstance(video, Source):
        return lambda: video
    return lambda: video.bring(folder)


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Schedulers end a job by SIGTERM: its chunk is given back, as with Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
