"""`compare` and `transfer`: what features are worth, on one protocol.

    videos of a dataset --methods' features--> vectors --linear SVM on each split--> Result

Every method sees the same videos and splits: the dataset's official ones, or grouped folds. A video
that one method cannot read to its end is left out for all, and named.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.datasets.loaders import Dataset, Split
from kinema.evaluation.embedding import FEWEST_POINTS, tsne
from kinema.evaluation.protocol import (
    NUM_FOLDS,
    Described,
    check_classes,
    check_dataset,
    check_methods,
    check_options,
    check_same_clips,
    described,
    labels_and_groups,
    loaded,
    readable,
    split_and_described,
    title_of,
    warnings_of,
)
from kinema.files import check_out
from kinema.methods import METHODS, Method, Options
from kinema.methods.classifier import Classifier, Net
from kinema.methods.svm import FeatureSVM
from kinema.metrics import (
    Interval,
    confusion_matrix,
    group_interval,
    knn_purity,
    paired_interval,
    purity_note,
)
from kinema.skipped import Skipped
from kinema.video.loop import Reading, Video
from kinema.video.sources import Source
from kinema.weights import file as weights_room
from kinema.weights.file import Weights

NUM_TIMED = 5
"""Videos that a method's speed is measured on, without its cache."""

TIMED_ROUNDS = 3
"""Of which the median counts: other work on the machine shows."""


FEW_GROUPS = 10
"""With fewer groups among the test videos, resampling them shows too little of what may happen."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """What a method said of the clips of one video.

    Attributes:
        start, stop: (m,) of the clips, in seconds; in frames where the video has no times.
        predicted: (m,) indices of classes.
    """

    start: np.ndarray
    stop: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method said of the test videos of one split.

    Attributes:
        split: its name.
        test: indices of the test videos in the result's.
        true: (n,) indices of their classes.
        scores: (n, K).
        cost: C of the SVM; None for methods without one.
        sweep: accuracy of the inner cross-validation by C.
        timelines: of the test videos; empty if they were not asked for, or the method has no clips.
    """

    split: str
    test: tuple[int, ...]
    true: np.ndarray
    scores: np.ndarray
    cost: float | None = None
    sweep: Mapping[float, float] = field(default_factory=dict)
    timelines: tuple[Timeline, ...] = ()

    @property
    def right(self) -> np.ndarray:
        """(n,) bool."""
        return self.scores.argmax(axis=1) == self.true

    @property
    def accuracy(self) -> float:
        """Share of the test videos."""
        return float(self.right.mean())


@dataclass(frozen=True, eq=False)
class Row:
    """A method's row of the table.

    Attributes:
        name, title, stands_in: of the method, see `methods.Method`.
        outcomes: one a split.
        interval: mean accuracy over all test videos and its 95 % interval (whole groups resampled;
            see Note [Groups that agree] in `metrics` for where that cannot be).
        difference: to the first row, paired by video; None in the first row.
        num_dimensions: of its features; None for methods without.
        frames_per_second: from file to score, reading included; None if not measured.
        leaked: test videos that its weights learned from.
        points: (n, 2) t-SNE of the features of all videos; None if it was not asked for.
        purity: k-NN purity of these features, see `metrics.knn_purity`; None likewise, or where no
            video has another one of its class outside its group.
        purity_note: which videos play no part in it; "" if all do.
    """

    name: str
    title: str
    stands_in: str
    outcomes: tuple[Outcome, ...]
    interval: Interval
    difference: Interval | None
    num_dimensions: int | None
    frames_per_second: float | None
    leaked: int
    points: np.ndarray | None = None
    purity: float | None = None
    purity_note: str = ""

    @property
    def accuracy(self) -> float:
        """The mean of the splits' accuracies, as the paper gives it."""
        return float(np.mean([outcome.accuracy for outcome in self.outcomes]))

    @property
    def spread(self) -> float:
        """Standard deviation of the splits' accuracies; 0 for one split."""
        accuracies = [outcome.accuracy for outcome in self.outcomes]
        return float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0


