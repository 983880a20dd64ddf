"""Tables of a shared run are taken where they are wanted, and nothing else is."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import kinema
from kinema.features.extracted import take_from
from kinema.features.extraction import extract
from kinema.features.extractor import Extractor
from kinema.features.table import FeatureTable
from kinema.network import Conv3d, Linear, MaxPool3d, Network
from kinema.weights.file import random_weights

from small_videos import write_folder
from stores import memory_store

pytest.importorskip("pyarrow")

TINY = random_weights(
    Network(
        (3, 16, 112, 112),
        (Conv3d("conv1a", 2), MaxPool3d("pool1", (4, 16, 16)), Linear("fc6", 7)),
    ),
    name="tiny",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Nine videos of three classes, and two shared runs over them, one of them with shards."""
    folder = tmp_path_factory.mktemp("extracted") / "kept"
    write_folder(folder / "videos", num_videos=3, num_frames=20)
    for out, shards in (("out", False), ("shards", True)):
        given = {"weights": TINY, "shared": True, "threads": 1}
        extract(folder / "videos", out=folder / out, shards=shards, **given)
    return folder


@pytest.fixture
def runs(monkeypatch):
    """Batches that went through a network."""
    found, real = [], Extractor.run

    def run(self, inputs):
        found.append(len(inputs[0]))
        return real(self, inputs)

    monkeypatch.setattr(Extractor, "run", run)
    return found


def asked(**options):
    one = kinema.C3DFeatures(TINY, threads=1, **options)
    return [(one.settings(), one.engine_name)]


@pytest.mark.parametrize("out", ["out", "shards"])
@pytest.mark.parametrize("where", ["folder", "url"])
def test_a_video_of_another_name_is_found(kept, tmp_path, runs, where, out):
    place = kept / out
    if where == "url":
        store = memory_store()
        for path in place.rglob("*"):
            if path.is_file():
                store.write(path.relative_to(place).as_posix(), path.read_bytes())
        place = store.address
    shutil.copy(kept / "videos" / "red" / "red_1.mp4", tmp_path / "other.mp4")
    take_from(place, tmp_path / "cache", asked())
    table = kinema.C3DFeatures(TINY, cache=tmp_path / "cache").table(tmp_path / "other.mp4")
    made = FeatureTable.load(kept / "out" / "red" / "red_1.mp4.safetensors")
    np.testing.assert_array_equal(table.features, made.features)
    assert not runs


def test_what_is_damaged_or_of_other_settings_is_made_anew(kept, tmp_path, runs):
    out = shutil.copytree(kept / "out", tmp_path / "out")
    video = kept / "videos" / "blue" / "blue_0.mp4"
    take_from(out, tmp_path / "cache", asked())
    kinema.C3DFeatures(TINY, stride=4, cache=tmp_path / "cache").table(video)
    assert len(runs) == 1
    made = out / "blue" / "blue_0.mp4.safetensors"
    made.write_bytes(made.read_bytes()[:-4] + b"\0\0\0\1")  # a table still, with another number
    kinema.C3DFeatures(TINY, cache=tmp_path / "cache").table(video)
    assert len(runs) == 2


def test_what_a_damaged_or_lost_shard_held_is_made_anew(kept, tmp_path, runs):
    out = shutil.copytree(kept / "shards", tmp_path / "out")
    videos, (shard,) = kept / "videos", [*(out / "shards").iterdir()]
    shard.write_bytes(shard.read_bytes()[:-1])
    take_from(out, tmp_path / "cache", asked())
    kinema.C3DFeatures(TINY, cache=tmp_path / "cache").table(videos / "blue" / "blue_0.mp4")
    assert len(runs) == 1
    shard.unlink()
    kinema.C3DFeatures(TINY, cache=tmp_path / "cache").table(videos / "blue" / "blue_1.mp4")
    assert len(runs) == 2


def test_what_is_refused(kept, tmp_path):
    with pytest.raises(ValueError, match="was made with stride 8, asked for is 4"):
        take_from(kept / "out", tmp_path / "cache", asked(stride=4))
    with pytest.raises(FileNotFoundError, match="nothing was begun there with --shared"):
        take_from(kept / "videos", tmp_path / "cache", asked())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("out", ["out", "shards"])
def test_transfer_compare_and_search_take_them(kept, tmp_path, runs, out):
    videos, given = kept / "videos", {"weights": TINY, "extracted": kept / out}
    made = kinema.transfer(videos, cost=1.0, folds=3, timed=False, **given)
    assert made.result is not None
    result = kinema.compare(videos, methods=["c3d"], cost=1.0, folds=3, timed=False, **given)
    assert result.rows[0].accuracy == made.result.rows[0].accuracy
    query = videos / "red" / "red_0.mp4"
    hits = kinema.search(query, videos, cache=tmp_path / "cache", videos=True, **given)
    assert len(hits.rows) == 8
    assert not runs
    with pytest.raises(ValueError, match="was made with stride 8"):
        kinema.transfer(videos, stride=4, **given)
