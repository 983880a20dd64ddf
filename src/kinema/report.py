"""A `Result` as JSON and as Markdown."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from kinema.compare import Result, Row
from kinema.files import atomic_path

LECTURE = (
    ("ImageNet + linear SVM", 68.8),
    ("C3D (1 net) + linear SVM", 82.3),
    ("C3D (3 nets) + linear SVM", 85.2),
)
"""Not measured here: the lecture's figures for the whole of UCF101."""


def as_mapping(result: Result) -> dict[str, Any]:
    """The result as JSON values."""
    return {
        "dataset": result.dataset,
        "classes": list(result.classes),
        "videos": list(result.videos),
        "splits": list(result.splits),
        "settings": dict(result.settings),
        "rows": [_row(result, row) for row in result.rows],
        "skipped": [dict(entry) for entry in result.skipped],
        "notes": list(result.notes),
    }


def _row(result: Result, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "stands_in": row.stands_in,
        "accuracy": row.accuracy,
        "spread": row.spread,
        "interval": [row.interval.low, row.interval.high],
        "difference": row.difference
        and [row.difference.mean, row.difference.low, row.difference.high],
        "num_dimensions": row.num_dimensions,
        "frames_per_second": row.frames_per_second,
        "leaked_videos": row.leaked,
        "confusion": result.confusion(row).tolist(),
        "misses": result.misses(row),
        "splits": [
            {
                "split": outcome.split,
                "num_test": len(outcome.test),
                "accuracy": outcome.accuracy,
                "cost": outcome.cost,
                "sweep": {str(cost): value for cost, value in outcome.sweep.items()},
                "test": list(outcome.test),
                "predicted": outcome.scores.argmax(axis=1).tolist(),
                "scores": [
                    [None if math.isinf(value) else round(float(value), 6) for value in scores]
                    for scores in outcome.scores
                ],
            }
            for outcome in row.outcomes
        ],
    }


def as_markdown(result: Result) -> str:
    """The table, the confusion of the first method, and the videos that it got most wrong."""
    first = result.rows[0]
    lines = [
        f"# {result.dataset}",
        "",
        f"{len(result.videos)} videos, {len(result.classes)} classes, "
        f"{len(result.splits)} splits ({', '.join(result.splits)}). Accuracy in %: the mean over "
        "the splits, and the 95 % interval over all test videos with whole groups resampled; the "
        "difference to the first row is paired by video.",
        "",
        f"| method | {' | '.join(result.splits)} | mean | interval | difference | dimensions | "
        "frames/s | C |",
        "| --- |" + " --- |" * (len(result.splits) + 6),
    ]
    for row in result.rows:
        accuracies = " | ".join(f"{100 * outcome.accuracy:.1f}" for outcome in row.outcomes)
        mean = f"{100 * row.accuracy:.1f}" + (
            f" ± {100 * row.spread:.1f}" if len(row.outcomes) > 1 else ""
        )
        interval = f"{100 * row.interval.low:.1f} to {100 * row.interval.high:.1f}"
        difference = ""
        if row.difference is not None:
            d = row.difference
            difference = f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
        speed = "" if row.frames_per_second is None else f"{row.frames_per_second:.0f}"
        costs = [f"{outcome.cost:g}" for outcome in row.outcomes if outcome.cost is not None]
        title = row.title + (" (!)" if row.leaked else "") + (" *" if row.stands_in else "")
        lines.append(
            f"| {title} | {accuracies} | {mean} | {interval} | {difference} | "
            f"{row.num_dimensions or ''} | {speed} | {', '.join(dict.fromkeys(costs))} |"
        )
    lines.append("")
    for row in result.rows:
        if row.leaked:
            lines.append(
                f"(!) {row.title}: its weights learned from {row.leaked} of the test videos; this "
                "accuracy says nothing."
            )
    lines += [f"\\* {text}." for text in dict.fromkeys(r.stands_in for r in result.rows) if text]
    weights = ", ".join(
        f"{net['name']} ({'trained' if net['trained'] else 'random'}, sha256 {net['sha256'][:12]})"
        for net in result.settings["weights"]
    )
    lines += [
        f"Weights of C3D: {weights}; layer {result.settings['layer']}, stride "
        f"{result.settings['stride']}, L2 {'on' if result.settings['l2'] else 'off'}.",
        *result.notes,
        *(f"Left out: {entry['path']}: {entry['reason']}" for entry in result.skipped[:20]),
        "",
        f"## Confusion: {first.title}",
        "",
        f"| true \\ said | {' | '.join(result.classes)} |",
        "| --- |" + " --- |" * len(result.classes),
        *(
            f"| {name} | {' | '.join(map(str, counts))} |"
            for name, counts in zip(result.classes, result.confusion(first).tolist(), strict=True)
        ),
        "",
        "## Most wrong",
        "",
        "| video | split | class | said | ahead by |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {miss['video']} | {miss['split']} | {miss['class']} | {miss['predicted']} | "
            f"{miss['margin']:.2f} |"
            for miss in result.misses(first)
        ),
    ]
    sweep = first.outcomes[0].sweep
    if sweep:
        lines += [
            "",
            f"## C by cross-validation: {first.title}",
            "",
            f"| split | {' | '.join(f'{cost:g}' for cost in sweep)} |",
            "| --- |" + " --- |" * len(sweep),
            *(
                f"| {outcome.split} | "
                + " | ".join(f"{100 * value:.1f}" for value in outcome.sweep.values())
                + " |"
                for outcome in first.outcomes
            ),
        ]
    if result.settings["kind"] == "ucf101":
        lines += [
            "",
            "For comparison, the lecture's figures for all 101 classes (not measured here): "
            + "; ".join(f"{name} {value}" for name, value in LECTURE)
            + ".",
        ]
    return "\n".join(lines) + "\n"


def write(result: Result, out: str | os.PathLike[str]) -> None:
    """Write `out/result.json` and `out/result.md`."""
    out = Path(out)
    with atomic_path(out / "result.json") as partial:
        partial.write_text(json.dumps(as_mapping(result), indent=1) + "\n", encoding="utf-8")
    with atomic_path(out / "result.md") as partial:
        partial.write_text(as_markdown(result), encoding="utf-8")
