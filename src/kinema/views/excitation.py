"""`excite`: the clips that excite maps of a layer most, and what in them does.

Every clip of the videos goes through the network once, streamed; of each map the strongest
activations are remembered by their video, clip and place. Those clips alone are then read again and
projected back to pixels (`deconvolution`).
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema import plots
from kinema.features.extraction import Batch, Extractor
from kinema.files import cache_file, locked_folder, read_tensors, write_json, write_tensors
from kinema.network import as_network
from kinema.progress import Counted, Progress
from kinema.skipped import Skipped, VideoError
from kinema.video.clips import Clip, ClipPlan, preprocess, resize_frame, stream_clips
from kinema.video.loop import Reading, Video
from kinema.video.sources import Source, find_videos, size_in_bytes
from kinema.views.deconvolution import check_projectable, project
from kinema.weights import file as weights_room
from kinema.weights.file import Weights

COUNT = 9
"""Strongest clips of a map; Zeiler and Fergus show as many."""

NUM_MAPS = 3
"""Maps that are shown where none is asked for."""

BATCH = 4
"""Clips at once: the first convolutions' outputs are large, 51 MB a clip in C3D."""

SHOWN_FRAMES = 8
SMALLEST_SIDE = 16
"""Of the part of the frame that is shown, in pixels of the network's input."""

FAINT = 0.05
"""What is less than this part of a projection's largest value lies outside of the picture."""

FULL_COLOUR = 0.9
"""Of the others, the quantile that is shown as full colour, as are those above it: one value is far
above all others."""


@dataclass(frozen=True)
class Excitation:
    """One clip that excites a map, and where.

    Attributes:
        video: its name below the common folder of all videos.
        start_frame, stop_frame: of the clip, see `clips.Clip`.
        start_seconds, stop_seconds: of the clip; None in a folder of pictures.
        activation: the largest of the map in this clip; after the ReLU, where the layer has one.
        position: (t, y, x) of it in the map; empty for a unit of a fully connected layer.
    """

    video: str
    start_frame: int
    stop_frame: int
    start_seconds: float | None
    stop_seconds: float | None
    activation: float
    position: tuple[int, ...]


@dataclass(frozen=True)
class ExcitedMap:
    """The clips that excite one map most.

    Attributes:
        number: of the map in its layer.
        mean: over the videos, of the strongest activation in each.
        excitations: the strongest first; none of a map that is silent on all videos.
    """

    number: int
    mean: float
    excitations: tuple[Excitation, ...]


