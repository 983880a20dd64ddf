"""Index arithmetic by hand and by property; the input pipeline against a separate OpenCV one."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.video.clips import ClipPlan, preprocess, stream_clips
from kinema.video.reader import Frame, VideoError

from small_videos import HeldFrames


def frames(count, *, first=0, fps=25.0):
    """Frames that carry their number in their pixels."""
    for index in range(first, first + count):
        image = np.full((2, 2, 3), index % 256, np.uint8)
        yield Frame(image, index, (index - first) / fps, (index - first + 1) / fps)


def numbers(clip):
    return [int(image[0, 0, 0]) for image in clip.images]


# --- plans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "num_frames", "starts"),
    [
        (ClipPlan(), 16, [0]),
        (ClipPlan(), 23, [0]),
        (ClipPlan(), 24, [0, 8]),
        (ClipPlan(), 43, [0, 8, 16, 24]),
        (ClipPlan(), 15, []),
        (ClipPlan(), 0, []),
        (ClipPlan(stride=16), 50, [0, 16, 32]),
        (ClipPlan(stride=20), 50, [0, 20]),
        (ClipPlan(sampling_rate=2), 47, [0, 8]),
        (ClipPlan(length=8, sampling_rate=2, stride=1), 18, [0, 1, 2]),
    ],
)
def test_starts_by_hand(plan, num_frames, starts):
    assert list(plan.starts(num_frames)) == starts


def test_frames_of_a_clip():
    assert list(ClipPlan(length=4, sampling_rate=3).frame_indices(5)) == [5, 8, 11, 14]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"stride": 0}, ValueError),
        ({"length": -1}, ValueError),
        ({"sampling_rate": 1.5}, TypeError),
        ({"stride": True}, TypeError),
        ({"short": "drop"}, ValueError),
    ],
)
def test_bad_plans_are_refused(options, error):
    with pytest.raises(error, match=next(iter(options))):
        ClipPlan(**options)


# --- streams --------------------------------------------------------------------------------------

plans = st.builds(
    ClipPlan,
    length=st.integers(1, 6),
    stride=st.integers(1, 9),
    sampling_rate=st.integers(1, 3),
)


@given(plan=plans, num_frames=st.integers(1, 60), first=st.sampled_from([0, 1]))
def test_a_stream_gives_the_plans_clips(plan, num_frames, first):
    clips = list(stream_clips(frames(num_frames, first=first), plan))
    assert len(clips) == plan.num_clips(num_frames)
    if plan.starts(num_frames):
        assert [clip.start_frame - first for clip in clips] == list(plan.starts(num_frames))
    for clip in clips:
        whole = [*plan.frame_indices(clip.start_frame)]
        last = first + num_frames - 1
        assert numbers(clip) == [min(index, clip.stop_frame - 1) for index in whole]
        assert clip.stop_frame - 1 <= last
        assert clip.num_padded_frames == sum(index > last for index in whole)
        assert clip.start_seconds == pytest.approx((clip.start_frame - first) / 25)
        assert clip.stop_seconds == pytest.approx((clip.stop_frame - first) / 25)


@given(plan=plans, num_frames=st.integers(1, 60))
def test_with_stride_up_to_the_span_no_frame_is_left_out_but_the_tail(plan, num_frames):
    if plan.stride > plan.span or num_frames < plan.span or plan.sampling_rate > 1:
        return
    clips = list(stream_clips(frames(num_frames), plan))
    used = {number for clip in clips for number in numbers(clip)}
    assert used == set(range(clips[-1].stop_frame))
    assert num_frames - clips[-1].stop_frame < plan.stride


def test_a_stream_holds_no_more_than_a_clip():
    held = HeldFrames()
    for _ in stream_clips(held, ClipPlan()):
        pass
    assert held.most <= 20


def test_a_short_video_is_padded_with_its_last_frame():
    (clip,) = stream_clips(frames(5), ClipPlan())
    assert numbers(clip) == [0, 1, 2, 3, 4] + [4] * 11
    assert (clip.start_frame, clip.stop_frame, clip.num_padded_frames) == (0, 5, 11)
    assert clip.stop_seconds == pytest.approx(5 / 25)


def test_a_short_video_is_refused_on_demand():
    with pytest.raises(VideoError, match="has 5 frames, a clip needs 16"):
        list(stream_clips(frames(5), ClipPlan(short="skip")))


def test_a_video_without_frames_is_refused():
    with pytest.raises(VideoError, match="no frame"):
        list(stream_clips([], ClipPlan()))


def test_listed_starts():
    clips = list(stream_clips(frames(40), ClipPlan(), starts=[3, 3, 20, 24]))
    assert [clip.start_frame for clip in clips] == [3, 3, 20, 24]
    assert numbers(clips[-1]) == list(range(24, 40))


@pytest.mark.parametrize(
    ("starts", "first", "message"),
    [
        ([25], 0, "clip from frame 25 needs frames up to 40, but the last frame is 39"),
        ([0], 1, "numbered from 1, not 0"),
    ],
)
def test_listed_starts_that_do_not_fit(starts, first, message):
    with pytest.raises(VideoError, match=message):
        list(stream_clips(frames(40, first=first), ClipPlan(), starts=starts))


# --- preprocessing --------------------------------------------------------------------------------


def by_opencv(images, mean):
    """The original's input written separately: cv::resize, B,G,R, minus mean, crop."""
    volume = np.empty((3, len(images), 128, 171), np.float32)
    for t, image in enumerate(images):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        small = cv2.resize(bgr, (171, 128))
        for c in range(3):
            volume[c, t] = small[:, :, c]
    return (volume - mean)[:, :, 8:120, 29:141]


