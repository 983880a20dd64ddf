"""What every experiment on labelled videos starts with: videos, splits, and their features.

`compare`, `embed` and `compactness` take all of it from here, and so speak of the same videos.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from kinema.copies import find_copies, group_copies, needs_groups
from kinema.datasets import Dataset, Split, inspect, load, make_folds
from kinema.loop import PLAIN, Reading
from kinema.methods import METHODS, Options
from kinema.methods.svm import FeatureSVM
from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.weights import Weights

NUM_FOLDS = 5
"""Where a dataset has no official split."""


def readable(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    reading: Reading = PLAIN,
    threads: int | None = None,
    progress: bool = False,
) -> tuple[Dataset, list[Skipped]]:
    """A dataset without the videos that cannot be opened, and which those are and why.

    Where it has neither splits nor groups, near-copies are its groups, see `copies.group_copies`.
    """
    if not isinstance(dataset, Dataset):
        dataset = load(dataset, kind=kind, lists=lists)
    report = inspect(dataset, reading=reading, threads=threads, progress=progress)
    dataset, skipped = without(dataset, report.unreadable)
    if needs_groups(dataset):
        copies = find_copies(
            dataset, cache=cache, reading=reading, threads=threads, progress=progress
        )
        dataset, more = without(dataset, copies.unreadable)
        skipped += more
        dataset = group_copies(dataset, copies.of_readable())
    return dataset, skipped


def without(dataset: Dataset, unreadable: Mapping[str, str]) -> tuple[Dataset, list[Skipped]]:
    """A dataset without some of its videos, and these.

    Args:
        dataset: labelled videos.
        unreadable: why, by name.
    """
    skipped = [
        Skipped(str(sample.source), unreadable[sample.name])
        for sample in dataset.samples
        if sample.name in unreadable
    ]
    if not skipped:
        return dataset, skipped
    kept = [i for i, sample in enumerate(dataset.samples) if sample.name not in unreadable]
    left = dataclasses.replace(
        dataset,
        samples=tuple(dataset.samples[index] for index in kept),
        splits=_moved(dataset.splits, kept),
    )
    return left, skipped


def _moved(splits: Mapping[str, Split], kept: Sequence[int]) -> dict[str, Split]:
    """Splits of some of the videos, given the numbers that they had."""
    place = {index: new for new, index in enumerate(kept)}

    def moved(side: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[index] for index in side if index in place)

    return {name: Split(moved(one.train), moved(one.test)) for name, one in splits.items()}


def check_methods(
    names: Sequence[str], weights: Sequence[Weights], *, cost: float | None = None
) -> None:
    """Refuse settings that would give no row, the same row twice, or fail after all features.

    Raises:
        ValueError: a method is unknown or named twice, there is none, a net is named twice, or the
            cost is no positive number.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ValueError(
            f"`methods` must be some of {', '.join(METHODS)}; got {', '.join(unknown) or 'none'}."
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"`methods` names {', '.join(twice)} twice: name it once.")
    if not weights:
        raise ValueError("`weights` must name at least one net.")
    by_checksum: dict[str, Weights] = {}
    for net in weights:
        if net.sha256 in by_checksum:
            raise ValueError(
                f"`weights` names one net twice ({by_checksum[net.sha256].name}, {net.name}; "
                f"sha256 {net.sha256[:12]}): name it once."
            )
        by_checksum[net.sha256] = net
    if cost is not None and not 0 < cost < math.inf:
        raise ValueError(f"`cost` must be more than 0 and finite (--C), got {cost:g}.")


def check_classes(dataset: Dataset, skipped: Sequence[Skipped] = ()) -> None:
    """Refuse what cannot be both learned and tested.

    Args:
        dataset: what can be read.
        skipped: what cannot, which may be why.

    Raises:
        ValueError: fewer than two classes, or a class of one video.
    """
    why = "".join(f" Left out: {entry.path}: {entry.reason.rstrip('.')}." for entry in skipped[:3])
    if len(skipped) > 3:
        why += f" And {len(skipped) - 3} more."
    counts = np.zeros(len(dataset.classes), int)
    for sample in dataset.samples:
        for label in sample.labels:
            counts[label] += 1
    if (counts > 0).sum() < 2:
        found = "one class" if counts.any() else "no class"
        raise ValueError(f"{dataset.root} has videos of {found}: a comparison takes two.{why}")
    lonely = [dataset.classes[label] for label in np.flatnonzero(counts == 1)]
    if lonely:
        raise ValueError(
            f"{dataset.root}: class {lonely[0]} has one video that can be read, so it cannot be "
            f"both learned and tested: add videos, or take the class out.{why}"
        )


