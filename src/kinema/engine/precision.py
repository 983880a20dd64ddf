"""The number formats that a network can be computed in, and their rounding, imitated on a CPU.

    name  sign  exponent  mantissa   weights and activations
    fp32     1         8        23   fp32
    tf32     1         8        10   fp32; both factors of each product are rounded
    bf16     1         8         7   rounded
    fp16     1         5        10   rounded; above 65,504 they are infinite

Products are summed in fp32 in all of them. TF32: NVIDIA, "A100 Tensor Core GPU Architecture", 2020;
how cuDNN rounds to it is not documented, and is taken to be to the nearest.
"""

from __future__ import annotations

import numpy as np

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")

_DROPPED_BITS = {"tf32": 13, "bf16": 16}
"""Of the 23 of fp32's mantissa."""


def check_precision(precision: str) -> None:
    """Refuse what is no precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}; got {precision!r}.")


def rounded(values: np.ndarray, precision: str) -> np.ndarray:
    """The nearest numbers of a format; of two that are as near, the one with an even mantissa.

    Args:
        values: float32, any shape.
        precision: one of `PRECISIONS`.

    Returns:
        A new array of that shape, float32.

    Raises:
        ValueError: no such precision.
        TypeError: not float32.

    Example:
        >>> one_and_a_bit = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)  # halfway in bf16
        >>> rounded(one_and_a_bit, "bf16")
        array([1.      , 1.015625], dtype=float32)
    """
    check_precision(precision)
    values = np.asarray(values)
    if values.dtype != np.float32:
        raise TypeError(f"`values` must be float32, got {values.dtype}.")
    if precision == "fp32":
        return values.copy()
    if precision == "fp16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    dropped = _DROPPED_BITS[precision]
    bits = np.array(values, order="C").view(np.uint32)
    last = (bits >> np.uint32(dropped)) & np.uint32(1)
    bits += np.uint32(2 ** (dropped - 1) - 1) + last  # carries into the exponent where it must
    bits &= np.uint32(2**32 - 2**dropped)
    result: np.ndarray = bits.view(np.float32)
    np.copyto(result, values, where=np.isnan(values))
    return result
