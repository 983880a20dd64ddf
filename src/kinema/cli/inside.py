"""Seeing inside: `kinema convolve`, `kinema kernels`, `kinema excite`; and `kinema demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import MaxSkipped, OutFolder, Reading, Several, Switch, Videos


def convolve(
    example: Literal["edge", "blur", "frames", "motion"] = "edge",
    *,
    grid: str | None = None,
    kernel: str | None = None,
    padding: str | None = None,
    stride: str | None = None,
    turned: Switch = False,
    steps: str | None = None,
    out: Path | None = None,
) -> Done:
    """Lay a small kernel on a small grid, place by place, and show how each number comes about.

    In 2-D or over frames, where it tells what becomes of time. It is the cross-correlation that
    networks call convolution. Numbers under the kernel stand in brackets.

    Args:
        example: Edges, a blur, a dot that moves seen by a 2-D kernel over all frames, or by a 3-D
            one; what is not given below is its own.
        grid: Numbers, with ";" between rows and "|" between frames, as "1 2 3; 4 5 6; 7 8 9"; or a
            file of them, .txt or .npy.
        kernel: The same, as "1 0; 0 -1" or "1/4 1/4; 1/4 1/4"; one of a single frame is laid on
            each frame of the grid.
        padding: Zeros around the grid: one number, rows,columns or frames,rows,columns.
        stride: How far the kernel moves, given as the padding.
        turned: Turn the kernel around first, as mathematics defines convolution.
        steps: Places to work in full: all, or numbers as 1,5. The first, the last and the one
            with the strongest answer by default.
        out: Picture of these steps to write, .png or .svg.
    """
    from kinema.views.convolution_steps import steps_of
    from kinema.views.convolution_text import lines, write
    from kinema.views.convolve import convolve

    made = convolve(
        example,
        grid=grid,
        kernel=kernel,
        padding=padding,
        stride=stride,
        turned=turned,
        steps=steps,
        out=out,
    )
    write(lines(made, steps_of(made, steps)))
    return Done(lines=[out] if out else [])


def kernels(
    weights: options.WeightsName,
    *,
    out: OutFolder,
    layer: str = "conv1a",
    count: int = 64,
    beside: str | None = None,
) -> Done:
    """Draw the kernels of a layer as filmstrips, and tell how much of them changes over time.

    A strip is a kernel, its time steps from left to right; the strongest kernels come first. Grey
    is no weight. Deeper layers show each kernel on the one input map on which it is strongest.

    Args:
        layer: A convolution.
        count: The most kernels to draw.
        beside: Other weights to draw beside, or imagenet: first kernels of a 2-D network,
            EfficientNet-Lite0.
    """
    from kinema.views.filters import kernels

    found = kernels(weights, out=out, layer=layer, count=count, beside=beside)
    return Done(lines=[*(one.summary() for one in found), out / f"kernels-{layer}.png"])


def excite(
    *paths: Videos,
    out: Path,
    weights: options.WeightsName = "c3d-mini",
    layer: str = "conv5a",
    map: Annotated[tuple[int, ...] | None, Several] = None,
    count: int = 9,
    per_video: int = 1,
    stride: int = 16,
    mean: options.Mean = None,
    threads: options.Threads = None,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Find the clips that excite maps of a layer most, and draw what in them does.

    What does is found by deconvolution (Zeiler and Fergus): the strongest activation alone is
    brought back to pixels, where grey is nothing. A video that cannot be read is left out.

    Args:
        out: Folder to write to: LAYER-MAP.png, excite.json.
        layer: A convolution, a pooling or a fully connected layer.
        map: Number of a map of the layer, from 0; may be named several times. Three that stand
            out among the videos by default.
        count: Clips of a map.
        per_video: At most so many of them from one video.
        stride: Frames from the start of one clip to the start of the next.
    """
    from kinema.views.excitation import excite

    report = excite(
        paths,
        out=out,
        weights=weights,
        layer=layer,
        maps=map or (),
        count=count,
        per_video=per_video,
        stride=stride,
        mean=mean,
        threads=threads,
        progress=True,
        **vars(reading),
    )
    notes = [*report.notes]
    if weights.startswith("c3d-mini-random"):
        notes.append(
            f"{weights} has seeded random weights, not trained ones: its maps have learned nothing."
        )
    return Done(
        skipped=report.skipped, max_skipped=max_skipped, notes=notes, lines=[report.summary()]
    )


def demo(*, out: Path = Path("demo")) -> None:
    """Draw videos, extract features, train a classifier, compare it with two rivals.

    Needs no network and no data. Takes less than three minutes on two cores.

    Args:
        out: Folder for the videos, features, classifier and picture.
    """
    from kinema.cli.demo import demo

    demo(out)
