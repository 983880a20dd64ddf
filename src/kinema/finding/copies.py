"""Whether two moments show the same footage: `duplicates` for a single pair of sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kinema.finding.footage import footage
from kinema.finding.matching import SIMILARITY, Kept, Matcher, enough
from kinema.skipped import VideoError
from kinema.video.loop import Reading, Video
from kinema.video.sources import Source, fingerprint

AROUND_SECONDS = 1.5
"""What is looked at before and after a moment: a clip of half a second alone tells little."""


def around(source: Source, start: float, stop: float) -> Source:
    """A moment of a video and a little beside it; `stop` may be infinite."""
    if not start > 0 and not stop < float("inf"):
        return source
    stop_seconds = stop + AROUND_SECONDS if stop < float("inf") else None
    return replace(
        source, start_seconds=max(start - AROUND_SECONDS, 0.0), stop_seconds=stop_seconds
    )


class Copies:
    """Compares moments with one.

    Args:
        source: the one.
        cache: a folder for footage.
        reading: how videos are read.
    """

    def __init__(self, source: Source, cache: Path, reading: Reading) -> None:
        self._reading = reading
        self._moments: list[Kept] = []
        self._matcher = Matcher(self._moments, cache, reading)
        self._can_be_read = self._look_at(source)

    def __contains__(self, source: Source) -> bool:
        """Whether a moment shows, in part at least, what the one shows; also mirrored."""
        if not self._can_be_read or not self._look_at(source):
            return False
        found = self._matcher.match(0, len(self._moments) - 1, [False, True])
        return found is not None and enough(found, SIMILARITY) is not None

    def _look_at(self, source: Source) -> bool:
        """Take a moment in; whether it can be read."""
        try:
            shown = footage(Video(source, self._reading))
            mark = fingerprint(source.path)
        except (VideoError, OSError):
            return False
        self._moments.append(Kept(source, mark, len(shown), shown.keys))
        self._matcher.hold(len(self._moments) - 1, shown)
        return True
