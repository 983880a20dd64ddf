"""Videos that show the same footage: `kinema.duplicates`.

    videos --footage--> key pictures --candidates--> pairs --alignment--> segments
    segments --confirming--> score, times, kind --connected--> groups

Note [The same footage, and the same scene]
    Footage is the same where every frame is a copy: encoded anew, scaled, stretched, mirrored,
    bordered, brighter, cropped a little, cut. Another moment of the same recording is the same
    scene, and no duplicate; `scenes` lists those apart, by `datasets.near_duplicates`, as folds go
    by it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kinema.datasets import near_duplicates
from kinema.finding import footage as footages
from kinema.finding.alignment import Segment
from kinema.finding.answer import Answer, kept_in, row_values
from kinema.finding.candidates import candidates
from kinema.finding.footage import BIN_SECONDS, Footage
from kinema.finding.matching import SIMILARITY, Kept, Match, Matcher, enough
from kinema.progress import Counted
from kinema.skipped import Skipped
from kinema.threads import num_usable_cores
from kinema.video.loop import Reading
from kinema.video.sources import Source, find_videos
from kinema.video.steps import walk
from kinema.words import number_of

_WHOLE_SECONDS, _WHOLE_SHARE = 0.5, 0.1
"""What may lack at the ends of a video that counts as shown whole: a fade, a lost frame; of a short
one no more than this share."""


@dataclass(frozen=True)
class Pair:
    """A stretch of time in which two videos show the same footage.

    Attributes:
        group: of videos that hang together, from 1 on.
        first, second: paths.
        score: up to 1; see Note [What score is enough].
        first_start_seconds, first_stop_seconds: in the first video; NaN of a folder of pictures.
        second_start_seconds, second_stop_seconds: in the second one.
        mirrored: whether left is right in one of them.
        kind: "copy" if the whole of both is the same, "part" if one lies inside the other,
            "overlap" otherwise.
    """

    group: int
    first: str
    second: str
    score: float
    first_start_seconds: float
    first_stop_seconds: float
    second_start_seconds: float
    second_stop_seconds: float
    mirrored: bool
    kind: str


@dataclass(frozen=True)
class Scene:
    """Two videos of the same scene that are no duplicates: other moments of one recording.

    Attributes:
        group: of videos whose scenes hang together, duplicates too, from 1 on.
        first, second: paths.
        similarity: of their most similar frames, up to 1.
    """

    group: int
    first: str
    second: str
    similarity: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Duplicates(Answer):
    """Which videos show the same footage; a `Pair` each row.

    Attributes:
        groups: paths of videos that hang together as duplicates.
        scenes: pairs of the same scene that are no duplicates, if they were asked for.
        sources: the videos by path.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    scenes: Sequence[Scene] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)

    def as_mapping(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            **super().as_mapping(),
            "groups": [[*group] for group in self.groups],
            "scenes": [row_values(scene) for scene in self.scenes],
        }

    def summary(self) -> str:
        """What was found, in one line."""
        videos = number_of(len(self.sources) - len(self.skipped), "video")
        if not self.rows:
            text = f"no duplicates among {videos}"
        else:
            joined = sum(map(len, self.groups))
            text = (
                f"{number_of(len(self.groups), 'group')} of duplicates, {joined} of {videos} in "
                "them"
            )
        if self.scenes:
            text += f"; {number_of(len(self.scenes), 'other pair')} of the same scene"
        return f"{text}. Nothing was changed or deleted."


