"""Odd files are read right, bad ones refused with a reason, and one path opens one file."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import io
import itertools
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from kinema.video.clips import ClipPlan, stream_clips
from kinema.video.reader import Allowance, VideoError, VideoReader, spread

from odd_videos import (
    BAD,
    ODD,
    available,
    draw_frame,
    join,
    make,
    read_index,
    with_matrix,
    with_number,
    without_ts_packet,
    write_video,
)

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
    code = "import sys; from kinema.video.reader import VideoReader; VideoReader(sys.argv[1])"
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


# --- whose colours --------------------------------------------------------------------------------


def experiment():
    """experiments/colours.py, which makes the table of docs/fidelity.md."""
    place = Path(__file__).parent.parent.parent / "experiments" / "colours.py"
    spec = importlib.util.spec_from_file_location("colours", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_of_colours_holds(tmp_path):
    colours = experiment()
    results = json.loads(colours.RESULTS.read_text())
    kept = results["opencv"].get(cv2.__version__)
    if kept is None:
        pytest.skip(f"the table has no column for OpenCV {cv2.__version__}")
    for name, kind in colours.KINDS.items():
        if not available(kind.codec) or name.startswith("BT.2020"):
            continue  # OpenCV takes 5 seconds to set each conversion up; Display P3 stands for all
        path = tmp_path / kind.file_name
        colours.write(path, kind)
        found = colours.compared(path, name)["opencv"]
        for setting, difference in kept[name].items():
            if difference is None or difference["largest"] == 0:
                assert found[setting] == difference, (name, setting)
            else:  # another encoder may write other pictures
                assert found[setting]["mean"] == pytest.approx(difference["mean"], rel=0.2)


def test_the_page_shows_the_table_of_colours():
    colours = experiment()
    page = (colours.DOCS / "fidelity.md").read_text()
    shown = page.partition(colours.BEGIN)[2].partition(colours.END)[0]
    assert shown == colours.table(json.loads(colours.RESULTS.read_text()))


def test_original_colours_are_bt_601_whatever_the_file_names(tmp_path):
    """Measured with OpenCV 4.11: one colour, (192, 48, 32), in a file of BT.709."""
    path = tmp_path / "v.mp4"
    luma, blue, red = 63, 106, 184  # BT.709, 8 bits, narrow range
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = 1
        planes = [np.full((64, 64), luma), np.full((16, 64), blue), np.full((16, 64), red)]
        frame = av.VideoFrame.from_ndarray(np.vstack(planes).astype(np.uint8), format="yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    def by(red_of_v, blue_of_u, green_of_v, green_of_u):
        y, u, v = 255 / 219 * (luma - 16), blue - 128, red - 128
        return y + red_of_v * v, y - green_of_v * v - green_of_u * u, y + blue_of_u * u

    for setting, expected in [
        ("file", by(1.793, 2.112, 0.533, 0.213)),
        ("original", by(1.596, 2.017, 0.813, 0.391)),
    ]:
        (frame,) = VideoReader(path, colours=setting)
        np.testing.assert_allclose(frame.image.mean(axis=(0, 1)), expected, atol=3)
    with pytest.raises(ValueError, match="`colours` must be one of file, original"):
        VideoReader(path, colours="bt601")


def test_writing_a_test_video_leaves_the_priority_of_this_process(tmp_path):
    if not available("libsvtav1") or not hasattr(os, "sched_getscheduler"):
        pytest.skip("no libsvtav1, or no priorities to read")
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    write_video(tmp_path / "v.mp4", 4, codec="libsvtav1", width=160, height=120)
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before


@pytest.mark.parametrize("name", ["avi_mpeg4", "mp4_av1", "full_range", "gray", "gif", "mov_prores",
                                  "alpha_png", "yuv444"])  # fmt: skip
def test_colours_that_are_not_named_are_the_same_in_both_settings(tmp_path, name):
    path = made(tmp_path, name, ODD)
    both = [VideoReader(path, colours=colours) for colours in ("file", "original")]
    for frame, same in zip(*both, strict=True):
        np.testing.assert_array_equal(frame.image, same.image)


# --- times ----------------------------------------------------------------------------------------

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="there is no ffmpeg program"
)


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def best_effort(path):
    """FFmpeg's own choice of the times, from the program."""
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "V:0", "-of", "json", "-show_entries",
         "frame=best_effort_timestamp_time", path],
        capture_output=True, check=True,
    )  # fmt: skip
    frames = json.loads(done.stdout)["frames"]
    return [float(frame.get("best_effort_timestamp_time", "nan")) for frame in frames]


