"""Optical flow: `kinema flow`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import Reading


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
        sampling_rate: Every how many frames one is taken.
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
