"""List files: which videos, or which of their clips, the lines of a text file name.

Note [Lines of a list]
    The numbers at the end of a line are columns, unless a file has the whole line as its name. In
    C3D's lists (C3D v1.0, `video_data_layer`) they are two on every line, `path start label`; other
    lists have labels behind the path, one or several. Two labels on every line look like the
    original's columns, and are read as those; how a list was read is told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kinema.video.folders import has_video_ending
from kinema.words import number_of


def read_list(path: Path) -> tuple[list[tuple[Path, int | None]], list[str]]:
    """What each line names, a clip by its first frame or a whole video; and how it was read."""
    try:
        # Names may be in any encoding; a mark at the start of the file is no part of the first.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise FileNotFoundError(f"`list` {path}: no such file.") from None
    except OSError as error:
        raise ValueError(f"`list` {path} cannot be read ({error.strerror}).") from None
    lines: list[tuple[Path, list[int]]] = []
    doubtful: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line:
            continue
        if "\0" in line:
            raise ValueError(f"`list` {path}, line {number}: not a text file.")
        if not lines and {"path", "label"} <= set(re.split(r"[,;\s]+", line)):
            raise ValueError(
                f"`list` {path} is a table with the columns {line}: a list has one path a line."
            )
        there = [reading for reading in _readings(line, path.parent) if os.path.lexists(reading[0])]
        if len(there) > 1:
            doubtful.append(f"line {number} as {there[0][0]}, though {there[1][0]} is there too")
        lines.append(there[0] if there else _reading_of_missing(line, path.parent))
    return _clips_or_labels(path, lines, doubtful)


def _readings(line: str, folder: Path) -> Iterator[tuple[Path, list[int]]]:
    """What can be a line's path, and the numbers behind it: the whole line, then ever less."""
    yield _listed(line, folder), []
    numbers: list[int] = []
    while match := re.fullmatch(r"(.*\S)\s+(-?\d+)", line):
        line = match[1]
        numbers.insert(0, int(match[2]))
        yield _listed(line, folder), list(numbers)


def _reading_of_missing(line: str, folder: Path) -> tuple[Path, list[int]]:
    """The path of a line of which no reading is on the disk: by its ending, or C3D's columns."""
    readings = list(_readings(line, folder))
    for path, numbers in readings:
        if has_video_ending(path.name):
            return path, numbers
    return readings[2] if len(readings) == 3 and readings[2][1][0] >= 0 else readings[0]


def _clips_or_labels(
    path: Path, lines: Sequence[tuple[Path, list[int]]], doubtful: Sequence[str]
) -> tuple[list[tuple[Path, int | None]], list[str]]:
    """Which numbers are first frames. See Note [Lines of a list]."""
    notes = []
    numbered = [(video, numbers) for video, numbers in lines if numbers]
    if numbered and all(len(numbers) == 2 and numbers[0] >= 0 for _, numbers in numbered):
        clips = number_of(len(numbered), "clip")
        videos = number_of(len({video for video, _ in numbered}), "video")
        notes.append(
            f"{path}: read as C3D's `path start label`: it names {clips} of {videos}. If these "
            "numbers are labels, list the paths alone."
        )
        wanted = [(video, numbers[0] if numbers else None) for video, numbers in lines]
    else:
        if numbered:
            several = any(len(numbers) > 1 for _, numbers in numbered)
            notes.append(
                f"{path}: read as `path label{' label ...' * several}`: the numbers behind "
                f"{number_of(len(numbered), 'path')} are labels, and play no part."
            )
        wanted = [(video, None) for video, _ in lines]
    if doubtful:
        more = f" (and {number_of(len(doubtful) - 1, 'more line')})" if len(doubtful) > 1 else ""
        notes.append(f"{path}: read {doubtful[0]}{more}.")
    return wanted, notes


def _listed(text: str, list_folder: Path) -> Path:
    beside_list = list_folder / text
    if not os.path.lexists(text) and os.path.lexists(beside_list):
        return Path(os.path.abspath(beside_list))
    return Path(os.path.abspath(text))
