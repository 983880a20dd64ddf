"""The README's examples run as they stand, and its figures are those of the committed JSON."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinema import network as networks

import foreign_weights as foreign
from odd_videos import write_video

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = ROOT / "benchmarks"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the examples name: four videos, a list, the original's weights, a mean, labels."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "videos").mkdir()
    for index, name in enumerate(["cat", "dog", "hen", "cow"]):
        write_video(folder / "videos" / f"{name}.mp4", 16, first_index=500 * index)
    (folder / "input.lst").write_text("videos/cat.mp4 0 0\nvideos/dog.mp4 0 1\n")
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal(shape, np.float32) / 100
        for name, shape in networks.c3d().parameter_shapes().items()
    }
    foreign.write_caffe(folder / "conv3d_deepnetA_sport1m_iter_1900000", arrays)
    mean = rng.random((3, 16, 128, 171), np.float32)
    foreign.write_binaryproto(folder / "mean.binaryproto", mean)
    (folder / "labels.txt").write_text("".join(f"sport {i}\n" for i in range(487)))
    return folder


def shell_lines():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(("make ", "pip "))]


def test_the_shell_examples_run(folder):
    lines = shell_lines()
    assert len(lines) >= 10
    for line in lines:
        assert line.startswith("kinema "), line
        command = [sys.executable, "-m", *line.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (folder / "features" / "cat.mp4.safetensors").is_file()
    assert (folder / "features-listed" / "dog.mp4" / "000000.fc6-1").stat().st_size == 20 + 4 * 512


def test_the_python_examples_run(folder):
    examples = blocks("python")
    assert len(examples) >= 2
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{example}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip()


def test_links_and_pictures_are_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_the_demos_figures_are_the_committed_ones():
    accuracy = json.loads((BENCHMARKS / "demo.json").read_text())["accuracy"]
    for name, value in accuracy.items():
        assert f"| {name} | {100 * value:.1f} % |" in README


def test_the_measured_figures_are_the_committed_ones():
    memory = json.loads((BENCHMARKS / "memory.json").read_text())
    for value in memory["peak_mib"].values():
        assert f"{value:.0f} MiB" in README


def test_tables_are_made_from_the_committed_results():
    specification = importlib.util.spec_from_file_location("tables", BENCHMARKS / "tables.py")
    tables = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tables)
    for name in tables.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert tables.filled(page) == page, f"python benchmarks/tables.py makes {name} anew"
