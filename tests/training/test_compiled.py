"""Compiled training: a first step that goes both ways, and what is given up."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kinema.model import UserModel  # noqa: E402
from kinema.network import Conv3d, Linear, MaxPool3d, Network  # noqa: E402
from kinema.training import compiled  # noqa: E402
from kinema.training.compiled import Difference  # noqa: E402
from kinema.training.learner import Learner  # noqa: E402
from kinema.training.processes import Processes  # noqa: E402
from kinema.weights.file import random_weights  # noqa: E402

NETWORK = Network(
    (3, 2, 6, 6),
    (
        Conv3d("conv1a", 4),
        MaxPool3d("pool1", (1, 2, 2)),
        Linear("fc6", 16),
        Linear("fc8", 3, relu=False, dropout=0.0),
    ),
)
WEIGHTS = random_weights(NETWORK, seed=1)


def batch(seed=0, count=6):
    generator = np.random.default_rng(seed)
    clips = generator.normal(0, 1, (count, *NETWORK.input_shape)).astype(np.float32)
    return clips, generator.integers(0, 3, count)


def make(network=NETWORK, precision="fp32", **options):
    learner = Learner(network, Processes("cpu", "torch", precision, threads=1), **options)
    if network is NETWORK:
        learner.load(WEIGHTS)
    return learner


def steps(learner, number=3):
    return [learner.step(*batch(seed), rate=0.01, seed=seed) for seed in range(number)]


def check_same(one, other):
    for name, array in one.parameters().items():
        np.testing.assert_array_equal(array, other.parameters()[name], err_msg=name)


@pytest.fixture
def compiler(monkeypatch):
    """Sets what a compiled module does with its arguments; calls are counted."""

    def become(run):
        calls = []

        def compiling(module, **how):
            def counted(*arguments):
                calls.append(len(arguments[0]))
                return run(module, *arguments)

            return counted

        monkeypatch.setattr(torch, "compile", compiling)
        return calls

    return become


class Scaled(torch.autograd.Function):
    """The input itself, and its gradient times a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


def honest(module, *arguments):
    return module(*arguments)


def wrong_outputs(module, *arguments):
    return tuple(1.5 * output + 1 for output in module(*arguments))


def no_numbers(module, *arguments):
    return tuple(output * float("nan") for output in module(*arguments))


def wrong_gradient(module, *arguments, factor=0.0, parameter="module.conv1a.weight"):
    """Of one parameter alone, whose gradient is a small part of the whole."""
    found = {parameter: Scaled.apply(module.get_parameter(parameter), factor)}
    return torch.func.functional_call(module, found, arguments)


# --- where it is compiled -------------------------------------------------------------------------


def test_it_is_compiled_where_it_pays(monkeypatch):
    asked_for = []
    monkeypatch.setattr(torch, "compile", lambda module, **how: asked_for.append(how) or module)
    on_gpu = SimpleNamespace(native=False, size=1, device=torch.device("cpu"), kind="cuda")
    for kind, precision, asked, expected in (
        ("cuda", "bf16", None, True),
        ("cuda", "tf32", None, True),
        ("cuda", "fp32", None, False),
        ("cuda", "fp32", True, True),
        ("cuda", "bf16", False, False),
        ("cpu", "bf16", None, False),
    ):
        asked_for.clear()
        on_gpu.kind, on_gpu.precision = kind, precision
        Learner(NETWORK, on_gpu, compile=asked)
        assert bool(asked_for) == expected, (kind, precision, asked)


