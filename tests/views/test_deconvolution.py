"""Projection to pixels: worked by hand, from the definition in float64, and beside the gradient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kinema import network as networks
from kinema.engine import reference
from kinema.engine.engine import Engine
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.views.deconvolution import project, transposed_convolution, unpool
from kinema.weights.file import random_weights


def run(network, weights, clip, layer, position):
    engine = Engine(network.up_to(layer), weights, engine="native")
    return project(engine, weights, clip.astype(np.float32), position)


# --- by hand --------------------------------------------------------------------------------------

MOVING = np.zeros((3, 3, 3), np.float32)
"""A dot that goes to the right and grows: no mirror image of itself along any axis."""
MOVING[0, 0, 0], MOVING[1, 0, 1], MOVING[2, 0, 2], MOVING[2, 2, 0] = 1, 2, 3, -1


def test_one_kernel_is_put_exactly_where_its_pattern_was():
    network = Network((1, 6, 9, 8), (Conv3d("conv", 1), MaxPool3d("pool", (1, 2, 2))))
    weights = {"conv.weight": MOVING[None, None], "conv.bias": np.zeros(1, np.float32)}
    clip = np.zeros((1, 6, 9, 8), np.float32)
    clip[0, 2:5, 4:7, 3:6] = MOVING  # its middle is at frame 3, row 5, column 4
    expected = np.zeros_like(clip)
    expected[0, 2:5, 4:7, 3:6] = 15 * MOVING  # the activation is 1 + 4 + 9 + 1
    for layer, position in (("conv", (0, 3, 5, 4)), ("pool", (0, 3, 2, 2))):
        found = run(network, weights, clip, layer, position)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_kernel_at_the_corner_is_cut_off():
    network = Network((1, 2, 3, 3), (Conv3d("conv", 1),))
    weights = {"conv.weight": MOVING[None, None], "conv.bias": np.ones(1, np.float32)}
    found = run(network, weights, np.zeros((1, 2, 3, 3)), "conv", (0, 0, 0, 0))
    expected = np.zeros((1, 2, 3, 3))
    expected[0, :, :2, :2] = MOVING[1:, 1:, 1:]  # the activation is the bias alone, 1
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_layers_by_hand():
    """One sample; conv1 gives it and what it lacks to 10, conv2 takes 2 of one less 3 of the other.

    Frames of 2x2, pooled to one. Clip 4 7 / 5 1: conv1 gives 4 7 / 5 1 and 6 3 / 5 9, the pool
    7 and 9, conv2 at last 2 * 7 - 3 * 9 + 20 = 7. Down: 14 and -21 for the two maps; the second
    becomes 0 by the ReLU, the first goes to the 7, so there is 14 in the right upper corner. The
    gradient, which knows the upward ReLU alone, would have 3 * 7 in the right lower corner, too.
    """
    layers = (
        Conv3d("conv1", 2, (1, 1, 1)),
        MaxPool3d("pool1", (1, 2, 2)),
        Conv3d("conv2", 1, (1, 1, 1)),
    )
    network = Network((1, 1, 2, 2), layers)
    weights = {
        "conv1.weight": np.array([1, -1], np.float32).reshape(2, 1, 1, 1, 1),
        "conv1.bias": np.array([0, 10], np.float32),
        "conv2.weight": np.array([2, -3], np.float32).reshape(1, 2, 1, 1, 1),
        "conv2.bias": np.array([20], np.float32),
    }
    clip = np.array([[4, 7], [5, 1]]).reshape(1, 1, 2, 2)
    found = run(network, weights, clip, "conv2", (0, 0, 0, 0))
    np.testing.assert_allclose(found[0, 0], [[0, 14], [0, 0]], atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "windows"),
    [(0, [(0, 1), (2, 3), (4, 5), (6,)]), (1, [(0,), (1, 2), (3, 4), (5, 6)])],
)
def test_switches_of_whole_and_partial_windows(padding, windows):
    """pool5's seven rows: Caffe's windows, and those of many ports."""
    pooling = MaxPool3d("pool5", (1, 2, 1), (0, padding, 0))
    for seed in range(5):
        before = np.random.default_rng(seed).permutation(7).astype(np.float32).reshape(1, 1, 7, 1)
        values = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 4, 1)
        expected = np.zeros(7)
        for value, rows in zip((1, 2, 3, 4), windows, strict=True):
            expected[max(rows, key=lambda row: before[0, 0, row, 0])] = value
        np.testing.assert_array_equal(unpool(values, before, pooling).ravel(), expected)


def test_of_equal_samples_the_first_is_the_switch():
    pooling = MaxPool3d("pool", (2, 2, 2))
    before = np.zeros((1, 2, 2, 2), np.float32)
    found = unpool(np.full((1, 1, 1, 1), 5, np.float32), before, pooling)
    assert found.ravel().tolist() == [5, 0, 0, 0, 0, 0, 0, 0]


# --- from the definition --------------------------------------------------------------------------


def by_definition(network, weights, clip, position):
    """Zeiler and Fergus's way down, sample by sample, in float64."""
    outputs = reference.run(network, weights, clip[None], network.layer_names)
    inputs = [clip[None], *(outputs[name] for name in network.layer_names[:-1])]
    values = np.zeros(network.shapes()[network.layer_names[-1]])
    values[position] = outputs[network.layer_names[-1]][0][position]
    for layer, x in reversed(list(zip(network.layers, inputs, strict=True))):
        values = np.maximum(values, 0)
        below = np.zeros(x.shape[1:])
        for place in zip(*np.nonzero(values), strict=True):
            if isinstance(layer, MaxPool3d):
                below[(place[0], *place_of_maximum(x[0, place[0]], place[1:], layer))] = values[
                    place
                ]
            elif isinstance(layer, Linear):
                row = weights[f"{layer.name}.weight"][place[0]].astype(np.float64)
                below += values[place] * row.reshape(below.shape)
            else:
                kernel = weights[f"{layer.name}.weight"][place[0]].astype(np.float64)
                add_kernel(below, values[place] * kernel, place[1:])
        values = below
    return values


