"""Damage of all kinds, done to small videos of many containers, and what Kinema makes of each.

    python tests/fuzz_videos.py --count 5000 --json fuzz.json    # goes on where it was stopped
    python tests/fuzz_videos.py --reproduce 1234                 # writes that file, tells its story

Each file is a pure function of its number and the seed: a base video (see `SPECS`; real ones are
added where KINEMA_DATA is set) with one or two of `MUTATIONS`. It is read in a child process, and
these are findings:

    crash           the process dies of a signal
    hang            no end within `SECONDS`
    growth          more than `PEAK` MiB and `COPIES` of a frame for one file; or `LEAK` MiB kept
                    after a chunk of files
    exception       another one than a VideoError
    reason          it is not one line that ends with a full stop, or names a wrong frame
    past_damage     a frame that is not whole, after FFmpeg or the container reported damage
    cut_not_told    half a video gone, the header still promises it, and no reason
    times           a frame that stops before it starts, times that go back within a stretch
    information     a size, rate or length that no video has
    unsteady        two walks through one file differ
    between         `between` gives what the walk does not, or frames outside of what was asked for
    own fault       of this fuzzer: an exception that it did not expect
    extract         the command gives no rows and no reason, or both, or a wrong exit code

The frame number stands in the pixels (real videos: the nearest of the sound frames is taken), so
damage that no one reports is seen too. That is no finding, it is counted: a lost beginning, gaps,
repeated frames, smeared ones, a lost end, a clock that begins anew where the pictures go on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import hashlib
import io
import itertools
import json
import math
import multiprocessing
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

import kinema
from kinema.files import atomic_path
from kinema.video.reader import VideoError, VideoReader

from odd_videos import available, read_index, write_video

SECONDS = 30.0
"""For each step with one file; a sound one takes a twentieth of a second."""
PEAK = 128
"""MiB that one file may take while it is read; a sound one takes less than 20."""
COPIES = 16
"""Frames of 3 bytes a pixel that it may take beyond: references of the decoder, those on their way.
A header may have been changed to promise large ones."""
LEAK = 64
"""MiB that may be kept after a chunk of files."""
ADDRESS_SPACE = 3 << 30
"""Bytes that a child may map beyond what it starts with."""
CHUNK = 100
"""Files that one child reads, unless one of them kills it."""
VISIBLE = 16
"""A cell of 8 x 8 pixels whose mean is off by more is taken for a smear."""
STEP_BACK = 1.0
"""Seconds back that are a new clock; fewer are an error in the order of times."""
WINDOW = 16
"""Frames within which damage shows after it was reported: a group of pictures and some delay."""


# --- the videos -----------------------------------------------------------------------------------

_VP8 = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "1M"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
_FRONT = {"movflags": "faststart"}

SPECS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # name: container as the table calls it, ending, settings of `write_video`
    "mp4": ("mp4", "mp4", {"audio": True}),
    "mp4_index_first": ("mp4", "mp4", {"container_options": _FRONT}),
    "mp4_hevc": ("mp4", "mp4", {"codec": "libx265", "container_options": _FRONT}),
    "mp4_av1": ("mp4", "mp4", {"codec": "libsvtav1", "container_options": _FRONT}),
    "fragments": ("mp4, fragments", "mp4", {"audio": True, "container_options": _FRAGMENTS}),
    "mov": ("mov", "mov", {"audio": True, "container_options": _FRONT}),
    "mkv": ("mkv", "mkv", {"audio": True}),
    "mkv_ffv1": ("mkv", "mkv", {"codec": "ffv1", "num_frames": 30}),
    "webm_vp9": ("webm", "webm", {"codec": "libvpx-vp9"}),
    "webm_vp8": ("webm", "webm", {"codec": "libvpx", "audio": True, "options": _VP8}),
    "avi_xvid": ("avi", "avi", {"codec": "mpeg4", "audio": True}),
    "avi_mjpeg": ("avi", "avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "avi_h264": ("avi", "avi", {}),
    "ts": ("ts", "ts", {"audio": True}),
    "ts_mpeg2": ("ts", "ts", {"codec": "mpeg2video"}),
    "mpg_mpeg2": ("mpg", "mpg", {"codec": "mpeg2video", "audio": True}),
    "mpg_mpeg1": ("mpg", "mpg", {"codec": "mpeg1video"}),
    "flv_h264": ("flv", "flv", {"audio": True}),
    "flv": ("flv", "flv", {"codec": "flv"}),
    "wmv": ("wmv", "wmv", {"codec": "wmv2"}),
    "asf": ("wmv", "asf", {"codec": "msmpeg4"}),
    "ogg": ("ogg", "ogg", {"codec": "libvpx", "options": _VP8}),
    "h264": ("raw h264", "h264", {}),
    "hevc": ("raw hevc", "hevc", {"codec": "libx265"}),
    "gif": ("gif", "gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "y4m": ("y4m", "y4m", {"codec": "wrapped_avframe", "num_frames": 30}),
    "nut": ("nut", "nut", {"codec": "mpeg4", "audio": True}),
    "mxf": ("mxf", "mxf", {"codec": "mpeg2video"}),
    "ivf": ("ivf", "ivf", {"codec": "libvpx-vp9"}),
}


def _hex(names: str) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, names.split()))


_BOXES = (
    b"ftyp moov mvhd trak tkhd mdia mdhd hdlr minf stbl stsd avc1 avcC hev1 hvcC av01 av1C mp4a "
    b"esds stts ctts stss stsc stsz stco edts elst mdat moof mfhd traf tfhd tfdt trun mfra udta"
).split()
_EBML = _hex(
    "1a45dfa3 18538067 114d9b74 1549a966 2ad7b1 4489 1654ae6b ae d7 83 86 63a2 e0 b0 ba 23e383 "
    "1f43b675 e7 a3 a0 1c53bb6b bb b3 f1"
)
_ASF = _hex("3026b2758e66cf11 a1dcab8c47a9cf11 9107dcb7b7a9cf11 3626b2758e66cf11 b503bf5f2ea9cf11")
_NAL = b"\x00\x00\x01"

MARKERS: dict[str, Sequence[bytes]] = {
    # what the fields of a header stand beside: names of boxes and chunks, start codes, sync bytes
    "mp4": _BOXES,
    "mp4, fragments": _BOXES,
    "mov": _BOXES,
    "mkv": _EBML,
    "webm": _EBML,
    "avi": (b"RIFF", b"LIST", b"avih", b"strh", b"strf", b"movi", b"idx1", b"00dc", b"01wb"),
    "ts": (b"\x47\x40", b"\x47\x41", b"\x47\x01", b"\x00\x00\x01\xe0", b"\x00\x00\x01\xb3"),
    "mpg": _hex("000001ba 000001bb 000001e0 000001c0 000001b3 000001b8 00000100"),
    "flv": (b"FLV\x01", b"onMetaData", b"duration", b"width", b"\x09\x00", b"\x08\x00"),
    "wmv": (*_ASF, b"WMV2", b"\x82\x00\x00"),
    "ogg": (b"OggS", b"OVP80"),
    "raw h264": (_NAL + b"\x67", _NAL + b"\x68", _NAL + b"\x65", _NAL),
    "raw hevc": (_NAL + b"\x40", _NAL + b"\x42", _NAL + b"\x44", _NAL),
    "gif": (b"GIF89a", b"\x21\xf9\x04", b"\x2c\x00\x00", b"NETSCAPE2.0"),
    "y4m": (b"YUV4MPEG2", b" W", b" H", b" F", b"FRAME"),
    "nut": (b"nut/multimedia", b"NM", b"NS", b"NK", b"NX"),
    "mxf": (b"\x06\x0e\x2b\x34\x02", b"\x06\x0e\x2b\x34\x01\x02", b"\x32\x03", b"\x32\x02"),
    "ivf": (b"DKIF", b"VP90"),
}
MARKERS["avi, real"] = MARKERS["avi"]


@dataclass(frozen=True, eq=False)
class Base:
    """A sound video.

    Attributes:
        packets: where its packets begin in `data`, rising.
        small: its frames at an eighth of their size, (n, h, w, 3) uint8.
        numbered: the frame number stands in the pixels.
    """

    name: str
    container: str
    ending: str
    data: bytes
    packets: list[int]
    small: np.ndarray
    numbered: bool


def make_bases(folder: Path, num_real: int = 3) -> list[Base]:
    """All bases that this build of FFmpeg can write, and some real videos where there are any.

    Their bytes are the same each time: no random names in the headers (bitexact), and a height in
    whole macroblocks, as x264 reads what it has not written below others.
    """
    bases = []
    for name, (container, ending, settings) in SPECS.items():
        settings = {"num_frames": 60, "width": 160, "height": 128, **settings}
        options = {**settings.get("container_options", {}), "fflags": "+bitexact"}
        if not available(settings.get("codec", "libx264")):
            print(f"left out, this build of FFmpeg cannot write it: {name}", file=sys.stderr)
            continue
        path = folder / f"{name}.{ending}"
        write_video(path, **{**settings, "container_options": options})
        bases.append(_base(path, name, container, numbered=True))
    return bases + [_base(path, path.stem, "avi, real") for path in _real_videos(num_real)]


def _real_videos(count: int) -> list[Path]:
    folder = os.environ.get("KINEMA_DATA")
    found = sorted(Path(folder).glob("ucf101-3/UCF-101/*/*.avi")) if folder else []
    if not found:
        print("left out: real videos, there are none in KINEMA_DATA", file=sys.stderr)
    return found[:: max(len(found) // count, 1)][:count]


def _base(path: Path, name: str, container: str, *, numbered: bool = False) -> Base:
    with av.open(f"file:{path}") as opened:
        packets = {packet.pos for packet in opened.demux(video=0) if packet.size}
    small = np.stack([_small(frame.image) for frame in VideoReader(path)])
    positions = sorted(position for position in packets if position is not None and position >= 0)
    ending = path.suffix[1:]
    return Base(name, container, ending, path.read_bytes(), positions, small, numbered)


def _small(image: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    height, width = like.shape[:2] if like is not None else (n // 8 for n in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


# --- the damage -----------------------------------------------------------------------------------

Random = random.Random
INTERESTING = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass
class Damaged:
    """A file on its way to ruin.

    Attributes:
        family: all bases of its container.
        held: those of which it holds frames.
        steps: what was done so far.
    """

    base: Base
    data: bytearray
    family: Sequence[Base]
    held: list[Base]
    steps: list[str] = field(default_factory=list)

    def did(self, kind: str, about: str = "") -> None:
        self.steps.append(f"{kind} {about}".strip())

    @property
    def kinds(self) -> list[str]:
        return [step.split()[0] for step in self.steps]


def _span(rng: Random, damaged: Damaged, most: float = 0.3) -> tuple[int, int]:
    """A run of bytes: of any length, more often short; half of the time from packet to packet."""
    size = len(damaged.data)
    starts = [start for start in damaged.base.packets if start < size]
    if len(starts) > 2 and rng.random() < 0.5:
        first = rng.randrange(len(starts) - 1)
        last = min(first + rng.choice((1, 1, 2, 3, 12, 20)), len(starts) - 1)
        return starts[first], starts[last]
    length = int(2 ** rng.uniform(0, math.log2(max(2, most * size))))
    start = rng.randrange(max(1, size - length))
    return start, min(start + length, size)


def flip_bits(rng: Random, damaged: Damaged) -> None:
    """A few bits, anywhere or near the front."""
    count = rng.choice((1, 1, 2, 4, 8, 32))
    reach = rng.choice((len(damaged.data), len(damaged.data), 4096, 512))
    for _ in range(count):
        damaged.data[rng.randrange(min(reach, len(damaged.data)))] ^= 1 << rng.randrange(8)
    damaged.did("flip_bits", f"{count} in {reach}")


def change_bytes(rng: Random, damaged: Damaged) -> None:
    """Many bytes, everywhere."""
    count = max(1, int(len(damaged.data) * 10 ** rng.uniform(-4, -1.5)))
    for _ in range(count):
        damaged.data[rng.randrange(len(damaged.data))] = rng.randrange(256)
    damaged.did("change_bytes", str(count))


def noise(rng: Random, damaged: Damaged) -> None:
    """A run of noise in place of what was there."""
    start, stop = _span(rng, damaged, 0.1)
    damaged.data[start:stop] = rng.randbytes(stop - start)
    damaged.did("noise", f"{start}:{stop}")


def zero(rng: Random, damaged: Damaged) -> None:
    """A run of zeros, or of ones, as of a disk that failed."""
    start, stop = _span(rng, damaged)
    damaged.data[start:stop] = rng.choice((b"\0", b"\0", b"\xff")) * (stop - start)
    damaged.did("zero", f"{start}:{stop}")


def cut(rng: Random, damaged: Damaged) -> None:
    """The end is missing; half of the time from a packet's start on."""
    starts = [start for start in damaged.base.packets if 0 < start < len(damaged.data)]
    at = rng.randrange(len(damaged.data))
    if starts and rng.random() < 0.5:
        at = rng.choice(starts)
    del damaged.data[at:]
    damaged.did("cut", f"{at}:")


