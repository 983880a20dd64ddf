"""Pictures."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kinema.files import atomic_path

RIGHT, WRONG = "#2a7f62", "#c0392b"
COLOURS = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Strip:
    """One video of a picture of filmstrips.

    Attributes:
        frames: some (H, W, 3) uint8 frames, evenly spaced over the video.
        label: its true class.
        prediction: its predicted class.
        clip_scores: (n, K) scores of its clips, drawn as a timeline under the frames.
        clip_seconds: (n, 2) start and stop of its clips.
    """

    frames: Sequence[np.ndarray]
    label: str
    prediction: str
    clip_scores: np.ndarray
    clip_seconds: np.ndarray


def plain(text: str) -> str:
    """A name as it is: dollars begin no formula, bytes that are no UTF-8 are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def shortened(text: str, most: int) -> str:
    """A text of at most so many letters: what is left out of a longer one is its middle."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def filmstrips(
    path: str | os.PathLike[str], strips: Sequence[Strip], classes: Sequence[str], *, title: str
) -> None:
    """A PNG with frames, prediction and scores by clip of each video."""
    columns = max(len(strip.frames) for strip in strips)
    figure = Figure(figsize=(1.45 * columns + 1.2, 1.75 * len(strips) + 0.9), dpi=110)
    rows = figure.subfigures(len(strips), 1, hspace=0.0, squeeze=False)[:, 0]
    low = min(float(strip.clip_scores.min()) for strip in strips)
    high = max(float(strip.clip_scores.max()) for strip in strips)
    for row, strip in zip(rows, strips, strict=True):
        grid = row.add_gridspec(
            2, columns, height_ratios=(3, 1.1), hspace=0.1, wspace=0.04,
            left=0.02, right=0.98, top=0.82, bottom=0.08,
        )  # fmt: skip
        for column, frame in enumerate(strip.frames):
            axes = row.add_subplot(grid[0, column])
            axes.imshow(frame)
            axes.set_axis_off()
        right = strip.prediction == strip.label
        said = strip.prediction.replace("_", " ")
        truth = "" if right else f"  (it is {strip.label.replace('_', ' ')})"
        row.suptitle(
            plain(f"{'✓' if right else '✗'} {said}{truth}"),
            x=0.02, ha="left", fontsize=10, color=RIGHT if right else WRONG, weight="bold",
        )  # fmt: skip
        _timeline(row.add_subplot(grid[1, :]), strip, low, high)
    handles = [
        matplotlib.lines.Line2D(
            [], [], color=COLOURS[i % len(COLOURS)], lw=3, label=plain(name.replace("_", " "))
        )
        for i, name in enumerate(classes)
    ]
    figure.suptitle(plain(title), fontsize=11, y=1.0, va="bottom")
    figure.legend(handles=handles, loc="lower center", ncol=len(classes), frameon=False,
                  bbox_to_anchor=(0.5, -0.035), fontsize=9)  # fmt: skip
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight", facecolor="white")


def _timeline(axes: matplotlib.axes.Axes, strip: Strip, low: float, high: float) -> None:
    """Score of each class over time: a dot in the middle of each clip."""
    start, stop = strip.clip_seconds.min(), strip.clip_seconds.max()
    middles = strip.clip_seconds.mean(axis=1)
    for index, scores in enumerate(strip.clip_scores.T):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot([start, *middles, stop], [scores[0], *scores, scores[-1]], color=colour, lw=1.6)
        axes.plot(middles, scores, "o", color=colour, ms=4)
    axes.set_xlabel("seconds", fontsize=7, labelpad=0, loc="right")
    axes.set_xlim(start, stop)
    margin = 0.08 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=7, pad=1)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def training_curve(
    path: str | os.PathLike[str],
    rows: Sequence[Mapping[str, float]],
    *,
    title: str,
    chance: float,
    raised: Sequence[float] = (),
) -> None:
    """A PNG with the loss of a training run and its accuracy on the test videos, over epochs.

    The legend stands below the axes, where no line can be; it says of how many videos and clips
    each accuracy is.

    Args:
        path: the file.
        rows: of log.csv.
        title: of the picture.
        chance: accuracy of guessing, drawn as a line.
        raised: epochs at which the run was made longer.
    """
    figure = Figure(figsize=(8, 4.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    _line(axes, [r["epoch"] for r in rows], [r["loss"] for r in rows], "loss", "#888888")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss", color="#666666")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    for epoch in raised:
        axes.axvline(epoch, color="#666666", ls=":", lw=1, label="run made longer")
    scored = [row for row in rows if "video_hit1" in row]
    if scored:
        right = axes.twinx()
        for name, what, of, colour in (
            ("clip_hit1", "clips, hit@1", "test_clips", COLOURS[0]),
            ("video_hit1", "videos, hit@1", "test_videos", COLOURS[2]),
            ("video_hit5", "videos, hit@5", "test_videos", COLOURS[4]),
        ):
            points = [row for row in scored if name in row]
            if points:
                values = [100 * row[name] for row in points]
                last = points[-1]
                number = f" of {last[of]:.0f}" if of in last else ""
                label = f"test {what}: {values[-1]:.1f} %{number}"
                _line(right, [row["epoch"] for row in points], values, label, colour, dots=True)
        right.axhline(
            100 * chance, color="#bbbbbb", ls="--", lw=1, label=f"chance: {100 * chance:.2g} %"
        )
        right.set_ylabel("test accuracy, %")
        right.set_ylim(0, 103)  # a line at 100 % is not the frame
    axes.set_title("\n".join(textwrap.wrap(plain(title), 90)), fontsize=11)
    named = {  # one entry a label, however often the run was made longer
        label: handle
        for each in figure.axes
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(named.values()), list(named), loc="outside lower center", ncols=3, frameon=False,
        fontsize=9,
    )  # fmt: skip
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight", facecolor="white")


def _line(
    axes: matplotlib.axes.Axes,
    x: Sequence[float],
    y: Sequence[float],
    label: str,
    colour: Any,
    *,
    dots: bool = False,
) -> None:
    """A line with dots where they are asked for and few enough to be told apart, or it is one."""
    marker = "o" if (dots and len(x) <= 50) or len(x) == 1 else ""
    # Half of a dot at 0 or 100 % lies outside the axes.
    axes.plot(x, y, marker=marker, ms=4, lw=1.4, color=colour, label=label, clip_on=not marker)


def embeddings(
    path: str | os.PathLike[str],
    panels: Sequence[tuple[str, str, np.ndarray, np.ndarray]],
    classes: Sequence[str],
    *,
    title: str,
) -> None:
    """Points coloured by class, a panel each, as `path`.png and `path`.svg.

    Args:
        path: without ending.
        panels: title, a line below it, (n, 2) points, (n,) class indices.
        classes: their names; more than twenty are coloured without a legend.
        title: of the picture.
    """
    figure = Figure(figsize=(5 * len(panels), 5.4), dpi=110)
    colours = matplotlib.colormaps["tab20" if len(classes) > 10 else "tab10"]
    if len(classes) > 20:
        colours = matplotlib.colormaps["hsv"].resampled(len(classes))
    for number, (name, below, points, labels) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for index, label in enumerate(classes):
            here = points[labels == index]
            axes.scatter(
                here[:, 0], here[:, 1], s=14, color=colours(index), label=plain(label), lw=0
            )
        axes.set_title(plain(f"{shortened(name, 46)}\n{below}"), fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(plain(title), fontsize=11)
    if len(classes) <= 20:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncol=5, frameon=False, fontsize=9,
                      bbox_to_anchor=(0.5, -0.04))  # fmt: skip
    for ending in ("png", "svg"):
        with atomic_path(f"{os.fspath(path)}.{ending}") as partial:
            figure.savefig(partial, format=ending, bbox_inches="tight", facecolor="white")


def compactness(
    path: str | os.PathLike[str],
    curves: Sequence[tuple[str, Mapping[int, float]]],
    *,
    title: str,
    remarks: Sequence[str] = (),
) -> None:
    """A PNG with accuracy (0 ... 1) by number of dimensions, a line for each name.

    Args:
        path: the file.
        curves: name, and accuracies by number of dimensions; one is enough.
        title: of the picture.
        remarks: lines below it.
    """
    figure = Figure(figsize=(7, 4.2), dpi=110)
    axes = figure.add_subplot()
    _accuracies(axes, curves)
    axes.set_title(plain(title), fontsize=11)
    if remarks:
        text = "\n".join(line for remark in remarks for line in textwrap.wrap(remark, 100))
        figure.text(0.5, -0.01, plain(text), ha="center", va="top", fontsize=8, color="#666666")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight", facecolor="white")


def _accuracies(
    axes: matplotlib.axes.Axes, curves: Sequence[tuple[str, Mapping[int, float]]]
) -> None:
    for index, (name, accuracy) in enumerate(curves):
        counts = sorted(accuracy)
        values = [100 * accuracy[count] for count in counts]
        label = plain(shortened(name, 60))
        axes.plot(counts, values, "o-", color=COLOURS[index % len(COLOURS)], label=label)
        if len(counts) == 1:  # no line leads the eye to it
            axes.annotate(
                f"{values[0]:.1f} %", (counts[0], values[0]), (8, -4), textcoords="offset points",
                fontsize=9, color=COLOURS[index % len(COLOURS)],
            )  # fmt: skip
    counts = sorted({count for _, accuracy in curves for count in accuracy})
    axes.set_xscale("log")
    axes.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)
    axes.set_xticks(counts, _apart(counts), minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("dimensions")
    axes.set_ylabel("accuracy, %")
    values = [100 * value for _, accuracy in curves for value in accuracy.values()]
    margin = max(0.08 * (max(values) - min(values)), 10.0 if len(counts) == 1 else 1.0)
    low, high = max(min(values) - margin, 0.0), min(max(values) + margin, 100.0)
    edge = 0.03 * (high - low)  # so that a point at 0 or 100 is whole, and no number beyond stands
    axes.set_ylim(low - edge, high + edge)
    axes.legend(frameon=False, fontsize=9)


def _apart(counts: Sequence[int]) -> list[str]:
    """Labels of a log axis; of two numbers that lie on each other (500, 512) the larger has one."""
    return [
        "" if index + 1 < len(counts) and counts[index + 1] < 1.15 * count else str(count)
        for index, count in enumerate(counts)
    ]


def about_grey(values: np.ndarray) -> np.ndarray:
    """Signed values as colours: zero is grey, the largest absolute value full colour or black.

    Args:
        values: (3, T, H, W), the order of the channels R, G, B.

    Returns:
        (T, H, W, 3) float32, 0 ... 1.
    """
    largest = float(np.abs(values).max()) or 1.0
    colours = 0.5 + 0.5 * values / largest
    return np.moveaxis(colours, 0, -1).astype(np.float32)


_DPI = 110
_WEIGHT, _STEP, _STRIP, _LABEL = 16, 3, 14, 16
"""Pixels: of a weight, between time steps, between kernels, for a kernel's number."""


