"""`VideoReader`: a video file, or a folder of pictures, to frames with their times.

Note [One path opens one file]
    A video from a stranger must not make us read another file or the network. FFmpeg has demuxers
    that open what a text file names (concat, hls, dash, sdp, image2 patterns) whatever the file is
    called. So a path is opened as a plain file (`file:` before it, and no other protocol), and only
    by the demuxers of `DEMUXERS`, which read the file that they are given and no other. FFmpeg
    checks that list after it has recognised a format and before the demuxer reads anything.

Note [Damage]
    FFmpeg passes over most damage: it repeats or smears pixels and goes on, or ends early as if the
    video were over. Features of such frames would be features of nothing, so a video is taken to
    be broken from the first frame at which any of these shows:
    - the decoder refuses a packet, or marks its frame as corrupt;
    - the demuxer marks a packet as incomplete;
    - the packets end well before the length that the container's header promises.
    Errors before the first frame are passed over: recordings of broadcasts start anywhere.

    What cannot be seen: changed bytes that are still valid, and damage in the middle of Matroska
    files or of VP9, HEVC and AV1 streams that FFmpeg mends without flagging a frame.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from kinema.skipped import VideoError

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,asf_o,ogg,gif,apng,"
    "rm,nut,mxf,gxf,dv,ivf,obu,av1,h261,h263,h264,hevc,vvc,evc,vc1,vc1test,mjpeg,mjpeg_2000,cavsvideo,"
    "avs2,avs3,dirac,yuv4mpegpipe,wtv,nsv,nuv,pva,ty,lxf,r3d,dhav,kux,vivo,swf,smk,bink,flic,film_cpk,"
    "4xm,roq,smjpeg,jpegxl_anim"
)
"""FFmpeg demuxers that read one file and hold video. See Note [One path opens one file]."""

MOST_KEPT = 512
"""Items that `spread` holds at once."""

FRAME_NAME = re.compile(r"(\d{6})\.jpg")
"""Names of the pictures of a frame folder, `%06d.jpg` from 1 (C3D v1.0, `image_io.cpp`)."""


COLOURS = ("file", "original")
"""How YUV becomes RGB: by the matrix that the file names, or by the one that the original used."""


def check_colours(colours: str) -> None:
    """Refuse what is not one of `COLOURS`."""
    if colours not in COLOURS:
        raise ValueError(f"`colours` must be one of {', '.join(COLOURS)}; got {colours!r}.")


class Allowance:
    """How long a video may take, in seconds of wall-clock time from now on; None is for ever."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._until = math.inf if seconds is None else time.monotonic() + seconds

    def excuse(self, seconds: float) -> None:
        """Time that passed without being the video's fault is not counted."""
        self._until += seconds

    def check(self) -> None:
        """Raise a `VideoError` if the time is over."""
        if time.monotonic() > self._until:
            raise VideoError(f"it takes longer than {self._seconds:g} s (`video_seconds`).")


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        index: its number: from 0 in a video file, from 1 in a frame folder, as the original counts.
        start_seconds: when it is shown, on the file's own clock; NaN in a frame folder.
        stop_seconds: when the next frame is shown, or this one ends.
    """

    image: np.ndarray
    index: int
    start_seconds: float
    stop_seconds: float


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself, before it is read through.

    Attributes:
        width, height: of the upright frames, in pixels.
        fps: average frame rate in 1/s; None if unknown.
        num_frames: frames as the header promises; None if it does not say.
        duration_seconds: length as the header promises; None if it does not say.
        rotation_degrees: how far frames were turned counter-clockwise to stand upright.
        container, codec, pixel_format: FFmpeg's names.
    """

    width: int
    height: int
    fps: float | None
    num_frames: int | None
    duration_seconds: float | None
    rotation_degrees: int
    container: str
    codec: str
    pixel_format: str


