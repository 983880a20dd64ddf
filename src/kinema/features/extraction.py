"""`extract`: videos to `FeatureTable`s on disk, safely.

One video is one file. A run can be stopped at any moment and the same command goes on; a bad video
costs one line in `skipped.jsonl`. Decoding and preprocessing run in a thread beside the network,
see `loop`. What the bytes of a table depend on stands in Note [Same bytes] of `extractor`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kinema.features import run_file
from kinema.features.extraction_report import ExtractionReport
from kinema.features.extractor import Batch, Extractor
from kinema.features.shared import extract_shared
from kinema.features.table import FeatureTable
from kinema.features.table_files import FORMATS, check_format
from kinema.files import (
    NewerFormat,
    append_line,
    atomic_path,
    exclusively,
    locked_folder,
    remove_partial_files,
)
from kinema.progress import Progress
from kinema.skipped import Skipped, VideoError
from kinema.store import is_url
from kinema.video.clips import ClipPlan
from kinema.video.loop import Reading
from kinema.video.sources import Source, find_videos, size_in_bytes
from kinema.video.steps import walk
from kinema.weights.several import AnyWeights, resolve_all
from kinema.words import some


def extract(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    *,
    out: str | os.PathLike[str],
    list: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    weights: AnyWeights | Sequence[AnyWeights] = "c3d-mini",
    layer: str = "fc6",
    stride: int | None = None,
    sampling_rate: int = 1,
    fps: float | None = None,
    clips: int | None = None,
    every: float | None = None,
    crops: int = 1,
    short: str = "pad",
    mean: Any = None,
    format: str = "safetensors",
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    batch: int = 8,
    max_skipped: int = 0,
    keep_partial: bool = False,
    colours: str = "file",
    video_seconds: float | None = None,
    shared: bool = False,
    shards: bool = False,
    ray: str | bool = False,
    progress: bool = False,
) -> ExtractionReport:
    """Extract features of videos into a folder, one file a video.

    The folder can be the one of an earlier run that was stopped: what is there is kept, if it was
    made with the same settings. `run.json` holds the settings, `skipped.jsonl` one line for each
    video that could not be used.

    Args:
        paths: video files, folders of pictures (000001.jpg, ...), folders to search for videos.
        out: the folder to write to.
        list: a text file with more videos, one path a line, or C3D's `path start label` lines.
        root: the folder that the names of the written files start from; None for the deepest one
            that holds all videos. With it, parts of a list give the same names as the whole.
        weights: a name (`kinema weights list`), a file, or `Weights`. "A+B" puts the features of
            two nets side by side, each of length 1.
        layer: whose output is the feature.
        stride: frames from the start of one clip to the start of the next; None for 8.
        sampling_rate: every how many-th frame goes into a clip.
        fps: frames a second that are taken, by the times of the video; None for the video's own.
            See Note [Instants] of `video.timeline`.
        clips: so many clips, evenly over the video, instead of a stride.
        every: a clip every so many seconds instead. See Note [Other samplings] of `video.plan`.
        crops: 1, 5 or 10 of each clip, whose mean is its features. See Note [Crops] of
            `video.crops`.
        short: "pad" or "skip", for videos shorter than a clip; see Note [Tail and short videos].
        mean: what to subtract, for weights that carry none or to replace theirs: a file, "B,G,R"
            or an array.
        format: "safetensors", "npy", "parquet", "hdf5" or "c3d" (the original's files).
        device, engine, precision, threads: see `Engine`.
        batch: clips that go through the network at once.
        max_skipped: more skipped videos than this make the command line exit with 1; here, see
            the report.
        keep_partial: keep the rows before the frame at which a video breaks, marked as partial.
        colours, video_seconds: see `loop.Reading`.
        shared: share the list with other processes, on any machines, that are started with the same
            arguments: `out` is a folder that all of them see, or a URL (s3://bucket/folder), and
            paths and `list` may be or hold URLs. See Note [Shared work] of `sharing`.
        shards: write a Parquet file for 16 to 256 videos (`shards/000012.parquet`) in place of a
            file a video; with `shared` or `ray` only. `ExtractedTables` reads them. See Note [One
            file a chunk] of `sharing.shards`.
        ray: let actors of a Ray cluster share the list: its address, or True for the one that this
            machine is part of, or else for one that is started here. `threads` are those of an
            actor. See Note [Actors that are replaced] of `sharing.on_ray`.
        progress: whether to show a progress bar on standard error.

    Returns:
        What was done and what was skipped.

    Raises:
        ValueError: a setting is wrong, no video was found, or `out` was made with other settings.
        FileNotFoundError: one of `paths`, the list, weights or mean are missing. (A video that a
            list names is skipped.)
        OSError: the disk is full, or `out` cannot be written.

    Example:
        >>> import kinema
        >>> from kinema.video.synthetic import draw_video, write_video
        >>> write_video("videos/a.mp4", draw_video("clockwise", seed=0, num_frames=32))
        >>> report = kinema.extract("videos", out="features")
        >>> report.num_done, report.num_clips
        (1, 3)
        >>> kinema.FeatureTable.load("features/a.mp4.safetensors")
        FeatureTable('a.mp4', fc6: 3 clips x 512)
    """
    if max_skipped < 0:
        raise ValueError(f"`max_skipped` must not be negative, got {max_skipped}.")
    check_format(format)
    if shards and not (shared or ray):
        raise ValueError("`shards` are written by shared runs alone; give `shared` or `ray`.")
    plan = _plan(
        stride, sampling_rate=sampling_rate, short=short, fps=fps, clips=clips, every=every
    )
    if fps is not None and format == "c3d":
        raise ValueError(
            f"`fps` {fps}: files of the format c3d are named by the first frame, at which several "
            "clips may start then; choose another `format`."
        )
    if keep_partial and clips is not None:
        raise ValueError(
            f"`clips` {clips} are spread over a whole video, so one that breaks has no part to be "
            "kept: leave `keep_partial` out."
        )
    named = [paths] if isinstance(paths, str | os.PathLike) else [*paths]
    nets = resolve_all(weights)
    settings: dict[str, Any] = {
        "weights": nets,
        "layer": layer,
        "plan": replace(plan, length=nets[0].network.input_shape[1]),
        "mean": mean,
        "device": device,
        "engine": engine,
        "precision": precision,
        "threads": threads,
        "batch": batch,
        "reading": Reading(colours, video_seconds),
        "crops": crops,
    }
    if shared or ray:
        return extract_shared(
            named,
            out=out,
            list_file=list,
            root=root,
            settings=settings,
            format=format,
            shards=shards,
            keep_partial=keep_partial,
            ray=ray,
            progress=progress,
        )
    if url := next(filter(is_url, [*named, out, list or "", root or ""]), None):
        raise ValueError(f"{url}: URLs are taken by shared runs alone; give `shared` (--shared).")
    sources = find_videos(named, list, root=root)
    if any(source.starts is not None for source in sources):
        plan.check_listed()
    extractor = Extractor(**settings)
    out = Path(out)
    run = _Run(out, sources, extractor, format=format, keep_partial=keep_partial)
    run.report.notes += sources.notes
    with locked_folder(out, shared=True), Progress(enabled=progress) as bar:
        run.prepare()
        run.carry_out(bar)
        run.tell_fewer()
        run.report.seconds = bar.seconds
    return run.report


def _plan(stride: int | None, **other: Any) -> ClipPlan:
    """The plan of some clips; a stride beside what takes its place is refused."""
    plan = ClipPlan(**other) if stride is None else ClipPlan(stride=stride, **other)
    for name in ("clips", "every"):
        if stride is not None and (value := getattr(plan, name)) is not None:
            raise ValueError(
                f"`stride` {stride} and `{name}` {value:g} both choose where clips start: give one "
                "of them."
            )
    return plan


class _Run:
    """One run of `extract` over one folder."""

    def __init__(
        self,
        out: Path,
        sources: Sequence[Source],
        extractor: Extractor,
        *,
        format: str,
        keep_partial: bool,
    ) -> None:
        self.out = out
        self.sources = sources
        self.extractor = extractor
        self.format = format
        self.keep_partial = keep_partial
        self.report = ExtractionReport(out, len(sources))
        self._fewer: list[str] = []
        self._skipped_path = out / "skipped.jsonl"
        self._own_files = {self._skipped_path, out / "run.json"}

    def prepare(self) -> None:
        """Compare the settings with those of the run before, and tidy up after it."""
        for source in self.sources:
            written = {self._path(source)}
            if self.format == "npy":
                written.add(self._path(source).with_suffix(".json"))
            if written & self._own_files:
                raise ValueError(
                    f"a video called `{source.name}` cannot be extracted to {self.format}: it "
                    "would take the place of a file of the run. Rename it, or choose another "
                    "`format`."
                )
        content = run_file.content(
            self.extractor,
            format=self.format,
            keep_partial=self.keep_partial,
            listed=any(source.starts is not None for source in self.sources),
        )
        with exclusively(self.out):
            self._begin(content)
            remove_partial_files(self.out)
            # Videos that were skipped before are tried again; lines of other videos stay.
            paths = {str(source.path) for source in self.sources}
            self._rewrite_skipped(lambda path: path not in paths)

    def _begin(self, content: Mapping[str, Any]) -> None:
        """Refuse other settings than the folder's; write these down if it has none."""
        path = self.out / "run.json"
        if path.is_file():
            there = path.read_bytes()
            self.report.notes += run_file.check(self.out, there, content, self._check_not_newer)
        else:
            with atomic_path(path) as partial:
                partial.write_bytes(run_file.to_bytes(content))

    def _check_not_newer(self) -> None:
        """Refuse a folder that a newer version wrote, by the first table there."""
        tables = map(self._path, self.sources)
        if (first := next(filter(os.path.exists, tables), None)) is not None:
            try:
                FeatureTable.load(first)
            except NewerFormat:
                raise
            except Exception:  # told when it is this video's turn
                pass

    def _rewrite_skipped(self, is_kept: Callable[[str], bool]) -> None:
        """Keep the lines of some videos, by path, each once and sorted."""
        if not self._skipped_path.is_file():
            return
        kept = {}
        for line in self._skipped_path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a kill can cut a line off
                path = json.loads(line)["path"]
                if is_kept(path):
                    kept[path] = line + "\n"
        with atomic_path(self._skipped_path) as partial:
            partial.write_text("".join(kept[path] for path in sorted(kept)), encoding="utf-8")

    def carry_out(self, bar: Progress) -> None:
        sizes = {source: size_in_bytes(source.path) for source in self.sources}
        bar.start(len(self.sources), sum(sizes.values()))

        def advance(source: Source, batch: Batch) -> None:
            bar.advance(num_clips=len(batch.clips), size=sizes[source] * batch.progress)

        step = self.extractor.step(
            find=self._found, keep_partial=self.keep_partial, advance=advance
        )
        for source, (made,) in walk(self.sources, [step], **self.extractor.walking):
            found = not isinstance(made, Skipped) and made.found
            if isinstance(made, Skipped):
                self._skip(made)
            else:
                self._note_fewer(source, made.value)
                if found:
                    self.report.num_found += 1
                else:
                    self._write(source, made.value)
            bar.finish_video(size=sizes[source], found=found)
        with exclusively(self.out):  # in an order that does not tell who was quicker
            self._rewrite_skipped(lambda path: True)

    def _note_fewer(self, source: Source, table: FeatureTable) -> None:
        if len(table) < (self.extractor.plan.clips or 0):
            self._fewer.append(f"{source.name} ({len(table)})")

    def tell_fewer(self) -> None:
        """A note of the videos that have fewer clips than were asked for."""
        if self._fewer:
            self.report.notes.append(
                f"{some(self._fewer, 'video')} too short for {self.extractor.plan.clips} "
                "different clips: each that there is was taken once."
            )

    def _path(self, source: Source) -> Path:
        return self.out / f"{source.name}{FORMATS[self.format].ending}"

    def _found(self, source: Source, video_fingerprint: str) -> FeatureTable | None:
        """The table that an earlier run wrote."""
        path = self._path(source)
        if not os.path.exists(path):
            return None
        try:
            table = FeatureTable.load(path)
        except NewerFormat as error:
            raise VideoError(f"{error} Update Kinema, or choose another `out`.") from None
        except ValueError:  # damaged since: it is made anew
            _remove_table(path)
            return None
        if table.about.get("video_fingerprint") != video_fingerprint:
            raise VideoError(
                f"{path} holds features of another video of this name; "
                "delete it, or choose another `out`."
            )
        starts = table.start_frame.tolist()
        wanted = starts if source.starts is None else [*source.starts]
        if table.about.get("partial"):
            wanted = [start for start in wanted if start in starts]
        if starts != wanted:
            raise VideoError(
                f"{path} holds other clips than the list names; delete it, or choose another `out`."
            )
        return table

    def _write(self, source: Source, table: FeatureTable) -> None:
        try:
            table.save(self._path(source), self.format)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _FAULTS_OF_A_NAME:
                raise
            self._skip(Skipped.of(source, error))
            return
        self.report.num_done += 1
        self.report.num_clips += len(table)
        if table.about["partial"]:
            self.report.partial.append(source.name)

    def _skip(self, skipped: Skipped) -> None:
        with exclusively(self.out):
            append_line(self._skipped_path, json.dumps(skipped.as_mapping()))
        self.report.skipped.append(skipped)


_FAULTS_OF_A_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
"""Errors of writing that concern one video; others (a full disk) would meet the next one too."""


def _remove_table(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
