"""Slow fusion of Karpathy et al., CVPR 2014: ten frames, joined little by little by three layers.

The paper: C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P-FC(4096)-FC(4096),
C(filters, size, stride); conv1 is 4 frames deep and steps by 2, conv2 and conv3 are 2 deep and step
by 2, so that 10 frames become 4, 2 and 1. Pooling is 2x2, N normalises over 5 channels with k 2,
alpha 1e-4, beta 0.5 (Krizhevsky's alpha, not divided by the channels). Paddings and rounding are
not told: with conv1 unpadded, the others padded to keep their size, and pooling that rounds up,
frames of 170x170, and of 89x89 without the last pooling, both end in the paper's 7x7 maps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.layers import ClipShape
from kinema.models.alexnet import (
    PIXEL_SCALE,
    flat,
    initialise,
    output_shape,
)
from kinema.models.sizes import clip_shape, scaled


def _norm() -> nn.Module:
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.5, k=2)  # PyTorch divides alpha by 5


def _pool() -> nn.Module:
    return nn.MaxPool3d((1, 2, 2), ceil_mode=True)


def _column(width: float, *, last_pool: bool) -> nn.Sequential:
    """The convolutions, (N, 3, 10, H, W) to (N, 256, 1, h, w)."""
    c1, c2, c3, c4, c5 = (scaled(number, width) for number in (96, 256, 384, 384, 256))
    parts: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv3d(3, c1, (4, 11, 11), stride=(2, 3, 3))),
        ("relu1", nn.ReLU()),
        ("norm1", _norm()),
        ("pool1", _pool()),
        ("conv2", nn.Conv3d(c1, c2, (2, 5, 5), stride=(2, 1, 1), padding=(0, 2, 2))),
        ("relu2", nn.ReLU()),
        ("norm2", _norm()),
        ("pool2", _pool()),
        ("conv3", nn.Conv3d(c2, c3, (2, 3, 3), stride=(2, 1, 1), padding=(0, 1, 1))),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv3d(c3, c4, (1, 3, 3), padding=(0, 1, 1))),
        ("relu4", nn.ReLU()),
        ("conv5", nn.Conv3d(c4, c5, (1, 3, 3), padding=(0, 1, 1))),
        ("relu5", nn.ReLU()),
    ]
    return nn.Sequential(OrderedDict([*parts, ("pool5", _pool())] if last_pool else parts))


class SlowFusion(nn.Module):
    """Slow fusion of one stream.

    In: (N, 3, 10, 170, 170). A video is judged by 20 clips, evenly spaced. Dropout 0.9 behind fc6
    and fc7 is what its authors took on UCF101.

    Args:
        num_classes: how many.
        width: what every number of channels and units is multiplied by.
        input_shape: (3, frames, height, width) of what goes in; None as published.
        dropout: behind fc6 and fc7.

    Raises:
        ValueError: another shape, fewer than 10 frames, or frames too small for the layers.
    """

    input_shape: ClassVar[ClipShape] = (3, 10, 170, 170)
    stream = "rgb"
    layers = ("fc6", "fc7")
    test_clips = 20

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        input_shape: Sequence[int] | None = None,
        dropout: float = 0.9,
    ) -> None:
        super().__init__()
        shape = clip_shape(input_shape, self.input_shape)
        if shape[1] < 10:
            raise ValueError(f"`input_shape` must have at least 10 frames, got {shape[1]}.")
        values = self._build(shape, width)
        d6, d7 = scaled(4096, width), scaled(4096, width)
        self.fc6 = nn.Linear(values, d6)
        self.fc7 = nn.Linear(d6, d7)
        self.fc8 = nn.Linear(d7, num_classes)
        self.dropout = nn.Dropout(dropout)
        initialise(self, self.fc8, width)

    def _build(self, shape: ClipShape, width: float) -> int:
        """Make what is below fc6, and tell how many values it gives."""
        self.maps = _column(width, last_pool=True)
        return flat(output_shape(self.maps, shape, "frames"))

    def _below(self, clips: Tensor) -> Tensor:
        """(N, values) below fc6."""
        return self.maps(clips / PIXEL_SCALE).flatten(1)

    def features(self, clips: Tensor, layer: str) -> Tensor:
        """(N, 4096) of "fc6" or "fc7", before their dropout."""
        fc6 = self.fc6(self._below(clips)).relu()
        return fc6 if layer == "fc6" else self.fc7(self.dropout(fc6)).relu()

    def forward(self, clips: Tensor) -> Tensor:
        """(N, K) class scores before the softmax."""
        return self.fc8(self.dropout(self.features(clips, "fc7")))


class SlowFusionFovea(SlowFusion):
    """Slow fusion of two streams: all of the frames at half size, and their centre as it is.

    In: (N, 3, 10, 178, 178), of which the context stream sees 89x89 means of 2x2 pixels, and the
    fovea stream the 89x89 pixels of the centre. Each has convolutions of its own without the last
    pooling; their maps are joined before fc6. Arguments and errors are those of `SlowFusion`.
    """

    input_shape = (3, 10, 178, 178)

    def _build(self, shape: ClipShape, width: float) -> int:
        half = (*shape[:2], shape[2] // 2, shape[3] // 2)
        self.context = _column(width, last_pool=False)
        self.fovea = _column(width, last_pool=False)
        return 2 * flat(output_shape(self.context, half, "half frames"))

    def _below(self, clips: Tensor) -> Tensor:
        context, fovea = context_and_fovea(clips / PIXEL_SCALE)
        return torch.cat([self.context(context).flatten(1), self.fovea(fovea).flatten(1)], 1)


def context_and_fovea(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Clips (N, C, T, H, W) at half their size, and their centres of that size."""
    height, width = clips.shape[3] // 2, clips.shape[4] // 2
    top, left = (clips.shape[3] - height) // 2, (clips.shape[4] - width) // 2
    context = functional.avg_pool3d(clips, (1, 2, 2))
    return context, clips[..., top : top + height, left : left + width]
