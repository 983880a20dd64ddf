"""Published datasets, by the lists that come with them.

To add one, write what reads its lists, name it in `PUBLISHED`, and in the command line's choices
(`cli.options.DatasetKind`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from kinema.datasets.csv_lists import is_kinetics, read_kinetics
from kinema.datasets.lists import Lists, read_hmdb51, read_sports1m, read_ucf101


class Published(NamedTuple):
    """What there is to know of a dataset's lists.

    Attributes:
        called: what they are called, for people.
        names: matches their file names.
        read: all of them at once.
        is_one: whether a file of such a name is a list indeed.
    """

    called: str
    names: re.Pattern[str]
    read: Callable[[Sequence[Path]], Lists]
    is_one: Callable[[Path], bool] = lambda path: True


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "ucf101": Published(
            "trainlist01.txt", re.compile(r"(?:train|test)list\d+\.txt"), read_ucf101
        ),
        "hmdb51": Published(
            "<class>_test_split1.txt", re.compile(r".+_test_split\d+\.txt"), read_hmdb51
        ),
        "sports1m": Published(
            "train_partition.txt or sports1m_train.json",
            re.compile(r"(?:train|test)_partition\.txt(?:\.gz)?|sports1m_(?:train|test)\.json"),
            read_sports1m,
        ),
        "kinetics": Published(
            "a CSV with label,youtube_id,time_start,time_end,split",
            re.compile(r".+\.csv"),
            read_kinetics,
            is_kinetics,
        ),
    }
)
"""By kind of dataset, in the order in which `load` looks."""

KINDS = ("folder", *PUBLISHED, "csv", "unlabelled")
"""Of datasets."""


def lists_in(folder: Path, kind: str) -> list[str]:
    """Sorted names of the lists of a kind in a folder; or "" for the file itself, if it is one."""
    published = PUBLISHED[kind]
    if folder.is_file():
        return [""] if kind == "kinetics" and is_kinetics(folder) else []
    try:
        names = sorted(filter(published.names.fullmatch, os.listdir(folder)))
    except OSError:  # a neighbour that may not be read
        return []
    return [name for name in names if published.is_one(folder / name)]
