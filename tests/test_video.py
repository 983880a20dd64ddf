"""Odd files are read right, bad ones refused with a reason, and one path opens one file."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import struct
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from kinema.video import VideoError, VideoReader, spread

from odd_videos import BAD, ODD, available, make, read_index, write_video

CODECS = {
    "mp4_av1": "libsvtav1",
    "ten_bit": "libx265",
    "webm_vp9": "libvpx-vp9",
    "odd_size": "libvpx-vp9",
}
NOT_SEEN = {
    "lost_group_mkv": "a hole in a Matroska file shows only in FFmpeg's log",
}


def made(tmp_path, name, kinds):
    codec = CODECS.get(name)
    if codec and not available(codec):
        pytest.skip(f"this build of FFmpeg cannot write {codec}")
    return make(tmp_path, kinds[name])


def read_until_error(path):
    """The error that ends reading, and the frames before it."""
    frames = []
    try:
        for frame in VideoReader(path):
            frames.append(frame)
    except (VideoError, FileNotFoundError) as error:
        return error, frames
    raise AssertionError(f"{path} was read to its end")


@pytest.mark.parametrize("name", ODD)
def test_odd_videos_are_read_right(tmp_path, name):
    odd = ODD[name]
    reader = VideoReader(made(tmp_path, name, ODD))
    frames = list(reader)
    assert len(frames) == odd.num_frames
    assert (reader.info.width, reader.info.height) == odd.size
    assert frames[0].image.shape == (odd.size[1], odd.size[0], 3)
    assert all(frame.image.dtype == np.uint8 for frame in frames)
    first = 1 if reader.path.is_dir() else 0
    assert [frame.index for frame in frames] == list(range(first, first + len(frames)))
    if odd.indices is not None:
        assert [read_index(frame.image) for frame in frames] == list(odd.indices)
    if odd.times is not None:
        starts = [frame.start_seconds for frame in frames]
        np.testing.assert_allclose(starts, odd.times, atol=1e-3)
        np.testing.assert_allclose(
            [frame.stop_seconds for frame in frames[:-1]], odd.times[1:], atol=1e-3
        )
        assert not frames[-1].stop_seconds <= frames[-1].start_seconds


def drop_rights_of_root():
    """Permissions hold for root too from the next exec on (Linux's capabilities)."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize("fps", [1, 2, 3])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_slow_videos_with_b_frames_are_whole(tmp_path, fps, ending):
    """Their packets are stored seconds before they are shown; that is no early end."""
    path = tmp_path / f"v.{ending}"
    write_video(path, 30, fps=fps, options={"bf": "3", "preset": "medium"}, width=96, height=72)
    assert [read_index(frame.image) for frame in VideoReader(path)] == list(range(30))


def test_pictures_numbered_from_zero_are_refused(tmp_path):
    for number in range(3):
        (tmp_path / f"{number:06}.jpg").write_bytes(b"x")
    with pytest.raises(VideoError, match="the first is 000001.jpg"):
        VideoReader(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_video_without_permission_is_refused(tmp_path):
    path = made(tmp_path, "unreadable", BAD)
    code = "import sys; from kinema.video import VideoReader; VideoReader(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        preexec_fn=drop_rights_of_root if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
    )
    assert "VideoError: it may not be read (no permission)." in done.stderr


@pytest.mark.parametrize("name", [name for name in BAD if name != "unreadable"])
def test_bad_videos_are_refused_with_a_reason(tmp_path, name):
    path = made(tmp_path, name, BAD)
    if name in NOT_SEEN:
        list(VideoReader(path))
        pytest.xfail(NOT_SEEN[name])
    error, frames = read_until_error(path)
    if name.startswith(("broken", "truncated")):  # no wrong frame before the break
        assert [read_index(frame.image) for frame in frames] == list(range(len(frames)))
    assert isinstance(error, VideoError | FileNotFoundError)
    assert str(error).endswith(".")
    assert "\n" not in str(error)


@pytest.mark.parametrize("name", [name for name in BAD if name.startswith(("trunc", "broken"))])
def test_a_break_is_named_by_its_frame(tmp_path, name):
    path = made(tmp_path, name, BAD)
    error, frames = read_until_error(path)
    if name == "truncated_mp4":  # its index stands at the end
        assert not frames
        return
    assert error.frame_index == len(frames)
    assert 20 <= len(frames) <= 32


# --- frames as OpenCV gives them ------------------------------------------------------------------


def opencv_frames(path):
    capture = cv2.VideoCapture(str(path))
    while True:
        there, image = capture.read()
        if not there:
            return
        yield image[..., ::-1]


def assert_as_opencv(path):
    ours = [frame.image for frame in VideoReader(path)]
    theirs = list(opencv_frames(path))
    assert len(ours) == len(theirs) > 0
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=f"frame {index} of {path}")


