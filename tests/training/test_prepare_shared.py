"""Shared preparation writes a single run's bytes, whoever dies, wherever clips lie meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kinema.cli.app import main
from kinema.sharing import claims
from kinema.skipped import EngineError
from kinema.store import open_store
from kinema.training import clip_part, prepare_shared
from kinema.training.clip_maker import ClipMaker
from kinema.training.clip_store import ClipStore
from kinema.training.clip_writer import ClipWriter
from kinema.training.prepare import prepare
from kinema.training.recording import Recording
from kinema.video.loop import Reading
from kinema.video.sources import fingerprint
from kinema.video.synthetic import write_video

from small_videos import draw, write_folder
from stores import rows_of

pytest.importorskip("pyarrow")

TESTS = Path(__file__).parent.parent
SIZE = (24, 32)
ENDING = clip_part.ENDING


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Forty videos of three chunks, two of them bad, and what a single run makes of them."""
    folder = tmp_path_factory.mktemp("prepared") / "kept"
    for number in range(38):
        label = ("blue", "green", "red")[number % 3]
        frames = draw(label, number, 20 + number % 5, (72, 96))
        write_video(folder / "videos" / label / f"{number:02d}.mp4", frames)
    (folder / "videos" / "red" / "empty.mp4").write_bytes(b"")
    (folder / "videos" / "blue" / "text.mp4").write_text("no video")
    prepare(folder / "videos", out=folder / "single.clips", size=SIZE)
    return folder


@pytest.fixture
def few(tmp_path):
    return write_folder(tmp_path / "videos", num_videos=2)


