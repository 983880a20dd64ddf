"""Shards: tables of `extract` in one Parquet file a chunk, given back one by one as they were."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kinema
from kinema.cli.app import main
from kinema.features.extraction import extract
from kinema.features.shards import Shard, read_shard, write_shard
from kinema.features.table import FeatureTable
from kinema.features.table_files import ROW_COLUMNS
from kinema.files import buffered
from kinema.network import Conv3d, Linear, MaxPool3d, Network
from kinema.sharing import claims, manifests, shards
from kinema.sharing.manifests import Row
from kinema.sharing.shards import DamagedShard
from kinema.store import StoreError, open_store
from kinema.video.sources import fingerprint
from kinema.weights.file import random_weights

from odd_videos import write_video
from stores import rows_of

parquet = pytest.importorskip("pyarrow.parquet")

TINY = random_weights(
    Network(
        (3, 16, 112, 112),
        (Conv3d("conv1a", 2), MaxPool3d("pool1", (4, 16, 16)), Linear("fc6", 7)),
    ),
    name="tiny",
)
TESTS = Path(__file__).parent.parent


def assert_same(table: FeatureTable, other: FeatureTable) -> None:
    """The same arrays, and the same JSON beside them."""
    for name in ("features", *ROW_COLUMNS):
        np.testing.assert_array_equal(getattr(table, name), getattr(other, name))
        assert getattr(table, name).dtype == getattr(other, name).dtype
    assert json.dumps(dict(table.about), sort_keys=True) == json.dumps(
        dict(other.about), sort_keys=True
    )


# --- a file -----------------------------------------------------------------------------------


def drawn(number: int) -> FeatureTable:
    """Table i has i rows, and something in `about` that no other one has."""
    generator = np.random.default_rng(number)
    frames = np.arange(number) * 8
    return FeatureTable(
        features=generator.standard_normal((number, 40)),
        start_frame=frames,
        stop_frame=frames + 16,
        start_seconds=np.where(frames > 8, np.nan, frames / 25),
        stop_seconds=(frames + 16) / 30,
        num_padded_frames=frames % 3,
        about={
            "video": f"a/é{number}.mp4",
            "layer": "fc6",
            "settings": {"stride": 8, "fps": 0.1 + 0.2},
            "one": 1 if number % 2 else True,  # equal to Python, and not to JSON
            "partial": {"frame": 3, "reason": "it broke."} if number == 3 else None,
            **({"odd": True} if number % 2 else {}),
        },
    )


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Rows of five videos, of which one was skipped, and the files of the others."""
    folder = tmp_path_factory.mktemp("pieces")
    rows, files = [], {}
    for number in range(1, 6):
        name = f"a/é{number}.mp4"
        if number == 4:
            rows.append(Row(name, "mark", reason="it is empty."))
            continue
        files[name] = folder / f"{number}.safetensors"
        drawn(number).save(files[name])
        sha256 = hashlib.sha256(files[name].read_bytes()).hexdigest()
        rows.append(Row(name, f"mark {number}", number, sha256))
    return rows, files


