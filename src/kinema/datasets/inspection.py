"""What is in a dataset's files: lengths, frame sizes and rates, and which cannot be read."""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from kinema.datasets.types import Dataset, Sample
from kinema.progress import Display
from kinema.skipped import Skipped
from kinema.threads import num_usable_cores
from kinema.video.loop import PLAIN, Reading, Video, each_video
from kinema.video.reader import VideoInfo
from kinema.video.sources import as_source
from kinema.words import number_of, some

_ROUNDED_SECONDS = 1.0
"""A part that is so much too long is one whose end was rounded, or the header's."""


@dataclass(frozen=True, eq=False, repr=False)
class DatasetReport:
    """What is in a dataset's files.

    Attributes:
        dataset: the dataset.
        infos: of the videos that can be read, by sample name.
        unreadable: why the others cannot, by sample name.
    """

    dataset: Dataset
    infos: Mapping[str, VideoInfo]
    unreadable: Mapping[str, str]

    def with_unreadable(self, more: Mapping[str, str]) -> DatasetReport:
        """The same where `more` videos have turned out to be unreadable, by name, further on."""
        return replace(
            self,
            infos={name: info for name, info in self.infos.items() if name not in more},
            unreadable={**more, **self.unreadable},
        )

    def seconds(self, sample: Sample) -> float | None:
        """How long a sample is; None if its file does not say or cannot be read."""
        info = self.infos.get(sample.name)
        whole = None if info is None else _duration(info)
        if info is None or (whole is None and sample.stop_seconds is None):
            return None
        stops = [seconds for seconds in (whole, sample.stop_seconds) if seconds is not None]
        return max(min(stops) - sample.start_seconds, 0.0)

    def _past_the_end(self) -> list[str]:
        """Names of the parts that stop, or even start, after their video ends."""
        names = []
        for sample in self.dataset.samples:
            info = self.infos.get(sample.name)
            whole = None if info is None else _duration(info)
            if whole is not None and (sample.stop_seconds or 0.0) > whole + _ROUNDED_SECONDS:
                names.append(sample.name)
        return names

    def as_mapping(self) -> dict[str, Any]:
        """All of the report as JSON values."""
        dataset = self.dataset
        infos = self.infos.values()
        known = [s for s in map(self.seconds, dataset.samples) if s is not None]
        sizes = Counter((info.width, info.height) for info in infos)
        rates = Counter(None if info.fps is None else round(info.fps, 2) for info in infos)
        return {
            "kind": dataset.kind,
            "root": str(dataset.root),
            "num_videos": len(dataset.samples),
            "num_groups": len({sample.group for sample in dataset.samples}),
            "classes": self._classes(),
            "splits": {
                name: {"train": len(split.train), "test": len(split.test)}
                for name, split in dataset.splits.items()
            },
            "seconds": {
                "total": sum(known),
                "shortest": min(known, default=None),
                "median": statistics.median(known) if known else None,
                "longest": max(known, default=None),
                "num_unknown": len(dataset.samples) - len(known),
            },
            "frame_sizes": [
                {"width": width, "height": height, "videos": count}
                for (width, height), count in sizes.most_common()
            ],
            "frame_rates": [{"fps": fps, "videos": count} for fps, count in rates.most_common()],
            "past_the_end": self._past_the_end(),
            "missing": list(dataset.missing),
            "unreadable": [
                {"name": name, "reason": reason} for name, reason in self.unreadable.items()
            ],
            "notes": list(dataset.notes),
        }

    def _classes(self) -> list[dict[str, Any]]:
        """For each class its name, numbers of videos and groups, seconds, and sides of splits."""
        dataset = self.dataset
        videos = [0] * len(dataset.classes)
        seconds = [0.0] * len(dataset.classes)
        groups: list[set[str]] = [set() for _ in dataset.classes]
        for sample in dataset.samples:
            length = self.seconds(sample) or 0.0
            for label in sample.labels:
                videos[label] += 1
                seconds[label] += length
                groups[label].add(sample.group)
        splits = {
            name: [
                Counter(label for index in side for label in dataset.samples[index].labels)
                for side in (split.train, split.test)
            ]
            for name, split in dataset.splits.items()
        }
        return [
            {
                "name": name,
                "videos": videos[label],
                "groups": len(groups[label]),
                "seconds": seconds[label],
                "splits": {
                    split: {"train": train[label], "test": test[label]}
                    for split, (train, test) in splits.items()
                },
            }
            for label, name in enumerate(dataset.classes)
        ]

    def text(self, *, max_classes: int | None = 20, max_names: int | None = 5) -> str:
        """The report to read: a table of the classes, then a line for each fact.

        Args:
            max_classes: lines of the table; None for all.
            max_names: how many missing and unreadable videos are named.
        """
        facts = self.as_mapping()
        lines = [*_table(facts["classes"], facts["splits"], max_classes), ""]
        say = lines.append
        say(f"kind        {facts['kind']}")
        say(f"root        {facts['root']}")
        classes = number_of(len(facts["classes"]), "class", "classes")
        groups = number_of(facts["num_groups"], "group")
        say(f"videos      {facts['num_videos']} in {classes}, {groups}")
        for name, sides in facts["splits"].items():
            say(f"split {name:<5} {sides['train']} train, {sides['test']} test")
        seconds = facts["seconds"]
        if seconds["median"] is not None:
            shortest, median, longest = (
                f"{name} {seconds[name]:.1f} s" for name in ("shortest", "median", "longest")
            )
            total = f"{seconds['total'] / 60:.1f} min in all"
            say(f"durations   {total}; {shortest}, {median}, {longest}")
        if seconds["num_unknown"]:
            say(f"            {number_of(seconds['num_unknown'], 'video')} of unknown length")
        sizes = [(f"{s['width']}x{s['height']}", s["videos"]) for s in facts["frame_sizes"]]
        rates = [
            ("unknown" if r["fps"] is None else f"{r['fps']:g}/s", r["videos"])
            for r in facts["frame_rates"]
        ]
        for title, values in (("frames", sizes), ("frame rate", rates)):
            if values:
                shown = ", ".join(f"{value} ({count})" for value, count in values[:max_names])
                left = len(values[max_names:]) if max_names is not None else 0
                more = f" and {left} others" if left else ""
                say(f"{title:<11} {shown}{more}")
        if facts["past_the_end"]:
            parts = some(facts["past_the_end"], "part stops", "parts stop")
            say(f"too long    {parts} after the end of the video; what is there of them is taken")
        for title, names in (
            ("missing", facts["missing"]),
            ("unreadable", [f"{u['name']}: {u['reason']}" for u in facts["unreadable"]]),
        ):
            say(f"{title:<11} {len(names) or 'none'}")
            lines += [f"            {name}" for name in names[:max_names]]
            if max_names is not None and len(names) > max_names:
                say(f"            ... and {len(names) - max_names} more")
        lines += [f"note        {note}" for note in facts["notes"]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"DatasetReport({self.dataset!r}, {len(self.infos)} readable, "
            f"{len(self.unreadable)} unreadable)"
        )


