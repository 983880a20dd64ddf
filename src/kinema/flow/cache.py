"""Flows of videos in files, a byte for each component, as two-stream networks read them.

Note [Flow as bytes]
    A component of v pixels becomes round(255 (v + 20) / 40), cut off at 0 and 255, as
    feichtenhofer/gpu_flow and dense_flow write flow for two-stream networks (Simonyan and Zisserman
    2014 scale to 0 ... 255, too). A step is 0.157 pixels, so what is read differs by at most half
    of that, 0.078 pixels, where nothing was cut off. No motion lies between 127 and 128, becomes
    128, and is read as 0.078 pixels.

    The planes are grey pictures, x/000000.png and y/000000.png for the flow from the first frame to
    the second, in a zip file that holds them as they are: any of them is read without the others,
    and by any program. PNG loses nothing. With a `quality` they are JPEG, as the authors of the
    two-stream networks had them: smaller, and off by some steps more.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinema.files import atomic_path, cache_file, check_not_newer
from kinema.flow.brox import DEFAULT, Brox
from kinema.flow.flows import check_method, flows, grey, settings_of
from kinema.progress import Counted
from kinema.skipped import Skipped, VideoError
from kinema.video.loop import PLAIN, Reading, Video, each_video
from kinema.video.sources import Source, as_source, fingerprint

FORMAT = "kinema-flow-1"
ABOUT = "flow.json"
BOUND_PX = 20.0


def to_bytes(flow: np.ndarray, *, bound_px: float = BOUND_PX) -> np.ndarray:
    """Flow in pixels to bytes, of any shape; see Note [Flow as bytes]."""
    scaled = np.rint((np.asarray(flow, np.float32) + bound_px) * (255 / (2 * bound_px)))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def to_flow(values: np.ndarray, *, bound_px: float = BOUND_PX) -> np.ndarray:
    """Bytes to float32 pixels, of any shape; see Note [Flow as bytes]."""
    return values.astype(np.float32) * np.float32(2 * bound_px / 255) - np.float32(bound_px)


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """What decides over the flows that are kept of a video.

    Attributes:
        method: "dis" or "brox", see `flows`.
        sampling_rate: every how many frames one is taken.
        bound_px: longest component that can be told, see Note [Flow as bytes].
        quality: None for PNG; of JPEG, 1 ... 100.
        brox: settings of "brox".
    """

    method: str = "dis"
    sampling_rate: int = 1
    bound_px: float = BOUND_PX
    quality: int | None = None
    brox: Brox = DEFAULT

    def __post_init__(self) -> None:
        check_method(self.method)
        if self.sampling_rate < 1:
            raise ValueError(f"`sampling_rate` must be at least 1 frame, got {self.sampling_rate}.")
        if not (np.isfinite(self.bound_px) and self.bound_px > 0):
            raise ValueError(f"`bound_px` must be above 0 pixels, got {self.bound_px}.")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"`quality` must be from 1 to 100, got {self.quality}.")

    @property
    def suffix(self) -> str:
        """Of the planes' names."""
        return ".png" if self.quality is None else ".jpg"

    def as_mapping(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **settings_of(self.method, self.brox),
            "sampling_rate": self.sampling_rate,
            "bound_px": self.bound_px,
            "quality": self.quality,
        }


