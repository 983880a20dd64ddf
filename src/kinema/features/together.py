"""`fill`: all that is wanted of a video, from one reading of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kinema.skipped import Skipped
from kinema.video.sources import Source


def fill(
    describers: Sequence[Any], videos: Iterable[Source]
) -> Iterator[tuple[Source, Skipped | None]]:
    """Fill the caches of describers; each video and why it cannot be used, in order."""
    videos = list(videos)
    for rows in zip(*(describer.rows(videos) for describer in describers), strict=True):
        bad = next((row for _, row in rows if isinstance(row, Skipped)), None)
        yield rows[0][0], bad
