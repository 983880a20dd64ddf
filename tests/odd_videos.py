"""Small real videos whose frame index can be read from the pixels, and files that are no good.

Each image is a 4 x 4 grid of cells with a block in the middle of each, over a moving texture:

    +----+----+----+----+
    | M  | c2 | c1 | c0 |   M: the marker, orange, of middle brightness
    | b11| b10| b9 | b8 |   b: the index, 12 bits, white = 1, black = 0
    | b7 | b6 | b5 | b4 |   c: three check bits, index % 7 + 1
    | b3 | b2 | b1 | b0 |
    +----+----+----+----+

so an image that is turned, mirrored, in the wrong channel order or broken is not read as a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

MARKER = (250, 100, 0)  # RGB; its brightness, 133, is far from black and from white
BLACK, WHITE = 16, 236


def _cells(width: int, height: int, inset: float):
    """The 16 blocks in reading order as slices; `inset` is the part of a cell left free per side."""
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
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = 2 * np.pi * index / 32
    image = np.stack(
        [
            128 + 60 * np.sin(2 * np.pi * (2 * x / width + y / height) - phase),
            128 + 60 * np.sin(2 * np.pi * (x / width - 2 * y / height) - phase),
            128 + 60 * np.cos(2 * np.pi * (x / width + y / height) + phase),
        ],
        axis=-1,
    ).astype(np.uint8)
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
    red, green, blue = means[0]
    levels = [float(mean @ (0.299, 0.587, 0.114)) for mean in means]
    coloured = float(np.ptp(image.astype(np.int16), axis=2).max()) > 40
    if not 95 < levels[0] < 170 or (coloured and red - blue < 90):
        raise ValueError(f"no marker at the top left: RGB {red:.0f}, {green:.0f}, {blue:.0f}")
    if any(75 < level < 180 for level in levels[1:]):
        raise ValueError(f"neither black nor white: {[round(level) for level in levels[1:]]}")
    bits = "".join("1" if level > 128 else "0" for level in levels[1:])
    index = int(bits[3:], 2)
    if bits != _bits(index):
        raise ValueError(f"the check bits are wrong: {bits}")
    return index


def available(codec: str) -> bool:
    """Whether this build of PyAV can encode with this codec."""
    try:
        return av.codec.Codec(codec, "w").type == "video"
    except av.codec.codec.UnknownCodecError:
        return False


# What keeps an encoder quick and silent; every stream has a key frame each 12 frames.
_ENCODER_OPTIONS = {
    "libx264": {"preset": "veryfast", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "threads": "1"},
    "libsvtav1": {"preset": "12", "crf": "35", "svtav1-params": "lp=1"},
    "mpeg4": {"qscale": "4", "flags": "+qscale", "global_quality": str(4 * 118)},
    "mjpeg": {"flags": "+qscale", "global_quality": str(3 * 118)},
}


def write_video(
    path: Path,
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
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
    first_index: int = 0,
    colour: dict[str, int] | None = None,
) -> None:
    """Write frames `first_index` ... to `path`; the container follows from its ending or `format`.

    `width`, `height`: of the upright image. `rotation`: 0, 90, 180 or 270 degrees clockwise by which
    a player has to turn the stored image; it is stored turned the other way. `timestamps`: seconds,
    one per frame, in place of `fps`. `audio_start`: seconds from the video's zero to the first sound.
    `colour`: attributes of the codec context, such as {"color_range": 2, "colorspace": 1}.
    """
    turned = rotation in (90, 270)
    with av.open(f"file:{path}", "w", format=format or _muxer(path),
                 container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height = (height, width) if turned else (width, height)
        stream.pix_fmt = pix_fmt
        stream.gop_size = 12
        stream.thread_count = 1
        stream.options = {**_ENCODER_OPTIONS.get(codec, {}), **(options or {})}
        if timestamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(-rotation)
        sound = container.add_stream("aac", rate=16000, layout="mono") if audio else None
        for i in range(num_frames):
            image = draw_frame(first_index + i, width, height)
            image = np.ascontiguousarray(np.rot90(image, rotation // 90))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = Fraction(1, 1000) if timestamps is not None else 1 / Fraction(fps)
            frame.pts = i if timestamps is None else round(timestamps[i] * 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _muxer(path):
    return None
