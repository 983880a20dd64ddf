"""Clips of videos in one file of a cache: found by content, by several runs, after a kill."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from sklearn.base import clone

from kinema.features.together import fill
from kinema.skipped import Skipped, VideoError
from kinema.training.clip_store import ClipStore
from kinema.training.kept_clips import KeptClips
from kinema.training.prepare import prepare
from kinema.video.reader import VideoReader
from kinema.video.sources import Source, as_source
from kinema.video.synthetic import write_video

from small_videos import draw, write_folder

BOTH = ("rgb", "flow")


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "videos", num_videos=2, num_frames=10)


def sources_of(folder):
    return [as_source(path) for path in sorted(folder.rglob("*.mp4"))]


@pytest.fixture
def num_decoded(monkeypatch):
    counts = {}
    walked = VideoReader.__iter__

    def counted(reader):
        counts[reader.path.name] = counts.get(reader.path.name, 0) + 1
        yield from walked(reader)

    monkeypatch.setattr(VideoReader, "__iter__", counted)
    return counts


def test_it_keeps_what_prepare_prepares(folder, tmp_path):
    prepare(folder, out=tmp_path / "x.clips", size=(24, 32), streams=BOTH)
    expected = ClipStore(tmp_path / "x.clips")
    kept = KeptClips(BOTH, (24, 32), tmp_path / "cache")
    sources = sources_of(folder)
    store, videos = kept.stored(sources[::-1])
    assert [video.name for video in videos] == [source.name for source in sources[::-1]]
    assert {video.labels for video in videos} == {()}
    assert (store.classes, store.size, store.streams) == ((), (24, 32), {"rgb": 3, "flow": 2})
    for one, two in zip(expected.videos, videos[::-1], strict=True):
        (segment,), (other,) = one.segments, two.segments
        assert segment.start_seconds == other.start_seconds
        for stream in BOTH:
            np.testing.assert_array_equal(
                expected.frames(segment, stream=stream), store.frames(other, stream=stream)
            )


def test_a_video_is_found_by_its_content(folder, tmp_path, num_decoded):
    kept = KeptClips(("rgb",), (24, 32), tmp_path / "cache")
    sources = sources_of(folder)
    _, first = kept.stored(sources)
    assert set(num_decoded.values()) == {1}
    num_decoded.clear()
    shutil.copytree(folder, tmp_path / "elsewhere")
    store, again = clone(kept).stored(sources_of(tmp_path / "elsewhere"))
    assert not num_decoded
    assert [v.segments for v in again] == [v.segments for v in first]
    assert len(list((tmp_path / "cache").glob("*.clips"))) == 1
    # A changed one is another, and the old one stays.
    before = store.frames(first[0].segments[0])
    write_video(sources[0].path, draw("red", 77, 9))
    store, changed = kept.stored(sources)
    assert num_decoded == {sources[0].path.name: 1}
    assert changed[0].segments[0].num_frames == 9
    assert changed[1:] == first[1:]
    np.testing.assert_array_equal(store.frames(first[0].segments[0]), before)
    # Two of the same content are one in the file, and two to the caller.
    shutil.copy(sources[1].path, tmp_path / "twin.mp4")
    _, twins = kept.stored([sources[1], tmp_path / "twin.mp4"])
    assert twins[0].segments == twins[1].segments
    assert [twin.name for twin in twins] == [sources[1].name, "twin.mp4"]


def test_other_settings_are_kept_in_another_file(tmp_path):
    files = {
        KeptClips(*given, tmp_path, **more).file
        for given, more in [
            ((("rgb",), (24, 32)), {}),
            ((BOTH, (24, 32)), {}),
            ((BOTH, (24, 32)), {"flow": "brox"}),
            ((("rgb",), (24, 30)), {}),
            ((("rgb",), (24, 32)), {"quality": 90}),
            ((("rgb",), (24, 32)), {"colours": "original"}),
        ]
    }
    assert len(files) == 6
    same = KeptClips(["flow", "rgb"], [24, 32], tmp_path, threads=7, video_seconds=3.0).file
    assert same == KeptClips(BOTH, (24, 32), tmp_path).file


def test_fill_decodes_a_video_once_for_several(folder, tmp_path, num_decoded):
    sources = sources_of(folder)
    describers = [
        KeptClips(("rgb",), (24, 32), tmp_path / "cache"),
        KeptClips(BOTH, (16, 16), tmp_path / "cache"),
        KeptClips(("rgb",), (24, 32), tmp_path / "cache"),  # again: its step is the first one's
    ]
    assert all(skipped is None for _, skipped in fill(describers, sources, threads=2))
    assert set(num_decoded.values()) == {1}
    assert describers[0].step().what == describers[2].step().what
    for describer in describers:
        store, videos = describer.stored(sources)
        assert [store.frames(v.segments[0]).shape[0] for v in videos] == [10] * 6
    assert set(num_decoded.values()) == {1}


def test_parts_of_a_file_are_videos_of_their_own(tmp_path):
    write_video(tmp_path / "x.mp4", draw("red", 0, 60), fps=10)
    parts = [
        Source(tmp_path / "x.mp4", "whole"),
        Source(tmp_path / "x.mp4", "first", stop_seconds=2.0),
        Source(tmp_path / "x.mp4", "last", start_seconds=4.0),
    ]
    _, videos = KeptClips(("rgb",), (24, 32), tmp_path / "cache").stored(parts)
    assert [v.segments[0].num_frames for v in videos] == [60, 20, 20]
    assert [v.segments[0].start_seconds for v in videos] == [0.0, 0.0, 4.0]


def test_what_cannot_be_read_is_named(folder, tmp_path):
    (folder / "red" / "red_0.mp4").write_bytes(b"nothing")
    kept = KeptClips(BOTH, (24, 32), tmp_path / "cache")
    sources = sources_of(folder)
    outcomes = dict(fill([kept], sources))
    (bad,) = [source for source, skipped in outcomes.items() if isinstance(skipped, Skipped)]
    assert bad.name == "red_0.mp4"
    with pytest.raises(VideoError, match=r"red_0\.mp4: "):
        kept.stored(sources)
    _, videos = kept.stored([source for source in sources if source != bad])
    assert len(videos) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache": None}, "`cache` must be a folder"),
        ({"streams": ("depth",)}, "`streams` must be some of"),
        ({"size": (4, 4)}, "`size` must be at least 8x8"),
        ({"flow": "tv-l1"}, "`method` must be one of dis, brox"),
    ],
)
def test_wrong_settings(tmp_path, settings, message):
    kept = KeptClips(**{"size": (24, 32), "cache": tmp_path, **settings})
    clone(kept)  # the constructor takes them as they are
    with pytest.raises(ValueError, match=message):
        kept.step()


def test_a_foreign_file_in_its_place_is_told(tmp_path):
    kept = KeptClips(("rgb",), (24, 32), tmp_path)
    kept.file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="holds no prepared clips"):
        kept.step()


def keep_all(folder, cache, order):
    sources = sources_of(folder)
    KeptClips(BOTH, (24, 32), cache, threads=1).stored(sources[::order])


def test_two_runs_fill_one_file(folder, tmp_path):
    """Each keeps what the other has not kept yet; no video is there twice, none is damaged."""
    cache = tmp_path / "cache"
    spawn = multiprocessing.get_context("spawn")
    runs = [spawn.Process(target=keep_all, args=(folder, cache, order)) for order in (1, -1)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
    assert [run.exitcode for run in runs] == [0, 0]
    kept = KeptClips(BOTH, (24, 32), cache)
    store = ClipStore(kept.file)
    assert len(store.videos) == 6
    alone, videos = KeptClips(BOTH, (24, 32), tmp_path / "alone").stored(sources_of(folder))
    _, found = kept.stored(sources_of(folder))
    for one, two in zip(videos, found, strict=True):
        for stream in BOTH:
            np.testing.assert_array_equal(
                alone.frames(one.segments[0], stream=stream),
                store.frames(two.segments[0], stream=stream),
            )


def test_a_run_waits_while_another_one_writes(folder, tmp_path):
    kept = KeptClips(("rgb",), (24, 32), tmp_path / "cache")
    store, (video, *_) = kept.stored(sources_of(folder)[:1])
    other = sqlite3.connect(kept.file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    done = []

    def write():
        done.append(KeptClips(("rgb",), (24, 32), tmp_path / "cache").stored(sources_of(folder)))

    run = threading.Thread(target=write)
    run.start()
    time.sleep(0.5)
    assert not done
    other.execute("COMMIT")
    other.close()
    run.join(60)
    assert len(done[0][1]) == 6
    assert len(store.frames(video.segments[0])) == 10  # a file that grew is read as before


def test_a_killed_run_is_gone_on_with(tmp_path):
    folder = write_folder(tmp_path / "videos", num_videos=6, num_frames=60)
    cache = tmp_path / "cache"
    code = (
        "from kinema.training.kept_clips import KeptClips; from pathlib import Path; "
        f"KeptClips(('rgb', 'flow'), (24, 32), {str(cache)!r}, threads=1)"
        f".stored(sorted(Path({str(folder)!r}).rglob('*.mp4')))"
    )
    kept = KeptClips(BOTH, (24, 32), cache, threads=1)
    process = subprocess.Popen([sys.executable, "-c", code])
    while process.poll() is None and _size(kept.file) < 500_000:
        time.sleep(0.001)
    process.kill()
    assert process.wait() != 0  # it was killed on the way
    sources = sources_of(folder)
    store, videos = kept.stored(sources)
    whole, expected = KeptClips(BOTH, (24, 32), tmp_path / "whole").stored(sources)
    for one, two in zip(expected, videos, strict=True):
        for stream in BOTH:
            np.testing.assert_array_equal(
                whole.frames(one.segments[0], stream=stream),
                store.frames(two.segments[0], stream=stream),
            )


def _size(file):
    return file.stat().st_size if file.is_file() else 0
