"""`ClipDataset`: prepared clips for a PyTorch `DataLoader` and a loop of one's own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from kinema.model import NUM_TEST_CLIPS
from kinema.threads import num_usable_cores
from kinema.training.clip_store import ClipStore, Segment
from kinema.training.prepare import split_videos
from kinema.training.sampling import Sampler, even_clips, mean_volume, read_clip
from kinema.video.clips import Mean


class ClipDataset(Dataset[tuple[torch.Tensor, int]]):
    """Clips (C, T, H, W) float32, B, G, R, mean subtracted, with the index of their class.

    Those of other streams than rgb are as `sampling.read_clip` gives them.

        data = ClipDataset("ucf101.clips", seed=1)
        for clips, labels in DataLoader(data, batch_size=30, num_workers=4):
            ...

    The clips of an epoch are those that `train` draws with the same seed, in its order, so a loader
    need not shuffle. With "test" they are the clips that it evaluates on, centre crops, not
    mirrored. Workers may be forked or spawned.

    Args:
        store: prepared clips, or their file.
        side: "train" or "test".
        split: name of an official split; None for the first, or one of our own.
        input_shape: (channels, frames, height, width) of a clip.
        mean: what is subtracted, (3,) or (3, T, H, W), B, G, R; None for the mean volume of the
            training clips, which are then all read once.
        stream: which of the store's streams; `input_shape` has its channels.
        step: frames from one of a clip's frames to the next.
        short: what stands for frames that a video does not have, see `sampling.frame_times`.
        seed: another seed, another order, other crops and flips.
        flip: whether half of the training clips are mirrored.

    Attributes:
        classes: names of the classes.
        mean: what is subtracted.

    Raises:
        ValueError: no such side or split, or a crop that does not fit into the frames.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | ClipStore,
        *,
        side: str = "train",
        split: str | None = None,
        input_shape: tuple[int, int, int, int] = (3, 16, 112, 112),
        mean: Mean | Sequence[float] | None = None,
        stream: str = "rgb",
        step: int = 1,
        short: str = "repeat",
        seed: int = 0,
        flip: bool = True,
    ) -> None:
        if side not in ("train", "test"):
            raise ValueError(f'`side` must be "train" or "test", got {side!r}.')
        self._store = store if isinstance(store, ClipStore) else ClipStore(store)
        self.classes = self._store.classes
        if self._store.streams.get(stream) != input_shape[0]:
            raise ValueError(
                f"`stream` {stream!r} of {input_shape[0]} channels is none of {self._store.path}: "
                f"{dict(self._store.streams)}."
            )
        self._stream, self._step, self._short = stream, step, short
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train, test = split_videos(self._store, split)
        _, self._length, *crop = input_shape
        self._crop = (crop[0], crop[1])
        self._sampler = Sampler(
            train,
            length=self._length,
            size=self._store.size_of(stream),
            crop=self._crop,
            seed=seed,
            flip=flip,
            step=step,
            short=short,
            once=self._store.about["clips"] == "five",
        )
        if mean is None:
            threads = num_usable_cores()
            mean = mean_volume(
                self._store, train, length=self._length, threads=threads, stream=stream, step=step
            )
        self.mean = np.asarray(mean, np.float32)
        self._epoch = 0
        self._tested: list[tuple[Segment, int, int]] | None = None
        if side == "test":
            self._tested = [
                (segment, start, video.labels[0])
                for video in test
                for segment, start in even_clips(
                    video, length=self._length, num_clips=NUM_TEST_CLIPS, step=step
                )
            ]

    def set_epoch(self, epoch: int) -> None:
        """From now on the clips of another epoch; before a loader begins it, as workers copy it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._sampler) if self._tested is None else len(self._tested)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """One clip and its class; negative indices count from the end."""
        number = len(self)
        if not -number <= index < number:
            raise IndexError(f"`index` must be less than {number}, got {index}.")
        index %= number
        if self._tested is not None:
            segment, start, label = self._tested[index]
            offset, flip = None, False
        else:
            draw = self._sampler[self._epoch * number + index]
            segment, start, label = draw.segment, draw.start, draw.label
            offset, flip = draw.offset, draw.flip
        clip = read_clip(
            self._store,
            segment,
            start,
            length=self._length,
            mean=self.mean,
            crop=self._crop,
            offset=offset,
            flip=flip,
            stream=self._stream,
            step=self._step,
            short=self._short,
        )
        return torch.from_numpy(np.ascontiguousarray(clip)), label
