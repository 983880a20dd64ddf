"""Ten good videos and three bad ones through every command: what is listed, and the exit codes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.features.extractor import Extractor
from kinema.video.reader import VideoReader
from kinema.weights.file import random_weights

from odd_videos import BAD, make
from small_videos import draw, write_video

NET = random_weights(networks.c3d_mini(2, input_shape=(3, 16, 32, 32)), seed=0)
BAD_NAMES = ("blue/cut.avi", "red/strange.mp4", "red/text.mp4")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two classes of five; a text, one that ends midway, and one that fails as nobody foresaw."""
    root = tmp_path / "videos"
    for label in ("blue", "red"):
        for number in range(5):
            write_video(root / label / f"{label}_{number}.mp4", draw(label, number, 24))
    make(root / "red", BAD["text_named_mp4"])
    make(root / "blue", BAD["truncated_avi"])
    write_video(root / "red" / "strange.mp4", draw("red", 9, 24))
    walk = VideoReader.__iter__

    def fail_midway(reader):
        for frame in walk(reader):
            if reader.path.name == "strange.mp4" and frame.index == 20:
                raise ZeroDivisionError("as nobody\nforesaw")
            yield frame

    monkeypatch.setattr(VideoReader, "__iter__", fail_midway)
    NET.save(tmp_path / "net.safetensors")
    return root


COMMANDS = {
    "extract": ["extract", "{videos}", "--out", "{out}", "--weights", "{net}"],
    "excite": ["excite", "{videos}", "--out", "{out}", "--weights", "{net}", "--layer", "conv2a"],
    "weights mean": ["weights", "mean", "{videos}", "--out", "{out}.npz"],
    "prepare": ["prepare", "{videos}", "--out", "{out}.clips", "--size", "36x36"],
    "transfer": ["transfer", "{videos}", "--out", "{out}", "--weights", "{net}", "--C", "1"],
    "compare": ["compare", "{videos}", "--out", "{out}", "--weights", "{net}", "--C", "1",
                "--methods", "c3d,chance"],
    "embed": ["embed", "{videos}", "--out", "{out}", "--weights", "{net}"],
    "compactness": ["compactness", "{videos}", "--out", "{out}", "--weights", "{net}"],
    "predict": ["predict", "{videos}", "--out", "{out}", "--classifier", "{classifier}"],
    "dataset info": ["dataset", "info", "{videos}", "--decode"],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_three_bad_videos_cost_three_lines(folder, tmp_path, capsys, name):
    places = {
        "videos": str(folder),
        "out": str(tmp_path / "out"),
        "net": str(tmp_path / "net.safetensors"),
        "classifier": str(tmp_path / "t" / "classifier.safetensors"),
    }
    if name == "predict":
        transfer = ["transfer", *COMMANDS["transfer"][1:], "--max-skipped", "3"]
        main([part.format(**{**places, "out": str(tmp_path / "t")}) for part in transfer])
        capsys.readouterr()
    command = [part.format(**places) for part in COMMANDS[name]]
    is_info = name == "dataset info"
    assert main(command) == (0 if is_info else 1)
    told = capsys.readouterr()
    text = told.out if is_info else told.err
    for bad in BAD_NAMES:
        (line,) = [line for line in text.splitlines() if (bad in line and "skipped" in line) or
                   (is_info and bad in line)]  # fmt: skip
        reason = {"cut.avi": "breaks off", "text.mp4": "cannot be read as a video",
                  "strange.mp4": "unexpected ZeroDivisionError: as nobody foresaw"}  # fmt: skip
        assert reason[bad.rpartition("/")[2]] in line
    assert sum("skipped /" in line for line in told.err.splitlines()) == (0 if is_info else 3)
    assert main([*command, "--max-skipped", "3"]) == 0
    capsys.readouterr()
    if name == "predict":
        content = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert len(content["predictions"]) == 10
        assert {entry["path"] for entry in content["skipped"]} == {
            str(folder / bad) for bad in BAD_NAMES
        }
        lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
        assert len(lines) == 11
        right = sum(line.split(",")[3] in line.split(",")[0].split("/") for line in lines[1:])
        assert right == 10


def test_results_of_the_good_ones_are_those_of_a_folder_without_the_bad(folder, tmp_path, capsys):
    results = []
    for round_ in range(2):
        out = tmp_path / f"out{round_}"
        options = ["--weights", str(tmp_path / "net.safetensors"), "--C", "1"]
        main(["compare", str(folder), "--out", str(out), "--methods", "c3d", *options])
        content = json.loads((out / "result.json").read_text())
        del content["skipped"], content["rows"][0]["frames_per_second"]
        results.append(content)
        for bad in BAD_NAMES:
            (folder / bad).unlink(missing_ok=True)
    capsys.readouterr()
    assert results[0] == results[1]


@pytest.mark.parametrize(("most", "code"), [("2", 1), ("3", 0), ("-1", 2)])
def test_more_skipped_than_allowed(folder, tmp_path, capsys, most, code):
    command = ["dataset", "info", str(folder), "--decode", "--max-skipped", most]
    assert main(command) == code


def test_a_transformer_raises_or_gives_nan(folder, tmp_path):
    from kinema import C3DFeatures

    paths = [folder / "blue" / "blue_0.mp4", folder / BAD_NAMES[1], folder / "red" / "red_0.mp4"]
    with pytest.raises(ValueError, match=r"strange\.mp4: unexpected ZeroDivisionError"):
        C3DFeatures(NET).transform(paths)
    with pytest.warns(UserWarning, match=r"skipped .*strange\.mp4: unexpected Zero"):
        rows = C3DFeatures(NET, on_error="nan").transform([*paths, tmp_path / "gone.mp4"])
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(rows[[0, 2]], C3DFeatures(NET).transform(paths[::2]))
    with pytest.raises(ValueError, match="`on_error` must be raise or nan"):
        C3DFeatures(NET, on_error="skip").transform(paths)
    with pytest.raises(ValueError, match=r"strange\.mp4: unexpected"):
        Extractor(NET)(paths[1])
