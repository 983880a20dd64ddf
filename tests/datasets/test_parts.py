"""Parts of files that a CSV names: every command that takes a dataset reads these alone.

A file shows red for two seconds, then blue for two: what reads the whole of it sees no difference
between its parts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinema.cli.app import main
from kinema.datasets.folds import plan_folds
from kinema.datasets.inspection import inspect
from kinema.datasets.loaders import load
from kinema.datasets.near_duplicates import find_near_duplicates, group_near_duplicates
from kinema.video.synthetic import write_video

from small_videos import draw

FPS = 25


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> Path:
    """Four files, of each the red part and the blue one."""
    folder = tmp_path_factory.mktemp("parts")
    lines = ["path,label,start_seconds,stop_seconds"]
    for number in range(4):
        frames = [draw(label, number, 2 * FPS) for label in ("red", "blue")]
        write_video(folder / f"{number}.mp4", np.concatenate(frames), fps=FPS)
        lines += [f"{number}.mp4,red,,2", f"{number}.mp4,blue,2,"]
    (folder / "parts.csv").write_text("\n".join(lines) + "\n")
    return folder / "parts.csv"


def test_info_counts_the_seconds_of_parts(listed):
    report = inspect(load(listed))
    assert [report.seconds(sample) for sample in report.dataset.samples] == pytest.approx([2.0] * 8)


def test_folds_keep_the_parts_of_a_file_together(listed):
    dataset = load(listed)
    for split in plan_folds(dataset, 4).splits:
        files = [{dataset.samples[i].path for i in side} for side in (split.train, split.test)]
        assert files[0].isdisjoint(files[1])


def test_near_duplicates_of_files_of_parts_are_looked_for(tmp_path, listed):
    """A copy of a file, both named by their parts: one group in the end."""
    for name in ("copy.mp4", "0.mp4"):
        (tmp_path / name).write_bytes((listed.parent / "0.mp4").read_bytes())
    lines = [f"{name},{label},{part}" for name in ("0.mp4", "copy.mp4")
             for label, part in (("red", ",2"), ("blue", "2,"))]  # fmt: skip
    (tmp_path / "p.csv").write_text(
        "\n".join(["path,label,start_seconds,stop_seconds", *lines]) + "\n"
    )
    dataset = load(tmp_path / "p.csv")
    assert {sample.group for sample in dataset.samples} == {"0.mp4", "copy.mp4"}
    grouped = group_near_duplicates(dataset, find_near_duplicates(dataset, similarity=0.9))
    # Near-duplicates of more than half of all are taken apart, so a third file would be needed
    # for a group; what counts is that they were looked for.
    assert any("groups by near-duplicates" in note for note in grouped.notes)


def test_commands_tell_parts_of_one_file_apart(listed, tmp_path, capsys):
    """All of the accuracy is in the parts: whole files are the same in both classes."""
    options = ["--stride", "16", "--C", "1", "--folds", "2"]
    assert main(["transfer", str(listed), "--out", str(tmp_path / "t"), *options]) == 0
    out = capsys.readouterr().out
    assert "| 100.0 | 100.0 | 100.0 ± 0.0 |" in out
    command = ["compactness", str(listed), "--out", str(tmp_path / "c"), "--stride", "16"]
    assert main([*command, "--folds", "2"]) == 0
    assert main(["embed", str(listed), "--out", str(tmp_path / "e"), "--stride", "16"]) == 0


def test_prepared_clips_are_those_of_the_parts(listed, tmp_path):
    from kinema.training.clip_store import ClipStore

    out = tmp_path / "p.clips"
    assert main(["prepare", str(listed), "--out", str(out), "--size", "36x48"]) == 0
    store = ClipStore(out)
    assert len(store.videos) == 8
    for video in store.videos:
        (segment,) = video.segments
        pixels = store.frames(segment).mean(axis=(0, 1, 2))
        label = "red" if video.name.endswith("#t=0,2") else "blue"
        assert segment.num_frames == 2 * FPS
        assert store.classes[video.labels[0]] == label
        assert int(pixels.argmax()) == {"red": 0, "blue": 2}[label]
