"""Find and sort videos: `kinema search`, `classify`, `duplicates`."""

from __future__ import annotations

import json as json_module
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import Labels, PreciseCompute, Reading, Switch, Videos

if TYPE_CHECKING:
    from kinema.finding.answer import Answer
    from kinema.finding.classify import Classified
    from kinema.finding.duplicates import Duplicates
    from kinema.finding.search import Hits

Cache = Annotated[
    Path | None,
    Parameter(
        help="Folder for what is kept of videos; $KINEMA_CACHE/finding or "
        "~/.cache/kinema/finding by default."
    ),
]
MaxSkipped = Annotated[
    int | None,
    Parameter(
        help="Exit with 1 if more videos than this could not be used; no limit by default.",
        validator=validators.Number(gte=0),
        group=options.VIDEOS,
    ),
]


@options.flags(options.FEATURES)
class Clips:
    """What clips are compared by."""

    weights: options.WeightsName = "c3d-mini"
    layer: str | None = None
    """Whose output is the feature; fc6 by default."""
    stride: int = 8
    """Frames from the start of one clip to the start of the next."""
    mean: options.Mean = None
    model: options.OwnModel = None
    cache: Cache = None
    extracted: options.Extracted = None

    def given(self) -> dict[str, Any]:
        """These as keyword arguments; weights of a class of one's own are loaded by it."""
        return options.of_features(self)


@options.flags(options.OWN)
class Told:
    """Where what was found goes."""

    csv: Path | None = None
    """File for the table, a line a row."""
    json: Switch = False
    """Print all as JSON instead of the table."""
    page: Path | None = None
    """File for a page with pictures."""

    def check(self, *read: str | Path) -> None:
        """Refuse what cannot be written, or holds the user's own, before the first video is read.

        Args:
            read: what the command reads.
        """
        from kinema.files import check_out
        from kinema.video.folders import has_video_ending, is_picture

        if self.csv is not None and self.page is not None and _same(self.csv, self.page):
            raise ValueError(f"--csv and --page both name {self.csv}: name two files.")

        for flag, file in (("--csv", self.csv), ("--page", self.page)):
            if file is not None and file.is_dir():
                raise ValueError(f"{flag} {file}: a folder of this name is there already.")
            if file is not None:
                if has_video_ending(file.name) or is_picture(file):
                    what = "is the name of a video or a picture; name another file."
                    raise ValueError(f"{flag} {file} {what}")
                if any(_same(file, one) for one in read):
                    what = "this command reads that file; name another, it would be lost."
                    raise ValueError(f"{flag} {file}: {what}")
                check_out(file.parent, flag)

    def write(self, answer: Answer) -> None:
        """Write the table, print the JSON."""
        if self.csv is not None:
            answer.write_csv(self.csv)
        if self.json:
            print(json_module.dumps(answer.as_mapping()))

    def lines(self, *last: object) -> list[object]:
        """The last lines that are printed: none beside JSON; else these, and where the page is."""
        if self.json:
            return []
        return [*last, *([f"page: {self.page}"] if self.page is not None else [])]


