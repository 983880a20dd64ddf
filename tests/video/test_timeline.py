"""Frames at other rates and times: worked by hand, and against a slow way that has all frames."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.skipped import VideoError
from kinema.video.clips import ClipPlan, stream_clips
from kinema.video.reader import Frame
from kinema.video.timeline import LONGEST_STILL, at_rate, moments

from small_videos import HeldFrames

MS = Fraction(1, 1000)


def shown_at(starts, stop, *, first=0):
    """Frames that begin at some times in seconds, and carry their place in their pixels."""
    for place, start in enumerate(starts):
        image = np.full((1, 1, 3), place % 256, np.uint8)
        following = starts[place + 1] if place + 1 < len(starts) else stop
        yield Frame(image, place + first, float(start), float(following))


def taken(starts, stop, fps):
    return [moment.frame.index for moment in at_rate(moments(shown_at(starts, stop)), fps)]


def numbers(clip):
    return [int(image[0, 0, 0]) for image in clip.images]


# --- another rate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("starts", "stop", "fps", "expected"),
    [
        # Every second frame of five; frame 4 is shown from 0.4 to 0.5.
        ([0, 0.1, 0.2, 0.3, 0.4], 0.5, 5, [0, 2, 4]),
        # Each twice.
        ([0, 0.1, 0.2], 0.3, 20, [0, 0, 1, 1, 2, 2]),
        # At 0, 0.4, 0.8, 1.2: the frame that stands there, not the nearest one (1.2: not 1.3).
        ([0, 0.5, 0.6, 1.3], 1.4, 2.5, [0, 0, 2, 2]),
        # A hole of a second: the frame before it stays.
        ([0, 0.1, 1.1], 1.2, 10, [0, *[1] * 10, 2]),
        # The drawing of Note [Instants], a column being 0.1 s.
        ([0, 0.6, 0.9, 1.2, 2.4], 3.0, 2, [0, 0, 2, 3, 3, 4]),
        # Counted from the first frame, whatever the clock says.
        ([7.3, 7.4, 7.5], 7.6, 5, [0, 2]),
        # Slower than the video is long: its first frame.
        ([0, 0.1, 0.2], 0.3, 1, [0]),
        # One picture without a length.
        ([5], 5, 25, [0]),
    ],
)
def test_frames_at_instants_by_hand(starts, stop, fps, expected):
    assert taken(starts, stop, fps) == expected


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), 25, Fraction(30000, 1001), 30, 50, 60, 120])
@pytest.mark.parametrize("begin", [Fraction(0), Fraction(67, 1000), Fraction(1, 3)])
def test_a_video_at_its_own_rate_stays_as_it_is_in_whole_milliseconds_too(fps, begin):
    exact = [begin + k / Fraction(fps) for k in range(2001)]
    for starts in (exact, [round(start / MS) * MS for start in exact]):
        assert taken(starts[:-1], starts[-1], float(fps)) == list(range(2000))


gaps = st.lists(st.integers(0, 400), min_size=1, max_size=40)


def slowly(gaps, fps):
    """By whole milliseconds and instants of 1/1024 s: which frame stands at each instant.

    All frames are there before the first is taken, and no float is near.
    """
    starts = [Fraction(sum(gaps[:k]), 1000) for k in range(len(gaps) + 1)]
    *starts, stop = starts
    slack = min(MS, 1 / (4 * Fraction(fps)))
    found, k = [], 0
    while (instant := k / Fraction(fps)) < stop - slack:
        found.append(bisect_right(starts, instant + slack) - 1)
        k += 1
    return starts, stop, found or [len(starts) - 1]


@given(gaps=gaps, fps=st.sampled_from([0.5, 2, 8, 12.5, 25, 64, 200]))
def test_a_rate_is_what_a_slow_search_finds(gaps, fps):
    starts, stop, expected = slowly(gaps, fps)
    # Where an instant meets a frame to a nanosecond, floats may say either.
    slack = min(MS, 1 / (4 * Fraction(fps)))
    edges = {start - slack for start in [*starts, stop]}
    if any((edge * Fraction(fps)).denominator == 1 for edge in edges):
        return
    assert taken(starts, stop, fps) == expected


def test_a_frame_that_is_said_to_last_for_years_is_refused():
    with pytest.raises(VideoError, match="frame 1 is shown for 1000000 s; `fps` repeats none"):
        taken([0, 1, 1_000_001], 1_000_002, 25)
    assert len(taken([0, LONGEST_STILL], LONGEST_STILL + 1, 1)) == LONGEST_STILL + 1


def test_time_goes_on_where_a_clock_begins_anew():
    one = list(shown_at([5, 5.1, 5.2], 5.3))
    two = [dataclasses.replace(frame, index=frame.index + 3) for frame in shown_at([1, 1.1], 1.2)]
    found = list(moments(one + two))
    np.testing.assert_allclose([moment.seconds for moment in found], [0, 0.1, 0.2, 0.3, 0.4])
    assert [moment.frame.index for moment in at_rate(found, 5)] == [0, 2, 4]
    # 5, 5.2, and 1.1 of the second part, which is 5.4 on the clock of the first.
    (clip,) = stream_clips(one + two, ClipPlan(length=3, fps=5))
    assert (clip.start_frame, clip.stop_frame, clip.start_seconds) == (0, 5, 5.0)
    assert clip.stop_seconds == pytest.approx(5.5)
    starts = stream_clips(one + two, ClipPlan(length=1, every=0.2))
    assert [clip.start_frame for clip in starts] == [0, 2, 4]


# --- clips ----------------------------------------------------------------------------------------


def test_rows_keep_the_numbers_and_times_of_the_videos_own_frames():
    """0, 1.2, 1.5, 2.7 s; at 2 a second 0 0 0 2 2 2: clips of three, a stride of two."""
    frames = list(shown_at([0, 1.2, 1.5, 2.7], 2.8, first=1))
    clips = list(stream_clips(frames, ClipPlan(length=3, stride=2, fps=2)))
    assert [numbers(clip) for clip in clips] == [[0, 0, 0], [0, 2, 2]]
    assert [(clip.start_frame, clip.stop_frame) for clip in clips] == [(1, 2), (1, 4)]
    assert [(clip.start_seconds, clip.stop_seconds) for clip in clips] == [(0, 1.2), (0, 2.7)]


def test_a_short_video_is_padded_at_its_rate():
    (clip,) = stream_clips(shown_at([0, 0.1, 0.2], 0.3), ClipPlan(length=8, fps=20))
    assert numbers(clip) == [0, 0, 1, 1, 2, 2, 2, 2]
    assert clip.num_padded_frames == 2
    plan = ClipPlan(length=8, fps=20, short="skip")
    with pytest.raises(VideoError, match="it has 6 frames at 20 a second, a clip needs 8"):
        list(stream_clips(shown_at([0, 0.1, 0.2], 0.3), plan))


@pytest.mark.parametrize(
    ("num_frames", "clips", "starts"),
    [
        (43, 1, [13]),  # the middle of 0 ... 27
        (43, 2, [0, 27]),
        (43, 3, [0, 13, 27]),
        (43, 4, [0, 9, 18, 27]),
        (43, 28, list(range(28))),
        (43, 100, list(range(28))),
        (18, 5, [0, 1, 2]),
        (16, 5, [0]),
        (7, 5, [0]),  # padded
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_clips_evenly_by_hand(num_frames, clips, starts, first):
    plan = ClipPlan(clips=clips)
    frames = list(shown_at(range(num_frames), num_frames, first=first))
    found = list(stream_clips(frames, plan, num_frames=plan.count(frames)))
    assert [clip.start_frame - first for clip in found] == starts
    assert len(found) == plan.num_clips(num_frames)
    assert (found[-1].stop_frame - first == num_frames) or clips == 1


@given(
    num_frames=st.integers(4, 300), clips=st.integers(2, 40), sampling_rate=st.sampled_from([1, 2])
)
def test_clips_evenly_begin_at_0_and_end_at_the_end(num_frames, clips, sampling_rate):
    plan = ClipPlan(length=2, sampling_rate=sampling_rate, clips=clips)
    starts = plan.starts(num_frames)
    last = num_frames - 2 * sampling_rate
    assert starts[0] == 0
    assert starts[-1] == last
    assert len(set(starts)) == len(starts) == min(clips, last + 1)
    steps = np.diff(starts)
    assert not len(steps) or steps.max() - steps.min() <= 1


def test_clips_of_a_video_that_has_other_frames_now_are_refused():
    with pytest.raises(VideoError, match="it has 40 frames, but had 43 when they were counted"):
        list(stream_clips(shown_at(range(40), 40), ClipPlan(clips=3), num_frames=43))


@pytest.mark.parametrize(
    ("starts", "every", "expected"),
    [
        (np.arange(10) / 10, 0.3, [0, 3, 6, 9]),
        (np.arange(10) / 10, 0.25, [0, 3, 5, 8]),
        ([0, 0.4, 1.7, 2.0, 2.1, 3.3], 1.0, [0, 2, 3, 5]),  # 0, 1, 2, 3 s
        ([9, 9.4, 10.7, 11.0, 11.1], 1.0, [0, 2, 3]),  # counted from the first frame
        ([0, 0.5, 5.2, 5.5, 6.1], 1.0, [0, 2, 4]),  # 1 ... 5 s meet frame 2: one row
        ([0, 0.9995, 2.0], 1.0, [0, 1, 2]),  # whole milliseconds may miss by half of one
        ([0, 0.998, 1.1, 2.0], 1.0, [0, 2, 3]),
        ([0, 1, 2], 100.0, [0]),
    ],
)
def test_a_row_every_so_many_seconds_by_hand(starts, every, expected):
    frames = shown_at(list(starts), starts[-1] + 0.1)
    found = list(stream_clips(frames, ClipPlan(length=1, every=every)))
    assert [clip.start_frame for clip in found] == expected
    assert [clip.start_seconds for clip in found] == [starts[k] for k in expected]


@given(gaps=gaps, every=st.sampled_from([16, 64, 128, 1024]), length=st.integers(1, 4))
def test_every_is_what_a_slow_search_finds(gaps, every, length):
    """Times of 1/1000 s and periods of 1/1024 s, all frames at hand."""
    gaps = [gap + 3 for gap in gaps]
    starts = [Fraction(sum(gaps[:k]), 1000) for k in range(len(gaps))]
    period, expected = Fraction(every, 1024), []
    for k in range(int(starts[-1] / period) + 2):
        at = next((p for p, start in enumerate(starts) if start + MS >= k * period), None)
        if at is not None and at + length <= len(starts) and at not in expected:
            expected.append(at)
    if any(((start + MS) / period).denominator == 1 for start in starts):
        return
    frames = shown_at(starts, starts[-1] + 1)
    found = list(stream_clips(frames, ClipPlan(length=length, every=float(period))))
    if len(starts) < length:
        assert [clip.num_padded_frames for clip in found] == [length - len(starts)]
    else:
        assert [clip.start_frame for clip in found] == expected


def test_a_rate_and_a_period_count_the_instants_together():
    """At 4 a second the frames of 0, .25, ... s; a row at 0, 0.5, 1 s, of two each."""
    frames = list(shown_at(np.arange(14) / 10, 1.4))
    found = list(stream_clips(frames, ClipPlan(length=2, fps=4, every=0.5)))
    assert [numbers(clip) for clip in found] == [[0, 2], [5, 7], [10, 12]]


@pytest.mark.parametrize("plan", [ClipPlan(fps=8), ClipPlan(every=1), ClipPlan(length=1, fps=2)])
def test_pictures_have_no_times(plan):
    pictures = [Frame(np.zeros((1, 1, 3), np.uint8), k + 1, math.nan, math.nan) for k in range(30)]
    with pytest.raises(VideoError, match="no times, which `fps` and `every` need"):
        list(stream_clips(pictures, plan))


def test_other_samplings_hold_no_more_than_a_clip():
    for plan in (ClipPlan(fps=10), ClipPlan(fps=60), ClipPlan(every=3), ClipPlan(clips=4)):
        held = HeldFrames()
        for _ in stream_clips(held, plan, num_frames=2000):
            pass
        assert held.most <= 20, plan
    held = HeldFrames()
    assert ClipPlan(clips=4).count(iter(held)) == 2000
    assert held.most <= 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fps": 0}, ValueError, "`fps` must be 0.001 to 1000 frames a second, got 0"),
        ({"fps": math.nan}, ValueError, "got nan"),
        ({"fps": "8"}, TypeError, "`fps` must be a number of frames a second, got '8'"),
        ({"every": -1}, ValueError, r"`every` must be 0.001 to 1e\+06 seconds, got -1"),
        ({"every": math.inf}, ValueError, "got inf"),
        ({"clips": 0}, ValueError, "`clips` must be at least 1 clip, got 0"),
        ({"clips": 2.0}, TypeError, "`clips` must be a whole number of clips"),
        ({"clips": 2, "every": 1}, ValueError, "`clips` 2 and `every` 1 both choose where"),
        ({"fps": 8, "sampling_rate": 2}, ValueError, "`fps` 8 and `sampling_rate` 2 both"),
    ],
)
def test_bad_plans_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ClipPlan(**options)


def test_settings_name_what_is_given_alone():
    plain = {"length": 16, "stride": 8, "sampling_rate": 1, "short": "pad"}
    assert ClipPlan().settings() == plain
    assert ClipPlan(fps=8, every=2).settings() == {**plain, "fps": 8.0, "every": 2.0}
    assert ClipPlan(clips=5).settings() == {**plain, "clips": 5}
    with pytest.raises(ValueError, match="depends on the times"):
        ClipPlan(every=1).starts(100)
