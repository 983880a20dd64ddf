"""Find and sort videos: `kinema search`, `classify`, `duplicates`."""

from __future__ import annotations

import contextlib
import json as json_module
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import Reading, Switch

if TYPE_CHECKING:
    from kinema.finding.duplicates import Duplicates

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
    layer: str = "fc6"
    """Whose output is the feature."""
    stride: int = 8
    """Frames from the start of one clip to the start of the next."""
    mean: options.Mean = None
    model: options.OwnModel = None
    cache: Cache = None

    def given(self) -> dict[str, Any]:
        """These as keyword arguments; weights of a class of one's own are loaded by it."""
        own = vars(self) | {"weights": options.loaded(self.weights, self.model)}
        return {name: value for name, value in own.items() if name != "model"}


def duplicates(
    *folders: options.VideoPath,
    scenes: Switch = False,
    similarity: float = 0.85,
    json: Switch = False,
    csv: Path | None = None,
    page: Path | None = None,
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
        json: Print it as JSON.
        csv: File to write a line a stretch of time to.
        page: File to write an HTML page to.
    """
    from kinema.finding.duplicates import duplicates

    for flag, file in (("--csv", csv), ("--page", page)):
        if file is not None:
            _check_file(file, flag)
    found = duplicates(
        folders,
        scenes=scenes,
        similarity=similarity,
        cache=cache,
        threads=threads,
        progress=True,
        **vars(reading),
    )
    if csv is not None:
        found.write_csv(csv)
    if page is not None:
        from kinema.views.finding import duplicates_page

        duplicates_page(found, page, progress=True)
    if json:
        print(json_module.dumps(found.as_mapping()))
    else:
        for line in _lines(found):
            print(line)
    return Done(
        skipped=found.skipped,
        max_skipped=max_skipped,
        notes=found.notes,
        lines=[] if json else [found.summary()],
    )


def _check_file(file: Path, flag: str) -> None:
    """Refuse a file that cannot be written before anything is read."""
    if file.is_dir():
        raise ValueError(f"{flag} {file}: a folder of this name is there already.")
    from kinema.files import check_out

    check_out(file.parent, flag)


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
    with contextlib.suppress(ValueError):
        path = str(Path(path).relative_to(Path.cwd()))
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else _escaped(c) for c in path)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _span(start: float, stop: float) -> str:
    """As "0:03.1-0:13.3"; folders of pictures have no times."""
    if math.isnan(start):
        return "(no times)"
    return f"{_clock(start)}-{_clock(stop)}"


def _clock(seconds: float) -> str:
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and tenths else ""
    if hours:
        return f"{sign}{hours}:{minutes:02d}:{rest // 10:02d}.{rest % 10}"
    return f"{sign}{minutes}:{rest // 10:02d}.{rest % 10}"
