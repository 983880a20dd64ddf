"""Trained numbers: what holds them, where they come from, and what other programs wrote.

Example:
    >>> from kinema.network import c3d_mini
    >>> from kinema.weights import Weights
    >>> from kinema.weights.file import random_weights
    >>> random_weights(c3d_mini(3), name="mine").save("mine.safetensors")
    >>> weights = Weights.load("mine.safetensors")
    >>> weights
    Weights('mine', c3d_mini, 2,047,619 parameters, mean 3)
    >>> weights["conv1a.weight"].shape
    (16, 3, 3, 3, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema.lazy import lazily

if TYPE_CHECKING:
    from kinema.weights.file import Weights

__all__ = ["Weights"]

__getattr__ = lazily(__name__, {"Weights": "file"})
