"""Find and sort videos: `kinema search`, `classify`, `duplicates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from kinema.cli import options

Cache = Annotated[
    Path | None,
    Parameter(
        help="Folder for what is kept of videos; $KINEMA_CACHE/finding or "
        "~/.cache/kinema/finding by default."
    ),
]
MaxSkipped = Annotated[
    int | None,
    Parameter(
        help="Exit with 1 if more videos than this could not be used; no limit by default.",
        validator=validators.Number(gte=0),
        group=options.VIDEOS,
    ),
]


@options.flags(options.FEATURES)
class Clips:
    """What clips are compared by."""

    weights: options.WeightsName = "c3d-mini"
    layer: str = "fc6"
    """Whose output is the feature."""
    stride: int = 8
    """Frames from the start of one clip to the start of the next."""
    mean: options.Mean = None
    model: options.OwnModel = None
    cache: Cache = None

    def given(self) -> dict[str, Any]:
        """These as keyword arguments; weights of a class of one's own are loaded by it."""
        own = vars(self) | {"weights": options.loaded(self.weights, self.model)}
        return {name: value for name, value in own.items() if name != "model"}
