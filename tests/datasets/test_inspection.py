"""What is found in the files of a dataset, and how `kinema dataset info` tells it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_loaders import KINETICS, touch, write

from kinema.cli.app import main
from kinema.datasets.inspection import inspect
from kinema.datasets.loaders import load
from kinema.video import synthetic

import odd_videos


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Path:
    """Two classes, train and test: 4 videos that can be read, 1 broken in the middle, 1 empty."""
    root = tmp_path_factory.mktemp("filmed") / "d"
    frames = [np.full((24, 32, 3), value, np.uint8) for value in range(0, 250, 5)]  # 50
    synthetic.write_video(root / "train" / "walk" / "a.mp4", frames)
    synthetic.write_video(root / "train" / "run" / "b.mp4", frames[:25], fps=10)
    synthetic.write_video(root / "test" / "walk" / "c.mp4", [f[:16] for f in frames[:10]])
    synthetic.write_video(root / "test" / "run" / "d.mp4", frames)
    touch(root, "test/run/empty.mp4")
    odd_videos.make(root / "train" / "run", odd_videos.BAD["broken_middle_avi"])  # broken.avi
    return root


def test_inspect_counts_what_is_in_the_files(filmed):
    report = inspect(load(filmed), threads=2)
    facts = report.as_mapping()
    assert facts["num_videos"] == 6
    walk = next(entry for entry in facts["classes"] if entry["name"] == "walk")
    assert (walk["videos"], walk["groups"]) == (2, 2)
    assert walk["seconds"] == pytest.approx(2.0 + 0.4)
    assert walk["splits"] == {"given": {"train": 1, "test": 1}}
    assert facts["splits"] == {"given": {"train": 3, "test": 3}}
    assert {"width": 32, "height": 16, "videos": 1} in facts["frame_sizes"]
    assert {"fps": 10.0, "videos": 1} in facts["frame_rates"]
    assert facts["seconds"]["shortest"] == pytest.approx(0.4)
    assert facts["unreadable"] == [{"name": "test/run/empty.mp4", "reason": "the file is empty."}]
    json.dumps(facts)


def test_parts_past_the_end_of_their_video_are_told(filmed, tmp_path):
    rows = [("a.mp4", 0, 1), ("a.mp4", 1, 2.5), ("a.mp4", 1, 3.5), ("c.mp4", 5, 6)]
    places = {"a.mp4": filmed / "train" / "walk", "c.mp4": filmed / "test" / "walk"}
    lines = [f"{places[name] / name},walk,{start},{stop}" for name, start, stop in rows]
    (tmp_path / "l.csv").write_text("\n".join(["path,label,start_seconds,stop_seconds", *lines]))
    report = inspect(load(tmp_path / "l.csv"))
    names = report.as_mapping()["past_the_end"]
    assert [name.rpartition("/")[2] for name in names] == ["c.mp4", "a.mp4#t=1,3.5"]
    assert "too long    2 parts stop (" in report.text()
    assert "too long" not in inspect(load(filmed)).text()


def test_decoding_finds_damage_in_the_middle(filmed):
    dataset = load(filmed)
    report = inspect(dataset, decode=True)
    broken = next(name for name in report.unreadable if "broken" in name)
    assert report.unreadable[broken].startswith("broken at frame")
    assert len(report.unreadable) == 2
    assert report.infos["train/run/b.mp4"].num_frames == 25
    sample = next(s for s in dataset.samples if s.name == "train/run/b.mp4")
    assert report.seconds(sample) == pytest.approx(2.5)


def test_only_the_part_that_counts_is_counted(tmp_path):
    frames = [np.full((24, 32, 3), value, np.uint8) for value in range(0, 250, 5)]
    synthetic.write_video(tmp_path / "x.mp4", frames)  # 2 s
    write(tmp_path / "k.csv", KINETICS, "a,x,0.5,1.25,train", "b,x,1.5,9,val")
    report = inspect(load(tmp_path))
    assert [report.seconds(s) for s in report.dataset.samples] == pytest.approx([0.75, 0.5])


# --- the command ----------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = main(["dataset", "info", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_info_prints_a_table_and_the_facts(capsys, filmed):
    code, out, _ = run(capsys, filmed)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["class", "videos", "groups", "minutes", "given", "train", "test"]
    assert lines[2][:3] == ["walk", "2", "2"]
    assert lines[2][4:] == ["1", "1"]
    assert ["split", "given", "3", "train,", "3", "test"] in lines
    assert ["missing", "none"] in lines
    assert ["unreadable", "1"] in lines
    assert "            test/run/empty.mp4: the file is empty." in out.splitlines()
    assert all(line == line.rstrip() for line in out.splitlines())


def test_info_as_json_is_whole(capsys, filmed):
    code, out, _ = run(capsys, filmed, "--json", "--decode", "--threads", 1)
    facts = json.loads(out)
    assert code == 0
    assert (facts["kind"], facts["root"]) == ("folder", str(filmed))
    assert len(facts["unreadable"]) == 2


def test_long_lists_are_cut_unless_all_is_asked_for(capsys, tmp_path):
    lists = [f"class{i:02d}_test_split1.txt" for i in range(25)]
    for i, name in enumerate(lists):
        clips = [f"s_class{i:02d}_u_{clip}.avi {clip % 3}" for clip in range(4)]
        write(tmp_path / name, *clips)
        touch(tmp_path, f"class{i:02d}/s_class{i:02d}_u_1.avi")
    code, out, _ = run(capsys, tmp_path)
    assert code == 0
    assert "... and 5 more classes" in out
    assert "class19" in out
    assert "class20 " not in out
    assert out.count("... and 70 more") == 1  # of 75 missing
    assert out.count("... and 20 more") == 1  # of 25 that are empty
    _, out, _ = run(capsys, tmp_path, "--all")
    assert "class24 " in out
    assert "more" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone: no such file or folder"),
        ([".", "--kind", "x"], "--kind"),
        ([".", "--kind", "hmdb51"], "looked for <class>_test_split1.txt"),
        (["."], "no dataset in"),
        ([], "dataset info needs PATH"),
    ],
)
def test_wrong_use_is_one_line_and_exits_with_2(capsys, tmp_path, monkeypatch, arguments, message):
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_real_ucf101_by_the_command(capsys, kinema_data, official):
    root = kinema_data / "ucf101-3" / "UCF-101"
    code, out, _ = run(capsys, root, "--lists", official / "ucf101", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["splits"]["1"] == {"train": 290, "test": 104}
    assert facts["frame_sizes"] == [{"width": 320, "height": 240, "videos": 394}]
    assert (facts["unreadable"], facts["seconds"]["num_unknown"]) == ([], 0)
