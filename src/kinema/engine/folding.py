"""Batch normalisation folded into the layer before it."""

from __future__ import annotations

import numpy as np


def fold(
    weight: np.ndarray,
    gain: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias, float32, of the layer that computes what layer and normalisation do.

    gain * (weight * x - mean) / deviation + shift = (weight * factor) * x + (shift - mean * factor)

    Args:
        weight: (O, ...) of the layer, which has no bias of its own.
        gain, shift: (O,) of the normalisation.
        mean, variance: (O,) that it takes off and divides by.
        epsilon: added to the variance.
    """
    gain, shift, mean, variance = (
        array.astype(np.float64) for array in (gain, shift, mean, variance)
    )
    factor = gain / np.sqrt(variance + epsilon)
    folded = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    return folded.astype(np.float32), (shift - mean * factor).astype(np.float32)
