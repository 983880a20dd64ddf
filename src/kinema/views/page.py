"""A `Result` as one HTML page that holds all it shows: table, maps, filmstrips, timelines.

    Result + its videos --filmstrips, WebP--> payload, JSON --page.html--> report.html

The page's own part, its style and its script, stands in page.html; here is what it is filled with.
"""

from __future__ import annotations

import base64
import html
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kinema.evaluation.result import Outcome, Result, Row, Timeline
from kinema.evaluation.runtime import Runtime
from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.threads import num_usable_cores
from kinema.video.loop import Reading
from kinema.video.sources import Source
from kinema.video.steps import walk
from kinema.views import template
from kinema.views.report import PAPER, costs, how, row_notes, summary
from kinema.views.runtime import as_section
from kinema.views.strips import STRIP_FRAMES, step, strip_height

STRIPS_PER_CHUNK = 100
"""Filmstrips that the page decodes together, when one of them is first looked at."""

NUM_TOP = 3
"""Classes whose scores the page shows."""

MAP_SIDE = 10_000
"""t-SNE points are given as whole numbers up to this."""


def write(
    result: Result,
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    runtime: Runtime | None = None,
    progress: bool = False,
) -> None:
    """Write a result as one HTML page.

    Args:
        result: of `compare`, with `pictures` for all that the page can show.
        path: the file.
        cache: a folder for filmstrips; a stopped run goes on from it.
        runtime: a section beside it.
        progress: whether to show progress on standard error.
    """
    height = strip_height(len(result.videos))
    reading = Reading(result.settings.get("colours", "file"))
    strips = _strips(result.sources, height, cache, reading, progress)
    fill(result, path, strips, height, runtime=runtime)


def fill(
    result: Result,
    path: str | os.PathLike[str],
    strips: Sequence[bytes],
    height: int,
    *,
    runtime: Runtime | None = None,
) -> None:
    """As `write`, with the filmstrips at hand.

    Args:
        result: of `compare`.
        path: the file.
        strips: a WebP file a video; empty where there is none.
        height: of a strip, in pixels.
        runtime: a section beside it.
    """
    # "<" could end the script element that the JSON stands in.
    content = json.dumps(payload(result, height), separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "title": html.escape(f"{result.dataset}: {result.rows[0].title}"),
        "data": content,
        "strips": _chunks(strips),
        "runtime": "" if runtime is None else as_section(runtime),
    }
    template.fill("page.html", path, parts)


def _chunks(strips: Sequence[bytes]) -> Iterator[str]:
    for start in range(0, len(strips), STRIPS_PER_CHUNK):
        chunk = [
            base64.b64encode(strip).decode() for strip in strips[start : start + STRIPS_PER_CHUNK]
        ]
        yield f'<script type="application/json" class="strips">{json.dumps(chunk)}</script>\n'


def payload(result: Result, height: int) -> dict[str, Any]:
    """What the page's script reads, JSON values."""
    first = result.rows[0]
    return {
        "dataset": result.dataset,
        "summary": summary(result),
        "warnings": list(result.warnings),
        "notes": [
            *(note for note in result.notes if note not in result.warnings),
            *row_notes(result),
        ],
        "how": how(result),
        "classes": list(result.classes),
        "videos": list(result.videos),
        "labels": result.labels.tolist(),
        "splits": [
            {"name": outcome.split, "test": list(outcome.test)} for outcome in first.outcomes
        ],
        "rows": [_row(row) for row in result.rows],
        "purity_note": next((row.purity_note for row in result.rows if row.purity_note), ""),
        "paper": [list(entry[1:]) for entry in PAPER]
        if result.settings["kind"] == "ucf101"
        else [],
        "strips_per_chunk": STRIPS_PER_CHUNK,
        "strip_height": height,
        "strip_width": height * 4 // 3 * STRIP_FRAMES,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "stands_in": row.stands_in,
        "leaked": row.leaked,
        "paper": row.paper,
        "above_chance": row.above_chance,
        "accuracy": row.accuracy,
        "spread": row.spread,
        "interval": [row.interval.low, row.interval.high],
        "interval_mean": row.interval.mean,
        "difference": row.difference
        and [row.difference.mean, row.difference.low, row.difference.high],
        "num_dimensions": row.num_dimensions,
        "frames_per_second": row.frames_per_second,
        "costs": costs(row),
        "purity": row.purity,
        "points": None if row.points is None else _whole(row.points),
        "splits": [_outcome(outcome) for outcome in row.outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    order = np.argsort(-outcome.scores, axis=1, kind="stable")[:, :NUM_TOP]
    return {
        "accuracy": outcome.accuracy,
        # Of each test video: the highest scores, and how far the true class is ahead of the next.
        "top": [
            [[k, round(float(scores[k]), 2)] for k in best if math.isfinite(scores[k])]
            for best, scores in zip(order.tolist(), outcome.scores, strict=True)
        ],
        "margin": [
            round(_finite(scores[true] - np.delete(scores, true).max()), 4)
            for scores, true in zip(outcome.scores, outcome.true, strict=True)
        ],
        "timeline": [_segments(line) for line in outcome.timelines] or None,
    }


def _finite(value: float) -> float:
    return float(np.clip(value, -1e6, 1e6))


def _whole(points: np.ndarray) -> list[int]:
    """x, y, x, y, ... from 0 to `MAP_SIDE`; the axes of t-SNE mean nothing, so each fills it."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.maximum(high - low, 1e-12) * MAP_SIDE
    whole: list[int] = scaled.round().astype(int).ravel().tolist()
    return whole


def _segments(line: Timeline) -> list[Any]:
    """[unit, start, class, start, class, ..., stop]: one entry while the class stays the same.

    Clips overlap, so one gives way to the next in the middle between their centres.
    """
    centres = (line.start + line.stop) / 2
    changes = np.flatnonzero(np.diff(line.predicted)) + 1
    cuts = [line.start[0], *((centres[i - 1] + centres[i]) / 2 for i in changes)]
    classes = line.predicted[[0, *changes]].tolist()
    unit = "s" if np.issubdtype(line.start.dtype, np.floating) else "frames"
    parts: list[Any] = [unit]
    for cut, label in zip(cuts, classes, strict=True):
        parts += [round(float(cut), 2), label]
    return [*parts, round(float(line.stop[-1]), 2)]


def _strips(
    sources: Sequence[Source],
    height: int,
    cache: str | os.PathLike[str] | None,
    reading: Reading,
    progress: bool,
) -> list[bytes]:
    made = []
    steps = [step(cache, height, reading=reading)]
    with Counted("filmstrips", len(sources), enabled=progress) as bar:
        for _, (one,) in walk(sources, steps, reading=reading, threads=num_usable_cores()):
            # One that cannot be read now was read before; the page shows nothing of it.
            made.append(b"" if isinstance(one, Skipped) else one.value)
            bar.advance()
    return made
