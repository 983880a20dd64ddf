"""`runtime` where videos are bad, few or many: what counts, and what a run that goes on knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kinema.evaluation import runtime as module
from kinema.evaluation.runtime import Cell, runtime
from kinema.threads import num_usable_cores
from kinema.video.loop import Reading
from kinema.video.sources import as_source
from kinema.video.synthetic import write_video


def noise(num_frames, side=40):
    return np.random.default_rng(0).integers(0, 256, (num_frames, side, side, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "v").mkdir()
    return tmp_path / "v"


def measured(system, videos, seconds=60.0):
    """In this process, on all of its cores, so that they are left as they are."""
    sources = tuple(map(as_source, videos))
    work = module._Work(system, num_usable_cores(), None, 16, 8, seconds, Reading(), sources)
    return module._measured(work)


def test_frames_of_skipped_videos_do_not_count(folder):
    write_video(folder / "a.mp4", noise(30, side=24))  # too small for a descriptor
    write_video(folder / "b.mp4", noise(5))
    cell, skipped = measured("idt", [folder / "a.mp4", folder / "b.mp4"])
    assert cell.num_frames == 5
    (one,) = skipped
    assert one.reason.startswith("frame 0 is 24x24: each side must be at least 32 pixels")
    with pytest.raises(ValueError, match=r"none can \(.*a\.mp4: frame 0 is 24x24"):
        measured("idt", [folder / "a.mp4"])


def test_frames_that_were_read_ahead_do_not_count(folder, monkeypatch):
    for name in "ab":
        write_video(folder / f"{name}.mp4", noise(6))
    videos = tuple(as_source(folder / f"{name}.mp4") for name in "ab")

    def write(found, file):
        list(found)
        time.sleep(0.5)  # the next video is being read

    passed = module._Passed(lambda num: num < 7)
    system = (lambda frames, info: (frame.image for frame in frames)), write
    work = module._Work("dis", 1, None, 16, 8, 1.0, Reading(), videos)
    passed.go(system, work, folder / "out")
    assert passed.num == 6  # one of the second was read and not used


def test_too_few_seconds_are_told(folder):
    write_video(folder / "a.mp4", noise(5))
    with pytest.raises(ValueError, match="`seconds` 1e-09 is too short: no frame was done"):
        measured("dis", [folder / "a.mp4"], seconds=1e-9)


def test_a_run_that_goes_on_knows_what_was_skipped_and_what_was_short(folder, tmp_path):
    write_video(folder / "a.mp4", noise(5))
    (folder / "b.mp4").write_bytes(b"no video")
    asked = {"out": tmp_path / "out", "systems": ["dis"], "seconds": 30.0, "threads": 1}
    first = runtime([folder], **asked)
    assert [os.path.basename(one.path) for one in first.skipped] == ["b.mp4"]
    (note,) = first.notes
    assert note.startswith("DIS flow (CPU), a stand-in for Brox, 1 core: measured for ")
    again = runtime([folder], **asked)
    assert again.as_mapping() == first.as_mapping()
    write_video(folder / "a.mp4", noise(7))
    assert [cell.num_frames for cell in runtime([folder], **asked).cells] == [7]


@pytest.mark.parametrize("wrong", [("none", 1, 1.0), ("dis", 0, 1.0), ("dis", 1, 0.0)])
def test_other_cells_are_refused(wrong):
    system, num_frames, seconds = wrong
    with pytest.raises(ValueError, match="there is no such cell"):
        Cell(system, 1, num_frames, seconds)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="waits for a process by /proc")
@pytest.mark.parametrize("to", ["group", "parent"])
def test_ctrl_c_ends_it_at_once_in_one_line(folder, tmp_path, to):
    write_video(folder / "a.mp4", np.tile(noise(1, side=320), (600, 1, 1, 1)))
    command = ["runtime", str(folder), "--out", str(tmp_path / "out"), "--systems", "brox"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kinema", *command, "--seconds", "60", "--threads", "1"],
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text():  # PyTorch, which is imported before, can be ended by force only
        time.sleep(0.05)
    time.sleep(0.7)
    begun = time.monotonic()
    (os.killpg if to == "group" else os.kill)(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=50)
    assert process.returncode == 130
    assert time.monotonic() - begun < 40  # of the 60 it was to take
    assert "Traceback" not in error
    assert error.strip().endswith("kinema: stopped; the same command goes on from here.")
