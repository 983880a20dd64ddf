"""Means that are subtracted from frames: read, written, and computed from videos."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.files import atomic_path
from kinema.progress import Progress
from kinema.skipped import Skipped
from kinema.video.clips import C3D_RESIZE, Clip, ClipPlan, resize_frame, stream_clips
from kinema.video.loop import Reading, Video, each_video
from kinema.video.sources import Source, find_videos
from kinema.weights import caffe
from kinema.weights.file import check_mean


def load_mean(source: str | os.PathLike[str]) -> np.ndarray:
    """A mean from a file, or from three numbers "B,G,R".

    Args:
        source: `.npy`, `.npz` (its only array, or the one called `mean`), Caffe's `.binaryproto`,
            or numbers such as "104,117,128".

    Returns:
        (3,) or (3, T, H, W) float32 in B, G, R.
    """
    text = os.fspath(source)
    numbers = re.fullmatch(r"\s*([^,]+),([^,]+),([^,]+)\s*", text)
    path = Path(text)
    if numbers and not path.exists():
        try:
            return check_mean([float(number) for number in numbers.groups()])
        except ValueError:
            raise ValueError(
                f"`mean` {text!r} is neither a file nor three numbers B,G,R."
            ) from None
    if not path.is_file():
        raise FileNotFoundError(f"`mean` {text!r} is neither a file nor three numbers B,G,R.")
    try:
        if path.suffix == ".binaryproto":
            blob = caffe.read_blob(memoryview(path.read_bytes()))
            array = blob[0] if blob.ndim == 5 and len(blob) == 1 else blob
        else:
            try:
                loaded: Any = np.load(path, allow_pickle=False)
            except ValueError:
                raise ValueError("it is no .npy, .npz or .binaryproto file of numbers.") from None
            names = getattr(loaded, "files", None)  # of an .npz
            if names is not None:
                if "mean" not in names and len(names) != 1:
                    raise ValueError(f"it holds {', '.join(names)}, none called mean.")
                loaded = loaded["mean" if "mean" in names else names[0]]
            array = loaded
        return check_mean(array)
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{path} cannot be read as a mean: {error}") from None


_MEAN_WRITERS: dict[str, Callable[[Any, np.ndarray], None]] = {
    ".npy": lambda file, array: np.save(file, array),
    ".npz": lambda file, array: np.savez_compressed(file, mean=array),
    ".binaryproto": lambda file, array: file.write(caffe.blob_bytes(array)),
}


def check_mean_path(path: str | os.PathLike[str]) -> None:
    """Refuse a file name that `save_mean` does not know how to write."""
    if Path(path).suffix not in _MEAN_WRITERS:
        raise ValueError(f"{path} must end in one of {', '.join(_MEAN_WRITERS)}.")


def save_mean(path: str | os.PathLike[str], mean: np.ndarray) -> None:
    """Write a mean as `.npy`, `.npz` or Caffe's `.binaryproto` in C3D's numbering."""
    check_mean_path(path)
    array = check_mean(mean)
    with atomic_path(path) as partial, open(partial, "wb") as file:
        _MEAN_WRITERS[Path(path).suffix](file, array)


@dataclass
class MeanReport:
    """A mean volume and what it was computed from.

    Attributes:
        mean: (3, length, height, width) float32, B, G, R.
        num_clips: clips that were averaged.
        skipped: videos that are not, or only in part, in the mean, and why.
        notes: what else the user should know, a line each.
    """

    mean: np.ndarray
    num_clips: int
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def mean_volume(
    paths: Iterable[str | os.PathLike[str]],
    *,
    length: int = 16,
    size: tuple[int, int] = C3D_RESIZE,
    colours: str = "file",
    video_seconds: float | None = None,
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
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show a progress bar on standard error.

    Raises:
        ValueError: no clip could be read.
        FileNotFoundError: one of `paths` is not there.
    """
    reading = Reading(colours, video_seconds)
    sources = find_videos(paths)
    plan = ClipPlan(length=length, stride=length, short="skip")
    total = np.zeros((length, *size, 3), np.int64)  # exact: 8-bit values
    num_clips = 0
    skipped = []

    def read(video: Video) -> Iterator[Clip]:
        return stream_clips((resize_frame(frame, size) for frame in video.frames()), plan)

    def add(source: Source, clips: Iterator[Clip]) -> None:
        nonlocal num_clips
        for clip in clips:
            for index, image in enumerate(clip.images):
                total[index] += image
            num_clips += 1
            bar.advance(num_clips=1, size=0)

    with Progress(enabled=progress) as bar:
        bar.start(len(sources), len(sources))
        for _, outcome in each_video(sources, read, add, reading=reading):
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
            bar.finish_video(size=1)
    if not num_clips:
        reason = f" ({skipped[0]})" if skipped else ""
        raise ValueError(f"no clip of {length} frames could be read{reason}.")
    mean = (total / num_clips).astype(np.float32)[..., ::-1].transpose(3, 0, 1, 2)
    return MeanReport(np.ascontiguousarray(mean), num_clips, skipped, [*sources.notes])
