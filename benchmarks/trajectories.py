"""Improved dense trajectories against one call of OpenCV's flow: benchmarks/trajectories.json.

On real video of 320x240 pixels (KINEMA_DATA), for each video and in one run: milliseconds a frame
of all of it, of it without keypoints, and with two threads, over those of one call of
cv2.calcOpticalFlowFarneback at the same settings, the median of its calls. All takes turns, so that
other programs disturb all alike; ratios are medians over videos and rounds.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from machine import write

from kinema.features import trajectories
from kinema.video.reader import VideoReader

VIDEOS = ("BabyCrawling", "Punch", "PushUps")
NUM_FRAMES = 60
ROUNDS = 5
SETTINGS = (2**-0.5, 8, 10, 2, 7, 1.5, cv2.OPTFLOW_FARNEBACK_GAUSSIAN)


def grey(path: Path) -> list[np.ndarray]:
    """The first frames of a video."""
    frames: list[np.ndarray] = []
    for frame in VideoReader(path):
        frames.append(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY))
        if len(frames) == NUM_FRAMES:
            break
    return frames


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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


def flows(frames: list[np.ndarray]) -> Iterator[float]:
    """Seconds of OpenCV's flow, pair by pair."""
    for first, second in zip(frames, frames[1:], strict=False):
        yield seconds(lambda a=first, b=second: cv2.calcOpticalFlowFarneback(a, b, None, *SETTINGS))


def main() -> None:
    """Measure and write."""
    cv2.setNumThreads(1)
    folder = Path(os.environ["KINEMA_DATA"], "ucf101-3", "UCF-101")
    ratios: dict[str, list[float]] = {"all": [], "without_keypoints": [], "two_threads": []}
    flow_ms: list[float] = []
    rows: list[int] = []
    for name in VIDEOS:
        frames = grey(min((folder / name).glob("*.avi")))
        one, two = tracked(frames, 1), tracked(frames, 2)
        assert all(map(np.array_equal, one, two))
        rows.append(sum(map(len, one)))
        for _ in range(ROUNDS):
            flow = statistics.median(flows(frames))
            single = seconds(lambda: tracked(frames, 1)) / len(frames)
            bare = seconds(lambda: without_keypoints(frames)) / len(frames)
            double = seconds(lambda: tracked(frames, 2)) / len(frames)
            flow = (flow + statistics.median(flows(frames))) / 2
            flow_ms.append(1e3 * flow)
            ratios["all"].append(single / flow)
            ratios["without_keypoints"].append(bare / flow)
            ratios["two_threads"].append(single / double)
    write(
        "trajectories",
        {
            "videos": list(VIDEOS),
            "frames_of_each": NUM_FRAMES,
            "rounds": ROUNDS,
            "rows": rows,
            "opencv_flow_ms": round(statistics.median(flow_ms), 2),
            "over_one_opencv_flow": {
                name: {
                    "median": round(statistics.median(values), 3),
                    "least": round(min(values), 3),
                    "most": round(max(values), 3),
                }
                for name, values in ratios.items()
                if name != "two_threads"
            },
            "one_thread_over_two": {
                "median": round(statistics.median(ratios["two_threads"]), 3),
                "least": round(min(ratios["two_threads"]), 3),
                "most": round(max(ratios["two_threads"]), 3),
            },
        },
    )


if __name__ == "__main__":
    main()
