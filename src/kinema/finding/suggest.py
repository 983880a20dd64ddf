"""Which clips to label next: those whose labels would help a classifier most.

Note [What helps most]
    A label helps where the classifier is unsure, and two labels help more where they are unlike
    each other. So parts of about two seconds, long enough for a person to judge, are ranked by the
    gap between their two best classes. The 20 N with the smallest gaps, a few of each video, are
    parted into N clusters (k-means of their vectors of length 1), and of each the part nearest to
    its centre is suggested. Of few videos the 20 N are no more than the unsurer half, as long as
    that is N.

    A part is left out, even if there are fewer than N then, where the classifier is sure: it lies
    outside the margin of every SVM (a distance of 1 or more to its class, of -1 or less to all
    others), so that the label which is foretold would change nothing, and is near to what was
    learned from.

    Measured with three labelled videos a class and ten suggestions (three classes of UCF101, see
    experiments/classify.py), while this was made: the farthest from those already taken, in place
    of clusters, gave three to five points less, since it takes odd ones, and so did 10 N; what is
    none of the classes put first gave nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from kinema.datasets.csv_lists import labelled_rows
from kinema.datasets.lists import group_of
from kinema.datasets.types import Dataset
from kinema.features.table import FeatureTable, normalized
from kinema.finding.answer import write_table
from kinema.methods.classifier import Classifier
from kinema.video.sources import Source
from kinema.words import number_of

PART_SECONDS = 2.0
"""Of what is suggested: long enough for a person to tell what is done."""

POOL = 20
"""Candidates for each suggestion. See Note [What helps most]."""

COLUMNS = ("path", "label", "start_seconds", "stop_seconds", "best_class", "score")


@dataclass(frozen=True)
class Suggestion:
    """A part of a video that is worth a label.

    Attributes:
        path: of the file.
        label: "", to be filled in.
        start_seconds, stop_seconds: of the part; NaN for all of a video that has no times.
        best_class, score: what the classifier takes it for; a probability or a distance.
        why: what makes it worth a label, in words.
    """

    path: str
    label: str
    start_seconds: float
    stop_seconds: float
    best_class: str
    score: float
    why: str


@dataclass(frozen=True, eq=False)
class _Candidate:
    suggestion: Suggestion
    gap: float
    vector: np.ndarray  # float16, of length 1


@dataclass(eq=False)
class Pool:
    """The candidates of some videos, the most uncertain of each.

    Args:
        classifier: what is unsure.
        num_suggestions: how many are wanted in the end.
        num_videos: that will be shown to it.
        labelled: of real paths, the parts (start, stop) that have labels: they are left out.
    """

    classifier: Classifier
    num_suggestions: int
    num_videos: int
    labelled: Mapping[str, Sequence[tuple[float, float]]]
    _candidates: list[_Candidate] = field(default_factory=list)

    def add(self, source: Source, tables: Sequence[FeatureTable]) -> None:
        """Look at the parts of a video, by its tables, one a net."""
        if not self.num_suggestions:
            return
        mine = []
        known = self.labelled.get(os.path.realpath(source.path), ())
        for start, stop, rows in parts_of(tables[0]):
            if any(start < end and begin < stop for begin, end in known):
                continue
            means = [t.features[rows].mean(axis=0, dtype=np.float64)[None] for t in tables]
            scores = self.classifier.shown(*means)[0]
            none = self.classifier.is_none(*means)
            if _is_sure(self.classifier.scores(*means)[0]) and (none is None or not none[0]):
                continue
            mine.append(self._candidate(source, start, stop, scores, means, none))
        mine.sort(key=lambda one: one.gap)
        self._candidates += mine[: self._most]

    @property
    def _most(self) -> int:
        """Of one video: two, but more where there are few videos."""
        return max(2, math.ceil(POOL * self.num_suggestions / max(self.num_videos, 1)))

    def _candidate(
        self,
        source: Source,
        start: float,
        stop: float,
        scores: np.ndarray,
        means: Sequence[np.ndarray],
        none: np.ndarray | None,
    ) -> _Candidate:
        best, second = np.argsort(-scores, kind="stable")[:2]
        names = self.classifier.classes
        why = f"{names[best]} or {names[second]}"
        if none is not None and none[0]:
            why += ", or none of these"
        suggestion = Suggestion(
            path=str(source.path),
            label="",
            start_seconds=start,
            stop_seconds=stop,
            best_class=names[best],
            score=float(scores[best]),
            why=why,
        )
        vector = normalized(self.classifier.vectors(*means)[0]).astype(np.float16)
        return _Candidate(suggestion, float(scores[best] - scores[second]), vector)

    def suggestions(self) -> list[Suggestion]:
        """Those that help most, the most uncertain first. See Note [What helps most]."""
        wanted = self.num_suggestions
        if not wanted:
            return []
        unsure = max(wanted, min(POOL * wanted, math.ceil(len(self._candidates) / 2)))
        ranked = sorted(self._candidates, key=lambda one: one.gap)[:unsure]
        if len(ranked) <= wanted:
            return [one.suggestion for one in ranked]
        vectors = np.stack([one.vector for one in ranked]).astype(np.float64)
        distinct = len(np.unique(vectors, axis=0))
        clusters = KMeans(min(wanted, distinct), n_init=3, random_state=0).fit(vectors)
        distances = clusters.transform(vectors)
        chosen = {int(distances[:, number].argmin()) for number in range(distances.shape[1])}
        rest = (index for index in range(len(ranked)) if index not in chosen)
        while len(chosen) < wanted:  # parts that are all alike
            chosen.add(next(rest))
        return [ranked[index].suggestion for index in sorted(chosen)]


def _is_sure(distances: np.ndarray) -> bool:
    """Whether (K,) signed distances lie outside all margins. See Note [What helps most]."""
    *others, best = np.sort(distances)
    return bool(best >= 1 and others[-1] <= -1)


def parts_of(table: FeatureTable) -> list[tuple[float, float, np.ndarray]]:
    """Parts of about two seconds, one after the other, and the rows of their clips.

    A rest of less than half a part is left out. A video without times is one part, of NaN.
    """
    start, stop = table.start_seconds, table.stop_seconds
    if not (np.isfinite(start).all() and np.isfinite(stop).all()):
        return [(math.nan, math.nan, np.arange(len(table)))]
    parts: list[list[int]] = []
    for row in range(len(table)):
        if parts and stop[row] - start[parts[-1][0]] <= PART_SECONDS:
            parts[-1].append(row)
        elif not parts or start[row] >= start[parts[-1][0]]:
            parts.append([row])
    found = [(float(start[rows[0]]), float(stop[rows].max()), np.array(rows)) for rows in parts]
    long = [part for part in found if part[1] - part[0] >= PART_SECONDS / 2]
    return long or found[:1]


def write_suggestions(
    path: str | os.PathLike[str], dataset: Dataset, suggestions: Sequence[Suggestion]
) -> None:
    """Write what is labelled and, below, what is suggested: filled in, the next `LABELLED`.

    Paths are relative to the file's folder where they lie below it. The groups of the dataset stand
    in a column of their own, where its paths do not tell them.

    Args:
        path: the CSV file.
        dataset: what is labelled.
        suggestions: their labels are empty.
    """
    folder = Path(os.path.abspath(path)).parent
    rows: list[dict[str, Any]] = []
    own_groups = False
    for sample in dataset.samples:
        name = sample.name.partition("#t=")[0]
        own_groups |= sample.group not in (group_of(name), name)
        rows.append(
            {
                "path": path_in(folder, sample.path),
                "label": dataset.classes[sample.labels[0]],
                "start_seconds": sample.start_seconds or None,
                "stop_seconds": sample.stop_seconds,
                "best_class": None,
                "score": None,
                "group": sample.group,
            }
        )
    for one in suggestions:
        timed = math.isfinite(one.stop_seconds)
        rows.append(
            {
                "path": path_in(folder, Path(one.path)),
                "label": None,
                "start_seconds": round(one.start_seconds, 3) if timed else None,
                "stop_seconds": round(one.stop_seconds, 3) if timed else None,
                "best_class": one.best_class,
                "score": round(one.score, 4),
                "group": None,
            }
        )
    write_table(path, rows, [*COLUMNS, "group"] if own_groups else COLUMNS)


def check_labels_kept(path: Path, dataset: Dataset) -> None:
    """Refuse to write suggestions over labels that somebody filled in and `dataset` lacks.

    Args:
        path: where the suggestions will go; a file of earlier ones may be there.
        dataset: what is labelled, and will be written there again.

    Raises:
        ValueError: labels would be lost.
    """
    if not path.is_file():
        return
    try:
        rows, _ = labelled_rows(path)
    except ValueError:  # no label in it, or it was not written here
        return
    known = {
        (os.path.realpath(sample.path), dataset.classes[label], sample.start_seconds or 0.0)
        for sample in dataset.samples
        for label in sample.labels
    }
    lost = [
        row
        for row in rows
        if (os.path.realpath(row.video), row.label, row.start_seconds) not in known
    ]
    if lost:
        raise ValueError(
            f"{path}: {number_of(len(lost), 'label')} that LABELLED lacks would be lost "
            f"({lost[0].label} of {lost[0].path}): name the file as LABELLED, if the videos are "
            "there, or move it."
        )


def path_in(folder: Path, path: Path) -> str:
    """A path as a CSV in `folder` names it; no spreadsheet takes it for a formula."""
    absolute = os.path.abspath(path)
    inside = os.path.join(folder, "")
    if not absolute.startswith(inside):
        return absolute
    name = absolute[len(inside) :]
    # "./" also keeps a blank at the beginning, and a quote that is the name's own.
    return name if name[0].isalnum() else f"./{name}"
