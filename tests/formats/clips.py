"""The golden files of prepared clips: what stands in them, and how they were made.

    python tests/formats/clips.py 2 FILE     version 2, with the stream flow
    python tests/formats/clips.py 3 FILE     version 3, with maps besides

`kinema-clips-1.clips` was written so by the last code of version 1, of the stream rgb alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_videos import draw

SIZE = (18, 24)
ABOUT = {
    "kind": "folder",
    "size": list(SIZE),
    "clips": "whole",
    "quality": 95,
    "seed": 0,
    "classes": ["blue", "red"],
    "splits": {},
}
VIDEOS = (("blue/a.mp4", 0, "blue/a", 0.0, 4), ("red/b.mp4", 1, "red/b", 0.5, 3))
"""Name, label, group, start in seconds, frames."""


def rgb(label: int, count: int) -> np.ndarray:
    """Frames (count, 18, 24, 3) uint8 of a video."""
    return draw(ABOUT["classes"][label], label, count)[:, : SIZE[0], : SIZE[1]]


def flow(label: int, count: int) -> np.ndarray:
    """Frames (count, 18, 24, 2) uint8: to the right by 10 and a frame's number, up by 20."""
    frames = np.full((count, *SIZE, 2), 128, np.uint8)
    frames[..., 0] += 10 + np.arange(count, dtype=np.uint8)[:, None, None]
    frames[..., 1] -= 20 * (label + 1)
    return frames


MAPS = {"channels": 5, "size": [2, 3], "kind": "maps"}


def imagenet(label: int, count: int) -> np.ndarray:
    """Maps (count, 2, 3, 5) uint8: 100 for the class, 10 a frame, 1 a channel, 50 on the right."""
    frame, row, column, channel = np.indices((count, 2, 3, 5))
    return (100 * label + 10 * frame + channel + 50 * (column == 2) + 5 * row).astype(np.uint8)


def write(path: Path, version: int = 2) -> None:
    """All streams of both videos, and one that could not be read."""
    from kinema.training.clip_writer import ClipWriter
    from kinema.training.pictures import encode
    from kinema.training.streams import encode_maps

    about = {**ABOUT, "streams": {"rgb": {"channels": 3}, "flow": {"channels": 2}}}
    if version > 2:
        about["streams"]["imagenet"] = MAPS
    with ClipWriter(path, about) as writer:
        for name, label, group, start, count in VIDEOS:
            streams = {
                "rgb": [encode(frame, 95) for frame in rgb(label, count)],
                "flow": [encode(frame, 95) for frame in flow(label, count)],
            }
            if version > 2:
                values = imagenet(label, count).transpose(0, 3, 1, 2) * np.float32(6 / 255)
                streams["imagenet"] = [encode_maps(maps) for maps in values]
            writer.add(name, (label,), group, f"print-{name}", [(start, streams)])
        writer.add_skipped("red/c.mp4", (1,), "g", "the file is empty.")
        writer.finish()


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]))
