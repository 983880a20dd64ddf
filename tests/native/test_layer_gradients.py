"""One native convolution and its gradients, of NumPy arrays: the formula in float64, on every
build; the same bits for any number of threads; and nothing that is handed over reaches memory that
it must not. None of it needs PyTorch, so that `sanitize.sh` can run it quickly."""

from __future__ import annotations

import itertools
import os
from math import prod
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinema import native, reference

TARGETS = native.targets()
NO_POOL = (1, 1, 1)
NAMES = ("output", "x", "weight", "bias")
TOLERANCE = 5e-6  # of what a result's size would be if the signs of all its terms were random


def forced(target):
    return mock.patch.dict(os.environ, KINEMA_PROCESSOR=target)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def pooled_sizes(sizes, pool):
    return [-(-size // step) for size, step in zip(sizes, pool, strict=True)]


def problem(clips, channels, sizes, out_channels, kernel, pool=NO_POOL, seed=0):
    """x, weight, bias and a gradient to the output."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    return (
        normal(clips, channels, *sizes),
        normal(out_channels, channels, *kernel) * np.float32((channels * prod(kernel)) ** -0.5),
        normal(out_channels) * np.float32(0.3),
        normal(clips, out_channels, *pooled_sizes(sizes, pool)),
    )


def results(target, x, weight, bias, gradient, *, relu=False, pool=NO_POOL, threads=2):
    """The output and the gradients to x, weight and bias."""
    layer = native.LayerGradients(target)
    y = np.empty_like(gradient)
    blocks = -(-len(weight) // native.LANES)
    winners = None
    if pool != NO_POOL:
        winners = zeros(len(x) * blocks * native.LANES * prod(y.shape[2:]), dtype=np.uint8)
    gradients = [np.empty_like(array) for array in (x, weight, bias)]
    layer.forward(x, weight, bias, relu, pool, y, winners, threads)
    layer.backward(x, weight, relu, pool, y, winners, gradient, *gradients, threads)
    return [y, *gradients]


# --- the values -----------------------------------------------------------------------------------


def windows(array, pool):
    """(N, O, T, H, W) -> (N, O, T', H', W', samples of a window), -inf beyond the edges."""
    sizes = array.shape[2:]
    counts = pooled_sizes(sizes, pool)
    beyond = [
        (0, count * step - size) for count, step, size in zip(counts, pool, sizes, strict=True)
    ]
    padded = np.pad(array, [(0, 0), (0, 0), *beyond], constant_values=-np.inf)
    cut = [number for pair in zip(counts, pool, strict=True) for number in pair]
    tiles = padded.reshape(*array.shape[:2], *cut).transpose(0, 1, 2, 4, 6, 3, 5, 7)
    return tiles.reshape(*array.shape[:2], *counts, prod(pool))


def unpooled(placed, sizes, pool):
    """The way back of `windows`."""
    counts = placed.shape[2:5]
    whole = [count * step for count, step in zip(counts, pool, strict=True)]
    tiles = placed.reshape(*placed.shape[:2], *counts, *pool).transpose(0, 1, 2, 5, 3, 6, 4, 7)
    t, h, w = map(slice, sizes)
    return tiles.reshape(*placed.shape[:2], *whole)[:, :, t, h, w]


def gradient_before_pooling(before, gradient, relu, pool):
    """From the gradient to the layer's output, that to the output of the bare convolution."""
    tiles = windows(before, pool)
    winners = tiles.argmax(axis=-1)[..., None]
    placed = np.zeros(tiles.shape)
    np.put_along_axis(placed, winners, gradient[..., None].astype(np.float64), axis=-1)
    inner = unpooled(placed, before.shape[2:], pool)
    return inner * (before > 0) if relu else inner


def formula(x, weight, gradient):
    """The gradients to x, weight and bias of a bare convolution, in float64."""
    x, weight, gradient = (np.asarray(array, np.float64) for array in (x, weight, gradient))
    kernel, sizes = weight.shape[2:], x.shape[2:]
    pads = [(0, 0), (0, 0), *((size // 2, size // 2) for size in kernel)]
    padded = np.pad(x, pads)
    to_padded, to_weight = np.zeros(padded.shape), np.zeros(weight.shape)
    for tap in itertools.product(*map(range, kernel)):
        seen = (..., *(slice(start, start + size) for start, size in zip(tap, sizes, strict=True)))
        to_padded[seen] += np.einsum("nothw,oc->ncthw", gradient, weight[(..., *tap)])
        to_weight[(..., *tap)] = np.einsum("nothw,ncthw->oc", gradient, padded[seen])
    inside = (
        ...,
        *(slice(size // 2, size // 2 + n) for size, n in zip(kernel, sizes, strict=True)),
    )
    return to_padded[inside], to_weight, gradient.sum(axis=(0, 2, 3, 4))


def is_decided(before, relu, pool, margin=1e-4):
    """Whether no rounding can change the sign of a value or the largest of a window."""
    if relu and np.abs(before).min() < margin:
        return False
    ordered = np.sort(windows(before, pool), axis=-1)
    return prod(pool) == 1 or (ordered[..., -1] - ordered[..., -2]).min() > margin


SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9])
CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 15, 16, 17, 33, 70])
KERNELS = st.sampled_from([1, 3, 5, 7])
POOLS = st.sampled_from([NO_POOL, (1, 2, 2), (2, 2, 2), (4, 2, 1), (1, 4, 4), (2, 1, 2)])


def triples(sizes):
    return st.tuples(sizes, sizes, sizes)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), CHANNELS, triples(SIZES).filter(lambda sizes: prod(sizes) <= 400),
    CHANNELS, triples(KERNELS), st.booleans(), POOLS, st.integers(1, 3), st.integers(0, 99),
)  # fmt: skip
def test_any_convolution_is_the_formula(
    clips, channels, sizes, out_channels, kernel, relu, pool, threads, seed
):
    assume(channels * out_channels * prod(kernel) < 100_000)
    pool = pool if native.can_pool(sizes, kernel, pool) else NO_POOL
    x, weight, bias, gradient = problem(clips, channels, sizes, out_channels, kernel, pool, seed)
    before = reference.conv3d(x, weight, bias)
    assume(is_decided(before, relu, pool))
    y = windows(before, pool).max(axis=-1)
    inner = gradient_before_pooling(before, gradient, relu, pool)
    expected = [np.maximum(y, 0) if relu else y, *formula(x, weight, inner)]
    squares = [np.square(array, dtype=np.float64) for array in (x, weight, bias, inner)]
    powers = [reference.conv3d(*squares[:3]), *formula(squares[0], squares[1], squares[3])]
    for target in TARGETS:
        got = results(target, x, weight, bias, gradient, relu=relu, pool=pool, threads=threads)
        for name, a, b, power in zip(NAMES, got, expected, powers, strict=True):
            error = np.linalg.norm(a - b)
            assert error <= TOLERANCE * np.sqrt(power.sum()), (target, name, error)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("clips", "channels", "sizes", "out_channels", "pool"),
    [
        (9, 3, (5, 36, 44), 20, (1, 2, 2)),
        (3, 20, (5, 20, 28), 33, NO_POOL),
        (3, 70, (4, 7, 7), 130, (2, 2, 2)),
        (3, 140, (2, 7, 7), 150, NO_POOL),
    ],
)
def test_bits_do_not_depend_on_threads(target, clips, channels, sizes, out_channels, pool):
    arrays = problem(clips, channels, sizes, out_channels, (3, 3, 3), pool)
    one = results(target, *arrays, relu=True, pool=pool, threads=1)
    for threads in (2, 3, 5):
        several = results(target, *arrays, relu=True, pool=pool, threads=threads)
        for a, b in zip(several, one, strict=True):
            np.testing.assert_array_equal(a, b)


# --- the functions --------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_convolve_and_its_gradient(target):
    x, weight, bias, gradient = problem(2, 5, (4, 9, 6), 18, (3, 1, 5))
    with forced(target):
        y = native.convolve(x, weight=weight, bias=bias, threads=2)
        to_x = native.input_gradient(gradient, weight=weight, threads=2)
        rectified = native.convolve(x, weight=weight, bias=bias, relu=True)
        bare = native.convolve(x, weight=weight)
    np.testing.assert_allclose(y, reference.conv3d(x, weight, bias), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_x, formula(x, weight, gradient)[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(rectified, np.maximum(y, 0))
    np.testing.assert_allclose(bare, reference.conv3d(x, weight, 0 * bias), rtol=1e-4, atol=1e-5)
    _, expected, _, _ = results(target, x, weight, bias, gradient)
    np.testing.assert_array_equal(to_x, expected)


def test_any_layout():
    x, weight, _, gradient = problem(2, 5, (4, 6, 7), 6, (3, 1, 3))
    for relaid in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2]):
        np.testing.assert_array_equal(
            native.convolve(relaid(x), weight=relaid(weight)), native.convolve(x, weight=weight)
        )
        np.testing.assert_array_equal(
            native.input_gradient(relaid(gradient), weight=relaid(weight)),
            native.input_gradient(gradient, weight=weight),
        )


def test_no_clips():
    x, weight, _, gradient = problem(0, 5, (4, 6, 7), 6, (3, 1, 3))
    assert native.convolve(x, weight=weight).shape == gradient.shape
    assert native.input_gradient(gradient, weight=weight).shape == x.shape


X, WEIGHT, BIAS, GRADIENT = problem(2, 4, (3, 5, 6), 7, (3, 3, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X.tolist()}, "`x` must be a NumPy array of float32, got list"),
        ({"x": X.astype(np.float64)}, "`x` must be a NumPy array of float32, got float64"),
        ({"x": X[0]}, "`x` must be (N, channels, T, H, W)"),
        ({"x": X[:, :, :0]}, "`x` must be (N, channels, T, H, W), none but N zero"),
        ({"x": X[:, :3]}, "`weight` must be (O, 3, I, J, K) for such an `x`"),
        ({"weight": None}, "`weight` must be a NumPy array of float32, got NoneType"),
        ({"weight": WEIGHT[0]}, "`weight` must be (O, C, I, J, K)"),
        ({"weight": WEIGHT[:0]}, "`weight` must be (O, C, I, J, K), not empty"),
        ({"weight": WEIGHT[..., :2]}, "odd I, J, K"),
        ({"bias": BIAS[:6]}, "`bias` must be (7,), got (6,)"),
        ({"threads": 0}, "`threads` must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_convolved_is_named(change, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        native.convolve(**{"x": X, "weight": WEIGHT, "bias": BIAS} | change)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient": GRADIENT.astype(np.float16)}, "`gradient` must be a NumPy array of float32"),
        ({"gradient": GRADIENT[0]}, "`gradient` must be (N, channels, T, H, W)"),
        ({"gradient": GRADIENT[:, :6]}, "`weight` must be (6, C, I, J, K) for such a `gradient`"),
        ({"weight": WEIGHT[:, :, :2]}, "odd I, J, K"),
        ({"threads": -1}, "`threads` must be at least 1, got -1"),
    ],
)
def test_what_has_no_gradient_is_named(change, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        native.input_gradient(**{"gradient": GRADIENT, "weight": WEIGHT} | change)
    assert message in str(error.value)


# --- the raw binding ------------------------------------------------------------------------------


def arrays():
    """What the raw binding takes: of a convolution with windows."""
    pool = (1, 2, 2)
    x, weight, bias, gradient = problem(2, 4, (3, 5, 6), 7, (3, 3, 3), pool)
    winners = np.zeros(2 * native.LANES * 3 * 3 * 3, np.uint8)
    forward = {
        "input": x, "weight": weight, "bias": bias, "relu": True, "window": pool,
        "output": np.zeros_like(gradient), "winners": winners, "threads": 2,
    }  # fmt: skip
    backward = {
        "input": x, "weight": weight, "relu": True, "window": pool,
        "output": np.ones_like(gradient), "winners": winners, "gradient": gradient,
        "to_input": np.zeros_like(x),
        "to_weight": np.zeros_like(weight), "to_bias": np.zeros_like(bias), "threads": 2,
    }  # fmt: skip
    return forward, backward


def test_what_is_right_is_taken():
    """That what follows is refused for its one flaw."""
    forward, backward = arrays()
    layer = native.LayerGradients(TARGETS[0])
    layer.forward(**forward)
    layer.backward(**backward)
    assert forward["output"].any()
    assert all(backward[name].any() for name in ("to_input", "to_weight", "to_bias"))
    layer.forward(**forward | {"winners": None})
    layer.backward(**backward | {"to_input": None, "to_weight": None, "to_bias": None})


BAD = [
    {"input": zeros(2, 4, 3, 5)},
    {"input": zeros(2, 4, 3, 5, 0)},
    {"input": zeros(2, 5, 3, 5, 6)},
    {"input": zeros(3, 4, 3, 5, 6)},
    {"input": zeros(2, 4, 3, 5, 6, dtype=np.float64)},
    {"input": np.asfortranarray(zeros(2, 4, 3, 5, 6))},
    {"weight": zeros(7, 4, 3, 3)},
    {"weight": zeros(7, 4, 3, 2, 3)},
    {"weight": zeros(7, 4, 3, 0, 3)},
    {"weight": zeros(0, 4, 3, 3, 3)},
    {"weight": zeros(40, 4, 3, 3, 3)},
    {"weight": zeros(7, 4, 3, 3, 3).tolist()},
    {"window": (2, 2)},
    {"window": (1, 2, 0)},
    {"window": (1, 2, -2)},
    {"window": (1, 2, 3)},
    {"window": (1, 2, 2**31 - 1)},
    {"window": (1, 2, 1)},
    {"threads": 0},
    {"threads": 2**31 - 1},
    {"output": zeros(2, 7, 3, 3, 2)},
    {"output": zeros(2, 7, 3, 3, 6)[..., ::2]},
    {"winners": zeros(1, dtype=np.uint8)},
    {"winners": zeros(2 * 16 * 27)},
]


@pytest.mark.parametrize(
    "change", [*BAD, {"bias": zeros(6)}, {"bias": zeros(7, 1)}, {"output": None}]
)
def test_bad_raw_calls_forward_are_refused(change):
    with pytest.raises((TypeError, ValueError)):
        native.LayerGradients(TARGETS[0]).forward(**arrays()[0] | change)


@pytest.mark.parametrize(
    "change",
    [
        *BAD,
        {"output": None},
        {"winners": None},
        {"gradient": zeros(2, 7, 3, 5, 6)},
        {"gradient": zeros(2, 7, 3, 3, 3, dtype=np.float16)},
        {"to_input": zeros(2, 4, 3, 5, 5)},
        {"to_weight": zeros(7, 4, 3, 3, 1)},
        {"to_weight": zeros(7, 4, 27)},
        {"to_bias": zeros(6)},
        {"to_bias": zeros(7, dtype=np.float64)},
    ],
)
def test_bad_raw_calls_backward_are_refused(change):
    with pytest.raises((TypeError, ValueError)):
        native.LayerGradients(TARGETS[0]).backward(**arrays()[1] | change)


def test_winners_that_are_no_winners_reach_no_other_memory():
    _, backward = arrays()
    backward["winners"][:] = 255
    native.LayerGradients(TARGETS[0]).backward(**backward)
    assert not backward["to_weight"].any()


@pytest.mark.parametrize(
    "change",
    [
        {"gradient": zeros(2, 6, 3, 5, 6)},
        {"gradient": zeros(2, 7, 3, 5)},
        {"gradient": zeros(2, 7, 3, 5, 6, dtype=np.float64)},
        {"weight": zeros(7, 4, 3, 3)},
        {"weight": zeros(7, 4, 3, 2, 3)},
        {"weight": zeros(7, 0, 3, 3, 3)},
        {"to_input": zeros(2, 4, 3, 5, 5)},
        {"to_input": zeros(2, 4, 3, 5, 12)[..., ::2]},
        {"threads": 0},
    ],
)
def test_bad_raw_input_gradients_are_refused(change):
    right = {
        "gradient": zeros(2, 7, 3, 5, 6), "weight": zeros(7, 4, 3, 3, 3),
        "to_input": zeros(2, 4, 3, 5, 6), "threads": 2,
    }  # fmt: skip
    native.LayerGradients(TARGETS[0]).input_gradient(**right)
    with pytest.raises((TypeError, ValueError)):
        native.LayerGradients(TARGETS[0]).input_gradient(**right | change)


def test_an_unknown_processor_is_named():
    with pytest.raises(ValueError, match="z80"):
        native.LayerGradients("z80")
    with forced("z80"), pytest.raises(ValueError, match="KINEMA_PROCESSOR must be one of"):
        native.convolve(X, weight=WEIGHT)