def cut_front(rng: Random, damaged: Damaged) -> None:
    """The beginning is missing."""
    start, stop = _span(rng, damaged)
    del damaged.data[: stop if rng.random() < 0.5 else stop - start]
    damaged.did("cut_front", f":{stop}")


def remove(rng: Random, damaged: Damaged) -> None:
    start, stop = _span(rng, damaged)
    del damaged.data[start:stop]
    damaged.did("remove", f"{start}:{stop}")


def swap(rng: Random, damaged: Damaged) -> None:
    """Two runs of bytes change places."""
    (a, b), (c, d) = sorted((_span(rng, damaged), _span(rng, damaged)))
    c, d = max(b, c), max(b, d)
    data = damaged.data
    data[a:d] = data[c:d] + data[b:c] + data[a:b]
    damaged.did("swap", f"{a}:{b} {c}:{d}")


def duplicate(rng: Random, damaged: Damaged) -> None:
    """A run of bytes once more, behind itself or elsewhere."""
    start, stop = _span(rng, damaged)
    at = stop if rng.random() < 0.5 else _span(rng, damaged)[0]
    damaged.data[at:at] = damaged.data[start:stop]
    damaged.did("duplicate", f"{start}:{stop} at {at}")


def insert(rng: Random, damaged: Damaged) -> None:
    """Noise, zeros or text between what was there."""
    at, _ = _span(rng, damaged)
    count = int(2 ** rng.uniform(0, 14))
    filling = rng.choice((rng.randbytes(count), bytes(count), b"no video here\n" * (count // 14)))
    damaged.data[at:at] = filling
    damaged.did("insert", f"{len(filling)} at {at}")


def rewrite_header(rng: Random, damaged: Damaged) -> None:
    """A number beside a marker: a size, a count, a time scale, a width."""
    data = damaged.data
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        marker = rng.choice(MARKERS[damaged.base.container])
        places = []
        at = data.find(marker)
        while at >= 0 and len(places) < 200:
            places.append(at)
            at = data.find(marker, at + 1)
        if not places:
            continue
        at = places[0] if rng.random() < 0.6 else rng.choice(places)
        at += rng.choice((-8, -4, -3, -2, -1, *(len(marker) + n for n in (0, 0, 1, 2, 4, 8, 12))))
        at += rng.choice((0, 0, 0, 4 * rng.randrange(16)))
        width = rng.choice((1, 2, 4, 4, 8))
        if not 0 <= at <= len(data) - width:
            continue
        order = rng.choice(("big", "little"))
        before = int.from_bytes(data[at : at + width], order)
        value = rng.choice(
            (rng.choice(INTERESTING), rng.getrandbits(8 * width), before + rng.choice((-1, 1)),
             before * 2, before // 2, before << 8)
        ) % (1 << 8 * width)  # fmt: skip
        data[at : at + width] = value.to_bytes(width, order)
        damaged.did("rewrite_header", f"{marker!r} {at}: {before:#x} to {value:#x}")


def rewrite_number(rng: Random, damaged: Damaged) -> None:
    """Any number near the front or the end, where headers and indices stand."""
    data = damaged.data
    reach = min(len(data), rng.choice((64, 256, 1024, 4096)))
    at = rng.randrange(reach)
    if rng.random() < 0.3:
        at = len(data) - 1 - at
    width = min(rng.choice((1, 2, 4, 8)), len(data) - at)
    value = rng.choice(INTERESTING) % (1 << 8 * width)
    data[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))
    damaged.did("rewrite_number", f"{width} bytes at {at}: {value:#x}")


def join(rng: Random, damaged: Damaged) -> None:
    """Another video of the container behind this one, or this one again."""
    other = rng.choice(damaged.family)
    damaged.data += other.data
    damaged.held.append(other)
    damaged.did("join", other.name)


def splice(rng: Random, damaged: Damaged) -> None:
    """The first part of this video, the last of another."""
    other = rng.choice(damaged.family)
    at, _ = _span(rng, damaged)
    behind = rng.choice(other.packets) if other.packets else rng.randrange(len(other.data))
    damaged.data[at:] = other.data[behind:]
    damaged.held.append(other)
    damaged.did("splice", f"{at} to {behind} of {other.name}")


Mutation = Callable[[Random, Damaged], None]
MUTATIONS: dict[Mutation, int] = {  # and how often
    flip_bits: 3, change_bytes: 2, noise: 3, zero: 2, cut: 3, cut_front: 1, remove: 3, swap: 2,
    duplicate: 2, insert: 2, rewrite_header: 6, rewrite_number: 2, join: 1, splice: 1,
}  # fmt: skip


def damaged_file(bases: Sequence[Base], seed: int, number: int) -> Damaged:
    """The file of this number: every eleventh is a real video, where there are any."""
    drawn, real = ([b for b in bases if b.numbered is numbered] for numbered in (True, False))
    is_real = bool(real) and number % 11 == 10
    base = real[number // 11 % len(real)] if is_real else drawn[number % len(drawn)]
    rng = random.Random(f"{seed}/{number}/{base.name}")
    family = [other for other in bases if other.container == base.container]
    damaged = Damaged(base, bytearray(base.data), family, [base])
    for mutation in rng.choices(list(MUTATIONS), list(MUTATIONS.values()), k=rng.choice((1, 1, 2))):
        if damaged.data:
            mutation(rng, damaged)
    return damaged


# --- what is seen ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A frame that Kinema gave: the number in its pixels (None: it cannot be read), and so on."""

    number: int | None
    is_whole: bool
    start_seconds: float
    stop_seconds: float


def look(image: np.ndarray, held: Sequence[Base], expected: int) -> tuple[int | None, bool]:
    """Which frame of the videos `held` this is, and whether it is unharmed.

    `expected` is taken where several are equally near: real videos hold equal frames.
    """
    nearest: tuple[float, int | None, bool] = (math.inf, None, False)
    for base in held:
        small = _small(image, base.small[0]).astype(np.int16)
        if base.numbered:
            try:
                number = read_index(image)
            except ValueError:
                return None, False
            if number >= len(base.small):
                continue
        else:
            near = np.abs(base.small - small).mean(axis=(1, 2, 3))
            number = int(near.argmin())
            if expected < len(near) and near[expected] <= near[number] + 0.01:
                number = expected
        off = float(np.abs(base.small[number] - small).max())
        nearest = min(nearest, (off, number, off <= VISIBLE))
    return nearest[1], nearest[2]


@dataclass
class Walk:
    """All frames of a file, the error that ended them, and what is odd about the rest."""

    seen: list[Seen] = field(default_factory=list)
    error: Exception | None = None
    checksum: str = ""
    num_pixels: int = 0
    odd: list[str] = field(default_factory=list)


def walk(path: Path, held: Sequence[Base]) -> Walk:
    """Read a file to its end as `VideoReader` gives it."""
    walked = Walk()
    checksum = hashlib.blake2b(digest_size=8)
    try:
        reader = VideoReader(path)
        walked.odd = _odd_information(reader)
        walked.num_pixels = reader.info.width * reader.info.height
        expected = 0
        for place, frame in enumerate(reader):
            number, is_whole = look(frame.image, held, expected)
            expected = expected + 1 if number is None else number + 1
            if frame.index != place:
                walked.odd.append(f"frame {place} is called {frame.index}")
            checksum.update(frame.image.tobytes())
            walked.num_pixels = max(walked.num_pixels, frame.image.size // 3)
            walked.seen.append(Seen(number, is_whole, frame.start_seconds, frame.stop_seconds))
    except Exception as error:  # of any kind: it is looked at later
        walked.error = error
    walked.checksum = checksum.hexdigest()
    return walked


def _odd_information(reader: VideoReader) -> list[str]:
    info = reader.info
    odd = []
    if info.width < 1 or info.height < 1:
        odd.append(f"size {info.width} x {info.height}")
    if info.fps is not None and not 0 < info.fps < math.inf:
        odd.append(f"fps {info.fps}")
    if info.num_frames is not None and info.num_frames < 1:
        odd.append(f"num_frames {info.num_frames}")
    if info.duration_seconds is not None and not 0 <= info.duration_seconds < math.inf:
        odd.append(f"duration_seconds {info.duration_seconds}")
    return odd


def reports(path: Path) -> tuple[list[tuple[int, str]], list[str]]:
    """Damage as FFmpeg reports it, each with the number of frames before, and its log of errors.

    This is FFmpeg through PyAV alone, nothing of Kinema.
    """
    found: list[tuple[int, str]] = []
    num_frames = 0
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # what is held back would be told with the next file's
    try:
        with (
            av.logging.Capture(local=False) as logs,
            av.open(
                f"file:{path}",
                metadata_errors="replace",
                options={"protocol_whitelist": "file"},
            ) as container,
        ):
            pictures = av.stream.Disposition.attached_pic
            stream = next(s for s in container.streams.video if not s.disposition & pictures)
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    found.append((num_frames, "packet marked as corrupt"))
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    found.append((num_frames, f"{type(error).__name__} in decoding"))
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        found.append((num_frames, "frame marked as corrupt"))
                    num_frames += 1
    except (StopIteration, AttributeError, IndexError):  # no video; a stream that PyAV knows not
        pass
    except (av.FFmpegError, UnicodeError, ValueError) as error:
        found.append((num_frames, f"{type(error).__name__} in reading"))
    finally:
        av.logging.set_level(None)
    return found, [f"{name}: {message.strip()}" for _, name, message in logs]


FLAWS = ("late", "gap", "repeat", "smear", "short", "clock")


def flaws(seen: Sequence[Seen], damaged: Damaged, *, ended: bool) -> dict[int, str]:
    """What is wrong with the frames, each with its place in their order.

    A joined video begins anew, which is right.
    """
    first_again = bool({"join", "splice", "duplicate"} & set(damaged.kinds))
    found: dict[int, str] = {}
    last: int | None = None
    for place, frame in enumerate(seen):
        if frame.number is None or not frame.is_whole:
            found[place] = "smear"
            last = None if last is None else last + 1
            continue
        number = frame.number
        is_join = first_again and number == 0 and last is not None
        if is_join:
            pass
        elif place == 0 and number > 0:
            found[place] = "late"
        elif last is not None and number <= last:
            found[place] = "repeat"
        elif last is not None and number > last + 1:
            found[place] = "gap"
        elif place and frame.start_seconds < seen[place - 1].start_seconds:
            found[place] = "clock"
        last = number
    if ended and seen and (last is None or last < len(damaged.held[-1].small) - 1):
        found[len(seen)] = "short"
    return found


# --- what must hold -------------------------------------------------------------------------------

Findings = list[tuple[str, str]]


def check_reason(error: Exception, num_frames: int) -> Findings:
    """One `VideoError` of one line that names the frame."""
    if not isinstance(error, VideoError):
        kind = "growth" if isinstance(error, MemoryError) else "exception"
        return [(kind, f"{type(error).__name__}: {error}")]
    text = str(error)
    if not text.endswith(".") or not text.isprintable() or len(text) > 300:
        return [("reason", repr(text))]
    if error.frame_index != (num_frames or None):
        return [("reason", f"after {num_frames} frames it names {error.frame_index}: {text}")]
    return []


def check_past_damage(
    seen: Sequence[Seen], wrong: dict[int, str], reported: Sequence[tuple[int, str]]
) -> Findings:
    """No frame that is not whole comes after a report.

    A report alone is not damage: the demuxer marks the last, whole packet before a join. Recordings
    may begin anywhere, so what is reported before the first frame may cost the beginning.
    """
    for before, what in reported:
        for place in range(before, min(before + WINDOW, len(seen))):
            if wrong.get(place) in ("gap", "repeat", "smear"):
                number = seen[place].number
                return [("past_damage", f"{what} after {before} frames; frame {place} of "
                         f"{len(seen)} is a {wrong[place]} (number {number})")]  # fmt: skip
    return []


def check_times(seen: Sequence[Seen], damaged: Damaged) -> Findings:
    """Times are numbers, stop after start, and go on within a stretch.

    Of a clock that steps back by more than `STEP_BACK` no one can say whether another file begins
    or the time was damaged; but of joined files we know. Where parts were moved, so were times.
    """
    only_joined = set(damaged.kinds) == {"join"}
    is_moved = bool({"join", "splice", "duplicate", "swap"} & set(damaged.kinds))
    for place, frame in enumerate(seen):
        start, stop = frame.start_seconds, frame.stop_seconds
        if not (math.isfinite(start) and math.isfinite(stop)):
            return [("times", f"frame {place}: {start} to {stop}")]
        if stop < start:
            return [("times", f"frame {place} stops at {stop}, before its start at {start}")]
        before = seen[place - 1] if place else frame
        back = before.start_seconds - start
        goes_on = before.number is not None and frame.number == before.number + 1
        if back > 0 and goes_on and (only_joined or (back < STEP_BACK and not is_moved)):
            story = f"frame {place} starts at {start}, the one before it at {before.start_seconds}"
            return [("times", story)]
    return []


def check_cut(damaged: Damaged, seen: Sequence[Seen], error: Exception | None) -> Findings:
    """Headers of these promise a length; a file of which only that is true is broken."""
    promising = {"mp4", "mov", "avi", "avi, real", "mkv", "webm"}
    if damaged.kinds == ["cut"] and damaged.base.container in promising and not error:
        total = len(damaged.base.small)
        if len(seen) < 0.5 * total:
            return [("cut_not_told", f"{len(seen)} of {total} frames")]
    return []


def check_between(
    path: Path, seen: Sequence[Seen], error: Exception | None, rng: Random
) -> Findings:
    """Frames within the times that were asked for; where the file is sound, those of the walk."""
    times = [frame.start_seconds for frame in seen]
    start = rng.choice(times) if times else rng.uniform(-1, 3)
    stop = start + rng.choice((0.2, 0.5, 1.0, math.inf))
    found: list[float] = []
    failure: Exception | None = None
    try:
        for frame in VideoReader(path).between(start, stop):
            found.append(frame.start_seconds)
            if not start <= frame.start_seconds < stop:
                return [("between", f"{start} to {stop} gives {frame.start_seconds}")]
            if frame.stop_seconds < frame.start_seconds:
                return [("between", f"stops at {frame.stop_seconds}, before {frame.start_seconds}")]
    except Exception as one:
        failure = one
    if failure is not None and not isinstance(failure, VideoError):
        return [("between", f"{type(failure).__name__}: {failure}")]
    rising = all(a < b for a, b in itertools.pairwise(times))
    if error is None and rising:
        expected = [time for time in times if start <= time < stop]
        if failure or found != expected:
            return [("between", f"{start} to {stop} gives {len(found)} frames and {failure!r}, "
                     f"the walk {len(expected)}")]  # fmt: skip
    return []


def check_extract(path: Path, num_seen: int, error: Exception | None, folder: Path) -> Findings:
    """The command itself, with a small network: rows or one reason, and the exit code that fits."""
    from kinema.cli.app import main
    from kinema.features.table import FeatureTable

    out = folder / "out"
    arguments = ["extract", path, "--out", out, "--weights", folder / "tiny.safetensors"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([*map(str, arguments), "--engine", "native", "--threads", "1"])
    skipped = out / "skipped.jsonl"
    lines = skipped.read_text(encoding="utf-8").splitlines() if skipped.exists() else []
    tables = list(out.glob("*.safetensors"))
    story = (
        f"code {code}, {len(tables)} tables, {lines}, the walk gave {num_seen} frames, {error!r}"
    )
    if (code, len(tables), len(lines)) not in ((0, 1, 0), (1, 0, 1)):
        return [("extract", f"{story}: {said.getvalue()[-300:]}")]
    if lines and (json.loads(lines[0])["path"] != str(path) or "unexpected" in lines[0]):
        return [("extract", story)]
    if (error is None) != bool(tables):
        return [("extract", story)]
    if tables:
        table = FeatureTable.load(tables[0])
        if not len(table) or table.stop_frame.max() > num_seen:
            return [("extract", f"rows up to frame {table.stop_frame.max()}: {story}")]
    return []


def write_tiny_weights(path: Path) -> None:
    """Seconds matter here, not features: small clips of 32 x 32 pixels."""
    from kinema.network import c3d_mini
    from kinema.weights.file import random_weights

    random_weights(c3d_mini(2, input_shape=(3, 16, 32, 32)), name="tiny").save(path)


def try_file(
    damaged: Damaged, number: int, folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Read one damaged file in all ways; what came of it, as JSON values."""
    base = damaged.base
    path = folder / f"{number}.{base.ending}"
    path.write_bytes(damaged.data)
    began = time.process_time()
    with _Peak() as peak:
        tell("walk")
        walked = walk(path, damaged.held)
    seen, error = walked.seen, walked.error
    seconds = time.process_time() - began
    tell("FFmpeg alone")
    reported, log = reports(path)
    wrong = flaws(seen, damaged, ended=error is None)
    findings = [("information", fact) for fact in walked.odd]
    findings += check_reason(error, len(seen)) if error else []
    findings += check_past_damage(seen, wrong, reported)
    findings += check_times(seen, damaged) + check_cut(damaged, seen, error)
    if peak.mebibytes > PEAK + COPIES * 3 * walked.num_pixels / 2**20:
        story = f"{peak.mebibytes:.0f} MiB for frames of {walked.num_pixels} pixels"
        findings.append(("growth", story))
    rng = random.Random(number)
    if number // 7 % 4 == 0:
        tell("between")
        findings += check_between(path, seen, error, rng)
        tell("second walk")
        again = walk(path, damaged.held)
        if (walked.checksum, str(error)) != (again.checksum, str(again.error)):
            story = f"{len(seen)} frames, {error}; then {len(again.seen)} frames, {again.error}"
            findings.append(("unsteady", story))
    if number // 7 % 16 == 1 and len(seen) < 1000:
        tell("extract")
        with tempfile.TemporaryDirectory(dir=folder) as inner:
            os.link(folder / "tiny.safetensors", Path(inner) / "tiny.safetensors")
            findings += check_extract(path, len(seen), error, Path(inner))
    path.unlink()
    return {
        "number": number,
        "base": base.name,
        "container": base.container,
        "steps": damaged.steps,
        "reason": str(error) if error else None,
        "num_frames": len(seen),
        "flaws": dict(Counter(wrong.values())),
        "first_flaw": min(wrong, default=None),
        "reports": reported[:5],
        "log": log[:3],
        "findings": findings,
        "seconds": round(seconds, 3),
        "peak_mib": round(peak.mebibytes, 1),
    }


def _memory(name: str) -> float:
    """MiB, from Linux's books on this process: VmRSS, VmHWM, VmSize."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def _kept() -> float:
    """MiB that are in use: what was freed is given back before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _memory("VmRSS")


class _Peak:
    """The most memory that was held within the block, beyond what was held at its start."""

    mebibytes = 0.0

    def __enter__(self) -> _Peak:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        self._before = _memory("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.mebibytes = max(0.0, _memory("VmHWM") - self._before)


# --- children -------------------------------------------------------------------------------------


def _prepare(folder: Path) -> None:
    """Makes the bases in a process of its own: encoders leave threads and memory behind."""
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        bases = make_bases(Path(inner))
    write_tiny_weights(folder / "tiny.safetensors")
    (folder / "bases.pickle").write_bytes(pickle.dumps(bases))


Attempt = Callable[[Damaged, int, Path, Callable[[str], None]], dict[str, Any]]


def _child(
    folder: Path, seed: int, numbers: Sequence[int], attempt: Attempt, connection: Any
) -> None:
    """Reads files one after the other, and says before each step what it is about to do."""
    log = os.open(folder / f"{numbers[0]}.stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    faulthandler.enable(log)
    faulthandler.register(signal.SIGUSR1, log)
    cv2.setNumThreads(1)
    limit = int(_memory("VmSize") * 2**20) + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bases = pickle.loads((folder / "bases.pickle").read_bytes())
    warm = None
    for count, number in enumerate(numbers):
        damaged = damaged_file(bases, seed, number)
        connection.send((number, "", None))
        record = attempt(damaged, number, folder, lambda step: connection.send((None, step, None)))
        if count == 9:
            warm = _kept()
        if warm is not None and number == numbers[-1]:
            grown = _kept() - warm
            record["kept_mib"] = round(grown, 1)
            if grown > LEAK:
                record["findings"].append(
                    ("growth", f"{grown:.0f} MiB kept after files {numbers[10]} to {number}")
                )
        connection.send((number, "", record))


class Runner:
    """Files to records, `jobs` at a time.

    Children are forked from a server that has imported all that they need and started no thread.
    """

    def __init__(self, folder: Path, seed: int = 0, jobs: int = 2) -> None:
        self.folder = folder
        self._seed = seed
        self._jobs = jobs
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["kinema.cli.app", "kinema.features.extraction", "fuzz_videos"]
        )
        making = self._context.Process(target=_prepare, args=(folder,))
        making.start()
        making.join()
        if making.exitcode:
            raise RuntimeError("The sound videos could not be made.")
        self.bases: list[Base] = pickle.loads((folder / "bases.pickle").read_bytes())

    def run(
        self,
        numbers: Sequence[int],
        done: Callable[[dict[str, Any]], None] = lambda record: None,
        *,
        attempt: Attempt = try_file,
        seconds: float = SECONDS,
    ) -> list[dict[str, Any]]:
        """The records of these files, in order; `done` is called with each as it comes."""
        records: list[dict[str, Any]] = []
        lock = threading.Lock()

        def keep(record: dict[str, Any]) -> None:
            with lock:
                records.append(record)
                done(record)

        chunks = [numbers[i : i + CHUNK] for i in range(0, len(numbers), CHUNK)]
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = [pool.submit(self._drive, chunk, keep, attempt, seconds) for chunk in chunks]
            for future in futures:
                future.result()
        return sorted(records, key=lambda record: record["number"])

    def _drive(
        self,
        numbers: Sequence[int],
        done: Callable[[dict[str, Any]], None],
        attempt: Attempt,
        seconds: float,
    ) -> None:
        """One child for all these files; a new one for the rest of them where it dies."""
        left = list(numbers)
        while left:
            ours, theirs = self._context.Pipe(duplex=False)
            log = self.folder / f"{left[0]}.stderr"
            child = self._context.Process(
                target=_child, args=(self.folder, self._seed, left, attempt, theirs)
            )
            child.start()
            theirs.close()
            step, kind = "", ""
            while left and not kind:
                if not ours.poll(seconds):
                    kind = "hang"
                    os.kill(child.pid, signal.SIGUSR1)  # it writes where it is
                    time.sleep(0.5)
                    child.kill()
                    break
                try:
                    number, step, record = ours.recv()
                except EOFError:
                    child.join()
                    kind = "crash" if child.exitcode < 0 else "own fault"
                    break
                if record:
                    left.remove(number)
                    done(record)
            child.join()
            if kind:
                how = f"during {step or 'the beginning'}, exit code {child.exitcode}"
                trace = log.read_text(errors="replace")[-1500:] if log.exists() else ""
                done(self._lost(left.pop(0), kind, f"{how}\n{trace}"))
            log.unlink(missing_ok=True)

    def _lost(self, number: int, kind: str, about: str) -> dict[str, Any]:
        damaged = damaged_file(self.bases, self._seed, number)
        return {
            "number": number,
            "base": damaged.base.name,
            "container": damaged.base.container,
            "steps": damaged.steps,
            "reason": None,
            "num_frames": 0,
            "flaws": {},
            "findings": [(kind, about)],
        }


# --- the table ------------------------------------------------------------------------------------

LOST = ("crash", "hang", "own fault")
COLUMNS = {
    "files": lambda record: True,
    "whole": lambda record: _is_read(record) and not record["flaws"],
    "refused": lambda record: bool(record["reason"]) and not record["num_frames"],
    "broken, told": lambda record: bool(record["reason"]) and record["num_frames"] > 0,
    "damage untold": lambda record: _is_read(record) and bool(record["flaws"]),
    **{
        name: lambda record, name=name: _is_read(record) and name in record["flaws"]
        for name in FLAWS
    },
    "only in the log": lambda record: (
        _is_read(record) and bool(record["flaws"]) and bool(record["log"])
    ),
    "harm before the reason": lambda record: (
        bool(record["reason"]) and any(name != "late" for name in record["flaws"])
    ),
    **{
        kind: lambda record, kind=kind: any(kind == found[0] for found in record["findings"])
        for kind in ("crash", "hang", "growth")
    },
    "other findings": lambda record: any(
        found[0] not in ("crash", "hang", "growth") for found in record["findings"]
    ),
}


def _is_read(record: dict[str, Any]) -> bool:
    """Read to its end without a word."""
    return record["reason"] is None and not any(f[0] in LOST for f in record["findings"])


def table(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How many files of each container are of each kind; the last row is of all."""
    records = list(records)
    rows: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        rows.setdefault(record["container"], []).append(record)
    order = [container for container, _, _ in SPECS.values()]
    rows = dict(sorted(rows.items(), key=lambda row: (*order, row[0]).index(row[0])))
    rows["all"] = records
    return {
        name: {column: sum(map(holds, row)) for column, holds in COLUMNS.items()}
        for name, row in rows.items()
    }


def as_markdown(rows: dict[str, dict[str, int]]) -> str:
    lines = [f"| container | {' | '.join(COLUMNS)} |", "| --- |" + " --: |" * len(COLUMNS)]
    lines += [f"| {name} | {' | '.join(map(str, row.values()))} |" for name, row in rows.items()]
    return "\n".join(lines)


# --- the command ----------------------------------------------------------------------------------


def told(record: dict[str, Any], seed: int) -> str:
    """The findings of a file and how to see it again."""
    lines = [f"{kind}: {about}" for kind, about in record["findings"]]
    story = f"{record['base']}, {'; '.join(record['steps'])}"
    again = f"python tests/fuzz_videos.py --seed {seed} --reproduce {record['number']}"
    return "\n  ".join([f"{story}\n  {again}", *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="files to try")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other files")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--json", type=Path, help="table and findings; beside it .jsonl")
    parser.add_argument("--reproduce", type=int, metavar="NUMBER", help="one file, kept")
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for that file")
    options = parser.parse_args()
    if options.reproduce is not None:
        return reproduce(options.reproduce, options.seed, options.keep)

    made_by = {"seed": options.seed, "code": _code()}
    kept = options.json and options.json.with_suffix(".jsonl")  # a line for each file so far
    records = {}
    if kept and kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last line may be cut off
                record = json.loads(line)
                is_ours = made_by.items() <= record.items()
                if is_ours and record["number"] < options.count:
                    records[record["number"]] = record
    began, before, shown = time.monotonic(), len(records), 0.0

    def done(record: dict[str, Any]) -> None:
        nonlocal shown
        records[record["number"]] = record
        if kept:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**made_by, **record}) + "\n")
        if record["findings"]:
            print(told(record, options.seed), flush=True)
        seconds = time.monotonic() - began
        if seconds < shown + 1 and len(records) < options.count:
            return
        shown = seconds
        rate = (len(records) - before) / seconds
        findings = sum(bool(one["findings"]) for one in records.values())
        line = f"\r{len(records)} of {options.count} files, {findings} with findings, {rate:.1f}/s "
        print(line, end="", file=sys.stderr, flush=True)

    missing = [number for number in range(options.count) if number not in records]
    with tempfile.TemporaryDirectory() as folder:
        Runner(Path(folder), options.seed, options.jobs).run(missing, done)
    rows = table(records.values())
    print(f"\n{as_markdown(rows)}")
    findings = [records[n] for n in sorted(records) if records[n]["findings"]]
    print(f"\n{len(findings)} files with findings: "
          f"{dict(Counter(kind for one in findings for kind, _ in one['findings']))}")  # fmt: skip
    if options.json:
        content = {
            "seed": options.seed,
            "count": len(records),
            "ffmpeg": str(av.ffmpeg_version_info),
            "pyav": av.__version__,
            "table": rows,
            "findings": findings,
        }
        with atomic_path(options.json) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if findings else 0


def _code() -> str:
    """A checksum of all that decides over the records."""
    files = [Path(__file__), *sorted(Path(kinema.__file__).parent.glob("**/*.py"))]
    checksum = hashlib.blake2b(digest_size=8)
    for file in files:
        checksum.update(file.read_bytes())
    return f"{checksum.hexdigest()} {av.ffmpeg_version_info}"


def reproduce(number: int, seed: int, keep: Path) -> int:
    """Write the file of this number and print what comes of it."""
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder), seed, 1)
        damaged = damaged_file(runner.bases, seed, number)
        path = keep / f"{number}_{damaged.base.name}.{damaged.base.ending}"
        path.write_bytes(damaged.data)
        print(path)
        (record,) = runner.run([number])
    print(json.dumps(record, indent=1))
    for kind, about in record["findings"]:
        print(f"{kind}: {about}")
    return 1 if record["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
