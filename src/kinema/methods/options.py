"""`Options`: what a comparison tells the rows that it builds."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.engine.engine import check_computable
from kinema.training.scoring import VIEWS
from kinema.video.loop import PLAIN, Reading
from kinema.weights.file import Weights


@dataclass(frozen=True)
class Learning:
    """How the rows are learned that are networks of their own, see `learned_rows`.

    Attributes:
        width: what their channels and units are multiplied by.
        crop: height and width of their pictures in pixels.
        seconds: about how long the steps of one network may take, for one split.
        iterations: instead, how many steps.
        published: whether the schedules are the papers' own, scaled to that length; else those of
            `training.published.short`.
        views: of each clip that is scored, 1 or 10, see `training.scoring.clip_scores`.
        encoder: weights of lstm-composite that lstm-classifier starts from; None to learn them from
            the training videos first.
        seed: of the first weights and the order of clips.
        flip: whether half of the clips are mirrored while it learns; not where left and right tell
            classes apart.

    Raises:
        ValueError: a value is out of its range.
    """

    width: float = 0.25
    crop: int = 64
    seconds: float = 600.0
    iterations: int | None = None
    published: bool = False
    views: int = 1
    encoder: str | os.PathLike[str] | None = None
    seed: int = 0
    flip: bool = True

    def __post_init__(self) -> None:
        for what in ("width", "seconds", "iterations"):
            value = getattr(self, what)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"`{what}` must be more than 0, got {value:g}.")
        if self.crop < 32:
            raise ValueError(f"`crop` must be at least 32 pixels, got {self.crop}.")
        if self.views not in VIEWS:
            raise ValueError(f"`views` must be 1 or 10, got {self.views}.")
        if self.views > 1 and not self.flip:
            raise ValueError(
                f"`views` {self.views} mirrors clips, which no net has learned without `flip`."
            )


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
        learning: how networks are learned that are rows.
        precision: of C3D's numbers, see `Engine`.

    Raises:
        ValueError: there is no net, a net is named twice, the cost is no positive number, or there
            is no device for the precision.
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
    learning: Learning = Learning()
    precision: str = "fp32"

    def __post_init__(self) -> None:
        _check_nets(self.weights)
        check_computable(self.precision)
        if self.cost is not None and not 0 < self.cost < math.inf:
            raise ValueError(f"`cost` must be more than 0 and finite, got {self.cost:g}.")


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
