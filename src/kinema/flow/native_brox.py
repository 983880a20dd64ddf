"""Brox et al. 2004 on the CPU by the kernels of native/flow.

See Note [What is minimised] and Note [Red-black] of `brox`.

Note [Sweeps in one walk]
    The values of a linear system, 36 bytes a pixel, are too many for a core's own cache, and each
    sweep needs all of them. So `SWEEPS_A_CHECK` sweeps go down the image together, each half sweep
    a row behind the one before: a row is relaxed ten times while it is near. The order among the
    pixels of a colour plays no part, so the values are those of sweeps one after the other.
"""

from __future__ import annotations

import numpy as np

from kinema import native
from kinema.flow.brox import (
    DEFAULT,
    EPSILON,
    PRESMOOTHING,
    SWEEPS_A_CHECK,
    Brox,
    gaussian,
    pairs_of_images,
)


def brox_flow(
    first: np.ndarray,
    second: np.ndarray,
    *,
    settings: Brox = DEFAULT,
    threads: int = 1,
) -> np.ndarray:
    """The flow of Brox et al. 2004 of pairs of grey images.

    Bit-equal for any number of threads and of pairs: each pair is one thread's.

    Args:
        first: (N, H, W) or (H, W), grey, uint8 or finite floats of any range.
        second: the image after each.
        settings: see `Brox`.
        threads: CPU threads.

    Returns:
        (N, H, W, 2) or (H, W, 2) float32: pixels to the right and down.

    Raises:
        ValueError: not such images, or no such number of threads.
    """
    if threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    images = pairs_of_images(first, second)
    flow = np.empty((*images.shape[1:], 2), np.float32)
    native.brox_flow(
        native.processor(),
        images[0],
        images[1],
        flow,
        settings.sizes(*images.shape[2:]),
        gaussian(PRESMOOTHING),
        gaussian(settings.zoom_sigma),
        settings.alpha,
        settings.gamma,
        settings.nu,
        EPSILON,
        settings.warps,
        settings.inner,
        settings.omega,
        settings.tolerance,
        settings.most_sweeps,
        SWEEPS_A_CHECK,
        threads,
    )
    return flow.reshape(*first.shape, 2)
