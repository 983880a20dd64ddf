"""`Extractor`: one video to its `FeatureTable`.

Note [Same bytes]
    The bytes of a table depend on the video, the settings and the engine alone: not on what was
    extracted before, on the time of day or on where the folder lies. Tables therefore carry no
    dates and no absolute paths, and batches never mix videos.

    On the native engine they might, as its rows do not depend on the batch. That was tried with
    c3d-mini on two cores: videos of one clip took 13 % less time of the processor (the median of
    seven alternating rounds), those of two and of five clips and UCF101's (22 clips on average)
    the same within 3 %. A table would wait for the videos behind it for this, so it is left out.
"""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import av
import cv2
import numpy as np

import kinema
from kinema.features.clip_features import clip_features, shrinking
from kinema.features.table import FeatureTable, normalized
from kinema.features.table_files import ROW_COLUMNS
from kinema.skipped import Skipped, VideoError
from kinema.threads import num_usable_cores
from kinema.video.clips import Clip, ClipPlan, stream_clips
from kinema.video.loop import PLAIN, Reading
from kinema.video.reader import Frame, VideoInfo
from kinema.video.sources import Source, as_source
from kinema.video.steps import Made, Making, Step, nothing_kept, walk
from kinema.weights.several import AnyWeights, resolve_all


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips of one video, ready for the network, and how far into the video they reach."""

    inputs: tuple[np.ndarray, ...]  # of each feature of a clip (N * crops, 3, T, H, W) float32
    clips: list[Clip]  # without their images
    progress: float  # 0 ... 1
    started: tuple[Callable[[], np.ndarray], ...] = ()  # in place of inputs: each gives its rows


Rearrange = Callable[[np.ndarray], np.ndarray]
Find = Callable[[Source, str], FeatureTable | None]
"""Of a source and its fingerprint, the table that was made before."""


def still(clips: np.ndarray) -> np.ndarray:
    """Clips (N, 3, T, H, W) with all their frames replaced by the middle one."""
    middle = clips.shape[2] // 2
    return np.repeat(clips[:, :, middle : middle + 1], clips.shape[2], axis=2)


class Extractor:
    """What turns one video into a `FeatureTable`: weights packed once, used for many videos.

    With several nets their features stand side by side in a row, each brought to length 1 there.

    Args:
        weights: a name, a file, `Weights`, or several of them; "A+B" names two.
        layer: whose output is the feature; fc6 after its ReLU, as the original saves it.
        plan: which frames make which clip; its length must be the network's.
        mean: what to subtract, when it is not the weights' own: a file, "B,G,R", three numbers or
            a volume.
        device, engine, precision, threads: see `Engine`.
        batch: clips that go through the network at once, or crops of clips.
        reading: how videos are read.
        crops: 1, 5 or 10 of each clip, whose mean is its features; see Note [Crops] of
            `video.crops`.

    Attributes:
        features: what each net tells of a clip.
        weights, engine: of the first net.
        layer: "fc6"; "fc6+pool" of two nets.
        layer_shape: of a row.

    Raises:
        ValueError: a setting is wrong, or is one that none of the nets has a choice of.
    """

    def __init__(
        self,
        weights: AnyWeights | Sequence[AnyWeights] = "c3d-mini",
        *,
        layer: str = "fc6",
        plan: ClipPlan | None = None,
        mean: Any = None,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        batch: int = 8,
        reading: Reading = PLAIN,
        crops: int = 1,
    ) -> None:
        if batch < 1:
            raise ValueError(f"`batch` must be at least 1 clip, got {batch}.")
        self.reading = reading
        self.plan = plan or ClipPlan()
        nets = resolve_all(weights)
        self.features = clip_features(
            nets,
            layer=layer,
            mean=mean,
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
            crops=crops,
        )
        length = nets[0].network.input_shape[1]
        if self.plan.length != length:
            raise ValueError(
                f"`length` of a clip must be the network's {length} frames, got {self.plan.length}."
            )
        first = self.features[0]
        self.weights, self.engine = first.weights, first.engine
        self.layer = "+".join(one.layer for one in self.features)
        self.layer_shape = first.layer_shape
        if len(self.features) > 1:
            self.layer_shape = (sum(math.prod(one.layer_shape) for one in self.features),)
        self.crops = crops
        self.batch = max(batch // crops, 1)

    def settings(self) -> dict[str, Any]:
        """What decides over the features, as JSON values."""
        return copy.deepcopy(self._settings)

    @functools.cached_property
    def _settings(self) -> dict[str, Any]:
        each = [one.settings() for one in self.features]
        several = {"layer": self.layer, "weights_sha256": self.weights_sha256, "parts": each}
        return {
            **(each[0] if len(each) == 1 else several),
            **self.plan.settings(),
            "colours": self.reading.colours,
            **({} if self.crops == 1 else {"crops": self.crops}),
        }

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Checksum of the weights, computed once; "A+B" of two nets."""
        return "+".join(one.weights.sha256 for one in self.features)

    @property
    def weights_name(self) -> str:
        """What the weights are called; "A+B" of two nets."""
        return "+".join(one.weights.name for one in self.features)

    def weights_metadata(self) -> Any:
        """What is known of the weights; of two nets a list."""
        each = [one.weights.metadata() for one in self.features]
        return each[0] if len(each) == 1 else each

    @property
    def engine_name(self) -> str:
        """What computes the features; of two nets both."""
        return "+".join(dict.fromkeys(repr(one.engine) for one in self.features))

    def batches(
        self,
        source: Source,
        info: VideoInfo,
        frames: Iterator[Frame],
        num_frames: int | None = None,
        *,
        start: bool = False,
    ) -> Iterator[Batch]:
        """The clips of a video, preprocessed, as its frames come, resized; see `Step.items`.

        `num_frames` is what `ClipPlan.count` gave, where it is needed; `start` lets a GPU begin.

        Raises:
            VideoError, OSError: the video cannot be read, or breaks; clips before that were given.
        """
        promised = info.num_frames or 0
        inputs: list[list[Any]] = []  # of each clip what each feature takes, or its frames
        clips: list[Clip] = []

        def flush() -> Batch:
            done = min(clips[-1].stop_frame / promised, 1.0) if promised else 0.0
            of_features = [*zip(*inputs, strict=True)]
            full = Batch((), [*clips], done)
            if start:
                each = zip(self.features, of_features, strict=True)
                full = replace(full, started=tuple(one.start(x) for one, x in each))
            else:
                full = replace(full, inputs=tuple(map(np.concatenate, of_features)))
            inputs.clear()
            clips.clear()
            return full

        try:
            starts = source.starts and sorted(source.starts)
            for clip in stream_clips(frames, self.plan, starts=starts, num_frames=num_frames):
                parts = self._parts(clip.images)
                each = zip(self.features, parts, strict=True)
                inputs.append(parts if start else [one.prepare(part) for one, part in each])
                clips.append(replace(clip, images=[]))
                if len(clips) == self.batch:
                    yield flush()
        except VideoError:
            if clips:
                yield flush()
            raise
        if clips:
            yield flush()

    def run(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """(N, D) float32 features of a batch's clips."""
        return _beside([one.rows(x) for one, x in zip(self.features, inputs, strict=True)])

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
            "weights": self.weights_name,
            "trained": all(one.weights.trained for one in self.features),
            "engine": self.engine_name,
            "versions": versions(),
            "partial": broken and {"frame": broken.frame_index, "reason": str(broken)},
            "layer": self.layer,
            "settings": self.settings(),
        }
        return FeatureTable(features=features, **columns, about=about)

    @property
    def shrink(self) -> Callable[[Frame], Frame]:
        """What the clips take of a frame, see `Step.shrink`: the same for nets of one size."""
        return shrinking(tuple(one.shrink for one in self.features))

    def step(
        self,
        *,
        find: Find = nothing_kept,
        keep: Callable[[Source, Made], object] = lambda source, made: None,
        keep_partial: bool = False,
        rearrange: Rearrange | None = None,
        advance: Callable[[Source, Batch], object] = lambda source, batch: None,
        what: Hashable = None,
    ) -> Step:
        """The table of each video, as a step of a walk over videos.

        Args:
            find, keep, what: see `Step`.
            keep_partial: of a video that breaks, keep the rows before that.
            rearrange: changes clips (N, 3, T, H, W) before the network, for experiments.
            advance: is told of each batch that is done.
        """

        def run(source: Source, batch: Batch) -> np.ndarray:
            inputs = batch.inputs
            if rearrange is not None:
                inputs = tuple(np.ascontiguousarray(rearrange(each)) for each in inputs)
            begun = [wait() for wait in batch.started]
            rows = _beside(begun) if begun else self.run(inputs)
            advance(source, batch)
            return rows

        def making(source: Source, mark: str) -> Making:
            return _TableMaking(self, source, mark, run, keep_partial=keep_partial)

        survey = None if self.plan.clips is None else self.plan.count
        starts = self._on_gpu and rearrange is None
        items = functools.partial(self.batches, start=True) if starts else self.batches
        return Step(items, self.shrink, making, find, keep, what, survey)

    @property
    def _on_gpu(self) -> bool:
        return any(one.engine.device == "cuda" for one in self.features)

    @property
    def walking(self) -> dict[str, Any]:
        """How to `walk` with its step: beside a GPU a video is read on each core."""
        return {"reading": self.reading, "threads": num_usable_cores() if self._on_gpu else 1}

    def __call__(
        self, video: str | os.PathLike[str] | Source, *, rearrange: Rearrange | None = None
    ) -> FeatureTable:
        """The table of one video.

        `rearrange` changes clips (N, 3, T, H, W) before they go into the network, for experiments.

        Raises:
            VideoError: it cannot be read to its end; the message names it.
        """
        step = self.step(rearrange=rearrange)
        ((_, (made,)),) = walk([as_source(video)], [step], **self.walking)
        if isinstance(made, Skipped):
            raise VideoError(str(made))
        table: FeatureTable = made.value
        return table

    def _parts(self, images: Sequence[Any]) -> list[Any]:
        """What each feature has of a clip: its shrunk frames."""
        return [images] if len(self.features) == 1 else [*zip(*images, strict=True)]