class VideoReader:
    """The frames of a video in the order in which they are shown, one at a time.

    Frames of a file equal OpenCV's `VideoCapture` bit for bit (FFmpeg's bicubic conversion to
    8-bit RGB). Memory does not grow with the length of the video. Each iteration opens the file
    anew.

    Args:
        path: a video file, or a folder with pictures 000001.jpg, 000002.jpg, ...
        colours: one of `COLOURS`.
        allowance: how long it may take, in all its walks together; None is for ever.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        VideoError: it is no readable video; or, while iterating, it breaks at a frame.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        colours: str = "file",
        allowance: Allowance | None = None,
    ) -> None:
        check_colours(colours)
        self.colours = colours
        self.allowance = allowance or Allowance()
        self.path = Path(path)
        kind = path_kind(self.path)
        self._source: _FileSource | _FolderSource = (
            _FolderSource(self.path) if kind == "folder" else _FileSource(self.path)
        )
        self.info = self._source.info()

    def __iter__(self) -> Iterator[Frame]:
        """Each frame, held back until the next one tells when it stops."""
        first = self._source.first_index
        shown = None
        index = first
        pictures = self._source.pictures()
        while True:
            try:
                picture = next(pictures, None)
            except VideoError as error:
                if shown is not None:
                    yield self._frame(shown, index - 1, shown.start_seconds + shown.duration)
                    error = VideoError(str(error), frame_index=index)
                raise error from None
            if shown is not None:
                stop = picture.start_seconds if picture else shown.start_seconds + shown.duration
                yield self._frame(shown, index - 1, stop)
            if picture is None:
                return
            shown = picture
            index += 1

    def between(self, start_seconds: float, stop_seconds: float = math.inf) -> Iterator[Frame]:
        """The frames that are shown at or after `start_seconds` and before `stop_seconds`.

        They equal those of a walk from the first frame, but a file is entered near them, so that
        two seconds of an hour take no hour. Their numbers count from 0 at the first of them. Damage
        elsewhere in the file is not seen.

        Raises:
            VideoError: the frames cannot be read. Folders of pictures have no times.
        """
        if isinstance(self._source, _FolderSource):
            raise VideoError("a folder of pictures has no times.")
        for index, picture in enumerate(self._source.pictures_between(start_seconds, stop_seconds)):
            stop = picture.start_seconds + picture.duration
            yield self._frame(picture, index, stop)

    @staticmethod
    def _frame(picture: _Picture, index: int, stop_seconds: float) -> Frame:
        return Frame(picture.image, index, picture.start_seconds, stop_seconds)

    def __repr__(self) -> str:
        info = self.info
        frames = "unknown" if info.num_frames is None else info.num_frames
        return f"VideoReader({str(self.path)!r}, {info.width}x{info.height}, {frames} frames)"


def spread(items: Iterable[Any], positions: Sequence[float]) -> list[Any]:
    """Items of a stream of unknown length at some places of it, in constant memory.

    Place p of n items is item round(p (n - 1)): 0 is the first, 1 the last. Of more than 512 items
    every second is kept, of more than 1024 every fourth, and so on: then the item before is given.

    Args:
        items: at least one.
        positions: from 0 to 1.
    """
    kept: list[Any] = []
    step, count, last = 1, 0, None
    for last in items:
        if count % step == 0:
            kept.append(last)
            if len(kept) > MOST_KEPT:
                kept, step = kept[::2], 2 * step
        count += 1
    if not count:
        raise ValueError("`items` is empty.")
    wanted = [round(position * (count - 1)) for position in positions]
    return [last if index == count - 1 else kept[index // step] for index in wanted]


@dataclass(frozen=True, eq=False)
class _Picture:
    image: np.ndarray
    start_seconds: float
    duration: float


def path_kind(path: Path) -> str:
    """Whether `path` is a plain file or a folder; everything else is refused without opening it."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file.") from None
    except OSError as error:
        raise VideoError(f"it cannot be reached ({error.strerror}).") from None
    except ValueError as error:  # a null character in the name
        raise VideoError(f"its name cannot be used ({error}).") from None
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise VideoError("it is not a plain file (a pipe, socket or device is not read).")
    return "file"


