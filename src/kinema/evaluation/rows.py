"""A method's row: fitted and tested on each split, with all that its capabilities allow.

See Note [Method] in `kinema.methods` for what a method may have.
"""

from __future__ import annotations

import contextlib
import inspect
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from kinema.datasets.types import Dataset, Split
from kinema.evaluation.embedding import FEWEST_POINTS, tsne
from kinema.evaluation.experiment import Experiment
from kinema.evaluation.result import Outcome, Row, Timeline
from kinema.methods.given import has_features, title_of
from kinema.methods.paper import ACCURACY
from kinema.metrics import group_interval, knn_purity, paired_interval, purity_note
from kinema.video.loop import Video
from kinema.video.sources import Source

NUM_TIMED = 5
"""Videos that a method's speed is measured on, without its cache."""

TIMED_ROUNDS = 3
"""Of which the median counts: other work on the machine shows."""


def row_of(
    name: str, experiment: Experiment, first: Row | None, *, timed: bool, pictures: bool
) -> Row:
    """A method's row.

    Args:
        name: of `experiment.methods`.
        experiment: videos, splits and methods.
        first: the row that differences are to, if this is another one.
        timed: whether to measure frames a second.
        pictures: whether to make maps and timelines.
    """
    method = experiment.methods[name]
    labels, groups = experiment.labels, experiment.groups
    outcomes = []
    for split_name, split in experiment.splits.items():
        with _named(name, split_name):
            fitted = fit(method, experiment, split.train)
            outcomes.append(_outcome(name, fitted, experiment, split_name, split, pictures))
    right = np.concatenate([outcome.right for outcome in outcomes]).astype(float)
    tested = np.concatenate([outcome.test for outcome in outcomes])
    points = purity = None
    note = ""
    if pictures and has_features(method) and len(labels) >= FEWEST_POINTS:
        vectors = method.describe(experiment.sources)
        points, _ = tsne(vectors)
        purity = knn_purity(vectors, labels, groups.tolist())
        note = purity_note(labels, groups.tolist())
    difference = None
    if first is not None:
        before = np.concatenate([outcome.right for outcome in first.outcomes]).astype(float)
        difference = paired_interval(right, before, groups[tested].tolist())
    return Row(
        name=name,
        title=title_of(name, method),
        stands_in=getattr(method, "stands_in", ""),
        outcomes=tuple(outcomes),
        interval=group_interval(right, groups[tested].tolist()),
        difference=difference,
        num_dimensions=getattr(fitted, "num_dimensions_", None),
        frames_per_second=_speed(method, experiment.sources)
        if timed and hasattr(method, "describe_anew")
        else None,
        leaked=num_leaked(method, experiment.dataset, experiment.splits),
        points=points,
        purity=purity,
        purity_note=note,
        paper=ACCURACY.get(name),
        above_chance=_is_above_chance(right, groups[tested].tolist(), experiment),
    )


def _is_above_chance(right: np.ndarray, groups: Sequence[str], experiment: Experiment) -> bool:
    """Whether more is right than what always names the largest training class has right."""
    guessed = []
    for split in experiment.splits.values():
        largest = np.bincount(experiment.labels[list(split.train)]).argmax()
        guessed.append(experiment.labels[list(split.test)] == largest)
    before = np.concatenate(guessed).astype(float)
    # A row that guesses so itself says it by its title.
    return np.array_equal(right, before) or paired_interval(right, before, groups).low > 0


