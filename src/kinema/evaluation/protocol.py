"""The protocol: which videos and splits are used, and what is refused before a video is read."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence

from kinema.datasets.folds import SAME_SCENE, plan_folds
from kinema.datasets.loaders import about_split, load
from kinema.datasets.types import Dataset, Split
from kinema.skipped import Skipped
from kinema.words import some

NUM_FOLDS = 5
"""Where a dataset has no official split."""


def loaded(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
) -> Dataset:
    """A dataset as it is, or from its path; no video is opened."""
    return dataset if isinstance(dataset, Dataset) else load(dataset, kind=kind, lists=lists)


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
    place = {index: new for new, index in enumerate(kept)}

    def moved(side: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[index] for index in side if index in place)

    left = dataclasses.replace(
        dataset,
        samples=tuple(dataset.samples[index] for index in kept),
        splits={
            name: Split(moved(split.train), moved(split.test))
            for name, split in dataset.splits.items()
        },
    )
    return left, skipped


class NothingToTest(ValueError):
    """Classes have one video each, so none is left to test on; learning from all of them can be.

    Attributes:
        classes: their names.
        skipped: videos that cannot be read, and why.
    """

    def __init__(self, message: str, classes: Sequence[str], skipped: Sequence[Skipped]) -> None:
        super().__init__(message)
        self.classes = tuple(classes)
        self.skipped = tuple(skipped)

    def summary(self) -> str:
        """Which classes these are."""
        more = f" and {len(self.classes) - 1} more have" if len(self.classes) > 1 else " has"
        return f"class {self.classes[0]}{more} one video: nothing to test on"


def check_classes(
    dataset: Dataset, skipped: Sequence[Skipped] = (), *, tested: bool = True
) -> None:
    """Refuse what cannot be learned, or not both learned and tested.

    A video counts for the first of its labels. What the sides of official splits hold is for
    `choose_splits` to say.

    Args:
        dataset: what is there, or what can be read.
        skipped: what cannot, which may be why.
        tested: whether the classes are to be tested, too.

    Raises:
        NothingToTest: a class of one video, and no official split.
        ValueError: fewer than two classes.
    """
    counts = Counter(sample.labels[0] for sample in dataset.samples)
    if len(counts) < 2:
        found = "one class" if counts else "no class"
        raise ValueError(
            f"{dataset.root} has videos of {found}: a comparison takes two.{_why(skipped)}"
        )
    single = [dataset.classes[label] for label in sorted(counts) if counts[label] == 1]
    if single and tested and not dataset.splits:
        raise NothingToTest(
            f"{dataset.root}: class {single[0]} has one video, so it cannot be "
            f"both learned and tested: add videos, or take the class out.{_why(skipped)}",
            single,
            skipped,
        )


def _why(skipped: Sequence[Skipped]) -> str:
    why = "".join(f" Left out: {str(entry).rstrip('.')}." for entry in skipped[:3])
    return f"{why} And {len(skipped) - 3} more." if len(skipped) > 3 else why


def title_of(dataset: Dataset) -> str:
    """What a picture or a page calls it: a CSV file by its name, others by their folder."""
    return dataset.title or dataset.root.name or dataset.kind


def check_splits(
    dataset: Dataset,
    names: Sequence[str] | None,
    folds: int = NUM_FOLDS,
    skipped: Sequence[Skipped] = (),
) -> None:
    """Refuse what `choose_splits` would, which needs groups; this does not.

    Args:
        dataset: what is there, or what can be read.
        names: of official splits; None for all.
        folds: how many, where there is no official split.
        skipped: what cannot be read, which may be why.

    Raises:
        ValueError: a split is unknown, has no video on a side or trains on one class; or there are
            to be fewer than two folds.
    """
    if dataset.splits:
        _official(dataset, names, skipped)
    elif names:
        raise ValueError(f"`splits` {', '.join(names)}: {dataset.root} has no official split.")
    elif folds < 2:
        raise ValueError(f"`folds` must be at least 2, got {folds}.")


def check_dataset(
    dataset: Dataset,
    names: Sequence[str] | None,
    folds: int = NUM_FOLDS,
    skipped: Sequence[Skipped] = (),
) -> None:
    """All that can be told of classes and splits before a video is read, and once more after that.

    The arguments are those of `check_splits`.

    Raises:
        NothingToTest: a class of one video, and no official split.
        ValueError: fewer than two classes; or see `check_splits`.
    """
    check_classes(dataset, skipped, tested=False)
    check_splits(dataset, names, folds, skipped)
    check_classes(dataset, skipped)


def choose_splits(
    dataset: Dataset,
    names: Sequence[str] | None,
    folds: int = NUM_FOLDS,
    skipped: Sequence[Skipped] = (),
) -> tuple[dict[str, Split], list[str]]:
    """Official splits by name, all of them without a name; or grouped folds where there is none.

    Of all official splits those that cannot be used are left out; one that is named is refused. The
    arguments are those of `check_splits`.

    Returns:
        The splits by name, and notes on them and the dataset, a line each; notes on splits that
        were not chosen are not among these.
    """
    check_splits(dataset, names, folds, skipped)
    if dataset.splits:
        splits, left_out = _official(dataset, names, skipped)
        other = tuple(about_split(name) for name in dataset.splits if name not in splits)
        notes = [note for note in dataset.notes if not note.startswith(other)]
        notes += [f"{trouble}: it is left out." for trouble in left_out]
        for name, split in splits.items():
            learned, tested = (_classes_of(dataset, side) for side in (split.train, split.test))
            if unlearned := tested - learned:
                classes = some([dataset.classes[i] for i in sorted(unlearned)], "class", "classes")
                notes.append(
                    f"{about_split(name)}no training video of {classes}: those test videos cannot "
                    "be right."
                )
        return splits, notes
    made = plan_folds(dataset, folds)
    numbered = {f"fold {number}": split for number, split in enumerate(made.splits, start=1)}
    return numbered, [*dataset.notes, *made.notes]


def _official(
    dataset: Dataset, names: Sequence[str] | None, skipped: Sequence[Skipped]
) -> tuple[dict[str, Split], list[str]]:
    """Splits by name, and why others cannot be used; a named one that cannot be used is refused."""
    splits, troubles = {}, []
    for name in names or dataset.splits:
        split = dataset.split(name)
        learned = _classes_of(dataset, split.train)
        trouble = ""
        if not split.test:
            trouble = "no video to test here"
        elif not split.train:
            trouble = "no video to train on here"
        elif len(learned) < 2:
            (label,) = learned
            trouble = f"training videos of one class only ({dataset.classes[label]})"
        if not trouble:
            splits[name] = split
        else:
            troubles.append(f"{about_split(name)}{trouble}")
    if troubles and (names or not splits):
        raise ValueError(
            f"{dataset.root}: {troubles[0]}: name another split, or add videos.{_why(skipped)}"
        )
    return splits, troubles


def _classes_of(dataset: Dataset, side: Sequence[int]) -> set[int]:
    return {dataset.samples[index].labels[0] for index in side}


def warnings_of(notes: Sequence[str]) -> tuple[str, ...]:
    """Of some notes those that say that an accuracy is not what it seems to be."""
    return tuple(note for note in notes if SAME_SCENE in note)
