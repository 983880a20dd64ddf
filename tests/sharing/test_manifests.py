"""Manifests: what is written is read again, and damage never passes for a manifest."""

from __future__ import annotations

import pytest

from kinema.sharing import manifests
from kinema.sharing.manifests import DamagedManifest, Row

pytest.importorskip("pyarrow")

ROWS = [
    Row("a/é.mp4", "f" * 64, 7, "0123456789abcdef" * 4),
    Row("b.mp4", "e" * 64, 0, "", "the file is empty."),
    Row("c.mp4", "d" * 64, 123456, "fedcba9876543210" * 4),
]
NAMES = [row.name for row in ROWS]


def test_what_is_written_is_read():
    data = manifests.write(ROWS)
    assert manifests.read(data, NAMES) == ROWS
    assert manifests.write(ROWS[::-1]) == data


def test_others_read_it():
    """By Arrow's own words."""
    import io

    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(manifests.write(ROWS))).to_pydict()
    assert table["num_clips"] == [7, 0, 123456]
    assert table["reason"] == ["", "the file is empty.", ""]


def test_damage_never_passes():
    """Many bytes changed, and many lengths: it is told, or nothing is lost."""
    data = manifests.write(ROWS)
    told = 0
    damaged = [data[:stop] for stop in range(0, len(data), 5)]
    places = range(0, len(data), 2)
    damaged += [data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] for at in places]
    for each in damaged:
        try:
            rows = manifests.read(each, NAMES)
        except DamagedManifest:
            told += 1
        else:
            assert rows == ROWS
    assert told > len(damaged) // 3


def test_other_names():
    with pytest.raises(DamagedManifest, match="of other videos"):
        manifests.read(manifests.write(ROWS), ["a/é.mp4", "b.mp4"])


@pytest.mark.parametrize(
    ("name", "chunk"),
    [("000012.parquet", 12), ("1234567.parquet", 1234567), ("x.parquet", None), ("12.json", None)],
)
def test_whose_manifest_it_is(name, chunk):
    assert manifests.chunk_of(name) == chunk