class _FileSource:
    """A video file read with FFmpeg."""

    first_index = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    def info(self) -> VideoInfo:
        with self._open() as container:
            stream = _video_stream(container)
            frame = next(_frames(container, stream), None)
            if frame is None:
                raise VideoError("it holds no frame.")
            rotation = _rotation(frame)
            width, height = frame.width, frame.height
            if rotation % 180:
                width, height = height, width
            duration = _promised_seconds(container, stream)
            return VideoInfo(
                width=width,
                height=height,
                fps=float(stream.average_rate) if stream.average_rate else None,
                num_frames=stream.frames or None,
                duration_seconds=duration,
                rotation_degrees=rotation,
                container=container.format.name,
                codec=stream.codec_context.name,
                pixel_format=frame.format.name,
            )

    def pictures(self) -> Iterator[_Picture]:
        with self._open() as container:
            stream = _video_stream(container)
            yield from self._pictures(_frames(container, stream), stream)

    def pictures_between(self, start: float, stop: float) -> Iterator[_Picture]:
        """The pictures with start <= time < stop."""
        with self._open() as container:
            stream = _video_stream(container)
            decoded = _frames_from(container, stream, start)
            first = next(decoded, None)
            if first is None or first.time is None or float(first.time) > start:
                # There is no way in before `start`: no index, no times, or a file that starts late.
                container.close()
                for picture in self.pictures():
                    if picture.start_seconds >= stop:
                        return
                    if picture.start_seconds >= start:
                        yield picture
                return
            wanted = (
                frame
                for frame in itertools.chain([first], decoded)
                if frame.time is not None and float(frame.time) >= start
            )
            before_stop = itertools.takewhile(lambda frame: float(frame.time) < stop, wanted)
            yield from self._pictures(before_stop, stream)

    @staticmethod
    def _pictures(frames: Iterable[av.VideoFrame], stream: av.VideoStream) -> Iterator[_Picture]:
        interval = 1 / float(stream.average_rate) if stream.average_rate else 0.0
        expected = 0.0  # for streams without times
        reformatter = VideoReformatter()  # one for all frames: setting it up takes longest
        for frame in frames:
            seconds = float(frame.time) if frame.time is not None else expected
            duration = (
                float(frame.duration * frame.time_base)
                if frame.duration and frame.time_base
                else interval
            )
            expected = seconds + (interval or duration)
            yield _Picture(_rgb(frame, reformatter), seconds, duration)

    def _open(self) -> av.container.InputContainer:
        try:
            return av.open(
                f"file:{os.path.abspath(self.path)}",
                metadata_errors="replace",
                options={"protocol_whitelist": "file", "format_whitelist": DEMUXERS},
            )
        except PermissionError:
            raise VideoError("it may not be read (no permission).") from None
        except (av.FFmpegError, UnicodeError, OSError, ValueError) as error:
            raise VideoError(self._why_not_opened(error)) from None

    def _why_not_opened(self, error: Exception) -> str:
        if not self.path.stat().st_size:
            return "the file is empty."
        if isinstance(error, av.error.ArgumentError):  # what FFmpeg says of a format off the list
            return "it is not a video, or of a format that can name other files and is not read."
        return f"it cannot be read as a video ({_plain(error)})."


def _plain(error: Exception) -> str:
    """FFmpeg's words without the path."""
    return str(getattr(error, "strerror", None) or error)


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first video stream that is not a cover picture, set to decode on one thread.

    One thread, because with several the frame at which a video breaks is found late.
    """
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            if stream.codec_context is None:
                raise VideoError("its codec is not known to FFmpeg.")
            stream.thread_type = "SLICE"
            stream.codec_context.thread_count = 1
            if stream.codec_context.name == "mjpeg":  # it flags no frame, but can be told to fail
                stream.codec_context.options = {"err_detect": "explode"}
            return stream
    raise VideoError("it has no video stream.")


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Decoded frames up to the end or the first damage. See Note [Damage]."""
    num_frames = 0
    end_seconds = -math.inf
    longest_step = 0.0
    promised = _promised_seconds(container, stream)
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            begin = packet.pts if packet.pts is not None else packet.dts
            if begin is not None and packet.time_base is not None:
                end = float((begin + (packet.duration or 0)) * packet.time_base)
                if end_seconds > -math.inf:
                    longest_step = max(longest_step, end - end_seconds)
                end_seconds = max(end_seconds, end)
            if packet.stream_index != stream.index:
                continue
            if packet.is_corrupt and num_frames:
                raise VideoError("the file breaks off or is damaged here.")
            frames = packet.decode()
        except av.FFmpegError as error:
            if not num_frames and isinstance(error, av.error.InvalidDataError):
                continue
            raise VideoError(f"it cannot be decoded further ({_plain(error)}).") from None
        for frame in frames:
            assert isinstance(frame, av.VideoFrame)  # the stream is a video's
            if frame.is_corrupt and num_frames:
                raise VideoError("its data are damaged here.")
            num_frames += 1
            yield frame
    if not num_frames:
        raise VideoError("no frame of it can be decoded.")
    # Headers are not exact: half a second, a fiftieth, or two of the longest frames may be missing.
    slack = max(0.5, 0.02 * (promised or 0.0), 2 * longest_step)
    if promised is not None and end_seconds < promised - slack:
        raise VideoError(f"the file breaks off after {end_seconds:.2f} of {promised:.2f} seconds.")


