"""`excite`: the clips that excite maps of a layer most, and what in them does.

Every clip of the videos goes through the network once, streamed; of each map the strongest
activations are remembered by their video, clip and place. Those clips alone are then read again, in
one walk over their videos, and projected back to pixels (`excitation_pictures`, `deconvolution`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.features.extractor import Batch, Extractor
from kinema.files import cache_file, locked_folder, read_tensors, write_json, write_tensors
from kinema.network import as_network
from kinema.progress import Progress
from kinema.skipped import Skipped
from kinema.video.clips import ClipPlan
from kinema.video.loop import Reading
from kinema.video.sources import Source, find_videos, size_in_bytes
from kinema.video.steps import Made, Making, Step, walk
from kinema.views.deconvolution import check_projectable
from kinema.views.excitation_pictures import Chosen, ExcitedMap, draw, picture_path
from kinema.weights import file as weights_room
from kinema.weights.file import Weights

COUNT = 9
"""Strongest clips of a map; Zeiler and Fergus show as many."""

NUM_MAPS = 3
"""Maps that are shown where none is asked for."""

BATCH = 4
"""Clips at once: the first convolutions' outputs are large, 51 MB a clip in C3D."""


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
        return picture_path(self.out, self.layer, number)

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
        FileNotFoundError: one of `paths` is not there.
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
            maps=_drawn(search, sources, extractor, out, maps, threads=threads, progress=progress),
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

    def advance(source: Source, batch: Batch) -> None:
        bar.advance(num_clips=len(batch.clips), size=sizes[source] * batch.progress)

    def making(source: Source, mark: str) -> Making:
        return _Finding(source, extractor, per_video, advance)

    step = Step(extractor.batches, extractor.shrink, making, kept.find, kept.keep)
    with Progress(enabled=progress) as bar:
        bar.start(len(sources), sum(sizes.values()))
        walked = walk(sources, [step], reading=extractor.reading)
        for number, (source, (made,)) in enumerate(walked):
            if isinstance(made, Skipped):
                search.skipped.append(made)
                bar.finish_video(size=sizes[source])
                continue
            found: _Found = made.value
            found.records["video"] = number
            search.strongest = _strongest([search.strongest, found.records], count)
            search.num_videos += 1
            search.num_clips += found.num_clips
            search.mean += (found.records["activation"][0] - search.mean) / search.num_videos
            bar.finish_video(size=sizes[source], found=made.found)
    if not search.num_videos:
        raise ValueError(f"no video can be read; {search.skipped[0]}")
    return search


@dataclass(frozen=True, eq=False)
class _Found:
    """The strongest activations of one video, and how many clips it has."""

    records: np.ndarray
    num_clips: int


class _Finding(Making):
    """The strongest activations of one video, from its batches."""

    def __init__(
        self,
        source: Source,
        extractor: Extractor,
        per_video: int,
        advance: Callable[[Source, Batch], object],
    ) -> None:
        self._source, self._extractor = source, extractor
        self._per_video, self._advance = per_video, advance
        self._records = np.empty((0, extractor.layer_shape[0]), _RECORD)
        self._num_clips = 0

    def take(self, item: Batch) -> None:
        both = [self._records, _records(item, self._extractor)]
        self._records = _strongest(both, self._per_video)
        self._num_clips += len(item.clips)
        self._advance(self._source, item)

    def outcome(self) -> _Found:
        return _Found(self._records, self._num_clips)


class _Kept:
    """The strongest activations of finished videos, in a folder: a stopped search goes on there."""

    def __init__(self, folder: Path, extractor: Extractor, per_video: int) -> None:
        self._folder = folder
        self._key = {
            "settings": extractor.settings(),
            "engine": repr(extractor.engine),
            "per_video": per_video,
        }

    def find(self, source: Source, mark: str) -> _Found | None:
        """None if the video is not finished."""
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
        return _Found(records, columns["num_clips"].item())

    def keep(self, source: Source, made: Made) -> None:
        found: _Found = made.value
        columns = {name: found.records[name] for name in _COLUMNS}
        columns["num_clips"] = np.array(found.num_clips)
        write_tensors(self._file(source, made.mark), columns, {"format": FORMAT})

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


def _drawn(
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
    chosen = {}
    for number in list(dict.fromkeys(maps)) or search.outstanding():
        records = search.strongest[:, number]
        chosen[number] = [
            (
                sources[one["video"]],
                Chosen(number, int(one["start"]), int(one["place"]), float(one["activation"])),
            )
            for one in records[records["activation"] > 0]
        ]
    drawn = draw(chosen, extractor, out, threads=threads, progress=progress)
    return tuple(ExcitedMap(n, float(search.mean[n]), found) for n, found in drawn.items())


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
