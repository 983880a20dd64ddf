"""Footage: bins worked by hand, clocks that begin anew, borders, the cache, bounded memory."""

from __future__ import annotations

import math

import av
import cv2
import numpy as np
import pytest

from kinema.finding import footage as footages
from kinema.finding.footage import Clock, footage, step
from kinema.video.sources import find_videos
from kinema.video.steps import walk
from kinema.video.synthetic import write_video

import odd_videos


def grey(value: int, shape=(48, 64)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def test_bins_are_means_of_what_is_shown(tmp_path):
    """25 frames a second, 40 ms each: bin 0 holds frames 0, 1 and half of 2."""
    levels = [0, 100, 200, 40, 80, 120]
    write_video(tmp_path / "v.mp4", [grey(50 + level // 2) for level in levels])
    found = footage(tmp_path / "v.mp4")
    shown = [50 + level / 2 for level in levels]
    expected = [
        (shown[0] + shown[1] + shown[2] / 2) / 2.5,
        (shown[2] / 2 + shown[3] + shown[4]) / 2.5,
        shown[5],
    ]
    assert found.bins.shape == (3, 12, 16)
    np.testing.assert_allclose(found.bins.mean(axis=(1, 2)), expected, atol=1.5)
    np.testing.assert_allclose(found.seconds, [0, 0.1, 0.2, 0.24], atol=1e-6)


def test_other_frame_rates_have_the_same_bins(tmp_path):
    fine = [grey(60 + 2 * index) for index in range(60)]
    write_video(tmp_path / "fast.mp4", fine, fps=60)
    write_video(tmp_path / "slow.mp4", fine[1::4], fps=15)
    fast, slow = (footage(tmp_path / f"{name}.mp4") for name in ("fast", "slow"))
    assert len(fast) == len(slow) == 10
    assert np.abs(fast.bins.astype(int) - slow.bins).max() <= 3


def test_a_key_picture_a_second(tmp_path):
    for frames, keys in ((3, 1), (12, 1), (25, 1), (26, 2), (60, 3)):
        write_video(tmp_path / f"{frames}.mp4", [grey(100)] * frames)
        assert len(footage(tmp_path / f"{frames}.mp4").keys) == keys, frames


def test_black_borders_are_taken_off(tmp_path):
    picture = cv2.resize(
        np.random.default_rng(0).integers(60, 250, (6, 8, 3), np.uint8), (160, 120)
    )
    bars = cv2.copyMakeBorder(picture, 20, 40, 32, 0, cv2.BORDER_CONSTANT)
    write_video(tmp_path / "plain.mp4", [picture] * 5)
    write_video(tmp_path / "bars.mp4", [bars] * 5)
    plain, bordered = footage(tmp_path / "plain.mp4"), footage(tmp_path / "bars.mp4")
    assert np.abs(plain.bins.astype(int) - bordered.bins).max() <= 8
    np.testing.assert_allclose(bordered.part, [20 / 180, 140 / 180, 32 / 192, 1], atol=0.02)
    write_video(tmp_path / "dark.mp4", [grey(5)] * 5)
    np.testing.assert_array_equal(footage(tmp_path / "dark.mp4").part, [0, 1, 0, 1])


def test_a_clock_that_begins_anew_goes_on(tmp_path):
    parts = [tmp_path / name for name in ("a.ts", "b.ts")]
    for number, part in enumerate(parts):
        odd_videos.write_video(
            part, 30, codec="mpeg2video", first_index=30 * number, options={"bf": "2"}, audio=True
        )
    whole = tmp_path / "whole.ts"
    odd_videos.join(whole, *parts)
    found = footage(whole)
    assert len(found) == 24  # 60 frames, 25 a second
    assert bool(found.anew[0])
    np.testing.assert_allclose(np.diff(found.seconds), 0.1, atol=1e-6)


def test_the_clock_by_hand():
    clock = Clock()
    assert clock.shown(5.0, 5.5) == (5.0, 0.5)
    assert clock.shown(1.0, 2.0) == (5.5, 1.0)  # anew
    assert clock.shown(2.0, 2.0) == (6.5, 0.04)  # it does not say when it stops
    assert clock.begins_anew
    folder = Clock()
    assert [folder.shown(math.nan, math.nan)[0] for _ in range(3)] == pytest.approx([0, 0.04, 0.08])
    assert not folder.is_known


def test_a_wrong_time_stamp_does_not_fill_the_memory(tmp_path):
    times = (0.0, 0.04, 0.08, 90000.0, 90000.04)
    odd_videos.write_video(tmp_path / "v.mkv", 5, timestamps=times)
    found = footage(tmp_path / "v.mkv")
    assert 600 <= len(found) <= 603
    assert found.seconds[-1] == pytest.approx(90000.08, abs=0.05)
    assert found.second_of(len(found) - 1) == pytest.approx(90000.0, abs=0.1)


def test_folders_of_pictures_have_no_times(tmp_path):
    folder = odd_videos.make(tmp_path, odd_videos.ODD["pictures"])
    found = footage(folder)
    assert len(found) == 5  # 12 pictures, 25 a second
    assert np.isnan(found.seconds).all()


def test_two_hours_are_small():
    """A bin is 192 bytes and a time of 8, a key picture 432: two hours stay below 20 MB."""
    bins = 2 * 3600 / footages.BIN_SECONDS
    a_bin = footages.HEIGHT * footages.WIDTH + 8
    a_key = footages.KEY_HEIGHT * footages.KEY_WIDTH / footages.BINS_PER_KEY
    assert bins * (a_bin + a_key) < 20e6


def test_the_cache_is_found_again_and_a_damaged_file_made_anew(tmp_path, monkeypatch):
    write_video(tmp_path / "v" / "a.mp4", [grey(80 + index) for index in range(30)])
    sources, cache = find_videos([tmp_path / "v"]), tmp_path / "cache"

    def made():
        ((_, (one,)),) = walk(sources, [step(cache)])
        return one

    first = made()
    (file,) = cache.iterdir()
    content = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(av, "open", None)
        again = made()
    assert again.found
    np.testing.assert_array_equal(again.value.bins, first.value.bins)
    file.write_bytes(content[:100])
    assert not made().found
    assert file.read_bytes() == content
