"""`prepare`: videos to a `ClipStore`, so that training can read clips at random.

    videos --clip_maker--> clips of each --preparation.write--> one file

Which clips is `clip_maker`'s, what is kept of a frame, its picture, its flow, a network's maps,
`recording`'s. Where many processes do it together, the clips of each video lie in one place in
between, see `prepare_shared`.

A run that was stopped goes on with the same command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset, Sample, Split
from kinema.progress import Progress
from kinema.threads import num_usable_cores
from kinema.training.clip_maker import ClipMaker
from kinema.training.clip_store import ClipStore, StoredVideo
from kinema.training.preparation import Outcomes, Preparation, Prepared, PrepareReport, write
from kinema.training.prepare_shared import prepare_shared
from kinema.training.recipes import RECIPES
from kinema.training.recording import QUALITY, Recording
from kinema.video.clips import C3D_RESIZE
from kinema.video.loop import Reading, Video, each_video
from kinema.video.sources import fingerprint, size_in_bytes


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
    shared: str | os.PathLike[str] | None = None,
    ray: str | bool = False,
    progress: bool = False,
) -> PrepareReport:
    """Prepare the videos of a dataset for training, in one file.

    Args:
        dataset: a dataset or its path, see `datasets.load`.
        out: the file to write; one that was begun with the same settings is gone on with.
        recipe: what the clips are for, a name of `recipes.RECIPES`; it decides over `clips`, `size`
            and `streams` where they are not given.
        clips: "whole" or "five", see `clip_maker`; "whole" without a recipe.
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
        shared: a folder that several machines see, or its URL (s3://bucket/folder): the videos are
            shared with other processes that are started with the same, and each writes its own
            `out`, with the bytes of a single run; see `prepare_shared`.
        ray: let actors of a Ray cluster make the clips, by way of `shared`: its address, or True
            for the one that this machine is part of, or else for one that is started here.
            `threads` are those of an actor.
        progress: whether to show a progress bar on standard error.

    Raises:
        ValueError: a setting is wrong, `out` or `shared` was begun with other settings or videos,
            or no video could be read.
        ImportError: the package that a stream or `shared` needs is not installed.
        EngineError: two processes made different clips of the same video.
        OSError: the disk is full, `out` cannot be written, or `shared` does not answer.
    """
    if recipe is not None and recipe not in RECIPES:
        raise ValueError(f"`recipe` must be one of {', '.join(RECIPES)}; got {recipe!r}.")
    if streams is None:
        streams = (RECIPES[recipe].make_network(2).stream,) if recipe else ("rgb",)
    recording = Recording(
        streams=tuple(streams),
        size=size or (RECIPES[recipe].frame_size if recipe else C3D_RESIZE),
        quality=quality,
        flow=flow,
        flow_cache=None if flow_cache is None else Path(os.path.abspath(flow_cache)),
        colours=colours,
    )
    clips = clips or (RECIPES[recipe].clips if recipe else "whole")
    maker = ClipMaker(recording=recording, clips=clips, seed=seed)
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    if ray and shared is None:
        raise ValueError("`ray` needs `shared`: a folder that all machines see, or its URL.")
    reading = Reading(colours, video_seconds)
    recording.check()
    if not isinstance(dataset, Dataset):
        dataset = load(dataset, kind=kind, lists=lists)
    preparation = Preparation(dataset, Path(out), maker, reading, threads)
    if shared is not None:
        return prepare_shared(preparation, shared, ray=ray, progress=progress)
    return _prepare(preparation, progress=progress)


def _prepare(preparation: Preparation, *, progress: bool) -> PrepareReport:
    """Prepare all videos in this process."""
    report = preparation.report()
    samples = {sample.source: sample for sample in preparation.dataset.samples}
    sizes = {sample.name: size_in_bytes(sample.path) for sample in samples.values()}

    def outcomes(before: Mapping[str, str]) -> Outcomes:
        def read(video: Video) -> list[Prepared]:
            mark = fingerprint(video.source.path)
            name = video.source.name
            if name in before:
                return [Prepared(mark)]
            folder, tested = preparation.out.parent, name in preparation.tested
            made = preparation.maker.make(video, mark, folder, tested=tested)
            return [Prepared(mark, made)]

        threads = preparation.threads or num_usable_cores()
        results = each_video(samples, read, reading=preparation.reading, threads=threads)
        for source, result in results:
            yield samples[source], result

    with Progress(enabled=progress) as bar:
        write(preparation, report, outcomes, sizes=sizes, bar=bar)
        report.seconds = bar.seconds
    report.num_bytes = preparation.out.stat().st_size
    return report


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
