"""Frames resized by whole numbers in PyTorch: OpenCV's bytes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kinema.video.clips import resize
from kinema.video.reader import VideoReader

torch = pytest.importorskip("torch")

from kinema.engine.torch_resize import resized  # noqa: E402

# Of videos; smaller than the result; exactly twice as large; single pixels; odd ones.
SIZES = [
    (240, 320), (480, 640), (720, 1280), (288, 352), (144, 176), (128, 171), (256, 342),
    (64, 64), (3, 5), (1, 1), (2, 1), (1, 7), (385, 513),
]  # fmt: skip


def by_opencv(frames, size, crop):
    top, left = (size[0] - crop[0]) // 2, (size[1] - crop[1]) // 2
    cut = slice(top, top + crop[0]), slice(left, left + crop[1])
    return np.stack([resize(frame, size)[cut] for frame in frames])


@pytest.mark.parametrize(
    ("size", "crop"), [((128, 171), (112, 112)), ((73, 98), (64, 64)), ((128, 171), (128, 171))]
)
def test_random_frames_come_out_as_opencvs(size, crop):
    rng = np.random.default_rng(size[0])
    sizes = [*SIZES, *rng.integers(1, 700, (12, 2)).tolist()]
    for height, width in sizes:
        frames = rng.integers(0, 256, (2, height, width, 3), np.uint8)
        frames[1] = np.where(frames[1] < 128, 0, 255)  # the ends of the range
        got = resized(torch.from_numpy(frames), size, crop)
        assert got.dtype == torch.uint8
        assert np.array_equal(got.numpy(), by_opencv(frames, size, crop)), (height, width)


def test_real_video_comes_out_as_opencvs():
    if "KINEMA_DATA" not in os.environ:
        pytest.skip("set KINEMA_DATA to the data folder")
    videos = sorted(Path(os.environ["KINEMA_DATA"], "ucf101-3").rglob("*.avi"))[::150]
    assert videos
    for video in videos:
        frames = np.stack([frame.image for frame, _ in zip(VideoReader(video), range(6))])  # noqa: B905
        got = resized(torch.from_numpy(frames), (128, 171), (112, 112))
        assert np.array_equal(got.numpy(), by_opencv(frames, (128, 171), (112, 112))), video
