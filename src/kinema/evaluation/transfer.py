"""`transfer`: what C3D's features are worth on labelled videos, and a classifier of all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kinema.datasets.types import Dataset
from kinema.evaluation.compare import check_leaks, result_of
from kinema.evaluation.experiment import (
    Also,
    Experiment,
    describe,
    features_folder,
    no_steps,
    open_dataset,
    split_and_describe,
    take_features,
)
from kinema.evaluation.protocol import (
    NUM_FOLDS,
    NothingToTest,
    check_classes,
    check_splits,
)
from kinema.evaluation.result import Result
from kinema.evaluation.rows import fit
from kinema.features.clip_features import check_same_clips
from kinema.methods.classifier import Classifier, Net, address_of
from kinema.methods.given import build
from kinema.methods.options import Options
from kinema.skipped import Skipped
from kinema.video.loop import Reading
from kinema.weights.several import AnyWeights, parts, resolve_all


@dataclass(frozen=True, eq=False)
class Transfer:
    """What features are worth, and what was learned from them.

    Attributes:
        classifier: the linear SVM of all videos, for `predict`.
        result: of `compare`, with one row; None where there is nothing to test on.
        skipped: videos that were left out, and why.
        notes: what a reader should know first, a line each.
    """

    classifier: Classifier
    result: Result | None
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def transfer(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    weights: AnyWeights | Sequence[AnyWeights] = ("c3d-mini",),
    layer: str = "fc6",
    stride: int = 8,
    l2: bool = True,
    cost: float | None = None,
    splits: Sequence[str] | None = None,
    folds: int = NUM_FOLDS,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    extracted: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    timed: bool = True,
    pictures: bool = False,
    force: bool = False,
    colours: str = "file",
    video_seconds: float | None = None,
    precision: str = "fp32",
    progress: bool = False,
    also: Also = no_steps,
) -> Transfer:
    """Test a linear SVM on C3D's features on each split, and train one on *all* videos.

    What the classifier would predict for new videos is what the splits measure on held-out ones.
    The arguments are those of `compare`; several nets' features are put side by side.

    Raises:
        ValueError: as `compare`; or the nets see clips of different lengths.

    Example:
        >>> import kinema
        >>> from kinema.video.synthetic import draw_video, write_dataset, write_video
        >>> drawn = write_dataset("videos", num_train=2, num_test=1, num_frames=16)
        >>> found = kinema.transfer("videos", cost=1.0, timed=False)
        >>> write_video("new.mp4", draw_video("fast_clockwise", seed=9, num_frames=32))
        >>> (told,) = kinema.predict(["new.mp4"], classifier=found.classifier).predictions
        >>> told.classes[told.scores.argmax()].startswith("fast")
        True
    """
    named = parts(weights)
    nets = resolve_all(named)
    reading = Reading(colours, video_seconds)
    with features_folder(cache) as folder:
        how: Any = {"reading": reading, "precision": precision}
        options = Options(nets, layer, stride, l2, cost, folder, threads, progress, **how)
        check_same_clips(nets)
        take_features(extracted, options)
        methods = build(["c3d" if len(nets) == 1 else "c3d-nets"], options)

        def check(dataset: Dataset, skipped: Sequence[Skipped]) -> None:
            check_classes(dataset, skipped, tested=False)
            check_splits(dataset, splits, folds, skipped)
            check_leaks(methods, dataset, force=force)

        opened = open_dataset(
            dataset, methods, options, kind=kind, lists=lists, check=check, also=also
        )
        result: Result | None = None
        try:
            experiment = split_and_describe(
                opened,
                methods,
                options,
                splits=splits,
                folds=folds,
                check=lambda dataset, chosen: check_leaks(methods, dataset, chosen, force=force),
                also=also,
            )
            result = result_of(experiment, options, timed=timed, pictures=pictures)
            notes = result.warnings
        except NothingToTest as error:
            experiment = describe(opened, methods, options)
            check_classes(experiment.dataset, experiment.skipped, tested=False)
            notes = (f"{error.summary()}; the classifier of all videos was trained.",)
        classifier = _classifier_of(experiment, named)
    return Transfer(classifier, result, experiment.skipped, notes)


def _classifier_of(experiment: Experiment, weights: Sequence[AnyWeights]) -> Classifier:
    (method,) = experiment.methods.values()
    fitted = fit(method, experiment)
    coefficients, intercepts = fitted.coefficients()
    return Classifier(
        classes=tuple(experiment.dataset.classes[label] for label in fitted.classes_),
        coefficients=coefficients,
        intercepts=intercepts,
        nets=tuple(
            Net(address_of(source), describer.settings())
            for source, describer in zip(weights, fitted.features, strict=True)
        ),
        l2=method.features[0].l2,
    )
