"""Improved dense trajectories of a video file: as text, in the columns of the original, and drawn.

The camera's motion is read from frames as OpenCV makes them grey, as the original did.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from kinema.features.trajectories import LENGTH, NUM_COLUMNS, PATCH, Ended, read_boxes, tracks
from kinema.files import atomic_path, check_out
from kinema.flow.flows import grey
from kinema.progress import Counted
from kinema.skipped import VideoError
from kinema.video.reader import VideoReader
from kinema.words import number_of

# Each value is followed by a tab, the last one too, as in the original.
FORMAT = "%d\t" + 39 * "%f\t" + (NUM_COLUMNS - 40) * "%.7f\t" + "\n"
"""A row as the original prints it."""

KEPT_COLOUR, REMOVED_COLOUR = (60, 220, 60), (60, 60, 255)  # blue, green, red
PICTURE_PIXELS = 640
"""Width up to which the frame of a picture is enlarged."""
MOST_DRAWN = 800
"""Lines of each colour: more would hide the frame."""


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What was found in a video.

    Attributes:
        num_frames: that were looked at.
        num_kept: tracks with a row.
        num_removed: tracks that only the camera moved.
    """

    num_frames: int
    num_kept: int
    num_removed: int

    def summary(self) -> str:
        """A line that says so."""
        text = (
            f"{number_of(self.num_kept, 'track')} in {number_of(self.num_frames, 'frame')}, "
            f"{self.num_removed} more moved with the camera only."
        )
        if self.num_frames <= LENGTH:
            text += f" A track takes {LENGTH + 1} frames."
        return text


def write_trajectories(
    video: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    picture: str | os.PathLike[str] | None = None,
    boxes: str | os.PathLike[str] | None = None,
    sampling_rate: int = 1,
    threads: int | None = None,
    progress: bool = False,
) -> Tracked:
    """Write the improved dense trajectories of a video, 436 values a line, and draw them.

    Args:
        video: a video file, or a folder of pictures 000001.jpg, ...
        out: file for the rows, written whole or not at all; standard output without it.
        picture: PNG file: the video's middle frame with the tracks that pass it, those with rows
            green, those that only the camera moved red.
        boxes: file of human boxes, see `read_boxes`; frames as they are counted at sampling rate 1.
        sampling_rate: every so many frames are looked at.
        threads: CPU threads; all by default.
        progress: whether to show how many frames are done.

    Raises:
        FileNotFoundError: there is no such video, or no such file of boxes.
        ValueError: it cannot be used; the file or argument is named.
    """
    video = Path(video)
    if sampling_rate < 1:
        raise ValueError(f"`sampling_rate` must be at least 1 frame, got {sampling_rate}.")
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    _check_files(video, boxes, out, picture)
    human = read_boxes(boxes) if boxes is not None else {}
    human = {
        frame // sampling_rate: box for frame, box in human.items() if frame % sampling_rate == 0
    }
    with _named(video):
        info = VideoReader(video).info
        if min(info.width, info.height) < PATCH:
            raise VideoError(
                f"its frames are {info.width}x{info.height} pixels; each side must be at least "
                f"{PATCH}, that of a descriptor's block."
            )
        num_frames = sum(1 for _ in itertools.islice(VideoReader(video), 0, None, sampling_rate))
    drawing = _Drawing(num_frames // 2) if picture is not None else None
    kept = removed = 0
    with contextlib.ExitStack() as stack:
        file = _opened(out, stack)
        bar = stack.enter_context(Counted("frames", num_frames, enabled=progress))
        stack.enter_context(_named(video))
        frames = _grey(video, sampling_rate, drawing, bar)
        for ended in tracks(frames, threads=threads, boxes=human, num_frames=num_frames):
            for row in ended.rows:
                file.write(FORMAT % tuple(row.tolist()))
            kept += len(ended.rows)
            removed += len(ended.removed)
            if drawing is not None:
                drawing.add(ended)
    if picture is not None and drawing is not None:
        drawing.write(Path(picture))
    return Tracked(num_frames=num_frames, num_kept=kept, num_removed=removed)


def _check_files(
    video: Path,
    boxes: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    picture: str | os.PathLike[str] | None,
) -> None:
    """Refuse what cannot be written before the video is read."""
    if picture is not None and Path(picture).suffix.lower() != ".png":
        raise ValueError(f"`picture` {picture}: its name must end in .png.")
    taken = {os.path.realpath(video): "the video"}
    if boxes is not None:
        taken[os.path.realpath(boxes)] = "the file of boxes"
    for name, file in (("out", out), ("picture", picture)):
        if file is None:
            continue
        if what := taken.get(os.path.realpath(file)):
            raise ValueError(f"`{name}` {file}: that is {what}; name another file.")
        taken[os.path.realpath(file)] = f"`{name}`"
        if Path(file).is_dir():
            raise ValueError(f"`{name}` {file}: a folder of this name is there already.")
        check_out(Path(file).parent, name)


@contextlib.contextmanager
def _named(video: Path) -> Iterator[None]:
    """What is wrong with the video names it."""
    try:
        yield
    except ValueError as error:
        raise VideoError(f"{video}: {error}") from None


def _opened(out: str | os.PathLike[str] | None, stack: contextlib.ExitStack) -> TextIO:
    if out is None:
        if sys.stdout is None:  # closed by the shell's >&-
            raise ValueError("`out` must name a file: there is no standard output.")
        return sys.stdout
    partial = stack.enter_context(atomic_path(out))
    return stack.enter_context(open(partial, "w", encoding="ascii"))


def _grey(
    video: Path, sampling_rate: int, drawing: _Drawing | None, bar: Counted
) -> Iterator[np.ndarray]:
    for index, frame in enumerate(itertools.islice(VideoReader(video), 0, None, sampling_rate)):
        if drawing is not None:
            drawing.see(index, frame.image)
        bar.advance()
        yield grey(frame.image)


class _Drawing:
    """The tracks that pass one frame, drawn over it."""

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._image: np.ndarray | None = None
        # By how far from the middle of their way they pass the frame.
        self._kept: list[list[np.ndarray]] = [[] for _ in range(LENGTH)]
        self._removed: list[list[np.ndarray]] = [[] for _ in range(LENGTH)]

    def see(self, index: int, image: np.ndarray) -> None:
        if index == self._frame:
            self._image = image[..., ::-1]

    def add(self, ended: Ended) -> None:
        if self._frame <= ended.frame <= self._frame + LENGTH:
            away = abs(ended.frame - self._frame - LENGTH // 2)
            self._kept[away].extend(ended.points)
            self._removed[away].extend(ended.removed)

    def write(self, path: Path) -> None:
        assert self._image is not None
        times = max(1, round(PICTURE_PIXELS / self._image.shape[1]))
        drawn = cv2.resize(self._image, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        for by_time, colour in ((self._kept, KEPT_COLOUR), (self._removed, REMOVED_COLOUR)):
            lines = itertools.islice(itertools.chain(*by_time), MOST_DRAWN)
            # The middle of the frame's first pixel is (times - 1) / 2; in 1/16 pixels.
            places = [np.rint(16 * (times * (line + 0.5) - 0.5)).astype(np.int32) for line in lines]
            cv2.polylines(drawn, places, False, colour, 1, cv2.LINE_AA, 4)
            for line in places:
                cv2.circle(drawn, line[-1].tolist(), 20, colour, cv2.FILLED, cv2.LINE_AA, 4)
        encoded, data = cv2.imencode(".png", drawn)
        assert encoded
        with atomic_path(path) as partial:
            partial.write_bytes(data.tobytes())