@pytest.fixture(scope="module")
def data(pieces, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("shard") / "shard"
    write_shard(path, *pieces)
    return path.read_bytes()


def test_each_table_is_given_back(pieces, data, tmp_path):
    rows, files = pieces
    assert read_shard(io.BytesIO(data)) == rows
    path = tmp_path / "000001.parquet"
    path.write_bytes(data)
    for name, file in files.items():
        assert_same(FeatureTable.load(path, video=name), FeatureTable.load(file))


def test_equal_tables_give_equal_bytes(pieces, data, tmp_path):
    rows, files = pieces
    write_shard(tmp_path / "again", rows, dict(reversed(files.items())))
    assert (tmp_path / "again").read_bytes() == data


def test_one_table_is_read_without_the_others(tmp_path):
    rows, files = [], {}
    for number in range(1, 9):
        generator = np.random.default_rng(number)
        columns = {name: np.zeros(50) for name in ROW_COLUMNS}
        table = FeatureTable(features=generator.standard_normal((50, 1000)), **columns)
        files[f"{number}"] = tmp_path / f"{number}.safetensors"
        table.save(files[f"{number}"])
        rows.append(Row(f"{number}", "", 50, f"{number}"))
    write_shard(tmp_path / "shard", rows, files)
    data = (tmp_path / "shard").read_bytes()
    taken = []

    def read(start: int, stop: int) -> bytes:
        taken.append(stop - start)
        return data[start:stop]

    content = Shard(buffered(read, len(data), 1 << 12)).read("5")
    np.testing.assert_array_equal(content["features"], FeatureTable.load(files["5"]).features)
    assert sum(taken) < len(data) / 4


def test_others_read_it(pieces, data, tmp_path):
    """By Arrow's own words: columns, a row group a video, in the order of the names."""
    rows, files = pieces
    file = parquet.ParquetFile(io.BytesIO(data))
    assert file.schema_arrow.names == ["video", "clip_index", *ROW_COLUMNS, "features"]
    assert file.num_row_groups == len(files)
    names = [row.name for row in rows if row.sha256]
    for index, name in enumerate(names):
        group = file.metadata.row_group(index)
        assert group.column(0).statistics.min == group.column(0).statistics.max == name
        assert group.num_rows == len(drawn(int(name[3])))
    found = parquet.read_table(io.BytesIO(data), filters=[("video", "==", names[2])])
    assert found["features"].to_pylist() == drawn(3).features.tolist()
    assert found["clip_index"].to_pylist() == [0, 1, 2]
    told = json.loads(file.schema_arrow.metadata[b"kinema"])
    assert told["format"] == "kinema-shard-1"
    assert [video["name"] for video in told["videos"]] == [row.name for row in rows]


def test_damage_never_passes(pieces, data):
    """Many bytes changed, and many lengths: it is told, or what is read is the same."""
    _, files = pieces
    draw, told = random.Random(0), []
    for _ in range(1500):
        bad = bytearray(data)
        bad[draw.randrange(len(bad))] ^= draw.randrange(1, 256)
        if draw.random() < 0.1:
            bad = bad[: draw.randrange(len(bad))]
        name = draw.choice([*files])
        try:
            content = Shard(io.BytesIO(bytes(bad))).read(name)
        except DamagedShard as error:
            told.append(str(error))
        else:
            assert_same(FeatureTable(**content), drawn(int(name[3])))
    assert len(told) > 500
    assert not any("\n" in line for line in told)


def test_a_store_that_does_not_answer_is_no_damage(data):
    def read(start: int, stop: int) -> bytes:
        if start < len(data) // 2:
            raise StoreError(None, "cannot read shards/000001.parquet (the line is cut)")
        return data[start:stop]

    with pytest.raises(StoreError, match="the line is cut"):
        Shard(buffered(read, len(data), 1 << 10)).read("a/é1.mp4")


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("a/é4.mp4", r"1\.parquet: a/é4\.mp4 was skipped: it is empty\."),
        ("b", r"1\.parquet: it holds a/é1\.mp4, .* and 2 more, but no video called b\."),
        (None, r"1\.parquet is not a feature table \(it is a shard, of many videos: name one"),
    ],
)
def test_what_is_not_there_is_told(data, tmp_path, video, message):
    path = tmp_path / "000001.parquet"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        FeatureTable.load(path, video=video)


def test_what_is_no_shard_is_told(data, tmp_path):
    path = tmp_path / "000001.parquet"
    with pytest.raises(FileNotFoundError, match=r"000001\.parquet: no such file"):
        FeatureTable.load(path, video="a")
    drawn(2).save(path, "parquet")
    with pytest.raises(
        ValueError, match=r"000001\.parquet is no shard, or damaged \(it is no shard"
    ):
        FeatureTable.load(path, video="a")
    path.write_bytes(data[:-40])
    with pytest.raises(ValueError, match=r"000001\.parquet is no shard, or damaged"):
        FeatureTable.load(path, video="a/é1.mp4")


