"""Tiny labelled videos that a small network learns in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kinema.video.reader import Frame
from kinema.video.synthetic import write_video

COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 50), "red": (210, 40, 30)}


def draw(label: str, seed: int, num_frames: int, size: tuple[int, int] = (36, 48)) -> np.ndarray:
    """Coloured noise around the class's colour, other in each frame: (T, H, W, 3) uint8 RGB."""
    generator = np.random.default_rng([sorted(COLOURS).index(label), seed])
    noise = generator.normal(0, 25, (num_frames, size[0] // 4, size[1] // 4, 3))
    noise = noise.repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)


def write_folder(root: Path, *, num_videos: int = 4, num_frames: int = 40) -> Path:
    """`root/red/red_0.mp4`, ...: a folder per class."""
    for label in COLOURS:
        for number in range(num_videos):
            frames = draw(label, number, num_frames)
            write_video(root / label / f"{label}_{number}.mp4", frames)
    return root


class HeldFrames:
    """2000 tiny frames at 25 a second that know how many of them are alive at once.

    Attributes:
        most: of them, so far.
    """

    def __init__(self) -> None:
        self.most = 0

    def __iter__(self) -> Iterator[Frame]:
        held = 0

        class Counted(Frame):
            def __del__(self) -> None:
                nonlocal held
                held -= 1

        for index in range(2000):
            held += 1
            self.most = max(self.most, held)
            yield Counted(np.zeros((1, 1, 3), np.uint8), index, index / 25, (index + 1) / 25)
