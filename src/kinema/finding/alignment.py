"""Where two videos change in the same way: offsets in time, and the segments that agree.

    bins --minus their local mean--> changes --each with each--> offsets in time
    bins at an offset --correlation in windows--> runs of windows that agree: segments

Note [What changes]
    The pictures of a fixed camera agree at all times, so nothing is told by how alike they are.
    What tells is how they change: in a window of `WINDOW` bins, each cell minus its mean over the
    window, correlated over all cells and bins with the other video's. It is 0.9 and more for
    copies, also brighter ones and those encoded anew, and below 0.5 for nearly all windows of
    other footage (docs/finding-duplicates.md). Its mean is that of the window, not of a wider
    time, so that a window at the edge of a segment knows nothing of what is behind it.

    A window in which nothing moves says nothing: it counts where its pictures are equal, and only
    beside windows that move. See Note [Still videos].

Note [Still videos]
    A video in which nothing ever moves has no changes. It counts as the same footage where its
    mean picture is nearly equal, pixel by pixel: `STILL_DIFFERENCE` grey levels on average. A fixed
    camera at another time of day is farther away than that.

Note [Pictures that lie otherwise]
    A crop moves cells by up to one cell. Where windows agree only half, the mean pictures of the
    best window are laid on each other (stretched and moved, no turns) and the comparison is made
    again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from kinema.finding.footage import Footage
from kinema.finding.laying import laid_on

WINDOW = 15
"""Bins, 1.5 s: a step, half a push-up."""

_SHORTEST = 5  # bins; half a second is too little to say anything

_AGREE = 0.75
"""Least correlation of a window in a segment; the middle of it must reach `_SURE`."""

_SURE = 0.85

_EDGE = 0.1
"""A segment ends where correlation falls by this below its median: there others begin."""

_MOVES = 0.8
"""Root mean square of the changes of a window that moves, in grey levels: noise is below."""

_GAP = 10
"""Bins between two segments of one offset that are bridged: a lost frame, a flash."""

STILL_DIFFERENCE = 2.5
"""Grey levels: encoding anew makes one, another moment of a fixed camera three and more."""

_STILL_CELL = 12.0
"""Grey levels of one of the 192 cells: a cup that was moved makes more."""

_EQUAL = 0.97
"""Least correlation of the pictures of a window in which nothing moves."""

_MEAN_BINS = 10
"""Changes for offsets are bins minus their mean over +- this many."""

_SEARCHED = 20
"""Bins of a diagonal that speak for an offset: longer than a chance, shorter than most cuts."""

_HOPEFUL = 0.4
"""Least mean correlation of these bins."""

_OFFSETS = 8
"""Offsets that are looked at closely."""

_QUARTERS = (0.0, -0.5, -0.25, 0.25, 0.5)


class Changes:
    """A video as it is compared, (n, 192) float32 each; mirrored if that is wanted.

    Attributes:
        pictures: grey values.
        changes: minus their mean over +-1 s, of length 1 each; shorter where nothing moves.
    """

    def __init__(self, footage: Footage, *, mirrored: bool = False) -> None:
        self._bins = footage.bins[:, :, ::-1] if mirrored else footage.bins

    @cached_property
    def pictures(self) -> np.ndarray:
        """See above."""
        return self._bins.reshape(len(self._bins), -1).astype(np.float32)

    @cached_property
    def changes(self) -> np.ndarray:
        """See above."""
        pictures, count = self.pictures, len(self.pictures)
        sums = _sums(pictures)
        start = np.maximum(np.arange(count) - _MEAN_BINS, 0)
        stop = np.minimum(np.arange(count) + _MEAN_BINS + 1, count)
        changes = pictures - (sums[stop] - sums[start]) / (stop - start)[:, None]
        changes -= changes.mean(axis=1, keepdims=True)
        length = np.linalg.norm(changes, axis=1, keepdims=True)
        least = _MOVES * np.sqrt(pictures.shape[1])
        return (changes / np.maximum(length, least)).astype(np.float32)

    @cached_property
    def is_still(self) -> bool:
        """Whether nothing ever moves; see Note [Still videos]."""
        pictures = self.pictures
        return bool(np.sqrt(np.mean((pictures - pictures.mean(axis=0)) ** 2, axis=1)).max() < 1.5)


@dataclass(frozen=True)
class Segment:
    """A stretch of two videos that shows the same, in bins; those of the second may be between two.

    Attributes:
        start, stop: in the first video.
        offset: from a time of the first to that of the second.
        correlation: of its windows, the median.
    """

    start: int
    stop: int
    offset: float
    correlation: float

    @property
    def length(self) -> int:
        """Bins."""
        return self.stop - self.start


def segments(
    first: Changes, second: Changes, offsets: Iterable[int] | None = None
) -> list[Segment]:
    """The stretches in which two videos show the same, the longest first; none overlaps another.

    Args:
        first, second: the videos.
        offsets: in bins, from the first to the second; None looks at all of them.
    """
    if first.is_still or second.is_still:
        return _still(first, second)
    if offsets is None:
        offsets = best_offsets(first.changes, second.changes)
    found: list[Segment] = []
    shorter = min(len(first.pictures), len(second.pictures))
    for offset in offsets:
        here = _at(first, second, offset)
        found += here
        # All of the shorter one is found: nothing is left for other offsets.
        if any(one.length >= shorter - _SHORTEST and one.correlation >= 0.95 for one in here):
            break
    found.sort(key=lambda one: -one.length * one.correlation**2)
    used = np.zeros(len(first.pictures), bool), np.zeros(len(second.pictures), bool)
    kept: list[Segment] = []
    for one in found:
        for free in _free(one, used):
            kept.append(free)
            for side, shift in zip(used, (0, round(free.offset)), strict=True):
                side[free.start + shift : free.stop + shift] = True
    return sorted(kept, key=lambda one: -one.length)


def _free(one: Segment, used: tuple[np.ndarray, np.ndarray]) -> list[Segment]:
    """What is left of a segment where neither video has been matched better."""
    shift = round(one.offset)
    taken = used[0][one.start : one.stop].copy()
    other = used[1][one.start + shift : one.stop + shift]
    taken[: len(other)] |= other
    return [
        replace(one, start=one.start + start, stop=one.start + stop)
        for start, stop in _runs(~taken)
        if stop - start >= min(WINDOW, one.length)
    ]


def best_offsets(first: np.ndarray, second: np.ndarray) -> list[int]:
    """Offsets, from the first to the second, at which changes agree for two seconds; best first.

    Args:
        first, second: (n, 192) and (m, 192) changes.
    """
    count, other = len(first), len(second)
    width = min(_SEARCHED, count, other)
    best = np.zeros(count + other - 1, np.float32)
    for start in range(0, count, _ROWS):
        part = first[start : start + _ROWS + width - 1]
        if len(part) < width:
            break
        scores = _diagonals(part, second, width)
        # An offset of part of the rows is one of all rows, `start` further to the left.
        place = count - (start + len(part))
        np.maximum(best[place : place + len(scores)], scores, out=best[place : place + len(scores)])
    found: list[int] = []
    while len(found) < _OFFSETS and (peak := int(best.argmax())) >= 0 and best[peak] >= _HOPEFUL:
        found.append(peak - (count - 1))
        best[max(0, peak - 2) : peak + 3] = 0
    return found


_ROWS = 1000  # at once, so that memory stays flat


def refined(first: np.ndarray, second: np.ndarray, about: Iterable[int]) -> list[int]:
    """The best offset within a second of each of some, where there is a hopeful one.

    Args:
        first, second: (n, 192) and (m, 192) changes.
        about: offsets in bins.
    """
    tried: dict[int, float] = {}
    for middle in about:
        for offset in range(middle - _MEAN_BINS, middle + _MEAN_BINS + 1):
            start, stop = max(0, -offset), min(len(first), len(second) - offset)
            if offset not in tried and stop - start >= _SHORTEST:
                pairs = first[start:stop], second[start + offset : stop + offset]
                products = np.einsum("ij,ij->i", *pairs)[:, None]
                width = min(_SEARCHED, len(products))
                tried[offset] = float(_boxes(products, width).max()) / width
    found: list[int] = []
    for offset in sorted(tried, key=lambda one: -tried[one]):
        if tried[offset] >= _HOPEFUL and all(abs(offset - other) > 2 for other in found):
            found.append(offset)
    return found[:_OFFSETS]


def _diagonals(first: np.ndarray, second: np.ndarray, width: int) -> np.ndarray:
    """(n + m - 1,) of each diagonal, from the lower left on, the best mean of `width` in a row."""
    count, other = len(first), len(second)
    products = np.zeros((count, count + other), np.float32)
    np.matmul(first[::-1], second.T, out=products[:, :other])
    # Rows that are one shorter: each is moved by one, so that a diagonal becomes a column.
    skewed = products.ravel()[: count * (count + other - 1)].reshape(count, count + other - 1)
    sums = np.zeros((count + 1, count + other - 1), np.float32)
    np.cumsum(skewed, axis=0, out=sums[1:])
    best: np.ndarray = (sums[width:] - sums[:-width]).max(axis=0) / width
    return best


# --- at one offset --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Windows:
    """All windows of two videos at an offset.

    Attributes:
        start: of the first window, in the first video.
        width: bins of each.
        agree: (k,) correlation of the changes.
        moves: (k,) whether both move.
        rests: (k,) whether neither does and the pictures are equal.
    """

    start: int
    width: int
    agree: np.ndarray
    moves: np.ndarray
    rests: np.ndarray

    @property
    def good(self) -> float:
        """How far the windows that move agree in all."""
        return float(np.clip(self.agree[self.moves] - 0.5, 0, None).sum())


def _windows(first: np.ndarray, second: np.ndarray, offset: float) -> _Windows | None:
    """Of pictures (n, 192) and (m, 192); None if they hardly meet."""
    whole = int(np.floor(offset))
    part = float(offset - whole)
    start = max(0, -whole)
    stop = min(len(first), len(second) - whole - int(part > 0))
    width = min(WINDOW, stop - start)
    if width < _SHORTEST:
        return None
    ours = first[start:stop]
    theirs = second[start + whole : stop + whole]
    if part > 0:
        theirs = (1 - part) * theirs + part * second[start + whole + 1 : stop + whole + 1]
    equal = _correlations(_boxes(ours, width), _boxes(theirs, width)) >= _EQUAL
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    sums = _boxes(ours, width), _boxes(theirs, width)

    def together(one: int, two: int) -> np.ndarray:
        both = (ours, theirs)
        products = np.einsum("ij,ij->i", both[one], both[two])
        product = np.einsum("ij,ij->i", sums[one], sums[two]) / width
        found: np.ndarray = _boxes(products[:, None], width)[:, 0] - product
        return found

    energies = np.maximum(together(0, 0), 0), np.maximum(together(1, 1), 0)
    agree = together(0, 1) / np.sqrt(energies[0] * energies[1] + 1e-6)
    moves = [energy >= _MOVES**2 * width * ours.shape[1] for energy in energies]
    return _Windows(start, width, agree, moves[0] & moves[1], ~moves[0] & ~moves[1] & equal)


def _at(first: Changes, second: Changes, offset: int) -> list[Segment]:
    """Segments near an offset, at the quarter of a bin that fits best."""
    ours, theirs = first.pictures, second.pictures

    def best(pictures: np.ndarray) -> tuple[float, float, _Windows] | None:
        found = []
        for quarter in _QUARTERS:
            windows = _windows(ours, pictures, offset + quarter)
            if windows is None or not windows.moves.any():
                continue
            if not quarter and windows.agree[windows.moves].max() < 0.35:
                break  # half a bin does not make it 0.75
            found.append((windows.good, offset + quarter, windows))
        return max(found, key=lambda one: one[0], default=None)

    found = best(theirs)
    if found is None:
        return []
    windows = found[2]
    moving = np.where(windows.moves, windows.agree, -1)
    peak = int(moving.argmax())
    if moving[peak] < 0.4:
        return []
    if np.median(windows.agree[windows.moves & (moving >= 0.4)]) < 0.95:
        laid = laid_on(ours, theirs, windows.start + peak, found[1], windows.width)
        again = None if laid is None else best(theirs @ laid)
        if again is not None and again[0] > found[0]:
            found = again
    return list(_segments(found[2], found[1]))


def _segments(windows: _Windows, offset: float) -> Iterator[Segment]:
    agrees = windows.moves & (windows.agree >= _AGREE)
    for start, stop in _runs(_bridged(agrees | windows.rests, agrees, windows.width)):
        here = agrees[start:stop]
        values = windows.agree[start:stop]
        if not here.any() or values[here].max() < _SURE:
            continue
        median = float(np.median(values[here]))
        # Windows at an end that hold a little of what is behind it agree less.
        fits = ~here & windows.rests[start:stop] | here & (values >= median - _EDGE)
        inner = np.flatnonzero(fits)
        if len(inner):
            first, last = start + int(inner[0]), start + int(inner[-1])
            yield Segment(
                windows.start + first, windows.start + last + windows.width, offset, median
            )


def _bridged(good: np.ndarray, moving: np.ndarray, width: int) -> np.ndarray:
    """Windows that are in segments: gaps between good ones are filled if no bin gap is long."""
    filled = good.copy()
    runs = _runs(good)
    for (_, stop), (start, _) in pairwise(runs):
        if start - stop <= width - 1 + _GAP:
            filled[stop:start] = True
    return filled


def _still(first: Changes, second: Changes) -> list[Segment]:
    """All of the shorter one, if it is still, where the other is so too."""
    shorter = min(len(first.pictures), len(second.pictures))
    sides = sorted((first, second), key=lambda one: len(one.pictures))
    short, long = sides
    if shorter < _SHORTEST or not short.is_still or short.pictures.mean(axis=0).std() < 8:
        return []
    cells = np.abs(long.pictures - short.pictures.mean(axis=0))
    apart = cells.mean(axis=1)
    near = (apart <= STILL_DIFFERENCE) & (cells.max(axis=1) <= _STILL_CELL)
    for start, stop in _runs(near):
        if stop - start >= shorter - 2:
            length = min(shorter, stop - start)
            alike = 1 - float(apart[start:stop].mean()) / 25
            if short is first:
                return [Segment(0, length, start, alike)]
            return [Segment(start, start + length, -start, alike)]
    return []


# --- small things ---------------------------------------------------------------------------------


def _sums(values: np.ndarray) -> np.ndarray:
    """(n + 1, k) float64: of the first 0, 1, ... rows."""
    found = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=found[1:])
    return found


def _boxes(values: np.ndarray, width: int) -> np.ndarray:
    """Sums of `width` rows in a row."""
    sums = _sums(values)
    boxes: np.ndarray = sums[width:] - sums[:-width]
    return boxes


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) of rows."""
    ours, theirs = (side - side.mean(axis=1, keepdims=True) for side in (first, second))
    products = np.einsum("ij,ij->i", ours, theirs)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    found: np.ndarray = products / np.maximum(lengths, 1e-6)
    return found


def _runs(wanted: np.ndarray | Sequence[bool]) -> list[tuple[int, int]]:
    """Starts and stops of what is true in a row."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(wanted, np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(ends[::2], ends[1::2], strict=True)]