class FlowFile:
    """The flows of one video, any of them at once.

    Args:
        path: a file that `write_flows` wrote.

    Attributes:
        num_flows, height, width: how many, and their size in pixels.
        bound_px: see `FlowSettings`.
        settings: what they were made with, JSON values.

    Raises:
        ValueError: it is no such file, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as file:
                about = json.loads(file.read(ABOUT))
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: it is no file of flows, or damaged ({error}).") from None
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            check_not_newer(about.get("format") if isinstance(about, dict) else None, FORMAT)
            raise ValueError(f"{path}: it is not of the format {FORMAT}.")
        self.num_flows, self.height, self.width = (
            int(about[name]) for name in ("num_flows", "height", "width")
        )
        self.settings: dict[str, Any] = about["settings"]
        self.bound_px = float(self.settings["bound_px"])
        self._suffix = ".png" if self.settings["quality"] is None else ".jpg"

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The flows `start` ... `stop - 1` as bytes; no other is decoded.

        Returns:
            (stop - start, 2, H, W) uint8: x, then y. Reshaped to (2 L, H, W), a stack of L flows in
            the order of two-stream networks, x, y, x, y, ...

        Raises:
            ValueError: there are no such flows, or the file is damaged.
        """
        stop = self.num_flows if stop is None else stop
        if not 0 <= start <= stop <= self.num_flows:
            raise ValueError(
                f"`start` and `stop` must be 0 ... {self.num_flows} and in order, "
                f"got {start} and {stop}."
            )
        planes = np.empty((stop - start, 2, self.height, self.width), np.uint8)
        with zipfile.ZipFile(self.path) as file:
            for index in range(start, stop):
                for axis, name in enumerate("xy"):
                    planes[index - start, axis] = self._plane(file, name, index)
        return planes

    def flow(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(stop - start, H, W, 2) float32 pixels to the right and down; see `read`."""
        planes = self.read(start, stop)
        return np.ascontiguousarray(to_flow(planes, bound_px=self.bound_px).transpose(0, 2, 3, 1))

    def _plane(self, file: zipfile.ZipFile, axis: str, index: int) -> np.ndarray:
        name = _plane_name(axis, index, self._suffix)
        try:
            content = np.frombuffer(file.read(name), np.uint8)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{self.path}: it is damaged at {name} ({error}).") from None
        plane = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
        if plane is None or plane.shape != (self.height, self.width):
            raise ValueError(f"{self.path}: it is damaged at {name}.")
        return plane

    def __repr__(self) -> str:
        shape = (self.num_flows, 2, self.height, self.width)
        return f"FlowFile({os.fspath(self.path)!r}, {shape} uint8)"


def _plane_name(axis: str, index: int, suffix: str) -> str:
    return f"{axis}/{index:06d}{suffix}"


def write_flows(
    path: str | os.PathLike[str], found: Iterable[np.ndarray], settings: FlowSettings
) -> FlowFile:
    """Write flows (H, W, 2) as they come; the file appears when it is whole.

    Raises:
        VideoError: there is none: the video has fewer than two frames.
    """
    with writing_flows(path, settings) as add:
        for one in found:
            add(one)
    return FlowFile(path)


@contextlib.contextmanager
def writing_flows(
    path: str | os.PathLike[str], settings: FlowSettings
) -> Iterator[Callable[[np.ndarray], None]]:
    """What `write_flows` does, for flows that are given one by one to the function it makes."""
    coding = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    if settings.quality is not None:
        coding = [cv2.IMWRITE_JPEG_QUALITY, settings.quality]
    shape, count = (0, 0), 0
    # ZIP_STORED: pictures are small already.
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as file:

        def add(flow: np.ndarray) -> None:
            nonlocal shape, count
            planes = to_bytes(flow, bound_px=settings.bound_px)
            shape = planes.shape[:2]
            for axis, name in enumerate("xy"):
                plane = np.ascontiguousarray(planes[..., axis])
                content = cv2.imencode(settings.suffix, plane, coding)[1].tobytes()
                # Without a date: the same flows give the same bytes.
                file.writestr(zipfile.ZipInfo(_plane_name(name, count, settings.suffix)), content)
            count += 1

        yield add
        if not count:
            raise VideoError("it has fewer than 2 frames to find a flow between.")
        about = {
            "format": FORMAT,
            "num_flows": count,
            "height": shape[0],
            "width": shape[1],
            "settings": settings.as_mapping(),
        }
        file.writestr(zipfile.ZipInfo(ABOUT), json.dumps(about, sort_keys=True))


def flow_file(
    folder: str | os.PathLike[str],
    source: Source,
    mark: str,
    *,
    settings: FlowSettings,
    colours: str = "file",
) -> Path:
    """Where a cache keeps the flows of a video, given its `fingerprint`."""
    key = {"format": FORMAT, "settings": settings.as_mapping(), **source.content_key(mark)}
    return cache_file(folder, {**key, "colours": colours}, ".zip")


def kept_flows(
    videos: Sequence[str | os.PathLike[str] | Source],
    folder: str | os.PathLike[str],
    *,
    settings: FlowSettings = FlowSettings(),
    reading: Reading = PLAIN,
    threads: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[Source, FlowFile | Skipped]]:
    """The flows of each video, in order; those that are not there yet are made and kept.

    They are found again by the video's content and all that decides over them, so a run that was
    stopped goes on after the last whole video.

    Args:
        videos: paths or `Source`s.
        folder: of the cache; made if it is missing.
        settings: what is kept.
        reading: how videos are read.
        threads: CPU threads of Brox; None for all.
        progress: whether to show progress on standard error.
    """

    def read(video: Video) -> Iterator[Any]:
        mark = fingerprint(video.source.path)
        path = flow_file(folder, video.source, mark, settings=settings, colours=reading.colours)
        yield path
        with contextlib.suppress(ValueError, FileNotFoundError):  # a damaged one is made anew
            FlowFile(path)
            return
        for index, frame in enumerate(video.frames()):
            if index % settings.sampling_rate == 0:
                yield grey(frame.image)
        if fingerprint(video.source.path) != mark:
            raise VideoError("it was changed while it was read.")

    def use(source: Source, items: Iterator[Any]) -> FlowFile:
        path = next(items)
        first = next(items, None)
        if first is None and path.is_file():
            return FlowFile(path)
        frames = chain([] if first is None else [first], items)
        made = flows(frames, method=settings.method, brox=settings.brox, threads=threads)
        return write_flows(path, made, settings)

    sources = [as_source(video) for video in videos]
    with Counted("videos", len(sources), enabled=progress) as bar:
        for source, outcome in each_video(sources, read, use, reading=reading, ahead=8):
            bar.advance()
            yield source, outcome