@dataclass(frozen=True, eq=False)
class Result:
    """A comparison.

    Attributes:
        dataset: its name.
        classes: K names.
        videos: names of all videos.
        labels: (n,) indices of their classes.
        sources: what there is of them to read.
        splits: names of the splits.
        rows: one a method.
        settings: what decided over it, JSON values.
        skipped: videos that were left out, and why.
        notes: what else the reader should know, a line each.
    """

    dataset: str
    classes: tuple[str, ...]
    videos: tuple[str, ...]
    labels: np.ndarray
    sources: tuple[Source, ...]
    splits: tuple[str, ...]
    rows: tuple[Row, ...]
    settings: Mapping[str, Any]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the notes those that say that the accuracies are not what they seem to be."""
        return warnings_of(self.notes)

    def confusion(self, row: Row) -> np.ndarray:
        """(K, K) counts over all splits: true class by row, predicted by column."""
        matrices = [
            confusion_matrix(outcome.true, outcome.scores.argmax(axis=1), len(self.classes))
            for outcome in row.outcomes
        ]
        total: np.ndarray = sum(matrices[1:], matrices[0])
        return total

    def misses(self, row: Row, count: int = 10) -> list[dict[str, Any]]:
        """The videos that a method got most wrong: by how far another class is ahead."""
        found = []
        for outcome in row.outcomes:
            for index, true, scores in zip(outcome.test, outcome.true, outcome.scores, strict=True):
                best = int(scores.argmax())
                if best != true:
                    found.append(
                        {
                            "video": self.videos[index],
                            "split": outcome.split,
                            "class": self.classes[true],
                            "predicted": self.classes[best],
                            "margin": float(scores[best] - scores[true]),
                        }
                    )
        return sorted(found, key=lambda miss: -miss["margin"])[:count]


def compare(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    methods: Sequence[str] = ("c3d", "c3d-random", "one-frame", "chance"),
    weights: Sequence[str | os.PathLike[str] | Weights] = ("c3d-mini",),
    layer: str = "fc6",
    stride: int = 8,
    l2: bool = True,
    cost: float | None = None,
    splits: Sequence[str] | None = None,
    folds: int = NUM_FOLDS,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    timed: bool = True,
    pictures: bool = False,
    force: bool = False,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> Result:
    """Compare methods on the videos of a dataset.

    Args:
        dataset: a dataset or its path, see `datasets.load`.
        methods: names of `methods.METHODS`; differences are to the first.
        weights: of C3D: one net, or several for the rows that take all.
        layer: whose output is C3D's feature: fc6, fc7, pool5, prob.
        stride: frames from clip to clip.
        l2: whether video vectors are L2-normalised.
        cost: C of the SVM; None for cross-validation on the training videos.
        splits: names of official splits; None for all, or, where there is none, grouped folds.
        folds: how many.
        kind, lists: see `datasets.load`.
        cache: a folder for features; a stopped comparison goes on from it.
        threads: CPU threads; None for all.
        timed: whether to measure frames a second on a few videos, without the cache.
        pictures: whether to make what the report draws: t-SNE of each method's features, and what
            it says of single clips. It takes `cache`.
        force: go on though weights saw test videos; the row is marked.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show progress on standard error.

    Raises:
        ValueError: a setting is wrong, the dataset cannot be split, or weights saw test videos.
    """
    nets = tuple(weights_room.resolve(source) for source in weights)
    check_methods(methods, nets, cost=cost)
    if pictures and cache is None:
        raise ValueError("`pictures` takes a `cache`, or every video would be computed again.")
    options = Options(
        weights=nets,
        layer=layer,
        stride=stride,
        l2=l2,
        cost=cost,
        cache=None if cache is None else Path(cache),
        threads=threads,
        progress=progress,
        colours=colours,
        video_seconds=video_seconds,
    )
    check_options(methods, options)
    dataset = loaded(dataset, kind=kind, lists=lists)
    check_dataset(dataset, splits, folds)
    if cache is not None:
        check_out(cache, "cache")
    dataset, skipped = readable(
        dataset,
        cache=cache,
        reading=Reading(colours, video_seconds),
        threads=threads,
        progress=progress,
    )

    def check_leaks(dataset: Dataset, splits: Mapping[str, Split]) -> None:
        for name in () if force else methods:
            if count := _leaks(METHODS[name], options, dataset, splits):
                raise ValueError(
                    f"the weights of {name} learned from {count} of the test videos, so its "
                    "accuracy would say nothing: choose other weights or splits; `force` marks the "
                    "row instead."
                )

    chosen, notes, found = split_and_described(
        methods, dataset, options, splits, folds, skipped, check=check_leaks, progress=progress
    )
    dataset = found.dataset
    skipped += found.skipped
    rows: list[Row] = []
    for name in methods:
        rows.append(
            _row(name, found, chosen, options, rows[0] if rows else None,
                 timed=timed, pictures=pictures)
        )  # fmt: skip
    return Result(
        dataset=title_of(dataset),
        classes=dataset.classes,
        videos=tuple(sample.name for sample in dataset.samples),
        labels=labels_and_groups(dataset)[0],
        sources=tuple(sample.source for sample in dataset.samples),
        splits=tuple(chosen),
        rows=tuple(rows),
        settings={
            "kind": dataset.kind,
            "weights": [
                {"name": net.name, "sha256": net.sha256, "trained": net.trained}
                for net in options.weights
            ],
            "layer": layer,
            "stride": stride,
            "l2": l2,
            "cost": cost,
            "folds": None if dataset.splits else len(chosen),
            "colours": colours,
        },
        skipped=tuple(skipped),
        notes=(*notes, *_notes(dataset, chosen)),
    )


def fit_classifier(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    weights: Sequence[str | os.PathLike[str] | Weights] = ("c3d-mini",),
    layer: str = "fc6",
    stride: int = 8,
    l2: bool = True,
    cost: float | None = None,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> Classifier:
    """The linear SVM of C3D's features of *all* videos of a dataset, for `kinema predict`.

    What it would say of new videos is what `compare` measures on held-out ones: with one net the
    row c3d, with several c3d-nets. The arguments are those of `compare`.

    Raises:
        ValueError: as `compare`; or the nets see clips of different lengths.
    """
    nets = tuple(weights_room.resolve(source) for source in weights)
    check_methods(["c3d-nets"], nets, cost=cost)
    check_same_clips(nets)
    options = Options(
        weights=nets,
        layer=layer,
        stride=stride,
        l2=l2,
        cost=cost,
        cache=None if cache is None else Path(cache),
        threads=threads,
        progress=progress,
        colours=colours,
        video_seconds=video_seconds,
    )
    method = "c3d-nets"
    check_options([method], options)
    dataset = loaded(dataset, kind=kind, lists=lists)
    check_classes(dataset, tested=False)
    if cache is not None:
        check_out(cache, "cache")
    dataset, skipped = readable(
        dataset,
        cache=cache,
        reading=Reading(colours, video_seconds),
        threads=threads,
        progress=progress,
    )
    found = described([method], dataset, options, progress=progress)
    dataset = found.dataset
    check_classes(dataset, [*skipped, *found.skipped], tested=False)
    labels, groups = labels_and_groups(dataset)
    machine = METHODS[method].make(options).fit_vectors(found.vectors[method], labels, groups)
    coefficients, intercepts = machine.coefficients()
    return Classifier(
        classes=tuple(dataset.classes[label] for label in machine.classes_),
        coefficients=coefficients,
        intercepts=intercepts,
        nets=tuple(
            Net(_name(source), features.settings())
            for source, features in zip(weights, machine.features, strict=True)
        ),
        l2=l2,
    )


def _name(weights: str | os.PathLike[str] | Weights) -> str:
    """What finds weights again, also from another folder."""
    if isinstance(weights, Weights):
        return weights.name
    name = os.fspath(weights)
    return name if weights_room.is_name(name) else os.path.abspath(name)


def _leaks(method: Method, options: Options, dataset: Dataset, splits: Mapping[str, Split]) -> int:
    seen = method.seen(options)
    tested = {dataset.samples[index].name for split in splits.values() for index in split.test}
    return len(seen & tested)


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


def _row(
    name: str,
    found: Described,
    splits: Mapping[str, Split],
    options: Options,
    first: Row | None,
    *,
    timed: bool,
    pictures: bool,
) -> Row:
    method = METHODS[name]
    sources = [sample.source for sample in found.dataset.samples]
    labels, groups = labels_and_groups(found.dataset)
    estimator = method.make(options)
    vectors = found.vectors.get(name)
    outcomes = []
    for split_name, split in splits.items():
        train, test = list(split.train), list(split.test)
        if vectors is not None:
            estimator.fit_vectors(vectors[train], labels[train], groups[train])
            scores = estimator.decide(vectors[test])
        else:
            estimator.fit([sources[i] for i in train], labels[train], groups[train])
            scores = estimator.decision_function([sources[i] for i in test])
        # Classes without a training video are never said.
        whole = np.full((len(test), len(found.dataset.classes)), -np.inf)
        whole[:, estimator.classes_] = scores
        outcomes.append(
            Outcome(
                split_name,
                tuple(test),
                labels[test],
                whole,
                cost=getattr(estimator, "cost_", None),
                sweep=getattr(estimator, "sweep_", {}),
                timelines=_timelines(estimator, [sources[i] for i in test])
                if pictures and vectors is not None
                else (),
            )
        )
    right = np.concatenate([outcome.right for outcome in outcomes]).astype(float)
    tested = np.concatenate([outcome.test for outcome in outcomes])
    points = purity = None
    if pictures and vectors is not None and len(vectors) >= FEWEST_POINTS:
        points, _ = tsne(vectors)
        purity = knn_purity(vectors, labels, groups.tolist())
    difference = None
    if first is not None:
        before = np.concatenate([outcome.right for outcome in first.outcomes]).astype(float)
        difference = paired_interval(right, before, groups[tested].tolist())
    return Row(
        name=name,
        title=method.title(options),
        stands_in=method.stands_in,
        outcomes=tuple(outcomes),
        interval=group_interval(right, groups[tested].tolist()),
        difference=difference,
        num_dimensions=getattr(estimator, "num_dimensions_", None),
        frames_per_second=_speed(method, options, sources)
        if timed and vectors is not None
        else None,
        leaked=_leaks(method, options, found.dataset, splits),
        points=points,
        purity=purity,
        purity_note=purity_note(labels, groups.tolist()) if points is not None else "",
    )


def _timelines(machine: FeatureSVM, sources: Sequence[Source]) -> tuple[Timeline, ...]:
    made = []
    for source in sources:
        tables = machine.clip_tables(source)
        if not tables or len({len(table.features) for table in tables}) > 1:
            return ()  # no clips, or nets whose clips are not the same
        table = tables[0]
        start, stop = table.start_seconds, table.stop_seconds
        if not (np.isfinite(start).all() and np.isfinite(stop).all()):
            start, stop = table.start_frame, table.stop_frame
        labels = machine.classes_[machine.decide_clips(tables).argmax(axis=1)]
        made.append(Timeline(start, stop, labels))
    return tuple(made)


def _speed(method: Method, options: Options, sources: Sequence[Source]) -> float:
    """Frames a second from files to features, on a few videos, nothing taken from the cache."""
    estimator = method.make(dataclasses.replace(options, cache=None))
    numbers = np.unique(np.linspace(0, len(sources) - 1, NUM_TIMED).astype(int))
    chosen = [sources[number] for number in numbers]
    estimator.vectors(chosen[:1])  # what is set up once
    seconds = []
    for _ in range(TIMED_ROUNDS):
        begun = time.perf_counter()
        estimator.vectors(chosen)
        seconds.append(time.perf_counter() - begun)
    num_frames = sum(1 for source in chosen for _ in Video(source).frames())
    return num_frames / statistics.median(seconds)
