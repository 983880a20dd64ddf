"""Feature tables in every format, and the original's feature files byte for byte."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from kinema.features.table import FORMATS, FeatureTable, read_c3d_blob

ABOUT = {
    "video": "a/v_ünïcode.avi",
    "layer": "fc6",
    "layer_shape": [6],
    "partial": None,
    "settings": {"stride": 8},
}


def table(n=3, shape=(6,), *, layer="fc6", seconds=True):
    rng = np.random.default_rng(n)
    starts = np.arange(n) * 8
    return FeatureTable(
        features=rng.standard_normal((n, math.prod(shape))).astype(np.float32),
        start_frame=starts,
        stop_frame=starts + 16,
        start_seconds=starts / 29.97 if seconds else np.full(n, np.nan),
        stop_seconds=(starts + 16) / 29.97 if seconds else np.full(n, np.nan),
        num_padded_frames=np.zeros(n),
        about={**ABOUT, "layer": layer, "layer_shape": list(shape)},
    )


def assert_same(got, expected):
    for name in (
        "features",
        "start_frame",
        "stop_frame",
        "start_seconds",
        "stop_seconds",
        "num_padded_frames",
        "clip_index",
    ):
        a, b = getattr(got, name), getattr(expected, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert dict(got.about) == dict(expected.about)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("seconds", [True, False])
def test_a_saved_table_comes_back(tmp_path, format, seconds):
    if FORMATS[format].module:
        pytest.importorskip(FORMATS[format].module)
    expected = table(seconds=seconds)
    path = tmp_path / f"v.avi{FORMATS[format].ending}"
    expected.save(path, format)
    assert_same(FeatureTable.load(path), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_table_gives_the_same_bytes(tmp_path, format):
    if FORMATS[format].module:
        pytest.importorskip(FORMATS[format].module)
    content = []
    for folder in ("one", "two"):
        table().save(tmp_path / folder / f"v{FORMATS[format].ending}", format)
        files = sorted(f for f in (tmp_path / folder).rglob("*") if f.is_file())
        content.append([(f.relative_to(tmp_path / folder), f.read_bytes()) for f in files])
    assert content[0] == content[1]


def test_npy_is_the_plain_array(tmp_path):
    table().save(tmp_path / "v.avi.npy", "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "v.avi.npy"), table().features)
    rows = json.loads((tmp_path / "v.avi.json").read_text())["rows"]
    assert rows["start_frame"] == [0, 8, 16]


@pytest.mark.parametrize(
    ("layer", "shape", "header", "ending"),
    [
        ("fc6", (4096,), (1, 4096, 1, 1, 1), ".fc6-1"),
        ("fc7", (4096,), (1, 4096, 1, 1, 1), ".fc7-1"),
        ("prob", (487,), (1, 487, 1, 1, 1), ".prob"),
        ("pool5", (512, 1, 4, 4), (1, 512, 1, 4, 4), ".pool5"),
        ("conv5b", (512, 2, 7, 7), (1, 512, 2, 7, 7), ".conv5b"),
    ],
)
def test_original_files_byte_for_byte(tmp_path, layer, shape, header, ending):
    expected = table(2, shape, layer=layer)
    expected.save(tmp_path / "v", "c3d")
    names = sorted(file.name for file in (tmp_path / "v").iterdir())
    assert names == [f"000000{ending}", f"000008{ending}", "rows.json"]
    for index, name in enumerate(names[:2]):
        # num, channels, length, height, width as int32, then float32, all little-endian.
        values = expected.features[index].tolist()
        data = struct.pack("<5i", *header) + struct.pack(f"<{len(values)}f", *values)
        assert (tmp_path / "v" / name).read_bytes() == data
    if layer == "fc6":
        assert (tmp_path / "v" / names[0]).stat().st_size == 16_404
    assert read_c3d_blob(tmp_path / "v" / names[0]).shape == header[1:]


def test_files_of_the_original_itself_are_read(tmp_path):
    folder = tmp_path / "v_ApplyEyeMakeup_g01_c01"
    folder.mkdir()
    for start in (0, 16, 32):
        data = struct.pack("<5i", 1, 3, 1, 1, 1) + struct.pack("<3f", start, 1, 2)
        (folder / f"{start:06d}.fc6-1").write_bytes(data)
    got = FeatureTable.load(folder)
    assert got.features.tolist() == [[0, 1, 2], [16, 1, 2], [32, 1, 2]]
    assert got.start_frame.tolist() == [0, 16, 32]
    assert got.stop_frame.tolist() == [16, 32, 48]
    assert np.isnan(got.start_seconds).all()
    assert got.about["layer"] == "fc6"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"123",
        struct.pack("<5i", 1, 3, 1, 1, 1) + b"1234",
        struct.pack("<5i", 2, 1, 1, 1, 1) + b"12345678",
        struct.pack("<5i", 1, -3, 1, 1, 1),
    ],
)
def test_a_damaged_original_file_is_named(tmp_path, data):
    (tmp_path / "000000.fc6-1").write_bytes(data)
    with pytest.raises(ValueError, match="000000.fc6-1: not an original"):
        read_c3d_blob(tmp_path / "000000.fc6-1")


def test_video_vector_is_the_normalised_mean():
    t = table()
    mean = t.features.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(t.video_vector(), mean / np.sqrt((mean**2).sum()), rtol=1e-6)
    assert np.linalg.norm(t.video_vector()) == pytest.approx(1, abs=1e-6)
    dead = FeatureTable(np.zeros((2, 4)), *(np.zeros(2),) * 5)
    np.testing.assert_array_equal(dead.video_vector(), np.zeros(4))


@pytest.mark.parametrize("name", ["features", "start_frame", "stop_seconds"])
def test_wrong_shapes_are_refused(name):
    columns = {
        "features": np.zeros((2, 4)),
        **{
            column: np.zeros(2)
            for column in (
                "start_frame",
                "stop_frame",
                "start_seconds",
                "stop_seconds",
                "num_padded_frames",
            )
        },
    }
    columns[name] = np.zeros(3)
    with pytest.raises(ValueError, match=name):
        FeatureTable(**columns)


@pytest.mark.parametrize("name", ["noise.safetensors", "noise.npy", "noise.parquet", "noise.hdf5"])
def test_a_file_that_is_no_table_is_named(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    if name.endswith("hdf5"):
        pytest.importorskip("h5py")
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=name):
        FeatureTable.load(tmp_path / name)


def test_other_endings_are_refused(tmp_path):
    (tmp_path / "v.mat").write_bytes(b"x")
    with pytest.raises(ValueError, match="a feature table ends in"):
        FeatureTable.load(tmp_path / "v.mat")
    with pytest.raises(FileNotFoundError, match="nothing.npy"):
        FeatureTable.load(tmp_path / "nothing.npy")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "v.safetensors"
    table().save(path)
    before = path.read_bytes()

    def full_disk(target, data):
        with open(target, "wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space") as caught:
        table(5).save(path)
    assert caught.value.filename == str(path)  # a disk that is full says no name itself
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
