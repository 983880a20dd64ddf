"""A `Network` as a PyTorch module: the same data, ready to learn.

`apply_layer` says what each layer computes; the engine torch runs the same function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.engine.autograd import conv3d
from kinema.network import Conv3d, Layer, Linear, MaxPool3d, Network, Softmax


def apply_layer(
    layer: Layer,
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    dropout: float = 0.0,
) -> Tensor:
    """The output of one layer.

    Args:
        layer: what to compute.
        x: (N, C, T, H, W), or (N, D) after a fully connected layer.
        weight, bias: of a convolution or fully connected layer.
        dropout: probability that an output of a fully connected layer is dropped; the others are
            scaled by 1 / (1 - dropout), as in C3D v1.0 (`dropout_layer.cpp`).
    """
    match layer:
        case Conv3d():
            return functional.conv3d(x, weight, bias, padding=layer.padding).relu_()
        case MaxPool3d():
            return functional.max_pool3d(
                x, layer.kernel, layer.stride, layer.padding, ceil_mode=True
            )
        case Linear():
            y = functional.linear(x.flatten(1), weight, bias)
            if layer.relu:
                y = y.relu_()
            return functional.dropout(y, dropout) if dropout else y
        case Softmax():
            return functional.softmax(x, dim=-1)


class TorchNetwork(nn.Module):
    """A network that learns; its parameters have our names, as "conv1a.weight".

    Args:
        network: what to compute.
        dropout: None for each layer's own probability, or one for all; 0 switches it off.
        native: compute convolutions and poolings with Kinema's own kernels, on a CPU.
    """

    def __init__(
        self, network: Network, *, dropout: float | None = None, native: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self._dropout = dropout
        self._native = native
        names = network.parameter_shapes()
        for layer in network.layers:
            if f"{layer.name}.weight" in names:
                part = nn.Module()
                for kind in ("weight", "bias"):
                    shape = names[f"{layer.name}.{kind}"]
                    part.register_parameter(kind, nn.Parameter(torch.zeros(shape)))
                self.add_module(layer.name, part)

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take parameters by name."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.from_numpy(np.array(arrays[name])))

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of the parameters by name, float32."""
        return {
            name: parameter.detach().to("cpu", torch.float32).contiguous().numpy().copy()
            for name, parameter in self.named_parameters()
        }

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) class scores before the softmax, of clips (N, 3, T, H, W)."""
        x = clips
        layers: list[Layer] = list(self.network.layers)
        while layers and not isinstance(layers[0], Softmax):
            layer = layers.pop(0)
            part = getattr(self, layer.name, None)
            weight, bias = (None, None) if part is None else (part.weight, part.bias)
            if self._native and isinstance(layer, Conv3d):
                x = conv3d(x, weight, bias, relu=True, pool=_taken_pool(layers))
            else:
                x = apply_layer(layer, x, weight, bias, dropout=self._dropout_of(layer))
        return x

    def _dropout_of(self, layer: Layer) -> float:
        if not self.training or not isinstance(layer, Linear) or not layer.dropout:
            return 0.0
        return layer.dropout if self._dropout is None else self._dropout


def _taken_pool(layers: list[Layer]) -> tuple[int, int, int]:
    """The windows of the pooling that comes first, which is taken off the list.

    No pooling, or one with padding, is left where it is: windows of one sample.
    """
    if layers and isinstance(layers[0], MaxPool3d) and not any(layers[0].padding):
        kernel = layers[0].kernel
        del layers[0]
        return kernel
    return (1, 1, 1)


class _Layers(nn.Module):
    """The asked layers' outputs of a network, for export."""

    def __init__(self, model: TorchNetwork, layers: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        outputs, x = {}, clips
        for layer in self.model.network.layers:
            part = getattr(self.model, layer.name, None)
            parameters = () if part is None else (part.weight, part.bias)
            x = apply_layer(layer, x, *parameters)
            outputs[layer.name] = x
        return tuple(outputs[name] for name in self.layers)


def save_program(
    network: Network, arrays: Mapping[str, np.ndarray], layers: Sequence[str], path: Path
) -> None:
    """Write a network for `torch.export.load`: clips in, a tuple of the layers' outputs out."""
    model = TorchNetwork(network)
    model.load_arrays(arrays)
    clips = torch.zeros(2, *network.input_shape)
    shapes = {"clips": {0: torch.export.Dim("N")}}
    program = torch.export.export(_Layers(model, layers).eval(), (clips,), dynamic_shapes=shapes)
    torch.export.save(program, path)


def run_program(path: Path, clips: np.ndarray) -> list[np.ndarray]:
    """The outputs of a program that `save_program` wrote."""
    module = torch.export.load(path).module()
    with torch.no_grad():
        return [output.numpy() for output in module(torch.from_numpy(clips))]
