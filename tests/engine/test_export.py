"""Exported files compute what the engine computes, for any number of clips."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.engine import export as export_room
from kinema.engine.engine import Engine
from kinema.engine.export import export
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax
from kinema.weights.file import Weights, random_weights

SMALL = networks.c3d_mini(5, input_shape=(3, 16, 40, 56))

# Pools whose last window starts past the edge, or is cut off by it; padding on both sides.
ODD = Network(
    (3, 5, 11, 14),
    (
        Conv3d("conv1a", 6, (1, 3, 5)),
        MaxPool3d("pool1", (2, 2, 3), padding=(0, 1, 1)),
        Conv3d("conv2a", 7, (3, 1, 1)),
        MaxPool3d("pool2", (2, 3, 2), padding=(1, 0, 1)),
        Linear("fc6", 9),
        Linear("fc8", 4, relu=False),
        Softmax(),
    ),
)


def clips(network, count, seed=1):
    shape = (count, *network.input_shape)
    return np.random.default_rng(seed).normal(0, 50, shape).astype(np.float32)


def run_onnx(path, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [output.name for output in session.get_outputs()], session.run(None, {"clips": inputs})


@pytest.mark.parametrize("network", [SMALL, ODD], ids=["small", "odd"])
@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_the_file_computes_what_the_engine_does(tmp_path, network, ending):
    if ending == ".onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    else:
        torch = pytest.importorskip("torch")
    weights = random_weights(network, seed=2)
    layers = ("fc6", "prob", "pool2")
    report = export(weights, tmp_path / f"x{ending}", layers=layers)
    assert set(report.errors) == set(layers)
    assert max(report.errors.values()) < 1e-5
    inputs = clips(network, 3)
    if ending == ".onnx":
        names, outputs = run_onnx(tmp_path / "x.onnx", inputs)
        assert names == list(layers)
    else:
        module = torch.export.load(tmp_path / "x.pt2").module()
        outputs = [output.detach().numpy() for output in module(torch.from_numpy(inputs))]
    expected = Engine(network, weights, engine="native").run(inputs, layers)
    for layer, output in zip(layers, outputs, strict=True):
        error = np.linalg.norm(output - expected[layer]) / np.linalg.norm(expected[layer])
        assert error < 1e-5, layer


def test_an_onnx_file_tells_its_story(tmp_path):
    onnx = pytest.importorskip("onnx")
    weights = Weights(
        random_weights(SMALL, seed=2).arrays, SMALL, name="mine", labels=tuple("abcde")
    )
    export(weights, tmp_path / "x.onnx")
    model = onnx.load(tmp_path / "x.onnx")
    metadata = json.loads({entry.key: entry.value for entry in model.metadata_props}["kinema"])
    assert metadata["labels"] == list("abcde")
    assert metadata["sha256"] == weights.sha256
    assert [output.name for output in model.graph.output] == ["prob"]


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    whole = export_room.write_onnx

    def wrong(network, weights, path, layers):
        whole(network, {**weights, "fc8.bias": weights["fc8.bias"] + 0.1}, path, layers)

    monkeypatch.setitem(export_room.FORMATS, ".onnx", (wrong, *export_room.FORMATS[".onnx"][1:]))
    (tmp_path / "x.onnx").write_bytes(b"before")
    with pytest.raises(ValueError, match=r"x.onnx is not written: its fc8 differs .* by \d"):
        export(random_weights(SMALL), tmp_path / "x.onnx", layers=["fc8"])
    assert (tmp_path / "x.onnx").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_without_onnx_runtime_it_is_written_and_said(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    found = export_room.importlib.util.find_spec
    monkeypatch.setattr(
        export_room.importlib.util,
        "find_spec",
        lambda name: None if name == "onnxruntime" else found(name),
    )
    report = export(random_weights(SMALL), tmp_path / "x.onnx")
    assert "not checked" in report.summary()
    # It is whole all the same.
    monkeypatch.undo()
    inputs = clips(SMALL, 2)
    (output,) = run_onnx(tmp_path / "x.onnx", inputs)[1]
    expected = Engine(SMALL, random_weights(SMALL), engine="native").run(inputs, ("prob",))["prob"]
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_command(tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    random_weights(SMALL).save(tmp_path / "w.safetensors")
    target = str(tmp_path / "x.onnx")
    code = main(["export", str(tmp_path / "w.safetensors"), target, "--layer", "fc6"])
    assert code == 0
    assert "relative L2 against the engine, by ONNX Runtime: fc6 " in capsys.readouterr().out
    assert main(["export", str(tmp_path / "w.safetensors"), str(tmp_path / "x.tflite")]) == 2
    assert "must end in one of .onnx, .pt2" in capsys.readouterr().err
    assert main(["export", "c3d-mini-random", target, "--layer", "conv9"]) == 2
    assert "--layer must be one of conv1a" in capsys.readouterr().err
