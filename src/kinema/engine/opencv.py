"""The picture network on OpenCV, which is there without PyTorch.

Its layers are written as ONNX, which `cv2.dnn` reads from memory. ONNX is protobuf; the few fields
that are needed are written here, so that no package is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from kinema.engine.folding import fold
from kinema.picture_network import EPSILON, LAYER, SIDE, Convolution, convolutions

IR_VERSION, OPSET = 6, 10
"""Of ONNX: old enough for the oldest OpenCV that is allowed."""

MAPS_SIDE = SIDE // 32
"""Height and width of the last maps: five of the convolutions halve them."""


class PictureEngine:
    """EfficientNet-Lite0 with its weights, ready to run.

    Rows are bit-equal for any number of pictures; they go through the network one by one, which is
    no slower.

    Args:
        weights: parameters by name, see `PictureModel`.
        threads: CPU threads; None for all.
        maps: whether to give the last maps, behind their ReLU6, in place of their mean.
    """

    kind, device = "opencv", "cpu"

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        *,
        threads: int | None = None,
        maps: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"`threads` must be at least 1, got {threads}.")
        self._threads = threads
        self._shape = (-1, MAPS_SIDE, MAPS_SIDE) if maps else (-1,)
        content = np.frombuffer(as_onnx(weights, maps=maps), np.uint8)
        self._network = cv2.dnn.readNetFromONNX(content)

    def run(self, pictures: np.ndarray) -> np.ndarray:
        """Features of pictures (n, 3, 224, 224) float32, R, G, B, normalised.

        Returns:
            (n, 1280) float32, or (n, 1280, 7, 7), 0 ... 6, with `maps`.
        """
        rows = []
        with _threads(self._threads):
            for picture in pictures:
                self._network.setInput(picture[None])
                rows.append(self._network.forward().reshape(self._shape).copy())
        return np.stack(rows)

    def __repr__(self) -> str:
        return f"Engine(kind={self.kind!r}, device={self.device!r})"


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """OpenCV's threads, which the whole process shares."""
    before = cv2.getNumThreads()
    if number is not None and number != before:
        cv2.setNumThreads(number)
    try:
        yield
    finally:
        if cv2.getNumThreads() != before:
            cv2.setNumThreads(before)


def as_onnx(weights: Mapping[str, np.ndarray], *, maps: bool = False) -> bytes:
    """The network up to its pooling as an ONNX model, batch normalisations within convolutions.

    With `maps` it ends with what is pooled.
    """
    nodes, tensors = [], []
    made, size = ["picture"], SIDE
    for one in convolutions():
        kernels, biases = folded(weights, one)
        tensors += [_tensor(f"{one.name}.kernels", kernels), _tensor(f"{one.name}.biases", biases)]
        out = -(-size // one.stride)
        padded = max((out - 1) * one.stride + one.kernel - size, 0)
        before, behind, size = padded // 2, padded - padded // 2, out
        attributes = [
            _integers("kernel_shape", [one.kernel] * 2),
            _integers("strides", [one.stride] * 2),
            _integers("pads", [before, before, behind, behind]),
            _integer("group", one.channels_in if one.depthwise else 1),
        ]
        name = one.name
        inputs = [made[-1], f"{name}.kernels", f"{name}.biases"]
        nodes.append(_node("Conv", inputs, name, attributes))
        if one.relu6:
            limits = [_float("min", 0.0), _float("max", 6.0)]
            nodes.append(_node("Clip", [name], f"{name}.relu6", limits))
            name = f"{name}.relu6"
        if one.adds:
            nodes.append(_node("Add", [name, made[-one.adds]], f"{name}.sum"))
            name = f"{name}.sum"
        made.append(name)
    last, shape = made[-1], (1, one.channels_out, size, size)
    if not maps:
        nodes.append(_node("GlobalAveragePool", [last], LAYER))
        last, shape = LAYER, (1, one.channels_out, 1, 1)
    graph = [
        *(_field(1, node) for node in nodes),
        _field(2, "efficientnet-lite0"),
        *(_field(5, tensor) for tensor in tensors),
        _field(11, _value("picture", (1, 3, SIDE, SIDE))),
        _field(12, _value(last, shape)),
    ]
    opset = _field(1, "") + _field(2, OPSET)
    return _field(1, IR_VERSION) + _field(7, b"".join(graph)) + _field(8, opset)


def folded(weights: Mapping[str, np.ndarray], one: Convolution) -> tuple[np.ndarray, np.ndarray]:
    """Kernels and biases, float32, with the batch normalisation that follows."""
    parts = ("weight", "bias", "running_mean", "running_var")
    gain, shift, mean, variance = (weights[f"{one.normalization}.{part}"] for part in parts)
    return fold(weights[f"{one.name}.weight"], gain, shift, mean, variance, EPSILON)


# --- protobuf: onnx.proto3 of the ONNX project ----------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _node(op: str, inputs: list[str], output: str, attributes: Sequence[bytes] = ()) -> bytes:
    names = b"".join(_field(1, name) for name in inputs)
    return names + _field(2, output) + _field(4, op) + b"".join(_field(5, a) for a in attributes)


def _integer(name: str, value: int) -> bytes:
    return _field(1, name) + _field(20, 2) + _field(3, value)


def _integers(name: str, values: list[int]) -> bytes:
    return _field(1, name) + _field(20, 7) + b"".join(_field(8, value) for value in values)


def _float(name: str, value: float) -> bytes:
    return _field(1, name) + _field(20, 1) + _varint(2 << 3 | 5) + np.float32(value).tobytes()


def _tensor(name: str, values: np.ndarray) -> bytes:
    sizes = b"".join(_field(1, size) for size in values.shape)
    return sizes + _field(2, 1) + _field(8, name) + _field(9, values.tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, sizes)))
