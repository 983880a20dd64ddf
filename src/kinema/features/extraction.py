"""`extract`: videos to `FeatureTable`s on disk, safely.

One video is one file. A run can be stopped at any moment and the same command goes on; a bad video
costs one line in `skipped.jsonl`. Decoding and preprocessing run in a thread beside the network,
see `loop`.

Note [Same bytes]
    The bytes of a table depend on the video, the settings and the engine alone: not on what was
    extracted before, on the time of day or on where the folder lies. Batches therefore never mix
    videos, and tables carry no dates and no absolute paths.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import av
import cv2
import numpy as np

import kinema
from kinema.engine.engine import Engine
from kinema.features.table import FORMATS, ROW_COLUMNS, FeatureTable, check_format
from kinema.files import (
    append_line,
    atomic_path,
    cache_file,
    exclusively,
    locked_folder,
    remove_partial_files,
)
from kinema.network import architecture_key
from kinema.progress import Progress
from kinema.skipped import Skipped, VideoError
from kinema.video.clips import Clip, ClipPlan, preprocess, resize_frame, stream_clips
from kinema.video.loop import PLAIN, Reading, Video, each_video
from kinema.video.sources import Source, as_source, find_videos, fingerprint, size_in_bytes
from kinema.weights import file as weights_room
from kinema.weights.file import Weights
from kinema.weights.means import load_mean

# --- one video ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips of one video, ready for the network, and how far into the video they reach."""

    inputs: np.ndarray  # (N, 3, T, H, W) float32
    clips: list[Clip]  # without their images
    progress: float  # 0 ... 1


@dataclass(frozen=True, eq=False)
class Extracted:
    """The table of one video, and whether it was there already."""

    table: FeatureTable
    found: bool = False


Rearrange = Callable[[np.ndarray], np.ndarray]
Outcome = TypeVar("Outcome")


def still(clips: np.ndarray) -> np.ndarray:
    """Clips (N, 3, T, H, W) with all their frames replaced by the middle one."""
    middle = clips.shape[2] // 2
    return np.repeat(clips[:, :, middle : middle + 1], clips.shape[2], axis=2)