def test_a_compiled_step_is_the_same_step(monkeypatch):
    """By PyTorch's own compiler, with its plainest backend; names of parameters do not change."""
    plainest = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", plainest)
    learner, plain = make(compile=True), make()
    torch.testing.assert_close(steps(learner), steps(plain))
    assert learner.is_compiled
    after = plain.parameters()
    for name, array in learner.parameters().items():
        np.testing.assert_allclose(array, after[name], rtol=1e-5, atol=1e-7)
    assert learner.state().keys() == plain.state().keys()


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles by g++ on a CPU")
def test_what_inductor_drops_is_what_pytorch_drops():
    """By the compiler that a GPU has, too: otherwise gradients would be off by their own length."""
    learner, plain = make(compile=True, norm=True), make(norm=True)
    with warnings.catch_warnings(action="error", category=UserWarning):
        losses = steps(learner, 2)
    assert learner.is_compiled
    assert learner.compiled_difference.gradient < 1e-4
    torch.testing.assert_close(losses, steps(plain, 2), rtol=1e-4, atol=1e-6)
    for name, array in learner.parameters().items():
        np.testing.assert_allclose(array, plain.parameters()[name], rtol=1e-3, atol=1e-5)


# --- the check of the first step ------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"norm": True, "average": 0.9}, {"accumulate": 2}])
def test_an_honest_compiler_is_kept_and_the_check_leaves_no_trace(options, compiler):
    calls = compiler(honest)
    learner, plain = make(compile=True, **options), make(**options)
    with warnings.catch_warnings(action="error", category=UserWarning):
        losses = steps(learner)
    assert learner.is_compiled
    assert learner.compiled_difference == Difference(
        0.0, 0.0, learner.compiled_difference.parameter
    )
    parts = options.get("accumulate", 1)
    assert calls == [6 // parts] * (1 + 3 * parts)  # once more, on the first part alone
    assert all(a.equal(b) for a, b in zip(losses, steps(plain), strict=True))
    check_same(learner, plain)
    for name, array in learner.averaged().items():
        np.testing.assert_array_equal(array, plain.averaged()[name])


@pytest.mark.parametrize("options", [{}, {"norm": True}, {"accumulate": 2}])
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (wrong_outputs, r"the loss is off by [0-9.]+, and may be by 0\.001; the gradient of"),
        (no_numbers, "the loss is off by nan, and may be by 0.001; the gradient of .* by nan"),
        (wrong_gradient, "the loss is off by 0, .* the gradient of conv1a.weight by 1 of its"),
        (functools.partial(wrong_gradient, factor=0.97), "the gradient of conv1a.weight by 0.03"),
        (
            functools.partial(wrong_gradient, factor=-1, parameter="module.fc6.bias"),
            "the gradient of fc6.bias by 2 of its length, and may be by 0.02",
        ),
    ],
)
def test_a_compiler_that_lies_is_given_up(run, message, options, compiler):
    calls = compiler(run)
    learner, plain = make(compile=True, **options), make(**options)
    with pytest.warns(UserWarning, match=message) as told:
        losses = steps(learner, 1)
    with warnings.catch_warnings(action="error", category=UserWarning):
        losses += [learner.step(*batch(seed), rate=0.01, seed=seed) for seed in (1, 2)]
    assert (len(told), len(calls), learner.is_compiled) == (1, 1, False)
    assert all(a.equal(b) for a, b in zip(losses, steps(plain), strict=True))
    check_same(learner, plain)


@pytest.mark.parametrize(
    ("precision", "factor", "is_kept"),
    [("fp32", 0.99, True), ("bf16", 0.7, True), ("bf16", 0.4, False), ("bf16", 1.7, False)],
)
def test_how_far_a_gradient_may_be_off(precision, factor, is_kept, compiler):
    compiler(functools.partial(wrong_gradient, factor=factor))
    learner = make(precision=precision, compile=True)
    with warnings.catch_warnings(record=True):
        steps(learner, 1)
    assert learner.is_compiled == is_kept
    assert learner.compiled_difference.gradient == pytest.approx(abs(1 - factor), rel=0.05)


