"""The lists of UCF101, HMDB51 and Sports-1M, read and checked line by line.

A list says what there should be; which of it is on the disk is found out by `loaders`. A line that
is not as it should be is a ValueError that names the file, the line and what is wrong.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinema.video.folders import VIDEO_SUFFIXES
from kinema.words import some

NUM_SPORTS = 487
"""Classes of Sports-1M, of which the network has as many outputs (labels.txt of the dataset)."""


@dataclass(slots=True)
class Listed:
    """What lists say of one video.

    Attributes:
        name: as the list calls it.
        labels: indices into `Lists.classes`.
        group: see `Sample`.
        stem: what its file is called, without folder and ending.
        whole: what the file is called that it is a part of, from `start_seconds` to `stop_seconds`;
            "" if there is no such.
    """

    name: str
    labels: tuple[int, ...]
    group: str
    stem: str
    whole: str = ""
    start_seconds: float = 0.0
    stop_seconds: float | None = None


Sides = tuple[list[Hashable], list[Hashable]]
"""What is for training and what for testing: keys of `Lists.videos`."""


@dataclass
class Lists:
    """All that a dataset's lists say."""

    classes: Sequence[str]
    videos: Mapping[Hashable, Listed]
    splits: Mapping[str, Sides]
    notes: list[str] = field(default_factory=list)


# --- names ----------------------------------------------------------------------------------------

_UCF_NAME = re.compile(r"v_(.+)_g(\d+)_c\d+(?:\.|$)")


def group_of(name: str) -> str:
    """The group of a video by its name: UCF101's, or its own."""
    match = _UCF_NAME.match(name.rpartition("/")[2])
    return f"{match[1]}/g{match[2]}" if match else name


def ending_of(name: str) -> str:
    """The ending of a video's name, "" for other names."""
    ending = os.path.splitext(name)[1]
    return ending if ending.lower() in VIDEO_SUFFIXES and name[0] != "." else ""


def stem_of(name: str) -> str:
    """The last part of a video's name without its ending; folders of pictures have none."""
    last = name.rpartition("/")[2]
    return last[: len(last) - len(ending_of(last))]


# --- UCF101, HMDB51, Sports-1M --------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a list that are not empty, without blanks at their ends, and their numbers."""
    file: Any = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # noqa: SIM115
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape") as text:
        for number, line in enumerate(text, start=1):
            if line := line.strip():
                yield number, line


def bad_line(path: Path, number: int, what: str) -> ValueError:
    """The error that a line of a list is not as it should be."""
    return ValueError(f"{path}, line {number}: {what}")


def read_ucf101(lists: Sequence[Path]) -> Lists:
    """UCF101: three splits; groups stand in the names."""
    folder = lists[0].parent
    classes = _ucf101_classes(folder / "classInd.txt")
    listed: dict[Hashable, Listed] = {}
    splits: dict[str, Sides] = {}
    numbers = {match[1] for path in lists if (match := re.search(r"(\d+)\.txt$", path.name))}
    found_classes: dict[str, int] = {}
    for number in sorted(numbers, key=int):
        sides: Sides = ([], [])
        seen: set[str] = set()
        for keys, side in zip(sides, ("train", "test"), strict=True):
            path = folder / f"{side}list{number}.txt"
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing beside the list of the other side.")
            for line_number, line in _lines(path):
                match = re.fullmatch(r"(([^/]+)/[^/]*?\S)(?:\s+(\d+))?", line)
                if not match or not ending_of(match[1].rpartition("/")[2]):
                    what = f"expected `class/video.avi label`, got {line!r}."
                    raise bad_line(path, line_number, what)
                name, class_name = match[1], match[2]
                if classes is None:
                    label = found_classes.setdefault(class_name, len(found_classes))
                elif class_name not in classes:
                    what = f"class {class_name!r} is not in classInd.txt."
                    raise bad_line(path, line_number, what)
                else:
                    label = classes[class_name]
                    if match[3] and int(match[3]) != label + 1:
                        what = f"{class_name} is {label + 1} in classInd.txt, not {match[3]}."
                        raise bad_line(path, line_number, what)
                key = stem_of(name)
                if key in seen:
                    raise bad_line(path, line_number, f"{name} is in split {int(number)} already.")
                seen.add(key)
                keys.append(key)
                listed.setdefault(key, Listed(name, (label,), group_of(name), key))
        splits[str(int(number))] = sides
    names = list(classes if classes is not None else found_classes)
    return Lists(names, listed, splits)


def _ucf101_classes(path: Path) -> dict[str, int] | None:
    """Labels by class from `1 ApplyEyeMakeup` lines; None without the file."""
    if not path.is_file():
        return None
    classes: dict[str, int] = {}
    for number, line in _lines(path):
        position, _, name = line.partition(" ")
        if position != str(len(classes) + 1) or not name.strip() or name.strip() in classes:
            raise bad_line(path, number, f"expected `{len(classes) + 1} class`, got {line!r}.")
        classes[name.strip()] = len(classes)
    return classes