def assert_times_hold(frames, joins=()):
    """They never run backwards but at `joins`, and every frame stops at or after its start."""
    for index, (frame, following) in enumerate(itertools.pairwise(frames), 1):
        if index not in joins:
            assert frame.stop_seconds == following.start_seconds
    assert all(frame.stop_seconds >= frame.start_seconds for frame in frames)


B_FRAMES = [("libx264", 1), ("libx264", 2), ("libx264", 3), ("mpeg4", 1), ("mpeg4", 2)]


@pytest.mark.parametrize(("codec", "num_b_frames"), B_FRAMES)
@pytest.mark.parametrize("ending", ["avi", "mkv", "mp4", "ts", "mpg", "mov", "flv", "nut"])
def test_reordered_frames_have_even_times(tmp_path, codec, num_b_frames, ending):
    """AVI keeps times of decoding only; those of its frames are theirs within a constant."""
    if codec == "mpeg4" and ending in ("mpg", "flv"):
        pytest.skip("not kept in this container")
    if ending == "mpg":
        pytest.skip("FFmpeg writes H.264 into it without the times of most frames")
    path = tmp_path / f"v.{ending}"
    options = {"bf": str(num_b_frames), "preset": "medium"}
    write_video(path, 40, codec=codec, options=options, width=160, height=120)
    frames = list(VideoReader(path))
    assert [read_index(frame.image) for frame in frames] == list(range(40))
    assert_times_hold(frames)
    starts = np.array([frame.start_seconds for frame in frames])
    np.testing.assert_allclose(starts - starts[0], np.arange(40) / 25, atol=1.1e-3)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("ending", "codec", "tag"),
    [("avi", "libx264", None), ("avi", "libxvid", None), ("avi", "mpeg4", "DIVX"),
     ("mkv", "libxvid", None), ("ts", "mpeg2video", None), ("vob", "mpeg2video", None),
     ("ogv", "libtheora", None), ("mp4", "libxvid", None)],
)  # fmt: skip
def test_times_are_those_of_ffprobe(tmp_path, ending, codec, tag):
    """Of files that only the ffmpeg program writes, such as XviD's packed bitstream."""
    source, path = tmp_path / "source.mkv", tmp_path / f"v.{ending}"
    write_video(source, 40, width=160, height=120)
    first = tmp_path / f"first.{'avi' if codec == 'libxvid' else ending}"
    b_frames = [] if codec == "libtheora" else ["-bf", "2"]
    ffmpeg("-i", source, "-c:v", codec, *b_frames, *(["-vtag", tag] if tag else []), first)
    ffmpeg("-fflags", "+genpts", "-i", first, "-c", "copy", path)
    frames = list(VideoReader(path))
    assert_times_hold(frames)
    theirs = np.array(best_effort(path))
    ours = np.array([frame.start_seconds for frame in frames])
    assert len(ours) == len(theirs) >= 39
    known = ~np.isnan(theirs)
    assert known.sum() >= 35
    assert np.ptp((ours - theirs)[known]) < 1.1e-3


