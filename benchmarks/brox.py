"""Brox et al. 2004 on one thread of the CPU beside the published C++: benchmarks/brox.json.

    python benchmarks/brox.py [--reference PROGRAM] [--video FILE ...]

PROGRAM is `main` of IPOL's sms_optic_flow_2.0 (spatial), built with -O3; it is no part of this
project. Both get the same closed forms (320x240, floats, as PFM files), in turns; their errors
against the truth stand beside their times, and those of OpenCV's dense inverse search, which sees
the images rounded to 0 ... 255. The same for two frames in the middle of each video, whose truth
nobody knows: there the flows of both are compared with each other. The best of the rounds counts,
in seconds of processor time, which other programs disturb less. The program's process also reads
two files and writes one; what that takes is measured with images of 16x16 pixels, and taken off.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import write

from kinema import native
from kinema.flow.brox import DEFAULT, SWEEPS_A_CHECK
from kinema.flow.dis import dis_flow
from kinema.flow.flows import grey
from kinema.flow.known import MOTIONS, end_point_error, known_pair
from kinema.flow.native_brox import brox_flow
from kinema.video.reader import VideoReader

ROUNDS = 5
OURS = f"root mean square change of a sweep < 1e-4 px, looked at every {SWEEPS_A_CHECK}, or 300"
THEIRS = "root mean square change of a sweep < 1e-4 px, looked at after each, or 300"


def reference_flow(program: Path, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The flow that the published program finds."""
    with tempfile.TemporaryDirectory() as folder:
        names = [os.path.join(folder, name) for name in ("a.pfm", "b.pfm", "f.flo")]
        for name, image in zip(names, (first, second), strict=False):
            with open(name, "wb") as file:
                file.write(b"Pf\n%d %d\n-1.0\n" % image.shape[::-1])
                file.write(image.astype("<f4").tobytes())
        d = DEFAULT
        given = (d.alpha, d.gamma, d.scales, d.nu, d.tolerance, d.inner, d.warps, 0)
        subprocess.run([program, *names, *map(str, given)], check=True, capture_output=True)
        content = Path(names[2]).read_bytes()
    return np.frombuffer(content[12:], "<f4").reshape(*first.shape, 2)


def timed(work: Callable[[], np.ndarray], who: int) -> tuple[np.ndarray, float]:
    """What it gives, and how many seconds of processor time this or other processes took."""

    def spent() -> float:
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime

    began = spent()
    found = work()
    return found, spent() - began


def compared(
    first: np.ndarray, second: np.ndarray, truth: np.ndarray | None, program: Path | None
) -> dict[str, Any]:
    """Times and errors of both on one pair."""
    ours, theirs, fast = [], [], []
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    greys = [np.rint((i - low) * (255 / (high - low))).astype(np.uint8) for i in (first, second)]
    for _ in range(ROUNDS):
        dis, seconds = timed(partial(dis_flow, *greys), resource.RUSAGE_SELF)
        fast.append(seconds)
        mine, seconds = timed(lambda: brox_flow(first, second), resource.RUSAGE_SELF)
        ours.append(seconds)
        if program is not None:
            reference = partial(reference_flow, program, first, second)
            other, seconds = timed(reference, resource.RUSAGE_CHILDREN)
            theirs.append(seconds)
    row: dict[str, Any] = {
        "dis": {"seconds": round(min(fast), 4)},
        "ours": {"seconds": round(min(ours), 4)},
    }
    if truth is not None:
        row["dis"]["end_point_error_px"] = round(end_point_error(dis, truth), 5)
        row["ours"]["end_point_error_px"] = round(end_point_error(mine, truth), 5)
    if program is not None:
        little = partial(reference_flow, program, *np.zeros((2, 16, 16), np.float32))
        start = min(timed(little, resource.RUSAGE_CHILDREN)[1] for _ in range(ROUNDS))
        row["reference"] = {"seconds": round(min(theirs) - start, 4), "start": round(start, 4)}
        if truth is not None:
            row["reference"]["end_point_error_px"] = round(end_point_error(other, truth), 5)
        row["times_as_fast"] = round((min(theirs) - start) / min(ours), 1)
        row["apart_px"] = round(end_point_error(mine, other), 5)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reference", type=Path, help="the published program")
    parser.add_argument("--video", type=Path, nargs="*", default=[], help="real frames")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    rows = {}
    for motion in MOTIONS:
        pair = known_pair(motion)
        rows[motion] = compared(pair.first, pair.second, pair.flow, given.reference)
    for video in given.video:
        middle = (VideoReader(video).info.num_frames or 2) // 2
        first, second = (grey(f.image) for f in islice(VideoReader(video), middle, middle + 2))
        rows[f"{video.name}, frame {middle}"] = compared(first, second, None, given.reference)
    write(
        "brox",
        {
            "what": "Brox et al. 2004, 320x240, one thread, processor seconds a pair, best of 5",
            "settings": asdict(DEFAULT),
            "stops": {"ours": OURS, "reference": THEIRS},
            "reference": "IPOL sms_optic_flow_2.0 (spatial), -O3" if given.reference else None,
            "kernels": native.processor(),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
