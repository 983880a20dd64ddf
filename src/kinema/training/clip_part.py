"""The clips of one video as bytes, by which processes that share a preparation hand them on.

A safetensors file, equal bytes for equal clips:

    start_seconds  (n,) float64    when each segment starts in the video
    num_frames     (n,) int64      frames of each
    X.sizes        (f,) int64      bytes of each of all f frames, of the stream X
    X.frames       (b,) uint8      those bytes, one frame after another, as a store keeps them

and the metadata `kinema`: `format`, and `streams`, their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from safetensors.numpy import load, save

FORMAT = "kinema-clip-part-1"

ENDING = ".clips.safetensors"
"""Of the files' names."""


def to_bytes(segments: Sequence[tuple[float, Mapping[str, Iterable[bytes]]]]) -> bytes:
    """Of each segment when it starts, in seconds, and its frames by stream, as a store has them."""
    streams = [*segments[0][1]]
    tensors = {"start_seconds": np.array([start for start, _ in segments], np.float64)}
    for stream in streams:
        content = bytearray()  # of an hour of video a gigabyte, so that no list of frames is made
        sizes: list[int] = []
        counts: list[int] = []
        for _, kept in segments:
            before = len(sizes)
            for frame in kept[stream]:
                content += frame
                sizes.append(len(frame))
            counts.append(len(sizes) - before)
        tensors["num_frames"] = np.array(counts, np.int64)
        tensors[f"{stream}.sizes"] = np.array(sizes, np.int64)
        tensors[f"{stream}.frames"] = np.frombuffer(content, np.uint8)
    about = {"format": FORMAT, "streams": streams}
    return save(tensors, metadata={"kinema": json.dumps(about, sort_keys=True)})


def from_bytes(data: bytes) -> list[tuple[float, dict[str, Iterator[bytes]]]]:
    """What `to_bytes` was given; the frames of each segment can be gone through once."""
    tensors = load(data)
    stops = np.cumsum(tensors["num_frames"])
    segments: list[tuple[float, dict[str, Iterator[bytes]]]] = [
        (float(start), {}) for start in tensors["start_seconds"]
    ]
    for stream in _about(data)["streams"]:
        content, sizes = tensors[f"{stream}.frames"], tensors[f"{stream}.sizes"]
        ends = np.cumsum(sizes)
        for (_, kept), stop, count in zip(segments, stops, tensors["num_frames"], strict=True):
            frames = slice(stop - count, stop)
            kept[stream] = _frames(content, ends[frames] - sizes[frames], ends[frames])
    return segments


def _frames(content: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Iterator[bytes]:
    for start, end in zip(starts, ends, strict=True):
        yield content[start:end].tobytes()


def _about(data: bytes) -> Mapping[str, list[str]]:
    """The metadata, which stands in the JSON at the beginning."""
    length = int.from_bytes(data[:8], "little")
    about: Mapping[str, list[str]] = json.loads(
        json.loads(data[8 : 8 + length])["__metadata__"]["kinema"]
    )
    return about
