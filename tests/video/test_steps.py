"""Several steps on one decode: each video is read once, and a fault stays where it belongs."""

from __future__ import annotations

import errno
import gc
import shutil
import weakref
from typing import ClassVar

import pytest

from kinema.skipped import Skipped, VideoError
from kinema.video.loop import Reading
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source
from kinema.video.steps import Made, Making, Step, at_places, walk, whole

from odd_videos import BAD, make, read_index, write_video

NUM_FRAMES = (40, 1, 33)


@pytest.fixture
def sources(tmp_path):
    for name, count in zip("abc", NUM_FRAMES, strict=True):
        write_video(tmp_path / f"{name}.mp4", count)
    return [as_source(tmp_path / f"{name}.mp4") for name in "abc"]


@pytest.fixture
def decoded(monkeypatch):
    """Indices of all frames that are decoded, by the file's name, a list for each walk of it."""
    walks = []
    walked = VideoReader.__iter__

    def counted(reader):
        indices = []
        walks.append((reader.path.name, indices))
        for frame in walked(reader):
            indices.append(frame.index)
            yield frame

    monkeypatch.setattr(VideoReader, "__iter__", counted)
    return walks


def index_of(frame):
    return read_index(frame.image)


class Sum(Making):
    def __init__(self):
        self.total = 0

    def take(self, item):
        self.total += item

    def outcome(self):
        return self.total


def by(size, made=sum):
    """An item of each `size` frames."""

    def items(source, info, frames):
        held = []
        for frame in frames:
            held.append(frame)
            if len(held) == size:
                yield made(held)
                held.clear()
        if held:
            yield made(held)

    return items


def summing(size, shrink=index_of, **more):
    return Step(by(size), shrink, lambda source, mark: Sum(), **more)


def values(walked):
    return [[one.value if isinstance(one, Made) else one for one in made] for _, made in walked]


def test_each_step_sees_all_frames_in_order_and_each_video_is_decoded_once(sources, decoded):
    steps = [
        summing(1),
        summing(16),
        Step(at_places([0, 0.5, 1], list), index_of),
        Step(by(1000, made=list), index_of),
    ]
    walked = list(walk(sources, steps))
    assert [source for source, _ in walked] == sources
    for count, found in zip(NUM_FRAMES, values(walked), strict=True):
        total, last = sum(range(count)), count - 1
        assert found == [total, total, [0, round(last / 2), last], list(range(count))]
    assert sorted(decoded) == [
        (f"{name}.mp4", list(range(count))) for name, count in zip("abc", NUM_FRAMES, strict=True)
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_order_is_kept_whatever_the_threads(sources, threads):
    found = values(walk(sources * 4, [summing(5), summing(8)], threads=threads))
    assert found == [[sum(range(n))] * 2 for n in NUM_FRAMES * 4]


def test_equal_shrinks_are_called_once_a_frame(sources):
    calls = []

    def shrink(frame):
        calls.append(frame.index)
        return frame.index

    list(walk(sources[:1], [summing(3, shrink), summing(7, shrink)]))
    assert calls == list(range(40))


class Part:
    """A picture that can be looked after."""

    alive: ClassVar = weakref.WeakSet()

    def __init__(self, frame):
        Part.alive.add(self)


@pytest.mark.parametrize("dies_at", [None, 3])
def test_few_frames_wait_for_the_slowest_step(tmp_path, dies_at):
    write_video(tmp_path / "v.mp4", 200, width=64, height=48)
    most = []

    def slow(source, info, frames):
        for held in by(16, made=len)(source, info, frames):
            gc.collect()
            most.append(len(Part.alive))
            yield held

    def quick(source, info, frames):
        for count, _ in enumerate(frames):
            if count == dies_at:
                raise VideoError("enough")
            yield None  # nothing yet
        yield 200

    steps = [Step(quick, Part), Step(slow, Part, lambda source, mark: Sum())]
    ((_, (first, second)),) = walk([as_source(tmp_path / "v.mp4")], steps)
    assert second.value == 200
    assert isinstance(first, Made if dies_at is None else Skipped)
    assert max(most) <= 16 + 2


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["find", "shrink", "items", "making", "take", "outcome"])
def test_a_fault_of_one_step_is_that_steps_only(sources, where):
    class Failing(Sum):
        def __init__(self, name):
            self.name = name
            super().__init__()

        def take(self, item):
            fail("take", self.name)
            super().take(item)

        def outcome(self):
            fail("outcome", self.name)
            return super().outcome()

    def fail(at, name):
        if at == where and name == "a.mp4":
            raise ZeroDivisionError(at)

    def find(source, mark):
        fail("find", source.path.name)

    def shrink(frame):
        # The only video with this many frames.
        fail("shrink", "a.mp4" if frame.index == 35 else "")
        return index_of(frame)

    def items(source, info, frames):
        for number, item in enumerate(by(4)(source, info, frames)):
            if number == 2:
                fail("items", source.path.name)
            yield item

    def making(source, mark):
        fail("making", source.path.name)
        return Failing(source.path.name)

    kept = []
    failing = Step(items, shrink, making, find, lambda source, made: kept.append(made.value))
    found = values(walk(sources, [summing(3), failing, summing(10)]))
    assert found[0] == [
        780,
        Skipped(str(sources[0]), f"unexpected ZeroDivisionError: {where}"),
        780,
    ]
    assert found[1:] == [[0] * 3, [528] * 3]
    assert kept == [0, 528]