class Extractor:
    """What turns one video into a `FeatureTable`: weights packed once, used for many videos.

    Args:
        weights: a name, a file, or `Weights`.
        layer: whose output is the feature; fc6 after its ReLU, as the original saves it.
        plan: which frames make which clip; its length must be the network's.
        mean: what to subtract, when it is not the weights' own: a file, "B,G,R", three numbers or
            a volume.
        device, engine, threads: see `Engine`.
        batch: clips that go through the network at once.
        reading: how videos are read.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | Weights = "c3d-mini",
        *,
        layer: str = "fc6",
        plan: ClipPlan | None = None,
        mean: Any = None,
        device: str = "auto",
        engine: str = "auto",
        threads: int | None = None,
        batch: int = 8,
        reading: Reading = PLAIN,
    ) -> None:
        if batch < 1:
            raise ValueError(f"`batch` must be at least 1 clip, got {batch}.")
        self.reading = reading
        self.plan = plan or ClipPlan()
        self.weights = with_mean(weights_room.resolve(weights), mean)
        network = self.weights.network
        _, length, *crop = network.input_shape
        if network.input_shape[0] != 3:
            raise ValueError(
                f"weights {self.weights.name!r} take clips of {network.input_shape[0]} channels; "
                "videos give three, R, G and B."
            )
        if self.plan.length != length:
            raise ValueError(
                f"`length` of a clip must be the network's {length} frames, got {self.plan.length}."
            )
        self.layer_shape = network.feature_shape(layer)
        self.layer = layer
        self.batch = batch
        self._resize_to = network.frame_size
        self._crop = (crop[0], crop[1])
        self.engine = Engine(
            network.up_to(layer), self.weights, kind=engine, device=device, threads=threads
        )

    def settings(self) -> dict[str, Any]:
        """What decides over the features, as JSON values."""
        mean = self.weights.mean
        assert mean is not None  # with_mean has seen to it
        return {
            "layer": self.layer,
            "length": self.plan.length,
            "stride": self.plan.stride,
            "sampling_rate": self.plan.sampling_rate,
            "short": self.plan.short,
            "weights_sha256": self.weights_sha256,
            "pool5": self.weights.network.architecture.get("pool5", "caffe"),
            "mean": mean.tolist() if mean.ndim == 1 else f"sha256 {_sha256(mean.tobytes())}",
            "resize": list(self._resize_to),
            "crop": list(self._crop),
            "colours": self.reading.colours,
            **architecture_key(self.weights.network),
        }

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Checksum of the weights, computed once."""
        return self.weights.sha256

    def batches(self, video: Video) -> Iterator[Batch]:
        """The clips of a video, preprocessed, as they are decoded.

        Raises:
            VideoError, OSError: the video cannot be read, or breaks; clips before that were given.
        """
        reader = video.reader()
        starts = video.source.starts
        promised = reader.info.num_frames or 0
        resized = (resize_frame(frame, self._resize_to) for frame in video.frames(reader))
        inputs: list[np.ndarray] = []
        clips: list[Clip] = []

        def flush() -> Batch:
            done = min(clips[-1].stop_frame / promised, 1.0) if promised else 0.0
            full = Batch(np.stack(inputs), [replace(c, images=[]) for c in clips], done)
            inputs.clear()
            clips.clear()
            return full

        try:
            for clip in stream_clips(resized, self.plan, starts=starts and sorted(starts)):
                inputs.append(self._preprocess(clip.images))
                clips.append(clip)
                if len(clips) == self.batch:
                    yield flush()
        except VideoError:
            if clips:
                yield flush()
            raise
        if clips:
            yield flush()

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """(N, D) float32 features of clips (N, 3, T, H, W)."""
        outputs = self.engine.run(inputs, (self.layer,))[self.layer]
        return outputs.reshape(len(outputs), -1)

    def table(
        self,
        source: Source,
        rows: Sequence[np.ndarray],
        clips: Sequence[Clip],
        *,
        video_fingerprint: str,
        broken: VideoError | None = None,
    ) -> FeatureTable:
        """The table of a video from its batches' features and clips.

        `video_fingerprint` is taken before the first frame is read: what is read is then known.
        """
        features = np.concatenate(rows)
        columns = {name: np.array([getattr(clip, name) for clip in clips]) for name in ROW_COLUMNS}
        if source.starts is not None:
            order = _list_order(source.starts, len(clips))
            features = features[order]
            columns = {name: column[order] for name, column in columns.items()}
        about = {
            "video": source.name,
            "video_fingerprint": video_fingerprint,
            "layer_shape": list(self.layer_shape),
            "weights": self.weights.name,
            "trained": self.weights.trained,
            "engine": repr(self.engine),
            "versions": versions(),
            "partial": broken and {"frame": broken.frame_index, "reason": str(broken)},
            "layer": self.layer,
            "settings": self.settings(),
        }
        return FeatureTable(features=features, **columns, about=about)

    def walk(
        self,
        sources: Iterable[Source],
        use: Callable[[Source, str, Iterator[Batch]], Outcome],
        *,
        find: Callable[[Source, str], Outcome | None] | None = None,
    ) -> Iterator[tuple[Source, Outcome | Skipped]]:
        """What each video comes to, in order; the one loop over videos, see `loop.each_video`.

        Args:
            sources: the videos.
            use: makes it of a video, its fingerprint and its batches.
            find: has it already, perhaps, of a video with this fingerprint; runs in the thread.
        """

        def read(video: Video) -> Iterator[Any]:
            mark = fingerprint(video.source.path)
            found = None if find is None else find(video.source, mark)
            yield mark, found
            if found is None:
                yield from self.batches(video)
                if fingerprint(video.source.path) != mark:
                    raise VideoError("it was changed while it was read.")

        def found_or_used(source: Source, items: Iterator[Any]) -> Outcome:
            mark, found = next(items)
            return found if found is not None else use(source, mark, items)

        return each_video(sources, read, found_or_used, reading=self.reading)

    def tables(
        self,
        sources: Iterable[Source],
        *,
        find: Callable[[Source, str], FeatureTable | None] | None = None,
        keep_partial: bool = False,
        rearrange: Rearrange | None = None,
        advance: Callable[[Source, Batch], object] = lambda source, batch: None,
    ) -> Iterator[tuple[Source, Extracted | Skipped]]:
        """The table of each video, in order.

        Args:
            sources: the videos.
            find: see `walk`.
            keep_partial: of a video that breaks, keep the rows before that.
            rearrange: changes clips (N, 3, T, H, W) before they go into the network, for
                experiments.
            advance: is told of each batch that is done.
        """

        def known(source: Source, mark: str) -> Extracted | None:
            table = None if find is None else find(source, mark)
            return None if table is None else Extracted(table, found=True)

        def use(source: Source, mark: str, batches: Iterator[Batch]) -> Extracted:
            rows: list[np.ndarray] = []
            clips: list[Clip] = []
            broken = None
            try:
                for batch in batches:
                    inputs = batch.inputs
                    if rearrange is not None:
                        inputs = np.ascontiguousarray(rearrange(inputs))
                    rows.append(self.run(inputs))
                    clips += batch.clips
                    advance(source, batch)
            except VideoError as error:
                if not (keep_partial and clips and error.frame_index is not None):
                    raise
                broken = error
            table = self.table(source, rows, clips, video_fingerprint=mark, broken=broken)
            return Extracted(table)

        return self.walk(sources, use, find=known)

    def __call__(
        self, video: str | os.PathLike[str] | Source, *, rearrange: Rearrange | None = None
    ) -> FeatureTable:
        """The table of one video.

        `rearrange` changes clips (N, 3, T, H, W) before they go into the network, for experiments.

        Raises:
            VideoError: it cannot be read to its end; the message names it.
        """
        ((_, outcome),) = self.tables([as_source(video)], rearrange=rearrange)
        if isinstance(outcome, Skipped):
            raise VideoError(str(outcome))
        return outcome.table

    def _preprocess(self, images: Sequence[np.ndarray]) -> np.ndarray:
        assert self.weights.mean is not None
        return preprocess(images, mean=self.weights.mean, resize_to=None, crop=self._crop)


