"""What the engine torch runs: a model in one precision on one device.

Note [In which precision]
    fp32 is strict: the layers one after the other, without TF32. tf32, bf16 and fp16 are for CUDA
    devices, where a network runs on the fast path: channels last, compiled, in batches of steady
    sizes. On a CPU they are imitated, to know what they cost: inputs, weights and what each layer
    gives are rounded, and summed in fp32. A device may round a layer's sums once more before it
    adds the bias. The softmax is fp32 everywhere.

Note [Steady sizes]
    A batch is filled up with zeros to the next power of two, and what these clips give is cut off:
    PyTorch compiles anew for each size that it meets. The size depends on the batch alone, not on
    those before it, see Note [Same bytes] in `features.extractor`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from kinema.engine.first_layers import FirstLayers, note, triton_ways
from kinema.engine.precision import rounded
from kinema.engine.torch_network import UserModule, apply_layer
from kinema.model import Model, UserModel
from kinema.network import Conv3d, Linear, Network, Softmax, as_network

Forward = Callable[[Tensor, Sequence[str]], dict[str, Tensor]]
"""Clips on the device and names of layers to the layers' outputs there, fp32."""

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "fp32": torch.float32,
        "tf32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
    }
)


def forward_of(
    model: Model, parameters: Mapping[str, Tensor], device: torch.device, precision: str = "fp32"
) -> Forward:
    """What runs a model with parameters on a device; see Note [In which precision].

    Raises:
        ValueError: a class of one's own in another precision than fp32 on a CPU.
    """
    if isinstance(model, UserModel):
        return _forward_of_module(model, parameters, device, precision)
    network = as_network(model)
    if precision == "fp32":
        return _layer_by_layer(network, parameters)
    if device.type == "cpu":
        return _imitation(network, parameters, precision)
    return FastForward(network, parameters, precision=precision)


@contextlib.contextmanager
def switches(precision: str) -> Iterator[None]:
    """PyTorch's settings of the whole process as a precision needs them, for a while.

    TF32 is off unless it is asked for: it is PyTorch's default in convolutions. The search for
    cuDNN's fastest algorithm takes a second in bf16 and fp16, but tens of seconds for each shape in
    fp32 (measured on an H200).
    """
    tf32 = precision == "tf32"
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    with torch.backends.cudnn.flags(
        enabled=True,
        benchmark=precision in ("bf16", "fp16"),
        deterministic=True,
        allow_tf32=tf32,
    ):
        products.allow_tf32 = tf32
        try:
            yield
        finally:
            products.allow_tf32 = before