def title_of(dataset: Dataset) -> str:
    """What a picture or a page calls it: its folder; a CSV file's videos may have no common one."""
    return dataset.root.name or dataset.kind


def choose_splits(
    dataset: Dataset, names: Sequence[str] | None, folds: int = NUM_FOLDS
) -> dict[str, Split]:
    """Official splits by name, all of them without a name; or grouped folds where there is none."""
    if dataset.splits:
        chosen = names or list(dataset.splits)
        return {name: dataset.split(name) for name in chosen}
    if names:
        raise ValueError(f"`splits` {', '.join(names)}: {dataset.root} has no official split.")
    if folds < 2:
        raise ValueError(f"`folds` must be at least 2, got {folds}.")
    groups = len({sample.group for sample in dataset.samples})
    if groups < folds:
        raise ValueError(
            f"`folds` (={folds}) must be at most {groups}, the groups of {dataset.root}: videos of "
            "one group (near-copies, say) stay on one side. Ask for fewer folds, or add videos."
        )
    made = make_folds(dataset, folds)
    return {f"fold {number}": split for number, split in enumerate(made, start=1)}


@dataclass(frozen=True, eq=False)
class Described:
    """Videos that every method can read, and their features.

    Attributes:
        dataset: of these videos alone.
        splits: of them, by name.
        vectors: (n, D) by method, of those that have features.
        skipped: the videos that some method could not read to their end, and why.
    """

    dataset: Dataset
    splits: Mapping[str, Split]
    vectors: Mapping[str, np.ndarray]
    skipped: tuple[Skipped, ...]


def described(
    names: Sequence[str],
    dataset: Dataset,
    options: Options,
    *,
    splits: Mapping[str, Split] = MappingProxyType({}),
    progress: bool = False,
) -> Described:
    """The features of the videos of a dataset by some methods.

    A video that one of them cannot read to its end is left out for all, so that they are compared
    on the same ones.
    """
    vectors: dict[str, np.ndarray] = {}
    unreadable: dict[str, str] = {}
    for name in names:
        estimator = METHODS[name].make(options)
        if isinstance(estimator, FeatureSVM):
            vectors[name], bad = _vectors(name, estimator, dataset, progress)
            unreadable |= bad
    kept = [i for i, sample in enumerate(dataset.samples) if sample.name not in unreadable]
    left, skipped = without(dataset, unreadable)
    return Described(
        left,
        _moved(splits, kept),
        {name: rows[kept] for name, rows in vectors.items()},
        tuple(skipped),
    )


def _vectors(
    name: str, estimator: FeatureSVM, dataset: Dataset, progress: bool
) -> tuple[np.ndarray, dict[str, str]]:
    """(n, D) features of videos by a method; and, by name, why some rows of it are zeros."""
    columns = []
    unreadable: dict[str, str] = {}
    total = len(dataset.samples) * len(estimator.features)
    with Counted(METHODS[name].title, total, enabled=progress) as bar:
        for transformer in estimator.features:  # one net after the other: each is packed once
            rows: list[np.ndarray | None] = []
            for source, row in transformer.rows(sample.source for sample in dataset.samples):
                if isinstance(row, Skipped):
                    unreadable[source.name] = row.reason
                    rows.append(None)
                else:
                    rows.append(row)
                bar.advance()
            size = next((row.shape for row in rows if row is not None), (1,))
            columns.append(np.stack([np.zeros(size) if row is None else row for row in rows]))
    return np.hstack(columns).astype(np.float32), unreadable


def check_have_features(names: Sequence[str], options: Options) -> None:
    """Refuse methods that describe no video.

    Raises:
        ValueError: one has no features.
    """
    for name in names:
        if not isinstance(METHODS[name].make(options), FeatureSVM):
            raise ValueError(f"the method {name} has no features.")


def labels_and_groups(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Of each video the index of its (first) class, and its group."""
    return (
        np.array([sample.labels[0] for sample in dataset.samples]),
        np.array([sample.group for sample in dataset.samples]),
    )
