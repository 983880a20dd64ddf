"""The figures of docs/flow.md are those of the committed JSON."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_that_of_the_measurement():
    rows = json.loads((ROOT / "benchmarks" / "brox.json").read_text(encoding="utf-8"))["rows"]
    expected = []
    for name, row in rows.items():
        cells: list[object] = [name]
        for who in ("ours", "reference"):
            cells += [row[who]["seconds"], row[who].get("end_point_error_px", "")]
        cells += [row["times_as_fast"], f"{row['apart_px']:.5f}"]
        cells += [row["dis"]["seconds"], row["dis"].get("end_point_error_px", "")]
        expected.append(f"| {' | '.join(map(str, cells))} |")
    lines = (ROOT / "docs" / "flow.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| ")][2:] == expected


def test_it_is_as_fast_and_errs_as_little_as_was_asked_for():
    """Of the committed measurement: five times as fast at equal error, under 0.05 pixels."""
    rows = json.loads((ROOT / "benchmarks" / "brox.json").read_text(encoding="utf-8"))["rows"]
    for name in ("translation", "rotation", "zoom"):
        row = rows[name]
        assert row["times_as_fast"] >= 5
        error = row["ours"]["end_point_error_px"]
        assert error < 0.05
        assert abs(error - row["reference"]["end_point_error_px"]) < 1e-3
