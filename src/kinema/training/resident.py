"""`ResidentBatches`: all prepared frames in a GPU's memory, clips cut out of them there.

A GPU learns from thousands of clips a second, which no processor decodes. An hour of video of 128 x
171 pixels at 25 frames/s takes 6 GB.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.threads import mapped
from kinema.training.batches import Batches
from kinema.training.clip_store import ClipStore, Segment, StoredVideo
from kinema.training.material import Material
from kinema.training.processes import Processes
from kinema.training.sampling import Draw, frame_times
from kinema.training.streams import MOST_OF_MAPS

SHARE = 0.5
"""Of the free memory: more of it is left to the network."""


def batches_on(processes: Processes, material: Material, stream: str = "rgb") -> type[Batches]:
    """`ResidentBatches` where the frames to learn from fit into a GPU's memory; else `Batches`."""
    if processes.kind != "cuda":
        return Batches
    free, _ = torch.cuda.mem_get_info(processes.device)
    fits = num_bytes(material.store, material.train, stream) <= SHARE * free
    return ResidentBatches if fits else Batches


def num_bytes(store: ClipStore, videos: Sequence[StoredVideo], stream: str = "rgb") -> int:
    """Of the frames of some videos, as a stream has them."""
    frames = sum(segment.num_frames for video in videos for segment in video.segments)
    height, width = store.size_of(stream)
    return frames * height * width * store.streams[stream]


class ResidentBatches(Batches):
    """The same batches as `Batches` makes, of frames that are held on the device.

    Their clips are tensors there, (N, C, T, H, W) float32 in the memory format channels_last_3d;
    their values are those of `Batches`.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        device = self._processes.device
        segments = [segment for video in self._sampler.videos for segment in video.segments]
        counts = [segment.num_frames for segment in segments]
        begins = np.cumsum([0, *counts])
        self._begin = dict(zip(segments, begins[:-1].tolist(), strict=True))
        self._size, channels = self._store.size_of(self._stream), self._store.streams[self._stream]
        size = (int(begins[-1]), *self._size, channels)
        self._frames = torch.empty(size, dtype=torch.uint8, device=device)
        frames_of = functools.partial(self._store.frames, stream=self._stream)
        read = mapped(frames_of, segments, threads=self._threads)
        for segment, frames in zip(segments, read, strict=True):
            begin = self._begin[segment]
            ordered = frames[..., ::-1] if self._stream == "rgb" else frames  # B, G, R
            found = torch.from_numpy(np.ascontiguousarray(ordered))
            self._frames[begin : begin + len(frames)] = found.to(device)
        mean = torch.from_numpy(np.asarray(self._mean, np.float32)).to(device)
        self._volume = mean.reshape(channels, *(mean.shape[1:] or (1, 1, 1))).permute(1, 2, 3, 0)

    def _clips(self, draws: Sequence[Draw]) -> Tensor:
        _, length, height, width = self._shape
        device = self._frames.device
        times = np.stack([self._times(draw.segment, draw, length) for draw in draws])
        offsets = np.array([draw.offset for draw in draws])
        rows = offsets[:, :1] + np.arange(height)
        columns = offsets[:, 1:] + np.arange(width)
        mirrored = np.array([draw.flip for draw in draws])
        columns[mirrored] = columns[mirrored, ::-1]
        t, r, c, o = (
            torch.from_numpy(array).to(device, non_blocking=True)
            for array in (times, rows, columns, offsets)
        )
        r, c = r[:, None, :, None], c[:, None, None, :]
        clips = self._frames[t[:, :, None, None], r, c].float()
        if self._stream in self._store.maps:
            clips *= MOST_OF_MAPS / 255
        if self._volume.shape[1:3] == (1, 1):
            clips -= self._volume
        else:
            if self._volume.shape[1:3] != self._size:  # of the crop's size
                r, c = r - o[:, :1, None, None], c - o[:, 1:, None, None]
            moments = torch.arange(length, device=device)[None, :, None, None]
            clips -= self._volume[moments, r, c]
        if self._stream == "flow":  # x points the other way where it is mirrored
            clips[torch.from_numpy(mirrored).to(device), ..., 0] *= -1
        gains, shifts = (
            torch.tensor(values, dtype=torch.float32).to(device).reshape(-1, 1, 1, 1, 1)
            for values in ([draw.gain for draw in draws], [draw.shift for draw in draws])
        )
        return (clips * gains + shifts).permute(0, 4, 1, 2, 3)

    def _times(self, segment: Segment, draw: Draw, length: int) -> np.ndarray:
        """Rows of a clip's frames."""
        times = frame_times(
            segment.num_frames, draw.start, length=length, step=draw.step, short=draw.short
        )
        return self._begin[segment] + (times[::-1] if draw.reversed else times)
