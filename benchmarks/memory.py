"""Peak memory of `kinema extract` on a long and a short video: benchmarks/memory.json."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from machine import write

from kinema.video.synthetic import FPS, draw_pictures, write_video

MINUTES = (1, 10)


def frames(num_frames: int) -> Iterator[np.ndarray]:
    """Frames of 320x240, over and over."""
    return itertools.islice(itertools.cycle(draw_pictures(0)), num_frames)


def peak_mib(video: Path, out: Path) -> float:
    """Peak resident memory of an extraction in a process of its own."""
    code = (
        "import resource, sys; from kinema.cli import main; "
        "code = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "extract", str(video), "--out", str(out), "--batch", "4"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1]) / 1024


def main() -> None:
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in MINUTES:
            video = Path(folder, f"{minutes}.mp4")
            write_video(video, frames(minutes * 60 * FPS))
            peaks[f"{minutes} min"] = peak_mib(video, Path(folder, f"out{minutes}"))
    first, last = peaks.values()
    write(
        "memory",
        {
            "what": "peak resident MiB of `kinema extract`, c3d-mini, batch 4, 320x240 at 25 fps",
            "peak_mib": peaks,
            "ratio": last / first,
        },
    )


if __name__ == "__main__":
    main()