@dataclass(frozen=True)
class ExcitationReport:
    """What `excite` found.

    Attributes:
        out: the folder.
        layer: whose maps.
        num_videos, num_clips: that went through the network.
        maps: those that were asked for, or that stand out.
        skipped: videos that could not be read to their end, and why.
        notes: what else the user should know, a line each.
    """

    out: Path
    layer: str
    num_videos: int
    num_clips: int
    maps: tuple[ExcitedMap, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()

    def picture(self, number: int) -> Path:
        """The file with the clips of one map."""
        return _picture(self.out, self.layer, number)

    def summary(self) -> str:
        """A line for each map."""
        lines = [f"{self.num_clips} clips of {self.num_videos} video{'s'[: self.num_videos != 1]}"]
        for found in self.maps:
            if not found.excitations:
                lines.append(f"{self.layer} map {found.number}: silent on all of them, no picture")
                continue
            first = found.excitations[0]
            when = "" if first.start_seconds is None else f" at {first.start_seconds:.2f} s"
            lines.append(
                f"{self.picture(found.number)}: strongest {first.activation:.4g} in "
                f"{first.video}{when}; mean of the videos {found.mean:.4g}"
            )
        return "\n".join(lines)


def _picture(out: Path, layer: str, number: int) -> Path:
    return out / f"{layer}-{number}.png"


def excite(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    weights: str | os.PathLike[str] | Weights = "c3d-mini",
    layer: str = "conv5a",
    maps: Sequence[int] = (),
    count: int = COUNT,
    per_video: int = 1,
    stride: int = 16,
    mean: Any = None,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> ExcitationReport:
    """Find the clips that excite maps of a layer most, and draw what in them does.

    Writes `out/LAYER-MAP.png` for each map: frames of each clip, and below them the projection of
    its strongest activation. `out/excite.json` holds which clips they are, `out/found` what each
    finished video gave: a run that was stopped goes on from it, and one with other maps is quick.

    Args:
        paths: videos, and folders to search for videos.
        out: folder to write to.
        weights: a name, a file, or `Weights`.
        layer: a convolution, a pooling or a fully connected layer, whose units then are the maps.
        maps: numbers from 0; without any, the three that stand out most: whose `count` strongest
            clips lie farthest above the mean of all videos.
        count: clips of a map.
        per_video: at most so many of them from one video.
        stride: frames from clip to clip.
        mean: what to subtract, if it is not the weights' own; see `features.extract`.
        threads: CPU threads; None for all.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show progress on standard error.

    Raises:
        ValueError: no such layer or map, no video was found, or none can be read.
    """
    for name, value in (("count", count), ("per_video", per_video)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1 clip, got {value}.")
    resolved = weights_room.resolve(weights)
    shape = resolved.network.feature_shape(layer)
    check_projectable(as_network(resolved.network).up_to(layer))
    _check_maps(maps, layer, shape)
    plan = ClipPlan(length=resolved.network.input_shape[1], stride=stride)
    sources = find_videos([paths] if isinstance(paths, str | os.PathLike) else paths)
    extractor = Extractor(
        resolved,
        layer=layer,
        plan=plan,
        mean=mean,
        threads=threads,
        batch=BATCH,
        reading=Reading(colours, video_seconds),
    )
    out = Path(out)
    with locked_folder(out):
        kept = _Kept(out / "found", extractor, per_video)
        search = _search(
            sources, extractor, kept=kept, count=count, per_video=per_video, progress=progress
        )
        report = ExcitationReport(
            out,
            layer,
            num_videos=search.num_videos,
            num_clips=search.num_clips,
            maps=_draw(search, sources, extractor, out, maps, threads=threads, progress=progress),
            skipped=tuple(search.skipped),
            notes=sources.notes,
        )
        _save(report, extractor, per_video=per_video)
    return report


def _check_maps(maps: Sequence[int], layer: str, shape: Sequence[int]) -> None:
    for number in maps:
        if not 0 <= number < shape[0]:
            raise ValueError(f"`map` of {layer} must be from 0 to {shape[0] - 1}, got {number}.")


# --- the search -----------------------------------------------------------------------------------

FORMAT = "kinema-found-1"

_COLUMNS = ("activation", "start", "place")
_RECORD = np.dtype([("activation", np.float32), ("video", int), ("start", int), ("place", int)])
"""An activation, the number of its video, its clip's first frame, its place in the map."""


def _strongest(records: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The `count` strongest of records (n, maps) put together, by map; of equal ones the first."""
    together = np.concatenate(records)
    order = np.argsort(-together["activation"], axis=0, kind="stable")[:count]
    return np.take_along_axis(together, order, axis=0)


@dataclass
class _Search:
    """What all clips of all videos came to.

    Attributes:
        strongest: (n, maps) records, the strongest first; n at most the clips asked for.
        mean: (maps,) mean over the videos of each one's strongest activation.
        num_videos, num_clips: that were read to their end.
        skipped: the others.
    """

    strongest: np.ndarray
    mean: np.ndarray
    num_videos: int = 0
    num_clips: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def outstanding(self) -> list[int]:
        """Maps whose strongest clips lie farthest above the mean of all videos.

        A ratio would choose maps that are nearly dead. Where there are no more videos than clips
        to choose, nothing lies above the mean, and the largest activation decides.
        """
        activations = self.strongest["activation"].astype(np.float64)
        above = activations.mean(axis=0) - self.mean
        order = np.lexsort((-activations[0], -above.round(9)))
        return [int(number) for number in order[:NUM_MAPS]]


def _search(
    sources: Sequence[Source],
    extractor: Extractor,
    *,
    kept: _Kept,
    count: int,
    per_video: int,
    progress: bool,
) -> _Search:
    """Run all clips and keep the strongest activations of every map."""
    nothing = np.empty((0, extractor.layer_shape[0]), _RECORD)
    search = _Search(nothing, np.zeros(len(nothing.T)))
    sizes = {source: size_in_bytes(source.path) for source in sources}

    def find(source: Source, mark: str) -> _Found | None:
        records = kept.of(source, mark)
        return None if records is None else _Found(*records, mark, is_new=False)

    def use(source: Source, mark: str, batches: Iterator[Batch]) -> _Found:
        within, num_clips = nothing, 0
        for batch in batches:
            within = _strongest([within, _records(batch, extractor)], per_video)
            num_clips += len(batch.clips)
            bar.advance(num_clips=len(batch.clips), size=sizes[source] * batch.progress)
        return _Found(within, num_clips, mark, is_new=True)

    with Progress(enabled=progress) as bar:
        bar.start(len(sources), sum(sizes.values()))
        for number, (source, found) in enumerate(extractor.walk(sources, use, find=find)):
            if isinstance(found, Skipped):
                search.skipped.append(found)
                bar.finish_video(size=sizes[source])
                continue
            if found.is_new:
                kept.keep(source, found)
            found.records["video"] = number
            search.strongest = _strongest([search.strongest, found.records], count)
            search.num_videos += 1
            search.num_clips += found.num_clips
            search.mean += (found.records["activation"][0] - search.mean) / search.num_videos
            bar.finish_video(size=sizes[source], found=not found.is_new)
    if not search.num_videos:
        raise ValueError(f"no video can be read; {search.skipped[0]}")
    return search


@dataclass(frozen=True, eq=False)
class _Found:
    """The strongest activations of one video, and how many clips it has."""

    records: np.ndarray
    num_clips: int
    mark: str
    is_new: bool


class _Kept:
    """The strongest activations of finished videos, in a folder: a stopped search goes on there."""

    def __init__(self, folder: Path, extractor: Extractor, per_video: int) -> None:
        self._folder = folder
        self._key = {
            "settings": extractor.settings(),
            "engine": repr(extractor.engine),
            "per_video": per_video,
        }

    def of(self, source: Source, mark: str) -> tuple[np.ndarray, int] | None:
        """Records and the number of clips; None if the video is not finished."""
        file = self._file(source, mark)
        if not file.is_file():
            return None
        try:
            columns, _ = read_tensors(file, format=FORMAT)
        except ValueError:  # damaged: it is made anew
            return None
        records = np.empty(columns["activation"].shape, _RECORD)
        for name in _COLUMNS:
            records[name] = columns[name]
        return records, columns["num_clips"].item()

    def keep(self, source: Source, found: _Found) -> None:
        columns = {name: found.records[name] for name in _COLUMNS}
        columns["num_clips"] = np.array(found.num_clips)
        write_tensors(self._file(source, found.mark), columns, {"format": FORMAT})

    def _file(self, source: Source, mark: str) -> Path:
        return cache_file(self._folder, {**self._key, **source.content_key(mark)})


def _records(batch: Batch, extractor: Extractor) -> np.ndarray:
    """The strongest activation of each clip in each map: (clips, maps) records."""
    num_maps = extractor.layer_shape[0]
    outputs = extractor.run(batch.inputs).reshape(len(batch.clips), num_maps, -1)
    records = np.empty(outputs.shape[:2], _RECORD)
    records["place"] = outputs.argmax(axis=2)
    records["activation"] = outputs.max(axis=2)
    records["start"] = np.array([clip.start_frame for clip in batch.clips])[:, None]
    return records


# --- the pictures ---------------------------------------------------------------------------------


def _draw(
    search: _Search,
    sources: Sequence[Source],
    extractor: Extractor,
    out: Path,
    maps: Sequence[int],
    *,
    threads: int | None,
    progress: bool,
) -> tuple[ExcitedMap, ...]:
    """A picture for each map that is asked for, or that stands out."""
    numbers = list(dict.fromkeys(maps)) or search.outstanding()
    drawn = []
    with Counted("clips projected", len(numbers) * len(search.strongest), enabled=progress) as bar:
        for number in numbers:
            excitations, strips = [], []
            records = search.strongest[:, number]
            for record in records[records["activation"] > 0]:
                source = sources[record["video"]]
                excitation, strip = _project(source, record, number, extractor, threads)
                excitations.append(excitation)
                strips.append(strip)
                bar.advance()
            if strips:
                title = f"{extractor.layer} of {extractor.weights.name}, map {number}"
                plots.projections(_picture(out, extractor.layer, number), strips, title=title)
            drawn.append(ExcitedMap(number, float(search.mean[number]), tuple(excitations)))
    return tuple(drawn)


def _project(
    source: Source, record: np.void, number: int, extractor: Extractor, threads: int | None
) -> tuple[Excitation, plots.Projection]:
    """Read one clip again and project its strongest activation to pixels."""
    network, mean = extractor.weights.network, extractor.weights.mean
    assert mean is not None  # the extractor has seen to it
    crop = (network.input_shape[2], network.input_shape[3])
    clip = _read(source, int(record["start"]), extractor)
    inputs = preprocess(clip.images, mean=mean, resize_to=None, crop=crop)
    place = np.unravel_index(int(record["place"]), extractor.layer_shape[1:])
    position = tuple(int(index) for index in place)
    excitation = Excitation(
        video=source.name,
        start_frame=clip.start_frame,
        stop_frame=clip.stop_frame,
        start_seconds=_known(clip.start_seconds),
        stop_seconds=_known(clip.stop_seconds),
        activation=float(record["activation"]),
        position=position,
    )
    pixels = project(
        extractor.engine, extractor.weights, inputs, (number, *position), threads=threads
    )
    when = "" if excitation.start_seconds is None else f", clip from {clip.start_seconds:.2f} s"
    title = f"{source.name}{when}, activation {excitation.activation:.4g}"
    return excitation, _strip(title, clip, pixels, extractor.plan)


def _strip(title: str, clip: Clip, pixels: np.ndarray, plan: ClipPlan) -> plots.Projection:
    """A clip beside its projection (3, T, H, W), no more of both than there is to be seen."""
    crop = (pixels.shape[2], pixels.shape[3])
    seen = preprocess(clip.images, mean=(0, 0, 0), resize_to=None, crop=crop, channels="RGB")
    frames = np.moveaxis(seen, 0, -1).astype(np.uint8)
    times, rows, columns = _extent(pixels)
    part = pixels[::-1, times, rows, columns]
    strengths = np.abs(part[np.abs(part) >= FAINT * np.abs(part).max()])
    largest = float(np.quantile(strengths, FULL_COLOUR, method="higher"))
    indices = plan.frame_indices(clip.start_frame)
    return plots.Projection(
        title=title,
        whole=frames[int(np.abs(pixels).sum(axis=(0, 2, 3)).argmax())],
        rows=rows,
        columns=columns,
        frames=frames[times, rows, columns],
        values=plots.about_grey(np.clip(part, -largest, largest)),
        numbers=[min(indices[t], clip.stop_frame - 1) for t in times],
    )


def _read(source: Source, start: int, extractor: Extractor) -> Clip:
    """The clip that starts at a frame, with its images resized."""
    size = extractor.weights.network.frame_size
    frames = Video(source, extractor.reading).frames()
    for clip in stream_clips((resize_frame(frame, size) for frame in frames), extractor.plan):
        if clip.start_frame == start:
            return clip
    raise VideoError(f"{source}: it was changed while it was read.")


def _extent(pixels: np.ndarray) -> tuple[list[int], slice, slice]:
    """Where a projection is more than faint: some of the frames, a square of rows and columns."""
    strength = np.abs(pixels).max(axis=0)
    strong = strength >= FAINT * strength.max()
    frames = np.flatnonzero(strong.any(axis=(1, 2)))
    chosen = np.linspace(frames[0], frames[-1], min(SHOWN_FRAMES, int(np.ptp(frames)) + 1))
    spans = [np.flatnonzero(strong.any(axis=axes)) for axes in ((0, 2), (0, 1))]
    side = max(SMALLEST_SIDE, *(int(np.ptp(span)) + 1 for span in spans))
    rows, columns = (
        _around((int(span[0]) + int(span[-1]) + 1) // 2, side, length)
        for span, length in zip(spans, strength.shape[1:], strict=True)
    )
    return [int(t) for t in chosen.round()], rows, columns


def _around(middle: int, side: int, length: int) -> slice:
    """`side` samples about `middle`, moved so that they lie within 0 ... length."""
    side = min(side, length)
    start = min(max(middle - side // 2, 0), length - side)
    return slice(start, start + side)


def _known(seconds: float) -> float | None:
    """A time, or None where it is not known, as in folders of pictures."""
    return None if math.isnan(seconds) else seconds


def _save(report: ExcitationReport, extractor: Extractor, *, per_video: int) -> None:
    content = {
        "layer": report.layer,
        "weights": extractor.weights.name,
        "weights_sha256": extractor.weights_sha256,
        "trained": extractor.weights.trained,
        "stride": extractor.plan.stride,
        "per_video": per_video,
        "num_videos": report.num_videos,
        "num_clips": report.num_clips,
        "maps": [dataclasses.asdict(found) for found in report.maps],
        "skipped": [entry.as_mapping() for entry in report.skipped],
    }
    write_json(report.out / "excite.json", content)