def parts_of_a_stream(tmp_path, ending, codec, *, goes_on):
    """Three recordings of 30 frames; with `goes_on` the second begins where the first ends."""
    for number in range(3):
        part = tmp_path / f"part{number}.{ending}"
        write_video(
            part, 30, codec=codec, first_index=30 * number, options={"bf": "2"},
            width=160, height=120, audio=True,
            container_options={"output_ts_offset": f"{1 + 1.2 * number * goes_on}"},
        )  # fmt: skip
        yield part


JOINED = [("ts", "libx264"), ("m2ts", "libx264"), ("ts", "mpeg2video"), ("mpg", "mpeg2video")]


@pytest.mark.parametrize(("ending", "codec"), JOINED)
@pytest.mark.parametrize("goes_on", [True, False])
def test_joined_parts_are_whole(tmp_path, ending, codec, goes_on):
    path = tmp_path / f"joined.{ending}"
    join(path, *parts_of_a_stream(tmp_path, ending, codec, goes_on=goes_on))
    frames = list(VideoReader(path))
    assert [read_index(frame.image) for frame in frames] == list(range(90))
    assert_times_hold(frames, joins=(30, 60))
    starts = np.array([frame.start_seconds for frame in frames])
    for part in np.split(starts, 3):
        np.testing.assert_allclose(part - part[0], np.arange(30) / 25, atol=1.1e-3)
    if goes_on:
        np.testing.assert_allclose(starts - starts[0], np.arange(90) / 25, atol=1.1e-3)
    else:
        np.testing.assert_allclose(starts[30:60], starts[:30], atol=1.1e-3)
    clips = list(stream_clips(iter(frames), ClipPlan()))
    assert len(clips) == 10  # from 0, 8, ... 72 of 90 frames
    for clip in clips:
        length = clip.stop_seconds - clip.start_seconds
        assert length == pytest.approx(16 / 25, abs=0.05)
    for start, stop in [(starts[5], starts[20]), (starts[28], 99.0), (-1.0, starts[2])]:
        found = list(VideoReader(path).between(start, stop))
        assert [read_index(frame.image) for frame in found] == [
            k for k, frame in enumerate(frames) if start <= frame.start_seconds < stop
        ]
        assert all(frame.stop_seconds >= frame.start_seconds for frame in found)


@needs_ffmpeg
def test_a_wrapped_clock_goes_on(tmp_path):
    """A transport stream's clock has 33 bits: it wraps every 26.5 hours."""
    write_video(tmp_path / "v.ts", 50, options={"bf": "2"}, width=160, height=120)
    path = tmp_path / "wrapped.ts"
    offset = 2**33 / 90000 - 2.4
    ffmpeg("-i", tmp_path / "v.ts", "-c", "copy", "-output_ts_offset", offset, path)
    frames = list(VideoReader(path))
    assert_times_hold(frames)
    np.testing.assert_allclose(
        [frame.start_seconds - frames[0].start_seconds for frame in frames],
        np.arange(50) / 25, atol=1e-3,
    )  # fmt: skip


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "flv"])
def test_times_in_the_order_of_decoding_are_not_believed(tmp_path, ending):
    """A container that claims that frames are shown as they are decoded: FFmpeg finds it out."""
    write_video(tmp_path / "v.mp4", 60, options={"bf": "3"}, width=160, height=120)
    path = tmp_path / f"wrong.{ending}"
    ffmpeg("-i", tmp_path / "v.mp4", "-c", "copy", "-bsf:v", "setts=pts=DTS", path)
    reader = VideoReader(path)
    frames = list(reader)
    assert_times_hold(frames)
    theirs = np.array(best_effort(path))
    ours = np.array([frame.start_seconds for frame in frames])
    rising = np.maximum.accumulate(theirs) == theirs  # at the end FFmpeg's run backwards, too
    assert rising.sum() >= 55
    assert np.ptp((ours - theirs)[rising][:-2]) < 1.1e-3
    wanted = [frame for frame in frames if 1.0 <= frame.start_seconds < 1.5]
    found = list(reader.between(1.0, 1.5))
    assert [read_index(f.image) for f in found] == [read_index(f.image) for f in wanted]
    assert [f.start_seconds for f in found] == [f.start_seconds for f in wanted]


