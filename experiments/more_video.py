"""Video to learn from beside the corpus, in the same form: UCF101's groups 22 to 25, drawn actions.

    python experiments/more_video.py OUT --ucf101 FOLDER

These groups are in the training videos of all three official splits, and are learned from without
labels. Needs the program ffmpeg.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from kinema.video.synthetic import CLASSES, draw_video

WIDTH, HEIGHT = 172, 128
GROUPS = ("g22", "g23", "g24", "g25")
TIMES = 3
"""That a clip of UCF101 is listed, for each that one of the corpus is: they are few."""

NUM_SCENES, NUM_FRAMES = 40, 32
SEED = 20_000
"""Of the first drawn scene; the tests of `kinema` and its demo draw others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--ucf101", type=Path, required=True, help="the folder of its classes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for folder in sorted(options.ucf101.iterdir()):
        paths = [path for path in sorted(folder.glob("*.avi")) if path.stem[-7:-4] in GROUPS]
        videos = [(f"{folder.name}/{path.name}", frames_of(path)) for path in paths]
        rows += TIMES * write(options.out / f"ucf101-{folder.name}.mkv", "UCF101", videos)
    drawn = [
        (
            f"{label}-{scene:03d}",
            draw_video(
                label,
                seed=[SEED, scene],
                num_frames=NUM_FRAMES,
                width=4 * WIDTH // 3,
                height=4 * HEIGHT // 3,
            ),
        )
        for scene in range(NUM_SCENES)
        for label in CLASSES
    ]
    rows += write(options.out / "drawn.mkv", "drawn", drawn)
    with open(options.out / "segments.tsv", "w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["shard", "first_frame", "num_frames", "repository", "path"])
        table.writerows(rows)


def frames_of(path: Path) -> list[np.ndarray]:
    """All frames of a video, R, G, B."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        done, frame = capture.read()
        if not done:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def write(
    path: Path, repository: str, videos: Iterable[tuple[str, Iterable[np.ndarray]]]
) -> list[tuple[str, int, int, str, str]]:
    """Write videos one behind the other; rows of `segments.tsv`."""
    rows: list[tuple[str, int, int, str, str]] = []
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-"]
    command += ["-c:v", "libx264", "-crf", "31", "-g", "48", "-pix_fmt", "yuv420p", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        first = 0
        for name, frames in videos:
            count = 0
            for frame in frames:
                small = cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
                process.stdin.write(small.tobytes())
                count += 1
            rows.append((path.name, first, count, repository, name))
            first += count
        process.stdin.close()
    if process.returncode:
        raise SystemExit(f"ffmpeg could not write {path}.")
    return rows


if __name__ == "__main__":
    main()
