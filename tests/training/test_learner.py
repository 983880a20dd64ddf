"""One step of learning: Caffe's SGD by hand, parts of a batch, dropout, the native kernels."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.engine.engine import Engine  # noqa: E402
from kinema.engine.torch_network import TorchNetwork  # noqa: E402
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax  # noqa: E402
from kinema.training.descent import Optimiser, RunningMean  # noqa: E402
from kinema.training.heads import Head  # noqa: E402
from kinema.training.learner import Learner, head_loss  # noqa: E402
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
    optimiser = {k: options.pop(k) for k in ("kind", "momentum", "weight_decay") if k in options}
    options["optimiser"] = Optimiser(**optimiser)
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
    expected = Engine(NETWORK, weights, engine="native").run(clips, ("fc8", "prob"))
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
    other.load(learner.parameters(), learner.state(), learner.rate)
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
        (("cpu", "torch", "fp16"), "`precision` must be one of fp32, tf32, bf16.*gradients vanish"),
        (("cpu", "torch", "tf32"), '`precision` "tf32" is for a CUDA device'),
        (("cpu", "native", "bf16"), "learns on a CPU and in fp32"),
        (("cpu", "torch", "fp32", 0), "`threads` must be at least 1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Processes(*settings)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_tf32_is_on_where_it_is_asked_for_alone(precision, monkeypatch):
    """On a CUDA device, whose place is taken by nothing: no step is made."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before, searching = (cudnn.allow_tf32, products.allow_tf32), cudnn.benchmark
    try:
        with Processes("cuda", "torch", precision) as processes:
            assert processes.kind == "cuda"
            assert (cudnn.allow_tf32, products.allow_tf32) == (precision == "tf32",) * 2
            assert cudnn.benchmark == (precision == "bf16")
        assert (cudnn.allow_tf32, products.allow_tf32) == before
    finally:
        cudnn.benchmark = searching


# --- what a recipe may name besides Caffe's SGD ---------------------------------------------------


def test_a_step_of_adamw_is_torchs():
    """Three steps at changing rates; biases, which are vectors, without decay."""
    clips, labels = batch()
    learner = make(kind="adamw", weight_decay=0.1, dropout=0.0)
    model = TorchNetwork(NETWORK, dropout=0.0)
    model.load_arrays(random_weights(NETWORK, seed=1))
    named = dict(model.named_parameters())
    other = torch.optim.AdamW(
        [
            {"params": [p for n, p in named.items() if "weight" in n], "weight_decay": 0.1},
            {"params": [p for n, p in named.items() if "bias" in n], "weight_decay": 0.0},
        ]
    )
    for rate in (0.01, 0.02, 0.005):
        learner.step(clips, labels, rate=rate)
        for group in other.param_groups:
            group["lr"] = rate
        other.zero_grad()
        torch.nn.functional.cross_entropy(
            model(torch.from_numpy(clips)), torch.from_numpy(labels)
        ).backward()
        other.step()
    for name, array in learner.parameters().items():
        np.testing.assert_allclose(array, named[name].detach().numpy(), rtol=1e-6, atol=1e-8)


def test_the_first_step_of_adamw_by_hand():
    """w (1 - rate * decay) - rate * m / (sqrt(v) + 1e-8), where m and v are g and g^2 at first."""
    clips, labels = batch()
    before = dict(random_weights(NETWORK, seed=1))
    gradient = gradients(before, clips, labels)
    learner = make(kind="adamw", weight_decay=0.1, dropout=0.0)
    learner.step(clips, labels, rate=0.01)
    after = learner.parameters()
    for name, g in gradient.items():
        decay = 0.001 if name.endswith("weight") else 0.0
        expected = before[name] * (1 - decay) - 0.01 * g / (np.abs(g) + 1e-8)
        # A gradient near the epsilon is rounded otherwise from one way of summing to another.
        sure = np.abs(g) > 1e-6
        np.testing.assert_allclose(after[name][sure], expected[sure], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_an_optimiser_and_its_average_go_on_bit_by_bit(kind):
    options = {
        "kind": kind,
        "average": 0.8,
        "pixel_scale": 64,
        "heads": (Head(), Head("teacher", "fc6", "mse")),
        "sizes": {"teacher": 5},
    }
    learner, other = make(**options), make(**options)
    vectors = {"teacher": np.random.default_rng(9).normal(size=(6, 5)).astype(np.float32)}
    for step in range(3):
        learner.step(*batch(step), rate=0.1 / (step + 1), seed=step, vectors=vectors)
    other.load(learner.parameters(), learner.state(), learner.rate)
    for step in range(3, 6):
        for each in (learner, other):
            each.step(*batch(step), rate=0.01, seed=step, vectors=vectors)
    for one, two in (
        (learner.parameters(), other.parameters()),
        (learner.averaged(), other.averaged()),
        (learner.state(), other.state()),
    ):
        assert one.keys() == two.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, two[name], err_msg=name)
    assert (learner.averaged()["fc8.bias"] != learner.parameters()["fc8.bias"]).any()


