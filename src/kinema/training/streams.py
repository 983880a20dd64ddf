"""What prepared clips keep of each frame: a picture, or a network's maps.

Note [The format of prepared clips]
    A store is an SQLite database whose frames are JPEG pictures, one row each. Both are as well
    kept as formats get, and any tool opens them:

        sqlite3 ucf101.clips 'select name, labels from videos'

    Training draws 16 frames in a row out of anywhere, so what matters is how dear that is. Videos
    in H.264 are a quarter as large, but 16 frames of them take four times as long to decode; raw
    frames take no time, but are five times as large (benchmarks/prepare.json); a file for each
    frame makes billions of files. SQLite's transactions let a killed preparation go on where it
    stood. The pictures are of quality 95 without chroma subsampling, because C3D's accuracy on
    UCF101 was seen to suffer from JPEG's losses (facebookarchive/C3D, issue 118).

    about       key, value (JSON): settings, classes, splits, streams {"rgb": {"channels": 3}, ...}
    videos      id, name, labels (JSON), grouping, fingerprint, reason (why it could not be read)
    segments    id, video, start_seconds, num_frames, first_picture
    pictures    id, jpeg: of the stream rgb
    pictures_X  id, jpeg: of a stream X of pictures, as flow
    maps_X      id, zlib: of a stream X of maps, as imagenet

    Streams are other views of the same frames: picture n of each shows the same moment, and those
    of pictures are of the same size. A picture of three channels is in colour; of any other number
    its channels stand one above the other, grey. Channels of flow are the horizontal and the
    vertical displacement, 128 for none, 127 steps for 20 pixels of a frame of 256 lines.

    Maps, {"channels": 1280, "size": [7, 7], "kind": "maps"}, have a size of their own, and are
    bytes (channels, height, width), compressed by zlib: 255 stands for 6, where ReLU6 cuts off.

    Version 1 had the stream rgb alone and did not name it; version 2 has no maps. What has none is
    written as version 2 yet.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from kinema.training.pictures import decode

FIRST_FORMAT, FORMAT, MAPS_FORMAT = "kinema-clips-1", "kinema-clips-2", "kinema-clips-3"

RGB: Mapping[str, Mapping[str, int]] = MappingProxyType({"rgb": {"channels": 3}})
"""The streams of videos as they are."""

MOST_OF_MAPS = 6.0
"""The value that a byte of 255 stands for: where ReLU6 cuts off."""

_ZLIB_LEVEL = 6


@dataclass(frozen=True)
class Stream:
    """A stream of a store.

    Attributes:
        name: of it.
        channels: of each frame.
        size: (height, width) of each frame.
        is_maps: whether it holds a network's maps, not pictures.
    """

    name: str
    channels: int
    size: tuple[int, int]
    is_maps: bool = False

    @classmethod
    def of(cls, name: str, about: Mapping[str, Any], size: tuple[int, int]) -> Self:
        """As a store describes it whose pictures are of a size."""
        if about.get("kind") != "maps":
            return cls(name, about["channels"], size)
        return cls(name, about["channels"], (about["size"][0], about["size"][1]), True)

    @property
    def table(self) -> str:
        """The table of its frames."""
        if self.is_maps:
            return f"maps_{self.name}"
        return "pictures" if self.name == "rgb" else f"pictures_{self.name}"

    @property
    def column(self) -> str:
        """Of the table, what is kept of a frame."""
        return "zlib" if self.is_maps else "jpeg"

    def decode(self, kept: bytes, frame: np.ndarray) -> bool:
        """Fill a frame (H, W, C) uint8 from what is kept of it; False if that is damaged."""
        return decode_maps(kept, frame) if self.is_maps else decode(kept, frame)


def format_of(streams: Iterable[Mapping[str, Any]]) -> str:
    """The format of a store with such streams."""
    return MAPS_FORMAT if any(one.get("kind") == "maps" for one in streams) else FORMAT


def encode_maps(maps: np.ndarray) -> bytes:
    """Maps (C, H, W) float32, 0 ... 6, as Note [The format of prepared clips] has them."""
    values = np.rint(maps * np.float32(255 / MOST_OF_MAPS))
    return zlib.compress(np.clip(values, 0, 255).astype(np.uint8).tobytes(), _ZLIB_LEVEL)


def decode_maps(kept: bytes, frame: np.ndarray) -> bool:
    """Fill (H, W, C) uint8 from maps as they are kept; False if these are none of this size."""
    try:
        content = zlib.decompress(kept)
    except zlib.error:
        return False
    if len(content) != frame.size:
        return False
    height, width, channels = frame.shape
    planes = np.frombuffer(content, np.uint8).reshape(channels, height, width)
    frame[:] = planes.transpose(1, 2, 0)
    return True
