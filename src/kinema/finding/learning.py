"""What is learned from labelled vectors: an SVM, how good it is, probabilities, what was seen.

What cannot be judged is trained all the same, and a note says so.

Note [Equals]
    From few videos many costs are equally good by cross-validation. The one nearest to 1 is taken,
    the neutral choice, not the smallest as in `compare`: over 5, 10 and 20 videos a class of three
    classes of UCF101 that was as good or better in eight of nine cases, by up to two points. It
    also keeps the distances readable, which a small cost shrinks to nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.datasets.folds import Folds, plan_folds
from kinema.datasets.types import Dataset
from kinema.methods.calibration import FEWEST, fit_sigmoids
from kinema.methods.classifier import Classifier, Net
from kinema.methods.seen import remember
from kinema.methods.svm import FeatureSVM
from kinema.metrics import Interval, group_interval
from kinema.words import number_of, some

NUM_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Learned:
    """A classifier and how good it is.

    Attributes:
        classifier: of all labelled videos.
        accuracy: on videos that were held out, whole groups at a time; None if not to be judged.
        notes: how it was judged, and what could not be done, a line each.
    """

    classifier: Classifier
    accuracy: Interval | None
    notes: tuple[str, ...]


def learn(
    dataset: Dataset,
    vectors: np.ndarray,
    nets: Sequence[Net],
    *,
    cost: float | None = None,
    cache: Path | None = None,
    progress: bool = False,
) -> Learned:
    """Learn from labelled videos; each of the dataset's classes has one.

    Args:
        dataset: n labelled videos of K classes; groups are not torn apart.
        vectors: (n, D), the features of the nets side by side, each of length 1.
        nets: whose features these are.
        cost: C; None for cross-validation.
        cache, progress: see `FeatureSVM`.
    """
    labels = np.array([sample.labels[0] for sample in dataset.samples])
    groups = [sample.group for sample in dataset.samples]
    svm, swept = _fitted(vectors, labels, groups, cost, cache, progress)
    chosen = float(svm.chosen_["C"])
    counts = Counter(labels.tolist())
    notes = [_about_cost(cost, chosen, swept=swept)]
    accuracy, sigmoids = None, None
    few = [dataset.classes[label] for label in sorted(counts) if counts[label] < FEWEST]
    if sum(count > 1 for count in counts.values()) < 2:
        notes.append(
            "accuracy cannot be judged, which takes two classes of two videos or more; the "
            "classifier was trained."
        )
    else:
        folds = plan_folds(dataset, NUM_FOLDS)
        accuracy = _accuracy(dataset, vectors, labels, groups, folds, cost, cache)
        notes.append(
            f"accuracy {accuracy} % of labelled videos that were held out, in "
            f"{number_of(len(folds.splits), 'fold')}, with a 95 % interval."
        )
        notes += folds.notes
        if not few:
            sigmoids = fit_sigmoids(_held_out(vectors, labels, folds, chosen), labels)
            torn = [note for note in folds.notes if "same scene" in note]
            notes += ["probabilities may flatter, for the same reason."] * bool(torn)
    if few:
        notes.append(
            f"scores are distances, not probabilities, which take {FEWEST} videos a class: "
            f"fewer in {some(few, 'class', 'classes')}."
        )
    seen = remember(vectors, labels, groups)
    if seen is None:
        notes.append("none of these cannot be told: no class has two videos.")
    coefficients, intercepts = svm.coefficients()
    classifier = Classifier(
        classes=dataset.classes,
        coefficients=coefficients,
        intercepts=intercepts,
        nets=tuple(nets),
        sigmoids=sigmoids,
        seen=seen,
    )
    return Learned(classifier, accuracy, tuple(notes))


def _fitted(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    cost: float | None,
    cache: Path | None = None,
    progress: bool = False,
) -> tuple[FeatureSVM, bool]:
    """An SVM, and whether its C was chosen by cross-validation. See Note [Equals]."""
    svm = FeatureSVM([], cost, cache=cache, progress=progress).fit_vectors(vectors, labels, groups)
    if not svm.sweep_:
        return svm, False
    most = max(svm.sweep_.values())
    equals = [each for each, accuracy in svm.sweep_.items() if accuracy == most]
    chosen = min(equals, key=lambda each: abs(math.log(each)))
    if chosen != svm.chosen_["C"]:
        svm = FeatureSVM([], chosen).fit_vectors(vectors, labels)
    return svm, True


def _about_cost(cost: float | None, chosen: float, *, swept: bool) -> str:
    if cost is not None:
        return f"C of the SVM: {chosen:g}, as asked."
    if swept:
        return f"C of the SVM: {chosen:g}, by cross-validation."
    return (
        f"C of the SVM: {chosen:g}, the neutral choice: a class is one scene (group), so that "
        "cross-validation cannot choose."
    )


def _accuracy(
    dataset: Dataset,
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    folds: Folds,
    cost: float | None,
    cache: Path | None,
) -> Interval:
    """Of held-out videos, C being chosen anew without them; classes of one video play no part."""
    counts = Counter(labels.tolist())
    right, names = [], []
    for split in folds.splits:
        train = np.array(split.train)
        test = np.array([index for index in split.test if counts[int(labels[index])] > 1], int)
        if not len(test):
            continue
        of_train = [groups[index] for index in split.train]
        svm, _ = _fitted(vectors[train], labels[train], of_train, cost, cache)
        best = svm.classes_[svm.decide(vectors[test]).argmax(axis=1)]
        right += (best == labels[test]).tolist()
        names += [groups[index] for index in test]
    return group_interval(np.array(right, float), names)


def _held_out(vectors: np.ndarray, labels: np.ndarray, folds: Folds, cost: float) -> np.ndarray:
    """(n, K) distances of each video by an SVM that did not learn from its fold."""
    distances = np.zeros((len(labels), len(np.unique(labels))))
    for split in folds.splits:
        train, test = np.array(split.train), np.array(split.test)
        svm = FeatureSVM([], cost).fit_vectors(vectors[train], labels[train])
        distances[np.ix_(test, svm.classes_)] = svm.decide(vectors[test])
    return distances
