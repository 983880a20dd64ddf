"""Prepared clips and a recipe to weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema.lazy import lazily

if TYPE_CHECKING:
    from kinema.training.clip_dataset import ClipDataset
    from kinema.training.heads import Head
    from kinema.training.recipe import Recipe
    from kinema.training.recipes import RECIPES
    from kinema.training.targets import Targets

__all__ = ["RECIPES", "ClipDataset", "Head", "Recipe", "Targets"]

__getattr__ = lazily(
    __name__,
    {
        "RECIPES": "recipes",
        "ClipDataset": "clip_dataset",
        "Head": "heads",
        "Recipe": "recipe",
        "Targets": "targets",
    },
)
