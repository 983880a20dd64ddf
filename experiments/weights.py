"""What weights are worth, by one protocol: docs/results/weights.json and weights.md.

    python experiments/weights.py NAME_OR_FILE [NAME_OR_FILE ...]

Rows that are there already stay. A name is one of kinema's, or a teacher of the default weights,
`mc3_18` or `efficientnet-lite2` (see teachers.py). Each net tells, by a linear SVM on its features
of every 16th frame's clip (fc6, where it is a C3D):

    classes     three classes of UCF101, the mean of the official splits
    reversed    BabyCrawling played forward against backwards, folds of whole groups; chance is 50 %
    fast        BabyCrawling at its speed against double speed, the same folds
    drawn       drawn actions, 80 videos to learn from, 160 to test

C is found by cross-validation on the training videos, whole groups. Groups 22 to 25, which
`c3d-mini` saw without labels, are no part of reversed and fast. Takes videos from KINEMA_DATA and
the official lists beside it; features are kept in experiments/.cache, video by video, so that what
was stopped goes on.

What each net has right is kept by group ("10": the first of its test videos right, the second
wrong; of reversed and fast first the videos as they are). Intervals are made of that: 95 %, whole
groups drawn again and again, differences paired by video. `python experiments/weights.py` without a
name makes the tables anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from real_videos import real_videos
from sklearn.model_selection import GroupKFold
from sklearn.svm import LinearSVC

from kinema.datasets.loaders import load
from kinema.features.clip_features import centred
from kinema.features.extractor import Extractor
from kinema.features.table import normalized
from kinema.files import atomic_path, write_json
from kinema.metrics import Interval, group_interval, paired_interval
from kinema.video.clips import C3D_RESIZE, ClipPlan, preprocess, resizing, stream_clips
from kinema.video.reader import VideoReader
from kinema.video.synthetic import write_dataset
from kinema.weights.several import AnyWeights, parts

HERE = Path(__file__).parent
CACHE = HERE / ".cache" / "weights"
OUT = HERE.parent / "docs" / "results"
SEEN = ("22", "23", "24", "25")
COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
COLUMNS = ("classes", "reversed", "fast", "drawn")
TEACHERS = ("mc3_18", "efficientnet-lite2")
BASELINES = ("c3d-mini-random", "imagenet")
"""Rows that differences are to."""

PLANS = {
    "forward": ClipPlan(stride=16),
    "reversed": ClipPlan(stride=16),
    "fast": ClipPlan(stride=32, sampling_rate=2),
}
BATCH = 2
"""Clips that a teacher sees at once; more are no faster."""

Right = dict[str, str]
"""Of each group, which of its test videos are right: "1", and which are wrong: "0"."""


def main() -> None:
    path = OUT / "weights.json"
    rows = json.loads(path.read_text())["rows"] if path.is_file() else {}
    for name in sys.argv[1:]:
        for found in judged(name):
            row = rows[Path(name).stem] = joined(rows.get(Path(name).stem, {}), found)
            write_json(path, {"rows": rows})
        print(name, {key: row[key] for key in COLUMNS}, flush=True)
    with atomic_path(OUT / "weights.md") as partial:
        partial.write_text(as_markdown(rows), encoding="utf-8")
    print(as_markdown(rows))


def joined(row: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """A row with figures that were found; of another file of weights nothing stays."""
    if row.get("sha256") != found["sha256"]:
        row = {}
    return {**row, **found, "right": {**row.get("right", {}), **found["right"]}}


def judged(name: str) -> Iterator[dict[str, Any]]:
    """All figures of one net, in percent, and what it has right: one test after the other."""
    data = real_videos()
    dataset = load(data / "ucf101-3" / "UCF-101", lists=data.parent / "lists" / "ucf101")
    vectors = Vectors(name)
    labels = np.array([sample.labels[0] for sample in dataset.samples])
    groups = np.array([sample.group for sample in dataset.samples])
    paths = [sample.path for sample in dataset.samples]
    crawling = [
        index
        for index, sample in enumerate(dataset.samples)
        if sample.name.startswith("BabyCrawling") and sample.path.stem[-6:-4] not in SEEN
    ]
    some, of = [paths[index] for index in crawling], np.tile(groups[crawling], 2)
    about = {"sha256": vectors.checksum, "videos of reversed and fast": len(some)}
    for how in ("reversed", "fast"):
        right = told_apart(vectors(some, "forward"), vectors(some, how), groups[crawling])
        yield {**about, how: percent(right.mean()), "right": {how: by_group(right, of)}}
    drawn = write_dataset(CACHE / "drawn", num_train=20, num_test=40, num_frames=32)
    x = vectors([video.path for video in drawn], "forward")
    y = np.array([video.label for video in drawn])
    train = [index for index, video in enumerate(drawn) if video.split == "train"]
    test = [index for index, video in enumerate(drawn) if video.split == "test"]
    scenes = np.array([video.path.stem.rpartition("_")[2] for video in drawn])
    right = right_of(x, y, scenes, train, test)
    kept = {"drawn": by_group(right, scenes[test])}
    yield {**about, "drawn": percent(right.mean()), "right": kept}
    x = vectors(paths, "forward")
    splits = [(list(split.train), list(split.test)) for split in dataset.splits.values()]
    each = [right_of(x, labels, groups, *split) for split in splits]
    shares = [right.mean() for right in each]
    tested = np.concatenate([groups[test] for _, test in splits])
    kept = {"classes": by_group(np.concatenate(each), tested)}
    yield {**about, "classes": percent(np.mean(shares)), "splits": percent(shares), "right": kept}


def percent(share: Any) -> Any:
    """A share, or several, with one decimal."""
    return np.round(100 * np.asarray(share), 1).tolist()


class Vectors:
    """Vectors of videos, length 1: the mean of a net's rows, which are kept.

    Of "A+B" each clip's rows stand side by side, each of length 1.
    """

    def __init__(self, name: str) -> None:
        self._nets = [Taught(one) if one in TEACHERS else Extracted(one) for one in parts(name)]
        self.checksum = "+".join(net.checksum for net in self._nets)

    def __call__(self, paths: Sequence[Path], how: str) -> np.ndarray:
        """(N, D) of videos, as they are played: "forward", "reversed" or "fast"."""
        vectors = []
        for path in paths:
            rows = [rows_of(net, path, how) for net in self._nets]
            beside = rows[0] if len(rows) == 1 else np.hstack([normalized(each) for each in rows])
            vectors.append(normalized(beside.mean(axis=0, dtype=np.float64)))
        return np.stack(vectors)


def rows_of(net: Extracted | Taught, path: Path, how: str) -> np.ndarray:
    """(clips, D) float32 of a video, kept."""
    # Videos of two splits may have one class and name: the folder above tells them apart.
    kept = CACHE / f"{net.checksum}-{how}" / "-".join(path.with_suffix(".npy").parts[-3:])
    if kept.is_file():
        return np.load(kept)
    rows = net(path, how)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(kept) as partial, open(partial, "wb") as file:
        np.save(file, rows)
    return rows


class Extracted:
    """Rows of a video's clips as `kinema extract` makes them.

    Attributes:
        checksum: of the weights, the first digits.
    """

    def __init__(self, name: AnyWeights) -> None:
        self._forward = Extractor(name, plan=PLANS["forward"])
        self._fast = Extractor(name, plan=PLANS["fast"])
        self.checksum = self._fast.weights_sha256[:12]

    def __call__(self, path: Path, how: str) -> np.ndarray:
        """(clips, D) float32 of a video as it is played."""
        extractor = self._fast if how == "fast" else self._forward
        return extractor(path, rearrange=backwards if how == "reversed" else None).features


class Taught:
    """Rows of the same clips by a teacher of the default weights.

    mc3_18 sees what c3d-mini sees, the centre of 128x171 pixels. EfficientNet-Lite2 sees what
    `imagenet` sees, the centre of the middle frame, of which clips that are reversed have the same.

    Attributes:
        checksum: of the file of weights, the first digits.
    """

    def __init__(self, name: AnyWeights) -> None:
        import teachers
        import torch

        self._tensor = torch.from_numpy
        kind = {"mc3_18": teachers.MC3, "efficientnet-lite2": teachers.EfficientNetLite2}[str(name)]
        self._is_of_clips = name == "mc3_18"
        self._shrink = resizing(C3D_RESIZE) if self._is_of_clips else centred
        self.checksum = hashlib.sha256(kind.path().read_bytes()).hexdigest()[:12]
        self._teacher = kind(torch.device("cpu"))

    def __call__(self, path: Path, how: str) -> np.ndarray:
        """(clips, D) float32 of a video as it is played."""
        clips = stream_clips(map(self._shrink, VideoReader(path)), PLANS[how])
        inputs = [self._prepared(clip.images) for clip in clips]
        rows = []
        for start in range(0, len(inputs), BATCH):
            batch = np.stack(inputs[start : start + BATCH])
            rows.append(self._run(backwards(batch) if how == "reversed" else batch))
        return np.concatenate(rows)

    def _prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(3, T, H, W) float32, R, G, B, 0 ... 255."""
        if self._is_of_clips:
            return preprocess(images, mean=(0, 0, 0), resize_to=None, channels="RGB")
        middle = images[len(images) // 2]
        return middle.transpose(2, 0, 1)[:, None].astype(np.float32)

    def _run(self, inputs: np.ndarray) -> np.ndarray:
        x = self._tensor(inputs)
        if self._is_of_clips:
            rows: np.ndarray = self._teacher.halves(x).mean(1).numpy()
        else:
            rows = self._teacher.vectors(x[:, :, 0]).numpy()
        return rows


def backwards(clips: np.ndarray) -> np.ndarray:
    """Clips (N, 3, T, H, W) played backwards."""
    return np.ascontiguousarray(clips[:, :, ::-1])


def right_of(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, train: Sequence[int], test: Sequence[int]
) -> np.ndarray:
    """Which test videos a linear SVM has right; C by cross-validation on its training videos."""
    best, cost = -1.0, COSTS[0]
    for c in COSTS:
        right = [
            svm(c).fit(x[train][i], y[train][i]).score(x[train][j], y[train][j])
            for i, j in GroupKFold(5).split(x[train], y[train], groups[train])
        ]
        if np.mean(right) > best + 1e-9:
            best, cost = float(np.mean(right)), c
    told: np.ndarray = svm(cost).fit(x[train], y[train]).predict(x[test])
    return told == y[test]


def told_apart(one: np.ndarray, two: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which of `one`, then of `two`, ways of playing the same videos, are told for what they are.

    By five folds of whole groups.
    """
    x, y = np.concatenate([one, two]), np.repeat([0, 1], len(one))
    both = np.tile(groups, 2)
    right = np.zeros(len(y), bool)
    for train, test in GroupKFold(5).split(x, y, both):
        right[test] = right_of(x, y, both, train, test)
    return right


def svm(cost: float) -> LinearSVC:
    return LinearSVC(C=cost, max_iter=20_000)


# --- intervals ------------------------------------------------------------------------------------


def by_group(right: np.ndarray, groups: np.ndarray) -> Right:
    """What is right of each group, in the order of the videos."""
    return {
        str(group): "".join("01"[int(one)] for one in right[groups == group])
        for group in np.unique(groups)
    }


def values_of(right: Right) -> tuple[np.ndarray, list[str]]:
    """1 or 0 of each test video, and its group."""
    values = np.array([int(one) for marks in right.values() for one in marks], float)
    return values, [group for group, marks in right.items() for _ in marks]


def interval(row: Mapping[str, Any], column: str) -> Interval | None:
    """Of a figure; None if it was not kept what is right."""
    right = row.get("right", {}).get(column)
    return right and group_interval(*values_of(right))


def difference(row: Mapping[str, Any], before: Mapping[str, Any], column: str) -> Interval | None:
    """Of a row to another; None if it was not kept what is right."""
    one, other = (each.get("right", {}).get(column) for each in (row, before))
    if not one or not other:
        return None
    values, groups = values_of(one)
    others, same = values_of(other)
    if groups != same:
        raise ValueError(f"{column}: the rows are of other videos; judge both again.")
    return paired_interval(values, others, groups)


def as_markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Figures with their intervals, then differences to each of `BASELINES` with theirs."""

    def figure(row: Mapping[str, Any], column: str) -> str:
        if column not in row:
            return ""
        found = interval(row, column)
        range_ = f" ({100 * found.low:.1f} to {100 * found.high:.1f})" if found else ""
        return f"{row[column]:.1f}{range_}"

    def less(before: str, row: Mapping[str, Any], column: str) -> str:
        found = difference(row, rows[before], column)
        if not found:
            return ""
        mean, low, high = (100 * value for value in (found.mean, found.low, found.high))
        return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"

    tables = [table("weights", rows, figure)]
    for before in BASELINES:
        if "right" in rows.get(before, {}):
            others = {
                name: row for name, row in rows.items() if name != before and row.get("right")
            }
            tables.append(table(f"less {before}", others, functools.partial(less, before)))
    return "\n".join(tables)


def table(
    first: str,
    rows: Mapping[str, Mapping[str, Any]],
    cell: Callable[[Mapping[str, Any], str], str],
) -> str:
    """A row of cells for each net."""
    lines = [[first, *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    lines += [[name, *(cell(row, column) for column in COLUMNS)] for name, row in rows.items()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
