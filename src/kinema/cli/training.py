"""Learning networks, and handing them on: `kinema train`, `ablation`, `export`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from kinema.cli import options
from kinema.cli.end import CouldNotGoOn, Done
from kinema.cli.options import Compute, Labels, MaxSkipped, Recipe, Several, Switch

RECIPE = Group("Recipe", sort_key=0)


@options.flags(RECIPE)
class Changes:
    """Single settings of a recipe that are changed; None for as the recipe says."""

    model: Annotated[str | None, Parameter(name=["--model", "--network"])] = None
    """c3d, c3d_mini, depth-1, depth-3, depth-5, depth-7, increasing or decreasing; slow-fusion,
    slow-fusion-fovea, two-stream-spatial, two-stream-temporal, lrcn, lrcn-flow, lstm-composite,
    lstm-classifier, conv-pooling, lstm-long or slowfast; two-stream-spatial-imagenet,
    lrcn-imagenet, conv-pooling-imagenet or lstm-long-imagenet; or FILE.py:ClassName, a PyTorch
    module of one's own."""
    width: float | None = None
    """What channels and units of the networks from slow-fusion on are multiplied by."""
    crop: int | None = None
    """Height and width of the network's input in pixels."""
    epochs: float | None = None
    """Length of the run; more than before makes a run that is there longer."""
    iterations: int | None = None
    """Length of the run, in steps; likewise."""
    seconds: float | None = None
    """Length of the run, in seconds: as many steps as fit, measured before the first one."""
    batch: int | None = None
    """Clips of a step."""
    learning_rate: float | None = None
    """Of weights; biases learn at twice this rate."""
    carry: Literal["all", "conv"] | None = None
    """Layers that start from the weights: all that fit but fc8, or convolutions alone."""
    flip: bool | None = None
    """Mirror half of the clips; not where left and right tell classes apart."""
    dropout: float | None = None
    """Probability that an output of fc6 or fc7 is dropped."""


@options.flags(options.COMPUTING)
class Steps:
    """How the steps of learning are computed."""

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """tf32 is for a CUDA device; bf16 is automatic mixed precision."""
    compile: bool | None = None
    """Whether PyTorch compiles the network; where it pays by default, in bf16 and tf32 on a GPU."""
    accumulate: int = 1
    """Parts that a batch is computed in, for less memory."""


@options.flags(options.OWN)
class Run:
    """What a run starts from, and when it is evaluated."""

    weights: str | None = None
    """Name or file of the weights that fine-tuning starts from; their network is learned, or
    --model, which takes what fits."""
    split: str | None = None
    """Official split, as 1; the first one by default, or a quarter of the videos for tests."""
    mean: str | None = None
    """What to subtract: a file or B,G,R; the weights' own or the clips' mean by default."""
    seed: int = 0
    """Of weights, order, crops, flips and dropout."""
    evaluations: int = 10
    """How many times to evaluate on the test videos."""
    resume: Switch = False
    """Insist on going on; without a checkpoint that is an error."""


@contextlib.contextmanager
def _torch_is_needed() -> Iterator[None]:
    """Say what to install where an import finds no PyTorch."""
    try:
        yield
    except ImportError as error:
        if error.name != "torch":
            raise
        raise ImportError("training needs PyTorch: pip install 'kinema[train]'.") from None


