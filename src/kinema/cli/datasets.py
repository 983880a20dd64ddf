"""Labelled videos: `kinema dataset info`; `kinema prepare`, which makes clips to train on."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import DatasetPath, Labels, MaxSkipped, Reading, Recipe, Switch
from kinema.skipped import Skipped


def info(
    path: Path,
    *,
    labels: Labels = Labels(),
    decode: Switch = False,
    near_duplicates: Switch = False,
    threads: options.Readers = None,
    video_seconds: options.VideoSeconds = None,
    max_skipped: Annotated[int | None, options.MAX_SKIPPED] = None,
    all: Switch = False,
    json: Switch = False,
) -> Done:
    """Tell what is in a dataset: classes, splits, durations, what is missing or cannot be read.

    Exits with 0 when that could be told, whatever is missing, unless --max-skipped is given.

    Args:
        path: Folder with a folder per class, or with train and test folders of these; a copy of
            UCF101, HMDB51, Sports-1M or Kinetics, or a part of one; or a CSV file (path,label, and
            start_seconds,stop_seconds for parts of videos).
        labels.lists: Folder with the official lists, if it is not beside or below PATH.
        labels.kind: What it is, if that is not to be found out by its lists.
        decode: Read every frame, to find damage further on.
        near_duplicates: Look for videos of one recording or scene, and for those that are on both
            sides of an official split.
        all: Show all classes and all that is missing or cannot be read.
        json: Print it as JSON.
    """
    from kinema.datasets.inspection import inspect
    from kinema.datasets.loaders import load
    from kinema.datasets.near_duplicates import find_near_duplicates
    from kinema.video import loop

    reading = loop.Reading(video_seconds=video_seconds)
    dataset = load(path, **vars(labels))
    report = inspect(dataset, decode=decode, reading=reading, threads=threads, progress=True)
    found = None
    if near_duplicates:
        found = find_near_duplicates(dataset, reading=reading, threads=threads, progress=True)
        report = report.with_unreadable(found.unreadable)  # it has read them to their ends
    if json:
        facts = report.as_mapping()
        if found is not None:
            facts["copies"] = found.as_mapping(dataset.splits)
        print(json_module.dumps(facts))
    else:
        print(report.text(max_classes=None, max_names=None) if all else report.text())
        if found is not None:
            print(found.text(dataset.splits, max_names=None if all else 5))
    skipped = [Skipped(name, reason) for name, reason in report.unreadable.items()]
    return Done(skipped=skipped, max_skipped=max_skipped, named=True)


@options.flags(options.OWN)
class Kept:
    """What is kept of each frame."""

    size: str | None = None
    """Height x width of the frames, as the network wants them; 128x171, C3D's, by default."""
    quality: int = 95
    """Of the JPEG pictures."""
    streams: str | None = None
    """What is kept of each frame, with commas between: rgb, its picture; flow, the optical flow to
    the next one; imagenet, the last maps of ImageNet's network. What the recipe's network sees by
    default, or rgb."""
    flow: Literal["dis", "brox"] = "dis"
    """Method of the stream flow: dense inverse search, or Brox et al. 2004, which is slow."""
    flow_cache: Path | None = None
    """Folder where flows are found, or else kept, to be used again."""

    def given(self) -> dict[str, Any]:
        """These as keyword arguments."""
        size = None if self.size is None else _height_and_width(self.size)
        streams = None if self.streams is None else options.names(self.streams)
        return {**vars(self), "size": size, "streams": streams}


@options.flags(options.SHARING)
class Sharing:
    """How the videos are shared among machines."""

    shared: str | None = None  # no path: of `s3://bucket` a `Path` makes `s3:/bucket`
    """Share the videos with other processes, on any machines, that are started with the same
    command: a folder that all see, or its URL, as s3://bucket/folder, where the clips of each video
    lie until every process has written its own --out."""
    ray: options.Ray = False


def prepare(
    dataset: DatasetPath,
    *,
    out: Path,
    sharing: Sharing = Sharing(),
    recipe: Recipe | None = None,
    clips: Literal["whole", "five"] | None = None,
    kept: Kept = Kept(),
    seed: int = 0,
    labels: Labels = Labels(),
    threads: options.Readers = None,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Prepare the videos of a dataset for training, in one file of clips that are read at random.

    A stopped run goes on with the same command. A video that cannot be read is left out and named.

    Args:
        out: File to write.
        recipe: What the clips are for; it decides over clips, size and streams, if they are not
            named.
        clips: All frames of each video, or (Sports-1M's scheme) five times two seconds at random.
        seed: Of the random clips.
    """
    from kinema.training.prepare import prepare

    report = prepare(
        dataset,
        out=out,
        recipe=recipe,
        clips=clips,
        seed=seed,
        threads=threads,
        progress=True,
        **vars(sharing),
        **kept.given(),
        **vars(labels),
        **vars(reading),
    )
    return Done(
        skipped=report.skipped,
        max_skipped=max_skipped,
        notes=report.notes,
        lines=[report.summary()],
    )


def _height_and_width(size: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d+x\d+", size):
        raise ValueError(f"--size must be height x width, as 128x171, got {size!r}.")
    height, width = map(int, size.split("x"))
    return height, width
