"""How well a network tells the classes of prepared videos: by clip, and by video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.engine.engine import Engine
from kinema.metrics import hits
from kinema.threads import mapped
from kinema.training.clip_store import ClipStore, StoredVideo
from kinema.training.sampling import even_clips, read_clip
from kinema.video.crops import crops_of

VIEWS = (1, 10)
"""Crops of a clip that may be scored: its centre, or that and the corners, each mirrored, too."""

HIT5_CLASSES = 6
"""Fewest classes with which a hit at 5 says anything: of five, all are among the best five."""


@dataclass(frozen=True)
class Evaluation:
    """Shares of clips and videos, 0 ... 1.

    A hit at k: one of the video's true classes is among the k that score highest.

    Attributes:
        num_videos, num_clips, num_classes: how many there were.
        clip_hit1: clips that are hits at 1.
        video_hit1, video_hit5: videos whose mean class probabilities are hits at 1 and 5; with five
            classes or fewer no figure at 5 exists, and it is None.
    """

    num_videos: int
    num_clips: int
    num_classes: int
    clip_hit1: float
    video_hit1: float
    video_hit5: float | None

    def __post_init__(self) -> None:
        if (self.video_hit5 is None) != (self.num_classes < HIT5_CLASSES):
            raise ValueError(
                f"`video_hit5` must be given with {HIT5_CLASSES} classes or more and with no "
                f"fewer, got {self.video_hit5} with {self.num_classes}."
            )

    def __str__(self) -> str:
        five = "" if self.video_hit5 is None else f", hit@5 {self.video_hit5:.1%}"
        videos = "1 test video" if self.num_videos == 1 else f"{self.num_videos} test videos"
        clips = "clip" if self.num_clips == 1 else "clips"
        whose = "its" if self.num_videos == 1 else "their"
        return (
            f"{videos}: hit@1 {self.video_hit1:.1%}{five}; "
            f"{whose} {self.num_clips} {clips}: hit@1 {self.clip_hit1:.1%}"
        )


def evaluate(
    engine: Engine,
    store: ClipStore,
    videos: Sequence[StoredVideo],
    *,
    mean: np.ndarray,
    num_clips: int | None = None,
    batch: int = 8,
    threads: int = 2,
) -> Evaluation:
    """Score videos by the mean of the probabilities of their clips, centre crops.

    The arguments are those of `clip_scores`.

    Raises:
        ValueError: there is no video.
    """
    if not videos:
        raise ValueError("`videos` must hold at least one video to evaluate.")
    scores, owner = clip_scores(
        engine, store, videos, mean=mean, num_clips=num_clips, batch=batch, threads=threads
    )
    labels = [video.labels for video in videos]
    means = video_means(scores, owner)
    num_classes = scores.shape[1]
    return Evaluation(
        num_videos=len(videos),
        num_clips=len(scores),
        num_classes=num_classes,
        clip_hit1=float(hits(scores, [labels[index] for index in owner], 1).mean()),
        video_hit1=float(hits(means, labels, 1).mean()),
        video_hit5=float(hits(means, labels, 5).mean()) if num_classes >= HIT5_CLASSES else None,
    )


def clip_scores(
    engine: Engine,
    store: ClipStore,
    videos: Sequence[StoredVideo],
    *,
    mean: np.ndarray,
    num_clips: int | None = None,
    views: int = 1,
    batch: int = 8,
    threads: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """The class probabilities of clips of videos.

    Args:
        engine: of a model whose last layer are class probabilities, `prob`.
        store: the prepared clips.
        videos: of the store.
        mean: what to subtract.
        num_clips: of each video, see `sampling.even_clips`; None for what the model says.
        views: of each clip: 1, the centre crop; 10, that and the corners, each mirrored, too, whose
            mean counts; of maps, which are not cropped, the two mirrored ones.
        batch: clips that go through the network at once.
        threads: clips that are read at once.

    Returns:
        (M, K) probabilities, and of each clip (M,) the index of its video, rising.
    """
    model = engine.network
    _, length, *crop = model.input_shape
    clips = [
        (index, segment, start)
        for index, video in enumerate(videos)
        for segment, start in even_clips(
            video,
            length=length,
            num_clips=num_clips or model.test_clips,
            stride=None if num_clips else model.test_stride,
            step=model.frame_step,
        )
    ]

    seen = _views(views, store.size, (crop[0], crop[1]), model.stream)
    batch = max(batch // len(seen), 1)

    def read(first: int) -> np.ndarray:
        return np.stack(
            [
                read_clip(
                    store,
                    segment,
                    start,
                    length=length,
                    mean=mean,
                    crop=(crop[0], crop[1]),
                    offset=offset,
                    flip=flip,
                    stream=model.stream,
                    step=model.frame_step,
                    short=model.short,
                )
                for _, segment, start in clips[first : first + batch]
                for offset, flip in seen
            ]
        )

    batches = mapped(read, range(0, len(clips), batch), threads=min(threads, 8))
    last = model.layer_names[-1]
    scores = np.concatenate([engine.run(inputs, (last,))[last] for inputs in batches])
    scores = scores.reshape(len(clips), len(seen), -1).mean(1) if len(seen) > 1 else scores
    return scores, np.array([index for index, _, _ in clips])


def _views(
    views: int, size: tuple[int, int], crop: tuple[int, int], stream: str
) -> list[tuple[tuple[int, int] | None, bool]]:
    """Offset (None for the centre) and whether it is mirrored, of each view of a clip.

    Raises:
        ValueError: neither 1 nor 10 are asked for.
    """
    if views not in VIEWS:
        raise ValueError(f"`views` must be 1 or 10, got {views}.")
    if views == 1:
        return [(None, False)]
    if stream == "imagenet":
        return [(None, False), (None, True)]
    return [(one.offset, one.mirrored) for one in crops_of(views, size, crop)]


def video_means(scores: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """(n, K) mean scores of each video, of what `clip_scores` gave."""
    counts = np.bincount(owner)
    means: np.ndarray = np.add.reduceat(scores, counts.cumsum() - counts) / counts[:, None]
    return means
