"""C3D and its variants as data: a network is an input shape and a tuple of layers.

Everything else (shapes, parameters, multiply-adds, what an engine must run) is computed from that.
To add a network, write one function that returns a `Network` and name it in `NETWORKS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

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


@dataclass(frozen=True)
class Network:
    """A chain of layers and the shape of the clip that goes in.

    `input_shape` is (channels, frames, height, width). `recipe` is the call that makes this network
    again, as plain JSON values: it is what a weight file keeps.
    """

    input_shape: ClipShape
    layers: tuple[Layer, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if len(self.input_shape) != 4 or any(size < 1 for size in self.input_shape):
            raise ValueError(
                "`input_shape` must be four sizes >= 1 (channels, frames, height, width), "
                f"got {self.input_shape}."
            )
        names = self.layer_names
        if not names:
            raise ValueError("`layers` must hold at least one layer.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"`layers` must have different names, got {twice} more than once.")
        self.shapes()  # a convolution after a fully connected layer is refused here

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width that frames are resized to before the crop goes in.

        128x171 for C3D's crop of 112 (the paper, section 3.1); other crops see the same part of the
        frame at their own resolution.
        """
        crop = self.input_shape[2]
        return round(128 * crop / 112), round(171 * crop / 112)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    def shapes(self) -> dict[str, Shape]:
        """Output shape of every layer for one clip, without the batch axis."""
        return {layer.name: layer.output_shape(shape) for layer, shape in self._with_input_shapes()}

    def parameter_shapes(self) -> dict[str, Shape]:
        """Shape of every parameter, as "conv1a.weight": (64, 3, 3, 3, 3)."""
        return {
            f"{layer.name}.{kind}": parameter_shape
            for layer, shape in self._with_input_shapes()
            for kind, parameter_shape in layer.parameter_shapes(shape).items()
        }

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    @property
    def num_multiply_adds(self) -> int:
        """Multiplications (each with one addition) for one clip by direct computation."""
        return sum(layer.multiply_adds(shape) for layer, shape in self._with_input_shapes())

    def feature_shape(self, layer: str) -> Shape:
        """Output shape of one layer; an unknown name is a ValueError that lists the layers."""
        self.check_layer(layer)
        return self.shapes()[layer]

    def check_layer(self, layer: str) -> None:
        if layer not in self.layer_names:
            raise ValueError(
                f"`layer` must be one of {', '.join(self.layer_names)}; got {layer!r}."
            )

    def up_to(self, layer: str) -> Network:
        """The same network cut after `layer`."""
        self.check_layer(layer)
        stop = self.layer_names.index(layer) + 1
        return Network(self.input_shape, self.layers[:stop], self.recipe)

    def _with_input_shapes(self) -> list[tuple[Layer, Shape]]:
        pairs: list[tuple[Layer, Shape]] = []
        shape: Shape = self.input_shape
        for layer in self.layers:
            pairs.append((layer, shape))
            shape = layer.output_shape(shape)
        return pairs

    def __str__(self) -> str:
        shapes = self.shapes()
        lines = [f"input {'x'.join(map(str, self.input_shape))}"]
        for layer in self.layers:
            kernel = "x".join(map(str, getattr(layer, "kernel", ()))) or "-"
            shape = "x".join(map(str, shapes[layer.name]))
            lines.append(f"{layer.name:<8} {type(layer).__name__:<10} {kernel:<6} -> {shape}")
        lines.append(
            f"{self.num_parameters:,} parameters, {self.num_multiply_adds / 1e9:.2f} GMAC a clip"
        )
        return "\n".join(lines)


def c3d(
    num_classes: int | None = 487,
    *,
    pool5: str = "caffe",
    input_shape: ClipShape = (3, 16, 112, 112),
) -> Network:
    """C3D (Tran et al., ICCV 2015; C3D v1.0 prototxts): eight convolutions, five poolings, fc6-fc8.

    Args:
        num_classes: outputs of fc8: 487 for Sports-1M, 101 for UCF101. None leaves fc8 out, for
            weight files that stop at fc7.
        pool5: "caffe" for the original's windows {0 1}{2 3}{4 5}{6}; "symmetric" for weights that
            were trained with one row of padding on both sides, {0}{1 2}{3 4}{5 6}.
        input_shape: channels, frames, height and width of a clip.
    """
    layers: list[Layer] = [
        Conv3d("conv1a", 64),
        MaxPool3d("pool1", (1, 2, 2)),
        Conv3d("conv2a", 128),
        MaxPool3d("pool2"),
        Conv3d("conv3a", 256),
        Conv3d("conv3b", 256),
        MaxPool3d("pool3"),
        Conv3d("conv4a", 512),
        Conv3d("conv4b", 512),
        MaxPool3d("pool4"),
        Conv3d("conv5a", 512),
        Conv3d("conv5b", 512),
        _pool5(pool5),
        Linear("fc6", 4096),
        Linear("fc7", 4096),
        *_classifier(num_classes),
    ]
    recipe = {
        "name": "c3d",
        "num_classes": num_classes,
        "pool5": pool5,
        "input_shape": list(input_shape),
    }
    return Network(input_shape, tuple(layers), recipe)