@pytest.mark.parametrize(
    ("got", "parameter", "gradient"),
    [
        ({"a": [3.0, 4.0], "b": [0.0]}, "a", 0.0),
        ({"a": [3.0, 4.5], "b": [0.0]}, "a", 0.1),
        # b has no influence: its gradient is rounding, and its error a share of 1e-3 of a's.
        ({"a": [3.0, 4.0], "b": [5e-6]}, "b", 1e-3),
        ({"b": [0.0]}, "a", 1.0),
        ({"a": [3.0, 4.0], "b": [0.0], "c": [0.005]}, "c", 1.0),
    ],
)
def test_a_difference_by_hand(got, parameter, gradient):
    right = {"module.a": torch.tensor([3.0, 4.0]), "module.b": torch.tensor([0.0])}
    got = {f"module.{name}": torch.tensor(values) for name, values in got.items()}
    found = compiled._difference((2.5, got), (2.0, right))
    assert found.loss == pytest.approx(0.25)
    assert found.gradient == pytest.approx(gradient, rel=1e-5)
    assert found.parameter == parameter or gradient == 0.0


def test_small_losses_may_be_off_by_as_much_as_a_loss_of_one():
    none = {"a": torch.zeros(2)}
    assert compiled._difference((0.01, none), (0.02, none)).loss == pytest.approx(0.01)
    assert compiled._difference((-30.0, none), (-40.0, none)).loss == pytest.approx(0.25)


def test_a_step_that_diverges_is_not_the_compilers_fault(compiler):
    compiler(honest)
    learner = make(compile=True)
    with warnings.catch_warnings(action="error", category=UserWarning):
        loss = learner.step(np.full_like(batch()[0], np.inf), batch()[1], rate=0.01)
    assert not torch.isfinite(loss)
    assert learner.is_compiled
    assert learner.compiled_difference is None


def test_too_little_memory_for_the_comparison_is_told(compiler, monkeypatch):
    """The uncompiled way takes more than the compiled one, which is what is learned by."""
    compiler(honest)
    learner, plain = make(compile=True), make()
    loss = learner.loss

    def full(*arguments):
        if not learner.is_compiled:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return loss(*arguments)

    monkeypatch.setattr(learner, "loss", full)
    with pytest.warns(UserWarning, match="was not compared .* a smaller batch") as told:
        losses = steps(learner)
    assert len(told) == 1
    assert learner.is_compiled
    assert losses[2].equal(steps(plain)[2])
    check_same(learner, plain)


class Teacher(torch.nn.Module):
    """Changes much while it looks: norms, a queue, a mean teacher; it draws, and has a loss."""

    input_shape = NETWORK.input_shape
    layers = ("seen",)

    def __init__(self, num_classes, *, input_shape=None):
        super().__init__()
        self.norm = torch.nn.BatchNorm3d(3)
        self.fc = torch.nn.Linear(3, num_classes)
        self.teacher = torch.nn.Linear(3, num_classes).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(4, 3), persistent=False)

    def features(self, clips, layer):
        return torch.nn.functional.dropout(self.norm(clips).mean((2, 3, 4)), 0.3, self.training)

    def forward(self, clips):
        return self.fc(self.features(clips, "seen"))

    def loss(self, clips, labels):
        with torch.no_grad():
            self.teacher.weight.lerp_(self.fc.weight, 0.5)
            seen = self.features(clips, "seen")
            self.queue.copy_(torch.cat([seen[:1], self.queue[:-1]]))
        wanted = self.teacher(self.queue).mean()
        given = torch.nn.functional.cross_entropy(self.forward(clips), labels)
        return given + (self.fc(seen).mean() - wanted - torch.rand(())).square()


@pytest.mark.parametrize("run", [honest, wrong_outputs])
def test_a_class_of_ones_own_sees_the_first_batch_once(run, compiler):
    calls, model = compiler(run), UserModel.from_class("mine", Teacher, 3)
    learners = learner, plain = make(model, compile=True), make(model)
    for one in learners:
        one.load(model.initial_arrays(0))
    with warnings.catch_warnings(record=True):
        losses = steps(learner)
    assert len(calls) == (4 if run is honest else 1)
    assert all(a.equal(b) for a, b in zip(losses, steps(plain), strict=True))
    check_same(learner, plain)
    states = [one._state_module.queue for one in learners]
    assert states[0].any()
    assert states[0].equal(states[1])


