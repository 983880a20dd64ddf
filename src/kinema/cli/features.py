"""Features of videos, and what they show: `kinema extract`, `kinema predict`."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import MaxSkipped, PreciseCompute, Reading, Several, Switch, VideoPath


@options.flags(options.FEATURES)
class Rows:
    """Which clips of a video become rows, and what their feature is."""

    weights: options.WeightsName = "c3d-mini"
    layer: str | None = None
    """Whose output is the feature; fc6 by default."""
    stride: int | None = None
    """Frames from the start of one clip to the start of the next; 8 by default."""
    sampling_rate: int = 1
    """Every N-th frame goes into a clip."""
    fps: float | None = None
    """Frames a second that are taken, by their times; the video's own by default."""
    clips: int | None = None
    """N clips, evenly over the video, instead of a stride."""
    every: float | None = None
    """A clip every so many seconds, instead of a stride."""
    crops: Literal[1, 5, 10] = 1
    """A row is the mean over these crops of its clip: the centre; that and the corners; these and
    their mirrors."""
    short: Literal["pad", "skip"] = "pad"
    """What to do with a video that is shorter than a clip."""
    mean: options.Mean = None
    model: options.OwnModel = None

    def given(self) -> dict[str, Any]:
        """These as keyword arguments; weights of a class of one's own are loaded by it."""
        return options.of_features(self)


@options.flags(options.SHARING)
class Sharing:
    """How the videos are shared among machines."""

    shared: Switch = False
    """Share the list with other processes, on any machines, that are started with the same command;
    then paths, --list, --root and --out may be URLs, as s3://bucket/folder."""
    shards: Switch = False
    """Beside it: one Parquet file for 16 to 256 videos in place of a file a video."""
    ray: options.Ray = False


# Texts, not paths: of `s3://bucket` a `Path` makes `s3:/bucket`.
def extract(
    *paths: Annotated[str, options.VIDEO_PATH],
    out: Annotated[str, Parameter(help="Folder to write to; its URL, with --shared or --ray.")],
    list: str | None = None,
    root: str | None = None,
    sharing: Sharing = Sharing(),
    format: Literal["safetensors", "npy", "parquet", "hdf5", "c3d"] = "safetensors",
    rows: Rows = Rows(),
    compute: PreciseCompute = PreciseCompute(),
    batch: Annotated[int, Parameter(group=options.COMPUTING)] = 8,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
    keep_partial: Annotated[Switch, Parameter(group=options.VIDEOS)] = False,
) -> Done:
    """Extract features of videos into a folder, one file a video.

    A stopped run goes on with the same command. A video that cannot be read costs one line in
    skipped.jsonl.

    Args:
        list: Text file with more videos: one path a line, or C3D's `path start label` lines.
        root: Folder that the names of the files start from, so that parts of a list give the same
            names as the whole; the deepest one that holds all videos by default.
        format: Kind of file; c3d is the original's.
        batch: Clips that go through the network at once.
        keep_partial: Keep the rows before the frame at which a video breaks, marked as partial.
    """
    from kinema.features.extraction import extract

    report = extract(
        paths,
        out=out,
        list=list,
        root=root,
        format=format,
        batch=batch,
        max_skipped=max_skipped,
        keep_partial=keep_partial,
        progress=True,
        **rows.given(),
        **vars(compute),
        **vars(reading),
        **vars(sharing),
    )
    notes = [
        *report.notes,
        *(f"partial {name}: it broke, the rows before that were kept." for name in report.partial),
    ]
    for name in rows.weights.split("+"):
        if name.startswith("c3d-mini-random"):
            notes.append(
                f"{name} has seeded random weights, not trained ones; --weights takes others."
            )
    return Done(
        skipped=report.skipped, max_skipped=max_skipped, notes=notes, lines=[report.summary()]
    )


def status(
    out: Annotated[
        str,
        Parameter(
            help="Folder or URL that is shared: --out of `kinema extract --shared`, "
            "PLACE of `kinema prepare --shared PLACE`."
        ),
    ],
    /,
    *,
    json: Switch = False,
    max_skipped: Annotated[int | None, options.MAX_SKIPPED] = None,
) -> Done:
    """Tell how far a shared run is: progress, rate, time left, who works, what was skipped.

    Args:
        json: Print one JSON object.
    """
    from kinema.sharing.status import status
    from kinema.skipped import Skipped

    found = status(out)
    if json:
        print(json_module.dumps(found.as_mapping(), indent=1))
    return Done(
        skipped=[Skipped(row.name, row.reason) for row in found.skipped],
        max_skipped=max_skipped,
        notes=found.notes,
        lines=[] if json else found.lines(),
    )


@options.flags(options.OWN)
class Trained:
    """What predicts."""

    weights: Annotated[tuple[str, ...] | None, Several] = None
    """Trained weights, a name or a file. Beside a classifier those that it was trained on, if they
    lie elsewhere now; may be named several times."""
    model: options.OwnModel = None
    classifier: Path | None = None
    """Linear SVM to use in place of the network's own classes (see `kinema transfer`)."""

    def given(self) -> dict[str, Any]:
        """These as keyword arguments; weights of a class of one's own are loaded by it."""
        weights = self.weights and [options.loaded(each, self.model) for each in self.weights]
        return {"weights": weights, "classifier": self.classifier}


def predict(
    *videos: VideoPath,
    trained: Trained = Trained(),
    out: Path | None = None,
    list: Path | None = None,
    stride: int = 8,
    mean: options.Mean = None,
    top: int = 5,
    json: Switch = False,
    compute: PreciseCompute = PreciseCompute(),
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Tell the classes of videos, and when they are seen.

    Args:
        out: Folder to write predictions.csv (a line a video), clips.csv (a line a clip) and
            predictions.json to; a stopped run goes on from the features that it keeps there.
        list: Text file with more videos, one path a line.
        stride: Frames from clip to clip; a classifier brings its own.
        top: How many classes to show.
        json: Print one JSON object a line instead of a timeline.
        reading.colours: How YUV becomes RGB: as the file says, or as the original's decoder did; a
            classifier brings its own.
    """
    from kinema.methods.predict import predict

    report = predict(
        videos,
        out=out,
        list=list,
        stride=stride,
        mean=mean,
        top=top,
        tell=lambda prediction: print(
            json_module.dumps(prediction.as_mapping(top)) if json else prediction.timeline(top),
            flush=True,
        ),
        **trained.given(),
        **vars(compute),
        **vars(reading),
    )
    return Done(
        skipped=report.skipped,
        max_skipped=max_skipped,
        notes=report.notes,
        lines=[] if out is None else [report.summary()],
    )
