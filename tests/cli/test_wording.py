"""Errors name flags as they are typed."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_options import commands, flags

import kinema
from kinema.cli.app import main
from kinema.network import c3d_mini
from kinema.weights.file import Weights, random_weights

from small_videos import write_folder


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["extract", "videos"],
            "extract needs --out: folder to write to; its URL, with --shared or --ray.",
        ),
        (["extract", "v", "--out"], "--out needs a value, see `kinema extract --help`."),
        (["transfer"], "transfer needs DATASET: a folder or CSV file, see `kinema dataset info`."),
        (["weights", "info"], "weights info needs FILE, see `kinema weights info --help`."),
        (["--verison"], "Unknown option: --verison. Did you mean --version?"),
        (["predict"], "VIDEOS must name at least one video, or --list a file with some."),
        (
            ["search", "v.mp4"],
            "search needs FOLDERS: videos, folders of pictures (000001.jpg, ...), and folders to "
            "search.",
        ),
    ],
)
def test_what_is_missing_or_unknown(arguments: list[str], line: str, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"kinema: {line}\n"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--fps", "-1"], "--fps must be 0.001 to 1000 frames a second, got -1.0."),
        (
            ["--clips", "3", "--stride", "2"],
            "--stride 2 and --clips 3 both choose",
        ),
    ],
)
def test_a_function_speaks_of_arguments_the_command_line_of_flags(
    flags: list[str], line: str, tmp_path: Path, capsys
):
    arguments = ["extract", str(tmp_path), "--out", str(tmp_path / "features"), *flags]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"kinema: {line}")


def test_a_flag_of_another_name_than_the_argument(tmp_path: Path, capsys):
    (tmp_path / "videos").mkdir()
    arguments = ["transfer", str(tmp_path / "videos"), "--out", str(tmp_path / "out"), "--C", "-1"]
    assert main(arguments) == 2
    assert capsys.readouterr().err == "kinema: --C must be more than 0 and finite, got -1.\n"


def test_skipped_videos_and_notes_speak_of_flags_too(tmp_path: Path, capsys):
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "000001.jpg"), np.zeros((24, 32, 3), np.uint8))
    arguments = ["extract", str(tmp_path / "frames"), "--out", str(tmp_path / "features")]
    assert main([*arguments, "--fps", "5"]) == 1
    err = capsys.readouterr().err
    assert "a folder of pictures has no times, which --fps and --every need." in err


@pytest.mark.parametrize("command", ["transfer {0} --out {1}", "extract {0} --out {1}"])
def test_a_mean_that_is_missing_can_be_given(command: str, tmp_path: Path, capsys):
    """Not every command has --mean: there is a way for all."""
    write_folder(tmp_path / "videos", num_videos=5, num_frames=20)
    bare = random_weights(c3d_mini(2))
    weights = tmp_path / "bare.safetensors"
    Weights(bare.arrays, bare.network, name="bare").save(weights)
    given = command.format(tmp_path / "videos", tmp_path / "out").split()
    assert main([*given, "--weights", str(weights)]) == 2
    assert "by `kinema weights convert --mean`" in capsys.readouterr().err


def test_flags_of_commands_that_messages_name_are_there():
    """Such as "`kinema prepare ... --size`": in our source, also over a line's end."""
    known = {
        name: {word for flag in flags(command) for word in flag.names}
        for name, command in commands().items()
    }
    found = []
    for path in Path(kinema.__file__).parent.rglob("*.py"):
        text = re.sub(r"[\s\"]+f?\"?", " ", path.read_text(encoding="utf-8"))
        for words, told in re.findall(
            r"kinema ((?:weights |dataset )?[a-z]+)((?:(?!kinema)[^`#]){0,80})", text
        ):
            if words in known:
                found += [(path.name, words, flag) for flag in re.findall(r" (--[a-z-]+)", told)]
    assert {"--size", "--mean", "--shared", "--classifier"} <= {flag for _, _, flag in found}
    assert [one for one in found if one[2] not in known[one[1]]] == []
