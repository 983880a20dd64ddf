"""What docs/gpu.md tells of accuracy is what was measured, and within what a run is held to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kinema.engine.first_clip import ERRORS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "gpu.md").read_text(encoding="utf-8")
FOUND = json.loads((DOCS / "results" / "precision.json").read_text(encoding="utf-8"))


def test_every_layers_error_is_within_the_bound():
    for layers in FOUND["layers"].values():
        for layer, errors in layers.items():
            for precision, error in errors.items():
                assert error <= ERRORS[precision], (layer, precision)
    assert FOUND["bounds"] == dict(ERRORS)


def test_the_page_has_the_bounds_and_the_errors():
    for precision, bound in ERRORS.items():
        (row,) = re.findall(rf"^\| {precision} .*", PAGE, re.MULTILINE)
        assert float(row.split("|")[3]) == bound
    fc6 = FOUND["layers"]["c3d, random weights"]["fc6"]
    told = re.search(
        r"off by (\S+) in fp32, (\S+) in tf32, (\S+) in\s+bf16 and (\S+) in fp16", PAGE
    )
    assert told is not None
    for text, precision in zip(told.groups(), ("fp32", "tf32", "bf16", "fp16"), strict=True):
        assert float(text) == pytest.approx(float(f"{fc6[precision]:.0e}"))


def test_the_svm_tells_the_same_videos_right_in_number():
    rows = FOUND["svm"]["rows"]
    assert all(row["splits"] == rows["fp32"]["splits"] for row in rows.values())
    # More mantissa moves a video's vector less.
    assert rows["tf32"]["largest distance"] < rows["bf16"]["largest distance"] / 4
