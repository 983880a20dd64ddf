"""The kernels of optical flow, without PyTorch: also run under a compiler's sanitizers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import native
from kinema.flow.brox import Brox
from kinema.flow.known import MOTIONS, end_point_error, known_pair
from kinema.flow.native_brox import brox_flow

QUICK = Brox(warps=3, most_sweeps=30)


@pytest.fixture(params=native.targets())
def target(request, monkeypatch):
    monkeypatch.setenv("KINEMA_PROCESSOR", request.param)
    return request.param


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_by_a_formula_is_found_by_each_build(target, motion):
    pair = known_pair(motion, height=61, width=83)
    found = brox_flow(pair.first, pair.second, settings=Brox(warps=6))
    assert end_point_error(found, pair.flow) < 0.06
    still = end_point_error(np.zeros_like(pair.flow), pair.flow)
    assert still > 0.4


def test_bits_do_not_depend_on_threads_or_on_other_pairs():
    pairs = [known_pair(motion, height=41, width=50) for motion in (*MOTIONS, *MOTIONS)]
    first = np.stack([pair.first for pair in pairs])
    second = np.stack([pair.second for pair in pairs])
    alone = [brox_flow(*each, settings=QUICK) for each in zip(first, second, strict=True)]
    for threads in (1, 2, 5, 16):
        found = brox_flow(first, second, settings=QUICK, threads=threads)
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("value", [0, 255, 77])
def test_what_has_no_texture_does_not_move(target, value):
    image = np.full((33, 40), value, np.uint8)
    np.testing.assert_array_equal(brox_flow(image, image, settings=QUICK), 0)
    # One grey becomes another: there is contrast, but nothing that says where to.
    np.testing.assert_array_equal(brox_flow(image, image // 2 + 9, settings=QUICK), 0)


def test_what_is_still_does_not_move():
    image = known_pair(height=40, width=50).first
    np.testing.assert_array_equal(brox_flow(image, image, settings=QUICK), 0)


def test_no_pairs_give_no_flow():
    with pytest.raises(ValueError, match=r"`first` must be .* not empty"):
        brox_flow(np.zeros((0, 4, 4)), np.zeros((0, 4, 4)))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-20, 1.0, 1e10]),
    inner=st.integers(1, 2),
    nu=st.sampled_from([0.3, 0.5, 0.9]),
)
def test_noise_of_any_size_gives_finite_flow(height, width, seed, scale, inner, nu):
    noise = np.random.default_rng(seed).normal(0, scale, (2, height, width))
    chosen = Brox(warps=2, inner=inner, nu=nu, most_sweeps=10)
    found = brox_flow(*noise.astype(np.float32), settings=chosen)
    assert found.shape == (height, width, 2)
    assert np.isfinite(found).all()


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    seed=st.integers(0, 1000),
    gain=st.sampled_from([0.25, 3.0]),
)
def test_turning_the_image_over_turns_the_flow_over(height, width, seed, gain):
    """What is right and what is down, and how bright all is, plays no part."""
    pair = known_pair("rotation", height=height, width=width, seed=seed)
    upright = brox_flow(pair.first, pair.second)
    turned = brox_flow(
        np.ascontiguousarray(gain * pair.first.T + 5),
        np.ascontiguousarray(gain * pair.second.T + 5),
    )
    apart = np.abs(turned.transpose(1, 0, 2)[..., ::-1] - upright)
    assert apart.mean() < 0.01
    assert apart.max() < 0.1


def binding(**changes):
    values = {
        "target": native.processor(),
        "first": np.zeros((1, 8, 9), np.float32),
        "second": np.zeros((1, 8, 9), np.float32),
        "flow": np.zeros((1, 8, 9, 2), np.float32),
        "scales": [(8, 9)],
        "presmoothing": [1.0],
        "shrinking": [1.0],
        "alpha": 1.0,
        "gamma": 1.0,
        "nu": 0.5,
        "epsilon": 0.001,
        "warps": 1,
        "inner": 1,
        "omega": 1.0,
        "tolerance": 0.0,
        "most_sweeps": 5,
        "sweeps_a_check": 5,
        "threads": 1,
    }
    native.brox_flow(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "abacus"},
        {"first": np.zeros((8, 9), np.float32)},
        {"second": np.zeros((2, 8, 9), np.float32)},
        {"second": np.zeros((1, 9, 8), np.float32)},
        {"flow": np.zeros((1, 8, 9), np.float32)},
        {"scales": []},
        {"scales": [(8, 9)] * 101},
        {"scales": [(8, 9), (9, 4)]},
        {"scales": [(8, 9), (0, 4)]},
        {"scales": [(1 << 15, 1 << 15)]},
        {"presmoothing": []},
        {"shrinking": [1.0] * 65},
        {"nu": 1.0},
        {"epsilon": 0.0},
        {"alpha": float("nan")},
        {"warps": 0},
        {"sweeps_a_check": 6},
        {"threads": 0},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_the_binding_refuses_what_would_leave_its_memory(changes):
    binding()
    with pytest.raises(ValueError, match=r"."):
        binding(**changes)
