"""`convolve`: a small convolution worked step by step, for a class on what a convolution is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from kinema.engine import reference

Array = np.ndarray
Place = tuple[int, int, int]

MOST_NUMBERS = 400
"""Of a grid: more are no longer legible."""

AXES = ("frames", "rows", "columns")

_EDGE = """
    1 1 1 5 5 5
    1 1 1 5 5 5
    1 1 1 5 5 5
    1 1 1 5 5 5"""
_SPOT = """
    0 0 0 0 0
    0 0 9 0 0
    0 9 9 9 0
    0 0 9 0 0
    0 0 0 0 0"""
# Two dots, a pixel a frame: the upper one goes to the right, the lower one to the left.
_DOTS = """
    0 0 0 0 0 0 | 0 0 0 0 0 0 | 0 0 0 0 0 0 | 0 0 0 0 0 0
    0 1 0 0 0 0 | 0 0 1 0 0 0 | 0 0 0 1 0 0 | 0 0 0 0 1 0
    0 0 0 0 0 0 | 0 0 0 0 0 0 | 0 0 0 0 0 0 | 0 0 0 0 0 0
    0 0 0 0 1 0 | 0 0 0 1 0 0 | 0 0 1 0 0 0 | 0 1 0 0 0 0
    0 0 0 0 0 0 | 0 0 0 0 0 0 | 0 0 0 0 0 0 | 0 0 0 0 0 0"""
# Left in the frame before, the middle now, right in the frame after.
_TO_THE_RIGHT = """
    0 0 0 | 0 0 0 | 0 0 0
    1 0 0 | 0 1 0 | 0 0 1
    0 0 0 | 0 0 0 | 0 0 0"""


@dataclass(frozen=True)
class Example:
    """A grid and a kernel that have something to say.

    Attributes:
        about: what, in a sentence.
        grid, kernel: as text, see `convolve`.
        padding: along rows and columns.
    """

    about: str
    grid: str
    kernel: str
    padding: int = 0


EXAMPLES = MappingProxyType(
    {
        "edge": Example(
            "The kernel answers where the grid becomes larger from left to right.",
            _EDGE,
            "-1 0 1; -1 0 1; -1 0 1",
        ),
        "blur": Example(
            "The kernel is a mean of nine neighbours: a spot becomes larger and fainter.",
            _SPOT,
            "1/9 1/9 1/9; 1/9 1/9 1/9; 1/9 1/9 1/9",
            padding=1,
        ),
        "frames": Example(
            "A 2-D convolution that takes all frames at once: one picture comes out.",
            "\n".join(line.rpartition("|")[0] for line in _DOTS.strip().splitlines()),
            _TO_THE_RIGHT,
        ),
        "motion": Example(
            "The kernel answers to motion to the right: 3 for the upper dot, 1 for the lower one, "
            "which goes to the left.",
            _DOTS,
            _TO_THE_RIGHT,
        ),
    }
)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution small enough to look at each number.

    Attributes:
        grid: (T, H, W) float64, without its padding.
        kernel: (I, J, K) float64, as it is laid on the grid.
        padding: zeros on either side of the grid along time, rows and columns.
        stride: from place to place along time, rows and columns.
        about: what it shows; "" for grids and kernels of one's own.
    """

    grid: Array
    kernel: Array
    padding: Place = (0, 0, 0)
    stride: Place = (1, 1, 1)
    about: str = ""

    def __post_init__(self) -> None:
        for name, sizes, least in (("padding", self.padding, 0), ("stride", self.stride, 1)):
            if min(sizes) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {min(sizes)}.")
        for axis, size, kernel, padding in zip(
            AXES, self.grid.shape, self.kernel.shape, self.padding, strict=True
        ):
            if padding >= kernel and padding:
                raise ValueError(
                    f"`padding` of {padding} {axis} must be less than the kernel's {kernel}: "
                    "a window would see nothing of the grid."
                )
            if kernel > size + 2 * padding:
                padded = f" with {padding} of padding on either side" if padding else ""
                raise ValueError(
                    f"`kernel` is {sizes_of(self.kernel)} and does not fit into the grid, "
                    f"{sizes_of(self.grid)}: it has {kernel} {axis}, the grid {size}{padded}."
                )

    @property
    def padded(self) -> Array:
        """The grid with zeros around it, (T, H, W)."""
        return np.pad(self.grid, [(size, size) for size in self.padding])

    @property
    def output(self) -> Array:
        """What comes out, (T', H', W') float64: `kinema.reference.conv3d` at the kernel's places.

        The reference's kernels have odd sizes and lie with their middle on the cell; an even one
        gets zeros at its end, and only places where the whole window is on the padded grid count.
        """
        odd = np.pad(self.kernel, [(0, 1 - size % 2) for size in self.kernel.shape])
        everywhere = reference.conv3d(self.padded[None, None], odd[None, None], np.zeros(1))[0, 0]
        return everywhere[
            tuple(
                slice(size // 2, size // 2 + count * stride, stride)
                for size, count, stride in zip(
                    odd.shape, self.output_sizes, self.stride, strict=True
                )
            )
        ]

    @property
    def output_sizes(self) -> Place:
        """(T', H', W')."""
        t, h, w = (
            (size + 2 * padding - kernel) // stride + 1
            for size, kernel, padding, stride in zip(
                self.grid.shape, self.kernel.shape, self.padding, self.stride, strict=True
            )
        )
        return t, h, w

    @property
    def places(self) -> list[Place]:
        """Indices (t, h, w) of the output in the order in which it is computed."""
        t, h, w = map(range, self.output_sizes)
        return list(itertools.product(t, h, w))

    def window(self, place: Place) -> tuple[slice, slice, slice]:
        """What of the padded grid lies under the kernel at one place of the output."""
        t, h, w = (
            slice(index * stride, index * stride + size)
            for index, stride, size in zip(place, self.stride, self.kernel.shape, strict=True)
        )
        return t, h, w

    def products(self, place: Place) -> Array:
        """The kernel times what lies under it, (I, J, K)."""
        return self.kernel * self.padded[self.window(place)]

    @property
    def over_time(self) -> str:
        """What becomes of time, in a sentence: which convolution of the paper's Figure 1 it is."""
        num_frames, depth, out = len(self.grid), len(self.kernel), self.output_sizes[0]
        if num_frames == 1:
            return (
                "2-D convolution of one frame: a picture comes out (Tran et al. 2015, Figure 1a)."
            )
        if depth == 1:
            return (
                f"2-D convolution of each of {num_frames} frames by itself: {_count(out, 'frame')} "
                f"{'comes' if out == 1 else 'come'} out, and none knows of another."
            )
        if out == 1 and depth == num_frames:
            return (
                f"2-D convolution of {num_frames} frames at once: the kernel is as deep as there "
                "are frames and cannot move in time, so one picture comes out and time is lost "
                "(Tran et al. 2015, Figure 1b)."
            )
        return (
            f"3-D convolution: the kernel is {depth} frames deep and moves over {num_frames} in "
            f"time, too; {_count(out, 'frame')} {'comes' if out == 1 else 'come'} out, a volume "
            "that keeps time (Tran et al. 2015, Figure 1c)."
        )


def steps_of(made: Convolution, steps: str | Sequence[int] | None = None) -> list[int]:
    """The numbers of the places to work in full, from 1 on; see `convolve`."""
    last = len(made.places)
    if steps is None:
        strength = np.abs(made.output).ravel().round(9)  # rounding makes no place the strongest
        between = 2 + int(strength[1:-1].argmax()) if last > 2 else last
        return sorted({1, between, last})
    if steps == "all":
        return list(range(1, last + 1))
    words = steps.split(",") if isinstance(steps, str) else [*steps]
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers or not all(1 <= number <= last for number in numbers):
        raise ValueError(f"`steps` must be all, or numbers from 1 to {last}, got {steps}.")
    return sorted(set(numbers))


def read_numbers(name: str, given: str | os.PathLike[str] | Sequence[object] | Array) -> Array:
    """A grid or a kernel as (T, H, W) float64, see `convolve`; `name` is told in errors."""
    if isinstance(given, str) and Path(given).suffix.lower() in (".npy", ".txt"):
        given = Path(given)
    if isinstance(given, os.PathLike):
        path = Path(given)
        name = f"{name} of {path}"
        values = (
            _array(name, _load(path))
            if path.suffix.lower() == ".npy"
            else _parsed(name, path.read_text(encoding="utf-8", errors="replace"))
        )
    else:
        values = _parsed(name, given) if isinstance(given, str) else _array(name, given)
    if not values.size:
        raise ValueError(f"`{name}` must have at least one number, got none.")
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` must have finite numbers, got {values.min()}.")
    return values


def sizes_of(values: Array) -> str:
    """The sizes of a grid or kernel, as 3x3 or 4x3x3."""
    return "x".join(map(str, values.shape[1:] if len(values) == 1 else values.shape))


def _load(path: Path) -> Array:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no array in numpy's .npy format.") from error


def _array(name: str, given: Sequence[object] | Array) -> Array:
    try:
        values = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"`{name}` must have rows of one length.") from error
    if values.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must be of real numbers, got {values.dtype}.")
    if values.ndim not in (2, 3):
        raise ValueError(
            f"`{name}` must be rows and columns, or frames, rows and columns, got {values.ndim} "
            "axes."
        )
    return values.astype(np.float64).reshape((-1, *values.shape[-2:]))


def _parsed(name: str, text: str) -> Array:
    lines = [line for line in text.replace(";", "\n").splitlines() if line.strip()]
    parts = {line.count("|") for line in lines}
    if len(parts) == 1 and "|" in text:  # each row has all frames
        frames = [[*rows] for rows in zip(*(line.split("|") for line in lines), strict=True)]
    else:
        frames = [
            [row for row in frame.splitlines() if row.strip()]
            for frame in text.replace(";", "\n").split("|")
        ]
    found: list[list[list[float]]] = []
    for frame, rows in enumerate(frames, start=1):
        found.append([])
        for row, line in enumerate(rows, start=1):
            where = f"row {row} of frame {frame}" if len(frames) > 1 else f"row {row}"
            found[-1].append(
                [_number(name, word, where) for word in line.replace(",", " ").split()]
            )
            count, first = len(found[-1][-1]), len(found[0][0])
            if count != first:
                raise ValueError(
                    f"`{name}` must have rows of one length: {where} has "
                    f"{_count(count, 'number')}, the first one has {first}."
                )
        if len(found[-1]) != len(found[0]):
            raise ValueError(
                f"`{name}` must have frames of one size: frame {frame} has "
                f"{_count(len(found[-1]), 'row')}, "
                f"the first one has {len(found[0])}."
            )
    return np.asarray(found, np.float64)


def _number(name: str, word: str, where: str) -> float:
    try:
        above, slash, below = word.partition("/")
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"`{name}` must be of numbers, got {word!r} in {where}.") from error


def asked_sizes(name: str, given: str | int | Sequence[int], kernel: Array, *, alone: int) -> Place:
    """Three sizes, of frames, rows and columns; `alone` is what leaves time alone."""
    try:
        words = given.split(",") if isinstance(given, str) else np.atleast_1d(given).tolist()
        sizes = [int(word) for word in words]
    except ValueError:
        sizes = []
    if len(sizes) == 1:
        sizes *= 2 if len(kernel) == 1 else 3
    if len(sizes) == 2:
        sizes = [alone, *sizes]
    if len(sizes) != 3:
        raise ValueError(
            f"`{name}` must be one number, rows,columns or frames,rows,columns, got {given}."
        )
    t, h, w = sizes
    return t, h, w


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
