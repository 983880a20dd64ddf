"""`search`: the moments of folders of videos that are most like a clip, a video or a picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema.features.extracted import take_from
from kinema.features.table import FeatureTable, normalized
from kinema.finding.answer import Answer, kept_in
from kinema.finding.copies import Copies, around
from kinema.finding.library import (
    Library,
    extractor_for,
    open_library,
    query_table,
    tables_in,
)
from kinema.finding.query import parse, past_the_end, picture_table
from kinema.skipped import VideoError
from kinema.video.folders import is_picture
from kinema.video.loop import Reading
from kinema.video.sources import Source, find_videos, fingerprint
from kinema.weights.several import AnyWeights
from kinema.words import number_of

FALL = 0.25
"""A moment goes on over neighbouring clips until the similarity has fallen by this share of what
its best clip is above the median of all clips."""

MAY_BE_A_COPY = 0.99
"""Similarity from which on a hit is compared with the query frame by frame."""

LONGEST_LOOK = 10.0
"""Seconds of a hit that are compared with the query frame by frame, around its best clip."""

MOST_MERGED = 50
"""Moments that are looked at for each hit that is asked for: of many one hit may be made."""

MOST_COMPARED = 64
"""Clips of a long query, evenly spread, that moments are compared with."""

COMPARED_ANEW = 50
"""Clips, the best by the index, that are compared with the query by the rows themselves; five times
as many as are asked for, if that is more."""


@dataclass(frozen=True)
class Hit:
    """A moment, or a whole video, that is like the query.

    Attributes:
        path: of the video.
        start_seconds, stop_seconds: of the moment, on the video's own clock; NaN in a folder of
            pictures.
        similarity: the share of pairs of the folder's own clips that are less alike, 0 to 1. See
            Note [The scale of similarities] of `index`.
        cosine: of the features of the query and of the moment's best clip.
        copy: whether it shows the same footage as the query.
        start_frame, stop_frame: of the moment.
        peak_seconds: where the best clip is, its middle.
    """

    path: str
    start_seconds: float
    stop_seconds: float
    similarity: float
    cosine: float
    copy: bool
    start_frame: int
    stop_frame: int
    peak_seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Hits(Answer):
    """What is like a query, the most similar first.

    Attributes:
        rows: `Hit`s.
        query: as it was asked for.
        query_source: what was looked at.
        videos: whether the hits are whole videos.
        sources: the hits' videos by path.
        title_of_weights: what they were compared by.
        num_clips, num_videos: that were searched.
    """

    rows: Sequence[Hit]
    query: str
    query_source: Source
    videos: bool
    sources: Mapping[str, Source] = field(default_factory=dict)
    title_of_weights: str = ""
    num_clips: int = 0
    num_videos: int = 0

    def summary(self) -> str:
        """What was searched, in a line."""
        what = f"{number_of(self.num_clips, 'clip')} of {number_of(self.num_videos, 'video')}"
        return f"{number_of(len(self.rows), 'hit')} among {what}, by {self.title_of_weights}"

    def as_mapping(self) -> dict[str, Any]:
        """All of it as JSON values."""
        about = {"query": self.query, "weights": self.title_of_weights}
        return {**about, "num_clips": self.num_clips, "num_videos": self.num_videos} | (
            super().as_mapping()
        )


def search(
    query: str | os.PathLike[str],
    folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    videos: bool = False,
    top: int = 10,
    suppress: bool = True,
    weights: AnyWeights | Sequence[AnyWeights] = "c3d-mini",
    layer: str = "fc6",
    stride: int = 8,
    mean: Any = None,
    cache: str | os.PathLike[str] | None = None,
    extracted: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    colours: str = "file",
    video_seconds: float | None = None,
    progress: bool = False,
) -> Hits:
    """Find the moments of videos that are most like a query.

    Two clips are as much alike as the cosine of their features says; a moment is compared with the
    clip of the query that is most like it, a whole video by the mean of its clips, as in the paper,
    with that of the query. Features are kept, and so is an index of the folders,
    which is brought up to date first: see Note [What is kept of a folder] of `library`. The query's
    own moment is left out, and so is what overlaps it.

    Args:
        query: a video, a folder of pictures or a picture; a moment of a video is PATH@START-STOP,
            a clip is PATH@START, in seconds or as 1:30.
        folders: where to search: folders, or videos.
        videos: whether to find whole videos.
        top: hits, at most.
        suppress: whether neighbouring clips of one video are one hit; else each clip is one.
        weights, layer, stride, mean, device, engine, precision, threads: see `extract`. "imagenet"
            compares by what is seen, "c3d-mini" by how it moves, too; "c3d-mini+imagenet" by both.
        cache: a folder for features and indexes; None for $KINEMA_CACHE/finding or
            ~/.cache/kinema/finding.
        extracted: a folder of `extract(shared=True)`, or its URL: tables of videos that show the
            same, made with the same settings, are taken from there. See `features.extracted`.
        colours, video_seconds: see `loop.Reading`.
        progress: whether to show progress on standard error.

    Raises:
        FileNotFoundError: the query or one of `folders` is not there.
        ValueError: a setting is wrong, the query cannot be read, or no video can be searched.

    Example:
        >>> import kinema
        >>> from kinema.video.synthetic import draw_video, write_video
        >>> write_video("query.mp4", draw_video("clockwise", seed=0, num_frames=32))
        >>> for seed in (0, 1):
        ...     other = draw_video("counterclockwise", seed=seed, num_frames=32)
        ...     write_video(f"videos/scene_{seed}.mp4", other)
        >>> hits = kinema.search("query.mp4@0-1", "videos", cache="cache")
        >>> [hit.path.endswith("scene_0.mp4") for hit in hits.rows]
        [True, False]
    """
    if top < 1:
        raise ValueError(f"`top` must be at least 1, got {top}.")
    named = [folders] if isinstance(folders, str | os.PathLike) else [*folders]
    if not named:
        raise ValueError("`folders` must name at least one folder to search.")
    extractor = extractor_for(
        weights=weights,
        layer=layer,
        stride=stride,
        mean=mean,
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
        reading=Reading(colours, video_seconds),
    )
    try:
        source = parse(query, extractor.plan)
    except VideoError as error:
        raise ValueError(f"`query` {error}") from None
    if extracted is not None:
        asked = [(extractor.settings(), extractor.engine_name)]
        take_from(extracted, kept_in(cache) / "features", asked)
    searched = find_videos(named)
    # First, so that a query that cannot be read is told before hours of extraction.
    if is_picture(source.path):
        table = picture_table(extractor, source)
    else:
        table = query_table(extractor, tables_in(cache, extractor), source)
    cut = past_the_end(source, extractor.reading)
    library = open_library(named, searched, extractor, cache=cache, progress=progress)
    found = _Search(library, source, table)
    rows = found.of_videos(top) if videos else found.moments(top, suppress)
    rows = _marked(rows, found, kept_in(cache) / "footage")
    entries = library.index.entries
    return Hits(
        rows=rows,
        skipped=library.skipped,
        notes=[*([] if cut is None else [cut]), *library.notes],
        query=os.fspath(query),
        query_source=source,
        videos=videos,
        sources={str(source.path): source for source in library.sources.values()},
        title_of_weights=extractor.weights_name,
        num_clips=len(library.index),
        num_videos=sum(1 for entry in entries if entry.num_clips),
    )


def _marked(hits: Sequence[Hit], found: _Search, cache: Path) -> list[Hit]:
    """The hits; those that show the footage of the query are marked as copies."""
    sources = {str(source.path): source for source in found.library.sources.values()}
    reading = found.library.extractor.reading
    source, (start, stop) = found.source, found.span
    query: Copies | None = None
    marked = []
    for hit in hits:
        if not hit.copy and hit.similarity >= MAY_BE_A_COPY and not is_picture(source.path):
            query = query or Copies(around(source, start, stop), cache, reading)
            begin = max(hit.start_seconds, hit.peak_seconds - LONGEST_LOOK / 2)
            end = min(hit.stop_seconds, hit.peak_seconds + LONGEST_LOOK / 2)
            moments = [sources[hit.path]]
            if end > begin:  # a folder of pictures has no times
                # Another shot beside the moment, of other borders, say, can hide that it is one.
                alone = replace(moments[0], start_seconds=begin, stop_seconds=end)
                moments = [around(moments[0], begin, end), alone]
            copy = not found.is_query(hit.path) and any(moment in query for moment in moments)
            hit = replace(hit, copy=copy)
        marked.append(hit)
    return marked


@dataclass
class _Moment:
    """Rows of a video: from the first to behind the last, the best of them, its score."""

    video: int
    start: int
    stop: int
    best: int
    score: float


class _Search:
    """One query against a library."""

    def __init__(self, library: Library, source: Source, table: FeatureTable) -> None:
        self.library, self.index = library, library.index
        rows = normalized(table.features)
        self.mean = normalized(rows.mean(axis=0, dtype=np.float64))
        places = np.linspace(0, len(rows) - 1, min(len(rows), MOST_COMPARED))
        self.clips = rows[places.round().astype(int)]
        self.mark = fingerprint(source.path)
        self.source = source
        self.span = (source.start_seconds, _or_infinity(source.stop_seconds))
        self.first = self.index.first
        self.scores = np.zeros(0, np.float32)

    def moments(self, top: int, suppress: bool) -> list[Hit]:
        """The best moments."""
        scores = self.scores = self.index.scores(self.clips)
        median = float(np.median(scores))
        scores[self._own()] = -np.inf
        self._compare_anew(scores, max(COMPARED_ANEW, 5 * top))
        video = self.index.video
        found: list[_Moment] = []
        for _ in range(min(MOST_MERGED * top, len(scores))):
            best = int(scores.argmax())
            if scores[best] == -np.inf:
                break
            low, high = (int(self.first[video[best] + side]) for side in (0, 1))
            start, stop = best, best + 1
            if suppress:
                least = scores[best] - FALL * max(float(scores[best]) - median, 0.0)
                while start > low and scores[start - 1] >= least:
                    start -= 1
                while stop < high and scores[stop] >= least:
                    stop += 1
            moment = _Moment(int(video[best]), start, stop, best, float(scores[best]))
            beside = [one for one in found if suppress and self._touch(one, moment)]
            if not beside and len(found) == top:
                break
            # Moments that it joins are one, at the place of the best, which is the first.
            for one in beside:
                moment = _Moment(
                    one.video,
                    min(one.start, moment.start),
                    max(one.stop, moment.stop),
                    beside[0].best,
                    beside[0].score,
                )
            if beside:
                found[found.index(beside[0])] = moment
                found = [one for one in found if one not in beside[1:]]
            else:
                found.append(moment)
            scores[start:stop] = -np.inf
            if suppress:
                scores[self._overlapping(low, high, start, stop)] = -np.inf
        return [self._hit(one) for one in found]

    def _touch(self, one: _Moment, other: _Moment) -> bool:
        """Whether two moments of a video share frames, or follow each other without a gap."""
        if one.video != other.video:
            return False
        first, last = (self.index.columns[name] for name in ("start_frame", "stop_frame"))
        return bool(
            first[other.start] <= last[one.stop - 1] and first[one.start] <= last[other.stop - 1]
        )

    def of_videos(self, top: int) -> list[Hit]:
        """The best whole videos, by their means."""
        entries = self.index.entries
        used = np.flatnonzero([entry.num_clips > 0 for entry in entries])
        self.scores = self.index.scores(self.mean[None])
        sums = np.add.reduceat(self.scores.astype(np.float64), self.first[used])
        counts = np.array([entries[video].num_clips for video in used.tolist()])
        lengths = np.array([entries[video].length for video in used.tolist()])
        scores = sums / np.maximum(counts * lengths, 1e-12)
        own = [self._is_query(video) for video in used.tolist()]
        scores[own] = -np.inf
        for place in np.argsort(-scores, kind="stable")[: max(COMPARED_ANEW, 5 * top)].tolist():
            rows = None if own[place] else self.library.rows_of(int(used[place]))
            if rows is not None:
                scores[place] = normalized(rows.mean(axis=0, dtype=np.float64)) @ self.mean
        order = np.argsort(-scores, kind="stable")[:top]
        return [
            self._hit(self._whole(int(used[place]), float(scores[place])))
            for place in order
            if scores[place] > -np.inf
        ]

    def _whole(self, video: int, score: float) -> _Moment:
        low, high = (int(self.first[video + side]) for side in (0, 1))
        return _Moment(video, low, high, low + int(self.scores[low:high].argmax()), score)

    def is_query(self, path: str) -> bool:
        """Whether a path is that of the query."""
        return os.path.realpath(path) == os.path.realpath(self.source.path)

    def _is_query(self, video: int) -> bool:
        """Whether a video is the file that the query is of."""
        # What a file holds is known; to resolve each of 20,000 paths takes seconds.
        same = self.index.entries[video].mark == self.mark
        return same and self.is_query(self.library.path(video))

    def _own(self) -> np.ndarray:
        """(n,) whether a clip shows the query's own moment."""
        own = np.zeros(len(self.scores), bool)
        for video in range(len(self.index.entries)):
            if self._is_query(video):
                rows = slice(self.first[video], self.first[video + 1])
                start = self.index.columns["start_seconds"][rows]
                stop = self.index.columns["stop_seconds"][rows]
                inside = (start < self.span[1]) & (stop > self.span[0])
                own[rows] = inside if self.source.is_part else True
        return own

    def _overlapping(self, low: int, high: int, start: int, stop: int) -> np.ndarray:
        """The rows of a video that share frames with its rows from `start` to `stop`."""
        rows = np.arange(low, high)
        first = self.index.columns["start_frame"][low:high]
        last = self.index.columns["stop_frame"][low:high]
        shared = (first < last[stop - 1 - low]) & (last > first[start - low])
        return rows[shared]

    def _compare_anew(self, scores: np.ndarray, count: int) -> None:
        """Put the cosines of the rows themselves in the place of the best of the index's."""
        count = min(count, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        video = self.index.video[best]
        for one in np.unique(video):
            rows = self.library.rows_of(int(one))
            mine = best[(video == one) & (scores[best] > -np.inf)]
            if rows is not None and len(rows) == self.index.entries[one].num_clips:
                scores[mine] = (rows[mine - self.first[one]] @ self.clips.T).max(axis=1)

    def _hit(self, moment: _Moment) -> Hit:
        columns, video = self.index.columns, moment.video
        start, stop, best, cosine = moment.start, moment.stop, moment.best, moment.score
        assert self.index.basis is not None
        return Hit(
            path=self.library.path(video),
            start_seconds=float(columns["start_seconds"][start]),
            stop_seconds=float(columns["stop_seconds"][stop - 1]),
            similarity=float(self.index.basis.share(cosine)),
            cosine=cosine,
            copy=self.index.entries[video].mark == self.mark and not self._is_query(video),
            start_frame=int(columns["start_frame"][start]),
            stop_frame=int(columns["stop_frame"][stop - 1]),
            peak_seconds=float(
                (columns["start_seconds"][best] + columns["stop_seconds"][best]) / 2
            ),
        )


def _or_infinity(seconds: float | None) -> float:
    return np.inf if seconds is None else seconds
