"""One pair of videos: the segments that agree, each looked at again, and its score.

Note [What score is enough]
    A score is the correlation of how both change, from 0 to 1; see Note [Why a second look] of
    `confirming`. Two repetitions of an exercise agree for some seconds, copies as long as there are
    frames. So where less than `CERTAIN_SECONDS` agree in all, the score must be four times as near
    to 1: 0.9625 instead of 0.85. docs/finding-duplicates.md shows what that finds and what not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kinema.finding.alignment import Changes, Segment, refined, segments
from kinema.finding.candidates import votes
from kinema.finding.confirming import LONGEST_SECONDS, Stretch, likeness
from kinema.finding.footage import BIN_SECONDS, BINS_PER_KEY, Footage, footage, kept
from kinema.video.loop import Reading, Video
from kinema.video.sources import Source

SIMILARITY = 0.85
"""Least score; see Note [What score is enough]."""

CERTAIN_SECONDS = 6.0
"""Longer than two people, or one twice, do the same: the longest in UCF101's push-ups is 5.5 s."""

_ALL_OFFSETS = 20_000_000
"""Bins times bins up to which all offsets are looked at: 20 s of two hours, or seven minutes of
seven. Beyond it key pictures vote for offsets."""

_VOTED = 12
"""Offsets that are taken from votes: cuts between which pieces are moved, and some wrong ones."""

_HELD_BINS = 100_000
"""Of videos that are kept at hand, 1.5 KB each, and as much mirrored: two hours and three quarters,
150 to 300 MB; of longer videos the two that are compared."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What is held of every video.

    Attributes:
        source: the video.
        mark: its fingerprint.
        length: in bins.
        keys: (k, 18, 24) key pictures.
    """

    source: Source
    mark: str
    length: int
    keys: np.ndarray


@dataclass(frozen=True, eq=False)
class Match:
    """Two videos with segments that agree.

    Attributes:
        first, second: numbers of the videos.
        mirrored: whether left is right in one of them.
        segments: in bins.
        scores: of each segment.
        lengths: bins of both.
        seconds: of both, from a place between bins to its second.
    """

    first: int
    second: int
    mirrored: bool
    segments: Sequence[Segment]
    scores: Sequence[float]
    lengths: tuple[int, int]
    seconds: tuple[Callable[[float], float], Callable[[float], float]]


class Matcher:
    """Compares videos by their numbers, in several threads.

    Args:
        videos: what is held of each.
        cache: the folder that keeps their footage.
        reading: how videos are read.
    """

    def __init__(self, videos: Sequence[Kept], cache: Path, reading: Reading) -> None:
        self.notes: list[str] = []
        self._videos, self._cache, self._reading = videos, cache, reading
        self._held: OrderedDict[int, tuple[Footage, Changes, Changes]] = OrderedDict()
        self._lock = threading.Lock()

    def identical(self, first: int, second: int) -> Match:
        """Of two files of the same bytes."""
        one, length = self._footage(first)[0], self._videos[first].length
        return self._made(first, second, False, (one, one), [Segment(0, length, 0, 1.0)], [1.0])

    def match(self, first: int, second: int, flips: Sequence[bool]) -> Match | None:
        """The best of `flips`, mirrored or not; None if nothing agrees."""
        try:
            found = [one for flip in flips if (one := self._match(first, second, flip))]
        except Exception as error:  # a file that has gone since, say
            names = " and ".join(str(self._videos[number].source) for number in (first, second))
            self.notes.append(f"{names}: not compared ({' '.join(str(error).split())})")
            return None
        return max(found, key=_worth, default=None)

    def _match(self, first: int, second: int, flip: bool) -> Match | None:
        (one, changes, _), (two, plain, mirrored) = map(self._footage, (first, second))
        other = mirrored if flip else plain
        agreed = segments(changes, other, self._offsets(first, second, flip, changes, other))
        scores = []
        for segment in agreed:
            if changes.is_still or other.is_still:
                scores.append(segment.correlation)
                continue
            start, stop = _liveliest(changes.pictures, segment)
            sides = (
                Stretch(self._videos[first].source, one, start, stop),
                Stretch(
                    self._videos[second].source,
                    two,
                    max(start + segment.offset, 0),
                    stop + segment.offset,
                    flip,
                ),
            )
            scores.append(likeness(*sides, reading=self._reading))
        return self._made(first, second, flip, (one, two), agreed, scores) if agreed else None

    def _offsets(
        self, first: int, second: int, flip: bool, changes: Changes, other: Changes
    ) -> list[int] | None:
        """None for all."""
        one, two = self._videos[first], self._videos[second]
        if one.length * two.length <= _ALL_OFFSETS:
            return None
        spoken = votes(one.keys, two.keys[:, :, ::-1] if flip else two.keys, _VOTED)
        about = [offset * BINS_PER_KEY for offset in spoken]
        return refined(changes.changes, other.changes, about)

    @staticmethod
    def _made(
        first: int,
        second: int,
        flip: bool,
        both: tuple[Footage, Footage],
        agreed: Sequence[Segment],
        scores: Sequence[float],
    ) -> Match:
        lengths = len(both[0]), len(both[1])
        seconds = both[0].second_of, both[1].second_of
        return Match(first, second, flip, agreed, scores, lengths, seconds)

    def _footage(self, number: int) -> tuple[Footage, Changes, Changes]:
        """Footage and changes, plain and mirrored; those used last are at hand."""
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
                return self._held[number]
        video = self._videos[number]
        found = kept(self._cache, video.source, video.mark, reading=self._reading)
        if found is None:  # somebody has emptied the cache since
            found = footage(Video(video.source, self._reading))
        return self.hold(number, found)

    def hold(self, number: int, found: Footage) -> tuple[Footage, Changes, Changes]:
        """Have the footage of a video at hand."""
        all_of_it = found, Changes(found), Changes(found, mirrored=True)
        with self._lock:
            self._held[number] = all_of_it
            while len(self._held) > 2 and self._bins() > _HELD_BINS:
                self._held.popitem(last=False)
        return all_of_it

    def _bins(self) -> int:
        return sum(self._videos[number].length for number in self._held)


def enough(match: Match, similarity: float) -> Match | None:
    """The segments whose score is enough; None if there are none."""
    good = [
        (segment, score)
        for segment, score in zip(match.segments, match.scores, strict=True)
        if score >= similarity
    ]
    if sum(segment.length for segment, _ in good) * BIN_SECONDS < CERTAIN_SECONDS:
        least = 1 - (1 - similarity) / 4
        good = [(segment, score) for segment, score in good if score >= least]
    if not good:
        return None
    segments, scores = zip(*good, strict=True)
    return replace(match, segments=segments, scores=scores)


def _worth(match: Match) -> float:
    lengths = [segment.length for segment in match.segments]
    return float(np.dot(lengths, match.scores))


def _liveliest(pictures: np.ndarray, segment: Segment) -> tuple[int, int]:
    """The seconds of a segment in which most moves, in bins."""
    length = min(round(LONGEST_SECONDS / BIN_SECONDS), segment.length)
    part = pictures[segment.start : segment.stop].astype(np.float64)
    squares = np.concatenate([[0.0], np.cumsum((part**2).sum(axis=1))])
    sums = np.concatenate([np.zeros((1, part.shape[1])), np.cumsum(part, axis=0)])
    energy = squares[length:] - squares[:-length]
    energy -= ((sums[length:] - sums[:-length]) ** 2).sum(axis=1) / length
    start = segment.start + int(energy.argmax())
    return start, start + length
