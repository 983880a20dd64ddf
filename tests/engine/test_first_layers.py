"""Which way the first convolution goes: the fastest of those that are right. Times are set here."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from kinema.network import Conv3d, Linear, MaxPool3d, Network
from kinema.weights.file import random_weights

torch = pytest.importorskip("torch")

from first_layers_stand_in import stem  # noqa: E402

from kinema.engine import first_layers  # noqa: E402
from kinema.engine.torch_forward import FastForward  # noqa: E402

NETWORK = Network(
    (3, 4, 8, 10), (Conv3d("conv1a", 16), MaxPool3d("pool1", (1, 2, 2)), Linear("fc6", 7))
)
WEIGHTS = random_weights(NETWORK, seed=3)
TENSORS = {name: torch.from_numpy(WEIGHTS[name].copy()) for name in WEIGHTS}
SLOW, QUICK = (64, 4, 2), (128, 8, 2)


def clips(number=11):
    """More than are compared at once."""
    rng = np.random.default_rng(1)
    x = 50 * rng.standard_normal((number, *NETWORK.input_shape))
    return torch.from_numpy(x.astype(np.float32))


@pytest.fixture
def asked(monkeypatch):
    """Makes a network whose ways take the given times; how often each was timed stands in it."""
    monkeypatch.setattr(first_layers, "_chosen", {})

    def made(seconds, module=None, precision="bf16"):
        module = module or stem((SLOW, QUICK))
        monkeypatch.setitem(sys.modules, "kinema.engine.triton_stem", module)
        forward = FastForward(NETWORK, TENSORS, precision=precision, compiled=False, fused=True)
        forward.first._try_plain = True  # as on a CUDA device, unless it is forced
        forward.timed = []

        def seconds_of(way, x):
            tile = getattr(way, "keywords", {}).get("tile", first_layers.PLAIN)
            forward.timed.append(tile)
            return seconds[tile]

        monkeypatch.setattr(first_layers, "seconds_of", seconds_of)
        return forward

    return made


def plain(x, precision="bf16"):
    forward = FastForward(NETWORK, TENSORS, precision=precision, compiled=False, fused=False)
    with torch.inference_mode():
        return forward(x, ("pool1", "fc6"))


def test_the_fastest_is_kept_for_a_shape(asked):
    forward = asked({SLOW: 3.0, QUICK: 1.0, first_layers.PLAIN: 2.0})
    with torch.inference_mode(), warnings.catch_warnings(action="error"):
        got = forward(clips(), ("pool1", "fc6"))
        assert forward.first.way_of(forward.ready(clips())) == "Triton 128x8x2"
        assert forward.timed == [SLOW, QUICK, first_layers.PLAIN]
        forward(clips(), ("fc6",))
        assert len(forward.timed) == 3
        forward(clips(3), ("fc6",))  # another shape
        assert len(forward.timed) == 6
    for name, output in plain(clips()).items():
        torch.testing.assert_close(got[name], output)
    again = asked({})  # another net of the process is not asked again
    with torch.inference_mode():
        again(clips(), ("fc6",))
    assert again.timed == []


def test_pytorch_is_kept_where_it_is_faster(asked):
    module = stem((SLOW, QUICK))
    forward = asked({SLOW: 3.0, QUICK: 2.5, first_layers.PLAIN: 2.0}, module)
    with torch.inference_mode():
        forward(clips(), ("fc6",))
        calls = len(module.calls)
        forward(clips(), ("fc6",))
    assert forward.first.way_of(forward.ready(clips())) == first_layers.PLAIN
    assert len(module.calls) == calls


def one_value_off(y):
    y = y.clone()
    y[9, 3, 2, 1, 2] += 0.5 * y[9].max()  # in the last clips, which alone a large batch may break
    return y


@pytest.mark.parametrize(
    "fault",
    [one_value_off, lambda y: 1.02 * y, lambda y: y * float("nan"), torch.zeros_like],
    ids=["one value", "2 %", "no number", "zeros"],
)
def test_what_is_wrong_is_never_used(asked, fault):
    module = stem((SLOW, QUICK), {QUICK: fault})
    forward = asked({SLOW: 3.0, QUICK: 1.0, first_layers.PLAIN: 4.0}, module)
    with torch.inference_mode():
        with pytest.warns(UserWarning, match=r"wrong by Triton.* in bf16 .*\(Triton 128x8x2\)"):
            got = forward(clips(), ("fc6",))
        with warnings.catch_warnings(action="error"):
            forward(clips(3), ("fc6",))  # nor for another shape, and it is told once
    assert QUICK not in forward.timed
    torch.testing.assert_close(got["fc6"], plain(clips())["fc6"])


@pytest.mark.parametrize(("precision", "share", "is_right"), [
    ("bf16", 1.004, True), ("fp16", 1.004, False), ("fp16", 1.001, True),
])  # fmt: skip
def test_how_far_it_may_be_off(asked, precision, share, is_right):
    module = stem((SLOW,), {SLOW: lambda y: (share * y.float()).to(y.dtype)})
    forward = asked({SLOW: 1.0, first_layers.PLAIN: 2.0}, module, precision)
    with torch.inference_mode(), warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        forward(clips(), ("fc6",))
    way = forward.first.way_of(forward.ready(clips()))
    assert way == ("Triton 64x4x2" if is_right else first_layers.PLAIN)


def failing(error):
    def fail(y):
        raise error

    return fail


def test_what_cannot_be_compiled_costs_one_note(asked):
    error = RuntimeError("PTX was generated for another GPU")
    module = stem((SLOW, QUICK), {SLOW: failing(error), QUICK: failing(error)})
    forward = asked({first_layers.PLAIN: 1.0}, module)
    with torch.inference_mode():
        with pytest.warns(UserWarning, match="could not compile the first convolution.*PTX"):
            got = forward(clips(), ("fc6",))
        with warnings.catch_warnings(action="error"):
            forward(clips(3), ("fc6",))
    assert forward.timed == []  # there is no choice
    assert got["fc6"].equal(plain(clips())["fc6"])


def test_a_tile_that_does_not_fit_is_no_matter(asked):
    """Of a chip with less shared memory, or of a batch that leaves no room."""
    full = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    for error in (RuntimeError("out of resource: shared memory"), full):
        first_layers._chosen.clear()
        module = stem((SLOW, QUICK), {QUICK: failing(error)})
        forward = asked({SLOW: 1.0, first_layers.PLAIN: 2.0}, module)
        with torch.inference_mode(), warnings.catch_warnings(action="error"):
            forward(clips(), ("fc6",))
            assert forward.first.way_of(forward.ready(clips())) == "Triton 64x4x2"


def test_without_triton_it_goes_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "kinema.engine.triton_stem", None)  # cannot be imported
    with pytest.warns(UserWarning, match="Triton is not there"):
        forward = FastForward(NETWORK, TENSORS, precision="bf16", compiled=False, fused=True)
    assert forward.first is None


def test_the_least_of_some_times_counts(monkeypatch):
    times = iter([5.0, 2.0, 3.0, 2.5, 4.0])
    calls = []
    monkeypatch.setattr(first_layers, "_timed", lambda way, x: next(times))
    assert first_layers.seconds_of(calls.append, 7) == 2.0
    assert calls == [7]  # one run is not counted
