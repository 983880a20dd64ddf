"""The Triton kernel of conv1a and pool1: under Triton's interpreter, and compiled for chips."""

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
from triton.runtime import interpreter
from kinema.engine.triton_stem import TILES, convolve_and_pool, packed

# The interpreter of Triton 3.6 to 3.9 multiplies the bits of bf16 as if they were whole numbers.
multiply = interpreter.InterpreterBuilder.create_dot
def create_dot(self, a, b, *others):
    for one in (a, b):
        if one.data.dtype == np.uint16:
            one.data = (one.data.astype(np.uint32) << 16).view(np.float32)
    return multiply(self, a, b, *others)
interpreter.InterpreterBuilder.create_dot = create_dot

given = np.load(sys.argv[1])
weight, bias = (torch.from_numpy(given[name]) for name in ("weight", "bias"))
found = {}
for name in [name for name in given if name[0] == "x"]:
    for kind in ("bfloat16", "float16", "float32"):
        dtype = getattr(torch, kind)
        x = torch.from_numpy(given[name]).to(dtype)
        for tile in TILES:
            y = convolve_and_pool(x, packed(weight.to(dtype)), bias.to(dtype), tile=tile)
            assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last_3d)
            first = found.setdefault(f"{kind} {name}", y.float().numpy())
            assert np.array_equal(first, y.float().numpy()), tile
np.savez(sys.argv[2], **found)
"""

SHAPES = [(2, 3, 4, 6, 10), (1, 3, 1, 2, 2), (3, 3, 3, 14, 12)]


def test_it_is_convolution_relu_and_pooling(tmp_path):
    """Against the float64 reference, of numbers that the short format has exactly; every tile."""
    rng = np.random.default_rng(0)
    clips = {f"x{n}": rng.integers(-60, 60, s).astype(np.float32) for n, s in enumerate(SHAPES)}
    weight = (rng.integers(-16, 17, (16, 3, 3, 3, 3)) / 64).astype(np.float32)
    bias = (rng.integers(-64, 65, 16) / 8).astype(np.float32)
    given, computed = tmp_path / "given.npz", tmp_path / "computed.npz"
    np.savez(given, weight=weight, bias=bias, **clips)
    subprocess.run(
        [sys.executable, "-c", COMPUTED, given, computed],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=True,
    )
    found = np.load(computed)
    for name, x in clips.items():
        full = np.maximum(reference.conv3d(x, weight, bias), 0)
        sizes = (x.shape[2], x.shape[3] // 2, x.shape[4] // 2)
        pooled = reference.max_pool3d(full, (1, 2, 2), (0, 0, 0), sizes).astype(np.float32)
        # Sums of such numbers are exact in fp32, so the output's rounding is all there is: to the
        # nearest, but the interpreter cuts bf16 off.
        assert np.array_equal(found[f"float32 {name}"], pooled)
        assert np.array_equal(found[f"float16 {name}"], pooled.astype(np.float16))
        cut = (pooled.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        assert np.array_equal(found[f"bfloat16 {name}"], cut)


COMPILED = """
import re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kinema.engine import triton_stem

names = ["x", "matrices", "bias", "y", "places", "length", "height", "width"]
kind, chip = sys.argv[1], int(sys.argv[2])
kinds = dict(zip(names, ["*" + kind] * 4 + ["i32"] * 4)) | {"OUT": "constexpr", "M": "constexpr"}
aligned = {(index,): [["tt.divisibility", 16]] for index in range(8)}
for places, num_warps, num_stages in triton_stem.TILES[:: 3]:
    source = ASTSource(triton_stem._kernel, kinds, {"OUT": 64, "M": places}, aligned)
    how = {"num_warps": num_warps, "num_stages": num_stages}
    made = triton.compile(source, target=GPUTarget("cuda", chip, 32), options=how)
    ptx = made.asm["ptx"]
    # Four channels of a pixel are read at once, and tensor cores multiply.
    assert "ld.global.v2.b32" in ptx, re.findall(r"ld.global.\\S*", ptx)
    assert ("wgmma.mma_async" if chip == 90 else "mma.sync") in ptx
    assert made.asm["cubin"]
"""


@pytest.mark.parametrize(("kind", "chip"), [("bf16", 90), ("fp16", 90), ("bf16", 80)])
def test_it_compiles_for_chips_that_are_not_there(kind, chip, tmp_path):
    """Triton brings NVIDIA's assembler: all but the run itself needs no GPU."""
    subprocess.run(
        [sys.executable, "-c", COMPILED, kind, str(chip)],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        check=True,
    )


def test_which_networks_begin_so():
    from kinema.engine.triton_stem import can_fuse

    assert can_fuse(c3d())
    assert not can_fuse(c3d(input_shape=(3, 16, 113, 112)))
