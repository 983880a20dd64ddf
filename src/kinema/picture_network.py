"""EfficientNet-Lite0 as data: a network of pictures, of which a clip shows it its middle frame.

The paper compares with CaffeNet, which also learned from ImageNet's pictures. EfficientNet-Lite0's
layers are those of its authors' `efficientnet_lite_builder.py`, its parameters have the names of
`efficientnet-lite-pytorch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from kinema.layers import ClipShape, Shape
from kinema.model import Model

SIDE = 224
"""Height and width of a picture."""

EPSILON = 1e-3
"""Added to variances by the batch normalisations (`efficientnet_lite_builder.py`)."""

LAYER = "pool"
"""Its one feature, what the classifier sees: the mean over the last convolution's places."""

_DEFAULT_LAYER = "fc6"
"""What commands ask for where no layer is named."""

_BLOCKS = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
"""How often, kernel, stride of the first, expansion, channels in, channels out."""


class Convolution(NamedTuple):
    """A convolution and the batch normalisation behind it.

    Attributes:
        name, normalization: of their parameters.
        channels_in, channels_out: of the maps.
        kernel, stride: of both axes. As much is padded as makes ceil(size / stride), the odd row
            and column below and on the right, as TensorFlow's SAME.
        depthwise: whether each map has a kernel of its own.
        relu6: whether values are cut to 0 ... 6 behind it.
        adds: how many convolutions back the maps stand that are added to its own; 0 for none.
    """

    name: str
    normalization: str
    channels_in: int
    channels_out: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False
    relu6: bool = True
    adds: int = 0

    @property
    def kernel_shape(self) -> Shape:
        """(channels out, channels in of one group, height, width)."""
        channels = 1 if self.depthwise else self.channels_in
        return self.channels_out, channels, self.kernel, self.kernel


def convolutions() -> list[Convolution]:
    """All of them, in order."""
    found = [Convolution("_conv_stem", "_bn0", 3, 32, kernel=3, stride=2)]
    number = 0
    for repeats, kernel, first_stride, expansion, first, last in _BLOCKS:
        for turn in range(repeats):
            block = f"_blocks.{number}."
            before, stride = (first, first_stride) if turn == 0 else (last, 1)
            wide = before * expansion
            if expansion > 1:
                found.append(Convolution(f"{block}_expand_conv", f"{block}_bn0", before, wide))
            found += [
                Convolution(
                    f"{block}_depthwise_conv", f"{block}_bn1", wide, wide, kernel, stride, True
                ),
                Convolution(
                    f"{block}_project_conv",
                    f"{block}_bn2",
                    wide,
                    last,
                    relu6=False,
                    adds=3 if turn else 0,
                ),
            ]
            number += 1
    return [*found, Convolution("_conv_head", "_bn1", _BLOCKS[-1][-1], 1280)]


class PictureModel(Model):
    """EfficientNet-Lite0 up to its classifier, on the middle frame of a clip of 16."""

    input_shape: ClipShape = (3, 16, SIDE, SIDE)
    architecture: Mapping[str, Any] = MappingProxyType({"name": "efficientnet-lite0"})
    num_classes = None
    layer_names = (LAYER,)
    logits = LAYER
    class_parameters = ()
    sees: ClassVar[str] = "middle frame"
    only_layer: ClassVar[str | None] = LAYER

    def parameter_shapes(self) -> dict[str, Shape]:
        """Kernels, and four vectors of each batch normalisation."""
        shapes: dict[str, Shape] = {}
        for one in convolutions():
            shapes[f"{one.name}.weight"] = one.kernel_shape
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{one.normalization}.{part}"] = (one.channels_out,)
        return shapes

    def feature_shape(self, layer: str) -> Shape:
        """Of its one layer."""
        self.check_layer(layer)
        return (convolutions()[-1].channels_out,)

    def check_layer(self, layer: str) -> None:
        """Refuse another layer; fc6, which commands ask for by default, stands for its own."""
        if layer not in (LAYER, _DEFAULT_LAYER):
            raise ValueError(
                f"`layer` {layer!r}: imagenet has one feature, its layer {LAYER!r}; name none."
            )

    def up_to(self, layer: str) -> PictureModel:
        """All of it."""
        self.check_layer(layer)
        return self

    def with_classes(self, num_classes: int) -> Model:
        """It is not learned here.

        Raises:
            ValueError: always.
        """
        raise ValueError("imagenet describes clips and is not learned from: choose other weights.")

    def __str__(self) -> str:
        return (
            f"input 3x{SIDE}x{SIDE}, the middle frame of 16\n"
            f"{self.architecture['name']}: {len(convolutions())} convolutions, layer {LAYER} of "
            f"{self.feature_shape(LAYER)[0]}\n{self.num_parameters:,} parameters"
        )
