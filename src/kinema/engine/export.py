"""`export`: weights as a file that others run (ONNX, PyTorch's exported program), or a folder.

The file takes what the network takes: clips (N, 3, T, H, W) float32, B, G, R, mean subtracted (see
`clips.preprocess`), any N. It is run beside the native engine before it is called done. The folder
is that of `weights.folder`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.engine.engine import Engine
from kinema.files import atomic_path
from kinema.network import Conv3d, Linear, MaxPool3d, Network, Softmax, as_network
from kinema.weights import file as weights_room
from kinema.weights.file import Weights
from kinema.weights.folder import FILES, write_folder

OPSET = 17
"""Of ONNX: old enough for any runtime of today."""

LARGEST_ERROR = 1e-4
"""Relative L2 between the file's outputs and the engine's above which the file is refused."""


@dataclass(frozen=True)
class ExportReport:
    """What `export` wrote.

    Attributes:
        path: the file or folder.
        layers: the file's outputs; empty for a folder, which holds the whole network.
        errors: relative L2 of each against the native engine; empty if it could not be run.
        checked_with: what ran it, or None.
    """

    path: Path
    layers: tuple[str, ...]
    errors: Mapping[str, float]
    checked_with: str | None

    def summary(self) -> str:
        """The report in a line."""
        if not self.layers:
            return f"{self.path}: {', '.join(FILES)}; to be used by --weights {self.path}"
        if self.checked_with is None:
            return f"{self.path}: not checked, ONNX Runtime is not installed"
        errors = ", ".join(f"{layer} {error:.1e}" for layer, error in self.errors.items())
        return f"{self.path}: relative L2 against the engine, by {self.checked_with}: {errors}"


def export(
    weights: str | os.PathLike[str] | Weights,
    target: str | os.PathLike[str],
    *,
    layers: Sequence[str] | None = None,
) -> ExportReport:
    """Write weights and their network as `.onnx`, `.pt2` (for `torch.export.load`) or a folder.

    Args:
        weights: a name, a file, or `Weights`.
        target: what to write; its ending tells the format. A name without one is a folder with
            model.safetensors, config.json and a model card README.md, as hubs of models hold them;
            it is weights again wherever such are named.
        layers: of a file, whose outputs the file gives, in order; the last one's by default.

    Raises:
        ValueError: another ending, an unknown layer, a folder that is there already or of single
            layers, or a file whose outputs differ from the engine's; then it is not written.
        ImportError: what the format needs is not installed.
    """
    target = Path(target)
    if target.suffix not in ("", *FORMATS):
        raise ValueError(
            f"{target} must end in one of {', '.join(FORMATS)}, or have no ending, as a folder."
        )
    if not target.suffix and layers:
        raise ValueError(f"`layers` is of {', '.join(FORMATS)}; a folder holds the whole network.")
    weights = weights_room.resolve(weights)
    if not target.suffix:
        write_folder(weights, target)
        return ExportReport(target, (), {}, None)
    chosen = tuple(dict.fromkeys(layers or weights.network.layer_names[-1:]))
    for layer in chosen:
        weights.network.check_layer(layer)
    last = max(chosen, key=weights.network.layer_names.index)
    network = as_network(weights.network).up_to(last)
    generator = np.random.default_rng(0)
    clips = generator.uniform(-128, 127, (2, *network.input_shape)).astype(np.float32)
    write, run, checked_with = FORMATS[target.suffix]
    with atomic_path(target) as partial:
        partial = _with_ending(partial, target.suffix)
        try:
            write(network, weights, partial, chosen)
            outputs = run(partial, clips)
            errors = {}
            if outputs is not None:
                expected = Engine(network, weights, engine="native").run(clips, chosen)
                for layer, output in zip(chosen, outputs, strict=True):
                    difference = np.linalg.norm(output - expected[layer])
                    errors[layer] = float(difference / np.linalg.norm(expected[layer]))
                    if not errors[layer] <= LARGEST_ERROR:
                        raise ValueError(
                            f"{target} is not written: its {layer} differs from the engine's by "
                            f"{errors[layer]:.1e} (relative L2)."
                        )
            os.replace(partial, partial.with_suffix(""))
        finally:
            partial.unlink(missing_ok=True)
    return ExportReport(target, chosen, errors, checked_with if outputs is not None else None)


def _with_ending(path: Path, ending: str) -> Path:
    """Beside `path`: what writes and reads the file goes by its ending."""
    return path.with_name(f"{path.name}{ending}")


# --- ONNX -----------------------------------------------------------------------------------------


def write_onnx(
    network: Network,
    weights: Mapping[str, np.ndarray],
    path: Path,
    layers: Sequence[str],
) -> None:
    """A network as an ONNX file: `clips` in, the asked layers out; the batch axis is called N."""
    try:
        from onnx import TensorProto, checker, helper, numpy_helper, save
    except ImportError:
        raise ImportError("ONNX files need `pip install 'kinema[export]'`.") from None

    nodes, value = [], "clips"
    shape: tuple[int, ...] = network.input_shape

    def add(kind: str, name: str, *parameters: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, [value, *parameters], [name], name=name, **attributes))
        return name

    for layer in network.layers:
        name = layer.name
        parameters = (f"{name}.weight", f"{name}.bias")
        match layer:
            case Conv3d():
                pads = layer.padding * 2
                value = add(
                    "Conv", f"{name}_sum", *parameters, kernel_shape=layer.kernel, pads=pads
                )
                value = add("Relu", name)
            case MaxPool3d():
                around = (*layer.padding, *_end_padding(layer, shape))
                value = add(
                    "MaxPool", name, kernel_shape=layer.kernel, strides=layer.stride, pads=around
                )
            case Linear():
                if len(shape) > 1:
                    value = add("Flatten", f"{name}_input")
                value = add("Gemm", f"{name}_sum" if layer.relu else name, *parameters, transB=1)
                if layer.relu:
                    value = add("Relu", name)
            case Softmax():
                value = add("Softmax", name, axis=-1)
        shape = layer.output_shape(shape)
    floats, shapes = TensorProto.FLOAT, network.shapes()
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("clips", floats, ["N", *network.input_shape])],
        [helper.make_tensor_value_info(name, floats, ["N", *shapes[name]]) for name in layers],
        [numpy_helper.from_array(weights[name], name) for name in network.parameter_shapes()],
        doc_string="clips: B, G, R, mean subtracted; 16 consecutive frames in C3D's case",
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="kinema"
    )
    if isinstance(weights, Weights):
        metadata = {key: value for key, value in weights.metadata().items() if key != "trained_on"}
        helper.set_model_props(model, {"kinema": json.dumps(metadata)})
    checker.check_model(model)
    save(model, path)


def _end_padding(pool: MaxPool3d, shape: tuple[int, ...]) -> list[int]:
    """Padding behind the input that gives Caffe's windows.

    ONNX's own `ceil_mode` makes one more where the last would start past the edge.
    """
    counts = pool.output_shape(shape)[1:]
    return [
        count * kernel - size - padding
        for count, kernel, size, padding in zip(
            counts, pool.kernel, shape[1:], pool.padding, strict=True
        )
    ]


def _run_onnx(path: Path, clips: np.ndarray) -> list[np.ndarray] | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {"clips": clips})
    return outputs


# --- PyTorch --------------------------------------------------------------------------------------


def _write_program(
    network: Network, weights: Mapping[str, np.ndarray], path: Path, layers: Sequence[str]
) -> None:
    try:
        from kinema.engine.torch_network import save_program
    except ImportError:
        raise ImportError("PyTorch's programs need `pip install 'kinema[torch]'`.") from None
    save_program(network, weights, layers, path)


def _run_program(path: Path, clips: np.ndarray) -> list[np.ndarray]:
    from kinema.engine.torch_network import run_program

    return run_program(path, clips)


FORMATS: dict[str, tuple[Callable[..., None], Callable[..., Any], str]] = {
    ".onnx": (write_onnx, _run_onnx, "ONNX Runtime"),
    ".pt2": (_write_program, _run_program, "PyTorch"),
}
"""How a file of each ending is written, and run for comparison, and by what."""
