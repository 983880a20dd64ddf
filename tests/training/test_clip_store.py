"""The file of prepared clips: what goes in comes out, and damage and misuse are named."""

from __future__ import annotations

import contextlib
import resource
import signal
import sqlite3
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from kinema.training.clip_store import ClipStore, is_clip_store
from kinema.training.clip_writer import ClipWriter, StoreInUse, Written, written
from kinema.training.pictures import encode

from small_videos import draw

ABOUT = {"size": [36, 48], "classes": ["blue", "red"], "splits": {}, "clips": "whole"}


def pictures(seed, count, label="red"):
    return [encode(image, 95) for image in draw(label, seed, count)]


@pytest.fixture
def path(tmp_path):
    with ClipWriter(tmp_path / "x.clips", ABOUT) as writer:
        writer.add("red/a.mp4", (1,), "red/a", "print-a", [(0.0, pictures(0, 20))])
        writer.add(
            "blue/b.mp4",
            (0, 1),
            "blue/b",
            "print-b",
            [(1.5, pictures(1, 5)), (4.0, pictures(2, 9))],
        )
        writer.add_skipped("red/broken.mp4", (1,), "g", "the file is empty.")
        writer.finish()
    return tmp_path / "x.clips"


def test_what_goes_in_comes_out(path):
    store = ClipStore(path)
    assert store.size == (36, 48)
    assert store.classes == ("blue", "red")
    assert [video.name for video in store.videos] == ["blue/b.mp4", "red/a.mp4"]
    blue, red = store.videos
    assert blue.labels == (0, 1)
    assert blue.group == "blue/b"
    assert [(s.start_seconds, s.num_frames) for s in blue.segments] == [(1.5, 5), (4.0, 9)]
    assert [(s.start_seconds, s.num_frames) for s in red.segments] == [(0.0, 20)]
    assert store.skipped == ({"path": "red/broken.mp4", "reason": "the file is empty."},)


def test_frames_are_those_pictures_in_rgb(path):
    store = ClipStore(path)
    segment = store.videos[0].segments[1]
    frames = store.frames(segment)
    assert frames.dtype == np.uint8
    assert frames.shape == (9, 36, 48, 3)
    for frame, jpeg in zip(frames, pictures(2, 9), strict=True):
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(frame, decoded)
    # JPEG of this quality changes little, and does not swap channels or frames.
    assert np.abs(frames.astype(int) - draw("red", 2, 9)).mean() < 2
    np.testing.assert_array_equal(store.frames(segment, 3, 4), frames[3:7])
    assert store.frames(segment, 9, 0).shape == (0, 36, 48, 3)


def test_frames_outside_a_segment_are_refused(path):
    store = ClipStore(path)
    segment = store.videos[0].segments[0]
    for start, count in [(-1, 2), (4, 2), (0, 6)]:
        with pytest.raises(ValueError, match=r"lie outside a segment of 5"):
            store.frames(segment, start, count)


def test_threads_may_share_it(path):
    store = ClipStore(path)
    segment = store.videos[1].segments[0]
    expected = store.frames(segment)
    failures = []

    def read():
        for _ in range(20):
            if not (store.frames(segment) == expected).all():
                failures.append(1)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_unfinished_store_is_refused_and_gone_on_with(tmp_path):
    path = tmp_path / "x.clips"
    with ClipWriter(path, ABOUT) as writer:
        writer.add("red/a.mp4", (1,), "a", "print-a", [(0.0, pictures(0, 3))])
        writer.add_skipped("red/b.mp4", (1,), "b", "the file is empty.")
    with pytest.raises(ValueError, match="was not finished: run the same"):
        ClipStore(path)
    with ClipWriter(path, ABOUT) as writer:
        assert writer.fingerprints() == {"red/a.mp4": "print-a"}  # b is tried again
        writer.add("red/b.mp4", (1,), "b", "print-b", [(0.0, pictures(1, 4))])
        writer.finish()
    store = ClipStore(path)
    assert not store.skipped
    a, b = store.videos
    np.testing.assert_array_equal(store.frames(b.segments[0])[:1], _decoded(pictures(1, 1)))
    assert store.frames(a.segments[0]).shape[0] == 3


def _decoded(jpegs):
    return np.stack([cv2.imdecode(np.frombuffer(j, np.uint8), 1)[..., ::-1] for j in jpegs])


def test_other_colours_are_refused_from_either_side(path, tmp_path):
    with pytest.raises(ValueError, match=r"begun with other colours \(None, not 'original'\)"):
        ClipWriter(path, {**ABOUT, "colours": "original"})
    other = tmp_path / "y.clips"
    with ClipWriter(other, {**ABOUT, "colours": "original"}) as writer:
        writer.finish()
    with pytest.raises(ValueError, match="begun with other colours"):
        ClipWriter(other, ABOUT)


