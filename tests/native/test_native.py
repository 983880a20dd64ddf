"""The native engine: any network is the formula, on every build; the same bits however the work is
cut up; and nothing that is handed to the raw binding reaches memory that it must not."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinema import native
from kinema.engine import reference
from kinema.engine.engine import Engine
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax

TARGETS = native.targets()

# Error over the size that a layer would have if the signs of all terms were random (`sizes_of`).
# Over 30,000 layers of random networks half were below 1.3e-7 and the worst was 2.3e-6; a tap that
# is missing or misplaced makes more than 1e-3.
TOLERANCE = 5e-6


def engine(network, weights, target=TARGETS[0], threads=2):
    with mock.patch.dict(os.environ, KINEMA_PROCESSOR=target):
        return Engine(network, weights, engine="native", threads=threads)


def parameters(network, seed=0):
    """Weights that keep the size of activations about 1, and biases that are not zero."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(
            0, np.sqrt(2 / prod(shape[1:])) if name.endswith("weight") else 0.3, shape
        ).astype(np.float32)
        for name, shape in network.parameter_shapes().items()
    }


def clips_for(network, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *network.input_shape), np.float32)


def sizes_of(network, weights, clips):
    """By layer, its L2 norm if the signs of all terms were random and nothing met a ReLU.

    An error is judged by this and not by the output, which may be near zero by chance (a layer of
    one neuron) or all zeros behind a ReLU.
    """
    squares = {name: np.square(array, dtype=np.float64) for name, array in weights.items()}
    powers = reference.run(
        network, squares, np.square(clips, dtype=np.float64), network.layer_names
    )
    sizes = {name: np.sqrt(power.sum()) for name, power in powers.items()}
    for before, layer in zip(network.layers, network.layers[1:], strict=False):
        if isinstance(layer, Softmax):  # moves by no more than its input
            sizes[layer.name] = sizes[before.name]
    return sizes


def named(*layers):
    return tuple(dataclasses.replace(layer, name=f"layer{i}") for i, layer in enumerate(layers))


# --- any network ----------------------------------------------------------------------------------

# Each transform, its edges and whole tiles; one block of channels, less, more, and more than one
# partial sum of the matrix products.
SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 14])
CHANNELS = st.sampled_from([1, 2, 3, 5, 15, 16, 17, 31, 33, 40, 70])
KERNELS = st.sampled_from([1, 3, 5, 7])
WINDOWS = [(1, 0), (2, 0), (2, 1), (4, 0), (3, 0), (3, 1), (3, 2)]  # size, padding

convolutions = st.builds(Conv3d, st.just(""), CHANNELS, st.tuples(KERNELS, KERNELS, KERNELS))


def poolings(windows):
    axes = st.tuples(*[st.sampled_from(windows)] * 3)
    return axes.map(lambda axes: MaxPool3d("", *map(tuple, zip(*axes, strict=True))))


# Of the windows that fit into tiles some are pooled with the convolution, and some must not be.
steps = st.one_of(
    st.tuples(convolutions),
    st.tuples(poolings(WINDOWS)),
    st.tuples(convolutions, poolings(WINDOWS[:4])),
)
linears = st.builds(Linear, st.just(""), CHANNELS, st.booleans())


@st.composite
def networks(draw):
    sizes = draw(st.tuples(SIZES, SIZES, SIZES).filter(lambda sizes: prod(sizes) <= 600))
    layers = [layer for step in draw(st.lists(steps, max_size=3)) for layer in step]
    layers += draw(st.lists(linears, min_size=not layers, max_size=2))
    if isinstance(layers[-1], Linear) and draw(st.booleans()):
        layers.append(Softmax(""))
    network = Network((draw(CHANNELS), *sizes), named(*layers))
    assume(network.num_parameters < 200_000)  # to transform many weights takes long
    return network


@st.composite
def networks_with_asked_layers(draw):
    network = draw(networks())
    if draw(st.booleans()):
        return network, network.layer_names[-1:]
    names = draw(st.permutations(network.layer_names))
    return network, names[: draw(st.integers(1, len(names)))]


