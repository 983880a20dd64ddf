"""What weights are worth, by one protocol: docs/results/weights.json and weights.md.

    python experiments/weights.py NAME_OR_FILE [NAME_OR_FILE ...]

Rows that are there already stay. Each net tells, by a linear SVM on fc6 of every 16th frame's clip:

    classes     three classes of UCF101, the mean of the official splits
    reversed    BabyCrawling played forward against backwards, folds of whole groups; chance is 50 %
    fast        BabyCrawling at its speed against double speed, the same folds
    drawn       drawn actions, 80 videos to learn from, 160 to test

C is found by cross-validation on the training videos, whole groups. Groups 22 to 25, which
`c3d-mini` saw without labels, are no part of reversed and fast. Takes videos from KINEMA_DATA and
the official lists beside it; features are kept in experiments/.cache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from real_videos import real_videos
from sklearn.model_selection import GroupKFold
from sklearn.svm import LinearSVC

from kinema.datasets.loaders import load
from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable
from kinema.files import atomic_path, write_json
from kinema.video.clips import ClipPlan
from kinema.video.synthetic import write_dataset

HERE = Path(__file__).parent
CACHE = HERE / ".cache" / "weights"
OUT = HERE.parent / "docs" / "results"
SEEN = ("22", "23", "24", "25")
COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
COLUMNS = ("classes", "reversed", "fast", "drawn")


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python experiments/weights.py NAME_OR_FILE [NAME_OR_FILE ...]")
    path = OUT / "weights.json"
    rows = json.loads(path.read_text())["rows"] if path.is_file() else {}
    for name in sys.argv[1:]:
        rows[Path(name).stem] = judged(name)
        write_json(path, {"rows": rows})
        with atomic_path(OUT / "weights.md") as partial:
            partial.write_text(as_markdown(rows), encoding="utf-8")
    print(as_markdown(rows))


def judged(name: str) -> dict[str, Any]:
    """All figures of one net, in percent."""
    data = real_videos()
    dataset = load(data / "ucf101-3" / "UCF-101", lists=data.parent / "lists" / "ucf101")
    vectors = Vectors(name)
    labels = np.array([sample.labels[0] for sample in dataset.samples])
    groups = np.array([sample.group for sample in dataset.samples])
    paths = [sample.path for sample in dataset.samples]
    x = vectors(paths, "forward")
    splits = [(list(split.train), list(split.test)) for split in dataset.splits.values()]
    classes = [100 * accuracy(x, labels, groups, *split) for split in splits]
    crawling = [
        index
        for index, sample in enumerate(dataset.samples)
        if sample.name.startswith("BabyCrawling") and sample.path.stem[-6:-4] not in SEEN
    ]
    some, of = [paths[index] for index in crawling], groups[crawling]
    found: dict[str, Any] = {"classes": np.mean(classes), "splits": classes}
    for how in ("reversed", "fast"):
        found[how] = 100 * told_apart(x[crawling], vectors(some, how), of)
    drawn = write_dataset(CACHE / "drawn", num_train=20, num_test=40, num_frames=32)
    x = vectors([video.path for video in drawn], "forward")
    y = np.array([video.label for video in drawn])
    train = [index for index, video in enumerate(drawn) if video.split == "train"]
    test = [index for index, video in enumerate(drawn) if video.split == "test"]
    scenes = np.array([video.path.stem.rpartition("_")[2] for video in drawn])
    found["drawn"] = 100 * accuracy(x, y, scenes, train, test)
    found = {key: np.round(value, 1).tolist() for key, value in found.items()}
    print(name, found, flush=True)
    return {"sha256": vectors.checksum, "videos of reversed and fast": len(some), **found}


class Vectors:
    """Vectors of videos, length 1: the mean of a net's rows."""

    def __init__(self, name: str) -> None:
        self._extractors = {
            "forward": Extractor(name, plan=ClipPlan(stride=16)),
            "fast": Extractor(name, plan=ClipPlan(stride=32, sampling_rate=2)),
        }
        self._extractors["reversed"] = self._extractors["forward"]
        self.checksum = "+".join(
            part.weights.sha256[:12] for part in self._extractors["fast"].features
        )

    def __call__(self, paths: Sequence[Path], how: str) -> np.ndarray:
        """(N, D) of videos, as they are played: "forward", "reversed" or "fast"."""
        return np.stack([self._of(path, how) for path in paths])

    def _of(self, path: Path, how: str) -> np.ndarray:
        kept = CACHE / f"{self.checksum}-{how}" / f"{path.parent.name}-{path.stem}.npy"
        if kept.is_file():
            return np.load(kept)
        rearrange: Callable[[np.ndarray], np.ndarray] | None = None
        if how == "reversed":
            rearrange = backwards
        table: FeatureTable = self._extractors[how](path, rearrange=rearrange)
        kept.parent.mkdir(parents=True, exist_ok=True)
        vector = table.video_vector()
        with atomic_path(kept) as partial, open(partial, "wb") as file:
            np.save(file, vector)
        return vector


def backwards(clips: np.ndarray) -> np.ndarray:
    """Clips (N, 3, T, H, W) played backwards."""
    return np.ascontiguousarray(clips[:, :, ::-1])


def accuracy(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, train: Sequence[int], test: Sequence[int]
) -> float:
    """Of a linear SVM on a split; C by cross-validation on its training videos."""
    best, cost = -1.0, COSTS[0]
    for c in COSTS:
        right = [
            svm(c).fit(x[train][i], y[train][i]).score(x[train][j], y[train][j])
            for i, j in GroupKFold(5).split(x[train], y[train], groups[train])
        ]
        if np.mean(right) > best + 1e-9:
            best, cost = float(np.mean(right)), c
    return float(svm(cost).fit(x[train], y[train]).score(x[test], y[test]))


def told_apart(one: np.ndarray, two: np.ndarray, groups: np.ndarray) -> float:
    """Accuracy of telling two ways of playing the same videos, by five folds of whole groups."""
    x, y = np.concatenate([one, two]), np.repeat([0, 1], len(one))
    both = np.tile(groups, 2)
    right = [
        accuracy(x, y, both, train, test) * len(test)
        for train, test in GroupKFold(5).split(x, y, both)
    ]
    return float(np.sum(right) / len(y))


def svm(cost: float) -> LinearSVC:
    return LinearSVC(C=cost, max_iter=20_000)


def as_markdown(rows: dict[str, Any]) -> str:
    """The table."""
    lines = ["| weights | classes | reversed | fast | drawn |", "| --- | --- | --- | --- | --- |"]
    for name, row in rows.items():
        lines.append("| " + " | ".join([name, *(f"{row[key]:.1f}" for key in COLUMNS)]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
