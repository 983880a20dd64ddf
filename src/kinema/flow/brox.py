"""`Brox`: what decides over the flow of Brox et al. 2004, the same for every solver of it.

Brox, Bruhn, Papenberg, Weickert, "High Accuracy Optical Flow Estimation Based on a Theory for
Warping", ECCV 2004, in the form of Sanchez, Monzon, Salgado, "Robust Optical Flow Estimation",
IPOL 2013. "IPOL" below names that article's published program, sms_optic_flow_2.0.

Note [What is minimised]
    The flow w = (u, v) from an image I1 to an image I2, both scaled to 0 ... 255, minimises

        psi(|I2(x + w) - I1(x)|^2) + gamma psi(|grad I2(x + w) - grad I1(x)|^2)
            + alpha psi(|grad u|^2 + |grad v|^2),        psi'(s^2) = 1 / sqrt(s^2 + EPSILON^2),

    summed over the pixels. On each scale of a pyramid, the coarsest first, I2 and its first and
    second derivatives are warped by w some times (`warps`). Each time the equations are linear in
    an increment dw once psi' of the data terms is held (`inner` times), that of the smoothness
    once a warp. Where any of the 4 x 4 pixels of the bicubic warp lies outside of I2, there is no
    data term.

Note [Red-black]
    IPOL relaxes the pixels row by row. Here those of a checkerboard's one colour are relaxed, then
    those of the other: no pixel waits for another of its colour, and the equations, factor and
    limit stay the same. Of a pixel u is relaxed first, then v, as there. The rule that ends it is
    looked at every `SWEEPS_A_CHECK` sweeps and not after each, so that it ends as late or a little
    later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

EPSILON = 0.001
"""Of psi (IPOL, EPSILON)."""
PRESMOOTHING = 0.8
"""Standard deviation in pixels of the blur of both images (IPOL, GAUSSIAN_SIGMA)."""
ZOOM_SIGMA = 0.6
"""Of the blur before an image is shrunk by nu: ZOOM_SIGMA sqrt(1 / nu^2 - 1) (IPOL)."""
SMALLEST_SIDE = 16
"""Pixels of the coarsest scale's smaller side, at least (IPOL, main.cpp)."""
SWEEPS_A_CHECK = 5
"""See Note [Red-black]."""

MOST = 1e30
"""Absolute value of a pixel, so that the range of all of them is a number."""


@dataclass(frozen=True, kw_only=True)
class Brox:
    """Settings of the flow; the defaults are those of IPOL's second version.

    Attributes:
        alpha: weight of the smoothness; 50 (IPOL, version 2; 18 in version 1).
        gamma: weight of the gradient constancy; 10 (IPOL, version 2; 7 in version 1).
        nu: from the size of a scale to that of the next coarser one; 0.5 (IPOL, version 2).
        scales: of the pyramid, at most; 10 (IPOL, version 2). None is coarser than 16 pixels.
        warps: on each scale; 15 (IPOL, outer_iter).
        inner: linearisations of psi a warp; 1 (IPOL, inner_iter).
        omega: of the successive over-relaxation; 1.9 (IPOL, SOR_PARAMETER).
        tolerance: the root mean square change of a sweep, in pixels, below which it ends; 0.0001
            (IPOL, TOL).
        most_sweeps: of a linear system; 300 (IPOL, MAXITER). A multiple of 5.
    """

    alpha: float = 50.0
    gamma: float = 10.0
    nu: float = 0.5
    scales: int = 10
    warps: int = 15
    inner: int = 1
    omega: float = 1.9
    tolerance: float = 1e-4
    most_sweeps: int = 300

    def __post_init__(self) -> None:
        for name in ("alpha", "gamma", "nu", "omega", "tolerance"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"`{name}` must be a finite number, got {value!r}.")
        for name in ("scales", "warps", "inner", "most_sweeps"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        if self.alpha <= 0:
            raise ValueError(f"`alpha` must be above 0, got {self.alpha:g}.")
        if self.gamma < 0:
            raise ValueError(f"`gamma` must be at least 0, got {self.gamma:g}.")
        if not 0.1 <= self.nu <= 0.95:
            raise ValueError(f"`nu` must be from 0.1 to 0.95, got {self.nu:g}.")
        if not 0 < self.omega < 2:
            raise ValueError(f"`omega` must be above 0 and below 2, got {self.omega:g}.")
        if self.tolerance < 0:
            raise ValueError(f"`tolerance` must be at least 0 pixels, got {self.tolerance:g}.")
        if self.most_sweeps % SWEEPS_A_CHECK:
            raise ValueError(
                f"`most_sweeps` must be a multiple of {SWEEPS_A_CHECK}, got {self.most_sweeps}."
            )

    @property
    def zoom_sigma(self) -> float:
        """Of the blur of a scale before it is shrunk, in pixels."""
        return ZOOM_SIGMA * math.sqrt(1 / self.nu**2 - 1)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of each scale in pixels, the finest first."""
        fit = 1 + math.log(min(height, width) / SMALLEST_SIDE) / math.log(1 / self.nu)
        found = [(height, width)]
        while len(found) < min(int(fit), self.scales):
            height, width = int(height * self.nu + 0.5), int(width * self.nu + 0.5)
            found.append((height, width))
        return found


DEFAULT = Brox()


def gaussian(sigma: float) -> list[float]:
    """The middle tap of a normalised Gaussian and those on one side of it, to 5 sigma (IPOL)."""
    taps = [math.exp(-(i * i) / (2 * sigma * sigma)) for i in range(int(5 * sigma) + 1)]
    total = 2 * sum(taps) - taps[0]
    return [tap / total for tap in taps]


def mirrored(length: int, radius: int) -> list[int]:
    """Which of `length` pixels stand at -radius ... length + radius - 1.

    Mirrored, without the first pixel on the one side and with the last on the other (IPOL,
    gaussian.h); as far as the pixels go, of which a small image has few.
    """
    found = [-i if i < 0 else i for i in range(-radius, length + radius)]
    found = [2 * length - 1 - i if i >= length else i for i in found]
    return [min(max(i, 0), length - 1) for i in found]


def pairs_of_images(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(2, N, H, W) float32 of what a solver is given.

    Raises:
        ValueError: `first` and `second` are not (N, H, W) or (H, W) both, not empty and finite.
    """
    for name, images in (("first", first), ("second", second)):
        if not isinstance(images, np.ndarray) or images.ndim not in (2, 3) or 0 in images.shape:
            found = getattr(images, "shape", type(images).__name__)
            raise ValueError(
                f"`{name}` must be a NumPy array (N, H, W) or (H, W), not empty; got {found}."
            )
    if first.shape != second.shape:
        raise ValueError(f"`second` must be {first.shape} as `first` is, got {second.shape}.")
    sizes = first.shape[-2:]
    images = np.stack([first.reshape(-1, *sizes), second.reshape(-1, *sizes)]).astype(np.float32)
    if not (np.abs(images) < MOST).all():
        raise ValueError(f"`first` and `second` must hold numbers below {MOST:g}; some are not.")
    return images
