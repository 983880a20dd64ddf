"""What a training run tells: log.csv, and a TensorBoard log where that is installed.

log.csv has one row a step, or one for several steps of a long run; columns by their names:

    iteration, epoch            steps and epochs that were made
    loss                        mean since the row before
    learning_rate               of this step
    clips_per_second            since the row before
    clip_hit1                   share of the test clips; empty where nothing was evaluated, as are
    video_hit1, video_hit5      shares of the test videos; at 5 empty with five classes or fewer
    test_videos, test_clips     how many these shares are of
    run_iterations              length of the whole run as meant then: more where it was raised

New columns come last, so that what reads the first ones by their place goes on reading them.
"""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinema.files import atomic_path
from kinema.training.scoring import HIT5_CLASSES, Evaluation

COLUMNS = (
    "iteration",
    "epoch",
    "loss",
    "learning_rate",
    "clips_per_second",
    "clip_hit1",
    "video_hit1",
    "video_hit5",
    "test_videos",
    "test_clips",
    "run_iterations",
)

_WHOLE = ("iteration", "test_videos", "test_clips", "run_iterations")
"""Columns of whole numbers."""

_MOST_ROWS = 400
"""Of a run, besides those with an evaluation."""


class TrainingLog:
    """The log of a run; one that is gone on with keeps its rows up to where it goes on.

    Args:
        folder: where to write.
        iterations: steps of the whole run.
        batch: clips of a step.
        epoch: clips of an epoch.
        num_classes: how many are learned.
        start: steps that were made before.
        before: steps that the whole run was to have when they were made, if it was raised since.
        losses: since the last row.

    Attributes:
        rows: all rows, dicts of numbers by `COLUMNS`; without an evaluation, without its columns.
        note: what the user should know, or None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        iterations: int,
        batch: int,
        epoch: int,
        num_classes: int,
        start: int = 0,
        before: int | None = None,
        losses: Sequence[float] = (),
    ) -> None:
        self._path = folder / "log.csv"
        self._iterations, self._batch, self._epoch = iterations, batch, epoch
        self._every = max(iterations // _MOST_ROWS, 1)
        self._losses = list(losses)
        found = read_rows(self._path) if start else []
        self.rows = [row for row in found if row["iteration"] <= start]
        for row in self.rows:  # those of older versions
            row.setdefault("run_iterations", before or iterations)
            if num_classes < HIT5_CLASSES:
                row.pop("video_hit5", None)
        self.note: str | None = None
        self._write_all()
        self._told, self._num_clips = time.monotonic(), 0
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.note = "no TensorBoard log is written: that takes `pip install tensorboard`."
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def add(
        self, iteration: int, loss: float, rate: float, evaluation: Evaluation | None = None
    ) -> None:
        """A step was made; now and then that is a row, with the mean loss since the last one."""
        self._losses.append(loss)
        self._num_clips += self._batch
        if iteration % self._every and evaluation is None and iteration != self._iterations:
            return
        seconds = max(time.monotonic() - self._told, 1e-9)
        row: dict[str, float] = {
            "iteration": iteration,
            "epoch": round(iteration * self._batch / self._epoch, 4),
            "loss": float(np.mean(self._losses)),
            "learning_rate": rate,
            "clips_per_second": round(self._num_clips / seconds, 2),
            "run_iterations": self._iterations,
        }
        if evaluation is not None:
            row |= _figures(evaluation)
        self.rows.append(row)
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        if self._board is not None:
            for name, value in row.items():
                if name != "iteration":
                    self._board.add_scalar(name, value, iteration)
        self._losses, self._told, self._num_clips = [], time.monotonic(), 0

    def evaluated_again(self, evaluation: Evaluation) -> None:
        """A run that had been finished was evaluated again: so its last row tells what it is of."""
        if self.rows and self.rows[-1]["iteration"] == self._iterations:
            self.rows[-1].update(_figures(evaluation))
            self._write_all()

    def _write_all(self) -> None:
        with (
            atomic_path(self._path) as partial,
            open(partial, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"losses": list(self._losses)}

    def close(self) -> None:
        """Write what TensorBoard's log still holds back."""
        if self._board is not None:
            self._board.close()


def _figures(evaluation: Evaluation) -> dict[str, float]:
    """Columns of an evaluation; without a figure at 5 where there is none."""
    figures = {
        "clip_hit1": evaluation.clip_hit1,
        "video_hit1": evaluation.video_hit1,
        "video_hit5": evaluation.video_hit5,
        "test_videos": evaluation.num_videos,
        "test_clips": evaluation.num_clips,
    }
    return {name: value for name, value in figures.items() if value is not None}


def read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a log.csv, numbers by `COLUMNS`; a line that a kill cut off is passed over."""
    rows = []
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                with contextlib.suppress(ValueError, TypeError):
                    if None in row.values():  # a line that was cut off has fewer
                        continue
                    values = {name: float(value) for name, value in row.items() if value}
                    whole = {name: int(values[name]) for name in _WHOLE if name in values}
                    if "iteration" in whole:
                        rows.append({**values, **whole})
    return rows
