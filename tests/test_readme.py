"""The README's examples run as they stand, and its figures are those of the committed JSON."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors import safe_open
from sklearn.svm import LinearSVC

from kinema import FeatureTable
from kinema import network as networks
from kinema.plots import COLOURS

import foreign_weights as foreign
from odd_videos import write_video

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = ROOT / "benchmarks"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the examples name: four videos, the original's weights, a mean, labels."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "videos").mkdir()
    for index, name in enumerate(["cat", "dog", "hen", "cow"]):
        write_video(folder / "videos" / f"{name}.mp4", 16, first_index=500 * index)
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


@pytest.fixture(scope="module")
def ran(folder):
    """The folder after all shell examples, each of which must do."""
    lines = shell_lines()
    assert len(lines) >= 8
    for line in lines:
        assert line.startswith("kinema "), line
        command = [sys.executable, "-m", *line.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return folder


def test_the_shell_examples_leave_the_features_they_name(ran):
    table = FeatureTable.load(ran / "features" / "dog.mp4.safetensors")
    assert table.features.shape == (1, 512)
    assert np.count_nonzero(table.features) > 50  # after ReLU
    c3d = FeatureTable.load(ran / "features-c3d" / "dog.mp4.safetensors")
    assert c3d.features.shape == (1, 4096)


def test_the_demo_sees_motion_and_its_rivals_do_not(ran):
    """Its result is counted again from the files that it wrote, and judged by chance alone."""
    demo = ran / "demo"
    told = json.loads((demo / "result.json").read_text())["accuracy"]
    with safe_open(demo / "classifier.safetensors", framework="numpy") as file:
        classes = json.loads(file.metadata()["kinema"])["classes"]
        coefficients = file.get_tensor("coefficients")
        intercepts = file.get_tensor("intercepts")
    vectors, labels = {"train": [], "test": []}, {"train": [], "test": []}
    for video in sorted((demo / "videos").rglob("*.mp4")):
        split, label, _ = video.relative_to(demo / "videos").parts
        name = f"{video.relative_to(demo / 'videos')}.safetensors"
        mean = FeatureTable.load(demo / "features" / name).features.mean(axis=0, dtype=float)
        vectors[split].append(mean / np.linalg.norm(mean))
        labels[split].append(label)
    assert Counter(labels["train"]) == dict.fromkeys(classes, 20)
    assert Counter(labels["test"]) == dict.fromkeys(classes, 10)
    scores = np.array(vectors["test"]) @ coefficients.T + intercepts
    predicted = np.array(classes)[scores.argmax(axis=1)]
    num_right = int((predicted == labels["test"]).sum())
    assert told["16 frames in order"] == num_right / 40
    # It learned from the training videos, and from nothing else.
    svm = LinearSVC(C=1.0, random_state=0, max_iter=10_000)
    again = svm.fit(np.float32(vectors["train"]), labels["train"]).predict(vectors["test"])
    assert again.tolist() == predicted.tolist()
    # Who guesses is right 10 times of 40, give or take 2.7: 20 are 3.6 times as far away.
    assert told.pop("chance") == 1 / len(classes) == 0.25
    assert num_right > 20 + 10
    del told["16 frames in order"]
    assert len(told) == 2
    for accuracy in told.values():
        assert 40 * accuracy < 20


def test_the_demo_finds_and_sorts(ran):
    """What it tells is counted again; the long video is joined of nine of 32 frames each."""
    demo = ran / "demo"
    told = json.loads((demo / "result.json").read_text())
    assert told["search"]["true_seconds"] == pytest.approx([5 * 32 / 25, 6 * 32 / 25])
    start, stop = told["search"]["found_seconds"]
    assert 5 * 32 / 25 <= (start + stop) / 2 <= 6 * 32 / 25
    with open(demo / "sorted" / "videos.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 40
    right = sum(row["best_class"] == Path(row["path"]).parent.name for row in rows)
    num_none = sum(not row["label"] for row in rows)
    assert told["classify"] == {
        "num_labelled": 5, "accuracy": right / 40, "none_of_these": num_none
    }  # fmt: skip
    assert right > 20 + 10  # as above


def test_the_shell_examples_leave_pages_and_suggestions(ran):
    for name in ("similar.html", "duplicates.html", "demo/search.html", "demo/sorted.html"):
        assert str(ran) not in (ran / name).read_text(), name
    rows = (ran / "sorted" / "suggestions.csv").read_text().splitlines()
    assert len(rows) == 1 + 20 + 10


def test_the_demos_picture_shows_its_predictions(ran):
    picture = cv2.imread(str(ran / "demo" / "predictions.png"))[..., ::-1]
    height, width = picture.shape[:2]
    assert (height > 600, width > 1000) == (True, True)
    # Each class has a video of eight frames, and a line in each timeline.
    for row in np.array_split(picture[int(0.05 * height) : int(0.95 * height)], 4):
        assert (np.ptp(row, axis=2) > 60).mean() > 0.1  # wheels of two colours
    for colour in COLOURS[:4]:
        assert (abs(picture - 255 * np.array(colour)) < 2).all(axis=2).sum() > 500


def test_the_python_examples_run(folder):
    examples = blocks("python")
    assert examples
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{example}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip()


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert "docs/demo.png" in targets
    for target in targets:
        assert (ROOT / target).is_file(), target


def test_the_demos_figures_are_the_committed_ones():
    accuracy = json.loads((BENCHMARKS / "demo.json").read_text())["accuracy"]
    assert len(accuracy) == 4
    for name, value in accuracy.items():
        assert f"| {name} | {100 * value:.1f} % |" in README


def test_the_measured_figures_are_the_committed_ones():
    memory = json.loads((BENCHMARKS / "memory.json").read_text())
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    for value in memory["peak_mib"].values():
        assert f"{value:.0f} MiB" in page


def test_it_is_read_in_five_minutes():
    assert len(README.split()) <= 900


def test_tables_are_made_from_the_committed_results():
    specification = importlib.util.spec_from_file_location("tables", BENCHMARKS / "tables.py")
    tables = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tables)
    for name in tables.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert tables.filled(page) == page, f"python benchmarks/tables.py makes {name} anew"
