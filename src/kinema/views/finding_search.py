"""The page of a search: the query on top, then the moments that are like it."""

from __future__ import annotations

import os
from typing import Any

from kinema.video.folders import is_picture
from kinema.video.sources import Source
from kinema.views.finding_html import (
    Names,
    Strips,
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
from kinema.words import clock, number_of, share_below

SEARCH_STRIP = 96
"""Pixels of a filmstrip where there are few and each is looked at."""


def search_page(
    answer: Any,
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> None:
    """Write what a search found as one HTML page: the query on top, then the moments like it.

    Args:
        answer: `rows` of path, start_seconds, stop_seconds, similarity, cosine, copy, peak_seconds;
            `query_source`, `sources`, `title_of_weights`.
        path: the file.
        cache: a folder in whose `strips` the pictures are kept.
        progress: whether to show progress on standard error.
    """
    names = Names(answer.sources)
    query = answer.query_source
    parts = [
        part_of(names.source(hit.path), hit.start_seconds, hit.stop_seconds) for hit in answer.rows
    ]
    strips = Strips([query, *parts], names, SEARCH_STRIP, cache, progress)
    hits = (
        _hit(number, hit, part, names, strips)
        for number, (hit, part) in enumerate(zip(answer.rows, parts, strict=True), 1)
    )
    found = ['<ol class="cards wide" id="hits">\n', *hits, "</ol>\n"]
    summary = [
        f"{number_of(len(answer.rows), 'hit')} in {number_of(len(answer.sources), 'video')}, the "
        f"most similar first. Compared by the features of {names.text(answer.title_of_weights)}."
    ]
    shown = [
        f'<div id="query">{strips.html(query)}<div class="row">{names.html(query.path)}'
        f"{times(query.start_seconds, query.stop_seconds)}{_kind_of(query)}</div></div>"
    ]
    body = [
        *section("What was looked for", shown),
        *section(
            "What is like it",
            found if answer.rows else ['<p class="empty">Nothing was found.</p>'],
            "A bar and its number say how alike a moment and the query are, measured by all pairs "
            "of clips of the searched videos.",
        ),
        *left_out(answer, names),
    ]
    title = f"Like {visible(names.of(query.path).rpartition('/')[2])}"
    write(path, title, head(summary, answer, names), body, strips)


def _kind_of(query: Source) -> str:
    if is_picture(query.path):
        return '<span class="faint">a picture</span>'
    return "" if query.is_part else '<span class="faint">the whole video</span>'


def _hit(number: int, hit: Any, part: Source, names: Names, strips: Strips) -> str:
    copy = '<span class="badge copy" title="It shows the same footage as the query.">copy</span>'
    bar = ""
    if is_number(hit.similarity):
        bar = f'<span class="bar"><b style="width:{percent(hit.similarity)}"></b></span>'
    return (
        f"<li>{strips.html(part)}{_where(hit, part, strips)}"
        f'<div class="row"><span class="faint number">{number}</span>{names.html(hit.path)}'
        f"{times(hit.start_seconds, hit.stop_seconds)}{copy if hit.copy else ''}</div>{bar}"
        f'<div class="row"><span>{_alike(hit.similarity)}</span>'
        f'<small class="end number">cosine {hit.cosine:.3f}</small></div></li>\n'
    )


def _where(hit: Any, part: Source, strips: Strips) -> str:
    """A line that is the video, the moment on it, and a mark at its most similar clip."""
    strip = strips.of(part)
    first, last = strip.video_start_seconds, strip.video_stop_seconds
    if not (part.is_part and last > first):  # also where they are not known
        return ""
    mark, peak = "", getattr(hit, "peak_seconds", None)
    if is_number(peak) and first <= peak <= last:
        left = percent((peak - first) / (last - first))
        mark = f'<u style="left:{left}" title="the most similar clip: {clock(peak)}"></u>'
    at = place(hit.start_seconds, hit.stop_seconds, first, last)
    told = f"{span(hit.start_seconds, hit.stop_seconds)} of {clock(last - first)}"
    return f'<div class="where" title="{told}"><b style="{at}"></b>{mark}</div>'


def _alike(similarity: float | None) -> str:
    if not is_number(similarity):
        return '<span class="faint">too few clips to say how alike that is</span>'
    if similarity >= 1:
        return "more alike than all pairs of clips here"
    return f"more alike than {share_below(similarity)} of the pairs of clips here"