def train(
    dataset: Path,
    *,
    out: Path,
    recipe: Recipe | None = None,
    run: Run = Run(),
    changes: Changes = Changes(),
    labels: Labels = Labels(),
    compute: Compute = Compute(),
    steps: Steps = Steps(),
    video_seconds: options.VideoSeconds = None,
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Learn a network, from scratch or from weights.

    A stopped run goes on with the same command. On many GPUs or processes:
    `torchrun --nproc-per-node 8 -m kinema train ...`.

    Args:
        dataset: What `kinema prepare` wrote, or a dataset, which is then prepared first.
        out: Folder to write to: weights.safetensors, log.csv, curve.png, checkpoint.safetensors.
        recipe: Network and settings, by default those of --model, or mini; the other flags change
            single ones of them.
        labels.kind: What the dataset is, if it is not prepared yet.
        labels.lists: Folder of its official lists, if it is not prepared yet.
        compute.engine: What to compute convolutions with.
        compute.threads: CPU threads; all by default.
    """
    with _torch_is_needed():
        from kinema.training.train import TrainingError, train
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    try:
        report = train(
            dataset,
            out=out,
            recipe=recipe,
            video_seconds=video_seconds,
            max_skipped=max_skipped,
            progress=True,
            **vars(run),
            **vars(changes),
            **vars(labels),
            **vars(compute),
            **vars(steps),
        )
    except TrainingError as error:
        raise CouldNotGoOn(*[str(error)] * is_first) from error
    return Done(
        skipped=report.skipped,
        max_skipped=max_skipped,
        notes=report.notes if is_first else [],
        lines=[report.summary()] if is_first else [],
        named=not is_first,
    )


@options.flags(RECIPE)
class OfStudy:
    """Single settings of the study's recipe that are changed, the same for all nets."""

    crop: int | None = None
    """Height and width of the networks' input in pixels; 64 by the default recipe."""
    width: float | None = None
    """What channels and units are multiplied by; a quarter by the default recipe."""
    epochs: float | None = None
    """Length of each run; more than before makes runs that are there longer."""
    iterations: int | None = None
    """Length of each run, in steps; likewise."""
    seconds: float | None = None
    """Length of the whole study, in seconds of steps: as many as fit, the same for all nets."""
    batch: int | None = None
    """Clips of a step."""
    learning_rate: float | None = None
    """Of weights."""
    flip: bool | None = None
    """Mirror half of the clips; not where left and right tell classes apart."""
    dropout: float | None = None
    """Probability that an output of fc6 or fc7 is dropped."""


def ablation(
    dataset: Path,
    *,
    out: options.OutFolder,
    seeds: int = 3,
    recipe: Literal["kernel-depth-mini", "kernel-depth"] = "kernel-depth-mini",
    split: str | None = None,
    evaluations: int = 16,
    changes: OfStudy = OfStudy(),
    labels: Labels = Labels(),
    compute: Compute = Compute(),
    video_seconds: options.VideoSeconds = None,
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Learn the paper's six networks of other temporal depths, and draw its figure of them.

    depth-1, 3, 5, 7, increasing and decreasing, from scratch, all for as many steps. Writes
    ablation.json, ablation.md, ablation.png and .svg after each seed; a stopped study goes on with
    the same command.

    Args:
        dataset: What `kinema prepare` wrote, or a dataset, which is then prepared first.
        seeds: How many each network is learned from.
        recipe: Settings that are the same for all, of two cores or of the paper.
        split: Official split, as 1; the first one by default, or a quarter of the videos for tests.
        evaluations: How many times each run is evaluated on the test videos.
        labels.kind: What the dataset is, if it is not prepared yet.
        labels.lists: Folder of its official lists, if it is not prepared yet.
        compute.engine: What to compute convolutions with.
        compute.threads: CPU threads; all by default.
    """
    with _torch_is_needed():
        from kinema.evaluation.ablation import ablation
    from kinema.views import ablation as views

    found = ablation(
        dataset,
        out=out,
        seeds=seeds,
        recipe=recipe,
        split=split,
        evaluations=evaluations,
        video_seconds=video_seconds,
        max_skipped=max_skipped,
        progress=True,
        each_seed=lambda so_far: views.write(so_far, out),
        **vars(changes),
        **vars(labels),
        **vars(compute),
    )
    return Done(
        skipped=found.skipped,
        max_skipped=max_skipped,
        notes=found.notes,
        lines=[*views.summary(found), out / "ablation.png"],
    )


def export(
    weights: str, target: Path, *, layer: Annotated[tuple[str, ...] | None, Several] = None
) -> Done:
    """Write weights as a file that other programs run, .onnx or .pt2 of PyTorch, or as a folder.

    A file's outputs are compared with the engine's before it is called done.

    Args:
        weights: Name or file.
        target: File to write, *.onnx or *.pt2; a name without an ending is a folder, with
            model.safetensors, config.json and a model card, which --weights takes.
        layer: Whose output the file gives; may be named several times. The last one's by default.
    """
    from kinema.engine.export import export

    return Done(lines=[export(weights, target, layers=layer).summary()])