def duplicates(
    folders: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    scenes: bool = False,
    similarity: float = SIMILARITY,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> Duplicates:
    """Find videos that show the same footage. Nothing is changed or deleted.

    See Note [The same footage, and the same scene]. Of files of the same bytes one stands for all
    where others are compared. A link to a video that is there too is left out, with a note.

    Args:
        folders: folders, videos, folders of pictures; one or several.
        scenes: whether to list pairs of the same scene as well.
        similarity: least score, more than 0, at most 1.
        cache: a folder for what is kept of videos; None for one of the user's own.
        threads: videos that are read at once, and pairs that are compared; None for one a core.
        colours: one of `video.COLOURS`.
        video_seconds: the longest time that a video may take.
        progress: whether to show progress on standard error.

    Raises:
        ValueError: an argument is wrong, or there is no video.
        FileNotFoundError: one of `folders` is not there.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"`similarity` must be more than 0 and at most 1, got {similarity}.")
    if isinstance(folders, str | os.PathLike):
        folders = [folders]
    reading = Reading(colours, video_seconds)
    threads = num_usable_cores() if threads is None else threads
    if threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    named = [*folders]
    if not named:
        raise ValueError("`folders` must name at least one folder to look through.")
    found = find_videos(named)
    # By path, so that the order in which folders are named plays no part.
    sources, notes = _without_links(sorted(found.sources, key=lambda one: str(one.path)))
    folder = kept_in(cache)
    steps = [footages.step(folder / "footage", reading=reading)]
    if scenes:
        steps.append(near_duplicates.step(folder / "sketches", reading=reading))
    kept: list[Kept] = []
    sketches: list[np.ndarray] = []
    skipped: list[Skipped] = []
    with Counted("videos", len(sources), enabled=progress) as bar:
        for source, outcomes in walk(sources, steps, reading=reading, threads=threads):
            bar.advance()
            bad = next((one for one in outcomes if isinstance(one, Skipped)), None)
            if bad is not None:
                skipped.append(bad)
                continue
            made: Any = outcomes[0]
            one: Footage = made.value
            kept.append(Kept(source, made.mark, len(one), one.keys))
            if scenes:
                sketch: Any = outcomes[1]
                sketches.append(sketch.value)
    matcher = Matcher(kept, folder / "footage", reading)
    matches = _matches(kept, matcher, similarity, threads, progress)
    rows, groups = _rows(kept, matches)
    return Duplicates(
        rows=rows,
        groups=groups,
        scenes=_scenes(kept, sketches, rows) if scenes else (),
        skipped=tuple(skipped),
        notes=(*found.notes, *notes, *matcher.notes),
        sources={str(source.path): source for source in sources},
    )


def _without_links(sources: Sequence[Source]) -> tuple[list[Source], list[str]]:
    """Each file once, whatever it is called, and a line for each other name."""
    first: dict[tuple[int, int], Source] = {}
    kept, notes = [], []
    for source in sources:
        try:
            about = os.stat(source.path)
        except (OSError, ValueError):
            kept.append(source)  # the walk says what is wrong
            continue
        other = first.setdefault((about.st_dev, about.st_ino), source)
        if other is source:
            kept.append(source)
        else:
            notes.append(f"{source.path}: another name of {other.path}, left out.")
    return kept, notes


def _matches(
    kept: Sequence[Kept], matcher: Matcher, similarity: float, threads: int, progress: bool
) -> list[Match]:
    """All of them; those of the same bytes first."""
    same: defaultdict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(kept):
        same[one.mark].append(number)
    found = [
        matcher.identical(numbers[0], other) for numbers in same.values() for other in numbers[1:]
    ]
    own = [numbers[0] for numbers in same.values()]
    flips: defaultdict[tuple[int, int], list[bool]] = defaultdict(list)
    for first, second, mirrored in candidates([kept[number].keys for number in own]):
        flips[own[first], own[second]].append(mirrored)
    with (
        Counted("pairs", len(flips), enabled=progress) as bar,
        ThreadPoolExecutor(threads, thread_name_prefix="kinema-pairs") as pool,
    ):
        # A part at a time: what was handed in waits with its result.
        jobs = [*flips.items()]
        for start in range(0, len(jobs), 1000):
            part = jobs[start : start + 1000]
            for match in pool.map(lambda job: matcher.match(job[0][0], job[0][1], job[1]), part):
                bar.advance()
                if match is not None:
                    good = enough(match, similarity)
                    found += [] if good is None else [good]
    return found


# --- rows -----------------------------------------------------------------------------------------


def _rows(
    kept: Sequence[Kept], matches: Sequence[Match]
) -> tuple[list[Pair], tuple[tuple[str, ...], ...]]:
    """Rows and groups; the group with the best row comes first."""
    component = _components(len(kept), [(match.first, match.second) for match in matches])
    ordered = sorted(
        (
            (score, match, segment)
            for match in matches
            for segment, score in zip(match.segments, match.scores, strict=True)
        ),
        key=lambda one: (-one[0], one[1].first, one[1].second, one[2].start),
    )
    numbers: dict[int, int] = {}
    for _, match, _ in ordered:
        numbers.setdefault(int(component[match.first]), len(numbers) + 1)
    rows = [
        _row(numbers[int(component[match.first])], kept, match, segment, score)
        for score, match, segment in ordered
    ]
    rows.sort(key=lambda row: row.group)
    members: dict[int, list[str]] = {number: [] for number in numbers.values()}
    for index, one in enumerate(kept):
        if int(component[index]) in numbers:
            members[numbers[int(component[index])]].append(str(one.source.path))
    return rows, tuple(map(tuple, members.values()))


def _row(group: int, kept: Sequence[Kept], match: Match, segment: Segment, score: float) -> Pair:
    first, second = match.lengths
    shift = segment.offset
    stop = min(segment.stop + shift, second)
    return Pair(
        group=group,
        first=str(kept[match.first].source.path),
        second=str(kept[match.second].source.path),
        score=round(min(score, 1.0), 4),
        first_start_seconds=_rounded(match.seconds[0](segment.start)),
        first_stop_seconds=_rounded(match.seconds[0](segment.stop)),
        second_start_seconds=_rounded(match.seconds[1](max(segment.start + shift, 0))),
        second_stop_seconds=_rounded(match.seconds[1](stop)),
        mirrored=match.mirrored,
        kind=_kind(match.segments, first, second),
    )


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def _kind(segments: Sequence[Segment], first: int, second: int) -> str:
    """Whether all of both, of one, or parts are the same; bins of both."""
    whole = []
    for length, shifted in ((first, False), (second, True)):
        shown = np.zeros(length, bool)
        for one in segments:
            shift = round(one.offset) if shifted else 0
            shown[max(one.start + shift, 0) : one.stop + shift] = True
        least = min(_WHOLE_SECONDS / BIN_SECONDS, _WHOLE_SHARE * length)
        whole.append(_missing(shown) <= least)
    return "copy" if all(whole) else "part" if any(whole) else "overlap"


def _missing(shown: np.ndarray) -> int:
    return int((~shown).sum())


def _components(size: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    ends = np.array(pairs, int).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(size, size))
    numbers: np.ndarray = connected_components(links, directed=False)[1]
    return numbers


def _scenes(
    kept: Sequence[Kept], sketches: Sequence[np.ndarray], rows: Sequence[Pair]
) -> tuple[Scene, ...]:
    """See Note [The same footage, and the same scene]."""
    if not sketches:
        return ()
    pairs, values = near_duplicates.similar_pairs(np.stack(sketches), near_duplicates.SIMILARITY)
    component = _components(len(kept), [(int(one), int(two)) for one, two in pairs])
    known = {frozenset((row.first, row.second)) for row in rows}
    numbers: dict[int, int] = {}
    found = []
    for (one, two), value in zip(pairs.tolist(), values.tolist(), strict=True):
        first, second = (str(kept[number].source.path) for number in (one, two))
        if frozenset((first, second)) not in known:
            number = numbers.setdefault(int(component[one]), len(numbers) + 1)
            found.append(Scene(number, first, second, round(min(value, 1.0), 4)))
    return tuple(sorted(found, key=lambda scene: scene.group))
