"""A short run of the fuzzer, and that it sees what it is there to see."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("the fuzzer reads Linux's books on its children", allow_module_level=True)

from kinema.video.reader import VideoError

import fuzz_videos
from fuzz_videos import Base, Damaged, Runner, Seen, check_past_damage, check_times, damaged_file
from odd_videos import draw_frame

SHORT_RUN = range(176)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("fuzz"))


def test_damaged_videos_give_rows_or_one_reason(runner):
    records = runner.run(SHORT_RUN)
    assert [record["number"] for record in records] == list(SHORT_RUN)
    assert len({record["container"] for record in records}) >= 10
    assert len([record for record in records if record["num_frames"]]) > len(records) / 2
    findings = [fuzz_videos.told(record, 0) for record in records if record["findings"]]
    assert not findings, "\n".join([f"{len(findings)} files:", *findings])


def test_a_number_and_a_seed_name_one_file(runner):
    again = Runner(runner.folder)  # its sound videos are written anew
    for number in (*range(30), 480):
        one, two = (damaged_file(bases, 3, number) for bases in (runner.bases, again.bases))
        assert (one.data, one.steps) == (two.data, two.steps)
    assert damaged_file(runner.bases, 4, 0).data != damaged_file(runner.bases, 3, 0).data


# --- what happens to a child ----------------------------------------------------------------------


def misbehave(damaged, number, folder, tell):
    """Stands in for `try_file`."""
    tell("this step")
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 5:
        time.sleep(60)
    if number == 7:
        raise RuntimeError("a mistake of the fuzzer's own")
    return {"number": number, "findings": []}


def test_a_child_that_dies_or_hangs_costs_one_file(runner):
    records = runner.run(range(9), attempt=misbehave, seconds=3)
    assert [record["number"] for record in records] == list(range(9))
    found = {record["number"]: record["findings"] for record in records if record["findings"]}
    assert {number: kind for number, ((kind, _),) in found.items()} == {
        3: "crash",
        5: "hang",
        7: "own fault",
    }
    assert "during this step, exit code -11" in found[3][0][1]
    assert "test_fuzz_videos.py" in found[5][0][1]  # where it hung
    assert "a mistake of the fuzzer's own" in found[7][0][1]


def test_memory_is_seen():
    with fuzz_videos._Peak() as peak:
        np.ones(100 << 20, np.uint8)
    assert 90 < peak.mebibytes < 140


# --- what is taken for what -----------------------------------------------------------------------


def base_of(num_frames):
    images = np.stack([draw_frame(i, 160, 128) for i in range(num_frames)])
    small = np.stack([fuzz_videos._small(image) for image in images])
    return Base("drawn", "mp4", "mp4", b"", [], small, True), images


def test_frames_are_known_by_their_number_and_smears_by_their_pixels():
    base, images = base_of(3)
    assert fuzz_videos.look(images[2], [base], 0) == (2, True)
    harmed = images[1].copy()
    harmed[:, :8] = 255 - harmed[:, :8]  # beside the blocks of the number
    assert fuzz_videos.look(harmed, [base], 1) == (1, False)
    assert fuzz_videos.look(np.zeros_like(harmed), [base], 1) == (None, False)
    real = Base("real", "avi", "avi", b"", [], base.small, False)
    assert fuzz_videos.look(images[2], [real], 0) == (2, True)
    assert not fuzz_videos.look(harmed, [real], 1)[1]


def shown(*numbers):
    """Frames of these numbers, 25 a second; None is a smeared one."""
    return [Seen(n, n is not None, i / 25, (i + 1) / 25) for i, n in enumerate(numbers)]


@pytest.mark.parametrize(
    ("numbers", "ended", "expected"),
    [
        ((0, 1, 2, 3), True, {}),
        ((2, 3), True, {0: "late"}),
        ((0, 2, 3), True, {1: "gap"}),
        ((0, 1, 1, 2, 3), True, {2: "repeat"}),
        ((0, None, 2, 3), True, {1: "smear"}),
        ((0, None, 3), True, {1: "smear", 2: "gap"}),
        ((0, 1), True, {2: "short"}),
        ((0, 1), False, {}),  # a reason was given
        ((), False, {}),
        ((0, 1, 2, 3, 0, 1, 2, 3), True, {4: "repeat"}),
    ],
)
def test_flaws(numbers, ended, expected):
    base, _ = base_of(4)
    damaged = Damaged(base, bytearray(), [base], [base])
    assert fuzz_videos.flaws(shown(*numbers), damaged, ended=ended) == expected


def test_a_joined_video_begins_anew():
    base, _ = base_of(2)
    damaged = Damaged(base, bytearray(), [base], [base], ["join drawn"])
    assert fuzz_videos.flaws(shown(0, 1, 0, 1), damaged, ended=True) == {}


@pytest.mark.parametrize(
    ("wrong", "reported", "is_finding"),
    [
        ({}, [(3, "packet")], False),  # nothing is lost where two files were joined
        ({3: "smear"}, [(3, "frame")], True),
        ({3: "gap"}, [(2, "packet")], True),
        ({2: "smear"}, [(3, "frame")], False),  # seen before it was reported
        ({0: "late"}, [(0, "packet")], False),  # recordings begin anywhere
        ({0: "smear"}, [(0, "frame")], True),
        ({4: "short"}, [(4, "packet")], False),
    ],
)
def test_what_comes_after_a_report(wrong, reported, is_finding):
    assert bool(check_past_damage(shown(0, 1, 2, 3), wrong, reported)) is is_finding


def test_times():
    base, _ = base_of(3)
    changed = Damaged(base, bytearray(), [base], [base], ["flip_bits"])
    joined = Damaged(base, bytearray(), [base], [base], ["join drawn"])
    assert not check_times(shown(0, 1, 2), changed)
    assert check_times([Seen(0, True, 1.0, 0.9)], changed)
    assert check_times([Seen(0, True, 1.0, float("nan"))], changed)
    back = [Seen(0, True, 1.0, 1.1), Seen(1, True, 0.5, 0.6)]
    assert check_times(back, changed)
    far_back = [Seen(0, True, 9.0, 9.1), Seen(1, True, 0.5, 0.6)]
    assert not check_times(far_back, changed)
    assert fuzz_videos.flaws(far_back, changed, ended=False) == {1: "clock"}
    assert check_times(far_back, joined)
    assert not check_times([Seen(2, True, 9.0, 9.1), Seen(0, True, 0.0, 0.1)], joined)


@pytest.mark.parametrize(
    ("error", "num_frames", "kind"),
    [
        (VideoError("it is no video."), 0, None),
        (VideoError("it breaks.", frame_index=7), 7, None),
        (VideoError("it breaks.", frame_index=7), 8, "reason"),
        (VideoError("it breaks."), 8, "reason"),
        (VideoError("it\nbreaks."), 0, "reason"),
        (VideoError("it breaks"), 0, "reason"),
        (IndexError("list"), 0, "exception"),
        (MemoryError(), 0, "growth"),
    ],
)
def test_reasons(error, num_frames, kind):
    found = fuzz_videos.check_reason(error, num_frames)
    assert [name for name, _ in found] == ([kind] if kind else [])


def test_the_table_counts_by_container():
    kept = {"reason": None, "num_frames": 60, "flaws": {}, "findings": [], "log": []}
    records = [
        {**kept, "container": "mkv"},
        {**kept, "container": "mkv", "flaws": {"gap": 2}, "log": ["matroska: ..."]},
        {**kept, "container": "mp4", "reason": "it breaks.", "flaws": {"smear": 1}},
        {**kept, "container": "mp4", "findings": [("crash", "")], "num_frames": 0},
    ]
    rows = fuzz_videos.table(records)
    assert list(rows) == ["mp4", "mkv", "all"]
    assert {column: count for column, count in rows["mkv"].items() if count} == {
        "files": 2,
        "whole": 1,
        "damage untold": 1,
        "gap": 1,
        "only in the log": 1,
    }
    assert {column: count for column, count in rows["mp4"].items() if count} == {
        "files": 2,
        "broken, told": 1,
        "harm before the reason": 1,
        "crash": 1,
    }
    assert rows["all"]["files"] == 4
    assert fuzz_videos.as_markdown(rows).count("\n") == 4