@settings(max_examples=300, deadline=None)
@given(networks_with_asked_layers(), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_any_network_is_the_formula_on_every_build(case, count, threads, seed):
    network, asked = case
    weights, clips = parameters(network, seed), clips_for(network, count, seed)
    expected = reference.run(network, weights, clips, asked)
    sizes = sizes_of(network, weights, clips)
    for target in TARGETS:
        got = engine(network, weights, target, threads).run(clips, asked)
        assert list(got) == list(asked)
        for name in asked:
            assert got[name].shape == expected[name].shape
            error = np.linalg.norm(got[name] - expected[name])
            assert error <= TOLERANCE * sizes[name], (target, name, error / sizes[name])


@settings(max_examples=150, deadline=None)
@given(
    networks_with_asked_layers(),
    st.sampled_from(TARGETS),
    st.sampled_from([2, 3, 5]),
    st.integers(0, 9),
)
def test_any_network_gives_the_same_bits_however_it_is_cut_up(case, target, threads, cut):
    network, asked = case
    weights, clips = parameters(network), clips_for(network, 9)
    one = engine(network, weights, target, threads=1).run(clips, network.layer_names)
    several = engine(network, weights, target, threads)
    parts = [several.run(clips[:cut], asked), several.run(clips[cut:], asked)]
    for name in asked:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), one[name])


# --- the same bits --------------------------------------------------------------------------------

# Large enough that threads work on chunks of their own, which then depend on how many they are.
WIDE = Network(
    (3, 5, 36, 44),
    named(
        Conv3d("", 20), MaxPool3d("", (1, 2, 2)), Conv3d("", 33), Conv3d("", 9), MaxPool3d(""),
        Linear("", 50), Linear("", 7, relu=False), Softmax(""),
    ),
)  # fmt: skip
LAST = WIDE.layer_names[-1]


@pytest.fixture(scope="module", params=TARGETS)
def wide(request):
    """The target, the weights, nine clips and all layers' outputs of one thread."""
    weights, clips = parameters(WIDE), clips_for(WIDE, 9)
    outputs = engine(WIDE, weights, request.param, threads=1).run(clips, WIDE.layer_names)
    return request.param, weights, clips, outputs


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_bits_do_not_depend_on_threads(wide, threads):
    target, weights, clips, expected = wide
    got = engine(WIDE, weights, target, threads).run(clips, WIDE.layer_names)
    for name in WIDE.layer_names:
        np.testing.assert_array_equal(got[name], expected[name])


@pytest.mark.parametrize("batches", [[1] * 9, [3, 4, 2], [8, 1]])
def test_bits_do_not_depend_on_the_batch(wide, batches):
    target, weights, clips, expected = wide
    runner = engine(WIDE, weights, target)
    parts = np.split(clips, np.cumsum(batches)[:-1])
    got = np.concatenate([runner.run(part, (LAST,))[LAST] for part in parts])
    np.testing.assert_array_equal(got, expected[LAST])


def test_bits_do_not_depend_on_what_is_asked(wide):
    """Whether a convolution is asked decides whether its pooling is done within it."""
    target, weights, clips, expected = wide
    runner = engine(WIDE, weights, target)
    for name in WIDE.layer_names:
        got = runner.run(clips[:2], (name,))[name]
        np.testing.assert_array_equal(got, expected[name][:2])


def test_layers_come_as_asked(wide):
    target, weights, clips, expected = wide
    first = WIDE.layer_names[0]
    got = engine(WIDE, weights, target).run(clips[:1], [LAST, first, LAST, first])
    assert list(got) == [LAST, first]
    for name, array in got.items():
        np.testing.assert_array_equal(array, expected[name][:1])


# --- what arrays look like ------------------------------------------------------------------------


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


@pytest.mark.parametrize("relayed", [read_only, np.asfortranarray, strided])
def test_any_layout_of_clips_and_weights(wide, relayed):
    target, weights, clips, expected = wide
    relayed_weights = {name: relayed(array) for name, array in weights.items()}
    got = engine(WIDE, relayed_weights, target).run(relayed(clips[:1]), (LAST,))
    np.testing.assert_array_equal(got[LAST], expected[LAST][:1])


@pytest.mark.parametrize("target", TARGETS)
def test_an_overflow_shows(target):
    """Finite clips whose sums are beyond float32: not zeros that look like features."""
    network = Network((2, 6, 6, 6), named(Conv3d("", 5), Linear("", 4)))
    weights = parameters(network)
    clips = np.full((1, *network.input_shape), 3e38, np.float32)
    got = engine(network, weights, target).run(clips, network.layer_names)
    for name in network.layer_names:
        assert not np.isfinite(got[name]).all()


