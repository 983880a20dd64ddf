"""What the engine torch runs in other precisions than fp32: imitated, and on the fast path."""

from __future__ import annotations

import shutil
import sys
import warnings

import numpy as np
import pytest

from kinema.engine import reference
from kinema.engine.engine import Engine
from kinema.engine.precision import rounded
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.video.clips import preprocess
from kinema.weights.file import random_weights

torch = pytest.importorskip("torch")

from first_layers_stand_in import stem  # noqa: E402

from kinema.engine import first_layers, torch_forward, torch_resize  # noqa: E402

SHORT = ("tf32", "bf16", "fp16")
NETWORK = Network(
    (3, 5, 13, 15),
    (
        Conv3d("conv1a", 4),
        MaxPool3d("pool1", (1, 2, 2)),
        Conv3d("conv2a", 6, (1, 3, 3)),
        MaxPool3d("pool2"),
        Linear("fc6", 11),
        Linear("fc8", 3, relu=False),
        Softmax("prob"),
    ),
)
WEIGHTS = random_weights(NETWORK, seed=1)
BOUNDS = {"tf32": 1e-3, "bf16": 1e-2, "fp16": 2e-3}


def clips(number=3):
    rng = np.random.default_rng(0)
    return (50 * rng.standard_normal((number, *NETWORK.input_shape))).astype(np.float32)


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def by_the_rules(precision, x):
    """The imitation written anew, on the float64 reference: rounded factors, exact sums."""

    def short(values):
        return rounded(np.asarray(values, np.float32), precision)

    found, x = {}, short(x)
    for layer in NETWORK.layers:
        if layer.name in ("conv1a", "conv2a", "fc6", "fc8"):
            x = short(x)
            weight, bias = (WEIGHTS[f"{layer.name}.{kind}"] for kind in ("weight", "bias"))
            bias = bias if precision == "tf32" else short(bias)
            kind = reference.conv3d if isinstance(layer, Conv3d) else reference.linear
            x = kind(x, short(weight), bias)
            x = x if layer.name == "fc8" else np.maximum(x, 0)
            x = x if precision == "tf32" else short(x)
        elif isinstance(layer, MaxPool3d):
            sizes = layer.output_shape(x.shape[1:])[1:]
            x = reference.max_pool3d(x, layer.kernel, layer.padding, sizes)
        else:
            x = reference.softmax(x)
        found[layer.name] = x
    return found


def imitating(precision):
    return Engine(NETWORK, WEIGHTS, engine="torch", device="cpu", precision=precision)


@pytest.mark.parametrize("precision", SHORT)
def test_the_imitation_is_what_the_rules_say(precision):
    expected = by_the_rules(precision, clips())
    got = imitating(precision).run(clips(), NETWORK.layer_names)
    for name in NETWORK.layer_names:
        # Sums in fp32 and float64 may be rounded to two neighbours.
        assert relative_error(got[name], expected[name]) < BOUNDS[precision] / 5, name
        assert np.mean(got[name] == expected[name].astype(np.float32)) > (
            0.9 if precision != "tf32" and name != "prob" else 0
        ), name
    exact = reference.run(NETWORK, WEIGHTS, clips(), NETWORK.layer_names)
    for name in ("conv1a", "conv2a", "fc6"):
        assert 1e-5 < relative_error(got[name], exact[name]) < BOUNDS[precision], name


def test_more_mantissa_is_a_smaller_error():
    exact = reference.run(NETWORK, WEIGHTS, clips(), ("fc6",))["fc6"]
    errors = {
        precision: relative_error(imitating(precision).run(clips())["fc6"], exact)
        for precision in ("fp32", *SHORT)
    }
    assert errors["fp32"] < 5e-6 < errors["tf32"] < errors["bf16"] / 4  # by three bits
    assert errors["fp16"] < errors["bf16"] / 4


@pytest.mark.parametrize("precision", SHORT)
@pytest.mark.parametrize("number", [1, 3, 4])
def test_the_fast_path_computes_the_same(precision, number):
    """On a CPU and uncompiled: channels last, short numbers, batches that are filled up."""
    tensors = {name: torch.from_numpy(WEIGHTS[name].copy()) for name in WEIGHTS}
    forward = torch_forward.FastForward(NETWORK, tensors, precision=precision, compiled=False)
    names = NETWORK.layer_names
    with torch.inference_mode():
        found = forward(torch.from_numpy(clips(number)), names)
    expected = reference.run(NETWORK, WEIGHTS, clips(number), names)
    for name in names:
        assert found[name].dtype == torch.float32
        assert found[name].shape == (number, *NETWORK.shapes()[name])
        bound = 2 * BOUNDS[precision] * (10 if name in ("fc8", "prob") else 1)
        assert relative_error(found[name].numpy(), expected[name]) < bound, name


@pytest.mark.parametrize(("number", "filled"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (22, 32)])
def test_batches_are_filled_up_to_powers_of_two(number, filled):
    x = torch.arange(1, number + 1, dtype=torch.float32)[:, None]
    got = torch_forward.filled_up(x)
    assert got[:number].equal(x)
    assert got.shape == (filled, 1)
    assert not got[number:].any()


