"""What a classifier has seen, to tell what is like none of it.

Note [None of these]
    A video is none of these if it is farther from every video that was learned from than those are
    from each other. The distance is that of unit vectors, 0 to 2, to the nearest. Those of the
    videos that were learned from are taken to the nearest one of another group, since a new video
    is of none of their groups. The threshold is the k-th smallest of these n distances, with k =
    ceil(0.95 (n + 1)): one more video of the same kind would lie beyond it once in twenty times at
    most. Videos of one group lie as near as each other, so what counts is how many groups there
    are: under 19 the largest would be passed too often (of 5 groups, by one new one in six). Then
    it is the bound of a normal distribution's next value, mean + t s sqrt(1 + 1 / groups), t being
    Student's 95 % quantile of groups - 1 degrees; the largest, if that is more.

    experiments/classify.py measures what that finds (docs/results/classify.json). Margins of the
    SVM, distances from the mean, and both together told less than the plain distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special

from kinema.features.table import FeatureTable, normalized

MOST_VECTORS = 1000
"""Videos that are kept: 2.5 MB of c3d-mini and ImageNet side by side."""

WRONGLY = 0.05
"""Share of the videos of known classes that may be called none of these."""

FEW_GROUPS = 19
"""Under so many the 95 % quantile of their distances is not among them."""

_ROWS = 1024
"""Videos whose distances are held at once."""


STEADY_SECONDS = 2.0
"""Of the running mean over clips. On 4.6 minutes that were joined of 45 videos the right class was
told 79 to 89 % of the time, in about as many segments as there were; by single clips, 71 to 80 %
and two to three times as many, since they are called none of these too often
(docs/results/classify.json)."""


def steady(table: FeatureTable) -> np.ndarray:
    """(n, D) running mean over the clips that start within a second of each.

    A table without times is left as it is.
    """
    start = table.start_seconds
    steps = np.diff(start)
    step = float(np.median(steps)) if len(steps) else 0.0
    if not step > 0 or not np.isfinite(start).all():
        return table.features
    half = round(STEADY_SECONDS / 2 / step)
    total = np.cumsum(np.vstack([np.zeros(table.features.shape[1]), table.features]), axis=0)
    rows = np.arange(len(table))
    first, last = np.maximum(rows - half, 0), np.minimum(rows + half + 1, len(rows))
    means: np.ndarray = (total[last] - total[first]) / (last - first)[:, None]
    return means


@dataclass(frozen=True, eq=False)
class Seen:
    """What was learned from.

    Attributes:
        vectors: (m, D) float16, of length 1.
        threshold: the distance from which on a video is none of these.
    """

    vectors: np.ndarray
    threshold: float

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) of each of n vectors (n, D) to the nearest that was seen; 0 to 2."""
        kept = self.vectors.astype(np.float32)
        unit = normalized(vectors)
        rows = [_distances(unit[at : at + _ROWS], kept) for at in range(0, len(unit), _ROWS)]
        return np.concatenate([each.min(axis=1) for each in rows] or [np.zeros(0, np.float32)])

    def is_beyond(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) bool: whether each is none of these."""
        return self.distances(vectors) > self.threshold


def remember(
    vectors: np.ndarray, labels: np.ndarray, groups: Sequence[str], *, seed: int = 0
) -> Seen | None:
    """What was seen, and the threshold; see Note [None of these].

    Args:
        vectors: (n, D) of the videos that were learned from.
        labels: (n,).
        groups: n names. Where a class is one group, each of its videos counts as its own.
        seed: of the choice where there are more than `MOST_VECTORS`.

    Returns:
        None where no class has two videos: then nothing tells how far is far.
    """
    labels = np.asarray(labels)
    parted = parted_groups(labels, groups)
    unit = normalized(vectors)
    chosen = _evenly(labels, MOST_VECTORS, seed)
    kept = unit[chosen].astype(np.float16)
    _, numbers = np.unique(parted, return_inverse=True)
    several = np.array([(labels == label).sum() > 1 for label in labels])
    tested = np.flatnonzero(several)
    if not len(tested):
        return None
    nearest = []
    for at in range(0, len(tested), _ROWS):
        rows = tested[at : at + _ROWS]
        distances = _distances(unit[rows], kept.astype(np.float32))
        distances[numbers[rows][:, None] == numbers[chosen]] = np.inf
        nearest.append(distances.min(axis=1))
    return Seen(kept, limit_of(np.concatenate(nearest), len(np.unique(numbers[tested]))))


def limit_of(distances: np.ndarray, num_groups: int) -> float:
    """The threshold of n distances (n,) of videos of some groups, see Note [None of these]."""
    found = np.sort(distances[np.isfinite(distances)])
    if not len(found):
        return 2.0  # all are one group of several classes: nothing is far
    if 1 < num_groups < FEW_GROUPS and len(found) > 1:
        quantile = scipy.special.stdtrit(num_groups - 1, 1 - WRONGLY)
        reach = quantile * found.std(ddof=1) * math.sqrt(1 + 1 / num_groups)
        return float(max(found[-1], found.mean() + reach))
    rank = math.ceil((1 - WRONGLY) * (len(found) + 1))
    return float(found[min(rank, len(found)) - 1])


def parted_groups(labels: np.ndarray, groups: Sequence[str]) -> list[str]:
    """Groups, but where a class is one group, each of its videos is its own."""
    held: dict[object, set[str]] = {}
    for label, group in zip(labels.tolist(), groups, strict=True):
        held.setdefault(label, set()).add(group)
    return [
        f"{group}#{index}" if len(held[label]) == 1 else group
        for index, (label, group) in enumerate(zip(labels.tolist(), groups, strict=True))
    ]


def _evenly(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Indices of at most so many videos, the same number of each class as far as it goes."""
    if len(labels) <= most:
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    turns = np.empty(len(labels), int)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        turns[mine] = generator.permutation(len(mine))
    return np.sort(np.lexsort((labels, turns))[:most])


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, m) between unit vectors."""
    distances: np.ndarray = np.sqrt(np.maximum(2 - 2 * first @ second.T, 0))
    return distances