@pytest.mark.parametrize("target", TARGETS)
def test_numbers_near_the_smallest(target):
    """Denormal clips: all that is lost is their own rounding, 1.4e-45 in values of 1e-39."""
    network = Network((20, 5, 6, 7), named(Conv3d("", 10), MaxPool3d(""), Linear("", 40)))
    weights = parameters(network)
    weights = {n: array * (not n.endswith("bias")) for n, array in weights.items()}
    clips = clips_for(network, 2) * np.float32(1e-39)
    assert (clips != 0).mean() > 0.99
    expected = reference.run(network, weights, clips, network.layer_names)
    got = engine(network, weights, target).run(clips, network.layer_names)
    for name, size in sizes_of(network, weights, clips).items():
        assert np.linalg.norm(got[name] - expected[name]) < 1e-4 * size


@pytest.mark.parametrize("target", TARGETS)
def test_a_long_axis(target):
    """More rows of a matrix product than 32 bits can count squared."""
    length = 400_000
    network = Network((1, length, 1, 1), named(Conv3d("", 1, (1, 1, 1))))
    clips = np.arange(length, dtype=np.float32).reshape(1, *network.input_shape)
    weights = {
        "layer0.weight": np.full((1, 1, 1, 1, 1), 2, np.float32),
        "layer0.bias": np.ones(1, np.float32),
    }
    got = engine(network, weights, target).run(clips, ("layer0",))["layer0"]
    np.testing.assert_array_equal(got, 2 * clips + 1)


# --- threads and processes ------------------------------------------------------------------------


def test_one_engine_in_several_threads(wide):
    target, weights, clips, expected = wide
    runner = engine(WIDE, weights, target)
    with ThreadPoolExecutor(4) as pool:
        # Different batches, so that one run's memory does not fit the next one.
        futures = [pool.submit(runner.run, clips[: 1 + i % 5], (LAST,)) for i in range(12)]
        for i, future in enumerate(futures):
            np.testing.assert_array_equal(future.result()[LAST], expected[LAST][: 1 + i % 5])


def test_several_engines_at_the_same_time(wide):
    target, weights, clips, expected = wide
    engines = [engine(WIDE, weights, target, threads) for threads in (1, 2, 3)]
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(e.run, clips[:3], (LAST,)) for e in engines for _ in range(3)]
        for future in futures:
            np.testing.assert_array_equal(future.result()[LAST], expected[LAST][:3])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_an_engine_works_in_a_forked_child():
    weights, clips = parameters(WIDE), clips_for(WIDE, 2)
    runner = engine(WIDE, weights, threads=3)
    expected = runner.run(clips, (LAST,))[LAST]

    def child():
        np.testing.assert_array_equal(runner.run(clips, (LAST,))[LAST], expected)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_other_python_threads_go_on_during_a_run():
    """No thread is made to yield to another here, so the other one goes on only if a run lets it.

    How long a run takes plays no part: there are as many as the other thread needs to wake up.
    """
    network = Network((8, 16, 32, 32), named(Conv3d("", 64), Conv3d("", 64)))
    runner = engine(network, parameters(network), TARGETS[-1], threads=1)
    clips, layers = clips_for(network, 1), network.layer_names[-1:]
    gate, ticks = threading.Lock(), []

    def tick():
        with gate:
            ticks.append("tick")

    interval = sys.getswitchinterval()
    gate.acquire()
    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        sys.setswitchinterval(1e6)
        gate.release()
        for _ in range(100_000):  # work that lets nobody else go on
            pass
        assert not ticks
        for _ in range(1000):
            runner.run(clips, layers)
            if ticks:
                break
        assert ticks
    finally:
        sys.setswitchinterval(interval)
        ticker.join()


# --- memory ---------------------------------------------------------------------------------------


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_memory_does_not_grow():
    network = Network((16, 8, 16, 16), named(Conv3d("", 64), Linear("", 40)))
    weights, clips = parameters(network), clips_for(network, 8)

    def use():
        runner = engine(network, weights)  # 22 MB of packed weights
        for count in (8, 3):
            runner.run(clips[:count], network.layer_names)

    for _ in range(3):
        use()
    before = resident_bytes()
    for _ in range(10):
        use()
    assert resident_bytes() - before < 20e6