KERNEL_DEPTHS: Mapping[str, tuple[int, int, int, int, int]] = MappingProxyType(
    {
        "depth-1": (1, 1, 1, 1, 1),
        "depth-3": (3, 3, 3, 3, 3),
        "depth-5": (5, 5, 5, 5, 5),
        "depth-7": (7, 7, 7, 7, 7),
        "increasing": (3, 3, 5, 5, 7),
        "decreasing": (7, 5, 5, 3, 3),
    }
)
"""The six networks of the paper's kernel-depth study (section 3.2)."""


def kernel_depth(
    depths: Sequence[int] = (3, 3, 3, 3, 3),
    num_classes: int = 101,
    *,
    input_shape: ClipShape = (3, 16, 112, 112),
) -> Network:
    """A network of the kernel-depth study: five convolutions, each followed by a pooling.

    Channels 64-128-256-256-256 and fully connected layers of 2048 are those of the released
    training network for UCF101 (C3D v1.0, `c3d_train_ucf101`).

    Args:
        depths: temporal size of each of the five kernels; see `KERNEL_DEPTHS` for the paper's.
        num_classes: outputs of fc8.
        input_shape: channels, frames, height and width of a clip.
    """
    if len(depths) != 5:
        raise ValueError(f"`depths` must be five temporal kernel sizes, got {tuple(depths)}.")
    layers: list[Layer] = []
    for index, (channels, depth) in enumerate(zip((64, 128, 256, 256, 256), depths, strict=True)):
        layers.append(Conv3d(f"conv{index + 1}a", channels, (depth, 3, 3)))
        layers.append(MaxPool3d(f"pool{index + 1}", (1, 2, 2) if index == 0 else (2, 2, 2)))
    layers += [Linear("fc6", 2048), Linear("fc7", 2048), *_classifier(num_classes)]
    recipe = {
        "name": "kernel_depth",
        "depths": list(depths),
        "num_classes": num_classes,
        "input_shape": list(input_shape),
    }
    return Network(input_shape, tuple(layers), recipe)


def c3d_mini(
    num_classes: int | None = 101, *, input_shape: ClipShape = (3, 16, 112, 112)
) -> Network:
    """A small C3D of our own: the same clips in, a 25th of the multiply-adds, 512-D fc6.

    Args:
        num_classes: outputs of fc8; None leaves fc8 out.
        input_shape: channels, frames, height and width of a clip.
    """
    layers: list[Layer] = []
    for index, channels in enumerate((16, 32, 64, 128, 128)):
        layers.append(Conv3d(f"conv{index + 1}a", channels))
        layers.append(MaxPool3d(f"pool{index + 1}", (1, 2, 2) if index == 0 else (2, 2, 2)))
    layers += [Linear("fc6", 512), Linear("fc7", 512), *_classifier(num_classes)]
    recipe = {"name": "c3d_mini", "num_classes": num_classes, "input_shape": list(input_shape)}
    return Network(input_shape, tuple(layers), recipe)


NETWORKS: Mapping[str, Callable[..., Network]] = MappingProxyType(
    {"c3d": c3d, "kernel_depth": kernel_depth, "c3d_mini": c3d_mini}
)


def from_recipe(recipe: Mapping[str, Any]) -> Network:
    """The network that `Network.recipe` describes, as it is kept in a weight file."""
    arguments = dict(recipe)
    name = arguments.pop("name", None)
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}.")
    if "input_shape" in arguments:
        arguments["input_shape"] = tuple(arguments["input_shape"])
    try:
        return NETWORKS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"network {name!r} cannot be made from {arguments}: {error}.") from None


def _pool5(kind: str) -> MaxPool3d:
    paddings = {"caffe": (0, 0, 0), "symmetric": (0, 1, 1)}
    if kind not in paddings:
        raise ValueError(f"`pool5` must be one of {', '.join(paddings)}; got {kind!r}.")
    return MaxPool3d("pool5", padding=paddings[kind])


def _classifier(num_classes: int | None) -> list[Layer]:
    if num_classes is None:
        return []
    return [Linear("fc8", num_classes, relu=False, dropout=0.0), Softmax("prob")]


def _check_positive(name: str, **sizes: int) -> None:
    for what, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{what}` of {name} must be at least 1, got {size}.")


def _clip_shape(name: str, shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"{name} needs (channels, frames, height, width), got shape {shape}.")
    return shape
