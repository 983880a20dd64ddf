"""Flows as bytes in files."""

from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.flow.cache import FlowFile, FlowSettings, kept_flows, to_bytes, to_flow, write_flows
from kinema.flow.flows import flow
from kinema.skipped import Skipped, VideoError
from kinema.video.reader import VideoReader
from kinema.video.synthetic import draw_video, write_video

HALF_A_STEP = 20 / 255


def test_bytes_of_values_worked_by_hand():
    values = [-20, 20, -25, 99, 0, 20 / 255, -20 / 255, 10]
    # 0 lies between 127 and 128; 255 (10 + 20) / 40 = 191.25.
    np.testing.assert_array_equal(to_bytes(np.array(values)), [0, 255, 0, 255, 128, 128, 127, 191])
    np.testing.assert_allclose(
        to_flow(np.array([0, 255, 128], np.uint8)), (-20, 20, 20 / 255), 1e-5
    )
    assert to_bytes(np.array([3.0]), bound_px=3)[0] == 255


@given(st.floats(-20, 20, width=32))
def test_what_is_read_differs_by_at_most_half_a_step(value):
    back = to_flow(to_bytes(np.array([value])))
    assert abs(back[0] - value) <= HALF_A_STEP + 1e-5


@given(st.integers(0, 255))
def test_each_byte_comes_back(value):
    assert to_bytes(to_flow(np.array([value], np.uint8)))[0] == value


@pytest.fixture
def some_flows():
    return np.random.default_rng(0).normal(0, 9, (7, 12, 18, 2)).astype(np.float32)


def test_a_file_holds_all_flows_and_gives_any_range(tmp_path, some_flows):
    file = write_flows(tmp_path / "a.zip", iter(some_flows), FlowSettings())
    assert (file.num_flows, file.height, file.width) == (7, 12, 18)
    np.testing.assert_array_equal(file.read(), to_bytes(some_flows).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(file.read(2, 5), file.read()[2:5])
    assert file.read(7, 7).shape == (0, 2, 12, 18)
    clipped = np.clip(some_flows, -20, 20)
    assert np.abs(some_flows).max() > 20
    assert np.abs(FlowFile(file.path).flow(1, 4) - clipped[1:4]).max() <= HALF_A_STEP + 1e-5
    # A stack of L flows has the channels x, y, x, y, ...
    stack = file.read(0, 3).reshape(6, 12, 18)
    np.testing.assert_array_equal(stack[3], to_bytes(some_flows[1, ..., 1]))


def test_planes_are_pictures_that_other_programs_read(tmp_path, some_flows):
    path = write_flows(tmp_path / "a.zip", some_flows, FlowSettings()).path
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        content = np.frombuffer(file.read("y/000004.png"), np.uint8)
    plane = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(plane, to_bytes(some_flows[4, ..., 1]))


def test_only_what_is_asked_for_is_decoded(tmp_path, some_flows):
    path = write_flows(tmp_path / "a.zip", some_flows, FlowSettings()).path
    content = path.read_bytes()
    begin = content.index(b"y/000005.png")
    path.write_bytes(content[: begin + 40] + bytes(60) + content[begin + 100 :])
    file = FlowFile(path)
    np.testing.assert_array_equal(file.read(0, 5), to_bytes(some_flows[:5]).transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"a.zip: it is damaged at y/000005.png"):
        file.read(5, 6)


def test_the_same_flows_give_the_same_bytes(tmp_path, some_flows):
    first, second = (
        write_flows(tmp_path / name, some_flows, FlowSettings()).path.read_bytes() for name in "ab"
    )
    assert first == second


def test_jpeg_is_smaller_and_off_by_a_few_steps(tmp_path):
    y, x = np.mgrid[:64, :80]
    smooth = np.stack([np.sin(x / 20) * 8, np.cos(y / 15) * 8], -1)[None]
    smooth = smooth + np.random.default_rng(0).normal(0, 0.2, smooth.shape)
    plain = write_flows(tmp_path / "a", smooth, FlowSettings())
    jpeg = write_flows(tmp_path / "b", smooth, FlowSettings(quality=75))
    assert jpeg.path.stat().st_size < plain.path.stat().st_size
    assert np.abs(jpeg.flow() - smooth).mean() < 6 * HALF_A_STEP


def test_ranges_and_files_that_are_none(tmp_path, some_flows):
    file = write_flows(tmp_path / "a.zip", some_flows, FlowSettings())
    for start, stop in ((-1, 2), (3, 2), (0, 8)):
        with pytest.raises(ValueError, match=r"`start` and `stop` must be 0 ... 7 and in order"):
            file.read(start, stop)
    (tmp_path / "b").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b: it is no file of flows, or damaged"):
        FlowFile(tmp_path / "b")
    for about, message in (
        ({"format": "kinema-flow-9"}, "a newer version of Kinema wrote it"),
        ({"format": "other"}, "it is not of the format kinema-flow-1"),
        ([], "it is not of the format kinema-flow-1"),
    ):
        with zipfile.ZipFile(tmp_path / "c", "w") as other:
            other.writestr("flow.json", json.dumps(about))
        with pytest.raises(ValueError, match=message):
            FlowFile(tmp_path / "c")
    with pytest.raises(VideoError, match="fewer than 2 frames"):
        write_flows(tmp_path / "d", [], FlowSettings())
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"method": "magic"}, "`method` must be one of dis, brox"),
        ({"sampling_rate": 0}, "`sampling_rate` must be at least 1 frame, got 0"),
        ({"bound_px": 0}, "`bound_px` must be above 0 pixels, got 0"),
        ({"quality": 101}, "`quality` must be from 1 to 100, got 101"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        FlowSettings(**setting)


def test_a_video_is_found_again_by_its_content_and_settings(tmp_path, monkeypatch):
    videos = tmp_path / "videos"
    frames = draw_video("clockwise", seed=3, num_frames=6, width=64, height=48)
    write_video(videos / "a.mp4", frames)
    (videos / "same.mp4").write_bytes((videos / "a.mp4").read_bytes())
    (videos / "broken.mp4").write_bytes(b"no video")
    write_video(videos / "short.mp4", frames[:1])
    names = [videos / name for name in ("a.mp4", "broken.mp4", "short.mp4", "same.mp4")]
    found = [outcome for _, outcome in kept_flows(names, tmp_path / "cache")]
    first, broken, short, same = found
    assert isinstance(broken, Skipped)
    assert isinstance(short, Skipped)
    assert short.reason == "it has fewer than 2 frames to find a flow between."
    assert first.path == same.path
    read = [frame.image for frame in VideoReader(videos / "a.mp4")]
    np.testing.assert_array_equal(first.read(), to_bytes(flow(read)).transpose(0, 3, 1, 2))

    sparse = FlowSettings(sampling_rate=2)
    ((_, other),) = kept_flows([videos / "a.mp4"], tmp_path / "cache", settings=sparse)
    assert other.path != first.path
    np.testing.assert_array_equal(other.read(), to_bytes(flow(read[::2])).transpose(0, 3, 1, 2))

    other.path.write_bytes(b"damaged")
    ((_, again),) = kept_flows([videos / "a.mp4"], tmp_path / "cache", settings=sparse)
    assert again.num_flows == 2

    def never(*args, **keywords):
        raise AssertionError("it was made again")

    monkeypatch.setattr("kinema.flow.cache.write_flows", never)
    ((_, kept),) = kept_flows([videos / "same.mp4"], tmp_path / "cache")
    np.testing.assert_array_equal(kept.read(), first.read())
