"""Which clips training sees, in which order, and what becomes of their pixels.

Note [Order]
    The n-th clip of a run is a pure function of the seed and n: its segment, first frame, crop,
    flip and class. So a run that is stopped and gone on with is the same run, and several processes
    share a batch without talking to each other. Epoch e is a permutation of all (segment, turn)
    pairs drawn from (seed, e); what is drawn within a segment comes from (seed, e, place).

        n = 0 1 2 ... | N ...        | 2N ...
            epoch 0   | epoch 1      | epoch 2
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.threads import mapped
from kinema.training.clip_store import ClipStore, Segment, StoredVideo
from kinema.training.targets import variant_of
from kinema.video.clips import Mean, preprocess

SHIFT = 128
"""Of pixels, where `Recipe.brightness` is 1."""

MOST_MEAN_CLIPS = 10_000
"""Clips that a mean volume is taken over: its average over more would hardly differ."""


@dataclass(frozen=True)
class Draw:
    """One clip that training sees.

    Attributes:
        video: index of its video.
        segment: where its frames are kept.
        start: its first frame in the segment.
        offset: (top, left) of its crop.
        flip: whether it is mirrored.
        label: one of the video's classes, at random if it has several.
        reversed: whether it is played backwards.
        step: frames from one of its frames to the next: 2 at double speed.
        gain, shift: what its pixels, less the mean, are multiplied by, and what is added.
    """

    video: int
    segment: Segment
    start: int
    offset: tuple[int, int]
    flip: bool
    label: int
    reversed: bool = False
    step: int = 1
    gain: float = 1.0
    shift: float = 0.0

    @property
    def variant(self) -> int:
        """How it is played, see Note [The format of targets] in `targets`."""
        return variant_of(mirrored=self.flip, reversed=self.reversed, fast=self.step > 1)


class Sampler:
    """The endless sequence of a run's training clips. See Note [Order].

    Args:
        videos: the training videos.
        length: frames of a clip.
        size: (height, width) of the stored frames.
        crop: (height, width) of the crop.
        seed: another seed, another order.
        flip: whether to mirror half of the clips.
        once: whether a segment has one turn in an epoch, as the two-second clips of Sports-1M's
            scheme have; else as many as clips fit into it without overlap.
        reversed, fast, paired, brightness: see `Recipe`. Segments that are too short for double
            speed are played as they are.
    """

    def __init__(
        self,
        videos: Sequence[StoredVideo],
        *,
        length: int,
        size: tuple[int, int],
        crop: tuple[int, int],
        seed: int,
        flip: bool = True,
        once: bool = False,
        reversed: float = 0.0,
        fast: float = 0.0,
        paired: bool = False,
        brightness: float = 0.0,
    ) -> None:
        self._reversed, self._fast, self._brightness = reversed, fast, brightness
        self._paired = paired
        self.videos = videos
        self._length = length
        self._range = (size[0] - crop[0] + 1, size[1] - crop[1] + 1)
        if min(self._range) < 1:
            raise ValueError(f"`crop` {crop} does not fit into frames of {size} (height, width).")
        self._seed = seed
        self._flip = flip
        self._turns = [
            (index, segment)
            for index, video in enumerate(videos)
            for segment in video.segments
            for _ in range(1 if once else max(segment.num_frames // length, 1))
        ]
        self._permutation: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __len__(self) -> int:
        """Clips of an epoch."""
        return len(self._turns) * (2 if self._paired else 1)

    def __getitem__(self, n: int) -> Draw:
        """The n-th clip of the run, n = 0, 1, 2, ... without end."""
        if not self._paired:
            return self._drawn(n)
        pair, backwards = divmod(n, 2)
        return dataclasses.replace(self._drawn(pair), reversed=bool(backwards))

    def _drawn(self, n: int) -> Draw:
        epoch, place = divmod(n, len(self._turns))
        cached, order = self._permutation
        if cached != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._turns))
            self._permutation = (epoch, order)
        video, segment = self._turns[order[place]]
        generator = np.random.default_rng([self._seed, epoch, place])
        labels = self.videos[video].labels
        top, left = generator.integers(0, self._range)
        draw = Draw(
            video=video,
            segment=segment,
            start=int(generator.integers(0, max(segment.num_frames - self._length, 0) + 1)),
            offset=(int(top), int(left)),
            flip=bool(generator.integers(0, 2)) and self._flip,
            label=labels[int(generator.integers(0, len(labels)))],
        )
        if not (self._reversed or self._fast or self._brightness):
            return draw
        # Behind the others, so that these are what they are without them.
        chances = generator.random(2)
        gain, shift = self._brightness * generator.uniform(-1, 1, 2)
        span = 2 * (self._length - 1) + 1
        fast = bool(chances[1] < self._fast) and segment.num_frames >= span
        return dataclasses.replace(
            draw,
            start=min(draw.start, segment.num_frames - span) if fast else draw.start,
            reversed=bool(chances[0] < self._reversed),
            step=2 if fast else 1,
            gain=1 + float(gain),
            shift=SHIFT * float(shift),
        )


def read_clip(
    store: ClipStore,
    segment: Segment,
    start: int,
    *,
    length: int,
    mean: Mean,
    crop: tuple[int, int],
    offset: tuple[int, int] | None = None,
    flip: bool = False,
    stream: str = "rgb",
    step: int = 1,
    reversed: bool = False,
) -> np.ndarray:
    """A clip as the network's input: (3, length, *crop) float32, B, G, R, mean subtracted.

    Of every `step`-th frame, and backwards if it is reversed. Other streams than rgb keep the order
    of their channels. The horizontal displacements of flow change their sign where it is mirrored
    (Simonyan, Zisserman, NeurIPS 2014).

    The mean is subtracted where the crop was taken, and mirrored with it (C3D v1.0,
    `video_data_layer.cpp`). A segment that is too short is filled up with its last frame.
    """
    count = min(step * (length - 1) + 1, segment.num_frames - start)
    frames = store.frames(segment, start, count, stream=stream)[::step]
    if stream != "rgb":
        frames = np.concatenate([frames, frames[-1:].repeat(length - len(frames), axis=0)])
        return _other_clip(frames, mean=mean, crop=crop, offset=offset, flip=flip, stream=stream)
    images = [*frames, *[frames[-1]] * (length - len(frames))][:: -1 if reversed else 1]
    clip = preprocess(images, mean=mean, resize_to=None, crop=crop, offset=offset)
    return clip[..., ::-1] if flip else clip


def _other_clip(
    frames: np.ndarray,
    *,
    mean: Mean,
    crop: tuple[int, int],
    offset: tuple[int, int] | None,
    flip: bool,
    stream: str,
) -> np.ndarray:
    """A clip of a stream other than rgb, of frames (T, H, W, C); see `read_clip`."""
    height, width, channels = frames.shape[1:]
    top, left = offset or ((height - crop[0]) // 2, (width - crop[1]) // 2)
    values = frames.transpose(3, 0, 1, 2).astype(np.float32, order="C")
    given = np.asarray(mean, np.float32)
    if given.ndim == 1:
        given = given.reshape(channels, 1, 1, 1)
    whole = given.shape[-2:] in ((1, 1), (height, width))  # else it is of the crop's size
    values = values - given if whole else values
    clip = values[:, :, top : top + crop[0], left : left + crop[1]]
    clip = clip if whole else clip - given
    if flip:
        clip = clip[..., ::-1]
        if stream == "flow":
            clip = clip * np.array([-1, 1], np.float32).reshape(2, 1, 1, 1)
    return clip


def even_clips(video: StoredVideo, *, length: int, num_clips: int) -> list[tuple[Segment, int]]:
    """The clips whose scores are averaged for a video's: evenly spread over it.

    One in the middle of each segment where there are several (Sports-1M's scheme); else `num_clips`
    from the first frame to the last, or fewer where the video has no more.
    """
    if len(video.segments) > 1:
        return [(s, max(s.num_frames - length, 0) // 2) for s in video.segments]
    (segment,) = video.segments
    latest = max(segment.num_frames - length, 0)
    starts = np.unique(np.linspace(0, latest, num_clips).round().astype(int))
    return [(segment, int(start)) for start in starts]


def mean_volume(
    store: ClipStore,
    videos: Sequence[StoredVideo],
    *,
    length: int,
    threads: int,
    stream: str = "rgb",
) -> np.ndarray:
    """The mean of each voxel over the clips of some videos: (3, length, height, width), B, G, R.

    Of flow it is 128, no displacement, (2,): a mean that is not the same at both sides would make
    another clip of a mirrored one. Of other streams it has their channels.

    Over all whole clips without overlap, or evenly chosen `MOST_MEAN_CLIPS` of them.
    """
    if stream == "flow":
        return np.full(2, 128, np.float32)
    clips = [
        (segment, start)
        for video in videos
        for segment in video.segments
        for start in range(0, max(segment.num_frames - length, 0) + 1, length)
        if segment.num_frames >= length
    ]
    if not clips:
        raise ValueError(f"no training video has {length} frames, so there is no mean volume.")
    chosen = np.unique(
        np.linspace(0, len(clips) - 1, min(len(clips), MOST_MEAN_CLIPS)).round().astype(int)
    )
    total = np.zeros((length, *store.size, store.streams[stream]), np.int64)  # exact: 8-bit values

    def frames_of(index: int) -> np.ndarray:
        return store.frames(*clips[index], length, stream=stream)

    for frames in mapped(frames_of, chosen, threads=threads):
        total += frames
    mean = (total / len(chosen)).astype(np.float32)
    mean = mean[..., ::-1] if stream == "rgb" else mean
    return np.ascontiguousarray(mean.transpose(3, 0, 1, 2))
