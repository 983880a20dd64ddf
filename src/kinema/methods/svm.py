"""The paper's classifier: a multi-class linear SVM on the features of whole videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import LinearSVC

from kinema.estimators import C3DFeatures
from kinema.feature_table import FeatureTable, normalized

SWEEP = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Costs to choose from: the paper does not state its own."""

MOST_FOLDS = 5


class FeatureSVM(ClassifierMixin, BaseEstimator):
    """A linear SVM (one against the rest, LIBLINEAR) on one or several features of videos.

    Args:
        features: transformers from video paths to (n, D); their outputs are concatenated.
        cost: C; None for the best of `SWEEP` by cross-validation on the training videos, in which
            groups are not torn apart. The smaller of equals is taken.

    Attributes:
        classes_: (K,) the labels, sorted.
        cost_: the C that was used.
        sweep_: accuracy of the cross-validation by C; empty if there was none.
        num_dimensions_: of the concatenated features.
    """

    def __init__(self, features: Sequence[Any], cost: float | None = None) -> None:
        self.features = features
        self.cost = cost

    def fit(self, X: Any, y: Any, groups: Any = None) -> FeatureSVM:
        """Learn from videos.

        Args:
            X: paths of n videos.
            y: n labels.
            groups: n names; videos of one group are on one side in the cross-validation.
        """
        return self.fit_vectors(self.vectors(X), y, groups)

    def fit_vectors(self, vectors: np.ndarray, y: Any, groups: Any = None) -> FeatureSVM:
        """As `fit`, from what `vectors` gave."""
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"`y` must hold at least two classes, got {self.classes_.tolist()}.")
        own = np.arange(len(labels)) if groups is None else np.asarray(groups)
        self.sweep_ = {} if self.cost is not None else _sweep(vectors, labels, own)
        if self.cost is not None:
            self.cost_ = self.cost
        else:
            self.cost_ = max(self.sweep_, key=self.sweep_.__getitem__, default=1.0)
        self.num_dimensions_ = vectors.shape[1]
        self.svm_ = _svm(self.cost_).fit(vectors, labels)
        return self

    def vectors(self, X: Any) -> np.ndarray:
        """(n, D) features of videos, side by side."""
        return np.hstack([transformer.transform(X) for transformer in self.features])

    def clip_tables(self, path: Any) -> list[FeatureTable]:
        """A table of a video's clips by each of the features; none if one of them has no clips."""
        if not all(isinstance(transformer, C3DFeatures) for transformer in self.features):
            return []
        return [transformer.table(path) for transformer in self.features]

    def decide_clips(self, tables: Sequence[FeatureTable]) -> np.ndarray:
        """(m, K) scores of single clips, as if each were a video."""
        columns = [
            normalized(table.features) if transformer.l2 else table.features
            for transformer, table in zip(self.features, tables, strict=True)
        ]
        return self.decide(np.hstack(columns))

    def decision_function(self, X: Any) -> np.ndarray:
        """(n, K) signed distances; also for two classes."""
        return self.decide(self.vectors(X))

    def decide(self, vectors: np.ndarray) -> np.ndarray:
        """As `decision_function`, from what `vectors` gave."""
        scores = self.svm_.decision_function(vectors)
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, D) and (K,): `decide(v)` is v @ coefficients.T + intercepts."""
        coefficients, intercepts = self.svm_.coef_, self.svm_.intercept_
        if len(coefficients) == 1:  # of the second of two classes
            coefficients = np.concatenate([-coefficients, coefficients])
            intercepts = np.concatenate([-intercepts, intercepts])
        return coefficients, intercepts

    def predict(self, X: Any) -> np.ndarray:
        """(n,) labels."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]


def _svm(cost: float) -> LinearSVC:
    return LinearSVC(C=cost, dual="auto", random_state=0, max_iter=10_000)


def _sweep(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[float, float]:
    """Accuracy by C, of as many grouped folds as each class has groups for; empty if only one."""
    num_groups = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    num_folds = min(num_groups, MOST_FOLDS)
    if num_folds < 2:
        return {}
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=0)
    right = dict.fromkeys(SWEEP, 0)
    for train, test in folds.split(vectors, labels, groups):
        if len(np.unique(labels[train])) < 2:
            continue
        for cost in SWEEP:
            predicted = _svm(cost).fit(vectors[train], labels[train]).predict(vectors[test])
            right[cost] += int((predicted == labels[test]).sum())
    return {cost: count / len(labels) for cost, count in right.items()}
