"""`prepare`: videos to a `ClipStore`, so that training can read clips at random.

What is kept of a frame, its picture, its flow, a network's maps, is `recording`'s.

Two schemes:
    whole   all frames of each video, as for UCF101
    five    two seconds of each training video, five times at random, as for Sports-1M (Tran et al.,
            section 3.3); of each test video ten times, because its score is the mean of ten clips

A run that was stopped goes on with the same command. What is drawn depends on the seed and the
video's name alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset, Sample, Split
from kinema.progress import Progress
from kinema.skipped import Skipped, VideoError
from kinema.threads import num_usable_cores
from kinema.training.clip_store import ClipStore, ClipWriter, StoredVideo
from kinema.training.recipes import RECIPES
from kinema.training.recording import QUALITY, Pictures, Recording
from kinema.video.clips import C3D_RESIZE
from kinema.video.loop import Reading, Video, each_video
from kinema.video.reader import Frame, VideoReader
from kinema.video.sources import Source, fingerprint, size_in_bytes
from kinema.words import some

SCHEMES = ("whole", "five")

SEGMENT_SECONDS = 2.0
"""Length of the clips of Sports-1M's scheme (Tran et al., section 3.3)."""

NUM_TRAIN_SEGMENTS, NUM_TEST_SEGMENTS = 5, 10
"""Clips of a training video, and of a test video (Tran et al., section 3.3)."""


@dataclass
class PrepareReport:
    """What a run of `prepare` did.

    Attributes:
        out: the store.
        num_videos: videos of the dataset.
        num_done: those that this run added.
        num_found: those that were there already.
        num_frames: frames that this run added.
        num_bytes: size of the store.
        skipped: videos that could not be read, and why.
        notes: what else the user should know, a line each.
        seconds: how long the run took.
    """

    out: Path
    num_videos: int
    num_done: int = 0
    num_found: int = 0
    num_frames: int = 0
    num_bytes: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self) -> str:
        """The report in a line."""
        line = f"{self.out}: {self.num_done} of {self.num_videos} videos prepared"
        if self.num_found:
            line += f", {self.num_found} were there"
        if self.skipped:
            line += f", {len(self.skipped)} could not be read"
        rate = self.num_frames / self.seconds if self.seconds else 0.0
        return (
            f"{line}; {self.num_frames} frames in {self.seconds:.0f} s, {rate:.0f} frames/s; "
            f"{self.num_bytes / 1e6:.1f} MB"
        )