def add_kernel(below, kernel, place):
    for tap in itertools.product(*map(range, kernel.shape[1:])):
        at = tuple(p + i - n // 2 for p, i, n in zip(place, tap, kernel.shape[1:], strict=True))
        if all(0 <= a < n for a, n in zip(at, below.shape[1:], strict=True)):
            below[(slice(None), *at)] += kernel[(slice(None), *tap)]


def place_of_maximum(x, window, layer):
    ranges = [
        range(max(index * k - pad, 0), min(index * k - pad + k, n))
        for index, k, pad, n in zip(window, layer.kernel, layer.padding, x.shape, strict=True)
    ]
    return max(itertools.product(*ranges), key=lambda at: x[at])


LAYERS = (
    Conv3d("conv1", 3),
    MaxPool3d("pool1", (1, 2, 2)),
    Conv3d("conv2", 5, (5, 3, 3)),
    Conv3d("conv3", 4, (1, 3, 3)),
    MaxPool3d("pool3"),
    Conv3d("conv4", 4),
    MaxPool3d("pool4", (2, 2, 2), (0, 1, 1)),
    Linear("fc5", 6),
    Linear("fc6", 3, relu=False),
    Softmax(),
)
NETWORK = Network((3, 5, 11, 9), LAYERS)
WEIGHTS = random_weights(NETWORK, seed=3)
CLIP = np.random.default_rng(4).normal(0, 1, NETWORK.input_shape).astype(np.float32)


@pytest.mark.parametrize("layer", [layer.name for layer in LAYERS[:-1]])
def test_equal_to_the_definition(layer):
    """The strongest activation, and one at the edge, where windows and kernels are cut off."""
    part = NETWORK.up_to(layer)
    output = Engine(part, WEIGHTS, engine="native").run(CLIP[None], (layer,))[layer][0]
    corner = tuple(size - 1 for size in output.shape[1:])
    last = (output[(slice(None), *corner)].argmax(), *corner)
    for position in (np.unravel_index(output.argmax(), output.shape), last):
        assert output[position] > 0
        expected = by_definition(part, WEIGHTS, CLIP, position)
        assert np.abs(expected).max() > 0
        found = run(NETWORK, WEIGHTS, CLIP, layer, position)
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_where_nothing_is_negative_it_is_the_gradient_times_the_activation():
    torch = pytest.importorskip("torch")
    from kinema.engine.torch_network import apply_layer

    network = networks.c3d_mini(4, input_shape=(3, 16, 24, 24))
    weights = {name: np.abs(array) for name, array in random_weights(network, seed=5).items()}
    clip = np.random.default_rng(6).uniform(0, 1, network.input_shape).astype(np.float32)
    x = torch.from_numpy(clip[None]).requires_grad_()
    y = x
    for layer in network.up_to("fc6").layers:
        named = [weights.get(f"{layer.name}.{kind}") for kind in ("weight", "bias")]
        y = apply_layer(layer, y, *(None if a is None else torch.from_numpy(a) for a in named))
    y[0, 17].backward()
    expected = (y[0, 17].detach() * x.grad[0]).numpy()
    found = run(network, weights, clip, "fc6", (17,))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_transposed_convolution_is_the_adjoint():
    generator = np.random.default_rng(7)
    weight = generator.normal(size=(6, 4, 3, 5, 3)).astype(np.float32)
    x, y = generator.normal(size=(4, 5, 7, 6)), generator.normal(size=(6, 5, 7, 6))
    up = (reference.conv3d(x[None], weight, np.zeros(6))[0] * y).sum()
    down = (transposed_convolution(y.astype(np.float32), weight) * x).sum()
    assert down == pytest.approx(up, rel=1e-5)


def test_a_silent_activation_projects_to_nothing():
    output = Engine(NETWORK.up_to("conv2"), WEIGHTS, engine="native").run(CLIP[None], ("conv2",))
    silent = np.argwhere(output["conv2"][0] == 0)[0]
    assert not run(NETWORK, WEIGHTS, CLIP, "conv2", silent).any()


def test_wrong_positions_and_layers_are_refused():
    for position in ((5, 0, 0, 0), (0, 0, 0), (-1, 0, 0, 0), (0, 5, 0, 0)):
        with pytest.raises(ValueError, match=r"`position` must lie in \(5, 5, 6, 5\)"):
            run(NETWORK, WEIGHTS, CLIP, "conv2", position)
    with pytest.raises(ValueError, match="`layer` prob cannot be projected"):
        run(NETWORK, WEIGHTS, CLIP, "prob", (0,))
