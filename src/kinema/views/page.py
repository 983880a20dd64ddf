"""A `Result` as one HTML page that holds all it shows: table, maps, filmstrips, timelines.

    Result + its videos --filmstrips, WebP--> payload, JSON --page.html--> report.html

The page's own part, its style and its script, stands in page.html; here is what it is filled with.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import kinema
from kinema.evaluation.result import Outcome, Result, Row, Timeline
from kinema.files import atomic_path, cache_file
from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.threads import num_usable_cores
from kinema.video.loop import PLAIN, Reading, Video
from kinema.video.reader import Frame, spread
from kinema.video.sources import Source, as_source
from kinema.video.steps import Made, Step, at_places, walk
from kinema.views.report import PAPER, costs, how, summary

TEMPLATE = Path(__file__).with_name("page.html")

STRIP_FRAMES = 6
STRIP_HEIGHTS = {1000: 84, 5000: 60}
"""Pixels of a filmstrip, by how many videos there are at most."""
SMALLEST_STRIP = 42
STRIP_QUALITY = 60
"""Of WebP, 1 to 100."""

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
    progress: bool = False,
) -> None:
    """Write a result as one HTML page.

    Args:
        result: of `compare`, with `pictures` for all that the page can show.
        path: the file.
        cache: a folder for filmstrips; a stopped run goes on from it.
        progress: whether to show progress on standard error.
    """
    height = strip_height(len(result.videos))
    reading = Reading(result.settings.get("colours", "file"))
    fill(result, path, _strips(result.sources, height, cache, reading, progress), height)


def strip_height(num_videos: int) -> int:
    """Pixels of a filmstrip on a page with so many videos."""
    heights = (height for most, height in STRIP_HEIGHTS.items() if num_videos <= most)
    return next(heights, SMALLEST_STRIP)


def fill(
    result: Result, path: str | os.PathLike[str], strips: Sequence[bytes], height: int
) -> None:
    """As `write`, with the filmstrips at hand.

    Args:
        result: of `compare`.
        path: the file.
        strips: a WebP file a video; empty where there is none.
        height: of a strip, in pixels.
    """
    # "<" could end the script element that the JSON stands in.
    content = json.dumps(payload(result, height), separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "title": html.escape(f"{result.dataset}: {result.rows[0].title}"),
        "version": kinema.__version__,
        "data": content,
    }
    template = re.split(r"\{\{(\w+)\}\}", TEMPLATE.read_text(encoding="utf-8"))
    with (
        atomic_path(path) as partial,
        open(partial, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        for index, text in enumerate(template):
            if index % 2 == 0:
                file.write(text)
            elif text == "strips":
                file.writelines(_chunks(strips))
            else:
                file.write(parts[text])


def _chunks(strips: Sequence[bytes]) -> Iterator[str]:
    for start in range(0, len(strips), STRIPS_PER_CHUNK):
        chunk = [
            base64.b64encode(strip).decode() for strip in strips[start : start + STRIPS_PER_CHUNK]
        ]
        yield f'<script type="application/json" class="strips">{json.dumps(chunk)}</script>\n'


def payload(result: Result, strip_height: int) -> dict[str, Any]:
    """What the page's script reads, JSON values."""
    first = result.rows[0]
    return {
        "dataset": result.dataset,
        "summary": summary(result),
        "warnings": list(result.warnings),
        "notes": [note for note in result.notes if note not in result.warnings],
        "how": how(result),
        "classes": list(result.classes),
        "videos": list(result.videos),
        "labels": result.labels.tolist(),
        "splits": [
            {"name": outcome.split, "test": list(outcome.test)} for outcome in first.outcomes
        ],
        "rows": [_row(row) for row in result.rows],
        "purity_note": next((row.purity_note for row in result.rows if row.purity_note), ""),
        "paper": [list(entry) for entry in PAPER] if result.settings["kind"] == "ucf101" else [],
        "strips_per_chunk": STRIPS_PER_CHUNK,
        "strip_height": strip_height,
        "strip_width": strip_height * 4 // 3 * STRIP_FRAMES,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "stands_in": row.stands_in,
        "leaked": row.leaked,
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


def step(cache: str | os.PathLike[str] | None, height: int, *, reading: Reading = PLAIN) -> Step:
    """The filmstrip of each video, as a step of a walk over videos; what `write` finds again.

    Args:
        cache: a folder for filmstrips; None keeps none.
        height: of a strip, see `strip_height`.
        reading: how the videos are read.
    """
    items = at_places(_PLACES, _filmstrip)
    if cache is None:
        return Step(items, _fitting(height))
    folder = Path(cache)
    about: dict[str, Any] = {"strip": [height, STRIP_FRAMES, STRIP_QUALITY]}
    if reading.colours != "file":
        about["colours"] = reading.colours

    def file(source: Source, mark: str) -> Path:
        return cache_file(folder, {**about, **source.content_key(mark)}, ".webp")

    def find(source: Source, mark: str) -> bytes | None:
        kept = file(source, mark)
        return kept.read_bytes() if kept.is_file() else None

    def keep(source: Source, made: Made) -> None:
        with atomic_path(file(source, made.mark)) as partial:
            partial.write_bytes(made.value)

    return Step(items, _fitting(height), find=find, keep=keep)


def filmstrip(video: str | os.PathLike[str] | Video, height: int) -> bytes:
    """Some frames of a video side by side, a WebP file.

    Each is the middle of a part of the video, all parts being equally long, so that the strip lies
    on the video's time axis.

    Args:
        video: or its path.
        height: in pixels; frames are 4:3, and what is wider or narrower is cropped in the middle.
    """
    if not isinstance(video, Video):
        video = Video(as_source(video))
    return _filmstrip(spread(map(_fitting(height), video.frames()), _PLACES))


_PLACES = [(index + 0.5) / STRIP_FRAMES for index in range(STRIP_FRAMES)]


def _filmstrip(pictures: Sequence[np.ndarray]) -> bytes:
    return encoded(np.hstack(pictures))


@functools.cache
def _fitting(height: int) -> Callable[[Frame], np.ndarray]:
    """What a strip takes of a frame; the same function whenever it is asked for."""
    return lambda frame: _fitted(frame.image, height * 4 // 3, height)


def encoded(strip: np.ndarray) -> bytes:
    """A (H, W, 3) uint8 RGB picture as a WebP file."""
    quality = [cv2.IMWRITE_WEBP_QUALITY, STRIP_QUALITY]
    done, file = cv2.imencode(".webp", strip[:, :, ::-1], quality)
    if not done:
        raise ValueError("OpenCV was built without WebP.")
    return file.tobytes()


def _fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    factor = max(width / image.shape[1], height / image.shape[0])
    size = max(width, round(image.shape[1] * factor)), max(height, round(image.shape[0] * factor))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
