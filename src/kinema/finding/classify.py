"""`classify`: from a few labelled videos to the classes of the others, by video and over time.

    LABELLED --features--> vectors --learn--> classifier
    VIDEOS   --features--> what the classifier tells of each --> rows, segments, suggestions

Features and sketches are kept in a cache, so a stopped run goes on, and labels can be changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.datasets import near_duplicates
from kinema.datasets.loaders import load
from kinema.datasets.types import Dataset
from kinema.features.clip_features import check_same_clips, meant_for_each
from kinema.features.extracted import take_from
from kinema.features.extractor import Extractor
from kinema.features.kept import TableCache, kept_step
from kinema.features.table import FeatureTable
from kinema.files import check_out, locked_folder, write_json
from kinema.finding.answer import Answer, kept_in, row_values, write_table
from kinema.finding.learning import Learned, learn
from kinema.finding.suggest import Pool, Suggestion, check_labels_kept, write_suggestions
from kinema.methods.classifier import Classifier, Net, address_of
from kinema.methods.options import Options
from kinema.methods.predict import Prediction, predicted
from kinema.metrics import Interval
from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.video.clips import ClipPlan
from kinema.video.loop import Reading
from kinema.video.sources import Source, find_videos
from kinema.video.steps import Made, Step, distinct, walk
from kinema.weights.several import AnyWeights, parts, resolve_all
from kinema.words import number_of, some

NUM_EXAMPLES = 3
"""Labelled videos of each class that the page shows."""


@dataclass(frozen=True)
class Assigned:
    """What the classifier takes a video for.

    Attributes:
        path: of the file.
        label: the best class, "" if it is none of these.
        best_class, score: the class that fits best, and its score.
        score_kind: "probability", or "distance" (the SVM's, signed).
        none_of_these: whether it is farther from all labelled videos than these are from each
            other; None where that cannot be told.
        num_clips: that it has.
    """

    path: str
    label: str
    best_class: str
    score: float
    score_kind: str
    none_of_these: bool | None
    num_clips: int


@dataclass(frozen=True)
class Segment:
    """A run of clips with the same best class.

    Attributes:
        path: of the file.
        start_seconds, stop_seconds: of the run; NaN where a video has no times.
        label: the class, "" for none of these.
        score: the mean over the clips of the score of their best class.
    """

    path: str
    start_seconds: float
    stop_seconds: float
    label: str
    score: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Classified(Answer):
    """What a few labels tell of other videos.

    Attributes:
        rows: `Assigned`, a video each, in the order in which they were named.
        segments: `Segment`s, a video after the other, in the order of time.
        scores: (n, K) of each row.
        classes: K names.
        classifier: for `predict`.
        accuracy: on labelled videos that were held out; None if it could not be judged.
        suggestions: the parts whose labels would help most.
        dataset: what was learned from.
        sources: of each row, by its path.
        labelled: some of the videos that were learned from, by class.
    """

    segments: Sequence[Segment] = ()
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    classes: tuple[str, ...] = ()
    classifier: Classifier
    accuracy: Interval | None = None
    suggestions: Sequence[Suggestion] = ()
    dataset: Dataset
    sources: Mapping[str, Source] = field(default_factory=dict)
    labelled: Mapping[str, Sequence[Source]] = field(default_factory=dict)

    def as_mapping(self) -> dict[str, Any]:
        """All of it as JSON values."""
        accuracy = self.accuracy
        return {
            "classes": [*self.classes],
            "num_labelled": len(self.dataset.samples),
            "accuracy": accuracy
            and {"mean": accuracy.mean, "low": accuracy.low, "high": accuracy.high},
            **super().as_mapping(),
            "scores": self.scores.tolist(),
            "segments": [row_values(one) for one in self.segments],
            "suggestions": [row_values(one) for one in self.suggestions],
        }

    def write(self, out: str | os.PathLike[str]) -> None:
        """Write classifier.safetensors, videos.csv, segments.csv, classified.json, suggestions.csv.

        suggestions.csv is written if there are any.
        """
        folder = Path(out)
        self.classifier.save(folder / "classifier.safetensors")
        self.write_csv(folder / "videos.csv")
        columns = [one.name for one in dataclasses.fields(Segment)]
        write_table(folder / "segments.csv", map(row_values, self.segments), columns)
        if self.suggestions:
            write_suggestions(folder / "suggestions.csv", self.dataset, self.suggestions)
        write_json(folder / "classified.json", self.as_mapping())


def classify(
    labelled: str | os.PathLike[str] | Dataset,
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
    suggest: int = 0,
    weights: AnyWeights | Sequence[AnyWeights] = "c3d-mini",
    layer: str = "fc6",
    stride: int = 8,
    mean: Any = None,
    cost: float | None = None,
    kind: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    extracted: str | os.PathLike[str] | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> Classified:
    """Learn from labelled videos, and tell the classes of others, by video and over time.

    Five videos a class will do. All that is labelled is learned from, whatever splits it has.

    Args:
        labelled: a dataset or its path, see `datasets.load`: a folder per class, or a CSV file with
            path, label and, if wanted, start_seconds, stop_seconds.
        videos: videos, folders of pictures, and folders to search. Those that are labelled as a
            whole are left out.
        out: a folder for the classifier, the tables and the suggestions; None writes nothing.
        suggest: how many parts of `videos` are suggested for labels; fewer, if it is sure of the
            others. See Note [What helps most] of `suggest`.
        weights, layer, stride, mean, device, engine, precision, threads: see `Extractor`; features
            of "A+B" stand side by side.
        cost: C of the SVM; None for cross-validation on the labelled videos.
        kind, lists: see `datasets.load`.
        cache: a folder for features; None for one of the user's own.
        extracted: a folder of `extract(shared=True)`, or its URL: tables of videos that show the
            same, made with the same settings, are taken from there. See `features.extracted`.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show progress on standard error.

    Raises:
        ValueError: a setting is wrong, there are fewer than two classes, or no other video.
        FileNotFoundError: something that is named is not there.
    """
    if suggest < 0:
        raise ValueError(f"`suggest` must be at least 0, got {suggest}.")
    nets = resolve_all(weights)
    reading = Reading(colours, video_seconds)
    Options(nets, layer, stride, cost=cost)
    check_same_clips(nets)
    dataset = labelled if isinstance(labelled, Dataset) else load(labelled, kind=kind, lists=lists)
    _check_classes(dataset)
    if suggest and out is not None:
        check_labels_kept(Path(out) / "suggestions.csv", dataset)
    sources, notes = _others(dataset, videos)
    folder = kept_in(cache)
    check_out(folder, "cache")
    asked = {"layer": layer, "mean": mean, "device": device}
    asked |= {"engine": engine, "precision": precision}
    plan = ClipPlan(length=nets[0].network.input_shape[1], stride=stride)
    extractors = [
        Extractor(net, plan=plan, threads=threads, reading=reading, **mine)
        for net, mine in zip(nets, meant_for_each(nets, asked), strict=True)
    ]
    if extracted is not None:
        asked_of_each = [(one.settings(), one.engine_name) for one in extractors]
        take_from(extracted, folder / "features", asked_of_each)
    with contextlib.ExitStack() as stack:
        if out is not None:
            stack.enter_context(locked_folder(Path(out)))
        dataset, vectors, skipped = _described(dataset, extractors, folder, progress)
        named = [
            Net(address_of(each), one.settings())
            for each, one in zip(parts(weights), extractors, strict=True)
        ]
        learned = learn(dataset, vectors, named, cost=cost, cache=folder, progress=progress)
        steps = _steps(extractors, folder)
        found = _told(dataset, learned, sources, steps, reading, suggest, progress)
        if len(found.suggestions) < suggest:
            few = number_of(len(found.suggestions), "part is", "parts are")
            notes.append(f"{few} suggested, not {suggest}: it is sure of all others, if any.")
        answer = dataclasses.replace(
            found,
            skipped=(*skipped, *found.skipped),
            notes=(*dataset.notes, *learned.notes, *notes),
        )
        if out is not None:
            answer.write(out)
    return answer


# --- what is refused before the first video is read -----------------------------------------------


def _check_classes(dataset: Dataset, skipped: Sequence[Skipped] = ()) -> None:
    """Refuse what cannot be told apart."""
    used = {sample.labels[0] for sample in dataset.samples}
    if len(used) < 2:
        found = " and ".join(dataset.classes[label] for label in used) or "none"
        why = f" Left out: {skipped[0]}" if skipped else ""
        if dataset.missing:
            why += f" Not there: {some(dataset.missing, 'labelled video')}."
        raise ValueError(
            f"`labelled` {dataset.title or dataset.root} has videos of one class ({found}); "
            f"to tell classes apart takes two.{why}"
        )


def _others(
    dataset: Dataset, videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
) -> tuple[list[Source], list[str]]:
    """The videos of `videos` that are not labelled, and notes."""
    found = find_videos([videos] if isinstance(videos, str | os.PathLike) else videos)
    notes = [*found.notes]
    labelled = _labelled_parts(dataset)
    whole, partly, others = [], [], []
    for source in found:
        known = labelled.get(os.path.realpath(source.path), ())
        if (0.0, math.inf) in known:
            whole.append(source.name)
            continue
        others.append(source)
        if known:
            partly.append(source.name)
    if not others:
        raise ValueError(f"`videos`: {some(whole, 'video')} labelled already; name others.")
    if whole:
        notes.append(f"left out, since they are labelled: {some(whole, 'video')}.")
    if partly:
        notes.append(f"classified as a whole, though parts are labelled: {some(partly, 'video')}.")
    return others, notes


def _labelled_parts(dataset: Dataset) -> dict[str, list[tuple[float, float]]]:
    """Start and stop of what is labelled, by real path; infinity is the end of a file."""
    found: dict[str, list[tuple[float, float]]] = {}
    for sample in dataset.samples:
        stop = math.inf if sample.stop_seconds is None else sample.stop_seconds
        found.setdefault(os.path.realpath(sample.path), []).append((sample.start_seconds, stop))
    return found


# --- features -------------------------------------------------------------------------------------


def _steps(extractors: Sequence[Extractor], folder: Path) -> list[Step]:
    """The tables of each net, found and kept in the cache."""
    return distinct(
        kept_step(extractor, TableCache(folder / "features", extractor)) for extractor in extractors
    )


def _walked(
    sources: Sequence[Source], steps: Sequence[Step], reading: Reading, title: str, progress: bool
) -> Iterator[tuple[Source, list[Any] | Skipped]]:
    """Each video and what the steps made of it, or why one of them could not."""
    with Counted(title, len(sources), enabled=progress) as bar:
        for source, outcomes in walk(sources, steps, reading=reading):
            bar.advance()
            faults = [one for one in outcomes if isinstance(one, Skipped)]
            made = [one.value for one in outcomes if isinstance(one, Made)]
            yield source, faults[0] if faults else made


def _described(
    dataset: Dataset, extractors: Sequence[Extractor], folder: Path, progress: bool
) -> tuple[Dataset, np.ndarray, list[Skipped]]:
    """The labelled videos that can be read, grouped; their vectors (n, D); and the others."""
    reading = extractors[0].reading
    dataset = dataclasses.replace(dataset, splits={})
    steps = _steps(extractors, folder)
    looked_for = near_duplicates.needs_groups(dataset)
    sketches = folder / "sketches"
    also = [near_duplicates.step(sketches, reading=reading)] if looked_for else []
    vectors: dict[str, np.ndarray] = {}
    unreadable: dict[str, str] = {}
    samples = [sample.source for sample in dataset.samples]
    for source, made in _walked(samples, [*steps, *also], reading, "labelled videos", progress):
        if isinstance(made, Skipped):
            unreadable[source.name] = made.reason
        else:
            vectors[source.name] = np.hstack([one.video_vector() for one in made[: len(steps)]])
    skipped = [
        Skipped(str(sample.source), unreadable[sample.name])
        for sample in dataset.samples
        if sample.name in unreadable
    ]
    dataset = _readable(dataset, unreadable)
    _check_classes(dataset, skipped)
    if looked_for:
        copies = near_duplicates.find_near_duplicates(dataset, cache=sketches, reading=reading)
        dataset = near_duplicates.group_near_duplicates(dataset, copies)
    return dataset, np.stack([vectors[sample.name] for sample in dataset.samples]), skipped


def _readable(dataset: Dataset, unreadable: Mapping[str, str]) -> Dataset:
    """The dataset of the other videos and their classes; a video counts for its first label."""
    kept = [sample for sample in dataset.samples if sample.name not in unreadable]
    used = sorted({sample.labels[0] for sample in kept})
    notes = [*dataset.notes]
    if dataset.missing:
        notes.append(f"not there: {some(dataset.missing, 'labelled video')}.")
    lost = [name for label, name in enumerate(dataset.classes) if label not in used]
    if lost:
        notes.append(f"no video can be read, left out: {some(lost, 'class', 'classes')}.")
    return dataclasses.replace(
        dataset,
        classes=tuple(dataset.classes[label] for label in used),
        samples=tuple(
            dataclasses.replace(sample, labels=(used.index(sample.labels[0]),)) for sample in kept
        ),
        notes=tuple(notes),
    )


# --- what the classifier tells --------------------------------------------------------------------


def _told(
    dataset: Dataset,
    learned: Learned,
    sources: Sequence[Source],
    steps: Sequence[Step],
    reading: Reading,
    suggest: int,
    progress: bool,
) -> Classified:
    classifier = learned.classifier
    pool = Pool(classifier, suggest, len(sources), _labelled_parts(dataset))
    rows: list[Assigned] = []
    segments: list[Segment] = []
    scores: list[np.ndarray] = []
    skipped: list[Skipped] = []
    told: dict[str, Source] = {}
    for source, made in _walked(sources, steps, reading, "other videos", progress):
        if isinstance(made, Skipped):
            skipped.append(made)
            continue
        tables: list[FeatureTable] = made
        prediction = predicted(classifier, source, tables)
        rows.append(_assigned(prediction))
        segments += _segments(prediction)
        scores.append(prediction.scores)
        told[prediction.video] = source
        pool.add(source, tables)
    if not rows:
        raise ValueError(f"`videos`: no video can be read ({skipped[0]}).")
    examples: dict[str, list[Source]] = {name: [] for name in dataset.classes}
    for sample in dataset.samples:
        mine = examples[dataset.classes[sample.labels[0]]]
        mine += [sample.source] * (len(mine) < NUM_EXAMPLES)
    return Classified(
        rows=tuple(rows),
        segments=tuple(segments),
        scores=np.stack(scores),
        classes=classifier.classes,
        classifier=classifier,
        accuracy=learned.accuracy,
        suggestions=tuple(pool.suggestions()),
        dataset=dataset,
        sources=told,
        labelled=examples,
        skipped=tuple(skipped),
    )


def _assigned(prediction: Prediction) -> Assigned:
    ((name, score),) = prediction.top(1)
    return Assigned(
        path=prediction.video,
        label="" if prediction.none_of_these else name,
        best_class=name,
        score=score,
        score_kind=prediction.score_kind,
        none_of_these=prediction.none_of_these,
        num_clips=len(prediction.clip_scores),
    )


def _segments(prediction: Prediction) -> Iterator[Segment]:
    best = prediction.clip_scores.max(axis=1)
    for start, stop, index, clips in prediction.runs():
        name = "" if index < 0 else prediction.classes[index]
        yield Segment(prediction.video, start, stop, name, float(best[clips].mean()))
