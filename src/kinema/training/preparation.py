"""`Preparation`: what is prepared into which file; `write` puts clips there as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from kinema.datasets.types import Dataset, Sample
from kinema.progress import Progress
from kinema.skipped import Skipped
from kinema.training.clip_maker import ClipMaker
from kinema.training.clip_writer import ClipWriter
from kinema.video.loop import Reading
from kinema.words import some


@dataclass
class PrepareReport:
    """What a run of `prepare` did.

    Attributes:
        out: the store.
        num_videos: videos of the dataset.
        num_done: those that this run prepared.
        num_found: those that were there already, or that other processes prepared.
        num_frames: frames that this run put into the store.
        num_bytes: size of the store.
        skipped: videos that could not be read, and why.
        notes: what else the user should know, a line each.
        seconds: how long the run took.
        shared: whether other processes took part.
    """

    out: Path
    num_videos: int
    num_done: int = 0
    num_found: int = 0
    num_frames: int = 0
    num_bytes: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    shared: bool = False

    def summary(self) -> str:
        """The report in a line."""
        line = f"{self.out}: {self.num_done} of {self.num_videos} videos prepared"
        if self.num_found:
            line += f", {self.num_found} {'by others or before' if self.shared else 'were there'}"
        if self.skipped:
            line += f", {len(self.skipped)} could not be read"
        line += f"; {self.num_frames} frames in {self.seconds:.0f} s"
        if not self.shared:
            rate = self.num_frames / self.seconds if self.seconds else 0.0
            line += f", {rate:.0f} frames/s"
        return f"{line}; {self.num_bytes / 1e6:.1f} MB"


@dataclass(frozen=True)
class Preparation:
    """What is prepared, and how.

    Attributes:
        dataset: whose videos.
        out: the file.
        maker: makes their clips.
        reading: how they are read.
        threads: videos that are read at once; None for one on each core.
    """

    dataset: Dataset
    out: Path
    maker: ClipMaker
    reading: Reading
    threads: int | None = None

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the store says of itself."""
        samples = self.dataset.samples
        splits = {
            name: {
                side: [samples[index].name for index in indices]
                for side, indices in (("train", split.train), ("test", split.test))
            }
            for name, split in self.dataset.splits.items()
        }
        first = ("size", "clips", "quality", "seed")
        settings = self.maker.settings()
        return {
            "kind": self.dataset.kind,
            **{name: settings[name] for name in first},
            "classes": list(self.dataset.classes),
            "splits": splits,
            **settings,
        }

    @cached_property
    def tested(self) -> frozenset[str]:
        """Names of the videos that a split tests on."""
        return frozenset(
            self.dataset.samples[index].name
            for split in self.dataset.splits.values()
            for index in split.test
        )

    def report(self) -> PrepareReport:
        """Of a run that has done nothing yet."""
        report = PrepareReport(self.out, len(self.dataset.samples), notes=list(self.dataset.notes))
        if missing := self.dataset.missing:
            report.notes.append(
                f"{len(missing)} listed videos are not there: see `kinema dataset info`."
            )
        return report


@dataclass(frozen=True)
class Prepared:
    """What came of a video.

    Attributes:
        fingerprint: of it.
        segments: when each starts, in seconds, and what each stream keeps of it; None if the store
            has them already.
    """

    fingerprint: str
    segments: Sequence[tuple[float, Mapping[str, Iterable[bytes]]]] | None = None


Outcomes: TypeAlias = Generator[tuple[Sample, Prepared | Skipped], None, None]
"""Videos of the dataset, in its order, and what came of each."""


def clips_of(num_frames: int) -> int:
    """About how many clips so many frames are, for people to read: networks take 16 or so."""
    return num_frames // 16


def another_video(out: Path, name: str) -> ValueError:
    """The error that a store has clips of what a video was before."""
    return ValueError(
        f"{out} holds clips of another video of the name {name}: choose another `out`."
    )


def write(
    preparation: Preparation,
    report: PrepareReport,
    outcomes: Callable[[Mapping[str, str]], Outcomes],
    *,
    sizes: Mapping[str, float],
    bar: Progress,
    patience_seconds: float = 1.0,
) -> None:
    """Put the clips of all videos into the store, and tell the report of it.

    What came of a video is put there in the order of the dataset, each in a transaction: equal
    clips give equal bytes, unless a run before this one was killed.

    Args:
        preparation: into which file.
        report: is filled in.
        outcomes: gives what came of each video; is told the fingerprints of those that the store
            has, by name.
        sizes: by name, for the bar.
        bar: is told of each.
        patience_seconds: see `ClipWriter`.

    Raises:
        StoreInUse: another run has it.
        ValueError: it was begun with other settings or videos, or no video could be read.
        OSError: it cannot be written.
    """
    out, samples = preparation.out, preparation.dataset.samples
    with ClipWriter(out, preparation.about, patience_seconds=patience_seconds) as writer:
        before = writer.fingerprints()
        gone = before.keys() - {sample.name for sample in samples}
        if gone:
            report.notes.append(
                f"no longer in the dataset, but kept in {out}: {some(sorted(gone), 'video')}; "
                "prepare another file to be without them."
            )
        bar.start(len(samples), sum(sizes.values()))
        with contextlib.closing(outcomes(before)) as results:
            for sample, result in results:
                name, size = sample.name, sizes[sample.name]
                about = (name, sample.labels, sample.group)
                if isinstance(result, Skipped):
                    writer.add_skipped(*about, result.reason)
                    report.skipped.append(result)
                    bar.finish_video(size=size)
                elif result.segments is not None:
                    num_frames = writer.add(*about, result.fingerprint, result.segments)
                    report.num_done += 1
                    report.num_frames += num_frames
                    bar.advance(num_clips=clips_of(num_frames), size=size)
                    bar.finish_video(size=size)
                elif result.fingerprint == before[name]:
                    report.num_found += 1
                    bar.finish_video(size=size, found=True)
                else:
                    raise another_video(out, name)
        if not report.num_done + report.num_found:
            first = str(report.skipped[0]) if report.skipped else "there is none"
            raise ValueError(f"no video could be read ({first}).")
        writer.finish()
