"""The batches of a run, read in threads beside the network. See Note [Order] in `sampling`."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import numpy as np

from kinema.model import Model
from kinema.threads import mapped
from kinema.training.clip_store import ClipStore
from kinema.training.processes import Processes
from kinema.training.sampling import Draw, Sampler, read_clip

_MOST_BYTES = 1 << 30
"""Batches that wait in memory; on many cores there would be more."""


class Batches:
    """This process's part of each batch of a run.

    Args:
        store: the prepared clips.
        sampler: which clips, in which order.
        network: whose input the clips are.
        mean: what is subtracted from them.
        batch: clips of a step, of all processes together.
        processes: that share it.
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
    ) -> None:
        self._store, self._sampler, self._mean, self._batch = store, sampler, mean, batch
        self._shape = network.input_shape
        self._share = batch // processes.size
        self._rank = processes.rank
        self._threads = max(processes.threads, 2)

    def steps(self, first: int, stop: int) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """Clips (N, 3, T, H, W) float32 and labels (N,) of the steps `first` to before `stop`."""
        begins = (
            iteration * self._batch + self._rank * self._share for iteration in range(first, stop)
        )
        draws = ([self._sampler[n] for n in range(begin, begin + self._share)] for begin in begins)
        in_memory = _MOST_BYTES // (4 * self._share * math.prod(self._shape))
        ahead = max(min(2 * self._threads, in_memory), 1)
        return mapped(self._read, draws, threads=self._threads, ahead=ahead)

    def _read(self, draws: Sequence[Draw]) -> tuple[np.ndarray, np.ndarray]:
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
            )
        return clips, np.array([draw.label for draw in draws])
