"""Folds of a dataset, by class and without tearing apart what shows the same scene."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kinema.datasets.groups import Group, by_class_of, groups_of
from kinema.datasets.types import Dataset, Split
from kinema.words import some

SAME_SCENE = "the same scene is on both sides, so this measures scenes"
"""Stands in every note on folds that could not keep a scene on one side."""


@dataclass(frozen=True)
class Folds:
    """Folds of a dataset: each is the test side of one split.

    Attributes:
        splits: one a fold.
        notes: one line each: what could not be done as asked, and why.
    """

    splits: tuple[Split, ...]
    notes: tuple[str, ...] = ()


def make_folds(dataset: Dataset, num_folds: int = 5, seed: int = 0) -> tuple[Split, ...]:
    """The splits of `plan_folds`; what could not be done as asked is warned of.

    Example:
        >>> from kinema.datasets import load, make_folds
        >>> from kinema.video.synthetic import write_dataset
        >>> drawn = write_dataset("videos", num_train=3, num_test=1, num_frames=1)
        >>> make_folds(load("videos"), 2)
        (Split(8 train, 8 test), Split(8 train, 8 test))
    """
    folds = plan_folds(dataset, num_folds, seed)
    for note in folds.notes:
        warnings.warn(note, stacklevel=2)
    return folds.splits


def plan_folds(dataset: Dataset, num_folds: int = 5, seed: int = 0) -> Folds:
    """Part a dataset into folds of about the same size, by class and without tearing groups apart.

    Each class of two videos or more is on the training side of every split. It is tested in every
    fold, too, as far as groups of several classes allow: there are as many folds as the class with
    the fewest groups has groups, two at least and `num_folds` at most. A video counts for the first
    of its labels.

    Where no folds keep a class's groups whole, its videos are parted singly, and a note says so: a
    class that is one group, and one whose groups hold other classes in such a way that all of them
    would be in one fold. `group_near_duplicates` makes groups for a dataset that has none.

    Args:
        dataset: what to part.
        num_folds: how many are wanted.
        seed: another seed, other folds.

    Raises:
        ValueError: there are fewer than two videos.
    """
    if num_folds < 2:
        raise ValueError(f"`num_folds` must be at least 2, got {num_folds}.")
    samples = dataset.samples
    if len(samples) < 2:
        raise ValueError(f"{dataset.root} has fewer than two videos, and folds take two.")
    labels = [sample.labels[:1] for sample in samples]
    num_videos = Counter(label for (label,) in labels)
    scenes = Counter(label for label, _ in {(s.labels[0], s.group) for s in samples})
    one_scene = {label for label, count in scenes.items() if count == 1 < num_videos[label]}
    torn: set[int] = set()
    while True:
        single = one_scene | torn
        keys = [(s.group, s.name if s.labels[0] in single else "") for s in samples]
        groups = groups_of(keys, labels, seed)
        by_class = by_class_of(groups)
        sizes = {label: len(members) for label, members in by_class.items()}
        several = {label: size for label, size in sizes.items() if num_videos[label] > 1}
        enough = min(num_folds, len(groups), *several.values())
        # A triangle of groups, each of two classes, takes three folds where two do for each class.
        for count in range(enough, min(num_folds, len(groups)) + 1):
            fold_of = _spread(groups, by_class, count)
            stuck = [label for label in several if _is_stuck(by_class[label], fold_of)]
            if not stuck:
                break
        if not stuck:
            break
        torn.add(stuck[0])
    folds: list[list[int]] = [[] for _ in range(count)]
    for index, group in enumerate(groups):
        folds[fold_of[index]] += group.samples
    return Folds(
        tuple(
            Split(
                train=tuple(sorted(i for other in folds if other is not fold for i in other)),
                test=tuple(sorted(fold)),
            )
            for fold in folds
        ),
        tuple(_fold_notes(dataset, one_scene, torn, num_videos, several, num_folds, count)),
    )


def _fold_notes(
    dataset: Dataset,
    one_scene: set[int],
    torn: set[int],
    num_videos: Mapping[int, int],
    sizes: Mapping[int, int],
    num_folds: int,
    count: int,
) -> Iterator[str]:
    def classes(labels: Iterable[int]) -> str:
        names = [dataset.classes[label] for label in sorted(labels)]
        return f"class {names[0]}" if len(names) == 1 else some(names, "class", "classes")

    if one_scene:
        each = " each" if len(one_scene) > 1 else ""
        yield f"the videos of {classes(one_scene)} are one scene (group){each}: {SAME_SCENE}."
    if torn:
        yield f"no folds keep the scenes (groups) of {classes(torn)} whole: {SAME_SCENE}."
    if count < num_folds:
        few = [label for label, size in sizes.items() if size == min(sizes.values(), default=0)]
        what = "videos" if set(few) <= one_scene | torn else "groups"
        has = "has" if len(few) == 1 else "have"
        why = f": {classes(few)} {has} {sizes[few[0]]} {what} only" if few else ""
        yield f"{count} folds in place of {num_folds}{why}."
    single = [label for label, number in num_videos.items() if number == 1]
    if single:
        yield f"one video only, so never both learned and tested: {classes(single)}."


def _spread(
    groups: Sequence[Group], by_class: Mapping[int, Sequence[int]], num_folds: int
) -> dict[int, int]:
    """The fold of each group."""
    counts = [Counter[int]() for _ in range(num_folds)]
    sizes = [0] * num_folds
    fold_of: dict[int, int] = {}
    for label, members in by_class.items():
        # The largest first, each to the fold that has the least of its class.
        for index in sorted(members, key=lambda index: -groups[index].counts[label]):
            if index not in fold_of:
                fold = min(range(num_folds), key=lambda fold: (counts[fold][label], sizes[fold]))
                fold_of[index] = fold
                counts[fold].update(groups[index].counts)
                sizes[fold] += len(groups[index].samples)
    for label, members in by_class.items():
        for index in sorted(members, key=lambda index: groups[index].counts[label]):
            here = fold_of[index]
            others = (fold for fold in range(num_folds) if fold != here)
            while _is_stuck(members, fold_of) and (fold := next(others, here)) != here:
                fold_of[index] = fold
                if any(_is_stuck(by_class[label], fold_of) for label in groups[index].counts):
                    fold_of[index] = here
    return fold_of


def _is_stuck(members: Sequence[int], fold_of: Mapping[int, int]) -> bool:
    """Whether a class with several groups has all of them in one fold."""
    return len(members) > 1 and len({fold_of[index] for index in members}) == 1