def test_the_running_mean_by_hand():
    """Decay 3/4 from 8: 0.75 * 8 + 0.25 * 4 = 7; 0.75 * 7 + 0.25 * 1 = 5.5. Counts are taken."""
    module = torch.nn.BatchNorm1d(1)
    with torch.no_grad():
        module.weight.fill_(8)
    mean = RunningMean(module, 0.75)
    for value, expected in ((4, 7.0), (1, 5.5)):
        with torch.no_grad():
            module.weight.fill_(value)
            module.num_batches_tracked += 1
        mean.update()
        assert mean.arrays()["weight"].tolist() == [expected]
    assert mean.arrays()["num_batches_tracked"] == 2


def test_the_mean_of_a_learners_weights_is_that_of_its_steps():
    learner = make(average=0.9, dropout=0.0)
    expected = dict(random_weights(NETWORK, seed=1))
    for step in range(4):
        learner.step(*batch(step), rate=0.05)
        now = learner.parameters()
        expected = {name: 0.9 * array + 0.1 * now[name] for name, array in expected.items()}
    for name, array in learner.averaged().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-7)


def test_losses_by_hand():
    output = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    target = torch.tensor([[0.0, 2.0], [0.0, 5.0]])
    # Squares 9, 4, 1, 25; cosines 8 / (5 * 2) and 0.
    assert float(head_loss(Head("t", "fc6", "mse"), output, target)) == pytest.approx(39 / 4)
    assert float(head_loss(Head("t", "fc6", "mse", 2.0), output, target)) == pytest.approx(39 / 2)
    assert float(head_loss(Head("t", "fc6", "cosine"), output, target)) == pytest.approx(0.6)
    # -log(e^4 / (e^3 + e^4)) and -log(e / (e + 1)): both log(1 + 1 / e).
    labels = torch.tensor([1, 0])
    assert float(head_loss(Head(), output, labels)) == pytest.approx(np.log1p(np.exp(-1)))


