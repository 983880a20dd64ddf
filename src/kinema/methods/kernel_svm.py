"""A linear SVM by its dual, on the products of videos with each other: for many dimensions.

`LinearSVC` goes through all dimensions of all videos in each of its rounds; here they are gone
through once. The two differ a little. This one has the hinge loss and a free intercept (LIBSVM),
that one the squared hinge and an intercept that is kept small like a weight (LIBLINEAR).
"""

from __future__ import annotations

import numpy as np
from sklearn.svm import SVC

BLOCK_COLUMNS = 8192


class KernelSVM:
    """One against the rest, as `LinearSVC`.

    Args:
        cost: C.

    Attributes:
        classes_: (K,) the labels, sorted.
        coef_: (K, D) float64; (1, D), of the second class, for two.
        intercept_: (K,) or (1,).
    """

    def __init__(self, cost: float) -> None:
        self.cost = cost

    def fit(self, vectors: np.ndarray, labels: np.ndarray) -> KernelSVM:
        """Train on (n, D) vectors."""
        weights, self.intercept_ = self.duals(products(vectors), labels)
        self.coef_ = np.empty((len(weights), vectors.shape[1]))
        for columns in _blocks(vectors):
            self.coef_[:, columns] = weights @ vectors[:, columns].astype(np.float64)
        return self

    def duals(self, gram: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (K, n) of the training vectors and intercepts (K,), from their products (n, n).

        Those of two classes are (1, n) and (1,).
        """
        self.classes_ = np.unique(labels)
        positive = self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        weights = np.zeros((len(positive), len(labels)))
        intercepts = np.zeros(len(positive))
        for index, label in enumerate(positive):
            svm = SVC(C=self.cost, kernel="precomputed").fit(gram, labels == label)
            weights[index, svm.support_] = svm.dual_coef_[0]
            intercepts[index] = svm.intercept_[0]
        return weights, intercepts

    def decision_function(self, vectors: np.ndarray) -> np.ndarray:
        """(n, K) signed distances; (n,) of the second class for two."""
        scores = np.tile(self.intercept_, (len(vectors), 1))
        for columns in _blocks(vectors):
            scores += vectors[:, columns].astype(np.float64) @ self.coef_[:, columns].T
        return scores[:, 0] if scores.shape[1] == 1 else scores


def num_right(
    gram: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, cost: float
) -> int:
    """How many of the test videos are right, from the products of all videos."""
    svm = KernelSVM(cost)
    weights, intercepts = svm.duals(gram[np.ix_(train, train)], labels[train])
    scores = gram[np.ix_(test, train)] @ weights.T + intercepts
    chosen = scores[:, 0] > 0 if len(intercepts) == 1 else scores.argmax(axis=1)
    return int((svm.classes_[chosen.astype(int)] == labels[test]).sum())


def products(vectors: np.ndarray) -> np.ndarray:
    """(n, n) float64 dot products of n vectors with each other."""
    gram = np.zeros((len(vectors), len(vectors)))
    for columns in _blocks(vectors):
        block = vectors[:, columns].astype(np.float64)
        gram += block @ block.T
    return gram


def _blocks(vectors: np.ndarray) -> list[slice]:
    starts = range(0, vectors.shape[1], BLOCK_COLUMNS)
    return [slice(start, start + BLOCK_COLUMNS) for start in starts]
