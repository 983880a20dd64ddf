"""Convolutions that learn: outputs and gradients are PyTorch's in float64, on every build; the same
bits for any number of threads; and whatever is not a convolution is refused by name. What needs no
PyTorch is in test_layer_gradients.py."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from kinema import native  # noqa: E402
from kinema.engine.autograd import conv3d  # noqa: E402
from kinema.network import Conv3d, c3d  # noqa: E402

TARGETS = native.targets()
NO_POOL = (1, 1, 1)
NAMES = ("output", "x", "weight", "bias")


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=TARGETS)
def target(request):
    with mock.patch.dict(os.environ, KINEMA_PROCESSOR=request.param):
        yield request.param


def forced(target):
    return mock.patch.dict(os.environ, KINEMA_PROCESSOR=target)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def problem(clips, channels, sizes, out_channels, kernel, pool=NO_POOL, seed=0):
    """x, weight, bias and a gradient to the output."""
    pooled = [-(-size // step) for size, step in zip(sizes, pool, strict=True)]
    scale = (channels * prod(kernel)) ** -0.5
    return (
        normal(clips, channels, *sizes, seed=seed),
        normal(out_channels, channels, *kernel, seed=seed + 1) * scale,
        normal(out_channels, seed=seed + 2) * 0.3,
        normal(clips, out_channels, *pooled, seed=seed + 3),
    )


def results(function, x, weight, bias, gradient):
    """The output and the gradients to x, weight and bias."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in (x, weight, bias)]
    y = function(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, gradient)]


def ours(relu=False, pool=NO_POOL):
    return lambda x, weight, bias: conv3d(x, weight, bias, relu=relu, pool=pool)


def theirs(relu=False, pool=NO_POOL):
    def function(x, weight, bias):
        y = functional.conv3d(x, weight, bias, padding=[size // 2 for size in weight.shape[2:]])
        y = y.relu() if relu else y
        return y if pool == NO_POOL else functional.max_pool3d(y, pool, ceil_mode=True)

    return function


def norm(tensor):
    return torch.linalg.vector_norm(tensor.double()).item()


def assert_close(got, expected, sizes, tolerance):
    for name, a, b, size in zip(NAMES, got, expected, sizes, strict=True):
        assert a.shape == b.shape, name
        assert a.dtype == torch.float32, name
        error = norm(a.double() - b)
        assert error <= tolerance * size, (name, error / size)


# --- the values -----------------------------------------------------------------------------------

SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 14])
CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 40, 70])
KERNELS = st.sampled_from([1, 3, 5, 7])
WINDOWS = st.sampled_from([1, 2, 3, 4])


def triples(sizes):
    return st.tuples(sizes, sizes, sizes)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5), CHANNELS, triples(SIZES).filter(lambda sizes: prod(sizes) <= 600),
    CHANNELS, triples(KERNELS), st.booleans(), triples(WINDOWS), st.booleans(),
    st.integers(1, 3), st.integers(0, 99),
)  # fmt: skip
def test_any_convolution_is_pytorchs_in_float64(
    clips, channels, sizes, out_channels, kernel, relu, pool, pools, threads, seed
):
    assume(channels * out_channels * prod(kernel) < 200_000)
    pool = pool if pools else NO_POOL
    x, weight, bias, gradient = problem(clips, channels, sizes, out_channels, kernel, pool, seed)
    wide = [tensor.double() for tensor in (x, weight, bias)]
    before = theirs()(*wide)
    assume(is_decided(before, relu, pool))
    expected = results(theirs(relu, pool), *wide, gradient.double())

    # An error is judged by the size that a result would have if the signs of all its terms were
    # random: a gradient to a single number may be near zero by chance.
    leaf = before.requires_grad_()
    y = leaf.relu() if relu else leaf
    y = y if pool == NO_POOL else functional.max_pool3d(y, pool, ceil_mode=True)
    (inner,) = torch.autograd.grad(y, leaf, gradient.double())
    squares = results(theirs(), *[tensor.square() for tensor in wide], inner.square())
    scales = [square.sum().sqrt().item() for square in squares]

    torch.set_num_threads(threads)
    for target in TARGETS:
        with forced(target):
            got = results(ours(relu, pool), x, weight, bias, gradient)
        assert_close(got, expected, scales, tolerance=5e-6)


