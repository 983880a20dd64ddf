"""Small real videos whose frame index can be read from the pixels, and files that are no good.

Each image is a 4 x 4 grid of cells with a block in the middle of each, over a moving texture:

    +----+----+----+----+
    | M  | c2 | c1 | c0 |   M: the marker, orange, of middle brightness
    | b11| b10| b9 | b8 |   b: the index, 12 bits, white = 1, black = 0
    | b7 | b6 | b5 | b4 |   c: three check bits, index % 7 + 1
    | b3 | b2 | b1 | b0 |
    +----+----+----+----+

so an image that is turned, mirrored, in the wrong channel order or broken is not read as a frame.

`BAD` are files to refuse, `ODD` are files to read right; `make(folder, BAD["empty"])` writes one.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import random
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder writes to stderr: errors only

MARKER = (250, 100, 0)  # RGB; its brightness, 133, is far from black and from white
BLACK, WHITE = 16, 236


def _cells(width: int, height: int, inset: float) -> Iterator[tuple[slice, slice]]:
    """The 16 blocks in reading order; `inset` is the part of a cell left free on each side."""
    for row in range(4):
        for column in range(4):
            top, bottom = (height * (row + part) / 4 for part in (inset, 1 - inset))
            left, right = (width * (column + part) / 4 for part in (inset, 1 - inset))
            yield (
                slice(math.floor(top), max(math.ceil(bottom), math.floor(top) + 1)),
                slice(math.floor(left), max(math.ceil(right), math.floor(left) + 1)),
            )


def _bits(index: int) -> str:
    return f"{index % 7 + 1:03b}{index:012b}"


def draw_frame(index: int, width: int, height: int) -> np.ndarray:
    """The image of a frame: (height, width, 3) uint8 RGB; `index` is 0 ... 4095."""
    if not 0 <= index < 4096:
        raise ValueError(f"`index` must be 0 to 4095, got {index}.")
    y, x = np.mgrid[0:1:60j, 0:1:80j] * 2 * np.pi
    phase = 2 * np.pi * index / 32
    waves = [np.sin(2 * x + y - phase), np.sin(x - 2 * y - phase), np.cos(x + y + phase)]
    texture = (128 + 60 * np.stack(waves, axis=-1)).astype(np.uint8)
    image = cv2.resize(texture, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = [MARKER, *((WHITE if bit == "1" else BLACK,) * 3 for bit in _bits(index))]
    for cell, colour in zip(_cells(width, height, 0.2), colours, strict=True):
        image[cell] = colour
    return image


def read_index(image: np.ndarray) -> int:
    """The index that `draw_frame` put into this upright (H, W, 3) uint8 RGB image of any size.

    ValueError where the image is turned, mirrored, BGR, or too damaged to be sure.
    """
    height, width = image.shape[:2]
    means = [image[cell].reshape(-1, 3).mean(axis=0) for cell in _cells(width, height, 0.4)]
    levels = [float(mean @ (0.299, 0.587, 0.114)) for mean in means]
    red, green, blue = means[0]
    is_gray = max(float(np.ptp(mean)) for mean in means) < 8
    if not 95 < levels[0] < 170 or (red - blue < 90 and not is_gray):
        raise ValueError(f"No marker at the top left: RGB {red:.0f}, {green:.0f}, {blue:.0f}.")
    if any(80 < level < 176 for level in levels[1:]):
        raise ValueError(f"Neither black nor white: {[round(level) for level in levels[1:]]}.")
    bits = "".join("1" if level > 128 else "0" for level in levels[1:])
    index = int(bits[3:], 2)
    if bits != _bits(index):
        raise ValueError(f"The check bits do not fit: {bits}.")
    return index


def available(codec: str) -> bool:
    """Whether this build of PyAV can encode video with this codec."""
    try:
        return av.codec.Codec(codec, "w").type == "video"
    except av.codec.codec.UnknownCodecError:
        return False


# What keeps an encoder quick, quiet and sharp enough for `read_index`.
_ENCODER_OPTIONS = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30"},
    "libsvtav1": {"preset": "8", "crf": "25", "svtav1-params": "lp=1:pred-struct=1"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(4 * 118)},
    "mjpeg": {"flags": "+qscale", "global_quality": str(3 * 118)},
}
# The sound's codec where it is not AAC.
_SOUND_CODECS = {".webm": "libopus", ".avi": "pcm_s16le", ".mpg": "mp2"}


@contextlib.contextmanager
def scheduled_as_before() -> Iterator[None]:
    """Take back what libsvtav1 gives whoever calls it as root: real-time priority, above all else.

    Processes that are started later inherit it, and two that spin, as browsers do, stop a machine.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


