"""The clips of one video as bytes, by which processes that share a preparation hand them on.

A safetensors file, equal bytes for equal clips:

    start_seconds  (n,) float64    when each segment starts in the video
    num_frames     (n,) int64      frames of each
    X.sizes        (f,) int64      bytes of each of all f frames, of the stream X
    X.frames       (b,) uint8      those bytes, one frame after another, as a store keeps them

and the metadata `kinema`: `format`, and `streams`, their names.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence

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
        frames = [[*kept[stream]] for _, kept in segments]
        tensors["num_frames"] = np.array([len(each) for each in frames], np.int64)
        together = [*itertools.chain.from_iterable(frames)]
        tensors[f"{stream}.sizes"] = np.array([len(each) for each in together], np.int64)
        tensors[f"{stream}.frames"] = np.frombuffer(b"".join(together), np.uint8)
    about = {"format": FORMAT, "streams": streams}
    return save(tensors, metadata={"kinema": json.dumps(about, sort_keys=True)})


def from_bytes(data: bytes) -> list[tuple[float, dict[str, list[bytes]]]]:
    """What `to_bytes` was given."""
    tensors = load(data)
    about = _about(data)
    segments: list[tuple[float, dict[str, list[bytes]]]] = [
        (float(start), {}) for start in tensors["start_seconds"]
    ]
    for stream in about["streams"]:
        content = tensors[f"{stream}.frames"].tobytes()
        stops = np.cumsum(tensors[f"{stream}.sizes"])
        starts = stops - tensors[f"{stream}.sizes"]
        frames = iter([content[start:stop] for start, stop in zip(starts, stops, strict=True)])
        for (_, kept), count in zip(segments, tensors["num_frames"], strict=True):
            kept[stream] = [*itertools.islice(frames, int(count))]
    return segments


def _about(data: bytes) -> Mapping[str, list[str]]:
    """The metadata, which stands in the JSON at the beginning."""
    length = int.from_bytes(data[:8], "little")
    about: Mapping[str, list[str]] = json.loads(
        json.loads(data[8 : 8 + length])["__metadata__"]["kinema"]
    )
    return about
