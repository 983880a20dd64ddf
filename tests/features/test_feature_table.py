"""Feature tables in every format, and the original's feature files byte for byte."""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from kinema.features.table import FeatureTable
from kinema.features.table_files import FORMATS, read_c3d_blob

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


def test_numpy_sees_the_features():
    found = table()
    assert np.asarray(found) is found.features or np.shares_memory(found, found.features)
    assert np.asarray(found).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(found, np.float64), found.features.astype(np.float64))
    np.testing.assert_array_equal(np.mean(found, axis=0), found.features.mean(axis=0))
    copy = np.array(found)
    copy[:] = 0
    assert found.features.any()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (2, [2]),
        (-1, [4]),
        (np.int64(1), [1]),
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, -2), [4, 2, 0]),
        ([3, 0, 3], [3, 0, 3]),
        (np.array([True, False, False, False, True]), [0, 4]),
        (np.zeros(5, bool), []),
        (slice(5, None), []),
    ],
)
def test_some_rows_are_a_table(rows, expected):
    whole = table(5)
    part = whole[rows]
    assert isinstance(part, FeatureTable)
    assert part.start_frame.tolist() == [8 * row for row in expected]
    assert part.stop_frame.tolist() == [8 * row + 16 for row in expected]
    assert part.features.tolist() == [whole.features[row].tolist() for row in expected]
    assert part.about == whole.about


def test_rows_by_time():
    # Clips begin at 0, 8, 16, ... of 29.97 frames a second.
    early = table(9)[table(9).start_seconds < 1]
    assert early.start_frame.tolist() == [0, 8, 16, 24]


@pytest.mark.parametrize("rows", [3, -4, [0, 3], np.ones(4, bool), "features", (0, 1), 0.5])
def test_rows_that_are_not_there_are_refused(rows):
    with pytest.raises(IndexError):
        table(3)[rows]


def test_a_table_can_be_walked():
    assert [int(clip.start_frame[0]) for clip in table(3)] == [0, 8, 16]


def test_pandas_has_what_a_parquet_file_has(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    found = table(4, seconds=False)
    frame = found.to_pandas()
    found.save(tmp_path / "v.parquet", "parquet")
    expected = pandas.read_parquet(tmp_path / "v.parquet")
    pandas.testing.assert_frame_equal(frame, expected)
    assert frame.attrs["video"] == "a/v_ünïcode.avi"
    np.testing.assert_array_equal(np.stack(frame.features), found.features)


def test_without_pandas_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="`to_pandas` needs pandas: pip install pandas."):
        table().to_pandas()


def test_notebooks_show_its_first_rows():
    found = FeatureTable(
        features=np.tile([1, 0.25, -3, 4, 5], (12, 1)),
        start_frame=np.arange(12) * 8,
        stop_frame=np.arange(12) * 8 + 16,
        start_seconds=np.arange(12) * 0.5,
        stop_seconds=np.full(12, np.nan),
        num_padded_frames=np.zeros(12),
        about={"video": "<b>.mp4", "layer": "fc6"},
    )
    shown = found._repr_html_()
    assert "<p>FeatureTable(&#x27;&lt;b&gt;.mp4&#x27;, fc6: 12 clips x 5)</p>" in shown
    row = "<tr><td>9</td><td>72 to 88</td><td>4.5</td><td></td><td>1, 0.25, -3, 4, ...</td></tr>"
    assert row in shown
    assert shown.count("<tr>") == 1 + 10
    assert "... and 2 more" in shown