# --- parts of a video -----------------------------------------------------------------------------

OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}
PARTS = {
    "mp4": ("v.mp4", {"options": {"bf": "3"}}),
    "mkv": ("v.mkv", {"options": {"bf": "3"}}),
    "mkv without an index": ("v.mkv", {"container_options": {"live": "1"}}),
    "fragmented mp4": ("v.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "late mp4": ("v.mp4", {"timestamps": [2 + k / 25 for k in range(60)]}),
    "avi": ("v.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "avi h264": ("v.avi", {"options": {"bf": "3"}}),
    "ts": ("v.ts", {"options": {"bf": "3"}}),
    "mpg": ("v.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "flv": ("v.flv", {"options": {"bf": "3"}}),
    "nut": ("v.nut", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "wmv": ("v.wmv", {"codec": "wmv2"}),
    "raw": ("v.h264", {"options": {"bf": "3"}}),
    "raw mpeg-2": ("v.m2v", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "pictures alone": ("v.y4m", {"codec": "wrapped_avframe"}),
    "open groups, mp4": ("v.mp4", {"options": OPEN_GROUPS}),
    "open groups, mkv": ("v.mkv", {"options": OPEN_GROUPS}),
    "open groups, ts": ("v.ts", {"options": OPEN_GROUPS}),
    "open groups, mpeg-4": ("v.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "one group": ("v.mp4", {"options": {"x264-params": "keyint=600:min-keyint=600"}}),
    "one group, ts": ("v.ts", {"options": {"x264-params": "keyint=600:min-keyint=600"}}),
    "refreshed": ("v.ts", {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}}),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_those_of_a_walk(tmp_path, name):
    file_name, settings = PARTS[name]
    path = tmp_path / file_name
    write_video(
        path, 60, width=160, height=120, audio=file_name.endswith(("mp4", "ts")), **settings
    )
    reader = VideoReader(path)
    walk = list(reader)
    assert [read_index(frame.image) for frame in walk] == list(range(60))
    first, last, end = walk[0].start_seconds, walk[-1].start_seconds, walk[-1].stop_seconds
    parts = [
        (-5.0, first + 0.1), (0.0, 0.3), (first, first), (first + 0.2, first + 0.5),
        (first + 1.0, first + 1.3), (first + 1.47, first + 1.6), (last - 0.3, end + 1),
        (last - 0.05, math.inf), (last, last + 0.001), (end + 0.1, math.inf), (end + 9, end + 10),
    ]  # fmt: skip
    for start, stop in parts:
        wanted = [frame for frame in walk if start <= frame.start_seconds < stop]
        found = list(reader.between(start, stop))
        assert [read_index(frame.image) for frame in found] == [frame.index for frame in wanted], (
            start,
            stop,
        )
        for frame, same in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(frame.image, same.image)
            assert frame.start_seconds == same.start_seconds
            assert frame.stop_seconds == same.stop_seconds


# --- wrong promises -------------------------------------------------------------------------------

UNFILLED = 0xFFFFFFFF
PROMISES = {
    "avi, more frames": ("v.avi", b"strh", 36, "<I", 1000),
    "avi, absurd": ("v.avi", b"strh", 36, "<I", UNFILLED),
    "avi, none": ("v.avi", b"strh", 36, "<I", 0),
    "avi, absurd in its first header": ("v.avi", b"avih", 20, "<I", UNFILLED),
    "avi, list not filled in": ("v.avi", b"movi", -8, "<I", 0),
    "avi, list as long as can be": ("v.avi", b"movi", -8, "<I", UNFILLED),
    "avi, file not filled in": ("v.avi", b"RIFF", 0, "<I", 0),
    "avi, file as long as can be": ("v.avi", b"RIFF", 0, "<I", UNFILLED),
    "mkv, an hour": ("v.mkv", b"\x44\x89\x88", 0, ">d", 3.6e6),
    "mkv, absurd": ("v.mkv", b"\x44\x89\x88", 0, ">d", 1e30),
    "mkv, none": ("v.mkv", b"\x44\x89\x88", 0, ">d", 0.0),
    "mkv, no number": ("v.mkv", b"\x44\x89\x88", 0, ">d", math.nan),
    "mp4, an hour": ("v.mp4", b"mdhd", 16, ">I", 10**8),
    "mp4, absurd": ("v.mp4", b"mdhd", 16, ">I", UNFILLED),
    "mp4, none": ("v.mp4", b"mvhd", 16, ">I", 0),
    "fragmented mp4, absurd": ("fragmented.mp4", b"mdhd", 16, ">I", 10**9),
    "fragmented mp4, absurd too": ("fragmented.mp4", b"tkhd", 20, ">I", UNFILLED),
}


def with_promise(folder, name):
    file_name, tag, offset, form, value = PROMISES[name]
    path = folder / file_name
    flags = "frag_keyframe+empty_moov" if "fragmented" in file_name else "faststart"
    write_video(
        path, 60, codec="mpeg4" if path.suffix == ".avi" else "libx264", width=160, height=120,
        container_options={"movflags": flags} if path.suffix == ".mp4" else None,
    )  # fmt: skip
    with_number(path, tag, offset, form, value)
    return path


@pytest.mark.parametrize("name", PROMISES)
def test_a_wrong_promise_is_no_damage(tmp_path, name):
    frames = list(VideoReader(with_promise(tmp_path, name)))
    assert [read_index(frame.image) for frame in frames] == list(range(60))


@pytest.mark.parametrize("name", [name for name in PROMISES if "hour" in name or "more" in name])
@pytest.mark.parametrize("how", ["cut", "emptied"])
def test_with_a_wrong_promise_a_file_that_is_cut_is_found(tmp_path, name, how):
    path = with_promise(tmp_path, name)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size * 6 // 10)
        if how == "emptied":
            file.truncate(size)
    error, frames = read_until_error(path)
    assert 20 <= len(frames) == error.frame_index <= 45


@pytest.mark.parametrize("ending", ["avi", "mkv", "flv"])
def test_a_live_recording_is_whole(tmp_path, ending):
    """Its writer could not go back to fill the lengths in."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    path, pipe = tmp_path / f"v.{ending}", Pipe()
    kind = {"mkv": "matroska"}.get(ending, ending)
    with av.open(pipe, "w", format=kind) as container:
        stream = container.add_stream("mpeg4" if ending != "flv" else "flv", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.bit_rate = 2_000_000
        for index in range(60):
            image = draw_frame(index, 160, 120)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(pipe.data)
    reader = VideoReader(path)
    assert [read_index(frame.image) for frame in reader] == list(range(60))
    assert reader.info.num_frames is None
    assert reader.info.duration_seconds is None


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("number", [14, 20, 28])
def test_a_lost_packet_of_a_transport_stream_is_found(tmp_path, codec, number):
    path = tmp_path / "v.ts"
    options = {"bf": "0", "preset": "medium", "b": "4M"}
    write_video(path, 40, codec=codec, width=320, height=240, options=options)
    without_ts_packet(path, number)
    error, frames = read_until_error(path)
    assert [read_index(frame.image) for frame in frames] == list(range(len(frames)))
    assert len(frames) == error.frame_index <= number


# --- upright --------------------------------------------------------------------------------------

MATRICES = {  # a, b, c, d; the angle counter-clockwise, and whether mirrored after that
    "upright": ((1, 0, 0, 1), 0, False),
    "clockwise": ((0, 1, -1, 0), 270, False),
    "upside down": ((-1, 0, 0, -1), 180, False),
    "counter-clockwise": ((0, -1, 1, 0), 90, False),
    "mirrored": ((-1, 0, 0, 1), 0, True),
    "turned over": ((1, 0, 0, -1), 180, True),
    "transposed": ((0, 1, 1, 0), 270, True),
    "transposed the other way": ((0, -1, -1, 0), 90, True),
    "scaled": ((2, 0, 0, 0.5), 0, False),
    "scaled and turned": ((0, 2, -0.5, 0), 270, False),
    "nothing": ((0, 0, 0, 0), 0, False),
    "half": ((1, 0, 0, 0), 0, False),
    "sheared": ((1, 0.5, 0, 1), 0, False),
    "between": ((0.7071, 0.7071, -0.7071, 0.7071), 0, False),
}


@pytest.mark.parametrize("name", MATRICES)
def test_every_display_matrix_is_carried_out(tmp_path, name):
    matrix, degrees, mirrored = MATRICES[name]
    path = tmp_path / "v.mp4"
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=25)
        upright = [draw_frame(index, 160, 120) for index in range(4)]
        stored = [image[:, ::-1] if mirrored else image for image in upright]
        stored = [np.rot90(image, -degrees // 90).copy() for image in stored]
        stream.height, stream.width = stored[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in stored:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with_matrix(path, matrix)
    reader = VideoReader(path)
    frames = [frame.image for frame in reader]
    assert [read_index(image) for image in frames] == list(range(4))
    info = reader.info
    assert (info.rotation_degrees, info.mirrored) == (degrees, mirrored)
    assert (info.height, info.width) == frames[0].shape[:2]
    if shutil.which("ffmpeg") and name not in ("sheared", "between"):
        ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", tmp_path / "raw")
        theirs = np.fromfile(tmp_path / "raw", np.uint8).reshape(np.shape(frames))
        np.testing.assert_array_equal(frames, theirs)


@needs_ffmpeg
@pytest.mark.parametrize("flip", ["", ":flip=horizontal", ":flip=vertical"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_an_orientation_within_the_stream_is_carried_out(tmp_path, degrees, flip):
    write_video(tmp_path / "v.h264", 2, width=160, height=120)
    path = tmp_path / "turned.h264"
    bitstream = f"h264_metadata=display_orientation=insert:rotate={degrees}{flip}"
    ffmpeg("-i", tmp_path / "v.h264", "-c", "copy", "-bsf:v", bitstream, path)
    frames = [frame.image for frame in VideoReader(path)]
    ffmpeg("-i", path, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", tmp_path / "raw")
    theirs = np.fromfile(tmp_path / "raw", np.uint8).reshape(frames[0].shape)
    np.testing.assert_array_equal(frames[0], theirs)
    # It holds for the frames behind, which name none.
    plain = [frame.image for frame in VideoReader(tmp_path / "v.h264")]
    ways = [(turns, step) for turns in range(4) for step in (1, -1)]
    (turns, step), *_ = [
        (turns, step) for turns, step in ways
        if np.array_equal(np.rot90(plain[0], turns)[:, ::step], frames[0])
    ]  # fmt: skip
    np.testing.assert_array_equal(np.rot90(plain[1], turns)[:, ::step], frames[1])


# --- how long it may take -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["with_audio", "pictures"])
def test_an_allowance_ends_every_way_of_reading(tmp_path, name):
    path = make(tmp_path, ODD[name])
    if path.is_file():
        with pytest.raises(VideoError, match="takes longer"):
            VideoReader(path, allowance=Allowance(-1))
    allowance = Allowance(60)
    reader = VideoReader(path, allowance=allowance)
    assert len(list(reader)) == 12
    allowance.excuse(-60)
    with pytest.raises(VideoError, match="takes longer"):
        next(iter(reader))
    if path.is_file():
        with pytest.raises(VideoError, match="takes longer"):
            list(reader.between(0.1, 0.2))


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
    from kinema.features.extraction import extract

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


# --- what the fuzzer found ------------------------------------------------------------------------


def test_a_stream_that_appears_midway_costs_no_frame(tmp_path):
    """PyAV ends such a file with an IndexError, if FFmpeg has not seen the stream at the start."""
    sharp = {"flags": "+qscale", "global_quality": "118"}
    options = {"codec": "mpeg2video", "width": 640, "height": 480, "options": sharp}
    write_video(tmp_path / "a.ts", 160, **options)
    write_video(tmp_path / "b.ts", 30, audio=True, **options)
    a, b = ((tmp_path / name).read_bytes() for name in ("a.ts", "b.ts"))
    (tmp_path / "v.ts").write_bytes(a + a + b + a)
    with av.open(str(tmp_path / "v.ts")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    found = [read_index(frame.image) for frame in VideoReader(tmp_path / "v.ts")]
    assert found == [*range(160), *range(160), *range(30), *range(160)]


def packets_of(path):
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("ending", "codec"), [("mpg", "mpeg2video"), ("flv", "libx264"), ("avi", "mpeg4")]
)
def test_a_damaged_first_frame_is_damage(tmp_path, ending, codec):
    path = tmp_path / f"v.{ending}"
    write_video(path, 60, codec=codec, width=160, height=120)
    position, size = packets_of(path)[0]
    with path.open("r+b") as file:
        file.seek(position + size // 2)
        file.write(np.random.default_rng(0).bytes(size // 3))
    with pytest.raises(VideoError) as caught:
        list(VideoReader(path))
    assert "\n" not in str(caught.value)


def test_a_header_that_spoils_the_first_packet(tmp_path):
    path = tmp_path / "v.y4m"
    write_video(path, 12, codec="wrapped_avframe", width=160, height=120)
    path.write_bytes(path.read_bytes().replace(b"FRAME", b"FRUME", 1))
    with pytest.raises(VideoError, match="cannot|no frame"):
        list(VideoReader(path))


def test_sound_that_goes_on_does_not_hide_a_cut(tmp_path):
    """The sound stands before the video, so it is whole where the file is cut."""
    write_video(tmp_path / "v.avi", 60, codec="mpeg4", width=160, height=120, audio=True)
    with (
        av.open(str(tmp_path / "v.avi")) as source,
        av.open(str(tmp_path / "s.avi"), "w") as target,
    ):
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        packets = [packet for packet in source.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.stream.type == "video"):
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    path = tmp_path / "s.avi"
    os.truncate(path, packets_of(path)[5][0])
    error, frames = read_until_error(path)
    assert "breaks off after" in str(error)
    assert len(frames) <= 6


def test_a_frame_that_is_lost_before_a_key_frame_is_no_join(tmp_path):
    path = tmp_path / "v.ts"
    write_video(path, 60, width=320, height=240, options={"bf": "0"})
    data, places = path.read_bytes(), [position for position, _ in packets_of(path)]
    # All packets of the video between the last frame of a group and the next key frame.
    number = data[places[23] + 1] & 0x1F, data[places[23] + 2]
    kept = [
        data[start : start + 188]
        for start in range(0, len(data), 188)
        if not (
            places[23] <= start < places[24] and (data[start + 1] & 0x1F, data[start + 2]) == number
        )
    ]
    assert (len(data) // 188 - len(kept)) % 16  # else its counter would not tell
    path.write_bytes(b"".join(kept))
    error, frames = read_until_error(path)
    assert "damaged here" in str(error)
    assert [read_index(frame.image) for frame in frames] == list(range(len(frames)))
    assert len(frames) <= 24


# --- what trying to break it found ----------------------------------------------------------------


@pytest.mark.parametrize("padding", [b"\0", b"\xff"])
def test_padding_in_a_transport_stream_is_no_damage(tmp_path, padding):
    write_video(tmp_path / "a.ts", 60, width=160, height=120, options={"bf": "0"})
    path = tmp_path / "a.ts"
    path.write_bytes(path.read_bytes() + padding * 200_000)
    frames = list(VideoReader(path))
    assert [read_index(frame.image) for frame in frames] == list(range(60))
    start = frames[0].start_seconds
    part = VideoReader(path).between(start + 1, start + 1.2)
    assert [read_index(frame.image) for frame in part] == list(range(25, 30))


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("v.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("v.mp4", {"movflags": "faststart"}),
        ("v.mkv", {"live": "1"}),
        ("v.mkv", {}),
        ("v.avi", {}),
    ],
)
@pytest.mark.parametrize("part", [0.5, 0.9, 0.98])
def test_a_file_that_ends_inside_its_frames_breaks_off(tmp_path, name, flags, part):
    path = tmp_path / name
    codec = "mpeg4" if name == "v.avi" else "libx264"
    write_video(path, 60, codec=codec, width=160, height=120, container_options=flags)
    places = packets_of(path)
    assert [read_index(frame.image) for frame in VideoReader(path)] == list(range(60))
    for extra in (b"", b"\n", b"<html>not a box</html>", bytes(5000)):  # behind a whole file
        path.write_bytes(path.read_bytes() + extra)
        assert len(list(VideoReader(path))) == 60
    position, size = places[int(part * len(places))]
    os.truncate(path, position + size // 2)
    error, frames = read_until_error(path)
    assert [read_index(frame.image) for frame in frames] == list(range(len(frames)))
    assert len(frames) <= part * 60 + 1
    assert "damaged" in str(error) or "breaks off" in str(error) or "decoded further" in str(error)


def test_raw_motion_jpeg_is_read_and_one_picture_is_not(tmp_path):
    write_video(tmp_path / "v.avi", 12, codec="mjpeg", pix_fmt="yuvj420p", width=160, height=120)
    with av.open(str(tmp_path / "v.avi")) as container:
        pictures = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    (tmp_path / "v.mjpeg").write_bytes(b"".join(pictures))
    found = [read_index(frame.image) for frame in VideoReader(tmp_path / "v.mjpeg")]
    assert found == list(range(12))
    (tmp_path / "one.mjpeg").write_bytes(pictures[0])
    with pytest.raises(VideoError, match="not a video"):
        VideoReader(tmp_path / "one.mjpeg")


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="only the program ffmpeg writes these")
@pytest.mark.parametrize(
    ("name", "options"),
    [("p.avi", "-c:v rawvideo -pix_fmt pal8"), ("m.avi", "-c:v rawvideo -pix_fmt monob"),
     ("a.apng", "-c:v apng -pix_fmt pal8 -f apng")],
)  # fmt: skip
def test_parts_of_video_with_a_palette_are_those_of_a_walk(tmp_path, name, options):
    source = "-f lavfi -i testsrc2=s=96x64:r=25:d=2"
    command = ["ffmpeg", "-v", "error", *source.split(), *options.split(), tmp_path / name]
    subprocess.run(command, check=True)
    walk = list(VideoReader(tmp_path / name))
    part = list(VideoReader(tmp_path / name).between(1.0, 1.2))
    assert len(part) == 5
    for frame, again in zip(walk[25:30], part, strict=True):
        np.testing.assert_array_equal(frame.image, again.image)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="only the program ffmpeg writes these")
def test_colours_that_cannot_be_converted_are_named(tmp_path):
    write_video(tmp_path / "v.mp4", 12, width=160, height=120)
    named = ["-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=8", tmp_path / "n.mp4"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "v.mp4", *named], check=True)
    with pytest.raises(VideoError, match="its colours .matrix 8 of H.273. cannot be converted"):
        list(VideoReader(tmp_path / "n.mp4"))
    assert len(list(VideoReader(tmp_path / "n.mp4", colours="original"))) == 12