def test_real_videos_equal_opencv_bit_for_bit(ucf101):
    for path in ucf101[::40]:
        assert_as_opencv(path)


@pytest.mark.parametrize(
    "name",
    ["avi_mpeg4", "avi_mjpeg", "mkv_h264", "webm_vp9", "ten_bit", "yuv444", "full_range", "bt709",
     "odd_size", "mov_prores", "rotated_90", "rotated_180", "rotated_270", "vfr_mp4"],
)  # fmt: skip
def test_other_kinds_equal_opencv_too(tmp_path, name):
    assert_as_opencv(made(tmp_path, name, ODD))


def test_what_a_video_says_of_itself(tmp_path):
    write_video(tmp_path / "v.mp4", 50, rotation=90, width=240, height=320)
    info = VideoReader(tmp_path / "v.mp4").info
    assert (info.width, info.height, info.rotation_degrees) in {(240, 320, 90), (240, 320, 270)}
    assert (info.num_frames, info.fps, info.codec) == (50, 25.0, "h264")
    assert info.duration_seconds == pytest.approx(2.0)


def test_a_reader_can_be_read_twice(tmp_path):
    write_video(tmp_path / "v.mp4", 20)
    reader = VideoReader(tmp_path / "v.mp4")
    assert [read_index(f.image) for f in reader] == [read_index(f.image) for f in reader]


def test_only_a_few_frames_are_alive_at_once(tmp_path):
    write_video(tmp_path / "v.mp4", 300)
    import weakref

    alive = weakref.WeakSet()
    most = 0
    for frame in VideoReader(tmp_path / "v.mp4"):
        alive.add(frame)
        most = max(most, len(alive))
    assert most <= 3


# --- one path opens one file ----------------------------------------------------------------------

IN_OPEN = 0x20


class Watch:
    """Tells whether a file was opened by anyone, by Linux's inotify."""

    def __init__(self, path):
        self._libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK)
        added = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), IN_OPEN)
        assert min(self._descriptor, added) >= 0, os.strerror(ctypes.get_errno())

    def was_opened(self):
        try:
            event = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return False
        return bool(struct.unpack_from("iI", event)[1] & IN_OPEN)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.parametrize("name", ["ffconcat_named_mp4", "hls", "hls_named_mp4", "dash_named_mp4"])
def test_no_second_file_is_opened(tmp_path, name):
    path = made(tmp_path, name, BAD)
    (other,) = (file for file in tmp_path.iterdir() if file != path)
    watch = Watch(other)
    with pytest.raises(VideoError):
        VideoReader(path)
    assert not watch.was_opened()
    if name == "ffconcat_named_mp4":  # FFmpeg left to itself does open it
        with av.open(str(path), options={"safe": "0"}) as container:
            next(container.decode(video=0))
        assert watch.was_opened()


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_extraction_skips_a_script_without_opening_what_it_names(tmp_path):
    pytest.importorskip("torch")
    from kinema.features import extract

    folder = tmp_path / "videos"
    folder.mkdir()
    path = made(folder, "ffconcat_named_mp4", BAD)
    (other,) = (file for file in folder.iterdir() if file != path)
    watch = Watch(other)
    report = extract([path], out=tmp_path / "out")
    assert [entry["path"] for entry in report.skipped] == [str(path)]
    assert not watch.was_opened()


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/v.mp4", "concat:a.mp4|b.mp4", "pipe:0", "data:video/mp4;base64,AA"]
)
def test_addresses_are_names_of_files_that_are_not_there(name):
    with pytest.raises(FileNotFoundError, match="no such file"):
        VideoReader(name)


def test_a_named_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "v.mp4")  # opening it would wait for ever
    with pytest.raises(VideoError, match="not a plain file"):
        VideoReader(tmp_path / "v.mp4")


@pytest.mark.parametrize("count", [1, 2, 5, 511, 512, 513, 1024, 1025, 5000])
def test_spread_takes_places_of_a_stream_of_unknown_length(count):
    positions = [0, 0.1, 0.5, 0.77, 1]
    found = spread(iter(range(count)), positions)
    exact = [round(position * (count - 1)) for position in positions]
    step = 1
    while -(-count // step) > 512:
        step *= 2
    assert found == [index if index == count - 1 else index - index % step for index in exact]
    assert found[0] == 0
    assert found[-1] == count - 1


def test_spread_of_nothing():
    with pytest.raises(ValueError, match="`items` is empty"):
        spread(iter([]), [0.5])
