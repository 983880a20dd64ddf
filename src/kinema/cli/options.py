"""Options of the command line: what several commands share stands here once.

A group is a frozen dataclass that cyclopts flattens into flags. Its fields are named as the keyword
arguments that they become, so a command hands on `**vars(group)`; a flag of another name says so.
A command tells a field's help anew, where it differs, under `group.field` in its docstring.
Nothing of Kinema is imported here, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from cyclopts import Group, Parameter, validators

T = TypeVar("T")

Device = Literal["auto", "cpu", "cuda"]
EngineKind = Literal["auto", "native", "torch"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
DatasetKind = Literal[
    "auto", "folder", "ucf101", "hmdb51", "sports1m", "kinetics", "csv", "unlabelled"
]
Recipe = Literal[
    "sports1m",
    "ucf101-finetune",
    "ucf101-scratch",
    "kernel-depth",
    "mini",
    "kernel-depth-mini",
    "slow-fusion",
    "slow-fusion-fovea",
    "two-stream-spatial",
    "two-stream-spatial-imagenet",
    "two-stream-temporal",
    "lrcn",
    "lrcn-imagenet",
    "lrcn-flow",
    "lstm-composite",
    "lstm-classifier",
    "conv-pooling",
    "conv-pooling-imagenet",
    "lstm-long",
    "lstm-long-imagenet",
    "slowfast",
]

# The panels of `--help`: a command's own options, then these in their order.
OWN = Group.create_default_parameters()
LABELS = Group("Dataset", sort_key=1)
FEATURES = Group("Features", sort_key=2)
PROTOCOL = Group("Protocol", sort_key=3)
LEARNING = Group("Learning, of rows that are networks", sort_key=4)
COMPUTING = Group("Computing", sort_key=5)
SHARING = Group("Many machines", sort_key=6)
VIDEOS = Group("Videos", sort_key=7)

# Kinds of flags.
Switch = Annotated[bool, Parameter(negative=())]
Several = Parameter(negative=())  # named several times, once for each value

# Single options.
VIDEO_PATH = Parameter(help="Videos, folders of pictures (000001.jpg, ...), and folders to search.")
VideoPath = Annotated[Path, VIDEO_PATH]
Videos = Annotated[Path, VIDEO_PATH, Parameter(required=True)]  # of several: at least one
DatasetPath = Annotated[Path, Parameter(help="A folder or CSV file, see `kinema dataset info`.")]
OutFolder = Annotated[Path, Parameter(help="Folder to write to.")]
WeightsName = Annotated[
    str,
    Parameter(
        help="Name (see `kinema weights list`) or file; A+B puts the features of two side by side, "
        "as c3d-mini+imagenet."
    ),
]
Mean = Annotated[
    str | None,
    Parameter(help="What to subtract, if the weights carry no mean: a file or B,G,R."),
]
Cost = Annotated[
    float | None,
    Parameter(
        name="--C",
        help="Cost of the SVM; by cross-validation on the training videos without it.",
        group=PROTOCOL,
    ),
]
Threads = Annotated[int | None, Parameter(help="CPU threads; all by default.", group=COMPUTING)]
Readers = Annotated[
    int | None,
    Parameter(help="Videos that are read at once; one on each core by default.", group=COMPUTING),
]
VideoSeconds = Annotated[
    float | None,
    Parameter(
        help="Skip a video that takes longer; it is looked at between packets, so a call into "
        "FFmpeg that never returns is not cut short.",
        group=VIDEOS,
    ),
]
OwnModel = Annotated[
    str | None,
    Parameter(help="FILE.py:ClassName, the PyTorch module of one's own that the weights are of."),
]
Extracted = Annotated[
    str | None,
    Parameter(
        help="Folder or URL of `kinema extract --shared`; what it has of these videos, made with "
        "the same settings, is taken from there."
    ),
]
Ray = Annotated[
    bool | str,
    Parameter(
        negative=(),
        help="Let actors of a Ray cluster share the work: its address follows, or nothing for this "
        "machine's; --threads are those of an actor.",
    ),
]
MAX_SKIPPED = Parameter(
    help="Exit with 1 if more videos than this could not be used.",
    validator=validators.Number(gte=0),
    group=VIDEOS,
)
MaxSkipped = Annotated[int, MAX_SKIPPED]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def flags(panel: Group) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen group of flags, in a panel of the help."""

    def made(group: type[T]) -> type[T]:
        # Without what nobody asks of it: each method costs time when the program starts.
        frozen = dataclass(frozen=True, kw_only=True, repr=False, eq=False)(group)
        return Parameter(name="*", group=panel)(frozen)

    return made


@flags(LABELS)
class Labels:
    """How the labels of a dataset are read."""

    kind: DatasetKind = "auto"
    """What the dataset is."""
    lists: Path | None = None
    """Folder of its official lists."""


@flags(FEATURES)
class Features:
    """Features of labelled videos."""

    weights: Annotated[tuple[str, ...], Several, Parameter(show_default=" ".join)] = ("c3d-mini",)
    """Name (c3d-mini, imagenet, ...) or file; may be named several times; A+B names two."""
    layer: str | None = None
    """Whose output is C3D's feature: fc6, fc7, pool5, prob; fc6 by default."""
    stride: int = 8
    """Frames from clip to clip."""
    model: OwnModel = None

    def given(self) -> dict[str, Any]:
        """These as keyword arguments; weights of a class of one's own are loaded by it."""
        return of_features(self)


