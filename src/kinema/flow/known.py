"""Pairs of images whose flow a formula gives, to measure solvers against."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MOTIONS = ("translation", "rotation", "zoom")


@dataclass(frozen=True, eq=False)
class KnownPair:
    """Two images and the flow from the first to the second.

    Attributes:
        first, second: (H, W) float32, 0 ... 255.
        flow: (H, W, 2) float32, pixels to the right and down.
    """

    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray


def known_pair(
    motion: str = "translation", *, height: int = 240, width: int = 320, seed: int = 0
) -> KnownPair:
    """A smooth texture, 60 waves of 12 to 60 pixels, that moves by a few pixels.

    The formula is sampled in both images, so nothing is interpolated.

    Args:
        motion: "translation" by (2.7, -1.6) pixels; "rotation" by 1.2 degrees about the middle;
            "zoom" by 2 % from the middle.
        height, width: of the images, in pixels.
        seed: of the texture.
    """
    rotation, scale, shift = {
        "translation": (0.0, 1.0, (2.7, -1.6)),
        "rotation": (math.radians(1.2), 1.0, (0.0, 0.0)),
        "zoom": (0.0, 1.02, (0.0, 0.0)),
    }[_one_of_the_motions(motion)]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    turn = scale * np.array(
        [[math.cos(rotation), -math.sin(rotation)], [math.sin(rotation), math.cos(rotation)]]
    )
    y, x = np.mgrid[:height, :width].astype(np.float64)
    places = np.stack([x, y], -1)
    texture = _texture(seed)
    moved = (places - middle) @ turn.T + middle + shift
    origins = (places - middle - shift) @ np.linalg.inv(turn).T + middle
    return KnownPair(
        texture(places).astype(np.float32),
        texture(origins).astype(np.float32),
        (moved - places).astype(np.float32),
    )


def end_point_error(flow: np.ndarray, truth: np.ndarray) -> float:
    """Mean length in pixels of what lies between two flows (..., 2)."""
    return float(np.hypot(*np.moveaxis(flow.astype(np.float64) - truth, -1, 0)).mean())


def _one_of_the_motions(motion: str) -> str:
    if motion not in MOTIONS:
        raise ValueError(f"`motion` must be one of {', '.join(MOTIONS)}, got {motion!r}.")
    return motion


def _texture(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    generator = np.random.default_rng(seed)
    lengths, angles, phases = generator.uniform(
        (12, 0, 0), (60, 2 * math.pi, 2 * math.pi), (60, 3)
    ).T
    waves = 2 * math.pi / lengths * np.stack([np.cos(angles), np.sin(angles)])
    return lambda places: 127.5 + 10 * np.sin(places @ waves + phases).sum(-1)
