"""Order, crops and flips of training clips; what is read; which clips a video is judged by."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from kinema.training.clip_store import ClipStore, Segment, StoredVideo
from kinema.training.clip_writer import ClipWriter
from kinema.training.pictures import encode
from kinema.training.sampling import Sampler, even_clips, frame_times, mean_volume, read_clip

from small_videos import draw

VIDEOS = [
    StoredVideo("a", (0,), "a", (Segment(0.0, 50, 0),)),  # three clips of 16
    StoredVideo("b", (1, 2), "b", (Segment(0.0, 16, 50), Segment(3.0, 40, 66))),  # one and two
    StoredVideo("c", (2,), "c", (Segment(0.0, 7, 106),)),  # shorter than a clip: one, padded
]


def sampler(seed=0, size=(128, 171), crop=(112, 112)):
    return Sampler(VIDEOS, length=16, size=size, crop=crop, seed=seed)


def test_the_order_is_a_pure_function_of_seed_and_place():
    first, second = sampler(), sampler()
    places = [*range(40), 3, 17, 100_000]
    backwards = {n: second[n] for n in reversed(places)}
    assert all(first[n] == backwards[n] for n in places)
    assert [first[n] for n in range(40)] != [sampler(seed=1)[n] for n in range(40)]


def test_an_epoch_sees_each_turn_once():
    draws = sampler()
    assert len(draws) == 7
    for epoch in range(5):
        seen = collections.Counter(draws[epoch * 7 + place].segment for place in range(7))
        assert [seen[s] for video in VIDEOS for s in video.segments] == [3, 1, 2, 1]
    orders = {tuple(draws[e * 7 + p].segment for p in range(7)) for e in range(20)}
    assert len(orders) > 10


def test_two_second_clips_have_one_turn_each():
    """The paper's epochs of Sports-1M: five clips of each video (section 3.3)."""
    draws = Sampler(VIDEOS, length=16, size=(9, 9), crop=(9, 9), seed=0, once=True)
    assert len(draws) == 4
    assert len({draws[place].segment for place in range(4)}) == 4


def test_draws_cover_their_ranges_evenly():
    draws = [sampler()[n] for n in range(7000)]
    starts = collections.Counter(d.start for d in draws if d.video == 0)
    assert sorted(starts) == list(range(35))  # 50 - 16 + 1
    tops, lefts = zip(*(d.offset for d in draws), strict=True)
    # C3D v1.1: offsets up to 16 and 59 (v1.0 never drew the last one).
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 16, 0, 59)
    assert abs(np.mean(tops) - 8) < 0.3
    assert abs(np.mean(lefts) - 29.5) < 1
    assert abs(np.mean([d.flip for d in draws]) - 0.5) < 0.03
    labels = collections.Counter(d.label for d in draws if d.video == 1)
    assert set(labels) == {1, 2}
    assert abs(labels[1] / sum(labels.values()) - 0.5) < 0.05
    assert all(d.start == 0 for d in draws if d.video == 2)


def test_nothing_is_mirrored_where_that_is_switched_off():
    draws = Sampler(VIDEOS, length=16, size=(9, 9), crop=(9, 9), seed=0, flip=False)
    mirrored = Sampler(VIDEOS, length=16, size=(9, 9), crop=(9, 9), seed=0)
    assert not any(draws[n].flip for n in range(200))
    assert [draws[n].start for n in range(200)] == [mirrored[n].start for n in range(200)]


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"`crop` \(112, 112\) does not fit into frames of \(100"):
        sampler(size=(100, 171))


@pytest.fixture
def store(tmp_path):
    about = {"size": [36, 48], "classes": ["blue", "red"], "splits": {}, "clips": "whole"}
    with ClipWriter(tmp_path / "x.clips", about) as writer:
        for number, count in enumerate((40, 5, 33)):
            jpegs = [encode(image, 95) for image in draw("red", number, count)]
            writer.add(f"{number}", (1,), f"{number}", "", [(0.0, jpegs)])
        writer.finish()
    return ClipStore(tmp_path / "x.clips")


