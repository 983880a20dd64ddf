"""Errors name flags as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.cli.app import main


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["extract", "videos"], "extract needs --out: folder to write to; its URL, with --shared."),
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