def test_too_little_memory_is_an_error():
    """2**22 channels of 4096 x 4096 floats are more than there are addresses."""
    network = native.Network(TARGETS[-1], (1, 1, 4096, 4096), 2)
    network.add_convolution(zeros(2**22, 1, 1, 1, 1), zeros(2**22), True)
    network.add_pooling((1, 4096, 4096), (0, 0, 0), (1, 1, 1))
    with pytest.raises(MemoryError):
        network.run(zeros(1, 1, 1, 4096, 4096), [(1, zeros(1, 2**22, 1, 1, 1))])
    # It is as before: what can be run still can.
    network.run(zeros(0, 1, 1, 4096, 4096), [(1, zeros(0, 2**22, 1, 1, 1))])


# --- bad input ------------------------------------------------------------------------------------


def test_an_unknown_processor_is_named():
    network = Network((1, 1, 1, 1), named(Linear("", 1)))
    with pytest.raises(ValueError, match=r"KINEMA_PROCESSOR must be one of .*portable.*'z80'"):
        engine(network, parameters(network), "z80")


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def raw():
    """The raw binding: a convolution, a pooling, a fully connected layer."""
    network = native.Network(TARGETS[0], (3, 4, 5, 6), 2)
    network.add_convolution(zeros(4, 3, 3, 3, 3), zeros(4), True)
    network.add_pooling((2, 2, 2), (0, 0, 0), (2, 3, 3))
    network.add_linear(zeros(7, 72), zeros(7), False)
    return network


CLIPS = zeros(2, 3, 4, 5, 6)


def test_what_is_right_is_taken():
    """That what follows is refused for its one flaw."""
    network, output = raw(), zeros(2, 7)
    output[:] = 1
    network.run(CLIPS, [(2, output)])
    assert not output.any()
    network.add_softmax()
    network.run(CLIPS, [(3, output)])
    np.testing.assert_array_equal(output, np.full((2, 7), 1 / 7, np.float32))
    assert "F(4,3)" in network.describe(0)
    assert len(network.profile(3)) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: native.Network("z80", (1, 1, 1, 1), 1),
        lambda: native.Network(TARGETS[0], (1, 1, 1), 1),
        lambda: native.Network(TARGETS[0], (1, 0, 1, 1), 1),
        lambda: native.Network(TARGETS[0], (1, -1, 1, 1), 1),
        lambda: native.Network(TARGETS[0], (2**40, 1, 1, 1), 1),
        lambda: native.Network(TARGETS[0], (2**31 - 1, 1, 1, 1), 1),
        lambda: native.Network(TARGETS[0], (1, 2**20, 2**20, 2**20), 1),
        lambda: native.Network(TARGETS[0], (1, 1, 1, 1), 0),
        lambda: native.Network(TARGETS[0], (1, 1, 1, 1), 2**31 - 1),
        lambda: native.Network(TARGETS[0], (1, 1, 1, 1), 1.5),
    ],
)
def test_bad_networks_are_refused(make):
    with pytest.raises((ValueError, TypeError)):
        make()


def forgotten():
    return native.Network.__new__(native.Network)


@pytest.mark.filterwarnings("ignore:nanobind")
def test_a_network_that_was_never_made_is_refused():
    for use in (
        lambda: forgotten().target,
        lambda: forgotten().add_softmax(),
        lambda: forgotten().run(CLIPS, []),
        lambda: raw().__init__(TARGETS[0], (1, 1, 1, 1), 1),
    ):
        with pytest.raises(TypeError):
            use()


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        (zeros(4, 4, 3, 3, 3), zeros(3)),  # the bias of another layer
        (zeros(4, 4, 3, 3, 3), zeros(4, 1)),
        (zeros(4, 3, 3, 3, 3), zeros(4)),  # another number of channels
        (zeros(4, 4, 3, 3), zeros(4)),
        (zeros(4, 4, 3, 2, 3), zeros(4)),
        (zeros(4, 4, 3, 0, 3), zeros(4)),
        (zeros(4, 0, 3, 3, 3), zeros(4)),
        (zeros(0, 4, 3, 3, 3), zeros(0)),
        (zeros(4, 4, 3, 3, 3, dtype=np.float64), zeros(4)),
        (zeros(4, 4, 3, 3, 3, dtype=complex), zeros(4)),
        (zeros(4, 4, 3, 3, 3), zeros(4, dtype=int)),
        (zeros(4, 4, 3, 3, 6)[..., ::2], zeros(4)),
        (zeros(4, 4, 3, 3, 3).tolist(), zeros(4)),
        (None, None),
    ],
)
def test_bad_convolutions_are_refused(weight, bias):
    network = native.Network(TARGETS[0], (4, 4, 5, 6), 2)
    with pytest.raises((ValueError, TypeError)):
        network.add_convolution(weight, bias, True)


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        (zeros(3, 7), zeros(4)),
        (zeros(3, 8), zeros(3)),
        (zeros(0, 7), zeros(0)),
        (zeros(3, 7, 1), zeros(3)),
        (zeros(7, 3).T, zeros(3)),
        (zeros(3, 7, dtype=np.float16), zeros(3)),
    ],
)
def test_bad_linear_layers_are_refused(weight, bias):
    with pytest.raises((ValueError, TypeError)):
        raw().add_linear(weight, bias, True)


