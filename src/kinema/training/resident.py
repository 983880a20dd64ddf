"""Batches whose clips are cut out, mirrored and centred in a GPU's memory.

`ResidentBatches` holds all prepared frames there: a GPU learns from thousands of clips a second,
which no processor decodes. An hour of video of 128 x 171 pixels at 25 frames/s takes 6 GB.
`SentBatches` sends the frames of each batch, bytes as they are, where they are too many.
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
from kinema.training.clip_store import ClipStore, StoredVideo
from kinema.training.material import Material
from kinema.training.processes import Processes
from kinema.training.sampling import Draw, frame_times
from kinema.training.streams import MOST_OF_MAPS

SHARE = 0.5
"""Of the free memory: more of it is left to the network."""


def batches_on(processes: Processes, material: Material, stream: str = "rgb") -> type[Batches]:
    """On a GPU `ResidentBatches` where the frames to learn from fit into its memory, or else
    `SentBatches`; `Batches` on a CPU."""
    if processes.kind != "cuda":
        return Batches
    free, _ = torch.cuda.mem_get_info(processes.device)
    fits = num_bytes(material.store, material.train, stream) <= SHARE * free
    return ResidentBatches if fits else SentBatches


def num_bytes(store: ClipStore, videos: Sequence[StoredVideo], stream: str = "rgb") -> int:
    """Of the frames of some videos, as a stream has them."""
    frames = sum(segment.num_frames for video in videos for segment in video.segments)
    height, width = store.size_of(stream)
    return frames * height * width * store.streams[stream]


class _DeviceBatches(Batches):
    """The same batches as `Batches` makes, whose clips are tensors on the device.

    They are (N, C, T, H, W) float32 in the memory format channels_last_3d, with the values of
    `Batches`.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._device = device = self._processes.device
        self._size, channels = self._store.size_of(self._stream), self._store.streams[self._stream]
        mean = torch.from_numpy(np.asarray(self._mean, np.float32)).to(device)
        self._volume = mean.reshape(channels, *(mean.shape[1:] or (1, 1, 1))).permute(1, 2, 3, 0)

    def _cut(self, frames: Tensor, times: np.ndarray, draws: Sequence[Draw]) -> Tensor:
        """Clips out of frames (F, H, W, C) uint8 on the device, of the rows `times` (N, T)."""
        _, length, height, width = self._shape
        device = self._device
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
        clips = frames[t[:, :, None, None], r, c].float()
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


class ResidentBatches(_DeviceBatches):
    """Of frames that are held on the device."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        segments = [segment for video in self._sampler.videos for segment in video.segments]
        counts = [segment.num_frames for segment in segments]
        begins = np.cumsum([0, *counts])
        self._begin = dict(zip(segments, begins[:-1].tolist(), strict=True))
        size = (int(begins[-1]), *self._size, self._store.streams[self._stream])
        self._frames = torch.empty(size, dtype=torch.uint8, device=self._device)
        frames_of = functools.partial(self._store.frames, stream=self._stream)
        read = mapped(frames_of, segments, threads=self._threads)
        for segment, frames in zip(segments, read, strict=True):
            begin = self._begin[segment]
            ordered = frames[..., ::-1] if self._stream == "rgb" else frames  # B, G, R
            found = torch.from_numpy(np.ascontiguousarray(ordered))
            self._frames[begin : begin + len(frames)] = found.to(self._device)

    def _clips(self, draws: Sequence[Draw]) -> Tensor:
        times = [self._begin[draw.segment] + _times(draw, self._shape[1]) for draw in draws]
        return self._cut(self._frames, np.stack(times), draws)


class SentBatches(_DeviceBatches):
    """Of frames that are sent to the device batch by batch, whole and as bytes."""

    def _clips(self, draws: Sequence[Draw]) -> Tensor:
        length, on_gpu = self._shape[1], self._device.type == "cuda"
        size = (len(draws), length, *self._size, self._store.streams[self._stream])
        frames = torch.empty(size, dtype=torch.uint8, pin_memory=on_gpu)
        for place, draw in zip(frames.numpy(), draws, strict=True):
            place[:] = self._store.frames_at(
                draw.segment, _times(draw, length), stream=self._stream
            )
        sent = frames.to(self._device, non_blocking=on_gpu).flatten(0, 1)
        if self._stream == "rgb":
            sent = sent.flip(-1)  # B, G, R
        times = np.arange(len(draws) * length).reshape(len(draws), length)
        return self._cut(sent, times, draws)


def _times(draw: Draw, length: int) -> np.ndarray:
    """Numbers of a clip's frames in its segment."""
    times = frame_times(
        draw.segment.num_frames, draw.start, length=length, step=draw.step, short=draw.short
    )
    return times[::-1] if draw.reversed else times
