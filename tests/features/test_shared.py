"""Shared extraction gives a single run's bytes, whoever dies, wherever videos and tables lie."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from kinema.cli.app import main
from kinema.features import child
from kinema.features.extraction import extract
from kinema.features.table import FeatureTable
from kinema.network import Conv3d, Linear, MaxPool3d, Network
from kinema.sharing import claims
from kinema.store import open_store
from kinema.video.sources import fingerprint
from kinema.weights.file import random_weights

from odd_videos import write_video
from stores import KEY, SECRET, rows_of

pytest.importorskip("pyarrow")

TINY = random_weights(
    Network(
        (3, 16, 112, 112),
        (Conv3d("conv1a", 2), MaxPool3d("pool1", (4, 16, 16)), Linear("fc6", 7)),
    ),
    name="tiny",
)
TESTS = Path(__file__).parent.parent
NUM_VIDEOS = 40


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Forty videos of 16 frames, two of them bad; weights; and what a single run makes of them."""
    folder = tmp_path_factory.mktemp("shared") / "kept"
    videos = folder / "videos"
    videos.mkdir(parents=True)
    for number in range(NUM_VIDEOS - 2):
        write_video(videos / f"{number:02d}.mp4", 16 + number % 3, first_index=20 * number)
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("no video")
    TINY.save(folder / "tiny.safetensors")
    extract(videos, out=folder / "single", weights=str(folder / "tiny.safetensors"), threads=1)
    return folder


def arguments(kept, out, videos="videos") -> list[str]:
    place = videos if "://" in str(videos) else str(kept / videos)
    weights = str(kept / "tiny.safetensors")
    return ["extract", place, "--out", str(out), "--weights", weights, "--shared", "--threads", "1"]


def start(kept, out, videos="videos") -> subprocess.Popen:
    program = [sys.executable, str(TESTS / "features" / "shared_process.py")]
    return subprocess.Popen(
        [*program, *arguments(kept, out, videos), "--max-skipped", "2"], stderr=subprocess.PIPE
    )


def check_same(kept, out) -> None:
    """Each video's file, and run.json, are those of the single run; each is told of once."""
    store, single = open_store(out), kept / "single"
    rows = rows_of(store)
    assert Counter(row.name for row in rows) == Counter(
        path.name for path in (kept / "videos").iterdir()
    )
    files = sorted(path.name for path in single.glob("*.safetensors"))
    assert len(files) == NUM_VIDEOS - 2
    for name in [*files, "run.json"]:
        assert store.read(name) == (single / name).read_bytes(), name
    skipped = map(json.loads, (single / "skipped.jsonl").read_text().splitlines())
    reasons = {Path(one["path"]).name: one["reason"] for one in skipped}
    assert {row.name: row.reason for row in rows if row.reason} == reasons
    for row in rows:
        if not row.reason:
            assert row.fingerprint == fingerprint(kept / "videos" / row.name)
            assert row.num_clips == len(FeatureTable.load(single / f"{row.name}.safetensors"))


def three_of_which_one_is_killed(kept, out, videos="videos") -> None:
    processes = [start(kept, out, videos) for _ in range(3)]
    store = open_store(out)
    for _ in range(1200):
        if store.times(claims.BEATS):
            break
        time.sleep(0.05)
    time.sleep(random.random() * 0.3)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    for process in processes[1:]:
        errors = process.communicate(timeout=500)[1]
        assert process.returncode == 0, errors


def test_three_processes_on_one_folder(kept, tmp_path, capsys):
    out = tmp_path / "out"
    three_of_which_one_is_killed(kept, out)
    check_same(kept, out)
    assert not [*out.rglob("*.kinema-partial")]
    capsys.readouterr()
    assert main(["status", str(out)]) == 0
    printed = capsys.readouterr()
    assert "40 of 40 videos (100.0 %), 2 of them skipped" in printed.out
    assert "skipped empty.mp4: the file is empty." in printed.err
    assert main(["status", str(out), "--json", "--max-skipped", "1"]) == 1
    assert json.loads(capsys.readouterr().out)["num_skipped"] == 2


