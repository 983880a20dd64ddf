"""`Options`: what a comparison tells the rows that it builds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.video.loop import PLAIN, Reading
from kinema.weights.file import Weights


@dataclass(frozen=True)
class Options:
    """What decides over built-in rows.

    Attributes:
        weights: of C3D, one net or several.
        layer: whose output is C3D's feature.
        stride: frames from clip to clip.
        l2: whether video vectors are L2-normalised.
        cost: C of the SVM; None for inner cross-validation.
        cache: a folder for features.
        threads: CPU threads; None for all.
        progress: whether to show the progress of what takes long.
        reading: how videos are read.

    Raises:
        ValueError: there is no net, a net is named twice, or the cost is no positive number.
    """

    weights: tuple[Weights, ...]
    layer: str = "fc6"
    stride: int = 8
    l2: bool = True
    cost: float | None = None
    cache: Path | None = None
    threads: int | None = None
    progress: bool = False
    reading: Reading = PLAIN

    def __post_init__(self) -> None:
        _check_nets(self.weights)
        if self.cost is not None and not 0 < self.cost < math.inf:
            raise ValueError(f"`cost` must be more than 0 and finite (--C), got {self.cost:g}.")


def _check_nets(nets: Sequence[Weights]) -> None:
    if not nets:
        raise ValueError("`weights` must name at least one net.")
    by_checksum: dict[str, Weights] = {}
    for net in nets:
        if net.sha256 in by_checksum:
            raise ValueError(
                f"`weights` names one net twice ({by_checksum[net.sha256].name}, {net.name}; "
                f"sha256 {net.sha256[:12]}): name it once."
            )
        by_checksum[net.sha256] = net
