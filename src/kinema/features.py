"""`extract`: videos to `FeatureTable`s on disk, safely.

One video is one file. A run can be stopped at any moment and the same command goes on; a bad video
costs one line in `skipped.jsonl`. Decoding and preprocessing run in a thread beside the network.

Note [Same bytes]
    The bytes of a table depend on the video, the settings and the engine alone: not on what was
    extracted before, on the time of day or on where the folder lies. Batches therefore never mix
    videos, and tables carry no dates and no absolute paths.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import queue
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

import kinema
from kinema import convert
from kinema import weights as weights_room
from kinema.clips import Clip, ClipPlan, preprocess, resize_frame, stream_clips
from kinema.engine import Engine
from kinema.feature_table import FORMATS, FeatureTable, check_format
from kinema.files import atomic_path, remove_partial_files
from kinema.progress import Progress
from kinema.video import FRAME_NAME, VideoError, VideoReader, is_frame_folder
from kinema.weights import Weights

_VIDEO_ENDINGS = """
    3g2 3gp asf avi dv f4v flv gif h264 h265 hevc ivf m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg
    mpg mts mxf nut obu ogm ogv rm rmvb ts vob webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEO_ENDINGS.split())
"""What counts as a video inside a folder; a file that is named itself may end in anything."""


# --- which videos ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One video to extract.

    Attributes:
        path: the video file or folder of pictures.
        name: its path below the common root of the run, with "/".
        starts: first frames of the wanted clips, in the order of the rows; None for the plan's.
    """

    path: Path
    name: str
    starts: tuple[int, ...] | None = None


def find_jobs(
    paths: Iterable[str | os.PathLike[str]], list_file: str | os.PathLike[str] | None = None
) -> list[Job]:
    """The videos that `extract` is asked for, each once.

    Args:
        paths: video files, folders of pictures, and folders that are searched for videos.
        list_file: a text file with one path a line, or C3D's `path start label` lines, one clip a
            line; relative paths start at the current folder, or else at the list's own.

    Raises:
        ValueError: no video is named or found, or the list cannot be understood.
        FileNotFoundError: the list is missing.
    """
    starts: dict[Path, list[int] | None] = {}
    roots: list[Path] = []
    for given in paths:
        path = _absolute(given)
        if path.is_dir() and not is_frame_folder(path):
            roots.append(path)
            starts |= dict.fromkeys(_videos_below(path))
        else:
            roots.append(path.parent)
            starts[path] = None
    if list_file is not None:
        for path, start in _read_list(_absolute(list_file)):
            roots.append(path.parent)
            if start is None:
                starts[path] = None
            elif (clips := starts.setdefault(path, [])) is not None:
                clips.append(start)
    if not starts:
        raise ValueError(f"no video found in {', '.join(map(str, roots)) or 'an empty `paths`'}.")
    root = Path(os.path.commonpath(roots))
    return [
        Job(path, path.relative_to(root).as_posix(), None if clips is None else tuple(clips))
        for path, clips in starts.items()
    ]


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Absolute, without "..", symbolic links kept."""
    return Path(os.path.abspath(path))