# --- what cannot be compiled ----------------------------------------------------------------------


class FailsOnItsWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("Cannot find a working triton installation.")


def no_way_there(module, *arguments):
    raise RuntimeError("Cannot find a working triton installation.")


def no_way_back(module, *arguments):
    return tuple(FailsOnItsWayBack.apply(output) for output in module(*arguments))


@pytest.mark.parametrize("run", [no_way_there, no_way_back])
def test_what_cannot_be_compiled_learns_without_and_says_so_once(run, compiler):
    calls = compiler(run)
    learner, plain = make(compile=True, accumulate=2), make(accumulate=2)
    with pytest.warns(UserWarning, match="could not compile the network.*working triton"):
        losses = steps(learner, 1)
    with warnings.catch_warnings(action="error", category=UserWarning):
        losses.append(learner.step(*batch(1), rate=0.01, seed=1))
    assert len(calls) == 1
    assert all(a.equal(b) for a, b in zip(losses, steps(plain, 2), strict=True))
    check_same(learner, plain)


def test_errors_that_are_not_the_compilers_stay_errors(compiler):
    def full(module, *arguments):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    compiler(full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        make(compile=True).step(*batch(), rate=0.01)
    compiler(honest)
    with (
        warnings.catch_warnings(record=True),
        pytest.raises((RuntimeError, IndexError)),
    ):
        make(compile=True).step(batch()[0], np.full(6, 9), rate=0.01)


PROCESSES = """
import os, sys, warnings
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from test_compiled import NETWORK, WEIGHTS, batch, no_way_back, wrong_gradient
from kinema.training.learner import Learner
from kinema.training.processes import Processes

fault = {"lies": wrong_gradient, "fails": no_way_back}.get(sys.argv[2])
runs = [lambda module, *given: module(*given), fault or (lambda module, *given: module(*given))]
run = runs[int(os.environ["RANK"])]  # the second process alone
torch.compile = lambda module, **how: lambda *given: run(module, *given)
with Processes("cpu", "torch", threads=1) as processes, warnings.catch_warnings(record=True) as w:
    warnings.simplefilter("always")
    learner = Learner(NETWORK, processes, compile=sys.argv[2] != "none", norm=True)
    learner.load(WEIGHTS)
    for seed in range(3):
        learner.step(*batch(10 * processes.rank + seed), rate=0.01, seed=seed)
    told = sum("compile" in str(one.message) for one in w)
    print(processes.rank, learner.is_compiled, told)
    np.savez(f"{sys.argv[3]}-{processes.rank}", **learner.parameters())
"""


def test_processes_of_torchrun_learn_one_way_together(tmp_path):
    """Where one of them cannot compile, or is wrong, all go on uncompiled to the same weights."""
    (tmp_path / "steps.py").write_text(PROCESSES, encoding="utf-8")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    folder, found = str(tmp_path), {}
    for what, is_compiled, told in (
        ("none", False, 0),
        ("honest", True, 0),
        ("lies", False, 1),
        ("fails", False, 1),
    ):
        here = str(Path(__file__).parent)
        done = subprocess.run(
            [sys.executable, *torchrun, f"{folder}/steps.py", here, what, f"{folder}/{what}"],
            check=True,
            capture_output=True,
            text=True,
        )
        lines = sorted(line for line in done.stdout.splitlines() if line[:2] in ("0 ", "1 "))
        assert lines == [f"0 {is_compiled} 0", f"1 {is_compiled} {told}"]
        found[what] = [dict(np.load(f"{folder}/{what}-{rank}.npz")) for rank in (0, 1)]
    for what, (first, second) in found.items():
        for name, array in found["none"][0].items():
            np.testing.assert_array_equal(first[name], array, err_msg=f"{what} {name}")
            if "running" not in name:  # each process has its own
                np.testing.assert_array_equal(second[name], array, err_msg=f"{what} {name}")
