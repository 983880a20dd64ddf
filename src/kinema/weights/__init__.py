"""Trained numbers: what holds them, where they come from, and what other programs wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema.lazy import lazily

if TYPE_CHECKING:
    from kinema.weights.file import Weights

__all__ = ["Weights"]

__getattr__ = lazily(__name__, {"Weights": "file"})