# --- runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Twenty videos in a folder, one of them bad; what `extract` makes of them, with and without
    shards: chunks have 16 and 4 videos."""
    folder = tmp_path_factory.mktemp("shards") / "kept"
    videos = folder / "videos"
    videos.mkdir(parents=True)
    for number in range(19):
        write_video(videos / f"{number:02d}.mp4", 16 + 5 * (number % 4), first_index=20 * number)
    (videos / "empty.mp4").write_bytes(b"")
    TINY.save(folder / "tiny.safetensors")
    given = {"weights": str(folder / "tiny.safetensors"), "threads": 1}
    extract(videos, out=folder / "files", **given)
    report = extract(videos, out=folder / "shards", shared=True, shards=True, **given)
    assert (report.num_done, len(report.skipped)) == (19, 1)
    return folder


def start(kept, out, **environment) -> subprocess.Popen:
    program = [sys.executable, str(TESTS / "features" / "shared_process.py"), "extract"]
    weights = ["--weights", str(kept / "tiny.safetensors"), "--threads", "1"]
    flags = ["--shared", "--shards", "--max-skipped", "1"]
    return subprocess.Popen(
        [*program, str(kept / "videos"), "--out", str(out), *weights, *flags],
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def files_of(out) -> dict[str, bytes]:
    """All that a run leaves, but for claims, which tell who ran."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.is_file() and path.parent.name != "claims"
    }


def test_shards_hold_what_extract_makes(kept):
    out = kept / "shards"
    assert sorted(path.name for path in (out / "shards").iterdir()) == [
        "000000.parquet",
        "000001.parquet",
    ]
    assert not [*out.rglob("*.safetensors")]
    assert not [*out.rglob("*.kinema-partial")]
    tables = kinema.ExtractedTables(out)
    assert [*tables] == [f"{number:02d}.mp4" for number in range(19)]
    assert (len(tables), "03.mp4" in tables, "empty.mp4" in tables) == (19, True, False)
    assert repr(tables) == f"ExtractedTables('{out}': 19 tables)"
    rows = {row.name: row for row in rows_of(open_store(out))}
    for name, table in tables.items():
        file = kept / "files" / f"{name}.safetensors"
        assert_same(table, FeatureTable.load(file))
        row = rows[name]
        assert row.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert row.fingerprint == fingerprint(kept / "videos" / name)
        assert row.num_clips == len(table)
    assert rows["empty.mp4"].reason == "the file is empty."
    with pytest.raises(KeyError):
        tables["empty.mp4"]


def test_tables_of_files_are_given_as_those_of_shards(kept, tmp_path):
    out, weights = shutil.copytree(kept / "files", tmp_path / "out"), kept / "tiny.safetensors"
    extract(kept / "videos", out=out, weights=str(weights), threads=1, shared=True)
    tables = kinema.ExtractedTables(out)
    assert [*tables] == [*kinema.ExtractedTables(kept / "shards")]
    assert_same(tables["05.mp4"], FeatureTable.load(out / "05.mp4.safetensors"))
    (out / "05.mp4.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"05\.mp4\.safetensors is gone: remove .*manifests"
    ):
        tables["05.mp4"]


def test_two_processes_of_which_one_is_killed_in_mid_chunk(kept, tmp_path, capsys):
    out = tmp_path / "out"
    processes = [start(kept, out, KINEMA_TEST_SLOW="1")]
    store = open_store(out)
    for _ in range(1200):
        if any(len(claims.read_beat(store, key).rows) > 2 for key in store.times(claims.BEATS)):
            break
        time.sleep(0.02)
    processes.append(start(kept, out))
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    assert len(store.times(shards.FOLDER)) < 2
    assert len(store.times(claims.CLAIMS)) >= 1
    errors = processes[1].communicate(timeout=300)[1]
    assert processes[1].returncode == 0, errors
    assert files_of(out) == files_of(kept / "shards")
    assert any(key.endswith(".2") for key in store.times(claims.CLAIMS))  # it was taken over
    capsys.readouterr()
    assert main(["status", str(out)]) == 0
    assert "20 of 20 videos (100.0 %), 1 of them skipped" in capsys.readouterr().out


