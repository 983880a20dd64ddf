"""`Result`: what a comparison found, a row a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kinema.evaluation.protocol import warnings_of
from kinema.metrics import Interval, confusion_matrix
from kinema.notebook import as_html
from kinema.skipped import Skipped
from kinema.video.sources import Source
from kinema.words import number_of


@dataclass(frozen=True, eq=False)
class Timeline:
    """What a method predicted for the clips of one video.

    Attributes:
        start, stop: (m,) of the clips, in seconds; in frames where the video has no times.
        predicted: (m,) indices of classes.
    """

    start: np.ndarray
    stop: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method decided on the test videos of one split.

    Attributes:
        split: its name.
        test: indices of the test videos in the result's.
        true: (n,) indices of their classes.
        scores: (n, K).
        chosen: what a search chose on the training videos, by name: {"C": 1.0}.
        sweep: accuracy of that search by value.
        timelines: of the test videos; empty if they were not asked for, or the method has no clips.
        notes: of the method on its fit and these videos, a line each.
    """

    split: str
    test: tuple[int, ...]
    true: np.ndarray
    scores: np.ndarray
    chosen: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[float, float] = field(default_factory=dict)
    timelines: tuple[Timeline, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def cost(self) -> float | None:
        """C of the SVM; None for methods without one."""
        return self.chosen.get("C")

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
        name: of the row.
        title, stands_in: of the method, see Note [Method].
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
        paper: what Tran et al. 2015 give for it on UCF101, in %; None for none of theirs.
        above_chance: whether more test videos are right than of the largest training class's: the
            paired interval without zero.
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
    paper: float | None = None
    above_chance: bool = True

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

    @property
    def leaks(self) -> tuple[str, ...]:
        """Which rows' weights learned from test videos, a line each."""
        return tuple(
            f"(!) {row.title}: its weights learned from {row.leaked} of the test videos; this "
            "accuracy says nothing."
            for row in self.rows
            if row.leaked
        )

    def _repr_html_(self) -> str:
        rows = [
            {
                "method": f"{row.title}{' (!)' * (row.leaked > 0)}",
                "accuracy, %": f"{100 * row.accuracy:.1f}",
                "95 %": f"{100 * row.interval.low:.1f} to {100 * row.interval.high:.1f}",
                "to the first": None
                if row.difference is None
                else f"{100 * row.difference.mean:+.1f}",
            }
            for row in self.rows
        ]
        title = (
            f"{self.dataset}: {number_of(len(self.videos), 'video')}, "
            f"{number_of(len(self.classes), 'class', 'classes')}, "
            f"{number_of(len(self.splits), 'split')}"
        )
        return as_html(title, rows, notes=[*self.leaks, *self.warnings])

    def confusion(self, row: Row) -> np.ndarray:
        """(K, K) counts over all splits: true class by row, predicted by column."""
        matrices = [
            confusion_matrix(outcome.true, outcome.scores.argmax(axis=1), len(self.classes))
            for outcome in row.outcomes
        ]
        total: np.ndarray = sum(matrices[1:], matrices[0])
        return total

    def misses(self, row: Row, count: int = 10) -> list[dict[str, Any]]:
        """The worst errors of a method: by how far another class is ahead."""
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
