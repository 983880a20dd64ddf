"""What must not go wrong: files of the user's that an answer would be written over."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.weights.file import random_weights

from small_videos import write_folder

SMALL = networks.c3d_mini(3, input_shape=(3, 16, 16, 16))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    write_folder(tmp_path / "few", num_videos=2, num_frames=20)
    write_folder(tmp_path / "rest", num_videos=1, num_frames=20)
    random_weights(SMALL, seed=0).save(tmp_path / "0.safetensors")
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


def test_labels_that_were_filled_in_are_not_lost(place, capsys):
    run = ["rest", "--out", "out", "--suggest", "2", "--cache", "cache", "--C", "1"]
    run += ["--weights", "0.safetensors"]
    assert main(["classify", "few", *run]) == 0
    assert main(["classify", "few", *run]) == 0  # nothing was filled in
    file = Path("out/suggestions.csv")
    with open(file, newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        row["label"] = row["label"] or "red"
    with open(file, "w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    filled = file.read_bytes()
    capsys.readouterr()
    assert main(["classify", "few", *run]) == 2
    told = capsys.readouterr().err
    assert "out/suggestions.csv: 2 labels that LABELLED lacks would be lost" in told
    assert file.read_bytes() == filled
    assert main(["classify", str(file), *run]) == 0
    with file.open("a", newline="") as lines:
        commas = "," * (file.read_text().splitlines()[0].count(",") - 3)
        lines.write(f"/gone/away.mp4,red,1,2{commas}\r\n")
    assert main(["classify", str(file), *run]) == 2
    assert "/gone/away.mp4" in capsys.readouterr().err


def test_control_characters_of_a_label_do_not_reach_the_terminal(place, capsys):
    rows = [
        f"few/{label}/{label}_{n}.mp4,\x1b[31m{label}" for label in ("red", "blue") for n in (0, 1)
    ]
    Path("mine.csv").write_text("\n".join(["path,label", *rows]))
    options = ["--weights", "0.safetensors", "--cache", "cache", "--C", "1"]
    assert main(["classify", "mine.csv", "rest", *options]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\\x1b[31mred" in told


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_without_commas_is_named(place, capsys, mark):
    Path("mine.csv").write_text(f"path{mark}label\nfew/red/red_0.mp4{mark}red\n")
    assert main(["classify", "mine.csv", "rest", "--cache", "cache"]) == 2
    assert "mine.csv, line 1: its columns are not parted by commas" in capsys.readouterr().err
