"""Run a network on clips and return the asked layers.

Engines, by kind:
    native  our own kernels, on a CPU (`kinema.native`). Results are bit-equal for any batch size
            and any number of threads.
    torch   PyTorch, on a CPU or a CUDA device, in strict fp32 unless another precision is asked
            for (`precision`). It is what runs a model that is a class of its author's own, see
            `model`. On a CUDA device the first clip is checked, see `first_clip`.

Nothing here imports torch unless it is asked to run on it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.engine.first_clip import check_first_clip, known_faults
from kinema.engine.precision import check_precision
from kinema.model import Model, UserModel
from kinema.network import Conv3d, Layer, Linear, MaxPool3d, Network, Softmax, as_network
from kinema.threads import num_usable_cores

KINDS = ("auto", "native", "torch")
DEVICES = ("auto", "cpu", "cuda")

MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))
"""Far more threads than cores end the process rather than raise an error."""


@dataclass(frozen=True)
class LayerProfile:
    """How the native engine computes a layer, and the time that its runs have taken so far.

    Times are processor milliseconds, summed over threads. Where a pooling is done together with the
    convolution before it, the convolution has the time of both.

    Attributes:
        how: the transforms along time, height and width.
        multiply_adds: of the layer's matrix products, for one clip.
        input_ms: transforming the input.
        multiply_ms: the matrix products.
        output_ms: transforming back, with bias, ReLU and pooling.
        other_ms: everything else.
    """

    how: str
    multiply_adds: float
    input_ms: float
    multiply_ms: float
    output_ms: float
    other_ms: float


class Engine:
    """A network with its weights, ready to run.

    Args:
        network: what to compute, a network or another model.
        weights: parameters by name, as "conv1a.weight", float32. Every parameter of the network
            must be there with its shape; others are ignored, so a network that was cut with
            `Network.up_to` takes the whole's weights.
        engine: "native", "torch", or "auto": torch where `device` is a CUDA device or the model is
            a class of its author's own, else native.
        device: "cpu", "cuda", or "auto": a CUDA device if torch is there and sees one, else cpu.
        precision: "fp32", "tf32", "bf16" or "fp16"; others than fp32 are for a CUDA device. On
            torch and the CPU, both named, they are imitated, slowly: see `torch_forward`.
        threads: CPU threads for one run; None for one on each core that this process may use.
        kind: the former name of `engine`; it goes in the next minor version.

    Attributes:
        kind: which engine it is, "native" or "torch".
        device: "cpu" or "cuda".
        precision: the format of its numbers.

    Raises:
        ValueError: a parameter is missing, misshapen or not finite; it is named. Also an engine
            that cannot run on the device, or in the precision.
        ImportError: the engine torch is asked for, and PyTorch is not installed.

    Example:
        >>> from kinema.engine import Engine
        >>> from kinema.network import c3d_mini
        >>> from kinema.weights.file import random_weights
        >>> network = c3d_mini(None, input_shape=(3, 16, 64, 64))
        >>> engine = Engine(network, random_weights(network))
        >>> clips = np.zeros((2, 3, 16, 64, 64), np.float32)
        >>> engine.run(clips, ["pool5", "fc6"])["fc6"].shape
        (2, 512)
    """

    def __init__(
        self,
        network: Model,
        weights: Mapping[str, np.ndarray],
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        kind: str | None = None,
    ) -> None:
        if kind is not None:
            warnings.warn("`kind` of Engine is now `engine`.", DeprecationWarning, stacklevel=2)
            engine = kind
        for name, value, known in (("engine", engine, KINDS), ("device", device, DEVICES)):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {value!r}.")
        check_precision(precision)
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise ValueError(
                f"`threads` must be at least 1 and at most {MOST_THREADS}, got {threads}."
            )
        self.network = network
        if isinstance(network, UserModel):
            if engine == "native":
                raise ValueError(
                    f'the engine "native" knows our layers alone; the model {network.name!r} runs '
                    'on "torch".'
                )
            engine = "torch"
        self.precision = precision
        self.kind, self.device = _resolve(engine, device, precision)
        parameters = _checked(network, weights)
        self._threads = threads or num_usable_cores()
        self._runner: Any
        if self.kind == "native":
            self._runner = _NativeRunner(network, parameters, threads=self._threads)
        else:
            self._runner = _torch_runner(
                network, parameters, device=self.device, precision=precision, threads=self._threads
            )
        # Until the first clip is checked; a class of one's own has nothing to be held to.
        is_checked = self.device == "cuda" and not isinstance(network, UserModel)
        self._unchecked = parameters if is_checked else None
        self._lock = threading.Lock()

    def run(self, clips: np.ndarray, layers: Sequence[str] = ("fc6",)) -> dict[str, np.ndarray]:
        """The outputs of the asked layers; convolutions and fc6, fc7 after their ReLU.

        Args:
            clips: (N, 3, T, H, W) float32, what `clips.preprocess` gives, stacked.
            layers: names of layers of the network.

        Returns:
            By name, (N, *shape of the layer) float32.

        Raises:
            TypeError, ValueError: not such clips, or a value that is not finite; no such layer; in
                fp16, an output that is not finite.
            EngineError: the device computes the first clip wrong.
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
        if not np.isfinite(clips).all():
            raise ValueError("`clips` hold values that are not finite.")
        wanted = tuple(dict.fromkeys(layers))
        if not wanted:
            return {}
        if not len(clips):
            return {
                name: np.empty((0, *self.network.feature_shape(name)), np.float32)
                for name in wanted
            }
        clips = np.ascontiguousarray(clips)
        run = self._runner.run if self._unchecked is None else self._first
        return self._in_range(run(clips, wanted))

    def start(
        self,
        frames: Sequence[np.ndarray],
        clips: np.ndarray,
        mean: np.ndarray,
        layers: Sequence[str] = ("fc6",),
    ) -> Callable[[], dict[str, np.ndarray]]:
        """Begin `run` on clips of frames; a CUDA device goes on by itself. Safe in any thread.

        Frames are resized to the network's `frame_size`, and their centres cut out: on a CUDA
        device by whole numbers that give OpenCV's bytes. The mean is subtracted in fp32, which
        gives the bits of `clips.preprocess`.

        Args:
            frames: F of (H, W, 3) uint8 RGB, each once though several clips may have it.
            clips: (N, T) of each clip the numbers of its frames.
            mean: (3, T, *crop) float32, B, G, R.
            layers: names of layers of the network.

        Returns:
            A call that waits, and gives what `run` gives.

        Raises:
            ValueError: not such frames or clips; no such layer.
        """
        _, length, *crop = self.network.input_shape
        for frame in frames:
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise ValueError(
                    f"`frames` must be (H, W, 3) uint8, got {frame.dtype} {frame.shape}."
                )
        if clips.ndim != 2 or clips.shape[1] != length:
            raise ValueError(f"`clips` must be (N, {length}) numbers of frames, got {clips.shape}.")
        for layer in layers:
            self.network.check_layer(layer)
        if self.kind == "torch" and self._unchecked is None and len(clips):
            packed = self._runner.packed(frames)
            with self._lock:
                wait = self._runner.start(packed, clips, mean, tuple(dict.fromkeys(layers)))
            return lambda: self._in_range(wait())
        from kinema.video.clips import resize  # the rest of the engine reads no videos

        size = self.network.frame_size
        top, left = ((whole - part) // 2 for whole, part in zip(size, crop, strict=True))
        cut = slice(top, top + crop[0]), slice(left, left + crop[1])
        pixels = np.stack([resize(frame, size)[cut] for frame in frames])[clips]
        x = pixels.transpose(0, 4, 1, 2, 3)[:, ::-1].astype(np.float32, order="C")
        with self._lock:
            outputs = self.run(x - mean, layers)
        return lambda: outputs

    def _in_range(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.precision == "fp16" and not all(np.isfinite(o).all() for o in outputs.values()):
            raise ValueError(
                "fp16 holds numbers up to 65,504, and a layer gives larger ones: take the "
                '`precision` "bf16".'
            )
        return outputs

    def _first(self, clips: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """The first batch, its first and last clip compared with the native engine's.

        Of a batch that is too large for a kernel it is the last clips that are wrong.
        """
        assert self._unchecked is not None
        network, versions = as_network(self.network), self._runner.versions
        for fault in known_faults(self.precision, **versions):
            warnings.warn(fault, stacklevel=3)
        # Probabilities may differ by more than what they are made of.
        layers = [network.logits if name == "prob" else name for name in wanted]
        outputs = self._in_range(self._runner.run(clips, tuple(dict.fromkeys([*wanted, *layers]))))
        ends = [0] if len(clips) == 1 else [0, -1]
        try:
            native: Any = _NativeRunner(network, self._unchecked, threads=self._threads)
        except ImportError:  # it was not built: PyTorch's own fp32 on the CPU stands in
            how: Any = {"device": "cpu", "precision": "fp32", "threads": self._threads}
            native = _torch_runner(network, self._unchecked, **how)
        check_first_clip(
            {name: outputs[name][ends] for name in layers},
            native.run(np.ascontiguousarray(clips[ends]), tuple(dict.fromkeys(layers))),
            self.precision,
            **versions,
        )
        self._unchecked = None
        return {name: outputs[name] for name in wanted}

    def profile(self) -> dict[str, LayerProfile]:
        """By layer, where the time of all runs of this engine went.

        Raises:
            ValueError: not the native engine.
        """
        if not isinstance(self._runner, _NativeRunner):
            raise ValueError(f"the engine {self.kind} keeps no profile; the engine native does.")
        return self._runner.profile()

    @property
    def packed_bytes(self) -> int:
        """Bytes of the weights as the engine keeps them: transformed on native, else as they came.

        Biases, which are few, do not count on native.
        """
        return self._runner.packed_bytes

    def __repr__(self) -> str:
        # A part of cache keys; the precision is a setting of its own there.
        return f"Engine(kind={self.kind!r}, device={self.device!r})"


def check_computable(precision: str) -> None:
    """Refuse a precision that no engine of this machine computes in."""
    check_precision(precision)
    _resolve("auto", "auto", precision)


def _resolve(kind: str, device: str, precision: str) -> tuple[str, str]:
    """The engine and the device behind two names, either of which may be "auto"."""
    if kind == "native" and device == "cuda":
        raise ValueError('the engine "native" runs on a CPU; `device` "cuda" needs "torch".')
    if precision != "fp32":
        if kind == "native":
            raise ValueError(
                f'the engine "native" computes in fp32; `precision` "{precision}" needs "torch" '
                "and a CUDA device."
            )
        imitated = kind == "torch" and device == "cpu"
        if not imitated and (device == "cpu" or not _torch_sees_cuda()):
            raise ValueError(
                f'`precision` "{precision}" is for a CUDA device, and there is none: leave it out. '
                '(The engine "torch" imitates it on the device "cpu", slowly.)'
            )
    if device == "auto":
        device = "cuda" if kind != "native" and _torch_sees_cuda() else "cpu"
    if kind == "auto":
        kind = "torch" if device == "cuda" else "native"
    return kind, device


def _torch_sees_cuda() -> bool:
    """Whether PyTorch is there and has a CUDA device."""
    if importlib.util.find_spec("torch") is None or not _has_cuda_driver():
        return False
    import torch

    return torch.cuda.is_available()


def _has_cuda_driver() -> bool:
    """Whether the machine has NVIDIA's driver: without it a second's import of torch is spared."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _checked(network: Model, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters that the network needs, each with the right shape and finite."""
    parameters = {}
    for name, shape in network.parameter_shapes().items():
        if name not in weights:
            raise ValueError(f"`weights` has no {name}, which the network needs {shape}.")
        array = np.asarray(weights[name], order="C")
        if array.dtype.kind == "f" or isinstance(network, Network):
            array = array.astype(np.float32, copy=False)
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {array.shape}.")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite.")
        parameters[name] = array
    return parameters


class _NativeRunner:
    """Our own kernels; outputs are written straight into NumPy's memory."""

    def __init__(self, model: Model, parameters: Mapping[str, np.ndarray], *, threads: int) -> None:
        from kinema import native

        self._network = network = as_network(model)
        self._native = native.Network(native.processor(), network.input_shape, threads)
        for layer, shape in zip(network.layers, network.shapes().values(), strict=True):
            match layer:
                case Conv3d():
                    self._native.add_convolution(*_of(layer, parameters), relu=True)
                case MaxPool3d():
                    self._native.add_pooling(layer.kernel, layer.padding, shape[1:])
                case Linear():
                    self._native.add_linear(*_of(layer, parameters), relu=layer.relu)
                case Softmax():
                    self._native.add_softmax()

    def run(self, clips: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        shapes, names = self._network.shapes(), self._network.layer_names
        outputs = {name: np.empty((len(clips), *shapes[name]), np.float32) for name in wanted}
        self._native.run(clips, [(names.index(name), array) for name, array in outputs.items()])
        return outputs

    def profile(self) -> dict[str, LayerProfile]:
        return {
            name: LayerProfile(
                self._native.describe(index),
                self._native.multiply_adds(index),
                *(1e3 * seconds for seconds in self._native.profile(index)),
            )
            for index, name in enumerate(self._network.layer_names)
        }

    @property
    def packed_bytes(self) -> int:
        return self._native.packed_bytes


def _of(layer: Layer, parameters: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return parameters[f"{layer.name}.weight"], parameters[f"{layer.name}.bias"]


def _torch_runner(model: Model, parameters: Mapping[str, np.ndarray], **how: Any) -> Any:
    """A `torch_runner.TorchRunner`."""
    try:
        from kinema.engine.torch_runner import TorchRunner
    except ImportError:
        raise ImportError(
            "the engine \"torch\" needs PyTorch: pip install 'kinema[torch]'."
        ) from None
    return TorchRunner(model, parameters, **how)
