"""A small convolution as a picture: numbers in cells, the window outlined, each sum written out."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kinema.files import atomic_path
from kinema.plots import plain
from kinema.views import convolution_text as text
from kinema.views.convolution_steps import Array, Convolution, sizes_of

MOST_STEPS = 12
"""Of a picture: more make it too tall to be shown."""

WINDOW = "#e8590c"
"""What lies on each other: the window, the kernel, their products, the number that comes out."""

INK, FAINT, LINE = "#1b1e23", "#868e96", "#ced4da"

_CELL, _DPI = 0.36, 110
"""Inches of a cell; all other lengths are in cells."""

_BETWEEN_FRAMES, _BETWEEN_BLOCKS, _ROW_GAP, _TEXT = 0.7, 1.5, 0.9, 0.62
_WIDTH = 36.0
"""Blocks that do not fit beside each other stand below."""

_LETTER = 0.212
"""Width of a letter of the sums."""


@dataclass(frozen=True, eq=False)
class _Block:
    """Frames of numbers with a title.

    Attributes:
        title: above it.
        values: (T, h, w).
        marked: (T, h, w) of bool, what is outlined; a box in each frame that has some.
        padding: (T, h, w) of bool, cells that are not of the grid.
        unknown: (T, h, w) of bool, cells that are not yet computed.
        times: name of each frame, where there are several.
    """

    title: str
    values: Array
    marked: Array
    padding: Array
    unknown: Array
    times: Sequence[str] = ()

    @property
    def width(self) -> float:
        num_frames, _, columns = self.values.shape
        return num_frames * columns + (num_frames - 1) * _BETWEEN_FRAMES

    @property
    def height(self) -> float:
        return self.values.shape[1] + self.top

    @property
    def top(self) -> float:
        """Of its title, and its frames' names."""
        return 1.35 if self.times else 0.75


