"""The task pages' commands and examples run as they stand, from the first to the last."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import kinema
from kinema import FeatureTable
from kinema import network as networks
from kinema.cli.app import main
from kinema.video.synthetic import write_dataset

import foreign_weights as foreign
from odd_videos import write_video

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What the pages name: four videos, a list, labelled videos, the original's weights."""
    folder = tmp_path_factory.mktemp("docs") / "kept"
    (folder / "videos").mkdir(parents=True)
    for index, name in enumerate(["cat", "dog", "hen", "cow"]):
        write_video(folder / "videos" / f"{name}.mp4", 16, first_index=500 * index)
    (folder / "input.lst").write_text("videos/cat.mp4 0 0\nvideos/dog.mp4 0 1\n")
    write_dataset(folder / "dataset", num_train=3, num_test=2, num_frames=16, width=64, height=48)
    shutil.copy(ROOT / "examples" / "own_method.py", folder)
    return folder


@pytest.fixture
def folder(kept, tmp_path, monkeypatch):
    """A copy, and the place to be."""
    monkeypatch.chdir(shutil.copytree(kept, tmp_path / "here"))
    return Path()


def run(page: str) -> None:
    """All commands and programs of a page, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    for language, block in blocks:
        if language == "python":
            exec(compile(block, page, "exec"), {})
            continue
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "kinema", line
            assert main(arguments) == 0, line


def test_features(folder):
    run("features.md")
    table = FeatureTable.load("features/cat.mp4.safetensors")
    listed = FeatureTable.load("features-listed/cat.mp4")
    np.testing.assert_array_equal(listed.features, table.features)
    assert FeatureTable.load("features-pool5/hen.mp4.safetensors").about["layer"] == "pool5"
    np.testing.assert_array_equal(np.load("features-npy/cat.mp4.npy"), table.features)
    assert sorted(path.name for path in Path("features-root").glob("*.safetensors")) == [
        "cat.mp4.safetensors",
        "dog.mp4.safetensors",
    ]


def test_many_machines(folder, capsys):
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    run("many-machines.md")
    printed = capsys.readouterr().out
    assert "4 of 4 videos (100.0 %), 0 of them skipped" in printed
    table = FeatureTable.load("features/hen.mp4.safetensors")
    assert len(table) == 1
    np.testing.assert_array_equal(
        table.features, kinema.ExtractedTables("features-shards")["hen.mp4"].features
    )
    cat = repr(FeatureTable.load("features/cat.mp4.safetensors"))
    assert f"4 ['cat.mp4', 'cow.mp4', 'dog.mp4'] {cat}\n{cat}\n" in printed
    assert re.search(r"start_seconds +features\n0 +0\.0  \[", printed)  # by pandas


def test_datasets(folder, capsys):
    run("datasets.md")
    printed = capsys.readouterr().out
    assert "fast_clockwise" in printed
    assert "Split(" in printed


def test_worth(folder, capsys):
    run("worth.md")
    rows = json.loads(Path("compared/result.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["c3d", "one-frame", "depth-1", "chance"]
    for path in ("predicted/predictions.csv", "worth/embedding.png", "worth/compactness.png"):
        assert Path(path).is_file()
    assert "mean colour" in Path("own/result.md").read_text()


def test_originals(folder, capsys):
    generator = np.random.default_rng(0)
    arrays = {
        name: generator.standard_normal(shape, np.float32) / 100
        for name, shape in networks.c3d().parameter_shapes().items()
    }
    foreign.write_caffe(folder / "conv3d_deepnetA_sport1m_iter_1900000", arrays)
    foreign.write_binaryproto(
        folder / "mean.binaryproto", generator.random((3, 16, 128, 171), np.float32)
    )
    (folder / "labels.txt").write_text("".join(f"sport {i}\n" for i in range(487)))
    for name in ("dog", "hen", "cow"):  # one clip of the large network will do
        (folder / "videos" / f"{name}.mp4").unlink()
    run("originals.md")
    data = Path("features-c3d/cat.mp4/000000.fc6-1").read_bytes()
    assert np.frombuffer(data[:20], "<i4").tolist() == [1, 4096, 1, 1, 1]
    assert len(data) == 20 + 4 * 4096
    assert "sport " in capsys.readouterr().out
    for large in ("conv3d_deepnetA_sport1m_iter_1900000", "c3d.safetensors"):
        Path(large).unlink()


def test_the_api_pages_have_every_public_name():
    pages = [path.read_text(encoding="utf-8") for path in sorted((DOCS / "api").glob("*.md"))]
    shown = set(re.findall(r"^\.\. auto\w+:: kinema\.(\S+)$", "\n".join(pages), re.MULTILINE))
    assert {*kinema.__all__} - {"__version__"} <= shown


def test_the_index_names_the_api_pages():
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^- \[[^]]+\]\(([^)]+)\)", text, re.MULTILINE)
    assert len(named) == len(set(named))
    assert {f"api/{path.name}" for path in (DOCS / "api").glob("*.md")} <= set(named)
