"""The runtime table: what a cell counts, what systems write, what is told and kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinema.cli import main
from kinema.evaluation import runtime as measured
from kinema.evaluation.runtime import PAPER, UCF101_FRAMES, Cell, Runtime, runtime
from kinema.evaluation.systems import SYSTEMS, Asked
from kinema.features.extractor import Extractor
from kinema.features.trajectory_files import write_trajectories
from kinema.flow.cache import FlowFile
from kinema.flow.flows import flows
from kinema.skipped import Skipped
from kinema.video.clips import ClipPlan
from kinema.video.loop import PLAIN
from kinema.video.reader import VideoReader
from kinema.video.sources import as_source
from kinema.views.runtime import as_markdown, as_section, table, write
from kinema.weights.file import resolve

from small_videos import write_folder, write_video

MACHINE = {"cpu": "a processor", "cores": 2}
SETTINGS = {"seconds": 5, "weights": "random, C3D", "stride": 16, "num_videos": 3}


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """40 frames of a patch that moves to the right before what rests."""
    noise = np.random.default_rng(0).uniform(0, 255, (2, 120, 200)).astype(np.float32)
    ground, texture = (cv2.GaussianBlur(one, (0, 0), 2) * 3 % 255 for one in noise)
    frames = []
    for t in range(40):
        frame = ground[:, :160].copy()
        frame[30:90, 2 * t : 2 * t + 60] = texture[30:90, :60]
        frames.append(frame.astype(np.uint8)[..., None].repeat(3, 2))
    path = tmp_path_factory.mktemp("videos") / "moving.avi"
    write_video(path, frames)
    return path


def by_hand() -> Runtime:
    """Of two systems on one core and on two, and C3D on a GPU."""
    cells = (
        Cell("idt", 1, 100, 10.0),
        Cell("idt", 2, 100, 5.0),
        Cell("c3d", 1, 500, 10.0),
        Cell("c3d", 2, 1600, 20.0),
        Cell("c3d-gpu", 2, 4000, 10.0),
    )
    skipped = (Skipped("bad.avi", "the file is empty."),)
    return Runtime(cells, SETTINGS, MACHINE, ("a note.",), skipped)


def test_ratios_and_hours_by_hand():
    found = by_hand()
    idt_one, idt_two, c3d_one, _, gpu = found.cells
    assert idt_one.frames_per_second == 10
    assert idt_one.ucf101_hours == pytest.approx(UCF101_FRAMES / 10 / 3600)
    assert found.slower(idt_one) == 5  # 50 frames a second on one core
    assert found.slower(idt_two) == 4  # 80 on two
    assert found.slower(idt_two, "c3d-gpu") == 20
    assert found.slower(c3d_one) == 1
    assert found.slower(gpu) == 0.2
    assert Runtime(found.cells[:2], SETTINGS, MACHINE).slower(idt_one) is None


def test_the_papers_columns_agree_with_each_other():
    """Frames a second times hours is UCF101 in each of them, and the ratios are of the hours."""
    for name, (fps, hours, slower) in PAPER.items():
        assert fps * hours * 3600 == pytest.approx(UCF101_FRAMES, rel=0.1), name
        assert hours / PAPER["c3d-gpu"][1] == pytest.approx(slower, rel=0.01), name


def test_the_table_by_hand():
    titles, rows = table(by_hand())
    assert dict(zip(titles, rows[0], strict=True)) == {
        "system": "iDT (CPU)",
        "cores": "1",
        "frames/s": "10",
        "hours for UCF101 (extrapolated)": "69.1",
        "times slower than C3D (CPU)": "5",
        "than C3D (GPU)": "40",
        "the paper: frames/s": "3.5",
        "hours": "202.2",
        "times slower": "91.4",
    }
    assert rows[2][-3:] == ["", "", ""]  # the paper's C3D ran on a GPU
    text = as_markdown(by_hand())
    for line in ("a note.", "bad.avi: the file is empty.", "extrapolated to UCF101's 2,486,088"):
        assert line in text


def test_a_file_gives_back_what_was_measured(tmp_path):
    path = tmp_path / "runtime.json"
    path.write_text(json.dumps(by_hand().as_mapping()))
    found = Runtime.load(path)
    assert found.as_mapping() == by_hand().as_mapping()
    assert found.cells == by_hand().cells


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "kinema-runtime-1", "cells": [{}]}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json"):
        Runtime.load(path)
    with pytest.raises(FileNotFoundError, match="kinema runtime"):
        Runtime.load(tmp_path / "none.json")


def test_the_section_of_a_page_and_the_pictures(tmp_path):
    write(by_hand(), tmp_path)
    assert (tmp_path / "runtime.md").read_text() == as_markdown(by_hand())
    assert (tmp_path / "runtime.png").read_bytes()[:4] == b"\x89PNG"
    section = as_section(by_hand())
    assert section.count("<tr>") == 1 + len(by_hand().cells)
    assert re.search(r"<td>iDT \(CPU\)</td><td>1</td><td>10</td>", section)


# --- the systems ----------------------------------------------------------------------------------


def made_by(name: str, video: Path, out: Path, asked: Asked = Asked()) -> None:  # noqa: B008
    items, write = SYSTEMS[name].begin(asked, 1)
    reader = VideoReader(video)
    write(items(iter(reader), reader.info), out)


def test_idt_writes_what_the_command_writes(video, tmp_path):
    made_by("idt", video, tmp_path / "rows")
    write_trajectories(video, out=tmp_path / "told")
    rows, told = (
        [line.split("\t") for line in (tmp_path / name).read_text().splitlines()]
        for name in ("rows", "told")
    )
    assert len(rows) > 10
    for row, other in zip(rows, told, strict=True):
        assert row[:9] + row[10:] == other[:9] + other[10:]  # t needs the number of frames


@pytest.mark.parametrize("method", ["brox", "dis"])
def test_flows_are_those_of_the_function(video, tmp_path, method):
    made_by(method, video, tmp_path / "flows.zip")
    file = FlowFile(tmp_path / "flows.zip")
    whole = np.stack(list(flows((frame.image for frame in VideoReader(video)), method=method)))
    assert file.num_flows == 39
    np.testing.assert_allclose(file.flow(), whole.clip(-20, 20), atol=0.0785)


def test_c3d_gives_the_extractors_rows(video, tmp_path):
    weights = resolve("c3d-mini")
    made_by("c3d", video, tmp_path / "rows.npy", Asked(weights, stride=8))
    table = Extractor(weights, plan=ClipPlan(stride=8))(video)
    assert len(table.features) == 4
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), table.features)


# --- what is measured -----------------------------------------------------------------------------


def test_frames_are_counted_until_it_is_enough(video, tmp_path):
    seen: list[int] = []

    def items(frames, info):
        return (frame.index for frame in frames)

    work = measured._Work("idt", 1, None, 16, 8, 1.0, PLAIN, (as_source(video),) * 3)
    passed = measured._Passed(lambda num: num < 55)
    passed.go((items, lambda found, path: seen.extend(found)), work, tmp_path / "result")
    assert passed.num == 55
    assert seen == [*range(40), *range(15)]
    assert not passed.skipped


def test_a_bad_video_costs_a_line_and_the_others_count(video, tmp_path):
    bad = tmp_path / "bad.avi"
    bad.write_bytes(b"no video")
    made = runtime([bad, video], out=tmp_path / "out", systems=["dis"], seconds=0.2, threads=1)
    (cell,) = made.cells
    assert cell.num_frames >= 1
    assert cell.seconds > 0
    assert [Path(one.path).name for one in made.skipped] == ["bad.avi"]
    with pytest.raises(ValueError, match=r"none can .*bad\.avi"):
        runtime([bad], out=tmp_path / "none", systems=["dis"], seconds=0.2, threads=1)


def test_a_run_goes_on_and_other_settings_begin_anew(video, tmp_path):
    options = {"out": tmp_path, "seconds": 0.2, "threads": 1, "weights": "c3d-mini"}
    runtime([video], systems=["dis"], **options)
    file = tmp_path / "runtime.json"
    content = json.loads(file.read_text())
    content["cells"][0]["num_frames"] = 123_456_789
    file.write_text(json.dumps(content))
    again = runtime([video], systems=["dis", "c3d"], **options)
    assert [cell.system for cell in again.cells] == ["dis", "c3d"]
    assert again.cells[0].num_frames == 123_456_789
    anew = runtime([video], systems=["dis"], **{**options, "seconds": 0.3})
    assert anew.cells[0].num_frames != 123_456_789


def test_what_is_missing_is_told(video, tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "_missing", lambda needs: "it is not there." if needs else "")
    made = runtime([video], out=tmp_path, systems=["dis", "c3d-gpu"], seconds=0.1, threads=1)
    assert [cell.system for cell in made.cells] == ["dis"]
    assert made.notes == ("C3D (GPU) is left out: it is not there.",)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--systems", "idt,sift"], "--systems must be some of idt, brox"),
        (["--seconds", "0"], "--seconds must be more than 0"),
        (["--stride", "0"], "--stride must be at least 1"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_wrong_flags_are_refused_at_once(video, tmp_path, capsys, flags, message):
    assert main(["runtime", str(video), "--out", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_writes_three_files(video, tmp_path, capsys):
    flags = ["--systems", "dis,c3d", "--weights", "c3d-mini", "--seconds", "0.5", "--threads", "1"]
    assert main(["runtime", str(video), "--out", str(tmp_path / "out"), *flags]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "runtime.json", "runtime.md", "runtime.png"
    }  # fmt: skip
    assert "C3D (CPU), 1 core" in capsys.readouterr().out


def test_compare_shows_what_was_measured_into_its_folder(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "runtime.json").write_text("{}")
    command = ["compare", str(write_folder(tmp_path / "v", num_videos=2)), "--out", str(out)]
    assert main(command) == 2
    assert "runtime.json: it is no file that `kinema runtime` wrote" in capsys.readouterr().err
    (out / "runtime.json").write_text(json.dumps(by_hand().as_mapping()))
    assert main([*command, "--methods", "chance"]) == 0
    assert "<td>iDT (CPU)</td>" in (out / "report.html").read_text(encoding="utf-8")
