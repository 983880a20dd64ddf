"""`walk`: several things made of the same videos, each of which is decoded once for all of them.

    video --decode--> frames --shrink--> what a step takes --items--> its items     in a thread
                             --shrink--> ...               --items--> ...
    items --Making.take--> ... --Making.outcome--> `Made`, or `Skipped`             in the loop

A `Step` is one of these things: a net's features, a sketch, a filmstrip. It is pure: a source in,
an outcome out. A video is not decoded at all where every step finds what it made before.

Note [What one step may do]
    As in Note [What one video may do] of `loop`, for each step by itself: a fault of decoding is
    everyone's; one of a step is that step's only, and the others go on. Steps that share a video
    share its time, see Note [The time of a video].

Note [What waits for the slowest step]
    Of a frame each step takes a small part at once (a resized picture, a thumbnail), and these
    parts wait until that step has taken them. It is always the turn of the step for which most are
    waiting, until it gives an item or None. So no more wait than the frames that one item spans: 72
    for a batch of eight clips of C3D, 5 MB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kinema.skipped import Skipped, VideoError
from kinema.video.loop import PLAIN, Reading, Video, each_video, skipped_or_all
from kinema.video.reader import Frame, VideoInfo, spreading
from kinema.video.sources import Source, fingerprint


class Making:
    """What one step makes of one video, where the loop is used: the last item, as it is."""

    _last: Any = None

    def take(self, item: Any) -> None:
        """One more item, in order."""
        self._last = item

    def outcome(self) -> Any:
        """What the video comes to; all its items were taken."""
        return self._last

    def broken(self, error: Exception) -> Any:
        """What it comes to all the same, though an error ended its items; else the error."""
        raise error


@dataclass(frozen=True, eq=False)
class Made:
    """What a step made of a video.

    Attributes:
        value: what it came to.
        mark: the video's `fingerprint` before its first frame was read.
        found: whether it was there before.
    """

    value: Any
    mark: str
    found: bool = False


def nothing_kept(source: Source, mark: str) -> Any:
    """The `find` of a step that keeps nothing."""
    return None


def whole(frame: Frame) -> Frame:
    """The `shrink` of a step that needs frames as they are."""
    return frame


@dataclass(frozen=True, eq=False)
class Step:
    """Something to be made of each video.

    Attributes:
        items: of the source, what its header says, and an iterator over what `shrink` gave of each
            frame, in order, makes items; None says that there is none yet and that it is another
            step's turn. Runs in the thread that decodes. What `survey` gave comes last, if it is
            there.
        shrink: what the step takes of a frame, at once and in the thread; of steps with the same
            function, it is called once.
        making: of a source and its fingerprint, takes its items, where the loop is used.
        find: of a source and its fingerprint, what was made before; None if there is nothing. Runs
            in the thread.
        keep: keeps what is new, where the loop is used. What it raises ends the loop.
        survey: what must be known of all frames before the first is taken, of an iterator over them
            without their images. The video is decoded once more for it, in the thread.
        what: steps of equal ones find, make and keep the same, so one of them will do; None is like
            no other.
    """

    items: Callable[..., Iterator[Any]]
    shrink: Callable[[Frame], Any] = whole
    making: Callable[[Source, str], Making] = lambda source, mark: Making()
    find: Callable[[Source, str], Any] = nothing_kept
    keep: Callable[[Source, Made], object] = lambda source, made: None
    what: Hashable = None
    survey: Callable[[Iterator[Frame]], Any] | None = None


def distinct(steps: Iterable[Step]) -> list[Step]:
    """The first of each `what`, in order."""
    found: dict[Hashable, Step] = {}
    for step in steps:
        found.setdefault(step if step.what is None else step.what, step)
    return [*found.values()]


def at_places(
    positions: Sequence[float], make: Callable[[list[Any]], Any]
) -> Callable[[Source, VideoInfo, Iterator[Any]], Iterator[Any]]:
    """The `Step.items` of what is made of some frames, at places from 0 to 1; see `spread`."""

    def items(source: Source, info: VideoInfo, frames: Iterator[Any]) -> Iterator[Any]:
        for chosen in spreading(frames, positions):
            yield None if chosen is None else make(chosen)

    return items


def walk(
    sources: Iterable[Source],
    steps: Sequence[Step],
    *,
    reading: Reading = PLAIN,
    threads: int = 1,
    ahead: int = 2,
) -> Iterator[tuple[Source, list[Made | Skipped]]]:
    """Each source and what each step made of it, in order; a video is decoded once for all steps.

    See Note [What one step may do] and Note [What waits for the slowest step].

    Args:
        sources: the videos.
        steps: what is to be made of each.
        reading: how videos are read.
        threads: videos that are read at once.
        ahead: items of a video that are held in advance.

    Raises:
        OSError: one that would meet every video; or what `Step.keep` raises.
    """

    def read(video: Video) -> Iterator[Any]:
        mark = fingerprint(video.source.path)
        found = [_found(step, video.source, mark) for step in steps]
        yield mark, found
        wanted = {index: steps[index] for index, one in enumerate(found) if one is None}
        if wanted:
            yield from _items(video, wanted)
            if fingerprint(video.source.path) != mark:
                raise VideoError("it was changed while it was read.")

    def use(source: Source, items: Iterator[Any]) -> list[Made | Skipped]:
        mark, found = next(items)
        return _Together(source, mark, steps, found).outcomes(items)

    for source, outcome in each_video(
        sources, read, use, reading=reading, threads=threads, ahead=ahead
    ):
        outcomes: list[Made | Skipped]
        outcomes = [outcome] * len(steps) if isinstance(outcome, Skipped) else [*outcome]
        for step, made in zip(steps, outcomes, strict=True):
            if isinstance(made, Made) and not made.found:
                step.keep(source, made)
        yield source, outcomes


def _found(step: Step, source: Source, mark: str) -> Any:
    try:
        return step.find(source, mark)
    except Exception as error:
        return _Raised(error)


def _items(video: Video, steps: dict[int, Step]) -> Iterator[tuple[int, Any]]:
    """The items of all steps by their numbers; `_END` or `_Raised` is the last of each."""
    reader = video.reader()
    shrinks = list(dict.fromkeys(step.shrink for step in steps.values()))
    waiting: dict[int, deque[Any]] = {index: deque() for index in steps}

    def shrunk() -> Iterator[dict[Any, Any]]:
        try:
            for frame in video.frames(reader):
                yield {shrink: _tried(shrink, frame) for shrink in shrinks}
        except Exception as error:
            yield dict.fromkeys(shrinks, _Raised(error))

    frames = shrunk()

    def parts(index: int) -> Iterator[Any]:
        mine = waiting[index]
        while True:
            if not mine:
                frame = next(frames, None)
                if frame is None:
                    return
                for other, parts in waiting.items():
                    parts.append(frame[steps[other].shrink])
            part = mine.popleft()
            if isinstance(part, _Raised):
                raise part.error
            yield part

    live = {index: _begun(step, video, reader.info, parts(index)) for index, step in steps.items()}
    while live:
        index = max(live, key=lambda one: len(waiting[one]))
        try:
            item = next(live[index], _END)
        except Exception as error:
            item = _Raised(error)
        if item is _END or isinstance(item, _Raised):
            del live[index]
            waiting.pop(index).clear()  # the error may hold it
        if item is not None:
            yield index, item


def _begun(step: Step, video: Video, info: VideoInfo, parts: Iterator[Any]) -> Iterator[Any]:
    """The items of a step, when they are asked for."""
    known: tuple[Any, ...] = ()
    if step.survey is not None:
        known = (step.survey(video.frames(video.reader(images=False))),)
    yield from step.items(video.source, info, parts, *known)


def _tried(shrink: Callable[[Frame], Any], frame: Frame) -> Any:
    try:
        return shrink(frame)
    except Exception as error:
        return _Raised(error)


class _Together:
    """What some steps make of one video."""

    def __init__(
        self, source: Source, mark: str, steps: Sequence[Step], found: Sequence[Any]
    ) -> None:
        self._source, self._mark = source, mark
        self._outcomes: list[Made | Skipped | None] = [None] * len(steps)
        self._making: dict[int, Making] = {}
        for index, (step, one) in enumerate(zip(steps, found, strict=True)):
            if isinstance(one, _Raised):
                self._try(index, one.again)
            elif one is not None:
                self._outcomes[index] = Made(one, mark, found=True)
            else:
                self._try(index, self._begin, index, step)

    def outcomes(self, items: Iterator[tuple[int, Any]]) -> list[Made | Skipped]:
        """Of all steps, once all items were taken."""
        ended: dict[int, Exception | None] = {}
        fault: Exception | None = None
        try:
            while self._making:
                index, item = next(items)
                if item is _END:
                    ended[index] = None
                elif isinstance(item, _Raised):
                    if not isinstance(item.error, Exception):
                        raise item.error
                    ended[index] = item.error
                elif index in self._making:
                    self._try(index, self._making[index].take, item)
        except StopIteration:
            pass
        except Exception as error:  # of the whole video
            fault = error
        for index in list(self._making):
            self._try(index, self._finish, index, ended.get(index) or fault)
        return [one for one in self._outcomes if one is not None]

    def _begin(self, index: int, step: Step) -> None:
        self._making[index] = step.making(self._source, self._mark)

    def _finish(self, index: int, error: Exception | None) -> None:
        making = self._making[index]
        value = making.outcome() if error is None else making.broken(error)
        self._outcomes[index] = Made(value, self._mark)

    def _try(self, index: int, function: Callable[..., object], *arguments: Any) -> None:
        """What fails is this step's fault, and the others go on."""
        try:
            function(*arguments)
        except Exception as error:
            self._outcomes[index] = skipped_or_all(self._source, error)
            self._making.pop(index, None)


_END = object()


@dataclass(frozen=True)
class _Raised:
    error: BaseException

    def again(self) -> None:
        raise self.error
