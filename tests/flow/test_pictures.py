"""`draw_flow` and the command of it."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from kinema.cli.app import main
from kinema.flow import pictures
from kinema.flow.colours import with_legend
from kinema.flow.flows import flow
from kinema.flow.pictures import draw_flow
from kinema.video.reader import VideoReader
from kinema.video.synthetic import draw_video, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, draw_video("clockwise", seed=1, num_frames=7, width=80, height=60), fps=10)
    return path


@pytest.fixture(scope="module")
def frames(video):
    return [frame.image for frame in VideoReader(video)]


def read_picture(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("method", ["dis", "brox"])
def test_a_picture_shows_the_pair_that_was_asked_for(video, frames, tmp_path, method):
    drawn = draw_flow(
        video, out=tmp_path / "new" / "f.png", method=method, frame=2, sampling_rate=3
    )
    expected = flow([frames[2], frames[5]], method=method)[0]
    np.testing.assert_array_equal(read_picture(drawn.path), with_legend(expected))
    assert drawn.num_pairs == 1
    lengths = np.hypot(*np.moveaxis(expected, -1, 0))
    assert drawn.mean_px == pytest.approx(lengths.mean(), rel=1e-5)
    assert drawn.longest_px == pytest.approx(lengths.max(), rel=1e-5)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_shows_all_pairs(video, frames, tmp_path, suffix):
    drawn = draw_flow(video, out=tmp_path / f"f{suffix}", longest_px=4)
    assert drawn.num_pairs == 6
    reader = VideoReader(drawn.path)
    assert reader.info.fps == pytest.approx(10)
    shown = [frame.image.astype(int) for frame in reader]
    expected = [with_legend(one, longest_px=4).astype(int) for one in flow(frames)]
    assert len(shown) == len(expected)
    for index, one in enumerate(shown):
        apart = [np.abs(one - other).mean() for other in expected]
        assert np.argmin(apart) == index
        assert apart[index] < 12  # of lossy coding


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25.0, 25),
        (30000 / 1001, Fraction(30000, 1001)),
        (120000 / 1001, pytest.approx(120000 / 1001, abs=1e-4)),
        (1e6, 65535),
        (1e-6, Fraction(1, 1001)),
    ],
)
def test_rates_are_such_as_mpeg_4_takes(fps, expected):
    rate = pictures._rate(fps)
    assert rate == expected
    assert rate.numerator <= 65535


def test_a_fast_video_becomes_an_avi_file(tmp_path, frames):
    with av.open(str(tmp_path / "fast.avi"), "w") as file:
        stream = file.add_stream("ffv1", rate=Fraction(120000, 1001))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    assert main(["flow", str(tmp_path / "fast.avi"), "--out", str(tmp_path / "f.avi")]) == 0
    assert VideoReader(tmp_path / "f.avi").info.fps == pytest.approx(119.88, abs=0.01)


def test_the_command_draws_and_says_what(video, tmp_path, capsys):
    out = tmp_path / "f.png"
    assert main(["flow", str(video), "--out", str(out), "--frame", "1", "--longest-px", "5"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: the flow of 1 pair of frames, ")
    assert out.is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "f.gif"], "--out f.gif: a name that ends in .png is needed for a picture"),
        (["--out", "f.mp4", "--frame", "1"], "--frame 1 says which pair a picture shows"),
        (["--out", "f.png", "--frame", "-1"], "--frame must be at least 0, got -1"),
        (["--out", "f.png", "--frame", "6"], "a.mp4: it has too few frames; this flow needs 8"),
        (["--out", "f.png", "--sampling-rate", "0"], "--sampling-rate must be at least 1 frame"),
        (["--out", "f.png", "--longest-px", "0"], "--longest-px must be above 0 pixels, got 0"),
        (["--out", "f.png", "--threads", "0"], "--threads must be at least 1, got 0"),
        (["--out", "f.png", "--video-seconds", "-1"], "--video-seconds must be more than 0"),
        (["--out", "here.png"], "--out here.png: a folder of this name is there already"),
    ],
)
def test_what_cannot_be_costs_one_line(video, tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.png").mkdir()
    assert main(["flow", str(video), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here.png"]


def test_the_video_is_not_written_over(video, capsys):
    assert main(["flow", str(video), "--out", str(video)]) == 2
    assert "is the video itself; name another file" in capsys.readouterr().err


def test_what_is_no_video_is_named(tmp_path, capsys):
    nothing = tmp_path / "nothing.mp4"
    assert main(["flow", str(nothing), "--out", str(tmp_path / "f.png")]) == 2
    assert "nothing.mp4: no such file" in capsys.readouterr().err
    nothing.write_bytes(b"no video")
    assert main(["flow", str(nothing), "--out", str(tmp_path / "f.png")]) == 2
    error = capsys.readouterr().err
    assert "nothing.mp4: " in error
    assert error.count("\n") == 1
