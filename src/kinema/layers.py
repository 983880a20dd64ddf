"""The layers that networks are made of, as data: shapes, parameters, multiply-adds."""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, ...]
ClipShape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Conv3d:
    """3-D convolution, stride 1, zero padding of half a kernel on every side, bias, then ReLU.

    `kernel` is (time, height, width), odd numbers, so the output has the input's length and size.
    """

    name: str
    out_channels: int
    kernel: tuple[int, int, int] = (3, 3, 3)

    def __post_init__(self) -> None:
        _check_positive(self.name, out_channels=self.out_channels)
        if len(self.kernel) != 3 or any(size < 1 or size % 2 == 0 for size in self.kernel):
            raise ValueError(
                f"`kernel` of {self.name} must be three odd positive sizes (time, height, width), "
                f"got {self.kernel}."
            )

    @property
    def padding(self) -> tuple[int, int, int]:
        """Zeros added before and after, by axis."""
        t, h, w = self.kernel
        return (t // 2, h // 2, w // 2)

    def output_shape(self, shape: Shape) -> Shape:
        return (self.out_channels, *_clip_shape(self.name, shape)[1:])

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"weight": (self.out_channels, shape[0], *self.kernel), "bias": (self.out_channels,)}

    def multiply_adds(self, shape: Shape) -> int:
        return math.prod(self.output_shape(shape)) * shape[0] * math.prod(self.kernel)


@dataclass(frozen=True)
class MaxPool3d:
    """Max pooling with Caffe's windows: the number of outputs is rounded up and windows that run
    over the edge are clipped (C3D v1.0, `pool3d_layer.cpp`).

        7 rows, kernel 2, stride 2, padding 0:   {0 1} {2 3} {4 5} {6}     -> 4
        7 rows, kernel 2, stride 2, padding 1:   {0} {1 2} {3 4} {5 6}     -> 4

    The second line is what many ports of C3D do in pool5: as many outputs, other windows.
    """

    name: str
    kernel: tuple[int, int, int] = (2, 2, 2)
    padding: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if len(self.kernel) != 3 or any(size < 1 for size in self.kernel):
            raise ValueError(
                f"`kernel` of {self.name} must be three sizes >= 1, got {self.kernel}."
            )
        if len(self.padding) != 3 or any(
            not 0 <= pad < size for pad, size in zip(self.padding, self.kernel, strict=True)
        ):
            raise ValueError(
                f"`padding` of {self.name} must be smaller than its kernel {self.kernel}, "
                f"got {self.padding}."
            )

    @property
    def stride(self) -> tuple[int, int, int]:
        """Equal to the kernel: C3D's windows tile the input."""
        return self.kernel

    def output_shape(self, shape: Shape) -> Shape:
        channels, *sizes = _clip_shape(self.name, shape)
        return (
            channels,
            *(
                _pooled_size(size, kernel, padding)
                for size, kernel, padding in zip(sizes, self.kernel, self.padding, strict=True)
            ),
        )

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {}

    def multiply_adds(self, shape: Shape) -> int:
        return 0


def _pooled_size(size: int, kernel: int, padding: int) -> int:
    """ceil((size + 2 padding - kernel) / kernel) + 1, less a window that starts past the edge."""
    pooled = max(-(-(size + 2 * padding - kernel) // kernel), 0) + 1
    if padding and (pooled - 1) * kernel >= size + padding:
        pooled -= 1
    return pooled


@dataclass(frozen=True)
class Linear:
    """Fully connected layer over the flattened input (channel slowest), with or without ReLU.

    `dropout` is the probability that training drops an output; features are taken without it.
    """

    name: str
    out_features: int
    relu: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        _check_positive(self.name, out_features=self.out_features)

    def output_shape(self, shape: Shape) -> Shape:
        return (self.out_features,)

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"weight": (self.out_features, math.prod(shape)), "bias": (self.out_features,)}

    def multiply_adds(self, shape: Shape) -> int:
        return self.out_features * math.prod(shape)


@dataclass(frozen=True)
class Softmax:
    """Class probabilities, of a fully connected layer's outputs."""

    name: str = "prob"

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ValueError(f"{self.name} needs a vector of class scores, got shape {shape}.")
        return shape

    def parameter_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {}

    def multiply_adds(self, shape: Shape) -> int:
        return 0


Layer = Conv3d | MaxPool3d | Linear | Softmax


def _check_positive(name: str, **sizes: int) -> None:
    for what, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{what}` of {name} must be at least 1, got {size}.")


def _clip_shape(name: str, shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"{name} needs (channels, frames, height, width), got shape {shape}.")
    return shape