def _layer_by_layer(network: Network, parameters: Mapping[str, Tensor]) -> Forward:
    def forward(x: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        # An output that nobody asked for is freed at once.
        outputs, x = {}, x.contiguous()
        for layer in network.layers[: _last(network, wanted) + 1]:
            x = apply_layer(layer, x, *_of(layer.name, parameters))
            if layer.name in wanted:
                outputs[layer.name] = x
        return outputs

    return forward


def _imitation(network: Network, parameters: Mapping[str, Tensor], precision: str) -> Forward:
    """The same with numbers rounded as the precision has them, on a CPU.

    In tf32 the factors alone are rounded: biases and what a layer gives are fp32.
    """

    def short(x: Tensor) -> Tensor:
        return torch.from_numpy(rounded(x.numpy(), precision))

    factors = {
        name: tensor if precision == "tf32" and name.endswith(".bias") else short(tensor)
        for name, tensor in parameters.items()
    }

    def forward(x: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        outputs = {}
        x = short(x.contiguous())
        for layer in network.layers[: _last(network, wanted) + 1]:
            has_factors = isinstance(layer, Conv3d | Linear)
            if precision == "tf32" and has_factors:
                x = short(x)
            x = apply_layer(layer, x, *_of(layer.name, factors))
            if precision != "tf32" and has_factors:
                x = short(x)
            if layer.name in wanted:
                outputs[layer.name] = x
        return outputs

    return forward


class FastForward:
    """The fast path of CUDA devices, see the Notes; it runs on a CPU, too, for tests.

    Where PyTorch cannot compile (no Triton, no compiler), it goes on without, and says so once.

    Args:
        network: what to compute.
        parameters: by name, on the device.
        precision: one of `precision.PRECISIONS`.
        compiled: whether to let PyTorch compile it.
        fused: whether the first convolution and pooling go by `triton_stem`, if they can; None for
            whatever is faster on a CUDA device, see `first_layers`.
    """

    def __init__(
        self,
        network: Network,
        parameters: Mapping[str, Tensor],
        *,
        precision: str,
        compiled: bool = True,
        fused: bool | None = None,
    ) -> None:
        self._network = network
        self._dtype = DTYPES[precision]
        self._parameters = {name: self._laid_out(tensor) for name, tensor in parameters.items()}
        self._compiled: Any = None
        if compiled:
            allow_shapes(128)
            try:
                self._compiled = torch.compile(self._layers, dynamic=False)
            except RuntimeError as error:  # of a Python that it does not know yet
                note("PyTorch could not compile the network", error)
        on_gpu = next(iter(parameters.values())).is_cuda
        is_asked = on_gpu if fused is None else fused
        ways = {}
        if is_asked and precision in ("bf16", "fp16"):
            ways = triton_ways(network, self._parameters)
        self.first = None
        if ways:
            self.first = FirstLayers(
                network,
                self._parameters,
                precision,
                # Laid out as the rest is compiled for, whatever a compiler made of it.
                plain=lambda x: self._laid_out(self._run(x, (network.layers[1].name,), 0)[0]),
                ways=ways,
                try_plain=fused is None,
            )

    @property
    def is_compiled(self) -> bool:
        """Whether PyTorch compiles it, as far as is known yet."""
        return self._compiled is not None

    def __call__(self, x: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        number, names, begin = len(x), tuple(wanted), 0
        x = self.ready(x)
        if self.first is not None and self._network.layers[0].name not in names:
            x, begin = self.first(x), 2
        outputs = self._run(x, names, begin)
        return {name: output[:number].float() for name, output in zip(names, outputs, strict=True)}

    def ready(self, x: Tensor) -> Tensor:
        """Clips as they go through the layers: filled up, laid out and in the short format."""
        return self._laid_out(filled_up(x))

    def _run(self, x: Tensor, names: tuple[str, ...], begin: int) -> tuple[Tensor, ...]:
        if self._compiled is not None:
            try:
                outputs: tuple[Tensor, ...] = self._compiled(x, names, begin)
                return outputs
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # of many kinds, for what is missing is found late
                self._compiled = None
                note("PyTorch could not compile the network", error)
        return self._layers(x, names, begin)

    def _layers(self, x: Tensor, names: tuple[str, ...], begin: int) -> tuple[Tensor, ...]:
        """From layer number `begin` on, given the output of the one before it."""
        layers = self._network.layers[: _last(self._network, names) + 1]
        outputs = {layers[begin - 1].name: x} if begin else {}  # others are freed at once
        for layer in layers[begin:]:
            if isinstance(layer, Softmax):
                x = x.float()
            x = apply_layer(layer, x, *_of(layer.name, self._parameters))
            if layer.name in names:
                outputs[layer.name] = x
        return tuple(outputs[name] for name in names)

    def _laid_out(self, tensor: Tensor) -> Tensor:
        if tensor.ndim == 5:
            return tensor.to(self._dtype, memory_format=torch.channels_last_3d)
        return tensor.to(self._dtype)


def allow_shapes(number: int) -> None:
    """Let PyTorch compile for so many sizes, nets and layers; by itself it gives up after eight."""
    from torch._dynamo import config  # takes a second

    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(getattr(config, name), number))


def filled_up(x: Tensor) -> Tensor:
    """A batch with clips of zeros behind it, up to the next power of two; see the Note."""
    missing = (1 << (len(x) - 1).bit_length()) - len(x)
    return torch.cat([x, x.new_zeros(missing, *x.shape[1:])]) if missing else x


def _last(network: Network, wanted: Sequence[str]) -> int:
    return max(map(network.layer_names.index, wanted))


def _of(layer: str, parameters: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    return parameters.get(f"{layer}.weight"), parameters.get(f"{layer}.bias")


def _forward_of_module(
    model: UserModel, parameters: Mapping[str, Tensor], device: torch.device, precision: str
) -> Forward:
    if precision != "fp32" and device.type == "cpu":
        raise ValueError(
            f"`precision` {precision!r}: the model {model.name!r} is a class of its author's own, "
            "which is not imitated on a CPU; leave it out."
        )
    module = UserModule(model)
    module.module.load_state_dict(parameters)
    module = module.to(device).eval()
    dtype = DTYPES[precision]
    is_short = dtype != torch.float32

    def forward(x: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        with torch.autocast(device.type, dtype if is_short else None, enabled=is_short):
            found = module.outputs(x, wanted)
        outputs = {name: y.float() for name, y in found.items()}
        for name, output in outputs.items():
            expected = (len(x), *model.feature_shape(name))
            if output.shape != expected:
                raise ValueError(
                    f"{name} of the model {model.name!r} must be {expected}, "
                    f"got {tuple(output.shape)}."
                )
        return outputs

    return forward
