"""The command line as a user meets it: exit codes, one-line errors, what is printed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.weights.file import Weights, random_weights
from kinema.weights.means import load_mean

import foreign_weights as foreign
from lowest import lowest
from odd_videos import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    write_video(path, 40)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    network = networks.c3d_mini(2)
    base = random_weights(network)
    Weights(base.arrays, network, name="w", mean=base.mean, labels=("walk", "run")).save(path)
    return path


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_extract_prints_a_summary_and_exits_with_0(capsys, video, weights, tmp_path):
    code, out, err = run(capsys, "extract", video, "--out", tmp_path / "f", "--weights", weights)
    assert code == 0
    assert "1 of 1 videos extracted; 4 clips" in out
    assert "not trained" not in err


def test_extract_says_that_random_weights_are_not_trained(capsys, video, tmp_path):
    _, _, err = run(capsys, "extract", video, "--out", tmp_path / "f")
    assert "not trained" not in err
    options = ("--weights", "c3d-mini-random:1")
    _, _, err = run(capsys, "extract", video, "--out", tmp_path / "g", *options)
    assert "c3d-mini-random:1 has seeded random weights, not trained ones" in err


def test_more_skipped_than_allowed_exits_with_1(capsys, video, weights, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"x")
    command = ["extract", video, tmp_path / "bad.mp4", "--out", tmp_path / "f"]
    command += ["--weights", weights]
    code, out, err = run(capsys, *command)
    assert code == 1
    assert "1 skipped (see" in out
    assert "bad.mp4: it cannot be read as a video" in err
    code, _, _ = run(capsys, *command, "--max-skipped", 1)
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract"], "--out"),
        (["extract", "--out", "f"], "PATHS must name at least one video or folder"),
        (["extract", "v.mp4", "--out", "f", "--strid", "4"], "--strid"),
        (["extract", "v.mp4", "--out", "f", "--stride", "0"], "--stride must be at least 1"),
        (["extract", "v.mp4", "--out", "f", "--stride", "x"], "--stride"),
        (["extract", "v.mp4", "--out", "f", "--format", "mat"], "--format"),
        (["extract", "v.mp4", "--out", "f", "--weights", "gone"], "'gone' is neither"),
        (["extract", "--list", "gone.txt", "--out", "f"], "gone.txt: no such file"),
        (["predict"], "at least one video"),
        (["predict", "v.mp4"], "give --weights"),
        (["predict", "v.mp4", "--classifier", "gone"], "classifier gone: no such file"),
        (["predict", "v.mp4", "--top", "0"], "--top must be"),
        (["weights", "info", "gone"], "'gone' is neither"),
        (["weights", "convert", "gone", "w.safetensors"], "gone: no such file"),
        (["weights", "pull", "gone"], "gone"),
        (["weights", "mean", "v.mp4", "--out", "mean.txt"], "must end in one of"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_wrong_use_is_one_line_and_exits_with_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("v.mp4").touch()
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("kinema: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "f").exists()


def test_predict_prints_a_timeline_or_json(capsys, video, weights):
    code, out, _ = run(capsys, "predict", video, "--weights", weights)
    assert code == 0
    assert "v.mp4: 4 clips, probability by clip" in out
    assert "walk" in out
    code, out, _ = run(capsys, "predict", video, video, "--weights", weights, "--json")
    first = json.loads(out)  # a video that is named twice is one
    assert {entry["class"] for entry in first["top"]} == {"walk", "run"}
    assert [clip["start_seconds"] for clip in first["clips"]] == pytest.approx(
        [0, 0.32, 0.64, 0.96]
    )


def test_predict_goes_on_after_a_bad_video(capsys, video, weights, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"x")
    code, out, err = run(
        capsys, "predict", tmp_path / "bad.mp4", video, "--weights", weights, "--json"
    )
    assert code == 1
    assert "bad.mp4: it cannot be read" in err
    assert json.loads(out)["video"] == str(video)


def test_weights_list_and_info(capsys, weights):
    code, out, _ = run(capsys, "weights", "list")
    assert code == 0
    assert "c3d-mini" in out
    assert "to pull" in out
    code, out, _ = run(capsys, "weights", "info", weights)
    assert code == 0
    assert "fc6      Linear" in out
    assert "128, 128, 128 (B, G, R)" in out
    _, out, _ = run(capsys, "weights", "info", "c3d-mini", "--json")
    metadata = json.loads(out)
    assert metadata["trained"] is True
    assert metadata["learned_from"] == ["ImageNet", "Kinetics-400", "surveillance fights"]
    assert metadata["num_parameters"] == networks.c3d_mini(None).num_parameters
    _, out, _ = run(capsys, "weights", "info", "c3d-mini")
    assert "taught by  a net of Kinetics-400" in out


def test_weights_convert_keeps_mean_labels_and_story(capsys, tmp_path):
    rng = np.random.default_rng(0)
    shapes = networks.c3d(3).parameter_shapes()
    arrays = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    foreign.write_caffe(tmp_path / "net", arrays)
    mean = rng.random((3, 16, 128, 171), np.float32)
    foreign.write_binaryproto(tmp_path / "mean.binaryproto", mean)
    (tmp_path / "labels.txt").write_text("a\nb c\nd\n")
    target = tmp_path / "net.safetensors"
    code, out, _ = run(
        capsys, "weights", "convert", tmp_path / "net", target,
        "--mean", tmp_path / "mean.binaryproto", "--labels", tmp_path / "labels.txt",
    )  # fmt: skip
    assert code == 0
    assert "net.safetensors" in out
    weights = Weights.load(target)
    np.testing.assert_array_equal(weights.mean, mean)
    np.testing.assert_array_equal(weights["fc8.weight"], arrays["fc8.weight"])
    assert weights.labels == ("a", "b c", "d")
    assert weights.source_sha256 == hashlib.sha256((tmp_path / "net").read_bytes()).hexdigest()
    assert weights.network.architecture["pool5"] == "caffe"


def test_a_conversion_never_overwrites_its_source_or_a_folder(capsys, tmp_path):
    foreign.write_caffe(tmp_path / "net", foreign.small_c3d())
    before = (tmp_path / "net").read_bytes()
    code, _, err = run(capsys, "weights", "convert", tmp_path / "net", tmp_path / "net")
    assert code == 2
    assert "is the source itself" in err
    assert (tmp_path / "net").read_bytes() == before


def test_an_unexpected_error_is_one_line(capsys, monkeypatch):
    def fail(_):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr("kinema.weights.file.resolve", fail)
    code, _, err = run(capsys, "weights", "info", "c3d-mini")
    assert (code, err) == (3, "kinema: RuntimeError: out of memory\n")


def test_weights_mean_is_the_average_of_whole_clips(capsys, tmp_path):
    import cv2

    folder = tmp_path / "videos"
    folder.mkdir()
    for name, count in [("a.mp4", 40), ("b.mp4", 16), ("short.mp4", 9)]:
        write_video(folder / name, count)
    (folder / "bad.mp4").write_bytes(b"x")
    command = ["weights", "mean", folder, "--out", tmp_path / "mean.npz"]
    assert run(capsys, *command, "--max-skipped", 2)[0] == 0
    code, out, err = run(capsys, *command)
    assert code == 1
    assert "mean of 3 clips" in out
    assert f"skipped {folder / 'bad.mp4'}" in err
    assert f"skipped {folder / 'short.mp4'}" in err
    total = np.zeros((16, 128, 171, 3))
    for name, num_clips in [("a.mp4", 2), ("b.mp4", 1)]:
        capture = cv2.VideoCapture(str(folder / name))
        for index in range(16 * num_clips):
            total[index % 16] += cv2.resize(capture.read()[1], (171, 128))
    np.testing.assert_allclose(
        load_mean(tmp_path / "mean.npz"), (total / 3).transpose(3, 0, 1, 2), rtol=1e-6
    )


def test_an_unexpected_failure_of_the_disk_exits_with_3(capsys, video, tmp_path, monkeypatch):

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kinema.files.os.replace", full)
    code, _, err = run(capsys, "extract", video, "--out", tmp_path / "f")
    assert code == 3
    assert "No space left on device" in err


def test_installed_as_a_command_and_as_a_module():
    script = Path(sys.executable).with_name("kinema")
    if not script.exists():
        pytest.skip("the kinema command is not installed beside this Python")
    for command in ([sys.executable, "-m", "kinema"], [script]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stdout.strip() == "0.1.0"


@pytest.mark.parametrize("version", ["16.0.1", "19.0.2"])
def test_another_pyav_is_refused_in_one_line(tmp_path, version):
    code = (
        f"import sys, av; av.__version__ = '{version}'; from kinema.cli import main; "
        f"sys.exit(main(['extract', 'v.mp4', '--out', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2, f"kinema: Kinema does not know PyAV {version}: pip install 'av>=17,<19'.\n"
    )  # fmt: skip
    assert "av==17" in lowest()
