"""`benchmarks/gpu.py` runs to its end on a CPU, at a toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_all_of_it_runs_on_a_cpu(tmp_path):
    out = tmp_path / "gpu.json"
    subprocess.run(
        [sys.executable, SCRIPT, "--out", out, "--device", "cpu", "--quick"],
        check=True,
        capture_output=True,
    )
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["failed"] == []
    assert result["parity"]["against"] == "native"
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        assert result["parity"][precision]["within_bound"]
    # 2 x 16 x 16 x 16 x 27 taps x 3 x 4 + 2 x 16 x 8 x 8 x 27 x 4 x 8 + fc6 + fc8, by hand.
    multiply_adds = 16**3 * 27 * 3 * 4 + 16 * 8 * 8 * 27 * 4 * 8 + 8 * 8 * 4 * 4 * 16 + 16 * 5
    assert result["gigaflop_a_clip"] == pytest.approx(2e-9 * multiply_adds)
    assert {row["precision"] for row in result["forward"]} == {"fp32", "tf32", "bf16", "fp16"}
    for row in (*result["forward"], *result["engine"]):
        assert row["frames_per_second"] == pytest.approx(16 * row["clips_per_second"])
        assert row["share_of_bf16_peak"] == pytest.approx(
            row["tflops"] / result["peak"]["bf16_tflops"]
        )
    assert [row["layer"] for row in result["layers"]][:2] == ["conv1a", "pool1"]
    assert {row["precision"] for row in result["training"]} == {"fp32", "bf16"}
    assert result["first_layers"] == {}  # a toy's convolution is none that Triton has
    alone = result["decoding_alone"]
    assert alone["best"] in alone["frames_per_second"]
    best = max(alone["frames_per_second"].values())
    assert [row["processes"] for row in result["extraction"]] == [1, 2]
    for row in result["extraction"]:
        rate = max(row["frames_per_second"].values())
        assert row["share_of_decoding"] == pytest.approx(rate / best)


def test_without_libraries_for_video_it_measures_the_network(tmp_path):
    """As on a bare machine that has PyTorch alone."""
    for name in ("av", "cv2"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('No module named {name}')")
    out = tmp_path / "gpu.json"
    subprocess.run(
        [sys.executable, SCRIPT, "--out", out, "--device", "cpu", "--quick"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    result = json.loads(out.read_text(encoding="utf-8"))
    assert [one["what"] for one in result["failed"]] == ["videos", "engine bf16 2", "engine fp32 2"]
    assert all(row["clips_per_second"] for row in (*result["forward"], *result["training"]))
    assert all(result["parity"][name]["within_bound"] for name in ("bf16", "fp32"))


def test_what_was_measured_is_in_the_file_at_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu

    out = tmp_path / "new" / "gpu.json"
    bench = gpu.Bench("cpu", quick=True, seconds=1e9, out=out)
    rows = bench.result.setdefault("rows", [])

    def kept():
        return json.loads(out.read_text(encoding="utf-8"))

    def doubtful():
        warnings.warn("it is slower", stacklevel=2)
        return 2

    bench.attempt("one", rows, None, lambda: 1)
    assert kept()["rows"] == [1]
    bench.attempt("two", rows, None, doubtful)
    bench.attempt("three", bench.result, "three", lambda: 1 / 0)
    found = kept()
    assert (found["rows"], found["three"]) == ([1, 2], None)
    assert found["told"] == [{"what": "two", "warning": "it is slower"}]
    why = "ZeroDivisionError: division by zero"
    assert found["failed"] == [{"what": "three", "why": why}]
    bench._seconds = -1.0
    bench.attempt("four", rows, None, lambda: 4)
    assert kept()["failed"][1] == {"what": "four", "why": "-1 s were over"}
    assert [path.name for path in out.parent.iterdir()] == ["gpu.json"]
