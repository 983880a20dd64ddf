"""Improved dense trajectories against one call of OpenCV's flow: benchmarks/trajectories.json.

On real video of 320x240 pixels (KINEMA_DATA), for each video and in one run: the processor time a
frame of all of it, and of it without keypoints, on one thread, over that of one call of
cv2.calcOpticalFlowFarneback at the same settings. Processor time is what a quiet machine takes:
what other programs take does not count. Two threads: wall-clock time of one over that of two, which
needs two idle cores, and the processor time of two over that of one, which does not. They take
turns; ratios are medians over videos and rounds.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import write

from kinema.features import trajectories
from kinema.video.reader import VideoReader

VIDEOS = ("BabyCrawling", "Punch", "PushUps")
NUM_FRAMES = 40
ROUNDS = 3
SETTINGS = (2**-0.5, 8, 10, 2, 7, 1.5, cv2.OPTFLOW_FARNEBACK_GAUSSIAN)


def grey(path: Path) -> list[np.ndarray]:
    """The first frames of a video."""
    frames: list[np.ndarray] = []
    for frame in VideoReader(path):
        frames.append(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY))
        if len(frames) == NUM_FRAMES:
            break
    return frames


def clocked(function: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Wall-clock and processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - wall, time.process_time() - processor


def tracked(frames: list[np.ndarray], threads: int) -> list[np.ndarray]:
    """All rows of some frames."""
    return list(trajectories.track(frames, threads=threads, num_frames=len(frames)))


def without_keypoints(frames: list[np.ndarray]) -> list[np.ndarray]:
    """All rows, with the camera's motion by the flow alone."""
    none = trajectories.Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.float32))
    found, trajectories.keypoints_of = trajectories.keypoints_of, lambda _image, _mask: none
    try:
        return tracked(frames, 1)
    finally:
        trajectories.keypoints_of = found


def flows(frames: list[np.ndarray]) -> None:
    """OpenCV's flow, pair by pair."""
    for first, second in itertools.pairwise(frames):
        cv2.calcOpticalFlowFarneback(first, second, None, *SETTINGS)


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Measure and write."""
    cv2.setNumThreads(1)
    folder = Path(os.environ["KINEMA_DATA"], "ucf101-3", "UCF-101")
    whole, bare, wall, processor, flow_ms = [], [], [], [], []
    rows: list[int] = []
    for name in VIDEOS:
        frames = grey(min((folder / name).glob("*.avi")))
        one, two = tracked(frames, 1), tracked(frames, 2)
        assert all(map(np.array_equal, one, two))
        rows.append(sum(map(len, one)))
        for _ in range(ROUNDS):
            before = clocked(flows, frames)[1]
            single = clocked(tracked, frames, 1)
            without = clocked(without_keypoints, frames)[1] / len(frames)
            double = clocked(tracked, frames, 2)
            flow = (before + clocked(flows, frames)[1]) / 2 / (len(frames) - 1)
            flow_ms.append(1e3 * flow)
            whole.append(single[1] / len(frames) / flow)
            bare.append(without / flow)
            wall.append(single[0] / double[0])
            processor.append(double[1] / single[1])
    write(
        "trajectories",
        {
            "videos": list(VIDEOS),
            "frames_of_each": NUM_FRAMES,
            "rounds": ROUNDS,
            "rows": rows,
            "opencv_flow_ms": round(statistics.median(flow_ms), 2),
            "over_one_opencv_flow": spread(whole),
            "without_keypoints_over_one_opencv_flow": spread(bare),
            "wall_of_one_thread_over_two": spread(wall),
            "processor_time_of_two_threads_over_one": spread(processor),
            "load_average": round(os.getloadavg()[0], 1),
        },
    )


if __name__ == "__main__":
    main()