def fast(**options):
    tensors = {name: torch.from_numpy(WEIGHTS[name].copy()) for name in WEIGHTS}
    return torch_forward.FastForward(NETWORK, tensors, precision="tf32", **options)


def test_what_cannot_be_compiled_runs_with_one_note(monkeypatch):
    calls = []

    def no_compiler(function, **options):
        def compiled(*arguments):
            calls.append(arguments)
            raise RuntimeError("Cannot find a working triton installation.\nMore information ...")

        return compiled

    monkeypatch.setattr(torch, "compile", no_compiler)
    forward, x = fast(), torch.from_numpy(clips())
    with torch.inference_mode():
        with pytest.warns(UserWarning, match="could not compile .* Cannot find a working triton"):
            first = forward(x, ("fc6",))
        with warnings.catch_warnings(action="error"):
            again = forward(x, ("fc6",))
        plain = fast(compiled=False)(x, ("fc6",))
    assert len(calls) == 1
    assert first["fc6"].equal(again["fc6"])
    assert first["fc6"].equal(plain["fc6"])


def test_too_little_memory_is_not_taken_for_a_missing_compiler(monkeypatch):
    def full(*arguments):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "compile", lambda function, **options: full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fast()(torch.from_numpy(clips()), ("fc6",))


def test_a_compiled_network_computes_the_same():
    """By PyTorch's own compiler, with its plainest backend: what it captures, it can compile."""
    forward = fast(compiled=False)
    compiled = fast()
    compiled._compiled = torch.compile(compiled._layers, dynamic=False, backend="aot_eager")
    for number in (3, 4, 1):
        x = torch.from_numpy(clips(number))
        with torch.inference_mode():
            got, expected = (each(x, ("conv1a", "fc6")) for each in (compiled, forward))
        for name in ("conv1a", "fc6"):
            torch.testing.assert_close(got[name], expected[name])


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles by g++ on a CPU")
def test_both_parts_of_a_compiled_network_are_compiled(monkeypatch):
    """By the compiler that a GPU has, too: behind the kernel of the first layers, and whole."""
    module = stem()
    monkeypatch.setitem(sys.modules, "kinema.engine.triton_stem", module)
    monkeypatch.setattr(first_layers, "_chosen", {})
    tensors = {name: torch.from_numpy(WEIGHTS[name].copy()) for name in WEIGHTS}
    how = {"precision": "bf16", "fused": True}
    no_notes = warnings.catch_warnings(action="error", category=UserWarning)
    with torch.inference_mode(), no_notes:
        compiled = torch_forward.FastForward(NETWORK, tensors, **how)
        plain = torch_forward.FastForward(NETWORK, tensors, **how, compiled=False)
        begins, layers = [], compiled._compiled
        compiled._compiled = lambda *given: begins.append(given[2]) or layers(*given)
        for number, names, begin in (
            (3, ("pool1", "conv2a", "prob"), 2),  # filled up to four
            (4, ("pool1", "conv2a", "prob"), 2),
            (3, ("conv1a", "fc6"), 0),
            (1, ("fc6",), 2),
        ):
            x, calls = torch.from_numpy(clips(number)), len(module.calls)
            got, expected = compiled(x, names), plain(x, names)
            assert (begins.pop(), begins) == (begin, [])
            assert len(module.calls) > calls or begin == 0
            assert tuple(got) == names
            for name in names:
                assert got[name].shape == (number, *NETWORK.shapes()[name])
                bound = 2 * BOUNDS["bf16"]
                assert relative_error(got[name].numpy(), expected[name].numpy()) < bound, name
        # What PyTorch's own way of the first layers is timed by.
        y = compiled.first.plain(compiled.ready(x))
        assert y.is_contiguous(memory_format=torch.channels_last_3d)
        assert relative_error(y.float().numpy(), plain(x, ("pool1",))["pool1"].numpy()) < bound
    assert compiled.is_compiled


def test_triton_takes_the_place_of_two_layers(monkeypatch):
    module, x = stem(), torch.from_numpy(clips(4))
    monkeypatch.setitem(sys.modules, "kinema.engine.triton_stem", module)
    tensors = {name: torch.from_numpy(WEIGHTS[name].copy()) for name in WEIGHTS}
    how = {"precision": "bf16", "compiled": False}
    names = NETWORK.layer_names
    with torch.inference_mode():
        plain = torch_forward.FastForward(NETWORK, tensors, **how)
        assert plain.first is None  # nothing to be asked on a CPU
        expected = plain(x, names)
        fused = torch_forward.FastForward(NETWORK, tensors, **how, fused=True)
        got = fused(x, names[1:])
        only = fused(x, names[1:2])
        calls = len(module.calls)
        assert set(module.calls) == {(4, *NETWORK.input_shape)}
        whole = fused(x, names)  # whoever wants conv1a gets it
        assert len(module.calls) == calls
    for name in names[1:]:
        torch.testing.assert_close(got[name], expected[name])
        torch.testing.assert_close(whole[name], expected[name])
    torch.testing.assert_close(only["pool1"], expected["pool1"])


