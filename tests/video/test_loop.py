"""One loop over videos: in order, one bad video costs one line, and its time is its own."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import pytest

from kinema.skipped import Skipped, VideoError
from kinema.video.loop import Reading, Video, each_video
from kinema.video.sources import Source, as_source

from odd_videos import read_index, write_video

SOURCES = [Source(Path(f"/v/{number}.mp4"), f"{number}.mp4") for number in range(20)]


def number_of(source: Source) -> int:
    return int(source.path.stem)


@pytest.mark.parametrize("threads", [1, 3])
def test_outcomes_come_in_order_whatever_the_threads(threads):
    def read(video):
        time.sleep(0.002 * (number_of(video.source) % 3))
        yield from range(number_of(video.source))

    found = list(each_video(SOURCES, read, lambda source, items: sum(items), threads=threads))
    assert [source for source, _ in found] == SOURCES
    assert [total for _, total in found] == [sum(range(n)) for n in range(20)]


class Unforeseen(Exception):
    pass


@pytest.mark.parametrize("where", ["read", "use", "before anything is read"])
def test_whatever_one_video_raises_names_it_and_the_others_go_on(where):
    def fail_at_three(source, at):
        if at == where and number_of(source) == 3:
            raise Unforeseen("of\na kind")

    def read(video):
        fail_at_three(video.source, "before anything is read")
        for item in range(10):
            if item == 5:
                fail_at_three(video.source, "read")
            yield item

    def use(source, items):
        fail_at_three(source, "use")
        return sum(items)

    found = list(each_video(SOURCES[:6], read, use))
    assert found[3] == (SOURCES[3], Skipped("/v/3.mp4", "unexpected Unforeseen: of a kind"))
    assert [total for _, total in found if isinstance(total, int)] == [45] * 5


@pytest.mark.parametrize("where", ["read", "use"])
def test_an_error_that_every_video_would_meet_ends_the_loop(where):
    full = OSError(errno.ENOSPC, "No space left on device")

    def read(video):
        if where == "read":
            raise full
        yield 1

    def use(source, items):
        raise full

    with pytest.raises(OSError, match="No space left"):
        list(each_video(SOURCES, read, use))


def test_what_the_caller_raises_is_the_callers(tmp_path):
    loop = each_video(SOURCES, lambda video: [1])
    next(loop)
    with pytest.raises(PermissionError):
        loop.throw(PermissionError("out cannot be written"))
    loop.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("kinema-reader")]


def test_few_items_are_held_in_advance():
    made = []

    def read(video):
        for item in range(100):
            made.append(item)
            yield item

    def use(source, items):
        for item in items:
            time.sleep(0.002)
            assert len(made) - 100 * number_of(source) - item <= 1 + 2 + 1 + 3
        return

    assert [outcome for _, outcome in each_video(SOURCES[:2], read, use)] == [None, None]
    assert len(made) == 200


def test_leaving_the_loop_stops_the_reading():
    begun = []

    def read(video):
        begun.append(video.source)
        yield from range(10**9)

    for _ in each_video(SOURCES, read, lambda source, items: next(items), threads=2):
        break
    assert len(begun) <= 5
    assert not [t for t in threading.enumerate() if t.name.startswith("kinema-reader")]


def test_frames_that_nobody_waits_for_do_not_end_as_if_the_video_did(tmp_path):
    """Or what is written where videos are read would be taken for whole."""
    write_video(tmp_path / "a.mp4", 60, width=64, height=48)
    ends = []

    def read(video):
        try:
            yield next(frames := video.frames()).index
            ends.append(len([*frames]))
        except VideoError as error:
            ends.append(str(error))

    def use(source, items):
        return next(items)

    def slow(video):
        for item in read(video):
            yield item
            time.sleep(0.3)  # by now the first one was enough

    ((_, outcome),) = each_video([as_source(tmp_path / "a.mp4")], slow, use)
    assert outcome == 0
    assert ends == ["nobody waits for it any more."]


# --- the time of a video --------------------------------------------------------------------------


def test_a_video_that_takes_too_long_is_skipped(tmp_path):
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", 60, width=64, height=48)
    sources = [as_source(tmp_path / f"{name}.mp4") for name in ("a", "b", "c")]

    def read(video):
        for frame in video.frames():
            if video.source.path.stem == "b":
                time.sleep(0.05)
            yield frame.index

    outcomes = [
        outcome
        for _, outcome in each_video(
            sources, read, lambda source, items: len([*items]), reading=Reading(video_seconds=1.5)
        )
    ]
    assert outcomes[0] == outcomes[2] == 60
    assert "takes longer than 1.5 s" in outcomes[1].reason


def test_waiting_for_another_videos_turn_costs_no_time(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", 60, width=64, height=48)

    def use(source, items):
        first = next(items)
        if source.path.stem == "a":
            time.sleep(1.5)  # b is open by now, and waits
        return first + len([*items])

    sources = [as_source(tmp_path / "a.mp4"), as_source(tmp_path / "b.mp4")]
    reading = Reading(video_seconds=1.0)
    read = {"a": lambda video: range(60), "b": lambda video: (f.index for f in video.frames())}
    outcomes = [
        outcome
        for _, outcome in each_video(
            sources, lambda video: read[video.source.path.stem](video), use, reading=reading
        )
    ]
    assert outcomes == [59, 59]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ValueError, match="`video_seconds` must be more than 0"):
        Reading(video_seconds=seconds)


# --- parts ----------------------------------------------------------------------------------------


def test_a_part_of_a_file_gives_its_frames(tmp_path):
    write_video(tmp_path / "v.mp4", 100)
    part = Source(tmp_path / "v.mp4", "v", start_seconds=1.0, stop_seconds=2.0)
    frames = list(Video(part).frames())
    assert [read_index(frame.image) for frame in frames] == list(range(25, 50))
    assert str(part).endswith("v.mp4#t=1,2")
    assert part.content_key("x") != as_source(tmp_path / "v.mp4").content_key("x")


def test_parts_of_one_file_are_samples_of_their_own_in_every_measure(tmp_path):
    """Two classes in each file, one a second: only who takes the parts can tell them apart."""
    import csv

    import numpy as np

    from kinema import network as networks
    from kinema.datasets.loaders import load
    from kinema.datasets.near_duplicates import sketch
    from kinema.evaluation.compare import compare
    from kinema.video.synthetic import write_video as write
    from kinema.weights.file import random_weights

    from small_videos import draw

    folder = tmp_path / "kinetics"
    folder.mkdir()
    rows = []
    for number in range(6):
        red, blue = (draw(label, number, 32) for label in ("red", "blue"))
        write(folder / f"video{number:06d}.mp4", np.concatenate([red, blue]))
        for label, start in (("red", 0), ("blue", 32 / 25)):
            split = "train" if number < 3 else "val"
            rows.append([label, f"video{number:06d}", start, start + 32 / 25, split])
    with open(folder / "list.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        writer.writerows(rows)
    dataset = load(folder)
    assert len(dataset.samples) == 12
    assert {sample.source.is_part for sample in dataset.samples} == {True}
    net = random_weights(networks.c3d_mini(2, input_shape=(3, 16, 32, 32)), seed=0)
    result = compare(
        dataset, methods=["c3d"], weights=[net], cost=1.0, cache=tmp_path / "c", timed=False,
        pictures=True,
    )  # fmt: skip
    assert result.rows[0].accuracy == 1.0
    lines = result.rows[0].outcomes[0].timelines
    for number, line in zip(result.rows[0].outcomes[0].test, lines, strict=True):
        part = result.sources[number]
        assert line.start[0] == pytest.approx(part.start_seconds, abs=0.021)
        assert line.stop[-1] <= part.stop_seconds + 0.021
    # What a part looks like is what its frames look like, cut out into a file.
    first = result.sources[0]
    write(tmp_path / "cut.mp4", [frame.image for frame in Video(first).frames()])
    whole = as_source(first.path)
    looks = [
        sketch(Video(one)).astype(int) for one in (first, as_source(tmp_path / "cut.mp4"), whole)
    ]
    assert abs(looks[0] - looks[1]).mean() < 3 < abs(looks[0] - looks[2]).mean()
