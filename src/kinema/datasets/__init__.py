"""Labelled videos: folders and published lists, their splits, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema.lazy import lazily

if TYPE_CHECKING:
    from kinema.datasets.loaders import (
        Dataset,
        Sample,
        Split,
        inspect,
        load,
        make_folds,
        make_split,
    )

_PLACES = {
    "Dataset": "loaders",
    "Sample": "loaders",
    "Split": "loaders",
    "inspect": "loaders",
    "load": "loaders",
    "make_folds": "loaders",
    "make_split": "loaders",
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
