"""The Triton kernel of conv1a and pool1, under Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from kinema.engine import reference  # noqa: E402
from kinema.network import c3d  # noqa: E402

COMPUTED = """
import sys
import numpy as np, torch
from kinema.engine.triton_stem import convolve_and_pool, packed
x, weight, bias = (torch.from_numpy(a) for a in np.load(sys.argv[1]).values())
kind = getattr(torch, sys.argv[3])
y = convolve_and_pool(x.to(kind), packed(weight.to(kind)), bias.to(kind))
assert y.dtype == kind and y.is_contiguous(memory_format=torch.channels_last_3d)
np.save(sys.argv[2], y.float().numpy())
"""


# Not in bfloat16: the interpreter of Triton 3.9 multiplies its bits as if they were whole numbers.
@pytest.mark.parametrize("kind", ["float16", "float32"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 10), (1, 3, 1, 2, 2), (3, 3, 3, 14, 12)])
def test_it_is_convolution_relu_and_pooling(kind, shape, tmp_path):
    """Against the float64 reference, of numbers that the short format has exactly."""
    rng = np.random.default_rng(0)
    x = rng.integers(-60, 60, shape).astype(np.float32)
    weight = (rng.integers(-16, 17, (16, 3, 3, 3, 3)) / 64).astype(np.float32)
    bias = (rng.integers(-64, 65, 16) / 8).astype(np.float32)
    given, computed = tmp_path / "given.npz", tmp_path / "computed.npy"
    np.savez(given, x=x, weight=weight, bias=bias)
    subprocess.run(
        [sys.executable, "-c", COMPUTED, given, computed, kind],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=True,
    )
    full = np.maximum(reference.conv3d(x, weight, bias), 0)
    sizes = (shape[2], shape[3] // 2, shape[4] // 2)
    pooled = reference.max_pool3d(full, (1, 2, 2), (0, 0, 0), sizes)
    # Sums of such numbers are exact in fp32, so the output's rounding is all there is.
    expected = torch.from_numpy(pooled.astype(np.float32)).to(getattr(torch, kind)).float().numpy()
    np.testing.assert_array_equal(np.load(computed), expected)


def test_which_networks_begin_so():
    from kinema.engine.triton_stem import can_fuse

    assert can_fuse(c3d())
    assert not can_fuse(c3d(input_shape=(3, 16, 113, 112)))
