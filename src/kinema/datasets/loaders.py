"""Datasets from the disk: folders, UCF101, HMDB51, Sports-1M, Kinetics and CSV lists.

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

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kinema.datasets.csv_lists import (
    SIDES,
    is_kinetics,
    labelled_rows,
    splits_by_side,
)
from kinema.datasets.lists import ending_of, group_of, stem_of
from kinema.datasets.published import KINDS, PUBLISHED, lists_in
from kinema.datasets.types import Dataset, Sample, Split, part_name
from kinema.video.folders import PassedOver, is_frame_folder, is_hidden, videos_below
from kinema.words import some


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
    - unlabelled: all videos below the folder, as one class, for networks that learn without labels.
    - csv: `path,label` and, if wanted, `start_seconds` and `stop_seconds` (the part that counts;
      empty for the start or the end of the file), `split` (train, val, test) and `group`. A file
      may be there several times with other parts, which are one group if the column does not say
      otherwise. Relative paths start at the CSV's folder. Rows without a label are left out, with
      a note. A quote before a formula's sign, which `classify` writes for spreadsheets, is dropped.

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

    Example:
        >>> from kinema.datasets import load
        >>> from kinema.video.synthetic import write_dataset
        >>> drawn = write_dataset("videos", num_train=2, num_test=1, num_frames=1)
        >>> dataset = load("videos")
        >>> dataset.classes[:2], len(dataset.samples), dataset.splits
        (('clockwise', 'counterclockwise'), 12, {'given': Split(8 train, 4 test)})
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
    if lists is not None and kind in ("folder", "unlabelled"):
        raise ValueError(f"`lists` has no use for kind {kind}.")
    if kind == "unlabelled":
        return _load_unlabelled(root)
    if kind != "folder":
        kinds = tuple(PUBLISHED) if kind == "auto" else (kind,)
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
            looked_for = ", ".join(f"{PUBLISHED[name].called} ({name})" for name in kinds)
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
    if not samples and in_no_class:
        raise ValueError(
            f"no dataset in {root}: {some(in_no_class, 'video')} in no folder of a class "
            f"({root.name}/<class>/<video>), and no lists. "
            "`kind` unlabelled takes them, for networks that learn without labels."
        )
    if not samples:
        raise ValueError(
            f"no dataset in {root}: looked for a folder per class with videos "
            f"({root.name}/<class>/<video>), for train/<class> and test/<class>, and for the lists "
            f"{', '.join(one.called for one in PUBLISHED.values())}."
            f"{''.join(f' {note}' for note in passed.notes())}"
        )
    if len(found) == 1 and len(inner := _subfolders(root / class_folders[0])) > 1:
        notes.append(
            f"{class_folders[0]} counts as one class; if its {len(inner)} folders are classes, "
            "name it as the root."
        )
    splits = _given_splits(by_side, notes) if sides else {}
    return _dataset("folder", root, classes, samples, splits, notes=notes)


def _load_unlabelled(root: Path) -> Dataset:
    passed = PassedOver()
    found = [(Path(path), name) for path, name in _videos(root, passed)]
    if not found:
        raise ValueError(f"no video in {root}.{''.join(f' {note}' for note in passed.notes())}")
    samples = [Sample(path, name, (0,), group_of(name)) for path, name in found]
    return _dataset("unlabelled", root, ("unlabelled",), samples, {}, notes=passed.notes())


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
    lists = PUBLISHED[kind].read(paths)
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
            name = part_name(name, start, stop)
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
    rows, notes = labelled_rows(path)
    folder = path.parent
    inside = os.path.join(folder, "")
    root = folder
    if not all(row.video.startswith(inside) for row in rows):
        root = Path(os.path.commonpath([folder, *(os.path.dirname(row.video) for row in rows)]))
    start = len(os.path.join(root, ""))
    names = {row.label for row in rows}
    classes = sorted(names, key=int) if all(map(str.isdecimal, names)) else sorted(names)
    labels = {name: (label,) for label, name in enumerate(classes)}
    rows_of_video = Counter(row.video for row in rows)
    samples: list[Sample] = []
    lost = []
    by_side: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for row in rows:
        if not os.path.exists(row.video):
            lost.append(row.path)
            continue
        if row.is_part and os.path.isdir(row.video):
            raise ValueError(f"{path}: {row.path} is a folder of pictures, which has no times.")
        name = file = row.video[start:].replace(os.sep, "/")
        if row.is_part and rows_of_video[row.video] > 1:
            name = part_name(file, row.start_seconds, row.stop_seconds)
        if row.side:
            by_side[row.side].append(len(samples))
        samples.append(
            Sample(
                Path(row.video),
                name,
                labels[row.label],
                row.group or group_of(file),
                row.start_seconds,
                row.stop_seconds,
            )
        )
    splits = _given_splits(by_side, notes)
    return _dataset("csv", root, classes, samples, splits, missing=dict.fromkeys(lost), notes=notes)