def is_decided(y, relu, pool, margin=1e-4):
    """Whether no rounding can change the sign of a value or the largest of a window."""
    if relu and y.abs().min() < margin:
        return False
    if pool == NO_POOL:
        return True
    best, places = functional.max_pool3d(y, pool, ceil_mode=True, return_indices=True)
    flat = y.flatten(2).clone().scatter(2, places.flatten(2), float("-inf"))
    second = functional.max_pool3d(flat.view_as(y), pool, ceil_mode=True)
    return bool((best - second).min() > margin)


# Channels are those of C3D; the large maps of the first layers are cut.
LAYERS = {
    name: (layer.out_channels, (shape[0], *(min(size, 42) for size in shape[1:])))
    for name, layer, shape in [
        (layer.name, layer, shape)
        for layer, shape in c3d()._with_input_shapes()
        if isinstance(layer, Conv3d)
    ]
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("processor", TARGETS)
def test_layers_of_c3d(name, processor):
    out_channels, (channels, *sizes) = LAYERS[name]
    case = problem(1, channels, sizes, out_channels, (3, 3, 3))
    expected = results(theirs(), *[tensor.double() for tensor in case])
    with forced(processor):
        got = results(ours(), *case)
    assert_close(got, expected, [norm(tensor) for tensor in expected], tolerance=5e-6)


def test_gradients_are_the_slopes_of_the_output(target):
    """The convolution is linear in each argument, so that a step of 1 gives the slope itself, and
    float32 is enough for it."""
    x, weight, bias, _ = problem(2, 3, (3, 6, 5), 4, (3, 3, 1))
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    with pytest.warns(UserWarning, match="double precision"):
        assert torch.autograd.gradcheck(conv3d, inputs, eps=1.0, atol=1e-4, rtol=1e-4)


def test_a_batch_of_many_clips(target):
    """More clips than go through a layer together."""
    case = problem(21, 5, (3, 9, 6), 18, (3, 3, 3))
    expected = results(theirs(), *[tensor.double() for tensor in case])
    got = results(ours(), *case)
    assert_close(got, expected, [norm(tensor) for tensor in expected], tolerance=5e-6)


@pytest.mark.parametrize("shape", [(3, 20, (5, 70, 90)), (20, 40, (9, 40, 44))])
def test_large_maps(target, shape):
    """Clips go one by one, and the sums of the gradient to the weights over several chunks."""
    channels, out_channels, sizes = shape
    case = problem(3, channels, sizes, out_channels, (3, 3, 3), (1, 2, 2))
    got = results(ours(pool=(1, 2, 2)), *case)
    expected = results(theirs(pool=(1, 2, 2)), *case)
    # In float32 too; here and there another sample is the largest of its window.
    assert_close(got, [t.double() for t in expected], [norm(t) for t in expected], tolerance=2e-3)


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.0, -1.0, 0.0, float("nan")])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("pool", [(1, 2, 2), (2, 2, 2), (4, 2, 1), (1, 4, 4)])
def test_of_equal_values_the_same_wins_as_in_pytorch(target, value, relu, pool):
    """All outputs equal the bias: the gradient to the weights tells which samples have won."""
    x, weight, bias, gradient = problem(2, 3, (6, 7, 9), 5, (3, 3, 3), pool)
    case = x, weight * 0, torch.full_like(bias, value), gradient
    got, expected = results(ours(relu, pool), *case), results(theirs(relu, pool), *case)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("pool", [(3, 1, 2), (1, 5, 2), (2, 2, 7)])
def test_windows_that_do_not_fit_the_tiles(pool):
    sizes, kernel = (6, 7, 9), (3, 3, 3)
    assert not native.can_pool(sizes, kernel, pool)
    case = problem(2, 3, sizes, 5, kernel, pool)
    got, expected = results(ours(True, pool), *case), results(theirs(True, pool), *case)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_the_windows_of_c3d_fit():
    shapes = c3d().shapes()
    for before, pool in (("conv1a", (1, 2, 2)), ("conv2a", (2, 2, 2)), ("conv5b", (2, 2, 2))):
        assert native.can_pool(shapes[before][1:], (3, 3, 3), pool)


# --- the same bits --------------------------------------------------------------------------------