def kernels(
    path: str | os.PathLike[str], panels: Sequence[tuple[str, Mapping[int, np.ndarray]]]
) -> None:
    """A PNG with kernels as filmstrips, those of each network below its title, side by side.

    Args:
        path: the file.
        panels: title, and (T, H, W, 3) colours 0 ... 1 by the kernel's number, in the order in
            which to draw them.
    """
    drawn = [_strips(list(strips.values())) for _, strips in panels]
    margin, top = 30, 60
    width = sum(canvas.shape[1] for canvas, _ in drawn) + margin * (len(drawn) + 1)
    height = max(canvas.shape[0] for canvas, _ in drawn) + top + margin
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    left = margin
    for (title, strips), (canvas, corners) in zip(panels, drawn, strict=True):
        h, w = canvas.shape[:2]
        axes = figure.add_axes(
            (left / width, 1 - (top + h) / height, w / width, h / height), xlim=(0, w), ylim=(h, 0)
        )
        axes.imshow(canvas, extent=(0, w, h, 0), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(plain(title), fontsize=11, loc="left")
        for number, (x, y) in zip(strips, corners, strict=True):
            axes.text(x, y - 3, str(number), fontsize=7, color="#666666")
        left += w + margin
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", facecolor="white")


def _strips(strips: Sequence[np.ndarray]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Strips in rows on white, (h, w, 3) screen pixels, and the strips' corners, (x, y)."""
    depth, rows, columns = strips[0].shape[:3]
    width = depth * columns * _WEIGHT + (depth - 1) * _STEP
    height = rows * _WEIGHT
    per_row = max(round(np.sqrt(1.5 * len(strips) * (height + _LABEL) / width)), 1)
    per_row = min(per_row, len(strips))
    num_rows = -(-len(strips) // per_row)
    canvas = np.ones(
        (num_rows * (height + _LABEL + _STRIP), per_row * (width + _STRIP) - _STRIP, 3), np.float32
    )
    corners = []
    for index, strip in enumerate(strips):
        x = index % per_row * (width + _STRIP)
        y = index // per_row * (height + _LABEL + _STRIP) + _LABEL
        corners.append((x, y))
        large = strip.repeat(_WEIGHT, axis=1).repeat(_WEIGHT, axis=2)
        for t, frame in enumerate(large):
            start = x + t * (columns * _WEIGHT + _STEP)
            canvas[y : y + height, start : start + columns * _WEIGHT] = frame
    return canvas, corners


@dataclass(frozen=True, eq=False)
class Projection:
    """Some frames of a clip and what an activation projects to in them.

    Attributes:
        title: which clip.
        whole: (H, W, 3) uint8, one frame.
        rows, columns: the part of it that is shown below.
        frames: (n, h, w, 3) uint8, that part of some frames.
        values: (n, h, w, 3) colours 0 ... 1, see `about_grey`.
        numbers: of the frames.
    """

    title: str
    whole: np.ndarray
    rows: slice
    columns: slice
    frames: np.ndarray
    values: np.ndarray
    numbers: Sequence[int]


_FRAME, _GAP, _LINE = 92, 3, 20
"""Pixels: of a frame, between frames, of a line of text."""


def projections(path: str | os.PathLike[str], strips: Sequence[Projection], *, title: str) -> None:
    """A PNG with filmstrips, below each its projection; before it a frame with the part's place."""
    block = 2 * _LINE + 2 * _FRAME + _GAP
    columns = 1 + max(len(strip.numbers) for strip in strips)
    width = max(columns * (_FRAME + _GAP) + 3 * _LINE, 520)
    height = len(strips) * block + 4 * _LINE
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, text, va="center", **style)

    def draw(x: float, y: float, image: np.ndarray) -> matplotlib.axes.Axes:
        axes = figure.add_axes(
            (x / width, 1 - (y + _FRAME) / height, _FRAME / width, _FRAME / height)
        )
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        return axes

    write(_LINE, _LINE, plain(title), fontsize=11)
    legend = "yellow: the part of the frame at the right; below it what the activation projects to"
    write(_LINE, 1.9 * _LINE, legend, fontsize=7, color="#666666")
    for index, strip in enumerate(strips):
        top = 3 * _LINE + index * block
        write(_LINE, top + 8, plain(strip.title), fontsize=8)
        down = top + 2 * _LINE - 4
        rows, places = strip.rows, strip.columns
        draw(_LINE, down, strip.whole).add_patch(
            Rectangle(
                (places.start - 0.5, rows.start - 0.5), places.stop - places.start,
                rows.stop - rows.start, fill=False, color="#ffcc00", lw=1.5,
            )
        )  # fmt: skip
        for column, number in enumerate(strip.numbers):
            right = 2 * _LINE + (column + 1) * (_FRAME + _GAP)
            write(right, top + _LINE + 6, f"frame {number}", fontsize=6, color="#666666")
            draw(right, down, strip.frames[column])
            draw(right, down + _FRAME + _GAP, strip.values[column])
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", facecolor="white")
