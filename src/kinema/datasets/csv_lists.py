"""Lists that are CSV files: Kinetics' own, and what any CSV file of videos has in common."""

from __future__ import annotations

import csv
import itertools
import math
import os
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.datasets.lists import Listed, Lists, bad_line
from kinema.words import number_of

_NEEDED = {"youtube_id", "time_start", "time_end"}

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula, and carries it out."""

LATEST_SECONDS = 1e9
"""No video is longer (31 years); a later time is a slip, and FFmpeg counts it over its end."""


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and columns by name of each row; the first one is the header's, with empty columns.

    Blanks around a value are dropped.

    Raises:
        ValueError: a row is no CSV, has other columns than the header, or holds a NUL character, as
            files in UTF-16 do.
    """
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        header: list[str] = []
        try:
            for row in rows:
                if not row:
                    continue
                if any("\0" in value for value in row):
                    what = "it holds a NUL character: save the file as CSV in UTF-8."
                    raise bad_line(path, rows.line_num, what)
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


@dataclass(frozen=True)
class LabelledRow:
    """A video, or a part of one, that a CSV file names.

    Attributes:
        path: as the file has it.
        video: absolute, without "..".
        label, group: "" is none.
        side: train, val or test, or "".
        start_seconds, stop_seconds: the part of it that counts; None is its end.
    """

    path: str
    video: str
    label: str
    side: str
    group: str
    start_seconds: float
    stop_seconds: float | None

    @property
    def is_part(self) -> bool:
        """Whether it is less than the whole file."""
        return self.start_seconds > 0 or self.stop_seconds is not None


def labelled_rows(path: Path) -> tuple[list[LabelledRow], list[str]]:
    """The rows of a CSV file with `path`, `label` and, if wanted, `start_seconds`, `stop_seconds`,
    `split` and `group`; and notes, a line each. Rows without a label are left out.

    Raises:
        ValueError: a column is missing, a row is not as it should be or there twice, or no row has
            a label; it says the file and line.
    """
    if missing := {"path", "label"} - header_of(path):
        what = (
            f"no column {' and '.join(sorted(missing))} in the header: the first line names the "
            "columns, as path,label."
        )
        if any({"path", "label"} <= {*re.split("[;\t]", one)} for one in header_of(path)):
            what = "its columns are not parted by commas: save the file as CSV with commas."
        raise bad_line(path, 1, what)
    rows: dict[tuple[str, float, float | None], LabelledRow] = {}
    unlabelled = 0
    for number, row in itertools.islice(rows_of(path), 1, None):
        if not row["path"]:
            raise bad_line(path, number, "`path` must not be empty.")
        video = os.path.normpath(os.path.join(path.parent, row["path"]))
        start, stop = _part(path, number, row)
        side = side_of_row(path, number, row.get("split", "")) or ""
        label = unguarded(row["label"])
        if not label:
            unlabelled += 1
            continue
        if not _is_text(label):
            what = "`label` is no text in UTF-8: save the file as CSV in UTF-8."
            raise bad_line(path, number, what)
        key = (video, start, stop)
        if key in rows:
            part = "" if start == 0 and stop is None else f" from {start:g} s"
            raise bad_line(path, number, f"{row['path']}{part} is there twice.")
        rows[key] = LabelledRow(
            row["path"], video, label, side, unguarded(row.get("group", "")), start, stop
        )
    if unlabelled and not rows:
        raise ValueError(f"{path}: none of its {number_of(unlabelled, 'row')} has a label.")
    has = "row has" if unlabelled == 1 else "rows have"
    return [*rows.values()], [f"{unlabelled} {has} no label yet, left out."] * bool(unlabelled)


def _part(path: Path, number: int, row: Mapping[str, str]) -> tuple[float, float | None]:
    """The seconds at which what a row names starts and stops; None is the end of the file."""
    seconds: list[float | None] = []
    for name in ("start_seconds", "stop_seconds"):
        text = row.get(name, "")
        try:
            value = float(text) if text else None
        except ValueError:
            raise bad_line(path, number, f"`{name}` must be seconds, got {text!r}.") from None
        if value is not None and not 0 <= value <= LATEST_SECONDS:
            raise bad_line(path, number, f"`{name}` must be seconds from 0 on, got {text}.")
        seconds.append(value)
    start, stop = seconds[0] or 0.0, seconds[1]
    if not start < (math.inf if stop is None else stop):
        what = f"`stop_seconds` must be after `start_seconds`, got {start:g} to {stop:g}."
        raise bad_line(path, number, what)
    return start, stop


def unguarded(cell: str) -> str:
    """A cell without the quote that keeps spreadsheets from taking it for a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _is_text(value: str) -> bool:
    """Whether it can be written in UTF-8, so that every file and page can tell it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


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