def test_what_a_whole_store_says_and_others_do_not(path, tmp_path):
    assert written(path, ABOUT) == [
        Written("blue/b.mp4", "print-b", None),
        Written("red/a.mp4", "print-a", None),
        Written("red/broken.mp4", "", "the file is empty."),
    ]
    before = path.read_bytes()
    with pytest.raises(ValueError, match="begun with other clips"):
        written(path, {**ABOUT, "clips": "five"})
    assert path.read_bytes() == before
    assert written(tmp_path / "none.clips", ABOUT) is None
    (tmp_path / "empty.clips").touch()
    assert written(tmp_path / "empty.clips", ABOUT) is None
    with ClipWriter(path, ABOUT), pytest.raises(StoreInUse):
        written(path, ABOUT)
    assert written(path, ABOUT) is None  # not finished again
    other = tmp_path / "other.clips"
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE birds (name TEXT)")
    with pytest.raises(ValueError, match="holds no prepared clips"):
        written(other, ABOUT)


def test_other_settings_are_refused(path):
    with pytest.raises(ValueError, match=r"begun with other size \(\[36, 48\], not \[64, 64\]\)"):
        ClipWriter(path, {**ABOUT, "size": [64, 64]})
    ClipStore(path)  # and nothing was changed


def test_a_store_that_is_being_written_cannot_be_read(path, monkeypatch):
    store = ClipStore(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.01}))
    store._threads = threading.local()
    with ClipWriter(path, ABOUT):
        with pytest.raises(ValueError, match="is being written by another run: wait"):
            ClipStore(path)
        with pytest.raises(ValueError, match="is being written by another run: wait"):
            store.frames(store.videos[0].segments[0])


def test_a_writer_that_was_killed_in_the_middle_has_not_finished(path, tmp_path):
    """Its journal is still there: what it had begun to write must be undone by a writer."""
    code = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 1")  # so that pages are written before the end
database.execute("UPDATE pictures SET jpeg = zeroblob(20000)")
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.with_name(f"{path.name}-journal").stat().st_size
    with pytest.raises(ValueError, match="was not finished: run the same `kinema prepare` again"):
        ClipStore(path)
    with ClipWriter(path, ABOUT) as writer:
        writer.finish()
    assert len(ClipStore(path).frames(ClipStore(path).videos[1].segments[0])) == 20


@pytest.mark.parametrize("name", ["a b", "50% #1?", "Köln 視頻", "x=1&mode=rw"])
def test_any_name_will_do(tmp_path, name):
    path = tmp_path / name / f"{name}.clips"
    with ClipWriter(path, ABOUT) as writer:
        writer.add("a", (1,), "a", "print-a", [(0.0, pictures(0, 3))])
        writer.finish()
    path.chmod(0o444)
    assert ClipStore(path).frames(ClipStore(path).videos[0].segments[0]).shape[0] == 3
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_second_writer_is_refused(path):
    with ClipWriter(path, ABOUT), pytest.raises(ValueError, match="in use by another run"):
        ClipWriter(path, ABOUT)


def test_files_of_others_are_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("my notes")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    for path in (text, other):
        with pytest.raises(ValueError, match="holds no prepared clips"):
            ClipStore(path)
        with pytest.raises(ValueError, match="no prepared clips"):
            ClipWriter(path, ABOUT)
    assert text.read_text() == "my notes"
    assert not is_clip_store(text)
    with pytest.raises(FileNotFoundError, match="no such file"):
        ClipStore(tmp_path / "missing.clips")


def test_damage_is_named(path):
    store = ClipStore(path)
    first = store.videos[1].segments[0].first_picture
    with sqlite3.connect(path) as database:
        database.execute("UPDATE pictures SET jpeg = x'00' WHERE id = ?", (first + 2,))
        database.execute("DELETE FROM pictures WHERE id = ?", (first + 10,))
    database.close()
    with pytest.raises(ValueError, match=rf"damaged: picture {first + 2}"):
        store.frames(store.videos[1].segments[0], 0, 4)
    with pytest.raises(ValueError, match=r"pictures from \d+ are missing"):
        store.frames(store.videos[1].segments[0], 5)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="or is damaged"):
        ClipStore(path).frames(store.videos[1].segments[0])


def test_a_full_disk_is_an_oserror_and_what_was_there_stays(tmp_path):
    path = tmp_path / "x.clips"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with ClipWriter(path, ABOUT) as writer:
            writer.add("red/a.mp4", (1,), "a", "print-a", [(0.0, pictures(0, 3))])
            # A limit on file sizes fails writes as a full disk does.
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 4096, hard))
            with pytest.raises(OSError, match="cannot be written"):
                writer.add("red/b.mp4", (1,), "b", "print-b", [(0.0, pictures(1, 200))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    with ClipWriter(path, ABOUT) as writer:
        assert writer.fingerprints() == {"red/a.mp4": "print-a"}
        writer.finish()
    assert len(ClipStore(path).videos) == 1
