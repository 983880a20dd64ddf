"""`compare`: what features are worth, on one protocol.

    videos of a dataset --methods, fitted on each split's training videos--> Result

Every method sees the same videos and splits: the dataset's official ones, or grouped folds. A video
that one method cannot read to its end is left out for all, and named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from kinema.datasets.types import Dataset, Split
from kinema.evaluation.experiment import (
    Also,
    Experiment,
    features_folder,
    no_steps,
    open_dataset,
    split_and_describe,
    take_features,
)
from kinema.evaluation.protocol import NUM_FOLDS, check_dataset, title_of
from kinema.evaluation.result import Result, Row
from kinema.evaluation.rows import num_leaked, row_of
from kinema.methods.given import Methods, build
from kinema.methods.options import Learning, Options
from kinema.methods.paper import rows as rows_of_paper
from kinema.video.loop import Reading
from kinema.weights.file import Weights
from kinema.weights.several import AnyWeights, resolve_all

FEW_GROUPS = 10
"""With fewer groups among the test videos, resampling them shows too little of what may happen."""


def compare(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    methods: Methods = ("c3d", "c3d-random", "one-frame", "chance"),
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
    width: float = Learning.width,
    crop: int = Learning.crop,
    seconds: float = Learning.seconds,
    iterations: int | None = None,
    published: bool = False,
    views: int = 1,
    encoder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    flip: bool = True,
    precision: str = "fp32",
    progress: bool = False,
    also: Also = no_steps,
) -> Result:
    """Compare methods on the videos of a dataset.

    Args:
        dataset: a dataset or its path, see `datasets.load`.
        methods: names of `methods.METHODS`, or "paper" for all of the paper's table; or estimators
            by the name of their row, {"mine": estimator}: anything of scikit-learn's face over
            videos, see Note [Method] in `kinema.methods`. Differences are to the first.
        weights: of C3D: one net, or several for the rows that take all; "A+B" names two.
        layer: whose output is C3D's feature: fc6, fc7, pool5, prob.
        stride: frames from clip to clip.
        l2: whether video vectors are L2-normalised.
        cost: C of the SVM; None for cross-validation on the training videos.
        splits: names of official splits; None for all, or, where there is none, grouped folds.
        folds: how many.
        kind, lists: see `datasets.load`.
        cache: a folder for features; a stopped comparison goes on from it. None: one for this call.
        extracted: a folder of `extract(shared=True)`, or its URL: tables of videos that show the
            same, made with the same settings, are taken from there. See `features.extracted`.
        threads: CPU threads; None for all.
        timed: whether to measure frames a second on a few videos, without the cache.
        pictures: whether to make what the report draws: t-SNE of each method's features, and what
            it predicts for single clips.
        force: go on though weights saw test videos; the row is marked.
        colours, video_seconds: see `loop.Reading`.
        width, crop, seconds, iterations, published, views, encoder, seed, flip: of rows that learn
            a network for each split, as slow-fusion; see `methods.options.Learning`.
        precision: of C3D's numbers, see `Engine`; a cache keeps each one's features apart.
        progress: whether to show progress on standard error.
        also: what else is to be made of the videos while they are decoded, given how many there
            are: steps of a walk, see `video.steps`.

    Raises:
        ValueError: a setting is wrong, the dataset cannot be split, or weights saw test videos.

    Example:
        >>> import kinema
        >>> from kinema.video.synthetic import write_dataset
        >>> drawn = write_dataset("videos", num_train=2, num_test=1, num_frames=16)
        >>> result = kinema.compare("videos", methods=["chance"], timed=False)
        >>> result.rows[0].accuracy
        0.25
    """
    reading = Reading(colours, video_seconds)
    nets = resolve_all(weights)
    with features_folder(cache) as folder:
        learning = Learning(width, crop, seconds, iterations, published, views, encoder, seed, flip)
        options = Options(
            nets, layer, stride, l2, cost, folder, threads, progress, reading, learning, precision
        )
        if not isinstance(methods, Mapping):
            papers = rows_of_paper(len(nets))
            methods = [each for name in methods for each in (papers if name == "paper" else [name])]
        built = build(methods, options)
        take_features(extracted, options)

        def check(dataset: Dataset, skipped: Sequence[Any]) -> None:
            check_dataset(dataset, splits, folds, skipped)
            check_leaks(built, dataset, force=force)

        opened = open_dataset(
            dataset, built, options, kind=kind, lists=lists, check=check, also=also
        )
        experiment = split_and_describe(
            opened,
            built,
            options,
            splits=splits,
            folds=folds,
            check=lambda dataset, chosen: check_leaks(built, dataset, chosen, force=force),
            also=also,
        )
        return result_of(experiment, options, timed=timed, pictures=pictures)


def check_leaks(
    methods: Mapping[str, Any],
    dataset: Dataset,
    splits: Mapping[str, Split] | None = None,
    *,
    force: bool = False,
) -> None:
    """Refuse methods whose weights learned from test videos, unless that is asked for.

    Before the splits are chosen it is known only of folds, which test every video.
    """
    if splits is None:
        splits = {} if dataset.splits else {"": Split((), tuple(range(len(dataset.samples))))}
    for name, method in methods.items():
        if not force and (count := num_leaked(method, dataset, splits)):
            raise ValueError(
                f"the weights of {name} learned from {count} of the test videos, so its "
                "accuracy would say nothing: choose other weights or splits; `force` marks the "
                "row instead."
            )


def result_of(
    experiment: Experiment, options: Options, *, timed: bool = True, pictures: bool = False
) -> Result:
    """Fit and test every method; the arguments are those of `compare`."""
    dataset, splits = experiment.dataset, experiment.splits
    rows: list[Row] = []
    for name in experiment.methods:
        first = rows[0] if rows else None
        rows.append(row_of(name, experiment, first, timed=timed, pictures=pictures))
    return Result(
        dataset=title_of(dataset),
        classes=dataset.classes,
        videos=tuple(sample.name for sample in dataset.samples),
        labels=experiment.labels,
        sources=tuple(experiment.sources),
        splits=tuple(splits),
        rows=tuple(rows),
        settings={
            "kind": dataset.kind,
            "weights": [
                {"name": net.name, "sha256": net.sha256, "trained": net.trained}
                for net in options.weights
            ],
            "layer": "+".join(
                dict.fromkeys(net.network.only_layer or options.layer for net in options.weights)
            ),
            "stride": options.stride,
            "l2": options.l2,
            "cost": options.cost,
            "folds": None if dataset.splits else len(splits),
            "colours": options.reading.colours,
            **({} if options.precision == "fp32" else {"precision": options.precision}),
        },
        skipped=experiment.skipped,
        notes=(*experiment.notes, *_notes(dataset, splits), *_teachers(options.weights)),
    )


def _teachers(nets: Sequence[Weights]) -> list[str]:
    """What the test videos must not be of, so that rows of taught weights say something."""
    return [
        f"{net.name} was taught by nets that learned from {', '.join(net.learned_from)}: of test "
        "videos that are of these, its rows tell too much."
        for net in nets
        if net.learned_from
    ]


def _notes(dataset: Dataset, splits: Mapping[str, Split]) -> list[str]:
    notes = []
    if dataset.missing:
        notes.append(f"{len(dataset.missing)} listed videos are not there.")
    tested = {dataset.samples[index].group for split in splits.values() for index in split.test}
    if len(tested) < FEW_GROUPS:
        notes.append(
            f"the test videos are of {len(tested)} group{'s'[: len(tested) != 1]} only: an "
            "interval that resamples so few is too narrow."
        )
    smallest = min(len(split.test) for split in splits.values())
    if smallest < 30:
        notes.append(
            f"a split has {smallest} test video{'' if smallest == 1 else 's'} only, so one video "
            f"is {100 / max(smallest, 1):.0f} points: this proves little."
        )
    return notes