@pytest.mark.parametrize("precision", ["fp32", *SHORT])
def test_pytorchs_settings_are_those_of_one_run(precision):
    products, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    with torch_forward.switches(precision):
        assert (products.allow_tf32, cudnn.allow_tf32) == (precision == "tf32",) * 2
        assert cudnn.benchmark == (precision in ("bf16", "fp16"))
    assert before == (products.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)


def test_fp16_says_that_it_overflows():
    large = {name: WEIGHTS[name] * (1e3 if name.endswith("weight") else 1) for name in WEIGHTS}
    engine = Engine(NETWORK, large, engine="torch", device="cpu", precision="fp16")
    with pytest.raises(ValueError, match=r'up to 65,504, .* take the `precision` "bf16"'):
        engine.run(clips())
    other = Engine(NETWORK, large, engine="torch", device="cpu", precision="bf16")
    assert np.isfinite(other.run(clips())["fc6"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "`precision` must be one of fp32, tf32, bf16, fp16; got 'fp8'"),
        ({"engine": "native", "precision": "bf16"}, 'the engine "native" computes in fp32'),
        ({"device": "cpu", "precision": "bf16"}, '"bf16" is for a CUDA device'),
        ({"precision": "fp16"}, '"fp16" is for a CUDA device, and there is none'),
        ({"engine": "torch", "precision": "fp16"}, '"fp16" is for a CUDA device'),
    ],
)
def test_precisions_are_refused_where_they_make_no_sense(options, message, monkeypatch):
    monkeypatch.setattr("kinema.engine.engine._torch_sees_cuda", lambda: False)
    with pytest.raises(ValueError, match=message):
        Engine(NETWORK, WEIGHTS, **options)


@pytest.fixture
def frames():
    """Seven random ones of a size, and which of them make three clips of five."""

    def of(height, width):
        rng = np.random.default_rng(0)
        return [*rng.integers(0, 256, (7, height, width, 3), np.uint8)]

    return of


ORDER = np.array([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [6, 6, 0, 1, 1]])
MEAN = np.random.default_rng(1).normal(100, 30, (3, 5, 13, 15)).astype(np.float32)
NAMES = ("conv1a", "fc6")


def preprocessed(images):
    size = NETWORK.frame_size
    return np.stack(
        [
            preprocess([images[n] for n in clip], mean=MEAN, resize_to=size, crop=(13, 15))
            for clip in ORDER
        ]
    )


@pytest.mark.parametrize("size", [(24, 32), (15, 20), (13, 15), (9, 7)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["native", "torch"])
def test_pixels_give_the_bits_that_preprocessed_clips_give(kind, precision, size, frames):
    if kind == "native" and precision != "fp32":
        pytest.skip("fp32 alone")
    assert NETWORK.frame_size == (15, 20)
    images = frames(*size)
    engine = Engine(NETWORK, WEIGHTS, engine=kind, device="cpu", precision=precision)
    waits = [engine.start(images, ORDER[:n], MEAN, NAMES) for n in (3, 2)]
    expected = engine.run(preprocessed(images), NAMES)
    for wait, number in zip(waits, (3, 2), strict=True):
        got = wait()
        for name in NAMES:
            np.testing.assert_array_equal(got[name], expected[name][:number])


def test_frames_of_several_sizes_may_make_a_clip(frames):
    images = [*frames(24, 32)[:4], *frames(15, 20)[4:]]
    engine = Engine(NETWORK, WEIGHTS, engine="torch", device="cpu")
    got, expected = engine.start(images, ORDER, MEAN)(), engine.run(preprocessed(images))
    np.testing.assert_array_equal(got["fc6"], expected["fc6"])


def test_a_device_that_resizes_otherwise_is_found_out(frames, monkeypatch):
    calls = []

    def off_by_one(pixels, size, crop):
        calls.append(size)
        cut = torch_resize.resized(pixels, size, crop)
        cut[-1, 0, 0, 0] ^= 1
        return cut

    monkeypatch.setattr("kinema.engine.torch_runner.resized", off_by_one)
    images = frames(24, 32)
    engine = Engine(NETWORK, WEIGHTS, engine="torch", device="cpu")
    expected = engine.run(preprocessed(images))["fc6"]
    with pytest.warns(UserWarning, match="resizes frames of 32x24 otherwise than OpenCV"):
        got = engine.start(images, ORDER, MEAN)()
    with warnings.catch_warnings(action="error"):
        again = engine.start(images, ORDER, MEAN)()
    assert len(calls) == 1
    np.testing.assert_array_equal(got["fc6"], expected)
    np.testing.assert_array_equal(again["fc6"], expected)


def test_what_are_no_frames_or_clips_is_refused(frames):
    engine = Engine(NETWORK, WEIGHTS, engine="torch", device="cpu")
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8, got float64"):
        engine.start([np.zeros((3, 4, 3))], ORDER, MEAN)
    with pytest.raises(ValueError, match=r"must be \(N, 5\) numbers of frames, got \(3, 4\)"):
        engine.start(frames(9, 7), ORDER[:, :4], MEAN)
