"""`Recording`: what becomes of a video's frames in each stream of prepared clips, in one pass.

    rgb       the frame, resized
    flow      the flow to the next frame; the last frame has that of the pair before
    imagenet  the last maps of ImageNet's network of the frame's centre

Note [Flow of prepared clips]
    Flow is found between frames as they are decoded, told in pixels of a frame of 256 lines, so
    that it does not depend on a file's resolution, averaged to the size of the store's pictures,
    and cut off at 20 pixels, as usual for two-stream networks (feichtenhofer/gpu_flow). A byte is
    128 + round(127 v / 20): as far from 128 to the left as to the right, so that a mirrored clip
    is the clip of the mirrored video.

    What comes from a cache of flows, see Note [Flow as bytes] in `flow.cache`, was rounded and cut
    off there first; its 128, no motion, is read as none.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import cv2
import numpy as np

from kinema.engine.opencv import MAPS_SIDE, PictureEngine
from kinema.features.clip_features import centre, picture
from kinema.flow.cache import (
    BOUND_PX,
    FlowFile,
    FlowSettings,
    flow_file,
    to_bytes,
    to_flow,
    writing_flows,
)
from kinema.flow.flows import flows, grey
from kinema.skipped import VideoError
from kinema.training.pictures import encode
from kinema.training.streams import encode_maps
from kinema.video.clips import resize
from kinema.video.reader import Frame
from kinema.video.sources import Source
from kinema.weights import imagenet

STREAMS: Mapping[str, Mapping[str, Any]] = {
    "rgb": {"channels": 3},
    "flow": {"channels": 2},
    "imagenet": {"channels": 1280, "size": [MAPS_SIDE, MAPS_SIDE], "kind": "maps"},
}
"""What can be recorded, as stores describe it."""

QUALITY = 95
"""Of the pictures; see Note [The format of prepared clips]."""

FLOW_LINES = 256
"""Height of the frame whose pixels the flow is told in."""

NO_FLOW = 128

_MOST_BYTES = 8 << 20
"""Of a stream of a video that are held in memory until it is over; more wait on the disk."""

_FLOWS_AT_ONCE = 16
"""That are read from a cache's file."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How frames become what a store keeps of them.

    Attributes:
        streams: some of `STREAMS`, in any order.
        size: (height, width) of the pictures.
        quality: of the JPEG pictures, 1 to 100.
        flow: method of the stream flow, "dis" or "brox".
        flow_cache: a folder where its flows are found, or made and kept, see `flow.cache`.
        colours: one of `video.COLOURS`; they belong to what is kept in `flow_cache`.
    """

    streams: tuple[str, ...] = ("rgb",)
    size: tuple[int, int]
    quality: int = QUALITY
    flow: str = "dis"
    flow_cache: Path | None = None
    colours: str = "file"

    def __post_init__(self) -> None:
        wrong = [name for name in self.streams if name not in STREAMS]
        if wrong or not self.streams or len(set(self.streams)) < len(self.streams):
            raise ValueError(
                f"`streams` must be some of {', '.join(STREAMS)}, each once; got "
                f"{', '.join(self.streams) or 'none'}."
            )
        if min(self.size) < 8:
            raise ValueError(f"`size` must be at least 8x8 (height x width), got {self.size}.")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"`quality` must be from 1 to 100, got {self.quality}.")
        _ = self._flow_settings  # which refuse a method

    @property
    def _flow_settings(self) -> FlowSettings:
        return FlowSettings(method=self.flow)

    def check(self) -> None:
        """Refuse what is not installed.

        Raises:
            ImportError: the package with ImageNet's weights, or OpenCV's solver.
        """
        if "imagenet" in self.streams:
            imagenet.check_installed()

    def about(self) -> dict[str, Any]:
        """What decides over the streams besides size and quality, JSON values for a store."""
        if self.streams == ("rgb",):
            return {}
        about: dict[str, Any] = {
            "streams": {name: dict(each) for name, each in STREAMS.items() if name in self.streams}
        }
        if "flow" in self.streams:
            settings = self._flow_settings.as_mapping()
            left_out = {"sampling_rate", "bound_px", "quality"}
            about["flow"] = {
                **{name: value for name, value in settings.items() if name not in left_out},
                "bound_px": BOUND_PX,
                "lines": FLOW_LINES,
                "from_bytes": self.flow_cache is not None,
            }
        if "imagenet" in self.streams:
            about["imagenet"] = {"network": "efficientnet-lite0", "engine": PictureEngine.kind}
        return about

    def shrink(self, frame: Frame) -> dict[str, np.ndarray]:
        """What is taken of a frame, for each stream."""
        takes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "rgb": lambda image: resize(image, self.size),
            "flow": grey,
            "imagenet": centre,
        }
        return {name: takes[name](frame.image) for name in self.streams}

    def recorder(self, folder: Path, source: Source, mark: str) -> Recorder:
        """Of a video, or of a part of one, given its `fingerprint`; `folder` has room on disk."""
        return Recorder(self, folder, source, mark)

    def flow_file(self, source: Source, mark: str) -> Path | None:
        """Where the flows of a video are kept, if there is a cache."""
        if self.flow_cache is None:
            return None
        settings = self._flow_settings
        return flow_file(self.flow_cache, source, mark, settings=settings, colours=self.colours)


class Pictures:
    """What is kept of a segment's frames: in memory, or, of an hour of video, in a nameless file.

    Args:
        folder: of the file.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(_MOST_BYTES, dir=str(folder))  # noqa: SIM115
        self._folder = folder
        self._sizes: list[int] = []

    def append(self, picture: bytes) -> None:
        """One more."""
        try:
            self._file.write(picture)
        except OSError as error:
            if error.filename is None:  # a full disk is told by its folder
                error.filename = str(self._folder)
            raise
        self._sizes.append(len(picture))

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        return map(self._file.read, self._sizes)


