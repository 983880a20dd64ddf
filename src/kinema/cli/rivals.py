"""What C3D is compared with, by itself: `kinema trajectories`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kinema.cli import options
from kinema.cli.end import Done


def trajectories(
    video: Annotated[Path, Parameter(help="A video, or a folder of pictures (000001.jpg, ...).")],
    /,
    *,
    out: Path | None = None,
    picture: Path | None = None,
    boxes: Path | None = None,
    sampling_rate: int = 1,
    threads: options.Threads = None,
) -> Done:
    """Find the improved dense trajectories of a video, and describe what is near them.

    Prints a line a track: the 436 values of the original program (Wang and Schmid, 2013), each
    followed by a tab. They are where and when it was (10), its displacements (30), HOG (96), HOF
    (108), MBHx (96) and MBHy (96).

    Args:
        out: File for the lines, instead of standard output.
        picture: PNG file: the middle frame with the tracks that pass it, the kept ones green,
            those that only the camera moved red.
        boxes: File of human boxes, which the camera's motion is not read from: a line a frame with
            its number, from 0, and x1 y1 x2 y2 score of each box.
        sampling_rate: Look at every so many frames.
    """
    from kinema.features.trajectory_files import write_trajectories

    found = write_trajectories(
        video,
        out=out,
        picture=picture,
        boxes=boxes,
        sampling_rate=sampling_rate,
        threads=threads,
        progress=True,
    )
    return Done(notes=[found.summary()])
