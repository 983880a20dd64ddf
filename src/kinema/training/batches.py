"""The batches of a run, read in threads beside the network. See Note [Order] in `sampling`."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from kinema.model import Model
from kinema.threads import mapped
from kinema.training.clip_store import ClipStore
from kinema.training.processes import Processes
from kinema.training.sampling import Draw, Sampler, read_clip
from kinema.training.targets import Targets

_MOST_BYTES = 1 << 30
"""Batches that wait in memory; on many cores there would be more."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step learns from.

    Attributes:
        clips: (N, C, T, H, W) float32.
        labels: (N,) class indices.
        vectors: other targets by name: (N, D) float32, or (N,) classes of `heads.PLAYED`.

    All are NumPy's, but the clips of `resident` are PyTorch's.
    """

    clips: Any
    labels: np.ndarray
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)


class Batches:
    """This process's part of each batch of a run.

    Args:
        store: the prepared clips.
        sampler: which clips, in which order.
        network: whose input the clips are.
        mean: what is subtracted from them.
        batch: clips of a step, of all processes together.
        processes: that share it.
        targets: vectors that are learned, by name.
    """

    def __init__(
        self,
        store: ClipStore,
        sampler: Sampler,
        network: Model,
        *,
        mean: np.ndarray,
        batch: int,
        processes: Processes,
        targets: Mapping[str, Targets] = MappingProxyType({}),
    ) -> None:
        self._targets, self._processes = targets, processes
        self._store, self._sampler, self._mean, self._batch = store, sampler, mean, batch
        self._shape, self._stream = network.input_shape, network.stream
        self._share = batch // processes.size
        self._rank = processes.rank
        self._threads = max(processes.threads, 2)

    def steps(self, first: int, stop: int) -> Generator[Batch, None, None]:
        """The parts of the steps `first` to before `stop`."""
        begins = (
            iteration * self._batch + self._rank * self._share for iteration in range(first, stop)
        )
        in_memory = _MOST_BYTES // (4 * self._share * math.prod(self._shape))
        ahead = max(min(2 * self._threads, in_memory), 1)
        return mapped(self._read, begins, threads=self._threads, ahead=ahead)

    def _read(self, begin: int) -> Batch:
        draws = [self._sampler[n] for n in range(begin, begin + self._share)]
        return Batch(self._clips(draws), *self._targets_of(draws))

    def _clips(self, draws: Sequence[Draw]) -> Any:
        _, length, height, width = self._shape
        clips = np.empty((len(draws), *self._shape), np.float32)
        for clip, draw in zip(clips, draws, strict=True):
            clip[:] = read_clip(
                self._store,
                draw.segment,
                draw.start,
                length=length,
                mean=self._mean,
                crop=(height, width),
                offset=draw.offset,
                flip=draw.flip,
                stream=self._stream,
                step=draw.step,
                short=draw.short,
                reversed=draw.reversed,
            )
            if draw.gain != 1 or draw.shift:
                clip *= np.float32(draw.gain)
                clip += np.float32(draw.shift)
        return clips

    def _targets_of(self, draws: Sequence[Draw]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Labels and vectors of some clips."""
        vectors = {
            name: targets.vectors[[self._row(targets, draw) for draw in draws]]
            for name, targets in self._targets.items()
        }
        vectors["reversed"] = np.array([draw.reversed for draw in draws], np.int64)
        vectors["speed"] = np.array([draw.fast for draw in draws], np.int64)
        return np.array([draw.label for draw in draws]), vectors

    def _row(self, targets: Targets, draw: Draw) -> int:
        video = self._sampler.videos[draw.video]
        segment = video.segments.index(draw.segment)
        return targets.row(video.name, segment, draw.start, draw.variant)
