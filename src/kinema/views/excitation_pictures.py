"""The pictures of `excite`: the chosen clips, read again, beside what in them excites a map."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema import plots
from kinema.features.extractor import Extractor
from kinema.progress import Counted
from kinema.skipped import Skipped, VideoError
from kinema.video.clips import Clip, ClipPlan, preprocess, stream_clips
from kinema.video.reader import Frame, VideoInfo
from kinema.video.sources import Source
from kinema.video.steps import Making, Step, walk
from kinema.views.deconvolution import project

MAPS_AT_ONCE = 16
"""Maps whose pictures are made in one walk over the videos; what they show is held until then, up
to a megabyte a clip."""

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
class Chosen:
    """A clip that is to be drawn for a map.

    Attributes:
        number: of the map.
        start: the clip's first frame.
        place: of the activation in the map, all axes as one.
        activation: the map's largest in this clip.
    """

    number: int
    start: int
    place: int
    activation: float


def picture_path(out: Path, layer: str, number: int) -> Path:
    """The file with the clips of one map."""
    return out / f"{layer}-{number}.png"


def draw(
    chosen: Mapping[int, Sequence[tuple[Source, Chosen]]],
    extractor: Extractor,
    out: Path,
    *,
    threads: int | None = None,
    progress: bool = False,
) -> dict[int, tuple[Excitation, ...]]:
    """A picture `out/LAYER-MAP.png` for each map that has clips; a video is read once for 16 maps.

    Args:
        chosen: by map, its clips, the strongest first.
        extractor: what they were chosen with.
        out: the folder.
        threads: CPU threads; None for all.
        progress: whether to show progress on standard error.

    Raises:
        VideoError: a video cannot be read any more; it is named.
    """
    drawn: dict[int, tuple[Excitation, ...]] = {}
    numbers = list(chosen)
    total = sum(map(len, chosen.values()))
    with Counted("clips projected", total, enabled=progress) as bar:
        for first in range(0, len(numbers), MAPS_AT_ONCE):
            some = {number: chosen[number] for number in numbers[first : first + MAPS_AT_ONCE]}
            made = _projected(some, extractor, threads, bar)
            for number, clips in some.items():
                found = [made[source, clip] for source, clip in clips]
                drawn[number] = tuple(excitation for excitation, _ in found)
                if found:
                    title = f"{extractor.layer} of {extractor.weights.name}, map {number}"
                    path = picture_path(out, extractor.layer, number)
                    plots.projections(path, [strip for _, strip in found], title=title)
    return drawn


_Projected = tuple[Excitation, plots.Projection]


def _projected(
    chosen: Mapping[int, Sequence[tuple[Source, Chosen]]],
    extractor: Extractor,
    threads: int | None,
    bar: Counted,
) -> dict[tuple[Source, Chosen], _Projected]:
    """Each clip projected to pixels, in one walk over their videos."""
    wanted: dict[Source, dict[int, list[Chosen]]] = defaultdict(lambda: defaultdict(list))
    for clips in chosen.values():
        for source, clip in clips:
            wanted[source][clip.start].append(clip)

    def items(source: Source, info: VideoInfo, frames: Iterator[Frame]) -> Iterator[Clip]:
        missing = set(wanted[source])
        for clip in stream_clips(frames, extractor.plan):
            if clip.start_frame in missing:
                missing.remove(clip.start_frame)
                yield clip
            if not missing:  # the rest of the video is not read
                return
        raise VideoError("it was changed while it was read.")

    def making(source: Source, mark: str) -> Making:
        return _Projections(source, wanted[source], extractor, threads, bar)

    made: dict[tuple[Source, Chosen], _Projected] = {}
    # Projecting takes longer than reading, and these videos have been read in time before.
    reading = dataclasses.replace(extractor.reading, video_seconds=None)
    step = Step(items, extractor.shrink, making)
    for source, (outcome,) in walk(wanted, [step], reading=reading):
        if isinstance(outcome, Skipped):
            raise VideoError(str(outcome))
        made.update({(source, clip): found for clip, found in outcome.value.items()})
    return made


class _Projections(Making):
    """What the chosen clips of one video come to."""

    def __init__(
        self,
        source: Source,
        wanted: Mapping[int, Sequence[Chosen]],
        extractor: Extractor,
        threads: int | None,
        bar: Counted,
    ) -> None:
        self._source, self._wanted = source, wanted
        self._extractor, self._threads, self._bar = extractor, threads, bar
        self._made: dict[Chosen, _Projected] = {}

    def take(self, item: Clip) -> None:
        for chosen in self._wanted[item.start_frame]:
            self._made[chosen] = _project(
                self._source, item, chosen, self._extractor, self._threads
            )
            self._bar.advance()

    def outcome(self) -> dict[Chosen, _Projected]:
        return self._made


def _project(
    source: Source, clip: Clip, chosen: Chosen, extractor: Extractor, threads: int | None
) -> _Projected:
    """The strongest activation of a map in a clip, projected to pixels."""
    network, mean = extractor.weights.network, extractor.weights.mean
    assert mean is not None  # the extractor has seen to it
    crop = (network.input_shape[2], network.input_shape[3])
    inputs = preprocess(clip.images, mean=mean, resize_to=None, crop=crop)
    place = np.unravel_index(chosen.place, extractor.layer_shape[1:])
    position = tuple(int(index) for index in place)
    excitation = Excitation(
        video=source.name,
        start_frame=clip.start_frame,
        stop_frame=clip.stop_frame,
        start_seconds=_known(clip.start_seconds),
        stop_seconds=_known(clip.stop_seconds),
        activation=chosen.activation,
        position=position,
    )
    pixels = project(
        extractor.engine, extractor.weights, inputs, (chosen.number, *position), threads=threads
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
