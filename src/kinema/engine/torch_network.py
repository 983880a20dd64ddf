"""Models as PyTorch modules: the same data, ready to learn.

`apply_layer` says what each layer of a `Network` computes, where it learns and where it runs.

Note [Batch normalisation]
    A network may learn with batch normalisation (Ioffe, Szegedy, ICML 2015) between each layer with
    a ReLU and that ReLU. It is no part of the network: what is shipped is folded, so that any
    engine runs it,

        gain * (weight * x - mean) / deviation + bias  =  (weight * gain / deviation) * x + ...

    with the running mean and variance of the clips that were learned from. While it learns a layer
    has three more arrays, as "conv1a.gain", and its bias is added behind the normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.engine.autograd import conv3d
from kinema.engine.folding import fold
from kinema.model import Model, UserModel
from kinema.network import Conv3d, Layer, Linear, MaxPool3d, Network, Softmax, as_network

NORM_EPSILON = 1e-5
"""Added to variances, as PyTorch's norms do."""

_NORM = ("gain", "bias", "running_mean", "running_var")

NORM_MOMENTUM = 0.1
"""The share of a batch in the running mean and variance, as in PyTorch's norms."""


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
        norm: learn with batch normalisation, see the Note.
    """

    def __init__(
        self,
        network: Network,
        *,
        dropout: float | None = None,
        native: bool = False,
        norm: bool = False,
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
                if norm and _has_relu(layer):
                    part.register_parameter("gain", nn.Parameter(torch.ones(shape)))
                    part.register_buffer("running_mean", torch.zeros(shape))
                    # So that folding what has not learned yet changes nothing.
                    part.register_buffer("running_var", torch.full(shape, 1 - NORM_EPSILON))
                self.add_module(layer.name, part)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """PyTorch's; `Weights` and other mappings to arrays do as well."""
        tensors = {
            name: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
            for name, value in state_dict.items()
        }
        return super().load_state_dict(tensors, strict=strict, assign=assign)

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return dict(self.named_parameters())

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take parameters by name; those of the normalisation may be missing, and then stay."""
        _load_arrays(self, {**self.arrays(), **arrays})

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of all that it holds by name, float32; `folded` gives the network's parameters."""
        return _arrays_of(self)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) class scores before the softmax, of clips (N, 3, T, H, W)."""
        last = self.network.logits
        return self.outputs(clips, (last,))[last]

    def outputs(self, clips: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The outputs of some layers by name, each before its dropout."""
        x = clips
        found: dict[str, Tensor] = {}
        ahead: list[Layer] = list(self.network.layers)
        while ahead and len(found) < len(set(layers)):
            layer = ahead.pop(0)
            part = getattr(self, layer.name, None)
            weight, bias = (None, None) if part is None else (part.weight, part.bias)
            if hasattr(part, "gain"):
                x = self._normalised(layer, part, x)
            elif self._native and isinstance(layer, Conv3d) and layer.name not in layers:
                pool, kernel = _taken_pool(ahead)
                x = conv3d(x, weight, bias, relu=True, pool=kernel)
                layer = pool or layer
            else:
                x = apply_layer(layer, x, weight, bias)
            if layer.name in layers:
                found[layer.name] = x
            if self._dropout_of(layer):
                x = functional.dropout(x, self._dropout_of(layer))
        return found

    def _normalised(self, layer: Layer, part: Any, x: Tensor) -> Tensor:
        """The output of a layer with batch normalisation."""
        if isinstance(layer, Linear):
            y = functional.linear(x.flatten(1), part.weight)
        elif self._native:
            y = conv3d(x, part.weight)
        else:
            assert isinstance(layer, Conv3d)
            y = functional.conv3d(x, part.weight, padding=layer.padding)
        y = functional.batch_norm(
            y,
            part.running_mean,
            part.running_var,
            part.gain,
            part.bias,
            training=self.training,
            momentum=NORM_MOMENTUM,
            eps=NORM_EPSILON,
        )
        return y.relu_()

    def _dropout_of(self, layer: Layer) -> float:
        if not self.training or not isinstance(layer, Linear) or not layer.dropout:
            return 0.0
        return layer.dropout if self._dropout is None else self._dropout


def _has_relu(layer: Layer) -> bool:
    return isinstance(layer, Conv3d) or (isinstance(layer, Linear) and layer.relu)


def folded(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `TorchNetwork.arrays` gives, as the network's parameters: see [Batch normalisation].

    Arrays without normalisation are what they were.
    """
    parameters = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        if kind not in ("weight", "bias"):
            continue
        if kind == "weight" and f"{layer}.gain" in arrays:
            gain, shift, mean, variance = (arrays[f"{layer}.{each}"] for each in _NORM)
            array, bias = fold(array, gain, shift, mean, variance, NORM_EPSILON)
            parameters[f"{layer}.bias"] = bias
        parameters.setdefault(name, array)
    return parameters


def _taken_pool(layers: list[Layer]) -> tuple[MaxPool3d | None, tuple[int, int, int]]:
    """The pooling that comes first, which is taken off the list, and its windows.

    No pooling, or one with padding, is left where it is: windows of one sample.
    """
    if layers and isinstance(layers[0], MaxPool3d) and not any(layers[0].padding):
        pool = layers[0]
        del layers[0]
        return pool, pool.kernel
    return None, (1, 1, 1)


class UserModule(nn.Module):
    """A module of the user's class, with the face of `TorchNetwork`; its names are its own.

    Args:
        model: what to make. See Note [A model of one's own] in `model`.
    """

    def __init__(self, model: UserModel) -> None:
        super().__init__()
        self.module = model.build()

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by their names in the module."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the whole state by name."""
        _load_arrays(self.module, arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """A copy of the whole state by name: float32, but whole numbers as they are."""
        return _arrays_of(self.module)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) class scores before the softmax, of clips (N, 3, T, H, W)."""
        return self.outputs(clips, ("logits",))["logits"]

    def outputs(self, clips: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The outputs of some layers by name."""
        found: dict[str, Tensor] = {}
        if not {"logits", "prob"}.isdisjoint(layers):
            found["logits"] = self.module(clips)
        for layer in layers:
            if layer == "prob":
                found[layer] = functional.softmax(found["logits"], dim=-1)
            elif layer != "logits":
                found[layer] = self.module.features(clips, layer)
        return {layer: found[layer] for layer in layers}


def _load_arrays(module: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(torch.from_numpy(np.array(arrays[name])))


def _arrays_of(module: nn.Module) -> dict[str, np.ndarray]:
    arrays = {}
    for name, value in module.state_dict().items():
        value = value.detach().to("cpu", torch.float32 if value.is_floating_point() else None)
        arrays[name] = value.contiguous().numpy().copy()
    return arrays


def module_of(
    model: Model, *, dropout: float | None = None, native: bool = False, norm: bool = False
) -> TorchNetwork | UserModule:
    """The module of a model, ready to learn.

    Args:
        model: a network, or a class of one's own, which has its own dropout and norms.
        dropout, native, norm: see `TorchNetwork`.
    """
    if isinstance(model, UserModel):
        return UserModule(model)
    return TorchNetwork(as_network(model), dropout=dropout, native=native, norm=norm)


# --- export --------------------------------------------------------------------------------------


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
