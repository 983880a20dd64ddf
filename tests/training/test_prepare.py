"""Videos to prepared clips: the right frames, resuming, bad videos, splits."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
import pytest

from kinema.cli.app import main
from kinema.training import prepare as prepare_room
from kinema.training import recording
from kinema.training.clip_maker import draw_segments
from kinema.training.clip_store import ClipStore
from kinema.training.pictures import encode
from kinema.training.prepare import prepare, split_videos
from kinema.video.clips import resize
from kinema.video.reader import VideoReader
from kinema.video.sources import fingerprint
from kinema.video.synthetic import write_video

from odd_videos import write_video as write_counted_video
from small_videos import draw, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "videos")


def as_stored(image, size):
    jpeg = np.frombuffer(encode(resize(image, size), 95), np.uint8)
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]


def contents(path):
    """Everything a store holds, whatever the order in which it came to be written."""
    with sqlite3.connect(path) as database:
        rows = [
            database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("about", "videos", "segments", "pictures")
        ]
    database.close()
    return rows


def test_whole_videos_are_kept_frame_by_frame(folder, tmp_path):
    report = prepare(folder, out=tmp_path / "x.clips", size=(24, 32))
    assert (report.num_videos, report.num_done, report.num_frames) == (12, 12, 480)
    store = ClipStore(tmp_path / "x.clips")
    assert store.classes == ("blue", "green", "red")
    assert store.size == (24, 32)
    video = store.videos[5]
    assert video.name == "green/green_1.mp4"
    assert video.labels == (1,)
    (segment,) = video.segments
    frames = [frame.image for frame in VideoReader(folder / video.name)]
    assert segment.num_frames == len(frames) == 40
    for stored, image in zip(store.frames(segment), frames, strict=True):
        np.testing.assert_array_equal(stored, as_stored(image, (24, 32)))


def test_five_segments_of_two_seconds(tmp_path):
    # Frames carry their number, and a group of 12 frames begins with the only ones that can be
    # read by themselves, so that a wrong way into the file would show.
    for side, label in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
        path = tmp_path / "videos" / side / label / f"{label}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_counted_video(path, 250)
    out = tmp_path / "x.clips"
    prepare(tmp_path / "videos", out=out, clips="five", size=(120, 160), seed=3)
    store = ClipStore(out)
    assert [len(video.segments) for video in store.videos] == [10, 10, 5, 5]
    starts = {tuple(s.start_seconds for s in video.segments) for video in store.videos}
    assert len(starts) == 4
    for video in store.videos:
        frames = list(VideoReader(tmp_path / "videos" / video.name))
        wanted = draw_segments(video.name, 0.0, 10.0, len(video.segments), seed=3)
        for segment, (start, stop) in zip(video.segments, wanted, strict=True):
            expected = [f for f in frames if start <= f.start_seconds < stop]
            assert segment.num_frames == len(expected)
            assert abs(segment.num_frames - 50) <= 1
            assert segment.start_seconds == expected[0].start_seconds
            for stored, frame in zip(store.frames(segment), expected, strict=True):
                np.testing.assert_array_equal(stored, as_stored(frame.image, (120, 160)))


def test_draw_segments():
    segments = draw_segments("a.mp4", 1.0, 60.0, 5, seed=0)
    assert len(segments) == 5
    assert segments == sorted(segments)
    assert all(start >= 1 and stop == start + 2 and stop <= 60 for start, stop in segments)
    assert segments == draw_segments("a.mp4", 1.0, 60.0, 5, seed=0)
    assert segments != draw_segments("b.mp4", 1.0, 60.0, 5, seed=0)
    assert segments != draw_segments("a.mp4", 1.0, 60.0, 5, seed=1)
    assert draw_segments("a.mp4", 0.0, 1.6, 5, seed=0) == [(0.0, 1.6)]
    many = np.array([draw_segments(f"{n}", 0.0, 12.0, 5, seed=0) for n in range(400)])[..., 0]
    assert abs(many.mean() - 5) < 0.2
    assert many.min() < 0.1
    assert many.max() > 9.9


def test_segments_follow_the_clock_of_the_file(tmp_path):
    """A recording of a broadcast starts at any time, and its header tells no length."""
    for label in ("a", "b"):
        path = tmp_path / "videos" / label / f"{label}.ts"
        path.parent.mkdir(parents=True)
        write_counted_video(path, 150, timestamps=[5000 + n / 25 for n in range(150)])
    report = prepare(tmp_path / "videos", out=tmp_path / "x.clips", clips="five", size=(24, 32))
    assert not report.skipped
    store = ClipStore(tmp_path / "x.clips")
    assert [video.name for video in store.videos] == ["a/a.ts", "b/b.ts"]
    for video in store.videos:
        assert len(video.segments) == 5
        assert all(5000 <= segment.start_seconds <= 5006 for segment in video.segments)


def test_a_long_video_waits_on_the_disk_not_in_memory(folder, tmp_path, monkeypatch):
    prepare(folder, out=tmp_path / "a.clips", size=(24, 32), threads=1)
    monkeypatch.setattr(recording, "_MOST_BYTES", 1000)  # about a picture
    prepare(folder, out=tmp_path / "b.clips", size=(24, 32), threads=1)
    assert contents(tmp_path / "a.clips") == contents(tmp_path / "b.clips")
    assert {path.name for path in tmp_path.iterdir()} == {"videos", "a.clips", "b.clips"}


def test_a_full_disk_is_no_fault_of_the_video(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recording, "_MOST_BYTES", 1000)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left on device"):
        prepare(folder, out=tmp_path / "x.clips", size=(24, 32))
    monkeypatch.undo()
    report = prepare(folder, out=tmp_path / "x.clips", size=(24, 32))
    assert not report.skipped


def test_stopping_does_not_wait_for_the_end_of_a_video(folder, tmp_path, monkeypatch):
    encoded = []

    def slow(image, quality):
        encoded.append(1)
        time.sleep(0.004)
        return encode(image, quality)

    monkeypatch.setattr(recording, "encode", slow)
    monkeypatch.setattr(prepare_room, "fingerprint", stop_at("green/green_1.mp4", folder))
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, out=tmp_path / "x.clips", size=(24, 32), threads=1)
    assert len(encoded) < 5 * 40 + 20  # five videos come before; the next one is not read through


def stop_at(name, folder):
    def fingerprint_of(path):
        if path == folder / name:
            raise KeyboardInterrupt
        return fingerprint(path)

    return fingerprint_of


def test_videos_that_went_away_are_named(folder, tmp_path):
    prepare(folder, out=tmp_path / "x.clips", size=(24, 32))
    (folder / "red" / "red_0.mp4").unlink()
    report = prepare(folder, out=tmp_path / "x.clips", size=(24, 32))
    (note,) = report.notes
    assert "no longer in the dataset, but kept in" in note
    assert "1 video (red/red_0.mp4)" in note


def test_bad_videos_are_named_and_the_others_prepared(folder, tmp_path, capsys):
    (folder / "red" / "cut.mp4").write_bytes((folder / "red" / "red_0.mp4").read_bytes()[:500])
    (folder / "blue" / "empty.avi").write_bytes(b"")
    code = main(["prepare", str(folder), "--out", str(tmp_path / "x.clips"), "--size", "24x32"])
    captured = capsys.readouterr()
    assert code == 1
    assert "empty.avi: the file is empty." in captured.err
    assert "cut.mp4: " in captured.err
    assert "12 of 14 videos prepared, 2 could not be read; 480 frames" in captured.out
    store = ClipStore(tmp_path / "x.clips")
    assert [entry["path"] for entry in store.skipped] == ["blue/empty.avi", "red/cut.mp4"]
    assert len(store.videos) == 12
    # Once they are there, the same command adds them.
    shutil.copy(folder / "blue" / "blue_0.mp4", folder / "blue" / "empty.avi")
    (folder / "red" / "cut.mp4").write_bytes((folder / "red" / "red_0.mp4").read_bytes())
    report = prepare(folder, out=tmp_path / "x.clips", size=(24, 32))
    assert (report.num_done, report.num_found, len(report.skipped)) == (2, 12, 0)


def test_killed_three_times_and_gone_on_with_gives_the_same(folder, tmp_path):
    for number in range(4, 24):
        write_video(folder / "red" / f"red_{number}.mp4", draw("red", number, 60))
    prepare(folder, out=tmp_path / "whole.clips", size=(128, 171), threads=1)
    out = tmp_path / "killed.clips"
    command = [sys.executable, "-m", "kinema", "prepare", str(folder), "--out", str(out)]
    command += ["--threads", "1"]
    finished = 0
    for num_videos in (1, 9, 15):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and _num_videos(out) < num_videos:
            time.sleep(0.002)
        process.kill()
        finished += process.wait() == 0
    assert finished < 3  # it was killed on the way at least once
    subprocess.run(command, check=True, capture_output=True)
    assert contents(out) == contents(tmp_path / "whole.clips")


def _num_videos(path):
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0) as database:
            return database.execute("SELECT count(*) FROM videos").fetchone()[0]
    except sqlite3.Error:  # locked by the writer: its size tells
        return path.stat().st_size // 250_000 if path.exists() else 0


def test_another_video_of_the_same_name_is_refused(folder, tmp_path):
    prepare(folder, out=tmp_path / "x.clips")
    shutil.copy(folder / "red" / "red_0.mp4", folder / "red" / "red_1.mp4")
    with pytest.raises(ValueError, match="another video of the name red/red_1.mp4"):
        prepare(folder, out=tmp_path / "x.clips")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clips": "some"}, "`clips` must be one of whole, five"),
        ({"size": (4, 171)}, "`size` must be at least 8x8"),
        ({"quality": 0}, "`quality` must be from 1 to 100"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"threads": 0}, "`threads` must be at least 1"),
    ],
)
def test_wrong_settings(folder, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        prepare(folder, out=tmp_path / "x.clips", **settings)


def test_no_readable_video_at_all(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        (tmp_path / "videos" / label / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no video could be read"):
        prepare(tmp_path / "videos", out=tmp_path / "x.clips")


def test_a_recipe_decides_over_size_and_clips(folder, tmp_path):
    prepare(folder, out=tmp_path / "a.clips", recipe="sports1m")
    store = ClipStore(tmp_path / "a.clips")
    assert (store.size, store.about["clips"]) == ((128, 171), "five")
    prepare(folder, out=tmp_path / "b.clips", recipe="mini", clips="five")
    store = ClipStore(tmp_path / "b.clips")
    assert (store.size, store.about["clips"]) == ((73, 98), "five")
    with pytest.raises(ValueError, match="`recipe` must be one of sports1m"):
        prepare(folder, out=tmp_path / "c.clips", recipe="best")


def test_size_on_the_command_line(folder, tmp_path, capsys):
    out = str(tmp_path / "x.clips")
    assert main(["prepare", str(folder), "--out", out, "--size", "112"]) == 2
    assert "--size must be height x width" in capsys.readouterr().err


def test_splits_of_ones_own_keep_groups_together(tmp_path):
    for label in ("a", "b"):
        for group in range(1, 9):
            for number in (1, 2, 3):
                name = f"v_{label}_g{group:02d}_c{number:02d}.mp4"
                write_video(tmp_path / "videos" / label / name, draw("red", group, 3))
    prepare(tmp_path / "videos", out=tmp_path / "x.clips", size=(24, 32))
    train, test = split_videos(ClipStore(tmp_path / "x.clips"))
    assert len(train) + len(test) == 48
    assert not {video.group for video in train} & {video.group for video in test}
    assert {video.labels for video in train} == {video.labels for video in test} == {(0,), (1,)}
    again, _ = split_videos(ClipStore(tmp_path / "x.clips"))
    assert train == again
    with pytest.raises(ValueError, match="split"):
        split_videos(ClipStore(tmp_path / "x.clips"), "7")


def test_given_splits_are_kept(tmp_path):
    for side, count in (("train", 3), ("test", 2)):
        for label in ("a", "b"):
            for number in range(count):
                path = tmp_path / "videos" / side / label / f"{label}{number}.mp4"
                write_video(path, draw("red", number, 3))
    prepare(tmp_path / "videos", out=tmp_path / "x.clips", size=(24, 32))
    train, test = split_videos(ClipStore(tmp_path / "x.clips"))
    assert {video.name.split("/")[0] for video in train} == {"train"}
    assert {video.name.split("/")[0] for video in test} == {"test"}
    assert (len(train), len(test)) == (6, 4)


def test_one_class_is_refused(tmp_path):
    write_video(tmp_path / "videos" / "a" / "x.mp4", draw("red", 0, 3))
    prepare(tmp_path / "videos", out=tmp_path / "x.clips", size=(24, 32))
    with pytest.raises(ValueError, match="one class, a: nothing to tell apart"):
        split_videos(ClipStore(tmp_path / "x.clips"))


def test_real_videos(ucf101, tmp_path):
    """Prepared frames of UCF101 differ from what extraction sees by JPEG's losses alone."""
    for video in ucf101[::100]:
        (tmp_path / "videos" / video.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / video.parent.name / video.name).symlink_to(video)
    prepare(tmp_path / "videos", out=tmp_path / "x.clips")
    store = ClipStore(tmp_path / "x.clips")
    assert len(store.videos) == len(ucf101[::100])
    for video in store.videos:
        exact = [resize(f.image, (128, 171)) for f in VideoReader(tmp_path / "videos" / video.name)]
        error = store.frames(video.segments[0]).astype(float) - np.stack(exact)
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 38  # dB
