"""The page of classified videos: how many of each class, and each with its timeline."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kinema.video.sources import Source
from kinema.views import template
from kinema.views.finding_html import (
    Names,
    Strips,
    colours,
    head,
    is_number,
    left_out,
    part_of,
    percent,
    place,
    section,
    span,
    times,
    visible,
    write,
)
from kinema.views.strips import strip_height
from kinema.words import number_of

NONE = "none of these"


def classify_page(
    answer: Any,
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> None:
    """Write classified videos as one HTML page: how many of each, and each with its timeline.

    Args:
        answer: `rows` of path, label, best_class, score, score_kind, none_of_these; `classes`,
            `scores`, `segments`, `sources`, `accuracy`, `suggestions`.
        path: the file.
        cache: a folder in whose `strips` the pictures are kept.
        progress: whether to show progress on standard error.
    """
    names = Names(answer.sources)
    videos = [part_of(names.source(row.path), None, None) for row in answer.rows]
    moments = [
        part_of(names.source(row.path), row.start_seconds, row.stop_seconds)
        for row in answer.suggestions
    ]
    height = strip_height(len(videos) + len(moments))
    strips = Strips([*videos, *moments], names, height, cache, progress)
    paint = dict(zip(answer.classes, colours(len(answer.classes)), strict=True))
    segments: dict[str, list[Any]] = {}
    for segment in answer.segments:
        segments.setdefault(os.fspath(segment.path), []).append(segment)
    ranks = _uncertain_first(answer)
    cards = (
        _card(row, video, rank, segments.get(os.fspath(row.path), []), paint, names, strips)
        for row, video, rank in zip(answer.rows, videos, ranks, strict=True)
    )
    count = number_of(len(videos), "video")
    summary = [f"{count}, {number_of(len(answer.classes), 'class', 'classes')}."]
    if answer.accuracy is not None:
        held_out = f"Accuracy on labelled videos that were held out: {answer.accuracy} %."
        summary.append(names.text(held_out))
    about = "The bar under the pictures lies on their time: it shows the class of each stretch."
    body = [
        *section("How many of each", _counts(answer, paint)),
        *(
            section(
                "Worth a label next",
                _suggested(answer.suggestions, moments, names, strips),
                "Labels of these would teach the classifier most.",
            )
            if moments
            else ()
        ),
        *_filters(answer),
        *section(
            "Videos",
            ['<ul class="cards" id="videos">\n', *cards, "</ul>\n"],
            about if segments else "",
        ),
        *left_out(answer, names),
    ]
    script = (template.FOLDER / "finding.js").read_text(encoding="utf-8")
    above = head(summary, answer, names)
    write(path, f"{count} by class", above, body, strips, f"<script>\n{script}</script>")


def _shown_class(label: str) -> str:
    return visible(label.replace("_", " ")) if label else NONE


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    return {"": -1, **{label: number for number, label in enumerate(classes)}}


def _paint(label: str, paint: Mapping[str, str]) -> tuple[str, str]:
    """Class and style of something that has the colour of a class."""
    return ("", f"--c:{paint[label]}") if label in paint else ("no", "")


def _counts(answer: Any, paint: Mapping[str, str]) -> Iterator[str]:
    counted = Counter(row.label for row in answer.rows)
    labels = [*answer.classes, *([""] if counted[""] else [])]
    yield '<div class="stack" aria-hidden="true">'
    for label in (label for label in labels if counted[label]):
        kind, style = _paint(label, paint)
        width = percent(counted[label] / len(answer.rows))
        title = f"{_shown_class(label)}: {counted[label]}"
        yield f'<b class="{kind}" style="width:{width};{style}" title="{title}"></b>'
    yield '</div>\n<ul class="classes">\n'
    numbers = _numbers(answer.classes)
    for label in labels:
        kind, style = _paint(label, paint)
        yield (
            f'<li><span class="chip" data-c="{numbers[label]}"><span class="dot {kind}" '
            f'style="{style}"></span><span>{_shown_class(label)}</span>'
            f'<small class="number">{counted[label]}</small></span></li>\n'
        )
    yield "</ul>\n"


def _filters(answer: Any) -> Iterator[str]:
    """The bar that the script shows."""
    numbers = _numbers(answer.classes)
    choices = sorted(answer.classes)
    if any(not row.label for row in answer.rows):
        choices.append("")
    yield '<nav id="filters" aria-label="What is shown" hidden><div>\n'
    yield '<select id="class" aria-label="Class"><option value="all">all classes</option>'
    for label in choices:
        yield f'<option value="{numbers[label]}">{_shown_class(label)}</option>'
    yield '</select>\n<select id="order" aria-label="Order">'
    yield '<option value="given">as in the table</option>'
    yield '<option value="uncertain">uncertain first</option></select>\n'
    yield '<span id="count" role="status"></span></div></nav>\n'


def _uncertain_first(answer: Any) -> list[int]:
    """Of each row, its place when the least certain stand first.

    Certain is a row whose best class lies far ahead of the next one.
    """
    scores = np.asarray(answer.scores, dtype=np.float64)
    if scores.ndim == 2 and len(scores) == len(answer.rows) and scores.shape[1] > 1:
        best = np.sort(np.nan_to_num(scores, nan=-1e9, posinf=1e9, neginf=-1e9), axis=1)
        ahead = best[:, -1] - best[:, -2]
    else:
        ahead = np.array([row.score if is_number(row.score) else -1e9 for row in answer.rows])
    ranks: list[int] = np.argsort(np.argsort(ahead, kind="stable"), kind="stable").tolist()
    return ranks


def _score(score: float | None, kind: str) -> str:
    if not is_number(score):
        return ""
    if kind == "probability":
        return f'<span class="number">{100 * score:.0f} %</span>'
    about = "How far it lies on the class's side of its border; less than 0 is outside."
    return f'<span class="number" title="{about}">distance {score:.2f}</span>'


def _card(
    row: Any,
    video: Source,
    rank: int,
    segments: Sequence[Any],
    paint: Mapping[str, str],
    names: Names,
    strips: Strips,
) -> str:
    number = _numbers([*paint])[row.label]
    kind, style = _paint(row.label, paint)
    closest = ""
    if not row.label and row.best_class:
        closest = f'<span class="faint">closest: {_shown_class(row.best_class)}</span>'
    return (
        f'<li data-c="{number}" data-u="{rank}">{strips.html(video)}'
        f"{_timeline(segments, video, row.score_kind, paint, strips)}"
        f'<div class="row"><span class="dot {kind}" style="{style}"></span>'
        f"<b>{_shown_class(row.label)}</b>{closest}{_score(row.score, row.score_kind)}</div>"
        f"<div>{names.html(row.path)}</div></li>\n"
    )


def _timeline(
    segments: Sequence[Any],
    video: Source,
    score_kind: str,
    paint: Mapping[str, str],
    strips: Strips,
) -> str:
    """The classes over time, on the time axis of the strip; nothing where that is not known."""
    strip = strips.of(video)
    first, last = strip.start_seconds, strip.stop_seconds
    known = [
        one for one in segments if is_number(one.start_seconds) and is_number(one.stop_seconds)
    ]
    if not (known and last > first):
        return ""
    parts = []
    for one in known:
        kind, style = _paint(one.label, paint)
        said = f"{_shown_class(one.label)}, {span(one.start_seconds, one.stop_seconds)}"
        if is_number(one.score):
            is_share = score_kind == "probability"
            said += f", {100 * one.score:.0f} %" if is_share else f", distance {one.score:.2f}"
        at = place(one.start_seconds, one.stop_seconds, first, last)
        parts.append(
            f'<b class="{kind}" style="{at};{style}" title="{said}">{_shown_class(one.label)}</b>'
        )
    return f'<div class="line">{"".join(parts)}</div>'


def _suggested(
    rows: Sequence[Any], parts: Sequence[Source], names: Names, strips: Strips
) -> Iterator[str]:
    yield '<ol class="cards" id="suggestions">\n'
    for row, part in zip(rows, parts, strict=True):
        yield (
            f'<li>{strips.html(part)}<div class="row">{names.html(row.path)}'
            f"{times(row.start_seconds, row.stop_seconds)}</div><div>{names.text(row.why)} "
            f'<span class="faint">Closest: {_shown_class(row.best_class)}.</span></div></li>\n'
        )
    yield "</ol>\n"
