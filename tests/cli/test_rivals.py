"""`kinema trajectories`: rows, picture, and one line where it cannot be done."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np
import pytest

from kinema.cli.app import main
from kinema.features.trajectories import track
from kinema.features.trajectory_files import KEPT_COLOUR, REMOVED_COLOUR
from kinema.video.reader import VideoReader
from kinema.video.synthetic import write_video


def scene(num_frames, size=(96, 160)):
    """A textured square over a ground that a camera passes: (T, H, W, 3) uint8."""
    generator = np.random.default_rng(0)
    ground = cv2.GaussianBlur(generator.normal(size=(size[0], size[1] + 200)), (0, 0), 2)
    figure = cv2.GaussianBlur(generator.normal(size=(32, 32)), (0, 0), 2)
    frames = []
    for t in range(num_frames):
        frame = ground[:, 2 * t : 2 * t + size[1]] * 250 + 128
        rows = min(32, size[0] - 20)
        frame[20 : 20 + rows, 2 + 2 * t : 34 + 2 * t] = figure[:rows] * 250 + 128
        frames.append(np.repeat(np.clip(frame, 0, 255)[..., None], 3, axis=-1).astype(np.uint8))
    return np.stack(frames)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    write_video(path, scene(36))
    return path


def rows_of(text):
    lines = text.splitlines()
    assert all(line.endswith("\t") and line.count("\t") == 436 for line in lines)
    return np.array([line.split() for line in lines], np.float64).reshape(-1, 436)


def grey(video):
    return [cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY) for frame in VideoReader(video)]


@pytest.mark.parametrize("sampling_rate", [1, 2])
def test_prints_rows_as_the_original(capsys, video, sampling_rate):
    assert main(["trajectories", str(video), "--sampling-rate", str(sampling_rate)]) == 0
    captured = capsys.readouterr()
    found = rows_of(captured.out)
    frames = grey(video)[::sampling_rate]
    expected = np.concatenate(list(track(frames, num_frames=len(frames))))
    assert len(expected) > 20
    assert np.allclose(found, expected, rtol=0, atol=6e-7 * np.maximum(1, np.abs(expected)))
    assert captured.err.startswith(f"{len(found)} tracks in {36 // sampling_rate} frames, ")
    assert captured.err.count("\n") == 1


def test_writes_rows_and_a_picture(capsys, video, tmp_path):
    out, picture = tmp_path / "new" / "rows.txt", tmp_path / "picture.png"
    command = ["trajectories", str(video), "--out", str(out), "--picture", str(picture)]
    assert main([*command, "--threads", "1"]) == 0
    assert capsys.readouterr().out == ""
    assert len(rows_of(out.read_text())) > 20
    drawn = cv2.imread(str(picture))
    assert drawn.shape == (4 * 96, 4 * 160, 3)
    kept, removed = (
        np.argwhere((drawn == colour).all(axis=2)) for colour in (KEPT_COLOUR, REMOVED_COLOUR)
    )
    # The square walks 20 to 52 pixels down, here four times as many; the ground is all around.
    assert len(kept) > 200
    assert ((kept[:, 0] > 4 * 15) & (kept[:, 0] < 4 * 57)).mean() > 0.98
    assert len(removed) > 1000
    assert removed[:, 0].min() < 4 * 10
    assert removed[:, 0].max() > 4 * 80
    assert [file.name for file in tmp_path.iterdir()] in (
        [["new", "picture.png"], ["picture.png", "new"]]
    )


def test_a_short_clip_gives_no_rows_and_says_why(capsys, tmp_path):
    path, out = tmp_path / "short.mp4", tmp_path / "rows.txt"
    write_video(path, scene(15))
    picture = tmp_path / "picture.png"
    assert main(["trajectories", str(path), "--out", str(out), "--picture", str(picture)]) == 0
    assert out.read_text() == ""
    assert picture.is_file()
    assert "0 tracks in 15 frames" in (err := capsys.readouterr().err)
    assert "A track takes 16 frames." in err


def test_boxes_are_read_and_checked(capsys, video, tmp_path):
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("".join(f"{t} {2 * t} 18 {2 * t + 36} 54 1\n" for t in range(36)))
    assert main(["trajectories", str(video), "--boxes", str(boxes)]) == 0
    assert len(rows_of(capsys.readouterr().out)) > 20
    boxes.write_text("0 1 2\n")
    assert main(["trajectories", str(video), "--boxes", str(boxes)]) == 2
    assert f"{boxes}, line 1: must be a frame's number and five numbers" in capsys.readouterr().err


def test_what_cannot_be_done_costs_one_line(capsys, video, tmp_path):
    small, text = tmp_path / "small.mp4", tmp_path / "text.mp4"
    write_video(small, scene(20, size=(24, 160)))
    text.write_text("no video")
    (tmp_path / "folder").mkdir()
    boxes, both = tmp_path / "boxes.txt", tmp_path / "both.png"
    boxes.write_text("0 1 2 3 4 1\n")
    for arguments, message in {
        (str(video), "--boxes", str(boxes), "--out", str(boxes)): "that is the file of boxes;",
        (str(video), "--out", str(both), "--picture", str(both)): "that is --out; name another",
        ("none.avi",): "none.avi: no such file.",
        (str(text),): f"{text}: ",
        (str(small),): f"{small}: its frames are 160x24 pixels; each side must be at least 32",
        (str(video), "--boxes", "none.txt"): "none.txt: no such file.",
        (str(video), "--picture", "p.jpg"): "p.jpg: its name must end in .png.",
        (str(video), "--out", str(video)): "that is the video; name another file.",
        (str(video), "--out", str(tmp_path / "folder")): "a folder of this name is there already.",
        (str(video), "--sampling-rate", "0"): "--sampling-rate must be at least 1 frame, got 0.",
        (str(video), "--threads", "0"): "--threads must be at least 1, got 0.",
    }.items():
        assert main(["trajectories", *arguments]) == 2, arguments
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_device_or_pipe_is_left_as_it_is(capsys, video, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert main(["trajectories", str(video), "--out", str(tmp_path / "pipe")]) == 2
    assert "pipe: no file but a device or a pipe is there;" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_without_standard_output_a_file_is_asked_for(capsys, video, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as a shell's >&- leaves it
    assert main(["trajectories", str(video)]) == 2
    assert "--out must name a file: there is no standard output." in capsys.readouterr().err
