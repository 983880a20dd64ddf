"""Labelled videos: folders and published lists, their splits, and what is wrong with them.

load(path) -> Dataset: classes, samples, official splits, what is missing
                 |--> make_split, make_folds    where there is no official split
                 '--> inspect -> DatasetReport  what `kinema dataset info` prints
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema.lazy import lazily

if TYPE_CHECKING:
    from kinema.datasets.folds import make_folds
    from kinema.datasets.inspection import inspect
    from kinema.datasets.loaders import load
    from kinema.datasets.types import Dataset, Sample, Split, make_split

_PLACES = {
    "Dataset": "types",
    "Sample": "types",
    "Split": "types",
    "inspect": "inspection",
    "load": "loaders",
    "make_folds": "folds",
    "make_split": "types",
}

__all__ = [
    "Dataset",
    "Sample",
    "Split",
    "inspect",
    "load",
    "make_folds",
    "make_split",
]

__getattr__ = lazily(__name__, _PLACES)
