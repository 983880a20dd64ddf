"""`draw_flow`: the flow of a video as a picture of one pair of frames, or a video of all pairs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from kinema.files import atomic_path, check_out
from kinema.flow.brox import DEFAULT, Brox
from kinema.flow.colours import LONGEST_PX, check_longest, with_legend
from kinema.flow.flows import check_method, flows
from kinema.progress import Counted
from kinema.video.loop import Reading
from kinema.video.reader import Allowance, VideoError, VideoReader, path_kind
from kinema.words import number_of

CODECS = {".mp4": "libx264", ".avi": "mpeg4"}
MOST_FPS = 65_535
"""And the largest numerator of a rate, in MPEG-4."""
PLAIN_FPS = 25.0
"""Of what has no frame rate of its own, a folder of pictures."""


@dataclass(frozen=True)
class DrawnFlow:
    """What was drawn.

    Attributes:
        path: the file.
        num_pairs: of frames, whose flow it shows.
        mean_px, longest_px: of the flow over all their pixels, its mean and greatest length.
    """

    path: Path
    num_pairs: int
    mean_px: float
    longest_px: float

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.path}: the flow of {number_of(self.num_pairs, 'pair')} of frames, "
            f"{self.mean_px:.2f} px on average, {self.longest_px:.1f} px at most"
        )


def draw_flow(
    video: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    method: str = "dis",
    frame: int | None = None,
    sampling_rate: int = 1,
    longest_px: float = LONGEST_PX,
    brox: Brox = DEFAULT,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> DrawnFlow:
    """Draw flow in the colours of `colours.colours`, with the wheel beside it.

    Args:
        video: a video file or a folder of pictures.
        out: PNG for one pair of frames; MP4 or AVI for all pairs.
        method: "dis" or "brox", see `flows`.
        frame: of a picture, the first frame of the pair, counted from 0; None is 0.
        sampling_rate: every how many frames one is taken.
        longest_px: length of a flow that is shown as a full colour.
        brox: settings of "brox".
        threads: CPU threads of "brox"; None for all.
        colours, video_seconds: see `video.loop.Reading`.
        progress: whether to show progress on standard error.

    Raises:
        ValueError: a setting is wrong, `out` is no such file or cannot be written, or the video
            cannot be read or is too short; the message names it.
        FileNotFoundError: there is no such video.
    """
    path, out = Path(video), Path(out)
    reading = Reading(colours, video_seconds)
    check_method(method)
    check_longest(longest_px)
    if sampling_rate < 1:
        raise ValueError(f"`sampling_rate` must be at least 1 frame, got {sampling_rate}.")
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    _check_file(out, path, frame)
    is_picture = out.suffix.lower() == ".png"
    try:
        reader = VideoReader(
            path, colours=reading.colours, allowance=Allowance(reading.video_seconds)
        )
        stop = None if not is_picture else (frame or 0) + sampling_rate + 1
        images = (one.image for one in islice(iter(reader), frame or 0, stop, sampling_rate))
        found = flows(images, method=method, brox=brox, threads=threads)
        first = next(found, None)
        if first is None:
            least = (frame or 0) + sampling_rate + 1
            raise VideoError(f"it has too few frames; this flow needs {least}.")
        expected = max((reader.info.num_frames or 0) // sampling_rate - 1, 1)
        lengths = _Lengths()
        with Counted("pairs of frames", 1 if is_picture else expected, enabled=progress) as bar:

            def pictures() -> Iterator[np.ndarray]:
                for one in chain([first], found):
                    lengths.take(one)
                    bar.advance()
                    yield with_legend(one, longest_px=longest_px)

            if is_picture:
                _write_picture(out, next(pictures()))
            else:
                fps = (reader.info.fps or PLAIN_FPS) / sampling_rate
                _write_video(out, pictures(), fps)
    except VideoError as error:
        raise VideoError(f"{path}: {error}") from None
    return DrawnFlow(out, lengths.count, lengths.mean, lengths.longest)


class _Lengths:
    """Of some flows, how many, and their mean and greatest length."""

    def __init__(self) -> None:
        self.count, self.longest, self._sum = 0, 0.0, 0.0

    def take(self, flow: np.ndarray) -> None:
        lengths = np.hypot(flow[..., 0], flow[..., 1])
        self.count += 1
        self._sum += float(lengths.mean())
        self.longest = max(self.longest, float(lengths.max()))

    @property
    def mean(self) -> float:
        return self._sum / max(self.count, 1)


def _check_file(out: Path, video: Path, frame: int | None) -> None:
    kinds = (".png", *CODECS)
    if out.suffix.lower() not in kinds:
        raise ValueError(
            f"`out` {out}: a name that ends in .png is needed for a picture, in .mp4 or .avi for "
            "a video."
        )
    if frame is not None and out.suffix.lower() != ".png":
        raise ValueError(
            f"`frame` {frame} says which pair a picture shows; a video shows all pairs."
        )
    if frame is not None and frame < 0:
        raise ValueError(f"`frame` must be at least 0, got {frame}.")
    if out.is_dir():
        raise ValueError(f"`out` {out}: a folder of this name is there already.")
    path_kind(video)  # there is one
    if os.path.realpath(out) == os.path.realpath(video):
        raise ValueError(f"`out` {out} is the video itself; name another file.")
    check_out(out.parent, "out")


def _write_picture(out: Path, picture: np.ndarray) -> None:
    with atomic_path(out) as partial:
        content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        partial.write_bytes(content.tobytes())


def _write_video(out: Path, pictures: Iterator[np.ndarray], fps: float) -> None:
    suffix = out.suffix.lower()
    with (
        atomic_path(out) as partial,
        av.open(os.fspath(partial), "w", format=suffix[1:]) as file,
    ):
        first = next(pictures)
        stream: Any = file.add_stream(CODECS[suffix], rate=_rate(fps))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for picture in chain([first], pictures):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def _rate(fps: float) -> Fraction:
    """Frames a second as all `CODECS` take them."""
    fps = min(max(fps, 1 / 1001), MOST_FPS)
    return Fraction(fps).limit_denominator(min(1001, int(MOST_FPS / fps)))