def test_a_clip_is_cropped_after_its_mean_and_mirrored_with_it(store):
    segment = store.videos[0].segments[0]
    mean = np.random.default_rng(0).uniform(0, 255, (3, 16, 36, 48)).astype(np.float32)
    options = {"length": 16, "mean": mean, "crop": (30, 30), "offset": (2, 11)}
    clip = read_clip(store, segment, 7, **options)
    frames = store.frames(segment, 7, 16).astype(np.float32)
    for t, y, x in [(0, 0, 0), (3, 29, 4), (15, 13, 29)]:
        red, green, blue = frames[t, 2 + y, 11 + x]
        b, g, r = mean[:, t, 2 + y, 11 + x]
        np.testing.assert_array_equal(clip[:, t, y, x], [blue - b, green - g, red - r])
    np.testing.assert_array_equal(
        read_clip(store, segment, 7, **options, flip=True), clip[..., ::-1]
    )


def test_a_short_segment_repeats_its_last_frame(store):
    segment = store.videos[1].segments[0]
    clip = read_clip(store, segment, 0, length=16, mean=(0, 0, 0), crop=(36, 48))
    assert clip.shape == (3, 16, 36, 48)
    for t in range(5, 16):
        np.testing.assert_array_equal(clip[:, t], clip[:, 4])
    assert (clip[:, 3] != clip[:, 4]).any()


def test_the_mean_volume_is_that_of_all_whole_clips(store):
    clips = [
        store.frames(store.videos[0].segments[0], 0, 16),
        store.frames(store.videos[0].segments[0], 16, 16),
        store.frames(store.videos[2].segments[0], 0, 16),
        store.frames(store.videos[2].segments[0], 16, 16),
    ]
    expected = np.mean(np.stack(clips), axis=0).transpose(3, 0, 1, 2)[::-1]
    mean = mean_volume(store, store.videos, length=16, threads=2)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="no training video has 16 frames"):
        mean_volume(store, store.videos[1:2], length=16, threads=1)


def test_even_clips():
    one = StoredVideo("a", (0,), "a", (Segment(0.0, 106, 0),))
    starts = [start for _, start in even_clips(one, length=16, num_clips=10)]
    assert starts == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert [s for _, s in even_clips(VIDEOS[2], length=16, num_clips=10)] == [0]
    short = StoredVideo("a", (0,), "a", (Segment(0.0, 18, 0),))
    assert [s for _, s in even_clips(short, length=16, num_clips=10)] == [0, 1, 2]
    middles = even_clips(VIDEOS[1], length=16, num_clips=10)
    assert [(s.num_frames, start) for s, start in middles] == [(16, 0), (40, 12)]


def test_even_clips_at_a_stride():
    """LRCN's: every 8 frames, and the last one at the video's end."""
    one = StoredVideo("a", (0,), "a", (Segment(0.0, 45, 0),))
    assert [s for _, s in even_clips(one, length=16, stride=8)] == [0, 8, 16, 24, 29]
    assert [s for _, s in even_clips(one, length=16, stride=29)] == [0, 29]
    assert [s for _, s in even_clips(VIDEOS[2], length=16, stride=8)] == [0]
    assert [(s.num_frames, start) for s, start in even_clips(VIDEOS[1], length=16, stride=20)] == [
        (16, 0), (40, 0), (40, 20), (40, 24),
    ]  # fmt: skip
    # Of every third frame, 16 span 46, one more than there are; 15 span 43.
    assert [s for _, s in even_clips(one, length=16, num_clips=5, step=3)] == [0]
    assert [s for _, s in even_clips(one, length=15, num_clips=5, step=3)] == [0, 1, 2]
    for given in ({}, {"num_clips": 2, "stride": 3}):
        with pytest.raises(ValueError, match="one of `num_clips` and `stride` must be given"):
            even_clips(one, length=16, **given)
    with pytest.raises(ValueError, match="`stride` must be at least 1, got 0"):
        even_clips(one, length=16, stride=0)


