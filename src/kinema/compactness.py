"""`compactness`: how much accuracy features keep in few dimensions (Tran et al., section 4)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from kinema import plots
from kinema import weights as weights_room
from kinema.datasets import Dataset, Split
from kinema.feature_table import normalized
from kinema.loop import Reading
from kinema.methods import METHODS, Options
from kinema.methods.svm import FeatureSVM
from kinema.protocol import (
    NUM_FOLDS,
    check_classes,
    check_have_features,
    check_methods,
    choose_splits,
    described,
    labels_and_groups,
    readable,
    title_of,
)
from kinema.skipped import Skipped
from kinema.weights import Weights

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
    """

    title: str
    accuracy: dict[int, float]
    skipped: tuple[Skipped, ...] = ()


def compactness(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    out: str | os.PathLike[str],
    methods: Sequence[str] = ("c3d",),
    weights: Sequence[str | os.PathLike[str] | Weights] = ("c3d-mini",),
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
        methods: names of `methods.METHODS` that have features.
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
    nets = tuple(weights_room.resolve(source) for source in weights)
    check_methods(methods, nets, cost=cost)
    out = Path(out)
    cache = out / "features"
    options = Options(
        weights=nets,
        layer=layer,
        stride=stride,
        cache=cache,
        threads=threads,
        colours=colours,
        video_seconds=video_seconds,
    )
    check_have_features(methods, options)
    dataset, skipped = readable(
        dataset,
        kind=kind,
        lists=lists,
        cache=cache,
        reading=Reading(colours, video_seconds),
        threads=threads,
        progress=progress,
    )
    check_classes(dataset, skipped)
    chosen: Mapping[str, Split] = choose_splits(dataset, splits, folds)
    by_method = described(methods, dataset, options, splits=chosen, progress=progress)
    dataset, chosen = by_method.dataset, by_method.splits
    skipped += by_method.skipped
    check_classes(dataset, skipped)
    labels, groups = labels_and_groups(dataset)
    made = []
    for name in methods:
        vectors = by_method.vectors[name]
        most = min(min(len(split.train) for split in chosen.values()), vectors.shape[1] - 1)
        found: dict[int, list[float]] = {}
        for split in chosen.values():
            train, test = list(split.train), list(split.test)
            for count in (*(n for n in sorted(set(dimensions)) if n <= most), 0):
                learned, tested = vectors[train], vectors[test]
                if count:
                    pca = PCA(count, random_state=0).fit(learned)
                    learned, tested = (normalized(pca.transform(v)) for v in (learned, tested))
                machine = FeatureSVM([], cost=cost)
                machine.fit_vectors(learned, labels[train], groups[train])
                said = machine.classes_[machine.decide(tested).argmax(axis=1)]
                right = float((said == labels[test]).mean())
                found.setdefault(count or vectors.shape[1], []).append(right)
        accuracy = {count: float(np.mean(values)) for count, values in found.items()}
        title = METHODS[name].title.removesuffix(" + linear SVM")
        made.append(Compactness(title, accuracy, tuple(skipped)))
    plots.compactness(
        out / "compactness.png",
        {one.title: one.accuracy for one in made},
        title=f"{title_of(dataset)}: accuracy against PCA dimensions",
    )
    return made