@contextlib.contextmanager
def _named(name: str, split: str) -> Iterator[None]:
    """Whose fault an error is: a method can be anyone's."""
    try:
        yield
    except OSError:  # of the disk
        raise
    except ValueError as error:
        raise ValueError(f"the method {name}, {split}: {error}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise RuntimeError(f"the method {name} failed in {split}, {what}") from error


def num_leaked(method: Any, dataset: Dataset, splits: Mapping[str, Split]) -> int:
    """How many of the test videos a method's weights learned from."""
    tested = {dataset.samples[index].name for split in splits.values() for index in split.test}
    return len(set(getattr(method, "seen", ())) & tested)


def fit(method: Any, experiment: Experiment, chosen: Sequence[int] | None = None) -> Any:
    """A clone of a method, fitted on some of the videos, or on all."""
    indices = range(len(experiment.sources)) if chosen is None else chosen
    train = list(indices)
    given: dict[str, Any] = {}
    if "groups" in inspect.signature(method.fit).parameters:
        given["groups"] = experiment.groups[train]
    videos = [experiment.sources[index] for index in train]
    fitted = clone(method)
    fitted.fit(videos, experiment.labels[train], **given)
    return fitted


def _outcome(
    name: str, fitted: Any, experiment: Experiment, split_name: str, split: Split, pictures: bool
) -> Outcome:
    if not hasattr(fitted, "classes_"):
        raise ValueError("its `fit` must set `classes_`, the sorted labels.")
    test = list(split.test)
    videos = [experiment.sources[index] for index in test]
    classes = np.asarray(fitted.classes_)
    # Classes without a training video are never predicted.
    scores = np.full((len(test), len(experiment.dataset.classes)), -np.inf)
    scores[:, classes] = scores_of(name, fitted, videos)
    return Outcome(
        split_name,
        tuple(test),
        experiment.labels[test],
        scores,
        chosen=dict(getattr(fitted, "chosen_", None) or getattr(fitted, "best_params_", {})),
        sweep=getattr(fitted, "sweep_", {}),
        timelines=_timelines(fitted, videos) if pictures else (),
        notes=tuple(fitted.notes(videos)) if hasattr(fitted, "notes") else (),
    )


def scores_of(name: str, fitted: Any, videos: Sequence[Source]) -> np.ndarray:
    """(n, K) scores of a fitted method for the classes that it knows.

    Raises:
        ValueError: the method gave another shape.
    """
    num_classes = len(fitted.classes_)
    if hasattr(fitted, "decision_function"):
        way, scores = "decision_function", np.asarray(fitted.decision_function(videos))
        if scores.ndim == 1 and num_classes == 2:
            scores = np.stack([-scores, scores], axis=1)
    elif hasattr(fitted, "predict_proba"):
        way, scores = "predict_proba", np.asarray(fitted.predict_proba(videos))
    else:
        predicted = np.asarray(fitted.predict(videos))
        way, scores = "predict", (predicted[:, None] == np.asarray(fitted.classes_)).astype(float)
    if scores.shape != (len(videos), num_classes):
        raise ValueError(
            f"the method {name}: `{way}` of {len(videos)} videos must give "
            f"({len(videos)}, {num_classes}), got {scores.shape}."
        )
    return scores


def _timelines(fitted: Any, videos: Sequence[Source]) -> tuple[Timeline, ...]:
    made = []
    for video in videos:
        found = fitted.timeline(video) if hasattr(fitted, "timeline") else None
        if found is None:
            return ()
        start, stop, scores = found
        made.append(Timeline(start, stop, np.asarray(fitted.classes_)[scores.argmax(axis=1)]))
    return tuple(made)


def _speed(method: Any, sources: Sequence[Source]) -> float:
    """Frames a second from files to features, on a few videos, nothing taken from the cache."""
    numbers = np.unique(np.linspace(0, len(sources) - 1, NUM_TIMED).astype(int))
    chosen = [sources[number] for number in numbers]
    method.describe_anew(chosen[:1])  # what is set up once
    seconds = []
    for _ in range(TIMED_ROUNDS):
        begun = time.perf_counter()
        method.describe_anew(chosen)
        seconds.append(time.perf_counter() - begun)
    num_frames = sum(1 for source in chosen for _ in Video(source).frames())
    return num_frames / statistics.median(seconds)
