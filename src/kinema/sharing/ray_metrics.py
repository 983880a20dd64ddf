"""What a run on a Ray cluster shows: one bar here, and values in Ray's dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinema.progress import Progress
from kinema.sharing import claims
from kinema.sharing.chunks import Chunks
from kinema.sharing.claims import Seen
from kinema.sharing.loop import Shared
from kinema.store import Store


@dataclass
class Shown:
    """What the bar and Ray's dashboard show: manifests, and what beats tell of chunks at work."""

    store: Store
    progress: Progress
    num_done: int = 0
    num_clips: int = 0

    def __post_init__(self) -> None:
        self._videos, self._clips, self._size = 0, 0, 0.0
        self._before = (0, 0)
        self._gauges = {
            name: value
            for name, text in (
                ("videos_done", "Videos that are done, or skipped."),
                ("videos_skipped", "Videos that were skipped."),
                ("videos_left", "Videos that are left."),
                ("clips_done", "Clips whose features are there."),
            )
            if (value := gauge(name, text)) is not None
        }

    def start(self, parts: Chunks, found: Shared) -> None:
        """Begin with what was done before."""
        self._before = _sums(found)
        self._videos, self._clips = sum(t.num_videos for t in found.rows.values()), self._before[1]
        self._size = float(sum(parts.sizes[chunk] for chunk in found.rows))
        self.progress.start(len(parts.names), sum(parts.sizes))
        self.progress.finish_video(size=self._size, found=True, num_videos=self._videos)

    def show(self, parts: Chunks, found: Shared, seen: Mapping[int, Seen]) -> bool:
        """Show what is done now; tells whether it is more than before."""
        done, clips = _sums(found)
        self.num_done, self.num_clips = done - self._before[0], clips - self._before[1]
        videos = sum(totals.num_videos for totals in found.rows.values())
        size = float(sum(parts.sizes[chunk] for chunk in found.rows))
        for chunk, last in seen.items():
            if chunk not in found.rows and chunk < len(parts):
                rows = claims.read_beat(self.store, claims.key_of(chunk, last.generation)).rows
                videos += len(rows)
                clips += sum(row.num_clips for row in rows)
                size += parts.sizes[chunk] * len(rows) / len(parts[chunk])
        is_more = videos > self._videos
        if clips > self._clips:  # a chunk that begins anew does not take them back
            self.progress.advance(num_clips=clips - self._clips, size=0.0)
        self.progress.finish_video(size=size - self._size, num_videos=videos - self._videos)
        self._videos, self._clips, self._size = videos, max(clips, self._clips), size
        values = {
            "videos_done": videos,
            "videos_skipped": len(found.skipped),
            "videos_left": len(parts.names) - videos,
            "clips_done": clips,
        }
        for name, value in self._gauges.items():
            value.set(values[name])
        return is_more


def _sums(found: Shared) -> tuple[int, int]:
    """Tables and clips that manifests tell of."""
    totals = found.rows.values()
    return (
        sum(each.num_videos - len(each.skipped) for each in totals),
        sum(each.num_clips for each in totals),
    )


def gauge(name: str, text: str) -> Any:
    """A value in Ray's dashboard, called kinema_<name>; None where Ray takes none."""
    try:
        from ray.util.metrics import Gauge

        return Gauge(f"kinema_{name}", text)
    except Exception:  # by a client of a cluster elsewhere
        return None


class Metered(Progress):
    """Tells Ray's dashboard what this actor does."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        from ray.util.metrics import Counter

        self._counters = {
            name: Counter(f"kinema_actor_{name}", f"{name.capitalize()} that this actor has done.")
            for name in ("videos", "clips")
        }

    def advance(self, *, num_clips: int, size: float) -> None:
        """Some clips are done."""
        super().advance(num_clips=num_clips, size=size)
        if num_clips > 0:
            self._counters["clips"].inc(num_clips)

    def finish_video(self, *, size: float, found: bool = False, num_videos: int = 1) -> None:
        """Videos are over."""
        super().finish_video(size=size, found=found, num_videos=num_videos)
        if num_videos > 0 and not found:
            self._counters["videos"].inc(num_videos)