def _table(
    classes: Sequence[dict[str, Any]], splits: Iterable[str], max_rows: int | None
) -> list[str]:
    """Lines of a table of the classes, columns aligned."""
    rows = [["class", "videos", "groups", "minutes"]]
    for split in splits:
        rows[0] += [f"{split} train", "test"]
    for entry in classes[:max_rows]:
        row = [entry["name"], entry["videos"], entry["groups"], f"{entry['seconds'] / 60:.1f}"]
        for sides in entry["splits"].values():
            row += [sides["train"], sides["test"]]
        rows.append([str(value) for value in row])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    left = len(classes) - len(rows) + 1
    return [*lines, f"... and {left} more classes"] if left else lines


def inspect(
    dataset: Dataset,
    *,
    decode: bool = False,
    reading: Reading = PLAIN,
    threads: int | None = None,
    progress: bool = False,
) -> DatasetReport:
    """Read the header and the first frame of each video: what is there, what cannot be read.

    Args:
        dataset: from `load`.
        decode: read every frame, to find damage further on; frames and durations are then counted.
        reading: how videos are read.
        threads: videos that are read at once; as many as there are processors by default.
        progress: whether to show a progress bar on standard error.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}.")
    names: defaultdict[Path, list[str]] = defaultdict(list)
    for sample in dataset.samples:
        names[sample.path].append(sample.name)
    infos: dict[str, VideoInfo] = {}
    unreadable: dict[str, str] = {}
    found = each_video(
        map(as_source, names),
        _decoded_info if decode else _info,
        reading=reading,
        threads=threads or num_usable_cores(),
    )
    with _Bar(enabled=progress) as bar:
        bar.start(len(names))
        for source, info in found:
            for name in names[source.path]:
                if isinstance(info, Skipped):
                    unreadable[name] = info.reason
                else:
                    infos[name] = info
            bar.advance()
    return DatasetReport(dataset, infos, unreadable)


class _Bar(Display):
    """Counts videos."""

    def __init__(self, *, enabled: bool) -> None:
        columns = (MofNCompleteColumn(), TextColumn("videos"), BarColumn(), TimeRemainingColumn())
        super().__init__(*columns, enabled=enabled)
        self._done = 0

    def start(self, num_videos: int) -> None:
        self._total = num_videos
        self._task = self._rich.add_task("", total=num_videos)

    def advance(self) -> None:
        self._done += 1
        self._rich.advance(self._task)
        if self._line_is_due():
            print(f"{self._done}/{self._total} videos", file=sys.stderr, flush=True)


def _info(video: Video) -> list[VideoInfo]:
    """What a video says of itself."""
    return [video.reader().info]


def _decoded_info(video: Video) -> list[VideoInfo]:
    """As `_info`, with frames and duration counted."""
    reader = video.reader()
    num_frames = 0
    begin = end = math.nan
    for frame in video.frames(reader):
        begin = frame.start_seconds if not num_frames else begin
        end = frame.stop_seconds
        num_frames += 1
    seconds = end - begin
    counted = replace(
        reader.info,
        num_frames=num_frames,
        duration_seconds=None if math.isnan(seconds) else seconds,
    )
    return [counted]


def _duration(info: VideoInfo) -> float | None:
    """Seconds, by the header or by the number of frames; None if neither is known."""
    if info.duration_seconds is not None:
        return info.duration_seconds
    return info.num_frames / info.fps if info.num_frames and info.fps else None
