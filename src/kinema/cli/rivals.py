"""What C3D is compared with, by itself: `kinema trajectories`, `flow`, `runtime`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import Reading


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


def flow(
    video: Path,
    /,
    *,
    out: Path,
    method: Literal["dis", "brox"] = "dis",
    frame: int | None = None,
    sampling_rate: int = 1,
    longest_px: float = 10.0,
    threads: options.Threads = None,
    reading: Reading = Reading(),
) -> Done:
    """Draw how a video moves: the optical flow in colours, with their wheel beside it.

    The hue tells the direction, how full the colour is tells how far a pixel moves; no motion is
    white.

    Args:
        video: A video, or a folder of pictures (000001.jpg, ...).
        out: FILE.png shows one pair of frames; FILE.mp4 or FILE.avi all pairs.
        method: dis, dense inverse search, is fast; brox (Brox et al. 2004) is what the paper
            compares with, some frames a second.
        frame: Of a picture, the first frame of the pair; 0 without it.
        sampling_rate: Take every N-th frame.
        longest_px: How far a pixel must move for the full colour, in pixels.
    """
    from kinema.flow.pictures import draw_flow

    drawn = draw_flow(
        video,
        out=out,
        method=method,
        frame=frame,
        sampling_rate=sampling_rate,
        longest_px=longest_px,
        threads=threads,
        progress=True,
        **vars(reading),
    )
    return Done(lines=[drawn.summary()])


def runtime(
    *videos: options.Videos,
    out: options.OutFolder,
    systems: Annotated[
        str,
        Parameter(
            help="Which, with commas between: idt, brox, dis, brox-gpu, c3d, c3d-torch, c3d-gpu; "
            "all by default."
        ),
    ] = "idt,brox,dis,brox-gpu,c3d,c3d-torch,c3d-gpu",
    seconds: float = 20.0,
    weights: str | None = None,
    stride: int = 16,
    batch: int = 8,
    threads: options.Threads = None,
    reading: Reading = Reading(),
    max_skipped: options.MaxSkipped = 0,
) -> Done:
    """Measure the paper's runtime table on this machine: iDT, Brox's flow, C3D.

    Each runs on one core and on all, input and output included. Writes runtime.json, runtime.md and
    runtime.png; a stopped run goes on.

    Args:
        seconds: For which each reads videos.
        weights: Of C3D; the original network with random ones by default: they are as fast.
        stride: Frames from clip to clip of C3D.
        batch: Clips that go through C3D at once.
    """
    from kinema.evaluation.runtime import runtime
    from kinema.views.runtime import summary, write

    made = runtime(
        videos,
        out=out,
        systems=options.names(systems),
        seconds=seconds,
        weights=weights,
        stride=stride,
        batch=batch,
        threads=threads,
        progress=True,
        **vars(reading),
    )
    write(made, out)
    return Done(
        skipped=made.skipped,
        max_skipped=max_skipped,
        notes=made.notes,
        lines=[*summary(made), out / "runtime.md"],
    )