def prepare(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    out: str | os.PathLike[str],
    recipe: str | None = None,
    clips: str | None = None,
    size: tuple[int, int] | None = None,
    quality: int = QUALITY,
    streams: Sequence[str] | None = None,
    flow: str = "dis",
    flow_cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> PrepareReport:
    """Prepare the videos of a dataset for training, in one file.

    Args:
        dataset: a dataset or its path, see `datasets.load`.
        out: the file to write; one that was begun with the same settings is gone on with.
        recipe: what the clips are for, a name of `recipes.RECIPES`; it decides over `clips`, `size`
            and `streams` where they are not given.
        clips: "whole" or "five", see above; "whole" without a recipe.
        size: (height, width) that frames are resized to, `Network.frame_size` of the network that
            shall learn from them; 128x171, C3D's, without a recipe.
        quality: of the JPEG pictures, 1 to 100.
        streams: what is kept of each frame, some of "rgb", "flow" and "imagenet", see `recording`;
            "rgb" without a recipe.
        flow: method of the stream flow, "dis" or "brox".
        flow_cache: a folder of flows, see `flow.cache`: those that it has are taken from there,
            others are made and kept.
        seed: of the scheme "five".
        kind, lists: see `datasets.load`.
        threads: videos that are read at once; None for one on each core.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show a progress bar on standard error.

    Raises:
        ValueError: a setting is wrong, `out` was begun with other settings, or no video could be
            read.
        ImportError: the package that a stream needs is not installed.
        OSError: the disk is full, or `out` cannot be written.
    """
    if recipe is not None and recipe not in RECIPES:
        raise ValueError(f"`recipe` must be one of {', '.join(RECIPES)}; got {recipe!r}.")
    clips = clips or (RECIPES[recipe].clips if recipe else "whole")
    size = size or (RECIPES[recipe].frame_size if recipe else C3D_RESIZE)
    if clips not in SCHEMES:
        raise ValueError(f"`clips` must be one of {', '.join(SCHEMES)}; got {clips!r}.")
    if streams is None:
        streams = (RECIPES[recipe].make_network(2).stream,) if recipe else ("rgb",)
    recording = Recording(
        streams=tuple(streams),
        size=size,
        quality=quality,
        flow=flow,
        flow_cache=None if flow_cache is None else Path(flow_cache),
        colours=colours,
    )
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, got {seed}.")
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    reading = Reading(colours, video_seconds)
    recording.check()
    if not isinstance(dataset, Dataset):
        dataset = load(dataset, kind=kind, lists=lists)
    out = Path(out)
    report = PrepareReport(out, len(dataset.samples), notes=list(dataset.notes))
    if dataset.missing:
        report.notes.append(
            f"{len(dataset.missing)} listed videos are not there: see `kinema dataset info`."
        )
    splits = {
        name: {
            side: [dataset.samples[index].name for index in indices]
            for side, indices in (("train", split.train), ("test", split.test))
        }
        for name, split in dataset.splits.items()
    }
    about = {
        "kind": dataset.kind,
        "size": list(size),
        "clips": clips,
        "quality": quality,
        "seed": seed,
        "classes": list(dataset.classes),
        "splits": splits,
        **recording.about(),
    }
    if colours != "file":
        about["colours"] = colours
    tested = {name for split in splits.values() for name in split["test"]}
    with ClipWriter(out, about) as writer, Progress(enabled=progress) as bar:
        before = writer.fingerprints()
        gone = before.keys() - {sample.name for sample in dataset.samples}
        if gone:
            report.notes.append(
                f"no longer in the dataset, but kept in {out}: {some(sorted(gone), 'video')}; "
                "prepare another file to be without them."
            )

        def read(video: Video) -> list[_Read]:
            sample = samples[video.source]
            mark = fingerprint(sample.path)
            if sample.name in before:
                return [_Read(mark, found=True)]
            num_segments = NUM_TEST_SEGMENTS if sample.name in tested else NUM_TRAIN_SEGMENTS
            segments = []
            frames_of = _whole if clips == "whole" else _five
            for start, part, frames in frames_of(video, seed=seed, num_segments=num_segments):
                with recording.recorder(out.parent, part, mark) as recorder:
                    for frame in frames:
                        recorder.take(recording.shrink(frame))
                    recorder.end()
                segments.append((start, recorder.pictures))
            return [_Read(mark, segments)]

        samples = {sample.source: sample for sample in dataset.samples}
        sizes = {source: size_in_bytes(source.path) for source in samples}
        bar.start(len(samples), sum(sizes.values()))
        threads = threads or num_usable_cores()
        for source, result in each_video(samples, read, reading=reading, threads=threads):
            sample, num_bytes = samples[source], sizes[source]
            if isinstance(result, Skipped):
                writer.add_skipped(sample.name, sample.labels, sample.group, result.reason)
                report.skipped.append(result)
                bar.finish_video(size=num_bytes)
                continue
            if result.found:
                if before[sample.name] != result.fingerprint:
                    raise ValueError(
                        f"{out} holds clips of another video of the name {sample.name}: choose "
                        "another `out`."
                    )
                report.num_found += 1
            else:
                writer.add(
                    sample.name, sample.labels, sample.group, result.fingerprint, result.segments
                )
                report.num_done += 1
                num_frames = sum(len(next(iter(each.values()))) for _, each in result.segments)
                report.num_frames += num_frames
                bar.advance(num_clips=num_frames // 16, size=num_bytes)
            bar.finish_video(size=num_bytes, found=result.found)
        if not report.num_done + report.num_found:
            raise ValueError(f"no video could be read ({_first(report.skipped)}).")
        writer.finish()
        report.seconds = bar.seconds
    report.num_bytes = out.stat().st_size
    return report


@dataclass(frozen=True)
class _Read:
    """What came of a video."""

    fingerprint: str = ""
    segments: Sequence[tuple[float, Mapping[str, Pictures]]] = ()
    found: bool = False


_Segments: TypeAlias = Iterator[tuple[float, Source, Iterable[Frame]]]
"""When a segment starts, what of the file it is, and its frames."""


def _whole(video: Video, **_: Any) -> _Segments:
    """One segment: the whole video, or the part of it that the dataset names."""
    frames = video.frames()
    first = next(frames, None)
    if first is None:
        raise VideoError(f"it holds no frame after {video.source.start_seconds:g} s.")
    start = 0.0 if math.isnan(first.start_seconds) else first.start_seconds
    yield start, video.source, itertools.chain([first], frames)


def _five(video: Video, *, seed: int, num_segments: int) -> _Segments:
    """Some random segments of two seconds, in the order of time."""
    reader, name = video.reader(), video.source.name
    begin, end = _times(video.source, reader)
    for start, stop in draw_segments(name, begin, end, num_segments, seed=seed):
        part = dataclasses.replace(video.source, start_seconds=start, stop_seconds=stop)
        frames = dataclasses.replace(video, source=part).frames(reader)
        first = next(frames, None)
        if first is None:
            raise VideoError(f"no frame can be read at {start:.2f} s, though its header has more.")
        yield first.start_seconds, part, itertools.chain([first], frames)


def draw_segments(
    name: str, start_seconds: float, stop_seconds: float, num_segments: int, *, seed: int
) -> list[tuple[float, float]]:
    """Start and stop of random segments of two seconds, sorted; a short video gives one, all of it.

    A pure function of its arguments: a run that is stopped and gone on with draws the same.
    """
    latest = stop_seconds - SEGMENT_SECONDS
    if latest <= start_seconds:
        return [(start_seconds, stop_seconds)]
    generator = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    starts = np.sort(generator.uniform(start_seconds, latest, num_segments))
    return [(float(start), float(start) + SEGMENT_SECONDS) for start in starts]


def _times(source: Source, reader: VideoReader) -> tuple[float, float]:
    """Start and stop of the part that counts: as the dataset and the header say, or by counting."""
    begin = next(iter(reader)).start_seconds  # recordings of broadcasts start at any time
    if math.isnan(begin):
        raise VideoError("a folder of pictures has no times: prepare it whole.")
    duration = reader.info.duration_seconds
    end = max(frame.stop_seconds for frame in reader) if duration is None else begin + duration
    begin = max(begin, source.start_seconds)
    return begin, end if source.stop_seconds is None else min(source.stop_seconds, end)


def _first(skipped: Sequence[Skipped]) -> str:
    return str(skipped[0]) if skipped else "there is none"


def split_videos(
    store: ClipStore, split: str | None = None, *, labelled: bool = True
) -> tuple[list[StoredVideo], list[StoredVideo]]:
    """The prepared videos to learn from and those to test on.

    Args:
        store: prepared clips.
        split: name of an official split; None for the first, or, where there is none, for one of
            our own (`datasets.make_split`); of unlabelled videos none is kept for tests.
        labelled: whether classes are learned, so that one alone is refused.

    Raises:
        ValueError: there is no such split; one class only, or no training video.
    """
    videos = store.videos
    if labelled and len(store.classes) < 2:
        raise ValueError(f"{store.path} has one class, {store.classes[0]}: nothing to tell apart.")
    if store.about["kind"] == "unlabelled" and videos:
        return [*videos], []  # there is nothing to test
    index_of = {video.name: index for index, video in enumerate(videos)}
    dataset = Dataset(
        kind=store.about["kind"],
        root=store.path,
        classes=store.classes,
        samples=tuple(Sample(Path(v.name), v.name, v.labels, v.group) for v in videos),
        splits={
            name: Split(
                train=tuple(index_of[n] for n in sides["train"] if n in index_of),
                test=tuple(index_of[n] for n in sides["test"] if n in index_of),
            )
            for name, sides in store.splits.items()
        },
        missing=(),
        notes=(),
    )
    chosen = dataset.split(split)
    train = [videos[index] for index in chosen.train]
    if not train:
        raise ValueError(f"the split of {store.path} has no training video that can be read.")
    return train, [videos[index] for index in chosen.test]
