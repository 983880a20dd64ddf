"""What the pages of `views.finding` are made of: names, times, filmstrips and bars as HTML.

Note [What a page does not tell]
    A page is handed on, so it shows no absolute path: a video is called by its path below the
    deepest folder that holds all of them, and texts (notes, reasons) lose the folders before the
    names in them. Characters that a reader cannot see, or that turn the order of others around, are
    written as Python does: a name cannot pass for another one.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol, TypeGuard

from kinema.notebook import visible
from kinema.progress import Counted
from kinema.skipped import Skipped, skip_reason
from kinema.threads import num_usable_cores
from kinema.video.folders import is_picture
from kinema.video.sources import Source, as_source
from kinema.video.steps import walk
from kinema.views import template
from kinema.views.strips import STRIP_FRAMES, Strip, moments, picture
from kinema.words import clock, number_of

_FOLDERS = re.compile(r"(?<![\w./<~])/(?=\S)(?:[^/\0\n]*?[^\s/\0]/)+(?=[^\s/])")
"""The folders of an absolute path in a text."""


class Names:
    """What videos are called on a page. See Note [What a page does not tell].

    Args:
        sources: path to video, of all videos that an answer is about.
    """

    def __init__(self, sources: Mapping[Any, Source]) -> None:
        self._sources = {os.fspath(path): source for path, source in sources.items()}
        folders = {os.path.dirname(os.path.abspath(one.path)) for one in self._sources.values()}
        self._top = os.path.commonpath(folders) if folders else ""

    def source(self, path: str | os.PathLike[str]) -> Source:
        """The video that a row is about."""
        return self._sources.get(os.fspath(path)) or as_source(path)

    def of(self, path: str | os.PathLike[str]) -> str:
        """A video's path below the common folder; of one that lies elsewhere, its last part."""
        known = self._sources.get(os.fspath(path))
        whole = PurePath(os.path.abspath(path if known is None else known.path))
        if self._top and whole.is_relative_to(self._top):
            below = whole.relative_to(self._top)
            if PurePath(self._top).parent == PurePath(self._top):  # all of the path stands below /
                below = PurePath(*below.parts[-2:])
            return below.as_posix()
        return whole.name

    def html(self, path: str | os.PathLike[str]) -> str:
        """As `of`, with the folders in grey."""
        folder, slash, name = self.of(path).rpartition("/")
        before = f'<span class="faint">{visible(folder + slash)}</span>' if slash else ""
        return f'<bdi class="name">{before}{visible(name)}</bdi>'

    def text(self, text: object) -> str:
        """A text without the folders of paths, as HTML."""
        words = str(text)
        if len(self._top) > 1:
            words = words.replace(f"{self._top}/", "").replace(
                self._top, os.path.basename(self._top)
            )
        return visible(_FOLDERS.sub("", words))

    def skipped(self, one: Skipped) -> str:
        """A video that could not be used, as HTML."""
        path, mark, part = one.path.partition("#t=")
        return f"{self.html(path)}{visible(mark + part)}: {self.text(one.reason)}"


class Strips:
    """The filmstrips of a page: each once, in its style; where one is shown stands its class.

    Args:
        sources: videos and parts of them; equal ones are made once.
        names: of the videos.
        height: of a strip, in pixels.
        cache: a folder, in whose `strips` they are kept.
        progress: whether to show progress on standard error.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        names: Names,
        height: int,
        cache: str | os.PathLike[str] | None,
        progress: bool,
    ) -> None:
        self._names = names
        wanted = list(dict.fromkeys(sources))
        self._numbers = {source: number for number, source in enumerate(wanted)}
        self._made: dict[Source, Strip | str] = {}
        step = moments(None if cache is None else PurePath(cache) / "strips", height)
        with Counted("filmstrips", len(wanted), enabled=progress) as bar:
            for source in filter(_is_picture, wanted):
                self._made[source] = _picture(source, height)
                bar.advance()
            videos = [source for source in wanted if source not in self._made]
            for source, (one,) in walk(videos, [step], threads=num_usable_cores()):
                self._made[source] = one.reason if isinstance(one, Skipped) else one.value
                bar.advance()

    def of(self, source: Source) -> Strip:
        """A strip; an empty one where none could be made."""
        made = self._made[source]
        return made if isinstance(made, Strip) else Strip(b"")

    def html(self, source: Source, *, mirrored: bool = False) -> str:
        """Where a strip is shown, or why there is none.

        Args:
            source: the video or the part of it.
            mirrored: swaps left and right of each picture; their order stays.
        """
        made = self._made[source]
        if isinstance(made, str):
            return f'<div class="strip none"><span>{self._names.text(made)}</span></div>'
        what = f"s{self._numbers[source]}"
        label = f"pictures of {visible(self._names.of(source.path))}"
        if _is_picture(source):
            return f'<div class="strip picture {what}" role="img" aria-label="{label}"></div>'
        label += f", {part}" if (part := span(source.start_seconds, source.stop_seconds)) else ""
        if not mirrored:
            return f'<div class="strip {what}" role="img" aria-label="{label}"></div>'
        return (
            f'<div class="strip mirrored {what}" role="img" aria-label="{label}, mirrored">'
            f"{'<i></i>' * STRIP_FRAMES}</div>"
        )

    def styles(self) -> Iterator[str]:
        """A rule a strip, CSS."""
        for source, number in self._numbers.items():
            made = self._made[source]
            if isinstance(made, Strip):
                data = base64.b64encode(made.file).decode()
                yield f".s{number}{{background-image:url(data:image/webp;base64,{data})}}\n"


def _is_picture(source: Source) -> bool:
    return is_picture(source.path)


def _picture(source: Source, height: int) -> Strip | str:
    try:
        return Strip(picture(source.path, height))
    except Exception as error:
        return skip_reason(error)


def part_of(source: Source, start_seconds: float | None, stop_seconds: float | None) -> Source:
    """A stretch of a video; the whole one where the times are not known."""
    if not (is_number(start_seconds) and is_number(stop_seconds)):
        return dataclasses.replace(source, starts=None)
    return Source(source.path, source.name, start_seconds=start_seconds, stop_seconds=stop_seconds)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is there and finite."""
    return value is not None and math.isfinite(value)