def test_three_processes_and_videos_on_s3(kept, s3):
    """Videos come from one bucket and tables go to another one; no credentials are written."""
    source, target = s3.bucket(), s3.bucket()
    for path in (kept / "videos").iterdir():
        s3.client.upload_file(str(path), source, f"some/videos/{path.name}")
    out = f"s3://{target}/features"
    three_of_which_one_is_killed(kept, out, f"s3://{source}/some/videos")
    check_same(kept, out)
    for entry in s3.client.list_objects_v2(Bucket=target)["Contents"]:
        data = s3.client.get_object(Bucket=target, Key=entry["Key"])["Body"].read()
        assert KEY.encode() not in data
        assert SECRET.encode() not in data
    name = "05.mp4.safetensors"
    table = FeatureTable.load(f"{out}/{name}")
    assert (table.features == FeatureTable.load(kept / "single" / name).features).all()
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        FeatureTable.load(f"{out}/none.safetensors")


@pytest.fixture
def few(kept, tmp_path):
    """Five videos in a folder."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("00.mp4", "01.mp4", "02.mp4", "03.mp4", "04.mp4"):
        os.link(kept / "videos" / name, folder / name)
    return folder


CHILD = """
import os, signal, time
from kinema.features import child
from kinema.video.reader import VideoReader
real = VideoReader.__iter__
def frames(self):
    if "01" in str(self.path):
        os.kill(os.getpid(), signal.SIGSEGV)
    if "03" in str(self.path):
        while True: time.sleep(1)
    yield from real(self)
VideoReader.__iter__ = frames
child.main()
"""


def test_videos_that_hang_or_crash_are_killed_in_their_child(kept, few, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "PROGRAM", CHILD)
    monkeypatch.setattr(child, "GRACE_SECONDS", 3.0)
    report = extract(
        few, out=tmp_path / "out", weights=TINY, video_seconds=9, shared=True, threads=1
    )
    assert {each.path: each.reason for each in report.skipped} == {
        "01.mp4": "the process that read it died (SIGSEGV).",
        "03.mp4": "it gave nothing for 12 s, and its process was killed.",
    }
    assert report.num_done == 3
    for name in ("00.mp4", "02.mp4", "04.mp4"):
        made = FeatureTable.load(tmp_path / "out" / f"{name}.safetensors")
        single = FeatureTable.load(kept / "single" / f"{name}.safetensors")
        assert (made.features == single.features).all()


def test_another_list_and_other_settings_are_refused(few, tmp_path):
    given = {"out": tmp_path / "out", "weights": TINY, "shared": True, "threads": 1}
    report = extract(few, **given)
    assert (report.num_done, report.num_found) == (5, 0)
    with pytest.raises(ValueError, match="was made with stride 8, now it is 16"):
        extract(few, stride=16, **given)
    (few / "04.mp4").unlink()
    with pytest.raises(ValueError, match=r"the list changed: .*\(04.mp4 gone\)"):
        extract(few, **given)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{few / name} 0 1\n" for name in ("00.mp4", "01.mp4")))
    with pytest.raises(ValueError, match="clips"):
        extract(list=listed, **given)


def test_a_single_run_goes_on_as_a_shared_one_and_back(kept, few, tmp_path):
    out, weights = tmp_path / "out", str(kept / "tiny.safetensors")
    extract(few, out=out, weights=weights, threads=1)
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    extract(few, out=out, weights=weights, threads=1, shared=True)
    assert {path.name: path.read_bytes() for path in out.glob("*.safetensors")} == before
    assert extract(few, out=out, weights=weights, threads=1).num_found == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "npy"}, "`format` of a shared run must be one of safetensors"),
        ({"weights": "not-there"}, "not-there"),
        ({"out": "s3://key:word@bucket/x"}, "environment"),
    ],
)
def test_what_is_refused_at_once(few, tmp_path, change, message):
    given = {"out": tmp_path / "out", "weights": TINY, "shared": True, **change}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        extract(few, **given)
    assert not (tmp_path / "out").exists()


def test_urls_are_for_shared_runs(few, tmp_path):
    for paths, out in (([few], "s3://bucket/x"), (["s3://bucket/a.mp4"], tmp_path)):
        with pytest.raises(ValueError, match="URLs are taken by shared runs alone"):
            extract(paths, out=out, weights=TINY)
