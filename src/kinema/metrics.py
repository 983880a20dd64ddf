"""How good predictions are, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000
"""Of the bootstrap."""

NUM_NEIGHBOURS = 10
"""Of k-NN purity."""

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
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def group_interval(values: np.ndarray, groups: Sequence[str], *, seed: int = 0) -> Interval:
    """The mean of some values and a bootstrap interval in which whole groups are drawn.

    Videos of a group look alike and are right or wrong together, so an interval that took them for
    independent would be too narrow.

    Args:
        values: (n,), of each video: 1 where it is right and 0 where it is wrong, or a difference of
            two methods' (the interval of a paired difference).
        groups: n names.
        seed: of the resampling.

    Raises:
        ValueError: there is no value.
    """
    values = np.asarray(values, float)
    if not len(values) or len(values) != len(groups):
        raise ValueError(
            f"`values` and `groups` must be as many and at least one, got {len(values)} and "
            f"{len(groups)}."
        )
    _, group = np.unique(list(groups), return_inverse=True)
    sums, sizes = np.bincount(group, values), np.bincount(group)
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


def knn_purity(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
) -> float:
    """The share of a video's nearest neighbours that are of its class, mean over all videos.

    Videos of its own group do not count as neighbours: they are near for other reasons.

    Args:
        vectors: (n, D).
        labels: (n,).
        groups: n names.
        num_neighbours: how many of each are looked at; fewer where there are no more.

    Raises:
        ValueError: all videos are of one group.
    """
    from sklearn.metrics import pairwise_distances  # learning, which counts hits, does without it

    _, group = np.unique(list(groups), return_inverse=True)
    if len(group) == 0 or (group == group[0]).all():
        raise ValueError("`groups` must hold at least two different groups.")
    labels = np.asarray(labels)
    shares = []
    for start in range(0, len(vectors), DISTANCE_ROWS):
        rows = slice(start, start + DISTANCE_ROWS)
        distances = pairwise_distances(vectors[rows], vectors)
        distances[group[rows, None] == group] = np.inf
        for row, label in zip(distances, labels[rows], strict=True):
            nearest = np.argsort(row, kind="stable")[:num_neighbours]
            nearest = nearest[np.isfinite(row[nearest])]
            shares.append(np.mean(labels[nearest] == label))
    return float(np.mean(shares))
