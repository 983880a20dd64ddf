"""A `Result` as JSON and as Markdown."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from kinema.evaluation.result import Result, Row
from kinema.files import atomic_path, write_json
from kinema.methods.paper import PAPER

THE_PAPERS = "Tran et al.: other nets, 101 classes"
"""Head of the column of what Tran et al. 2015 give for a row; it is not measured here."""

MOST_CONFUSION_CLASSES = 20
"""Of more, the commonest confusions are listed instead of a matrix."""


def as_mapping(result: Result) -> dict[str, Any]:
    """The result as JSON values."""
    return {
        "dataset": result.dataset,
        "classes": list(result.classes),
        "videos": list(result.videos),
        "splits": list(result.splits),
        "settings": dict(result.settings),
        "rows": [_row(result, row) for row in result.rows],
        "skipped": [entry.as_mapping() for entry in result.skipped],
        "notes": list(result.notes),
        "warnings": list(result.warnings),
    }


def _row(result: Result, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "stands_in": row.stands_in,
        "accuracy": row.accuracy,
        "paper": row.paper,
        "above_chance": row.above_chance,
        "spread": row.spread,
        "interval": [row.interval.low, row.interval.high],
        "difference": row.difference
        and [row.difference.mean, row.difference.low, row.difference.high],
        "num_dimensions": row.num_dimensions,
        "frames_per_second": row.frames_per_second,
        "leaked_videos": row.leaked,
        "knn_purity": row.purity,
        "knn_purity_note": row.purity_note,
        "confusion": result.confusion(row).tolist(),
        "misses": [
            {**miss, "margin": miss["margin"] if math.isfinite(miss["margin"]) else None}
            for miss in result.misses(row)
        ],
        "splits": [
            {
                "split": outcome.split,
                "num_test": len(outcome.test),
                "accuracy": outcome.accuracy,
                "cost": outcome.cost,
                "notes": list(outcome.notes),
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


def summary(result: Result) -> str:
    """What was compared, and what the numbers mean, in a few sentences."""
    num = len(result.splits)
    splits, mean = f"split {result.splits[0]}", "Accuracy in %, and its 95 % interval"
    if num > 1:
        splits = f"{num} splits ({', '.join(result.splits)})"
        mean = "Accuracy in %: mean over the splits ± standard deviation, and the 95 % interval"
    agreed = ""
    intervals = [i for row in result.rows for i in (row.interval, row.difference) if i is not None]
    if not all(interval.resampled for interval in intervals):
        agreed = (
            " Where all groups agree (all right, say) there is nothing to resample: the interval "
            "is Wilson's, of as many trials as there are groups."
        )
    paired = "; the difference to the first row is paired by video" if len(result.rows) > 1 else ""
    return (
        f"{len(result.videos)} videos, {len(result.classes)} classes, {splits}. {mean} over all "
        f"test videos with whole groups resampled{paired}.{agreed}"
    )


def how(result: Result) -> list[str]:
    """What decided over the numbers, a line each."""
    settings = result.settings
    nets = ", ".join(
        f"{net['name']} ({'trained' if net['trained'] else 'random'}, sha256 {net['sha256'][:12]})"
        for net in settings["weights"]
    )
    lines = [
        f"Weights: {nets}; layer {settings['layer']}, stride {settings['stride']}, "
        f"L2 {'on' if settings['l2'] else 'off'}.",
    ]
    if settings["cost"] is not None:
        lines.append(f"C of the SVMs: {settings['cost']:g}, as asked.")
    elif any(outcome.sweep for row in result.rows for outcome in row.outcomes):
        lines.append("C of the SVMs: by grouped cross-validation on the training videos.")
    untried = [
        outcome.split
        for row in result.rows
        for outcome in row.outcomes
        if settings["cost"] is None and outcome.cost is not None and not outcome.sweep
    ]
    if untried:
        lines.append(
            f"C of the SVMs is 1, by no cross-validation, in {', '.join(dict.fromkeys(untried))}: "
            "a class has one group of training videos only."
        )
    lines += [f"Left out: {entry}" for entry in result.skipped[:20]]
    if len(result.skipped) > 20:
        lines.append(f"Left out: {len(result.skipped) - 20} more, see result.json.")
    return lines


def row_notes(result: Result) -> list[str]:
    """What methods say of their fits, each line once, with the rows and splits that it is of."""
    found: dict[str, list[str]] = {}
    for row in result.rows:
        splits: dict[str, list[str]] = {}
        for outcome in row.outcomes:
            for note in outcome.notes:
                splits.setdefault(note, []).append(outcome.split)
        for note, names in splits.items():
            where = f" ({', '.join(names)})" if len(names) < len(row.outcomes) else ""
            found.setdefault(note, []).append(f"{row.title}{where}")
    return [f"{'; '.join(rows)}: {note}." for note, rows in found.items()]


def footnotes(result: Result) -> dict[str, int]:
    """What stands in for parts of published methods, numbered from 1 in the order of the rows."""
    told = dict.fromkeys(row.stands_in for row in result.rows if row.stands_in)
    return {text: number for number, text in enumerate(told, start=1)}


def not_above_chance(result: Result) -> list[str]:
    """Of which rows the accuracy proves nothing."""
    return [
        f"{row.title}: not above the largest training class by more than its interval"
        for row in result.rows
        if not row.above_chance
    ]


def costs(row: Row) -> str:
    """C of the SVMs of a row, each value once."""
    return ", ".join(
        dict.fromkeys(f"{outcome.cost:g}" for outcome in row.outcomes if outcome.cost is not None)
    )


def as_markdown(result: Result) -> str:
    """The table, the confusion of the first method, and its worst errors."""
    first = result.rows[0]
    notes = [f"**{note}**" if note in result.warnings else note for note in result.notes]
    notes += [*map(_cell, result.leaks)]
    notes += [f"{_cell(text)}." for text in not_above_chance(result)]
    notes += [f"[{number}] {text}." for text, number in footnotes(result).items()]
    notes += [*map(_cell, row_notes(result)), *how(result)]
    lines = [f"# {result.dataset}", "", summary(result), "", *_table(result), ""]
    lines += [f"- {note}" for note in notes]
    lines += ["", f"## Confusion: {_cell(first.title)}", "", *_confusion(result, first)]
    misses = result.misses(first)
    if misses:
        lines += [
            "",
            "## Worst errors",
            "",
            "| video | split | class | predicted | ahead by |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| {_cell(miss['video'])} | {miss['split']} | {_cell(miss['class'])} | "
                f"{_cell(miss['predicted'])} | {_margin(miss['margin'])} |"
                for miss in misses
            ),
        ]
    sweep = next((outcome.sweep for outcome in first.outcomes if outcome.sweep), None)
    if sweep:
        lines += [
            "",
            f"## C by cross-validation: {_cell(first.title)}",
            "",
            f"| split | {' | '.join(f'{cost:g}' for cost in sweep)} |",
            "| --- |" + " --- |" * len(sweep),
            *(
                f"| {outcome.split} | "
                + " | ".join(
                    f"{100 * outcome.sweep[cost]:.1f}" if outcome.sweep else "" for cost in sweep
                )
                + " |"
                for outcome in first.outcomes
            ),
        ]
    if result.settings["kind"] == "ucf101":
        lines += [
            "",
            "## Tran et al. 2015 for all 101 classes (not measured here)",
            "",
            "| method | accuracy, % |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for _, name, value in PAPER),
        ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A name in a table of Markdown, as it is."""
    return re.sub(r"([|<\\`])", r"\\\1", " ".join(text.split()))