CASES = [
    (9, 3, (5, 36, 44), 20, (1, 2, 2)),
    (3, 20, (5, 36, 44), 33, NO_POOL),
    (5, 70, (4, 14, 14), 130, (2, 2, 2)),
    (9, 300, (2, 7, 7), 280, NO_POOL),
]


@pytest.mark.parametrize("case", CASES)
def test_bits_do_not_depend_on_threads(target, case):
    clips, channels, sizes, out_channels, pool = case
    tensors = problem(clips, channels, sizes, out_channels, (3, 3, 3), pool)
    torch.set_num_threads(1)
    one = results(ours(True, pool), *tensors)
    for threads in (2, 3, 5):
        torch.set_num_threads(threads)
        for name, a, b in zip(NAMES, results(ours(True, pool), *tensors), one, strict=True):
            assert torch.equal(a, b), name


def test_bits_do_not_depend_on_what_is_asked(target):
    x, weight, bias, gradient = problem(3, 17, (4, 9, 10), 18, (3, 3, 3), (2, 2, 2))
    everything = results(ours(True, (2, 2, 2)), x, weight, bias, gradient)
    for wanted in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 2)):
        inputs = [t.clone().requires_grad_(i in wanted) for i, t in enumerate((x, weight, bias))]
        y = conv3d(*inputs, relu=True, pool=(2, 2, 2))
        assert torch.equal(y, everything[0])
        gradients = torch.autograd.grad(y, [inputs[i] for i in wanted], gradient)
        for i, got in zip(wanted, gradients, strict=True):
            assert torch.equal(got, everything[1 + i]), (wanted, NAMES[1 + i])


def test_bits_without_gradients(target):
    x, weight, bias, _ = problem(3, 17, (4, 9, 10), 18, (3, 3, 3))
    for pool in (NO_POOL, (2, 2, 2)):
        with torch.no_grad():
            expected = conv3d(x, weight, bias, relu=True, pool=pool)
        assert not expected.requires_grad
        assert not conv3d(x, weight, bias, relu=True, pool=pool).requires_grad
        got = conv3d(x, weight.clone().requires_grad_(), bias, relu=True, pool=pool)
        assert got.requires_grad
        assert torch.equal(got, expected)


# --- what tensors look like -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "relaid",
    [
        lambda t: t.contiguous(memory_format=torch.channels_last_3d) if t.ndim == 5 else t,
        lambda t: t.repeat_interleave(2, -1)[..., ::2],
        lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    ],
)
def test_any_layout(target, relaid):
    x, weight, bias, gradient = problem(2, 5, (4, 6, 7), 6, (3, 1, 3))
    expected = results(ours(), x, weight, bias, gradient)
    inputs = [relaid(tensor).requires_grad_() for tensor in (x, weight, bias)]
    y = conv3d(*inputs)
    got = [y.detach(), *torch.autograd.grad(y, inputs, relaid(gradient))]
    for name, a, b in zip(NAMES, got, expected, strict=True):
        assert torch.equal(a, b), name


def test_a_gradient_that_is_one_number_repeated():
    """What `y.sum()` sends back has no memory of its own for each value."""
    x, weight, bias, _ = problem(2, 5, (4, 6, 7), 6, (3, 3, 3))
    bias.requires_grad_()
    conv3d(x, weight, bias).sum().backward()
    torch.testing.assert_close(bias.grad, torch.full((6,), 2.0 * 4 * 6 * 7))


def test_no_bias(target):
    x, weight, bias, gradient = problem(2, 5, (4, 6, 7), 6, (3, 3, 3))
    expected = results(ours(), x, weight, bias * 0, gradient)
    inputs = [x.requires_grad_(), weight.requires_grad_()]
    y = conv3d(*inputs, relu=False)
    got = [y.detach(), *torch.autograd.grad(y, inputs, gradient)]
    for a, b in zip(got, expected, strict=False):
        assert torch.equal(a, b)


def test_an_empty_batch(target):
    x, weight, bias, gradient = problem(0, 5, (4, 6, 7), 6, (3, 3, 3), (2, 2, 2))
    got = results(ours(True, (2, 2, 2)), x, weight, bias, gradient)
    assert got[0].shape == (0, 6, 2, 3, 4)
    assert got[1].shape == x.shape
    assert not got[2].any()
    assert not got[3].any()


