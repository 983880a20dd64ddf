"""Mean volumes computed from videos."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from kinema.clips import C3D_RESIZE, ClipPlan, resize_frame, stream_clips
from kinema.features import find_jobs, prefetched, skip_reason
from kinema.progress import Progress
from kinema.video import VideoReader


@dataclass
class MeanReport:
    """A mean volume and what it was computed from.

    Attributes:
        mean: (3, length, height, width) float32, B, G, R.
        num_clips: clips that were averaged.
        skipped: `{"path", "reason"}` of each video that is not, or only in part, in the mean.
    """

    mean: np.ndarray
    num_clips: int
    skipped: list[dict[str, str]] = field(default_factory=list)


def mean_volume(
    paths: Iterable[str | os.PathLike[str]],
    *,
    length: int = 16,
    size: tuple[int, int] = C3D_RESIZE,
    progress: bool = False,
) -> MeanReport:
    """The average of each voxel over all whole, non-overlapping clips of some videos.

    C3D v1.0 (`compute_volume_mean_from_list.cpp`) averages the clips of every tenth line of a list
    of non-overlapping clips; here all of them count. The sum is exact, so the order of the videos
    does not matter. Videos shorter than a clip, and what comes after damage, are left out.

    Args:
        paths: videos, as for `extract`.
        length: frames in a clip.
        size: height and width that frames are resized to.
        progress: whether to show a progress bar on standard error.

    Raises:
        ValueError: no clip could be read.
    """
    jobs = find_jobs(paths)
    plan = ClipPlan(length=length, stride=length, short="skip")
    total = np.zeros((length, *size, 3), np.int64)  # exact: 8-bit values
    num_clips = 0
    skipped = []
    with Progress(enabled=progress) as bar:
        bar.start(len(jobs), len(jobs))
        for job in jobs:
            try:
                frames = (resize_frame(frame, size) for frame in VideoReader(job.path))
                for clip in prefetched(stream_clips(frames, plan)):
                    for index, image in enumerate(clip.images):
                        total[index] += image
                    num_clips += 1
                    bar.advance(num_clips=1, size=0)
            except Exception as error:  # whatever one video does, the others count
                skipped.append({"path": job.name, "reason": skip_reason(error)})
            bar.finish_video(size=1)
    if not num_clips:
        reason = f" ({skipped[0]['path']}: {skipped[0]['reason']})" if skipped else ""
        raise ValueError(f"no clip of {length} frames could be read{reason}.")
    mean = (total / num_clips).astype(np.float32)[..., ::-1].transpose(3, 0, 1, 2)
    return MeanReport(np.ascontiguousarray(mean), num_clips, skipped)
