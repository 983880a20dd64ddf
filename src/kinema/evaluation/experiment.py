"""`Experiment`: videos that every method can read, with their splits and their features.

    dataset --listed, opened, grouped--> `Opened` --split, described--> `Experiment`

`compare`, `transfer`, `embed` and `compactness` take all of it from here, once, and so speak of the
same videos.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.datasets import near_duplicates
from kinema.datasets.inspection import inspect
from kinema.datasets.near_duplicates import needs_groups
from kinema.datasets.types import Dataset, Split
from kinema.evaluation.protocol import (
    NUM_FOLDS,
    check_dataset,
    choose_splits,
    loaded,
    without,
)
from kinema.features.extracted import take_from
from kinema.features.together import fill
from kinema.files import check_out
from kinema.methods.c3d import features
from kinema.methods.given import describers_of
from kinema.methods.options import Options
from kinema.skipped import Skipped
from kinema.video.sources import Source
from kinema.video.steps import Step

NUM_READERS = 1
"""Videos that are read at once, beside the networks: two were slower on two cores. What works where
it reads, as trajectories do, says `num_readers` itself."""

Check = Callable[[Dataset, Sequence[Skipped]], object]
"""Refuses a dataset, given the videos of it that cannot be read."""

Also = Callable[[int], Sequence[Step]]
"""What else is to be made of so many videos while they are decoded, as filmstrips of their page."""


def no_steps(num_videos: int) -> Sequence[Step]:
    """Nothing else."""
    return ()


@dataclass(frozen=True, eq=False)
class Opened:
    """A dataset whose videos can be opened.

    Attributes:
        dataset: of these videos alone; near-duplicates are its groups where it has none.
        skipped: the others, and why.
    """

    dataset: Dataset
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, eq=False)
class Experiment:
    """Videos that every method can read to their end; their features are in the cache.

    Attributes:
        dataset: of these videos alone.
        methods: by the name of their row, not fitted.
        splits: by name; none where nothing is tested.
        skipped: videos that were left out, and why.
        notes: on splits and dataset, a line each.
    """

    dataset: Dataset
    methods: Mapping[str, Any]
    splits: Mapping[str, Split]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def sources(self) -> list[Source]:
        """What there is to read of each video."""
        return [sample.source for sample in self.dataset.samples]

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """(n,) of each video the index of its (first) class."""
        return np.array([sample.labels[0] for sample in self.dataset.samples])

    @functools.cached_property
    def groups(self) -> np.ndarray:
        """(n,) names of groups."""
        return np.array([sample.group for sample in self.dataset.samples])


@contextlib.contextmanager
def features_folder(cache: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Where features are kept: the folder that was asked for, or one for this run alone."""
    if cache is not None:
        yield Path(cache)
        return
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
        yield Path(folder)


def take_features(extracted: str | os.PathLike[str] | None, options: Options) -> None:
    """Let the rows of C3D take tables from a folder of `extract(shared=True)`.

    Raises:
        FileNotFoundError, ValueError: see `features.extracted.take_from`.
    """
    if extracted is not None:
        assert options.cache is not None
        check_out(options.cache, "cache")
        describers = [features(options, net) for net in options.weights]
        asked = [(one.settings(), one.engine_name) for one in describers]
        take_from(extracted, options.cache, asked)


def open_dataset(
    dataset: str | os.PathLike[str] | Dataset,
    methods: Mapping[str, Any],
    options: Options,
    *,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    check: Check,
    also: Also = no_steps,
) -> Opened:
    """List a dataset, open its videos, and group near-duplicates where it has no groups.

    Where near-duplicates are looked for, which takes every video to its end, all that the methods
    want of it is made on the way.

    Args:
        dataset: or its path.
        methods: by the name of their row.
        options: of the methods.
        kind, lists: see `datasets.load`.
        check: is asked before the first video is opened, and again after the last one.
        also: what else is to be made of the videos, given how many there are.
    """
    dataset = loaded(dataset, kind=kind, lists=lists)
    check(dataset, ())
    assert options.cache is not None
    check_out(options.cache, "cache")
    how: dict[str, Any] = {
        "reading": options.reading,
        "threads": options.threads,
        "progress": options.progress,
    }
    report = inspect(dataset, **how)
    dataset, skipped = without(dataset, report.unreadable)
    if needs_groups(dataset):
        check(dataset, skipped)
        sketch = near_duplicates.step(options.cache, reading=options.reading)
        dataset, more = _filled(dataset, methods, options, lambda num: [sketch, *also(num)])
        copies = near_duplicates.find_near_duplicates(dataset, cache=options.cache, **how)
        dataset, still_more = without(dataset, copies.unreadable)
        skipped += [*more, *still_more]
        dataset = near_duplicates.group_near_duplicates(dataset, copies.of_readable())
    check(dataset, skipped)
    return Opened(dataset, tuple(skipped))


def split_and_describe(
    opened: Opened,
    methods: Mapping[str, Any],
    options: Options,
    *,
    splits: Sequence[str] | None = None,
    folds: int = NUM_FOLDS,
    check: Callable[[Dataset, Mapping[str, Split]], object] = lambda dataset, splits: None,
    also: Also = no_steps,
) -> Experiment:
    """Choose and check splits, then describe the videos: what can be refused is refused first.

    Args:
        opened: the videos.
        methods: by the name of their row.
        options: of the methods.
        splits, folds: see `protocol.choose_splits`.
        check: refuses a dataset and splits.
        also: see `open_dataset`.
    """

    def chosen(
        dataset: Dataset, skipped: Sequence[Skipped]
    ) -> tuple[Mapping[str, Split], Sequence[str]]:
        check_dataset(dataset, splits, folds, skipped)
        made, notes = choose_splits(dataset, splits, folds, skipped)
        check(dataset, made)
        return made, notes

    made, notes = chosen(opened.dataset, opened.skipped)
    found = describe(opened, methods, options, also=also)
    if len(found.skipped) > len(opened.skipped):
        made, notes = chosen(found.dataset, found.skipped)
    return Experiment(found.dataset, methods, made, found.skipped, tuple(notes))


def describe(
    opened: Opened, methods: Mapping[str, Any], options: Options, *, also: Also = no_steps
) -> Experiment:
    """Describe the videos by all methods together, without splits.

    A video that one of them cannot read to its end is left out for all, so that they are compared
    on the same ones.
    """
    dataset, more = _filled(opened.dataset, methods, options, also)
    return Experiment(dataset, methods, {}, (*opened.skipped, *more))


def _filled(
    dataset: Dataset, methods: Mapping[str, Any], options: Options, also: Also
) -> tuple[Dataset, list[Skipped]]:
    """The videos that every method could describe, each decoded once at most; and the others."""
    describers = [each for method in methods.values() for each in describers_of(method)]
    sources = [sample.source for sample in dataset.samples]
    unreadable = {
        source.name: skipped.reason
        for source, skipped in fill(
            describers,
            sources,
            reading=options.reading,
            also=also(len(sources)),
            threads=max([NUM_READERS, *(getattr(one, "num_readers", 1) for one in describers)]),
            progress=options.progress,
        )
        if skipped is not None
    }
    return without(dataset, unreadable)