class _Part(Protocol):
    """Of a recorder, what makes one stream."""

    def take(self, taken: np.ndarray) -> None: ...

    def end(self) -> None: ...


class Recorder:
    """Records the frames of a segment. A context; what it wrote to a cache is whole at its end.

    Attributes:
        pictures: by stream, whole when `end` was called.
    """

    def __init__(self, recording: Recording, folder: Path, source: Source, mark: str) -> None:
        self.pictures: Mapping[str, Pictures] = {
            name: Pictures(folder) for name in recording.streams
        }
        self._stack = contextlib.ExitStack()
        self._parts: dict[str, _Part] = {}
        for name, kept in self.pictures.items():
            if name == "flow":
                file = recording.flow_file(source, mark)
                self._parts[name] = _Flow(recording, kept.append, file, self._stack)
            else:
                self._parts[name] = (_Rgb if name == "rgb" else _Maps)(recording, kept.append)

    def take(self, taken: Mapping[str, np.ndarray]) -> None:
        """What `Recording.shrink` gave of the next frame."""
        for name, part in self._parts.items():
            part.take(taken[name])

    def end(self) -> None:
        """There are no more frames."""
        for part in self._parts.values():
            part.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


class _Rgb:
    def __init__(self, recording: Recording, keep: Callable[[bytes], None]) -> None:
        self._quality, self._keep = recording.quality, keep

    def take(self, taken: np.ndarray) -> None:
        self._keep(encode(taken, self._quality))

    def end(self) -> None:
        pass


class _Maps:
    def __init__(self, recording: Recording, keep: Callable[[bytes], None]) -> None:
        self._keep = keep

    def take(self, taken: np.ndarray) -> None:
        (maps,) = _engine().run(picture(taken)[None])
        self._keep(encode_maps(maps))

    def end(self) -> None:
        pass


_engines = threading.local()


def _engine() -> PictureEngine:
    """The thread's own: OpenCV's networks are not to be run by two threads at once."""
    if not hasattr(_engines, "maps"):
        _engines.maps = PictureEngine(imagenet.read()["arrays"], maps=True)
    found: PictureEngine = _engines.maps
    return found


class _Flow:
    """Picture n shows the flow from frame n to the next."""

    def __init__(
        self,
        recording: Recording,
        keep: Callable[[bytes], None],
        file: Path | None,
        stack: contextlib.ExitStack,
    ) -> None:
        self._recording, self._keep, self._stack = recording, keep, stack
        self._file = file
        self._add: Callable[[np.ndarray], None] | None = None
        self._kept: Iterator[np.ndarray] | None = None
        if file is not None:
            with contextlib.suppress(ValueError, FileNotFoundError):  # a damaged one is made anew
                self._kept = _read_flows(FlowFile(file))
        self._before: np.ndarray | None = None
        self._last: bytes | None = None

    def take(self, taken: np.ndarray) -> None:
        if self._before is not None:
            flow = self._between(self._before, taken)
            self._last = encode(flow_picture(flow, self._recording.size), self._recording.quality)
            self._keep(self._last)
        self._before = taken

    def end(self) -> None:
        if self._kept is not None and next(self._kept, None) is not None:
            raise VideoError(f"{self._file} holds flows of more frames: remove it.")
        if self._last is None:
            still = np.full((*self._recording.size, 2), NO_FLOW, np.uint8)
            self._last = encode(still, self._recording.quality)
        self._keep(self._last)

    def _between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        if self._kept is not None:
            found = next(self._kept, None)
            if found is None or found.shape[:2] != first.shape:
                raise VideoError(f"{self._file} holds flows of other frames: remove it.")
            return found
        (flow,) = flows([first, second], method=self._recording.flow, threads=1)
        if self._file is not None:
            if self._add is None:
                writing = writing_flows(self._file, FlowSettings(method=self._recording.flow))
                self._add = self._stack.enter_context(writing)
            self._add(flow)
            flow = _as_kept(flow)
        return flow


def _read_flows(file: FlowFile) -> Iterator[np.ndarray]:
    for start in range(0, file.num_flows, _FLOWS_AT_ONCE):
        planes = file.read(start, min(start + _FLOWS_AT_ONCE, file.num_flows))
        for each in planes.transpose(0, 2, 3, 1):
            yield _read_bytes(each)


def _as_kept(flow: np.ndarray) -> np.ndarray:
    """Flow as a cache's file would give it, so that it makes no difference who made the file."""
    return _read_bytes(to_bytes(flow))


def _read_bytes(values: np.ndarray) -> np.ndarray:
    """Flow of bytes (H, W, 2); see Note [Flow of prepared clips]."""
    flow = to_flow(values)
    flow[values == NO_FLOW] = 0
    return flow


def flow_picture(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Flow (H, W, 2) in pixels as a picture (*size, 2) uint8; see Note [Flow of prepared clips]."""
    height, width = flow.shape[:2]
    shrinks = size[0] <= height and size[1] <= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    found = cv2.resize(flow, size[::-1], interpolation=method) * np.float32(FLOW_LINES / height)
    steps = np.rint(found.clip(-BOUND_PX, BOUND_PX) * np.float32(127 / BOUND_PX))
    return (NO_FLOW + steps).astype(np.uint8)