def test_outputs_that_were_changed_are_noticed():
    x, weight, bias, _ = problem(1, 2, (2, 4, 4), 3, (3, 3, 3))
    y = conv3d(x, weight.requires_grad_(), bias, relu=True)
    with torch.no_grad():
        y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_derivatives_are_refused():
    x, weight, bias, _ = problem(1, 2, (2, 4, 4), 3, (3, 3, 3))
    x.requires_grad_()
    (first,) = torch.autograd.grad(conv3d(x, weight, bias).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


# --- learning -------------------------------------------------------------------------------------


def test_a_network_learns_as_with_pytorch(target):
    """Ten steps of gradient descent through two layers."""
    x = normal(6, 3, 4, 12, 12)
    labels = torch.arange(6) % 2
    shapes = [(8, 3, 3, 3, 3), (8,), (18, 8, 3, 3, 3), (18,), (2, 18), (2,)]

    def losses(layer):
        parameters = [
            (normal(*shape, seed=i) * 0.1).requires_grad_() for i, shape in enumerate(shapes)
        ]
        optimizer = torch.optim.SGD(parameters, lr=0.3, momentum=0.9)
        history = []
        for _ in range(10):
            h = layer(True, (1, 2, 2))(x, *parameters[:2])
            h = layer(True, (2, 2, 2))(h, *parameters[2:4])
            scores = functional.linear(h.mean((2, 3, 4)), *parameters[4:])
            loss = functional.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        return history

    got = losses(ours)
    np.testing.assert_allclose(got, losses(theirs), rtol=1e-3)
    assert got[-1] < got[0]


def test_several_python_threads(target):
    cases = [problem(1 + i, 3 + i, (3, 9, 8), 18, (3, 3, 3), seed=i) for i in range(4)]
    expected = [results(ours(), *case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(results, ours(), *cases[i % 4]) for i in range(16)]
        for i, future in enumerate(futures):
            for a, b in zip(future.result(), expected[i % 4], strict=True):
                assert torch.equal(a, b)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_memory_does_not_grow():
    case = problem(4, 16, (8, 24, 24), 64, (3, 3, 3))

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    for _ in range(3):
        results(ours(True), *case)
    before = resident()
    for _ in range(10):
        results(ours(True), *case)
    assert resident() - before < 20e6


# --- bad input ------------------------------------------------------------------------------------

X, WEIGHT, BIAS, GRADIENT = problem(2, 4, (3, 5, 6), 7, (3, 3, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X.numpy()}, "`x` must be a torch.Tensor"),
        ({"weight": None}, "`weight` must be a torch.Tensor"),
        ({"x": X.double()}, "`x` must be float32"),
        ({"weight": WEIGHT.half()}, "`weight` must be float32"),
        ({"bias": BIAS.to(torch.complex64)}, "`bias` must be float32"),
        ({"x": X.to("meta")}, "`x` must be a dense tensor on the CPU"),
        ({"weight": WEIGHT.to_sparse()}, "`weight` must be a dense tensor on the CPU"),
        ({"x": X[0]}, "`x` must be (N, C, T, H, W)"),
        ({"x": X[:, :, :0]}, "`x` must be (N, C, T, H, W)"),
        ({"x": X[:, :3]}, "`weight` must be (O, 3, I, J, K)"),
        ({"weight": WEIGHT[0]}, "`weight` must be (O, 4, I, J, K)"),
        ({"weight": WEIGHT[:0]}, "`weight` must be (O, 4, I, J, K)"),
        ({"weight": WEIGHT[..., :2]}, "three odd positive sizes"),
        ({"weight": WEIGHT[..., :0]}, "three odd positive sizes"),
        ({"bias": BIAS[:6]}, "`bias` must be (7,)"),
        ({"bias": BIAS[None]}, "`bias` must be (7,)"),
        ({"relu": 1}, "`relu` must be True or False"),
        ({"pool": (2, 2)}, "must be three sizes"),
        ({"pool": (0, 2, 2)}, "must be three sizes"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"x": X, "weight": WEIGHT, "bias": BIAS} | change
    with pytest.raises((TypeError, ValueError)) as error:
        conv3d(**arguments)
    assert message in str(error.value)


def test_an_unknown_processor_is_named():
    with forced("z80"), pytest.raises(ValueError, match=r"KINEMA_PROCESSOR must be one of"):
        conv3d(X, WEIGHT, BIAS)
