"""Progress of long work on standard error: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

SECONDS_BETWEEN_LINES = 30.0


class _ClipRate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['clips']} clips, {task.fields['rate']:.1f}/s")


class Display:
    """What shows progress: a bar of some columns in a terminal, a line now and then elsewhere.

    Args:
        columns: of the bar, see `rich.progress`.
        enabled: False shows nothing.
    """

    def __init__(self, *columns: ProgressColumn, enabled: bool) -> None:
        console = Console(stderr=True)
        self._enabled = enabled
        self._lines = enabled and not console.is_terminal
        self._rich = RichProgress(
            *columns,
            console=console,
            disable=not (enabled and console.is_terminal),
            transient=True,
        )
        self._told = time.monotonic()

    def say(self, line: str) -> None:
        """Show a line above the bar."""
        if self._enabled:
            self._rich.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line_is_due(self) -> bool:
        """Whether it is time for a line; asking counts as telling."""
        now = time.monotonic()
        due = self._lines and now - self._told >= SECONDS_BETWEEN_LINES
        if due:
            self._told = now
        return due

    def __enter__(self) -> Self:
        if not self._rich.disable:  # before 14, rich's stop writes an empty line all the same
            self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._rich.disable:
            self._rich.stop()


class Progress(Display):
    """Counts videos and clips; the time left is told by the bytes of video that are still to come.

    Args:
        enabled: False shows nothing, and only measures.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        super().__init__(
            TextColumn("{task.fields[videos]} videos"),
            BarColumn(),
            _ClipRate(),
            TextColumn("left"),
            TimeRemainingColumn(),
            enabled=enabled,
        )
        self._begun = time.monotonic()
        self._num_videos = self._total_videos = self._num_clips = 0
        self._done_size = self._found_size = self._total_size = 0.0

    def start(self, num_videos: int, size: float) -> None:
        """Say how much there is to do: a number of videos and their size in bytes."""
        self._total_videos = num_videos
        self._total_size = size
        self._task = self._rich.add_task("", total=size or None, videos="", clips=0, rate=0.0)

    def advance(self, *, num_clips: int, size: float) -> None:
        """Some clips are done; `size` is how much of the present video's size that is so far."""
        self._num_clips += num_clips
        self._show(self._done_size + size)

    def finish_video(self, *, size: float, found: bool = False, num_videos: int = 1) -> None:
        """A video is over, or several. `found`: done before or elsewhere, so no sign of speed."""
        self._num_videos += num_videos
        self._done_size += size
        self._found_size += size if found else 0.0
        self._show(self._done_size)

    @property
    def seconds(self) -> float:
        """Time since this was made."""
        return time.monotonic() - self._begun

    def _show(self, done_size: float) -> None:
        rate = self._num_clips / max(self.seconds, 1e-9)
        videos = f"{self._num_videos}/{self._total_videos}"
        self._rich.update(
            self._task, completed=done_size, videos=videos, clips=self._num_clips, rate=rate
        )
        if self._line_is_due():
            worked = done_size - self._found_size
            left = self.seconds * (self._total_size - done_size) / worked if worked > 0 else 0.0
            print(
                f"{videos} videos, {self._num_clips} clips, {rate:.1f}/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


class _Fields(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["text"])


class TrainingProgress(Display):
    """Shows a training run: iteration, loss, clips a second, time left.

    Args:
        iterations: of the whole run.
        batch: clips of one iteration.
        enabled: False shows nothing.
    """

    def __init__(self, iterations: int, batch: int, *, enabled: bool) -> None:
        super().__init__(
            _Fields(), BarColumn(), TextColumn("left"), TimeRemainingColumn(), enabled=enabled
        )
        self._iterations, self._batch = iterations, batch
        self._task = self._rich.add_task("", total=iterations, text="")
        self._begun: float | None = None
        self._first = 0
        self._loss = math.nan

    def advance(self, done: int, loss: float) -> None:
        """`done` iterations are done; the loss shown is a running mean."""
        now = time.monotonic()
        if self._begun is None:  # the first one comes with what is set up once
            self._begun, self._first = now, done
            self._loss = loss
        self._loss += 0.05 * (loss - self._loss)
        seconds = now - self._begun
        rate = (done - self._first) * self._batch / seconds if seconds > 0 else 0.0
        text = f"{done}/{self._iterations}, loss {self._loss:.3f}, {rate:.1f} clips/s"
        self._rich.update(self._task, completed=done, text=text)
        if self._line_is_due():
            left = (self._iterations - done) * self._batch / rate if rate else 0.0
            print(f"{text}, {left:.0f} s left", file=sys.stderr, flush=True)


class Counted(Display):
    """Shows how many of some things are done.

    Args:
        what: is counted, or for what.
        total: how many there are.
        enabled: False shows nothing.
    """

    def __init__(self, what: str, total: int, *, enabled: bool) -> None:
        super().__init__(
            _Fields(), BarColumn(), TextColumn("left"), TimeRemainingColumn(), enabled=enabled
        )
        self._what, self._total, self._done = what, total, 0
        self._task = self._rich.add_task("", total=total, text=what)

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        text = f"{self._what}: {self._done}/{self._total}"
        self._rich.update(self._task, completed=self._done, text=text)
        if self._line_is_due():
            print(text, file=sys.stderr, flush=True)


class Transferred(Display):
    """Shows bytes, speed and time left of a download.

    Args:
        name: of what comes.
        enabled: False shows nothing.
    """

    def __init__(self, name: str, *, enabled: bool) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            enabled=enabled,
        )
        self._name = name
        self._task = self._rich.add_task(name, total=None)
        self.start(0, None)

    def start(self, done: int, total: int | None) -> None:
        """An answer begins; what was here before says nothing about speed."""
        self._first = self._done = done
        self._total = total
        self._begun = time.monotonic()
        self._rich.reset(self._task, completed=done, total=total)

    def advance(self, num_bytes: int) -> None:
        """Some bytes have come."""
        self._done += num_bytes
        self._rich.update(self._task, completed=self._done)
        if self._line_is_due():
            seconds = max(time.monotonic() - self._begun, 1e-9)
            speed = max((self._done - self._first) / seconds, 1e-9)
            line = f"{self._name}: {decimal(self._done)}, {decimal(int(speed))}/s"
            if self._total is not None:
                left = (self._total - self._done) / speed
                line += f", {left:.0f} s to {decimal(self._total)}"
            print(line, file=sys.stderr, flush=True)
