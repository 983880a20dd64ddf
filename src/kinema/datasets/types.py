"""What a dataset is: `Sample`s, `Split`s of them, and a made split where none is given."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kinema.datasets.groups import by_class_of, groups_of
from kinema.datasets.published import KINDS
from kinema.video.sources import Source
from kinema.words import some


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled video, or the labelled part of one.

    Attributes:
        path: the video file or folder of pictures.
        name: its path below the dataset's root, with "/"; unique. Where several parts of one file
            are samples, "#t=start,stop" in seconds stands behind it.
        labels: indices into `Dataset.classes`; one, but several for Sports-1M.
        group: videos of one group show the same scene or people, and never straddle a split that
            Kinema makes.
        start_seconds, stop_seconds: the part of the file that counts; None is its end.
    """

    path: Path
    name: str
    labels: tuple[int, ...]
    group: str
    start_seconds: float = 0.0
    stop_seconds: float | None = None

    @property
    def source(self) -> Source:
        """What there is to read."""
        return Source(
            self.path, self.name, start_seconds=self.start_seconds, stop_seconds=self.stop_seconds
        )

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError(f"`labels` of {self.name} must hold at least one class.")
        stop = self.stop_seconds
        if self.start_seconds < 0 or (stop is not None and stop <= self.start_seconds):
            raise ValueError(
                f"{self.name} must start at 0 s or later and stop after that, "
                f"got {self.start_seconds} to {stop}."
            )


def part_name(file: str, start_seconds: float, stop_seconds: float | None) -> str:
    """What one of several parts of a file is called, as "a.mp4#t=1.5,3"; other parts, other names.

    Args:
        file: the name of the whole.
        start_seconds, stop_seconds: of the part; None is the end of the file.
    """
    stop = "" if stop_seconds is None else _seconds(stop_seconds)
    return f"{file}#t={_seconds(start_seconds)},{stop}"


def _seconds(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


@dataclass(frozen=True)
class Split:
    """Which samples are for training and which for testing: indices into `Dataset.samples`."""

    train: tuple[int, ...]
    test: tuple[int, ...]

    def __post_init__(self) -> None:
        if not set(self.train).isdisjoint(self.test):
            raise ValueError("a sample is on both sides of a split.")

    def __repr__(self) -> str:
        return f"Split({len(self.train)} train, {len(self.test)} test)"


@dataclass(frozen=True, repr=False)
class Dataset:
    """Labelled videos and their official splits.

    Attributes:
        kind: one of `KINDS`.
        root: the folder that names start from.
        classes: names; a label is an index into them.
        samples: sorted by name.
        splits: the given ones by name: "1", "2", "3", or see Note [Given splits]; may be empty.
        missing: names that the lists have and the disk has not.
        notes: one line each: what was left out, and why.
        title: what to call it, if not by its root: a CSV file is called by its name.
    """

    kind: str
    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    splits: Mapping[str, Split] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        names = [sample.name for sample in self.samples]
        if any(name >= following for name, following in itertools.pairwise(names)):
            raise ValueError("`samples` must be sorted by name, and each name be there once.")
        allowed = range(len(self.classes))
        for sample in self.samples:
            if any(label not in allowed for label in sample.labels):
                raise ValueError(f"{sample.name} has a label that is not in `classes`.")
        for name, split in self.splits.items():
            for side in (split.train, split.test):
                if side and not 0 <= min(side) <= max(side) < len(names):
                    raise ValueError(f"split {name!r} has an index that is not in `samples`.")

    def split(self, name: str | None = None) -> Split:
        """A split by name; without one the first that is given, or else `make_split`'s."""
        if name is None:
            return next(iter(self.splits.values())) if self.splits else make_split(self)
        if name not in self.splits:
            known = ", ".join(self.splits) or "none; without a name one is made"
            raise ValueError(f"`split` {name!r} is unknown; known are: {known}.")
        return self.splits[name]

    def __repr__(self) -> str:
        splits = ", ".join(f"{name}: {split!r}" for name, split in self.splits.items())
        return (
            f"Dataset({self.kind}, {str(self.root)!r}, {len(self.samples)} videos, "
            f"{len(self.classes)} classes, {{{splits}}})"
        )


def make_split(dataset: Dataset, *, test_fraction: float = 0.25, seed: int = 0) -> Split:
    """Part a dataset into training and test videos, by class and without tearing groups apart.

    The same dataset and seed give the same split. Each class comes as near to `test_fraction` as
    its groups allow, and is on both sides if it has two groups or more. A class with one group goes
    to training, with a warning. (Where groups hold videos of several classes it can happen that no
    split has each class on both sides; classes that are then missing in the test are warned of.)

    Args:
        dataset: what to part.
        test_fraction: of each class's videos, between 0 and 1.
        seed: another seed, another split.

    Example:
        >>> from kinema.datasets import load, make_split
        >>> from kinema.video.synthetic import write_dataset
        >>> drawn = write_dataset("videos", num_train=3, num_test=1, num_frames=1)
        >>> make_split(load("videos"), test_fraction=0.25)
        Split(12 train, 4 test)
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"`test_fraction` must be between 0 and 1, got {test_fraction}.")
    samples = dataset.samples
    groups = groups_of([s.group for s in samples], [s.labels for s in samples], seed)
    by_class = by_class_of(groups)
    total = Counter[int]()
    num_left = Counter({label: len(members) for label, members in by_class.items()})
    for group in groups:
        total.update(group.counts)
    tested = Counter[int]()
    side: dict[int, bool] = {}  # whether a group is tested

    def test(index: int) -> None:
        side[index] = True
        tested.update(groups[index].counts)
        num_left.subtract(groups[index].counts.keys())

    def can_be_spared(index: int) -> bool:
        """Whether each of its classes has another group to train on."""
        return all(num_left[label] > 1 for label in groups[index].counts)

    for label, members in by_class.items():
        wanted = test_fraction * total[label]
        for index in members:
            if index not in side:
                size = groups[index].counts[label]
                side[index] = False
                if abs(tested[label] + size - wanted) < abs(tested[label] - wanted) and (
                    can_be_spared(index)
                ):
                    test(index)
        if not tested[label]:
            spare = [index for index in members if can_be_spared(index)]
            if spare:
                test(min(spare, key=lambda index: groups[index].counts[label]))
    untested = [dataset.classes[label] for label in sorted(by_class) if not tested[label]]
    if untested:
        warnings.warn(
            f"not in the test, for want of groups: {some(untested, 'class', 'classes')}.",
            stacklevel=2,
        )
    parts: dict[bool, list[int]] = {False: [], True: []}
    for index, group in enumerate(groups):
        parts[side[index]] += group.samples
    return Split(tuple(sorted(parts[False])), tuple(sorted(parts[True])))