def test_a_fault_of_decoding_is_everyones_and_the_items_before_it_come(tmp_path):
    folder = make(tmp_path, BAD["truncated_avi"]) or tmp_path
    (bad,) = [path for path in tmp_path.iterdir() if path.is_file()]
    del folder

    class Partial(Sum):
        def broken(self, error):
            return error.frame_index, self.total

    partial = Step(by(1, made=len), whole, lambda source, mark: Partial())
    steps = [summing(4, lambda frame: 1), partial, Step(at_places([0.5], list))]
    ((_, (first, second, third)),) = walk([as_source(bad)], steps)
    assert first == third
    assert "breaks off" in first.reason
    assert second.value[0] == second.value[1] > 0


@pytest.mark.parametrize("where", ["missing", "text"])
def test_what_cannot_be_opened_is_everyones(sources, tmp_path, where):
    bad = tmp_path / "bad.mp4"
    if where == "text":
        bad.write_text("text")
    found = values(walk([sources[0], as_source(bad), sources[1]], [summing(1), summing(2)]))
    assert found[0] == [780, 780]
    assert found[2] == [0, 0]
    assert found[1][0] == found[1][1]
    assert isinstance(found[1][0], Skipped)


def test_a_video_that_changes_while_it_is_read_is_told(sources):
    def items(source, info, frames):
        yield from by(10)(source, info, frames)
        with open(source.path, "ab") as file:
            file.write(b"more")

    ((_, (one, two)),) = walk(sources[:1], [Step(items, index_of), summing(1)])
    assert one == two
    assert "changed while it was read" in one.reason


@pytest.mark.parametrize("where", ["find", "items", "take", "keep"])
def test_an_error_that_every_video_would_meet_ends_the_walk(sources, where):
    def fail(at):
        if at == where:
            raise OSError(errno.ENOSPC, "No space left on device")

    class Full(Sum):
        def take(self, item):
            fail("take")

    def items(source, info, frames):
        fail("items")
        yield from by(10)(source, info, frames)

    full = Step(
        items,
        index_of,
        lambda source, mark: Full(),
        lambda source, mark: fail("find"),
        lambda source, made: fail("keep"),
    )
    with pytest.raises(OSError, match="No space left"):
        list(walk(sources, [summing(1), full]))


def test_what_keep_raises_is_no_skip(sources):
    def keep(source, made):
        raise PermissionError("read-only")

    with pytest.raises(PermissionError):
        list(walk(sources, [summing(1, keep=keep)]))


# --- what is there already ------------------------------------------------------------------------


def test_what_was_made_is_found_and_decoded_no_more(sources, decoded, tmp_path):
    there = {}

    def kept(name, size):
        return summing(
            size,
            find=lambda source, mark: there.get((name, mark)),
            keep=lambda source, made: there.update({(name, made.mark): made.value}),
        )

    first, second = kept("first", 3), kept("second", 4)
    one = list(walk(sources[:2], [first]))
    assert not any(made.found for _, (made,) in one)
    decoded.clear()
    both = list(walk(sources, [first, second]))
    assert [made.found for _, (made, _) in both] == [True, True, False]
    assert [len(indices) for _, indices in decoded] == [*NUM_FRAMES]
    decoded.clear()
    shutil.move(sources[0].path, tmp_path / "moved.mp4")
    again = list(walk([as_source(tmp_path / "moved.mp4"), *sources[1:]], [first, second]))
    assert values(again) == values(both)
    assert all(made.found for _, outcomes in again for made in outcomes)
    assert decoded == []


def test_steps_share_the_time_of_a_video(sources):
    import time

    def shrink(frame):
        time.sleep(0.03)
        return index_of(frame)

    reading = Reading(video_seconds=0.5)
    found = values(walk(sources, [summing(1), summing(1, shrink)], reading=reading))
    assert found[1] == [0, 0]
    assert "takes longer than 0.5 s" in found[0][0].reason
    assert found[0][0] == found[0][1]


# --- what must be known before -------------------------------------------------------------------


def test_a_survey_sees_all_frames_without_images_before_the_first_is_taken(sources, decoded):
    """It costs one more walk, of its own step; what it raises is its own step's fault."""

    def survey(frames):
        shapes = [frame.image.shape for frame in frames]
        assert set(shapes) == {(0, 0, 3)}
        if len(shapes) == 33:
            raise VideoError("33 are too many.")
        return len(shapes)

    def items(source, info, frames, known):
        yield from ((known, frame) for frame in frames)

    steps = [Step(items, index_of, survey=survey), summing(1)]
    walked = values(walk(sources, steps))
    assert [one for one, _ in walked[:2]] == [(40, 39), (1, 0)]
    assert walked[2][0] == Skipped(str(sources[2].path), "33 are too many.")
    assert [total for _, total in walked] == [sum(range(count)) for count in NUM_FRAMES]
    assert sorted(decoded) == sorted(
        (f"{name}.mp4", list(range(count)))
        for name, count in zip("abc", NUM_FRAMES, strict=True)
        for _ in range(2)
    )