def _margin(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "no training video"


def _table(result: Result) -> list[str]:
    paper = any(row.paper is not None for row in result.rows)
    numbers = footnotes(result)
    lines = [
        f"| method | {' | '.join(result.splits)} | mean | interval | difference | dimensions | "
        "frames/s | C |" + f" {THE_PAPERS} |" * paper,
        "| --- |" + " --- |" * (len(result.splits) + 6 + paper),
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
        note = f" [{numbers[row.stands_in]}]" if row.stands_in else ""
        title = _cell(row.title) + (" (!)" if row.leaked else "") + note
        lines.append(
            f"| {title} | {accuracies} | {mean} | {interval} | {difference} | "
            f"{row.num_dimensions or ''} | {speed} | {costs(row)} |"
            + f" {'' if row.paper is None else row.paper} |"
            * paper
        )
    return lines


def _confusion(result: Result, row: Row) -> list[str]:
    counts, names = result.confusion(row), [_cell(name) for name in result.classes]
    if len(names) <= MOST_CONFUSION_CLASSES:
        return [
            f"| true \\ predicted | {' | '.join(names)} |",
            "| --- |" + " --- |" * len(names),
            *(
                f"| {name} | {' | '.join(map(str, line))} |"
                for name, line in zip(names, counts.tolist(), strict=True)
            ),
        ]
    wrong = counts * (1 - np.eye(len(names), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSION_CLASSES]
    pairs = [divmod(int(index), len(names)) for index in order if wrong.flat[index]]
    return [
        f"The commonest of {int((wrong > 0).sum())}.",
        "",
        "| true | predicted | videos |",
        "| --- | --- | --- |",
        *(
            f"| {names[true]} | {names[predicted]} | {wrong[true, predicted]} |"
            for true, predicted in pairs
        ),
    ]


def write(result: Result, out: str | os.PathLike[str]) -> None:
    """Write `out/result.json` and `out/result.md`."""
    out = Path(out)
    write_json(out / "result.json", as_mapping(result))
    with atomic_path(out / "result.md") as partial:
        # Names of files that are no UTF-8 hold what cannot be written.
        partial.write_text(as_markdown(result), encoding="utf-8", errors="backslashreplace")
