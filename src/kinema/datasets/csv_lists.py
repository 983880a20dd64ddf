"""Lists that are CSV files: Kinetics' own, and what any CSV file of videos has in common."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.datasets.lists import Listed, Lists, bad_line

_NEEDED = {"youtube_id", "time_start", "time_end"}


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and columns by name of each row; the first one is the header's, with empty columns.

    Blanks around a value are dropped.
    """
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        header: list[str] = []
        try:
            for row in rows:
                if not row:
                    continue
                values = [value.strip() for value in row]
                if not header:
                    header = [value.lower() for value in values]
                    yield rows.line_num, dict.fromkeys(header, "")
                    continue
                if len(values) != len(header):
                    what = f"{len(values)} columns where the header has {len(header)}."
                    raise bad_line(path, rows.line_num, what)
                yield rows.line_num, dict(zip(header, values, strict=True))
        except csv.Error as error:
            raise bad_line(path, rows.line_num, f"it is not CSV ({error}).") from None


def header_of(path: Path) -> set[str]:
    """The names of the columns of a CSV file, in lower case."""
    return set(next(rows_of(path), (0, {}))[1])


def is_kinetics(path: Path) -> bool:
    """Whether a CSV file has the columns of Kinetics' lists."""
    try:
        return header_of(path) >= _NEEDED
    except (OSError, ValueError):
        return False


SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders and columns call the sides of a split."""


def side_of_row(path: Path, number: int, text: str) -> str | None:
    """What the column `split` says; None if nothing."""
    if not text:
        return None
    if text.lower() not in SIDES:
        raise bad_line(path, number, f"`split` must be train, val or test, got {text!r}.")
    return SIDES[text.lower()]


def splits_by_side(
    by_side: Mapping[str, list[Any]], notes: list[str]
) -> dict[str, tuple[list[Any], list[Any]]]:
    """Training against validation, "val", and against "test", as far as these are marked."""
    marked = [side for side, members in by_side.items() if members]
    if marked and ("train" not in marked or len(marked) < 2):
        notes.append(f"no split is given: all that is marked is {' and '.join(marked)}.")
        return {}
    return {side: (by_side["train"], by_side[side]) for side in marked if side != "train"}


def read_kinetics(lists: Sequence[Path]) -> Lists:
    """Kinetics: parts of videos by their YouTube ids, sides in the column `split`."""
    notes: list[str] = []
    class_of: dict[tuple[str, float, float], str] = {}
    side_of: dict[tuple[str, float, float], str | None] = {}
    for path in lists:
        header = header_of(path)
        if missing := _NEEDED - header:
            raise bad_line(path, 1, f"no column {', '.join(sorted(missing))} in the header.")
        if "label" not in header:
            notes.append(f"{path.name} has no column `label`, left out.")
            continue
        for number, row in itertools.islice(rows_of(path), 1, None):
            video_id, label = row["youtube_id"], row["label"]
            if not video_id or not label:
                raise bad_line(path, number, "`youtube_id` and `label` must not be empty.")
            try:
                start, stop = float(row["time_start"]), float(row["time_end"])
            except ValueError:
                what = f"times must be seconds, got {row['time_start']!r}, {row['time_end']!r}."
                raise bad_line(path, number, what) from None
            if not 0 <= start < stop < float("inf"):
                raise bad_line(path, number, f"the part from {start:g} to {stop:g} s is not one.")
            key = (video_id, start, stop)
            side = side_of_row(path, number, row.get("split", ""))
            if class_of.setdefault(key, label) != label or side_of.setdefault(key, side) != side:
                raise bad_line(
                    path,
                    number,
                    f"{video_id} from {start:g} s is {class_of[key]!r}, {side_of[key]}, before, "
                    f"and {label!r}, {side}, here.",
                )
    classes = sorted(set(class_of.values()))
    labels = {name: (label,) for label, name in enumerate(classes)}
    listed: dict[Hashable, Listed] = {}
    by_side: dict[str, list[Hashable]] = {"train": [], "val": [], "test": []}
    for key, class_name in class_of.items():
        video_id, start, stop = key
        stem = f"{video_id}_{round(start):06d}_{round(stop):06d}"
        listed[key] = Listed(stem, labels[class_name], video_id, stem, video_id, start, stop)
        if side := side_of[key]:
            by_side[side].append(key)
    return Lists(classes, listed, splits_by_side(by_side, notes), notes)
