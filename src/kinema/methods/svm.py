"""The paper's classifier: a multi-class linear SVM on the features of whole videos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import LinearSVC

from kinema.features.estimators import C3DFeatures
from kinema.features.table import normalized
from kinema.files import atomic_path
from kinema.methods.kernel_svm import KernelSVM, num_right, products
from kinema.methods.options import Options
from kinema.progress import Counted
from kinema.threads import num_usable_cores
from kinema.weights.file import Weights

SWEEP = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Costs to choose from: the paper does not state its own."""

MOST_FOLDS = 5

SUFFIX = " + linear SVM"
"""Of the titles of rows."""

LARGE = 10**8
"""Videos x dimensions x classes from which a cross-validation takes minutes: it is shared among
processes, shows its progress and can be stopped."""


MANY_DIMENSIONS = 20_000
"""Above it the SVM is trained by its dual, see `kernel_svm`."""


class FeatureSVM(ClassifierMixin, BaseEstimator):
    """A linear SVM (one against the rest, LIBLINEAR) on one or several features of videos.

    Of more than `MANY_DIMENSIONS` it is LIBSVM's, see `kernel_svm`.

    Args:
        features: describers, transformers from n videos to (n, D); their outputs are put side by
            side.
        cost: C; None for the best of `SWEEP` by cross-validation on the training videos, in which
            groups are not torn apart. The smaller of equals is taken.
        cache: a folder for the counts of a long cross-validation; a stopped one goes on from it.
        progress: whether to show a long one's progress on standard error.
        title: what tables call it.
        stands_in: what of a published method it approximates, and how; "" if it is the method.

    Attributes:
        classes_: (K,) the labels, sorted.
        chosen_: {"C": the cost that was used}.
        sweep_: accuracy of the cross-validation by C; empty if there was none.
        num_dimensions_: of the features side by side.
    """

    def __init__(
        self,
        features: Sequence[Any],
        cost: float | None = None,
        *,
        cache: Path | None = None,
        progress: bool = False,
        title: str = "",
        stands_in: str = "",
    ) -> None:
        self.features = features
        self.cost = cost
        self.cache = cache
        self.progress = progress
        self.title = title
        self.stands_in = stands_in

    @property
    def describers(self) -> Sequence[Any]:
        """What turns videos into vectors, each with a cache of its own."""
        return self.features

    @property
    def features_title(self) -> str:
        """What pictures of the features are called."""
        return self.title.removesuffix(SUFFIX)

    @property
    def seen(self) -> set[str]:
        """Names of the videos that any of its weights learned from."""
        nets = [getattr(describer, "weights", None) for describer in self.features]
        return {name for net in nets if isinstance(net, Weights) for name in net.trained_on or ()}

    def describe(self, X: Any) -> np.ndarray:
        """(n, D) features of n videos, side by side; no fit changes them."""
        return np.hstack([describer.transform(X) for describer in self.features])

    def describe_anew(self, X: Any) -> np.ndarray:
        """As `describe`, nothing being taken from a cache or kept: for measuring time."""
        fresh = [clone(describer).set_params(cache=None) for describer in self.features]
        return np.hstack([describer.transform(X) for describer in fresh])

    def fit(self, X: Any, y: Any, groups: Any = None) -> FeatureSVM:
        """Train on videos.

        Args:
            X: n videos.
            y: (n,) labels.
            groups: (n,), which are not torn apart by the cross-validation of C; none: each its own.
        """
        return self.fit_vectors(self.describe(X), y, groups)

    def fit_vectors(self, vectors: np.ndarray, y: Any, groups: Any = None) -> FeatureSVM:
        """As `fit`, from what `describe` gave."""
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"`y` must hold at least two classes, got {self.classes_.tolist()}.")
        own = np.arange(len(labels)) if groups is None else np.asarray(groups)
        self.sweep_: dict[float, float] = {}
        cost = self.cost
        if cost is None:
            self.sweep_ = _sweep(vectors, labels, own, self.cache, self.progress)
            cost = max(self.sweep_, key=self.sweep_.__getitem__, default=1.0)
        self.chosen_ = {"C": cost}
        self.num_dimensions_ = vectors.shape[1]
        svm = KernelSVM(cost) if has_many_dimensions(vectors) else _svm(cost)
        self.svm_ = svm.fit(vectors, labels)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """(n, K) signed distances; also for two classes."""
        return self.decide(self.describe(X))

    def decide(self, vectors: np.ndarray) -> np.ndarray:
        """As `decision_function`, from what `describe` gave."""
        scores = self.svm_.decision_function(vectors)
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """(n,) labels."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def timeline(self, video: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Scores of the clips of a video, as if each were a video.

        Returns:
            Start and stop (m,) of the clips in seconds, in frames (integers) where the video has no
            times; and scores (m, K). None where a describer has no clips, or they are not the same
            for all.
        """
        if not all(isinstance(describer, C3DFeatures) for describer in self.features):
            return None
        tables = [describer.table(video) for describer in self.features]
        if len({len(table.features) for table in tables}) > 1:
            return None
        columns = [
            normalized(table.features) if describer.l2 else table.features
            for describer, table in zip(self.features, tables, strict=True)
        ]
        start, stop = tables[0].start_seconds, tables[0].stop_seconds
        if not (np.isfinite(start).all() and np.isfinite(stop).all()):
            start, stop = tables[0].start_frame, tables[0].stop_frame
        return start, stop, self.decide(np.hstack(columns))

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, D) and (K,): `decide(v)` is v @ coefficients.T + intercepts."""
        coefficients, intercepts = self.svm_.coef_, self.svm_.intercept_
        if len(coefficients) == 1:  # of the second of two classes
            coefficients = np.concatenate([-coefficients, coefficients])
            intercepts = np.concatenate([-intercepts, intercepts])
        return coefficients, intercepts


def feature_svm(
    options: Options, features: Sequence[Any], title: str, *, stands_in: str = ""
) -> FeatureSVM:
    """A row's classifier, as the comparison's options want it."""
    return FeatureSVM(
        features,
        cost=options.cost,
        cache=options.cache,
        progress=options.progress,
        title=title,
        stands_in=stands_in,
    )


def has_many_dimensions(vectors: np.ndarray) -> bool:
    """Whether the SVM of such vectors (n, D) is trained by its dual."""
    return vectors.shape[1] > MANY_DIMENSIONS


def _svm(cost: float) -> LinearSVC:
    return LinearSVC(C=cost, dual="auto", random_state=0, max_iter=10_000)


def _sweep(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    cache: Path | None,
    progress: bool,
) -> dict[float, float]:
    """Accuracy by C, of as many grouped folds as each class has groups for; empty if only one."""
    num_groups = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    num_folds = min(num_groups, MOST_FOLDS)
    if num_folds < 2:
        return {}
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=0)
    folds = [
        (train, test)
        for train, test in splitter.split(vectors, labels, groups)
        if len(np.unique(labels[train])) > 1
    ]
    count_right: Callable[..., int] = _num_right
    if has_many_dimensions(vectors):
        vectors, count_right = products(vectors), num_right
    large = vectors.size * len(np.unique(labels)) > LARGE
    kept = _KeptCounts(cache if large else None, vectors, labels, groups)
    right = {cost: dict(kept.of(cost)) for cost in SWEEP}
    todo = [(fold, cost) for fold in range(len(folds)) for cost in SWEEP if fold not in right[cost]]
    # Processes: LIBLINEAR draws from one stream of random numbers, which threads would share.
    counts = Parallel(num_usable_cores() if large else 1, return_as="generator")(
        delayed(count_right)(vectors, labels, *folds[fold], cost) for fold, cost in todo
    )
    with Counted("cross-validation of C", len(todo), enabled=progress and large) as bar:
        for (fold, cost), count in zip(todo, counts, strict=True):
            right[cost][fold] = count
            kept.keep(right)
            bar.advance()
    return {cost: sum(found.values()) / len(labels) for cost, found in right.items()}


def _num_right(
    vectors: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, cost: float
) -> int:
    predicted = _svm(cost).fit(vectors[train], labels[train]).predict(vectors[test])
    return int((predicted == labels[test]).sum())


class _KeptCounts:
    """Counts of a cross-validation in a file that goes by what they were computed from."""

    def __init__(self, cache: Path | None, *arrays: np.ndarray) -> None:
        self._file = None
        if cache is not None:
            content = hashlib.sha256(repr((SWEEP, MOST_FOLDS)).encode())
            for array in arrays:
                content.update(np.ascontiguousarray(array).tobytes())
            self._file = Path(cache, f"{content.hexdigest()}.json")

    def of(self, cost: float) -> dict[int, int]:
        """Videos that are right by fold, as far as is known."""
        if self._file is None or not self._file.is_file():
            return {}
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))[str(cost)]
            return {int(fold): int(count) for fold, count in found.items()}
        except (ValueError, KeyError, TypeError, AttributeError):  # damaged: it is made anew
            return {}

    def keep(self, right: dict[float, dict[int, int]]) -> None:
        if self._file is not None:
            with atomic_path(self._file) as partial:
                partial.write_text(json.dumps(right) + "\n", encoding="utf-8")
