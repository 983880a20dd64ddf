"""What a run of `extract` did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kinema.skipped import Skipped


@dataclass
class ExtractionReport:
    """What a run of `extract` did.

    Attributes:
        out: the folder, or its URL.
        num_videos: videos asked for.
        num_done: tables written by this run.
        num_found: tables that were there already.
        num_clips: rows written by this run.
        partial: names of videos that broke and whose rows before that were kept.
        notes: what else the user should know, a line each.
        skipped: videos that have no table, and why; absolute paths, or names in a shared run, of
            which they are those of all processes.
        seconds: how long the run took.
        shared: whether other processes took part.
    """

    out: Path | str
    num_videos: int
    num_done: int = 0
    num_found: int = 0
    num_clips: int = 0
    partial: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0
    shared: bool = False

    def summary(self) -> str:
        """The report in a line or two."""
        rate = self.num_clips / self.seconds if self.seconds else 0.0
        line = f"{self.out}: {self.num_done} of {self.num_videos} videos extracted"
        if self.num_found:
            line += f", {self.num_found} {'by others or before' if self.shared else 'were there'}"
        if self.skipped:
            where = f"`kinema status {self.out}`" if self.shared else f"{self.out}/skipped.jsonl"
            line += f", {len(self.skipped)} skipped (see {where})"
        return f"{line}; {self.num_clips} clips in {self.seconds:.0f} s, {rate:.1f} clips/s"