def draw(path: str | os.PathLike[str], made: Convolution, steps: Sequence[int]) -> None:
    """Write a picture of the places `steps`, from 1 on, below each other.

    Args:
        path: .png or .svg.
        made: the convolution.
        steps: at most `MOST_STEPS`.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".png", ".svg"):
        raise ValueError(f"`out` must end in .png or .svg, got {os.fspath(path)}.")
    if len(steps) > MOST_STEPS:
        raise ValueError(
            f"`out` shows at most {MOST_STEPS} places, asked for are {len(steps)}: name them with "
            "`steps`."
        )
    rows = [(_title_of(step, made), _arranged(_blocks(made, step))) for step in steps]
    sums = [text.sums(made, made.places[step - 1]) for step in steps]
    width = max(
        20.0,
        *(sum(b.width + _BETWEEN_BLOCKS for b in row) for _, arranged in rows for row in arranged),
        *(_LETTER * len(line) + 1 for lines in sums for line in lines),
    )
    header = _header(made, width)
    height = _TEXT * len(header) + 1.2
    height += sum(_height(arranged, lines) for (_, arranged), lines in zip(rows, sums, strict=True))

    figure = Figure(figsize=(width * _CELL, height * _CELL), dpi=_DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.6, width - 0.6), ylim=(height, 0))
    axes.set_axis_off()
    y = 0.9
    for line, style in header:
        axes.text(0, y, plain(line), va="center", **style)
        y += _TEXT
    y += 0.3
    for (title, arranged), lines in zip(rows, sums, strict=True):
        axes.plot([0, width - 1.2], [y, y], color=LINE, lw=0.8)
        y += 0.7
        axes.text(0, y, title, va="center", fontsize=10.5, weight="bold", color=INK)
        y += 0.75
        for row in arranged:
            x, tallest = 0.0, max(block.height for block in row)
            for block in row:
                _draw_block(axes, block, x, y)
                x += block.width + _BETWEEN_BLOCKS
            y += tallest + _ROW_GAP
        for index, line in enumerate(lines):
            last = index == len(lines) - 1
            axes.text(
                0, y, line, va="center", family="monospace", fontsize=9, color=INK,
                weight="bold" if last else "normal",
            )  # fmt: skip
            y += _TEXT
        y += 0.35
    options: dict[str, Any] = {"pil_kwargs": {"optimize": True}} if ending == ".png" else {}
    with atomic_path(path) as partial:
        figure.savefig(partial, format=ending[1:], facecolor="white", **options)


def _header(made: Convolution, width: float) -> list[tuple[str, dict[str, Any]]]:
    """Lines of text above all, and how they are written."""
    about = {"fontsize": 12, "weight": "bold", "color": INK}
    small = {"fontsize": 9.5, "color": INK}
    found = []
    for line, style, letters in ((made.about, about, 3.3), (made.over_time, small, 4.6)):
        found += [(part, style) for part in textwrap.wrap(line, int(width * letters))]
    sizes = "    ".join(line.strip() for line in text.sizes(made))
    faint = [f"size of the output:  {sizes}", *text.remarks(made)]
    return [*found, *((line, {"fontsize": 9, "color": FAINT}) for line in faint)]


def _title_of(step: int, made: Convolution) -> str:
    place = text.place_name(made, made.places[step - 1])
    return f"Step {step} of {len(made.places)}: {place} of the output"


def _height(arranged: Sequence[Sequence[_Block]], lines: Sequence[str]) -> float:
    blocks = sum(max(block.height for block in row) + _ROW_GAP for row in arranged)
    return 0.7 + 0.75 + blocks + _TEXT * len(lines) + 0.35


def _blocks(made: Convolution, step: int) -> list[_Block]:
    place = made.places[step - 1]
    padded, output = made.padded, made.output
    inside = np.zeros(padded.shape, bool)
    inside[tuple(slice(p, p + n) for p, n in zip(made.padding, made.grid.shape, strict=True))] = (
        True
    )
    under = np.zeros(padded.shape, bool)
    under[made.window(place)] = True
    here = np.zeros(output.shape, bool)
    here[place] = True
    later = np.arange(output.size).reshape(output.shape) >= step
    every, none = np.ones(made.kernel.shape, bool), np.zeros(made.kernel.shape, bool)
    several = len(padded) > 1
    times = [_time(made, index - made.padding[0]) for index in range(len(padded))]
    start = made.window(place)[0].start
    return [
        _Block(
            f"grid, {sizes_of(made.grid)}{' and padding' if any(made.padding) else ''}",
            padded, under, ~inside, np.zeros(padded.shape, bool), times if several else (),
        ),
        _Block(
            f"kernel, {sizes_of(made.kernel)}", made.kernel, every, none, none,
            [f"time {i + 1}" for i in range(len(made.kernel))] if several else (),
        ),
        _Block(
            "products", made.products(place), every, none, none,
            times[start : start + len(made.kernel)] if several else (),
        ),
        _Block(
            f"output so far, {sizes_of(output)}", output, here, np.zeros(output.shape, bool), later,
            [f"frame {t + 1}" for t in range(len(output))] if several else (),
        ),
    ]  # fmt: skip


def _time(made: Convolution, index: int) -> str:
    return f"frame {index + 1}" if 0 <= index < len(made.grid) else "padding"


def _arranged(blocks: Sequence[_Block]) -> list[list[_Block]]:
    """Blocks in rows of at most `_WIDTH`: one, or the first alone and then the others."""
    if sum(block.width + _BETWEEN_BLOCKS for block in blocks) <= _WIDTH:
        return [[*blocks]]
    rows = [[blocks[0]]]
    for block in blocks[1:]:
        width = sum(b.width + _BETWEEN_BLOCKS for b in rows[-1]) + block.width
        if len(rows) == 1 or width > _WIDTH:
            rows.append([])
        rows[-1].append(block)
    return rows


def _draw_block(axes: Axes, block: _Block, x: float, y: float) -> None:
    axes.text(x, y + 0.2, block.title, va="center", fontsize=9, color=INK)
    num_frames, rows, columns = block.values.shape
    known = block.values[~block.unknown]
    largest = float(np.abs(known).max()) or 1.0
    longest = max(len(text.number(value)) for value in block.values.flat)
    size = min(9.5, 32 / longest)
    top = y + block.top
    for frame in range(num_frames):
        left = x + frame * (columns + _BETWEEN_FRAMES)
        if block.times:
            axes.text(left, top - 0.4, block.times[frame], va="center", fontsize=7.5, color=FAINT)
        for row, column in np.ndindex(rows, columns):
            cell = (frame, row, column)
            value, padding = block.values[cell], bool(block.padding[cell])
            unknown = bool(block.unknown[cell])
            corner = (left + column, top + row)
            colour = "white" if unknown else "#f1f3f5" if padding else _tint(value / largest)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor=LINE, lw=0.7))
            if not unknown:
                axes.text(
                    corner[0] + 0.5, corner[1] + 0.53, text.number(value).replace("-", "\u2212"),
                    ha="center", va="center", fontsize=size, color=FAINT if padding else INK,
                )  # fmt: skip
        marked = np.argwhere(block.marked[frame])
        if len(marked):
            (first_row, first_column), (last_row, last_column) = marked[0], marked[-1]
            axes.add_patch(
                Rectangle(
                    (left + first_column, top + first_row), last_column - first_column + 1,
                    last_row - first_row + 1, fill=False, edgecolor=WINDOW, lw=2.4, zorder=3,
                    joinstyle="round",
                )
            )  # fmt: skip


def _tint(share: float) -> tuple[float, float, float, float]:
    """White for 0, blue for more, red for less; so light that black numbers are read on it."""
    return matplotlib.colormaps["RdBu"](0.5 + 0.24 * share)
