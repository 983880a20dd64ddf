"""What must not go wrong: files of the user's that an answer would be written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.cli.app import main

from small_videos import write_folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    write_folder(tmp_path / "few", num_videos=2, num_frames=20)
    write_folder(tmp_path / "rest", num_videos=1, num_frames=20)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("flag", ["--csv", "--page"])
@pytest.mark.parametrize("command", ["search rest/red/red_0.mp4", "classify few", "duplicates"])
@pytest.mark.parametrize("target", ["rest/red/red_0.mp4", "new.MP4", "picture.png"])
def test_no_video_is_written_over(place, capsys, command, flag, target):
    before = contents(place)
    assert main([*command.split(), "rest", flag, target, "--cache", "cache"]) == 2
    assert f"{flag} {target} is the name of a video or a picture" in capsys.readouterr().err
    assert contents(place) == before


def test_what_the_command_reads_is_not_written_over(place, capsys):
    rows = [f"few/{label}/{label}_0.mp4,{label}" for label in ("red", "blue")]
    Path("mine.csv").write_text("\n".join(["path,label", *rows]))
    Path("link.csv").symlink_to("mine.csv")
    before = contents(place)
    for target in ("mine.csv", "./few/../mine.csv", "link.csv"):
        assert main(["classify", "mine.csv", "rest", "--csv", target, "--cache", "cache"]) == 2
        assert f"--csv {Path(target)}: this command reads that file" in capsys.readouterr().err
    assert main(["duplicates", "rest", "--csv", "a.x", "--page", "./a.x"]) == 2
    assert "--csv and --page both name a.x" in capsys.readouterr().err
    assert contents(place) == before