def span(start_seconds: float | None, stop_seconds: float | None) -> str:
    """Two times; nothing where they are not known."""
    if not (is_number(start_seconds) and is_number(stop_seconds)):
        return ""
    return f"{clock(start_seconds)} - {clock(stop_seconds)}"


def times(start_seconds: float | None, stop_seconds: float | None) -> str:
    """As `span`, as HTML."""
    words = span(start_seconds, stop_seconds)
    return f'<span class="times">{words}</span>' if words else ""


def percent(share: float) -> str:
    """A share as a number of per cent for CSS, from 0 to 100, two digits at most."""
    return f"{100 * min(1.0, max(0.0, share)):.2f}".rstrip("0").rstrip(".") + "%"


def place(start: float, stop: float, first: float, last: float) -> str:
    """Where a stretch lies on a line from `first` to `last`: CSS, `left` and `width`."""
    length = last - first
    left, right = (min(1.0, max(0.0, (time - first) / length)) for time in (start, stop))
    return f"left:{percent(left)};width:{percent(right - left)}"


PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#8a8a00")


def colours(count: int) -> Sequence[str]:
    """A colour a class, CSS; as on the page of a comparison."""
    if count <= len(PALETTE):
        return PALETTE[:count]
    return [
        f"hsl({i * 137.508 % 360:.0f} {60 + 15 * (i % 2)}% {42 + 9 * (i % 3)}%)"
        for i in range(count)
    ]


class Answer(Protocol):
    """What the three answers have in common; each page says what else it reads."""

    rows: Sequence[Any]
    skipped: Sequence[Skipped]
    notes: Sequence[str]


def head(summary: Iterable[str], answer: Answer, names: Names) -> Iterator[str]:
    """Sentences, HTML, and the notes."""
    yield from (f"<p>{sentence}</p>\n" for sentence in summary)
    if answer.notes:
        notes = "".join(f"<li>{names.text(note)}</li>" for note in answer.notes)
        yield f'<ul class="notes">{notes}</ul>\n'


def left_out(answer: Answer, names: Names) -> Iterator[str]:
    """The videos that could not be used."""
    if not answer.skipped:
        return
    yield "<section><details><summary>Left out: "
    yield f"{number_of(len(answer.skipped), 'video')} that could not be used</summary>\n<ul>"
    yield from (f"<li>{names.skipped(one)}</li>\n" for one in answer.skipped)
    yield "</ul></details></section>\n"


def section(title: str, content: Iterable[str], about: str = "") -> Iterator[str]:
    """A part of the page under its title, with a sentence that says what it is."""
    yield f"<section><h2>{title}</h2>\n"
    if about:
        yield f'<p class="faint">{about}</p>\n'
    yield from content
    yield "</section>\n"


def write(
    path: str | os.PathLike[str],
    title: str,
    summary: Iterable[str],
    body: Iterable[str],
    strips: Strips,
    script: str = "",
) -> None:
    """Write a page of finding.html; title, summary, body and script are HTML."""
    parts = {
        "title": title,
        "heading": title,
        "strips": strips.styles(),
        "summary": summary,
        "body": ["<main>\n", *body, "</main>"],
        "script": script,
    }
    template.fill("finding.html", path, parts)