def start(kept, out, place) -> subprocess.Popen:
    command = ["prepare", str(kept / "videos"), "--out", str(out), "--shared", str(place)]
    program = [sys.executable, str(TESTS / "features" / "shared_process.py"), *command]
    options = ["--size", "24x32", "--threads", "1", "--max-skipped", "2"]
    return subprocess.Popen([*program, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def end(process) -> str:
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return out.decode()


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def test_three_processes_on_one_folder_one_of_which_is_killed(kept, tmp_path, capsys):
    place, outs = tmp_path / "place", [tmp_path / f"{name}.clips" for name in "abb"]
    processes = [start(kept, out, place) for out in outs]  # the last two write one file
    store = open_store(place)
    for _ in range(2400):
        if store.times(claims.BEATS):
            break
        time.sleep(0.02)
    time.sleep(random.random() * 0.2)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    for process in processes[1:]:
        assert " of 40 videos prepared" in end(process)
    assert same(outs[1], kept / "single.clips")
    # A machine that comes when all is done has its own file, too.
    assert "0 of 40 videos prepared, 38 by others or before" in end(start(kept, outs[0], place))
    assert same(outs[0], kept / "single.clips")
    assert not [*tmp_path.rglob("*.kinema-partial")]
    rows = {row.name: row for row in rows_of(store)}
    assert len(rows) == 40
    for name, row in rows.items():
        path = place / f"{name}{ENDING}"
        assert path.exists() == (not row.reason)
        if not row.reason:
            assert row.fingerprint == fingerprint(kept / "videos" / name)
    skipped = ClipStore(outs[1]).skipped
    assert [(each["path"], each["reason"]) for each in skipped] == [
        (name, rows[name].reason) for name in ("blue/text.mp4", "red/empty.mp4")
    ]
    assert rows["red/empty.mp4"].reason == "the file is empty."
    capsys.readouterr()
    assert main(["status", str(place)]) == 0
    printed = capsys.readouterr()
    assert "40 of 40 videos (100.0 %), 2 of them skipped" in printed.out
    assert "skipped red/empty.mp4: the file is empty." in printed.err


def test_two_processes_on_s3(kept, s3, tmp_path):
    place = f"s3://{s3.bucket()}/clips"
    processes = [start(kept, tmp_path / f"{name}.clips", place) for name in "ab"]
    for process, name in zip(processes, "ab", strict=True):
        end(process)
        assert same(tmp_path / f"{name}.clips", kept / "single.clips")
    assert len(rows_of(open_store(place))) == 40


def test_segments_flow_and_parts_of_files(tmp_path):
    """A test video has other clips than a training video, and a part of a file others than all."""
    videos = write_folder(tmp_path / "videos", num_videos=2, num_frames=75)
    listed = tmp_path / "list.csv"
    lines = ["path,label,start_seconds,stop_seconds,split"]
    for number, path in enumerate(sorted(videos.rglob("*.mp4"))):
        stop = ("", "2.8")[number % 2]
        side = ("train", "test")[number // 2 % 2]
        lines.append(f"{path},{path.parent.name},0,{stop},{side}")
    listed.write_text("\n".join(lines))
    given = {"clips": "five", "streams": ("rgb", "flow"), "size": SIZE}
    prepare(listed, out=tmp_path / "single.clips", **given)
    prepare(listed, out=tmp_path / "x.clips", shared=tmp_path / "place", **given)
    assert same(tmp_path / "x.clips", tmp_path / "single.clips")
    kept = [len(video.segments) for video in ClipStore(tmp_path / "x.clips").videos]
    assert kept == [5, 5, 10, 10, 5, 5]
    listed.write_text(listed.read_text().replace("2.8", "2.9", 1))
    with pytest.raises(ValueError, match="the list changed: .*with other clips"):
        prepare(listed, out=tmp_path / "y.clips", shared=tmp_path / "place", **given)
    listed.write_text(listed.read_text().replace("2.9", "2.8").replace(",test", ",train", 1))
    with pytest.raises(ValueError, match="the list changed: .*with other clips"):
        prepare(listed, out=tmp_path / "y.clips", shared=tmp_path / "place", **given)
    assert not (tmp_path / "y.clips").exists()


def test_other_settings_and_another_list_are_refused(few, tmp_path, capsys):
    place = tmp_path / "place"
    command = ["prepare", str(few), "--shared", str(place), "--out"]
    assert main([*command, str(tmp_path / "x.clips"), "--size", "24x32"]) == 0
    capsys.readouterr()
    for change, message in (
        (["--size", "32x32"], f"--shared {place} was made with size [24, 32], now it is [32, 32]"),
        (["--size", "24x32", "--quality", "90"], "was made with quality 95, now it is 90"),
        (
            ["--size", "24x32", "--colours", "original"],
            "was made with colours file, now it is original",
        ),
        (
            ["--size", "24x32", "--streams", "rgb,flow"],
            "was made with streams {'rgb': {'channels': 3}}, now it",
        ),
    ):
        assert main([*command, str(tmp_path / "y.clips"), *change]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    write_video(few / "red" / "new.mp4", draw("red", 9, 5))
    assert main([*command, str(tmp_path / "y.clips"), "--size", "24x32"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the list changed" in line
    assert "(red/new.mp4 new)" in line
    assert not (tmp_path / "y.clips").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shared": "s3://key:word@bucket/x"}, "environment"),
        ({"shared": "x.clips"}, "`shared` x.clips is `out`"),
        ({"shared": "a-file"}, "a file is there, where a folder is needed"),
        ({"shared": "place", "out": "a-file"}, "a-file is there already and holds no prepared"),
        ({"shared": "place", "out": "birds"}, "birds is there already and holds no prepared"),
        ({"shared": "place", "out": "before.clips"}, "begun with other size"),
        ({"shared": "features"}, "run.json is not of a run of this kind; choose another `shared`"),
    ],
)
def test_what_is_refused_before_a_video_is_read(few, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("text")
    with contextlib.closing(sqlite3.connect("birds")) as database:
        database.execute("CREATE TABLE birds (name TEXT)")
    prepare(few, out="before.clips", size=(32, 32))
    Path("features").mkdir()
    run = {"format": "kinema-extraction-1", "settings": {}, "versions": {}}
    Path("features", "run.json").write_text(json.dumps(run))
    monkeypatch.setattr(ClipMaker, "make", None)
    with pytest.raises(ValueError, match=message):
        prepare(few, **{"out": "x.clips", "size": SIZE, **given})
    assert not Path("x.clips").exists()
    assert not Path("place").exists()


def test_a_file_that_is_whole_is_left_alone(few, tmp_path):
    out = tmp_path / "x.clips"
    (few / "red" / "bad.mp4").write_bytes(b"")
    prepare(few, out=out, size=SIZE)
    before = (out.read_bytes(), out.stat().st_mtime_ns)
    report = prepare(few, out=out, size=SIZE, shared=tmp_path / "place")
    assert not (tmp_path / "place").exists()
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before
    assert (report.num_done, report.num_found, report.num_bytes) == (0, 6, len(before[0]))
    assert [str(each) for each in report.skipped] == [f"{few}/red/bad.mp4: the file is empty."]
    shutil.copy(few / "red" / "red_0.mp4", few / "red" / "red_1.mp4")
    with pytest.raises(ValueError, match="another video of the name red/red_1.mp4"):
        prepare(few, out=out, size=SIZE, shared=tmp_path / "place")
    assert not (tmp_path / "place").exists()


def test_a_file_that_another_process_writes_is_waited_for(few, tmp_path):
    out, single = tmp_path / "x.clips", tmp_path / "single.clips"
    prepare(few, out=single, size=SIZE)
    about = {
        key: value
        for key, value in ClipStore(single).about.items()
        if key not in ("format", "finished")
    }
    with ClipWriter(out, about):
        given = {"out": out, "size": SIZE, "shared": tmp_path / "place"}
        thread = threading.Thread(target=prepare, args=[few], kwargs=given)
        thread.start()
        thread.join(1.5)
        assert thread.is_alive()
        assert len(rows_of(open_store(tmp_path / "place"))) == 6
    thread.join(20)
    assert contents(out) == contents(single)


def contents(path):
    """What a store's videos are, with all that is kept of them."""
    store = ClipStore(path)
    return [
        (video.name, video.labels, segment.start_seconds, store.frames(segment).tobytes())
        for video in store.videos
        for segment in video.segments
    ]


def test_parts_that_are_damaged_or_gone_are_made_again(few, tmp_path):
    place, given = tmp_path / "place", {"size": SIZE, "shared": tmp_path / "place"}
    prepare(few, out=tmp_path / "a.clips", **given)
    damaged, gone = (place / f"red/red_{n}.mp4{ENDING}" for n in (0, 1))
    before = [damaged.read_bytes(), gone.read_bytes()]
    damaged.write_bytes(before[0][:500] + bytes(10) + before[0][510:])
    gone.unlink()
    report = prepare(few, out=tmp_path / "b.clips", **given)
    assert same(tmp_path / "a.clips", tmp_path / "b.clips")
    assert [damaged.read_bytes(), gone.read_bytes()] == before
    assert "made again: the clips of 2 videos (red/red_0.mp4, red/red_1.mp4)" in report.notes[0]
    # What cannot be made again ends the run, and no file is taken for whole.
    gone.unlink()
    shutil.copy(few / "red" / "red_0.mp4", few / "red" / "red_1.mp4")
    with pytest.raises(EngineError, match=r"red_1.mp4: its clips are others now"):
        prepare(few, out=tmp_path / "c.clips", **given)
    with pytest.raises(ValueError, match="was not finished"):
        ClipStore(tmp_path / "c.clips")


def test_stopped_while_it_writes_it_goes_on(few, tmp_path, monkeypatch):
    given = {"size": SIZE, "shared": tmp_path / "place"}
    prepare(few, out=tmp_path / "single.clips", size=SIZE)
    real, read = clip_part.from_bytes, []

    def from_bytes(data):
        read.append(1)
        if len(read) == 4:
            raise KeyboardInterrupt
        return real(data)

    monkeypatch.setattr(clip_part, "from_bytes", from_bytes)
    with pytest.raises(KeyboardInterrupt):
        prepare(few, out=tmp_path / "x.clips", **given)
    read.clear()
    monkeypatch.setattr(clip_part, "from_bytes", lambda data: read.append(1) or real(data))
    prepare(few, out=tmp_path / "x.clips", **given)
    assert 1 <= len(read) < 6
    assert contents(tmp_path / "x.clips") == contents(tmp_path / "single.clips")


def test_who_takes_part_needs_the_pickled_job_alone(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from kinema.datasets import load
    from kinema.training.preparation import Preparation

    maker = ClipMaker(recording=Recording(size=SIZE))
    preparation = Preparation(load("videos"), Path("x.clips"), maker, Reading())
    job, notes = prepare_shared.begin(preparation, "place")
    assert not notes
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = prepare_shared.take_part(pickle.loads(pickle.dumps(job)))
    assert (found.num_videos, found.num_done) == (6, 6)
    monkeypatch.chdir(tmp_path)
    report = prepare("videos", out="x.clips", size=SIZE, shared="place")
    assert (report.num_done, report.num_found) == (0, 6)
    prepare("videos", out="single.clips", size=SIZE)
    assert same(Path("x.clips"), Path("single.clips"))


DEADLY = """
import os, signal, sys, time
from pathlib import Path
from kinema.cli.app import main
from kinema.sharing import claims, loop
from kinema.video.reader import VideoReader
claims.BEAT_SECONDS, claims.SOON_SECONDS, claims.STALE_SECONDS = 0.1, 0.02, 1.0
loop.POLL_SECONDS = 0.1
real = VideoReader.__iter__
def frames(self):
    if self.path.name == "red_1.mp4":
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    yield from real(self)
VideoReader.__iter__ = frames
sys.exit(main(sys.argv[1:]))
"""


def test_a_video_with_which_three_processes_died_is_skipped(few, tmp_path):
    out, place = str(tmp_path / "x.clips"), str(tmp_path / "place")
    command = ["prepare", str(few), "--out", out, "--shared", place, "--size", "24x32"]
    ends = []
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", DEADLY, *command], capture_output=True)
        ends.append(done.returncode)
    assert ends == [-signal.SIGKILL] * 3 + [1], done.stderr
    reason = "3 processes died while it was read."
    assert ClipStore(out).skipped == ({"path": "red/red_1.mp4", "reason": reason},)
    assert len(ClipStore(out).videos) == 5


def test_a_part_gives_back_what_it_was_given():
    segments = [
        (1.25, {"rgb": [b"a", b"", b"ccc"], "flow": [b"x", b"yy", b"z"]}),
        (0.1, {"rgb": [b"d"], "flow": [os.urandom(1000)]}),
    ]
    data = clip_part.to_bytes(segments)
    given_back = [
        (start, {stream: [*frames] for stream, frames in kept.items()})
        for start, kept in clip_part.from_bytes(data)
    ]
    assert given_back == segments
    assert clip_part.to_bytes(clip_part.from_bytes(data)) == data
