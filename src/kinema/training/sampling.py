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

from kinema.model import SHORT
from kinema.threads import mapped
from kinema.training.clip_store import ClipStore, Segment, StoredVideo
from kinema.training.streams import MOST_OF_MAPS
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
        step: frames from one of its frames to the next, those of double speed counted.
        fast: whether it is played at double speed.
        short: what stands for the frames that its segment does not have, see `frame_times`.
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
    fast: bool = False
    short: str = "repeat"
    gain: float = 1.0
    shift: float = 0.0

    @property
    def variant(self) -> int:
        """How it is played, see Note [The format of targets] in `targets`."""
        return variant_of(mirrored=self.flip, reversed=self.reversed, fast=self.fast)


class Sampler:
    """The endless sequence of a run's training clips. See Note [Order].

    Args:
        videos: the training videos.
        length: frames of a clip.
        size: (height, width) of the stored frames, `ClipStore.size_of` their stream.
        crop: (height, width) of the crop.
        seed: another seed, another order.
        flip: whether to mirror half of the clips.
        once: whether a segment has one turn in an epoch, as the two-second clips of Sports-1M's
            scheme have; else as many as clips fit into it without overlap.
        step: frames from one of a clip's frames to the next.
        short: what stands for frames that a segment does not have, see `frame_times`.
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
        step: int = 1,
        short: str = "repeat",
        reversed: float = 0.0,
        fast: float = 0.0,
        paired: bool = False,
        brightness: float = 0.0,
    ) -> None:
        self._reversed, self._fast, self._brightness = reversed, fast, brightness
        self._paired = paired
        self.videos = videos
        self._length, self._step, self._short = length, step, short
        check_short(short)
        _ = span_of(length, step)  # which refuses a step
        self._range = (size[0] - crop[0] + 1, size[1] - crop[1] + 1)
        if min(self._range) < 1:
            raise ValueError(f"`crop` {crop} does not fit into frames of {size} (height, width).")
        self._seed = seed
        self._flip = flip
        self._turns = [
            (index, segment)
            for index, video in enumerate(videos)
            for segment in video.segments
            # Clips begin `step * length` frames apart, and the last one ends with its last frame.
            for _ in range(
                1 if once else max((segment.num_frames + step - 1) // (step * length), 1)
            )
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
        latest = max(segment.num_frames - span_of(self._length, self._step), 0)
        draw = Draw(
            video=video,
            segment=segment,
            start=int(generator.integers(0, latest + 1)),
            offset=(int(top), int(left)),
            flip=bool(generator.integers(0, 2)) and self._flip,
            label=labels[int(generator.integers(0, len(labels)))],
            step=self._step,
            short=self._short,
        )
        if not (self._reversed or self._fast or self._brightness):
            return draw
        # Behind the others, so that these are what they are without them.
        chances = generator.random(2)
        gain, shift = self._brightness * generator.uniform(-1, 1, 2)
        span = span_of(self._length, 2 * self._step)
        fast = bool(chances[1] < self._fast) and segment.num_frames >= span
        return dataclasses.replace(
            draw,
            start=min(draw.start, segment.num_frames - span) if fast else draw.start,
            reversed=bool(chances[0] < self._reversed),
            step=2 * self._step if fast else self._step,
            fast=fast,
            gain=1 + float(gain),
            shift=SHIFT * float(shift),
        )


def check_short(short: str) -> None:
    """Raise a `ValueError` if it is none of `SHORT`."""
    if short not in SHORT:
        raise ValueError(f"`short` must be one of {', '.join(SHORT)}, got {short!r}.")


def span_of(length: int, step: int) -> int:
    """Frames from the first to the last one of a clip, both counted.

    Raises:
        ValueError: the step is below 1.
    """
    if step < 1:
        raise ValueError(f"`step` must be at least 1 frame, got {step}.")
    return step * (length - 1) + 1


def frame_times(
    num_frames: int, start: int, *, length: int, step: int = 1, short: str = "repeat"
) -> np.ndarray:
    """(length,) numbers of a clip's frames in a segment of so many.

    Where it is too short, "repeat" repeats its last frame, and "wrap" begins it again.
    """
    check_short(short)
    times = start + step * np.arange(length)
    return times % num_frames if short == "wrap" else times.clip(max=num_frames - 1)


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
    short: str = "repeat",
    reversed: bool = False,
) -> np.ndarray:
    """A clip as the network's input: (3, length, *crop) float32, B, G, R, mean subtracted.

    Of every `step`-th frame, and backwards if it is reversed. Other streams than rgb keep the order
    of their channels. The horizontal displacements of flow change their sign where it is mirrored
    (Simonyan, Zisserman, NeurIPS 2014).

    The mean is subtracted where the crop was taken, and mirrored with it (C3D v1.0,
    `video_data_layer.cpp`). A segment that is too short is filled up, see `frame_times`.

    Of a stream of maps: (channels, length, height, width) float32, 0 ... 6, never cropped.

    Raises:
        ValueError: flow cannot be reversed, or maps cropped; see `ClipStore.frames`.
    """
    if stream == "flow" and reversed:
        raise ValueError("clips of flow cannot be played backwards.")
    times = frame_times(segment.num_frames, start, length=length, step=step, short=short)
    frames = store.frames_at(segment, times[:: -1 if reversed else 1], stream=stream)
    if stream in store.maps:
        return _maps_clip(frames, mean=mean, crop=crop, flip=flip)
    if stream != "rgb":
        return _other_clip(frames, mean=mean, crop=crop, offset=offset, flip=flip, stream=stream)
    clip = preprocess([*frames], mean=mean, resize_to=None, crop=crop, offset=offset)
    return clip[..., ::-1] if flip else clip


def _maps_clip(frames: np.ndarray, *, mean: Mean, crop: tuple[int, int], flip: bool) -> np.ndarray:
    """A clip of maps, of frames (T, H, W, C); see `read_clip`."""
    if tuple(crop) != frames.shape[1:3]:
        raise ValueError(f"`crop` must be {frames.shape[1:3]}, as the maps are, got {crop}.")
    clip = frames[:, :, :: -1 if flip else 1].transpose(3, 0, 1, 2) * np.float32(MOST_OF_MAPS / 255)
    given = np.asarray(mean, np.float32)
    if given.any():
        clip -= given.reshape(-1, 1, 1, 1) if given.ndim == 1 else given
    return clip


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


def even_clips(
    video: StoredVideo,
    *,
    length: int,
    num_clips: int | None = None,
    stride: int | None = None,
    step: int = 1,
) -> list[tuple[Segment, int]]:
    """The clips whose scores are averaged for a video's: evenly spread over it, or at a stride.

    With `num_clips`, one in the middle of each segment where there are several (Sports-1M's
    scheme); else so many from the first frame to the last, or fewer where the video has no more.
    With `stride`, in each segment one every so many frames, and the last one at its end.

    Args:
        video: of a store.
        length: frames of a clip.
        num_clips, stride: one of them.
        step: frames from one of a clip's frames to the next.

    Raises:
        ValueError: neither or both of `num_clips` and `stride` are given, or less than 1.
    """
    if (num_clips is None) == (stride is None):
        raise ValueError("one of `num_clips` and `stride` must be given.")
    for name, value in (("num_clips", num_clips), ("stride", stride)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    found = []
    for segment in video.segments:
        latest = max(segment.num_frames - span_of(length, step), 0)
        if stride is not None:
            starts = [*range(0, latest, stride), latest]
        elif len(video.segments) > 1:
            starts = [latest // 2]
        else:
            spread = np.linspace(0, latest, num_clips or 1).round().astype(int)
            starts = np.unique(spread).tolist()
        found += [(segment, start) for start in starts]
    return found


def mean_volume(
    store: ClipStore,
    videos: Sequence[StoredVideo],
    *,
    length: int,
    threads: int,
    stream: str = "rgb",
    step: int = 1,
    short: str | None = None,
) -> np.ndarray:
    """The mean of each voxel over the clips of some videos: (3, length, height, width), B, G, R.

    Of flow it is 128, no displacement, (2,): a mean that is not the same at both sides would make
    another clip of a mirrored one. Of maps it is 0. Of other streams it has their channels.

    Over all whole clips without overlap, or evenly chosen `MOST_MEAN_CLIPS` of them. Where `short`
    is given, segments that are too short count too, filled up so, see `frame_times`.

    Raises:
        ValueError: there is no such clip.
    """
    if stream == "flow":
        return np.full(2, 128, np.float32)
    if stream in store.maps:
        return np.zeros(store.streams[stream], np.float32)
    span = span_of(length, step)
    clips = [
        (segment, start)
        for video in videos
        for segment in video.segments
        for start in range(0, max(segment.num_frames - span, 0) + 1, step * length)
        if segment.num_frames >= span or short is not None
    ]
    if not clips:
        raise ValueError(f"no training video has {span} frames, so there is no mean volume.")
    chosen = np.unique(
        np.linspace(0, len(clips) - 1, min(len(clips), MOST_MEAN_CLIPS)).round().astype(int)
    )
    total = np.zeros((length, *store.size, store.streams[stream]), np.int64)  # exact: 8-bit values

    def frames_of(index: int) -> np.ndarray:
        segment, start = clips[index]
        times = frame_times(
            segment.num_frames, start, length=length, step=step, short=short or "repeat"
        )
        return store.frames_at(segment, times, stream=stream)

    for frames in mapped(frames_of, chosen, threads=threads):
        total += frames
    mean = (total / len(chosen)).astype(np.float32)
    mean = mean[..., ::-1] if stream == "rgb" else mean
    return np.ascontiguousarray(mean.transpose(3, 0, 1, 2))
