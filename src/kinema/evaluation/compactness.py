"""`compactness`: how much accuracy features keep in few dimensions (Tran et al., section 4)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from kinema import plots
from kinema.datasets.types import Dataset
from kinema.evaluation.experiment import open_dataset, split_and_describe
from kinema.evaluation.protocol import NUM_FOLDS, check_dataset, title_of, warnings_of
from kinema.features.table import normalized
from kinema.methods.given import Methods, build, check_features, features_title_of
from kinema.methods.options import Options
from kinema.methods.svm import FeatureSVM
from kinema.skipped import Skipped
from kinema.video.loop import Reading
from kinema.weights.several import AnyWeights, resolve_all

DIMENSIONS = (10, 50, 100, 500)
"""What the paper projects to."""


@dataclass(frozen=True)
class Compactness:
    """Accuracy of a method's features by their number of dimensions.

    Attributes:
        title: of the features.
        accuracy: mean over the splits, by number of dimensions; the last one is all of them,
            without PCA. Numbers that a split's training videos do not allow are left out.
        skipped: videos that were left out, and why.
        left_out: numbers of dimensions that were asked for and are not fewer than the features'
            own, or that the training videos do not allow.
        num_train: training videos of the smallest split.
        notes: what else the reader should know, a line each.
    """

    title: str
    accuracy: dict[int, float]
    skipped: tuple[Skipped, ...] = ()
    left_out: tuple[int, ...] = ()
    num_train: int = 0
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the notes those that say that the accuracies are not what they seem to be."""
        return warnings_of(self.notes)

    def why_left_out(self) -> str:
        """Which numbers of dimensions are missing, and why; "" if none."""
        if not self.left_out:
            return ""
        largest = max(self.accuracy)
        why = f"a split trains on {self.num_train} videos, and the features have {largest}"
        return f"not {', '.join(map(str, self.left_out))} dimensions: {why}."


def compactness(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    out: str | os.PathLike[str],
    methods: Methods = ("c3d",),
    weights: AnyWeights | Sequence[AnyWeights] = ("c3d-mini",),
    layer: str = "fc6",
    stride: int = 8,
    cost: float | None = 1.0,
    dimensions: Sequence[int] = DIMENSIONS,
    splits: Sequence[str] | None = None,
    folds: int = NUM_FOLDS,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> list[Compactness]:
    """Accuracy against PCA dimensions, with a picture `out/compactness.png`.

    PCA is learned from the training videos alone; what it gives is L2-normalised.

    Args:
        dataset: a dataset or its path, see `datasets.load`.
        out: folder; features are kept in `out/features`.
        methods: names of `methods.METHODS`, or estimators by name, that have features.
        weights, layer, stride: of C3D.
        cost: C of the SVM; None for cross-validation on the training videos.
        dimensions: to project to, besides all.
        splits: official ones by name; None for all, or, where there is none, grouped folds.
        folds: how many.
        kind, lists: see `datasets.load`.
        threads: CPU threads; None for all.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show progress on standard error.
    """
    if not dimensions or min(dimensions) < 1:
        raise ValueError(f"`dimensions` must be whole numbers from 1 on, got {dimensions}.")
    out = Path(out)
    options = Options(
        weights=resolve_all(weights),
        layer=layer,
        stride=stride,
        cost=cost,
        cache=out / "features",
        threads=threads,
        progress=progress,
        reading=Reading(colours, video_seconds),
    )
    built = build(methods, options)
    check_features(built)

    def check(dataset: Dataset, skipped: Sequence[Skipped]) -> None:
        check_dataset(dataset, splits, folds, skipped)

    opened = open_dataset(dataset, built, options, kind=kind, lists=lists, check=check)
    experiment = split_and_describe(opened, built, options, splits=splits, folds=folds)
    labels, groups, notes = experiment.labels, experiment.groups, experiment.notes
    made = []
    for name, method in built.items():
        vectors = method.describe(experiment.sources)
        num_train = min(len(split.train) for split in experiment.splits.values())
        most = min(num_train, vectors.shape[1] - 1)
        found: dict[int, list[float]] = {}
        for split in experiment.splits.values():
            train, test = list(split.train), list(split.test)
            for count in (*(n for n in sorted(set(dimensions)) if n <= most), 0):
                learned, tested = vectors[train], vectors[test]
                if count:
                    pca = PCA(count, random_state=0).fit(learned)
                    learned, tested = (normalized(pca.transform(v)) for v in (learned, tested))
                svm = FeatureSVM([], cost=cost)
                svm.fit_vectors(learned, labels[train], groups[train])
                predicted = svm.classes_[svm.decide(tested).argmax(axis=1)]
                right = float((predicted == labels[test]).mean())
                found.setdefault(count or vectors.shape[1], []).append(right)
        accuracy = {count: float(np.mean(values)) for count, values in found.items()}
        made.append(
            Compactness(
                features_title_of(name, method),
                accuracy,
                experiment.skipped,
                left_out=tuple(sorted(set(dimensions) - set(accuracy))),
                num_train=num_train,
                notes=notes,
            )
        )
    remarks = [*(one.why_left_out() for one in made), *warnings_of(notes)]
    plots.compactness(
        out / "compactness.png",
        [(one.title, one.accuracy) for one in made],
        title=f"{title_of(experiment.dataset)}: accuracy against PCA dimensions",
        remarks=[text for text in dict.fromkeys(remarks) if text],
    )
    return made
