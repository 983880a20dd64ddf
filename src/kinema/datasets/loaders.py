"""Datasets: folders, UCF101, HMDB51, Sports-1M, Kinetics and CSV lists to labelled `Sample`s.

    load(path) -> Dataset: classes, samples, official splits, what is missing
                     |--> make_split, make_folds    where there is no official split
                     '--> inspect -> DatasetReport  what `kinema dataset info` prints

Note [Matching]
    Lists name files as they were published; a copy may have lost the class folders, been encoded
    anew (.avi to .mp4), or been taken apart into folders of pictures. So a listed video is found
    by its name without the ending, at any depth below the root. These names are unique within each
    of the datasets. If a copy holds a name twice, the first one in the order of paths is taken, and
    a note says so.

Note [Given splits]
    Folders and CSV files may say which videos are for training, validation and testing. A split has
    two sides, so train and test make the split "given", and validation, if there is any, takes the
    test side of a second one, "val" (in Kinetics, whose test labels were withheld for long, "val"
    comes first and the other is called "test"). Validation videos are never trained on. With
    neither side to test on, or nothing to train on, there is no split, and a note says so.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from kinema.datasets.lists import (
    LISTS,
    READERS,
    SIDES,
    bad_line,
    ending_of,
    group_of,
    header_of,
    is_kinetics,
    lists_in,
    rows_of,
    side_of_row,
    some,
    splits_by_side,
    stem_of,
)
from kinema.progress import Display
from kinema.skipped import Skipped
from kinema.threads import num_usable_cores
from kinema.video.loop import PLAIN, Reading, Video, each_video
from kinema.video.reader import VideoInfo
from kinema.video.sources import (
    PassedOver,
    Source,
    as_source,
    is_frame_folder,
    is_hidden,
    videos_below,
)

KINDS = ("folder", "ucf101", "hmdb51", "sports1m", "kinetics", "csv")

# --- what a dataset is ----------------------------------------------------------------------------


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


# --- splits that Kinema makes ---------------------------------------------------------------------


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
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"`test_fraction` must be between 0 and 1, got {test_fraction}.")
    samples = dataset.samples
    groups = _groups([s.group for s in samples], [s.labels for s in samples], seed)
    by_class = _by_class(groups)
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
    """The splits of `plan_folds`; what could not be done as asked is warned of."""
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
    would be in one fold. `copies.group_copies` makes groups for a dataset that has none.

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
        groups = _groups(keys, labels, seed)
        by_class = _by_class(groups)
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
    lonely = [label for label, number in num_videos.items() if number == 1]
    if lonely:
        yield f"one video only, so never both learned and tested: {classes(lonely)}."


def _spread(
    groups: Sequence[_Group], by_class: Mapping[int, Sequence[int]], num_folds: int
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


@dataclass
class _Group:
    samples: list[int] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)  # samples by label


def _groups(keys: Sequence[Hashable], labels: Sequence[tuple[int, ...]], seed: int) -> list[_Group]:
    """Samples of the same key, with their labels, in a random order."""
    groups: defaultdict[Hashable, _Group] = defaultdict(_Group)
    for index, (key, own) in enumerate(zip(keys, labels, strict=True)):
        group = groups[key]
        group.samples.append(index)
        group.counts.update(own)
    ordered = list(groups.values())
    return [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))]


def _by_class(groups: Sequence[_Group]) -> dict[int, list[int]]:
    """Indices of the groups that hold a class; classes with the fewest groups come first."""
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        for label in group.counts:
            by_class[label].append(index)
    return dict(sorted(by_class.items(), key=lambda item: (len(item[1]), item[0])))


# --- finding out what is there --------------------------------------------------------------------


def load(
    path: str | os.PathLike[str],
    *,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
) -> Dataset:
    """A dataset from a folder, or from a CSV file that names videos.

    - folder: a folder per class, `class/**/video`; or `train/class/...` with `test/class/...` or
      `val/class/...`. Names like UCF101's, `v_X_g01_c02`, tell groups; else a video is its own.
    - ucf101: `trainlist01.txt`, `testlist01.txt`, ..., `classInd.txt`. The group is UCF101's.
    - hmdb51: `<class>_test_split1.txt`, ... The group is the video that clips were cut from.
    - sports1m: `train_partition.txt`, `test_partition.txt` (also `.gz`; or `sports1m_train.json`,
      ...) and `labels.txt`. Files are named by the video's id. A video that is listed twice has the
      labels of both lines; one that is in both lists is for training only; notes say how many.
    - kinetics: CSV files with `label,youtube_id,time_start,time_end,split`. A file is called
      `ID_000010_000020.mp4` (then all of it counts) or `ID.mp4`.
    - csv: `path,label` and, if wanted, `split` (train, val, test) and `group`; relative paths start
      at the CSV's folder.

    A part of a dataset will do. Classes without a video are left out, with a note, except in
    Sports-1M, whose network has an output for each. See Note [Matching] for how listed videos are
    found, and Note [Given splits] for the names of splits.

    Args:
        path: the folder with the videos, at any depth; or a CSV file.
        kind: one of `KINDS`; "auto" goes by the lists that it finds.
        lists: the folder with the lists (or Kinetics' CSV file), if it is not beside or below
            `path`; it may be one folder further down.

    Raises:
        FileNotFoundError: `path`, or the lists that it takes, are not there.
        ValueError: no video is there, or a list is not as it should be; it says the file and line.
    """
    root = Path(os.path.abspath(path))
    if kind not in ("auto", *KINDS):
        raise ValueError(f"`kind` must be auto, {', '.join(KINDS)}; got {kind!r}.")
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such file or folder.")
    if root.is_file():
        return _load_file(root, kind, lists)
    if kind == "csv":
        raise ValueError(f"{root} is a folder; for kind csv name the CSV file.")
    if lists is not None and kind == "folder":
        raise ValueError("`lists` has no use for kind folder.")
    if kind != "folder":
        kinds = tuple(LISTS) if kind == "auto" else (kind,)
        nothing: list[str] = []
        for here, beside in _list_places(root, lists):
            for found in kinds:
                if names := lists_in(here, found):
                    dataset = _load_lists(found, root, [here / name for name in names])
                    if dataset.samples:
                        return dataset
                    if not beside or kind != "auto":  # a neighbour's lists need not be ours
                        nothing.append(_nothing_there(here, dataset))
        if nothing:
            raise ValueError(f"no dataset in {root}: {'; '.join(nothing)}.")
        if kind != "auto" or lists is not None:
            looked_for = ", ".join(f"{LISTS[name]} ({name})" for name in kinds)
            where = f"{lists}" if lists is not None else f"{root}, below it or beside it"
            way_out = "" if lists is not None else "; name their folder with `lists`"
            raise FileNotFoundError(f"no lists in {where}: looked for {looked_for}{way_out}.")
    return _load_folder(root)


def _load_file(path: Path, kind: str, lists: str | os.PathLike[str] | None) -> Dataset:
    if kind not in ("auto", "csv", "kinetics") or path.suffix.lower() != ".csv":
        raise ValueError(
            f"{path} is a file: a dataset is a folder, or a CSV file with the columns path,label "
            "(or those of Kinetics' lists)."
        )
    if lists is not None:
        raise ValueError(f"`lists` has no use when `path` is itself a list ({path}).")
    if kind == "kinetics" or (kind == "auto" and is_kinetics(path)):
        dataset = _load_lists("kinetics", path.parent, [path])
    else:
        dataset = replace(_load_csv(path), title=path.stem)
    if not dataset.samples:
        raise ValueError(f"no dataset in {path.parent}: {_nothing_there(path, dataset)}.")
    return dataset


def _nothing_there(lists: Path, dataset: Dataset) -> str:
    """That lists name videos of which none is on the disk."""
    return f"of {some(dataset.missing, 'video')} that {lists} names none is there"


def _list_places(root: Path, lists: str | os.PathLike[str] | None) -> Iterator[tuple[Path, bool]]:
    """Where lists may be, and whether that is beside the root rather than below it."""
    if lists is not None:
        given = Path(os.path.abspath(lists))
        if not given.exists():
            raise FileNotFoundError(f"`lists` {given}: no such file or folder.")
        yield given, False
        if given.is_dir():
            yield from ((given / name, False) for name in _subfolders(given))
        return
    yield root, False
    yield from ((root / name, False) for name in _subfolders(root))
    yield root.parent, True
    siblings = _subfolders(root.parent)
    yield from ((root.parent / name, True) for name in siblings if name != root.name)


def _subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder, links among them, hidden ones not."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not is_hidden(e.name) and e.is_dir())
    except PermissionError:
        return []


# --- a folder per class ---------------------------------------------------------------------------


def _load_folder(root: Path) -> Dataset:
    folders = _subfolders(root)
    sides = {name: SIDES[name.lower()] for name in folders if name.lower() in SIDES}
    if len(sides) < len(folders) and not {"train"} < set(sides.values()):
        sides = {}  # a class may be called train
    class_folders = [f"{top}/{name}" for top in sides for name in _subfolders(root / top)]
    notes: list[str] = []
    if sides:
        others = [name for name in folders if name not in sides]
        if others:
            notes.append(f"left out, beside {' and '.join(sides)}: {some(others, 'folder')}.")
    else:
        class_folders = folders
    found: dict[str, list[str]] = {}
    passed = PassedOver()
    pictures = []
    for folder in class_folders:
        if is_frame_folder(root / folder):
            pictures.append(folder)
        else:
            found[folder] = [name for _, name in _videos(root / folder, passed)]
    in_no_class = sorted(filter(ending_of, os.listdir(root)))
    if pictures:
        notes.append(f"pictures in no folder of a class left out: {some(pictures, 'folder')}.")
    if in_no_class:
        notes.append(f"in no folder of a class, left out: {some(in_no_class, 'video')}.")
    notes += passed.notes()
    classes = sorted({folder.rpartition("/")[2] for folder in found})
    labels = {name: (label,) for label, name in enumerate(classes)}
    samples: list[Sample] = []
    by_side: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for folder, videos in found.items():
        top, _, class_name = folder.rpartition("/")
        for video in videos:
            name = f"{folder}/{video}"
            if sides:
                by_side[sides[top]].append(len(samples))
            samples.append(Sample(root / name, name, labels[class_name], group_of(name)))
    if not samples:
        raise ValueError(
            f"no dataset in {root}: looked for a folder per class with videos "
            f"({root.name}/<class>/<video>), for train/<class> and test/<class>, and for the lists "
            f"{', '.join(LISTS.values())}.{''.join(f' {note}' for note in passed.notes())}"
        )
    if len(found) == 1 and len(inner := _subfolders(root / class_folders[0])) > 1:
        notes.append(
            f"{class_folders[0]} counts as one class; if its {len(inner)} folders are classes, "
            "name it as the root."
        )
    splits = _given_splits(by_side, notes) if sides else {}
    return _dataset("folder", root, classes, samples, splits, notes=notes)


def _given_splits(
    by_side: Mapping[str, list[int]], notes: list[str]
) -> dict[str, tuple[list[int], list[int]]]:
    """As `splits_by_side`, the one to test on first and called "given"."""
    splits = splits_by_side(by_side, notes)
    if splits:
        splits = {"given": splits.pop("test" if "test" in splits else "val"), **splits}
    return splits


def _videos(folder: Path, passed: PassedOver) -> Iterator[tuple[str, str]]:
    """Path and path below the folder, with "/", of each video in it."""
    start = len(os.path.join(folder, ""))
    for path in videos_below(folder, passed):
        text = str(path)
        yield text, text[start:].replace(os.sep, "/")


# --- what lists name ------------------------------------------------------------------------------


class _Files:
    """The videos below a root by their names without the ending. See Note [Matching]."""

    def __init__(self, root: Path) -> None:
        self.names: dict[str, str] = {}
        self.doubles: list[str] = []
        self.passed = PassedOver()
        for _, name in _videos(root, self.passed):
            stem = stem_of(name)
            if stem in self.names:
                self.doubles.append(name)
            else:
                self.names[stem] = name


def _load_lists(kind: str, root: Path, paths: Sequence[Path]) -> Dataset:
    """The part of what lists name that is on the disk."""
    lists = READERS[kind](paths)
    notes = list(lists.notes)
    archives = sorted(name for name in os.listdir(root) if name.lower().endswith(".rar"))
    packed = [name for name in archives if not (root / name[:-4]).is_dir()]
    if packed:  # HMDB51 comes as an archive of archives, one a class
        notes.append(f"not unpacked: {some(packed, 'archive')}.")
    files = _Files(root)
    samples: list[Sample] = []
    index_of: dict[Hashable, int] = {}
    missing: list[str] = []
    shared = Counter(video.whole for video in lists.videos.values() if video.whole)
    listed = {stem for video in lists.videos.values() for stem in (video.stem, video.whole)}
    for key, video in lists.videos.items():
        stem, start, stop = video.stem, 0.0, None
        if stem not in files.names and video.whole in files.names:
            stem, start, stop = video.whole, video.start_seconds, video.stop_seconds
        if stem not in files.names:
            missing.append(video.name)
            continue
        name = files.names[stem]
        path = root / name
        if stop is not None and shared[stem] > 1:
            name = f"{name}#t={start:g},{stop:g}"
        index_of[key] = len(samples)
        samples.append(Sample(path, name, video.labels, video.group, start, stop))
    # Other files are no loss: the lists say what there should be.
    notes += PassedOver(pictures=files.passed.pictures).notes() if missing else []
    unlisted = sorted(name for stem, name in files.names.items() if stem not in listed)
    if unlisted:
        notes.append(f"in no list, left out: {some(unlisted, 'video')}.")
    if files.doubles:
        notes.append(f"there twice, the other one is taken: {some(files.doubles, 'video')}.")
    splits = {
        name: [[index_of[key] for key in side if key in index_of] for side in sides]
        for name, sides in lists.splits.items()
    }
    return _dataset(kind, root, lists.classes, samples, splits, missing=missing, notes=notes)


def _dataset(
    kind: str,
    root: Path,
    classes: Sequence[str],
    samples: Sequence[Sample],
    splits: Mapping[str, Sequence[list[int]]],
    *,
    missing: Iterable[str] = (),
    notes: list[str],
) -> Dataset:
    """Sort samples by name, and leave out classes that have none."""
    used = {label for sample in samples for label in sample.labels}
    empty = [name for label, name in enumerate(classes) if label not in used]
    if empty and samples and kind != "sports1m":
        notes.append(f"without a video, left out: {some(empty, 'class', 'classes')}.")
        new = {label: index for index, label in enumerate(sorted(used))}
        classes = [classes[label] for label in new]
        samples = [replace(s, labels=tuple(new[label] for label in s.labels)) for s in samples]
    elif empty and samples:
        notes.append(f"without a video: {some(empty, 'class', 'classes')}.")
    order = sorted(range(len(samples)), key=lambda index: samples[index].name)
    place = {index: position for position, index in enumerate(order)}
    for name, (train, test) in splits.items():
        for side, members in (("train on", train), ("test", test)):
            if samples and not members:
                notes.append(f"{about_split(name)}no video to {side} here.")
    return Dataset(
        kind=kind,
        root=root,
        classes=tuple(classes),
        samples=tuple(samples[index] for index in order),
        splits={
            name: Split(*(tuple(sorted(map(place.__getitem__, side))) for side in sides))
            for name, sides in splits.items()
        },
        missing=tuple(sorted(missing)),
        notes=tuple(notes),
    )


def about_split(name: str) -> str:
    """How notes on a given split begin."""
    return f"split {name} has "


# --- CSV ------------------------------------------------------------------------------------------


def _load_csv(path: Path) -> Dataset:
    if missing := {"path", "label"} - header_of(path):
        raise bad_line(path, 1, f"no column {' and '.join(sorted(missing))} in the header.")
    folder = path.parent
    rows: dict[str, dict[str, str]] = {}
    for number, row in itertools.islice(rows_of(path), 1, None):
        if not row["path"] or not row["label"]:
            raise bad_line(path, number, "`path` and `label` must not be empty.")
        video = os.path.normpath(os.path.join(folder, row["path"]))
        if video in rows:
            raise bad_line(path, number, f"{row['path']} is there twice.")
        row["split"] = side_of_row(path, number, row.get("split", "")) or ""
        rows[video] = row
    inside = os.path.join(folder, "")
    root = folder
    if not all(video.startswith(inside) for video in rows):
        root = Path(os.path.commonpath([folder, *(os.path.dirname(video) for video in rows)]))
    start = len(os.path.join(root, ""))
    names = {row["label"] for row in rows.values()}
    classes = sorted(names, key=int) if all(map(str.isdecimal, names)) else sorted(names)
    labels = {name: (label,) for label, name in enumerate(classes)}
    samples: list[Sample] = []
    lost = []
    notes: list[str] = []
    by_side: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for video, row in rows.items():
        if not os.path.exists(video):
            lost.append(row["path"])
            continue
        name = video[start:].replace(os.sep, "/")
        if row["split"]:
            by_side[row["split"]].append(len(samples))
        group = row.get("group") or group_of(name)
        samples.append(Sample(Path(video), name, labels[row["label"]], group))
    splits = _given_splits(by_side, notes)
    return _dataset("csv", root, classes, samples, splits, missing=lost, notes=notes)


# --- what is in the files -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class DatasetReport:
    """What is in a dataset's files.

    Attributes:
        dataset: the dataset.
        infos: of the videos that can be read, by sample name.
        unreadable: why the others cannot, by sample name.
    """

    dataset: Dataset
    infos: Mapping[str, VideoInfo]
    unreadable: Mapping[str, str]

    def with_unreadable(self, more: Mapping[str, str]) -> DatasetReport:
        """The same where `more` videos have turned out to be unreadable, by name, further on."""
        return replace(
            self,
            infos={name: info for name, info in self.infos.items() if name not in more},
            unreadable={**more, **self.unreadable},
        )

    def seconds(self, sample: Sample) -> float | None:
        """How long a sample is; None if its file does not say or cannot be read."""
        info = self.infos.get(sample.name)
        whole = None if info is None else _duration(info)
        if info is None or (whole is None and sample.stop_seconds is None):
            return None
        stops = [seconds for seconds in (whole, sample.stop_seconds) if seconds is not None]
        return max(min(stops) - sample.start_seconds, 0.0)

    def as_mapping(self) -> dict[str, Any]:
        """All of the report as JSON values."""
        dataset = self.dataset
        infos = self.infos.values()
        known = [s for s in map(self.seconds, dataset.samples) if s is not None]
        sizes = Counter((info.width, info.height) for info in infos)
        rates = Counter(None if info.fps is None else round(info.fps, 2) for info in infos)
        return {
            "kind": dataset.kind,
            "root": str(dataset.root),
            "num_videos": len(dataset.samples),
            "num_groups": len({sample.group for sample in dataset.samples}),
            "classes": self._classes(),
            "splits": {
                name: {"train": len(split.train), "test": len(split.test)}
                for name, split in dataset.splits.items()
            },
            "seconds": {
                "total": sum(known),
                "shortest": min(known, default=None),
                "median": statistics.median(known) if known else None,
                "longest": max(known, default=None),
                "num_unknown": len(dataset.samples) - len(known),
            },
            "frame_sizes": [
                {"width": width, "height": height, "videos": count}
                for (width, height), count in sizes.most_common()
            ],
            "frame_rates": [{"fps": fps, "videos": count} for fps, count in rates.most_common()],
            "missing": list(dataset.missing),
            "unreadable": [
                {"name": name, "reason": reason} for name, reason in self.unreadable.items()
            ],
            "notes": list(dataset.notes),
        }

    def _classes(self) -> list[dict[str, Any]]:
        """For each class its name, numbers of videos and groups, seconds, and sides of splits."""
        dataset = self.dataset
        videos = [0] * len(dataset.classes)
        seconds = [0.0] * len(dataset.classes)
        groups: list[set[str]] = [set() for _ in dataset.classes]
        for sample in dataset.samples:
            length = self.seconds(sample) or 0.0
            for label in sample.labels:
                videos[label] += 1
                seconds[label] += length
                groups[label].add(sample.group)
        splits = {
            name: [
                Counter(label for index in side for label in dataset.samples[index].labels)
                for side in (split.train, split.test)
            ]
            for name, split in dataset.splits.items()
        }
        return [
            {
                "name": name,
                "videos": videos[label],
                "groups": len(groups[label]),
                "seconds": seconds[label],
                "splits": {
                    split: {"train": train[label], "test": test[label]}
                    for split, (train, test) in splits.items()
                },
            }
            for label, name in enumerate(dataset.classes)
        ]

    def text(self, *, max_classes: int | None = 20, max_names: int | None = 5) -> str:
        """The report to read: a table of the classes, then a line for each fact.

        Args:
            max_classes: lines of the table; None for all.
            max_names: how many missing and unreadable videos are named.
        """
        facts = self.as_mapping()
        lines = [*_table(facts["classes"], facts["splits"], max_classes), ""]
        say = lines.append
        say(f"kind        {facts['kind']}")
        say(f"root        {facts['root']}")
        classes = _number(len(facts["classes"]), "class", "classes")
        groups = _number(facts["num_groups"], "group")
        say(f"videos      {facts['num_videos']} in {classes}, {groups}")
        for name, sides in facts["splits"].items():
            say(f"split {name:<5} {sides['train']} train, {sides['test']} test")
        seconds = facts["seconds"]
        if seconds["median"] is not None:
            shortest, median, longest = (
                f"{name} {seconds[name]:.1f} s" for name in ("shortest", "median", "longest")
            )
            total = f"{seconds['total'] / 60:.1f} min in all"
            say(f"durations   {total}; {shortest}, {median}, {longest}")
        if seconds["num_unknown"]:
            say(f"            {_number(seconds['num_unknown'], 'video')} of unknown length")
        sizes = [(f"{s['width']}x{s['height']}", s["videos"]) for s in facts["frame_sizes"]]
        rates = [
            ("unknown" if r["fps"] is None else f"{r['fps']:g}/s", r["videos"])
            for r in facts["frame_rates"]
        ]
        for title, values in (("frames", sizes), ("frame rate", rates)):
            if values:
                shown = ", ".join(f"{value} ({count})" for value, count in values[:max_names])
                left = len(values[max_names:]) if max_names is not None else 0
                more = f" and {left} others" if left else ""
                say(f"{title:<11} {shown}{more}")
        for title, names in (
            ("missing", facts["missing"]),
            ("unreadable", [f"{u['name']}: {u['reason']}" for u in facts["unreadable"]]),
        ):
            say(f"{title:<11} {len(names) or 'none'}")
            lines += [f"            {name}" for name in names[:max_names]]
            if max_names is not None and len(names) > max_names:
                say(f"            ... and {len(names) - max_names} more")
        lines += [f"note        {note}" for note in facts["notes"]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"DatasetReport({self.dataset!r}, {len(self.infos)} readable, "
            f"{len(self.unreadable)} unreadable)"
        )


def _number(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def _table(
    classes: Sequence[dict[str, Any]], splits: Iterable[str], max_rows: int | None
) -> list[str]:
    """Lines of a table of the classes, columns aligned."""
    rows = [["class", "videos", "groups", "minutes"]]
    for split in splits:
        rows[0] += [f"{split} train", "test"]
    for entry in classes[:max_rows]:
        row = [entry["name"], entry["videos"], entry["groups"], f"{entry['seconds'] / 60:.1f}"]
        for sides in entry["splits"].values():
            row += [sides["train"], sides["test"]]
        rows.append([str(value) for value in row])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    left = len(classes) - len(rows) + 1
    return [*lines, f"... and {left} more classes"] if left else lines


def inspect(
    dataset: Dataset,
    *,
    decode: bool = False,
    reading: Reading = PLAIN,
    threads: int | None = None,
    progress: bool = False,
) -> DatasetReport:
    """Read the header and the first frame of each video: what is there, what cannot be read.

    Args:
        dataset: from `load`.
        decode: read every frame, to find damage further on; frames and durations are then counted.
        reading: how videos are read.
        threads: videos that are read at once; as many as there are processors by default.
        progress: whether to show a progress bar on standard error.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    names: defaultdict[Path, list[str]] = defaultdict(list)
    for sample in dataset.samples:
        names[sample.path].append(sample.name)
    infos: dict[str, VideoInfo] = {}
    unreadable: dict[str, str] = {}
    found = each_video(
        map(as_source, names),
        _decoded_info if decode else _info,
        reading=reading,
        threads=threads or num_usable_cores(),
    )
    with _Bar(enabled=progress) as bar:
        bar.start(len(names))
        for source, info in found:
            for name in names[source.path]:
                if isinstance(info, Skipped):
                    unreadable[name] = info.reason
                else:
                    infos[name] = info
            bar.advance()
    return DatasetReport(dataset, infos, unreadable)


class _Bar(Display):
    """Counts videos."""

    def __init__(self, *, enabled: bool) -> None:
        columns = (MofNCompleteColumn(), TextColumn("videos"), BarColumn(), TimeRemainingColumn())
        super().__init__(*columns, enabled=enabled)
        self._done = 0

    def start(self, num_videos: int) -> None:
        self._total = num_videos
        self._task = self._rich.add_task("", total=num_videos)

    def advance(self) -> None:
        self._done += 1
        self._rich.advance(self._task)
        if self._line_is_due():
            print(f"{self._done}/{self._total} videos", file=sys.stderr, flush=True)


def _info(video: Video) -> list[VideoInfo]:
    """What a video says of itself."""
    return [video.reader().info]


def _decoded_info(video: Video) -> list[VideoInfo]:
    """As `_info`, with frames and duration counted."""
    reader = video.reader()
    num_frames = 0
    begin = end = math.nan
    for frame in video.frames(reader):
        begin = frame.start_seconds if not num_frames else begin
        end = frame.stop_seconds
        num_frames += 1
    seconds = end - begin
    counted = replace(
        reader.info,
        num_frames=num_frames,
        duration_seconds=None if math.isnan(seconds) else seconds,
    )
    return [counted]


def _duration(info: VideoInfo) -> float | None:
    """Seconds, by the header or by the number of frames; None if neither is known."""
    if info.duration_seconds is not None:
        return info.duration_seconds
    return info.num_frames / info.fps if info.num_frames and info.fps else None
