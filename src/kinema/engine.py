"""Run a network on clips and return the asked layers.

Engines, by kind:
    torch   PyTorch, on a CPU or a CUDA device, in strict fp32.

Nothing but this file imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kinema.network import Conv3d, Layer, Linear, MaxPool3d, Network, Softmax

KINDS = ("auto", "torch")
DEVICES = ("auto", "cpu", "cuda")

MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))
"""Far more threads than cores end the process rather than raise an error."""


class Engine:
    """A network with its weights, ready to run.

    Args:
        network: what to compute.
        weights: parameters by name, as "conv1a.weight", float32. Every parameter of the network
            must be there with its shape; others are ignored, so a network that was cut with
            `Network.up_to` takes the whole's weights.
        kind: "torch", or "auto" for the best one here.
        device: "cpu", "cuda", or "auto" for a CUDA device if there is one.
        threads: CPU threads for one run; None for all the machine has.

    Raises:
        ValueError: a parameter is missing, misshapen or not finite; it is named.
    """

    def __init__(
        self,
        network: Network,
        weights: Mapping[str, np.ndarray],
        *,
        kind: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        for name, value, known in (("kind", kind, KINDS), ("device", device, DEVICES)):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {value!r}.")
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise ValueError(
                f"`threads` must be at least 1 and at most {MOST_THREADS}, got {threads}."
            )
        self.network = network
        self.kind = "torch"
        self._runner = _TorchRunner(_checked(network, weights), device=device, threads=threads)

    def run(self, clips: np.ndarray, layers: Sequence[str] = ("fc6",)) -> dict[str, np.ndarray]:
        """The outputs of the asked layers; convolutions and fc6, fc7 after their ReLU.

        Args:
            clips: (N, 3, T, H, W) float32, what `clips.preprocess` gives, stacked.
            layers: names of layers of the network.

        Returns:
            By name, (N, *shape of the layer) float32.
        """
        if isinstance(layers, str):
            raise TypeError(f"`layers` must be a sequence of names, got the string {layers!r}.")
        for layer in layers:
            self.network.check_layer(layer)
        clips = np.asarray(clips)
        shape = self.network.input_shape
        if clips.dtype != np.float32:
            raise TypeError(f"`clips` must be float32, got {clips.dtype}.")
        if clips.ndim != 5 or clips.shape[1:] != shape:
            raise ValueError(
                f"`clips` must be (N, {', '.join(map(str, shape))}), got {clips.shape}."
            )
        wanted = tuple(dict.fromkeys(layers))
        if not wanted:
            return {}
        if not len(clips):
            return {
                name: np.empty((0, *self.network.feature_shape(name)), np.float32)
                for name in wanted
            }
        last = max(map(self.network.layer_names.index, wanted))
        return self._runner.run(clips, self.network.layers[: last + 1], wanted)

    def __repr__(self) -> str:
        return f"Engine(kind={self.kind!r}, device={str(self._runner.device)!r})"


def _checked(network: Network, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters that the network needs, each with the right shape and finite."""
    parameters = {}
    for name, shape in network.parameter_shapes().items():
        if name not in weights:
            raise ValueError(f"`weights` has no {name}, which the network needs {shape}.")
        array = np.ascontiguousarray(weights[name], np.float32)
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {array.shape}.")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite.")
        parameters[name] = array
    return parameters


def _writeable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy if it is read-only: torch warns of those even where it only reads."""
    return array if array.flags.writeable else array.copy()


class _TorchRunner:
    """Layers one by one in PyTorch; an output that nobody asked for is freed at once."""

    def __init__(
        self, parameters: Mapping[str, np.ndarray], *, device: str, threads: int | None
    ) -> None:
        try:
            import torch
        except ImportError:
            raise ImportError("the engine needs PyTorch: pip install 'kinema[torch]'.") from None
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError('`device` is "cuda", but PyTorch sees no CUDA device.')
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._torch = torch
        self._threads = threads
        self.device = torch.device(device)
        self._parameters = {
            name: torch.from_numpy(_writeable(array)).to(self.device)
            for name, array in parameters.items()
        }

    def run(
        self, clips: np.ndarray, layers: Sequence[Layer], wanted: Sequence[str]
    ) -> dict[str, np.ndarray]:
        torch = self._torch
        before = torch.get_num_threads()  # a setting of the whole process
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        try:
            return self._run(clips, layers, wanted)
        finally:
            torch.set_num_threads(before)

    def _run(
        self, clips: np.ndarray, layers: Sequence[Layer], wanted: Sequence[str]
    ) -> dict[str, np.ndarray]:
        torch = self._torch
        outputs = {}
        # TF32 would keep 10 bits of each factor; features are fp32 everywhere.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            x = torch.from_numpy(_writeable(np.ascontiguousarray(clips))).to(self.device)
            for layer in layers:
                x = self._apply(layer, x)
                if layer.name in wanted:
                    outputs[layer.name] = x.cpu().numpy()
        return outputs

    def _apply(self, layer: Layer, x: Any) -> Any:
        functional = self._torch.nn.functional
        weight = self._parameters.get(f"{layer.name}.weight")
        bias = self._parameters.get(f"{layer.name}.bias")
        match layer:
            case Conv3d():
                return functional.conv3d(x, weight, bias, padding=layer.padding).relu_()
            case MaxPool3d():
                return functional.max_pool3d(
                    x, layer.kernel, layer.stride, layer.padding, ceil_mode=True
                )
            case Linear():
                y = functional.linear(x.flatten(1), weight, bias)
                return y.relu_() if layer.relu else y
            case Softmax():
                return functional.softmax(x, dim=-1)
