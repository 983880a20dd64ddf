"""`fill`: the caches of several describers of videos, each video decoded once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.video.loop import PLAIN, Reading
from kinema.video.sources import Source
from kinema.video.steps import Step, distinct, walk


def fill(
    describers: Sequence[Any],
    videos: Iterable[Source],
    *,
    reading: Reading = PLAIN,
    also: Sequence[Step] = (),
    threads: int = 1,
    progress: bool = False,
) -> Iterator[tuple[Source, Skipped | None]]:
    """Describe videos and keep it; then `rows` and `transform` find it all without decoding.

    A describer takes part that has a method `step() -> Step` and a folder `cache`. One without
    `step` is passed over: it reads videos by itself when its rows are asked for.

    Describers that keep the same, as c3d's and those of c3d+imagenet, do their work once.

    Args:
        describers: `C3DFeatures`, `ImageNetFeatures` and the like.
        videos: what to describe.
        reading: how videos are read; its colours must be those of the describers, and its time is
            one for all of them together.
        also: what else is to be made of the same videos. Faults of these alone are not told.
        threads: videos that are read at once.
        progress: whether to show progress on standard error.

    Returns:
        Each video, in order, with None, or why one of the describers could not use it: the first
        of them, in their order.

    Raises:
        ValueError: a describer has no cache, or reads other colours.
        ImportError: a package that a describer needs is not installed.
        OSError: one that would meet every video.
    """
    parts = [describer for describer in describers if hasattr(describer, "step")]
    for describer in parts:
        name = type(describer).__name__
        if describer.cache is None:
            raise ValueError(f"{name} has no `cache` to be filled: give it a folder.")
        if (colours := getattr(describer, "colours", reading.colours)) != reading.colours:
            raise ValueError(
                f'{name} has `colours` "{colours}", but videos are read with "{reading.colours}".'
            )
    steps = distinct(describer.step() for describer in parts)
    return _filled(steps, [*videos], reading, also, threads, progress)


def _filled(
    steps: Sequence[Step],
    videos: Sequence[Source],
    reading: Reading,
    also: Sequence[Step],
    threads: int,
    progress: bool,
) -> Iterator[tuple[Source, Skipped | None]]:
    with Counted("videos described", len(videos), enabled=progress) as bar:
        walked = walk(videos, [*steps, *also], reading=reading, threads=threads)
        for source, outcomes in walked:
            bar.advance()
            faults = (one for one in outcomes[: len(steps)] if isinstance(one, Skipped))
            yield source, next(faults, None)
