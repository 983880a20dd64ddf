"""One step of learning: Caffe's SGD by hand, parts of a batch, dropout, the native kernels."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.engine.engine import Engine  # noqa: E402
from kinema.engine.torch_network import TorchNetwork  # noqa: E402
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax  # noqa: E402
from kinema.training.learner import Learner  # noqa: E402
from kinema.training.processes import Processes  # noqa: E402
from kinema.weights.file import random_weights  # noqa: E402

NETWORK = Network(
    (3, 4, 10, 12),
    (
        Conv3d("conv1a", 5),
        MaxPool3d("pool1", (1, 2, 2)),
        Conv3d("conv2a", 20, (3, 3, 3)),
        MaxPool3d("pool2"),
        Linear("fc6", 16),
        Linear("fc8", 3, relu=False, dropout=0.0),
        Softmax("prob"),
    ),
)


def batch(seed=0, count=6):
    generator = np.random.default_rng(seed)
    clips = generator.normal(0, 1, (count, *NETWORK.input_shape)).astype(np.float32)
    return clips, generator.integers(0, 3, count)


def make(**options):
    engine = options.pop("engine", "torch")
    learner = Learner(NETWORK, Processes("cpu", engine, threads=1), **options)
    learner.load(random_weights(NETWORK, seed=1))
    return learner


def gradients(parameters, clips, labels):
    """By PyTorch's own autograd, without our step."""
    model = TorchNetwork(NETWORK, dropout=0.0)
    model.load_arrays(parameters)
    torch.nn.functional.cross_entropy(
        model(torch.from_numpy(clips)), torch.from_numpy(labels)
    ).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


def test_the_network_computes_what_the_engine_does():
    weights = random_weights(NETWORK, seed=1)
    model = TorchNetwork(NETWORK)
    model.load_arrays(weights)
    model.eval()
    clips, _ = batch()
    with torch.no_grad():
        scores = model(torch.from_numpy(clips)).numpy()
    expected = Engine(NETWORK, weights, kind="native").run(clips, ("fc8", "prob"))
    np.testing.assert_allclose(scores, expected["fc8"], rtol=1e-4, atol=1e-5)
    assert sorted(model.arrays()) == sorted(NETWORK.parameter_shapes())


def test_the_step_is_caffes_sgd():
    """v = m v + r (g + d w); w -= v; biases at twice the rate and without decay."""
    learner = make(momentum=0.9, weight_decay=0.05, dropout=0.0)
    expected = dict(random_weights(NETWORK, seed=1))
    velocity = {name: np.zeros_like(array) for name, array in expected.items()}
    for step, rate in enumerate((0.02, 0.02, 0.002, 0.002, 0.01)):
        clips, labels = batch(step)
        gradient = gradients(expected, clips, labels)
        for name in expected:
            bias = name.endswith(".bias")
            decay = 0.0 if bias else 0.05
            velocity[name] = 0.9 * velocity[name] + rate * (2 if bias else 1) * (
                gradient[name] + decay * expected[name]
            )
            expected[name] = (expected[name] - velocity[name]).astype(np.float32)
        learner.step(clips, labels, rate=rate)
    for name, array in learner.parameters().items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-4, atol=2e-6, err_msg=name)


def test_parts_of_a_batch_make_the_same_step():
    clips, labels = batch(count=6)
    whole, parts = make(dropout=0.0), make(dropout=0.0, accumulate=3)
    losses = [learner.step(clips, labels, rate=0.1) for learner in (whole, parts)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    for name, array in whole.parameters().items():
        np.testing.assert_allclose(array, parts.parameters()[name], rtol=1e-4, atol=1e-6)


def test_divided_pixels_are_learned_from_but_not_expected():
    """A network that learned from pixels / 64 takes pixels: its first weights are divided too."""
    clips, labels = batch()
    weights = random_weights(NETWORK, seed=1)
    scaled, plain = make(dropout=0.0, pixel_scale=64), make(dropout=0.0)
    for name, array in scaled.parameters().items():
        np.testing.assert_array_equal(array, weights[name])
    plain.load({**weights, "conv1a.weight": weights["conv1a.weight"] * 64})
    for step in range(3):
        scaled.step(clips * 64, labels, rate=0.01 / (step + 1))
        plain.step(clips, labels, rate=0.01 / (step + 1))
    learned, expected = scaled.parameters(), plain.parameters()
    np.testing.assert_array_equal(learned["conv1a.weight"], expected["conv1a.weight"] / 64)
    for name in list(expected)[1:]:
        np.testing.assert_array_equal(learned[name], expected[name])


def test_dropout_is_a_function_of_the_seed():
    clips, labels = batch()
    losses = [float(make().step(clips, labels, rate=0.1, seed=s)) for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    none = [float(make(dropout=0.0).step(clips, labels, rate=0.1, seed=s)) for s in (1, 2)]
    assert none[0] == none[1]


def test_its_state_goes_on_bit_by_bit():
    learner, other = make(), make()
    for step in range(3):
        learner.step(*batch(step), rate=0.1 / (step + 1), seed=step)
    other.load(learner.parameters(), learner.momentum(), learner.rate)
    for step in range(3, 6):
        for each in (learner, other):
            each.step(*batch(step), rate=0.01, seed=step)
    for name, array in learner.parameters().items():
        np.testing.assert_array_equal(array, other.parameters()[name])


def test_the_native_kernels_learn_the_same():
    native, plain = make(engine="native", dropout=0.0), make(dropout=0.0)
    for step in range(4):
        for learner in (native, plain):
            learner.step(*batch(step), rate=0.05)
    for name, array in native.parameters().items():
        np.testing.assert_allclose(array, plain.parameters()[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("gpu",), "`device` must be one of"),
        (("cpu", "caffe"), "`engine` must be one of"),
        (("cpu", "torch", "fp16"), "`precision` must be one of fp32, bf16"),
        (("cpu", "native", "bf16"), "learns on a CPU and in fp32"),
        (("cpu", "torch", "fp32", 0), "`threads` must be at least 1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Processes(*settings)