class TableCache:
    """Tables in a folder, found again by the video's content and all that decides over them.

    Args:
        folder: made if it is missing.
        extractor: what makes the tables.
        key: what else decides over them, JSON values.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        extractor: Extractor,
        key: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._key = {"settings": extractor.settings(), "engine": repr(extractor.engine), **key}

    def find(self, source: Source, mark: str) -> FeatureTable | None:
        """The table of a video with this fingerprint; None if there is none, or a damaged one."""
        kept = self._file(source, mark)
        if kept.is_file():
            with contextlib.suppress(ValueError):  # a damaged table is made anew
                return FeatureTable.load(kept)
        return None

    def keep(self, source: Source, table: FeatureTable) -> None:
        """Keep the table of a video."""
        table.save(self._file(source, table.about["video_fingerprint"]))

    def _file(self, source: Source, mark: str) -> Path:
        return cache_file(self._folder, {**self._key, **source.content_key(mark)})


def kept_tables(
    extractor: Extractor,
    videos: Iterable[Source],
    cache: TableCache | None,
    *,
    rearrange: Rearrange | None = None,
) -> Iterator[tuple[Source, FeatureTable | Skipped]]:
    """Each video and its table, in order; what is made anew is kept in the cache, if there is one.

    `rearrange` is that of `Extractor.tables`.
    """
    find = None if cache is None else cache.find
    for source, outcome in extractor.tables(videos, find=find, rearrange=rearrange):
        if isinstance(outcome, Skipped):
            yield source, outcome
            continue
        if cache is not None and not outcome.found:
            cache.keep(source, outcome.table)
        yield source, outcome.table


def with_mean(weights: Weights, mean: Any) -> Weights:
    """The weights with the given mean, or with their own; having none is an error."""
    if mean is not None:
        if isinstance(mean, str | os.PathLike):
            mean = load_mean(mean)
        return weights.with_mean(mean)
    if weights.mean is None:
        raise ValueError(
            f"weights {weights.name!r} carry no mean, and subtracting none would give other "
            "features: give `mean`, a file (.binaryproto, .npy, .npz) or three numbers B,G,R."
        )
    return weights


def _list_order(starts: Sequence[int], num_clips: int) -> np.ndarray:
    """Which clip, counted in time, stands in each row of a list that starts them in any order.

    `num_clips` can be less than the list's: those before the frame at which a video broke.
    """
    rank = np.empty(len(starts), int)
    rank[np.argsort(starts, kind="stable")] = np.arange(len(starts))
    return rank[rank < num_clips]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def versions() -> dict[str, str]:
    """What was used to make features."""
    return {
        "kinema": kinema.__version__,
        "ffmpeg": str(av.ffmpeg_version_info),
        "pyav": av.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


# --- many videos ----------------------------------------------------------------------------------


@dataclass
class ExtractionReport:
    """What a run of `extract` did.

    Attributes:
        out: the folder.
        num_videos: videos asked for.
        num_done: tables written by this run.
        num_found: tables that were there already.
        num_clips: rows written by this run.
        partial: names of videos that broke and whose rows before that were kept.
        notes: what else the user should know, a line each.
        skipped: videos that have no table, and why; absolute paths.
        seconds: how long the run took.
    """

    out: Path
    num_videos: int
    num_done: int = 0
    num_found: int = 0
    num_clips: int = 0
    partial: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self) -> str:
        """The report in a line or two."""
        rate = self.num_clips / self.seconds if self.seconds else 0.0
        line = f"{self.out}: {self.num_done} of {self.num_videos} videos extracted"
        if self.num_found:
            line += f", {self.num_found} were there"
        if self.skipped:
            line += f", {len(self.skipped)} skipped (see {self.out / 'skipped.jsonl'})"
        return f"{line}; {self.num_clips} clips in {self.seconds:.0f} s, {rate:.1f} clips/s"


def extract(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    *,
    out: str | os.PathLike[str],
    list: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | Weights = "c3d-mini",
    layer: str = "fc6",
    stride: int = 8,
    sampling_rate: int = 1,
    short: str = "pad",
    mean: Any = None,
    format: str = "safetensors",
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    batch: int = 8,
    max_skipped: int = 0,
    keep_partial: bool = False,
    colours: str = "file",
    video_seconds: float | None = None,
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
        weights: a name (`kinema weights list`), a file, or `Weights`.
        layer: whose output is the feature.
        stride: frames from the start of one clip to the start of the next.
        sampling_rate: every how many-th frame goes into a clip.
        short: "pad" or "skip", for videos shorter than a clip; see Note [Tail and short videos].
        mean: what to subtract, for weights that carry none or to replace theirs: a file, "B,G,R"
            or an array.
        format: "safetensors", "npy", "parquet", "hdf5" or "c3d" (the original's files).
        device: "cpu", "cuda" or "auto".
        engine: "native", "torch" or "auto".
        threads: CPU threads of the network; None for all.
        batch: clips that go through the network at once.
        max_skipped: more skipped videos than this make the command line exit with 1; here, see
            the report.
        keep_partial: keep the rows before the frame at which a video breaks, marked as partial.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show a progress bar on standard error.

    Returns:
        What was done and what was skipped.

    Raises:
        ValueError: a setting is wrong, no video was found, or `out` was made with other settings.
        FileNotFoundError: the list, weights or mean are missing. (A missing video is skipped.)
        OSError: the disk is full, or `out` cannot be written.
    """
    if max_skipped < 0:
        raise ValueError(f"`max_skipped` must not be negative, got {max_skipped}.")
    check_format(format)
    plan = ClipPlan(stride=stride, sampling_rate=sampling_rate, short=short)
    named = [paths] if isinstance(paths, str | os.PathLike) else paths
    sources = find_videos(named, list, root=root)
    resolved = weights_room.resolve(weights)
    extractor = Extractor(
        resolved,
        layer=layer,
        plan=replace(plan, length=resolved.network.input_shape[1]),
        mean=mean,
        device=device,
        engine=engine,
        threads=threads,
        batch=batch,
        reading=Reading(colours, video_seconds),
    )
    out = Path(out)
    run = _Run(out, sources, extractor, format=format, keep_partial=keep_partial)
    run.report.notes += sources.notes
    with locked_folder(out, shared=True), Progress(enabled=progress) as bar:
        run.prepare()
        run.carry_out(bar)
        run.report.seconds = bar.seconds
    return run.report


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
        settings = {
            **self.extractor.settings(),
            "engine": repr(self.extractor.engine),
            "format": self.format,
            "keep_partial": self.keep_partial,
            "clips": "listed"
            if any(source.starts is not None for source in self.sources)
            else "all",
        }
        with exclusively(self.out):
            self._begin(settings)
            remove_partial_files(self.out)
            # Videos that were skipped before are tried again; lines of other videos stay.
            paths = {str(source.path) for source in self.sources}
            self._rewrite_skipped(lambda path: path not in paths)

    def _begin(self, settings: dict[str, Any]) -> None:
        """Refuse other settings than the folder's; write these down if it has none."""
        path = self.out / "run.json"
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                before, used = dict(content["settings"]), dict(content["versions"])
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{path} is not of an extraction; choose another `out`.") from None
            for name, value in settings.items():
                if before.get(name, _DEFAULTS_SINCE.get(name)) != value:
                    raise ValueError(
                        f"`out` {self.out} was made with {name} {before.get(name)}, now it is "
                        f"{value}: choose another folder, or the same settings."
                    )
            for name, version in versions().items():
                if used.get(name) != version:
                    self.report.notes.append(
                        f"{self.out} was begun with {name} {used.get(name)}, now it is {version}: "
                        "new rows may differ from the older ones in rounding."
                    )
        else:
            content = {
                "settings": settings,
                "weights": self.extractor.weights.story(),
                "versions": versions(),
            }
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")

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
        outcomes = self.extractor.tables(
            self.sources,
            find=self._found,
            keep_partial=self.keep_partial,
            advance=lambda source, batch: bar.advance(
                num_clips=len(batch.clips), size=sizes[source] * batch.progress
            ),
        )
        for source, outcome in outcomes:
            found = isinstance(outcome, Extracted) and outcome.found
            if isinstance(outcome, Skipped):
                self._skip(outcome)
            elif found:
                self.report.num_found += 1
            else:
                self._write(source, outcome.table)
            bar.finish_video(size=sizes[source], found=found)
        with exclusively(self.out):  # in an order that does not tell who was quicker
            self._rewrite_skipped(lambda path: True)

    def _path(self, source: Source) -> Path:
        return self.out / f"{source.name}{FORMATS[self.format].ending}"

    def _found(self, source: Source, video_fingerprint: str) -> FeatureTable | None:
        """The table that an earlier run wrote."""
        path = self._path(source)
        if not os.path.exists(path):
            return None
        try:
            table = FeatureTable.load(path)
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


_DEFAULTS_SINCE = {"colours": "file"}
"""Settings that runs of earlier versions did not write down, as they were."""

_FAULTS_OF_A_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
"""Errors of writing that concern one video; others (a full disk) would meet the next one too."""


def _remove_table(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
