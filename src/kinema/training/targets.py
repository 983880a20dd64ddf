"""`Targets`: a vector for each clip or video, to learn from; what a teacher's features are kept in.

Note [The format of targets]
    A safetensors file with the arrays of `Targets` and the names of the videos in its metadata. A
    row belongs to a clip by the video's name, the segment that the prepared clips keep (0 where a
    video is kept whole) and its first frame in it; or to a whole video, with a first frame of -1.
    A training clip starts anywhere: its target is the row of its segment whose first frame is
    nearest, the earlier one of two, or else the video's.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.files import read_tensors, write_tensors

FORMAT = "kinema-targets-1"


@dataclass(frozen=True, eq=False)
class Targets:
    """A vector for each clip or video. See Note [The format of targets].

    Attributes:
        videos: names of the videos, their paths below the dataset's root.
        vectors: (N, D) float32.
        video: (N,) which of the videos a row is of.
        start_frame: (N,) first frame of its clip in the segment; -1 for the whole video.
        segment: (N,) which of the video's segments; all 0 where it is left out.

    Raises:
        ValueError: arrays of other shapes, values that are not finite, or no such video.
    """

    videos: Sequence[str]
    vectors: np.ndarray
    video: np.ndarray
    start_frame: np.ndarray
    segment: np.ndarray | None = None

    def __post_init__(self) -> None:
        vectors = np.ascontiguousarray(self.vectors, np.float32)
        if vectors.ndim != 2 or not vectors.size:
            raise ValueError(f"`vectors` must be (N, D), got shape {vectors.shape}.")
        if not np.isfinite(vectors).all():
            raise ValueError("`vectors` hold values that are not finite.")
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "videos", tuple(self.videos))
        if self.segment is None:
            object.__setattr__(self, "segment", np.zeros(len(vectors), np.int64))
        for name in ("video", "start_frame", "segment"):
            array = np.asarray(getattr(self, name))
            if array.shape != (len(vectors),) or array.dtype.kind not in "iu":
                raise ValueError(
                    f"`{name}` must be ({len(vectors)},) whole numbers, got {array.dtype} "
                    f"{array.shape}."
                )
            object.__setattr__(self, name, array.astype(np.int64))
        if self.video.min() < 0 or self.video.max() >= len(self.videos):
            raise ValueError(f"`video` must be from 0 to {len(self.videos) - 1}.")

    @property
    def size(self) -> int:
        """D, the length of the vectors."""
        return int(self.vectors.shape[1])

    @functools.cached_property
    def sha256(self) -> str:
        """Checksum of all that it holds."""
        digest = hashlib.sha256("\n".join(self.videos).encode("utf-8", "surrogateescape"))
        for array in (self.vectors, self.video, self.start_frame, self.segment):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        return {name: np.flatnonzero(self.video == n) for n, name in enumerate(self.videos)}

    def of(self, name: str, segment: int, start: int) -> np.ndarray:
        """The vector (D,) of the clip of a video that starts at a frame of a segment.

        Raises:
            ValueError: there is none.
        """
        rows = self._rows.get(name, np.empty(0, int))
        assert self.segment is not None
        clips = rows[(self.segment[rows] == segment) & (self.start_frame[rows] >= 0)]
        if not len(clips):
            clips = rows[self.start_frame[rows] < 0]
        if not len(clips):
            raise ValueError(f"there is no vector for segment {segment} of the video {name}.")
        order = clips[np.argsort(self.start_frame[clips], kind="stable")]
        nearest = np.abs(self.start_frame[order] - start).argmin()
        vector: np.ndarray = self.vectors[order[nearest]]
        return vector

    def check(self, names: Iterable[str]) -> None:
        """Refuse videos that there is no vector for."""
        missing = [name for name in names if not len(self._rows.get(name, ()))]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise ValueError(f"`targets` have no vector for the video {missing[0]}{more}.")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as safetensors, atomically."""
        names = ("vectors", "video", "start_frame", "segment")
        tensors = {name: getattr(self, name) for name in names}
        write_tensors(path, tensors, {"format": FORMAT, "videos": list(self.videos)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Targets:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no targets, or is damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        try:
            tensors, metadata = read_tensors(path, format=FORMAT)
            return cls(metadata["videos"], **tensors)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} holds no targets ({error}).") from None
