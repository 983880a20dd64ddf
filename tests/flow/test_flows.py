"""Frames in, flows out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from kinema.flow.brox import Brox
from kinema.flow.dis import dis_flow
from kinema.flow.flows import METHODS, flow, flows, grey
from kinema.flow.known import end_point_error, known_pair
from kinema.flow.native_brox import brox_flow


def moving(num_frames=4, *, height=64, width=80, step=2):
    """A texture that moves to the right by `step` pixels a frame: (T, H, W) uint8."""
    wide = known_pair(height=height, width=width + step * num_frames).first
    wide = np.clip(np.rint(80 + 0.4 * (wide - 127.5)), 0, 255).astype(np.uint8)
    starts = [step * (num_frames - i) for i in range(num_frames)]
    return np.stack([wide[:, start : start + width] for start in starts])


@pytest.mark.parametrize("method", METHODS)
def test_each_frame_leads_to_the_next(method):
    found = flow(moving(), method=method)
    assert found.shape == (3, 64, 80, 2)
    assert found.dtype == np.float32
    for one in found:
        np.testing.assert_allclose(np.median(one, (0, 1)), (2, 0), atol=0.05)
        inside = one[:, :-6]
        assert end_point_error(inside, np.broadcast_to((2.0, 0.0), inside.shape)) < 0.15


@pytest.mark.parametrize("method", METHODS)
def test_colour_plays_no_part_beyond_its_grey(method):
    greys = moving(3)
    colour = np.repeat(greys[..., None], 3, axis=-1)
    np.testing.assert_array_equal(flow(colour, method=method), flow(greys, method=method))


def test_grey_is_that_of_bt_601():
    red, green, blue = np.eye(3, dtype=np.uint8)[:, None, None] * np.uint8(255)
    assert [int(grey(one)[0, 0]) for one in (red, green, blue)] == [76, 150, 29]


def test_brox_gives_the_same_bits_for_any_number_of_threads():
    frames = moving(6, height=33, width=40)
    settings = Brox(warps=4)
    expected = [brox_flow(a, b, settings=settings) for a, b in pairwise(frames)]
    for threads in (1, 2, 3, 8):
        found = flow(frames, method="brox", brox=settings, threads=threads)
        np.testing.assert_array_equal(found, expected)


def test_frames_are_taken_as_flows_are_asked_for():
    taken = []

    def frames():
        for index, frame in enumerate(moving()):
            taken.append(index)
            yield frame

    found = flows(frames())
    assert not taken
    next(found)
    assert taken == [0, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 8), (11, 30), (16, 16)])
def test_tiny_still_and_black_frames(method, size):
    noise = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    assert np.isfinite(flow(noise, method=method)).all()
    black = np.zeros_like(noise)
    np.testing.assert_array_equal(flow(black, method=method), 0)
    still = np.repeat(noise[:1], 3, axis=0)
    np.testing.assert_allclose(flow(still, method=method), 0, atol=0.01)


def test_one_frame_is_too_few():
    assert list(flows(moving(1))) == []
    with pytest.raises(ValueError, match="`frames` must be at least 2"):
        flow(moving(1))


def test_what_cannot_be_is_refused_before_the_first_frame():
    for keywords, message in (
        ({"method": "magic"}, "`method` must be one of dis, brox, got 'magic'"),
        ({"threads": 0}, "`threads` must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            flows(iter(()), **keywords)
    with pytest.raises(ValueError, match="`frames` must be of one size"):
        flow([np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8)])
    with pytest.raises(ValueError, match=r"`frames` must be .* got \(4, 5, 4\)"):
        flow([np.zeros((4, 5, 4), np.uint8)] * 2)
    with pytest.raises(TypeError, match="`frames` must be NumPy arrays of uint8, got float64"):
        flow([np.zeros((4, 5))] * 2)


def test_dis_refuses_what_is_no_pair():
    image = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="`preset` must be one of ultrafast, fast, medium"):
        dis_flow(image, image, preset="slow")
    with pytest.raises(ValueError, match=r"`second` must be \(4, 5\)"):
        dis_flow(image, image.T)
    with pytest.raises(ValueError, match=r"`first` must be \(H, W\) uint8"):
        dis_flow(image.astype(float), image)


def test_real_frames_drawn_back_by_their_flow_come_near_the_frame_before(ucf101):
    cv2 = pytest.importorskip("cv2")
    from itertools import islice

    from kinema.video.reader import VideoReader

    frames = [grey(one.image) for one in islice(VideoReader(ucf101[0]), 40, 43)]
    y, x = np.mgrid[: frames[0].shape[0], : frames[0].shape[1]].astype(np.float32)
    before = np.abs(frames[1].astype(float) - frames[0]).mean()
    for method, part in (("dis", 0.75), ("brox", 0.6)):
        found = flow(frames[:2], method=method)[0]
        back = cv2.remap(frames[1], x + found[..., 0], y + found[..., 1], cv2.INTER_LINEAR)
        assert np.abs(back.astype(float) - frames[0]).mean() < part * before