def test_sizes_that_could_overflow_are_refused():
    size = 2**24 + 1
    network = native.Network(TARGETS[0], (1, 1, 1, 1), 1)
    weight, bias = zeros(size, 1), zeros(size)
    with pytest.raises(ValueError, match="weight must be"):
        network.add_linear(weight, bias, True)
    with pytest.raises(ValueError, match="weight must be"):
        network.add_convolution(weight.reshape(size, 1, 1, 1, 1), bias, True)
    with pytest.raises(ValueError, match="kernel sizes must be"):
        network.add_convolution(weight.reshape(1, 1, size, 1, 1), bias[:1], True)


@pytest.mark.parametrize(
    ("kernel", "padding", "sizes"),
    [
        ((0, 2, 2), (0, 0, 0), (1, 3, 3)),
        ((-2, 2, 2), (0, 0, 0), (2, 3, 3)),
        ((2, 2), (0, 0), (2, 3)),
        ((2, 2, 2), (-1, 0, 0), (2, 3, 3)),
        ((2, 2, 2), (2, 0, 0), (3, 3, 3)),
        ((2, 2, 2), (0, 0, 0), (0, 3, 3)),
        ((2, 2, 2), (0, 0, 0), (3, 3, 3)),  # a window beyond the map
        ((2, 2, 2), (0, 0, 0), (2, 2, 3)),  # a part of the map in no window
        ((2**31 - 1, 2, 2), (2**31 - 2, 0, 0), (2, 3, 3)),
    ],
)
def test_bad_poolings_are_refused(kernel, padding, sizes):
    network = native.Network(TARGETS[0], (3, 4, 5, 6), 1)
    with pytest.raises((ValueError, TypeError)):
        network.add_pooling(kernel, padding, sizes)


def test_a_softmax_over_a_map_is_refused():
    with pytest.raises(ValueError, match="needs a vector"):
        native.Network(TARGETS[0], (3, 1, 1, 2), 1).add_softmax()


@pytest.mark.parametrize(
    ("clips", "outputs"),
    [
        (zeros(2, 3, 4, 5, 7), [(2, zeros(2, 7))]),
        (zeros(2, 3, 6, 5, 4), [(2, zeros(2, 7))]),
        (zeros(3, 4, 5, 6), [(2, zeros(1, 7))]),
        (CLIPS.astype(np.float64), [(2, zeros(2, 7))]),
        (np.asfortranarray(CLIPS), [(2, zeros(2, 7))]),
        (CLIPS.tolist(), [(2, zeros(2, 7))]),
        (CLIPS, [(3, zeros(2, 7))]),
        (CLIPS, [(-1, zeros(2, 7))]),
        (CLIPS, [(2**40, zeros(2, 7))]),
        (CLIPS, [(2, zeros(1, 7))]),
        (CLIPS, [(2, zeros(2, 7)), (1, zeros(2, 7))]),
        (CLIPS, [(2, read_only(zeros(2, 7)))]),
        # Results would go to a copy that nobody sees.
        (CLIPS, [(2, zeros(2, 7, dtype=np.float64))]),
        (CLIPS, [(2, zeros(7, 2).T)]),
        (CLIPS, [(2, zeros(2, 14)[:, ::2])]),
        (CLIPS, [(2, zeros(2, 7).tolist())]),
        (CLIPS, [zeros(2, 7)]),
        (CLIPS, None),
    ],
)
def test_bad_runs_are_refused(clips, outputs):
    with pytest.raises((ValueError, TypeError)):
        raw().run(clips, outputs)


@pytest.mark.parametrize("layer", [-1, 3, 10**6, 2**31 - 1])
def test_layers_that_are_not_there_are_refused(layer):
    for look in (raw().describe, raw().profile):
        with pytest.raises(ValueError, match="no such layer"):
            look(layer)
