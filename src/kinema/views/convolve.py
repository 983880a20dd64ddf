"""`convolve`: a small convolution, worked place by place, and its picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kinema.views.convolution_steps import (
    EXAMPLES,
    MOST_NUMBERS,
    Array,
    Convolution,
    asked_sizes,
    read_numbers,
    steps_of,
)


def convolve(
    example: str = "edge",
    *,
    grid: str | os.PathLike[str] | Sequence[object] | Array | None = None,
    kernel: str | os.PathLike[str] | Sequence[object] | Array | None = None,
    padding: str | int | Sequence[int] | None = None,
    stride: str | int | Sequence[int] | None = None,
    turned: bool = False,
    steps: str | Sequence[int] | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Convolution:
    """Lay a small kernel on a small grid, place by place, and draw how each number comes about.

    It is the cross-correlation that networks call convolution; `turned` makes it the convolution of
    mathematics, which turns the kernel around along all axes.

    Args:
        example: a name of `EXAMPLES`; what is not given below is its own.
        grid: (H, W) or (T, H, W) numbers, at most `MOST_NUMBERS`. As text: blanks or commas between
            numbers, which may be fractions, ";" or a new line between rows, "|" between frames:
            "1 2; 3 4 | 5 6; 7 8", or, where each row has all frames, as they stand side by side. Or
            a file, .npy or .txt.
        kernel: the same; a kernel of one frame is laid on each frame of the grid.
        padding: zeros around the grid: one number, "rows,columns" or "frames,rows,columns". One
            or two leave time alone where the kernel is of one frame.
        stride: the same for how far the kernel moves.
        turned: whether to turn the kernel around.
        steps: which places to draw, from 1 on: "all", numbers ("1,5"); by default the first, the
            last, and between them the one with the strongest answer.
        out: picture to write, .png or .svg.

    Raises:
        ValueError: a grid or kernel is ragged, too large or of something else than numbers; the
            kernel does not fit; there is no such example, place or kind of picture.

    Example:
        >>> convolve(grid="1 2 4; 1 2 4; 1 2 4", kernel="-1 1").output[0]
        array([[1., 2.],
               [1., 2.],
               [1., 2.]])
    """
    if example not in EXAMPLES:
        raise ValueError(f"`example` must be one of {', '.join(EXAMPLES)}, got {example!r}.")
    chosen = EXAMPLES[example]
    numbers = read_numbers("grid", chosen.grid if grid is None else grid)
    weights = read_numbers("kernel", chosen.kernel if kernel is None else kernel)
    if numbers.size > MOST_NUMBERS:
        raise ValueError(
            f"`grid` must have at most {MOST_NUMBERS} numbers, to be legible, got {numbers.size}."
        )
    if turned:
        weights = weights[::-1, ::-1, ::-1]
    own = grid is not None or kernel is not None
    default = 0 if own else chosen.padding
    made = Convolution(
        numbers,
        weights,
        asked_sizes("padding", default if padding is None else padding, weights, alone=0),
        asked_sizes("stride", 1 if stride is None else stride, weights, alone=1),
        about="" if own or turned else chosen.about,
    )
    shown = steps_of(made, steps)
    if out is not None:
        from kinema.views import convolution_pictures

        convolution_pictures.draw(out, made, shown)
    return made
