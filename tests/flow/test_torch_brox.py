"""The solver in PyTorch: the closed forms, and the same flow as the CPU's kernels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from kinema.flow import native_brox, torch_brox
from kinema.flow.brox import Brox
from kinema.flow.known import MOTIONS, end_point_error, known_pair


@pytest.fixture(autouse=True)
def _one_thread():
    """Small operations on two threads of a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("motion", MOTIONS)
def test_mean_end_point_error_is_under_a_twentieth_of_a_pixel(motion):
    pair = known_pair(motion)
    found = torch_brox.brox_flow(pair.first, pair.second)
    assert end_point_error(found, pair.flow) < 0.05
    # The kernels relax in another order of operations; they end at the same.
    other = native_brox.brox_flow(pair.first, pair.second)
    assert end_point_error(found, other) < 1e-4
    assert np.abs(found - other).max() < 0.01


@pytest.mark.parametrize(
    "settings",
    [
        Brox(inner=2, warps=4),
        Brox(nu=0.75, alpha=18, gamma=7, warps=5),
        Brox(omega=1.5, most_sweeps=15),
        Brox(gamma=0),
        Brox(scales=1, tolerance=0, most_sweeps=25),
    ],
    ids=str,
)
def test_other_settings_lead_both_solvers_to_the_same(settings):
    pair = known_pair("rotation", height=53, width=67)
    found = torch_brox.brox_flow(pair.first, pair.second, settings=settings)
    other = native_brox.brox_flow(pair.first, pair.second, settings=settings)
    np.testing.assert_allclose(found, other, atol=2e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (2, 3), (4, 4), (16, 17), (33, 20)])
def test_tiny_images_of_noise(size):
    noise = np.random.default_rng(0).integers(0, 256, (2, *size)).astype(np.uint8)
    found = torch_brox.brox_flow(*noise)
    np.testing.assert_allclose(found, native_brox.brox_flow(*noise), atol=5e-3)


def test_a_pair_does_not_know_those_beside_it():
    """They need other numbers of sweeps; the one of them that is still needs none."""
    pairs = [known_pair(motion, height=40, width=45) for motion in MOTIONS]
    first = np.stack([pair.first for pair in pairs] + [pairs[0].first])
    second = np.stack([pair.second for pair in pairs] + [pairs[0].first])
    together = torch_brox.brox_flow(first, second)
    for index in range(4):
        alone = torch_brox.brox_flow(first[index], second[index])
        np.testing.assert_allclose(together[index], alone, atol=1e-5)
    np.testing.assert_array_equal(together[3], 0)


ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        known = {"av", "nanobind", "rich", "cyclopts", "scipy", "sklearn", "matplotlib", "cv2"}
        if name.split(".")[0] in known or name.startswith(("kinema.native", "safetensors")):
            raise ImportError(f"{name} is not needed here")

sys.meta_path.insert(0, Blocked())
sys.argv = ["brox_gpu.py", "--help"]
import runpy
try:
    runpy.run_path(SCRIPT, run_name="__main__")
except SystemExit as end:
    assert not end.code
"""


def test_the_measurement_on_a_gpu_needs_neither_an_installation_nor_a_compiler():
    script = Path(__file__).parents[2] / "benchmarks" / "brox_gpu.py"
    code = ALONE.replace("SCRIPT", repr(str(script)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--out" in done.stdout