def test_a_heads_gradient_is_the_sum_of_the_losses():
    """One step by SGD from parts that PyTorch adds up: labels, and a linear layer behind fc6."""
    clips, labels = batch()
    generator = np.random.default_rng(4)
    vectors = {"teacher": generator.normal(size=(6, 5)).astype(np.float32)}
    state = {
        "head:1.weight": generator.normal(size=(5, 16)).astype(np.float32),
        "head:1.bias": generator.normal(size=5).astype(np.float32),
    }
    heads = (Head(weight=0.5), Head("teacher", "fc6", "mse", 3.0))
    learner = make(heads=heads, sizes={"teacher": 5}, weight_decay=0.0)
    start = random_weights(NETWORK, seed=1)
    learner.load(start, state)
    torch.manual_seed(7)
    model = TorchNetwork(NETWORK)  # with its dropout: fc6 is taken before it
    model.load_arrays(start)
    projection = [torch.from_numpy(array.copy()).requires_grad_() for array in state.values()]
    outputs = model.outputs(torch.from_numpy(clips), ("fc6", "fc8"))
    functional = torch.nn.functional
    loss = 0.5 * functional.cross_entropy(outputs["fc8"], torch.from_numpy(labels))
    guess = functional.linear(outputs["fc6"], *projection)
    loss = loss + 3 * functional.mse_loss(guess, torch.from_numpy(vectors["teacher"]))
    loss.backward()
    told = learner.step(clips, labels, rate=0.1, seed=7, vectors=vectors)
    assert float(told) == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        factor = 0.2 if name.endswith("bias") else 0.1
        expected = start[name] - factor * parameter.grad.numpy()
        np.testing.assert_allclose(learner.parameters()[name], expected, rtol=1e-4, atol=1e-6)
    expected = state["head:1.weight"] - 0.1 * projection[0].grad.numpy()
    np.testing.assert_allclose(learner.state()["head:1.weight"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make_head", "message"),
    [
        (lambda: Head(loss="mse"), "`loss` of a head on labels must be cross-entropy, got 'mse'"),
        (lambda: Head("t", "fc6"), "on t must be mse or cosine or similarity, got 'cross-entropy'"),
        (lambda: Head("t", loss="mse"), "`layer` of the head on t must be named"),
        (lambda: Head(layer="fc6"), "`layer` of a head on labels must be None"),
        (lambda: Head(weight=0.0), "`weight` of a head must be more than 0, got 0.0"),
    ],
)
def test_heads_that_make_no_sense(make_head, message):
    with pytest.raises(ValueError, match=message):
        make_head()


def test_similarities_by_hand():
    """Centred rows (-1, 0), (1, 0) and (0, 1), (0, -1): products -1 between both, no difference."""
    head = Head("t", "fc6", "similarity", 2.0)
    output = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
    assert float(head_loss(head, output, torch.tensor([[0.0, 3.0], [0.0, 1.0]]))) == 0
    # Of three: cosines of the centred rows (1, 0), (-1, 1), (0, -1) against (1, 1), (-1, -1), 0.
    three = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    other = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    half = np.sqrt(0.5)
    expected = 2 * ((1 - half) ** 2 + 0 + half**2) / 3
    assert float(head_loss(head, three, other)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_a_folded_norm_computes_what_it_did_while_it_learned(engine):
    learner = make(norm=True, dropout=0.0, engine=engine)
    before = random_weights(NETWORK, seed=1)
    for name, array in learner.averaged().items():  # nothing has been learned yet
        np.testing.assert_allclose(array, before[name], rtol=1e-6, err_msg=name)
    for step in range(30):
        learner.step(*batch(step), rate=0.05)
    clips, _ = batch(99)
    model = TorchNetwork(NETWORK, norm=True)
    model.load_arrays(learner.parameters())
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(clips)).numpy()
    assert (learner.parameters()["conv1a.running_mean"] != 0).any()
    scores = Engine(NETWORK, learner.averaged(), engine="native").run(clips, ("fc8",))["fc8"]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_norm_is_pytorchs():
    """While it learns: against PyTorch's own module, behind the first convolution."""
    clips, _ = batch()
    model = TorchNetwork(NETWORK, norm=True, dropout=0.0)
    model.load_arrays(random_weights(NETWORK, seed=1))
    norm = torch.nn.BatchNorm3d(5)
    norm.running_var.fill_(1 - 1e-5)
    x = torch.from_numpy(clips)
    expected = norm(torch.nn.functional.conv3d(x, model.conv1a.weight, padding=1)).relu()
    torch.testing.assert_close(model.outputs(x, ("conv1a",))["conv1a"], expected)
    torch.testing.assert_close(model.conv1a.running_mean, norm.running_mean)
    torch.testing.assert_close(model.conv1a.running_var, norm.running_var)


def test_a_learner_with_norms_goes_on_as_if_it_had_not_stopped():
    options = {"norm": True, "average": 0.9, "kind": "adamw", "dropout": 0.0}
    heads = (Head(), Head("reversed", "fc6"), Head("t", "fc6", "similarity"))
    options |= {"heads": heads, "sizes": {"t": 4}}
    vectors = {"reversed": np.array([0, 1] * 3), "t": np.eye(6, 4, dtype=np.float32)}
    one, two = make(**options), make(**options)
    two.load(one.parameters(), one.state())  # the heads' own layers are random
    for step in range(6):
        one.step(*batch(step), rate=0.01, vectors=vectors)
    for step in range(3):
        two.step(*batch(step), rate=0.01, vectors=vectors)
    other = make(**options)
    other.load(two.parameters(), two.state(), two.rate)
    for step in range(3, 6):
        other.step(*batch(step), rate=0.01, vectors=vectors)
    for name, array in {**one.parameters(), **one.state()}.items():
        again = {**other.parameters(), **other.state()}[name]
        np.testing.assert_array_equal(array, again, err_msg=name)
