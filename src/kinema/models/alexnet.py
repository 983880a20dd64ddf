"""What the networks that follow AlexNet share: sizes, pooling that rounds up, initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

PIXEL_SCALE = 64
"""What pixels, less their mean, are divided by as they go in: He's distribution is made for inputs
of about 1. Ours; their authors fed pixels. It changes what is computed by the unit of conv1's
weights alone, and is `pixel_scale` of our recipes."""

LARGEST_TRIED = 512


def output_shape(layers: nn.Module, shape: Sequence[int], what: str) -> tuple[int, ...]:
    """What layers give for an input of a shape, (channels, ...) without the batch; no clip is run.

    Raises:
        ValueError: the last two sizes, or the frames, are too small for the layers.
    """
    device = next(layers.parameters()).device

    def shape_after(shape: Sequence[int]) -> tuple[int, ...] | None:
        try:
            with torch.no_grad():
                return tuple(layers(torch.zeros(0, *shape, device=device)).shape[1:])
        except RuntimeError:  # PyTorch's, of a kernel that is larger than its input
            return None

    found = shape_after(shape)
    if found is None:
        *front, height, width = shape
        larger = range(min(height, width), LARGEST_TRIED)
        enough = next((n for n in larger if shape_after((*front, n, n))), None)
        need = "more frames" if enough is None else f"at least {enough}x{enough}"
        raise ValueError(
            f"`input_shape`: {what} of {height}x{width} are too small for the layers; give {need}."
        )
    return found


def pool(kernel: int, stride: int) -> nn.Module:
    """Spatial maximum pooling of frames (N, C, H, W), rounded up as Caffe's."""
    return nn.MaxPool2d(kernel, stride, ceil_mode=True)


def initialise(module: nn.Module, last: nn.Linear, width: float) -> None:
    """He's distribution for convolutions and fully connected layers, AlexNet's for the last.

    He et al., ICCV 2015: normal, deviation sqrt(2 / inputs). Krizhevsky et al., NIPS 2012: normal,
    0.01; at a width its inputs are fewer, and the deviation grows so that scores keep their size.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear):
            if part is last:
                nn.init.normal_(part.weight, std=0.01 / math.sqrt(width))
            else:
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def flat(shape: Sequence[int]) -> int:
    """How many values a shape has."""
    return math.prod(shape)


def frames_of(clips: Tensor) -> Tensor:
    """(N, C, T, H, W) to (N * T, C, H, W), a clip's frames one behind the other."""
    return clips.transpose(1, 2).flatten(0, 1)
