"""A linear SVM on vectors by codebooks of the training videos, alone or beside C3D's features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from kinema.features.table import normalized
from kinema.methods.encoding import TrajectoryEncoder
from kinema.methods.svm import FeatureSVM, has_many_dimensions
from kinema.video.sources import as_source
from kinema.words import number_of


class EncodedSVM(ClassifierMixin, BaseEstimator):
    """Codebooks, then the SVM of `FeatureSVM`, both fitted on the training videos.

    Its features are another fit's others, so it has no `describe`. The cross-validation of C takes
    its folds from vectors by the codebooks of all training videos; the test videos play no part.

    Args:
        encoder: of trajectories.
        features: describers whose features stand before the encoder's. Then either side is brought
            to length 1, so that both weigh the same, and C is chosen for both together.
        l2: whether the describers' side is, too.
        cost, cache, progress, title, stands_in: see `FeatureSVM`.

    Attributes:
        encoder_: fitted.
        classes_, chosen_, sweep_, num_dimensions_: see `FeatureSVM`.
    """

    def __init__(
        self,
        encoder: TrajectoryEncoder,
        features: Sequence[Any] = (),
        cost: float | None = None,
        *,
        l2: bool = True,
        cache: Path | None = None,
        progress: bool = False,
        title: str = "",
        stands_in: str = "",
    ) -> None:
        self.encoder = encoder
        self.features = features
        self.cost = cost
        self.l2 = l2
        self.cache = cache
        self.progress = progress
        self.title = title
        self.stands_in = stands_in

    @property
    def describers(self) -> Sequence[Any]:
        """What is made of videos before any fit, each with a cache of its own."""
        return [*self.features, *self.encoder.stores]

    @property
    def seen(self) -> set[str]:
        """Names of the videos that any of its weights learned from."""
        return FeatureSVM(self.features).seen

    def fit(self, X: Any, y: Any, groups: Any = None) -> EncodedSVM:
        """Train on videos; the arguments are those of `FeatureSVM.fit`."""
        self.encoder_ = clone(self.encoder).fit(X)
        vectors, counts = self._vectors(X)
        self._num_empty = int((counts == 0).sum())
        self._num_trained = len(counts)
        svm = FeatureSVM([], self.cost, cache=self.cache, progress=self.progress)
        self.svm_ = svm.fit_vectors(vectors, y, groups)
        self.classes_, self.chosen_, self.sweep_ = svm.classes_, svm.chosen_, svm.sweep_
        self.num_dimensions_ = svm.num_dimensions_
        self._is_dual = has_many_dimensions(vectors)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """(n, K) signed distances; also for two classes."""
        return self.svm_.decide(self._vectors(X)[0])

    def predict(self, X: Any) -> np.ndarray:
        """(n,) labels."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def notes(self, X: Any) -> list[str]:
        """What the reader of its decision on test videos should know of them and of the fit."""
        lines = self.encoder_.notes()
        num_empty = int((self.encoder_.encoded(X)[1] == 0).sum())
        for empty, num, kind in (
            (self._num_empty, self._num_trained, "training"),
            (num_empty, len(X), "test"),
        ):
            if empty:
                lines.append(
                    f"{empty} of its {number_of(num, f'{kind} video')} "
                    f"{'has' if empty == 1 else 'have'} no trajectory: zeros stand for it"
                )
        if self.sweep_:
            lines.append("C is cross-validated on codebooks of all training videos")
        if self._is_dual:
            lines.append("the SVM is LIBSVM's, on a precomputed linear kernel (hinge loss)")
        return lines

    def _vectors(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, D) vectors of n videos, and their (n,) numbers of trajectories."""
        vectors, counts = self.encoder_.encoded(X)
        if not self.features:
            return vectors, counts
        sources = [as_source(video) for video in X]
        columns = np.hstack([describer.transform(sources) for describer in self.features])
        if self.l2:
            columns = normalized(columns)
        return np.hstack([columns, normalized(vectors)]), counts