def test_equals_a_separate_opencv_pipeline_on_real_clips(ucf101, kinema_data):
    mean = np.load(kinema_data / "means" / "ucf101_train01_16_128_171_mean.npz")["mean"]
    for path in ucf101[::20][:20]:
        capture = cv2.VideoCapture(str(path))
        images = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(16)]
        got = preprocess(images, mean=mean)
        assert got.dtype == np.float32
        assert got.shape == (3, 16, 112, 112)
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, by_opencv(images, mean))


def test_the_mean_is_cropped_at_8_and_29():
    rng = np.random.default_rng(0)
    mean = rng.random((3, 16, 128, 171), np.float32)
    black = np.zeros((16, 240, 320, 3), np.uint8)
    np.testing.assert_array_equal(preprocess(black, mean=mean), -mean[:, :, 8:120, 29:141])
    cropped = np.ascontiguousarray(mean[:, :, 8:120, 29:141])
    np.testing.assert_array_equal(preprocess(black, mean=cropped), -cropped)


def test_channels_are_blue_green_red():
    image = np.zeros((16, 240, 320, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 10, 20, 30  # red, green, blue
    clip = preprocess(image, mean=(1, 2, 3))
    assert [float(clip[c].mean()) for c in range(3)] == [29, 18, 7]
    clip = preprocess(image, mean=(1, 2, 3), channels="RGB")
    assert [float(clip[c].mean()) for c in range(3)] == [9, 18, 27]


def test_other_networks_input():
    image = np.random.default_rng(0).integers(0, 256, (4, 50, 60, 3), dtype=np.uint8)
    got = preprocess(
        image,
        mean=(0, 0, 0),
        resize_to=None,
        crop=(8, 10),
        offset=(3, 4),
        channels="RGB",
        scale=0.5,
    )
    np.testing.assert_array_equal(got, image[:, 3:11, 4:14].transpose(3, 0, 1, 2) / np.float32(2))
    got = preprocess(image, mean=(0, 0, 0), crop=(112, 112), scale=(1.0, 2.0, 4.0))
    plain = preprocess(image, mean=(0, 0, 0), crop=(112, 112))
    np.testing.assert_array_equal(got, plain * np.array([1, 2, 4])[:, None, None, None])


@pytest.mark.parametrize(
    ("images", "options", "error", "message"),
    [
        (np.zeros((16, 9, 9, 3), np.float32), {}, TypeError, "uint8"),
        (np.zeros((16, 9, 9), np.uint8), {}, ValueError, "got shape .9, 9."),
        ([], {}, ValueError, "at least one frame"),
        (
            np.zeros((16, 9, 9, 3), np.uint8),
            {"mean": np.zeros((3, 8, 128, 171))},
            ValueError,
            "mean",
        ),
        (np.zeros((16, 9, 9, 3), np.uint8), {"resize_to": None}, ValueError, "does not fit"),
        (np.zeros((16, 9, 9, 3), np.uint8), {"channels": "YUV"}, ValueError, "channels"),
    ],
)
def test_bad_input_is_refused(images, options, error, message):
    with pytest.raises(error, match=message):
        preprocess(images, **{"mean": (0, 0, 0), **options})


def test_unknown_times_stay_unknown():
    nan = math.nan
    still = [Frame(np.zeros((2, 2, 3), np.uint8), i + 1, nan, nan) for i in range(20)]
    (clip,) = stream_clips(still, ClipPlan())
    assert clip.start_frame == 1
    assert math.isnan(clip.start_seconds)


def test_a_clip_across_a_join_stops_on_the_clock_of_its_first_frame():
    joined = [*frames(20), *(dataclasses.replace(f, index=f.index + 20) for f in frames(20))]
    clips = list(stream_clips(joined, ClipPlan(stride=12)))
    assert [clip.start_frame for clip in clips] == [0, 12, 24]
    assert [clip.start_seconds for clip in clips] == pytest.approx([0, 0.48, 0.16])
    assert [clip.stop_seconds for clip in clips] == pytest.approx([0.64, 1.12, 0.8])
    (apart,) = stream_clips(joined[10:], ClipPlan(length=10, sampling_rate=3))
    assert (apart.start_seconds, apart.stop_seconds) == pytest.approx((0.4, 1.52))