def test_the_frames_of_a_clip():
    assert frame_times(10, 2, length=4).tolist() == [2, 3, 4, 5]
    assert frame_times(10, 1, length=3, step=4).tolist() == [1, 5, 9]
    assert frame_times(4, 0, length=6).tolist() == [0, 1, 2, 3, 3, 3]
    assert frame_times(4, 0, length=6, short="wrap").tolist() == [0, 1, 2, 3, 0, 1]
    assert frame_times(4, 0, length=4, step=3).tolist() == [0, 3, 3, 3]
    assert frame_times(4, 0, length=4, step=3, short="wrap").tolist() == [0, 3, 2, 1]
    with pytest.raises(ValueError, match="`short` must be one of repeat, wrap, got 'pad'"):
        frame_times(4, 0, length=4, short="pad")


@pytest.mark.parametrize("step", [1, 3, 7])
@pytest.mark.parametrize("short", ["repeat", "wrap"])
def test_a_clip_of_every_so_many_frames(store, step, short):
    """Of 40, 5 and 33 frames: whole, too short, and both."""
    for video in store.videos:
        (segment,) = video.segments
        frames = store.frames(segment)[..., ::-1].transpose(3, 0, 1, 2)
        times = frame_times(segment.num_frames, 0, length=6, step=step, short=short)
        clip = read_clip(
            store, segment, 0, length=6, mean=(0, 0, 0), crop=(36, 48), step=step, short=short
        )
        np.testing.assert_array_equal(clip, frames[:, times])


def test_some_frames_of_a_segment(store):
    segment = store.videos[0].segments[0]
    frames = store.frames(segment)
    for times in ([3], [5, 5, 2], [39, 0], range(40), [7, 8, 9, 9], np.arange(30)[::-2]):
        np.testing.assert_array_equal(store.frames_at(segment, times), frames[[*times]])
    for times in ([40], [-1], []):
        with pytest.raises(ValueError, match="`times` lie outside a segment of 40 frames"):
            store.frames_at(segment, times)


def test_draws_of_every_so_many_frames():
    options = {"length": 8, "size": (9, 9), "crop": (9, 9), "seed": 0, "step": 3, "short": "wrap"}
    draws = Sampler(VIDEOS, **options)
    # Clips of 24 frames, but for the last one's 22: two of 50 frames, one of 16, 40 and 7.
    seen = collections.Counter(draws[n].segment.num_frames for n in range(len(draws)))
    assert seen == {50: 2, 16: 1, 40: 1, 7: 1}
    many = [draws[n] for n in range(2000)]
    assert {(d.step, d.short, d.fast) for d in many} == {(3, "wrap", False)}
    assert {d.start for d in many if d.video == 0} == set(range(50 - 22 + 1))
    assert {d.start for d in many if d.segment.num_frames < 22} == {0}
    fast = [Sampler(VIDEOS, fast=0.5, **options)[n] for n in range(500)]
    assert {(d.step, d.fast, d.variant) for d in fast} == {(3, False, 0), (3, False, 1),
                                                           (6, True, 4), (6, True, 5)}  # fmt: skip
    assert all(d.start + 6 * 7 < d.segment.num_frames for d in fast if d.fast)
    with pytest.raises(ValueError, match="`step` must be at least 1 frame, got 0"):
        Sampler(VIDEOS, **{**options, "step": 0})
    with pytest.raises(ValueError, match="`short` must be one of repeat, wrap"):
        Sampler(VIDEOS, **{**options, "short": "none"})


def test_a_mean_volume_of_videos_that_are_too_short(store):
    with pytest.raises(ValueError, match="no training video has 58 frames"):
        mean_volume(store, store.videos, length=20, threads=1, step=3)
    mean = mean_volume(store, store.videos, length=20, threads=1, step=3, short="wrap")
    clips = []
    for video in store.videos:
        frames = store.frames(video.segments[0])
        clips.append(frames[np.arange(0, 60, 3) % len(frames)])
    expected = np.mean(np.stack(clips), axis=0).transpose(3, 0, 1, 2)[::-1]
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