def _videos_below(folder: Path) -> Iterator[Path]:
    """Videos in a folder and its subfolders, sorted; folders of pictures count as one."""
    entered = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:  # a link that leads back
            folders.clear()
            continue
        entered.add(real)
        found = [Path(here, name) for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        folders.sort()
        for name in list(folders):
            path = Path(here, name)
            try:
                if is_frame_folder(path):
                    found.append(path)
                    folders.remove(name)
            except OSError:  # recorded as a video that cannot be read, so that it is not lost
                found.append(path)
                folders.remove(name)
        yield from sorted(found)


def _read_list(path: Path) -> Iterator[tuple[Path, int | None]]:
    if not path.is_file():
        raise FileNotFoundError(f"`list` {path}: no such file.")
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise ValueError(f"`list` {path} cannot be read ({error.strerror}).") from None
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line:
            continue
        if "\0" in line:
            raise ValueError(f"`list` {path}, line {number}: not a text file.")
        columns = re.fullmatch(r"(.*\S)\s+(\d+)\s+(-?\d+)", line)
        if columns and not os.path.lexists(line):
            yield _listed(columns[1], path.parent), int(columns[2])
        else:
            yield _listed(line, path.parent), None


def _listed(text: str, list_folder: Path) -> Path:
    beside_list = list_folder / text
    if not os.path.lexists(text) and os.path.lexists(beside_list):
        return _absolute(beside_list)
    return _absolute(text)


# --- one video ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips of one video, ready for the network, and how far into the video they reach."""

    inputs: np.ndarray  # (N, 3, T, H, W) float32
    clips: list[Clip]  # without their images
    progress: float  # 0 ... 1


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
    ) -> None:
        if batch < 1:
            raise ValueError(f"`batch` must be at least 1 clip, got {batch}.")
        self.plan = plan or ClipPlan()
        self.weights = with_mean(weights_room.resolve(weights), mean)
        network = self.weights.network
        _, length, *crop = network.input_shape
        if self.plan.length != length:
            raise ValueError(
                f"`length` of a clip must be the network's {length} frames, got {self.plan.length}."
            )
        self.layer_shape = network.feature_shape(layer)
        self.layer = layer
        self.batch = batch
        # A network for another crop sees the same part of the frame, at its own resolution.
        height, width = (round(size * crop[0] / 112) for size in (128, 171))
        self._resize_to = (height, width)
        self._crop = (crop[0], crop[1])
        self._preprocess([np.zeros((height, width, 3), np.uint8)] * length)  # the mean must fit
        self.engine = Engine(
            network.up_to(layer), self.weights.arrays, kind=engine, device=device, threads=threads
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
            "pool5": self.weights.network.recipe.get("pool5", "caffe"),
            "mean": mean.tolist() if mean.ndim == 1 else f"sha256 {_sha256(mean.tobytes())}",
            "resize": list(self._resize_to),
            "crop": list(self._crop),
        }

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Checksum of the weights, computed once."""
        return self.weights.sha256

    def batches(self, path: Path, starts: Sequence[int] | None = None) -> Iterator[Batch]:
        """The clips of a video, preprocessed, as they are decoded.

        Raises:
            VideoError, OSError: the video cannot be read, or breaks; clips before that were given.
        """
        reader = VideoReader(path)
        promised = reader.info.num_frames or 0
        resized = (resize_frame(frame, self._resize_to) for frame in reader)
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
        job: Job,
        rows: Sequence[np.ndarray],
        clips: Sequence[Clip],
        broken: VideoError | None = None,
    ) -> FeatureTable:
        """The table of a video from its batches' features and clips."""
        order = _list_order(job.starts, clips)
        features = np.concatenate(rows)[order]
        columns = {
            name: np.array([getattr(clips[index], name) for index in order])
            for name in (
                "start_frame",
                "stop_frame",
                "start_seconds",
                "stop_seconds",
                "num_padded_frames",
            )
        }
        about = {
            "video": job.name,
            "video_fingerprint": fingerprint(job.path),
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

    def __call__(self, path: str | os.PathLike[str]) -> FeatureTable:
        """The table of one video.

        Raises:
            FileNotFoundError: there is no such file.
            VideoError: it cannot be read to its end; the message names it.
        """
        job = Job(Path(path), Path(path).name)
        rows, clips = [], []
        try:
            for batch in prefetched(self.batches(job.path)):
                rows.append(self.run(batch.inputs))
                clips += batch.clips
        except VideoError as error:
            raise VideoError(f"{path}: {skip_reason(error)}") from None
        return self.table(job, rows, clips)

    def _preprocess(self, images: Sequence[np.ndarray]) -> np.ndarray:
        assert self.weights.mean is not None
        return preprocess(images, mean=self.weights.mean, resize_to=None, crop=self._crop)


def with_mean(weights: Weights, mean: Any) -> Weights:
    """The weights with the given mean, or with their own; having none is an error."""
    if mean is not None:
        if isinstance(mean, str | os.PathLike):
            mean = convert.load_mean(mean)
        return weights.with_mean(mean)
    if weights.mean is None:
        raise ValueError(
            f"weights {weights.name!r} carry no mean, and subtracting none would give other "
            "features: give `mean`, a file (.binaryproto, .npy, .npz) or three numbers B,G,R."
        )
    return weights


def _list_order(starts: Sequence[int] | None, clips: Sequence[Clip]) -> np.ndarray:
    """Clips come in the order of time; a list wants its own order. Clips are by rank in time."""
    if starts is None:
        return np.arange(len(clips))
    rank = np.empty(len(starts), int)
    rank[np.argsort(starts, kind="stable")] = np.arange(len(starts))
    return rank[rank < len(clips)]


def fingerprint(path: Path) -> str:
    """Tells whether a video is still the same without reading all of it.

    sha256 of the size and of the first and last 64 KiB; of a folder, of its pictures' names and
    sizes and the first and last picture.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if FRAME_NAME.fullmatch(file.name))
        digest = hashlib.sha256(repr([(f.name, f.stat().st_size) for f in files]).encode())
        for file in files[:1] + files[-1:]:
            digest.update(file.read_bytes())
        return digest.hexdigest()
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as video:
        digest.update(video.read(1 << 16))
        video.seek(max(size - (1 << 16), 0))
        digest.update(video.read(1 << 16))
    return digest.hexdigest()


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


def prefetched(items: Iterable[Any], *, ahead: int = 2) -> Iterator[Any]:
    """The items, made in a thread of their own, up to `ahead` of them in advance.

    An exception in the thread is raised here, after the items before it.
    """
    finished = object()
    made: queue.Queue[Any] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                made.put(item, timeout=0.1)
                return

    def make() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(finished)
        except BaseException as error:  # handed over to whoever iterates
            put(_Raised(error))

    thread = threading.Thread(target=make, name="kinema-decoder", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not finished:
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True)
class _Raised:
    error: BaseException


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
        skipped: `{"path", "reason"}` of each video that has no table.
        seconds: how long the run took.
    """

    out: Path
    num_videos: int
    num_done: int = 0
    num_found: int = 0
    num_clips: int = 0
    partial: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
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
        weights: a name (`kinema weights list`), a file, or `Weights`.
        layer: whose output is the feature.
        stride: frames from the start of one clip to the start of the next.
        sampling_rate: every how many-th frame goes into a clip.
        short: "pad" or "skip", for videos shorter than a clip; see Note [Tail and short videos].
        mean: what to subtract, for weights that carry none or to replace theirs: a file, "B,G,R"
            or an array.
        format: "safetensors", "npy", "parquet", "hdf5" or "c3d" (the original's files).
        device: "cpu", "cuda" or "auto".
        engine: "torch" or "auto".
        threads: CPU threads of the network; None for all.
        batch: clips that go through the network at once.
        max_skipped: more skipped videos than this make the command line exit with 1; here, see
            the report.
        keep_partial: keep the rows before the frame at which a video breaks, marked as partial.
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
    jobs = find_jobs([paths] if isinstance(paths, str | os.PathLike) else paths, list)
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
    )
    run = _Run(Path(out), jobs, extractor, format=format, keep_partial=keep_partial)
    with run.lock(), Progress(enabled=progress) as bar:
        run.prepare()
        run.carry_out(bar)
        run.report.seconds = bar.seconds
    return run.report


class _Run:
    """One run of `extract` over one folder."""

    def __init__(
        self,
        out: Path,
        jobs: Sequence[Job],
        extractor: Extractor,
        *,
        format: str,
        keep_partial: bool,
    ) -> None:
        self.out = out
        self.jobs = jobs
        self.extractor = extractor
        self.format = format
        self.keep_partial = keep_partial
        self.report = ExtractionReport(out, len(jobs))
        self._skipped_path = out / "skipped.jsonl"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second run out of the folder; the system lifts it if this process dies."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"`out` {self.out} must be a folder, but a file is there.") from None
        try:
            import fcntl
        except ImportError:  # Windows has no such lock
            yield
            return
        descriptor = os.open(self.out, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"`out` {self.out} is in use by another run.") from None
            yield
        finally:
            os.close(descriptor)

    def prepare(self) -> None:
        """Compare the settings with those of the run before, and tidy up after it."""
        settings = {
            **self.extractor.settings(),
            "format": self.format,
            "keep_partial": self.keep_partial,
            "clips": "listed" if any(job.starts is not None for job in self.jobs) else "all",
        }
        path = self.out / "run.json"
        if path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))["settings"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{path} is not of an extraction; choose another `out`.") from None
            for name, value in settings.items():
                if before.get(name) != value:
                    raise ValueError(
                        f"`out` {self.out} was made with {name} {before.get(name)}, now it is "
                        f"{value}: choose another folder, or the same settings."
                    )
        else:
            content = {
                "settings": settings,
                "weights": self.extractor.weights.story(),
                "versions": versions(),
            }
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
        remove_partial_files(self.out)
        self._forget_skipped()

    def _forget_skipped(self) -> None:
        """Videos that were skipped before are tried again; lines of other videos stay."""
        if not self._skipped_path.is_file():
            return
        names = {job.name for job in self.jobs}
        kept = []
        for line in self._skipped_path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a kill can cut the last line off
                if json.loads(line)["path"] not in names:
                    kept.append(line + "\n")
        with atomic_path(self._skipped_path) as partial:
            partial.write_text("".join(kept), encoding="utf-8")

    def carry_out(self, bar: Progress) -> None:
        sizes = {job: _size(job.path) for job in self.jobs}
        bar.start(len(self.jobs), sum(sizes.values()))
        rows: list[np.ndarray] = []
        clips: list[Clip] = []
        for job, event in prefetched(self._events()):
            if isinstance(event, Batch):
                rows.append(self.extractor.run(event.inputs))
                clips += event.clips
                bar.advance(num_clips=len(event.clips), size=sizes[job] * event.progress)
                continue
            if isinstance(event, _Found):
                self.report.num_found += 1
            elif event is None or (self.keep_partial and clips and _broke_midway(event)):
                self._write(job, self.extractor.table(job, rows, clips, event))
            else:
                self._skip(job, event)
            rows, clips = [], []
            bar.finish_video(size=sizes[job], found=isinstance(event, _Found))

    def _events(self) -> Iterator[tuple[Job, Batch | Exception | _Found | None]]:
        """Each video's batches, then how it ended. Runs in the decoding thread."""
        for job in self.jobs:
            try:
                if self._is_done(job):
                    yield job, _Found()
                    continue
                for batch in self.extractor.batches(job.path, job.starts):
                    yield job, batch
            except Exception as error:  # whatever one video does, the run goes on to the next
                yield job, error
            else:
                yield job, None

    def _path(self, job: Job) -> Path:
        return self.out / f"{job.name}{FORMATS[self.format].ending}"

    def _is_done(self, job: Job) -> bool:
        path = self._path(job)
        if not path.exists():
            return False
        table = FeatureTable.load(path)
        if table.about.get("video_fingerprint") != fingerprint(job.path):
            raise VideoError(
                f"{path} holds features of another video of this name; "
                "delete it, or choose another `out`."
            )
        if job.starts is not None and table.start_frame.tolist() != [*job.starts]:
            raise VideoError(
                f"{path} holds other clips than the list names; delete it, or choose another `out`."
            )
        return True

    def _write(self, job: Job, table: FeatureTable) -> None:
        table.save(self._path(job), self.format)
        self.report.num_done += 1
        self.report.num_clips += len(table)
        if table.about["partial"]:
            self.report.partial.append(job.name)

    def _skip(self, job: Job, error: Exception) -> None:
        entry = {"path": job.name, "reason": skip_reason(error)}
        with open(self._skipped_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.report.skipped.append(entry)


def skip_reason(error: Exception) -> str:
    """Why a video was skipped, in one line."""
    if isinstance(error, FileNotFoundError):
        return "no such file."
    if isinstance(error, MemoryError):
        return "it needs more memory than there is."
    if not isinstance(error, VideoError):
        return " ".join(f"unexpected {type(error).__name__}: {error}".split())
    if error.frame_index is not None:
        return f"broken at frame {error.frame_index}: {error}"
    return str(error)


class _Found:
    """A video whose table was there already."""


def _broke_midway(error: Exception) -> bool:
    return isinstance(error, VideoError) and error.frame_index is not None


def _size(path: Path) -> int:
    """Bytes of a video, for the time left; 0 if that cannot be told."""
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in os.scandir(path))
        return path.stat().st_size
    except OSError:
        return 0
