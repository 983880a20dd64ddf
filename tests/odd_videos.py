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
    "libsvtav1": {"preset": "10", "crf": "25", "svtav1-params": "lp=1:enable-tf=0"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(4 * 118)},
    "mjpeg": {"flags": "+qscale", "global_quality": str(3 * 118)},
}
_SOUND_CODECS = {".webm": "libopus", ".avi": "pcm_s16le", ".mpg": "mp2"}


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
    first_index: int = 0,
    colour: Mapping[str, int] | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> None:
    """Write the frames `first_index` ... with a key frame each 12; the ending gives the container.

    `width`, `height`: of the upright image. `rotation`: 0, 90, 180 or 270 degrees by which a player
    has to turn the stored image clockwise. `timestamps`: seconds, one per frame, in place of `fps`;
    kept to a millisecond, in AVI to 1 / fps. `audio`: a tone as long as the video that begins at
    `audio_start` seconds. `colour`: of the codec context, such as {"colorspace": 1}.
    """
    path = Path(path)
    tick = 1 / Fraction(fps)
    if timestamps is not None and path.suffix != ".avi":
        tick = Fraction(1, 1000)
    with av.open(f"file:{path}", "w", container_options=dict(container_options or {})) as container:
        stream = container.add_stream(
            codec, rate=Fraction(fps), options={**_ENCODER_OPTIONS.get(codec, {}), **(options or {})}
        )
        stream.width, stream.height = (height, width) if rotation % 180 else (width, height)
        stream.pix_fmt = pix_fmt
        stream.gop_size = 12
        stream.thread_count = 1
        stream.codec_context.time_base = tick
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(-rotation)
        if audio:
            sound = container.add_stream(_SOUND_CODECS.get(path.suffix, "aac"), rate=48000)
            sound.layout = "mono"
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


def _frame(image: np.ndarray, pix_fmt: str) -> av.VideoFrame:
    """The image as a frame; with a see-through right half where `pix_fmt` has an alpha plane."""
    if not any(component.is_alpha for component in av.VideoFormat(pix_fmt).components):
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[:, image.shape[1] // 2 :] = 60
    return av.VideoFrame.from_ndarray(np.concatenate([image, alpha], axis=2), format="rgba")