def read_hmdb51(lists: Sequence[Path]) -> Lists:
    """HMDB51: a list a class and split; 1 is for training, 2 for testing, 0 for neither."""
    parts = [re.fullmatch(r"(.+)_test_split(\d+)\.txt", path.name) for path in lists]
    named = [(path, match[1], match[2]) for path, match in zip(lists, parts, strict=True) if match]
    classes = sorted({class_name for _, class_name, _ in named})
    labels = {name: (label,) for label, name in enumerate(classes)}
    listed: dict[Hashable, Listed] = {}
    splits: dict[str, Sides] = {
        number: ([], []) for number in sorted({n for _, _, n in named}, key=int)
    }
    for path, class_name, split in named:
        seen: set[str] = set()
        for number, line in _lines(path):
            match = re.fullmatch(r"(.*\S)\s+([012])", line)
            if not match:
                raise bad_line(path, number, f"expected `video.avi 0`, 1 or 2, got {line!r}.")
            name = match[1]
            key = stem_of(name)
            if key in seen:
                raise bad_line(path, number, f"{name} is there twice.")
            seen.add(key)
            # The class may be in the source's name too, so the last one counts.
            source, _, rest = name.rpartition(f"_{class_name}_")
            video = Listed(
                f"{class_name}/{name}", labels[class_name], source if rest != name else key, key
            )
            if listed.setdefault(key, video).labels != video.labels:
                raise bad_line(path, number, f"{name} is of the class {listed[key].name} too.")
            if match[2] != "0":  # 1 train, 2 test, 0 neither
                splits[split][int(match[2]) - 1].append(key)
    return Lists(classes, listed, splits)


def read_sports1m(lists: Sequence[Path]) -> Lists:
    """Sports-1M: one split, several labels a video."""
    if any(path.suffix != ".json" for path in lists):  # the text lists are the larger ones
        lists = [path for path in lists if path.suffix != ".json"]
    classes = _sports(lists[0].parent)
    notes: list[str] = []
    listed: dict[Hashable, Listed] = {}
    sides: dict[str, dict[str, None]] = {"train": {}, "test": {}}
    repeated = 0
    read = set()
    for path in sorted(lists, key=lambda path: "train" not in path.name):
        side = "train" if "train" in path.name else "test"
        if side in read:  # as text and packed
            continue
        read.add(side)
        for video_id, labels in _sports_lines(path):
            video = listed.get(video_id)
            if video is None:
                listed[video_id] = Listed(video_id, labels, video_id, video_id)
            else:
                repeated += 1
                video.labels = tuple(sorted({*video.labels, *labels}))
            sides[side][video_id] = None
    both = sorted(sides["train"].keys() & sides["test"].keys())
    if repeated:
        notes.append(f"listed again, with their labels put together: {repeated} lines.")
    if both:
        notes.append(f"listed on both sides, kept for training only: {some(both, 'video')}.")
        sides["test"] = {key: None for key in sides["test"] if key not in sides["train"]}
    splits: dict[str, Sides] = {}
    if len(read) == 2:
        splits["official"] = ([*sides["train"]], [*sides["test"]])
    else:
        notes.append(f"no split is given: there is only the list to {read.pop()} on.")
    return Lists(classes, listed, splits, notes)


def _sports(lists: Path) -> list[str]:
    """The 487 classes, in order."""
    for folder in (lists, lists.parent):  # as published, labels.txt lies above the lists
        for name in ("labels.txt", "sports1m-labels.txt"):
            path = folder / name
            if path.is_file():
                classes = [line for _, line in _lines(path)]
                if len(set(classes)) != NUM_SPORTS or len(classes) != NUM_SPORTS:
                    raise ValueError(
                        f"{path} must hold the {NUM_SPORTS} different classes of Sports-1M, a line "
                        f"each; it has {len(classes)} lines."
                    )
                return classes
    raise FileNotFoundError(f"labels.txt, the classes of Sports-1M, is not in {lists} or above it.")


_SPORTS_LINE = re.compile(r"\S+(?:[?&]v=|youtu\.be/)([\w-]+)\S*\s+(\d+(?:,\d+)*)", re.ASCII)


def _sports_lines(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Id and sorted labels of each video in a list."""
    entries = _sports_entries(path) if path.suffix == ".json" else _sports_text(path)
    for where, video_id, labels in entries:
        if not 0 <= min(labels) <= max(labels) < NUM_SPORTS:
            bad = next(label for label in labels if not 0 <= label < NUM_SPORTS)
            raise ValueError(f"{path}, {where}: label {bad} is not one of 0 to {NUM_SPORTS - 1}.")
        yield video_id, tuple(sorted(set(labels)))


def _sports_text(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    for number, line in _lines(path):
        match = _SPORTS_LINE.fullmatch(line)
        if not match:
            what = "expected `http://www.youtube.com/watch?v=ID 12,34`"
            raise bad_line(path, number, f"{what}, got {line[:80]!r}.")
        yield f"line {number}", match[1], [int(label) for label in match[2].split(",")]


def _sports_entries(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    try:
        entries = list(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a list in JSON: {error}.") from None
    for number, entry in enumerate(entries, start=1):
        match entry:
            case {"id": str(video_id), "label487": [int(), *_] as labels}:
                yield f"entry {number}", video_id, labels
            case _:
                what = "expected an object with `id` and `label487`"
                raise ValueError(f"{path}, entry {number}: {what}, got {str(entry)[:80]}.")
