"""A small convolution in words and numbers, for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from kinema.views.convolution_steps import AXES, Array, Convolution, Place, sizes_of

WIDTH = 96
"""Columns of a terminal: blocks that do not fit beside each other stand below."""

MOST_TERMS = 9
"""So many products are written out with those of zero weights; of more only the others."""

Block = list[str]


def lines(made: Convolution, steps: Sequence[int]) -> list[str]:
    """What is laid on what, the places `steps` (from 1 on) in full, and what comes out.

    Numbers under the window, and the one of the output that is computed, stand in brackets.
    """
    found = [
        *([made.about] if made.about else []),
        made.over_time,
        *sizes(made),
        *remarks(made),
        "",
    ]
    for step in steps:
        found += [*_step(made, step), ""]
    if len(made.places) not in steps:
        found += beside([[f"output, {sizes_of(made.output)}", *_frames(made.output)]])
    elif not found[-1]:
        found.pop()
    return found


def write(printed: Sequence[str]) -> None:
    """Print lines; in a terminal what stands in brackets is in colour."""
    console = Console(highlight=False)
    for line in printed:
        words = Text(line)
        words.highlight_regex(r"\[[^\]]*\]", "bold dark_orange")
        words.highlight_regex(r"^Step .*", "bold")
        console.print(words, soft_wrap=True)


def sizes(made: Convolution) -> list[str]:
    """How the size of the output follows, a line for each axis; the first only where there is time.

    Rounded down, where the last stride does not fit.
    """
    found = []
    for axis, size, kernel, padding, stride, out in zip(
        AXES, made.grid.shape, made.kernel.shape, made.padding, made.stride, made.output_sizes,
        strict=True,
    ):  # fmt: skip
        if axis != AXES[0] or size > 1:
            inside = f"({size} + 2·{padding} - {kernel})" if padding else f"({size} - {kernel})"
            moves = f"{inside} / {stride}" if stride > 1 else inside
            left = (size + 2 * padding - kernel) % stride
            rounded = ", rounded down," if left else ""
            found.append(f"{axis:>7}: {moves}{rounded} + 1 = {out}")
    return found


def remarks(made: Convolution) -> list[str]:
    """What is left out of the sums, if anything is."""
    left_out = made.kernel.size > MOST_TERMS and not made.kernel.all()
    return ["Products with weights of 0 are not written out."] if left_out else []


def number(value: float) -> str:
    """A number in few characters: at most three decimals, an exponent for the smallest and largest.

    What lies within a billionth of a whole number is written as that: 9/9 summed is 1.
    """
    size, nearest = abs(value), round(float(value))
    if size < 1e9 and abs(value - nearest) < 1e-9:
        return str(nearest)
    return f"{value:.3f}".rstrip("0").rstrip(".") if 1e-3 <= size < 1e9 else f"{value:.3g}"


def place_name(made: Convolution, place: Place) -> str:
    """Where a number of the output stands, counted from 1."""
    t, h, w = (index + 1 for index in place)
    frame = f"frame {t}, " if len(made.grid) > 1 else ""
    return f"{frame}row {h}, column {w}"


def sums(made: Convolution, place: Place) -> list[str]:
    """The products at a place and their sum: a line, or one a frame of the kernel and one more."""
    window = made.padded[made.window(place)]
    every = made.kernel.size <= MOST_TERMS
    frames = [
        _sum(values, kernel, every) for values, kernel in zip(window, made.kernel, strict=True)
    ]
    if len(frames) == 1:
        return frames
    totals = [number(value) for value in made.products(place).sum(axis=(1, 2))]
    first = place[0] * made.stride[0] - made.padding[0]
    named = [
        f"{f'frame {first + index + 1}' if 0 <= first + index < len(made.grid) else 'padding'}: "
        f"{line}"
        for index, line in enumerate(frames)
    ]
    return [*named, f"together: {_added(totals)} = {number(made.products(place).sum())}"]


def beside(blocks: Sequence[Block]) -> Block:
    """Blocks of lines from left to right, or the first alone and the others below it."""
    rows: list[list[Block]] = [[*blocks]]
    if _width(blocks) > WIDTH:
        rows = [[blocks[0]]]
        for block in blocks[1:]:
            if len(rows) == 1 or _width([*rows[-1], block]) > WIDTH:
                rows.append([])
            rows[-1].append(block)
    found: Block = []
    for row in rows:
        if found:
            found.append("")
        widths = [max(map(len, block)) for block in row]
        for cells in itertools.zip_longest(*row, fillvalue=""):
            padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
            found.append(("  " + "     ".join(padded)).rstrip())
    return found


def _width(blocks: Sequence[Block]) -> int:
    return sum(5 + max(map(len, block)) for block in blocks)


def _step(made: Convolution, step: int) -> list[str]:
    place = made.places[step - 1]
    under = np.zeros(made.padded.shape, bool)
    under[made.window(place)] = True
    output = made.output
    so_far = np.arange(output.size).reshape(output.shape) < step
    here = np.zeros(output.shape, bool)
    here[place] = True
    padded = " with its padding" if any(made.padding) else ""
    blocks = [
        [f"grid{padded}, {sizes_of(made.padded)}", *_frames(made.padded, under)],
        [f"kernel, {sizes_of(made.kernel)}", *_frames(made.kernel)],
        ["products", *_frames(made.products(place))],
        ["output so far", *_frames(output, here, so_far)],
    ]
    title = f"Step {step} of {len(made.places)}: {place_name(made, place)} of the output"
    return [title, *beside(blocks), "", *(f"  {line}" for line in sums(made, place))]


def _frames(values: Array, marked: Array | None = None, known: Array | None = None) -> Block:
    """Rows of numbers, frames side by side; `marked` ones in brackets, unknown ones as dots."""
    marked = np.zeros(values.shape, bool) if marked is None else marked
    known = np.ones(values.shape, bool) if known is None else known
    words = np.array(
        [
            number(value) if seen else "."
            for value, seen in zip(values.flat, known.flat, strict=True)
        ]
    ).reshape(values.shape)
    width = max(map(len, words.flat))
    cells = np.array(
        [
            f"[{word:>{width}}]" if mark else f" {word:>{width}} "
            for word, mark in zip(words.flat, marked.flat, strict=True)
        ]
    ).reshape(values.shape)
    return [
        " | ".join("".join(frame[row]) for frame in cells).rstrip()
        for row in range(values.shape[1])
    ]


def _sum(values: Array, kernel: Array, every: bool) -> str:
    """One frame's products and their sum, as 1·1 + 2·0 + 4·0 + 5·(-1) = -4."""
    pairs = [pair for pair in zip(values.flat, kernel.flat, strict=True) if every or pair[1]]
    words = [f"{_factor(value)}·{_factor(weight)}" for value, weight in pairs] or ["0"]
    return f"{' + '.join(words)} = {number((values * kernel).sum())}"


def _added(words: Sequence[str]) -> str:
    return " + ".join(f"({word})" if word.startswith("-") else word for word in words)


def _factor(value: float) -> str:
    word = number(value)
    return f"({word})" if word.startswith("-") else word
