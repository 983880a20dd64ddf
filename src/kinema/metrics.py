"""How good predictions are, and how sure that is.

Note [Groups that agree]
    Where all groups have the same mean (all videos are right, say, or there is one group only), a
    bootstrap draws the same mean again and again, and its interval has no width. But that twelve
    groups of twelve were right does not say that the thirteenth will be. Then a share has Wilson's
    interval, with the number of groups for that of trials. Of a difference, each of its two parts
    has that, the share of videos that only the one method has right and that which only the other
    has; the difference lies between the lowest of the first less the highest of the second, and the
    other way round. Of methods that agree on all of G groups that is plus and minus
    z^2 / (G + z^2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000
"""Of the bootstrap."""

Z = 1.959964
"""Of the normal distribution, for 95 %."""

NUM_NEIGHBOURS = 10
"""Of k-NN purity; fewer where a class is smaller, see `knn_purity`."""

DISTANCE_ROWS = 1024
"""Videos whose distances to all others are held at once."""


def hits(scores: np.ndarray, labels: Sequence[Sequence[int]], k: int) -> np.ndarray:
    """Whether one of each row's true classes is among its k highest scores.

    Args:
        scores: (n, K).
        labels: n times the indices of the true classes.

    Returns:
        (n,) bool.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.array(
        [not set(row).isdisjoint(true) for row, true in zip(best.tolist(), labels, strict=True)],
        bool,
    )


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval.

    Attributes:
        mean: of the videos.
        low, high: of the interval.
        resampled: whether the interval is the bootstrap's; if not, see Note [Groups that agree].
    """

    mean: float
    low: float
    high: float
    resampled: bool = True

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(share: float, num: int) -> tuple[float, float]:
    """The 95 % interval of a share that was seen in `num` independent trials, after Wilson.

    E. B. Wilson: Probable inference, the law of succession, and statistical inference (1927). For a
    share of 0 it ends at z^2 / (num + z^2), for large numbers 3.84 / num, near the rule of three.
    """
    centre = share + Z**2 / (2 * num)
    half = Z * math.sqrt(share * (1 - share) / num + Z**2 / (4 * num**2))
    low, high = (centre - half) / (1 + Z**2 / num), (centre + half) / (1 + Z**2 / num)
    return max(min(low, share), 0.0), min(max(high, share), 1.0)  # but for rounding, as they are


def group_interval(values: np.ndarray, groups: Sequence[str], *, seed: int = 0) -> Interval:
    """The share of the videos that are right, and a bootstrap interval: whole groups are drawn.

    Videos of a group look alike and are right or wrong together, so an interval that took them for
    independent would be too narrow. See Note [Groups that agree] for what the bootstrap cannot do.

    Args:
        values: (n,), of each video: 1 where it is right and 0 where it is wrong.
        groups: n names.
        seed: of the resampling.

    Raises:
        ValueError: there is no value.
    """
    values, sums, sizes = _by_group(values, groups)
    share = float(values.mean())
    if _agree(sums, sizes):
        return Interval(share, *wilson(share, len(sums)), resampled=False)
    return _bootstrap(values, sums, sizes, seed)


def paired_interval(
    right: np.ndarray, before: np.ndarray, groups: Sequence[str], *, seed: int = 0
) -> Interval:
    """How much larger the share that one method has right is than another's, on the same videos.

    The bootstrap draws whole groups, and differences are paired by video. See also Note [Groups
    that agree].

    Args:
        right: (n,) 1 where the method is right and 0 where it is wrong.
        before: (n,) of the other method.
        groups: n names.
        seed: of the resampling.

    Raises:
        ValueError: there is no value.
    """
    differences = np.asarray(right, float) - np.asarray(before, float)
    differences, sums, sizes = _by_group(differences, groups)
    if not _agree(sums, sizes):
        return _bootstrap(differences, sums, sizes, seed)
    better = wilson(float((differences > 0).mean()), len(sums))
    worse = wilson(float((differences < 0).mean()), len(sums))
    mean = float(differences.mean())
    return Interval(mean, better[0] - worse[1], better[1] - worse[0], resampled=False)


def _by_group(
    values: np.ndarray, groups: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values as numbers, and of each group their sum and how many there are."""
    values = np.asarray(values, float)
    if not len(values) or len(values) != len(groups):
        raise ValueError(
            f"`values` and `groups` must be as many and at least one, got {len(values)} and "
            f"{len(groups)}."
        )
    _, group = np.unique(list(groups), return_inverse=True)
    return values, np.bincount(group, values), np.bincount(group)


def _agree(sums: np.ndarray, sizes: np.ndarray) -> bool:
    return bool(np.ptp(sums / sizes) < 1e-9)


def _bootstrap(values: np.ndarray, sums: np.ndarray, sizes: np.ndarray, seed: int) -> Interval:
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(sums), (NUM_RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(K, K) int64: how many videos of the class of the row were taken for that of the column."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (true, predicted), 1)
    return matrix


def num_alike(labels: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(n,) how many videos of its class each video has outside its own group."""
    _, label = np.unique(labels, return_inverse=True)
    _, group = np.unique(list(groups), return_inverse=True)
    _, both = np.unique(label * len(group) + group, return_inverse=True)
    alike: np.ndarray = np.bincount(label)[label] - np.bincount(both)[both]
    return alike


def knn_purity(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
) -> float | None:
    """The share of a video's nearest neighbours that are of its class, mean over the videos.

    Videos of its own group do not count as neighbours: they are near for other reasons. A video has
    as many neighbours as there are others of its class (outside its group), ten at most; so classes
    that lie apart have a purity of 1 however small they are. A video that has no other of its class
    is left out, see `num_alike`.

    Args:
        vectors: (n, D).
        labels: (n,).
        groups: n names.
        num_neighbours: how many of each are looked at, at most.

    Returns:
        0 ... 1; None if every video is left out.
    """
    from sklearn.metrics import pairwise_distances  # learning, which counts hits, does without it

    labels = np.asarray(labels)
    _, group = np.unique(list(groups), return_inverse=True)
    counts = np.minimum(num_alike(labels, groups), num_neighbours)
    shares = []
    for start in range(0, len(vectors), DISTANCE_ROWS):
        rows = slice(start, start + DISTANCE_ROWS)
        distances = pairwise_distances(vectors[rows], vectors)
        distances[group[rows, None] == group] = np.inf
        for row, label, count in zip(distances, labels[rows], counts[rows], strict=True):
            if count:
                nearest = np.argsort(row, kind="stable")[:count]
                shares.append(np.mean(labels[nearest] == label))
    return float(np.mean(shares)) if shares else None


def purity_note(labels: np.ndarray, groups: Sequence[str]) -> str:
    """Which videos k-NN purity leaves out, in a line; "" if none."""
    alone = int((num_alike(labels, groups) == 0).sum())
    if not alone:
        return ""
    return (
        f"{alone} of {len(labels)} videos play no part in k-NN purity: no other video of their "
        "class is outside their group."
    )