def _same(first: str | Path, second: str | Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def search(
    query: Annotated[
        str,
        Parameter(
            help="A video or a picture. VIDEO@START-STOP is a moment of it, VIDEO@START the clip "
            "that starts there, in seconds or as 1:30."
        ),
    ],
    /,
    *folders: Videos,
    videos: Switch = False,
    top: int = 10,
    suppress: Annotated[bool, Parameter(negative="--every-clip")] = True,
    told: Told = Told(),
    clips: Clips = Clips(),
    compute: PreciseCompute = PreciseCompute(),
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = None,
) -> Done:
    """Find the moments of videos that are most like a clip, a video or a picture.

    A similarity of 99 % says that 99 of 100 pairs of clips of these folders are less alike. What is
    learned of the videos is kept, so that the next search takes a moment.

    Args:
        videos: Find whole videos, not moments.
        top: Hits, at most.
        suppress: Neighbouring clips of a video are one hit; with --every-clip each is its own.
        clips.weights: What is compared: c3d-mini looks at how things move, too; imagenet at what
            is seen in the middle of a clip; c3d-mini+imagenet at both.
    """
    from kinema.finding.search import search

    told.check(query, *folders)
    found = search(
        query,
        folders,
        videos=videos,
        top=top,
        suppress=suppress,
        progress=True,
        **clips.given(),
        **vars(compute),
        **vars(reading),
    )
    told.write(found)
    if told.page is not None:
        from kinema.views.finding import search_page

        search_page(found, told.page, cache=clips.cache, progress=True)
    if not told.json:
        for line in _hit_lines(found):
            print(line)
    return Done(
        skipped=found.skipped,
        max_skipped=max_skipped,
        notes=found.notes,
        lines=told.lines(found.summary()),
    )


def _hit_lines(found: Hits) -> Iterator[str]:
    """A line a hit: similarity, when, where."""
    from kinema.words import share_below

    spans = [_span(row.start_seconds, row.stop_seconds) for row in found.rows]
    width = max(map(len, spans), default=0)
    for row, span in zip(found.rows, spans, strict=True):
        copy = "  copy" if row.copy else ""
        yield f"{share_below(row.similarity):>8}  {span:<{width}}  {_shown(row.path)}{copy}"


def classify(
    labelled: Annotated[
        Path,
        Parameter(
            help="A folder per class, or a CSV file with path,label (and start_seconds, "
            "stop_seconds for parts), see `kinema dataset info`."
        ),
    ],
    /,
    *videos: Videos,
    out: Path | None = None,
    suggest: int = 0,
    told: Told = Told(),
    cost: options.Cost = None,
    labels: Labels = Labels(),
    clips: Clips = Clips(),
    compute: PreciseCompute = PreciseCompute(),
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = None,
) -> Done:
    """Learn classes from a few labelled videos, and tell those of others, and when.

    Five videos a class will do. A stopped run goes on with the same command.

    Args:
        out: Folder for classifier.safetensors (for `kinema predict --classifier`), videos.csv,
            segments.csv, classified.json and suggestions.csv.
        suggest: Write N parts of videos, those whose labels would help most, to suggestions.csv,
            below what is labelled: fill in the column label, and name the file as LABELLED. Parts
            that it is sure of are left out, even if there are fewer than N then.
    """
    from kinema.finding.classify import classify

    if suggest and out is None:
        raise ValueError("--suggest writes suggestions.csv to a folder: name it with --out.")
    told.check(labelled, *videos)
    answer = classify(
        labelled,
        videos,
        out=out,
        suggest=suggest,
        cost=cost,
        progress=True,
        **vars(labels),
        **clips.given(),
        **vars(compute),
        **vars(reading),
    )
    told.write(answer)
    if told.page is not None:
        from kinema.views.finding import classify_page

        classify_page(answer, told.page, cache=clips.cache, progress=True)
    if not told.json:
        for line in _classified_lines(answer):
            print(line)
    lines = [] if out is None else [f"{out}: classifier.safetensors, videos.csv, segments.csv"]
    if out is None:
        lines = ["nothing is kept; --out FOLDER keeps the classifier for `kinema predict`."]
    elif answer.suggestions:
        lines.append(
            f"{out / 'suggestions.csv'}: fill in the column label of its last "
            f"{len(answer.suggestions)} rows, and name it as LABELLED."
        )
    return Done(
        skipped=answer.skipped,
        max_skipped=max_skipped,
        notes=answer.notes,
        lines=told.lines(*lines),
    )


def _classified_lines(answer: Classified) -> list[str]:
    """A line a video, then how many there are of each class."""
    from kinema.words import number_of

    width = max(len(name) for name in ("none of these", *answer.classes))
    lines = []
    for row in answer.rows:
        verdict = "none of these" if row.none_of_these else row.best_class
        closest = f"  closest: {row.best_class}" if row.none_of_these else ""
        told = _one_line(f"{verdict:<{width}} {row.score:7.3f}")
        lines.append(f"{told}  {_shown(row.path)}{_one_line(closest)}")
    kind = answer.rows[0].score_kind
    lines.append(f"{number_of(len(answer.rows), 'video')}, scored by {kind}, more is better:")
    counts = Counter(row.label for row in answer.rows)
    lines += [f"  {counts[name]:5d}  {_one_line(name)}" for name in answer.classes]
    if any(row.none_of_these for row in answer.rows):
        lines.append(f"  {counts['']:5d}  none of these")
    return lines


def _one_line(text: str) -> str:
    """A name in one line, whatever it holds."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else _escaped(c) for c in text)


def duplicates(
    *folders: Videos,
    scenes: Switch = False,
    similarity: float = 0.85,
    told: Told = Told(),
    cache: Cache = None,
    threads: options.Readers = None,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = None,
) -> Done:
    """Find videos that show the same footage. Nothing is changed or deleted.

    Copies are found that were encoded anew, scaled, stretched, mirrored, bordered, made brighter,
    cropped a little, or cut.

    Args:
        scenes: List pairs of the same scene as well, other moments of one recording; folds go by
            these.
        similarity: Least score of a pair, more than 0, at most 1; less finds more.
    """
    from kinema.finding.duplicates import duplicates

    told.check(*folders)
    found = duplicates(
        folders,
        scenes=scenes,
        similarity=similarity,
        cache=cache,
        threads=threads,
        progress=True,
        **vars(reading),
    )
    told.write(found)
    if told.page is not None:
        from kinema.views.finding import duplicates_page

        duplicates_page(found, told.page, cache=cache, progress=True)
    if not told.json:
        for line in _lines(found):
            print(line)
    return Done(
        skipped=found.skipped,
        max_skipped=max_skipped,
        notes=found.notes,
        lines=told.lines(found.summary()),
    )


def _lines(found: Duplicates) -> Iterator[str]:
    """A block of lines a group, then scenes; paths are whole."""
    group = 0
    for row in found.rows:
        if row.group != group:
            group = row.group
            yield f"group {group}: same footage"
        first = f"{_shown(row.first)}  {_span(row.first_start_seconds, row.first_stop_seconds)}"
        second = f"{_shown(row.second)}  {_span(row.second_start_seconds, row.second_stop_seconds)}"
        mirrored = "  mirrored" if row.mirrored else ""
        yield f"  {first}  =  {second}  {row.score:.2f}  {row.kind}{mirrored}"
    group = 0
    for scene in found.scenes:
        if scene.group != group:
            group = scene.group
            yield f"scene {group}: the same scene, other footage"
        yield f"  {_shown(scene.first)}  ~  {_shown(scene.second)}  {scene.similarity:.2f}"


def _shown(path: str) -> str:
    """A path on one line, from the current folder if it is below it."""
    from kinema.words import from_here

    return _one_line(from_here(path))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _span(start: float, stop: float) -> str:
    """As "0:03.1-0:13.3"; folders of pictures have no times."""
    if math.isnan(start):
        return "(no times)"
    from kinema.words import clock

    return f"{clock(start)}-{clock(stop)}"
