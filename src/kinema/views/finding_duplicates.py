"""The page of footage that is there twice: groups of videos, their pairs one above the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from kinema.video.sources import Source
from kinema.views.finding_html import (
    Names,
    Strips,
    head,
    is_number,
    left_out,
    part_of,
    section,
    times,
    write,
)
from kinema.views.strips import strip_height
from kinema.words import number_of

MOST_OPEN_PAIRS = 12
"""Pairs of a group that are shown at once; more are folded away."""

KINDS = {
    "copy": ("copy", "Both videos show the same from beginning to end."),
    "part": ("part", "One of the videos is a part of the other."),
    "overlap": ("overlap", "A part of each shows the same."),
}
"""What a pair can be, and what that means."""

ABOUT_SCENES = (
    "These do not show the same footage: they were filmed in the same place, or look like it, at "
    "another time or by another camera. They are no duplicates, so there is nothing to clean up "
    "here; but where some videos train a classifier and others test it, keep those of one scene "
    "on one side."
)


def duplicates_page(
    answer: Any,
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> None:
    """Write pairs of videos that show the same footage as one HTML page.

    Args:
        answer: `rows` of group, first, second, score, the times of both, mirrored, kind; `groups`,
            `scenes`, `sources`.
        path: the file.
        cache: a folder in whose `strips` the pictures are kept.
        progress: whether to show progress on standard error.
    """
    names = Names(answer.sources)
    pairs = [(row, *_parts(row, names)) for row in answer.rows]
    scenes = [
        (row, *(part_of(names.source(one), None, None) for one in (row.first, row.second)))
        for row in answer.scenes
    ]
    wanted = [part for _, *both in [*pairs, *scenes] for part in both]
    strips = Strips(wanted, names, strip_height(len(set(wanted))), cache, progress)
    groups = _groups(answer, pairs)
    cards = [
        _group(number, members, its, names, strips)
        for number, (members, its) in enumerate(groups, 1)
    ]
    found = ['<ol class="cards wide" id="groups">\n', *cards, "</ol>\n"]
    num_videos = len({os.fspath(one) for members, _ in groups for one in members})
    summary = [
        f"{number_of(len(groups), 'group')} of videos that show the same footage: "
        f"{number_of(len(pairs), 'pair')} among {number_of(num_videos, 'video')}, of "
        f"{number_of(len(answer.sources), 'video')} in all.",
        '<b class="calm">Nothing was deleted, moved or changed.</b> What to do with them is yours '
        "to say.",
    ]
    body = [
        *section(
            "The same footage",
            found if cards else ['<p class="empty">No footage is there twice.</p>'],
            "Of each pair, the pictures of the part that both share, from its beginning to its "
            "end. What lies one below the other should look the same."
            if cards
            else "",
        ),
        *(_scenes(scenes, names, strips) if scenes else ()),
        *left_out(answer, names),
    ]
    write(path, "Footage that is there twice", head(summary, answer, names), body, strips)


_Pair = tuple[Any, Source, Source]
"""A row, and what is shown of both videos."""


def _parts(row: Any, names: Names) -> tuple[Source, Source]:
    first, second = names.source(row.first), names.source(row.second)
    return (
        part_of(first, row.first_start_seconds, row.first_stop_seconds),
        part_of(second, row.second_start_seconds, row.second_stop_seconds),
    )


def _groups(answer: Any, pairs: Sequence[_Pair]) -> list[tuple[list[Any], list[_Pair]]]:
    """The members of each group and its pairs, in the order of the rows."""
    by_group: dict[Any, list[_Pair]] = {}
    for pair in pairs:
        by_group.setdefault(pair[0].group, []).append(pair)
    group_of = {os.fspath(one): [*members] for members in answer.groups for one in members}
    found = []
    for its in by_group.values():
        both = [one for row, _, _ in its for one in (row.first, row.second)]
        found.append((group_of.get(os.fspath(both[0])) or [*dict.fromkeys(both)], its))
    return found


def _group(
    number: int, members: Sequence[Any], pairs: Sequence[_Pair], names: Names, strips: Strips
) -> str:
    listed = ""
    if len(members) > 2:  # else the pair names both
        names_of = "".join(f"<li>{names.html(one)}</li>" for one in members)
        listed = f'<ul class="members">{names_of}</ul>'
    shown = [_pair(pair, names, strips) for pair in pairs]
    more = shown[MOST_OPEN_PAIRS:]
    folded = ""
    if more:
        told = number_of(len(more), "more pair")
        folded = f'<details class="pair"><summary>{told}</summary>{"".join(more)}</details>'
    return (
        f"<li><h3>Group {number}: {number_of(len(members), 'video')}</h3>{listed}"
        f"{''.join(shown[:MOST_OPEN_PAIRS])}{folded}</li>\n"
    )


def _pair(pair: _Pair, names: Names, strips: Strips) -> str:
    row, first, second = pair
    kind, about = KINDS.get(row.kind, (names.text(row.kind), ""))
    look = "copy" if row.kind == "copy" else "calm"
    mirrored = ""
    if row.mirrored:
        mirrored = (
            '<span class="badge calm" title="Left and right are swapped; the pictures below are '
            'swapped back.">mirrored</span>'
        )
    score = f'<small class="number">score {row.score:.2f}</small>' if is_number(row.score) else ""
    below = '<span class="faint">shown with left and right swapped</span>' if row.mirrored else ""
    return (
        f'<div class="pair"><div class="row"><span class="badge {look}" title="{about}">{kind}'
        f'</span>{mirrored}<span class="faint">{about}</span>{score}</div>'
        f"{strips.html(first)}{_caption(row.first, first, names)}"
        f"{strips.html(second, mirrored=row.mirrored)}{_caption(row.second, second, names, below)}"
        "</div>"
    )


def _caption(path: Any, part: Source, names: Names, more: str = "") -> str:
    shown = times(part.start_seconds, part.stop_seconds)
    return f'<div class="row">{names.html(path)}{shown}{more}</div>'


def _scenes(scenes: Sequence[_Pair], names: Names, strips: Strips) -> Iterator[str]:
    cards = (
        f'<li>{strips.html(first)}<div class="row">{names.html(row.first)}</div>'
        f'<div style="height:10px"></div>{strips.html(second)}'
        f'<div class="row">{names.html(row.second)}'
        f'<small class="end number">similarity {row.similarity:.2f}</small></div></li>\n'
        for row, first, second in scenes
    )
    content = ['<ol class="cards wide" id="scenes">\n', *cards, "</ol>\n"]
    return section("The same scene, other footage", content, ABOUT_SCENES)
