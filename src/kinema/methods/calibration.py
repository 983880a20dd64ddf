"""Probabilities from the distances of a linear SVM: a sigmoid a class, by Platt's method.

J. C. Platt: Probabilistic outputs for support vector machines (1999). The distances must be those
of videos that the SVM did not learn from, so they come from folds. Targets are not 0 and 1 but
1 / (n- + 2) and (n+ + 1) / (n+ + 2), of n- videos of other classes and n+ of the class, which keeps
the sigmoid finite where a class is told without an error. The K sigmoids, one against the rest, are
brought to a sum of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

FEWEST = 20
"""Videos of each class from which sigmoids are fitted: two numbers from fewer say little."""

_NO_PENALTY = 1e10
"""C of scikit-learn's logistic regression with which its penalty plays no part."""


@dataclass(frozen=True, eq=False)
class Sigmoids:
    """One sigmoid a class: expit(slope * distance + offset).

    Attributes:
        slopes, offsets: (K,) float64.
    """

    slopes: np.ndarray
    offsets: np.ndarray

    def probabilities(self, distances: np.ndarray) -> np.ndarray:
        """(n, K) probabilities, rows of sum 1, of distances (n, K)."""
        single = expit(distances * self.slopes + self.offsets)
        total = single.sum(axis=1, keepdims=True)
        even = np.full_like(single, 1 / single.shape[1])  # of what is far from every class
        return np.divide(single, total, out=even, where=total > 1e-300)


def fit_sigmoids(distances: np.ndarray, labels: np.ndarray) -> Sigmoids:
    """The sigmoids under which held-out videos are most likely.

    A sigmoid that falls (a class that is told worse than by chance) is made flat: its share of the
    videos.

    Args:
        distances: (n, K) of videos that the SVM did not learn from.
        labels: (n,) indices of classes, 0 ... K - 1; each is there.
    """
    slopes, offsets = np.zeros(distances.shape[1]), np.zeros(distances.shape[1])
    for index, column in enumerate(distances.T):
        mine = labels == index
        above, below = int(mine.sum()), int((~mine).sum())
        target = np.where(mine, (above + 1) / (above + 2), 1 / (below + 2))
        # A target t is a video of the class with weight t and one of the rest with 1 - t.
        scale = float(column.std()) or 1.0
        both = np.concatenate([column, column])[:, None] / scale
        is_mine = np.repeat([1, 0], len(column))
        regression = LogisticRegression(C=_NO_PENALTY, tol=1e-8, max_iter=1000)
        regression.fit(both, is_mine, sample_weight=np.concatenate([target, 1 - target]))
        slopes[index] = regression.coef_[0, 0] / scale
        offsets[index] = regression.intercept_[0]
        if slopes[index] <= 0:
            slopes[index] = 0.0
            offsets[index] = np.log(target.sum() / (len(target) - target.sum()))
    return Sigmoids(slopes, offsets)
