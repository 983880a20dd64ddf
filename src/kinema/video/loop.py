"""`each_video`: the one loop over videos. A bad video costs one line, wherever it is used.

    sources --read, in threads--> items --use, in the caller's thread--> outcome, or `Skipped`

`read` turns a video into items (batches of clips, a sketch, ...) beside the one who uses them;
`use` turns the items of one video into what it comes to. Both know one video and nothing else:
what is kept, written or counted is the caller's, in the body of its `for`.

Where several things are made of the same videos, see `steps`.

Note [What one video may do]
    Whatever `read` or `use` raises of one video makes it a `Skipped` with that reason, also what
    nobody foresaw, and the loop goes on to the next. An error that the next video would meet too (a
    full disk, no more files to open, an engine that computes wrong) ends the loop, and so does what
    the caller raises itself.

Note [The time of a video]
    `video_seconds` counts from the moment at which a video is opened. It is looked at between
    packets, so a call into FFmpeg that never returns is out of its reach. While the items of one
    video wait because another one has its turn, its time stands still.
"""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kinema.skipped import EngineError, Skipped, VideoError
from kinema.video.reader import Allowance, Frame, VideoReader, check_colours
from kinema.video.sources import Source

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

ENDS_THE_RUN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
"""Errors of the system that every other video would meet, too."""


@dataclass(frozen=True)
class Reading:
    """How videos are read.

    Attributes:
        colours: one of `video.COLOURS`.
        video_seconds: the longest time that a video may take; None is for ever. See Note [The time
            of a video].
    """

    colours: str = "file"
    video_seconds: float | None = None

    def __post_init__(self) -> None:
        check_colours(self.colours)
        if self.video_seconds is not None and not self.video_seconds > 0:
            raise ValueError(f"`video_seconds` must be more than 0, got {self.video_seconds}.")


PLAIN = Reading()
"""As files are, for as long as it takes."""


@dataclass(frozen=True)
class Video:
    """A source whose turn has come, as `read` gets it."""

    source: Source
    reading: Reading = PLAIN
    allowance: Allowance = field(default_factory=Allowance)
    _stopped: Callable[[], bool] = lambda: False

    def reader(self, *, images: bool = True) -> VideoReader:
        """Of the whole file."""
        return VideoReader(
            self.source.path,
            colours=self.reading.colours,
            allowance=self.allowance,
            images=images,
        )

    def frames(self, reader: VideoReader | None = None) -> Iterator[Frame]:
        """The frames of the part that counts; those of a part are numbered from its first one."""
        reader = reader or self.reader()
        part = self.source
        stop = float("inf") if part.stop_seconds is None else part.stop_seconds
        frames = reader.between(part.start_seconds, stop) if part.is_part else iter(reader)
        for frame in frames:
            if self._stopped():  # no plain end, or some would keep it as that of the video
                raise VideoError("nobody waits for it any more.")
            yield frame


def only(source: Source, items: Iterator[Any]) -> Any:
    """The `use` of a `read` that gives one item."""
    return next(items)


def each_video(
    sources: Iterable[Source],
    read: Callable[[Video], Iterable[Item]],
    use: Callable[[Source, Iterator[Item]], Outcome] = only,
    *,
    reading: Reading = PLAIN,
    threads: int = 1,
    ahead: int = 2,
) -> Iterator[tuple[Source, Outcome | Skipped]]:
    """Each source and what it came to, in order. See Note [What one video may do].

    Args:
        sources: the videos.
        read: gives the items of one video; runs in one of the threads.
        use: what the items of one video come to; runs here. Without it `read` gives one item.
        reading: how videos are read.
        threads: videos that are read at once.
        ahead: items of a video that are held in advance.

    Raises:
        OSError: one that would meet every video.
    """
    stopped = threading.Event()
    waiting: deque[_Turn] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="kinema-reader")
    try:
        for source in sources:
            turn = _Turn(source, read, reading, ahead, stopped)
            pool.submit(turn.fill)
            waiting.append(turn)
            if len(waiting) > 2 * threads:
                yield waiting.popleft().outcome(use)
        while waiting:
            yield waiting.popleft().outcome(use)
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


class _Turn:
    """One video on its way through the loop."""

    def __init__(
        self,
        source: Source,
        read: Callable[[Video], Iterable[Any]],
        reading: Reading,
        ahead: int,
        stopped: threading.Event,
    ) -> None:
        self._source, self._read, self._reading = source, read, reading
        self._items: queue.Queue[Any] = queue.Queue(maxsize=ahead)
        self._stopped, self._is_over = stopped, threading.Event()
        self._began: float | None = None  # when it was this video's turn to be used

    def _unwanted(self) -> bool:
        return self._stopped.is_set() or self._is_over.is_set()

    # --- in a thread that reads ---

    def fill(self) -> None:
        """Read the video, and put down its items as they are wanted."""
        allowance = Allowance(self._reading.video_seconds)
        try:
            for item in self._read(Video(self._source, self._reading, allowance, self._unwanted)):
                if not self._put(item, allowance):
                    return
            self._put(_END, allowance)
        except BaseException as error:  # handed over to the one who uses the items
            self._put(_Raised(error), allowance)

    def _put(self, item: Any, allowance: Allowance) -> bool:
        begun = time.monotonic()
        while not self._unwanted():
            try:
                self._items.put(item, timeout=0.1)
            except queue.Full:
                continue
            now = time.monotonic()
            allowance.excuse(max(min(now, self._began or now) - begun, 0.0))
            return True
        return False

    # --- where they are used ---

    def outcome(self, use: Callable[[Source, Iterator[Any]], Any]) -> tuple[Source, Any]:
        """What the video came to."""
        self._began = time.monotonic()
        try:
            return self._source, use(self._source, self._taken())
        except Exception as error:
            return self._source, skipped_or_all(self._source, error)
        finally:
            self._is_over.set()

    def _taken(self) -> Iterator[Any]:
        while (item := self._items.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item


_END = object()


@dataclass(frozen=True)
class _Raised:
    error: BaseException


def skipped_or_all(source: Source, error: Exception) -> Skipped:
    """A video that an error kept from being used; one that every video would meet is raised."""
    if isinstance(error, EngineError):
        raise error
    if isinstance(error, OSError) and error.errno in ENDS_THE_RUN:
        raise error
    return Skipped.of(source, error)