def _frames_from(
    container: av.container.InputContainer, stream: av.VideoStream, start_seconds: float
) -> Iterator[av.VideoFrame]:
    """Decoded frames from the last point before `start_seconds` where decoding can begin."""
    if not stream.time_base:
        return
    try:
        container.seek(math.floor(start_seconds / stream.time_base), stream=stream)
    except av.FFmpegError:
        return
    yield from _frames(container, stream)


def _promised_seconds(
    container: av.container.InputContainer, stream: av.VideoStream
) -> float | None:
    """The length that the header promises, where FFmpeg does not guess it from what is there."""
    kind = container.format.name.partition(",")[0]
    if kind == "avi" and stream.frames and stream.average_rate:
        return stream.frames / float(stream.average_rate)
    if kind == "mov" and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if kind == "matroska" and container.duration:
        return container.duration / av.time_base
    return None


def _rotation(frame: av.VideoFrame) -> int:
    """Degrees counter-clockwise to turn the frame upright, a multiple of 90."""
    return round((frame.rotation or 0) / 90) * 90 % 360


def _rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """The frame upright as (H, W, 3) uint8 RGB.

    As OpenCV does it: bicubic conversion to BGR (to RGB, 10-bit sources come out otherwise), with
    no regard to the colour space that the file names.
    """
    bgr = reformatter.reformat(frame, format="bgr24", interpolation="BICUBIC", threads=1)
    upright = np.rot90(bgr.to_ndarray(), _rotation(frame) // 90)
    return cv2.cvtColor(np.ascontiguousarray(upright), cv2.COLOR_BGR2RGB)


class _FolderSource:
    """A folder of pictures, numbered from 1 as the original's lists are."""

    first_index = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    def info(self) -> VideoInfo:
        numbers = sorted(
            int(match[1]) for name in os.listdir(self.path) if (match := FRAME_NAME.fullmatch(name))
        )
        if not numbers:
            raise VideoError("the folder holds no pictures named 000001.jpg, 000002.jpg, ...")
        if numbers[0] == 0:
            raise VideoError("its pictures are numbered from 000000.jpg; the first is 000001.jpg.")
        self._last_index = numbers[-1]
        height, width = self._read(1).shape[:2]
        return VideoInfo(
            width=width,
            height=height,
            fps=None,
            num_frames=self._last_index,
            duration_seconds=None,
            rotation_degrees=0,
            container="folder",
            codec="jpeg",
            pixel_format="bgr24",
        )

    def pictures(self) -> Iterator[_Picture]:
        for index in range(self.first_index, self._last_index + 1):
            yield _Picture(self._read(index), float("nan"), float("nan"))

    def _read(self, index: int) -> np.ndarray:
        name = f"{index:06d}.jpg"
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise VideoError(f"{name} cannot be read ({error.strerror}).") from None
        # Without its end marker a picture was cut off; OpenCV would fill it up with grey.
        image = None
        if data.rfind(b"\xff\xd9") > len(data) // 2:  # not that of a thumbnail at the front
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is None:
            raise VideoError(f"{name} is not a whole JPEG picture.")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
