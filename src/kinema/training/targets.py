"""`Targets`: a vector for each clip or video, to learn from; what a teacher's features are kept in.

Note [The format of targets]
    A safetensors file with the arrays of `Targets` and the names of the videos in its metadata. A
    row belongs to a clip by the video's name, the segment that the prepared clips keep (0 where a
    video is kept whole) and its first frame in it; or to a whole video, with a first frame of -1.
    A training clip starts anywhere: its target is the row of its segment whose first frame is
    nearest, the earlier one of two, or else the video's.
    A clip that is mirrored, played backwards or at double speed may have rows of its own, of a
    `variant`: 1, 2 and 4 are added up. Without them it has those that differ less: mirrored ones
    are taken as they are first, then the others.
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

_MIRRORED, _REVERSED, _FAST = 1, 2, 4


def variant_of(*, mirrored: bool, reversed: bool, fast: bool) -> int:
    """The number of how a clip is played, see Note [The format of targets]."""
    return mirrored * _MIRRORED + reversed * _REVERSED + fast * _FAST


@dataclass(frozen=True, eq=False)
class Targets:
    """A vector for each clip or video. See Note [The format of targets].

    Attributes:
        videos: names of the videos, their paths below the dataset's root.
        vectors: (N, D) float32.
        video: (N,) which of the videos a row is of.
        start_frame: (N,) first frame of its clip in the segment; -1 for the whole video.
        segment: (N,) which of the video's segments; all 0 where it is left out.
        variant: (N,) how the clip was played; all 0, as it is, where it is left out.

    Raises:
        ValueError: arrays of other shapes, values that are not finite, or no such video.
    """

    videos: Sequence[str]
    vectors: np.ndarray
    video: np.ndarray
    start_frame: np.ndarray
    segment: np.ndarray | None = None
    variant: np.ndarray | None = None

    def __post_init__(self) -> None:
        vectors = np.ascontiguousarray(self.vectors, np.float32)
        if vectors.ndim != 2 or not vectors.size:
            raise ValueError(f"`vectors` must be (N, D), got shape {vectors.shape}.")
        if not np.isfinite(vectors).all():
            raise ValueError("`vectors` hold values that are not finite.")
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "videos", tuple(self.videos))
        for name in ("segment", "variant"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.zeros(len(vectors), np.int64))
        for name in ("video", "start_frame", "segment", "variant"):
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
        for array in self._columns():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _columns(self) -> list[np.ndarray]:
        """All arrays; without the variants, which came later, where there are none."""
        assert self.segment is not None
        assert self.variant is not None
        columns = [self.vectors, self.video, self.start_frame, self.segment]
        return [*columns, self.variant] if self.variant.any() else columns

    @functools.cached_property
    def _rows(self) -> dict[tuple[str, int | None, int], tuple[np.ndarray, np.ndarray]]:
        """By video, segment (None for the whole video) and variant: first frames, and rows."""
        assert self.segment is not None
        assert self.variant is not None
        whole = self.start_frame < 0
        segment = np.where(whole, -1, self.segment)
        order = np.lexsort((self.start_frame, self.variant, segment, self.video))
        keys = np.stack([self.video, segment, self.variant])[:, order]
        begins = np.flatnonzero(np.diff(keys, axis=1, prepend=keys[:, :1] - 1).any(0))
        rows: dict[tuple[str, int | None, int], tuple[np.ndarray, np.ndarray]] = {}
        for part, begin in zip(np.split(order, begins[1:]), begins, strict=True):
            video, of_segment, variant = (int(key) for key in keys[:, begin])
            key = (self.videos[video], None if of_segment < 0 else of_segment, variant)
            rows[key] = (self.start_frame[part], part)
        return rows

    def row(self, name: str, segment: int, start: int, variant: int = 0) -> int:
        """The row of the clip of a video that starts at a frame of a segment.

        Args:
            name: of the video.
            segment: which of its segments.
            start: the clip's first frame in it.
            variant: how it is played, see Note [The format of targets].

        Raises:
            ValueError: there is none.
        """
        variants = dict.fromkeys((variant, variant & ~_MIRRORED, variant & _MIRRORED, 0))
        for of_segment in (segment, None):
            for each in variants:
                if found := self._rows.get((name, of_segment, each)):
                    starts, rows = found
                    return int(rows[np.abs(starts - start).argmin()])
        raise ValueError(f"there is no vector for segment {segment} of the video {name}.")

    def of(self, name: str, segment: int, start: int, variant: int = 0) -> np.ndarray:
        """The vector (D,) of `row`."""
        vector: np.ndarray = self.vectors[self.row(name, segment, start, variant)]
        return vector

    def check(self, names: Iterable[str]) -> None:
        """Refuse videos that there is no vector for."""
        there = {name for name, _, variant in self._rows if not variant & ~_MIRRORED}
        missing = [name for name in names if name not in there]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise ValueError(f"`targets` have no vector for the video {missing[0]}{more}.")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as safetensors, atomically."""
        names = ("vectors", "video", "start_frame", "segment", "variant")
        tensors = dict(zip(names, self._columns(), strict=False))
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