@scheduled_as_before()
def write_video(
    path: Path | str,
    num_frames: int,
    *,
    codec: str = "libx264",
    width: int = 320,
    height: int = 240,
    fps: Fraction | int = 25,
    pix_fmt: str = "yuv420p",
    timestamps: Sequence[float] | None = None,
    rotation: int = 0,
    audio: bool = False,
    audio_start: float = 0.0,
    audio_first: bool = False,
    first_index: int = 0,
    colour: Mapping[str, int] | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> None:
    """Write the frames `first_index` ... with a key frame each 12; the ending gives the container.

    `width`, `height`: of the upright image. `rotation`: 0, 90, 180 or 270 degrees by which a player
    has to turn the stored image clockwise. `timestamps`: seconds, one per frame, in place of `fps`;
    kept to a millisecond, in AVI to 1 / fps. `audio`: a tone as long as the video that begins at
    `audio_start` seconds; `audio_first`: as stream 0. `colour`: of the codec context, such as
    {"colorspace": 1}.
    """
    path = Path(path)
    tick = 1 / Fraction(fps)
    if timestamps is not None and path.suffix != ".avi":
        tick = Fraction(1, 1000)
    with av.open(f"file:{path}", "w", container_options=dict(container_options or {})) as container:
        if audio and audio_first:
            sound = _add_sound(container, path)
        stream = container.add_stream(
            codec,
            rate=Fraction(fps),
            options={**_ENCODER_OPTIONS.get(codec, {}), **(options or {})},
        )
        stream.width, stream.height = (height, width) if rotation % 180 else (width, height)
        stream.pix_fmt = pix_fmt
        stream.gop_size = 12
        stream.thread_count = 1
        stream.codec_context.time_base = tick
        if codec == "mpeg4" and path.suffix == ".avi":
            stream.codec_context.codec_tag = "XVID"  # as UCF101
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(-rotation)
        if audio and not audio_first:
            sound = _add_sound(container, path)
        for i in range(num_frames):
            image = np.rot90(draw_frame(first_index + i, width, height), rotation // 90)
            frame = _frame(image, pix_fmt)
            frame.time_base = tick
            frame.pts = i if timestamps is None else round(timestamps[i] / tick)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            tone = np.sin(np.arange(int(48000 * num_frames / Fraction(fps))) * 0.05)
            tone = (8000 * tone).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            heard.sample_rate, heard.time_base = 48000, Fraction(1, 48000)
            heard.pts = round(audio_start * 48000)
            container.mux(sound.encode(heard))
            container.mux(sound.encode(None))


def _add_sound(container: av.container.OutputContainer, path: Path) -> av.AudioStream:
    sound = container.add_stream(_SOUND_CODECS.get(path.suffix, "aac"), rate=48000)
    sound.layout = "mono"
    return sound


def _frame(image: np.ndarray, pix_fmt: str) -> av.VideoFrame:
    """The image as a frame; with a see-through right half where `pix_fmt` has an alpha plane."""
    if not any(component.is_alpha for component in av.VideoFormat(pix_fmt).components):
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[:, image.shape[1] // 2 :] = 60
    return av.VideoFrame.from_ndarray(np.concatenate([image, alpha], axis=2), format="rgba")


@functools.cache
def _video_bytes(ending: str, codec: str = "libx264", movflags: str = "") -> bytes:
    """A good video of 60 frames, 160 x 120, 25 a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video.{ending}"
        flags = {"movflags": movflags} if movflags else None
        write_video(path, 60, codec=codec, width=160, height=120, container_options=flags)
        return path.read_bytes()


def _picture(index: int = 0, width: int = 160, height: int = 120) -> bytes:
    """A JPEG file."""
    return cv2.imencode(".jpg", draw_frame(index, width, height)[..., ::-1])[1].tobytes()


def _small(num_frames: int = 12, **settings) -> Callable[[Path], None]:
    """The maker of a 160 x 120 video; `settings` as for `write_video`."""
    settings = {"width": 160, "height": 120, **settings}
    return lambda path: write_video(path, num_frames, **settings)


def _holding(content: Callable[[], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content())


def _cut(part: float, *video: str) -> Callable[[Path], None]:
    """The maker of a video of which only the first part is there."""

    def write(path):
        data = _video_bytes(*video)
        path.write_bytes(data[: int(part * len(data))])

    return write


def _cut_between_packets(*video: str) -> Callable[[Path], None]:
    """The maker of a video that ends after 30 whole packets of 60."""

    def write(path):
        path.write_bytes(_video_bytes(*video))
        with av.open(f"file:{path}") as container:
            starts = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
        os.truncate(path, starts[30])

    return write


def _broken(*video: str, num_bytes: int = 2048) -> Callable[[Path], None]:
    """The maker of a video with a run of noise from the middle of its 24th frame, a key frame, on.

    64 bytes stay within the frame: the container is sound and the picture is not. 2 KB also take
    the next packets with their headers.
    """

    def write(path):
        path.write_bytes(_video_bytes(*video))
        with av.open(f"file:{path}") as container:
            packet = [packet for packet in container.demux(video=0) if packet.size][24]
            start = packet.pos + packet.size // 2
        with path.open("r+b") as file:
            file.seek(start)
            file.write(random.Random(0).randbytes(num_bytes))

    return write


def _lost_group(path: Path) -> None:
    """A Matroska video with noise in place of the 12 packets from a key frame to the next.

    FFmpeg logs an error and goes on after them; every frame that comes is right, none is flagged:
    only that log and the hole in the times tell.
    """
    path.write_bytes(_video_bytes("mkv"))
    with av.open(f"file:{path}") as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    with path.open("r+b") as file:
        file.seek(starts[24])
        file.write(random.Random(0).randbytes(starts[36] - starts[24]))


def _without_frames(codec: str) -> Callable[[Path], None]:
    """The maker of a video whose header is right and which holds no packet."""

    def write(path):
        with av.open(f"file:{path}", "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            container.start_encoding()

    return write


def _sound_only(path: Path) -> None:
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("aac", rate=48000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 24000), np.int16), "s16", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _text_naming_another(text: str, other: str) -> Callable[[Path], None]:
    """The maker of a text that sends the reader to a good video `other` beside it."""

    def write(path):
        path.write_text(text.format(other=other))
        write_video(path.with_name(other), 12, width=160, height=120)

    return write


def _pictures(*indices: int, broken: int | None = None) -> Callable[[Path], None]:
    """The maker of a folder of 000001.jpg ..., index 0 first; `broken`: the index of a cut one."""

    def write(path):
        path.mkdir()
        for index in indices:
            data = _picture(index)
            data = data[: len(data) // 2] if index == broken else data
            (path / f"{index + 1:06d}.jpg").write_bytes(data)

    return write


def _pattern_pictures(path: Path) -> None:
    """One picture whose name, taken for a pattern, names three others."""
    path.write_bytes(_picture(9))
    for i in range(1, 4):
        path.with_name(path.name % i).write_bytes(_picture(i))


def _folder_of_text(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no picture here\n")


def _unreadable(path: Path) -> None:
    """No permission to read; root reads it all the same, so skip it where os.geteuid() == 0."""
    _small()(path)
    path.chmod(0)


@dataclass(frozen=True)
class Bad:
    """A file, folder or pipe that no one can take for a whole video."""

    file_name: str
    make: Callable[[Path], None]


_HLS = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:1
#EXT-X-MEDIA-SEQUENCE:0
#EXTINF:0.48,
{other}
#EXT-X-ENDLIST
"""
_SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=no one sends this
c=IN IP4 127.0.0.1
t=0 0
m=video 5004 RTP/AVP 96
a=rtpmap:96 H264/90000
"""
_DASH = """<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT0.48S"
 minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="100000" width="160"
 height="120" codecs="avc1.64000d"><BaseURL>{other}</BaseURL></Representation></AdaptationSet>
</Period></MPD>
"""

BAD = {
    "missing": Bad("missing.mp4", lambda path: None),
    "empty": Bad("empty.mp4", Path.touch),
    "text_named_mp4": Bad("text.mp4", lambda path: path.write_text("This is no video.\n" * 99)),
    "random_bytes": Bad("random.avi", _holding(lambda: random.Random(0).randbytes(50_000))),
    "audio_only": Bad("sound.mp4", _sound_only),
    "truncated_avi": Bad("cut.avi", _cut(0.5, "avi", "mpeg4")),
    "truncated_mp4_faststart": Bad("cut_faststart.mp4", _cut(0.5, "mp4", "libx264", "faststart")),
    "truncated_mp4": Bad("cut.mp4", _cut(0.5, "mp4")),
    "truncated_mkv": Bad("cut.mkv", _cut(0.5, "mkv")),
    "truncated_webm": Bad("cut.webm", _cut(0.5, "webm", "libvpx-vp9")),
    "truncated_avi_between_packets": Bad("whole.avi", _cut_between_packets("avi", "mpeg4")),
    "truncated_mp4_between_packets": Bad(
        "whole.mp4", _cut_between_packets("mp4", "libx264", "faststart")
    ),
    "truncated_mkv_between_packets": Bad("whole.mkv", _cut_between_packets("mkv")),
    "broken_middle_avi": Bad("broken.avi", _broken("avi", "mpeg4")),
    "broken_middle_mp4": Bad("broken.mp4", _broken("mp4")),
    "broken_middle_mkv": Bad("broken.mkv", _broken("mkv", num_bytes=64)),
    "lost_group_mkv": Bad("lost.mkv", _lost_group),
    "header_only_avi": Bad("header.avi", _holding(lambda: _video_bytes("avi", "mpeg4")[:1024])),
    "header_only_mp4": Bad(
        "header.mp4", _holding(lambda: _video_bytes("mp4", "libx264", "faststart")[:1024])
    ),
    "zero_frames_avi": Bad("zero.avi", _without_frames("mpeg4")),
    "zero_frames_mp4": Bad("zero.mp4", _without_frames("libx264")),
    "picture": Bad("picture.jpg", _holding(_picture)),
    "picture_named_mp4": Bad("picture.mp4", _holding(_picture)),
    "picture_pattern": Bad("frame%03d.jpg", _pattern_pictures),
    "ffconcat_named_mp4": Bad(
        "list.mp4", _text_naming_another("ffconcat version 1.0\nfile '{other}'\n", "real.mp4")
    ),
    "hls_named_mp4": Bad("hls.mp4", _text_naming_another(_HLS, "real.ts")),
    "hls": Bad("hls.m3u8", _text_naming_another(_HLS, "real.ts")),
    "sdp_named_mp4": Bad("sdp.mp4", lambda path: path.write_text(_SDP)),
    "dash_named_mp4": Bad("dash.mp4", _text_naming_another(_DASH, "real.mp4")),
    "empty_folder": Bad("empty_folder", Path.mkdir),
    "folder_of_text": Bad("folder_of_text", _folder_of_text),
    "pictures_with_a_hole": Bad("hole", _pictures(0, 1, 2, 4, 5)),
    "pictures_with_a_broken_one": Bad("broken", _pictures(0, 1, 2, 3, 4, broken=3)),
    "named_pipe": Bad("pipe.mp4", os.mkfifo),  # opening it waits for ever: look at its kind first
    "unreadable": Bad("unreadable.mp4", _unreadable),
    "dangling_link": Bad("link.mp4", lambda path: path.symlink_to(path.with_name("nothing.mp4"))),
    "link_to_itself": Bad("loop.mp4", lambda path: path.symlink_to(path)),
}


def _beside_a_cover(path: Path) -> None:
    """A video with a larger attached picture as another video stream."""
    with av.open(f"file:{path}", "w") as container:
        cover = container.add_stream("mjpeg", rate=1, width=320, height=240, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=25, width=160, height=120)
        container.mux(cover.encode(_frame(draw_frame(4000, 320, 240), "yuvj420p")))
        container.mux(cover.encode(None))
        for i in range(12):
            container.mux(stream.encode(_frame(draw_frame(i, 160, 120), "yuv420p")))
        container.mux(stream.encode(None))


def _beside_another(path: Path) -> None:
    """Two video streams of one length; the second is smaller and its indices begin at 1000."""
    with av.open(f"file:{path}", "w") as container:
        sizes = [(160, 120), (80, 60)]
        streams = [container.add_stream("libx264", rate=25, width=w, height=h) for w, h in sizes]
        for k, (stream, size) in enumerate(zip(streams, sizes, strict=True)):
            for i in range(12):
                container.mux(stream.encode(_frame(draw_frame(1000 * k + i, *size), "yuv420p")))
            container.mux(stream.encode(None))


def _before_a_cover(path: Path) -> None:
    """A video, then a larger attached picture as another video stream."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=25, width=160, height=120)
        stream.options = {"bf": "2"}
        cover = container.add_stream("mjpeg", rate=1, width=320, height=240, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(_frame(draw_frame(4000, 320, 240), "yuvj420p")))
        container.mux(cover.encode(None))
        for i in range(12):
            container.mux(stream.encode(_frame(draw_frame(i, 160, 120), "yuv420p")))
        container.mux(stream.encode(None))


def _beside(streams: str, metadata: Mapping[str, str] | None = None) -> Callable[[Path], None]:
    """The maker of a video with B-frames beside streams that hold no picture.

    `streams`: "timecode", "chapters", "attachment" or "data".
    """

    def write(path):
        with av.open(f"file:{path}", "w") as container:
            data = None
            if streams == "data":
                data = container.add_data_stream()
            if streams == "chapters":
                tick = Fraction(1, 1000)
                container.set_chapters(
                    [
                        {"id": k, "start": 240 * k, "end": 240 * (k + 1), "time_base": tick,
                         "metadata": {"title": f"part {k}"}}
                        for k in range(2)
                    ]
                )  # fmt: skip
            stream = container.add_stream("libx264", rate=25, options={"bf": "3"})
            stream.width, stream.height = 160, 120
            if streams == "timecode":
                stream.metadata["timecode"] = "01:00:00:00"
            if streams == "attachment":
                container.add_attachment("note.txt", "text/plain", b"hello")
            for i in range(12):
                container.mux(stream.encode(_frame(draw_frame(i, 160, 120), "yuv420p")))
                if data is not None:
                    packet = av.Packet(b"measured")
                    packet.stream, packet.time_base = data, Fraction(1, 25)
                    packet.pts = packet.dts = i
                    container.mux(packet)
            container.mux(stream.encode(None))

    return write


def with_matrix(path: Path, matrix: Sequence[float]) -> None:
    """Put a display matrix (a, b, c, d, as in x' = a x + c y, y' = b x + d y) into an MP4."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def with_number(path: Path, tag: bytes, offset: int, format: str, value: float) -> None:
    """Put a number at some bytes behind the last place where `tag` stands."""
    data = bytearray(path.read_bytes())
    struct.pack_into(format, data, data.rindex(tag) + len(tag) + offset, value)
    path.write_bytes(data)


def join(path: Path, *parts: Path) -> None:
    """One file behind the other, as `cat` does."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


def without_ts_packet(path: Path, number: int) -> None:
    """Take the transport packet out in which the middle of a video's packet stands."""
    with av.open(f"file:{path}") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start = (packets[number].pos + packets[number + 1].pos) // 2 // 188 * 188
    data = path.read_bytes()
    path.write_bytes(data[:start] + data[start + 188 :])


def _size_change(path: Path) -> None:
    """Six frames of 160 x 120, then six of 96 x 64, in one stream."""
    _small(6)(path)
    first = path.read_bytes()
    _small(6, first_index=6, width=96, height=64)(path)
    path.write_bytes(first + path.read_bytes())


def _linked(path: Path) -> None:
    target = path.with_name("target.mp4")
    _small()(target)
    path.symlink_to(target)


def _from_mid_group(path: Path) -> None:
    """A transport stream recorded from its 6th frame on; the next key frame is the 13th."""
    _small(30, options={"bf": "0"})(path)
    with av.open(f"file:{path}") as container:
        start = [packet.pos for packet in container.demux(video=0) if packet.size][5]
    path.write_bytes(path.read_bytes()[start:])


@dataclass(frozen=True)
class Odd:
    """A file or folder to read right: frame k holds `indices[k]` and is shown at `times[k]`."""

    file_name: str
    make: Callable[[Path], None]
    num_frames: int = 12
    size: tuple[int, int] = (160, 120)  # width, height, upright
    times: tuple[float, ...] | None = None  # seconds; None: the file does not tell
    indices: tuple[int, ...] | None = None  # None: too small to read


def _odd(file_name: str, make: Callable[[Path], None], num_frames: int = 12, **facts) -> Odd:
    """An `Odd` of 25 frames a second from 0 on, each holding its own index, unless told."""
    facts.setdefault("times", tuple(i / 25 for i in range(num_frames)))
    facts.setdefault("indices", tuple(range(num_frames)))
    return Odd(file_name, make, num_frames, **facts)


_UNEVEN = tuple(0.04 * i + 0.013 * (i % 3) + (0.5 if i > 7 else 0) for i in range(12))
_UNEVEN = tuple(round(time, 3) for time in _UNEVEN)
_GAP = (0.0, *(i / 25 for i in range(2, 13)))
_LARGE = _small(2, width=4000, height=3000, options={"preset": "ultrafast"})
_LATE = tuple(0.5 + i / 25 for i in range(12))
_EARLY = tuple(-0.2 + i / 25 for i in range(12))

_SECOND = _small(options={"bf": "3"}, audio=True, audio_first=True)

ODD = {
    # lengths around a clip of 16
    "one_frame": _odd("one.mp4", _small(1), 1),
    "five_frames": _odd("five.mp4", _small(5), 5),
    "sixteen_frames": _odd("sixteen.mp4", _small(16), 16),
    "seventeen_frames": _odd("seventeen.mp4", _small(17), 17),
    # containers and codecs
    "avi_mpeg4": _odd("mpeg4.avi", _small(codec="mpeg4")),
    "avi_mjpeg": _odd("mjpeg.avi", _small(codec="mjpeg", pix_fmt="yuvj420p")),
    "avi_h264": _odd("h264.avi", _small(), times=None),
    "mov_prores": _odd("prores.mov", _small(codec="prores", pix_fmt="yuv422p10le")),
    "mkv_h264": _odd("h264.mkv", _small()),
    "webm_vp9": _odd("vp9.webm", _small(codec="libvpx-vp9")),
    "mp4_av1": _odd("av1.mp4", _small(codec="libsvtav1")),
    "flv": _odd("flv.flv", _small(codec="flv")),
    "wmv": _odd("wmv2.wmv", _small(codec="wmv2")),
    "gif": _odd("small.gif", _small(codec="gif", pix_fmt="rgb8")),
    "y4m": _odd("raw.y4m", _small(codec="wrapped_avframe")),
    "mpg": _odd("mpeg2.mpg", _small(codec="mpeg2video"), times=None),
    "ts": _odd("h264.ts", _small(options={"bf": "0"})),
    "raw_h264": _odd("raw.h264", _small(), times=None),
    "fragmented_mp4": _odd(
        "fragmented.mp4",
        _small(options={"bf": "0"}, container_options={"movflags": "frag_keyframe+empty_moov"}),
    ),
    "mkv_without_duration": _odd("live.mkv", _small(container_options={"live": "1"})),
    # sizes
    "odd_size": _odd(
        "odd.webm", _small(codec="libvpx-vp9", width=161, height=121), size=(161, 121)
    ),
    "odd_size_yuv444": _odd(
        "odd.mkv", _small(pix_fmt="yuv444p", width=161, height=121), size=(161, 121)
    ),
    "tiny": _odd("tiny.mp4", _small(width=16, height=16), size=(16, 16)),
    "two_by_two": _odd("2x2.mp4", _small(width=2, height=2), size=(2, 2), indices=None),
    "large": _odd("large.mp4", _LARGE, 2, size=(4000, 3000)),
    "size_change": _odd("sizes.h264", _size_change, times=None),  # `size` of the first six
    # turned
    "rotated_90": _odd("rotated90.mp4", _small(rotation=90)),
    "rotated_180": _odd("rotated180.mp4", _small(rotation=180)),
    "rotated_270": _odd("rotated270.mov", _small(rotation=270)),
    "rotated_90_mkv": _odd("rotated90.mkv", _small(rotation=90)),
    # time
    "vfr_mp4": _odd("vfr.mp4", _small(timestamps=_UNEVEN), times=_UNEVEN),
    "vfr_mkv": _odd("vfr.mkv", _small(timestamps=_UNEVEN), times=_UNEVEN),
    # 13 frames promised, the second is an empty chunk: so are 119 of 394 files of UCF101
    "dropped_frame_avi": _odd("dropped.avi", _small(codec="mpeg4", timestamps=_GAP), times=_GAP),
    "late_start": _odd("late.mp4", _small(timestamps=_LATE), times=_LATE),
    "negative_times": _odd(
        "negative.ts",
        _small(timestamps=_EARLY, container_options={"avoid_negative_ts": "disabled"}),
        times=_EARLY,
    ),
    "trimmed_mp4": _odd(  # an edit list: 12 frames in the file, the first 5 not to be shown
        "trimmed.mp4", _small(timestamps=_EARLY), 7, indices=tuple(range(5, 12))
    ),
    "mid_group_ts": _odd(
        "mid_group.ts", _from_mid_group, 18, times=None, indices=tuple(range(12, 30))
    ),
    # colour
    "ten_bit": _odd("ten_bit.mp4", _small(codec="libx265", pix_fmt="yuv420p10le")),
    "yuv444": _odd("yuv444.mp4", _small(pix_fmt="yuv444p")),
    "full_range": _odd("full_range.mp4", _small(pix_fmt="yuvj420p")),
    "bt709": _odd(
        "bt709.mp4",
        _small(colour={"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}),
    ),
    "gray": _odd("gray.mkv", _small(codec="ffv1", pix_fmt="gray")),
    "alpha_png": _odd("alpha.mov", _small(codec="png", pix_fmt="rgba")),
    "alpha_ffv1": _odd("alpha.mkv", _small(codec="ffv1", pix_fmt="yuva420p")),
    "interlaced": _odd(
        "interlaced.mkv", _small(codec="mpeg2video", options={"flags": "+ildct+ilme"})
    ),
    # beside other streams
    "with_audio": _odd("sound.mp4", _small(audio=True)),
    "with_audio_mkv": _odd("sound.mkv", _small(audio=True)),
    "with_audio_avi": _odd("sound.avi", _small(codec="mpeg4", audio=True)),
    "audio_first": _odd("early.mp4", _small(timestamps=_LATE, audio=True), times=_LATE),
    "audio_later": _odd("later.mkv", _small(audio=True, audio_start=0.5)),
    "cover_picture": _odd("cover.mp4", _beside_a_cover),
    "cover_picture_last": _odd("cover_last.mp4", _before_a_cover),
    "sound_is_stream_0_mp4": _odd("second.mp4", _SECOND),
    "sound_is_stream_0_mov": _odd("second.mov", _SECOND),
    "sound_is_stream_0_mkv": _odd("second.mkv", _SECOND, times=None),
    "sound_is_stream_0_flv": _odd("second.flv", _SECOND, times=None),
    "sound_is_stream_0_ts": _odd("second.ts", _SECOND, times=None),
    "sound_is_stream_0_mpg": _odd(
        "second.mpg",
        _small(codec="mpeg2video", options={"bf": "2"}, audio=True, audio_first=True),
        times=None,
    ),
    "sound_is_stream_0_avi": _odd(
        "second.avi",
        _small(codec="mpeg4", options={"bf": "2"}, audio=True, audio_first=True),
        times=None,
    ),
    "one_frame_behind_sound": _odd(
        "one_second.mp4", _small(1, options={"bf": "3"}, audio=True, audio_first=True), 1
    ),
    "timecode": _odd("timecode.mov", _beside("timecode")),
    "chapters": _odd("chapters.mp4", _beside("chapters")),
    "attachment": _odd("attachment.mkv", _beside("attachment")),
    "data_first": _odd("data.ts", _beside("data"), times=None),
    "two_video_streams": _odd("two.mp4", _beside_another),  # the first counts
    # names
    "spaces": _odd("Вид 視頻 é\u0301 (1).mp4", _small()),
    "percent": _odd("100%03d %s.mp4", _small()),
    "colon": _odd("a:b.mp4", _small()),
    "dash": _odd("-i.mp4", _small()),
    "file_protocol": _odd("file:x.mp4", _small()),
    "concat_protocol": _odd("concat:a|b.mp4", _small()),
    "brackets": _odd("[a]*{b}?#$(c)'\".mp4", _small()),
    "capitals": _odd("LOUD.AVI", _holding(lambda: _video_bytes("avi", "mpeg4")), 60),
    "no_ending": _odd("video", _holding(lambda: _video_bytes("mp4")), 60),
    "link": _odd("link.mp4", _linked),
    # folders
    "pictures": _odd("pictures", _pictures(*range(12)), times=None),
}


def make(folder: Path, kind: Bad | Odd) -> Path:
    """Make the file of this kind in `folder` and return its path."""
    path = Path(folder) / kind.file_name
    kind.make(path)
    return path
