"""A decoded frame to RGB that stands upright.

Note [Upright]
    A display matrix says how a picture is turned and mirrored. Eight of them move whole pixels:
    four quarter turns, each as it is or mirrored. They are carried out as players do, whatever
    their scale: the angle is that of the matrix's first row to the nearest degree (FFmpeg's
    `av_display_rotation_get`). One of any other angle (45 degrees, sheared) or that is no rotation
    at all (zeros) changes nothing: players turn such pictures within black corners, or not at all.
    One within the stream of pictures (H.264) holds until the next.

Note [Colours]
    "file": YUV becomes RGB by the matrix and the range that the file names, as players do it,
    with no conversion of primaries and transfer curves (BT.2020, P3, PQ, HLG stay as they are).

    "original": C3D v1.0 read videos with OpenCV 2.4, which told FFmpeg's converter nothing of what
    a file names, so that it took BT.601 for all of them, and full range for the pixel formats that
    mean it (yuvj420p and its like) and for no other.

    Both: bicubic conversion to BGR (to RGB, 10-bit sources come out otherwise).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from kinema.skipped import VideoError

COLOURS = ("file", "original")
"""How YUV becomes RGB: by the matrix that the file names, or by the one that the original used."""

BT601 = {2, 5, 6}
"""Colour spaces of H.273 that FFmpeg converts by BT.601: not named, BT.470 BG, SMPTE 170 M."""


def check_colours(colours: str) -> None:
    """Refuse what is not one of `COLOURS`."""
    if colours not in COLOURS:
        raise ValueError(f"`colours` must be one of {', '.join(COLOURS)}; got {colours!r}.")


@dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes upright.

    Attributes:
        quarter_turns: counter-clockwise, 0 to 3.
        mirrored: whether left and right are swapped after that.
    """

    quarter_turns: int = 0
    mirrored: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation | None:
        """What a frame's display matrix asks for; None if it has none. See Note [Upright]."""
        for data in _side_data(frame):
            if data.type == SideDataType.DISPLAYMATRIX:
                return cls._of_matrix(np.frombuffer(bytes(data), np.int32))
        return None

    @classmethod
    def _of_matrix(cls, matrix: np.ndarray) -> Orientation:
        a, b, _, c, d = matrix[:5].astype(float)
        first, second = math.hypot(a, c), math.hypot(b, d)
        if not first or not second:
            return cls()
        degrees = round(math.degrees(math.atan2(b / second, a / first)))
        if degrees % 90:
            return cls()
        # x' = a x + c y and y' = b x + d y with y downwards: a turn clockwise has b > 0. To swap
        # left and right is to change the signs of a and c.
        clockwise = degrees
        mirrored = bool(a * d < b * c)
        if mirrored:
            clockwise = 180 - degrees
        return cls(-clockwise // 90 % 4, mirrored)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The stored image (H, W, 3), upright."""
        image = np.rot90(image, self.quarter_turns)
        return image[:, ::-1] if self.mirrored else image


def _side_data(frame: av.VideoFrame) -> Iterator[SideData]:
    # Its iterator gives what it holds; PyAV's stubs take it for that of a mapping, its keys.
    return cast(Iterator[SideData], iter(frame.side_data))


class Converter:
    """Frames to upright (H, W, 3) uint8 RGB; one for all frames, setting it up takes longest."""

    def __init__(self, colours: str) -> None:
        check_colours(colours)
        self._is_original = colours == "original"
        self._reformatter = VideoReformatter()
        self._orientation = Orientation()
        self._turned: tuple[int, int, int] | None = None

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame's image. See Note [Colours]."""
        named = self._not_named(frame) if self._is_original else {}
        try:
            bgr = self._reformatter.reformat(
                frame, format="bgr24", interpolation="BICUBIC", threads=1, **named
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"its colours (matrix {int(frame.colorspace)} of H.273) cannot be converted "
                f'({error}); `colours` "original" takes all for BT.601.'
            ) from None
        # PyAV's list of side data keeps its frame alive until the next garbage collection, so it is
        # asked for only where something has changed.
        turned = (frame.width, frame.height, frame.rotation)
        if turned != self._turned:
            self._orientation = Orientation.of(frame) or self._orientation
            self._turned = turned
        upright = self._orientation.apply(bgr.to_ndarray())
        return cv2.cvtColor(np.ascontiguousarray(upright), cv2.COLOR_BGR2RGB)

    @staticmethod
    def _not_named(frame: av.VideoFrame) -> dict[str, int]:
        """What is to be taken for the colours of a frame, whatever it names."""
        named: dict[str, int] = {}
        components = frame.format.components
        if len(components) < 3 or not components[0].is_luma:  # grey, a palette, RGB
            return named
        if frame.colorspace not in BT601:
            named["src_colorspace"] = Colorspace.ITU601
        if frame.color_range == ColorRange.JPEG and not frame.format.name.startswith("yuvj"):
            named["src_color_range"] = ColorRange.MPEG
        return named