@flags(FEATURES)
class GivenFeatures:
    """Features of labelled videos, some of which may be there."""

    # Not a kind of `Features`: older cyclopts does not find the help of what is inherited.

    weights: Annotated[tuple[str, ...], Several, Parameter(show_default=" ".join)] = ("c3d-mini",)
    """Name (c3d-mini, imagenet, ...) or file; may be named several times; A+B names two."""
    layer: str | None = None
    """Whose output is C3D's feature: fc6, fc7, pool5, prob; fc6 by default."""
    stride: int = 8
    """Frames from clip to clip."""
    model: OwnModel = None
    extracted: Extracted = None

    def given(self) -> dict[str, Any]:
        """These as keyword arguments; weights of a class of one's own are loaded by it."""
        return of_features(self)


@flags(PROTOCOL)
class Splits:
    """What is learned from, and what is tested on."""

    splits: Annotated[tuple[str, ...] | None, Parameter(name="--split", negative=())] = None
    """Official split, may be named several times; all of them by default."""
    folds: int = 5
    """Grouped folds, where there is no official split."""


@flags(PROTOCOL)
class GuardedSplits:
    """Splits, and what may be tested on them."""

    # Not a kind of `Splits`: older cyclopts does not find the help of what is inherited.

    splits: Annotated[tuple[str, ...] | None, Parameter(name="--split", negative=())] = None
    """Official split, may be named several times; all of them by default."""
    folds: int = 5
    """Grouped folds, where there is no official split."""
    force: Switch = False
    """Go on with weights that saw test videos, and mark their rows."""


@flags(PROTOCOL)
class Svm:
    """The linear SVM of the protocol."""

    cost: Cost = None
    l2: bool = True
    """Bring video vectors to length 1."""


@flags(COMPUTING)
class Compute:
    """Where networks are computed."""

    device: Device = "auto"
    """Where to compute."""
    engine: EngineKind = "auto"
    """What to compute with."""
    threads: int | None = None
    """CPU threads of the network; all by default."""


@flags(COMPUTING)
class PreciseCompute:
    """Where networks are computed, and in which numbers."""

    # Not a kind of `Compute`: older cyclopts does not find the help of what is inherited.

    device: Device = "auto"
    """Where to compute."""
    engine: EngineKind = "auto"
    """What to compute with."""
    precision: Precision = "fp32"
    """Numbers of the features; tf32, bf16 and fp16 are faster and less exact, on a CUDA device."""
    threads: int | None = None
    """CPU threads of the network; all by default."""


@flags(COMPUTING)
class ComputeFeatures:
    """How the features of labelled videos are computed."""

    precision: Precision = "fp32"
    """Numbers of C3D's features; tf32, bf16, fp16 are faster and less exact, on a CUDA device."""
    threads: int | None = None
    """CPU threads of the network; all by default."""


@flags(LEARNING)
class Learning:
    """How networks are learned that are rows of a comparison."""

    width: float = 0.25
    """What their channels and units are multiplied by."""
    crop: int = 64
    """Height and width of their pictures in pixels."""
    seconds: float = 600.0
    """About how long the steps of one network may take, for one split."""
    iterations: int | None = None
    """Instead, how many steps."""
    published: Switch = False
    """The papers' own schedules, scaled to that length, instead of AdamW's."""
    views: Literal[1, 10] = 1
    """Crops of a clip that is scored: its centre, or that and the corners, and their mirrors."""
    encoder: str | None = None
    """Weights of lstm-composite, learned from other videos; else from the training videos."""
    seed: int = 0
    """Of the first weights and the order of the clips."""
    flip: bool = True
    """Mirror half of the clips; not where left and right tell classes apart."""


@flags(VIDEOS)
class Reading:
    """How videos are read."""

    colours: Literal["file", "original"] = "file"
    """How YUV becomes RGB: as the file says, or as the original's decoder did."""
    video_seconds: VideoSeconds = None


def loaded(weights: str, model: str | None) -> Any:
    """Weights by name or file, as they are given; those of a class of one's own, loaded by it."""
    if model is None:
        return weights
    from kinema.own import load_class
    from kinema.weights.several import resolve_all

    own = load_class(model)
    found = resolve_all(weights, {own.__name__: own})
    return found if len(found) > 1 else found[0]


def of_features(group: Any) -> dict[str, Any]:
    """A group's flags as keyword arguments: `weights`, loaded by `model` where that is named, ...

    `layer` is among them where one is named: without it fc6 is what functions ask for, and stands
    there for the one feature that imagenet has.

    Raises:
        ValueError: the layer is fc6, and all weights are imagenet, which has none.
    """
    given = dict(vars(group))
    weights, model, layer = given["weights"], given.pop("model"), given["layer"]
    several = [weights] if isinstance(weights, str) else weights
    if layer is None:
        del given["layer"]
    elif layer == "fc6" and {part for one in several for part in one.split("+")} == {"imagenet"}:
        raise ValueError("`layer` 'fc6': imagenet has one feature, its layer 'pool'; name none.")
    found = [loaded(each, model) for each in several]
    return given | {"weights": found[0] if isinstance(weights, str) else found}


def names(text: str) -> list[str]:
    """The names in a flag's value, which has commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


RENAMED: dict[str, dict[str, str]] = {"dataset info": {"--copies": "--near-duplicates"}}
"""Old flags that still work, by command: {"train": {"--old": "--new"}}; for one minor version."""


def renamed(arguments: Sequence[str], say: Callable[[str], object]) -> list[str]:
    """Today's flags in place of old ones; each that is met costs one note.

    Args:
        arguments: what stands behind `kinema`: the command, then its own arguments.
        say: is given each note, a line.
    """
    found = [*arguments]
    for command, today in RENAMED.items():
        words = command.split()
        if found[: len(words)] != words:
            continue
        for index, argument in enumerate(found):
            if argument == "--":  # what follows are no flags
                break
            old, equals, value = argument.partition("=")
            if old in today:
                say(f"kinema: {old} is now {today[old]}; the old name will go.")
                found[index] = today[old] + equals + value
    return found
