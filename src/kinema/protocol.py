"""What every experiment on labelled videos starts with: videos, splits, and their features.

`compare`, `embed` and `compactness` take all of it from here, and so speak of the same videos.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kinema.copies import group_copies
from kinema.datasets import Dataset, Split, load, make_folds
from kinema.methods import METHODS, Options
from kinema.methods.svm import FeatureSVM
from kinema.progress import Counted
from kinema.skipped import skip_reason
from kinema.video import VideoReader
from kinema.weights import Weights

NUM_FOLDS = 5
"""Where a dataset has no official split."""


def readable(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> tuple[Dataset, list[dict[str, str]]]:
    """A dataset without the videos that cannot be opened, and which those are and why.

    Where it has neither splits nor groups, near-copies are its groups, see `copies.group_copies`.
    """
    if not isinstance(dataset, Dataset):
        dataset = load(dataset, kind=kind, lists=lists)
    skipped, kept = [], []
    for index, sample in enumerate(dataset.samples):
        try:
            VideoReader(sample.path)
        except Exception as error:  # whatever one video does, the others count
            skipped.append({"path": str(sample.path), "reason": skip_reason(error)})
        else:
            kept.append(index)
    opened = _subset(dataset, kept)
    return group_copies(opened, cache=cache, threads=threads, progress=progress), skipped


def _subset(dataset: Dataset, kept: Sequence[int]) -> Dataset:
    place = {index: new for new, index in enumerate(kept)}

    def moved(side: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[index] for index in side if index in place)

    return dataclasses.replace(
        dataset,
        samples=tuple(dataset.samples[index] for index in kept),
        splits={
            name: Split(moved(split.train), moved(split.test))
            for name, split in dataset.splits.items()
        },
    )


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


def check_classes(dataset: Dataset, skipped: Sequence[Mapping[str, str]] = ()) -> None:
    """Refuse what cannot be both learned and tested.

    Args:
        dataset: what can be read.
        skipped: `{"path", "reason"}` of what cannot, which may be why.

    Raises:
        ValueError: fewer than two classes, or a class of one video.
    """
    why = "".join(
        f" Left out: {entry['path']}: {entry['reason'].rstrip('.')}." for entry in skipped[:3]
    )
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


def vectors_of(
    name: str, paths: Sequence[Path], options: Options, *, progress: bool = False
) -> np.ndarray:
    """(n, D) features of videos by a method that has such.

    Raises:
        ValueError: the method has no features.
    """
    estimator = METHODS[name].make(options)
    if not isinstance(estimator, FeatureSVM):
        raise ValueError(f"the method {name} has no features.")
    columns = []
    total = len(paths) * len(estimator.features)
    with Counted(METHODS[name].title, total, enabled=progress) as bar:
        for transformer in estimator.features:  # one net after the other: each is packed once
            rows = []
            for path in paths:
                rows.append(transformer.transform([path]))
                bar.advance()
            columns.append(np.concatenate(rows))
    return np.hstack(columns)


def paths_labels_groups(dataset: Dataset) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Of each video: its file, the index of its (first) class, and its group."""
    samples = dataset.samples
    return (
        [sample.path for sample in samples],
        np.array([sample.labels[0] for sample in samples]),
        np.array([sample.group for sample in samples]),
    )
