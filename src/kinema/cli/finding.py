"""Find and sort videos: `kinema search`, `classify`, `duplicates`."""

from __future__ import annotations

import json as json_module
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import Compute, Labels, Reading, Switch, VideoPath

if TYPE_CHECKING:
    from kinema.finding.classify import Classified

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


@options.flags(options.OWN)
class Told:
    """Where what was found goes."""

    csv: Path | None = None
    """File for the table, a line a video."""
    json: Switch = False
    """Print all as JSON instead of the table."""
    page: Path | None = None
    """File for a page with pictures."""

    def check(self) -> None:
        """Refuse what cannot be written, before the first video is read."""
        for path in (self.csv, self.page):
            if path is not None and path.is_dir():
                raise ValueError(f"{path}: a folder is there, where a file is to be written.")


def classify(
    labelled: Annotated[
        Path,
        Parameter(
            help="A folder per class, or a CSV file with path,label (and start_seconds, "
            "stop_seconds for parts), see `kinema dataset info`."
        ),
    ],
    *rest: VideoPath,
    out: Path | None = None,
    suggest: int = 0,
    told: Told = Told(),
    cost: options.Cost = None,
    labels: Labels = Labels(),
    clips: Clips = Clips(),
    compute: Compute = Compute(),
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = None,
) -> Done:
    """Learn classes from a few labelled videos, and tell those of others, and when.

    Five videos a class will do. A stopped run goes on with the same command.

    Args:
        out: Folder for classifier.safetensors (for `kinema predict --classifier`), videos.csv,
            segments.csv, classified.json and suggestions.csv.
        suggest: Write the so many parts of videos whose labels would help most to suggestions.csv,
            below what is labelled: fill in the column label, and name the file as LABELLED.
    """
    from kinema.finding.classify import classify

    if suggest and out is None:
        raise ValueError("--suggest writes suggestions.csv to a folder: name it with --out.")
    if not rest:
        raise ValueError("REST: name the videos or folders that are to be classified.")
    told.check()
    if told.page is not None:
        from kinema.views.finding import classify_page
    answer = classify(
        labelled,
        rest,
        out=out,
        suggest=suggest,
        cost=cost,
        progress=True,
        **vars(labels),
        **clips.given(),
        **vars(compute),
        **vars(reading),
    )
    if told.csv is not None:
        answer.write_csv(told.csv)
    if told.page is not None:
        classify_page(answer, told.page, progress=True)
    if told.json:
        print(json_module.dumps(answer.as_mapping()))
    else:
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
        lines=[] if told.json else lines,
    )


def _classified_lines(answer: Classified) -> list[str]:
    """A line a video, then how many there are of each class."""
    from kinema.words import number_of

    width = max(len(name) for name in answer.classes)
    lines = []
    for row in answer.rows:
        none = "  none of these" if row.none_of_these else ""
        lines.append(_one_line(f"{row.best_class:<{width}} {row.score:7.3f}  {row.path}{none}"))
    kind = answer.rows[0].score_kind
    lines.append(f"{number_of(len(answer.rows), 'video')}, scored by {kind}:")
    counts = Counter(row.label for row in answer.rows)
    lines += [f"  {counts[name]:5d}  {_one_line(name)}" for name in answer.classes]
    if any(row.none_of_these for row in answer.rows):
        lines.append(f"  {counts['']:5d}  none of these")
    return lines


def _one_line(text: str) -> str:
    """A name in one line, whatever it holds."""
    return text.replace("\n", "\\n").replace("\r", "\\r")