def test_s3(kept, s3):
    out = f"s3://{s3.bucket()}/features"
    weights = str(kept / "tiny.safetensors")
    report = extract(kept / "videos", out=out, weights=weights, threads=1, shared=True, shards=True)
    assert report.num_done == 19
    store = open_store(out)
    for name, data in files_of(kept / "shards").items():
        assert store.read(name) == data
    expected = FeatureTable.load(kept / "files" / "18.mp4.safetensors")
    assert_same(FeatureTable.load(f"{out}/{shards.path_of(1)}", video="18.mp4"), expected)
    assert_same(kinema.ExtractedTables(out)["18.mp4"], expected)
    with pytest.raises(FileNotFoundError, match=r"000007\.parquet: no such file"):
        FeatureTable.load(f"{out}/{shards.path_of(7)}", video="18.mp4")


def test_damaged_and_lost_shards_are_told_and_made_again(kept, tmp_path, monkeypatch):
    out = shutil.copytree(kept / "shards", tmp_path / "out")
    path, manifest = out / shards.path_of(1), out / manifests.path_of(1)
    features = parquet.ParquetFile(path).metadata.row_group(2).column(7)
    data = bytearray(path.read_bytes())
    data[features.data_page_offset + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"000001\.parquet is damaged .*: remove it and") as error:
        kinema.ExtractedTables(out)["18.mp4"]
    assert str(manifest) in str(error.value)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"000001\.parquet is gone: remove") as error:
        kinema.ExtractedTables(out)["18.mp4"]
    assert str(manifest) in str(error.value)
    # As it was told:
    manifest.unlink()
    monkeypatch.setattr(claims, "STALE_SECONDS", 0.0)
    given = {"weights": str(kept / "tiny.safetensors"), "threads": 1, "shared": True}
    report = extract(kept / "videos", out=out, shards=True, **given)
    assert (report.num_done, report.num_found) == (3, 16)
    assert files_of(out) == files_of(kept / "shards")


def test_a_folder_is_of_shards_or_of_files(kept, tmp_path):
    given = {"weights": str(kept / "tiny.safetensors"), "threads": 1, "shared": True}
    with pytest.raises(ValueError, match=r"was made with .*shards"):
        extract(kept / "videos", out=kept / "shards", format="parquet", **given)
    with pytest.raises(ValueError, match="was made with format safetensors, now it is parquet"):
        extract(kept / "videos", out=kept / "files", shards=True, **given)
    settings = json.loads((kept / "shards" / "run.json").read_text())["settings"]
    assert (settings["format"], settings["shards"]) == ("parquet", True)
    assert "shards" not in json.loads((kept / "files" / "run.json").read_text())["settings"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared": False}, r"`shards` are written by shared runs alone; give `shared`"),
        ({"format": "hdf5"}, r"`shards` are Parquet files of many videos: leave `format` hdf5 out"),
        ({"format": "npy"}, r"`shards` are Parquet files of many videos: leave `format` npy out"),
    ],
)
def test_what_is_refused_at_once_beside_shards(kept, tmp_path, change, message):
    given = {"out": tmp_path / "out", "weights": TINY, "shared": True, "shards": True, **change}
    with pytest.raises(ValueError, match=message):
        extract(kept / "videos", **given)
    assert not (tmp_path / "out").exists()


def test_the_command_line_says_it_in_one_line(kept, tmp_path, capsys):
    words = ["extract", str(kept / "videos"), "--out", str(tmp_path / "out"), "--shards"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "--shards are written by shared runs alone" in error