def _beside(rows: Sequence[np.ndarray]) -> np.ndarray:
    return rows[0] if len(rows) == 1 else np.hstack([normalized(side) for side in rows])


class _TableMaking(Making):
    """The table of one video, from its batches."""

    def __init__(
        self,
        extractor: Extractor,
        source: Source,
        mark: str,
        run: Callable[[Source, Batch], np.ndarray],
        *,
        keep_partial: bool,
    ) -> None:
        self._extractor, self._source, self._mark = extractor, source, mark
        self._run, self._keep_partial = run, keep_partial
        self._rows: list[np.ndarray] = []
        self._clips: list[Clip] = []

    def take(self, item: Batch) -> None:
        self._rows.append(self._run(self._source, item))
        self._clips += item.clips

    def outcome(self, error: VideoError | None = None) -> FeatureTable:
        return self._extractor.table(
            self._source, self._rows, self._clips, video_fingerprint=self._mark, broken=error
        )

    def broken(self, error: Exception) -> FeatureTable:
        if not isinstance(error, VideoError) or error.frame_index is None:
            raise error
        if not (self._keep_partial and self._clips):
            raise error
        return self.outcome(error)


def _list_order(starts: Sequence[int], num_clips: int) -> np.ndarray:
    """Which clip, counted in time, stands in each row of a list that starts them in any order.

    `num_clips` can be less than the list's: those before the frame at which a video broke.
    """
    rank = np.empty(len(starts), int)
    rank[np.argsort(starts, kind="stable")] = np.arange(len(starts))
    return rank[rank < num_clips]


def versions() -> dict[str, str]:
    """What was used to make features."""
    return {
        "kinema": kinema.__version__,
        "ffmpeg": str(av.ffmpeg_version_info),
        "pyav": av.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }
